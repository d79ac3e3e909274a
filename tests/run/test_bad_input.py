"""Bad code and bad tools: a clear report, no exception, and a sandbox that is none the worse."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import decimal
import enum
import math
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from pydantic import BaseModel

from langchain_ptc import (
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    ToolCatalog,
)
from tests.support import ROOT
from tests.support.waiting import SECONDS, wait_for

AnySandbox = ProcessSandbox | InProcessSandbox
Run = Callable[..., ExecutionResult]


class Runner:
    """Runs code in one sandbox, and after each code holds that the sandbox is none the worse."""

    def __init__(self, sandbox: AnySandbox) -> None:
        self.sandbox = sandbox

    def __call__(
        self,
        code: str,
        tools: Sequence[BaseTool] | Mapping[str, Sequence[BaseTool]] = (),
        limits: Limits | None = None,
    ) -> ExecutionResult:
        """Run `code`, then a second code, which must find nothing of the first."""
        executor = ProgrammaticToolExecutor(
            ToolCatalog(tools), limits=limits or Limits(), sandbox=self.sandbox, check="off"
        )
        result = executor.execute(code)
        check_text(result)
        after = ProgrammaticToolExecutor([], sandbox=self.sandbox).execute(
            "try:\n    leftover\nexcept NameError:\n    print('clean')\nleftover = 1"
        )
        assert (after.status, after.output, after.notes) == ("success", "clean\n", ())
        return result


def check_text(result: ExecutionResult) -> None:
    """Hold that what the model reads is there, is short, and tells nothing of this machine."""
    report = result.report()
    assert report.strip()
    assert len(report) <= result.output_chars + 12_000
    for foreign in ("site-packages", "langchain_ptc", "RestrictedPython", str(Path.home())):
        assert foreign not in report
    assert str(ROOT) not in report
    result.to_dict()


@pytest.fixture
def run(sandbox: AnySandbox) -> Runner:
    """Run code in each sandbox in turn."""
    return Runner(sandbox)


def give(value: object) -> BaseTool:
    """Make a tool named `give` that returns `value`."""

    def call() -> Any:
        return value

    return StructuredTool.from_function(call, name="give", description="Give it.")


def fail(error: Exception, **options: Any) -> BaseTool:
    """Make a tool named `fail` that raises `error`."""

    def call() -> str:
        raise error

    return StructuredTool.from_function(call, name="fail", description="Fail.", **options)


@tool
def get_budget(team_id: str, year: int = 2024) -> dict[str, object]:
    """Get the budget of a team."""
    return {"team_id": team_id, "year": year, "allocated": 5.0}


@tool
def get_members(team_id: str) -> list[str]:
    """Get the members of a team."""
    return [f"{team_id}-1"]


# --- code that is no code -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line", "told"),
    [
        pytest.param("", 0, "the code is empty", id="empty"),
        pytest.param(" \n\t\n", 0, "the code is empty", id="blank"),
        pytest.param("I will now look up the budgets.", 1, "invalid syntax", id="prose"),
        pytest.param('{"name": "run_code", "arguments": {"code": ', 1, "never closed", id="json"),
        pytest.param("print(1)\n  print(2)", 2, "unexpected indent", id="indent"),
        pytest.param("for x in range(3)\n    print(x)", 1, "expected ':'", id="no-colon"),
        pytest.param("x = 'abc\nprint(x)", 1, "unterminated string", id="string"),
        pytest.param("```python\nprint(1)\n```", 1, "fence", id="fence"),
        pytest.param("const x = await getBudget();", 1, "invalid syntax", id="javascript"),
        pytest.param("print(1)\0", 1, "null byte", id="null-byte"),
        pytest.param("print('\ud800')", 1, "surrogate", id="half-a-character"),
        pytest.param("x = 1\n" * 5 + "return = 2", 6, "invalid syntax", id="late"),
    ],
)
def test_code_that_is_not_python(run: Run, code: str, line: int, told: str) -> None:
    """Code that does not parse is told as a syntax error, with its line and the text of it."""
    result = run(code)
    assert (result.status, result.output, result.tool_calls) == ("error", "", ())
    assert result.error is not None
    assert (result.error.kind, result.error.line) == ("SyntaxError", line)
    assert told in result.report()
    if line:
        assert result.error.source_line.strip() in result.report()


@pytest.mark.parametrize(
    "deep", ["(" * 5_000, "[" * 250 + "]" * 250, "-" * 60_000 + "1", "a." * 40_000 + "b"]
)
def test_code_that_overflows_the_parser(run: Run, deep: str) -> None:
    """Code nested so deeply that Python's own parser gives up is an error like any other."""
    result = run(f"x = {deep}")
    assert result.status in ("error", "refused")


