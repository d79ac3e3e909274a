"""Agents as tools: a compiled graph, an `@entrypoint`, a remote graph, or any runnable with schemas.

Code calls an agent as it calls any tool: the fields of the graph's input are its parameters, the
output is its value. Messages are plain dicts in both directions. The graph runs under the caller's
config, as a subgraph of the graph that the code runs in: same traces, same checkpoints, and its
interrupts go up to where they can be answered.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Collection, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import typing_extensions
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import ToolException
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import override

from langchain_ptc.catalog.annotations import Direction, typed_dict_fields
from langchain_ptc.catalog.definition import DescribedTool, as_arguments_schema
from langchain_ptc.errors import CatalogError

WHOLE = "input"
"""The one parameter of an agent that does not take an object with named fields."""
_WRAP = "wrap it: agent_tool(agent, name=..., description=...)"
_MESSAGE_FIELDS = ("type", "content", "name", "id", "tool_calls", "tool_call_id", "status")
"""What a message in an agent's output shows; all but the first two only where they are set."""


class AgentTool(DescribedTool):
    """An agent that code calls as a tool."""

    agent: Any = Field(exclude=True, repr=False)
    """A `Runnable`."""
    takes_fields: bool
    """Whether the arguments are the fields of its input, or its input is the one argument."""

    @override
    async def _arun(self, /, **arguments: Any) -> Any:
        # The config of this call, with its callbacks, is where LangChain puts it for tools.
        return _value_of(await self.agent.ainvoke(self._input(arguments), ensure_config()))

    @override
    def _run(self, /, **arguments: Any) -> Any:
        return _value_of(self.agent.invoke(self._input(arguments), ensure_config()))

    def _input(self, arguments: Mapping[str, Any]) -> Any:
        given = dict(arguments) if self.takes_fields else arguments.get(WHOLE)
        wanted = _read_type(self.agent, "input")
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
        agent: The agent.
        name: Name of the tool; by default the agent's own.
        description: What it does, for the model that writes code. By default the docstring of the
            function that it is made of, or of its state.
        input_schema: JSON Schema of its input; its own by default. A remote graph is asked for its
            schemas over the network, unless both are passed.
        output_schema: JSON Schema of its output; its own by default.
        where: How error messages refer to it.

    Raises:
        CatalogError: It has no name or no description, or its schemas cannot be read.
    """
    is_remote = hasattr(agent, "assistant_id") and hasattr(agent, "sync_client")
    own = _own_name(agent) if name is None else name
    if not own:
        raise CatalogError(f"{where}, a {type(agent).__name__}, has no name of its own; {_WRAP}")
    text = description or (
        _ask_server(agent, where, "get").get("description")
        if is_remote
        else _own_description(agent)
    )
    if not text:
        raise CatalogError(
            f"{where}, the agent {own!r}, has no description, which is all that a model knows of it; "
            f"{_WRAP}"
        )
    remote: Mapping[str, Any] = {}
    if is_remote and not (input_schema and output_schema):
        remote = _ask_server(agent, where, "get_schemas")

    def read(direction: Direction) -> Mapping[str, Any]:
        said = remote.get(f"{direction}_schema") or {}
        return said if is_remote else _read_schema(agent, direction)

    try:
        takes = input_schema or read("input")
        gives = output_schema or read("output")
    except Exception as error:  # schemas are code of their author's
        raise CatalogError(
            f"the schemas of the agent {own!r} cannot be read: {type(error).__name__}: {error}; pass "
            "them: agent_tool(agent, input_schema=..., output_schema=...)"
        ) from error
    takes = _unfold(_show_messages(takes, "input"))
    properties = takes.get("properties")
    takes_fields = isinstance(properties, Mapping) and bool(properties)
    return AgentTool(
        name=own,
        description=inspect.cleandoc(text),
        args_schema=as_arguments_schema(takes if takes_fields else _as_whole(takes)),
        result_schema=_show_messages(gives, "output"),
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
    """Return the name that was given to the agent, not that of its class."""
    own = getattr(agent, "name", None)
    if own and own != "LangGraph":
        return str(own)
    function = _function_of(agent)
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else None


def _own_description(agent: Any) -> str | None:
    function = _function_of(agent)
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
        return _show({name: getattr(value, name, None) for name in _MESSAGE_FIELDS})
    if isinstance(value, dict):
        if value.keys() >= _MESSAGE_MARKS:  # of a remote graph
            return _show(value)
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _show(message: Mapping[str, Any]) -> dict[str, Any]:
    always = {"type": message["type"], "content": message["content"]}
    return always | {name: message[name] for name in _MESSAGE_FIELDS if message.get(name)}


# --- the schemas of a runnable ------------------------------------------------------------------

# Pydantic makes the schema. It refuses `typing.TypedDict` before Python 3.12, which is what most graphs
# are made with, and fields of classes that it does not know. So records of that kind are made anew, as
# pydantic takes them; a field that has no schema may be anything.


class _Lenient(GenerateJsonSchema):
    ignored_warning_kinds = {  # noqa: RUF012  # as pydantic declares it
        "skipped-choice",
        "non-serializable-default",
        "skipped-discriminator",
    }

    @typing_extensions.override
    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        return {}


def _read_schema(agent: Any, direction: Direction) -> dict[str, Any]:
    """Return the JSON Schema of the input or the output; of a compiled graph, of its state.

    Raises:
        Exception: Whatever pydantic, or the author's classes, raise.
    """
    builder = getattr(agent, "builder", None)
    state = getattr(builder, f"{direction}_schema", None)
    if state is not None:
        schema = _schema_of(state, direction)
        if direction == "output":
            schema["required"] = _always_there(schema, builder)
        return _without(schema, getattr(builder, "managed", None) or ())
    own = agent.get_input_schema if direction == "input" else agent.get_output_schema
    try:
        made: dict[str, Any] = own().model_json_schema(
            schema_generator=_Lenient, mode=_mode(direction)
        )
    except PydanticUserError:
        return _schema_of(_read_type(agent, direction), direction)
    return made


def _read_type(agent: Any, direction: Direction) -> Any:
    """Return the annotation of what a runnable takes or gives; `Any` where it does not say."""
    try:
        said = agent.InputType if direction == "input" else agent.OutputType
    except (AttributeError, TypeError, NameError):  # it does not say, or names what is missing
        return Any
    if not isinstance(said, str):
        return said
    # The annotation as it was written, where annotations are not evaluated.
    function = _function_of(agent)
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001  # it names what only its author can see
        return Any
    first = next(iter(inspect.signature(function).parameters), "")
    return hints.get(first if direction == "input" else "return", Any)


def _function_of(agent: Any) -> Any:
    """Return the function that an `@entrypoint` or a `RunnableLambda` is made of, or None."""
    nodes = getattr(agent, "nodes", None)
    if isinstance(nodes, Mapping) and len(nodes) == 1:
        agent = getattr(next(iter(nodes.values())), "bound", None)
    return getattr(agent, "func", None) or getattr(agent, "afunc", None)


def _always_there(schema: Mapping[str, Any], builder: Any) -> list[str]:
    """Return the fields of a graph's output that it has from its start; others may not be written."""
    taken = _schema_of(builder.input_schema, "input").get("required", [])
    channels = getattr(builder, "channels", {})
    return [
        key
        for key in schema.get("properties", {})
        if (channel := channels.get(key)) is not None
        and (channel.is_available() or (key in taken and type(channel).__name__ == "LastValue"))
    ]


