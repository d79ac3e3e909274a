"""Run a file of attacks against the sandbox, by each wall alone and by both, and say what got through.

The file has one JSON object a line: `name`, `code`, `proof` (`{"kind": ..., "value": ...}`), and
optionally `category` and `informational`; `tests/escapes/attacks_host.py` says what the kinds mean.

Run: python benchmarks/attacks.py FILE [--all] [--mode kernel|language|both] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HOST = Path(__file__).parents[1] / "tests" / "escapes" / "attacks_host.py"
PORT = 48911
"""Where such files expect the host to listen."""
MODES = ("kernel", "language", "both")


def run_host(attacks: list[dict], mode: str) -> dict[str, dict]:
    """Run attacks in a host of their own and return the verdicts by name."""
    with tempfile.TemporaryDirectory(prefix="canary-") as canary:
        ran = subprocess.run(
            [sys.executable, str(HOST), mode, canary, str(PORT)],
            input=json.dumps(attacks),
            text=True,
            stdout=subprocess.PIPE,
            check=False,
        )
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    verdicts = {line["name"]: line for line in told if "name" in line}
    if ran.returncode:
        begun = [line["begins"] for line in told if "begins" in line]
        sys.exit(f"the host died ({ran.returncode}) of: {begun[-1:]}")
    return verdicts


def print_table(attacks: list[dict], told: dict[str, dict[str, dict]], *, all_rows: bool) -> None:
    """Print what showed, one row for an attack, and the sums."""
    modes = list(told)
    print(f"{'attack':<34}{'proof':<14}" + "".join(f"{mode:<26}" for mode in modes))
    for attack in attacks:
        row = [told[mode][attack["name"]] for mode in modes]
        if not all_rows and not any(verdict["shown"] for verdict in row):
            continue
        mark = " (informational)" if attack.get("informational") else ""
        cells = [
            f"{'SHOWS ' + '|'.join(v['shown']) if v['shown'] else v['status']} {v['seconds']:.2f}s"
            for v in row
        ]
        print(
            f"{attack['name']:<34}{attack['proof']['kind']:<14}"
            + "".join(f"{cell:<26}" for cell in cells)
            + mark
        )
        for mode, verdict in zip(modes, row, strict=True):
            if verdict["shown"]:
                print(f"    {mode}: {verdict['told'][:140]!r}")
    print()
    for mode in modes:
        verdicts = told[mode].values()
        shown = sum(bool(verdict["shown"]) for verdict in verdicts)
        print(
            f"{mode}: {len(told[mode]) - shown} of {len(told[mode])} stopped; longest "
            f"{max(v['seconds'] for v in verdicts):.2f} s, host grew by at most "
            f"{max(v['growth_mb'] for v in verdicts):.1f} MB, largest worker "
            f"{max(v['worker_mb'] for v in verdicts):.0f} MB"
        )


def main() -> None:
    """Read the file, run it in each mode and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--all", action="store_true", help="a row for each attack")
    parser.add_argument("--mode", choices=MODES, action="append", help="this mode only")
    parser.add_argument("--only", action="append", help="this attack only")
    asked = parser.parse_args()
    attacks = [json.loads(line) for line in asked.file.read_text("utf-8").splitlines()]
    if asked.only:
        attacks = [attack for attack in attacks if attack["name"] in asked.only]
    told = {mode: run_host(attacks, mode) for mode in asked.mode or MODES}
    print_table(attacks, told, all_rows=asked.all)


if __name__ == "__main__":
    main()
