"""Sessions and the ids of calls where the history of a thread is not the plain one.

Messages are summarized, trimmed or kept under another key; servers repeat the ids of tool calls.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, SummarizationMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_ptc import (
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.agent import answers as sessions
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import CONFIG, HOSTS, call_of, open_saver, plain, run, state_of

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


class KeepLast(AgentMiddleware):
    """Removes every message before the newest one of the user."""

    def before_model(self, state: Any, runtime: Any) -> Any:
        if state["messages"][-1].type != "human":
            return None
        return {"messages": [RemoveMessage(id=m.id) for m in state["messages"][:-1]]}


class RemoveAll(AgentMiddleware):
    """Replaces the whole conversation by its newest message."""

    def before_model(self, state: Any, runtime: Any) -> Any:
        if state["messages"][-1].type != "human":
            return None
        last = HumanMessage(state["messages"][-1].text)
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), last]}


def summary() -> Any:
    """LangChain's own summaries, of all but the last message."""
    model = ScriptedChatModel(script=lambda messages: "The orders were fetched into `orders`.")
    return SummarizationMiddleware(model, trigger=("messages", 5), keep=("messages", 1))


def coder(*, call_id: str | None = None) -> ScriptedChatModel:
    """A model that runs each request as code; all its calls may have one id."""
    numbers = itertools.count(1)

    def reply(messages: list[BaseMessage]) -> AIMessage | str:
        if messages[-1].type == "tool":
            return "ok"
        code = {"code": messages[-1].text}
        return tool_call_message("run_code", code, id=call_id or f"call_{next(numbers)}")

    return ScriptedChatModel(script=reply)


def build(way: str, saver: Any, *middleware: Any, call_id: str | None = None) -> Any:
    """An agent with a session."""
    model = coder(call_id=call_id)
    if way == "tool":
        tools = as_programmatic([], session="thread")
        return create_agent(model, tools, middleware=middleware, checkpointer=saver)
    ours = ProgrammaticToolCallingMiddleware(tools=lambda t: True, session="thread")
    return create_agent(model, [], middleware=[ours, *middleware], checkpointer=saver)


def said(text: str) -> Any:
    return {"messages": [HumanMessage(text)]}


def printed(state: Any, key: str = "messages") -> str:
    """Return what the last code printed."""
    return [m for m in state[key] if m.type == "tool"][-1].text.strip()


# --- summaries and trimming -------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("shorten", [summary, KeepLast, RemoveAll])
@pytest.mark.parametrize("way", ["tool", "middleware"])
async def test_session_lost_by_summary(way, shorten, kind, sync, tmp_path: Path):
    """Variables outlive the messages of the code that made them."""
    async with open_saver(kind, tmp_path, sync=sync) as saver:
        agent = build(way, saver, shorten())
        for code in ("orders = [1, 2, 3]\nprint(len(orders))", "print('b')", "print(sum(orders))"):
            state = await run(agent, said(code), sync=sync)
        assert printed(state) == "6"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_session_outlives_many_turns_without_code(durability):
    """The variables are found however far back the code was, and whatever LangGraph keeps of it."""
    reply = coder().script
    model = ScriptedChatModel(
        script=lambda messages: "hello" if messages[-1].text == "hi" else reply(messages)  # type: ignore[operator]
    )
    tools = as_programmatic([], session="thread")
    agent = create_agent(model, tools, middleware=[KeepLast()], checkpointer=InMemorySaver())
    agent.invoke(said("x = 41"), CONFIG, durability=durability)
    for _ in range(10):
        agent.invoke(said("hi"), CONFIG, durability=durability)
    state = agent.invoke(said("print(x + 1)"), CONFIG, durability=durability)
    assert printed(state) == "42"


def test_a_rewound_thread_has_the_variables_of_its_own_branch():
    """Trimmed variables are looked up among the ancestors of a step, not in another branch."""
    agent = build("tool", InMemorySaver(), KeepLast())
    agent.invoke(said("x = 'first'"), CONFIG)
    before = agent.get_state(CONFIG).config
    agent.invoke(said("x = 'second'"), CONFIG)
    assert printed(agent.invoke(said("print(x)"), before)) == "first"


