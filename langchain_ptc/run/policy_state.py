"""The state of the policy of one tool: limiters, a circuit breaker, cached results; for any event loop.

What `asyncio` has for limits belongs to one event loop. The executions of one executor run on many: each
synchronous caller's and each test's is another. Libraries were looked at: `aiolimiter` belongs to one event
loop as well; `pybreaker` runs what it guards in a thread or not at all, and its probe may leave it half open
for good; `tenacity` takes 60 µs for a call that succeeds at once, twice the budget of all policies together.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import math
import os
import random
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from langgraph.store.base import BaseStore

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.catalog.definition import Breaker, Cache, RateLimit
from langchain_ptc.locks import new_lock
from langchain_ptc.run.graph_state import store_of
from langchain_ptc.sandbox.wire.decoding import read_bounded
from langchain_ptc.sandbox.wire.values import UnsendableValue, encode_value

if TYPE_CHECKING:
    from langchain_ptc.run.calls import StartedCall

logger = logging.getLogger("langchain_ptc")

T = TypeVar("T")

State: TypeAlias = Literal["closed", "open", "half_open"]
_ENTRY_BYTES = 500  # about what an entry takes in addition to its key and its result


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time, how to wait, and random numbers."""

    now: Callable[[], float] = time.monotonic  # seconds, from any point on, never back
    wall: Callable[[], float] = time.time  # seconds, as other machines have them too
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random  # from 0 to 1, for pauses


class RateLimiter:
    """Limits how many tries begin in any period of a given length.

    A try is given its time when it asks, so all go in the order in which they came. One that is
    cancelled gives its time back, or an execution that ends would make the next ones wait.
    """

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = new_lock()
        self._times: deque[float] = deque()

    async def begin(self, _: StartedCall) -> None:
        """Wait until a try may begin."""
        at, wait = self._reserve()
        if not wait:
            return
        try:
            await self._clock.sleep(wait)
        except BaseException:
            with self._lock:
                if at in self._times:
                    self._times.remove(at)
            raise

    def _reserve(self) -> tuple[float, float]:
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


class Slots:
    """Limits how many calls are in flight at once; the others wait in a queue."""

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

    era: int  # number of the change of state that it was given after
    state: State


@dataclass(frozen=True, slots=True)
class Refusal:
    """No leave."""

    failures: int  # failures in a row, so far
    seconds: float  # until another try is permitted


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
        """Say how a try ended (None: no sign of the tool's health); return whether that opened or closed the breaker."""
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
        """Take over the state of another process; see `open_for`."""
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
    """Results by key, until they are too old or too many; used from any thread."""

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
        """Store a result of `size` bytes, for so many seconds; None for as long as a new one."""
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


# --- state that several processes share through a store of LangGraph --------------------------------
# A `BaseStore` can put, get and search; it cannot compare and set, and it tells nobody of a change. So no two
# processes write the same item where it matters: each writes what it has done or is about to do, and reads what
# the others wrote.
#
# - A rate limit: a process first writes how many tries it asks for, and then reads the items of all. It begins
#   what they leave free together, and takes back the rest. Of two that ask at the same time at least one reads
#   the other's item, so they never begin more than the limit.
# - A breaker: the latest change is one item, which each process reads once in `REFRESH_SECONDS`.
# - A cached result is one item, under a hash of what the calls have in common that may use it.
#
# What is read was written by somebody else: it is checked, and whatever does not fit is not there.

SharedStore: TypeAlias = BaseStore | Literal["graph"]
"""A store, or the one of the graph that makes the call."""

STORE_SECONDS: Final = 2.0  # how long one access to the store may take
PAUSE_SECONDS: Final = 5.0  # how long the store is left alone after an access took too long
REFRESH_SECONDS: Final = 1.0  # how old what is known of a breaker may be when a call is made
MAX_PROCESSES: Final = 1000  # how many may share a rate limit
MAX_RESULT_BYTES: Final = 1024 * 1024
"""The largest cached result that others are given; larger ones stay in the process."""

_SLOTS = 50  # parts of the period of a rate limit: it counts the tries that began in each
_ASKING_SLOTS = 3  # how long after its slot an ask may not have been answered yet, in slots
_SPENT_SECONDS = 30.0
"""How long after its tries have ceased to count an item of a rate limit is written no more by its process; after
twice that others delete it. The clocks of their machines must not differ by more."""
_MAX_DELETED = 10  # old results that are deleted with each new one


class StoreFailed(Exception):
    """The store did not answer, or there is none."""


