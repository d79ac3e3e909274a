"""Interceptors of `MultiServerMCPClient` see the graph that a call is made in, in every way in."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

pytest.importorskip("langchain_mcp_adapters", reason="pip install langchain-mcp-adapters")

from langchain_mcp_adapters.client import MultiServerMCPClient

from tests.support import SUPPORT

SERVER = SUPPORT / "mcp_servers" / "hostile.py"
TOOLS = {"total": {"result": {"content": [{"type": "text", "text": "2.5"}]}}}
CODE = "print(await total())"


@dataclass
class Context:
    tenant: str


class UserState(AgentState[Any]):
    user: str


class NodeState(MessagesState):
    user: str


class Seen:
    """An interceptor that keeps what it saw."""

    def __init__(self, answer: Any = None) -> None:
        self.runtimes: list[Any] = []
        self.answer = answer

    async def __call__(self, request: Any, handler: Any) -> Any:
        self.runtimes.append(request.runtime)
        return await handler(request) if self.answer is None else self.answer(request)


def client_of(folder: Path, seen: Seen) -> MultiServerMCPClient:
    file = folder / "tools.json"
    file.write_text(json.dumps(TOOLS))
    args = [str(SERVER), str(file)]
    connection: Any = {"transport": "stdio", "command": sys.executable, "args": args}
    return MultiServerMCPClient({"x": connection}, tool_interceptors=[seen])


@contextlib.asynccontextmanager
async def tools_of(source: str, client: MultiServerMCPClient) -> AsyncIterator[list[BaseTool]]:
    if source == "get_tools":
        yield await client.get_tools()
    else:
        async with ToolCatalog.from_mcp(client) as catalog:
            yield [definition.tool for definition in catalog]


async def by_agent(tools: Any, first: Any, middleware: Any = ()) -> str:
    agent = create_agent(
        ScriptedChatModel(script=[first, "end"]),
        tools,
        middleware=middleware,
        state_schema=UserState,
        context_schema=Context,
    )
    given = {"messages": [("user", "q")], "user": "ada"}
    answer = await agent.ainvoke(given, context=Context("acme"))  # type: ignore[call-overload]
    return str(answer["messages"][-2].text)


async def by_graph(node: Any) -> str:
    graph = StateGraph(NodeState, context_schema=Context).add_node("node", node)
    graph.add_edge(START, "node")
    given: Any = {"messages": [("user", "q")], "user": "ada"}
    answer = await graph.compile().ainvoke(given, context=Context("acme"))
    return str(answer["messages"][-1].text)


async def make_call(way: str, tools: list[BaseTool]) -> str:
    """Make the call in one way and return what the graph's state shows of it."""
    code = tool_call_message("run_code", {"code": CODE})
    if way == "direct":
        return await by_agent(tools, tool_call_message("total", {}))
    if way == "as_programmatic":
        return await by_agent(as_programmatic(tools), code)
    if way == "middleware":
        return await by_agent(tools, code, [ProgrammaticToolCallingMiddleware()])
    if way == "node":
        return await by_graph(ProgrammaticToolNode(ScriptedChatModel(script=[code]), tools))
    executor = ProgrammaticToolExecutor(tools)

    async def run(state: NodeState, config: RunnableConfig) -> dict[str, Any]:
        result = await executor.aexecute(CODE, config=config)
        return {"messages": [("ai", result.report())]}

    return await by_graph(run)


def rename(request: Any) -> Command[Any]:
    """Answer with a command, as a tool does."""
    message = ToolMessage("renamed", tool_call_id=request.runtime.tool_call_id)
    return Command(update={"user": "bob", "messages": [message]})


WAYS = ("direct", "as_programmatic", "middleware", "node", "executor")


@pytest.mark.parametrize("source", ["get_tools", "from_mcp"])
@pytest.mark.parametrize("way", WAYS)
async def test_mcp_interceptor_runtime(way: str, source: str, tmp_path: Path) -> None:
    """An interceptor gets the state, the context and the id of the call, once for each call."""
    seen = Seen()
    async with tools_of(source, client_of(tmp_path, seen)) as tools:
        assert "2.5" in await make_call(way, tools)
    (runtime,) = seen.runtimes
    assert runtime.state["user"] == "ada"
    assert runtime.context == Context("acme")
    assert runtime.tool_call_id


@pytest.mark.parametrize("source", ["get_tools", "from_mcp"])
async def test_outside_a_graph(source: str, tmp_path: Path) -> None:
    """Without a graph there is no runtime, and the call is made."""
    seen = Seen()
    async with tools_of(source, client_of(tmp_path, seen)) as tools:
        result = await ProgrammaticToolExecutor(tools).aexecute(CODE)
        assert result.output == "2.5\n"
        assert "runtime" not in ToolCatalog(tools).render()
    assert seen.runtimes == [None]


@pytest.mark.parametrize("source", ["get_tools", "from_mcp"])
@pytest.mark.parametrize(
    ("answer", "printed"),
    [(lambda _: ToolMessage("cached", tool_call_id="x"), "cached"), (rename, "renamed")],
    ids=["message", "command"],
)
async def test_answers_of_interceptors(
    source: str, answer: Any, printed: str, tmp_path: Path
) -> None:
    """What an interceptor answers itself is the value, and its command reaches the graph."""
    async with tools_of(source, client_of(tmp_path, Seen(answer))) as tools:
        assert await make_call("as_programmatic", tools) == printed
