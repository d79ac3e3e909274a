"""The values of expressions, as far as they are certain, and what can be done with them. Pure.

A name has the value that every place which binds it gives it, in whatever order they run; where they
differ it is `Unknown`, which makes no claim.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from langchain_ptc.catalog.stubs import group, render_type
from langchain_ptc.catalog.types import (
    ANY,
    STR,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordRef,
    RecordType,
    TypeTree,
    container,
    union,
)
from langchain_ptc.wording import closest, did_you_mean

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition

MAX_NAME_CHARS = 80
_MAX_SHOWN_CHARS = 60
_MAX_KEYS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """One problem."""

    node: ast.AST
    """The node that it is at."""
    message: str
    errors: tuple[str, ...] = ()
    """The classes of the exceptions that may be raised; none if nothing is raised."""
    definition: ToolDefinition | None = None
    """The tool whose signature helps."""
    module: str = ""
    """The module that is missing in the sandbox."""


# --- values ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolValue:
    """A tool: the stub itself, not called. There is one for each tool, compared by identity."""

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


@dataclass(frozen=True, slots=True)
class Data:
    """A plain value of a type."""

    tree: TypeTree
    tool: ToolValue | None = None
    """The tool that returned it, whose records the type names."""

    @property
    def definition(self) -> ToolDefinition | None:
        """The tool that returned it; None for values of the code's own."""
        return None if self.tool is None else self.tool.definition


