"""Whatever a tool raises is an error of its call, at once, on every path."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolRuntime
from pydantic import BaseModel, model_validator

from langchain_ptc import (
    InProcessSandbox,
    Limits,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolDefinition,
    ToolPolicy,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel
from tests.support.hosts import message_of

LIMITS = Limits(wall_seconds=20)
"""Far more than any of these takes: a call that never ends fails the test by its output."""
ASK: Any = {"messages": [("user", "q")]}


class Own(BaseException):
    pass


ERRORS: dict[str, tuple[Any, str]] = {
    "stop": (StopIteration, "StopIteration"),
    "stop-with-value": (lambda: StopIteration("no such row"), "StopIteration: no such row"),
    "stop-async": (lambda: StopAsyncIteration("the end"), "StopAsyncIteration: the end"),
    "generator-exit": (lambda: GeneratorExit("closed"), "GeneratorExit: closed"),
    "cancelled": (lambda: asyncio.CancelledError("by whom"), "CancelledError: by whom"),
    "system-exit": (lambda: SystemExit(2), "SystemExit: 2"),
    "keyboard-interrupt": (lambda: KeyboardInterrupt("typed"), "KeyboardInterrupt: typed"),
    "group": (
        lambda: ExceptionGroup("all", [ValueError("one"), ExceptionGroup("b", [KeyError("two")])]),
        "ExceptionGroup: all (2 sub-exceptions): ValueError: one; KeyError: 'two'",
    ),
    "base-group": (
        lambda: BaseExceptionGroup("all", [KeyboardInterrupt("one")]),
        "BaseExceptionGroup: all (1 sub-exception): KeyboardInterrupt: one",
    ),
    "own": (lambda: Own("of its own"), "Own: of its own"),
}


def fail(kind: str) -> Any:
    error = ERRORS[kind][0]()
    raise error


@tool
def plain(kind: str) -> dict:
    """Raise."""
    return fail(kind)


@tool
async def coroutine(kind: str) -> dict:
    """Raise."""
    await asyncio.sleep(0)
    return fail(kind)


@tool
def injected(kind: str, runtime: ToolRuntime) -> dict:
    """Raise."""
    return fail(kind)


@tool
async def injected_coroutine(kind: str, runtime: ToolRuntime) -> dict:
    """Raise."""
    return fail(kind)


class Subclass(BaseTool):
    name: str = "subclass"
    description: str = "Raise."

    def _run(self, kind: str) -> dict:
        return fail(kind)


ALONE: list[BaseTool] = [plain, coroutine, Subclass()]
IN_GRAPH: list[BaseTool] = [*ALONE, injected, injected_coroutine]


def code_of(tools: list[BaseTool], kind: str) -> str:
    return "".join(
        f"try:\n    await {tool_.name}({kind!r})\nexcept ToolCallError as e:\n    print(e)\n"
        for tool_ in tools
    )


async def by_execute(kind: str) -> str:
    executor = ProgrammaticToolExecutor(ALONE, limits=LIMITS)
    return (await asyncio.to_thread(executor.execute, code_of(ALONE, kind))).output


async def by_aexecute(kind: str) -> str:
    executor = ProgrammaticToolExecutor(ALONE, limits=LIMITS)
    return (await executor.aexecute(code_of(ALONE, kind))).output


async def in_process(kind: str) -> str:
    executor = ProgrammaticToolExecutor(ALONE, limits=LIMITS, sandbox=InProcessSandbox())
    return (await executor.aexecute(code_of(ALONE, kind))).output


async def by_invoke(kind: str) -> str:
    (run_code,) = as_programmatic(ALONE, limits=LIMITS)
    return await asyncio.to_thread(run_code.invoke, {"code": code_of(ALONE, kind)})


def agent_of(kind: str, **options: Any) -> Any:
    script = [message_of(code_of(IN_GRAPH, kind)), "end"]
    return create_agent(ScriptedChatModel(script=script), **options)


async def by_agent(kind: str) -> str:
    agent = agent_of(kind, tools=as_programmatic(IN_GRAPH, limits=LIMITS))
    return (await asyncio.to_thread(agent.invoke, ASK))["messages"][2].text


async def by_async_agent(kind: str) -> str:
    agent = agent_of(kind, tools=as_programmatic(IN_GRAPH, limits=LIMITS))
    return (await agent.ainvoke(ASK))["messages"][2].text


async def by_durable_agent(kind: str) -> str:
    tools = as_programmatic(IN_GRAPH, limits=LIMITS)
    agent = agent_of(kind, tools=tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    return (await asyncio.to_thread(agent.invoke, ASK, config))["messages"][2].text


async def by_durable_async_agent(kind: str) -> str:
    tools = as_programmatic(IN_GRAPH, limits=LIMITS)
    agent = agent_of(kind, tools=tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    return (await agent.ainvoke(ASK, config))["messages"][2].text


def with_middleware(kind: str) -> Any:
    return agent_of(
        kind, tools=IN_GRAPH, middleware=[ProgrammaticToolCallingMiddleware(limits=LIMITS)]
    )


async def by_middleware(kind: str) -> str:
    return (await asyncio.to_thread(with_middleware(kind).invoke, ASK))["messages"][2].text


async def by_async_middleware(kind: str) -> str:
    return (await with_middleware(kind).ainvoke(ASK))["messages"][2].text


async def by_node(kind: str) -> str:
    graph = StateGraph(MessagesState)
    model = ScriptedChatModel(script=[message_of(code_of(IN_GRAPH, kind))])
    graph.add_node("code", ProgrammaticToolNode(model, IN_GRAPH, limits=LIMITS))
    graph.add_edge(START, "code")
    return (await asyncio.to_thread(graph.compile().invoke, ASK))["messages"][-1].text


WAYS = (
    *(by_execute, by_aexecute, in_process, by_invoke, by_agent, by_async_agent),
    *(by_durable_agent, by_durable_async_agent, by_middleware, by_async_middleware, by_node),
)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("way", WAYS)
async def test_stopiteration_hangs(way, kind):
    """What Python and asyncio use as signals is an error of the call in the code, and says its name.

    In a thread: in the main one a KeyboardInterrupt is Ctrl-C, and goes through.
    """
    tools = ALONE if way in (by_execute, by_aexecute, in_process, by_invoke) else IN_GRAPH
    told = await asyncio.to_thread(lambda: asyncio.run(way(kind)))
    expected = [f"{tool_.name} failed: {ERRORS[kind][1]}" for tool_ in tools]
    assert told.splitlines() == expected


class Raises(AgentMiddleware):
    """A middleware that raises in place of the call."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        if request.tool_call["name"] == "run_code":
            return handler(request)
        return fail(self.kind)

    async def awrap_tool_call(self, request: Any, handler: Any) -> ToolMessage:
        if request.tool_call["name"] == "run_code":
            return await handler(request)
        return fail(self.kind)


