"""`threading`, `queue` and `logging` of the code: classes that are made for one program, which may change them.

Each method does what that of the standard library does. The threads take turns, see `threads`: one runs at a
time, and another one only when it waits. So a lock is a flag, what is looked at and then set cannot change in
between, and a program takes the same path in every run.
"""

from __future__ import annotations

import builtins
import itertools
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, Self, cast

from langchain_ptc.errors import LimitExceeded
from langchain_ptc.sandbox.allowed_modules import list_members
from langchain_ptc.sandbox.language.classes import own, own_copies
from langchain_ptc.sandbox.language.guards import FORMATTER, get_attribute, instance_dict
from langchain_ptc.sandbox.language.policy import CODE_FILENAME
from langchain_ptc.sandbox.worker.output import TextTarget
from langchain_ptc.sandbox.worker.threads import Scheduler, Stopped

# --- threading ------------------------------------------------------------------------------------


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


class _Taken(_OfProgram):
    """What a `with` block takes, and gives back."""

    acquire: Callable[..., bool]
    release: Callable[..., None]

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


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
        target, args, kwargs = self._call
        if target is not None:
            target(*args, **(kwargs or {}))

    def start(self) -> None:
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
        if self.ident is None:
            raise RuntimeError("cannot join thread before it is started")
        if self is self._program.current():
            raise RuntimeError("cannot join current thread")
        _wait(self._program.scheduler, lambda: self._is_done, True, timeout)

    def is_alive(self) -> bool:
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
        self.finished.set()

    def run(self) -> None:
        if not self.finished.wait(self.interval):
            super().run()
        self.finished.set()


class Semaphore(_Taken):
    """Lets so many in at a time."""

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._value = value

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not _wait(self._program.scheduler, lambda: self._value > 0, blocking, timeout):
            return False
        self._value -= 1
        return True

    def release(self, n: int = 1) -> None:
        self._value += n


class BoundedSemaphore(Semaphore):
    """A semaphore to which no more places are given back than it had."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._most = value

    def release(self, n: int = 1) -> None:
        if self._value + n > self._most:
            raise ValueError("Semaphore released too many times")
        super().release(n)


class Lock(BoundedSemaphore):
    """Lets one in at a time."""

    def __init__(self) -> None:
        super().__init__(1)

    def locked(self) -> bool:
        return self._value == 0

    def release(self, n: int = 1) -> None:
        if not self.locked():
            raise RuntimeError("release unlocked lock")
        super().release(n)


class RLock(_Taken):
    """A lock that its owner may take again."""

    def __init__(self) -> None:
        self._owner: Thread | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = self._program.current()
        if not _wait(self._program.scheduler, lambda: self._owner in (None, me), blocking, timeout):
            return False
        self._owner, self._count = me, self._count + 1
        return True

    def release(self) -> None:
        if self._owner is not self._program.current():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None


class Event(_OfProgram):
    """A flag to wait for."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._program.scheduler.wait_until(lambda: self._is_set, timeout)


class Condition(_Taken):
    """A lock, and waiting for what others do under it."""

    def __init__(self, lock: Any = None) -> None:
        self._lock = self._program.new("RLock") if lock is None else lock
        self._waiting: list[Event] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def wait(self, timeout: float | None = None) -> bool:
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
        until = None if timeout is None else self._program.scheduler.now() + timeout
        while not (found := predicate()):
            left = None if until is None else until - self._program.scheduler.now()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        for notified in self._waiting[:n]:
            notified.set()
        del self._waiting[:n]

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


# --- queue ----------------------------------------------------------------------------------------

_SHUT_DOWN: type[Exception] = getattr(queue, "ShutDown", queue.Empty)  # new in Python 3.13


def build_queue_names(scheduler: Scheduler) -> dict[str, object]:
    """Build the queues of `queue` over one scheduler: what waits lets the others go on."""

    class Waiting(queue.Queue[Any]):
        is_shutdown = False  # from Python 3.13 on `shutdown` sets it

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            if not _wait(scheduler, self._takes_more, block, timeout):
                raise queue.Full
            if self.is_shutdown:
                raise _SHUT_DOWN
            self._put(item)
            self.unfinished_tasks += 1

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if not _wait(scheduler, lambda: self.is_shutdown or self._qsize() > 0, block, timeout):
                raise queue.Empty
            if not self._qsize():
                raise _SHUT_DOWN
            return self._get()

        def _takes_more(self) -> bool:
            return self.is_shutdown or not 0 < self.maxsize <= self._qsize()

        def join(self) -> None:
            scheduler.wait_until(lambda: not self.unfinished_tasks)

    class Queue(Waiting):
        """First in, first out."""

    class LifoQueue(Waiting, queue.LifoQueue[Any]):
        """Last in, first out."""

    class PriorityQueue(Waiting, queue.PriorityQueue[Any]):
        """The least first."""

    names: dict[str, object] = {k.__name__: k for k in (Queue, LifoQueue, PriorityQueue)}
    return {**names, "SimpleQueue": Queue}


