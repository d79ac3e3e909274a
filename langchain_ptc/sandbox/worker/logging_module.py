"""`logging` of the code: what it logs is printed, and nothing of the process's own loggers is reached.

The original keeps frames, modules and the loggers of every library within reach. This one has what
programs use: loggers by name with levels, handlers, formatters and filters, and `basicConfig`.
"""

from __future__ import annotations

import string
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_ptc.sandbox.language.classes import own_copies
from langchain_ptc.sandbox.language.guards import FORMATTER
from langchain_ptc.sandbox.worker.output import TextTarget

NOTSET, DEBUG, INFO, WARNING, ERROR, CRITICAL = range(0, 60, 10)
_LEVELS = {
    "CRITICAL": CRITICAL,
    "FATAL": CRITICAL,
    "ERROR": ERROR,
    "WARNING": WARNING,
    "WARN": WARNING,
    "INFO": INFO,
    "DEBUG": DEBUG,
    "NOTSET": NOTSET,
}
_NAMES = {level: name for name, level in reversed(_LEVELS.items())}
BASIC_FORMAT = "%(levelname)s:%(name)s:%(message)s"


def _level_of(level: Any) -> int:
    if isinstance(level, int):
        return level
    if level not in _LEVELS:
        raise ValueError(f"Unknown level: {level!r}")
    return _LEVELS[level]


def is_variable(name: object) -> bool:
    """Whether a key may be the name of an attribute."""
    return type(name) is str and name.isidentifier() and not name.startswith("_")


