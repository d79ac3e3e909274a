# ruff: noqa: SIM905  # lists of names are read better as text
"""The builtins of the code, and the run-time guards that the policy's output names.

Most of the language is checked while compiling. What is left for the run is what depends on the
object: names that are computed (`getattr(x, name)`), and names that are harmless on most objects
and a way out on some (`"...".format`).

Everything here is written against code that is hostile: an object's class is asked for with
`type()`, never with `isinstance`, and a name counts only if it is exactly a `str` (a subclass can
change what `startswith` says).
"""

from __future__ import annotations

import abc
import array
import builtins
import collections
import functools
import importlib
import secrets
import string
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from langchain_ptc.errors import count
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import (
    SETTLE,
    TypeProxy,
    build_class,
    checked_register,
    hidden,
    is_own,
    settle_annotations,
    type_of,
)
from langchain_ptc.sandbox.wire.values import DICT_METHODS, Place, read_attribute

if TYPE_CHECKING:
    from langchain_ptc.sandbox.language.policy import CompiledCode

_MISSING = object()

# --- attributes by computed name ---------------------------------------------------------------


def _refuse(name: str) -> NoReturn:
    raise AttributeError(
        f"attribute {name!r} is not available in the sandbox{names.instead_of(name)}"
    )


def check_name(obj: object, name: object, *, special: frozenset[str] = names.READABLE) -> str:
    """Return `name` if code may use this attribute of `obj`; raises `AttributeError`, and `TypeError` for no `str`."""
    if type(name) is not str:
        raise TypeError(f"attribute name must be a plain str, not {type(name).__name__!r}")
    if names.is_refused(name, special=special):
        _refuse(name)
    if name.startswith("_") and names.is_private(name) and name not in names.DOCUMENTED_PRIVATE:
        kind = type(obj)
        if not (is_own(obj) or kind in (types.FunctionType, super)):
            _refuse(name)
    return name


def get_attribute(obj: object, name: object, /, *default: object) -> object:
    """Return `getattr(obj, name)` if code may read it."""
    if len(default) > 1:
        raise TypeError(f"getattr expected at most 3 arguments, got {2 + len(default)}")
    try:
        checked = check_name(obj, name)
        if checked in names.GUARDED_NAMES or checked in names.GUARDED_SPECIAL:
            return _guarded(obj, checked)
        return read_attribute(obj, checked)
    except AttributeError:
        if default:
            return default[0]
        raise


def has_attribute(obj: object, name: object, /) -> bool:
    """Return whether code may read `getattr(obj, name)`."""
    return get_attribute(obj, name, _MISSING) is not _MISSING


def set_attribute(obj: object, name: object, value: object, /) -> None:
    """Do `setattr(obj, name, value)` if code may."""
    setattr(obj, check_name(obj, name, special=_settable(obj)), value)


def delete_attribute(obj: object, name: object, /) -> None:
    """Do `delattr(obj, name)` if code may."""
    delattr(obj, check_name(obj, name, special=_settable(obj)))


def _settable(obj: object) -> frozenset[str]:
    """Return the special names that the code may set: of a class of its own, those of a body."""
    is_class = issubclass(type(obj), type) and is_own(obj)
    return names.WRITABLE | names.SETTABLE_IN_CLASS if is_class else names.WRITABLE


def own_class(obj: object) -> object:
    """Return `obj` if it is a class that the code has defined."""
    if issubclass(type(obj), type) and is_own(obj):
        return obj
    raise AttributeError("special methods can only be set on a class that the code has defined")


