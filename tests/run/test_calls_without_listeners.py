"""A call of the code does what LangChain's own call does, whether anybody listens or not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Annotated, Any

import langchain_core
import pytest
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, ensure_config
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, ToolException
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_ptc import ProgrammaticToolExecutor

SEEN: list[Any] = []
"""What the tools have seen."""


class Listener(BaseCallbackHandler):
    """Writes down what it is told of tools, without ids and times."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_tool_start(self, serialized: Any, input_str: str, **more: Any) -> None:
        shown = {key: more[key] for key in ("name", "tags", "metadata", "inputs")}
        self.events.append(("start", serialized, input_str, shown, more["parent_run_id"] is None))

    def on_tool_end(self, output: Any, **more: Any) -> None:
        told = output
        if isinstance(output, ToolMessage):
            told = (output.content, output.artifact, output.status, output.name)
        self.events.append(("end", told, more["tags"]))

    def on_tool_error(self, error: BaseException, **more: Any) -> None:
        self.events.append(("error", type(error), str(error), more["tags"]))


class Deaf(Listener):
    """Wants to hear of everything but tools."""

    ignore_agent = True


class Inner(BaseCallbackHandler):
    """Hears of what runs in a tool."""

    run_inline = True

    def on_chain_start(self, serialized: Any, inputs: Any, **more: Any) -> None:
        SEEN.append(
            ("inner", sorted(more["tags"]), more["metadata"], more["parent_run_id"] is not None)
        )


nested = RunnableLambda(lambda x: x).with_config(callbacks=[Inner()])


def see(**arguments: Any) -> None:
    """Write down what a tool is given, and what its context says."""
    config = ensure_config()
    SEEN.append(
        {
            "arguments": {name: (type(value), value) for name, value in arguments.items()},
            "tags": config["tags"],
            "metadata": config["metadata"],
            "configurable": config.get("configurable"),
            "callbacks": type(config["callbacks"]),
            "run_id": "run_id" in config,
        }
    )
    nested.invoke(1)


class Arguments(BaseModel):
    n: int
    many: list[int] = Field(default_factory=lambda: [7])
    other: int = Field(default=5, alias="an other")
    hidden: int = Field(default=1, exclude=True)

    @field_validator("n")
    @classmethod
    def _check(cls, n: int) -> int:
        if n < 0:
            raise ValueError("n must not be negative")
        return n


class ArgumentsV1(BaseModelV1):
    n: int
    other: int = 5


async def _acall(n: int, **more: Any) -> int:
    see(n=n, **more)
    if n > 100:
        raise ToolException(f"{n} is too much")
    if n > 50:
        raise KeyError(n)
    return n + 1


def _call(n: int, **more: Any) -> int:
    assert threading.current_thread() is not threading.main_thread()
    see(n=n, **more)
    if n > 50:
        raise KeyError(n)
    return n + 1


async def _self_cancelling(n: int) -> int:
    see(n=n)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return n


def build(function: Callable[..., Any] = _acall, **options: Any) -> BaseTool:
    which = "coroutine" if asyncio.iscoroutinefunction(function) else "func"
    given: dict[str, Any] = {which: function, "name": "f", "description": "F.", **options}
    given.setdefault("args_schema", Arguments)
    return StructuredTool.from_function(**given)


JSON_SCHEMA: Any = {
    "type": "object",
    "title": "f",
    "description": "F.",
    "properties": {"n": {"type": "integer"}, "more": {}},
    "required": ["n"],
}


async def _both(n: int) -> Any:
    see(n=n)
    return ([{"type": "text", "text": str(n)}], {"n": n}) if n < 9 else n


async def _with_config(n: int, config: RunnableConfig) -> int:
    see(n=n, tags=list(config["tags"]), name=config.get("run_name"))
    return n


async def _with_call_id(n: int, call_id: Annotated[str, InjectedToolCallId]) -> str:
    see(n=n)
    return call_id[-2:]


async def _with_callbacks(n: int, callbacks: Any = None) -> int:
    see(n=n, callbacks=type(callbacks))
    return n


async def with_defaults(n: int, m: int = 3, *, k: str = "k") -> list[Any]:
    """Take defaults."""
    see(n=n, m=m, k=k)
    return [n, m, k]


async def _with_runtime(n: int, runtime: ToolRuntime = None) -> bool:  # type: ignore[assignment]
    see(n=n)
    return runtime is None


async def _with_state(n: int, state: Annotated[Any, InjectedState] = None) -> bool:
    see(n=n)
    return state is None


class Subclass(StructuredTool):
    """A tool with an `arun` of its own."""

    async def arun(self, *given: Any, **more: Any) -> Any:
        SEEN.append("own arun")
        return await super().arun(*given, **more)


