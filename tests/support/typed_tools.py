"""Tools with types of every kind, for the tests of stubs."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from langchain_core.tools import tool
from pydantic import BaseModel, Field


class Member(BaseModel):
    """Somebody in a team."""

    id: str
    name: str = Field(description="The full name.")
    since: dt.date | None = None


class Filter(BaseModel):
    city: str


@tool(parse_docstring=True)
def get_team(
    department: str, kind: Literal["it's", "all"] = "all", limit: int = 10
) -> list[Member]:
    """List the members of a team.

    Args:
        department: The department, for example "engineering".
        kind: Which ones.
        limit: How many at most.
    """
    return []


@tool
def find(where: Filter, tags: list[str] = [], at: dt.datetime = dt.datetime(2024, 1, 1)) -> Any:  # noqa: B006
    """Find something."""