def test_a_new_thread_has_no_variables():
    """Threads of one checkpointer do not see each other's variables."""
    agent = build("tool", InMemorySaver(), KeepLast())
    agent.invoke(said("x = 1"), CONFIG)
    state = agent.invoke(said("print(x)"), {"configurable": {"thread_id": "other"}})
    assert "NameError" in printed(state)


@pytest.mark.parametrize("way", ["tool", "middleware"])
def test_the_model_is_told_where_variables_are_gone(way):
    """Without a checkpointer trimmed variables are lost, and the code that misses them hears of it."""
    state = build(way, None).invoke(said("print(orders)"))
    assert "began without variables" in printed(state)
    assert "variables" not in printed(build(way, None).invoke(said("1 / 0")))


def test_the_search_has_a_bound(monkeypatch):
    """A thread of any length costs a bounded number of reads."""
    reads = []

    class Saver(InMemorySaver):
        def get_tuple(self, config: Any) -> Any:
            reads.append(config)
            return super().get_tuple(config)

    monkeypatch.setattr(sessions, "MAX_CHECKPOINTS", 5)
    chatty = ScriptedChatModel(script=["hello"] * 10)
    tools, saver = as_programmatic([], session="thread"), Saver()
    for _ in range(10):
        create_agent(chatty, tools, checkpointer=saver).invoke(said("hi"), CONFIG)
    reads.clear()
    assert printed(build("tool", saver).invoke(said("print(1)"), CONFIG)) == "1"
    assert len(reads) < 15 < len(list(saver.list(CONFIG)))


# --- other keys of the state ------------------------------------------------------------------------


@both
@pytest.mark.parametrize("key", ["messages", "chat"])
async def test_session_with_messages_key(key, sync):
    """The node keeps the variables whatever its messages are called."""
    schema: Any = TypedDict("State", {key: Annotated[list, add_messages]})  # type: ignore[misc]
    model = ScriptedChatModel(script=[f"```python\n{c}\n```" for c in ("x = 41", "print(x + 1)")])
    graph = StateGraph(schema)
    graph.add_node("code", ProgrammaticToolNode(model, [], session="thread", messages_key=key))
    graph.add_edge(START, "code")
    app = graph.compile(checkpointer=InMemorySaver())
    await run(app, {key: [HumanMessage("a")]}, sync=sync)
    state = await run(app, {key: [HumanMessage("b")]}, sync=sync)
    assert printed(state, key) == "42"
    kept = [sessions.session_of(m) for m in state[key] if m.type == "tool"]
    assert [k is not None for k in kept] == [False, True]


class Chat(BaseModel):
    """A state that is an object, with its messages under a name of its own."""

    other: list[int] = [1]
    chat: Annotated[list, add_messages] = []


def test_a_tool_node_with_a_key_of_its_own_keeps_variables():
    """`as_programmatic` finds and tidies the messages under any key, in a state of any kind."""
    graph = StateGraph(Chat)
    graph.add_node("tools", ToolNode(as_programmatic([], session="thread"), messages_key="chat"))
    graph.add_edge(START, "tools")
    app = graph.compile(checkpointer=InMemorySaver())
    for code in ("x = 41", "print(x + 1)"):
        message = tool_call_message("run_code", {"code": code}, id="same")
        state = app.invoke({"chat": [message]}, CONFIG)
    assert printed(state, "chat") == "42"
    kept = [sessions.session_of(m) for m in state["chat"] if m.type == "tool"]
    assert [k is not None for k in kept] == [False, True]


# --- ids that are repeated --------------------------------------------------------------------------


def payer(keys: list[str]) -> Any:
    @tool
    def pay(amount: int, runtime: ToolRuntime) -> str:
        """Pay."""
        keys.append(str(runtime.tool_call_id))
        return f"paid {amount}"

    return pay


PROGRAMS = [
    "x = 1\nprint(await pay(amount=x))",
    "x += 1\nprint(await pay(amount=x))",
    "x += 1\nprint(await pay(amount=x))",
]


