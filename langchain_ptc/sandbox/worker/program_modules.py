"""`threading`, `queue` and `logging` of the code: classes that are made for one program, which may change them.

Each method does what that of the standard library does. The threads take turns, see `threads`: one runs at a
time, and another one only when it waits. So a lock is a flag, what is looked at and then set cannot change in
between, and a program takes the same path in every run. What is logged is printed; nothing of the process's own
loggers is reached: the original keeps frames, modules and the loggers of every library within reach.
"""

from __future__ import annotations

import itertools
import queue
import string
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from langchain_ptc.errors import LimitExceeded
from langchain_ptc.sandbox.language.classes import own, own_copies
from langchain_ptc.sandbox.language.guards import FORMATTER
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


class Semaphore(_OfProgram):
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


class RLock(_OfProgram):
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
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
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

_LEVELS = {
    "CRITICAL": 50,
    "FATAL": 50,
    "ERROR": 40,
    "WARNING": 30,
    "WARN": 30,
    "INFO": 20,
    "DEBUG": 10,
    "NOTSET": 0,
}
_NAMES = {level: name for name, level in reversed(_LEVELS.items())}
_BASIC_FORMAT = "%(levelname)s:%(name)s:%(message)s"
_STYLES = {"%": "%(message)s", "{": "{message}", "$": "${message}"}


def _level_of(level: Any) -> int:
    if isinstance(level, int):
        return level
    if level not in _LEVELS:
        raise ValueError(f"Unknown level: {level!r}")
    return _LEVELS[level]


def _is_variable(name: object) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("_")


def _name_of_level(level: Any) -> Any:
    """Return the name of a level, or the level of a name."""
    return _LEVELS.get(level) or _NAMES.get(level, f"Level {level}")


class LogRecord:
    """One message. What `extra` gives becomes attributes."""

    def __init__(
        self,
        name: str,
        level: int,
        msg: object,
        args: Any,
        *,
        created: float,
        extra: Mapping[str, object],
    ) -> None:
        self.name, self.msg, self.args, self.created = name, msg, args, created
        self.levelno, self.levelname = level, str(_name_of_level(level))
        self.exc_text: str | None = None
        self._extra = {name: value for name, value in extra.items() if _is_variable(name)}
        vars(self).update(self._extra)

    def getMessage(self) -> str:
        text = str(self.msg)
        return text % self.args if self.args else text

    def _fields(self, time_text: str) -> dict[str, object]:
        """Return what a format may name."""
        return {
            **self._extra,
            "name": self.name,
            "levelname": self.levelname,
            "levelno": self.levelno,
            "message": self.getMessage(),
            "asctime": time_text,
            "created": self.created,
            "msecs": self.created % 1 * 1000,
            **dict.fromkeys(("filename", "module", "pathname"), "<code>"),
            **dict.fromkeys(("funcName", "processName", "threadName"), "MainThread"),
            **dict.fromkeys(("lineno", "process", "thread", "relativeCreated"), 0),
        }


class Formatter:
    """Makes text of a record."""

    def __init__(
        self, fmt: str | None = None, datefmt: str | None = None, style: str = "%", **_: object
    ) -> None:
        if style not in _STYLES:
            raise ValueError("Style must be one of: %,{,$")
        self._format, self._date_format, self._style = fmt or _STYLES[style], datefmt, style

    def formatTime(self, record: LogRecord, datefmt: str | None = None) -> str:
        text = time.strftime(datefmt or "%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return text if datefmt else f"{text},{int(record.created % 1 * 1000):03d}"

    def format(self, record: LogRecord) -> str:
        values = record._fields(self.formatTime(record, self._date_format))
        if self._style == "%":
            text = self._format % values
        elif self._style == "{":
            text = FORMATTER().vformat(self._format, (), values)
        else:
            text = string.Template(self._format).substitute(cast("Mapping[str, Any]", values))
        return f"{text}\n{record.exc_text}" if record.exc_text else text


class _Filtered:
    def __init__(self, level: Any = 0) -> None:
        self.level = _level_of(level)
        self.filters: list[Any] = []

    def setLevel(self, level: Any) -> None:
        self.level = _level_of(level)

    def addFilter(self, filter: Any) -> None:
        self.filters.append(filter)

    def removeFilter(self, filter: Any) -> None:
        self.filters.remove(filter)

    def _admits(self, record: LogRecord) -> bool:
        return all(getattr(f, "filter", f)(record) for f in self.filters)


class Handler(_Filtered):
    """Takes records; classes of the code define `emit`."""

    formatter: Any = None

    def setFormatter(self, fmt: Any) -> None:
        self.formatter = fmt

    def format(self, record: LogRecord) -> str:
        return str((self.formatter or Formatter()).format(record))

    def handle(self, record: LogRecord) -> None:
        if record.levelno >= self.level and self._admits(record):
            self.emit(record)

    def emit(self, record: LogRecord) -> None:
        raise NotImplementedError("emit must be implemented by Handler subclasses")

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    close = flush


class NullHandler(Handler):
    """Drops records."""

    def emit(self, record: LogRecord) -> None: ...


class StreamHandler(Handler):
    """Prints records."""

    _stderr: TextTarget

    def __init__(self, stream: Any = None) -> None:
        super().__init__()
        self.stream = self._stderr if stream is None else stream

    def emit(self, record: LogRecord) -> None:
        self.stream.write(f"{self.format(record)}\n")


def _log_at(level: str, **usual: Any) -> Callable[..., None]:
    def log(logger: Logger, msg: object, *args: object, **options: Any) -> None:
        logger.log(_LEVELS[level], msg, *args, **{**usual, **options})

    return log


class Logger(_Filtered):
    """Takes messages, and passes them to its handlers and to those of the loggers above it."""

    _log_of: Logging

    def __init__(self, name: str, level: Any = 0) -> None:
        super().__init__(level)
        self.name = name
        self.handlers: list[Any] = []
        self.propagate, self.disabled = True, False

    def _above(self) -> Iterator[Logger]:
        """Yield itself and the loggers above it, the root last."""
        yield self
        name = self.name
        while self is not self._log_of.root and (name := name.rpartition(".")[0]):
            if (found := self._log_of.loggers.get(name)) is not None:
                yield found
        if self is not self._log_of.root:
            yield self._log_of.root

    def _handlers_of_all(self) -> list[Any]:
        """Return the handlers that its records are passed to."""
        found: list[Any] = []
        for logger in self._above():
            found += logger.handlers
            if not logger.propagate:
                break
        return found

    def getEffectiveLevel(self) -> int:
        return next(filter(None, [logger.level for logger in self._above()]), 0)

    def isEnabledFor(self, level: int) -> bool:
        enabled = level > self._log_of.disabled_level and level >= self.getEffectiveLevel()
        return enabled and not self.disabled

    def getChild(self, suffix: str) -> Logger:
        return self._log_of.get(suffix if self is self._log_of.root else f"{self.name}.{suffix}")

    def addHandler(self, hdlr: Any) -> None:
        if hdlr not in self.handlers:
            self.handlers.append(hdlr)

    def removeHandler(self, hdlr: Any) -> None:
        if hdlr in self.handlers:
            self.handlers.remove(hdlr)

    def hasHandlers(self) -> bool:
        return bool(self._handlers_of_all())

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        **_: object,
    ) -> None:
        if not isinstance(level, int):
            raise TypeError("level must be an integer")
        if self.isEnabledFor(level):
            self._log_of.emit(self, level, msg, args, exc_info, extra or {})

    debug, info, warning = _log_at("DEBUG"), _log_at("INFO"), _log_at("WARNING")
    error, exception = _log_at("ERROR"), _log_at("ERROR", exc_info=True)
    critical = fatal = _log_at("CRITICAL")
    warn = warning


