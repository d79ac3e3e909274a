"""`threading` and `queue` of the code, over threads that take turns; see `threads`.

One thread runs at a time, and another one only when it waits. So a lock is a flag, what is looked at and
then set cannot change in between, and a program takes the same path in every run. The classes are made
for one program, which may do with them what it may do with its own.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from langchain_ptc.errors import LimitExceeded
from langchain_ptc.sandbox.language.classes import own, own_copies
from langchain_ptc.sandbox.worker.threads import Scheduler, Stopped

_SHUT_DOWN: type[Exception] = getattr(queue, "ShutDown", queue.Empty)  # new in Python 3.13


def _wait(
    scheduler: Scheduler, ready: Callable[[], bool], blocking: bool, timeout: float | None
) -> bool:
    """Wait for what is taken then; return whether it is there. A time-out of `-1` is none, as for `Lock.acquire`."""
    if not blocking:
        return ready()
    return scheduler.wait_until(ready, None if timeout is None or timeout < 0 else timeout)


class ProgramThreads:
    """The threads of one program, and the names of `threading` for it.

    Args:
        scheduler: Starts the threads, and waits.
        report: Prints the exception that ended the thread of a name, as Python does.
    """

    def __init__(self, scheduler: Scheduler, report: Callable[[str, BaseException], None]) -> None:
        self.scheduler = scheduler
        self.report = report
        self.numbers = itertools.count()  # that of the main thread is 0
        self.running: dict[int, list[Thread]] = {}
        """By the thread that runs them: where there is only one, the innermost is last."""
        kinds = (Thread, Timer, Semaphore, BoundedSemaphore, Lock, RLock, Event, Condition)
        self._kinds = own_copies(kinds, _program=self)
        self._main: Thread = self.new("Thread")
        self._main.name, self._main.ident = "MainThread", 0

    def new(self, kind: str) -> Any:
        """Return a new object of one of the classes."""
        return self._kinds[kind]()

    def current(self) -> Thread:
        """Return the thread that runs."""
        here = self.running.get(threading.get_ident())
        return here[-1] if here else self._main

    def names(self) -> dict[str, object]:
        """Return the names of `threading` for the program."""
        return {
            **self._kinds,
            "local": own(type("local", (threading.local,), {})),
            "current_thread": self.current,
            "main_thread": lambda: self._main,
            "get_ident": lambda: self.current().ident,
            "active_count": lambda: 1 + sum(map(len, self.running.values())),
        }


class _OfProgram:
    _program: ProgramThreads


class Thread(_OfProgram):
    """Calls a function while the rest of the program waits."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        if group is not None:
            raise ValueError("group argument must be None for now")
        number = next(self._program.numbers)
        of = getattr(target, "__name__", "")
        default = f"Thread-{number} ({of})" if of else f"Thread-{number}"
        self.name = default if name is None else str(name)
        self.daemon = bool(daemon)
        self.ident: int | None = None
        self._number = number
        self._call = target, args, kwargs
        self._is_done = False

    def run(self) -> None:
        """Call the function."""
        target, args, kwargs = self._call
        if target is not None:
            target(*args, **(kwargs or {}))

    def start(self) -> None:
        """Have it run when the program waits for something.

        Raises:
            RuntimeError: It was started before.
        """
        if self.ident is not None:
            raise RuntimeError("threads can only be started once")
        self.ident = self._number
        self._program.scheduler.spawn(self._run_reported, is_awaited=not self.daemon)

    def _run_reported(self) -> None:
        here = self._program.running.setdefault(threading.get_ident(), [])
        here.append(self)
        try:
            self.run()
        except (Stopped, LimitExceeded):
            raise
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001  # Python prints it, and goes on
            self._program.report(self.name, error)
        finally:
            here.pop()
            self._is_done = True

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: It was not started, or it is the one that waits.
        """
        if self.ident is None:
            raise RuntimeError("cannot join thread before it is started")
        if self is self._program.current():
            raise RuntimeError("cannot join current thread")
        _wait(self._program.scheduler, lambda: self._is_done, True, timeout)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self.ident is not None and not self._is_done


class Timer(Thread):
    """Calls a function after some seconds."""

    def __init__(
        self,
        interval: float,
        function: Callable[..., object],
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(target=function, args=args or (), kwargs=kwargs)
        self.interval = interval
        self.finished: Event = self._program.new("Event")

    def cancel(self) -> None:
        """Do not call it."""
        self.finished.set()

    def run(self) -> None:
        """Wait, and call it."""
        if not self.finished.wait(self.interval):
            super().run()
        self.finished.set()


class Semaphore(_OfProgram):
    """Lets so many in at a time."""

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._value = value

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait for a place; return whether there was one in time."""
        if not _wait(self._program.scheduler, lambda: self._value > 0, blocking, timeout):
            return False
        self._value -= 1
        return True

    def release(self, n: int = 1) -> None:
        """Give places back."""
        self._value += n

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class BoundedSemaphore(Semaphore):
    """A semaphore to which no more places are given back than it had."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._most = value

    def release(self, n: int = 1) -> None:
        """Give places back."""
        if self._value + n > self._most:
            raise ValueError("Semaphore released too many times")
        super().release(n)


class Lock(BoundedSemaphore):
    """Lets one in at a time."""

    def __init__(self) -> None:
        super().__init__(1)

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._value == 0

    def release(self, n: int = 1) -> None:
        """Give it back."""
        if not self.locked():
            raise RuntimeError("release unlocked lock")
        super().release(n)


class RLock(_OfProgram):
    """A lock that its owner may take again."""

    def __init__(self) -> None:
        self._owner: Thread | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether that was possible in time."""
        me = self._program.current()
        if not _wait(self._program.scheduler, lambda: self._owner in (None, me), blocking, timeout):
            return False
        self._owner, self._count = me, self._count + 1
        return True

    def release(self) -> None:
        """Give it back."""
        if self._owner is not self._program.current():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Event(_OfProgram):
    """A flag to wait for."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it."""
        self._is_set = True

    def clear(self) -> None:
        """Unset it."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; return whether it is."""
        return self._program.scheduler.wait_until(lambda: self._is_set, timeout)


