"""Examples of a root and its child: list, and for each record ask for more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from langchain_ptc.catalog.names import unique
from langchain_ptc.catalog.types import RecordField
from langchain_ptc.prompts.examples.links import Link, find_action, find_mention, find_taker
from langchain_ptc.prompts.examples.tools import (
    Example,
    ExampleTool,
    build_example,
    quote,
    two_values,
    variable_for,
)


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
        self.values = two_values(subject, root) if subject is not None else []
        self.where = f" with {self.key} {self.values[0]}" if self.key else ""
        self.items = root.call({self.key: self.values[0]} if self.key else {})
        self.listed = child.call({link.parameter.name: f"{self.item}[{quote(link.field.name)}]"})
        self.other = [p for p in child.required if p is not link.parameter]
        filled = child.asked(self.other)
        self.when = f" for {filled}" if filled else ""
        self.imports = (root.imported, child.imported)
        names = [f.name for f in root.fields(["str"]) if f.name != self.key][:3]
        own = [f.name for f in root.record.fields if f.name == "id" and f.required]
        self.shown = names or own or [link.field.name]
        self.label = f"{self.item}[{quote(self.shown[0])}]"
        self.number = next(iter(child.numbers()), "")
        """The field of the child's record that is added up; empty if it has no number."""
        value = f"{self.part}[{quote(self.number)}]"
        self.measure, self.fetch, self.sum = self.number, f"{self.part} = {self.listed}", value
        if child.is_list:
            self.measure, self.fetch = f"total {self.number}", f"{self.parts} = {self.listed}"
            self.sum = f"sum({value} for {self.part} in {self.parts})"

    def free(self, name: str) -> str:
        """Return a name like `name` that nothing else in the code has."""
        found = unique(name, self.taken)
        self.taken.add(found)
        return found


def pair_examples(
    root: ExampleTool,
    child: ExampleTool,
    link: Link,
    tools: Sequence[ExampleTool],
    taken: Collection[str],
) -> Iterator[Example]:
    """Yield the examples of a root and its child, with other tools where they fit."""
    pair = Pair(root, child, link, taken)
    if pair.number:
        yield _most_example(pair)
        yield _filter_example(pair)
        if pair.key:
            yield _groups_example(pair)
    asked = {parameter.tool_name for parameter in child.required}
    texts = [field for field in child.fields(["str"]) if field.name not in asked]
    if texts and child.is_list:
        yield _count_example(pair, texts[-1])
    else:
        yield _list_example(pair)
    joined = _join_example(pair, tools)
    if joined is not None:
        yield joined
    action = find_action(root, link, tools)
    if action is not None:
        yield _action_example(pair, *action)


def _list_example(pair: Pair) -> Example:
    shown = ", ".join(f"{pair.item}[{quote(name)}]" for name in pair.shown)
    return build_example(
        f"Print the {' and '.join(pair.shown)} of every {pair.item}{pair.where}.",
        f"for {pair.item} in {pair.items}:\n    print({shown})",
        pair.root.imported,
    )


def _most_example(pair: Pair) -> Example:
    best, most = pair.free("best"), pair.free("most")
    return build_example(
        f"Which {pair.item}{pair.where} has the largest {pair.measure}{pair.when}, and how much is it?",
        f"{best}, {most} = None, 0\nfor {pair.item} in {pair.items}:\n"
        f"    {pair.fetch}\n    {pair.total} = {pair.sum}\n"
        f"    if {best} is None or {pair.total} > {most}:\n"
        f"        {best}, {most} = {pair.label}, {pair.total}\nprint({best}, {most})",
        *pair.imports,
    )


def _filter_example(pair: Pair) -> Example:
    return build_example(
        f"Which {pair.item}s{pair.where} have a {pair.measure} below 10{pair.when}?",
        f"{pair.result} = []\nfor {pair.item} in {pair.items}:\n"
        f"    {pair.fetch}\n    {pair.total} = {pair.sum}\n    if {pair.total} < 10:\n"
        f"        {pair.result}.append(({pair.label}, {pair.total}))\nprint({pair.result})",
        *pair.imports,
    )


