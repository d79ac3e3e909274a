"""Calls that begin while a model server streams: real clients of OpenAI's and Anthropic's API over HTTP."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    ToolPolicy,
    as_programmatic,
    prefetch_handler,
)
from tests.support.streaming_server import StreamingServer, stream

CODE = "found = await read('a \"c\" \\u00e9')\nprint(found)\nprint('the end')\n"
POLICIES = {"read": ToolPolicy(read_only=True)}


def build_model(api: str, server: StreamingServer) -> Any:
    """Return a provider's chat model that asks the server."""
    package, name = {
        "openai": ("langchain_openai", "ChatOpenAI"),
        "anthropic": ("langchain_anthropic", "ChatAnthropic"),
    }[api]
    pytest.importorskip(package, reason=f"pip install {package.replace('_', '-')}")
    path = "/v1" if api == "openai" else ""
    make = getattr(importlib.import_module(package), name)
    return make(model="m", base_url=server.url + path, api_key="none", max_retries=0)


def build_graph(way: str, model: Any, read: Any) -> Any:
    """Return a graph whose code may begin early."""
    options: dict[str, Any] = {"policies": POLICIES, "prefetch": "stream"}
    if way == "node":
        graph = StateGraph(MessagesState)
        graph.add_node(ProgrammaticToolNode(model, [read], **options))
        graph.add_edge(START, "programmatic_tools")
        return graph.compile()
    if way == "middleware":
        return create_agent(
            model, [read], middleware=[ProgrammaticToolCallingMiddleware(**options)]
        )
    tools = as_programmatic([read], **options)
    return create_agent(model, tools).with_config({"callbacks": [prefetch_handler(tools)]})


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
@pytest.mark.parametrize("way", ["node", "middleware", "handler"])
@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_call_begins_before_the_last_piece_is_sent(
    api: str, way: str, asynchronous: bool
) -> None:
    """The server sends the last piece only when the tool has been called, and the code takes that result."""
    calls: list[str] = []
    with stream(CODE) as server:

        @tool
        async def read(key: str) -> str:
            """Read a key."""
            calls.append(key)
            server.go_on()
            return f"value of {key}"

        graph = build_graph(way, build_model(api, server), read)
        request = {"messages": [("user", "go")]}
        if asynchronous:
            state = await graph.ainvoke(request)
        else:
            state = await asyncio.to_thread(graph.invoke, request)
    record = next(m.artifact for m in state["messages"] if m.type == "tool")
    assert record["output"] == 'value of a "c" \u00e9\nthe end\n'
    assert (calls, server.missed, record["prefetch"]["hits"]) == (['a "c" \u00e9'], 0, 1)
    assert server.asked[0]["stream"] is True