@both
@pytest.mark.parametrize("way", ["tool", "middleware"])
@pytest.mark.parametrize("kept", ["nothing", "memory", "sqlite"])
async def test_repeated_tool_call_ids_session(way, kept, sync, tmp_path: Path):
    """Calls of several messages may have one id: each runs, and no two payments have one key."""
    keys: list[str] = []
    pay = payer(keys)
    calls = [tool_call_message("run_code", {"code": c}, id="run_code:0") for c in PROGRAMS]
    model = ScriptedChatModel(script=[*calls, "done"])
    async with open_saver("memory" if kept == "nothing" else kept, tmp_path, sync=sync) as opened:
        saver = None if kept == "nothing" else opened
        if way == "tool":
            agent = create_agent(
                model, as_programmatic([pay], session="thread"), checkpointer=saver
            )
        else:
            ours = ProgrammaticToolCallingMiddleware(session="thread")
            agent = create_agent(model, [pay], middleware=[ours], checkpointer=saver)
        state = await run(agent, said("go"), sync=sync)
    told = [m.text.strip() for m in state["messages"] if m.type == "tool"]
    assert told == ["paid 1", "paid 2", "paid 3"]
    assert len(set(keys)) == 3
    assert set(map(plain, keys)) == {"run_code:0:1"}


@both
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_keys_differ_where_the_first_message_is_gone(kind, sync, tmp_path: Path):
    """An id that was used in a message that was trimmed since is known from the checkpoints."""
    keys: list[str] = []
    tools = as_programmatic([payer(keys)], session="thread")
    async with open_saver(kind, tmp_path, sync=sync) as saver:
        agent = create_agent(coder(call_id="0"), tools, middleware=[KeepLast()], checkpointer=saver)
        for code in PROGRAMS:
            await run(agent, said(code), sync=sync)
    assert len(set(keys)) == 3


def test_attempts_of_the_node_have_keys_of_their_own():
    """A failed attempt and the one that mends it pay under two keys, though the model repeats ids."""
    keys: list[str] = []
    codes = ["print(await pay(amount=1))\n1 / 0", "print(await pay(amount=2))"]
    model = ScriptedChatModel(
        script=[tool_call_message("run_code", {"code": c}, id="0") for c in codes]
    )
    graph = StateGraph(sessions_state())
    graph.add_node("code", ProgrammaticToolNode(model, [payer(keys)]))
    graph.add_edge(START, "code")
    graph.compile(checkpointer=InMemorySaver()).invoke(said("go"), CONFIG)
    assert len(set(keys)) == 2


def sessions_state() -> Any:
    return TypedDict("State", {"messages": Annotated[list, add_messages]})


@both
async def test_a_repeated_id_gives_the_same_key_when_resumed(sync):
    """The key of a call is the same before and after a pause, and after its journal was resumed."""
    keys: list[str] = []

    @tool
    def ask(question: str, runtime: ToolRuntime) -> str:
        """Ask a person."""
        keys.append(str(runtime.tool_call_id))
        return str(interrupt(question))

    agent = create_agent(coder(call_id="0"), as_programmatic([ask]), checkpointer=InMemorySaver())
    for _ in range(2):
        await run(agent, said("print(await ask('?'))"), sync=sync)
        await run(agent, Command(resume="yes"), sync=sync)
    assert (await state_of(agent, sync=sync)).next == ()
    first, again, second, second_again = keys
    assert first == again
    assert second == second_again
    assert first != second


# --- ids that are repeated in one message, and in all threads ----------------------------------------


def asks(*codes: str) -> Any:
    """A message whose calls all have one id; its own id is the same in each thread."""
    calls: Any = [call_of(code, "run_code:0") for code in codes]
    return {"messages": [AIMessage("", id="m1", tool_calls=calls)]}


def tools_graph(tools: list[Any], saver: Any, schema: Any = None) -> Any:
    graph = StateGraph(schema or sessions_state())
    graph.add_node("tools", ToolNode(as_programmatic(tools)))
    graph.add_edge(START, "tools")
    return graph.compile(checkpointer=saver)


