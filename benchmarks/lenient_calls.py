"""Ordinary tool calling made as easy for a small model as programs are: read leniently, and shown how.

A model that writes its calls as text scores nothing by ordinary tool calling, whatever it knows. To
compare like with like, a call that comes as JSON in the text is taken as a call here; and the same
example questions can be worked by calls instead of by programs, as a conversation before the question.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.examples import build_examples
from langchain_ptc.catalog.types import Alternatives, Choice, Container, Named, RecordRef, TypeTree
from langchain_ptc.executor import ProgrammaticToolExecutor

_JSON = json.JSONDecoder(strict=False)


class LenientCalls(AgentMiddleware[Any, Any, Any]):
    """Reads calls that a model writes as text.

    Args:
        tools: What can be called.
        shown: Example conversations, put before each question.
    """

    def __init__(self, tools: Sequence[BaseTool], shown: Sequence[BaseMessage] = ()) -> None:
        super().__init__()
        self._shown = shown
        self._names = {tool.name for tool in tools}

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Ask with the examples before the conversation; take calls out of the answer's text."""
        messages: list[Any] = [*self._shown, *request.messages]
        response = await handler(request.override(messages=messages))
        result = [read_calls(cast("AIMessage", m), self._names) for m in response.result]
        return ModelResponse(result=cast("list[Any]", result))


def read_calls(reply: AIMessage, names: set[str]) -> AIMessage:
    """Take every JSON object of the form `{"name": …, "arguments": {…}}` in a text for a tool call."""
    if reply.tool_calls:
        return reply
    calls = [
        ToolCall(name=told["name"], args=arguments, id=f"call_{uuid4().hex[:24]}", type="tool_call")
        for told in _objects(reply.text)
        if told.get("name") in names
        and isinstance(arguments := told.get("arguments", told.get("parameters", {})), dict)
    ]
    return reply.model_copy(update={"tool_calls": calls, "content": ""}) if calls else reply


def _objects(text: str) -> Iterator[dict[str, Any]]:
    at = -1
    while (at := text.find("{", at + 1)) >= 0:
        try:
            told, end = _JSON.raw_decode(text, at)
        except ValueError:
            continue
        at = end - 1
        if isinstance(told, dict):
            yield told


# --- the examples -------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Made:
    """One call of an example with a made-up result."""

    name: str
    arguments: Mapping[str, Any]
    result: Any


def show_calls(tools: Sequence[BaseTool]) -> list[BaseMessage]:
    """Work the generated examples by calls: the calls that their programs make, one after another.

    The results are made up from the types, so that nothing of the real data is shown.
    """
    catalog = ToolCatalog(list(tools))
    made: list[_Made] = []
    doubles = [_double(definition, made) for definition in catalog]
    executor = ProgrammaticToolExecutor(doubles)
    messages: list[BaseMessage] = []
    for example in build_examples(catalog):
        made.clear()
        output = executor.execute(example.code).raise_for_status().output
        messages.append(HumanMessage(example.question))
        for number, call in enumerate(made):
            call_id = f"call_{len(messages)}_{number}"
            told = ToolCall(name=call.name, args=dict(call.arguments), id=call_id, type="tool_call")
            messages.append(AIMessage("", tool_calls=[told]))
            messages.append(ToolMessage(json.dumps(call.result), tool_call_id=call_id))
        messages.append(AIMessage(output.strip()))
    return messages


def _double(definition: ToolDefinition, made: list[_Made]) -> StructuredTool:
    """Build a tool of the same face that returns made-up values and notes its calls."""

    async def act(**arguments: Any) -> Any:
        result = _make_up(definition.returns, definition, 1)
        made.append(_Made(name=definition.name, arguments=arguments, result=result))
        return result

    tool = cast("BaseTool", definition.tool)
    return StructuredTool(
        name=definition.name,
        description=tool.description,
        args_schema=tool.args_schema,
        coroutine=act,
    )


def _make_up(tree: TypeTree, definition: ToolDefinition, number: int) -> Any:
    if isinstance(tree, Container):
        if tree.name == "dict":
            return {}
        return [_make_up(tree.args[0], definition, number) for number in (1, 2)]
    if isinstance(tree, RecordRef):
        fields = definition.record(tree).fields
        return {field.name: _make_up(field.type, definition, number) for field in fields}
    if isinstance(tree, Choice):
        return tree.values[0]
    if isinstance(tree, Alternatives):
        return _make_up(tree.options[0], definition, number)
    assert isinstance(tree, Named)
    values = {"str": f"{'XYZ'[number]}{number}", "int": number, "float": 1.5 * number, "bool": True}
    return values.get(tree.name)
