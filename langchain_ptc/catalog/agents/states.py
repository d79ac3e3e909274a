"""The state of a graph, or what else a runnable takes and gives, as a JSON Schema.

Pydantic makes the schema. It refuses `typing.TypedDict` before Python 3.12, which is what most graphs
are made with, and fields of classes that it does not know. So records of that kind are made anew, as
pydantic takes them; a field that has no schema may be anything.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Collection, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
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
from typing_extensions import ReadOnly

Direction: TypeAlias = Literal["input", "output"]
_QUALIFIERS = (Required, NotRequired, ReadOnly)


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
    hints = get_type_hints(record, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        # Python itself overlooks qualifiers in annotations that are not evaluated.
        needed = name in record.__required_keys__
        while (qualifier := get_origin(hint)) in _QUALIFIERS:
            needed = (needed or qualifier is Required) and qualifier is not NotRequired
            hint = get_args(hint)[0]  # noqa: PLW2901  # what is inside of it
        inner = _remake(hint, inside)
        fields[name] = inner if needed else NotRequired[inner]
    make: Any = typing_extensions.TypedDict  # a type checker only knows written ones
    made = make(record.__name__, fields)
    made.__pydantic_config__ = {"arbitrary_types_allowed": True}
    made.__doc__ = None  # the author's is for the author of the graph
    return made
