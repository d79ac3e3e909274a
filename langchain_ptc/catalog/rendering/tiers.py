"""How much of a catalog a prompt shows: four tiers, from whole stubs to a pointer. Pure.

Which tier is shown is decided by who writes the prompt, from the catalog and a budget only; so the text
stays the same from turn to turn, and the provider's prompt cache holds. It changes where something new
is learned of a tool's results: see `observed.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from langchain_ptc.catalog.rendering.lines import render_line
from langchain_ptc.catalog.rendering.stubs import DomainStubs, Names, render_catalog, render_stub
from langchain_ptc.catalog.text import cut

Tier: TypeAlias = Literal["full", "signatures", "names", "pointer"]
"""`full`: whole stubs. `signatures`: a line for each tool. `names`: the names by domain. `pointer`: how
many tools there are, and in which domains."""
TIERS: tuple[Tier, ...] = get_args(Tier)
"""From the most text to the least."""

MAX_POINTER_CHARS = 2_000
"""Length of the list of domains in a pointer."""
MAX_LINE_SHAPE_CHARS = 200
"""Length of an observed shape below a line."""
FLAT = "tools"
"""What tools of no domain are listed under: the module that they are imported from."""
Keep: TypeAlias = Callable[[str], bool]
"""Told each line that says what was observed; returns whether there is room for it."""


def render_tier(
    domains: Sequence[DomainStubs],
    tier: Tier,
    *,
    observed: Mapping[str, str] | None = None,
    keep: Keep = lambda _: True,
) -> str:
    """Return the text of a catalog in one tier, with a newline at its end; empty without tools.

    Args:
        domains: The stubs.
        tier: How much is shown.
        observed: What was learned of results, by qualified name; for tools whose type says nothing.
        keep: Asked about each line of what was learned, in the catalog's order.
    """
    if tier == "full":
        return _render_full(domains, observed or {}, keep)
    if tier == "signatures":
        blocks = [_render_lines(domain, observed or {}, keep) for domain in domains]
    elif tier == "names":
        blocks = [f"{name_of(d)}: {', '.join(t.name for t in d.definitions)}" for d in domains]
    else:
        blocks = [render_pointer(domains)] if domains else []
    between = "\n\n" if tier == "signatures" else "\n"
    return f"{between.join(blocks)}\n" if blocks else ""


def name_of(domain: DomainStubs) -> str:
    """Return what a domain is listed under."""
    return domain.domain or FLAT


def render_pointer(domains: Sequence[DomainStubs]) -> str:
    """Return how many tools there are, and in which domains."""
    count = sum(len(domain.definitions) for domain in domains)
    told = f"{count} tool{'s' if count != 1 else ''}"
    if [domain.domain for domain in domains] == [None]:
        return told
    listed = cut(
        ", ".join(f"{name_of(d)} ({len(d.definitions)})" for d in domains), MAX_POINTER_CHARS
    )
    return f"{told} in {len(domains)} domain{'s' if len(domains) != 1 else ''}: {listed}"


def render_domain_lines(domain: DomainStubs) -> str:
    """Return the tools of one domain, a line each."""
    return _render_lines(domain, {}, lambda _: True)


def _render_lines(domain: DomainStubs, observed: Mapping[str, str], keep: Keep) -> str:
    lines = [f"# {domain.module}"]
    for definition in domain.definitions:
        lines.append(render_line(definition, domain.names[definition.name]))
        shape = observed.get(definition.qualified_name)
        if shape:
            line = f"    # observed: {cut(shape, MAX_LINE_SHAPE_CHARS)}"
            lines.extend([line] if keep(line) else [])
    return "\n".join(lines)


def _render_full(domains: Sequence[DomainStubs], observed: Mapping[str, str], keep: Keep) -> str:
    text = render_catalog(domains)
    if not observed:
        return text
    parts: list[str] = []
    position = 0
    for domain in domains:
        for definition in domain.definitions:
            names = domain.names[definition.name]
            stub = render_stub(definition, names)
            start = text.index(stub, position)
            shape = observed.get(definition.qualified_name)
            shown = add_observed(stub, shape, keep=keep) if shape else stub
            parts += [text[position:start], shown]
            position = start + len(stub)
    return "".join([*parts, text[position:]])


def add_observed(stub: str, shape: str, *, keep: Keep = lambda _: True) -> str:
    """Return a stub with what was learned of its results below its signature."""
    line = f"    # observed: {shape}"
    if not keep(line):
        return stub
    head, quotes, doc = stub.partition('\n    """')
    if quotes:
        return f"{head}\n{line}{quotes}{doc}"
    return f"{stub.removesuffix(' ...')}\n{line}\n    ..."


def render_one(domain: DomainStubs, name: str, *, observed: str = "") -> str:
    """Return all that there is to know of one tool: its import, the records it needs, its stub."""
    definition = next(d for d in domain.definitions if d.name == name)
    alone = DomainStubs(domain=domain.domain, definitions=[definition])
    parts = [f"# from {domain.module} import {name}", *alone.render_records()]
    names: Names = alone.names[name]
    stub = render_stub(definition, names)
    return "\n\n".join([*parts, add_observed(stub, observed) if observed else stub]) + "\n"
