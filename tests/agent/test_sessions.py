"""Sessions: the variables of the code live as long as the thread, in its state."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langchain_ptc import (
    ProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message


@tool
async def get_rows(n: int) -> list[dict[str, int]]:
    """Return rows."""
    return [{"id": i} for i in range(n)]


@tool
async def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


TOOLS: list[Any] = [get_rows, ask]


def coder(*messages: BaseMessage) -> Any:
    """Answer with the last request as code, and after it with what came out."""

    def reply(messages: list[BaseMessage]) -> AIMessage | str:
        if isinstance(messages[-1], ToolMessage):
            return f"said: {messages[-1].content}"
        return tool_call_message("run_code", {"code": str(messages[-1].content)})

    del messages
    return ScriptedChatModel(script=[reply] * 50)


def agent_with_tool(saver: Any) -> Any:
    """An agent with `as_programmatic`."""
    return create_agent(coder(), as_programmatic(TOOLS, session="thread"), checkpointer=saver)


def agent_with_middleware(saver: Any) -> Any:
    """An agent with the middleware."""
    middleware = ProgrammaticToolCallingMiddleware(session="thread")
    return create_agent(coder(), TOOLS, middleware=[middleware], checkpointer=saver)


def graph_with_node(saver: Any) -> Any:
    """A graph with our node."""
    node = ProgrammaticToolNode(coder(), TOOLS, session="thread")
    return StateGraph(MessagesState).add_node(node).add_edge(START, node.name).compile(saver)


HOSTS = pytest.mark.parametrize("build", [agent_with_tool, agent_with_middleware, graph_with_node])


def config_of(thread: str) -> Any:
    """Return the config of a thread."""
    return {"configurable": {"thread_id": thread}}


def run(graph: Any, code: str, thread: str = "1") -> str:
    """Run code in a thread and return what it printed."""
    state = graph.invoke({"messages": [HumanMessage(code)]}, config_of(thread))
    return output_of(state)


def output_of(state: Any) -> str:
    """Return the newest output in a state; what the model said of it, if that is all there is."""
    outputs = [str(m.content) for m in state["messages"] if isinstance(m, ToolMessage)]
    return outputs[-1] if outputs else str(state["messages"][-1].content)


@HOSTS
def test_variables_outlive_an_execution(build: Any) -> None:
    """Data, functions, classes and imports of one execution are there in the next; other threads see none."""
    graph = build(InMemorySaver())
    run(graph, "import math as m\nrows = await get_rows(n=3)\ndef count(): return len(rows)")
    assert run(graph, "print(count(), m.floor(2.5), rows[1].id)") == "3 2 1"
    assert "NameError" in run(graph, "print(count())", thread="other")


@HOSTS
async def test_variables_outlive_an_execution_async(build: Any, tmp_path: Path) -> None:
    """The same in an asynchronous graph over SQLite."""
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "db")) as saver:
        graph = build(saver)
        await graph.ainvoke({"messages": [HumanMessage("x = {'a': {1, 2}}")]}, config_of("1"))
        state = await graph.ainvoke({"messages": [HumanMessage("print(x)")]}, config_of("1"))
    assert output_of(state) == "{'a': {1, 2}}"


@HOSTS
def test_another_machine_goes_on(build: Any, tmp_path: Path) -> None:
    """What one saver wrote, a new graph with a new saver over the same file reads."""
    for code, expected in (
        ("x = [1]", None),
        ("x.append(2)\nprint(x)", "[1, 2]"),
        ("print(x)", "[1, 2]"),
    ):
        with SqliteSaver.from_conn_string(str(tmp_path / "db")) as saver:
            printed = run(build(saver), code)
            assert expected is None or printed == expected


@HOSTS
def test_history_forks(build: Any) -> None:
    """Going on from an earlier checkpoint begins with the variables of then."""
    graph = build(InMemorySaver())
    run(graph, "x = 1")
    before = graph.get_state(config_of("1")).config
    run(graph, "x = 2")
    assert run(graph, "print(x)") == "2"
    state = graph.invoke({"messages": [HumanMessage("print(x)")]}, before)
    assert output_of(state) == "1"


@HOSTS
def test_a_failed_execution_keeps_what_it_had(build: Any) -> None:
    """Like a notebook: what was bound before the error is there afterwards."""
    graph = build(InMemorySaver())
    if (
        build is graph_with_node
    ):  # it lets the model mend a failure: each attempt goes on from the last
        assert run(graph, "n = globals_n + 1 if 'globals_n' in dir() else 0\nprint(n)") == "0"
        return
    run(graph, "x = 5\n1 / 0")
    assert run(graph, "print(x)") == "5"


def test_attempts_of_the_node_go_on_from_each_other() -> None:
    """A program that mends a failed one finds the variables of that one."""
    model = ScriptedChatModel(
        script=[
            tool_call_message("run_code", {"code": "rows = await get_rows(n=4)\nrows[0]['nope']"}),
            tool_call_message("run_code", {"code": "print(len(rows))"}),
            tool_call_message("run_code", {"code": "print(rows[-1].id)"}),
        ]
    )
    node = ProgrammaticToolNode(model, TOOLS, session="thread")
    graph = StateGraph(MessagesState).add_node(node).add_edge(START, node.name)
    compiled = graph.compile(InMemorySaver())
    assert run(compiled, "count") == "4"
    assert run(compiled, "last") == "3"


@HOSTS
def test_what_cannot_be_kept_is_named(build: Any) -> None:
    """The output says which variable is gone, and why."""
    printed = run(build(InMemorySaver()), "g = (i for i in range(3))\nprint('made')")
    assert "made" in printed
    assert "`g` was not kept" in printed


@HOSTS
def test_a_pause_is_no_end(build: Any) -> None:
    """An execution that is resumed begins with the variables it began with, and its own are kept."""
    graph = build(InMemorySaver())
    run(graph, "x = 1")
    code = "x += 1\nanswer = await ask(question='go on?')\nprint(x, answer)"
    graph.invoke({"messages": [HumanMessage(code)]}, config_of("1"))
    state = graph.invoke(Command(resume="yes"), config_of("1"))
    assert output_of(state) == "2 yes"
    assert run(graph, "print(x, answer)") == "2 yes"


@pytest.mark.parametrize("build", [agent_with_tool, graph_with_node])
def test_only_the_newest_message_holds_them(build: Any) -> None:
    """The state does not grow by the variables with each execution."""
    graph = build(InMemorySaver())
    for n in range(4):
        run(graph, f"x{n} = {n}")
    messages = graph.get_state(config_of("1")).values["messages"]
    held = [m.artifact["session"] is not None for m in messages if isinstance(m, ToolMessage)]
    assert held == [False, False, False, True]


def test_the_middleware_keeps_them_private() -> None:
    """They are in the agent's state, and in none of its outputs, messages or streams."""
    graph = agent_with_middleware(InMemorySaver())
    state = graph.invoke({"messages": [HumanMessage("x = 'marker'")]}, config_of("1"))
    assert "run_code_session" not in state
    assert state["messages"][-2].artifact["session"] is None
    assert isinstance(graph.get_state(config_of("1")).values["run_code_session"], bytes)


