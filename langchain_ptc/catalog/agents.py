"""Agents as tools: a compiled graph, an `@entrypoint`, a remote graph, or any runnable with schemas; and chat models.

Code calls an agent as it calls any tool: the fields of the graph's input are its parameters, the
output is its value. Messages are plain dicts in both directions. The graph runs under the caller's
config, as a subgraph of the graph that the code runs in: same traces, same checkpoints, and its
interrupts go up to where they can be answered.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, get_type_hints

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field, RootModel, TypeAdapter
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict, override

from langchain_ptc.catalog.annotations import (
    AnnotationReader,
    DeclaredField,
    Direction,
    record_fields,
)
from langchain_ptc.catalog.definition import (
    DescribedTool,
    ToolParameter,
    as_parameter,
    read_parameters,
)
from langchain_ptc.catalog.schemas import MESSAGE_MARKS, SchemaReader
from langchain_ptc.catalog.text import unique
from langchain_ptc.catalog.types import (
    Alternatives,
    Choice,
    Named,
    RecordField,
    RecordRef,
    RecordTable,
    RecordType,
    TypeTree,
    reachable,
    union,
)
from langchain_ptc.errors import CatalogError

WHOLE = "input"  # the one parameter of an agent that does not take an object with named fields
_WRAP = "wrap it: agent_tool(agent, name=..., description=...)"


# --- messages -----------------------------------------------------------------------------------

# LangChain's type of one message is a union of twelve classes. To code a message is a small dict: a graph
# takes new ones, and those that a graph returned.


class MessageToolCall(TypedDict):
    """A tool call of an agent's message."""

    name: str
    args: dict[str, Any]
    id: str | None


_Content = Annotated[str | list[dict[str, Any]], "Text, or a list of content blocks."]


class NewMessage(TypedDict):
    """What code writes."""

    role: Literal["user", "assistant", "system"]
    content: _Content


class Message(TypedDict):
    """What an agent wrote."""

    type: Annotated[str, "`human`, `ai`, `tool`, `system` or another."]
    content: _Content
    name: NotRequired[str]
    id: NotRequired[str]
    tool_calls: NotRequired[list[MessageToolCall]]
    tool_call_id: NotRequired[str]
    status: NotRequired[str]


# --- the tool -----------------------------------------------------------------------------------


class AgentTool(DescribedTool):
    """An agent that code calls as a tool."""

    agent: Any = Field(exclude=True, repr=False)  # a `Runnable`
    parameters: tuple[ToolParameter, ...] = Field(exclude=True, repr=False)
    extra: Any = Field(default=None, exclude=True, repr=False)
    returns: Any = Field(exclude=True, repr=False)  # what `ToolDefinition` has under these names
    records: tuple[RecordType, ...] = Field(exclude=True, repr=False)
    validator: Any = Field(default=None, exclude=True, repr=False)
    """What makes an object of its class of the input; None where a dict will do."""
    takes_fields: bool  # whether the arguments are the fields of its input, or the whole of it

    @override
    def read_types(
        self, table: RecordTable
    ) -> tuple[list[ToolParameter], TypeTree | None, TypeTree]:
        for record in self.records:
            table.add(record)
        return [*self.parameters], self.extra, self.returns

    @override
    async def _arun(self, /, **arguments: Any) -> Any:
        return _value_of(await self.agent.ainvoke(self._input(arguments), self._config()))

    @override
    def _run(self, /, **arguments: Any) -> Any:
        return _value_of(self.agent.invoke(self._input(arguments), self._config()))

    def _config(self) -> RunnableConfig:
        # The config of this call, with its callbacks, is where LangChain puts it for tools.
        config = ensure_config()
        if _own_name(self.agent) is None:  # or traces show it as `LangGraph`
            config["run_name"] = self.name
        return config

    def _input(self, arguments: Mapping[str, Any]) -> Any:
        given = dict(arguments) if self.takes_fields else arguments.get(WHOLE)
        return given if self.validator is None else self.validator.validate_python(given)


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
    reader = _AgentReader(agent, RecordTable())
    unknown: Mapping[str, Any] = {}
    try:
        if is_remote:
            takes, gives = (remote.get(f"{way}_schema", unknown) for way in ("input", "output"))
        else:
            takes, gives = reader.type_of("input"), reader.type_of("output")
        takes, gives = input_schema or takes, output_schema or gives
        parameters, extra = reader.read_parameters(takes)
        takes_fields = bool(parameters)
        if not takes_fields:
            whole = reader.read(takes, "input", name=own)
            parameters = [ToolParameter(name=WHOLE, tool_name=WHOLE, type=whole)]
        returns = reader.read(gives, "output", name=f"{own} result")
    except Exception as error:  # schemas are code of their author's
        raise CatalogError(
            f"the schemas of the agent {own!r} cannot be read: {type(error).__name__}: {error}; pass "
            "them: agent_tool(agent, input_schema=..., output_schema=...)"
        ) from error
    kind: Any = None if is_remote else _declared_type(agent, "input")
    is_object = dataclasses.is_dataclass(kind) or (
        isinstance(kind, type) and issubclass(kind, BaseModel)
    )
    records = reader.table.records()
    return AgentTool(
        name=own,
        description=inspect.cleandoc(text),
        args_schema=_write_arguments_schema(
            parameters, reachable([p.type for p in parameters], records)
        ),
        agent=agent,
        parameters=tuple(parameters),
        extra=extra if takes_fields else None,
        returns=returns,
        records=records,
        takes_fields=takes_fields,
        validator=TypeAdapter[Any](kind) if is_object else None,
    )


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


