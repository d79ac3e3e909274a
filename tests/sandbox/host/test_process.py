"""What holds of `ProcessSandbox` beyond the suite that every sandbox passes."""

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from langchain_ptc import Limits, ProcessSandbox, SandboxError
from langchain_ptc.sandbox import Done, Program, Result
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.workers import Allowance
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support import ROOT
from tests.support.pools import PoolSandbox, kill
from tests.support.waiting import SECONDS, wait_for

linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")


async def execute(sandbox, code: str, *, limits: Limits | None = None, on_call=None) -> Done:
    session = sandbox.session()

    def on_calls(calls):
        for call in calls:
            if on_call is None:
                session.resume([Result(id=call.id, payload=encode_value(list(call.args)))])
            else:
                on_call(session, call)

    program = Program(code=code, tools=("echo",), limits=limits or Limits())
    return await session.run(program, on_calls)


@pytest.fixture
def unrestricted():
    """A walled worker whose code is any Python: the kernel alone."""
    with PoolSandbox(policy=False) as made:
        yield made


def children_of(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(stat.parent.name)
            found |= {child} | children_of(child)
    return found


def is_unused(sandbox) -> bool:
    """Whether no execution has a worker of a sandbox, or waits for one."""
    stats = sandbox.stats()
    return not (stats.running or stats.starting or stats.queued)


@linux
async def test_every_layer_is_on_here():
    """On a kernel that has them all, every layer of confinement is installed."""
    with ProcessSandbox() as sandbox:
        await execute(sandbox, "1")
        layers = sandbox.stats().layers
    assert layers["seccomp"] == "on"
    assert set(layers) == {"namespaces", "empty_root", "landlock", "capabilities", "seccomp"}


PROBES = {
    "open a file": "open('/etc/passwd')",
    "list a folder": "import os; os.listdir('/')",
    "make a folder": "import os; os.mkdir('/x')",
    "open a socket": "import socket; socket.socket()",
    "a pair of sockets": "import socket; socket.socketpair()",
    "fork": "import os; os.fork()",
    "execute": "import os; os.execv('/bin/true', ['true'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "signal itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "signal all": "import os, signal; os.kill(-1, signal.SIGKILL)",
    "signal its parent": "import os, signal; os.kill(1, signal.SIGKILL)",
    "a pipe": "import os; os.pipe()",
    "duplicate": "import os; os.dup(3)",
    "raise its limits": (
        "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
        "    if c.setrlimit(0, (ctypes.c_ulong * 2)(99, 99)): raise OSError(ctypes.get_errno(), '')"
    ),
    "memory that is executable": (
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.mmap.restype = ctypes.c_ssize_t\n"
        "    if c.mmap(None, 4096, 7, 34, -1, 0) == -1: raise OSError(ctypes.get_errno(), 'mmap')"
    ),
    "a timer": "import signal; signal.setitimer(signal.ITIMER_REAL, 9)",
    "another user": "import os; os.setuid(0)",
}


@linux
@pytest.mark.parametrize("probe", PROBES)
async def test_the_kernel_alone_refuses(unrestricted, probe):
    """With the language policy off, full CPython gets nothing out of the kernel."""
    code = f"try:\n    {PROBES[probe]}\nexcept OSError as e:\n    print('refused', e.errno)"
    done = await execute(unrestricted, code)
    assert done.output in ("refused 1\n", "refused 2\n"), (done.output, done.failure)


@linux
async def test_a_worker_has_no_environment_and_one_descriptor(unrestricted, monkeypatch):
    """Nothing of the host leaks in: no variables, no descriptors but the line."""
    monkeypatch.setenv("PTC_SECRET", "canary")
    code = """
import os
def readable(fd):
    try:
        os.read(fd, 0)
    except OSError:
        return False
    return True
print([fd for fd in range(64) if readable(fd)], 'canary' in str(os.environ))
"""
    assert (await execute(unrestricted, code)).output == "[3] False\n"


def kill_all_of(pool: WorkerPool) -> None:
    """Kill every worker of a pool, and wait until the kernel says that they are dead."""
    workers = list(pool.workers.values())
    for worker in workers:
        kill(worker)
    assert wait_for(lambda: not any(worker.is_alive() for worker in workers))


async def test_a_worker_that_is_killed_is_reported_and_the_next_works():
    """A worker killed from outside ends its execution with a clear status, and no other.

    Workers that were killed while they waited are not given out either.
    """
    with PoolSandbox(waiting=4) as sandbox:
        done = await execute(
            sandbox,
            "print('before')\nawait echo(1)",
            on_call=lambda session, call: kill_all_of(sandbox.pool),
        )
        assert (done.status, done.output) == ("sandbox", "before\n")
        assert "SIGKILL" in done.failure.message
        assert (await execute(sandbox, "print(2)")).output == "2\n"


async def test_the_parent_of_workers_is_restarted():
    """When the parent of workers is killed, the execution is told and the next starts a new one."""
    others = children_of(os.getpid())
    with ProcessSandbox(waiting_workers=5) as sandbox:  # a parent that nobody else has

        def kill(session, call):
            for pid in children_of(os.getpid()) - others:
                with contextlib.suppress(ProcessLookupError):  # one takes the others with it
                    os.kill(pid, signal.SIGKILL)

        done = await execute(sandbox, "await echo(1)", on_call=kill)
        assert done.status == "sandbox"
        assert (await execute(sandbox, "print(2)")).output == "2\n"


def test_asyncio_run_twice_and_threads():
    """One sandbox serves several event loops, one after another and side by side."""
    with ProcessSandbox() as sandbox:
        assert asyncio.run(execute(sandbox, "print(1)")).output == "1\n"
        assert asyncio.run(execute(sandbox, "print(2)")).output == "2\n"
        outputs: list[str] = []

        def work(n: int) -> None:
            outputs.append(asyncio.run(execute(sandbox, f"print(await echo({n}))")).output)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outputs) == [f"[{n}]\n" for n in range(8)]


