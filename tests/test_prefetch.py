"""Calls that begin while a model writes: in the node, the middleware, and agents with a handler."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent

from langchain_ptc import (
    Limits,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    ToolPolicy,
    as_programmatic,
    prefetch_handler,
)
from tests.support.writing import WritingModel

REQUEST = {"messages": [HumanMessage("go")]}
POLICIES = {"read": ToolPolicy(read_only=True)}
SECONDS = 20.0
CODE = "found = await read('a')\nprint(found)\nprint('the end')\n"


class World:
    """A tool that only reads, and lets the model write on when it is called."""

    def __init__(self, model: WritingModel, *, hangs: bool = False, more: Any = ()) -> None:
        self.model = model
        self.more = more
        self.hangs = hangs
        self.calls: list[str] = []

    def tools(self) -> list[StructuredTool]:
        async def read(key: str) -> str:
            """Read a key."""
            self.calls.append(key)
            self.model.go_on()
            if self.hangs:
                await asyncio.sleep(SECONDS)
            return f"value of {key}"

        async def write(key: str) -> str:
            """Write a key."""
            self.calls.append(f"write {key}")
            return "written"

        return [StructuredTool.from_function(coroutine=f) for f in (read, write, *self.more)]


def make_graph(way: str, world: World, saver: Any = None, middleware: Any = ()) -> Any:
    tools: Any = world.tools()
    policies = POLICIES | {f.__name__: ToolPolicy(read_only=True) for f in world.more}
    if way == "node":
        graph = StateGraph(MessagesState)
        graph.add_node(
            ProgrammaticToolNode(world.model, tools, policies=policies, prefetch="stream")
        )
        graph.add_edge(START, "programmatic_tools")
        return graph.compile(checkpointer=saver)
    if way == "middleware":
        ours = ProgrammaticToolCallingMiddleware(policies=policies, prefetch="stream")
        return create_agent(world.model, tools, middleware=[ours, *middleware], checkpointer=saver)
    tools = as_programmatic(tools, policies=policies, prefetch="stream")
    handler = prefetch_handler(tools)
    if way == "react":
        agent: Any = create_react_agent(world.model, tools, checkpointer=saver)
    else:
        agent = create_agent(world.model, tools, middleware=middleware, checkpointer=saver)
    return agent.with_config({"callbacks": [handler]})


def record_of(state: Any) -> dict[str, Any]:
    return next(m.artifact for m in reversed(state["messages"]) if m.type == "tool")


WAYS = ["node", "middleware", "agent", "react"]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("saver", [False, True], ids=["no-saver", "saver"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_begins_while_the_model_writes(way, asynchronous, saver):
    """The model ends its message only when the tool has been called, and the program takes that result."""
    world = World(WritingModel(programs=[CODE]))
    graph = make_graph(way, world, InMemorySaver() if saver else None)
    config: Any = {"configurable": {"thread_id": "1"}}
    if asynchronous:
        state = await graph.ainvoke(REQUEST, config)
    else:
        state = await asyncio.to_thread(graph.invoke, REQUEST, config)
    record = record_of(state)
    assert record["output"] == "value of a\nthe end\n"
    assert (world.model.missed, world.calls) == (0, ["a"])
    assert record["prefetch"]["hits"] == 1
    assert record["tool_calls"][0]["ahead_seconds"] > 0


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_events_of_a_stream(version):
    """Streaming the graph changes nothing of it, whichever way the model's pieces are reported."""
    world = World(WritingModel(programs=[CODE]))
    agent = make_graph("middleware", world)
    if version == "v2":
        async for _ in agent.astream_events(REQUEST, version="v2"):
            pass
    else:
        async for _ in await agent.astream_events(REQUEST, version="v3"):
            pass
    assert (world.model.missed, world.calls) == (0, ["a"])


async def test_fenced_code():
    """A model that takes no tools writes a fenced block, and the node reads it as it comes."""
    world = World(WritingModel(programs=[CODE], as_text=True))
    state = await make_graph("node", world).ainvoke(REQUEST)
    assert record_of(state)["prefetch"]["hits"] == 1
    assert (world.model.missed, world.calls) == (0, ["a"])


