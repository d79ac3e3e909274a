"""The policy of one tool as layers around the function that calls it, and the state that they keep.

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
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeAlias, TypeVar

from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp, is_invalid_resume

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.policy import Breaker
from langchain_ptc.errors import ToolCallError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.calls import StartedCall, Time
from langchain_ptc.run.policies.breaker import BreakerState, Refusal
from langchain_ptc.run.policies.cache import Results
from langchain_ptc.run.policies.limiters import Clock, RateLimiter, Slots
from langchain_ptc.sandbox.wire.objects import UnsendableValue

T = TypeVar("T")

Layer: TypeAlias = Callable[[StartedCall], Awaitable[T]]
"""A function that makes a call, or one around such a function."""

logger = logging.getLogger("langchain_ptc")

_MOST_DOUBLINGS = 30
"""Pauses double this often at most; by then any of them is as long as it may be."""


class BreakerOpen(ToolCallError):
    """The tool is left alone for a while, because it keeps failing."""


class CallPolicy:
    """The policy of one tool, with its state; shared by all executions of an executor.

    Args:
        definition: The tool.
        clock: The clock.
    """

    def __init__(self, definition: ToolDefinition, clock: Clock) -> None:
        policy = definition.policy
        self.policy = policy
        self._name = definition.qualified_name
        self._clock = clock
        self._breaker = BreakerState(policy.breaker, clock.now) if policy.breaker else None
        self._rate = RateLimiter(policy.rate_limit, clock) if policy.rate_limit else None
        self._slots = Slots(policy.max_concurrent_calls) if policy.max_concurrent_calls else None
        self._results: Results[Any] | None = (
            Results(policy.cache, clock.now) if policy.cache else None
        )

    def attempts(self, make: Layer[T]) -> Layer[T]:
        """Return `make` with timeouts, limits, the breaker and retries around it.

        The layers raise, besides what `make` raises:

        - `ToolCallError`: the tool took too long, or is left alone for now.
        """
        layer = self._with_timeout(make)
        if self._breaker is not None:
            layer = _with_breaker(layer, self._breaker, self.policy.breaker, self._name)
        if self._rate is not None:
            layer = self._with_rate(layer, self._rate)
        if self._slots is not None:
            layer = self._with_slots(layer, self._slots)
        if self._breaker is not None and (self._rate is not None or self._slots is not None):
            layer = _with_early_refusal(layer, self._breaker, self._name)
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
    ) -> Layer[T]:
        """Return `make` with the tool's cache before it.

        Args:
            make: Makes a call.
            caller: Results are kept apart by it.
            size_of: The size of a result in bytes; None if it must not be used again.
            reuse: Gives a kept result to a later call.
        """
        results: Results[T] | None = self._results
        if results is None:
            return make

        async def cached(call: StartedCall) -> T:
            key = self._key_of(call)
            if key is None:
                return await make(call)
            kept = results.find((caller, *key))
            if kept is not None:
                call.is_cache_hit = True
                return reuse(kept, call)
            made = await make(call)
            size = size_of(made)
            if size is not None:
                results.keep((caller, *key), made, size)
            return made

        return cached

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
            if timer.expired():  # the tool took no notice of being cancelled
                raise self._too_late(call, seconds) from TimeoutError()
            return made

        return timed

    def _too_late(self, call: StartedCall, seconds: float) -> ToolCallError:
        limit = call.time.limit if seconds == call.seconds_left else None
        told = f" (limit {limit})" if limit else ""
        effect = "" if self.policy.read_only else "; it may still take effect"
        return ToolCallError(
            f"{self._name} did not answer within {seconds:.3g} seconds{told}{effect}",
            tool=self._name,
            limit=limit,
            allowed=call.time.seconds if limit else seconds,
        )

    def _with_rate(self, make: Layer[T], rate: RateLimiter) -> Layer[T]:
        async def limited(call: StartedCall) -> T:
            at, wait = rate.reserve()
            if wait > 0:
                began = self._clock.now()
                await rate.wait_until(at, wait)
                call.waited_seconds += self._clock.now() - began
            return await make(call)

        return limited

    def _with_slots(self, make: Layer[T], slots: Slots) -> Layer[T]:
        async def limited(call: StartedCall) -> T:
            if not slots.take_at_once():
                began = self._clock.now()
                await slots.take()
                call.waited_seconds += self._clock.now() - began
            try:
                return await make(call)
            finally:
                slots.give_back()

        return limited

    def _with_retries(self, make: Layer[T]) -> Layer[T]:
        total = self.policy.total_seconds

        async def retried(call: StartedCall) -> T:
            if total is not None and total < call.seconds_left:
                call.allow(Time(total, None))
            while True:
                began, waited = self._clock.now(), call.waited_seconds
                try:
                    return await make(call)
                except Exception as error:
                    call.seconds_left -= self._clock.now() - began - (call.waited_seconds - waited)
                    pause = self._pause(error, call)
                    if pause is None:
                        _tell_tries(error, call.attempts)
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
        if is_pause(error) or isinstance(error, BreakerOpen) or call.status == "refused":
            return None
        if not _is_one_of(error, retry.on):
            return None
        doubled = retry.wait_seconds * 2.0 ** min(tries - 1, _MOST_DOUBLINGS)
        pause = min(retry.max_wait_seconds, doubled + self._clock.chance() * retry.jitter_seconds)
        return pause if pause < call.seconds_left else None

    def _key_of(self, call: StartedCall) -> tuple[Hashable, ...] | None:
        """Return the key under which the result of a call is kept; None if it is not."""
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
                return asker, call.encode_in_order()
            own = cache.key(dict(call.arguments or {}))
            hash(own)
        except UnsendableValue:  # a person has edited them
            return None
        except Exception:
            logger.exception("the cache key of %s failed: its result is not kept", self._name)
            return None
        return asker, own


class CallPolicies:
    """The policies of tools, with their state; each is made when it is first asked for.

    Whoever has several executors over the same tools gives them one of these.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._policies: dict[str, list[CallPolicy]] = {}
        self._lock = new_lock()

    def of(self, definition: ToolDefinition) -> CallPolicy:
        """Return the policy of a tool: the same object as long as its policy is equal."""
        with self._lock:
            same_name = self._policies.setdefault(definition.qualified_name, [])
            for held in same_name:
                if held.policy is definition.policy or held.policy == definition.policy:
                    return held
            same_name.append(CallPolicy(definition, self.clock))
            return same_name[-1]


