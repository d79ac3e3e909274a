"""The MCP servers of a catalog: how they are opened, and how a call gets to one of them.

A connection is written as for `MultiServerMCPClient` of `langchain-mcp-adapters`, which itself needs
line 1 of `mcp`; what opens it here needs `mcp` alone, of line 1 or 2.
"""

from __future__ import annotations

import asyncio
import codecs
import functools
import os
import re
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from datetime import timedelta
from typing import IO, Any, TextIO, cast

from langchain_core.messages import ToolMessage

from langchain_ptc.catalog.mcp.results import CallAnswer, Progress, read_result, without_none
from langchain_ptc.catalog.mcp.servers import (
    AnyServer,
    GivenSession,
    Listen,
    OpenSession,
    Server,
    ServerError,
    explain,
)
from langchain_ptc.catalog.mcp.validation import NeedsThreadError
from langchain_ptc.display.text import visible
from langchain_ptc.errors import CatalogError

INSTALL = "MCP servers need one more package: pip install 'langchain-ptc[mcp]'"


class Hub:
    """The servers of a catalog, and of the newer catalogs made from it.

    Callbacks and interceptors are the client's, the outermost interceptor first.
    """

    def __init__(
        self, servers: Sequence[AnyServer], *, callbacks: Any, interceptors: Sequence[Any]
    ) -> None:
        self.servers = tuple(servers)
        self._callbacks = callbacks
        self._interceptors = tuple(interceptors)
        # At exit, servers that are still open are waited for elsewhere.
        weakref.finalize(self, _stop_all, self.servers).atexit = False

    @property
    def versions(self) -> tuple[int, ...]:
        """What grows when the tools of a server may have changed."""
        return tuple(server.version for server in self.servers)

    async def list_tools(self) -> list[list[Any]]:
        """Return the tools of each server.

        Raises:
            CatalogError: A server cannot be reached.
        """
        results = await asyncio.gather(
            *(server.list_tools() for server in self.servers), return_exceptions=True
        )
        listed: list[list[Any]] = []
        for server, result in zip(self.servers, results, strict=True):
            if isinstance(result, list):
                listed.append(result)
            elif isinstance(result, Exception):
                reason = str(result) if isinstance(result, ServerError) else explain(result)
                raise CatalogError(
                    f"the tools of the MCP server {server.name!r} cannot be listed: {reason}"
                ) from result
            else:
                raise result
        return listed

    async def close(self) -> None:
        """End the sessions."""
        await asyncio.gather(*(server.close() for server in self.servers))

    @property
    def has_interceptors(self) -> bool:
        """Whether calls go through interceptors, which want LangGraph's runtime."""
        return bool(self._interceptors)

    async def ask(
        self,
        server: AnyServer,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        declared: Mapping[str, Any] | None,
        runtime: object,
    ) -> Any:
        """Call a tool through the interceptors; return its value, or the answer of an interceptor.

        Args:
            server: The server that has the tool.
            tool: The server's name for it.
            arguments: Under the server's own names.
            declared: The `outputSchema` that the catalog shows.
            runtime: LangGraph's, for the interceptors; None outside a graph.

        Raises:
            ToolException: The server refused the call, cannot be reached, or returned a value that
                does not match its schema.
        """
        progress = self._progress_for(server, tool)
        called = tool

        async def call(request: Any) -> Any:
            nonlocal called
            called = request.name
            if request.headers is None:
                answer = await server.call(request.name, request.args, progress)
            else:
                answer = await _call_with_headers(server, request, progress)
            return answer.as_result()

        if not self._interceptors:
            result: Any = await server.call(tool, arguments, progress)
        else:
            from langchain_mcp_adapters.interceptors import MCPToolCallRequest

            handler: Callable[[Any], Any] = call
            for interceptor in reversed(self._interceptors):
                handler = _wrap(interceptor, handler)
            request = MCPToolCallRequest(
                name=tool, args=dict(arguments), server_name=server.name, runtime=runtime
            )
            result = await handler(request)
            if isinstance(result, ToolMessage) or not hasattr(result, "content"):
                return result
        listed = server.output_schema(called)
        read = functools.partial(read_result, result, listed=listed, declared=declared, tool=called)
        try:
            return read(is_quick=True)
        except NeedsThreadError:
            return await asyncio.to_thread(read, is_quick=False)

    def _progress_for(self, server: AnyServer, tool: str) -> Progress | None:
        if self._callbacks is None or self._callbacks.on_progress is None:
            return None
        from langchain_mcp_adapters.callbacks import CallbackContext

        context = CallbackContext(server_name=server.name, tool_name=tool)
        progress: Progress = self._callbacks.to_mcp_format(context=context).progress_callback
        return progress


def _stop_all(servers: Sequence[AnyServer]) -> None:
    for server in servers:
        server.stop()


