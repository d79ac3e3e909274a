"""A host that speaks the control protocol of servers of workers itself, and can break it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, TypeAlias, TypeVar

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.sandbox.api import Limits, Program, Result
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.sockets import Connector
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    encode_frame,
    encode_result,
    encode_run,
)
from langchain_ptc.sandbox.wire.values import encode_value

TOKEN = "a token of sixteen characters"
MEMORY = 512 * 2**20
M = TypeVar("M")


class Raw:
    """One connection: what it is sent, and what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = m.Decoder()
        self._messages: list[m.Message] = []

    def send(self, *messages: m.Message | bytes) -> None:
        """Send messages, or bytes."""
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else m.encode(message))

    async def next(self) -> m.Message | None:
        """Return the next message; None at the end."""
        while not self._messages:
            try:
                data = await self.reader.read(65536)
            except OSError:
                return None
            if not data:
                return None
            self._messages += self._decoder.feed(data)
        return self._messages.pop(0)

    async def expect(self, kind: type[M]) -> M:
        """Return the next message of a kind, past others."""
        while not isinstance(got := await self.next(), kind):
            assert got is not None, f"the connection ended; {kind.__name__} was expected"
        return got

    async def is_closed(self) -> bool:
        """Wait for the end; return whether nothing came before."""
        try:
            return not await self.reader.read(1)
        except OSError:
            return True

    async def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self.writer.close()
            await self.writer.wait_closed()


Address: TypeAlias = tuple[str, int] | Connector


@asynccontextmanager
async def dialled(address: Address, **options: Any) -> AsyncIterator[Raw]:
    """Connect to a server, and say nothing yet."""
    if isinstance(address, tuple):
        streams = await asyncio.open_connection(*address, limit=2**16, **options)
    else:
        streams = await asyncio.open_connection(sock=await address.connect(**options), limit=2**16)
    raw = Raw(*streams)
    try:
        yield raw
    finally:
        await raw.close()


def new_loop() -> BackgroundLoop:
    """Return a loop in a thread of its own."""
    return BackgroundLoop("a server of tests")


def hello(token: str = TOKEN, **changed: Any) -> m.Hello:
    """Return what an honest host begins with."""
    return m.Hello(**{"token": token, "version": version("langchain-ptc"), **changed})


@asynccontextmanager
async def welcomed(address: Address, **options: Any) -> AsyncIterator[Raw]:
    """Connect to a server that welcomes this host."""
    async with dialled(address, **options) as raw:
        raw.send(hello())
        await raw.expect(m.Welcome)
        yield raw


def request(secret: str | None = None, *, depth: int = 0, cpu_seconds: int = 10) -> m.Open:
    """Return a request for a worker."""
    return m.Open(secret or m.new_secret(), cpu_seconds, MEMORY, depth)


class Running:
    """An execution: the host's protocol over a data connection."""

    def __init__(self, raw: Raw, program: Program, secret: str) -> None:
        self.raw, self.secret = raw, secret
        self.protocol = HostProtocol(program)
        raw.send(encode_frame(encode_run(program)))

    def answer(self, call: int, value: object) -> None:
        """Send the result of a call."""
        self.raw.send(*encode_result(Result(id=call, payload=encode_value(value))))

    async def step(self) -> bool:
        """Take what comes next; return False at the end of the connection."""
        try:
            data = await self.raw.reader.read(65536)
        except ConnectionError:
            return False
        for frame in self.protocol.cut(data):
            self.protocol.take(frame)
        return bool(data)

    async def to_end(self) -> HostProtocol:
        """Take everything until the connection ends."""
        while await self.step():
            pass
        return self.protocol


def program_of(code: str, limits: Limits | None = None) -> Program:
    """Return a program with one tool, `fetch`."""
    return Program(code=code, tools=("fetch",), limits=limits or Limits())


@asynccontextmanager
async def running(
    host: Raw,
    address: Address,
    code: str,
    *,
    wall_seconds: float = 60.0,
    limits: Limits | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Run code in a worker of a server."""
    asked = request()
    host.send(asked, m.Watch(asked.secret, wall_seconds))
    await host.expect(m.Opened)
    async with dialled(address, **options) as raw:
        raw.send(m.greeting(asked.secret))
        yield Running(raw, program_of(code, limits), asked.secret)
