"""A server of workers, as a host meets it on its connections."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from langchain_ptc import SandboxError
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote import server as server_module
from langchain_ptc.sandbox.remote.server import Server
from tests.support.pools import kill
from tests.support.raw_host import (
    TOKEN,
    Running,
    dialled,
    hello,
    new_loop,
    program_of,
    request,
    running,
    welcomed,
)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(token=TOKEN, max_workers=4, waiting_workers=1) as started:
        yield started
        assert not started.executions


async def settled(server: Server) -> None:
    """Wait until no execution has a place."""
    while server.executions:
        await asyncio.sleep(0.005)


# --- executions -------------------------------------------------------------------------------------


async def test_welcome_says_what_there_is(server: Server) -> None:
    """A host hears of the modules, the layers of confinement, the capacity and the room."""
    async with dialled(server.address) as raw:
        raw.send(hello())
        welcome = await raw.expect(m.Welcome)
    assert (welcome.modules, welcome.capacity, welcome.room) == ((), 4, 4)
    assert welcome.layers["seccomp"] == "on"


async def test_an_execution(server: Server) -> None:
    """A program runs in a worker; its end is said on both connections, the data connection's first."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "print(6 * 7)") as execution:
            protocol = await execution.to_end()
        assert protocol.output == "42\n"
        assert protocol.done is not None
        assert protocol.done.status == "success"
        ended = await host.expect(m.Ended)
        assert ended.secret == execution.secret
        assert not ended.timed_out
        assert os.waitstatus_to_exitcode(ended.status) == 0
        await settled(server)
        host.send(m.Ping())
        assert await host.next() == m.Pong(4)


async def test_data_connection_first(server: Server) -> None:
    """A data connection that comes before its secret is announced waits for that."""
    async with welcomed(server.address) as host, dialled(server.address) as data:
        asked = request()
        data.send(m.greeting(asked.secret))
        while not server.awaited:
            await asyncio.sleep(0.005)
        host.send(asked, m.Watch(asked.secret, 60.0))
        assert (await host.expect(m.Opened)).secret == asked.secret
        execution = Running(data, program_of("print(1)"), asked.secret)
        assert (await execution.to_end()).output == "1\n"


async def test_greeting_and_first_frame_in_one_write(server: Server) -> None:
    """What comes together with the greeting reaches the worker."""
    code = "print('x' * 100_000)"
    async with welcomed(server.address) as host, running(host, server.address, code) as execution:
        assert len((await execution.to_end()).output) == 100_001


async def test_wall_limit(server: Server) -> None:
    """The server ends a worker whose wall limit has come, and says that it did."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "while True: pass", wall_seconds=0.2) as execution:
            await execution.to_end()
        assert (await host.expect(m.Ended)).timed_out


async def test_watch_again_begins_the_limit_anew(server: Server) -> None:
    """A second `Watch` takes the place of the first."""
    async with welcomed(server.address) as host:
        async with running(
            host, server.address, "while True: pass", wall_seconds=3600.0
        ) as execution:
            host.send(m.Watch(execution.secret, 0.05))
            await execution.to_end()
        assert (await host.expect(m.Ended)).timed_out


async def test_kill(server: Server) -> None:
    """`Kill` ends a worker and its connection; a second one, and one for no execution, do nothing."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "while True: pass") as execution:
            host.send(m.Kill(execution.secret), m.Kill(execution.secret), m.Kill(m.new_secret()))
            assert (await host.expect(m.Ended)).status == -1
            await execution.to_end()
        host.send(m.Ping())
        assert await host.next() == m.Pong(4)


async def test_a_worker_that_dies(server: Server) -> None:
    """The status of a worker that was killed reaches the host."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "while True: pass") as execution:
            for worker in list(server.pool.workers.values()):
                kill(worker)
            await execution.to_end()
        ended = await host.expect(m.Ended)
        assert os.waitstatus_to_exitcode(ended.status) == -signal.SIGKILL


async def test_hanging_up_ends_the_worker(server: Server) -> None:
    """A host that closes the data connection of an execution ends it."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "while True: pass"):
            pass
        await host.expect(m.Ended)
        await settled(server)


async def test_lost_control_connection_ends_the_workers(server: Server) -> None:
    """Executions end with the control connection that asked for them, and no others."""
    address, code = server.address, "while True: pass"
    async with welcomed(address) as other, running(other, address, code) as stays:
        async with welcomed(address) as host, running(host, address, code) as execution:
            await host.close()
            await execution.to_end()
        assert list(server.executions) == [stays.secret]


