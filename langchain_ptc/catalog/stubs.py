"""Definitions -> Python source that a model reads, in four tiers; and the same on disk, for editors.

One `TypedDict` for each record, under a name that is unique in its module, follows pydantic-ai's
`function_signature.py`.
"""

from __future__ import annotations

import ast
import keyword
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from langchain_ptc.catalog.text import (
    MAX_PROMPT_TOOL_CHARS,
    RESERVED,
    brief,
    cut,
    docstring,
    first_sentence,
    is_normal,
    one_line,
    paragraphs,
    to_class_name,
    unique,
)
from langchain_ptc.catalog.types import (
    ANY,
    NONE,
    VALUE_TYPES,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordRef,
    RecordType,
    TypeTree,
    admits,
    notes,
    references,
    union,
    walk,
)
from langchain_ptc.errors import count

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

Tier: TypeAlias = Literal["full", "signatures", "names", "pointer"]
"""`full`: whole stubs. `signatures`: a line for each tool. `names`: the names by domain. `pointer`: how
many tools there are, and in which domains."""
TIERS: tuple[Tier, ...] = get_args(Tier)  # from the most text to the least

MAX_POINTER_CHARS = 2_000  # length of the list of domains in a pointer
MAX_LINE_SHAPE_CHARS = 200  # length of an observed shape below a line
FLAT = "tools"  # what tools of no domain are listed under: the module that they are imported from
Keep: TypeAlias = Callable[[str], bool]  # whether there is room for a line about a shape

MODULES = {
    "Any": "typing",
    "Literal": "typing",
    "NotRequired": "typing",
    "TypedDict": "typing",
    "Sequence": "collections.abc",
    "date": "datetime",
    "datetime": "datetime",
    "time": "datetime",
    "timedelta": "datetime",
    "Decimal": "decimal",
    "UUID": "uuid",
}
"""Where the names that stubs use come from."""
MAX_DEFAULT_CHARS = 120  # length of a default in a signature; a longer one is `...`
_defaults = reprlib.Repr()
_defaults.maxlevel = 4
_defaults.maxstring = _defaults.maxother = _defaults.maxlong = MAX_DEFAULT_CHARS
_defaults.maxlist = _defaults.maxtuple = _defaults.maxdict = MAX_DEFAULT_CHARS
MAX_RETURNS_CHARS = 300  # length of what is said in words of a return
WIDTH = 100  # columns after which a line is broken, where it can be
Names = Mapping[str, str]  # the names of records in their module, by key


# --- types and records --------------------------------------------------------------------------


def render_type(tree: TypeTree, names: Names) -> str:
    """Return the annotation for `tree`."""
    if isinstance(tree, Named):
        return tree.name
    if isinstance(tree, Choice):
        return f"Literal[{', '.join(map(repr, tree.values))}]"
    if isinstance(tree, Alternatives):
        return " | ".join(render_type(option, names) for option in tree.options)
    if isinstance(tree, Container):
        inner = [render_type(arg, names) for arg in tree.args]
        if tree.name == "tuple" and not inner:
            return "tuple[()]"
        return f"{tree.name}[{', '.join(inner)}{', ...' if tree.variadic else ''}]"
    return names[tree.key]


def _type_names(trees: Iterable[TypeTree]) -> set[str]:
    found: set[str] = set()
    for tree in trees:
        for node in walk(tree):
            if isinstance(node, Named | Container):
                found.add(node.name)
            elif isinstance(node, Choice):
                found.add("Literal")
    return found


