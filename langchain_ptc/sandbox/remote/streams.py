"""All connections between a host and a server through one stream of bytes: `langchain-ptc serve --stdio`.

Where nothing but the standard input and output of a command passes (a sandbox of a provider, `kubectl exec`,
`ssh`), each connection is a channel of that stream. A channel has one end of a pair of sockets; who uses it
has the other one, and needs not know. Frames are a kind, the number of the channel, a length and that much:

- `OPEN`, from the host only: a new channel;
- `DATA`: bytes of a channel; none for the end of that direction;
- `CREDIT`: so many more bytes may come. A channel begins with `WINDOW`, which bounds what lies in memory.

In lines, the stream is text: each line is `>` (from the host) or `<`, base64, and a newline; other lines are
no part of it. It passes where only text does, also through a terminal that echoes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import logging
import os
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeAlias

from langchain_ptc.locks import no_fork
from langchain_ptc.sandbox.host.connection import watcher_of
from langchain_ptc.sandbox.host.workers import Socket
from langchain_ptc.sandbox.remote.messages import RemoteProtocolError
from langchain_ptc.sandbox.remote.sockets import Outbox, receive

WINDOW = 256 * 1024
MAX_CHANNELS = 4096
_PIECE_BYTES = 16 * 1024
_MAX_UNSENT_BYTES = 256 * 1024
"""What the stream may leave unsent before channels are read no further."""
_LINE_BYTES = 2048  # of data in a line: terminals cut lines of 4,096
_MAX_LINE_BYTES = 64 * 1024
_END_SECONDS = 5.0
_HEAD = struct.Struct(">BIH")
_OPEN, _DATA, _CREDIT = 1, 2, 3
_AMOUNT = struct.Struct(">I")

logger = logging.getLogger("langchain_ptc.remote")


class PipeEnd:
    """A descriptor of a pipe, with the face of a socket; see `Socket`. It is used in one direction."""

    def __init__(self, number: int) -> None:
        os.set_blocking(number, False)
        self._number = number

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        return self._number

    def recv(self, size: int, /) -> bytes:
        """Read what has come."""
        return os.read(self._number, size)

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write what is taken at once."""
        return os.write(self._number, data)

    def shutdown(self, how: int, /) -> None:
        """Do nothing: a pipe has one direction."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Do nothing: a pipe has no options."""

    def close(self) -> None:
        """Close it; idempotent."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


class _Lines:
    """Text in place of bytes: `sends` and `takes` are the first character of lines of either direction."""

    def __init__(self, sends: bytes, takes: bytes) -> None:
        self._sends, self._takes = sends, takes
        self._rest = b""

    def encode(self, data: bytes) -> bytes:
        pieces = (data[at : at + _LINE_BYTES] for at in range(0, len(data), _LINE_BYTES))
        return b"".join(self._sends + base64.b64encode(piece) + b"\n" for piece in pieces)

    def decode(self, text: bytes) -> bytes:
        *lines, self._rest = (self._rest + text).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            raise RemoteProtocolError(f"a line of more than {_MAX_LINE_BYTES} bytes")
        try:
            return b"".join(
                base64.b64decode(line[1:].rstrip(), validate=True)
                for line in lines
                if line.startswith(self._takes)
            )
        except binascii.Error as error:
            raise RemoteProtocolError(f"a line that is not base64: {error}") from error


class Multiplexer:
    """One end of a stream, with its channels; in lines, the stream is text.

    `on_channel` takes the other end of each channel that the host opens; it is None on the host.
    """

    def __init__(
        self,
        source: Socket,
        target: Socket,
        on_channel: Callable[[socket.socket], None] | None = None,
        *,
        lines: bool = False,
    ) -> None:
        self._source, self._target, self._on_channel = source, target, on_channel
        self._outbox = Outbox(target, self._read_all)
        directions = (b">", b"<") if on_channel is None else (b"<", b">")
        self._lines = _Lines(*directions) if lines else None
        self._data = bytearray()
        self._channels: dict[int, _Channel] = {}
        self._number = 0
        self.is_open = True  # whether the stream goes on

    def open(self) -> socket.socket:
        """Return the end of a new channel, the caller's to close; `ConnectionError` if the stream has ended."""
        if not self.is_open:
            raise ConnectionResetError("the stream to the server has ended")
        self._number += 1
        self.send(_OPEN, self._number)
        return self._add(self._number)

    async def run(self) -> None:
        """Carry bytes until the stream ends, then end every channel; raises `RemoteProtocolError`."""
        try:
            while data := await receive(self._source):
                self._data += data if self._lines is None else self._lines.decode(data)
                for frame in self._cut():
                    self._take(*frame)
                await asyncio.sleep(0)  # channels have their turn, however much comes
        except OSError:
            pass
        finally:
            self.close()

    def end(self) -> None:
        """Have `run` end as if the stream had; the stream is a socket."""
        with contextlib.suppress(OSError):
            self._source.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the stream and every channel; idempotent."""
        self.is_open = False
        self._outbox.close()
        for channel in list(self._channels.values()):
            channel.close()
        self._channels.clear()
        self._source.close()
        self._target.close()

    def send(self, kind: int, number: int, data: bytes = b"") -> None:
        """Send a frame."""
        frame = _HEAD.pack(kind, number, len(data)) + data
        self._outbox.send(frame if self._lines is None else self._lines.encode(frame))

    @property
    def is_full(self) -> bool:
        """Whether channels must wait until more of the stream has been taken."""
        return self._outbox.size > _MAX_UNSENT_BYTES

    def forget(self, number: int) -> None:
        """Remove a channel that has ended in both directions."""
        self._channels.pop(number, None)

    def _read_all(self) -> None:
        for channel in list(self._channels.values()):
            channel.read_if_room()

    def _add(self, number: int) -> socket.socket:
        ours, theirs = _new_pair()
        channel = self._channels[number] = _Channel(self, number, ours)
        channel.read_if_room()
        return theirs

    def _cut(self) -> Iterator[tuple[int, int, bytes]]:
        while len(self._data) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._data)
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            data = bytes(self._data[_HEAD.size : end])
            del self._data[:end]
            yield kind, number, data

    def _take(self, kind: int, number: int, data: bytes) -> None:
        channel = self._channels.get(number)
        if kind == _OPEN and self._on_channel is not None and channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                raise RemoteProtocolError(f"more than {MAX_CHANNELS} channels")
            self._on_channel(self._add(number))
        elif kind == _DATA and channel is not None:
            channel.take(data)
        elif kind == _CREDIT and len(data) == _AMOUNT.size:
            if channel is not None:  # it may have ended meanwhile
                channel.grant(_AMOUNT.unpack(data)[0])
        else:
            raise RemoteProtocolError(f"a frame of kind {kind} that does not belong here")


class _Channel:
    """One connection: what comes from its socket goes into the stream, as far as there is credit."""

    def __init__(self, stream: Multiplexer, number: int, sock: socket.socket) -> None:
        self._stream, self._number, self._sock = stream, number, sock
        self._outbox = Outbox(sock, self._go_on)
        self._watcher = watcher_of(asyncio.get_running_loop())
        self._credit = self._window = WINDOW
        self._reads = self._has_said_all = self._has_heard_all = False

    # --- to the stream ------------------------------------------------------------------------------

    def read_if_room(self) -> None:
        """Read what is to be sent, if it may be sent; else do not."""
        wants = self._credit > 0 and not self._has_said_all and not self._stream.is_full
        if wants and not self._reads:
            self._watcher.add_reader(self._sock.fileno(), self._read)
        elif self._reads and not wants:
            self._watcher.remove_reader(self._sock.fileno())
        self._reads = wants

    def _read(self) -> None:
        try:
            data = self._sock.recv(min(_PIECE_BYTES, self._credit))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._credit -= len(data)
        self._has_said_all = not data
        self._stream.send(_DATA, self._number, data)
        self.read_if_room()
        self._end_if_over()

    def grant(self, amount: int) -> None:
        """Allow so many more bytes to be sent."""
        self._credit += amount
        if self._credit > WINDOW:
            raise RemoteProtocolError("more credit than was used")
        self.read_if_room()

    # --- from the stream ----------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Hand on bytes, or the end."""
        self._window -= len(data)
        if self._has_heard_all or self._window < 0:
            raise RemoteProtocolError("bytes without credit, or after the end")
        self._has_heard_all = not data
        self._outbox.send(data)
        self._go_on()

    def _go_on(self) -> None:
        taken = WINDOW - self._window - self._outbox.size
        if taken >= WINDOW // 4:
            self._window += taken
            self._stream.send(_CREDIT, self._number, _AMOUNT.pack(taken))
        if self._has_heard_all and not self._outbox.size:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            self._end_if_over()

    def _end_if_over(self) -> None:
        if self._has_said_all and self._has_heard_all and not self._outbox.size:
            self._stream.forget(self._number)
            self.close()

    def close(self) -> None:
        """Close its socket, which the other end of the pair sees; idempotent."""
        self._outbox.close()
        if self._reads:
            self._reads = False
            self._watcher.remove_reader(self._sock.fileno())
        self._sock.close()


