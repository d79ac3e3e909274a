"""An answer reaches the call whose question it answers, or nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import ValidationError

from langchain_ptc import ProgrammaticToolCallingMiddleware, ToolPolicy, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG: Any = {"configurable": {"thread_id": "1"}}
START: Any = {"messages": [("user", "go")]}
APPROVE = {"type": "approve"}
DONE: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DONE.clear()


@tool
def pay(invoice: str, eur: int = 0) -> str:
    """Pay."""
    DONE.append(("pay", invoice, eur))
    return "paid"


@tool
def refund(invoice: str) -> str:
    """Refund."""
    DONE.append(("refund", invoice))
    return "refunded"


def agent(code: str, **options: Any) -> Any:
    script = [tool_call_message("run_code", {"code": code}), "end"]
    return create_agent(
        ScriptedChatModel(script=script),
        as_programmatic([pay, refund], **options),
        checkpointer=InMemorySaver(),
    )


def answer(mode: str, decision: dict[str, Any]) -> Any:
    return Command(resume=decision if mode == "per_call" else {"decisions": [decision]})


# --- direct calls of one task ------------------------------------------------------------------------


def direct_graph(first: list[str]) -> Any:
    """Build a ToolNode with two gated direct calls; in the n-th run, `first[n]` begins first."""
    both = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)
    middleware = ProgrammaticToolCallingMiddleware(
        policies={"pay": both}, interrupt_mode="per_call"
    )
    run = {"number": -1, "begun": threading.Event()}

    def begin(state: Any) -> Any:
        calls = [{"name": "pay", "args": {"invoice": x}, "id": f"d{x}"} for x in "ab"]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    def wrap(request: Any, handler: Any) -> Any:
        leads = request.tool_call["args"]["invoice"] == first[run["number"]]
        if not leads:
            run["begun"].wait(0.3)  # the other one has asked, been answered or paused by then
        try:
            return middleware.wrap_tool_call(request, handler)
        finally:
            if leads:
                run["begun"].set()

    graph = StateGraph(MessagesState)
    graph.add_node("model", begin)
    graph.add_node("tools", ToolNode([pay, *middleware.tools], wrap_tool_call=wrap))
    graph.add_edge("__start__", "model")
    graph.add_edge("model", "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())

    def step(given: Any) -> Any:
        run["number"] += 1
        run["begun"] = threading.Event()
        return compiled.invoke(given, CONFIG)

    return step


@pytest.mark.parametrize("order", ["abbb", "baaa", "abab", "baba", "aaaa", "bbbb"])
def test_direct_calls_answer_to_the_wrong_call(order: str) -> None:
    """An approved direct call is made once and a rejected one never, whichever begins first."""
    step = direct_graph(list(order) + ["a"] * 4)
    state = step(START)
    for _ in range(6):
        questions = state.get("__interrupt__", [])
        if not questions:
            break
        decide = {
            q.id: APPROVE if q.value["args"]["invoice"] == "b" else {"type": "reject"}
            for q in questions
        }
        state = step(Command(resume=decide))
    assert not state.get("__interrupt__")
    assert DONE == [("pay", "b", 0)]
    told = {m.tool_call_id: m.status for m in state["messages"] if m.type == "tool"}
    assert told == {"da": "error", "db": "success"}


@pytest.mark.parametrize("order", ["abbb", "baaa", "abab", "baba"])
async def test_asynchronous_direct_calls_get_their_own_answers(order: str) -> None:
    """The same where the calls are tasks of one event loop."""
    both = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)
    middleware = ProgrammaticToolCallingMiddleware(
        policies={"pay": both}, interrupt_mode="per_call"
    )
    runs = iter(order + "aaaa")
    first = ""

    async def wrap(request: Any, handler: Any) -> Any:
        for _ in range(0 if request.tool_call["args"]["invoice"] == first else 50):
            await asyncio.sleep(0)
        return await middleware.awrap_tool_call(request, handler)

    def begin(state: Any) -> Any:
        calls = [{"name": "pay", "args": {"invoice": x}, "id": f"d{x}"} for x in "ab"]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", begin)
    graph.add_node("tools", ToolNode([pay, *middleware.tools], awrap_tool_call=wrap))
    graph.add_edge("__start__", "model")
    graph.add_edge("model", "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    given = START
    for _ in range(7):
        first = next(runs)
        state = await compiled.ainvoke(given, CONFIG)
        questions = state.get("__interrupt__", [])
        if not questions:
            break
        given = Command(
            resume={
                q.id: APPROVE if q.value["args"]["invoice"] == "b" else {"type": "reject"}
                for q in questions
            }
        )
    assert not questions
    assert DONE == [("pay", "b", 0)]


@pytest.mark.parametrize("same", [False, True], ids=["other-arguments", "same-arguments"])
def test_direct_calls_with_one_id(same: bool) -> None:
    """A model that gives two calls of a message one id: each answer is still that of its own call."""
    both = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)
    middleware = ProgrammaticToolCallingMiddleware(
        policies={"pay": both}, interrupt_mode="per_call"
    )

    def begin(state: Any) -> Any:
        keys = "aa" if same else "ab"
        calls = [{"name": "pay", "args": {"invoice": x}, "id": "d"} for x in keys]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", begin)
    node = ToolNode([pay, *middleware.tools], wrap_tool_call=middleware.wrap_tool_call)
    graph.add_node("tools", node)
    graph.add_edge("__start__", "model")
    graph.add_edge("model", "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    state = compiled.invoke(START, CONFIG)
    for _ in range(6):
        questions = state.get("__interrupt__", [])
        if not questions:
            break
        decide = {
            q.id: APPROVE if q.value["args"]["invoice"] == "b" else {"type": "reject"}
            for q in questions
        }
        state = compiled.invoke(Command(resume=decide), CONFIG)
    assert not state.get("__interrupt__")
    assert ([] if same else [("pay", "b", 0)]) == DONE


# --- questions that nobody was shown -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_answer_to_a_question_never_shown(mode: Any) -> None:
    """Code that replaces another while a question waits is asked about, and its answer is its own."""
    graph = agent("print(await pay('i', 9))", interrupt_on={"pay": True}, interrupt_mode=mode)
    state = graph.invoke(START, CONFIG)
    asked = next(m for m in state["messages"] if m.type == "ai")
    evil = {"name": "run_code", "args": {"code": "print(await pay('evil', 900))"}, "id": "c1"}
    replaced = {"messages": [AIMessage("", id=asked.id, tool_calls=[evil])]}
    graph.update_state(CONFIG, replaced, as_node="model")
    state = graph.invoke(answer(mode, APPROVE), CONFIG)
    assert DONE == []
    [question] = state["__interrupt__"]
    assert "900" in str(question.value)
    # A wrong answer changes nothing, and the next one is that of the new question.
    with pytest.raises(ValidationError):
        graph.invoke(answer(mode, {"type": "perhaps"}), CONFIG)
    state = graph.invoke(answer(mode, {"type": "reject", "message": "no"}), CONFIG)
    assert DONE == []
    assert "rejected pay(): no" in state["messages"][2].text


def test_a_replaced_program_can_be_approved() -> None:
    """The question of the new program is answered as any other."""
    graph = agent("print(await pay('i', 9))", interrupt_on={"pay": True})
    state = graph.invoke(START, CONFIG)
    asked = next(m for m in state["messages"] if m.type == "ai")
    code = "print(await pay('x', 1))\nprint(await pay('y', 2))"
    call = {"name": "run_code", "args": {"code": code}, "id": "c1"}
    replaced = {"messages": [AIMessage("", id=asked.id, tool_calls=[call])]}
    graph.update_state(CONFIG, replaced, as_node="model")
    for _ in range(3):  # dropped, x, y
        assert DONE in ([], [("pay", "x", 1)])
        state = graph.invoke(answer("batched", APPROVE), CONFIG)
    assert "__interrupt__" not in state
    assert DONE == [("pay", "x", 1), ("pay", "y", 2)]


def test_a_replaced_direct_call_is_asked_about() -> None:
    """The same holds for a call that the model makes itself."""
    both = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)
    graph = create_agent(
        ScriptedChatModel(script=[tool_call_message("pay", {"invoice": "i"}, id="c1"), "end"]),
        [pay],
        middleware=[ProgrammaticToolCallingMiddleware(policies={"pay": both})],
        checkpointer=InMemorySaver(),
    )
    state = graph.invoke(START, CONFIG)
    asked = next(m for m in state["messages"] if m.type == "ai")
    evil = {"name": "pay", "args": {"invoice": "evil"}, "id": "c1"}
    replaced = {"messages": [AIMessage("", id=asked.id, tool_calls=[evil])]}
    graph.update_state(CONFIG, replaced, as_node="model")
    state = graph.invoke(answer("batched", APPROVE), CONFIG)
    assert DONE == []
    [question] = state["__interrupt__"]
    assert "evil" in str(question.value)
    graph.invoke(answer("batched", APPROVE), CONFIG)
    assert DONE == [("pay", "evil", 0)]


# --- edits, and wrong answers ------------------------------------------------------------------------


def edit(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "edit", "edited_action": {"name": name, "args": args}}


@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(
    "wrong",
    [
        edit("pay", invoice="i", eur="many"),
        edit("pay", eur=1),
        edit("pay", invoice="i", euro=1),
        edit("refund"),
        edit("refund", invoice=["i"]),
        edit("no_such", invoice="i"),
        {"type": "edit"},
        {"type": "respond"},
        {"type": "reject", "why": "x"},
        {"decision": "approve"},
    ],
    ids=str,
)
def test_a_wrong_decision_is_an_error_to_whoever_answered(mode: Any, wrong: Any) -> None:
    """It leaves the question open, makes no call, and is told as pending and not as an end."""
    events: list[Any] = []
    graph = agent(
        "print(await pay('i', 9))",
        interrupt_on={"pay": True},
        interrupt_mode=mode,
        on_event=events.append,
    )
    [question] = graph.invoke(START, CONFIG)["__interrupt__"]
    events.clear()
    with pytest.raises(ValidationError):
        graph.invoke(answer(mode, wrong), CONFIG)
    assert [(e["event"], e.get("status")) for e in events] == [
        ("execution_start", None),
        ("execution_pause", "pending"),
    ]
    assert [q.id for q in graph.get_state(CONFIG).interrupts] == [question.id]
    assert DONE == []
    graph.invoke(answer(mode, APPROVE), CONFIG)
    assert DONE == [("pay", "i", 9)]


def test_a_call_is_edited_into_one_of_another_tool() -> None:
    """As LangChain allows where one question stands for many calls; the record says what ran."""
    graph = agent("print(await pay('i', 9))", interrupt_on={"pay": True})
    graph.invoke(START, CONFIG)
    state = graph.invoke(answer("batched", edit("refund", invoice="i")), CONFIG)
    assert DONE == [("refund", "i")]
    [call] = state["messages"][2].artifact["tool_calls"]
    told = call["tool"], call["approval"], call["arguments"]
    assert told == ("refund", "edit", {"invoice": "i"})
    assert state["messages"][2].text.startswith("refunded")


def test_one_question_for_each_call_keeps_the_tool() -> None:
    """As LangChain's `per_call` does."""
    graph = agent("print(await pay('i', 9))", interrupt_on={"pay": True}, interrupt_mode="per_call")
    graph.invoke(START, CONFIG)
    with pytest.raises(ValidationError, match="Input should be 'pay'"):
        graph.invoke(answer("per_call", edit("refund", invoice="i")), CONFIG)
    assert DONE == []


