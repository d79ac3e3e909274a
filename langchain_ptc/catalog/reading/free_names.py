"""Tools whose arguments have names that LangChain takes for its own.

`StructuredTool` passes the arguments of a call to its `_run(self, *args, config, run_manager,
**kwargs)`: an argument called `self` is refused there, and `config` and `run_manager` are overwritten.
Whoever calls such a tool for the code goes to its functions directly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from langchain_core.runnables import RunnableConfig, ensure_config, run_in_executor
from langchain_core.tools import BaseTool, StructuredTool

from langchain_ptc.catalog.reading.injected import read_annotations, signature_of

TAKEN_NAMES = frozenset({"self", "config", "run_manager"})
"""Names that `StructuredTool` cannot pass on."""


def takes_taken_names(tool: BaseTool, names: Collection[str]) -> bool:
    """Whether a tool has arguments that LangChain would not pass on.

    Args:
        tool: Any tool.
        names: The names of its arguments.
    """
    return type(tool) is StructuredTool and not TAKEN_NAMES.isdisjoint(names)


def own_run(tool: BaseTool, *, frees_names: bool) -> Callable[..., Any]:
    """Return what runs `tool`: its `_run`, or a function that takes arguments of any name."""
    if not frees_names or not isinstance(tool, StructuredTool):
        return tool._run

    def run(*args: Any, **arguments: Any) -> Any:
        if tool.func is None:
            raise NotImplementedError("StructuredTool does not support sync invocation.")
        return tool.func(*args, **{**arguments, **_injected(tool.func)})

    return run


def own_arun(tool: BaseTool, *, frees_names: bool) -> Callable[..., Awaitable[Any]]:
    """Return what runs `tool` asynchronously; see `own_run`."""
    if not frees_names or not isinstance(tool, StructuredTool):
        return tool._arun
    run = own_run(tool, frees_names=True)

    async def arun(*args: Any, **arguments: Any) -> Any:
        if tool.coroutine is None:
            return await run_in_executor(None, lambda: run(*args, **arguments))
        return await tool.coroutine(*args, **{**arguments, **_injected(tool.coroutine)})

    return arun


def _injected(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what LangChain fills in for a function that asks for it."""
    found: dict[str, Any] = {
        name: ensure_config() for name, kind in read_annotations(function) if kind is RunnableConfig
    }
    if "callbacks" in signature_of(function).parameters:
        found["callbacks"] = ensure_config().get("callbacks")
    return found
