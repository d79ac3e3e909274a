"""One execution of a session: what it starts with, and what it leaves.

The bytes are a header with the version and a checksum, and in MessagePack: whether the variables are pickles or plain
data, the units, name and size of each variable, the names of those from `asyncio`, and one variable after the other.
A file is a variable whose name is its path: `/files/a.csv`.
The checksum finds what was truncated or changed by accident. It is not a signature: whoever can write the state of a
graph can write any bytes, so pickles are read only where the kernel confines the reader: there reading one can do what
the code can, and no more. Elsewhere variables are plain data. Nothing that code has defined is called while they are
written.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import hashlib
import io
import itertools
import pickle
import pickletools
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple, cast

from langchain_ptc.errors import count, cut
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import kept
from langchain_ptc.sandbox.sessions.kept import (
    Compile,
    Lost,
    Mode,
    Names,
    Place,
    TooLarge,
    Unit,
    Units,
    Unkeepable,
    cut_unit,
    refuse,
)
from langchain_ptc.sandbox.wire.content import is_file_name
from langchain_ptc.sandbox.wire.decoding import decode_value, read_bounded
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_VALUES, check_encoded
from langchain_ptc.sandbox.wire.values import MAX_DEPTH, AttrDict, UnsendableValue, encode_value

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


# --- out ------------------------------------------------------------------------------------------


class PickleWriter(pickle.Pickler):
    """Writes variables into one pickle in a file, so that what they share stays shared."""

    def __init__(self, file: Any, known: Names, units: Units) -> None:
        super().__init__(file, protocol=5)
        self._known = known
        self._units = units
        self._last: object = None
        self._later: list[tuple[object, object]] = []
        """Objects with their state, which is written after everything that the variable refers to."""
        self._shapes: dict[type, tuple[type | None, bool]] = {}
        """What all instances of a class have in common."""

    def add(self, value: object) -> None:
        """Write one variable; after an `Unkeepable` or `TooLarge` the whole pickle is of no use."""
        self._last = value
        try:
            self.dump(value)
            while self._later:  # in rounds, and not in depth: a chain of objects may be long
                states, self._later = self._later, []
                self.dump(states)
        except (Unkeepable, TooLarge, MemoryError):
            raise
        except RecursionError:
            deep = "data that is nested too deeply", "such data"
            raise Unkeepable(None, deep) from None
        except Exception as error:  # of the last object's own class, whatever that is
            raise refuse(self._last) from error

    def reducer_override(self, value: Any) -> Any:
        """Return what pickle writes for an object that is not plain data."""
        kind = type(value)
        if kind is AttrDict:
            return AttrDict, (), None, None, iter(dict.items(value))
        self._last = value
        if id(value) in _CALLABLE_IDS:
            return NotImplemented
        if (place := self._known.find(value)) is not None:
            return Makers.name, place
        if (take := kept.TAKERS.get(kind)) is not None:
            return take(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.CellType:
            return self._cell(value)
        if issubclass(kind, type):
            return self._class(value)
        return self._instance(value)

    def _of_library(self, value: Any) -> Any:
        """Leave an object to pickle."""
        is_named = isinstance(value, type | FunctionType)  # pickle writes it as a name in a module
        if kept.is_in_use(value) or (is_named and not self._known.is_of_library(value)):
            raise refuse(value)
        return NotImplemented

    def _cell(self, cell: types.CellType) -> Any:
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            return kept.make_again, ("cell",)
        return kept.make_again, ("cell",), (content,), None, None, Makers.fill

    def _function(self, function: types.FunctionType) -> Any:
        found = self._units.use(function)
        if found is None:
            return kept.take_made_function(function) or self._of_library(function)
        name = function.__name__, function.__qualname__, function.__doc__
        made = Makers.function, (*found, *name, function.__closure__ or ())
        state = (
            function.__defaults__,
            function.__kwdefaults__,
            dict(function.__annotations__),
            vars(function).copy(),
        )
        return (*made, state, None, None, Makers.fill) if any(state) else made

    def _class(self, cls: type) -> Any:
        if not is_own(cls):
            return self._of_library(cls)
        taken = kept.take_class(cls, lambda function: self._units.find(function) is not None)
        if taken is None:
            raise refuse(cls)
        return Makers.new_class, (taken[0],), taken[1], None, None, Makers.fill

    def _instance(self, value: Any) -> Any:
        cls = type(value)
        if issubclass(type(cls), enum.EnumMeta):
            return Makers.member, (cls, value._name_, value._value_)
        if is_own(cls) and "__reduce__" in vars(cls):  # which no code defines: a logger
            attributes = kept.take_attributes(value)
            made = self._known.get("logging", "getLogger"), (attributes.pop("name"),)
            for name in ("manager", "parent", "_cache"):
                attributes.pop(name, None)
            return *made, (attributes, ()), None, None, Makers.fill
        if cls not in self._shapes:
            base = kept.content_base(cls) if is_own(cls) else None
            self._shapes[cls] = base, kept.may_be_empty(cls)
        base, may_be_empty = self._shapes[cls]
        if base is None:
            return self._of_library(value)
        attributes = kept.take_attributes(value)
        made, content = kept.take_content(base, value)
        if may_be_empty:
            if attributes or content:
                self._later.append((value, (attributes, content)))
            return Makers.instance, (cls, base, made)
        # Its hash asks for what it holds, and what it holds may be a set that it is in.
        plain = {name: part for name, part in attributes.items() if _is_plain(part)}
        rest = {name: part for name, part in attributes.items() if name not in plain}
        call = Makers.instance, (cls, base, made, plain)
        return (*call, (rest, content), None, None, Makers.fill) if rest or content else call


def _is_plain(value: object) -> bool:
    kind = type(value)
    return kind in _ATOMS or (kind is tuple and all(type(part) in _ATOMS for part in value))  # type: ignore[attr-defined]  # a tuple


# --- in -------------------------------------------------------------------------------------------


class Makers:
    """What a pickle may call by name, besides what code may import: each makes what code has made itself.

    Args:
        stored: Has the units of the session.
        known: Gives what is kept by name.
        units: Takes in the functions of the units, so that they can be kept again.
        namespace: Globals of the code.
        compile_source: Compiles a unit by the policy.
    """

    def __init__(
        self,
        stored: Stored,
        known: Names,
        units: Units,
        namespace: dict[str, object],
        compile_source: Compile,
    ) -> None:
        self._stored, self._known, self._units = stored, known, units
        self._compile = compile_source
        self.namespace = namespace

    def find(self, module: str, name: str) -> Any:
        """Return what a pickle names; raises `ImportError` if it may not name that."""
        found = _CALLABLES.get((module, name))
        if found is None:
            return self._known.get_of_library(module, name)
        return getattr(self, found.__name__) if found in _MAKERS else found

    def name(self, module: Any, name: Any) -> object:
        """Look up a name of a module, or the module."""
        return self._known.get(module, name)

    def function(self, unit: Any, place: Any, line: Any, number: Any, *names: Any) -> FunctionType:
        """Make a function of its source; `names` are name, qualified name, docstring and cells."""
        source = self._stored.units[unit]
        if not source.codes:
            self._units.compile(source, self._compile)
        code = source.codes[Place(place, line, number)]
        if any(n.startswith(".") or n == "__classdict__" for n in code.co_freevars):
            raise ValueError("a function of a kind that is not kept")
        name, qualname, doc, cells = names
        made = FunctionType(code, self.namespace, str(name), None, tuple(cells))
        made.__qualname__, made.__module__, made.__doc__ = str(qualname), "__main__", doc
        return made

    def new_class(self, parts: Any) -> type:
        """Make a class without its attributes."""
        return kept.make_class(parts)

    def member(self, cls: Any, name: Any, value: Any) -> Any:
        """Look a member of an enumeration up, or combine flags."""
        return cls[name] if name in cls.__members__ else cls(value)

    def instance(
        self, cls: Any, base: Any, content: Any, attributes: Mapping[str, object] | None = None
    ) -> Any:
        """Make an instance of a class of the code, whose `__init__` does not run."""
        made = base.__new__(cls, *content)
        kept.fill_instance(made, attributes or {}, ())
        return made

    def fill(self, made: Any, state: Any) -> None:
        """Put back what an object holds."""
        kind = type(made)
        if kind is types.CellType:
            (made.cell_contents,) = state
        elif kind is types.FunctionType:
            made.__defaults__, made.__kwdefaults__, made.__annotations__, attributes = state
            vars(made).update(attributes)
        elif issubclass(kind, type):
            kept.fill_class(made, state)
        else:
            kept.fill_instance(made, *state)


_MAKERS: Sequence[Any] = (
    *(Makers.name, Makers.function, Makers.new_class),
    *(Makers.member, Makers.instance, Makers.fill),
)
_CALLABLES: Mapping[tuple[str, str], Any] = {
    (make.__module__, make.__qualname__): make for make in (*_MAKERS, kept.make_again, AttrDict)
}
_CALLABLE_IDS = frozenset(map(id, _CALLABLES.values()))
_LOST = object()


class _Finder:
    def __init__(self, file: io.BytesIO, makers: Makers) -> None:
        super().__init__(file)  # type: ignore[call-arg]  # of the reader that inherits this, too
        self._makers = makers

    def find_class(self, module: str, name: str) -> Any:
        return self._makers.find(module, name)


class _Reader(_Finder, pickle.Unpickler):
    """Reads any pickle, as long as nothing in it fails."""


class _Memo(dict[int, object]):
    """The objects of a pickle by their numbers, of which some could not be read."""

    def __getitem__(self, number: int) -> object:
        if (found := super().__getitem__(number)) is _LOST:
            raise Lost("it shares data with a variable that could not be read")
        return found

    def lose(self, first: int, chunk: bytes) -> None:
        """Number the objects of a chunk that failed, for those after it; `ValueError` if it cannot be followed."""
        count = 0
        with io.BytesIO(chunk) as file:
            while file.tell() < len(chunk):
                count += sum(code.name == "MEMOIZE" for code, _, _ in pickletools.genops(file))
        for number in range(first, first + count):
            if type(self.get(number)) is not str:  # what is half made must not be seen
                self[number] = _LOST


_Slow: Any = pickle._Unpickler  # the one of Python, whose memo can be replaced


class _PatientReader(_Finder, _Slow):  # type: ignore[misc]
    """Reads a pickle in which a variable fails."""

    def __init__(self, file: io.BytesIO, makers: Makers) -> None:
        super().__init__(file, makers)
        self.memo = _Memo()


def read_pickles(data: bytes, sizes: Mapping[str, int], makers: Makers) -> dict[str, Exception]:
    """Read variables that a `PickleWriter` wrote into the globals of the code; return what is wrong with which.

    Args:
        data: The pickles.
        sizes: Bytes of each variable in it.
        makers: What it may call.
    """
    ends = dict(zip(sizes, itertools.accumulate(sizes.values()), strict=True))
    file = io.BytesIO(data)
    with contextlib.suppress(Exception):  # which one fails is found out below
        fast = _Reader(file, makers)
        found = {name: _read(fast, file, end, makers) for name, end in ends.items()}
        makers.namespace.update(found)
        return {}
    file.seek(0)
    reader = _PatientReader(file, makers)
    lost: dict[str, Exception] = {}
    follows = True
    for name, end in ends.items():
        first, begin = len(reader.memo), end - sizes[name]
        if not follows:
            lost[name] = Lost("the data before it is damaged")
            continue
        try:
            makers.namespace[name] = _read(reader, file, end, makers)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the rest is there
            lost[name] = error
            try:
                reader.memo.lose(first, data[begin:end])
            except ValueError:
                follows = False
            file.seek(end)
    return lost


def _read(reader: Any, file: io.BytesIO, end: int, makers: Makers) -> object:
    value = reader.load()
    while file.tell() < end:
        for made, state in reader.load():
            makers.fill(made, state)
    if file.tell() > end:
        raise Lost("it is damaged")
    return value


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
    """Writes variables as plain data; otherwise as `PickleWriter`."""

    def __init__(self, file: Any, known: Names, units: Units) -> None:
        self._file = file
        self._known = known
        self._units = units
        self._values = 0

    def add(self, value: object) -> None:
        """Write one variable; raises `Unkeepable` and `TooLarge`."""
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
        # The code may have set all of them to anything.
        parts: list[object] = [function.__name__, function.__qualname__, function.__doc__]
        parts += [function.__defaults__, function.__kwdefaults__]
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


def read_plain(data: bytes, sizes: Mapping[str, int], makers: Makers) -> dict[str, Exception]:
    """Read variables that a `PlainWriter` wrote, as bytes that anybody may forge; otherwise as `read_pickles`."""
    lost: dict[str, Exception] = {}
    at = 0
    for name, size in sizes.items():
        part, at = data[at : at + size], at + size
        try:
            read_bounded(part, _MAX_LEVELS)
            kind, *parts = decode_value(part, AttrDict)
            makers.namespace[name] = _KINDS[kind](makers, *parts)
        except ImportError as error:
            lost[name] = error
        except Exception:  # noqa: BLE001  # whatever is wrong with one, the rest is there
            lost[name] = Lost("it is damaged")
    return lost


def _make_function(makers: Makers, *parts: Any) -> FunctionType:
    *place, name, qualname, doc, defaults, keywords = parts
    made = makers.function(*place, name, qualname, doc, ())
    made.__defaults__, made.__kwdefaults__ = defaults, keywords
    return made


_KINDS: Mapping[str, Callable[..., object]] = {
    "data": lambda _, value: value,
    "name": Makers.name,
    "function": _make_function,
}


# --- a session ------------------------------------------------------------------------------------

VERSION = b"langchain-ptc session 4\n"
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
        variables = dict(variables)
        asyncio, data = frozenset(asyncio), memoryview(data).tobytes()
    except (ValueError, TypeError):
        raise Unreadable("they are damaged") from None
    if not all(_is_variable(n) and type(s) is int and s > 0 for n, s in variables.items()):
        raise Unreadable("they are damaged")
    if pickled is not False and not pickles:
        raise Unreadable("they were kept at level kernel, and can be read only there")
    return Stored(units, variables, asyncio, data, pickled is not False)


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
        self._writer = PickleWriter if pickles else PlainWriter
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
        self.names = frozenset(self._stored.variables)
        """The variables that the code has without binding them."""
        self.private_names = frozenset(n for unit in self._stored.units for n in unit.private)
        """Private attribute names that the code of the session defines."""
        self.asyncio_names = self._stored.asyncio
        """The variables that hold `asyncio` or something from it."""

    def restore(self, namespace: dict[str, object], known: Names, compile_source: Compile) -> None:
        """Put the variables into the globals of the code, over what it is given."""
        self._given = dict(namespace)
        stored = self._stored
        makers = Makers(stored, known, self._units, namespace, compile_source)
        read = read_pickles if stored.pickled else read_plain
        lost: dict[str, list[str]] = {}
        for name, error in read(stored.data, stored.variables, makers).items():
            is_told = isinstance(error, ImportError | Lost)
            why = str(error) if is_told else f"making it raised {type(error).__name__}"
            lost.setdefault(why, []).append(name)
        for why, names_lost in list(lost.items())[:_MAX_NOTES]:
            self.notes.append(
                f"{_listed(names_lost)} of an earlier execution could not be read: {why}"
            )

    def keep(
        self, namespace: Mapping[str, object], known: Names, code: Any, source: str, mode: Mode
    ) -> bytes:
        """Return the variables in the globals of the code, after it, as bytes; see `notes` for what is not kept."""
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
        notes = [f"`{name}` was not kept: {why}" for name, why in dropped.items()]
        self.notes += notes[:_MAX_NOTES]
        if rest := list(dropped)[_MAX_NOTES:]:
            self.notes.append(f"nor were kept: {_listed(rest)}")
        return made or b""

    def _write(
        self, wanted: dict[str, object], known: Names, dropped: dict[str, str]
    ) -> bytes | None:
        """Return the bytes; None if some of `wanted` cannot be kept, which are removed from it."""
        sink = _Sink(self._max_bytes - _HEADER_BYTES)
        self._units.used = {}
        shared = self._writer(sink, known, self._units)
        sizes: dict[str, int] = {}
        fails = False
        for name, value in list(wanted.items()):
            # One that fails leaves traces in what is shared: the others are only looked at then.
            writer = self._writer(sink, known, self._units) if fails else shared
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
            parts = self._pickles, stored, [*sizes.items()], asyncio, sink.taken()
            body = encode_value(parts)
            made = b"".join((VERSION, hashlib.sha256(body).digest(), body))
            over = len(made) - self._max_bytes
            if over <= 0:
                return made
        self._drop_largest(over, wanted, sizes, dropped)
        return None

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


def _listed(given: Iterable[str]) -> str:
    return cut(", ".join(f"`{name}`" for name in given), 1_000)


def _is_variable(name: object) -> bool:
    """Whether code may have a variable of this name, and it is not one of Python's own."""
    if type(name) is not str or name.startswith(names.RESERVED) or name in _NEVER:
        return False
    if not name.isidentifier():
        return name.startswith("/files/") and is_file_name(name.removeprefix("/files/"))
    if names.is_dunder(name):
        return name in names.SPECIAL_VARIABLES
    return not names.is_refused(name)


def _read_unit(given: Any, max_chars: int) -> Unit:
    source, mode, private = given
    if type(source) is not str or len(source) > max_chars or mode not in ("sync", "async"):
        raise ValueError("a malformed unit")
    if not all(type(name) is str and name.startswith("_") for name in private):
        raise ValueError("malformed private names")
    return Unit(source, mode, frozenset(private))