@dataclass(frozen=True, slots=True)
class Pending:
    """An awaitable, and its result."""

    value: Value
    source: str
    """The call that returned it, for messages."""
    tool: ToolValue | None = None
    """The tool that it calls; None for a function of the code's own."""
    is_task: bool = False
    """Whether it is a task or future, which has attributes of its own."""

    @property
    def definition(self) -> ToolDefinition | None:
        """The tool that it calls; None for a function of the code's own."""
        return None if self.tool is None else self.tool.definition


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A list or tuple whose items are known."""

    values: tuple[Value, ...]
    """The value at each position, or one value for all items."""
    is_each: bool = False
    """Whether there is one value for all items."""
    is_tuple: bool = False

    @property
    def kind(self) -> str:
        """Its type in words."""
        return "a tuple" if self.is_tuple else "a list"

    def every(self) -> Value:
        """Return the common value of the items."""
        return common(self.values)


Value: TypeAlias = (
    Unknown | ToolValue | ModuleValue | LibraryValue | FunctionValue | Data | Pending | Items
)
UNKNOWN = Unknown()
LIST = container("list", ANY)
DICT = container("dict", ANY, ANY)
SET = container("set", ANY)


def common(values: Iterable[Value]) -> Value:
    """Return the value if all are equal; unknown if they differ, or if there are none."""
    found = iter(values)
    first = next(found, UNKNOWN)
    return first if all(value == first for value in found) else UNKNOWN


def data(tree: TypeTree, tool: ToolValue | None = None) -> Value:
    """Return a value of a type; the type names records of `tool`."""
    return UNKNOWN if tree == ANY else Data(tree, tool)


# --- what can be done with data -------------------------------------------------------------------

Answer: TypeAlias = TypeTree | str | None
"""The type of the result, `None` if it is not certain, or the reason why it fails."""
_TYPES: Mapping[str, type] = {
    kind.__name__: kind for kind in (str, int, float, bool, list, tuple, set, frozenset, dict)
} | {"None": type(None)}


def describe(tree: TypeTree, definition: ToolDefinition | None) -> str:
    """Return the type as the stubs write it."""
    if definition is None:
        return render_type(tree, {})
    [stubs] = group([definition])
    return render_type(tree, stubs.names[definition.name])


def shown(node: ast.AST) -> str:
    """Return a short expression as text; an empty string for a long one."""
    start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
    one_line = getattr(node, "lineno", 0) == getattr(node, "end_lineno", -1)
    if not one_line or end is None or end - start > 2 * _MAX_SHOWN_CHARS:
        return ""
    text = ast.unparse(node)
    return text if len(text) <= _MAX_SHOWN_CHARS else ""


def kind_of(tree: TypeTree) -> str | None:
    """Return the name of the Python type that values of `tree` have, or None if it is not certain.

    `record` means a record, `float` a number.
    """
    if isinstance(tree, RecordRef):
        return "record"
    if isinstance(tree, Choice):
        kinds = {type(value).__name__ for value in tree.values}
        return kinds.pop() if len(kinds) == 1 and kinds <= _TYPES.keys() else None
    return tree.name if isinstance(tree, Named | Container) and tree.name in _TYPES else None


def is_closed(record: RecordType) -> bool:
    """Whether a record has only the keys of its fields.

    What an annotation says is all; an object of a JSON Schema may have further keys.
    """
    said = record.key.startswith("output:") and "#" not in record.key
    return said and not record.others


@dataclass(frozen=True, slots=True)
class Shapes:
    """The operations on the values of one program."""

    stored: Collection[str]
    """Keys and attributes that the code stores or tests for, on any object."""
    open_records: bool
    """Whether the code may add unknown keys to records."""

    def subscript(self, value: Value, key: ast.expr) -> Answer:
        """Return the type of `value[key]`."""
        if isinstance(value, Items) and isinstance(getattr(key, "value", None), str):
            return f"is {value.kind}: its items have positions, not keys"
        return _each(value, lambda tree, tool: self._subscript(tree, key, tool))

    def attribute(self, value: Value, name: str) -> Answer:
        """Return the type of `value.name`."""
        if name.startswith("__"):
            return None
        return _each(value, lambda tree, tool: self._attribute(tree, name, tool))

    def _field(self, tree: RecordRef, name: str, definition: ToolDefinition, what: str) -> Answer:
        if self.open_records or name in self.stored:
            return None
        record = definition.record(tree)
        fields = {field.name: field.type for field in record.fields}
        if name in fields or not is_closed(record):
            return fields.get(name)
        keys = ", ".join(map(repr, [*fields][:_MAX_KEYS])) + (", …" * (len(fields) > _MAX_KEYS))
        return f"has no {what} {name!r}{did_you_mean(closest(name, fields))}; it is a record with the keys {keys}"

    def _subscript(
        self, tree: TypeTree, key: ast.expr, definition: ToolDefinition | None
    ) -> Answer:
        constant = key.value if isinstance(key, ast.Constant) else None
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            if definition is None:
                return None
            if isinstance(constant, str):
                return self._field(tree, constant, definition, "key")
            is_list = (
                _is_position(key) and not self.open_records and is_closed(definition.record(tree))
            )
            return "is a record, not a list: its keys are names" if is_list else None
        if kind is not None and not hasattr(_TYPES[kind], "__getitem__"):
            return f"is {with_article(kind)}: it has no items by position or key"
        if isinstance(tree, Container):
            changed = tree.name == "dict" and (self.open_records or constant in self.stored)
            return None if changed else _subscript_container(tree, key, constant)
        if kind == "str":
            return "is a str: it has no keys" if isinstance(constant, str) else STR
        return None

    def _attribute(self, tree: TypeTree, name: str, definition: ToolDefinition | None) -> Answer:
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            known = definition is None or hasattr(dict, name)
            return None if known else self._field(tree, name, definition, "attribute")  # type: ignore[arg-type]
        if kind is None or kind == "dict" or name in self.stored:
            return None
        own = (int, float) if kind in ("int", "float", "bool") else (_TYPES[kind],)
        if any(hasattr(known, name) for known in own):
            return None
        has_items = kind != "str" and hasattr(_TYPES[kind], "__iter__")
        loop = ", whose items have it perhaps: use a loop" if has_items else ""
        return f"is {with_article(kind)}{loop}; it has no attribute {name!r}"


def awaited(value: Value) -> Answer:
    """Return why the value cannot be awaited; None if it may be."""
    if isinstance(value, Items):
        of_calls = isinstance(value.every(), Pending)
        advice = "write `asyncio.gather(*...)`" if of_calls else "remove `await`"
        return f"is {value.kind}, which cannot be awaited: {advice}"
    if isinstance(value, ToolValue):
        return f"is not called: write `await {value.definition.name}(...)`"
    return "cannot be awaited: use it as it is" if isinstance(value, Data) else None


def iterate(value: Value) -> Answer:
    """Return the type of the items of a loop over the value."""
    return _each(value, lambda tree, _: _iterate(tree))


def parse(value: Value) -> Answer:
    """Return why the value cannot be parsed as JSON text; None if it may be."""
    is_data = "is data already: use it as it is, without json.loads()"
    return _each(value, lambda tree, _: None if kind_of(tree) in (None, "str") else is_data)


def _each(value: Value, answer: Callable[[TypeTree, ToolDefinition | None], Answer]) -> Answer:
    """Combine the answers for the alternatives of a type: it fails only if all of them fail."""
    if not isinstance(value, Data):
        return None
    options = value.tree.options if isinstance(value.tree, Alternatives) else (value.tree,)
    answers = [answer(option, value.definition) for option in options]
    good = [found for found in answers if not isinstance(found, str)]
    known = [found for found in good if found is not None]
    if not good:
        return answers[0]
    return union(known) if len(known) == len(good) else None


def _iterate(tree: TypeTree) -> Answer:
    kind = kind_of(tree)
    if kind in ("record", "str"):
        return STR
    if kind is not None and not hasattr(_TYPES[kind], "__iter__"):
        return f"is {with_article(kind)}: it cannot be iterated over"
    if isinstance(tree, Container) and tree.args:
        return tree.args[0] if len(tree.args) == 1 or tree.name == "dict" else union(tree.args)
    return None


def _subscript_container(tree: Container, key: ast.expr, constant: object) -> Answer:
    if tree.name == "dict":
        return tree.args[1]
    if isinstance(constant, str):
        advice = "its items have positions, not keys; take an item first, or use a loop"
        return f"is a {tree.name.lower()}: {advice}"
    if isinstance(key, ast.Slice):
        return tree if tree.name == "list" else None
    if tree.name == "tuple" and not tree.variadic:
        inside = isinstance(constant, int) and 0 <= constant < len(tree.args)
        return tree.args[constant] if isinstance(constant, int) and inside else None
    return tree.args[0] if tree.args else None


def _is_position(key: ast.expr) -> bool:
    if isinstance(key, ast.UnaryOp) and isinstance(key.op, ast.USub):
        key = key.operand
    return isinstance(key, ast.Slice) or (isinstance(key, ast.Constant) and type(key.value) is int)


def with_article(kind: str) -> str:
    """Return `an int` for `int`."""
    if kind == "None":
        return kind
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
