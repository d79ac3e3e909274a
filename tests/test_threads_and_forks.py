"""Threads, garbage collection, forks and re-entry: whatever happens, executions end and locks open."""

from __future__ import annotations

import asyncio
import builtins
import calendar
import contextvars
import decimal
import dis
import functools
import gc
import itertools
import locale
import logging
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

import langchain_ptc
from langchain_ptc import (
    ExecutionLog,
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    SandboxError,
    background_loop,
)
from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.locks import cached_property, new_lock
from tests.support.threads import (
    child,
    ends,
    forks,
    no_thread_of_code_is_left,
    quick,
    run_script,
)
from tests.support.waiting import SECONDS

# --- calls on our own loop ------------------------------------------------------------------------


def test_reentrant_execute() -> None:
    """A synchronous execution begun on the loop that has to run it is an error at once, at the call."""
    inner = ProgrammaticToolExecutor([])

    @tool
    async def outer() -> str:
        """Use a synchronous client inside."""
        return inner.execute("print(2)").output

    executor = ProgrammaticToolExecutor([outer])
    code = "try:\n    await outer()\nexcept ToolCallError as error:\n    print(error)"
    result = ends(lambda: executor.execute(code))
    assert "await the asynchronous form instead" in result.output
    assert ends(lambda: executor.execute("print(3)")).output == "3\n"


@pytest.mark.parametrize("how", ["await", "thread", "synchronous tool"])
def test_executions_inside_of_executions(how: str) -> None:
    """A tool executes code itself: awaited, in a thread of its own, or as a synchronous tool."""
    inner = ProgrammaticToolExecutor([quick])
    code = "print(await quick(7))"

    @tool
    async def awaits() -> str:
        """Execute code."""
        if how == "await":
            return (await inner.aexecute(code)).output
        return (await asyncio.to_thread(inner.execute, code)).output

    @tool
    def blocks() -> str:
        """Execute code."""
        return inner.execute(code).output

    used = blocks if how == "synchronous tool" else awaits
    executor = ProgrammaticToolExecutor([used])
    result = ends(lambda: executor.execute(f"print(await {used.name}())"))
    assert result.output == "7\n\n"


