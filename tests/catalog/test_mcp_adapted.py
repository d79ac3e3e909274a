"""MCP tools that `langchain-mcp-adapters` makes, in every way in, and tools that only look like them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from typing_extensions import TypedDict

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

pytest.importorskip("langchain_mcp_adapters", reason="pip install langchain-mcp-adapters")

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from tests.support import SUPPORT

KITCHEN = SUPPORT / "mcp_servers" / "kitchen.py"
CONNECTION: Any = {"transport": "stdio", "command": sys.executable, "args": [str(KITCHEN)]}


async def run(tools: Any, code: str) -> str:
    result = await ProgrammaticToolExecutor(tools).aexecute(code)
    assert result.error is None, result.error
    return result.output.rstrip("\n")


async def by_tool(tools: list[BaseTool], code: str) -> str:
    call = tool_call_message("run_code", {"code": code})
    agent = create_agent(ScriptedChatModel(script=[call, "end"]), as_programmatic(tools))
    return (await agent.ainvoke({"messages": [("user", "q")]}))["messages"][-2].text


async def by_middleware(tools: list[BaseTool], code: str) -> str:
    call = tool_call_message("run_code", {"code": code})
    model = ScriptedChatModel(script=[call, "end"])
    agent = create_agent(model, tools, middleware=[ProgrammaticToolCallingMiddleware()])
    return (await agent.ainvoke({"messages": [("user", "q")]}))["messages"][-2].text


async def by_node(tools: list[BaseTool], code: str) -> str:
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": code})])
    node = ProgrammaticToolNode(model, tools)
    return (await node.ainvoke({"messages": [("user", "q")]}))["messages"][-1].text


WAYS: dict[str, Callable[..., Awaitable[str]]] = {
    "executor": run,
    "as_programmatic": by_tool,
    "node": by_node,
    "middleware": by_middleware,
}

VALUES = {
    "a record, by key and by attribute": (
        "d = await get_dish(title='pie')\nprint(d['title'], d.ingredients[0].grams, sorted(d))",
        "pie 2 ['course', 'ingredients', 'title']",
    ),
    "a list of records": ("print([d.title for d in await list_dishes()])", "['soup', 'pie']"),
    "a number": ("print(await count(['a', 'b']) * 2)", "4"),
    "nothing": ("print(await add_note('x'))", "None"),
    "a text": ("print((await as_text()).upper())", "PLAIN\nTEXT"),
    "JSON in a text stays text": ("print((await as_text(as_json=True))[0])", "{"),
    "texts": ("print(await in_parts())", "one\ntwo"),
    "an image": (
        "print(await photo())",
        str([{"type": "image", "data": b"\x89PNG\x00\xff", "mime_type": "image/png"}]),
    ),
    "structure that no schema declares": ("print(await undeclared())", "{'result': 7}"),
    "an error": (
        "try:\n    await burn(reason='toast')\nexcept ToolCallError as error:\n    print(error)",
        "burn failed: Error executing tool burn: burnt: toast",
    ),
    "an argument that the server refuses": (
        "try:\n    await count(words=3)\nexcept ToolCallError as e:\n    print('[{' in str(e))",
        "False",
    ),
}


DISH = {"title": "pie", "ingredients": [{"name": "salt", "grams": 2}]}
INGREDIENT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "grams": {"type": "integer"}},
}
SMALL: dict[str, Any] = {
    "get_dish": {
        "inputSchema": {"type": "object", "properties": {"title": {"type": "string"}}},
        "outputSchema": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "ingredients": {"type": "array", "items": INGREDIENT},
            },
            "required": ["title", "ingredients"],
        },
        "result": {"content": [{"type": "text", "text": "..."}], "structuredContent": DISH},
    },
    "burn": {
        "inputSchema": {"type": "object", "properties": {"reason": {"type": "string"}}},
        "result": {"content": [{"type": "text", "text": "burnt: toast"}], "isError": True},
    },
}


@pytest.mark.parametrize("way", WAYS)
async def test_mcp_adapter_tools(way: str, tmp_path: Path) -> None:
    """Tools of `MultiServerMCPClient.get_tools()` give the values that their server declares."""
    # A small server: each call starts it anew.
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(SMALL))
    connection: Any = {**CONNECTION, "args": [str(KITCHEN.with_name("hostile.py")), str(file)]}
    tools = await MultiServerMCPClient({"kitchen": connection}).get_tools()
    code = (
        "dish = await get_dish(title='pie')\n"
        "print(dish.title, dish['ingredients'][0]['grams'])\n"
        "try:\n    await burn(reason='toast')\nexcept ToolCallError as error:\n    print(error)"
    )
    told = await WAYS[way](tools, code)
    assert told.strip() == "pie 2\nburn failed: burnt: toast"


async def test_values_and_stubs_over_one_session() -> None:
    """Each kind of result is its plain value, and the stubs say what the server says."""
    async with MultiServerMCPClient({"kitchen": CONNECTION}).session("kitchen") as session:
        tools = await load_mcp_tools(session)
        wrong = {}
        for case, (code, printed) in VALUES.items():
            result = await ProgrammaticToolExecutor(tools).aexecute(code)
            if result.output.rstrip("\n") != printed:
                wrong[case] = result.report()
        assert not wrong
    text = ToolCatalog(tools).render()
    assert "async def get_dish(title: str, servings: int = 2) -> Dish:" in text
    assert "async def list_dishes() -> list[Dish]:" in text
    assert "async def count(words: list[str]) -> int:" in text
    stub = text[text.index("async def as_text(") :].split("\n\n")[0]
    assert "-> Any:" in stub
    assert "Returns: text (str)" in stub
    assert "MCPToolArtifact" not in text
    assert "content, artifact" not in text


async def test_annotations_are_policies() -> None:
    """The hints of a server are the policies of its tools, unless the developer says otherwise."""
    tools = await MultiServerMCPClient({"kitchen": CONNECTION}).get_tools()
    catalog = ToolCatalog(tools, policies={"list_dishes": ToolPolicy(max_calls=2)})
    assert catalog["get_dish"].policy == ToolPolicy(read_only=True, idempotent=True)
    assert catalog["list_dishes"].policy == ToolPolicy(max_calls=2)
    assert catalog["burn"].policy == ToolPolicy()
    assert "Read-only" in catalog.render()
    by_name = {tool.name: tool for tool in tools}
    by_name["count"].metadata = {"readOnlyHint": True}  # the developer's own word
    assert ToolCatalog(tools)["count"].policy.read_only


async def test_a_decorated_tool(tmp_path: Path) -> None:
    """A decorator of the user's keeps the values unwrapped; what it might change is no longer typed."""
    file = tmp_path / "tools.json"
    schema = {"type": "object", "properties": {"result": {"type": "array"}}}
    result = {"content": [], "structuredContent": {"result": [1, 2]}}
    file.write_text(json.dumps({"rows": {"outputSchema": schema, "result": result}}))
    connection: Any = {**CONNECTION, "args": [str(KITCHEN.with_name("hostile.py")), str(file)]}
    (rows,) = await MultiServerMCPClient({"kitchen": connection}).get_tools()
    assert "-> list[Any]:" in ToolCatalog([rows]).render()
    assert isinstance(rows, StructuredTool)
    assert rows.coroutine is not None
    plain = rows.coroutine

    @functools.wraps(plain)
    async def again(*args: Any, **kwargs: Any) -> Any:
        return await plain(*args, **kwargs)

    rows.coroutine = again
    assert "-> Any:" in ToolCatalog([rows]).render()
    assert await run([rows], "print(await rows())") == "[1, 2]"