def test_megabyte_of_code(run: Run) -> None:
    """Code over `code_chars` is not even parsed, and the report names the limit."""
    code = "x = 1\n" * 170_000
    result = run(code, [get_budget])
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.allowed, result.error.used) == (
        "code_chars",
        100_000,
        len(code),
    )
    assert "code_chars" in result.report()


def test_megabyte_of_code_that_is_allowed(run: Run) -> None:
    """A megabyte of code runs where the developer allows it."""
    code = f"x = 1  # {'-' * 55}\n" * 16_000 + "print(x)"
    result = run(code, limits=Limits(code_chars=2_000_000, wall_seconds=SECONDS))
    assert (result.status, result.output) == ("success", "1\n")


# --- tools that raise ---------------------------------------------------------------------------

FAILURES = [
    pytest.param(lambda: fail(ToolException("the ledger is closed")), id="ToolException"),
    pytest.param(lambda: fail(ValueError("the ledger is closed")), id="ValueError"),
    pytest.param(lambda: fail(KeyError("the ledger is closed")), id="KeyError"),
    pytest.param(lambda: fail(TimeoutError("the ledger is closed")), id="TimeoutError"),
    pytest.param(
        lambda: fail(ToolException("the ledger is closed"), handle_tool_error=True), id="handled"
    ),
    pytest.param(
        lambda: fail(ToolException("secret"), handle_tool_error="the ledger is closed"),
        id="handled-with-a-text",
    ),
    pytest.param(
        lambda: fail(ToolException("ledger"), handle_tool_error=lambda e: f"the {e} is closed"),
        id="handled-by-a-function",
    ),
]


@pytest.mark.parametrize("make", FAILURES)
def test_tool_that_raises(run: Run, make: Callable[[], BaseTool]) -> None:
    """A failure of a tool ends the code at the call, unless it is caught, and says what it was."""
    result = run("print('before')\nvalue = fail()\nprint('after')", [make()])
    assert (result.status, result.output) == ("error", "before\n")
    assert result.error is not None
    assert (result.error.kind, result.error.line) == ("ToolCallError", 2)
    assert "the ledger is closed" in result.report()
    assert "secret" not in result.report()
    [call] = result.tool_calls
    assert call.error is not None
    assert "the ledger is closed" in call.error
    assert call.result_bytes == 0


@pytest.mark.parametrize("make", FAILURES)
@pytest.mark.parametrize("caught", ["Exception", "ToolCallError"])
def test_tool_that_raises_is_caught(run: Run, make: Callable[[], BaseTool], caught: str) -> None:
    """The code may catch the failure of a tool by its own name or as any exception, and go on."""
    code = f"try:\n    await fail()\nexcept {caught} as e:\n    print('caught:', e)"
    result = run(code, [make()])
    assert result.status == "success"
    assert result.output.startswith("caught: ")
    assert "the ledger is closed" in result.output


def test_tool_that_raises_a_novel(run: Run) -> None:
    """A megabyte of error text is cut for the model."""
    result = run("fail()", [fail(ValueError("x" * 1_000_000))])
    assert result.status == "error"
    assert len(result.report()) < 10_000


def test_tool_whose_error_has_no_text(run: Run) -> None:
    """An exception without a text is told by its class."""
    assert "ValueError" in run("fail()", [fail(ValueError())]).report()


def test_tool_that_leaves(run: Run) -> None:
    """A tool that calls `sys.exit` ends the execution, not the host."""

    @tool
    def leave() -> str:
        """Leave."""
        raise SystemExit(3)

    result = run("try:\n    leave()\nexcept Exception as e:\n    print(e)", [leave])
    assert "SystemExit" in result.report()


# --- what tools return --------------------------------------------------------------------------


class Person(BaseModel):
    """A person."""

    name: str
    born: datetime.date


@dataclasses.dataclass
class Point:
    """A point."""

    x: int
    y: float


class Color(enum.Enum):
    """A colour."""

    RED = "red"


class Scalar:
    """What numpy's scalars look like from outside."""

    dtype = "float64"

    def tolist(self) -> float:
        """Return the Python number."""
        return 2.5


class Named:
    """An object with a text of its own."""

    def __str__(self) -> str:
        return "named object"