@dataclass(slots=True, kw_only=True)
class DomainStubs:
    """The stubs of one domain: its tools, and its records under names of their own."""

    domain: str | None
    definitions: Sequence[ToolDefinition]
    records: dict[str, tuple[RecordType, Names]] = field(default_factory=dict)
    """By name; each with the names of the records that its fields hold. Held records come first."""
    names: dict[str, Names] = field(default_factory=dict)  # of the records, by tool and by key

    def __post_init__(self) -> None:
        taken = RESERVED | {d.name for d in self.definitions}
        known: dict[str, str] = {}
        for definition in self.definitions:
            table = {record.key: record for record in definition.records}
            names: dict[str, str] = {}
            for key in _inner_first(table):
                # Records are the same if all is the same but their keys.
                record = _with_names(table[key], names)
                name = known.get(repr(record))
                if name is None:
                    name = record.name
                    if name in taken:
                        name = unique(f"{to_class_name(definition.name)}{name}", taken)
                    taken |= {name}
                    known[repr(record)] = name
                names[key] = name
                self.records.setdefault(name, (table[key], names))
            self.names[definition.name] = names

    @property
    def module(self) -> str:
        """The module that the tools are imported from."""
        return "tools" if self.domain is None else f"tools.{self.domain}"

    def imports(self) -> set[str]:
        """Return the names that the stubs take from the standard library."""
        trees = [tree for definition in self.definitions for tree in definition.types]
        found = {"TypedDict"} if self.records else set()
        for record, _ in self.records.values():
            trees.extend(f.type for f in record.fields)
            found |= set() if all(f.required for f in record.fields) else {"NotRequired"}
        return found | (_type_names(trees) & MODULES.keys())

    def render_records(self) -> list[str]:
        """Return the source of each record, in an order in which Python can run it."""
        defined: set[str] = set()
        blocks = []
        for name, (record, names) in self.records.items():
            blocks.append(_render_record(name, record, names, defined))
            defined.add(name)
        return blocks


def _with_names(record: RecordType, names: Names) -> RecordType:
    """Return a record without its key, and with names in place of the keys of others.

    A record that holds itself is the same as another one that does. Records that hold each other are the
    same only if they have the same keys.
    """
    itself = {record.key: "itself"}

    def named(tree: TypeTree) -> TypeTree:
        if isinstance(tree, RecordRef):
            return RecordRef(key=names.get(tree.key) or itself.get(tree.key, tree.key))
        if isinstance(tree, Container):
            return replace(tree, args=tuple(map(named, tree.args)))
        if isinstance(tree, Alternatives):
            return replace(tree, options=tuple(map(named, tree.options)))
        return tree

    fields = tuple(replace(item, type=named(item.type)) for item in record.fields)
    return replace(record, key="", fields=fields)


def _inner_first(table: Mapping[str, RecordType]) -> list[str]:
    """Return the keys of `table`, held records before those that hold them where that can be."""
    done: dict[str, None] = {}
    for start in table:
        stack: list[tuple[str, bool]] = [(start, False)]
        entered: set[str] = set()
        while stack:
            key, left = stack.pop()
            if left:
                done.setdefault(key)
            elif key not in done and key not in entered:
                entered.add(key)
                stack.append((key, True))
                inner = [k for f in table[key].fields for k in references(f.type)]
                stack.extend((k, False) for k in reversed(inner))
    return list(done)


def _render_record(name: str, record: RecordType, names: Names, defined: Collection[str]) -> str:
    rows = []
    for item in record.fields:
        text = render_type(item.type, names)
        if any(names[key] not in defined for key in references(item.type)):
            text = repr(text)  # a record that holds itself is not yet known where it is written
        remarks = [*notes(item.type), *item.constraints]
        comment = _comment(item.description, remarks)
        rows.append((item.name, text if item.required else f"NotRequired[{text}]", comment))
    about = one_line(record.description, limit=200)
    if _needs_call(record, names):
        body = "".join(f"    {key!r}: {text},{comment}\n" for key, text, comment in rows)
        head = f"# {about}\n" if about else ""
        return f'{head}{name} = TypedDict("{name}", {{\n{body}}})'
    lines = [f"    {key}: {text}{comment}" for key, text, comment in rows]
    doc = [f"    {docstring(about, indent='    ')}"] if about else []
    return "\n".join([f"class {name}(TypedDict):", *doc, *lines])


def _needs_call(record: RecordType, names: Names) -> bool:
    """Whether the keys cannot stand in a class body: no identifiers, private, or names of types."""
    used = _type_names(item.type for item in record.fields) | {"NotRequired"}
    used.update(names[key] for item in record.fields for key in references(item.type))
    return any(
        not item.name.isidentifier()
        or not is_normal(item.name)
        or item.name.startswith("__")
        or item.name in used
        or keyword.iskeyword(item.name)
        for item in record.fields
    )


