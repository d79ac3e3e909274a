"""JSON Schemas become type trees that are true: as wide as they must be, never narrower."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from pydantic import (
    TypeAdapter,
)

from langchain_ptc import CatalogError, ToolCatalog
from langchain_ptc.catalog.schemas import SchemaReader
from langchain_ptc.catalog.stubs import render_type
from langchain_ptc.catalog.types import RecordTable, admits, choice, notes, union, widened


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def tool_of(schema: dict[str, Any], name: str = "probe") -> StructuredTool:
    """Return a tool with a schema and no code of its own."""
    return StructuredTool(name=name, description="", args_schema=schema, coroutine=echo)


def stub_of(schema: object, **root: Any) -> str:
    """Return the stub of a tool whose one parameter `x` has the schema."""
    whole = {"type": "object", "properties": {"x": schema}, "required": ["x"], **root}
    return ToolCatalog([tool_of(whole)]).render()


def annotation_of(text: str) -> str:
    """Return the annotation of the first parameter in a stub."""
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.AsyncFunctionDef)]
    annotation = functions[0].args.args[0].annotation
    assert annotation is not None
    return ast.unparse(annotation)


def run(text: str) -> dict[str, Any]:
    """Run a stub as a module of its own and return its names."""
    namespace: dict[str, Any] = {}
    # `exec` of text would inherit this file's `from __future__ import annotations`
    exec(compile(text, "stub", "exec", dont_inherit=True), namespace)
    return namespace


def record_lines(text: str) -> list[str]:
    """Return the fields of the records, and the parameters, as they are written."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and ": " in line]


# --- JSON Schema --------------------------------------------------------------------------------

SCHEMAS = [
    ({"type": "string"}, "str"),
    ({"type": "integer"}, "int"),
    ({"type": "number"}, "float"),
    ({"type": "boolean"}, "bool"),
    ({"type": "null"}, "None"),
    ({}, "Any"),
    (True, "Any"),
    ({"description": "anything"}, "Any"),
    ({"type": "whatever"}, "Any"),
    ({"type": ["string", "null"]}, "str | None"),
    ({"type": ["null", "integer", "string"]}, "int | str | None"),
    ({"type": "string", "nullable": True}, "str | None"),
    ({"type": "array"}, "list[Any]"),
    ({"type": "array", "items": {"type": "integer"}}, "list[int]"),
    ({"items": {"type": "integer"}}, "list[int]"),
    ({"type": "array", "items": {"type": "array", "items": {}}}, "list[list[Any]]"),
    ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, "list[Any]"),
    (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
        "list[str | None]",
    ),
    ({"type": "object"}, "dict[str, Any]"),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]"),
    (
        {
            "type": "object",
            "patternProperties": {"^a": {"type": "integer"}},
            "additionalProperties": False,
        },
        "dict[str, int]",
    ),
    ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, "dict[str, Any]"),
    (
        {
            "type": "object",
            "propertyNames": {"enum": ["a", "b"]},
            "additionalProperties": {"type": "integer"},
        },
        "dict[str, int]",
    ),
    ({"enum": ["a", "b"]}, "Literal['a', 'b']"),
    ({"enum": ["a", None, 1, True]}, "Literal['a', 1, True] | None"),
    ({"enum": [1, 1.5]}, "int | float"),
    ({"enum": [[1], {"a": 1}]}, "list[Any] | dict[str, Any]"),
    ({"enum": list(range(200))}, "int"),
    ({"enum": ["x" * 300]}, "str"),
    ({"enum": []}, "Any"),
    ({"const": 'it\'s "q"\\\n'}, repr('it\'s "q"\\\n').join(("Literal[", "]"))),
    ({"const": None}, "None"),
    ({"type": "array", "enum": ["a", "b"]}, "list[Literal['a', 'b']]"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "str | None"),
    ({"oneOf": [{"const": "a"}, {"const": "b"}]}, "Literal['a', 'b']"),
    ({"anyOf": [{"type": "string"}, {}]}, "Any"),
    ({"anyOf": [{"type": "string"}, {"type": "string", "format": "date"}]}, "str"),
    ({"type": "string", "anyOf": [{"minLength": 1}, {"maxLength": 9}]}, "str"),
    ({"type": "string", "oneOf": [{"required": ["a"]}]}, "str"),
    ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "str"),
    ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "float"),
    ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, "Literal['a', 'b']"),
    ({"not": {"type": "string"}}, "Any"),
    ({"if": {"type": "string"}, "then": {"minLength": 1}}, "Any"),
    (False, "Any"),
    ("not a schema", "Any"),
    ({"type": 5}, "Any"),
    ({"type": "object", "properties": "no"}, "dict[str, Any]"),
    ({"$ref": "#/$defs/Missing"}, "Any"),
    ({"$ref": "#nowhere"}, "Any"),
]


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS, ids=[str(s)[:60] for s, _ in SCHEMAS])
def test_schema_types(schema: object, expected: str) -> None:
    """Each kind of schema becomes the type that accepts what the schema accepts."""
    assert annotation_of(stub_of(schema)) == expected