UTC = datetime.UTC
VALUES = [
    pytest.param(None, "give() is None", "True", id="None"),
    pytest.param(
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        "(give() + datetime.timedelta(days=1)).isoformat()",
        "2024-03-01T12:30:00+00:00",
        id="datetime",
    ),
    pytest.param(datetime.date(2024, 2, 29), "give().replace(day=1)", "2024-02-01", id="date"),
    pytest.param(datetime.time(7, 5), "give().hour + give().minute", "12", id="time"),
    pytest.param(
        datetime.timedelta(hours=36), "give().total_seconds()", "129600.0", id="timedelta"
    ),
    pytest.param(decimal.Decimal("0.10"), "give() + give() + give()", "0.30", id="Decimal"),
    pytest.param(uuid.UUID(int=7), "give().hex[-3:]", "007", id="UUID"),
    pytest.param(b"\x00\xffab", "(give()[1], give()[2:].decode())", "(255, 'ab')", id="bytes"),
    pytest.param({3, 1, 2}, "sorted(give() | {9})", "[1, 2, 3, 9]", id="set"),
    pytest.param(frozenset("a"), "'a' in give()", "True", id="frozenset"),
    pytest.param((1, (2, 3)), "give()[1] == (2, 3)", "True", id="tuple"),
    pytest.param(Color.RED, "give()", "red", id="enum"),
    pytest.param(
        Person(name="Ada", born=datetime.date(1815, 12, 10)),
        "(give().name, give()['born'].year)",
        "('Ada', 1815)",
        id="pydantic",
    ),
    pytest.param(
        [Person(name="Ada", born=datetime.date(1815, 12, 10))],
        "[p.born.isoformat() for p in give()]",
        "['1815-12-10']",
        id="list-of-pydantic",
    ),
    pytest.param(Point(1, 2.5), "give().x + give()['y']", "3.5", id="dataclass"),
    pytest.param({"point": Point(1, 2.5)}, "give().point.y", "2.5", id="dataclass-inside"),
    pytest.param(Scalar(), "give() * 2", "5.0", id="numpy-like"),
    pytest.param(10**5000, "give() == 10 ** 5000", "True", id="huge-int"),
    pytest.param([-(10**5000)], "give()[0] % 7", str(-(10**5000) % 7), id="huge-int-inside"),
    pytest.param(math.nan, "give() != give()", "True", id="NaN"),
    pytest.param([math.inf, -math.inf], "give()", "[inf, -inf]", id="infinity"),
    pytest.param({1: "a", (2, 3): "b"}, "give()[1] + give()[2, 3]", "ab", id="keys-no-strings"),
    pytest.param({"$": ["date", "2024-01-01"]}, "give()['$'][0]", "date", id="looks-like-a-tag"),
    pytest.param("\ud800", "len(give())", "1", id="half-a-character"),
    pytest.param("\x00\u2028</script>", "len(give())", "11", id="odd-characters"),
    pytest.param(complex(1, 2), "give().imag", "2.0", id="complex"),
    pytest.param(range(3), "list(give())", "[0, 1, 2]", id="range"),
    pytest.param(Named(), "give()", "named object", id="own-text"),
    pytest.param(ValueError("no"), "give()", "ValueError: no", id="exception-as-value"),
]


@pytest.mark.parametrize(("value", "expression", "printed"), VALUES)
def test_tool_that_returns(run: Run, value: object, expression: str, printed: str) -> None:
    """What a tool returns is in the code what it was in the tool."""
    result = run(f"import datetime\nprint({expression})", [give(value)])
    assert (result.status, result.output) == ("success", f"{printed}\n"), result.report()
    assert all(call.result_bytes > 0 for call in result.tool_calls)


def test_tool_that_returns_numpy(run: Run) -> None:
    """Scalars and arrays of numpy become numbers and lists."""
    numpy = pytest.importorskip("numpy")
    values = {
        "one": numpy.float64(1.5),
        "many": numpy.arange(4).reshape(2, 2),
        "yes": numpy.bool_(1),
    }
    result = run("v = give()\nprint(v.one + 1, v.many, v.yes is True)", [give(values)])
    assert result.output == "2.5 [[0, 1], [2, 3]] True\n"


def _cyclic_list() -> object:
    ring: list[object] = [1]
    ring.append(ring)
    return ring


def _cyclic_dict() -> object:
    ring: dict[str, object] = {}
    ring["inner"] = [ring]
    return ring


def _deep_list() -> object:
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(_cyclic_list, "holds a reference to itself", id="cyclic-list"),
        pytest.param(_cyclic_dict, "holds a reference to itself", id="cyclic-dict"),
        pytest.param(_deep_list, "nested", id="deep-list"),
        pytest.param(object, "object of class object", id="object"),
        pytest.param(lambda: [{"deep": object()}], "object of class object", id="object-inside"),
        pytest.param(lambda: print, "builtin_function_or_method", id="function"),
        pytest.param(lambda: (object() for _ in range(3)), "object", id="generator-of-objects"),
        pytest.param(threading.Lock, "lock", id="lock"),
    ],
)
def test_tool_that_returns_what_cannot_cross(
    run: Run, make: Callable[[], object], told: str
) -> None:
    """A result that is no data is an error at the call, which the code may catch."""
    result = run("print(give())", [give(make())])
    assert (result.status, result.output) == ("error", "")
    assert result.error is not None
    assert (result.error.kind, result.error.line) == ("ToolCallError", 1)
    assert told in result.report()
    caught = run("try:\n    give()\nexcept ToolCallError as e:\n    print(e)", [give(make())])
    assert caught.status == "success"
    assert told in caught.output


