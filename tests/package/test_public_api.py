"""The public face, used as a developer uses it: what each name promises, held by real executions."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

import langchain_ptc
from langchain_ptc import (
    CatalogError,
    CodeRuntimeError,
    CodeSyntaxError,
    ExecutionResult,
    InProcessSandbox,
    LimitExceeded,
    Limits,
    PolicyError,
    ProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    SandboxError,
    ToolCallError,
    ToolCallRecord,
    ToolCatalog,
    ToolDefinition,
    ToolParameter,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.waiting import SECONDS

AnySandbox = ProcessSandbox | InProcessSandbox


@tool
def get_team(department: str) -> list[str]:
    """Get the names of everybody in a department."""
    return {"eng": ["Ada", "Grace"], "ops": ["Linus"]}[department]


@tool
async def get_total(name: str, year: int = 2024) -> float:
    """Get what a person has spent in a year."""
    return len(name) * 10.0 + (year - 2024)


DOMAINS = {"hr": [get_team], "finance": [get_total]}
CODE = """\
from tools.hr import get_team
import asyncio

team = await get_team(department="eng")
totals = await asyncio.gather(*[get_total(name, year=2025) for name in team])
print(dict(zip(team, totals)))
"""


@pytest.fixture
def executor(sandbox: AnySandbox) -> ProgrammaticToolExecutor:
    """An executor over two domains, in each sandbox in turn."""
    return ProgrammaticToolExecutor(ToolCatalog(DOMAINS), sandbox=sandbox)


# --- records ------------------------------------------------------------------------------------

RECORDS = [ExecutionResult, Limits, ToolCallRecord, ToolDefinition, ToolParameter, ToolPolicy]


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_frozen_slotted_and_keyword_only(record: type) -> None:
    """A record cannot be changed, cannot grow, and cannot be built by position."""
    assert dataclasses.is_dataclass(record)
    assert record.__dataclass_params__.frozen
    assert "__slots__" in vars(record)
    assert all(field.kw_only for field in dataclasses.fields(record))


@pytest.mark.parametrize(
    "function",
    [
        ProgrammaticToolExecutor,
        ProgrammaticToolExecutor.execute,
        ProgrammaticToolExecutor.aexecute,
        ToolCatalog,
        ProcessSandbox,
        InProcessSandbox,
        as_programmatic,
        ProgrammaticToolNode,
    ],
    ids=lambda function: function.__qualname__,
)
def test_options_are_keyword_only(function: Callable[..., object]) -> None:
    """Whatever has a default must be named."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter


OWN = {
    ProgrammaticToolNode: {"protocol", "max_attempts", "messages_key", "name", "tags"},
    ProgrammaticToolCallingMiddleware: {"tools", "tags", "domains"},
    ProgrammaticToolExecutor: set(),
}
"""What one way in has that `as_programmatic` has not, or means otherwise."""


@pytest.mark.parametrize("way", OWN, ids=lambda way: way.__name__)
def test_the_ways_in_take_the_same_options(way: Callable[..., object]) -> None:
    """An option is written out wherever it is taken: with one name, one type and one default."""
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    first = inspect.signature(as_programmatic).parameters
    options = {n: p for n, p in inspect.signature(way).parameters.items() if p.kind is keyword_only}
    options = {name: p for name, p in options.items() if name not in OWN[way]}
    assert {name: (p.annotation, p.default) for name, p in options.items()} == {
        name: (first[name].annotation, first[name].default) for name in options
    }
    of_executions = {"limits", "sandbox", "imports", "interrupt_on", "durable", "check", "budget"}
    assert of_executions <= set(options)


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_limits_are_positive_and_carry_their_unit(field: dataclasses.Field[float]) -> None:
    """Every limit refuses what is no positive number, naming itself, and says its unit."""
    assert field.name.startswith("max_") or field.name.endswith(("_seconds", "_bytes", "_chars"))
    for value in (0, -1, True, "10", None):
        with pytest.raises(ValueError, match=f"Limits.{field.name} must be a positive"):
            Limits(**{field.name: value})