class Logging:
    """The loggers of one program.

    Args:
        stderr: Where messages go that no handler takes, and those of handlers without a stream.
        now: The clock of the program, in seconds since the epoch.
        describe: Returns an exception as text; for None, that which is handled.
    """

    def __init__(
        self,
        stderr: TextTarget,
        now: Callable[[], float],
        describe: Callable[[BaseException | None], str],
    ) -> None:
        self._now, self._describe = now, describe
        self.disabled_level = 0
        self.loggers: dict[str, Logger] = {}
        kinds = (LogRecord, Formatter, Handler, NullHandler, StreamHandler, Logger)
        self._kinds = own_copies(kinds, _stderr=stderr, _log_of=self)
        self.root: Logger = self._kinds["Logger"]("root", "WARNING")
        self._last: Handler = self._kinds["StreamHandler"]()

    def get(self, name: str | None = None) -> Logger:
        """Return the logger of a name."""
        if not name or name == "root":
            return self.root
        if name not in self.loggers:
            self.loggers[name] = self._kinds["Logger"](name)
        return self.loggers[name]

    def emit(
        self,
        logger: Logger,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any,
        extra: Mapping[str, object],
    ) -> None:
        """Pass a message to the handlers of a logger and of those above it."""
        if len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]  # `%(name)s` in the message
        record: LogRecord = self._kinds["LogRecord"](
            logger.name, level, msg, args, created=self._now(), extra=extra
        )
        if exc_info:
            record.exc_text = self._describe(
                exc_info if isinstance(exc_info, BaseException) else None
            )
        if logger._admits(record):
            last = [self._last] if level >= _LEVELS["WARNING"] else []
            for handler in logger._handlers_of_all() or last:
                handler.handle(record)

    def configure(
        self,
        *,
        level: Any = None,
        format: str = _BASIC_FORMAT,
        datefmt: str | None = None,
        style: str = "%",
        stream: Any = None,
        handlers: Sequence[Any] | None = None,
        force: bool = False,
        filename: object = None,
        **_: object,
    ) -> None:
        """Do what `basicConfig` does; there are no log files.

        Raises:
            ValueError: A file is asked for.
        """
        if filename is not None:
            raise ValueError("there are no log files in the sandbox: what is logged is printed")
        if force:
            self.root.handlers.clear()
        if not self.root.handlers:
            formatter = self._kinds["Formatter"](format, datefmt, style)
            for handler in handlers or [self._kinds["StreamHandler"](stream)]:
                if handler.formatter is None:
                    handler.setFormatter(formatter)
                self.root.addHandler(handler)
        if level is not None:
            self.root.setLevel(level)

    def _disable(self, level: Any = "CRITICAL") -> None:
        self.disabled_level = _level_of(level)

    def names(self) -> dict[str, object]:
        """Return the names of `logging` for the program."""

        def through_root(method: str) -> Callable[..., None]:
            def log(*args: Any, **options: Any) -> None:
                if not self.root.handlers:
                    self.configure()
                getattr(self.root, method)(*args, **options)

            return log

        methods = ("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal")
        return {
            **_LEVELS,
            **{method: through_root(method) for method in (*methods, "log")},
            **self._kinds,
            "BASIC_FORMAT": _BASIC_FORMAT,
            "basicConfig": self.configure,
            "captureWarnings": lambda _: None,
            "disable": self._disable,
            "getLevelName": _name_of_level,
            "getLogger": self.get,
            "root": self.root,
            "shutdown": lambda *_: None,
        }
