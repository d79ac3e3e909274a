"""One tool on one line: `get_team(department: str, limit: int = 10) -> list[Member]  # what`. Pure."""

from __future__ import annotations

from dataclasses import replace

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.rendering.stubs import Names, render_type, stub_parameters
from langchain_ptc.catalog.text import brief, first_sentence
from langchain_ptc.catalog.types import (
    ANY,
    VALUE_TYPES,
    Alternatives,
    Choice,
    Container,
    TypeTree,
    union,
)

MAX_LINE_CHARS = 200
"""Length of a signature from which on optional parameters are left out, and `...` stands for them."""
MAX_WORDS_CHARS = 96
"""Length of the description behind a signature."""
MAX_CHOICES_CHARS = 48
"""Length of the choices of one parameter; longer ones are shown as their type."""
MAX_DEFAULT_CHARS = 24
"""Length of a default; a longer one is `...`."""


def render_line(definition: ToolDefinition, names: Names) -> str:
    """Return one tool on one line: its signature, and the first sentence of what it does.

    The line is for reading: long choices are shown as their type, optional parameters may be left
    out (`...`), and a return type that nobody knows is not there.

    Args:
        definition: The tool.
        names: What the records in its types are called, by key.
    """
    terse = replace(
        definition,
        parameters=tuple(replace(p, type=_terse(p.type)) for p in definition.parameters),
    )
    shown: list[str] = []
    room = MAX_LINE_CHARS - len(definition.name)
    for parameter in stub_parameters(terse, names):
        long = parameter.default is not None and len(parameter.default) > MAX_DEFAULT_CHARS
        part = replace(parameter, default="...").source() if long else parameter.source()
        if len(part) + 2 > room:
            if parameter.default is not None or room < -3 * MAX_LINE_CHARS:
                shown.append("...")
                break
            part = parameter.name  # a required one is named in any case
        room -= len(part) + 2
        shown.append(part)
    else:
        if definition.extra is not None:
            shown.append(f"**kwargs: {render_type(_terse(definition.extra), names)}")
    returns = _terse(definition.returns)
    known = "" if returns == ANY else f" -> {render_type(returns, names)}"
    told = brief(first_sentence(definition.description), limit=MAX_WORDS_CHARS)
    approval = "needs approval" if definition.policy.requires_approval else ""
    words = "; ".join(filter(None, [approval, told]))
    return f"{definition.name}({', '.join(shown)}){known}{f'  # {words}' if words else ''}"


def _terse(tree: TypeTree) -> TypeTree:
    """Return `tree` with long choices widened to their types."""
    if isinstance(tree, Choice) and sum(len(repr(v)) + 2 for v in tree.values) > MAX_CHOICES_CHARS:
        return union([VALUE_TYPES[type(v)] for v in tree.values])
    if isinstance(tree, Alternatives):
        return union([_terse(option) for option in tree.options])
    if isinstance(tree, Container):
        return replace(tree, args=tuple(map(_terse, tree.args)))
    return tree
