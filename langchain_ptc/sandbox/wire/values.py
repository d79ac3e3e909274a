"""How values cross between the host and the code: by copy, as JSON with a few tagged forms.

| on one side | as JSON | on the other side |
|---|---|---|
| `None`, `bool`, `str`, `float`, `int` | themselves | the same |
| `int` of more than 4,000 digits | `{"$": ["int", "0x…"]}` | `int` |
| NaN, Infinity | `NaN`, `Infinity` | `float` |
| `list`, `dict` with string keys | array, object | `list`, `Record` in the code, `dict` on the host |
| `dict` with other keys, or with the single key `$` | `{"$": ["dict", [[key, value], …]]}` | the same |
| `tuple` (also named), `set`, `frozenset` | `{"$": ["tuple", […]]}` and so on | `tuple`, `set`, `frozenset` |
| `bytes`, `bytearray` | `{"$": ["bytes", base64]}` | `bytes` |
| `datetime`, `date`, `time`, `timedelta` | ISO 8601; seconds as three integers | the same |
| `Decimal`, `UUID`, `complex`, `range` | their text or numbers | the same |
| enum | its value | its value |
| pydantic model, dataclass, mapping | object | `Record` in the code, `dict` on the host |
| dict view, deque, `array`, other sequence, generator or other iterator | array | list |
| `sqlite3.Row`, row of SQLAlchemy, whatever else has keys | object | as a dict |
| numpy scalar and array | number, array | number, list |
| pandas frame, series, NA | array of objects, array or object, null | list of records, list or dict by index, None |
| an exception | its text | `str` |
| anything with a text of its own | that text | `str` |

Anything else, and a value that holds itself, is refused with `UnsendableValue`.
Standard library only: the worker uses it too.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from langchain_ptc.sandbox.wire.large import is_large
from langchain_ptc.sandbox.wire.objects import MAX_ITEMS, TooManyItems, UnsendableValue, as_data

TAG = "$"
MAX_DEPTH = 200
"""Levels of nesting: far beyond honest data, well within what JSON decoders take."""
MAX_PLAIN_INT = 10**4000
"""Python refuses to print integers of over 4,300 digits; larger ones travel as hexadecimal."""

_SCALARS = frozenset({type(None), bool, str, float})
_NUMBERS_AND_SCALARS = _SCALARS | {int}
_KEYS = frozenset({str})


class ValueTooLarge(ValueError):
    """A value is larger than it may be.

    Attributes:
        size: Its size in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class Record(dict[str, Any]):
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


RECORD_METHODS = frozenset(name for name in dir(dict) if not name.startswith("_"))
"""Names of a dict's methods: a record may have fields of the same names."""


def read_attribute(value: object, name: str) -> object:
    """Return an attribute that code reads without calling it: of a record, its field."""
    if type(value) is Record and name in value:
        return value[name]
    return getattr(value, name)


class Place:
    """Stands for an object in `page.copy += 1`: its attribute is read and set as code does elsewhere.

    Args:
        target: The object.
        get: Reads an attribute of it by name.
        put: Sets one.
    """

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


# --- encoding ---------------------------------------------------------------------------------

encode_text: Callable[[str], str] = json.encoder.encode_basestring
"""Encode a string as JSON text."""


_SLICE_ITEMS = 500
"""Items of a container that are encoded in one call of C code, during which no other thread runs."""