def _comment(description: str, remarks: Sequence[str]) -> str:
    text = brief(description)
    if remarks:
        listed = one_line(", ".join(remarks))
        text = f"{text} ({listed})" if text else listed
    return f"  # {text}" if text else ""


# --- functions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StubParameter:
    """One parameter of a signature."""

    name: str
    annotation: str
    default: str | None  # its source, `...` where it is not shown; None if required
    comment: str  # what is said of it, with two spaces and `#` in front; or an empty string

    def source(self) -> str:
        """Return its part of the signature."""
        default = "" if self.default is None else f" = {self.default}"
        return f"{self.name}: {self.annotation}{default}"


def stub_parameters(definition: ToolDefinition, names: Names) -> list[StubParameter]:
    """Return the parameters of a stub, required ones first."""
    return [_stub_parameter(p, definition, names) for p in definition.parameters]


def _stub_parameter(
    parameter: ToolParameter, definition: ToolDefinition, names: Names
) -> StubParameter:
    tree, value = parameter.type, parameter.default
    remarks = [*notes(tree), *parameter.constraints]
    default, shown = None, ""
    if not parameter.required:
        if value is None:
            tree = union([tree, NONE])
        optional = isinstance(tree, RecordRef) and not any(
            f.required for f in definition.record(tree).fields
        )
        shown = _render_literal(value)
        default = shown if admits(tree, value) or (optional and value == {}) else "..."
        if default != shown:
            remarks.append(f"default {shown}")
    return StubParameter(
        name=parameter.name,
        annotation=render_type(tree, names),
        default=default,
        comment=_comment(parameter.description, remarks),
    )


def _render_literal(value: object) -> str:
    try:
        shown = _defaults.repr(value)
        is_whole = len(shown) <= MAX_DEFAULT_CHARS and ast.literal_eval(shown) == value
    except (ValueError, SyntaxError, RecursionError):  # a value of a class, or one that is cut
        return "..."
    return shown if is_whole and shown.isprintable() else "..."


def render_signature(
    definition: ToolDefinition, names: Names, *, with_comments: bool = False
) -> str:
    """Return the head of a stub; with comments, each parameter that is described takes a line of its own."""
    parameters = stub_parameters(definition, names)
    parts = [p.source() for p in parameters]
    comments = [p.comment if with_comments else "" for p in parameters]
    if definition.extra is not None:
        parts.append(f"**kwargs: {render_type(definition.extra, names)}")
        comments.append("")
    end = f") -> {render_type(definition.returns, names)}:"
    start = f"async def {definition.name}("
    line = f"{start}{', '.join(parts)}{end}"
    if not any(comments) and (len(line) <= WIDTH or not parts or with_comments):
        return line
    rows = [f"    {part},{comment}" for part, comment in zip(parts, comments, strict=True)]
    return "\n".join([start, *rows, end])


def render_facts(definition: ToolDefinition) -> list[str]:
    """Return what the docstring of a stub adds to the tool's own description."""
    policy = definition.policy
    # One attempt is not all of a call that is retried.
    seconds = policy.total_seconds or (None if policy.retry else policy.timeout_seconds)
    facts = [
        "Read-only." if policy.read_only else "",
        "Idempotent." if policy.idempotent else "",
        "A person approves each call." if policy.requires_approval else "",
        f"At most {count(policy.max_calls, 'call')}." if policy.max_calls is not None else "",
        f"Takes at most {seconds:g} s." if seconds else "",
    ]
    remarks = [definition.returns_text, *notes(definition.returns)]
    returned = ", ".join(filter(None, remarks))
    returns = one_line(f"Returns: {returned}", limit=MAX_RETURNS_CHARS) if returned else ""
    return [line for line in (returns, " ".join(filter(None, facts))) if line]


