"""Non-blocking sockets on one event loop: with a bound on what they have not taken yet, with TLS, in pairs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from langchain_ptc.sandbox.host.connection import watcher_of
from langchain_ptc.sandbox.host.workers import Socket

RECEIVE_BYTES = 64 * 1024
"""At a time; more than the largest record of TLS, of which nothing may stay where no selector sees it."""


def prepare(sock: socket.socket) -> None:
    """Make a connected socket ready for messages that must not wait."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def receive(sock: Socket) -> bytes:
    """Return the next bytes, empty at the end; `OSError` if the connection is broken."""
    while True:
        try:
            return sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            await ready(sock)


async def ready(sock: Socket, *, to_write: bool = False) -> None:
    """Wait until there is something to read, or room to write."""
    loop, number = asyncio.get_running_loop(), sock.fileno()
    watcher, waiting = watcher_of(loop), loop.create_future()
    add = watcher.add_writer if to_write else watcher.add_reader
    add(number, _settle, waiting)
    try:
        await waiting
    finally:
        (watcher.remove_writer if to_write else watcher.remove_reader)(number)


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Outbox:
    """What a socket has been given and has not taken yet, in order; it stays the caller's to close, after `close`.

    `on_empty` is called when all has been taken, after there was something left.
    """

    def __init__(self, sock: Socket, on_empty: Callable[[], None] = lambda: None) -> None:
        self._sock, self._on_empty = sock, on_empty
        self._watcher = watcher_of(asyncio.get_running_loop())
        self._unsent = bytearray()
        self.is_open = True
        """False once it was closed, or the other end takes no more: what is given now is dropped."""

    @property
    def size(self) -> int:
        """Bytes that are left."""
        return len(self._unsent)

    def send(self, data: bytes) -> None:
        """Send now, or as soon as there is room."""
        if not self.is_open:
            return
        sent = 0 if self._unsent else self._try(data)
        if sent < len(data) and self.is_open:
            if not self._unsent:
                self._watcher.add_writer(self._sock.fileno(), self._write)
            self._unsent += memoryview(data)[sent:]

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # reading says so too
            self.close()
            return 0

    def _write(self) -> None:
        del self._unsent[: self._try(self._unsent)]
        if not self._unsent:
            if self.is_open:
                self._watcher.remove_writer(self._sock.fileno())
            self._on_empty()

    def close(self) -> None:
        """Send nothing more; idempotent."""
        if self.is_open:
            self.is_open = False
            if self._unsent:
                self._unsent.clear()
                self._watcher.remove_writer(self._sock.fileno())


# --- TLS, with the face of a plain socket ---------------------------------------------------------

_RECORD_BYTES = 16 * 1024  # the most that a record of TLS holds