async def test_many_executions_at_once():
    """A burst larger than what waits is served, each execution with its own state."""
    with ProcessSandbox() as sandbox:
        done = await asyncio.gather(
            *[execute(sandbox, f"x = {n}\nprint(await echo(x))") for n in range(40)]
        )
    assert [d.output for d in done] == [f"[{n}]\n" for n in range(40)]


async def test_the_wall_limit_holds_while_the_loop_is_blocked():
    """A tool that blocks the host's loop does not keep a worker alive."""
    ended = []
    with PoolSandbox() as sandbox:

        def block(session, call):
            workers = list(sandbox.pool.workers.values())  # on the loop, which the next line blocks
            ended.append(wait_for(lambda: not all(worker.is_alive() for worker in workers)))

        code = "await echo(1)\nwhile True: pass"
        done = await execute(sandbox, code, limits=Limits(wall_seconds=0.5), on_call=block)
    assert ended == [True]
    assert done.failure.limit == "wall_seconds"


async def test_the_wall_limit_says_where_the_code_was():
    """The report of a wall limit has the output so far and the line."""
    with ProcessSandbox() as sandbox:
        code = "print('a')\nprint('b')\ndef spin():\n    while True:\n        x = 1\nspin()"
        done = await execute(sandbox, code, limits=Limits(wall_seconds=0.3))
    assert done.output == "a\nb\n"
    assert done.failure.line in (4, 5)
    assert "in spin" in done.failure.traceback


HOST = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.sandbox.host.test_process import execute
from langchain_ptc import ProcessSandbox
sandbox = ProcessSandbox()
def on_call(session, call):
    print("ready", flush=True)