def test_errors_form_one_tree() -> None:
    """Who caused it decides the class, and one base catches them all."""
    for name in langchain_ptc.__all__:
        value = getattr(langchain_ptc, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            assert issubclass(value, langchain_ptc.PTCError)
    assert issubclass(CatalogError, ValueError)
    for error in (CodeSyntaxError, PolicyError, CodeRuntimeError, LimitExceeded):
        assert issubclass(error, langchain_ptc.CodeError)
    assert not issubclass(ToolCallError, langchain_ptc.CodeError)


# --- the executor -------------------------------------------------------------------------------


def check_result(result: ExecutionResult) -> None:
    """Hold the record of `CODE` against what it did."""
    assert (result.status, result.error, result.notes) == ("success", None, ())
    assert result.output == "{'Ada': 31.0, 'Grace': 51.0}\n"
    assert result.report() == "{'Ada': 31.0, 'Grace': 51.0}"
    assert result.code == CODE
    assert str(uuid.UUID(result.execution_id)) == result.execution_id
    assert [(c.domain, c.tool, dict(c.arguments), c.line) for c in result.tool_calls] == [
        ("hr", "get_team", {"department": "eng"}, 4),
        ("finance", "get_total", {"name": "Ada", "year": 2025}, 5),
        ("finance", "get_total", {"name": "Grace", "year": 2025}, 5),
    ]
    assert [c.result_bytes for c in result.tool_calls] == [
        11,
        9,
        9,
    ]  # one byte for the list and for each name
    assert len({call.call_id for call in result.tool_calls}) == 3
    ended = result.started_at + timedelta(seconds=result.duration_seconds)
    for call in result.tool_calls:
        assert (call.execution_id, call.error) == (result.execution_id, None)
        assert result.started_at <= call.started_at <= call.ended_at <= ended
        assert call.ended_at - call.started_at == timedelta(seconds=call.duration_seconds)


def test_execute(executor: ProgrammaticToolExecutor) -> None:
    """`execute` runs code from synchronous code, asynchronous tools included."""
    before = datetime.now(UTC)
    result = executor.execute(CODE)
    check_result(result)
    assert before <= result.started_at <= datetime.now(UTC)


async def test_aexecute(executor: ProgrammaticToolExecutor) -> None:
    """`aexecute` runs code on the caller's loop, synchronous tools included."""
    check_result(await executor.aexecute(CODE))


async def test_execute_in_a_running_loop(executor: ProgrammaticToolExecutor) -> None:
    """`execute` works in a notebook, where a loop runs in the very thread."""
    check_result(executor.execute(CODE))


def test_record_as_data(executor: ProgrammaticToolExecutor) -> None:
    """`to_dict` is JSON without loss: what was written can be read again."""
    result = executor.execute(CODE)
    data = json.loads(json.dumps(result.to_dict()))
    assert ExecutionResult.from_dict(data) == result
    assert data["execution_id"] == result.execution_id
    assert datetime.fromisoformat(data["started_at"]) == result.started_at
    for call, record in zip(data["tool_calls"], result.tool_calls, strict=True):
        assert set(call) >= {
            "call_id",
            "tool",
            "domain",
            "arguments",
            "started_at",
            "ended_at",
            "duration_seconds",
            "result_bytes",
            "error",
            "execution_id",
        }
        assert call["tool"] == record.tool
        assert datetime.fromisoformat(call["ended_at"]) >= record.started_at


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("1 / 0", id="error"),
        pytest.param("x =", id="syntax"),
        pytest.param("open('x')", id="refused"),
        pytest.param("while True:\n    print('x' * 10_000)", id="limit"),
        pytest.param("get_total(nome='Ada')", id="tool"),
        pytest.param("{1: (2, {3}), 'x': b'y'}", id="value"),
    ],
)
def test_every_record_is_data(executor: ProgrammaticToolExecutor, code: str) -> None:
    """Whatever the end, its record is JSON, and reads back to the same status and error."""
    result = executor.execute(code)
    again = ExecutionResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert (again.status, again.error, again.output) == (result.status, result.error, result.output)
    assert again.report() == result.report()