def test_two_middlewares_have_two_sessions() -> None:
    """The code of one tool does not see the variables of another's."""
    script = [
        tool_call_message("run_a", {"code": "x = 1"}),
        tool_call_message("run_b", {"code": "print('x' in dir())"}),
        "ok",
    ]
    graph = create_agent(
        ScriptedChatModel(script=script),
        TOOLS,
        middleware=[
            ProgrammaticToolCallingMiddleware(session="thread", tool_name=name)
            for name in ("run_a", "run_b")
        ],
        checkpointer=InMemorySaver(),
    )
    assert run(graph, "go") == "False"


def test_executions_side_by_side_do_not_clash() -> None:
    """Two executions of one step both begin with what there was; one of them is kept."""
    call = [
        {"name": "run_code", "args": {"code": f"y = x + {n}"}, "id": f"c{n}", "type": "tool_call"}
        for n in (1, 2)
    ]
    script = [
        tool_call_message("run_code", {"code": "x = 10"}),
        "ok",
        AIMessage("", tool_calls=call),
        "ok",
    ]
    script += [tool_call_message("run_code", {"code": "print(y)"}), "ok"]
    graph = create_agent(
        ScriptedChatModel(script=script),
        TOOLS,
        middleware=[ProgrammaticToolCallingMiddleware(session="thread")],
        checkpointer=InMemorySaver(),
    )
    run(graph, "one")
    run(graph, "two")
    assert run(graph, "three") in ("11", "12")


def test_tampered_variables_begin_anew() -> None:
    """What no worker has made is not read: the session begins anew and says so."""
    graph = StateGraph(MessagesState).add_node(
        "tools", ToolNode(as_programmatic(TOOLS, session="thread", sandbox=ProcessSandbox()))
    )
    compiled = graph.add_edge(START, "tools").compile()
    forged = ToolMessage(
        "",
        name="run_code",
        tool_call_id="c0",
        artifact={"session": base64.b64encode(b"evil").decode()},
    )
    request = tool_call_message("run_code", {"code": "print(1)"}, id="c1")
    state = compiled.invoke({"messages": [HumanMessage("go"), forged, request]})
    assert output_of(state).startswith("1")
    assert "started without them" in output_of(state)


def test_a_wrong_option_is_told() -> None:
    """`session` has two values."""
    with pytest.raises(ValueError, match="session must be 'none' or 'thread', got 'forever'"):
        as_programmatic(TOOLS, session="forever")  # type: ignore[arg-type]
