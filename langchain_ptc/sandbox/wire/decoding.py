"""Values decoded; of a worker within bounds: what is cheap to send must be cheap to build and to use.

`read_bounded` walks over the bytes before anything is built of them, since `ormsgpack` would build as
much as they say, recursing on the stack of the thread. Large data is decoded in slices, between which
other threads get their turn. The worker reads its own values by the same function before it sends them,
so that honest code gets an error at the call for what the host would refuse.

| data | bound |
|---|---|
| nesting | `MAX_DEPTH` levels |
| values | `MAX_VALUES` in one message; as many items of ranges, since a tool may take a list |
| keys of maps | text, whose hashes nobody can predict; other keys are items of a `DICT` |
| `int` | 4,300 digits, which is what Python itself converts to text |
| `Decimal` | 4,300 digits before and after the point: `Decimal("1E+6000000")` would be a large `int` |
| `set`, `frozenset`, `dict` | the work of comparing items of equal hash, which is quadratic |
| other extensions | the length of their payload |
"""

from __future__ import annotations

import contextlib
import struct
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from gc import is_tracked
from itertools import chain
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import ormsgpack

from langchain_ptc.sandbox.wire.values import (
    DECIMAL,
    INT,
    MARKS,
    MAX_DEPTH,
    RANGE,
    READERS,
    TEXT,
    MalformedValue,
    Mark,
    array_header,
    map_header,
)

# --- hashes -----------------------------------------------------------------------------------------
# Values of equal hash are compared with each other, which is quadratic, in one call of C code. Those whose hashes
# differ may meet in a table as well, but not often: each step of the search takes other bits of the hash. What is
# checked: the sets and dicts of a message, the numbers and rows among the arguments of a call, which a tool may put
# into a set as they are, and what a tool's schema makes of them (`run/arguments.py`).

MAX_COMPARISONS = 500_000
"""Of items of equal hash, in one message; about 15 ms."""
HASH_MODULUS = sys.hash_info.modulus
SCALARS = frozenset((str, int, float, bool, type(None)))
SLICE = 20_000
"""Items that are hashed in one call of C code, during which no other thread runs."""
_CHEAP = 500
"""Comparisons of equal items are not counted if they cost no more: they are linear in what was sent."""
_LONG_BITS = 2**12
"""Integers of more are costly to compare with a `Decimal`, equal ones too."""
_NO_HASH = object()
_COLLECTIONS = frozenset((list, tuple, set, frozenset))
_ROWS = frozenset((list, tuple))
_BUILT_NUMBERS = frozenset((Decimal, UUID, complex))


class OutOfBounds(ValueError):
    """A value costs more to build or to use than a worker may ask for; the message says which."""


