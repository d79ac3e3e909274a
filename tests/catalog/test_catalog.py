"""The catalog gives every tool a name, binds arguments under the tool's own, and refuses what cannot work."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, BaseToolkit, StructuredTool, Tool, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from langchain_ptc import CatalogError, ToolCallError, ToolCatalog, ToolPolicy
from langchain_ptc.catalog.stubs import render_type


async def echo(**arguments: Any) -> Any:
    """Return the arguments."""
    return arguments


def named(name: str, **properties: Any) -> StructuredTool:
    """Return a tool of a name, with properties given as schemas; all are required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return StructuredTool(
        name=name, description=f"Does {name}.", args_schema=schema, coroutine=echo
    )


@tool
def get_team(department: str, active: bool = True) -> list[str]:
    """List a team."""
    return []


@tool
def get_expenses(user_id: str, quarter: str = "Q3") -> float:
    """Sum expenses."""
    return 0.0


class Multiply(BaseTool):
    """A tool written as a class."""

    name: str = "multiply"
    description: str = "Multiply."

    def _run(self, a: int, b: int = 2) -> int:
        return a * b


# --- what is accepted ---------------------------------------------------------------------------


def test_empty_catalog() -> None:
    """A catalog without tools is fine: code can still compute."""
    for catalog in (ToolCatalog([]), ToolCatalog({}), ToolCatalog({"finance": []})):
        assert (len(catalog), catalog.names, catalog.type_names) == (0, (), ())
        assert catalog.domains == ()
        assert catalog.render() == ""
        assert "x" not in catalog
        assert catalog.suggest("x") == []


def test_every_kind_of_tool() -> None:
    """Decorated functions, classes, single-input tools, schemas from elsewhere, plain functions."""

    def plain(x: int, *rest: int, y: str = "a", **more: Any) -> str:
        return f"{x}{y}"

    async def plain_async(x: int) -> int:
        """Double."""
        return 2 * x

    single = Tool(name="shout", description="Shout.", func=str.upper)
    catalog = ToolCatalog(
        [get_team, Multiply(), single, named("lookup", key={"type": "string"}), plain, plain_async]
    )
    assert catalog.names == ("get_team", "multiply", "shout", "lookup", "plain", "plain_async")
    parameters = {d.name: [(p.name, p.required) for p in d.parameters] for d in catalog}
    assert parameters == {
        "get_team": [("department", True), ("active", False)],
        "multiply": [("a", True), ("b", False)],
        "shout": [("tool_input", True)],
        "lookup": [("key", True)],
        "plain": [("x", True), ("y", False)],
        "plain_async": [("x", True)],
    }
    assert [render_type(d.returns, {}) for d in catalog] == [
        "list[str]",
        "int",
        "Any",
        "Any",
        "str",
        "int",
    ]


@pytest.mark.parametrize("name", ["shout", "multiply", "plain"])
async def test_bound_arguments_reach_the_tool(name: str) -> None:
    """What `bind` gives is what the tool takes."""

    def plain(x: int, *rest: int, y: str = "a", **more: Any) -> str:
        return f"{x}{y}"

    single = Tool(name="shout", description="Shout.", func=str.upper)
    definition = ToolCatalog([Multiply(), single, plain])[name]
    arguments: tuple[object, ...] = ("a",) if name == "shout" else (3,)
    expected = {"shout": "A", "multiply": 6, "plain": "3a"}[name]
    assert await definition.tool.ainvoke(definition.bind(arguments, {})) == expected


def test_domains_keep_their_order_and_tools() -> None:
    """Tools in domains have qualified names; a bare name finds a tool that only one domain has."""
    catalog = ToolCatalog({"hr": [get_team], "finance": [get_expenses, get_team]})
    assert catalog.domains == ("hr", "finance")
    assert catalog.names == ("hr.get_team", "finance.get_expenses", "finance.get_team")
    assert [d.qualified_name for d in catalog] == list(catalog.names)
    assert catalog["get_expenses"].domain == "finance"
    assert "get_expenses" in catalog
    assert "get_team" not in catalog
    assert catalog.get("get_team") is None
    assert catalog["hr.get_team"].domain == "hr"
    with pytest.raises(
        KeyError, match=r"'get_tem' names no single tool \(did you mean 'hr\.get_team'"
    ):
        catalog["get_tem"]