def server_tls(
    certificate: str | Path, key: str | Path | None = None, client_ca: str | Path | None = None
) -> ssl.SSLContext:
    """Return the context of a server.

    Args:
        certificate: File with its certificate and those in between, in PEM.
        key: File with its private key, not encrypted; None if the file of the certificate has it.
        client_ca: File with the certificates of who signs those of hosts; None asks hosts for none.

    Raises:
        OSError: A file cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # to read one takes Python longer than a certificate
    context.load_cert_chain(certificate, key, password="")  # no prompt for one
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(ca: str | Path | None = None) -> ssl.SSLContext:
    """Return the context of a host, which trusts whom a file in PEM lists, else whom the system trusts.

    Raises `OSError` if the file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class TlsSocket:
    """A socket whose handshake is over; see `Socket`.

    `recv` takes one record at a time. It must be asked for as much as a record holds (16 KiB): what is left of
    one is in memory, where no selector sees it. `send` must be given the same bytes again, and may be given
    more, after it has raised `BlockingIOError`.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._begun = b""  # what TLS has encrypted, and the socket below has not taken all of

    def fileno(self) -> int:
        """Return the descriptor of the socket below; -1 once it is closed."""
        return self._sock.fileno()

    def recv(self, size: int, /) -> bytes:
        """Return what has come, empty at the end; `BlockingIOError` if nothing has, `OSError` if it is broken."""
        if size < _RECORD_BYTES:
            raise ValueError(f"recv must be asked for {_RECORD_BYTES} bytes at least, not {size}")
        try:
            return self._sock.recv(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Send what is taken at once, and return how much; `BlockingIOError` if nothing is, `OSError` if it is broken."""
        sent = 0
        with memoryview(data) as view:
            while sent < len(view):
                piece = self._begun or bytes(view[sent : sent + _RECORD_BYTES])
                try:
                    self._sock.send(piece)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    self._begun = piece
                    break
                self._begun = b""
                sent += len(piece)
        if not sent and len(data):
            raise BlockingIOError
        return sent

    def shutdown(self, how: int, /) -> None:
        """End one direction of the connection below."""
        socket.socket.shutdown(self._sock, how)  # that of `SSLSocket` would go on without TLS

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option of the connection below."""
        self._sock.setsockopt(level, option, value)

    def close(self) -> None:
        """Close it; idempotent."""
        self._sock.close()


async def secure(
    sock: socket.socket, context: ssl.SSLContext, *, hostname: str | None = None
) -> TlsSocket:
    """Make a connected, non-blocking socket one of TLS; it is closed if that fails.

    `hostname` is which server it should be; None on a server. Raises `OSError` if the other end speaks no TLS, or shows
    no certificate that is trusted.
    """
    wrapped = context.wrap_socket(
        sock,
        server_side=hostname is None,
        server_hostname=hostname,
        do_handshake_on_connect=False,
    )
    try:
        while True:
            try:
                wrapped.do_handshake()
                return TlsSocket(wrapped)
            except ssl.SSLWantReadError:
                await ready(wrapped)
            except ssl.SSLWantWriteError:
                await ready(wrapped, to_write=True)
    except BaseException:
        wrapped.close()
        raise


# --- from one socket to another -------------------------------------------------------------------


class Flow:
    """One direction: reads only when what it read before has been taken, so that it holds one piece at most.

    What the target does not take any more, because it is gone, is read and dropped: the end of the source is
    seen in any case. Then `on_end` is called, once. Both sockets stay the caller's to close, after `close`.
    """

    def __init__(self, source: Socket, target: Socket, on_end: Callable[[], None]) -> None:
        self._source, self._on_end = source, on_end
        self._outbox = Outbox(target, self._go_on)
        self._loop = asyncio.get_running_loop()
        self._reads = self._is_over = self._is_closed = False
        self.carried = 0  # bytes that came

    def start(self, data: bytes = b"") -> None:
        """Begin, with what was read before."""
        self._take(data)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_closed or self._outbox.size:
            return
        if self._is_over:
            self._on_end()
        elif not self._reads:
            self._reads = True
            self._loop.add_reader(self._source.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._source.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._take(data)
        if not data or self._outbox.size:
            self._stop()
        if not data:
            self._is_over = True
            self._go_on()

    def _take(self, data: bytes) -> None:
        self.carried += len(data)
        if data:
            self._outbox.send(data)

    def _stop(self) -> None:
        if self._reads:
            self._reads = False
            self._loop.remove_reader(self._source.fileno())

    def drop(self) -> None:
        """Leave the target alone: what comes from now on is read and dropped."""
        self._outbox.close()
        self._go_on()

    def close(self) -> None:
        """Carry nothing more; idempotent."""
        self._is_closed = True
        self._stop()
        self._outbox.close()


# --- from a host to a server over the network; through one stream of bytes in `streams` -----------


class Connector(Protocol):
    """Connects to one server as often as it is asked to, on one event loop."""

    name: str  # what errors call the server

    async def connect(self, *, to_same: bool = False) -> Socket:
        """Return a new connection.

        Args:
            to_same: Whether it must reach the server that the last connection without it has reached: a name
                may stand for several.

        Raises:
            OSError: The server cannot be reached, or is not the one that it should be.
        """

    async def close(self) -> None:
        """Connect no more; end what it has started for that."""


class TcpConnector:
    """Connects over TCP to `host:port` or `[address]:port`, or raises `ValueError`; plain if `tls` is None."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise ValueError(f"an address is host:port, got {address!r}")
        self.name = address
        self._host, self._port, self._tls = host.strip("[]"), int(port), tls
        self._found: tuple[int, Any] | None = None

    async def connect(self, *, to_same: bool = False) -> Socket:
        """Return a new connection; see `Connector`."""
        if to_same and self._found is not None:
            return await self._reach(*self._found)
        problem: OSError | None = None
        for family, _, _, _, address in await asyncio.get_running_loop().getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        ):
            try:
                sock = await self._reach(family, address)
            except OSError as error:
                problem = problem or error
            else:
                self._found = family, address
                return sock
        raise problem or OSError(f"{self.name} has no address")

    async def _reach(self, family: int, address: Any) -> Socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            prepare(sock)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock if self._tls is None else await secure(sock, self._tls, hostname=self._host)

    async def close(self) -> None:
        """Nothing is kept."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for sure, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
