"""What the keywords of one JSON Schema say, one schema at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_ptc.catalog.reading.pointers import REFERENCES, Schema, reference_of

SAYS_NO_TYPE = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "$comment"),
        *("readOnly", "writeOnly", "required", "not", "if", "then", "else", "dependentRequired"),
        *(
            "$defs",
            "definitions",
            "$id",
            "id",
            "$schema",
            "$anchor",
            "$dynamicAnchor",
            "$vocabulary",
        ),
        *("minProperties", "maxProperties", "unevaluatedProperties", "propertyNames", "nullable"),
        *("externalDocs", "xml", "$recursiveAnchor", "unevaluatedItems", "discriminator"),
    }
)
"""Keywords that leave the type as it is."""
MAX_SHOWN_CHARS = 60
"""Length of a pattern or a format that is shown; a longer one is left out."""
_MAX_SHOWN_NUMBER = 10**30


def says_no_type(schema: object) -> bool:
    """Return whether a schema leaves the type of its values as it is."""
    return isinstance(schema, Mapping) and all(keyword in SAYS_NO_TYPE for keyword in schema)


def bare_reference(schema: Schema) -> str | None:
    """Return the reference that stands alone in `schema`, bare or as the only part of an `allOf`."""
    parts = schema.get("allOf")
    alone = isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping)
    inner: Schema = parts[0] if alone and isinstance(parts, list) else schema
    beside = {**schema, **inner} if alone else schema
    own = {k: v for k, v in beside.items() if k not in (*REFERENCES, "allOf")}
    return reference_of(inner) if says_no_type(own) else None


def is_definition(path: str) -> bool:
    """Whether a schema stands alone: elsewhere its description is that of the field it is in."""
    return path.rpartition("/")[0].endswith(("/$defs", "/definitions", "/schemas"))


def guess_type(schema: Schema) -> str | None:
    """Return the type that a schema without `type` means: authors leave out what seems obvious."""
    if isinstance(schema.get("properties"), Mapping):
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if isinstance(schema.get("patternProperties"), Mapping):
        return "object"
    return None


_BOUNDS = {
    "minimum": ">= {}",
    "maximum": "<= {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
}
_SAID_BY_TYPES = frozenset({"int32", "int64", "uint32", "uint64", "float", "double"})
"""Formats that say nothing to Python."""


def constraints(schema: Schema) -> list[str]:
    """Return what `schema` demands beyond a type, in words."""
    found = []
    for keyword, template in _BOUNDS.items():
        value = schema.get(keyword)
        if is_shown_number(value):
            strict = schema.get(f"exclusive{keyword.capitalize()}") is True  # draft 4
            found.append(template.replace("=", "" if strict else "=").format(value))
    for keyword in ("format", "pattern"):
        value = schema.get(keyword)
        if _is_short(value) and value not in _SAID_BY_TYPES:
            found.append(f"{keyword} {value}")
    encoding = schema.get("contentEncoding")
    if _is_short(encoding):
        found.append(str(encoding))
    if schema.get("uniqueItems") is True:
        found.append("no item twice")
    names = schema.get("propertyNames")
    if isinstance(names, Mapping) and _is_short(names.get("pattern")):
        found.append(f"keys of pattern {names['pattern']}")
    return [*found, *_excluded(schema.get("not"))]


def _excluded(schema: object) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(values, list) or not 0 < len(values) <= 5:
        return []
    plain = all(value is None or is_shown_number(value) or _is_short(value) for value in values)
    return [f"not {' or '.join(map(repr, values))}"] if plain else []


def is_shown_number(value: object) -> bool:
    """Whether `value` is a number that can be shown; Python does not print very long integers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or -_MAX_SHOWN_NUMBER < value < _MAX_SHOWN_NUMBER


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_SHOWN_CHARS


def text(schema: Mapping[str, Any], keyword: str) -> str:
    """Return the value of `keyword` if it is text, otherwise an empty string."""
    value = schema.get(keyword)
    return value if isinstance(value, str) else ""
