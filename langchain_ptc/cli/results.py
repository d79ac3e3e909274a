"""What is shown of an execution when it is over."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TextIO

from langchain_ptc.cli.writing import write_error, write_output
from langchain_ptc.run.plain import render_plain
from langchain_ptc.run.record import ExecutionResult


def render_value(result: ExecutionResult) -> str:
    """Return the value of an execution as text that ends with a line, or nothing if it has none."""
    if result.error is not None or result.value is None:
        return ""
    return f"{render_plain(result.value)}\n"


def tell_failure(result: ExecutionResult, *, quiet: bool) -> None:
    """Write what went wrong to standard error, and what the code should know besides."""
    if result.error is not None:
        report = replace(result, output="", value=None).report()
        write_error(report)
    elif not quiet:
        for note in result.notes:
            write_error(f"note: {note}")


def write_json(out: TextIO, data: Any) -> None:
    """Write data as JSON."""
    write_output(out, f"{json.dumps(data, indent=2, ensure_ascii=False)}\n")
