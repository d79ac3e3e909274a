"""Words for the one who reads a problem. Pure."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.stubs import group, render_signature, stub_parameters

MAX_NAME_CHARS = 80
"""A longer name is like no other: to compare names takes the product of their lengths."""


def clip(text: str, limit: int) -> str:
    """Return `text`, cut behind `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def shown(node: ast.AST) -> str:
    """Return a short expression as text; an empty string for one that is not short."""
    start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
    one_line = getattr(node, "lineno", 0) == getattr(node, "end_lineno", -1)
    if not one_line or end is None or end - start > 2 * MAX_SHOWN_CHARS:
        return ""
    text = ast.unparse(node)
    return text if len(text) <= MAX_SHOWN_CHARS else ""


MAX_SHOWN_CHARS = 60


def closest(name: str, known: Collection[str]) -> str | None:
    """Return the one of `known` that was probably meant by `name`, or None."""
    if len(name) > MAX_NAME_CHARS:
        return None
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        folded = {other.casefold(): other for other in known}
        close = [folded[n] for n in (name.casefold(),) if n in folded]
    if not close:
        words = set(name.casefold().split("_"))
        close = [other for other in known if words & set(other.casefold().split("_"))][:1]
    return close[0] if close else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ` (did you mean '…'?)`, or an empty string where nothing is like `name`."""
    close = closest(name, known)
    return f" (did you mean {close!r}?)" if close is not None else ""


def value_meant(value: str, known: Collection[str]) -> str:
    """Return ` (did you mean '…'?)` for a value, which must be nearer than a name."""
    if len(value) > MAX_NAME_CHARS:
        return ""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.75)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def signature(definition: ToolDefinition) -> str:
    """Return the head of the stub of a tool, as the model has read it, on few lines."""
    [stubs] = group([definition])
    names = stubs.names[definition.name]
    head = render_signature(definition, names, stub_parameters(definition, names))
    return head.removesuffix(":")