def render_stub(definition: ToolDefinition, names: Names, *, observed: str = "") -> str:
    """Return the stub of one tool for a model, with a line about the shape of its results, or an empty one."""
    head = render_signature(definition, names, with_comments=True)
    description = paragraphs(definition.description, limit=MAX_PROMPT_TOOL_CHARS)
    about = "\n".join(filter(None, [description, *render_facts(definition)]))
    if not about and not observed:
        return f"{head} ..."
    body = f"    {docstring(about, indent='    ')}" if about else "    ..."
    return "\n".join(filter(None, [head, observed, body]))


# --- the text -----------------------------------------------------------------------------------


def group(definitions: Iterable[ToolDefinition]) -> list[DomainStubs]:
    """Return the stubs of each domain, in the order in which the domains are met."""
    grouped: dict[str | None, list[ToolDefinition]] = {}
    for definition in definitions:
        grouped.setdefault(definition.domain, []).append(definition)
    return [DomainStubs(domain=d, definitions=members) for d, members in grouped.items()]


def render_tier(
    domains: Sequence[DomainStubs], tier: Tier, observed: Mapping[str, str], keep: Keep
) -> str:
    """Return the text of a catalog in one tier, with a newline at its end; empty without tools."""
    if tier == "full":
        return render_catalog(domains, observed, keep)
    if tier == "signatures":
        blocks = [render_lines(domain, observed, keep) for domain in domains]
    elif tier == "names":
        blocks = [f"{name_of(d)}: {', '.join(t.name for t in d.definitions)}" for d in domains]
    else:
        blocks = [_render_pointer(domains)] if domains else []
    between = "\n\n" if tier == "signatures" else "\n"
    return f"{between.join(blocks)}\n" if blocks else ""


def render_catalog(
    domains: Sequence[DomainStubs],
    observed: Mapping[str, str] = MappingProxyType({}),
    keep: Keep = lambda _: True,
) -> str:
    """Return the stubs of all `domains` as one Python module for a model to read; see `render_tier`."""
    names = {name for domain in domains for name in domain.imports()}
    blocks = ["\n".join(_render_imports(names))] if names else []
    for domain in domains:
        stubs = []
        for definition in domain.definitions:
            line = _observed_line(observed.get(definition.qualified_name, ""), keep)
            stubs.append(render_stub(definition, domain.names[definition.name], observed=line))
        first, *rest = [*domain.render_records(), *stubs]
        # Tools of no domain need no import.
        flat = domain.domain is None and len(domains) == 1
        listed = cut(", ".join(d.name for d in domain.definitions), WIDTH)
        header = "" if flat else f"# from {domain.module} import {listed}\n"
        blocks.extend([f"{header}{first}", *rest])
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _observed_line(shape: str, keep: Keep, *, limit: int | None = None) -> str:
    """Return the line about an observed shape; empty if there is none, or no room for it."""
    line = f"    # observed: {shape if limit is None else cut(shape, limit)}"
    return line if shape and keep(line) else ""


def _render_imports(names: Collection[str]) -> list[str]:
    modules: dict[str, list[str]] = {}
    for name in sorted(names):
        modules.setdefault(MODULES[name], []).append(name)
    return [f"from {module} import {', '.join(found)}" for module, found in sorted(modules.items())]


def name_of(domain: DomainStubs) -> str:
    """Return what a domain is listed under."""
    return domain.domain or FLAT


def _render_pointer(domains: Sequence[DomainStubs]) -> str:
    counted = count(sum(len(domain.definitions) for domain in domains), "tool")
    if [domain.domain for domain in domains] == [None]:
        return counted
    listed = cut(
        ", ".join(f"{name_of(d)} ({len(d.definitions)})" for d in domains), MAX_POINTER_CHARS
    )
    return f"{counted} in {count(len(domains), 'domain')}: {listed}"


def render_lines(domain: DomainStubs, observed: Mapping[str, str], keep: Keep) -> str:
    """Return the tools of one domain, a line each."""
    lines = [f"# {domain.module}"]
    for definition in domain.definitions:
        lines.append(render_line(definition, domain.names[definition.name]))
        shape = observed.get(definition.qualified_name, "")
        lines.append(_observed_line(shape, keep, limit=MAX_LINE_SHAPE_CHARS))
    return "\n".join(filter(None, lines))


