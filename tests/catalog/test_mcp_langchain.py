"""Tools of `langchain.mcp`, on line 2 of the `mcp` package: `make test_mcp_line2` runs these tests.

They need `langchain[mcp]`, which excludes `langchain-mcp-adapters`: an environment of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

pytest.importorskip("fastmcp", reason="needs langchain[mcp]: make test_mcp_line2")

from fastmcp.client.transports import StdioTransport

from tests.support import SUPPORT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is in beta, and says so
    from langchain.mcp import MCPAdapter

PANTRY = SUPPORT / "mcp_servers" / "pantry.py"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.touch()
    return file


@pytest.fixture
async def tools(log: Path) -> AsyncIterator[list[BaseTool]]:
    """The tools of the pantry, over a session that stays open."""
    transport = StdioTransport(
        sys.executable, [str(PANTRY)], env={"PANTRY_LOG": str(log), "FASTMCP_LOG_LEVEL": "CRITICAL"}
    )
    async with MCPAdapter(transport) as adapter:
        yield await adapter.list_tools()


def agent_of(way: str, tools: list[BaseTool], code: str, saver: Any = None) -> Any:
    """Return a graph that runs a program in one way."""
    call = tool_call_message("run_code", {"code": code})
    if way == "node":
        node = ProgrammaticToolNode(ScriptedChatModel(script=[call]), tools)
        graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
        return graph.compile(checkpointer=saver)
    model = ScriptedChatModel(script=[call, "end"])
    if way == "middleware":
        middleware = [ProgrammaticToolCallingMiddleware()]
        return create_agent(model, tools, middleware=middleware, checkpointer=saver)
    return create_agent(model, as_programmatic(tools), checkpointer=saver)


def output_of(state: dict[str, Any]) -> str:
    messages: list[BaseMessage] = state["messages"]
    return next(str(m.text) for m in reversed(messages) if m.type == "tool").strip()


WAYS = ("as_programmatic", "middleware", "node")
QUESTION: Any = {"messages": [("user", "q")]}
VALUES = {
    "a record": (
        "p = await get_part(id=3)\nprint(p.name, p['id'], sorted(p))",
        "bolt 3 ['id', 'name']",
    ),
    "a list": ("print([p.name for p in await list_parts()])", "['bolt', 'nut']"),
    "a number": ("print(await weigh(id=2) * 2)", "10.0"),
    "a text": ("print((await label()).upper())", "FRAGILE"),
    "a text and an image": (
        "print(await picture())",
        str(
            [
                {"type": "text", "text": "a bolt"},
                {"type": "image", "data": b"\x00\x01\xff", "mime_type": "image/png"},
            ]
        ),
    ),
    "an error": (
        "try:\n    await fail(reason='x')\nexcept ToolCallError as error:\n    print(error)",
        "fail failed: no stock: x",
    ),
}


async def test_values_stubs_and_policies(tools: list[BaseTool]) -> None:
    """Values, types, docstrings and policies are the server's."""
    executor = ProgrammaticToolExecutor(tools)
    wrong = {}
    for case, (code, printed) in VALUES.items():
        result = await executor.aexecute(code)
        if result.output.rstrip("\n") != printed:
            wrong[case] = result.report()
    assert not wrong
    catalog = ToolCatalog(tools)
    text = catalog.render()
    assert "async def weigh(id: int) -> float:" in text
    assert "async def list_parts() -> list[" in text
    assert "async def label() -> Any:" in text
    assert "Call the captured MCP tool" not in text
    assert catalog["get_part"].policy == ToolPolicy(read_only=True, idempotent=True)
    assert catalog["fail"].policy == ToolPolicy()


@pytest.mark.parametrize("way", WAYS)
async def test_ways_in(tools: list[BaseTool], way: str) -> None:
    """A program over the server's values runs in every way in."""
    code = "print(sum([await weigh(id=p.id) for p in await list_parts()]))"
    assert output_of(await agent_of(way, tools, code).ainvoke(QUESTION)) == "7.5"


def answer(action: str, **content: Any) -> dict[str, Any]:
    return {"action": action, **({"content": content} if content else {})}


