"""Sandboxes over a pool of their own, some of whose walls are removed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Self

import pytest

from langchain_ptc import ProcessSandbox
from langchain_ptc.sandbox.host import pool
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.process import Require, WorkerSession
from langchain_ptc.sandbox.host.workers import Worker
from tests.support.waiting import SECONDS


class PoolSandbox:
    """A `ProcessSandbox` whose pool tests can see, and nobody else uses.

    Args:
        imports: As those of `ProcessSandbox`.
        waiting: How many workers wait for work.
        require: As that of `ProcessSandbox`.
        walls: Whether the kernel's walls are installed.
        policy: Whether the code is held to the language.
    """

    def __init__(
        self,
        imports: Sequence[str] = (),
        *,
        waiting: int = 1,
        require: Require = "process",
        walls: bool = True,
        policy: bool = True,
    ) -> None:
        self.pool = WorkerPool(tuple(imports), waiting=waiting, walls=walls, policy=policy)
        self.modules = ProcessSandbox(imports=imports).modules
        self.files_bytes = 0
        self._require: Require = require

    def session(self) -> WorkerSession:
        """Prepare one execution."""
        return WorkerSession(self.pool, self._require)

    def close(self) -> None:
        """End every process."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kill(worker: Worker) -> None:
    """Kill a worker, as the kernel does when it needs memory; nothing if it has ended."""
    if worker.pidfd is not None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)


@pytest.fixture(autouse=True, scope="session")
def patience() -> Iterator[None]:
    """On a busy machine the parent of workers may take longer than users should wait."""
    usual, pool.SILENT_SECONDS = pool.SILENT_SECONDS, SECONDS
    yield
    pool.SILENT_SECONDS = usual
