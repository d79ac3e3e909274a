"""The type checker over the stubs takes over what is certain, in the lines of the code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from langchain_ptc import Problem, ToolCatalog
from langchain_ptc.check.checker import Checker
from langchain_ptc.check.typecheck import typecheck_code
from tests.check.test_check import RIGHT, Case
from tests.support import SUPPORT
from tests.support.office import build_office
from tests.support.programs.world import build_world

PROGRAMS = sorted((SUPPORT / "programs").glob("*/*.py"))


@pytest.fixture(scope="module")
def office() -> ToolCatalog:
    """The tools of the programs."""
    return build_office()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param(
            'data = get_user("u1")\ndata = count_users("a")\nprint(data.days)',
            "line 3: Object of type 'int' has no attribute 'days'",
            id="variable-of-two-types",
        ),
        pytest.param(
            "from tools.people import User\ndef show(user: User) -> str:\n"
            '    return user["nam"]\nprint(show(get_user("u1")))',
            'line 3: Unknown key "nam" for TypedDict \'User\' - did you mean "name"?',
            id="annotated-parameter",
        ),
        pytest.param(
            'user = await get_user("u1")\nprint(user["age"] + user["name"])',
            "line 2: Operator '+' is not supported between objects of type 'int' and 'str'",
            id="operator",
        ),
        pytest.param(
            'users = await list_users()\nprint([u["age"].days for u in sorted(users, key=len)])',
            "line 2: Object of type 'int' has no attribute 'days'",
            id="attribute-of-a-field",
        ),
        pytest.param(
            "class Report:\n    def __init__(self):\n        self.users = list_users()\n"
            "    def rows(self):\n        return [u['title'] for u in self.users]\n"
            "print(Report().rows())",
            "line 5: Unknown key \"title\" for TypedDict 'User'",
            id="attribute-of-a-class",
        ),
        pytest.param(
            "from functools import reduce\nuser = get_user('u1')\n"
            "best = user if user['age'] > 3 else get_user('u2')\nprint(get_trips(best))",
            "line 4: Argument to function 'get_trips' is incorrect: Expected 'str', found 'User'",
            id="argument",
        ),
        pytest.param(
            "user = get_user('u1')\nbest = [user][0]\nprint(get_trips(user_id=best, year=2024))",
            "line 3: Argument to function 'get_trips' is incorrect: Expected 'str', found 'User'",
            id="keyword",
        ),
        pytest.param(
            "async def load():\n    return await list_users()\nfor u in load():\n    print(u)",
            "line 3: Object of type 'CoroutineType[Any, Any, Unknown]' is not iterable",
            id="own-function-not-awaited",
        ),
    ],
)
def test_found(code: str, told: str, office: ToolCatalog) -> None:
    """What follows from the types is found, also where the built-in check does not see it."""
    assert [str(problem) for problem in typecheck_code(code, office)] == [told]


def test_problem(office: ToolCatalog) -> None:
    """A problem is the same record as that of the built-in check, places in characters."""
    code = 'u = [get_user("u1")][0]\nä = "ö"; get_user(user_id=u)'
    assert typecheck_code(code, office) == (
        Problem(
            line=2,
            column=19,
            message="Argument to function 'get_user' is incorrect: Expected 'str', found 'User'",
            source_line='ä = "ö"; get_user(user_id=u)',
            signature="async def get_user(user_id: str) -> User",
        ),
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param('user = get_user("u2")\nprint(get_user(user["boss"]).name)', id="may-be-none"),
        pytest.param('print(list_users(limit="2"))', id="text-that-is-a-number"),
        pytest.param('print(tag("a,b"))', id="validator"),
        pytest.param("try:\n    get_user(id=1)\nexcept ToolCallError:\n    pass", id="caught"),
        pytest.param("def get_user(x): return x\nprint(get_user(x=1))", id="own-function"),
        pytest.param('user = get_user("u1")\nuser["x"] = 1\nprint(user["x"])', id="key-added"),
        pytest.param("print(undefined, missing.thing)", id="undefined"),
        pytest.param("get_user(", id="no-python"),
        pytest.param("import numpy\nprint(numpy.array([1]))", id="other-module"),
        pytest.param("from tools import ToolCallError, search_tools", id="given-names"),
        pytest.param(
            "for u in list_users():\n    if u.age > 30:\n        return u.name", id="return"
        ),
        pytest.param("print('\ud800')", id="surrogate"),
        pytest.param("def load():\n    return get_user(x=1)\nprint(1)", id="never-called"),
        pytest.param(
            'print(get_trips("u1", year="2024"), count_users(None or "a"))', id="as-tools-do"
        ),
        pytest.param(
            'row = get_user("u1") if count_users("a") else list_users()\nprint(row["name"], row + [])',
            id="one-of-two",
        ),
        pytest.param(
            'total = get_user("u1") if count_users("a") == 99 else 5\ntotal += 1\nprint(total)',
            id="one-of-two-added-to",
        ),
        pytest.param(
            "call = 5 if count_users('a') == 99 else len\nprint(call([1]))", id="one-of-two-called"
        ),
        pytest.param(
            'def first(rows, other=None):\n    for row in rows:\n        other = row\n    return other["name"]\n'
            "print(first(list_users()))",
            id="none-before-a-loop",
        ),
    ],
)
def test_not_certain(code: str, office: ToolCatalog) -> None:
    """Nothing is said where the program may run all the same."""
    assert typecheck_code(code, office) == ()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if number % 5 == 0 else pytest.mark.slow)
        for number, case in enumerate(RIGHT)
    ],
)
def test_right_program(case: Case, office: ToolCatalog) -> None:
    """A program that is right gets no report."""
    assert typecheck_code(case.code, office) == ()


@pytest.mark.parametrize("path", PROGRAMS[::6], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_alarm_for_programs(path: Path) -> None:
    """The programs that models write for the six shapes of work get no report."""
    catalog = ToolCatalog(build_world(path.parent.name))
    assert typecheck_code(path.read_text("utf-8"), catalog) == ()


def test_names_that_a_session_keeps(office: ToolCatalog) -> None:
    """A name that an earlier program may have bound anew is no tool for certain; an imported one is."""
    wrong = "print(get_user(list_users()), list_users()[0].nam)"
    assert typecheck_code(wrong, office)
    assert typecheck_code(wrong, office, kept=["get_user", "list_users"]) == ()
    assert typecheck_code(wrong, office, kept=None) == ()
    assert typecheck_code(
        "from tools.people import get_user\nget_user(get_user('a'))", office, kept=None
    )


def test_function_of_a_library_named_like_a_tool(office: ToolCatalog) -> None:
    """What a program calls by the name of a tool is the tool only if it is."""
    code = "import re\ntry:\n    re.search('a')\nexcept TypeError:\n    print(search('a'))"
    assert typecheck_code(code, office) == ()


def test_flat_catalog(office: ToolCatalog) -> None:
    """Tools without a domain are builtins and members of `tools`."""
    catalog = ToolCatalog([definition.tool for definition in office])
    code = "from tools import get_user\nprint(get_user(list_users()), list_users()[0]['x'])"
    assert [problem.line for problem in typecheck_code(code, catalog)] == [2, 2]


def test_without_ty(office: ToolCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ty there is an error that says what to install; the built-in check needs nothing."""
    monkeypatch.setitem(sys.modules, "ty", None)
    with pytest.raises(ImportError, match=r"pip install 'langchain-ptc\[typecheck\]'"):
        typecheck_code("print(1)", office)
    assert Checker(office, None).check("get_user(x=1)")
