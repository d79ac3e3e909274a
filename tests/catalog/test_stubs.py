"""Stubs are valid Python that says what the tools are, whatever their authors wrote."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool

from langchain_ptc import ToolCatalog
from langchain_ptc.catalog.text import brief, cut, docstring, one_line, paragraphs
from tests.support.typed_tools import find, get_team


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def schema_tool(name: str, description: str = "", **properties: Any) -> StructuredTool:
    """Return a tool of properties that are given as schemas; none is required."""
    schema = {"type": "object", "properties": properties}
    return StructuredTool(name=name, description=description, args_schema=schema, coroutine=echo)


def run(text: str) -> dict[str, Any]:
    """Run a stub as a module of its own and return its names."""
    namespace: dict[str, Any] = {}
    # `exec` of text would inherit this file's `from __future__ import annotations`
    exec(compile(text, "stub", "exec", dont_inherit=True), namespace)
    return namespace


EXPECTED = '''\
from datetime import date, datetime
from typing import Any, Literal, TypedDict

# from tools.hr import get_team, find
class Member(TypedDict):
    """Somebody in a team."""
    id: str
    name: str  # full name
    since: date | None

class Filter(TypedDict):
    city: str

async def get_team(
    department: str,  # department, for example "engineering"
    kind: Literal["it's", 'all'] = 'all',  # Which ones
    limit: int = 10,  # How many at most
) -> list[Member]:
    """List the members of a team."""

async def find(where: Filter, tags: list[str] = [], at: datetime = ...) -> Any:
    """Find something."""

# from tools.sys import now
async def now() -> Any: ...
'''


def test_text_for_a_model() -> None:
    """The text has imports, then for each domain its records and its functions."""
    catalog = ToolCatalog({"hr": [get_team, find], "sys": [schema_tool("now")]})
    assert catalog.render() == EXPECTED
    assert catalog.type_names == ("hr.Member", "hr.Filter")
    run(catalog.render())


def test_rendering_is_deterministic() -> None:
    """Two catalogs of the same tools have the same text, character for character."""
    texts = {ToolCatalog({"hr": [get_team, find]}).render() for _ in range(3)}
    assert len(texts) == 1


def test_required_before_optional() -> None:
    """Parameters that are required come first, whatever the order in the schema."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "default": "x"}, "b": {"type": "integer"}},
        "required": ["b"],
    }
    given = StructuredTool(name="t", description="", args_schema=schema, coroutine=echo)
    assert "async def t(b: int, a: str = 'x')" in ToolCatalog([given]).render()


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "str = ..."),
        ({"type": "string", "default": None}, "str | None = None"),
        ({"type": "integer", "default": "10"}, "int = ...,  # default '10'"),
        ({"type": "number", "default": 1}, "float = 1"),
        ({"type": "number", "default": float("inf")}, "float = ..."),
        ({"enum": ["a"], "default": "b"}, "Literal['a'] = ...,  # default 'b'"),
        ({"type": "array", "items": {"type": "string"}, "default": []}, "list[str] = []"),
        (
            {"type": "array", "items": {"type": "string"}, "default": [1]},
            "list[str] = ...,  # default [1]",
        ),
        ({"type": "object", "default": {"a": [1]}}, "dict[str, Any] = {'a': [1]}"),
        ({"type": "string", "default": "x" * 999}, "str = ..."),
        ({"type": "string", "default": "q'\"\\\n"}, "str = " + repr("q'\"\\\n")),
        ({"type": "object", "properties": {"a": {}}, "default": {}}, "X = {}"),
        (
            {"type": "object", "properties": {"a": {}}, "default": {"a": 1}},
            "X = ...,  # default {'a': 1}",
        ),
    ],
)
def test_defaults(schema: dict[str, Any], shown: str) -> None:
    """A default is shown if it is of the type; otherwise it is said in words, or left to the tool."""
    text = ToolCatalog([schema_tool("t", x=schema)]).render()
    assert f"x: {shown}" in text
    run(text)


def test_records_of_one_name_are_told_apart() -> None:
    """Different records of one name get different names; the same record is shown once."""
    a, b = ({"type": "object", "properties": {key: {"type": "string"}}} for key in "ab")
    catalog = ToolCatalog(
        [
            schema_tool("first", options=a),
            schema_tool("second", options=b),
            schema_tool("third", options=a),
            schema_tool("Options_", options={"type": "object", "properties": {"options": b}}),
        ]
    )
    assert catalog.type_names == ("Options", "SecondOptions", "OptionsOptions")
    text = catalog.render()
    assert "async def third(options: Options = ...)" in text
    run(text)


