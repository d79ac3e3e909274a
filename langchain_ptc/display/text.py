"""Text of other people made safe to show: in HTML, in SVG, on a terminal. Pure.

Code, output, names, arguments and errors come from models, tools and servers. They must not move the
cursor, hide text or change its order: invisible characters are shown as signs.
"""

from __future__ import annotations

import html
import json
import math
import reprlib
import unicodedata
from collections.abc import Mapping

from langchain_ptc.errors import cut

_KEPT = "\n\t\u200c\u200d"  # line ends and tabs, and the joiners that some scripts, and emoji, need
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
    is_no_character = number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF
    if is_no_character or unicodedata.category(char) in _UNSEEN:
        return f"⟨U+{number:04X}⟩"
    return char


def escape(text: str) -> str:
    """Return `text` safe to show, and to stand in HTML and XML, in attributes too."""
    return html.escape(visible(text))


def one_line(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters, cut at its end, safe to show."""
    return cut(" ".join(visible(text[: 4 * limit]).split()), limit)


def cut_middle(text: str, limit: int) -> str:
    """Return `text`, or its head and tail around a line that says how much is left out."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    gone = len(text) - limit
    tail = text[len(text) - (limit - head) :]
    return f"{text[:head]}\n[… {gone:,} of {len(text):,} characters are left out here …]\n{tail}"


_REPR = reprlib.Repr()
_REPR.maxlevel = 4
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = 12
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 200


def _render_value(value: object, limit: int) -> str:
    """Return a value as it would be written in code, on one line of at most `limit` characters."""
    try:
        return one_line(_REPR.repr(value), limit)  # of megabytes nothing is built only to be cut
    except ValueError:  # Python prints no integer of over 4,300 digits
        return f"<{type(value).__name__}>"


def render_arguments(arguments: object, limit: int) -> str:
    """Return arguments as they would be written in a call, in at most `limit` characters."""
    parts: list[str] = []
    length = 0
    for name, value in arguments.items() if isinstance(arguments, Mapping) else ():
        part = f"{one_line(str(name), 60)}={_render_value(value, limit)}"
        parts.append(part)
        length += len(part) + 2
        if length > limit:
            break
    return one_line(", ".join(parts), limit)


def render_json(value: object) -> str:
    """Return a value as JSON on several lines; as Python would write it, if JSON cannot."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (TypeError, ValueError, RecursionError):
        return _render_value(value, 2_000)


def render_seconds(seconds: float) -> str:
    """Return a span of time in three digits or two units."""
    if seconds < 0.0005:
        return "0 s" if seconds <= 0 else "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 3_600:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if seconds < 86_400 else f"{seconds / 86_400:,.1f} days"


def render_bytes(size: float) -> str:
    """Return a size in two or three digits."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        number = size / bytes_each
        if number >= 0.9995:
            return f"{number:.1f} {unit}" if number < 99.95 else f"{number:,.0f} {unit}"
    return f"{size:.0f} B"


def round_figure(number: float) -> str:
    """Return an estimate with as many digits as it deserves: three."""
    if number < 1_000:
        return f"{number:.0f}"
    step = 10 ** (math.floor(math.log10(number)) - 2)
    return f"{round(number / step) * step:,.0f}"
