"""The tools of MCP servers in a catalog, with their output schemas.

Connections, interceptors and callbacks are those of `langchain_mcp_adapters`, as its users know them.
Its tools are not used: they open a session (for stdio, a process) per call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, get_args

from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from langgraph.prebuilt import ToolRuntime
from pydantic import Field
from typing_extensions import override

from langchain_ptc.catalog.definition import DescribedTool, as_arguments_schema
from langchain_ptc.catalog.mcp.hub import Hub, open_hub
from langchain_ptc.catalog.mcp.results import (
    RESULT_NOTE,
    Approve,
    as_message_content,
    describe,
    policy_of,
    read_field,
    unwrap_schema,
)
from langchain_ptc.catalog.mcp.servers import AnyServer, mcp_loop
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


class MCPTool(DescribedTool):
    """A tool of an MCP server. Its value is what the server's `outputSchema` says."""

    mcp_name: str
    """What the server calls it."""
    declared_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """The server's `outputSchema`."""
    hub: Any = Field(exclude=True, repr=False)
    """A `Hub`, which closes its servers when it is no longer referenced."""
    server: Any = Field(exclude=True, repr=False)
    """The hub's server that has the tool."""

    @property
    def coroutine(self) -> Callable[..., Any] | None:
        """The function in which LangGraph looks for what it injects: the runtime, if it is wanted."""
        return MCPTool._arun if self.hub.has_interceptors else None

    @override
    async def _arun(
        self,
        /,
        *,
        __runtime__: ToolRuntime[Any, Any] = None,  # type: ignore[assignment]
        **arguments: Any,
    ) -> Any:
        return await self.hub.ask(
            self.server,
            self.mcp_name,
            arguments,
            declared=self.declared_schema,
            runtime=__runtime__,
        )

    @override
    def _run(self, /, *, __runtime__: Any = None, **arguments: Any) -> Any:
        if _running_loop() is self.server.home:
            raise ToolException(
                f"the session with the MCP server {self.server.name!r} lives on the event loop that "
                "this synchronous call would block; use `ainvoke`"
            )
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


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# --- opening ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[C]):
    """Where a catalog came from: reads it again."""

    hub: Hub
    """The servers."""
    build: Callable[[Found, Source[C]], C]
    """Makes a catalog of the servers' tools."""
    approve: Approve
    """Which tools a person approves."""
    exclude: frozenset[str]
    """Tools that are left out, as `server.tool`."""
    versions: tuple[int, ...]
    """Those of the servers when their tools were read."""

    @property
    def is_stale(self) -> bool:
        """Whether a server said that its tools changed since they were read."""
        return self.hub.versions != self.versions

    async def read(self) -> C:
        """Return a catalog of the tools as they are now.

        Raises:
            CatalogError: A server cannot be reached, or a tool cannot be offered to code.
        """
        newer, listed = await self._list()
        for _ in range(MAX_READINGS - 1):
            if not newer.is_stale:
                break
            newer, listed = await self._list()
        found = {
            server.name: [self._make(server, tool) for tool in tools if self._takes(server, tool)]
            for server, tools in zip(self.hub.servers, listed, strict=True)
        }
        return self.build(found, newer)

    async def _list(self) -> tuple[Source[C], list[list[Any]]]:
        newer = replace(self, versions=self.hub.versions)
        return newer, await self.hub.list_tools()

    def _takes(self, server: AnyServer, tool: Any) -> bool:
        # The protocol's tasks are a way of calling tools that the `mcp` package only tries out.
        needs_task = read_field(read_field(tool, "execution"), "taskSupport") == "required"
        return not needs_task and f"{server.name}.{tool.name}" not in self.exclude

    def _make(self, server: AnyServer, tool: Any) -> MCPTool:
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
            policy=policy_of(tool, self.approve),
            mcp_name=tool.name,
            declared_schema=schema,
            hub=self.hub,
            server=server,
        )


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
        if approve not in get_args(Approve):
            raise CatalogError(
                f"approve must be 'never', 'destructive' or 'writes', got {approve!r}"
            )
        if isinstance(exclude, str):
            raise CatalogError(f"exclude must be a list of tools as 'server.tool', got {exclude!r}")

        def connect(home: asyncio.AbstractEventLoop | None) -> Source[C]:
            hub = open_hub(servers, home=home, connect_seconds=connect_seconds)
            left_out = frozenset(exclude)
            return Source(
                hub=hub, build=build, approve=approve, exclude=left_out, versions=hub.versions
            )

        self._connect = connect
        self._source: Source[C] | None = None

    async def _open(self, home: asyncio.AbstractEventLoop | None) -> C:
        self._source = self._connect(home)
        try:
            return await self._source.read()
        except BaseException:
            await self._source.hub.close()
            raise

    async def _close(self) -> None:
        if self._source is not None:
            await self._source.hub.close()

    def __await__(self) -> Generator[Any, None, C]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> C:
        return await self._open(asyncio.get_running_loop())

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def __enter__(self) -> C:
        return mcp_loop.run(self._open(None))

    def __exit__(self, *_: object) -> None:
        mcp_loop.run(self._close())


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
