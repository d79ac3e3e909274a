"""A frame of a worker, as JSON text, into plain data. Standard library only.

It is bounded before it is read: by the values that it may hold, and by the digits of its numbers. What
the values stand for, and what they may cost, is the affair of `bounded`.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]  # they are there
from typing import Any, NamedTuple, TypeAlias

from langchain_ptc.sandbox.bounded import LEAST_NUMBER_CHARS, MAX_DIGITS, MAX_VALUES
from langchain_ptc.sandbox.framing import ProtocolViolation
from langchain_ptc.sandbox.values import MAX_DEPTH

_Scan: TypeAlias = Callable[[str, int], tuple[Any, int]]

LARGE_FRAME_BYTES = 64 * 1024
"""A frame of more is read in a thread of its own: its time would be missed by the event loop."""
BYTES_OF_A_VALUE = 64
"""About how much memory of the host a value takes."""
MAX_CALL_VALUES = MAX_VALUES - 100
"""In one message; a frame has some of its own."""
_LEAST_BYTES_CHECKED = 4_000
_NUMBER_PARTS = bytes(
    48 if chr(byte) in "0123456789abcdefABCDEF.+-_" else 32 for byte in range(256)
)
_LONG = b"0" * LEAST_NUMBER_CHARS
_VERY_LONG = b"0" * 300
"""Numbers of so many digits take long to read."""


def _same(data: dict[str, Any]) -> dict[str, Any]:
    return data  # a call of Python code, between two of which other threads get their turn


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError("a number of too many digits")
    return int(text)


def _parse_float(text: str) -> float:
    return float(text)


# A scanner in C lets no other thread run; these do, at each object and each dear number.
_scan: _Scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # it has it
_scan_large: _Scan = json.JSONDecoder(  # type: ignore[attr-defined]
    object_hook=_same, parse_float=_parse_float
).scan_once
_scan_long_numbers: _Scan = json.JSONDecoder(  # type: ignore[attr-defined]
    object_hook=_same, parse_float=_parse_float, parse_int=_parse_int
).scan_once

_MOST_KEYS_AT_ONCE = 50_000
"""One object of so many keys takes a scanner in C about 25 ms."""
_SMALL_CHARS = 4_096
_SLICE = 20_000
"""Items, or bytes with lone surrogates, that are taken in one call of C code."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for start in range(0, len(pairs), _SLICE):
        built.update(pairs[start : start + _SLICE])
    return built


class _ScanInTurns:
    """Scans what is small in C, and everything else in Python, where other threads get their turn."""

    def __init__(self, scan: _Scan) -> None:
        self._scan = scan

    def __call__(self, text: str, at: int) -> tuple[Any, int]:
        opening = text[at : at + 1]
        if opening == "{":
            return self._scan_small(text, at, "}") or JSONObject(
                (text, at + 1), True, self, None, _build_object
            )
        if opening == "[":
            return self._scan_small(text, at, "]") or JSONArray((text, at + 1), self)
        return self._scan(text, at)

    def _scan_small(self, text: str, at: int, closing: str) -> tuple[Any, int] | None:
        end = text.find(closing, at, at + _SMALL_CHARS) + 1
        try:
            value, length = self._scan(text[at:end], 0)
        except (StopIteration, ValueError):  # it ends elsewhere, or not at all
            return None
        return (value, end) if at + length == end else None


class Frame(NamedTuple):
    """A frame from a worker."""

    messages: list[object]
    cost: int
    """About how much memory it takes, in bytes."""
    has_forms: bool
    """Whether there may be tagged forms in it."""
    may_be_deep: bool
    has_long_numbers: bool


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


def has_long_numbers(data: bytes) -> bool:
    """Return whether there may be long numbers, also as text or as a UUID, in a message that is long."""
    return len(data) > _LEAST_BYTES_CHECKED and _LONG in data.translate(_NUMBER_PARTS)


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
    scan, is_long = _scan, False
    if len(frame) > _LEAST_BYTES_CHECKED:
        parts = frame.translate(_NUMBER_PARTS)
        is_long = _LONG in parts
        if is_long and _VERY_LONG in parts:
            scan = _scan_long_numbers
        elif len(frame) > LARGE_FRAME_BYTES:
            scan = _scan_large
        if values > _MOST_KEYS_AT_ONCE and text.count('":') > _MOST_KEYS_AT_ONCE:
            scan = _ScanInTurns(scan)
    messages = _scan_text(scan, text)
    return Frame(messages, cost, '"$"' in text, openings > MAX_DEPTH, is_long)


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
