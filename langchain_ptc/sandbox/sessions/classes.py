# ruff: noqa: SIM905  # lists of names are read better as text
"""Classes of the code and their instances: taken apart, and built again of checked names.

Nothing of a class body runs again. What the standard library has added to a class (the methods of a
dataclass, the members of an enumeration) is left out and made again by the standard library.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_ptc.sandbox.language import facades, names
from langchain_ptc.sandbox.language.classes import SafeEnumMeta, check_bases, is_own, own

_TypedDict = cast("Any", typing.TypedDict)
_TYPED_DICT: type = type(_TypedDict("_Example", {}))
_METACLASSES = frozenset(
    {type, abc.ABCMeta, SafeEnumMeta, enum.EnumMeta, type(typing.Protocol), _TYPED_DICT}
)
_MADE_AGAIN = frozenset(
    "_abc_impl _is_protocol _is_runtime_protocol _member_map_ _member_names_ _value2member_map_ "
    "_member_type_ _value_repr_ _new_member_ _use_args_ _flag_mask_ _all_bits_ _boundary_ "
    "_singles_mask_ _inverted_ _unhashable_values_ _hashable_values_ _unhashable_values_map_ "
    "_fields _field_defaults _make _replace _asdict _sort_order_".split()
)
_DEFINED = (names.DEFINABLE - {"__slots__", "__match_args__"}) | {"__isabstractmethod__"}
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_OPTIONS = ["init", "repr", "eq", "order", "unsafe_hash", "frozen"]
_FIELD_OPTIONS = ["init", "repr", "hash", "compare", "kw_only"]
_OF_MEMBER = frozenset({"_value_", "_name_", "_sort_order_", "_inverted_"})


def take_class(
    cls: type, is_of_code: Callable[[types.FunctionType], bool], *, libraries: bool
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Take a class of the code apart.

    Args:
        cls: The class.
        is_of_code: Whether code of the session has defined a function.
        libraries: Whether classes are kept whose metaclass is a library's.

    Returns:
        What `make_class` makes it with, and what `fill_class` then adds; None if it is of a kind that
        cannot be kept.
    """
    kind = _kind_of(cls)
    if kind is None or (kind == "library" and not libraries):
        return None
    values, made = vars(cls), cast("Any", cls)
    parts: dict[str, Any] = {"kind": kind, "name": cls.__name__, "bases": cls.__bases__}
    doc = values.get("__doc__")
    state: dict[str, Any] = {
        "qualname": cls.__qualname__,
        "doc": doc if type(doc) is str else None,
        "runtime": bool(values.get("_is_runtime_protocol")),
    }
    skip = {"__hash__"} if kind == "dataclass" and values.get("__hash__") is None else set()
    if "__annotations__" in values:
        parts["annotations"] = dict(values["__annotations__"])
    if "__slots__" in values:
        parts["slots"] = [n for n, slot in values.items() if type(slot) is _DESCRIPTORS[0]]
        skip.update(parts["slots"])
    if kind == "enum":
        parts["values"] = {name: m._value_ for name, m in made.__members__.items()}
        skip.update(parts["values"])
        if values.get("_boundary_") is not None and issubclass(cls, enum.Flag):
            parts["boundary"] = values["_boundary_"].name
        state["members"] = _take_member_states(made)
    elif kind == "dataclass":
        fields = _take_fields(made)
        options = {option: bool(getattr(made.__dataclass_params__, option)) for option in _OPTIONS}
        state["options"] = {**options, "match_args": "__match_args__" in values}
        state["fields"] = fields
        skip.update(fields)
    elif kind == "namedtuple":
        parts["fields"] = list(made._fields)
        parts["defaults"] = list(made._field_defaults.values())
        skip.update(parts["fields"])
    elif kind == "typeddict":
        parts["total"] = bool(made.__total__)
    for name in ("__orig_bases__", "__match_args__"):
        if name in values and (kind == "class" or (kind == "dataclass" and name[2] == "o")):
            parts[name] = tuple(values[name])
    generated = kind != "class" or type(cls) is type(typing.Protocol)
    state["attributes"] = {
        name: value
        for name, value in values.items()
        if name not in skip and _is_kept(name, value, is_of_code if generated else None)
    }
    if kind == "library":  # its metaclass sees the body of a class before it makes one
        parts.update(_take_model(cls), body=state.pop("attributes"))
        state["attributes"] = {}
    return parts, state


def _kind_of(cls: type) -> str | None:
    if type(cls) not in _METACLASSES:
        return "library"
    if type(cls) is _TYPED_DICT:
        return "typeddict"
    if issubclass(type(cls), enum.EnumMeta):
        odd = "__new_member__" in vars(cls) or is_own(vars(cls).get("_member_type_", object))
        return None if odd else "enum"
    if "__dataclass_fields__" in vars(cls):
        return "dataclass" if "__pydantic_fields__" not in vars(cls) else None
    if cls.__bases__ == (tuple,) and "_fields" in vars(cls):
        return "namedtuple"
    return "class"


