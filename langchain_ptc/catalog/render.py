"""What is rendered of the stubs: four tiers for a prompt, and a package for editors and type checkers.

`prompts/description.py` chooses the tier from the catalog and a token budget only, so the text stays the
same from turn to turn and the provider's prompt cache stays valid. It changes only with the observed shape
of a tool's results: see `observed.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.policy import ToolPolicy
from langchain_ptc.catalog.stubs import (
    DomainStubs,
    Names,
    StubParameter,
    definition_imports,
    group,
    render_catalog,
    render_facts,
    render_imports,
    render_signature,
    render_stub,
    render_type,
    stub_parameters,
)
from langchain_ptc.catalog.text import brief, cut, docstring, first_sentence, one_line, paragraphs
from langchain_ptc.catalog.types import (
    ANY,
    VALUE_TYPES,
    Alternatives,
    Choice,
    Container,
    TypeTree,
    references,
    union,
)

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
"""Called with each line about an observed shape; returns whether there is room for it."""


def render_tier(
    domains: Sequence[DomainStubs],
    tier: Tier,
    observed: Mapping[str, str],
    keep: Keep,
) -> str:
    """Return the text of a catalog in one tier, with a newline at its end; empty without tools.

    Args:
        domains: The stubs.
        tier: How much is shown.
        observed: Observed shapes of results, by qualified name, of tools whose type is vague.
        keep: Called with each line about an observed shape, in the catalog's order.
    """
    if tier == "full":

        def render(definition: ToolDefinition, names: Names) -> str:
            shape = observed.get(definition.qualified_name, "")
            return _add_observed(render_stub(definition, names), shape, keep)

        return render_catalog(domains, render=render)
    if tier == "signatures":
        blocks = [render_lines(domain, observed, keep) for domain in domains]
    elif tier == "names":
        blocks = [f"{name_of(d)}: {', '.join(t.name for t in d.definitions)}" for d in domains]
    else:
        blocks = [_render_pointer(domains)] if domains else []
    between = "\n\n" if tier == "signatures" else "\n"
    return f"{between.join(blocks)}\n" if blocks else ""


def name_of(domain: DomainStubs) -> str:
    """Return what a domain is listed under."""
    return domain.domain or FLAT


def _render_pointer(domains: Sequence[DomainStubs]) -> str:
    """Return how many tools there are, and in which domains."""
    count = sum(len(domain.definitions) for domain in domains)
    counted = f"{count} tool{'s' if count != 1 else ''}"
    if [domain.domain for domain in domains] == [None]:
        return counted
    listed = cut(
        ", ".join(f"{name_of(d)} ({len(d.definitions)})" for d in domains), MAX_POINTER_CHARS
    )
    return f"{counted} in {len(domains)} domain{'s' if len(domains) != 1 else ''}: {listed}"


def render_lines(domain: DomainStubs, observed: Mapping[str, str], keep: Keep) -> str:
    """Return the tools of one domain, a line each."""
    lines = [f"# {domain.module}"]
    for definition in domain.definitions:
        lines.append(render_line(definition, domain.names[definition.name]))
        shape = observed.get(definition.qualified_name)
        if shape:
            line = f"    # observed: {cut(shape, MAX_LINE_SHAPE_CHARS)}"
            lines.extend([line] if keep(line) else [])
    return "\n".join(lines)


def _add_observed(stub: str, shape: str, keep: Keep) -> str:
    """Return a stub with the observed shape of its results below its signature."""
    line = f"    # observed: {shape}"
    if not shape or not keep(line):
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
    stub = render_stub(definition, alone.names[name])
    return "\n\n".join([*parts, _add_observed(stub, observed, lambda _: True)]) + "\n"


# --- one tool on one line -----------------------------------------------------------------------

MAX_LINE_CHARS = 200
"""Length of a signature beyond which optional parameters are replaced by `...`."""
MAX_WORDS_CHARS = 96
"""Length of the description behind a signature."""
MAX_CHOICES_CHARS = 48
"""Length of the choices of one parameter; longer ones are shown as their type."""
MAX_DEFAULT_CHARS = 24
"""Length of a default; a longer one is `...`."""


def render_line(definition: ToolDefinition, names: Names) -> str:
    """Return one tool on one line: its signature, and the first sentence of what it does.

    The line is for reading: long choices are shown as their type, optional parameters may be left
    out (`...`), and so is an unknown return type.
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
    summary = brief(first_sentence(definition.description), limit=MAX_WORDS_CHARS)
    approval = "needs approval" if definition.policy.requires_approval else ""
    words = "; ".join(filter(None, [approval, summary]))
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


# --- as data for `display` ----------------------------------------------------------------------


def describe_tools(definitions: Sequence[ToolDefinition]) -> list[dict[str, Any]]:
    """Return tools as dicts of their name, domain, signature, description and policy."""
    return [
        {
            "name": definition.name,
            "domain": definition.domain,
            # A line without words: its signature.
            "signature": render_line(
                replace(definition, description="", policy=ToolPolicy()),
                stubs.names[definition.name],
            ),
            "description": first_sentence(definition.description),
            "tags": list(_tag(definition.policy)),
        }
        for stubs in group(definitions)
        for definition in stubs.definitions
    ]