def test_suggestions() -> None:
    """Misspelt names and names of the wrong domain lead to the tools that were meant."""
    catalog = ToolCatalog({"hr": [get_team], "finance": [get_expenses]})
    assert catalog.suggest("get_expense") == ["finance.get_expenses"]
    assert catalog.suggest("hr.get_expenses") == ["finance.get_expenses"]
    assert catalog.suggest("getTeam") == ["hr.get_team"]
    assert catalog.suggest("zzz") == []


def test_injected_arguments_are_not_shown() -> None:
    """What LangGraph injects is no parameter."""

    @tool
    def remember(
        text: str, runtime: ToolRuntime, state: Annotated[dict[str, Any], InjectedState]
    ) -> str:
        """Remember."""
        return text

    assert [p.name for p in ToolCatalog([remember])["remember"].parameters] == ["text"]


def test_content_and_artifact_returns_the_content() -> None:
    """The code gets the content of a content-and-artifact pair, so that is the type."""

    @tool(response_format="content_and_artifact")
    def fetch(url: str) -> tuple[list[int], bytes]:
        """Fetch."""
        return [], b""

    @tool(response_format="content_and_artifact")
    def fetch_more(url: str) -> tuple[Any, ...]:
        """Fetch."""
        return "", None

    assert [render_type(d.returns, {}) for d in ToolCatalog([fetch, fetch_more])] == [
        "list[int]",
        "Any",
    ]


def test_partial_functions_and_unresolved_returns() -> None:
    """A return type that cannot be found is `Any`, and hides nothing else."""

    def add(a: int, b: int) -> int:
        return a + b

    async def later(a: int) -> Missing:  # type: ignore[name-defined]  # noqa: F821
        return a

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given = [
        StructuredTool(
            name="add", description="", args_schema=schema, func=functools.partial(add, b=1)
        ),
        StructuredTool(name="later", description="", args_schema=schema, coroutine=later),
    ]
    assert [render_type(d.returns, {}) for d in ToolCatalog(given)] == ["int", "Any"]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("calc-add", "calc_add"),
        ("api.v2/users", "api_v2_users"),
        ("2fa", "tool_2fa"),
        ("class", "class_"),
        ("print", "print_"),
        ("open", "open_"),
        ("Any", "Any_"),
        ("datetime", "datetime_"),
        ("tools", "tools_"),
        ("_hidden", "hidden"),
        ("übersetze", "übersetze"),
        ("ﬁnd", "find"),
        ("搜索", "搜索"),
        ("send 📧 now", "send_now"),
        ("---", "tool"),
        ("run_code", "run_code"),
        ("None", "None_"),
        ("a\nimport os", "a_import_os"),
    ],
)
async def test_names_become_identifiers(own: str, name: str) -> None:
    """Every name becomes an identifier that hides nothing; the tool keeps its own."""
    catalog = ToolCatalog([named(own, x={"type": "integer"})])
    definition = catalog[name]
    assert (definition.name, definition.tool_name) == (name, own)
    compile(catalog.render(), "stub", "exec")
    assert await definition.tool.ainvoke(definition.bind((1,), {})) == {"x": 1}


@pytest.mark.parametrize(
    ("given", "domain"),
    [("my-server", "my_server"), ("tools", "tools_"), ("import", "import_"), ("1", "domain_1")],
)
def test_domains_become_identifiers(given: str, domain: str) -> None:
    """Domains are cleaned like tools."""
    assert ToolCatalog({given: [get_team]}).names == (f"{domain}.get_team",)


