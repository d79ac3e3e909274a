"""How values cross between the host and the code: by copy, as MessagePack with extension types.

| on one side | as MessagePack | on the other side |
|---|---|---|
| `None`, `bool`, `int` of 64 bits, `float`, `str`, `bytes` | themselves | the same |
| larger `int`, text with lone surrogates | extension: their bytes | the same |
| `list`, `dict` with string keys | array, map | `list`, `AttrDict` in the code, `dict` on the host |
| `dict` with other keys | array: extension `DICT`, key, value, key, value, … | the same |
| `tuple` (also named), `set`, `frozenset` | array: extension `TUPLE` and so on, items | the same |
| `bytearray`, `memoryview` | bytes | `bytes` |
| `datetime`, `date`, `time`, `timedelta`, `Decimal`, `UUID`, `complex`, `range` | extension: their text | the same |
| enum | its value | its value |
| pydantic model, dataclass, mapping | map | `AttrDict` in the code, `dict` on the host |
| dict view, deque, `array`, other sequence, generator or other iterator | array | list |
| `sqlite3.Row`, row of SQLAlchemy, whatever else has keys | map | as a dict |
| numpy scalar and array | number, array | number, list |
| pandas frame, series, NA | array of maps, array or map, nil | list of records, list or dict by index, None |
| an exception | its text | `str` |
| anything with a text of its own | that text | `str` |

Anything else, and a value that contains itself, is refused with `UnsendableValue`. `ormsgpack` never
calls back into Python here: it reads containers in place, which nobody may change meanwhile.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import datetime
import io
import struct
from collections import UserString
from collections.abc import (
    Awaitable,
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import chain, groupby, islice
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple, cast
from uuid import UUID

import ormsgpack

MAX_ITEMS = 32 * 1024 * 1024
"""Items that are taken from an iterator, where nothing else limits them."""


class UnsendableValue(TypeError):
    """A value cannot cross; the message says which and why."""


class TooManyItems(UnsendableValue):
    """An iterator does not end within the `count` of items that may be taken from it."""

    def __init__(self, value: object, count: int) -> None:
        kind = type(value).__qualname__
        super().__init__(f"an object of class {kind} gives more than {count:,} items")
        self.count = count


def as_data(value: object, *, max_items: int = MAX_ITEMS) -> object:
    """Return what an object that is not plain data consists of, one level deep; raises `UnsendableValue`."""
    kind = type(value)
    if isinstance(value, type):
        raise UnsendableValue(f"an object of class {kind.__name__} is not plain data")
    read = _library_reader(value)
    if read is not None:
        return read(value)
    if isinstance(value, memoryview):
        return value.tobytes()
    if isinstance(value, BaseException):
        return f"{kind.__name__}: {value}"
    if isinstance(value, Sequence) and not isinstance(value, UserString):
        return _by_name(cast("Any", value).keys(), value) if _has_keys(value) else list(value)
    if has_own_text(value):
        return str(value)
    if callable(value):
        raise UnsendableValue(f"an object of class {kind.__name__} is not plain data")
    if _has_keys(value):
        row = cast("Any", value)
        return {key: row[key] for key in row.keys()}  # noqa: SIM118  # it is not a dict
    if _is_plain_iterable(value):
        return take_items(cast("Iterable[Any]", value), max_items)
    raise UnsendableValue(
        f"an object of class {kind.__qualname__} cannot cross between the tools and the code; "
        "use plain data (str, numbers, list, dict), a dataclass or a pydantic model"
    )


def has_own_text(value: object) -> bool:
    """Whether somebody wrote a text for the object: not Python's own, with an address in it."""
    kind = type(value)
    return kind.__str__ is not object.__str__ or isinstance(kind.__repr__, FunctionType)


def is_iterator(value: object) -> bool:
    """Whether a value is an iterator that is data only by what it gives: a generator, `map`, `zip`."""
    return isinstance(value, Iterator) and _is_plain_iterable(value) and not has_own_text(value)


