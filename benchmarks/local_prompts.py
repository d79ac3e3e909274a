"""What return types and examples in the prompt buy a real, small model: the same tasks, four prompts.

    python -m benchmarks.local_prompts [--domain library …] [--every 2] [--answers FOLDER] [--write]

Each task is asked with the tools' return types shown or hidden (`-> Any`), and with the generated
examples or without any. With the types hidden the examples are still those that the types give, as if
the developer had written them. One program is written for each task, and none is corrected. `--write` stores
the answers and writes the tables into `docs/local-models.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.local import Asked, load_model, run
from benchmarks.local_model import LocalModelError
from benchmarks.local_model.answers import Answers
from benchmarks.local_page import (
    PROMPTS,
    read_results,
    render_prompt_failures,
    render_prompts,
    write_page,
)
from benchmarks.stored import results_of, write_dated
from benchmarks.tasks import DOMAINS

WAYS = {
    "types and examples": Asked(attempts=1),
    "examples only": Asked(attempts=1, returns="hidden"),
    "types only": Asked(attempts=1, examples=None),
    "neither": Asked(attempts=1, examples=None, returns="hidden"),
}
"""The prompts compared, by what they add to rules, names, parameters and descriptions."""


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
    parser.add_argument(
        "--write", action="store_true", help="write results and docs/local-models.md"
    )
    options = parser.parse_args(arguments)
    if options.write and (options.domain or options.every > 1):
        parser.error("--write is for a whole run: it goes without --domain and --every")
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
    if options.write:
        command = f"python -m benchmarks.local_prompts --model {options.model}"
        results = results_of(command, model=name, rows=rows)
        write_dated(results, PROMPTS)
        write_page(read_results(), results)
    print(f"{render_prompts(rows)}\n\n{render_prompt_failures(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