def test_records_that_hold_themselves_are_shown_once() -> None:
    """Two records that are the same and hold themselves are one; with another field they are two."""

    def tree(**more: object) -> dict[str, Any]:
        fields = {"kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}}, **more}
        return {"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": fields}}}

    def hold(name: str, root: dict[str, Any]) -> StructuredTool:
        schema = {"type": "object", "properties": {"node": {"$ref": "#/$defs/Node"}}, **root}
        del schema["$ref"]
        return StructuredTool(name=name, description="", args_schema=schema, coroutine=echo)

    other = tree(note={"type": "string"})
    catalog = ToolCatalog([hold("a", tree()), hold("b", tree()), hold("c", other)])
    assert catalog.type_names == ("Node", "CNode")
    assert "async def b(node: Node = ...)" in catalog.render()
    run(catalog.render())


def test_records_do_not_take_the_names_of_tools_and_types() -> None:
    """A record called like a tool, a builtin or a type of the stubs gets another name."""
    plain = {"type": "object", "properties": {"a": {"type": "string"}}}
    given = [schema_tool("Order", x={**plain, "title": t}) for t in ("Order",)]
    given += [
        schema_tool(f"t{n}", x={"properties": {f"p{n}": {}}, "title": t})
        for n, t in enumerate(("Any", "Exception", "TypedDict"))
    ]
    catalog = ToolCatalog(given)
    assert not {"Order", "Any", "Exception", "TypedDict"} & set(catalog.type_names)
    run(catalog.render())


def test_awkward_field_names() -> None:
    """Fields that are no identifiers, private or named like a type are written as keys of a call."""
    names = ["first-name", "class", "__x", "date", "str", "Any", "a'b\"c\\", "x\ny", ""]
    given = schema_tool(
        "t", x={"type": "object", "properties": {name: {"type": "string"} for name in names}}
    )
    record = run(ToolCatalog([given]).render())["X"]
    assert list(record.__annotations__) == names


# --- hostile text -------------------------------------------------------------------------------

