"""A program that runs in steps: from what it is given to where it can only wait, and no further.

Everything that such a program sees besides its own code comes from the host, one step at a time: results of
calls in a fixed order, and the time. So the same steps take it down the same path, in any worker of any
host. See `api.Replay` for what cannot be made the same.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import weakref
from collections.abc import Coroutine, Iterable, Mapping
from contextvars import Context
from typing import Any

from langchain_ptc.sandbox.api import Moment, Replay
from langchain_ptc.sandbox.language.facades import build_readers
from langchain_ptc.sandbox.language.guards import get_attribute
from langchain_ptc.sandbox.wire.protocol import MAX_WAITS, encode_idle
from langchain_ptc.sandbox.worker.clock import (
    NOW_NAMES,
    RESOLUTION_SECONDS,
    StepClock,
    build_clock_names,
    read_clock,
)
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.event_loop import Host, ProgramLoop
from langchain_ptc.sandbox.worker.seeded_random import DRAWING_NAMES, Chance
from langchain_ptc.sandbox.worker.stubs import ToolCalls

GUARDED_NAMES = NOW_NAMES | DRAWING_NAMES
"""Attributes whose reading goes through a guard that looks for the clock or for chance."""

_LOOK_NS = 100_000
"""About how long a busy program takes between two looks for answers."""
_LOOKS_BEFORE_WAIT = 64
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.05
"""How long a program that is busy waiting (`while not task.done(): await sleep(0)`) is put to sleep:
it never waits by itself, and gets no answer before it does."""


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
        return self._clock.peek() + RESOLUTION_SECONDS

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


class StepTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory.

    `asyncio.wait` gives sets of tasks, `as_completed` and `TaskGroup` keep such sets, and all of them
    go through them in their order.
    """

    _ptc_number: int

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._ptc_number = number  # first: the original's `__init__` puts it into a set
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._ptc_number


class StepFuture(asyncio.Future[Any]):
    """A future whose place in a set does not depend on where it lies in memory."""

    _ptc_number: int

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._ptc_number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._ptc_number


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
        self._chance = Chance(replay.seed)
        self.calls = StepCalls(wire, self._clock)

    def build_loop(self) -> StepLoop:
        """Build the event loop."""
        return StepLoop(self.calls, self._clock)

    def get_attribute(self, obj: object, name: object, /, *default: object) -> object:
        """Return `getattr(obj, name)` if code may read it, with the program's clock and chance."""
        value = get_attribute(obj, name, *default)
        if name in GUARDED_NAMES:
            return self._chance.draw(read_clock(self._clock, value))
        return value

    def guard(self, namespace: Mapping[str, Any]) -> None:
        """Have the globals of the code read attributes by `get_attribute`."""
        namespace["__builtins__"]["getattr"] = self.get_attribute
        namespace["_ptc_getattr"] = self.get_attribute  # type: ignore[index]

    def build_names(self, *, asynchronous: bool) -> dict[str, dict[str, object]]:
        """Build the names of the standard library that see time, chance or the order of sets."""
        return {
            **build_clock_names(self._clock),
            **self._chance.build_names(),
            "asyncio": {"as_completed": _as_completed} if asynchronous else {},
            "operator": build_readers(self.get_attribute),
        }
