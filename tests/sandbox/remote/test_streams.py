"""Connections through one stream of bytes, or of text."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

import pytest

from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote import streams
from langchain_ptc.sandbox.remote.messages import RemoteProtocolError
from langchain_ptc.sandbox.remote.sockets import receive
from langchain_ptc.sandbox.remote.streams import (
    CommandConnector,
    Multiplexer,
    StreamConnector,
)
from tests.support.raw_host import dialled, running, welcomed

SERVE = [sys.executable, "-m", "langchain_ptc", "serve", "--stdio", "--max-workers", "4"]
EACH_FORM = pytest.mark.parametrize("lines", [False, True], ids=["bytes", "lines"])


class Both:
    """Both ends of a stream, and the server's ends of the channels that the host has opened."""

    def __init__(self, lines: bool) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self.raw = ours
        self.opened: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.host = Multiplexer(ours, ours, lines=lines)
        self.server = Multiplexer(theirs, theirs, self.opened.put_nowait, lines=lines)

    async def open(self) -> tuple[socket.socket, socket.socket]:
        """Open a channel; return the host's end and the server's."""
        return self.host.open(), await self.opened.get()


@contextlib.asynccontextmanager
async def joined(*, lines: bool = False) -> AsyncIterator[Both]:
    """Join both ends."""
    both = Both(lines)
    running = [asyncio.ensure_future(end.run()) for end in (both.host, both.server)]
    yield both
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def read_all(sock: socket.socket) -> bytes:
    """Read to the end."""
    data = bytearray()
    while piece := await receive(sock):
        data += piece
    return bytes(data)


