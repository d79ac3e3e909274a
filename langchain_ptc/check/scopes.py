# ruff: noqa: D102, N815  # the methods are named after the classes of `ast`
"""Which names the code binds, and where: scopes as Python has them.

Pure. Every use of a name knows its scope, and every scope all the places that bind its names. What a
name is worth is asked in `values.py`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Step: TypeAlias = int | Literal["item"]
"""From a value to a part of it: an item by its position, or any item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One place where a name gets a value."""

    value: ast.expr | None = None
    """What it gets the value from; None if nothing can be said."""
    steps: tuple[Step, ...] = ()
    """The way from `value` to what the name gets, as in `for a, b in pairs`."""
    definition: ast.AST | None = None
    """The `def`, or the import, that binds it."""
    alias: ast.alias | None = None
    """The part of the import."""


@dataclass(eq=False, slots=True, kw_only=True)
class Scope:
    """A module, a function, a class body or a comprehension."""

    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    """Names that are declared `global` or `nonlocal`."""
    has_star: bool = False
    """Whether an `import *` of unknown names stands in it."""

    @property
    def is_class(self) -> bool:
        """Whether it is a class body, which the functions in it do not see."""
        return isinstance(self.node, ast.ClassDef)

    def visible(self) -> Iterator[Scope]:
        """Yield the scopes in which a name used here is looked up, innermost first."""
        yield self
        scope = self.parent
        while scope is not None:
            if not scope.is_class:
                yield scope
            scope = scope.parent


_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_FunctionLike = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
OPAQUE = Binding()
AUGMENTED = Binding()
"""`x += 1`: it gives a name a value only where another binding has given it one."""


class Scopes(ast.NodeVisitor):
    """The scopes of one program.

    Args:
        tree: The program.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(node=tree)
        self.of_name: dict[ast.AST, Scope] = {}
        """The scope in which each use of a name, and each function, stands."""
        self.inside: dict[ast.AST, Scope] = {}
        """The scope that each function makes."""
        self._now = self.module
        self._reads_annotations = _evaluates_annotations(tree)
        for statement in tree.body:
            self.visit(statement)

    def names(self) -> frozenset[str]:
        """Return every name that the program binds anywhere."""
        scopes = (self.module, *self.inside.values())
        return frozenset(name for scope in scopes for name in scope.bindings)

    def own_names(self) -> frozenset[str]:
        """Return the names that the program binds other than by importing them."""
        return frozenset(
            name
            for scope in (self.module, *self.inside.values())
            for name, bindings in scope.bindings.items()
            if any(binding.alias is None for binding in bindings)
        )

    # --- binding --------------------------------------------------------------------------------

    def _bind(self, name: str, binding: Binding) -> None:
        scope = self._now
        while isinstance(scope.node, _Comprehension) and scope.parent is not None:
            scope = scope.parent  # only `:=` binds from inside a comprehension
        self._bind_in(scope, name, binding)

    def _bind_in(self, scope: Scope, name: str, binding: Binding) -> None:
        if name not in scope.foreign:
            scope.bindings.setdefault(name, []).append(binding)
            return
        outer = scope.parent
        while outer is not None:  # which of them is meant does not matter: the name is not certain
            outer.bindings.setdefault(name, []).append(OPAQUE)
            outer = outer.parent

    def _bind_target(
        self, target: ast.expr, value: ast.expr | None, steps: tuple[Step, ...], scope: Scope
    ) -> None:
        if isinstance(target, ast.Name):
            self.of_name[target] = scope
            binding = OPAQUE if value is None else Binding(value=value, steps=steps)
            self._bind_in(scope, target.id, binding)
        elif isinstance(target, ast.Tuple | ast.List):
            starred = any(isinstance(element, ast.Starred) for element in target.elts)
            for position, element in enumerate(target.elts):
                inner = element.value if isinstance(element, ast.Starred) else element
                known = None if starred else value
                self._bind_target(inner, known, (*steps, position), scope)
        else:
            self.visit(target)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind_target(target, node.value, (), self._now)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._reads_annotations and self._now.is_class:
            self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._bind_target(node.target, node.value, (), self._now)
        elif isinstance(node.target, ast.Name):
            self._bind(node.target.id, OPAQUE)
        else:
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.of_name[node.target] = self._now
            self._bind(node.target.id, AUGMENTED)
        else:
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.of_name[node.target] = self._now
        self._bind(node.target.id, Binding(value=node.value))

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        known = node.iter if isinstance(node, ast.For) else None
        self._bind_target(node.target, known, ("item",), self._now)
        self._visit_all([*node.body, *node.orelse])

    visit_AsyncFor = visit_For

    def visit_withitem(self, node: ast.withitem) -> None:
        self.visit(node.context_expr)
        if node.optional_vars is not None:
            self._bind_target(node.optional_vars, None, (), self._now)

    def visit_Name(self, node: ast.Name) -> None:
        self.of_name[node] = self._now
        if not isinstance(node.ctx, ast.Load):
            self._bind(node.id, OPAQUE)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, OPAQUE)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name, OPAQUE)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest, OPAQUE)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._now.foreign.update(node.names)

    visit_Nonlocal = visit_Global

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._bind(
                alias.asname or alias.name.partition(".")[0], Binding(definition=node, alias=alias)
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name != "*":
                self._bind(alias.asname or alias.name, Binding(definition=node, alias=alias))
            elif (node.module or "").partition(".")[0] != "tools":
                self._now.has_star = True

    # --- scopes ---------------------------------------------------------------------------------

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _enter(self, node: ast.AST) -> Scope:
        self.of_name[node] = self._now
        self._now = Scope(node=node, parent=self._now)
        self.inside[node] = self._now
        return self._now

    def _leave(self) -> None:
        assert self._now.parent is not None
        self._now = self._now.parent

    def _visit_function(self, node: _FunctionLike, body: Iterable[ast.AST]) -> None:
        arguments = node.args
        self._visit_all([*arguments.defaults, *arguments.kw_defaults])
        several = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        parameters = [p for p in (*several, arguments.vararg, arguments.kwarg) if p is not None]
        if self._reads_annotations and not getattr(node, "type_params", ()):
            self._visit_all(parameter.annotation for parameter in parameters)
            self._visit_all([getattr(node, "returns", None)])
        self._enter(node)
        for parameter in parameters:
            self._bind(parameter.arg, OPAQUE)
        self._bind_type_parameters(node)
        self._visit_all(body)
        self._leave()

    def _bind_type_parameters(self, node: ast.AST) -> None:
        for parameter in getattr(node, "type_params", ()):  # Python 3.12
            self._bind(parameter.name, OPAQUE)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._bind(node.name, Binding(definition=node))
        self._visit_function(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_function(node, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *(k.value for k in node.keywords)])
        self._bind(node.name, Binding(definition=node))
        self._enter(node)
        self._bind_type_parameters(node)
        self._visit_all(node.body)
        self._leave()

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """Bind the name of a `type X = ...` of Python 3.12; its value is no code that runs."""
        self._bind(node.name.id, OPAQUE)  # type: ignore[attr-defined]

    def _visit_comprehension(self, node: _Comprehension) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        scope = self._enter(node)
        for number, generator in enumerate(node.generators):
            if number:
                self.visit(generator.iter)
            known = None if generator.is_async else generator.iter
            self._bind_target(generator.target, known, ("item",), scope)
            self._visit_all(generator.ifs)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self._visit_all(parts)
        self._leave()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension


def _evaluates_annotations(tree: ast.Module) -> bool:
    """Whether Python evaluates annotations where they stand."""
    return sys.version_info < (3, 14) and not any(
        isinstance(statement, ast.ImportFrom)
        and statement.module == "__future__"
        and any(alias.name == "annotations" for alias in statement.names)
        for statement in tree.body
    )
