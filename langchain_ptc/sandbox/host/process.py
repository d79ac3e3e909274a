"""`ProcessSandbox`: each execution in a child process that the kernel has stripped."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import signal
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Generic, Literal, Self, TypeVar

from langchain_ptc.errors import MachineLost, SandboxError
from langchain_ptc.sandbox.allowed_modules import check_importable, standard_modules
from langchain_ptc.sandbox.api import (
    MIB,
    Done,
    Failure,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Result,
    Shown,
)
from langchain_ptc.sandbox.host.connection import HostConnection
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.workers import (
    Allowance,
    Exit,
    Pool,
    W,
    Worker,
    WorkerStats,
    current_depth,
)
from langchain_ptc.sandbox.wire.protocol import (
    EXIT_NO_FOLDER,
    EXIT_NO_SECCOMP,
    encode_frame,
    encode_run,
    limit_reached,
)

T = TypeVar("T")
Require = Literal["kernel", "process", "any"]

_REFILL_SECONDS = 0.01
"""How long an execution may go on before a new worker is made in place of the one it took."""
_KILLED = int(signal.SIGKILL) if hasattr(signal, "SIGKILL") else 9
"""Wait status of a process that was killed."""
_REPLAY_FACTOR, _SOON_SECONDS = 2.0, 0.1
_MAX_BEGINNINGS = 3  # how often an execution is begun whose workers die before it has begun
_FOLDER_BYTES = 64 * MIB
_MIN_FOLDER_BYTES, _MAX_FOLDER_BYTES = 64 * 1024, 2**40


class LocalSandbox:
    """What the sandboxes of this machine have in common."""

    files_bytes = 0  # size of the folder of each execution; 0 for none

    def __init__(self, imports: Sequence[str]) -> None:
        self._imports = checked_imports(imports)

    @property
    def modules(self) -> frozenset[str]:
        """Names of the modules that the code may import."""
        return frozenset((*standard_modules(files=self.files_bytes > 0), *self._imports))

    def close(self) -> None:
        """Run no further executions."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ProcessSandbox(LocalSandbox):
    """Runs each execution in a worker process of its own, forked from a warm parent.

    Args:
        imports: Modules that the code may import in addition to the standard ones, for example
            `["numpy", "pandas"]`. They are imported once, in the parent of workers.
        waiting_workers: Workers that wait for work: the size of a burst that is served at once.
        max_workers: Executions that have a worker at a time; further ones wait for their turn, and
            their wall time begins with it. Executions that a tool of another one begins are counted
            apart from that one, which waits for them. By default 256, or a quarter of the files that
            the process may open (`ulimit -n`) if that is less. One that waits for its tools takes 2 to
            4 MB.
        files: Give the code a folder of its own for each execution, in memory, bounded in bytes: True for
            64 MiB, or its size in bytes; False for none. The kernel makes it, so it needs Linux, level
            `kernel` and user namespaces; if the machine does not have them, `SandboxError` is raised at
            the first execution. See `docs/files.md`.
        require: What must hold, or `SandboxError` is raised at the first execution: `kernel`, the
            kernel's system call filter; `process`, a process of its own with limits; `any`, the
            same as `process`. The default is `kernel` on Linux and `process` elsewhere.

    Raises:
        ValueError: `waiting_workers` or `max_workers` is not positive, `require` is not a level, or
            `files` is no size, or needs another level than is required.
        SandboxError: `files` on a system other than Linux.
    """

    def __init__(
        self,
        *,
        imports: Sequence[str] = (),
        waiting_workers: int = 4,
        max_workers: int | None = None,
        files: bool | int = False,
        require: Require | None = None,
    ) -> None:
        check_positive(waiting_workers=waiting_workers, max_workers=max_workers)
        self._require, self.files_bytes = local_options(require, files)
        super().__init__(imports)
        self._lease: _Lease | None = _lease(
            self._imports, waiting_workers, max_workers, self.files_bytes
        )
        self._pool = self._lease.pool

    def session(self) -> WorkerSession[Worker]:
        """Prepare one execution."""
        if self._lease is None:
            raise SandboxError("the sandbox is closed")
        return WorkerSession(self._pool, self._require, has_folder=self.files_bytes > 0)

    def has_room(self) -> bool:
        """Whether one more program would delay no other: a worker waits for one, or nothing else runs."""
        stats = self._pool.stats()
        return not stats.queued and (stats.idle > 0 or not (stats.running or stats.starting))

    def stats(self) -> WorkerStats:
        """Return what its workers do at the moment: how many run, are idle, or are waited for.

        Sandboxes with the same options share their workers, and so these numbers.
        """
        return self._pool.stats()

    def close(self) -> None:
        """End the workers, unless another sandbox with the same modules still uses them."""
        self._lease = None
        self._pool.wait_until_closed()


def checked_imports(imports: Sequence[str]) -> tuple[str, ...]:
    """Return the module names, each once.

    Raises:
        TypeError: A string was passed in place of a list.
        ValueError: One is not a module name, or names a module that is never available.
    """
    if isinstance(imports, str):
        raise TypeError(f"imports must be a list of module names, got the string {imports!r}")
    for name in imports:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"imports: {name!r} is no module name")
    check_importable(imports)
    return tuple(dict.fromkeys(imports))