def _wrap(interceptor: Callable[..., Any], handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def wrapped(request: Any) -> Any:
        return await interceptor(request, handler)

    return wrapped


async def _call_with_headers(
    server: AnyServer, request: Any, progress: Progress | None
) -> CallAnswer:
    """Call a tool in a session of its own: headers belong to a session."""
    if not isinstance(server, Server) or server.with_headers is None:
        return await server.call(request.name, request.args, progress)
    own = Server(
        server.name, server.with_headers(request.headers), connect_seconds=server.connect_seconds
    )
    try:
        return await own.call(request.name, request.args, progress)
    finally:
        await own.close()


# --- opening ---


def open_hub(
    servers: object, *, home: asyncio.AbstractEventLoop | None, connect_seconds: float
) -> Hub:
    """Return the servers that `ToolCatalog.from_mcp` was given; no session is opened yet.

    `home` is the loop on which sessions among them were opened; None if it is unknown.

    Raises:
        CatalogError: They are not connections, sessions or a client.
        ImportError: The packages for MCP are not installed.
    """
    callbacks, interceptors, members = None, (), servers
    if not isinstance(servers, Mapping) and hasattr(servers, "connections"):
        callbacks = getattr(servers, "callbacks", None)
        interceptors = tuple(getattr(servers, "tool_interceptors", None) or ())
        members = servers.connections
    if not isinstance(members, Mapping):
        raise CatalogError(
            "servers must be a dict of connections or sessions by name, or a MultiServerMCPClient, "
            f"got {type(servers).__name__}"
        )
    made: list[AnyServer] = []
    for name, member in members.items():
        if isinstance(member, Mapping):
            made.append(_connect_to(name, member, callbacks, connect_seconds))
        elif hasattr(member, "list_tools") and hasattr(member, "call_tool"):
            if home is None:
                raise CatalogError(
                    f"servers[{name!r}] is an open session, which belongs to an event loop; use "
                    "`async with ToolCatalog.from_mcp(...)` on that loop"
                )
            made.append(GivenSession(name, member, home))
        else:
            raise CatalogError(
                f"servers[{name!r}] must be a connection or a ClientSession, got "
                f"{type(member).__name__}"
            )
    return Hub(made, callbacks=callbacks, interceptors=interceptors)


def _connect_to(
    name: str, connection: Mapping[str, Any], callbacks: Any, connect_seconds: float
) -> Server:
    try:
        import mcp  # noqa: F401  # is it there?
    except ImportError as error:
        raise ImportError(INSTALL) from error

    def with_headers(headers: Mapping[str, Any]) -> OpenSession:
        merged = {**(connection.get("headers") or {}), **headers}
        return _opener(name, {**connection, "headers": merged}, callbacks)

    return Server(
        name,
        _opener(name, connection, callbacks),
        connect_seconds=connect_seconds,
        with_headers=with_headers if "url" in connection else None,
    )


def _opener(name: str, connection: Mapping[str, Any], callbacks: Any) -> OpenSession:
    def opening(listen: Listen) -> AbstractAsyncContextManager[Any]:
        given = connection.get("session_kwargs") or {}
        options = {"message_handler": _both(listen, given.get("message_handler"))}
        if callbacks is not None:
            from langchain_mcp_adapters.callbacks import CallbackContext

            own = callbacks.to_mcp_format(context=CallbackContext(server_name=name))
            for kind in ("logging_callback", "elicitation_callback"):
                if getattr(own, kind) is not None:
                    options[kind] = getattr(own, kind)
        return open_session(connection, options)

    return opening


def _both(listen: Listen, users: Listen | None) -> Listen:
    async def listen_both(message: object) -> None:
        await listen(message)
        if users is not None:
            await users(message)

    return listen_both


# --- one session --------------------------------------------------------------------------------

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
        is_missing = "transport" not in connection
        problem = "Missing 'transport'" if is_missing else f"'transport' cannot be {transport!r}"
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
        return await stack.enter_async_context(sse_client(**without_none(given)))
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


def _expand(value: str) -> str:
    """Return `value` with `${NAME}` replaced where the environment has NAME."""
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)


# --- what a server over stdio writes to its standard error --------------------------------------

_CHUNK_BYTES = 65_536


@contextmanager
def server_errors() -> Iterator[IO[str]]:
    """Yield the standard error of a server: `sys.stderr`; on a terminal a pipe, copied to it.

    In the copy, signs replace the characters that control the terminal.
    """
    if not sys.stderr.isatty():
        yield sys.stderr
        return
    reading, writing = os.pipe()
    threading.Thread(
        target=_copy, args=(reading,), daemon=True, name="langchain-ptc stderr"
    ).start()
    with os.fdopen(writing, "w") as errors:
        yield errors


def _copy(reading: int) -> None:
    """Copy a pipe to standard error until all its writers are gone."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while part := pipe.read(_CHUNK_BYTES):
            sys.stderr.write(visible(decode(part)))
            sys.stderr.flush()
