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
| long numbers anywhere, also as text | the same work, for a tool whose schema makes a set of them |

Standard library only: the worker uses it too.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from langchain_ptc.sandbox.values import MAX_DEPTH, REVIVE, TAG

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
_SCALARS = frozenset((str, int, float, bool, type(None)))
_CONTAINER_FORMS = frozenset(("tuple", "set", "frozenset", "dict"))
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
    levels = _open_levels(data, most_levels)
    builder = _Builder()
    for level in reversed(levels):
        for container in level:
            builder.settle(container)
    return Built(levels[0][0][0], MAX_VALUES - builder.range_items)


def check_depth(data: object, most_levels: int = MAX_DEPTH) -> None:
    """Refuse plain data without tagged forms that is nested deeply: code may recurse into it.

    Raises:
        OutOfBounds: It is.
    """
    _open_levels(data, most_levels)


def _open_levels(data: object, most: int) -> list[list[Any]]:
    """Return the containers of each level, from a list with `data` on."""
    level: list[Any] = [[data]]
    levels: list[list[Any]] = []
    for _ in range(most + 2):
        levels.append(level)
        level = [below for container in level for below in _containers_in(container)]
        if not level:
            return levels
    raise OutOfBounds(f"a value that is nested more than {MAX_DEPTH} levels deep")


def _containers_in(container: Any) -> list[Any]:
    """Return the containers one level below, with what tagged forms hold in place of these."""
    children = container if type(container) is list else container.values()
    if _SCALARS.issuperset(map(type, children)):
        return []
    found: list[Any] = []
    for child in children:
        if type(child) is list:
            found.append(child)
        elif type(child) is dict:
            if TAG in child and len(child) == 1:
                found += _open_form(child[TAG])
            else:
                found.append(child)
    return found


def _open_form(tagged: object) -> list[Any]:
    """Return the lists that a tagged form holds: its items, or the pairs of a dict."""
    if type(tagged) is not list or len(tagged) != 2 or type(tagged[0]) is not str:
        raise MalformedValue("a malformed value")
    kind, payload = tagged
    if kind in _SCALAR_FORMS:
        return []
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


class _Builder:
    """Builds the values of one message, which share their bounds."""

    def __init__(self) -> None:
        self._comparisons = MAX_COMPARISONS
        self.range_items = MAX_VALUES

    def settle(self, container: Any) -> None:
        """Build the tagged forms in a container; those below are built already."""
        if type(container) is list:
            if not _SCALARS.issuperset(map(type, container)):
                for place, child in enumerate(container):
                    if type(child) is dict and TAG in child and len(child) == 1:
                        container[place] = self._build(*child[TAG])
        elif not _SCALARS.issuperset(map(type, container.values())):
            for key, child in container.items():
                if type(child) is dict and TAG in child and len(child) == 1:
                    container[key] = self._build(*child[TAG])

    def _build(self, kind: str, payload: Any) -> object:
        try:
            if kind in _SCALAR_FORMS:
                return self._build_scalar(kind, payload)
            if kind == "tuple":
                return tuple(payload)
            if kind == "dict":
                return self._build_dict(payload)
            built = self._build_set(payload)
            return built if kind == "set" else frozenset(built)
        except (OutOfBounds, MalformedValue):
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise MalformedValue(f"a malformed {kind}: {type(error).__name__}") from error

    def _build_scalar(self, kind: str, payload: Any) -> object:
        _SCALAR_FORMS[kind](payload)
        if kind == "range":
            self._count_range(*payload)
        value = REVIVE[kind](payload)
        if kind == "int":
            _check_int(value)
        elif kind == "decimal":
            _check_decimal(value)  # type: ignore[arg-type]  # it is one
        return value

    def _count_range(self, start: int, stop: int, step: int) -> None:
        if step == 0:
            raise MalformedValue("a range without a step")
        self.range_items -= max(0, -((start - stop) // step))
        if self.range_items < 0:
            raise OutOfBounds(
                f"ranges of more than {MAX_VALUES:,} items, which count as values; "
                "send the numbers that bound it"
            )

    def _build_set(self, items: list[Any]) -> set[Any]:
        self._check_hashes(items)
        built: set[Any] = set()
        for start in range(0, len(items), _SLICE):
            built.update(items[start : start + _SLICE])
        return built

    def _build_dict(self, pairs: list[Any]) -> dict[Any, Any]:
        self._check_hashes([key for key, _ in pairs])
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


# --- numbers that a tool's schema may put into a set ----------------------------------------------

_HASH_MODULUS = sys.hash_info.modulus
LEAST_NUMBER_CHARS = 18
"""Shorter texts are too few for many of them to have one hash."""
_UUID_CHARS = frozenset((32, 36))


def check_numbers(value: object) -> None:
    """Refuse arguments that would be dear if a tool took them as `set[int]` or `dict[Decimal, str]`.

    pydantic makes a set of a list, and numbers of texts, all in one call. Honest numbers hardly ever
    have one hash, unless they are equal.

    Args:
        value: Values that were built.

    Raises:
        OutOfBounds: Too many different numbers among them have one hash.
    """
    groups: defaultdict[int, set[str]] = defaultdict(set)
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind is dict:
            waiting += part
            waiting += part.values()
        elif kind in _COLLECTIONS:
            if not _are_usual_floats(part):
                waiting += part
        else:
            for number in _find_numbers(part, kind):
                groups[hash(number)].add(repr(number))
    if sum(4 * len(group) ** 2 for group in groups.values() if len(group) > 1) > MAX_COMPARISONS:
        raise OutOfBounds("too many different numbers that have one hash; send fewer")


def _are_usual_floats(items: Any) -> bool:
    if {float} != set(map(type, items)):
        return False
    return bool(min(map(abs, items)) > 2**-40 and max(map(abs, items)) < 2**53)


def _find_numbers(part: Any, kind: type) -> tuple[object, ...]:
    """Return what numbers a scalar may become that could share their hash with many others."""
    if kind is int:
        return () if -_HASH_MODULUS < part < _HASH_MODULUS else (part,)
    if kind is float:
        return () if 2**-40 < abs(part) < 2**53 or part != part else (part,)
    if kind is not str or not LEAST_NUMBER_CHARS <= len(part) <= MAX_DIGITS:
        return ()
    try:
        if len(part) in _UUID_CHARS and part[-1] in "0123456789abcdefABCDEF":
            return (int(part.replace("-", ""), 16),)
        if part.lstrip()[:1] in _NUMBER_STARTS:
            number = Decimal(part)
            return (number, float(number)) if number.is_finite() else ()
    except (ValueError, ArithmeticError):
        pass
    return ()


_COLLECTIONS = frozenset((list, tuple, set, frozenset))
_NUMBER_STARTS = frozenset("0123456789+-._")

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
