"""Python annotations -> type trees; and the functions behind a tool, with what is injected into them.

The code gets copies of values (see `sandbox/wire/values.py`): pydantic models, dataclasses and
`TypedDict`s arrive as records, enums as their values, and many other objects as text. The trees describe
the value *in the code*: a model is a record there, not an instance of its class.

Why not pydantic's JSON Schema of an annotation: it describes JSON, and the code gets Python's own values (dates,
`Decimal`, sets, tuples, bytes); two in five of the readings in `tests/catalog/test_annotations.py` are weaker that
way. And it reads an annotation as a whole or not at all: one name that only a type checker knows hides the others.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import dataclasses
import datetime
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NotRequired, Required, TypeAlias

import typing_extensions
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool
from langchain_core.utils.pydantic import get_fields
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command
from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import ReadOnly

from langchain_ptc.catalog.text import to_class_name
from langchain_ptc.catalog.types import (
    ANY,
    INT,
    MAX_DEPTH,
    NONE,
    STR,
    VALUE_TYPES,
    RecordField,
    RecordTable,
    RecordType,
    TypeTree,
    choice,
    container,
    union,
    widened,
)

Direction: TypeAlias = Literal["input", "output"]  # from the code into a tool, or to the code
_TypeVars: TypeAlias = Mapping[object, TypeTree]

_PRIMITIVES: Mapping[Any, TypeTree] = {
    **VALUE_TYPES,
    **dict.fromkeys((Any, object, inspect.Parameter.empty), ANY),
    **dict.fromkeys((None, typing.NoReturn, typing.Never), NONE),
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
_OPAQUE_MODULES = ("langchain_core.messages", "langgraph.")  # whose fields code does not see
_TEXT_MODULES = (
    *("pathlib", "ipaddress", "zoneinfo"),
    *("pydantic.networks", "pydantic.types", "pydantic_core"),
)
"""Modules whose classes are passed and arrive as text: paths, addresses, secrets (which hide themselves)."""
_MESSAGE_CONTENT = union([STR, container("list", ANY)])


class AnnotationReader:
    """Reads annotations into a table of records.

    A model's fields go in under their aliases and come out under their names; a default makes a field optional
    only on its way in. `message` is the annotation that stands for LangChain's classes of messages.
    """

    def __init__(self, table: RecordTable, *, direction: Direction, message: object = None) -> None:
        self._table = table
        self._message = message
        self._direction = direction
        self._keys: dict[tuple[object, str], str] = {}
        self._aliases: set[int] = set()

    def read(
        self, annotation: object, *, depth: int = 0, type_vars: _TypeVars | None = None
    ) -> TypeTree:
        """Return the type that `annotation` describes, or a wider one."""
        if depth > MAX_DEPTH:
            return widened("nested too deeply to show")
        try:
            known = _PRIMITIVES.get(annotation)
        except TypeError:  # not hashable
            known = None
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

    def read_message(self) -> TypeTree:
        """Return the type that stands for messages."""
        return self.read(self._message)

    def read_record(self, kind: type, fields: Fields) -> TypeTree:
        """Return a record for a class, with other fields than its own, and without its docstring."""
        return self._define(kind, fields, 0, {}, (), about="")

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
        if issubclass(kind, BaseModel):  # a root model is its value
            root = kind.model_fields.get("root")
            return self.read(root.annotation, depth=depth + 1) if root is not None else ANY
        for base in _SUBCLASSED:
            if issubclass(kind, base):
                return _PRIMITIVES[base]
        return STR if kind.__module__.startswith(_TEXT_MODULES) else ANY

    def _read_opaque(self, kind: type) -> TypeTree:
        if self._message is not None and issubclass(kind, BaseMessage):
            return self.read_message()
        outgoing = self._direction == "output"
        if outgoing and issubclass(kind, Command):
            return union([_MESSAGE_CONTENT, NONE])  # the content of its own message, if it has one
        if outgoing and issubclass(kind, ToolMessage):
            return _MESSAGE_CONTENT
        return widened(kind.__name__)

    def _read_tuple(self, kind: type, depth: int) -> TypeTree:
        names = getattr(kind, "_fields", None)
        if not names:
            return container("tuple", ANY, variadic=True)
        hints = class_annotations(kind)
        types_ = [self.read(hints.get(name, Any), depth=depth + 1) for name in names]
        return container("tuple", *types_, note=f"({', '.join(names)})")

    def _define(
        self,
        kind: type,
        fields: Fields,
        depth: int,
        type_vars: _TypeVars,
        args: tuple[Any, ...],
        about: str | None = None,
    ) -> TypeTree:
        config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None)
        is_open = isinstance(config, Mapping) and config.get("extra") == "allow"
        label = f"{self._direction}:{kind.__module__}.{kind.__qualname__}{list(args) or ''}"
        label += "#" * is_open  # as in the keys of a JSON Schema's objects: see `is_closed`
        key = self._keys.get((kind, label))
        if key is None:
            key = label
            while key in self._table:  # another class of the same name
                key += "'"
            self._keys[kind, label] = key

        def build() -> RecordType | None:
            found = tuple(
                RecordField(
                    name=field.name,
                    type=(
                        widened(field.note)
                        if field.note
                        else self.read(field.annotation, depth=depth + 1, type_vars=type_vars)
                    ),
                    required=field.required,
                    description=field.description,
                    constraints=field.constraints,
                )
                for field in fields(kind, self._direction)
            )
            if not found:
                return None
            names = (kind.__name__, *(getattr(arg, "__name__", "") for arg in args))
            said = _class_description(kind) if about is None else about
            name = to_class_name(" ".join(names))
            return RecordType(key=key, name=name, fields=found, description=said)

        return self._table.define(key, build)


# --- looking at classes -------------------------------------------------------------------------


def _class_description(kind: type) -> str:
    doc = kind.__dict__.get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{kind.__name__}("):
        return ""  # the signature that `dataclass` writes
    return inspect.cleandoc(doc).partition("\n\n")[0]


_TYPED_DICT_QUALIFIERS = (Required, NotRequired, ReadOnly)
_QUALIFIERS = (typing.Annotated, typing.ClassVar, typing.Final, *_TYPED_DICT_QUALIFIERS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredField:
    """One field as its class declares it."""

    name: str
    annotation: object
    required: bool
    default: object = ...  # `...` if there is none, or none that can be shown
    description: str = ""
    constraints: tuple[str, ...] = ()
    note: str = ""


Fields: TypeAlias = Callable[[type, Direction], list[DeclaredField]]


def typed_dict_fields(kind: type, _: Direction) -> list[DeclaredField]:
    """Return the fields of a `TypedDict`, their annotations without qualifiers."""
    keys: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    found = []
    for name, hint in class_annotations(kind).items():
        required, about = name in keys, _annotated_description(hint)
        # `NotRequired` in annotations that are text escapes `__required_keys__`.
        while (origin := typing_extensions.get_origin(hint)) in _TYPED_DICT_QUALIFIERS:
            required = (required or origin is Required) and origin is not NotRequired
            hint = typing.get_args(hint)[0]  # noqa: PLW2901  # what is inside of it
            about = about or _annotated_description(hint)
        found.append(
            DeclaredField(name=name, annotation=hint, required=required, description=about)
        )
    return found


def _annotated_description(hint: object) -> str:
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, str):
            return part
        if isinstance(part, FieldInfo):
            return part.description or ""
    return ""


def _dataclass_fields(kind: type, direction: Direction) -> list[DeclaredField]:
    hints = class_annotations(kind)
    own: Mapping[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    is_input = direction == "input"
    found = []
    for field in dataclasses.fields(kind):
        if is_input and not field.init:
            continue
        info = own.get(field.name)
        factory = field.default_factory
        plain = field.default is dataclasses.MISSING and factory is dataclasses.MISSING
        found.append(
            DeclaredField(
                name=input_name(field.name, info) if is_input and info else field.name,
                annotation=hints.get(field.name, Any),
                required=not is_input or (plain if info is None else info.is_required()),
                default=... if field.default is dataclasses.MISSING else field.default,
                description="" if info is None else info.description or "",
            )
        )
    return found


def _attrs_fields(kind: Any, _: Direction) -> list[DeclaredField]:
    hints = class_annotations(kind)
    names = [attribute.name for attribute in kind.__attrs_attrs__]
    return [DeclaredField(name=n, annotation=hints.get(n, Any), required=True) for n in names]


def model_field(name: str, field: FieldInfo) -> DeclaredField:
    """Return a field of a pydantic model as its input has it."""
    return DeclaredField(
        name=input_name(name, field),
        annotation=field.annotation,
        required=field.is_required(),
        default=model_default(field),
        description=field.description or "",
        constraints=model_constraints(field),
    )


def _model_fields(kind: type[BaseModel], direction: Direction) -> list[DeclaredField]:
    if direction == "input":
        return [model_field(name, field) for name, field in kind.model_fields.items()]
    decorators = kind.__pydantic_decorators__.field_serializers.values()
    serialized = {name for decorator in decorators for name in decorator.info.fields}
    by_alias = kind.model_config.get("serialize_by_alias")
    found = []
    for name, field in kind.model_fields.items():
        if field.exclude:
            continue
        kinds = {type(part).__name__ for part in field.metadata}
        changed = bool(serialized & {name, "*"} or kinds & {"PlainSerializer", "WrapSerializer"})
        alias = (field.serialization_alias or name) if by_alias else name
        note = "the model serializes it" if changed else ""
        own = model_field(name, field)
        found.append(dataclasses.replace(own, name=alias, required=True, note=note))
    computed = kind.model_computed_fields.items()
    return found + [
        DeclaredField(name=name, annotation=field.return_type, required=True)
        for name, field in computed
    ]


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
    found = [
        (template, getattr(part, attribute, None))
        for part in field.metadata
        for attribute, template in _LIMITS.items()
    ]
    shown = int | float | str | Decimal | datetime.date
    return tuple(template.format(value) for template, value in found if isinstance(value, shown))


def model_default(field: FieldInfo) -> object:
    """Return the default of a pydantic field; `...` where there is none that can be shown."""
    if field.default_factory in (list, dict, set, tuple):
        return field.default_factory()
    if field.default is PydanticUndefined or field.default_factory is not None:
        return ...
    return field.default


def record_fields(kind: type, direction: Direction) -> Fields | None:
    """Return what lists the fields of `kind`, or None if it is not a record."""
    if typing_extensions.is_typeddict(kind):
        return typed_dict_fields
    if issubclass(kind, BaseModel):
        custom = direction == "output" and kind.__pydantic_decorators__.model_serializers
        return None if issubclass(kind, RootModel) or custom else _model_fields
    if dataclasses.is_dataclass(kind):
        return _dataclass_fields
    if hasattr(kind, "__attrs_attrs__") and direction == "output":
        return _attrs_fields
    return None


# --- the functions behind a tool ----------------------------------------------------------------


def called_function(tool: BaseTool) -> Callable[..., Any]:
    """Return what a call of `tool` ends in."""
    return getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run


def implementations(tool: BaseTool) -> list[Callable[..., Any]]:
    """Return every function that may give the value of a call, what a subclass overrides first."""
    known = (StructuredTool, Tool) if isinstance(tool, StructuredTool | Tool) else (BaseTool,)
    found = [
        getattr(tool, name)
        for name in ("_run", "_arun")
        if all(getattr(type(tool), name) is not getattr(kind, name) for kind in known)
        or name in vars(tool)
    ]
    given = (getattr(tool, name, None) for name in ("func", "coroutine"))
    return [*found, *(function for function in given if callable(function))]


def is_wrapper(function: Callable[..., Any]) -> bool:
    """Whether the annotations of `function` may be those of another one, which it wraps."""
    return any(
        name in getattr(part, "__dict__", {})
        for part in (function, underlying_function(function))
        for name in ("__wrapped__", "__signature__")
    )


def read_annotations(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yield the parameters of `function` that have an annotation which can be resolved."""
    globals_ = getattr(underlying_function(function), "__globals__", {})
    for name, parameter in signature_of(function).parameters.items():
        if parameter.annotation is not inspect.Parameter.empty:
            annotation = resolve_annotation(parameter.annotation, globals_)
            if annotation is not None:
                yield name, annotation


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of `function`; an empty one where Python does not know it."""
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):  # names that exist for type checkers only must not matter
        options["annotation_format"] = typing_extensions.Format.FORWARDREF
    try:
        return inspect.signature(function, **options)
    except Exception:  # noqa: BLE001  # annotations are code of their author's
        return inspect.Signature()


def underlying_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind a partial or an object with `__call__`."""
    while not _is_function(function) and hasattr(function, "func"):  # functools.partial
        function = function.func
    return function if _is_function(function) else type(function).__call__


