"""The modules that the code imports: facades with listed names, never live modules.

A live module is a way to every other one (`json.codecs.sys.modules["os"]`). A facade is a fresh
module object, made for one program, that holds functions, classes and constants, and no module but
other facades. What evaluates text or sets any attribute is replaced: each replacement does what its
original does for honest programs, and none inherits from it, since `super()` would lead to it.
"""

from __future__ import annotations

import abc
import collections
import collections.abc
import contextlib
import copy
import copyreg
import csv
import dataclasses
import functools
import importlib
import inspect
import io
import keyword
import operator
import random
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from langchain_ptc.errors import closest, did_you_mean
from langchain_ptc.locks import cached_property as locked_property
from langchain_ptc.sandbox.allowed_modules import (
    ALIASES,
    ONLY_OVERRIDDEN,
    check_importable,
    reason_to_refuse,
    standard_modules,
)
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import (
    ENUMS,
    ABCMetaProxy,
    EnumMetaProxy,
    TypeProxy,
    is_own,
    own,
)
from langchain_ptc.sandbox.language.guards import FORMATTER, get_attribute, instance_dict, leave

ModuleNames: TypeAlias = Mapping[str, object]

_PARTS_OF_MODULE = ("__loader__", "__spec__", "__package__")


class ModuleLoader:
    """Gives one program its modules, each built at its first import.

    Args:
        extra: Modules of the developer's choice, with all their submodules: `["numpy"]`.
        overrides: Builds, at the first import, names that are made for this program: those of each module, or a
            function that builds them. A module that is not listed anywhere exists if it is among them.
        files: Whether the code has files, and so the modules for them.
        stdout: Where modules of the standard library print to; None for the process's own stream.

    Raises:
        ValueError: `extra` names a module that is never available.
    """

    def __init__(
        self,
        *,
        extra: Sequence[str] = (),
        overrides: Callable[[], Mapping[str, ModuleNames | Callable[[], ModuleNames]]] = dict,
        files: bool = False,
        stdout: io.TextIOBase | None = None,
    ) -> None:
        check_importable(extra)
        self._extra = tuple(extra)
        self._standard = standard_modules(files=files)
        self._build_overrides = overrides
        self._stdout = stdout
        self._safe: dict[str, dict[str, object]] | None = None
        self.built: dict[str, types.ModuleType] = {}
        """The modules that the program has imported until now, by dotted name."""

    @locked_property
    def _overrides(self) -> Mapping[str, ModuleNames | Callable[[], ModuleNames]]:
        return self._build_overrides()

    def load(self, name: str) -> types.ModuleType:
        """Return the module of a dotted name; raises `ModuleNotFoundError` if it is not available."""
        built = self.built.get(name)
        if built is not None:
            return self._attach(name, built)
        parent = name.rpartition(".")[0]
        if parent:
            self.load(parent)
        if name in self._overrides or (name in self._standard and name not in ONLY_OVERRIDDEN):
            module = self._build_listed(name)
        elif self._is_extra(name):
            module = self._build_extra(name)
        elif any(root.startswith(f"{name}.") for root in self._extra):  # a package that leads there
            module = _new_module(name, {})
        else:
            raise ModuleNotFoundError(self._why_not(name), name=name)
        self.built[name] = module
        self._attach_parts(name)
        return self._attach(name, module)

    def find(self, path: str) -> object:
        """Return the module of a dotted name, or the member of a module that it names; raises `ImportError`."""
        try:
            return self.load(path)
        except ModuleNotFoundError:
            module, _, member = path.rpartition(".")
            if not module:
                raise
            return getattr(self.load(module), member)

    def _attach(self, name: str, module: types.ModuleType) -> types.ModuleType:
        parent, _, last = name.rpartition(".")
        if parent and vars(self.built[parent]).get(last) is not module:
            setattr(self.built[parent], last, module)
        return module

    def _attach_parts(self, name: str) -> None:
        """Make the listed submodules attributes, as they are once Python has imported them."""
        prefix = name + "."
        for other in {*self._standard, *self._overrides}:
            if other.startswith(prefix) and "." not in other[len(prefix) :]:
                self.load(other)

    # --- listed modules ---

    def _build_listed(self, name: str) -> types.ModuleType:
        if self._safe is None:
            self._safe = _build_safe_names()
        source = ALIASES.get(name, name)
        entries: dict[str, object] = {}
        if listed := self._standard.get(name):
            real = importlib.import_module(source)
            found = {n: getattr(real, n) for n in listed if hasattr(real, n)}
            # Of what a program could change in the host it gets a copy.
            changes = {n: deepcopy(v) for n, v in found.items() if type(v) in (list, dict, set)}
            entries = {**found, **changes}
        # `random` has every name of its generator; what is not listed stays out. A generator is
        # made for those programs only that import it: to seed one takes longer than the rest.
        safe = build_random_names() if source == "random" else self._safe.get(source, {})
        entries.update({n: value for n, value in safe.items() if n in entries})
        made = self._overrides.get(name, {})
        for entry, value in (made() if callable(made) else made).items():
            if not isinstance(value, types.ModuleType) and not entry.startswith("__"):
                entries[entry] = value
        module = _new_module(name, entries)
        vars(module)["__getattr__"] = lambda attribute: _explain_missing(name, attribute)
        if name in _PRINTERS:
            vars(module).update(_PRINTERS[name](self._stdout or cast("Any", sys.stdout)))
        return module

    # --- modules of the developer's choice ---

    def _is_extra(self, name: str) -> bool:
        return any(name == root or name.startswith(root + ".") for root in self._extra)

    def _build_extra(self, name: str) -> types.ModuleType:
        real = importlib.import_module(name)
        public = [
            n
            for n in getattr(real, "__all__", None) or dir(real)
            if not n.startswith("_") and not isinstance(getattr(real, n, None), types.ModuleType)
        ]
        entries = {"__version__": getattr(real, "__version__", "")}
        module = _new_module(name, entries, public)

        def get(attribute: str) -> object:
            """Fetch a name at its first use: numpy has thousands."""
            if attribute.startswith("_"):
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            value = getattr(real, attribute)
            if isinstance(value, types.ModuleType):
                if not self._is_extra(value.__name__) or "._" in value.__name__:
                    raise AttributeError(f"{name}.{attribute} is not available in the sandbox")
                return self.load(value.__name__)
            setattr(module, attribute, value)
            return value

        vars(module)["__getattr__"] = get
        return module

    # --- what is not there ---

    def _why_not(self, name: str) -> str:
        if reason := reason_to_refuse(name):
            return f"module {name!r} is not available: {reason}"
        known = [*self._standard, *self._overrides, *self._extra]
        hint = did_you_mean(closest(name, known, cutoff=0.8))
        return (
            f"module {name!r} is not available in the sandbox{hint}: use the standard library of "
            f"computing, or a tool (the developer can allow it with imports=[{name!r}])"
        )


