"""A call of the code is a real tool call: what a graph gives to its tools reaches them, and only from there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    ToolException,
    tool,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field

from langchain_ptc import ProgrammaticToolExecutor, ProgrammaticToolNode, as_programmatic
from langchain_ptc.testing import ScriptedChatModel
from tests.support.hosts import CONFIG, REQUEST, call_of, message_of, output, plain, run, writes

SEEN: list[Any] = []


@dataclass
class Context:
    user: str


class State(MessagesState):
    team: str


class TeamState(AgentState[Any]):
    team: str


@tool
async def all_injected(
    x: int,
    state: Annotated[dict[str, Any], InjectedState],
    team: Annotated[str, InjectedState("team")],
    store: Annotated[BaseStore, InjectedStore],
    call_id: Annotated[str, InjectedToolCallId],
    runtime: ToolRuntime[Context],
    config: RunnableConfig,
) -> str:
    """Take everything that a graph gives."""
    SEEN.append(
        {
            "messages": len(state["messages"]),
            "team": team,
            "stored": store.get(("a",), "k").value,
            "call_id": plain(call_id),
            "runtime": (
                runtime.state["team"],
                runtime.context and runtime.context.user,
                plain(runtime.tool_call_id),
                runtime.store is not None,
            ),
            "tags": sorted(t for t in config["tags"] if not t.startswith("seq:")),
            "metadata": config["metadata"]["mine"],
            "configurable": config["configurable"]["mine"],
        }
    )
    runtime.stream_writer({"mine": x})
    return f"{x} of {team}"


def stored() -> InMemoryStore:
    store = InMemoryStore()
    store.put(("a",), "k", {"v": 1})
    return store


def as_agent(tools: Sequence[Any], code: str, saver: Any) -> Any:
    return create_agent(
        writes(code),
        as_programmatic(tools),
        state_schema=TeamState,
        context_schema=Context,
        store=stored(),
        checkpointer=saver,
    )


def as_tool_node(tools: Sequence[Any], code: str, saver: Any) -> Any:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("model", lambda state: {"messages": [message_of(code)]})
    graph.add_node("tools", ToolNode(as_programmatic(tools)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    return graph.compile(store=stored(), checkpointer=saver)


def as_node(tools: Sequence[Any], code: str, saver: Any) -> Any:
    graph = StateGraph(State, context_schema=Context)
    model = ScriptedChatModel(script=[message_of(code)])
    graph.add_node("code", ProgrammaticToolNode(model, tools))
    graph.add_edge(START, "code")
    return graph.compile(store=stored(), checkpointer=saver)


def as_plain_node(tools: Sequence[Any], code: str, saver: Any) -> Any:
    from langchain_core.runnables import RunnableLambda

    (run_code,) = as_programmatic(tools)

    def call(state: Any) -> Any:
        return {"messages": [run_code.invoke(call_of(code))]}

    async def acall(state: Any) -> Any:
        return {"messages": [await run_code.ainvoke(call_of(code))]}

    graph = StateGraph(State, context_schema=Context)
    graph.add_node("code", RunnableLambda(call, acall))
    graph.add_edge(START, "code")
    return graph.compile(store=stored(), checkpointer=saver)


GRAPHS = {
    "agent": as_agent,
    "tool-node": as_tool_node,
    "node": as_node,
    "plain-node": as_plain_node,
}
FULL_CONFIG: Any = {
    "configurable": {"thread_id": "t", "mine": 7},
    "tags": ["mine"],
    "metadata": {"mine": 8},
}


async def stream(graph: Any, given: Any, config: Any, *, sync: bool, **options: Any) -> list[Any]:
    if sync:
        return await asyncio.to_thread(lambda: list(graph.stream(given, config, **options)))
    return [part async for part in graph.astream(given, config, **options)]


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_everything_that_a_graph_gives(name, durable, sync):
    """State, store, context, call id, config and the stream writer reach the tool in every graph."""
    SEEN.clear()
    graph = GRAPHS[name](
        [all_injected], "print(await all_injected(3))", InMemorySaver() if durable else None
    )
    parts = await stream(
        graph,
        {**REQUEST, "team": "red"},
        FULL_CONFIG,
        sync=sync,
        context=Context(user="ada"),
        stream_mode=["custom", "values"],
    )
    assert {"mine": 3} in [part for mode, part in parts if mode == "custom"]
    assert output(parts[-1][1]) == "3 of red"
    [seen] = SEEN
    assert seen == {
        "messages": 1 if name == "plain-node" else 2,
        "team": "red",
        "stored": {"v": 1},
        "call_id": "c1:1",
        "runtime": ("red", "ada", "c1:1", True),
        "tags": ["mine"],
        "metadata": 8,
        "configurable": 7,
    }


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_code_cannot_forge_what_is_injected(name, durable):
    """Injected parameters are none of the code's: a call that names one is refused."""
    SEEN.clear()
    code = """\
for forged in ({"team": "x"}, {"call_id": "x"}, {"state": {}}, {"runtime": None}, {"store": 1}, {"config": {}}):
    try:
        await all_injected(1, **forged)
    except ToolCallError as e:
        print("no parameter" in str(e))
"""
    graph = GRAPHS[name]([all_injected], code, InMemorySaver() if durable else None)
    state = await run(graph, {**REQUEST, "team": "red"}, FULL_CONFIG)
    assert output(state) == "\n".join(["True"] * 6)
    assert SEEN == []


