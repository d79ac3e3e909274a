"""Text of other people made safe to stand in Python source. Pure.

Descriptions come from tools and servers that nobody here wrote. Whatever they hold (quotes,
backslashes, newlines, control characters, code), they stay inside their string or comment.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TOOL_CHARS = 1_500
"""Length of a tool's description in its stub; the rest is cut."""
MAX_LINE_CHARS = 500
"""Length of the description of one parameter or field in its stub; the rest is cut."""

MAX_BRIEF_CHARS = 110
"""Length of the description of one parameter or field in the text that a model reads."""

_BIDI = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)))
"""Characters that show source in another order than it is in (CVE-2021-42574)."""


def _clean(text: str) -> str:
    if text.isascii() and text.replace("\n", " ").isprintable():
        return text
    return "".join(
        char
        for char in text
        if char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _BIDI)
    )


def cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning up to the end of a word, with `…`."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    space = head.rfind(" ")
    return f"{(head[:space] if space > limit * 3 // 4 else head).rstrip()}…"


def one_line(text: str, *, limit: int = MAX_LINE_CHARS) -> str:
    """Return `text` on one line, cut at `limit` characters: fit for a comment."""
    # Far more than can be shown is not even looked at: descriptions of many megabytes exist.
    return cut(" ".join(_clean(_newlines(text[: 4 * limit])).split()), limit)


def brief(text: str, *, limit: int = MAX_BRIEF_CHARS) -> str:
    """Return `text` on one line in few characters: whole sentences, no article, no last period."""
    line = re.sub(r"^(The|An?) (?=\S)", "", one_line(text))
    if len(line) > limit:
        end = line.rfind(". ", limit // 2, limit)
        line = line[:end] if end > 0 else cut(line, limit)
    return line[:-1] if line.endswith(".") and not line.endswith("..") else line


def paragraphs(text: str, *, limit: int = MAX_TOOL_CHARS) -> str:
    """Return `text` with its lines, without blank ones in a row, cut at `limit` characters."""
    lines = [
        line.rstrip() for line in _clean(_newlines(text[: 4 * limit])).expandtabs(4).split("\n")
    ]
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip())
    return cut(re.sub(r"(?<=\S) {2,}", " ", joined), limit)


def _newlines(text: str) -> str:
    return "\n".join(text.splitlines())


def docstring(text: str, *, indent: str) -> str:
    """Return `text` as a docstring in source, without its indentation on the first line."""
    escaped = text.replace("\\", "\\\\")
    # Three quotes would end it, and so would one at its end.
    escaped = re.sub(r'"{3,}|"+\Z', lambda run: '\\"' * len(run[0]), escaped)
    lines = [f"{indent}{line}" if line.strip() else "" for line in escaped.split("\n")]
    lines[0] = lines[0].strip()
    end = f"\n{indent}" if len(lines) > 1 else ""
    body = "\n".join(lines)
    return f'"""{body}{end}"""'
