"""The score of a real model in `docs/local-models.md`: tables between markers, from stored JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import fill_page, table_of
from benchmarks.stored import RESULTS, Results, read_newest
from benchmarks.tasks import DOMAINS

FOLDER = RESULTS / "local"
PROMPTS = FOLDER / "prompts"
PAGE = Path(__file__).parents[1] / "docs" / "local-models.md"

Rows = Sequence[Mapping[str, Any]]
"""Each a `benchmarks.local.Row` as a dict."""

_SUMMED = ("inferences", "tokens_in", "tokens_out", "seconds")
_MAX_NAMED = 12
"""Tasks of one cause that are named; more are told as a number."""


def read_results() -> Results:
    """Read the newest results of `benchmarks.local`.

    Raises:
        PageError: There are none.
    """
    return read_newest(FOLDER, "python -m benchmarks.local --write")


def read_prompts() -> Results:
    """Read the newest results of `benchmarks.local_prompts`.

    Raises:
        PageError: There are none.
    """
    return read_newest(PROMPTS, "python -m benchmarks.local_prompts --write")


def write_page(results: Results, prompts: Results) -> None:
    """Write the tables into the page.

    Raises:
        PageError: The page lacks a marker.
    """
    tables = render_tables(results, prompts)
    PAGE.write_text(fill_page(PAGE.read_text("utf-8"), tables), "utf-8")


def render_tables(results: Results, prompts: Results) -> dict[str, str]:
    """Render every table of the page by its name."""
    return {
        "local-run": _render_run(results, "local"),
        "local-score": render_score(results["rows"]),
        "local-failures": render_failures(results["rows"]),
        "prompts-run": _render_run(prompts, "local/prompts"),
        "prompts-score": render_prompts(prompts["rows"]),
        "prompts-failures": render_prompt_failures(prompts["rows"]),
    }


def _render_run(results: Results, folder: str) -> str:
    machine = results["machine"]
    return (
        f"Taken on **{results['date']}** with `{results['command']}`: {results['model']}, "
        f"temperature 0, on {machine['words']}. Every answer, with the program, is in "
        f"`benchmarks/results/{folder}/{results['date']}.json`."
    )


def render_score(rows: Rows) -> str:
    """Render how many tasks of each domain came out right in each mode, and what they took."""
    names, titles = _domains(rows)
    head = ["mode", *titles, "all", "inferences", "tokens read", "written", "seconds of the model"]
    table = []
    for mode, of_mode in _group(rows, "mode").items():
        rights = [_right(row for row in of_mode if row["domain"] == name) for name in names]
        sums = [f"{sum(row[key] for row in of_mode):,.0f}" for key in _SUMMED]
        table.append([mode, *rights, f"**{_right(of_mode)}**", *sums])
    return table_of(head, table)


def render_failures(rows: Rows) -> str:
    """Render why tasks came out wrong in each mode, the most frequent cause first."""
    table = []
    for mode, of_mode in _group(rows, "mode").items():
        causes: dict[str, list[str]] = {}
        for row in of_mode:
            if row["cause"] != "right":
                causes.setdefault(row["cause"], []).append(f"{row['domain']}/{row['task']}")
        for cause, tasks in sorted(causes.items(), key=lambda item: -len(item[1])):
            named = ", ".join(tasks) if len(tasks) <= _MAX_NAMED else "see the answers"
            table.append([mode, cause, str(len(tasks)), named])
    return table_of(["mode", "cause", "tasks", "which"], table)


def render_prompts(rows: Rows) -> str:
    """Render how many tasks of each domain came out right with each prompt, and how long it is."""
    names, titles = _domains(rows)
    head = ["the prompt has", *titles, "all", "tokens read for a task", "written"]
    table = []
    for way, of_way in _group(rows, "way").items():
        rights = [_right(row for row in of_way if row["domain"] == name) for name in names]
        means = [
            f"{sum(row[key] for row in of_way) / len(of_way):,.0f}"
            for key in ("tokens_in", "tokens_out")
        ]
        table.append([way, *rights, f"**{_right(of_way)}**", *means])
    return table_of(head, table)


def render_prompt_failures(rows: Rows) -> str:
    """Render why tasks came out wrong: a column for each prompt, the most frequent cause first."""
    counts = {
        way: Counter(row["cause"] for row in of_way) for way, of_way in _group(rows, "way").items()
    }
    totals = sum(counts.values(), Counter[str]())
    del totals["right"]
    causes = sorted(totals, key=lambda cause: (-totals[cause], cause))
    table = [[cause, *(str(count[cause]) for count in counts.values())] for cause in causes]
    return table_of(["cause", *counts], table)


def _domains(rows: Rows) -> tuple[list[str], list[str]]:
    """Return the domains, and what they are called in the head of a table."""
    names = list(dict.fromkeys(row["domain"] for row in rows))
    return names, [f"{name} (held out)" if DOMAINS[name].held_out else name for name in names]


def _group(rows: Rows, key: str) -> dict[str, Rows]:
    values = dict.fromkeys(row[key] for row in rows)
    return {value: [row for row in rows if row[key] == value] for value in values}


def _right(rows: Any) -> str:
    causes = [row["cause"] for row in rows]
    return f"{causes.count('right')} of {len(causes)}"