def build_encoder(item_separator: str, key_separator: str) -> Callable[[object], str]:
    """Return a function that encodes JSON's own types as text, in a thread without stopping the others.

    `JSONEncoder.encode` builds its C encoder anew each time, which is half of the cost of a small
    value; where Python has one, it is built once here.
    """
    stock = json.JSONEncoder(
        ensure_ascii=False, check_circular=False, separators=(item_separator, key_separator)
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return stock.encode
    in_c = make(
        None, stock.default, encode_text, None, key_separator, item_separator, False, False, True
    )

    def encode(value: Any) -> str:
        if type(value) not in (list, dict) or not is_large(value):
            return "".join(in_c(value, 0))
        is_list = type(value) is list
        items: Any = value if is_list else list(value.items())
        pieces = []
        for at in range(0, len(items), _SLICE_ITEMS):
            part = items[at : at + _SLICE_ITEMS] if is_list else dict(items[at : at + _SLICE_ITEMS])
            if not is_large(part):
                pieces.append("".join(in_c(part, 0))[1:-1])
            elif is_list:
                pieces += map(encode, part)
            else:
                pieces += [f"{encode(k)}{key_separator}{encode(v)}" for k, v in part.items()]
        body = item_separator.join(pieces)
        return f"[{body}]" if is_list else f"{{{body}}}"

    return encode


_encode_json = build_encoder(",", ":")


def encode_value(value: object, *, max_items: int = MAX_ITEMS) -> str:
    """Encode `value` as JSON text.

    Args:
        value: Any value. Iterators in it are read to their end.
        max_items: Items that may be taken from an iterator.

    Raises:
        UnsendableValue: It holds something that cannot cross, or itself, or is nested too deeply.
        Exception: What an iterator in it, or the code of an object's class, raised.
    """
    return _encode_json(value if _is_plain(value, 0) else _Simplifier(max_items).simplify(value))


def encode_sized(value: object, max_bytes: int) -> tuple[str, int]:
    """Encode `value` and measure it: a string in UTF-8, anything else as JSON.

    Raises:
        UnsendableValue: As `encode_value`.
        Exception: As `encode_value`.
        ValueTooLarge: It has more than `max_bytes` bytes.
    """
    if isinstance(value, str) and len(value) > max_bytes:
        raise ValueTooLarge(utf8_length(value))
    try:
        text = encode_value(value, max_items=max_bytes // 2)  # an item and what separates it
    except TooManyItems as error:
        raise ValueTooLarge(2 * error.count) from error
    measured = value if isinstance(value, str) else text
    size = utf8_length(measured)
    if size > max_bytes:
        raise ValueTooLarge(size)
    return text, size


def utf8_length(text: str) -> int:
    """Return how many bytes `text` has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _is_plain(value: object, depth: int) -> bool:
    """Whether JSON's own encoder keeps every type in `value`; the common case, kept fast."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is int:
        return -MAX_PLAIN_INT < value < MAX_PLAIN_INT  # type: ignore[operator]  # it is an int
    if depth >= MAX_DEPTH:
        return False
    if kind is list:
        children: Any = value
    elif kind is dict:
        if not set(map(type, value)) <= _KEYS or TAG in value:  # type: ignore[call-overload, operator]
            return False
        children = value.values()  # type: ignore[attr-defined]  # it is a dict
    else:
        return False
    kinds = set(map(type, children))  # by C code: most containers hold scalars only
    if kinds <= _SCALARS:
        return True
    if kinds <= _NUMBERS_AND_SCALARS:
        numbers = [child for child in children if type(child) is int]
        return min(numbers) > -MAX_PLAIN_INT and max(numbers) < MAX_PLAIN_INT
    for child in children:  # noqa: SIM110  # the generator of `all()` costs as much as the rest
        if not _is_plain(child, depth + 1):
            return False
    return True


class _Simplifier:
    """Turns a value into JSON's own types and tags.

    Args:
        max_items: Items that may be taken from an iterator.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._parents: list[object] = []

    def simplify(self, value: object) -> object:
        """Return `value` in terms of JSON's own types and tags."""
        kind = type(value)
        if kind in _SCALARS:
            return value
        if isinstance(value, Enum):
            return self.simplify(value.value)
        if isinstance(value, int):
            plain = int(value)
            return plain if -MAX_PLAIN_INT < plain < MAX_PLAIN_INT else {TAG: ["int", hex(plain)]}
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, float):
            return float.__float__(value)
        scalar = _TAGGED.get(kind)
        if scalar is not None:
            return {TAG: [scalar[0], scalar[1](value)]}
        if any(parent is value for parent in self._parents):
            raise UnsendableValue(f"a {kind.__name__} holds a reference to itself")
        if len(self._parents) >= MAX_DEPTH:
            raise UnsendableValue(f"it is nested more than {MAX_DEPTH} levels deep")
        self._parents.append(value)
        try:
            return self._simplify_container(value)
        finally:
            self._parents.pop()

    def _each(self, items: Iterable[object]) -> list[object]:
        return [self.simplify(item) for item in items]

    def _simplify_container(self, value: object) -> object:
        if isinstance(value, list):
            return self._each(value)
        if isinstance(value, Mapping):
            if all(type(key) is str for key in value) and not (len(value) == 1 and TAG in value):
                return {key: self.simplify(item) for key, item in value.items()}
            return {TAG: ["dict", [self._each(pair) for pair in value.items()]]}
        if isinstance(value, tuple):
            return {TAG: ["tuple", self._each(value)]}
        if isinstance(value, KeysView | ItemsView | ValuesView):  # sets by name, but in an order
            return self._each(value)
        if isinstance(value, AbstractSet):
            return {
                TAG: ["frozenset" if isinstance(value, frozenset) else "set", self._each(value)]
            }
        if isinstance(value, datetime.datetime) and value != value:  # pandas' NaT
            return None
        for name, scalar in _TAGGED_CLASSES:
            if isinstance(value, name):
                return {TAG: [scalar[0], scalar[1](value)]}
        return self.simplify(as_data(value, max_items=self._max_items))


def _encode_timedelta(value: Any) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


_TAGGED: dict[type, tuple[str, Callable[[Any], object]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    bytearray: ("bytes", lambda value: base64.b64encode(value).decode()),
    # The classes' own methods: a subclass may write itself in a way that nobody reads.
    datetime.datetime: ("datetime", datetime.datetime.isoformat),
    datetime.date: ("date", datetime.date.isoformat),
    datetime.time: ("time", datetime.time.isoformat),
    datetime.timedelta: ("timedelta", _encode_timedelta),
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
    complex: ("complex", lambda value: [value.real, value.imag]),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
}
_TAGGED_CLASSES = tuple(_TAGGED.items())  # subclasses too, most special first: datetime is a date


# --- decoding ---------------------------------------------------------------------------------

REVIVE: dict[str, Callable[[Any], object]] = {
    # What is trusted: `bounded` is for what a worker sends.
    "int": lambda text: int(text, 16),
    "dict": lambda pairs: {key: value for key, value in pairs},  # noqa: C416  # checks the shape
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda parts: datetime.timedelta(*parts),
    "decimal": Decimal,
    "uuid": UUID,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
}


def revive(data: dict[str, Any]) -> object:
    """Turn one decoded JSON object into a value for the host; for `json.loads(object_hook=…)`.

    Raises:
        ValueError: A tagged form that nobody writes.
    """
    if len(data) == 1 and TAG in data:
        return _revive_tagged(data[TAG])
    return data


def revive_record(data: dict[str, Any]) -> object:
    """Turn one decoded JSON object into a value for the code; for `json.loads(object_hook=…)`."""
    if len(data) == 1 and TAG in data:
        return _revive_tagged(data[TAG])
    return Record(data)


def _revive_tagged(tagged: object) -> object:
    try:
        kind, payload = cast("list[Any]", tagged)  # anything else is caught below
        return REVIVE[kind](payload)
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        raise ValueError(f"a malformed value: {type(error).__name__}") from error
