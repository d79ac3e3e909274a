"""The worker's end of the connection: messages out in batches, results in.

Messages wait in a list until the program is about to wait itself, so a `gather` of a hundred calls is
one write. Printed text leaves at once when nothing was sent for a moment, so that an execution that
is killed has lost nothing that a person would miss.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import select
import socket
import time
from collections import deque
from typing import Protocol

from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.protocol import FrameReader, Message, encode_frame, encode_output
from langchain_ptc.sandbox.wire.values import AttrDict

_PRINT_PIECE_CHARS = 32_768
_PRINT_PAUSE_SECONDS = 0.02
_RECEIVE_BYTES = 64 * 1024
"""At a time, of small frames: a larger buffer would be fetched from the kernel and given back at each
call, which costs more than the rest of the call."""


_LARGE_BYTES = 1024 * 1024
"""Of a frame: more is received in one go, into memory that is taken in large pages, and sent alone."""


class Channel(Protocol):
    """Bytes to and from the host."""

    def send(self, data: bytes) -> None:
        """Send all of `data`; blocks."""

    def receive(self) -> bytes:
        """Wait for bytes; raises `EOFError` when the host is gone."""

    def receive_into(self, room: memoryview) -> None:
        """Wait for as many bytes as there is room for; raises `EOFError` when the host is gone."""

    def poll(self, seconds: float) -> bool:
        """Wait until there are bytes, for at most `seconds`; return whether there are."""


class SocketChannel:
    """A channel over a connected stream socket; no worker is forked on Windows.

    A host with answers that were not read yet reads nothing itself. So whoever sends here reads as
    well while the socket is full, or both would wait for each other.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._early: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self._read_until_writable()

    def _read_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLOUT)
        while not any(events & select.POLLOUT for _, events in poll.poll()):
            self._early.append(self._receive())

    def receive(self) -> bytes:
        """Wait for bytes."""
        return self._early.popleft() if self._early else self._receive()

    def _receive(self) -> bytes:
        data = self._sock.recv(_RECEIVE_BYTES)
        if not data:
            raise EOFError("the host is gone")
        return data

    def receive_into(self, room: memoryview) -> None:
        """Fill `room`: waking up for every piece of a large frame would cost more than the rest."""
        while room:
            if self._early:
                data = self._early.popleft()
                count = min(len(data), len(room))
                room[:count] = data[:count]
                if count < len(data):
                    self._early.appendleft(data[count:])
            else:
                count = self._sock.recv_into(room, 0, socket.MSG_WAITALL)
                if not count:
                    raise EOFError("the host is gone")
            room = room[count:]

    def poll(self, seconds: float) -> bool:
        """Wait until there are bytes."""
        return bool(self._early or self._poll.poll(seconds * 1000))


class WorkerConnection:
    """Messages to and from the host."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._printed: list[str] = []
        self._printed_chars = 0
        self._last_sent = 0.0
        self.sending = False
        """Whether a frame is on its way: a signal handler must not start another one."""

    def put(self, message: bytes) -> None:
        """Queue one encoded message."""
        if self._printed:
            self._queue_printed()
        self._out.append(encode_frame(message))

    def print(self, text: str) -> None:
        """Queue printed text, and send it if nothing was sent for a moment."""
        if not text:
            return
        self._printed.append(text)
        self._printed_chars += len(text)
        is_quiet = time.monotonic() - self._last_sent > _PRINT_PAUSE_SECONDS
        if self._printed_chars >= _PRINT_PIECE_CHARS or is_quiet:
            self.flush()

    def _queue_printed(self) -> None:
        text, size = "".join(self._printed), _PRINT_PIECE_CHARS * 8
        self._printed, self._printed_chars = [], 0
        for at in range(0, len(text), size):
            self._out.append(encode_frame(encode_output(text[at : at + size])))

    def flush(self) -> None:
        """Send what is queued."""
        if self._printed:
            self._queue_printed()
        if self._out:
            frames, self._out = self._out, []
            self.sending = True
            if sum(map(len, frames)) <= _LARGE_BYTES:
                self._channel.send(b"".join(frames))
            else:
                for frame in frames:
                    self._channel.send(frame)
            self.sending = False
            self._last_sent = time.monotonic()

    def receive(self) -> list[Message]:
        """Send what is queued, then wait for at least one frame."""
        self.flush()
        while True:
            frames = self._reader.feed(self._channel.receive())
            if self._reader.missing > _LARGE_BYTES:
                return [*map(_parse, frames), _parse_large(self._receive_rest())]
            if frames:
                return [*map(_parse, frames)]

    def receive_bytes(self, size: int) -> bytearray:
        """Wait for so many bytes that are no frame, before there is any."""
        data = bytearray(size)
        self._channel.receive_into(memoryview(data))
        return data

    def _receive_rest(self) -> mmap.mmap:
        """Receive the rest of a large frame."""
        begun, length = self._reader.take_begun()
        try:
            frame = mmap.mmap(-1, length)
        except OSError as error:
            raise MemoryError from error
        if hasattr(frame, "madvise") and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without large pages
                frame.madvise(mmap.MADV_HUGEPAGE)
        frame[: len(begun)] = begun
        with memoryview(frame) as view, view[len(begun) :] as room:
            self._channel.receive_into(room)
        return frame

    def poll(self, seconds: float) -> bool:
        """Send what is queued, then wait for bytes for at most `seconds`."""
        self.flush()
        return self._channel.poll(seconds)


def _parse(frame: bytes | memoryview) -> Message:
    """Read a frame; the host is trusted, so nothing is checked."""
    message: Message = decode_value(frame, AttrDict)
    return message


def _parse_large(frame: mmap.mmap) -> Message:
    collects = gc.isenabled()
    gc.disable()  # thousands of new objects, of which none is garbage
    try:
        with frame, memoryview(frame) as view:
            return _parse(view)
    finally:
        if collects:
            gc.enable()
