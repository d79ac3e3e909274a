"""The tools of the trials, and the graph that runs their programs."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.types import interrupt

from langchain_ptc import as_programmatic
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.testing import ScriptedChatModel, tool_call_message


def answer_to(question: str) -> str:
    """Return the one right answer to a question."""
    return f"answer to {question}"


def make_tools(log: Path, latency_seconds: float) -> list[BaseTool]:
    """Return tools that write down each effect, and take a while that nobody can foresee."""
    chance = random.SystemRandom()

    async def happen(effect: str) -> None:
        await asyncio.sleep(chance.random() * latency_seconds)
        await asyncio.to_thread(_append, log, effect)

    @tool
    async def get(key: str) -> str:
        """Read something."""
        await happen(f"get {key}")
        return f"got {key}"

    @tool
    async def post(key: str) -> str:
        """Write something."""
        await happen(f"post {key}")
        return f"posted {key}"

    @tool
    async def flaky(key: str) -> str:
        """Fail after having had an effect."""
        await happen(f"flaky {key}")
        raise ConnectionError(f"lost {key}")

    @tool
    async def ask(key: str) -> str:
        """Ask a person, and act on the answer."""
        answer = interrupt({"question": key})
        await happen(f"ask {key} = {answer}")
        return str(answer)

    @tool
    async def pay(key: str) -> str:
        """Pay, once a person has approved it."""
        await happen(f"pay {key}")
        return f"paid {key}"

    return [get, post, flaky, ask, pay]


def _append(log: Path, effect: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{effect}\n".encode())
    finally:
        os.close(file)


def make_agent(
    program: str, log: Path, checkpointer: Any, *, approve: bool, sandbox: Sandbox | None = None
) -> Any:
    """Return an agent whose model runs one program and then says what came out."""

    def reply(messages: list[BaseMessage]) -> AIMessage | str:
        if isinstance(messages[-1], ToolMessage):
            return str(messages[-1].content)
        return tool_call_message("run_code", {"code": program}, id="call-1")

    model = ScriptedChatModel(script=[reply] * 2)
    interrupt_on = {"pay": {"allowed_decisions": ["approve", "reject"]}} if approve else {}
    tools = as_programmatic(
        make_tools(log, 0.004),
        interrupt_on=interrupt_on,
        interrupt_mode="per_call",
        sandbox=sandbox,
    )
    return create_agent(model, tools, checkpointer=checkpointer)


REQUEST = {"messages": [HumanMessage("go")]}