class Comparisons:
    """Adds up the comparisons that sets of some items would take, and refuses too many."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS

    def add(self, items: Sequence[Any], cost: Callable[[int], int] | None = None) -> None:
        """Add a set of `items`; those without a hash come into none. Raises `OutOfBounds`.

        Args:
            items: What the set is made of.
            cost: How long it takes to compare the item at a place, in units of a small integer.
        """
        hashes: list[Any] = []
        seen: set[Any] = set()
        for start in range(0, len(items), SLICE):
            some = _hash_all(items[start : start + SLICE])
            seen.update(some)
            hashes += some
        if len(seen) == len(items):
            return
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for place, key in enumerate(hashes):
            groups[key].append(place)
        groups.pop(_NO_HASH, None)
        for places in groups.values():
            different: list[Any] = []
            others = 0  # what those cost
            for place in places:
                each = _cost_of_comparing(items[place]) if cost is None else cost(place)
                if len(different) > 1 or (different and others + each > _CHEAP):
                    self._left -= others + len(different) * each
                    if self._left < 0:
                        raise OutOfBounds(
                            "a set, the keys of a dict, or a list that may become one, of which "
                            "too many items have one hash; send fewer"
                        )
                if items[place] not in different:
                    different.append(items[place])
                    others += each


def _hash_all(items: Sequence[Any]) -> list[Any]:
    try:
        return [*map(hash, items)]
    except TypeError:
        return [hash(item) if _is_hashable(item) else _NO_HASH for item in items]


def _is_hashable(item: object) -> bool:
    with contextlib.suppress(TypeError):
        hash(item)
        return True
    return False


def _cost_of_comparing(item: Any) -> int:
    """Return how long it may take to compare an item with another one, in units of a small int."""
    kind = type(item)
    if kind is int:
        words: int = item.bit_length() // 64
        return 1 + words + words * words // 5  # with a Decimal: it is converted
    if kind is Decimal:
        return 40
    if kind is tuple:
        return 1 + sum(map(_cost_of_comparing, item))
    if kind is frozenset:  # looks its items up, of which many may have one hash too
        return (1 + sum(map(_cost_of_comparing, item))) ** 2
    if kind is str or kind is bytes:
        return 1 + len(item) // 64
    return 4


def check_hashes(value: object) -> None:
    """Refuse values that would be expensive if a tool made a set of numbers, or of rows, in a list.

    Honest ones hardly ever have one hash, unless they are equal. Raises `OutOfBounds`.
    """
    found: list[Any] = []
    level: list[list[Any]] = [[value]]
    while level:
        below: list[list[Any]] = []
        for parts in level:
            kinds = set(map(type, parts))
            _pick_values(parts, kinds, found)
            below += _contents(parts, kinds)
        level = below
    if len(set(map(hash, found))) < len(found):
        Comparisons().add([*{_spell(item): item for item in found}.values()])  # many may be equal


def _spell(item: object) -> object:
    """Return what is equal for items that look the same, and has a hash that nobody can predict."""
    if type(item) is tuple:
        return tuple(map(_spell, item))
    if type(item) is int:  # in decimal digits it would take quadratic time
        return hex(item) if item.bit_length() < _LONG_BITS else id(item)
    return repr(item)


def _contents(parts: list[Any], kinds: set[type]) -> list[list[Any]]:
    """Return what the containers among some values hold: items, keys and values, if there are any."""
    contents: list[list[Any]] = []
    if not kinds.isdisjoint(_COLLECTIONS):
        collections = [part for part in parts if type(part) in _COLLECTIONS]
        contents.append([*chain.from_iterable(collections)])
    if dict in kinds:
        dicts: list[Any] = [part for part in parts if type(part) is dict]
        contents.append([*chain.from_iterable(dicts)])
        contents.append([*chain.from_iterable(map(dict.values, dicts))])
    return [*filter(None, contents)]


def _pick_values(parts: list[Any], kinds: set[type], found: list[Any]) -> None:
    """Find what could share its hash with many others."""

    def only(kind: type) -> list[Any]:
        return parts if len(kinds) == 1 else [part for part in parts if type(part) is kind]

    if int in kinds:
        ints = only(int)
        if max(ints) >= HASH_MODULUS or min(ints) <= -HASH_MODULUS:
            found += [part for part in ints if not -HASH_MODULUS < part < HASH_MODULUS]
    if float in kinds:
        floats = only(float)
        if not (min(floats) > 2**-40 and max(floats) < 2**53):
            found += [part for part in floats if part and not 2**-40 < abs(part) < 2**53]
    for kind in kinds & _BUILT_NUMBERS:
        found += [n for n in only(kind) if type(n) is not Decimal or n.is_finite()]
    for kind in kinds & _ROWS:
        found += _flat_rows(only(kind))


def _flat_rows(rows: list[Any]) -> list[Any]:
    """Return as tuples the rows whose items have a hash."""
    flat = [*map(tuple, rows)]
    try:
        deque(map(hash, flat), 0)
    except TypeError:
        return [row for row in flat if SCALARS.issuperset(map(type, row))]
    return flat


MAX_DIGITS = 4300
MAX_VALUES = 500_000
"""Values in one message from a worker: a small frame must not become a large heap on the host."""
BYTES_OF_A_VALUE = 64
"""About how much memory of the host a value takes."""
SMALL_COST = 4096
"""Costs up to here are not added up."""
_SMALL_BYTES = SMALL_COST // (BYTES_OF_A_VALUE + 1)
"""Data that costs no more, of whatever it consists, and that cannot be nested too deeply."""
_MAX_INT = 10**MAX_DIGITS
_MAX_BYTES = {
    INT: _MAX_INT.bit_length() // 8 + 1,
    DECIMAL: 2 * MAX_DIGITS + 20,
    RANGE: 3 * MAX_DIGITS,
    TEXT: 2**32,
}
_TOO_LONG = {
    INT: f"an integer of more than {MAX_DIGITS:,} digits; send it as text",
    DECIMAL: f"a Decimal of more than {MAX_DIGITS:,} digits before or after the point; send it as text",
}
_MAX_OTHER_BYTES = 64
"""Of the payload of an extension."""
SLICE_BYTES = 64 * 1024
"""About what is decoded in one call of C code, during which no other thread runs."""
_RANDOMLY_HASHED = frozenset((str, bytes, bool, type(None), date))
"""Of whose items nobody can make many with one hash."""


class Bounded(NamedTuple):
    """Data from a worker."""

    value: Any
    cost: int
    """About how much memory it takes, in bytes, and what a tool may make of its ranges."""


def read_bounded(data: bytes, max_levels: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> Bounded:
    """Decode what a worker has sent.

    Raises:
        OutOfBounds: It is nested too deeply, holds too much, or a part of it is beyond its bound.
        MalformedValue: No honest worker sends it.
    """
    if len(data) <= _SMALL_BYTES and b"\xdd" not in data and b"\xdf" not in data:
        with contextlib.suppress(ValueError, TypeError):
            value = ormsgpack.unpackb(data)
            if ormsgpack.packb(value) == data:  # it is data and nothing else, and has no extensions
                return Bounded(value, len(data) * (BYTES_OF_A_VALUE + 1))
    reader = _Reader(data, max_levels, max_values)
    value = reader.read()
    if reader.has_marks:
        value = assemble(value, _Builder().build)
    return Bounded(value, reader.cost)


# --- bytes --------------------------------------------------------------------------------------


def _build_sizes() -> bytes:
    """Return how many bytes a value takes by its first byte; 0 where that alone does not say it."""
    sizes = bytearray(256)
    for first in (*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)):
        sizes[first] = 1  # small integers, nil, booleans
    sizes[0xA0:0xC0] = bytes(range(1, 33))  # short text
    sizes[0xCA:0xCC] = bytes((5, 9))  # floats
    sizes[0xCC:0xD4] = bytes((2, 3, 5, 9)) * 2  # integers
    sizes[0xD4:0xD9] = bytes((3, 4, 6, 10, 18))  # extensions with short payloads
    return bytes(sizes)


_SIZES = _build_sizes()
_LENGTHS = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
"""Of bytes and extensions: bytes that their length takes, and those that follow besides what it counts."""
_LENGTHS |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}  # text
_FIRST_TEXT = 0xC7
"""From here on, what has a length is text, or may be."""


class _Container:
    """A container whose items are walked over."""

    __slots__ = ("begin", "begin_left", "is_map", "key_at", "left", "made", "start")

    def __init__(self, *, is_map: bool, left: int, start: int, begin: int) -> None:
        self.is_map = is_map
        self.left = self.begin_left = left
        """Items that it lacks; and that it lacked where those begin that are not decoded yet."""
        self.start = start
        self.begin = begin
        self.key_at = begin
        """Where its last key starts."""
        self.made: Any = None
        """Its decoded items; None if no slice has ended in it."""


class _Reader:
    """Walks over one value as MessagePack and decodes it, in slices if it is large, within bounds."""

    def __init__(self, data: bytes, max_levels: int, max_values: int) -> None:
        self._data = data
        self._max_levels = max_levels
        self._max_values = max_values
        self._error: BaseException | None = None
        self._range_items = 0
        self._wide_bytes = 0
        self.has_marks = False
        """Whether some arrays stand for other containers."""
        self.cost = 0

    def read(self) -> Any:
        """Return the data; raises `OutOfBounds`, and `MalformedValue` if it is none."""
        root = _Container(is_map=False, left=1, start=0, begin=0)
        try:
            end, values = self._walk(root)
        except (IndexError, KeyError) as error:
            raise MalformedValue("data that is cut short, or no MessagePack") from error
        if end != len(self._data):
            raise MalformedValue("data that is cut short, or followed by more")
        self._check_count(values)
        value = self._unpack(self._data) if root.made is None else root.made[0]
        values += self._range_items
        self.cost = len(self._data) + self._wide_bytes + values * BYTES_OF_A_VALUE
        return value

    def _walk(self, container: _Container) -> tuple[int, int]:
        """Walk over all items; return where they end, and how many values they are."""
        data, sizes = self._data, _SIZES
        outer: list[_Container] = []
        is_map, left = False, 1
        at = values = 0
        cut_at = SLICE_BYTES
        while left or outer:
            if not left:
                inner, container = container, outer.pop()
                is_map, left = container.is_map, container.left
                if inner.made is not None:
                    self._join(container, inner, at)
                continue
            if is_map and not left & 1:
                container.key_at = at
                values -= 1  # keys are not counted
            if at > cut_at and (not is_map or not left & 1):
                self._check_count(values)
                self._decode(container, at, container.begin_left - left)
                container.begin, container.begin_left = at, left
                cut_at = at + SLICE_BYTES
            first = data[at]
            left -= 1
            values += 1
            size = sizes[first]
            if size:
                at += size
            elif 0xA0 <= first < 0xDC:
                at = self._skip(at, first)
            else:
                if is_map and left & 1:
                    raise MalformedValue("a key that is not text")
                opened = self._open(at, first, len(outer))
                at = opened.begin
                if opened.left:
                    container.left = left
                    outer.append(container)
                    container, is_map, left = opened, opened.is_map, opened.left
        return at, values

    def _skip(self, at: int, first: int) -> int:
        """Return where text, bytes or an extension ends."""
        width, more = _LENGTHS[first]
        start = at + 1 + width
        length = int.from_bytes(self._data[at + 1 : start], "big")
        end = start + more + length
        if first >= _FIRST_TEXT and not self._data[start:end].isascii():
            self._wide_bytes += 3 * length  # one wide character makes all of a text wide
        return end

    def _open(self, at: int, first: int, level: int) -> _Container:
        """Return the container that starts here."""
        if level >= self._max_levels:
            raise OutOfBounds(f"a value that is nested more than {MAX_DEPTH} levels deep")
        begin, is_map = at + 1, first < 0x90 or first >= 0xDE
        if first < 0xA0:  # few items
            count = first & 0x0F
        else:
            begin += 4 if first & 1 else 2
            count = int.from_bytes(self._data[at + 1 : begin], "big")
        return _Container(is_map=is_map, left=count << is_map, start=at, begin=begin)

    def _join(self, container: _Container, inner: _Container, end: int) -> None:
        """Add a container of which slices were decoded to the one that contains it."""
        self._decode(inner, end, inner.begin_left)
        missing = container.begin_left - container.left
        if container.is_map:
            self._decode(container, container.key_at, missing - 2)
            key = self._unpack(self._data[container.key_at : inner.start])
            if type(key) is not str:
                raise MalformedValue("a key that is not text")
            container.made[key] = inner.made
        else:
            self._decode(container, inner.start, missing - 1)
            container.made.append(inner.made)
        container.begin, container.begin_left = end, container.left

    def _decode(self, container: _Container, end: int, count: int) -> None:
        """Decode the next `count` items of a container, keys and values, which end here."""
        is_map, data = container.is_map, self._data[container.begin : end]
        if container.made is None:
            container.made = {} if is_map else []
        if count and is_map:
            container.made.update(self._unpack(map_header(count // 2) + data))
        elif count:
            container.made += self._unpack(array_header(count) + data)

    def _check_count(self, values: int) -> None:
        if values > self._max_values:
            raise OutOfBounds(f"more than {self._max_values:,} values")

    def _unpack(self, data: bytes) -> Any:
        """Decode bytes that were walked over."""
        try:
            return ormsgpack.unpackb(data, ext_hook=self._read_extension)
        except ValueError as error:
            if self._error is not None:  # `ormsgpack` drops it
                raise self._error from None
            raise MalformedValue(f"no MessagePack: {error}") from error

    def _read_extension(self, code: int, payload: bytes) -> object:
        try:
            if code in MARKS and not payload:
                self.has_marks = True
                return MARKS[code]
            return self._read_scalar(code, payload)
        except BaseException as error:
            self._error = error
            raise

    def _read_scalar(self, code: int, payload: bytes) -> object:
        if len(payload) > _MAX_BYTES.get(code, _MAX_OTHER_BYTES):
            raise OutOfBounds(_TOO_LONG.get(code, "an extension with a long payload"))
        try:
            value: Any = READERS[code](payload)
        except (LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise MalformedValue(f"a malformed extension: {type(error).__name__}") from error
        if code == INT and not -_MAX_INT < value < _MAX_INT:
            raise OutOfBounds(_TOO_LONG[INT])
        if code == DECIMAL and (len(payload) > MAX_DIGITS or b"E" in payload.upper()):
            _check_decimal(value)
        elif code == RANGE:
            self._count_range(value)
        return value

    def _count_range(self, numbers: range) -> None:
        self._range_items += max(0, -((numbers.start - numbers.stop) // numbers.step))
        if self._range_items > MAX_VALUES:
            raise OutOfBounds(
                f"ranges of more than {MAX_VALUES:,} items, which count as values; "
                "send the numbers that bound it"
            )


def _check_decimal(value: Decimal) -> None:
    if not value.is_finite():
        return
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) > MAX_DIGITS or exponent < -MAX_DIGITS or value.adjusted() >= MAX_DIGITS:
        raise OutOfBounds(_TOO_LONG[DECIMAL])


# --- containers ---------------------------------------------------------------------------------


class _Builder:
    """Builds the containers of one message, which share their bounds."""

    def __init__(self) -> None:
        self._comparisons = Comparisons()

    def build(self, mark: Mark, items: list[Any]) -> object:
        """Build what a mark and its items stand for."""
        try:
            if mark.name == "tuple":
                return tuple(items)
            if mark.name == "dict":
                return self._build_dict(items[::2], items[1::2])
            built = self._build_set(items)
        except TypeError as error:  # an item without a hash
            raise MalformedValue(f"a malformed {mark.name}: {type(error).__name__}") from error
        return built if mark.name == "set" else frozenset(built)

    def _build_set(self, items: list[Any]) -> set[Any]:
        if not _are_cheap(items):
            self._comparisons.add(items)
        built: set[Any] = set()
        for start in range(0, len(items), SLICE):
            built.update(items[start : start + SLICE])
        return built

    def _build_dict(self, keys: list[Any], values: list[Any]) -> dict[Any, Any]:
        if len(keys) != len(values):
            raise MalformedValue("a malformed dict")
        if not _are_cheap(keys):
            self._comparisons.add(keys)
        return {key: value for key, value in zip(keys, values, strict=True)}  # noqa: C416  # `dict` lets no thread run


def _are_cheap(items: list[Any]) -> bool:
    """Return whether only equal items have equal hashes, but for a few."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return bool(min(items) > -HASH_MODULUS and max(items) < HASH_MODULUS)
    return kinds <= _RANDOMLY_HASHED


