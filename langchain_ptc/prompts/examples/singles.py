"""Examples of tools each for itself, where no tool leads to another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from langchain_ptc.catalog.names import unique
from langchain_ptc.prompts.examples.tools import (
    Example,
    ExampleTool,
    build_example,
    quote,
    two_values,
    variable_for,
)


def simple_examples(tools: Sequence[ExampleTool], taken: Collection[str]) -> Iterator[Example]:
    """Yield an example of each tool, and one that calls a tool for two values."""
    for tool in tools:
        yield _single_example(tool, taken)
    looped = next((tool for tool in tools if tool.subject() is not None), None)
    if looped is not None:
        yield _loop_example(looped, taken)


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


def _loop_example(tool: ExampleTool, taken: Collection[str]) -> Example:
    subject = tool.subject()
    assert subject is not None
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
