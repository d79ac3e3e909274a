"""Schemas of those who mean harm, or do not care: an error of ours or a short stub, and soon."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from langchain_ptc import CatalogError, ToolCatalog, ToolDefinition
from langchain_ptc.catalog.stubs import group, render_line, render_package

MAX_SECONDS = 5.0
"""Far more than any of them takes: the machine may be busy."""
MAX_CHARS = 200_000


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def wrap(parameters: dict[str, Any], name: str = "probe", description: str = "d") -> StructuredTool:
    return StructuredTool(
        name=name, description=description, args_schema=parameters, coroutine=echo
    )


def check(given_tool: StructuredTool | ToolDefinition) -> str:
    """Hold everything that must hold of a catalog of one tool, and return its text."""
    catalog = ToolCatalog([given_tool])
    text = catalog.render()
    text.encode()
    exec(compile(text, "stub", "exec", dont_inherit=True), {})
    (stubs,) = group(catalog)
    for source in render_package([stubs]).values():
        ast.parse(source.encode())
    (definition,) = catalog
    line = render_line(definition, stubs.names[definition.name])
    assert len(line.splitlines()) == 1
    names = [p.tool_name for p in definition.parameters]
    bound = definition.bind((), {p.name: p.tool_name for p in definition.parameters})
    assert bound == {name: name for name in names}
    assert len(text) <= MAX_CHARS
    return text


def places(schema: Any) -> list[StructuredTool | Callable[[], ToolDefinition]]:
    """Return tools that have the schema as a parameter, as all of their parameters, as a return."""
    plain = wrap({"type": "object", "properties": {}})
    found: list[Any] = [wrap({"type": "object", "properties": {"x": schema}})]
    if isinstance(schema, dict):
        found += [wrap(schema), lambda: ToolDefinition(tool=plain, returns=schema)]
    return found


def nested(levels: int, wrap_one: Callable[[Any], Any]) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = wrap_one(schema)
    return schema


def cyclic() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    schema["properties"]["self"] = schema
    schema["allOf"] = schema["anyOf"] = [schema, {"type": "null"}]
    schema["default"] = schema["enum"] = [schema]
    return schema


def two_cycles() -> dict[str, Any]:
    left: dict[str, Any] = {"properties": {}}
    right: dict[str, Any] = {"properties": {"a": left}}
    left["properties"]["a"] = right
    return {"allOf": [left, right]}


HUGE = "word " * 2_000_000

HOSTILE: dict[str, Callable[[], Any]] = {
    "deep-items": lambda: nested(1_000, lambda s: {"type": "array", "items": s}),
    "deep-properties": lambda: nested(1_000, lambda s: {"properties": {"a": s}}),
    "deep-any-of": lambda: nested(1_000, lambda s: {"anyOf": [s, {"type": "null"}]}),
    "deep-all-of": lambda: nested(1_000, lambda s: {"allOf": [s, {"minLength": 1}]}),
    "deep-default": lambda: {"type": "array", "default": nested(1_000, lambda s: [s])},
    "deep-enum": lambda: {"enum": [nested(1_000, lambda s: [s]), 1]},
    "deep-const": lambda: {"const": nested(1_000, lambda s: {"a": s})},
    "deep-and-equal": lambda: {
        "allOf": [{"properties": {"a": nested(3_000, lambda s: {"items": s})}} for _ in range(2)]
    },
    "cyclic": cyclic,
    "two-cycles": two_cycles,
    "long-texts": lambda: {
        "type": "object",
        "title": HUGE,
        "description": HUGE,
        "properties": {
            "a": {"description": HUGE, "pattern": HUGE, "format": HUGE, "default": HUGE},
            "b": {"enum": [HUGE], "title": HUGE},
        },
    },
    "long-key": lambda: {"type": "object", "properties": {HUGE: {"type": "string"}}},
    "long-reference": lambda: {"$ref": "#/" + "a/" * 1_000_000},
    "large-enum": lambda: {"enum": list(range(500_000))},
    "two-large-enums": lambda: {"allOf": [{"enum": [*map(str, range(99_999))]} for _ in range(2)]},
    "many-properties": lambda: {"properties": {f"p{n}": {} for n in range(100_000)}},
    "many-required": lambda: {"properties": {"a": {}}, "required": [*map(str, range(100_000))]},
    "many-branches": lambda: {"anyOf": [{"properties": {f"p{n}": {}}} for n in range(50_000)]},
    "many-types": lambda: {"type": ["string", "object"] * 50_000},
    "many-patterns": lambda: {
        "type": "object",
        "patternProperties": {f"^{n}": {"properties": {f"k{n}": {}}} for n in range(50_000)},
    },
    "multiplying-branches": lambda: nested(
        8, lambda s: {"properties": {"k": {}}, "anyOf": [dict(s) for _ in range(10)]}
    ),
    "multiplying-properties": lambda: nested(
        5, lambda s: {"properties": {f"p{n}": s for n in range(20)}}
    ),
    "numbers": lambda: {
        "type": "integer",
        "minimum": 10**5000,
        "enum": [10**5000],
        "default": -(10**5000),
        "maximum": float("nan"),
    },
    "surrogates": lambda: {
        "type": "object",
        "properties": {
            "\ud800": {"enum": ["\udfff"], "default": "\udc00", "description": "\ud801"}
        },
    },
    "keys-of-other-types": lambda: {"properties": {1: {"type": "string"}, None: {}}},
    "keywords-of-other-types": lambda: {
        "type": {"a": 1},
        "properties": ["a"],
        "required": {"a": 1},
        "enum": "abc",
        "anyOf": {"a": 1},
        "allOf": 5,
        "items": 5,
        "$ref": 5,
        "description": 5,
        "title": [],
        "minimum": "1",
        "patternProperties": [],
        "additionalProperties": 3,
    },
    "items-of-other-types": lambda: {
        "type": [["x"], None, {}],
        "required": [1, None, []],
        "anyOf": [1, "a", None, []],
        "allOf": [1, None],
        "prefixItems": [1, None, "a"],
        "properties": {"a": 1, "b": None, "c": "string", "d": []},
    },
    "boolean": lambda: False,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_schemas(make: Callable[[], Any]) -> None:
    """Whatever the schema: a stub that is Python and not long, in a short time."""
    for place in places(make()):
        started = time.process_time()
        check(place if isinstance(place, StructuredTool) else place())
        assert time.process_time() - started < MAX_SECONDS


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        pytest.param("https://example.org/x", "'https://example.org/x'", id="another-document"),
        pytest.param("other.json#/definitions/x", "'other.json#/definitions/x'", id="a-file"),
        pytest.param("http://[::1", r"'http://\[::1'", id="no-address"),
        pytest.param("https://example.org/" + "x" * 9_999, "xxx…'", id="a-long-one"),
    ],
)
def test_reference_to_elsewhere(reference: str, told: str) -> None:
    """A reference out of the document is an error that says which tool, where, what, and the fix."""
    inner = {"type": "object", "properties": {"a/b": {"$ref": reference}}}
    parameter = wrap({"type": "object", "properties": {"x": inner}})
    plain = wrap({"type": "object", "properties": {}}, name="other")
    with pytest.raises(CatalogError, match=told) as caught:
        ToolCatalog([parameter])
    assert "tool 'probe'" in str(caught.value)
    assert "at #/properties/x/properties/a~1b" in str(caught.value)
    assert "'$defs'" in str(caught.value)
    assert len(str(caught.value)) < 600
    with pytest.raises(CatalogError, match=rf"'other result'.*at #/properties/a~1b.*{told}"):
        ToolDefinition(tool=plain, returns=inner)


def test_references_within_bundled_documents() -> None:
    """A document in the document is found by its address, whole or in parts, relative or not."""
    part = {"$id": "part", "type": "object", "properties": {"a": {"type": "integer"}}}
    schema = {
        "$id": "https://example.org/whole",
        "type": "object",
        "properties": {
            "one": {"$ref": "https://example.org/part#/properties/a"},
            "two": {"$ref": "part#/properties/a"},
            "three": {"$ref": "https://example.org/whole#/properties/one"},
        },
        "$defs": {"p": part},
    }
    text = check(wrap(schema))
    assert "(one: int = ..., two: int = ..., three: int = ...)" in text


# --- whatever can be a schema -------------------------------------------------------------------

KEYWORDS = [
    *("type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions"),
    *("enum", "const", "required", "additionalProperties", "patternProperties", "prefixItems"),
    *("format", "minimum", "maximum", "description", "title", "default", "nullable", "not", "if"),
    *("then", "else", "propertyNames", "dependentSchemas", "dependencies", "additionalItems"),
    *("$anchor", "$id", "id", "$dynamicRef", "pattern", "minLength", "uniqueItems", "multipleOf"),
]
WORDS = [
    *("string", "object", "array", "integer", "null", "#", "#/$defs/a", "#/properties/x", "#a"),
    *("class", "a-b", "__x", "ﬁ", "self", "Any", "\ud800", '"""', "\\", "\n", "\u202e", "x" * 300),
]
TEXTS = st.text(alphabet=st.characters(), max_size=6) | st.sampled_from(WORDS)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
KEYS = st.sampled_from(KEYWORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(KEYS | TEXTS, inner, max_size=5)
    ),
    max_leaves=30,
)
SCHEMAS = st.dictionaries(KEYS, VALUES, max_size=6)


@settings(
    max_examples=80,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(schema=SCHEMAS, description=TEXTS, name=TEXTS.filter(str.strip))
def test_any_value_as_a_schema(schema: dict[str, Any], description: str, name: str) -> None:
    """Data of any form where a schema should be: a stub, or an error of ours."""
    made = {"type": "object", "properties": {"x": schema}, "$defs": {"a": schema}}
    for parameters in (schema, made, {"type": "object", "properties": {name: schema}}):
        given_tool = wrap(parameters, name, description)
        if is_accepted(lambda: given_tool):  # noqa: B023  # called at once
            is_accepted(lambda: ToolDefinition(tool=given_tool, returns=made))  # noqa: B023


def is_accepted(make: Callable[[], StructuredTool | ToolDefinition]) -> bool:
    """Whether a tool can be in a catalog; if it cannot, a reference leads elsewhere."""
    try:
        check(make())
    except CatalogError as error:
        if "which is outside of it" in str(error):
            return False
        raise
    return True
