"""A run of a graph on a terminal, with rich (the extra `display`)."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from langchain_ptc.display.steps import Step, shown_calls, shown_text
from langchain_ptc.display.terminal import render_panel
from langchain_ptc.display.text import count

_WHO_WIDTH = 10


def render_steps(summary: str, steps: Iterable[Step | int]) -> RenderableType:
    """Return a run as text in two columns, with a panel for each execution."""
    parts: list[RenderableType] = [
        Rule(Text(f"run: {summary}", style="dim"), align="left", style="bright_black")
    ]
    for step in steps:
        if isinstance(step, int):
            parts.append(Text(f"… {count(step, 'message')} left out …", style="dim"))
        elif step.record is None:
            parts.append(_render_said(step))
        else:
            parts.append(Padding(render_panel(step.record), (0, 0, 0, _WHO_WIDTH + 1)))
    return Group(*parts)


def _render_said(step: Step) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_WHO_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column(overflow="fold")
    style = "red" if step.is_error else "yellow" if step.who == "waiting" else "dim"
    said = Text(shown_text(step))
    for call in shown_calls(step):
        said.append("\n" if said.plain else "")
        said.append(f"→ {call}", style="bold")
    table.add_row(Text(f"{step.who} ✗" if step.is_error else step.who, style=style), said)
    return table
