"""What return types and examples in the prompt buy a real, small model: the same tasks, four prompts.

    python -m benchmarks.local_prompts [--domain library …] [--every 2] [--answers FOLDER] [--json FILE]

Each task is asked with the tools' return types shown or hidden (`-> Any`), and with the generated
examples or without any. With the types hidden the examples are still those that the types give, as if
the developer had written them. One program is written for each task, and none is corrected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.local import Asked, load_model, run
from benchmarks.local_model import LocalModelError
from benchmarks.local_model.answers import Answers
from benchmarks.markdown import table_of
from benchmarks.stored import describe_machine
from benchmarks.tasks import DOMAINS

WAYS = {
    "types and examples": Asked(attempts=1),
    "examples only": Asked(attempts=1, returns="hidden"),
    "types only": Asked(attempts=1, examples=None),
    "neither": Asked(attempts=1, examples=None, returns="hidden"),
}
"""The prompts compared, by what they add to rules, names, parameters and descriptions."""


def render_score(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render how many tasks came out right with each prompt, by domain, and how long the prompt is."""
    domains = list(dict.fromkeys(row["domain"] for row in rows))
    titles = [f"{name} (held out)" if DOMAINS[name].held_out else name for name in domains]
    table = []
    for way in dict.fromkeys(row["way"] for row in rows):
        of_way = [row for row in rows if row["way"] == way]
        rights = [_right([row for row in of_way if row["domain"] == name]) for name in domains]
        read = sum(row["tokens_in"] for row in of_way) / len(of_way)
        written = sum(row["tokens_out"] for row in of_way) / len(of_way)
        table.append([way, *rights, f"**{_right(of_way)}**", f"{read:,.0f}", f"{written:,.0f}"])
    head = ["the prompt has", *titles, "all", "tokens read for a task", "written"]
    return table_of(head, table)


def render_failures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render why tasks came out wrong: a column for each prompt."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    counts = {way: Counter(row["cause"] for row in rows if row["way"] == way) for way in ways}
    causes = sorted(
        {cause for count in counts.values() for cause in count} - {"right"},
        key=lambda cause: (-sum(count[cause] for count in counts.values()), cause),
    )
    return table_of(
        ["cause", *ways], [[cause, *(str(counts[way][cause]) for way in ways)] for cause in causes]
    )


def _right(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(row['cause'] == 'right' for row in rows)} of {len(rows)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status: 0, or 2 without a model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_prompts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="local")
    parser.add_argument("--domain", action="append", choices=[*DOMAINS], help="default: all")
    parser.add_argument(
        "--every", type=int, default=1, help="of the tasks of each domain, the first of each N"
    )
    parser.add_argument("--answers", type=Path, help="folder that keeps answers, to go on later")
    parser.add_argument("--json", type=Path, help="write every answer to this file")
    options = parser.parse_args(arguments)
    names = options.domain or [*DOMAINS]
    domains = [replace(DOMAINS[n], tasks=DOMAINS[n].tasks[:: options.every]) for n in names]
    rows: list[dict[str, Any]] = []
    try:
        with load_model(options.model) as model:
            name = getattr(model, "model_name", None) or options.model
            counted = model.model_copy(update={"cache": Answers(options.answers)})

            async def all_ways() -> None:
                for domain, (way, asked) in product(domains, WAYS.items()):
                    print(way, file=sys.stderr)
                    found = await run(counted, [domain], [asked])
                    rows.extend({"way": way, **asdict(row)} for row in found)

            asyncio.run(all_ways())
    except LocalModelError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        results = {"model": name, "machine": describe_machine(), "rows": rows}
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False), "utf-8")
    print(f"{render_score(rows)}\n\n{render_failures(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
