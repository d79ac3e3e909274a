"""Carries the bytes of one execution between a host and a worker, with little of them in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from langchain_ptc.sandbox.host.workers import Socket
from langchain_ptc.sandbox.remote.sockets import RECEIVE_BYTES, Outbox


class Flow:
    """One direction: reads only when what it read before has been taken, so that it holds one piece at most.

    What the target does not take any more, because it is gone, is read and dropped: the end of the source is
    seen in any case.

    Args:
        source: Where bytes come from.
        target: Where they go. Both stay the caller's to close, after `close`.
        on_end: Called once, when the source has ended and all that came has been taken or dropped.
    """

    def __init__(self, source: Socket, target: Socket, on_end: Callable[[], None]) -> None:
        self._source, self._on_end = source, on_end
        self._outbox = Outbox(target, self._go_on)
        self._loop = asyncio.get_running_loop()
        self._reads = self._is_over = self._is_closed = False
        self.carried = 0
        """Bytes that came."""

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