@EACH_FORM
async def test_many_channels_both_ways(lines: bool) -> None:
    """What goes into a channel comes out of it at the other end, whatever others carry meanwhile."""
    chance = random.Random(16)
    loop = asyncio.get_running_loop()
    async with joined(lines=lines) as both:

        async def carry(size: int) -> None:
            ends = await both.open()
            data = [chance.randbytes(size), chance.randbytes(size // 3)]
            reading = [asyncio.ensure_future(read_all(end)) for end in reversed(ends)]
            for end, sent in zip(ends, data, strict=True):
                await loop.sock_sendall(end, sent)
                end.shutdown(socket.SHUT_WR)
            assert await asyncio.gather(*reading) == data
            for end in ends:
                end.close()

        await asyncio.gather(*[carry(size) for size in (0, 1, 70_000, 1_000_000, 3_000_000)])


async def test_a_channel_that_is_not_read_holds_no_other_up() -> None:
    """Where nobody reads, a bounded amount waits in memory, and other channels go on."""
    loop = asyncio.get_running_loop()
    async with joined() as both:
        (full, _unread), (sends, reads) = await both.open(), await both.open()
        flooding = asyncio.ensure_future(loop.sock_sendall(full, bytes(20_000_000)))
        await loop.sock_sendall(sends, b"passes")
        assert await receive(reads) == b"passes"
        assert not flooding.done()
        flooding.cancel()
        for sock in (full, _unread, sends, reads):
            sock.close()


async def test_the_end_of_the_stream_is_the_end_of_its_channels() -> None:
    """Both ends of each channel see the end, and no more channels can be opened."""
    async with joined() as both:
        ends = await both.open()
        both.raw.shutdown(socket.SHUT_RDWR)
        assert [await read_all(end) for end in ends] == [b"", b""]
        with pytest.raises(ConnectionResetError, match="has ended"):
            both.host.open()
        for end in ends:
            end.close()


def frame(kind: int, number: int, data: bytes = b"") -> bytes:
    """Return a frame."""
    return kind.to_bytes(1, "big") + number.to_bytes(4, "big") + len(data).to_bytes(2, "big") + data


OPEN, DATA, CREDIT = 1, 2, 3
FLOOD = [frame(OPEN, 1), *[frame(DATA, 1, bytes(60_000))] * 20]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        pytest.param([frame(9, 1)], "kind 9", id="kind"),
        pytest.param([frame(DATA, 1, b"x")], "kind 2", id="no-such-channel"),
        pytest.param([frame(OPEN, 1), frame(OPEN, 1)], "kind 1", id="opened-twice"),
        pytest.param([frame(OPEN, 1), frame(CREDIT, 1, b"x")], "kind 3", id="credit-of-one-byte"),
        pytest.param(
            [frame(OPEN, 1), frame(CREDIT, 1, b"\x00\x00\x00\x01")], "more credit", id="credit"
        ),
        pytest.param([frame(OPEN, 1), frame(DATA, 1), frame(DATA, 1)], "after the end", id="end"),
        pytest.param(FLOOD, "without credit", id="flood"),
        pytest.param([frame(OPEN, n) for n in range(1, 6)], "more than 4 channels", id="channels"),
    ],
)
async def test_other_end_breaks_the_rules(
    sent: list[bytes], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the other end sends against the rules ends the stream, with what it was."""
    monkeypatch.setattr(streams, "MAX_CHANNELS", 4)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    opened: list[socket.socket] = []
    server = Multiplexer(theirs, theirs, opened.append)
    sending = asyncio.ensure_future(asyncio.to_thread(ours.sendall, b"".join(sent)))
    with pytest.raises(RemoteProtocolError, match=why):
        await server.run()
    await asyncio.gather(sending, return_exceptions=True)
    for sock in (ours, *opened):
        sock.close()


@pytest.mark.parametrize(
    ("text", "why"), [(b">!\n", "not base64"), (b">" * 70_000, "a line of more than")]
)
async def test_text_that_is_no_stream(text: bytes, why: str) -> None:
    """A line that begins as one of the stream must be one, and none is endless."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sending = asyncio.ensure_future(asyncio.to_thread(ours.sendall, text))
    with pytest.raises(RemoteProtocolError, match=why):
        await Multiplexer(theirs, theirs, lambda sock: None, lines=True).run()
    await asyncio.gather(sending, return_exceptions=True)
    ours.close()


async def test_text_of_others_is_passed_over() -> None:
    """A banner, and what a terminal echoes, are no part of the stream."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    opened: asyncio.Queue[socket.socket] = asyncio.Queue()
    server = asyncio.ensure_future(Multiplexer(theirs, theirs, opened.put_nowait, lines=True).run())
    host = Multiplexer(ours, ours, lines=True)
    ours.send(b"Welcome!\r\n$ langchain-ptc serve\r\n<AAAA\r\n")
    sock = host.open()
    (await opened.get()).close()
    server.cancel()
    await asyncio.gather(server, return_exceptions=True)
    sock.close()
    host.close()


# --- a real server at the other end -------------------------------------------------------------------


@EACH_FORM
async def test_command(lines: bool) -> None:
    """Programs run in a server that a command starts; it ends with the connector."""
    connector = CommandConnector([*SERVE, *["--lines"] * lines], lines=lines)
    async with welcomed(connector) as host:
        async with running(host, connector, "print('x' * 300_000)", to_same=True) as execution:
            assert len((await execution.to_end()).output) == 300_001
        await host.expect(m.Ended)
        await connector.close()
        assert await host.next() is None
    with pytest.raises(ConnectionResetError, match="has ended"):
        await connector.connect(to_same=True)


async def test_command_that_fails() -> None:
    """A command that is no server, or that there is not, is an error of the connection."""
    with pytest.raises(FileNotFoundError):
        await CommandConnector(["no-such-command-of-tests"]).connect()
    connector = CommandConnector([sys.executable, "-c", "raise SystemExit(3)"])
    async with dialled(connector) as raw:
        assert await raw.is_closed()
    await connector.close()


async def test_command_is_started_anew() -> None:
    """A connection that need not reach the same server starts another one, once the first has ended."""
    connector = CommandConnector([sys.executable, "-c", "import sys; sys.stdin.buffer.read(7)"])
    for _ in range(2):
        async with dialled(connector) as raw:
            assert await raw.is_closed()
    await connector.close()


class Provider:
    """What the clients of providers have in common: a command, its output in a callback, its input by a call."""

    def __init__(self, lines: bool) -> None:
        self._lines = lines
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, received: Callable[[bytes | str], None]) -> Callable[[bytes], object]:
        """Start the server."""
        command = [*SERVE, *["--lines"] * self._lines]
        process = self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

        def read() -> None:
            while data := process.stdout.read(4096):
                received(data.decode() if self._lines else data)
            received(b"")

        self._thread = threading.Thread(target=read)
        self._thread.start()

        async def send(data: bytes | str) -> None:
            assert isinstance(data, str) == self._lines
            raw = data.encode() if isinstance(data, str) else data
            await asyncio.to_thread(process.stdin.write, raw)

        return send

    @property
    def ends(self) -> tuple[IO[bytes], IO[bytes]]:
        """The ends of the pipes."""
        return self.process.stdin, self.process.stdout

    def close(self) -> None:
        """Close everything."""
        self.process.stdin.close()
        self.process.wait()
        self._thread.join()
        self.process.stdout.close()


@EACH_FORM
async def test_callbacks_of_a_provider(lines: bool) -> None:
    """Programs run in a server of which there is but a callback and a call."""
    provider = Provider(lines)
    connector = StreamConnector("a provider", provider.start, lines=lines)
    async with welcomed(connector) as host:
        async with running(host, connector, "print('x' * 300_000)", to_same=True) as execution:
            assert len((await execution.to_end()).output) == 300_001
        await host.expect(m.Ended)
        provider.process.stdin.close()
        assert provider.process.wait() == 0
        assert await host.next() is None
    await connector.close()
    provider.close()


async def test_provider_that_fails() -> None:
    """What goes wrong as the command is started reaches who wants to connect."""

    async def start(received: object) -> None:
        raise OSError("no sandbox today")

    with pytest.raises(OSError, match="no sandbox today"):
        await StreamConnector("a provider", start).connect()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_no_other_process_has_the_stream() -> None:
    """The server keeps its standard input and output to itself: the parent of workers has none of it."""
    provider = Provider(lines=False)
    connector = StreamConnector("a provider", provider.start)
    async with welcomed(connector):
        theirs = {Path(f"/proc/self/fd/{end.fileno()}").readlink() for end in provider.ends}
        (parent,) = children_of(provider.process.pid)
        opened = {file.readlink() for file in Path(f"/proc/{parent}/fd").iterdir()}
        assert opened
        assert not opened & theirs
    await connector.close()
    provider.close()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
