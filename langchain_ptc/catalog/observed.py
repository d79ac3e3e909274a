"""`ObservedShapes`: what tools return, learned from their results: types only, never values.

A tool that does not say what it returns leaves a model to guess. After each successful call the shape
of the value is merged into what was seen of that tool before, and the stub shows it in a comment,
`# observed:`.

The keys of records are all that a shape keeps of a value. So the question is which keys are names of
fields and which are data: `{"name": …, "email": …}` is a record, `{"alice": …, "bob": …}` is a table
of people. `is_record` decides; when in doubt it is `dict[str, …]`, which is true of both. A dictionary
that was once taken for a table stays one, because its keys are not kept.

Shapes only grow wider. Their size is bounded, and so is the number of times that their text changes:
each change costs the user a prompt cache.

genson 1.4 would not do: it keeps every key that it ever saw, and does not bound what it learns.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_ptc.catalog.text import is_known, looks_like_data
from langchain_ptc.catalog.types import VALUE_TYPES
from langchain_ptc.errors import CatalogError
from langchain_ptc.locks import new_lock
from langchain_ptc.wording import check_choice, cut

Learning: TypeAlias = Literal["on", "off"]
"""Whether results are observed."""

MAX_DEPTH = 6
"""Levels of nesting that are read; deeper levels are `Any`."""
MAX_FIELDS = 40
"""Fields of one record; a dictionary with more keys is a table."""
MAX_ITEMS = 100
"""Items of one list, and values of one table, that are read: evenly spread."""
MAX_VALUES = 5_000
"""Values that are read in one result; what comes after them is `Any`."""
MAX_NODES = 200
"""Shapes within the shape of one tool; what is deeper is dropped until it fits."""
MAX_TEXT_CHARS = 600
"""Length of the text of one shape; deeper levels are left out until it fits."""
MAX_JSON_CHARS = 100_000
"""Length of a text that is parsed to see whether it is JSON."""
MAX_VARYING = 8
"""Fields of one type that may be missing, where they are most of the fields."""
_FORMAT = 1

_NAMES = {kind: tree.name for kind, tree in VALUE_TYPES.items()}
_PLAIN = frozenset({*_NAMES, dict, list, tuple, set, frozenset})
_TYPE_NAMES = tuple(dict.fromkeys(["Any", *_NAMES.values()]))
_NUMBERS = frozenset({"int", "float", "Decimal", "complex"})
_CONTAINERS = ("list", "tuple", "set", "frozenset")
_PARTS = (*_CONTAINERS, "keys", "values", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What values were seen in one place: all of them together."""

    types: frozenset[str] = frozenset()
    """Names of the types of values without parts, `Any` among them for what is not read."""
    parts: Mapping[str, Shape] = field(default_factory=dict)
    """The items of each type of container that was seen; the `keys` and `values` of dictionaries that
    are tables; and, under `json`, what the strings hold if all of them hold JSON."""
    fields: Mapping[str, Shape] | None = None
    """The fields of dictionaries that are records; None if there are none, or there is a table."""
    optional: frozenset[str] = frozenset()
    """The fields that not every record has."""


_UNKNOWN = Shape(types=frozenset({"Any"}))
_NOTHING = Shape()