@pytest.mark.parametrize(
    ("code", "value", "report"),
    [
        pytest.param(
            "return {'a': [1, 2.5, None]}", {"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}', id="return"
        ),
        pytest.param("return 'plain text'", "plain text", "plain text", id="text"),
        pytest.param("result = [True]", [True], "[true]", id="result"),
        pytest.param("x = 20\nx + 1", 21, "21", id="last-expression"),
        pytest.param("result = 1\n2", 2, "2", id="expression-over-result"),
        pytest.param("result = 1\nreturn 3", 3, "3", id="return-over-result"),
        pytest.param("x = 1", None, "(no output)", id="nothing"),
        pytest.param("return None", None, "(no output)", id="None"),
        pytest.param("get_team('ops')", ["Linus"], '["Linus"]', id="tool-call"),
        pytest.param("await get_total('Ada')", 30.0, "30.0", id="awaited-call"),
        pytest.param(
            "if True:\n    for n in range(3):\n        if n:\n            return n",
            1,
            "1",
            id="nested",
        ),
    ],
)
def test_value(executor: ProgrammaticToolExecutor, code: str, value: object, report: str) -> None:
    """A value comes by `return`, by a last expression, or by `result`, and is read as JSON."""
    result = executor.execute(code)
    assert result.status == "success", result.report()
    assert result.output == ""
    assert result.value == value
    if isinstance(value, dict | list):
        assert json.loads(result.report()) == value
    else:
        assert result.report() == report


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("(1, 'a')", [1, "a"], id="tuple"),
        pytest.param("{3}", [3], id="set"),
        pytest.param("datetime.date(2024, 2, 29)", "2024-02-29", id="date"),
        pytest.param(
            "{'due': datetime.date(2024, 2, 29)}", {"due": "2024-02-29"}, id="date-inside"
        ),
        pytest.param("decimal.Decimal('0.10')", "0.10", id="Decimal"),
        pytest.param("{1: 'a', 2: 'b'}", {"1": "a", "2": "b"}, id="numbers-as-keys"),
    ],
)
def test_value_that_is_no_json(
    executor: ProgrammaticToolExecutor, value: str, shown: object
) -> None:
    """The model reads a value as plain JSON: how values cross the sandbox's wire is not its affair."""
    report = executor.execute(f"import datetime, decimal\nreturn {value}").report()
    assert "$" not in report
    try:
        told = json.loads(report)
    except ValueError:
        told = report
    assert told == shown or str(told) == shown


def test_printed_text_wins_over_a_value(executor: ProgrammaticToolExecutor) -> None:
    """Where something was printed, the model reads that and no value."""
    assert executor.execute("print('printed')\nreturn 'returned'").report() == "printed"


@pytest.mark.parametrize(
    ("code", "error", "fields"),
    [
        pytest.param("x = (", CodeSyntaxError, {"line": 1, "source_line": "x = ("}, id="syntax"),
        pytest.param(
            "x = 1\nx['a']", CodeRuntimeError, {"exc_type": "TypeError", "line": 2}, id="runtime"
        ),
        pytest.param(
            "while True:\n    get_team('ops')",
            LimitExceeded,
            {"limit": "max_tool_calls", "allowed": 3},
            id="limit",
        ),
        pytest.param(
            "print('x' * 101)",
            LimitExceeded,
            {"limit": "output_bytes", "allowed": 100},
            id="output",
        ),
        pytest.param(
            "get_team('eng') * 2\nget_team('all')",
            CodeRuntimeError,
            {"exc_type": "ToolCallError", "line": 2},
            id="tool",
        ),
    ],
)
def test_raise_for_status(
    sandbox: AnySandbox, code: str, error: type[Exception], fields: dict[str, object]
) -> None:
    """A developer who wants an exception gets the one that says who caused it."""
    limits = Limits(max_tool_calls=3, output_bytes=100)
    executor = ProgrammaticToolExecutor(DOMAINS, limits=limits, sandbox=sandbox)
    with pytest.raises(error) as caught:
        executor.execute(code).raise_for_status()
    for name, value in fields.items():
        assert getattr(caught.value, name) == value
    good = executor.execute("print(1)")
    assert good.raise_for_status() is good


