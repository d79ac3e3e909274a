"""Code as lines of coloured pieces, and as HTML. Pure.

Pygments colours it where it is installed, as it is wherever there are notebooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from langchain_ptc.display.text import count, escape, fit, one_line, visible

MOST_COLOURED_CHARS = 40_000
"""Longer code is not coloured."""
MOST_LINE_CHARS = 500
MOST_MARKS = 20
MOST_MARK_CHARS = 400
LINES = (400, 200, 100, 50, 24, 9)
FEW_LINES = 50
"""From here on lines and notes are cut shorter too."""
MOST_BYTES = 44_000

Piece: TypeAlias = tuple[str, str]
"""A letter for what it is (`k`eyword, `s`tring, `d`igits, `f`unction, `c`omment, or nothing), and the
text."""

_LETTERS = (
    ("Token.Comment", "c"),
    ("Token.Literal.String", "s"),
    ("Token.Literal.Number", "d"),
    ("Token.Operator.Word", "k"),
    ("Token.Keyword", "k"),
    ("Token.Name.Function", "f"),
    ("Token.Name.Class", "f"),
    ("Token.Name.Decorator", "f"),
    ("Token.Name.Builtin", "f"),
)


@cache
def _letter(token: str) -> str:
    return next((letter for prefix, letter in _LETTERS if token.startswith(prefix)), "")


def read_lines(code: str) -> list[list[Piece]]:
    """Return code line by line, safe to show."""
    code = visible(code)
    lines: list[list[Piece]] = [[]]
    for letter, text in _read_pieces(code):
        first, *others = text.split("\n")
        lines[-1].append((letter, first))
        lines += ([(letter, other)] for other in others)
    if len(lines) > 1 and not any(text for _, text in lines[-1]):
        del lines[-1]  # code ends with a line end
    return lines


def _read_pieces(code: str) -> Iterable[Piece]:
    if len(code) > MOST_COLOURED_CHARS:
        return [("", code)]
    try:
        from pygments.lexers.python import PythonLexer
    except ImportError:
        return [("", code)]
    tokens = PythonLexer().get_tokens_unprocessed(code)
    return [(_letter(str(token)), text) for _, token, text in tokens]


def find_marks(data: Mapping[str, Any]) -> dict[int, list[str]]:
    """Return what is wrong with the code of a record, by the line."""
    error = data.get("error")
    if not isinstance(error, Mapping):
        return {}
    found: list[tuple[Any, Any]] = [
        (each.get("line"), each.get("message"))
        for each in (*(error.get("problems") or ()), *(error.get("violations") or ()))
        if isinstance(each, Mapping)
    ]
    if not found:
        kind, message = str(error.get("kind", "")), str(error.get("message", ""))
        found = [(error.get("line"), f"{kind}: {message}" if message else kind)]
    marks: dict[int, list[str]] = {}
    for line, message in found[:MOST_MARKS]:
        if isinstance(line, int) and line > 0:
            marks.setdefault(line, []).append(one_line(str(message), MOST_MARK_CHARS))
    return marks


def choose_lines(lines: int, marked: Iterable[int], most: int) -> list[range]:
    """Return which lines to show: the first, the last, and those around the marked ones.

    Args:
        lines: How many there are.
        marked: Numbers of lines, from 1.
        most: How many to show at the head and the tail together.
    """
    if lines <= most:
        return [range(1, lines + 1)]
    shown = {*range(1, most * 2 // 3 + 1), *range(lines - most // 3 + 1, lines + 1)}
    for line in marked:
        shown |= {*range(max(1, line - 2), min(lines, line + 2) + 1)}
    chosen: list[range] = []
    for number in sorted(shown):
        if chosen and chosen[-1].stop == number:
            chosen[-1] = range(chosen[-1].start, number + 1)
        else:
            chosen.append(range(number, number + 1))
    return chosen


def render_listing(code: str, marks: Mapping[int, Sequence[str]]) -> str:
    """Return code as HTML, with a note below each line with which something is wrong."""
    lines = read_lines(code)

    def render(most: int) -> str:
        parts: list[str] = []
        room, reached = (MOST_LINE_CHARS if most > FEW_LINES else most * 4), 0
        for chosen in choose_lines(len(lines), marks, most):
            if chosen.start > reached + 1:
                parts.append(_render_gap(chosen.start - reached - 1))
            for number in chosen:
                parts.append(_render_line(number, lines[number - 1], room, is_hit=number in marks))
                for told in marks.get(number, ()):
                    shown = escape(told if most > FEW_LINES else one_line(told, room))
                    parts.append(f'<span class="ptc-why">↑ {shown}\n</span>')
            reached = chosen.stop - 1
        if reached < len(lines):
            parts.append(_render_gap(len(lines) - reached))
        return f'<pre class="ptc-code"><code>{"".join(parts)}</code></pre>'

    return fit(render, LINES, MOST_BYTES)


def _render_gap(lines: int) -> str:
    told = "1 line is" if lines == 1 else f"{lines:,} lines are"
    return f'<span class="ptc-l ptc-soft"><span class="ptc-n">…</span>{told} left out here\n</span>'


def _render_line(number: int, pieces: Sequence[Piece], room: int, *, is_hit: bool) -> str:
    parts: list[str] = []
    more = sum(len(text) for _, text in pieces) - room
    for letter, text in pieces:
        shown = escape(text[:room])
        parts.append(f'<span class="ptc-{letter}">{shown}</span>' if letter and shown else shown)
        room -= len(text)
        if room <= 0 < more:
            parts.append(f'<span class="ptc-soft">… {count(more, "character")} more</span>')
            break
    hit = " ptc-hit" if is_hit else ""
    return f'<span class="ptc-l{hit}"><span class="ptc-n">{number}</span>{"".join(parts)}\n</span>'
