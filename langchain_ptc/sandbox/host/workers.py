"""One worker process, from the host's side."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the kernel is told about a worker before it gets any code."""

    cpu_seconds: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What the workers of a `ProcessSandbox` were doing at one moment, in this process."""

    running: int
    """Executions that have a worker."""
    starting: int
    """Executions whose worker is being forked."""
    queued: int
    """Executions that wait for one of `max_workers` to be free."""
    idle: int
    """Workers that wait for an execution."""
    parent_pid: int | None
    """The process that forks the workers; None if none runs."""
    layers: Mapping[str, str]
    """What each layer of confinement came to, `on` or why not; empty before the first execution."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended."""

    status: int
    """Wait status, for `os.waitstatus_to_exitcode`; -1 if nobody was there to be told it."""
    cpu_seconds: float


def _pending_exit() -> Future[Exit]:
    """Build a future that nobody can cancel: it is shared by all who wait for it."""
    future: Future[Exit] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Worker:
    """One child process. Only the thread of its pool signals it and closes its pidfd.

    A number of a descriptor that is closed is given to the next that is opened: whoever signalled by
    it from another thread could hit another worker.
    """

    number: int
    pid: int
    socket: socket.socket
    pidfd: int | None
    layers: Mapping[str, str]
    """What each layer of confinement came to in its parent."""
    _kill: Callable[[Worker], None]
    exited: Future[Exit] = field(default_factory=_pending_exit)
    depth: int = 0
    """How many executions its execution is inside of."""
    waited: bool = False
    """Whether it had to wait for its execution, and so may have been killed meanwhile."""
    timed_out: bool = False
    """Whether the host ended it because its wall limit had come."""

    def is_alive(self) -> bool:
        """Whether it has not ended, as far as the kernel or its parent has told."""
        pidfd = self.pidfd
        if pidfd is None:
            return not self.exited.done()
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        return not ended.poll(0)

    def close(self) -> None:
        """Close its descriptors; by the thread of its pool, or where there is none."""
        self.socket.close()
        pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            os.close(pidfd)

    def kill(self) -> None:
        """Have it ended, whatever it does; idempotent, from any thread."""
        self._kill(self)
