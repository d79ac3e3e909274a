"""Limits hold while a worker is being had: bursts, and a parent of workers that stands still or dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_ptc import (
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    SandboxError,
    as_programmatic,
)
from langchain_ptc.sandbox.host import pool as pool_module
from langchain_ptc.sandbox.host import workers as workers_module
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.workers import Allowance
from tests.sandbox.host.test_process import children_of, is_unused, linux
from tests.support.waiting import SECONDS, wait_for

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
    stats = sandbox.stats()
    outer = stats.parent_pid
    assert outer is not None
    if stats.layers["namespaces"] != "on":
        return [outer]
    return [outer, *map(int, Path(f"/proc/{outer}/task/{outer}/children").read_text().split())]


def send(numbers: list[int], what: int) -> None:
    """Send a signal to processes, if they are there."""
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, what)


def workers_of(sandbox: ProcessSandbox) -> list[int]:
    """Return the processes of its workers, those that wait among them."""
    parent = parents_of_workers(sandbox)[-1]
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


async def all_places_are_free(sandbox: ProcessSandbox) -> bool:
    """Whether nobody has a worker or waits for one any more; waits for it, bounded."""
    return bool(await asyncio.to_thread(wait_for, lambda: is_unused(sandbox)))


def statuses(results: list[Any]) -> list[str]:
    """Return how each ended: the status of a record, or the class of what was raised."""
    return [getattr(result, "status", type(result).__name__) for result in results]


async def test_stats_say_what_the_workers_do() -> None:
    """Executions that run, are queued or have ended, and workers that are idle, are counted."""
    called, go_on = [], asyncio.Event()

    @tool
    async def waits() -> None:
        """Wait."""
        called.append(1)
        await go_on.wait()

    with ProcessSandbox(max_workers=2, waiting_workers=3) as sandbox:
        before = sandbox.stats()
        assert (before.running, before.queued, before.idle) == (0, 0, 0)
        executor = make(sandbox, waits)
        burst = asyncio.gather(*[executor.aexecute("await waits()") for _ in range(5)])
        while len(called) < 2:
            await asyncio.sleep(0.001)
        during = sandbox.stats()
        assert (during.running, during.starting, during.queued) == (2, 0, 3)
        assert during.parent_pid in children_of(os.getpid())
        go_on.set()
        assert statuses(await burst) == ["success"] * 5
        assert await all_places_are_free(sandbox)
        assert await asyncio.to_thread(wait_for, lambda: sandbox.stats().idle == 3)


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

    monkeypatch.setattr(workers_module.socket, "socketpair", make_small)
    with ProcessSandbox(max_workers=100) as sandbox:
        executor = make(sandbox)
        burst = [executor.aexecute(f"print(await quick({n}))") for n in range(60)]
        results = await asyncio.wait_for(asyncio.gather(*burst), SECONDS)
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


async def test_a_short_limit_counts_for_each_in_its_turn() -> None:
    """Loops, sleeps, slow tools and failures share one worker; each has its own limit and its own end."""

    @tool
    async def never() -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    codes = {
        "while True: pass": "limit",
        "import time\ntime.sleep(20)": "limit",
        "await never()": "limit",
        "1 / 0": "error",
        "print(1)": "success",
    }
    with ProcessSandbox(max_workers=1, waiting_workers=1) as sandbox:
        executor = make(sandbox, never, wall_seconds=0.2)
        results = await asyncio.gather(*[executor.aexecute(code) for code in [*codes, *codes]])
        assert statuses(list(results)) == [*codes.values(), *codes.values()]
        assert await all_places_are_free(sandbox)


async def test_executions_are_given_up_at_any_moment_of_waiting() -> None:
    """Time-outs of the caller while it waits, is handed its worker and runs leave no place taken."""
    with ProcessSandbox(max_workers=2, waiting_workers=1) as sandbox:
        executor = make(sandbox)
        await executor.aexecute("pass")

        async def give_up(seconds: float) -> str:
            try:
                async with asyncio.timeout(seconds):
                    return (await executor.aexecute("print(1)")).output
            except TimeoutError:
                return "given up"

        told = await asyncio.gather(*[give_up(n * 0.003) for n in range(60)])
        assert set(told) <= {"given up", "1\n"}
        assert await all_places_are_free(sandbox)
        assert (await executor.aexecute("print(2)")).output == "2\n"


async def test_half_of_a_batch_is_cancelled() -> None:
    """Of a batch of agents half are cancelled: the others are right, and nothing goes on afterwards."""
    ended: list[int] = []

    @tool
    async def effect(n: int) -> int:
        """Do something."""
        await asyncio.sleep(0.02)
        ended.append(n)
        return n

    with ProcessSandbox(max_workers=10) as sandbox:
        (run_code,) = as_programmatic([effect], sandbox=sandbox)

        async def one(n: int) -> str:
            return str(await run_code.ainvoke({"code": f"print(await effect({n}))"})).split()[0]

        tasks = [asyncio.ensure_future(one(n)) for n in range(80)]
        for n in range(0, 80, 2):
            tasks[n].cancel()
            await asyncio.sleep(0.002)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[n] for n in range(1, 80, 2)] == [str(n) for n in range(1, 80, 2)]
        assert await all_places_are_free(sandbox)
        before = len(ended)
        await asyncio.sleep(0.05)
        assert len(ended) == before


def test_loops_begun_in_many_threads_and_loops_end() -> None:
    """Endless loops, begun by threads and by several event loops at once, are all ended."""
    with ProcessSandbox(max_workers=30) as sandbox, ThreadPoolExecutor(10) as threads:
        executor = make(sandbox, wall_seconds=0.5)

        def in_a_loop(_: int) -> list[str]:
            async def main() -> list[Any]:
                return await asyncio.gather(*[executor.aexecute("while True: pass") for _ in "abc"])

            return statuses(asyncio.run(main()))

        waiting = [threads.submit(executor.execute, "while True: pass") for _ in range(6)]
        found = [told for some in threads.map(in_a_loop, range(3)) for told in some]
        found += statuses([one.result(SECONDS) for one in waiting])
    assert found == ["limit"] * 15


def test_executions_of_many_allowances_at_once() -> None:
    """More kinds of allowances than workers wait for, from two event loops, a third of them cancelled."""
    with ProcessSandbox(max_workers=8, waiting_workers=2) as sandbox:

        def in_a_loop(seed: int) -> list[Any]:
            async def main() -> list[Any]:
                tasks = []
                for n in range(15):
                    limits = {
                        "cpu_seconds": 5 + n % 3,
                        "memory_bytes": 2**28 + (n + seed) % 4 * 2**20,
                    }
                    executor = make(sandbox, **limits)
                    tasks.append(asyncio.ensure_future(executor.aexecute(f"print({n})")))
                await asyncio.sleep(0.02)
                for task in tasks[::3]:
                    task.cancel()
                return await asyncio.gather(*tasks, return_exceptions=True)

            return asyncio.run(main())

        with ThreadPoolExecutor(2) as threads:
            for results in threads.map(in_a_loop, range(2)):
                for n, result in enumerate(results):
                    assert n % 3 == 0 or result.output == f"{n}\n"
        assert asyncio.run(all_places_are_free(sandbox))


async def test_executions_inside_of_executions_are_cancelled() -> None:
    """Executions that wait for others of theirs, in one place each, are cancelled, and leave none taken."""
    with ProcessSandbox(max_workers=1, waiting_workers=1) as sandbox:
        inner = make(sandbox, wall_seconds=0.3)

        @tool
        async def fan_out() -> int:
            """Execute code, three times at once."""
            codes = ["print(await quick(1))", "while True: pass", "print(await quick(1))"]
            return len(await asyncio.gather(*[inner.aexecute(code) for code in codes]))

        outer = make(sandbox, fan_out, wall_seconds=20)
        tasks = [asyncio.ensure_future(outer.aexecute("print(await fan_out())")) for _ in range(4)]
        await asyncio.sleep(0.3)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert statuses(results) == ["CancelledError", "success"] * 2
        assert await all_places_are_free(sandbox)


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.15])
async def test_a_sandbox_is_closed_over_a_burst(seconds: float) -> None:
    """Executions that wait, begin or run when their workers are closed all end at once."""
    sandbox = ProcessSandbox(max_workers=4, waiting_workers=2)
    executor = make(sandbox)
    code = "import time\ntime.sleep(0.05)\nprint(await quick(1))"
    burst = asyncio.gather(*[executor.aexecute(code) for _ in range(20)], return_exceptions=True)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(sandbox.close)
    results = await asyncio.wait_for(burst, SECONDS)
    assert set(statuses(results)) <= {"SandboxError", "sandbox", "success"}
    assert "SandboxError" in statuses(results)


async def test_a_loop_that_is_blocked_is_told_where_its_code_was() -> None:
    """A tool blocks the event loop for longer than the limits: the workers are ended on time all the same."""

    @tool
    async def blocks() -> None:
        """Block."""
        await asyncio.sleep(0)
        time.sleep(0.7)

    with ProcessSandbox(max_workers=6, waiting_workers=4) as sandbox:
        executor = make(sandbox, blocks, wall_seconds=0.3)
        await executor.aexecute("pass")
        assert await asyncio.to_thread(wait_for, lambda: sandbox.stats().idle == 4)
        codes = ["await blocks()", *["print('x')\nwhile True: pass"] * 2]
        results = await asyncio.gather(*[executor.aexecute(code) for code in codes])
    assert statuses(list(results)) == ["limit", "limit", "limit"]
    assert [(r.output, r.error and r.error.line) for r in results[1:]] == [("x\n", 2)] * 2


@linux
async def test_unread_results_of_workers_that_stand_still_or_die() -> None:
    """Workers that are stopped, killed or cancelled with megabytes unread end, and others go on."""

    @tool
    async def big(n: int) -> str:
        """Return much."""
        return "x" * 2_000_000

    code = (
        "import asyncio\nts = [asyncio.ensure_future(big(i)) for i in range(8)]\n"
        "await asyncio.sleep(0)\nwhile True: pass"
    )
    with ProcessSandbox(max_workers=8, waiting_workers=1) as sandbox:
        executor = make(sandbox, big, wall_seconds=1, result_bytes=10_000_000)
        tasks = [asyncio.ensure_future(executor.aexecute(code)) for _ in range(6)]
        assert await asyncio.to_thread(wait_for, lambda: sandbox.stats().running == 6)
        workers = workers_of(sandbox)
        send(workers[:2], signal.SIGSTOP)
        send(workers[2:3], signal.SIGKILL)
        tasks[5].cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS)
        assert set(statuses(results)) <= {"limit", "sandbox", "CancelledError"}
        assert await all_places_are_free(sandbox)
        send(workers, signal.SIGCONT)  # one of those that were stopped may have waited
        assert (await executor.aexecute("print(len(await big(1)))")).output == "2000000\n"


async def test_many_in_this_process_at_once() -> None:
    """Hundreds of executions in threads of the host end, and endless loops among them."""
    sandbox = InProcessSandbox()
    executor = ProgrammaticToolExecutor([quick], sandbox=sandbox, limits=Limits(wall_seconds=20))
    endless = ProgrammaticToolExecutor([], sandbox=sandbox, limits=Limits(wall_seconds=0.5))
    burst = [executor.aexecute(f"print(await quick({n}))") for n in range(100)]
    loops = [endless.aexecute("while True: pass") for _ in range(3)]
    results = await asyncio.gather(*burst, *loops)
    assert [result.output for result in results[:100]] == [f"{n}\n" for n in range(100)]
    assert statuses(list(results[100:])) == ["limit"] * 3


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
        assert await asyncio.to_thread(wait_for, lambda: sandbox.stats().idle)
        stopped = parents_of_workers(sandbox)
        send(stopped, signal.SIGSTOP)
        burst = [executor.aexecute("print(await quick(1))") for _ in range(5)]
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "SILENT_SECONDS", 0.5)
            results = await asyncio.gather(*burst, return_exceptions=True)
        refused = [result for result in results if isinstance(result, SandboxError)]
        assert len(refused) >= 4
        assert "has not answered within 0.5 seconds" in str(refused[0])
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
            patch.setattr(pool_module, "SILENT_SECONDS", 0.3)
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
        send(parents_of_workers(sandbox)[:1], signal.SIGKILL)
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

    class Dying(workers_module.Parent):
        def __init__(self, options: Any) -> None:
            tried.append(options)
            super().__init__({**options, "imports": 5})

    monkeypatch.setattr(pool_module, "Parent", Dying)
    pool = WorkerPool((), waiting=1)
    asked = [pool.checkout(Allowance(5, 2**28)) for _ in range(50)]
    assert all(isinstance(one.exception(timeout=SECONDS), SandboxError) for one in asked)
    assert len(tried) == 3
    pool.close()


@linux
async def test_workers_that_are_stopped() -> None:
    """Workers that are stopped while they wait or run are ended by the limit, and are no lost places."""
    with ProcessSandbox(max_workers=2, waiting_workers=2) as sandbox:
        executor = make(sandbox, wall_seconds=0.4)
        await executor.aexecute("pass")
        assert await asyncio.to_thread(wait_for, lambda: len(workers_of(sandbox)) >= 2)
        waiting = workers_of(sandbox)
        send(waiting, signal.SIGSTOP)
        results = await asyncio.gather(*[executor.aexecute("print(1)") for _ in range(4)])
        assert set(statuses(list(results))) <= {"limit", "success"}
        send(waiting, signal.SIGCONT)
        called = asyncio.Event()

        @tool
        async def tells() -> None:
            """Say that the code runs."""
            called.set()

        running = asyncio.ensure_future(
            make(sandbox, tells, wall_seconds=0.4).aexecute(
                "await tells()\nimport time\ntime.sleep(9)"
            )
        )
        await called.wait()
        send(workers_of(sandbox), signal.SIGSTOP)
        assert (await running).status == "limit"
        send(workers_of(sandbox), signal.SIGCONT)
        assert await all_places_are_free(sandbox)


@linux
@pytest.mark.parametrize("moment", range(6))
async def test_signals_to_the_parent_of_workers(
    monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Whichever process is stopped or killed while executions begin, all end, and the next ones work."""
    with ProcessSandbox(max_workers=6, waiting_workers=1) as sandbox:
        executor = make(sandbox, wall_seconds=2)
        await executor.aexecute("pass")
        burst = [asyncio.ensure_future(executor.aexecute(f"print({n})")) for n in range(8)]
        await asyncio.sleep(0.004 * moment)
        parents = parents_of_workers(sandbox)
        victims = [parents, parents[:1], parents[-1:]][moment % 3]
        with monkeypatch.context() as patch:
            if moment % 2:
                send(victims, signal.SIGKILL)
            else:
                send(victims, signal.SIGSTOP)
                patch.setattr(pool_module, "SILENT_SECONDS", 0.3)
            burst.append(asyncio.ensure_future(executor.aexecute("print(8)")))
            results = await asyncio.wait_for(
                asyncio.gather(*burst, return_exceptions=True), SECONDS
            )
        assert set(statuses(results)) <= {"success", "sandbox", "SandboxError"}
        assert (await executor.aexecute("print('next')")).output == "next\n"
        assert await all_places_are_free(sandbox)
        send(victims, signal.SIGCONT)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import sys\nsys.exit(3)", "import bad_module: SystemExit: 3"),
        ("raise KeyboardInterrupt", "import bad_module: KeyboardInterrupt"),
        ("class Odd(BaseException): pass\nraise Odd('x' * 100_000)", "import bad_module: Odd: xxx"),
        ("import os\nos.kill(os.getpid(), 9)", "the parent of workers has died"),
        ("import time\ntime.sleep(60)", "did not start within 0.5 seconds"),
    ],
    ids=["exits", "interrupted", "long", "dies", "hangs"],
)
async def test_a_module_that_ends_the_parent_of_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, told: str
) -> None:
    """Whatever a module does when it is imported, those who wait are told so, in bounded time and text."""
    (tmp_path / "bad_module.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    if "hang" in told or "sleep" in body:
        monkeypatch.setattr(pool_module, "SILENT_SECONDS", 0.5)
    pool = WorkerPool(("bad_module",), waiting=1)
    error = await asyncio.to_thread(pool.checkout(Allowance(5, 2**28)).exception, 20)
    assert isinstance(error, SandboxError)
    assert told in str(error)
    assert len(str(error)) < 2_000
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

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with ProcessSandbox(waiting_workers=1, max_workers=5) as sandbox:
        executor = make(sandbox)
        with pytest.raises(SandboxError, match="refuses a thread to look after workers"):
            await executor.aexecute("print(1)")
        monkeypatch.setattr(threading.Thread, "start", start)
        assert (await executor.aexecute("print(2)")).output == "2\n"
