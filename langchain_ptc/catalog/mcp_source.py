"""The tools of MCP servers in a catalog, with their output schemas.

Connections, interceptors and callbacks are those of `langchain_mcp_adapters`, as its users know them.
Its tools are not used: they open a session (for stdio, a process) per call.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, get_args

from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from langgraph.prebuilt import ToolRuntime
from pydantic import Field
from typing_extensions import override

from langchain_ptc.catalog.definition import DescribedTool, as_arguments_schema
from langchain_ptc.catalog.mcp_results import (
    MAX_STEPS,
    QUICK_STEPS,
    RESULT_NOTE,
    Approve,
    Progress,
    TooManySteps,
    as_message_content,
    describe,
    is_small,
    policy_of,
    read_result,
    unwrap_schema,
)
from langchain_ptc.catalog.mcp_servers import Server, ServerError, explain, mcp_loop
from langchain_ptc.catalog.text import read_field
from langchain_ptc.errors import CatalogError

if TYPE_CHECKING:
    from langchain_mcp_adapters.client import MultiServerMCPClient
    from langchain_mcp_adapters.sessions import Connection

C = TypeVar("C")

MCPServers: TypeAlias = "Mapping[str, Connection] | MultiServerMCPClient"
"""MCP servers by name: a connection for each; or a client."""
Found: TypeAlias = Mapping[str, Sequence["MCPTool"]]  # the tools of servers, by the servers' names

INSTALL = "MCP servers need one more package: pip install 'langchain-ptc[mcp]'"
MAX_READINGS = 3  # while servers say that their tools change: some do as they start


class MCPTool(DescribedTool):
    """A tool of an MCP server. Its value is what the server's `outputSchema` says."""

    mcp_name: str  # what the server calls it
    declared_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """The server's `outputSchema`."""
    source: Any = Field(exclude=True, repr=False)  # closes its servers when it is dropped
    server: Any = Field(exclude=True, repr=False)  # the `Server` that has the tool

    @property
    def coroutine(self) -> Callable[..., Any] | None:
        """The function in which LangGraph looks for what it injects: the runtime, if it is wanted."""
        return MCPTool._arun if self.source.interceptors else None

    @override
    async def _arun(
        self,
        /,
        *,
        __runtime__: ToolRuntime[Any, Any] = None,  # type: ignore[assignment]
        **arguments: Any,
    ) -> Any:
        return await self.source.ask(
            self.server,
            self.mcp_name,
            arguments,
            declared=self.declared_schema,
            runtime=__runtime__,
        )

    @override
    def _run(self, /, *, __runtime__: Any = None, **arguments: Any) -> Any:
        return mcp_loop.run(self._arun(__runtime__=__runtime__, **arguments))

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


# --- the servers of a catalog ---------------------------------------------------------------------


