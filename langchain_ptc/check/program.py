# ruff: noqa: N802  # the methods are named after the classes of `ast`
"""The syntax tree of one program, read once: its names, what is reached, what it does anywhere. Pure.

The check does not follow a program in the order in which it runs. It asks here whether a value may have
been changed, tested or replaced somewhere, and reports nothing about it if so.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_ptc.sandbox.language.shape import all_nodes, is_async

Step: TypeAlias = int | Literal["item"]
"""From a value to a part of it: an item by its position, or any item."""
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Part: TypeAlias = ast.AST | Sequence[ast.AST] | None

DEAD, MAYBE, SURE = range(3)
"""How certainly a part of the program is reached: never, under a condition, or whenever it runs."""
_EXITS = frozenset({"exit", "quit"})
_REFLECTS = frozenset({"globals", "locals", "vars", "dir", "setattr", "delattr", "exec", "eval"})
_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)


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


OPAQUE = Binding()
AUGMENTED = Binding()
"""`x += 1`: it gives a name a value only where another binding has given it one."""


@dataclass(eq=False, slots=True, kw_only=True)
class Scope:
    """A module, a function, a class body or a comprehension."""

    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    """Names that are declared `global` or `nonlocal`."""
    reads: dict[str, int] = field(default_factory=dict)
    """Names that its own code reads, in a text too, and how certainly."""
    has_star: bool = False
    """Whether it has an `import *` of unknown names."""
    reach: int = SURE

    def visible(self) -> Iterator[Scope]:
        """Yield the scopes in which a name used here is looked up, innermost first."""
        yield self
        scope = self.parent
        while scope is not None:
            if not isinstance(scope.node, ast.ClassDef):
                yield scope
            scope = scope.parent


class Program:
    """What the check knows of the text of one program."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = nodes = all_nodes(tree)
        self.is_async = is_async(nodes)
        """Whether a tool gives an awaitable, and not the value."""
        self.parents: dict[ast.AST, ast.AST] = {}
        self.reads: dict[str, list[ast.AST]] = {}
        """Where each name is read, as a variable or as an attribute."""
        for node in nodes:
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            name = getattr(node, "id", getattr(node, "attr", None))
            if name is not None and isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
                self.reads.setdefault(name, []).append(node)
        named = (node for name in _REFLECTS for node in self.reads.get(name, ()))
        self.reflects = any(isinstance(node, ast.Name) for node in named)
        """Whether the code looks at its own names: then none of them is certain."""
        self.scopes: dict[ast.AST, Scope] = {}
        """The scope that each function, class and comprehension makes."""
        self._places: dict[ast.AST, tuple[Scope, int]] = {}
        self.module = _Walk(self.scopes, self._places).walk(tree)
        if not self.reflects:
            self._find_uncalled()

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what `node` stands in, innermost first."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)

    def scope_of(self, node: ast.AST) -> Scope | None:
        """Return the scope in which `node` is evaluated; None for what is never evaluated."""
        place = self._places.get(node)
        return None if place is None else place[0]

    def reach(self, node: ast.AST) -> int:
        """Return how certainly `node` is reached: `DEAD`, `MAYBE` or `SURE`."""
        place = self._places.get(node)
        return SURE if place is None else min(place[1], place[0].reach)

    def bindings(self) -> dict[str, list[Binding]]:
        """Return every name that the program binds anywhere, with all the places that do."""
        found: dict[str, list[Binding]] = {}
        for scope in (self.module, *self.scopes.values()):
            for name, bindings in scope.bindings.items():
                found.setdefault(name, []).extend(bindings)
        return found

    def _find_uncalled(self) -> None:
        """Find how certainly each function is called: as certainly as the code that reads its name."""
        functions: dict[str, list[Scope]] = {}
        for node, scope in self.scopes.items():
            if isinstance(node, Function):
                functions.setdefault(node.name, []).append(scope)
                scope.reach = DEAD
        for level in (SURE, MAYBE):
            waiting = [
                self.module,
                *(s for same in functions.values() for s in same if s.reach > level),
            ]
            while waiting:
                for name, certainty in waiting.pop().reads.items():
                    for scope in functions.get(name, ()) if certainty >= level else ():
                        if scope.reach < level:
                            scope.reach = level
                            waiting.append(scope)
        for scope in self.scopes.values():  # outer scopes before inner ones
            assert scope.parent is not None
            scope.reach = min(scope.reach, scope.parent.reach)


