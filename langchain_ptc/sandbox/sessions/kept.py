# ruff: noqa: SIM905  # lists of names are read better as text
"""What code has defined, and what it has from modules: taken apart, and made again.

A function is kept as source. A unit is the code of one execution, cut down to the statements that hold the
functions which are kept; the other lines are left empty, so that every function keeps its line. It is compiled
again by the policy, each time. Nothing of a class body runs again: a class is its attributes, and what the
standard library has added (the methods of a dataclass, the members of an enumeration) is left out and made
again by the standard library.
"""

from __future__ import annotations

import abc
import array
import ast
import asyncio
import collections
import collections.abc
import concurrent.futures
import contextlib
import dataclasses
import enum
import functools
import inspect
import io
import operator
import re
import struct
import sys
import types
import typing
import zoneinfo
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal, NamedTuple, cast

from langchain_ptc.errors import ToolCallError, with_article
from langchain_ptc.sandbox.language import modules, names
from langchain_ptc.sandbox.language.classes import SafeEnumMeta, is_own, own
from langchain_ptc.sandbox.language.policy import CompiledCode
from langchain_ptc.sandbox.language.scopes import SyntaxTree, find_private_names
from langchain_ptc.sandbox.wire.values import AttrDict

EARLIER_FILENAME = "<earlier code>"
EARLIER_SYNC_FILENAME = "<earlier code without await>"
"""Of functions that a session has kept from code without any `await`: a call of a tool gives them its
value, also where the code that calls them awaits."""
Mode = Literal["sync", "async"]
Compile = Callable[[str, frozenset[str]], CompiledCode]
"""Compiles source under the policy, with private names that it may use without defining them."""

_LOCALS = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS


class _EveryName:
    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME: Container[str] = _EveryName()
"""What a part of earlier code may name: the whole has bound it, or it is found missing at run time. The
run-time guards do not depend on it."""


class Place(NamedTuple):
    """The place of a function in its unit: line of its first decorator, number among those of its name there."""

    name: str
    line: int
    number: int


@dataclasses.dataclass(slots=True, eq=False)
class Unit:
    """Source that defines functions."""

    source: str
    mode: Mode
    """Of the execution that it comes from: whether calls of tools return awaitables or values."""
    private: frozenset[str] = frozenset()
    """Private attribute names that the whole code made, and so may use."""
    codes: dict[Place, CodeType] = dataclasses.field(default_factory=dict)


