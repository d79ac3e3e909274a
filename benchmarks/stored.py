"""Results on disk: a file of JSON for each date, and the machine that they were taken on."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.markdown import PageError

Results = Mapping[str, Any]

RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("langchain", "langgraph", "langchain-core")


def read_newest(folder: Path, command: str) -> Results:
    """Read the newest results.

    Args:
        folder: Where they are.
        command: What makes them.

    Raises:
        PageError: There are none.
    """
    files = sorted(folder.glob("????-??-??.json"))
    if not files:
        raise PageError(f"no results in {folder.name!r}: run `{command}` first")
    results: Results = json.loads(files[-1].read_text("utf-8"))
    return results


def write_dated(results: Results, folder: Path) -> Path:
    """Write results under their date; a line for each figure, so that they can be compared."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results['date']}.json"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def results_of(command: str, **measured: Any) -> dict[str, Any]:
    """Return what a command has measured today, on this machine."""
    date = datetime.date.today().isoformat()
    return {"date": date, "command": command, "machine": describe_machine(), **measured}


def describe_machine() -> dict[str, str]:
    """Describe the machine in words, without its name."""
    words = f"{os.cpu_count()} shared cores, {platform.system()} on {platform.machine()}"
    return {
        "words": words,
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }
