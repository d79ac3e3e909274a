"""The tools of MCP servers in a catalog, with their output schemas.

`langchain_mcp_adapters` opens the sessions, so that connections are written as its users know them.
Its tools are not used: they drop `outputSchema`, and open a session (for stdio, a process) per call.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from pydantic import Field
from typing_extensions import override

from langchain_ptc.catalog.described import DescribedTool, as_arguments_schema
from langchain_ptc.catalog.mcp.results import (
    RESULT_NOTE,
    Approve,
    as_message_content,
    describe,
    policy_of,
    read_field,
    unwrap_schema,
    value_of,
)
from langchain_ptc.catalog.mcp.servers import (
    AnyServer,
    GivenSession,
    Listen,
    OpenSession,
    Progress,
    Server,
    ServerError,
    background_loop,
    close_all,
    explain,
    stop_all,
)
from langchain_ptc.errors import CatalogError

if TYPE_CHECKING:
    from langchain_mcp_adapters.client import MultiServerMCPClient
    from langchain_mcp_adapters.sessions import Connection
    from mcp import ClientSession

C = TypeVar("C")

MCPServers: TypeAlias = "Mapping[str, Connection | ClientSession] | MultiServerMCPClient"
"""MCP servers by name: a connection for each, or a session that is open already; or a client."""
Found: TypeAlias = Mapping[str, Sequence["MCPTool"]]
"""The tools of servers, by the servers' names."""

MAX_READINGS = 3
"""Times that the tools are listed while their servers say that they change: some do as they start."""
INSTALL = "MCP servers need two more packages: pip install 'langchain-ptc[mcp]'"


class MCPTool(DescribedTool):
    """A tool of an MCP server. Its value is what the server's `outputSchema` says."""

    mcp_name: str
    """What the server calls it."""
    declared_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """The server's `outputSchema`."""
    hub: Any = Field(exclude=True, repr=False)
    """A `Hub`, which ends its servers when nobody refers to it any more."""
    server: Any = Field(exclude=True, repr=False)
    """The hub's server that has the tool."""

    @override
    async def call(self, arguments: Mapping[str, Any]) -> Any:
        result = await self.hub.ask(self.server, self.mcp_name, arguments)
        if isinstance(result, ToolMessage) or not hasattr(result, "content"):
            return result  # an interceptor's own answer: a message or a command
        return value_of(result, self.declared_schema)

    @override
    def call_sync(self, arguments: Mapping[str, Any]) -> Any:
        if _running_loop() is self.server.home:
            raise ToolException(
                f"the session with the MCP server {self.server.name!r} lives on the event loop that "
                "this synchronous call would block; use `ainvoke`"
            )
        return asyncio.run_coroutine_threadsafe(self.call(arguments), background_loop()).result()

    # What goes to a model as a message has images as models take them; code gets bytes.

    @override
    def run(self, *args: Any, **kwargs: Any) -> Any:
        return _for_model(super().run(*args, **kwargs))

    @override
    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        return _for_model(await super().arun(*args, **kwargs))