class Plain(BaseTool):
    """A tool that is no `StructuredTool`."""

    name: str = "f"
    description: str = "F."

    def _run(self, n: int) -> int:
        see(n=n)
        return n

    async def _arun(self, n: int) -> int:
        return self._run(n)


def _patched() -> BaseTool:
    made = build()
    real = made.arun

    async def arun(*given: Any, **more: Any) -> Any:
        SEEN.append("set arun")
        return await real(*given, **more)

    object.__setattr__(made, "arun", arun)
    return made


TOOLS: dict[str, Callable[[], BaseTool]] = {
    "pydantic": build,
    "sync": lambda: build(_call),
    "json-schema": lambda: build(args_schema=JSON_SCHEMA),
    "pydantic-1": lambda: build(args_schema=ArgumentsV1),
    "signature": lambda: build(with_defaults, args_schema=None),
    "both-parts": lambda: build(_both, args_schema=None, response_format="content_and_artifact"),
    "handles-errors": lambda: build(handle_tool_error=True),
    "handles-bad-arguments": lambda: build(handle_validation_error="bad arguments"),
    "return-direct": lambda: build(return_direct=True),
    "tags": lambda: build(tags=["t"], metadata={"m": 1}),
    "listener": lambda: build(callbacks=[Listener()]),
    "config": lambda: build(_with_config, args_schema=None),
    "call-id": lambda: build(_with_call_id, args_schema=None),
    "callbacks": lambda: build(_with_callbacks, args_schema=None),
    "runtime": lambda: build(_with_runtime, args_schema=None),
    "state": lambda: build(_with_state, args_schema=None),
    "own-cancel": lambda: build(_self_cancelling, args_schema=None),
    "subclass": lambda: Subclass(
        name="f", description="F.", coroutine=_acall, args_schema=Arguments
    ),
    "base-tool": Plain,
    "patched": _patched,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "nobody": dict,
    "named": lambda: {
        "tags": ["c"],
        "metadata": {"user": "ada"},
        "run_name": "named",
        "configurable": {"thread_id": "t"},
    },
    "deaf": lambda: {"callbacks": [Deaf()], "tags": ["c"]},
    "listener": lambda: {"callbacks": [Listener()], "tags": ["c"], "run_name": "named"},
}
NUMBERS = (3, -1, 60, 200)
"""One call that works, one with bad arguments, and one for each kind of error."""


def heard(config: Any, made: BaseTool) -> list[Any]:
    """Return what the listeners of a config and of a tool have heard."""
    listeners = [*(config.get("callbacks") or []), *(made.callbacks or [])]
    return [listener.events for listener in listeners]


async def langchains(made: BaseTool, n: int, config: Any) -> Any:
    call = {"name": "f", "args": {"n": n}, "id": "c:1", "type": "tool_call"}
    try:
        return await made.ainvoke(call, config)
    except BaseException as error:
        return error


@pytest.mark.parametrize("named", CONFIGS)
@pytest.mark.parametrize("kind", TOOLS)
async def test_a_call_is_langchains_own(kind: str, named: str) -> None:
    """The tool, what runs in it, and each listener see what they see when LangChain calls the tool."""
    for n in NUMBERS:
        SEEN.clear()
        own, own_config = TOOLS[kind](), CONFIGS[named]()
        answer = await langchains(own, n, dict(own_config))
        expected, expected_events = [*SEEN], heard(own_config, own)
        SEEN.clear()
        made, config = TOOLS[kind](), CONFIGS[named]()
        executor = ProgrammaticToolExecutor([made])
        result = await executor.aexecute(f"return await {made.name}({n})", config=config)
        (call,) = result.tool_calls
        # A call with bad arguments is refused before anybody hears of it.
        was_called = not isinstance(answer, ValidationError)
        assert (expected if was_called else []) == SEEN
        assert heard(config, made) == [told if was_called else [] for told in expected_events]
        if isinstance(answer, BaseException):
            assert call.error is not None
            assert call.error.startswith("f failed: ") or "was cancelled" in call.error
        elif answer.status == "error":
            assert call.error == f"f failed: {answer.content}"
        else:
            assert call.error is None
            said = answer.text if isinstance(result.value, str) else json.dumps(result.value)
            assert answer.content in (said, result.value)


