"""`ObservedShapes`: what tools return, learned from their results: types only, never values.

The keys of records are all that a shape keeps of a value. So the question is which keys are names of
fields and which are data: `{"name": …, "email": …}` is a record, `{"alice": …, "bob": …}` is a table
of people. `is_record` decides; when in doubt it is `dict[str, …]`, which is true of both. A dictionary
that was once taken for a table stays one, because its keys are not kept.

Shapes only grow wider. Their size is bounded, and so is the number of times that their text changes:
each change costs the user a prompt cache. (genson keeps every key that it ever saw, and bounds nothing.)
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, PlainSerializer, TypeAdapter, ValidationError

from langchain_ptc.catalog.text import split_words
from langchain_ptc.catalog.types import VALUE_TYPES
from langchain_ptc.errors import CatalogError, check_choice, cut
from langchain_ptc.locks import new_lock

Learning: TypeAlias = Literal["on", "off"]  # whether results are observed

MAX_DEPTH = 6  # levels of nesting that are read; what is deeper is `Any`
MAX_FIELDS = 40  # fields of one record; a dictionary with more keys is a table
MAX_ITEMS = 100  # items of one list, and values of one table, that are read: evenly spread
MAX_VALUES = 5_000  # values of one result that are read one by one; the rest is passed over
MAX_NODES = 200  # shapes within the shape of one tool; what is deeper is dropped until it fits
MAX_TEXT_CHARS = 600  # length of the text of one shape; deeper levels are left out until it fits
MAX_JSON_CHARS = 100_000  # length of a text that is parsed to see whether it is JSON
MAX_VARYING = 8  # fields of one type that may be missing, where they are most of the fields

_NAMES = {kind: tree.name for kind, tree in VALUE_TYPES.items()}
_TYPE_NAMES = tuple(dict.fromkeys(["Any", *_NAMES.values()]))
_NUMBERS = frozenset({"int", "float", "Decimal", "complex"})
_CONTAINERS: Mapping[str, type] = {
    "list": list,
    "tuple": tuple,
    "frozenset": frozenset,
    "set": AbstractSet,
    "dict": Mapping,
}


_Names: TypeAlias = Annotated[set[str], PlainSerializer(sorted)]


@dataclass(slots=True, kw_only=True)
class Shape:
    """What values were seen in one place: all of them together."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    types: _Names = field(default_factory=set)  # of values without parts; `Any` is not read
    items: dict[str, Shape] = field(default_factory=dict)
    """What each type of container holds: `dict` are the values of tables; `json` is what the strings hold, if
    all of them hold JSON, which is read of whole results only."""
    fields: dict[str, Shape] | None = None  # of records; None if there is a table
    optional: _Names = field(default_factory=set)  # the fields that not every record has
    keys: _Names = field(default_factory=set)  # types of the keys of tables

    def parts(self) -> list[Shape]:
        """Return the shapes directly inside of it."""
        return [*self.items.values(), *(self.fields or {}).values()]


@dataclass(slots=True, kw_only=True)
class _Saved:
    format: Literal[3]
    shapes: dict[str, Shape]


@functools.cache
def _saved() -> TypeAdapter[_Saved]:
    return TypeAdapter(_Saved)


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
        with self._lock:
            # What is interrupted leaves no shape, rather than one whose keys are not yet judged.
            shape = self._shapes.pop(name, None) or Shape()
            is_wider = widen(shape, value, arguments=arguments)
            self._shapes[name] = shape
            if is_wider:
                self._settle(name)

    def _settle(self, name: str) -> None:
        """Forget what a shape must not hold, and write its text."""
        shape, depth = self._shapes[name], MAX_DEPTH
        _settle(shape, 2 * MAX_DEPTH)
        while depth and _count(shape) > MAX_NODES:
            depth -= 1
            _settle(shape, depth)
        text = render_shape(shape)
        if text != self._texts.get(name):
            self._texts[name] = text
            self._version += 1

    def to_dict(self) -> dict[str, Any]:
        """Return all shapes as data for JSON."""
        with self._lock:
            saved = _Saved(format=3, shapes=dict(sorted(self._shapes.items())))
            data: dict[str, Any] = _saved().dump_python(saved, mode="json", exclude_defaults=True)
        return data

    @classmethod
    def from_dict(cls, data: object, *, learning: Learning = "on") -> ObservedShapes:
        """Return the shapes that `to_dict` made data of.

        Raises:
            CatalogError: It is not such data.
            ValueError: `learning` is neither `on` nor `off`.
        """
        found = cls(learning=learning)
        try:
            found._shapes = _saved().validate_python(data).shapes
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))[:100]
            raise CatalogError(
                f"this is not what ObservedShapes.to_dict() returns: at {place!r}: {first['msg']}"
            ) from error
        for name in found._shapes:
            found._settle(name)
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
        except (json.JSONDecodeError, CatalogError) as error:
            raise CatalogError(f"{Path(path).name}: {error}") from error


# --- a value widens a shape ---------------------------------------------------------------------


