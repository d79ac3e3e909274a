"""`Server`: gives the workers of this machine to hosts that know its token; see `messages`.

Everything runs on one event loop. Connections that have shown neither the token nor an announced secret are
bounded in number and time; one too many closes the oldest. An execution holds its worker, its connection, and
one piece of data each way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import Self

from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.process import (
    Require,
    check_positive,
    checked_imports,
    local_options,
    require_folder,
    require_kernel,
)
from langchain_ptc.sandbox.host.workers import Allowance, Exit, Socket, Worker, default_most
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.messages import (
    GREETING_BYTES,
    GREETING_MAGIC,
    GREETING_SECONDS,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    encode,
    read_greeting,
)
from langchain_ptc.sandbox.remote.sockets import Flow, Outbox, prepare, receive, secure
from langchain_ptc.sandbox.wire.protocol import MAX_CPU_SECONDS, MAX_MEMORY_BYTES

MAX_PENDING = 256
MAX_HOSTS = 256
MAX_DEPTH = 8  # executions that one may be inside of: each depth has workers of its own
MIN_TOKEN_LENGTH = 16
HOST_SILENT_SECONDS = 15.0
"""How long a host may say nothing: it pings every second, unless it is stopped or cut off."""
WRONG_TOKEN_SECONDS = 1.0  # how long whoever guesses a token waits for the answer
_MAX_UNSENT_BYTES = 256 * 1024  # what a host may leave unread on its control connection
_EXIT_SECONDS = 1.0  # how long to wait to hear how a worker ended that has closed its channel
LINGER_SECONDS = 5.0
"""How long the host may take to read what is left of a worker that has ended, and to hang up."""
_ACCEPT_PAUSE_SECONDS = 0.5
_REFILL_SECONDS = 0.01
_PROBE = Allowance(cpu_seconds=10, memory_bytes=512 * 2**20)
_SECRET = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger("langchain_ptc.server")


class _SentAway(m.RemoteProtocolError):
    """A host may not ask for workers, and was told why."""


class Server:
    """Workers of this machine, for hosts elsewhere.

    It is used as `async with Server(token=...) as server`; in a thread of another program by
    `BackgroundLoop("name").run(server.start())`, and `close` in the same way.

    Args:
        token: What a host must know, at least 16 characters: whoever knows it may run code in workers. None for a
            server that listens nowhere, and serves the connections that `meet` gives it.
        host: Name or address of the interface to listen on.
        port: Port to listen on; 0 lets the system choose one.
        tls: What to secure connections with, see `server_tls`; None leaves them plain, token included.
        files: With a folder for each worker it serves hosts that ask for one, and no others.

    The others are those of `ProcessSandbox`; where `require` does not hold, it does not start.

    Raises:
        ValueError: The token is too short, a number is not positive, `require` is not a level, or `files`
            is no size, or needs another level.
        SandboxError: `files` on a system other than Linux.
    """

    def __init__(
        self,
        *,
        token: str | None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        imports: Sequence[str] = (),
        waiting_workers: int = 4,
        max_workers: int | None = None,
        files: bool | int = False,
        require: Require | None = None,
    ) -> None:
        if token is not None and len(token) < MIN_TOKEN_LENGTH:
            raise ValueError(f"token must have at least {MIN_TOKEN_LENGTH} characters")
        check_positive(waiting_workers=waiting_workers, max_workers=max_workers)
        self._token = None if token is None else token.encode()
        self._host, self._port, self._tls = host, port, tls
        self._require, self._files_bytes = local_options(require, files)
        self._imports = checked_imports(imports)
        self.capacity = max_workers or default_most()
        """Workers that it gives at a time, at each depth."""
        self.pool = WorkerPool(
            self._imports,
            waiting=waiting_workers,
            most=self.capacity,
            files_bytes=self._files_bytes,
        )
        self.address = (host, port)  # where it listens, once it has started
        self.is_draining = False  # whether it gives no more workers
        self.counts: Counter[str] = Counter()  # what has happened since it was started, by name
        self.cpu_seconds = 0.0  # what workers have used that ended by themselves or by a limit
        self.executions: dict[str, _Execution] = {}
        """Those that have or await a worker, by their secrets."""
        self.hosts: set[_Host] = set()
        self._busy: Counter[int] = Counter()
        self._pending: dict[asyncio.Task[None], None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.awaited: dict[str, asyncio.Future[_Execution]] = {}
        """Connections whose secret nobody has announced yet."""
        self._lingering: dict[_Execution, None] = {}
        self._listener: socket.socket | None = None
        self._idle = asyncio.Event()

    # --- its life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start workers, see that they are confined as required, and listen.

        Raises:
            SandboxError: Workers cannot be started or confined here.
            OSError: The address cannot be listened on.
        """
        self._loop = asyncio.get_running_loop()
        self.pool.start()
        try:
            worker = await asyncio.wrap_future(self.pool.checkout(_PROBE))
            self.pool.discard(worker)
            self.layers = dict(worker.layers)
            if self._require == "kernel":
                require_kernel(self.layers)
            if self._files_bytes:
                require_folder(self.layers)
            if self._token is not None:
                await self._listen()
        except BaseException:
            await self.close()
            raise

    async def _listen(self) -> None:
        found = await self._loop.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=512)
        listener.setblocking(False)
        self._listener = listener
        self.address = listener.getsockname()[:2]
        self._listen_on()

    async def drain(self, seconds: float) -> None:
        """Give no more workers, and wait until the last one has ended, `seconds` at most."""
        self.is_draining = True
        for host in list(self.hosts):
            host.send(m.Room(0))
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def close(self) -> None:
        """End every execution, connection and worker; idempotent."""
        self.is_draining = True
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for execution in list(self._lingering):
            self._forget(execution)
        await asyncio.to_thread(self.pool.close)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- new connections ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors: whoever waits is served when there are some
            logger.warning("no connection can be accepted at the moment: %s", error.strerror)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_ACCEPT_PAUSE_SECONDS, self._listen_on)
            return
        self.meet(sock)

    def _listen_on(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def meet(self, sock: socket.socket) -> None:
        """Serve a connection, which is the server's from here on."""
        if len(self._pending) >= MAX_PENDING:
            self.counts["connections_dropped"] += 1
            next(iter(self._pending)).cancel()
        task = self._loop.create_task(self._serve(sock))
        self._pending[task] = None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, raw: socket.socket) -> None:
        """Serve one connection, until it has ended or an execution has it."""
        sock: Socket = raw
        peer = _name_peer(raw)
        task = asyncio.current_task()
        assert task is not None
        kept = False
        try:
            prepare(raw)
            async with asyncio.timeout(GREETING_SECONDS):
                if self._tls is not None:
                    sock = await secure(raw, self._tls)
                data = await self._read_first(sock)
                if data.startswith(GREETING_MAGIC):
                    kept = await self._join(sock, data)
                    return
                host = await self._admit(sock, data)
            self._pending.pop(task, None)
            logger.info("a host has come: %s", peer)
            await host.serve()
            logger.info("a host has gone: %s", peer)
        except (m.RemoteProtocolError, ssl.SSLError) as error:
            self.counts["connections_refused"] += 1
            is_host = isinstance(error, _SentAway) or task not in self._pending
            level = (
                logging.WARNING if is_host else logging.DEBUG
            )  # whoever scans ports fills no log
            logger.log(level, "the connection of %s is closed: %s", peer, error)
        except (OSError, TimeoutError):
            pass
        finally:
            self._pending.pop(task, None)
            if not kept:
                sock.close()

    async def _read_first(self, sock: Socket) -> bytes:
        """Return what a connection begins with: as much as tells its kind, and what came with that."""
        data = b""
        while len(data) < len(GREETING_MAGIC):
            data += await _receive_some(sock)
        return data

    async def _join(self, sock: Socket, data: bytes) -> bool:
        """Give a connection to the execution whose secret it says; return whether there was one."""
        while len(data) < GREETING_BYTES:
            data += await _receive_some(sock)
        secret = read_greeting(data[:GREETING_BYTES])
        execution = self.executions.get(secret)
        if execution is None:  # its connections may come in either order
            if secret in self.awaited:
                return False
            announced = self.awaited[secret] = self._loop.create_future()
            try:
                execution = await announced
            finally:
                self.awaited.pop(secret, None)
        return execution.join(sock, data[GREETING_BYTES:])

    async def _admit(self, sock: Socket, data: bytes) -> _Host:
        """Check who asks for workers, and welcome them; `RemoteProtocolError` if it is nobody who may."""
        decoder = m.Decoder(MAX_HELLO_BYTES)
        first = next(decoder.feed(data), None)
        while first is None:
            first = next(decoder.feed(await _receive_some(sock)), None)
        decoder.limit = MAX_MESSAGE_BYTES
        if not isinstance(first, m.Hello):
            raise m.RemoteProtocolError("a connection begins with what is no greeting")
        why = await self._judge(first)
        if why:
            sock.send(encode(m.Goodbye(why)))
            raise _SentAway(why)
        host = _Host(self, sock, decoder)
        self.hosts.add(host)
        offer = self._imports, self.layers, self.capacity, self.room(), self._files_bytes
        host.send(m.Welcome(*offer))
        return host

    async def _judge(self, first: m.Hello) -> str:
        """Return why a host is sent away; empty if it is not."""
        token = first.token.encode("utf-8", "replace")
        if self._token is not None and not hmac.compare_digest(token, self._token):
            self.counts["wrong_tokens"] += 1
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
            return "the token is wrong"
        ours = m.Hello(first.token, version("langchain-ptc"))
        if first != ours:
            return (
                f"the server has langchain-ptc {ours.version}, Python {ours.python} and protocol "
                f"{ours.protocol}; the host has {first.version[:40]!r}, {first.python[:40]!r} and "
                f"{first.protocol}: install the same on both"
            )
        if self.is_draining:
            return "the server is shutting down"
        if len(self.hosts) >= MAX_HOSTS:
            return f"the server has {MAX_HOSTS} hosts already"
        return ""

    # --- executions ---------------------------------------------------------------------------------

    def room(self, depth: int = 0) -> int:
        """Return how many more workers it would give."""
        return 0 if self.is_draining else max(0, self.capacity - self._busy[depth])

    def open(self, host: _Host, asked: m.Open) -> None:
        """Ask the pool for a worker, or refuse it at once."""
        if not _SECRET.fullmatch(asked.secret) or asked.secret in self.executions:
            raise m.RemoteProtocolError("a secret that is malformed, or in use")
        why = _excess(asked)
        if why or not self.room(asked.depth):
            self.counts["refused"] += 1
            host.wants_room = host.wants_room or not why
            host.send(m.Refused(asked.secret, why, self.room()))
            return
        self._busy[asked.depth] += 1
        self._idle.clear()
        allowance = Allowance(asked.cpu_seconds, asked.memory_bytes)
        taken = self.pool.checkout(allowance, depth=asked.depth, fresh=asked.fresh)
        execution = self.executions[asked.secret] = _Execution(self, host, asked, taken)
        host.executions[asked.secret] = execution
        announced = self.awaited.pop(asked.secret, None)
        if announced is not None and not announced.done():
            announced.set_result(execution)
        self.when_done(taken, execution.begin)

    def when_done(self, future: Future[Worker] | Future[Exit], action: Callable[[], None]) -> None:
        """Call `action` on the loop when a future of the pool is done, now if it is."""
        if future.done():
            action()
            return

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(action)

        future.add_done_callback(tell)

    def release(self, execution: _Execution) -> None:
        """Take back the place of an execution that has ended."""
        del self.executions[execution.secret]
        execution.host.executions.pop(execution.secret, None)
        self._busy[execution.depth] -= 1
        self._note_idle()
        for host in self.hosts:
            if host.wants_room and not self.is_draining:
                host.wants_room = False
                host.send(m.Room(self.room()))

    def linger(self, execution: _Execution) -> None:
        """Let the host read what is left, for a while, and hang up."""
        self._lingering[execution] = None
        self._loop.call_later(LINGER_SECONDS, self._forget, execution)
        while len(self._lingering) > self.capacity:
            self._forget(next(iter(self._lingering)))

    def _forget(self, execution: _Execution) -> None:
        self._lingering.pop(execution, None)
        execution.hang_up()

    def _note_idle(self) -> None:
        if not self.executions:
            self._idle.set()


