"""What the pickle of a session may call: a table for values of the standard library, and `Makers`.

A value of the table is kept by a callable and its arguments, and code could call the same. `Makers` are
for what the code has made itself. Nothing here calls what code could have defined, but for the
conversions of a value's own class.
"""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import datetime
import enum
import fractions
import functools
import io
import ipaddress
import operator
import random
import re
import statistics
import string
import struct
import time
import types
import typing
import uuid
import xml.etree.ElementTree as ET  # nothing is parsed
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from langchain_ptc.sandbox.language import facades
from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import classes
from langchain_ptc.sandbox.sessions.source import Compile, Names, Place, Unit, Units
from langchain_ptc.sandbox.wire.values import Record

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def _make_pattern(text: Any, flags: int) -> re.Pattern[Any]:
    return re.compile(text, flags & ~re.DEBUG)


def _make_file(content: Any, place: int) -> io.StringIO | io.BytesIO:
    file = io.BytesIO(content) if type(content) is bytes else io.StringIO(content, newline="")
    file.seek(place)
    return file


def _make_random(state: Any) -> random.Random:
    generator = random.Random()  # noqa: S311  # it is what the code had
    generator.setstate(state)
    return generator


def _make_element(tag: Any, attributes: Any, text: Any, tail: Any, children: Any) -> ET.Element:
    element = ET.Element(tag, attributes)
    element.text, element.tail = text, tail
    element.extend(children)
    return element


def _make_cached_property(function: Any, name: Any) -> facades.cached_property:
    made = facades.cached_property(function)
    made.attrname = name
    return made


def _make_alias(origin: Any, args: tuple[Any, ...]) -> Any:
    return origin[args[0] if len(args) == 1 else args]


def _make_union(args: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.or_, args)


def _make_type_variable(
    name: str, constraints: tuple[Any, ...], bound: Any, covariant: bool, contravariant: bool
) -> typing.TypeVar:
    return typing.TypeVar(
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )


def _make_proxy(values: dict[Any, Any]) -> types.MappingProxyType[Any, Any]:
    return types.MappingProxyType(values)


def _make_method(function: Any, instance: Any) -> types.MethodType:
    return types.MethodType(function, instance)


def _make_lru(function: Any, size: int | None, typed: bool) -> Any:
    return functools.lru_cache(size, typed)(function)