def widen(shape: Shape, value: object, *, arguments: object = None) -> bool:
    """Add the result of a call to a shape, and return whether the shape was changed."""
    reader = _Reader(given=arguments)
    if isinstance(value, str):
        may_be_json = "str" not in shape.types or "json" in shape.items
        held = _read_json(value) if may_be_json else None
        if held is not None:
            reader.add(shape.items.setdefault("json", Shape()), held, 1)
        elif shape.items.pop("json", None) is not None:
            reader.is_wider = True
    reader.add(shape, value, 0)
    return reader.is_wider


def _read_json(text: str) -> object:
    if text.lstrip()[:1] not in ("{", "[") or len(text) > MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class _Reader:
    """Adds one result to a shape. Values of a type that is known in their place are passed over."""

    def __init__(self, given: object) -> None:
        self._given = given
        self._left = MAX_VALUES
        self.is_wider = False

    def add(self, shape: Shape, value: Any, depth: int) -> None:
        """Add one value, which is `depth` levels deep."""
        self._left -= 1
        if self._left < 0 or "Any" in shape.types:
            return
        value = _as_data(value)
        kind = None if type(value) in _NAMES else _container(value)
        if kind is None or depth > MAX_DEPTH:
            names = (name for base, name in _NAMES.items() if isinstance(value, base))
            name = _NAMES.get(type(value)) or next(names, "Any")
            self.is_wider |= name not in shape.types
            shape.types.add(name)
        elif kind == "dict":
            self._add_dict(shape, value, depth)
        else:
            self.is_wider |= kind not in shape.items
            self._add_all(shape.items.setdefault(kind, Shape()), value, depth)

    def _add_all(self, shape: Shape, values: Iterable[object], depth: int) -> None:
        for value in _spread([*values]):
            if _NAMES.get(type(value)) not in shape.types:
                self.add(shape, value, depth + 1)

    def _add_dict(self, shape: Shape, value: Mapping[Any, object], depth: int) -> None:
        if "dict" not in shape.items and self._are_fields(shape, value):
            fields = shape.fields = {} if shape.fields is None else shape.fields
            for key, inner in value.items():
                if key not in fields:
                    fields[key] = Shape()
                if _NAMES.get(type(inner)) not in fields[key].types:
                    self.add(fields[key], inner, depth + 1)
            return
        kinds = {_NAMES.get(kind, "Any") for kind in set(map(type, value))}
        self.is_wider |= "dict" not in shape.items or not kinds <= shape.keys
        values = _make_table(shape)
        shape.keys |= kinds
        self._add_all(values, value.values(), depth)

    def _are_fields(self, shape: Shape, value: Mapping[Any, object]) -> bool:
        """Whether the keys of a dictionary may be those of the fields of a shape, or new ones."""
        fields: AbstractSet[str] = frozenset() if shape.fields is None else shape.fields.keys()
        new: set[Any] = value.keys() - fields if len(value) <= MAX_FIELDS else {None}
        if new:
            given = {*_strings(self._given)}
            if any(type(key) is not str or (key in given and not is_known(key)) for key in new):
                return False
        varying = set() if shape.fields is None else new | (fields - value.keys())
        self.is_wider |= bool(new) or shape.fields is None or not varying <= shape.optional
        shape.optional |= varying
        return True


def _container(value: object) -> str | None:
    for kind, base in _CONTAINERS.items():
        if isinstance(value, base):
            return kind
    return None


def _as_data(value: Any) -> Any:
    """Return an object of a class as the code will see it: a model as a dictionary."""
    if type(value) in (dict, list):
        return value
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    dump = getattr(type(value), "model_dump", None)
    return dump(value) if callable(dump) else value


def _strings(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 3 and isinstance(value, Mapping | list | tuple | set | frozenset):
        for inner in [*(value.values() if isinstance(value, Mapping) else value)][:MAX_ITEMS]:
            yield from _strings(inner, depth + 1)


def _spread(values: Sequence[object]) -> Sequence[object]:
    """Return up to `MAX_ITEMS` of `values`, first and last among them."""
    if len(values) <= MAX_ITEMS:
        return values
    step = (len(values) - 1) / (MAX_ITEMS - 1)
    return [values[round(n * step)] for n in range(MAX_ITEMS)]


# --- what a shape that has grown is made of -----------------------------------------------------


def _settle(shape: Shape, depth: int) -> None:
    """Forget the keys that are data, and what is more than `depth` levels deep."""
    if shape.fields and not is_record(shape.fields, shape.optional):
        _make_table(shape)
    parts = shape.parts()
    for part in parts:
        _settle(part, depth - 1)
    if parts and depth <= 0:
        shape.types, shape.items, shape.fields = {"Any"}, {}, None


def _make_table(shape: Shape) -> Shape:
    """Make dictionaries tables, without their keys, and return the shape of their values."""
    fields, shape.fields, shape.optional = shape.fields or {}, None, set()
    values = shape.items.setdefault("dict", Shape())
    shape.keys |= {"str"} if fields else set()
    for part in fields.values():
        _merge(values, part)
    return values


def _merge(shape: Shape, other: Shape) -> None:
    """Add the values that are in `other`, which is not used any more."""
    if "dict" in shape.items or "dict" in other.items:
        _make_table(shape)
        _make_table(other)
    shape.types |= other.types
    shape.keys |= other.keys
    for kind, part in other.items.items():
        _merge(shape.items.setdefault(kind, Shape()), part)
    shape.optional |= other.optional
    if shape.fields is None or other.fields is None:
        shape.fields = shape.fields or other.fields
    else:
        shape.optional |= shape.fields.keys() ^ other.fields.keys()
        for key, part in other.fields.items():
            _merge(shape.fields.setdefault(key, Shape()), part)


def _count(shape: Shape) -> int:
    return 1 + sum(map(_count, shape.parts()))


# --- records and tables -------------------------------------------------------------------------

MAX_KEY_CHARS = 40  # length of a key that may be the name of a field
_SAFE = re.compile(r"[@$]?[^\W\d][\w:. -]*")
_PLAIN_KEY = re.compile(r"[^\W\d]\w*")
_HOST = re.compile(r"\.(?:app|biz|com|dev|edu|gov|info|io|net|org)$", re.IGNORECASE)
_ID = re.compile(r"\d{3}|\d[A-Za-z]+\d")  # long numbers, and letters between digits
_CODE = re.compile(r"[A-Z\d_]+")  # nothing but capitals: currencies, shares, airports


@functools.cache
def _field_words() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("field_words.txt").read_text("utf-8").split())


