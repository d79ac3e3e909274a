"""`--tools` and `--mcp` -> one catalog, open for as long as a command needs it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.reading.injected import signature_of
from langchain_ptc.cli.servers import read_servers
from langchain_ptc.errors import CatalogError
from langchain_ptc.resolve.mistakes import Mistake
from langchain_ptc.resolve.objects import load_object, render_error

_KINDS = (
    "a tool, a list of tools, a mapping {domain: [tools]}, a ToolCatalog, or a function without "
    "arguments that returns one of these"
)


@asynccontextmanager
async def open_catalog(
    references: Sequence[str], servers: Sequence[Path]
) -> AsyncIterator[ToolCatalog]:
    """Give the catalog of all that was named; MCP servers are ended with the context.

    Args:
        references: Objects with tools, as `module:attribute` or `file.py:attribute`.
        servers: Files of MCP servers.

    Raises:
        Mistake: Something named is not there or is no tool, or a server does not start.
    """
    connections: dict[str, Any] = {}
    for path in servers:
        for name, connection in read_servers(path).items():
            if name in connections:
                raise Mistake(f"--mcp: two servers are named {name!r}; rename one of them")
            connections[name] = connection
    async with AsyncExitStack() as stack:
        found = [(name, await _load_tools(name, stack)) for name in references]
        try:
            if len(found) == 1 and not connections and isinstance(found[0][1], ToolCatalog):
                catalog = found[0][1]
            elif connections:
                opening = ToolCatalog.from_mcp(connections, tools=_merge(found))
                catalog = await stack.enter_async_context(opening)
            else:
                catalog = ToolCatalog(_merge(found))
        except CatalogError as error:
            raise Mistake(f"the tools cannot be used: {error}") from error
        except ImportError as error:
            raise Mistake(str(error)) from error
        yield catalog


async def _load_tools(reference: str, stack: AsyncExitStack) -> object:
    """Return what `reference` names, after calling it if it is a function."""
    found = load_object(reference, option="--tools")
    if inspect.isroutine(found) or isinstance(found, functools.partial):
        found = await _call(reference, found)
    if isinstance(found, AbstractAsyncContextManager) and not isinstance(found, Runnable):
        try:
            found = await stack.enter_async_context(found)
        except CatalogError as error:
            raise Mistake(f"--tools {reference!r}: {error}") from error
        except Exception as error:
            raise Mistake(_failed(reference, error)) from error
    if isinstance(found, BaseToolkit):
        found = found.get_tools()
    if isinstance(found, (BaseTool, ToolDefinition, Runnable)):
        return [found]
    if isinstance(found, (str, bytes)) or not isinstance(found, (Sequence, Mapping, ToolCatalog)):
        raise Mistake(f"--tools {reference!r} must be {_KINDS}, got {_describe(found)}")
    return found


async def _call(reference: str, function: Any) -> object:
    needed = [
        name
        for name, parameter in signature_of(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise Mistake(
            f"--tools {reference!r} is a function that needs {', '.join(map(repr, needed))}. To offer "
            "it to the code, put @tool of langchain_core.tools before it, or put it into a list; a "
            "function that returns tools takes no arguments"
        )
    try:
        found = function()
        return await found if inspect.isawaitable(found) else found
    except Exception as error:
        raise Mistake(_failed(reference, error)) from error


def _failed(reference: str, error: BaseException) -> str:
    return f"--tools {reference!r} failed:\n{render_error(error)}"


def _describe(found: object) -> str:
    return f"the class {found.__name__!r}" if isinstance(found, type) else type(found).__name__


def _merge(found: Sequence[tuple[str, object]]) -> Any:
    """Return all tools by domain, those without one under None."""
    merged: dict[str | None, list[Any]] = {}
    for reference, tools in found:
        if isinstance(tools, Mapping):
            for domain, members in tools.items():
                if isinstance(members, (str, bytes)) or not isinstance(members, Sequence):
                    raise Mistake(
                        f"--tools {reference!r}: {domain!r} must have a list of tools, got "
                        f"{_describe(members)}"
                    )
                merged.setdefault(domain, []).extend(members)
        elif isinstance(tools, ToolCatalog):
            for definition in tools:
                merged.setdefault(definition.domain, []).append(definition)
        else:
            assert isinstance(tools, Sequence)
            merged.setdefault(None, []).extend(tools)
    return merged
