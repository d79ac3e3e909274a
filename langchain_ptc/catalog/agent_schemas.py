"""The state of a graph, or what else a runnable takes and gives, as a JSON Schema for code.

Pydantic makes the schema. It refuses `typing.TypedDict` before Python 3.12, which is what most graphs
are made with, and fields of classes that it does not know. So records of that kind are made anew, as
pydantic takes them; a field that has no schema may be anything.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Iterator, Mapping
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
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from langchain_ptc.catalog.annotations import Direction, typed_dict_fields


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


def read_schema_of(agent: Any, direction: Direction) -> dict[str, Any]:
    """Return the JSON Schema of what a runnable takes or gives.

    Args:
        agent: A `Runnable`; of a compiled graph, the state that it was built with is read.
        direction: Which of the two.

    Raises:
        Exception: Whatever pydantic, or the author's classes, make of it.
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
            schema_generator=_Lenient, mode=_MODES[direction]
        )
    except PydanticUserError:
        return _schema_of(said_type(agent, direction), direction)
    return made


def said_type(agent: Any, direction: Direction) -> Any:
    """Return the annotation of what a runnable takes or gives; `Any` where it does not say."""
    try:
        said = agent.InputType if direction == "input" else agent.OutputType
    except (AttributeError, TypeError, NameError):  # it does not say, or names what is missing
        return Any
    if not isinstance(said, str):
        return said
    # The annotation as it was written, where annotations are not evaluated.
    function = function_of(agent)
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001  # it names what only its author can see
        return Any
    first = next(iter(inspect.signature(function).parameters), "")
    return hints.get(first if direction == "input" else "return", Any)


def function_of(agent: Any) -> Any:
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


_MODES: dict[Direction, Literal["validation", "serialization"]] = {
    "input": "validation",
    "output": "serialization",
}


def _schema_of(annotation: Any, direction: Direction) -> dict[str, Any]:
    made = _remake(annotation, frozenset())
    schema: dict[str, Any] = TypeAdapter(made).json_schema(
        schema_generator=_Lenient, mode=_MODES[direction]
    )
    return unfold(schema)


def unfold(schema: dict[str, Any]) -> dict[str, Any]:
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
NEW_MESSAGE: Mapping[str, Any] = {
    "title": "NewMessage",
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "system"]},
        "content": _CONTENT,
    },
    "required": ["role", "content"],
}
MESSAGE: Mapping[str, Any] = {
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
MESSAGE_MARKS = frozenset({"content", "additional_kwargs", "response_metadata", "type"})
"""Fields that every class of messages has, and hardly anything else."""


def show_messages(
    schema: Mapping[str, Any], direction: Literal["input", "output"]
) -> dict[str, Any]:
    """Return `schema` with one small record in place of LangChain's classes of messages.

    A graph takes new messages, and those that a graph gave.

    Args:
        schema: A JSON Schema with its definitions under `$defs` or `definitions`.
        direction: Whether it is of what a graph takes or of what it gives.
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
    message = _add(rest, MESSAGE, prefix)
    if direction == "input":
        both = [{"$ref": _add(rest, NEW_MESSAGE, prefix)}, {"$ref": message}]
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
    return isinstance(properties, Mapping) and set(properties) >= MESSAGE_MARKS


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
    queue = list(_references(schema))
    for reference in queue:
        name = reference.removeprefix(prefix)
        if name not in reached and name in definitions:
            reached.add(name)
            queue.extend(_references(definitions[name]))
    return reached


def _references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)
