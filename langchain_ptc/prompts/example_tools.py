"""Tools as the examples use them: what they return, what can be passed to them, and how they are linked.

Two tools are linked where a field of the records of one is the id that a parameter of the other takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter
from langchain_ptc.catalog.text import one_line
from langchain_ptc.catalog.types import (
    INT,
    STR,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordField,
    RecordRef,
    RecordType,
    TypeTree,
)

_MAX_DEPTH = 3
_MAX_FIELD_CHARS = 60
_MAX_VARIABLE_CHARS = 12
_MAX_REQUIRED = 6
_READING = frozenset(
    {
        *("get", "list", "search", "find", "fetch", "read", "query", "show", "lookup", "look"),
        *("count", "calculate", "compute", "check", "describe", "load", "retrieve", "view"),
    }
)
"""First words of the names of tools that only read: better examples than `delete_account`."""
_DESTROYING = frozenset(
    {
        *("delete", "remove", "drop", "destroy", "purge", "wipe", "erase", "cancel", "kill"),
        *("terminate", "reset", "refund", "pay", "transfer", "buy", "order"),
    }
)
"""First words of the names of tools that no example calls for every record."""
_PLACEHOLDERS: Mapping[str, object] = {
    "str": "B",
    "Any": "B",
    "int": 1,
    "float": 1.5,
    "bool": True,
    "None": None,
}
_QUOTED = re.compile(r"""(?<!\w)['"]([A-Za-z0-9][\w :/-]{0,23})['"](?!\w)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request, and the code that answers it."""

    question: str
    code: str


def build_example(question: str, code: str, *imported: str) -> Example:
    """Build an example; `imported` are the import lines that its code needs; empty ones are ignored."""
    lines = "".join(dict.fromkeys(imported))
    return Example(question=one_line(question, limit=300), code=f"{lines}{code}")


class ExampleTool:
    """A tool as the examples use it."""

    def __init__(self, definition: ToolDefinition, *, is_unique: bool) -> None:
        self.definition = definition
        self.name = definition.name
        source = "tools" if definition.domain is None else f"tools.{definition.domain}"
        self.imported = "" if is_unique else f"from {source} import {definition.name}\n"
        """The line that the code needs where several domains have a tool of the name."""
        self.reads = definition.policy.read_only or words_of(definition.name)[0] in _READING
        self.required = [p for p in definition.parameters if p.required]
        self.record = self._result_record()
        self.is_list = isinstance(definition.returns, Container)

    def _result_record(self) -> RecordType | None:
        tree = self.definition.returns
        if isinstance(tree, Container) and tree.name in ("list", "Sequence"):
            tree = tree.args[0]
        return self.definition.record(tree) if isinstance(tree, RecordRef) else None

    @property
    def takes_id(self) -> bool:
        """Whether an id must be passed."""
        return any(is_id(parameter.name) for parameter in self.required)

    @property
    def is_usable(self) -> bool:
        """Whether there is a value to pass for each required parameter."""
        return len(self.required) <= _MAX_REQUIRED and all(
            _placeholder(p.type, self.definition) is not ... and len(repr(p.type)) < 2_000
            for p in self.required
        )

    def fields(self, kinds: Sequence[str]) -> list[RecordField]:
        """Return the required fields of the result that are of these types, without ids."""
        fields = self.record.fields if self.record is not None else ()
        plain = [f for f in fields if f.required and kind_of(f.type) in kinds]
        return [f for f in plain if not is_id(f.name) and len(f.name) <= _MAX_FIELD_CHARS]

    def numbers(self) -> list[str]:
        """Return the names of the numbers in the result."""
        return [field.name for field in self.fields(["int", "float"])]

    def subject(self) -> ToolParameter | None:
        """Return the parameter for the subject of a call: the first required text that is not an id."""
        texts = [p for p in self.required if kind_of(p.type) == "str"]
        return next((p for p in texts if not is_id(p.name)), None)

    def value_of(self, parameter: ToolParameter) -> str:
        """Return the source of a value for a parameter: a documented one, or a placeholder."""
        values = documented_values(parameter, self.definition)
        return quote(values[0] if values else _placeholder(parameter.type, self.definition))

    def asked(self, parameters: Sequence[ToolParameter]) -> str:
        """Describe the values of some parameters in words; empty if they have no plain types."""
        plain = [p for p in parameters if kind_of(p.type)]
        return " and ".join(f"{p.name} {self.value_of(p)}" for p in plain)

    def call(self, given: Mapping[str, str]) -> str:
        """Return the source of a call.

        Args:
            given: Sources of some arguments, by name; the other required ones get example values.
        """
        sources = []
        for parameter in self.definition.parameters:
            if parameter.name in given:
                sources.append(f"{parameter.name}={given[parameter.name]}")
            elif parameter.required:
                sources.append(f"{parameter.name}={self.value_of(parameter)}")
        return f"await {self.name}({', '.join(sources)})"


def two_values(parameter: ToolParameter, tool: ExampleTool) -> list[str]:
    """Return the sources of two values of a text parameter: documented ones, or else letters."""
    if isinstance(parameter.type, Choice):
        return [quote(value) for value in [*parameter.type.values, *parameter.type.values][:2]]
    return [
        quote(value) for value in [*documented_values(parameter, tool.definition), "A", "C"][:2]
    ]


def documented_values(parameter: ToolParameter, definition: ToolDefinition) -> list[str]:
    """Return the values of a text parameter that its documentation mentions, for example 'Q3'.

    They are quoted in the parameter's own description, or in the tool's after the parameter's name.
    """
    if parameter.type != STR:
        return []
    text = parameter.description
    if not text:
        name = words_of(parameter.name)[-1]
        others = {words_of(p.name)[-1] for p in definition.parameters} - {name}
        after = re.split(rf"\b{re.escape(name)}\b", definition.description, flags=re.IGNORECASE)[1:]
        until = "|".join(map(re.escape, ["\n", ". ", *sorted(others)]))
        text = " ".join(re.split(until, part, maxsplit=1)[0] for part in after)
    return list(dict.fromkeys(_QUOTED.findall(text)))


def _placeholder(tree: TypeTree, definition: ToolDefinition, depth: int = 0) -> object:
    """Return a value of the type that is clearly a placeholder; `...` if there is none."""
    if isinstance(tree, Choice):
        return tree.values[0]
    if isinstance(tree, Alternatives):
        return _placeholder(tree.options[0], definition, depth)
    if isinstance(tree, Named):
        return _PLACEHOLDERS.get(tree.name, ...)
    if depth >= _MAX_DEPTH:
        return ...
    if isinstance(tree, RecordRef):
        fields = [f for f in definition.record(tree).fields if f.required]
        values = {f.name: _placeholder(f.type, definition, depth + 1) for f in fields}
        return ... if any(value is ... for value in values.values()) else values
    if tree.name == "dict":
        return {}
    if tree.name in ("list", "Sequence"):
        item = _placeholder(tree.args[0], definition, depth + 1)
        return ... if item is ... else [item]
    return ...


def kind_of(tree: TypeTree) -> str:
    """Return `str`, `int` or `float` for a plain type of these, else an empty string."""
    if isinstance(tree, Choice) and all(isinstance(value, str) for value in tree.values):
        return "str"
    return tree.name if isinstance(tree, Named) and tree.name in ("str", "int", "float") else ""


def words_of(name: str) -> list[str]:
    """Return the words of a name in snake or camel case; at least one."""
    spaced = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    return [word for word in spaced.split("_") if word] or [""]


def is_id(name: str) -> bool:
    """Whether a name is the name of an id."""
    return words_of(name)[-1] in ("id", "ids", "uuid", "key")


def variable_for(record: RecordType, otherwise: str) -> str:
    """Return a short name for a variable that holds a record."""
    name = words_of(record.name)[-1]
    is_fit = name.isidentifier() and name.isascii() and len(name) <= _MAX_VARIABLE_CHARS
    return name if is_fit else otherwise


def quote(value: object) -> str:
    """Return the source of a value; simple text in double quotes, as models write it."""
    if isinstance(value, str) and value.isprintable() and not set(value) & {'"', "\\"}:
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(quote, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{quote(k)}: {quote(v)}' for k, v in value.items())}}}"
    return repr(value)


# --- links between tools ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The field of one tool's records that is passed to a parameter of another."""

    parameter: ToolParameter
    field: RecordField


def find_pair(tools: Sequence[ExampleTool]) -> tuple[ExampleTool, ExampleTool, Link] | None:
    """Return the best root, child and link between them."""
    roots = [t for t in tools if t.record is not None and t.is_list and not t.takes_id]
    children = [t for t in tools if t.record is not None and t.takes_id]
    best: tuple[int, ExampleTool, ExampleTool, Link] | None = None
    for root in roots:
        for child in children:
            for score, link in _links(root, child):
                if best is None or score > best[0]:
                    best = (score, root, child, link)
    return best[1:] if best is not None else None


def _links(root: ExampleTool, child: ExampleTool) -> Iterator[tuple[int, Link]]:
    """Yield the links from `root` to `child`, each with a score for how much they can show."""
    record = root.record
    worth = 2 * child.is_list + 2 * bool(child.numbers()) + root.reads + child.reads
    for parameter in child.required if record is not None else ():
        if not is_id(parameter.name) or record is None:
            continue
        for field in record.fields:
            same = field.name == parameter.tool_name
            if not field.required or field.type not in (STR, INT) or field.type != parameter.type:
                continue
            if same or field.name == "id":
                stem = set(words_of(parameter.name)[:-1])
                named = bool(stem & {*words_of(record.name), *words_of(root.name.rstrip("s"))})
                link = Link(parameter=parameter, field=field)
                yield worth + 4 * same + 4 * named, link


def find_taker(source: ExampleTool, target: ExampleTool) -> Link | None:
    """Return the link by a field that the target takes under the same name."""
    for parameter in target.required:
        for field in source.record.fields if source.record is not None else ():
            same = field.name == parameter.tool_name and field.type == parameter.type
            if same and field.required and is_id(parameter.name):
                return Link(parameter=parameter, field=field)
    return None


def find_mention(tool: ExampleTool, root: ExampleTool, link: Link) -> RecordField | None:
    """Return the field of a tool's record that holds the id of a root's record."""
    for field in tool.record.fields if tool.record is not None else ():
        stem = set(words_of(field.name)[:-1])
        is_ours = field.name == link.parameter.tool_name or bool(stem & _about(root))
        if field.required and is_id(field.name) and is_ours and field.type == link.field.type:
            return field
    return None


def find_action(
    root: ExampleTool, link: Link, tools: Sequence[ExampleTool]
) -> tuple[ExampleTool, Link] | None:
    """Return a tool that acts on a root's record, and the link by which it gets the id."""
    for tool in tools:
        if tool.reads or tool.record is not None or words_of(tool.name)[0] in _DESTROYING:
            continue
        for parameter in tool.required:
            same = parameter.tool_name == link.parameter.tool_name
            if same and parameter.type == link.field.type:
                return tool, Link(parameter=parameter, field=link.field)
            for field in root.record.fields if root.record is not None else ():
                if _leads(field, parameter, _about(root)):
                    return tool, Link(parameter=parameter, field=field)
    return None


def _about(root: ExampleTool) -> set[str]:
    """Return the words for the records that a root lists."""
    assert root.record is not None
    return {*words_of(root.record.name), *words_of(root.name), *words_of(root.name.rstrip("s"))}


def _leads(field: RecordField, parameter: ToolParameter, words: Collection[str]) -> bool:
    """Whether a parameter takes a field of a record that these words describe."""
    if not field.required or not is_id(parameter.name) or field.type != parameter.type:
        return False
    stem = set(words_of(parameter.name)[:-1])
    return field.name == parameter.tool_name or (field.name == "id" and bool(stem & set(words)))
