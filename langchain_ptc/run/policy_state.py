"""The state of the policy of one tool: limiters, a circuit breaker, cached results; for any event loop.

What `asyncio` has for limits belongs to one event loop. The executions of one executor run on many: each
synchronous caller's and each test's is another. Libraries were looked at: `aiolimiter` belongs to one event
loop as well; `pybreaker` runs what it guards in a thread or not at all, and its probe may leave it half open
for good; `tenacity` takes 60 µs for a call that succeeds at once, twice the budget of all policies together.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from langchain_ptc.catalog.definition import Breaker, Cache, RateLimit
from langchain_ptc.locks import new_lock

T = TypeVar("T")

State: TypeAlias = Literal["closed", "open", "half_open"]
_ENTRY_BYTES = 500
"""About what an entry takes in addition to its key and its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time, how to wait, and random numbers."""

    now: Callable[[], float] = time.monotonic
    """Seconds, from any point on, never back."""
    wall: Callable[[], float] = time.time
    """Seconds, as other machines have them too."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """From 0 to 1, for pauses."""


class RateLimiter:
    """Limits how many tries begin in any period of a given length.

    A try is given its time when it asks, so all go in the order in which they came. One that is
    cancelled gives its time back, or an execution that ends would make the next ones wait.

    Args:
        limit: How many in how long.
        clock: The clock.
    """

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = new_lock()
        self._times: deque[float] = deque()

    async def wait_until(self, at: float, wait: float) -> None:
        """Wait for the time that one was given; see `reserve`."""
        try:
            await self._clock.sleep(wait)
        except BaseException:
            self._give_back(at)
            raise

    def reserve(self) -> tuple[float, float]:
        """Return the time of a try, and the seconds until then."""
        limit, times = self._limit, self._times
        with self._lock:
            at = now = self._clock.now()
            while times and times[0] <= now - limit.seconds:
                times.popleft()
            if len(times) >= limit.calls:
                at = max(now, times[-limit.calls] + limit.seconds, times[-1])
            times.append(at)
            return at, at - now

    def _give_back(self, at: float) -> None:
        with self._lock:
            if at in self._times:
                self._times.remove(at)


class Slots:
    """Limits how many calls are in flight at once; the others wait in a queue.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._lock = new_lock()
        self._line: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._line)

    def acquire_nowait(self) -> bool:
        """Take a slot if there is one, and return whether there was; `release` it later."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    async def acquire(self) -> None:
        """Take a slot when there is one; `release` it later."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._line.append((loop, future))
        try:
            await future
        except BaseException:
            with self._lock:
                is_waiting = (loop, future) in self._line
                if is_waiting:
                    self._line.remove((loop, future))
            if not is_waiting:  # it was already granted
                self.release()
            raise

    def release(self) -> None:
        """Give a slot to the next in the queue."""
        while True:
            with self._lock:
                if not self._line:
                    self._free += 1
                    return
                loop, future = self._line.popleft()
            try:
                loop.call_soon_threadsafe(_grant, future)
            except RuntimeError:  # that loop is closed, and nobody waits there
                continue
            return


