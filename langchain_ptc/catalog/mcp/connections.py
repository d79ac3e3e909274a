"""Opens a session with an MCP server and makes a call in it, on either line of `mcp` (1 and 2).

A connection is written as for `MultiServerMCPClient` of `langchain-mcp-adapters`, which itself needs
line 1; this module needs `mcp` alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, TextIO, TypeAlias, cast

from langchain_ptc.catalog.mcp.results import CallAnswer, as_json
from langchain_ptc.catalog.mcp.server_errors import server_errors

Progress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None]]

TRANSPORTS = {
    "stdio": ("stdio", "command", "args"),
    "sse": ("sse", "url"),
    "http": ("http", "url"),
    "streamable_http": ("http", "url"),
    "streamable-http": ("http", "url"),
    "websocket": ("websocket", "url"),
}
"""What a connection may say of its transport: what it is, and the keys that it needs."""
HTTP_SECONDS = 30.0
SSE_SECONDS = 5.0
READ_SECONDS = 300.0
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@asynccontextmanager
async def open_session(
    connection: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[Any]:
    """Connect to a server and yield a `ClientSession`, which is not yet initialized.

    Args:
        connection: As `MultiServerMCPClient` takes it.
        options: Further arguments of `ClientSession`.

    Raises:
        ValueError: `connection` has no transport, an unknown one, or lacks one of its keys.
        ImportError: The transport needs a package that is not installed.
    """
    kind = _checked(connection)
    given = {key: value for key, value in connection.items() if key != "transport"}
    arguments = {**(given.pop("session_kwargs", None) or {}), **options}
    from mcp import ClientSession

    async with AsyncExitStack() as stack:
        streams = await _connect(kind, given, stack)
        # Line 1 has a third value: how to learn the session's id.
        yield await stack.enter_async_context(ClientSession(*streams[:2], **arguments))


def _checked(connection: Mapping[str, Any]) -> str:
    transport = connection.get("transport")
    if transport not in TRANSPORTS:
        problem = (
            "Missing 'transport'"
            if "transport" not in connection
            else f"'transport' cannot be {transport!r}"
        )
        raise ValueError(f"{problem}: it must be 'stdio', 'http', 'sse' or 'websocket'")
    kind, *needed = TRANSPORTS[transport]
    missing = [key for key in needed if key not in connection]
    if missing:
        raise ValueError(f"a connection over {transport} needs {missing[0]!r}")
    return kind


async def _connect(kind: str, given: dict[str, Any], stack: AsyncExitStack) -> Any:
    if kind == "stdio":
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        if given.get("env") is not None:
            given["env"] = {name: _expand(value) for name, value in given["env"].items()}
        errors = stack.enter_context(server_errors())
        return await stack.enter_async_context(
            stdio_client(StdioServerParameters(**given), errlog=cast("TextIO", errors))
        )
    if kind == "sse":
        from mcp.client.sse import sse_client

        for name, seconds in (("timeout", SSE_SECONDS), ("sse_read_timeout", READ_SECONDS)):
            given[name] = _seconds(given.get(name, seconds))
        return await stack.enter_async_context(sse_client(**_without_none(given)))
    if kind == "websocket":
        from mcp.client.websocket import websocket_client

        return await stack.enter_async_context(websocket_client(given["url"]))
    return await _connect_http(given, stack)


async def _connect_http(given: dict[str, Any], stack: AsyncExitStack) -> Any:
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared import _httpx_utils

    # The timeout's class is that of httpx, or of httpx2 from line 2 on.
    http: Any = _httpx_utils
    httpx = getattr(http, "httpx2", None) or http.httpx
    seconds = _seconds(given.pop("timeout", HTTP_SECONDS))
    read = _seconds(given.pop("sse_read_timeout", READ_SECONDS))
    factory = given.pop("httpx_client_factory", None) or http.create_mcp_http_client
    client = factory(
        headers=given.pop("headers", None),
        timeout=httpx.Timeout(seconds, read=read),
        auth=given.pop("auth", None),
    )
    await stack.enter_async_context(client)
    return await stack.enter_async_context(streamable_http_client(**given, http_client=client))


def _seconds(given: float | timedelta) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else float(given)


def _without_none(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _expand(value: str) -> str:
    """Return `value` with `${NAME}` replaced where the environment has NAME."""
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)


def request_call(
    session: Any, tool: str, arguments: Mapping[str, Any], progress: Progress | None
) -> Coroutine[Any, Any, CallAnswer]:
    """Return the request of a call, for a session of either line of `mcp`.

    The session's own `call_tool` would check the answer on the event loop: see `validation.py`.

    Raises:
        ToolException: The arguments cannot be sent.
    """
    from mcp import types

    # The answer is not made into the package's records, of which large ones hold the interpreter.
    call: Any = types.CallToolRequest(
        params=types.CallToolRequestParams(name=tool, arguments=as_json(arguments))
    )
    if isinstance(types.ClientRequest, type):  # line 1 has a class around all requests
        call = types.ClientRequest(call)
    request: Coroutine[Any, Any, CallAnswer] = session.send_request(
        call, CallAnswer, progress_callback=progress
    )
    return request
