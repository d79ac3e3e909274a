"""An MCP server made with FastMCP whose tools return every kind of value that its users write."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.types import (
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import AnyUrl, BaseModel, Field
from typing_extensions import TypedDict

server = FastMCP("kinds", log_level="ERROR")


class Kind(enum.Enum):
    A = "a"
    B = "b"


class Address(BaseModel):
    street: str
    zip: str | None = None


class Person(BaseModel):
    name: str
    kind: Kind
    address: Address
    friends: list[Person] = []
    since: datetime
    rank: int = Field(alias="class", default=3)


@dataclass
class Point:
    x: int
    y: float | None = None


class Page(TypedDict, total=False):
    items: list[int]
    result: int


class OnlyResult(BaseModel):
    result: int


def make_person() -> Person:
    since = datetime(2024, 1, 2, 3, 4, 5)  # without a zone, as many servers give it
    return Person(name="Ann", kind=Kind.A, address=Address(street="s"), since=since)


@server.tool()
def person() -> Person:
    return make_person()


@server.tool()
def people() -> list[Person]:
    return [make_person()] * 2


@server.tool()
def maybe(yes: bool) -> Address | None:
    return Address(street="q") if yes else None


@server.tool()
def union(n: int) -> Address | int | str:
    return [Address(street="u"), 7, "seven"][n]  # type: ignore[return-value]


@server.tool()
def point() -> Point:
    return Point(1)


@server.tool()
def page() -> Page:
    return {"items": [1, 2], "result": 5}


@server.tool()
def only() -> OnlyResult:
    return OnlyResult(result=4)


@server.tool()
def counts(two: bool) -> dict[str, int]:
    return {"result": 3, "b": 4} if two else {"result": 3}


@server.tool()
def pair() -> tuple[int, str]:
    return (1, "z")


@server.tool()
def letter() -> Literal["x", "y"]:
    return "x"


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def flag() -> bool:
    return False


@server.tool(structured_output=False)
def undeclared() -> dict[str, int]:
    return {"a": 1}


@server.tool()
def untyped(x):  # type: ignore[no-untyped-def]
    return {"given": x}


@server.tool()
def rows() -> list[dict[str, int]]:
    return [{"n": n} for n in range(10_100)]


@server.tool(structured_output=False)
def picture() -> list[Any]:
    return ["see", Image(data=b"1", format="png")]


@server.tool(structured_output=False)
def resource() -> list[Any]:
    text = TextResourceContents(uri=AnyUrl("mem://x"), text="hello")
    link = ResourceLink(type="resource_link", uri=AnyUrl("mem://y"), name="y")
    return [EmbeddedResource(type="resource", resource=text), link]


@server.tool()
def given(failed: bool) -> CallToolResult:
    text = [TextContent(type="text", text="no such thing: {}'\"")]
    if failed:
        return CallToolResult(content=text, isError=True)
    return CallToolResult(content=text, structuredContent={"q": 1})


@server.tool()
def arguments(
    n: int | None = None,
    kind: Kind = Kind.A,
    address: Address | None = None,
    rates: dict[str, float] | None = None,
    at: datetime | None = None,
) -> str:
    return f"{n} {kind.value} {address and address.street} {rates} {at and at.isoformat()}"


_calls = 0


@server.tool()
async def count(context: Context) -> int:  # type: ignore[type-arg]
    global _calls
    _calls += 1
    number = _calls
    await context.report_progress(number, 10)
    await context.info("counted")
    return number


if __name__ == "__main__":
    server.run()
