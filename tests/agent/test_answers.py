"""Tools that return a `Command`: the graph does as it is told, once, and the code gets the value."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langchain_ptc import ProgrammaticToolNode, as_programmatic
from langchain_ptc.testing import ScriptedChatModel
from tests.support.hosts import REQUEST, message_of, output, run, writes


class State(MessagesState):
    log: Annotated[list[str], operator.add]
    topic: str


class LoggingAgentState(AgentState[Any]):
    log: Annotated[list[str], operator.add]
    topic: str


def done(call_id: str, content: str) -> ToolMessage:
    return ToolMessage(content, tool_call_id=call_id)


@tool
async def note(
    text: str, call_id: Annotated[str, InjectedToolCallId], seconds: float = 0.0
) -> Command[Any]:
    """Note something in the state, after a while."""
    await asyncio.sleep(seconds)
    return Command(update={"log": [text], "messages": [done(call_id, f"noted {text}")]})


@tool
def note_sync(text: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Note something in the state, and say something to everybody."""
    said = AIMessage(f"said {text}", id=f"said-{text}")
    return Command(update={"log": [text], "messages": [done(call_id, f"noted {text}"), said]})


@tool
def note_pairs(text: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Note something by a list of pairs."""
    return Command(update=[("log", [text]), ("messages", [done(call_id, f"noted {text}")])])


@tool
def go(where: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Go to another node."""
    return Command(goto=where, update={"messages": [done(call_id, f"went {where}")]})


@tool
def leave(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Hand over to a node of the graph around this one."""
    update = {"log": ["left"], "messages": [done(call_id, "left")]}
    return Command(graph=Command.PARENT, goto="other", update=update)


@tool
def ask(text: str) -> str:
    """Ask a person."""
    return str(interrupt(text))


TOOLS = [note, note_sync, note_pairs, go, leave, ask]


def as_agent(code: str, saver: Any = None) -> Any:
    return create_agent(
        writes(code), as_programmatic(TOOLS), state_schema=LoggingAgentState, checkpointer=saver
    )


def _graph(code: str) -> Any:
    graph = StateGraph(State)
    graph.add_node("after", lambda state: {"log": ["after"]})
    return graph


def as_tool_node(code: str, saver: Any = None) -> Any:
    graph = _graph(code)
    graph.add_node("model", lambda state: {"messages": [message_of(code)]})
    graph.add_node("run", ToolNode(as_programmatic(TOOLS)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "run")
    return graph.compile(checkpointer=saver)


def as_node(code: str, saver: Any = None) -> Any:
    graph = _graph(code)
    model = ScriptedChatModel(script=[message_of(code)])
    graph.add_node("run", ProgrammaticToolNode(model, TOOLS))
    graph.add_edge(START, "run")
    return graph.compile(checkpointer=saver)


HOSTS = {"agent": as_agent, "tool-node": as_tool_node, "node": as_node}
hosts = pytest.mark.parametrize("build", HOSTS.values(), ids=HOSTS)
savers = pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


def tool_messages(state: Any) -> list[str]:
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


@hosts
@savers
@both
async def test_updates_reach_the_state_and_values_the_code(build, durable, sync):
    """The keys of the state are updated; the message of the inner call is the code's value only."""
    code = """\
print(await note("a"), await note_sync("b"), await note_pairs("c"))
"""
    state = await run(build(code, InMemorySaver() if durable else None), REQUEST, sync=sync)
    assert state["log"] == ["a", "b", "c"]
    assert tool_messages(state) == ["noted a noted b noted c"]
    assert [m.text for m in state["messages"] if m.id == "said-b"] == ["said b"]


@hosts
@savers
async def test_commands_come_in_the_order_of_the_calls(build, durable):
    """Whichever call ends first, the state is updated in the order in which the code made them."""
    code = """\
import asyncio
print(await asyncio.gather(*(note(f"{n}", seconds=0.05 - n / 100) for n in range(5))))
"""
    state = await run(build(code, InMemorySaver() if durable else None), REQUEST)
    assert state["log"] == ["0", "1", "2", "3", "4"]
    assert output(state) == str([f"noted {n}" for n in range(5)])


@pytest.mark.parametrize("build", [as_tool_node, as_node], ids=["tool-node", "node"])
@savers
async def test_goto(build, durable):
    """A tool may send the graph to another node."""
    code = 'print(await go("after"))'
    state = await run(build(code, InMemorySaver() if durable else None), REQUEST)
    assert state["log"] == ["after"]
    assert tool_messages(state) == ["went after"]


@hosts
@savers
async def test_a_command_for_the_parent_graph(build, durable):
    """A tool may hand over to the graph around: its update goes there, and its node is next."""
    outer = StateGraph(State)
    outer.add_node("inner", build("print(await leave())"))
    outer.add_node("other", lambda state: {"log": ["other"]})
    outer.add_edge(START, "inner")
    graph = outer.compile(checkpointer=InMemorySaver() if durable else None)
    state = await run(graph, REQUEST)
    assert state["log"] == ["left", "other"]


@hosts
@both
async def test_a_command_is_applied_once(build, sync):
    """A command from before a pause is kept in the journal, and applied when the code has ended."""
    code = 'print(await note("a"), await ask("?"), await note("b"))'
    graph = build(code, InMemorySaver())
    state = await run(graph, REQUEST, sync=sync)
    assert not state.get("log")
    state = await run(graph, Command(resume="yes"), sync=sync)
    assert state["log"] == ["a", "b"]
    assert tool_messages(state) == ["noted a yes noted b"]


@hosts
@savers
async def test_commands_of_code_that_fails_are_applied(build, durable):
    """What a tool has done to the graph is not undone by an error that follows it in the code."""
    code = 'await note("a")\nraise ValueError("too late")'
    state = await run(build(code, InMemorySaver() if durable else None), REQUEST)
    assert state["log"] == ["a"]
    assert "ValueError: too late" in output(state)


async def test_a_list_of_commands_and_a_message():
    """A tool may return several commands and the message that is its value."""

    @tool
    def two(call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Do two things."""
        return [
            Command(update={"log": ["x"]}),
            Command(update={"topic": "y"}),
            done(call_id, "both"),
        ]

    agent = create_agent(
        writes("print(await two())"), as_programmatic([two]), state_schema=LoggingAgentState
    )
    state = await run(agent, {"messages": [HumanMessage("go")]})
    assert (state["log"], state["topic"], output(state)) == (["x"], "y", "both")
