"""When a worker is ended: its deadlines, by a clock of the test's own."""

from __future__ import annotations

from typing import Any

from langchain_ptc.sandbox.host.deadlines import Deadlines


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

    worker: Any = Worker()
    deadlines = Deadlines(lambda one: True)
    for moment in range(1000):
        deadlines.set(worker, 1e9 + moment)
    assert len(deadlines.heap) < 200
