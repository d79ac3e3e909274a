"""What a developer passes to a catalog -> definitions; nothing of a tool is run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit, Tool, tool
from pydantic import BaseModel

from langchain_ptc.catalog.agents import agent_tool
from langchain_ptc.catalog.annotations import (
    AnnotationReader,
    called_function,
    implementations,
    injected_parameters,
    is_wrapper,
    model_field,
    return_annotation,
    signature_of,
)
from langchain_ptc.catalog.definition import (
    DescribedTool,
    ReturnsFrom,
    ToolDefinition,
    ToolParameter,
    ToolPolicy,
    as_parameter,
    read_parameters,
)
from langchain_ptc.catalog.mcp_results import AdaptedTool, read_adapted, read_hints
from langchain_ptc.catalog.schemas import read_result_schema
from langchain_ptc.catalog.text import MAX_TOOL_CHARS, to_identifier, to_public_identifier, unique
from langchain_ptc.catalog.types import (
    ANY,
    Container,
    RecordTable,
    TypeTree,
    is_vague,
    merge_records,
    reachable,
)
from langchain_ptc.errors import CatalogError, with_article

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def read_tool(tool: BaseTool, *, domain: str | None, policy: ToolPolicy) -> ToolDefinition:
    """Return the definition of `tool`, or raise a `CatalogError` that names it."""
    table = RecordTable()
    try:
        adapted = read_adapted(tool)
        returns_from: ReturnsFrom = "tool"
        if isinstance(tool, DescribedTool):
            found, extra, returns = tool.read_types(table)
        else:
            found, extra = _read_parameters(tool, table)
            returns, returns_from = _read_return(tool, adapted, table)
        injected = injected_parameters(tool).names
        parameters = _in_order([p for p in found if p.tool_name not in injected])
        description = tool.description if adapted is None else adapted.description
        returns_text = "" if adapted is not None else _read_returns_text(tool, returns)
    except CatalogError as error:
        raise CatalogError(f"the schema of tool {_name(tool)!r} cannot be read: {error}") from error
    except Exception as error:  # schemas are code of their author's
        raise CatalogError(
            f"the schema of tool {_name(tool)!r} cannot be read: {type(error).__name__}: "
            f"{str(error)[:500]}"
        ) from error
    return ToolDefinition(
        name=to_public_identifier(tool.name, fallback="tool"),
        tool_name=tool.name,
        domain=domain,
        description=description or "",
        parameters=parameters,
        extra=extra,
        returns=returns,
        returns_text=returns_text,
        returns_from=returns_from,
        records=reachable([returns, *(p.type for p in parameters), extra or ANY], table.records()),
        policy=policy,
        tool=tool,
    )


def own_policy(tool: BaseTool) -> ToolPolicy:
    """Return what a tool says of itself: an agent's policy, the annotations of an MCP tool."""
    return tool.policy if isinstance(tool, DescribedTool) else read_hints(tool)


def complete(given: ToolDefinition, *, domain: str | None) -> ToolDefinition:
    """Return the definition that a developer made, with what it leaves out read from its tool."""
    if not isinstance(given.tool, BaseTool):
        raise CatalogError(
            f"ToolDefinition.tool must be a LangChain tool, got {type(given.tool).__name__}"
        )
    if domain is not None and given.domain not in (None, domain):
        raise CatalogError(
            f"the tool {_name(given.tool)!r} is listed in the domain {domain!r}, but its definition "
            f"has domain={given.domain!r}; use one of them"
        )
    for what, name in (("domain", given.domain), ("name", given.name)):
        if name and (clean := to_public_identifier(name, fallback=what)) != name:
            raise CatalogError(
                f"the {what} of the tool {_name(given.tool)!r} cannot be {name!r} in code; call it {clean!r}"
            )
    policy = own_policy(given.tool) if given.policy == ToolPolicy() else given.policy
    read = read_tool(given.tool, domain=domain or given.domain, policy=policy)
    if given.parameters:
        read = replace(read, parameters=_in_order(given.parameters))
    said = replace(
        read,
        name=given.name or read.name,
        description=given.description or read.description,
        extra=given.extra or read.extra,
        returns_text=given.returns_text or read.returns_text,
        records=merge_records(read.records, given.records),
    )
    if given.returns == ANY:
        return said
    # What the tool itself says of its return, in types or in words, no longer holds.
    own = reachable(read.types[1:], read.records)
    return replace(
        said,
        returns=given.returns,
        returns_text=given.returns_text,
        returns_from=given.returns_from,
        records=merge_records(own, given.records),
    )


