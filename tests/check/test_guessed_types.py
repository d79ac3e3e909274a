"""A return type that is only a guess is shown, and refuses no program; one that is certain may."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from langchain_ptc import (
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolDefinition,
    ToolPolicy,
)
from langchain_ptc.catalog.types import ANY
from langchain_ptc.check.checker import Checker
from langchain_ptc.check.typecheck import typecheck_code
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.described import Declared


class Page(TypedDict):
    total: int


def check_code(code: str, catalog: ToolCatalog) -> Any:
    return Checker(catalog, ("json",)).check(code)


def get() -> Page:
    """Get a page."""
    return {"total": 1}


def as_text(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return json.dumps(function(*args, **kwargs))

    return wrapper


def retrying(function: Any) -> Any:
    """As `tenacity` and `langsmith` do: the wrapper says whom it wraps, and keeps its annotations."""

    def wrapper() -> Any:
        return function()

    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    wrapper.__annotations__ = function.__annotations__
    wrapper.__name__ = "get"
    return wrapper


class Object:
    def __call__(self) -> Page:
        return get()

    @as_text
    def wrapped(self) -> Page:
        return get()


async def aget_text() -> str:
    return "{}"


async def aget_untyped():
    return "{}"


async def aget() -> Page:
    return get()


class AsText(StructuredTool):
    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return json.dumps(super()._run(*args, **kwargs))


class TypedAsText(StructuredTool):
    def _run(self, *args: Any, **kwargs: Any) -> str:
        return json.dumps(super()._run(*args, **kwargs))


class OnlyRun(BaseTool):
    name: str = "get"
    description: str = "Get."

    def _run(self) -> Page:
        return get()


class Both(OnlyRun):
    async def _arun(self) -> Page:
        return get()


class TwoAnswers(OnlyRun):
    async def _arun(self) -> str:
        return "{}"


def of(function: Any, kind: Any = StructuredTool, **options: Any) -> BaseTool:
    return kind.from_function(function, name="get", description="Get.", **options)


def patched() -> BaseTool:
    made = OnlyRun()
    object.__setattr__(made, "_run", as_text(made._run))
    return made


@tool
def untyped():
    """Get.

    Returns:
        list[int]: numbers, says the prose.
    """
    return {"total": 1}


AFTER = ToolPolicy(after=lambda call, value: json.dumps(value))
GUESSES: dict[str, Callable[[], Any]] = {
    "wraps": lambda: of(as_text(get)),
    "wrapped": lambda: of(retrying(get)),
    "wrapped-method": lambda: of(Object().wrapped),
    "partial-of-wrapper": lambda: of(
        functools.partial(as_text(get)), args_schema={"properties": {}}
    ),
    "two-implementations": lambda: of(get, coroutine=aget_text),
    "one-says-nothing": lambda: of(get, coroutine=aget_untyped),
    "subclass-overrides-run": lambda: of(get, AsText),
    "subclass-says-other": lambda: of(get, TypedAsText),
    "two-methods": TwoAnswers,
    "replaced-method": patched,
    "after": lambda: ToolDefinition(tool=of(get), policy=AFTER),
    "after-by-policy": lambda: replace(ToolCatalog([of(get)])["get"], policy=AFTER),
    "prose": lambda: ToolDefinition(tool=untyped, name="get"),
}
CERTAIN: dict[str, Callable[[], Any]] = {
    "function": lambda: of(get),
    "coroutine": lambda: StructuredTool.from_function(
        coroutine=aget, name="get", description="Get."
    ),
    "both": lambda: of(get, coroutine=aget),
    "method": OnlyRun,
    "two-methods": Both,
    "object": lambda: of(Object(), args_schema={"properties": {}}),
    "partial": lambda: of(functools.partial(get), args_schema={"properties": {}}),
    "decorated": lambda: tool("get")(get),
    "developer": lambda: ToolDefinition(tool=of(as_text(get)), returns=Page),
    "developer-and-after": lambda: ToolDefinition(tool=of(get), returns=Page, policy=AFTER),
    "schema": lambda: Declared(),
}
CODES = ("page = await get()\nprint(page['nope'])", "print((await get()).nope)")


@pytest.mark.parametrize("kind", GUESSES)
def test_a_guess_refuses_nothing(kind):
    """Code that contradicts a guessed type is not refused, neither by the check nor by the types."""
    catalog = ToolCatalog([GUESSES[kind]()])
    for code in (
        *CODES,
        "import json\nprint(json.loads(await get()))",
        "print(len(await get() + 'x'))",
    ):
        assert check_code(code, catalog) == ()
    assert typecheck_code(CODES[0], catalog) == ()


class OpenPage(BaseModel):
    model_config = ConfigDict(extra="allow")
    total: int


@pytest.mark.parametrize("code", CODES)
def test_a_model_that_allows_further_keys_refuses_none(code):
    """With `extra="allow"` a record may have keys that its type does not name."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get", returns=OpenPage)])
    assert check_code(code, catalog) == ()
    assert typecheck_code(code, catalog) == ()


