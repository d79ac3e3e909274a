"""The traps of LangGraph on the way to each effect once, each with the test that fails without its cure.

Facts 0 (the ten findings) and 2 (interrupts, journal, resume):
- a task's result is found by its name and count, whatever its arguments -> `test_other_arguments…`,
  `test_another_order…`
- an error that leaves a task is made again -> `test_errors_are_kept…`
- code catches the interrupt -> `test_approvals.test_code_cannot_catch_a_pause`
- a middleware's handler pins the config of the outer call -> `test_an_answer_does_not_go_on…`
- a node that asks a model asks it again -> `test_the_model_is_asked_once`, `test_attempts…`
- an answer that does not fit is taken for an error of the tool -> `test_an_answer_of_the_wrong_type…`
- concurrent code takes the path of its answers' order -> `test_the_order_of_answers…`, `test_trials`
- one interrupt hides the others, or is shown twice -> `test_journal.test_each_effect_once…`
- two programs in one task share its counters -> `test_journal.test_programs_find_their_journals…`
- records are JSON and no more -> `test_values_are_the_same…`
- a crash loses what was not yet written -> `test_a_crash…`
- a retried node makes its calls again -> `test_a_retried_node…`, `test_errors_of_the_code_are_no_retry`
- a fork makes its calls again -> `test_a_fork…`
Facts 1 (tools): raw values, aliases, errors, either kind of tool -> `test_dispatch`
Facts 3 (streaming): records in `updates` -> `test_updates…`; tokens -> `test_tokens…`; ids of inner calls
-> `test_the_tools_stream…`
Facts 7 (scale): pools of threads -> `test_one_at_a_time…`, `test_many_at_once…`; supersteps ->
`test_calls_are_no_steps`; cancel and time-outs -> `test_cancelling…`, `test_…timeout`
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import NodeTimeoutError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel, ValidationError

from langchain_ptc import (
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel
from tests.support import fickle
from tests.support.hosts import (
    CONFIG,
    HOSTS,
    REQUEST,
    World,
    agent,
    answers,
    artifact,
    call_of,
    message_of,
    node,
    open_saver,
    output,
    plain,
    questions,
    run,
    state_of,
    tool_node,
    writes,
)
from tests.support.processes import PROCESSES
from tests.support.waiting import SECONDS

both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


@pytest.fixture
def chancy():
    """A sandbox whose programs see something that the journal cannot make the same again."""
    fickle.VALUES[0] = "first"
    with InProcessSandbox(imports=["tests.support.fickle"]) as sandbox:
        yield sandbox


# --- the path ---------------------------------------------------------------------------------------


@both
async def test_other_arguments_are_another_path(chancy, sync):
    """A recorded call that is made with other arguments when resumed ends the execution."""
    world = World()
    code = "from tests.support.fickle import value\nawait post(value())\nawait ask('b')\nawait post('c')"
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy)
    state = await run(graph, REQUEST, sync=sync)
    fickle.VALUES[0] = "second"
    state = await run(graph, answers(state), sync=sync)
    assert artifact(state).error.kind == "ReplayError"
    assert "1:post with different arguments than before" in output(state)
    assert world.effects == ["post first"]
    assert (await state_of(graph, sync=sync)).next == ()


@both
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
async def test_an_answer_does_not_reach_other_arguments(chancy, durability, sync):
    """What a person approved is not made with other arguments, whatever LangGraph writes when."""
    world = World()
    code = "from tests.support.fickle import value\nprint(await pay(value()))"
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy, interrupt_on={"pay": True})
    approve: Any = Command(resume={"decisions": [{"type": "approve"}]})
    for given in (REQUEST, approve):
        if sync:
            state = graph.invoke(given, CONFIG, durability=durability)
        else:
            state = await graph.ainvoke(given, CONFIG, durability=durability)
        fickle.VALUES[0] = "second"
    assert artifact(state).error.kind == "ReplayError"
    assert world.effects == []


async def test_another_order_is_another_path(chancy):
    """Recorded calls that are made in another order when resumed do not get each other's results."""
    world = World()
    code = """\
import asyncio
from tests.support.fickle import value
order = [get, post] if value() == "first" else [post, get]
print(await asyncio.gather(*(call("a") for call in order)), await ask("b"))
"""
    graph = agent(world.tools(), code, InMemorySaver(), sandbox=chancy)
    state = await run(graph, REQUEST)
    fickle.VALUES[0] = "second"
    state = await run(graph, answers(state))
    assert artifact(state).error.kind == "ReplayError"
    assert Counter(world.effects) == Counter(["get a", "post a"])


