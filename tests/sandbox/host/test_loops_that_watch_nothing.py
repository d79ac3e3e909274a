"""Executions run on event loops that cannot watch sockets, as Windows' default loop: one thread does it for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolExecutor, RemoteSandbox
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.sandbox.host.connection import watcher_of
from tests.support.remote import ServerProcess
from tests.support.sandboxes import TOKEN
from tests.support.waiting import SECONDS


class Unwatching(asyncio.SelectorEventLoop):
    """A loop that offers no more than the Proactor does."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    remove_reader = asyncio.AbstractEventLoop.remove_reader
    add_writer = asyncio.AbstractEventLoop.add_writer
    remove_writer = asyncio.AbstractEventLoop.remove_writer


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    with asyncio.Runner(loop_factory=Unwatching) as runner:
        return runner.run(asyncio.wait_for(main(), SECONDS))


async def echo(value: Any) -> Any:
    """Return the value."""
    await asyncio.sleep(0)
    return value


@pytest.fixture(params=["process", "remote"], scope="module")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if request.param == "process":
        with ProcessSandbox() as made:
            yield made
        return
    server = ServerProcess()
    try:
        with RemoteSandbox([server.address], token=TOKEN) as made:
            yield made
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("print(sum([await echo(n) for n in range(50)]))", "1225"),
        ("import asyncio\nprint(sum(await asyncio.gather(*[echo(n) for n in range(99)])))", "4851"),
        ("print(len(await echo('x' * 3_000_000)))", "3000000"),
        ("print('x' * 1_000_000)", "x" * 1_000_000),
    ],
    ids=["serial", "gather", "large", "output"],
)
def test_programs_run(sandbox: Sandbox, code: str, printed: str) -> None:
    """Calls one by one and together, large values both ways, and much output arrive whole."""
    executor = ProgrammaticToolExecutor([echo], sandbox=sandbox)
    result = run(lambda: executor.aexecute(code))
    assert result.output.strip() == printed, result.report()


def test_many_at_once_and_one_after_another(sandbox: Sandbox) -> None:
    """Sockets that are closed and opened again under the same number are told apart."""
    executor = ProgrammaticToolExecutor([echo], sandbox=sandbox)

    async def main() -> list[str]:
        outputs = []
        for _ in range(3):
            results = await asyncio.gather(
                *(executor.aexecute(f"print(await echo({n}))") for n in range(8))
            )
            outputs += [result.output for result in results]
        return outputs

    assert run(main) == [f"{n}\n" for n in range(8)] * 3


def test_limits_and_cancellation(sandbox: Sandbox) -> None:
    """An endless program ends by its limit, and one that is cancelled leaves the loop usable."""
    executor = ProgrammaticToolExecutor([echo], sandbox=sandbox, limits=Limits(wall_seconds=1))

    async def main() -> list[str]:
        ended = await executor.aexecute("while True:\n    pass")
        running = asyncio.ensure_future(executor.aexecute("await echo(1)\nwhile True:\n    pass"))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [ended.status, (await executor.aexecute("print(1)")).status]

    assert run(main) == ["limit", "success"]


def test_a_callback_is_called_as_long_as_there_is_something() -> None:
    """What is not read at once is reported again, and nothing is after the removal, not even to a new socket."""

    async def main() -> tuple[bytes, int]:
        ours, theirs = socket.socketpair()
        watcher, got, done = watcher_of(asyncio.get_running_loop()), [], asyncio.Event()

        def read() -> None:
            got.append(ours.recv(1))
            if len(got) == 5:
                watcher.remove_reader(ours.fileno())
                done.set()

        watcher.add_reader(ours.fileno(), read)
        theirs.send(b"12345678")
        await done.wait()
        number = ours.fileno()
        ours.close()
        again, others = socket.socketpair()
        try:
            assert number in (again.fileno(), others.fileno())
            others.send(b"x")
            writable = asyncio.Event()
            watcher.add_writer(again.fileno(), writable.set)
            await writable.wait()
            watcher.remove_writer(again.fileno())
        finally:
            for sock in (theirs, again, others):
                sock.close()
        return b"".join(got), len(got)

    assert run(main) == (b"12345", 5)


def test_loops_that_watch_do_it_themselves() -> None:
    """The usual loops are asked directly: there is no thread in between."""

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        return watcher_of(loop) is loop

    assert asyncio.run(main())
