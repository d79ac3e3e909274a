"""What the code is given: data in variables, and the files of a deep agent in its folder.

Of data the model sees the type, the size and the beginning; the data itself goes to the worker alone, encoded like
the result of a tool, if the code names it. A backend of deep agents is used by its methods alone; the package is
not imported.
"""

from __future__ import annotations

import functools
import itertools
import keyword
import logging
import re
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from langgraph.errors import GraphBubbleUp

from langchain_ptc.background_loop import call_off_loop
from langchain_ptc.catalog.observed import ObservedShapes
from langchain_ptc.errors import count, cut
from langchain_ptc.run.plain import clean_text, render_plain
from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.sandbox.api import Limits
from langchain_ptc.sandbox.wire.content import folders_of, is_file_name
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import (
    UnsendableValue,
    ValueTooLarge,
    encode_sized,
    encode_value,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

logger = logging.getLogger("langchain_ptc")

_WORD = re.compile(r"\w+")


def names_of(catalog: ToolCatalog) -> set[str]:
    """Return the names that code has for the tools of a catalog."""
    domains = {definition.domain or "" for definition in catalog.callables}
    return {"tools", "ToolCallError", *domains, *(d.name for d in catalog.callables)}


def check_names(names: Collection[str], reserved: Collection[str]) -> None:
    """Raise `ValueError` if one of the names cannot be that of a variable of the code."""
    name: Any
    for name in names:
        is_name = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        if not is_name or name.startswith("_"):
            raise ValueError(f"inputs: {name!r} cannot be the name of a variable of the code")
        if name in reserved:
            raise ValueError(
                f"inputs: the code has a tool or a domain named {name!r}; rename one of them"
            )


async def encode_inputs(
    inputs: Mapping[str, Any], code: str, limits: Limits, reserved: Collection[str]
) -> dict[str, bytes]:
    """Return the values that the code names, as they are sent.

    Raises:
        ValueError: A name cannot be that of a variable, the code cannot be given a value, or it is larger
            than `Limits.result_bytes`.
    """
    check_names(inputs, reserved)
    named = set(_WORD.findall(code)) & inputs.keys()
    return {
        name: await call_off_loop(
            functools.partial(_encode, name, inputs[name], limits), inputs[name]
        )
        for name in sorted(named)
    }


def _encode(name: str, value: Any, limits: Limits) -> bytes:
    try:
        return encode_sized(value, limits.result_bytes)[0]
    except ValueTooLarge as error:
        raise ValueError(
            f"inputs: {name!r} has {error.size:,} bytes or more, and Limits.result_bytes allows "
            f"{limits.result_bytes:,}"
        ) from error
    except UnsendableValue as error:
        raise ValueError(f"inputs: {name!r} cannot be given to the code: {error}") from error


# --- variables in the prompt ------------------------------------------------------------------------

_INTRODUCTION = "These variables hold data already. Use them in the program; print what the answer needs, and never the whole:"

Inputs: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Values by the name of the variable, or keys of the state of the graph."""

_SHOWN_ITEMS = 100  # items whose types are read for the model
_SHOWN_CHARS = 200  # how much of the beginning of each the model is shown


class InputVariables:
    """The variables that the code of one agent is given.

    Raises:
        TypeError: `inputs` is a string.
        ValueError: A name is not one that a variable can have.
    """

    def __init__(self, inputs: Inputs) -> None:
        if isinstance(inputs, str):
            raise TypeError(
                f"inputs must be a mapping, or a list of keys, got the string {inputs!r}"
            )
        check_names(inputs, ())
        self._values = dict(inputs) if isinstance(inputs, Mapping) else None
        self._keys = tuple(inputs)

    def read(self, state: Any) -> dict[str, Any]:
        """Return the values; of keys of the state those that it has."""
        if self._values is not None:
            return self._values
        if isinstance(state, Mapping):
            return {key: state[key] for key in self._keys if key in state}
        return {key: getattr(state, key) for key in self._keys if hasattr(state, key)}

    def render(self, state: Any) -> str:
        """Return a text about them for the model; only names without a state. `ValueError`: one is no data."""
        lines = [describe(name, value) for name, value in self.read(state).items()]
        if state is None and self._values is None:
            lines = [f"- `{key}`" for key in self._keys]
        return "\n".join([_INTRODUCTION, *lines]) if lines else ""


def describe(name: str, value: Any) -> str:
    """Return a line for the model: type, size and beginning; raises `ValueError` for what the code cannot be given."""
    sample, size = _sample(value)
    try:
        data = decode_value(encode_value(sample))
    except UnsendableValue as error:
        raise ValueError(f"inputs: {name!r} cannot be given to the code: {error}") from error
    shapes = ObservedShapes()
    shapes.observe(name, data)
    first = data[:1] if isinstance(data, list) else data
    begins = cut(clean_text(render_plain(first)).replace("\n", "\\n"), _SHOWN_CHARS)
    return f"- `{name}`: {shapes.text(name)}{size}; begins {begins}"


def _sample(value: Any) -> tuple[Any, str]:
    """Return a value, or its first items, and its size in words."""
    if isinstance(value, str | bytes):
        return value[: 2 * _SHOWN_CHARS], f", {count(len(value), 'character')}"
    if hasattr(value, "iloc") and hasattr(value, "head"):  # a frame or series of pandas
        return value.head(_SHOWN_ITEMS), f", {count(len(value), 'row')}"
    if isinstance(value, Mapping):
        items = itertools.islice(value.items(), _SHOWN_ITEMS)
        return dict(items), f", {count(len(value), 'key')}"
    if isinstance(value, list | tuple):
        return list(value[:_SHOWN_ITEMS]), f", {count(len(value), 'item')}"
    return value, ""


# --- files of a deep agent --------------------------------------------------------------------------

_MAX_FILES = 2_000  # files and folders of the agent that the folder gets; it holds 4,096 in all
_MAX_NAMED, _MAX_NAME_CHARS, _MAX_NOTE_CHARS = 10, 200, 4_000
_NOT_READ = "the agent's files are not in the folder"


T = TypeVar("T")


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

    async def read(self, room: int, *, sync: bool) -> tuple[dict[str, bytes], list[str]]:
        """Return the files for a folder of `room` bytes, and notes about those that it does not get.

        With `sync` it waits for nothing, and uses the synchronous methods of the backend.
        """
        files: dict[str, bytes] = {}
        notes: list[str] = []
        with _noting(_NOT_READ, notes):
            found = await self._call("glob", "**/*", self.folder, sync=sync)
            paths = self._choose(found, room, notes)
            responses = await self._call("download_files", paths, sync=sync)
            files = self._take(responses, room, notes)
        return files, notes

    async def _call(self, method: str, *given: Any, sync: bool) -> Any:
        if sync:
            return getattr(self.backend, method)(*given)
        return await getattr(self.backend, f"a{method}")(*given)

    async def store(self, result: ExecutionResult, *, sync: bool) -> list[str]:
        """Store the files that a program left; return notes about those that were not stored."""
        notes: list[str] = []
        files = [(self.prefix + f.name, f.data) for f in result.files if f.data is not None]
        if files:
            (note,) = _name_all("stored only in part, or not at all", [path for path, _ in files])
            with _noting(note, notes):
                answers = await self._call("upload_files", files, sync=sync)
                failed = [f"{one.path} ({one.error})" for one in answers if one.error is not None]
                notes += _name_all("not stored", failed)
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

    def _name(self, path: str) -> str:
        return path.removeprefix(self.prefix)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("the coroutine waits")


@contextmanager
def _noting(what: str, notes: list[str]) -> Iterator[None]:
    """Turn what a backend raises into a note for the model; an interrupt of the graph is none of that."""
    try:
        yield
    except GraphBubbleUp:
        raise
    except Exception as error:  # the program's effects must be reported, whatever a backend raises
        logger.exception("the backend of agent_files failed")
        notes.append(cut(f"{what}: {type(error).__name__}: {error}", _MAX_NOTE_CHARS))


def _name_all(what: str, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    more = len(paths) - _MAX_NAMED
    named = ", ".join(cut(path, _MAX_NAME_CHARS) for path in sorted(paths)[:_MAX_NAMED])
    return [f"files of the agent that are {what}: {named}{f', {more} more' if more > 0 else ''}"]