async def test_other_code_is_another_path():
    """A node that runs other code when it is resumed, having asked a model itself, is stopped."""
    world = World()
    codes = iter(['print(await ask("a"))', 'print(await ask("b"))'])
    (run_code,) = as_programmatic(world.tools())

    async def forgetful(state: Any) -> Any:
        return {"messages": [await run_code.ainvoke(call_of(next(codes)))]}

    graph = StateGraph(MessagesState)
    graph.add_node("code", forgetful)
    graph.add_edge(START, "code")
    app = graph.compile(checkpointer=InMemorySaver())
    state = await run(app, answers(await run(app, REQUEST)))
    assert "the code is not the one that ran before the pause" in output(state)
    assert world.effects == []


async def test_the_order_of_answers_is_kept():
    """Code whose path depends on which call ended first takes the same path when resumed."""
    order = "caebfd"
    seconds = {key: 0.05 * n for n, key in enumerate(order)}
    made: list[str] = []

    @tool
    async def wait(key: str) -> str:
        """Wait as long as it takes."""
        await asyncio.sleep(seconds[key])
        return key

    @tool
    def post(text: str) -> str:
        """Write."""
        made.append(text)
        return text

    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt({"question": "q"}))

    code = """\
import asyncio
order = []
for done in asyncio.as_completed([wait(key) for key in "abcdef"]):
    order.append(await done)
    await post("".join(order))
print(*order, await ask())
"""
    graph = agent([wait, post, ask], code, InMemorySaver())
    state = await run(graph, REQUEST)
    seconds.update(dict.fromkeys(order, 0.0))
    assert output(await run(graph, answers(state))) == "c a e b f d yes-q"
    assert made == [order[:n] for n in range(1, 7)]


@both
async def test_errors_are_kept_as_values(sync):
    """A call that failed is not made again: its error is kept, and raised at the same place."""
    world = World()
    code = """\
try:
    await flaky("a")
except ToolCallError as e:
    print(e)
print(await ask("b"))
"""
    graph = agent(world.tools(), code, InMemorySaver())
    state = await run(graph, answers(await run(graph, REQUEST, sync=sync)), sync=sync)
    assert output(state) == "flaky failed: ConnectionError: lost a\nyes-b"
    assert Counter(world.effects) == Counter(["flaky a", "ask b = yes-b"])
    assert artifact(state).tool_calls[0].status == "failed"


VALUES = """\
import datetime, decimal
told = []
for name in ("int", "bytes", "set", "when", "nan", "pair", "surrogate", "keys"):
    value = await give(name)
    told.append((type(value).__name__, repr(value)))
print(told == (told if (yes := await ask("a")) else None), told)
"""


async def test_values_are_the_same_after_a_pause(tmp_path, caplog):
    """Values that LangGraph's serializer does not keep come back from the journal as they were."""
    import datetime

    given: dict[str, Any] = {
        "int": 2**70,
        "bytes": b"\xff\x00",
        "set": {1},
        "when": datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        "nan": float("nan"),
        "pair": (1, (2,)),
        "surrogate": "\ud800",
        "keys": {1: "a", "b": None},
    }
    asked: list[str] = []

    @tool
    def give(name: str) -> Any:
        """Give a value."""
        asked.append(name)
        return given[name]

    tools = [give, next(t for t in World().tools() if t.name == "ask")]
    expected = await run(agent(tools, VALUES.replace('await ask("a")', "True")), REQUEST)
    asked.clear()
    with caplog.at_level(logging.WARNING):
        async with open_saver("sqlite", tmp_path, sync=False) as saver:
            state = await run(agent(tools, VALUES, saver), REQUEST)
        async with open_saver("sqlite", tmp_path, sync=False) as saver:
            state = await run(agent(tools, VALUES, saver), answers(state))
    assert output(state) == output(expected)
    assert asked == list(given)
    assert "unregistered type" not in caplog.text


