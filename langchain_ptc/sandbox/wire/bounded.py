"""Values from a worker, built within bounds: what is cheap to send must be cheap to build and to use.

A worker's value is decoded into plain data first: scalars, lists, and dicts with text keys. `build_value`
turns its tagged forms (see `values`) into what they stand for, in a time that is linear in what was
sent. Nothing here depends on how plain data is written on the line. The worker builds its own values
by the same function before it sends them, so that honest code is told at the call what the host would
refuse.

| form | bound |
|---|---|
| nesting | `MAX_DEPTH` levels |
| `int` | 4,300 digits, which is what Python itself converts to text |
| `Decimal` | 4,300 digits before and after the point: `Decimal("1E+6000000")` would be a large `int` |
| `range` | its items count as values, since a tool may take a list: 500,000 in one message |
| `set`, `frozenset`, `dict` | the work of telling items of equal hash apart, which is quadratic |
| dates, times, UUIDs | the length of their text |
| long numbers anywhere | the same work, for a tool that makes a set of them |

Standard library only: the worker uses it too.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any, NamedTuple

from langchain_ptc.sandbox.wire.values import MAX_DEPTH, REVIVE, TAG

MAX_DIGITS = 4300
MAX_VALUES = 500_000
"""Values in one frame from a worker: a small frame must not become a large heap on the host."""
MAX_COMPARISONS = 500_000
"""Of items of equal hash, in one message; about 15 ms."""
_MAX_INT = 10**MAX_DIGITS
_MAX_HEX_CHARS = 3_600
_MAX_DECIMAL_CHARS = 2 * MAX_DIGITS + 20
_MAX_TIME_CHARS = 64
_SLICE = 20_000
"""Items that are hashed in one call of C code, which no other thread can interrupt."""
FORM_START = '{"$":['
"""What every tagged form begins with on the line, as an honest worker writes it."""
SCALARS = frozenset((str, int, float, bool, type(None)))
_PLAIN_CONTAINERS = frozenset((list, dict, tuple))
_CONTAINER_FORMS = frozenset(("tuple", "set", "frozenset", "dict"))
HASH_MODULUS = sys.hash_info.modulus
_RANDOMLY_HASHED = frozenset((str, bytes, bool, type(None), date))
"""Of whose items nobody can make many with one hash."""
_SHORT_TEXTS = frozenset(("datetime", "date", "time", "uuid"))
_PARTS = frozenset((int, float))


class OutOfBounds(ValueError):
    """A value costs more to build or to use than a worker may ask for; the message says which."""


class MalformedValue(ValueError):
    """A tagged form that no honest worker writes."""


class Built(NamedTuple):
    """A value that was built, and what it may come to."""

    value: Any
    spread_items: int
    """Items of the ranges in it."""


def build_value(data: object, most_levels: int = MAX_DEPTH) -> Built:
    """Return what plain data stands for. Containers are changed in place.

    Args:
        data: Scalars, lists, and dicts with text keys, of exactly these types.
        most_levels: How deeply it may be nested; what a tagged form adds is not counted.

    Raises:
        OutOfBounds: It is nested too deeply, or a part of it is beyond its bound.
        MalformedValue: A tagged form that no honest worker writes.
    """
    root: list[Any] = [data]
    builder = _Builder()
    level: list[Any] = [root]
    for _ in range(most_levels + 2):
        level = builder.open_level(level)
        if not level:
            builder.build_containers()
            return Built(root[0], MAX_VALUES - builder.range_items)
    raise OutOfBounds(_TOO_DEEP)


def check_depth(data: object, most_levels: int = MAX_DEPTH) -> None:
    """Refuse plain data without tagged forms that is nested deeply: code may recurse into it.

    Raises:
        OutOfBounds: It is.
    """
    level: list[Any] = [[data]]
    for _ in range(most_levels + 2):
        level = [*filter(_is_container, _children_of(level))]
        if not level:
            return
    raise OutOfBounds(_TOO_DEEP)


_TOO_DEEP = f"a value that is nested more than {MAX_DEPTH} levels deep"


def _children_of(containers: list[Any]) -> list[Any]:
    """Return what containers of plain data hold, all together; nothing if these are scalars."""
    dicts = [part for part in containers if type(part) is dict]
    children: list[Any] = [*chain.from_iterable(map(dict.values, dicts))]
    if len(dicts) < len(containers):
        children += chain.from_iterable(part for part in containers if type(part) is not dict)
    return [] if SCALARS.issuperset(map(type, children)) else children


def _is_container(part: Any) -> bool:
    return type(part) in _PLAIN_CONTAINERS


def _is_form(part: Any) -> bool:
    return type(part) is dict and len(part) == 1 and TAG in part


def build_scalar(data: dict[str, Any]) -> object:
    """Return the scalar, or the tuple of scalars, that an object stands for, or the object itself.

    For the scanner: thousands of dates should not lie in memory as thousands of objects first.

    Raises:
        OutOfBounds: It is beyond its bound.
        MalformedValue: No honest worker writes it.
    """
    if len(data) != 1 or TAG not in data:
        return data
    kind, payload = _open_form(data[TAG])
    if type(payload) is str and len(payload) <= _MAX_TIME_CHARS and kind in _SHORT_TEXTS:
        try:
            return REVIVE[kind](payload)
        except (TypeError, ValueError) as error:
            raise MalformedValue(f"a malformed {kind}: {type(error).__name__}") from error
    if kind in _SCALAR_FORMS and kind != "range":
        return _build(kind, payload)
    if kind == "tuple" and type(payload) is list and SCALARS.issuperset(map(type, payload)):
        return tuple(payload)
    return data


def _open_form(tagged: object) -> tuple[str, Any]:
    """Return kind and payload of a tagged form."""
    if type(tagged) is not list or len(tagged) != 2 or type(tagged[0]) is not str:
        raise MalformedValue("a malformed value")
    return tagged[0], tagged[1]


def _lists_in(kind: str, payload: Any) -> list[Any]:
    """Return the lists that the form of a container holds: its items, or the pairs of a dict."""
    if kind not in _CONTAINER_FORMS:
        raise MalformedValue("a value of no known form")
    if type(payload) is not list:
        raise MalformedValue(f"a malformed {kind}")
    if kind != "dict":
        return [payload]
    for pair in payload:
        if type(pair) is not list or len(pair) != 2:
            raise MalformedValue("a malformed dict")
    return payload


def _build(kind: str, payload: Any) -> object:
    """Build a scalar."""
    _SCALAR_FORMS[kind](payload)
    try:
        value = REVIVE[kind](payload)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise MalformedValue(f"a malformed {kind}: {type(error).__name__}") from error
    if kind == "int":
        _check_int(value)
    elif kind == "decimal" and (len(payload) > MAX_DIGITS or "E" in payload or "e" in payload):
        _check_decimal(value)  # type: ignore[arg-type]  # it is one
    return value


class _Builder:
    """Builds the values of one message, which share their bounds.

    Scalars are built on the way down, level by level, in place; containers on the way up.
    """

    def __init__(self) -> None:
        self._comparisons = MAX_COMPARISONS
        self._waiting: list[tuple[Any, Any, str, Any]] = []
        """Container, key or index in it, and the form that is to be built there."""
        self.range_items = MAX_VALUES

    def open_level(self, containers: list[Any]) -> list[Any]:
        """Build the scalars in containers of one level; return the containers one level below."""
        children = _children_of(containers)
        if not any(map(_is_form, children)):
            return [*filter(_is_container, children)]
        below: list[Any] = []
        for container in containers:
            items = enumerate(container) if type(container) is list else container.items()
            for key, child in items:
                if _is_form(child):
                    self._open(container, key, child[TAG], below)
                elif _is_container(child):
                    below.append(child)
        return below

    def _open(self, container: Any, key: Any, tagged: object, below: list[Any]) -> None:
        kind, payload = _open_form(tagged)
        if kind in _SCALAR_FORMS:
            container[key] = _build(kind, payload)
            if kind == "range":
                self._count_range(container[key])
        else:
            below += _lists_in(kind, payload)
            self._waiting.append((container, key, kind, payload))

    def build_containers(self) -> None:
        """Build the containers that have forms of their own: the deepest first."""
        for container, key, kind, payload in reversed(self._waiting):
            try:
                container[key] = self._build_container(kind, payload)
            except TypeError as error:  # an item without a hash
                raise MalformedValue(f"a malformed {kind}: {type(error).__name__}") from error

    def _build_container(self, kind: str, payload: list[Any]) -> object:
        if kind == "tuple":
            return tuple(payload)
        if kind == "dict":
            return self._build_dict(payload)
        built = self._build_set(payload)
        return built if kind == "set" else frozenset(built)

    def _count_range(self, numbers: range) -> None:
        self.range_items -= max(0, -((numbers.start - numbers.stop) // numbers.step))
        if self.range_items < 0:
            raise OutOfBounds(
                f"ranges of more than {MAX_VALUES:,} items, which count as values; "
                "send the numbers that bound it"
            )

    def _build_set(self, items: list[Any]) -> set[Any]:
        if not _are_cheap(items):
            self._check_hashes(items)
        built = _build_in_slices(items)
        if len(built) < len(items):
            self._check_hashes(items)  # equal ones: no honest worker sends so many
        return built

    def _build_dict(self, pairs: list[Any]) -> dict[Any, Any]:
        keys = [key for key, _ in pairs]
        if not _are_cheap(keys) or len(_build_in_slices(keys)) < len(keys):
            self._check_hashes(keys)
        return {key: value for key, value in pairs}  # noqa: C416  # `dict` lets no thread run

    def _check_hashes(self, items: Sequence[Any]) -> None:
        """Refuse items that would be compared with each other too often.

        Only items of equal hash are compared. Those whose hashes differ may meet in a table as well,
        but not often: each step of the search takes other bits of the hash.
        """
        hashes: list[int] = []
        seen: set[int] = set()
        for start in range(0, len(items), _SLICE):
            some = [*map(hash, items[start : start + _SLICE])]
            seen.update(some)
            hashes += some
        if len(seen) == len(items):
            return
        groups: defaultdict[int, list[Any]] = defaultdict(list)
        for key, item in zip(hashes, items, strict=True):
            groups[key].append(item)
        for group in groups.values():
            if len(group) > 1:
                self._comparisons -= len(group) * sum(map(_cost_of_comparing, group))
                if self._comparisons < 0:
                    raise OutOfBounds(
                        "a set, or the keys of a dict, of which too many items have one hash; "
                        "send a list"
                    )


def _are_cheap(items: list[Any]) -> bool:
    """Return whether only equal items have equal hashes, but for a few."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return bool(min(items) > -HASH_MODULUS and max(items) < HASH_MODULUS)
    return kinds <= _RANDOMLY_HASHED


