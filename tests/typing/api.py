"""The public face as a type checker sees it: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

import langchain_ptc
from langchain_ptc import (
    CatalogError,
    CodeError,
    CodeRuntimeError,
    CodeSyntaxError,
    ExecutionResult,
    InProcessSandbox,
    LimitExceeded,
    Limits,
    PolicyError,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    PTCError,
    SandboxError,
    ToolCallError,
    ToolCallRecord,
    ToolCatalog,
    ToolDefinition,
    ToolParameter,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.testing import ScriptedChatModel, tool_call_message


@tool
def get_team(department: str) -> list[str]:
    """Get the names of everybody in a department."""
    return [department]


def count(items: list[str]) -> int:
    """Count items."""
    return len(items)


# --- limits: every option by name, each with its unit ---------------------------------------------

limits = Limits(wall_seconds=1.5, cpu_seconds=2, memory_bytes=10**8, max_tool_calls=5)
assert_type(limits.tool_seconds, float)
assert_type(limits.output_chars, int)
limits.wall_seconds = 2.0  # type: ignore[misc]  # a record is frozen
Limits(1.5)  # type: ignore[call-arg]  # by position says nothing about the unit
Limits(wall_secs=1.5)  # type: ignore[call-arg]
Limits(cpu_seconds="2")  # type: ignore[arg-type]


# --- the catalog ----------------------------------------------------------------------------------

flat = ToolCatalog([get_team, count])
by_domain = ToolCatalog({"hr": [get_team], "text": [count]}, policies={"count": ToolPolicy()})
empty = ToolCatalog([])
assert_type(flat.names, tuple[str, ...])
assert_type(flat["get_team"], ToolDefinition)
assert_type(flat.get("get_team"), ToolDefinition | None)
assert_type(flat.render(), str)
assert_type(len(flat), int)
for definition in by_domain:
    assert_type(definition, ToolDefinition)
    assert_type(definition.domain, str | None)
    assert_type(definition.parameters, tuple[ToolParameter, ...])
    assert_type(definition.policy.max_calls, int | None)
    assert_type(definition.tool, BaseTool)
ToolCatalog([get_team], {"get_team": ToolPolicy()})  # type: ignore[call-arg]  # options go by name
ToolPolicy(max_calls=1.5)  # type: ignore[arg-type]


# --- sandboxes: two that are there, and any that a user writes ------------------------------------

with ProcessSandbox(imports=["numpy"], waiting_workers=2, require="kernel") as process:
    assert_type(process, ProcessSandbox)
    assert_type(process.modules, frozenset[str])
with InProcessSandbox(imports=("numpy",)) as inprocess:
    assert_type(inprocess, InProcessSandbox)
ProcessSandbox(require="walls")  # type: ignore[arg-type]
sandboxes: list[Sandbox] = [process, inprocess]


# --- an execution and its record ------------------------------------------------------------------

executor = ProgrammaticToolExecutor(flat, limits=limits, sandbox=inprocess)
ProgrammaticToolExecutor([get_team], imports=["numpy"])
ProgrammaticToolExecutor({"hr": [get_team]}, sandbox=None)
ProgrammaticToolExecutor(flat, limits)  # type: ignore[call-arg]  # options go by name
assert_type(executor.execute("print(1)"), ExecutionResult)


async def run() -> None:
    """Run code and look at everything that is told of it."""
    result = await executor.aexecute("print(1)", config={"tags": ["a"]}, call_id="c1")
    assert_type(result, ExecutionResult)
    assert_type(result.output, str)
    assert_type(result.report(), str)
    assert_type(result.execution_id, str)
    assert_type(result.started_at, datetime)
    assert_type(result.duration_seconds, float)
    assert_type(result.tool_calls, tuple[ToolCallRecord, ...])
    assert_type(result.raise_for_status(), ExecutionResult)
    assert_type(ExecutionResult.from_dict(result.to_dict()), ExecutionResult)
    if result.status == "success" or result.error is None:
        return
    assert_type(result.error.kind, str)
    assert_type(result.error.line, int)
    assert_type(result.error.limit, str | None)
    assert_type(result.error.used, float | None)
    for violation in result.error.violations:
        assert_type(violation.line, int)
    for call in result.tool_calls:
        assert_type(call.tool, str)
        assert_type(call.domain, str | None)
        assert_type(call.ended_at, datetime)
        assert_type(call.result_bytes, int)
        assert_type(call.error, str | None)
        arguments: Mapping[str, object] = call.arguments
        del arguments


def mistake(result: ExecutionResult) -> bool:
    """Compare with a status that there is not."""
    return result.status == "failed"  # type: ignore[comparison-overlap]


# --- errors ---------------------------------------------------------------------------------------


def explain(error: PTCError) -> str | None:
    """Tell the errors apart, and read what each carries."""
    if isinstance(error, LimitExceeded):
        assert_type(error.allowed, float)
        return error.limit
    if isinstance(error, CodeSyntaxError | CodeRuntimeError):
        return error.source_line
    if isinstance(error, PolicyError):
        return error.violations[0].message
    if isinstance(error, ToolCallError):
        assert_type(error.limit, str | None)
        return error.tool
    if isinstance(error, CodeError | SandboxError | CatalogError):
        return str(error)
    return None


# --- in a graph -----------------------------------------------------------------------------------


def build(model: BaseChatModel) -> None:
    """Put the tools into a graph, in each of the ways."""
    tools = as_programmatic(
        {"hr": [get_team]},
        policies={"get_team": ToolPolicy(read_only=True)},
        limits=limits,
        sandbox=process,
        examples=[("How many?", "print(len(get_team('eng')))")],
        tool_name="run_python",
    )
    assert_type(tools, list[BaseTool])
    as_programmatic([get_team], domain="hr", examples="auto", imports=["numpy"])
    as_programmatic([get_team], examples="some")  # type: ignore[arg-type]
    node = ProgrammaticToolNode(
        model, [get_team], protocol="text", max_attempts=2, messages_key="messages", tags=["a"]
    )
    ProgrammaticToolNode("openai:gpt-5", by_domain, sandbox=inprocess)
    ProgrammaticToolNode(model, [get_team], protocol="json")  # type: ignore[arg-type]
    assert_type(node.catalog, ToolCatalog)
    graph = StateGraph(MessagesState)
    graph.add_node("tools", node)
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    graph.compile()


def reply(messages: list[BaseMessage]) -> str:
    """Answer the last message."""
    return messages[-1].text


scripted = ScriptedChatModel(script=[tool_call_message("run_code", {"code": "print(1)"}), reply])
assert_type(tool_call_message("run_code"), AIMessage)
build(scripted)

_ = langchain_ptc.ToolCatalogue  # type: ignore[attr-defined]  # a misspelt name is found
