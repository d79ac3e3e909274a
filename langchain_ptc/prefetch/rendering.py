"""Statements as the text of a program, and where in it each of them is. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.sandbox.language.reading import parse

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
