"""Question-and-code pairs, generated from the types of a catalog and from nothing else.

Small models write such code only after they have seen some of it over the same tools. The pairs show
the shapes that most tasks have: the largest total, those with a total, totals of groups, counts by key,
a join, and an action for those with a total. They are built from a *root*, a tool that lists records, and
a *child*, a tool that takes the id of such a record and returns more of them. Two tools are *linked* where a
field of the records of one is the id that a parameter of the other takes. Pure and deterministic:
nothing is called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter
from langchain_ptc.catalog.text import RESERVED, one_line, unique
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

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

Examples: TypeAlias = Literal["auto"] | Sequence[tuple[str, str]] | None
"""Programs that the model is shown: none, generated from the catalog, or question-and-code pairs."""

MAX_EXAMPLES = 6
_MAX_SINGLES = 3

_Template: TypeAlias = tuple[str, str]  # a question and its code, with names in braces

_LIST: _Template = (
    "Print the {fields} of every {item}{where}.",
    """\
for {item} in {items}:
    print({printed})""",
)
_LARGEST: _Template = (
    "Which {item}{where} has the largest {measure}{when}, and how much is it?",
    """\
{best}, {most} = None, 0
for {item} in {items}:
    {fetch}
    {total} = {sum}
    if {best} is None or {total} > {most}:
        {best}, {most} = {label}, {total}
print({best}, {most})""",
)
_FILTER: _Template = (
    "Which {item}s{where} have a {measure} below 10{when}?",
    """\
{result} = []
for {item} in {items}:
    {fetch}
    {total} = {sum}
    if {total} < 10:
        {result}.append(({label}, {total}))
print({result})""",
)
_GROUPS: _Template = (
    "What is the total {number} of {key} {first} and of {key} {second}{when}?",
    """\
for {group} in [{first}, {second}]:
    {total} = 0
    for {item} in {grouped}:
        {fetch}
        {total} += {sum}
    print({group}, {total})""",
)
_COUNT: _Template = (
    "How many {parts}{where} are there of each {field}{when}?",
    """\
{counts} = {{}}
for {item} in {items}:
    for {part} in {listed}:
        {counts}[{value}] = {counts}.get({value}, 0) + 1
print({counts})""",
)
_CHAIN: _Template = (
    "Print the {shown_field} of the {found} of every {part}{where}{when}.",
    """\
for {item} in {items}:
    for {part} in {listed}:
        {found} = {call}
        print({label}, {found}[{shown_key}])""",
)
_DIFFERENCE: _Template = (
    "How much is the {other_number} of {key} {first} minus its total {number}{when}?",
    """\
{found} = {call}
{total} = 0
for {item} in {items}:
    {fetch}
    {total} += {sum}