asyncio.run(execute(sandbox, "await echo(1)", on_call=on_call))
"""


@linux
def test_nothing_is_left_when_the_host_is_killed():
    """kill -9 of the host leaves no parent of workers and no worker behind."""
    code = HOST.format(root=str(ROOT))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout.readline() == "ready\n"
        family = children_of(host.pid)
        assert len(family) >= 3
        host.kill()
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))


@linux
def test_nothing_is_left_after_close_or_collection():
    """`close`, a context manager and garbage collection all end every process."""
    before = children_of(os.getpid())
    with ProcessSandbox(waiting_workers=7) as sandbox:
        asyncio.run(execute(sandbox, "1"))
        assert children_of(os.getpid()) - before
    assert wait_for(lambda: not children_of(os.getpid()) - before)
    sandbox = ProcessSandbox(waiting_workers=7)
    asyncio.run(execute(sandbox, "1"))
    del sandbox
    gc.collect()
    assert wait_for(lambda: not children_of(os.getpid()) - before)


def test_a_closed_sandbox_says_so():
    """An execution after `close` is a `SandboxError`."""
    sandbox = ProcessSandbox()
    sandbox.close()
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        sandbox.session()


def test_sandboxes_with_the_same_modules_share_one_parent():
    """Closing one of two sandboxes leaves the other working."""
    first, second = ProcessSandbox(), ProcessSandbox()
    assert asyncio.run(execute(first, "print(1)")).output == "1\n"
    assert second.stats().parent_pid == first.stats().parent_pid is not None
    first.close()
    assert asyncio.run(execute(second, "print(1)")).output == "1\n"
    second.close()


def test_it_works_in_a_forked_child():
    """A server that forks its workers after the first execution (gunicorn) goes on working."""
    code = f"""
    import asyncio, os, sys
    sys.path.insert(0, {str(ROOT)!r})
    from tests.sandbox.host.test_process import execute
    from langchain_ptc import ProcessSandbox
    sandbox = ProcessSandbox()
    assert asyncio.run(execute(sandbox, "print(1)")).output == "1\\n"
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        assert asyncio.run(execute(sandbox, "print(3)")).output == "3\\n"
        sys.exit(os.waitstatus_to_exitcode(status))
    assert asyncio.run(execute(sandbox, "print(2)")).output == "2\\n"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=SECONDS)


def test_it_does_not_block_the_loop():
    """Starting and using workers makes no blocking call on the event loop, as LangGraph's server asks."""
    from blockbuster import BlockBuster

    blockbuster = BlockBuster()
    sandbox = ProcessSandbox(waiting_workers=6)

    async def main():
        blockbuster.activate()
        try:
            await execute(sandbox, "print(await echo(1))")
            return await execute(sandbox, "print(await echo(2))")
        finally:
            blockbuster.deactivate()

    assert asyncio.run(main()).output == "[2]\n"
    sandbox.close()


async def test_time_zones_work_without_files():
    """Every time zone that the host knows is there in a worker, which has no files."""
    code = """
import zoneinfo, datetime
noon = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Kathmandu"))
print(noon.astimezone(zoneinfo.ZoneInfo("America/New_York")), len(zoneinfo.available_timezones()))
try:
    zoneinfo.ZoneInfo("Mars/Olympus")
except zoneinfo.ZoneInfoNotFoundError as e:
    print(e)
"""
    import zoneinfo

    with ProcessSandbox() as sandbox:
        done = await execute(sandbox, code)
    known = len(zoneinfo.available_timezones())
    assert done.output.startswith(f"2024-07-01 02:15:00-04:00 {known}\n")
    assert "Mars/Olympus" in done.output


async def test_cancelling_ends_the_worker():
    """Cancelling the task that awaits an execution ends the worker at once."""
    with ProcessSandbox() as sandbox:
        called = asyncio.Event()
        task = asyncio.create_task(
            execute(sandbox, "await echo(1)", on_call=lambda session, call: called.set())
        )
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await execute(sandbox, "print(1)")).output == "1\n"


async def test_a_worker_that_waits_takes_over_the_limits_of_the_next():
    """Executions with different limits each get theirs."""
    with ProcessSandbox() as sandbox:
        big = "x = 'a' * (300 * 1024 * 1024)\nprint(len(x))"
        small = await execute(sandbox, big, limits=Limits(memory_bytes=64 * 1024 * 1024))
        assert small.failure.limit == "memory_bytes"
        assert (await execute(sandbox, big)).status == "success"