async def test_what_is_set_on_a_tool_later_counts() -> None:
    """A listener, a name, a function or a handler that a tool gets later is there at its next call."""
    made = build()
    assert isinstance(made, StructuredTool)
    executor = ProgrammaticToolExecutor([made])

    async def run(n: int) -> Any:
        return (await executor.aexecute(f"return await f({n})")).tool_calls[0]

    assert (await run(1)).error is None
    made.callbacks = [listener := Listener()]
    await run(2)
    assert [event[0] for event in listener.events] == ["start", "end"]
    made.callbacks = None
    made.handle_tool_error = "sorry"
    assert (await run(200)).error == "f failed: sorry"
    made.handle_tool_error = False
    made.coroutine = lambda n, **_: asyncio.sleep(0, 10 * n)  # type: ignore[assignment]
    assert (await executor.aexecute("return await f(4)")).value == 40
    made.coroutine = None
    made.func = _call
    assert (await executor.aexecute("return await f(4)")).value == 5


async def test_global_debugging_hears_of_calls(capsys: pytest.CaptureFixture[str]) -> None:
    """`set_debug(True)` prints each call of the code, as it does for every tool."""
    executor = ProgrammaticToolExecutor([build()])
    set_debug(True)
    try:
        await executor.aexecute("await f(3)")
    finally:
        set_debug(False)
    assert "[tool/end]" in capsys.readouterr().out


async def test_astream_events_hears_of_calls() -> None:
    """`astream_events` yields the start and the end of each call of the code, with its message."""
    executor = ProgrammaticToolExecutor([build()])

    async def run(code: str, config: RunnableConfig) -> Any:
        return (await executor.aexecute(code, config=config)).value

    events = [event async for event in RunnableLambda(run).astream_events("return await f(3)")]
    tools = [event for event in events if event["event"].startswith("on_tool")]
    assert [event["event"] for event in tools] == ["on_tool_start", "on_tool_end"]
    assert tools[0]["data"]["input"] == {"n": 3}
    assert tools[1]["data"]["output"].content == "4"


async def test_tracing_by_the_environment_hears_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that LangChain takes from the context, as LangSmith's is, hears of the calls of the code."""
    from contextvars import ContextVar

    from langchain_core.tracers.context import _configure_hooks, register_configure_hook

    variable: ContextVar[Any] = ContextVar("listener", default=None)
    monkeypatch.setattr(langchain_core.tracers.context, "_configure_hooks", [*_configure_hooks])
    hooks = len(_configure_hooks)
    register_configure_hook(variable, inheritable=True)
    try:
        executor = ProgrammaticToolExecutor([build()])
        variable.set(listener := Listener())
        await executor.aexecute("await f(3)")
    finally:
        del _configure_hooks[hooks:]
    assert [event[0] for event in listener.events] == ["start", "end"]


@pytest.mark.parametrize("is_heard", [False, True], ids=["nobody", "listener"])
async def test_a_result_is_made_text_only_for_a_listener(is_heard: bool) -> None:
    """LangChain makes a text of a result where a listener reads it, and nowhere else."""
    texts = []

    class Result(BaseModel):
        n: int = 1

        def __str__(self) -> str:
            texts.append("made")
            return "a result"

    async def give() -> Any:
        return Result()

    made = build(give, args_schema=None)
    callbacks = [Listener()] if is_heard else []
    await ProgrammaticToolExecutor([made]).aexecute(
        "print((await f()).n)", config={"callbacks": callbacks}
    )
    assert texts == (["made"] if is_heard else [])


async def test_callbacks_are_made_once_for_an_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tool's calls report to is made for the first of an execution; the next execution's is its own."""
    made: list[Any] = []
    configure = AsyncCallbackManager.configure

    def count(*given: Any) -> AsyncCallbackManager:
        made.append(given)
        return configure(*given)

    monkeypatch.setattr(AsyncCallbackManager, "configure", count)

    async def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    tool = StructuredTool.from_function(coroutine=double, name="double")
    executor = ProgrammaticToolExecutor([tool])
    code = "for n in range(3):\n    print(await double(n))"
    for executions in (1, 2):
        assert (await executor.aexecute(code)).output == "0\n2\n4\n"
        assert len(made) == executions
    listener = Listener()
    await executor.aexecute(code, config={"callbacks": [listener]})
    assert [kind for kind, *_ in listener.events] == ["start", "end"] * 3


def test_synchronous_callers_run_the_synchronous_function() -> None:
    """From synchronous code the synchronous function runs, in a thread, with the config of its call."""
    SEEN.clear()
    made = build(_call, coroutine=_acall)
    executor = ProgrammaticToolExecutor([made])
    result = executor.execute("return await f(3)", config={"tags": ["c"]})
    assert result.value == 4
    assert SEEN[0]["tags"] == ["c"]
    assert SEEN[0]["callbacks"].__name__ == "CallbackManager"
    assert ToolNode([made]).tools_by_name == {"f": made}
