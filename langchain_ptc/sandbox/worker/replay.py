"""A program that runs in steps: from what it is given to where it can only wait, and no further.

Everything that such a program sees besides its own code comes from the host, one step at a time: results of
calls in a fixed order, and the time; random numbers come from one seed. So the same steps take it down the
same path, in any worker of any host. See `api.Replay` for what cannot be made the same. What `secrets` gives is
as secret as the seed, which lies where the program's record lies.

Between two events the clocks stand still, but for a microsecond at each reading: so
`while time.monotonic() < end: ...` ends, and no two time stamps are alike.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import itertools
import math
import random
import secrets
import statistics
import time
import types
import uuid
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from typing import Any, cast

from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES
from langchain_ptc.sandbox.api import Moment, Replay
from langchain_ptc.sandbox.language.guards import get_attribute
from langchain_ptc.sandbox.language.modules import build_readers
from langchain_ptc.sandbox.wire.protocol import MAX_WAITS, encode_idle
from langchain_ptc.sandbox.worker.calls import Host, ProgramLoop, ToolCalls
from langchain_ptc.sandbox.worker.connection import WorkerConnection

_NOW_NAMES = frozenset({"now", "utcnow", "today"})
"""Methods of `datetime.date` and `datetime.datetime`, whose classes cannot be replaced: a class of our
own would not be the one of the values that tools return."""
GUARDED_NAMES = _NOW_NAMES | {"samples"}
"""Attributes whose reading goes through a guard that looks for the clock or for `NormalDist.samples`."""

_READING_NS = 1_000
"""How far a clock moves when it is read."""
_RESOLUTION_SECONDS = 1e-6
"""Moments that differ by less are the same: figures are rounded in transit."""
_LOOK_NS = 100_000
"""About how long a busy program takes between two looks for answers."""
_LOOKS_BEFORE_WAIT = 64
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.05
"""How long a program that is busy waiting (`while not task.done(): await sleep(0)`) is put to sleep:
it never waits by itself, and gets no answer before it does."""


class StepClock:
    """What time it is, for one program; `start` until the first event.

    Both clocks move together and never back: an event whose moment has passed by readings leaves them as they are.
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
        self.move(_READING_NS)
        return self._unix

    def elapsed_ns(self) -> int:
        """Read the time that has elapsed."""
        self.move(_READING_NS)
        return self._elapsed

    def unix(self) -> float:
        """Read the time since the epoch, in seconds."""
        return self.unix_ns() / 1e9

    def elapsed(self) -> float:
        """Read the time that has elapsed, in seconds."""
        return self.elapsed_ns() / 1e9


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _clock_names(clock: StepClock) -> dict[str, dict[str, object]]:
    """Build the names of the standard library that read a clock; `datetime` is `_read_clock`'s."""

    def from_now(function: Callable[[float], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(seconds: float | None = None, /) -> Any:
            return function(clock.unix() if seconds is None else seconds)

        return called

    localtime = from_now(time.localtime)

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
            "asctime": lambda *moment: time.asctime(*(moment or (localtime(),))),
            "strftime": lambda text, *moment: time.strftime(text, *(moment or (localtime(),))),
        },
        "timeit": {"default_timer": clock.elapsed},
    }


_MADE_IN_C = type(datetime.datetime.now)


def _read_clock(clock: StepClock, value: object) -> object:
    """Return `value`, or its replacement if it is a method that would read the real clock."""
    name = getattr(value, "__name__", None) if type(value) is _MADE_IN_C else None
    cls: Any = getattr(value, "__self__", None)
    is_date = isinstance(cls, type) and issubclass(cls, datetime.date)
    if name not in _NOW_NAMES or not is_date:
        return value
    if name == "now":
        return lambda tz=None: cls.fromtimestamp(clock.unix(), tz)
    if name == "utcnow":  # it does not say that it is UTC
        return lambda: cls.fromtimestamp(clock.unix(), datetime.UTC).replace(tzinfo=None)
    return lambda: cls.fromtimestamp(clock.unix())