# --- what it takes and gives ----------------------------------------------------------------------


class _AgentReader:
    """Reads what an agent takes and gives: JSON Schemas, or the types that its author wrote."""

    def __init__(self, agent: Any, table: RecordTable) -> None:
        self.table = table
        self._agent = agent
        self._builder = getattr(agent, "builder", None)
        self._readers = {
            "input": AnnotationReader(table, direction="input", message=NewMessage | Message),
            "output": AnnotationReader(table, direction="output", message=Message),
        }

    def type_of(self, direction: Direction) -> Any:
        """Return the annotation of the input or the output; of a compiled graph, its state."""
        said = getattr(self._builder, f"{direction}_schema", None)
        agent = self._agent
        if said is None:
            read = agent.get_input_schema if direction == "input" else agent.get_output_schema
            try:
                said = read()
            except PydanticUserError:  # before Python 3.12 it refuses `typing.TypedDict`
                return _declared_type(agent, direction)
        if isinstance(said, type) and issubclass(said, RootModel):
            return _declared_type(agent, direction)
        return said

    def read(self, said: Any, direction: Direction, *, name: str) -> TypeTree:
        """Return the type of the input or output as a whole."""
        reader = self._readers[direction]
        if isinstance(said, Mapping):
            message = reader.read_message()
            schemas = SchemaReader(said, self.table, scope=f"{direction}:", message=message)
            return schemas.read(said, name=name, path="#")
        fields = record_fields(said, direction) if isinstance(said, type) else None
        if fields is None or self._builder is None:
            return reader.read(said)
        return reader.read_record(said, self._fields_of_graph)

    def read_parameters(self, said: Any) -> tuple[list[ToolParameter], TypeTree | None]:
        """Return the fields of the input; none if it is not a record."""
        reader = self._readers["input"]
        if isinstance(said, Mapping):
            return read_parameters(said, self.table, message=reader.read_message())
        if not isinstance(said, type) or record_fields(said, "input") is None:
            return [], None
        fields = self._fields_of_graph(said, "input")
        trees = [reader.read(field.annotation, depth=1) for field in fields]
        pairs = zip(fields, trees, strict=True)
        return [as_parameter(f, tree, default=f.default) for f, tree in pairs], None

    def _fields_of_graph(self, kind: type, direction: Direction) -> list[DeclaredField]:
        """Return the fields of a state without what the graph itself knows, such as remaining steps.

        In an output those are required that the graph has from its start; others may not be written.
        """
        fields = record_fields(kind, direction)
        managed = getattr(self._builder, "managed", None) or ()
        found = [] if fields is None else fields(kind, direction)
        found = [field for field in found if field.name not in managed]
        if direction == "input" or self._builder is None:
            return found
        takes = self._fields_of_graph(self.type_of("input"), "input")
        given = {field.name for field in takes if field.required}
        return [dataclasses.replace(f, required=self._is_there(f.name, given)) for f in found]

    def _is_there(self, key: str, given: set[str]) -> bool:
        channel = getattr(self._builder, "channels", {}).get(key)
        is_plain = type(channel).__name__ == "LastValue"
        return channel is not None and (channel.is_available() or (is_plain and key in given))


def _declared_type(agent: Any, direction: Direction) -> Any:
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


# --- the schema of its arguments, for a model that calls it itself --------------------------------

_JSON_TYPES = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}


