"""Checks of an answer by value: any layout of the right values passes, any other value fails.

A number may have separators of thousands, a unit and fewer digits after the point; names may stand in
any order unless the order was asked for; words may stand around them. But the answer must be told: a
list of everything that holds the right value somewhere is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

Check = Callable[[str, str], str]
"""Takes the text of an answer and the question; gives what is wrong, or an empty string."""

# No digit of a name such as `Q3`, `p12` or `web-07` is a number.
_NUMBER = re.compile(r"(?<![\w.-])-?(?:\d{1,3}(?:[,_']\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[-+]?\d+)?")


def anything(_text: str, _question: str) -> str:
    """Accept any text: what was asked for is a side effect."""
    return ""


def says_number(expected: float, *, beside: Iterable[float] = (), words: Collection[str]) -> Check:
    """Check for one number.

    Numbers of the question, and `beside`, which is true of the same matter, may stand with it. More
    numbers may only stand on lines above it that are about something else: so a list with the right
    number among others is wrong, and a sum below its parts is right.

    Args:
        expected: The number.
        beside: Numbers that may stand with it.
        words: Words of the data; lines that differ in these only are about the same.
    """
    excused = [*beside]

    def check(text: str, question: str) -> str:
        may_stand = [*excused, *map(_value, _NUMBER.findall(question))]
        lines = [line for line in text.splitlines() if _NUMBER.search(line)]
        if not lines:
            return f"no number; expected {expected}"
        found = [_told(line, may_stand, expected) for line in lines]
        right = [bool(told) and all(_is(one, expected) for one in told) for told in found]
        wrong = [
            line for line, told, ok in zip(lines, found, right, strict=True) if told and not ok
        ]
        if not any(right):
            return f"expected {expected}"
        forms = {_form(line, words) for line in wrong}
        last = max(index for index, ok in enumerate(right) if ok)
        if wrong and (_form(lines[last], words) in forms or lines.index(wrong[-1]) > last):
            return f"other numbers besides {expected}"
        return ""

    return check


def says_names(expected: Collection[str], universe: Collection[str]) -> Check:
    """Check for exactly these names out of all that there are, in any order."""

    def check(text: str, question: str) -> str:
        asked = set(_names(question, universe))
        found = set(_names(text, universe)) - (asked - set(expected))
        return "" if found == set(expected) else f"expected {sorted(expected)}, not {sorted(found)}"

    return check


def says_order(expected: Sequence[str], universe: Collection[str]) -> Check:
    """Check for exactly these names in this order."""
    named = says_names(expected, universe)

    def check(text: str, question: str) -> str:
        first = dict.fromkeys(name for name in _names(text, universe) if name in expected)
        complaint = named(text, question)
        return complaint or ("" if list(first) == list(expected) else f"the order is {[*first]}")

    return check


def says_pairs(
    expected: Mapping[str, float | Sequence[float]],
    universe: Collection[str],
    *,
    beside: Iterable[float] = (),
) -> Check:
    """Check for exactly these names, each with its number or numbers before or after it.

    Args:
        expected: The numbers by name.
        universe: All names that there are.
        beside: Numbers that may stand with any of them, as they are true of the same matter.
    """
    wanted = {
        name: [told] if isinstance(told, (int, float)) else list(told)
        for name, told in expected.items()
    }
    excused = [*beside]
    named = says_names(expected, universe)

    def check(text: str, question: str) -> str:
        complaint = named(text, question)
        if complaint:
            return complaint
        may_stand = [*excused, *map(_value, _NUMBER.findall(question))]
        found = [
            _read_pairs(text, universe, may_stand, wanted, numbers_first=first)
            for first in (False, True)
        ]
        return "" if any(_are_pairs(pairs, wanted) for pairs in found) else f"expected {wanted}"

    return check


# --- reading ------------------------------------------------------------------------------------


def _value(text: str) -> float:
    return float(re.sub(r"[,_']", "", text))


def _is(text: str, expected: float) -> bool:
    """Tell whether a number is meant by a text; it may be rounded, but not to a whole number."""
    value = _value(text)
    if abs(value - expected) < 0.0051 and (value != int(value) or abs(value - expected) < 1e-6):
        return True
    decimals = len(text.partition(".")[2])
    return decimals > 0 and value == round(expected, decimals)


def _told(line: str, may_stand: Iterable[float], *expected: float) -> list[str]:
    """Give the numbers of a line without those that may stand there."""
    excused = [value for value in may_stand if value not in expected]
    return [text for text in _NUMBER.findall(line) if not any(_is(text, one) for one in excused)]


def _form(line: str, words: Collection[str]) -> str:
    """Give what lines about the same kind of thing share."""
    blank = _NUMBER.sub("#", line)
    return _pattern(words).sub("@", blank) if words else blank


def _pattern(names: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE
    )


def _names(text: str, universe: Collection[str]) -> list[str]:
    by_fold = {name.casefold(): name for name in universe}
    return [by_fold[found.casefold()] for found in _pattern(universe).findall(text)]


def _read_pairs(
    text: str,
    universe: Collection[str],
    may_stand: Sequence[float],
    wanted: Mapping[str, Sequence[float]],
    *,
    numbers_first: bool,
) -> list[tuple[str, list[str]]]:
    """Read names with the numbers that belong to each.

    A number belongs to a name of its line; a line with numbers only, to the name above it.
    """
    by_fold = {name.casefold(): name for name in universe}
    expected = [number for numbers in wanted.values() for number in numbers]
    pairs: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        spans = [
            (m.start(), by_fold[m[0].casefold()], "") for m in _pattern(universe).finditer(line)
        ]
        inside = [m.span() for m in _pattern(universe).finditer(line)]
        for match in _NUMBER.finditer(line):
            is_name = any(start <= match.start() < end for start, end in inside)
            if not is_name and _told(match[0], may_stand, *expected):
                spans.append((match.start(), "", match[0]))
        ordered = sorted(spans, reverse=numbers_first)
        has_name = bool(inside)
        on_line: list[tuple[str, list[str]]] = []
        for _, name, number in ordered:
            if name:
                on_line.append((name, []))
            elif on_line:
                on_line[-1][1].append(number)
            elif (
                not has_name
                and pairs
                and (not pairs[-1][1] or len(wanted.get(pairs[-1][0], ())) > 1)
            ):
                pairs[-1][1].append(number)
            elif has_name:
                on_line.append(("", [number]))  # a number on the wrong side of the names
        pairs += on_line
    return pairs


def _are_pairs(
    pairs: Sequence[tuple[str, list[str]]], wanted: Mapping[str, Sequence[float]]
) -> bool:
    told: dict[str, list[list[str]]] = {}
    for name, numbers in pairs:
        if numbers:
            told.setdefault(name, []).append(numbers)
    if told.keys() != wanted.keys():
        return False
    for name, groups in told.items():
        if len(wanted[name]) > 1:  # they may stand on a line each
            groups[:] = [[number for numbers in groups for number in numbers]]
        if not all(_match(numbers, wanted[name]) for numbers in groups):
            return False
    return True


def _match(told: Sequence[str], expected: Sequence[float]) -> bool:
    """Tell whether the numbers are the expected ones, in any order."""
    left = list(expected)
    for text in told:
        hit = next((value for value in left if _is(text, value)), None)
        if hit is None:
            return False
        left.remove(hit)
    return not left