# --- questions --------------------------------------------------------------------------------------


async def test_an_answer_does_not_go_on_to_the_next_question():
    """Behind a middleware too, the answer to one question is not taken for that to the next one."""
    world = World()

    @wrap_tool_call
    async def passing(request: Any, handler: Any) -> Any:
        return await handler(request)

    graph = create_agent(
        writes('print(await get("a"), await ask("b"), await ask("c"))'),
        world.tools(),
        middleware=[ProgrammaticToolCallingMiddleware(), passing],
        checkpointer=InMemorySaver(),
    )
    state = await run(graph, REQUEST)
    assert set(questions(state)) == {"b"}
    state = await run(graph, answers(state))
    assert set(questions(state)) == {"c"}
    assert world.effects == ["get a", "ask b = yes-b"]
    state = await run(graph, answers(state))
    assert output(state) == "got a yes-b yes-c"


@pytest.mark.parametrize("name", HOSTS)
async def test_an_answer_of_the_wrong_type_leaves_the_question(name):
    """An answer that a tool's interrupt does not take is refused; the question stays, and no effect."""
    effects: list[Any] = []

    class Answer(BaseModel):
        amount: int

    @tool
    def ask() -> int:
        """Ask for an amount."""
        effects.append("asked")
        answer = interrupt({"question": "q"}, response_schema=Answer)
        effects.append(answer.amount)
        return answer.amount

    graph = HOSTS[name](
        [ask],
        'try:\n    print(await ask())\nexcept Exception:\n    print("caught")',
        InMemorySaver(),
    )
    state = await run(graph, REQUEST)
    with pytest.raises(ValidationError):
        await run(graph, Command(resume={"amount": "many"}))
    assert questions(await state_of(graph)) == questions(state)
    state = await run(graph, Command(resume={"amount": 5}))
    assert output(state) == "5"
    assert [e for e in effects if e != "asked"] == [5]


# --- the model of a node ----------------------------------------------------------------------------


def other_each_time() -> ScriptedChatModel:
    number = iter(range(1, 100))
    return ScriptedChatModel(script=lambda _: message_of(f'print(await ask("v{next(number)}"))'))


@both
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_model_is_asked_once(kind, sync, tmp_path):
    """The code that a person has seen is the code that runs on, though the model would say another."""
    world = World()
    model = other_each_time()

    async def once(given: Any) -> Any:
        async with open_saver(kind, tmp_path, sync=sync) as saver:
            return await run(node("tool")(world.tools(), "", saver, model=model), given, sync=sync)

    state = await once(REQUEST)
    assert set(questions(state)) == {"v1"}
    state = await once(answers(state))
    assert output(state) == "yes-v1"
    assert len(model.calls) == 1
    assert state["messages"][1].tool_calls[0]["args"]["code"] == 'print(await ask("v1"))'


@both
async def test_attempts_from_before_a_pause_are_kept(sync):
    """A failed attempt, what it did, and the model's next one are not done again."""
    world = World()
    script = ['await post("a")\nraise ValueError("bad")', 'print(await ask("b"), await get("c"))']
    model = ScriptedChatModel(script=[message_of(code) for code in script])
    graph = node("tool")(world.tools(), "", InMemorySaver(), model=model)
    state = await run(graph, answers(await run(graph, REQUEST, sync=sync)), sync=sync)
    assert output(state) == "yes-b got c"
    assert Counter(world.effects) == Counter(["post a", "ask b = yes-b", "get c"])
    assert len(model.calls) == 2