def test_a_tool_that_blocks_the_loop_for_what_runs_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through another thread the loop waits for itself as well: that ends too, and says where."""
    monkeypatch.setattr(background_loop, "BLOCKED_SECONDS", 0.5)
    inner = ProgrammaticToolExecutor([])

    @tool
    async def joins() -> str:
        """Wait for a thread that executes code."""
        told: list[str] = []

        def body() -> None:
            try:
                told.append(inner.execute("print(1)").output)
            except RuntimeError as error:
                told.append(str(error))

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return told[0]

    result = ends(lambda: ProgrammaticToolExecutor([joins]).execute("print(await joins())"))
    assert "has blocked it for 0.5 seconds, in joins" in result.output


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("place", ["async tool", "tool", "on_event", "callback"])
def test_base_exception_kills_the_private_loop(place: str, kind: type[BaseException]) -> None:
    """Whatever is raised on the private loop, later synchronous executions work."""

    @tool
    async def araises() -> int:
        """Raise."""
        raise kind(2)

    @tool
    def raises() -> int:
        """Raise."""
        raise kind(2)

    @tool
    async def calls_back() -> int:
        """Have something raised in a callback of the loop."""
        asyncio.get_running_loop().call_soon(raises.func)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    def on_event(event: object) -> None:
        if place == "on_event":
            raise kind(2)

    call = {"async tool": "araises", "tool": "raises", "callback": "calls_back"}.get(place, "quick")
    arguments = "1" if call == "quick" else ""
    executor = ProgrammaticToolExecutor(
        [araises, raises, calls_back, quick], on_event=on_event, limits=Limits(wall_seconds=5)
    )
    code = f"try:\n    print(await {call}({arguments}))\nexcept ToolCallError as e:\n    print('told', e)"
    result = ends(lambda: executor.execute(code))
    if place in ("on_event", "callback"):
        assert result.output == "1\n"
    else:
        assert result.output.startswith("told ")
        assert kind.__name__ in result.output
    assert ends(lambda: executor.execute("print(await quick(3))")).output == "3\n"


# --- callers that are interrupted -----------------------------------------------------------------


@functools.cache
def where_signals_are_seen(code: types.CodeType) -> frozenset[int]:
    """Return the instructions before which Python runs signal handlers: after a call, at a start, in a loop."""
    seen, before = set(), ""
    for instruction in dis.get_instructions(code):
        if before in ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"):
            seen.add(instruction.offset)
        before = instruction.opname
    return frozenset(seen)


def interrupt_at(count: int, call: Callable[[], object]) -> str:
    """Raise `KeyboardInterrupt` in this thread at one of the instructions at which Python would.

    Returns where that was; nothing if there are not so many.
    """
    left, place = count, ""

    def on_instruction(frame: types.FrameType, event: str, _: object) -> Any:
        nonlocal left, place
        if event == "opcode" and frame.f_lasti in where_signals_are_seen(frame.f_code):
            left -= 1
            if not left:
                place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return on_instruction

    def on_call(frame: types.FrameType, _: str, __: object) -> Any:
        frame.f_trace = on_instruction  # from Python 3.13 on it must be there first
        frame.f_trace_opcodes = True
        return on_instruction

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = (
        True  # in Python 3.12 `settrace` looks whether any frame has it
    )
    sys.settrace(on_call)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return place


# Interrupted in a finalizer, Python only tells.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_synchronous_call_is_interrupted_at_any_instruction() -> None:
    """Ctrl-C at any instruction of a synchronous call ends what it began, and no later call waits."""
    went_on: list[int] = []

    async def work(count: int) -> None:
        await asyncio.sleep(0.001)
        went_on.append(count)

    loop = BackgroundLoop("interrupted")
    loop.run(work(0))
    for count in itertools.count(1):
        coroutine = work(count)
        place = interrupt_at(count, functools.partial(loop.run, coroutine))
        has_ended = went_on[-1] == count
        assert ends(lambda: loop.run(asyncio.sleep(0.002, "next"))) == "next", place
        assert has_ended or went_on[-1] != count, f"went on after an interrupt at {place}"
        coroutine.close()  # interrupted before all else, it was not begun
        if not place:
            break
    assert count > 40


def test_waiting_for_a_log_is_interrupted_at_any_instruction(tmp_path: Path) -> None:
    """Ctrl-C at any instruction of `flush` leaves the thread that writes the log free to write."""
    with ExecutionLog(path=tmp_path / "log.sqlite") as log:
        log.add(ProgrammaticToolExecutor([], sandbox=InProcessSandbox()).execute("print(1)"))
        for count in itertools.count(1):
            place = interrupt_at(count, log.flush)
            ends(log.flush)
            if not place:
                break
        assert count > 3


def test_a_time_out_by_a_signal_gives_the_worker_back() -> None:
    """A handler that raises, as time-outs by `signal.alarm` do, leaves no worker taken."""

    class TimeUp(Exception):
        pass

    def handler(*_: object) -> None:
        raise TimeUp

    with ProcessSandbox(max_workers=1, waiting_workers=1) as sandbox:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        before = signal.signal(signal.SIGALRM, handler)
        try:
            for milliseconds in (2, 10, 30, 150):
                signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
                with pytest.raises(TimeUp):
                    executor.execute("import time\ntime.sleep(20)")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert ends(lambda: executor.execute("print(1)")).output == "1\n"


def test_signal_handlers_execute_code() -> None:
    """A signal handler that executes code does so in the middle of any other execution."""
    executor = ProgrammaticToolExecutor([quick])
    told: list[str] = []
    before = signal.signal(signal.SIGALRM, lambda *_: told.append(executor.execute("1").status))
    try:
        while len(told) < 5:
            signal.setitimer(signal.ITIMER_REAL, 0.003)
            assert executor.execute("print(await quick(7))").output == "7\n"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(told) == {"success"}


# --- garbage collection ---------------------------------------------------------------------------


# Python says of any task that is collected after its loop was closed that it cannot be cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_execution_that_is_dropped_gives_its_worker_back(no_gc: None) -> None:
    """A loop that is closed over a running execution leaves no worker taken, whoever collects it."""
    with ProcessSandbox(waiting_workers=2, max_workers=1) as sandbox:
        called = asyncio.Event()

        @tool
        async def waits() -> None:
            """Wait for ever."""
            called.set()
            await asyncio.Event().wait()

        executor = ProgrammaticToolExecutor([waits], sandbox=sandbox)

        def drop() -> None:
            loop = asyncio.new_event_loop()
            task = loop.create_task(executor.aexecute("await waits()"))
            loop.run_until_complete(called.wait())
            loop.set_exception_handler(lambda *_: None)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()

        drop()
        gc.collect()
        assert ends(lambda: executor.execute("print(1)")).output == "1\n"


def test_no_lock_of_python_stands_between_our_threads() -> None:
    """Locks and gates come from `locks.py`, and what has a lock of Python of its own is not used."""
    own = re.compile(
        r"\bthreading\.(Lock|RLock|Condition|Event|Semaphore|BoundedSemaphore|Barrier)\("
        r"|from functools import .*cached_property"
    )
    package = Path(langchain_ptc.__file__).parent
    found = {path.name for path in package.rglob("*.py") if own.search(path.read_text("utf-8"))}
    assert found == {"locks.py", "pool.py"}  # that of a mailbox is only ever tried


def test_a_lock_may_be_taken_again_by_its_holder() -> None:
    """A finalizer that needs a lock runs in the thread that holds it, and goes on."""
    lock = new_lock()

    def work() -> str:
        with lock, lock:
            return "done"

    assert ends(work) == "done"


# --- forks ----------------------------------------------------------------------------------------


@forks
def test_children_forked_while_sandboxes_are_made() -> None:
    """A child that is forked while other threads make, use and close sandboxes has its own."""
    printed = run_script(
        """
        import os, signal, sys, threading
        from langchain_ptc import ProcessSandbox, ProgrammaticToolExecutor
        executor = ProgrammaticToolExecutor([])
        executor.execute("print(1)")
        stop, made = threading.Event(), threading.Semaphore(0)
        def make(number):
            while not stop.is_set():
                ProcessSandbox(waiting_workers=number).close()
                made.release()
        threads = [threading.Thread(target=make, args=(n,)) for n in range(2, 5)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(3):
            for _ in range(20):
                made.acquire()
            pid = os.fork()
            if pid == 0:
                signal.alarm(40)
                with ProcessSandbox(waiting_workers=1) as sandbox:
                    output = ProgrammaticToolExecutor([], sandbox=sandbox).execute("print(7)").output
                os._exit(0 if output == "7\\n" else 3)
            children.append(pid)
        stop.set()
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
        """,
    )
    assert printed == "[0, 0, 0]\n"


@forks
def test_a_child_forked_while_a_process_is_started_does_not_delay_it() -> None:
    """A fork in another thread waits until the parent of workers has started, and inherits none of its pipes."""
    printed = run_script(
        """
        import asyncio, os, subprocess, threading
        from langchain_ptc import ProgrammaticToolExecutor
        fork_begins, forked = threading.Event(), threading.Event()
        os.register_at_fork(before=fork_begins.set)  # the last that is registered is called first
        read, write = os.pipe()
        def fork():
            if not os.fork():
                os.close(write)
                os.read(read, 1)  # lives for as long as its parent wants
                os._exit(0)
            forked.set()
        fork_exec = subprocess._fork_exec
        def fork_exec_while_forking(*args):
            subprocess._fork_exec = fork_exec
            threading.Thread(target=fork).start()
            fork_begins.wait()
            print("forked at once:", forked.wait(0.2))
            return fork_exec(*args)
        subprocess._fork_exec = fork_exec_while_forking
        async def run():
            return (await ProgrammaticToolExecutor([]).aexecute("print(1)")).output
        print(asyncio.run(run()), end="", flush=True)
        forked.wait()
        os.close(write)
        os.wait()
        """
    )
    assert printed == "forked at once: False\n1\n"


@forks
def test_a_lock_that_was_held_is_open_in_a_forked_child() -> None:
    """Every lock of the package is open in a child that is forked while other threads hold them all."""
    printed = run_script(
        """
        import os, signal, threading
        from langchain_core.tools import tool
        from langchain_ptc import ExecutionLog, ProgrammaticToolExecutor, locks
        @tool
        def quick(n: int) -> int:
            "Return a number."
            return n
        log = ExecutionLog()
        executor = ProgrammaticToolExecutor([quick], log=log)
        executor.execute("print(await quick(1))")
        held, go_on = threading.Event(), threading.Event()
        def hold():
            for lock in list(locks.every_lock):
                lock.acquire()
            held.set()
            go_on.wait()
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(40)
            output = executor.execute("print(await quick(2))").output
            os._exit(0 if (output, len(log.find())) == ("2\\n", 2) else 3)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, len(locks.every_lock) > 3, flush=True)
        os._exit(0)
        """
    )
    assert printed == "0 True\n"


@forks
def test_children_forked_while_catalogs_are_made() -> None:
    """A child that is forked while another thread computes what a catalog offers computes its own."""

    class Computing:
        @cached_property
        def value(self) -> int:
            computing.set()
            return go_on.wait(SECONDS)

    computing, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: Computing().value)
    thread.start()
    computing.wait(SECONDS)

    def work() -> bool:
        go_on.set()
        return bool(Computing().value)

    assert child(work)
    go_on.set()
    thread.join()


@forks
def test_a_child_drops_executions_that_stand_still() -> None:
    """A child that collects the executions of a loop which stands still takes nothing from its parent."""
    called = 0

    @tool
    async def waits() -> int:
        """Wait."""
        nonlocal called
        called += 1
        await asyncio.sleep(0.2)
        return 4

    executor = ProgrammaticToolExecutor([waits])
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    tasks = [loop.create_task(executor.aexecute("print(await waits())")) for _ in range(2)]

    async def until_called() -> None:
        while called < 2:
            await asyncio.sleep(0.001)

    loop.run_until_complete(until_called())

    def work() -> bool:
        loop._ready.clear()  # type: ignore[attr-defined]  # nothing else holds what is to be dropped
        loop._scheduled.clear()  # type: ignore[attr-defined]
        while tasks:
            tasks.pop().cancel()
        gc.collect()
        return ProgrammaticToolExecutor([quick]).execute("print(await quick(1))").output == "1\n"

    assert child(work)
    results = loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), SECONDS))
    loop.close()
    assert [result.output for result in results] == ["4\n", "4\n"]


def test_executions_end_while_their_log_closes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An execution that ends after its log was closed has its result, and its record is told as lost."""
    log = ExecutionLog(path=tmp_path / "log.sqlite")
    executor = ProgrammaticToolExecutor([quick], log=log)
    log.close()
    result = executor.execute("print(await quick(1))")
    assert (result.status, result.output) == ("success", "1\n")
    assert (
        f"the record of execution {result.execution_id} was lost: the log is closed" in caplog.text
    )
    with pytest.raises(ValueError, match="closed"):
        log.add(result)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["cpu_seconds", "memory_bytes", "max_tool_calls", "output_chars"])
