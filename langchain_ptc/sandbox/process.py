"""`ProcessSandbox`: each execution in a child process that the kernel has stripped."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Literal, Self, TypeVar

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.base import (
    Done,
    Failure,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Result,
)
from langchain_ptc.sandbox.handover import Handover
from langchain_ptc.sandbox.line import Line
from langchain_ptc.sandbox.modules import STANDARD_MODULES, check_never_refused
from langchain_ptc.sandbox.pool import Allowance, Exit, Worker, WorkerPool
from langchain_ptc.sandbox.protocol import (
    encode_run,
    limit_reached,
)
from langchain_ptc.sandbox.worker import EXIT_NO_SECCOMP

T = TypeVar("T")
Require = Literal["kernel", "process", "any"]

_EXIT_WAIT_SECONDS = 1.0
"""How long the host waits to hear how a worker died, once its socket has closed."""
_REFILL_SECONDS = 0.01
"""How long an execution may go on before a new worker is made in place of the one it took."""


class ProcessSandbox:
    """Runs each execution in a worker process of its own, forked from a warm parent.

    Args:
        imports: Modules that the code may import besides the standard ones, for example
            `["numpy", "pandas"]`. They are imported once, in the parent of workers.
        waiting_workers: Workers that wait for work: the size of a burst that is served at once.
        require: What must hold, or `SandboxError` is raised at the first execution: `kernel`, the
            kernel's system call filter; `process`, a process of its own with limits; `any`, the
            same as `process`. The default is `kernel` on Linux and `process` elsewhere.

    Raises:
        ValueError: `waiting_workers` is not positive, or `require` is no level.
    """

    def __init__(
        self,
        *,
        imports: Sequence[str] = (),
        waiting_workers: int = 4,
        require: Require | None = None,
    ) -> None:
        if waiting_workers < 1:
            raise ValueError(f"waiting_workers must be at least 1, got {waiting_workers!r}")
        if require not in (None, "kernel", "process", "any"):
            raise ValueError(f"require must be 'kernel', 'process' or 'any', got {require!r}")
        self._imports = checked_imports(imports)
        self._require = require or ("kernel" if sys.platform == "linux" else "process")
        self._pool = _share_pool(self._imports, waiting_workers)
        self._release = weakref.finalize(self, _drop_pool, self._pool)

    @property
    def modules(self) -> frozenset[str]:
        """Names of the modules that the code may import."""
        return frozenset((*STANDARD_MODULES, *self._imports))

    def session(self) -> ProcessSession:
        """Prepare one execution."""
        if not self._release.alive:
            raise SandboxError("the sandbox is closed")
        return ProcessSession(self._pool, self._require)

    def close(self) -> None:
        """End the workers, unless another sandbox with the same modules still uses them."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_imports(imports: Sequence[str]) -> tuple[str, ...]:
    """Return the module names, each once.

    Raises:
        TypeError: A string was passed in place of a list.
        ValueError: One is no module name, or of a module that is never available.
    """
    if isinstance(imports, str):
        raise TypeError(f"imports must be a list of module names, got the string {imports!r}")
    for name in imports:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"imports: {name!r} is no module name")
    check_never_refused(imports)
    return tuple(dict.fromkeys(imports))


# One parent of workers per process and module set, shared by all sandboxes that want the same.
_shared: dict[tuple[object, ...], tuple[WorkerPool, int]] = {}
_shared_lock = threading.Lock()


def _share_pool(imports: tuple[str, ...], waiting: int) -> WorkerPool:
    key = (imports, waiting)
    with _shared_lock:
        pool, users = _shared.get(key, (None, 0))
        if pool is None:
            pool = WorkerPool(imports, waiting=waiting)
        _shared[key] = pool, users + 1
        return pool


def _drop_pool(pool: WorkerPool) -> None:
    with _shared_lock:
        key = next((k for k, (shared, _) in _shared.items() if shared is pool), None)
        if key is None:
            return
        users = _shared[key][1] - 1
        if users:
            _shared[key] = pool, users
            return
        del _shared[key]
    pool.close()


