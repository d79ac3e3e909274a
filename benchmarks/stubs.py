"""How long stubs are beside the JSON definitions they stand for, and how fast they are made.

    python benchmarks/stubs.py DEFINITIONS.jsonl [--show NAME]

Each line of the file is a tool definition: `{"name", "description", "parameters", "server"?}`, with
the parameters as JSON Schema. Every definition is wrapped as a LangChain tool, rendered in a catalog
of its own and, together with the other tools of its server, in one catalog with a domain for each
server; every stub is parsed and run. Characters of JSON are those of
`{"name", "description", "parameters"}`, as `json.dumps` writes it by default and without spaces.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool

from langchain_ptc.catalog.catalog import ToolCatalog

TARGET = 0.70
"""Characters of stub for one character of JSON, with all tools in one catalog."""


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def wrap(definition: Mapping[str, Any]) -> StructuredTool:
    return StructuredTool(
        name=definition["name"],
        description=definition.get("description") or "",
        args_schema=definition["parameters"],
        coroutine=echo,
    )


def json_chars(definition: Mapping[str, Any], *, separators: tuple[str, str]) -> int:
    shown = {key: definition.get(key) for key in ("name", "description", "parameters")}
    return len(json.dumps(shown, ensure_ascii=False, separators=separators))


def by_server(definitions: Sequence[Mapping[str, Any]]) -> dict[str, list[StructuredTool]]:
    """Group tools into domains; those whose name is taken there go to a further one."""
    domains: dict[str, dict[str, StructuredTool]] = {}
    for definition in definitions:
        tool = wrap(definition)
        name = ToolCatalog([tool]).names[0]
        server = definition.get("server") or "misc"
        number = 1
        while name in domains.setdefault(f"{server} {number}", {}):
            number += 1
        domains[f"{server} {number}"][name] = tool
    return {domain: list(tools.values()) for domain, tools in domains.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--show", metavar="NAME", help="print the stub of one tool")
    options = parser.parse_args()
    lines = options.file.read_text(encoding="utf-8").splitlines()
    definitions = [json.loads(line) for line in lines if line.strip()]
    total = sum(json_chars(d, separators=(", ", ": ")) for d in definitions)
    compact = sum(json_chars(d, separators=(",", ":")) for d in definitions)

    alone, failures, seconds = 0, 0, 0.0
    for definition in definitions:
        try:
            tool = wrap(definition)
            started = time.perf_counter()
            text = ToolCatalog([tool]).render()
            seconds += time.perf_counter() - started
            exec(compile(ast.parse(text), definition["name"], "exec", dont_inherit=True), {})
        except Exception as error:
            failures += 1
            print(f"{definition['name']}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        alone += len(text)
        if definition["name"] == options.show:
            print(text)

    domains = by_server(definitions)
    started = time.perf_counter()
    catalog = ToolCatalog(domains)
    built = time.perf_counter() - started
    started = time.perf_counter()
    together = len(catalog.render())
    rendered = time.perf_counter() - started

    print(f"definitions          {len(definitions):>9,}   failed {failures}")
    print(f"JSON                 {total:>9,} characters   {compact:,} without spaces")
    for label, chars in (("stubs, one catalog", together), ("stubs, each alone", alone)):
        print(f"{label:<20} {chars:>9,} characters   {chars / total:.3f}x   {chars / compact:.3f}x")
    print(f"rate, each alone     {len(definitions) / seconds:>9,.0f} tools a second")
    print(f"one catalog          {built:>9.2f} s to build, {rendered * 1000:.0f} ms to render")
    return 0 if failures == 0 and together <= TARGET * total else 1


if __name__ == "__main__":
    sys.exit(main())
