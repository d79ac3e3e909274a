"""Servers of workers for tests: one in a process that can be killed and stopped, and one that lies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from langchain_ptc.sandbox.host.workers import Allowance
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.server import Server
from tests.support import ROOT
from tests.support.sandboxes import TOKEN


class ServerProcess:
    """A server in a process of its own, always at the same address.

    Args:
        max_workers: See `Server`.
    """

    def __init__(self, max_workers: int = 8) -> None:
        self._max_workers = max_workers
        self._port = "0"
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", __name__, self._port, str(self._max_workers)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = self._process.stdout.readline().strip()
        assert self._port, "the server did not start"

    def kill(self) -> None:
        """Kill it, its workers stay behind for a moment; idempotent."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def stop(self) -> None:
        """Have it hang."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        os.kill(self._process.pid, signal.SIGCONT)


async def _serve(port: int, max_workers: int) -> None:
    async with Server(token=TOKEN, port=port, max_workers=max_workers) as server:
        print(server.address[1], flush=True)
        await asyncio.Event().wait()


class Liar:
    """A server that says what a test has it say.

    Args:
        answer: Takes each message after `Hello`; returns what is said to it.
        first: What is said to `Hello`; None for nothing.
        data: Does something with each data connection, after the greeting; it is held open otherwise.
    """

    def __init__(
        self,
        answer: Callable[[m.Message], list[m.Message | bytes]],
        first: m.Message | bytes | None,
        data: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] | None,
    ) -> None:
        self._answer, self._first, self._data = answer, first, data
        self.address = ""
        self.heard: list[m.Message] = []
        """What hosts have said."""
        self.connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        """Those that are open."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.connections[writer] = asyncio.current_task()
        with suppress(OSError, asyncio.IncompleteReadError):
            begin = await reader.readexactly(len(m.GREETING_MAGIC))
            if begin == m.GREETING_MAGIC:
                await reader.readexactly(m.GREETING_BYTES - len(begin))
                if self._data is not None:
                    await self._data(reader, writer)
                while await reader.read(65536):
                    pass
            else:
                await self._control(begin, reader, writer)
        del self.connections[writer]
        writer.close()

    async def _control(
        self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        decoder = m.Decoder()
        while True:
            for message in decoder.feed(data):
                self.heard.append(message)
                if isinstance(message, m.Hello):
                    said = [] if self._first is None else [self._first]
                else:
                    said = self._answer(message)
                for one in said:
                    writer.write(one if isinstance(one, bytes) else m.encode(one))
            await writer.drain()
            data = await reader.read(65536)
            if not data:
                return


ALLOWANCE = Allowance(10, 2**29)
WELCOME = m.Welcome((), {"seccomp": "on"}, 4, 4)


def honest(message: m.Message) -> list[m.Message | bytes]:
    """Answer as a server with room does."""
    match message:
        case m.Ping():
            return [m.Pong(4)]
        case m.Open(secret):
            return [m.Opened(secret)]
    return []


@asynccontextmanager
async def lying(
    answer: Callable[[m.Message], list[m.Message | bytes]] = honest,
    *,
    first: m.Message | bytes | None = WELCOME,
    data: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] | None = None,
) -> AsyncIterator[Liar]:
    """Run a `Liar` on this event loop."""
    liar = Liar(answer, first, data)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    liar.address = "{}:{}".format(*server.sockets[0].getsockname())
    async with server:
        yield liar
        tasks = [task for task in liar.connections.values() if task is not None]
        for writer in liar.connections:
            writer.transport.abort()
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