def _is_function(function: Callable[..., Any]) -> bool:
    """Whether it is a function or method; a partial is none, which Python 3.14 takes for a routine."""
    return inspect.isroutine(function) and not isinstance(function, functools.partial)


def resolve_annotation(annotation: object, globals_: dict[str, Any]) -> object:
    """Return an annotation with the names in it resolved; None where one cannot be."""
    bare = types.FunctionType((lambda: None).__code__, globals_)
    bare.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(bare, include_extras=True)["it"]
    except Exception:  # noqa: BLE001  # annotations in text are code of their author's
        return None


def return_annotation(function: Callable[..., Any]) -> object:
    """Return the annotation of what `function` returns, resolved; `Any` where there is none."""
    function = underlying_function(function)
    given = own_annotations(function).get("return", Any)
    found = resolve_annotation(given, getattr(function, "__globals__", {}))
    return Any if found is None else found


def class_annotations(kind: type) -> dict[str, Any]:
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


# --- what is injected -----------------------------------------------------------------------------

_RUNTIME = "runtime"  # LangGraph passes its runtime to it, whatever its annotation


@dataclass(frozen=True, slots=True)
class Injected:
    """The parameters of one tool that are filled in for it."""

    by_graph: frozenset[str]  # state, store, runtime, and what else is `InjectedToolArg`
    others: frozenset[str]  # by LangChain itself: the config and the id of the call

    @property
    def names(self) -> frozenset[str]:
        """All of them: none is an argument that code may pass."""
        return self.by_graph | self.others