def _write_arguments_schema(
    parameters: Sequence[ToolParameter], records: Sequence[RecordType]
) -> dict[str, Any]:
    names: dict[str, str] = {}
    for record in records:
        names[record.key] = unique(record.name, names.values())
    definitions = {names[record.key]: _write_object(record.fields, names) for record in records}
    fields = [
        RecordField(name=p.tool_name, type=p.type, required=p.required, description=p.description)
        for p in parameters
    ]
    return {**_write_object(fields, names), "$defs": definitions}


def _write_object(fields: Sequence[RecordField], names: Mapping[str, str]) -> dict[str, Any]:
    properties = {}
    for field in fields:
        about = {"description": field.description} if field.description else {}
        properties[field.name] = {**_write_schema(field.type, names), **about}
    required = [field.name for field in fields if field.required]
    return {"type": "object", "properties": properties, "required": required}


def _write_schema(tree: TypeTree, names: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(tree, Named):
        return _JSON_TYPES.get(tree.name, {})
    if isinstance(tree, Choice):
        return {"enum": [*tree.values]}
    if isinstance(tree, Alternatives):
        return {"anyOf": [_write_schema(option, names) for option in tree.options]}
    if isinstance(tree, RecordRef):
        return {"$ref": f"#/$defs/{names[tree.key]}"}
    if tree.name == "dict":
        return {"type": "object", "additionalProperties": _write_schema(tree.args[1], names)}
    return {"type": "array", "items": _write_schema(union(tree.args), names)}


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
    if isinstance(value, BaseMessage):
        return _show({name: getattr(value, name, None) for name in Message.__annotations__})
    if isinstance(value, dict):
        if value.keys() >= MESSAGE_MARKS:  # of a remote graph
            return _show(value)
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _show(message: Mapping[str, Any]) -> dict[str, Any]:
    always = {"type": message["type"], "content": message["content"]}
    return always | {name: message[name] for name in Message.__annotations__ if message.get(name)}


MAX_PROMPTS = 100  # prompts of one call of the batched tool


def model_tools(
    model: BaseChatModel,
    *,
    name: str = "ask_model",
    system: str = "",
    max_prompts: int = MAX_PROMPTS,
    max_concurrency: int = 8,
) -> list[BaseTool]:
    """Return two tools that ask a chat model: `ask_model(prompt)`, and `ask_model_batch(prompts)` for many.

    The model sees the prompt and nothing of the conversation. What it costs is bounded like the calls of any
    tool, by `ToolPolicy(max_calls=...)` or a `Budget`, and its tokens are in the traces of the run.

    Args:
        model: A chat model.
        name: Name of the tool; that of the batched one ends with `_batch`.
        system: Instructions that come before each prompt.
        max_prompts: Prompts that one call of the batched tool may have.
        max_concurrency: How many of them the model is asked at a time.

    Raises:
        ValueError: `max_prompts` or `max_concurrency` is not positive.
    """
    for option, value in (("max_prompts", max_prompts), ("max_concurrency", max_concurrency)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value!r}")

    def ask_of(prompt: str) -> LanguageModelInput:
        return [*([SystemMessage(system)] if system else []), HumanMessage(prompt)]

    def checked(prompts: list[str]) -> list[LanguageModelInput]:
        if len(prompts) > max_prompts:
            raise ToolException(
                f"{len(prompts)} prompts in one call, and {max_prompts} are allowed: use several calls"
            )
        return [ask_of(prompt) for prompt in prompts]

    def here() -> RunnableConfig:
        return {**ensure_config(), "max_concurrency": max_concurrency}

    def ask(prompt: str) -> str:
        return model.invoke(ask_of(prompt), ensure_config()).text

    async def aask(prompt: str) -> str:
        return (await model.ainvoke(ask_of(prompt), ensure_config())).text

    def ask_batch(prompts: list[str]) -> list[str]:
        return [reply.text for reply in model.batch(checked(prompts), here())]

    async def aask_batch(prompts: list[str]) -> list[str]:
        return [reply.text for reply in await model.abatch(checked(prompts), here())]

    return [
        StructuredTool.from_function(
            ask,
            aask,
            name=name,
            description="Ask a language model. It knows only what the prompt says: put the text into it.",
        ),
        StructuredTool.from_function(
            ask_batch,
            aask_batch,
            name=f"{name}_batch",
            description="Ask a language model several prompts at once; the replies are in their order. At most "
            f"{max_prompts} prompts.",
        ),
    ]
