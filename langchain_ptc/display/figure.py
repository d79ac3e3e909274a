"""The tool calls of an execution as a matplotlib figure (the extra `display`)."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from langchain_ptc.display.calls import Bar, Gap, Timeline, choose
from langchain_ptc.display.html import COLOURS
from langchain_ptc.display.text import one_line

MAX_ROWS = 60
_NAME_CHARS = 44
_RUN, _WAIT, _BAD, _ODD = (COLOURS[name][0] for name in ("run", "wait", "bad", "odd"))
_FORMS: dict[str, dict[str, Any]] = {
    "returned": {"facecolor": _RUN, "edgecolor": _RUN},
    "cached": {"facecolor": "none", "edgecolor": _RUN, "linestyle": ":"},
    "failed": {"facecolor": "none", "edgecolor": _BAD, "hatch": "//////"},
    "cancelled": {"facecolor": "none", "edgecolor": _ODD, "linestyle": "--"},
    "unmade": {"facecolor": "none", "edgecolor": _ODD},
}
"""How bars look; each with a word beside it, so that colour tells nothing alone."""


class TimelineFigure(Figure):
    """A figure that shows itself in a notebook, whether pyplot was imported or not."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=110)
        return drawn.getvalue()


def build_figure(timeline: Timeline) -> Figure:
    """Return the figure; it is the caller's own, and pyplot knows nothing of it."""
    shown = choose(timeline.bars, MAX_ROWS)
    figure = TimelineFigure(figsize=(9, 0.9 + 0.24 * max(len(shown), 1)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(timeline.summary, loc="left", fontsize=10)
    for row, each in enumerate(shown):
        if not isinstance(each, Gap):
            _draw(axes, each, row)
    for pause in timeline.pauses:
        axes.axvline(pause.at, color=_WAIT, linestyle="--", linewidth=1)
        axes.text(pause.at, -0.7, pause.label, fontsize=7, color=_WAIT, ha="center", va="bottom")
    labels = [_drawable(one_line(each.label, _NAME_CHARS)) for each in shown]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name with two dollars is no formula
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.7 if timeline.pauses else -0.6)
    axes.set_xlim(0, (timeline.seconds or 1.0) * 1.02)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure


def _draw(axes: Axes, bar: Bar, row: int) -> None:
    if bar.waited > 0:
        axes.barh(row, bar.waited, left=bar.begin, height=0.12, color=_WAIT)
    begins = bar.begin + bar.waited
    axes.barh(row, bar.end - begins, left=begins, height=0.55, **_FORMS[bar.kind])
    axes.annotate(
        _drawable(bar.note),
        (bar.end, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=COLOURS[bar.mood][0],
        parse_math=False,
        annotation_clip=False,
    )


def _drawable(text: str) -> str:
    """Return `text` with a box for each character that the font lacks; matplotlib would warn."""
    font = get_font(findfont(FontProperties()))
    return "".join(char if font.get_char_index(ord(char)) else "□" for char in text)
