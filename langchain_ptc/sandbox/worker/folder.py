"""The folder of a program with files: what it finds there, and what it leaves.

The folder is a file system of its own, which the kernel has made for this process; see `confinement`. All that
is done here is done by the process of the code, which may do the same: nothing here is a wall.
"""

from __future__ import annotations

import functools
import io
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.sessions.session import KeptFile
from langchain_ptc.sandbox.wire.files import is_file_name
from langchain_ptc.sandbox.wire.protocol import encode_file
from langchain_ptc.sandbox.worker.confinement import FOLDER

_LAST_OWN_FD = 3
"""The standard streams, which there are none of, and the line to the host."""


class Found(NamedTuple):
    """A file in the folder."""

    name: str
    """Relative to the folder, with `/`."""
    size: int
    """In bytes; of a sparse file, what it says."""
    version: tuple[int, ...]
    """Changes whenever the file does."""


class Folder:
    """The folder of one program."""

    def __init__(self) -> None:
        self._given: dict[str, Found] = {}

    def fill(self, files: Mapping[str, bytes]) -> None:
        """Write files into the folder, and note them: only others are new.

        Raises:
            OSError: The folder has no room for them, or a name cannot be one of a file.
        """
        for name, data in files.items():
            path = os.path.join(FOLDER, name)  # noqa: PTH118  # pathlib is loaded for the code alone
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(data)
        self._given |= {found.name: found for found in self.files()}

    def files(self) -> Iterator[Found]:
        """Yield the regular files in the folder, in the order of their names; nothing else is followed."""
        pending = [FOLDER]
        found = []
        while pending:
            place = pending.pop()
            try:
                entries = [*os.scandir(place)]
            except OSError:  # it was removed, or is not to be read
                continue
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    version = status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
                    name = entry.path.removeprefix(f"{FOLDER}/")
                    found.append(Found(name, status.st_size, version))
        yield from sorted(found)

    def changed(self) -> Iterator[Found]:
        """Yield the files that are new, or not as they were given."""
        for found in self.files():
            if self._given.get(found.name) != found:
                yield found

    def read(self, found: Found) -> bytes | None:
        """Return the content of a file; None if the code has made it unreadable."""
        try:
            fd = os.open(f"{FOLDER}/{found.name}", os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        with open(fd, "rb") as file:  # noqa: PTH123
            return file.read(found.size)


def collect_files(folder: Folder, limits: Limits) -> tuple[list[bytes], list[str]]:
    """Return the messages for the files that the code has made or changed, and notes on those left out."""
    messages: list[bytes] = []
    room = limits.returned_bytes
    changed = [*folder.changed()]
    named = [found for found in changed if is_file_name(found.name)]
    for found in named[: limits.returned_files]:
        content = folder.read(found) if found.size <= room else None
        size = found.size if content is None else len(content)
        room -= len(content or b"")
        messages += encode_file(found.name, size, content)
    notes = []
    if unnamed := len(changed) - len(named):
        notes.append(
            f"files that are not returned, for a name that not every system takes: {unnamed}"
        )
    if more := len(named[limits.returned_files :]):
        most = limits.returned_files
        notes.append(f"files that are not returned, beyond {most} (Limits.returned_files): {more}")
    return messages, notes


def kept_files(folder: Folder) -> Iterator[KeptFile]:
    """Yield the files for the next execution of a session."""
    for found in folder.files():
        if is_file_name(found.name):
            yield KeptFile(found.name, found.size, functools.partial(folder.read, found))


def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what `open` does, but for the line to the host."""
    if isinstance(file, int) and file <= _LAST_OWN_FD:
        raise OSError(9, "Bad file descriptor")
    return io.open(file, *args, **kwargs)  # noqa: UP020  # it is what the code gets


def build_file_names() -> dict[str, Mapping[str, object]]:
    """Build, for one program, the names of modules for files that are not the originals."""
    environ = {"HOME": FOLDER}

    def getenv(key: str, default: object = None) -> object:
        """Return a variable of the program's own environment."""
        return environ.get(key, default)

    return {
        "io": {"open": open_file},
        "os": {"environ": environ, "fdopen": open_file, "getenv": getenv},
    }