TWO, SAME = (
    ("print(await pay(amount=1))", "print(await pay(amount=2))"),
    ("await pay(amount=1)",) * 5,
)


@both
@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["nothing", "memory"])
@pytest.mark.parametrize("codes", [TWO, SAME], ids=["two programs", "one program five times"])
async def test_calls_of_one_message_with_one_id(codes, saver, sync):
    """Calls of one message may have one id, and one program too: no two payments have one key."""
    keys: list[str] = []
    graph = tools_graph([payer(keys)], saver and saver())
    state = await run(graph, asks(*codes), sync=sync)
    assert len(set(keys)) == len(codes)
    if codes is TWO:
        assert [m.text.strip() for m in state["messages"][1:]] == ["paid 1", "paid 2"]


@both
async def test_threads_in_which_a_server_counts_anew(sync):
    """Each thread has the same ids: the payments of two people have two keys."""
    keys: list[str] = []
    graph = tools_graph([payer(keys)], InMemorySaver())
    for thread in "abc":
        await run(graph, asks(TWO[0]), {"configurable": {"thread_id": thread}}, sync=sync)
    assert len(set(keys)) == 3


def asker(seen: list[Any]) -> Any:
    @tool
    def ask(n: int, runtime: ToolRuntime) -> str:
        """Ask a person."""
        answer = interrupt(n)
        seen.append((n, answer, runtime.tool_call_id))
        return f"{n}: {answer}"

    return ask


@both
@pytest.mark.parametrize("numbers", [(1, 2), (2, 1), (1, 1, 1)], ids=str)
async def test_programs_of_one_id_get_their_own_answers(numbers, sync):
    """Programs of one message with one id pause, and each goes on with the answer to its question."""
    seen: list[Any] = []
    graph = tools_graph([asker(seen)], InMemorySaver())
    state = await run(graph, asks(*(f"print(await ask({n}))" for n in numbers)), sync=sync)
    asked = {question.id: question.value for question in state["__interrupt__"]}
    assert sorted(asked.values()) == sorted(numbers)
    for key, number in reversed(asked.items()):
        state = await run(graph, Command(resume={key: f"{number} of {key}"}), sync=sync)
    assert sorted((n, answer) for n, answer, _ in seen) == sorted(
        (number, f"{number} of {key}") for key, number in asked.items()
    )
    assert len({call_id for _, _, call_id in seen}) == len(numbers)
    told = [m.text.strip() for m in state["messages"] if m.type == "tool"]
    assert [text.partition(":")[0] for text in told] == [str(number) for number in numbers]


class Archive(TypedDict):
    """A state with a second list of messages, and messages that nothing gives an id."""

    messages: Annotated[list[Any], lambda before, after: after]
    archive: Annotated[list[Any], lambda before, after: before + after]


@both
@pytest.mark.parametrize("has_id", [True, False], ids=["ids", "no ids"])
async def test_messages_of_other_lists_and_without_ids(has_id, sync):
    """Keys stay unique where old messages are kept in another list, and where none has an id."""
    keys: list[str] = []
    graph = tools_graph([payer(keys)], InMemorySaver(), Archive)
    for n in range(3):
        [message] = asks(TWO[0])["messages"]
        message.id = f"m{n}" if has_id else None
        await run(graph, {"messages": [message], "archive": [message]}, sync=sync)
    assert len(set(keys)) == 3


@both
async def test_a_forked_thread_pays_under_the_same_key(sync):
    """A change of a paused thread's state makes its calls again: their keys say that they are the same."""
    keys: list[str] = []
    code = "print(await pay(amount=1))\nprint(await ask(1))"
    graph = HOSTS["agent"]([payer(keys), asker([])], code, InMemorySaver())
    await run(graph, said("go"), sync=sync)
    await graph.aupdate_state(CONFIG, {"messages": []}, as_node="model")
    await run(graph, None, sync=sync)
    assert len(keys) == 2
    assert len(set(keys)) == 1