def _excess(asked: m.Open) -> str:
    """Return which figure of a request is beyond what there is; empty if none is."""
    figures = (
        ("cpu_seconds", asked.cpu_seconds, 1, MAX_CPU_SECONDS),
        ("memory_bytes", asked.memory_bytes, 1, MAX_MEMORY_BYTES),
        ("the depth", asked.depth, 0, MAX_DEPTH),
    )
    for name, given, least, most in figures:
        if not least <= given <= most:
            return f"{name} must be {least} to {most}, got {given}"
    return ""


def _name_peer(sock: socket.socket) -> str:
    with contextlib.suppress(OSError):
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return str(sock.getpeername()[0])
    return "its parent"


async def _receive_some(sock: Socket) -> bytes:
    """Return the next bytes of a new connection; whoever hangs up has the same end as who is silent."""
    data = await receive(sock)
    if not data:
        raise ConnectionResetError
    return data


class _Host:
    """A control connection that was admitted."""

    def __init__(self, server: Server, sock: Socket, decoder: m.Decoder) -> None:
        self._server, self._sock, self._decoder = server, sock, decoder
        self._outbox = Outbox(sock)
        self.executions: dict[str, _Execution] = {}
        self.wants_room = False  # whether it was refused a worker, and has not heard of room since

    def send(self, message: m.Message) -> None:
        """Send a message; a host that does not read is sent away."""
        self._outbox.send(encode(message))
        if self._outbox.size > _MAX_UNSENT_BYTES:
            self._outbox.close()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    async def serve(self) -> None:
        """Do what it asks for, until it hangs up or falls silent; end its executions then."""
        data = b""  # something may have come with `Hello`
        try:
            while True:
                for message in self._decoder.feed(data):
                    self._take(message)
                await asyncio.sleep(0)  # others have their turn, however much it sends
                async with asyncio.timeout(HOST_SILENT_SECONDS):
                    data = await receive(self._sock)
                if not data:
                    return
        finally:
            self._server.hosts.discard(self)
            for execution in list(self.executions.values()):
                execution.end(_UNKNOWN, hangs_up=True)
            self._outbox.close()

    def _take(self, message: m.Message) -> None:
        match message:
            case m.Ping():
                self.send(m.Pong(self._server.room()))
            case m.Open():
                self._server.open(self, message)
            case m.Watch(secret, wall_seconds):
                if (execution := self.executions.get(secret)) is not None:
                    execution.watch(wall_seconds)
            case m.Kill(secret):
                if (execution := self.executions.get(secret)) is not None:
                    execution.end(_UNKNOWN, hangs_up=True)
            case _:
                raise m.RemoteProtocolError(f"a host does not send {type(message).__name__}")


