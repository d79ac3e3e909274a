"""The tool calls of an execution in time, as pictures: SVG, which needs nothing, and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_ptc.display.calls import Bar, Gap, Timeline, choose, read_timeline
from langchain_ptc.display.html import COLOURS
from langchain_ptc.display.record import as_record
from langchain_ptc.display.text import escape, one_line, render_seconds

if TYPE_CHECKING:
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

    A thin line is waiting, a full bar is the tool at work; what did not simply return says so in words
    and has another form. The picture follows the light or dark scheme of whoever looks at it, and
    many calls are cut in the middle.

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
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ptc-timeline" role="img" style="max-width:100%;height:auto" width="{_WIDTH}" '
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


def timeline(result: object) -> Figure:
    """Return the tool calls of an execution in time, as a matplotlib figure.

    A thin bar is waiting, a full one the tool at work; what did not simply return says so in words and
    has another form. In a notebook the figure shows itself; elsewhere `figure.savefig("calls.png")`.

    Args:
        result: An `ExecutionResult`, or the dict that its `to_dict()` returns.

    Raises:
        TypeError: `result` is neither.
        ImportError: matplotlib is not installed.
    """
    read = read_timeline(as_record(result))
    try:
        from langchain_ptc.display.figure import build_figure
    except ImportError as error:
        if not (error.name or "").startswith("matplotlib"):
            raise
        raise ImportError(
            "timeline() draws with matplotlib, which is not installed: "
            "pip install 'langchain-ptc[display]'. timeline_svg() needs nothing",
            name=error.name,
        ) from error
    return build_figure(read)
