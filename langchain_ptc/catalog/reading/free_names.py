"""Tools whose arguments have names that LangChain takes for its own.

`StructuredTool` passes the arguments of a call to its `_run(self, *args, config, run_manager,
**kwargs)`: an argument called `self` is refused there, and `config` and `run_manager` are overwritten.
A copy whose `_run` has no such parameters passes them all on.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection
from typing import Any

from langchain_core.runnables import RunnableConfig, ensure_config, run_in_executor
from langchain_core.tools import BaseTool, StructuredTool
from typing_extensions import override

TAKEN_NAMES = frozenset({"self", "config", "run_manager"})
"""Names that `StructuredTool` cannot pass on."""


class FreeNamesTool(StructuredTool):
    """A `StructuredTool` that takes arguments of any name."""

    # Only `self` has a name, and only by position.

    @override
    def _run(self, /, *args: Any, **arguments: Any) -> Any:
        if self.func is None:
            raise NotImplementedError("StructuredTool does not support sync invocation.")
        return self.func(*args, **{**arguments, **_injected(self.func)})

    @override
    async def _arun(self, /, *args: Any, **arguments: Any) -> Any:
        if self.coroutine is None:
            return await run_in_executor(None, lambda: self._run(*args, **arguments))
        return await self.coroutine(*args, **{**arguments, **_injected(self.coroutine)})


def free_names(tool: BaseTool, names: Collection[str]) -> BaseTool:
    """Return `tool`, or a copy that takes its arguments where LangChain would not pass them on.

    Args:
        tool: Any tool.
        names: The names of its arguments.
    """
    if type(tool) is not StructuredTool or TAKEN_NAMES.isdisjoint(names):
        return tool
    return FreeNamesTool(**{name: getattr(tool, name) for name in StructuredTool.model_fields})


def _injected(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what LangChain fills in for a function that asks for it."""
    found: dict[str, Any] = {}
    try:
        parameters = inspect.signature(function).parameters
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return found
    if "callbacks" in parameters:
        found["callbacks"] = ensure_config().get("callbacks")
    for name, hint in hints.items():
        if hint is RunnableConfig and name in parameters:
            found[name] = ensure_config()
    return found