# --- large results ------------------------------------------------------------------------------

MIB = 1024 * 1024


@tool
def fill(count: int) -> str:
    """Make a text of so many bytes."""
    return "x" * count


@tool
def fill_list(count: int) -> list[int]:
    """Make a list of so many zeros."""
    return [0] * count


def check_result_limit(result: ExecutionResult, allowed: int, used: int) -> None:
    """Hold that an execution ended since a result was too large, and says so."""
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.allowed, result.error.used) == (
        "result_bytes",
        allowed,
        used,
    )
    assert "result_bytes" in result.report()
    assert f"{allowed:,}" in result.report()
    assert f"{used:,}" in result.report()


def test_result_of_64_mebibytes() -> None:
    """A result of exactly 64 MiB crosses under the default limits."""
    with ProcessSandbox() as sandbox:
        result = Runner(sandbox)(f"print(len(await fill({64 * MIB})))", [fill])
    assert (result.status, result.output) == ("success", f"{64 * MIB}\n")
    assert result.tool_calls[0].result_bytes == 64 * MIB


def test_result_of_64_mebibytes_and_one_byte() -> None:
    """One byte more ends the execution at the call, under the default limits."""
    with ProcessSandbox() as sandbox:
        result = Runner(sandbox)(f"print(len(await fill({64 * MIB + 1})))", [fill])
    check_result_limit(result, 64 * MIB, 64 * MIB + 1)


@pytest.mark.parametrize(
    ("code", "used"),
    [
        pytest.param("fill(1000)", 1000, id="text"),
        pytest.param("fill_list(500)", 503, id="list"),
    ],
)
def test_result_at_its_limit(run: Run, code: str, used: int) -> None:
    """A result of `result_bytes` crosses, and one byte more does not."""
    fits = run(f"print(len({code}))", [fill, fill_list], Limits(result_bytes=used))
    assert fits.status == "success"
    assert fits.tool_calls[0].result_bytes == used
    check_result_limit(run(code, [fill, fill_list], Limits(result_bytes=used - 1)), used - 1, used)


def test_result_limit_counts_utf8(run: Run) -> None:
    """The size of a text is its size in UTF-8."""
    result = run("print(give())", [give("€" * 10)], Limits(result_bytes=29))
    check_result_limit(result, 29, 30)


def test_result_that_is_too_large_is_caught(run: Run) -> None:
    """Code that catches the error of a large result asks for less, and goes on."""
    code = "try:\n    text = fill(11)\nexcept ToolCallError:\n    text = fill(10)\nprint(text)"
    result = run(code, [fill], Limits(result_bytes=10))
    assert (result.status, result.output) == ("success", "xxxxxxxxxx\n")


# --- calls that cannot be made ------------------------------------------------------------------

TOOLS = {"finance": [get_budget], "hr": [get_members]}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("get_budgets('a')", ["get_budgets", "did you mean 'get_budget'?"], id="name"),
        pytest.param(
            "from tools.finance import get_budgets",
            ["get_budgets", "did you mean 'get_budget'?"],
            id="import",
        ),
        pytest.param("from tools.finanse import get_budget", ["finanse", "finance"], id="domain"),
        pytest.param(
            "import tools\ntools.finance.get_budgets('a')",
            ["get_budgets", "did you mean 'get_budget'?"],
            id="attribute",
        ),
        pytest.param(
            "from tools.finance import get_members", ["get_members", "hr"], id="other-domain"
        ),
        pytest.param("import tool\n", ["'tool'", "did you mean 'tools'?"], id="module"),
    ],
)
def test_misspelt_tool(run: Run, code: str, told: list[str]) -> None:
    """The name of a tool that does not exist is answered with the name that was meant."""
    result = run(f"print('before')\n{code}", TOOLS)
    assert result.status in ("error", "refused")
    for text in told:
        assert text in result.report()
    assert not result.tool_calls


