"""A frame of a worker, as JSON text, into plain data. Standard library only.

It is bounded before it is read: by the values that it may hold, and by the digits of its numbers. What
the values stand for, and what they may cost, is the affair of `bounded`.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable
from json.decoder import JSONObject  # type: ignore[attr-defined]  # it is there
from typing import Any, NamedTuple, TypeAlias

from langchain_ptc.sandbox.wire.bounded import (
    MAX_DIGITS,
    MAX_VALUES,
    MalformedValue,
    OutOfBounds,
    build_scalar,
)
from langchain_ptc.sandbox.wire.framing import ProtocolViolation
from langchain_ptc.sandbox.wire.hashes import FEW, LEAST_NUMBER_CHARS
from langchain_ptc.sandbox.wire.values import MAX_DEPTH

_Scan: TypeAlias = Callable[[str, int], tuple[Any, int]]

LARGE_FRAME_BYTES = 64 * 1024
"""A frame of more is read in a thread of its own: its time would be missed by the event loop."""
BYTES_OF_A_VALUE = 64
"""About how much memory of the host a value takes."""
MAX_CALL_VALUES = MAX_VALUES - 100
"""In one message; a frame has some of its own."""
_LEAST_BYTES_CHECKED = 4_000
_NUMBER_PARTS = bytes(
    48 if byte >= 128 or chr(byte) in "0123456789abcdefABCDEF.+-_" else 32 for byte in range(256)
)
_BYTES_OF_TEXTS = 16
"""Of each value, on average: a message of more holds texts rather than numbers."""
_LONG = b"0" * LEAST_NUMBER_CHARS
_VERY_LONG = b"0" * 300
"""Numbers of so many digits take long to read."""


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError("a number of too many digits")
    return int(text)


# `parse_int` is Python code, between two of whose calls other threads get their turn.
_SCANNERS: dict[tuple[bool, bool], _Scan] = {
    (has_forms, is_long): json.JSONDecoder(  # type: ignore[attr-defined]  # it has it
        object_hook=build_scalar if has_forms else None, parse_int=_parse_int if is_long else None
    ).scan_once
    for has_forms in (False, True)
    for is_long in (False, True)
}
"""By whether there are tagged forms, and numbers of many digits."""

_SLICE_CHARS = 64 * 1024
"""What a scanner in C reads in one call, about: a millisecond or two, in which no other thread runs."""
_PROBE_CHARS = 1024
_MOST_CUTS = 8
_SLICE = 20_000
"""Bytes with lone surrogates that are decoded in one call of C code."""
_FIRST_VALUE = re.compile(r'[^":]*"[^"]*":([\[{]?)')


class _SlicingScanner:
    """Scans arrays and objects in slices, between which other threads get their turn.

    Where one item ends and the next begins is guessed from the text. A wrong guess does no harm: the
    slice, closed by a bracket, is no JSON, and the item is scanned by itself.

    Args:
        scan: Scans a slice; a scanner in C.
        has_forms: Whether there may be tagged forms.
        length: Of the text. Wrong guesses may cost no more than reading so much again.
    """

    def __init__(self, scan: _Scan, has_forms: bool, length: int) -> None:
        self._scan = scan
        self._has_forms = has_forms
        self._spare_chars = length

    def __call__(self, text: str, at: int) -> tuple[Any, int]:
        match text[at : at + 1]:
            case "[":
                return self._scan_array(text, at + 1)
            case "{":
                return self._scan_object(text, at + 1)
        return self._scan(text, at)

    def _scan_array(self, text: str, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        size = _PROBE_CHARS
        while True:
            between = {"{": "},{", "[": "],[", '"': '","'}.get(text[at : at + 1], ",")
            some, at, is_end = self._scan_slice(text, at, size, "[]", between)
            size = _SLICE_CHARS
            if some is None:
                size = _PROBE_CHARS
                some, at, is_end = self._scan_item(text, at)
            if not some and (items or not is_end):
                raise ValueError("a comma without an item of an array")
            items += some
            if is_end:
                return items, at

    def _scan_item(self, text: str, at: int) -> tuple[list[Any], int, bool]:
        at = _skip_space(text, at)
        if text[at : at + 1] == "]":
            return [], at + 1, True
        item, at = self(text, at)
        at = _skip_space(text, at)
        follows = text[at : at + 1]
        if not follows or follows not in ",]":
            raise ValueError("items of an array without a comma")
        return [item], at + 1, follows == "]"

    def _scan_object(self, text: str, at: int) -> tuple[object, int]:
        items, at = self._scan_items(text, at)
        return build_scalar(items) if self._has_forms else items, at

    def _scan_items(self, text: str, at: int) -> tuple[dict[str, Any], int]:
        items: dict[str, Any] = {}
        first = _FIRST_VALUE.match(text, at, at + _PROBE_CHARS)
        between = {"{": '},"', "[": '],"'}.get(first[1] if first else "", ',"')
        size = _PROBE_CHARS
        while True:
            some, end, is_end = self._scan_slice(text, at, size, "{}", between)
            if type(some) is not dict:  # or one key of several that looks like a tagged form
                is_end = True
                some, end = JSONObject((text, at), True, self, None, None)
            if not some and (items or not is_end):
                raise ValueError("a comma without an item of an object")
            at, size = end, _SLICE_CHARS
            items.update(some)
            if is_end:
                return items, at

    def _scan_slice(
        self, text: str, at: int, size: int, brackets: str, between: str
    ) -> tuple[Any, int, bool]:
        """Scan the items from `at` on.

        Returns:
            The items, or None where they could not be cut out; where the next one begins; and whether
            the array, or object, has ended.
        """
        if self._spare_chars < 0:
            return None, at, False
        any_comma = "," if brackets == "[]" else ',"'
        cut = _find_cut(text, at, at + size, between)
        if not cut and between != any_comma:  # items of several kinds
            cut = _find_cut(text, at, at + size, any_comma)
        slice_ = f"{brackets[0]}{text[at : cut or at + size]}{brackets[1] if cut else ''}"
        try:
            some, length = self._scan(slice_, 0)
        except (StopIteration, ValueError):
            self._spare_chars -= size
            return None, at, False
        if cut and length == len(slice_):
            return some, cut + 1, False
        return some, at + length - 1, True


def _find_cut(text: str, start: int, end: int, between: str) -> int:
    """Return where there is a comma between two items, as it seems; 0 if there is none."""
    comma = between.index(",")
    found = 0
    for _ in range(_MOST_CUTS):
        end = text.rfind(between, start, end)
        if end < 0:
            break
        found = found or end + comma
        items = text[start : end + comma]
        if items.count("[") == items.count("]") and items.count("{") == items.count("}"):
            return end + comma
        end += len(between) - 1
    return found


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


class Frame(NamedTuple):
    """A frame from a worker."""

    messages: list[object]
    cost: int
    """About how much memory it takes, in bytes."""
    has_forms: bool
    """Whether there may be tagged forms in it."""
    may_be_deep: bool
    may_share_hashes: bool
    """Whether there may be many different values of one hash."""


def count_values(text: str) -> int:
    """Return about how many values a text holds: too many rather than too few.

    Commas and brackets in strings count, too, unless there would be too many.
    """
    count = _count_marks(text)
    if count <= MAX_VALUES:
        return count
    text = text.replace("\\\\", "").replace('\\"', "")  # and so each quote begins or ends a string
    count = end = 0
    while (start := text.find('"', end)) >= 0 and count <= MAX_VALUES:
        count += 1 + _count_marks(text[end:start])
        end = text.find('"', start + 1) + 1 or len(text)
    return count + _count_marks(text[end:])


def _count_marks(text: str) -> int:
    return text.count(",") + text.count("[") + text.count("{")


def measure_numbers(text: str, data: bytes) -> tuple[bool, bool]:
    """Return whether a message may hold many different values of one hash, and very long numbers.

    Args:
        text: The message.
        data: The same in UTF-8.
    """
    if len(data) <= _LEAST_BYTES_CHECKED:
        return False, False
    if len(data) > _BYTES_OF_TEXTS * (text.count(",") + text.count("[")):
        return True, True  # texts; to look into them would take longer than to read them
    parts = data.translate(_NUMBER_PARTS)
    is_long = _LONG in parts
    return is_long or "$" in text or text.count("[") > FEW, is_long and _VERY_LONG in parts


def read_frame(frame: bytes) -> Frame:
    """Read a frame.

    Raises:
        ProtocolViolation: It is no array of messages, or holds too much.
    """
    text = _decode_text(frame)
    openings = text.count("[") + text.count("{")
    values = openings + text.count(",")
    if values > MAX_VALUES:
        values = count_values(text)
        if values > MAX_VALUES:
            raise ProtocolViolation(f"a frame of about {values} values")
    cost = sys.getsizeof(text) + values * BYTES_OF_A_VALUE
    has_forms = "$" in text and '"$"' in text
    may_share, are_very_long = measure_numbers(text, frame)
    scan = _SCANNERS[has_forms, are_very_long]
    if len(frame) > LARGE_FRAME_BYTES:
        scan = _SlicingScanner(scan, has_forms, len(text))
    return Frame(_scan_text(scan, text), cost, has_forms, openings > MAX_DEPTH, may_share)


def _decode_text(frame: bytes) -> str:
    try:
        return frame.decode("utf-8")
    except (
        ValueError
    ):  # lone surrogates, perhaps: each takes as long as a thousand other characters
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    try:
        starts = range(0, len(frame), _SLICE)
        text = "".join([decoder.decode(frame[start : start + _SLICE]) for start in starts])
        return text + decoder.decode(b"", final=True)
    except ValueError as error:
        raise ProtocolViolation("a frame that is no text") from error


def _scan_text(scan: _Scan, text: str) -> list[object]:
    try:
        messages, end = scan(text, 0)
    except (OutOfBounds, MalformedValue) as error:
        raise ProtocolViolation(str(error)) from error
    except (
        StopIteration,  # nothing that JSON begins with
        ValueError,
        RecursionError,
        TypeError,
        MemoryError,
        OverflowError,
    ) as error:
        raise ProtocolViolation(f"no JSON: {type(error).__name__}") from error
    if end != len(text):
        raise ProtocolViolation("more than one array in a frame")
    if type(messages) is not list or not messages:
        raise ProtocolViolation("a frame that is no array of messages")
    return messages
