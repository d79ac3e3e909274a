"""When each worker's wall limit comes; used by the thread of its pool alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from langchain_ptc.sandbox.workers import Worker

GRACE_SECONDS = 0.25
"""Between telling a worker that its wall limit has come and killing it."""


class Deadlines:
    """Deadlines, the earliest first.

    Args:
        is_alive: Whether a worker still has to be ended; deadlines of others are dropped.
    """

    def __init__(self, is_alive: Callable[[Worker], bool]) -> None:
        self._is_alive = is_alive
        self._heap: list[tuple[float, int, Worker]] = []
        self._most = 64

    def set(self, worker: Worker, moment: float) -> None:
        """Have a worker ended at a moment of `time.monotonic`."""
        heapq.heappush(self._heap, (moment, worker.number, worker))
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if self._is_alive(entry[2])]
            heapq.heapify(self._heap)
            self._most = 64 + 2 * len(self._heap)

    @property
    def next(self) -> float:
        """When the earliest comes."""
        return self._heap[0][0] if self._heap else float("inf")

    def come(self, now: float) -> Iterator[Worker]:
        """Yield the workers whose deadline has come; each once more when its grace is over."""
        while self._heap and self._heap[0][0] <= now:
            worker = heapq.heappop(self._heap)[2]
            if self._is_alive(worker):
                if not worker.timed_out:
                    self.set(worker, now + GRACE_SECONDS)
                yield worker
