"""What stands before one tool: its breaker, its gates, its timer, its retries and its kept results.

A try of a call goes, in this order, through the concurrency limit, the rate limit and the breaker, and
then to the tool, for as long as it may take. Waiting at the gates is not the tool's time. A try that
failed is made again only if the policy has a `Retry`, which it can only have if one call more changes
nothing: nothing else here calls a tool twice.

An interrupt of the graph goes through all of it untouched, and counts as nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp, is_invalid_resume

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import ToolCallError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.policies.breaker import BreakerState, Pass, Refusal
from langchain_ptc.run.policies.cache import Results
from langchain_ptc.run.policies.clock import Clock
from langchain_ptc.run.policies.limiters import RateGate, Slots
from langchain_ptc.sandbox.wire.objects import UnsendableValue

T = TypeVar("T")

logger = logging.getLogger("langchain_ptc")

_MOST_DOUBLINGS = 30
"""Pauses double this often at most; by then any of them is as long as it may be."""


class BreakerOpen(ToolCallError):
    """The tool is left alone for a while, because it keeps failing."""


@dataclass(frozen=True, slots=True)
class Time:
    """How long a call may take, the waiting at the gates left out."""

    seconds: float
    limit: str | None
    """The limit that says so; None for the policy of the tool."""


class Guard:
    """What stands before one tool, for all executions of an executor.

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
        self._rate = RateGate(policy.rate_limit, clock) if policy.rate_limit else None
        self._slots = Slots(policy.max_concurrent_calls) if policy.max_concurrent_calls else None
        self.results: Results[Any] | None = (
            Results(policy.cache, clock.now) if policy.cache else None
        )

    async def run(self, call: StartedCall, make: Callable[[], Awaitable[T]], time: Time) -> T:
        """Make a call, as often as its tool's policy wants it.

        Args:
            call: Is told of tries, of waiting, and of the breaker.
            make: Makes one try.
            time: How long all of it may take.

        Raises:
            ToolCallError: The tool failed, took too long, or is left alone for now.
            GraphBubbleUp: The tool interrupted the graph.
            Exception: Whatever else `make` raised, when it is not to be made again.
        """
        policy, left = self.policy, time.seconds
        if policy.total_seconds is not None and policy.total_seconds < left:
            left, time = policy.total_seconds, Time(policy.total_seconds, None)
        call.attempts = 0
        while True:
            began, waited = self._clock.now(), call.waited_seconds
            try:
                return await self._try(call, make, left, time)
            except Exception as error:
                left -= self._clock.now() - began - (call.waited_seconds - waited)
                pause = self._pause(error, call, left)
                if pause is None:
                    _tell_tries(error, call.attempts)
                    raise
            left -= pause
            call.waited_seconds += pause
            await self._clock.sleep(pause)

    # --- one try ------------------------------------------------------------------------------------

    async def _try(
        self, call: StartedCall, make: Callable[[], Awaitable[T]], left: float, time: Time
    ) -> T:
        if self._breaker is not None:
            self._look(call, self._breaker.look())  # before it waits for nothing
        if self._slots is None:
            return await self._try_in_time(call, make, left, time)
        if not self._slots.take_at_once():
            began = self._clock.now()
            await self._slots.take()
            call.waited_seconds += self._clock.now() - began
        try:
            return await self._try_in_time(call, make, left, time)
        finally:
            self._slots.give_back()

    async def _try_in_time(
        self, call: StartedCall, make: Callable[[], Awaitable[T]], left: float, time: Time
    ) -> T:
        if self._rate is not None:
            at, wait = self._rate.reserve()
            if wait > 0:
                began = self._clock.now()
                await self._rate.wait_until(at, wait)
                call.waited_seconds += self._clock.now() - began
        given = None
        if self._breaker is not None:
            entered = self._breaker.enter()
            if isinstance(entered, Refusal):
                self._look(call, entered)
            else:
                given, call.breaker = entered, entered.state
        call.attempts += 1
        failed: bool | None = None
        try:
            made = await self._in_time(make, left, time)
            failed = False
            return made
        except Exception as error:
            if not is_pause(error) and call.status != "refused":
                failed = self._is_failure(error)
            raise
        finally:
            self._leave(given, failed)

    async def _in_time(self, make: Callable[[], Awaitable[T]], left: float, time: Time) -> T:
        own = self.policy.timeout_seconds
        seconds = left if own is None else min(left, own)
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                made = await make()
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise self._too_late(seconds, left, time) from error
        if timer.expired():  # the tool took no notice of being cancelled
            raise self._too_late(seconds, left, time) from TimeoutError()
        return made

    def _too_late(self, seconds: float, left: float, time: Time) -> ToolCallError:
        limit = time.limit if seconds == left else None
        told = f" (limit {limit})" if limit else ""
        effect = "" if self.policy.read_only else "; it may still take effect"
        return ToolCallError(
            f"{self._name} did not answer within {seconds:.3g} seconds{told}{effect}",
            tool=self._name,
            limit=limit,
            allowed=time.seconds if limit else seconds,
        )

    # --- the breaker --------------------------------------------------------------------------------

    def _look(self, call: StartedCall, refusal: Refusal | None) -> None:
        if refusal is None:
            return
        call.breaker = "open"
        raise BreakerOpen(
            f"{self._name} is not called for now: it has failed {refusal.failures} times in a row, and "
            f"is left alone for another {refusal.seconds:.3g} seconds (its circuit breaker is open). "
            "Go on without it",
            tool=self._name,
        )

    def _leave(self, given: Pass | None, failed: bool | None) -> None:
        if self._breaker is not None and given is not None:
            self._breaker.leave(given, failed=failed)

    def _is_failure(self, error: Exception) -> bool:
        assert self.policy.breaker is not None or self._breaker is None
        return self.policy.breaker is not None and _is_one_of(error, self.policy.breaker.on)

    # --- retries ------------------------------------------------------------------------------------

    def _pause(self, error: Exception, call: StartedCall, left: float) -> float | None:
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
        return pause if pause < left else None

    # --- kept results -------------------------------------------------------------------------------

    def key_of(self, call: StartedCall, config: RunnableConfig) -> Hashable | None:
        """Return the key under which the result of a call is kept; None if it is not."""
        cache = self.policy.cache
        if cache is None:
            return None
        asker: str | None = None
        if cache.scope != "executor":
            asker = call.execution_id or None
            if cache.scope == "thread":
                configurable = config.get("configurable") or {}
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


class Guards:
    """What stands before each tool; made when the tool is first called.

    Whoever has several executors over the same tools gives them one of these.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._guards: dict[str, list[Guard]] = {}
        self._lock = new_lock()

    def of(self, definition: ToolDefinition) -> Guard:
        """Return what stands before a tool: the same as long as its policy is the same."""
        with self._lock:
            same_name = self._guards.setdefault(definition.qualified_name, [])
            for guard in same_name:
                if guard.policy is definition.policy or guard.policy == definition.policy:
                    return guard
            same_name.append(Guard(definition, self.clock))
            return same_name[-1]


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