class Units:
    """The functions that may be kept: those of this execution, and of earlier ones."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[Unit, Place]] = {}
        self.used: dict[Unit, dict[Place, None]] = {}
        """The functions that were written, by unit."""

    def add(self, unit: Unit, code: CodeType) -> None:
        """Take in the functions of a unit, whose source was compiled to `code`."""
        counts: dict[tuple[str, int], int] = {}
        for found in _functions(code):
            key = found.co_name, found.co_firstlineno
            place = Place(*key, counts.get(key, 0))
            counts[key] = place.number + 1
            unit.codes[place] = found
            self._places[id(found)] = unit, place

    def find(self, function: FunctionType) -> tuple[Unit, Place] | None:
        """Return the place of a function; None if no code of this session has defined it."""
        return self._places.get(id(function.__code__))

    def use(self, function: FunctionType) -> tuple[int, str, int, int] | None:
        """Return the number of a function's unit, and its place; None as `find`."""
        if (found := self.find(function)) is None:
            return None
        unit, place = found
        self.used.setdefault(unit, {})[place] = None
        return list(self.used).index(unit), *place

    def compile(self, unit: Unit, compile_source: Compile) -> None:
        """Compile a unit of an earlier execution, if the policy accepts it, and take in its functions."""
        compiled = compile_source(unit.source, unit.private)
        name = EARLIER_SYNC_FILENAME if unit.mode == "sync" else EARLIER_FILENAME
        self.add(unit, _renamed(compiled.code, name))


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Every code object in `code` that a `def` or a `lambda` has made, in order of the source.

    No others: the body of a comprehension must only be called with an iterator.
    """
    for const in code.co_consts:
        if isinstance(const, CodeType):
            plain = const.co_name == "<lambda>" or not const.co_name.startswith("<")
            if plain and const.co_flags & _LOCALS == _LOCALS:
                yield const
            yield from _functions(const)


def _renamed(code: CodeType, filename: str) -> CodeType:
    consts = tuple(
        _renamed(const, filename) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )
    return code.replace(co_filename=filename, co_consts=consts)


def cut_unit(unit: Unit, places: Iterable[Place]) -> Unit:
    """Return the unit with only the statements that contain `places`."""
    lines = {place.line for place in places}
    try:
        tree = ast.parse(unit.source)
        private = find_private_names(SyntaxTree(tree)) | unit.private
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # there is less stack than before
        return unit
    spans: list[tuple[int, int, bool]] = []
    for node in tree.body:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        end = node.end_lineno or node.lineno
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        wanted = is_future or not lines.isdisjoint(range(start, end + 1))
        if spans and start <= spans[-1][1]:  # on one line with the statement before it
            before = spans.pop()
            start, end, wanted = before[0], max(end, before[1]), wanted or before[2]
        spans.append((start, end, wanted))
    kept = {line for start, end, wanted in spans if wanted for line in range(start, end + 1)}
    text = unit.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    source = "\n".join([line if number in kept else "" for number, line in enumerate(text, 1)])
    return Unit(source.rstrip("\n") + "\n", unit.mode, private)


# --- names ----------------------------------------------------------------------------------------

_BUILTINS = "builtins"
_SPECIAL_MODULE = "tools"
_SPECIAL: Mapping[str, object] = {"AttrDict": AttrDict, "ToolCallError": ToolCallError}
"""What the code has without importing it, and the class of the records of tools."""
_ALWAYS = ("typing", "collections.abc", "types", "dataclasses", "enum", "abc")
"""Modules whose names turn up in classes whose code has not imported them."""
_NEVER = frozenset({"__main__", "langchain_ptc", "RestrictedPython"})
_OF_PICKLES: Mapping[tuple[str, str], Any] = {
    (value.__module__, value.__qualname__): value
    for value in (
        *(array._array_reconstructor, re._compile, collections.abc._CallableGenericAlias),  # type: ignore[attr-defined]
        *(functools.reduce, operator.getitem, operator.or_, io.StringIO, io.BytesIO),
    )
}
"""What the standard library has itself pickled by, under the names of its own."""


class Names:
    """Finds what a facade, the code's `builtins` or the modules of its `tools` hold, both ways."""

    def __init__(
        self,
        loader: modules.ModuleLoader,
        builtins: Mapping[str, object],
        tools: Mapping[str, ModuleType],
    ) -> None:
        self._loader = loader
        self._tools = tools
        self._builtins = builtins
        self._index: dict[int, tuple[str, str]] | None = None

    def find(self, value: object) -> tuple[str, str] | None:
        """Return the module and the name ("" for the module itself) of `value`; None if it is from nowhere."""
        if self._index is None:
            self._index = self._build_index()
        return self._index.get(id(value))

    def is_from(self, value: object, module: str) -> bool:
        """Whether the code has `value` from a module that it has imported, or it is that module."""
        if module not in self._loader.built:  # most programs do without an index
            return False
        return (self.find(value) or ("",))[0] == module

    def _build_index(self) -> dict[int, tuple[str, str]]:
        for name in _ALWAYS:
            self._loader.load(name)
        modules = {**self._tools, **dict(sorted(self._loader.built.items()))}
        index = {id(module): (name, "") for name, module in modules.items()}
        index.update((id(value), (_SPECIAL_MODULE, name)) for name, value in _SPECIAL.items())
        places = {_BUILTINS: self._builtins, **{name: vars(m) for name, m in modules.items()}}
        for module, entries in places.items():
            for name, value in entries.items():
                if not name.startswith("_"):
                    index.setdefault(id(value), (module, name))
        return index

    def get(self, module: str, name: str) -> object:
        """Return a name of a module, or the module, as an import of the code does; raises `ImportError`."""
        if type(module) is not str or type(name) is not str:
            raise ImportError(f"no module has the name {module!r}, or it has no name {name!r}")
        if not name:
            return self._loader.load(module)
        if name.startswith("_") or names.is_refused(name):
            raise ImportError(f"{name!r} is not available in the sandbox")
        if module == _BUILTINS:
            if name in self._builtins:
                return self._builtins[name]
            raise ImportError(f"there is no builtin {name!r}")
        if module == _SPECIAL_MODULE and name in _SPECIAL:
            return _SPECIAL[name]
        try:
            return getattr(self._loader.load(module), name)
        except AttributeError as error:
            raise ImportError(f"cannot import {name!r} from {module!r}: {error}") from None

    def is_of_library(self, value: Any) -> bool:
        """Whether `get_of_library` finds a class or function under its own name."""
        try:
            return self.get_of_library(value.__module__, value.__qualname__) is value
        except (ImportError, AttributeError):
            return False

    def get_of_library(self, module: str, name: str) -> object:
        """Return what a pickle names: of the standard library what the code may import, of others all but modules.

        Only for workers that the kernel confines. Raises `ImportError`.
        """
        if (module, name) in _OF_PICKLES:
            return _OF_PICKLES[module, name]
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names:
            return self.get(module, name)
        value: object = sys.modules.get(module)
        if value is None or root in _NEVER:
            raise ImportError(f"module {module!r} is not available in the sandbox")
        for part in name.split("."):
            value = getattr(value, part, None)
            if value is None or isinstance(value, ModuleType):
                raise ImportError(f"cannot import {name!r} from {module!r}")
        return value


