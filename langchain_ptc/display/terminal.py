"""An execution's record on a terminal, with rich (the extra `display`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from langchain_ptc.display import saving
from langchain_ptc.display.listing import choose_lines, find_marks
from langchain_ptc.display.reading import (
    Bar,
    Gap,
    Timeline,
    choose,
    ending_of,
    read_number,
    read_timeline,
)
from langchain_ptc.display.result import describe_output, render_gap
from langchain_ptc.display.text import (
    cut_middle,
    one_line,
    render_json,
    render_seconds,
    visible,
)

MOODS: Mapping[str, str] = {"good": "green", "bad": "red", "odd": "yellow"}
MOST_OUTPUT_CHARS = 8_000
MOST_VALUE_CHARS = 2_000
MOST_ERROR_CHARS = 2_000
MOST_LINES = 120
MOST_LINE_CHARS = 300
MOST_ROWS = 40
MOST_NOTE_CHARS = 32

_FORMS: Mapping[str, tuple[str, str, str]] = {
    "wait": ("╌", "-", "bright_black"),
    "returned": ("━", "=", "blue"),
    "cached": ("┅", ":", "blue"),
    "failed": ("╳", "x", "red"),  # noqa: RUF001  # a cross that fills its cell
    "cancelled": ("┄", "~", "yellow"),
    "unmade": ("○", "o", "yellow"),
}
"""Of a piece of a bar: its character, the same in ASCII, and its colour."""


def render_panel(data: Mapping[str, Any]) -> RenderableType:
    """Return the record of an execution as a panel.

    Args:
        data: What `ExecutionResult.to_dict()` returns, and `report_bytes`, the size of what the model
            read of it, if the panel is to say what the code saved.
    """
    timeline = read_timeline(data)
    ending = ending_of(data["status"])
    mood = MOODS[ending.mood]
    seconds = render_seconds(read_number(data.get("duration_seconds")))
    return Panel(
        Group(*_render_parts(data, timeline)),
        title=Text(f"{ending.sign} {ending.word}", style=f"bold {mood}"),
        title_align="left",
        subtitle=Text(f"{timeline.summary} · {seconds}", style="dim"),
        subtitle_align="right",
        border_style=mood,
        box=box.ROUNDED,
        padding=(0, 1),
    )


def _render_parts(data: Mapping[str, Any], timeline: Timeline) -> Iterable[RenderableType]:
    yield from _render_code(data)
    yield from _render_error(data)
    output, value = str(data["output"]), data.get("value")
    if output.strip():
        yield _rule(f"output, {describe_output(data)}")
        yield Text(visible(cut_middle(output.strip("\n"), MOST_OUTPUT_CHARS)))
    elif value is not None and data.get("error") is None:
        yield _rule("value; nothing was printed")
        yield Text(visible(cut_middle(render_json(value), MOST_VALUE_CHARS)))
    elif data.get("error") is None:
        yield _rule("nothing was printed")
    for note in list(data.get("notes") or ())[:20]:
        yield Text(f"note: {visible(cut_middle(str(note), MOST_ERROR_CHARS))}", style="yellow")
    if timeline.bars:
        yield _rule("tool calls")
        yield render_calls(timeline)
    comparison = saving.compare(data, timeline)
    if comparison is not None:
        yield _rule("against direct calls, estimated")
        yield Text(saving.headline(comparison))


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="dim"), align="left", style="bright_black")


def _render_code(data: Mapping[str, Any]) -> Iterable[RenderableType]:
    marks = find_marks(data)
    lines = [
        line if len(line) <= MOST_LINE_CHARS else f"{line[:MOST_LINE_CHARS]}…"
        for line in visible(str(data["code"])).rstrip("\n").split("\n")
    ]
    reached = 0
    for chosen in choose_lines(len(lines), marks, MOST_LINES):
        if chosen.start > reached + 1:
            yield Text(f"… {chosen.start - reached - 1:,} lines are left out here …", style="dim")
        yield Syntax(
            "\n".join(lines[chosen.start - 1 : chosen.stop - 1]),
            "python",
            theme="ansi_dark",
            background_color="default",
            line_numbers=True,
            start_line=chosen.start,
            highlight_lines=set(marks),
            word_wrap=True,
        )
        reached = chosen.stop - 1


def _render_error(data: Mapping[str, Any]) -> Iterable[RenderableType]:
    error = data.get("error")
    if not isinstance(error, Mapping):
        return
    yield _rule("error")
    line = error.get("line")
    told = Text(f"line {line}: " if isinstance(line, int) and line > 0 else "")
    told.append(one_line(str(error.get("kind") or "error"), 80), style="bold red")
    if message := str(error.get("message") or ""):
        told.append(f": {visible(cut_middle(message, MOST_ERROR_CHARS))}")
    yield told
    if hint := error.get("hint"):
        yield Text(f"hint: {visible(cut_middle(str(hint), MOST_ERROR_CHARS))}")


def render_calls(timeline: Timeline) -> RenderableType:
    """Return the tool calls of an execution as bars in time."""
    shown = choose(timeline.bars, MOST_ROWS)
    width = max((len(_note_of(each)) for each in shown if isinstance(each, Bar)), default=0)
    width = min(width, MOST_NOTE_CHARS)
    table = _grid(width)
    parts: list[RenderableType] = [table]
    for pause in timeline.pauses[:3]:
        waited = render_seconds(pause.seconds)
        table.add_row(Text(f"paused for {waited}", style="yellow"), _Track(timeline), "")
    for each in shown:
        if isinstance(each, Gap):
            table.add_row(Text(render_gap(each), style="dim"), "", "")
            continue
        called = Text(f"{each.tool}(", style="bold")
        called.append(f"{each.arguments})", style="not bold")
        mood = {"returned": "", "failed": "red"}.get(each.status, "yellow")
        table.add_row(called, _Track(timeline, each), Text(_note_of(each), style=mood))
        if each.error and each.status != "cancelled":  # as wide as there is room
            table = _grid(width)
            parts += [Text(f"  {each.error}", style=mood), table]
    return Group(*parts)


def _grid(notes: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=5, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=6)
    table.add_column(justify="right", no_wrap=True, overflow="ellipsis", width=notes)
    return table


def _note_of(bar: Bar) -> str:
    return " · ".join([render_seconds(bar.seconds), *bar.marks])


class _Track:
    """One bar, as wide as there is room."""

    def __init__(self, timeline: Timeline, bar: Bar | None = None) -> None:
        self._timeline = timeline
        self._bar = bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(8, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        ascii_only = options.ascii_only
        scale = width / (self._timeline.seconds or 1.0)
        cells: list[tuple[str, str]] = [(" ", "")] * width

        def draw(form: str, begin: float, end: float, *, least: int) -> None:
            char, plain, colour = _FORMS[form]
            first = min(int(begin * scale), width - 1)
            last = min(max(round(end * scale), first + least), width)
            cells[first:last] = [(plain if ascii_only else char, colour)] * (last - first)

        for pause in self._timeline.pauses:
            at = min(int(pause.at * scale), width - 1)
            cells[at] = ("|" if ascii_only else "┊", "bright_black")
        if (bar := self._bar) is not None:
            begins = bar.begin + bar.waited
            draw("wait", bar.begin, begins, least=0)
            draw(bar.kind, begins, bar.end, least=1)
        for char, colour in cells:
            yield Segment(char, Style.parse(colour) if colour else None)
        yield Segment.line()