def _guarded(obj: object, name: str) -> object:
    """Read an attribute whose harm depends on `obj`."""
    if name == "__class__":
        return type_of(obj)
    if name == "__dict__":
        return instance_dict(obj)
    if name == "__traceback__":  # for `traceback.format_exception`, which needs none here
        return None
    if name in ("__init__", "__setattr__", "__delattr__"):
        return _checked_setter(obj, name)
    if name == "obj" and issubclass(type(obj), AttributeError) and not is_own(obj):
        _refuse(name)
    value = getattr(obj, name)
    if _reads_others(name, value):
        _refuse(name)
    if name in ("parser", "ntpath") and types.ModuleType is type(value) is not type(obj):
        _refuse(name)
    if name in names.FORMAT_NAMES:
        return checked_format(name, value)
    if name == "mro" and type(value) is types.BuiltinMethodType:
        return _visible_mro(value)
    if name == "register":
        return checked_register(value)
    check_value(name, value)
    return value


def _reads_others(name: str, value: Any) -> bool:
    """Whether it is a way to anything: decided by what was read, since an alias of `typing` has what its class has."""
    if name == "obj":
        return type(value) is types.MemberDescriptorType and not is_own(value.__objclass__)
    if name == "evaluate":
        return getattr(value, "__func__", value) is vars(typing.ForwardRef).get(name, _MISSING)
    if name == "mro":
        return value is type.mro
    return name == "__getattr__" and not (is_own(value) or _is_of_code(value))


def _visible_mro(value: Any) -> object:
    cls = value.__self__
    if not issubclass(type(cls), type) or value.__name__ != "mro":
        return value
    return lambda: [base for base in type.mro(cls) if base not in hidden]


def _checked_setter(obj: object, name: str) -> Callable[..., object]:
    setter = getattr(obj, name)
    if name == "__init__":
        return _checked_init(setter)

    def checked(*args: object) -> object:
        # Bound: (name[, value]). Unbound, `object.__setattr__`: (self, name[, value]).
        position = len(args) - (2 if name == "__setattr__" else 1)
        if position not in (0, 1):
            raise TypeError(f"{name} got {count(len(args), 'argument')}")
        target = args[0] if position else obj
        if issubclass(type(target), type) and not is_own(target):
            raise TypeError(f"attributes of class {cast('type', target).__name__!r} cannot be set")
        check_name(target, args[position], special=names.WRITABLE)
        return setter(*args)

    return checked


def _checked_init(value: Any) -> Callable[..., object]:
    """Return `__init__`; that of a class of others sets attributes of no other class, which the host may use."""
    if type(value) is not types.FunctionType or _is_of_code(value):
        return cast("Callable[..., object]", value)

    @functools.wraps(value)
    def initialize(self: object, *args: object, **kwargs: object) -> None:
        value(writable(self), *args, **kwargs)

    return initialize


# --- format strings: `str.format` reads attributes by names in its text -------------------------
# Source: CVE-2023-41039 (`format`, `format_map`), CVE-2026-76825 (`string.Formatter`).


@functools.lru_cache(maxsize=512)
def check_template(template: str) -> bool:
    """Check that no replacement field of a format string reads a refused attribute.

    Return whether one reads a record's field that has the name of a dict's method.
    """
    try:
        fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template)]
    except ValueError:
        return False  # str.format raises the same, with the same words
    reads_fields = False
    for field, spec in fields:
        if field and ("." in field or "[" in field):
            first, steps = split_field(field)
            for is_attribute, name in steps:
                check_step(is_attribute, name)
                # Before Python 3.14 only `str.format` itself numbers a field like `{.name}`.
                reads_fields |= is_attribute and name in DICT_METHODS and first != ""
        if spec and "{" in spec:
            reads_fields |= check_template(spec)
    return reads_fields


def check_step(is_attribute: bool, name: object) -> None:
    """Check one `.name` or `[name]` of a replacement field."""
    if is_attribute and (
        type(name) is not str
        or name.startswith("_")
        or names.is_refused(name)
        or name in names.GUARDED_NAMES
    ):
        raise AttributeError(
            f"attribute {name!r} is not available in a format string; use an f-string"
        )


def split_field(field: str) -> tuple[object, Iterable[tuple[bool, object]]]:
    """Split `a.b[c]` into `a` and its steps, as `str.format` does."""
    import _string  # type: ignore[import-not-found]  # what the string module itself uses

    first, rest = _string.formatter_field_name_split(field)
    return first, list(rest)