print({found}[{other_key}] - {total})""",
)
_MATCH: _Template = (
    "Which {item}s{where} have an {found}{asked}?",
    """\
{ids} = [{found}[{their_id}] for {found} in {call}]
for {item} in {items}:
    if {own_id} in {ids}:
        print({label})""",
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


class Example(NamedTuple):
    """A request, and the code that answers it."""

    question: str
    code: str


def resolve_examples(examples: Examples, catalog: ToolCatalog) -> list[Example]:
    """Return the examples that the option asks for; raises a `ValueError` if it is none."""
    if examples is None:
        return []
    if examples == "auto":
        return build_examples(catalog)
    if isinstance(examples, str):
        raise ValueError(  # noqa: TRY004  # a wrong value among strings
            f"examples must be None, 'auto' or pairs, got {examples!r}"
        )
    return [Example(*pair) for pair in examples]


def render_examples(examples: Sequence[Example]) -> str:
    """Render examples as text."""
    if not examples:
        return ""
    shown = [f"Request: {e.question}\n```python\n{e.code}\n```" for e in examples]
    return "\n\n".join(["Examples of programs:", *shown])


def build_examples(catalog: ToolCatalog) -> list[Example]:
    """Return up to six examples over the tools of `catalog`; none for an empty one."""
    names = Counter(definition.name for definition in catalog)
    tools = [ExampleTool(d, is_unique=names[d.name] == 1) for d in catalog]
    # Stable: otherwise in the catalog's order.
    usable = sorted([t for t in tools if t.is_usable], key=lambda tool: not tool.reads)
    taken = RESERVED | set(names) | {word for d in catalog for word in (d.domain or "",)}
    found = find_pair(usable)
    if found is not None:
        return list(_pair_examples(Pair(*found, taken), usable))[:MAX_EXAMPLES]
    return list(_simple_examples(usable[:_MAX_SINGLES], taken))


# --- a root and its child: list, and ask for more about each record -----------------------------------


class Pair:
    """The names, calls and phrases that the examples of one root and child share."""

    def __init__(
        self, root: ExampleTool, child: ExampleTool, link: Link, taken: Collection[str]
    ) -> None:
        assert root.record is not None
        assert child.record is not None
        self.root, self.child, self.link, self.taken = root, child, link, set(taken)
        self.result, self.total, self.count = map(self.free, ("result", "total", "count"))
        self.item = self.free(variable_for(root.record, "item"))
        self.part = self.free(variable_for(child.record, "entry"))
        self.parts = self.free(f"{self.part}s")
        subject = root.subject()
        self.key = subject.name if subject is not None else ""
        self.first, self.second = two_values(subject, root) if subject is not None else ("", "")
        self.where = f" with {self.key} {self.first}" if self.key else ""
        self.items = root.call({self.key: self.first} if self.key else {})
        self.listed = child.call({link.parameter.name: self.field_of(self.item, link.field.name)})
        self.other = [p for p in child.required if p is not link.parameter]
        filled = child.asked(self.other)
        self.when = f" for {filled}" if filled else ""
        self.imports = (root.imported, child.imported)
        names = [f.name for f in root.fields(["str"]) if f.name != self.key][:3]
        own = [f.name for f in root.record.fields if f.name == "id" and f.required]
        self.shown = names or own or [link.field.name]
        self.label = self.field_of(self.item, self.shown[0])
        self.number = next(iter(child.numbers()), "")  # what is summed; empty if it has no number
        value = self.field_of(self.part, self.number)
        self.measure, self.fetch, self.sum = self.number, f"{self.part} = {self.listed}", value
        if child.is_list:
            self.measure, self.fetch = f"total {self.number}", f"{self.parts} = {self.listed}"
            self.sum = f"sum({value} for {self.part} in {self.parts})"

    def free(self, name: str) -> str:
        """Return a name like `name` that is unused in the code, and reserve it."""
        found = unique(name, self.taken)
        self.taken.add(found)
        return found

    @staticmethod
    def field_of(variable: str, field: str) -> str:
        """Return the source that reads a field of the record in a variable."""
        return f"{variable}[{quote(field)}]"

    def fill(
        self, template: _Template, *imports: str, tool: ExampleTool | None = None, **more: str
    ) -> Example:
        """Return the example of a template, with `more` names, and a third tool that its code calls."""
        imports = imports or self.imports
        if tool is not None:
            imports = (*imports, tool.imported)
        question, code = (text.format(**vars(self), **more) for text in template)
        return build_example(question, code, *imports)


def _pair_examples(pair: Pair, tools: Sequence[ExampleTool]) -> Iterator[Example]:
    if pair.number:
        yield pair.fill(_LARGEST, best=pair.free("best"), most=pair.free("most"))
        yield pair.fill(_FILTER)
        if pair.key:
            group = pair.free(pair.key)
            yield pair.fill(_GROUPS, group=group, grouped=pair.root.call({pair.key: group}))
    asked = {parameter.tool_name for parameter in pair.child.required}
    texts = [field.name for field in pair.child.fields(["str"]) if field.name not in asked]
    if texts and pair.child.is_list:
        value = pair.field_of(pair.part, texts[-1])
        yield pair.fill(_COUNT, counts=pair.free("counts"), value=value, field=texts[-1])
    else:
        printed = ", ".join(pair.field_of(pair.item, name) for name in pair.shown)
        fields = " and ".join(pair.shown)
        yield pair.fill(_LIST, pair.root.imported, fields=fields, printed=printed)
    joined = _join_example(pair, tools)
    if joined is not None:
        yield joined
    action = find_action(pair.root, pair.link, tools)
    if action is not None:
        yield _action_example(pair, *action)


def _join_example(pair: Pair, tools: Sequence[ExampleTool]) -> Example | None:
    """Return an example with a tool that is linked to the parts, or that has the same subject."""
    for tool in tools:
        if tool in (pair.root, pair.child) or tool.record is None or not tool.reads:
            continue
        link = next((link for link in _links(pair.child, tool) if link.is_same), None)
        fields = [*tool.fields(["str"]), *tool.fields(["int", "float"])]
        if pair.child.is_list and not tool.is_list and fields and link is not None:
            shown = fields[0].name
            return pair.fill(
                _CHAIN,
                tool=tool,
                found=pair.free(variable_for(tool.record, "found")),
                call=tool.call({link.parameter.name: pair.field_of(pair.part, link.field.name)}),
                shown_field=shown,
                shown_key=quote(shown),
            )
        if tool.takes_id:
            continue
        is_of_subject = pair.key in {parameter.name for parameter in tool.required}
        if is_of_subject and not tool.is_list and tool.numbers() and pair.number:
            asked = {p.name: pair.child.value_of(p) for p in pair.other}
            return pair.fill(
                _DIFFERENCE,
                tool=tool,
                found=pair.free(variable_for(tool.record, "found")),
                call=tool.call({**asked, pair.key: pair.first}),
                other_number=tool.numbers()[0],
                other_key=quote(tool.numbers()[0]),
            )
        mention = find_mention(tool, pair.root, pair.link)
        if tool.is_list and mention is not None:
            filled = tool.asked(tool.required)
            return pair.fill(
                _MATCH,
                pair.root.imported,
                tool=tool,
                found=pair.free(variable_for(tool.record, "entry")),
                ids=pair.free("ids"),
                call=tool.call({}),
                asked=f" with {filled}" if filled else "",
                their_id=quote(mention.name),
                own_id=pair.field_of(pair.item, pair.link.field.name),
            )
    return None


def _action_example(pair: Pair, tool: ExampleTool, link: Link) -> Example:
    item, count = pair.item, pair.count
    call = tool.call({link.parameter.name: pair.field_of(item, link.field.name)})
    lines, only, indent = [f"{count} = 0", f"for {item} in {pair.items}:"], "", "    "
    if pair.number:
        only = f" whose {pair.measure} is below 10{pair.when}"
        lines += [
            f"    {pair.fetch}",
            f"    {pair.total} = {pair.sum}",
            f"    if {pair.total} < 10:",
        ]
    elif pair.child.is_list:
        only = f" that has more than 3 {pair.parts}{pair.when}"
        lines += [f"    {pair.fetch}", f"    if len({pair.parts}) > 3:"]
    if only:
        indent *= 2
    lines += [f"{indent}{call}", f"{indent}{count} += 1", f'print("done:", {count})']
    filled = tool.asked([p for p in tool.required if p is not link.parameter])
    given = f" with {filled}" if filled else ""
    return build_example(
        f"Call {tool.name}{given} for every {item}{pair.where}{only}.",
        "\n".join(lines),
        *pair.imports,
        tool.imported,
    )


# --- single tools, where none leads to another ------------------------------------------------------


def _simple_examples(tools: Sequence[ExampleTool], taken: Collection[str]) -> Iterator[Example]:
    for tool in tools:
        yield _single_example(tool, taken)
    for tool in tools:
        if (subject := tool.subject()) is not None:
            yield _loop_example(tool, subject, taken)
            return


def _single_example(tool: ExampleTool, taken: Collection[str]) -> Example:
    subject = tool.subject()
    value = "" if subject is None else two_values(subject, tool)[0]
    given = {} if subject is None else {subject.name: value}
    asked = "" if subject is None else f" with {subject.name} {value}"
    fields = [f.name for f in tool.fields(["str", "int", "float"])][:3]
    call = tool.call(given)
    if tool.record is None or not fields:
        question = f"Call {tool.name}{asked} and print the result."
        return build_example(question, f"print({call})", tool.imported)
    item = unique(variable_for(tool.record, "item"), taken)
    printed = f"print({', '.join(f'{item}[{quote(name)}]' for name in fields)})"
    question = f"Call {tool.name}{asked} and print the {' and '.join(fields)}"
    if tool.is_list:
        code = f"for {item} in {call}:\n    {printed}"
        return build_example(f"{question} of each {item}.", code, tool.imported)
    return build_example(f"{question}.", f"{item} = {call}\n{printed}", tool.imported)


def _loop_example(tool: ExampleTool, subject: ToolParameter, taken: Collection[str]) -> Example:
    values = two_values(subject, tool)
    result = unique("result", taken)
    name = unique(subject.name, {*taken, result})
    return build_example(
        f"Call {tool.name} for each of the {subject.name}s {' and '.join(values)}, and print each "
        "result.",
        f"for {name} in [{', '.join(values)}]:\n"
        f"    {result} = {tool.call({subject.name: name})}\n    print({name}, {result})",
        tool.imported,
    )


# --- a tool as the examples use it ------------------------------------------------------------------


def build_example(question: str, code: str, *imported: str) -> Example:
    """Build an example; `imported` are the import lines that its code needs; empty ones are ignored."""
    lines = "".join(dict.fromkeys(imported))
    return Example(one_line(question, limit=300), f"{lines}{code}")


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
        names = (self.name, self.name.rstrip("s"), self.record.name if self.record else "")
        self.subjects = {word for name in names for word in words_of(name)} - {""}
        """Words for what it returns."""

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
        """Return the source of a call with some arguments `given` as source; the other required ones get example values."""
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
        values: list[object] = [*parameter.type.values, *parameter.type.values]
    else:
        values = [*documented_values(parameter, tool.definition), "A", "C"]
    return [quote(value) for value in values[:2]]


def documented_values(parameter: ToolParameter, definition: ToolDefinition) -> list[str]:
    """Return the values in quotes in a text parameter's description, or in the tool's after its name."""
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


# --- links between tools --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The field of one tool's records that is passed to a parameter of another."""

    parameter: ToolParameter
    field: RecordField
    is_same: bool = True  # whether they have one name; else the field is `id`
    is_named: bool = True  # whether the parameter names what the tool returns: `user_id`, `users`


