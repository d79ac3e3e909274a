"""Non-blocking sockets on one event loop, with a bound on what they have not taken yet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from langchain_ptc.sandbox.host.watching import watcher_of
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
    """Return the next bytes; empty at the end.

    Raises:
        OSError: The connection is broken.
    """
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
    """What a socket has been given and has not taken yet, in order.

    Args:
        sock: Connected and non-blocking; it stays the caller's to close, after `close`.
        on_empty: Called when all has been taken, after there was something left.
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
