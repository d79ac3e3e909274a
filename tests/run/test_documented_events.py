"""The table of events in docs/logs.md is what is emitted, event by event and field by field."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint

from langchain_ptc import (
    Breaker,
    Limits,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
    as_programmatic,
)
from tests.support import ROOT
from tests.support.progress import add
from tests.support.waiting import SECONDS

COMMON = {"source", "event", "execution_id", "at"}


def read_table() -> dict[str, set[str]]:
    """Return the fields of each event, as the page has them."""
    text = (ROOT / "docs" / "logs.md").read_text("utf-8").partition("## Events")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}


begun: list[int] = []
both_begun = asyncio.Event()


@tool
async def meet(number: int) -> int:
    """Return when another call has begun too."""
    begun.append(number)
    if len(begun) == 2:
        both_begun.set()
    await asyncio.wait_for(both_begun.wait(), SECONDS)
    return number


@tool
def read_all() -> str:
    """Return more than one result may have."""
    return "x" * 2_000


@tool
def fail() -> int:
    """Fail."""
    raise ValueError("no")


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """One or more of every event."""
    seen: list[dict[str, Any]] = []
    policies = {"meet": ToolPolicy(read_only=True), "fail": ToolPolicy(breaker=Breaker(failures=1))}
    executor = ProgrammaticToolExecutor(
        ToolCatalog([add, fail, meet, read_all], policies=policies),
        on_event=seen.append,
        limits=Limits(max_tool_calls=3, result_bytes=1_000),
        prefetch="calls",
    )
    executor.execute("print(add(1, 2))")
    executor.execute("print(meet(1))\nprint(meet(2))")  # only if the second begins early
    executor.execute(
        "for _ in range(2):\n    try:\n        fail()\n    except ToolCallError:\n        pass"
    )
    executor.execute("for n in range(9):\n    add(n, n)")
    executor.execute("read_all()")
    for _ in range(3):
        executor.execute("print(().__class__.__bases__)")
    (asking,) = as_programmatic([add], interrupt_on={"add": True}, on_event=seen.append)

    @entrypoint(checkpointer=InMemorySaver())
    def graph(code: str) -> Any:
        return asking.invoke({"code": code})

    graph.invoke("print(add(1, 2))", {"configurable": {"thread_id": "1"}})
    return seen


def test_every_event_has_the_documented_fields(events: list[dict[str, Any]]) -> None:
    """No event is missing on the page or in the code, and neither is a field."""
    table = read_table()
    assert {event["event"] for event in events} == table.keys()
    for name, documented in table.items():
        shown = {frozenset(event.keys() - COMMON) for event in events if event["event"] == name}
        optional = {"call_id", "tool", "domain"} if name == "limit_reached" else set()
        for fields in shown:
            assert documented - optional <= fields <= documented, name
        assert set().union(*shown) == documented, name
    assert all(event.keys() >= COMMON for event in events)