def _grant(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave for one try."""

    era: int
    """Number of the change of state that it was given after."""
    state: State


@dataclass(frozen=True, slots=True)
class Refusal:
    """No leave."""

    failures: int
    """Failures in a row, so far."""
    seconds: float
    """Until another try is permitted."""


class BreakerState:
    """The circuit breaker of one tool; used from any thread.

    ```
    closed ──`failures` in a row──> open ──`reset_seconds`──> half_open ──success──> closed
                                      ^                          │
                                      └─────────failure──────────┘
    ```

    Half open, one call is permitted: the probe. One that never ends must not leave the breaker half
    open for good, so it holds for `reset_seconds` only, and then another call may try. A call that ends late,
    from before the breaker's last change, says nothing of how the tool is now and is not counted.

    Args:
        breaker: When it opens, and for how long.
        now: The clock.
    """

    def __init__(self, breaker: Breaker, now: Callable[[], float]) -> None:
        self._breaker = breaker
        self._now = now
        self._lock = new_lock()
        self._failures = 0
        self._era = 0
        self._opened_at: float | None = None
        """When it opened, or the last probe began; None while it is closed."""
        self._is_probing = False
        self._closed = Pass(0, "closed")  # one for all calls of an era: it is made for each of them

    @property
    def state(self) -> State:
        """What it is now."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "half_open" if self._is_probing or not self._left() else "open"

    def refusal(self) -> Refusal | None:
        """Say whether a try would be refused, without asking for leave."""
        with self._lock:
            return self._refusal()

    def enter(self) -> Pass | Refusal:
        """Ask for permission for a try; a `Pass` must be returned by `leave`."""
        with self._lock:
            if self._opened_at is None:
                return self._closed
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            self._era += 1
            self._is_probing, self._opened_at = True, self._now()
            return Pass(self._era, "half_open")

    def leave(self, given: Pass, *, failed: bool | None) -> bool:
        """Say how a try ended; return whether that has opened or closed the breaker.

        Args:
            given: Its leave.
            failed: None if it says nothing of the tool, for example because it was cancelled.
        """
        with self._lock:
            if given.era != self._era:
                return False
            if failed is None:
                # The next one may probe at once: this one has not found out anything.
                if self._is_probing:
                    self._opened_at = self._now() - self._breaker.reset_seconds
            elif not failed:
                self._failures = 0
                if self._opened_at is not None:
                    self._change(None)
            else:
                self._failures += 1
                if self._is_probing or self._failures >= self._breaker.failures:
                    self._change(self._now())
            return given.era != self._era

    def open_for(self) -> tuple[int, float | None]:
        """Return the failures in a row, and the seconds until a probe; None for these while it is closed."""
        with self._lock:
            return self._failures, None if self._opened_at is None else self._left()

    def adopt(self, failures: int, seconds: float | None) -> None:
        """Take over the state of another process.

        Args:
            failures: Failures in a row, there.
            seconds: How long until a probe is permitted; None if it is closed.
        """
        with self._lock:
            self._failures = failures
            opened_for = self._breaker.reset_seconds - (seconds or 0.0)
            self._change(None if seconds is None else self._now() - opened_for)

    def _change(self, opened_at: float | None) -> None:
        self._era += 1
        self._is_probing, self._opened_at = False, opened_at
        self._closed = Pass(self._era, "closed")

    def _left(self) -> float:
        assert self._opened_at is not None
        return max(0.0, self._opened_at + self._breaker.reset_seconds - self._now())

    def _refusal(self) -> Refusal | None:
        if self._opened_at is None or not (left := self._left()):
            return None
        return Refusal(self._failures, left)


class Results(Generic[T]):
    """Results by key, until they are too old or too many; used from any thread.

    Args:
        cache: How long and how many.
        now: The clock.
    """

    def __init__(self, cache: Cache, now: Callable[[], float]) -> None:
        self._cache = cache
        self._now = now
        self._lock = new_lock()
        self._entries: OrderedDict[Hashable, tuple[float, int, T]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable) -> T | None:
        """Return the cached result; None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            until, _, result = entry
            if self._now() >= until:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return result

    def store(self, key: Hashable, result: T, size: int, seconds: float | None = None) -> None:
        """Store a result.

        Args:
            key: What the calls have in common that may use it.
            result: Not to be changed by anybody.
            size: Its bytes.
            seconds: How long it may be used; None for as long as a new one.
        """
        own = key[-1] if isinstance(key, tuple) else key
        size += _ENTRY_BYTES + (len(own) if isinstance(own, str) else 0)
        if size > self._cache.max_bytes:
            return
        with self._lock:
            self._drop(key)
            lasting = self._cache.seconds if seconds is None else seconds
            self._entries[key] = self._now() + lasting, size, result
            self._bytes += size
            while self._bytes > self._cache.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