# --- the host's side -----------------------------------------------------------------------------------

Send: TypeAlias = Callable[[Any], Awaitable[object]]
Start: TypeAlias = Callable[[Callable[[bytes | str], None]], Awaitable[Send]]


class _OneStream:
    """What the connectors below have in common: connections are channels of one stream, begun when need be."""

    def __init__(self, name: str, *, lines: bool) -> None:
        self.name = name
        self._lines = lines
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._stream: Multiplexer | None = None
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, *, to_same: bool = False) -> Socket:
        """Return a new connection; start the server if none runs, unless it must be the same."""
        if self._process != os.getpid():  # forked: the stream and its loop are the parent's
            _lost.append((self._stream, self._tasks))
            self._begin_anew()
        async with self._starting:
            if self._stream is None or not self._stream.is_open:
                if to_same:
                    raise ConnectionResetError(f"{self.name} has ended")
                sock, end = await self._begin()
                self._stream = Multiplexer(sock, sock, lines=self._lines)
                self._keep(self._carry(self._stream, end))
            return self._stream.open()

    async def _begin(self) -> tuple[Socket, Callable[[], None]]:
        """Start the server; return its stream, and what ends it once that has been closed, in a thread."""
        raise NotImplementedError

    async def _carry(self, stream: Multiplexer, end: Callable[[], None]) -> None:
        try:
            await stream.run()
        finally:
            await asyncio.to_thread(end)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._drop)

    def _drop(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("the stream to %s has ended: %s", self.name, error)

    async def close(self) -> None:
        """End the stream, and with it the server."""
        if self._stream is not None:
            self._stream.end()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=2 * _END_SECONDS)
            for task in late:
                task.cancel()


