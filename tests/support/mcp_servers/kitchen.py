"""An MCP server with one tool of each kind, for the tests: `python kitchen.py [stdio | http PORT]`."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Literal

from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import BaseModel, Field

server = FastMCP("kitchen", log_level="ERROR")


class Nutrition(BaseModel):
    calories: float
    allergens: list[str] = []


class Ingredient(BaseModel):
    name: str
    grams: int = Field(ge=1, description="Weight in grams")
    nutrition: Nutrition | None = None


class Dish(BaseModel):
    title: str
    course: Literal["starter", "main", "dessert"]
    ingredients: list[Ingredient]


@server.tool(annotations=ToolAnnotations(readOnlyHint=True, idempotentHint=True))
def get_dish(title: str, servings: int = 2) -> Dish:
    """Look up a dish."""
    salt = Ingredient(name="salt", grams=servings, nutrition=Nutrition(calories=0.0))
    return Dish(title=title, course="main", ingredients=[salt])


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def list_dishes() -> list[Dish]:
    """List all dishes."""
    return [get_dish("soup"), get_dish("pie", 4)]


@server.tool()
def count(words: list[str]) -> int:
    """Count words."""
    return len(words)


@server.tool(annotations=ToolAnnotations(destructiveHint=False))
def add_note(text: str) -> None:
    """Add a note; it gives nothing."""


@server.tool(structured_output=False)
def as_text(as_json: bool = False) -> str:
    """Give text that no schema describes."""
    return '{"a": 1}' if as_json else "plain\ntext"


@server.tool(structured_output=False)
def in_parts() -> list[Any]:
    """Give two texts."""
    return ["one", "two"]


@server.tool()
def photo() -> Image:
    """Give an image."""
    return Image(data=b"\x89PNG\x00\xff", format="png")


@server.tool(structured_output=False)
def media() -> list[Any]:
    """Give one of each kind of content."""
    data = "AAH/"
    return [
        TextContent(type="text", text="caption"),
        AudioContent(type="audio", data=data, mimeType="audio/wav"),
        EmbeddedResource(
            type="resource",
            resource=TextResourceContents(uri="memo://1", text="memo", mimeType="text/plain"),  # type: ignore[arg-type]
        ),
        EmbeddedResource(
            type="resource",
            resource=BlobResourceContents(uri="memo://2", blob=data),  # type: ignore[arg-type]
        ),
        ResourceLink(type="resource_link", uri="memo://3", name="third", size=3),  # type: ignore[arg-type]
    ]


@server.tool()
def undeclared() -> CallToolResult:
    """Give structured content that no schema declares."""
    return CallToolResult(
        content=[TextContent(type="text", text="seven")], structuredContent={"result": 7}
    )


@server.tool(annotations=ToolAnnotations(destructiveHint=True))
def burn(reason: str) -> str:
    """Fail."""
    raise ToolError(f"burnt: {reason}")


@server.tool(structured_output=False)
def echo(self: str, config: str, run_manager: str, runtime: str, callbacks: str = "") -> list[str]:
    """Give back arguments with names that Python frameworks use themselves."""
    return [self, config, run_manager, runtime, callbacks]


@server.tool()
async def slow(seconds: float, value: int) -> int:
    """Take a while."""
    await asyncio.sleep(seconds)
    return value


MEETING: list[asyncio.Event] = []


@server.tool()
async def meet(people: int, value: int) -> int:
    """Wait until that many callers are here."""
    MEETING.append(asyncio.Event())
    if len(MEETING) == people:
        for waiting in MEETING:
            waiting.set()
        MEETING.clear()
    else:
        await MEETING[-1].wait()
    return value


@server.tool()
def process_id() -> int:
    """Tell the process."""
    return os.getpid()


@server.tool()
async def die(seconds: float = 0.0) -> str:
    """End the process in the middle of a call."""
    await asyncio.sleep(seconds)
    os._exit(1)


@server.tool()
async def learn(name: str, context: Context[Any, Any, Any]) -> str:
    """Get another tool."""

    def learnt() -> str:
        return name

    server.add_tool(learnt, name=name, description=f"Say {name}.")
    await context.session.send_tool_list_changed()
    return name


@server.tool()
async def forget(name: str, context: Context[Any, Any, Any]) -> str:
    """Lose a tool."""
    server.remove_tool(name)
    await context.session.send_tool_list_changed()
    return name


@server.tool()
async def report(steps: int, context: Context[Any, Any, Any]) -> int:
    """Tell its progress, and log."""
    for step in range(steps):
        await context.report_progress(step + 1, steps, "cooking")
        await context.info("cooking")
    return steps


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        server.settings.port = int(sys.argv[2])
        server.run("streamable-http")
    else:
        server.run("stdio")
