"""The check before the run reports what could not have worked, and nothing else.

`check/wrong.txt` has programs with the exact report that each gets, `check/right.txt` programs that
look wrong and are right. Both are run without the check as well: so that what is reported certainly
fails, and what is right certainly runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from langchain_ptc import CheckError, CodeError, InProcessSandbox, Problem, ToolCatalog
from langchain_ptc.check.checker import MAX_CHARS, MAX_PROBLEMS, Checker, render_problems
from tests.support import SUPPORT
from tests.support.office import build_office, run_unchecked
from tests.support.programs.world import build_world

HERE = Path(__file__).parent
MODULES = InProcessSandbox().modules
PROGRAMS = sorted((SUPPORT / "programs").glob("*/*.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One program of a file of programs."""

    name: str
    marks: tuple[str, ...]
    code: str
    report: str


def read_cases(file: str) -> Iterator[Case]:
    """Read `=== name marks`, the code, and behind `---` the report."""
    text = (HERE / file).read_text("utf-8")
    for part in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        name, *marks = head.split()
        code, _, report = body.partition("\n---\n")
        yield Case(name=name, marks=tuple(marks), code=code.rstrip() + "\n", report=report.strip())


WRONG = list(read_cases("wrong.txt"))
RIGHT = list(read_cases("right.txt"))


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@pytest.fixture(scope="module")
def office() -> ToolCatalog:
    """The tools of the programs; none of them is called by the check."""
    return build_office()


def check(code: str, catalog: ToolCatalog, **options: Any) -> list[str]:
    """Return what is told of a program, in one line each."""
    return [str(problem) for problem in Checker(catalog, MODULES).check(code, **options)]


# --- the two tables -------------------------------------------------------------------------------


@each(WRONG)
def test_wrong_program(case: Case, office: ToolCatalog) -> None:
    """A wrong program gets exactly this report."""
    assert render_problems(Checker(office, MODULES).check(case.code)) == case.report


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@each([case for case in WRONG if "runs" not in case.marks])
def test_wrong_program_fails(case: Case, office: ToolCatalog) -> None:
    """What is reported fails when it is run all the same."""
    assert run_unchecked(case.code, office).status != "success"


@each([case for case in WRONG if "runs" in case.marks])
def test_wrong_program_runs(case: Case, office: ToolCatalog) -> None:
    """Few programs end well and are wrong: they break a schema, use a call as its result, hide a tool."""
    assert run_unchecked(case.code, office).status == "success"
    assert (
        "must be" in case.report
        or "is missing" in case.report
        or "not await" in case.report
        or ("without `await`" in case.report)
        or "hides the tool" in case.report
    )


@each(RIGHT)
def test_right_program(case: Case, office: ToolCatalog) -> None:
    """A program that looks wrong and is right gets no report, and runs."""
    assert render_problems(Checker(office, MODULES).check(case.code)) == ""
    done = run_unchecked(case.code, office)
    assert done.status == "success", done.failure


def test_tables_are_long_enough() -> None:
    """Both tables have their sixty programs, each under a name of its own."""
    for cases in (WRONG, RIGHT):
        assert len(cases) >= 60
        assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_alarm_for_programs(path: Path) -> None:
    """The programs that models write for the six shapes of work get no report."""
    catalog = ToolCatalog(build_world(path.parent.name))
    assert check(path.read_text("utf-8"), catalog) == []


# --- one program, changed -------------------------------------------------------------------------

LINES = {
    "budgets": 'budget = get_team_budget("eng-1")\nprint(budget["spent"])',
    "sales": 'rows = get_sales_data(year=2024)\nprint(rows[0]["units"])',
    "workflow": 'orders = fetch_orders("1", status="open")\nprint([o["total"] for o in orders])',
}


@pytest.mark.parametrize("shape", sorted(LINES))
def test_each_misspelling_is_found(shape: str) -> None:
    """A program without problems has one as soon as any of its names or keys loses a letter."""
    catalog = ToolCatalog(build_world(shape))
    code = LINES[shape]
    assert check(code, catalog) == []
    known = re.findall(r'(?<=\[")\w+(?="\])|(?<== )\w+(?=\()|\w+(?==\S)', code)
    assert len(known) >= 2
    for name in known:
        wrong = code.replace(name, name[:-1], 1)
        assert check(wrong, catalog), wrong


