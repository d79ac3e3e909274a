"""Each effect happens once, in every kind of graph, however often the graph is paused and resumed."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_ptc import as_programmatic
from tests.support.hosts import (
    ALL_HOSTS,
    REQUEST,
    World,
    agent,
    answers,
    artifact,
    host,
    message_of,
    open_saver,
    output,
    questions,
    run,
    state_of,
    writes,
)

CODE = """\
import asyncio
out = [await get("a")]
out += await asyncio.gather(ask("b"), post("c"), ask_sync("d"))
try:
    await flaky("e")
except ToolCallError as e:
    out.append("lost" if "lost e" in str(e) else "?")
out.append(await ask("f"))
print(out)
"""
PRINTED = "['got a', 'yes-b', 'posted c', 'yes-d', 'lost', 'yes-f']"
EFFECTS = ["get a", "ask b = yes-b", "post c", "ask d = yes-d", "flaky e", "ask f = yes-f"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize(
    ("name", "sync"), ALL_HOSTS, ids=lambda v: {True: "sync", False: "async"}.get(v, v)
)
async def test_each_effect_once_in_every_graph(name, sync, kind, tmp_path):
    """Questions side by side are shown at once, answered one by one, and nothing happens twice.

    The graph is built anew for each run of it, with the checkpointer opened anew: nothing but the
    checkpoints goes from one to the next.
    """
    world = World()

    async def once(given: Any) -> Any:
        async with open_saver(kind, tmp_path, sync=sync) as saver:
            graph = host(name, sync=sync)(world.tools(), CODE, saver)
            state = await run(graph, given, sync=sync)
            assert questions(await state_of(graph, sync=sync)) == questions(state)
            return state

    state = await once(REQUEST)
    assert set(questions(state)) == {"b", "d"}
    assert Counter(world.effects) == Counter(["get a", "post c"])
    kept = questions(state)
    state = await once(answers(state, "d"))
    assert questions(state) == {"b": kept["b"]}
    state = await once(answers(state, "b"))
    assert set(questions(state)) == {"f"}
    state = await once(Command(resume="yes-f"))
    assert not state.get("__interrupt__")
    assert output(state) == PRINTED
    assert Counter(world.effects) == Counter(EFFECTS)
    record = artifact(state)
    assert [call.call_id for call in record.tool_calls] == [
        f"{record.tool_calls[0].call_id.rpartition(':')[0]}:{n}" for n in range(1, 7)
    ]
    statuses = [call.status for call in record.tool_calls]
    assert statuses == ["returned"] * 4 + ["failed", "returned"]


# --- two programs in one message --------------------------------------------------------------------

FIRST = 'print(await ask("a1"), await ask("a2"))'
SECOND = """\
for n in range(3):
    await get(f"b{n}")
print(await ask("b"))
"""


def two_calls(world: World, saver: Any, **options: Any) -> Any:
    """A bare `ToolNode` that is given two programs in one message."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(as_programmatic(world.tools()), **options))
    graph.add_edge(START, "tools")
    return graph.compile(checkpointer=saver)


TWO: Any = {"messages": [message_of(FIRST, SECOND)]}


def outputs(state: Any) -> list[str]:
    return [message.text for message in state["messages"] if not isinstance(message, AIMessage)]


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_two_programs_in_one_task_wait_for_each_other(kind, sync, tmp_path):
    """A program that pauses waits until its sibling has paused too; both questions are shown.

    `ToolNode` lets the first pause end the task, while the other program would run on unseen, and
    again when the graph is resumed.
    """
    world = World(latency_seconds=0.02)
    async with open_saver(kind, tmp_path, sync=sync) as saver:
        graph = two_calls(world, saver)
        state = await run(graph, TWO, sync=sync)
        assert set(questions(state)) == {"a1", "b"}
        assert questions(await state_of(graph, sync=sync)) == questions(state)
        assert world.effects == ["get b0", "get b1", "get b2"]
        state = await run(graph, answers(state, "b"), sync=sync)
        assert set(questions(state)) == {"a1"}
        state = await run(graph, answers(state, "a1"), sync=sync)
        assert set(questions(state)) == {"a2"}
        state = await run(graph, answers(state), sync=sync)
    assert outputs(state) == ["yes-a1 yes-a2", "yes-b"]
    assert max(Counter(world.effects).values()) == 1


