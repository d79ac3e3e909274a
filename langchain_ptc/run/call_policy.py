"""The policy of one tool as layers around the function that calls it, and their state.

    cache(retry(slots(rate(breaker(timeout(make))))))

A layer is there only if the policy asks for it: a tool without a policy has the timeout of the execution
and nothing else. A try goes through the concurrency limit, the rate limit and the breaker, and then to
the tool, for as long as it may take; waiting is not the tool's time. A try that failed is made again only
if the policy has a `Retry`, which it can only have if one call more changes nothing: nothing else here
calls a tool twice.

An interrupt of the graph passes through all of it untouched, and counts as nothing.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from langchain_core.tools import ToolException

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.catalog.definition import ToolCallInfo
from langchain_ptc.errors import LimitExceeded, ToolCallError, count
from langchain_ptc.locks import new_lock
from langchain_ptc.run.calls import CallOutcome, Pipeline, StartedCall, Time, is_pause, is_signal
from langchain_ptc.run.dispatch import Dispatcher, too_large
from langchain_ptc.run.plain import OnToolError, describe_failure
from langchain_ptc.run.policy_state import (
    BreakerState,
    Clock,
    RateLimiter,
    Refusal,
    Results,
    SharedAccess,
    SharedBreaker,
    SharedRate,
    SharedResults,
    SharedStore,
    Slots,
    StoreFailed,
)
from langchain_ptc.sandbox.wire.decoding import read_bounded
from langchain_ptc.sandbox.wire.values import UnsendableValue, ValueTooLarge, encode_sized, is_large

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition

T = TypeVar("T")

Layer: TypeAlias = Callable[[StartedCall], Awaitable[T]]
"""A function that makes a call, or one around such a function."""
Before: TypeAlias = Callable[[ToolCallInfo], Any]
After: TypeAlias = Callable[[ToolCallInfo, Any], Any]

logger = logging.getLogger("langchain_ptc")

_MAX_DOUBLINGS = 30
"""Pauses double at most this often; by then each is as long as the policy allows."""


class BreakerOpen(ToolCallError):
    """Calls of the tool are refused for a while, because it has failed repeatedly."""


class Portable(NamedTuple, Generic[T]):
    """How cached results go to another process, and come from there."""

    pack: Callable[[T], Any]  # returns a result as plain data; None if it stays in its process
    unpack: Callable[[Any, StartedCall], T]
    """Returns the result for a call; raises if somebody else has written the data."""


class CallPolicy:
    """The policy of one tool, with its state; shared by all executions of an executor."""

    def __init__(
        self, definition: ToolDefinition, clock: Clock, access: SharedAccess | None = None
    ) -> None:
        policy = definition.policy
        self.policy = policy
        self._name = definition.qualified_name
        self._clock = clock
        self._breaker = BreakerState(policy.breaker, clock.now) if policy.breaker else None
        self._rate: RateLimiter | SharedRate | None = None
        if policy.rate_limit is not None:
            self._rate = RateLimiter(policy.rate_limit, clock)
        self._slots = Slots(policy.max_concurrent_calls) if policy.max_concurrent_calls else None
        self._results: Results[Any] | None = (
            Results(policy.cache, clock.now) if policy.cache else None
        )
        self._shared_breaker: SharedBreaker | None = None
        self._shared_results: SharedResults | None = None
        if access is None:
            return
        name = self._name
        if policy.breaker is not None and self._breaker is not None:
            self._shared_breaker = SharedBreaker(self._breaker, policy.breaker, access, name, clock)
        if policy.rate_limit is not None:
            self._rate = SharedRate(policy.rate_limit, access, name, clock)
        if policy.cache is not None:
            self._shared_results = SharedResults(policy.cache, access, name, clock)

    def attempts(self, make: Layer[T]) -> Layer[T]:
        """Return `make` with timeouts, limits, the breaker and retries around it.

        The layers raise, in addition to what `make` raises:

        - `ToolCallError`: the tool took too long, its circuit breaker is open, or its rate limit is in a
          store that does not answer.
        """
        layer = self._with_timeout(make)
        if self._breaker is not None:
            layer = self._with_breaker(layer, self._breaker)
        if self._rate is not None:
            layer = self._with_rate(layer, self._rate)
        if self._slots is not None:
            layer = self._with_slots(layer, self._slots)
        if self._breaker is not None and (self._rate is not None or self._slots is not None):
            layer = self._with_early_refusal(layer, self._breaker)
        if self.policy.retry is not None or self.policy.total_seconds is not None:
            layer = self._with_retries(layer)
        return layer

    def cached(
        self,
        make: Layer[T],
        *,
        caller: str,
        size_of: Callable[[T], int | None],
        reuse: Callable[[T, StartedCall], T],
        portable: Portable[T],
    ) -> Layer[T]:
        """Return `make` with the tool's cache before it; each caller has results of its own.

        `size_of` gives the bytes of a result, None if it must not be used again; `reuse` a cached one for a later
        call.
        """
        results: Results[T] | None = self._results
        if results is None:
            return make

        async def cached(call: StartedCall) -> T:
            own = self._key_of(call)
            if own is None:
                return await make(call)
            key, others = (caller, *own), self._shared_results
            if own[0] is not None and own[0] == call.execution_id:
                others = None  # an execution is in one process
            cached_result = results.find(key)
            if cached_result is None and others is not None:
                cached_result = await self._find_elsewhere(others, key, call, results, portable)
            if cached_result is not None:
                call.is_cache_hit = True
                return reuse(cached_result, call)
            made = await make(call)
            size = size_of(made)
            if size is not None:
                results.store(key, made, size)
                if others is not None and (data := portable.pack(made)) is not None:
                    await others.store(call, key, data)
            return made

        return cached

    async def _find_elsewhere(
        self,
        others: SharedResults,
        key: Hashable,
        call: StartedCall,
        results: Results[T],
        portable: Portable[T],
    ) -> T | None:
        """Return the result that another process has stored; None if there is none that can be used."""
        found = await others.find(call, key)
        if found is None:
            return None
        data, size, seconds = found
        try:
            result = portable.unpack(data, call)
        except Exception:
            logger.exception("a cached result of %s in the store cannot be read", self._name)
            return None
        results.store(key, result, size, seconds)
        return result

    # --- the layers ---------------------------------------------------------------------------------

    def _with_timeout(self, make: Layer[T]) -> Layer[T]:
        own = self.policy.timeout_seconds

        async def timed(call: StartedCall) -> T:
            call.attempts += 1
            seconds = call.seconds_left if own is None else min(call.seconds_left, own)
            timer = asyncio.timeout(seconds)
            try:
                async with timer:
                    made = await make(call)
            except TimeoutError as error:
                if not timer.expired():
                    raise
                raise self._too_late(call, seconds) from error
            if timer.expired():  # the tool ignored that it was cancelled
                raise self._too_late(call, seconds) from TimeoutError()
            return made

        return timed

    def _too_late(self, call: StartedCall, seconds: float) -> ToolCallError:
        limit = call.time.limit if seconds == call.seconds_left else None
        named = f" (limit {limit})" if limit else ""
        effect = "" if self.policy.read_only else "; it may still take effect"
        return ToolCallError(
            f"{self._name} did not answer within {count(seconds, 'second')}{named}{effect}",
            tool=self._name,
            limit=limit,
            allowed=call.time.seconds if limit else seconds,
        )

    def _with_rate(self, make: Layer[T], rate: RateLimiter | SharedRate) -> Layer[T]:
        async def limited(call: StartedCall) -> T:
            began = self._clock.now()
            try:
                await rate.begin(call)
            except StoreFailed as error:
                raise ToolCallError(
                    f"{self._name} was not called: its rate limit is shared by several processes, and "
                    f"the store that counts their calls cannot be used ({error}). Go on without it, or "
                    "try again later",
                    tool=self._name,
                ) from error
            call.waited_seconds += self._clock.now() - began
            return await make(call)

        return limited

    def _with_slots(self, make: Layer[T], slots: Slots) -> Layer[T]:
        async def limited(call: StartedCall) -> T:
            if not slots.acquire_nowait():
                began = self._clock.now()
                await slots.acquire()
                call.waited_seconds += self._clock.now() - began
            try:
                return await make(call)
            finally:
                slots.release()

        return limited

    def _with_breaker(self, make: Layer[T], state: BreakerState) -> Layer[T]:
        shared, breaker = self._shared_breaker, self.policy.breaker
        on = None if breaker is None else breaker.on

        async def guarded(call: StartedCall) -> T:
            if shared is not None:
                await shared.refresh(call)
            entered = state.enter()
            if isinstance(entered, Refusal):
                raise _breaker_open(call, entered, self._name)
            call.breaker = entered.state
            if shared is not None and entered.state == "half_open":
                await shared.publish(call)  # so that no other process begins a probe as well
            failed: bool | None = None
            try:
                made = await make(call)
                failed = False
                return made
            except Exception as error:
                if not is_pause(error) and call.is_reached:
                    failed = _is_one_of(error, on)
                raise
            finally:
                if state.leave(entered, failed=failed) and shared is not None:
                    await shared.publish(call)

        return guarded

    def _with_early_refusal(self, make: Layer[T], state: BreakerState) -> Layer[T]:
        """Refuse a call that would only wait to be refused."""
        shared = self._shared_breaker

        async def guarded(call: StartedCall) -> T:
            if shared is not None:
                await shared.refresh(call)
            if (refusal := state.refusal()) is not None:
                raise _breaker_open(call, refusal, self._name)
            return await make(call)

        return guarded

    def _with_retries(self, make: Layer[T]) -> Layer[T]:
        total = self.policy.total_seconds

        async def retried(call: StartedCall) -> T:
            if total is not None and total < call.seconds_left:
                call.time, call.seconds_left = Time(total, None), total
            while True:
                began, waited = self._clock.now(), call.waited_seconds
                try:
                    return await make(call)
                except Exception as error:
                    call.seconds_left -= self._clock.now() - began - (call.waited_seconds - waited)
                    pause = self._pause(error, call)
                    if pause is None:
                        _add_tries(error, call.attempts)
                        raise
                call.seconds_left -= pause
                call.waited_seconds += pause
                await self._clock.sleep(pause)

        return retried

    def _pause(self, error: Exception, call: StartedCall) -> float | None:
        """Return how long to wait before another try; None if there is to be none."""
        retry, tries = self.policy.retry, call.attempts
        if retry is None or tries >= retry.attempts:
            return None
        if is_pause(error) or isinstance(error, BreakerOpen) or not call.is_reached:
            return None
        if not _is_one_of(error, retry.on):
            return None
        doubled = retry.wait_seconds * 2.0 ** min(tries - 1, _MAX_DOUBLINGS)
        pause = min(retry.max_wait_seconds, doubled + self._clock.chance() * retry.jitter_seconds)
        return pause if pause < call.seconds_left else None

    def _key_of(self, call: StartedCall) -> tuple[Hashable, ...] | None:
        """Return the key of a call in the cache; None if its result is not cached."""
        cache = self.policy.cache
        if cache is None:
            return None
        asker: str | None = None
        if cache.scope != "executor":
            asker = call.execution_id or None
            if cache.scope == "thread":
                configurable = call.config.get("configurable") or {}
                asker = configurable.get("thread_id") or asker
            if asker is None:
                return None
        try:
            if cache.key is None:
                return asker, call.encode()
            own = cache.key(dict(call.arguments or {}))
            hash(own)
        except UnsendableValue:  # a person has edited them
            return None
        except Exception:
            logger.exception("the cache key of %s failed: its result is not cached", self._name)
            return None
        return asker, own


class CallPolicies:
    """The state of the policies of tools: breakers, rate limits, cached results.

    Each executor has one of its own, and executors that are given the same one share it. With a store, so do
    all processes that use the same `name` in the same store: a rate limit is one limit for all of them, a
    breaker that opens in one opens in the others within about a second, and a cached result of one is used
    by the others. `max_concurrent_calls` remains a limit of each process.

    A tool with a rate limit is not called while the store does not answer; breakers and caches are each
    process's own then.

    Args:
        store: Where the state is shared; `graph` for the store of the graph that makes the call. None
            for state in this process only.
        name: What the processes have in common that share state, for example the name of the service and
            of its environment. It is in the namespace of the items, and has no period.
        clock: The clock, for tests.

    Raises:
        ValueError: `store` is neither a store nor `graph`, or `name` is missing or given without a store.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        store: SharedStore | None = None,
        name: str | None = None,
    ) -> None:
        self.clock = clock or Clock()
        if store is None and name is not None:
            raise ValueError(f"name={name!r} is for state in a store: pass store= too")
        self._access = None if store is None else SharedAccess(store, name or "", self.clock)
        self._policies: dict[str, list[CallPolicy]] = {}
        self._lock = new_lock()

    def of(self, definition: ToolDefinition) -> CallPolicy:
        """Return the policy of a tool: the same object as long as its policy is equal."""
        with self._lock:
            same_name = self._policies.setdefault(definition.qualified_name, [])
            for held in same_name:
                if held.policy is definition.policy or held.policy == definition.policy:
                    return held
            same_name.append(CallPolicy(definition, self.clock, self._access))
            return same_name[-1]