@pytest.mark.parametrize("shape", sorted(LINES))
def test_each_missing_await_is_found(shape: str) -> None:
    """Once a program awaits anything, a call whose result it uses must be awaited."""
    catalog = ToolCatalog(build_world(shape))
    asynchronous = f"import asyncio\n{LINES[shape]}\nawait asyncio.sleep(0)"
    assert check(asynchronous, catalog)
    assert check(re.sub(r"(?<== )(\w+\()", r"await \1", asynchronous), catalog) == []


# --- how strictly ---------------------------------------------------------------------------------


class Lenient(BaseModel):
    """Arguments of which some are converted before they are looked at."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str
    words: list[str] = Field(default_factory=list)
    size: int = 1

    @field_validator("words", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split() if isinstance(value, str) else value


class Rewritten(BaseModel):
    """Arguments that are converted all together."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, value: Any) -> Any:
        return {"name": str(value["name"])}


class Aliased(BaseModel):
    """A record whose field has two names."""

    model_config = ConfigDict(populate_by_name=True)

    first: Annotated[str, Field(alias="First Name")]


class WithAliased(BaseModel):
    """Arguments with such a record."""

    person: Aliased


def _nothing(**_: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("schema", "code", "problems"),
    [
        pytest.param(Lenient, "f(name=5)", 0, id="numbers-as-text"),
        pytest.param(Lenient, "f(name='a', words='a b')", 0, id="validator"),
        pytest.param(Lenient, "f(words='a b')", 1, id="names-are-strict"),
        pytest.param(Rewritten, "f(name=5)", 0, id="validator-of-the-model"),
        pytest.param(WithAliased, "f(person={'first': 'a'})", 0, id="two-names"),
        pytest.param(WithAliased, "f(person='a')", 1, id="two-names-no-record"),
        pytest.param({"properties": {"a": {"type": "array"}}}, "f(a='[1]')", 0, id="json-text"),
        pytest.param({"properties": {"a": {"type": "array"}}}, "f(a='one')", 1, id="no-json-text"),
        pytest.param({"properties": {"a": {"type": "integer"}}}, "f(a=None)", 0, id="none-left-out"),
        pytest.param(
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, "f(a=None)", 1, id="none"
        ),
        pytest.param({"properties": {"a": {"enum": [1, 2]}}}, "f(a='2')", 0, id="number-as-text"),
        pytest.param({"properties": {"a": {"enum": [1, 2]}}}, "f(a=3)", 1, id="no-such-number"),
        pytest.param({"properties": {"a": {"enum": [1, "x"]}}}, "f(a='y')", 1, id="mixed-enum"),
        pytest.param({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}},
                     "f(a=1); f(a='x'); f(a=[1])", 1, id="union"),
        pytest.param({"properties": {"a-b": {"type": "string"}}},
                     "f(a_b='x'); f(**{'a-b': 'x'}); f(**{'a.b': 'x'})", 1, id="names-of-the-tool"),
    ],
)  # fmt: skip
def test_strictness(schema: Any, code: str, problems: int) -> None:
    """Values are held to their types no more strictly than the tool itself holds them."""
    made = StructuredTool(name="f", description="f", args_schema=schema, func=_nothing)
    found = check(code, ToolCatalog([made]))
    assert len(found) == problems, found


class _Open(BaseModel):
    name: str
    children: list[_Open] = []


def test_schema_that_holds_itself() -> None:
    """Arguments of a type that holds itself are looked at to the depth of the literal."""

    @tool
    def plant(tree: _Open) -> _Open:
        """Plant a tree."""
        return tree

    catalog = ToolCatalog([plant])
    assert check('plant({"name": "a", "children": [{"name": "b"}]})', catalog) == []
    [told] = check('plant({"name": "a", "children": [{"name": 5}]})', catalog)
    assert "tree['children'][0]['name'] must be str, got 5" in told
    assert check('plant({"name": "a"}).children[0].children[0].nam', catalog)


