"""What chat models stream, in chunks and in events, and the code that is read from it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_ptc.prefetch.code_stream import ChunkReader
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

pytestmark = pytest.mark.filterwarnings(
    "ignore:The method .* is in beta:langchain_core._api.LangChainBetaWarning"
)

CODE = "rows = await get('😀')\nprint(rows)\n"
ARGUMENTS = json.dumps({"code": CODE})


class Handler(AsyncCallbackHandler):
    """Reads each message that a model streams."""

    raise_error = True

    def __init__(self, protocol: Any = "tool") -> None:
        self.readers: dict[UUID, ChunkReader] = {}
        self.added: list[str] = []
        self.sources: set[str] = set()
        self._protocol = protocol

    def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
        """Make `ainvoke` stream."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
        """Make `invoke` stream."""
        return output

    def reader(self, run_id: UUID) -> ChunkReader:
        return self.readers.setdefault(run_id, ChunkReader("run_code", protocol=self._protocol))

    async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        chunk = kwargs["chunk"]
        assert isinstance(chunk, ChatGenerationChunk)
        assert isinstance(chunk.message, AIMessageChunk)
        self.sources.add("chunks")
        self.added.append(self.reader(kwargs["run_id"]).read_chunk(chunk.message))

    async def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self.sources.add("events")
        self.added.append(self.reader(kwargs["run_id"]).read_event(event))

    async def on_llm_end(self, *_: Any, run_id: UUID, **kwargs: Any) -> None:
        self.added.append(self.readers[run_id].close())


def stream(message: AIMessage, *, version: str, protocol: Any = "tool") -> Handler:
    """Return what was read while a model streamed a message, by one of LangChain's two ways."""
    handler = Handler(protocol)
    model = ScriptedChatModel(script=[message])

    async def ask() -> None:
        if version == "v1":
            await model.ainvoke("go", {"callbacks": [handler]})
            return
        run = await model.astream_events("go", {"callbacks": [handler]}, version="v3")
        await run.output

    asyncio.run(ask())
    assert handler.sources == {"chunks" if version == "v1" else "events"}
    return handler


VERSIONS = pytest.mark.parametrize("version", ["v1", "v3"])


@VERSIONS
def test_tool_call(version: str) -> None:
    """The code of a tool call is read piece by piece, with the id of the call."""
    handler = stream(tool_call_message("run_code", {"code": CODE}, id="c1"), version=version)
    (reader,) = handler.readers.values()
    assert (reader.call_id, reader.code, reader.is_void) == ("c1", CODE, False)
    assert "".join(handler.added) == CODE
    assert len([piece for piece in handler.added if piece]) > 2


@VERSIONS
def test_text(version: str) -> None:
    """Fenced code in a text is read where the protocol has such."""
    message = AIMessage(f"Look:\n```python\n{CODE}```\nDone.")
    (reader,) = stream(message, version=version, protocol="text").readers.values()
    assert (reader.call_id, reader.code, reader.is_void) == (None, CODE, False)
    (reader,) = stream(message, version=version).readers.values()
    assert reader.code == ""


@VERSIONS
@pytest.mark.parametrize("protocol", ["tool", "auto"])
def test_text_before_a_call(version: str, protocol: str) -> None:
    """Prose before the call changes nothing; code in it does, since the call is what counts."""
    call = {"name": "run_code", "args": {"code": CODE}, "id": "c1", "type": "tool_call"}
    prose = AIMessage("Let me look.", tool_calls=[call])
    (reader,) = stream(prose, version=version, protocol=protocol).readers.values()
    assert (reader.code, reader.call_id, reader.is_void) == (CODE, "c1", False)
    draft = AIMessage("```python\nprint(0)\n```\n", tool_calls=[call])
    (reader,) = stream(draft, version=version, protocol=protocol).readers.values()
    assert reader.is_void is (protocol == "auto")


@VERSIONS
@pytest.mark.parametrize(
    "names", [["run_code", "run_code"], ["run_code", "pay"], ["pay", "run_code"]]
)
def test_more_than_one_call(version: str, names: list[str]) -> None:
    """A second call, and a first one of another tool, make the reader void for good."""
    calls = [
        {"name": name, "args": {"code": CODE}, "id": f"c{n}", "type": "tool_call"}
        for n, name in enumerate(names)
    ]
    handler = stream(AIMessage("", tool_calls=calls), version=version)
    (reader,) = handler.readers.values()
    assert reader.is_void
    assert reader.code == ""
    assert "".join(handler.added) in ("", CODE)


