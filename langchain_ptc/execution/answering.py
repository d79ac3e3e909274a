"""Answer the calls of one execution: count them, make them in time, and encode what they give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.execution.calls import Answer, StartedCall
from langchain_ptc.execution.dispatch import Dispatcher, Surroundings, Value
from langchain_ptc.execution.events import Events
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.base import CallFailure
from langchain_ptc.sandbox.values import UnsendableValue, ValueTooLarge, encode_sized


class Answering:
    """Answers the calls of one execution.

    Args:
        dispatchers: The tools, by qualified name.
        limits: What the execution may use.
        surroundings: Where the execution runs.
        on_value: Told what each tool returned, by its qualified name, and for which arguments.
        events: Is told of each call that is made.
    """

    def __init__(
        self,
        dispatchers: Mapping[str, Dispatcher],
        limits: Limits,
        surroundings: Surroundings,
        events: Events,
        *,
        on_value: Callable[..., None],
    ) -> None:
        self._on_value = on_value
        self._dispatchers = dispatchers
        self._limits = limits
        self._surroundings = surroundings
        self._events = events
        self._turns = asyncio.Semaphore(limits.max_concurrent_calls)
        self._used: dict[str, int] = {}

    def admit(self, call: StartedCall) -> Answer | None:
        """Settle the arguments of a call and count it; return the answer of one that is refused."""
        try:
            call.bind()
            self._count(call.definition)
        except ToolCallError as error:
            return refuse(call, error)
        return None

    async def answer(self, call: StartedCall, config: RunnableConfig) -> Answer:
        """Make a call that was admitted, when it is its turn.

        Raises:
            GraphBubbleUp: The tool interrupted the graph.
        """
        async with self._turns:
            self._events.tell_start(call)
            try:
                value = await self._call_tool(call, config)
                payload, call.result_bytes = self._encode(value.value, call.definition)
            except ToolCallError as error:
                answer = refuse(call, error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                name = call.definition.qualified_name  # the tool was cancelled, and not we
                answer = refuse(call, ToolCallError(f"{name} was cancelled", tool=name))
            else:
                call.end("returned")
                self._on_value(call.definition.qualified_name, value.value, arguments=call.arguments)
                answer = Answer(payload=payload, commands=value.commands)
        self._events.tell_end(call)
        return answer

    async def _call_tool(self, call: StartedCall, config: RunnableConfig) -> Value:
        definition = call.definition
        assert call.arguments is not None
        seconds = min(self._limits.tool_seconds, definition.policy.timeout_seconds or float("inf"))
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                return await self._dispatchers[definition.qualified_name].call(
                    call.arguments,
                    call.call_id,
                    config,
                    surroundings=self._surroundings,
                    on_reached=call.reach,
                )
        except TimeoutError:
            if not clock.expired():
                raise
            limit = "tool_seconds" if seconds == self._limits.tool_seconds else None
            told = f" (limit {limit})" if limit else ""
            raise ToolCallError(
                f"{definition.qualified_name} did not answer within {seconds:g} seconds{told}; "
                "it may still take effect",
                tool=definition.qualified_name,
                limit=limit,
                allowed=seconds,
            ) from None

    def _count(self, definition: ToolDefinition) -> None:
        name, most = definition.qualified_name, definition.policy.max_calls
        used = self._used[name] = self._used.get(name, 0) + 1
        if most is not None and used > most:
            raise ToolCallError(
                f"{name} may be called {most} times in one execution, and was", tool=name
            )

    def _encode(self, value: Any, definition: ToolDefinition) -> tuple[str, int]:
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


def refuse(call: StartedCall, error: ToolCallError) -> Answer:
    """Note that a call failed, and return what the code is told."""
    call.fail(str(error))
    failure = CallFailure(
        message=str(error), limit=error.limit, allowed=error.allowed, used=error.used
    )
    return Answer(failure=failure)
