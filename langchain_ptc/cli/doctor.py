"""`langchain-ptc doctor`: what holds code in on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from langchain_ptc.cli.exits import FAILED, SUCCESS
from langchain_ptc.cli.options import AsJson
from langchain_ptc.sandbox.host.doctor import Diagnosis, diagnose


def doctor(*, as_json: AsJson = False) -> int:
    """Show what holds code in on this machine, and prove it by a few attacks.

    Shows the levels and layers of confinement that this machine has, and runs a few harmless attacks
    in a worker whose language policy is off.

    Exits with 0 if ProcessSandbox() works here and every attack was stopped, with 1 if not.
    """
    diagnosis = diagnose()
    if as_json:
        told = json.dumps({**asdict(diagnosis), "healthy": diagnosis.healthy}, indent=2)
    else:
        told = render_diagnosis(diagnosis)
    sys.stdout.write(f"{told}\n")
    return SUCCESS if diagnosis.healthy else FAILED


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
