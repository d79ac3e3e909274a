"""How often, and how many at once: limiters of the calls of one tool, from any event loop.

What `asyncio` has for it belongs to one event loop. The executions of one executor run on many: each
synchronous caller's and each test's is another.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from langchain_ptc.catalog.policy import RateLimit
from langchain_ptc.locks import new_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What time it is, how to wait, and what chance says."""

    now: Callable[[], float] = time.monotonic
    """Seconds, from any point on, never back."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """From 0 to 1, for pauses."""


class RateLimiter:
    """Lets no more than so many tries begin in any stretch of time.

    A try is given its time when it asks, so all go in the order in which they came. One that is
    cancelled gives its time back, or an execution that ends would keep the next ones waiting.

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
    """Lets no more than so many calls be on their way at once; the others wait in a line.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = new_lock()
        self._line: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def take_at_once(self) -> bool:
        """Take a slot if there is one; whoever has it must `give_back`."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    async def take(self) -> None:
        """Take a slot when there is one; whoever has it must `give_back`."""
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
            if not is_waiting:  # it was on its way to us
                self.give_back()
            raise

    def give_back(self) -> None:
        """Hand a slot to the next in line."""
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