class SharedAccess:
    """Access to what is shared, in one namespace of a store; from any thread or event loop.

    A store that does not answer is left alone for `PAUSE_SECONDS`, so that calls do not wait for it one by one.
    All methods raise `StoreFailed`.

    Raises:
        ValueError: `store` or `name` is not one; see `CallPolicies`.
    """

    def __init__(self, store: SharedStore, name: str, clock: Clock) -> None:
        if not (isinstance(store, BaseStore) or store == "graph"):
            raise ValueError(f"store must be a BaseStore or 'graph', got {store!r}")
        if not name or "." in name:
            raise ValueError(
                f"name must be a text without a period: those who share state have the same, got {name!r}"
            )
        self._store = store
        self._name = name
        self._clock = clock
        self._paused_until = -math.inf
        self._failure = ""

    async def get(
        self, call: StartedCall, kind: str, tool: str, key: str
    ) -> Mapping[str, Any] | None:
        """Return the value of an item; None if there is none."""
        item = await self._access(call, "get", self._place(kind, tool), key, refresh_ttl=False)
        return None if item is None else item.value

    async def search(self, call: StartedCall, kind: str, tool: str) -> dict[str, Mapping[str, Any]]:
        """Return the values of all items of a tool, by key."""
        place = self._place(kind, tool)
        found = await self._access(call, "search", place, limit=MAX_PROCESSES, refresh_ttl=False)
        if len(found) >= MAX_PROCESSES:
            raise StoreFailed(f"more than {MAX_PROCESSES} processes share {'.'.join(place)}")
        return {item.key: item.value for item in found}

    async def put(
        self,
        call: StartedCall,
        kind: str,
        tool: str,
        key: str,
        value: dict[str, Any],
        seconds: float,
    ) -> None:
        """Write an item, which is needed for so many seconds; it may be written where that raises, too."""
        options: dict[str, Any] = {"index": False}
        if self._store_for(call).supports_ttl:
            options["ttl"] = math.ceil(seconds / 60)
        await self._access(call, "put", self._place(kind, tool), key, value, **options)

    async def delete(self, call: StartedCall, kind: str, tool: str, key: str) -> None:
        """Delete an item."""
        await self._access(call, "delete", self._place(kind, tool), key)

    def _place(self, kind: str, tool: str) -> tuple[str, ...]:
        return "langchain_ptc", self._name, kind, tool.replace(".", "/")

    def _store_for(self, call: StartedCall) -> BaseStore:
        if not isinstance(self._store, str):
            return self._store
        found = store_of(call.config)
        if found is None:
            text = "the call is not of a graph that has a store: pass store= when it is compiled"
            raise self._failed(text)
        return found

    async def _access(self, call: StartedCall, method: str, *given: Any, **options: Any) -> Any:
        if self._clock.now() < self._paused_until:
            raise StoreFailed(self._failure)
        store = self._store_for(call)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                if call.context.sync:
                    function = getattr(store, method)
                    answer = await call_in_thread(lambda: function(*given, **options))
                else:
                    answer = await getattr(store, f"a{method}")(*given, **options)
        except TimeoutError as error:
            self._paused_until = self._clock.now() + PAUSE_SECONDS
            raise self._failed("it took too long") from error
        except Exception as error:
            raise self._failed(str(error) or type(error).__name__) from error
        if self._failure:
            self._failure = ""
            logger.info("the store of the policies %r answers again", self._name)
        return answer

    def _failed(self, text: str) -> StoreFailed:
        if not self._failure:
            logger.warning(
                "the store of the policies %r has failed (%s): breakers and cached results are this "
                "process's own until it answers, and calls of tools with a rate limit are refused",
                self._name,
                text,
            )
        self._failure = text
        return StoreFailed(text)