def test_nested_objects_become_records() -> None:
    """Objects inside objects become one `TypedDict` each, the inner one first."""
    text = stub_of(
        {
            "type": "object",
            "title": "Order",
            "properties": {
                "id": {"type": "string", "description": "The id."},
                "lines": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "sku": {"type": "string"},
                            "n": {"type": "integer", "minimum": 1},
                        },
                        "required": ["sku"],
                    },
                },
            },
            "required": ["id"],
        }
    )
    assert annotation_of(text) == "Order"
    assert text.index("class LinesItem(TypedDict)") < text.index("class Order(TypedDict)")
    assert record_lines(text)[:4] == [
        "sku: str",
        "n: NotRequired[int]  # >= 1",
        "id: str  # id",
        "lines: NotRequired[list[LinesItem]]",
    ]


def test_references_share_one_record() -> None:
    """Definitions under `$defs`, `definitions` or any pointer become one record each."""
    person = {"type": "object", "properties": {"name": {"type": "string"}}}
    pair = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/Person"},
            "b": {"$ref": "#/$defs/Person", "description": "Beside the reference"},
            "c": {"allOf": [{"$ref": "#/$defs/Person"}], "default": None},
            "d": {"$ref": "#/properties/x/properties/a"},
        },
    }
    text = stub_of(pair, **{"$defs": {"Person": person}})
    assert text.count("class Person(TypedDict)") == 1
    assert [line.split("[")[1][:6] for line in record_lines(text)[1:5]] == ["Person"] * 4


def test_escaped_pointers_and_anchors() -> None:
    """Pointers with `~1`, `~0` and percent signs, anchors and the document's own id are followed."""
    defs = {
        "a/b~c d": {"type": "integer"},
        "anchored": {"$anchor": "here", "type": "boolean"},
        "bundled": {"$id": "https://example.org/part", "type": "string"},
    }
    schema = {
        "anyOf": [
            {"$ref": "#/$defs/a~1b~0c%20d"},
            {"$ref": "#here"},
            {"$ref": "https://example.org/part"},
            {"$ref": "https://example.org/whole#/$defs/anchored"},
        ]
    }
    text = stub_of(schema, **{"$defs": defs, "$id": "https://example.org/whole"})
    assert annotation_of(text) == "int | bool | str"


def test_recursive_records() -> None:
    """Records that hold themselves or each other end at their own names and can be run."""
    defs = {
        "Tree": {
            "type": "object",
            "properties": {
                "kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                "leaf": {"anyOf": [{"$ref": "#/$defs/Leaf"}, {"type": "null"}]},
            },
        },
        "Leaf": {"type": "object", "properties": {"owner": {"$ref": "#/$defs/Tree"}}},
    }
    text = stub_of({"$ref": "#/$defs/Tree"}, **{"$defs": defs})
    assert annotation_of(text) == "Tree"
    assert "kids: NotRequired['list[Tree]']" in text
    run(text)


def test_recursion_without_a_record_is_widened() -> None:
    """A recursive union has no name to end at: the inner occurrence is `Any`, and the stub says so."""
    json_value = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/J"}}]}
    text = stub_of({"$ref": "#/$defs/J"}, **{"$defs": {"J": json_value}})
    assert annotation_of(text) == "str | list[Any]"
    assert "# recursive" in text


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"$ref": "#/$defs/A"}, id="reference-to-itself"),
        pytest.param({"allOf": [{"$ref": "#/$defs/B"}]}, id="allOf-to-itself"),
        pytest.param({"$ref": "#"}, id="whole-document"),
        pytest.param({"$ref": "#/properties/x"}, id="own-place"),
    ],
)
def test_cyclic_references_end(schema: object) -> None:
    """References that only lead to themselves end, in a stub that can be run."""
    defs = {"A": {"$ref": "#/$defs/A"}, "B": {"allOf": [{"$ref": "#/$defs/B"}], "type": "string"}}
    run(stub_of(schema, **{"$defs": defs}))


