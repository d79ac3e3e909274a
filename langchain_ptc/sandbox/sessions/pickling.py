"""Variables as pickles, for a worker that the kernel confines: reading one can do what the code can, and no more.

What the code has made itself is not left to pickle: a function is a place in its source, a class is taken
apart, and of an instance its attributes are written. Each of them is in the pickle a call of a method of
`Makers`. Nothing that code has defined is called while variables are written.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import enum
import functools
import io
import itertools
import pickle
import pickletools
import struct
import types
import typing
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_ptc.sandbox.language import modules
from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import classes
from langchain_ptc.sandbox.sessions.source import Lost, Names, Restored, Units
from langchain_ptc.sandbox.wire.values import AttrDict
from langchain_ptc.wording import with_article

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


class Unkeepable(Exception):
    """An object cannot be kept.

    Attributes:
        value: The object.
        what: What it is, in the singular and in the plural.
    """

    def __init__(self, value: object, what: tuple[str, str]) -> None:
        super().__init__(what[0])
        self.value = value
        self.what = what


class TooLarge(Exception):
    """A variable alone takes more than all of them may."""


_NAMES_OF_KINDS: Sequence[tuple[type | tuple[type, ...], str, str]] = (
    (types.GeneratorType, "a generator", "generators"),
    (types.AsyncGeneratorType, "an asynchronous generator", "asynchronous generators"),
    (types.CoroutineType, "a coroutine that was not awaited", "coroutines"),
    (asyncio.Task, "a task", "tasks"),
    ((asyncio.Future, concurrent.futures.Future), "a future", "futures"),
)
_NO_CONTENT = "asyncio", "queue", "threading", "_thread", "_queue"
_FILES = io.StringIO, io.BytesIO
_NAMED_KINDS = (type, types.FunctionType)
"""What pickle writes as a module and a name in it."""


def _package(cls: type) -> str:
    return str(cls.__module__).partition(".")[0]


def refuse(value: object) -> Unkeepable:
    """Build the error that says that `value` cannot be kept."""
    cls = type(value)
    for kind, one, many in _NAMES_OF_KINDS:
        if issubclass(cls, kind):
            return Unkeepable(value, (one, many))
    name = cls.__qualname__
    one = f"{with_article(name)} object"
    if _package(cls) in _NO_CONTENT:
        return Unkeepable(value, (one, "locks, queues and the like"))
    if hasattr(cls, "__next__"):
        return Unkeepable(value, (f"an open iterator ({name})", "open iterators"))
    if isinstance(value, types.FunctionType):
        return Unkeepable(value, (f"the function {value.__name__!r}", "functions of this kind"))
    if isinstance(value, type):
        return Unkeepable(value, (f"the class {value.__name__!r}", "classes of this kind"))
    return Unkeepable(value, (one, f"{name} objects"))


# --- what pickle does not know --------------------------------------------------------------------


_OF_TYPES = {
    made.__name__: made for made in (types.CellType, types.MappingProxyType, types.MethodType)
}


def _make_of_types(name: str, *args: Any) -> Any:
    """Make an object of a class that cannot be imported by the name that it has."""
    return _OF_TYPES[name](*args)


def _make_cached_property(function: Any, name: Any) -> modules.cached_property:
    made = modules.cached_property(function)
    made.attrname = name
    return made


def _make_type_variable(name: str, constraints: tuple[Any, ...], *options: Any) -> typing.TypeVar:
    bound, covariant, contravariant = options
    return typing.TypeVar(
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )


def _make_lru(function: Any, size: int | None, typed: bool) -> Any:
    return functools.lru_cache(size, typed)(function)


def _take_lru(value: Any) -> tuple[Any, ...]:
    options = value.cache_parameters()
    return _make_lru, (value.__wrapped__, options["maxsize"], options["typed"])


def _by(make: Callable[..., Any], *attributes: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: (make, tuple([getattr(value, name) for name in attributes]))


_TYPE_VARIABLE = "name", "constraints", "bound", "covariant", "contravariant"
_TAKERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    zoneinfo.ZoneInfo: _by(zoneinfo.ZoneInfo, "key"),
    struct.Struct: _by(struct.Struct, "format"),
    types.MappingProxyType: lambda value: (_make_of_types, ("mappingproxy", dict(value))),
    types.MethodType: lambda value: (_make_of_types, ("method", value.__func__, value.__self__)),
    property: _by(property, "fget", "fset", "fdel", "__doc__"),
    staticmethod: _by(staticmethod, "__func__"),
    classmethod: _by(classmethod, "__func__"),
    functools._lru_cache_wrapper: _take_lru,
    modules.cached_property: _by(_make_cached_property, "func", "attrname"),
    typing.TypeVar: _by(_make_type_variable, *(f"__{name}__" for name in _TYPE_VARIABLE)),
    typing.ForwardRef: _by(str, "__forward_arg__"),
    typing.NewType: _by(typing.NewType, "__name__", "__supertype__"),
}
"""By exact class, since a subclass may be anything: returns the call that makes a value again."""


def _nothing() -> Any:
    """Do nothing: it is decorated to find out what a decorator makes."""


_MADE_BY: Mapping[object, Callable[[Any], Any]] = {
    make(_nothing).__code__: make
    for make in (contextlib.contextmanager, contextlib.asynccontextmanager)
}
_ORDERING: dict[str, Any] = {
    function.__qualname__: function  # `total_ordering` changes the name
    for pairs in functools._convert.values()  # type: ignore[attr-defined]  # tests hold it
    for _, function in pairs
}


def _make_ordering(name: str) -> Any:
    return _ORDERING[name]


def _take_made_function(function: types.FunctionType) -> tuple[Any, ...] | None:
    """Return the call that makes a function of the standard library's making again; None for others."""
    if (make := _MADE_BY.get(function.__code__)) is not None:
        return make, (function.__wrapped__,)  # type: ignore[attr-defined]  # both set it
    if _ORDERING.get(function.__qualname__) is function:
        return _make_ordering, (function.__qualname__,)
    return None


