"""Connections that are cut, that stall, or that are slow: between a host and a server that is well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint

from langchain_ptc import Limits, ProgrammaticToolExecutor, RemoteSandbox
from langchain_ptc.sandbox.remote.messages import GREETING_MAGIC
from langchain_ptc.sandbox.remote.server import Server
from tests.support.sandboxes import TOKEN
from tests.support.waiting import SECONDS

PIECE = 16 * 1024


class Line:
    """A proxy in front of a server, which can do to connections what networks do.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.executions: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        """Both ends of each connection of an execution."""
        self.pause = 0.0
        """Seconds between two pieces."""
        self.stalls = asyncio.Event()
        self.stalls.set()
        """Not set: nothing is passed on."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen; yield the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"127.0.0.1:{port}"
            self.cut()

    def cut(self) -> None:
        """End the connections of executions, without a word."""
        for ends in self.executions:
            for end in ends:
                end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(len(GREETING_MAGIC))
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            back.write(first)
            is_execution = first == GREETING_MAGIC
            if is_execution:
                self.executions.append((writer, back))
            passing = (
                self._pass_on(reader, back, is_execution),
                self._pass_on(there, writer, is_execution),
            )
            await asyncio.gather(*passing)

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_execution: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(PIECE):
                if is_execution:
                    await self.stalls.wait()
                    if self.pause:
                        await asyncio.sleep(self.pause)
                target.write(data)
                await target.drain()
        target.close()


@pytest.fixture
async def line() -> AsyncIterator[tuple[Line, RemoteSandbox]]:
    """A line to a server, and a sandbox that knows the server by it."""
    async with Server(token=TOKEN, max_workers=4) as server:
        line = Line(server.address[1])
        async with line.listening() as address:
            sandbox = RemoteSandbox([address], token=TOKEN, tls=False)
            try:
                yield line, sandbox
            finally:
                await asyncio.to_thread(sandbox.close)


async def test_a_line_that_is_cut_is_not_noticed_by_a_program_with_a_journal(
    line: tuple[Line, RemoteSandbox],
) -> None:
    """The program goes on with another worker, and each of its calls is made once."""
    network, sandbox = line
    made: list[int] = []

    async def buy(number: int) -> int:
        """Buy something."""
        made.append(number)
        if number == 2:
            network.cut()
        return number

    executor = ProgrammaticToolExecutor([buy], sandbox=sandbox)

    @entrypoint(checkpointer=InMemorySaver())
    async def graph(code: str, config: RunnableConfig) -> str:
        return (await executor.aexecute(code, config=config)).report()

    config: Any = {"configurable": {"thread_id": "1"}}
    running = graph.ainvoke("print([await buy(n) for n in range(4)])", config)
    assert await asyncio.wait_for(running, SECONDS) == "[0, 1, 2, 3]"
    assert made == [0, 1, 2, 3]


async def test_a_line_that_is_cut_ends_a_program_without_a_journal(
    line: tuple[Line, RemoteSandbox],
) -> None:
    """The model reads which calls were made, and the next program runs."""
    network, sandbox = line

    async def buy(number: int) -> int:
        """Buy something."""
        network.cut()
        return number

    executor = ProgrammaticToolExecutor([buy], sandbox=sandbox)
    result = await asyncio.wait_for(executor.aexecute("print(await buy(1))"), SECONDS)
    assert result.status == "sandbox"
    assert "1 tool call took effect and must not be repeated: buy(number=1)" in result.report()
    assert (await executor.aexecute("print(1)")).output == "1\n"


async def test_a_line_that_stalls_ends_by_the_limit(line: tuple[Line, RemoteSandbox]) -> None:
    """Where nothing comes through, the wall limit holds, and a moment of the host's own besides."""
    network, sandbox = line

    async def wait() -> int:
        """Wait for ever."""
        network.stalls.clear()
        return 1

    executor = ProgrammaticToolExecutor([wait], sandbox=sandbox, limits=Limits(wall_seconds=1))
    began = asyncio.get_running_loop().time()
    result = await asyncio.wait_for(executor.aexecute("print(await wait())"), SECONDS)
    assert result.status in ("limit", "sandbox")
    assert asyncio.get_running_loop().time() - began < 1 + 5 + 3
    network.stalls.set()


async def test_a_slow_line_loses_nothing(line: tuple[Line, RemoteSandbox]) -> None:
    """Much output and a large result come through a line that passes on little at a time."""
    network, sandbox = line
    network.pause = 0.001

    async def get() -> str:
        """Get a text."""
        return "x" * 1_000_000

    executor = ProgrammaticToolExecutor([get], sandbox=sandbox, limits=Limits(wall_seconds=60))
    code = "text = await get()\nprint(len(text))\nprint('y' * 1_000_000)"
    result = await asyncio.wait_for(executor.aexecute(code), SECONDS)
    assert result.output == f"1000000\n{'y' * 1_000_000}\n", result.report()[:500]
