"""Files of a deep agent in the folder of the code, and those of the code in the agent's file system.

A backend of deep agents is used by its methods alone; the package is not imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from langgraph.errors import GraphBubbleUp

from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.sandbox.wire.content import folders_of, is_file_name
from langchain_ptc.wording import cut

logger = logging.getLogger("langchain_ptc")

_MAX_FILES = 2_000
"""Files and folders of the agent that the folder gets; it holds 4,096 in all."""
_MAX_NAMED, _MAX_NAME_CHARS, _MAX_NOTE_CHARS = 10, 200, 4_000
_NOT_READ = "the agent's files are not in the folder"
_PATTERN = "**/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFiles:
    """Shares files between a deep agent and the folder of the code.

    When a program begins, its folder has the files of the backend below `folder`: `/data/a.csv` is `data/a.csv`
    for `folder="/"`, and `a.csv` for `folder="/data"`. When it has ended, the files that it made or changed are
    stored in the backend. Files that do not fit, the largest first, or that cannot be stored are named in a
    note to the model, and so is what the backend raises. Files that the program deletes stay in the backend.

    The backend is used directly: permissions and approvals of the agent's own file tools do not apply to it, so
    name a folder that the code may read and write.

    Raises:
        ValueError: `folder` is not an absolute path, or has `.` or `..` in it.
    """

    backend: Any
    """A backend of deep agents, the one that the agent has: `StateBackend()`, or another."""
    folder: str = "/"
    """What is shared: this folder of the backend, with all in it."""

    def __post_init__(self) -> None:
        if not self.folder.startswith("/") or {".", ".."} & {*self.folder.split("/")}:
            raise ValueError(
                f"AgentFiles.folder must begin with '/' and have no '.' or '..' in it, got {self.folder!r}"
            )

    @property
    def prefix(self) -> str:
        """What the names of its files begin with in the backend."""
        return f"{self.folder.rstrip('/')}/"

    def read(self, room: int) -> tuple[dict[str, bytes], list[str]]:
        """Return the files for a folder of `room` bytes, and notes about those that it does not get."""
        files: dict[str, bytes] = {}
        notes: list[str] = []
        with _noting(_NOT_READ, notes):
            paths = self._choose(self.backend.glob(_PATTERN, self.folder), room, notes)
            files = self._take(self.backend.download_files(paths), room, notes)
        return files, notes

    async def aread(self, room: int) -> tuple[dict[str, bytes], list[str]]:
        """Return the files for a folder of `room` bytes; see `read`."""
        files: dict[str, bytes] = {}
        notes: list[str] = []
        with _noting(_NOT_READ, notes):
            paths = self._choose(await self.backend.aglob(_PATTERN, self.folder), room, notes)
            files = self._take(await self.backend.adownload_files(paths), room, notes)
        return files, notes

    def store(self, result: ExecutionResult) -> list[str]:
        """Store the files that a program left; return notes about those that were not stored."""
        notes: list[str] = []
        if files := self._to_store(result):
            with _noting(_may_be_stored(files), notes):
                notes += _failed(self.backend.upload_files(files))
        return notes

    async def astore(self, result: ExecutionResult) -> list[str]:
        """Store the files that a program left; see `store`."""
        notes: list[str] = []
        if files := self._to_store(result):
            with _noting(_may_be_stored(files), notes):
                notes += _failed(await self.backend.aupload_files(files))
        return notes

    def _choose(self, found: Any, room: int, notes: list[str]) -> list[str]:
        if found.error is not None:
            notes.append(f"{_NOT_READ}: {found.error}")
            return []
        infos = [info for info in found.matches or () if not info.get("is_dir")]
        infos.sort(key=lambda info: (info.get("size") or 0, info["path"]))
        names = {info["path"]: self._name(info["path"]) for info in infos}
        names = {path: name for path, name in names.items() if is_file_name(name)}
        folders = set().union(*map(folders_of, names.values()))
        taken: list[str] = []
        made: set[str] = set()
        for info in infos:
            name = names.get(info["path"])
            if name is None or name in folders:  # a backend may have a file `a` beside `a/b`
                continue
            room -= info.get("size") or 0
            new = folders_of(name) - made
            if room >= 0 and len(taken) + len(made) + len(new) < _MAX_FILES:
                made |= new
                taken.append(info["path"])
        missing = [info["path"] for info in infos if info["path"] not in set(taken)]
        notes += _name_all("not in the folder, for their size, number or name", missing)
        if getattr(found, "truncated", False):
            notes.append("the agent has more files than were listed")
        return taken

    def _take(self, responses: Iterable[Any], room: int, notes: list[str]) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        missing = []
        for response in responses:
            size = len(response.content or b"")
            if response.content is None or size > room:  # not every backend tells sizes
                missing.append(response.path)
                continue
            room -= size
            files[self._name(response.path)] = bytes(response.content)
        notes += _name_all("not in the folder: they cannot be read", missing)
        return files

    def _to_store(self, result: ExecutionResult) -> list[tuple[str, bytes]]:
        return [
            (self.prefix + file.name, file.data) for file in result.files if file.data is not None
        ]

    def _name(self, path: str) -> str:
        return path.removeprefix(self.prefix)


def with_notes(result: ExecutionResult, notes: Sequence[str]) -> ExecutionResult:
    """Return a result with further notes for the model."""
    return replace(result, notes=(*result.notes, *notes)) if notes else result


@contextmanager
def _noting(what: str, notes: list[str]) -> Iterator[None]:
    """Turn what a backend raises into a note for the model; an interrupt of the graph is none of that."""
    try:
        yield
    except GraphBubbleUp:
        raise
    except (
        Exception
    ) as error:  # a backend is the user's, and the program's effects must be reported
        logger.exception("the backend of agent_files failed")
        notes.append(cut(f"{what}: {type(error).__name__}: {error}", _MAX_NOTE_CHARS))


def _may_be_stored(files: Sequence[tuple[str, bytes]]) -> str:
    (note,) = _name_all("stored only in part, or not at all", [path for path, _ in files])
    return note


def _failed(responses: Iterable[Any]) -> list[str]:
    failed = [f"{one.path} ({one.error})" for one in responses if one.error is not None]
    return _name_all("not stored", failed)


def _name_all(what: str, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    more = len(paths) - _MAX_NAMED
    named = ", ".join(cut(path, _MAX_NAME_CHARS) for path in sorted(paths)[:_MAX_NAMED])
    return [f"files of the agent that are {what}: {named}{f', {more} more' if more > 0 else ''}"]