def take_items(items: Iterable[Any], most: int) -> list[Any]:
    """Return the items of `items`; raises `TooManyItems` if there are more than `most`."""
    if isinstance(items, groupby):  # to take the next group empties the one before
        items = ((key, take_items(group, most)) for key, group in items)
    taken = list(islice(items, most + 1))
    if len(taken) > most:
        raise TooManyItems(items, most)
    return taken


def _is_plain_iterable(value: object) -> bool:
    """Whether a value gives its items to anybody: no file, and nothing that is to be awaited."""
    return isinstance(value, Iterable) and not isinstance(value, Awaitable | io.IOBase)


# --- what has keys --------------------------------------------------------------------------------


def _has_keys(value: object) -> bool:
    """Whether `dict(value)` would go by keys, as for a `sqlite3.Row`."""
    kind = type(value)
    return callable(getattr(kind, "keys", None)) and hasattr(kind, "__getitem__")


def _by_name(names: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    """Return a row as a dict; columns of the same name are told apart."""
    return dict(zip(unique_names(list(names)), values, strict=True))


def unique_names(names: Sequence[Any]) -> list[Any]:
    """Return names without repetitions, in the way of pandas: `a`, `a.1`, `a.2`."""
    taken = set(names)
    counts: dict[Any, int] = {}
    found = []
    for name in names:
        own = name
        if name in counts:
            while own in taken:
                counts[name] += 1
                own = f"{name}.{counts[name]}"
            taken.add(own)
        counts.setdefault(name, 0)
        found.append(own)
    return found


# --- libraries ------------------------------------------------------------------------------------


def _library_reader(value: object) -> Callable[[Any], object] | None:
    """Return what reads the data of an object of a known library; None for any other."""
    kind = type(value)
    if callable(dump := getattr(kind, "model_dump", None)):  # pydantic
        return cast("Callable[[Any], object]", dump)
    if dataclasses.is_dataclass(kind):
        return partial(_read_fields, dataclasses.fields(kind))
    if isinstance(value, SimpleNamespace):
        return vars
    if hasattr(kind, "__attrs_attrs__"):
        return partial(_read_fields, kind.__attrs_attrs__)
    if hasattr(kind, "__fields__") and callable(dump := getattr(kind, "dict", None)):  # pydantic 1
        return cast("Callable[[Any], object]", dump)
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ in _PANDAS:
        return _PANDAS[kind.__name__]
    if hasattr(kind, "dtype") and callable(getattr(kind, "tolist", None)):
        return _read_array
    if package == "sqlalchemy" and kind.__name__ == "Row":
        return lambda row: _by_name(row._fields, row)
    return None


def _read_fields(fields: Iterable[Any], value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields}


def _read_array(value: Any) -> object:
    """Read a scalar or an array of numpy, or an array of pandas."""
    kind = getattr(value.dtype, "kind", "")
    if kind in ("M", "m") and type(value).__module__.partition(".")[0] == "numpy":
        # Of nanoseconds numpy itself gives bare numbers.
        value = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
    return value.tolist()


def _read_frame(frame: Any) -> object:
    """Read a frame: a list of records, with the index where it says something."""
    if type(frame.index).__name__ != "RangeIndex":
        frame = frame.reset_index(allow_duplicates=True)
    if not frame.columns.is_unique:  # pandas itself would drop columns
        frame = frame.set_axis(unique_names(list(frame.columns)), axis=1)
    return frame.to_dict(orient="records")


def _read_series(series: Any) -> object:
    """Read a series: a list, a dict where its index says something, pairs where that repeats."""
    if type(series.index).__name__ == "RangeIndex":
        return series.tolist()
    return series.to_dict() if series.index.is_unique else list(series.items())


_PANDAS: dict[str, Callable[[Any], object]] = {
    "DataFrame": _read_frame,
    "Series": _read_series,
    "NAType": lambda value: None,  # noqa: ARG005  # pandas' NA
}


# --- how much it is -------------------------------------------------------------------------------

_MANY_PARTS = 5_000
_MANY_CHARS = 1_000_000
_SMALL = frozenset({type(None), bool, int, float})
_CHARS, _CONTAINERS = frozenset({str, bytes}), frozenset({list, dict, tuple})


def is_large(value: object) -> bool:
    """Return whether a value has many parts or long texts; looks at no more than a few thousand."""
    waiting, parts, chars = [value], 0, 0
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind in _SMALL:  # the common types are known without asking about abstract classes
            continue
        if kind in _CHARS or isinstance(part, str | bytes):
            chars += len(part)  # type: ignore[arg-type]  # it has one
        elif kind is range:  # of which `len` may be too large for an index
            parts += (part.stop - part.start) // part.step  # type: ignore[attr-defined]
        elif kind in _CONTAINERS or isinstance(part, Mapping | list | tuple | AbstractSet):
            parts += len(part)  # type: ignore[arg-type]  # it has one
            if parts > _MANY_PARTS:
                return True
            if kind is dict or isinstance(part, Mapping):
                waiting += part.values()  # type: ignore[attr-defined]  # it is a mapping
            else:
                waiting += part  # type: ignore[arg-type]  # it can be iterated over
        if parts > _MANY_PARTS or chars > _MANY_CHARS:
            return True
    return False


MAX_DEPTH = 200
"""Levels of nesting: far beyond honest data, and within what `ormsgpack` takes."""


class ValueTooLarge(ValueError):
    """A value is larger than it may be; `size` is in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class AttrDict(dict[str, Any]):
    """A dict whose keys can be read and written as attributes too."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in self and not name.startswith("__"):
            return self[name]
        raise AttributeError(f"the record has no field {name!r}; {_keys_of(self)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"the record has no field {name!r}; {_keys_of(self)}") from None

    def __missing__(self, key: object) -> Any:
        error = KeyError(key)
        error.add_note(_keys_of(self))
        raise error


DICT_METHODS = frozenset(name for name in dir(dict) if not name.startswith("_"))
"""Names of a dict's methods: a record may have fields of the same names."""


def read_attribute(value: object, name: str) -> object:
    """Return an attribute that code reads without calling it: of a record, its field."""
    if type(value) is AttrDict and name in value:
        return value[name]
    return getattr(value, name)


class Place:
    """Stands for an object in `page.copy += 1`: its attribute is read and set as code does elsewhere."""

    __slots__ = ("_ptc_parts",)

    def __init__(
        self,
        target: object,
        get: Callable[[object, str], object],
        put: Callable[[object, str, object], None],
    ) -> None:
        object.__setattr__(self, "_ptc_parts", (target, get, put))

    def __getattribute__(self, name: str) -> object:
        target, get, _ = object.__getattribute__(self, "_ptc_parts")
        return get(target, name)

    def __setattr__(self, name: str, value: object) -> None:
        target, _, put = object.__getattribute__(self, "_ptc_parts")
        put(target, name, value)


def _keys_of(record: Mapping[str, object]) -> str:
    shown = ", ".join(map(repr, list(record)[:30]))
    return f"its keys are: {shown}{', …' if len(record) > 30 else ''}" if record else "it is empty"


# --- extensions: what their payload is, and what reads and writes it ------------------------------


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
"""What reads the payload of an extension; of any worker only within the bounds of `decoding`."""


# --- encoding ---------------------------------------------------------------------------------

_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
"""Whatever has no type of its own in MessagePack is refused: `_Simplifier` says what it is."""
SLICE_BYTES = 128 * 1024
"""About what is encoded of a large container in one call of C code, during which no other thread runs."""
_FEW_ITEMS = 64
"""A large container with fewer items has large ones, which are encoded one by one."""
_ENOUGH_LEVELS = 1_000
"""More are never made use of."""
_NOT_OPENINGS = bytes({*range(256)} - {*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF})


def _measure_levels() -> int:
    """Return how many levels of nesting `ormsgpack.packb` takes: 255 in version 1.13."""
    levels, value = MAX_DEPTH, _wrap(None, MAX_DEPTH + 1)
    with contextlib.suppress(TypeError):
        while levels < _ENOUGH_LEVELS:
            ormsgpack.packb(value)
            levels, value = levels + 1, [value]
    return levels


def _wrap(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


_LEVELS = _measure_levels()


def encode_value(
    value: object, *, max_items: int = MAX_ITEMS, max_levels: int = MAX_DEPTH
) -> bytes:
    """Encode `value` as MessagePack.

    Args:
        value: Any value. Iterators in it are read to their end.
        max_items: Items that may be taken from an iterator.
        max_levels: How deeply it may be nested.

    Raises:
        UnsendableValue: It holds something that cannot cross, or itself, or is nested too deeply.
        Exception: What an iterator in it, or the code of an object's class, raised.
    """
    try:  # `suppress` would take longer than the rest
        return _pack(value, max_levels)
    except TypeError:
        pass
    data = _Simplifier(max_items, max_levels).simplify(value)
    with contextlib.suppress(TypeError):
        return _pack(data, max_levels)
    return _pack(_escape(data), max_levels)


def encode_sized(value: object, max_bytes: int) -> tuple[bytes, int]:
    """Encode `value` as `encode_value`, and measure it: a string in UTF-8, anything else as it is encoded.

    Raises:
        ValueTooLarge: It has more than `max_bytes` bytes.
    """
    if isinstance(value, str) and len(value) > max_bytes:
        raise ValueTooLarge(utf8_length(value))
    try:
        packed = encode_value(value, max_items=max_bytes)  # an item has at least one byte
    except TooManyItems as error:
        raise ValueTooLarge(error.count) from error
    size = utf8_length(value) if isinstance(value, str) else len(packed)
    if size > max_bytes:
        raise ValueTooLarge(size)
    return packed, size


def utf8_length(text: str) -> int:
    """Return how many bytes `text` has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def array_header(count: int) -> bytes:
    """Return what an array of `count` items begins with."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdd" + count.to_bytes(4, "big")


def map_header(count: int) -> bytes:
    """Return what a map of `count` pairs begins with."""
    return bytes((0x80 | count,)) if count < 16 else b"\xdf" + count.to_bytes(4, "big")


def _pack(value: Any, max_levels: int, *, is_known: bool = False) -> bytes:
    """Encode MessagePack's own types; raises `TypeError` for others, and for what is nested too deeply."""
    if type(value) in _PLAIN_CONTAINERS and (is_known or is_large(value)):
        if not max_levels:
            raise TypeError
        return b"".join(_pack_slices(value, max_levels))
    packed = ormsgpack.packb(value, None, _OPTIONS)
    if len(packed) > max_levels and len(packed.translate(None, _NOT_OPENINGS)) > max_levels:
        _pack_within(value, max_levels)
    return packed


def _pack_within(value: object, max_levels: int) -> memoryview:
    """Encode as `_pack` in one call that takes no deeper nesting: the levels that may be left are filled."""
    spare = _LEVELS - max_levels
    return memoryview(ormsgpack.packb(_wrap(value, spare), None, _OPTIONS))[spare:]


def _pack_slices(value: Any, max_levels: int) -> Iterator[bytes | memoryview]:
    """Encode a large container in slices, between which other threads get their turn."""
    is_list = type(value) is list
    items: Any = list(value) if is_list else list(value.items())  # others may change it meanwhile
    if not is_list and not _TEXTS.issuperset(map(type, value)):
        raise TypeError
    yield array_header(len(items)) if is_list else map_header(len(items))
    if len(items) < _FEW_ITEMS:
        # The only container in a large one is large itself: to ask at each level would take long.
        inner = items if is_list else [item for _, item in items]
        is_known = sum(type(item) in _PLAIN_CONTAINERS for item in inner) == 1
        for item in items:
            if not is_list:
                yield ormsgpack.packb(item[0])
            yield _pack(item if is_list else item[1], max_levels - 1, is_known=is_known)
        return
    at, count = 0, _FEW_ITEMS
    while at < len(items):
        some = items[at : at + count]
        packed = _pack_within(some if is_list else dict(some), max_levels)
        yield packed[1 if len(some) < 16 else 3 if len(some) < 65_536 else 5 :]
        at += count
        count = max(1, count * SLICE_BYTES // len(packed))


class _Simplifier:
    """Turns a value into `None`, numbers, text, bytes, lists and dicts of its own, and extensions."""

    def __init__(self, max_items: int, max_levels: int) -> None:
        self._max_items = max_items
        self._max_levels = max_levels
        self._parents: list[object] = []

    def simplify(self, value: object) -> object:
        """Return `value` in terms of MessagePack's own types and extensions."""
        kind = type(value)
        if kind in _SCALARS:
            return value
        if isinstance(value, Enum):
            return self.simplify(value.value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        writer = WRITERS.get(kind)
        if writer is not None:
            return ormsgpack.Ext(writer[0], writer[1](value))
        if any(parent is value for parent in self._parents):
            raise UnsendableValue(f"a {kind.__name__} holds a reference to itself")
        if len(self._parents) >= self._max_levels:
            raise UnsendableValue(f"it is nested more than {MAX_DEPTH} levels deep")
        self._parents.append(value)
        try:
            return self._simplify_container(value)
        finally:
            self._parents.pop()

    def _each(self, items: Iterable[object]) -> list[object]:
        # Most items are scalars: to call a function for each would take longer than the rest.
        return [item if type(item) in _SCALARS else self.simplify(item) for item in items]

    def _simplify_container(self, value: object) -> object:
        if isinstance(value, list):
            return self._each(value)
        if isinstance(value, Mapping):
            keys = list(value)
            if _TEXTS.issuperset(map(type, keys)):
                return dict(zip(keys, self._each(value[key] for key in keys), strict=True))
            return [DICT, *self._each(chain.from_iterable(value.items()))]
        if isinstance(value, tuple):
            return [TUPLE, *self._each(value)]
        if isinstance(value, KeysView | ItemsView | ValuesView):  # sets by name, but in an order
            return self._each(value)
        if isinstance(value, AbstractSet):
            mark = FROZENSET if isinstance(value, frozenset) else SET
            return [mark, *self._each(value)]
        if isinstance(value, datetime.datetime) and value != value:  # pandas' NaT
            return None
        for name, (code, write) in WRITER_CLASSES:
            if isinstance(value, name):
                return ormsgpack.Ext(code, write(value))
        return self.simplify(as_data(value, max_items=self._max_items))


_PLAIN_CONTAINERS = frozenset((list, dict))
_SCALARS = frozenset((type(None), bool, int, float, str))
_TEXTS = frozenset((str,))


def _escape(data: Any) -> Any:
    """Return simplified data with extensions for large integers and for text with lone surrogates."""
    kind = type(data)
    if kind is int and not -(2**63) <= data < 2**64:
        return ormsgpack.Ext(INT, write_int(data))
    if kind is str and not is_utf8(data):
        return ormsgpack.Ext(TEXT, data.encode("utf-8", "surrogatepass"))
    if kind is list:
        return [*map(_escape, data)]
    if kind is dict and all(map(is_utf8, data)):
        return {key: _escape(item) for key, item in data.items()}
    if kind is dict:
        return [DICT, *map(_escape, chain.from_iterable(data.items()))]
    return data


def is_utf8(text: str) -> bool:
    """Return whether a text has no lone surrogates."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
