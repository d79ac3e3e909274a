"""An MCP server that makes use of what the protocol leaves open: pages, titles, strange schemas."""

from __future__ import annotations

import sys

import anyio
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    ListToolsRequest,
    ListToolsResult,
    TextContent,
    Tool,
    ToolAnnotations,
    ToolExecution,
)

server = Server("odd")

NODE = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
    },
    "required": ["label"],
    "title": "Node",
}
TOOLS = [
    Tool(name="bare", inputSchema={"type": "object"}),
    Tool(name="titled", title="A title", inputSchema={"type": "object"}),
    Tool(
        name="hinted",
        annotations=ToolAnnotations(title="A hint", readOnlyHint=False, destructiveHint=False),
        inputSchema={"type": "object"},
    ),
    Tool(
        name="get-tree",
        description="A tree.",
        inputSchema={"type": "object", "properties": {"max-depth": {"type": "integer"}}},
        outputSchema={
            "type": "object",
            "properties": {"result": {"$ref": "#/$defs/Node"}},
            "required": ["result"],
            "$defs": {"Node": NODE},
        },
    ),
    Tool(
        name="lies",
        inputSchema={"type": "object"},
        outputSchema={
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
        },
    ),
    Tool(
        name="task", inputSchema={"type": "object"}, execution=ToolExecution(taskSupport="required")
    ),
    *(Tool(name=f"page_{n}", inputSchema={"type": "object"}) for n in range(5)),
]
if "broken" in sys.argv:
    TOOLS.append(
        Tool(
            name="broken", inputSchema={"type": "object", "properties": {"a": {"$ref": "http://x"}}}
        )
    )
PAGE = 3
STARTING = [True]


async def list_page(request: ListToolsRequest) -> ListToolsResult:
    if STARTING:  # as servers do that learn what the client can before they know their tools
        STARTING.clear()
        await server.request_context.session.send_tool_list_changed()
    begin = int(request.params.cursor) if request.params and request.params.cursor else 0
    end = begin + PAGE
    more = str(end) if end < len(TOOLS) else None
    return ListToolsResult(tools=TOOLS[begin:end], nextCursor=more)


server.list_tools()(list_page)


@server.call_tool(validate_input=False)
async def call(name: str, arguments: dict[str, object]) -> object:
    if name == "get-tree":
        return {"result": {"label": "root", "children": [{"label": str(arguments)}]}}
    if name == "lies":
        return {"n": "not a number"}
    return [TextContent(type="text", text=f"{name} {arguments}")]


async def main() -> None:
    async with stdio_server() as (read, write):
        options = server.create_initialization_options(NotificationOptions(tools_changed=True))
        await server.run(read, write, options)


if __name__ == "__main__":
    anyio.run(main)
