"""What a tool's results look like, learned from the results that came: types only, never values.

A tool that does not say what it returns is a tool that a model must guess at. After each successful
call the shape of the value is merged into what was seen of that tool before, and the stub shows it in
a comment, `# observed:`.

A shape may hold the keys of records, and nothing else that came from a value. So the question is which
keys are names of fields and which are data: `{"name": …, "email": …}` is a record, `{"alice": …,
"bob": …}` is a table of people. `is_record` decides, and when in doubt it says `dict[str, …]`, which
is true of both. A dictionary that was taken for a table once stays one: its keys are kept nowhere.

Shapes only grow wider. Their size is bounded, and so is the number of times that their text changes:
each change costs the user a prompt cache.

Why no library: genson 1.4, the well-kept one, keeps every key that it ever saw (a table of a thousand
e-mail addresses becomes a schema of 54,000 characters, with the addresses in it), knows only the types
of JSON, though tools also return dates, sets, tuples and bytes, and does not bound what it learns. What
would be left of it here is the union of types.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from langchain_ptc.catalog.shapes.keys import is_known, looks_like_data, numbered
from langchain_ptc.catalog.types import Alternatives, Container, Named, TypeTree

MAX_DEPTH = 6
"""Levels of nesting that are looked at; deeper levels are `Any`."""
MAX_FIELDS = 40
"""Fields of one record; a dictionary with more keys is a table."""
MAX_ITEMS = 100
"""Items of one list, and values of one table, that are looked at: evenly spread."""
MAX_VALUES = 5_000
"""Values that are looked at in one result; what comes after them is `Any`."""
MAX_NODES = 200
"""Shapes within the shape of one tool; what is deeper is dropped until it fits."""
MAX_TEXT_CHARS = 600
"""Length of the text of one shape; deeper levels are left out until it fits."""
MAX_JSON_CHARS = 100_000
"""Length of a text that is looked into, whether it is JSON."""

_SCALARS: tuple[tuple[type, str], ...] = (
    (type(None), "None"),
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (str, "str"),
    (bytes, "bytes"),
    (bytearray, "bytes"),
    (datetime.datetime, "datetime"),  # before `date`, of which it is a subclass
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "timedelta"),
    (Decimal, "Decimal"),
    (UUID, "UUID"),
    (complex, "complex"),
    (range, "range"),
)
TYPE_NAMES = tuple(dict.fromkeys(["Any", *(name for _, name in _SCALARS)]))
_BY_TYPE = dict(_SCALARS)
CONTAINERS = ("list", "tuple", "set", "frozenset")
_NUMBERS = frozenset({"int", "float", "Decimal", "complex"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What values were seen in one place: all of them together."""

    scalars: frozenset[str] = frozenset()
    """Names of the types of values without parts, `Any` among them for what is not looked at."""
    items: Mapping[str, Shape] = field(default_factory=dict)
    """For `list`, `tuple`, `set` and `frozenset`, if one was seen: its items."""
    record: Mapping[str, Field] | None = None
    """The fields of dictionaries that are records."""
    table: Shape | None = None
    """The values of dictionaries that are tables; at most one of this and `record` is set."""
    keys: frozenset[str] = frozenset()
    """Names of the types of a table's keys."""
    json: Shape | None = None
    """What the strings hold, if all of them hold JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a record."""

    shape: Shape
    required: bool
    """Whether every record that was seen has it."""


_UNKNOWN = Shape(scalars=frozenset({"Any"}))
_NOTHING = Shape()


def is_vague(tree: TypeTree) -> bool:
    """Return whether a type leaves open what a value holds, so that its shape is worth learning."""
    if isinstance(tree, Named):
        return tree.name == "Any"
    if isinstance(tree, Container):
        return any(is_vague(arg) for arg in tree.args)
    return isinstance(tree, Alternatives) and any(is_vague(option) for option in tree.options)


# --- a value -> its shape -----------------------------------------------------------------------


def read_shape(value: object, *, arguments: object = None) -> Shape:
    """Return the shape of `value`.

    Args:
        value: What a tool returned: plain data, dataclasses, pydantic models.
        arguments: What it was called with; a key that is among them is taken for data.
    """
    reader = _Reader(given=frozenset(_strings(arguments, 0)))
    shape = reader.read([value], 0)
    if shape.scalars == {"str"} and isinstance(value, str):
        return dataclasses.replace(shape, json=reader.read_json(value))
    return bounded(shape)