@pytest.mark.parametrize(
    ("kind", "sync"),
    [
        *[(kind, True) for kind in ("stop", "generator-exit", "system-exit", "cancelled", "own")],
        # LangChain runs an asynchronous middleware in a task of its own, out of which asyncio
        # raises the others, for direct calls too.
        *[(kind, False) for kind in ("stop", "stop-with-value", "cancelled", "own")],
    ],
)
async def test_what_a_middleware_raises(kind, sync):
    """The same holds for what another middleware raises in place of a call."""
    code = "try:\n    await plain('stop')\nexcept ToolCallError as e:\n    print('caught', e)"
    middleware = [ProgrammaticToolCallingMiddleware(limits=LIMITS), Raises(kind)]
    agent = create_agent(
        ScriptedChatModel(script=[message_of(code), "end"]), [plain], middleware=middleware
    )
    state = await (asyncio.to_thread(agent.invoke, ASK) if sync else agent.ainvoke(ASK))
    told = state["messages"][2].text
    name = ERRORS[kind][1].partition(":")[0]
    expected = "was cancelled" if kind == "cancelled" else "failed: "
    assert told.startswith(f"caught plain {expected}")
    assert kind == "cancelled" or name in told


@pytest.mark.parametrize("hook", ["before", "after"])
@pytest.mark.parametrize("kind", ["stop-with-value", "system-exit", "group", "own"])
def test_what_a_hook_raises(hook, kind):
    """What a hook of a policy raises refuses the call in the same way."""

    @tool
    def fine() -> int:
        """Return."""
        return 1

    policy = ToolPolicy(**{hook: lambda *_: fail(kind)})
    executor = ProgrammaticToolExecutor([ToolDefinition(tool=fine, policy=policy)], limits=LIMITS)
    code = "try:\n    fine()\nexcept ToolCallError as e:\n    print(e)"
    assert executor.execute(code).output == f"fine failed: {ERRORS[kind][1]}\n"


