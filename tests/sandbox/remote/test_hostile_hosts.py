"""A server whose hosts, or whoever else finds its port, are careless or hostile."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from langchain_ptc import Limits
from langchain_ptc.sandbox.api import Result
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote import server as server_module
from langchain_ptc.sandbox.remote.server import Server
from langchain_ptc.sandbox.wire.protocol import encode_result
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.raw_host import TOKEN, Raw, dialled, hello, request, running, welcomed

FOREVER = "while True: pass"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(token=TOKEN, max_workers=4, waiting_workers=1) as started:
        yield started


async def still_serves(server: Server) -> None:
    """Run a program as an honest host."""
    async with (
        welcomed(server.address) as host,
        running(host, server.address, "print(1)") as execution,
    ):
        assert (await execution.to_end()).output == "1\n"


# --- who is not known -----------------------------------------------------------------------------------


async def test_many_silent_connections(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing are bounded, the oldest goes first, and an honest host still comes in."""
    monkeypatch.setattr(server_module, "MAX_PENDING", 8)
    silent = [await asyncio.open_connection(*server.address) for _ in range(50)]
    await still_serves(server)
    assert server.counts["connections_dropped"] >= 42
    closed = [await Raw(*streams).is_closed() for streams in silent[:42]]
    assert all(closed)
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="one-byte"),
        pytest.param(m.GREETING_MAGIC + b"half a secret", id="half-a-secret"),
        pytest.param(m.greeting(m.new_secret()), id="secret-never-announced"),
        pytest.param(m.encode(hello())[:20], id="half-a-hello"),
    ],
)
async def test_who_does_not_go_on(
    server: Server, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins and does not go on is hung up on, and nothing of it is kept."""
    monkeypatch.setattr(server_module, "GREETING_SECONDS", 0.1)
    async with dialled(server.address) as raw:
        raw.send(sent)
        assert await raw.is_closed()
    assert not server.awaited


GARBAGE = [
    pytest.param(random.Random(n).randbytes(2_000), id=f"random-{n}") for n in range(1, 6)
] + [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    pytest.param(b"\x16\x03\x01\x02\x00" + bytes(512), id="tls"),
    pytest.param((2**31).to_bytes(4, "big") + b"x" * 100, id="two-gigabytes"),
    pytest.param((5000).to_bytes(4, "big") + b"x" * 5000, id="long-hello"),
    pytest.param(m.encode(m.Ping()), id="no-hello"),
    pytest.param((4096).to_bytes(4, "big") + b"[" * 4096, id="deep"),
]


@pytest.mark.parametrize("sent", GARBAGE)
async def test_garbage(server: Server, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Who says anything else than a greeting is hung up on at once, and fills no log."""
    async with dialled(server.address) as raw:
        raw.send(sent)
        while await raw.next() is not None:
            pass
    assert not server.hosts
    assert not caplog.records


async def test_a_guess_takes_its_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token is answered late, and guesses at the same time are as bounded as other connections."""
    monkeypatch.setattr(server_module, "WRONG_TOKEN_SECONDS", 0.2)
    async with dialled(server.address) as raw:
        begun = time.monotonic()
        raw.send(hello(TOKEN[:-1] + "x"))
        assert await raw.next() == m.Goodbye("the token is wrong")
        assert time.monotonic() - begun >= 0.2
    assert server.counts["wrong_tokens"] == 1


# --- hosts that are known -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(m.Welcome((), {}, 1, 1), id="of-a-server"),
        pytest.param(hello(), id="hello-again"),
        pytest.param(m.Open("x", 1, 1, 0), id="no-secret"),
        pytest.param(m.Open("A" * 64, 1, 1, 0), id="capital-secret"),
        pytest.param(b"\x00\x00\x00\x02[]", id="no-message"),
        pytest.param((2**20).to_bytes(4, "big"), id="long-message"),
    ],
)
async def test_host_that_breaks_the_protocol(server: Server, sent: m.Message | bytes) -> None:
    """A host that breaks the protocol is sent away, with its executions."""
    async with (
        welcomed(server.address) as host,
        running(host, server.address, FOREVER) as execution,
    ):
        host.send(sent)
        while await host.next() is not None:
            pass
        await execution.to_end()
    assert not server.executions
    await still_serves(server)


async def test_secrets_of_another_host(server: Server) -> None:
    """Who learns the secret of another host's execution cannot end, slow, or take it by that."""
    async with (
        welcomed(server.address) as host,
        welcomed(server.address) as other,
        running(host, server.address, "print(await fetch())") as execution,
    ):
        while not execution.protocol.collect():
            await execution.step()
        other.send(m.Kill(execution.secret), m.Watch(execution.secret, 0.001), m.Ping())
        await other.expect(m.Pong)
        async with dialled(server.address) as second:
            second.send(m.greeting(execution.secret), b"x" * 100)
            assert await second.is_closed()
        other.send(request(execution.secret))
        assert await other.next() is None
        execution.answer(1, "kept")
        assert (await execution.to_end()).output == "kept\n"


async def test_two_connections_wait_with_one_secret(server: Server) -> None:
    """Of two connections that come before their secret is announced, the second is closed."""
    asked = request()
    async with dialled(server.address) as first, dialled(server.address) as second:
        first.send(m.greeting(asked.secret))
        while not server.awaited:
            await asyncio.sleep(0.005)
        second.send(m.greeting(asked.secret))
        assert await second.is_closed()


async def test_host_that_does_not_read(server: Server) -> None:
    """A host that asks and asks and reads no answer is sent away before its answers fill the memory."""
    async with welcomed(server.address) as host:
        with suppress(ConnectionError):
            while server.hosts:
                host.send(b"".join([m.encode(request(depth=99))] * 1_000))
                await asyncio.sleep(0)
                if host.writer.transport.is_closing():
                    break
                await asyncio.wait_for(host.writer.drain(), 60)
    while server.hosts:
        await asyncio.sleep(0.005)


async def test_flood_of_requests(server: Server) -> None:
    """Thousands of requests at once are refused one by one, and others have their turn meanwhile."""
    async with welcomed(server.address) as host:
        host.send(*[request() for _ in range(2_000)])
        await still_waits(server)
        kinds = [type(await host.next()) for _ in range(2_000)]
    assert kinds.count(m.Opened) <= 4
    assert kinds.count(m.Refused) >= 1_990


async def still_waits(server: Server) -> None:
    """See that a second host gets its answer while the first one has its own."""
    async with welcomed(server.address) as other:
        other.send(m.Ping())
        await other.expect(m.Pong)


# --- much data ------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


NO_LIMIT = Limits(output_bytes=2**40, wall_seconds=3600)
FLOOD = "while True: print('x' * 100_000)"


async def test_worker_that_floods_a_host_that_does_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker says and nobody reads stays with the worker, until its limit ends it."""
    monkeypatch.setattr(server_module, "LINGER_SECONDS", 0.1)
    before = peak_bytes()
    async with (
        welcomed(server.address) as host,
        running(host, server.address, FLOOD, wall_seconds=1.0, limits=NO_LIMIT) as execution,
    ):
        execution.raw.writer.transport.pause_reading()
        assert (await host.expect(m.Ended)).timed_out
        await still_serves(server)
    assert peak_bytes() - before < 50_000_000


async def test_host_that_floods_a_worker_that_does_not_read(server: Server) -> None:
    """What a host sends and its worker does not read stays with the host."""
    before = peak_bytes()
    async with (
        welcomed(server.address) as host,
        running(host, server.address, FOREVER) as execution,
    ):
        answer = b"".join(encode_result(Result(id=1, payload=encode_value("x" * 1_000_000))))
        assert await taken_of(execution.raw, answer, 200) < 50
        await still_serves(server)
        execution.raw.writer.transport.abort()
    assert peak_bytes() - before < 50_000_000


async def taken_of(raw: Raw, data: bytes, times: int) -> int:
    """Send data again and again; return how often it was taken within half a second."""
    for n in range(times):
        raw.send(data)
        try:
            await asyncio.wait_for(raw.writer.drain(), 0.5)
        except TimeoutError:
            return n
    return times


async def test_ten_megabytes_each_way(server: Server) -> None:
    """Large results reach the worker, and large output the host."""
    limits = Limits(output_bytes=20_000_000, result_bytes=20_000_000)
    code = "text = await fetch()\nprint(text)"
    async with (
        welcomed(server.address) as host,
        running(host, server.address, code, limits=limits) as execution,
    ):
        while not execution.protocol.collect():
            await execution.step()
        text = "x" * 10_000_000
        execution.answer(1, text)
        assert (await execution.to_end()).output == text + "\n"


async def test_late_answers_do_not_cut_the_end(server: Server) -> None:
    """What a worker said last reaches a host that still sends to it."""
    async with welcomed(server.address) as host:
        for _ in range(20):
            async with running(host, server.address, "print('x' * 500_000)") as execution:
                for _ in range(50):
                    execution.raw.send(*encode_result(Result(id=1, payload=encode_value("y" * 9))))
                protocol = await execution.to_end()
                assert protocol.done is not None or len(protocol.output) > 0


# --- what is left ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
async def test_nothing_is_left_after_many_executions(server: Server) -> None:
    """After a thousand executions, ended in each way, there is no descriptor, task or secret more than before."""
    times = int(os.environ.get("EXECUTIONS", "100"))
    await still_serves(server)
    async with welcomed(server.address) as host:

        async def one(way: int) -> None:
            code = "print(1)" if way in (0, 1) else FOREVER
            limit = 0.05 if way == 4 else 60.0
            async with running(host, server.address, code, wall_seconds=limit) as execution:
                if way == 0:
                    await execution.to_end()
                elif way == 2:
                    host.send(m.Kill(execution.secret))
                    await execution.to_end()
                elif way == 4:
                    await execution.to_end()
            await host.expect(m.Ended)

        for way in range(5):
            await one(way)
        before = await count_all(server)
        for n in range(times):
            await one(n % 5)
        assert await count_all(server) == before


async def count_all(server: Server) -> tuple[int, ...]:
    """Return how many descriptors, tasks and executions there are, once nothing is about to end."""
    counted: list[tuple[int, ...]] = []
    while len(counted) < 20 or len(set(counted[-20:])) > 1:
        await asyncio.sleep(0.02)
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        tasks = len(asyncio.all_tasks())
        counted.append((descriptors, tasks, len(server.executions), len(server.awaited)))
    return counted[-1]
