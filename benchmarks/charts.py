"""Charts as SVG, drawn by hand: no dependency, and readable in light and in dark.

Colours follow the reader's scheme by a media query in the image itself; the background is drawn too,
so that text and background always fit each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

_STYLE = """\
svg{--paper:#fff;--edge:#d8dee6;--ink:#1b2430;--soft:#5b6675;--grid:#e6eaef;--shade:#f4f1ea;
--a:#a7b0bd;--b:#6a7687;--c:#2463d6;--d:#0f8f79;--e:#b4540a}
@media(prefers-color-scheme:dark){svg{--paper:#12171e;--edge:#323c48;--ink:#e8edf3;--soft:#a3afbd;
--grid:#28313c;--shade:#1d2229;--a:#5d6876;--b:#98a4b3;--c:#6ea3ff;--d:#3ecbb0;--e:#f0a35e}}
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:var(--ink)}
.t{font-size:15px;font-weight:600}.h{font-size:12.5px;font-weight:600}.n{font-size:12px}
.s{font-size:11px;fill:var(--soft)}.e{text-anchor:end}.m{text-anchor:middle}
.g{stroke:var(--grid)}.o{stroke:var(--soft);stroke-dasharray:3 3}.shade{fill:var(--shade)}
.paper{fill:var(--paper);stroke:var(--edge)}
.fa{fill:var(--a)}.fb{fill:var(--b)}.fc{fill:var(--c)}.fd{fill:var(--d)}.fe{fill:var(--e)}"""

Colour = Literal["a", "b", "c", "d", "e"]
_NARROW = frozenset("ijl.,:;'|!()[] 1tfr-")


def text_width(text: str, size: float = 12) -> float:
    """Guess how wide a text is, rather too wide than too narrow."""
    return sum(size * (0.4 if char in _NARROW else 0.64) for char in text)


@dataclass(slots=True, kw_only=True)
class Canvas:
    """Collects shapes; texts are escaped here and nowhere else."""

    width: int
    title: str
    height: float = 0.0
    style: str = ""
    """Rules of CSS in addition to those of all charts."""
    _shapes: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, style: str = "n") -> None:
        """Write a line of text; `style` are classes: size (t, h, n, s), anchor (e, m)."""
        self._shapes.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(text)}</text>')

    def add(self, shape: str) -> None:
        """Add a shape that is SVG already."""
        self._shapes.append(shape)

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Draw a rectangle."""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.5):.1f}" '
            f'height="{height:.1f}" rx="2" class="{style}"/>'
        )

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Draw a dot."""
        self._shapes.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="f{colour}"/>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, style: str = "g") -> None:
        """Draw a line."""
        self._shapes.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{style}"/>'
        )

    def render(self) -> str:
        """Return the whole image."""
        width, height = self.width, math.ceil(self.height)
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">'
        )
        paper = f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" class="paper"/>'
        head = [
            opening,
            f"<title>{escape(self.title)}</title>",
            f"<style>{_STYLE}{self.style}</style>",
            paper,
        ]
        return "\n".join([*head, *self._shapes, "</svg>\n"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar; without a `value` there is only its text."""

    label: str
    value: float | None
    text: str
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Bars that share a scale."""

    heading: str
    bars: Sequence[Bar]
    note: str = ""
    is_log: bool = False


def draw_bars(title: str, panels: Sequence[Panel], *, footer: Sequence[str] = ()) -> str:
    """Draw panels of horizontal bars, two side by side."""
    canvas = Canvas(width=760, title=title)
    canvas.text(20, 30, title, "t")
    top, gap, width = 46.0, 20.0, 350.0
    for start in range(0, len(panels), 2):
        pair = panels[start : start + 2]
        alone = len(panels) == 1
        heights = [
            _draw_panel(canvas, panel, 20 + place * (width + gap), top, 720 if alone else width)
            for place, panel in enumerate(pair)
        ]
        top += max(heights) + 14
    return _finish(canvas, top, footer)


def _draw_panel(canvas: Canvas, panel: Panel, left: float, top: float, width: float) -> float:
    canvas.text(left, top + 14, panel.heading, "h")
    y = top + 22
    if panel.note:
        canvas.text(left, top + 29, panel.note, "s")
        y += 15
    labels = max(text_width(bar.label) for bar in panel.bars) + 8
    values = max(text_width(bar.text) for bar in panel.bars) + 8
    room = width - labels - values
    known = [bar.value for bar in panel.bars if bar.value]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    for bar in panel.bars:
        canvas.text(left + labels - 8, y + 12, bar.label, "n e")
        length = 0.0
        if bar.value is not None:
            length = room * _share(bar.value, low, high, is_log=panel.is_log)
            if bar.value > 0:
                canvas.box(left + labels, y + 2, length, 13, f"f{bar.colour}")
        canvas.text(left + labels + length + 6, y + 12, bar.text, "n")
        y += 20
    return y - top


def _share(value: float, low: float, high: float, *, is_log: bool) -> float:
    """Return how much of the room a bar takes."""
    if not is_log or value <= 0:
        return value / high if high else 0.0
    floor = 10 ** math.floor(math.log10(low) - 0.3)
    return math.log10(value / floor) / math.log10(high / floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """One line of a chart of ratios."""

    label: str
    values: Sequence[float]
    """A ratio for each series."""


def draw_ratios(
    title: str,
    groups: Sequence[tuple[str, Sequence[Ratios]]],
    series: Sequence[str],
    *,
    sides: tuple[str, str],
    footer: Sequence[str] = (),
) -> str:
    """Draw ratios as dots on a logarithmic axis, with a line where both sides are even.

    Args:
        title: Title of the chart.
        groups: Lines by heading, one group below the other.
        series: Names of the dots of a line, the smallest first.
        sides: Who wins on the left, and on the right of the line.
        footer: Small print.
    """
    canvas = Canvas(width=760, title=title)
    canvas.text(20, 30, title, "t")
    left, right = 200.0, 736.0
    every = [value for _, lines in groups for line in lines for value in line.values]
    low, high = min(0.4, *every) * 0.9, max(2.5, *every) * 1.15

    def x_of(ratio: float) -> float:
        return left + (right - left) * math.log(ratio / low) / math.log(high / low)

    _draw_legend(canvas, series)
    top = 76.0
    for heading, lines in groups:
        height = 22.0 * len(lines)
        canvas.text(20, top + 14, heading, "h")
        top += 24
        canvas.box(left, top, x_of(1) - left, height, "shade")
        for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128):
            if low < tick < high:
                style = "o" if tick == 1 else "g"
                canvas.line(x_of(tick), top, x_of(tick), top + height, style)
                label = "even" if tick == 1 else _times(tick)
                canvas.text(x_of(tick), top + height + 13, label, "s m")
        for row, line in enumerate(lines):
            y = top + 22 * row + 11
            canvas.text(left - 10, y + 4, line.label, "n e")
            canvas.line(x_of(min(line.values)), y, x_of(max(line.values)), y)
            for place, value in reversed(list(enumerate(line.values))):
                canvas.dot(x_of(value), y, 3.5 + 1.5 * place, _side(value))
        top += height + 20
        canvas.text(left + 4, top + 10, f"← {sides[0]}", "s")
        canvas.text(right, top + 10, f"{sides[1]} →", "s e")
        top += 26
    return _finish(canvas, top, footer)


def _side(ratio: float) -> Colour:
    return "c" if ratio > 1 else "e"


def _times(tick: float) -> str:
    return f"{tick:g}\u00d7" if tick >= 1 else f"1/{1 / tick:g}"


def _draw_legend(canvas: Canvas, series: Sequence[str]) -> None:
    x = 26.0
    for place, name in enumerate(series):
        canvas.dot(x, 50, 3.5 + 1.5 * place, "b")
        canvas.text(x + 12, 54, name, "s")
        x += 34 + text_width(name, 11)


def _finish(canvas: Canvas, top: float, footer: Sequence[str]) -> str:
    for line in footer:
        canvas.text(20, top + 10, line, "s")
        top += 15
    canvas.height = top + 12
    return canvas.render()