class Lost(ValueError):
    """A variable cannot be read; the message says why."""


# --- classes of the code --------------------------------------------------------------------------

_TypedDict = cast("Any", typing.TypedDict)
_TYPED_DICT: type = type(_TypedDict("_Example", {}))
_PROTOCOL: type = type(typing.Protocol)
_METACLASSES = frozenset({type, abc.ABCMeta, SafeEnumMeta, enum.EnumMeta, _PROTOCOL, _TYPED_DICT})
_MADE_AGAIN = frozenset(
    "_abc_impl _is_protocol _is_runtime_protocol _member_map_ _member_names_ _value2member_map_ "
    "_member_type_ _value_repr_ _new_member_ _use_args_ _flag_mask_ _all_bits_ _boundary_ "
    "_singles_mask_ _inverted_ _unhashable_values_ _hashable_values_ _unhashable_values_map_ "
    "_fields _field_defaults _make _replace _asdict _sort_order_".split()
)
_DEFINED = (names.DEFINABLE - {"__slots__", "__match_args__"}) | {"__isabstractmethod__"}
_SLOT = types.MemberDescriptorType
_MADE_WITH = "__annotations__", "__slots__", "__orig_bases__", "__match_args__"
_OPTIONS = "init", "repr", "eq", "order", "unsafe_hash", "frozen"
_FIELD_OPTIONS = "init", "repr", "hash", "compare", "kw_only"
_OF_MEMBER = frozenset({"_value_", "_name_", "_sort_order_", "_inverted_"})


