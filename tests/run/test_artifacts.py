"""Whatever the code returns, prints or passes: the graph goes on, and its state can be written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.load import dumps, loads
from langchain_core.messages import HumanMessage, ToolMessage, messages_from_dict, messages_to_dict
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_ptc import (
    ExecutionLog,
    ExecutionResult,
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.run.plain import as_plain
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import REQUEST

CONFIG: Any = {"configurable": {"thread_id": "1"}}
APPROVE: Any = {"decisions": [{"type": "approve"}]}
SANDBOX = InProcessSandbox()


@tool
def get(x: str) -> str:
    """Get."""
    return x


@tool
def pay(n: Any) -> str:
    """Pay."""
    return "paid"


def by_tool(code: str, tools: Any = (get, pay), saver: Any = None, **options: Any) -> Any:
    model = ScriptedChatModel(script=_answer(code))
    wrapped = as_programmatic([*tools], sandbox=SANDBOX, **options)
    return create_agent(model, wrapped, checkpointer=saver)


def by_middleware(code: str, tools: Any = (get, pay), saver: Any = None, **options: Any) -> Any:
    model = ScriptedChatModel(script=_answer(code))
    own = ProgrammaticToolCallingMiddleware(sandbox=SANDBOX, **options)
    return create_agent(model, [*tools], middleware=[own], checkpointer=saver)


def by_node(code: str, tools: Any = (get, pay), saver: Any = None, **options: Any) -> Any:
    model = ScriptedChatModel(script=_answer(code))
    node = ProgrammaticToolNode(model, [*tools], sandbox=SANDBOX, **options)
    graph = StateGraph(MessagesState).add_node("code", node).add_edge(START, "code")
    return graph.compile(checkpointer=saver)


def _answer(code: str) -> Callable[[Any], Any]:
    def reply(messages: Any) -> Any:
        if messages[-1].type == "tool":
            return f"done: {messages[-1].text}"
        return tool_call_message("run_code", {"code": code}, id="c1")

    return reply


WAYS = {"tool": by_tool, "middleware": by_middleware, "node": by_node}
ways = pytest.mark.parametrize("build", WAYS.values(), ids=WAYS)

VALUES = {
    "65-bits": "2**64",
    "negative": "-(2**63) - 1",
    "nested": "{'rows': [{'n': 2**200}]}",
    "5000-digits": "10**5000",
    "factorial": "__import_math().factorial(30)",
    "range": "range(10**12)",
    "complex": "[1+2j]",
    "surrogate": "'\\ud800 and text'",
    "surrogate-key": "{'\\ud800': 1, 'b': '\\udfff'}",
    "nan": "[float('nan'), float('inf'), -float('inf')]",
    "integer-keys": "{1: 'a', '1': 'b', 2**70: 'c', 10**5000: 'd'}",
    "odd-keys": "{None: 1, True: 2, (1, 10**5000): 3, b'x': 4, 1.5: 5, float('nan'): 6}",
    "sets": "{frozenset({1, 2**65}), (1, 'a'), 10**5000}",
    "bytes": "[b'\\xff\\x00', b'text']",
    "lc": "{'lc': 1, 'type': 'constructor', 'id': ['langchain_core', 'x'], 'kwargs': {}}",
    "tags": "{'$': ['int', '0x1'], '__type__': 'x'}",
    "nul": "'a\\x00b'",
    "like-named-keys": "{None: 1, 'None': 2, True: 3, 'True': 4, (1, 2): 5, '(1, 2)': 6}",
    "surrogate-and-its-escape": "{'\\udc80': {'\\ud83d': 1}, '\\\\udc80': 2}",
    "at-64-bits": "[2**63, 2**63 - 1, -(2**63), -(2**63) - 1]",
    "ends-of-floats": "[-0.0, 5e-324, 1.7976931348623157e308]",
    "functions": "[len, lambda: 1]",
    "separators": "'a\\u2028b\\u2029\\x7f\\x85'",
    "lc-2": "[{'lc': 2, 'type': 'not_implemented', 'id': ['x']}, {'__overwrite__': 1}]",
}


def program(expression: str) -> str:
    if "__import_math()" in expression:
        return "import math\nreturn " + expression.replace("__import_math()", "math")
    return f"return {expression}"


def messages_of(state: Any) -> list[Any]:
    return list(state["messages"])


def check_message(message: ToolMessage) -> None:
    """Hold that every way in which a message is written gives it back as it was."""
    serializer = JsonPlusSerializer(
        allowed_msgpack_modules=None
    )  # strict: only LangGraph's own types
    again = serializer.loads_typed(serializer.dumps_typed(message))
    assert isinstance(again, ToolMessage)
    assert again.artifact == message.artifact
    assert type(again.artifact) is type(message.artifact) is dict
    (again,) = messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))
    assert again.artifact == message.artifact
    again = loads(dumps(message), allowed_objects="messages")
    assert (again.artifact, again.content) == (message.artifact, message.content)
    assert json.loads(message.model_dump_json())["artifact"] == message.artifact
    message.model_dump_json().encode()
    json.dumps(message.artifact, ensure_ascii=False, allow_nan=False).encode()
    record = ExecutionResult.from_dict(message.artifact)
    assert record.to_dict() == message.artifact


@ways
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
async def test_any_value_leaves_a_graph_that_goes_on(build: Any, value: str) -> None:
    """A returned value of any kind is stored, and the thread takes the next message."""
    graph = build(program(value), saver=InMemorySaver())
    for text in ("go", "again"):
        state = await graph.ainvoke({"messages": [HumanMessage(text)]}, CONFIG)
    outcomes = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert [m.status for m in outcomes] == ["success", "success"]
    check_message(outcomes[-1])
    kept = graph.get_state(CONFIG).values["messages"]
    assert [m.artifact for m in kept if isinstance(m, ToolMessage)] == [
        m.artifact for m in outcomes
    ]


@ways
@pytest.mark.parametrize("durable", ["auto", "never"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_big_integer_breaks_the_graph(build: Any, durable: Any, kind: str) -> None:
    """An integer of more than 64 bits ends the run normally, with any checkpointer and journal."""
    with SqliteSaver.from_conn_string(":memory:") as sqlite:
        saver = sqlite if kind == "sqlite" else InMemorySaver()
        graph = build("print(await pay(1))\nreturn 2**64", saver=saver, durable=durable)
        state = graph.invoke(REQUEST, CONFIG)
        assert "paid" in state["messages"][-1].text
        graph.invoke(None, CONFIG)
        state = graph.invoke({"messages": [HumanMessage("again")]}, CONFIG)
        outcomes = [m for m in state["messages"] if isinstance(m, ToolMessage)]
        assert [m.artifact["value"] for m in outcomes] == [str(2**64)] * 2


ARGUMENTS = {name: value for name, value in VALUES.items() if name != "functions"}
"""Functions are returned as text, and are refused as arguments."""


@ways
@pytest.mark.parametrize("value", ARGUMENTS.values(), ids=ARGUMENTS)
def test_any_argument_can_be_asked_about_and_recorded(build: Any, value: str) -> None:
    """A gated call with any argument pauses, resumes and is recorded."""
    # As arguments, integers of over 4,300 digits and long ranges are refused.
    head, _, expression = program(value.replace("5000", "3000").replace("10**12", "12")).rpartition(
        "return "
    )
    code = f"{head}print(await pay({expression}))"
    graph = build(code, saver=InMemorySaver(), interrupt_on={"pay": True})
    state = graph.invoke(REQUEST, CONFIG)
    (question,) = state["__interrupt__"]
    json.dumps(question.value, ensure_ascii=False, allow_nan=False).encode()
    state = graph.invoke(Command(resume=APPROVE), CONFIG)
    (outcome,) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert outcome.text == "paid"
    assert (
        outcome.artifact["tool_calls"][0]["arguments"]["n"]
        == question.value["action_requests"][0]["args"]["n"]
    )


@pytest.mark.parametrize("value", ["2**64", "{'\\ud800': 1}"])
def test_a_question_of_another_middleware_can_be_stored(value: str) -> None:
    """LangChain's own middleware asks with the arguments as they are."""
    human = HumanInTheLoopMiddleware({"pay": True}, interrupt_mode="per_call")
    own = ProgrammaticToolCallingMiddleware(sandbox=SANDBOX)
    model = ScriptedChatModel(script=_answer(f"print(await pay({value}))"))
    agent = create_agent(model, [pay], middleware=[own, human], checkpointer=InMemorySaver())
    state = agent.invoke(REQUEST, CONFIG)
    assert len(state["__interrupt__"]) == 1
    state = agent.invoke(Command(resume={"type": "approve"}), CONFIG)
    assert state["messages"][-1].text == "done: paid"