def _links(source: ExampleTool, target: ExampleTool) -> Iterator[Link]:
    """Yield the fields of `source` that are ids which `target` takes."""
    for parameter in filter(lambda p: is_id(p.name), target.required):
        is_named = bool(set(words_of(parameter.name)[:-1]) & source.subjects)
        for field in source.record.fields if source.record is not None else ():
            is_same = field.name == parameter.tool_name
            if field.required and field.type == parameter.type and (is_same or field.name == "id"):
                yield Link(parameter=parameter, field=field, is_same=is_same, is_named=is_named)


def find_pair(tools: Sequence[ExampleTool]) -> tuple[ExampleTool, ExampleTool, Link] | None:
    """Return the root, the child and the link between them that can show the most."""
    best: tuple[int, ExampleTool, ExampleTool, Link] | None = None
    for root in tools:
        for child in tools if root.record and root.is_list and not root.takes_id else ():
            worth = 2 * child.is_list + 2 * bool(child.numbers()) + root.reads + child.reads
            for link in _links(root, child) if child.record is not None else ():
                score = worth + 4 * link.is_same + 4 * link.is_named
                if link.field.type in (STR, INT) and (best is None or score > best[0]):
                    best = (score, root, child, link)
    return best[1:] if best is not None else None


def find_mention(tool: ExampleTool, root: ExampleTool, link: Link) -> RecordField | None:
    """Return the field of a tool's record that holds the id of a root's record."""
    for field in tool.record.fields if tool.record is not None else ():
        stem = set(words_of(field.name)[:-1])
        is_ours = field.name == link.parameter.tool_name or bool(stem & root.subjects)
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
            is_same = parameter.tool_name == link.parameter.tool_name
            if is_same and parameter.type == link.field.type:
                return tool, Link(parameter=parameter, field=link.field)
        for found in _links(root, tool):
            if found.is_same or found.is_named:
                return tool, found
    return None
