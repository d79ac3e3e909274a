"""When the parent of workers starts, in which thread, and what it does first."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_ptc import ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.sandbox.host import workers as workers_module
from langchain_ptc.sandbox.host.workers import Parent, Reply
from langchain_ptc.sandbox.wire import protocol

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Return the name of the thread that starts a process, and the process, for each one."""
    seen: list[tuple[str, Any]] = []
    start = workers_module.start_process

    def noting(options: Any) -> Any:
        control_socket, process = start(options)
        seen.append((threading.current_thread().name, process))
        return control_socket, process

    monkeypatch.setattr(workers_module, "start_process", noting)
    return seen


def test_it_starts_with_the_sandbox_and_takes_no_thread(started: list[tuple[str, Any]]) -> None:
    """Outside of an event loop the parent is there before the first execution, which uses it."""
    before = threading.active_count()
    with ProcessSandbox(max_workers=31) as sandbox:
        assert [name for name, _ in started] == [threading.current_thread().name]
        assert threading.active_count() == before
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        assert executor.execute("print(1)").output == "1\n"
        assert len(started) == 1
    assert started[0][1].returncode is not None


def test_on_an_event_loop_the_thread_of_the_pool_starts_it(started: list[tuple[str, Any]]) -> None:
    """No process is started in the thread of an event loop, and the first execution uses the parent."""

    async def run() -> str:
        with ProcessSandbox(max_workers=32) as sandbox:
            executor = ProgrammaticToolExecutor([], sandbox=sandbox)
            return (await executor.aexecute("print(1)")).output

    assert asyncio.run(run()) == "1\n"
    assert [name for name, _ in started] == ["langchain-ptc workers"]


def test_a_sandbox_that_runs_nothing_leaves_no_process(started: list[tuple[str, Any]]) -> None:
    """A sandbox that is collected, or closed, before its first execution ends its parent of workers."""
    sandbox = ProcessSandbox(max_workers=33)
    del sandbox
    gc.collect()
    ProcessSandbox(max_workers=34).close()
    gc.collect()
    assert len(started) == 2
    assert all(process.returncode is not None for _, process in started)


def test_a_parent_that_died_before_the_first_execution_is_replaced(
    started: list[tuple[str, Any]],
) -> None:
    """An execution does not fail because the parent that was started ahead has been killed."""
    with ProcessSandbox(max_workers=35) as sandbox:
        os.kill(started[0][1].pid, signal.SIGKILL)
        assert ProgrammaticToolExecutor([], sandbox=sandbox).execute("print(1)").output == "1\n"
        assert len(started) == 2


WITHOUT_CODE = """
import os, subprocess, threading
def refused(*args, **kwargs): raise AssertionError(args)
subprocess.Popen = refused
import langchain_ptc
for name in langchain_ptc.__all__:
    if name not in ("ProgrammaticToolCallingMiddleware", "native_middleware", "native_tools"):
        getattr(langchain_ptc, name)
from langchain_core.tools import tool
@tool
def add(a: int) -> int:
    "Add."
    return a
print(langchain_ptc.ToolCatalog([add]).render())
"""
FORKED = """
import os
from langchain_ptc import ProgrammaticToolExecutor
executor = ProgrammaticToolExecutor([])
pid = os.fork()
if not pid:
    print(executor.execute("print('child')").output, end="", flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(executor.execute("print('parent')").output, end="")
"""


@pytest.mark.parametrize(
    ("code", "output"),
    [
        pytest.param(WITHOUT_CODE, "add", id="no-process-without-executor"),
        pytest.param(FORKED, "child\nparent\n", id="fork-after-the-executor-is-made"),
    ],
)
def test_in_a_fresh_process(code: str, output: str) -> None:
    """Without an executor nothing starts; and a process that made one forks without a warning."""
    quiet = "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", quiet, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert output in done.stdout


def replies_of(parent: Parent) -> Iterator[Reply]:
    """Yield what a parent of workers says."""
    while True:
        parent.flush()
        select.select([parent], [], [], 60)
        yield from parent.replies()


def test_a_worker_that_is_waited_for_comes_first() -> None:
    """A parent that is not warm yet forks for an execution at once, and workers that wait afterwards."""
    parent = Parent({"imports": (), "files_bytes": 0, "walls": True, "policy": True})
    parent.order(protocol.SPARE, 1)
    parent.order(protocol.FORK, 2)
    born = []
    for reply in replies_of(parent):
        for descriptor in reply.descriptors:
            os.close(descriptor)
        if reply.kind == protocol.BORN:
            born.append(reply.number)
        if len(born) == 2:
            break
    parent.end()
    assert born == [2, 1]
