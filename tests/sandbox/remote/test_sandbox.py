"""`RemoteSandbox` with servers as they should be, with such as lie, and with such as are gone."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ptc import (
    Limits,
    MachineLost,
    ProgrammaticToolExecutor,
    RemoteSandbox,
    SandboxError,
)
from langchain_ptc.sandbox import Done, Program
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote import pool as pool_module
from langchain_ptc.sandbox.remote import sandbox as sandbox_module
from langchain_ptc.sandbox.remote.server import Server
from langchain_ptc.sandbox.remote.sockets import TcpConnector, client_tls, server_tls
from tests.support.certificates import Certificates
from tests.support.pools import kill
from tests.support.remote import ALLOWANCE, ServerProcess, honest, lying
from tests.support.sandboxes import TOKEN, serving
from tests.support.waiting import wait_for
from tests.trials.world import REQUEST, make_agent

Answer = Callable[[m.Message], list[m.Message | bytes]]


def remote(*addresses: str, **options: Any) -> RemoteSandbox:
    """Return a sandbox over these servers."""
    return RemoteSandbox(addresses, token=TOKEN, **options)


async def run(sandbox: RemoteSandbox, code: str = "print(1)", **limits: Any) -> Done:
    """Run a program that calls no tools."""
    return await sandbox.session().run(Program(code=code, limits=Limits(**limits)), lambda _: None)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(token=TOKEN, max_workers=4, waiting_workers=1) as started:
        yield started
        while started.executions:
            await asyncio.sleep(0.005)


def address_of(server: Server) -> str:
    """Return where a server listens."""
    return "{}:{}".format(*server.address)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience with servers within fractions of a second."""
    monkeypatch.setattr(pool_module, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(pool_module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(pool_module, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(pool_module, "RECOVERY_SECONDS", 0.5)
    monkeypatch.setattr(pool_module, "GRACE_SECONDS", 0.1)


# --- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "options", "message"),
    [
        pytest.param("host:1", {}, "addresses must be a list", id="string"),
        pytest.param([], {}, "must not be empty", id="none"),
        pytest.param(["host"], {}, "host:port", id="no-port"),
        pytest.param(["host:1"], {"token": ""}, "must not be empty", id="no-token"),
        pytest.param(["host:1"], {"queue_seconds": 0}, "must be positive", id="no-patience"),
        pytest.param(["host:1"], {"require": "much"}, "require must be", id="no-level"),
    ],
)
def test_arguments(addresses: Any, options: dict[str, Any], message: str) -> None:
    """What cannot be meant is refused when the sandbox is made, before anything is connected."""
    with pytest.raises((TypeError, ValueError), match=message):
        RemoteSandbox(addresses, **{"token": TOKEN, **options})


@pytest.mark.parametrize(
    ("address", "tls", "is_secure"),
    [
        ("127.0.0.1:1", None, False),
        ("[::1]:1", None, False),
        ("localhost:1", None, False),
        ("10.0.0.1:1", None, True),
        ("example.org:1", None, True),
        ("127.0.0.1:1", True, True),
        ("10.0.0.1:1", False, False),
    ],
)
def test_a_token_goes_in_clear_only_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, address: str, tls: bool | None, is_secure: bool
) -> None:
    """TLS is the default but for the loopback interface; leaving it out elsewhere takes a word."""
    made: list[None] = []
    monkeypatch.setattr(sandbox_module, "client_tls", lambda: made.append(None))
    with remote(address, tls=tls):
        assert bool(made) is is_secure


# --- servers that cannot be used ----------------------------------------------------------------------


async def refusal(sandbox: RemoteSandbox, within: float = 5.0) -> str:
    """Return why a program is not run, which is known soon."""
    with sandbox:
        began = time.monotonic()
        with pytest.raises(SandboxError) as caught:
            await run(sandbox)
        assert time.monotonic() - began < within
        return str(caught.value)


async def test_all_machines_are_down() -> None:
    """The error names each address and why; it comes at once."""
    why = await refusal(remote("127.0.0.1:9", "[::1]:9"))
    assert why == (
        "no machine can run code: 127.0.0.1:9: Connection refused; [::1]:9: Connection refused"
    )


async def test_wrong_token(server: Server) -> None:
    """A server that sends this host away is named with what it said."""
    why = await refusal(RemoteSandbox([address_of(server)], token="another token of such length"))
    assert why.endswith(f"{address_of(server)}: it sends this host away: the token is wrong")


async def test_wrong_version(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and server must be of one version; the error names both."""
    monkeypatch.setattr(pool_module, "VERSION", "0.0.1")
    assert "install the same on both" in await refusal(remote(address_of(server)))


async def test_missing_module(server: Server) -> None:
    """A server must offer what code may import here."""
    why = await refusal(remote(address_of(server), imports=["json", "decimal"]))
    assert "it does not offer decimal, json" in why


@pytest.mark.parametrize(
    ("has", "needs", "why"),
    [
        (0, True, "its workers have no folders, and 67,108,864 bytes are needed for files"),
        (
            2**20,
            2**21,
            "its workers have folders of 1,048,576 bytes, and 2,097,152 bytes are needed",
        ),
        (
            2**20,
            False,
            "its workers have folders, which this sandbox has no use for: pass files=True",
        ),
    ],
)
async def test_folders_of_another_size(has: int, needs: bool | int, why: str) -> None:
    """A server whose workers have less of a folder than is needed is not used, nor one with any for those without."""
    async with lying(first=m.Welcome((), {"seccomp": "on", "folder": "on"}, 4, 4, has)) as liar:
        assert why in await refusal(remote(liar.address, files=needs))


async def test_wrong_certificate(certificates: Certificates) -> None:
    """A server whose certificate is not trusted gets no token; one that is trusted runs code."""
    signed = certificates.server
    async with Server(token=TOKEN, tls=server_tls(signed.certificate, signed.key)) as server:
        assert "its certificate is not trusted" in await refusal(
            remote(address_of(server), tls=True)
        )
        with remote(address_of(server), tls=client_tls(certificates.ca)) as sandbox:
            assert (
                await run(sandbox, "print('x' * 1_000_000)", output_chars=10)
            ).status == "success"


async def test_workers_that_the_kernel_does_not_confine() -> None:
    """A server without the kernel's filter is not used, unless less is asked for."""
    async with lying(first=m.Welcome((), {"seccomp": "off"}, 4, 4)) as liar:
        assert "seccomp is off" in await refusal(remote(liar.address))


# --- servers that lie ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("first", "why"),
    [
        pytest.param(os.urandom(4096), "", id="random-bytes"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "a message of", id="http"),
        pytest.param(None, "not answered within", id="silence"),
        pytest.param(m.Pong(4), "begins with Pong", id="no-welcome"),
        pytest.param(m.Welcome((), {}, 0, 0), "seccomp is not installed", id="no-layers"),
        pytest.param(m.Welcome((), {"seccomp": "on"}, 0, 9), "a capacity of 0", id="no-capacity"),
        pytest.param(m.Goodbye("\x1b[31m" + "x" * 9999), "away: ?[31mxxx", id="escape-codes"),
    ],
)
async def test_no_welcome(first: m.Message | bytes | None, why: str) -> None:
    """Whatever a server begins with, the host says what was wrong, in bounds and printable."""
    async with lying(first=first) as liar:
        said = await refusal(remote(liar.address))
        assert why in said
        assert said.isprintable()
        assert len(said) < 1000


def after_open(*said: Callable[[str], m.Message | bytes]) -> Answer:
    """Return an honest server's answers, and what it says besides to `Open`."""

    def answer(message: m.Message) -> list[m.Message | bytes]:
        extra = [make(message.secret) for make in said] if isinstance(message, m.Open) else []
        return [*honest(message), *extra]

    return answer


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(lambda _: os.urandom(4096), id="random-bytes"),
        pytest.param(lambda _: m.encode(m.Pong(4))[:5], id="half-a-message"),
        pytest.param(lambda _: m.Opened(m.new_secret()), id="opened-for-nobody"),
        pytest.param(lambda _: m.Ended(m.new_secret(), 0, 0.0, False), id="ended-for-nobody"),
        pytest.param(lambda s: m.Ended(s, 0, 0.0, False), id="ended-before-the-end"),
        pytest.param(lambda s: m.Ended(s, 2**60, 1e300, False), id="impossible-status"),
        pytest.param(lambda s: m.Ended(s, 0x7F, -1.0, False), id="stopped"),
        pytest.param(lambda s: m.Refused(s, "after all", 2**60), id="opened-and-refused"),
        pytest.param(lambda _: m.Hello("", ""), id="message-of-a-host"),
        pytest.param(lambda _: m.encode(m.Room(4)) * 50_000, id="flood"),
    ],
)
async def test_a_server_that_lies_hangs_nothing(said: Any) -> None:
    """An execution there ends by its limit, or as lost; within the limit and a moment."""
    async with lying(after_open(said)) as liar:
        with remote(liar.address, queue_seconds=1) as sandbox:
            began = time.monotonic()
            try:
                done = await run(sandbox, wall_seconds=0.5)
                assert done.status in ("limit", "sandbox")
            except SandboxError:
                pass
            assert time.monotonic() - began < 8
            assert await asyncio.to_thread(wait_for, lambda: not sandbox.pool.queue)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(os.urandom(65536), "broke the protocol", id="random-bytes"),
        pytest.param(b"\xff\xff\xff\x7f" + b"x" * 100, "broke the protocol", id="huge-frame"),
    ],
)
async def test_a_worker_that_lies(data: bytes, why: str) -> None:
    """What comes on a data connection is checked as what a local worker says."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    async with lying(data=say) as liar:
        with remote(liar.address) as sandbox:
            done = await run(sandbox, wall_seconds=5)
            assert done.status == "sandbox"
            assert done.failure is not None
            assert why in done.failure.message


@pytest.mark.usefixtures("soon")
async def test_a_server_that_gives_no_worker_is_given_up() -> None:
    """One that answers pings and no request costs the time that an execution may wait, and no more."""
    async with lying(lambda said: honest(said) if isinstance(said, m.Ping) else []) as liar:
        why = await refusal(remote(liar.address, queue_seconds=0.5))
        assert "it has not answered" in why


@pytest.mark.usefixtures("soon")
async def test_a_silent_server_is_lost_and_another_one_takes_over(server: Server) -> None:
    """Half-open connections and stopped servers are noticed; executions that begin go elsewhere."""
    pings = 0

    def fall_silent(message: m.Message) -> list[m.Message | bytes]:
        nonlocal pings
        pings += isinstance(message, m.Ping)
        return honest(message) if isinstance(message, m.Ping) and pings < 3 else []

    async with lying(fall_silent) as liar:
        with remote(liar.address, address_of(server)) as sandbox:
            done = await asyncio.gather(*[run(sandbox) for _ in range(20)])
            assert {one.status for one in done} == {"success"}


async def test_a_stopped_server_is_lost_and_programs_in_steps_go_on_elsewhere() -> None:
    """A machine that hangs is known to in three seconds, and not in a minute."""
    first = ServerProcess()
    try:
        with remote(first.address) as sandbox:
            begun = asyncio.Event()
            session = sandbox.session()
            program = Program(code="import asyncio\nawait get()", tools=("get",))
            running = asyncio.ensure_future(session.run(program, lambda _: begun.set()))
            await begun.wait()
            first.stop()
            began = time.monotonic()
            with pytest.raises(MachineLost, match="has said nothing for 3 seconds"):
                await running
            assert 2.5 < time.monotonic() - began < 8
            first.resume()
    finally:
        first.kill()


async def test_a_program_in_steps_outlives_its_worker(server: Server, tmp_path: Path) -> None:
    """A worker that is killed on a server, for want of memory or by a person, costs no effect and no answer."""
    kills = 0

    log = tmp_path / "log"
    log.touch()
    with remote(address_of(server)) as sandbox:
        code = "for i in range(4):\n    print(await post(str(i)))"
        agent = make_agent(code, log, InMemorySaver(), approve=False, sandbox=sandbox)
        config: Any = {"configurable": {"thread_id": "1"}}
        running = asyncio.ensure_future(agent.ainvoke(REQUEST, config))
        while not running.done():
            if kills < 3 and len(log.read_text().splitlines()) > kills:
                kills += 1
                for worker in list(server.pool.workers.values()):
                    kill(worker)
            await asyncio.sleep(0.001)
    assert (await running)["messages"][-1].content == "\n".join(f"posted {i}" for i in range(4))
    assert log.read_text().splitlines() == [f"post {i}" for i in range(4)]
    assert kills == 3


# --- full servers -------------------------------------------------------------------------------------


class Held:
    """Executions that wait in a tool until they are let go."""

    def __init__(self, sandbox: RemoteSandbox) -> None:
        self.begun: list[str] = []
        self._go = asyncio.Event()
        self._changed = asyncio.Event()

        async def hold(name: str) -> str:
            """Wait."""
            self.begun.append(name)
            self._changed.set()
            await self._go.wait()
            return name

        self._executor = ProgrammaticToolExecutor([hold], sandbox=sandbox)

    def start(self, name: str) -> asyncio.Task[Any]:
        """Begin one."""
        return asyncio.ensure_future(self._executor.aexecute(f"print(await hold({name!r}))"))

    async def until(self, count: int) -> None:
        """Wait until so many have begun."""
        while len(self.begun) < count:
            self._changed.clear()
            await self._changed.wait()

    def let_go(self) -> None:
        """Let all of them go on."""
        self._go.set()


async def test_a_full_server_makes_executions_wait_in_their_order() -> None:
    """What comes when all workers are busy waits for its turn, first come first served."""
    async with Server(token=TOKEN, max_workers=1) as server:
        with remote(address_of(server)) as sandbox:
            held = Held(sandbox)
            tasks = [held.start("0")]
            await held.until(1)
            for name in "1234":
                tasks.append(held.start(name))
                while len(sandbox.pool.queue) < len(tasks) - 1:
                    await asyncio.sleep(0.005)
            assert not sandbox.has_room()
            held.let_go()
            assert [(await task).output for task in tasks] == [f"{n}\n" for n in range(5)]
            assert held.begun == list("01234")


async def test_waiting_for_a_full_server_ends_with_a_clear_error() -> None:
    """After `queue_seconds` the error names each server and what to do."""
    async with Server(token=TOKEN, max_workers=1) as server:
        with remote(address_of(server), queue_seconds=0.2) as sandbox:
            held = Held(sandbox)
            first = held.start("0")
            await held.until(1)
            with pytest.raises(SandboxError) as caught:
                await held.start("1")
            assert str(caught.value) == (
                f"no machine had a free worker within 0.2 seconds: {address_of(server)}: 1 worker, "
                "all busy. Add machines, raise their max_workers, or wait longer: "
                "RemoteSandbox(queue_seconds=...)"
            )
            held.let_go()
            assert (await first).status == "success"


async def test_executions_in_tools_of_executions_need_no_place_of_theirs() -> None:
    """With one worker to give, a tool may run code itself: each depth has workers of its own."""
    async with Server(token=TOKEN, max_workers=1) as server:
        with remote(address_of(server), queue_seconds=20) as sandbox:

            async def nest() -> str:
                """Run code."""
                inner = ProgrammaticToolExecutor([], sandbox=sandbox)
                return (await inner.aexecute("print('inner')")).output

            outer = ProgrammaticToolExecutor([nest], sandbox=sandbox)
            assert (await outer.aexecute("print(await nest())")).output == "inner\n\n"


# --- nothing is left ----------------------------------------------------------------------------------


def descriptors() -> int:
    """Return how many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def nothing_left(sandbox: RemoteSandbox, server: Server) -> None:
    """Wait until no execution has left anything, here or there."""
    pool = sandbox.pool
    machines = list(pool.machines.values())
    while (
        pool.queue
        or pool.joining
        or server.executions
        or any(machine.workers for machine in machines)
    ):
        await asyncio.sleep(0.005)


