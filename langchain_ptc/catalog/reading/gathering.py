"""What a developer passes to a catalog -> definitions, each under a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit, tool

from langchain_ptc.catalog.agents.tool import agent_tool
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.names import to_public_identifier
from langchain_ptc.catalog.reading.tool import complete, own_policy, read_tool
from langchain_ptc.errors import CatalogError


def read_tools(tools: object) -> Iterator[ToolDefinition]:
    """Yield the definitions of what was passed to a catalog: a list, or lists by domain.

    Raises:
        CatalogError: It is neither, or something in it is no tool, or has another's name.
    """
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
    article = "an" if kind[0].lower() in "aeiou" else "a"
    return f"the {kind} {name!r}" if name else f"{article} {kind}"


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