HOSTILE = [
    pytest.param('"""', id="triple-quote"),
    pytest.param('x """\nimport os\nos.system("id")\n"""', id="break-out"),
    pytest.param('""""""" a """"', id="runs-of-quotes"),
    pytest.param('ends with "', id="quote-at-the-end"),
    pytest.param("ends with \\", id="backslash-at-the-end"),
    pytest.param('\\""" \\', id="escaped-quotes"),
    pytest.param("\\N{DOES NOT EXIST} \\x \\u12", id="broken-escapes"),
    pytest.param("'''\nimport os\n'''", id="single-quotes"),
    pytest.param(
        "a\r\nimport os\x0bimport sys\x0cimport re\x85import io\u2028import ast\u2029b",
        id="newlines",
    ),
    pytest.param("nul \x00 bell \x07 escape \x1b[31m", id="control"),
    pytest.param("lone \ud800 surrogate", id="surrogate"),
    pytest.param("right to \u202eleft\u2066 code", id="bidi"),
    pytest.param("# comment ) -> None: pass", id="comment"),
    pytest.param("{braces} %s %(x)s {0}", id="templates"),
    pytest.param("\n\n   \n", id="blank"),
    pytest.param("💥" * 400, id="emoji"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_description_breaks_out(text: str, tmp_path: Path) -> None:
    """Descriptions stay in their strings and comments, in the text and on disk, wherever they stand."""
    inner = {
        "type": "object",
        "description": text,
        "properties": {"k": {"type": "string", "description": text}, "k-k": {"description": text}},
    }
    plain = {
        "type": "object",
        "title": "Plain",
        "properties": {"k": {"type": "string", "description": text}},
    }
    schema = {
        "type": "object",
        "description": text,
        "properties": {
            "a": {"$ref": "#/$defs/Inner", "description": text},
            "b": {"type": "string", "description": text, "pattern": text, "default": text},
            "c": {"enum": [text, "x"]},
            "d": {"type": "array", "items": plain, "title": text, "description": text},
            text or "e": {"type": "string"},
        },
        "$defs": {"Inner": inner},
    }
    given = StructuredTool(name="t", description=text, args_schema=schema, coroutine=echo)
    catalog = ToolCatalog([given])
    sources = [catalog.render(), *(p.read_text("utf-8") for p in catalog.write_stubs(tmp_path))]
    for source in sources:
        source.encode("utf-8")
        tree = ast.parse(source)
        kinds = {type(node).__name__ for node in tree.body}
        assert kinds <= {
            "ImportFrom",
            "ClassDef",
            "Assign",
            "AsyncFunctionDef",
            "Expr",
        }
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert imported <= {"typing"}
        calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
        assert set(calls) <= {"TypedDict"}
    run(sources[0])


@pytest.mark.parametrize("text", HOSTILE)
def test_docstrings_say_what_the_description_says(text: str) -> None:
    """Escaping is undone by Python: the docstring has the description's characters."""
    shown = paragraphs(text)
    if shown:
        source = f"def f():\n    {docstring(shown, indent='    ')}"
        assert ast.get_docstring(ast.parse(source).body[0]) == shown.strip()  # type: ignore[arg-type]


def test_very_long_descriptions_are_cut() -> None:
    """Ten megabytes of description cost neither the prompt nor the time."""
    huge = "word " * 2_000_000
    text = ToolCatalog([schema_tool("t", huge, x={"type": "string", "description": huge})]).render()
    assert len(text) < 2_000
    assert text.count("…") == 2


def test_short_forms_of_text() -> None:
    """Comments are one line and short; whole sentences are kept where that can be."""
    assert one_line("a\n  b\tc\x00") == "a b c"
    assert cut("one two three", 9) == "one two…"
    assert brief("The id of a user.") == "id of a user"
    assert brief("An id, e.g. ...") == "id, e.g. ..."
    assert brief("A") == "A"
    assert brief(f"The first sentence, {'long ' * 12}. {'And more. ' * 20}").endswith("And more")
    assert paragraphs("a  b\n\n\n\n  c\r\nd ") == "a b\n\n  c\nd"


# --- many schemas -------------------------------------------------------------------------------


def random_schema(rng: random.Random, depth: int = 0) -> Any:
    """Return a schema such as careless authors write, not always a valid one."""
    kinds: list[Any] = [
        "string",
        "integer",
        "number",
        "boolean",
        "array",
        "object",
        "null",
        "any",
        ["string", "null"],
        None,
    ]
    schema: dict[str, Any] = {"type": rng.choice(kinds)}
    extras: dict[str, Any] = {
        "description": rng.choice(["Short.", 'A "long" one\nwith lines ' * 9, "", None, 5]),
        "default": rng.choice([None, 1, "x", [], {}, {"a": 1}, 2.5]),
        "enum": rng.choice([["a", "b"], [1, None], [], "a", [[1]]]),
        "title": rng.choice(["A Title", "list", "Any", "", None]),
        "format": "date",
        "minimum": rng.choice([1, "x"]),
        "additionalProperties": rng.choice([True, False, {}, {"type": "string"}]),
        "required": rng.choice([["a"], True, "a", [1]]),
        "$ref": rng.choice(["#/$defs/A", "#/$defs/B", "#", "#/properties/p0"]),
    }
    for key in rng.sample(sorted(extras), rng.randrange(4)):
        schema[key] = extras[key]
    if depth < 3:
        names = ["a", "b-c", "class", "list", "_x", "é", "1", "self"]
        inner = {
            name: random_schema(rng, depth + 1) for name in rng.sample(names, rng.randrange(4))
        }
        if schema["type"] == "object" or rng.random() < 0.1:
            schema["properties"] = inner
        if schema["type"] == "array":
            schema["items"] = rng.choice(
                [random_schema(rng, depth + 1), True, list(inner.values())]
            )
        if rng.random() < 0.2:
            schema[rng.choice(["anyOf", "oneOf", "allOf"])] = [
                random_schema(rng, depth + 1) for _ in range(2)
            ]
    return schema


@pytest.mark.parametrize("seed", range(80))
async def test_schemas_of_every_sort(seed: int) -> None:
    """Whatever a schema says: the stub is Python, always the same, and arguments arrive under the tool's names."""
    rng = random.Random(seed)
    names = rng.sample(
        ["p0", "x-y", "x_y", "import", "id", "a.b", "2nd", "filter", "p0_2", "_p0"], 6
    )
    schema = {
        "type": "object",
        "properties": {name: random_schema(rng) for name in names},
        "required": rng.sample(names, 3),
        "$defs": {"A": random_schema(rng), "B": random_schema(rng)},
    }
    given = StructuredTool(name="t", description="Does.", args_schema=schema, coroutine=echo)
    catalog = ToolCatalog([given])
    text = catalog.render()
    run(text)
    assert ToolCatalog([given]).render() == text
    definition = catalog["t"]
    assert len({p.name for p in definition.parameters}) == len(names)
    by_name = definition.bind((), {p.name: p.tool_name for p in definition.parameters})
    assert await given.ainvoke(by_name) == {name: name for name in names}
    assert definition.bind(tuple(p.tool_name for p in definition.parameters), {}) == by_name


def test_stubs_are_shorter_than_json() -> None:
    """A described tool takes at most three quarters of a character of stub for one of JSON."""
    properties = {
        f"field_{n}": {
            "type": "string",
            "description": f"The value of the field number {n}, in words.",
        }
        for n in range(6)
    }
    given = [
        schema_tool(f"tool_{n}", "Change what is stored under a number of fields.", **properties)
        for n in range(20)
    ]
    definitions = [
        {"name": t.name, "description": t.description, "parameters": t.args_schema} for t in given
    ]
    assert len(ToolCatalog(given).render()) <= 0.75 * len(json.dumps(definitions))
