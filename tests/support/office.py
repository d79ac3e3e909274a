"""The tools that the programs for the check call, and a way to run a program without the check."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, BeforeValidator
from typing_extensions import TypedDict

from langchain_ptc import InProcessSandbox, ToolCallError, ToolCatalog
from langchain_ptc.sandbox import Call, CallFailure, Done, Program, Result
from langchain_ptc.sandbox.wire.values import encode_value


class User(TypedDict):
    """A person in the office."""

    id: str
    name: str
    age: int
    team: str
    boss: str | None


class Trip(BaseModel):
    """A trip of a person."""

    city: str
    nights: int
    costs: list[float]


class Options(TypedDict, total=False):
    """How to send a mail."""

    html: bool
    retries: int


class Address(TypedDict):
    """Where a parcel goes."""

    street: str
    zip: str
    country: Literal["de", "fr"]


class Size(enum.Enum):
    """Size of a parcel."""

    SMALL = "small"
    LARGE = "large"

    @classmethod
    def _missing_(cls, value: object) -> Size | None:
        return cls.LARGE if value == "big" else None


def _people() -> list[BaseTool]:
    users: dict[str, User] = {
        f"u{n}": {
            "id": f"u{n}",
            "name": f"Person {n}",
            "age": 30 + n,
            "team": "ab"[n % 2],
            "boss": "u1" if n > 1 else None,
        }
        for n in range(1, 5)
    }

    @tool
    def get_user(user_id: str) -> User:
        """Get a person."""
        return users[user_id]

    @tool
    async def list_users(team: str | None = None, limit: int = 10) -> list[User]:
        """List people."""
        return [u for u in users.values() if team in (None, u["team"])][:limit]

    @tool
    def get_trips(user_id: str, year: int = 2024) -> list[Trip]:
        """Get the trips of a person."""
        trips = [Trip(city="Rome", nights=n, costs=[n * 100.0, year / 100]) for n in (1, 2)]
        return [trip.model_dump() for trip in trips]  # as values cross

    @tool
    def count_users(team: str) -> int:
        """Count the people of a team."""
        return sum(u["team"] == team for u in users.values())

    @tool
    def ages() -> dict[str, int]:
        """Get the ages of people by id."""
        return {u["id"]: u["age"] for u in users.values()}

    @tool
    def search(query: str, limit: int = 3) -> Any:
        """Search for anything."""
        return [{"title": f"{query} {n}"} for n in range(limit)]

    return [get_user, list_users, get_trips, count_users, ages, search]


def _post() -> list[BaseTool]:
    @tool
    def send_mail(
        to: list[str],
        subject: str,
        priority: Literal["low", "normal", "high"] = "normal",
        options: Options | None = None,
    ) -> str:
        """Send a mail; gives its id."""
        return f"mail to {len(to)}"

    @tool
    def send_parcel(address: Address, weight: float, express: bool = False) -> dict[str, Any]:
        """Send a parcel."""
        return {"to": address["street"], "cost": weight * (2 if express else 1)}

    @tool
    def log(message: str) -> None:
        """Write a line into the log."""

    @tool
    def tag(words: Annotated[list[str], BeforeValidator(_split)], size: Size = Size.SMALL) -> int:
        """Tag something; words may come with commas."""
        return len(words)

    schema = {
        "type": "object",
        "properties": {
            "room": {"type": "string", "enum": ["north", "south"]},
            "hours": {"type": "integer"},
            "guests": {"type": "array", "items": {"type": "string"}},
            "layout": {
                "type": "object",
                "properties": {"chairs": {"type": "integer"}, "note": {"type": "string"}},
                "required": ["chairs"],
            },
        },
        "required": ["room", "hours"],
    }

    def book(**given: Any) -> Any:
        return given

    book_room = StructuredTool(
        name="book-room", description="Book a room.", args_schema=schema, func=book
    )
    anything = {"type": "object", "additionalProperties": True}
    note = StructuredTool(name="note", description="Note it.", args_schema=anything, func=book)
    return [send_mail, send_parcel, log, tag, book_room, note]


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def build_office() -> ToolCatalog:
    """Make the tools of the office, in two domains."""
    return ToolCatalog({"people": _people(), "post": _post()})


def run_unchecked(code: str, catalog: ToolCatalog) -> Done:
    """Run a program to its end as an executor does, without the check."""
    return asyncio.run(_run(code, catalog))


async def _run(code: str, catalog: ToolCatalog) -> Done:
    with InProcessSandbox() as sandbox:
        session = sandbox.session()

        async def answer(call: Call) -> None:
            definition = catalog[call.tool]
            try:
                arguments = definition.bind(call.args, call.kwargs)
                request = {
                    "name": definition.tool_name,
                    "args": arguments,
                    "id": "1",
                    "type": "tool_call",
                }
                message = await definition.tool.ainvoke({**request})
                result = Result(id=call.id, payload=encode_value(_value(message.content)))
            except (ToolCallError, ValueError, KeyError) as error:
                result = Result(id=call.id, failure=CallFailure(message=str(error)))
            session.resume([result])

        tasks = []

        def begin(calls: Sequence[Call]) -> None:
            tasks.extend(asyncio.ensure_future(answer(call)) for call in calls)

        program = Program(code=code, tools=catalog.names, types=catalog.type_names)
        return await session.run(program, begin)


def _value(content: object) -> object:
    """Return the value whose text a tool message holds."""
    try:
        return json.loads(content) if isinstance(content, str) else content
    except ValueError:
        return content