@ways
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_artifact_is_no_json(build: Any) -> None:
    """LangChain's own ways to write messages take a message of `run_code`, and give it back."""
    state = build("print(await get('a'))").invoke(REQUEST)
    (message,) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert message.text == "a"
    check_message(message)


@ways
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize(
    "code",
    [
        "print('\\ud800')\nraise ValueError('\\udfff ' + str(2**64))",
        "await get('\\ud800')\n{}['\\udc00']",
        "import nothing_of_that_name  # \\ud800",
        "x = '\\ud800'\nwhile True:\n    x += 'x' * 10**6\n    print(x)",
        "await nothing('x')",
    ],
)
def test_failures_are_plain_data_too(build: Any, code: str) -> None:
    """So are the records of programs that fail, were refused or reached a limit."""
    options = {} if build is not by_node else {"max_attempts": 1}
    state = build(code, saver=InMemorySaver(), **options).invoke(REQUEST, CONFIG)
    (message,) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert message.status == "error"
    check_message(message)


async def test_logs_and_events_are_plain_data(tmp_path: Path) -> None:
    """What is logged and told can be written as UTF-8 JSON and is the same when it is read."""
    events: list[Any] = []
    code = "print('\\ud800')\nprint(await pay({'\\ud800': [2**64, float('nan')]}))\nreturn {1: 10**3000, '1': 2}"
    with ExecutionLog(path=tmp_path / "log.sqlite") as log:
        executor = ProgrammaticToolExecutor([pay], sandbox=SANDBOX, log=log, on_event=events.append)
        result = await executor.aexecute(code)
        assert result.value == {1: 10**3000, "1": 2}
        log.flush()
        (kept,) = log.find()
        assert kept.to_dict() == result.to_dict()
    assert {event["event"] for event in events} >= {"output", "call_start", "execution_end"}
    for event in events:
        assert json.loads(json.dumps(event, ensure_ascii=False, allow_nan=False).encode()) == event