@pytest.mark.parametrize("way", WAYS)
async def test_elicitation_pauses_and_resumes_once(
    tools: list[BaseTool], way: str, log: Path
) -> None:
    """A server's question pauses the graph; the answer makes its call once, and no other again."""
    code = "part = await get_part(id=7)\nprint(part.name, await order(id=part.id))\nawait get_part(id=8)"
    agent = agent_of(way, tools, code, InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    paused = await agent.ainvoke(QUESTION, config)
    (question,) = paused["__interrupt__"]
    assert question.value["type"] == "mcp_elicitation"
    (request,) = question.value["requests"]
    assert request["message"] == "How many of 7?"
    assert log.read_text() == "get_part 7\n"
    resume = {"responses": {request["key"]: answer("accept", value=3)}}
    assert output_of(await agent.ainvoke(Command(resume=resume), config)) == "bolt ordered 3 of 7"
    assert log.read_text() == "get_part 7\norder 7 3\nget_part 8\n"


@pytest.mark.parametrize("first", [0, 1])
async def test_two_questions_at_once(tools: list[BaseTool], log: Path, first: int) -> None:
    """Two calls that ask at once get each its own answer, in any order, and are made once each."""
    code = (
        "import asyncio\nprint(await asyncio.gather(order(id=1), order(id=2)))\n"
        "print(await order(id=3))"
    )
    agent = agent_of("as_programmatic", tools, code, InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    paused = await agent.ainvoke(QUESTION, config)
    questions = {q.value["requests"][0]["key"]: q.id for q in paused["__interrupt__"]}
    assert sorted(questions) == ["quantity of 1", "quantity of 2"]
    answers = {"quantity of 1": answer("accept", value=10), "quantity of 2": answer("decline")}
    for key in sorted(questions, reverse=bool(first)):
        resume = {questions[key]: {"responses": {key: answers[key]}}}
        paused = await agent.ainvoke(Command(resume=resume), config)
    (last,) = paused["__interrupt__"]
    assert last.value["requests"][0]["message"] == "How many of 3?"
    resume = {"responses": {"quantity of 3": answer("cancel")}}
    state = await agent.ainvoke(Command(resume=resume), config)
    assert output_of(state) == (
        "['ordered 10 of 1', 'decline: nothing ordered']\ncancel: nothing ordered"
    )
    assert log.read_text() == "order 1 10\n"


async def test_elicitation_outside_a_graph(tools: list[BaseTool]) -> None:
    """Where nobody can be asked, the call says so and the session goes on."""
    code = "try:\n    await order(id=1)\nexcept ToolCallError as error:\n    print(error)\nprint(await weigh(id=1))"
    result = await ProgrammaticToolExecutor(tools).aexecute(code)
    assert result.output == (
        "order failed: it calls interrupt(), which needs a graph, and this code runs outside of one\n2.5\n"
    )


async def test_arguments_that_are_no_json(tools: list[BaseTool]) -> None:
    """An argument that cannot be sent fails its call and leaves the session to the others."""
    result = await ProgrammaticToolExecutor(tools).aexecute(
        "try:\n    await fail(reason='\\ud800')\nexcept ToolCallError as error:\n"
        "    print('cannot be sent' in str(error))\nprint(await weigh(id=1))"
    )
    assert result.output == "True\n2.5\n"


async def test_from_mcp(log: Path) -> None:
    """`ToolCatalog.from_mcp` works with this line of `mcp` as with the other."""
    connection = {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(PANTRY)],
        "env": {"PANTRY_LOG": str(log), "FASTMCP_LOG_LEVEL": "CRITICAL"},
    }
    async with ToolCatalog.from_mcp({"pantry": connection}) as catalog:
        executor = ProgrammaticToolExecutor(catalog)
        wrong = {}
        for case, (code, printed) in VALUES.items():
            result = await executor.aexecute(code)
            if result.output.rstrip("\n").replace("pantry.", "") != printed:
                wrong[case] = result.report()
        assert not wrong
        assert catalog["get_part"].policy == ToolPolicy(read_only=True, idempotent=True)