async def test_many_executions_leave_nothing(server: Server) -> None:
    """After some hundred executions there are as many descriptors, tasks and connections as before."""
    with remote(address_of(server)) as sandbox:
        await run(sandbox)
        await nothing_left(sandbox, server)
        before, tasks = descriptors(), len(asyncio.all_tasks())
        for _ in range(int(os.environ.get("PTC_REMOTE_EXECUTIONS", "200")) // 20):
            done = await asyncio.gather(*[run(sandbox) for _ in range(20)])
            assert {one.status for one in done} == {"success"}
        await nothing_left(sandbox, server)
        gc.collect()
        while descriptors() > before + 8:  # workers that wait come and go
            await asyncio.sleep(0.01)
        while len(asyncio.all_tasks()) > tasks + 1:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("phase", ["connect", "queue", "run", "end"])
async def test_cancellation_leaves_nothing(server: Server, phase: str) -> None:
    """An execution that is cancelled, whatever it is doing, gives back its worker and connections."""
    with remote(address_of(server)) as sandbox:
        if phase != "connect":
            await run(sandbox)
        held = Held(sandbox)
        busy = [held.start(str(n)) for n in range(4)] if phase == "queue" else []
        await held.until(len(busy))
        task = held.start("last")
        if phase in ("run", "end"):
            await held.until(1)
        if phase == "end":
            held.let_go()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        held.let_go()
        await asyncio.gather(*busy)
        await nothing_left(sandbox, server)
        assert (await run(sandbox)).status == "success"
        await nothing_left(sandbox, server)


async def test_closing_ends_what_runs(server: Server) -> None:
    """Executions of a sandbox that is closed end; further ones are refused; closing again does nothing."""
    sandbox = remote(address_of(server))
    held = Held(sandbox)
    running = held.start("0")
    await held.until(1)
    sandbox.close()
    assert (await running).status == "sandbox"
    with pytest.raises(SandboxError, match="the sandbox is closed"):
        sandbox.session()
    sandbox.close()


async def test_servers_join_and_leave(server: Server) -> None:
    """A server that is added is used at once; one that is removed is not, and what waits finds none in time."""
    async with Server(token=TOKEN, max_workers=4) as other:
        with remote(address_of(server), queue_seconds=0.5) as sandbox:
            assert (await run(sandbox)).status == "success"
            sandbox.pool.remove(address_of(server))
            with pytest.raises(
                SandboxError, match=r"no machine had a free worker within .*: there is none"
            ):
                await run(sandbox)
            sandbox.pool.add(TcpConnector(address_of(other), None), token=TOKEN)
            assert (await run(sandbox)).status == "success"
            (stats,) = sandbox.stats()
            assert (stats.name, stats.is_connected, stats.capacity, stats.problem) == (
                address_of(other),
                True,
                4,
                "",
            )


async def test_giving_a_worker_back_twice_does_nothing(server: Server) -> None:
    """A worker that was given back is not given back again, with the place of another one."""
    with remote(address_of(server)) as sandbox:
        worker = await asyncio.wrap_future(sandbox.pool.checkout(ALLOWANCE))
        (machine,) = sandbox.pool.machines.values()
        assert machine.room == machine.capacity - 1
        sandbox.pool.discard(worker)
        sandbox.pool.discard(worker)
        await nothing_left(sandbox, server)
        assert machine.room == machine.capacity


# --- threads, loops, forks ----------------------------------------------------------------------------


@pytest.fixture
def address() -> Iterator[str]:
    with serving() as address:
        yield address


def test_from_any_loop_and_thread(address: str) -> None:
    """One sandbox serves event loops one after another, and threads at once."""
    with remote(address) as sandbox:
        for _ in range(3):
            assert asyncio.run(run(sandbox)).status == "success"
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        with asyncio.Runner() as runner:

            async def in_threads() -> list[Any]:
                ways = [asyncio.to_thread(executor.execute, "print(2)") for _ in range(4)]
                return await asyncio.gather(*ways)

            assert {result.output for result in runner.run(in_threads())} == {"2\n"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_connects_itself(address: str, tmp_path: Path) -> None:
    """A child of a process that has used the sandbox has connections of its own, and the parent keeps its."""
    with remote(address) as sandbox:
        assert asyncio.run(run(sandbox)).status == "success"
        pid = os.fork()
        if not pid:
            try:
                (tmp_path / "said").write_text(asyncio.run(run(sandbox)).output)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert (tmp_path / "said").read_text() == "1\n"
        assert asyncio.run(run(sandbox)).status == "success"
