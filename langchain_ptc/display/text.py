"""Text of other people made safe to show: in HTML, in SVG, on a terminal. Pure.

Code, output, names, arguments and errors come from models, tools and servers. Whatever they hold, they
move no cursor, hide nothing and change no order: what nobody would see is shown as a sign.
"""

from __future__ import annotations

import html
import json
import math
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping

_KEPT = "\n\t\u200c\u200d"
"""Line ends and tabs, and the joiners that some scripts, and emoji, need."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return `text` with a sign in place of each character that controls something or is not seen.

    These are control characters (terminals obey them), formats such as the marks that turn the
    direction of writing (CVE-2021-42574), half surrogates (nothing can encode them), and code points
    that XML forbids.
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", " ").replace("\t", " ").isprintable():
        return text
    return "".join(map(_see, text))


def _see(char: str) -> str:
    number = ord(char)
    if char in _KEPT or " " <= char <= "~":
        return char
    if unicodedata.category(char) in _UNSEEN or _is_no_character(number):
        return f"⟨U+{number:04X}⟩"
    return char


def _is_no_character(number: int) -> bool:
    return number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF


def one_line(text: str, most: int) -> str:
    """Return `text` on one line of at most `most` characters, cut at its end, safe to show."""
    line = " ".join(visible(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def cut_middle(text: str, most: int) -> str:
    """Return `text`, or its head and tail around a line that says how much is left out."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    gone = len(text) - most
    tail = text[len(text) - (most - head) :]
    return f"{text[:head]}\n[… {gone:,} of {len(text):,} characters are left out here …]\n{tail}"


def escape(text: str) -> str:
    """Return `text` safe to show, and to stand in HTML and XML, in attributes too."""
    return html.escape(visible(text))


def fit(render: Callable[[int], str], sizes: Iterable[int], most_bytes: int) -> str:
    """Return the first of some renderings that is small enough; a note in HTML, if none is.

    Escaping makes text longer, up to twelvefold, and nobody knows how much before it is done.

    Args:
        render: Takes a size and returns text.
        sizes: Sizes to try, the largest first.
        most_bytes: How long the text may be, in UTF-8.
    """
    for size in sizes:
        told = render(size)
        if len(told.encode()) <= most_bytes:
            return told
    return '<p class="ptc-fine">left out: it is too large to be shown here</p>'


def escape_middle(text: str, most: int, *, most_bytes: int) -> str:
    """Return `text` escaped, cut in the middle so that neither bound is passed."""
    sizes = (most, most // 2, most // 4, most // 8, most // 16)
    return fit(lambda size: escape(cut_middle(text, size)), sizes, most_bytes)


_REPR = reprlib.Repr()
_REPR.maxlevel = 4
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = 12
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 200


def render_value(value: object, most: int) -> str:
    """Return a value as it would be written in code, on one line of at most `most` characters."""
    try:
        return one_line(_REPR.repr(value), most)  # of megabytes nothing is built only to be cut
    except ValueError:  # Python prints no integer of over 4,300 digits
        return f"<{type(value).__name__}>"


def render_arguments(arguments: Mapping[str, object], most: int) -> str:
    """Return arguments as they would be written in a call, in at most `most` characters."""
    parts: list[str] = []
    length = 0
    for name, value in arguments.items():
        part = f"{one_line(str(name), 60)}={render_value(value, most)}"
        parts.append(part)
        length += len(part) + 2
        if length > most:
            break
    return one_line(", ".join(parts), most)


def render_json(value: object) -> str:
    """Return a value as JSON on several lines; as Python would write it, if JSON cannot."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (TypeError, ValueError, RecursionError):
        return render_value(value, 2_000)


def count(number: int, noun: str) -> str:
    """Return `1 call`, `2 calls`, `1,000 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def render_seconds(seconds: float) -> str:
    """Return a span of time in three digits or two units."""
    if seconds < 0.0005:
        return "0 s" if seconds <= 0 else "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        minutes, rest = divmod(round(seconds), _MINUTE)
        return f"{minutes} min {rest} s"
    if seconds < _DAY:
        hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
        return f"{hours} h {rest} min"
    return f"{seconds / _DAY:,.1f} days"


def render_bytes(size: float) -> str:
    """Return a size in two or three digits."""
    if size < 1_000:
        return f"{size:.0f} B"
    for unit, bytes_each in (("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)):
        told = size / bytes_each
        if told < 999.5 or unit == "GB":
            return f"{told:.1f} {unit}" if told < 99.95 else f"{told:,.0f} {unit}"
    raise AssertionError(size)


def round_figure(number: float) -> str:
    """Return an estimate with as many digits as it deserves: three."""
    if number < 1_000:
        return f"{number:.0f}"
    step = 10 ** (math.floor(math.log10(number)) - 2)
    return f"{round(number / step) * step:,.0f}"
