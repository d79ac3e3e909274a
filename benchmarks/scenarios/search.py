"""Early exit: turn the pages of a log until it is found. How many calls that takes is not known."""

from __future__ import annotations

import random
from typing import TypedDict

from langchain_core.tools import BaseTool, tool

from benchmarks.scenarios.base import Found, Request, Task, ask_sql

PAGE = 25
CODE = "E4417"
DEPTH = 0.6
"""How far into the log the entry is."""


class Entry(TypedDict):
    """One entry of a log."""

    at: str
    level: str
    code: str
    trace: str
    message: str


class Page(TypedDict):
    """A page of a log, the newest entries first; `pages` is how many there are."""

    number: int
    pages: int
    entries: list[Entry]


PROGRAM = f"""\
number, pages = 0, 1
while number < pages:
    number += 1
    page = await read_log(service="payments", page=number)
    pages = page["pages"]
    hit = next((e for e in page["entries"] if e["code"] == "{CODE}"), None)
    if hit:
        print(f"{{hit['at']}} {{hit['trace']}}")
        break
else:
    print("none")
"""


def build_search(rows: int) -> tuple[list[BaseTool], Task]:
    """Build tools and task over so many entries of a log."""
    rng = random.Random(f"search {rows}")
    entries = [_make_entry(rng, number) for number in range(rows)]
    entries[int(rows * DEPTH)]["code"] = CODE
    entries[rows - 1]["code"] = CODE  # an older one, which is not asked for

    @tool
    async def read_log(service: str, page: int) -> Page:
        """Read a page of a service's log, the newest entries first; pages count from 1."""
        start = (page - 1) * PAGE
        listed = entries[start : start + PAGE] if service == "payments" else []
        return {"number": page, "pages": -(-rows // PAGE), "entries": listed}

    [truth] = ask_sql(
        {"entries": entries},
        f"SELECT at, trace FROM entries WHERE code = '{CODE}' ORDER BY rowid LIMIT 1",
    )
    task = Task(
        name="search",
        title="Early-exit search",
        question=f"When did the payments service last log {CODE}, and what was the trace? Answer "
        "`time trace`, or `none`, and nothing else.",
        plan=_plan,
        answer=_answer,
        program=PROGRAM,
        truth=" ".join(truth),
    )
    return [read_log], task


def _make_entry(rng: random.Random, number: int) -> Entry:
    minutes = 40_000 - 7 * number
    return {
        "at": f"2025-11-{1 + minutes // 1440:02} {minutes // 60 % 24:02}:{minutes % 60:02}",
        "level": rng.choices(("INFO", "WARNING", "ERROR"), (7, 2, 1))[0],
        "code": f"E{rng.randint(1000, 4000)}",
        "trace": f"{rng.randrange(16**8):08x}",
        "message": rng.choice(("retry scheduled", "card declined", "request served", "slow query")),
    }


def _page(found: Found, number: int) -> Page | None:
    page: Page | None = found.get("read_log", service="payments", page=number)
    return page


def _plan(found: Found) -> list[Request]:
    """The pages up to the one that has it; all, as long as it is not known which that is.

    Whoever asks for one after another stops in time. Whoever asks for all at once saves rounds and
    reads to the end.
    """
    first = _page(found, 1)
    requests: list[Request] = []
    for number in range(1, (first["pages"] if first else 1) + 1):
        requests.append(("read_log", {"service": "payments", "page": number}))
        page = _page(found, number)
        if page and any(entry["code"] == CODE for entry in page["entries"]):
            break
    return requests


def _answer(found: Found) -> str:
    number = 1
    while page := _page(found, number):
        for entry in page["entries"]:
            if entry["code"] == CODE:
                return f"{entry['at']} {entry['trace']}"
        number += 1
    return "none"
