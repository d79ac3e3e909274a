"""Several JSON Schemas that hold at once -> one plain schema. Pure.

A merged schema accepts at least what all its parts accept together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_ptc.catalog.reading.pointers import Schema

MAX_COMPARED = 1_000
"""Values of an `enum` that are compared with those of another one."""


def merge_all(parts: Sequence[Schema]) -> Schema:
    """Return one schema for the `parts` of an `allOf`."""
    merged: dict[str, Any] = {}
    for part in parts:
        for keyword, value in part.items():
            if keyword not in merged:
                merged[keyword] = value
            else:
                merged[keyword] = _MERGE.get(keyword, _keep_first)(merged[keyword], value)
    return merged


def conditional_properties(schema: Schema) -> dict[str, Any]:
    """Return the properties that a schema has only under some condition, which types cannot say."""
    parts: list[object] = [schema.get("then"), schema.get("else")]
    for keyword in ("dependentSchemas", "dependencies"):
        dependent = schema.get(keyword)
        parts.extend(dependent.values() if isinstance(dependent, Mapping) else ())
    found: dict[str, Any] = {}
    for part in parts:
        properties = part.get("properties") if isinstance(part, Mapping) else None
        for name, value in properties.items() if isinstance(properties, Mapping) else ():
            known = found.get(name)
            found[name] = value if known is None else {"anyOf": [known, value]}
    return found


def _keep_first(first: Any, _: Any) -> Any:
    return first


def _merge_properties(first: Any, second: Any) -> Any:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return first
    both = {
        name: {"allOf": [first[name], second[name]]}
        for name in first
        if name in second and not _is_same(first[name], second[name])
    }
    return {**first, **second, **both}


def _is_same(first: object, second: object) -> bool:
    try:
        return first == second
    except RecursionError:  # nested deeper than Python compares, or cyclic
        return first is second


def _merge_required(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    known = set(filter(_is_text, first))
    return [*first, *(name for name in second if _is_text(name) and name not in known)]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _merge_types(first: Any, second: Any) -> Any:
    left = first if isinstance(first, list) else [first]
    right = second if isinstance(second, list) else [second]
    wide = [*right, *(["integer"] if "number" in right else [])]
    common = [t for t in left if t in wide] or [t for t in right if t == "integer"]
    return (common[0] if len(common) == 1 else common) if common else first


def _merge_values(first: Any, second: Any) -> Any:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    if max(len(first), len(second)) > MAX_COMPARED:
        return first
    return [value for value in first if any(_is_same(value, other) for other in second)] or first


def _merge_extra(first: Any, second: Any) -> Any:
    """Join `additionalProperties`: a part that forbids them forbids only what it does not name."""
    return second if first is False or first is True else first


_MERGE: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _merge_properties,
    "required": _merge_required,
    "type": _merge_types,
    "enum": _merge_values,
    "additionalProperties": _merge_extra,
}
