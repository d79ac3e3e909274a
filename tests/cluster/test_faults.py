"""What a program notices of the loss of its node: nothing, if it has a journal."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ptc import Limits, ProgrammaticToolExecutor, RaySandbox, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.clusters import LocalCluster, Node, busy, connected, kill
from tests.support.waiting import wait_for

CODE = """
import asyncio
out = [await step("first")]
for _ in range(60):  # about a second, whatever its clock says: in a program with a journal that stands still
    sum(range(1_000_000))
out += await asyncio.gather(step("left"), step("right"))
out.append(await step("last"))
print(out)
"""
STEPS = ["first", "left", "right", "last"]
SILENT_SECONDS, PATIENCE = 3.0, 5.0
PRINTED = str([name.upper() for name in STEPS])

Breaking = Callable[[Node], contextlib.AbstractContextManager[object]]


def _kill(processes: Callable[[Node], list[int]]) -> Breaking:
    return lambda node: contextlib.nullcontext(kill(processes(node)))


WAYS: dict[str, Breaking] = {
    "actor": _kill(Node.actors),
    "parent of workers": _kill(Node.parents_of_workers),
    "hangs": Node.stopped,
}


class World:
    """An agent whose one program takes four steps, and what these did."""

    def __init__(self, sandbox: RaySandbox) -> None:
        self.steps: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}
        """What to do in a step, after its effect."""

        @tool
        async def step(name: str) -> str:
            """Do something that must not be done twice."""
            self.steps.append(name)
            if name in self.at:
                await asyncio.to_thread(self.at[name])
            return name.upper()

        def reply(messages: list[Any]) -> Any:
            if messages[-1].type == "tool":
                return messages[-1].text
            return tool_call_message("run_code", {"code": CODE}, id="call-1")

        tools = as_programmatic([step], sandbox=sandbox, limits=Limits(wall_seconds=60.0))
        model = ScriptedChatModel(script=reply)
        self._agent = create_agent(model, tools, checkpointer=InMemorySaver())

    async def run(self) -> str:
        """Return what the program printed."""
        config: Any = {"configurable": {"thread_id": "1"}}
        state = await self._agent.ainvoke({"messages": [("user", "go")]}, config)
        return str(state["messages"][-1].text).strip()


def busy_node(cluster: LocalCluster, sandbox: RaySandbox) -> Node:
    """Return the node that the one execution is on."""
    (name,) = busy(sandbox)
    return next(node for node in cluster.nodes if node.id == name)


@pytest.fixture
def broken() -> Iterator[contextlib.ExitStack]:
    """What was broken during a test, and is mended afterwards."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("phase", ["in a call", "in two calls", "computing", "at the end", "twice"])
async def test_a_program_with_a_journal_notices_nothing(cluster, sandbox, broken, way, phase):
    """Whatever is lost, and when: the same output, and each effect once."""
    world = World(sandbox)

    def lose() -> None:
        broken.enter_context(WAYS[way](busy_node(cluster, sandbox)))

    def lose_soon() -> None:
        timer = threading.Timer(0.3, lose)
        broken.callback(timer.join)
        timer.start()

    world.at = {
        "in a call": {"first": lose},
        "in two calls": {"left": lose},
        "computing": {"first": lose_soon},
        "at the end": {"last": lose},
        "twice": {"first": lose, "last": lose},
    }[phase]
    if (way, phase) == ("hangs", "twice"):
        pytest.skip("both nodes would hang, and there is no third")
    assert await asyncio.wait_for(world.run(), 60) == PRINTED
    assert sorted(world.steps) == sorted(STEPS)


async def test_a_node_that_hangs_is_noticed_soon(cluster, sandbox, broken):
    """It takes about three seconds, and not the minute that Ray takes; it is used again when it is back."""
    world, times = World(sandbox), []

    def note() -> None:
        times.append(time.monotonic())

    def hang() -> None:
        broken.enter_context(busy_node(cluster, sandbox).stopped())
        note()

    world.at = {"first": hang, "left": note}
    assert await asyncio.wait_for(world.run(), 60) == PRINTED
    hung, went_on = times
    assert (
        went_on - hung < SILENT_SECONDS + PATIENCE
    )  # with a new worker, and its second of computing
    broken.close()
    assert await asyncio.to_thread(wait_for, lambda: len(connected(sandbox)) == 2)


async def test_a_raylet_that_was_killed(cluster, sandbox):
    """A program goes on where it is, or elsewhere once its server has followed; so do later ones."""
    world, lost = World(sandbox), []

    def lose() -> None:
        lost.append(busy_node(cluster, sandbox))
        kill([lost[0].raylet])

    world.at = {"first": lose}
    try:
        assert await asyncio.wait_for(world.run(), 60) == PRINTED
        assert sorted(world.steps) == sorted(STEPS)
    finally:
        await asyncio.to_thread(cluster.remove, lost[0])
        cluster.add()  # in the main thread: Ray sets a signal handler
    assert await asyncio.to_thread(
        wait_for, lambda: connected(sandbox) == {node.id for node in cluster.nodes}
    )


async def test_all_nodes_at_once(cluster, sandbox):
    """The program waits until Ray has started the actors again."""
    world = World(sandbox)

    def lose() -> None:
        for node in cluster.nodes:
            kill(node.actors())

    world.at = {"first": lose, "last": lose}
    assert await asyncio.wait_for(world.run(), 60) == PRINTED
    assert sorted(world.steps) == sorted(STEPS)


async def test_a_program_without_a_journal_ends(cluster, sandbox):
    """It cannot be replayed, since its clock and chance are real: its end says what took effect."""
    done = []

    @tool
    async def buy(item: str) -> str:
        """Buy."""
        done.append(item)
        await asyncio.to_thread(lambda: kill(busy_node(cluster, sandbox).actors()))
        return item

    executor = ProgrammaticToolExecutor([buy], sandbox=sandbox)
    result = await asyncio.wait_for(executor.aexecute("await buy(item='tea')\nprint(1)"), 60)
    assert result.status == "sandbox"
    assert done == ["tea"]
    assert (await executor.aexecute("print(2)")).output == "2\n"


async def test_an_execution_that_is_cancelled_leaves_nothing(cluster, sandbox):
    """In each phase, its worker ends and its place is free again."""

    @tool
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(60)
        return ""

    executor = ProgrammaticToolExecutor([wait], sandbox=sandbox)
    for seconds in (0.0, 0.005, 0.02, 0.1, 0.5):
        run = asyncio.ensure_future(executor.aexecute("await wait()"))
        await asyncio.sleep(seconds)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
    assert await asyncio.to_thread(wait_for, lambda: not busy(sandbox))