@pytest.mark.parametrize("value", [2**32, sys.maxsize])
async def test_limits_too_large(field: str, value: int) -> None:
    """A limit beyond what the kernel takes counts as the most that it does, and harms nobody else."""
    limits: Any = {field: value}
    executor = ProgrammaticToolExecutor([quick], limits=Limits(**limits))
    other = ProgrammaticToolExecutor([quick])
    mine, others = await asyncio.gather(
        executor.aexecute("print(await quick(1))"), other.aexecute("print(await quick(2))")
    )
    assert (mine.output, others.output) == ("1\n", "2\n")


@pytest.mark.parametrize("field", ["wall_seconds", "tool_seconds"])
async def test_endless_seconds(field: str, sandbox: Any) -> None:
    """`math.inf` seconds are no limit, in both sandboxes and both ways to call."""
    limits: Any = {field: math.inf}
    executor = ProgrammaticToolExecutor([quick], limits=Limits(**limits), sandbox=sandbox)
    assert (await executor.aexecute("print(await quick(1))")).output == "1\n"
    assert (await asyncio.to_thread(executor.execute, "print(await quick(1))")).output == "1\n"


@pytest.mark.parametrize(
    "value", [2**63, 10**400, 10**5000, -(10**5000)], ids=["2**63", "10**400", "long", "negative"]
)
def test_limits_that_no_system_knows_are_refused(value: int) -> None:
    """Numbers beyond 2**63 - 1 are refused in a bounded text, also those that Python does not print."""
    for field in ("wall_seconds", "cpu_seconds", "result_bytes"):
        limits: Any = {field: value}
        with pytest.raises(ValueError, match=f"Limits.{field} must be") as refused:
            Limits(**limits)
        assert len(str(refused.value)) < 200