def take_class(
    cls: type, is_of_code: Callable[[types.FunctionType], bool]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return what `make_class` makes a class of the code with, and what `fill_class` then adds.

    None if it is of a kind that cannot be kept. `is_of_code` says whether code of the session defined a function.
    """
    kind = _kind_of(cls)
    if kind is None:
        return None
    values, made = vars(cls), cast("Any", cls)
    entries = {name: values[name] for name in _MADE_WITH if name in values}
    parts: dict[str, Any] = {"kind": kind, "name": cls.__name__, "bases": cls.__bases__}
    doc = values.get("__doc__")
    state: dict[str, Any] = {
        "qualname": cls.__qualname__,
        "doc": doc if type(doc) is str else None,
        "runtime": bool(values.get("_is_runtime_protocol")),
    }
    skip: set[str] = set()
    if "__slots__" in values:
        skip.update(name for name, slot in values.items() if type(slot) is _SLOT)
        entries["__slots__"] = tuple(skip)
    if kind == "enum":
        members = {name: member._value_ for name, member in made.__members__.items()}
        entries.update(members)
        skip.update(members)
        if values.get("_boundary_") is not None and issubclass(cls, enum.Flag):
            parts["boundary"] = values["_boundary_"].name
        state["members"] = _take_member_states(made)
    elif kind == "dataclass":
        options = {option: bool(getattr(made.__dataclass_params__, option)) for option in _OPTIONS}
        state["options"] = {
            **options,
            "match_args": entries.pop("__match_args__", None) is not None,
        }
        state["fields"] = _take_fields(made)
        skip.update(state["fields"], {"__hash__"} if values.get("__hash__") is None else ())
    elif kind == "namedtuple":
        parts["fields"], parts["defaults"] = made._fields, [*made._field_defaults.values()]
        skip.update(made._fields)
    elif kind == "typeddict":
        parts["total"] = made.__total__
    parts["entries"] = entries
    generated = kind != "class" or type(cls) is _PROTOCOL
    state["attributes"] = {
        name: value
        for name, value in values.items()
        if name not in skip and _is_kept(name, value, is_of_code if generated else None)
    }
    return parts, state


def _kind_of(cls: type) -> str | None:
    if type(cls) not in _METACLASSES:
        return None
    if type(cls) is _TYPED_DICT:
        return "typeddict"
    if issubclass(type(cls), enum.EnumMeta):
        odd = "__new_member__" in vars(cls) or is_own(vars(cls).get("_member_type_", object))
        return None if odd else "enum"
    if "__dataclass_fields__" in vars(cls):
        return "dataclass"
    if cls.__bases__ == (tuple,) and "_fields" in vars(cls):
        return "namedtuple"
    return "class"


def _is_kept(
    name: str, value: object, is_of_code: Callable[[types.FunctionType], bool] | None
) -> bool:
    """Whether an attribute of a class is kept: `is_of_code` where others are generated again."""
    if name in _MADE_AGAIN or type(value) in (_SLOT, types.GetSetDescriptorType):
        return False
    if name not in _DEFINED if names.is_dunder(name) else names.is_refused(name):
        return False
    if is_of_code is None:
        return True
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if type(inner) is types.FunctionType:
        return is_of_code(inner)
    return type(inner) is not types.BuiltinFunctionType and not isinstance(inner, enum.property)


def _take_fields(cls: Any) -> dict[str, dict[str, Any]]:
    """Return the arguments of `dataclasses.field` for each field that the class itself has."""
    taken: dict[str, dict[str, Any]] = {}
    for name, field in cls.__dataclass_fields__.items():
        is_class_variable = field._field_type is dataclasses._FIELD_CLASSVAR  # type: ignore[attr-defined]
        if name not in vars(cls).get("__annotations__", {}) or is_class_variable:
            continue
        given: dict[str, Any] = {
            o: v for o in _FIELD_OPTIONS if isinstance(v := getattr(field, o), bool)
        }
        for part in ("default", "default_factory"):
            if (value := getattr(field, part)) is not dataclasses.MISSING:
                given[part] = value
        if field.metadata:
            given["metadata"] = dict(field.metadata)
        taken[name] = given
    return taken


def _take_member_states(cls: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            attribute: value
            for attribute, value in vars(member).items()
            if attribute not in _OF_MEMBER and not names.is_refused(attribute, special=frozenset())
        }
        for name, member in cls.__members__.items()
        if member._name_ == name
    }


def make_class(parts: Mapping[str, Any]) -> type:
    """Make the empty class from what `take_class` returned first."""
    name, bases, entries = parts["name"], parts["bases"], parts["entries"]
    if parts["kind"] == "namedtuple":
        return modules.namedtuple(name, parts["fields"], defaults=parts["defaults"])
    if parts["kind"] == "typeddict":
        return own(_TypedDict(name, entries.get("__annotations__", {}), total=parts["total"]))
    options: dict[str, Any] = {}
    if "boundary" in parts:
        options["boundary"] = enum.FlagBoundary[parts["boundary"]]

    def fill(namespace: dict[str, Any]) -> None:
        namespace["__module__"] = "__main__"
        for entry, value in entries.items():  # one by one: an enumeration watches its members
            namespace[entry] = value  # noqa: PERF403

    with _without_hooks(bases):
        return own(types.new_class(name, bases, options, fill))


@contextlib.contextmanager
def _without_hooks(bases: Sequence[type]) -> Iterator[None]:
    """Take off the `__init_subclass__` of the code's classes: it has seen the class already."""
    name = "__init_subclass__"
    parents = dict.fromkeys(parent for base in bases for parent in type.mro(base))
    hooks = [(p, vars(p)[name]) for p in parents if is_own(p) and name in vars(p)]
    for parent, _ in hooks:
        delattr(parent, name)
    try:
        yield
    finally:
        for parent, hook in hooks:
            setattr(parent, name, hook)


def fill_class(cls: type, state: Mapping[str, Any]) -> None:
    """Add what `take_class` returned second, and have the standard library add its own part again."""
    cls.__qualname__, made = state["qualname"], cast("Any", cls)
    if type(cls) is not _TYPED_DICT:
        cls.__doc__ = state["doc"]
    for name, value in state["attributes"].items():
        setattr(cls, name, value)
    if "fields" in state:
        slots = {n: s for n, s in vars(cls).items() if type(s) is _SLOT}
        make: Any = dataclasses.field
        for name, given in state["fields"].items():
            setattr(cls, name, make(**given))
        modules.dataclass(cls, **state["options"])
        for name, slot in slots.items():
            setattr(cls, name, slot)
    for name, values in state.get("members", {}).items():
        vars(made[name]).update(values)
    if state["runtime"]:
        typing.runtime_checkable(cls)
    if isinstance(cls, abc.ABCMeta):
        abc.update_abstractmethods(made)


# --- instances ------------------------------------------------------------------------------------

_SCALARS: Mapping[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}
_EXTEND: Mapping[type, Callable[[Any, Any], None]] = {
    list: list.extend,
    set: set.update,
    collections.deque: collections.deque.extend,
}
_DICTS = (collections.OrderedDict, dict)
_BASES = frozenset({object, *_DICTS, *_EXTEND, frozenset, tuple, *_SCALARS})
"""Built-in classes that a class of the code may inherit from, besides exceptions."""
_HEAP_TYPE = 1 << 9
_REDUCERS = frozenset({"__reduce_ex__", "__reduce__", "__getstate__"})


def content_base(cls: type) -> type | None:
    """Return the built-in class that instances of `cls` are made by; None if it is not known."""
    for base in type.mro(cls):
        if is_own(base):
            continue
        is_heap = base.__flags__ & _HEAP_TYPE
        if base in _BASES or (issubclass(base, BaseException) and not is_heap):
            return base
        new: object = base.__new__
        if not is_heap or new is not object.__new__ or not _REDUCERS.isdisjoint(vars(base)):
            return None
    return None


def take_content(base: Any, value: object) -> tuple[tuple[Any, ...], list[Any]]:
    """Return the content of an instance's built-in class: arguments that make it, and items to add."""
    if base in _DICTS:
        return (), list(base.items(value))
    if base in _EXTEND:
        return (), list(base.__iter__(value))
    if base in _SCALARS:
        return (_SCALARS[base](value),), []
    if issubclass(base, BaseException):
        return BaseException.args.__get__(value), []  # type: ignore[attr-defined]  # a descriptor
    return () if base is object else (list(base.__iter__(value)),), []


_ORDER = frozenset({"__lt__", "__gt__", "__le__", "__ge__"})


def may_be_empty(cls: type) -> bool:
    """Whether an instance can be in a set, a dict or a sorted list before it has its attributes."""
    mro = type.mro(cls)
    found = next(vars(base)["__hash__"] for base in mro if "__hash__" in vars(base))
    is_ordered = any(is_own(base) and not _ORDER.isdisjoint(vars(base)) for base in mro)
    return not is_ordered and (found is None or found is vars(object)["__hash__"])


def take_attributes(value: object) -> dict[str, object]:
    """Return the attributes of an instance, those in slots included."""
    found: dict[str, object] = {}
    for base in reversed(type.mro(type(value))):
        for name, slot in vars(base).items() if is_own(base) else ():
            if type(slot) is _SLOT:
                with contextlib.suppress(AttributeError):
                    found[name] = slot.__get__(value)
    with contextlib.suppress(AttributeError):
        found.update(object.__getattribute__(value, "__dict__"))
    return found


def fill_instance(made: object, attributes: Mapping[str, object], content: Sequence[Any]) -> None:
    """Put back what an instance holds, past what its class has defined for that."""
    for name, value in attributes.items():
        slot = next((vars(base)[name] for base in type.mro(type(made)) if name in vars(base)), None)
        if type(slot) is _SLOT:
            slot.__set__(made, value)
        else:
            object.__getattribute__(made, "__dict__")[name] = value
    base: Any = content_base(type(made))
    if base in _DICTS:
        for key, value in content:
            base.__setitem__(made, key, value)
    elif content:
        _EXTEND[base](made, content)


# --- what cannot be kept ---------------------------------------------------------------------------


class Unkeepable(Exception):
    """An object cannot be kept: the object, and `what` it is in the singular and in the plural."""

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


def _is_lock(value: object) -> bool:
    return str(type(value).__module__).partition(".")[0] in _NO_CONTENT


def is_in_use(value: object) -> bool:
    """Whether an object waits, is waited for, or is partly consumed, whatever pickle makes of it."""
    kind = type(value)
    is_open = hasattr(kind, "__next__") and kind not in (io.StringIO, io.BytesIO)
    return is_open or _is_lock(value)


def refuse(value: object) -> Unkeepable:
    """Build the error that says that `value` cannot be kept."""
    cls = type(value)
    for kind, one, many in _NAMES_OF_KINDS:
        if issubclass(cls, kind):
            return Unkeepable(value, (one, many))
    name = cls.__qualname__
    one = f"{with_article(name)} object"
    if _is_lock(value):
        return Unkeepable(value, (one, "locks, queues and the like"))
    if hasattr(cls, "__next__"):
        return Unkeepable(value, (f"an open iterator ({name})", "open iterators"))
    if isinstance(value, types.FunctionType):
        return Unkeepable(value, (f"the function {value.__name__!r}", "functions of this kind"))
    if isinstance(value, type):
        return Unkeepable(value, (f"the class {value.__name__!r}", "classes of this kind"))
    return Unkeepable(value, (one, f"{name} objects"))


# --- what pickle does not know --------------------------------------------------------------------


def _make_cached_property(function: Any, name: Any) -> modules.cached_property:
    made = modules.cached_property(function)
    made.attrname = name
    return made


def _make_type_variable(name: str, constraints: tuple[Any, ...], *options: Any) -> typing.TypeVar:
    keywords: Any = dict(zip(("bound", "covariant", "contravariant"), options, strict=True))
    return typing.TypeVar(name, *constraints, **keywords)


def _nothing() -> Any:
    """Do nothing: it is decorated to find out what a decorator makes."""


_DECORATORS = (contextlib.contextmanager, contextlib.asynccontextmanager)
_DECORATED = {make(_nothing).__code__: make.__name__ for make in _DECORATORS}
_ORDERING: dict[str, Any] = {
    function.__qualname__: function  # `total_ordering` changes the name
    for pairs in functools._convert.values()  # type: ignore[attr-defined]  # tests hold it
    for _, function in pairs
}
_CLASSES: Sequence[Any] = (
    *(types.CellType, types.MappingProxyType, types.MethodType, property, staticmethod),
    *(classmethod, str, struct.Struct, typing.NewType, zoneinfo.ZoneInfo),
)
_MADE: Mapping[str, Callable[..., Any]] = {
    **{make.__name__: make for make in (*_CLASSES, *_DECORATORS)},
    "lru_cache": lambda function, size, typed: functools.lru_cache(size, typed)(function),
    "cached_property": _make_cached_property,
    "TypeVar": _make_type_variable,
    "ordering": _ORDERING.__getitem__,
}


def make_again(kind: str, *args: Any) -> Any:
    """Make an object that pickle does not know; pickles call this."""
    return _MADE[kind](*args)


def _take_lru(value: Any) -> tuple[Any, ...]:
    options = value.cache_parameters()
    return make_again, ("lru_cache", value.__wrapped__, options["maxsize"], options["typed"])


def _by(kind: str, *attributes: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: (make_again, (kind, *[getattr(value, name) for name in attributes]))


_TYPE_VARIABLE = "name", "constraints", "bound", "covariant", "contravariant"
TAKERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    zoneinfo.ZoneInfo: _by("ZoneInfo", "key"),
    struct.Struct: _by("Struct", "format"),
    types.MappingProxyType: lambda value: (make_again, ("mappingproxy", dict(value))),
    types.MethodType: _by("method", "__func__", "__self__"),
    property: _by("property", "fget", "fset", "fdel", "__doc__"),
    staticmethod: _by("staticmethod", "__func__"),
    classmethod: _by("classmethod", "__func__"),
    functools._lru_cache_wrapper: _take_lru,
    modules.cached_property: _by("cached_property", "func", "attrname"),
    typing.TypeVar: _by("TypeVar", *(f"__{name}__" for name in _TYPE_VARIABLE)),
    typing.ForwardRef: _by("str", "__forward_arg__"),
    typing.NewType: _by("NewType", "__name__", "__supertype__"),
}
"""By exact class, since a subclass may be anything: returns the call that makes a value again."""


def take_made_function(function: types.FunctionType) -> tuple[Any, ...] | None:
    """Return the call that makes a function of the standard library's making again; None for others."""
    if (decorator := _DECORATED.get(function.__code__)) is not None:
        return make_again, (decorator, function.__wrapped__)  # type: ignore[attr-defined]  # both set it
    if _ORDERING.get(function.__qualname__) is function:
        return make_again, ("ordering", function.__qualname__)
    return None
