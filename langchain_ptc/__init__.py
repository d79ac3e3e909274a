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

    from langchain_ptc.catalog.agents import agent_tool, model_tools
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import (
        Breaker,
        Cache,
        RateLimit,
        Retry,
        ToolCallInfo,
        ToolDefinition,
        ToolParameter,
        ToolPolicy,
    )
    from langchain_ptc.catalog.observed import ObservedShapes
    from langchain_ptc.errors import (
        CatalogError,
        CheckError,
        CodeError,
        CodeRuntimeError,
        CodeSyntaxError,
        ConcurrentResumeError,
        LimitExceeded,
        MachineLost,
        PolicyError,
        Problem,
        PTCError,
        ReplayError,
        SandboxError,
        ToolCallError,
        Violation,
    )
    from langchain_ptc.executor import ProgrammaticToolExecutor
    from langchain_ptc.middleware import ProgrammaticToolCallingMiddleware
    from langchain_ptc.native import native_middleware, native_tools
    from langchain_ptc.node import ProgrammaticToolNode
    from langchain_ptc.run.budgets import Budget
    from langchain_ptc.run.call_policy import CallPolicies
    from langchain_ptc.run.inputs import AgentFiles
    from langchain_ptc.run.log import ExecutionLog
    from langchain_ptc.run.prefetcher import Prefetcher
    from langchain_ptc.run.record import ExecutionResult, PrefetchStats, ToolCallRecord
    from langchain_ptc.run.telemetry import OpenTelemetryExporter
    from langchain_ptc.sandbox.api import Limits
    from langchain_ptc.sandbox.host.inprocess import InProcessSandbox
    from langchain_ptc.sandbox.host.process import ProcessSandbox
    from langchain_ptc.sandbox.remote.ray import RaySandbox
    from langchain_ptc.sandbox.remote.sandbox import RemoteSandbox
    from langchain_ptc.tool import as_programmatic, prefetch_handler

_MODULES = {
    "AgentFiles": "run.inputs",
    "Breaker": "catalog.definition",
    "Budget": "run.budgets",
    "Cache": "catalog.definition",
    "CallPolicies": "run.call_policy",
    "CatalogError": "errors",
    "CheckError": "errors",
    "CodeError": "errors",
    "CodeRuntimeError": "errors",
    "CodeSyntaxError": "errors",
    "ConcurrentResumeError": "errors",
    "ExecutionLog": "run.log",
    "ExecutionResult": "run.record",
    "InProcessSandbox": "sandbox.host.inprocess",
    "LimitExceeded": "errors",
    "Limits": "sandbox.api",
    "MachineLost": "errors",
    "ObservedShapes": "catalog.observed",
    "OpenTelemetryExporter": "run.telemetry",
    "PTCError": "errors",
    "PolicyError": "errors",
    "PrefetchStats": "run.record",
    "Prefetcher": "run.prefetcher",
    "Problem": "errors",
    "ProcessSandbox": "sandbox.host.process",
    "ProgrammaticToolCallingMiddleware": "middleware",
    "ProgrammaticToolExecutor": "executor",
    "ProgrammaticToolNode": "node",
    "RateLimit": "catalog.definition",
    "RaySandbox": "sandbox.remote.ray",
    "RemoteSandbox": "sandbox.remote.sandbox",
    "ReplayError": "errors",
    "Retry": "catalog.definition",
    "SandboxError": "errors",
    "ToolCallError": "errors",
    "ToolCallInfo": "catalog.definition",
    "ToolCallRecord": "run.record",
    "ToolCatalog": "catalog.catalog",
    "ToolDefinition": "catalog.definition",
    "ToolParameter": "catalog.definition",
    "ToolPolicy": "catalog.definition",
    "Violation": "errors",
    "agent_tool": "catalog.agents",
    "as_programmatic": "tool",
    "model_tools": "catalog.agents",
    "native_middleware": "native",
    "native_tools": "native",
    "prefetch_handler": "tool",
}

__all__ = [
    "AgentFiles",
    "Breaker",
    "Budget",
    "Cache",
    "CallPolicies",
    "CatalogError",
    "CheckError",
    "CodeError",
    "CodeRuntimeError",
    "CodeSyntaxError",
    "ConcurrentResumeError",
    "ExecutionLog",
    "ExecutionResult",
    "InProcessSandbox",
    "LimitExceeded",
    "Limits",
    "MachineLost",
    "ObservedShapes",
    "OpenTelemetryExporter",
    "PTCError",
    "PolicyError",
    "PrefetchStats",
    "Prefetcher",
    "Problem",
    "ProcessSandbox",
    "ProgrammaticToolCallingMiddleware",
    "ProgrammaticToolExecutor",
    "ProgrammaticToolNode",
    "RateLimit",
    "RaySandbox",
    "RemoteSandbox",
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
    "Violation",
    "agent_tool",
    "as_programmatic",
    "model_tools",
    "native_middleware",
    "native_tools",
    "prefetch_handler",
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
