"""Workers that wait for work, so that a small burst need not wait for forks."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator

from langchain_ptc.sandbox.host.workers import Allowance, Worker

_MOST_KINDS = 2
"""For so many allowances workers wait: those of the last executions."""


class Spares:
    """The waiting workers of one pool. Any thread may take one; its own thread does the rest.

    Args:
        most: How many wait for each allowance.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.kinds: dict[Allowance, deque[Worker]] = {}

    def take(self, allowance: Allowance) -> Worker | None:
        """Take one, if there is any; no two takers get the same."""
        kind = self.kinds.get(allowance)
        if kind is None:
            return None
        with contextlib.suppress(IndexError):
            return kind.popleft()
        return None

    def want(self, allowance: Allowance) -> Iterator[Worker]:
        """Keep workers for an allowance; yield those of long ago, which are no longer kept."""
        self.kinds.setdefault(allowance, deque())
        while len(self.kinds) > _MOST_KINDS:
            yield from _emptied(self.kinds.pop(next(iter(self.kinds))))

    def keep(self, worker: Worker, allowance: Allowance) -> bool:
        """Let a worker wait; return whether there was room."""
        kind = self.kinds.get(allowance)
        if kind is None or len(kind) >= self._most:
            return False
        kind.append(worker)
        return True

    def remove(self, worker: Worker) -> bool:
        """Take out one that has died; return False if it does not wait, or was taken just now."""
        for kind in self.kinds.values():
            with contextlib.suppress(ValueError):
                kind.remove(worker)
                return True
        return False

    def lacking(self) -> list[tuple[Allowance, int]]:
        """Return how many are missing for each allowance."""
        return [(allowance, self._most - len(kind)) for allowance, kind in self.kinds.items()]

    def take_all(self) -> Iterator[Worker]:
        """Yield all of them; none is kept from now on."""
        for allowance in list(self.kinds):
            yield from _emptied(self.kinds.pop(allowance))


def _emptied(kind: deque[Worker]) -> Iterator[Worker]:
    with contextlib.suppress(IndexError):
        while True:
            yield kind.popleft()