def test_a_module_that_cannot_be_imported_is_the_operators_fault():
    """A wrong name in `imports` is a `SandboxError` that says which."""
    with (
        ProcessSandbox(imports=["no_such_module_anywhere"]) as sandbox,
        pytest.raises(SandboxError, match="import no_such_module_anywhere: ModuleNotFoundError"),
    ):
        asyncio.run(execute(sandbox, "1"))


async def test_what_is_not_sent_by_an_honest_worker_ends_the_execution(unrestricted):
    """Full CPython that writes rubbish to the line gets the execution killed, and nothing else."""
    for rubbish in (
        "b'\\xff' * 100",
        "__import__('struct').pack('<I', 2**31)",
        "__import__('struct').pack('<I', 5) + b'[[1]]'",
    ):
        code = f"import os\nos.write(3, {rubbish})\nwhile True: pass"
        done = await execute(unrestricted, code)
        assert done.status == "sandbox"
        assert "broke the protocol" in done.failure.message
    assert (await execute(unrestricted, "print(1)")).output == "1\n"


def test_as_many_workers_wait_as_were_asked_for():
    """The number of waiting workers is held: after the first execution, and after they were killed."""
    pool = WorkerPool((), waiting=3)
    allowance = Allowance(5, 2**28)

    def waiting() -> int:
        return sum(worker.is_alive() for worker in list(pool.workers.values()))

    try:
        pool.discard(pool.checkout(allowance).result(timeout=SECONDS))
        assert wait_for(lambda: waiting() == 3)
        for worker in list(pool.workers.values()):
            kill(worker)
        assert wait_for(lambda: waiting() == 0)
        pool.discard(pool.checkout(allowance).result(timeout=SECONDS))
        assert wait_for(lambda: waiting() == 3)
    finally:
        pool.close()


async def test_an_execution_that_is_cancelled_on_its_way_loses_no_worker():
    """Cancelling while the worker is still being made gives it back."""
    with ProcessSandbox() as sandbox:
        await execute(sandbox, "1")
        for _ in range(5):
            tasks = [asyncio.create_task(execute(sandbox, "1")) for _ in range(12)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.to_thread(wait_for, lambda: is_unused(sandbox))


@linux
async def test_a_worker_that_waits_takes_any_limits(unrestricted):
    """Limits that no execution had before need no new worker, and hold in the one that has waited."""
    import resource

    pool, taken = unrestricted.pool, []

    def look(session, call):
        waited = session.worker in waiting
        pid = re.search(
            r"Pid:\t(\d+)", Path(f"/proc/self/fdinfo/{session.worker.pidfd}").read_text()
        )
        kinds = (resource.RLIMIT_CPU, resource.RLIMIT_AS)
        taken.append((waited, *(resource.prlimit(int(pid[1]), kind)[0] for kind in kinds)))
        session.resume([Result(id=call.id, payload=encode_value(1))])

    await execute(unrestricted, "1")
    for seconds, size in ((3, 2**28), (7, 2**29)):
        assert await asyncio.to_thread(wait_for, lambda: pool.stats().idle == 1)
        waiting = set(pool.workers.values())
        limits = Limits(cpu_seconds=seconds, memory_bytes=size)
        done = await execute(
            unrestricted, "import tools; tools.echo(1)", limits=limits, on_call=look
        )
        assert done.status == "success", done
    (_, _, less), (_, _, more) = taken
    assert [each[:2] for each in taken] == [(True, 3), (True, 7)]
    assert less > 2**28
    assert more - less == 2**28


@pytest.mark.parametrize(
    "options",
    [{"waiting_workers": 0}, {"require": "all"}, {"imports": ["a b"]}],
    ids=["workers", "require", "imports"],
)
def test_options_that_cannot_be_meant_are_refused(options):
    """A mistake in the options is an error at construction."""
    with pytest.raises(ValueError, match=r"must be|no module name"):
        ProcessSandbox(**options)