def _name(tool: BaseTool) -> str:
    return str(tool.name)[:100]


def _read_parameters(
    tool: BaseTool, table: RecordTable
) -> tuple[list[ToolParameter], TypeTree | None]:
    own = tool.args_schema
    if own is None and isinstance(tool, Tool):
        # Its signature is ambiguous; LangChain passes it one string under this name.
        return read_parameters({"properties": tool.args, "required": list(tool.args)}, table)
    if isinstance(own, dict):
        return read_parameters(own, table)
    model = tool.tool_call_schema  # without what LangChain injects
    if isinstance(model, type) and issubclass(model, BaseModel):
        return _read_model(tool, model, table)
    return read_parameters(model.schema(), table)  # type: ignore[union-attr]  # a model of pydantic 1


def _read_model(
    tool: BaseTool, model: type[BaseModel], table: RecordTable
) -> tuple[list[ToolParameter], TypeTree | None]:
    reader = AnnotationReader(table, direction="input")
    # The model for calls has lost the aliases, which are what the tool accepts, and what else it takes.
    own = tool.args_schema
    full = own if isinstance(own, type) and issubclass(own, BaseModel) else model
    parameters = signature_of(called_function(tool)).parameters
    found = []
    for name, shown in model.model_fields.items():
        if name in parameters and parameters[name].kind in _VARIADIC:
            continue  # LangChain shows `*args` and `**kwargs`, but does not pass them on
        field = model_field(name, full.model_fields.get(name, shown))
        if not field.description:
            field = replace(field, description=shown.description or "")
        tree = reader.read(field.annotation, depth=1)
        found.append(as_parameter(field, tree, default=field.default, name=name))
    return found, ANY if full.model_config.get("extra") == "allow" else None


def _read_return(
    tool: BaseTool, adapted: AdaptedTool | None, table: RecordTable
) -> tuple[TypeTree, ReturnsFrom]:
    if adapted is not None:  # never from the annotation of the package's own function
        schema, note = adapted.result_schema, adapted.note
        return read_result_schema(schema, tool.name, table, note=note), "tool"
    annotation, is_certain = _read_own_annotation(tool)
    tree = AnnotationReader(table, direction="output").read(annotation)
    if tool.response_format == "content_and_artifact":
        # The code gets the content; the artifact stays outside.
        pair = isinstance(tree, Container) and tree.name == "tuple" and not tree.variadic
        tree = tree.args[0] if pair and isinstance(tree, Container) and tree.args else ANY
    return tree, "tool" if is_certain else "guess"


def _read_own_annotation(tool: BaseTool) -> tuple[object, bool]:
    """Return what a tool's functions say that they return, and whether all say the same, unwrapped."""
    functions = implementations(tool)
    annotations = [return_annotation(function) for function in functions]
    found = next((annotation for annotation in annotations if annotation is not Any), Any)
    agree = all(annotation == found for annotation in annotations)
    return found, agree and not any(map(is_wrapper, functions))


def _read_returns_text(tool: BaseTool, returns: TypeTree) -> str:
    """Return what the docstring says of the return, where neither type nor description says it."""
    if not is_vague(returns):
        return ""
    said = returns_section(getattr(called_function(tool), "__doc__", None))
    described = " ".join((tool.description or "")[: 4 * MAX_TOOL_CHARS].split())
    return "" if said in described else said


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


# --- what a developer passes --------------------------------------------------------------------


def read_tools(tools: object) -> Iterator[ToolDefinition]:
    """Yield the definitions of what was passed to a catalog: a list, or lists by domain."""
    if isinstance(tools, Mapping):
        names: dict[str, object] = {}
        for given, members in tools.items():
            domain = None if given is None else _clean_domain(given, names)
            yield from _read_domain(domain, given, members)
    else:
        yield from _read_domain(None, None, tools)


def _clean_domain(given: object, names: dict[str, object]) -> str:
    if not isinstance(given, str) or not given.strip():
        raise CatalogError(f"a domain must be a name, got {given!r}")
    name = to_public_identifier(given, fallback="domain")
    if name in names:
        raise CatalogError(
            f"the domains {names[name]!r} and {given!r} would both be {name!r} in the code; "
            "rename one of them"
        )
    names[name] = given
    return name


