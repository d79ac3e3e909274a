"""A LangChain tool -> its definition: what its schema and its annotations say, and nothing run."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.tools import BaseTool, Tool
from pydantic import BaseModel

from langchain_ptc.catalog.annotations import (
    AnnotationReader,
    input_name,
    model_constraints,
    model_default,
    return_annotation,
)
from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter, ToolPolicy
from langchain_ptc.catalog.names import to_identifier, to_public_identifier, unique
from langchain_ptc.catalog.schemas import SchemaReader
from langchain_ptc.catalog.types import ANY, Container, RecordTable, TypeTree
from langchain_ptc.errors import CatalogError


def read_tool(tool: BaseTool, *, domain: str | None, policy: ToolPolicy) -> ToolDefinition:
    """Return the definition of `tool`.

    Raises:
        CatalogError: Its schema cannot be read; the message names the tool.
    """
    table = RecordTable()
    try:
        parameters, extra = _read_parameters(tool, table)
        returns = _read_return(tool, table)
        description = tool.description
    except Exception as error:  # schemas are code of their author's
        raise CatalogError(
            f"the schema of tool {tool.name!r} cannot be read: {type(error).__name__}: {error}"
        ) from error
    return ToolDefinition(
        name=to_public_identifier(tool.name, fallback="tool"),
        tool_name=tool.name,
        domain=domain,
        description=description or "",
        parameters=_in_order(parameters),
        extra=extra,
        returns=returns,
        records=table.records(),
        policy=policy,
        tool=tool,
    )


def _read_parameters(
    tool: BaseTool, table: RecordTable
) -> tuple[list[ToolParameter], TypeTree | None]:
    own = tool.args_schema
    if own is None and isinstance(tool, Tool):
        # Its signature is ambiguous; LangChain passes it one string under this name.
        schema: Mapping[str, Any] = {"properties": tool.args, "required": list(tool.args)}
        return _read_schema(schema, table)
    if isinstance(own, dict):
        return _read_schema(own, table)
    model = tool.tool_call_schema  # without what LangChain injects
    if isinstance(model, type) and issubclass(model, BaseModel):
        return _read_model(tool, model, table), None
    return _read_schema(model.schema(), table)  # type: ignore[union-attr]  # a model of pydantic 1


def _read_schema(
    schema: Mapping[str, Any], table: RecordTable
) -> tuple[list[ToolParameter], TypeTree | None]:
    reader = SchemaReader(schema, table, scope="input:")
    flat = reader.flatten(schema)
    fields = reader.read_fields(flat, path="#", depth=0)
    defaults = flat.get("properties", {})
    found = [
        ToolParameter(
            name=field.name,
            tool_name=field.name,
            type=field.type,
            required=field.required,
            default=_mapping(defaults[field.name]).get("default", ...),
            description=field.description,
            constraints=field.constraints,
        )
        for field in fields
    ]
    extra = flat.get("additionalProperties")
    if fields or extra is None or extra is False:
        return found, None
    return found, reader.read(extra, name="value", path="#/additionalProperties", depth=1)


def _mapping(schema: object) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _read_model(tool: BaseTool, model: type[BaseModel], table: RecordTable) -> list[ToolParameter]:
    reader = AnnotationReader(table, direction="input")
    # The model for calls has lost the aliases, which are what the tool accepts.
    own = tool.args_schema
    full = own.model_fields if isinstance(own, type) and issubclass(own, BaseModel) else {}
    skipped = {name for name, kind in _variadic(_function(tool)) if name in model.model_fields}
    found = []
    for name, field in model.model_fields.items():
        if name in skipped:
            continue
        source = full.get(name, field)
        default = model_default(source)
        found.append(
            ToolParameter(
                name=name,
                tool_name=input_name(name, source),
                type=reader.read(source.annotation, depth=1),
                required=source.is_required(),
                default=default.value if isinstance(default, enum.Enum) else default,
                description=source.description or field.description or "",
                constraints=model_constraints(source),
            )
        )
    return found


def _variadic(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yield the parameters of `*args` and `**kwargs`, which LangChain shows but does not pass on."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield parameter.name, parameter.kind


def _function(tool: BaseTool) -> Callable[..., Any]:
    """Return what a call of `tool` ends in."""
    return getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run


def _read_return(tool: BaseTool, table: RecordTable) -> TypeTree:
    tree = AnnotationReader(table, direction="output").read(return_annotation(_function(tool)))
    if tool.response_format == "content_and_artifact":
        # The code gets the content; the artifact stays outside.
        pair = isinstance(tree, Container) and tree.name == "tuple" and not tree.variadic
        return tree.args[0] if pair and isinstance(tree, Container) else ANY
    return tree


def _in_order(parameters: Sequence[ToolParameter]) -> tuple[ToolParameter, ...]:
    """Return `parameters` under identifiers of their own, required ones first."""
    taken: dict[str, ToolParameter] = {}
    # Names that are identifiers already keep them, whatever another name is turned into.
    clean = {id(p): to_identifier(p.name, fallback="arg") for p in parameters}
    for parameter in sorted(parameters, key=lambda p: clean[id(p)] != p.name):
        taken[unique(clean[id(parameter)], taken)] = parameter
    names = {id(p): name for name, p in taken.items()}
    named = [replace(p, name=names[id(p)]) for p in parameters]
    return tuple(sorted(named, key=lambda p: not p.required))