def injected_parameters(tool: BaseTool) -> Injected:
    """Return the parameters that `args_schema` keeps from the model, and that the function's annotations mark."""
    by_graph: set[str] = set()
    others: set[str] = set()
    annotations = dict(read_annotations(called_function(tool)))
    for name, annotation in annotations.items():
        if _is_marked(annotation, InjectedToolCallId) or _is_config(annotation):
            others.add(name)
        elif _is_marked(annotation, InjectedToolArg, ToolRuntime):
            by_graph.add(name)
    known, shown = _schema_fields(tool)
    by_graph |= known - shown - others
    if _RUNTIME in shown and annotations.get(_RUNTIME, Any) is Any:
        by_graph.add(_RUNTIME)
    return Injected(frozenset(by_graph), frozenset(others))


def _schema_fields(tool: BaseTool) -> tuple[set[str], set[str]]:
    shown = tool.tool_call_schema
    if isinstance(shown, dict):
        return set(), set()
    return set(get_fields(tool.get_input_schema())), set(get_fields(shown))


def _is_marked(annotation: object, *markers: type) -> bool:
    """Whether an annotation is one of `markers`, holds one as metadata, or is a union with one."""
    if isinstance(annotation, type):
        return issubclass(annotation, markers)
    if isinstance(annotation, markers):
        return True
    origin = typing_extensions.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, markers):
        return True
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        return any(_is_marked(part, *markers) for part in typing.get_args(annotation))
    return False


def _is_config(annotation: object) -> bool:
    """Whether an annotation is LangChain's config, which no model and no code can write."""
    options = typing.get_args(annotation) or (annotation,)
    return any(option is RunnableConfig for option in options)