def _breaker_open(call: StartedCall, refusal: Refusal, name: str) -> BreakerOpen:
    call.breaker = "open"
    return BreakerOpen(
        f"{name} is not called for now: it has failed {count(refusal.failures, 'time')} in a row, and "
        f"is left alone for another {count(refusal.seconds, 'second')} (its circuit breaker is open). "
        "Go on without it",
        tool=name,
    )


def _is_one_of(error: Exception, on: tuple[type[Exception], ...] | None) -> bool:
    fault: BaseException = error
    if isinstance(error, ToolCallError):
        # Without a cause it is the text of a message that the tool, or a middleware, has answered.
        fault = error.__cause__ or ToolException(str(error))
    return not isinstance(fault, ToolException) if on is None else isinstance(fault, on)


def _add_tries(error: Exception, attempts: int) -> None:
    """Add the number of tries to an error of our own, so that the code does not go on trying."""
    if attempts > 1 and type(error) is ToolCallError:
        error.args = (f"{error} (tried {count(attempts, 'time')})",)


def with_before(make: Layer[T], before: Before, on_tool_error: OnToolError = "message") -> Layer[T]:
    """Return `make` with a hook before each call, which refuses it by raising: the code gets `ToolCallError`."""

    async def hooked(call: StartedCall) -> T:
        try:
            returned = before(call.info())
            if returned is not None and inspect.isawaitable(returned):
                await returned
        except BaseException as error:
            _raise_in_code(error, call, on_tool_error)
            raise
        return await make(call)

    return hooked


