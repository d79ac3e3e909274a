# ruff: noqa: SIM905  # lists of names are read better as text
"""Classes of the code and their instances: taken apart, and built again.

Nothing of a class body runs again. What the standard library has added to a class (the methods of a
dataclass, the members of an enumeration) is left out and made again by the standard library.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_ptc.sandbox.language import modules, names
from langchain_ptc.sandbox.language.classes import SafeEnumMeta, is_own, own

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
    """Take a class of the code apart.

    Args:
        cls: The class.
        is_of_code: Whether code of the session has defined a function.

    Returns:
        What `make_class` makes it with, and what `fill_class` then adds; None if it is of a kind that
        cannot be kept.
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


# --- and back -------------------------------------------------------------------------------------


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