def test_refused_code_runs_nothing(executor: ProgrammaticToolExecutor) -> None:
    """Code that the language refuses is refused as a whole, with every place that is at fault."""
    result = executor.execute("get_team('eng')\nopen('a')\nx = 1\neval('x')")
    assert (result.status, result.output, result.tool_calls) == ("refused", "", ())
    assert result.error is not None
    assert [violation.line for violation in result.error.violations] == [2, 4]
    with pytest.raises(PolicyError) as caught:
        result.raise_for_status()
    assert caught.value.violations == result.error.violations


def test_calls_so_far_are_told(executor: ProgrammaticToolExecutor) -> None:
    """A failed execution says exactly which calls took effect, so that they are not repeated."""
    result = executor.execute("get_team('eng')\nget_total('Ada', 2025)\nget_team('nobody')")
    assert [call.status for call in result.tool_calls] == ["returned", "returned", "failed"]
    report = result.report()
    for call in ("get_team(department='eng')", "get_total(name='Ada', year=2025)"):
        assert call in report
    assert "must not be repeated" in report
    assert report.index("must not be repeated") != report.index("get_team('nobody')")


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async-tool", "sync-tool"])
@pytest.mark.parametrize("style", ["gather", "threads"])
def test_calls_run_side_by_side(sandbox: AnySandbox, asynchronous: bool, style: str) -> None:
    """Calls that are made together run together: each waits here until all have arrived."""
    barrier = threading.Barrier(8, timeout=SECONDS)
    arrived, all_here = 0, asyncio.Event()

    def meet(number: int) -> int:
        barrier.wait()
        return number

    async def ameet(number: int) -> int:
        nonlocal arrived
        arrived += 1
        if arrived == 8:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), SECONDS)
        return number

    made = StructuredTool.from_function(
        None if asynchronous else meet,
        ameet if asynchronous else None,
        name="meet",
        description="Wait until eight are here.",
    )
    code = {
        "gather": "import asyncio\nprint(sum(await asyncio.gather(*map(meet, range(8)))))",
        "threads": "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool:\n    print(sum(pool.map(meet, range(8))))",
    }[style]
    result = ProgrammaticToolExecutor([made], sandbox=sandbox).execute(code)
    assert (result.status, result.output) == ("success", "28\n"), result.report()


async def test_concurrent_calls_are_bounded(sandbox: AnySandbox) -> None:
    """No more than `max_concurrent_calls` run at once, and all of them run."""
    now, most = 0, 0

    @tool
    async def work(number: int) -> int:
        """Do some work."""
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1
        return number

    limits = Limits(max_concurrent_calls=3)
    executor = ProgrammaticToolExecutor([work], limits=limits, sandbox=sandbox)
    result = await executor.aexecute(
        "import asyncio\nprint(sum(await asyncio.gather(*map(work, range(20)))))"
    )
    assert (result.output, most) == ("190\n", 3)