def _is_kept(
    name: str, value: object, is_of_code: Callable[[types.FunctionType], bool] | None
) -> bool:
    """Whether an attribute of a class is kept: `is_of_code` where others are generated again."""
    if name in _MADE_AGAIN or type(value) in _DESCRIPTORS:
        return False
    if name not in _DEFINED if names.is_dunder(name) else names.is_refused(name):
        return False
    if is_of_code is None:
        return True
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if type(inner) is types.FunctionType:
        return is_of_code(inner)
    return type(inner) is not types.BuiltinFunctionType and not isinstance(inner, enum.property)


def _take_model(cls: type) -> dict[str, Any]:
    """Return what pydantic has taken out of the body of a model: fields, decorators, private attributes."""
    values = vars(cls)
    written = values.get("__annotations__", {})
    fields = {
        name: _take_model_field(field.asdict(), written[name])
        for name, field in values.get("__pydantic_fields__", {}).items()
        if name in written
    }
    found = values.get("__pydantic_decorators__")
    groups = [getattr(found, group.name) for group in dataclasses.fields(found)] if found else []
    infos = {name: made.info for group in groups for name, made in group.items() if name in values}
    private = dict(values.get("__private_attributes__", {}))
    return {"model_fields": fields, "decorators": infos, "private": private}


