"""The hooks of a policy: before a call and after it, and what the code is told when one fails."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from langchain_ptc.catalog.policy import ToolCallInfo
from langchain_ptc.errors import ToolCallError
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.error_text import OnToolError, describe_failure
from langchain_ptc.run.policies.call_policy import Layer, is_pause
from langchain_ptc.run.tool_view import is_signal

T = TypeVar("T")

Before: TypeAlias = Callable[[ToolCallInfo], Any]
After: TypeAlias = Callable[[ToolCallInfo, Any], Any]


def with_before(make: Layer[T], before: Before, on_tool_error: OnToolError = "message") -> Layer[T]:
    """Return `make` with a hook that is told of each call that is about to be made.

    The layer raises `ToolCallError` where the hook refuses a call.
    """

    async def hooked(call: StartedCall) -> T:
        try:
            told = before(call.info())
            if told is not None and inspect.isawaitable(told):
                await told
        except BaseException as error:
            if (told_error := _told(call, error, on_tool_error)) is error:
                raise
            raise told_error from error
        return await make(call)

    return hooked


async def run_after(
    call: StartedCall, after: After, value: Any, on_tool_error: OnToolError = "message"
) -> Any:
    """Give the hook what the tool returned, and return what it makes of it.

    Raises:
        ToolCallError: The hook failed.
    """
    try:
        changed = after(call.info(), value)
        return await changed if hasattr(changed, "__await__") else changed
    except BaseException as error:
        if (told_error := _told(call, error, on_tool_error)) is error:
            raise
        raise told_error from error


def _told(call: StartedCall, error: BaseException, on_tool_error: OnToolError) -> BaseException:
    """Return what the code is told of an exception of a hook.

    What is the graph's, or ends the task that the hook runs in, stays as it is.
    """
    if isinstance(error, ToolCallError | asyncio.CancelledError | GeneratorExit):
        return error
    if is_pause(error) or is_signal(error):
        return error
    name = call.tool
    return ToolCallError(describe_failure(name, error, on_tool_error), tool=name)
