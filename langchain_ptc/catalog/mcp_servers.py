"""MCP servers that stay open: one session each, for as long as a catalog lives.

A connection is written as for `MultiServerMCPClient` of `langchain-mcp-adapters`, which itself needs line 1
of `mcp`; what opens it here needs `mcp` alone, of line 1 or 2.

The sessions live on an event loop in a thread of their own: any loop and synchronous code can call them,
and they outlive it. One task opens and closes each: cancel scopes are bound to the task that entered them.
"""

from __future__ import annotations

import asyncio
import atexit
import codecs
import contextlib
import contextvars
import functools
import json
import os
import re
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from datetime import timedelta
from typing import IO, Any, TextIO, TypeVar, cast

from langchain_core.tools import ToolException

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.catalog.mcp_results import (
    CallAnswer,
    Progress,
    ResultType,
    request_call,
    without_none,
)
from langchain_ptc.catalog.text import read_field
from langchain_ptc.display.text import visible
from langchain_ptc.errors import count

T = TypeVar("T")

MAX_PAGES = 1_000
CLOSE_SECONDS = 10.0  # for a server to end; the `mcp` package kills it within five
LOOK_SECONDS = 3.0  # between two questions whether a server is there, while a call of it waits
LIST_CHANGED = "notifications/tools/list_changed"
CONNECTION_CLOSED = "Connection closed"  # what `mcp` answers to requests that wait
STREAM_ENDED = "SSE stream "  # how line 2 says that one answer was cut off; others may come
SESSION_UNKNOWN = 32600  # line 1 says so where nothing has been done
SESSION_UNKNOWN_TEXTS = ("Session not found", "Session terminated")
"""Line 2 passes on the server's own error, which has one of these texts and codes."""
CLOSED_STREAMS = ("ClosedResourceError", "BrokenResourceError", "EndOfStream")
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

    def __init__(
        self, opening: AbstractAsyncContextManager[Any], seconds: float, *, is_process: bool
    ) -> None:
        self.session: Any = None
        self.tools: list[Any] = []
        self.error: BaseException | None = None
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._is_process = is_process
        self._waiting = 0
        self._look: asyncio.Task[None] | None = None
        # The session's own tasks must not keep what the first caller had in its context.
        self.owner = asyncio.get_running_loop().create_task(
            self._own(opening, seconds), context=contextvars.Context()
        )
        _open_links.add(self)

    async def _own(self, opening: AbstractAsyncContextManager[Any], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as starting, opening as session:
                await session.initialize()
                self.tools = await list_tools(session)
                self.session = session
                starting.reschedule(None)
                self._ready.set()
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001  # a transport may end in anything
            late = isinstance(error, TimeoutError) and self.session is None
            self.error = TimeoutError(f"no answer in {count(seconds, 'second')}") if late else error
        finally:
            self.session = None
            self._ready.set()

    @property
    def is_lost(self) -> bool:
        return self.owner.done() or (self._ready.is_set() and self.session is None)

    async def opened(self) -> None:
        """Wait until the session is open, or raise a `ServerError`."""
        await self._ready.wait()
        if self.session is None:
            await self.close()
            raise ServerError(explain(self.error))

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Wait for the answer to a request; if the session ends first, which `mcp` does not report, raise a `ServerError`."""
        asked = asyncio.ensure_future(request)
        self._waiting += 1
        if self._look is None and not self._is_process:
            self._look = asyncio.create_task(self._look_for_server(), context=contextvars.Context())
        try:
            await asyncio.wait({asked, self.owner}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
            raise ServerError(explain(self.error))
        finally:
            self._waiting -= 1
            if self._look is not None and not self._waiting:
                self._look.cancel()
                self._look = None
            if asked.cancel():
                await asyncio.wait({asked})

    async def _look_for_server(self) -> None:
        """Ask now and then whether the server is there, and end the session if it is not.

        Over HTTP only a further request shows it: `mcp` keeps those waiting whose stream broke.
        """
        while self.session is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS):  # it may be busy
                    await self.session.send_ping()
            except Exception as error:  # noqa: BLE001  # of the `mcp` package, which is not imported here
                if _is_unknown_session(error):
                    self.error = error
                    self._stop.set()
                    return

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
    """Return the tools of a server as they are now, all pages of them, or raise a `ServerError`."""
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


# --- one server ---------------------------------------------------------------------------------


class Server:
    """A server that is opened when it is needed, and again when it was lost."""

    def __init__(
        self, name: str, connection: Mapping[str, Any], *, callbacks: Any, connect_seconds: float
    ) -> None:
        self.name = name
        self.version = 0  # grows whenever the server's tools may have changed
        self._connection = connection
        self._callbacks = callbacks
        self._seconds = connect_seconds
        self._link: _Link | None = None
        self._closed = False
        self._known: list[Any] | None = None
        self._types: tuple[list[Any] | None, dict[str, ResultType | None]] = None, {}

    async def list_tools(self) -> list[Any]:
        """Return the tools of a server as they are now, all pages of them, or raise a `ServerError`."""
        return await run_on(mcp_loop.start(), self._list_tools())

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        progress: Progress | None = None,
        *,
        headers: Mapping[str, Any] | None = None,
    ) -> CallAnswer:
        """Call a tool and return its answer; with `headers` in a session of its own. Raises `ToolException` only."""
        if headers is None or "url" not in self._connection:
            return await run_on(mcp_loop.start(), self._call(tool, arguments, progress))
        merged = {**(self._connection.get("headers") or {}), **headers}
        own = Server(
            self.name,
            {**self._connection, "headers": merged},
            callbacks=self._callbacks,
            connect_seconds=self._seconds,
        )
        try:
            return await own.call(tool, arguments, progress)
        finally:
            await own.close()

    def result_type(self, tool: str) -> ResultType | None:
        """Return what a tool gives, as the server listed it last; None if it does not say."""
        listed, known = self._types
        if listed is not self._known:
            listed, known = self._types = self._known, {}
        if tool not in known:
            schemas = (read_field(t, "outputSchema") for t in listed or () if t.name == tool)
            schema = next(schemas, None)
            known[tool] = None if schema is None else ResultType(schema)
        return known[tool]

    async def close(self) -> None:
        """End the session for good."""
        await run_on(mcp_loop.start(), self._close())

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
        if link is None or link.is_lost or link.owner.get_loop() is not mcp_loop.start():
            opening = _open_session(self._connection, self._session_options())
            link = self._link = _Link(
                opening, self._seconds, is_process="url" not in self._connection
            )
        await link.opened()
        if self._known is None:
            self._known = link.tools
        elif link.tools != self._known:
            self._known = link.tools
            self.version += 1
        return link

    def _session_options(self) -> dict[str, Any]:
        given = self._connection.get("session_kwargs") or {}
        users = given.get("message_handler")

        async def listen(message: object) -> None:
            notification = getattr(message, "root", message)
            if getattr(notification, "method", None) == LIST_CHANGED:
                self.version += 1
            if users is not None:
                await users(message)

        options = {**given, "message_handler": listen}
        if self._callbacks is not None:
            from langchain_mcp_adapters.callbacks import CallbackContext

            own = self._callbacks.to_mcp_format(context=CallbackContext(server_name=self.name))
            for kind in ("logging_callback", "elicitation_callback"):
                if getattr(own, kind) is not None:
                    options[kind] = getattr(own, kind)
        return options

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
        may_ask_again = True
        while True:
            try:
                link = await self._connect()
            except ServerError as error:
                raise self._lost(str(error), "did not reach it") from error
            try:
                return await link.ask(request_call(link.session, tool, arguments, progress))
            except ServerError as error:
                raise self._lost(str(error), "may have been made") from error
            except Exception as error:  # of the `mcp` package, which is not imported here
                is_unknown = _is_unknown_session(error)
                if str(error).startswith(STREAM_ENDED):
                    raise self._lost(explain(error), "may have been made") from error
                is_closed = type(error).__name__ in CLOSED_STREAMS
                if not (is_unknown or is_closed or str(error) == CONNECTION_CLOSED):
                    raise ToolException(str(error) or type(error).__name__) from error
                await link.close()
                if not (is_unknown or is_closed):
                    raise self._lost(explain(error), "may have been made") from error
                # The session was over before the request was sent: once more, in a new one.
                if not may_ask_again:
                    raise self._lost(explain(error), "did not reach it") from error
                may_ask_again = False

    def _lost(self, reason: str, what: str) -> ToolException:
        if self._closed:
            return ToolException(
                f"the session with the MCP server {self.name!r} was closed with its catalog"
            )
        return ToolException(
            f"the MCP server {self.name!r} is gone ({reason}); this call {what}; the next call "
            "connects again"
        )


def _is_unknown_session(error: Exception) -> bool:
    code = read_field(read_field(error, "error"), "code")
    is_text = str(error) in SESSION_UNKNOWN_TEXTS
    return code == SESSION_UNKNOWN or (is_text and code in SESSION_UNKNOWN_CODES)


# --- transports -----------------------------------------------------------------------------------

TRANSPORTS = ("stdio", "http", "streamable_http", "streamable-http", "sse")
HTTP_SECONDS = 30.0
SSE_SECONDS = 5.0
READ_SECONDS = 300.0
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@asynccontextmanager
async def _open_session(
    connection: Mapping[str, Any], options: Mapping[str, Any]
) -> AsyncIterator[Any]:
    """Connect to a server and yield a `ClientSession`, which is not yet initialized."""
    kind = _checked(connection)
    given = {k: v for k, v in connection.items() if k not in ("transport", "session_kwargs")}
    from mcp import ClientSession

    async with AsyncExitStack() as stack:
        streams = await _connect(kind, given, stack)
        # Line 1 has a third value: how to learn the session's id.
        yield await stack.enter_async_context(ClientSession(*streams[:2], **options))


def _checked(connection: Mapping[str, Any]) -> str:
    transport = connection.get("transport")
    if transport not in TRANSPORTS:
        is_missing = "transport" not in connection
        problem = "Missing 'transport'" if is_missing else f"'transport' cannot be {transport!r}"
        raise ValueError(f"{problem}: it must be 'stdio', 'http' or 'sse'")
    for key in ("command", "args") if transport == "stdio" else ("url",):
        if key not in connection:
            raise ValueError(f"a connection over {transport} needs {key!r}")
    return str(transport)


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
    if not hasattr(http, "httpx2"):
        client.event_hooks["response"].append(functools.partial(_answer_call, httpx.ByteStream))
    await stack.enter_async_context(client)
    return await stack.enter_async_context(streamable_http_client(**given, http_client=client))


async def _answer_call(stream_of: Callable[[bytes], Any], response: Any) -> None:
    """Turn an HTTP error, or content that is not a JSON-RPC response, into an error response to the tool call.

    Line 1 of `mcp` would end the session on an error, and with it all calls in flight; after a login page, the
    call would wait for ever.
    """
    status, kind = response.status_code, response.headers.get("content-type", "")
    is_page = status < 300 and not kind.startswith(("application/json", "text/event-stream"))
    if not (is_page or status in (403, 429) or status >= 500) or response.is_stream_consumed:
        return
    try:
        asked = json.loads(response.request.content)
        is_call = asked["method"] == "tools/call"
    except (ValueError, TypeError, LookupError):
        return
    if is_call:
        content = (
            f" with content of type {kind[:100]!r}, not a JSON-RPC response" if is_page else ""
        )
        text = f"the server answered {status} {response.reason_phrase}{content}"
        error = {"code": -32_000, "message": text}
        answer = {"jsonrpc": "2.0", "id": asked.get("id"), "error": error}
        await response.stream.aclose()
        response.stream, response.status_code = stream_of(json.dumps(answer).encode()), 200
        response.headers.clear()
        response.headers["content-type"] = "application/json"


def _seconds(given: float | timedelta) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else float(given)


def _expand(value: str) -> str:
    """Return `value` with `${NAME}` replaced where the environment has NAME."""
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)


# --- what a server over stdio writes to its standard error --------------------------------------

_CHUNK_BYTES = 65_536


@contextmanager
def server_errors() -> Iterator[IO[str]]:
    """Yield the standard error of a server; on a terminal a pipe, of which a harmless copy is written."""
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
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while part := pipe.read(_CHUNK_BYTES):
            sys.stderr.write(visible(decode(part)))
            sys.stderr.flush()