def _groups_example(pair: Pair) -> Example:
    name = pair.free(pair.key)
    items = pair.root.call({pair.key: name})
    first, second = pair.values
    return build_example(
        f"What is the total {pair.number} of {pair.key} {first} and of {pair.key} {second}"
        f"{pair.when}?",
        f"for {name} in [{first}, {second}]:\n    {pair.total} = 0\n    for {pair.item} in {items}:\n"
        f"        {pair.fetch}\n        {pair.total} += {pair.sum}\n    print({name}, {pair.total})",
        *pair.imports,
    )


def _count_example(pair: Pair, field: RecordField) -> Example:
    counts, key = pair.free("counts"), f"{pair.part}[{quote(field.name)}]"
    return build_example(
        f"How many {pair.parts}{pair.where} are there of each {field.name}{pair.when}?",
        f"{counts} = {{}}\nfor {pair.item} in {pair.items}:\n    for {pair.part} in {pair.listed}:\n"
        f"        {counts}[{key}] = {counts}.get({key}, 0) + 1\nprint({counts})",
        *pair.imports,
    )


# --- a third tool -------------------------------------------------------------------------------


def _join_example(pair: Pair, tools: Sequence[ExampleTool]) -> Example | None:
    """Return an example with a tool that the parts lead to, or that says more of the same subject."""
    for tool in tools:
        if tool in (pair.root, pair.child) or tool.record is None or not tool.reads:
            continue
        link = find_taker(pair.child, tool)
        fields = [*tool.fields(["str"]), *tool.fields(["int", "float"])]
        if pair.child.is_list and not tool.is_list and fields and link is not None:
            return _chain_example(pair, tool, link, fields[0].name)
        if tool.takes_id:
            continue
        is_of_subject = pair.key in {parameter.name for parameter in tool.required}
        if is_of_subject and not tool.is_list and tool.numbers() and pair.number:
            return _difference_example(pair, tool, tool.numbers()[0])
        mention = find_mention(tool, pair.root, pair.link)
        if tool.is_list and mention is not None:
            return _match_example(pair, tool, mention)
    return None


def _chain_example(pair: Pair, tool: ExampleTool, link: Link, shown: str) -> Example:
    assert tool.record is not None
    found = pair.free(variable_for(tool.record, "found"))
    call = tool.call({link.parameter.name: f"{pair.part}[{quote(link.field.name)}]"})
    return build_example(
        f"Print the {shown} of the {found} of every {pair.part}{pair.where}{pair.when}.",
        f"for {pair.item} in {pair.items}:\n    for {pair.part} in {pair.listed}:\n"
        f"        {found} = {call}\n        print({pair.label}, {found}[{quote(shown)}])",
        *pair.imports,
        tool.imported,
    )


def _difference_example(pair: Pair, tool: ExampleTool, number: str) -> Example:
    assert tool.record is not None
    found = pair.free(variable_for(tool.record, "found"))
    asked = {p.name: pair.child.value_of(p) for p in pair.other}
    call = tool.call({**asked, pair.key: pair.values[0]})
    return build_example(
        f"How much is the {number} of {pair.key} {pair.values[0]} minus its total {pair.number}"
        f"{pair.when}?",
        f"{found} = {call}\n{pair.total} = 0\nfor {pair.item} in {pair.items}:\n    {pair.fetch}\n"
        f"    {pair.total} += {pair.sum}\nprint({found}[{quote(number)}] - {pair.total})",
        *pair.imports,
        tool.imported,
    )


def _match_example(pair: Pair, tool: ExampleTool, field: RecordField) -> Example:
    assert tool.record is not None
    other, ids = pair.free(variable_for(tool.record, "entry")), pair.free("ids")
    filled = tool.asked(tool.required)
    where = f" with {filled}" if filled else ""
    own = f"{pair.item}[{quote(pair.link.field.name)}]"
    return build_example(
        f"Which {pair.item}s{pair.where} have an {other}{where}?",
        f"{ids} = [{other}[{quote(field.name)}] for {other} in {tool.call({})}]\n"
        f"for {pair.item} in {pair.items}:\n    if {own} in {ids}:\n        print({pair.label})",
        pair.root.imported,
        tool.imported,
    )


def _action_example(pair: Pair, tool: ExampleTool, link: Link) -> Example:
    item, count = pair.item, pair.count
    call = tool.call({link.parameter.name: f"{item}[{quote(link.field.name)}]"})
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