_UNKNOWN = Exit(-1, 0.0)


class _Execution:
    """A worker that was asked for, its connection once it comes, and what passes between them."""

    def __init__(self, server: Server, host: _Host, asked: m.Open, taken: Future[Worker]) -> None:
        self._server, self.host = server, host
        self.secret, self.depth = asked.secret, asked.depth
        self._taken = taken
        self._worker: Worker | None = None
        self._sock: Socket | None = None
        self._first = b""
        self._flows: tuple[Flow, Flow] | None = None
        self._wall_seconds: float | None = None
        self._exit: Exit | None = None
        self._has_said_all = self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Take the worker that the pool has given, or hear why it gives none."""
        if self._is_over:
            if not self._taken.cancelled() and self._taken.exception() is None:
                self._server.pool.discard(self._taken.result())
            return
        error = self._taken.exception()
        if error is not None:
            self._is_over = True
            self._server.release(self)
            self.host.send(m.Refused(self.secret, str(error), self._server.room()))
            self.hang_up()
            return
        worker = self._worker = self._taken.result()
        self._server.counts["executions"] += 1
        self.host.send(m.Opened(self.secret))
        self._end_after(GREETING_SECONDS)
        asyncio.get_running_loop().call_later(_REFILL_SECONDS, self._server.pool.refill)
        self._server.when_done(worker.exited, self._on_exit)
        if self._wall_seconds is not None:
            self.watch(self._wall_seconds)
        self._connect()

    def join(self, sock: Socket, data: bytes) -> bool:
        """Take its connection, and what has come on it; return False if it has one or is over."""
        if self._is_over or self._sock is not None:
            return False
        self._sock, self._first = sock, data
        self._connect()
        return True

    def watch(self, wall_seconds: float) -> None:
        """Have its limit of wall time begin now."""
        self._wall_seconds = wall_seconds
        if self._worker is not None:
            self._server.pool.watch(self._worker, wall_seconds)
            self._go_on()

    def _connect(self) -> None:
        worker, sock = self._worker, self._sock
        if worker is None or sock is None or self._is_over:
            return
        up = Flow(sock, worker.socket, self._on_host_gone)
        down = Flow(worker.socket, sock, self._on_all_said)
        self._flows = up, down
        self._go_on()
        down.start()
        up.start(self._first)
        self._first = b""

    def _go_on(self) -> None:
        """End the time in which its host must connect and say how long it may take."""
        if self._flows is not None and self._wall_seconds is not None and self._exit is None:
            self._cancel_timer()

    # --- its end ------------------------------------------------------------------------------------

    def _on_host_gone(self) -> None:
        if self._is_over:
            self.hang_up()
        else:
            self.end(_UNKNOWN, hangs_up=True)

    def _on_all_said(self) -> None:
        self._has_said_all = True
        if self._exit is not None:
            self.end(self._exit)
        else:
            self._end_after(_EXIT_SECONDS)

    def _on_exit(self) -> None:
        assert self._worker is not None
        self._exit = self._worker.exited.result()
        if self._has_said_all or self._flows is None:
            self.end(self._exit)
        else:
            self._end_after(LINGER_SECONDS)

    def _end_after(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.end(self._exit or _UNKNOWN, hangs_up=not self._has_said_all)

    def end(self, ended: Exit, *, hangs_up: bool = False) -> None:
        """Say how it ended, and give all back; `hangs_up`: what the host has not read may be lost. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        self._cancel_timer()
        worker, timed_out = self._worker, False
        if worker is None:
            self._taken.cancel()
        else:
            timed_out = worker.timed_out
            self._count(ended, timed_out)
            self._stop_flows(reads_on=not hangs_up)
            self._server.pool.discard(worker)
        self.host.send(m.Ended(self.secret, ended.status, ended.cpu_seconds, timed_out))
        self._server.release(self)
        if hangs_up or self._sock is None:
            self.hang_up()
            return
        # Closing with something unread would reset the connection, and so lose what is on its way.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._server.linger(self)

    def _count(self, ended: Exit, timed_out: bool) -> None:
        counts = self._server.counts
        counts["wall_limits"] += timed_out
        self._server.cpu_seconds += ended.cpu_seconds
        if self._flows is not None:
            counts["bytes_to_workers"] += self._flows[0].carried
            counts["bytes_from_workers"] += self._flows[1].carried

    def _stop_flows(self, *, reads_on: bool) -> None:
        if self._flows is not None:
            up, down = self._flows
            down.close()
            up.drop() if reads_on else up.close()

    def hang_up(self) -> None:
        """Close its connection; idempotent."""
        self._stop_flows(reads_on=False)
        self._flows = None
        if self._sock is not None:
            self._sock.close()


