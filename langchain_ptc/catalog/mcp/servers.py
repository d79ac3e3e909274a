"""MCP servers that stay open: one session each, for as long as a catalog lives.

The sessions live on an event loop in a thread of their own: any loop and synchronous code can call them,
and they outlive it. One task opens and closes each: cancel scopes are bound to the task that entered them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

from langchain_core.tools import ToolException

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.catalog.mcp.results import CallAnswer, Progress, read_field, request_call

T = TypeVar("T")

Listen: TypeAlias = Callable[[object], Awaitable[None]]
OpenSession: TypeAlias = Callable[[Listen], AbstractAsyncContextManager[Any]]
"""Opens a session that passes the server's messages to a listener."""

MAX_PAGES = 1_000
CLOSE_SECONDS = 10.0
"""Time for a server to end. The `mcp` package itself asks, insists, and kills within five."""
LIST_CHANGED = "notifications/tools/list_changed"
CONNECTION_CLOSED = "Connection closed"
"""What the `mcp` package answers to requests that wait when a connection ends."""
SESSION_UNKNOWN = 32600
"""With this code line 1 says that a server does not know the session: it has not done anything."""
SESSION_UNKNOWN_TEXTS = ("Session not found", "Session terminated")
"""Line 2 passes on the server's own error, which has one of these texts and codes."""
SESSION_UNKNOWN_CODES = (-32600, -32001)


# --- the loop of the sessions -------------------------------------------------------------------

mcp_loop = BackgroundLoop("langchain-ptc mcp")
_open_links: weakref.WeakSet[_Link] = weakref.WeakSet()


