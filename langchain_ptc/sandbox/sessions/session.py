"""One execution of a session: what it starts with, and what it leaves.

The bytes are a header with the version and a checksum, and in MessagePack: whether the variables are pickles or plain
data, the units, name and size of each variable, the names of those from `asyncio`, and one variable after the other.
A file is a variable whose name is its path: `/files/a.csv`.
The checksum finds what was truncated or changed by accident. It is not a signature: whoever can write the state of a
graph can write any bytes, so pickles are read only where the kernel confines the reader.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, NamedTuple, cast

from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.sessions.pickling import (
    Makers,
    PickleWriter,
    TooLarge,
    Unkeepable,
    read_pickles,
    refuse,
)
from langchain_ptc.sandbox.sessions.source import (
    Compile,
    Lost,
    Mode,
    Names,
    Restored,
    Unit,
    Units,
    cut_unit,
)
from langchain_ptc.sandbox.wire.content import is_file_name
from langchain_ptc.sandbox.wire.decoding import decode_value, read_bounded
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_VALUES, check_encoded
from langchain_ptc.sandbox.wire.values import (
    MAX_DEPTH,
    AttrDict,
    UnsendableValue,
    encode_value,
)
from langchain_ptc.wording import count, cut

# --- plain data -------------------------------------------------------------------------------------
# Where the language is the boundary, nothing is unpickled, and nothing runs. A variable is in MessagePack as
# values of tools are: `["data", value]`, `["name", module, name]` or `["function", unit, *place, name, qualified
# name, docstring, defaults, keyword defaults]`. What shares data with another variable has a copy of it
# afterwards.

_SCALARS: frozenset[type] = frozenset(
    (
        *(type(None), bool, int, float, str, bytes, complex, range, decimal.Decimal, uuid.UUID),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    )
)
_CONTAINERS: frozenset[type] = frozenset((list, tuple, set, frozenset))
_DICTS: frozenset[type] = frozenset((dict, AttrDict))
_MAX_LEVELS = MAX_DEPTH + 2
"""Of a variable, whose data is in a list of its own."""


class PlainWriter:
    """Writes variables; the arguments are those of `PickleWriter`.

    Args:
        file: Takes the bytes.
        known: What the code has from modules.
        units: The functions that the code has defined.
    """

    def __init__(self, file: Any, known: Names, units: Units) -> None:
        self._file = file
        self._known = known
        self._units = units
        self._values = 0

    def add(self, value: object) -> None:
        """Write one variable.

        Raises:
            Unkeepable: It is not plain data, or contains something that is not.
            TooLarge: It takes more than its file does.
        """
        self._values = 0
        try:
            packed = encode_value(self._describe(value), max_levels=_MAX_LEVELS)
            check_encoded(packed)
        except UnsendableValue as error:
            raise Unkeepable(None, (f"what cannot be kept ({error})", "such data")) from None
        self._file.write(packed)

    def _describe(self, value: object) -> list[object]:
        if (place := self._known.find(value)) is not None:
            return ["name", *place]
        is_plain = type(value) is FunctionType and not value.__closure__
        if not is_plain or (found := self._units.use(cast("FunctionType", value))) is None:
            self._check(value, 0)
            return ["data", value]
        function = cast("FunctionType", value)
        names = (
            function.__name__,
            function.__qualname__,
            function.__doc__,
        )  # set by code, to anything
        parts = [*names, function.__defaults__, function.__kwdefaults__]
        self._check(parts, 0)
        return ["function", *found, *parts]

    def _check(self, value: Any, level: int) -> None:
        """Refuse what does not come back as it is, and what is much when it is unfolded."""
        kind = type(value)
        self._values += 1
        if self._values > MAX_CALL_VALUES:
            raise Unkeepable(None, (f"more than {MAX_CALL_VALUES:,} values", "so many"))
        if kind in _SCALARS:
            return
        if kind not in _CONTAINERS and kind not in _DICTS:
            raise refuse(value)
        if level > MAX_DEPTH:
            raise Unkeepable(None, ("data that is nested too deeply", "such data"))
        items: Iterable[object] = value
        if kind in _DICTS:
            items = [*dict.keys(value), *dict.values(value)]
        for item in items:
            self._check(item, level + 1)


def read_plain(data: bytes, sizes: Mapping[str, int], restored: Restored) -> dict[str, Exception]:
    """Read variables that a `PlainWriter` wrote into the globals of the code, as bytes that anybody may forge.

    Args:
        data: The variables.
        sizes: Bytes of each in it.
        restored: Makes what is kept by source and by name.

    Returns:
        What is wrong with each that cannot be read.
    """
    lost: dict[str, Exception] = {}
    at = 0
    for name, size in sizes.items():
        part, at = data[at : at + size], at + size
        try:
            read_bounded(part, _MAX_LEVELS)
            kind, *parts = decode_value(part, AttrDict)
            restored.namespace[name] = _KINDS[kind](restored, *parts)
        except ImportError as error:
            lost[name] = error
        except Exception:  # noqa: BLE001  # whatever is wrong with one, the rest is there
            lost[name] = Lost("it is damaged")
    return lost


def _make_function(restored: Restored, *parts: Any) -> FunctionType:
    *place, name, qualname, doc, defaults, keywords = parts
    made = restored.function(*place, name, qualname, doc, ())
    made.__defaults__, made.__kwdefaults__ = defaults, keywords
    return made


_KINDS: Mapping[str, Callable[..., object]] = {
    "data": lambda _, value: value,
    "name": Restored.name,
    "function": _make_function,
}


# --- a session ------------------------------------------------------------------------------------

VERSION = b"langchain-ptc session 3\n"
_DIGEST_BYTES = 32
_HEADER_BYTES = len(VERSION) + _DIGEST_BYTES
_NEVER = frozenset({"__builtins__", "__annotations__", "__class__", "__debug__"})
_MAX_NOTES = 5
_MISSING = object()


class Unreadable(ValueError):
    """The bytes of a session cannot be read; the message says why."""


class Stored(NamedTuple):
    """The parsed bytes of a session, before any variable is restored."""

    units: list[Unit]
    variables: dict[str, int]
    """The bytes of each in `data`."""
    asyncio: frozenset[str]
    """The variables that hold `asyncio` or something from it."""
    data: bytes
    pickled: bool


def _open(kept: bytes, max_bytes: int, max_chars: int, *, pickles: bool) -> Stored:
    if not kept:
        return Stored([], {}, frozenset(), b"", False)
    if len(kept) > max_bytes:
        raise Unreadable(
            f"they have {count(len(kept), 'byte')}, and {max_bytes:,} are allowed (Limits.session_bytes)"
        )
    if not kept.startswith(VERSION):
        raise Unreadable("they are of another version")
    digest, body = kept[len(VERSION) :][:_DIGEST_BYTES], kept[len(VERSION) + _DIGEST_BYTES :]
    if hashlib.sha256(body).digest() != digest:
        raise Unreadable("they are damaged")
    try:
        pickled, units, variables, asyncio, data = read_bounded(body).value
        units = [_read_unit(unit, max_chars) for unit in units]
        variables = {_checked_variable(name): _size(size) for name, size in variables}
        asyncio, data = frozenset(asyncio), memoryview(data).tobytes()
    except (ValueError, TypeError):
        raise Unreadable("they are damaged") from None
    if pickled is not False and not pickles:
        raise Unreadable("they were kept at level kernel, and can be read only there")
    return Stored(units, variables, asyncio, data, pickled is not False)


def _close(*parts: object) -> bytes:
    body = encode_value(parts)
    return b"".join((VERSION, hashlib.sha256(body).digest(), body))


class _Sink:
    """Takes the bytes of one variable after the other, and no more than `limit` of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._begin = 0
        self.size = 0

    def begin(self) -> None:
        self._begin = self.size

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        if self.size - self._begin > self._limit:
            raise TooLarge
        if self.size <= self._limit:  # else all together is too much, and some will be left out
            self._parts.append(bytes(data))
        return size

    def taken(self) -> bytes:
        return b"".join(self._parts)