# --- threads, steps and streams ---------------------------------------------------------------------

SIDE_BY_SIDE = """\
import asyncio
print(await asyncio.gather(*(post(f"{n}") for n in range(5)), *(get(f"{n}") for n in range(5))))
"""


@both
@pytest.mark.parametrize("name", [*HOSTS])
async def test_one_at_a_time_is_no_deadlock(name, sync):
    """Calls inside an execution need no place of `max_concurrency`, which the execution has itself."""
    world = World()
    graph = HOSTS[name](world.tools(), SIDE_BY_SIDE, InMemorySaver())
    config = {**CONFIG, "max_concurrency": 1}
    state = await asyncio.wait_for(run(graph, REQUEST, config, sync=sync), SECONDS)
    assert len(world.effects) == 10
    assert output(state).count("posted") == 5


@both
@pytest.mark.parametrize("host", ["sends", "tool-node"])
async def test_many_at_once_are_no_deadlock(host, sync):
    """Eight programs side by side, each with calls side by side, end; also in a small pool of threads."""
    world = World()
    (run_code,) = as_programmatic(world.tools())
    graph = StateGraph(MessagesState)
    if host == "sends":
        work = RunnableLambda(
            lambda call: {"messages": [run_code.invoke(call)]},
            afunc=lambda call: _ainvoke(run_code, call),
        )
        graph.add_node("work", work)
        calls = [call_of(SIDE_BY_SIDE, f"c{n}") for n in range(8)]
        graph.add_conditional_edges(START, lambda _: [Send("work", c) for c in calls])
    else:
        from langgraph.prebuilt import ToolNode

        graph.add_node("model", lambda _: {"messages": [message_of(*[SIDE_BY_SIDE] * 8)]})
        graph.add_node("tools", ToolNode([run_code]))
        graph.add_edge(START, "model")
        graph.add_edge("model", "tools")
    app = graph.compile(checkpointer=InMemorySaver())
    config = {**CONFIG, "max_concurrency": 2} if host == "tool-node" else CONFIG
    state = await asyncio.wait_for(run(app, REQUEST, config, sync=sync), SECONDS)
    assert len(world.effects) == 80
    assert sum(isinstance(m, ToolMessage) for m in state["messages"]) == 8


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
def test_many_graphs_at_once_are_no_deadlock(durable):
    """Seventy synchronous nodes in seventy threads of the host find threads for their tools."""
    world = World()
    code = 'print(await post("a"))'
    model = ScriptedChatModel(script=lambda _: message_of(code))
    with InProcessSandbox() as sandbox:
        saver = InMemorySaver() if durable else None
        graph = node("tool")(world.tools(), code, saver, model=model, sandbox=sandbox)
        configs: Any = [{"configurable": {"thread_id": str(n)}} for n in range(70)]
        with ThreadPoolExecutor(70) as threads:
            told = list(threads.map(lambda c: output(graph.invoke(REQUEST, c)), configs))
    assert told == ["posted a"] * 70


async def _ainvoke(run_code: Any, call: Any) -> Any:
    return {"messages": [await run_code.ainvoke(call)]}


@both
@pytest.mark.parametrize("name", HOSTS)
async def test_calls_are_no_steps(name, sync):
    """Sixty calls cost no step of the graph's recursion limit."""
    world = World()
    code = "for n in range(60):\n    await post(str(n))\nprint('done')"
    graph = HOSTS[name](world.tools(), code, InMemorySaver())
    # A model, its tools, a model again; and one more for a graph around them.
    state = await run(graph, REQUEST, {**CONFIG, "recursion_limit": 4}, sync=sync)
    assert output(state) == "done"
    assert len(world.effects) == 60


