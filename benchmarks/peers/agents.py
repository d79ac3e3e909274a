"""Measures tools called from code in an agent: `python agents.py NAME`, output JSON.

Runs in the environment of each, with LangChain tools wherever the agent takes them. The model is the same
few lines everywhere: it writes the code it is given, then says that it is done.
"""

# ruff: noqa: ARG002  # the methods are those of LangChain's models
from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from probe import tree_mb

CALLS, GATHERED, ROUNDS = 200, 100, 5


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def wait(seconds: float) -> float:
    """Wait."""
    await asyncio.sleep(seconds)
    return seconds


def define_tools(*, blocking: bool) -> list[Any]:
    """Define LangChain tools."""
    from langchain_core.tools import tool

    def add_now(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def wait_now(seconds: float) -> float:
        """Wait."""
        time.sleep(seconds)
        return seconds

    add_now.__name__, wait_now.__name__ = "add", "wait"
    return [tool(add_now), tool(wait_now)] if blocking else [tool(add), tool(wait)]


def build_model(reply: Any) -> Any:
    """Build a model that replies once, then says that it is done."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Model(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

        def _generate(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> Any:
            asked = len(messages) > 1 and any(isinstance(m, AIMessage) for m in messages)
            message = AIMessage("done") if asked else reply
            return ChatResult(generations=[ChatGeneration(message=message.model_copy())])

    return Model()


def call_of(tool: str, code: str) -> Any:
    """Build the message that calls a tool with code."""
    from langchain_core.messages import AIMessage

    return AIMessage("", tool_calls=[{"name": tool, "args": {"code": code}, "id": "1"}])


class Agent:
    """An agent that runs code; made anew for each run, as a model's script is."""

    calls = CALLS
    sequential = f"for i in range({CALLS}):\n    await add(i, 1)"
    gathered = f"import asyncio\nawait asyncio.gather(*[wait(0.05) for _ in range({GATHERED})])"
    hello = "print(1)"
    proof = "1"
    blocking = False
    """Whether it takes only tools that are not async."""

    def __init__(self) -> None:
        self.tools = define_tools(blocking=self.blocking)

    @staticmethod
    def load() -> None:
        """Import what is needed."""

    async def run(self, code: str) -> str:
        """Run code in a new agent and return all that its messages say."""
        raise NotImplementedError


def told_by(state: Any) -> str:
    """Return the text of the messages of a state; a tool that failed is an error here."""
    texts = []
    for message in state["messages"]:
        if getattr(message, "status", "") == "error":
            raise RuntimeError(str(message.content)[:200])
        texts.append(str(message.content))
    return "\n".join(texts[1:])


class Ours(Agent):
    """create_agent(tools=as_programmatic(tools))."""

    @staticmethod
    def load() -> None:
        """Import it."""
        from langchain.agents import create_agent  # noqa: F401

        from langchain_ptc import as_programmatic  # noqa: F401

    def __init__(self) -> None:
        from langchain_ptc import Limits, as_programmatic

        super().__init__()
        limits = Limits(wall_seconds=60, max_tool_calls=2_000, max_concurrent_calls=GATHERED)
        self._offered = as_programmatic(self.tools, limits=limits)

    async def run(self, code: str) -> str:
        """Run it."""
        from langchain.agents import create_agent

        agent = create_agent(build_model(call_of("run_code", code)), tools=self._offered)
        return told_by(await agent.ainvoke({"messages": [("user", "go")]}))


class QuickJs(Agent):
    """create_agent with langchain-quickjs' CodeInterpreterMiddleware."""

    sequential = f"for (let i = 0; i < {CALLS}; i++) {{ await tools.add({{a: i, b: 1}}); }}"
    gathered = f"await Promise.all(Array.from({{length: {GATHERED}}}, () => tools.wait({{seconds: 0.05}})))"
    hello = "console.log(1)"

    @staticmethod
    def load() -> None:
        """Import it."""
        from langchain.agents import create_agent  # noqa: F401
        from langchain_quickjs import CodeInterpreterMiddleware  # noqa: F401

    async def run(self, code: str) -> str:
        """Run it."""
        from langchain.agents import create_agent
        from langchain_quickjs import CodeInterpreterMiddleware

        middleware = CodeInterpreterMiddleware(ptc=["add", "wait"], max_ptc_calls=5_000, timeout=60)
        model = build_model(call_of("eval", code))
        agent = create_agent(model, self.tools, middleware=[middleware])
        return told_by(await agent.ainvoke({"messages": [("user", "go")]}))


class CodeAct(Agent):
    """langgraph-codeact with the `eval` of its README; tools are called as bare functions."""

    blocking = True
    calls = 100 * CALLS  # a bare function is called in no time
    sequential = f"for i in range({calls}):\n    add(i, 1)"
    gathered = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"with ThreadPoolExecutor({GATHERED}) as pool:\n"
        f"    print(len(list(pool.map(wait, [0.05] * {GATHERED}))))"
    )

    @staticmethod
    def load() -> None:
        """Import it."""
        from langgraph_codeact import create_codeact  # noqa: F401

    async def run(self, code: str) -> str:
        """Run it."""
        from langchain_core.messages import AIMessage
        from langgraph_codeact import create_codeact

        def evaluate(source: str, names: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(source, builtins.__dict__.copy(), names)
            return printed.getvalue() or "<code ran, no output printed to stdout>", {}

        model = build_model(AIMessage(f"```python\n{code}\n```"))
        graph = create_codeact(model, self.tools, evaluate).compile()
        return told_by(graph.invoke({"messages": [("user", "go")]}))


class Harness(Agent):
    """pydantic-ai's agent with CodeMode of pydantic-ai-harness, and tools of pydantic-ai."""

    sequential = f"for i in range({CALLS}):\n    await add(a=i, b=1)"
    gathered = (
        f"import asyncio\nawait asyncio.gather(*[wait(seconds=0.05) for _ in range({GATHERED})])"
    )

    def __init__(self) -> None:
        self.tools = []  # no LangChain tool to compare with

    @staticmethod
    def load() -> None:
        """Import it."""
        from pydantic_ai import Agent  # noqa: F401
        from pydantic_ai.models.function import FunctionModel  # noqa: F401
        from pydantic_ai_harness import CodeMode  # noqa: F401

    async def run(self, code: str) -> str:
        """Run it."""
        from pydantic_ai import Agent
        from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
        from pydantic_ai.models.function import FunctionModel
        from pydantic_ai_harness import CodeMode

        def reply(messages: list[Any], _: Any) -> Any:
            first = len(messages) == 1
            part = ToolCallPart("run_code", {"code": code}) if first else TextPart("done")
            return ModelResponse(parts=[part])

        mode = CodeMode(max_tool_calls=2_000)
        agent = Agent(FunctionModel(reply), tools=[add, wait], capabilities=[mode])
        told = (await agent.run("go")).all_messages()[2].parts[0]
        if told.part_kind != "tool-return":
            raise RuntimeError(str(told.content)[:200])
        return str(told.content)


AGENTS: dict[str, type[Agent]] = {
    "ours": Ours,
    "quickjs": QuickJs,
    "codeact": CodeAct,
    "harness": Harness,
}


async def seconds_of(run: Callable[[], Awaitable[object]]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    await run()
    return time.perf_counter() - began


async def measure(kind: type[Agent]) -> dict[str, Any]:
    """Measure everything; a call is compared with the tool's own `ainvoke`, in turns."""
    before = tree_mb(os.getpid())
    told: dict[str, Any] = {
        "import_ms": 1e3 * await seconds_of(lambda: asyncio.to_thread(kind.load))
    }
    agent = kind()

    async def hello() -> None:
        assert agent.proof in await agent.run(agent.hello)

    told["cold_ms"] = 1e3 * await seconds_of(hello)
    told["warm_ms"] = 1e3 * min([await seconds_of(hello) for _ in range(10)])
    gc.collect()
    told["memory_mb"] = tree_mb(os.getpid()) - before

    async def alone() -> None:
        for i in range(CALLS):
            await agent.tools[0].ainvoke({"a": i, "b": 1})

    async def alone_gathered() -> None:
        waits = [agent.tools[1].ainvoke({"seconds": 0.05}) for _ in range(GATHERED)]
        await asyncio.gather(*waits)

    runs = [hello, lambda: agent.run(agent.sequential)]
    runs += [alone, alone_gathered] if agent.tools else []
    rounds = [[await seconds_of(run) for run in runs] for _ in range(ROUNDS)]
    least = [min(times) for times in zip(*rounds, strict=True)]
    told["call_us"] = (least[1] - least[0]) / agent.calls * 1e6
    if agent.tools:
        told["call_x"] = statistics.median(
            (calls - warm) / agent.calls / (base / CALLS) for warm, calls, base, _ in rounds
        )
        told["alone_us"] = least[2] / CALLS * 1e6
        told["alone_parallel_ms"] = least[3] * 1e3
    told["parallel_ms"] = 1e3 * min(
        [await seconds_of(lambda: agent.run(agent.gathered)) for _ in range(3)]
    )
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(AGENTS[sys.argv[1]]))))
