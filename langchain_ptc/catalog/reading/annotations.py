"""Python annotations -> type trees.

Values cross into the code by copy (see `sandbox/values.py`): pydantic models, dataclasses and
`TypedDict`s arrive as records, enums as their values, and whatever has no form of its own as text.
The trees say what is *on the code's side*: so a model is a record, not a class.

Pure but for what looking at a class needs: no tool is called and no object is made.
"""

from __future__ import annotations

import collections
import collections.abc as abc
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
from langchain_core.messages import ToolMessage
from pydantic import BaseModel, TypeAdapter

from langchain_ptc.catalog.names import to_class_name
from langchain_ptc.catalog.reading.fields import (
    QUALIFIERS,
    Direction,
    Fields,
    own_annotations,
    read_hints,
    record_fields,
)
from langchain_ptc.catalog.reading.injected import resolve_annotation, underlying_function
from langchain_ptc.catalog.reading.schemas import SchemaReader
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
_INPUT_LISTS = (abc.Collection, abc.Iterable)
"""What a tool takes a list for, though its results of that type may arrive as something else."""
_READ_AS_LISTS = frozenset(
    {
        *(collections.deque, collections.UserList, abc.Iterator, abc.Generator),
        *(abc.AsyncIterator, abc.AsyncGenerator, abc.KeysView, abc.ValuesView),
    }
)
"""What arrives as a list whatever it is, with the type of its items first among the arguments."""
_MAPPINGS = (
    *(dict, abc.Mapping, abc.MutableMapping),
    *(collections.OrderedDict, collections.defaultdict),
)
_ALIASES = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)
"""What `type X = ...` makes; its value is evaluated, and may fail, when it is asked for."""
_OPAQUE_MODULES = ("langchain_core.messages", "langgraph.")
"""Classes of the framework whose fields are no business of the code."""
_TEXT_MODULES = (
    *("pathlib", "ipaddress", "fractions", "zoneinfo"),
    *("pydantic.networks", "pydantic.types", "pydantic_core"),
)
"""Modules whose classes arrive as their text: paths, addresses, secrets (which hide themselves)."""
_MESSAGE_CONTENT = union([STR, container("list", ANY)])


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
        origin, args = typing_extensions.get_origin(annotation), typing.get_args(annotation)
        if origin is None and isinstance(annotation, _ALIASES):
            return self._read_alias(annotation, depth, {})
        if isinstance(origin, _ALIASES):
            names = getattr(origin, "__type_params__", ())
            given = dict(zip(names, map(read, args), strict=False))
            return self._read_alias(origin, depth, given)
        if origin is not None and args:
            return self._read_generic(origin, args, read)
        kind = annotation if origin is None else origin
        if isinstance(kind, type):
            return self._read_class(kind, depth, {}, ())
        return ANY

    # --- what has arguments ---------------------------------------------------------------------

    def _read_alias(self, alias: object, depth: int, type_vars: _TypeVars) -> TypeTree:
        if id(alias) in self._aliases:
            return widened("recursive")
        self._aliases.add(id(alias))
        try:
            value = alias.__value__  # type: ignore[attr-defined]  # it has
            return self.read(value, depth=depth + 1, type_vars=type_vars)
        except Exception:  # noqa: BLE001  # `type X = ...` is evaluated here: code of its author's
            return ANY
        finally:
            self._aliases.discard(id(alias))

    def _read_generic(
        self, origin: object, args: tuple[Any, ...], read: Callable[[object], TypeTree]
    ) -> TypeTree:
        if origin in QUALIFIERS:
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
        if origin is abc.ItemsView:
            return container("list", container("tuple", *map(read, args)))
        if origin in (abc.Awaitable, abc.Coroutine):
            return read(args[-1])
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
        if kind in _READ_AS_LISTS:
            return "list"
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
            return self._read_opaque(kind)
        fields = record_fields(kind, self._direction)
        if fields is not None:
            return self._define(kind, fields, depth, type_vars, args)
        if issubclass(kind, BaseModel):  # the value of a root model stands for it
            root = kind.model_fields.get("root")
            return self.read(root.annotation, depth=depth + 1) if root is not None else ANY
        for base in _SUBCLASSED:
            if issubclass(kind, base):
                return _PRIMITIVES[base]
        return self._read_foreign(kind)

    def _read_opaque(self, kind: type) -> TypeTree:
        outgoing = self._direction == "output"
        if outgoing and _is_command(kind):
            return union([_MESSAGE_CONTENT, NONE])  # the content of its own message, if it has one
        if outgoing and issubclass(kind, ToolMessage):
            return _MESSAGE_CONTENT
        return widened(kind.__name__)

    def _read_tuple(self, kind: type, depth: int) -> TypeTree:
        names = getattr(kind, "_fields", None)
        if not names:
            return container("tuple", ANY, variadic=True)
        hints = read_hints(kind)
        types_ = [self.read(hints.get(name, Any), depth=depth + 1) for name in names]
        return container("tuple", *types_, note=f"({', '.join(names)})")

    def _read_foreign(self, kind: type) -> TypeTree:
        """Read a class that is neither Python's nor a record, for example a URL."""
        if self._direction == "output":
            return _arrives_as(kind)
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
        fields: Fields,
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


def _is_command(kind: type) -> bool:
    return any((b.__module__, b.__name__) == ("langgraph.types", "Command") for b in kind.__mro__)


def _arrives_as(kind: type) -> TypeTree:
    """Return what the code gets for an object of a class of some library; see `sandbox/values.py`."""
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ == "DataFrame":
        return container("list", container("dict", STR, ANY))
    if package == "numpy" and hasattr(kind, "tolist"):
        names = {base.__name__ for base in kind.__mro__}
        known = (("integer", INT), ("floating", FLOAT), ("bool", BOOL), ("bool_", BOOL))
        return next((tree for name, tree in known if name in names), ANY)
    if issubclass(kind, BaseException):
        return STR
    told = kind.__str__ is not object.__str__ or isinstance(kind.__repr__, types.FunctionType)
    return STR if told and kind.__module__.startswith(_TEXT_MODULES) else ANY


# --- looking at classes -------------------------------------------------------------------------


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _argument_names(args: tuple[Any, ...]) -> str:
    return "".join(f" {getattr(arg, '__name__', '')}" for arg in args)


def _class_description(kind: type) -> str:
    doc = kind.__dict__.get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{kind.__name__}("):
        return ""  # the signature that `dataclass` writes
    return inspect.cleandoc(doc).partition("\n\n")[0]


def return_annotation(function: Callable[..., Any]) -> object:
    """Return the annotation of what `function` returns, resolved; `Any` where there is none."""
    function = underlying_function(function)
    given = own_annotations(function).get("return", Any)
    found = resolve_annotation(given, getattr(function, "__globals__", {}))
    return Any if found is None else found
