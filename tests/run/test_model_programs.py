"""Programs as models write them: all of these run, and their rate is held.

`tests/support/model_programs.txt` has shapes that models use in public traces of agents that write code, in issues
about such agents, and in our own recordings, each rewritten over tools of ours. The programs that a real model
wrote for the task sets of `benchmarks/tasks/`, recorded in `benchmarks/results/local/`, run as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import ToolException, tool
from typing_extensions import TypedDict

from benchmarks.local_page import read_results
from benchmarks.tasks import DOMAINS
from langchain_ptc import ProcessSandbox, ProgrammaticToolExecutor
from tests.support import ROOT


class Team(TypedDict):
    """A team and who is in it."""

    name: str
    members: list[str]


class Hours(TypedDict):
    """What somebody worked on a day."""

    day: str
    hours: float
    kind: str


class Event(TypedDict):
    """An entry of a calendar."""

    title: str


TEAMS = {"core": ["ada", "cyd"], "ops": ["ben", "fay", "dan"], "web": ["eve"]}
WORKED = {
    "ada": [("2026-03-02", 9, "code"), ("2026-03-03", 4, "meet")],
    "ben": [("2026-03-02", 8, "code"), ("2026-03-04", 12, "code")],
    "cyd": [("2026-03-02", 6, "code")],
    "dan": [("2026-03-02", 2, "code")],
    "eve": [("2026-03-02", 20, "code")],
    "fay": [("2026-03-02", 18, "code")],
}


@tool
def list_teams() -> list[Team]:
    """List the teams."""
    return [{"name": name, "members": members} for name, members in TEAMS.items()]


@tool
def get_hours(person: str) -> list[Hours]:
    """Get what somebody worked."""
    if person not in WORKED:
        raise ToolException(f"unknown person {person!r}")
    return [{"day": day, "hours": hours, "kind": kind} for day, hours, kind in WORKED[person]]


@tool
def list_events(page: int) -> list[Event]:
    """List events, two on a page; a page after the last one is empty."""
    return [{"title": f"event {n}"} for n in range(2 * page - 1, 2 * page + 1) if n <= 5]


@tool
def export_json(team: str) -> str:
    """Export a team as JSON."""
    return json.dumps({"team": team, "rows": TEAMS[team]})


@tool
def read_note(person: str) -> str:
    """Read a note."""
    return "paid EUR 12.5 and\n EUR 7.0."


@tool
def notify(person: str, text: str) -> None:
    """Send somebody a message."""


def read_programs() -> dict[str, tuple[str, str]]:
    """Return each program and what it prints, by its title."""
    text = (ROOT / "tests/support/model_programs.txt").read_text("utf-8")
    found = {}
    for part in text.split("### ")[1:]:
        title, _, rest = part.partition("\n")
        code, _, printed = rest.partition("--- expected\n")
        found[title] = code, printed.rstrip("\n")
    return found


PROGRAMS = read_programs()


@pytest.fixture(scope="module")
def executor() -> Iterator[ProgrammaticToolExecutor]:
    """Runs the programs in real workers."""
    with ProcessSandbox() as sandbox:
        tools = [list_teams, get_hours, list_events, export_json, read_note, notify]
        yield ProgrammaticToolExecutor(tools, sandbox=sandbox)


@pytest.mark.parametrize("title", PROGRAMS)
def test_program(title: str, executor: ProgrammaticToolExecutor) -> None:
    """A program of a shape that models use passes the check, runs, and prints what Python prints."""
    code, printed = PROGRAMS[title]
    assert executor.execute(code).report() == printed


def test_there_are_many() -> None:
    """The rate means something: there are forty shapes, and none twice."""
    assert len(PROGRAMS) >= 40
    assert len({code for code, _ in PROGRAMS.values()}) == len(PROGRAMS)


def test_recorded_programs_of_a_real_model() -> None:
    """The programs that a real model wrote are judged as when they were recorded, or better."""
    rows = [row for row in read_results()["rows"] if row["mode"] == "programmatic"]
    right: dict[str, list[str]] = {"recorded": [], "now": []}
    for row in rows:
        domain = DOMAINS[row["domain"]]
        task = next(task for task in domain.tasks if task.name == row["task"])
        name = f"{domain.name}/{task.name}"
        if row["cause"] == "right":
            right["recorded"].append(name)
        if _answers(domain, task, row["codes"]):
            right["now"].append(name)
    assert set(right["recorded"]) <= set(right["now"])
    assert len(right["recorded"]) >= 40
    assert len(rows) == 48


def _answers(domain: Any, task: Any, codes: list[str]) -> bool:
    """Whether the last of the programs that a model wrote for a task answers it."""
    world = domain.build()
    executor = ProgrammaticToolExecutor(world.tools)
    results = [executor.execute(code) for code in codes]
    return bool(results) and task.judge(results[-1].report(), world.effects)[0] == "right"