def _explain_missing(name: str, attribute: str) -> object:
    """Say why a module of this name has no such attribute."""
    real = sys.modules.get(ALIASES.get(name, name))
    if attribute.startswith("_") or real is None or attribute not in vars(real):
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
    raise AttributeError(f"{name}.{attribute} is not available in the sandbox")


def _build_pprint_names(stdout: io.TextIOBase) -> dict[str, object]:
    import pprint

    real: Any = pprint.PrettyPrinter
    # A copy without the method that hands a method of the code the `__dict__` of whatever it is given.
    left_out = real._pprint_simplenamespace
    parts = {n: v for n, v in vars(real).items() if v is not left_out and callable(v)}
    dispatch = {shown: method for shown, method in real._dispatch.items() if method is not left_out}

    def prepare(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) < 4 and kwargs.get("stream") is None:
            kwargs["stream"] = stdout
        real.__init__(self, *args, **kwargs)

    more = {"__init__": prepare, "_dispatch": dispatch, "__module__": "pprint"}
    printer: Any = type("PrettyPrinter", (), {**parts, **more})

    def show(obj: object, stream: object = None, *args: object, **kwargs: object) -> None:
        kwargs["stream"] = stream
        printer(*args, **kwargs).pprint(obj)

    def pp(obj: object, *args: object, **kwargs: object) -> None:
        show(obj, *args, **{"sort_dicts": False, **kwargs})

    return {"PrettyPrinter": printer, "pprint": show, "pp": pp}


def _build_calendar_names(stdout: io.TextIOBase) -> dict[str, object]:
    import calendar as real

    class TextCalendar(real.TextCalendar):
        def prweek(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatweek(*args, **kwargs))

        def prmonth(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatmonth(*args, **kwargs))

        def pryear(self, *args: Any, **kwargs: Any) -> None:
            stdout.write(self.formatyear(*args, **kwargs) + "\n")

    text = TextCalendar()
    printers = {"prcal": text.pryear, "prmonth": text.prmonth, "prweek": text.prweek}
    return {"TextCalendar": TextCalendar, **printers}