class _Walk:
    """One walk over a program in the order of its text: scopes, and what is reached."""

    def __init__(
        self, scopes: dict[ast.AST, Scope], places: dict[ast.AST, tuple[Scope, int]]
    ) -> None:
        self._scopes = scopes
        self._places = places
        self._state = SURE
        self._has_break = False

    def walk(self, tree: ast.Module) -> Scope:
        """Walk over a program, and return the scope of its module."""
        self._now = self._owner = module = Scope(node=tree)
        self._reads_annotations = _evaluates_annotations(tree)
        self._go(tree.body)
        return module

    def _go(self, part: _Part, state: int = SURE) -> bool:
        """Visit a node or a block; return whether what stands behind it is never reached."""
        before = self._state
        self._state = min(before, state)
        is_left = False
        for node in part if isinstance(part, list | tuple) else (part,):
            if isinstance(node, ast.AST) and self._visit(node):
                is_left, self._state = True, DEAD
        self._state = before
        return is_left

    def _visit(self, node: ast.AST) -> bool:
        self._places[node] = (self._now, self._state)
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is not None:
            return method(node) is True
        for name in node._fields:
            value = getattr(node, name, None)
            if type(value) is list or (
                isinstance(value, ast.AST) and not isinstance(value, _LEAVES)
            ):
                self._go(value)
        return False

    # --- what is reached ------------------------------------------------------------------------

    def _Return(self, node: ast.AST) -> bool:
        self._has_break = self._has_break or isinstance(node, ast.Break)
        self._go([*ast.iter_child_nodes(node)])
        return True

    _Raise = _Break = _Continue = _Return

    def _Expr(self, node: ast.Expr) -> bool:
        self._go(node.value)
        function = getattr(node.value, "func", None)
        if isinstance(function, ast.Attribute):
            return function.attr == "exit" and getattr(function.value, "id", "") == "sys"
        return getattr(function, "id", "") in _EXITS

    def _If(self, node: ast.If | ast.IfExp) -> bool:
        self._go(node.test)
        truth = _truth(node.test)
        unsure = MAYBE if truth is None else SURE
        is_left = self._go(node.body, DEAD if truth is False else unsure)
        return self._go(node.orelse, DEAD if truth is True else unsure) and is_left

    _IfExp = _If

    def _While(self, node: ast.While) -> bool:
        self._go(node.test)
        before, self._has_break = self._has_break, False
        truth = _truth(node.test)
        self._go(node.body, DEAD if truth is False else SURE)
        is_left = truth is True and not self._has_break
        self._has_break = self._has_break or before
        self._go(node.orelse, DEAD if truth is True else MAYBE)
        return is_left

    def _For(self, node: ast.For | ast.AsyncFor) -> None:
        self._go(node.iter)
        known = node.iter if isinstance(node, ast.For) else None
        self._bind_target(node.target, known, ("item",), self._now)
        is_empty = isinstance(known, ast.List | ast.Tuple) and not known.elts
        self._go(node.body, DEAD if is_empty else SURE)
        self._go(node.orelse, MAYBE)

    _AsyncFor = _For

    def _Try(self, node: ast.Try) -> bool:
        is_left = self._go(node.body)
        handled = [self._go(handler, MAYBE) for handler in node.handlers]
        is_left = self._go(node.orelse, MAYBE) or is_left
        return self._go(node.finalbody) or (is_left and all(handled))

    _TryStar = _Try

    def _ExceptHandler(self, node: ast.ExceptHandler) -> bool:
        self._capture(node)
        self._go(node.type)
        return self._go(node.body)

    def _BoolOp(self, node: ast.BoolOp) -> None:
        state = SURE
        for value in node.values:
            self._go(value, state)
            decided = _truth(value) is isinstance(node.op, ast.Or)
            state = DEAD if decided else min(state, MAYBE)

    def _Assert(self, node: ast.Assert) -> None:
        self._go(node.test)
        self._go(node.msg, MAYBE)

    def _Match(self, node: ast.Match) -> None:
        self._go(node.subject)
        for case in node.cases:
            self._go(case, MAYBE)

    # --- what is bound --------------------------------------------------------------------------

    def _bind(self, name: str, binding: Binding) -> None:
        scope = self._now
        while isinstance(scope.node, _COMPREHENSIONS) and scope.parent is not None:
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
            self._places[target] = (scope, self._state)
            binding = OPAQUE if value is None else Binding(value=value, steps=steps)
            self._bind_in(scope, target.id, binding)
        elif isinstance(target, ast.Tuple | ast.List):
            starred = any(isinstance(element, ast.Starred) for element in target.elts)
            for position, element in enumerate(target.elts):
                inner = element.value if isinstance(element, ast.Starred) else element
                known = None if starred else value
                self._bind_target(inner, known, (*steps, position), scope)
        else:
            self._go(target)

    def _Assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        if isinstance(node, ast.Assign):
            targets = node.targets
        else:
            targets = [node.target]
            if self._reads_annotations and isinstance(self._now.node, ast.ClassDef):
                self._go(node.annotation)
        self._go(node.value)
        for target in targets:
            self._bind_target(target, node.value, (), self._now)

    _AnnAssign = _Assign

    def _AugAssign(self, node: ast.AugAssign) -> None:
        self._go(node.value)
        if isinstance(node.target, ast.Name):
            self._places[node.target] = (self._now, self._state)
            self._bind(node.target.id, AUGMENTED)
        else:
            self._go(node.target)

    def _NamedExpr(self, node: ast.NamedExpr) -> None:
        self._go(node.value)
        self._places[node.target] = (self._now, self._state)
        self._bind(node.target.id, Binding(value=node.value))

    def _withitem(self, node: ast.withitem) -> None:
        self._go(node.context_expr)
        if node.optional_vars is not None:
            self._bind_target(node.optional_vars, None, (), self._now)

    def _Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id)
        else:
            self._bind(node.id, OPAQUE)

    def _Attribute(self, node: ast.Attribute) -> None:
        self._read(node.attr)
        self._go(node.value)

    def _Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 100:  # a name for `getattr`, perhaps
            self._read(node.value)

    def _read(self, name: str) -> None:
        reads = self._owner.reads
        reads[name] = max(self._state, reads.get(name, DEAD))

    def _capture(self, node: ast.AST) -> None:
        for name in (getattr(node, "name", None), getattr(node, "rest", None)):
            if name:
                self._bind(name, OPAQUE)

    def _MatchAs(self, node: ast.pattern) -> None:
        self._capture(node)
        self._go([*ast.iter_child_nodes(node)])

    _MatchStar = _MatchMapping = _MatchAs

    def _Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._now.foreign.update(node.names)

    _Nonlocal = _Global

    def _Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            binding = Binding(definition=node, alias=alias)
            if isinstance(node, ast.Import):
                self._bind(alias.asname or alias.name.partition(".")[0], binding)
            elif alias.name != "*":
                self._bind(alias.asname or alias.name, binding)
            elif (node.module or "").partition(".")[0] != "tools":
                self._now.has_star = True

    _ImportFrom = _Import

    # --- scopes ---------------------------------------------------------------------------------

    def _enter(self, node: ast.AST, parameters: Iterable[str], body: _Part) -> None:
        """Visit the body of a function or class in a scope of its own."""
        before, owner = self._now, self._owner
        self._now = self._scopes[node] = Scope(node=node, parent=before)
        if isinstance(node, Function):
            self._owner = self._now
        names = [getattr(p, "name", "") for p in getattr(node, "type_params", ())]  # Python 3.12
        for name in (*parameters, *names):
            self._bind(name, OPAQUE)
        self._go(body)
        self._now, self._owner = before, owner

    def _FunctionDef(self, node: Function | ast.Lambda) -> None:
        arguments = node.args
        self._go([*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)])
        parameters = [p for p in ast.iter_child_nodes(arguments) if isinstance(p, ast.arg)]
        if isinstance(node, ast.Lambda):
            self._enter(node, [p.arg for p in parameters], node.body)
            return
        self._go(node.decorator_list)
        self._bind(node.name, Binding(definition=node))
        if self._reads_annotations and not getattr(node, "type_params", ()):
            self._go(
                [*(p.annotation for p in parameters if p.annotation), *filter(None, [node.returns])]
            )
        outer = self._now.node
        is_called_by_others = (
            node.decorator_list
            or (node.name.startswith("__") and node.name.endswith("__"))
            or (isinstance(outer, ast.ClassDef) and outer.bases)
        )
        if is_called_by_others:  # by the language, a decorator, a class above its own
            self._read(node.name)
        self._enter(node, [p.arg for p in parameters], node.body)

    _AsyncFunctionDef = _Lambda = _FunctionDef

    def _ClassDef(self, node: ast.ClassDef) -> None:
        self._go([*node.decorator_list, *node.bases, *(k.value for k in node.keywords)])
        self._bind(node.name, Binding(definition=node))
        self._enter(node, (), node.body)

    def _TypeAlias(self, node: ast.AST) -> None:
        """Bind the name of a `type X = ...` of Python 3.12; its value is not evaluated."""
        self._bind(node.name.id, OPAQUE)  # type: ignore[attr-defined]

    def _ListComp(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self._go(node.generators[0].iter)
        before = self._now
        self._now = scope = self._scopes[node] = Scope(node=node, parent=before)
        for number, generator in enumerate(node.generators):
            if number:
                self._go(generator.iter)
            known = None if generator.is_async else generator.iter
            self._bind_target(generator.target, known, ("item",), scope)
            self._go(generator.ifs)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self._go(parts)
        self._now = before

    _SetComp = _DictComp = _GeneratorExp = _ListComp


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _truth(test: ast.expr) -> bool | None:
    """Return what a condition always is while the program runs; None if it may be either."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _truth(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__":
        value = getattr(test.comparators[0], "value", "")
        return True if isinstance(test.ops[0], ast.Eq) and value == "__main__" else None
    is_for_types = getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"
    return False if is_for_types else None


def _evaluates_annotations(tree: ast.Module) -> bool:
    """Whether Python evaluates annotations where they stand."""
    return sys.version_info < (3, 14) and not any(
        isinstance(statement, ast.ImportFrom)
        and statement.module == "__future__"
        and any(alias.name == "annotations" for alias in statement.names)
        for statement in tree.body
    )
