"""How strictly a tool takes what its signature says. Pure: schemas are looked at, nothing is validated.

A pydantic model may convert a value before it looks at its type, by a validator of its own. Then the
type of the parameter says little about what the tool accepts, and the check keeps silent.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

_KNOWN = frozenset(
    {
        *("any", "none", "bool", "int", "float", "str", "bytes", "date", "time", "datetime"),
        *("timedelta", "decimal", "uuid", "url", "literal", "enum", "list", "tuple", "set"),
        *("frozenset", "dict", "nullable", "union", "tagged-union", "typed-dict", "model"),
        *("model-fields", "model-field", "typed-dict-field", "dataclass", "dataclass-args"),
        *("dataclass-field", "default", "definitions", "definition-ref", "function-after"),
    }
)
"""Schemas of pydantic whose way with values is known here."""
_MOST_PARTS = 5_000
_MOST_LAYERS = 20
"""Schemas around the fields of a model: its validators, its definitions."""


class Leniency:
    """How strictly one tool takes its arguments.

    Args:
        definition: The tool.
    """

    def __init__(self, definition: ToolDefinition) -> None:
        own = definition.tool.args_schema
        self.is_by_contract = not isinstance(own, type)
        """Whether nothing holds the values to the schema but the tool itself."""
        self.reads_text = self.is_by_contract
        """Whether a list or a record may be given as JSON text, as some servers take it."""
        config = getattr(own, "model_config", {})
        self.takes_numbers_as_text = bool(config.get("coerce_numbers_to_str"))
        schema = getattr(own, "__pydantic_core_schema__", None) if not self.is_by_contract else None
        self._schema = schema if isinstance(schema, Mapping) else None
        self._parts = {} if self._schema is None else _field_parts(self._schema)
        self._is_opaque = not self.is_by_contract and (self._schema is None or _has_validators(own))

    def accepts_anything(self, parameter: ToolParameter) -> bool:
        """Whether a parameter may take other values than its type says."""
        if self.is_by_contract:
            return False
        if self._is_opaque or self._schema is None:
            return True
        parts = self._parts.get(parameter.name)
        return parts is None or not all(map(_is_known, parts))

    def has_aliases(self, parameter: ToolParameter) -> bool:
        """Whether a field of a record in a parameter may go by several names."""
        parts = self._parts.get(parameter.name, ())
        return any("validation_alias" in part for part in parts)


def _is_known(part: Mapping[str, object]) -> bool:
    kind = part.get("cls")
    if part.get("type") == "enum" and isinstance(kind, type) and issubclass(kind, enum.Enum):
        # Such a class may make a member of any value.
        return getattr(kind._missing_, "__func__", None) is enum.Enum.__dict__["_missing_"].__func__
    return part.get("type") in _KNOWN and not part.get("custom_init")


def _has_validators(model: object) -> bool:
    """Whether a model has validators of its own that run before its fields are looked at."""
    decorators = getattr(model, "__pydantic_decorators__", None)
    found = [
        *getattr(decorators, "model_validators", {}).values(),
        *getattr(decorators, "root_validators", {}).values(),
    ]
    return any(getattr(validator.info, "mode", "before") != "after" for validator in found)


def _field_parts(schema: Mapping[str, object]) -> dict[str, list[Mapping[str, object]]]:
    """Return for each field of a model every schema in it; references are followed."""
    definitions = {
        part["ref"]: part
        for part in _walk(schema, {})
        if "type" in part and isinstance(part.get("ref"), str)
    }
    inner: object = schema
    for _ in range(_MOST_LAYERS):
        if not isinstance(inner, Mapping):
            break
        fields = inner.get("fields")
        if inner.get("type") == "model-fields" and isinstance(fields, Mapping):
            return {str(name): list(_walk(field, definitions)) for name, field in fields.items()}
        reference = inner.get("schema_ref")
        inner = inner.get("schema") if reference is None else definitions.get(reference)
    return {}


def _walk(
    schema: object, definitions: Mapping[object, Mapping[str, object]]
) -> Iterator[Mapping[str, object]]:
    """Yield every schema in a schema of pydantic's core."""
    waiting = [schema]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if id(part) in seen:
                continue
            seen.add(id(part))
            kind = part.get("type")
            if isinstance(kind, str):
                yield part
            if kind == "definition-ref":
                waiting.append(definitions.get(part.get("schema_ref")))
            skipped = ("metadata", "serialization", "config", "function", "default", "cls")
            waiting.extend(value for key, value in part.items() if key not in skipped)
        elif isinstance(part, list | tuple):
            waiting.extend(part)
