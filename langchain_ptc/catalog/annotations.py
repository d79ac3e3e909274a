"""Python annotations -> type trees.

Values cross into the code by copy (see `sandbox/values.py`): pydantic models, dataclasses and
`TypedDict`s arrive as records, enums as their values, and whatever has no form of its own as text.
The trees say what is *on the code's side*: so a model is a record, not a class.

Pure but for what looking at a class needs: no tool is called and no object is made.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import dataclasses
import datetime
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

import typing_extensions
from pydantic import AliasChoices, BaseModel, RootModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from langchain_ptc.catalog.names import to_class_name
from langchain_ptc.catalog.schemas import SchemaReader
from langchain_ptc.catalog.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    MAX_DEPTH,
    NONE,
    STR,
    Named,
    Record,
    RecordField,
    RecordTable,
    TypeTree,
    choice,
    container,
    union,
    widened,
)

Direction: TypeAlias = Literal["input", "output"]
"""Which way the value goes: from the code into a tool, or from a tool to the code."""
_TypeVars: TypeAlias = Mapping[object, TypeTree]

_PRIMITIVES: dict[object, TypeTree] = {
    None: NONE,
    type(None): NONE,
    Any: ANY,
    object: ANY,
    inspect.Parameter.empty: ANY,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STR,
    complex: Named(name="complex"),
    bytes: Named(name="bytes"),
    bytearray: Named(name="bytes"),
    datetime.datetime: Named(name="datetime"),
    datetime.date: Named(name="date"),
    datetime.time: Named(name="time"),
    datetime.timedelta: Named(name="timedelta"),
    Decimal: Named(name="Decimal"),
    UUID: Named(name="UUID"),
    range: Named(name="range"),
    typing.NoReturn: NONE,
    typing.Never: NONE,
    typing.LiteralString: STR,
}
_SUBCLASSED = (bool, int, float, str, complex, bytes, datetime.datetime, datetime.date)
_LISTS: dict[object, Literal["list", "set", "frozenset", "Sequence"]] = {
    list: "list",
    set: "set",
    frozenset: "frozenset",
    abc.Sequence: "Sequence",
    abc.MutableSequence: "Sequence",
    abc.Set: "set",
    abc.MutableSet: "set",
}
_INPUT_LISTS = (abc.Collection, abc.Iterable, collections.deque)
"""What a tool takes a list for, though its results of that type do not arrive as lists."""
_MAPPINGS = (
    *(dict, abc.Mapping, abc.MutableMapping),
    *(collections.OrderedDict, collections.defaultdict),
)
_QUALIFIERS = (
    *(typing.Annotated, typing.ClassVar, typing.Final),
    *(typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly),
)
_OPAQUE_MODULES = ("langchain_core.messages", "langgraph.")
"""Classes of the framework whose fields are no business of the code."""


class AnnotationReader:
    """Reads annotations into a table of records.

    Args:
        table: Takes the records.
        direction: Whether the values go into a tool or come from it. A model's fields go in under
            their aliases and come out under their names; a default makes a field optional only on
            its way in.
    """

    def __init__(self, table: RecordTable, *, direction: Direction) -> None:
        self._table = table
        self._direction = direction
        self._keys: dict[tuple[object, str], str] = {}
        self._aliases: set[int] = set()

    def read(
        self, annotation: object, *, depth: int = 0, type_vars: _TypeVars | None = None
    ) -> TypeTree:
        """Return the type of the values that `annotation` stands for, or a wider one."""
        if depth > MAX_DEPTH:
            return widened("nested too deeply to show")
        known = _PRIMITIVES.get(annotation) if _is_hashable(annotation) else None
        if known is not None:
            return known

        def read(inner: object) -> TypeTree:
            return self.read(inner, depth=depth + 1, type_vars=type_vars)

        if isinstance(annotation, str | typing.ForwardRef):
            return ANY
        if isinstance(annotation, typing.TypeVar):
            bounds = annotation.__constraints__ or (annotation.__bound__ or Any,)
            return (type_vars or {}).get(annotation) or union([read(bound) for bound in bounds])
        if isinstance(annotation, typing.NewType):
            return read(annotation.__supertype__)
        if hasattr(annotation, "__value__"):
            return self._read_alias(annotation, depth)
        origin, args = typing_extensions.get_origin(annotation), typing.get_args(annotation)
        if origin is not None and args:
            return self._read_generic(origin, args, read)
        kind = annotation if origin is None else origin
        if isinstance(kind, type):
            return self._read_class(kind, depth, {}, ())
        return ANY

    # --- what has arguments ---------------------------------------------------------------------

    def _read_alias(self, alias: object, depth: int) -> TypeTree:
        if id(alias) in self._aliases:
            return widened("recursive")
        self._aliases.add(id(alias))
        try:
            return self.read(alias.__value__, depth=depth + 1)  # type: ignore[attr-defined]  # it has
        finally:
            self._aliases.discard(id(alias))

    def _read_generic(
        self, origin: object, args: tuple[Any, ...], read: Callable[[object], TypeTree]
    ) -> TypeTree:
        if origin in _QUALIFIERS:
            return self._read_annotated(args, read)
        if origin is typing.Union or origin is types.UnionType:
            return union([read(arg) for arg in args])
        if origin in (Literal, typing_extensions.Literal):
            return choice([arg.value if isinstance(arg, enum.Enum) else arg for arg in args])
        if origin is tuple:
            variadic = len(args) == 2 and args[1] is Ellipsis
            inner = [read(arg) for arg in (args[:1] if variadic else args)]
            return container("tuple", *inner, variadic=variadic)
        if origin in _MAPPINGS:
            return container("dict", *(read(arg) for arg in args))
        if origin is collections.Counter:
            return container("dict", read(args[0]), INT)
        name = self._list_name(origin)
        if name is not None:
            return container(name, read(args[0]))
        if origin in (abc.Awaitable, abc.Coroutine):
            return read(args[-1])
        if hasattr(origin, "__value__"):  # a generic `type X[T] = ...`
            return widened("a generic alias")
        if isinstance(origin, type):
            names = getattr(origin, "__parameters__", ())
            trees = [read(arg) for arg in args]
            return self._read_class(origin, 0, dict(zip(names, trees, strict=False)), args)
        return ANY

    def _read_annotated(
        self, args: tuple[Any, ...], read: Callable[[object], TypeTree]
    ) -> TypeTree:
        serialized = any(type(arg).__name__ == "PlainSerializer" for arg in args[1:])
        if serialized and self._direction == "output":
            return widened("the model serializes it")
        return read(args[0])

    def _list_name(self, kind: object) -> Literal["list", "set", "frozenset", "Sequence"] | None:
        if self._direction == "input" and kind in (*_INPUT_LISTS, *_LISTS):
            name = _LISTS.get(kind, "list")
            return "list" if name == "Sequence" else name
        return _LISTS.get(kind)

    # --- classes --------------------------------------------------------------------------------

    def _read_class(
        self, kind: type, depth: int, type_vars: _TypeVars, args: tuple[Any, ...]
    ) -> TypeTree:
        if issubclass(kind, enum.Flag):
            return INT
        if issubclass(kind, enum.Enum):
            return choice([member.value for member in kind])
        if kind in _MAPPINGS or kind is collections.Counter:
            return container("dict", ANY, ANY) if kind is not dict else container("dict", STR, ANY)
        name = self._list_name(kind)
        if name is not None:
            return container(name, ANY)
        if issubclass(kind, tuple):
            return self._read_tuple(kind, depth)
        if kind.__module__.startswith(_OPAQUE_MODULES):
            return widened(f"a {kind.__name__}")
        fields = self._record_fields(kind)
        if fields is not None:
            return self._define(kind, fields, depth, type_vars, args)
        if issubclass(kind, BaseModel):  # the value of a root model stands for it
            root = kind.model_fields.get("root")
            return self.read(root.annotation, depth=depth + 1) if root is not None else ANY
        for base in _SUBCLASSED:
            if issubclass(kind, base):
                return _PRIMITIVES[base]
        return self._read_foreign(kind)

    def _record_fields(self, kind: type) -> _Fields | None:
        """Return what lists the fields of `kind`, or None if it is no record."""
        if typing_extensions.is_typeddict(kind):
            return _typed_dict_fields
        if issubclass(kind, BaseModel):
            custom = self._direction == "output" and kind.__pydantic_decorators__.model_serializers
            return None if issubclass(kind, RootModel) or custom else _model_fields
        if dataclasses.is_dataclass(kind):
            return _dataclass_fields
        return None

    def _read_tuple(self, kind: type, depth: int) -> TypeTree:
        names = getattr(kind, "_fields", None)
        if not names:
            return container("tuple", ANY, variadic=True)
        hints = _hints(kind)
        types_ = [self.read(hints.get(name, Any), depth=depth + 1) for name in names]
        return container("tuple", *types_, note=f"({', '.join(names)})")

    def _read_foreign(self, kind: type) -> TypeTree:
        """Read a class that only pydantic knows, for example a URL: by its schema, on its way in."""
        if self._direction == "output":
            return ANY
        try:
            schema = TypeAdapter(kind).json_schema()
        except Exception:  # noqa: BLE001  # classes bring their own schema code, which may do anything
            return ANY
        scope = f"{kind.__module__}.{kind.__qualname__}:"
        reader = SchemaReader(schema, self._table, scope=scope)
        return reader.read(schema, name=kind.__name__, path="#")

    def _define(
        self,
        kind: type,
        fields: _Fields,
        depth: int,
        type_vars: _TypeVars,
        args: tuple[Any, ...],
    ) -> TypeTree:
        label = f"{self._direction}:{kind.__module__}.{kind.__qualname__}{list(args) or ''}"
        key = self._keys.get((kind, label))
        if key is None:
            key = label
            while key in self._table:  # another class of the same name
                key += "'"
            self._keys[kind, label] = key

        def build() -> Record | None:
            found = []
            for field in fields(kind, self._direction):
                tree = self.read(field.annotation, depth=depth + 1, type_vars=type_vars)
                found.append(
                    RecordField(
                        name=field.name,
                        type=widened(field.note) if field.note else tree,
                        required=field.required,
                        description=field.description,
                        constraints=field.constraints,
                    )
                )
            if not found:
                return None
            return Record(
                key=key,
                name=to_class_name(f"{kind.__name__}{_argument_names(args)}"),
                fields=tuple(found),
                description=_class_description(kind),
            )

        return self._table.define(key, build)


# --- the fields of a record ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    annotation: object
    required: bool
    description: str = ""
    constraints: tuple[str, ...] = ()
    note: str = ""


_Fields: TypeAlias = Callable[[type, Direction], list[_Field]]


def _typed_dict_fields(kind: type, _: Direction) -> list[_Field]:
    hints = _hints(kind)
    required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    return [
        _Field(
            name=name,
            annotation=hint,
            required=_required_by_qualifier(hint, name in required),
            description=_annotated_description(hint),
        )
        for name, hint in hints.items()
    ]


def _required_by_qualifier(hint: object, default: bool) -> bool:
    """Return whether a key is required: `NotRequired` in text escapes `__required_keys__`."""
    origin = typing_extensions.get_origin(hint)
    if origin is typing_extensions.NotRequired:
        return False
    return True if origin is typing_extensions.Required else default


def _annotated_description(hint: object) -> str:
    for part in typing.get_args(hint)[1:]:
        if isinstance(part, str):
            return part
        if isinstance(part, FieldInfo):
            return part.description or ""
    return ""


def _dataclass_fields(kind: type, direction: Direction) -> list[_Field]:
    hints = _hints(kind)
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
            _Field(
                name=(
                    input_name(field.name, info) if direction == "input" and info else field.name
                ),
                annotation=hints.get(field.name, Any),
                required=direction == "output" or required,
                description=(info.description or "") if info is not None else "",
            )
        )
    return found


def _model_fields(kind: type[BaseModel], direction: Direction) -> list[_Field]:
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
            _Field(
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
            _Field(name=name, annotation=computed.return_type, required=True)
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


# --- looking at classes -------------------------------------------------------------------------


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class; those that cannot be resolved are left as text."""
    try:
        return typing_extensions.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return dict(getattr(kind, "__annotations__", {}))


def _argument_names(args: tuple[Any, ...]) -> str:
    return "".join(f" {getattr(arg, '__name__', '')}" for arg in args)


def _class_description(kind: type) -> str:
    doc = kind.__dict__.get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{kind.__name__}("):
        return ""  # the signature that `dataclass` writes
    return inspect.cleandoc(doc).partition("\n\n")[0]


def return_annotation(function: Callable[..., Any]) -> object:
    """Return the annotation of what `function` returns, resolved; `Any` where there is none."""
    while hasattr(function, "func") and not inspect.isroutine(function):  # functools.partial
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    # One annotation that cannot be resolved must not hide the others: look at this one alone.
    bare = types.FunctionType((lambda: None).__code__, getattr(function, "__globals__", {}))
    bare.__annotations__ = {"return": getattr(function, "__annotations__", {}).get("return", Any)}
    try:
        return typing.get_type_hints(bare, include_extras=True)["return"]
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return Any
