"""Classes of the code: taken apart, and built again of checked names.

Nothing of a class body runs again. What the standard library has added to a class (the methods of a
dataclass, the members of an enumeration) is left out and made again by the standard library.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_ptc.sandbox.language import facades, names
from langchain_ptc.sandbox.language.classes import SafeEnumMeta, is_own, own
from langchain_ptc.sandbox.sessions.refusal import refuse
from langchain_ptc.sandbox.sessions.traits import own_slots, take_annotations

if TYPE_CHECKING:
    from langchain_ptc.sandbox.sessions.writer import Item, Writer

_TypedDict = cast("Any", typing.TypedDict)
_TYPED_DICT: type = type(_TypedDict("_Example", {}))
_METACLASSES = frozenset(
    {type, abc.ABCMeta, SafeEnumMeta, enum.EnumMeta, type(typing.Protocol), _TYPED_DICT}
)
_MADE_AGAIN = frozenset(
    [
        "_abc_impl",
        "_is_protocol",
        "_is_runtime_protocol",
        "_member_map_",
        "_member_names_",
        "_value2member_map_",
        "_member_type_",
        "_value_repr_",
        "_new_member_",
        "_use_args_",
        "_flag_mask_",
        "_all_bits_",
        "_boundary_",
        "_singles_mask_",
        "_inverted_",
        "_unhashable_values_",
        "_hashable_values_",
        "_unhashable_values_map_",
        "_fields",
        "_field_defaults",
        "_make",
        "_replace",
        "_asdict",
        "_sort_order_",
    ]
)
_DEFINED = (names.DEFINABLE - {"__slots__", "__match_args__"}) | {"__isabstractmethod__"}
_WRAPPERS = (staticmethod, classmethod)
_OPTIONS = ["init", "repr", "eq", "order", "unsafe_hash", "frozen"]
_FIELD_OPTIONS = ["init", "repr", "hash", "compare", "kw_only"]


def take_class(writer: Writer, cls: type) -> list[Any]:
    """Describe a class of the code.

    Raises:
        Unkeepable: It is no class of the code, or one of a kind that cannot be kept.
    """
    if not is_own(cls) or type(cls) not in _METACLASSES:
        raise refuse(cls)
    kind = _kind_of(cls)
    if kind is None:
        raise refuse(cls)
    skip = {"__hash__"} if kind == "dataclass" and vars(cls).get("__hash__") is None else set()
    extra: dict[str, Any] = {
        "bases": writer.items(cls.__bases__),
        "qualname": cls.__qualname__,
        "doc": writer.item(cls.__doc__ if isinstance(cls.__doc__, str) else None),
    }
    annotations = take_annotations(cls, writer.known) if "__annotations__" in vars(cls) else {}
    if annotations:
        extra["annotations"] = writer.fields(annotations)
    if (slots := own_slots(cls)) is not None:
        extra["slots"] = slots
        skip.update(slots)
    if kind == "enum":
        skip.update(_take_enum(writer, cast("Any", cls), extra))
    elif kind == "dataclass":
        skip.update(_take_dataclass(writer, cast("Any", cls), extra))
    elif kind == "namedtuple":
        extra["fields"] = list(cast("Any", cls)._fields)
        extra["defaults"] = writer.items([*cast("Any", cls)._field_defaults.values()])
        skip.update(extra["fields"])
    elif kind == "typeddict":
        extra["total"] = bool(cast("Any", cls).__total__)
    for name in ("__orig_bases__", "__match_args__"):
        if name in vars(cls) and (kind == "class" or (kind == "dataclass" and name[2] == "o")):
            extra[name] = writer.items(vars(cls)[name])
    if vars(cls).get("_is_runtime_protocol"):
        extra["runtime"] = True
    generated = kind != "class" or type(cls) is type(typing.Protocol)
    extra["members"] = _take_members(writer, cls, skip, generated=generated)
    return ["k", kind, cls.__name__, extra]


def _kind_of(cls: type) -> str | None:
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


def _take_members(writer: Writer, cls: type, skip: set[str], *, generated: bool) -> dict[str, Item]:
    members = {}
    for name, value in vars(cls).items():
        if name in skip or name in _MADE_AGAIN or type(value) in _DESCRIPTORS:
            continue
        if names.is_dunder(name):
            if name not in _DEFINED:
                continue
        elif names.is_refused(name):
            continue
        if generated and not _is_of_code(writer, value):
            continue
        members[name] = value
    return writer.fields(members)


_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def _is_of_code(writer: Writer, value: object) -> bool:
    """Whether a member was not put there by the standard library."""
    inner = value.__func__ if isinstance(value, _WRAPPERS) else value
    if type(inner) is types.FunctionType:
        return writer.is_of_code(inner)
    return type(inner) is not types.BuiltinFunctionType and not isinstance(inner, enum.property)


def _take_dataclass(writer: Writer, cls: Any, extra: dict[str, Any]) -> set[str]:
    params = cls.__dataclass_params__
    own_names = vars(cls).get("__annotations__", {})
    fields, seen = [], set()
    for name, field in cls.__dataclass_fields__.items():
        if name not in own_names or field._field_type is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]
            continue
        seen.add(name)
        told: dict[str, Any] = {
            option: value
            for option in _FIELD_OPTIONS
            if isinstance(value := getattr(field, option), bool)
        }
        values = {}
        for part in ("default", "default_factory"):
            if (value := getattr(field, part)) is not dataclasses.MISSING:
                values[part] = value
        if field.metadata:
            values["metadata"] = dict(field.metadata)
        fields.append([name, told, writer.fields(values)])
    extra["fields"] = fields
    extra["options"] = {option: bool(getattr(params, option)) for option in _OPTIONS}
    extra["options"]["match_args"] = "__match_args__" in vars(cls)
    return seen


def _take_enum(writer: Writer, cls: Any, extra: dict[str, Any]) -> set[str]:
    members = cls.__members__
    extra["values"] = writer.fields({name: m._value_ for name, m in members.items()})
    boundary = vars(cls).get("_boundary_")
    if boundary is not None and issubclass(cls, enum.Flag):
        extra["boundary"] = boundary.name
    state = {
        name: {
            attribute: value
            for attribute, value in vars(member).items()
            if attribute not in _OF_MEMBER and not names.is_refused(attribute, special=frozenset())
        }
        for name, member in members.items()
        if member._name_ == name
    }
    if any(state.values()):
        extra["state"] = {name: writer.fields(values) for name, values in state.items()}
    return set(members)


_OF_MEMBER = frozenset({"_value_", "_name_", "_sort_order_", "_inverted_"})


# --- and back -------------------------------------------------------------------------------------


def make_class(kind: str, name: str, told: Mapping[str, Any], parts: Mapping[str, Any]) -> type:
    """Make the empty class of a description; `fill_class` and `finish_class` do the rest.

    Args:
        kind: As `take_class` wrote it.
        name: Name of the class.
        told: The description.
        parts: What it names, made already: `bases`, and what else its kind needs.

    Raises:
        TypeError: No class statement of the code could have made it.
        ValueError: A name cannot be had by a class.
    """
    names.checked_identifier(name)
    bases = tuple(parts["bases"])
    for base in bases:
        if type(base) not in _METACLASSES or issubclass(base, type):
            raise TypeError(f"class {name!r} cannot inherit from {base!r}")
    if kind == "namedtuple":
        return facades.namedtuple(name, told["fields"], defaults=parts["defaults"])
    if kind == "typeddict":
        annotations = checked_names(parts["annotations"])
        return own(_TypedDict(name, annotations, total=bool(told["total"])))
    entries: dict[str, Any] = {"__module__": "__main__", "__doc__": parts["doc"]}
    entries["__qualname__"] = str(told["qualname"])
    if parts["annotations"]:
        entries["__annotations__"] = checked_names(parts["annotations"])
    if "slots" in told:
        entries["__slots__"] = tuple(map(_checked_name, told["slots"]))
    if "__orig_bases__" in parts:
        entries["__orig_bases__"] = tuple(parts["__orig_bases__"])
    if "__match_args__" in parts:
        entries["__match_args__"] = tuple(map(_checked_name, parts["__match_args__"]))
    options: dict[str, Any] = {}
    if kind == "enum":
        options = _enum_options(told)
        entries.update(checked_names(parts["values"]))

    def fill(namespace: dict[str, Any]) -> None:
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


def _enum_options(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"boundary": enum.FlagBoundary[told["boundary"]]} if "boundary" in told else {}


def _checked_name(name: object) -> str:
    """Return `name` if it may be that of an attribute, a private one included.

    Raises:
        ValueError: It may not.
    """
    if type(name) is not str or not name.isidentifier():
        raise ValueError(f"{name!r} is no name")
    if names.is_refused(name, special=frozenset()):
        raise ValueError(f"the name {name!r} is refused")
    return name


def checked_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, each of whose names may be that of an attribute.

    Raises:
        ValueError: One may not.
    """
    return {_checked_name(name): value for name, value in values.items()}