# --- logging --------------------------------------------------------------------------------------
# The process's own module keeps the loggers of every library, frames and modules within reach. So the code has a
# copy: the source of `logging`, run again over modules of our own. What it prints goes to the program's streams.

_LOGGING: CodeType = cast("Any", logging.__spec__).loader.get_code("logging")
"""Read when this module is imported: a worker has no files."""


class _NoLock:
    """A lock for threads that take turns."""

    def acquire(self, *_: object) -> None: ...

    release = __enter__ = __exit__ = acquire


def build_logging_names(
    stderr: TextTarget, now: Callable[[], float], describe: Callable[[object], str]
) -> dict[str, object]:
    """Build the names of `logging` for a program.

    Args:
        stderr: Where messages go that no handler takes, and those of handlers without a stream.
        now: The clock of the program, in seconds since the epoch.
        describe: Returns an exception as text.
    """
    nothing, main = lambda *_, **__: None, SimpleNamespace(name="MainThread")
    clocks = {name: getattr(time, name) for name in ("localtime", "gmtime", "strftime")}
    instead = {
        "atexit": SimpleNamespace(register=nothing),
        "os": SimpleNamespace(path=os.path, getpid=lambda: 0),
        "sys": SimpleNamespace(stderr=stderr, exc_info=sys.exc_info, modules={}),
        "threading": SimpleNamespace(
            RLock=_NoLock, get_ident=lambda: 0, current_thread=lambda: main
        ),
        "time": SimpleNamespace(time=now, time_ns=lambda: int(now() * 1e9), **clocks),
        "traceback": SimpleNamespace(),
        "warnings": SimpleNamespace(warn=nothing, showwarning=nothing),
    }

    def import_module(name: str, *rest: Any) -> object:
        return instead[name] if name in instead else __import__(name, *rest)

    usual = {name: value for name, value in vars(builtins).items() if name != "open"}
    made: dict[str, Any] = {
        "__name__": "logging",
        "__builtins__": {**usual, "__import__": import_module},
    }
    exec(_LOGGING, made)  # noqa: S102  # as an import does
    for value in [*made.values()]:
        if isinstance(value, type) and value.__module__ == "logging":
            own(value)
    make_record, usual_formatter = made["Logger"].makeRecord, made["Formatter"]()

    def make_checked_record(logger: Any, *given: Any) -> Any:
        *first, error, function, extra, stack = given
        error = error and (*error[:2], None)  # the traceback leads to frames
        known = {name: extra[name] for name in extra or () if _is_variable(name)}
        return make_record(logger, *first, error, function, known, stack)

    def raise_again(*_: object) -> None:
        raise  # noqa: PLE0704  # called where an exception is handled

    def refuse_file(*_: object, **__: object) -> None:
        raise ValueError("there are no log files in the sandbox: what is logged is printed")

    made["FileHandler"] = refuse_file
    made["Handler"].lock, made["Handler"].createLock = _NoLock(), nothing
    made["Formatter"].formatException = lambda _, given: describe(given[1])
    made["Formatter"].formatMessage = lambda it, record: _format_with(it._style, record)
    made["Handler"].format = lambda it, record: _format_with(
        it.formatter or usual_formatter, record
    )
    made["Handler"].handleError = raise_again
    made["Logger"].findCaller = _find_caller
    made["Logger"].makeRecord = make_checked_record
    made["PercentStyle"]._format = lambda it, record: it._fmt % _values_of(it, record)
    made["StrFormatStyle"]._format = lambda it, record: FORMATTER().vformat(
        it._fmt, (), _values_of(it, record)
    )
    made["StringTemplateStyle"]._format = lambda it, record: it._tpl.substitute(
        **_values_of(it, record)
    )
    return {name: made[name] for name in list_members("logging")}


# Where the original trusts what it formats with, the code may have put any object: a text, whose own `format` reads
# any attribute, or one that keeps the `__dict__` of a class that it is handed.


def _format_with(formatter: Any, record: Any) -> Any:
    return cast("Any", get_attribute(formatter, "format"))(record)


def _values_of(style: Any, record: Any) -> dict[str, object]:
    return {**(style._defaults or {}), **instance_dict(record)}


def _is_variable(name: object) -> bool:
    """Whether a key may be the name of an attribute."""
    return type(name) is str and name.isidentifier() and not name.startswith("_")


def _find_caller(*_: object, **__: object) -> tuple[str, int, str, None]:
    """Return file, line and function of the code that logs."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != CODE_FILENAME:
        frame = frame.f_back
    place = (0, "") if frame is None else (frame.f_lineno, frame.f_code.co_name)
    return CODE_FILENAME, *place, None