# --- out ------------------------------------------------------------------------------------------


class PickleWriter(pickle.Pickler):
    """Writes variables into one pickle, so that what they share stays shared.

    Args:
        file: Takes the bytes.
        known: What the code has from modules.
        units: The functions that the code has defined.
    """

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
        """Write one variable; after an error the whole pickle is of no use.

        Raises:
            Unkeepable: It is or holds something that cannot be kept.
            TooLarge: It takes more than its file does.
        """
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
        if (take := _TAKERS.get(kind)) is not None:
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
        kind = type(value)
        if _package(kind) in _NO_CONTENT or (hasattr(kind, "__next__") and kind not in _FILES):
            raise refuse(value)
        if isinstance(value, _NAMED_KINDS) and not self._known.is_of_library(value):
            raise refuse(value)
        return NotImplemented

    def _cell(self, cell: types.CellType) -> Any:
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            return _make_of_types, ("cell",)
        return _make_of_types, ("cell",), (content,), None, None, Makers.fill

    def _function(self, function: types.FunctionType) -> Any:
        found = self._units.use(function)
        if found is None:
            return _take_made_function(function) or self._of_library(function)
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
        taken = classes.take_class(cls, lambda function: self._units.find(function) is not None)
        if taken is None:
            raise refuse(cls)
        return Makers.new_class, (taken[0],), taken[1], None, None, Makers.fill

    def _instance(self, value: Any) -> Any:
        cls = type(value)
        if issubclass(type(cls), enum.EnumMeta):
            return Makers.member, (cls, value._name_, value._value_)
        if cls not in self._shapes:
            base = classes.content_base(cls) if is_own(cls) else None
            self._shapes[cls] = base, classes.may_be_empty(cls)
        base, may_be_empty = self._shapes[cls]
        if base is None:
            return self._of_library(value)
        attributes = classes.take_attributes(value)
        made, content = classes.take_content(base, value)
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