def check_positive(**given: float | None) -> None:
    """Raise `ValueError` where an option is a number that is not positive."""
    for name, number in given.items():
        if number is not None and not number > 0:
            raise ValueError(f"{name} must be positive, got {number!r}")


def local_options(require: Require | None, files: bool | int) -> tuple[Require, int]:
    """Return the level of workers of this machine, and the size of their folder; see `ProcessSandbox`."""
    level: Require = require or ("kernel" if sys.platform == "linux" else "process")
    size = checked_size(files, level)
    if size and sys.platform != "linux":
        raise SandboxError(
            f"files=True needs a folder that the kernel makes for each worker, which {sys.platform} "
            "cannot do: use Linux (a container or WSL 2), or leave out files"
        )
    return level, size


def checked_size(files: bool | int, require: Require) -> int:
    """Return the size of a folder, in bytes; 0 for none.

    Raises:
        ValueError: It is no size, or needs another level than `require`, or that is none.
    """
    if require not in ("kernel", "process", "any"):
        raise ValueError(f"require must be 'kernel', 'process' or 'any', got {require!r}")
    if files is False:
        return 0
    files = _FOLDER_BYTES if files is True else files
    if type(files) is not int or not _MIN_FOLDER_BYTES <= files <= _MAX_FOLDER_BYTES:
        raise ValueError(
            f"files must be True, False or a size from {_MIN_FOLDER_BYTES:,} to {_MAX_FOLDER_BYTES:,} "
            f"bytes, got {files!r}"
        )
    if require != "kernel":
        raise ValueError(
            f"files=True needs level 'kernel', and require={require!r} accepts less: leave out require"
        )
    return files


class _Lease:
    """Held by all sandboxes that share the same workers, which end when the last sandbox does."""

    def __init__(
        self, imports: tuple[str, ...], waiting: int, most: int | None, files_bytes: int
    ) -> None:
        self.pool = WorkerPool(imports, waiting=waiting, most=most, files_bytes=files_bytes)
        self.pool.start()
        # In whatever thread the last sandbox is collected, and whatever that is doing: takes no lock.
        weakref.finalize(self, self.pool.close_soon)


_leases: weakref.WeakValueDictionary[tuple[object, ...], _Lease] = weakref.WeakValueDictionary()


def _lease(imports: tuple[str, ...], waiting: int, most: int | None, files_bytes: int) -> _Lease:
    """Return the workers of this process for a module set.

    Two threads that ask for the same at once may get two: that costs a few processes more, and
    takes no lock that a forked child or the garbage collector could find taken.
    """
    key = (imports, waiting, most, files_bytes)
    found = _leases.get(key)
    if found is None:
        found = _leases[key] = _Lease(*key)
    return found


# --- one execution -----------------------------------------------------------------------------------