@pytest.mark.parametrize("kind", CERTAIN)
def test_a_certain_type_refuses(kind):
    """An own annotation, a declared schema, and what the developer says are held against the code."""
    catalog = ToolCatalog([CERTAIN[kind]()])
    for code in CODES:
        assert check_code(code, catalog) != ()


def test_a_guess_is_shown():
    """The model still reads it, in the stubs and in their package; a type checker gets none."""
    catalog = ToolCatalog([of(as_text(get))])
    assert "class Page(TypedDict)" in catalog.render()
    assert "-> Page:" in catalog.render()
    assert catalog["get"].returns_from == "guess"
    assert ToolCatalog([of(get)])["get"].returns_from == "tool"
    stated = ToolCatalog([ToolDefinition(tool=of(as_text(get)), returns=Page)])["get"]
    assert stated.returns_from == "developer"


def test_learned_shapes_refuse_nothing():
    """What was learned of results is shown, and refuses nothing."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get")])
    for _ in range(5):
        catalog.observe("get", {"total": 1})
    assert "total" in catalog.render()
    for code in CODES:
        assert check_code(code, catalog) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"additionalProperties": False},
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
        {"title": "Anything", "additionalProperties": {}},
        {"anyOf": [{"additionalProperties": False}, {"type": "null"}]},
    ],
)
def test_additional_properties_without_a_type_are_no_record(schema):
    """`additionalProperties` says something of objects only, and not that a value is one."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get", returns=schema)])
    assert check_code("print((await get()) + 1, (await get())[0])", catalog) == ()
    assert "dict" not in catalog.render()


@pytest.mark.parametrize(
    ("returns", "code"),
    [
        (list[Page], "import json\nprint(json.loads(await get()))"),
        (Page, "import json\npage = await get()\nprint(json.loads(page)['total'])"),
        (dict[str, int], "from json import loads\nprint(loads(await get()))"),
        (Page | None, "import json\nprint(json.loads(await get()))"),
        (int, "import json as j\nprint(j.loads(await get()))"),
    ],
)
def test_parsing_data_as_json_is_found(returns, code):
    """`json.loads` of a result that is data is found before any call, and says so."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get", returns=returns)])
    (problem,) = check_code(code, catalog)
    assert "is data already" in problem.message


@pytest.mark.parametrize("returns", [str, bytes, str | Page, Any])
def test_parsing_text_is_not(returns):
    """Where the result may be text, nothing is said."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get", returns=returns)])
    assert check_code("import json\nprint(json.loads(await get()))", catalog) == ()


def test_parsing_data_of_unknown_type_says_so():
    """Where no type was known, the report says it."""
    executor = ProgrammaticToolExecutor([untyped], sandbox=InProcessSandbox())
    report = executor.execute("import json\nprint(json.loads(untyped()))").report()
    assert "this is data already: use it as it is" in report


class Summarizes(AgentMiddleware):
    """A middleware that answers with a text of its own."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        answer = handler(request)
        if request.tool_call["name"] == "run_code":
            return answer
        return answer.model_copy(update={"content": "one page in total"})


def test_text_in_place_of_a_record_makes_the_type_a_guess():
    """Where another middleware replaces results by text, code that takes them for text is not refused."""
    scripted = ScriptedChatModel(
        script=[
            tool_call_message("run_code", {"code": "print((await get())['total'])"}),
            tool_call_message("run_code", {"code": "print((await get()).upper())"}),
            "end",
        ]
    )
    middleware = [ProgrammaticToolCallingMiddleware(), Summarizes()]
    agent = create_agent(scripted, [of(get)], middleware=middleware)
    messages = agent.invoke({"messages": [("user", "q")]})["messages"]
    assert "TypeError" in messages[2].text
    assert messages[4].text.strip() == "ONE PAGE IN TOTAL"


@pytest.mark.parametrize(
    ("returns", "value", "is_doubted"),
    [
        (Page, "{}", True),
        (list[int], "[]", True),
        (int, "1", True),
        (Page | None, "none", True),
        (str, "text", False),
        (str | Page, "text", False),
        (Literal["a"], "b", False),
        (Any, "text", False),
        (Page, {"total": 1}, False),
        (Page, None, False),
    ],
)
def test_only_text_that_a_type_does_not_admit_makes_it_a_guess(returns, value, is_doubted):
    """A call that gave text where the type admits none ends the certainty, and nothing else does."""
    catalog = ToolCatalog([ToolDefinition(tool=untyped, name="get", returns=returns)])
    before = catalog.certain_returns(catalog["get"])
    catalog.observe("get", value)
    after = catalog.certain_returns(catalog["get"])
    assert (after == ANY) if is_doubted else (after == before)
