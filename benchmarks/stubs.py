"""How long stubs are beside the JSON definitions they stand for, how fast, and whether they hold.

    python benchmarks/stubs.py DEFINITIONS.jsonl [--calls 3] [--types] [--show NAME]

Each line of the file is a tool definition: `{"name", "description", "parameters", "server"?,
"returns"?}`, with the parameters and the return as JSON Schema. Every definition is wrapped as a
LangChain tool, rendered in a catalog of its own and, together with the other tools of its server, in
one catalog with a domain for each server; every stub is parsed and run. Characters of JSON are those
of `{"name", "description", "parameters"}`, as `json.dumps` writes it by default and without spaces.

With `--calls N`, each tool is called N times by code in the sandbox, with arguments that hypothesis
makes from its schema, and must receive them as they are, under its own names. With `--types`, the
package of all stubs is written and given to mypy (strict) and to ty, and so is the text for the model.
The exit code is 1 if anything fails or is longer than it may be.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` is no part of the package

from langchain_ptc.catalog.catalog import ToolCatalog  # noqa: E402
from langchain_ptc.catalog.definition import ToolDefinition  # noqa: E402
from langchain_ptc.catalog.stubs import group, render_catalog, render_line  # noqa: E402

FULL, LINE = 0.70, 0.30
"""Characters of stub for one character of JSON, in full and in one line."""
BUILD_SECONDS, RENDER_SECONDS, BIG = 1.0, 0.05, 500
"""Time to build and to render a catalog of `BIG` tools."""


def wrap(definition: Mapping[str, Any], received: list[Any] | None = None) -> StructuredTool:
    """Return a tool that keeps what it receives."""

    async def keep(**arguments: Any) -> Any:
        if received is not None:
            received.append(arguments)

    return StructuredTool(
        name=definition["name"],
        description=definition.get("description") or "",
        args_schema=definition["parameters"],
        coroutine=keep,
    )


def define(definition: Mapping[str, Any]) -> ToolDefinition:
    """Return the tool with the return type that its author states, where there is one."""
    if isinstance(definition.get("returns"), dict):
        return ToolDefinition(tool=wrap(definition), returns=definition["returns"])
    return ToolDefinition(tool=wrap(definition))


def json_chars(definition: Mapping[str, Any], *, separators: tuple[str, str]) -> int:
    shown = {key: definition.get(key) for key in ("name", "description", "parameters")}
    return len(json.dumps(shown, ensure_ascii=False, separators=separators))


def by_server(
    definitions: Sequence[Mapping[str, Any]], *, typed: bool = False
) -> dict[str, list[StructuredTool | ToolDefinition]]:
    """Group tools into domains; those whose name is taken there go to a further one."""
    domains: dict[str, dict[str, StructuredTool | ToolDefinition]] = {}
    for definition in definitions:
        tool = wrap(definition)
        name = ToolCatalog([tool]).names[0]
        server = definition.get("server") or "misc"
        number = 1
        while name in domains.setdefault(f"{server} {number}", {}):
            number += 1
        domains[f"{server} {number}"][name] = define(definition) if typed else tool
    return {domain: list(tools.values()) for domain, tools in domains.items()}


def run(text: str) -> None:
    exec(compile(ast.parse(text), "stub", "exec", dont_inherit=True), {})


def render_lines(catalog: ToolCatalog) -> str:
    lines = [render_line(d, s.names[d.name]) for s in group(catalog) for d in s.definitions]
    return "\n".join(lines) + "\n"


# --- what must hold -----------------------------------------------------------------------------


def check_alone(definitions: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str], list[str]]:
    """Return the text and the line of each tool alone, and what failed."""
    texts, lines, failures = [], [], []
    for definition in definitions:
        try:
            catalog = ToolCatalog([wrap(definition)])
            texts.append(catalog.render())
            lines.append(render_lines(catalog))
            run(texts[-1])
            run(ToolCatalog([define(definition)]).render())
        except Exception as error:
            failures.append(f"{definition['name']}: {type(error).__name__}: {error}")
    return texts, lines, failures


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema of arguments that says that there are no others, unless it says there are."""
    return {"additionalProperties": False, **schema, "type": "object"}


def call_source(definition: ToolDefinition, arguments: Mapping[str, Any]) -> str:
    """Return code that calls a tool with arguments under the names that its stub gives them."""
    names = {p.tool_name: p.name for p in definition.parameters}
    known = [f"{names[key]}={value!r}" for key, value in arguments.items() if key in names]
    others = {key: value for key, value in arguments.items() if key not in names}
    given = [*known, *([f"**{others!r}"] if others else [])]
    return f"await {definition.name}({', '.join(given)})"


