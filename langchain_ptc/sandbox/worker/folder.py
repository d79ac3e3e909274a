"""The folder of a program with files: what it finds there, and what it leaves.

The folder is a file system of its own, which the kernel has made for this process; see `confinement`. All that
is done here is done by the process of the code, which may do the same: nothing here is a wall.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.wire.files import folders_of, is_file_name
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_BYTES, encode_file
from langchain_ptc.sandbox.worker.confinement import FOLDER

_LAST_OWN_FD = 3
"""The standard streams, which there are none of, and the line to the host."""


class Folder:
    """The folder of one program."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[int, ...]] = {}
        self.notes: list[str] = []
        """On files that are not returned."""

    def fill(self, files: Mapping[str, bytes], kept: Mapping[str, bytes]) -> None:
        """Write files into the folder, and note them: only others are new.

        Those that a session has kept make room for the others where they have the same place.

        Raises:
            OSError: The folder has no room for them, or a name cannot be one of a file.
        """
        folders = set().union(*map(folders_of, files))
        held = {n: kept[n] for n in kept.keys() - folders if not folders_of(n) & files.keys()}
        for name, data in {**held, **files}.items():
            path = os.path.join(FOLDER, name)  # noqa: PTH118  # pathlib is loaded for the code alone
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(data)
        self._given |= self._files()

    def _files(self) -> dict[str, tuple[int, ...]]:
        """Return the regular files by name, each with its size and what changes whenever it does."""
        pending, found = [FOLDER], {}
        while pending:
            with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:  # unless it was removed, or is not to be read
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    elif stat.S_ISREG(status.st_mode):
                        version = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
                        name = entry.path.removeprefix(f"{FOLDER}/")
                        found[name] = status.st_size, *version
        return dict(sorted(found.items()))

    def _read(self, name: str, size: int) -> bytes | None:
        """Return the content of a file; None if the code has made it unreadable."""
        with contextlib.suppress(OSError):
            fd = os.open(f"{FOLDER}/{name}", os.O_RDONLY | os.O_NOFOLLOW)
            with open(fd, "rb") as file:  # noqa: PTH123
                return file.read(size)
        return None

    def to_keep(self, max_bytes: int) -> dict[str, bytes]:
        """Return the content of files, by their paths, for the next execution of a session."""
        small = {name: size for name, (size, *_) in self._files().items() if is_file_name(name)}
        read = {n: self._read(n, min(size, max_bytes + 1)) for n, size in small.items()}
        return {f"{FOLDER}/{name}": data for name, data in read.items() if data is not None}

    def collect(self, limits: Limits) -> Iterator[bytes]:
        """Yield the messages for the files that are new, or not as they were given."""
        changed = [item for item in self._files().items() if self._given.get(item[0]) != item[1]]
        named = [(name, size) for name, (size, *_) in changed if is_file_name(name)]
        room = limits.returned_bytes
        for name, size in named[: limits.max_returned_files]:
            data = self._read(name, size) if size <= min(room, MAX_CALL_BYTES) else None
            room -= len(data or b"")
            yield encode_file(name, size if data is None else len(data), data)
        if more := len(changed) - len(named[: limits.max_returned_files]):
            self.notes.append(
                f"files that are not returned: {more}, either beyond the first {limits.max_returned_files} "
                "(Limits.max_returned_files) or with names that not every system takes"
            )


def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what `open` does, but for the line to the host."""
    if isinstance(file, int) and file <= _LAST_OWN_FD:
        raise OSError(9, "Bad file descriptor")
    return io.open(file, *args, **kwargs)  # noqa: UP020  # it is what the code gets


def build_file_names() -> dict[str, Mapping[str, object]]:
    """Build, for one program, the names of modules for files that are not the originals."""
    environ = {"HOME": FOLDER}
    getenv = lambda key, default=None: environ.get(key, default)  # noqa: E731
    own = {"environ": environ, "fdopen": open_file, "getenv": getenv}
    return {"io": {"open": open_file}, "os": own}