class _Chance:
    """The random numbers of one program: the same seed gives the same."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)  # noqa: S311  # it is to be repeated

    def seed(self) -> int:
        """Draw a seed for a generator."""
        return self._source.getrandbits(128)

    def build_names(self) -> dict[str, dict[str, object]]:
        """Build the names of the standard library that use random numbers."""
        generator, system = _generators(self)
        drawn, strong = generator(), system()

        random_names = STANDARD_MODULES["random"]
        bound = {name: getattr(drawn, name) for name in random_names if hasattr(drawn, name)}
        secret = {**vars(secrets), "_sysrand": strong, "SystemRandom": system}
        secret |= {"choice": strong.choice, "randbits": strong.getrandbits}
        for name, value in vars(secrets).items():
            if type(value) is types.FunctionType:  # the module's own code, with our generator
                secret[name] = types.FunctionType(value.__code__, secret, name, value.__defaults__)
        return {
            "random": {**bound, "Random": generator, "SystemRandom": system},
            "secrets": {name: secret[name] for name in STANDARD_MODULES["secrets"]},
            "statistics": {
                name: self._seeded(getattr(statistics, name))
                for name in ("kde_random",)  # new in Python 3.13
                if hasattr(statistics, name)
            },
            "uuid": {"uuid4": lambda: uuid.UUID(int=strong.getrandbits(128), version=4)},
        }

    def read(self, value: object) -> object:
        """Return `value`, or its replacement if it is a method that would use real random numbers."""
        samples = statistics.NormalDist.samples
        is_samples = type(value) is types.MethodType and value.__func__ is samples
        return self._seeded(cast("Callable[..., Any]", value)) if is_samples else value

    def _seeded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, which takes a seed, with one that is drawn where none is given."""

        def seeded(*args: Any, seed: Any = None, **options: Any) -> Any:
            return function(*args, seed=self.seed() if seed is None else seed, **options)

        return seeded


def _generators(chance: _Chance) -> tuple[type[random.Random], type[random.Random]]:
    """Build `Random` and `SystemRandom` of one program: without a seed, theirs is drawn."""

    class Random(random.Random):
        def seed(self, a: Any = None, version: int = 2) -> None:
            """Seed it again, with `a` or at random."""
            super().seed(chance.seed() if a is None else a, version)

    class SystemRandom(Random):
        def seed(self, *_: Any, **__: Any) -> None:
            """Seed it at random, whatever is given, as the original does."""
            super().seed(None)

        def getstate(self, *_: Any) -> Any:
            """Refuse, as the original does."""
            raise NotImplementedError("System entropy source does not have state.")

        setstate = getstate  # type: ignore[assignment]  # it raises

    for made in (Random, SystemRandom):
        made.__module__ = "random"
        made.__qualname__ = made.__name__
    return Random, SystemRandom


class StepCalls(ToolCalls):
    """The calls of a program that runs in steps; waits by telling the host, and looks at nothing."""

    def __init__(self, wire: WorkerConnection, clock: StepClock) -> None:
        super().__init__(wire)
        self._clock = clock
        self._waits = 0
        self._looks = 0
        self._pause = _FIRST_PAUSE_SECONDS

    def now(self) -> float:
        """Return the seconds that have elapsed, and a little: what is due now must be due."""
        return self._clock.peek() + _RESOLUTION_SECONDS

    def wait(self, until: float | None) -> None:
        """Tell the host that the program can only wait, and take the step that it gives."""
        self._waits += 1
        self._looks = 0
        if self._waits > MAX_WAITS:
            raise RuntimeError(
                f"the code has waited {MAX_WAITS:,} times, which is all that a program whose path "
                "is recorded may: sleep longer, and await tasks in place of asking whether they "
                "are done"
            )
        due = until if until is not None and math.isfinite(until) else None
        self._wire.put(encode_idle(due))
        (_, unix, elapsed, count), *results = self._wire.receive()
        self._clock.set(Moment(unix, elapsed))
        while len(results) < count:
            results += self._wire.receive()
        for result in results:
            self._pause = _FIRST_PAUSE_SECONDS
            self._settle(result)

    def look(self) -> None:
        """Let the time pass that a busy program takes; put one to sleep that is busy waiting."""
        self._clock.move(_LOOK_NS)
        self._looks += 1
        if self._waiting and self._looks >= _LOOKS_BEFORE_WAIT:
            pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            self.wait(self._clock.peek() + pause)


