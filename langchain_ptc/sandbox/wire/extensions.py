"""The extension types of `values`: what their payload is, and what reads and writes it."""

from __future__ import annotations

import codecs
import datetime
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import ormsgpack


class MalformedValue(ValueError):
    """Bytes that no encoder writes."""


class Mark(NamedTuple):
    """The first item of an array that stands for another container."""

    name: str


INT, TEXT, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, COMPLEX, RANGE = range(1, 11)
MARKS = {11: Mark("tuple"), 12: Mark("set"), 13: Mark("frozenset"), 14: Mark("dict")}
TUPLE, SET, FROZENSET, DICT = (ormsgpack.Ext(code, b"") for code in MARKS)

_COMPLEX = struct.Struct("<dd")
_SURROGATE_BYTES = 20_000
"""Bytes with lone surrogates that are decoded in one call of C code: each surrogate takes as long as a
thousand other characters."""


def write_int(value: int) -> bytes:
    """Return the payload of an integer."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _write_numbers(*numbers: int) -> bytes:
    return b" ".join(b"%x" % number for number in numbers)


def _read_numbers(payload: bytes) -> list[int]:
    return [int(part, 16) for part in payload.split(b" ")]


def _read_text(payload: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    starts = range(0, len(payload), _SURROGATE_BYTES)
    pieces = [decoder.decode(payload[start : start + _SURROGATE_BYTES]) for start in starts]
    return "".join(pieces) + decoder.decode(b"", final=True)


WRITERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    # The classes' own methods: a subclass may write itself in a way that nobody reads.
    datetime.datetime: (DATETIME, lambda value: datetime.datetime.isoformat(value).encode()),
    datetime.date: (DATE, lambda value: datetime.date.isoformat(value).encode()),
    datetime.time: (TIME, lambda value: datetime.time.isoformat(value).encode()),
    datetime.timedelta: (
        TIMEDELTA,
        lambda value: _write_numbers(value.days, value.seconds, value.microseconds),
    ),
    Decimal: (DECIMAL, lambda value: Decimal.__str__(value).encode()),
    UUID: (UUID_, lambda value: value.bytes),
    complex: (COMPLEX, lambda value: _COMPLEX.pack(value.real, value.imag)),
    range: (RANGE, lambda value: _write_numbers(value.start, value.stop, value.step)),
}
WRITER_CLASSES = tuple(WRITERS.items())  # subclasses too, most special first: datetime is a date

READERS: dict[int, Callable[[bytes], object]] = {
    INT: lambda payload: int.from_bytes(payload, "big", signed=True),
    TEXT: _read_text,
    DATETIME: lambda payload: datetime.datetime.fromisoformat(payload.decode()),
    DATE: lambda payload: datetime.date.fromisoformat(payload.decode()),
    TIME: lambda payload: datetime.time.fromisoformat(payload.decode()),
    TIMEDELTA: lambda payload: datetime.timedelta(*_read_numbers(payload)),
    DECIMAL: lambda payload: Decimal(payload.decode()),
    UUID_: lambda payload: UUID(bytes=payload),
    COMPLEX: lambda payload: complex(*_COMPLEX.unpack(payload)),
    RANGE: lambda payload: range(*_read_numbers(payload)),
}
"""What reads the payload of an extension; of any worker only within the bounds of `bounded`."""