def test_an_edit_into_another_tool_counts_among_its_calls() -> None:
    """The limit of the tool that is called holds."""
    graph = agent(
        "await refund('a')\nprint(await pay('i', 9))",
        interrupt_on={"pay": True},
        policies={"refund": ToolPolicy(max_calls=1)},
    )
    graph.invoke(START, CONFIG)
    state = graph.invoke(answer("batched", edit("refund", invoice="i")), CONFIG)
    assert DONE == [("refund", "a")]
    assert "refund may be called at most 1 time" in state["messages"][2].text


def test_a_direct_call_is_edited_into_one_of_another_tool() -> None:
    """The same holds for a call that the model makes itself."""
    both = ToolPolicy(allowed_callers=("code", "direct"), requires_approval=True)
    graph = create_agent(
        ScriptedChatModel(script=[tool_call_message("pay", {"invoice": "i"}, id="c1"), "end"]),
        [pay, refund],
        middleware=[ProgrammaticToolCallingMiddleware(policies={"pay": both})],
        checkpointer=InMemorySaver(),
    )
    graph.invoke(START, CONFIG)
    with pytest.raises(ValidationError):
        graph.invoke(answer("batched", edit("refund")), CONFIG)
    graph.invoke(answer("batched", edit("refund", invoice="i")), CONFIG)
    assert DONE == [("refund", "i")]