def _get_field(
    self: string.Formatter, field_name: str, args: Any, kwargs: Any
) -> tuple[object, object]:
    """Do what `string.Formatter.get_field` does, for attributes that code may read."""
    first, rest = split_field(field_name)
    value: Any = self.get_value(cast("int | str", first), args, kwargs)
    for is_attribute, name in rest:
        check_step(is_attribute, name)
        value = read_attribute(value, cast("str", name)) if is_attribute else value[name]
    return value, first


def _build_formatter() -> type[string.Formatter]:
    """Copy `string.Formatter` with the `get_field` above."""
    parts = {n: v for n, v in vars(string.Formatter).items() if type(v) is types.FunctionType}
    return cast(
        "type[string.Formatter]",
        type("Formatter", (), {**parts, "get_field": _get_field, "__module__": "string"}),
    )


FORMATTER = _build_formatter()
"""`string.Formatter` of the code."""


def checked_format(name: str, value: object) -> object:
    """Return `value`, or what does the same with its template checked if it is `str.format`."""
    if type(value) is types.BuiltinMethodType and issubclass(type(value.__self__), str):
        template = str.__str__(value.__self__)
        return lambda *args, **kwargs: _format_checked(template, name, args, kwargs)
    if type(value) is types.MethodDescriptorType and issubclass(value.__objclass__, str):

        def unbound(template: str, /, *args: object, **kwargs: object) -> str:
            if not issubclass(type(template), str):
                raise TypeError(f"descriptor {name!r} requires a 'str' object")
            return _format_checked(template, name, args, kwargs)

        return unbound
    return value