@pytest.mark.parametrize(
    ("call", "told"),
    [
        pytest.param("get_budget(team='a')", ["'team'", "did you mean 'team_id'"], id="keyword"),
        pytest.param("get_budget()", ["'team_id'"], id="missing"),
        pytest.param("get_budget('a', 2024, True)", ["2 positional", "3"], id="too-many"),
        pytest.param("get_budget('a', team_id='b')", ["'team_id'"], id="twice"),
        pytest.param("get_budget(team_id=['a'])", ["team_id", "string", "['a']"], id="type"),
        pytest.param("get_budget('a', year='next')", ["year", "integer", "'next'"], id="number"),
        pytest.param("get_budget(**{'team_id': 'a', 'x': 1})", ["'x'"], id="unpacked"),
    ],
)
def test_bad_arguments(run: Run, call: str, told: list[str]) -> None:
    """Arguments that do not fit are refused before the tool is reached, with the parameters."""
    for code in (f"print({call})", f"print(await {call})"):
        result = run(code, [get_budget])
        assert result.status == "error"
        assert result.error is not None
        assert result.error.line == 1
        for text in told:
            assert text in result.report()
        assert [call.status for call in result.tool_calls] in ([], ["refused"])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        pytest.param("object()", "object of class object", id="object"),
        pytest.param("lambda: 1", "function", id="function"),
        pytest.param("ring", "holds a reference to itself", id="cyclic"),
        pytest.param("get_budget('a')", "await", id="coroutine"),
        pytest.param("'x' * 20_000_000", "large", id="large"),
    ],
)
def test_arguments_that_cannot_cross(run: Run, argument: str, told: str) -> None:
    """An argument that is no data is an error at the call, before anything is sent."""
    code = f"ring = []\nring.append(ring)\nawait get_budget({argument})"
    result = run(code, [get_budget])
    assert result.status in ("error", "limit"), result.report()
    assert result.error is not None
    assert result.error.line == 3
    assert told in result.report()
    assert not [call for call in result.tool_calls if call.status == "returned"]


# --- output -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True:\n    print('x' * 1000)", id="lines"),
        pytest.param("print('€' * 30_000_000)", id="at-once"),
        pytest.param("import sys\nwhile True:\n    sys.stdout.write('x' * 100)", id="stdout"),
        pytest.param("import sys\nwhile True:\n    print('x' * 99, file=sys.stderr)", id="stderr"),
        pytest.param(
            "while True:\n    try:\n        print('x' * 5000)\n    except Exception:\n        pass",
            id="caught",
        ),
    ],
)
def test_output_in_a_flood(run: Run, code: str) -> None:
    """Printing without an end ends at `output_bytes`, and the model reads both ends of it."""
    limits = Limits(output_bytes=100_000, output_chars=1_000, wall_seconds=20)
    result = run(code, limits=limits)
    assert result.status == "limit"
    assert result.error is not None
    assert (result.error.limit, result.error.allowed) == ("output_bytes", 100_000)
    assert result.error.used is not None
    assert result.error.used > 100_000
    assert 90_000 < len(result.output.encode()) <= 100_000
    assert "output_bytes" in result.report()
    assert "characters cut" in result.report()
    assert len(result.report()) < 2_500


def test_output_over_the_models_share(run: Run) -> None:
    """Output over `output_chars` is whole in the result and cut in the middle for the model."""
    result = run("for n in range(3000):\n    print(n)", limits=Limits(output_chars=200))
    assert result.status == "success"
    assert result.output == "".join(f"{n}\n" for n in range(3000))
    report = result.report()
    assert report.startswith("0\n1\n2\n")
    assert report.endswith("2998\n2999")
    cut = len(result.output.rstrip()) - 200
    assert f"{cut:,}" in report
    assert len(report) < 400


def test_value_over_the_models_share(run: Run) -> None:
    """A value is cut like output."""
    result = run("return list(range(3000))", limits=Limits(output_chars=200))
    assert result.value == list(range(3000))
    assert "characters cut" in result.report()
    assert len(result.report()) < 400


# --- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    ["sys.exit()", "sys.exit(0)", "exit()", "quit()", "raise SystemExit", "raise SystemExit(0)"],
)
def test_leaving_without_a_complaint(run: Run, leave: str) -> None:
    """Code that leaves with nothing to complain of has ended well; models write this."""
    result = run(f"import sys\nprint('done')\n{leave}\nprint('never')")
    assert (result.status, result.output) == ("success", "done\n")


@pytest.mark.parametrize(
    ("leave", "told"),
    [
        pytest.param("sys.exit(3)", "3", id="number"),
        pytest.param("sys.exit('no data')", "no data", id="text"),
        pytest.param("raise KeyboardInterrupt", "KeyboardInterrupt", id="KeyboardInterrupt"),
        pytest.param("raise GeneratorExit", "GeneratorExit", id="GeneratorExit"),
        pytest.param("raise BaseException('bare')", "bare", id="BaseException"),
        pytest.param("import asyncio\nraise asyncio.CancelledError", "CancelledError", id="cancel"),
        pytest.param("raise StopIteration", "StopIteration", id="StopIteration"),
    ],
)
@pytest.mark.parametrize("mode", ["plain", "function", "async", "task", "thread"])
def test_leaving_with_a_complaint(run: Run, leave: str, told: str, mode: str) -> None:
    """Whatever the code raises, wherever it raises it, ends the execution and not the host."""
    body = "\n".join(f"    {line}" for line in leave.splitlines())
    code = {
        "plain": leave,
        "function": f"def f():\n{body}\nf()",
        "async": f"async def f():\n{body}\nawait f()",
        "task": f"import asyncio\nasync def f():\n{body}\nawait asyncio.gather(f(), f())",
        "thread": "from concurrent.futures import ThreadPoolExecutor\n"
        f"def f():\n{body}\nwith ThreadPoolExecutor() as pool:\n    pool.submit(f).result()",
    }[mode]
    result = run(f"import sys\nprint('before')\n{code}\nprint('after')")
    assert (result.status, result.output) == ("error", "before\n"), result.report()
    assert result.error is not None
    assert told in result.report() or "StopIteration" in told


