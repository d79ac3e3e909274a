"""Values that are told by their class and a few parts: dates, numbers, patterns, partial calls.

Each class that stands here has two functions: one takes an object apart, the other makes one of the
parts. Neither calls anything that code could have defined, but for the conversions of a value's own
class.
"""

from __future__ import annotations

import array
import base64
import binascii
import collections
import contextlib
import dataclasses
import datetime
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
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from langchain_ptc.sandbox.language import facades


class Form(NamedTuple):
    """How the values of one class are kept."""

    tag: str
    take: Callable[[Any], Sequence[Any]]
    """Takes an object apart."""
    make: Callable[..., Any] | None
    """Makes an object of the parts; None if that needs the program."""


def to_text(data: bytes | bytearray) -> str:
    """Write bytes as text."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def to_bytes(text: str) -> bytes:
    """Read bytes that `to_text` wrote."""
    return base64.b64decode(text, validate=True)


def _naive(value: datetime.datetime) -> list[object]:
    return [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]


def _make_datetime(text: str, fold: int, zone: datetime.tzinfo | None) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _make_time(text: str, fold: int, zone: datetime.tzinfo | None) -> datetime.time:
    return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _take_file(value: Any) -> list[object]:
    content = value.getvalue()
    text = to_text(content) if isinstance(content, bytes) else content
    return [text, value.tell()]


def _make_text_file(text: str, place: int) -> io.StringIO:
    file = io.StringIO(text, newline="")
    file.seek(place)
    return file


def _make_byte_file(text: str, place: int) -> io.BytesIO:
    file = io.BytesIO(to_bytes(text))
    file.seek(place)
    return file


def _make_random(state: Any) -> random.Random:
    generator = random.Random()  # noqa: S311  # it is what the code had
    generator.setstate(state)
    return generator


def _take_struct_time(value: time.struct_time) -> list[object]:
    return [[*value], value.tm_zone, value.tm_gmtoff]


def _make_struct_time(items: Any, zone: Any, offset: Any) -> time.struct_time:
    return time.struct_time(items, {"tm_zone": zone, "tm_gmtoff": offset})


def _make_element(tag: Any, attributes: Any, text: Any, tail: Any, children: Any) -> ET.Element:
    element = ET.Element(tag, attributes)
    element.text, element.tail = text, tail
    element.extend(children)
    return element


def _make_cached_property(function: Any, name: Any) -> facades.cached_property:
    made = facades.cached_property(function)
    made.attrname = name
    return made


def _take_alias(value: Any) -> list[object]:
    return [typing.get_origin(value), typing.get_args(value)]


def _make_alias(origin: Any, args: tuple[Any, ...]) -> Any:
    return origin[args[0] if len(args) == 1 else args]


def _make_union(args: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.or_, args)


def _take_type_variable(value: typing.TypeVar) -> list[object]:
    variance = value.__covariant__, value.__contravariant__
    return [value.__name__, value.__constraints__, value.__bound__, *variance]


def _make_type_variable(
    name: str, constraints: tuple[Any, ...], bound: Any, covariant: bool, contravariant: bool
) -> typing.TypeVar:
    return typing.TypeVar(
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )


def _take_lru(value: Any) -> list[object]:
    options = value.cache_parameters()
    return [value.__wrapped__, options["maxsize"], options["typed"]]


def _make_lru(function: Any, size: int | None, typed: bool) -> Any:
    return functools.lru_cache(size, typed)(function)


def _take_property(value: property) -> list[object]:
    return [value.fget, value.fset, value.fdel, value.__doc__]


def _make_partial(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return functools.partial(function, *args, **keywords)


def _take_built_in(value: Any) -> list[object]:
    return [value.__self__, value.__name__]


def _take_descriptor(value: Any) -> list[object]:
    return [value.__objclass__, value.__name__]


def _text_form(tag: str, make: Callable[[Any], Any]) -> Form:
    return Form(tag, lambda value: [str(value)], make)


_alias = Form("alias", _take_alias, _make_alias)
_bound_in_c = Form("bound", _take_built_in, None)
_in_class = Form("bound", _take_descriptor, None)

FORMS: dict[type, Form] = {
    int: Form("int", lambda value: [hex(value)], lambda text: int(text, 16)),
    complex: Form("complex", lambda value: [value.real, value.imag], complex),
    range: Form("range", lambda value: [value.start, value.stop, value.step], range),
    slice: Form("slice", lambda value: [value.start, value.stop, value.step], slice),
    bytes: Form("bytes", lambda value: [to_text(value)], to_bytes),
    array.array: Form("array", lambda value: [value.typecode, value.tolist()], array.array),
    datetime.datetime: Form("datetime", _naive, _make_datetime),
    datetime.date: Form("date", lambda v: [v.isoformat()], datetime.date.fromisoformat),
    datetime.time: Form(
        "time", lambda v: [v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo], _make_time
    ),
    datetime.timedelta: Form(
        "timedelta", lambda v: [v.days, v.seconds, v.microseconds], datetime.timedelta
    ),
    datetime.timezone: Form("timezone", lambda v: v.__getinitargs__(), datetime.timezone),
    zoneinfo.ZoneInfo: Form("zone", lambda value: [value.key], zoneinfo.ZoneInfo),
    time.struct_time: Form("struct_time", _take_struct_time, _make_struct_time),
    Decimal: _text_form("decimal", Decimal),
    fractions.Fraction: Form(
        "fraction", lambda v: [v.numerator, v.denominator], fractions.Fraction
    ),
    uuid.UUID: _text_form("uuid", uuid.UUID),
    ipaddress.IPv4Address: _text_form("ipv4", ipaddress.IPv4Address),
    ipaddress.IPv6Address: _text_form("ipv6", ipaddress.IPv6Address),
    ipaddress.IPv4Network: _text_form("ipv4net", ipaddress.IPv4Network),
    ipaddress.IPv6Network: _text_form("ipv6net", ipaddress.IPv6Network),
    ipaddress.IPv4Interface: _text_form("ipv4if", ipaddress.IPv4Interface),
    ipaddress.IPv6Interface: _text_form("ipv6if", ipaddress.IPv6Interface),
    re.Pattern: Form(
        "pattern",
        lambda value: [value.pattern, value.flags],
        lambda text, flags: re.compile(text, flags & ~re.DEBUG),
    ),
    struct.Struct: Form("struct", lambda value: [value.format], struct.Struct),
    string.Template: Form("template", lambda value: [value.template], string.Template),
    random.Random: Form("random", lambda value: [value.getstate()], _make_random),
    statistics.NormalDist: Form("normal", lambda v: [v.mean, v.stdev], statistics.NormalDist),
    io.StringIO: Form("text_file", _take_file, _make_text_file),
    io.BytesIO: Form("byte_file", _take_file, _make_byte_file),
    ET.Element: Form(
        "element", lambda v: [v.tag, dict(v.attrib), v.text, v.tail, list(v)], _make_element
    ),
    types.MappingProxyType: Form("proxy", lambda value: [dict(value)], types.MappingProxyType),
    types.MethodType: Form("method", lambda v: [v.__func__, v.__self__], types.MethodType),
    types.BuiltinMethodType: _bound_in_c,
    types.MethodWrapperType: _bound_in_c,
    types.MethodDescriptorType: _in_class,
    types.ClassMethodDescriptorType: _in_class,
    types.WrapperDescriptorType: _in_class,
    property: Form("property", _take_property, property),
    staticmethod: Form("staticmethod", lambda value: [value.__func__], staticmethod),
    classmethod: Form("classmethod", lambda value: [value.__func__], classmethod),
    functools.partial: Form(
        "partial", lambda value: [value.func, value.args, value.keywords], _make_partial
    ),
    functools._lru_cache_wrapper: Form("lru_cache", _take_lru, _make_lru),
    facades.cached_property: Form(
        "cached_property", lambda value: [value.func, value.attrname], _make_cached_property
    ),
    operator.itemgetter: Form(
        "itemgetter", lambda value: value.__reduce__()[1], operator.itemgetter
    ),
    types.GenericAlias: _alias,
    types.UnionType: Form("union", lambda value: [value.__args__], _make_union),
    typing.TypeVar: Form("type_variable", _take_type_variable, _make_type_variable),
    typing.ForwardRef: Form("forward", lambda value: [value.__forward_arg__], lambda text: text),
    typing.NewType: Form(
        "new_type", lambda value: [value.__name__, value.__supertype__], typing.NewType
    ),
    dataclasses.InitVar: Form("init_var", lambda value: [value.type], dataclasses.InitVar),
    collections.ChainMap: Form("chain_map", lambda value: [*value.maps], collections.ChainMap),
    collections.UserList: Form("user_list", lambda value: [value.data], collections.UserList),
    collections.UserDict: Form("user_dict", lambda value: [value.data], collections.UserDict),
    collections.UserString: Form("user_string", lambda value: [value.data], collections.UserString),
}
"""By class, exactly: a subclass may be anything."""

for _form in (
    typing.List[int],  # noqa: UP006
    typing.Union[int, str],  # noqa: UP007  # types.UnionType from Python 3.14 on
    typing.Callable[[int], int],
    typing.Literal[1],
    typing.Annotated[int, 1],
    typing.Concatenate[int, ...],
):
    FORMS.setdefault(type(_form), _alias)
FORMS[type(collections.abc.Callable[[int], int])] = _alias


# --- functions that the standard library has made of functions of the code ---------------------------


def _code_of(function: Any) -> object:
    return function.__code__


def _nothing() -> Any:
    """Be a function that the standard library can make something of."""


_MADE_BY: dict[object, tuple[str, Callable[[Any], Any]]] = {
    _code_of(contextlib.contextmanager(_nothing)): ("contextmanager", contextlib.contextmanager),
    _code_of(contextlib.asynccontextmanager(_nothing)): (
        "asynccontextmanager",
        contextlib.asynccontextmanager,
    ),
}
_ORDERING: dict[str, Any] = {
    function.__qualname__: function  # `total_ordering` changes the name
    for pairs in functools._convert.values()  # type: ignore[attr-defined]  # tests hold it
    for _, function in pairs
}


def find_maker(function: types.FunctionType) -> list[object] | None:
    """Return the description of a function that the standard library has made; None if it has not."""
    made = _MADE_BY.get(function.__code__)
    if made is not None:
        return [made[0], function.__wrapped__]  # type: ignore[attr-defined]  # both set it
    if _ORDERING.get(function.__qualname__) is function:
        return ["ordering", function.__qualname__]
    return None


MAKERS: dict[str, Callable[..., Any]] = {
    **{form.tag: form.make for form in FORMS.values() if form.make is not None},
    **dict(_MADE_BY.values()),
    "ordering": _ORDERING.__getitem__,
}
"""By tag: makes a value of its parts."""
