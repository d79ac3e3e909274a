"""The type tree: what a value may be, as the stubs say it.

A tree never claims more than is known: what cannot be expressed is `Any` (or a wider type) with a note. Records
(objects with named fields) may hold themselves, so a tree only refers to them by key; the records themselves
stand in a table beside it.
"""

from __future__ import annotations

import datetime
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID

from langchain_ptc.errors import cut

__all__ = [
    "Alternatives",
    "Choice",
    "Container",
    "Named",
    "RecordField",
    "RecordRef",
    "RecordType",
    "TypeTree",
]

MAX_DEPTH = 32  # levels of one tree; deeper ones are `Any`: Python refuses 200 brackets
MAX_LITERALS = 100  # values that one `Literal` shows; a longer list is widened to the values' type
MAX_LITERAL_CHARS = 200  # length of one string in a `Literal`; a longer one is widened to `str`
MAX_CHOICE_CHARS = 2_500  # length of all values of one `Literal` together
MAX_LITERAL_INT = 10**40  # a larger one is `int`: Python does not print 4,300 digits

MAX_SHOWN_CHARS = 40  # length of one value in a note

_reprlib = reprlib.Repr()
_reprlib.maxstring = _reprlib.maxother = 60

Scalar: TypeAlias = str | int | bool | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A type that has a name and no arguments: `int`, `Any`, `datetime`, `None`."""

    name: str
    note: str = ""
    """What the name leaves out, for the reader of the stub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of some values: `Literal[...]`."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A type with arguments: `list[int]`, `dict[str, Any]`, `tuple[int, str]`."""

    name: Literal["list", "dict", "set", "frozenset", "tuple", "Sequence"]
    args: tuple[TypeTree, ...]
    variadic: bool = False
    """For `tuple`: any number of items of the one type in `args`."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """One of several types, `None` last."""

    options: tuple[TypeTree, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef:
    """A record of the table, by its key."""

    key: str


TypeTree: TypeAlias = Named | Choice | Container | Alternatives | RecordRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """One field of a record."""

    name: str
    """The key; any string, not only identifiers."""
    type: TypeTree
    required: bool = True
    description: str = ""
    constraints: tuple[str, ...] = ()
    """What the type leaves out, for example `>= 1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordType:
    """An object with named fields; a `TypedDict` in the stubs."""

    key: str
    """What refers to it within one table."""
    name: str
    """The name that its author gave it; the stubs make it unique."""
    fields: tuple[RecordField, ...]
    description: str = ""


ANY = Named(name="Any")
NONE = Named(name="None")
BOOL = Named(name="bool")
INT = Named(name="int")
FLOAT = Named(name="float")
STR = Named(name="str")

VALUE_TYPES: Mapping[type, Named] = {
    type(None): NONE,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STR,
    bytes: Named(name="bytes"),
    bytearray: Named(name="bytes"),
    datetime.datetime: Named(name="datetime"),  # before `date`, of which it is a subclass
    datetime.date: Named(name="date"),
    datetime.time: Named(name="time"),
    datetime.timedelta: Named(name="timedelta"),
    Decimal: Named(name="Decimal"),
    UUID: Named(name="UUID"),
    complex: Named(name="complex"),
    range: Named(name="range"),
}
"""The types of values without parts, as the code sees them."""


def widened(note: str) -> Named:
    """Return `Any` with the reason why nothing better is said."""
    return Named(name="Any", note=note)


def container(
    name: Literal["list", "dict", "set", "frozenset", "tuple", "Sequence"],
    *args: TypeTree,
    variadic: bool = False,
    note: str = "",
) -> Container:
    """Return a type with arguments."""
    return Container(name=name, args=args, variadic=variadic, note=note)


def union(options: Sequence[TypeTree]) -> TypeTree:
    """Return one type for several: flat, without repetitions, literals joined, `None` last."""
    flat: list[TypeTree] = []
    for option in options:
        flat.extend(option.options if isinstance(option, Alternatives) else (option,))
    unknown = [option for option in flat if isinstance(option, Named) and option.name == "Any"]
    if unknown or not flat:
        return next((option for option in unknown if option.note), ANY)
    literals = [value for option in flat if isinstance(option, Choice) for value in option.values]
    kept: dict[str, TypeTree] = {}
    for option in flat:
        if isinstance(option, Choice):
            kept["Literal"] = _literal(literals)
        elif option != NONE:
            kept.setdefault(repr(option), option)
    if NONE in flat:
        kept["None"] = NONE
    return _alternatives(list(kept.values()))


def choice(values: Sequence[object]) -> TypeTree:
    """Return the type of a value that is one of `values`; wider where Python cannot say it."""
    if not values:
        return ANY
    if len(values) <= MAX_LITERALS and all(map(_fits_literal, values)):
        scalars = [v for v in values if v is None or isinstance(v, str | int | bytes)]
        present = [v for v in scalars if v is not None]
        if sum(len(repr(v)) for v in present) <= MAX_CHOICE_CHARS:
            tail = [NONE] if len(present) < len(scalars) else []
            return _alternatives([*([_literal(present)] if present else []), *tail])
    shown = ", ".join(map(_repr, values[:5]))
    more = f", … ({len(values)} values)" if len(values) > 5 else ""
    types = dict.fromkeys(_type_of_value(v) for v in values)
    options = [t for t in types if t != NONE]
    options[:1] = [
        replace(o, note=f"one of {shown}{more}")
        for o in options[:1]
        if isinstance(o, Named | Container)
    ]
    return union([*options, *([NONE] if NONE in types else [])])


def _fits_literal(value: object) -> bool:
    if type(value) is int:
        return -MAX_LITERAL_INT < value < MAX_LITERAL_INT
    if isinstance(value, str | bytes):
        return type(value) in (str, bytes) and len(value) <= MAX_LITERAL_CHARS
    return value is None or type(value) is bool


def _repr(value: object) -> str:
    try:
        return cut(_reprlib.repr(value), MAX_SHOWN_CHARS)
    except ValueError:  # an integer of more digits than Python prints
        return "a long number"


def _literal(values: Sequence[Scalar]) -> Choice:
    return Choice(values=tuple({(type(v), v): v for v in values}.values()))


def _alternatives(options: Sequence[TypeTree]) -> TypeTree:
    return options[0] if len(options) == 1 else Alternatives(options=tuple(options))


def _type_of_value(value: object) -> TypeTree:
    named = VALUE_TYPES.get(type(value))
    if named is not None:
        return named
    if isinstance(value, list):
        return container("list", ANY)
    if isinstance(value, dict):
        return container("dict", STR, ANY)
    return ANY


def outline(tree: TypeTree) -> str:
    """Return a few words for `tree`, for a note where its own text cannot stand."""
    if isinstance(tree, Named):
        return "anything" if tree.name == "Any" else tree.name
    if isinstance(tree, Choice):
        shown = [cut(repr(value), MAX_SHOWN_CHARS) for value in tree.values[:5]]
        return " | ".join([*shown, *(["…"] if len(tree.values) > 5 else [])])
    if isinstance(tree, RecordRef):
        return "an object"
    if isinstance(tree, Alternatives):
        return " | ".join(map(outline, tree.options[:5]))
    return f"a list of {outline(tree.args[0])}" if tree.name == "list" else f"a {tree.name}"


def children(tree: TypeTree) -> tuple[TypeTree, ...]:
    """Return the types directly inside `tree`; none for a record, whose fields are in the table."""
    if isinstance(tree, Container):
        return tree.args
    if isinstance(tree, Alternatives):
        return tree.options
    return ()


def walk(tree: TypeTree) -> Iterator[TypeTree]:
    """Yield `tree` and every type inside it, outermost first; records are not entered."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def notes(tree: TypeTree) -> list[str]:
    """Return what the text of `tree` leaves out, without repetitions."""
    if isinstance(tree, Named):  # most trees are leaves, and this is asked of each several times
        return [tree.note] if tree.note else []
    found = (node.note for node in walk(tree) if isinstance(node, Named | Container))
    return list(dict.fromkeys(note for note in found if note))


def references(tree: TypeTree) -> list[str]:
    """Return the keys of the records that `tree` names, in order."""
    if isinstance(tree, Named):
        return []
    return [node.key for node in walk(tree) if isinstance(node, RecordRef)]


def admits(tree: TypeTree, value: object) -> bool:
    """Return whether a JSON-like `value` is certainly of the type; records admit none."""
    if isinstance(tree, Alternatives):
        return any(admits(option, value) for option in tree.options)
    if isinstance(tree, Choice):
        return any(type(value) is type(v) and value == v for v in tree.values)
    if isinstance(tree, Container):
        return _admits_items(tree, value)
    if isinstance(tree, RecordRef):
        return False
    if tree.name == "float":
        return type(value) in (int, float)
    return tree.name == "Any" or VALUE_TYPES.get(type(value), ANY).name == tree.name


def is_vague(tree: TypeTree) -> bool:
    """Return whether a type leaves open what a value holds."""
    return any(isinstance(node, Named) and node.name == "Any" for node in walk(tree))


def admits_text(tree: TypeTree) -> bool:
    """Return whether a value of the type may be a `str`."""
    if isinstance(tree, Alternatives):
        return any(map(admits_text, tree.options))
    if isinstance(tree, Choice):
        return any(isinstance(value, str) for value in tree.values)
    return isinstance(tree, Named) and tree.name in ("Any", "str")


def _admits_items(tree: Container, value: object) -> bool:
    if tree.name == "list" and isinstance(value, list):
        return all(admits(tree.args[0], item) for item in value)
    if tree.name == "dict" and isinstance(value, dict):
        key, item = tree.args
        return all(admits(key, k) and admits(item, v) for k, v in value.items())
    if tree.name == "tuple" and isinstance(value, tuple):
        types = tree.args * len(value) if tree.variadic else tree.args
        return len(types) == len(value) and all(map(admits, types, value))
    return False


class RecordTable:
    """The records of one tool, by key, in the order in which they were met."""

    def __init__(self) -> None:
        self._records: dict[str, RecordType | None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def define(self, key: str, build: Callable[[], RecordType | None]) -> TypeTree:
        """Return a reference to the record `key`, built if it is new; while it is built, the key is known already."""
        if key not in self._records:
            self._records[key] = None
            record = build()
            if record is None:
                del self._records[key]
                return container("dict", STR, ANY)
            self._records[key] = record
        return RecordRef(key=key)

    def add(self, record: RecordType) -> None:
        """Take a record of another table."""
        self._records[record.key] = record

    def records(self) -> tuple[RecordType, ...]:
        """Return the finished records."""
        return tuple(record for record in self._records.values() if record is not None)


def reachable(trees: Iterable[TypeTree], records: Iterable[RecordType]) -> tuple[RecordType, ...]:
    """Return those of `records` that `trees` name, directly or through others, in their order."""
    table = {record.key: record for record in records}
    queue = [key for tree in trees for key in references(tree) if key in table]
    reached = set(queue)
    for key in queue:
        for field in table[key].fields:
            new = set(references(field.type)) - reached
            reached |= new
            queue.extend(new)
    return tuple(record for key, record in table.items() if key in reached)


def merge_records(
    first: Iterable[RecordType], second: Iterable[RecordType]
) -> tuple[RecordType, ...]:
    """Return the records of both; where both have one key, it is the second's."""
    return tuple({record.key: record for record in (*first, *second)}.values())