def _format_checked(
    template: str, name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    """Do what `str.format` or `str.format_map` does, for a template that reads nothing refused."""
    text = str.__str__(template)  # whatever a class of the code makes of it
    if check_template(text):
        values = cast("Mapping[str, object]", args[0]) if name == "format_map" else kwargs
        return FORMATTER().vformat(text, () if name == "format_map" else args, values)
    return cast("str", getattr(text, name)(*args, **kwargs))


# --- the attributes of an instance as a dict ----------------------------------------------------


class InstanceDict(dict[str, object]):
    """What `obj.__dict__` and `vars(obj)` give: a snapshot whose changes reach the object.

    A snapshot, since the real dict would take names that no attribute may have.
    """

    __slots__ = ("_ptc_target",)

    def __init__(self, values: Mapping[str, object], target: dict[str, object]) -> None:
        super().__init__(values)
        self._ptc_target = target

    def __setitem__(self, name: str, value: object) -> None:
        if type(name) is not str or names.is_refused(name, special=frozenset()):
            raise AttributeError(f"{name!r} cannot be set in the sandbox")
        self._ptc_target[name] = value
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._ptc_target.pop(name, None)

    def __ior__(self, other: object) -> Self:  # type: ignore[override,misc]  # as dict.update takes it
        self.update(other)
        return self

    # Those of `MutableMapping` go through the methods above.
    update, setdefault = cast("Any", MutableMapping.update), cast("Any", MutableMapping.setdefault)
    clear, pop = cast("Any", MutableMapping.clear), cast("Any", MutableMapping.pop)

    def popitem(self) -> tuple[str, object]:  # noqa: D102  # the last one
        name, value = super().popitem()
        self._ptc_target.pop(name, None)
        return name, value


_CALLABLES = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_NO_DICT = (type, super, types.ModuleType, *_CALLABLES)


def instance_dict(*args: object) -> dict[str, object]:
    """Return the attributes of an instance: `vars(obj)`, `obj.__dict__`."""
    if len(args) != 1:
        raise TypeError("vars() needs an object in the sandbox; use a dict of your own")
    obj = args[0]
    if issubclass(type(obj), _NO_DICT):
        kind = type(obj).__name__
        raise TypeError(f"the attributes of a {kind} are not available as a dict in the sandbox")
    try:
        values = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        raise TypeError(
            f"{type(obj).__name__!r} object keeps no __dict__; name its attributes"
        ) from None
    mine = is_own(obj)
    shown = {
        name: value
        for name, value in values.items()
        if not names.is_refused(name, special=frozenset())
        and (mine or not name.startswith("_"))
        and not (name == "obj" and issubclass(type(obj), AttributeError))
    }
    return InstanceDict(shown, values) if mine else shown


# --- match, stores, builtins -------------------------------------------------------------------

_NEVER_CAPTURED = (types.FrameType, types.CodeType, types.ModuleType, types.TracebackType)


def check_value(name: str, value: object) -> None:
    """Refuse a method that leads out of asyncio's objects, by the object or the class that it is of."""
    target = getattr(value, "__self__", None)
    cls = value.__objclass__ if type(value) is types.MethodDescriptorType else type(target)
    if name in names.GUARDED_NAMES and _is_foreign(cls, name):
        _refuse(name)


def _is_foreign(cls: type, name: str) -> bool:
    """Whether `name` on instances of `cls` comes from a class that the code did not define."""
    for base in type.mro(cls):
        if name in vars(base):
            return not is_own(base) and base.__module__.partition(".")[0] in _LOOP_MODULES
    return False


_LOOP_MODULES = frozenset({"_asyncio", "asyncio", "_contextvars", "contextvars", "concurrent"})


def check_captures(*values: object) -> bool:
    """Check what a class pattern has captured: no frame, module or guarded method; True, as a case's guard."""
    for value in values:
        kind = type(value)
        if kind in _NEVER_CAPTURED:
            raise AttributeError(f"a {kind.__name__} is not available in the sandbox")
        if kind in (types.BuiltinMethodType, types.MethodType, types.MethodDescriptorType):
            name = getattr(value, "__name__", "")
            target = getattr(value, "__self__", None)
            is_free = is_own(target) and not issubclass(type(target), abc.ABCMeta)
            if name in names.GUARDED_NAMES and not is_free:
                _refuse(name)
    return True


_CONTAINERS: tuple[type, ...] = (
    *(dict, list, bytearray, memoryview, array.array, BaseException, collections.deque),
    *(collections.UserDict, collections.UserList, collections.ChainMap),
)
_NEVER_WRITTEN = (type, types.ModuleType, *_CALLABLES)
_SHARED_ROOTS = sys.stdlib_module_names | {"langchain_ptc"}
_VALUE_CLASSES = frozenset({("decimal", "Context"), ("xml.etree.ElementTree", "Element")})


def _is_of_code(value: Any) -> bool:
    """Whether a function, or a method's, is the code's."""
    function = value.__func__ if type(value) is types.MethodType else value
    return type(function) is types.FunctionType and "_ptc_getattr" in function.__globals__


def writable(obj: object) -> object:
    """Return `obj` if the code may store into it, where it shares a process with the host."""
    cls = type(obj)
    if is_own(obj) or issubclass(cls, _CONTAINERS):
        return obj
    if cls is types.FunctionType and _is_of_code(obj):
        return obj
    module = cls.__module__
    if not issubclass(cls, _NEVER_WRITTEN) and (
        (module, cls.__qualname__) in _VALUE_CLASSES
        or module.partition(".")[0] not in _SHARED_ROOTS
    ):
        return obj
    what = getattr(obj, "__name__", cls.__name__)
    raise TypeError(
        f"{what!r} cannot be changed from the sandbox: only objects that the code has made can"
    )


def _list_names(namespace: dict[str, object] | None, args: tuple[object, ...]) -> list[str]:
    found = list(namespace or ()) if not args else builtins.dir(*args)
    return sorted(n for n in found if type(n) is str and not names.is_refused(n))


_SECRET = secrets.randbits(47)


def identity(obj: object, /) -> int:
    """Return a number that is `obj`'s own while it lives, and no address."""
    return id(obj) ^ _SECRET


def leave(code: object = None, /) -> NoReturn:
    """End the program, as `sys.exit` does."""
    raise SystemExit(code)


_PLAIN_BUILTINS = (
    "abs aiter all anext any ascii bin bool bytearray bytes callable chr classmethod complex dict "
    "divmod enumerate filter float format frozenset hash hex int isinstance issubclass iter len "
    "list map max memoryview min next object oct ord pow property range repr reversed round set "
    "slice sorted staticmethod str sum super tuple zip None True False Ellipsis NotImplemented "
    "__debug__"
).split()
_BUILTINS: dict[str, Any] = {
    **{name: getattr(builtins, name) for name in _PLAIN_BUILTINS},
    **{
        name: value
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    },
    "type": TypeProxy,
    "getattr": get_attribute,
    "hasattr": has_attribute,
    "setattr": set_attribute,
    "delattr": delete_attribute,
    "vars": instance_dict,
    "id": identity,
    "exit": leave,
    "quit": leave,
    "__build_class__": build_class,
    "__name__": "builtins",
}


def _ensure_attribute(
    importer: Callable[[str], types.ModuleType], module: types.ModuleType, name: str, wanted: str
) -> None:
    """Make sure that `from name import wanted` finds an attribute, or raise what it should.

    Where it is missing the interpreter looks into `sys.modules`: that would hand out the live `asyncio.base_events`.
    """
    try:
        getattr(module, wanted)
    except AttributeError as missing:
        try:
            importer(f"{name}.{wanted}")
            getattr(module, wanted)
        except (AttributeError, ModuleNotFoundError) as error:
            why = f": {missing}" if "sandbox" in str(missing) else ""
            if "is not available: " in str(error):
                why = f": {error}"
            raise ImportError(f"cannot import name {wanted!r} from {name!r}{why}") from None


def build_namespace(
    compiled: CompiledCode,
    *,
    importer: Callable[[str], types.ModuleType],
    print: Callable[..., object],
) -> dict[str, Any]:
    """Build the globals that `compiled` runs in, with `__builtins__` of its own, and `ModuleLoader.load` to import."""

    def import_module(
        name: str,
        globals: object = None,  # noqa: ARG001  # the interpreter passes it
        locals: object = None,  # noqa: ARG001
        fromlist: Iterable[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """Do what an `import` statement asks for."""
        if type(fromlist) is list:
            # No statement gives a list. It is the interpreter itself: `time.strptime` asks for
            # `_strptime`, takes it from sys.modules and drops what is returned here.
            importlib.import_module(name)
            return importer("types")
        if level:
            raise ImportError("relative imports are not available: the code is one module")
        module = importer(name)
        if not fromlist:
            return module if "." not in name else importer(name.partition(".")[0])
        for wanted in fromlist:
            if wanted != "*":
                _ensure_attribute(importer, module, name, wanted)
        return module

    # A copy writes to each name and function in it: 44 pages that a process of its own need not copy.
    builtins = _BUILTINS.copy() if compiled.guard_writes else _BUILTINS
    builtins |= {
        "print": print,
        "__import__": import_module,
        "dir": lambda *args: _list_names(namespace, args),
    }
    if compiled.guard_writes:
        builtins["setattr"] = lambda obj, name, value, /: set_attribute(writable(obj), name, value)
        builtins["delattr"] = lambda obj, name, /: delete_attribute(writable(obj), name)
    namespace: dict[str, Any] = {
        "__name__": "__main__",
        "__doc__": None,
        "__builtins__": builtins,
        "_ptc_getattr": get_attribute,
        "_ptc_field": read_attribute,
        "_ptc_place": lambda obj: Place(obj, namespace["_ptc_getattr"], set_attribute),
        "_ptc_captures": check_captures,
        "_ptc_write": writable,
        "_ptc_class": own_class,
        SETTLE: settle_annotations,
    }
    return namespace