def _take_model_field(field: Any, written: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return annotation, metadata and the arguments of `Field`."""
    annotation, metadata, arguments = field["annotation"], [], dict(field["attributes"])
    if type(written) is not str and typing.get_origin(written) is not typing.Annotated:
        annotation = written  # it may name the class itself, which is not there yet
    for part in field["metadata"]:
        if type(part).__name__ == "_PydanticGeneralMetadata":  # a class that has no name
            arguments.update(vars(part))
        else:
            metadata.append(part)
    return annotation, metadata, arguments


def _make_body(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a class whose metaclass is a library's."""
    body = {**parts["body"], **parts["private"]}
    annotations = body["__annotations__"] = dict(parts.get("annotations", {}))
    for name, (annotation, metadata, arguments) in parts["model_fields"].items():
        annotations[name] = typing.Annotated[annotation, *metadata] if metadata else annotation
        if arguments:
            body[name] = sys.modules["pydantic"].Field(**arguments)
    for name, info in parts["decorators"].items():
        decorators = sys.modules["pydantic._internal._decorators"]
        body[name] = decorators.PydanticDescriptorProxy(body[name], info)
    return body


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


def make_class(parts: Mapping[str, Any], *, libraries: bool) -> type:
    """Make the empty class from what `take_class` returned first.

    Args:
        parts: As `take_class` returned them.
        libraries: Whether the metaclass may be a library's.

    Raises:
        TypeError: No class statement of the code could have made it.
        ValueError: A name cannot be had by a class.
    """
    kind, name = parts["kind"], names.checked_identifier(parts["name"])
    if kind == "library" and not libraries:
        raise TypeError(f"the metaclass of class {name!r} is a library's")
    bases = tuple(parts["bases"])
    check_bases(name, bases)
    if not libraries and not all(type(base) in _METACLASSES for base in bases):
        raise TypeError(f"class {name!r} has a metaclass that is a library's")
    if kind == "namedtuple":
        return facades.namedtuple(name, parts["fields"], defaults=parts["defaults"])
    if kind == "typeddict":
        annotations = checked_names(parts.get("annotations", {}))
        return own(_TypedDict(name, annotations, total=bool(parts["total"])))
    entries = _class_entries(parts)
    options: dict[str, Any] = {}
    if "boundary" in parts:
        options["boundary"] = enum.FlagBoundary[parts["boundary"]]

    def fill(namespace: dict[str, Any]) -> None:
        for entry, value in entries.items():  # one by one: an enumeration watches its members
            namespace[entry] = value  # noqa: PERF403

    with _without_hooks(bases):
        return own(types.new_class(name, bases, options, fill))


def _class_entries(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names with which a class is made."""
    entries: dict[str, Any] = {"__module__": "__main__"}
    if "annotations" in parts:
        entries["__annotations__"] = checked_names(parts["annotations"])
    if "slots" in parts:
        entries["__slots__"] = tuple(map(_checked_name, parts["slots"]))
    if "__orig_bases__" in parts:
        entries["__orig_bases__"] = tuple(parts["__orig_bases__"])
    if "__match_args__" in parts:
        entries["__match_args__"] = tuple(map(_checked_name, parts["__match_args__"]))
    entries.update(checked_names(parts.get("values", {})))
    if parts["kind"] == "library":
        entries.update(_make_body(parts))
    return entries


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
    """Add what `take_class` returned second, and have the standard library add its own part again.

    Raises:
        ValueError: No class of the code can have such an attribute.
    """
    cls.__qualname__, made = str(state["qualname"]), cast("Any", cls)
    if type(cls) is not _TYPED_DICT:
        cls.__doc__ = state["doc"]
    for name, value in state["attributes"].items():
        setattr(cls, name if name in _DEFINED else _checked_name(name), value)
    if "fields" in state:
        slots = {n: s for n, s in vars(cls).items() if type(s) is _DESCRIPTORS[0]}
        make: Any = dataclasses.field
        for name, given in state["fields"].items():
            setattr(cls, _checked_name(name), make(**given))
        facades.dataclass(cls, **{option: bool(on) for option, on in state["options"].items()})
        for name, slot in slots.items():
            setattr(cls, name, slot)
    if issubclass(type(cls), enum.EnumMeta):  # else who knows what `made[name]` is
        for name, values in state["members"].items():
            object.__getattribute__(made[name], "__dict__").update(checked_names(values))
    if state["runtime"]:
        typing.runtime_checkable(cls)
    if isinstance(cls, abc.ABCMeta):
        abc.update_abstractmethods(made)


def _checked_name(name: object) -> str:
    """Return `name` if it may be that of an attribute, a private one included.

    Raises:
        ValueError: It may not.
    """
    if type(name) is not str or not name.isidentifier():
        raise ValueError(f"{name!r} is not an identifier")
    if names.is_refused(name, special=frozenset()):
        raise ValueError(f"the name {name!r} is refused")
    return name


def checked_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, each of whose names may be that of an attribute.

    Raises:
        ValueError: One may not.
    """
    return {_checked_name(name): value for name, value in values.items()}


# --- instances ------------------------------------------------------------------------------------


def may_set(name: object) -> bool:
    """Whether code can set an attribute of this name on an object of its own."""
    return type(name) is str and (
        name == "__isabstractmethod__" or not names.is_refused(name, special=names.WRITABLE)
    )


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
BASES: Mapping[str, type] = {
    base.__name__: base for base in (object, *_DICTS, *_EXTEND, frozenset, tuple, *_SCALARS)
}
"""Built-in classes that a class of the code may inherit from."""
HEAP_TYPE = 1 << 9
_REDUCERS = frozenset({"__reduce_ex__", "__reduce__", "__getstate__"})


def content_base(cls: type) -> type | None:
    """Return the built-in class that instances of `cls` are made by; None if it is not known."""
    for base in type.mro(cls):
        if is_own(base):
            continue
        if BASES.get(base.__name__) is base:
            return base
        new: object = base.__new__
        if not base.__flags__ & HEAP_TYPE or new is not object.__new__ or has_reducer(base):
            return None
    return None


def has_reducer(cls: type) -> bool:
    """Whether a class of a library says itself what its instances are made of."""
    heap = [base for base in type.mro(cls) if base.__flags__ & HEAP_TYPE]
    return not all(_REDUCERS.isdisjoint(vars(base)) for base in heap)


def take_content(base: Any, value: object) -> tuple[tuple[Any, ...], list[Any]]:
    """Return the content of an instance's built-in class: arguments that make it, and items to add."""
    if base in _DICTS:
        return (), list(base.items(value))
    if base in _EXTEND:
        return (), list(base.__iter__(value))
    if base in _SCALARS:
        return (_SCALARS[base](value),), []
    return () if base is object else (list(base.__iter__(value)),), []


def put_content(base: Any, made: object, content: list[Any]) -> None:
    """Fill an empty instance."""
    if base in _DICTS:
        for key, value in content:
            base.__setitem__(made, key, value)
    elif content:
        _EXTEND[base](made, content)


_ORDER = frozenset({"__lt__", "__gt__", "__le__", "__ge__"})


def may_be_empty(cls: type) -> bool:
    """Whether an instance can be in a set, a dict or a sorted list before it has its attributes."""
    mro = type.mro(cls)
    found = next(vars(base)["__hash__"] for base in mro if "__hash__" in vars(base))
    is_ordered = any(is_own(base) and not _ORDER.isdisjoint(vars(base)) for base in mro)
    return not is_ordered and (found is None or found is vars(object)["__hash__"])


Slots = Mapping[str, types.MemberDescriptorType]


def slots_of_class(cls: type) -> Slots:
    """Return the slots that the code's classes among the parents of `cls` have."""
    found: dict[str, types.MemberDescriptorType] = {}
    for base in type.mro(cls):
        if is_own(base):
            for name, slot in vars(base).items():
                if type(slot) is types.MemberDescriptorType:
                    found.setdefault(name, slot)
    return found


def take_attributes(value: object, slots: Slots) -> dict[str, object]:
    """Return the attributes of an instance that code may set, those in slots included."""
    found: dict[str, object] = {}
    for name, slot in slots.items():
        with contextlib.suppress(AttributeError):
            found[name] = slot.__get__(value)
    with contextlib.suppress(AttributeError):
        values: dict[str, object] = object.__getattribute__(value, "__dict__")
        found.update({name: part for name, part in values.items() if may_set(name)})
    return found


def put_attributes(made: object, values: Mapping[str, object], slots: Slots) -> None:
    """Set attributes of an instance, as code can.

    Raises:
        ValueError: One cannot be set.
    """
    for name, value in values.items():
        if name in slots:
            slots[name].__set__(made, value)
        elif not may_set(name):
            raise ValueError(f"the attribute {name!r} cannot be set")
        else:
            object.__getattribute__(made, "__dict__")[name] = value
