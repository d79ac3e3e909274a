"""Values that a JSON Schema accepts, made by hypothesis: for tests and benchmarks of the catalog.

It covers what tool definitions hold. What it makes is meant to be valid, and `jsonschema` says whether
it is: `valid_values` leaves out what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

MAX_DEPTH = 6
"""Levels below which what is optional is left out, so that recursive schemas end."""

_TEXT = st.text(max_size=8) | st.sampled_from(
    ["", "a b", "it's", '"q"', "a\\b", "line\nline", "é漢💥"]
)
_EXAMPLES = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:00:00Z",
    "time": "12:00:00Z",
    "email": "ada@example.org",
    "uri": "https://example.org/a?b=c",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
}
_KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")


def valid_values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values that `schema`, a whole document, accepts."""
    validator = Draft202012Validator(schema)

    def is_valid(value: object) -> bool:
        try:
            return validator.is_valid(value)
        except ValidationError:
            return False

    return values(schema, schema, 0).filter(is_valid)


def values(schema: Any, root: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """Return a strategy for values that `schema`, a part of `root`, mostly accepts."""
    if not isinstance(schema, Mapping):
        return _anything() if schema is not False else st.nothing()
    if "const" in schema:
        return st.just(schema["const"])
    if schema.get("enum"):
        return st.sampled_from(schema["enum"])
    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return st.deferred(lambda: values(_joined([rest, found]), root, depth + 1))
    if "allOf" in schema:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return values(_joined([rest, *schema["allOf"]]), root, depth)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            rest = {key: value for key, value in schema.items() if key != keyword}
            # The last branch is often null: below the depth it ends recursion.
            branches = schema[keyword][-1:] if depth > MAX_DEPTH else schema[keyword]
            return st.one_of([values(_joined([rest, b]), root, depth + 1) for b in branches])
    kinds = schema.get("type", "object" if "properties" in schema else _KINDS)
    if isinstance(kinds, str):
        return _of_kind(kinds, schema, root, depth)
    if kinds is _KINDS and not set(schema) & {"items", "prefixItems", "additionalProperties"}:
        return _anything()
    return st.one_of([_of_kind(kind, schema, root, depth) for kind in kinds])


def _joined(parts: list[Any]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        properties = {**joined.get("properties", {}), **part.get("properties", {})}
        required = [*joined.get("required", []), *part.get("required", [])]
        joined = {**joined, **part}
        if properties:
            joined["properties"] = properties
        if required:
            joined["required"] = required
    return joined


def _anything() -> st.SearchStrategy[Any]:
    scalar = st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from([0.5, -2.0]) | _TEXT
    return scalar | st.lists(scalar, max_size=2) | st.dictionaries(_TEXT, scalar, max_size=2)


def _of_kind(
    kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> st.SearchStrategy[Any]:
    if kind == "object":
        return _objects(schema, root, depth)
    if kind == "array":
        return _arrays(schema, root, depth)
    if kind == "string":
        return _strings(schema)
    if kind in ("integer", "number"):
        return _numbers(kind, schema)
    return {"boolean": st.booleans(), "null": st.none()}.get(kind, _anything())


def _strings(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if isinstance(schema.get("pattern"), str):
        return st.from_regex(schema["pattern"])
    if schema.get("format") in _EXAMPLES:
        return st.just(_EXAMPLES[schema["format"]])
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least or most is not None:
        return st.text(min_size=least, max_size=most if most is not None else least + 4)
    return _TEXT


def _numbers(kind: str, schema: Mapping[str, Any]) -> st.SearchStrategy[float]:
    step = schema.get("multipleOf")
    low = schema.get("minimum", schema.get("exclusiveMinimum", -(2**53)))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 2**53))
    low, high = min(low, high), max(low, high)
    whole = st.integers(min_value=int(low), max_value=int(high))
    if kind == "integer" or step is not None:
        return whole.map(lambda n: n * step) if step is not None else whole
    return whole | st.floats(min_value=low, max_value=high, allow_nan=False)


def _arrays(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> st.SearchStrategy[list[Any]]:
    least = schema.get("minItems", 0)
    if "prefixItems" in schema:
        return st.tuples(*(values(p, root, depth + 1) for p in schema["prefixItems"])).map(list)
    most = least if depth > MAX_DEPTH else min(schema.get("maxItems", least + 3), least + 3)
    item = values(schema.get("items", True), root, depth + 1) if most else st.nothing()
    return st.lists(item, min_size=least, max_size=most)


def _objects(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> st.SearchStrategy[dict[str, Any]]:
    properties = schema.get("properties", {})
    names = set(schema.get("required", []))
    required = {
        name: values(properties.get(name, True), root, depth + 1)
        for name in properties | dict.fromkeys(names)
        if name in names
    }
    optional = {
        name: values(part, root, depth + 1)
        for name, part in properties.items()
        if name not in names and depth <= MAX_DEPTH
    }
    fixed = st.fixed_dictionaries(required, optional=optional)
    extra = schema.get("additionalProperties", False)
    patterns = schema.get("patternProperties", {})
    if extra is False and not patterns:
        return fixed
    keys = [
        (st.from_regex(pattern), values(part, root, depth + 1))
        for pattern, part in patterns.items()
    ]
    if extra is not False:
        keys.append((_TEXT, values(extra, root, depth + 1)))
    more = st.one_of([st.dictionaries(key, value, max_size=2) for key, value in keys])
    return st.tuples(more, fixed).map(lambda pair: {**pair[0], **pair[1]})