async def run_after(
    call: StartedCall, after: After, value: Any, on_tool_error: OnToolError = "message"
) -> Any:
    """Give the hook what the tool returned, and return what it makes of it; raises `ToolCallError`."""
    try:
        changed = after(call.info(), value)
        return await changed if hasattr(changed, "__await__") else changed
    except BaseException as error:
        _raise_in_code(error, call, on_tool_error)
        raise


def _raise_in_code(error: BaseException, call: StartedCall, on_tool_error: OnToolError) -> None:
    """Raise what a hook raised as a `ToolCallError`, unless it is the graph's, or ends the hook's task."""
    is_passed_on = isinstance(error, ToolCallError | asyncio.CancelledError | GeneratorExit)
    if not (is_passed_on or is_pause(error) or is_signal(error)):
        text = describe_failure(call.tool, error, on_tool_error)
        raise ToolCallError(text, tool=call.tool) from error


def build_pipeline(
    dispatcher: Dispatcher, policies: CallPolicies, on_tool_error: OnToolError, catalog: ToolCatalog
) -> Pipeline:
    """Return the function that makes the calls of one tool, with the layers that its policy has.

        before(cache(encode(after(attempts(dispatch)))))

    It raises, in addition to what `Dispatcher.call` raises:

    - `ToolCallError`: a hook refused the call, the tool took too long or its circuit breaker is open, or
      the result cannot be sent to the code.
    """
    definition = dispatcher.definition
    call_policy = policies.of(definition)
    made = call_policy.attempts(dispatcher.call)
    name, after = definition.qualified_name, definition.policy.after
    is_vague, is_textless = name in catalog.vague, name in catalog.textless

    async def encoded(call: StartedCall) -> CallOutcome:
        value = await made(call)
        if after is not None:
            value = await run_after(call, after, value, on_tool_error)
        if call.commands:
            _check_commands(call)
        encode = functools.partial(encode_sized, value, call.context.limits.result_bytes)
        try:
            if is_large(value):
                async with call.context.encoding_turns:
                    payload, size = await call_in_thread(encode)
            else:
                payload, size = encode()
        except Exception as error:
            raise _unsendable(error, call) from error
        if is_vague or (is_textless and isinstance(value, str)):
            catalog.observe(name, value, arguments=call.arguments)
        return CallOutcome(payload=payload, size=size, commands=call.commands)

    outcome = call_policy.cached(
        encoded,
        caller="code",
        size_of=lambda made: None if made.commands else len(made.payload),
        reuse=lambda cached_result, _: cached_result,
        portable=Portable(
            pack=lambda made: None if made.commands else made.payload, unpack=_unpack
        ),
    )
    before = definition.policy.before
    return outcome if before is None else with_before(outcome, before, on_tool_error)


def _unpack(data: Any, call: StartedCall) -> CallOutcome:
    value = read_bounded(data).value
    payload, size = encode_sized(value, call.context.limits.result_bytes)
    return CallOutcome(payload=payload, size=size)


def _check_commands(call: StartedCall) -> None:
    """Refuse what the graph could not apply when the program has ended."""
    try:
        call.context.check_commands(call.commands)
    except Exception as error:
        name = call.tool
        text = f"{name} returned a Command that the graph cannot apply: {error}"
        raise ToolCallError(text, tool=name) from error


def _unsendable(error: Exception, call: StartedCall) -> ToolCallError:
    """Return why the code does not get a result: iterators and classes in it are code of their author's."""
    name, allowed = call.tool, call.context.limits.result_bytes
    if isinstance(error, ValueTooLarge):
        limit = LimitExceeded(limit="result_bytes", allowed=allowed, used=error.size)
        return too_large(name, str(limit), allowed, error.size)
    if isinstance(error, UnsendableValue):
        return ToolCallError(f"the result of {name} cannot be used: {error}", tool=name)
    failed = describe_failure(name, error, call.context.on_tool_error)
    return ToolCallError(f"{failed} (its result could not be read)", tool=name)
