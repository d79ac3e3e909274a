"""What a person is told on standard error while code runs, and after it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.syntax import Syntax

from langchain_ptc.cli.writing import write_error
from langchain_ptc.display.progress import LiveProgress
from langchain_ptc.display.reading import read_timeline
from langchain_ptc.display.terminal import render_calls
from langchain_ptc.display.text import render_seconds, visible
from langchain_ptc.display.watched import render_end
from langchain_ptc.run.events import Event
from langchain_ptc.run.record import ExecutionResult

_MOST_ERROR_LINES = 6


@dataclass(slots=True)
class _Calls:
    """The calls of one tool."""

    ended: dict[str, int] = field(default_factory=dict)
    """How many, by how they ended."""
    seconds: float = 0.0
    result_bytes: int = 0


class Narrator:
    """Tells of executions from their events: pass it as `on_event`, and run them inside `with`.

    On a terminal the calls are drawn as bars in time, and code is coloured; elsewhere it is plain text.

    Args:
        shows_code: Whether it tells each program before it runs, and how it failed.
        is_live: Whether a terminal shows the calls on their way; not where something else is printed
            on it meanwhile.
    """

    def __init__(self, *, shows_code: bool, is_live: bool) -> None:
        self._shows_code = shows_code
        self._is_terminal = sys.stderr.isatty()
        self._live = LiveProgress(file=sys.stderr) if is_live and self._is_terminal else None
        self._calls: dict[str, _Calls] = {}
        self._programs = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if self._live is not None:
            self._live(event)
        handle = _HANDLERS.get(event["event"])
        if handle is not None:
            handle(self, event)

    def show_calls(self, result: ExecutionResult) -> None:
        """Draw the calls of an execution that is over, on a terminal."""
        if self._is_terminal and result.tool_calls:
            Console(file=sys.stderr).print(render_calls(read_timeline(result.to_dict())))

    def _start(self, event: Event) -> None:
        self._calls = {}
        self._programs += 1
        if not self._shows_code:
            return
        again = f" (attempt {self._programs})" if self._programs > 1 else ""
        write_error(f"The code{again}:")
        code = str(event["code"]).strip("\n")
        if self._is_terminal:
            # Through `sys.stderr` as it is now: what is drawn there is moved out of the way.
            shown = Syntax(
                visible(code),
                "python",
                theme="ansi_dark",
                background_color="default",
                padding=(0, 2),
            )
            Console(file=sys.stderr).print(shown)
        else:
            for line in code.splitlines():
                write_error(f"  | {line}")

    def _end_call(self, event: Event) -> None:
        tool, domain = event["tool"], event["domain"]
        calls = self._calls.setdefault(tool if domain is None else f"{domain}.{tool}", _Calls())
        calls.ended[event["status"]] = calls.ended.get(event["status"], 0) + 1
        calls.seconds += event["duration_seconds"]
        calls.result_bytes += event["result_bytes"]

    def _end(self, event: Event) -> None:
        error = str(event["error"] or "")
        if self._live is None:
            write_error(render_end({**event, "error": None}))
        if self._shows_code:
            for line in error.splitlines()[:_MOST_ERROR_LINES]:
                write_error(f"  {line}")
        if not self._is_terminal:
            for line in _render_calls(self._calls):
                write_error(f"  {line}")


_HANDLERS: Mapping[str, Callable[[Narrator, Event], None]] = {
    "execution_start": Narrator._start,
    "call_end": Narrator._end_call,
    "execution_end": Narrator._end,
}


def _render_calls(calls: Mapping[str, Any]) -> Iterator[str]:
    """Render a line for each tool that was called."""
    width = max(map(len, calls), default=0)
    for name, found in calls.items():
        ended = ", ".join(f"{number} {status}" for status, number in found.ended.items())
        seconds = render_seconds(found.seconds / sum(found.ended.values()))
        yield f"{name:<{width}}  {ended}, {seconds} each, {found.result_bytes:,} bytes"