_lost: list[object] = []  # what a forked child has of its parent, and must not finalize


def _new_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class StreamConnector(_OneStream):
    """Reaches a server whose standard input and output a provider's client passes on; see `Connector`.

    Args:
        name: What errors call the server.
        start: Starts `langchain-ptc serve --stdio` anew, on the event loop of the connections. It is given a
            function that takes what the command writes, from any thread, and nothing (`b""`) at its end. It
            returns a function that sends bytes to the command, to be awaited.
        lines: Whether only text passes: the command is `langchain-ptc serve --stdio --lines` then, and both
            functions take text.
    """

    def __init__(self, name: str, start: Start, *, lines: bool = False) -> None:
        super().__init__(name, lines=lines)
        self._start = start

    async def _begin(self) -> tuple[Socket, Callable[[], None]]:
        loop = asyncio.get_running_loop()
        ours, theirs = _new_pair()
        received = Outbox(theirs)

        def hand_on(data: bytes | str) -> None:
            data = data.encode("ascii", "replace") if isinstance(data, str) else data
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(received.send if data else end, data)

        def end(_: bytes) -> None:
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)

        try:
            send = await self._start(hand_on)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        self._keep(self._pump(theirs, received, send))
        return ours, lambda: None

    async def _pump(self, source: socket.socket, received: Outbox, send: Send) -> None:
        try:
            while data := await receive(source):
                await send(data.decode("ascii") if self._lines else data)
        finally:
            received.close()
            source.close()


class CommandConnector(_OneStream):
    """Reaches a server that a command starts; see `Connector`.

    Args:
        command: The command and its arguments, such as `["kubectl", "exec", "-i", "pod", "--", "langchain-ptc",
            "serve", "--stdio"]`. What it writes to standard error goes to that of this process.
        lines: Whether only text passes; the command is to have `--lines`, too.
    """

    def __init__(self, command: Sequence[str], *, lines: bool = False) -> None:
        super().__init__(" ".join(command), lines=lines)
        self._command = command

    async def _begin(self) -> tuple[Socket, Callable[[], None]]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.to_thread(self._run, theirs)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return ours, functools.partial(_end_process, process)

    def _run(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        with no_fork:
            number = theirs.fileno()
            return subprocess.Popen(self._command, stdin=number, stdout=number)  # noqa: S603


def _end_process(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command whose input has ended; kill it if it does not end."""
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