# --- limits -------------------------------------------------------------------------------------


def check_limit(result: ExecutionResult, limit: str, allowed: float) -> None:
    """Hold that an execution ended at a limit, and that the report says which and how much."""
    assert result.status == "limit", result.report()
    assert result.error is not None
    assert (result.error.limit, result.error.allowed) == (limit, allowed)
    assert limit in result.report()


@pytest.fixture
def never() -> Iterator[BaseTool]:
    """A tool that blocks its thread until the test is over."""
    over = threading.Event()

    @tool
    def never() -> str:
        """Wait for ever."""
        over.wait(SECONDS)
        return "late"

    yield never
    over.set()


@tool
async def anever() -> str:
    """Wait for ever, asynchronously."""
    await asyncio.Event().wait()
    return "late"


@pytest.mark.parametrize(
    "loop",
    [
        pytest.param("while True:\n    pass", id="loop"),
        pytest.param("for n in range(10**12):\n    n * n", id="for"),
        pytest.param("def f():\n    while 1:\n        sum(range(99))\nf()", id="function"),
        pytest.param(
            "while True:\n    try:\n        while True:\n            pass\n"
            "    except Exception:\n        pass",
            id="catches-everything",
        ),
        pytest.param("import asyncio\nwhile True:\n    await asyncio.sleep(0)", id="async"),
        pytest.param("import asyncio\nawait asyncio.sleep(1000)", id="asleep"),
        pytest.param("import asyncio\nawait asyncio.Event().wait()", id="waits-for-nothing"),
        pytest.param("import time\ntime.sleep(1000)", id="time-sleep"),
        pytest.param("await anever()", id="tool"),
        pytest.param("anever()", id="tool-without-await"),
        pytest.param(
            "import asyncio\nawait asyncio.gather(*[anever() for _ in range(20)])", id="tools"
        ),
    ],
)
def test_wall_limit(run: Run, loop: str) -> None:
    """Code that does not end is ended at `wall_seconds`, with the output and the calls so far."""
    tools = [anever, get_budget]
    result = run(f"print(get_budget is None)\n{loop}", tools, Limits(wall_seconds=0.5))
    check_limit(result, "wall_seconds", 0.5)
    assert result.output == "False\n"
    assert result.duration_seconds >= 0.5
    for call in result.tool_calls:
        assert call.status == "cancelled"


def test_wall_limit_while_a_tool_blocks(run: Run, never: BaseTool) -> None:
    """The wall limit holds while a synchronous tool blocks its thread."""
    code = "print(get_budget('a')['year'])\nprint(never())"
    result = run(code, [never, get_budget], Limits(wall_seconds=0.5))
    check_limit(result, "wall_seconds", 0.5)
    assert result.output == "2024\n"
    assert [call.status for call in result.tool_calls] == ["returned", "cancelled"]
    assert "never()" in result.report()


def test_wall_limit_in_c_code() -> None:
    """A worker that is deep in one operation, and hears no signal handler, is killed."""
    with ProcessSandbox() as sandbox:
        code = "print('before')\nx = 3 ** (10 ** 9)\nprint('after')"
        result = Runner(sandbox)(code, limits=Limits(wall_seconds=0.5))
    check_limit(result, "wall_seconds", 0.5)


def test_wall_limit_is_not_caught() -> None:
    """Code that catches every exception there is does not outlive its limit."""
    code = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    with ProcessSandbox() as sandbox:
        result = Runner(sandbox)(code, limits=Limits(wall_seconds=0.5))
    check_limit(result, "wall_seconds", 0.5)


@pytest.mark.parametrize("name", ["never", "anever"])
def test_tool_limit(run: Run, never: BaseTool, name: str) -> None:
    """A tool that takes longer than `tool_seconds` is an error at the call; caught, the code goes on."""
    limits = Limits(tool_seconds=0.2, wall_seconds=20)
    tools = [never, anever]
    check_limit(run(f"print({name}())", tools, limits), "tool_seconds", 0.2)
    code = f"try:\n    await {name}()\nexcept ToolCallError as e:\n    print('slow:', e)"
    caught = run(code, tools, limits)
    assert caught.status == "success"
    assert caught.output.startswith("slow: ")
    assert "0.2 seconds" in caught.output
    assert caught.tool_calls[0].error is not None


