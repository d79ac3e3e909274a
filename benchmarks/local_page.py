"""The score of a real model in `docs/local-models.md`: tables between markers, from stored JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import fill_page, table_of
from benchmarks.stored import RESULTS, Results, read_newest
from benchmarks.tasks import DOMAINS

FOLDER = RESULTS / "local"
PAGE = Path(__file__).parents[1] / "docs" / "local-models.md"

Rows = Sequence[Mapping[str, Any]]
"""Each a `benchmarks.local.Row` as a dict."""

_SUMMED = ("inferences", "tokens_in", "tokens_out", "seconds")
_MAX_NAMED = 12
"""Tasks of one cause that are named; more are told as a number."""


def read_results(folder: Path = FOLDER) -> Results:
    """Read the newest results.

    Raises:
        PageError: There are none.
    """
    return read_newest(folder, "python -m benchmarks.local --write")


def write_page(results: Results) -> None:
    """Write the tables into the page.

    Raises:
        PageError: The page lacks a marker.
    """
    PAGE.write_text(fill_page(PAGE.read_text("utf-8"), render_tables(results)), "utf-8")


def render_tables(results: Results) -> dict[str, str]:
    """Render every table of the page by its name."""
    return {
        "local-run": _render_run(results),
        "local-score": render_score(results["rows"]),
        "local-failures": render_failures(results["rows"]),
    }


def _render_run(results: Results) -> str:
    machine = results["machine"]
    return (
        f"Taken on **{results['date']}** with `{results['command']}`: {results['model']}, "
        f"temperature 0, on {machine['words']}. Every answer, with the program, is in "
        f"`benchmarks/results/local/{results['date']}.json`."
    )


def render_score(rows: Rows) -> str:
    """Render how many tasks of each domain came out right in each mode, and what they took."""
    names = list(dict.fromkeys(row["domain"] for row in rows))
    titles = [f"{name} (held out)" if DOMAINS[name].held_out else name for name in names]
    head = ["mode", *titles, "all", "inferences", "tokens read", "written", "seconds of the model"]
    table = []
    for mode, of_mode in _by_mode(rows).items():
        rights = [_right(row for row in of_mode if row["domain"] == name) for name in names]
        sums = [f"{sum(row[key] for row in of_mode):,.0f}" for key in _SUMMED]
        table.append([mode, *rights, f"**{_right(of_mode)}**", *sums])
    return table_of(head, table)


def render_failures(rows: Rows) -> str:
    """Render why tasks came out wrong in each mode, the most frequent cause first."""
    table = []
    for mode, of_mode in _by_mode(rows).items():
        causes: dict[str, list[str]] = {}
        for row in of_mode:
            if row["cause"] != "right":
                causes.setdefault(row["cause"], []).append(f"{row['domain']}/{row['task']}")
        for cause, tasks in sorted(causes.items(), key=lambda item: -len(item[1])):
            named = ", ".join(tasks) if len(tasks) <= _MAX_NAMED else "see the answers"
            table.append([mode, cause, str(len(tasks)), named])
    return table_of(["mode", "cause", "tasks", "which"], table)


def _by_mode(rows: Rows) -> dict[str, Rows]:
    modes = dict.fromkeys(row["mode"] for row in rows)
    return {mode: [row for row in rows if row["mode"] == mode] for mode in modes}


def _right(rows: Any) -> str:
    causes = [row["cause"] for row in rows]
    return f"{causes.count('right')} of {len(causes)}"