# --- tools that carry less ----------------------------------------------------------------------


class Artifact(TypedDict):
    structured_content: dict[str, Any]


def adapted(
    answer: Any, *, typed: bool = False, metadata: dict[str, Any] | None = None
) -> BaseTool:
    """Return a tool as an adapter makes it, which answers with `answer`."""

    async def call_tool(**arguments: Any) -> tuple[list[Any], Artifact | None]:
        """Wrap a tool."""
        if isinstance(answer, Exception):
            raise answer
        return answer

    if not typed:
        call_tool.__annotations__["return"] = Any
    return StructuredTool(
        name="look",
        description="Look.",
        args_schema={"type": "object", "properties": {}},
        coroutine=call_tool,
        response_format="content_and_artifact",
        metadata=metadata,
        handle_tool_error=True,
    )


TEXT = {"type": "text", "text": "hi", "id": "lc_1"}
HINTED = {"mcp": {"tool": {"annotations": {"read_only_hint": True}}}}
WRAPPER = {"type": "object", "properties": {"result": {"type": "array"}}}
CARRIED: dict[str, tuple[BaseTool, str]] = {
    "an artifact": (adapted(([TEXT], {"structured_content": {"a": 1}})), "{'a': 1}"),
    "an annotation": (adapted(([TEXT, TEXT], None), typed=True), "hi\nhi"),
    "metadata": (adapted(([TEXT], None), metadata=HINTED), "hi"),
    "hints": (adapted((["hi"], None), metadata={"readOnlyHint": False}), "hi"),
    "a schema in the metadata": (
        adapted(
            ([TEXT], {"structured_content": {"result": [1, 2]}}),
            metadata={"mcp": {"tool": {"output_schema": WRAPPER}}},
        ),
        "[1, 2]",
    ),
    "a declared value that came as JSON alone": (
        adapted(
            ([{"type": "text", "text": "null"}], None),
            metadata={"mcp": {"tool": {"outputSchema": {"type": ["object", "null"]}}}},
        ),
        "None",
    ),
    "a link and a file": (
        adapted(
            (
                [
                    {"type": "file", "url": "memo://1", "mime_type": "text/plain", "id": "x"},
                    {"type": "file", "base64": "AAH/", "mime_type": "a/b"},
                    TEXT,
                ],
                None,
            ),
            typed=True,
        ),
        str(
            [
                {"type": "resource_link", "uri": "memo://1", "mime_type": "text/plain"},
                {"type": "resource", "data": b"\x00\x01\xff", "mime_type": "a/b"},
                {"type": "text", "text": "hi"},
            ]
        ),
    ),
    "a block of a new kind": (
        adapted(([{"type": "video", "frames": 2, "id": "x"}], None), typed=True),
        "[{'type': 'video', 'frames': 2}]",
    ),
    "a message of an interceptor": (
        adapted((ToolMessage([TEXT], tool_call_id=""), None), typed=True),
        "hi",
    ),
    "an ordinary pair": (adapted(([TEXT], {"rows": 3})), str([TEXT])),
    "an ordinary text": (adapted(("hi", {"structured_content": "no dict"})), "hi"),
}


@pytest.mark.parametrize("case", CARRIED)
async def test_tools_that_carry_less(case: str) -> None:
    """An MCP tool is known by any of what it carries; other pairs of content and artifact are not."""
    tool, printed = CARRIED[case]
    result = await ProgrammaticToolExecutor([tool]).aexecute("print(await look())")
    assert result.output.rstrip("\n") == printed
    assert "-> Any:" in ToolCatalog([tool]).render() or "schema" in case or "JSON" in case


@pytest.mark.parametrize("typed", [True, False])
async def test_error_texts(typed: bool) -> None:
    """A failed tool's text is told as text, however the tool raises it."""
    tool = adapted(ToolException("no stock"), typed=typed)
    code = "try:\n    await look()\nexcept ToolCallError as error:\n    print(error)"
    assert await run([tool], code) == "look failed: no stock"
    tool.handle_tool_error = lambda _: [TEXT, {"type": "image", "base64": "AAH/"}]  # type: ignore[assignment,return-value]
    assert await run([tool], code) == "look failed: hi"
    tool.handle_tool_error = lambda _: [{"type": "image", "base64": "AAH/"}]  # type: ignore[assignment,return-value]
    assert await run([tool], code) == "look failed: its error message has no text, only image"