async def test_a_second_call_in_the_message():
    """In which order the calls of a message run is not known: nothing that began early is used."""
    world = World(WritingModel(programs=[CODE], extra_calls=1, waits=False))
    state = await make_graph("agent", world).ainvoke(REQUEST)
    records = [m.artifact for m in state["messages"] if m.type == "tool"]
    assert [r["output"] for r in records] == ["value of a\nthe end\n"] * 2
    assert world.calls.count("a") >= 2
    assert all(c["ahead_seconds"] == 0 or r["prefetch"] for r in records for c in r["tool_calls"])


class Wraps(AgentMiddleware):
    """Sees every tool call of the agent."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        self.seen.append(request.tool_call["name"])
        return await handler(request)


async def test_middleware_that_must_see_each_call():
    """Where other middleware handles the calls of the code, none is made before it can."""
    world, wraps = World(WritingModel(programs=[CODE], waits=False)), Wraps()
    state = await make_graph("middleware", world, middleware=[wraps]).ainvoke(REQUEST)
    assert record_of(state)["output"] == "value of a\nthe end\n"
    assert (world.calls, wraps.seen.count("read")) == (["a"], 1)


@pytest.mark.parametrize("asked", ["run_code", "read"])
@pytest.mark.parametrize("way", ["middleware", "agent"])
async def test_a_person_decides(way, asked):
    """Where a person approves the code, or the tool, nothing is read before; also if the handler is older."""
    world = World(WritingModel(programs=[CODE], pause=0.2))
    guard = HumanInTheLoopMiddleware(interrupt_on={asked: True})
    agent = make_graph(way, world, InMemorySaver(), [guard])
    state = await agent.ainvoke(REQUEST, {"configurable": {"thread_id": "1"}})
    assert "__interrupt__" in state
    assert world.calls == []


@pytest.mark.parametrize("of_one", [True, False])
@pytest.mark.parametrize("way", ["middleware", "agent"])
async def test_an_agent_that_counts_calls(way, of_one):
    """Calls that a limit of the agent counts are made by the code, and so are no more than it allows."""
    code = "for k in 'abc':\n    print(await read(k))\nprint('the end')\n"
    world = World(WritingModel(programs=[code], pause=0.2))
    guard = ToolCallLimitMiddleware(tool_name="read" if of_one else None, run_limit=1)
    await make_graph(way, world, middleware=[guard]).ainvoke(REQUEST)
    assert world.calls == ["a"]


@pytest.mark.parametrize("way", ["middleware", "agent", "node"])
async def test_an_agent_that_is_cancelled_while_the_model_writes(way):
    """What was begun for a message that will never be whole is ended."""
    world = World(WritingModel(programs=[CODE], pause=SECONDS), hangs=True)
    before = asyncio.all_tasks()
    agent = make_graph(way, world)
    running = asyncio.ensure_future(agent.ainvoke(REQUEST))
    async with asyncio.timeout(SECONDS):
        while not world.calls:
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_synchronous_node_that_is_interrupted_while_the_model_writes():
    """What was begun is ended at once, though the model writes on in its thread."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    ended = threading.Event()

    async def read(key: str) -> str:
        """Read a key."""
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    model = WritingModel(programs=[CODE])
    node = ProgrammaticToolNode(
        model,
        [StructuredTool.from_function(coroutine=read)],
        policies=POLICIES,
        prefetch="stream",
        limits=Limits(tool_seconds=10 * SECONDS),
    )
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            node.invoke(REQUEST)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.wait(SECONDS / 2)
    model.go_on()