def _without(schema: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return `schema` without what the graph itself knows, such as the steps that remain."""
    shown = {k: v for k, v in schema.get("properties", {}).items() if k not in keys}
    required = [key for key in schema.get("required", []) if key in shown]
    return {**schema, "properties": shown, "required": required} if keys else schema


def _mode(direction: Direction) -> Literal["validation", "serialization"]:
    return "validation" if direction == "input" else "serialization"


def _schema_of(annotation: Any, direction: Direction) -> dict[str, Any]:
    adapter = TypeAdapter(_remake(annotation, frozenset()))
    return _unfold(adapter.json_schema(schema_generator=_Lenient, mode=_mode(direction)))


def _unfold(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` with what it refers to in the place of a reference at its root."""
    keyword = "$defs" if "$defs" in schema else "definitions"
    name = str(schema.get("$ref", "")).removeprefix(f"#/{keyword}/")
    root = schema.get(keyword, {}).get(name)
    if not isinstance(root, Mapping):
        return schema
    return {**root, **{key: value for key, value in schema.items() if key != "$ref"}}


def _remake(annotation: Any, inside: frozenset[Any]) -> Any:
    """Return an annotation with its `TypedDict`s as pydantic takes them on every Python."""
    if is_typeddict(annotation) or typing_extensions.is_typeddict(annotation):
        if annotation in inside:
            return Any  # it holds itself
        return _remake_record(annotation, inside | {annotation})
    origin = get_origin(annotation)
    if origin is None or origin is Literal:
        return annotation
    args = get_args(annotation)
    if origin is Annotated:
        return Annotated[(_remake(args[0], inside), *args[1:])]
    made = tuple(_remake(arg, inside) for arg in args)
    if made == args:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[made]  # noqa: UP007  # made of a tuple
    return origin[made]


def _remake_record(record: Any, inside: frozenset[Any]) -> Any:
    fields = {}
    for field in typed_dict_fields(record, "output"):
        inner = _remake(field.annotation, inside)
        fields[field.name] = inner if field.required else NotRequired[inner]
    make: Any = typing_extensions.TypedDict  # a type checker only knows written ones
    made = make(record.__name__, fields)
    made.__pydantic_config__ = {"arbitrary_types_allowed": True}
    made.__doc__ = None  # the author's is for the author of the graph
    return made


# --- messages in a schema -----------------------------------------------------------------------

# LangChain's schema of one message is a union of twelve classes and 20,000 characters. To code a
# message is a small dict; what graphs accept and what they give is written down here.

_CONTENT = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
    "description": "Text, or a list of content blocks.",
}
_TOOL_CALL = {
    "type": "object",
    "title": "MessageToolCall",
    "properties": {
        "name": {"type": "string"},
        "args": {"type": "object"},
        "id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name", "args", "id"],
}
_NEW_MESSAGE: Mapping[str, Any] = {
    "title": "NewMessage",
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "system"]},
        "content": _CONTENT,
    },
    "required": ["role", "content"],
}
_MESSAGE: Mapping[str, Any] = {
    "title": "Message",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "`human`, `ai`, `tool`, `system` or another."},
        "content": _CONTENT,
        "name": {"type": "string"},
        "id": {"type": "string"},
        "tool_calls": {"type": "array", "items": _TOOL_CALL},
        "tool_call_id": {"type": "string"},
        "status": {"type": "string"},
    },
    "required": ["type", "content"],
}
_MESSAGE_MARKS = frozenset({"content", "additional_kwargs", "response_metadata", "type"})
"""Fields that every class of messages has, and hardly anything else."""


