"""How long the check before the run takes for each program, and what it says of programs that work.

    python benchmarks/check.py PROGRAMS.jsonl [--tools DEFINITIONS.jsonl] [--types]

Each line of the first file is a program that works: `{"id", "code", "tools"?}`, where `tools` are the
definitions that it calls: `{"name", "description", "parameters"}`, the parameters as JSON Schema. Every
report on it is a wrong alarm, and is printed. With `--tools`, each definition is called as well, with
arguments that hypothesis makes from its schema. With `--types`, the type checker ty looks at each
program too. The exit code is 1 if there is any alarm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` is no part of the package

from langchain_ptc.catalog.catalog import ToolCatalog  # noqa: E402
from langchain_ptc.check.checker import Checker, render_problems  # noqa: E402
from langchain_ptc.check.typecheck import typecheck_code  # noqa: E402
from langchain_ptc.errors import Problem  # noqa: E402
from langchain_ptc.sandbox.language.modules import STANDARD_MODULES  # noqa: E402

CALLS = 3
"""Calls of each definition."""
MODULES = frozenset(STANDARD_MODULES)
Check = Callable[[str, ToolCatalog], Sequence[Problem]]


def wrap(definitions: Sequence[Mapping[str, Any]]) -> ToolCatalog:
    """Return a catalog of tools that do nothing."""

    def act(**_: Any) -> None:
        return None

    return ToolCatalog(
        [
            StructuredTool(
                name=definition["name"],
                description=definition.get("description") or "",
                args_schema=definition["parameters"],
                func=act,
            )
            for definition in definitions
        ]
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_programs(path: Path) -> Iterator[tuple[str, str, ToolCatalog]]:
    """Yield id, code and catalog of each program."""
    empty = wrap([])
    for line in read_lines(path):
        tools = line.get("tools")
        yield str(line.get("id", "?")), line["code"], wrap(tools) if tools else empty


def make_calls(path: Path) -> Iterator[tuple[str, str, ToolCatalog]]:
    """Yield programs that call each definition with arguments that its schema allows."""
    from hypothesis import HealthCheck, given, settings

    from benchmarks.schema_values import valid_values
    from benchmarks.stubs import call_source, closed

    for line in read_lines(path):
        catalog = wrap([line])
        [definition] = catalog
        made: list[str] = []

        @settings(
            max_examples=CALLS,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(valid_values(closed(line["parameters"])))
        def make(arguments: dict[str, Any]) -> None:
            made.append(call_source(definition, arguments))  # noqa: B023  # it runs within the loop

        try:
            make()
        except Exception as error:
            print(f"no arguments for {definition.name}: {error!r:.100}", file=sys.stderr)
        for code in made:
            yield definition.name, code, catalog


def measure(programs: Iterator[tuple[str, str, ToolCatalog]], check: Check, title: str) -> int:
    """Check each program, print times and alarms, and return the number of alarms."""
    seconds, alarms = [], 0
    for name, code, catalog in programs:
        begin = time.perf_counter()
        problems = tuple(check(code, catalog))
        seconds.append(time.perf_counter() - begin)
        if problems:
            alarms += 1
            print(f"--- alarm: {name}\n{render_problems(problems)}")
    seconds.sort()
    if seconds:
        print(
            f"{title}: {len(seconds):,} programs, median {statistics.median(seconds) * 1e3:.2f} ms, "
            f"99th of 100 {seconds[len(seconds) * 99 // 100] * 1e3:.2f} ms, "
            f"longest {seconds[-1] * 1e3:.2f} ms, {alarms} wrong alarms"
        )
    return alarms


def main() -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("programs", type=Path)
    parser.add_argument("--tools", type=Path)
    parser.add_argument("--types", action="store_true")
    options = parser.parse_args()

    def check(code: str, catalog: ToolCatalog) -> Sequence[Problem]:
        return Checker(catalog, MODULES).check(code)

    alarms = measure(read_programs(options.programs), check, "programs")
    if options.tools:
        alarms += measure(make_calls(options.tools), check, "calls")
    if options.types:
        alarms += measure(read_programs(options.programs), typecheck_code, "with ty")
    return 1 if alarms else 0


if __name__ == "__main__":
    raise SystemExit(main())