def _strings(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 3 and isinstance(value, Mapping):
        for inner in list(value.values())[:MAX_ITEMS]:
            yield from _strings(inner, depth + 1)
    elif depth < 3 and isinstance(value, list | tuple | set | frozenset):
        for inner in list(value)[:MAX_ITEMS]:
            yield from _strings(inner, depth + 1)


class _Reader:
    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self._left = MAX_VALUES

    def read(self, values: Sequence[object], depth: int) -> Shape:
        """Return the shape of all `values`, which stand in one place."""
        self._left -= len(values)
        if depth > MAX_DEPTH or self._left < 0:
            return _UNKNOWN if values else _NOTHING
        scalars: set[str] = set()
        parts: dict[str, list[object]] = {}
        dicts: list[Mapping[object, object]] = []
        for raw in values:
            value = _as_data(raw)
            name = _scalar_name(value)
            if name is not None:
                scalars.add(name)
            elif isinstance(value, Mapping):
                dicts.append(value)
            else:
                kind, found = _as_items(value)
                parts.setdefault(kind, []).extend(found)
        items = {kind: self.read(_spread(parts[kind]), depth + 1) for kind in sorted(parts)}
        own = Shape(scalars=frozenset(scalars), items=items)
        return merge(own, self._read_dicts(dicts, depth)) if dicts else own

    def _read_dicts(self, dicts: Sequence[Mapping[object, object]], depth: int) -> Shape:
        found: dict[object, list[object]] = {}
        for one in dicts:
            for key, value in one.items():
                found.setdefault(key, []).append(value)
        kinds = frozenset(_scalar_name(key) or "Any" for key in found)
        if kinds <= {"str"} and len(found) <= MAX_FIELDS:
            record = {
                str(key): Field(
                    shape=self.read(_spread(values), depth + 1), required=len(values) == len(dicts)
                )
                for key, values in found.items()
            }
            if not self._given_keys(record) and is_record(record):
                return Shape(record=record)
        values = [value for several in found.values() for value in several]
        return Shape(table=self.read(_spread(values), depth + 1), keys=kinds)

    def _given_keys(self, record: Mapping[str, Field]) -> bool:
        return any(key in self._given and not is_known(key) for key in record)

    def read_json(self, text: str) -> Shape | None:
        """Return the shape of what a text holds, or None if it is no array or object in JSON."""
        if text.lstrip()[:1] not in ("{", "[") or len(text) > MAX_JSON_CHARS:
            return None
        try:
            return bounded(self.read([json.loads(text)], 1))
        except (ValueError, RecursionError):
            return None


def _scalar_name(value: object) -> str | None:
    name = _BY_TYPE.get(type(value))
    if name is None and not isinstance(value, Mapping | list | tuple | AbstractSet):
        name = next((name for kind, name in _SCALARS if isinstance(value, kind)), "Any")
    return name


def _as_data(value: object) -> object:
    """Return an object of a class as the code will see it: a model as a dictionary."""
    if type(value) in _BY_TYPE:
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    dump = getattr(type(value), "model_dump", None)
    return dump(value) if callable(dump) else value


def _as_items(value: Any) -> tuple[str, list[object]]:
    if isinstance(value, list):
        return "list", _spread(value)
    if isinstance(value, tuple):
        return "tuple", _spread(value)
    kind = "frozenset" if isinstance(value, frozenset) else "set"
    return kind, _spread(sorted(value, key=repr))


def _spread(values: Sequence[object]) -> list[object]:
    """Return up to `MAX_ITEMS` of `values`, first and last among them."""
    if len(values) <= MAX_ITEMS:
        return list(values)
    step = (len(values) - 1) / (MAX_ITEMS - 1)
    return [values[round(n * step)] for n in range(MAX_ITEMS)]


# --- records and tables -------------------------------------------------------------------------

_MOST_VARYING = 8
"""Fields of one kind that may be missing, where they are most of the fields."""


def is_record(record: Mapping[str, Field]) -> bool:
    """Whether the keys of some dictionaries are names of fields. In doubt they are not.

    They are data if one of them looks like data. Otherwise their words and their values tell: values
    of one kind may be a table, and are taken for one unless two in three of the keys are words that
    fields are called; with values of several kinds one in four will do. Keys that come and go are
    those of a table.
    """
    if not record or len(record) > MAX_FIELDS or any(map(looks_like_data, record)):
        return False
    if _is_numbered(record):
        return False
    unknown = [key for key in record if not is_known(key)]
    optional = [key for key, f in record.items() if not f.required]
    kinds = {kind for f in record.values() for kind in _kinds(f.shape)}
    if len(kinds) <= 1:
        varies = len(optional) > _MOST_VARYING and 3 * len(optional) > 2 * len(record)
        return 3 * len(unknown) <= len(record) and not varies
    varying = [key for key in unknown if key in optional]
    return 4 * len(unknown) <= 3 * len(record) and len(varying) <= max(3, len(record) // 2)


def _is_numbered(record: Mapping[str, Field]) -> bool:
    """Whether keys differ in a number only: `u1`, `u2`; but not `line1`, `line2` of an address."""
    for stem, keys in numbered(record):
        holds_parts = any(_kinds(record[key].shape) & {"dict", "list"} for key in keys)
        single = len(stem.strip("_")) <= 1 and stem not in ("x", "y", "q")
        if holds_parts or single or not is_known(stem):
            return True
    return False


def _kinds(shape: Shape) -> set[str]:
    kinds = {"number" if name in _NUMBERS else name for name in shape.scalars - {"None"}}
    kinds |= {"list"} if shape.items else set()
    return kinds | ({"dict"} if shape.record is not None or shape.table is not None else set())


# --- merging ------------------------------------------------------------------------------------


def merge(first: Shape, second: Shape) -> Shape:
    """Return the shape of the values of both."""
    items = {
        kind: merge(first.items.get(kind, _NOTHING), second.items.get(kind, _NOTHING))
        for kind in CONTAINERS
        if kind in first.items or kind in second.items
    }
    merged = Shape(
        scalars=first.scalars | second.scalars, items=items, json=_merge_json(first, second)
    )
    return _merge_dicts(merged, first, second)


def _merge_json(first: Shape, second: Shape) -> Shape | None:
    with_text = [shape for shape in (first, second) if "str" in shape.scalars]
    held = [shape.json for shape in with_text if shape.json is not None]
    if not held or len(held) < len(with_text):
        return None
    return held[0] if len(held) == 1 else merge(*held)


def _merge_dicts(merged: Shape, first: Shape, second: Shape) -> Shape:
    if first.table is None and second.table is None:
        record = _merge_records(first.record, second.record)
        if record is None or is_record(record):
            return dataclasses.replace(merged, record=record)
    tables = [_as_table(shape) for shape in (first, second)]
    table = merge(tables[0].table or _NOTHING, tables[1].table or _NOTHING)
    return dataclasses.replace(merged, table=table, keys=tables[0].keys | tables[1].keys)


def _merge_records(
    first: Mapping[str, Field] | None, second: Mapping[str, Field] | None
) -> Mapping[str, Field] | None:
    if first is None or second is None:
        return second if first is None else first
    merged = {}
    for key in {**first, **second}:
        one, other = first.get(key), second.get(key)
        if one is not None and other is not None:
            shape = merge(one.shape, other.shape)
            merged[key] = Field(shape=shape, required=one.required and other.required)
        else:
            only = one or other
            assert only is not None
            merged[key] = Field(shape=only.shape, required=False)
    return merged


def _as_table(shape: Shape) -> Shape:
    """Return the dictionaries of a shape as a table: the keys are forgotten."""
    if shape.record is None:
        return shape
    values = _NOTHING
    for f in shape.record.values():
        values = merge(values, f.shape)
    return Shape(table=values, keys=frozenset({"str"}))


# --- bounds -------------------------------------------------------------------------------------


def bounded(shape: Shape) -> Shape:
    """Return `shape` cut to `MAX_NODES`, its deepest levels first."""
    depth = MAX_DEPTH
    while depth and _count(shape) > MAX_NODES:
        depth -= 1
        shape = _cut(shape, depth)
    return shape


def _children(shape: Shape) -> list[Shape]:
    fields = (shape.record or {}).values()
    inner = [*shape.items.values(), *(f.shape for f in fields), shape.table, shape.json]
    return [child for child in inner if child is not None]


def _count(shape: Shape) -> int:
    return 1 + sum(map(_count, _children(shape)))


def _cut(shape: Shape, depth: int) -> Shape:
    if not depth:
        return _UNKNOWN if _children(shape) else shape
    record = shape.record
    return dataclasses.replace(
        shape,
        items={kind: _cut(inner, depth - 1) for kind, inner in shape.items.items()},
        record=None
        if record is None
        else {k: dataclasses.replace(f, shape=_cut(f.shape, depth - 1)) for k, f in record.items()},
        table=None if shape.table is None else _cut(shape.table, depth - 1),
        json=None if shape.json is None else _cut(shape.json, depth - 1),
    )


# --- text ---------------------------------------------------------------------------------------


def render_shape(shape: Shape, *, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a shape as one line of types, records as `{'id': int, 'name': NotRequired[str]}`.

    Args:
        shape: The shape.
        limit: Characters; deeper levels are left out until the text fits, then its end.
    """
    text = ""
    for depth in range(MAX_DEPTH + 2, 0, -1):
        text = _render(shape, depth)
        if len(text) <= limit:
            return text
    return f"{text[: limit - 1]}…"


def _render(shape: Shape, depth: int) -> str:
    if "Any" in shape.scalars:
        return "Any"
    options = [name for name in TYPE_NAMES if name in shape.scalars - {"None"}]
    if "float" in options and "int" in options:
        options.remove("int")  # a float may be a whole number
    if shape.json is not None:
        options[options.index("str")] = f"str (JSON: {_render(shape.json, depth)})"
    inner = depth - 1
    for kind, items in shape.items.items():
        ending = ", ..." if kind == "tuple" else ""
        options.append(f"{kind}[{_render(items, inner) if inner else 'Any'}{ending}]")
    if shape.record is not None:
        options.append(_render_record(shape.record, inner) if inner else "dict[str, Any]")
    if shape.table is not None:
        keys = " | ".join(name for name in TYPE_NAMES if name in shape.keys) or "str"
        options.append(f"dict[{keys}, {_render(shape.table, inner) if inner else 'Any'}]")
    if "None" in shape.scalars:
        options.append("None")
    return " | ".join(options) or "Any"


def _render_record(record: Mapping[str, Field], depth: int) -> str:
    parts = []
    for key, f in record.items():
        text = _render(f.shape, depth)
        parts.append(f"{key!r}: {text if f.required else f'NotRequired[{text}]'}")
    return f"{{{', '.join(parts)}}}"