def test_cpu_limit(run: Run) -> None:
    """Code that computes for longer than `cpu_seconds` is ended."""
    result = run("print('before')\nwhile True:\n    pass", limits=Limits(cpu_seconds=1))
    check_limit(result, "cpu_seconds", 1)
    assert result.output == "before\n"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("x = 'x' * (200 * 1024 * 1024)", id="at-once"),
        pytest.param("x = []\nwhile True:\n    x.append('y' * 1_000_000)", id="bit-by-bit"),
        pytest.param("x = [0] * 10\nwhile True:\n    x += x", id="doubling"),
        pytest.param("def f():\n    return bytearray(10**10)\nf()", id="function"),
    ],
)
def test_memory_limit(code: str) -> None:
    """Code that takes more than `memory_bytes` is ended, and the host does not feel it."""
    limits = Limits(memory_bytes=100 * MIB)
    with ProcessSandbox() as sandbox:
        result = Runner(sandbox)(f"print('before')\n{code}", limits=limits)
    check_limit(result, "memory_bytes", 100 * MIB)
    assert result.output == "before\n"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("for n in range(50):\n    await get_budget(str(n))", id="one-by-one"),
        pytest.param(
            "import asyncio\nawait asyncio.gather(*[get_budget(str(n)) for n in range(50)])",
            id="at-once",
        ),
        pytest.param(
            "for n in range(50):\n    try:\n        get_budget(str(n))\n"
            "    except Exception:\n        pass",
            id="caught",
        ),
    ],
)
def test_too_many_calls(run: Run, code: str) -> None:
    """The call after `max_tool_calls` ends the execution and does not reach its tool."""
    result = run(f"print('before')\n{code}", [get_budget], Limits(max_tool_calls=5))
    check_limit(result, "max_tool_calls", 5)
    assert result.output == "before\n"
    # Calls that are asked for at once may be refused at once: those before the limit too.
    assert len(result.tool_calls) == 5 or ("gather" in code and not result.tool_calls)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("def f(n):\n    return f(n + 1)\nf(0)", id="function"),
        pytest.param("async def f(n):\n    return await f(n + 1)\nawait f(0)", id="async"),
        pytest.param(
            "class A:\n    def __repr__(self):\n        return repr(self)\nprint(A())", id="repr"
        ),
        pytest.param("x = []\nfor _ in range(100_000):\n    x = [x]\nprint(x)", id="nested-data"),
        pytest.param(
            "import copy\nx = []\nfor _ in range(9_000):\n    x = [x]\ncopy.deepcopy(x)",
            id="deepcopy",
        ),
    ],
)
def test_recursion(run: Run, code: str) -> None:
    """Recursion without an end is an ordinary error of the code."""
    result = run(code)
    if "range(100_000)" in code and sys.version_info >= (3, 14) and result.error is None:
        assert len(result.report()) < 25_000
        return  # it has an end, and Python has the stack for it
    assert result.status == "error", result.report()
    assert result.error is not None
    assert result.error.kind == "RecursionError"
    assert len(result.report()) < 5_000


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="arithmetic"),
        pytest.param("print(totl)", "NameError: name 'totl' is not defined", id="name"),
        pytest.param("get_budget('a')['spent']", "'allocated'", id="key-names-the-keys"),
        pytest.param("get_budget('a').spent", "'allocated'", id="attribute-names-the-keys"),
        pytest.param("print(10 ** 5000)", "4300 digits", id="huge-int-printed"),
        pytest.param("assert 1 == 2, 'sums differ'", "sums differ", id="assert"),
        pytest.param("raise ValueError", "ValueError", id="bare"),
        pytest.param("raise ValueError('x' * 10**6)", "ValueError", id="long-message"),
        pytest.param("open('data.csv')", "no files", id="files"),
        pytest.param("import requests", "requests", id="module"),
        pytest.param("import os", "os", id="os"),
    ],
)
def test_ordinary_errors(run: Run, code: str, told: str) -> None:
    """An error of the code is told with its own line and text."""
    result = run(f"print('before')\n{code}", [get_budget])
    assert result.status in ("error", "refused")
    assert result.error is not None
    assert result.error.line == 2
    assert result.error.source_line == code
    assert told in result.report()
    assert code[:200] in result.report() or result.status == "refused"


def test_error_whose_text_cannot_be_had(run: Run) -> None:
    """An exception whose own `__str__` fails is told all the same."""
    code = "class E(Exception):\n    def __str__(self):\n        raise ValueError('no text')\nraise E()"
    result = run(code)
    assert result.status == "error"
    assert result.error is not None
    assert result.error.kind == "E"