def _with_breaker(
    make: Layer[T], state: BreakerState, breaker: Breaker | None, name: str
) -> Layer[T]:
    assert breaker is not None

    async def guarded(call: StartedCall) -> T:
        entered = state.enter()
        if isinstance(entered, Refusal):
            raise _left_alone(call, entered, name)
        call.breaker = entered.state
        failed: bool | None = None
        try:
            made = await make(call)
            failed = False
            return made
        except Exception as error:
            if not is_pause(error) and call.status != "refused":
                failed = _is_one_of(error, breaker.on)
            raise
        finally:
            state.leave(entered, failed=failed)

    return guarded


def _with_early_refusal(make: Layer[T], state: BreakerState, name: str) -> Layer[T]:
    """Refuse a call that would only wait to be refused."""

    async def guarded(call: StartedCall) -> T:
        if (refusal := state.look()) is not None:
            raise _left_alone(call, refusal, name)
        return await make(call)

    return guarded


def _left_alone(call: StartedCall, refusal: Refusal, name: str) -> BreakerOpen:
    call.breaker = "open"
    return BreakerOpen(
        f"{name} is not called for now: it has failed {refusal.failures} times in a row, and "
        f"is left alone for another {refusal.seconds:.3g} seconds (its circuit breaker is open). "
        "Go on without it",
        tool=name,
    )


def is_pause(error: BaseException) -> bool:
    """Whether an exception is the graph's, and no failure.

    It is an interrupt, or an answer to one that does not fit.
    """
    return isinstance(error, GraphBubbleUp) or is_invalid_resume(error)


def _is_one_of(error: Exception, on: tuple[type[Exception], ...] | None) -> bool:
    fault: BaseException = error
    if isinstance(error, ToolCallError):
        # Without a cause it is the text of a message that the tool, or a middleware, has answered.
        fault = error.__cause__ or ToolException(str(error))
    return not isinstance(fault, ToolException) if on is None else isinstance(fault, on)


def _tell_tries(error: Exception, attempts: int) -> None:
    """Say in an error of ours how often it was tried, so that the code does not go on trying."""
    if attempts > 1 and type(error) is ToolCallError:
        error.args = (f"{error} (tried {attempts} times)",)