class ObservedShapes:
    """The shapes of results, by the qualified name of their tool. It may be used from any thread.

    A catalog does not change, but what is known of its tools' results does: it is here. Shapes hold
    types and the names of fields, never values.

    Args:
        learning: `off` for shapes that are only shown: the prompt then never changes.
    """

    def __init__(self, *, learning: Learning = "on") -> None:
        check_choice("learning", learning, Learning)
        self.learning = learning
        self._lock = new_lock()
        self._shapes: dict[str, Shape] = {}
        self._texts: dict[str, str] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __repr__(self) -> str:
        return f"ObservedShapes({', '.join(sorted(self._texts))})"

    @property
    def version(self) -> int:
        """A number that changes exactly if the text of a shape does."""
        return self._version

    def text(self, name: str) -> str:
        """Return the shape of a tool's results as one line of types; empty if none was seen."""
        return self._texts.get(name, "")

    def observe(self, name: str, value: object, *, arguments: object = None) -> None:
        """Merge the shape of one result into what is known.

        Args:
            name: Qualified name of the tool.
            value: Its result, of which only types and names of fields are kept.
            arguments: The arguments of the call: a key that is among them is taken for data.
        """
        if self.learning == "off":
            return
        seen = read_shape(value, arguments=arguments)
        with self._lock:
            known = self._shapes.get(name)
            merged = seen if known is None else _bounded(merge(known, seen))
            if merged != known:
                self._put(name, merged)

    def _put(self, name: str, shape: Shape) -> None:
        self._shapes[name] = shape
        text = render_shape(shape)
        if text != self._texts.get(name):
            self._texts[name] = text
            self._version += 1

    def to_dict(self) -> dict[str, Any]:
        """Return all shapes as data for JSON."""
        with self._lock:
            shapes = {name: _to_dict(shape) for name, shape in sorted(self._shapes.items())}
        return {"format": _FORMAT, "shapes": shapes}

    @classmethod
    def from_dict(cls, data: object, *, learning: Learning = "on") -> ObservedShapes:
        """Return the shapes that `to_dict` made data of.

        Raises:
            CatalogError: It is not such data.
            ValueError: `learning` is neither `on` nor `off`.
        """
        found = cls(learning=learning)
        given: Mapping[Any, Any] = data if isinstance(data, Mapping) else {}
        shapes = given.get("shapes")
        if not isinstance(shapes, Mapping) or given.get("format") != _FORMAT:
            raise CatalogError(
                "this is not what ObservedShapes.to_dict() returns: it has 'shapes' and "
                f"'format': {_FORMAT}"
            )
        for name, shape in shapes.items():
            try:
                found._put(name, _bounded(_from_dict(shape, 0)))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise CatalogError(
                    f"the shape of {name!r} cannot be read: this is not a saved shape: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return found

    def save(self, path: Path | str) -> None:
        """Write all shapes into a file of JSON, which is replaced as a whole."""
        target = Path(path)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        draft = target.with_name(f"{target.name}.new")
        draft.write_text(f"{text}\n", encoding="utf-8")
        draft.replace(target)

    @classmethod
    def load(cls, path: Path | str, *, learning: Learning = "on") -> ObservedShapes:
        """Return the shapes that `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            CatalogError: The file holds something else.
            ValueError: `learning` is neither `on` nor `off`.
        """
        text = Path(path).read_text("utf-8")
        try:
            return cls.from_dict(json.loads(text), learning=learning)
        except json.JSONDecodeError as error:
            raise CatalogError(f"{Path(path).name} is not JSON: {error}") from error
        except CatalogError as error:
            raise CatalogError(f"{Path(path).name}: {error}") from error


def _to_dict(shape: Shape) -> dict[str, Any]:
    parts = {kind: _to_dict(part) for kind, part in shape.parts.items()}
    data: dict[str, Any] = {"types": sorted(shape.types)}
    data["items"] = {kind: parts[kind] for kind in _CONTAINERS if kind in parts}
    data["fields"] = {
        key: {"shape": _to_dict(inner), "required": key not in shape.optional}
        for key, inner in (shape.fields or {}).items()
    }
    if "values" in parts:
        data["table"] = {"keys": parts["keys"].get("types", []), "values": parts["values"]}
    if "json" in parts:
        data["json"] = parts["json"]
    return {name: part for name, part in data.items() if part}


def _from_dict(data: Any, depth: int) -> Shape:
    """Return the shape that `_to_dict` made data of; anything else is an error of some kind."""
    if depth > 2 * MAX_DEPTH or not data.keys() <= {"types", "items", "fields", "table", "json"}:
        raise ValueError(f"unknown keys or too deep: {sorted(data)!r}")
    found = {kind: data["items"][kind] for kind in _CONTAINERS if kind in data.get("items", {})}
    table, fields = data.get("table"), data.get("fields")
    if table is not None:
        found |= {"keys": {"types": table["keys"]}, "values": table["values"]}
    if "json" in data:
        found["json"] = data["json"]
    types = frozenset(data.get("types", []))
    if not types <= set(_TYPE_NAMES):
        raise ValueError(f"unknown types {sorted(types - set(_TYPE_NAMES))!r}")
    shape = Shape(
        types=types,
        parts={kind: _from_dict(found[kind], depth + 1) for kind in _PARTS if kind in found},
        fields=fields and {key: _from_dict(f["shape"], depth + 1) for key, f in fields.items()},
        optional=frozenset(key for key, f in (fields or {}).items() if not f["required"]),
    )
    if shape.fields and not is_record(shape.fields, shape.optional):
        raise ValueError("keys that look like data")
    return shape


# --- a value -> its shape -----------------------------------------------------------------------


def read_shape(value: object, *, arguments: object = None) -> Shape:
    """Return the shape of a tool's result; a key that is among its arguments is taken for data."""
    reader = _Reader(given=frozenset(_strings(arguments, 0)))
    shape = _bounded(reader.read([value], 0))
    held = reader.read_json(value) if isinstance(value, str) else None
    return shape if held is None else dataclasses.replace(shape, parts={"json": held})


def _strings(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 3 and isinstance(value, Mapping | list | tuple | set | frozenset):
        for inner in list(value.values() if isinstance(value, Mapping) else value)[:MAX_ITEMS]:
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
        types: set[str] = set()
        items: dict[str, list[object]] = {}
        dicts: list[Mapping[object, object]] = []
        for raw in values:
            value: Any = _as_data(raw)
            name = _type_name(value)
            if name is not None:
                types.add(name)
            elif isinstance(value, Mapping):
                dicts.append(value)
            else:
                kind = next((k for k in (list, tuple, frozenset) if isinstance(value, k)), set)
                ordered = sorted(value, key=repr) if kind in (frozenset, set) else value
                items.setdefault(kind.__name__, []).extend(_spread(ordered))
        parts = {kind: self.read(_spread(items[kind]), depth + 1) for kind in sorted(items)}
        own = Shape(types=frozenset(types), parts=parts)
        return merge(own, self._read_dicts(dicts, depth)) if dicts else own

    def _read_dicts(self, dicts: Sequence[Mapping[object, object]], depth: int) -> Shape:
        found: dict[object, list[object]] = {}
        for one in dicts:
            for key, value in one.items():
                found.setdefault(key, []).append(value)
        kinds = frozenset(_type_name(key) or "Any" for key in found)
        if kinds <= {"str"} and len(found) <= MAX_FIELDS:
            fields = {str(k): self.read(_spread(v), depth + 1) for k, v in found.items()}
            optional = frozenset(str(k) for k, v in found.items() if len(v) < len(dicts))
            is_given = any(key in self._given and not is_known(key) for key in fields)
            if not is_given and is_record(fields, optional):
                return Shape(fields=fields, optional=optional)
        held = self.read(_spread([v for several in found.values() for v in several]), depth + 1)
        return Shape(parts={"keys": Shape(types=kinds), "values": held})

    def read_json(self, text: str) -> Shape | None:
        """Return the shape of what a text holds, or None if it is not an array or object in JSON."""
        if text.lstrip()[:1] not in ("{", "[") or len(text) > MAX_JSON_CHARS:
            return None
        try:
            return _bounded(self.read([json.loads(text)], 1))
        except (ValueError, RecursionError):
            return None


def _type_name(value: object) -> str | None:
    name = _NAMES.get(type(value))
    if name is None and not isinstance(value, Mapping | list | tuple | AbstractSet):
        name = next((name for kind, name in _NAMES.items() if isinstance(value, kind)), "Any")
    return name


def _as_data(value: object) -> object:
    """Return an object of a class as the code will see it: a model as a dictionary."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    dump = getattr(type(value), "model_dump", None)
    return dump(value) if callable(dump) else value


def _spread(values: Sequence[object]) -> list[object]:
    """Return up to `MAX_ITEMS` of `values`, first and last among them."""
    if len(values) <= MAX_ITEMS:
        return list(values)
    step = (len(values) - 1) / (MAX_ITEMS - 1)
    return [values[round(n * step)] for n in range(MAX_ITEMS)]


# --- merging and bounds -------------------------------------------------------------------------


def merge(first: Shape, second: Shape) -> Shape:
    """Return the shape of the values of both."""
    parts = _merge_parts(first.parts, second.parts)
    if any("str" in shape.types and "json" not in shape.parts for shape in (first, second)):
        parts.pop("json", None)
    fields, optional = first.fields or second.fields, first.optional | second.optional
    if first.fields and second.fields:
        fields = _merge_parts(first.fields, second.fields)
        optional |= first.fields.keys() ^ second.fields.keys()
    is_table = "values" in parts or not is_record(fields or {}, optional)
    if fields and is_table:  # forget the keys
        keys = merge(parts.get("keys", _NOTHING), Shape(types=frozenset({"str"})))
        values = functools.reduce(merge, fields.values(), parts.get("values", _NOTHING))
        fields, optional, parts = None, frozenset(), {**parts, "keys": keys, "values": values}
    types = first.types | second.types
    return Shape(types=types, parts=parts, fields=fields, optional=optional)


def _merge_parts(first: Mapping[str, Shape], second: Mapping[str, Shape]) -> dict[str, Shape]:
    merged = {**first, **second}
    both = first.keys() & second.keys()
    return merged | {key: merge(first[key], second[key]) for key in both}


def _bounded(shape: Shape) -> Shape:
    """Return `shape` cut to `MAX_NODES`, its deepest levels first."""
    depth = MAX_DEPTH
    while depth and _count(shape) > MAX_NODES:
        depth -= 1
        shape = _cut(shape, depth)
    return shape


def _children(shape: Shape) -> list[Shape]:
    return [*shape.parts.values(), *(shape.fields or {}).values()]


def _count(shape: Shape) -> int:
    return 1 + sum(map(_count, _children(shape)))


def _cut(shape: Shape, depth: int) -> Shape:
    if not depth:
        return _UNKNOWN if _children(shape) else shape
    parts = {kind: _cut(part, depth - 1) for kind, part in shape.parts.items()}
    fields = shape.fields and {key: _cut(part, depth - 1) for key, part in shape.fields.items()}
    return dataclasses.replace(shape, parts=parts, fields=fields)


# --- records and tables -------------------------------------------------------------------------


def is_record(fields: Mapping[str, Shape], optional: AbstractSet[str]) -> bool:
    """Whether the keys of some dictionaries are names of fields. In doubt they are not.

    They are data if one of them looks like data. Otherwise their words and their values decide: values
    of one type may be a table, and are taken for one unless two in three of the keys are words that
    fields are called; with values of several types one in four will do. Keys that come and go are
    those of a table.
    """
    if not fields or len(fields) > MAX_FIELDS or any(map(looks_like_data, fields)):
        return False
    if _is_numbered(fields):
        return False
    unknown = [key for key in fields if not is_known(key)]
    kinds = {kind for inner in fields.values() for kind in _kinds(inner)}
    if len(kinds) <= 1:
        varies = len(optional) > MAX_VARYING and 3 * len(optional) > 2 * len(fields)
        return 3 * len(unknown) <= len(fields) and not varies
    varying = [key for key in unknown if key in optional]
    return 4 * len(unknown) <= 3 * len(fields) and len(varying) <= max(3, len(fields) // 2)


def _is_numbered(fields: Mapping[str, Shape]) -> bool:
    """Whether keys differ in a number only: `u1`, `u2`; but not `line1`, `line2` of an address."""
    stems = {key: key.rstrip("0123456789") for key in fields if key[-1:].isdigit()}
    return any(
        [*stems.values()].count(stem) > 1
        and (
            not is_known(stem)
            or (len(stem.strip("_")) <= 1 and stem not in ("x", "y", "q"))
            or _kinds(fields[key]) & {"dict", "list"}
        )
        for key, stem in stems.items()
    )


def _kinds(shape: Shape) -> set[str]:
    kinds = {"number" if name in _NUMBERS else name for name in shape.types - {"None"}}
    kinds |= {"list"} if shape.parts.keys() & set(_CONTAINERS) else set()
    return kinds | ({"dict"} if shape.fields or "values" in shape.parts else set())


# --- text ---------------------------------------------------------------------------------------


def render_shape(shape: Shape, *, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a shape as one line of types, records as `{'id': int, 'name': NotRequired[str]}`.

    Deeper levels are left out until the text fits into `limit` characters, then its end.
    """
    text = ""
    for depth in range(MAX_DEPTH + 2, 0, -1):
        text = _render(shape, depth)
        if len(text) <= limit:
            return text
    return cut(text, limit)


def _render(shape: Shape, depth: int) -> str:
    if not depth or "Any" in shape.types:
        return "Any"
    options = [name for name in _TYPE_NAMES if name in shape.types - {"None"}]
    if "float" in options and "int" in options:
        options.remove("int")  # a float may be a whole number
    parts = {kind: _render(shape.parts[kind], depth - 1) for kind in _PARTS if kind in shape.parts}
    if "json" in parts:
        options[options.index("str")] = f"str (JSON: {_render(shape.parts['json'], depth)})"
    kinds = [kind for kind in _CONTAINERS if kind in parts]
    options += [f"{k}[{parts[k]}{', ...' if k == 'tuple' else ''}]" for k in kinds]
    if shape.fields:
        options.append(_render_record(shape, depth - 1))
    if "values" in parts:
        keys = " | ".join(n for n in _TYPE_NAMES if n in shape.parts["keys"].types) or "str"
        options.append(f"dict[{keys}, {parts['values']}]")
    return " | ".join([*options, *(["None"] if "None" in shape.types else [])]) or "Any"


def _render_record(shape: Shape, depth: int) -> str:
    if not depth or shape.fields is None:
        return "dict[str, Any]"
    texts = {key: _render(inner, depth) for key, inner in shape.fields.items()}
    shown = [
        f"{k!r}: {f'NotRequired[{t}]' if k in shape.optional else t}" for k, t in texts.items()
    ]
    return f"{{{', '.join(shown)}}}"