def _build_in_slices(items: list[Any]) -> set[Any]:
    built: set[Any] = set()
    for start in range(0, len(items), _SLICE):
        built.update(items[start : start + _SLICE])
    return built


def _cost_of_comparing(item: Any) -> int:
    """Return how long it may take to compare an item with another one, in units of a small int."""
    kind = type(item)
    if kind is int:
        return 1 + item.bit_length() // 64  # type: ignore[no-any-return]  # it is an int
    if kind is Decimal:
        return 1_000  # with an int: it is converted
    if kind is tuple:
        return 1 + sum(map(_cost_of_comparing, item))
    if kind is frozenset:  # looks its items up, of which many may have one hash too
        return (1 + sum(map(_cost_of_comparing, item))) ** 2
    if kind is str or kind is bytes:
        return 1 + len(item) // 64
    return 4


# --- the shapes of payloads ---------------------------------------------------------------------


def _check_int(value: object) -> None:
    if type(value) is int and not -_MAX_INT < value < _MAX_INT:
        raise OutOfBounds(f"an integer of more than {MAX_DIGITS:,} digits; send it as text")


def _check_decimal(value: Decimal) -> None:
    if not value.is_finite():
        return
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) > MAX_DIGITS or exponent < -MAX_DIGITS or value.adjusted() >= MAX_DIGITS:
        raise OutOfBounds(
            f"a Decimal of more than {MAX_DIGITS:,} digits before or after the point; "
            "send it as text"
        )