class Makers(Restored):
    """What a pickle may call by name, besides what code may import: each makes what code has made itself."""

    def find(self, module: str, name: str) -> Any:
        """Return what a pickle names.

        Raises:
            ImportError: It may not name that.
        """
        found = _CALLABLES.get((module, name))
        if found is None:
            return self.known.get_of_library(module, name)
        return getattr(self, found.__name__) if found in _MAKERS else found

    def new_class(self, parts: Any) -> type:
        """Make a class without its attributes."""
        return classes.make_class(parts)

    def member(self, cls: Any, name: Any, value: Any) -> Any:
        """Look a member of an enumeration up, or combine flags."""
        return cls[name] if name in cls.__members__ else cls(value)

    def instance(
        self, cls: Any, base: Any, content: Any, attributes: Mapping[str, object] | None = None
    ) -> Any:
        """Make an instance of a class of the code, whose `__init__` does not run."""
        made = base.__new__(cls, *content)
        classes.fill_instance(made, attributes or {}, ())
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
            classes.fill_class(made, state)
        else:
            classes.fill_instance(made, *state)


_MAKERS: Sequence[Any] = (
    *(Makers.name, Makers.function, Makers.new_class),
    *(Makers.member, Makers.instance, Makers.fill),
)
_CALLABLES: Mapping[tuple[str, str], Any] = {
    (make.__module__, make.__qualname__): make
    for make in (
        *(
            *_MAKERS,
            _make_cached_property,
            _make_lru,
            _make_ordering,
            _make_type_variable,
            AttrDict,
        ),
        *(_make_of_types, zoneinfo.ZoneInfo, struct.Struct, str, typing.NewType),
        *(property, staticmethod, classmethod),
        *(contextlib.contextmanager, contextlib.asynccontextmanager),
    )
}
_CALLABLE_IDS = frozenset(map(id, _CALLABLES.values()))
_LOST = object()


class _Reader(pickle.Unpickler):
    """Reads any pickle, as long as nothing in it fails."""

    def __init__(self, file: io.BytesIO, makers: Makers) -> None:
        super().__init__(file)
        self._makers = makers

    def find_class(self, module: str, name: str) -> Any:
        return self._makers.find(module, name)


class _Memo(dict[int, object]):
    """The objects of a pickle by their numbers, of which some could not be read."""

    def __getitem__(self, number: int) -> object:
        if (found := super().__getitem__(number)) is _LOST:
            raise Lost("it shares data with a variable that could not be read")
        return found

    def lose(self, first: int, chunk: bytes) -> None:
        """Number the objects of a chunk that failed, so that those after it have their numbers.

        Raises:
            ValueError: The instructions cannot be followed.
        """
        count = 0
        with io.BytesIO(chunk) as file:
            while file.tell() < len(chunk):
                count += sum(code.name == "MEMOIZE" for code, _, _ in pickletools.genops(file))
        for number in range(first, first + count):
            if type(self.get(number)) is not str:  # what is half made must not be seen
                self[number] = _LOST


_Slow: Any = pickle._Unpickler  # the one of Python, whose memo can be replaced


class _PatientReader(_Slow):  # type: ignore[misc]
    """Reads a pickle in which a variable fails."""

    def __init__(self, file: io.BytesIO, makers: Makers) -> None:
        super().__init__(file)
        self.memo = _Memo()
        self._makers = makers

    def find_class(self, module: str, name: str) -> Any:
        return self._makers.find(module, name)


def read_pickles(data: bytes, sizes: Mapping[str, int], makers: Makers) -> dict[str, Exception]:
    """Read variables that a `PickleWriter` wrote into the globals of the code.

    Args:
        data: The pickles.
        sizes: Bytes of each variable in it.
        makers: What it may call.

    Returns:
        What is wrong with each that cannot be read.
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
