"""Locks that neither a fork nor the garbage collector turns into a deadlock. Standard library only."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> AbstractContextManager[bool]:
    """Return a lock that its holder may take again, and that is open in a forked child.

    Garbage collection runs finalizers in whatever thread allocates, also in one that holds the lock which
    they need. And the thread that held a lock when the process was forked is not in the child to open it.
    What such a lock guards must be of use whenever it may be left or come back to: single steps, each of
    which leaves it right.

    It is one of Python's own, in C: an exception that is raised in a thread from outside, as Ctrl-C is,
    never comes between its being taken and the `with` that gives it back.
    """
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _renew_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # as `logging` does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