async def test_executions_run_side_by_side(sandbox: AnySandbox) -> None:
    """One executor serves executions at once: each waits here until all have arrived."""
    arrived, all_here = 0, asyncio.Event()

    @tool
    async def meet() -> None:
        """Wait until four are here."""
        nonlocal arrived
        arrived += 1
        if arrived == 4:
            all_here.set()
        await all_here.wait()

    executor = ProgrammaticToolExecutor([meet], sandbox=sandbox, limits=Limits(wall_seconds=20))
    results = await asyncio.gather(
        *[executor.aexecute(f"await meet()\nprint({n})") for n in range(4)]
    )
    assert [result.output for result in results] == ["0\n", "1\n", "2\n", "3\n"]


def test_executions_share_nothing(executor: ProgrammaticToolExecutor) -> None:
    """What one execution has set or changed, the next one does not see."""
    executor.execute("import json\nx = 1\njson.dumps = None\nprint = None")
    result = executor.execute("import json\nprint(json.dumps([1]))\nprint('x' in dir())")
    assert result.output == "[1]\nFalse\n"


# --- the catalog in code ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "from tools.finance import get_total\nprint(get_total('Ada'))",
        "from tools.finance import get_total as total\nprint(total(name='Ada'))",
        "from tools.finance import *\nprint(get_total('Ada'))",
        "from tools import finance\nprint(finance.get_total('Ada'))",
        "import tools\nprint(tools.finance.get_total('Ada'))",
        "import tools.finance\nprint(tools.finance.get_total('Ada'))",
        "import tools.finance as f\nprint(f.get_total('Ada'))",
        "print(get_total('Ada'))",
        "print(await get_total('Ada'))",
        "async def main():\n    print(await get_total('Ada'))\nimport asyncio\nasyncio.run(main())",
    ],
)
def test_ways_to_name_a_tool(executor: ProgrammaticToolExecutor, code: str) -> None:
    """A tool is reached by its domain in every way that Python has, or by its bare name."""
    result = executor.execute(code)
    assert result.output == "30.0\n", result.report()


@pytest.mark.parametrize(
    "code",
    [
        "from tools import get_total\nprint(get_total('Ada'))",
        "import tools\nprint(tools.get_total('Ada'))",
        "print(get_total('Ada'))",
    ],
)
def test_ways_to_name_a_tool_without_a_domain(sandbox: AnySandbox, code: str) -> None:
    """A flat list of tools has no domain."""
    result = ProgrammaticToolExecutor([get_total], sandbox=sandbox).execute(code)
    assert result.output == "30.0\n", result.report()


def test_name_in_two_domains(sandbox: AnySandbox) -> None:
    """A name that two domains have needs its domain."""

    def make(text: str) -> BaseTool:
        return StructuredTool.from_function(lambda: text, name="who", description="Say who.")

    executor = ProgrammaticToolExecutor({"a": [make("A")], "b": [make("B")]}, sandbox=sandbox)
    both = executor.execute("import tools\nprint(tools.a.who(), tools.b.who())")
    assert both.output == "A B\n"
    bare = executor.execute("who()")
    assert bare.error is not None
    assert bare.error.kind == "CheckError"
    assert "from tools.a import who or from tools.b import who" in bare.error.message


def test_empty_catalog(sandbox: AnySandbox) -> None:
    """Without any tool the code can still compute."""
    result = ProgrammaticToolExecutor(ToolCatalog([]), sandbox=sandbox).execute("print(6 * 7)")
    assert result.output == "42\n"


