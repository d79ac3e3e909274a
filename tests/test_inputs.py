"""`inputs`: data that the code finds in variables, of which the model sees type, size and beginning."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_ptc import (
    InProcessSandbox,
    Limits,
    ProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.team_tools import get_person

FRAME = pd.DataFrame({"id": [1, 2, 3], "name": ["Ada", "Bob", "Cyd"]})
SUM = "print(sum(o.id for o in orders), orders[0]['name'])"


@pytest.fixture(params=[ProcessSandbox, InProcessSandbox], scope="module")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with request.param() as made:
        yield made


@pytest.mark.parametrize(
    ("value", "code", "printed"),
    [
        (FRAME, "print(sum(x.id for x in v), v[0]['name'])", "6 Ada"),
        ("text", "print(v.upper())", "TEXT"),
        (b"\x00\x01", "print(v)", "b'\\x00\\x01'"),
        ([1, 2.5, None, True], "print(v)", "[1, 2.5, None, True]"),
        ({"a": {"b": [1]}}, "print(v.a.b)", "[1]"),
        (datetime.date(2026, 1, 2), "print(v.year)", "2026"),
        (2**100, "print(v)", str(2**100)),
        (HumanMessage("hi"), "print(v['content'])", "hi"),
        (range(3), "print(list(v))", "[0, 1, 2]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_arrive_as_results_of_tools_do(
    value: Any, code: str, printed: str, sandbox: Sandbox
) -> None:
    """Each kind of value is there under its name, as plain data."""
    executor = ProgrammaticToolExecutor([], sandbox=sandbox)
    assert executor.execute(code, inputs={"v": value}).output.strip() == printed


async def test_only_what_the_code_names_is_encoded(sandbox: Sandbox) -> None:
    """Data that the code does not name costs nothing, and need not be sendable."""
    executor = ProgrammaticToolExecutor([], sandbox=sandbox)
    result = await executor.aexecute("print(a)", inputs={"a": 1, "b": object()})
    assert result.output == "1\n"


@pytest.mark.parametrize(
    ("inputs", "code", "said"),
    [
        ({"a b": 1}, "1", "'a b' cannot be the name"),
        ({"class": 1}, "1", "'class' cannot be the name"),
        ({"_x": 1}, "1", "'_x' cannot be the name"),
        ({"get_person": 1}, "1", "a tool or a domain named 'get_person'"),
        ({"tools": 1}, "1", "a tool or a domain named 'tools'"),
        ({"v": object()}, "print(v)", "'v' cannot be given to the code"),
        ({"v": "x" * 2_000}, "print(v)", "'v' has 2,000 bytes or more, and Limits.result_bytes"),
    ],
    ids=["space", "keyword", "private", "tool", "tools", "object", "large"],
)
def test_what_cannot_be_given_is_a_clear_error(
    inputs: dict[str, Any], code: str, said: str
) -> None:
    """A name or value that cannot be an input is an error of the developer, before anything is run."""
    executor = ProgrammaticToolExecutor([get_person], limits=Limits(result_bytes=1_000))
    with pytest.raises(ValueError, match=said):
        executor.execute(code, inputs=inputs)


def test_the_check_knows_the_names() -> None:
    """A name that is an input is no undefined name, and one that is none still is."""
    executor = ProgrammaticToolExecutor([get_person])
    assert executor.execute("print(v)", inputs={"v": 1}).status == "success"
    assert executor.execute("print(w)", inputs={"v": 1}).status != "success"


def test_the_tool_shows_what_there_is() -> None:
    """The description has name, type, size and beginning of each, and not the data."""
    (tool,) = as_programmatic(
        [get_person], inputs={"orders": FRAME, "text": "line one\nline two" * 1_000}
    )
    assert (
        "- `orders`: list[{'id': int, 'name': str}], 3 rows; begins [{\"id\": 1" in tool.description
    )
    assert "- `text`: str, 17,000 characters; begins line one\\nline two" in tool.description
    assert len(tool.description) < 4_000
    assert tool.invoke({"code": SUM}) == "6 Ada"


def test_the_tool_names_keys_of_the_state() -> None:
    """Keys of the state are named in the description, and read where the graph has them."""
    (tool,) = as_programmatic([get_person], inputs=["orders"])
    assert tool.description.endswith("- `orders`")
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": SUM}), "done"])
    agent = create_agent(model, [tool], state_schema=State)
    state = agent.invoke({"messages": [HumanMessage("Sum?")], "orders": ORDERS})
    assert state["messages"][-2].content == "6 Ada"


class State(AgentState[Any]):
    """The state of an agent that has orders."""

    orders: list[dict[str, Any]]


ORDERS = FRAME.to_dict("records")


def test_the_middleware_reads_the_state() -> None:
    """Keys of the agent's state are variables, and the model reads of those that are there."""
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": SUM}), "done"])
    ours = ProgrammaticToolCallingMiddleware(inputs=["orders", "missing"])
    agent = create_agent(model, [get_person], middleware=[ours], state_schema=State)
    state = agent.invoke({"messages": [HumanMessage("Sum?")], "orders": ORDERS})
    assert state["messages"][-2].content == "6 Ada"
    system = model.calls[0].messages[0].text
    assert "- `orders`: list[{'id': int, 'name': str}], 3 items" in system
    assert "missing" not in system


