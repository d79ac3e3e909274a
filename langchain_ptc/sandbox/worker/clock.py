"""The clocks of a program that runs in steps: the host sets them, and nothing else moves them far.

Between two events the clocks stand still, but for a microsecond at each reading: so
`while time.monotonic() < end: ...` ends, and no two time stamps are alike.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable
from typing import Any, cast

from langchain_ptc.sandbox.api import Moment

READING_NS = 1_000
"""How far a clock moves when it is read."""
RESOLUTION_SECONDS = 1e-6
"""Moments that differ by less are the same: figures are rounded in transit."""


class StepClock:
    """What time it is, for one program.

    Both clocks move together and never back: an event whose moment has passed already, by readings,
    leaves them as they are. Until the first event they show `start`.
    """

    def __init__(self, start: Moment) -> None:
        self._unix = _nanoseconds(start.unix)
        self._elapsed = _nanoseconds(start.elapsed)

    def set(self, at: Moment) -> None:
        """Show `at`, or what is shown already if that is later."""
        self._unix = max(self._unix, _nanoseconds(at.unix))
        self._elapsed = max(self._elapsed, _nanoseconds(at.elapsed))

    def move(self, nanoseconds: int) -> None:
        """Let so much time pass."""
        self._unix += nanoseconds
        self._elapsed += nanoseconds

    def peek(self) -> float:
        """Return the seconds that have elapsed, without moving anything."""
        return self._elapsed / 1e9

    def unix_ns(self) -> int:
        """Read the time since the epoch."""
        self.move(READING_NS)
        return self._unix

    def elapsed_ns(self) -> int:
        """Read the time that has elapsed."""
        self.move(READING_NS)
        return self._elapsed

    def unix(self) -> float:
        """Read the time since the epoch, in seconds."""
        return self.unix_ns() / 1e9

    def elapsed(self) -> float:
        """Read the time that has elapsed, in seconds."""
        return self.elapsed_ns() / 1e9


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def build_clock_names(clock: StepClock) -> dict[str, dict[str, object]]:
    """Build the names of the standard library that read a clock; `datetime` is `read_clock`'s."""

    def from_now(function: Callable[[float], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(seconds: float | None = None, /) -> Any:
            return function(clock.unix() if seconds is None else seconds)

        return called

    localtime = from_now(time.localtime)

    def asctime(*moment: Any) -> str:
        """Return a time as text, or now."""
        return time.asctime(*(moment or (localtime(),)))

    def strftime(format: str, *moment: Any) -> str:
        """Return a time in a format of one's own, or now."""
        return time.strftime(format, *(moment or (localtime(),)))

    elapsed = "monotonic perf_counter process_time thread_time".split()  # noqa: SIM905
    return {
        "time": {
            "time": clock.unix,
            "time_ns": clock.unix_ns,
            **dict.fromkeys(elapsed, clock.elapsed),
            **dict.fromkeys([f"{name}_ns" for name in elapsed], clock.elapsed_ns),
            "localtime": localtime,
            "gmtime": from_now(time.gmtime),
            "ctime": from_now(time.ctime),
            "asctime": asctime,
            "strftime": strftime,
        },
        "timeit": {"default_timer": clock.elapsed},
    }


NOW_NAMES = frozenset({"now", "utcnow", "today"})
"""Methods of `datetime.date` and `datetime.datetime`, whose classes cannot be replaced: a class of our
own would not be the one of the values that tools return."""

_MADE_IN_C = type(datetime.datetime.now)


def read_clock(clock: StepClock, value: object) -> object:
    """Return `value`, or its replacement if it is a method that would read the real clock."""
    name = getattr(value, "__name__", None) if type(value) is _MADE_IN_C else None
    owner = getattr(value, "__self__", None)
    if name not in NOW_NAMES or not isinstance(owner, type) or not issubclass(owner, datetime.date):
        return value
    return _nows(clock, cast("type[Any]", owner))[name]


def _nows(clock: StepClock, cls: type[Any]) -> dict[str | None, Callable[..., Any]]:
    def now(tz: datetime.tzinfo | None = None) -> Any:
        """Return what time it is."""
        return cls.fromtimestamp(clock.unix(), tz)

    def utcnow() -> Any:
        """Return what time it is in UTC, without saying that it is UTC."""
        return cls.fromtimestamp(clock.unix(), datetime.UTC).replace(tzinfo=None)

    def today() -> Any:
        """Return what day it is; of `datetime`, what time."""
        return cls.fromtimestamp(clock.unix())

    return {"now": now, "utcnow": utcnow, "today": today}