class _Numbered:
    """What has a place in a set that does not depend on where it lies in memory.

    `asyncio.wait` gives sets of tasks, `as_completed` and `TaskGroup` keep such sets, and all of them
    go through them in their order.
    """

    def __init__(self, number: int, *given: Any, **options: Any) -> None:
        self._ptc_number = number  # first: a task's `__init__` puts it into a set
        super().__init__(*given, **options)

    def __hash__(self) -> int:
        return self._ptc_number


class StepTask(_Numbered, asyncio.Task[Any]):
    """A task with a number."""


class StepFuture(_Numbered, asyncio.Future[Any]):
    """A future with a number."""


class _Generators(weakref.WeakKeyDictionary[Any, None]):
    """A set of generators in the order in which they were begun."""

    def add(self, generator: object) -> None:
        self[generator] = None

    def discard(self, generator: object) -> None:
        self.pop(generator, None)


class StepLoop(ProgramLoop):
    """An event loop whose clock is the host's, and whose tasks are numbered."""

    def __init__(self, host: Host, clock: StepClock) -> None:
        super().__init__(host)
        self._clock = clock
        self._numbers = itertools.count(1)
        self._asyncgens = _Generators()

    def time(self) -> float:
        """Read the clock of the program."""
        return self._clock.elapsed()

    def create_task(  # type: ignore[override]  # the stock one is generic
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """Start `coro` as a task."""
        number = next(self._numbers)
        told = f"Task-{number}" if name is None else str(name)
        return StepTask(number, coro, loop=self, name=told, context=context, **options)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return StepFuture(next(self._numbers), loop=self)


def _as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
    """Do what `asyncio.as_completed` does, beginning what is given in its order."""
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
    begun = [asyncio.ensure_future(awaitable) for awaitable in dict.fromkeys(fs)]
    return asyncio.as_completed(begun, timeout=timeout)


class Steps:
    """What a program that runs in steps has in place of the clock, of chance and of the loop."""

    def __init__(self, wire: WorkerConnection, replay: Replay) -> None:
        self._clock = StepClock(replay.start)
        self._chance = _Chance(replay.seed)
        self.calls = StepCalls(wire, self._clock)

    def build_loop(self) -> StepLoop:
        """Build the event loop."""
        return StepLoop(self.calls, self._clock)

    def get_attribute(self, obj: object, name: object, /, *default: object) -> object:
        """Return `getattr(obj, name)` if code may read it, with the program's clock and chance."""
        value = get_attribute(obj, name, *default)
        if name in GUARDED_NAMES:
            return self._chance.read(_read_clock(self._clock, value))
        return value

    def guard(self, namespace: Mapping[str, Any]) -> None:
        """Have the globals of the code read attributes by `get_attribute`."""
        namespace["__builtins__"]["getattr"] = self.get_attribute
        namespace["_ptc_getattr"] = self.get_attribute  # type: ignore[index]

    def build_names(self, *, asynchronous: bool) -> dict[str, dict[str, object]]:
        """Build the names of the standard library that see time, chance or the order of sets."""
        return {
            **_clock_names(self._clock),
            **self._chance.build_names(),
            "asyncio": {"as_completed": _as_completed} if asynchronous else {},
            "operator": build_readers(self.get_attribute),
        }