class NodeState(MessagesState):
    """The state of a graph that has orders."""

    orders: list[dict[str, Any]]


@pytest.mark.parametrize("protocol", ["tool", "text"])
def test_the_node_reads_the_state(protocol: Any) -> None:
    """Keys of the graph's state are variables, whether the model calls a tool or writes text."""
    reply: Any = f"```python\n{SUM}\n```"
    if protocol == "tool":
        reply = tool_call_message("run_code", {"code": SUM})
    model = ScriptedChatModel(script=[reply])
    node = ProgrammaticToolNode(model, [get_person], inputs=["orders"], protocol=protocol)
    graph = StateGraph(NodeState).add_node("node", node).add_edge(START, "node").compile()
    state = graph.invoke({"messages": [HumanMessage("Sum?")], "orders": ORDERS})
    assert state["messages"][-1].content == "6 Ada"
    assert "- `orders`: list[" in model.calls[0].messages[0].text


def test_inputs_are_there_after_a_pause() -> None:
    """A program that was interrupted finds its inputs when it is resumed."""
    code = "p = await get_person('Ada')\nprint(p['name'], orders[2]['name'])"
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": code}), "done"])
    ours = ProgrammaticToolCallingMiddleware(inputs=["orders"], interrupt_on={"get_person": True})
    agent = create_agent(
        model, [get_person], middleware=[ours], state_schema=State, checkpointer=InMemorySaver()
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage("Who?")], "orders": ORDERS}, config)
    state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert state["messages"][-2].content == "Ada Cyd"


def test_a_session_does_not_keep_them() -> None:
    """Inputs are not among the variables that a session keeps, and win over what the code bound to their names."""
    (tool,) = as_programmatic([get_person], inputs={"data": "x" * 100_000}, session="thread")
    codes = ["n = len(data)\ndata = 'mine'", "print(n, len(data))"]
    model = ScriptedChatModel(
        script=[*(tool_call_message("run_code", {"code": code}) for code in codes), "done"]
    )
    state = create_agent(model, [tool]).invoke({"messages": [HumanMessage("Go")]})
    last = [m for m in state["messages"] if isinstance(m, AIMessage) or m.type == "tool"][-2]
    assert last.content == "100000 100000"
    assert len(str(state)) < 300_000


def test_a_string_is_no_list_of_keys() -> None:
    """A key that is not in a list is an error, and not a list of its letters."""
    with pytest.raises(TypeError, match="a list of keys"):
        ProgrammaticToolCallingMiddleware(inputs="orders")
