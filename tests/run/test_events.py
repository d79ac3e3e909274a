"""What can be watched of an execution while it runs."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langchain_ptc import ProgrammaticToolExecutor, as_programmatic
from langchain_ptc.run.events import SOURCE, Event, Events
from langchain_ptc.testing import tool_call_message
from tests.support.hosts import plain


@tool
async def double(x: int) -> int:
    """Double a number."""
    return x * 2


@tool
async def fail(x: int) -> int:
    """Fail."""
    raise ValueError(f"no {x}")


@tool
async def progress(x: int) -> int:
    """Write to the graph's custom stream."""
    get_stream_writer()({"mine": x})
    return x


@tool
async def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


def graph_of(*tools: Any, checkpointer: Any = None, **options: Any) -> Any:
    """Build a graph that runs the code of its last message."""
    node = ToolNode(as_programmatic(list(tools), **options))
    graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools")
    return graph.compile(checkpointer=checkpointer)


def request(code: str) -> dict[str, Any]:
    """Return a state whose last message asks for code to be run."""
    message = tool_call_message("run_code", {"code": code}, id="c1")
    return {"messages": [HumanMessage("go"), message]}


CODE = "print('one')\nprint(await double(x=21))\ntry:\n    await fail(x=1)\nexcept ToolCallError:\n    pass"


def kinds(events: list[Event]) -> list[str]:
    """Return the kinds of events, in order, without output."""
    return [event["event"] for event in events if event["event"] != "output"]


EXPECTED = [
    "execution_start",
    "call_start",
    "call_end",
    "call_start",
    "call_end",
    "execution_end",
]


async def test_on_event_is_told_everything_in_order() -> None:
    """Start, calls, output and end come in order, with ids, and can be written as JSON."""
    events: list[Event] = []
    executor = ProgrammaticToolExecutor([double, fail], on_event=events.append)
    result = await executor.aexecute(CODE)
    assert kinds(events) == EXPECTED
    assert {event["execution_id"] for event in events} == {result.execution_id}
    assert "".join(e["text"] for e in events if e["event"] == "output") == result.output
    first, second = (event for event in events if event["event"] == "call_end")
    assert (first["tool"], first["status"], first["error"]) == ("double", "returned", None)
    assert second["status"] == "failed"
    assert "no 1" in second["error"]
    start = next(event for event in events if event["event"] == "call_start")
    assert start["arguments"] == {"x": 21}
    assert start["line"] == 2
    assert json.loads(json.dumps(events)) == events


async def test_results_are_in_no_event() -> None:
    """What a tool returned stays in the sandbox."""
    events: list[Event] = []

    @tool
    def secret() -> str:
        """Return a secret."""
        return "hunter2"

    await ProgrammaticToolExecutor([secret], on_event=events.append).aexecute("s = await secret()")
    assert "hunter2" not in json.dumps(events)


async def test_an_on_event_that_fails_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The execution goes on, and the failure is in the log."""

    def broken(event: Event) -> None:
        raise RuntimeError("my dashboard is down")

    with caplog.at_level(logging.ERROR, "langchain_ptc"):
        result = await ProgrammaticToolExecutor([double], on_event=broken).aexecute("print(1)")
    assert result.output == "1\n"
    assert "my dashboard is down" in caplog.text


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()], ids=["free", "journal"])
@pytest.mark.parametrize("sync", [True, False], ids=["stream", "astream"])
async def test_the_custom_stream(checkpointer: Any, *, sync: bool) -> None:
    """The graph's custom stream has our events and those of the tools, with a journal or without."""
    graph = graph_of(double, fail, progress, checkpointer=checkpointer)
    config: Any = {"configurable": {"thread_id": f"custom {sync}"}}
    given = request(f"await progress(x=5)\n{CODE}")
    if sync:
        stream = graph.stream(given, config, stream_mode="custom")
        told = await asyncio.to_thread(list, stream)
    else:
        told = [event async for event in graph.astream(given, config, stream_mode="custom")]
    assert {"mine": 5} in told
    ours = [event for event in told if event.get("source") == SOURCE]
    assert kinds(ours) == [*EXPECTED[:3], *EXPECTED[1:]]
    assert ours[0]["call_id"] == "c1"
    assert [plain(event["call_id"]) for event in ours if event["event"] == "call_start"] == [
        "c1:1",
        "c1:2",
        "c1:3",
    ]


