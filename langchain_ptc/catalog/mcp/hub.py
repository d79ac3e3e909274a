"""The servers of a catalog, and the way of a call to one of them: interceptors, the call, its result."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from langchain_core.messages import ToolMessage

from langchain_ptc.catalog.mcp.connections import Progress, open_session
from langchain_ptc.catalog.mcp.results import CallAnswer, read_result
from langchain_ptc.catalog.mcp.servers import (
    AnyServer,
    GivenSession,
    Listen,
    OpenSession,
    Server,
    ServerError,
    explain,
    stop_all,
)
from langchain_ptc.catalog.mcp.validation import NeedsThreadError
from langchain_ptc.errors import CatalogError

INSTALL = "MCP servers need one more package: pip install 'langchain-ptc[mcp]'"


class Hub:
    """The servers of a catalog, and of the newer catalogs made from it.

    Args:
        servers: Each with a name of its own.
        callbacks: The client's, for progress; or None.
        interceptors: The client's, outermost first.
    """

    def __init__(
        self, servers: Sequence[AnyServer], *, callbacks: Any, interceptors: Sequence[Any]
    ) -> None:
        self.servers = tuple(servers)
        self._callbacks = callbacks
        self._interceptors = tuple(interceptors)
        # At exit, servers that are still open are waited for elsewhere.
        weakref.finalize(self, stop_all, self.servers).atexit = False

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
                told = str(result) if isinstance(result, ServerError) else explain(result)
                raise CatalogError(
                    f"the tools of the MCP server {server.name!r} cannot be listed: {told}"
                ) from result
            else:
                raise result
        return listed

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
        """Call a tool by way of the interceptors and return its value.

        Args:
            server: Has the tool.
            tool: What the server calls it.
            arguments: Under the server's own names.
            declared: The `outputSchema` that the catalog shows.
            runtime: LangGraph's, for the interceptors; None outside a graph.

        Returns:
            The value, or what an interceptor answered instead: a message or a command.

        Raises:
            ToolException: The server refused the call, cannot be reached, or answered what it had
                not declared.
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
    """Return the servers that a user named; no session is opened yet.

    Args:
        servers: As `ToolCatalog.from_mcp` takes them.
        home: The loop that sessions among them were opened on; None if nobody knows.
        connect_seconds: Time to open each session.

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
        options = {"message_handler": _tell_both(listen, given.get("message_handler"))}
        if callbacks is not None:
            from langchain_mcp_adapters.callbacks import CallbackContext

            own = callbacks.to_mcp_format(context=CallbackContext(server_name=name))
            for kind in ("logging_callback", "elicitation_callback"):
                if getattr(own, kind) is not None:
                    options[kind] = getattr(own, kind)
        return open_session(connection, options)

    return opening


def _tell_both(listen: Listen, users: Listen | None) -> Listen:
    async def tell(message: object) -> None:
        await listen(message)
        if users is not None:
            await users(message)

    return tell
