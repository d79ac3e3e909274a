"""Statements that are made, and their text: where in it each of them is. Pure."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.sandbox.language.scopes import parse

MAX_SOURCE_CHARS = 60_000
"""Length of a text."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of statements."""

    source: str
    spans: tuple[tuple[int, int], ...]
    """The first and the last line of each."""
    ahead: frozenset[int] = frozenset()
    """The lines of those whose calls do not wait."""


def render(body: list[ast.stmt], ahead: frozenset[ast.stmt] = frozenset()) -> Rendered | None:
    """Write statements as text; None if that cannot be done.

    Args:
        body: The statements.
        ahead: Those, at any depth, whose calls do not wait.
    """
    try:
        source = ast.unparse(ast.Module(body, [])) + "\n"
        if len(source) > MAX_SOURCE_CHARS:
            return None
        again = parse(source).body
        pairs = list(_pairs(body, again))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    lines = {
        line
        for node, written in pairs
        if node in ahead
        for line in range(written.lineno, (written.end_lineno or written.lineno) + 1)
    }
    spans = tuple((node.lineno, node.end_lineno or node.lineno) for node in again)
    return Rendered(source, spans, frozenset(lines))


def _pairs(body: Sequence[ast.AST], again: Sequence[ast.AST]) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Yield each statement with what it became in the text.

    Raises:
        ValueError: It became another number of statements.
    """
    for node, written in zip(body, again, strict=True):
        if isinstance(written, ast.stmt):
            yield node, written
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            ours, theirs = getattr(node, name, None), getattr(written, name, None)
            if isinstance(ours, list) and isinstance(theirs, list):
                yield from _pairs(ours, theirs)


# --- statements that are made ----------------------------------------------------------------------


def bare_arguments(args: ast.arguments) -> ast.arguments:
    """Return parameters without their annotations."""
    bare = copy.deepcopy(args)
    for arg in ast.walk(bare):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    return bare


def rounds_of(target: ast.expr, iterated: ast.expr, body: list[ast.stmt], most: int) -> ast.stmt:
    """Return a loop of so many rounds at most."""
    count = ast.Call(ast.Name("range", ast.Load()), [ast.Constant(most)], [])
    zipped = ast.Call(ast.Name("zip", ast.Load()), [count, iterated], [])
    both = ast.Tuple([ast.Name("_round", ast.Store()), target], ast.Store())
    return placed(ast.For(both, zipped, body, []))


def placed(node: ast.stmt) -> ast.stmt:
    """Give a node a place, which `ast.unparse` asks for and does not use."""
    node.lineno, node.col_offset = 1, 0
    return node


def stop() -> ast.stmt:
    """Return a statement that ends the program."""
    return ast.Raise(ast.Name("SystemExit", ast.Load()), None)


def attempt(node: ast.stmt) -> ast.stmt:
    """Return a statement whose failure the next ones do not suffer from."""
    handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Pass()])
    return ast.Try([node], [handler], [], [])