class ProcessSession:
    """One execution in a worker process."""

    def __init__(self, pool: WorkerPool, require: Require) -> None:
        self._pool = pool
        self._require = require
        self._line: Line | None = None

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        return "" if self._line is None else self._line.handover.conversation.output

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end; see `Session.run`."""
        limits = program.limits
        allowance = Allowance(limits.cpu_seconds, limits.memory_bytes)
        handover = Handover(program, on_calls, on_idle)
        done = await self._run_in(await self._take(allowance), program, handover)
        if done is None:
            fresh = await self._take(allowance, fresh=True)
            done = await self._run_in(fresh, program, handover)
        assert done is not None
        return done

    async def _take(self, allowance: Allowance, *, fresh: bool = False) -> Worker:
        """Take a worker; one that comes after this was cancelled is given back."""
        asked = self._pool.checkout(allowance, fresh=fresh)
        try:
            return await _result_of(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: concurrent.futures.Future[Worker]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            self._pool.discard(asked.result())

    async def _run_in(self, worker: Worker, program: Program, handover: Handover) -> Done | None:
        """Run `program` in `worker`; None if the worker was killed while it waited for work."""
        try:
            if self._require == "kernel":
                _require_kernel(await _result_of(self._pool.layers))
            self._line = line = Line(program, handover, worker.socket)
            self._pool.watch(worker, program.limits.wall_seconds)
            line.send([encode_run(program)])
            refill = asyncio.get_running_loop().call_later(_REFILL_SECONDS, self._pool.refill)
            try:
                done = await line.done
            finally:
                refill.cancel()
            return done if done is not None else await self._explain_death(worker, program, line)
        finally:
            if self._line is not None:
                self._line.close()
            self._pool.discard(worker)

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls; see `Session.resume`."""
        if self._line is not None and self._line.is_open:
            self._line.answer(results, at)

    async def _explain_death(self, worker: Worker, program: Program, line: Line) -> Done | None:
        """Say what ended a worker whose line closed without an end; None if it never began."""
        limits, output = program.limits, line.handover.conversation.output
        if worker.timed_out:
            return limit_reached("wall_seconds", limits.wall_seconds, None, output=output)
        if line.violation is not None:
            return crashed(f"the worker broke the protocol: {line.violation}", output)
        try:
            ended = await asyncio.wait_for(_result_of(worker.exited), _EXIT_WAIT_SECONDS)
        except TimeoutError:
            return crashed("the worker closed its line without a word", output)
        if ended.cpu_seconds >= limits.cpu_seconds:
            used = round(ended.cpu_seconds, 2)
            return limit_reached("cpu_seconds", limits.cpu_seconds, used, output=output)
        if ended.status >= 0 and os.waitstatus_to_exitcode(ended.status) == EXIT_NO_SECCOMP:
            raise SandboxError("the kernel refused the system call filter to a worker")
        if worker.waited and not line.heard and ended.status in (-1, signal.SIGKILL):
            return None  # nothing of the program took effect, and another worker may run it
        return crashed(f"the worker died: {_name_exit(ended)}", output)


def crashed(message: str, output: str) -> Done:
    """Build the end of an execution whose machine failed."""
    return Done(
        status="sandbox", output=output, failure=Failure(kind="SandboxError", message=message)
    )


def _name_exit(ended: Exit) -> str:
    if ended.status < 0:
        return "its parent has died"
    code = os.waitstatus_to_exitcode(ended.status)
    if code >= 0:
        return f"it left with exit status {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"


def _require_kernel(layers: dict[str, str]) -> None:
    told = layers.get("seccomp", "not installed")
    if told != "on":
        raise SandboxError(
            f"this machine cannot wall a worker in: seccomp is {told}. Allow seccomp in the "
            "container's profile, or accept a process with limits and the language policy as the "
            "only walls: ProcessSandbox(require='process')"
        )


async def _result_of(future: concurrent.futures.Future[T]) -> T:
    return future.result() if future.done() else await asyncio.wrap_future(future)