def _make_partial(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return functools.partial(function, *args, **keywords)


_ORDERING: dict[str, Any] = {
    function.__qualname__: function  # `total_ordering` changes the name
    for pairs in functools._convert.values()  # type: ignore[attr-defined]  # tests hold it
    for _, function in pairs
}


def _make_ordering(name: str) -> Any:
    return _ORDERING[name]


def _take_lru(value: Any) -> Call:
    options = value.cache_parameters()
    return _make_lru, (value.__wrapped__, options["maxsize"], options["typed"])


def _take_type_variable(value: typing.TypeVar) -> Call:
    parts = value.__name__, value.__constraints__, value.__bound__
    return _make_type_variable, (*parts, value.__covariant__, value.__contravariant__)


def _take_alias(value: Any) -> Call:
    return _make_alias, (typing.get_origin(value), typing.get_args(value))


def _take_file(value: Any) -> Call:
    return _make_file, (value.getvalue(), value.tell())


def _by_text(cls: Callable[[str], object]) -> Callable[[Any], Call]:
    return lambda value: (cls, (str(value),))


def _by(make: Callable[..., Any], *attributes: str) -> Callable[[Any], Call]:
    return lambda value: (make, tuple([getattr(value, name) for name in attributes]))


TAKERS: dict[type, Callable[[Any], Call]] = {
    array.array: lambda value: (array.array, (value.typecode, value.tolist())),
    zoneinfo.ZoneInfo: _by(zoneinfo.ZoneInfo, "key"),
    uuid.UUID: _by_text(uuid.UUID),
    ipaddress.IPv4Network: _by_text(ipaddress.IPv4Network),
    ipaddress.IPv6Network: _by_text(ipaddress.IPv6Network),
    ipaddress.IPv4Interface: _by_text(ipaddress.IPv4Interface),
    ipaddress.IPv6Interface: _by_text(ipaddress.IPv6Interface),
    re.Pattern: _by(_make_pattern, "pattern", "flags"),
    struct.Struct: _by(struct.Struct, "format"),
    string.Template: _by(string.Template, "template"),
    random.Random: lambda value: (_make_random, (value.getstate(),)),
    statistics.NormalDist: _by(statistics.NormalDist, "mean", "stdev"),
    io.StringIO: _take_file,
    io.BytesIO: _take_file,
    ET.Element: lambda v: (_make_element, (v.tag, dict(v.attrib), v.text, v.tail, list(v))),
    types.MappingProxyType: lambda value: (_make_proxy, (dict(value),)),
    types.MethodType: _by(_make_method, "__func__", "__self__"),
    property: _by(property, "fget", "fset", "fdel", "__doc__"),
    staticmethod: _by(staticmethod, "__func__"),
    classmethod: _by(classmethod, "__func__"),
    functools.partial: _by(_make_partial, "func", "args", "keywords"),
    functools._lru_cache_wrapper: _take_lru,
    facades.cached_property: _by(_make_cached_property, "func", "attrname"),
    types.GenericAlias: _take_alias,
    types.UnionType: _by(_make_union, "__args__"),
    typing.TypeVar: _take_type_variable,
    typing.ForwardRef: _by(str, "__forward_arg__"),
    typing.NewType: _by(typing.NewType, "__name__", "__supertype__"),
    dataclasses.InitVar: _by(dataclasses.InitVar, "type"),
    collections.ChainMap: lambda value: (collections.ChainMap, tuple(value.maps)),
    collections.UserList: _by(collections.UserList, "data"),
    collections.UserDict: _by(collections.UserDict, "data"),
}
"""By exact class, since a subclass may be anything: returns the call that makes a value again."""
for _alias in (
    typing.List[int],  # noqa: UP006
    typing.Union[int, str],  # noqa: UP007  # types.UnionType from Python 3.14 on
    typing.Callable[[int], int],
    typing.Literal[1],
    typing.Annotated[int, 1],
    typing.Concatenate[int, ...],
    collections.abc.Callable[[int], int],
):
    TAKERS.setdefault(type(_alias), _take_alias)

MAPPINGS = frozenset(
    {dict, Record, collections.OrderedDict, collections.defaultdict, collections.Counter}
)
AS_PICKLE_DOES: frozenset[type] = MAPPINGS | {
    collections.deque,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    Decimal,
    fractions.Fraction,
    complex,
    range,
    slice,
    time.struct_time,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    operator.itemgetter,
}
"""Classes whose objects pickle writes as the class itself, arguments and items."""

_CALLABLES: tuple[Callable[..., Any], ...] = (
    *(value for name, value in list(globals().items()) if name.startswith("_make_")),
    *AS_PICKLE_DOES,
    *(array.array, zoneinfo.ZoneInfo, uuid.UUID, struct.Struct, string.Template),
    *(ipaddress.IPv4Network, ipaddress.IPv6Network),
    *(ipaddress.IPv4Interface, ipaddress.IPv6Interface),
    *(statistics.NormalDist, property, staticmethod, classmethod, str),
    *(typing.NewType, dataclasses.InitVar),
    *(collections.ChainMap, collections.UserList, collections.UserDict),
    *(contextlib.contextmanager, contextlib.asynccontextmanager),
)
CALLABLES: Mapping[tuple[str, str], Callable[..., Any]] = {
    (made.__module__, made.__qualname__): made for made in _CALLABLES
}
"""What these values are made by, as pickle names it: nothing that code could not call itself."""


# --- functions that the standard library makes from functions of the code ---------------------------


def _nothing() -> Any:
    """Do nothing: it is decorated to find out what a decorator makes."""


def _code_of(function: Any) -> object:
    return function.__code__


_MADE_BY: Mapping[object, Callable[[Any], Any]] = {
    _code_of(make(_nothing)): make
    for make in (contextlib.contextmanager, contextlib.asynccontextmanager)
}


def take_made_function(function: types.FunctionType) -> Call | None:
    """Return the call that makes a function of the standard library's making again; None for others."""
    make = _MADE_BY.get(function.__code__)
    if make is not None:
        return make, (function.__wrapped__,)  # type: ignore[attr-defined]  # both set it
    if _ORDERING.get(function.__qualname__) is function:
        return _make_ordering, (function.__qualname__,)
    return None


class Makers:
    """What a pickle may call by name: each makes what code could have made itself.

    Args:
        units: The units of the session.
        known: Gives what is kept by name.
        all_units: Takes in the functions of the units, so that they can be kept again.
        namespace: Globals of the code.
        compile_source: Compiles a unit by the policy.
        libraries: Whether objects of libraries may be made.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        known: Names,
        all_units: Units,
        namespace: dict[str, object],
        compile_source: Compile,
        libraries: bool,
    ) -> None:
        self._units = units
        self._known = known
        self._all_units = all_units
        self._namespace = namespace
        self._compile = compile_source
        self.libraries = libraries
        self._slots: dict[type, classes.Slots] = {}
        makers = {(__name__, f"Makers.{name}"): getattr(self, name) for name in _NAMES_OF_MAKERS}
        self.callables = {**CALLABLES, **makers}

    def _slots_of(self, cls: type) -> classes.Slots:
        if cls not in self._slots:
            self._slots[cls] = classes.slots_of_class(cls)
        return self._slots[cls]

    def find(self, module: str, name: str) -> Any:
        """Return what a pickle names.

        Raises:
            ImportError: It may not name that.
        """
        if (found := self.callables.get((module, name))) is not None:
            return found
        if self.libraries:
            return self._known.get_of_library(module, name)
        raise ImportError(f"objects of {module.partition('.')[0]} are kept only at level kernel")

    def name(self, module: Any, name: Any) -> object:
        """Look a name of a module up, or the module, as an import statement does."""
        return self._known.get(module, name)

    def bound(self, owner: Any, name: Any) -> object:
        """Read an attribute, as code does."""
        return self._namespace["_ptc_getattr"](owner, name)  # type: ignore[operator]  # a function

    def cell(self) -> types.CellType:
        """Make an empty cell of a closure."""
        return types.CellType()

    def function(
        self,
        unit: Any,
        place: str,
        line: Any,
        number: Any,
        name: Any,
        qualname: Any,
        doc: Any,
        cells: Any,
    ) -> types.FunctionType:
        """Make a function of its source."""
        source = self._units[unit]
        if not source.codes:
            self._all_units.compile(source, self._compile)
        code = source.codes[Place(place, line, number)]
        if any(n.startswith(".") or n == "__classdict__" for n in code.co_freevars):
            raise ValueError("a function of a kind that is not kept")
        made = types.FunctionType(code, self._namespace, str(name), None, tuple(cells))
        made.__qualname__, made.__module__, made.__doc__ = str(qualname), "__main__", doc
        return made

    def new_class(self, parts: Any) -> type:
        """Make a class without its attributes."""
        return classes.make_class(parts, libraries=self.libraries)

    def member(self, cls: Any, name: Any, value: Any) -> Any:
        """Look a member of an enumeration up, or combine flags."""
        if not issubclass(type(cls), enum.EnumMeta):
            raise TypeError("the class of a member is not an enumeration")
        return cls[name] if name in cls.__members__ else cls(value)

    def exception(self, cls: Any, args: Any) -> BaseException:
        """Make an exception, whose `__init__` does not run if code has defined it."""
        if not issubclass(type(cls), type) or not issubclass(cls, BaseException):
            raise TypeError("the class of an exception is not an exception")
        built_in = next(base for base in type.mro(cls) if not base.__flags__ & classes.HEAP_TYPE)
        made: BaseException = built_in.__new__(cls, *args)
        if cls is built_in:
            built_in.__init__(made, *args)
        BaseException.args.__set__(made, tuple(args))  # type: ignore[attr-defined]  # a descriptor
        return made

    def instance(
        self, cls: Any, base: Any = "object", content: Any = (), attributes: Any = None
    ) -> Any:
        """Make an instance of a class of the code, whose `__init__` does not run."""
        built_in = classes.BASES[base]
        own = is_own(cls) or (built_in is tuple and hasattr(cls, "_fields"))
        if not issubclass(type(cls), type) or not own or not issubclass(cls, built_in):
            raise TypeError("the class of an instance is not one of the code")
        new: Any = built_in.__new__
        made = new(cls, *content)
        if attributes:
            classes.put_attributes(made, attributes, self._slots_of(type(made)))
        return made

    def fill(self, made: Any, state: Any) -> None:
        """Put back what an object holds.

        Raises:
            TypeError: It is none that the code could have made.
        """
        kind = type(made)
        if kind is types.CellType:
            (made.cell_contents,) = state
        elif kind is types.FunctionType and made.__globals__ is self._namespace:
            made.__defaults__, made.__kwdefaults__, annotations, attributes = state
            made.__annotations__ = classes.checked_names(annotations)
            classes.put_attributes(made, attributes, {})
        elif issubclass(kind, type) and is_own(made):
            classes.fill_class(made, state)
        elif not issubclass(kind, type) and (is_own(made) or issubclass(kind, BaseException)):
            attributes, content = state
            classes.put_attributes(made, attributes, self._slots_of(type(made)))
            classes.put_content(classes.content_base(kind), made, content)
        else:
            raise TypeError("an object that the code has not made")


_NAMES_OF_MAKERS = [
    name
    for name, value in vars(Makers).items()
    if type(value) is types.FunctionType and not name.startswith("_") and name != "find"
]
BY_OWN_NAME = {
    *map(id, CALLABLES.values()),
    *(id(getattr(Makers, name)) for name in _NAMES_OF_MAKERS),
}
"""What pickle writes by name: its module is part of the format."""
