"""The hooks of a policy: before a call and after it, and what the code is told when one fails."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.errors import ToolCallError
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.error_text import OnToolError, tell_failure
from langchain_ptc.run.info import info_of
from langchain_ptc.run.policies.call_policies import is_pause
from langchain_ptc.run.tool_view import is_signal


async def run_before(
    call: StartedCall, policy: ToolPolicy, on_tool_error: OnToolError = "message"
) -> None:
    """Tell the hook of a call that is about to be made.

    Raises:
        ToolCallError: The hook refused the call.
    """
    if policy.before is None:
        return
    try:
        told = policy.before(info_of(call))
        if told is not None and inspect.isawaitable(told):
            await told
    except BaseException as error:
        if (told_error := _told(call, error, on_tool_error)) is error:
            raise
        raise told_error from error


async def run_after(
    call: StartedCall, policy: ToolPolicy, value: Any, on_tool_error: OnToolError = "message"
) -> Any:
    """Give the hook what the tool returned, and return what it makes of it.

    Raises:
        ToolCallError: The hook failed.
    """
    if policy.after is None:
        return value
    try:
        changed = policy.after(info_of(call), value)
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
    name = call.definition.qualified_name
    return ToolCallError(tell_failure(name, error, on_tool_error), tool=name)