def test_cyclic_python_objects_end() -> None:
    """A schema that is its own part, as an object in memory, ends too."""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    schema["properties"]["left"] = schema["properties"]["right"] = schema
    cyclic: dict[str, Any] = {"anyOf": [{"type": "string"}]}
    cyclic["anyOf"] += [cyclic, cyclic]
    for hostile in (schema, cyclic):
        SchemaReader(hostile, RecordTable()).read(hostile, name="x", path="#")


def test_deep_nesting_is_cut() -> None:
    """Two hundred levels are shown as far as Python can read them."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    text = stub_of(schema)
    run(text)
    assert "nested too deeply" in text


def test_many_references_do_not_multiply() -> None:
    """Definitions that name each other ten times (a billion laughs) are read once each."""
    defs = {
        f"L{n}": {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"} for _ in range(10)]} for n in range(12)
    }
    defs["L12"] = {"type": "integer"}
    assert annotation_of(stub_of({"$ref": "#/$defs/L0"}, **{"$defs": defs})) == "int"


def test_reference_to_elsewhere_is_refused() -> None:
    """A reference out of the document is an error that names the tool, the reference and the fix."""
    with pytest.raises(CatalogError, match=r"'probe'.*'https://example\.org/x'.*'\$defs'"):
        stub_of({"$ref": "https://example.org/x"})


def test_all_of_joins_objects() -> None:
    """Parts of an `allOf` become one record with all fields and all that is required."""
    text = stub_of(
        {
            "title": "Both",
            "allOf": [
                {"$ref": "#/$defs/Base"},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
            ],
        },
        **{"$defs": {"Base": {"type": "object", "properties": {"a": {"type": "string"}}}}},
    )
    assert record_lines(text)[:2] == ["a: NotRequired[str]", "b: int"]


def test_union_of_objects_with_common_fields() -> None:
    """Branches beside shared properties become one record each, with the shared fields."""
    text = stub_of(
        {
            "type": "object",
            "properties": {"kind": {"type": "string"}},
            "oneOf": [
                {"title": "Circle", "properties": {"r": {"type": "number"}}},
                {"title": "Square", "properties": {"a": {"type": "number"}}},
            ],
        }
    )
    assert annotation_of(text) == "Circle | Square"
    assert text.count("kind: NotRequired[str]") == 2


def test_constraints_are_said() -> None:
    """What a schema demands beyond a type stands beside the parameter."""
    text = stub_of({"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "description": "Size."})
    assert "# Size (>= 1, < 9)" in text
    assert "# format date-time" in stub_of({"type": "string", "format": "date-time"})
    assert "# > 3" in stub_of({"type": "integer", "minimum": 3, "exclusiveMinimum": True})


CASES_OF_NOTES = [
    ({"type": "array", "uniqueItems": True, "minItems": 2}, "# at least 2 items, no item twice"),
    (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        "# in this order: str, int",
    ),
    (
        {"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "integer"}},
        "# in this order: str, then others",
    ),
    ({"enum": [1.5, [1]]}, "# one of 1.5, [1]"),
    ({"enum": list(range(200))}, "# one of 0, 1, 2, 3, 4, … (200 values)"),
]


@pytest.mark.parametrize(("schema", "told"), CASES_OF_NOTES, ids=[n for _, n in CASES_OF_NOTES])
def test_what_types_leave_out_is_said(schema: object, told: str) -> None:
    """What Python's types cannot say stands in a comment."""
    assert told in stub_of(schema)


def test_conditional_properties_are_optional() -> None:
    """Properties that an object has only under a condition are fields that it need not have."""
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["card", "cash"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "card"}}},
        "then": {"properties": {"number": {"type": "string"}}, "required": ["number"]},
        "dependentSchemas": {"number": {"properties": {"expires": {"type": "integer"}}}},
    }
    assert record_lines(stub_of(schema))[:3] == [
        "kind: Literal['card', 'cash']",
        "number: NotRequired[str]",
        "expires: NotRequired[int]",
    ]