async def run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on `loop` and wait for it, from any loop; cancelling cancels it."""
    if asyncio.get_running_loop() is loop:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _close_at_exit() -> None:
    """Ask the servers that are still open to end, before the interpreter does."""
    links = list(_open_links)
    if links and (loop := mcp_loop.running) is not None:

        async def close() -> None:
            await asyncio.gather(*(link.close() for link in links))

        with contextlib.suppress(TimeoutError):  # their input ends with this process anyway
            asyncio.run_coroutine_threadsafe(close(), loop).result(CLOSE_SECONDS)


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_links.clear)


# --- one session --------------------------------------------------------------------------------


class _Link:
    """One session, from its start to its end, and the task that owns it. Lives on one loop."""

    def __init__(self, open_session: OpenSession, listen: Listen, seconds: float) -> None:
        self.session: Any = None
        self.tools: list[Any] = []
        self.error: BaseException | None = None
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        # The session's own tasks must not keep what the first caller had in its context.
        self.owner = asyncio.get_running_loop().create_task(
            self._own(open_session, listen, seconds), context=contextvars.Context()
        )
        _open_links.add(self)

    async def _own(self, open_session: OpenSession, listen: Listen, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as starting, open_session(listen) as session:
                await session.initialize()
                self.tools = await list_tools(session)
                self.session = session
                starting.reschedule(None)
                self._ready.set()
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001  # a transport may end in anything
            late = isinstance(error, TimeoutError) and self.session is None
            self.error = TimeoutError(f"no answer in {seconds:g} seconds") if late else error
        finally:
            self.session = None
            self._ready.set()

    @property
    def is_lost(self) -> bool:
        return self.owner.done() or (self._ready.is_set() and self.session is None)

    async def opened(self) -> None:
        """Wait until the session is open.

        Raises:
            ServerError: It could not be opened.
        """
        await self._ready.wait()
        if self.session is None:
            await self.close()
            raise ServerError(explain(self.error))

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Wait for the answer to a request, or for the end of the session.

        A session whose transport broke leaves the requests that wait for it without an answer.

        Raises:
            ServerError: The session ended first.
        """
        asked = asyncio.ensure_future(request)
        try:
            await asyncio.wait({asked, self.owner}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
            raise ServerError(explain(self.error))
        finally:
            if asked.cancel():
                await asyncio.wait({asked})

    async def close(self) -> None:
        """End the session; a server that is a process ends with it."""
        self._stop.set()
        if not self._ready.is_set():
            self.owner.cancel()
        _, running = await asyncio.wait({self.owner}, timeout=CLOSE_SECONDS)
        if running:
            self.owner.cancel()
            await asyncio.wait({self.owner}, timeout=CLOSE_SECONDS)
        _open_links.discard(self)

    def stop(self) -> None:
        """Begin to close, without waiting."""
        self._stop.set()


class ServerError(Exception):
    """A session could not be opened, or it ended."""


def explain(error: BaseException | None) -> str:
    """Return what went wrong, without the groups that task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return "the connection was closed"
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def list_tools(session: Any) -> list[Any]:
    """Return the tools of a server, all pages of them.

    Raises:
        ServerError: The server does not come to an end.
    """
    capabilities = getattr(session, "get_server_capabilities", lambda: None)()
    if capabilities is not None and read_field(capabilities, "tools") is None:
        return []
    from mcp.types import PaginatedRequestParams

    found: list[Any] = []
    params: Any = None
    for _ in range(MAX_PAGES):
        page = await session.list_tools(params=params)
        found.extend(page.tools)
        cursor = read_field(page, "nextCursor")
        if not cursor:  # some servers end with an empty one
            return found
        params = PaginatedRequestParams(cursor=cursor)
    raise ServerError(f"its list of tools has more than {MAX_PAGES:,} pages")


def _output_schema(tools: Sequence[Any], name: str) -> Mapping[str, Any] | None:
    found = (read_field(tool, "outputSchema") for tool in tools if tool.name == name)
    return next(found, None)


# --- one server ---------------------------------------------------------------------------------


class Server:
    """A server that is opened when it is needed, and again when it was lost.

    Args:
        name: For messages.
        open_session: Opens a session with it.
        connect_seconds: Time to open a session and list its tools.
        with_headers: Returns what opens a session with more HTTP headers; None if it takes none.
    """

    def __init__(
        self,
        name: str,
        open_session: OpenSession,
        *,
        connect_seconds: float,
        with_headers: Callable[[Mapping[str, Any]], OpenSession] | None = None,
    ) -> None:
        self.name = name
        self.connect_seconds = connect_seconds
        self.with_headers = with_headers
        self.version = 0
        """Grows whenever the server's tools may have changed."""
        self._open_session = open_session
        self._link: _Link | None = None
        self._closed = False
        self._known: list[Any] | None = None

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop that the session lives on."""
        return mcp_loop.start()

    async def list_tools(self) -> list[Any]:
        """Return the tools of the server as they are now.

        Raises:
            ServerError: The server cannot be reached.
        """
        return await run_on(self.home, self._list_tools())

    async def call(
        self, tool: str, arguments: Mapping[str, Any], progress: Progress | None = None
    ) -> CallAnswer:
        """Call a tool and return its answer.

        Raises:
            ToolException: The server refused the call, or cannot be reached.
        """
        return await run_on(self.home, self._call(tool, arguments, progress))

    def output_schema(self, tool: str) -> Mapping[str, Any] | None:
        """Return what a tool gives, as the server listed it last."""
        return _output_schema(self._known or (), tool)

    async def close(self) -> None:
        """End the session for good."""
        await run_on(self.home, self._close())

    def stop(self) -> None:
        """End the session for good, without waiting, from any thread."""
        self._closed = True
        link = self._link
        if link is not None and (loop := mcp_loop.running) is not None:
            loop.call_soon_threadsafe(link.stop)

    async def _close(self) -> None:
        self._closed = True
        if self._link is not None:
            await self._link.close()

    async def _connect(self) -> _Link:
        if self._closed:
            raise ServerError("its catalog is closed")
        link = self._link
        if link is None or link.is_lost or link.owner.get_loop() is not self.home:
            link = self._link = _Link(self._open_session, self._hear, self.connect_seconds)
        await link.opened()
        if self._known is None:
            self._known = link.tools
        elif link.tools != self._known:
            self._known = link.tools
            self.version += 1
        return link

    async def _hear(self, message: object) -> None:
        notification = getattr(message, "root", message)
        if getattr(notification, "method", None) == LIST_CHANGED:
            self.version += 1

    async def _list_tools(self) -> list[Any]:
        known = self._link
        link = await self._connect()
        if link is known:  # or it has just listed them
            try:
                link.tools = self._known = await link.ask(list_tools(link.session))
            except Exception:  # noqa: BLE001  # whatever it was, a new session shows it
                await link.close()
                link = await self._connect()
        return link.tools

    async def _call(
        self, tool: str, arguments: Mapping[str, Any], progress: Progress | None
    ) -> CallAnswer:
        try:
            try:
                return await self._ask(await self._reach(), tool, arguments, progress)
            except _NotSentError:  # the session was over: once more, in a new one
                return await self._ask(await self._reach(), tool, arguments, progress)
        except _NotSentError as error:
            raise self._lost(explain(error.__cause__), "did not reach it") from error
        except ServerError as error:
            raise self._lost(str(error), "may have been made") from error

    async def _reach(self) -> _Link:
        try:
            return await self._connect()
        except ServerError as error:
            raise self._lost(str(error), "did not reach it") from error

    def _lost(self, reason: str, what: str) -> ToolException:
        if self._closed:
            return ToolException(
                f"the session with the MCP server {self.name!r} was closed with its catalog"
            )
        return ToolException(
            f"the MCP server {self.name!r} is gone ({reason}); this call {what}; the next call "
            "connects again"
        )

    async def _ask(
        self, link: _Link, tool: str, arguments: Mapping[str, Any], progress: Progress | None
    ) -> CallAnswer:
        request = request_call(link.session, tool, arguments, progress)
        try:
            return await link.ask(request)
        except ServerError:
            raise
        except Exception as error:  # of the `mcp` package, which is not imported here
            is_unknown = _is_unknown_session(error)
            if not is_unknown and not _is_end(error):
                raise ToolException(str(error) or type(error).__name__) from error
            await link.close()
            if is_unknown or _is_closed_stream(error):  # that is met before the request is sent
                raise _NotSentError from error
            raise ServerError(explain(error)) from error


class _NotSentError(Exception):
    """The session was over before the request could go out: asking again is safe."""


def _is_unknown_session(error: Exception) -> bool:
    code = read_field(read_field(error, "error"), "code")
    is_text = str(error) in SESSION_UNKNOWN_TEXTS
    return code == SESSION_UNKNOWN or (is_text and code in SESSION_UNKNOWN_CODES)


def _is_end(error: Exception) -> bool:
    return _is_closed_stream(error) or str(error) == CONNECTION_CLOSED


def _is_closed_stream(error: Exception) -> bool:
    return type(error).__name__ in ("ClosedResourceError", "BrokenResourceError", "EndOfStream")


class GivenSession:
    """A session that the user opened, on the loop `home`, and closes."""

    version = 0

    def __init__(self, name: str, session: Any, home: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.home = home
        self._session = session
        self._known: list[Any] = []

    async def list_tools(self) -> list[Any]:
        """Return the tools of the server as they are now; see `Server`."""
        self._check()
        self._known = await run_on(self.home, list_tools(self._session))
        return self._known

    def output_schema(self, tool: str) -> Mapping[str, Any] | None:
        """Return what a tool gives, as the server listed it last."""
        return _output_schema(self._known, tool)

    async def call(
        self, tool: str, arguments: Mapping[str, Any], progress: Progress | None = None
    ) -> CallAnswer:
        """Call a tool and return its answer; see `Server`."""
        try:
            self._check()
            request = request_call(self._session, tool, arguments, progress)
            return await run_on(self.home, request)
        except ServerError as error:
            raise ToolException(str(error)) from error
        except Exception as error:  # of the `mcp` package, which is not imported here
            if _is_end(error) or _is_unknown_session(error):
                raise ToolException(
                    f"the session with the MCP server {self.name!r} is closed ({explain(error)}); "
                    "it was passed to the catalog open, so open it and build the catalog again"
                ) from error
            raise ToolException(str(error) or type(error).__name__) from error

    def _check(self) -> None:
        if not self.home.is_running():
            raise ServerError(
                f"the session with the MCP server {self.name!r} belongs to an event loop that has "
                "ended; pass its connection to the catalog instead, which keeps a session of its own"
            )

    async def close(self) -> None:
        """Leave it open: its owner closes it."""

    def stop(self) -> None:
        """Leave it open."""


AnyServer: TypeAlias = Server | GivenSession
