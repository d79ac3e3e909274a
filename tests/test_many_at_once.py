"""Limits hold while a worker is being had: bursts, and a parent of workers that stands still or dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from test_process import linux, wait_for

from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolExecutor, SandboxError
from langchain_ptc.sandbox.host import launch as launch_module
from langchain_ptc.sandbox.host import pool as pool_module
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.workers import Allowance

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@tool
async def quick(n: int) -> int:
    """Return a number."""
    return n


def make(sandbox: ProcessSandbox, *tools: Any, **limits: Any) -> ProgrammaticToolExecutor:
    """Build an executor."""
    return ProgrammaticToolExecutor([quick, *tools], sandbox=sandbox, limits=Limits(**limits))


def parents_of_workers(sandbox: ProcessSandbox) -> list[int]:
    """Return the processes that fork workers: the one that was started, and its child in namespaces."""
    parent = sandbox._pool._parent
    assert parent is not None
    outer = parent._process.pid
    if sandbox._pool.layers["namespaces"] != "on":
        return [outer]
    return [outer, *map(int, Path(f"/proc/{outer}/task/{outer}/children").read_text().split())]


def send(numbers: list[int], what: int) -> None:
    """Send a signal to processes, if they are there."""
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, what)


# --- bursts ---------------------------------------------------------------------------------------


async def test_many_executions_at_once_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """More workers are asked for at once than any buffer holds requests for, and all executions end.

    The buffers are small here, so that few executions fill them.
    """
    make_pair = socket.socketpair

    def make_small(*args: Any, **options: Any) -> tuple[socket.socket, socket.socket]:
        pair = make_pair(*args, **options)
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        return pair

    monkeypatch.setattr(launch_module.socket, "socketpair", make_small)
    with ProcessSandbox(max_workers=100) as sandbox:
        executor = make(sandbox)
        burst = [executor.aexecute(f"print(await quick({n}))") for n in range(60)]
        results = await asyncio.wait_for(asyncio.gather(*burst), 60)
        assert [result.output for result in results] == [f"{n}\n" for n in range(60)]
        assert (await executor.aexecute("print(1)")).output == "1\n"


async def test_the_number_of_workers_is_bounded() -> None:
    """No more executions have a worker than `max_workers`, and all have their turn."""
    at_once, most = 0, 0

    @tool
    async def counted(n: int) -> int:
        """Count who is here."""
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return n

    with ProcessSandbox(max_workers=3, waiting_workers=2) as sandbox:
        executor = make(sandbox, counted)
        burst = [executor.aexecute(f"print(await counted({n}))") for n in range(30)]
        results = await asyncio.gather(*burst)
    assert [result.output for result in results] == [f"{n}\n" for n in range(30)]
    assert most <= 3 + 2  # those that wait are taken without asking


async def test_waiting_for_a_turn_is_no_wall_time() -> None:
    """An execution that waits longer than its wall limit for its turn is not ended by it."""
    with ProcessSandbox(max_workers=1, waiting_workers=1) as sandbox:
        executor = make(sandbox, wall_seconds=0.6)
        code = "import time\ntime.sleep(0.25)\nprint(1)"
        results = await asyncio.gather(*[executor.aexecute(code) for _ in range(4)])
    assert {result.output for result in results} == {"1\n"}


async def test_turns_of_those_that_are_cancelled_are_given_to_others() -> None:
    """Executions that are cancelled while they wait for their turn take none."""
    with ProcessSandbox(max_workers=2, waiting_workers=1) as sandbox:
        executor = make(sandbox)
        tasks = [asyncio.ensure_future(executor.aexecute(f"print({n})")) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[:25]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r.output for r in results[25:]] == [f"{n}\n" for n in range(25, 30)]  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["aexecute", "execute"])
async def test_executions_inside_of_executions_need_no_place_of_theirs(how: str) -> None:
    """With one place in all, executions that begin others in their tools still go on, two levels deep."""
    with ProcessSandbox(max_workers=1, waiting_workers=1) as sandbox:

        def nest(inner: ProgrammaticToolExecutor, code: str) -> Any:
            @tool
            async def deeper() -> str:
                """Execute code."""
                if how == "aexecute":
                    return (await inner.aexecute(code)).output
                return (await asyncio.to_thread(inner.execute, code)).output

            return deeper

        middle = make(sandbox, nest(make(sandbox), "print(await quick(5))"))
        outer = make(sandbox, nest(middle, "print(await deeper())"), wall_seconds=20)
        burst = [outer.aexecute("print(await deeper())") for _ in range(4)]
        results = await asyncio.gather(*burst)
    assert [result.output.strip() for result in results] == ["5"] * 4


# --- a parent of workers that stands still, or dies ----------------------------------------------


@linux
async def test_no_worker_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent of workers that is stopped ends those who wait by an error, and is replaced by the next."""
    with ProcessSandbox(waiting_workers=1) as sandbox:
        executor = make(sandbox, wall_seconds=2)
        await executor.aexecute("pass")
        assert await asyncio.to_thread(wait_for, lambda: sandbox._pool._alive)
        stopped = parents_of_workers(sandbox)
        send(stopped, signal.SIGSTOP)
        burst = [executor.aexecute("print(await quick(1))") for _ in range(5)]
        began = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "_SILENT_SECONDS", 0.5)
            results = await asyncio.gather(*burst, return_exceptions=True)
        refused = [result for result in results if isinstance(result, SandboxError)]
        assert len(refused) >= 4
        assert "has not answered within 0.5 seconds" in str(refused[0])
        assert time.monotonic() - began < 15
        assert (await executor.aexecute("print(await quick(2))")).output == "2\n"
        send(stopped, signal.SIGCONT)