def is_same(left: object, right: object) -> bool:
    """Whether two values are the same as JSON: `1`, `1.0` and `True` are not."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def check_calls(definitions: Sequence[Mapping[str, Any]], most: int) -> Iterator[str]:
    """Call each tool from code in a sandbox, and yield what does not arrive as it was given."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis.errors import Unsatisfiable

    from benchmarks.schema_values import valid_values
    from langchain_ptc import InProcessSandbox, ProgrammaticToolExecutor

    sandbox, loop = InProcessSandbox(), asyncio.new_event_loop()
    made = impossible = 0
    for definition in definitions:
        received: list[Any] = []
        catalog = ToolCatalog([wrap(definition, received)])
        executor = ProgrammaticToolExecutor(catalog, sandbox=sandbox)

        @settings(
            max_examples=most,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(valid_values(closed(definition["parameters"])))
        def call(values: dict[str, Any]) -> None:
            nonlocal made
            received.clear()  # noqa: B023  # it runs within the loop
            code = call_source(next(iter(catalog)), values)  # noqa: B023
            result = loop.run_until_complete(executor.aexecute(code))  # noqa: B023
            made += 1
            if result.error is not None or not is_same(received, [values]):  # noqa: B023
                raise AssertionError(f"{code!r} ended {result.error!r}, received {received!r}")  # noqa: B023

        try:
            call()
        except AssertionError as error:
            yield f"{definition['name']}: {error}"
        except Unsatisfiable:  # an author's schema that no value satisfies
            impossible += 1
    print(
        f"calls                {made:>9,}   {impossible} tools have schemas that nothing satisfies"
    )


def check_types(catalog: ToolCatalog) -> Iterator[str]:
    """Give the package of stubs, and the text for the model, to type checkers."""
    with tempfile.TemporaryDirectory() as folder:
        catalog.write_stubs(folder)
        for number, stubs in enumerate(group(catalog)):  # names are unique within a domain
            Path(folder, f"text_{number}.pyi").write_text(render_catalog([stubs]), encoding="utf-8")
        for name, command in {
            "mypy": ["mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", "."],
            "ty": ["ty", "check", "--python", sys.prefix, "."],
        }.items():
            started = time.perf_counter()
            done = subprocess.run(  # noqa: PLW1510  # the code is looked at below
                [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True
            )
            seconds = time.perf_counter() - started
            verdict = "ok" if done.returncode == 0 else "FAILED"
            print(f"{name:<20} {verdict:>9}   {seconds:.1f} s")
            if done.returncode:
                yield f"{name}: {(done.stdout + done.stderr)[-3000:]}"


# --- how long and how fast ----------------------------------------------------------------------


def measure(definitions: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the seconds to build and to render one catalog of all tools: the least of five.

    Nothing waits here, so the processor's time is the time that an idle machine takes.
    """
    domains = by_server(definitions)
    best = [float("inf"), float("inf")]
    for _ in range(5):
        started = time.process_time()
        catalog = ToolCatalog(domains)
        built = time.process_time()
        catalog.render()
        ended = time.process_time()
        best = [min(best[0], built - started), min(best[1], ended - built)]
    return best[0], best[1]


def report_lengths(
    definitions: Sequence[Mapping[str, Any]], texts: Sequence[str], lines: Sequence[str]
) -> list[str]:
    total = sum(json_chars(d, separators=(", ", ": ")) for d in definitions)
    compact = sum(json_chars(d, separators=(",", ":")) for d in definitions)
    together = ToolCatalog(by_server(definitions))
    print(f"JSON                 {total:>9,} characters   {compact:,} without spaces")
    failures = []
    for label, chars, most in (
        ("stubs, one catalog", len(together.render()), FULL),
        ("stubs, each alone", sum(map(len, texts)), FULL),
        ("lines, one catalog", len(render_lines(together)), LINE),
        ("lines, each alone", sum(map(len, lines)), LINE),
    ):
        print(f"{label:<20} {chars:>9,} characters   {chars / total:.3f}x   {chars / compact:.3f}x")
        if chars > most * total:
            failures.append(f"{label}: {chars / total:.3f}x is over {most}x")
    each = [
        len(text) / json_chars(d, separators=(", ", ": "))
        for d, text in zip(definitions, texts, strict=True)
    ]
    print(f"stubs, tool by tool  {statistics.median(each):>9.3f}x is the median")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--calls", type=int, default=0, help="calls of each tool")
    parser.add_argument("--types", action="store_true", help="run mypy and ty over the stubs")
    parser.add_argument("--show", metavar="NAME", help="print the stub of one tool")
    options = parser.parse_args()
    rows = options.file.read_text(encoding="utf-8").splitlines()
    definitions = [json.loads(row) for row in rows if row.strip()]
    if options.show:
        chosen = [define(d) for d in definitions if d["name"] == options.show]
        print("\n".join(ToolCatalog([d]).render() + render_lines(ToolCatalog([d])) for d in chosen))
        return 0

    texts, lines, failures = check_alone(definitions)
    print(f"definitions          {len(definitions):>9,}   failed {len(failures)}")
    if not failures:
        failures += report_lengths(definitions, texts, lines)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in sorted({min(BIG, len(definitions)), len(definitions)}):
        built, rendered = measure(definitions[:number])
        print(
            f"{f'{number:,} tools':<20} {built:>9.3f} s to build   {rendered * 1000:.0f} ms to render"
        )
        if number <= BIG and (built > BUILD_SECONDS or rendered > RENDER_SECONDS):
            failures.append(f"{number} tools took {built:.2f} s and {rendered * 1000:.0f} ms")
    print(f"memory               {memory // 1024:>9,} MiB at most, with LangChain")
    if options.types:
        failures += check_types(ToolCatalog(by_server(definitions, typed=True)))
    if options.calls:
        failures += check_calls(definitions, options.calls)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