@both
@pytest.mark.parametrize("name", HOSTS)
async def test_updates_show_no_records(name, sync):
    """The `updates` of a graph are those of its own nodes: who reads `messages` of each can do so."""
    graph = HOSTS[name](World().tools(), 'await get("a")\nprint(await ask("b"))', InMemorySaver())

    async def updates(given: Any, **options: Any) -> list[Any]:
        options["stream_mode"] = "updates"
        if sync:
            return await asyncio.to_thread(lambda: list(graph.stream(given, CONFIG, **options)))
        return [part async for part in graph.astream(given, CONFIG, **options)]

    first = await updates(REQUEST)
    *before, last = first
    assert set(last) == {"__interrupt__"}
    assert len(last["__interrupt__"]) == 1
    for part in [*before, *await updates(Command(resume="yes"))]:
        assert all(update["messages"] for update in part.values()), part


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
async def test_tokens_are_streamed(durable):
    """`messages` has the tokens of the node's own model and of models that tools ask."""
    inner = ScriptedChatModel(script=lambda _: "one two three")

    @tool
    async def think() -> str:
        """Ask a model."""
        return (await inner.ainvoke("?")).text

    model = ScriptedChatModel(script=[message_of("print(await think())")])
    graph = node("tool")([think], "", InMemorySaver() if durable else None, model=model)
    parts = [
        part
        async for part in graph.astream(REQUEST, CONFIG, stream_mode="messages", subgraphs=False)
    ]
    shown = [message for message, _ in parts]
    assert "".join(m.text for m in shown if m.text in ("one", " two", " three")) == "one two three"
    pieces = [c["args"] for m in shown for c in getattr(m, "tool_call_chunks", ())]
    assert '{"code": "print(await think())"}' in "".join(filter(None, pieces))
    inner_messages = [m for m in shown if isinstance(m, ToolMessage) and ":" in m.tool_call_id]
    assert inner_messages == []


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize("name", ["agent", "tool-node", "node-tool", "plain-node"])
async def test_the_tools_stream_shows_inner_calls(name, durable):
    """`tools` shows each call of the code, with an id that begins with that of the outer call."""
    graph = HOSTS[name](World().tools(), SIDE_BY_SIDE, InMemorySaver() if durable else None)
    parts = [p async for p in graph.astream(REQUEST, CONFIG, stream_mode="tools")]
    started = [plain(p["tool_call_id"]) for p in parts if p["event"] == "tool-started"]
    ended = [plain(p["tool_call_id"]) for p in parts if p["event"] == "tool-finished"]
    assert sorted(started) == sorted(["c1", *(f"c1:{n}" for n in range(1, 11))])
    assert sorted(ended) == sorted(started)


# --- other ways to go on ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_durability(durability, sync, tmp_path):
    """However LangGraph writes its checkpoints, a pause loses nothing."""
    world = World()
    code = 'print(await get("a"), await ask("b"), await get("c"))'

    async def once(given: Any) -> Any:
        async with open_saver("sqlite", tmp_path, sync=sync) as saver:
            graph = agent(world.tools(), code, saver)
            if sync:
                return await asyncio.to_thread(
                    lambda: graph.invoke(given, CONFIG, durability=durability)
                )
            return await graph.ainvoke(given, CONFIG, durability=durability)

    state = await once(answers(await once(REQUEST)))
    assert output(state) == "got a yes-b got c"
    assert Counter(world.effects) == Counter(["get a", "ask b = yes-b", "get c"])


@both
async def test_a_fork_makes_its_calls_again(sync):
    """Time travel to before the execution is another history: its calls are made in it."""
    world = World()
    graph = tool_node(world.tools(), 'print(await get("a"), await ask("b"))', InMemorySaver())
    state = await run(graph, answers(await run(graph, REQUEST, sync=sync)), sync=sync)
    assert output(state) == "got a yes-b"
    history = await asyncio.to_thread(lambda: list(graph.get_state_history(CONFIG)))
    before = next(s for s in history if s.next == ("tools",))
    state = await run(graph, None, before.config, sync=sync)
    assert set(questions(state)) == {"b"}
    state = await run(graph, Command(resume="other"), sync=sync)
    assert output(state) == "got a other"
    assert Counter(world.effects)["get a"] == 2


