"""Limits of time count each stretch between two pauses, and what is only run again does not count."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor
from tests.support import fickle
from tests.support.hosts import REQUEST, agent, artifact, output, run
from tests.support.waiting import wait_for

OK: Any = Command(resume={"decisions": [{"type": "approve"}]})
sandboxes = pytest.mark.parametrize("kind", ["process", "inprocess"])


def sandbox_of(kind: str, **options: Any) -> Any:
    return ProcessSandbox(**options) if kind == "process" else InProcessSandbox(**options)


def payer(paid: list[int]) -> Any:
    @tool
    def pay(n: int) -> str:
        """Pay."""
        paid.append(n)
        return "paid"

    return pay


def loops_for(seconds: float, limit: str) -> int:
    """Return how many rounds of the loop below take about so long here and now, by the limit's clock."""
    clock = time.perf_counter if limit == "wall_seconds" else time.process_time
    began, x = clock(), 0
    for _ in range(1_000_000):
        x += 1  # noqa: SIM113  # the loop is what is measured
    return int(seconds / (clock() - began) * 1_000_000)


BURN = "def burn(n):\n    x = 0\n    for _ in range(n): x += 1\n"


STRETCHES = {
    # Waiting fills a stretch of wall time and costs nothing; what is run again is the computing.
    "wall_seconds": (3, 0.08, "await asyncio.sleep(0.4)"),
    "cpu_seconds": (2, 0.6, ""),
}
"""How many stretches, how long each computes, and what else it does: each under a second, all over it."""


async def drive(graph: Any) -> Any:
    """Approve whatever is asked until the graph has ended."""
    state = await run(graph, REQUEST)
    while state.get("__interrupt__"):
        state = await run(graph, OK)
    return state


def limits_of(limit: str, most: float) -> Limits:
    """Return limits of which only one will be reached."""
    return Limits(**{"wall_seconds": 60.0, "cpu_seconds": 60, limit: most})  # type: ignore[arg-type]


@sandboxes
@pytest.mark.parametrize("limit", ["wall_seconds", "cpu_seconds"])
async def test_wall_seconds_between_pauses(limit, kind):
    """Stretches under the limit end well, though all together are over it."""
    paid: list[int] = []
    number, seconds, more = STRETCHES[limit]
    stretch = f"burn({loops_for(seconds, limit)}); {more}"
    code = f"import asyncio\n{BURN}for k in range({number - 1}):\n    {stretch}\n    await pay(k)\n{stretch}\nprint('the end')"
    with sandbox_of(kind) as sandbox:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=limits_of(limit, 1),
            sandbox=sandbox,
        )
        state = await drive(graph)
    assert output(state) == "the end"
    assert paid == list(range(number - 1))
    assert limit == "cpu_seconds" or artifact(state).duration_seconds > 1


@sandboxes
@pytest.mark.parametrize(("limit", "most"), [("wall_seconds", 0.4), ("cpu_seconds", 1)])
async def test_the_stretch_after_a_pause_is_limited(limit, most, kind):
    """Code that loops after a pause is ended by the same limit, and what was paid is told."""
    paid: list[int] = []
    code = BURN + f"burn({loops_for(0.05, limit)})\nawait pay(1)\nwhile True: pass"
    with sandbox_of(kind) as sandbox:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=limits_of(limit, most),
            sandbox=sandbox,
        )
        await run(graph, REQUEST)
        state = await run(graph, OK)
    record = artifact(state)
    assert record.status == "limit"
    assert record.error.limit == limit
    assert record.error.allowed == most
    assert "pay(n=1)" in output(state)
    assert paid == [1]


@pytest.mark.parametrize("what", ["killed", "stopped for a while"])
async def test_many_pauses_near_the_limit(what):
    """Three stretches of most of the limit each, in one worker at a time, whatever becomes of its parent."""
    paid: list[int] = []
    code = (
        "import asyncio\nfor k in range(2):\n    await asyncio.sleep(0.6)\n    await pay(k)\n"
        "await asyncio.sleep(0.6)\nprint('the end')\nawait pay(9)\nwhile True: pass"
    )
    with ProcessSandbox(waiting_workers=1, max_workers=1) as sandbox:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=Limits(wall_seconds=0.9),
            sandbox=sandbox,
        )
        state = await run(graph, REQUEST)
        while state.get("__interrupt__"):
            parent = sandbox.stats().parent_pid
            assert parent is not None
            if what == "killed":
                os.kill(parent, signal.SIGKILL)
                gone = lambda: sandbox.stats().parent_pid != parent  # noqa: E731, B023
                assert await asyncio.to_thread(wait_for, gone)
            else:
                os.kill(parent, signal.SIGSTOP)
                threading.Timer(0.1, os.kill, (parent, signal.SIGCONT)).start()
            state = await run(graph, OK)
    record = artifact(state)
    assert (record.status, record.error.limit, record.output) == (
        "limit",
        "wall_seconds",
        "the end\n",
    )
    assert paid == [0, 1, 9]


async def test_a_resumed_execution_waits_for_its_turn():
    """One that needs a worker of its own, to run again what took long, gets it after endless loops."""
    paid: list[int] = []
    code = BURN + f"burn({loops_for(0.2, 'cpu_seconds')})\nprint(await pay(1))"
    with ProcessSandbox(waiting_workers=1, max_workers=1) as sandbox:
        graph = agent(
            [payer(paid)], code, InMemorySaver(), interrupt_on={"pay": True}, sandbox=sandbox
        )
        await run(graph, REQUEST)
        endless = ProgrammaticToolExecutor([], sandbox=sandbox, limits=Limits(wall_seconds=0.3))
        loops = [asyncio.ensure_future(endless.aexecute("while True: pass")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert output(await run(graph, OK)) == "paid"
        assert {(await loop).status for loop in loops} == {"limit"}
    assert paid == [1]


async def test_a_replay_that_does_not_end_is_ended():
    """Code that loops in what should only be run again is ended too, before anything is called."""
    fickle.VALUES[0] = "first"
    paid: list[int] = []
    code = "from tests.support.fickle import value\nif value() != 'first':\n    while True: pass\nawait pay(1)"
    with InProcessSandbox(imports=["tests.support.fickle"]) as inside:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=Limits(wall_seconds=0.5),
            sandbox=inside,
        )
        await run(graph, REQUEST)
        fickle.VALUES[0] = "second"
        state = await run(graph, OK)
    assert artifact(state).error.limit == "wall_seconds"
    assert paid == []
