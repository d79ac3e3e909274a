"""An MCP server of FastMCP 4, on line 2 of `mcp`, which asks its user in the middle of a call.

What its tools do is a line of the file that the environment names in PANTRY_LOG.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp.types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ImageContent,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import BaseModel

server: FastMCP[Any] = FastMCP("pantry")
QUANTITY = {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}


class Part(BaseModel):
    id: int
    name: str


def note(text: str) -> None:
    if path := os.environ.get("PANTRY_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{text}\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True))
def get_part(id: int) -> Part:
    """Look up a part."""
    note(f"get_part {id}")
    return Part(id=id, name="bolt")


@server.tool
def list_parts() -> list[Part]:
    """List all parts."""
    return [Part(id=1, name="bolt"), Part(id=2, name="nut")]


@server.tool
def weigh(id: int) -> float:
    """Weigh a part."""
    return 2.5 * id


@server.tool(output_schema=None)
def label() -> str:
    """Give a text."""
    return "fragile"


@server.tool(output_schema=None)
def picture() -> list[Any]:
    """Give a text and an image."""
    image = ImageContent(type="image", data="AAH/", mime_type="image/png")
    return [TextContent(type="text", text="a bolt"), image]


@server.tool
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(f"no stock: {reason}")


@server.tool(output_schema=None)
async def order(id: int, context: Context) -> Any:
    """Order a part; the user says how many."""
    key = f"quantity of {id}"
    answers = context.input_responses
    if answers is None:
        asked = ElicitRequestFormParams(message=f"How many of {id}?", requested_schema=QUANTITY)
        return InputRequiredResult(input_requests={key: ElicitRequest(params=asked)})
    answer: Any = answers[key]
    if answer.action != "accept":
        return f"{answer.action}: nothing ordered"
    note(f"order {id} {answer.content['value']}")
    return f"ordered {answer.content['value']} of {id}"


if __name__ == "__main__":
    server.run(show_banner=False)