def test_an_argument_of_too_many_digits_is_an_error_of_the_call() -> None:
    """An integer of 5,000 digits among the arguments is reported to the code, and the graph goes on."""
    code = "try:\n    await pay(10**5000)\nexcept ToolCallError as e:\n    print(str(e)[:11])"
    state = by_tool(code, saver=InMemorySaver()).invoke(REQUEST, CONFIG)
    (outcome,) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert (outcome.text, outcome.status) == ("an argument", "success")


@ways
async def test_values_at_their_deepest(build: Any) -> None:
    """A value nested as deeply as values may be is stored and read again."""
    code = "x = 1\nfor _ in range(195):\n    x = [x]\nprint(await pay(x))\nreturn x"
    state = await build(code, saver=InMemorySaver()).ainvoke(REQUEST, CONFIG)
    (outcome,) = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert outcome.status == "success"
    assert json.dumps(outcome.artifact["value"]).count("[") == 195  # the last ones are text
    check_message(outcome)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError


def test_plain_data_of_anything() -> None:
    """What a developer's own function puts into a record is plain data too, cycles included."""
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (Hostile(), [cycle], {Hostile(): 1}, logging.INFO, {"x": {1: {"y": cycle}}}):
        json.dumps(as_plain(value))
    assert as_plain({1: "a", "1": "b"}) == {"1": "a", "'1'": "b"}
    nan = float("nan")
    assert len(as_plain({nan: 1, float("nan"): 2, "nan": 3})) == 3
    assert as_plain([2**63 - 1, -(2**63), 2**63]) == [2**63 - 1, -(2**63), str(2**63)]


@pytest.mark.parametrize("build", [by_tool, by_middleware, by_node])
def test_half_a_surrogate_pair_in_the_code_is_refused_before_any_effect(build: Any) -> None:
    """LangGraph stores `?` in its place: a resumed program would be another one."""
    paid: list[Any] = []

    @tool
    def first(n: Any) -> str:
        """Do it first."""
        paid.append(n)
        return "done"

    graph = build("first(n=1)\nx = '\ud800'\npay(n=2)", (first, pay), saver=InMemorySaver())
    state = graph.invoke({"messages": [HumanMessage("go")]}, CONFIG)
    assert "__interrupt__" not in state
    assert paid == []
    told = [m.text for m in messages_of(state) if isinstance(m, ToolMessage)]
    assert all("lone surrogate" in text for text in told)
    assert told or build is by_node  # a node shows it to the model, which writes another
