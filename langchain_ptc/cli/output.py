"""Exit codes, mistakes, and what a person reads: on standard output the result, on standard error the rest.

Models, tools and servers wrote much of this text; control characters in it are shown as signs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from langchain_ptc.display.text import render_seconds, visible
from langchain_ptc.errors import closest, count, did_you_mean
from langchain_ptc.sandbox.api import Status

if TYPE_CHECKING:
    from langchain_ptc.run.events import Event
    from langchain_ptc.run.record import ExecutionResult, ToolCallRecord
    from langchain_ptc.sandbox.host.doctor import Diagnosis

SUCCESS: Final = 0
FAILED: Final = 1
"""It was run and did not succeed: the code raised or was refused, an attack was not stopped."""
MISUSED: Final = 2  # nothing was run: what was typed cannot be used, or something is missing
STOPPED: Final = 3  # a limit stopped the code
INTERRUPTED: Final = 130  # Ctrl-C, as shells number it
_MAX_ERROR_LINES = 6


class CommandError(Exception):
    """What was typed cannot be used, or this machine lacks something; the message says what to do."""


def read_text(path: Path, option: str = "") -> str:
    """Return the text of a file, or raise `CommandError`; `option` names it in messages."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{option}{str(path)!r} is not text in UTF-8: {error}") from error
    except OSError as error:
        close = similar_files(path) if isinstance(error, FileNotFoundError) else ""
        raise CommandError(
            f"{option}{str(path)!r} cannot be read: {error.strerror}{close}"
        ) from error


def similar_files(path: Path) -> str:
    """Return ` (did you mean …?)` for the files beside `path`, of its kind, with similar names."""
    near = path.parent.glob(f"*{path.suffix}") if path.parent.is_dir() else ()
    return did_you_mean(closest(str(path), sorted(map(str, near))))


def exit_code_of(status: Status) -> int:
    """Return the exit code for the end of an execution."""
    if status == "success":
        return SUCCESS
    return STOPPED if status == "limit" else FAILED


def write_error(text: str) -> None:
    """Write a line to standard error, without control characters."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


def write_output(out: TextIO, text: str) -> None:
    """Write text as it is; without control characters if it goes to a terminal."""
    out.write(visible(text) if out.isatty() else text)
    out.flush()


def write_json(out: TextIO, data: Any) -> None:
    """Write data as JSON."""
    write_output(out, f"{json.dumps(data, indent=2, ensure_ascii=False)}\n")


def render_value(result: ExecutionResult) -> str:
    """Return the value of an execution as text that ends with a line, or nothing if it has none."""
    if result.error is not None or result.value is None:
        return ""
    from langchain_ptc.run.plain import render_plain

    return f"{render_plain(result.value)}\n"


def report_failure(result: ExecutionResult, *, quiet: bool) -> None:
    """Report on standard error what went wrong; or the notes, unless it is to be quiet."""
    if result.error is not None:
        write_error(replace(result, output="", value=None).report())
    elif not quiet:
        for note in result.notes:
            write_error(f"note: {note}")


class Reporter:
    """Reports executions on standard error: pass it as `on_event`, and run them inside `with`.

    On a terminal the calls are drawn as bars in time.

    Args:
        shows_code: Whether each program is shown before it runs, and its error afterwards.
        is_live: Whether a terminal shows the calls in flight; not if other text is printed on it too.
    """

    def __init__(self, *, shows_code: bool, is_live: bool) -> None:
        from langchain_ptc.display.progress import LiveProgress

        self._shows_code = shows_code
        self._is_terminal = sys.stderr.isatty()
        self._live = LiveProgress(file=sys.stderr) if is_live and self._is_terminal else None
        self._programs = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if self._live is not None:
            self._live(event)
        match event["event"]:
            case "execution_start":
                self._start(event)
            case "execution_end":
                self._end(event)

    def show_calls(self, result: ExecutionResult) -> None:
        """Show the calls of an execution that is over: as bars on a terminal, as a line for each tool."""
        if not self._is_terminal:
            for line in _render_calls(result):
                write_error(f"  {line}")
        elif result.tool_calls:
            from rich.console import Console

            from langchain_ptc.display.record import read_timeline
            from langchain_ptc.display.terminal import render_calls

            Console(file=sys.stderr).print(render_calls(read_timeline(result.to_dict())))

    def _start(self, event: Event) -> None:
        self._programs += 1
        if not self._shows_code:
            return
        again = f" (attempt {self._programs})" if self._programs > 1 else ""
        write_error(f"The code{again}:")
        for line in str(event["code"]).strip("\n").splitlines():
            write_error(f"  | {line}")

    def _end(self, event: Event) -> None:
        from langchain_ptc.display.progress import render_end

        error = str(event["error"] or "")
        if self._live is None:
            write_error(render_end({**event, "error": None}))
        if self._shows_code:
            for line in error.splitlines()[:_MAX_ERROR_LINES]:
                write_error(f"  {line}")


def _render_calls(result: ExecutionResult) -> Iterator[str]:
    """Render a line for each tool that was called."""
    tools: dict[str, list[ToolCallRecord]] = {}
    for call in result.tool_calls:
        tools.setdefault(call.qualified_name, []).append(call)
    width = max(map(len, tools), default=0)
    for name, calls in tools.items():
        ended = Counter(call.status for call in calls)
        shown = ", ".join(f"{number} {status}" for status, number in ended.items())
        seconds = render_seconds(sum(call.duration_seconds for call in calls) / len(calls))
        size = sum(call.result_bytes for call in calls)
        yield f"{name:<{width}}  {shown}, {seconds} each, {count(size, 'byte')}"


# --- the doctor -----------------------------------------------------------------------------------


def show_diagnosis(*, as_json: bool) -> int:
    """Print what the doctor finds, and return the exit code."""
    from langchain_ptc.sandbox.host.doctor import diagnose

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
        lines += [f"  {layer.name:<30}{layer.detail}" for layer in diagnosis.layers]
    if diagnosis.attacks:
        lines += ["", "attacks, with the language policy off"]
        lines += [f"  {attack.name:<30}{attack.detail}" for attack in diagnosis.attacks]
    if diagnosis.problem:
        lines += ["", f"problem: {diagnosis.problem}"]
    if diagnosis.advice:
        lines += ["", "what to do"]
        lines += [f"  - {advice}" for advice in diagnosis.advice]
    lines += ["", _verdict(diagnosis)]
    return "\n".join(lines)


def _verdict(diagnosis: Diagnosis) -> str:
    if diagnosis.healthy:
        return f"Healthy: ProcessSandbox() runs code at level {diagnosis.required!r}."
    missed = sum(not attack.stopped for attack in diagnosis.attacks)
    holds = any(level.available for level in diagnosis.levels if level.name == diagnosis.required)
    if not holds:
        return f"Not healthy: this machine does not have level {diagnosis.required!r}."
    return f"Not healthy: {missed} of {len(diagnosis.attacks)} attacks were not stopped."