class Condition(_OfProgram):
    """A lock, and waiting for what others do under it."""

    def __init__(self, lock: Any = None) -> None:
        self._lock = self._program.new("RLock") if lock is None else lock
        self._waiting: list[Event] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *given: object) -> None:
        self._lock.__exit__(*given)

    def wait(self, timeout: float | None = None) -> bool:
        """Let others have the lock until one notifies; return whether one did in time."""
        notified: Event = self._program.new("Event")
        self._waiting.append(notified)
        self.release()
        try:
            return notified.wait(timeout)
        finally:
            self.acquire()
            if notified in self._waiting:
                self._waiting.remove(notified)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` holds; return its value."""
        until = None if timeout is None else self._program.scheduler.now() + timeout
        while not (found := predicate()):
            left = None if until is None else until - self._program.scheduler.now()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        """Let some that wait go on."""
        for notified in self._waiting[:n]:
            notified.set()
        del self._waiting[:n]

    def notify_all(self) -> None:
        """Let all that wait go on."""
        self.notify(len(self._waiting))


def build_queue_names(scheduler: Scheduler) -> dict[str, object]:
    """Build the queues of `queue` over one scheduler: what waits lets the others go on."""

    class Waiting(queue.Queue[Any]):
        is_shutdown = False  # from Python 3.13 on `shutdown` sets it

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            """Add an item, when there is room."""
            if not _wait(scheduler, self._takes_more, block, timeout):
                raise queue.Full
            if self.is_shutdown:
                raise _SHUT_DOWN
            self._put(item)
            self.unfinished_tasks += 1

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            """Take an item, when there is one."""
            if not _wait(scheduler, lambda: self.is_shutdown or self._qsize() > 0, block, timeout):
                raise queue.Empty
            if not self._qsize():
                raise _SHUT_DOWN
            return self._get()

        def _takes_more(self) -> bool:
            return self.is_shutdown or not 0 < self.maxsize <= self._qsize()

        def join(self) -> None:
            """Wait until each item has been reported as done."""
            scheduler.wait_until(lambda: not self.unfinished_tasks)

    class Queue(Waiting):
        """First in, first out."""

    class LifoQueue(Waiting, queue.LifoQueue[Any]):
        """Last in, first out."""

    class PriorityQueue(Waiting, queue.PriorityQueue[Any]):
        """The least first."""

    names: dict[str, object] = {k.__name__: k for k in (Queue, LifoQueue, PriorityQueue)}
    return {**names, "SimpleQueue": Queue}
