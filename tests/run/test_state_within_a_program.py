"""What tools of one program write to the state: as the same calls one after another would."""

from __future__ import annotations

import itertools
import operator
import random
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import TodoListMiddleware
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command, Overwrite, Send, interrupt
from pydantic import BaseModel, Field

from langchain_ptc import (
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.hosts import message_of, output, run

SANDBOX = InProcessSandbox()
CONFIG: Any = {"configurable": {"thread_id": "1"}}


def merge_in_place(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    left.update(right)
    return left


def add_new(left: list[str], right: list[str]) -> list[str]:
    return left + [item for item in right if item not in left]


def extend_in_place(left: list[str], right: list[str]) -> list[str]:
    left.extend(right)
    return left


class State(AgentState[Any]):
    status: str
    basket: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    notes: Annotated[list[str], add_new]
    log: Annotated[list[str], extend_in_place]
    prices: Annotated[dict[str, int], merge_in_place]


KEYS = ("status", "basket", "total", "notes", "prices")


def ok(runtime: Any, text: str = "ok") -> ToolMessage:
    return ToolMessage(text, tool_call_id=runtime.tool_call_id)


@tool
def put(key: str, value: Any, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write a key of the state."""
    return Command(update={key: value, "messages": [ok(runtime)]})


@tool
def overwrite(key: str, value: Any, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write a key of the state, whatever its reducer is."""
    return Command(update={key: Overwrite(value), "messages": [ok(runtime)]})


@tool
def look(key: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Read a key of the state by the runtime."""
    return repr(runtime.state.get(key))


@tool
def peek(key: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Read a key of the state by injection."""
    return repr(state.get(key))


@tool
def status_now(status: Annotated[str, InjectedState("status")]) -> str:
    """Read one injected key."""
    return status


@tool
def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


@tool
def say(text: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Add a message of the user."""
    return Command(update={"messages": [ok(runtime), HumanMessage(text, id=text)]})


@tool
def forget(text: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Remove a message."""
    return Command(update={"messages": [ok(runtime), RemoveMessage(id=text)]})


TOOLS = [put, overwrite, look, peek, status_now, ask, say, forget]


def by_tool(code: str, saver: Any = None, tools: Any = TOOLS, **options: Any) -> Any:
    model = ScriptedChatModel(script=[message_of(code), "end"])
    wrapped = as_programmatic(tools, sandbox=SANDBOX, **options)
    return create_agent(model, wrapped, state_schema=State, checkpointer=saver)


def by_middleware(code: str, saver: Any = None, tools: Any = TOOLS, **options: Any) -> Any:
    model = ScriptedChatModel(script=[message_of(code), "end"])
    own = ProgrammaticToolCallingMiddleware(sandbox=SANDBOX, **options)
    return create_agent(model, tools, middleware=[own], state_schema=State, checkpointer=saver)


def by_node(code: str, saver: Any = None, tools: Any = TOOLS, **options: Any) -> Any:
    node = ProgrammaticToolNode(
        ScriptedChatModel(script=[message_of(code)]), tools, sandbox=SANDBOX, **options
    )
    graph = StateGraph(State).add_node("code", node).add_edge(START, "code")
    return graph.compile(checkpointer=saver)


def by_tool_node(code: str, saver: Any = None, tools: Any = TOOLS, **options: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("model", lambda state: {"messages": [message_of(code)]})
    graph.add_node("tools", ToolNode(as_programmatic(tools, sandbox=SANDBOX, **options)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    return graph.compile(checkpointer=saver)


WAYS = {
    "tool": by_tool,
    "middleware": by_middleware,
    "node": by_node,
    "tool-node": by_tool_node,
}
ways = pytest.mark.parametrize("build", WAYS.values(), ids=WAYS)
savers = pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


def start(**values: Any) -> Any:
    return {"messages": [HumanMessage("go", id="go")], **values}


def unanswered(messages: Any) -> tuple[set[str], set[str]]:
    """Return the tool calls without an answer, and the answers without a call before them."""
    calls: set[str] = set()
    answered: set[str] = set()
    orphans: set[str] = set()
    for message in messages:
        if isinstance(message, AIMessage):
            calls |= {str(call["id"]) for call in message.tool_calls}
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
            orphans |= {message.tool_call_id} - calls
    return calls - answered, orphans


@ways
@savers
@both
async def test_two_commands_one_key(build: Any, durable: bool, sync: bool) -> None:
    """Of several writes of a key without a reducer the last one counts."""
    code = "for s in ('begun', 'half', 'done'):\n    await put('status', s)\nprint('ok')"
    state = await run(build(code, InMemorySaver() if durable else None), start(), sync=sync)
    assert state["status"] == "done"
    assert unanswered(state["messages"]) == (set(), set())


@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["free", "journal"])
async def test_todos_are_written_twice(saver: Any) -> None:
    """LangChain's own list of tasks can be changed more than once in a program."""
    todo = "await write_todos(todos=[{{'content': 'a', 'status': '{}'}}])\n"
    code = todo.format("in_progress") + todo.format("completed")
    own = ProgrammaticToolCallingMiddleware(tools=["write_todos"], sandbox=SANDBOX)
    model = ScriptedChatModel(script=[message_of(code), "end"])
    agent = create_agent(model, TOOLS, middleware=[own, TodoListMiddleware()], checkpointer=saver)
    state = await agent.ainvoke(start(), CONFIG)
    assert [todo["status"] for todo in state["todos"]] == ["completed"]


STALE = """
await put('status', 'south')
print(await look('status'), await peek('status'), await status_now())
await put('basket', ['tea'])
await put('basket', ['rye'])
await put('total', 2)
print(await look('basket'), await peek('total'))
"""


@ways
@savers
@both
async def test_state_is_stale_within_a_program(build: Any, durable: bool, sync: bool) -> None:
    """A later call reads what an earlier one has written, through the reducers."""
    graph = build(STALE, InMemorySaver() if durable else None)
    state = await run(graph, start(status="north", basket=["salt"], total=1), sync=sync)
    assert output(state) == "'south' 'south' south\n['salt', 'tea', 'rye'] 3"
    assert (state["status"], state["basket"], state["total"]) == (
        "south",
        ["salt", "tea", "rye"],
        3,
    )


@ways
@both
async def test_state_is_the_same_when_a_program_is_resumed(build: Any, sync: bool) -> None:
    """What was written before a pause is read after it, and reaches the state once."""
    code = (
        "await put('status', 'a')\nawait put('notes', ['x'])\nprint(await ask('?'))\n"
        "print(await look('status'), await peek('notes'))\nawait put('notes', ['y'])\n"
        "print(await ask('again?'), await look('notes'))"
    )
    graph = build(code, InMemorySaver())
    await run(graph, start(notes=["w"]), sync=sync)
    await run(graph, Command(resume="yes"), sync=sync)
    state = await run(graph, Command(resume="yes"), sync=sync)
    assert output(state) == "yes\n'a' ['w', 'x']\nyes ['w', 'x', 'y']"
    assert (state["status"], state["notes"]) == ("a", ["w", "x", "y"])


@ways
@savers
async def test_calls_at_the_same_time_do_not_see_each_other(build: Any, durable: bool) -> None:
    """Each reads the state as it was when it was called; writes are in the order of the calls."""
    code = (
        "import asyncio\n"
        "print(await asyncio.gather(put('status', 'a'), look('status'), put('status', 'b')))\n"
        "print(await look('status'))"
    )
    graph = build(code, InMemorySaver() if durable else None)
    state = await run(graph, start(status="old"))
    assert output(state) == "['ok', \"'old'\", 'ok']\n'b'"
    assert state["status"] == "b"


@pytest.mark.parametrize("build", [by_node, by_tool_node])
@savers
async def test_a_reducer_that_changes_lists_in_place(build: Any, durable: bool) -> None:
    """Reading what was written does not write it a second time."""
    code = (
        "await put('log', ['a'])\nprint(await look('log'))\nawait put('log', ['b'])\n"
        "print(await peek('log'))"
    )
    state = await run(build(code, InMemorySaver() if durable else None), start(log=["0"]))
    assert output(state) == "['0', 'a']\n['0', 'a', 'b']"
    assert state["log"] == ["0", "a", "b"]


def programs() -> list[Any]:
    """Return random sequences of writes and reads."""
    made = []
    for seed in range(24):
        chance = random.Random(seed)
        steps: list[tuple[str, tuple[Any, ...]]] = []
        for n in range(chance.randint(2, 9)):
            values = {
                "status": f"s{n}",
                "basket": [f"b{n}"],
                "total": n,
                "notes": [f"n{n}"],
                "prices": {chance.choice("xyz"): n},
            }
            key = chance.choice(KEYS)
            name = chance.choice(
                ["put", "put", "put", "overwrite", "say", "forget", "look", "look"]
            )
            if name == "overwrite" and key == "status":
                name = "put"
            if name == "look":
                steps.append((name, (key,)))
            elif name in ("say", "forget"):
                steps.append(("say", (f"said {n}",)))
                if name == "forget":
                    steps.append(("forget", (f"said {n}",)))
            else:
                steps.append((name, (key, values[key])))
        made.append(pytest.param(steps, id=str(seed)))
    return made


@pytest.mark.parametrize("steps", programs())
async def test_a_program_leaves_the_state_that_its_calls_leave_one_by_one(steps: Any) -> None:
    """Random programs over reducers of every kind, in-place ones and overwriting values among them."""
    by_name = {t.name: t for t in TOOLS}
    first = {"basket": ["0"], "notes": ["0"], "prices": {"x": 0}, "status": "new", "total": 5}
    calls = []
    for n, (name, values) in enumerate(steps):
        names = list(by_name[name].tool_call_schema.model_fields)
        arguments = dict(zip(names, values, strict=True))
        calls.append(tool_call_message(name, arguments, id=f"c{n}"))
    model = ScriptedChatModel(script=[*calls, "end"])
    one_by_one = await create_agent(model, TOOLS, state_schema=State).ainvoke(
        start(**first), {"recursion_limit": 100}
    )
    code = "\n".join(f"print(await {name}(*{values!r}))" for name, values in steps)
    for way, durable in itertools.product(WAYS, (False, True)):
        graph = WAYS[way](code, InMemorySaver() if durable else None)
        state = await run(graph, start(**first))
        for key in KEYS:
            assert state[key] == one_by_one[key], (way, key, steps)
        read = [m.text for m in one_by_one["messages"] if isinstance(m, ToolMessage)]
        assert output(state) == "\n".join(read)
        said = [m.id for m in one_by_one["messages"] if isinstance(m, HumanMessage)]
        assert [m.id for m in state["messages"] if isinstance(m, HumanMessage)] == said
        assert unanswered(state["messages"]) == (set(), set())


# --- forms of state and of updates ------------------------------------------------------------------


class Model(BaseModel):
    messages: Annotated[list[Any], add_messages] = Field(default_factory=list)
    status: str = "new"
    basket: Annotated[list[str], operator.add] = Field(default_factory=list)


@dataclass
class Data:
    messages: Annotated[list[Any], add_messages] = field(default_factory=list)
    status: str = "new"
    basket: Annotated[list[str], operator.add] = field(default_factory=list)


@tool
def read_fields(runtime: ToolRuntime[Any, Any]) -> str:
    """Read fields of a state that is an object."""
    return f"{type(runtime.state).__name__} {runtime.state.status} {runtime.state.basket}"


@pytest.mark.parametrize("schema", [Model, Data])
@pytest.mark.parametrize("as_node", [True, False])
@savers
async def test_states_that_are_objects(schema: Any, as_node: bool, durable: bool) -> None:
    """The state keeps its class as it is read by later calls."""
    code = (
        "await put('status', 'a')\nawait put('status', 'b')\nawait put('basket', ['x'])\n"
        "print(await read_fields())"
    )
    tools = [put, read_fields]
    graph = StateGraph(schema)
    if as_node:
        model = ScriptedChatModel(script=[message_of(code)])
        graph.add_node("code", ProgrammaticToolNode(model, tools, sandbox=SANDBOX))
        graph.add_edge(START, "code")
    else:
        graph.add_node("model", lambda state: {"messages": [message_of(code)]})
        graph.add_node("code", ToolNode(as_programmatic(tools, sandbox=SANDBOX)))
        graph.add_edge(START, "model")
        graph.add_edge("model", "code")
    state = await run(graph.compile(checkpointer=InMemorySaver() if durable else None), start())
    assert output(state) == f"{schema.__name__} b ['x']"
    assert (state["status"], state["basket"]) == ("b", ["x"])


class Update(BaseModel):
    status: str
    messages: list[Any]


@tool
def put_object(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write by an object."""
    return Command(update=Update(status="object", messages=[ok(runtime, "by object")]))


@tool
def put_pairs(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write by pairs, one key twice."""
    pairs = [("basket", ["p"]), ("basket", ["q"]), ("messages", [ok(runtime, "by pairs")])]
    return Command(update=pairs)


@tool
def put_alone(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write one message that is in no list."""
    return Command(update={"messages": ok(runtime, "alone")})


@tool
def put_plain(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Write a message as a dict."""
    message = {"role": "tool", "content": "plain", "tool_call_id": call_id}
    return Command(update={"messages": [message], "unknown": 1})


@tool
def put_nothing() -> Command[Any]:
    """Ask nothing of the graph."""
    return Command()


@ways
@savers
async def test_every_form_of_an_update(build: Any, durable: bool) -> None:
    """Updates as objects, pairs, single messages and dicts reach the state, and the code their content."""
    tools = [put_object, put_pairs, put_alone, put_plain, put_nothing, look]
    code = (
        "print([await put_object(), await put_pairs(), await put_alone(), await put_plain(), "
        "await put_nothing()])\nprint(await look('basket'))"
    )
    state = await run(build(code, InMemorySaver() if durable else None, tools), start())
    told = "['by object', 'by pairs', 'alone', 'plain', None]"
    assert output(state) == f"{told}\n['p', 'q']"
    assert (state["status"], state["basket"]) == ("object", ["p", "q"])
    assert unanswered(state["messages"]) == (set(), set())
    assert len([m for m in state["messages"] if isinstance(m, ToolMessage)]) == 1


@tool
def put_list(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write a list, as if the state were one."""
    return Command(update=[ok(runtime), HumanMessage("x")])


@tool
def put_bad(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write what is no message."""
    return Command(update={"messages": [ok(runtime), {"bad": 1}]})


@ways
@savers
@pytest.mark.parametrize(
    "call",
    ["put_list()", "put('total', 'text')", "put_bad()", "put('basket', 7)"],
)
async def test_an_update_that_the_graph_cannot_apply(build: Any, durable: bool, call: str) -> None:
    """It is an error of the call, which the code may catch, and none of the graph after its effects."""
    code = (
        f"await put('status', 'a')\ntry:\n    await {call}\nexcept ToolCallError as e:\n    print(e)\n"
        "await put('status', 'b')"
    )
    state = await run(
        build(code, InMemorySaver() if durable else None, [put, put_list, put_bad]), start()
    )
    assert "returned a Command that the graph cannot apply" in output(state)
    assert state["status"] == "b"


async def test_a_state_that_is_a_list() -> None:
    """In a graph whose state is a list of messages a tool writes a list."""

    @tool
    def add(text: str, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Add a message."""
        return Command(update=[ToolMessage("ok", tool_call_id=call_id), HumanMessage(text)])

    @tool
    def count(runtime: ToolRuntime[Any, Any]) -> int:
        """Count the messages."""
        return len(runtime.state)

    code = "print(await count())\nawait add('a')\nawait add('b')\nprint(await count())"
    graph = StateGraph(Annotated[list[Any], add_messages])  # type: ignore[type-var]
    graph.add_node("model", lambda state: [message_of(code)])
    graph.add_node("tools", ToolNode(as_programmatic([add, count], sandbox=SANDBOX)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    messages: Any = await graph.compile().ainvoke([HumanMessage("go")])
    assert [m.text for m in messages if isinstance(m, HumanMessage)] == ["go", "a", "b"]
    assert unanswered(messages) == (set(), set())
    (told,) = [m.text for m in messages if isinstance(m, ToolMessage)]
    assert told == "2\n4"


def calling(runtime: Any) -> Any:
    return next(m for m in reversed(runtime.state["messages"]) if isinstance(m, AIMessage))


@tool
def compact(keeps_call: bool, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write the history anew."""
    kept: list[Any] = [HumanMessage("summary", id="s")]
    if keeps_call:
        kept.append(calling(runtime))
    messages = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *kept, ok(runtime)]
    return Command(update={"messages": messages})


@tool
def rewrite(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Write the history anew by overwriting it."""
    kept = [HumanMessage("summary", id="s"), calling(runtime), ok(runtime)]
    return Command(update={"messages": Overwrite(kept)})


@ways
@savers
@pytest.mark.parametrize("call", ["compact(True)", "compact(False)", "rewrite()"])
async def test_a_history_that_is_written_anew(build: Any, durable: bool, call: str) -> None:
    """The answer is there if the call is, whatever else of the history has gone."""
    code = f"await say('before')\nawait {call}\nprint('summary' in await look('messages'))"
    graph = build(code, InMemorySaver() if durable else None, [say, compact, rewrite, look])
    state = await run(graph, start())
    assert unanswered(state["messages"]) == (set(), set())
    assert [m.id for m in state["messages"] if isinstance(m, HumanMessage)] == ["s"]


# --- handoffs ---------------------------------------------------------------------------------------


def _update(messages: Any) -> Any:
    return Command(goto="billing", graph=Command.PARENT, update={"messages": messages})


@tool
def with_history(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand over as LangGraph's guides do."""
    return _update([*runtime.state["messages"], ok(runtime, "handed over")])


@tool
def with_state(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand over the whole state."""
    update = {**runtime.state, "messages": [*runtime.state["messages"], ok(runtime)]}
    return Command(goto="billing", graph=Command.PARENT, update=update)


@tool
def with_answer_only(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand over with nothing but the answer."""
    return _update([ok(runtime)])


@tool
def with_task(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand over with a task in words."""
    return _update([HumanMessage("the task"), ok(runtime)])


@tool
def without_messages() -> Command[Any]:
    """Hand over with no messages."""
    return Command(goto="billing", graph=Command.PARENT, update={"status": "handed"})


@tool
def without_call(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Hand over what was said before the call."""
    return _update(runtime.state["messages"][:-1])


@tool
def with_plain_messages(
    call_id: Annotated[str, InjectedToolCallId], runtime: ToolRuntime[Any, Any]
) -> Any:
    """Hand over with an answer that is a dict."""
    said = {"role": "tool", "content": "x", "tool_call_id": call_id}
    return _update([*runtime.state["messages"], said])


@tool
def by_send(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Send the history to a node of the parent."""
    messages = [*runtime.state["messages"], ok(runtime)]
    return Command(goto=[Send("billing", {"messages": messages})], graph=Command.PARENT)


@tool
def as_a_supervisor(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Send a history without the other calls of the last message, as langgraph-supervisor does."""
    *before, last = runtime.state["messages"]
    own = [call for call in last.tool_calls if call["id"] == runtime.tool_call_id]
    last = AIMessage(last.content, tool_calls=own, id=str(uuid.uuid4()))
    arg = {"messages": [*before, last, ok(runtime)]}
    return Command(goto=[Send("billing", arg)], graph=Command.PARENT)


HANDOFFS = [
    with_history,
    with_state,
    with_answer_only,
    with_task,
    without_messages,
    without_call,
    with_plain_messages,
    by_send,
    as_a_supervisor,
]


class Team(MessagesState):
    status: str


def in_team(desk: Any, seen: list[Any], saver: Any = None) -> Any:
    """Put an agent into a graph with another one, which notes what it is given."""

    def billing(state: Any) -> Any:
        seen.append(state)
        return {"messages": [AIMessage("billing here")]}

    graph = StateGraph(Team).add_node("desk", desk, destinations=("billing",))
    graph.add_node("billing", billing).add_edge(START, "desk")
    return graph.compile(checkpointer=saver)


@ways
@savers
@pytest.mark.parametrize("handoff", HANDOFFS, ids=lambda tool: tool.name)
async def test_handoff_leaves_dangling_call(build: Any, durable: bool, handoff: Any) -> None:
    """After a handoff from code every call has its answer in the parent, and every answer its call."""
    code = f"await put('status', 'working')\nprint('so far')\nawait {handoff.name}()"
    seen: list[Any] = []
    desk = build(code, None, [put, handoff])
    graph = in_team(desk, seen, InMemorySaver() if durable else None)
    state = await run(graph, start())
    (given,) = seen
    assert unanswered(given["messages"]) == (set(), set())
    assert unanswered(state["messages"]) == (set(), set())
    told = [m.text for m in given["messages"] if isinstance(m, ToolMessage)]
    assert told == ([] if handoff in (without_messages, without_call) else ["so far"])
    if handoff is with_state:
        assert state["status"] == "working"
    if handoff is without_messages:
        assert state["status"] == "handed"


@ways
@savers
async def test_two_handoffs_in_one_program(build: Any, durable: bool) -> None:
    """LangGraph follows one command for the parent; both updates are in it."""
    code = "await without_messages()\nawait with_history()\nprint('x')"
    seen: list[Any] = []
    graph = in_team(
        build(code, None, [without_messages, with_history]),
        seen,
        InMemorySaver() if durable else None,
    )
    state = await run(graph, start())
    assert len(seen) == 1
    assert state["status"] == "handed"
    assert unanswered(state["messages"]) == (set(), set())


@pytest.mark.parametrize("handoff", [with_history, with_answer_only, as_a_supervisor])
@pytest.mark.parametrize("second", ["other", "run_code"])
async def test_a_handoff_beside_another_call(handoff: Any, second: str) -> None:
    """Where the model makes another call in the same message, the parent gets no call without an answer."""
    both = AIMessage(
        "",
        tool_calls=[
            {"name": "run_code", "args": {"code": f"await {handoff.name}()"}, "id": "c1"},
            {"name": second, "args": {"code": "print(1)"}, "id": "c2"},
        ],
    )

    @tool
    def other(code: str) -> str:
        """Do another thing."""
        return "done"

    seen: list[Any] = []
    model = ScriptedChatModel(script=[both, "end"])
    desk = create_agent(model, [*as_programmatic([handoff], sandbox=SANDBOX), other])
    await in_team(desk, seen).ainvoke(start())
    dangling, orphans = unanswered(seen[0]["messages"])
    assert (dangling, orphans) == (set(), set())
    assert [m.type for m in seen[0]["messages"]] == ["human", "ai", "tool"]


async def test_a_handoff_out_of_a_graph_of_tools() -> None:
    """Where the parent itself holds the call, the answer reaches it."""
    for handoff in (with_history, with_answer_only):
        message = tool_call_message("run_code", {"code": f"await {handoff.name}()"}, id="c1")
        tools = StateGraph(MessagesState)
        tools.add_node("tools", ToolNode(as_programmatic([handoff], sandbox=SANDBOX)))
        tools.add_edge(START, "tools")
        seen: list[Any] = []
        state = await in_team(tools.compile(), seen).ainvoke(
            {"messages": [HumanMessage("go"), message]}
        )
        assert unanswered(seen[0]["messages"]) == (set(), set())
        assert [m.type for m in state["messages"]] == ["human", "ai", "tool", "ai"]


@ways
@both
async def test_a_handoff_after_a_pause(build: Any, sync: bool) -> None:
    """A handoff in a program that was paused and resumed is as complete."""
    seen: list[Any] = []
    desk = build("await ask('?')\nawait with_history()\nprint('x')", None, [ask, with_history])
    graph = in_team(desk, seen, InMemorySaver())
    await run(graph, start(), sync=sync)
    await run(graph, Command(resume="yes"), sync=sync)
    assert unanswered(seen[0]["messages"]) == (set(), set())


@tool
def send_on(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Send the history to a node of this graph."""
    messages = [*runtime.state["messages"], ok(runtime)]
    own = {"messages": [ok(runtime, "sent")]}
    return Command(update=own, goto=Send("billing", {"messages": messages}))


@savers
async def test_what_is_sent_to_a_node_has_the_answer(durable: bool) -> None:
    """A node of the same graph is given a history in which the call is answered."""
    seen: list[Any] = []
    message = tool_call_message("run_code", {"code": "print(await send_on())"}, id="c1")
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(as_programmatic([send_on], sandbox=SANDBOX)))
    graph.add_node("billing", lambda state: seen.append(state["messages"]))
    graph.add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver() if durable else None)
    state = await compiled.ainvoke({"messages": [HumanMessage("go"), message]}, CONFIG)
    assert unanswered(seen[0]) == (set(), set())
    assert unanswered(state["messages"]) == (set(), set())