def _show_messages(schema: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    """Return `schema` with one small record in place of LangChain's classes of messages.

    A graph takes new messages, and those that a graph returned.
    """
    keyword = "$defs" if "$defs" in schema else "definitions"
    definitions = schema.get(keyword)
    if not isinstance(definitions, Mapping):
        return dict(schema)
    prefix = f"#/{keyword}/"
    classes = {f"{prefix}{name}" for name, part in definitions.items() if _is_message(part)}
    if not classes:
        return dict(schema)
    rest = {key: part for key, part in definitions.items() if f"{prefix}{key}" not in classes}
    message = _add(rest, _MESSAGE, prefix)
    if direction == "input":
        both = [{"$ref": _add(rest, _NEW_MESSAGE, prefix)}, {"$ref": message}]
        message = _add(rest, {"title": "AnyMessage", "anyOf": both}, prefix)
    made = _rewrite({k: v for k, v in schema.items() if k != keyword}, classes, message)
    rest = {key: _rewrite(part, classes, message) for key, part in rest.items()}
    used = _reached(made, rest, prefix)
    return {**made, keyword: {key: part for key, part in rest.items() if key in used}}


def _add(definitions: dict[str, Any], part: Mapping[str, Any], prefix: str) -> str:
    """Add a definition under a name that is free, and return the reference to it."""
    name = part["title"]
    while name in definitions:
        name += "_"
    definitions[name] = part
    return f"{prefix}{name}"


def _is_message(part: object) -> bool:
    properties = part.get("properties") if isinstance(part, Mapping) else None
    return isinstance(properties, Mapping) and set(properties) >= _MESSAGE_MARKS


def _rewrite(part: Any, classes: set[str], message: str) -> Any:
    """Return a part of a schema with the classes of messages replaced by a reference to `message`."""
    if isinstance(part, list):
        return [_rewrite(item, classes, message) for item in part]
    if not isinstance(part, Mapping):
        return part
    if part.get("$ref") in classes:
        return {**{k: v for k, v in part.items() if k == "description"}, "$ref": message}
    made = {key: _rewrite(value, classes, message) for key, value in part.items()}
    for keyword in ("oneOf", "anyOf"):
        branches = made.get(keyword)
        if isinstance(branches, list) and {"$ref": message} in branches:
            kept = [b for n, b in enumerate(branches) if b not in branches[:n]]
            made.pop("discriminator", None)
            made[keyword] = kept
            if len(kept) == 1:
                made = {**{k: v for k, v in made.items() if k != keyword}, **kept[0]}
    return made


def _reached(schema: object, definitions: Mapping[str, Any], prefix: str) -> set[str]:
    """Return the names of the definitions that `schema` reaches."""
    reached: set[str] = set()
    queue = [schema]
    for part in queue:
        text = json.dumps(part, ensure_ascii=False, default=str)
        for name in re.findall(rf'"{re.escape(prefix)}([^"]+)"', text):
            if name not in reached and name in definitions:
                reached.add(name)
                queue.append(definitions[name])
    return reached