def get_level_name(level: Any) -> Any:
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
        self.levelno, self.levelname = level, str(get_level_name(level))
        self.exc_text: str | None = None
        self._extra = {name: value for name, value in extra.items() if is_variable(name)}
        vars(self).update(self._extra)

    def getMessage(self) -> str:  # noqa: N802  # as it is named
        """Return the message with its arguments."""
        text = str(self.msg)
        return text % self.args if self.args else text

    def fields(self, time_text: str) -> dict[str, object]:
        """Return what a format may name."""
        known = {"name": self.name, "levelname": self.levelname, "levelno": self.levelno}
        return {
            **self._extra,
            **known,
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
        if style not in ("%", "{", "$"):
            raise ValueError("Style must be one of: %,{,$")
        default = {"%": "%(message)s", "{": "{message}", "$": "${message}"}[style]
        self._format, self._date_format, self._style = fmt or default, datefmt, style

    def formatTime(self, record: LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a record."""
        text = time.strftime(datefmt or "%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return text if datefmt else f"{text},{int(record.created % 1 * 1000):03d}"

    def format(self, record: LogRecord) -> str:
        """Return a record as text, with the exception that is logged with it."""
        values = record.fields(self.formatTime(record, self._date_format))
        if self._style == "%":
            text = self._format % values
        elif self._style == "{":
            text = FORMATTER().vformat(self._format, (), values)
        else:
            text = string.Template(self._format).substitute(cast("Mapping[str, Any]", values))
        return f"{text}\n{record.exc_text}" if record.exc_text else text


class _Filtered:
    def __init__(self, level: Any = NOTSET) -> None:
        self.level = _level_of(level)
        self.filters: list[Any] = []

    def setLevel(self, level: Any) -> None:  # noqa: N802
        """Pass over what is below a level."""
        self.level = _level_of(level)

    def addFilter(self, filter: Any) -> None:  # noqa: N802
        """Pass over what a function, or the method `filter` of an object, is false for."""
        self.filters.append(filter)

    def removeFilter(self, filter: Any) -> None:  # noqa: N802
        """Ask a filter no longer."""
        self.filters.remove(filter)

    def _admits(self, record: LogRecord) -> bool:
        return all(getattr(f, "filter", f)(record) for f in self.filters)


class Handler(_Filtered):
    """Takes records; classes of the code define `emit`."""

    def __init__(self, level: Any = NOTSET) -> None:
        super().__init__(level)
        self.formatter: Any = None

    def setFormatter(self, fmt: Any) -> None:  # noqa: N802
        """Make text of records by a formatter."""
        self.formatter = fmt

    def format(self, record: LogRecord) -> str:
        """Return a record as text."""
        return str((self.formatter or Formatter()).format(record))

    def handle(self, record: LogRecord) -> None:
        """Take a record that its level and filters admit."""
        if record.levelno >= self.level and self._admits(record):
            self.emit(record)

    def emit(self, record: LogRecord) -> None:
        """Do something with a record."""
        raise NotImplementedError("emit must be implemented by Handler subclasses")

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing."""


class NullHandler(Handler):
    """Drops records."""

    def emit(self, record: LogRecord) -> None:
        """Drop a record."""


class StreamHandler(Handler):
    """Prints records."""

    _stderr: TextTarget

    def __init__(self, stream: Any = None) -> None:
        super().__init__()
        self.stream = self._stderr if stream is None else stream

    def emit(self, record: LogRecord) -> None:
        """Print a record."""
        self.stream.write(f"{self.format(record)}\n")


class Logger(_Filtered):
    """Takes messages, and passes them to its handlers and to those of the loggers above it."""

    _log_of: Logging

    def __init__(self, name: str, level: Any = NOTSET) -> None:
        super().__init__(level)
        self.name = name
        self.handlers: list[Any] = []
        self.propagate, self.disabled = True, False

    def _chain(self) -> list[Logger]:
        """Return itself and the loggers above it that it passes records to."""
        found, name = [self], self.name
        while found[-1].propagate and found[-1] is not self._log_of.root:
            name = name.rpartition(".")[0]
            above = self._log_of.loggers.get(name) if name else self._log_of.root
            found += [] if above is None else [above]
        return found

    def getEffectiveLevel(self) -> int:  # noqa: N802
        """Return the first level that is set, of this logger or of one above it."""
        name = self.name
        levels = [self.level]
        while name := name.rpartition(".")[0]:
            above = self._log_of.loggers.get(name)
            levels.append(NOTSET if above is None else above.level)
        return next(filter(None, [*levels, self._log_of.root.level]), NOTSET)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Whether messages of a level are passed on."""
        enabled = level > self._log_of.disabled_level and level >= self.getEffectiveLevel()
        return enabled and not self.disabled

    def getChild(self, suffix: str) -> Logger:  # noqa: N802
        """Return the logger of a name below this one's."""
        return self._log_of.get(suffix if self is self._log_of.root else f"{self.name}.{suffix}")

    def addHandler(self, hdlr: Any) -> None:  # noqa: N802
        """Pass messages to one handler more."""
        if hdlr not in self.handlers:
            self.handlers.append(hdlr)

    def removeHandler(self, hdlr: Any) -> None:  # noqa: N802
        """Pass no more messages to a handler."""
        if hdlr in self.handlers:
            self.handlers.remove(hdlr)

    def hasHandlers(self) -> bool:  # noqa: N802
        """Whether it, or one above it, has a handler."""
        return any(logger.handlers for logger in self._chain())

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        **_: object,
    ) -> None:
        """Log a message of a level."""
        if not isinstance(level, int):
            raise TypeError("level must be an integer")
        if self.isEnabledFor(level):
            self._log_of.emit(self, level, msg, args, exc_info, extra or {})

    def debug(self, msg: object, *args: object, **options: Any) -> None:
        """Log what helps to find faults."""
        self.log(DEBUG, msg, *args, **options)

    def info(self, msg: object, *args: object, **options: Any) -> None:
        """Log what happens."""
        self.log(INFO, msg, *args, **options)

    def warning(self, msg: object, *args: object, **options: Any) -> None:
        """Log what is unexpected."""
        self.log(WARNING, msg, *args, **options)

    warn = warning

    def error(self, msg: object, *args: object, **options: Any) -> None:
        """Log a failure."""
        self.log(ERROR, msg, *args, **options)

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        """Log a failure with the exception that is handled."""
        self.log(ERROR, msg, *args, **{"exc_info": True, **options})

    def critical(self, msg: object, *args: object, **options: Any) -> None:
        """Log a failure that ends everything."""
        self.log(CRITICAL, msg, *args, **options)

    fatal = critical


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
        self.disabled_level = NOTSET
        self.loggers: dict[str, Logger] = {}
        kinds = (LogRecord, Formatter, Handler, NullHandler, StreamHandler, Logger)
        self._kinds = own_copies(kinds, _stderr=stderr, _log_of=self)
        self.root: Logger = self._kinds["Logger"]("root", WARNING)
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
        args: Sequence[Any],
        exc_info: Any,
        extra: Mapping[str, object],
    ) -> None:
        """Pass a message to the handlers of a logger and of those above it."""
        if len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]  # type: ignore[assignment]  # `%(name)s` in the message
        error = exc_info if isinstance(exc_info, BaseException) else None
        record: LogRecord = self._kinds["LogRecord"](
            logger.name, level, msg, args, created=self._now(), extra=extra
        )
        record.exc_text = self._describe(error) if exc_info else None
        if not logger._admits(record):
            return
        handlers = [handler for one in logger._chain() for handler in one.handlers]
        if handlers:
            for handler in handlers:
                handler.handle(record)
        elif level >= WARNING:
            self._last.handle(record)

    def configure(
        self,
        *,
        level: Any = None,
        format: str = BASIC_FORMAT,
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

    def disable(self, level: Any = CRITICAL) -> None:
        """Pass over messages of a level and below, of all loggers."""
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
            "BASIC_FORMAT": BASIC_FORMAT,
            "basicConfig": self.configure,
            "captureWarnings": lambda _: None,
            "disable": self.disable,
            "getLevelName": get_level_name,
            "getLogger": self.get,
            "root": self.root,
            "shutdown": lambda *_: None,
        }
