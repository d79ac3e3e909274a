"""Read the arguments of a call: under the tool's own names, and validated by the tool's schema.

A schema turns values into others: `"yes"` into `True`, a date's text into a date, nothing into a
default. Approvals, policies, caches, records and redaction must see what the tool's function will see,
so the schema is applied when the call is admitted, not only when the tool runs. What is the same for all
calls of a tool is computed once, by an `ArgumentReader`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import weakref
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator

from langchain_ptc.catalog.annotations import injected_parameters
from langchain_ptc.run.plain import kind_of_name
from langchain_ptc.sandbox.wire.decoding import Comparisons, OutOfBounds
from langchain_ptc.sandbox.wire.values import UnsendableValue, encode_value

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition


_STABLE_FACTORIES = frozenset({list, dict, set, tuple, frozenset, str, int, float, bool})
"""Factories of defaults that give the same each time; the default of another is not shown, since it
would be another one when the graph is resumed."""
_PLAIN = frozenset((type(None), bool, int, float, str))
_SEQUENCES = frozenset((list, tuple, set, frozenset))


class Arguments(NamedTuple):
    """The arguments of one call, under the tool's own names."""

    passed: Mapping[str, Any]  # what the code passed
    complete: dict[str, Any]
    """What the tool's function is called with, defaults included, as data that can be encoded."""
    given: dict[str, Any]
    """What the tool is invoked with: the tool's own validation gives the same result."""