class WorkerSession(Generic[W]):
    """One execution in a worker of a pool.

    It is inside of `depth` others, by default as many as where this is called. `wall_seconds` is what the program
    has, if less than its limit.
    """

    def __init__(
        self,
        pool: Pool[W],
        require: Require,
        *,
        has_folder: bool = False,
        depth: int | None = None,
        wall_seconds: float = math.inf,
    ) -> None:
        self._pool = pool
        self._require = require
        self._has_folder = has_folder
        self._depth = current_depth() if depth is None else depth
        self._line: HostConnection | None = None
        self.worker: W | None = None  # what runs the program now
        self._limit = self._wall_seconds = wall_seconds
        self.watched_at = math.inf  # when its wall limit began, by `time.monotonic`
        self.was_killed = False
        """Whether its worker was killed, but not for a limit: by a person, or for want of memory."""

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        return "" if self._line is None else self._line.protocol.output

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What the code has shown until now."""
        return () if self._line is None else self._line.protocol.shown

    @property
    def wall_seconds_left(self) -> float:
        """What the program has left of its wall limit."""
        return max(0.0, self._wall_seconds - max(0.0, time.monotonic() - self.watched_at))

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end; see `Session.run`."""
        self._limit = program.limits.wall_seconds
        self._wall_seconds = min(self._wall_seconds, self._limit)
        # The kernel counts a process from its start, and nobody can raise its limit later.
        allowance = Allowance(cpu_seconds_of(program), program.limits.memory_bytes)
        for beginning in range(1, _MAX_BEGINNINGS + 1):
            worker = await self._take(allowance, fresh=beginning > 1)
            try:
                done = await self._run_in(worker, program, on_calls, on_idle)
            except MachineLost:
                if beginning == _MAX_BEGINNINGS or (self._line is not None and self._line.heard):
                    raise
                continue
            if done is not None:
                return done
        return crashed(f"{_MAX_BEGINNINGS} workers died before the code had begun", "")

    async def _take(self, allowance: Allowance, *, fresh: bool = False) -> W:
        """Take a worker; one that comes after this was cancelled is given back."""
        asked = self._pool.checkout(allowance, depth=self._depth, fresh=fresh)
        try:
            return await result_of(asked)
        except (asyncio.CancelledError, GeneratorExit):
            asked.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: concurrent.futures.Future[W]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            self._pool.discard(asked.result())

    async def _run_in(
        self, worker: W, program: Program, on_calls: OnCalls, on_idle: OnIdle | None
    ) -> Done | None:
        """Run `program` in `worker`; None if the worker died before the code had begun."""
        try:
            if self._require == "kernel":
                require_kernel(worker.layers)
            if self._has_folder:
                require_folder(worker.layers)
            self._line = line = HostConnection(program, on_calls, on_idle, worker.socket)
            self.worker, self.watched_at = worker, time.monotonic()
            line.queue = [encode_frame(encode_run(program))]
            line.send()  # first: `watch` wakes a thread
            self._pool.watch(worker, self._wall_seconds + replay_seconds(program))
            refill = asyncio.get_running_loop().call_later(_REFILL_SECONDS, self._pool.refill)
            try:
                done = await line.done
            finally:
                refill.cancel()
            return done if done is not None else await self._explain_death(worker, program, line)
        finally:
            self.worker = None
            if self._line is not None and self._line.is_open:
                self._line.close()
            self._pool.discard(worker)

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls; see `Session.resume`."""
        if self._line is not None and self._line.is_open:
            self._line.answer(results, at)

    def renew(self) -> None:
        """Begin the limit of wall time anew; see `Session.renew`."""
        self._wall_seconds, self.watched_at = self._limit, time.monotonic()
        if self.worker is not None:
            self._pool.watch(self.worker, self._limit)

    async def _explain_death(
        self, worker: W, program: Program, line: HostConnection
    ) -> Done | None:
        """Say what ended a worker whose line closed without an end; None if it never began."""
        limits, output = program.limits, line.protocol.output
        if worker.timed_out:
            return limit_reached("wall_seconds", limits.wall_seconds, None, output=output)
        if line.violation is not None:
            return crashed(f"the worker broke the protocol: {line.violation}", output)
        try:
            ended = await asyncio.wait_for(result_of(worker.exited), self._pool.exit_seconds)
        except TimeoutError:
            return crashed("the worker closed its line without a word", output)
        if worker.timed_out:  # reported after its line had closed
            return limit_reached("wall_seconds", limits.wall_seconds, None, output=output)
        if ended.cpu_seconds >= cpu_seconds_of(program):
            used = round(ended.cpu_seconds, 2)
            return limit_reached("cpu_seconds", limits.cpu_seconds, used, output=output)
        if ended.status >= 0 and os.waitstatus_to_exitcode(ended.status) == EXIT_NO_SECCOMP:
            raise SandboxError("the kernel refused the system call filter to a worker")
        if ended.status >= 0 and os.waitstatus_to_exitcode(ended.status) == EXIT_NO_FOLDER:
            raise SandboxError("the kernel refused a worker its folder (files=True)")
        if not line.heard and (ended.status == -1 or (worker.waited and ended.status == _KILLED)):
            return None  # nothing of the program took effect, and another worker may run it
        self.was_killed = ended.status == _KILLED
        return crashed(f"the worker died: {_name_exit(ended)}", output)


def replay_seconds(program: Program) -> float:
    """Return the seconds that a program may take to be replayed, in addition to its limits.

    It is twice what it took before, for the machine may be another one, and nothing for what is soon done.
    """
    computed = 0.0 if program.replay is None else program.replay.computed_seconds
    return _REPLAY_FACTOR * computed if computed >= _SOON_SECONDS else 0.0


def cpu_seconds_of(program: Program) -> int:
    """Return the processor time that a program may use from its start: the limit, and its replay."""
    return program.limits.cpu_seconds + math.ceil(replay_seconds(program) / _REPLAY_FACTOR)


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


def require_kernel(layers: Mapping[str, str]) -> None:
    """Raise `SandboxError` unless the kernel filters the system calls of workers."""
    state = layers.get("seccomp", "not installed")
    if state != "on":
        raise SandboxError(
            f"this machine cannot confine a worker: seccomp is {state}. Allow seccomp in the "
            "container's profile, or accept a process with limits and the language policy as the "
            "only walls: ProcessSandbox(require='process')"
        )


def require_folder(layers: Mapping[str, str]) -> None:
    """Raise `SandboxError` unless the kernel gives workers a folder."""
    state = layers.get("folder", "not installed")
    if state != "on":
        raise SandboxError(
            f"this machine cannot give a worker a folder of its own (files=True): {state}. Allow user "
            "namespaces and mounts in them (unshare, mount, umount2, pivot_root in the container's "
            "profile; kernel.apparmor_restrict_unprivileged_userns=0), or leave out files"
        )


async def result_of(future: concurrent.futures.Future[T]) -> T:
    """Return the result of a future of a thread; at once if it has one."""
    return future.result() if future.done() else await asyncio.wrap_future(future)
