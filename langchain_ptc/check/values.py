"""What an expression is worth, as far as that is certain. Pure.

A name has the values of all the places that bind it, in whatever order they run. So an expression has
several possible values, and a use is wrong only if it is for every one of them; `Unknown` is right
for everything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    NONE,
    STR,
    TypeTree,
    container,
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything."""


class _Compared:
    """Compared by its parts, a tool among them by identity: a default of it may be unhashable."""

    __slots__ = ()

    def _parts(self) -> tuple[object, ...]:
        names: tuple[str, ...] = type(self).__slots__
        parts = (getattr(self, name) for name in names)
        return tuple(id(part) if isinstance(part, ToolDefinition) else part for part in parts)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Compared)
            and type(other) is type(self)
            and self._parts() == other._parts()
        )

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._parts()))


@dataclass(frozen=True, slots=True, eq=False)
class ToolValue(_Compared):
    """A tool: the stub itself, not called."""

    definition: ToolDefinition


@dataclass(frozen=True, slots=True)
class ModuleValue:
    """A module: `tools`, `tools.<domain>`, or one of the standard library."""

    name: str


@dataclass(frozen=True, slots=True)
class LibraryValue:
    """Something of the standard library or a builtin, by its dotted name: `asyncio.gather`, `len`."""

    name: str


@dataclass(frozen=True, slots=True)
class FunctionValue:
    """A function that the code defines."""

    node: ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, eq=False)
class Data(_Compared):
    """A plain value of a type."""

    tree: TypeTree
    definition: ToolDefinition | None = None
    """The tool whose records the type names."""
    source: str = ""
    """The call that gave it, for the one who reads: `get_team()`."""


@dataclass(frozen=True, slots=True, eq=False)
class Pending(_Compared):
    """What is to be awaited, and what it gives; made by `pending`."""

    values: Values
    source: str
    """The call that made it, for the one who reads."""
    definition: ToolDefinition | None = None
    """The tool that it calls; None for a function of the code's own."""
    is_task: bool = False
    """Whether it is a task or future, which has attributes of its own."""
    weight: int = 1
    """How many values are in it, each as often as it is there."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list or tuple whose items are known; made by `items`."""

    values: tuple[Values, ...]
    """Of each position, or of every item alike."""
    is_each: bool = False
    """Whether there is one entry, for every item alike."""
    is_tuple: bool = False
    weight: int = 1
    """How many values are in it, each as often as it is there."""

    def every(self) -> Values:
        """Return what any item may be."""
        return join(self.values) if self.values else UNKNOWN


Value: TypeAlias = (
    Unknown | ToolValue | ModuleValue | LibraryValue | FunctionValue | Data | Pending | Items
)
Values: TypeAlias = tuple[Value, ...]
UNKNOWN: Values = (Unknown(),)
_MOST_VALUES = 12
_MOST_ITEMS = 32
"""Items of a list that are known one by one; those of a longer one are known all alike."""
_MAX_WEIGHT = 200
"""Values inside of a value: what holds more is a list of anything. A list that holds another one
twice, and so on, has as many as there are paths through it."""

CONSTANTS: dict[type, TypeTree] = {
    str: STR,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    type(None): NONE,
}
LIST = container("list", ANY)
DICT = container("dict", ANY, ANY)
SET = container("set", ANY)


def is_unknown(values: Values) -> bool:
    """Whether one of the values may be anything."""
    return any(isinstance(value, Unknown) for value in values) or not values


def join(many: Iterable[Values]) -> Values:
    """Return the values of all, or `UNKNOWN` if one of them is or there are too many."""
    found: dict[Value, None] = {}
    for values in many:
        if is_unknown(values):
            return UNKNOWN
        found.update(dict.fromkeys(values))
    return tuple(found) if 0 < len(found) <= _MOST_VALUES else UNKNOWN


def items(parts: Sequence[Values], *, is_each: bool = False, is_tuple: bool = False) -> Items:
    """Return what has these items: one entry for each position, or one for all of them."""
    if not is_each and len(parts) > _MOST_ITEMS:
        parts, is_each = (join(parts),), True
    weight = 1 + sum(map(_weigh, parts))
    if weight > _MAX_WEIGHT:
        return Items((UNKNOWN,), is_each=True, is_tuple=is_tuple)
    return Items(tuple(parts), is_each, is_tuple, weight)


def pending(
    values: Values,
    source: str,
    definition: ToolDefinition | None = None,
    *,
    is_task: bool = False,
) -> Pending:
    """Return what gives these values once it is awaited."""
    weight = 1 + _weigh(values)
    if weight > _MAX_WEIGHT:
        return Pending(UNKNOWN, source, definition, is_task)
    return Pending(values, source, definition, is_task, weight)


def _weigh(values: Values) -> int:
    return sum(value.weight if isinstance(value, Items | Pending) else 1 for value in values)


def only(values: Values) -> Value | None:
    """Return the value if there is just one and it is known."""
    return values[0] if len(values) == 1 and not isinstance(values[0], Unknown) else None


def data(tree: TypeTree, like: Data | None = None) -> Values:
    """Return a value of a type; `like` tells whose records the type names."""
    if tree == ANY:
        return UNKNOWN
    if like is None:
        return (Data(tree),)
    return (Data(tree, like.definition, like.source),)


def pending_of(values: Values) -> Pending | None:
    """Return one of the values if each of them is to be awaited."""
    found = [value for value in values if isinstance(value, Pending)]
    return found[0] if values and len(found) == len(values) else None


def all_data(values: Values) -> Sequence[Data] | None:
    """Return the values if each of them is plain data."""
    found = [value for value in values if isinstance(value, Data)]
    return found if values and len(found) == len(values) else None