async def test_a_sibling_that_ends_is_not_run_again():
    """A program that ended beside one that paused has its output from the journal."""
    world = World(latency_seconds=0.02)
    graph = two_calls(world, InMemorySaver())
    given = {"messages": [message_of('print(await ask("a"))', 'print(await get("b"))')]}
    state = await run(graph, given)
    assert set(questions(state)) == {"a"}
    state = await run(graph, answers(state))
    assert outputs(state) == ["yes-a", "got b"]
    assert Counter(world.effects) == Counter(["get b", "ask a = yes-a"])


async def test_programs_find_their_journals_whoever_begins_first():
    """Programs of one message find their own journals, in whatever order they begin on resume."""
    world = World()
    order = [[0.05, 0.0], [0.0, 0.05], [0.05, 0.0], [0.0, 0.05]]
    passes = iter(order)
    delays: list[float] = []

    async def slow(request: Any, handler: Any) -> Any:
        await asyncio.sleep(delays[int(request.tool_call["id"][1:]) - 1])
        return await handler(request)

    graph = two_calls(world, InMemorySaver(), awrap_tool_call=slow)
    delays[:] = next(passes)
    state = await run(graph, TWO)
    while state.get("__interrupt__"):
        delays[:] = next(passes, [0.0, 0.0])
        state = await run(graph, answers(state))
    assert outputs(state) == ["yes-a1 yes-a2", "yes-b"]
    assert max(Counter(world.effects).values()) == 1


async def test_a_program_that_comes_late_does_not_begin_beside_a_pause():
    """A program that would begin when its sibling has paused begins with the resumed graph."""
    world = World()
    gate = asyncio.Event()
    begun = asyncio.Event()

    async def late(request: Any, handler: Any) -> Any:
        if request.tool_call["id"] == "c2":
            await gate.wait()
            begun.set()
        return await handler(request)

    graph = two_calls(world, InMemorySaver(), awrap_tool_call=late)
    state = await run(graph, TWO)
    assert set(questions(state)) == {"a1"}
    gate.set()
    await begun.wait()
    for _ in range(50):  # it would have made its calls by then
        await asyncio.sleep(0.002)
    assert world.effects == []
    state = await run(graph, answers(state))
    assert set(questions(state)) == {"a2", "b"}
    state = await run(graph, answers(state))
    assert outputs(state) == ["yes-a1 yes-a2", "yes-b"]
    assert max(Counter(world.effects).values()) == 1


async def test_calls_in_flight_in_a_synchronous_graph_take_no_thread_each():
    """In a synchronous graph with a checkpointer, sixty calls wait at once without a thread for each."""
    waiting = 0
    added: set[threading.Thread] = set()
    is_full = asyncio.Event()

    @tool
    async def wait(n: int) -> int:
        """Wait until sixty calls do."""
        nonlocal waiting
        waiting += 1
        if waiting == 60:
            added.update(set(threading.enumerate()) - before)
            is_full.set()
        await is_full.wait()
        return n

    code = "import asyncio\nprint(sum(await asyncio.gather(*[wait(n) for n in range(60)])))"
    graph = agent([wait], code, InMemorySaver())
    before = set(threading.enumerate())
    state = await run(graph, REQUEST, sync=True)
    assert output(state) == "1770"
    assert len(added) < 30


# --- large results ----------------------------------------------------------------------------------

LARGE = """\
rows = await rows(50_000)
print(len(rows), rows[-1], await ask("a"))
"""


def rows_tool(made: list[int]) -> Any:
    @tool
    def rows(count: int) -> list[str]:
        """Give rows."""
        made.append(count)
        return [f"row {n} \ud800" for n in range(count)]

    return rows


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_large_results_are_in_the_checkpoints(sync, tmp_path):
    """A large result is kept with the thread, also in a graph with a store, and comes back after a pause."""
    made: list[int] = []
    tools = [rows_tool(made), *World().tools()]
    store = InMemoryStore()

    async def once(given: Any) -> Any:
        async with open_saver("sqlite", tmp_path, sync=sync) as saver:
            graph = create_agent(
                writes(LARGE), as_programmatic(tools), checkpointer=saver, store=store
            )
            return await run(graph, given, sync=sync)

    state = await once(REQUEST)
    state = await once(answers(state))
    assert output(state) == "50000 row 49999 \\ud800 yes-a"
    assert made == [50_000]
    assert store.search(()) == []
