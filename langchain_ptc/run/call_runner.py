"""Answer the calls of one execution: count them, make them in time, and encode what they give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.limits import Limits
from langchain_ptc.run.budget_tool import current_purse
from langchain_ptc.run.budgets import Purse
from langchain_ptc.run.calls import Answer, StartedCall
from langchain_ptc.run.dispatch import Dispatcher, Surroundings, Value
from langchain_ptc.run.error_text import cut, tell_failure
from langchain_ptc.run.events import Events
from langchain_ptc.run.graph_state import GraphState
from langchain_ptc.run.policies.call_policies import Guard, Guards, Time
from langchain_ptc.run.policies.hooks import run_after, run_before
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.sandbox.api import CallFailure
from langchain_ptc.sandbox.wire.large import is_large
from langchain_ptc.sandbox.wire.objects import UnsendableValue
from langchain_ptc.sandbox.wire.values import ValueTooLarge, encode_sized

_MAX_CHARS_SEARCHED = 100_000
"""How much of an error's text is searched for secrets; far less of it is passed on."""
_MOST_ENCODED_AT_ONCE = 2
"""Large results: each takes several times its size meanwhile."""
_LAST_SECONDS = 0.001
"""A call that was let through has some time, even if its budget has none left by now."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A result that may be used again."""

    payload: str
    size: int