class ArgumentSchema:
    """What the schema of a tool makes of the arguments of its calls."""

    def __init__(self, tool: BaseTool) -> None:
        self._tool = tool
        self._source: object = ...  # the schema of the tool that was read last

    def _read(self, source: object) -> None:
        tool = self._tool
        shown = _shown_names(tool)
        self._model = _model_of(tool, shown)
        fields: Mapping[str, FieldInfo] = {} if self._model is None else self._model.model_fields
        self._names = {name: name for name in fields}
        self._has_aliases = any(field.alias or field.validation_alias for field in fields.values())
        if self._model is None and not isinstance(source, dict):
            fields = getattr(tool.tool_call_schema, "model_fields", {})
            shown = set(fields) - {"args", "kwargs"}
        self._defaults = {
            name: field
            for name, field in fields.items()
            if name in shown and _has_stable_default(field)
        }
        self._source = source

    def validate(self, passed: Mapping[str, Any]) -> Arguments:
        """Apply the schema that the tool has now; see `validate_arguments`."""
        if self._tool.args_schema is not self._source:
            self._read(self._tool.args_schema)
        model, names = self._model, self._names
        if model is None:
            defaults = self._defaults_of_function(passed)
            return Arguments(passed, {**passed, **defaults}, dict(passed))
        if set_validator(model) is not None:
            check_sets(model, passed)
        try:
            result = model.model_validate(dict(passed))
        except ValidationError:
            if not self._tool.handle_validation_error:
                raise
            return Arguments(passed, dict(passed), dict(passed))
        if self._has_aliases:
            names = {
                _key_of(name, field, passed): name for name, field in model.model_fields.items()
            }
        extra = result.model_extra or {}
        complete: dict[str, Any] = {}
        given: dict[str, Any] = {}
        is_changed = False
        for key, raw in passed.items():
            if key not in names and key not in extra:
                is_changed = True  # the schema ignores it
                continue
            value = getattr(result, names[key]) if key in names else extra[key]
            if type(value) in _PLAIN and type(raw) is type(value) and raw == value:
                complete[key] = given[key] = value
                continue
            is_changed = True
            complete[key] = _as_data(value, with_defaults=True)
            given[key] = _as_data(value, with_defaults=False)
        if self._defaults:
            complete |= {
                key: _as_data(getattr(result, name), with_defaults=True)
                for key, name in names.items()
                if key not in passed and name in self._defaults
            }
        if is_changed and not _makes_the_same(model, given, result):
            given = dict(passed)
        return Arguments(passed, complete, given)

    def _defaults_of_function(self, passed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults that the function of a tool without a schema is called with."""
        return {
            name: _as_data(field.get_default(call_default_factory=True), with_defaults=True)
            for name, field in self._defaults.items()
            if name not in passed
        }


class ArgumentReader(ArgumentSchema):
    """Reads the arguments of the calls of one tool."""

    def __init__(self, definition: ToolDefinition) -> None:
        super().__init__(definition.tool)
        parameters = definition.parameters
        self.definition = definition
        self._positional = [p.tool_name for p in parameters]
        # The code's names last: where a name is both, it is the code's.
        self._keys = {p.tool_name: p.tool_name for p in parameters}
        self._keys |= {p.name: p.tool_name for p in parameters}
        self._required = {p.tool_name for p in parameters if p.required}
        self.harmless = frozenset(n for n in self._positional if kind_of_name(n) == "none")
        """The names of those whose values are not secrets, as far as their names say."""

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `ToolDefinition.bind` returns, and raise what it raises."""
        bound = dict(zip(self._positional, args, strict=False))
        if len(args) <= len(self._positional):
            for name, value in kwargs.items():
                key = self._keys.get(name)
                if key is None or key in bound:
                    break
                bound[key] = value
            else:
                if self._required <= bound.keys():
                    return bound
        return self.definition.bind(args, kwargs)  # takes any name, or says what is wrong


def validate_arguments(tool: BaseTool, passed: Mapping[str, Any]) -> Arguments:
    """Apply a tool's schema to the arguments of a call.

    A tool whose schema is a JSON Schema, or that has none, gets its arguments as they are.

    Raises:
        ValidationError: The schema refuses them, and the tool does not handle that itself.
        TooManyOfOneHash: It would make a set of them that takes too long to make.
        Exception: Whatever else a validator of the schema raised.
    """
    return ArgumentSchema(tool).validate(passed)


_models: weakref.WeakKeyDictionary[type, dict[frozenset[str], type[BaseModel]]]
_models = weakref.WeakKeyDictionary()


def _model_of(tool: BaseTool, shown: set[str]) -> type[BaseModel] | None:
    """Return what validates the arguments that the caller passes; None if nothing does."""
    schema: Any = tool.args_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return None
    injected = frozenset(set(schema.model_fields) - shown)
    if not injected:
        return schema
    known = _models.setdefault(schema, {})
    if injected not in known:
        # A subclass keeps the validators; what the graph fills in is not there yet.
        absent: dict[str, Any] = dict.fromkeys(injected, (Any, None))
        known[injected] = create_model(schema.__name__, __base__=schema, **absent)
    return known[injected]


def _shown_names(tool: BaseTool) -> set[str]:
    """Return the names of the arguments that the caller passes, of those in the tool's schema."""
    schema: Any = tool.tool_call_schema
    shown = set(getattr(schema, "model_fields", ()))
    # Without an annotation it stands in the schema, and LangGraph fills it in all the same.
    return shown - injected_parameters(tool).names if "runtime" in shown else shown


def _key_of(name: str, field: FieldInfo, passed: Mapping[str, Any]) -> str:
    """Return the name under which a field is passed."""
    for key in (field.validation_alias, field.alias):
        if isinstance(key, str) and key in passed:
            return key
    return name


def _has_stable_default(field: FieldInfo) -> bool:
    if field.default_factory is not None:
        return field.default_factory in _STABLE_FACTORIES
    return not field.is_required()


def _makes_the_same(model: type[BaseModel], given: dict[str, Any], result: BaseModel) -> bool:
    """Whether a schema turns its own result, as data, into the same result again.

    It does not where a validator converts (euros to cents), or where the value is not data (a secret).
    The tool then gets what was passed, which it validates once.
    """
    try:
        check_sets(model, given)
        again = model.model_validate(given)
        same = all(
            vars(again)[name] == vars(result)[name]
            for name in model.model_fields
            if name in result.model_fields_set
        )
        return same and again.model_extra == result.model_extra
    except Exception:  # noqa: BLE001  # validators, and `__eq__` of any class
        return False


def _as_data(value: Any, *, with_defaults: bool) -> Any:
    """Return a validated value as data: records as dicts, with fields that were not set or without; enums as values."""
    kind = type(value)
    if kind in _PLAIN or (kind in _SEQUENCES and _PLAIN.issuperset(map(type, value))):
        return value
    convert = functools.partial(_as_data, with_defaults=with_defaults)
    if isinstance(value, BaseModel):
        fields = {
            field.alias or name: getattr(value, name)
            for name, field in kind.model_fields.items()
            if name in value.model_fields_set or (with_defaults and _has_stable_default(field))
        }
        value = {**fields, **(value.model_extra or {})}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, Enum):
        return convert(value.value)
    elif isinstance(value, SecretStr | SecretBytes):
        return str(value)
    if isinstance(value, Mapping):
        return {convert(key): convert(item) for key, item in value.items()}
    if kind in _SEQUENCES:
        return kind(map(convert, value))
    try:
        encode_value(value)
    except UnsendableValue:
        return str(value)
    return value


