"""Run the calls of one execution: count them, and send each through the pipeline of its tool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeAlias

from langchain_core.runnables import RunnableConfig

from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.limits import Limits
from langchain_ptc.run.budgets import BudgetMeter
from langchain_ptc.run.calls import CallOutcome, StartedCall, Time
from langchain_ptc.run.dispatch import Dispatcher, ToolReturn
from langchain_ptc.run.error_text import OnToolError, cut, describe_failure
from langchain_ptc.run.events import Events
from langchain_ptc.run.policies.call_policy import CallPolicies, Layer
from langchain_ptc.run.policies.hooks import run_after, with_before
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.run_budgets import current_meter
from langchain_ptc.sandbox.api import CallFailure
from langchain_ptc.sandbox.wire.large import is_large
from langchain_ptc.sandbox.wire.objects import UnsendableValue
from langchain_ptc.sandbox.wire.values import ValueTooLarge, encode_sized

_MAX_CHARS_SEARCHED = 100_000
"""How much of an error's text is searched for secrets; far less of it is passed on."""
_LAST_SECONDS = 0.001
"""A call that was let through has some time, even if its budget has none left by now."""

Pipeline: TypeAlias = Layer[CallOutcome]


def build_pipeline(
    dispatcher: Dispatcher, policies: CallPolicies, on_tool_error: OnToolError
) -> Pipeline:
    """Return the function that makes the calls of one tool, with the layers that its policy has.

        before(cache(encode(after(attempts(dispatch)))))

    It raises, besides what `Dispatcher.call` raises:

    - `ToolCallError`: a hook refused the call, the tool took too long or is left alone for now, or
      the result cannot be sent to the code.
    """
    definition = dispatcher.definition
    call_policy = policies.of(definition)
    made = call_policy.attempts(dispatcher.call)

    async def encoded(call: StartedCall) -> CallOutcome:
        returned = await made(call)
        value, after = returned.value, definition.policy.after
        if after is not None:
            value = await run_after(call, after, value, on_tool_error)
        if returned.commands:
            _check_commands(call, returned)
        if is_large(value):
            async with call.context.encoding_turns:
                payload, size = await call_in_thread(lambda: _encode(value, call))
        else:
            payload, size = _encode(value, call)
        call.context.observe(call.tool, value, arguments=call.arguments)
        return CallOutcome(payload=payload, size=size, commands=returned.commands)

    outcome = call_policy.cached(
        encoded,
        caller="code",
        size_of=lambda made: None if made.commands else len(made.payload),
        reuse=lambda kept, _: kept,
    )
    before = definition.policy.before
    return outcome if before is None else with_before(outcome, before, on_tool_error)


class CallRunner:
    """Runs the calls of one execution.

    Args:
        pipelines: What makes the calls of each tool, by qualified name.
        limits: What the execution may use.
        events: Is told of each call that is made.
        meter: What the execution may spend; None for what it likes.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        limits: Limits,
        events: Events,
        *,
        meter: BudgetMeter | None = None,
    ) -> None:
        self._pipelines = pipelines
        self._limits = limits
        self._events = events
        self._meter = meter
        self._turns = asyncio.Semaphore(limits.max_concurrent_calls)
        self._used: dict[str, int] = {}

    async def admit(self, call: StartedCall) -> CallOutcome | None:
        """Settle the arguments of a call and count it; return the answer of one that is refused.

        Does not wait, unless the arguments are large.
        """
        if self._meter is not None:
            call.knows_budget = self._meter.is_told
        try:
            if call.is_large:
                await call_in_thread(call.prepare)
            else:
                call.bind()
            self.count(call)
        except ToolCallError as error:
            return refuse(call, error)
        return None

    async def answer(self, call: StartedCall, config: RunnableConfig) -> CallOutcome:
        """Make a call that was admitted, when it is its turn.

        Raises:
            GraphBubbleUp: The tool interrupted the graph.
        """
        if self._meter is not None:
            current_meter.set(self._meter)
            try:
                self._meter.charge(call)
            except ToolCallError as error:
                return refuse(call, error)
        if self._turns.locked():
            began = time.monotonic()
            await self._turns.acquire()
            call.waited_seconds += time.monotonic() - began
        else:
            await self._turns.acquire()
        try:
            self._events.emit_call_start(call)
            outcome = await self._make(call, config)
        finally:
            self._turns.release()
        self._events.emit_call_end(call)
        return outcome

    def follow(self, call: StartedCall, answer: CallOutcome, *, is_replayed: bool = False) -> None:
        """Note that the code is about to get an answer; before it does.

        Raises:
            BudgetExhausted: The code was told before that its budget is spent, and has called again.
        """
        if self._meter is not None:
            self._meter.follow(call, answer, is_replayed=is_replayed)

    async def _make(self, call: StartedCall, config: RunnableConfig) -> CallOutcome:
        call.config = config
        call.allow(self._time())
        name = call.tool
        try:
            outcome = await self._pipelines[name](call)
        except ToolCallError as error:
            return refuse(call, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # the tool was cancelled, and not we
            return refuse(call, ToolCallError(f"{name} was cancelled", tool=name))
        call.result_bytes = outcome.size
        call.end("returned")
        return outcome

    def _time(self) -> Time:
        time_ = Time(self._limits.tool_seconds, "tool_seconds")
        if self._meter is None:
            return time_
        seconds, limit = self._meter.seconds_left()
        return time_ if seconds >= time_.seconds else Time(max(seconds, _LAST_SECONDS), limit)

    def count(self, call: StartedCall) -> None:
        """Count a call of a tool that has a limit of calls.

        Raises:
            ToolCallError: It is one too many.
        """
        name, limit = call.tool, call.definition.policy.max_calls
        used = self._used[name] = self._used.get(name, 0) + 1
        if limit is not None and used > limit:
            raise ToolCallError(
                f"{name} may be called {limit} times in one execution, and was", tool=name
            )


def _check_commands(call: StartedCall, returned: ToolReturn) -> None:
    """Refuse what the graph could not apply when the program has ended."""
    try:
        call.context.check_commands(returned.commands)
    except Exception as error:
        name = call.tool
        told = f"{name} returned a Command that the graph cannot apply: {error}"
        raise ToolCallError(told, tool=name) from error


def _encode(value: object, call: StartedCall) -> tuple[str, int]:
    name, allowed = call.tool, call.context.result_bytes
    try:
        return encode_sized(value, allowed)
    except ValueTooLarge as error:
        told = LimitExceeded(limit="result_bytes", allowed=allowed, used=error.size)
        raise ToolCallError(
            f"the result of {name} is too large: {told}; ask the tool for less",
            tool=name,
            limit=told.limit,
            allowed=told.allowed,
            used=told.used,
        ) from None
    except UnsendableValue as error:
        raise ToolCallError(f"the result of {name} cannot be used: {error}", tool=name) from None
    except Exception as error:  # iterators and classes in it are code of their author's
        failed = describe_failure(name, error, call.context.on_tool_error)
        raise ToolCallError(f"{failed} (its result could not be read)", tool=name) from error


def refuse(call: StartedCall, error: ToolCallError) -> CallOutcome:
    """Note that a call failed, and return what the code is told: without the secrets it passed."""
    told = cut(call.hide(str(error)[:_MAX_CHARS_SEARCHED]))
    call.fail(told, error.limit)
    failure = CallFailure(message=told, limit=error.limit, allowed=error.allowed, used=error.used)
    return CallOutcome(failure=failure)