class Answering:
    """Answers the calls of one execution.

    Args:
        dispatchers: The tools, by qualified name.
        limits: What the execution may use.
        surroundings: Where the execution runs.
        graph_state: Says what the graph takes of what tools ask of it.
        events: Is told of each call that is made.
        guards: What stands before the tools, for all executions of an executor.
        purse: What the execution may spend; None for what it likes.
        on_value: Told what each tool returned, by its qualified name, and for which arguments.
    """

    def __init__(
        self,
        dispatchers: Mapping[str, Dispatcher],
        limits: Limits,
        surroundings: Surroundings,
        graph_state: GraphState,
        events: Events,
        *,
        guards: Guards,
        purse: Purse | None = None,
        on_value: Callable[..., None],
    ) -> None:
        self._on_value = on_value
        self._dispatchers = dispatchers
        self._limits = limits
        self._surroundings = surroundings
        self._graph_state = graph_state
        self._events = events
        self._guards = guards
        self._purse = purse
        self._turns = asyncio.Semaphore(limits.max_concurrent_calls)
        self._encoding = asyncio.Semaphore(_MOST_ENCODED_AT_ONCE)
        self._used: dict[str, int] = {}

    async def admit(self, call: StartedCall) -> Answer | None:
        """Settle the arguments of a call and count it; return the answer of one that is refused.

        Does not wait, unless the arguments are large.
        """
        call.attempts = 0
        if self._purse is not None:
            call.knows_budget = self._purse.is_told
        try:
            if call.is_large:
                await call_in_thread(call.prepare)
            else:
                call.bind()
            self.count(call.definition)
        except ToolCallError as error:
            return refuse(call, error)
        return None

    async def answer(self, call: StartedCall, config: RunnableConfig) -> Answer:
        """Make a call that was admitted, when it is its turn.

        Raises:
            GraphBubbleUp: The tool interrupted the graph.
        """
        if self._purse is not None:
            current_purse.set(self._purse)
            try:
                self._purse.charge(call)
            except ToolCallError as error:
                return refuse(call, error)
        if self._turns.locked():
            began = time.monotonic()
            await self._turns.acquire()
            call.waited_seconds += time.monotonic() - began
        else:
            await self._turns.acquire()
        try:
            self._events.tell_start(call)
            answer = await self._make(call, config)
        finally:
            self._turns.release()
        self._events.tell_end(call)
        return answer

    def follow(self, call: StartedCall, answer: Answer, *, is_replayed: bool = False) -> None:
        """Note that the code is about to get an answer; before it does.

        Raises:
            BudgetSpent: The code was told before that its budget is spent, and has called again.
        """
        if self._purse is not None:
            self._purse.follow(call, answer, is_replayed=is_replayed)

    async def _make(self, call: StartedCall, config: RunnableConfig) -> Answer:
        name = call.definition.qualified_name
        guard = self._guards.of(call.definition)
        try:
            await run_before(call, guard.policy, self._surroundings.on_tool_error)
            key = guard.key_of(call, config)
            if key is not None and guard.results is not None:
                kept = guard.results.find(key)
                if kept is not None:
                    call.is_cache_hit, call.result_bytes = True, kept.size
                    call.end("returned")
                    return Answer(payload=kept.payload)
            value = await self._call_tool(call, config, guard)
            self._check_commands(name, value)
            payload, call.result_bytes = await self._encode(value.value, call.definition)
        except ToolCallError as error:
            return refuse(call, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # the tool was cancelled, and not we
            return refuse(call, ToolCallError(f"{name} was cancelled", tool=name))
        call.end("returned")
        if key is not None and guard.results is not None and not value.commands:
            kept = _Kept(payload, call.result_bytes)
            guard.results.keep(key, kept, len(payload))
        self._on_value(name, value.value, arguments=call.arguments)
        return Answer(payload=payload, commands=value.commands)

    async def _call_tool(self, call: StartedCall, config: RunnableConfig, guard: Guard) -> Value:
        dispatcher = self._dispatchers[call.definition.qualified_name]

        async def make() -> Value:
            return await dispatcher.call(
                call.given,
                call.call_id,
                config,
                surroundings=replace(self._surroundings, state=call.state),
                on_reached=call.reach,
            )

        value = await guard.run(call, make, self._time())
        if guard.policy.after is None:
            return value
        on_tool_error = self._surroundings.on_tool_error
        changed = await run_after(call, guard.policy, value.value, on_tool_error)
        return Value(changed, value.commands)

    def _time(self) -> Time:
        time_ = Time(self._limits.tool_seconds, "tool_seconds")
        if self._purse is None:
            return time_
        seconds, limit = self._purse.seconds_left()
        return time_ if seconds >= time_.seconds else Time(max(seconds, _LAST_SECONDS), limit)

    # --- parts --------------------------------------------------------------------------------------

    def _check_commands(self, name: str, value: Value) -> None:
        """Refuse what the graph could not apply when the program has ended."""
        try:
            self._graph_state.check(value.commands)
        except Exception as error:
            told = f"{name} returned a Command that the graph cannot apply: {error}"
            raise ToolCallError(told, tool=name) from error

    def count(self, definition: ToolDefinition) -> None:
        """Count a call of a tool that has a limit of calls.

        Raises:
            ToolCallError: It is one too many.
        """
        name, most = definition.qualified_name, definition.policy.max_calls
        used = self._used[name] = self._used.get(name, 0) + 1
        if most is not None and used > most:
            raise ToolCallError(
                f"{name} may be called {most} times in one execution, and was", tool=name
            )

    async def _encode(self, value: Any, definition: ToolDefinition) -> tuple[str, int]:
        """Encode a result: a large one in a thread, and not many at a time."""
        if not is_large(value):
            return self._encode_now(value, definition)
        async with self._encoding:
            return await call_in_thread(lambda: self._encode_now(value, definition))

    def _encode_now(self, value: Any, definition: ToolDefinition) -> tuple[str, int]:
        name = definition.qualified_name
        try:
            return encode_sized(value, self._limits.result_bytes)
        except ValueTooLarge as error:
            told = LimitExceeded(
                limit="result_bytes", allowed=self._limits.result_bytes, used=error.size
            )
            raise ToolCallError(
                f"the result of {name} is too large: {told}; ask the tool for less",
                tool=name,
                limit=told.limit,
                allowed=told.allowed,
                used=told.used,
            ) from None
        except UnsendableValue as error:
            raise ToolCallError(
                f"the result of {name} cannot be used: {error}", tool=name
            ) from None
        except Exception as error:  # iterators and classes in it are code of their author's
            failed = tell_failure(name, error, self._surroundings.on_tool_error)
            raise ToolCallError(f"{failed} (its result could not be read)", tool=name) from error


def refuse(call: StartedCall, error: ToolCallError) -> Answer:
    """Note that a call failed, and return what the code is told: without the secrets it passed."""
    told = cut(call.hide(str(error)[:_MAX_CHARS_SEARCHED]))
    call.fail(told, error.limit)
    failure = CallFailure(message=told, limit=error.limit, allowed=error.allowed, used=error.used)
    return Answer(failure=failure)