async def test_arguments_of_the_host_alone():
    """`InjectedToolArg` is not in the stub, cannot be passed, and takes its default."""

    @tool
    def query(text: str, key: Annotated[str, InjectedToolArg] = "secret") -> str:
        """Query."""
        return f"{text} {key}"

    (run_code,) = as_programmatic([query])
    assert "key" not in run_code.description.partition("def query")[2]
    code = 'print(await query("a"))\ntry:\n    await query("a", key="mine")\nexcept ToolCallError as e:\n    print("refused")'
    assert (await run_code.ainvoke(call_of(code))).text == "a secret\nrefused"


IDS: list[str] = []


@tool
async def identify(key: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Ask a person, and note the id of the call each time."""
    IDS.append(f"{key} {call_id}")
    if key == "ask":
        interrupt("?")
    return call_id


async def test_a_tool_that_asks_a_person_outside_a_graph_says_so():
    """Where there is nobody to ask, the code is told that, and not what LangGraph misses."""
    result = await ProgrammaticToolExecutor([identify]).aexecute('await identify("ask")')
    assert result.tool_calls[0].error == (
        "identify failed: it calls interrupt(), which needs a graph, and this code runs outside of one"
    )


@pytest.mark.parametrize("name", GRAPHS)
async def test_the_id_of_a_call_is_the_same_when_it_is_made_again(name):
    """A tool that begins again after a pause sees the same id: a key for its own idempotency."""
    IDS.clear()
    code = 'print(await identify("a"), await identify("ask"), await identify("b"))'
    graph = GRAPHS[name]([identify], code, InMemorySaver())
    await run(graph, {**REQUEST, "team": "x"})
    state = await run(graph, Command(resume=1))
    assert IDS[1] == IDS[2]
    assert list(map(plain, IDS)) == ["a c1:1", "ask c1:2", "ask c1:2", "b c1:3"]
    assert plain(output(state)) == "c1:1 c1:2 c1:3"


# --- config and traces ------------------------------------------------------------------------------


class Tracer(BaseCallbackHandler):
    """Keeps runs as a tracer does."""

    run_inline = True

    def __init__(self) -> None:
        self.runs: dict[Any, tuple[str, str, Any, list[str]]] = {}
        self.ended: list[str] = []

    def on_tool_start(
        self, serialized, input_str, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self.runs[run_id] = (
            "tool",
            kwargs.get("name") or serialized["name"],
            parent_run_id,
            tags or [],
        )

    def on_chain_start(
        self, serialized, inputs, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self.runs[run_id] = ("chain", kwargs.get("name") or "?", parent_run_id, tags or [])

    def on_chat_model_start(
        self, serialized, messages, *, run_id, parent_run_id=None, tags=None, **kwargs
    ):
        self.runs[run_id] = ("model", kwargs.get("name") or "?", parent_run_id, tags or [])

    def on_tool_end(self, output, *, run_id, **kwargs):
        self.ended.append(self.runs[run_id][1])

    def parents(self, name: str) -> list[str]:
        """Return the names of the runs around a run, from the inside out, as a tracer shows them."""
        [run_id] = [i for i, r in self.runs.items() if r[:2] == ("tool", name)]
        found = []
        parent = self.runs[run_id][2]
        while parent is not None:
            _, called, above, tags = self.runs[parent]
            if "langsmith:hidden" not in tags:
                found.append(called)
            parent = above
        return found


@tool
async def inner(x: int) -> int:
    """Do something."""
    return x


@tool
def inner_sync(x: int) -> int:
    """Do something, synchronously."""
    return x


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_traces_nest(name, durable, sync):
    """A tracer sees each call of the code as a run right inside the run of `run_code`."""
    tracer = Tracer()
    code = "print(await inner(1), await inner_sync(2))"
    graph = GRAPHS[name]([inner, inner_sync], code, InMemorySaver() if durable else None)
    await run(graph, {**REQUEST, "team": "x"}, {**CONFIG, "callbacks": [tracer]}, sync=sync)
    for called in ("inner", "inner_sync"):
        assert tracer.parents(called)[0] == "run_code"
    assert tracer.ended.count("inner") == tracer.ended.count("inner_sync") == 1
    assert tracer.ended[-1] == "run_code"
    shown = [r[1] for r in tracer.runs.values() if "langsmith:hidden" not in r[3]]
    assert not {"journal", "execution", "timer", "pause", "generate_code"} & set(shown)


async def test_calls_from_before_a_pause_are_not_traced_again():
    """What the journal hands out is no run: a tracer of the resumed graph sees what happens then."""
    code = 'print(await identify("a"), await identify("ask"), await identify("b"))'
    graph = as_agent([identify], code, InMemorySaver())
    await run(graph, {**REQUEST, "team": "x"})
    tracer = Tracer()
    await run(graph, Command(resume=1), {**CONFIG, "callbacks": [tracer]})
    assert tracer.ended.count("identify") == 2


# --- values and errors ------------------------------------------------------------------------------


class Person(BaseModel):
    name: str
    tags: list[str]


@tool
def person() -> Person:
    """Give a record."""
    return Person(name="Ada", tags=["a"])


@tool
def rows() -> list[dict[str, int]]:
    """Give rows."""
    return [{"a": 1}, {"a": 2}]


@tool(response_format="content_and_artifact")
def both_parts() -> tuple[list[int], dict[str, int]]:
    """Give a content and an artifact."""
    return [1, 2], {"artifact": 3}


class Aliased(BaseModel):
    from_: int = Field(alias="from")
    to: int = 9


async def _span(to: int, **given: Any) -> list[Any]:
    return [*given.values(), to]


span = StructuredTool.from_function(
    coroutine=_span, name="span", description="Span.", args_schema=Aliased
)


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
async def test_values_are_what_the_tool_returned(durable):
    """Records, lists and the content of two-part results reach the code as values, not as text."""
    code = """\
p = await person()
print(p["name"], p.name, p.tags[0], sum(r["a"] for r in await rows()), sum(await both_parts()))
print(await span(1), await span(from_=2, to=3))
"""
    graph = as_agent([person, rows, both_parts, span], code, InMemorySaver() if durable else None)
    state = await run(graph, {**REQUEST, "team": "x"})
    first, second = output(state).split("\n")
    assert first == "Ada Ada a 3 3"
    assert second == "[1, 9] [2, 3]"


def _failing(handle: Any) -> BaseTool:
    def fail(x: int) -> int:
        """Fail."""
        raise ToolException(f"no {x}")

    return StructuredTool.from_function(fail, name="fail", handle_tool_error=handle)


@pytest.mark.parametrize("durable", [False, True], ids=["free", "journal"])
@pytest.mark.parametrize(
    ("handle", "told"),
    [
        pytest.param(False, "fail failed: no 1", id="raised"),
        pytest.param(True, "fail failed: no 1", id="true"),
        pytest.param("sorry", "fail failed: sorry", id="text"),
        pytest.param(lambda e: f"handled {e}", "fail failed: handled no 1", id="function"),
    ],
)
async def test_handled_and_unhandled_errors(handle, told, durable):
    """An error of a tool is an error of its call, however the tool handles it for a model."""
    code = "try:\n    print(await fail(1))\nexcept ToolCallError as e:\n    print(e)"
    graph = as_agent([_failing(handle)], code, InMemorySaver() if durable else None)
    assert output(await run(graph, {**REQUEST, "team": "x"})) == told


async def test_bad_arguments_are_told_without_what_is_injected():
    """The code is told what was wrong with its own arguments, and nothing of the graph's."""
    code = 'try:\n    await all_injected("three")\nexcept ToolCallError as e:\n    print(e)'
    for saver in (None, InMemorySaver()):
        graph = as_agent([all_injected], code, saver)
        told = output(await run(graph, {**REQUEST, "team": "red"}, FULL_CONFIG))
        assert "x: Input should be a valid integer" in told
        assert not any(word in told for word in ("red", "runtime", "store", "human"))


async def test_tools_of_either_kind_in_either_graph():
    """Asynchronous tools run in synchronous graphs and synchronous ones in asynchronous graphs."""
    code = "print(await inner(1), await inner_sync(2))"
    for saver in (None, InMemorySaver()):
        for sync in (False, True):
            graph = as_agent([inner, inner_sync], code, saver)
            config = {"configurable": {"thread_id": f"{sync}"}}
            state = await run(graph, {**REQUEST, "team": "x"}, config, sync=sync)
            assert output(state) == "1 2"


async def test_the_functional_api_has_no_state():
    """Where there is no state to inject, a tool that needs some fails in the code, and others work."""

    @tool
    async def stateless(x: int, runtime: ToolRuntime) -> str:
        """Take a runtime."""
        runtime.stream_writer({"x": x})
        return f"{x} {runtime.tool_call_id}"

    (run_code,) = as_programmatic([stateless])

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(given: Any) -> ToolMessage:
        return await run_code.ainvoke(call_of("print(await stateless(4))"))

    parts = [p async for p in flow.astream(1, CONFIG, stream_mode=["custom", "values"])]
    assert {"x": 4} in [part for mode, part in parts if mode == "custom"]
    assert plain(parts[-1][1].text) == "4 c1:1"
