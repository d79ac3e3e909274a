# ruff: noqa: N802  # the methods are named after the classes of `ast`
"""One program as the check sees it: where names are read, and how certainly each part is reached. Pure.

The check does not follow a program in the order in which it runs. It asks here whether a value may have
been changed, tested or replaced somewhere, and reports nothing about it if so.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TypeAlias

from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.language.scopes import Function, SyntaxTree, is_async

_Part: TypeAlias = ast.AST | Sequence[ast.AST] | None

MAX_STEPS = 60_000
"""Maximum number of steps of one check: ordinary programs take one for every few characters."""
DEAD, MAYBE, SURE = range(3)
"""How certainly a part of the program is reached: never, under a condition, or whenever it runs."""
_EXITS = frozenset({"exit", "quit"})
_REFLECTS = frozenset({"globals", "locals", "vars", "dir", "setattr", "delattr", "exec", "eval"})
_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)


class OutOfWork(Exception):  # it ends the check, and is not an error
    """The check has used up its steps."""


class Work:
    """Counts the steps of one check, so that its time is bounded for every program."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Raises:
            OutOfWork: There are none left.
        """
        self.left -= steps
        if self.left < 0:
            raise OutOfWork


class Program(SyntaxTree):
    """What the check knows of the text of one program."""

    def __init__(self, root: ast.Module) -> None:
        super().__init__(root)
        self.is_async = is_async(self)
        """Whether a call of a tool returns an awaitable, and not the value."""
        self.reads: dict[str, list[ast.AST]] = {}
        """Where each name is read, as a variable or as an attribute."""
        for node in (*self.kinds.get(ast.Name, ()), *self.kinds.get(ast.Attribute, ())):
            if isinstance(node.ctx, ast.Load):
                name = node.id if isinstance(node, ast.Name) else node.attr
                self.reads.setdefault(name, []).append(node)
        named = (node for name in _REFLECTS & self.reads.keys() for node in self.reads[name])
        self.reflects = any(isinstance(node, ast.Name) for node in named)
        """Whether the code inspects its own namespace: then no name is certain."""

    def reach(self, node: ast.AST) -> int:
        """Return how certainly `node` is reached: `DEAD`, `MAYBE` or `SURE`."""
        return self._reach.of(node)

    @cached_property
    def _reach(self) -> _Reach:
        return _Reach(self)


class _Reach:
    """One walk over a program in the order of its text: what is reached, and what is called.

    A function is reached as certainly as the code that reads its name.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._states: dict[ast.AST, tuple[int, ast.AST]] = {}
        """How certainly each node is reached once the function that it is in is called."""
        self._reads: dict[ast.AST, dict[str, int]] = {}
        """Names that the code of each function reads, in a text too, and how certainly."""
        self._functions: dict[ast.AST, int] = {}
        self._state = SURE
        self._has_break = False
        self._owner: ast.AST = program.root
        self._go(program.root.body)
        if not program.reflects:
            self._find_uncalled()

    def of(self, node: ast.AST) -> int:
        """Return how certainly `node` is reached."""
        state, owner = self._states.get(node, (SURE, node))
        return min(state, self._functions.get(owner, SURE))

    def _find_uncalled(self) -> None:
        by_name: dict[str, list[ast.AST]] = {}
        reach = self._functions
        functions = [node for node in self._program.scopes if isinstance(node, Function)]
        for node in functions:
            by_name.setdefault(node.name, []).append(node)
            reach[node] = DEAD
        for level in (SURE, MAYBE):
            waiting: list[ast.AST] = [
                self._program.root,
                *(node for node in functions if reach[node] > level),
            ]
            while waiting:
                for name, certainty in self._reads.get(waiting.pop(), {}).items():
                    for called in by_name.get(name, ()) if certainty >= level else ():
                        if reach[called] < level:
                            reach[called] = level
                            waiting.append(called)
        for node in functions:  # outer ones before inner ones
            outer = next(
                (part for part in self._program.outward(node) if isinstance(part, Function)), None
            )
            if outer is not None:
                reach[node] = min(reach[node], reach[outer])

    # --- the walk -------------------------------------------------------------------------------

    def _go(self, part: _Part, state: int = SURE) -> bool:
        """Visit a node or a block; return whether what follows is never reached."""
        before = self._state
        self._state = min(before, state)
        is_left = False
        for node in part if isinstance(part, list | tuple) else (part,):
            if isinstance(node, ast.AST) and self._visit(node):
                is_left, self._state = True, DEAD
        self._state = before
        return is_left

    def _visit(self, node: ast.AST) -> bool:
        scope = self._program.scope_of.get(node)
        if scope is None or scope.is_deferred:
            return False
        self._states[node] = (self._state, self._owner)
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
        self._go((node.iter, node.target))
        is_empty = (
            isinstance(node, ast.For)
            and isinstance(node.iter, ast.List | ast.Tuple)
            and not node.iter.elts
        )
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
        self._go(node.cases, MAYBE)

    # --- what is read ---------------------------------------------------------------------------

    def _read(self, name: str) -> None:
        reads = self._reads.setdefault(self._owner, {})
        reads[name] = max(self._state, reads.get(name, DEAD))

    def _Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id)

    def _Attribute(self, node: ast.Attribute) -> None:
        self._read(node.attr)
        self._go(node.value)

    def _Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 100:  # a name for `getattr`, perhaps
            self._read(node.value)

    def _FunctionDef(self, node: Function) -> None:
        self._go((node.args, *node.decorator_list))
        self._go(node.returns)
        outer = self._program.scope_of[node].node
        is_called_by_others = (
            node.decorator_list
            or (node.name.startswith("__") and node.name.endswith("__"))
            or (isinstance(outer, ast.ClassDef) and outer.bases)
        )
        if is_called_by_others:  # by the language, a decorator, a class above its own
            self._read(node.name)
        owner, self._owner = self._owner, node
        self._go(node.body)
        self._owner = owner

    _AsyncFunctionDef = _FunctionDef


def _truth(test: ast.expr) -> bool | None:
    """Return the truth of a condition that is always the same; None if it may be either."""
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
