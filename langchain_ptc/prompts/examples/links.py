"""How the result of one tool leads to the next: which field is the id that which parameter takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.catalog.definition import ToolParameter
from langchain_ptc.catalog.types import INT, STR, RecordField
from langchain_ptc.prompts.examples.tools import ExampleTool, is_id, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How the records of one tool lead to another."""

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
    """Yield the links from `root` to `child`, each with how much there is to show."""
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
    """Return the field of a source's record that a target takes under the same name."""
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
    """Return a tool that does something with a root's record, and how it is given the id."""
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


_DESTROYING = frozenset(
    {
        *("delete", "remove", "drop", "destroy", "purge", "wipe", "erase", "cancel", "kill"),
        *("terminate", "reset", "refund", "pay", "transfer", "buy", "order"),
    }
)
"""First words of names of tools that no example calls for every record."""


def _about(root: ExampleTool) -> set[str]:
    """Return the words for what a root lists."""
    assert root.record is not None
    return {*words_of(root.record.name), *words_of(root.name), *words_of(root.name.rstrip("s"))}


def _leads(field: RecordField, parameter: ToolParameter, words: Collection[str]) -> bool:
    """Tell whether a field of a record of these words is what a parameter takes."""
    if not field.required or not is_id(parameter.name) or field.type != parameter.type:
        return False
    stem = set(words_of(parameter.name)[:-1])
    return field.name == parameter.tool_name or (field.name == "id" and bool(stem & set(words)))