def _tag(policy: ToolPolicy) -> Iterable[str]:
    if policy.requires_approval:
        yield "!needs approval"
    if policy.read_only:
        yield "only reads"
    elif policy.idempotent:
        yield "may be repeated"
    if policy.allowed_callers == ("direct",):
        yield "not for code"
    elif "direct" in policy.allowed_callers:
        yield "code and model"
    if policy.max_calls is not None:
        yield f"at most {policy.max_calls:,} calls"
    if policy.max_concurrent_calls is not None:
        yield f"{policy.max_concurrent_calls:,} at once"
    if policy.timeout_seconds is not None:
        yield f"{policy.timeout_seconds:g} s a try"
    for name in ("retry", "cache", "breaker", "rate_limit"):
        if getattr(policy, name) is not None:
            yield name.replace("_", " ")
    yield from policy.tags


# --- a package on disk ----------------------------------------------------------------------------

HEADER = '"""Stubs written by langchain-ptc: for editors and type checkers, not to be run."""'
"""The first line of every file of the package; distinguishes our files from others."""
MAX_STEM_BYTES = 120
"""Length of a file's name before its ending, in UTF-8; file systems take 255."""
_OMITTED = "# The tool has a default of its own.\n_OMITTED: Any = ..."


def render_package(domains: Sequence[DomainStubs]) -> dict[str, str]:
    """Return the files of the package `tools`: their source, by path with `/`."""
    files: dict[str, str] = {}
    folders = [domain.domain for domain in domains if domain.domain is not None]
    exported = [(".", name) for name in folders]
    for domain in domains:
        if domain.domain is None:
            exported += _render_domain(domain, "tools", files, taken=folders)
        else:
            folder = f"tools/{domain.domain}"
            files[f"{folder}/__init__.py"] = _render_init(_render_domain(domain, folder, files))
    files["tools/__init__.py"] = _render_init(exported)
    return dict(sorted(files.items()))


def _render_domain(
    domain: DomainStubs, folder: str, files: dict[str, str], *, taken: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Add the modules of a domain to `files` and return what it exports: modules and names."""
    exported: list[tuple[str, str]] = []
    if domain.records:
        imports = "\n".join(render_imports(domain.record_imports()))
        parts = [HEADER, imports, *domain.render_records(describe=one_line)]
        files[f"{folder}/_types.py"] = "\n\n".join(parts) + "\n"
        exported.extend(("._types", name) for name in domain.records)
    stems = {name.casefold() for name in taken}
    for definition in domain.definitions:
        stem = definition.name.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
        while stem.casefold() in stems:  # some file systems do not distinguish `Get` from `get`
            stem += "_"
        stems.add(stem.casefold())
        files[f"{folder}/{stem}.py"] = _render_module(definition, domain.names[definition.name])
        exported.append((f".{stem}", definition.name))
    return exported


def _render_init(exported: Sequence[tuple[str, str]]) -> str:
    ordered = sorted(exported)
    lines = "\n".join(f"from {module} import {name} as {name}" for module, name in ordered)
    listed = "".join(f"    {name!r},\n" for _, name in ordered)
    return "\n\n".join([HEADER, lines, f"__all__ = [\n{listed}]"] if ordered else [HEADER]) + "\n"


def _render_module(definition: ToolDefinition, names: Names) -> str:
    parameters = stub_parameters(definition, names)
    records = {names[key] for tree in definition.types for key in references(tree)}
    hidden = any(parameter.default == "..." for parameter in parameters)
    imports = render_imports(definition_imports(definition) | ({"Any"} if hidden else set()))
    local = f"from ._types import {', '.join(sorted(records))}" if records else ""
    head = render_signature(definition, names, parameters, omitted="_OMITTED")
    about = _render_docstring(definition, parameters)
    doc = f"    {docstring(about, indent='    ')}\n" if about else ""
    # A body of `...` would claim to return None, which a type checker refuses for other types.
    body = f'    raise NotImplementedError("{definition.qualified_name} runs in the sandbox")'
    parts = [HEADER, "\n".join(imports), local, _OMITTED if hidden else "", f"{head}\n{doc}{body}"]
    return "\n\n".join(filter(None, parts)) + "\n"


def _render_docstring(definition: ToolDefinition, parameters: Sequence[StubParameter]) -> str:
    rows = []
    for parameter in parameters:
        about = parameter.comment(one_line).removeprefix("  # ")
        if about:
            rows.append(f"    {parameter.name}: {about}")
    blocks = [
        paragraphs(definition.description),
        "\n".join(["Args:", *rows]) if rows else "",
        *render_facts(definition),
    ]
    return "\n\n".join(filter(None, blocks))


def write_package(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files of the package `tools` into `directory` and return their paths.

    Files of an earlier call that are no longer part of the package are deleted; other files are left
    alone.

    Raises:
        OSError: A file cannot be written or deleted.
    """
    written = []
    for name, source in files.items():
        path = directory.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        written.append(path)
    for path in [*directory.glob("tools/*.py"), *directory.glob("tools/*/*.py")]:
        if path not in written and _is_ours(path):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    return written


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER) + 2).split(b"\n")[0].rstrip() == HEADER.encode()