class SessionVariables:
    """The variables of a session in one execution.

    Args:
        kept: What the execution before this one has left; empty for the first one.
        max_bytes: How many bytes this one may leave, and the earlier one may have left.
        max_chars: Length of the source of one unit.
        pickles: Whether they are pickles: only where the kernel confines the code, since reading one can do
            whatever Python can. Elsewhere they are plain data.
    """

    def __init__(self, kept: bytes, *, max_bytes: int, max_chars: int, pickles: bool) -> None:
        self._max_bytes = max_bytes
        self._pickles = pickles
        self._units = Units()
        self._given: dict[str, object] = {}
        self.notes: list[str] = []
        """Notes for the code: variables that were not kept, and that could not be read."""
        try:
            self._stored = _open(kept, max_bytes, max_chars, pickles=pickles)
        except Unreadable as error:
            self._stored = _open(b"", max_bytes, max_chars, pickles=pickles)
            self.notes.append(
                f"the variables of earlier executions could not be read: {error}; "
                "this execution has started without them"
            )

    # --- what the compiler should know ---

    @property
    def names(self) -> frozenset[str]:
        """The variables that the code has without binding them."""
        return frozenset(self._stored.variables)

    @property
    def private_names(self) -> frozenset[str]:
        """Private attribute names that the code of the session defines."""
        return frozenset(name for unit in self._stored.units for name in unit.private)

    @property
    def asyncio_names(self) -> frozenset[str]:
        """The variables that hold `asyncio` or something from it."""
        return self._stored.asyncio

    # --- in ---

    def restore(self, namespace: dict[str, object], known: Names, compile_source: Compile) -> None:
        """Put the variables into the globals of the code, over what it is given.

        Args:
            namespace: The globals, with everything that the code is given.
            known: Gives what is kept by name.
            compile_source: Compiles a unit by the policy.
        """
        self._given = dict(namespace)
        stored = self._stored
        makers = Makers(
            stored.units,
            known=known,
            all_units=self._units,
            namespace=namespace,
            compile_source=compile_source,
        )
        read = read_pickles if stored.pickled else read_plain
        lost: dict[str, list[str]] = {}
        for name, error in read(stored.data, stored.variables, makers).items():
            lost.setdefault(_why_lost(error), []).append(name)
        for why, names_lost in list(lost.items())[:_MAX_NOTES]:
            self.notes.append(
                f"{_listed(names_lost)} of an earlier execution could not be read: {why}"
            )

    # --- out ---

    def keep(
        self, namespace: Mapping[str, object], known: Names, code: Any, source: str, mode: Mode
    ) -> bytes:
        """Return the variables of the code as bytes; what is not kept is reported in `notes`.

        Args:
            namespace: The globals of the code, after it.
            known: Finds what is kept by name.
            code: The compiled code.
            source: Its source.
            mode: Its mode.
        """
        self._units.add(Unit(source, mode, self.private_names), code)
        wanted = {
            name: value
            for name, value in namespace.items()
            if _is_variable(name) and self._given.get(name, _MISSING) is not value
        }
        dropped: dict[str, str] = {}
        while True:
            made = self._write(wanted, known, dropped)
            if made is not None or not wanted:  # not even the index without a variable
                break
        self._note_dropped(dropped)
        return made or b""

    def _write(
        self, wanted: dict[str, object], known: Names, dropped: dict[str, str]
    ) -> bytes | None:
        """Return the bytes; None if some of `wanted` cannot be kept, which are removed from it."""
        sink = _Sink(self._max_bytes - _HEADER_BYTES)
        self._units.used = {}
        shared = self._writer(sink, known)
        sizes: dict[str, int] = {}
        fails = False
        for name, value in list(wanted.items()):
            # One that fails leaves traces in what is shared: the others are only looked at then.
            writer = self._writer(sink, known) if fails else shared
            sink.begin()
            before = sink.size
            try:
                writer.add(value)
                sizes[name] = sink.size - before
            except Unkeepable as error:
                dropped[name] = self._why_not(error, value)
            except TooLarge:
                dropped[name] = (
                    f"it takes more than {count(self._max_bytes, 'byte')}, which all variables of a "
                    "session may take (Limits.session_bytes)"
                )
            if name in dropped:
                fails = True
                del wanted[name]
        if fails:
            return None
        units = [cut_unit(unit, places) for unit, places in self._units.used.items()]
        stored = [[unit.source, unit.mode, sorted(unit.private)] for unit in units]
        asyncio = [name for name in wanted if known.is_from(wanted[name], "asyncio")]
        over = sink.size - self._max_bytes
        if over <= 0:
            made = _close(self._pickles, stored, [*sizes.items()], asyncio, sink.taken())
            over = len(made) - self._max_bytes
            if over <= 0:
                return made
        self._drop_largest(over, wanted, sizes, dropped)
        return None

    def _writer(self, sink: _Sink, known: Names) -> PickleWriter | PlainWriter:
        if self._pickles:
            return PickleWriter(sink, known, self._units)
        return PlainWriter(sink, known, self._units)

    def _why_not(self, error: Unkeepable, variable: object) -> str:
        one, many = error.what
        only = "" if self._pickles else " (here only plain data, functions and imported names are)"
        rule = f"{many} cannot be kept between executions{only}"
        return rule if error.value is variable else f"it holds {one}, and {rule}"

    def _drop_largest(
        self,
        over: int,
        wanted: dict[str, object],
        sizes: Mapping[str, int],
        dropped: dict[str, str],
    ) -> None:
        """Leave out as many of the largest variables as it takes, but at least one."""
        for name in sorted(wanted, key=lambda name: sizes[name], reverse=True):
            dropped[name] = (
                f"it takes {count(sizes[name], 'byte')}, and all variables of a session may take "
                f"{self._max_bytes:,} (Limits.session_bytes)"
            )
            del wanted[name]
            over -= sizes[name]
            if over <= 0:
                return

    def _note_dropped(self, dropped: Mapping[str, str]) -> None:
        notes = [f"`{name}` was not kept: {why}" for name, why in dropped.items()]
        self.notes += notes[:_MAX_NOTES]
        if rest := list(dropped)[_MAX_NOTES:]:
            self.notes.append(f"nor were kept: {_listed(rest)}")


