"""The work of `langchain-ptc doctor`: what confines code on this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict

from langchain_ptc.cli.output import FAILED, SUCCESS, write_json
from langchain_ptc.sandbox.host.doctor import Diagnosis, diagnose


def show_diagnosis(*, as_json: bool) -> int:
    """Print what the doctor finds, and return the exit code."""
    diagnosis = diagnose()
    if as_json:
        write_json(sys.stdout, {**asdict(diagnosis), "healthy": diagnosis.healthy})
    else:
        sys.stdout.write(f"{render_diagnosis(diagnosis)}\n")
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