def checked_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, each of whose names code may set on an object of its own.

    Raises:
        ValueError: One may not be set.
    """
    for name in values:
        if names.is_refused(name, special=names.WRITABLE) and name != "__isabstractmethod__":
            raise ValueError(f"the attribute {name!r} cannot be set")
    return dict(values)


def fill_class(cls: type, members: Mapping[str, Any]) -> None:
    """Put the members of a class into its empty form.

    Raises:
        ValueError: No class of the code can have such a member.
    """
    for name, value in members.items():
        if name not in _DEFINED:
            _checked_name(name)
        setattr(cls, name, value)


def finish_class(cls: type, kind: str, told: Mapping[str, Any], fields: Any) -> None:
    """Let the standard library add what it had added to the class.

    Args:
        cls: The class, with its members.
        kind: As `take_class` wrote it.
        told: The description.
        fields: Of a dataclass: name, options and values of each field.
    """
    if kind == "dataclass":
        slots = {n: s for n, s in vars(cls).items() if type(s) is types.MemberDescriptorType}
        for name, options, values in fields:
            make: Any = dataclasses.field
            setattr(cls, _checked_name(name), make(**_chosen(options), **values))
        chosen = told["options"]
        facades.dataclass(cls, **{o: bool(chosen[o]) for o in (*_OPTIONS, "match_args")})
        for name, slot in slots.items():
            setattr(cls, name, slot)
    elif kind == "enum":
        for name, values in fields.items():
            object.__getattribute__(cast("Any", cls)[name], "__dict__").update(
                checked_names(values)
            )
    if told.get("runtime"):
        typing.runtime_checkable(cls)
    if isinstance(cls, abc.ABCMeta):
        abc.update_abstractmethods(cast("Any", cls))


def _chosen(options: Mapping[str, Any]) -> dict[str, bool]:
    return {option: bool(options[option]) for option in _FIELD_OPTIONS if option in options}