@both
async def test_a_retried_node_makes_no_call_again(sync):
    """A node that fails after its code has run, and is retried, has the output from the journal."""
    world = World()
    (run_code,) = as_programmatic(world.tools())
    attempts: list[int] = []

    def fail_once() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("lost")

    def call(state: Any) -> Any:
        told = run_code.invoke(call_of('print(await post("a"))'))
        fail_once()
        return {"messages": [told]}

    async def acall(state: Any) -> Any:
        told = await run_code.ainvoke(call_of('print(await post("a"))'))
        fail_once()
        return {"messages": [told]}

    graph = StateGraph(MessagesState)
    policy = RetryPolicy(initial_interval=0.01, max_attempts=2)
    graph.add_node("code", RunnableLambda(call, acall), retry_policy=policy)
    graph.add_edge(START, "code")
    state = await run(graph.compile(checkpointer=InMemorySaver()), REQUEST, sync=sync)
    assert output(state) == "posted a"
    assert len(attempts) == 2
    assert world.effects == ["post a"]


@both
@pytest.mark.parametrize("name", ["node", "tool-node"])
async def test_errors_of_the_code_are_no_retry(name, sync):
    """What the code or its tools do wrong is told to the model, and is no reason to retry a node."""
    from langgraph.prebuilt import ToolNode

    world = World()
    code = 'await post("a")\nawait flaky("b")'
    graph = StateGraph(MessagesState)
    policy = RetryPolicy(initial_interval=0.01, retry_on=Exception)
    if name == "node":
        model = ScriptedChatModel(script=[message_of(code)])
        made: Any = ProgrammaticToolNode(model, world.tools(), max_attempts=1)
        graph.add_node("code", made, retry_policy=policy)
        given: Any = REQUEST
    else:
        graph.add_node("code", ToolNode(as_programmatic(world.tools())), retry_policy=policy)
        given = {"messages": [message_of(code)]}
    graph.add_edge(START, "code")
    state = await run(graph.compile(checkpointer=InMemorySaver()), given, sync=sync)
    assert "flaky failed" in output(state)
    assert world.effects == ["post a", "flaky b"]


def _run_and_die(path: Path, log: Path) -> None:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        _dying_agent(log, saver).invoke(REQUEST, CONFIG)


def _dying_agent(log: Path, saver: Any) -> Any:
    @tool
    def post(key: str) -> str:
        """Write."""
        with log.open("a") as file:
            file.write(f"{key}\n")
        if key == "die" and not log.with_suffix(".died").exists():
            log.with_suffix(".died").touch()
            os._exit(9)
        return key

    code = 'import asyncio\nfor key in ("a", "b"):\n    await post(key)\nawait asyncio.sleep(0.5)\nprint(await post("die"), await post("c"))'
    return agent([post], code, saver)


def test_a_crash_makes_only_the_last_calls_again(tmp_path):
    """After a crash of the process the code goes on: calls that were written are not made again."""
    path, log = tmp_path / "checkpoints", tmp_path / "log"
    other = PROCESSES.Process(target=_run_and_die, args=(path, log))
    other.start()
    other.join(SECONDS)
    assert other.exitcode == 9
    with SqliteSaver.from_conn_string(str(path)) as saver:
        state = _dying_agent(log, saver).invoke(None, CONFIG)
    assert output(state) == "die c"
    assert log.read_text().split() == ["a", "b", "die", "die", "c"]


# --- cancelling and time-outs -----------------------------------------------------------------------