def _text_of(most: int, what: str) -> Callable[[object], None]:
    def check(payload: object) -> None:
        if type(payload) is not str:
            raise MalformedValue(f"a malformed {what}")
        if len(payload) > most:
            raise OutOfBounds(f"{what}: more than {most:,} characters")

    return check


def _check_bytes(payload: object) -> None:
    if type(payload) is not str:
        raise MalformedValue("malformed bytes")


def _numbers_of(count: int, kinds: frozenset[type]) -> Callable[[object], None]:
    def check(payload: object) -> None:
        if (
            type(payload) is not list
            or len(payload) != count
            or not kinds.issuperset(map(type, payload))
        ):
            raise MalformedValue("malformed numbers")
        for number in payload:
            _check_int(number)

    return check


_SCALAR_FORMS: dict[str, Callable[[object], None]] = {
    "int": _text_of(_MAX_HEX_CHARS, f"an integer of more than {MAX_DIGITS:,} digits"),
    "bytes": _check_bytes,
    "datetime": _text_of(_MAX_TIME_CHARS, "a datetime"),
    "date": _text_of(_MAX_TIME_CHARS, "a date"),
    "time": _text_of(_MAX_TIME_CHARS, "a time"),
    "timedelta": _numbers_of(3, frozenset((int,))),
    "decimal": _text_of(_MAX_DECIMAL_CHARS, f"a Decimal of more than {MAX_DIGITS:,} digits"),
    "uuid": _text_of(_MAX_TIME_CHARS, "a UUID"),
    "complex": _numbers_of(2, _PARTS),
    "range": _numbers_of(3, frozenset((int,))),
}
