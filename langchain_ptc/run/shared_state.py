"""The state of policies that several processes share through a store of LangGraph.

A `BaseStore` can put, get and search; it cannot compare and set, and it tells nobody of a change. So no two
processes write the same item where it matters: each writes what it has done or is about to do, and reads what
the others wrote.

- A rate limit: a process first writes how many tries it asks for, and then reads the items of all. It begins
  what they leave free together, and takes back the rest. Of two that ask at the same time at least one reads
  the other's item, so they never begin more than the limit.
- A breaker: the latest change is one item, which each process reads once in `REFRESH_SECONDS`.
- A cached result is one item, under a hash of what the calls have in common that may use it.

What is read was written by somebody else: it is checked, and whatever does not fit is not there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import math
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from langgraph.store.base import BaseStore

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.catalog.definition import Breaker, Cache, RateLimit
from langchain_ptc.run.graph_state import store_of
from langchain_ptc.run.policy_state import BreakerState, Clock, Slots
from langchain_ptc.sandbox.wire.decoding import read_bounded
from langchain_ptc.sandbox.wire.values import UnsendableValue, encode_value

if TYPE_CHECKING:
    from langchain_ptc.run.calls import StartedCall

SharedStore: TypeAlias = BaseStore | Literal["graph"]
"""A store, or the one of the graph that makes the call."""

STORE_SECONDS: Final = 2.0
"""How long one access to the store may take."""
PAUSE_SECONDS: Final = 5.0
"""How long the store is left alone after an access took too long."""
REFRESH_SECONDS: Final = 1.0
"""How old what is known of a breaker may be when a call is made."""
MAX_PROCESSES: Final = 1000
"""How many may share a rate limit."""
MAX_RESULT_BYTES: Final = 1024 * 1024
"""The largest cached result that others are given; larger ones stay in the process."""

_SLOTS = 50
"""Parts of the period of a rate limit: it counts the tries that began in each."""
_ASKING_SLOTS = 3
"""How long after its slot an ask may not have been answered yet, in slots."""
_SPENT_SECONDS = 30.0
"""How long after its tries have ceased to count an item of a rate limit is written no more by its process; after
twice that others delete it. The clocks of their machines must not differ by more."""
_MAX_DELETED = 10
"""Old results that are deleted with each new one."""

logger = logging.getLogger("langchain_ptc")


class StoreFailed(Exception):
    """The store did not answer, or there is none."""


class SharedAccess:
    """Access to what is shared, in one namespace of a store; from any thread or event loop.

    A store that does not answer is left alone for `PAUSE_SECONDS`, so that calls do not wait for it one by one.

    Args:
        store: The store; `graph` for that of the graph which makes the call.
        name: What the processes have in common; the second part of the namespace.
        clock: The clock.

    Raises:
        ValueError: `store` or `name` is not one.
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
        """Return the value of an item; None if there is none.

        Raises:
            StoreFailed: The store did not answer.
        """
        item = await self._access(call, "get", self._place(kind, tool), key, refresh_ttl=False)
        return None if item is None else item.value

    async def search(self, call: StartedCall, kind: str, tool: str) -> dict[str, Mapping[str, Any]]:
        """Return the values of all items of a tool, by key.

        Raises:
            StoreFailed: The store did not answer, or has more items than there may be.
        """
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
        """Write an item, which is needed for so many seconds.

        Raises:
            StoreFailed: The store did not answer; the item may have been written.
        """
        options: dict[str, Any] = {"index": False}
        if self._store_for(call).supports_ttl:
            options["ttl"] = math.ceil(seconds / 60)
        await self._access(call, "put", self._place(kind, tool), key, value, **options)

    async def delete(self, call: StartedCall, kind: str, tool: str, key: str) -> None:
        """Delete an item.

        Raises:
            StoreFailed: The store did not answer.
        """
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

    Args:
        limit: How many in how long.
        access: Where the tries are counted.
        tool: Qualified name of the tool.
        clock: The clock.
    """

    def __init__(self, limit: RateLimit, access: SharedAccess, tool: str, clock: Clock) -> None:
        self._limit = limit
        self._access = access
        self._tool = tool
        self._clock = clock
        self._width = limit.seconds / _SLOTS
        self._turn = Slots(1)
        self._id = ""
        self._own: dict[float, int] = {}
        """Tries by the end of the slot in which they began."""
        self._spare = 0
        """Tries that were granted for calls which wait for their turn."""
        self._spare_until = 0.0
        self._others = 0
        """Other processes that have used the tool in the period."""

    async def begin(self, call: StartedCall) -> None:
        """Wait until a try may begin; in the order of the calls, in one process.

        Raises:
            StoreFailed: The store did not answer: no try may begin.
        """
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


_NEVER = 2.0**53
"""A time that no clock says."""


class _Process:
    """What another process has published of its tries.

    Args:
        key: The key of its item.
        value: What the item has; anybody may have written it.
    """

    def __init__(self, key: str, value: Mapping[str, Any]) -> None:
        self.key = key
        self.slots: dict[float, int] = {}
        """Tries by the end of their slot."""
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

    Args:
        state: The state in this process.
        breaker: When it opens, and for how long.
        access: Where the changes are.
        tool: Qualified name of the tool.
        clock: The clock.
    """

    def __init__(
        self, state: BreakerState, breaker: Breaker, access: SharedAccess, tool: str, clock: Clock
    ) -> None:
        self._state = state
        self._breaker = breaker
        self._access = access
        self._tool = tool
        self._clock = clock
        self._read_at = -math.inf
        self._known: object = None
        """The last change that was read or written."""
        self._is_written = True
        """That change is in the store."""

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

    Args:
        cache: How long and how many.
        access: Where they are.
        tool: Qualified name of the tool.
        clock: The clock.
    """

    def __init__(self, cache: Cache, access: SharedAccess, tool: str, clock: Clock) -> None:
        self._cache = cache
        self._access = access
        self._tool = tool
        self._clock = clock
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