_PRINTERS: Mapping[str, Callable[[io.TextIOBase], dict[str, object]]] = {
    "pprint": _build_pprint_names,
    "calendar": _build_calendar_names,
}
"""Modules that print, and are made to print where the program does."""


def _new_module(
    name: str, entries: Mapping[str, object], public: Sequence[str] | None = None
) -> types.ModuleType:
    module = types.ModuleType(name)
    for part in _PARTS_OF_MODULE:
        vars(module).pop(part, None)
    vars(module).update(entries)
    vars(module)["__all__"] = list(entries if public is None else public)
    return module


# --- dataclasses: it compiles text made of field names -----------------------------------------


def _finish_dataclass(cls: type, **options: Any) -> type:
    if not is_own(cls):
        raise TypeError(f"@dataclass needs a class of the code, not {cls!r}")
    for name in vars(cls).get("__annotations__", {}):
        if type(name) is not str or not name.isidentifier() or keyword.iskeyword(name):
            raise TypeError(f"field names must be valid identifiers: {name!r}")
    made: Any = dataclasses.dataclass(**options)(cls)
    kept = vars(made)["__dataclass_fields__"]
    for name, field in kept.items():  # copies: `Field.name` can be set, and a subclass compiles it
        kept[name] = copy.copy(field)
    return own(made)


def dataclass(cls: type | None = None, /, **options: Any) -> Any:
    """Do what `dataclasses.dataclass` does, to classes of the code."""
    if cls is not None:
        return _finish_dataclass(cls, **options)
    return lambda decorated: _finish_dataclass(decorated, **options)


def fields(class_or_instance: Any) -> tuple[Any, ...]:
    """Return copies of the fields of a dataclass."""
    return tuple(copy.copy(field) for field in dataclasses.fields(class_or_instance))


def namedtuple(
    typename: str,
    field_names: str | Iterable[str],
    *,
    rename: bool = False,
    defaults: Iterable[object] | None = None,
    module: str | None = None,  # noqa: ARG001  # taken, as the original takes it
) -> type:
    """Do what `collections.namedtuple` does; every name is checked first."""
    given = (
        str(field_names).replace(",", " ").split() if isinstance(field_names, str) else field_names
    )
    listed = [str(name) if rename else name for name in given]
    for name in listed:
        if type(name) is not str or names.is_refused(name):
            raise ValueError(f"{name!r} cannot be the name of a field in the sandbox")
    make = cast("Callable[..., type]", collections.namedtuple)  # noqa: PYI024  # it is its facade
    return own(make(typename, listed, rename=rename, defaults=defaults, module="__main__"))


# --- copy, and `dataclasses.asdict`: without the protocol of pickle on the object's own word ---------
# The originals ask the *object* for `__reduce_ex__` and then set any attribute that its answer names.
# Here its class is asked, which code cannot give such a method, and names are checked.

_SAME = (
    type(None), int, float, bool, complex, bytes, str, range, slice, property, type(...),
    type(NotImplemented), types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
)  # fmt: skip
_HOOKS = frozenset({"__reduce_ex__", "__reduce__", "__getstate__", "__setstate__"})


def shallow_copy(x: Any) -> Any:
    """Do what `copy.copy` does."""
    cls = type(x)
    if cls in _SAME or cls in (tuple, frozenset) or issubclass(cls, type):
        return x
    if cls in (list, dict, set, bytearray):
        return x.copy()
    hook = getattr(cls, "__copy__", None)
    return hook(x) if hook is not None else _rebuild(x, None)


def deepcopy(x: Any, memo: dict[int, Any] | None = None) -> Any:
    """Do what `copy.deepcopy` does."""
    cls = type(x)
    if cls in _SAME or issubclass(cls, type):
        return x
    memo = {} if memo is None else memo
    if id(x) in memo:
        return memo[id(x)]
    made: Any
    if cls is list:
        memo[id(x)] = made = []
        made.extend(deepcopy(item, memo) for item in x)
    elif cls is dict:
        memo[id(x)] = made = {}
        for key, value in x.items():
            made[deepcopy(key, memo)] = deepcopy(value, memo)
    elif cls is tuple:
        made = tuple(deepcopy(item, memo) for item in x)
        made = memo.get(id(x), made)
        if all(old is new for old, new in zip(x, made, strict=True)):
            made = x
    elif cls is types.MethodType:
        made = types.MethodType(x.__func__, deepcopy(x.__self__, memo))
    else:
        hook = getattr(cls, "__deepcopy__", None)
        made = hook(x, memo) if hook is not None else _rebuild(x, memo)
    if made is not x:
        memo[id(x)] = made
        memo.setdefault(id(memo), []).append(x)
    return made


