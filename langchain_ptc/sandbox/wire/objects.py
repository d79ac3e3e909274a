"""Objects of any library -> plain data, without importing the library.

The order of the questions matters: an object is asked first for what its library says its data is
(pydantic, dataclasses, attrs, pandas, numpy), then for a sequence, for a text that somebody wrote for
it, for keys, and last for its items.
"""

from __future__ import annotations

import dataclasses
import io
from collections import UserString
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby, islice
from types import FunctionType, SimpleNamespace
from typing import Any, cast

MAX_ITEMS = 32 * 1024 * 1024
"""Items that are taken from an iterator, where nothing else limits them."""


class UnsendableValue(TypeError):
    """A value cannot cross; the message says which and why."""


class TooManyItems(UnsendableValue):
    """An iterator does not end within the items that may be taken from it.

    Attributes:
        count: How many were taken.
    """

    def __init__(self, value: object, count: int) -> None:
        kind = type(value).__qualname__
        super().__init__(f"an object of class {kind} gives more than {count:,} items")
        self.count = count


def as_data(value: object, *, max_items: int = MAX_ITEMS) -> object:
    """Return what an object that is not plain data consists of, one level deep.

    Args:
        value: The object.
        max_items: Items that may be taken from an iterator.

    Raises:
        UnsendableValue: It is not data.
    """
    kind = type(value)
    if isinstance(value, type):
        raise UnsendableValue(f"an object of class {kind.__name__} is no data")
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
        raise UnsendableValue(f"an object of class {kind.__name__} is no data")
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
    """Return the items of `items`.

    Raises:
        TooManyItems: There are more than `most`.
    """
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
    if dataclasses.is_dataclass(value):
        return _read_dataclass
    if isinstance(value, SimpleNamespace):
        return vars
    if hasattr(kind, "__attrs_attrs__"):
        return _read_attrs
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


def _read_dataclass(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _read_attrs(value: Any) -> dict[str, Any]:
    return {a.name: getattr(value, a.name) for a in type(value).__attrs_attrs__}


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
_TEXTS, _CONTAINERS = frozenset({str, bytes}), frozenset({list, dict, tuple})


def is_large(value: object) -> bool:
    """Return whether a value has many parts or long texts; looks at no more than a few thousand."""
    waiting, parts, chars = [value], 0, 0
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind in _SMALL:  # the common types are known without asking about abstract classes
            continue
        if kind in _TEXTS or isinstance(part, str | bytes):
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
