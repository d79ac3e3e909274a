"""The fields of classes that are records: pydantic models, dataclasses, `TypedDict`s, attrs classes."""

from __future__ import annotations

import dataclasses
import datetime
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import typing_extensions
from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Direction: TypeAlias = Literal["input", "output"]
"""Which way the value goes: from the code into a tool, or from a tool to the code."""
QUALIFIERS = (
    *(typing.Annotated, typing.ClassVar, typing.Final),
    *(typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field as its class declares it."""

    name: str
    annotation: object
    required: bool
    description: str = ""
    constraints: tuple[str, ...] = ()
    note: str = ""


Fields: TypeAlias = Callable[[type, Direction], list[Field]]


def _typed_dict_fields(kind: type, _: Direction) -> list[Field]:
    hints = read_hints(kind)
    required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    return [
        Field(
            name=name,
            annotation=hint,
            required=_required_by_qualifier(hint, name in required),
            description=_annotated_description(hint),
        )
        for name, hint in hints.items()
    ]


def _required_by_qualifier(hint: object, default: bool) -> bool:
    """Return whether a key is required: `NotRequired` in text escapes `__required_keys__`."""
    while (origin := typing_extensions.get_origin(hint)) in QUALIFIERS:
        if origin in (typing_extensions.Required, typing_extensions.NotRequired):
            return origin is typing_extensions.Required
        hint = typing.get_args(hint)[0]
    return default


def _annotated_description(hint: object) -> str:
    for part in typing.get_args(hint)[1:]:
        if isinstance(part, str):
            return part
        if isinstance(part, FieldInfo):
            return part.description or ""
    return ""


def _dataclass_fields(kind: type, direction: Direction) -> list[Field]:
    hints = read_hints(kind)
    own: Mapping[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    found = []
    for field in dataclasses.fields(kind):
        if direction == "input" and not field.init:
            continue
        info = own.get(field.name)
        missing = dataclasses.MISSING
        plain = field.default is missing and field.default_factory is missing
        required = info.is_required() if info is not None else plain
        found.append(
            Field(
                name=(
                    input_name(field.name, info) if direction == "input" and info else field.name
                ),
                annotation=hints.get(field.name, Any),
                required=direction == "output" or required,
                description=(info.description or "") if info is not None else "",
            )
        )
    return found


def _attrs_fields(kind: Any, _: Direction) -> list[Field]:
    hints = read_hints(kind)
    names = [attribute.name for attribute in kind.__attrs_attrs__]
    return [Field(name=n, annotation=hints.get(n, Any), required=True) for n in names]


def _model_fields(kind: type[BaseModel], direction: Direction) -> list[Field]:
    found = []
    decorators = kind.__pydantic_decorators__
    serialized = {name for d in decorators.field_serializers.values() for name in d.info.fields}
    by_alias = kind.model_config.get("serialize_by_alias")
    for name, field in kind.model_fields.items():
        outgoing = direction == "output"
        if outgoing and field.exclude:
            continue
        alias = (field.serialization_alias or name) if by_alias else name
        changed = outgoing and (
            bool(serialized & {name, "*"})
            or any(
                type(m).__name__ in ("PlainSerializer", "WrapSerializer") for m in field.metadata
            )
        )
        found.append(
            Field(
                name=alias if outgoing else input_name(name, field),
                annotation=field.annotation,
                required=outgoing or field.is_required(),
                description=field.description or "",
                constraints=model_constraints(field),
                note="the model serializes it" if changed else "",
            )
        )
    if direction == "output":
        found.extend(
            Field(name=name, annotation=computed.return_type, required=True)
            for name, computed in kind.model_computed_fields.items()
        )
    return found


def input_name(name: str, field: FieldInfo) -> str:
    """Return the key under which a pydantic field takes its value."""
    alias = field.validation_alias or field.alias
    if isinstance(alias, AliasChoices):
        alias = next((choice_ for choice_ in alias.choices if isinstance(choice_, str)), None)
    return alias if isinstance(alias, str) else name


_LIMITS = {
    "gt": "> {}",
    "ge": ">= {}",
    "lt": "< {}",
    "le": "<= {}",
    "multiple_of": "a multiple of {}",
    "min_length": "length >= {}",
    "max_length": "length <= {}",
    "pattern": "pattern {}",
}


def model_constraints(field: FieldInfo) -> tuple[str, ...]:
    """Return what a pydantic field demands beyond its type, in words."""
    found = []
    for part in field.metadata:
        for attribute, template in _LIMITS.items():
            value = getattr(part, attribute, None)
            if isinstance(value, int | float | str | Decimal | datetime.date):
                found.append(template.format(value))
    return tuple(found)


def model_default(field: FieldInfo) -> object:
    """Return the default of a pydantic field; `...` where there is none that can be shown."""
    if field.default_factory in (list, dict, set, tuple):
        return field.default_factory()
    if field.default is PydanticUndefined or field.default_factory is not None:
        return ...
    return field.default


def record_fields(kind: type, direction: Direction) -> Fields | None:
    """Return what lists the fields of `kind`, or None if it is no record."""
    if typing_extensions.is_typeddict(kind):
        return _typed_dict_fields
    if issubclass(kind, BaseModel):
        custom = direction == "output" and kind.__pydantic_decorators__.model_serializers
        return None if issubclass(kind, RootModel) or custom else _model_fields
    if dataclasses.is_dataclass(kind):
        return _dataclass_fields
    if hasattr(kind, "__attrs_attrs__") and direction == "output":
        return _attrs_fields
    return None


def read_hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class; those that cannot be resolved are left as text."""
    try:
        return typing_extensions.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return own_annotations(kind)


def own_annotations(described: Any) -> dict[str, Any]:
    """Return the annotations of a class or function; on Python 3.14 references for missing names."""
    try:
        return dict(
            typing_extensions.get_annotations(described, format=typing_extensions.Format.FORWARDREF)
        )
    except Exception:  # noqa: BLE001  # annotations are code of their author's
        return {}