def chunk(
    args: str | None, *, index: int | None = 0, id: str | None = None, name: str | None = None
) -> AIMessageChunk:
    return AIMessageChunk(
        "", tool_call_chunks=[tool_call_chunk(name=name, args=args, id=id, index=index)]
    )


@pytest.mark.parametrize(
    "chunks",
    [
        [
            chunk("", id="c1", name="run_code"),
            chunk(None),
            chunk(ARGUMENTS[:9]),
            chunk(ARGUMENTS[9:]),
        ],
        [chunk(ARGUMENTS, id="c1", name="run_code", index=1)],
        [chunk(ARGUMENTS, id="c1", name="run_code", index=None)],
        [chunk(part, id="c1", name="run_code") for part in (ARGUMENTS[:5], ARGUMENTS[5:])],
        [
            chunk(ARGUMENTS[:5], id="c1", name="run_code"),
            AIMessageChunk("", usage_metadata=None),
            AIMessageChunk([{"type": "thinking", "thinking": "hm", "index": 3}]),
            chunk(ARGUMENTS[5:], name="", id=""),
        ],
        [
            AIMessageChunk([{"type": "text", "text": "Let me look.", "index": 0}]),
            chunk(None, id="c1", name="run_code", index=1),
            chunk(ARGUMENTS, index=1),
        ],
    ],
)
def test_shapes_of_providers(chunks: list[AIMessageChunk]) -> None:
    """Name and id once or always, empty arguments, all of them at once, an index or none."""
    reader = ChunkReader("run_code")
    assert "".join(map(reader.read_chunk, chunks)) + reader.close() == CODE
    assert (reader.call_id, reader.code, reader.is_void) == ("c1", CODE, False)


@pytest.mark.parametrize(
    "second",
    [
        chunk(ARGUMENTS, index=1),
        chunk(ARGUMENTS, index=1, id="c2", name="run_code"),
        chunk(ARGUMENTS, index=0, id="c2", name="run_code"),
        chunk(ARGUMENTS, index=None),
    ],
)
def test_calls_that_are_interleaved(second: AIMessageChunk) -> None:
    """Calls are told apart by index and id; the pieces of a second one add nothing."""
    reader = ChunkReader("run_code")
    assert reader.read_chunk(chunk(ARGUMENTS[:25], id="c1", name="run_code"))
    assert reader.read_chunk(second) == ""
    assert reader.is_void
    assert reader.read_chunk(chunk(ARGUMENTS[25:])) == ""
    assert reader.code == ""


def test_tool_of_the_provider() -> None:
    """A call of a tool that the provider runs itself is none of ours."""
    reader = ChunkReader("run_code")
    search = {
        "type": "server_tool_call_chunk",
        "id": "s1",
        "name": "web_search",
        "args": "",
        "index": 0,
    }
    assert reader.read_event({"event": "content-block-start", "index": 0, "content": search}) == ""
    delta = {"type": "tool-call-delta", "args": '{"code": "no"}'}
    assert reader.read_event({"event": "content-block-delta", "index": 0, "delta": delta}) == ""
    start = {"type": "tool_call_chunk", "id": "c1", "name": "run_code", "args": ""}
    assert reader.read_event({"event": "content-block-start", "index": 1, "content": start}) == ""
    delta = {"type": "tool-call-delta", "args": ARGUMENTS}
    assert reader.read_event({"event": "content-block-delta", "index": 1, "delta": delta}) == CODE
    assert not reader.is_void


def test_unknown_events() -> None:
    """Events of other kinds, now and to come, are passed over."""
    reader = ChunkReader("run_code", protocol="auto")
    for event in [
        {"event": "message-start", "role": "ai"},
        {"event": "content-block-delta", "index": 0, "delta": {"type": "data-delta", "data": ""}},
        {"event": "content-block-start", "index": 0},
        {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "x"}},
        {"event": "message-finish"},
        {},
    ]:
        assert reader.read_event(event) == ""
    assert not reader.is_void
