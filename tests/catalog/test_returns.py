"""What a tool returns: as it says itself, as its developer says, in types and in words."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import pytest
from langchain_core.tools import StructuredTool, tool

from langchain_ptc import (
    CatalogError,
    InProcessSandbox,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolDefinition,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.catalog.definition import read_returns
from langchain_ptc.catalog.tools import returns_section
from langchain_ptc.catalog.types import INT, STR, container
from tests.support.typed_tools import Member, find, get_team


@dataclass
class Hit:
    """One result of a search."""

    title: str
    score: float


SCHEMA = {
    "type": "object",
    "title": "Weather",
    "properties": {"degrees": {"type": "number"}, "wind": {"$ref": "#/$defs/Wind"}},
    "required": ["degrees"],
    "$defs": {"Wind": {"type": "object", "properties": {"from": {"type": "string"}}}},
}


@tool
def search(query: str):  # type: ignore[no-untyped-def]
    """Search."""
    return [{"title": query, "score": 1.0}]


def return_of(text: str) -> str:
    """Return the annotation of what the last function of a stub returns."""
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.AsyncFunctionDef)]
    assert functions[-1].returns is not None
    return ast.unparse(functions[-1].returns)


# --- as the developer says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "shown"),
    [
        pytest.param(list[Hit], "list[Hit]", id="dataclass"),
        pytest.param(list[Member], "list[Member]", id="model"),
        pytest.param(SCHEMA, "Weather", id="schema"),
        pytest.param({"type": "array", "items": {"type": "string"}}, "list[str]", id="array"),
        pytest.param(container("list", INT), "list[int]", id="tree"),
        pytest.param(None, "None", id="none"),
        pytest.param(int | None, "int | None", id="union"),
    ],
)
def test_stated_returns(returns: object, shown: str) -> None:
    """A definition states a return as an annotation, a JSON Schema or a tree."""
    text = ToolCatalog([ToolDefinition(tool=search, returns=returns)]).render()
    assert return_of(text) == shown
    exec(compile(text, "stub", "exec", dont_inherit=True), {})


def test_stated_return_stands_for_the_own_one() -> None:
    """What the developer says replaces what the tool says, and its records go with it."""
    (own,) = ToolCatalog([get_team])
    (stated,) = ToolCatalog([ToolDefinition(tool=get_team, returns=list[str])])
    assert (own.returns, stated.returns) == (own.returns, container("list", STR))
    assert [record.name for record in own.records] == ["Member"]
    assert stated.records == ()
    said = replace(stated, returns=own.returns, records=own.records, returns_from="tool")
    assert said == own


def test_a_definition_says_only_what_it_says() -> None:
    """What a definition leaves out is the tool's own."""
    policy = ToolPolicy(read_only=True)
    given = ToolDefinition(tool=get_team, name="team", domain="hr", policy=policy)
    (definition,) = ToolCatalog([given])
    (own,) = ToolCatalog([get_team])
    assert definition == replace(own, name="team", domain="hr", policy=policy)
    assert definition.tool is get_team
    assert "async def team(\n" in ToolCatalog([given]).render()
    described = ToolDefinition(tool=search, description="Find pages.", returns_text="At most ten.")
    assert '"""Find pages.\n    Returns: At most ten.\n    """' in ToolCatalog([described]).render()


def test_definitions_of_one_catalog_make_another() -> None:
    """A catalog's definitions are tools for another catalog, without change."""
    catalog = ToolCatalog({"hr": [get_team, find], "web": [search]})
    again = ToolCatalog(list(catalog))
    assert list(again) == list(catalog)
    assert again.render() == catalog.render()


async def test_a_defined_tool_is_called_like_any() -> None:
    """A definition stands where a tool stands, in every way in."""
    given = ToolDefinition(tool=search, returns=list[Hit], name="look_up")
    executor = ProgrammaticToolExecutor([given], sandbox=InProcessSandbox())
    result = await executor.aexecute("print((await look_up('x'))[0].title)")
    assert result.output == "x\n", result.error
    (tool_for_model,) = as_programmatic([given], sandbox=InProcessSandbox())
    assert "async def look_up(query: str) -> list[Hit]:" in tool_for_model.description


