"""What neither a fork, an interrupt nor the garbage collector turns into a deadlock. Standard library only."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

_MAX_THREADS = 2
_threads: tuple[int, ThreadPoolExecutor] | None = None

every_lock: weakref.WeakSet[Any] = weakref.WeakSet()


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
    every_lock.add(lock)
    return lock


def new_gate() -> threading.Lock:
    """Return a closed gate: one thread waits to acquire it, and another one releases it, once.

    A `threading.Event` or a future of `concurrent.futures` also has a lock of Python's. A thread that
    is interrupted while it waits, by Ctrl-C or by a signal handler that raises, may leave that lock taken for
    good, and the thread that is to set the event waits.
    """
    gate = threading.Lock()
    gate.acquire()
    return gate


class ServiceThread(threading.Thread):
    """A daemon thread that executions wait for: no synchronous call may wait for one in it.

    The garbage collector runs finalizers in any thread, also such as call us.
    """

    def __init__(
        self, target: Callable[..., object], *, name: str, args: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(target=target, name=name, args=args, daemon=True)

    def start(self) -> None:
        """Start it; raises `RuntimeError` if the interpreter is ending, or the system refuses threads."""
        if sys.is_finalizing():  # before 3.12 Python itself would deadlock
            raise RuntimeError("can't start new thread at interpreter shutdown")
        super().start()


class cached_property(Generic[T]):  # noqa: N801  # as it is named
    """Do what `functools.cached_property` does, without the lock that it has in Python 3.11.

    That is one lock for the property of all objects, and a child that was forked while it was held
    deadlocks. Where two threads compute the value at once, all get the first.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value: T = instance.__dict__.setdefault(self._name, self._compute(instance))
        return value


def large_data_threads() -> ThreadPoolExecutor:
    """Return the threads for large data, off the event loop; a forked process has lost those of its parent.

    Two for the whole process, since each piece of work takes much memory, and a thread that waits for the
    interpreter waits for every other one that computes. What runs there must not wait for anything.
    """
    global _threads
    from concurrent.futures import ThreadPoolExecutor  # a worker does without

    pid = os.getpid()
    if _threads is None or _threads[0] != pid:
        _threads = pid, ThreadPoolExecutor(_MAX_THREADS, "langchain-ptc large data")
    return _threads[1]


def _renew_all() -> None:
    for lock in list(every_lock):
        lock._at_fork_reinit()  # as `logging` does with its own


no_fork = threading.RLock()
"""Held while a process is started, and by each fork: the two never overlap.

`subprocess.Popen` waits until the pipe by which the new process reports an error is closed everywhere. A child that
another thread forks at that moment inherits the pipe, and keeps it open for as long as it lives.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
    os.register_at_fork(
        before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release
    )
