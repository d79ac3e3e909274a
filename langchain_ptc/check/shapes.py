"""What can be done with a value of a type: read a key, an attribute, iterate. Pure.

Each function answers with the type of the result, `None` where nothing certain is known, or a text
that says why it cannot work.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.stubs import group, render_type
from langchain_ptc.catalog.types import (
    STR,
    Alternatives,
    Choice,
    Container,
    Named,
    Record,
    RecordRef,
    TypeTree,
    union,
)
from langchain_ptc.check.words import did_you_mean

Answer: TypeAlias = TypeTree | str | None

_PLAIN: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_CONTAINERS: Mapping[str, type] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
}
_NUMBERS = frozenset(dir(int)) | frozenset(dir(float))
_MAX_KEYS = 20


def describe(tree: TypeTree, definition: ToolDefinition | None) -> str:
    """Return the type as the stubs write it."""
    if definition is None:
        return render_type(tree, {})
    [stubs] = group([definition])
    return render_type(tree, stubs.names[definition.name])


def kind_of(tree: TypeTree) -> str | None:
    """Return the name of the Python type that values of `tree` have, or None if it is not certain.

    `record` stands for a record; `float` for a number.
    """
    if isinstance(tree, RecordRef):
        return "record"
    if isinstance(tree, Container):
        return tree.name if tree.name in _CONTAINERS else None
    if isinstance(tree, Choice):
        kinds = {type(value).__name__ for value in tree.values}
        return kinds.pop() if len(kinds) == 1 and kinds <= _PLAIN.keys() else None
    if isinstance(tree, Named):
        return tree.name if tree.name in (*_PLAIN, "None") else None
    return None


def is_closed(record: Record) -> bool:
    """Whether a record has no keys but its fields.

    What an annotation says is all; an object of a JSON Schema may have further keys.
    """
    said = record.key.startswith("output:") and "#" not in record.key
    return said and not record.others


def _each(tree: TypeTree, answer: Callable[[TypeTree], Answer]) -> Answer:
    """Ask for each alternative of a type: it cannot work only if it cannot for any of them."""
    if not isinstance(tree, Alternatives):
        return answer(tree)
    answers = [answer(option) for option in tree.options]
    good = [found for found in answers if not isinstance(found, str)]
    if not good:
        return next(found for found in answers if isinstance(found, str))
    known = [found for found in good if found is not None]
    return union(known) if len(known) == len(good) else None


class Shapes:
    """What can be done with the values of one program.

    Args:
        stored: Keys and attributes that the code stores or asks for itself, on whatever object.
        open_records: Whether the code may add keys to records that are not known.
    """

    def __init__(self, *, stored: Collection[str], open_records: bool) -> None:
        self._stored = stored
        self._open = open_records

    def _field(
        self, tree: RecordRef, name: str, definition: ToolDefinition, *, attribute: bool
    ) -> Answer:
        record = definition.record(tree)
        if self._open or name in self._stored:
            return None
        for field in record.fields:
            if field.name == name:
                return field.type
        if not is_closed(record):
            return None
        keys = [field.name for field in record.fields]
        shown = ", ".join(map(repr, keys[:_MAX_KEYS])) + (", …" if len(keys) > _MAX_KEYS else "")
        what = "attribute" if attribute else "key"
        return f"has no {what} {name!r}{did_you_mean(name, keys)}; it is a record with the keys {shown}"

    # --- subscripts -----------------------------------------------------------------------------

    def subscript(self, tree: TypeTree, key: ast.expr, definition: ToolDefinition | None) -> Answer:
        """Say what `value[key]` is."""
        return _each(tree, lambda option: self._subscript(option, key, definition))

    def _subscript(
        self, tree: TypeTree, key: ast.expr, definition: ToolDefinition | None
    ) -> Answer:
        constant = key.value if isinstance(key, ast.Constant) else None
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            if definition is None:
                return None
            if isinstance(constant, str):
                return self._field(tree, constant, definition, attribute=False)
            if _is_position(key) and not self._open and is_closed(definition.record(tree)):
                return "is a record, not a list: its keys are names"
            return None
        if isinstance(tree, Container):
            changed = tree.name == "dict" and (self._open or constant in self._stored)
            return None if changed else _subscript_container(tree, key, constant)
        if kind == "str":
            return "is a str: it has no keys" if isinstance(constant, str) else STR
        if kind in ("int", "float", "bool", "None"):
            return f"is {_a(kind)}: it has no items"
        return None

    # --- attributes -----------------------------------------------------------------------------

    def attribute(self, tree: TypeTree, name: str, definition: ToolDefinition | None) -> Answer:
        """Say what `value.name` is."""
        if name.startswith("__"):
            return None
        return _each(tree, lambda option: self._attribute(option, name, definition))

    def _attribute(self, tree: TypeTree, name: str, definition: ToolDefinition | None) -> Answer:
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            if definition is None or hasattr(dict, name):
                return None
            return self._field(tree, name, definition, attribute=True)
        if kind is None or kind == "dict" or name in self._stored:
            return None
        if kind == "None":
            return f"is None: it has no attribute {name!r}"
        if kind in ("int", "float", "bool"):
            known: Collection[str] = _NUMBERS
        else:
            known = dir((_PLAIN.get(kind) or _CONTAINERS[kind])())
        if name in known:
            return None
        items = ", whose items have it perhaps: use a loop" if kind in _CONTAINERS else ""
        return f"is {_a(kind)}{items}; it has no attribute {name!r}"

    # --- the rest -------------------------------------------------------------------------------

    def iterate(self, tree: TypeTree) -> Answer:
        """Say what the items of a loop over the value are."""
        return _each(tree, _iterate)

    def parse(self, tree: TypeTree) -> Answer:
        """Say what parsing the value as JSON text gives."""
        return _each(tree, _parse)


def _iterate(tree: TypeTree) -> Answer:
    kind = kind_of(tree)
    if kind in ("int", "float", "bool", "None"):
        return f"is {_a(kind)}: it cannot be iterated over"
    if kind == "record" or kind == "str":
        return STR
    if isinstance(tree, Container) and tree.args:
        return tree.args[0] if len(tree.args) == 1 or tree.name == "dict" else union(tree.args)
    return None


def _parse(tree: TypeTree) -> Answer:
    if kind_of(tree) in (None, "str"):
        return None
    return "is data already: use it as it is, without json.loads()"


def _subscript_container(tree: Container, key: ast.expr, constant: object) -> Answer:
    if tree.name == "dict":
        return tree.args[1]
    if tree.name in ("set", "frozenset"):
        return f"is a {tree.name}: it has no items by position or key"
    if isinstance(constant, str):
        return (
            f"is a {tree.name.lower()}: its items have positions, not keys; take an item first, "
            "or use a loop"
        )
    if isinstance(key, ast.Slice):
        return tree if tree.name == "list" else None
    if tree.name == "tuple" and not tree.variadic:
        position = constant if type(constant) is int else None
        inside = position is not None and position < len(tree.args)
        return tree.args[position] if inside and position is not None else None
    return tree.args[0] if tree.args else None


def _is_position(key: ast.expr) -> bool:
    if isinstance(key, ast.UnaryOp) and isinstance(key.op, ast.USub):
        key = key.operand
    return isinstance(key, ast.Slice) or (isinstance(key, ast.Constant) and type(key.value) is int)


def _a(kind: str) -> str:
    if kind == "None":
        return "None"
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