async def test_parameter_names() -> None:
    """Parameters get identifiers; those that are identifiers keep theirs; the tool gets its own."""
    text = {"type": "string"}
    given = named(
        "t",
        **{
            "first-name": text,
            "first_name": text,
            "class": text,
            "_meta": text,
            "id": text,
            "1": text,
        },
    )
    definition = ToolCatalog([given])["t"]
    assert [p.name for p in definition.parameters] == [
        "first_name_2",
        "first_name",
        "class_",
        "meta",
        "id",
        "arg_1",
    ]
    bound = definition.bind(("a", "b", "c"), {"_meta": "d", "id": "e", "arg_1": "f"})
    assert bound == {
        "first-name": "a",
        "first_name": "b",
        "class": "c",
        "_meta": "d",
        "id": "e",
        "1": "f",
    }
    assert await definition.tool.ainvoke(bound) == bound


async def test_aliases_reach_the_tool() -> None:
    """A pydantic alias is what the tool takes; the code may use the field's name or the alias."""

    class Arguments(BaseModel):
        from_: str = Field(alias="from")
        until: str = Field(default="z", validation_alias=AliasChoices(AliasPath("a", 0), "to"))

    aliased = StructuredTool(name="t", description="", args_schema=Arguments, coroutine=echo)
    definition = ToolCatalog([aliased])["t"]
    for given in ({"from_": "a", "until": "b"}, {"from": "a", "to": "b"}):
        bound = definition.bind((), given)
        assert bound == {"from": "a", "to": "b"}
        assert await definition.tool.ainvoke(bound) == {"from_": "a", "until": "b"}


# --- what is refused ----------------------------------------------------------------------------


class Kit(BaseToolkit):
    """A toolkit."""

    def get_tools(self) -> list[BaseTool]:
        return []


class Broken(BaseTool):
    """A tool whose schema cannot be had."""

    name: str = "broken"
    description: str = ""

    @property
    def tool_call_schema(self) -> Any:
        raise RuntimeError("no schema today")

    def _run(self) -> None:
        return None


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        pytest.param([get_team, get_team], "two tools named 'get_team'; rename one", id="twice"),
        pytest.param(
            [named("a-b"), named("a.b")],
            "'a-b' and 'a.b', which would both be 'a_b'",
            id="cleaned-alike",
        ),
        pytest.param(
            {"d": [named("a-b"), named("a_b")]},
            r"tools\['d'\] has .*'a-b' and 'a_b'",
            id="in-a-domain",
        ),
        pytest.param(
            {"a-b": [], "a_b": []},
            "domains 'a-b' and 'a_b' would both be 'a_b'",
            id="domains-alike",
        ),
        pytest.param({"": [get_team]}, "a domain must be a name, got ''", id="empty-domain"),
        pytest.param({1: [get_team]}, "a domain must be a name, got 1", id="domain-no-text"),
        pytest.param(
            get_team,
            "tools must be a list of tools, got StructuredTool; put it into a list",
            id="bare",
        ),
        pytest.param(
            {"d": get_team}, r"tools\['d'\] must be a list of tools", id="bare-in-a-domain"
        ),
        pytest.param("get_team", "tools must be a list of tools, got str", id="text"),
        pytest.param(None, "tools must be a list of tools, got NoneType", id="none"),
        pytest.param(Kit(), r"got Kit; pass its \.get_tools\(\)", id="toolkit"),
        pytest.param(
            [Kit()], r"tools\[0\] must be .*pass its \.get_tools\(\)", id="toolkit-in-a-list"
        ),
        pytest.param([Multiply], "got the class 'Multiply'; pass an instance", id="class"),
        pytest.param(
            [{"name": "x", "parameters": {}}],
            "only a schema, which cannot be called; wrap it",
            id="schema",
        ),
        pytest.param(
            [get_team, 5],
            r"tools\[1\] must be a LangChain tool or a function, got an int",
            id="number",
        ),
        pytest.param(
            [functools.partial(print)],
            r"tools\[0\], a partial, cannot be made a tool",
            id="partial",
        ),
        pytest.param(
            [Broken()], "tool 'broken' cannot be read: RuntimeError: no schema today", id="broken"
        ),
    ],
)
def test_unusable_tools_are_refused(tools: Any, message: str) -> None:
    """Tools that cannot be offered are refused at construction, with what is wrong and where."""
    with pytest.raises(CatalogError, match=message):
        ToolCatalog(tools)


