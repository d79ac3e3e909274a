"""Sandboxes that are collected while their pool, or another one, is at work."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from langchain_ptc import (
    ProcessSandbox,
    ProgrammaticToolExecutor,
    SandboxError,
)
from langchain_ptc.sandbox.host import process
from langchain_ptc.sandbox.host.pool import Mailbox, WorkerPool
from langchain_ptc.sandbox.host.workers import Allowance, Ask, Places
from tests.support.threads import (
    ends,
    in_a_cycle,
)
from tests.support.waiting import SECONDS


def test_sandbox_collected_while_another_is_made(
    monkeypatch: pytest.MonkeyPatch, no_gc: None
) -> None:
    """A sandbox is collected in the middle of the making of another one."""
    collected = in_a_cycle(ProcessSandbox(waiting_workers=2))
    make = process.WorkerPool

    def making(*args: Any, **options: Any) -> WorkerPool:
        gc.collect()
        return make(*args, **options)

    monkeypatch.setattr(process, "WorkerPool", making)
    ends(lambda: ProcessSandbox(waiting_workers=3).close())
    assert collected() is None


@pytest.mark.parametrize("step", ["post", "wake", "read"])
def test_a_sandbox_is_collected_at_any_step_of_its_pool(
    monkeypatch: pytest.MonkeyPatch, no_gc: None, step: str
) -> None:
    """A sandbox is collected while its own pool is used, in the thread that uses it."""
    pools: list[WorkerPool] = []
    closed, close_soon, admit = threading.Event(), WorkerPool.close_soon, Places.next

    def making(*args: Any, **options: Any) -> WorkerPool:
        pools.append(WorkerPool(*args, **options))
        return pools[-1]

    def closing(self: WorkerPool) -> None:
        close_soon(self)
        if self in pools:
            closed.set()

    def admitting(self: Places) -> Ask | None:
        assert closed.wait(SECONDS)  # else a worker may be made before the collection is done
        return admit(self)

    monkeypatch.setattr(process, "WorkerPool", making)
    monkeypatch.setattr(WorkerPool, "close_soon", closing)
    monkeypatch.setattr(Places, "next", admitting)
    sandbox = ProcessSandbox(waiting_workers=2, max_workers=9)
    (pool,), session = pools, sandbox.session()
    collected = in_a_cycle(sandbox)
    del sandbox
    original = getattr(Mailbox, step)

    def collecting(self: Any, *args: Any, **options: Any) -> Any:
        gc.collect()
        return original(self, *args, **options)

    monkeypatch.setattr(Mailbox, step, collecting)

    def take() -> object:
        return pool.checkout(Allowance(5, 2**28)).exception(timeout=SECONDS)

    assert isinstance(ends(take), SandboxError)
    assert collected() is None
    assert session.output == ""
    pool.close()


def test_a_finalizer_that_executes_code_is_run_by_the_pool(
    monkeypatch: pytest.MonkeyPatch, no_gc: None
) -> None:
    """A finalizer makes a synchronous call in the thread that has the workers: an error at that call."""
    told: list[str] = []
    wait = Places.wait
    with ProcessSandbox(waiting_workers=1, max_workers=7) as sandbox:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)

        def finalizer() -> None:
            try:
                executor.execute("print(1)")
            except RuntimeError as error:
                told.append(str(error))

        def collecting(self: Places, ask: Ask) -> None:
            wait(self, ask)
            weakref.finalize(in_a_cycle(object())(), finalizer)
            gc.collect()

        monkeypatch.setattr(Places, "wait", collecting)
        assert ends(lambda: executor.execute("print(2)")).output == "2\n"
    assert "in the thread 'langchain-ptc workers'" in told[0]
