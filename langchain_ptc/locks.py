"""Locks that neither a fork nor the garbage collector turns into a deadlock. Standard library only."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock that its holder may take again, and that is open in a forked child.

    Garbage collection runs finalizers in whatever thread allocates, also in one that holds the lock which
    they need. And the thread that held a lock when the process was forked is not in the child to open it.
    What such a lock guards must be of use whenever it may be left or come back to: single steps, each of
    which leaves it right.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Open it, whoever holds it; in a forked child."""
        self._lock = threading.RLock()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