# --- what is trusted ---------------------------------------------------------------------------------

_RECORDS = 1_000
"""Dicts that are replaced by records at a time: these take the memory of those before."""
Build: TypeAlias = Callable[[Mark, list[Any]], object]
"""Builds a container from its mark and its items."""
_CONTAINERS = frozenset((list, dict, Mark))
_DICTS = {dict}


def decode_value(data: bytes | memoryview, record: type[dict[str, Any]] = dict) -> Any:
    """Decode what `encode_value` has written, maps as `record`; what a worker sends is for `read_bounded`."""
    return assemble(ormsgpack.unpackb(data, ext_hook=_read_extension), _build, record)


def _read_extension(code: int, payload: bytes) -> object:
    return MARKS[code] if code in MARKS else READERS[code](payload)


def _build(mark: Mark, items: list[Any]) -> object:
    return _BUILDERS[mark.name](items)


_BUILDERS: dict[str, Callable[[list[Any]], object]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda items: dict(zip(items[::2], items[1::2], strict=True)),
}


def assemble(value: object, build: Build, record: type[dict[str, Any]] = dict) -> Any:
    """Return what decoded data stands for; containers are changed in place.

    Args:
        value: The data.
        build: Builds what the arrays with a mark stand for, the deepest first.
        record: What dicts become.

    Raises:
        MalformedValue: A mark is not at the start of an array.
    """
    root = [value]
    waiting: list[Any] = [root]
    marked: list[tuple[Any, Any, list[Any]]] = []
    for container in waiting:  # which grows meanwhile
        for key, child in _containers_in(container, record):
            kind = type(child)
            if kind is list:
                waiting.append(child)
                if child and type(child[0]) is Mark:
                    marked.append((container, key, child))
            elif kind is dict:
                made = child
                if record is not dict:
                    container[key] = made = record(child)
                waiting.append(made)
            elif kind is Mark and (key != 0 or container is root):
                raise MalformedValue("a mark that is not at the start of an array")
    for container, key, form in reversed(marked):
        container[key] = build(form[0], form[1:])
    return root[0]


def _containers_in(container: Any, record: type[dict[str, Any]]) -> Iterable[tuple[Any, Any]]:
    """Return the items of a container with their keys; none if it contains no container."""
    if type(container) is not list:
        is_flat = _CONTAINERS.isdisjoint(map(type, container.values()))
        return () if is_flat else container.items()
    kinds = set(map(type, container))
    if kinds.isdisjoint(_CONTAINERS):
        return ()
    if kinds == _DICTS and not any(map(is_tracked, container)):  # they contain no containers
        if record is not dict:
            for start in range(0, len(container), _RECORDS):
                at = slice(start, start + _RECORDS)
                container[at] = map(record, container[at])  # type: ignore[arg-type]  # a constructor
        return ()
    return enumerate(container)