def _rebuild(x: Any, memo: dict[int, Any] | None) -> Any:
    """Copy an object by the protocol of pickle, asked of its class and never of the object."""
    cls: Any = type(x)
    if not _HOOKS.isdisjoint(getattr(x, "__dict__", ())):
        raise copy.Error(f"{cls.__name__!r} object cannot be copied")
    reducer = copyreg.dispatch_table.get(cls)
    parts = reducer(x) if reducer else cls.__reduce_ex__(x, 4)
    if isinstance(parts, str):
        return x

    def inner(value: Any) -> Any:
        return value if memo is None else deepcopy(value, memo)

    make, args, state, items, pairs = (*parts, None, None, None)[:5]
    made = make(*map(inner, args))
    if memo is not None:
        memo[id(x)] = made
    if state is not None:
        _set_state(made, inner(state))
    for item in items or ():
        made.append(inner(item))
    for key, value in pairs or ():
        made[inner(key)] = inner(value)
    return made


def _set_state(made: Any, state: Any) -> None:
    if hasattr(type(made), "__setstate__"):
        type(made).__setstate__(made, state)
        return
    plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for name, value in (plain or {}).items():
        if not names.is_refused(name, special=frozenset()):
            made.__dict__[name] = value
    for name, value in (slots or {}).items():
        if not names.is_refused(name, special=frozenset()):
            object.__setattr__(made, name, value)


