"""From what a chat model streams to the code in it.

    reader = ChunkReader("run_code")           # one for each run of a model
    added = reader.read_chunk(chunk)           # in `on_llm_new_token`: `chunk.message`
    added = reader.read_event(event)           # in `on_stream_event`; a run has the one or the other
    added = reader.close()                     # the message is whole
    reader.call_id, reader.code, reader.is_void

Only the first call of a message is read: in what order the message's other calls run is not known before. So
a second call, or a first one of another tool, makes the reader void: what it has read is to be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessageChunk

from langchain_ptc.prefetch.code_stream import CodeStream, FencedCode, JsonCode
from langchain_ptc.replies.markdown import PYTHON_LABELS

if TYPE_CHECKING:
    from langchain_ptc.replies.extract import Protocol


class ChunkReader:
    """Reads the code of one message while it is streamed.

    Args:
        tool_name: Name of the tool that runs code.
        protocol: `tool` reads tool calls only, `text` and `auto` fenced blocks too.

    Attributes:
        call_id: Id of the tool call that the code is in; None as long as there is none, and for code in text.
        is_void: Whether what was read is no beginning of the message's program.
    """

    def __init__(self, tool_name: str, *, protocol: Protocol = "tool") -> None:
        self._tool_name = tool_name
        self._text: CodeStream | None = None
        if protocol != "tool":
            self._text = FencedCode(PYTHON_LABELS | {tool_name.lower()})
        self._arguments: CodeStream | None = None
        self._index: object = None
        self.call_id: str | None = None
        self.is_void = False

    @property
    def code(self) -> str:
        """The code so far; empty if the reader is void."""
        stream = self._arguments or self._text
        return "" if stream is None or self.is_void else stream.code

    def read_chunk(self, chunk: AIMessageChunk) -> str:
        """Read the next chunk of a message; return the code that it adds."""
        added = self._read_text(str(chunk.text))
        for call in chunk.tool_call_chunks:
            self._read_head(call.get("index"), call.get("id"), call.get("name"))
            added += self._read_arguments(call.get("args"))
        return "" if self.is_void else added

    def read_event(self, event: Mapping[str, object]) -> str:
        """Read the next event of a message; return the code that it adds."""
        block, delta = event.get("content"), event.get("delta")
        kind, index, added = event.get("event"), event.get("index"), ""
        if kind == "content-block-start" and isinstance(block, Mapping):
            if block.get("type") in _CALLS:
                self._read_head(index, block.get("id"), block.get("name"))
            if block.get("type") == "tool_call_chunk":
                added = self._read_arguments(block.get("args"))
        elif kind == "content-block-delta" and isinstance(delta, Mapping):
            if delta.get("type") == "text-delta":
                added = self._read_text(delta.get("text") or "")
            elif delta.get("type") == "tool-call-delta" and index == self._index:
                added = self._read_arguments(delta.get("args"))
        return "" if self.is_void else added

    def close(self) -> str:
        """Read the end of the message; return the code that it adds."""
        stream = self._arguments or self._text
        return "" if stream is None or self.is_void else stream.close()

    def _read_text(self, text: str) -> str:
        if self._text is None or self._arguments is not None or not text:
            return ""
        return self._text.feed(text)

    def _read_head(self, index: object, call_id: str | None, name: str | None) -> None:
        """Read what says which call follows: providers send id and name once, or with each piece."""
        if self._arguments is None:
            has_code = self._text is not None and self._text.code
            self.is_void = self.is_void or bool(has_code) or name != self._tool_name
            self._arguments, self._index, self.call_id = JsonCode(), index, call_id
        elif index is None or index != self._index or (call_id and call_id != self.call_id):
            self.is_void = True

    def _read_arguments(self, pieces: str | None) -> str:
        if self._arguments is None or self.is_void or not pieces:
            return ""
        return self._arguments.feed(pieces)


_CALLS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})
"""Types of the blocks that are calls of our tools, and not of the provider's own."""
