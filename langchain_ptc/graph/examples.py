"""Question-and-code pairs, made from the types of a catalog and from nothing else.

Small models write such code only after they have seen some of it over the same tools. The pairs show
the shapes that most tasks have: list, filter by a total, compare totals, count. What they look for in
a catalog is a *root*, a tool that lists records, and a *child*, a tool that takes the id of such a
record and gives more of them. Pure and deterministic: nothing is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter
from langchain_ptc.catalog.names import RESERVED, unique
from langchain_ptc.catalog.text import one_line
from langchain_ptc.catalog.types import (
    INT,
    STR,
    Alternatives,
    Choice,
    Container,
    Named,
    Record,
    RecordField,
    RecordRef,
    TypeTree,
)

MAX_EXAMPLES = 4
_MAX_DEPTH = 3
_MAX_FIELD_CHARS = 60
_READING = frozenset(
    {
        *("get", "list", "search", "find", "fetch", "read", "query", "show", "lookup", "look"),
        *("count", "calculate", "compute", "check", "describe", "load", "retrieve", "view"),
    }
)
"""First words of names of tools that look rather than do: better to show than `delete_account`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request and the code that fulfils it."""

    question: str
    code: str


def build_examples(catalog: ToolCatalog) -> list[Example]:
    """Return up to four examples over the tools of `catalog`; none for an empty one."""
    names = Counter(definition.name for definition in catalog)
    usable = [_Tool(d, names[d.name] == 1) for d in catalog if _is_usable(d)]
    usable.sort(key=lambda tool: not tool.reads)  # stable: otherwise in the catalog's order
    taken = RESERVED | set(names) | {word for d in catalog for word in (d.domain or "",)}
    pair = _find_pair(usable)
    if pair is not None:
        return list(_pair_examples(*pair, taken))[:MAX_EXAMPLES]
    return list(_simple_examples(usable[:3], taken))[:MAX_EXAMPLES]


# --- tools and what can be passed to them -------------------------------------------------------


class _Tool:
    """A tool as the examples use it."""

    def __init__(self, definition: ToolDefinition, is_unique: bool) -> None:
        self.definition = definition
        self.name = definition.name
        source = "tools" if definition.domain is None else f"tools.{definition.domain}"
        self.imported = "" if is_unique else f"from {source} import {definition.name}\n"
        """The line that the code needs where several domains have a tool of the name."""
        self.reads = definition.policy.read_only or _words(definition.name)[0] in _READING
        self.required = [p for p in definition.parameters if p.required]
        self.record = self._result_record()
        self.is_list = isinstance(definition.returns, Container)

    def _result_record(self) -> Record | None:
        tree = self.definition.returns
        if isinstance(tree, Container) and tree.name in ("list", "Sequence"):
            tree = tree.args[0]
        return self.definition.record(tree) if isinstance(tree, RecordRef) else None

    def fields(self, kinds: Sequence[str]) -> list[RecordField]:
        """Return the fields of the result that are always there, plain, and no ids."""
        fields = self.record.fields if self.record is not None else ()
        plain = [f for f in fields if f.required and _kind(f.type) in kinds]
        return [f for f in plain if not _is_id(f.name) and len(f.name) <= _MAX_FIELD_CHARS]

    def subject(self) -> ToolParameter | None:
        """Return the parameter that says what is asked about: the first required text, no id."""
        texts = [p for p in self.required if _kind(p.type) == "str"]
        return next((p for p in texts if not _is_id(p.name)), None)

    def call(self, given: dict[str, str]) -> str:
        """Return the source of a call.

        Args:
            given: Sources of some arguments, by name; the other required ones get placeholders.
        """
        sources = []
        for parameter in self.definition.parameters:
            if parameter.name in given:
                sources.append(f"{parameter.name}={given[parameter.name]}")
            elif parameter.required:
                value = _placeholder(parameter.type, self.definition)
                sources.append(f"{parameter.name}={_quote(value)}")
        return f"await {self.name}({', '.join(sources)})"


def _is_usable(definition: ToolDefinition) -> bool:
    needed = [p for p in definition.parameters if p.required]
    return len(needed) <= 6 and all(
        _placeholder(p.type, definition) is not ... and len(repr(p.type)) < 2_000 for p in needed
    )


def _placeholder(tree: TypeTree, definition: ToolDefinition, depth: int = 0) -> object:
    """Return a value of the type that any reader takes for a placeholder; `...` if there is none."""
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


_PLACEHOLDERS: dict[str, object] = {
    "str": "B",
    "Any": "B",
    "int": 1,
    "float": 1.5,
    "bool": True,
    "None": None,
}


def _kind(tree: TypeTree) -> str:
    """Return `str`, `int` or `float` for a plain type of these, else an empty string."""
    if isinstance(tree, Choice) and all(isinstance(value, str) for value in tree.values):
        return "str"
    return tree.name if isinstance(tree, Named) and tree.name in ("str", "int", "float") else ""


def _words(name: str) -> list[str]:
    spaced = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    return [word for word in spaced.split("_") if word] or [""]


def _is_id(name: str) -> bool:
    return _words(name)[-1] in ("id", "ids", "uuid", "key")


def _quote(value: object) -> str:
    """Return the source of a value; simple text in double quotes, as models write it."""
    if isinstance(value, str) and value.isprintable() and not set(value) & {'"', "\\"}:
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_quote, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_quote(k)}: {_quote(v)}' for k, v in value.items())}}}"
    return repr(value)


# --- a root and its child -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """How the records of a root lead to a child."""

    parameter: ToolParameter
    field: RecordField


def _find_pair(tools: Sequence[_Tool]) -> tuple[_Tool, _Tool, _Link] | None:
    """Return the best root, child and link between them."""
    roots = [t for t in tools if t.record is not None and t.is_list and not _takes_id(t)]
    children = [t for t in tools if t.record is not None and _takes_id(t)]
    best: tuple[int, _Tool, _Tool, _Link] | None = None
    for root in roots:
        for child in children:
            for score, link in _links(root, child):
                if best is None or score > best[0]:
                    best = (score, root, child, link)
    return best[1:] if best is not None else None


def _takes_id(tool: _Tool) -> bool:
    return any(_is_id(parameter.name) for parameter in tool.required)


def _links(root: _Tool, child: _Tool) -> Iterator[tuple[int, _Link]]:
    """Yield the links from `root` to `child`, each with how much there is to show."""
    record = root.record
    worth = 2 * child.is_list + 2 * bool(child.fields(["int", "float"])) + root.reads + child.reads
    for parameter in child.required if record is not None else ():
        if not _is_id(parameter.name) or record is None:
            continue
        for field in record.fields:
            same = field.name == parameter.tool_name
            if not field.required or field.type not in (STR, INT) or field.type != parameter.type:
                continue
            if same or field.name == "id":
                stem = set(_words(parameter.name)[:-1])
                named = bool(stem & {*_words(record.name), *_words(root.name.rstrip("s"))})
                yield worth + 4 * same + 4 * named, _Link(parameter=parameter, field=field)


class _Shared:
    """The names, calls and phrases that the examples of one pair share."""

    def __init__(self, root: _Tool, child: _Tool, link: _Link, taken: Collection[str]) -> None:
        assert root.record is not None
        assert child.record is not None
        self.root, self.child, self.taken = root, child, set(taken)
        self.result, self.total, self.count = map(self.free, ("result", "total", "count"))
        self.item = self.free(_variable(root.record.name, "item"))
        self.part = self.free(_variable(child.record.name, "entry"))
        self.parts = self.free(f"{self.part}s")
        self.subject = root.subject()
        kind = self.subject.type if self.subject is not None else STR
        values = (*kind.values, *kind.values) if isinstance(kind, Choice) else ("A", "C")
        self.values = [_quote(value) for value in values[:2]]
        named = self.subject is not None
        self.key = self.subject.name if self.subject is not None else ""
        self.where = f" with {self.key} {self.values[0]}" if named else ""
        self.items = root.call({self.key: self.values[0]} if named else {})
        self.listed = child.call({link.parameter.name: f"{self.item}[{_quote(link.field.name)}]"})
        other = [p for p in child.required if p is not link.parameter and _kind(p.type)]
        filled = [f"{p.name} {_quote(_placeholder(p.type, child.definition))}" for p in other]
        self.when = f" for {' and '.join(filled)}" if filled else ""
        self.imported = root.imported + child.imported
        names = [f.name for f in root.fields(["str"]) if f.name != self.key][:3]
        own = [f.name for f in root.record.fields if f.name == "id" and f.required]
        self.shown = names or own or [link.field.name]
        self.label = f"{self.item}[{_quote(self.shown[0])}]"

    def free(self, name: str) -> str:
        """Return a name like `name` that nothing else in the code has."""
        found = unique(name, self.taken)
        self.taken.add(found)
        return found


def _variable(record: str, otherwise: str) -> str:
    name = _words(record)[-1]
    return name if name.isidentifier() and name.isascii() and len(name) <= 12 else otherwise


def _pair_examples(
    root: _Tool, child: _Tool, link: _Link, taken: Collection[str]
) -> Iterator[Example]:
    shared = _Shared(root, child, link, taken)
    item = shared.item
    shown = ", ".join(f"{item}[{_quote(name)}]" for name in shared.shown)
    yield _example(
        f"Print the {' and '.join(shared.shown)} of every {item}{shared.where}.",
        f"for {item} in {shared.items}:\n    print({shown})",
        root.imported,
    )
    number = next((f.name for f in child.fields(["int", "float"])), None)
    if number is not None:
        yield from _total_examples(shared, number)
    asked = {parameter.tool_name for parameter in child.required}
    texts = [field for field in child.fields(["str"]) if field.name not in asked]
    if texts and child.is_list:
        yield _count_example(shared, texts[-1])


def _total_examples(shared: _Shared, number: str) -> Iterator[Example]:
    item, part, total, result = shared.item, shared.part, shared.total, shared.result
    value = f"{part}[{_quote(number)}]"
    fetch, add = f"{part} = {shared.listed}", value
    if shared.child.is_list:
        fetch = f"{shared.parts} = {shared.listed}"
        add = f"sum({value} for {part} in {shared.parts})"
    yield _example(
        f"Which {item}s{shared.where} have a total {number} below 10{shared.when}?",
        f"{result} = []\nfor {item} in {shared.items}:\n    {fetch}\n    {total} = {add}\n"
        f"    if {total} < 10:\n        {result}.append(({shared.label}, {total}))\nprint({result})",
        shared.imported,
    )
    if not shared.key:
        return
    name = shared.free(shared.key)
    items = shared.root.call({shared.key: name})
    first, second = shared.values
    yield _example(
        f"What is the total {number} of {shared.key} {first} and of {shared.key} {second}"
        f"{shared.when}?",
        f"for {name} in [{first}, {second}]:\n    {total} = 0\n    for {item} in {items}:\n"
        f"        {fetch}\n        {total} += {add}\n    print({name}, {total})",
        shared.imported,
    )


def _count_example(shared: _Shared, field: RecordField) -> Example:
    wanted = _quote(field.type.values[0] if isinstance(field.type, Choice) else "D")
    part, count = shared.part, shared.count
    return _example(
        f"How many {shared.parts}{shared.where} have {field.name} {wanted}{shared.when}?",
        f"{count} = 0\nfor {shared.item} in {shared.items}:\n    for {part} in {shared.listed}:\n"
        f"        if {part}[{_quote(field.name)}] == {wanted}:\n            {count} += 1\n"
        f'print("count:", {count})',
        shared.imported,
    )


def _example(question: str, code: str, imported: str) -> Example:
    return Example(question=one_line(question, limit=300), code=f"{imported}{code}")


# --- single tools -------------------------------------------------------------------------------


def _simple_examples(tools: Sequence[_Tool], taken: Collection[str]) -> Iterator[Example]:
    for tool in tools:
        yield _single_example(tool, taken)
    looped = next((tool for tool in tools if tool.subject() is not None), None)
    if looped is not None:
        yield _loop_example(looped, taken)


def _single_example(tool: _Tool, taken: Collection[str]) -> Example:
    subject = tool.subject()
    given = {subject.name: _first_value(subject)} if subject is not None else {}
    asked = f" with {subject.name} {_first_value(subject)}" if subject is not None else ""
    fields = [f.name for f in tool.fields(["str", "int", "float"])][:3]
    call = tool.call(given)
    if tool.record is None or not fields:
        question = f"Call {tool.name}{asked} and print the result."
        return _example(question, f"print({call})", tool.imported)
    item = unique(_variable(tool.record.name, "item"), taken)
    printed = f"print({', '.join(f'{item}[{_quote(name)}]' for name in fields)})"
    question = f"Call {tool.name}{asked} and print the {' and '.join(fields)}"
    if tool.is_list:
        code = f"for {item} in {call}:\n    {printed}"
        return _example(f"{question} of each {item}.", code, tool.imported)
    return _example(f"{question}.", f"{item} = {call}\n{printed}", tool.imported)


def _loop_example(tool: _Tool, taken: Collection[str]) -> Example:
    subject = tool.subject()
    assert subject is not None
    values = [_first_value(subject), '"C"']
    if isinstance(subject.type, Choice):
        values = [_quote(value) for value in subject.type.values[:2]]
    result = unique("result", taken)
    name = unique(subject.name, {*taken, result})
    return _example(
        f"Call {tool.name} for each of the {subject.name}s {' and '.join(values)}, and print each "
        "result.",
        f"for {name} in [{', '.join(values)}]:\n"
        f"    {result} = {tool.call({subject.name: name})}\n    print({name}, {result})",
        tool.imported,
    )


def _first_value(parameter: ToolParameter) -> str:
    if isinstance(parameter.type, Choice):
        return _quote(parameter.type.values[0])
    return '"A"'
