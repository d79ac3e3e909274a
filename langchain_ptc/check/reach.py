"""Which parts of a program are never reached, or not for certain: there, nothing is wrong. Pure."""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from langchain_ptc.check.facts import Facts

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_BLOCKS = ("body", "orelse", "finalbody")
_EXITS = frozenset({"exit", "quit"})


def find_unreached(nodes: Sequence[ast.AST], facts: Facts) -> set[ast.AST]:
    """Return every node that is never reached.

    It stands behind a `return` or the like, under a condition that is always false, or in a function
    whose name nothing reads.

    Args:
        nodes: Every node of the program.
        facts: What it does anywhere.
    """
    ends = _find_ends(nodes)
    return _find_outside(nodes, facts, lambda node: _dead_parts(node, ends))


def find_uncertain(nodes: Sequence[ast.AST], facts: Facts) -> set[ast.AST]:
    """Return every node that is not reached, or only if a condition or an exception has it so."""
    ends = _find_ends(nodes)
    return _find_outside(nodes, facts, lambda node: _uncertain_parts(node, ends))


def _find_outside(
    nodes: Sequence[ast.AST], facts: Facts, parts: Callable[[ast.AST], Iterator[ast.AST]]
) -> set[ast.AST]:
    outside: set[ast.AST] = set()
    for node in nodes:
        if node not in outside:
            for part in parts(node):
                _mark(part, outside)
    if not facts.reflects:
        for function in _never_called(nodes, facts, outside):
            for part in function.body:
                _mark(part, outside)
    return outside


def _mark(node: ast.AST, dead: set[ast.AST]) -> None:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node not in dead:
            dead.add(node)
            waiting.extend(ast.iter_child_nodes(node))


def _dead_parts(node: ast.AST, ends: Container[ast.AST]) -> Iterator[ast.AST]:
    for name in _BLOCKS:
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield from _behind_the_end(block, ends)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        truth = _truth(node.test)
        if truth is False:
            yield from _as_list(node.body)
        elif truth is True:
            yield from _as_list(node.orelse)
    elif isinstance(node, ast.For):
        if isinstance(node.iter, ast.List | ast.Tuple) and not node.iter.elts:
            yield from node.body
    elif isinstance(node, ast.BoolOp):
        stops = isinstance(node.op, ast.Or)
        for number, value in enumerate(node.values):
            if _truth(value) is stops:
                yield from node.values[number + 1 :]
                return


def _uncertain_parts(node: ast.AST, ends: Container[ast.AST]) -> Iterator[ast.AST]:
    yield from _dead_parts(node, ends)
    if isinstance(node, ast.If | ast.IfExp):
        if _truth(node.test) is None:
            yield from (*_as_list(node.body), *_as_list(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from node.values[1:]
    elif isinstance(node, ast.Assert) and node.msg is not None:
        yield node.msg
    elif isinstance(node, ast.Match):
        yield from node.cases
    elif isinstance(node, ast.Try | ast.TryStar):
        yield from (*node.handlers, *node.orelse)
    elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
        yield from node.orelse


def _as_list(part: list[ast.stmt] | ast.expr) -> Iterable[ast.AST]:
    return part if isinstance(part, list) else [part]


def _behind_the_end(block: list[ast.stmt], ends: Container[ast.AST]) -> Iterator[ast.stmt]:
    for number, statement in enumerate(block):
        if statement in ends:
            yield from block[number + 1 :]
            return


def _find_ends(nodes: Sequence[ast.AST]) -> set[ast.AST]:
    """Return the statements behind which nothing is reached."""
    ends: set[ast.AST] = set()
    for node in reversed(nodes):  # what stands in a statement before the statement
        if isinstance(node, ast.stmt) and _ends(node, ends):
            ends.add(node)
    return ends


def _ends(statement: ast.stmt, ends: Container[ast.AST]) -> bool:
    def is_left(*blocks: list[ast.stmt]) -> bool:
        return all(any(inner in ends for inner in block) for block in blocks)

    if isinstance(statement, _LEAVES):
        return True
    if isinstance(statement, ast.If):
        return is_left(statement.body, statement.orelse)
    if isinstance(statement, ast.Try | ast.TryStar):
        handled = is_left(*(handler.body for handler in statement.handlers))
        ended = is_left(statement.body) or is_left(statement.orelse)
        return is_left(statement.finalbody) or (ended and handled)
    if isinstance(statement, ast.While):
        endless = _truth(statement.test) is True
        return endless and not any(isinstance(inner, ast.Break) for inner in ast.walk(statement))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            return function.value.id == "sys" and function.attr == "exit"
        return isinstance(function, ast.Name) and function.id in _EXITS
    return False


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
    if getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING":
        return False
    return None


def _never_called(
    nodes: Sequence[ast.AST], facts: Facts, dead: set[ast.AST]
) -> Iterator[_Function]:
    """Yield the functions that no live code names."""
    functions: dict[str, list[_Function]] = {}
    named: dict[_Function | None, set[str]] = {None: set()}
    live: list[_Function | None] = [None]
    owners = _owners(nodes)
    for node in nodes:
        if node in dead:
            continue
        if isinstance(node, _Function):
            if _is_called_by_others(node, facts):
                named.setdefault(owners.get(node), set()).add(node.name)
            functions.setdefault(node.name, []).append(node)
        elif (name := _name_read(node)) is not None:
            named.setdefault(owners.get(node), set()).add(name)
    reached: set[_Function | None] = {None}
    while live:
        for name in named.get(live.pop(), ()):
            for function in functions.get(name, ()):
                if function not in reached:
                    reached.add(function)
                    live.append(function)
    for same in functions.values():
        yield from (function for function in same if function not in reached)


def _owners(nodes: Sequence[ast.AST]) -> dict[ast.AST, _Function]:
    """Return the innermost function in which each node stands, its parent's before its own."""
    owners: dict[ast.AST, _Function] = {}
    for node in nodes:
        owner = owners.get(node)
        if owner is not None:
            owners.update(dict.fromkeys(ast.iter_child_nodes(node), owner))
        if isinstance(node, _Function):
            owners.update(dict.fromkeys(node.body, node))
    return owners


def _name_read(node: ast.AST) -> str | None:
    """Return the name by which a node may reach a function; text may be one for `getattr`."""
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Load) else None
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if len(node.value) < 100 else None
    return None


def _is_called_by_others(function: _Function, facts: Facts) -> bool:
    """Whether others than the code may call it: the language, a decorator, a class above its own."""
    if function.decorator_list or (function.name.startswith("__") and function.name.endswith("__")):
        return True
    parent = facts.parents.get(function)
    return isinstance(parent, ast.ClassDef) and bool(parent.bases)