def _read_domain(domain: str | None, given: object, members: object) -> Iterator[ToolDefinition]:
    where = "tools" if domain is None else f"tools[{given!r}]"
    if isinstance(members, str | bytes) or not isinstance(members, Sequence):
        raise CatalogError(
            f"{where} must be a list of tools, got {type(members).__name__}"
            f"{_advice(members, 'put it into a list')}"
        )
    taken: dict[str, ToolDefinition] = {}
    for position, member in enumerate(members):
        if isinstance(member, ToolDefinition):
            definition = complete(member, domain=domain)
        else:
            tool_ = _to_tool(member, f"{where}[{position}]")
            definition = read_tool(tool_, domain=domain, policy=own_policy(tool_))
        other = taken.setdefault(definition.qualified_name, definition)
        if other is not definition:
            raise CatalogError(_clash(other, definition, where))
        yield definition


def _clash(first: ToolDefinition, second: ToolDefinition, where: str) -> str:
    if first.tool_name == second.tool_name:
        return f"{where} has two tools named {first.tool_name!r}; rename one, or use domains"
    return (
        f"{where} has the tools {first.tool_name!r} and {second.tool_name!r}, which would both be "
        f"{first.name!r} in the code; rename one, or use domains"
    )


def _to_tool(given: object, where: str) -> BaseTool:
    if isinstance(given, BaseTool):
        return given
    if isinstance(given, Runnable):
        return agent_tool(given, where=where)
    if isinstance(given, Mapping):
        raise CatalogError(
            f"{where} is only a schema, which cannot be called; wrap it with the function that does "
            "the work: StructuredTool(name=..., description=..., args_schema=schema, func=...)"
        )
    if isinstance(given, type) or not callable(given):
        raise CatalogError(
            f"{where} must be a LangChain tool or a function, got {_describe(given)}"
            f"{_advice(given, 'pass it itself')}"
        )
    try:
        # LangChain refuses a function that says nothing about itself; its signature says enough.
        made = tool(given) if given.__doc__ else tool(given, description="")
    except Exception as error:  # LangChain inspects code of its author's
        raise CatalogError(
            f"{where}, {_describe(given)}, cannot be made a tool: {type(error).__name__}: {error}; "
            "make it one with langchain_core.tools.StructuredTool.from_function(...)"
        ) from error
    return made


def _describe(given: object) -> str:
    name = getattr(given, "__name__", None)
    kind = "class" if isinstance(given, type) else type(given).__name__
    return f"the {kind} {name!r}" if name else with_article(kind)


def _advice(given: object, otherwise: str) -> str:
    if isinstance(given, BaseToolkit):
        return "; pass its .get_tools()"
    if hasattr(given, "add_node") and hasattr(given, "compile"):
        return "; pass what its .compile() returns"
    if isinstance(given, type):
        return "; pass an instance of it" if issubclass(given, BaseTool) else ""
    if isinstance(given, BaseTool) or callable(given):
        return f"; {otherwise}"
    return ""


# --- docstrings ---------------------------------------------------------------------------------

MAX_DOCSTRING_CHARS = 20_000  # length of a docstring that is read

_GOOGLE = re.compile(r"^(?:Returns?|Yields?)[ \t]*:[ \t]*(.*)$")
_UNDERLINED = re.compile(r"^(?:Returns?|Yields?)[ \t]*$")
_FIELD = re.compile(r"^[:@](?:returns?|yields?)[ \t]*:[ \t]*(.*)$")
_OF_FIELD = re.compile(r"(?![:@]\w)\s*\S")
_DASHES = re.compile(r"-{3,}[ \t]*")


def returns_section(docstring: str | None) -> str:
    """Return the text under `Returns` in a docstring of Google's, NumPy's or Sphinx's style, on one line."""
    lines = inspect.cleandoc((docstring or "")[:MAX_DOCSTRING_CHARS]).splitlines()
    for number, line in enumerate(lines):
        rest = lines[number + 1 :]
        if found := _GOOGLE.match(line):
            return _join([found[1], *takewhile(lambda text: not text or text[0].isspace(), rest)])
        if found := _FIELD.match(line):
            return _join([found[1], *takewhile(_OF_FIELD.match, rest)])
        if _UNDERLINED.match(line) and rest and _DASHES.fullmatch(rest[0]):
            dashes = (n for n, text in enumerate(rest[1:]) if _DASHES.fullmatch(text))
            # The line before the next dashes is the title of that section.
            return _join(rest[1 : next(dashes, len(rest))])
    return ""


def _join(lines: list[str]) -> str:
    return " ".join(word for line in lines for word in line.split())
