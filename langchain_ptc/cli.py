"""The command line: `langchain-ptc doctor`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_ptc.sandbox.doctor import Diagnosis

_PROGRAM = "langchain-ptc"
_WELL, _UNWELL, _MISUSED, _INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands behind the program's name; by default the process's own.

    Returns:
        The exit code: 0 if all is well, 1 if not, 2 if the command was misused.
    """
    parser = _build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as error:  # argparse has said why, or has shown the help
        return error.code if isinstance(error.code, int) else _MISUSED
    if options.command is None:
        parser.print_usage(sys.stderr)
        return _MISUSED
    try:
        code = _doctor(as_json=options.json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNWELL
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Programmatic tool calling for LangChain and LangGraph."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    doctor = commands.add_parser(
        "doctor",
        help="show what holds code in on this machine, and prove it by a few attacks",
        description=(
            "Show the levels and layers of confinement that this machine has, and run a few "
            "harmless attacks in a worker whose language policy is off. Exits with 0 if "
            "ProcessSandbox() works here and every attack was stopped, with 1 if not."
        ),
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _doctor(*, as_json: bool) -> int:
    from langchain_ptc.sandbox.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print(json.dumps({**asdict(diagnosis), "healthy": diagnosis.healthy}, indent=2))
    else:
        print(render_diagnosis(diagnosis))
    return _WELL if diagnosis.healthy else _UNWELL


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """Render what the doctor found as plain text."""
    lines = [
        f"system  {diagnosis.system}",
        f"python  {diagnosis.python}",
        f"user    {diagnosis.user}",
        "",
        "levels",
    ]
    for level in diagnosis.levels:
        has = "yes" if level.available else "no"
        default = "  (what ProcessSandbox() asks for)" if level.name == diagnosis.required else ""
        lines.append(f"  {level.name:<30}{has:<5}{level.meaning}{default}")
    if diagnosis.layers:
        lines += ["", "layers"]
        lines += [f"  {layer.name:<30}{layer.told}" for layer in diagnosis.layers]
    if diagnosis.attacks:
        lines += ["", "attacks, with the language policy off"]
        lines += [f"  {attack.name:<30}{attack.told}" for attack in diagnosis.attacks]
    if diagnosis.problem:
        lines += ["", f"problem: {diagnosis.problem}"]
    if diagnosis.advice:
        lines += ["", "what to do"]
        lines += [f"  - {advice}" for advice in diagnosis.advice]
    lines += ["", _verdict(diagnosis)]
    return "\n".join(lines)


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.healthy:
        return f"All is well: ProcessSandbox() runs code at level {diagnosis.required!r}."
    missed = sum(not attack.stopped for attack in diagnosis.attacks)
    holds = any(level.available for level in diagnosis.levels if level.name == diagnosis.required)
    if not holds:
        return f"Not well: this machine does not have level {diagnosis.required!r}."
    return f"Not well: {missed} of {len(diagnosis.attacks)} attacks were not stopped."