@pytest.mark.parametrize("returns", ["list[int]", 3, [int], b"x"])
def test_returns_that_are_no_type(returns: object) -> None:
    """What is neither a type nor a schema is refused where it is said."""
    with pytest.raises(CatalogError, match="returns must be a type, such as list"):
        ToolDefinition(tool=search, returns=returns)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(
            {"name": "list"},
            "the name of the tool 'search' cannot be 'list' in code; call it 'list_'",
            id="name",
        ),
        pytest.param({"domain": "a-b"}, "cannot be 'a-b' in code; call it 'a_b'", id="domain"),
        pytest.param(
            {"domain": "x"}, "in the domain 'web', but its definition has domain='x'", id="two"
        ),
        pytest.param({"tool": len}, "must be a LangChain tool, got builtin", id="tool"),
    ],
)
def test_wrong_definitions(given: dict[str, Any], told: str) -> None:
    """A definition that code could not use is refused by the catalog, with the fix."""
    made = ToolDefinition(**{"tool": search, **given})
    with pytest.raises(CatalogError, match=told):
        ToolCatalog([made] if given.get("domain") == "a-b" else {"web": [made]})


def test_definitions_do_not_change() -> None:
    """A definition is frozen; another return makes another definition."""
    (definition,) = ToolCatalog([get_team])
    with pytest.raises(FrozenInstanceError):
        definition.name = "other"  # type: ignore[misc]
    tree, records = read_returns(list[Hit], tool_name="x")
    (changed,) = ToolCatalog([ToolDefinition(tool=get_team, returns=tree, records=records)])
    assert [changed] == list(ToolCatalog([ToolDefinition(tool=get_team, returns=list[Hit])]))
    assert [record.name for record in changed.records] == ["Hit"]
    assert definition.returns != changed.returns
    (kept,) = ToolCatalog([ToolDefinition(tool=find, returns=SCHEMA)])
    assert [record.name for record in kept.records] == ["Filter", "Weather", "Wind"]


# --- in words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        pytest.param(
            "Do.\n\nReturns:\n    The rows,\n    by id.\n\nRaises:\n    X.",
            "The rows, by id.",
            id="google",
        ),
        pytest.param("Do.\n\n    Returns: A dict\n", "A dict", id="google-one-line"),
        pytest.param(
            "Do.\n\nReturns\n-------\ndict\n    The rows.\n\nNotes\n-----\nNo.",
            "dict The rows.",
            id="numpy",
        ),
        pytest.param(
            "Do.\n\n:param x: One.\n:returns: The rows,\n    by id.\n:rtype: dict",
            "The rows, by id.",
            id="sphinx",
        ),
        pytest.param("Do.\n\nReturns a dict of rows.", "", id="prose"),
        pytest.param("Do.", "", id="nothing"),
        pytest.param(None, "", id="no-docstring"),
        pytest.param("Returns:\n", "", id="empty"),
    ],
)
def test_returns_sections(docstring: str | None, found: str) -> None:
    """The section is found in the three styles, as one paragraph."""
    assert returns_section(docstring) == found


def test_words_where_there_is_no_type() -> None:
    """The docstring's words are in the stub where the type says too little, and only once."""

    def rows(table: str):  # type: ignore[no-untyped-def]
        """Read a table.

        Args:
            table: Its name.

        Returns:
            The rows as dicts with `id` and `total`.
        """

    def typed(table: str) -> list[int]:
        """Read a table.

        Args:
            table: Its name.

        Returns:
            The numbers.
        """
        return []

    told = "Returns: The rows as dicts with `id` and `total`."
    parsed = ToolCatalog([tool(rows, parse_docstring=True)]).render()
    assert parsed.count("The rows as dicts") == 1
    assert told in parsed
    whole = ToolCatalog([tool(rows)]).render()
    assert whole.count("The rows as dicts") == 1
    assert "The numbers" not in ToolCatalog([tool(typed, parse_docstring=True)]).render()


def test_policy_is_said() -> None:
    """The stub says what a call may do, and that a person approves it."""
    policy = ToolPolicy(idempotent=True, requires_approval=True, max_calls=3, timeout_seconds=2)
    text = ToolCatalog([ToolDefinition(tool=search, policy=policy)]).render()
    expected = "Idempotent. A person approves each call. At most 3 calls. Takes at most 2 s."
    assert expected in text


def test_structured_tools_without_code_say_nothing() -> None:
    """A tool whose function has no annotation has a return of any type."""
    schema = {"type": "object", "properties": {}}
    given = StructuredTool(name="t", description="", args_schema=schema, func=lambda: 1)
    assert return_of(ToolCatalog([given]).render()) == "Any"