async def test_a_pause_is_told_and_nothing_is_told_twice() -> None:
    """After a pause only what is new is told; the execution keeps its id."""
    events: list[Event] = []
    graph = graph_of(double, ask, checkpointer=InMemorySaver(), on_event=events.append)
    config: Any = {"configurable": {"thread_id": "1"}}
    code = "print(await double(x=1))\nprint(await ask(question='go on?'))\nprint(await double(x=2))"
    await graph.ainvoke(request(code), config)
    assert kinds(events)[-1] == "execution_pause"
    assert events[-1]["waiting"] == 1
    before = len(events)
    await graph.ainvoke(Command(resume="yes"), config)
    told = events[before:]
    assert told[0]["resumed"] is True
    assert [event["tool"] for event in told if event["event"] == "call_start"] == ["ask", "double"]
    assert len({event["execution_id"] for event in events}) == 1
    assert "".join(e["text"] for e in events if e["event"] == "output") == "2\nyes\n4\n"


async def test_the_tools_stream_shows_inner_calls_and_output() -> None:
    """`stream_mode="tools"` has the calls of the code under ids of their own, and what it printed."""
    told = [
        event
        async for event in graph_of(double).astream(
            request("print('hello')\nprint(await double(x=2))"), stream_mode="tools"
        )
    ]
    text = plain(str(told))
    assert "c1:1" in text
    assert "hello" in text


async def test_the_log_has_the_execution_id(caplog: pytest.LogCaptureFixture) -> None:
    """Each record of the logger carries the id of its execution."""
    with caplog.at_level(logging.DEBUG, "langchain_ptc"):
        result = await ProgrammaticToolExecutor([double]).aexecute("await double(x=1)")
    records = [record for record in caplog.records if record.name == "langchain_ptc"]
    assert len(records) == 4
    assert {getattr(record, "execution_id", None) for record in records} == {result.execution_id}


async def test_output_is_told_while_the_code_runs() -> None:
    """What was printed before a call is told before the call ends."""
    events: list[Event] = []
    gate = asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait until the test has seen the output."""
        await gate.wait()
        return "done"

    def look(event: Event) -> None:
        events.append(event)
        if event["event"] == "output":
            gate.set()

    executor = ProgrammaticToolExecutor([wait], on_event=look)
    result = await executor.aexecute("print('before')\nprint(await wait())")
    assert [e["text"] for e in events if e["event"] == "output"] == ["before\n", "done\n"]
    assert result.output == "before\ndone\n"


@pytest.mark.parametrize("mode", ["values", "custom", ["updates", "custom"]])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("nested", [False, True])
async def test_events_have_a_listener_only_if_somebody_reads_the_custom_stream(
    mode: Any, *, sync: bool, nested: bool
) -> None:
    """In a graph whose custom stream nobody reads, events go to nobody, and none is built."""
    seen: list[bool] = []

    def note(_: MessagesState) -> dict[str, Any]:
        seen.append(Events().is_watched)
        return {}

    graph: Any = StateGraph(MessagesState).add_node("note", note).add_edge(START, "note").compile()
    if nested:
        outer = StateGraph(MessagesState).add_node("graph", graph.with_config(tags=["inner"]))
        graph = outer.add_edge(START, "graph").compile()
    if sync:
        stream = functools.partial(graph.stream, {"messages": []}, subgraphs=nested)
        await asyncio.to_thread(lambda: list(stream(stream_mode=mode)))
    else:
        async for _ in graph.astream({"messages": []}, stream_mode=mode, subgraphs=nested):
            pass
    assert seen == ["custom" in mode]


@tool
def plain_writer(x: int) -> int:
    """Note whether the events of the program that calls it have a listener."""
    WATCHED.append(Events().is_watched)
    return x


WATCHED: list[bool] = []


async def test_a_writer_that_does_something_is_a_listener() -> None:
    """Only a writer that does nothing is passed over, whoever has put it there."""
    got: list[Any] = []
    graph = graph_of(plain_writer)
    WATCHED.clear()
    async for _, data in graph.astream(
        request("plain_writer(x=1)"), stream_mode=["values", "custom"]
    ):
        got.append(data)
    await graph.ainvoke(request("plain_writer(x=1)"))
    assert WATCHED == [True, False]
    assert next(e["event"] for e in got if e.get("source") == SOURCE) == "execution_start"
