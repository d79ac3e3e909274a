"""`--tools` and `--mcp` -> one catalog, open for as long as a command needs it."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.catalog.functions import signature_of
from langchain_ptc.cli.references import CommandError, load_object, render_error
from langchain_ptc.errors import CatalogError
from langchain_ptc.wording import closest, did_you_mean

_KINDS = (
    "a tool, a list of tools, a mapping {domain: [tools]}, a ToolCatalog, or a function without "
    "arguments that returns one of these"
)
_WRAPPER = "mcpServers"
_TRANSPORTS = {
    "stdio": "stdio",
    "http": "http",
    "streamable_http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "sse": "sse",
    "websocket": "websocket",
}
_HTTP_FIELDS = ("url", "headers", "timeout", "sse_read_timeout")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "stdio": ("command", "args", "env", "cwd", "encoding", "encoding_error_handler"),
    "http": (*_HTTP_FIELDS, "terminate_on_close"),
    "sse": _HTTP_FIELDS,
    "websocket": ("url",),
}
"""What a file can say of a connection; what else there is in it is for other programs."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@asynccontextmanager
async def open_catalog(
    references: Sequence[str], servers: Sequence[Path]
) -> AsyncIterator[ToolCatalog]:
    """Yield the catalog of all tools that were named; MCP servers are closed with the context.

    Raises:
        CommandError: Something that was named was not found or is not a tool, or a server does not start.
    """
    connections: dict[str, Any] = {}
    for path in servers:
        for name, connection in _read_servers(path).items():
            if name in connections:
                raise CommandError(f"--mcp: two servers are named {name!r}; rename one of them")
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
            raise CommandError(f"the tools cannot be used: {error}") from error
        except ImportError as error:
            raise CommandError(str(error)) from error
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
            raise CommandError(f"--tools {reference!r}: {error}") from error
        except Exception as error:
            raise CommandError(_failed(reference, error)) from error
    if isinstance(found, BaseToolkit):
        found = found.get_tools()
    if isinstance(found, (BaseTool, ToolDefinition, Runnable)):
        return [found]
    if isinstance(found, (str, bytes)) or not isinstance(found, (Sequence, Mapping, ToolCatalog)):
        raise CommandError(f"--tools {reference!r} must be {_KINDS}, got {_describe(found)}")
    return found


async def _call(reference: str, function: Any) -> object:
    needed = [
        name
        for name, parameter in signature_of(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise CommandError(
            f"--tools {reference!r} is a function that needs {', '.join(map(repr, needed))}. To offer "
            "it to the code, put @tool of langchain_core.tools before it, or put it into a list; a "
            "function that returns tools takes no arguments"
        )
    try:
        found = function()
        return await found if inspect.isawaitable(found) else found
    except Exception as error:
        raise CommandError(_failed(reference, error)) from error


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
                    raise CommandError(
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


# --- MCP servers ----------------------------------------------------------------------------------


def _read_servers(path: Path) -> dict[str, Any]:
    """Read connections by name from a file: `{"mcpServers": {...}}`, or the inner part alone.

    A connection without a `transport` (or `type`) is one by stdio if it has a `command`, by HTTP if it
    has a `url`. `${NAME}` in addresses and headers stands for a variable of the environment.

    Raises:
        CommandError: The file cannot be read, is not JSON, or does not say of a server how to reach it.
    """
    listed = _read_json(path)
    if isinstance(listed, dict) and _WRAPPER in listed:
        listed = listed[_WRAPPER]
    if not isinstance(listed, dict):
        raise CommandError(
            f'--mcp {str(path)!r} must hold an object: {{"{_WRAPPER}": {{"name": {{"command": "…"}}}}}}'
        )
    where = f"--mcp {str(path)!r}"
    return {
        name: _read_connection(f"{where}: the server {name!r}", given)
        for name, given in listed.items()
        if not (isinstance(given, dict) and given.get("disabled") is True)
    }


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise CommandError(
            f"--mcp {str(path)!r} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"--mcp {str(path)!r} is not text in UTF-8: {error}") from error
    except OSError as error:
        near = [str(other) for other in path.parent.glob("*.json")]
        raise CommandError(
            f"--mcp {str(path)!r} cannot be read: {error.strerror}{did_you_mean(closest(str(path), near))}"
        ) from error


def _read_connection(where: str, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise CommandError(f"{where} must be an object, got {json.dumps(given)}")
    transport = _transport_of(where, given)
    fields = _FIELDS[transport]
    needed = fields[0]
    for field in given:
        if field not in (*fields, "transport", "type") and (close := closest(field, fields)):
            raise CommandError(f"{where} has {field!r}, which means nothing{did_you_mean(close)}")
    if not isinstance(given.get(needed), str) or not given[needed]:
        raise CommandError(f"{where} has no {needed!r}, which a connection by {transport} needs")
    connection = {field: given[field] for field in fields if field in given}
    if transport == "stdio":
        args = connection.setdefault("args", [])
        if not isinstance(args, list) or not all(isinstance(argument, str) for argument in args):
            raise CommandError(f"{where}: 'args' must be a list of texts, got {json.dumps(args)}")
    else:
        connection["url"] = _expand(where, connection["url"])
        headers = connection.get("headers") or {}
        connection["headers"] = {key: _expand(where, str(text)) for key, text in headers.items()}
    if transport == "websocket":
        del connection["headers"]
    return {"transport": transport, **connection}


def _transport_of(where: str, given: Mapping[str, Any]) -> str:
    named = given.get("transport", given.get("type"))
    if named is None:
        if "command" not in given and "url" not in given:
            raise CommandError(f"{where} needs a 'command' to start it, or a 'url' to reach it")
        return "stdio" if "command" in given else "http"
    transport = _TRANSPORTS.get(str(named).lower())
    if transport is None:
        raise CommandError(
            f"{where} has the transport {named!r}; there are 'stdio', 'http', 'sse' and 'websocket'"
        )
    return transport


def _expand(where: str, text: str) -> str:
    def replace(found: re.Match[str]) -> str:
        value = os.environ.get(found[1])
        if value is None:
            raise CommandError(f"{where} needs the variable {found[1]}: export {found[1]}=…")
        return value

    return _VARIABLE.sub(replace, text)