class Slow:
    """A tool that takes for ever, and notes how it ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended: list[str] = []

    def tools(self) -> list[Any]:
        @tool
        async def hang(key: str) -> str:
            """Take for ever."""
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.ended.append(key)
                raise
            return key

        return [hang]

    async def until_all_ended(self) -> None:
        """Wait until both calls of `HANG` have ended."""
        async with asyncio.timeout(SECONDS):
            while len(self.ended) < 2:
                await asyncio.sleep(0)


HANG = 'import asyncio\nawait asyncio.gather(hang("a"), hang("b"))'


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize("name", HOSTS)
async def test_cancelling_ends_everything(name, durable):
    """Cancelling the graph cancels the running tools at once, and ends the worker."""
    slow = Slow()
    graph = HOSTS[name](slow.tools(), HANG, InMemorySaver() if durable else None)
    running = asyncio.ensure_future(graph.ainvoke(REQUEST, CONFIG))
    await slow.begun.wait()
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(slow.ended) == ["a", "b"]


@both
@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
async def test_tools_that_run_when_the_code_ends_are_cancelled(durable, sync):
    """Where the code ends by an error elsewhere, the tools that it still waits for are cancelled."""
    world, slow = World(), Slow()
    code = """\
import asyncio
async def fail():
    await get("b")
    raise KeyError("lost")
await asyncio.gather(hang("a"), fail())
"""
    tools = [*world.tools(), *slow.tools()]
    graph = agent(tools, code, InMemorySaver() if durable else None)
    state = await asyncio.wait_for(run(graph, REQUEST, sync=sync), SECONDS)
    assert "KeyError" in output(state)
    assert slow.ended == ["a"]
    assert [c.status for c in artifact(state).tool_calls] == ["cancelled", "returned"]


async def start_workers() -> None:
    """Start the parent of workers: its first start may take longer than the time that is tested."""
    await ProgrammaticToolExecutor([]).aexecute("print(1)")


def graph_with_a_node_timeout(slow: Slow, saver: Any) -> Any:
    """A graph whose node has two seconds for calls that take for ever."""
    model = ScriptedChatModel(script=lambda _: message_of(HANG))
    graph = StateGraph(MessagesState)
    graph.add_node("code", ProgrammaticToolNode(model, slow.tools()), timeout=2.0)
    graph.add_edge(START, "code")
    return graph.compile(checkpointer=saver)


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
async def test_a_node_timeout(durable):
    """A node's own time-out ends its execution; LangGraph cancels the node and does not wait."""
    await start_workers()
    slow = Slow()
    app = graph_with_a_node_timeout(slow, InMemorySaver() if durable else None)
    with pytest.raises(NodeTimeoutError):
        await app.ainvoke(REQUEST, CONFIG)
    await slow.until_all_ended()
    assert sorted(slow.ended) == ["a", "b"]


def test_a_node_timeout_is_no_error_at_the_end_of_the_loop():
    """Where the event loop ends with the time-out, nothing is left that asyncio complains of."""
    complaints: list[dict[str, Any]] = []
    slow = Slow()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        await start_workers()
        with pytest.raises(NodeTimeoutError):
            await graph_with_a_node_timeout(slow, InMemorySaver()).ainvoke(REQUEST, CONFIG)

    asyncio.run(main())
    assert (complaints, sorted(slow.ended)) == ([], ["a", "b"])


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
async def test_a_step_timeout(durable):
    """A graph's time-out of a step ends the execution as for any node."""
    await start_workers()
    slow = Slow()
    graph = tool_node(slow.tools(), HANG, InMemorySaver() if durable else None)
    graph.step_timeout = 2.0
    with pytest.raises(TimeoutError):
        await graph.ainvoke(REQUEST, CONFIG)
    assert sorted(slow.ended) == ["a", "b"]


async def test_a_cancelled_execution_goes_on():
    """A graph that was cancelled goes on where it was; calls that had ended are not made again."""
    world, slow = World(), Slow()
    code = 'await post("a")\nprint(await hang("b"))'
    tools = [*world.tools(), *slow.tools()]
    saver = InMemorySaver()
    graph = agent(tools, code, saver)
    running = asyncio.ensure_future(graph.ainvoke(REQUEST, CONFIG))
    await slow.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    @tool
    async def hang(key: str) -> str:
        """Take no time."""
        return key

    state = await run(agent([*world.tools(), hang], code, saver), None)
    assert output(state) == "b"
    assert world.effects == ["post a"]
    assert isinstance(state["messages"][1], AIMessage)