async def test_an_execution_that_is_cancelled_is_cancelled():
    """A real cancel goes through a tool, and is no error of its call."""
    started = asyncio.Event()

    @tool
    async def waits() -> None:
        """Wait."""
        started.set()
        await asyncio.Event().wait()

    executor = ProgrammaticToolExecutor([waits])
    code = "try:\n    await waits()\nexcept ToolCallError:\n    print('caught')"
    task = asyncio.ensure_future(executor.aexecute(code))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


URLS = {
    "https://api.example.com/v1?tavilyApiKey=hush&q=tea": "https://api.example.com/v1?tavilyApiKey=[redacted]&q=tea",
    "http://example.com/?key=hush#top": "http://example.com/?key=[redacted]#top",
    "'https://a.example/x?page=2&access_token=hush'": "'https://a.example/x?page=2&access_token=[redacted]'",
    "postgresql://ada:hush@db.example/sales": "postgresql://ada:[redacted]@db.example/sales",
    "https://example.com/a?page=2&limit=9": "https://example.com/a?page=2&limit=9",
}


@pytest.mark.parametrize("way", ["raises", "raises a group", "is handled"])
async def test_keys_in_urls(way: str) -> None:
    """What a URL in an error has of keys and passwords is hidden, and nothing else of it."""

    @tool
    def fetch(url: int) -> str:
        """Fetch."""
        error = ConnectionError(f"429 for {list(URLS)[url]}")
        raise ExceptionGroup("all", [error]) if way == "raises a group" else error

    @tool
    def refuse(url: int) -> str:
        """Refuse."""
        raise ToolException(f"429 for {list(URLS)[url]}")

    refuse.handle_tool_error = True
    used = refuse if way == "is handled" else fetch
    executor = ProgrammaticToolExecutor([used], sandbox=InProcessSandbox(), limits=LIMITS)
    code = f"""\
for n in range({len(URLS)}):
    try:
        await {used.name}(n)
    except ToolCallError as error:
        print(str(error).partition("429 for ")[2])
"""
    result = await executor.aexecute(code)
    assert result.output.splitlines() == list(URLS.values())
    assert "hush" not in repr(result.to_dict())


class Span(BaseModel):
    """From a number to a larger one."""

    first: int
    last: int

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.first > self.last:
            raise ValueError("last comes first")
        return self


async def test_arguments_that_misfit_each_other() -> None:
    """What a schema says of all arguments together is said of no single one."""

    @tool(args_schema=Span)
    def read(first: int, last: int) -> int:
        """Read."""
        return last - first

    executor = ProgrammaticToolExecutor([read], sandbox=InProcessSandbox(), limits=LIMITS)
    result = await executor.aexecute(
        "try:\n    await read(2, 1)\nexcept ToolCallError as error:\n    print(error)"
    )
    told = "read failed: bad arguments: Value error, last comes first (got {'first': 2, 'last': 1})"
    assert result.output == f"{told}\n"
