"""The hooks of a policy: before a call and after it, and what the code is told when one fails."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.errors import ToolCallError
from langchain_ptc.execution.calls import StartedCall
from langchain_ptc.execution.info import info_of
from langchain_ptc.execution.resilience.guards import is_pause
from langchain_ptc.execution.telling import OnToolError, tell_failure


async def run_before(
    call: StartedCall, policy: ToolPolicy, on_tool_error: OnToolError = "message"
) -> None:
    """Tell the hook of a call that is about to be made.

    Raises:
        ToolCallError: The hook refused the call.
    """
    if policy.before is None:
        return
    with _telling(call, on_tool_error):
        told = policy.before(info_of(call))
        if inspect.isawaitable(told):
            await told


async def run_after(
    call: StartedCall, policy: ToolPolicy, value: Any, on_tool_error: OnToolError = "message"
) -> Any:
    """Give the hook what the tool returned, and return what it makes of it.

    Raises:
        ToolCallError: The hook failed.
    """
    if policy.after is None:
        return value
    with _telling(call, on_tool_error):
        changed = policy.after(info_of(call), value)
        return await changed if inspect.isawaitable(changed) else changed


@contextmanager
def _telling(call: StartedCall, on_tool_error: OnToolError) -> Iterator[None]:
    name = call.definition.qualified_name
    try:
        yield
    except ToolCallError:
        raise
    except Exception as error:
        if is_pause(error):
            raise
        raise ToolCallError(tell_failure(name, error, on_tool_error), tool=name) from error