def render_one(domain: DomainStubs, name: str, *, observed: str = "") -> str:
    """Return all that there is to know of one tool: its import, the records it needs, its stub."""
    definition = next(d for d in domain.definitions if d.name == name)
    alone = DomainStubs(domain=domain.domain, definitions=[definition])
    line = _observed_line(observed, lambda _: True)
    stub = render_stub(definition, alone.names[name], observed=line)
    parts = [f"# from {domain.module} import {name}", *alone.render_records(), stub]
    return "\n\n".join(parts) + "\n"


# --- one tool on one line -----------------------------------------------------------------------

MAX_LINE_CHARS = 200  # length of a signature beyond which optional parameters are replaced by `...`
MAX_WORDS_CHARS = 96  # length of the description behind a signature
MAX_CHOICES_CHARS = 48  # length of the choices of a parameter; longer ones are its type
MAX_LINE_DEFAULT_CHARS = 24  # length of a default in a line; a longer one is `...`


def render_line(definition: ToolDefinition, names: Names) -> str:
    """Return one tool on one line: its signature, and the first sentence of what it does."""
    summary = brief(first_sentence(definition.description), limit=MAX_WORDS_CHARS)
    approval = "needs approval" if definition.policy.requires_approval else ""
    words = "; ".join(filter(None, [approval, summary]))
    return f"{_render_short(definition, names)}{f'  # {words}' if words else ''}"


def _render_short(definition: ToolDefinition, names: Names) -> str:
    """Return a signature for reading: long choices as their type, without some optional parameters (`...`)."""
    terse = replace(
        definition, parameters=tuple(replace(p, type=_terse(p.type)) for p in definition.parameters)
    )
    shown: list[str] = []
    room = MAX_LINE_CHARS - len(definition.name)
    for parameter in stub_parameters(terse, names):
        long = parameter.default is not None and len(parameter.default) > MAX_LINE_DEFAULT_CHARS
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
    return f"{definition.name}({', '.join(shown)}){known}"


def _terse(tree: TypeTree) -> TypeTree:
    if isinstance(tree, Choice) and sum(len(repr(v)) + 2 for v in tree.values) > MAX_CHOICES_CHARS:
        return union([VALUE_TYPES[type(v)] for v in tree.values])
    if isinstance(tree, Alternatives):
        return union([_terse(option) for option in tree.options])
    if isinstance(tree, Container):
        return replace(tree, args=tuple(map(_terse, tree.args)))
    return tree


# --- a package on disk ----------------------------------------------------------------------------

HEADER = "# Stubs written by langchain-ptc: for editors and type checkers, not to be run."
"""The first line of every file of the package; distinguishes our files from others."""


def render_package(domains: Sequence[DomainStubs]) -> dict[str, str]:
    """Return the files of the package `tools`, one for each domain: their source, by path with `/`."""
    files = {f"tools/{d.domain}.pyi": render_catalog([d]) for d in domains if d.domain is not None}
    flat = [domain for domain in domains if domain.domain is None]
    taken = {definition.name for domain in flat for definition in domain.definitions}
    names = [d.domain for d in domains if d.domain is not None and d.domain not in taken]
    exports = "".join(f"from . import {name} as {name}\n" for name in sorted(names))
    files["tools/__init__.pyi"] = "\n".join(filter(None, [exports, render_catalog(flat)]))
    return {name: f"{HEADER}\n{source}" for name, source in sorted(files.items())}


def write_package(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the package `tools` and return the paths; our files of an earlier call that are left over are deleted."""
    (directory / "tools").mkdir(parents=True, exist_ok=True)
    written = [directory / name for name in files]
    for path, source in zip(written, files.values(), strict=True):
        path.write_text(source, encoding="utf-8")
    for path in directory.glob("tools/*.pyi"):
        if path not in written and _is_ours(path):
            path.unlink()
    return written


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER) + 2).split(b"\n")[0].rstrip() == HEADER.encode()