# --- what the system refuses ----------------------------------------------------------------------


@forks
def test_out_of_descriptors() -> None:
    """Without descriptors an execution is a `SandboxError`, both ways to call, and later ones work."""
    printed = run_script(
        """
        import asyncio, os, resource
        from langchain_ptc import ProgrammaticToolExecutor
        executor = ProgrammaticToolExecutor([])
        def tell(kind, run):
            try:
                print(kind, run().status)
            except Exception as error:
                print(kind, type(error).__name__, "Too many open files" in str(error))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
        async def main(started):
            held = []
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            for spare in range(5):
                try:
                    print("async", spare, (await executor.aexecute("pass")).status)
                except Exception as error:
                    print("async", spare, type(error).__name__, "Too many open files" in str(error))
                if not started:
                    await asyncio.to_thread(tell, "sync", lambda: executor.execute("pass"))
                os.close(held.pop())
            for number in held:
                os.close(number)
            print("then", (await executor.aexecute("pass")).status)
        asyncio.run(main(False))
        """
    )
    lines = printed.splitlines()
    assert lines[0] == "async 0 SandboxError True"
    assert lines[1] == "sync SandboxError True"
    assert lines[-1] == "then success"
    for line in lines[2:-1]:
        assert line.endswith(("success", "SandboxError True", "SandboxError False")), line