# --- sets that a schema would build ---------------------------------------------------------------
# Items of equal hash are compared with each other, which is quadratic, in one call of C code. The hash of an
# item is known only when the item exists, since a schema builds tuples, records and numbers of what code
# sends, and a record may define its own hash. So each set of a schema is first built as a list.

_MAX_UNCHECKED = 16  # with at most this many items, a set is always cheap
_CHARS_COMPARED = 8  # characters of an item that are compared in the time of two small numbers
_DATA = frozenset({"cls", "config", "default", "expected", "function", "metadata", "serialization"})
"""Keys of a schema that contain no schemas."""
_NAMED = frozenset({"fields", "choices"})  # keys that contain schemas by names of the user's


class TooManyOfOneHash(ToolException):
    """A set takes too long to build; not a `ValueError`, which pydantic would catch."""


def check_sets(model: type[BaseModel], passed: Mapping[str, Any]) -> None:
    """Refuse arguments from which a schema would build a set, or a dict, that takes too long.

    Raises:
        TooManyOfOneHash: They do.
        Exception: What a validator of the schema raised, but for its refusals.
    """
    validator = set_validator(model)
    if validator is not None:
        with contextlib.suppress(ValidationError):  # which the schema itself reports better
            validator.validate_python(dict(passed))


@functools.lru_cache(maxsize=256)
def set_validator(model: type[BaseModel]) -> SchemaValidator | None:
    """Return what checks the sets of a schema; None for a schema that builds none of its arguments."""
    model.model_rebuild()  # where it was put off
    schemas = _Schemas()
    checked = schemas.with_checks(model.__pydantic_core_schema__)
    return SchemaValidator(checked, _use_prebuilt=False) if schemas.has_checks else None


class _Schemas:
    """Changes the schemas of pydantic's core."""

    has_checks = False

    def with_checks(self, schema: Any) -> Any:
        """Return a schema that checks the items of each set, and the keys of each dict, first."""
        if isinstance(schema, list | tuple):
            return type(schema)(map(self.with_checks, schema))
        if not isinstance(schema, dict):
            return schema
        inner = {key: self._inside(key, value) for key, value in schema.items()}
        items = inner.get("keys_schema")
        if schema.get("type") in ("set", "frozenset"):
            items = inner.get("items_schema", {"type": "any"})
        if items is None or items["type"] == "str":  # whose hashes nobody can predict
            return inner
        self.has_checks = True
        each = {"type": "default", "schema": items, "default": None, "on_error": "default"}
        check = {
            "type": "function-wrap",
            "function": {"type": "no-info", "function": _check},
            "schema": {"type": "list", "items_schema": each, "strict": False},
        }
        named = {"ref": inner.pop("ref")} if "ref" in inner else {}
        return {"type": "chain", "steps": [check, inner], **named}

    def _inside(self, key: str, value: Any) -> Any:
        if key in _NAMED and isinstance(value, dict):
            return {name: self.with_checks(schema) for name, schema in value.items()}
        return value if key in _DATA else self.with_checks(value)


def _check(given: Any, validate: Callable[[list[Any]], list[Any]]) -> Any:
    """Check what a set, or a dict, is made of; return it as it is."""
    if (
        isinstance(given, Collection)
        and len(given) > _MAX_UNCHECKED
        and not isinstance(given, str | bytes)
    ):
        raw = [*given]
        try:  # the text of what an item was built of shows how long a comparison takes
            Comparisons().add(
                validate(raw), lambda place: 4 + len(repr(raw[place])) // _CHARS_COMPARED
            )
        except OutOfBounds as error:
            raise TooManyOfOneHash(str(error)) from None
    return given
