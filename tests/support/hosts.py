"""Every kind of graph that code may run in, and tools that write down what they do."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command, interrupt

from langchain_ptc import (
    ExecutionResult,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolNode,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CONFIG: Any = {"configurable": {"thread_id": "t"}}
REQUEST: Any = {"messages": [HumanMessage("go")]}


class World:
    """Tools, and everything that they did, in order."""

    def __init__(self, *, latency_seconds: float = 0.0) -> None:
        self.effects: list[str] = []
        self._latency_seconds = latency_seconds

    def tools(self) -> list[BaseTool]:
        """Return the tools: some synchronous only, some asynchronous only."""

        async def happen(effect: str) -> None:
            if self._latency_seconds:
                await asyncio.sleep(self._latency_seconds)
            self.effects.append(effect)

        @self._tool
        async def get(key: str) -> str:
            """Read something; asynchronous only."""
            await happen(f"get {key}")
            return f"got {key}"

        @self._tool
        def post(key: str) -> str:
            """Write something; synchronous only."""
            self.effects.append(f"post {key}")
            return f"posted {key}"

        @self._tool
        async def ask(key: str) -> str:
            """Ask a person."""
            answer = interrupt({"question": key})
            await happen(f"ask {key} = {answer}")
            return str(answer)

        @self._tool
        def ask_sync(key: str) -> str:
            """Ask a person; synchronous only."""
            answer = interrupt({"question": key})
            self.effects.append(f"ask {key} = {answer}")
            return str(answer)

        @self._tool
        async def flaky(key: str) -> str:
            """Fail after having had an effect."""
            await happen(f"flaky {key}")
            raise ConnectionError(f"lost {key}")

        @self._tool
        async def pay(key: str, amount: int = 1) -> str:
            """Pay."""
            await happen(f"pay {key} {amount}")
            return f"paid {key}"

        return [get, post, ask, ask_sync, flaky, pay]

    def _tool(self, function: Callable[..., Any]) -> BaseTool:
        """Make a tool; its schema is the same in every world, and takes the longest to make."""
        made = tool(function, args_schema=_SCHEMAS.get(function.__name__))
        _SCHEMAS[function.__name__] = made.args_schema
        return made


_SCHEMAS: dict[str, Any] = {}

# --- graphs -----------------------------------------------------------------------------------------

Build = Callable[..., Any]
"""Makes a graph of tools, a code, a checkpointer, and options of `as_programmatic`."""


def call_of(code: str, call_id: str = "c1") -> Any:
    """Return the tool call that a model makes to run code."""
    return {"type": "tool_call", "name": "run_code", "args": {"code": code}, "id": call_id}


def message_of(*codes: str) -> AIMessage:
    """Return a message in which a model runs codes side by side."""
    return AIMessage(
        "", id="m1", tool_calls=[call_of(code, f"c{n}") for n, code in enumerate(codes, 1)]
    )


def writes(code: str) -> ScriptedChatModel:
    """Return a model that runs code, and then repeats what came out."""

    def reply(messages: list[BaseMessage]) -> AIMessage | str:
        told = [message.text for message in messages if isinstance(message, ToolMessage)]
        return told[-1] if told else tool_call_message("run_code", {"code": code}, id="c1")

    return ScriptedChatModel(script=reply)


def agent(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
    """`create_agent`."""
    return create_agent(writes(code), as_programmatic(tools, **options), checkpointer=saver)


def middleware(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
    """An agent of `create_agent` with the middleware."""
    made = ProgrammaticToolCallingMiddleware(**options)
    return create_agent(writes(code), tools, middleware=[made], checkpointer=saver)


def react(version: str) -> Build:
    """`create_react_agent`."""

    def build(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return create_react_agent(
                writes(code),
                as_programmatic(tools, **options),
                checkpointer=saver,
                version=version,  # type: ignore[arg-type]
            )

    return build


def _says(code: str) -> Callable[[Any], Any]:
    return lambda state: {"messages": [message_of(code)]}


def tool_node(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
    """A bare `ToolNode`."""
    graph = StateGraph(MessagesState)
    graph.add_node("model", _says(code))
    graph.add_node("tools", ToolNode(as_programmatic(tools, **options)))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    return graph.compile(checkpointer=saver)


def node(protocol: str) -> Build:
    """`ProgrammaticToolNode`."""

    def build(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
        fenced = f"```python\n{code}\n```"
        reply = fenced if protocol == "text" else message_of(code)
        model = options.pop("model", ScriptedChatModel(script=[reply]))
        graph = StateGraph(MessagesState)
        graph.add_node(
            "code",
            ProgrammaticToolNode(model, tools, protocol=protocol, **options),  # type: ignore[arg-type]
        )
        graph.add_edge(START, "code")
        return graph.compile(checkpointer=saver)

    return build


def subgraph(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
    """An agent as the node of another graph."""
    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent(tools, code, **options))
    graph.add_edge(START, "agent")
    return graph.compile(checkpointer=saver)


def plain_node(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
    """A node that invokes the tool itself, in either way."""
    (run_code,) = as_programmatic(tools, **options)

    def call(state: Any) -> Any:
        return {"messages": [run_code.invoke(call_of(code))]}

    async def acall(state: Any) -> Any:
        return {"messages": [await run_code.ainvoke(call_of(code))]}

    from langchain_core.runnables import RunnableLambda

    graph = StateGraph(MessagesState)
    graph.add_node("code", RunnableLambda(call, acall))
    graph.add_edge(START, "code")
    return graph.compile(checkpointer=saver)


def functional(*, as_task: bool) -> Build:
    """The functional API, asynchronous: the entrypoint runs the code, or a task of it does."""

    def build(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
        (run_code,) = as_programmatic(tools, **options)

        async def run() -> Any:
            return await run_code.ainvoke(call_of(code))

        @entrypoint(checkpointer=saver)
        async def flow(given: Any) -> Any:
            return {"messages": [await (task(name="run")(run)() if as_task else run())]}

        return flow

    return build


def functional_sync(*, as_task: bool) -> Build:
    """The functional API, synchronous."""

    def build(tools: Sequence[Any], code: str, saver: Any = None, **options: Any) -> Any:
        (run_code,) = as_programmatic(tools, **options)

        def run() -> Any:
            return run_code.invoke(call_of(code))

        @entrypoint(checkpointer=saver)
        def flow(given: Any) -> Any:
            return {"messages": [task(name="run")(run)().result() if as_task else run()]}

        return flow

    return build


HOSTS: dict[str, Build] = {
    "agent": agent,
    "react-v1": react("v1"),
    "react-v2": react("v2"),
    "tool-node": tool_node,
    "node-tool": node("tool"),
    "node-text": node("text"),
    "subgraph": subgraph,
    "plain-node": plain_node,
}
"""Graphs that run in both ways."""

ASYNC_HOSTS: dict[str, Build] = {
    **HOSTS,
    "functional": functional(as_task=False),
    "functional-task": functional(as_task=True),
}
SYNC_HOSTS: dict[str, Build] = {
    **HOSTS,
    "functional": functional_sync(as_task=False),
    "functional-task": functional_sync(as_task=True),
}
ALL_HOSTS = [
    *((name, False) for name in ASYNC_HOSTS),
    *((name, True) for name in SYNC_HOSTS),
]


def host(name: str, *, sync: bool) -> Build:
    """Return the graph of a name."""
    return (SYNC_HOSTS if sync else ASYNC_HOSTS)[name]


# --- running ----------------------------------------------------------------------------------------


@asynccontextmanager
async def open_saver(kind: str, directory: Path, *, sync: bool) -> Any:
    """Open a checkpointer; the same file each time."""
    if kind == "memory":
        yield _MEMORY.setdefault(directory, InMemorySaver())
    elif sync:
        with SqliteSaver.from_conn_string(str(directory / "checkpoints")) as saver:
            yield saver
    else:
        path = str(directory / "checkpoints")
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            yield saver


_MEMORY: dict[Path, InMemorySaver] = {}


async def run(
    graph: Any, given: Any, config: Any = CONFIG, *, sync: bool = False, **options: Any
) -> Any:
    """Run a graph in either way."""
    if sync:
        return await asyncio.to_thread(graph.invoke, given, config, **options)
    return await graph.ainvoke(given, config, **options)


async def state_of(graph: Any, config: Any = CONFIG, *, sync: bool = False) -> Any:
    """Return the state of a graph."""
    if sync:
        return await asyncio.to_thread(graph.get_state, config)
    return await graph.aget_state(config)


def questions(state: Any) -> dict[str, str]:
    """Return the ids of what is asked, by question."""
    asked = state.get("__interrupt__", ()) if isinstance(state, dict) else state.interrupts
    found = {one.value["question"]: one.id for one in asked}
    assert len(found) == len(asked), f"a question is shown twice: {asked}"
    return found


def answers(state: Any, *chosen: str) -> Command[Any]:
    """Answer questions: what `ask` returns is `yes-` and the question."""
    asked = questions(state)
    return Command(resume={asked[one]: f"yes-{one}" for one in chosen or asked})


def output(state: Any) -> str:
    """Return what the code printed, as the graph's last tool message has it."""
    return next(m for m in reversed(state["messages"]) if isinstance(m, ToolMessage)).text


def plain(call_id: str | None) -> str:
    """Return the id of a call of the code without the digest in it, which is another in each run."""
    return re.sub(r"\.[0-9a-f]{12}(?=:)", "", str(call_id))


def artifact(state: Any) -> Any:
    """Return the record of the execution."""
    message = next(m for m in reversed(state["messages"]) if isinstance(m, ToolMessage))
    return ExecutionResult.from_dict(message.artifact)


@contextmanager
def memory() -> Any:
    """Give a checkpointer of its own."""
    yield InMemorySaver()