def _for_model(answer: Any) -> Any:
    if not isinstance(answer, ToolMessage):
        return answer
    return answer.model_copy(update={"content": as_message_content(answer.content)})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# --- the servers of a catalog -------------------------------------------------------------------


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

    async def ask(self, server: AnyServer, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool by way of the interceptors.

        Raises:
            ToolException: The server refused the call, or cannot be reached.
        """
        progress = self._progress_for(server, tool)

        async def call(request: Any) -> Any:
            if request.headers is None:
                return await server.call(request.name, request.args, progress)
            return await _call_with_headers(server, request, progress)

        if not self._interceptors:
            return await server.call(tool, arguments, progress)
        from langchain_mcp_adapters.interceptors import MCPToolCallRequest

        handler: Callable[[Any], Any] = call
        for interceptor in reversed(self._interceptors):
            handler = _wrap(interceptor, handler)
        return await handler(
            MCPToolCallRequest(name=tool, args=dict(arguments), server_name=server.name)
        )

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


async def _call_with_headers(server: AnyServer, request: Any, progress: Progress | None) -> Any:
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


# --- opening ------------------------------------------------------------------------------------


class Source(Generic[C]):
    """Where a catalog came from: reads it again.

    Args:
        hub: The servers.
        build: Makes a catalog of the servers' tools.
        approve: Which tools a person approves.
        exclude: Tools that are left out, as `server.tool`.
    """

    def __init__(
        self,
        hub: Hub,
        build: Callable[[Found, Source[C]], C],
        *,
        approve: Approve,
        exclude: frozenset[str],
    ) -> None:
        self._hub = hub
        self._build = build
        self._approve: Approve = approve
        self._exclude = exclude
        self._versions = hub.versions

    @property
    def is_stale(self) -> bool:
        """Whether a server said that its tools changed since they were read."""
        return self._hub.versions != self._versions

    async def read(self) -> C:
        """Return a catalog of the tools as they are now.

        Raises:
            CatalogError: A server cannot be reached, or a tool cannot be offered to code.
        """
        newer, listed = await self._list()
        found = {
            server.name: [self._make(server, tool) for tool in tools if self._takes(server, tool)]
            for server, tools in zip(self._hub.servers, listed, strict=True)
        }
        return self._build(found, newer)

    async def _list(self) -> tuple[Source[C], list[list[Any]]]:
        left = MAX_READINGS
        while True:
            newer = Source(self._hub, self._build, approve=self._approve, exclude=self._exclude)
            listed = await self._hub.list_tools()
            left -= 1
            if not newer.is_stale or not left:
                return newer, listed

    def _takes(self, server: AnyServer, tool: Any) -> bool:
        # The protocol's tasks are a way of calling tools that the `mcp` package only tries out.
        needs_task = read_field(read_field(tool, "execution"), "taskSupport") == "required"
        return not needs_task and f"{server.name}.{tool.name}" not in self._exclude

    def _make(self, server: AnyServer, tool: Any) -> MCPTool:
        hints = read_field(tool, "annotations")
        metadata = {} if hints is None else hints.model_dump(exclude_none=True)
        meta = getattr(tool, "meta", None)
        schema = read_field(tool, "outputSchema")
        return MCPTool(
            name=tool.name,
            description=describe(tool),
            args_schema=as_arguments_schema(read_field(tool, "inputSchema")),
            metadata={**metadata, **({} if meta is None else {"_meta": meta})} or None,
            result_schema=unwrap_schema(schema),
            result_note=RESULT_NOTE,
            policy=policy_of(tool, self._approve),
            mcp_name=tool.name,
            declared_schema=schema,
            hub=self._hub,
            server=server,
        )

    async def close(self) -> None:
        """End the sessions."""
        await close_all(self._hub.servers)


class OpeningCatalog(Generic[C]):
    """A catalog whose servers are about to be opened: `async with`, `with`, or `await` it.

    `async with` and `with` end the servers with the block; after `await`, `catalog.aclose()` does.
    """

    def __init__(
        self,
        servers: MCPServers,
        build: Callable[[Found, Source[C]], C],
        *,
        approve: Approve,
        exclude: Sequence[str],
        connect_seconds: float,
    ) -> None:
        if approve not in ("never", "destructive", "writes"):
            raise CatalogError(
                f"approve must be 'never', 'destructive' or 'writes', got {approve!r}"
            )
        if isinstance(exclude, str):
            raise CatalogError(f"exclude must be a list of tools as 'server.tool', got {exclude!r}")
        self._servers = servers
        self._build = build
        self._approve: Approve = approve
        self._exclude = frozenset(exclude)
        self._seconds = connect_seconds
        self._source: Source[C] | None = None

    async def _open(self, home: asyncio.AbstractEventLoop | None) -> C:
        hub = open_hub(self._servers, home=home, connect_seconds=self._seconds)
        self._source = Source(hub, self._build, approve=self._approve, exclude=self._exclude)
        try:
            return await self._source.read()
        except BaseException:
            await self._source.close()
            raise

    async def _close(self) -> None:
        if self._source is not None:
            await self._source.close()

    def __await__(self) -> Generator[Any, None, C]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> C:
        return await self._open(asyncio.get_running_loop())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    def __enter__(self) -> C:
        opening = self._open(None)
        return asyncio.run_coroutine_threadsafe(opening, background_loop()).result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), background_loop()).result()


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


def join_tools(tools: object, found: Found) -> Any:
    """Return the tools of servers with further tools, as `ToolCatalog` takes them.

    Under None stand those without a domain. No type says so: with it, a type checker would no longer
    understand a plain dict of lists.

    Raises:
        CatalogError: A domain has the name of a server.
    """
    others = tools if isinstance(tools, Mapping) else {None: tools}
    twice = [name for name in others if name in found]
    if twice:
        raise CatalogError(
            f"tools has the domain {twice[0]!r}, and so is an MCP server named; rename one of them"
        )
    return {**found, **others}


def _connect_to(
    name: str, connection: Mapping[str, Any], callbacks: Any, connect_seconds: float
) -> Server:
    try:
        import langchain_mcp_adapters.sessions  # noqa: F401  # is it there?
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
    def open_session(listen: Listen) -> AbstractAsyncContextManager[Any]:
        from langchain_mcp_adapters.callbacks import CallbackContext
        from langchain_mcp_adapters.sessions import create_session

        options = dict(connection.get("session_kwargs") or {})
        options["message_handler"] = _tell_both(listen, options.get("message_handler"))
        context = CallbackContext(server_name=name)
        made: Any = {**connection, "session_kwargs": options}
        own = None if callbacks is None else callbacks.to_mcp_format(context=context)
        return create_session(made, mcp_callbacks=own)

    return open_session


def _tell_both(listen: Listen, users: Listen | None) -> Listen:
    async def tell(message: object) -> None:
        await listen(message)
        if users is not None:
            await users(message)

    return tell
