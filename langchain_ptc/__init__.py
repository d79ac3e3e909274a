"""Programmatic tool calling for LangChain and LangGraph.

Your LangChain tools, called from code that the model writes, in a sandbox. Only what the code prints
reaches the graph.

The names below are imported when they are first used, so that `import langchain_ptc` costs nothing
and a worker never loads LangChain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from langchain_ptc.catalog.agents.tool import agent_tool
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter, ToolPolicy
    from langchain_ptc.catalog.resilience import Breaker, Cache, RateLimit, Retry, ToolCallInfo
    from langchain_ptc.catalog.shapes.observed import ObservedShapes
    from langchain_ptc.errors import (
        CatalogError,
        CodeError,
        CodeRuntimeError,
        CodeSyntaxError,
        LimitExceeded,
        PolicyError,
        PTCError,
        ReplayError,
        SandboxError,
        ToolCallError,
    )
    from langchain_ptc.execution.budgets import Budget
    from langchain_ptc.execution.executor import ProgrammaticToolExecutor
    from langchain_ptc.execution.log import ExecutionLog
    from langchain_ptc.execution.record import ExecutionResult, ToolCallRecord
    from langchain_ptc.graph.middleware import ProgrammaticToolCallingMiddleware
    from langchain_ptc.graph.node import ProgrammaticToolNode
    from langchain_ptc.graph.tool import as_programmatic
    from langchain_ptc.limits import Limits
    from langchain_ptc.sandbox.inprocess import InProcessSandbox
    from langchain_ptc.sandbox.process import ProcessSandbox

_MODULES = {
    "Breaker": "catalog.resilience",
    "Budget": "execution.budgets",
    "Cache": "catalog.resilience",
    "CatalogError": "errors",
    "CodeError": "errors",
    "CodeRuntimeError": "errors",
    "CodeSyntaxError": "errors",
    "ExecutionLog": "execution.log",
    "ExecutionResult": "execution.record",
    "InProcessSandbox": "sandbox.inprocess",
    "LimitExceeded": "errors",
    "Limits": "limits",
    "ObservedShapes": "catalog.shapes.observed",
    "PTCError": "errors",
    "PolicyError": "errors",
    "ProcessSandbox": "sandbox.process",
    "ProgrammaticToolCallingMiddleware": "graph.middleware",
    "ProgrammaticToolExecutor": "execution.executor",
    "ProgrammaticToolNode": "graph.node",
    "RateLimit": "catalog.resilience",
    "ReplayError": "errors",
    "Retry": "catalog.resilience",
    "SandboxError": "errors",
    "ToolCallError": "errors",
    "ToolCallInfo": "catalog.resilience",
    "ToolCallRecord": "execution.record",
    "ToolCatalog": "catalog.catalog",
    "ToolDefinition": "catalog.definition",
    "ToolParameter": "catalog.definition",
    "ToolPolicy": "catalog.definition",
    "agent_tool": "catalog.agents.tool",
    "as_programmatic": "graph.tool",
}

__all__ = [
    "Breaker",
    "Budget",
    "Cache",
    "CatalogError",
    "CodeError",
    "CodeRuntimeError",
    "CodeSyntaxError",
    "ExecutionLog",
    "ExecutionResult",
    "InProcessSandbox",
    "LimitExceeded",
    "Limits",
    "ObservedShapes",
    "PTCError",
    "PolicyError",
    "ProcessSandbox",
    "ProgrammaticToolCallingMiddleware",
    "ProgrammaticToolExecutor",
    "ProgrammaticToolNode",
    "RateLimit",
    "ReplayError",
    "Retry",
    "SandboxError",
    "ToolCallError",
    "ToolCallInfo",
    "ToolCallRecord",
    "ToolCatalog",
    "ToolDefinition",
    "ToolParameter",
    "ToolPolicy",
    "agent_tool",
    "as_programmatic",
]


if not TYPE_CHECKING:  # or a type checker would believe in any name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("langchain-ptc")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