def _listed(given: Iterable[str]) -> str:
    return cut(", ".join(f"`{name}`" for name in given), 1_000)


def _why_lost(error: Exception) -> str:
    if isinstance(error, ImportError | Lost):
        return str(error)
    return f"making it raised {type(error).__name__}"


def _is_variable(name: object) -> bool:
    """Whether code may have a variable of this name, and it is not one of Python's own."""
    if type(name) is not str or name.startswith(names.RESERVED) or name in _NEVER:
        return False
    if not name.isidentifier():
        return name.startswith("/files/") and is_file_name(name.removeprefix("/files/"))
    if names.is_dunder(name):
        return name in names.SPECIAL_VARIABLES
    return not names.is_refused(name)


def _checked_variable(name: object) -> str:
    if type(name) is not str or not _is_variable(name):
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


def _size(size: object) -> int:
    if type(size) is not int or size <= 0:
        raise ValueError(f"{size!r} is not a size")
    return size


def _read_unit(given: Any, max_chars: int) -> Unit:
    source, mode, private = given
    if type(source) is not str or len(source) > max_chars or mode not in ("sync", "async"):
        raise ValueError("a malformed unit")
    if not all(type(name) is str and name.startswith("_") for name in private):
        raise ValueError("malformed private names")
    return Unit(source, mode, frozenset(private))
