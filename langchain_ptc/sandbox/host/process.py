"""`ProcessSandbox`: each execution in a child process that the kernel has stripped."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import Self

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.allowed_modules import check_importable, standard_modules
from langchain_ptc.sandbox.api import MIB
from langchain_ptc.sandbox.host.connection import Require, WorkerSession
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.workers import (
    Worker,
    WorkerStats,
)

_FOLDER_BYTES = 64 * MIB
_MIN_FOLDER_BYTES, _MAX_FOLDER_BYTES = 64 * 1024, 2**40


class LocalSandbox:
    """What the sandboxes of this machine have in common.

    Args:
        imports: Modules that the code may import in addition to the standard ones.
    """

    files_bytes = 0
    """Size of the folder of each execution; 0 for none."""

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
