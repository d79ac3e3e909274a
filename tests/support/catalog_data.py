"""Tool definitions of many forms, for the tests: what APIs, MCP servers and careless authors write."""

from __future__ import annotations

from typing import Any


def definition(
    name: str, properties: dict[str, Any], required: list[str] | None = None, **root: Any
) -> dict[str, Any]:
    """Return one definition; what is not said to be required is optional."""
    parameters = {"type": "object", "properties": properties, "required": required or [], **root}
    description = f"Do what {name} does.\n\nWith \"quotes\", back\\slashes and '''more'''."
    return {"name": name, "description": description, "parameters": parameters}


_TREE = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}, "maxItems": 2},
        "owner": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}]},
    },
    "required": ["label"],
    "additionalProperties": False,
}
_PERSON = {
    "type": "object",
    "title": "A Person",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "born": {"type": "string", "format": "date"},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "required": ["name"],
    "additionalProperties": False,
}
_SHAPES = [
    {
        "type": "object",
        "title": "Circle",
        "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "minimum": 0}},
        "required": ["kind", "radius"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "title": "Square",
        "properties": {"kind": {"const": "square"}, "side": {"type": "integer"}},
        "required": ["kind", "side"],
        "additionalProperties": False,
    },
]

DEFINITIONS: list[dict[str, Any]] = [
    definition("no_arguments", {}),
    definition(
        "scalars",
        {
            "s": {"type": "string"},
            "i": {"type": "integer"},
            "f": {"type": "number"},
            "b": {"type": "boolean"},
            "n": {"type": "null"},
        },
        ["s", "n"],
    ),
    definition(
        "bounds",
        {
            "page": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
            "step": {"type": "integer", "multipleOf": 5},
        },
    ),
    definition(
        "formats",
        {f: {"type": "string", "format": f} for f in ("date", "date-time", "email", "uri", "uuid")},
        ["date"],
    ),
    definition(
        "nullable",
        {
            "a": {"type": ["string", "null"]},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "c": {"enum": ["x", None]},
        },
        ["a"],
    ),
    definition(
        "enums",
        {
            "word": {"enum": ["a", "it's", 'say "hi"', "back\\slash", "new\nline", ""]},
            "number": {"enum": [1, 2.5, -3]},
            "mixed": {"enum": ["1", 1, True, None]},
            "deep": {"enum": [[1, 2], {"a": 1}, "plain"]},
            "only": {"const": 7},
            "no": {"const": False},
        },
        ["word"],
    ),
    definition(
        "large_enum",
        {"code": {"type": "string", "enum": [f"code-{n}" for n in range(400)]}},
        ["code"],
    ),
    definition(
        "lists",
        {
            "plain": {"type": "array"},
            "words": {"type": "array", "items": {"type": "string"}, "uniqueItems": False},
            "grid": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "some": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
        },
    ),
    definition(
        "tuples",
        {
            "point": {
                "type": "array",
                "prefixItems": [{"type": "number"}, {"type": "number"}],
                "items": False,
                "minItems": 2,
            },
            "row": {
                "type": "array",
                "prefixItems": [{"type": "string"}, {"type": "object"}, {"type": "null"}],
            },
        },
        ["point"],
    ),
    definition(
        "maps",
        {
            "free": {"type": "object"},
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "patterned": {
                "type": "object",
                "patternProperties": {"^x-": {"type": "string"}},
                "additionalProperties": False,
            },
            "both": {
                "type": "object",
                "patternProperties": {"^n": {"type": "integer"}},
                "additionalProperties": {"type": "boolean"},
            },
        },
    ),
    definition(
        "nested",
        {
            "order": {
                "type": "object",
                "properties": {
                    "lines": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}},
                            "required": ["sku"],
                        },
                    },
                    "to": {
                        "type": "object",
                        "properties": {
                            "zip-code": {"type": "string"},
                            "class": {"type": "string"},
                            "list": {"type": "array", "items": {"type": "integer"}},
                        },
                    },
                },
                "required": ["lines"],
            }
        },
        ["order"],
    ),
    definition(
        "recursive",
        {
            "tree": {"$ref": "#/$defs/Tree"},
            "people": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
        },
        ["tree"],
        **{"$defs": {"Tree": _TREE, "Person": _PERSON}},
    ),
    definition(
        "draft_seven",
        {"who": {"$ref": "#/definitions/Person"}},
        ["who"],
        definitions={
            "Person": {
                "type": "object",
                "properties": {"id": {"type": "integer"}},
                "required": ["id"],
            }
        },
        **{"$schema": "http://json-schema.org/draft-07/schema#"},
    ),
    definition(
        "alternatives",
        {
            "shape": {"oneOf": _SHAPES},
            "shapes": {"type": "array", "items": {"anyOf": _SHAPES}},
            "value": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
            },
        },
        ["shape"],
    ),
    definition(
        "joined",
        {
            "both": {
                "allOf": [
                    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "integer"}}},
                ]
            },
            "narrowed": {"allOf": [{"type": "number"}, {"minimum": 3}]},
        },
        ["both"],
    ),
    definition(
        "open_record",
        {
            "item": {
                "type": "object",
                "properties": {"id": {"type": "integer"}},
                "required": ["id"],
                "additionalProperties": {"type": "string"},
            }
        },
        ["item"],
    ),
    definition(
        "conditional",
        {
            "payment": {
                "type": "object",
                "properties": {"kind": {"enum": ["card", "cash"]}},
                "required": ["kind"],
                "if": {"properties": {"kind": {"const": "card"}}},
                "then": {"properties": {"number": {"type": "string"}}},
            }
        },
        ["payment"],
    ),
    definition(
        "further_arguments",
        {"id": {"type": "integer"}},
        ["id"],
        additionalProperties={"type": "string"},
    ),
    definition(
        "undescribed_required", {"a": {"type": "string"}}, ["a", "b"], additionalProperties=True
    ),
    definition(
        "one_of_several",
        {"by": {"type": "string"}},
        anyOf=[
            {"properties": {"id": {"type": "integer"}}, "required": ["id"]},
            {"properties": {"name": {"type": "string"}}, "required": ["name"]},
        ],
        additionalProperties=True,
    ),
    definition("anything", {"a": {}, "b": True, "c": {"description": "What you like."}}, ["a"]),
    definition(
        "defaults",
        {
            "s": {"type": "string", "default": 'it\'s\n"x"'},
            "l": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
            "o": {"type": "object", "default": {"a": 1}},
            "wrong": {"type": "integer", "default": "ten"},
            "f": {"type": "number", "default": 1},
        },
    ),
    definition(
        "awkward-names.in/all:kinds",
        {
            n: {"type": "integer"}
            for n in (
                "first-name",
                "first_name",
                "first.name",
                "_private",
                "__dunder__",
                "class",
                "None",
                "2nd",
                "a b",
                "ﬁle",
                "file",
                "naïve",
                "変数",
                "x" * 120,
                "$top",
                "@type",
                "",
            )
        },
        ["first-name", "class", ""],
    ),
    definition(
        "names_of_the_framework",
        {
            n: {"type": "integer"}
            for n in (
                "self",
                "config",
                "run_manager",
                "callbacks",
                "runtime",
                "state",
                "store",
                "input",
                "args",
                "kwargs",
                "tool_input",
                "tool_call_id",
                "cls",
                "name",
                "type",
                "id",
                "tools",
                "print",
                "func",
                "coroutine",
            )
        },
        ["self", "config", "run_manager"],
    ),
    definition("class", {"import": {"type": "string"}}, ["import"]),
    definition(
        "list",
        {
            "dict": {"type": "string"},
            "str": {"type": "object", "properties": {"int": {"type": "integer"}}},
        },
    ),
    definition(
        "TypedDict", {"Any": {"type": "object", "properties": {"Literal": {"enum": ["a"]}}}}
    ),
    definition("说话", {"内容": {"type": "string", "description": "要说的内容。"}}, ["内容"]),
]
"""Each is valid JSON Schema of draft 2020-12 that some value satisfies."""