# --- policies -----------------------------------------------------------------------------------


def test_policies() -> None:
    """A policy goes by a qualified, a unique bare, or the tool's own name."""
    policy = ToolPolicy(read_only=True, max_calls=3, timeout_seconds=1.5)
    tools = {"hr": [get_team], "finance": [get_expenses, named("send-mail")]}
    for name in ("hr.get_team", "get_team"):
        assert ToolCatalog(tools, policies={name: policy})["hr.get_team"].policy == policy
    catalog = ToolCatalog(tools, policies={"send-mail": policy})
    assert catalog["send_mail"].policy == policy
    assert catalog["get_team"].policy == ToolPolicy()
    assert "Read-only. At most 3 calls. Takes at most 1.5 s." in catalog.render()


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"get_tem": ToolPolicy()}, "policies has 'get_tem'.*did you mean 'get_team'"),
        (
            {"get_team": {"read_only": True}},
            r"policies\['get_team'\] must be a ToolPolicy, got dict",
        ),
    ],
)
def test_wrong_policies(policies: Any, message: str) -> None:
    """A policy for no tool, or one that is none, is refused."""
    with pytest.raises(CatalogError, match=message):
        ToolCatalog([get_team], policies=policies)


def test_one_tool_has_one_policy() -> None:
    """Two names of one tool cannot give it two policies."""
    policies = {"hr.get_team": ToolPolicy(), "get_team": ToolPolicy(read_only=True)}
    with pytest.raises(CatalogError, match=r"'hr\.get_team' twice"):
        ToolCatalog({"hr": [get_team]}, policies=policies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_calls": 0}, "max_calls must be a whole number from 1, got 0"),
        ({"max_calls": True}, "max_calls"),
        ({"timeout_seconds": -1}, "timeout_seconds must be a positive number, got -1"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
    ],
)
def test_policy_numbers(options: Any, message: str) -> None:
    """Limits that could never hold are refused."""
    with pytest.raises(ValueError, match=message):
        ToolPolicy(**options)


# --- binding ------------------------------------------------------------------------------------