def test_name_that_is_no_identifier(sandbox: AnySandbox) -> None:
    """The code calls `calc-add` by an identifier, and the tool hears its own name."""
    heard: list[str] = []

    def add(a: int, b: int) -> int:
        return a + b

    made = StructuredTool.from_function(add, name="calc-add", description="Add.")

    from langchain_core.callbacks import BaseCallbackHandler

    class Listener(BaseCallbackHandler):
        def on_tool_start(self, serialized: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            heard.append(serialized["name"])

    executor = ProgrammaticToolExecutor([made], sandbox=sandbox)
    result = executor.execute("print(calc_add(1, b=2))", config={"callbacks": [Listener()]})
    assert (result.output, heard) == ("3\n", ["calc-add"])
    assert result.tool_calls[0].tool == "calc_add"


def test_policies(sandbox: AnySandbox) -> None:
    """A policy holds for its tool: no more calls than it says."""
    catalog = ToolCatalog(DOMAINS, policies={"get_total": ToolPolicy(max_calls=2)})
    executor = ProgrammaticToolExecutor(catalog, sandbox=sandbox)
    result = executor.execute("for n in range(3):\n    print(get_total('Ada', 2024 + n))")
    assert (result.status, result.output) == ("error", "30.0\n31.0\n")
    assert "2" in result.report()
    with pytest.raises(CatalogError, match=r"get_totl.*did you mean"):
        ToolCatalog(DOMAINS, policies={"get_totl": ToolPolicy()})


# --- the sandboxes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ProcessSandbox, InProcessSandbox])
def test_closed_sandbox(kind: Callable[..., AnySandbox]) -> None:
    """A closed sandbox says so to the host; closing twice is fine."""
    with kind() as sandbox:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        assert executor.execute("print(1)").output == "1\n"
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        executor.execute("print(1)")


@pytest.mark.parametrize("kind", [ProcessSandbox, InProcessSandbox])
def test_more_imports(kind: Callable[..., AnySandbox]) -> None:
    """A module of the developer's choice can be imported, and only where it was chosen."""
    code = "from packaging.version import Version\nprint(Version('1.9') < Version('1.10'))"
    with kind(imports=["packaging.version"]) as sandbox:
        assert "packaging.version" in sandbox.modules
        result = ProgrammaticToolExecutor([], sandbox=sandbox).execute(code)
        assert result.output == "True\n", result.report()
    with kind() as sandbox:
        result = ProgrammaticToolExecutor([], sandbox=sandbox).execute(code)
        assert result.error is not None
        assert "packaging" in result.report()


def test_imports_of_the_executor() -> None:
    """`imports` of the executor are for the sandbox that it makes, and for no other."""
    executor = ProgrammaticToolExecutor([], imports=["packaging.version"])
    try:
        assert executor.execute("import packaging.version\nprint(1)").output == "1\n"
    finally:
        executor.sandbox.close()
    with InProcessSandbox() as sandbox, pytest.raises(ValueError, match="packaging"):
        ProgrammaticToolExecutor([], sandbox=sandbox, imports=["packaging.version"])


# --- in a graph ---------------------------------------------------------------------------------


def test_as_programmatic(sandbox: AnySandbox) -> None:
    """Many tools become one, whose message is the output and whose artifact is the record."""
    [run_code] = as_programmatic(DOMAINS, sandbox=sandbox)
    assert isinstance(run_code, BaseTool)
    assert run_code.name == "run_code"
    assert "get_team" in run_code.description
    assert run_code.invoke({"code": CODE}) == "{'Ada': 31.0, 'Grace': 51.0}"
    call = {"name": "run_code", "args": {"code": CODE}, "id": "c1", "type": "tool_call"}
    message = run_code.invoke(call)
    assert isinstance(message, ToolMessage)
    assert message.content == "{'Ada': 31.0, 'Grace': 51.0}"
    assert len(ExecutionResult.from_dict(message.artifact).tool_calls) == 3


async def test_node(sandbox: AnySandbox) -> None:
    """A node prompts for code, runs it, and adds two messages: nothing of the tools' results."""
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": CODE})])
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ProgrammaticToolNode(model, DOMAINS, sandbox=sandbox))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    state = await graph.compile().ainvoke({"messages": [HumanMessage("Who spent what?")]})
    question, call, answer = state["messages"]
    assert question.text == "Who spent what?"
    assert isinstance(call, AIMessage)
    assert isinstance(answer, ToolMessage)
    assert answer.content == "{'Ada': 31.0, 'Grace': 51.0}"
    assert ExecutionResult.from_dict(answer.artifact).status == "success"
