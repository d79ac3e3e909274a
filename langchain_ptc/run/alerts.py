"""What somebody should look at: counts that outlive a single execution."""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from langchain_ptc.locks import new_lock

REPEATED_REFUSALS = 3
"""So many programs refused by the language, in one thread, are told of as an attack may look."""
REFUSALS_WITHIN_SECONDS = 600.0
_MAX_THREADS = 1_000
_MAX_KEPT = 100


class Refusals:
    """Counts programs that the sandbox's language refused, for each thread of a graph.

    One program that opens a file is a mistake. Several in a row, in one conversation, look like
    somebody who tries the walls.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._times: OrderedDict[str | None, deque[float]] = OrderedDict()

    def note(self, thread_id: str | None) -> int:
        """Note a refused program; return how many there were of late, in its thread.

        Args:
            thread_id: Thread of the graph; None for code that runs in none.
        """
        now = time.monotonic()
        with self._lock:
            times = self._times.setdefault(thread_id, deque(maxlen=_MAX_KEPT))
            self._times.move_to_end(thread_id)
            if len(self._times) > _MAX_THREADS:
                self._times.popitem(last=False)
            times.append(now)
            while times[0] < now - REFUSALS_WITHIN_SECONDS:
                times.popleft()
            return len(times)
