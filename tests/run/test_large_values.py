"""Large values, arguments and records are converted off the event loop, whatever their form."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolExecutor, as_programmatic
from langchain_ptc.run.dispatch import text_of
from langchain_ptc.run.plain import as_plain, render_plain

MAX_SECONDS = 0.05
"""Processor time of the event loop's thread in one callback."""


@tool
async def put(rows: list) -> str:
    """Put rows."""
    return "ok"


@tool
async def fail(rows: list) -> str:
    """Fail."""
    raise ValueError("no")


PROGRAMS = {
    "rows": "return [{'id': i, 'name': f'n{i}'} for i in range(25_000)]",
    "rows in a record": "return {'rows': [{'id': i} for i in range(25_000)]}",
    "lists of lists": "return [[[i]] for i in range(25_000)]",
    "a set": "return {str(i) for i in range(60_000)}",
    "a mapping with keys of any type": "return {(i, i): i for i in range(20_000)}",
    "a long text with lone surrogates": "return 'x\\ud800' * 1_000_000",
    "arguments": "await put(rows=[{'i': i} for i in range(30_000)])",
    "floats as arguments": "await put(rows=[i / 7 for i in range(200_000)])",
    "many keys as arguments": "await put(rows=[{f'k{i}': i / 7 for i in range(150_000)}])",
    "arguments of a call that fails": "await fail(rows=[{'i': i} for i in range(30_000)])",
    "many calls": "for i in range(300):\n    await put(rows=[])",
}


@asynccontextmanager
async def longest_callback(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[float]]:
    """Measure the processor time of the callbacks of event loops: other processes do not count."""
    worst = [0.0]
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        worst[0] = max(worst[0], time.thread_time() - began)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        gc.disable()  # a collection of all that is imported takes longer than what is measured
        try:
            yield worst
        finally:
            gc.enable()


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with ProcessSandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("case", PROGRAMS)
async def test_a_large_result_leaves_the_loop_free(
    case: str, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report, artifact and budget of a large result take no long step of the event loop."""
    events: list[Any] = []
    (run_code,) = as_programmatic(
        [put, fail], sandbox=sandbox, on_event=events.append, limits=Limits(max_tool_calls=500)
    )
    call: Any = {"name": "run_code", "args": {"code": "print(1)"}, "id": "c", "type": "tool_call"}
    await run_code.ainvoke(call)
    async with longest_callback(monkeypatch) as worst:
        message = await run_code.ainvoke({**call, "args": {"code": PROGRAMS[case]}})
    assert worst[0] < MAX_SECONDS
    assert message.artifact["status"] == ("error" if "fails" in case else "success")
    assert len(message.content) < 20_100
    json.dumps(message.artifact).encode()


@pytest.mark.parametrize("case", ["rows", "lists of lists", "arguments", "many calls"])
async def test_a_journal_of_large_values_leaves_the_loop_free(
    case: str, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of a graph with a checkpointer are written and read off the loop too."""
    executor = ProgrammaticToolExecutor([put], sandbox=sandbox)
    code = PROGRAMS[case].replace("300", "100")

    class State(TypedDict, total=False):
        status: str

    async def node(state: State) -> State:
        return {"status": (await executor.aexecute(code)).status}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    async with longest_callback(monkeypatch) as worst:
        state = await app.ainvoke({}, {"configurable": {"thread_id": "1"}})
    assert state == {"status": "success"}
    assert worst[0] < 2 * MAX_SECONDS  # the checkpointer's own serializer is among it


@pytest.mark.parametrize(
    "value",
    [
        [{"a": n, "é": "ü\n"} for n in range(7_000)],
        {"rows": [[n, None, 1.5] for n in range(7_000)], "n": 1},
        {str(n): {"n": n} for n in range(7_000)},
        [dict.fromkeys(map(str, range(30)), 1) for _ in range(1_000)],
        [[[list(range(6_000))], 1], "x"],
        [[]] * 6_000,
        [{}] * 6_000,
    ],
    ids=[
        *("rows", "a record of rows", "records by name", "wide rows", "deep", "empty lists"),
        "empty records",
    ],
)
def test_rendering_in_slices_is_that_of_json(value: Any) -> None:
    """What is rendered in slices is what `json.dumps` gives in one piece."""
    assert render_plain(value) == json.dumps(value, ensure_ascii=False)


def test_a_large_set_is_in_order() -> None:
    """Slices that are sorted by themselves are merged into one order."""
    names = {f"{n * 7919 % 25_000:05}" for n in range(25_000)}
    assert as_plain(names) == sorted(names)


SHAPES = [
    [number / 7 for number in range(20_001)],
    {"given": [[number, str(number)] for number in range(6_000)], "n": None},
    [[[number / 3 for number in range(9_000)]], ("a", {1: [2]})],
    {f"k{number}": {"v": [number, "it's", '"', b"x"]} for number in range(6_000)},
    {"text": "x" * 1_000_001},
    [{*range(6_000)}, tuple(range(6_000)), {(1, 2): [*range(6_000)]}],
]


@pytest.mark.parametrize("value", SHAPES)
def test_text_of_large_arguments_is_their_text(value: Any) -> None:
    """It is written in pieces, and the same as at once."""
    assert text_of(value) == repr(value)


class Shown(BaseCallbackHandler):
    """Notes what callbacks are shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def on_tool_start(
        self, serialized: Any, input_str: str, *, inputs: Any = None, **kwargs: Any
    ) -> None:
        self.seen.append((input_str, inputs))


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("count", [3, 20_000])
async def test_callbacks_are_shown_all_arguments(is_async: bool, count: int) -> None:
    """Injected ones left out, of large calls as of small ones; two calls show each its own."""

    @tool
    async def take(
        given: list[float], config: RunnableConfig, call_id: Annotated[str, InjectedToolCallId]
    ) -> None:
        """Take."""

    @tool("take")
    def take_sync(
        given: list[float], config: RunnableConfig, call_id: Annotated[str, InjectedToolCallId]
    ) -> None:
        """Take."""

    shown = Shown()
    executor = ProgrammaticToolExecutor([take if is_async else take_sync])
    code = f"await take([i / 7 for i in range({count})])\nawait take([1.5] * {count})"
    config: RunnableConfig = {"callbacks": [shown]}
    await executor.aexecute(code, config=config)
    await asyncio.to_thread(executor.execute, code, config=config)
    expected = [{"given": [i / 7 for i in range(count)]}, {"given": [1.5] * count}]
    calls = [(text, inputs) for text, inputs in shown.seen if "given" in (inputs or {})]
    assert calls == [(str(inputs), inputs) for inputs in expected * 2]
