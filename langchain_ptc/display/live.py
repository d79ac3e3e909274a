"""Executions while they run, on a terminal, with rich (the extra `display`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from langchain_ptc.display.watched import Watch, Watched

REFRESHES_PER_SECOND = 8
_STYLES = {"✓": "green", "✗": "red", "⊘": "red", "◷": "red", "!": "red"}


class Terminal:
    """A terminal: what runs is drawn anew, what has ended stays as a line above it."""

    def __init__(self, watch: Watch, file: TextIO) -> None:
        self._watch = watch
        self._console = Console(file=file)
        self._spinner = Spinner("dots")
        self._shown: RenderableType = Text("")
        self._live = Live(
            console=self._console,
            get_renderable=lambda: self._shown,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def open(self) -> None:
        """Begin to draw."""
        self._live.start()

    def tell(self, lines: list[str], event: Mapping[str, Any]) -> None:
        """Show lines that are to stay, and what has changed."""
        del event
        # Built here, under the caller's lock: the thread that draws reads nothing that changes.
        self._shown = Group(*map(self._render, self._watch.running.values()))
        if lines:  # or they would be printed above what has gone
            self._live.refresh()
        for line in lines:
            self._console.print(Text(line, style=_STYLES.get(line[:1], "yellow")))

    def close(self) -> None:
        """Leave nothing but the lines."""
        self._shown = Text("")
        self._live.stop()

    def _render(self, watched: Watched) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, _Headline(watched.started_at, str(watched.calls)))
        tools = Table.grid(padding=(0, 2))
        for name, told in watched.tool_lines():
            tools.add_row(Text(f"  {name}", style="bold"), Text(told, style="dim"))
        output = [Text(f"  {line}", style="cyan") for line in watched.output_lines()]
        for line in output:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(head, tools, *output)


class _Headline:
    """How long it has run, by the clock at the time of drawing."""

    def __init__(self, started_at: float, calls: str) -> None:
        self._started_at = started_at
        self._calls = calls

    def __rich__(self) -> Text:
        seconds = max(0.0, time.time() - self._started_at)
        return Text(f"running {seconds:.1f} s · {self._calls}")
