"""When each worker's wall limit comes; used by the thread of its pool alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from langchain_ptc.sandbox.host.workers import Worker

GRACE_SECONDS = 0.25
"""Between telling a worker that its wall limit has come and killing it."""


class Deadlines:
    """Deadlines, the earliest first.

    Args:
        is_alive: Whether a worker still has to be ended; deadlines of others are dropped.
    """

    def __init__(self, is_alive: Callable[[Worker], bool]) -> None:
        self._is_alive = is_alive
        self.heap: list[tuple[float, int, Worker]] = []
        self._limit = 64

    def set(self, worker: Worker, moment: float) -> None:
        """Have a worker ended at a moment of `time.monotonic`, in place of what was set before."""
        worker.deadline = moment
        heapq.heappush(self.heap, (moment, worker.number, worker))
        if len(self.heap) > self._limit:
            self.heap = [entry for entry in self.heap if self._counts(entry)]
            heapq.heapify(self.heap)
            self._limit = 64 + 2 * len(self.heap)

    @property
    def next(self) -> float:
        """When the earliest comes."""
        return self.heap[0][0] if self.heap else float("inf")

    def come(self, now: float) -> Iterator[Worker]:
        """Yield the workers whose deadline has come; each once more when its grace is over."""
        while self.heap and self.heap[0][0] <= now:
            entry = heapq.heappop(self.heap)
            if self._counts(entry):
                worker = entry[2]
                worker.deadline = None
                if not worker.timed_out:
                    self.set(worker, now + GRACE_SECONDS)
                yield worker

    def _counts(self, entry: tuple[float, int, Worker]) -> bool:
        """Whether an entry is the deadline of a worker that still has to be ended."""
        moment, _, worker = entry
        return worker.deadline == moment and self._is_alive(worker)
