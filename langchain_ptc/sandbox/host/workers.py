"""Worker processes, from the host's side; and those that wait for a program."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits that a worker gets from the kernel before it gets any code."""

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
    """The state of each layer of confinement, `on` or why not; empty before the first execution."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended."""

    status: int
    """Wait status, for `os.waitstatus_to_exitcode`; -1 if it is not known."""
    cpu_seconds: float


def _pending_exit() -> Future[Exit]:
    """Build a future that cannot be cancelled: it is shared by all who wait for it."""
    future: Future[Exit] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Worker:
    """One child process. Only the thread of its pool signals it and closes its pidfd.

    The number of a closed descriptor is given to the next one that is opened: a signal sent by it from
    another thread could hit another worker.
    """

    number: int
    pid: int
    socket: socket.socket
    pidfd: int | None
    layers: Mapping[str, str]
    """The state of each layer of confinement in its parent."""
    _kill: Callable[[Worker], None]
    exited: Future[Exit] = field(default_factory=_pending_exit)
    deadline: float | None = None
    """When its wall limit comes, or its grace ends, by `time.monotonic`."""
    depth: int = 0
    """How many executions its execution is inside of."""
    waited: bool = False
    """Whether it had to wait for its execution, and so may have been killed meanwhile."""
    timed_out: bool = False
    """Whether the host ended it because its wall limit had come."""

    def is_alive(self) -> bool:
        """Whether it has not ended, as far as the kernel or its parent has reported."""
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


_MAX_KINDS = 2
"""For so many allowances workers wait: those of the last executions."""


class Spares:
    """The waiting workers of one pool, `most` for each allowance. Any thread may take one; its own does the rest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.kinds: dict[Allowance, deque[Worker]] = {}

    def take(self, allowance: Allowance) -> Worker | None:
        """Take one, if there is any; no two takers get the same."""
        kind = self.kinds.get(allowance)
        if kind is None:
            return None
        with contextlib.suppress(IndexError):
            return kind.popleft()
        return None

    def want(self, allowance: Allowance) -> Iterator[Worker]:
        """Keep workers for an allowance; yield those of long ago, which are no longer kept."""
        self.kinds.setdefault(allowance, deque())
        while len(self.kinds) > _MAX_KINDS:
            yield from _emptied(self.kinds.pop(next(iter(self.kinds))))

    def keep(self, worker: Worker, allowance: Allowance) -> bool:
        """Let a worker wait; return whether there was room."""
        kind = self.kinds.get(allowance)
        if kind is None or len(kind) >= self._most:
            return False
        kind.append(worker)
        return True

    def remove(self, worker: Worker) -> bool:
        """Take out one that has died; return False if it does not wait, or was taken just now."""
        for kind in self.kinds.values():
            with contextlib.suppress(ValueError):
                kind.remove(worker)
                return True
        return False

    def lacking(self) -> list[tuple[Allowance, int]]:
        """Return how many are missing for each allowance."""
        return [(allowance, self._most - len(kind)) for allowance, kind in self.kinds.items()]

    def take_all(self) -> Iterator[Worker]:
        """Yield all of them; none is kept from now on."""
        for allowance in list(self.kinds):
            yield from _emptied(self.kinds.pop(allowance))


def _emptied(kind: deque[Worker]) -> Iterator[Worker]:
    with contextlib.suppress(IndexError):
        while True:
            yield kind.popleft()