def test_default_that_cannot_be_hashed() -> None:
    """A tool is looked at whatever its defaults are."""
    schema = {"properties": {"a": {"type": "object", "default": {"b": [1]}}}}
    made = StructuredTool(name="f", description="f", args_schema=schema, func=_nothing)
    catalog = ToolCatalog([made])
    assert check("x = f() if f() else f(a={})\nprint(x)", catalog) == []
    assert len(check("g = f\nprint(await g(a=1), await f(b=1))", catalog)) == 2


def test_result_of_a_schema_may_have_more_keys(office: ToolCatalog) -> None:
    """A record that is not closed may have any key."""
    assert check("print(search('x')[0]['anything'].at_all)", office) == []
    assert check('print(book_room("north", 1)["x"])', office) == []


# --- what surrounds the code ----------------------------------------------------------------------


def test_names_that_a_session_keeps(office: ToolCatalog) -> None:
    """A name from an earlier program may be anything; where names are not known, all may."""
    code = "print(get_usr('u1'), get_user(5))"
    assert len(check(code, office)) == 2
    assert len(check(code, office, kept=["get_usr"])) == 1
    assert check(code, office, kept=["get_usr", "get_user"]) == []
    assert check(code, office, kept=None) == []
    assert check("from tools.people import get_user\nget_user(5)", office, kept=None)


def test_modules_that_are_not_known(office: ToolCatalog) -> None:
    """Without a list of modules only imports of tools are looked at."""
    code = "import pandas\nfrom tools.nowhere import x"
    assert len(Checker(office, MODULES).check(code)) == 2
    assert len(Checker(office, None).check(code)) == 1


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("numpy", True),
        ("numpy.linalg", True),
        ("scipy.stats", True),
        ("scipy", True),
        ("scipy.linalg", False),
        ("collections.abc", True),
        ("json.tool", False),
        ("asyncio.subprocess", False),
        ("pandas", False),
    ],
)
def test_modules_of_the_developer(office: ToolCatalog, name: str, known: bool) -> None:
    """A module that the developer allows is there with its submodules and what leads to it."""
    modules = MODULES | {"numpy", "scipy.stats"}
    assert (Checker(office, modules).check(f"import {name}") == ()) is known


def test_one_name_in_two_domains() -> None:
    """A bare name that two domains have is none; with its domain it is."""

    @tool
    def fetch(key: str) -> str:
        """Fetch."""
        return key

    catalog = ToolCatalog({"a": [fetch], "b": [fetch]})
    [told] = check("fetch('x')", catalog)
    assert told == (
        "line 1: 'fetch' is in several domains: from tools.a import fetch or from tools.b import fetch"
    )
    assert (
        check("from tools.b import fetch\nfetch('x'); a.fetch('y'); tools.b.fetch('z')", catalog)
        == []
    )
    assert check("import tools\ntools.fetch('z')", catalog)


def test_flat_catalog() -> None:
    """Tools without a domain are in `tools` itself."""

    @tool
    def fetch(key: str) -> str:
        """Fetch."""
        return key

    catalog = ToolCatalog([fetch])
    assert (
        check(
            "from tools import fetch, ToolCallError\nimport tools\ntools.fetch(fetch('x'))", catalog
        )
        == []
    )
    assert check("from tools import get", catalog)
    [told] = check("from tools.a import fetch", catalog)
    assert told.endswith("the tools have no domains: from tools import <tool>")


def test_empty_catalog() -> None:
    """Without tools there is little to say, and nothing breaks."""
    catalog = ToolCatalog([])
    assert check("print(sum(x for x in range(3)))", catalog) == []
    assert check("print(get_user('x'))", catalog) == [
        "line 1: there is no tool or function 'get_user'"
    ]


