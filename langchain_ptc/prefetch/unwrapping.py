"""A program as one list of statements that run one after the other, whatever is wrapped around them. Pure.

    flat = unwrap(statements.runnable, is_open=statements.is_open, is_whole=False)
    flat.statements      # all that is known of it
    flat.ready           # what of it can run now: the same, but for the last, if it is still being written

Models put programs into `async def main():` and `try:`, and calls into the heads of loops. What counts for
calls that are made early is what runs next: the body of a function without parameters is taken to where it is
called, that of `main` before it is, a `try` as its body, and what a loop goes through as a statement of its own.
No node is changed, and new ones have the place in the code of those that they stand for. An open loop is never
ready: its end may still come.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.prefetch.statements import Compound

MAIN_NAMES = frozenset({"main", "_main", "amain", "run", "run_program", "program", "solve"})
"""Functions that are taken to be called as soon as they are written. Before others, the program may pause."""
_SCOPED = frozenset({ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom})
"""With one of these, the body of a function means another thing elsewhere."""
_RUNNERS = frozenset({"run", "run_until_complete"})


@dataclass(frozen=True, slots=True)
class Flat:
    """A program without its wrappings."""

    statements: list[ast.stmt]
    ready: list[ast.stmt]
    assumes: bool = False
    """Whether a function of `MAIN_NAMES` stands in it that is not called yet."""
    mains: frozenset[ast.stmt] = frozenset()
    """The first statements of those that stand where they are called."""


def unwrap(body: Sequence[ast.stmt], *, is_open: bool, is_whole: bool) -> Flat:
    """Unwrap a program.

    Args:
        body: Its statements.
        is_open: Whether the last of them is still being written.
        is_whole: Whether there are no more.
    """
    unwrapper = _Unwrapper(is_whole=is_whole)
    statements, is_open = unwrapper.flatten(body, is_open=is_open)
    ready = [*statements[:-1], *_trim(statements[-1])] if is_open else statements
    return Flat(statements, ready, unwrapper.assumes, frozenset(unwrapper.mains))


class _Unwrapper:
    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self.assumes = False
        self.mains: set[ast.stmt] = set()

    def flatten(self, body: Sequence[ast.stmt], *, is_open: bool) -> tuple[list[ast.stmt], bool]:
        """Return the statements, and whether the last of them is open."""
        found: list[ast.stmt] = []
        for place, node in enumerate(body):
            opens = is_open and place == len(body) - 1
            if _may_stand_inline(node):
                rest, opens = self._splice(node, body[place + 1 :], is_open=is_open)
                return [*found, *rest], opens
            if (blocks := _blocks_of(node, opens=opens)) is not None:
                opens_last = False
                for block, opens_block in blocks:
                    statements, opens_last = self.flatten(block, is_open=opens_block)
                    found += statements
                if opens:
                    return found, opens_last
            elif isinstance(node, ast.For) and _calls(node.iter):
                found += _split(node)
            else:
                found.append(node)
        return found, is_open

    def _splice(
        self, node: ast.stmt, rest: Sequence[ast.stmt], *, is_open: bool
    ) -> tuple[list[ast.stmt], bool]:
        """Return a function and what follows it, with its body where it is called, if that is one place."""
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_main = node.name in MAIN_NAMES
        if is_open and not rest:
            self.assumes |= is_main
            return self.flatten(node.body, is_open=True) if is_main else ([node], True)
        after, opens = self.flatten(rest, is_open=is_open)
        places = [place for place, other in enumerate(after) for _ in _reads(other, node.name)]
        if not places and is_main and not self._is_whole:  # after what is now incomplete
            self.assumes = True
            body, _ = self.flatten(node.body, is_open=False)
            return [*(after[:-1] if opens else after), *body], False
        if len(places) != 1 or not _is_simple(call := after[places[0]]):
            return [node, *after], opens
        body, _ = self.flatten(node.body, is_open=False)
        before, after = after[: places[0]], after[places[0] + 1 :]
        last = body[-1] if body else None
        if isinstance(last, ast.Return) and sum(map(_count_returns, body)) == 1:
            body[-1] = _Returned(node.name, last.value).visit(copy.deepcopy(call))
        elif not (isinstance(call, ast.Expr) and _only_calls(call.value, node.name)):
            after = []  # what follows needs its value
        if is_main:
            self.mains.update(body[:1])
        return [*before, *body, *after], opens and bool(after)


class _Returned(ast.NodeTransformer):
    """Puts what a function returns where it is called."""

    def __init__(self, name: str, value: ast.expr | None) -> None:
        self._name, self._value = name, value or ast.Constant(None)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        return self._value if node.value is self._value else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == self._name:
            return self._value
        self.generic_visit(node)
        runs = isinstance(node.func, ast.Attribute) and node.func.attr in _RUNNERS
        return self._value if runs and self._value in node.args else node


def _count_returns(node: ast.AST) -> int:
    return sum(isinstance(inner, ast.Return) for inner in ast.walk(node))


def _blocks_of(node: ast.stmt, *, opens: bool) -> list[tuple[list[ast.stmt], bool]] | None:
    """Return the blocks that a statement only wraps, and whether each is open; None if it does more."""
    if isinstance(node, ast.If) and not node.orelse and _is_name_test(node.test):
        return [(node.body, opens)]
    if not isinstance(node, ast.Try):
        return None
    if not opens and node.handlers and len(node.body) == 1 and _is_simple(node.body[0]):
        return None  # its failure may be expected
    blocks = [block for block in (node.body, node.orelse, node.finalbody) if block]
    if opens and not node.handlers and isinstance(node.finalbody[0], ast.Pass):
        blocks.pop()  # it closes a statement whose handlers are still to come
    last = blocks[-1]
    opens = opens and not (last is node.body and node.handlers)
    return [(block, opens and block is last) for block in blocks]


def _split(node: ast.For) -> list[ast.stmt]:
    name = f"_through_{node.lineno}"
    iterated = ast.copy_location(ast.Name(name, ast.Load()), node.iter)
    assigned = ast.Assign([ast.Name(name, ast.Store())], node.iter)
    loop = ast.For(node.target, iterated, node.body, node.orelse)
    ast.copy_location(assigned.targets[0], node.iter)
    return [ast.copy_location(assigned, node.iter), ast.copy_location(loop, node)]


def _may_stand_inline(node: ast.stmt) -> bool:
    """Whether a statement is a function without parameters whose body may stand at the margin."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    a = node.args
    if a.posonlyargs or a.args or a.kwonlyargs or a.vararg or a.kwarg or node.decorator_list:
        return False
    kinds = {type(inner) for inner in ast.walk(node)}
    return ast.Call in kinds and kinds.isdisjoint(_SCOPED)