class SharedRate:
    """Limits how many tries begin in any period of a given length, in all processes together.

    A process publishes one item: how many tries it has begun in each slot of the period, and how many
    of the last slot it only asks for. All that are published count, so what two processes begin at the
    same time is never more than the limit. Where several ask for more than is left they take back what they
    asked for, and the one that had the fewest tries in the period is the first to ask again.
    """

    def __init__(self, limit: RateLimit, access: SharedAccess, tool: str, clock: Clock) -> None:
        self._limit, self._access, self._tool, self._clock = limit, access, tool, clock
        self._width = limit.seconds / _SLOTS
        self._turn = Slots(1)
        self._id = ""
        self._own: dict[float, int] = {}  # tries by the end of the slot in which they began
        self._spare = 0  # tries that were granted for calls which wait for their turn
        self._spare_until = 0.0
        self._others = 0  # other processes that have used the tool in the period

    async def begin(self, call: StartedCall) -> None:
        """Wait until a try may begin, in the order of the calls in one process; raises `StoreFailed`: none may."""
        await self._turn.acquire()
        try:
            if self._spare and self._clock.wall() < self._spare_until:
                self._spare -= 1
                return
            while wait := await self._ask(call):
                await self._clock.sleep(wait)
        finally:
            self._turn.release()

    async def _ask(self, call: StartedCall) -> float:
        """Ask for tries; return 0 if one may begin, else the seconds after which to ask again."""
        spent = self._clock.wall() - self._limit.seconds - _SPENT_SECONDS
        if not self._id or max(self._own, default=0.0) < spent:
            self._id, self._own = uuid.uuid4().hex, {}
        try:
            return await self._ask_published(call)
        except BaseException:
            # What it was writing may be written late. It must not be over something newer.
            self._id = ""
            raise

    async def _ask_published(self, call: StartedCall) -> float:
        limit = self._limit.calls
        end = self._slot_end()
        self._own = {e: n for e, n in self._own.items() if n and self._counts(e, end)}
        begun = sum(self._own.values())
        asked = min(1 + self._turn.waiting, max(1, limit // (1 + self._others)))
        self._own[end] = self._own.get(end, 0) + asked
        await self._publish(call, end, asked)
        others = await self._read_others(call, end)
        free = limit - begun - sum(other.tries for other in others)
        granted = min(asked, max(0, free))
        if granted < asked:
            self._own[end] -= asked - granted
            await self._publish(call, end, 0)
        if not granted:
            return self._wait(end, begun, others)
        self._move(end, granted)
        self._spare = granted - 1
        return 0.0

    def _slot_end(self) -> float:
        return (math.floor(self._clock.wall() / self._width) + 1) * self._width

    def _counts(self, tries_end: float, end: float) -> bool:
        """Whether tries of one slot count for those of another: both may be in one period."""
        return tries_end > end - self._limit.seconds - self._width / 2

    def _move(self, end: float, granted: int) -> None:
        """Count tries for the slot in which they begin, if the store took longer than theirs."""
        self._spare_until = self._slot_end()
        if self._spare_until > end:
            self._own[end] -= granted
            self._own[self._spare_until] = self._own.get(self._spare_until, 0) + granted

    async def _publish(self, call: StartedCall, end: float, asked: int) -> None:
        value = {"tries": [[e, n] for e, n in self._own.items()], "asked": asked, "until": end}
        lasting = self._limit.seconds + 2 * _SPENT_SECONDS
        await self._access.put(call, "rate", self._tool, self._key, value, lasting)

    @property
    def _key(self) -> str:
        return f"{self._id}-{os.getpid()}"  # a forked process has its own

    async def _read_others(self, call: StartedCall, end: float) -> list[_Process]:
        found = await self._access.search(call, "rate", self._tool)
        found.pop(self._key, None)
        others, now = [], self._clock.wall()
        for key, value in found.items():
            process = _Process(key, value)
            if abs(process.until - now) > self._limit.seconds + 2 * _SPENT_SECONDS:
                await self._access.delete(call, "rate", self._tool, key)
            else:
                process.count(lambda e: self._counts(e, end), now - _ASKING_SLOTS * self._width)
                others.append(process)
        self._others = sum(other.tries > 0 for other in others)
        return others

    def _wait(self, end: float, begun: int, others: list[_Process]) -> float:
        """Return the seconds until enough of the tries that have begun count no longer."""
        left = self._limit.calls - begun - sum(other.begun for other in others)
        chance = self._width * self._clock.chance()
        if left > 0:  # what is in the way was only asked for
            rivals = [(other.begun, other.key) for other in others if other.asked]
            is_first = all((begun, self._key) < rival for rival in rivals)
            return chance / 8 if is_first else self._width / 2 + chance
        ends: dict[float, int] = dict(self._own)
        for other in others:
            for e, n in other.slots.items():
                ends[e] = ends.get(e, 0) + n
        at = end
        for e in sorted(e for e in ends if self._counts(e, end)):
            left += ends[e]
            at = e
            if left > 0:
                break
        return max(self._width / 4, at + self._limit.seconds - self._clock.wall()) + chance / 4


_NEVER = 2.0**53  # a time that no clock says


class _Process:
    """What another process has published of its tries; anybody may have written it."""

    def __init__(self, key: str, value: Mapping[str, Any]) -> None:
        self.key = key
        self.slots: dict[float, int] = {}  # tries by the end of their slot
        tries = value.get("tries")
        for entry in tries[: 4 * _SLOTS] if isinstance(tries, list) else ():
            match entry:
                case [int() | float() as end, int(n)] if abs(end) < _NEVER and n > 0:
                    self.slots[end] = n
        self._asked, self.until = 0, 0.0
        match value.get("asked"), value.get("until"):
            case int(asked), int() | float() as until if abs(until) < _NEVER:
                self._asked, self.until = asked, float(until)
        self.tries = self.asked = self.begun = 0

    def count(self, counts: Callable[[float], bool], asked_since: float) -> None:
        """Count the tries of a period: all, those that it may still ask for, and those that have begun."""
        self.tries = sum(n for e, n in self.slots.items() if counts(e))
        if self.until > asked_since:
            self.asked = max(0, min(self._asked, self.tries))
        self.begun = self.tries - self.asked


class SharedBreaker:
    """Tells other processes of the changes of a breaker, and this one of theirs.

    Failures are counted by each process; that a breaker has opened, a probe has begun, or one has closed is
    shared.
    """

    def __init__(
        self, state: BreakerState, breaker: Breaker, access: SharedAccess, tool: str, clock: Clock
    ) -> None:
        self._state, self._breaker = state, breaker
        self._access, self._tool, self._clock = access, tool, clock
        self._read_at = -math.inf
        self._known: object = None  # the last change that was read or written
        self._is_written = True  # that change is in the store

    async def refresh(self, call: StartedCall) -> None:
        """Take over what another process has changed; look at most once in `REFRESH_SECONDS`.

        A process that could begin a probe looks each time: another may have begun one.
        """
        now, (_, left) = self._clock.now(), self._state.open_for()
        if left != 0 and now < self._read_at + REFRESH_SECONDS:
            return None
        self._read_at, known = now, self._known
        if not self._is_written:
            return await self.publish(call)
        try:
            found = await self._access.get(call, "breaker", self._tool, "state")
        except StoreFailed:
            return None
        if self._known is not known or found is None or found.get("change") == known:
            return None
        self._known = found.get("change")
        until, failures = found.get("open_until"), found.get("failures")
        if until is None:
            self._state.adopt(0, None)
        elif isinstance(until, int | float) and isinstance(failures, int):
            seconds = min(max(0.0, until - self._clock.wall()), self._breaker.reset_seconds)
            self._state.adopt(failures, seconds)
        return None

    async def publish(self, call: StartedCall) -> None:
        """Write how the state is now."""
        failures, left = self._state.open_for()
        self._known, self._is_written = uuid.uuid4().hex, False
        until = None if left is None else self._clock.wall() + left
        value = {"open_until": until, "failures": failures, "change": self._known}
        lasting = 2 * self._breaker.reset_seconds
        try:
            await self._access.put(call, "breaker", self._tool, "state", value, lasting)
        except StoreFailed:
            return
        self._is_written = self._known == value["change"]


class SharedResults:
    """Cached results that other processes may use.

    What this process has stored it deletes when it is too old or too much, for stores that have no time to
    live; what a process had stored that is gone stays there, in such a store.
    """

    def __init__(self, cache: Cache, access: SharedAccess, tool: str, clock: Clock) -> None:
        self._cache, self._access, self._tool, self._clock = cache, access, tool, clock
        self._stored: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When those end that this process has stored, and their bytes; the oldest first."""

    async def find(self, call: StartedCall, key: Hashable) -> tuple[Any, int, float] | None:
        """Return the result of another process as plain data, its bytes, and for how many seconds it is good."""
        if (name := _digest(key)) is None:
            return None
        try:
            found = await self._access.get(call, "result", self._tool, name)
        except StoreFailed:
            return None
        match found:
            case {"until": int() | float() as until, "data": str(data)}:
                left = min(until - self._clock.wall(), self._cache.seconds)
            case _:
                return None
        if not left > 0 or len(data) > 2 * MAX_RESULT_BYTES:
            return None
        try:
            packed = base64.b64decode(data, validate=True)
            return read_bounded(packed).value, len(packed), left
        except ValueError:
            return None

    async def store(self, call: StartedCall, key: Hashable, data: Any) -> None:
        """Let others use a result, as plain data."""
        try:
            packed = encode_value(data)
        except UnsendableValue:
            return
        if len(packed) > min(MAX_RESULT_BYTES, self._cache.max_bytes):
            return
        if (name := _digest(key)) is None:
            return
        until = self._clock.wall() + self._cache.seconds
        value = {"until": until, "data": base64.b64encode(packed).decode()}
        try:
            await self._access.put(call, "result", self._tool, name, value, self._cache.seconds)
            self._stored.pop(name, None)
            self._stored[name] = until, len(packed)
            for old in self._pop_old():
                await self._access.delete(call, "result", self._tool, old)
        except StoreFailed:
            return

    def _pop_old(self) -> list[str]:
        old: list[str] = []
        kept = sum(size for _, size in self._stored.values())
        for name, (until, size) in list(self._stored.items())[:_MAX_DELETED]:
            if until > self._clock.wall() and kept <= self._cache.max_bytes:
                break
            kept -= size
            if self._stored.pop(name, None) is not None:  # else another thread has it
                old.append(name)
        return old


def _digest(key: Hashable) -> str | None:
    """Return a hash of a key that is the same in every process; None if there is none."""
    try:
        return hashlib.sha256(encode_value(key)).hexdigest()
    except Exception:  # noqa: BLE001  # objects in a developer's own key may raise anything
        return None