class Source:
    """The servers of a catalog, and of the newer catalogs made from it; no session is opened yet.

    Callbacks and interceptors are the client's, the outermost interceptor first.
    """

    def __init__(
        self, servers: object, *, approve: Approve, exclude: Sequence[str], connect_seconds: float
    ) -> None:
        if approve not in get_args(Approve):
            raise CatalogError(
                f"approve must be 'never', 'destructive' or 'writes', got {approve!r}"
            )
        if isinstance(exclude, str):
            raise CatalogError(f"exclude must be a list of tools as 'server.tool', got {exclude!r}")
        self._approve: Approve = approve
        self._exclude = frozenset(exclude)
        self._callbacks, self.interceptors, members = None, (), servers
        if not isinstance(servers, Mapping) and hasattr(servers, "connections"):
            self._callbacks = getattr(servers, "callbacks", None)
            self.interceptors = tuple(getattr(servers, "tool_interceptors", None) or ())
            members = servers.connections
        if not isinstance(members, Mapping):
            raise CatalogError(
                "servers must be a dict of connections by name, or a "
                f"MultiServerMCPClient, got {type(servers).__name__}"
            )
        self._servers = tuple(
            self._server(name, member, connect_seconds) for name, member in members.items()
        )
        # At exit, servers that are still open are waited for elsewhere.
        weakref.finalize(self, _stop_all, self._servers).atexit = False

    def _server(self, name: str, member: object, seconds: float) -> Server:
        if not isinstance(member, Mapping):
            is_session = hasattr(member, "call_tool")
            hint = "; pass the tools of load_mcp_tools(session) in tools=" if is_session else ""
            raise CatalogError(
                f"servers[{name!r}] must be a connection, got {type(member).__name__}{hint}"
            )
        try:
            import mcp  # noqa: F401  # is it there?
        except ImportError as error:
            raise ImportError(INSTALL) from error
        return Server(name, member, callbacks=self._callbacks, connect_seconds=seconds)

    @property
    def versions(self) -> tuple[int, ...]:
        """What grows when the tools of a server may have changed."""
        return tuple(server.version for server in self._servers)

    async def read(self) -> tuple[Found, tuple[int, ...]]:
        """Return the tools as they are now, and the versions of the servers that have them; or raise a `CatalogError`."""
        readings = 0
        while True:
            versions, readings = self.versions, readings + 1
            listed = await asyncio.gather(
                *(server.list_tools() for server in self._servers), return_exceptions=True
            )
            if versions == self.versions or readings == MAX_READINGS:
                break
        found = {}
        for server, tools in zip(self._servers, listed, strict=True):
            if isinstance(tools, Exception):
                reason = str(tools) if isinstance(tools, ServerError) else explain(tools)
                raise CatalogError(
                    f"the tools of the MCP server {server.name!r} cannot be listed: {reason}"
                ) from tools
            if isinstance(tools, BaseException):
                raise tools
            taken = [tool for tool in tools if self._takes(server, tool)]
            found[server.name] = [self._make(server, tool) for tool in taken]
        return found, versions

    async def close(self) -> None:
        """End the sessions."""
        await asyncio.gather(*(server.close() for server in self._servers))

    def _takes(self, server: Server, tool: Any) -> bool:
        # The protocol's tasks are a way of calling tools that the `mcp` package only tries out.
        needs_task = read_field(read_field(tool, "execution"), "taskSupport") == "required"
        return not needs_task and f"{server.name}.{tool.name}" not in self._exclude

    def _make(self, server: Server, tool: Any) -> MCPTool:
        hints = read_field(tool, "annotations")
        metadata = {} if hints is None else hints.model_dump(exclude_none=True, by_alias=True)
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
            source=self,
            server=server,
        )

    async def ask(
        self,
        server: Server,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        declared: Mapping[str, Any] | None,
        runtime: object,
    ) -> Any:
        """Call a tool through the interceptors; return its value, or the answer of an interceptor."""
        progress = self._progress_for(server, tool)
        called = tool
        if not self.interceptors:
            result: Any = await server.call(tool, arguments, progress)
        else:
            from langchain_mcp_adapters.interceptors import MCPToolCallRequest

            async def call(request: Any) -> Any:
                nonlocal called
                called = request.name
                headers = request.headers
                answer = await server.call(request.name, request.args, progress, headers=headers)
                return answer.as_result()

            handler: Callable[[Any], Any] = call
            for interceptor in reversed(self.interceptors):
                handler = functools.partial(_intercept, interceptor, handler)
            request = MCPToolCallRequest(
                name=tool, args=dict(arguments), server_name=server.name, runtime=runtime
            )
            result = await handler(request)
            if isinstance(result, ToolMessage) or not hasattr(result, "content"):
                return result
        try:
            listed = server.result_type(called)
        except CatalogError as error:  # it has changed since the catalog was made
            raise ToolException(f"the output schema of {called} cannot be read: {error}") from error
        read = functools.partial(read_result, result, listed=listed, declared=declared, tool=called)
        if is_small(result):
            with contextlib.suppress(TooManySteps):
                return read(steps=QUICK_STEPS)
        try:
            return await asyncio.to_thread(read, steps=MAX_STEPS)
        except TooManySteps as error:
            raise ToolException(f"the answer of {called} is too large to be checked") from error

    def _progress_for(self, server: Server, tool: str) -> Progress | None:
        if self._callbacks is None or self._callbacks.on_progress is None:
            return None
        from langchain_mcp_adapters.callbacks import CallbackContext

        context = CallbackContext(server_name=server.name, tool_name=tool)
        progress: Progress = self._callbacks.to_mcp_format(context=context).progress_callback
        return progress


async def _intercept(
    interceptor: Callable[..., Any], handler: Callable[[Any], Any], request: Any
) -> Any:
    return await interceptor(request, handler)


def _stop_all(servers: Sequence[Server]) -> None:
    for server in servers:
        server.stop()


class OpeningCatalog(Generic[C]):
    """A catalog whose servers are about to be opened: `async with`, `with`, or `await` it."""

    def __init__(
        self, make: Callable[[], Source], build: Callable[[Source, Found, tuple[int, ...]], C]
    ) -> None:
        self._make, self._build = make, build
        self._source = make()  # raises what is wrong with the options

    def __await__(self) -> Generator[Any, None, C]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> C:
        self._source = source = self._make()  # one that was closed does not open again
        try:
            return self._build(source, *await source.read())
        except BaseException:
            await source.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._source.close()

    def __enter__(self) -> C:
        return mcp_loop.run(self.__aenter__())

    def __exit__(self, *_: object) -> None:
        mcp_loop.run(self.__aexit__())


def join_tools(
    tools: object, found: Mapping[str, Sequence[Any]], *, kind: str = "an MCP server"
) -> Any:
    """Return the tools of servers or agents with further tools, those without a domain under None.

    No type says so: with it, a type checker would no longer understand a plain dict of lists.
    """
    others = tools if isinstance(tools, Mapping) else {None: tools}
    twice = [name for name in others if name in found]
    if twice:
        raise CatalogError(
            f"tools has the domain {twice[0]!r}, and so is {kind} named; rename one of them"
        )
    return {**found, **others}