def asdict(obj: Any, *, dict_factory: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    """Do what `dataclasses.asdict` does."""
    if isinstance(obj, type) or not dataclasses.is_dataclass(obj):
        raise TypeError("asdict() and astuple() should be called on dataclass instances")
    return _unfold(obj, dict_factory)


def astuple(obj: Any, *, tuple_factory: Callable[[list[Any]], Any] = tuple) -> Any:
    """Do what `dataclasses.astuple` does."""
    return asdict(obj, dict_factory=lambda pairs: tuple_factory([value for _, value in pairs]))


def _unfold(value: Any, factory: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    cls: Any = type(value)
    if dataclasses.is_dataclass(cls):
        named = [field.name for field in dataclasses.fields(cls)]
        return factory([(name, _unfold(getattr(value, name), factory)) for name in named])
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return cls(*(_unfold(item, factory) for item in value))
    if issubclass(cls, list | tuple):
        return cls(_unfold(item, factory) for item in value)
    if issubclass(cls, dict):
        pairs = [(_unfold(key, factory), _unfold(item, factory)) for key, item in value.items()]
        if hasattr(cls, "default_factory"):
            made = cls(value.default_factory)
            made.update(pairs)
            return made
        return cls(pairs)
    return deepcopy(value)


# --- functools, operator: any attribute by name, and annotations as text -----------------------


def _annotated_type(function: object) -> object:
    if type(function) is not types.FunctionType:
        raise TypeError("register() needs a type, or a function whose first parameter has one")
    annotations = function.__annotations__
    if not annotations:
        raise TypeError(f"{function.__name__!r} has no annotation: use `register(type)`")
    annotation = next(iter(annotations.values()))
    if isinstance(annotation, str):
        scope = function.__globals__
        found = scope.get(annotation, scope["__builtins__"].get(annotation))
        if not isinstance(found, type):
            raise TypeError(
                f"the annotation {annotation!r} is text, which is not evaluated: "
                "use `register(type)`"
            )
        return found
    return annotation


def singledispatch(func: Callable[..., Any]) -> Any:
    """Do what `functools.singledispatch` does, without evaluating annotations that are text."""
    dispatcher = cast("Any", functools.singledispatch(func))
    register_type = dispatcher.register

    def register(cls: Any, func: Callable[..., Any] | None = None) -> Any:
        if isinstance(cls, type) or typing.get_origin(cls) in (typing.Union, types.UnionType):
            return register_type(cls, func)
        if func is not None:
            raise TypeError(f"Invalid first argument to `register()`: {cls!r} is not a class")
        return register_type(_annotated_type(cls), cls)

    dispatcher.register = register
    return dispatcher


_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


def update_wrapper(
    wrapper: Any,
    wrapped: Any,
    assigned: Iterable[str] = _COPIED,
    updated: Iterable[str] = ("__dict__",),
) -> Any:
    """Do what `functools.update_wrapper` does, for the names that code may set itself."""
    for given in assigned:
        # Python 3.14 has the other one in `WRAPPER_ASSIGNMENTS`.
        name = "__annotations__" if given == "__annotate__" else given
        if name in (*_COPIED, "__annotations__", "__type_params__"):
            if type(wrapper) is types.FunctionType and hasattr(wrapped, name):
                setattr(wrapper, name, getattr(wrapped, name))
        elif type(name) is not str or names.is_refused(name):
            raise AttributeError(f"attribute {name!r} is not available in the sandbox")
    if "__dict__" in updated and type(wrapped) is types.FunctionType:
        for name, value in list(vars(wrapped).items()):
            if not names.is_refused(name, special=frozenset()) and (
                type(wrapper) is types.FunctionType or is_own(wrapper)
            ):
                setattr(wrapper, name, value)
    if type(wrapper) is types.FunctionType:
        vars(wrapper)["__wrapped__"] = wrapped
    return wrapper


def wraps(
    wrapped: Any, assigned: Iterable[str] = _COPIED, updated: Iterable[str] = ("__dict__",)
) -> Callable[[Any], Any]:
    """Return a decorator that makes a wrapper look like `wrapped`."""
    return lambda wrapper: update_wrapper(wrapper, wrapped, assigned, updated)


class cached_property:  # noqa: N801  # as it is named
    """Do what `functools.cached_property` does, under no name that an attribute may not have."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func
        self.attrname: str | None = None
        self.__doc__ = func.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.attrname = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        name = self.attrname
        if type(name) is not str or names.is_refused(name, special=frozenset()):
            raise TypeError(f"a cached property cannot have the name {name!r}")
        values = instance_dict(instance)
        if name not in values:
            values[name] = self.func(instance)
        return values[name]


def total_ordering(cls: type) -> type:
    """Do what `functools.total_ordering` does, to classes of the code."""
    if not is_own(cls):
        raise TypeError(f"@total_ordering needs a class of the code, not {cls!r}")
    return functools.total_ordering(cls)


def build_readers(get: Callable[[object, str], object] = get_attribute) -> dict[str, object]:
    """Build the names of `operator` that read attributes, over the function that reads one."""

    def attrgetter(attr: str, *attrs: str) -> Callable[[object], Any]:
        """Return a function that reads these attributes, if code may read them."""
        paths = []
        for path in (attr, *attrs):
            if type(path) is not str:
                raise TypeError("attribute name must be a string")
            paths.append(path.split("."))

        def read(obj: object, path: list[str]) -> object:
            for name in path:
                obj = get(obj, name)
            return obj

        if len(paths) == 1:
            return lambda obj: read(obj, paths[0])
        return lambda obj: tuple(read(obj, path) for path in paths)

    def methodcaller(name: str, /, *args: object, **kwargs: object) -> Callable[[object], Any]:
        """Return a function that calls this method, if code may read it."""
        if type(name) is not str:
            raise TypeError("method name must be a string")
        return lambda obj: cast("Any", get(obj, name))(*args, **kwargs)

    return {"attrgetter": attrgetter, "methodcaller": methodcaller}


_READERS = build_readers()


def get_origin(tp: Any) -> object:
    """Do what `typing.get_origin` does, without handing out a metaclass."""
    origin = typing.get_origin(tp)
    return TypeProxy if isinstance(origin, type) and issubclass(origin, type) else origin


# --- inspect: `Signature.from_callable(f, eval_str=True)` runs text, and is refused by name ------------


def signature(obj: Any, /) -> inspect.Signature:
    """Do what `inspect.signature` does for what the code made: a library's function may have anything as a default."""
    found = obj
    if issubclass(type(obj), type) and is_own(obj):
        found = type.__getattribute__(obj, "__init__")
        if found is object.__init__:
            return inspect.Signature()
        if _is_own_function(found):  # as it is called, without `self`
            found = types.MethodType(found, object())
    if not _is_own_function(found.__func__ if type(found) is types.MethodType else found):
        raise ValueError(f"no signature found for {getattr(obj, '__name__', type(obj).__name__)!r}")
    # Nothing is followed and nothing evaluated: `__wrapped__` and annotations are the code's.
    return inspect.signature(found, follow_wrapped=False)


def _is_own_function(function: object) -> bool:
    return type(function) is types.FunctionType and "_ptc_getattr" in function.__globals__


# --- types, string, sys, warnings ---------------------------------------------------------------------


def _build_simple_namespace() -> type:
    """Build `types.SimpleNamespace` for one program, which may set attributes of the class."""

    class SimpleNamespace:
        """Do what `types.SimpleNamespace` does, for names that an attribute may have."""

        def __init__(self, mapping_or_iterable: Any = (), /, **values: object) -> None:
            instance_dict(self).update(dict(mapping_or_iterable, **values))

        def __repr__(self) -> str:
            items = ", ".join(f"{name}={value!r}" for name, value in instance_dict(self).items())
            return f"namespace({items})"

        def __eq__(self, other: object) -> bool:
            if not issubclass(type(other), SimpleNamespace):
                return NotImplemented
            return instance_dict(self) == instance_dict(other)

        __hash__ = None  # type: ignore[assignment]  # it can change

    SimpleNamespace.__module__, SimpleNamespace.__qualname__ = "types", "SimpleNamespace"
    return own(SimpleNamespace)


def setrecursionlimit(limit: int, /) -> None:
    """Check `limit` and keep the interpreter's own: deeper calls would end the worker."""
    if operator.index(limit) < 1:
        raise ValueError("recursion limit must be greater or equal than 1")


def field_size_limit(new_limit: int | None = None, /) -> int:
    """Check `new_limit` and keep the limit, which belongs to the whole process."""
    if new_limit is not None:
        operator.index(new_limit)
    return csv.field_size_limit()


def register_namespace(prefix: str, uri: str) -> None:
    """Refuse: the prefixes of XML namespaces belong to the whole process."""
    raise RuntimeError(
        f"the prefix {prefix!r} of {uri!r} cannot be registered in a process that others share"
    )


def exc_info() -> tuple[object, object, None]:
    """Return the class and the exception that is handled; its traceback is not available."""
    kind, error, _ = sys.exc_info()
    return kind, error, None


def _ignore(*_: object, **__: object) -> None:
    """Do nothing: warnings are not shown in a process that others share, and so there is nothing to filter."""


def build_random_names() -> dict[str, object]:
    """Build the functions of `random` over a generator of the program's own, which it may seed."""
    generator = random.Random()  # noqa: S311  # what `random` is
    return {
        name: getattr(generator, name)
        for name in dir(generator)
        if not name.startswith("_") and name not in ("VERSION", "gauss_next")
    }


def _build_safe_names() -> dict[str, dict[str, object]]:
    """Build, for one program, the names of the standard library that are not the originals."""
    return {
        "abc": {"ABC": abc.ABC, "ABCMeta": ABCMetaProxy},
        "collections": {"namedtuple": namedtuple},
        "copy": {"copy": shallow_copy, "deepcopy": deepcopy},
        "csv": {"field_size_limit": field_size_limit},
        "dataclasses": {
            "asdict": asdict,
            "astuple": astuple,
            "dataclass": dataclass,
            "fields": fields,
        },
        "enum": {**ENUMS, "EnumMeta": EnumMetaProxy, "EnumType": EnumMetaProxy},
        "functools": {
            "cached_property": cached_property,
            "singledispatch": singledispatch,
            "total_ordering": total_ordering,
            "update_wrapper": update_wrapper,
            "wraps": wraps,
        },
        "inspect": {"signature": signature},
        "operator": _READERS,
        "string": {"Formatter": FORMATTER},
        "sys": {
            "argv": ["<code>"],
            "exc_info": exc_info,
            "exit": leave,
            "setrecursionlimit": setrecursionlimit,
        },
        "types": {"SimpleNamespace": _build_simple_namespace()},
        "typing": {"get_origin": get_origin},
        "warnings": {
            "catch_warnings": lambda **_: contextlib.nullcontext([]),
            **dict.fromkeys(("filterwarnings", "resetwarnings", "simplefilter", "warn"), _ignore),
        },
        "xml.etree.ElementTree": {"register_namespace": register_namespace},
    }