@pytest.mark.parametrize("refused", ["langchain-ptc code", "langchain-ptc stopper"])
def test_threads_refused_in_this_process(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """Code that gets no thread is a `SandboxError`; without one that stops it, its end is told all the same."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == refused:
            raise RuntimeError("can't start new thread")
        start(self)

    limits = Limits(wall_seconds=0.2)
    executor = ProgrammaticToolExecutor([], sandbox=InProcessSandbox(), limits=limits)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        if refused == "langchain-ptc code":
            with pytest.raises(SandboxError, match="refuses a thread for the code"):
                executor.execute("print(1)")
        else:
            assert executor.execute("while True: pass").status == "limit"
    assert executor.execute("while True: pass").status == "limit"
    assert no_thread_of_code_is_left()


# --- what the host is like ------------------------------------------------------------------------


def test_the_interpreter_ends() -> None:
    """Synchronous calls out of `atexit` handlers, and of finalizers when Python ends, come to an end."""
    printed = run_script(
        """
        import atexit
        from langchain_ptc import ProgrammaticToolExecutor
        from langchain_ptc.locks import ServiceThread
        executor = ProgrammaticToolExecutor([])
        executor.execute("print(1)")
        atexit.register(lambda: print(executor.execute("print(2)").output))
        class Late:
            def __del__(self):
                try:
                    executor.execute("print(3)")
                except RuntimeError as error:
                    print(error)
                try:
                    ServiceThread(print, name="late").start()
                except RuntimeError as error:
                    print(error)
        late = Late()
        late.itself = late
        """
    )
    assert printed.splitlines() == [
        "2",
        "",
        "the interpreter is shutting down: nothing can be awaited any more",
        "can't start new thread at interpreter shutdown",
    ]


@forks
@pytest.mark.parametrize("closed", [(0,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_a_host_without_standard_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    """What libraries print at import never gets into the line of a host that has no standard streams."""
    (tmp_path / "prints_at_import.py").write_text(
        "import os\nfor fd in (1, 2):\n    os.write(fd, b'a warning of a library' * 100)\n"
    )

    def work() -> bool:
        sys.path.insert(0, str(tmp_path))
        for number in {1, 2} - set(closed):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        for number in closed:
            os.close(number)
        with ProcessSandbox(imports=["prints_at_import"], waiting_workers=1) as sandbox:
            executor = ProgrammaticToolExecutor([], sandbox=sandbox)
            return ends(lambda: executor.execute("print(1)")).output == "1\n"

    assert child(work)


def test_a_host_that_blocks_signals() -> None:
    """Workers hear of their limits, though the thread that had them made blocks every signal."""
    with ProcessSandbox(waiting_workers=1) as sandbox:
        limits = Limits(wall_seconds=0.3)
        executor = ProgrammaticToolExecutor([], sandbox=sandbox, limits=limits)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            result = asyncio.run(executor.aexecute("print(1)\nwhile True: pass"))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert result.error is not None
    assert (result.error.limit, result.error.line, result.output) == ("wall_seconds", 2, "1\n")


@forks
def test_a_host_that_ignores_the_end_of_its_children() -> None:
    """A host that ignores SIGCHLD, so that nobody could wait for a child, has a parent that does and stays."""

    def work() -> bool:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with ProcessSandbox(waiting_workers=1) as sandbox:
            limits = Limits(wall_seconds=0.3)
            executor = ProgrammaticToolExecutor([quick], sandbox=sandbox, limits=limits)
            codes = ["print(await quick(1))", "while True: pass", "print(2)", "print(3)"]
            found, parents = [], []
            for code in codes:
                found.append(executor.execute(code).status)
                parents.append(sandbox.stats().parent_pid)
        return found == ["success", "limit", "success", "success"] and len(set(parents)) == 1

    assert child(work)


async def test_no_other_program_gets_a_descriptor_of_a_worker() -> None:
    """Programs that a tool starts with all descriptors left open have none of a worker's."""

    @tool
    def listing() -> str:
        """List the descriptors of a program that was just started."""
        told = subprocess.run(
            ["/bin/ls", "-l", "/proc/self/fd"], capture_output=True, close_fds=False, check=True
        )
        return told.stdout.decode()

    executor = ProgrammaticToolExecutor([listing])
    results = await asyncio.gather(*[executor.aexecute("print(await listing())") for _ in range(2)])
    for result in results:
        assert result.status == "success"
        assert "socket:" not in result.output
        assert "pidfd" not in result.output


def state_of_the_process() -> dict[str, object]:
    """Return what an execution must leave as it was."""
    mask = os.umask(0o22)
    os.umask(mask)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return {
        "umask": mask,
        "directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "locale": locale.setlocale(locale.LC_ALL),
        "limits": [resource.getrlimit(n) for n in (resource.RLIMIT_CPU, resource.RLIMIT_AS)],
        "handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "wakeup": wakeup,
        "recursion": sys.getrecursionlimit(),
        "switches": sys.getswitchinterval(),
        "digits": sys.get_int_max_str_digits(),
        "garbage": (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)),
        "chance": random.getstate(),
        "decimals": repr(decimal.getcontext()),
        "week": calendar.firstweekday(),
        "warnings": list(warnings.filters),
        "streams": (sys.stdout, sys.stderr, sys.stdin, warnings.showwarning),
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook),
        "traces": (sys.getprofile(), threading.gettrace(), threading.getprofile()),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "stack": threading.stack_size(),
        "paths": (list(sys.path), list(sys.meta_path)),
        "builtins": dict(vars(builtins)),
        "session": (os.getpgid(0), os.getsid(0)),
    }


