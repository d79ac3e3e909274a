"""What a docstring says that a function returns. Pure."""

from __future__ import annotations

import inspect
import re

MAX_DOCSTRING_CHARS = 20_000
"""Length of a docstring that is looked at."""

_GOOGLE = re.compile(r"^(?:Returns?|Yields?)[ \t]*:[ \t]*(.*)$")
_UNDERLINED = re.compile(r"^(?:Returns?|Yields?)[ \t]*$")
_FIELD = re.compile(r"^[:@](?:returns?|yields?)[ \t]*:[ \t]*(.*)$")
_NEXT_FIELD = re.compile(r"^[:@]\w+")


def returns_section(docstring: str | None) -> str:
    """Return the text under `Returns` in a docstring of Google's, NumPy's or Sphinx's style.

    Args:
        docstring: As it stands in the source; None if there is none.

    Returns:
        One paragraph; empty if the docstring does not say what is returned.
    """
    lines = inspect.cleandoc((docstring or "")[:MAX_DOCSTRING_CHARS]).splitlines()
    for number, line in enumerate(lines):
        rest = lines[number + 1 :]
        if found := _GOOGLE.match(line):
            return _join([found[1], *_indented(rest)])
        if found := _FIELD.match(line):
            return _join([found[1], *_until_next_field(rest)])
        if _UNDERLINED.match(line) and rest and re.fullmatch(r"-{3,}[ \t]*", rest[0]):
            return _join(_until_next_section(rest[1:]))
    return ""


def _indented(lines: list[str]) -> list[str]:
    kept = []
    for line in lines:
        if line and not line[0].isspace():
            break
        kept.append(line)
    return kept


def _until_next_field(lines: list[str]) -> list[str]:
    kept = []
    for line in lines:
        if not line.strip() or _NEXT_FIELD.match(line):
            break
        kept.append(line)
    return kept


def _until_next_section(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if re.fullmatch(r"-{3,}[ \t]*", line):
            return kept[:-1]  # the line before is the title of that section
        kept.append(line)
    return kept


def _join(lines: list[str]) -> str:
    return " ".join(word for line in lines for word in line.split())
