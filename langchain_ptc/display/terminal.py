"""Executions, runs and progress on a terminal, with rich (the extra `display`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO, TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from langchain_ptc.display.record import Bar, Gap, Step, Timeline, View, choose, choose_lines
from langchain_ptc.display.text import cut_middle, visible
from langchain_ptc.errors import count, cut

OUTPUT_CHARS, ERROR_CHARS = 8_000, 2_000
CODE_LINES, LINE_CHARS, NOTES, ROWS = 120, 300, 20, 40
NOTE_WIDTH, WHO_WIDTH = 32, 10
REFRESHES_PER_SECOND = 8

_STYLES: Mapping[str, str] = {"good": "green", "bad": "red", "odd": "yellow", "soft": ""}
"""Of moods."""
_FORMS: Mapping[str, tuple[str, str, str]] = {
    "wait": ("╌", "-", "bright_black"),
    "returned": ("━", "=", "blue"),
    "cached": ("┅", ":", "blue"),
    "failed": ("╳", "x", "red"),  # noqa: RUF001  # a cross that fills its cell
    "cancelled": ("┄", "~", "yellow"),
    "unmade": ("○", "o", "yellow"),
}
"""Of a piece of a bar: its character, the same in ASCII, and its colour."""


# --- an execution ---------------------------------------------------------------------------------


def render_panel(data: Mapping[str, Any]) -> RenderableType:
    """Return the record of an execution as a panel; see `View.read`."""
    view = View.read(data)
    style = _STYLES[view.ending.mood]
    return Panel(
        Group(*_render_parts(view)),
        title=Text(f"{view.ending.sign} {view.ending.word}", style=f"bold {style}"),
        title_align="left",
        subtitle=Text(f"{view.timeline.summary} · {view.seconds}", style="dim"),
        subtitle_align="right",
        border_style=style,
        box=box.ROUNDED,
        padding=(0, 1),
    )


def _render_parts(view: View) -> Iterable[RenderableType]:
    yield from _render_code(view)
    if view.failure is not None:
        yield _rule("error")
        message = f": {_cut(view.failure.message)}" if view.failure.message else ""
        yield Text.assemble(view.failure.where, (view.failure.kind, "bold red"), message)
        if view.failure.hint:
            yield Text(f"hint: {_cut(view.failure.hint)}")
    if view.output or view.failure is None:
        yield _rule(f"{view.output_title.lower()}, {view.output_about}")
    if view.output:
        yield Text(_cut(view.output, OUTPUT_CHARS))
    for note in view.notes[:NOTES]:
        yield Text(f"note: {_cut(note)}", style="yellow")
    for name, size, _ in view.files[:NOTES]:
        yield Text(f"file: {_cut(name)} ({size})")
    if view.timeline.bars:
        yield _rule("tool calls")
        yield render_calls(view.timeline)
    if view.comparison:
        yield _rule("against direct calls, estimated")
        yield Text(view.comparison)


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="dim"), align="left", style="bright_black")


def _cut(text: str, limit: int = ERROR_CHARS) -> str:
    return visible(cut_middle(text, limit))


def _render_code(view: View) -> Iterable[RenderableType]:
    lines = [cut(line, LINE_CHARS) for line in visible(view.code).rstrip("\n").split("\n")]
    reached = 0
    for chosen in choose_lines(len(lines), view.marks, CODE_LINES):
        if chosen.start > reached + 1:
            yield Text(
                f"… {count(chosen.start - reached - 1, 'line')} left out here …", style="dim"
            )
        yield Syntax(
            "\n".join(lines[chosen.start - 1 : chosen.stop - 1]),
            "python",
            theme="ansi_dark",
            background_color="default",
            line_numbers=True,
            start_line=chosen.start,
            highlight_lines=set(view.marks),
            word_wrap=True,
        )
        reached = chosen.stop - 1


def render_calls(timeline: Timeline) -> RenderableType:
    """Return the tool calls of an execution as bars in time."""
    shown = choose(timeline.bars, ROWS)
    width = max((len(each.note) for each in shown if isinstance(each, Bar)), default=0)
    table = _grid(min(width, NOTE_WIDTH))
    parts: list[RenderableType] = [table]
    for pause in timeline.pauses[:3]:
        table.add_row(Text(pause.label, style="yellow"), _Track(timeline), "")
    for each in shown:
        if isinstance(each, Gap):
            table.add_row(Text(each.label, style="dim"), "", "")
            continue
        tool, _, arguments = each.label.partition("(")
        style = _STYLES[each.mood]
        called = Text.assemble((f"{tool}(", "bold"), arguments)
        table.add_row(called, _Track(timeline, each), Text(each.note, style=style))
        if each.error:  # as wide as there is room
            table = _grid(min(width, NOTE_WIDTH))
            parts += [Text(f"  {each.error}", style=style), table]
    return Group(*parts)


def _grid(notes: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=5, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=6)
    table.add_column(justify="right", no_wrap=True, overflow="ellipsis", width=notes)
    return table


class _Track:
    """One bar, as wide as there is room."""

    def __init__(self, timeline: Timeline, bar: Bar | None = None) -> None:
        self._timeline = timeline
        self._bar = bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(8, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, plain = options.max_width, options.ascii_only
        cells: list[tuple[str, str]] = [(" ", "")] * width
        for pause in self._timeline.pauses:
            at = min(int(self._timeline.share(pause.at) * width), width - 1)
            cells[at] = ("|" if plain else "┊", "bright_black")
        for form, begin, end in self._timeline.pieces(self._bar) if self._bar else ():
            char, ascii_char, colour = _FORMS[form]
            first = min(int(begin * width), width - 1)
            last = min(max(round(end * width), first + (form != "wait")), width)
            cells[first:last] = [(ascii_char if plain else char, colour)] * (last - first)
        for char, colour in cells:
            yield Segment(char, Style.parse(colour) if colour else None)
        yield Segment.line()


# --- a run ----------------------------------------------------------------------------------------


def render_steps(summary: str, steps: Iterable[Step | int]) -> RenderableType:
    """Return a run as text in two columns, with a panel for each execution."""
    parts: list[RenderableType] = [_rule(f"run: {summary}")]
    for step in steps:
        if isinstance(step, int):
            parts.append(Text(f"… {count(step, 'message')} left out …", style="dim"))
        elif step.record is not None:
            parts.append(Padding(render_panel(step.record), (0, 0, 0, WHO_WIDTH + 1)))
        else:
            table = Table.grid(padding=(0, 1))
            table.add_column(width=WHO_WIDTH, no_wrap=True, overflow="ellipsis")
            table.add_column(overflow="fold")
            said = Text(step.text)
            for call in step.calls:
                said.append("\n" if said.plain else "")
                said.append(f"→ {call}", style="bold")
            table.add_row(Text(step.who, style=_STYLES[step.mood] or "dim"), said)
            parts.append(table)
    return Group(*parts)


# --- while it runs --------------------------------------------------------------------------------

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LINE_STYLES: Mapping[str, str] = {"✓": "green", "✗": "red", "⊘": "red", "◷": "red", "!": "red"}


Running: TypeAlias = list[tuple[float, str, list[str]]]
"""Of each execution that runs: when it started, its calls in words, and the lines below them."""


class Screen:
    """Progress on a terminal: what runs is redrawn, what has ended stays as a line above it."""

    def __init__(self, read: Callable[[], Running], file: TextIO) -> None:
        self._read = read
        self._console = Console(file=file)
        self._shown: Running = []
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def open(self) -> None:
        """Begin to draw."""
        self._live.start()

    def update(self, lines: list[str], event: Mapping[str, Any]) -> None:
        """Show lines that are to stay, and what has changed."""
        del event
        # Read here, under the caller's lock: the thread that draws reads nothing that changes.
        self._shown = self._read()
        if lines:  # or they would be printed above what has gone
            self._live.refresh()
        for line in lines:
            self._console.print(Text(line, style=_LINE_STYLES.get(line[:1], "yellow")))

    def close(self) -> None:
        """Leave nothing but the lines."""
        self._shown = []
        self._live.stop()

    def _draw(self) -> RenderableType:
        drawn = Text(no_wrap=True, overflow="ellipsis")
        for started_at, calls, lines in self._shown:
            seconds = max(0.0, time.time() - started_at)
            drawn.append(f"{_SPINNER[int(time.time() * 8) % len(_SPINNER)]} ", style="green")
            drawn.append(f"running {seconds:.1f} s · {calls}\n")
            drawn.append("".join(f"    {line}\n" for line in lines), style="dim")
        drawn.rstrip()
        return drawn