def is_known(key: str) -> bool:
    """Return whether a key is made of words that fields are called."""
    known = _field_words()
    words = [word for word in split_words(key) if len(word) > 1 and not word.isdigit()]
    if not words:
        return len(key) == 1 or key.lower() in known
    return known.issuperset(words) or "".join(words) in known


def looks_like_data(key: str) -> bool:
    """Return whether a key is an id, a code, a date, an address, a sentence, and no name of a field."""
    if key.lower() in _field_words():
        return False
    if not key.isprintable() or len(key) > MAX_KEY_CHARS or _ID.search(key):
        return True
    if is_known(key) and _SAFE.fullmatch(key) and not _HOST.search(key):
        return False
    return _CODE.fullmatch(key) is not None or _PLAIN_KEY.fullmatch(key) is None


def is_record(fields: Mapping[str, Shape], optional: AbstractSet[str]) -> bool:
    """Whether the keys of some dictionaries are names of fields. In doubt they are not.

    Their words and their values decide: values of one type may be a table, and are taken for one unless two in
    three of the keys are words that fields are called; with values of several types one in four will do. Keys that
    come and go are those of a table, and so are those of records that differ in a number: `user1`, `user2`.
    """
    if not fields or len(fields) > MAX_FIELDS or any(map(looks_like_data, fields)):
        return False
    kinds = {key: _kinds(inner) for key, inner in fields.items()}
    unknown = [key for key in fields if not is_known(key)]
    open_keys = [key for key in fields if key in unknown or kinds[key] & {"dict", "list"}]
    numbered = [key.rstrip("0123456789") for key in open_keys if key[-1:].isdigit()]
    if len(set(numbered)) < len(numbered):
        return False
    if len(set().union(*kinds.values())) <= 1:
        varies = len(optional) > MAX_VARYING and 3 * len(optional) > 2 * len(fields)
        return 3 * len(unknown) <= len(fields) and not varies
    varying = [key for key in unknown if key in optional]
    return 4 * len(unknown) <= 3 * len(fields) and len(varying) <= max(3, len(fields) // 2)


def _kinds(shape: Shape) -> set[str]:
    kinds = {"number" if name in _NUMBERS else name for name in shape.types - {"None"}}
    kinds |= {"dict" if kind == "dict" else "list" for kind in shape.items if kind != "json"}
    return kinds if shape.fields is None else kinds | {"dict"}


# --- text ---------------------------------------------------------------------------------------


def render_shape(shape: Shape, *, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a shape as one line of types; deeper levels are left out until it fits, then its end."""
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
    if "json" in shape.items:
        options[options.index("str")] = f"str (JSON: {_render(shape.items['json'], depth)})"
    keys = " | ".join(name for name in _TYPE_NAMES if name in shape.keys) or "str"
    before, after = {"dict": f"{keys}, "}, {"tuple": ", ..."}
    for kind in [kind for kind in _CONTAINERS if kind in shape.items]:
        inner = _render(shape.items[kind], depth - 1)
        options.append(f"{kind}[{before.get(kind, '')}{inner}{after.get(kind, '')}]")
    if shape.fields is not None:
        options.append(_render_record(shape.fields, shape.optional, depth - 1))
    return " | ".join([*options, *(["None"] if "None" in shape.types else [])]) or "Any"


def _render_record(fields: Mapping[str, Shape], optional: AbstractSet[str], depth: int) -> str:
    if not depth or not fields:
        return "dict[str, Any]"
    texts = {key: _render(inner, depth) for key, inner in fields.items()}
    shown = [f"{k!r}: {f'NotRequired[{t}]' if k in optional else t}" for k, t in texts.items()]
    return f"{{{', '.join(shown)}}}"