# --- whether it lives and takes executions, and its figures: plain HTTP, for probes and Prometheus ----------

REQUEST_SECONDS = 5.0  # for one request and its answer
_MAX_REQUEST_BYTES = 8 * 1024
MAX_CONNECTIONS = 32
_COUNTERS = {
    "executions": "Workers given.",
    "refused": "Requests for a worker that were refused.",
    "wall_limits": "Executions that were ended because their wall limit had come.",
    "bytes_to_workers": "Bytes that hosts sent to workers.",
    "bytes_from_workers": "Bytes that workers sent to hosts.",
    "connections_refused": "Connections that broke the protocol, TLS included, or may not ask for workers.",
    "connections_dropped": "Connections closed because too many had not said who they are.",
    "wrong_tokens": "Connections with a wrong token.",
}


class Health:
    """Answers `/healthz`, `/readyz` and `/metrics`; it takes no token, and says nothing but figures."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open = 0
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; `OSError` if the address cannot be listened on."""
        self._listening = await asyncio.start_server(
            self._answer, host, port, limit=_MAX_REQUEST_BYTES
        )
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._respond(request))
                    await writer.drain()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            writer.close()

    def _respond(self, request: bytes) -> bytes:
        method, path, *_ = [*request.split(b" ", 2), b"", b""]
        status, text = "200 OK", "ok\n"
        if method not in (b"GET", b"HEAD"):
            status, text = "405 Method Not Allowed", "GET only\n"
        elif path == b"/readyz" and self._server.is_draining:
            status, text = "503 Service Unavailable", "draining\n"
        elif path == b"/metrics":
            text = "".join(f"{line}\n" for line in self._metrics())
        elif path not in (b"/healthz", b"/readyz"):
            status, text = "404 Not Found", "there are /healthz, /readyz and /metrics\n"
        body = text.encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else body)

    def _metrics(self) -> Iterator[str]:
        server = self._server
        stats = server.pool.stats()
        yield from _metric("capacity", "gauge", "Workers given at a time.", server.capacity)
        yield from _metric("room", "gauge", "Workers that would be given now.", server.room())
        yield from _metric("running", "gauge", "Executions that have a worker.", stats.running)
        yield from _metric("idle", "gauge", "Workers that wait for an execution.", stats.idle)
        yield from _metric("hosts", "gauge", "Hosts that are connected.", len(server.hosts))
        yield from _metric("draining", "gauge", "1 if no workers are given.", server.is_draining)
        for name, text in _COUNTERS.items():
            yield from _metric(f"{name}_total", "counter", text, server.counts[name])
        seconds = round(server.cpu_seconds, 3)
        text = "Processor time of workers that ended by themselves or by a limit."
        yield from _metric("cpu_seconds_total", "counter", text, seconds)


def _metric(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield f"# HELP langchain_ptc_{name} {text}"
    yield f"# TYPE langchain_ptc_{name} {kind}"
    yield f"langchain_ptc_{name} {value + 0}"