CHANGES = [
    "import random\nrandom.seed(1)\nrandom.random()",
    "import decimal\ndecimal.getcontext().prec = 3",
    "import sys\nsys.setrecursionlimit(5000)",
    "import warnings\nwarnings.simplefilter('error')",
    "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    print(1)",
    "import logging\nlogging.basicConfig(level=10)\nlogging.getLogger().setLevel(1)\nlogging.disable(50)",
    "import calendar\ncalendar.setfirstweekday(6)",
    "while True: pass",
]


async def test_what_executions_leave_of_the_process(sandbox: Any) -> None:
    """Nothing that belongs to the whole process is another one after an execution, whatever it tried."""
    limits = Limits(wall_seconds=0.3)
    executor = ProgrammaticToolExecutor([quick], sandbox=sandbox, limits=limits, check="off")
    await executor.aexecute("print(await quick(1))")
    before = state_of_the_process()
    for code in CHANGES:
        await executor.aexecute(code)
        await asyncio.to_thread(executor.execute, code)
        after = state_of_the_process()
        assert {key for key in before if before[key] != after[key]} == set(), code


@pytest.mark.parametrize("kind", ["debug", "eager"])
def test_event_loops_of_other_kinds(kind: str, sandbox: Any) -> None:
    """A loop in debug mode, and one that begins tasks at once, run executions as any other."""
    executor = ProgrammaticToolExecutor([quick], sandbox=sandbox, limits=Limits(wall_seconds=5))
    codes = [
        "print(await quick(1))",
        "import asyncio\nprint(await asyncio.gather(*[quick(n) for n in range(3)]))",
    ]

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        if kind == "debug":
            loop.set_debug(True)
        elif hasattr(asyncio, "eager_task_factory"):
            loop.set_task_factory(asyncio.eager_task_factory)
        return [r.output for r in await asyncio.gather(*[executor.aexecute(c) for c in codes])]

    assert asyncio.run(main()) == ["1\n", "[0, 1, 2]\n"]