def test_value_that_cannot_cross(run: Run) -> None:
    """A value that is no data is shown as Python shows it, and is no error."""
    result = run("ring = [1]\nring.append(ring)\nreturn ring")
    assert (result.status, result.value) == ("success", "[1, [...]]")


# --- death from outside -------------------------------------------------------------------------


def list_descendants(pid: int) -> dict[int, list[int]]:
    """Return every living process below `pid`, each with its own children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: dict[int, list[int]] = {}
    left = list(children.get(pid, []))
    while left:
        child = left.pop()
        found[child] = children.get(child, [])
        left += found[child]
    return found


class Family:
    """A sandbox with processes of its own, which a test may kill."""

    def __init__(self) -> None:
        self._others = set(list_descendants(os.getpid()))
        # A number of waiting workers that no other sandbox has: no parent of workers is shared.
        self.sandbox = ProcessSandbox(waiting_workers=3)
        self._killed: set[int] = set()

    def grow(self) -> None:
        """Make sure that its processes live."""
        ProgrammaticToolExecutor([], sandbox=self.sandbox).execute("print(1)")

    def bury(self) -> None:
        """Wait until those that were killed, and all below them, are dead."""
        dead = wait_for(lambda: not self._killed & set(list_descendants(os.getpid())))
        assert dead, "the killed processes do not die"
        self._killed.clear()

    def kill(self, *, workers: bool) -> int:
        """Kill the workers, or the processes above them; return how many were killed."""
        killed = 0
        family = {p: c for p, c in list_descendants(os.getpid()).items() if p not in self._others}
        self._killed |= set(family) if not workers else {p for p, c in family.items() if not c}
        for pid, children in family.items():
            if workers == (not children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        return killed


@pytest.fixture
def family() -> Iterator[Family]:
    """A sandbox whose processes may be killed."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("finds processes in /proc")
    made = Family()
    with made.sandbox:
        yield made


@pytest.mark.parametrize("workers", [True, False], ids=["worker", "parent-of-workers"])
def test_killed_from_outside(family: Family, workers: bool) -> None:
    """A worker that is killed while it runs is reported as the machine's fault, and replaced."""
    killed: list[int] = []

    @tool
    def strike() -> str:
        """Kill whoever asks."""
        killed.append(family.kill(workers=workers))
        family.bury()
        return "unheard"

    code = "print('before')\nprint(await strike())\nwhile True:\n    pass"
    family.grow()
    result = Runner(family.sandbox)(code, [strike], Limits(wall_seconds=20))
    assert killed[0] >= 1
    assert (result.status, result.output) == ("sandbox", "before\n")
    assert result.error is not None
    assert result.error.kind == "SandboxError"
    assert "the code is not at fault" in result.report()
    assert [call.tool for call in result.tool_calls] == ["strike"]


@pytest.mark.parametrize("workers", [True, False], ids=["workers", "parent-of-workers"])
def test_killed_while_idle(family: Family, workers: bool) -> None:
    """Workers that are killed while they wait are replaced before the code notices."""
    for _ in range(3):
        family.grow()
        assert family.kill(workers=workers) >= 1
        family.bury()
        result = ProgrammaticToolExecutor([], sandbox=family.sandbox).execute("print(6 * 7)")
        assert (result.status, result.output) == ("success", "42\n"), result.report()


async def test_bad_neighbour(sandbox: AnySandbox) -> None:
    """Executions at the same time do not feel each other's errors, limits or output."""
    executor = ProgrammaticToolExecutor(
        [get_budget], sandbox=sandbox, limits=Limits(wall_seconds=2)
    )
    bad = ["while True:\n    pass", "1 / 0", "raise SystemExit(9)", "x =", "print(get_budget())"]
    good = [f"print(sum([get_budget(str(n))['year'] for n in range({n})]))" for n in range(5)]
    results = await asyncio.gather(*map(executor.aexecute, [*bad, *good]))
    assert [r.status for r in results[:5]] == ["limit", "error", "error", "error", "refused"]
    assert [r.output for r in results[5:]] == [f"{2024 * n}\n" for n in range(5)]
    assert len({r.execution_id for r in results}) == 10


async def test_cancelled_by_the_host(sandbox: AnySandbox) -> None:
    """A host that cancels `aexecute` gets its cancellation, and the tool is cancelled with it."""
    started, stopped = asyncio.Event(), asyncio.Event()

    @tool
    async def wait_for_cancel() -> str:
        """Wait until somebody cancels."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "late"

    executor = ProgrammaticToolExecutor([wait_for_cancel], sandbox=sandbox)
    task = asyncio.ensure_future(executor.aexecute("await wait_for_cancel()"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(stopped.wait(), SECONDS)
    after = await executor.aexecute("print('clean')")
    assert after.output == "clean\n"