# --- code of all kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="empty"),
        pytest.param("# nothing", id="comment"),
        pytest.param("get_user(", id="no-python"),
        pytest.param("x = 1\0", id="null-byte"),
        pytest.param("(" * 300 + ")" * 300, id="too-deep"),
        pytest.param("x = " + "-" * 5_000 + "1", id="signs"),
        pytest.param("x = " + "1+" * 20_000 + "1", id="long-sum"),
        pytest.param("x = a" + ".b" * 3_000, id="long-path"),
        pytest.param("x = " + "f(" * 90 + ")" * 90 + "\ndef f(*a): return 1", id="nested-calls"),
        pytest.param(f"x = {'9' * 5_000}", id="long-number"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param("x = x\ny = y\nprint(x.y[y](x))", id="names-of-themselves"),
        pytest.param("a = b\nb = c\nc = a\nprint(a['x'])", id="ring"),
        pytest.param("def f(): return g()\ndef g(): return f()\nprint(f()['x'])", id="ring-of-functions"),
        pytest.param("x = [x for x in range(3)]\nx = x[0]", id="comprehension"),
        pytest.param("import warnings; print('\\d')", id="warning"),
        pytest.param("a, *b = c, (d, e) = [1, (2, 3)]\nprint(b, e)", id="unpacking"),
        pytest.param("class A:\n    x = 1\n    def f(self): return self.x\nA().f()", id="class"),
        pytest.param("try:\n    pass\nexcept* ValueError:\n    pass", id="except-star"),
        pytest.param("match 1:\n    case [a, *b]: print(a, b)\n    case {'x': 1, **c}: print(c)", id="match"),
        pytest.param("async def f():\n    async with a as b, c: yield b\n", id="async-with"),
        pytest.param("x: int\ny: 'list[int]' = []\nprint(y)", id="annotations"),
        pytest.param("def f(a, /, b=1, *c, d, **e): nonlocal_ = a\nf(1, d=2)", id="parameters"),
        pytest.param("lambda: (yield)", id="yield-in-lambda"),
    ],
)  # fmt: skip
def test_any_code(code: str, office: ToolCatalog) -> None:
    """Whatever the code is, the check ends, and says nothing where there is nothing of tools."""
    assert check(code, office) == []


def test_hostile_length(office: ToolCatalog) -> None:
    """A program that is longer than one writes is not looked at, and its problems are counted."""
    assert check(f"get_user(5)\n[{'0,' * MAX_CHARS}]", office) == []
    assert len(check("get_user(5)\n" * 100, office)) == MAX_PROBLEMS


def test_check_calls_nothing() -> None:
    """The check reads; it runs neither the program nor a tool nor a validator."""
    reached: list[str] = []

    class Arguments(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _look(cls, value: int) -> int:
            reached.append("validator")
            return value

    def act(x: int) -> str:
        reached.append("tool")
        return str(x)

    made = StructuredTool(name="act", description="Act.", args_schema=Arguments, func=act)
    catalog = ToolCatalog([made])
    code = "print(act(1))\nact('one')\nact(y=1)\n1/0"
    assert len(check(code, catalog)) == 2
    assert reached == []


# --- what is told ---------------------------------------------------------------------------------


def test_problem(office: ToolCatalog) -> None:
    """A problem has its place in characters, its line and the signature of the tool."""
    [problem] = Checker(office, None).check('ä = "ö"; get_user(né=1)\n')
    assert problem == Problem(
        line=1,
        column=19,
        message="get_user() has no parameter 'né'; is missing 'user_id'",
        source_line='ä = "ö"; get_user(né=1)',
        signature="async def get_user(user_id: str) -> User",
    )


def test_error_carries_problems(office: ToolCatalog) -> None:
    """`CheckError` is the code's own fault and carries the problems."""
    problems = Checker(office, None).check("get_user(5)\nget_user()")
    error = CheckError(problems)
    assert isinstance(error, CodeError)
    assert error.problems == problems
    assert str(error).splitlines() == [str(problem) for problem in problems]
    assert [problem.line for problem in problems] == [1, 2]


def test_nothing_to_render() -> None:
    """Without problems there is no text."""
    assert render_problems(()) == ""


def test_long_line_is_cut_around_the_place(office: ToolCatalog) -> None:
    """Of a long line the part around the place is shown, with the caret below it."""
    code = f"print('{'x' * 500}', get_user(5), '{'y' * 500}')"
    told = render_problems(Checker(office, None).check(code)).splitlines()
    shown, caret = told[2], told[3]
    assert len(shown) < 200
    assert shown[caret.index("^")] == "5"