def test_variables_of_the_context(sandbox: Any) -> None:
    """Tools see the caller's context variables, both ways to call, and change them for nobody."""
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    @tool
    async def sees() -> int:
        """Read a variable, and set it."""
        seen.append(variable.get())
        variable.set(99)
        return 1

    @tool
    def sees_too() -> int:
        """Read a variable, and set it."""
        seen.append(variable.get())
        variable.set(98)
        return 1

    executor = ProgrammaticToolExecutor([sees, sees_too], sandbox=sandbox)
    code = "print(await sees() + await sees_too())"

    def main() -> int:
        variable.set(5)
        assert executor.execute(code).output == "2\n"
        assert asyncio.run(executor.aexecute(code)).output == "2\n"
        return variable.get()

    assert contextvars.copy_context().run(main) == 5
    assert seen == [5] * 4


def test_synchronous_tools_with_loops_of_their_own(sandbox: Any) -> None:
    """A synchronous tool that calls `asyncio.run` on executions of the same sandbox, four deep."""

    @tool
    def deeper(n: int) -> int:
        """Execute code, in a loop of its own or in none."""
        if not n:
            return 1
        inner = executor.aexecute if n % 2 else executor.execute
        result = inner(f"print(await deeper({n - 1}))")
        result = asyncio.run(result) if n % 2 else result
        return int(result.output) + 1

    executor = ProgrammaticToolExecutor([deeper], sandbox=sandbox)
    assert ends(lambda: executor.execute("print(await deeper(4))")).output == "5\n"
    assert ends(lambda: asyncio.run(executor.aexecute("print(await deeper(4))"))).output == "5\n"