def test_bind_by_position_and_name() -> None:
    """Positional arguments follow the stub's order; what is omitted stays omitted."""
    definition = ToolCatalog([get_team])["get_team"]
    assert definition.bind(("eng",), {}) == {"department": "eng"}
    assert definition.bind(("eng", False), {}) == {"department": "eng", "active": False}
    assert definition.bind((), {"active": False, "department": "x"}) == {
        "active": False,
        "department": "x",
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            (),
            {},
            r"get_team\(\) is missing 'department'\. Call it as get_team\(department, active=True\); required: department",
        ),
        (
            (),
            {"departmnt": "x"},
            r"has no parameter 'departmnt' \(did you mean 'department'\?\); is missing 'department'",
        ),
        (("a",), {"department": "b"}, "got 'department' twice"),
        (("a", True, 3), {}, "takes 2 positional arguments, 3 were given"),
        (("a",), {"zzz": 1}, r"has no parameter 'zzz'\. Call"),
    ],
)
def test_bind_refuses(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    """Wrong arguments are told with the valid ones, and all at once."""
    definition = ToolCatalog({"hr": [get_team]})["get_team"]
    with pytest.raises(ToolCallError, match=message) as caught:
        definition.bind(args, kwargs)
    assert caught.value.tool == "hr.get_team"


async def test_open_schemas_take_any_keyword() -> None:
    """A schema with no properties that says it takes more takes any keyword arguments."""
    given = StructuredTool(
        name="open_end",
        description="",
        args_schema={"type": "object", "additionalProperties": True},
        coroutine=echo,
    )
    closed = StructuredTool(
        name="none", description="", args_schema={"type": "object"}, coroutine=echo
    )
    catalog = ToolCatalog([given, closed])
    assert catalog["open_end"].bind((), {"a": 1, "b-c": 2}) == {"a": 1, "b-c": 2}
    assert "async def open_end(**kwargs: Any) -> Any: ..." in catalog.render()
    with pytest.raises(ToolCallError, match="has no parameter 'a'"):
        catalog["none"].bind((), {"a": 1})


def test_a_required_property_with_a_default_stays_required() -> None:
    """A default in a schema is a remark: the server still refuses a call without the argument."""
    definition = ToolCatalog([named("t", x={"type": "integer", "default": 3})])["t"]
    with pytest.raises(ToolCallError, match="is missing 'x'"):
        definition.bind((), {})


# --- what it tells ------------------------------------------------------------------------------


def test_one_tool_and_one_domain() -> None:
    """A tool is told whole or on one line, by any name that is its own; a domain line by line."""
    catalog = ToolCatalog({"hr": [get_team], None: [get_expenses]})
    assert (
        catalog.describe("hr.get_team")
        == catalog.describe("get_team")
        == (
            "# from tools.hr import get_team\n\n"
            "async def get_team(department: str, active: bool = True) -> list[str]:\n"
            '    """List a team."""\n'
        )
    )
    line = "get_team(department: str, active: bool = True) -> list[str]  # List a team"
    assert catalog.render_line("get_team") == line
    assert catalog.describe("hr") == f"# tools.hr\n{line}\n"
    assert catalog.describe("tools").startswith("# tools\nget_expenses(")
    assert catalog.by_domain == {"hr": ["get_team"], "tools": ["get_expenses"]}


@pytest.mark.parametrize("look", [ToolCatalog.describe, ToolCatalog.render_line])
def test_nothing_of_that_name(look: Any) -> None:
    """A name that is no tool's is told with what is like it."""
    with pytest.raises(
        KeyError, match=r"'get_taem' names no single tool \(did you mean 'hr.get_team'"
    ):
        look(ToolCatalog({"hr": [get_team]}), "get_taem")


def test_tools_for_the_model_alone() -> None:
    """A tool that code may not call is in the catalog, and in nothing that is for code."""
    policies = {"get_team": ToolPolicy(allowed_callers=("direct",))}
    catalog = ToolCatalog([get_team, get_expenses], policies=policies)
    assert catalog.names == ("get_team", "get_expenses")
    assert catalog.by_domain == {"tools": ["get_expenses"]}
    assert "get_team" not in catalog.render()
    assert "get_team" not in [definition.name for definition in catalog.callables]
    with pytest.raises(KeyError, match="'get_team' cannot be called by code"):
        catalog.describe("get_team")


def test_what_code_may_call() -> None:
    """Code may call its tools and those that find tools, unless a tool has a name of theirs."""
    catalog = ToolCatalog([get_team])
    finders = ["search_tools", "describe", "list_domains"]
    assert [definition.name for definition in catalog.callables] == ["get_team", *finders]
    assert all(d.policy.read_only and d.policy.idempotent for d in catalog.discovery)
    assert catalog.with_discovery() is catalog
    assert catalog.names == ("get_team",)
    assert "describe" not in catalog
    taken = ToolCatalog({"a": [named("describe")], "b": [get_team]})
    assert [d.qualified_name for d in taken.callables] == ["a.describe", "b.get_team"]
    found = taken.with_discovery()
    assert [d.qualified_name for d in found.callables][2:] == finders
    assert found.names == taken.names
    assert found.shapes is taken.shapes
    with pytest.raises(CatalogError, match=r"your tool 'list-domains' has that name"):
        ToolCatalog([named("list-domains")]).with_discovery()


def test_suggestions_in_a_larger_catalog() -> None:
    """At most three tools are suggested, among them the one that was meant; none for what is like none."""
    names = [
        f"{verb}_{thing}" for verb in ("get", "list", "set") for thing in ("team", "item", "x")
    ]
    catalog = ToolCatalog({"a": [named(name) for name in names], "b": [named("get_team")]})
    for asked, meant in (("get_taem", "get_team"), ("lst_items", "list_item"), ("settx", "set_x")):
        assert f"a.{meant}" in catalog.suggest(asked)
        assert len(catalog.suggest(asked)) <= 3
    assert catalog.suggest("c.get_team")[:2] == ["a.get_team", "b.get_team"]
    assert [catalog.suggest(asked) for asked in ("qqqqqqq", "")] == [[], []]
