"""Definitions -> Python source that a model reads.

`render.py` makes prompts and files of it. Pure. Source: one `TypedDict` for each record,
under a name that is unique in its module, follows pydantic-ai's `function_signature.py`.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

from langchain_ptc.catalog.text import (
    MAX_PROMPT_TOOL_CHARS,
    RESERVED,
    brief,
    cut,
    docstring,
    is_normal,
    one_line,
    paragraphs,
    to_class_name,
    unique,
    unsaid,
)
from langchain_ptc.catalog.types import (
    MAX_LITERAL_INT,
    NONE,
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
    shape,
    union,
    walk,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

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
MAX_DEFAULT_CHARS = 120
"""Length of a default in a signature; a longer one is `...`."""
MAX_RETURNS_CHARS = 300
"""Length of what is said in words of a return."""
WIDTH = 100
"""Columns after which a line is broken, where it can be."""
Names = Mapping[str, str]
"""The names of records in their module, by key."""


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
    """Return the names that must be imported for `trees`, or are built in."""
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
    names: dict[str, Names] = field(default_factory=dict)
    """For each tool, by its name: the names of the records in its types, by key."""

    def __post_init__(self) -> None:
        taken: set[str] = set()
        shapes: dict[str, str] = {}
        reserved = RESERVED | {d.name for d in self.definitions}
        for definition in self.definitions:
            table = {record.key: record for record in definition.records}
            names: dict[str, str] = {}
            for record in definition.records:
                same = shape(record.key, table)
                name = shapes.get(same)
                if name is None:
                    name = record.name
                    if name in taken or name in reserved:
                        longer = f"{to_class_name(definition.name)}{name}"
                        name = unique(longer, taken | reserved)
                    taken.add(name)
                    shapes[same] = name
                names[record.key] = name
            self.names[definition.name] = names
            for key in _inner_first(table):
                self.records.setdefault(names[key], (table[key], names))

    @property
    def module(self) -> str:
        """The module that the tools are imported from."""
        return "tools" if self.domain is None else f"tools.{self.domain}"

    def imports(self) -> set[str]:
        """Return the names that the stubs take from the standard library."""
        found = {name for d in self.definitions for name in definition_imports(d)}
        return found | self.record_imports()

    def record_imports(self) -> set[str]:
        """Return the names that the records take from the standard library."""
        found = {"TypedDict"} if self.records else set()
        for record, _ in self.records.values():
            found |= _type_names(f.type for f in record.fields) & MODULES.keys()
            found |= {"NotRequired"} & {"" if f.required else "NotRequired" for f in record.fields}
        return found

    def render_records(self, *, describe: Callable[[str], str] = brief) -> list[str]:
        """Return the source of each record, in an order in which Python can run it.

        `describe` shortens the description of a field to one line.
        """
        defined: set[str] = set()
        blocks = []
        for name, (record, names) in self.records.items():
            blocks.append(_render_record(name, record, names, defined, describe))
            defined.add(name)
        return blocks


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


def _render_record(
    name: str,
    record: RecordType,
    names: Names,
    defined: Collection[str],
    describe: Callable[[str], str],
) -> str:
    rows = []
    for item in record.fields:
        text = render_type(item.type, names)
        if any(names[key] not in defined for key in references(item.type)):
            text = repr(text)  # a record that holds itself is not yet known where it is written
        remarks = [*notes(item.type), *item.constraints]
        comment = _comment(_unsaid(item.name, item.description, item.type), remarks, describe)
        rows.append((item.name, text if item.required else f"NotRequired[{text}]", comment))
    about = one_line(record.description, limit=200)
    more = f"    # {one_line(record.others, limit=200)}\n" if record.others else ""
    if _needs_call(record, names):
        body = "".join(f"    {key!r}: {text},{comment}\n" for key, text, comment in rows) + more
        head = f"# {about}\n" if about else ""
        return f'{head}{name} = TypedDict("{name}", {{\n{body}}})'
    lines = [f"    {key}: {text}{comment}" for key, text, comment in rows]
    doc = [f"    {docstring(about, indent='    ')}"] if about else []
    return "\n".join(
        [f"class {name}(TypedDict):", *doc, *lines, *([more.rstrip()] if more else [])]
    )


def _unsaid(name: str, description: str, tree: TypeTree, default: str = "") -> str:
    if not description:
        return ""
    values: list[object] = [default] if default else []
    if not isinstance(tree, Named):
        values.extend(v for node in walk(tree) if isinstance(node, Choice) for v in node.values)
    return unsaid(description, name=name, values=values)


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


def _comment(description: str, remarks: Sequence[str], describe: Callable[[str], str]) -> str:
    text = describe(description)
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
    default: str | None
    """Source of the default, `...` where it is not shown; None if the parameter is required."""
    description: str
    remarks: Sequence[str]
    """What its type leaves out."""

    def source(self, *, omitted: str = "...") -> str:
        """Return its part of the signature, with `omitted` for a default that is not shown."""
        if self.default is None:
            return f"{self.name}: {self.annotation}"
        default = omitted if self.default == "..." else self.default
        return f"{self.name}: {self.annotation} = {default}"

    def comment(self, describe: Callable[[str], str]) -> str:
        """Return its description with two spaces and `#` in front, or an empty string."""
        return _comment(self.description, self.remarks, describe)


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
        description=_unsaid(parameter.tool_name, parameter.description, tree, shown),
        remarks=remarks,
    )


def _render_literal(value: object) -> str:
    """Return the source of a default, or `...` if it is not a short literal."""
    if not _is_literal(value):
        return "..."
    shown = repr(value)
    return shown if len(shown) <= MAX_DEFAULT_CHARS and shown.isprintable() else "..."


def _is_literal(value: object, depth: int = 0) -> bool:
    """Whether `value` is short data that Python source can hold."""
    if type(value) is float:
        return isfinite(value)
    if type(value) is int:
        return abs(value) < MAX_LITERAL_INT
    if type(value) in (list, tuple, dict, str, bytes):
        if len(value) > MAX_DEFAULT_CHARS:  # type: ignore[arg-type]  # all of them have a length
            return False
    elif value is not None and type(value) is not bool:
        return False
    if isinstance(value, list | tuple):
        items: Iterable[object] = value
    elif isinstance(value, dict):
        items = [part for pair in value.items() for part in pair]
    else:
        return True
    return depth < 3 and all(_is_literal(item, depth + 1) for item in items)


def definition_imports(definition: ToolDefinition) -> set[str]:
    """Return the names that a signature takes from the standard library."""
    return _type_names(definition.types) & MODULES.keys()


def render_signature(
    definition: ToolDefinition,
    names: Names,
    parameters: Sequence[StubParameter],
    *,
    describe: Callable[[str], str] | None = None,
    omitted: str = "...",
) -> str:
    """Return the head of a stub, from `async def` to the colon.

    Args:
        definition: The tool.
        names: Names of the records in its types, by key.
        parameters: What `stub_parameters` returns.
        describe: Shortens the description of a parameter to a comment; None for no comments.
        omitted: Source of a default that is not shown.
    """
    parts = [p.source(omitted=omitted) for p in parameters]
    comments = [p.comment(describe) if describe else "" for p in parameters]
    if definition.extra is not None:
        parts.append(f"**kwargs: {render_type(definition.extra, names)}")
        comments.append("")
    end = f") -> {render_type(definition.returns, names)}:"
    start = f"async def {definition.name}("
    line = f"{start}{', '.join(parts)}{end}"
    if not any(comments) and (len(line) <= WIDTH or not parts or describe):
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
        f"At most {policy.max_calls} calls." if policy.max_calls is not None else "",
        f"Takes at most {seconds:g} s." if seconds else "",
    ]
    remarks = [definition.returns_text, *notes(definition.returns)]
    returned = ", ".join(filter(None, remarks))
    returns = one_line(f"Returns: {returned}", limit=MAX_RETURNS_CHARS) if returned else ""
    return [line for line in (returns, " ".join(filter(None, facts))) if line]


def render_stub(definition: ToolDefinition, names: Names) -> str:
    """Return the stub of one tool for a model: signature, comments and docstring."""
    parameters = stub_parameters(definition, names)
    head = render_signature(definition, names, parameters, describe=brief)
    description = paragraphs(definition.description, limit=MAX_PROMPT_TOOL_CHARS)
    about = "\n".join(filter(None, [description, *render_facts(definition)]))
    return f"{head}\n    {docstring(about, indent='    ')}" if about else f"{head} ..."


# --- the text -----------------------------------------------------------------------------------


def group(definitions: Iterable[ToolDefinition]) -> list[DomainStubs]:
    """Return the stubs of each domain, in the order in which the domains are met."""
    grouped: dict[str | None, list[ToolDefinition]] = {}
    for definition in definitions:
        grouped.setdefault(definition.domain, []).append(definition)
    return [DomainStubs(domain=d, definitions=members) for d, members in grouped.items()]


def render_catalog(
    domains: Sequence[DomainStubs],
    *,
    render: Callable[[ToolDefinition, Names], str] = render_stub,
) -> str:
    """Return the stubs of all `domains` as one Python module for a model to read."""
    names = {name for domain in domains for name in domain.imports()}
    blocks = ["\n".join(render_imports(names))] if names else []
    for domain in domains:
        listed = ", ".join(d.name for d in domain.definitions)
        stubs = [render(d, domain.names[d.name]) for d in domain.definitions]
        first, *rest = [*domain.render_records(), *stubs]
        # Tools of no domain need no import.
        flat = domain.domain is None and len(domains) == 1
        header = "" if flat else f"# from {domain.module} import {cut(listed, WIDTH)}\n"
        blocks.extend([f"{header}{first}", *rest])
    return "\n\n".join(blocks) + "\n" if blocks else ""


def render_imports(names: Collection[str]) -> list[str]:
    """Return the lines that import `names`, which are keys of `MODULES`."""
    modules: dict[str, list[str]] = {}
    for name in sorted(names):
        modules.setdefault(MODULES[name], []).append(name)
    return [f"from {module} import {', '.join(found)}" for module, found in sorted(modules.items())]