@pytest.mark.parametrize("way", ["middleware", "agent"])
async def test_an_agent_in_a_tool(way):
    """What an agent writes in a tool of the code is for its own tools, though others have their names."""
    inner = World(
        WritingModel(programs=["x = await read('secret')\nprint(x)\nprint(x)\n"], pause=0.2)
    )
    own = as_programmatic(inner.tools(), policies=POLICIES)

    async def ask(question: str) -> str:
        """Ask another agent."""
        state = await create_agent(inner.model, own).ainvoke(REQUEST)
        return str(record_of(state)["output"])

    code = "print(await read('a'))\nprint(await ask('b'))\nprint('the end')\n"
    world = World(WritingModel(programs=[code], pause=0.2), more=[ask])
    state = await make_graph(way, world).ainvoke(REQUEST)
    assert "value of secret" in record_of(state)["output"]
    assert (world.calls, inner.calls) == (["a"], ["secret"])


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("way", ["agent", "react"])
async def test_two_agents_of_one_graph(way):
    """Handlers given to the whole graph read each their own agent's code, though tools have the same name."""

    async def other(key: str):
        """Read something else."""
        return {"key": key}

    create: Any = create_agent if way == "agent" else create_react_agent
    second = CODE.replace("'a'", "'b'") + "print(await other('c'))\n"
    worlds = [
        World(WritingModel(programs=[CODE, CODE])),
        World(WritingModel(programs=[second, second]), more=[other]),
    ]
    graph, handlers = StateGraph(MessagesState), []
    for number, world in enumerate(worlds):
        tools = as_programmatic(world.tools(), policies=POLICIES, prefetch="stream")
        handlers.append(prefetch_handler(tools))
        graph.add_node(f"agent{number}", create(world.model, tools))
    graph.add_edge(START, "agent0")
    graph.add_edge("agent0", "agent1")
    agents = graph.compile()
    for _ in range(2):  # the description of `other` has what it returned the first time
        state = await agents.ainvoke(REQUEST, {"callbacks": handlers})
        records = [m.artifact for m in state["messages"] if m.type == "tool"]
        assert [record["prefetch"]["hits"] for record in records] == [1, 1]
    assert [(world.model.missed, world.calls) for world in worlds] == [
        (0, ["a", "a"]),
        (0, ["b", "b"]),
    ]


async def test_a_model_on_another_loop():
    """A synchronous node of an asynchronous graph: the program runs as if nothing had been begun."""
    code = (
        "import asyncio\nprint(*await asyncio.gather(*[read(k) for k in 'abcdef']))\nprint('end')\n"
    )
    world = World(WritingModel(programs=[code], pause=0.2))
    limits = Limits(max_concurrent_calls=2)
    tools = as_programmatic(world.tools(), policies=POLICIES, prefetch="stream", limits=limits)
    handler, model = prefetch_handler(tools), world.model.bind_tools(tools)

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], {"callbacks": [handler]})]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "tools")
    state = await graph.compile().ainvoke(REQUEST)
    assert record_of(state)["output"] == f"{' '.join(f'value of {k}' for k in 'abcdef')}\nend\n"


async def test_a_model_that_is_asked_again():
    """What was begun for a reply that failed is dropped, and begun anew for the next one."""
    code = "x = await read('first')\nprint(x)\nprint(x)\n"
    model = WritingModel(programs=[code, CODE], waits=False, breaks=1)
    world = World(model)
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0)
    state = await make_graph("middleware", world, middleware=[retry]).ainvoke(REQUEST)
    assert record_of(state)["output"] == "value of a\nthe end\n"
    assert world.calls.count("a") == 1


async def test_two_threads_of_one_agent():
    """Equal ids of calls and equal programs of two users share nothing."""

    class Users:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str]] = []

        async def read(self, key: str) -> str:
            """Read a key."""
            from langgraph.config import get_config

            user = get_config()["configurable"]["thread_id"]
            self.seen.append((user, key))
            return f"{key} of {user}"

    users = Users()
    tool = StructuredTool.from_function(coroutine=users.read, name="read")
    tools = as_programmatic([tool], policies=POLICIES, prefetch="stream")

    async def ask(user: str) -> str:
        model = WritingModel(programs=[CODE], waits=False)
        agent = create_agent(model, tools, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": user}, "callbacks": [handler]}
        return str(record_of(await agent.ainvoke(REQUEST, config))["output"])

    handler = prefetch_handler(tools)
    outputs = await asyncio.gather(*[ask(user) for user in "uvw"])
    assert outputs == [f"a of {user}\nthe end\n" for user in "uvw"]
    assert len(users.seen) == 3


def test_the_tool_asks_providers_to_stream_its_argument():
    """Anthropic sends an argument while it is written only where the tool asks for it."""
    (tool,) = as_programmatic([], prefetch="stream")
    assert tool.extras == {"eager_input_streaming": True}
    (tool,) = as_programmatic([], prefetch="calls")
    assert not tool.extras
