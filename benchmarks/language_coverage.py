"""How much of plain Python runs in the sandbox, untouched.

    python benchmarks/language_coverage.py programs.jsonl [--sandbox process|inprocess] [--files]

Each line of the file is a JSON object with the source in `code`, and an `id` if there is one. Every
program runs in its own execution under the default policy. Printed are the rate, each cause with
its number, and each program that did not run with the reason, its kind first: `refused` is the
language's, `error` the program's own, `limit` a limit's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor


class Coverage:
    """Runs programs and counts what came of them."""

    def __init__(self, executor: ProgrammaticToolExecutor) -> None:
        self._executor = executor
        self.causes: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []
        self.ran = 0

    def run_program(self, code: str) -> tuple[bool, str]:
        """Run one program; return whether it ran, and if not why not, in one line."""
        result = self._executor.execute(code)
        if result.status == "success":
            return True, ""
        first_line = result.error.message.partition("\n")[0] if result.error else ""
        return False, f"{result.status}: {first_line}"

    def add(self, name: str, code: str) -> None:
        ok, reason = self.run_program(code)
        if ok:
            self.ran += 1
            return
        self.failures.append((name, reason))
        self.causes[reason.partition(":")[0]] += 1


def read_programs(path: Path) -> list[tuple[str, str]]:
    """Return name and source of each program in a file of JSON lines."""
    programs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            record = json.loads(line)
            programs.append((str(record.get("id", number)), record["code"]))
    return programs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="JSON lines with `code`")
    parser.add_argument("--sandbox", choices=["process", "inprocess"], default="process")
    parser.add_argument("--files", action="store_true", help="give the code a folder for files")
    parser.add_argument("--wall-seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    is_process = options.sandbox == "process"
    sandbox = ProcessSandbox(files=options.files) if is_process else InProcessSandbox()
    programs = read_programs(options.file)
    started = time.perf_counter()
    with sandbox:
        limits = Limits(wall_seconds=options.wall_seconds)
        coverage = Coverage(ProgrammaticToolExecutor([], limits=limits, sandbox=sandbox))
        for name, code in programs:
            coverage.add(name, code)
    seconds = time.perf_counter() - started
    total = len(programs)
    print(
        f"{coverage.ran} of {total} programs ran ({coverage.ran / max(total, 1):.2%}), {seconds:.1f} s"
    )
    for cause, count in coverage.causes.most_common():
        print(f"  {count:5d}  {cause}")
    for name, reason in coverage.failures:
        print(f"{name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