def _is_name_test(test: ast.expr) -> bool:
    """Whether a condition is `__name__ == "__main__"`."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and isinstance(test.ops[0], ast.Eq)
    )


def _is_simple(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)


def _calls(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.Call | ast.Await) for inner in ast.walk(node))


def _reads(node: ast.AST, name: str) -> Iterator[ast.Name]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id == name:
            yield inner


def _only_calls(value: ast.expr, name: str) -> bool:
    """Whether an expression is `name()`, `await name()` or `asyncio.run(name())`."""
    if isinstance(value, ast.Await):
        value = value.value
    if not isinstance(value, ast.Call):
        return False
    if isinstance(value.func, ast.Name):
        return value.func.id == name
    return isinstance(value.func, ast.Attribute) and value.func.attr in _RUNNERS


def _trim(node: ast.stmt) -> list[ast.stmt]:
    """Return what can run of a statement that is still being written; nothing of a loop or a definition."""
    match node:
        case ast.If():
            body = node.body if node.orelse else _trim_block(node.body)
            made = ast.If(node.test, body or [ast.Pass()], _trim_block(node.orelse))
            return [ast.copy_location(made, node)]
        case ast.With() | ast.AsyncWith():
            body = _trim_block(node.body)
            return [ast.copy_location(type(node)(node.items, body), node)] if body else []
        case ast.Try():
            return [
                statement
                for block, opens in _blocks_of(node, opens=True) or []
                for statement in (_trim_block(block) if opens else block)
            ]
        case _:
            return [] if isinstance(node, Compound) else [node]


def _trim_block(body: list[ast.stmt]) -> list[ast.stmt]:
    return [*body[:-1], *_trim(body[-1])] if body else []
