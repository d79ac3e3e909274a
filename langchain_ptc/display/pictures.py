"""The tool calls of an execution in time, as pictures: SVG, which needs nothing, and a figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_ptc.display.calls import Bar, Gap, Timeline, choose, read_timeline
from langchain_ptc.display.html import COLOURS
from langchain_ptc.display.record import as_record
from langchain_ptc.display.text import escape, one_line, render_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _MARGIN = 880, 16
_NAMES, _TRACK, _NOTES = 300, 372, 152
_GAP = 12
_TRACK_X = _MARGIN + _NAMES + _GAP
_NOTES_X = _TRACK_X + _TRACK + _GAP
_TOP, _ROW = 48, 20
_NAME_CHARS, _NOTE_CHARS = 41, 24
MAX_ROWS = 60
MAX_PAUSES = 20


_PAINT = {
    "bg": "fill:{bg};stroke:{line}",
    "soft": "fill:{soft}",
    "bad": "fill:{bad}",
    "odd": "fill:{odd}",
    "rule": "stroke:{line}",
    "wait": "stroke:{wait}",
    "pause": "stroke:{soft}",
    "returned": "fill:{run}",
    "cached": "stroke:{run}",
    "failed": "stroke:{bad}",
    "cancelled": "stroke:{odd}",
    "unmade": "stroke:{odd}",
}
"""Of each class, its colours. No variables: not all that draws SVG knows them."""


def _rules(ground: int) -> str:
    colours = {name: pair[ground] for name, pair in COLOURS.items()}
    paint = {"text": "fill:{fg}", **{f".{name}": rule for name, rule in _PAINT.items()}}
    return "".join(
        f".ptc-timeline {name}{{{rule.format_map(colours)}}}" for name, rule in paint.items()
    )


_STYLE = (
    f"<style>{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}"
    ".ptc-timeline text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    ".ptc-timeline .name{font:11.5px ui-monospace,SFMono-Regular,Menlo,Consolas,"
    "'DejaVu Sans Mono',monospace}"
    ".ptc-timeline .cached,.ptc-timeline .cancelled,.ptc-timeline .unmade,"
    ".ptc-timeline .failed{fill:none}"
    ".ptc-timeline .cached{stroke-dasharray:1 2}.ptc-timeline .cancelled{stroke-dasharray:4 2}"
    "</style>"
)


def timeline_svg(result: object) -> str:
    """Return the tool calls of an execution in time, as an SVG document.

    A thin line is waiting, a full bar is the tool running; calls that did not simply return have another
    form and a note. The picture follows the reader's light or dark theme, and of many calls those in the
    middle are left out.

    Args:
        result: An `ExecutionResult`, or the dict that its `to_dict()` returns.

    Raises:
        TypeError: `result` is neither.
    """
    timeline = read_timeline(as_record(result))
    shown = choose(timeline.bars, MAX_ROWS)
    rows = [_render_row(each, timeline, _TOP + _ROW * row) for row, each in enumerate(shown)]
    y = _TOP + _ROW * len(shown)
    title = f"{timeline.summary} · {render_seconds(timeline.seconds)}"
    height = y + _MARGIN - 4
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="ptc-timeline" role="img" '
        f'style="max-width:100%;height:auto" width="{_WIDTH}" '
        f'height="{height}" viewBox="0 0 {_WIDTH} {height}"><title>{escape(title)}</title>{_STYLE}'
        f'<rect class="bg" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
        f'<text x="{_MARGIN}" y="26">{escape(timeline.summary)}</text>'
        f"{_render_axis(timeline, y)}{''.join(rows)}</svg>\n"
    )


def _render_axis(timeline: Timeline, bottom: int) -> str:
    right, whole = _TRACK_X + _TRACK, render_seconds(timeline.seconds)
    parts = [
        f'<text class="soft" x="{_TRACK_X}" y="26">0</text>',
        f'<text class="soft" x="{right}" y="26" text-anchor="end">{whole}</text>',
        *(
            f'<line class="rule" x1="{x}" y1="34" x2="{x}" y2="{bottom}"/>'
            for x in (_TRACK_X, _TRACK_X + _TRACK / 2, right)
        ),
    ]
    for pause in timeline.pauses[:MAX_PAUSES]:
        x = f"{_x(timeline.share(pause.at)):.1f}"
        parts.append(
            f'<line class="pause" stroke-dasharray="3 3" x1="{x}" y1="34" x2="{x}" y2="{bottom}">'
            f'<title>{pause.label}</title></line><text class="soft" x="{x}" y="44" text-anchor="middle" '
            f'style="font-size:10px">{pause.label}</text>'
        )
    return "".join(parts)


def _x(share: float) -> float:
    return _TRACK_X + share * _TRACK


def _render_row(bar: Bar | Gap, timeline: Timeline, y: int) -> str:
    if isinstance(bar, Gap):
        return f'<text class="soft" x="{_MARGIN}" y="{y + 14}">{bar.label}</text>'
    tip = f"<title>{escape(bar.error)}</title>" if bar.error else ""
    return (
        f'<g>{tip}<svg x="{_MARGIN}" y="{y}" width="{_NAMES}" height="{_ROW}">'
        f'<text class="name" y="14">{escape(one_line(bar.label, _NAME_CHARS))}</text></svg>'
        f"{_render_bar(bar, timeline, y + _ROW // 2)}"
        f'<svg x="{_NOTES_X}" y="{y}" width="{_NOTES}" height="{_ROW}">'
        f'<text class="{bar.mood}" y="14">{escape(one_line(bar.note, _NOTE_CHARS))}</text></svg></g>'
    )


def _render_bar(bar: Bar, timeline: Timeline, y: int) -> str:
    parts = []
    for form, begin, end in timeline.pieces(bar):
        left, right = _x(begin), _x(end)
        line = f'x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}"'
        if form == "wait":
            parts.append(f'<line class="wait" stroke-width="2" {line}/>')
            continue
        width = max(right - left, 2.0)
        parts.append(
            f'<rect class="{form}" x="{left:.1f}" y="{y - 4}" width="{width:.1f}" height="8" rx="1"/>'
        )
        if form == "failed":  # stripes, without a pattern: its id would meet others on one page
            parts.append(f'<line class="failed" stroke-width="8" stroke-dasharray="2 2" {line}/>')
    return "".join(parts)


# --- the figure, with matplotlib (the extra `display`) --------------------------------------------

_LABEL_CHARS = 44
_RUN, _WAIT, _BAD, _ODD = (COLOURS[name][0] for name in ("run", "wait", "bad", "odd"))
_FORMS: dict[str, dict[str, Any]] = {
    "returned": {"facecolor": _RUN, "edgecolor": _RUN},
    "cached": {"facecolor": "none", "edgecolor": _RUN, "linestyle": ":"},
    "failed": {"facecolor": "none", "edgecolor": _BAD, "hatch": "//////"},
    "cancelled": {"facecolor": "none", "edgecolor": _ODD, "linestyle": "--"},
    "unmade": {"facecolor": "none", "edgecolor": _ODD},
}
"""How bars look; each has a note in words, so that nothing depends on colour alone."""


def timeline(result: object) -> Figure:
    """Return the tool calls of an execution in time, as a matplotlib figure.

    A thin bar is waiting, a full one the tool running; calls that did not simply return have another form
    and a note. In a notebook the figure displays itself; elsewhere use `figure.savefig("calls.png")`.

    Args:
        result: An `ExecutionResult`, or the dict that its `to_dict()` returns.

    Raises:
        TypeError: `result` is neither.
        ImportError: matplotlib is not installed.
    """
    read = read_timeline(as_record(result))
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "timeline() draws with matplotlib, which is not installed: "
            "pip install 'langchain-ptc[display]'. timeline_svg() needs nothing",
            name=error.name,
        ) from error

    class TimelineFigure(Figure):
        """A figure that shows itself in a notebook, whether pyplot was imported or not."""

        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=110)
            return drawn.getvalue()

    shown = choose(read.bars, MAX_ROWS)
    figure = TimelineFigure(figsize=(9, 0.9 + 0.24 * max(len(shown), 1)), layout="constrained")
    _draw(figure.add_subplot(), read, shown)
    return figure


def _draw(axes: Axes, timeline: Timeline, shown: Sequence[Bar | Gap]) -> None:
    axes.set_title(timeline.summary, loc="left", fontsize=10)
    for row, each in enumerate(shown):
        if not isinstance(each, Gap):
            _draw_bar(axes, each, row)
    for pause in timeline.pauses:
        axes.axvline(pause.at, color=_WAIT, linestyle="--", linewidth=1)
        axes.text(pause.at, -0.7, pause.label, fontsize=7, color=_WAIT, ha="center", va="bottom")
    labels = [_drawable(one_line(each.label, _LABEL_CHARS)) for each in shown]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name with two dollars is not a formula
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.7 if timeline.pauses else -0.6)
    axes.set_xlim(0, (timeline.seconds or 1.0) * 1.02)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_bar(axes: Axes, bar: Bar, row: int) -> None:
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
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(char if font.get_char_index(ord(char)) else "□" for char in text)