def test_arguments_of_several_branches() -> None:
    """Branches of a tool's whole schema are laid over each other: what one lacks is optional."""
    schema = {
        "type": "object",
        "properties": {"note": {"type": "string"}},
        "oneOf": [
            {"properties": {"id": {"type": "integer"}, "key": {"const": "i"}}, "required": ["key"]},
            {"properties": {"id": {"type": "string"}, "key": {"const": "s"}}, "required": ["key"]},
            {"required": ["note"]},
        ],
    }
    text = ToolCatalog([tool_of(schema)]).render()
    assert "(note: str = ..., id: int | str = ..., key: Literal['i', 's'] = ...)" in text
    del schema["oneOf"][2]
    text = ToolCatalog([tool_of(schema)]).render()
    assert "(key: Literal['i', 's'], note: str = ..., id: int | str = ...)" in text


# --- the tree -----------------------------------------------------------------------------------


def test_union_keeps_the_reason_of_any() -> None:
    """`Any` takes in every other type and keeps the note that says why."""
    assert notes(union([choice(["a"]), widened("because")])) == ["because"]


def test_literals_tell_true_from_one() -> None:
    """`True == 1` in Python, but a `Literal` has both."""
    tree = choice([1, True, 1])
    assert render_type(tree, {}) == "Literal[1, True]"
    assert admits(choice([1]), 1)
    assert not admits(choice([1]), True)


# --- never narrower than the schema -------------------------------------------------------------


def random_pair(rng: random.Random, depth: int = 0) -> tuple[dict[str, Any], Any]:
    """Return a schema and a value that it accepts."""
    simple = [
        lambda: ({"type": "string"}, rng.choice(["", "x", "é"])),
        lambda: ({"type": "integer", "minimum": 0}, rng.randrange(9)),
        lambda: ({"type": "number"}, rng.choice([1, 2.5])),
        lambda: ({"type": ["boolean", "null"]}, rng.choice([True, None])),
        lambda: ({"enum": ["a", 1, None, 2.5, [1]]}, rng.choice(["a", 1, None, 2.5, [1]])),
        lambda: ({"const": "c"}, "c"),
        lambda: ({}, {"any": ["thing"]}),
    ]
    if depth > 3 or rng.random() < 0.3:
        return rng.choice(simple)()
    kind = rng.randrange(6)
    pairs = [random_pair(rng, depth + 1) for _ in range(rng.randrange(1, 4))]
    if kind == 0:
        return {"type": "array", "items": pairs[0][0]}, [pairs[0][1]] * rng.randrange(3)
    if kind == 1:
        keyword = rng.choice(["anyOf", "oneOf"])
        return {keyword: [schema for schema, _ in pairs]}, rng.choice(pairs)[1]
    if kind == 2:
        keys = ["a", "first-name", "class", "__x", "list"][: len(pairs)]
        properties = dict(zip(keys, (s for s, _ in pairs), strict=True))
        required = [key for key in keys if rng.random() < 0.5]
        value = {
            k: v
            for k, (_, v) in zip(keys, pairs, strict=True)
            if k in required or rng.random() < 0.5
        }
        return {"type": "object", "properties": properties, "required": required}, value
    if kind == 3:
        return {"type": "object", "additionalProperties": pairs[0][0]}, {"k": pairs[0][1]}
    if kind == 4:
        return {"type": "array", "prefixItems": [s for s, _ in pairs]}, [v for _, v in pairs]
    return {"allOf": [pairs[0][0], {"description": "more"}]}, pairs[0][1]


@pytest.mark.parametrize("seed", range(60))
def test_types_accept_what_schemas_accept(seed: int) -> None:
    """A value that a schema accepts is of the type in the stub, for schemas of many forms."""
    schema, value = random_pair(random.Random(seed))
    text = stub_of(schema)
    assert text == stub_of(schema)
    # pydantic reads `typing.TypedDict` from Python 3.12 on only
    names = run(text.replace("from typing import", "from typing_extensions import"))
    TypeAdapter(names["probe"].__annotations__["x"]).validate_python(value, strict=True)