async def test_a_silent_host_is_lost(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of a host that says nothing for long are ended: its machine may be gone."""
    monkeypatch.setattr(server_module, "HOST_SILENT_SECONDS", 0.3)
    async with welcomed(server.address) as host:
        async with running(host, server.address, "while True: pass") as execution:
            await execution.to_end()
        assert (await host.expect(m.Ended)).status == -1
        assert await host.next() is None


async def test_no_data_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker for which no data connection comes is ended."""
    monkeypatch.setattr(server_module, "GREETING_SECONDS", 0.2)
    async with welcomed(server.address) as host:
        asked = request()
        host.send(asked, m.Watch(asked.secret, 60.0))
        await host.expect(m.Opened)
        assert (await host.expect(m.Ended)).secret == asked.secret


# --- admission --------------------------------------------------------------------------------------


async def test_full(server: Server) -> None:
    """A full server refuses at once, and says when it has room again."""
    async with welcomed(server.address) as host:
        asked = [request() for _ in range(4)]
        host.send(*asked)
        for _ in asked:
            await host.expect(m.Opened)
        seconds = []
        for _ in range(10):  # the least of ten depends on no load
            one_more = request()
            begun = time.perf_counter()
            host.send(one_more)
            assert await host.expect(m.Refused) == m.Refused(one_more.secret, "", 0)
            seconds.append(time.perf_counter() - begun)
        assert min(seconds) < 0.05
        host.send(m.Kill(asked[0].secret))
        assert await host.expect(m.Room) == m.Room(1)
        host.send(*[m.Kill(ask.secret) for ask in asked[1:]])
        await settled(server)


async def test_each_depth_has_workers_of_its_own(server: Server) -> None:
    """Executions inside of others have places of their own, down to a depth."""
    async with welcomed(server.address) as host:
        host.send(*[request() for _ in range(4)])
        for _ in range(4):
            await host.expect(m.Opened)
        host.send(request(depth=1))
        await host.expect(m.Opened)
        host.send(request(depth=server_module.MAX_DEPTH + 1))
        assert "the depth must be" in (await host.expect(m.Refused)).why


@pytest.mark.parametrize(
    "changed", [{"cpu_seconds": 0}, {"cpu_seconds": 2**40}, {"memory_bytes": -1}, {"depth": -1}]
)
async def test_figures_out_of_bounds(server: Server, changed: dict[str, Any]) -> None:
    """A request for more than there is, or for nothing, is refused with the figure."""
    asked = m.Open(
        **{"secret": m.new_secret(), "cpu_seconds": 1, "memory_bytes": 1, "depth": 0, **changed}
    )
    async with welcomed(server.address) as host:
        host.send(asked)
        assert str(next(iter(changed.values()))) in (await host.expect(m.Refused)).why


async def test_kill_before_the_worker_is_there(server: Server) -> None:
    """Each request is answered by one `Refused` or one `Ended`, also if it is given up at once."""
    async with welcomed(server.address) as host:
        asked = [request(cpu_seconds=20 + n) for n in range(4)]  # each needs a new worker
        host.send(*asked, *[m.Kill(ask.secret) for ask in asked])
        ended = {(await host.expect(m.Ended)).secret for _ in asked}
        assert ended == {ask.secret for ask in asked}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"token": "another token of some length"}, "the token is wrong", id="token"),
        pytest.param({"token": ""}, "the token is wrong", id="no-token"),
        pytest.param({"version": "0.0.1"}, "install the same on both", id="version"),
        pytest.param({"python": "3.9"}, "install the same on both", id="python"),
        pytest.param({"protocol": 99}, "install the same on both", id="protocol"),
    ],
)
async def test_sent_away(
    server: Server, changed: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not ask for workers hears why, and that is the end."""
    monkeypatch.setattr(server_module, "WRONG_TOKEN_SECONDS", 0.01)
    async with dialled(server.address) as raw:
        raw.send(hello(**changed), request())
        goodbye = await raw.next()
        assert isinstance(goodbye, m.Goodbye)
        assert why in goodbye.why
        assert await raw.next() is None
    assert not server.hosts


async def test_another_version_with_a_wrong_token(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever does not know the token does not hear which version there is."""
    monkeypatch.setattr(server_module, "WRONG_TOKEN_SECONDS", 0.01)
    async with dialled(server.address) as raw:
        raw.send(hello("another token of some length", version="0.0.1"))
        assert await raw.next() == m.Goodbye("the token is wrong")


async def test_drain(server: Server) -> None:
    """A server that drains gives no more workers, and waits for those that it has given."""
    async with welcomed(server.address) as host:
        async with running(host, server.address, "print(1)") as execution:
            draining = asyncio.create_task(server.drain(60.0))
            assert await host.expect(m.Room) == m.Room(0)
            host.send(request())
            assert (await host.expect(m.Refused)).why == ""
            async with dialled(server.address) as late:
                late.send(hello())
                assert (await late.expect(m.Goodbye)).why == "the server is shutting down"
            assert (await execution.to_end()).output == "1\n"
        await draining


async def test_drain_has_an_end(server: Server) -> None:
    """Draining gives up on executions that take too long, and closing ends them."""
    code = "while True: pass"
    async with welcomed(server.address) as host, running(host, server.address, code) as execution:
        await server.drain(0.05)
        assert server.executions
        await server.close()
        await execution.to_end()


async def test_it_does_not_start_unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose workers cannot be confined as required does not listen."""

    def refuse(layers: Any) -> None:
        raise SandboxError("this machine cannot confine a worker")

    monkeypatch.setattr(server_module, "require_kernel", refuse)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(token=TOKEN, port=port)
    with pytest.raises(SandboxError, match="cannot confine"):
        await server.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*server.address)


async def test_in_a_thread() -> None:
    """A server runs on a loop in a thread of its own, beside whatever the process does."""
    loop = new_loop()
    server = Server(token=TOKEN)
    await asyncio.to_thread(loop.run, server.start())
    async with welcomed(server.address) as host:
        async with running(host, server.address, "print(1)") as execution:
            assert (await execution.to_end()).output == "1\n"
        await asyncio.to_thread(loop.run, server.close())
        assert await host.expect(m.Ended)
        assert await host.next() is None


def test_short_token() -> None:
    """A token that can be guessed is refused."""
    with pytest.raises(ValueError, match="at least 16 characters"):
        Server(token="secret")