@linux
async def test_executions_go_on_while_their_parent_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What runs is not ended with a parent of workers that was given up, and that one may come back."""
    called, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def waits() -> int:
        """Wait."""
        called.set()
        await go_on.wait()
        return 3

    with ProcessSandbox(waiting_workers=1) as sandbox:
        executor = make(sandbox, waits)
        running = asyncio.ensure_future(executor.aexecute("print(await waits())"))
        await called.wait()
        stopped = parents_of_workers(sandbox)
        send(stopped, signal.SIGSTOP)
        burst = [executor.aexecute("print(1)") for _ in range(4)]
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "_SILENT_SECONDS", 0.3)
            results = await asyncio.gather(*burst, return_exceptions=True)
        assert any(isinstance(result, SandboxError) for result in results)
        send(stopped, signal.SIGCONT)
        go_on.set()
        assert (await running).output == "3\n"
        assert (await executor.aexecute("print(4)")).output == "4\n"


@linux
async def test_what_has_not_begun_is_begun_again() -> None:
    """Executions whose parent of workers dies before they have begun are begun on a new one."""
    with ProcessSandbox(waiting_workers=2, max_workers=25) as sandbox:
        executor = make(sandbox)
        await executor.aexecute("pass")
        burst = [
            asyncio.ensure_future(executor.aexecute(f"print(await quick({n}))")) for n in range(25)
        ]
        await asyncio.sleep(0.05)
        parent = sandbox._pool._parent
        assert parent is not None
        os.kill(parent._process.pid, signal.SIGKILL)
        results = await asyncio.gather(*burst, return_exceptions=True)
    outputs = [getattr(result, "output", repr(result)) for result in results]
    statuses = {getattr(result, "status", "raised") for result in results}
    assert "raised" not in statuses, outputs
    for number, result in enumerate(results):
        if result.status == "sandbox":  # type: ignore[union-attr]  # it had begun: it had called its tool
            assert len(result.tool_calls) == 1 or result.output  # type: ignore[union-attr]
        else:
            assert outputs[number] == f"{number}\n"


@linux
def test_a_parent_that_always_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent of workers that never stands is tried three times, and all who wait are told."""
    tried: list[object] = []

    class Dying(pool_module.Parent):
        def __init__(self, options: Any) -> None:
            tried.append(options)
            super().__init__({**options, "imports": 5})

    monkeypatch.setattr(pool_module, "Parent", Dying)
    pool = WorkerPool((), waiting=1)
    asked = [pool.checkout(Allowance(5, 2**28)) for _ in range(50)]
    assert all(isinstance(one.exception(timeout=30), SandboxError) for one in asked)
    assert len(tried) == 3
    pool.close()


# --- what the system refuses ----------------------------------------------------------------------


@linux
async def test_few_descriptors_make_a_burst_slower_and_not_fail() -> None:
    """Where there are descriptors for some workers only, the others wait for these to end."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ProcessSandbox(waiting_workers=1, max_workers=200) as sandbox:
        executor = make(sandbox)
        await executor.aexecute("pass")
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 24, hard))
        try:
            burst = [executor.aexecute(f"print(await quick({n}))") for n in range(40)]
            results = await asyncio.gather(*burst)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [result.output for result in results] == [f"{n}\n" for n in range(40)]


async def test_a_thread_that_the_system_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started for the workers, the execution is an error, and the next works."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "langchain-ptc workers":
            raise RuntimeError("can't start new thread")
        start(self)

    with ProcessSandbox(waiting_workers=1, max_workers=5) as sandbox:
        executor = make(sandbox)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SandboxError, match="refuses a thread to look after workers"):
            await executor.aexecute("print(1)")
        monkeypatch.setattr(threading.Thread, "start", start)
        assert (await executor.aexecute("print(2)")).output == "2\n"


async def test_workers_are_ended_by_their_pool_alone() -> None:
    """Killing from many threads while executions end hits no worker that has taken over a descriptor."""
    with ProcessSandbox(waiting_workers=4) as sandbox:
        executor = make(sandbox)
        await executor.aexecute("pass")
        ended = threading.Event()

        def kill_what_has_ended() -> None:
            while not ended.is_set():
                for worker in old:
                    worker.kill()
                time.sleep(0.001)

        old = list(sandbox._pool._alive.values())
        for worker in old:
            sandbox._pool.discard(worker)
        killers = [threading.Thread(target=kill_what_has_ended) for _ in range(3)]
        for thread in killers:
            thread.start()
        results = await asyncio.gather(*[executor.aexecute(f"print({n})") for n in range(40)])
        ended.set()
        for thread in killers:
            thread.join()
    assert [result.output for result in results] == [f"{n}\n" for n in range(40)]
