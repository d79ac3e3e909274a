"""Limits of time count each stretch between two pauses, and what is only run again does not count."""

from __future__ import annotations

import time
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox
from langchain_ptc.sandbox.deadlines import Deadlines
from tests import fickle
from tests.hosts import REQUEST, agent, artifact, output, run

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


async def drive(graph: Any) -> Any:
    """Approve whatever is asked until the graph has ended."""
    state = await run(graph, REQUEST)
    while state.get("__interrupt__"):
        state = await run(graph, OK)
    return state


@sandboxes
@pytest.mark.parametrize("limit", ["wall_seconds", "cpu_seconds"])
async def test_wall_seconds_between_pauses(limit, kind):
    """Four stretches of a third of the limit each end well, though all together are over it."""
    paid: list[int] = []
    limits = {"wall_seconds": 60.0, "cpu_seconds": 60, limit: 1}
    burn = f"burn({loops_for(0.35, limit)})"
    code = BURN + f"for k in range(3):\n    {burn}\n    await pay(k)\n{burn}\nprint('the end')"
    with sandbox_of(kind) as sandbox:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=Limits(**limits),  # type: ignore[arg-type]
            sandbox=sandbox,
        )
        state = await drive(graph)
    assert output(state) == "the end"
    assert paid == [0, 1, 2]


@sandboxes
@pytest.mark.parametrize("limit", ["wall_seconds", "cpu_seconds"])
async def test_the_stretch_after_a_pause_is_limited(limit, kind):
    """Code that loops after a pause is ended by the same limit, and what was paid is told."""
    paid: list[int] = []
    limits = {"wall_seconds": 60.0, "cpu_seconds": 60, limit: 1}
    code = BURN + f"burn({loops_for(0.05, limit)})\nawait pay(1)\nwhile True: pass"
    with sandbox_of(kind) as sandbox:
        graph = agent(
            [payer(paid)],
            code,
            InMemorySaver(),
            interrupt_on={"pay": True},
            limits=Limits(**limits),  # type: ignore[arg-type]
            sandbox=sandbox,
        )
        await run(graph, REQUEST)
        state = await run(graph, OK)
    record = artifact(state)
    assert record.status == "limit"
    assert record.error.limit == limit
    assert record.error.allowed == 1
    assert "pay(n=1)" in output(state)
    assert paid == [1]


async def test_a_replay_that_does_not_end_is_ended():
    """Code that loops in what should only be run again is ended too, before anything is called."""
    fickle.VALUES[0] = "first"
    paid: list[int] = []
    code = (
        "from tests.fickle import value\nif value() != 'first':\n    while True: pass\nawait pay(1)"
    )
    with InProcessSandbox(imports=["tests.fickle"]) as inside:
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


def test_a_deadline_takes_the_place_of_the_one_before():
    """A worker whose limit begins anew is not ended by the old one, and once by the new one."""

    class Worker:
        number, timed_out = 1, False

    worker: Any = Worker()
    deadlines = Deadlines(lambda one: True)
    deadlines.set(worker, 1.0)
    deadlines.set(worker, 5.0)
    assert list(deadlines.come(4.0)) == []
    assert list(deadlines.come(5.0)) == [worker]
    worker.timed_out = True
    assert list(deadlines.come(5.1)) == []
    assert list(deadlines.come(6.0)) == [worker]
    assert deadlines.next == float("inf")


def test_old_deadlines_take_no_room():
    """A worker whose limits begin anew a thousand times costs a bounded number of entries."""

    class Worker:
        number, timed_out = 1, False

    deadlines = Deadlines(lambda one: True)
    for moment in range(1000):
        deadlines.set(Worker(), 1e9 + moment)  # type: ignore[arg-type]
    assert len(deadlines._heap) < 200
