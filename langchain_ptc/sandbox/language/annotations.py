"""Annotations are evaluated eagerly, on every Python.

Python 3.14 compiles them to functions (PEP 649), which its standard library calls when it needs the values:
`dataclass`, `NamedTuple`, `TypedDict` and others, with globals of its own making. Where an annotation
has raised before, these hold nothing, and the names in it are looked up in the interpreter's own
builtins: `getattr` would be Python's, and not the guarded one. So no such function is made. What a
class and a function of the code have are plain values, as up to Python 3.13, and a program takes the
same path on each Python.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterable
from typing import TypeVar

from langchain_ptc.sandbox.language.names import RESERVED, mangle

ARE_DEFERRED = sys.version_info >= (3, 14)
SETTLE = RESERVED + "settle"
"""Name by which the code has `settle_annotations`."""
_NAME = "__annotations__"
_Node = TypeVar("_Node", bound=ast.AST)


def settle_annotations(function: types.FunctionType) -> types.FunctionType:
    """Evaluate the annotations of a function that was just made; decorates it before all others."""
    function.__annotations__ = dict(function.__annotations__)  # drops what would evaluate them
    return function


def evaluate_at_once(nodes: Iterable[ast.AST]) -> None:
    """Change a tree, so that Python 3.14 evaluates its annotations eagerly.

    Those of variables of the top level, which nothing can read, are left out.

    Args:
        nodes: Every node of the tree.
    """
    nodes = list(nodes)
    if any(_makes_text(node) for node in nodes):
        return
    for node in nodes:
        if isinstance(node, ast.Module):
            node.body = _Scope(None).change(node.body)
        elif isinstance(node, ast.ClassDef):
            _settle_class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_annotated(node):
            node.decorator_list.append(_at(node, ast.Name(SETTLE, ast.Load())))


def _makes_text(node: ast.AST) -> bool:
    """Whether a node makes all annotations text, which is not evaluated."""
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
    )


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return node.returns is not None or any(part and part.annotation for part in every)


def _settle_class(node: ast.ClassDef) -> None:
    scope = _Scope(node.name)
    body = scope.change(node.body)
    if scope.has_annotations:
        after = 1 if ast.get_docstring(node, clean=False) is not None else 0
        empty = ast.Assign([ast.Name(_NAME, ast.Store())], ast.Dict([], []))
        node.body = [*body[:after], _at(body[0], empty), *body[after:]]


class _Scope:
    """The statements of a class body, or of the top level (`class_name` None)."""

    def __init__(self, class_name: str | None) -> None:
        self.has_annotations = False
        self._class = class_name

    def change(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Return statements with assignments in place of annotations; changes those inside of others."""
        made: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.AnnAssign):
                made += self._instead_of(node)
                continue
            made.append(node)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._change_inside(node)
        return made

    def _change_inside(self, node: ast.stmt) -> None:
        for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            for field in ("body", "orelse", "finalbody"):
                if block := getattr(part, field, None):
                    setattr(part, field, self.change(block))

    def _instead_of(self, node: ast.AnnAssign) -> list[ast.stmt]:
        self.has_annotations = True
        made: list[ast.stmt] = [] if node.value is None else [ast.Assign([node.target], node.value)]
        if self._class is not None and node.simple:
            assert isinstance(node.target, ast.Name)
            key = ast.Constant(mangle(node.target.id, self._class))
            place = ast.Subscript(ast.Name(_NAME, ast.Load()), key, ast.Store())
            made.append(ast.Assign([place], node.annotation))
        return [_at(node, statement) for statement in made or [ast.Pass()]]


def _at(where: ast.AST, node: _Node) -> _Node:
    ast.copy_location(node, where)
    return ast.fix_missing_locations(node)