# --- threads of code in this process --------------------------------------------------------------

SPINS = {
    "in a pool": """
from concurrent.futures import ThreadPoolExecutor
def spin():
    n = 0
    while True:
        n += 1
with ThreadPoolExecutor() as pool:
    pool.submit(spin).result()
""",
    "in many threads one after another": """
from concurrent.futures import ThreadPoolExecutor
def spin(n):
    while True:
        n += 1
with ThreadPoolExecutor(2) as pool:
    list(pool.map(spin, range(50)))
""",
    "in a thread that a thread has started": """
from concurrent.futures import ThreadPoolExecutor
def spin():
    while True:
        pass
def outer():
    with ThreadPoolExecutor() as inner:
        inner.submit(spin).result()
with ThreadPoolExecutor() as pool:
    pool.submit(outer).result()
""",
    "in a finally": """
from concurrent.futures import ThreadPoolExecutor
def spin():
    try:
        while True:
            pass
    finally:
        while True:
            pass
with ThreadPoolExecutor() as pool:
    pool.submit(spin).result()
""",
    "while others wait": """
from concurrent.futures import ThreadPoolExecutor
import time
def work(n):
    if n < 3:
        time.sleep(60)
    while True:
        pass
with ThreadPoolExecutor() as pool:
    list(pool.map(work, range(4)))
""",
    "in async code": """
import asyncio
async def spin():
    while True:
        await asyncio.sleep(0)
await asyncio.gather(spin(), spin())
""",
    "asleep": """
from concurrent.futures import ThreadPoolExecutor
import time
with ThreadPoolExecutor() as pool:
    list(pool.map(time.sleep, [60] * 5))
""",
}


@pytest.mark.parametrize("code", SPINS.values(), ids=SPINS)
async def test_inprocess_thread_runs_on(code: str) -> None:
    """A limit stops every thread that code has started, wherever it is."""
    limits = Limits(wall_seconds=0.3)
    executor = ProgrammaticToolExecutor([], sandbox=InProcessSandbox(), limits=limits)
    result = await executor.aexecute(code)
    assert result.error is not None
    assert result.error.limit == "wall_seconds"
    assert await asyncio.to_thread(no_thread_of_code_is_left)


async def test_processor_time_of_every_thread_counts() -> None:
    """The processor time of threads that have ended and of those that run is what is limited."""
    code = """
from concurrent.futures import ThreadPoolExecutor
def work(n):
    total = 0
    for i in range(2_000_000):
        total += i
    return total
with ThreadPoolExecutor(1) as pool:
    while True:
        pool.submit(work, 1).result()
"""
    limits = Limits(wall_seconds=60, cpu_seconds=1)
    executor = ProgrammaticToolExecutor([], sandbox=InProcessSandbox(), limits=limits)
    result = await executor.aexecute(code)
    assert result.error is not None
    assert result.error.limit == "cpu_seconds"
    assert await asyncio.to_thread(no_thread_of_code_is_left)


async def test_threads_that_nobody_waits_for_end_with_the_code() -> None:
    """A daemon thread that is left behind when the code ends runs no longer, and no thread of it is left."""
    code = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("done")
"""
    executor = ProgrammaticToolExecutor([], sandbox=InProcessSandbox())
    for _ in range(3):
        assert (await executor.aexecute(code)).output == "done\n"
    assert await asyncio.to_thread(no_thread_of_code_is_left)


async def test_the_stack_size_of_the_host_is_left_as_it_was() -> None:
    """Threads of the host get the stack that it has chosen, during an execution and after it."""
    usual = threading.stack_size()
    executor = ProgrammaticToolExecutor([quick], sandbox=InProcessSandbox())
    code = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor() as p:\n    print(sum(p.map(quick, range(4))))"
    results = await asyncio.gather(*[executor.aexecute(code) for _ in range(8)])
    assert {result.output for result in results} == {"6\n"}
    assert threading.stack_size() == usual
