"""`return_direct=True`: what a program printed is the answer of the agent, and what failed goes back to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command

from langchain_ptc import ProgrammaticToolCallingMiddleware, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.team_tools import get_person

GOOD = "print((await get_person('Ada'))['name'])"
Agent = Any


@tool
def look_up(word: str) -> str:
    """Look up a word."""
    return word


class Before(AgentMiddleware[Any, Any, Any]):
    """Counts the model's turns before they begin."""

    def __init__(self, label: str, seen: list[str]) -> None:
        self.label, self.seen = label, seen

    @property
    def name(self) -> str:
        return self.label

    def before_model(self, state: Any, runtime: Any) -> None:
        self.seen.append(self.label)


def by_tool(model: ScriptedChatModel) -> Agent:
    return create_agent(model, as_programmatic([get_person], return_direct=True))


def by_tool_beside(model: ScriptedChatModel) -> Agent:
    return create_agent(model, [*as_programmatic([get_person], return_direct=True), look_up])


def by_middleware(model: ScriptedChatModel) -> Agent:
    ours = ProgrammaticToolCallingMiddleware(return_direct=True)
    return create_agent(model, [get_person], middleware=[ours])


def by_middleware_among_others(model: ScriptedChatModel) -> Agent:
    ours = ProgrammaticToolCallingMiddleware(return_direct=True)
    others = [Before("z", []), Before("a", [])]
    return create_agent(model, [get_person], middleware=[others[0], ours, others[1]])


def by_react_agent(model: ScriptedChatModel) -> Agent:
    return create_react_agent(model, as_programmatic([get_person], return_direct=True))


def by_react_agent_with_hook(model: ScriptedChatModel) -> Agent:
    tools = as_programmatic([get_person], return_direct=True)
    return create_react_agent(model, tools, pre_model_hook=lambda state: {})


BUILDS = [
    by_tool,
    by_tool_beside,
    by_middleware,
    by_middleware_among_others,
    by_react_agent,
    by_react_agent_with_hook,
]
each_agent = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent")


def run(build: Callable[[ScriptedChatModel], Agent], *replies: AIMessage) -> tuple[list[Any], int]:
    model = ScriptedChatModel(script=list(replies))
    state = build(model).invoke({"messages": [HumanMessage("Who?")]})
    return state["messages"], len(model.calls)


def program(code: str) -> AIMessage:
    return tool_call_message("run_code", {"code": code})


@each_agent
def test_a_program_that_printed_is_the_answer(build: Callable[..., Agent]) -> None:
    """The agent ends with what the program printed, and the model is asked once."""
    messages, asked = run(build, program(GOOD))
    assert asked == 1
    assert isinstance(messages[-1], ToolMessage)
    assert messages[-1].content == "Ada"
    assert messages[-1].status == "success"


NO_ANSWERS = {
    "raises": "1 / 0",
    "is refused": "import os",
    "prints nothing": "x = 1",
    "prints too much": "print('x' * 200_000)",
    "has notes": f"x = get_person('Bob')\n{GOOD}",
}


@each_agent
@pytest.mark.parametrize("code", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_a_program_that_is_no_answer_goes_back(build: Callable[..., Agent], code: str) -> None:
    """A program whose report is for the model goes back to it, and its next program can be the answer."""
    messages, asked = run(build, program(code), program(GOOD))
    assert asked == 2
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai", "tool"]
    assert messages[-1].content == "Ada"


def test_all_hooks_of_the_next_turn_run() -> None:
    """What goes back to the model does so by each hook that comes before it, in their order."""
    seen: list[str] = []
    ours = ProgrammaticToolCallingMiddleware(return_direct=True)
    model = ScriptedChatModel(script=[program("1 / 0"), program(GOOD)])
    agent = create_agent(
        model, [get_person], middleware=[Before("z", seen), ours, Before("a", seen)]
    )
    agent.invoke({"messages": [HumanMessage("Who?")]})
    assert seen == ["z", "a", "z", "a"]


@each_agent
def test_one_of_two_programs_fails(build: Callable[..., Agent]) -> None:
    """The model sees both reports where one of two programs of a message failed."""
    both = AIMessage(
        "", tool_calls=[*program(GOOD).tool_calls, *program("print(1); 1 / 0").tool_calls]
    )
    messages, asked = run(build, both, AIMessage("Ada, and a failure."))
    assert asked == 2
    assert messages[-1].content == "Ada, and a failure."


def test_an_approved_call_ends_the_agent() -> None:
    """A program that was interrupted for a person's answer is the answer of the agent once it has ended."""
    tools = as_programmatic([get_person], interrupt_on={"get_person": True}, return_direct=True)
    model = ScriptedChatModel(script=[program(GOOD)])
    agent = create_agent(model, tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage("Who?")]}, config)
    state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert state["messages"][-1].content == "Ada"
    assert len(model.calls) == 1


def test_a_session_keeps_its_variables() -> None:
    """With a session, a program that failed leaves its variables to the next, whose output is the answer."""
    tools = as_programmatic([get_person], session="thread", return_direct=True)
    first = "name = (await get_person('Ada'))['name']\n1 / 0"
    model = ScriptedChatModel(script=[program(first), program("print(name)")])
    state = create_agent(model, tools).invoke({"messages": [HumanMessage("Who?")]})
    assert state["messages"][-1].content == "Ada"


async def test_outside_an_agent_it_is_a_plain_tool() -> None:
    """A graph of the user's own decides by its edges: a failed program adds its message and nothing else."""
    tools = as_programmatic([get_person], return_direct=True)
    graph = StateGraph(MessagesState).add_node("tool_calls", ToolNode(tools))
    graph.add_edge(START, "tool_calls")
    state = await graph.compile().ainvoke({"messages": [program("1 / 0")]})
    assert [m.type for m in state["messages"]] == ["ai", "tool"]
    (alone,) = tools
    assert (await alone.ainvoke(program("1 / 0").tool_calls[0])).status == "error"
