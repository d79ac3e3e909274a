"""Locks that a forked child finds open. Standard library only."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock as `threading.Lock`; open in a forked child, whoever held it in the parent.

    The thread that held it is not there to open it. What it guards must be of use whenever it may be
    left: single steps that leave it right, or a state that the child throws away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
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
        self._lock = threading.Lock()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
