"""MCP tools that another package made: `MultiServerMCPClient.get_tools()`, `langchain.mcp`.

To LangChain such a tool is a function that returns content blocks and an artifact. What its server
declared is recognised by what the tool carries, whatever its class: the server's own record of the
tool among the variables of its function, `mcp` metadata, or an artifact with `structured_content`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from langchain_core.tools import BaseTool

from langchain_ptc.catalog.definition import ToolPolicy
from langchain_ptc.catalog.mcp.results import (
    RESULT_NOTE,
    describe,
    policy_of,
    read_field,
    unwrap_schema,
)
from langchain_ptc.catalog.reading.annotations import return_annotation
from langchain_ptc.catalog.reading.fields import own_annotations

HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
UNDECLARED_NOTE = f"structured data as the server gives it, or {RESULT_NOTE}"
"""What a tool gives of which no output schema can be had."""


@dataclass(frozen=True, slots=True)
class AdaptedTool:
    """What an MCP tool that another package made carries of its server's declaration."""

    output_schema: dict[str, Any] | None
    """The server's `outputSchema`; None if there is none, or it cannot be had."""
    is_wrapped: bool
    """A function of somebody else's is around the adapter's (`functools.wraps`), and may change values."""
    description: str
    note: str
    """What to say of the value where there is no schema."""

    @property
    def result_schema(self) -> dict[str, Any] | None:
        """The schema of the value that code gets; None where it would only be a guess."""
        return None if self.is_wrapped else unwrap_schema(self.output_schema)


def read_adapted(tool: BaseTool) -> AdaptedTool | None:
    """Return what `tool` carries of its server's declaration; None if it is not such a tool."""
    if tool.response_format != "content_and_artifact":
        return None
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None) or tool._run
    declared = _find_declaration(inspect.unwrap(function))
    is_wrapped = declared is not None and _find_declaration(function) is None
    metadata = read_field(read_field(tool.metadata, "mcp"), "tool")
    is_known = declared is not None or metadata is not None or _has_hints(tool.metadata)
    if not is_known and not _gives_structure(function):
        return None
    schema = read_field(declared, "outputSchema", read_field(metadata, "outputSchema"))
    return AdaptedTool(
        output_schema=dict(schema) if isinstance(schema, Mapping) else None,
        is_wrapped=is_wrapped,
        description=tool.description or describe(declared),
        note=UNDECLARED_NOTE if declared is None or is_wrapped else RESULT_NOTE,
    )


def read_hints(tool: BaseTool) -> ToolPolicy:
    """Return the policy that the MCP annotations of a tool stand for, those in its metadata first."""
    metadata = tool.metadata
    own = read_field(read_field(read_field(metadata, "mcp"), "tool"), "annotations")
    for hints in (own, metadata):
        if _has_hints(hints):
            return policy_of({"annotations": hints}, "never")
    if tool.response_format != "content_and_artifact":
        return ToolPolicy()
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    return (
        policy_of(_find_declaration(inspect.unwrap(function)), "never")
        if function
        else ToolPolicy()
    )


def _has_hints(record: object) -> bool:
    return any(isinstance(read_field(record, name), bool) for name in HINTS)


def _find_declaration(function: object) -> object | None:
    """Return the server's record of the tool that `function` calls, from its enclosing scope."""
    while isinstance(function, functools.partial):
        function = function.func
    cells = getattr(function, "__closure__", None) or ()
    for cell in cells:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if _is_declaration(value):
            return value  # type: ignore[no-any-return]
    return None


def _is_declaration(value: object) -> bool:
    return (
        not isinstance(value, BaseTool | Mapping | type)
        and isinstance(read_field(value, "name"), str)
        and isinstance(read_field(value, "inputSchema"), Mapping)
        and any(hasattr(value, name) for name in ("output_schema", "outputSchema"))
    )


def _gives_structure(function: Callable[..., Any]) -> bool:
    """Whether its annotation says that it returns an artifact with `structured_content`."""
    pair = return_annotation(function)
    if get_origin(pair) is not tuple or len(get_args(pair)) != 2:
        return False
    artifact = get_args(pair)[1]
    is_union = get_origin(artifact) in (typing.Union, types.UnionType)
    members = get_args(artifact) if is_union else (artifact,)
    return any("structured_content" in own_annotations(m) for m in members)
