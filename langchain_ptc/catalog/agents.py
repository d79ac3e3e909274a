"""Agents as tools: a compiled graph, an `@entrypoint`, a remote graph, or any runnable with schemas.

Code calls an agent as it calls any tool: the fields of the graph's input are its parameters, the
output is its value. Messages are plain dicts in both directions. The graph runs under the caller's
config, as a subgraph of the graph that the code runs in: same traces, same checkpoints, and its
interrupts go up to where they can be answered.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import ToolException
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import override

from langchain_ptc.catalog.agent_schemas import (
    MESSAGE_MARKS,
    function_of,
    read_schema_of,
    said_type,
    show_messages,
    unfold,
)
from langchain_ptc.catalog.annotations import Direction
from langchain_ptc.catalog.described import DescribedTool, as_arguments_schema
from langchain_ptc.errors import CatalogError

WHOLE = "input"
"""The one parameter of an agent that does not take an object with named fields."""
GIVE = "wrap it: agent_tool(agent, name=..., description=...)"
MESSAGE_FIELDS = ("type", "content", "name", "id", "tool_calls", "tool_call_id", "status")
"""What a message in an agent's output shows; all but the first two only where they are set."""


class AgentTool(DescribedTool):
    """An agent that code calls as a tool."""

    agent: Any = Field(exclude=True, repr=False)
    """A `Runnable`."""
    takes_fields: bool
    """Whether the arguments are the fields of its input, or its input is the one argument."""

    @override
    async def call(self, arguments: Mapping[str, Any]) -> Any:
        # The config of this call, with its callbacks, is where LangChain puts it for tools.
        return _value_of(await self.agent.ainvoke(self._input(arguments), ensure_config()))

    @override
    def call_sync(self, arguments: Mapping[str, Any]) -> Any:
        return _value_of(self.agent.invoke(self._input(arguments), ensure_config()))

    def _input(self, arguments: Mapping[str, Any]) -> Any:
        given = dict(arguments) if self.takes_fields else arguments.get(WHOLE)
        wanted = said_type(self.agent, "input")
        if isinstance(wanted, type) and (
            issubclass(wanted, BaseModel) or dataclasses.is_dataclass(wanted)
        ):
            return TypeAdapter(wanted).validate_python(given)
        return given


def agent_tool(
    agent: Runnable[Any, Any],
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
    output_schema: Mapping[str, Any] | None = None,
    where: str = "the agent",
) -> AgentTool:
    """Return a tool that calls an agent: a compiled graph, a remote graph, or any runnable.

    Args:
        agent: What to call.
        name: What to call it; its own name by default.
        description: What it does, for the model that writes code. By default the docstring of the
            function that it is made of, or of its state.
        input_schema: JSON Schema of what it takes; its own by default. For a remote graph, which is
            asked for its schemas over the network, this and the next one save the question.
        output_schema: JSON Schema of what it gives; its own by default.
        where: What to call it in messages.

    Raises:
        CatalogError: It has no name or no description, or its schemas cannot be read.
    """
    is_remote = hasattr(agent, "assistant_id") and hasattr(agent, "sync_client")
    own = _own_name(agent) if name is None else name
    if not own:
        raise CatalogError(f"{where}, a {type(agent).__name__}, has no name of its own; {GIVE}")
    text = description or (
        _ask_server(agent, where, "get").get("description")
        if is_remote
        else _own_description(agent)
    )
    if not text:
        raise CatalogError(
            f"{where}, the agent {own!r}, has no description, which is all that a model knows of it; "
            f"{GIVE}"
        )
    remote: Mapping[str, Any] = {}
    if is_remote and not (input_schema and output_schema):
        remote = _ask_server(agent, where, "get_schemas")

    def read(direction: Direction) -> Mapping[str, Any]:
        said = remote.get(f"{direction}_schema") or {}
        return said if is_remote else read_schema_of(agent, direction)

    try:
        takes = input_schema or read("input")
        gives = output_schema or read("output")
    except Exception as error:  # schemas are code of their author's
        raise CatalogError(
            f"the schemas of the agent {own!r} cannot be read: {type(error).__name__}: {error}; pass "
            "them: agent_tool(agent, input_schema=..., output_schema=...)"
        ) from error
    takes = unfold(show_messages(takes, "input"))
    properties = takes.get("properties")
    takes_fields = isinstance(properties, Mapping) and bool(properties)
    return AgentTool(
        name=own,
        description=inspect.cleandoc(text),
        args_schema=as_arguments_schema(takes if takes_fields else _as_whole(takes)),
        result_schema=show_messages(gives, "output"),
        agent=agent,
        takes_fields=takes_fields,
    )


def _as_whole(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of arguments where the one argument is the agent's whole input."""
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in definitions}
    rest.pop("title", None)
    return {**definitions, "properties": {WHOLE: rest}, "required": [WHOLE]}


# --- what an agent says of itself ---------------------------------------------------------------


def _own_name(agent: Any) -> str | None:
    """Return the name that somebody gave the agent, not that of its class."""
    own = getattr(agent, "name", None)
    if own and own != "LangGraph":
        return str(own)
    function = function_of(agent)
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else None


def _own_description(agent: Any) -> str | None:
    function = function_of(agent)
    said = getattr(agent, "description", None)
    if not said and function is not None:  # None has a docstring too, from Python 3.13
        said = getattr(function, "__doc__", None)
    if isinstance(said, str) and said.strip():
        return said
    state = getattr(getattr(agent, "builder", None), "state_schema", None)
    if not isinstance(state, type):
        return None
    own = state.__dict__.get("__doc__")
    made = f"{state.__name__}("  # what `dataclass` writes for who wrote nothing
    return own if isinstance(own, str) and not own.startswith(made) else None


def _ask_server(agent: Any, where: str, question: str) -> Mapping[str, Any]:
    """Return what the server of a remote graph says of it: `get`, or `get_schemas`."""
    name, client = agent.assistant_id, agent.sync_client
    if client is None:
        raise CatalogError(
            f"{where}, the remote graph {name!r}, has no synchronous client to ask for its schemas; "
            "make it with `url=` or `sync_client=`, or pass description=, input_schema= and "
            "output_schema= to agent_tool"
        )
    try:
        answer: Mapping[str, Any] = getattr(client.assistants, question)(name)
    except Exception as error:  # of the network
        raise CatalogError(
            f"{where}, the remote graph {name!r}, cannot be asked for its {question}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return answer


# --- values -------------------------------------------------------------------------------------


def _value_of(answer: Any) -> Any:
    if isinstance(answer, Mapping) and "__interrupt__" in answer:
        asked = [getattr(item, "value", item) for item in answer["__interrupt__"]]
        raise ToolException(
            f"the agent stopped to ask {asked!r}, and nobody can answer here; run the code in a graph "
            "with a checkpointer"
        )
    return _plain(answer)


def _plain(value: Any) -> Any:
    """Return a value with its messages as dicts."""
    if isinstance(value, BaseMessage):
        return _show({name: getattr(value, name, None) for name in MESSAGE_FIELDS})
    if isinstance(value, dict):
        if value.keys() >= MESSAGE_MARKS:  # of a remote graph
            return _show(value)
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _show(message: Mapping[str, Any]) -> dict[str, Any]:
    always = {"type": message["type"], "content": message["content"]}
    return always | {name: message[name] for name in MESSAGE_FIELDS if message.get(name)}
