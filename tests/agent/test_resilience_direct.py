"""The policies of a tool hold for calls that the model makes itself, beside the code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool

from langchain_ptc import (
    Breaker,
    Budget,
    Cache,
    InProcessSandbox,
    ProgrammaticToolCallingMiddleware,
    RateLimit,
    Retry,
    ToolCallInfo,
    ToolPolicy,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.waiting import SECONDS

BOTH = pytest.mark.parametrize("asynchronous", [True, False], ids=["async", "sync"])
QUICK = Retry(attempts=3, wait_seconds=0.001, max_wait_seconds=0.001, jitter_seconds=0.0)
CALLERS: Any = ("code", "direct")


def direct(name: str, **args: Any) -> AIMessage:
    """Return a message in which the model calls a tool itself."""
    return tool_call_message(name, args)


def code(text: str) -> AIMessage:
    """Return a message in which the model runs code."""
    return tool_call_message("run_code", {"code": text})


async def told(
    script: list[Any], tools: list[BaseTool], *, asynchronous: bool, **options: Any
) -> list[str]:
    """Run an agent, and return the texts of its tool messages."""
    middleware = ProgrammaticToolCallingMiddleware(sandbox=InProcessSandbox(), **options)
    agent = create_agent(
        ScriptedChatModel(script=[*script, "done"]), tools, middleware=[middleware]
    )
    given: Any = {"messages": [HumanMessage("go")]}
    state = await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    return [m.text for m in state["messages"] if isinstance(m, ToolMessage)]


@BOTH
async def test_a_direct_call_is_tried_again_and_kept(asynchronous: bool) -> None:
    """A tool that only reads is called until it works, and its message is used again."""
    calls: Counter[str] = Counter()

    @tool
    def look(key: str) -> str:
        """Look something up."""
        calls[key] += 1
        if calls[key] < 3:
            raise ConnectionError(key)
        return f"{key} {calls[key]}"

    policy = ToolPolicy(allowed_callers=CALLERS, read_only=True, retry=QUICK, cache=Cache())
    script = [direct("look", key="a"), direct("look", key="a"), direct("look", key="b")]
    found = await told(script, [look], asynchronous=asynchronous, policies={"look": policy})
    # There is no thread here whose results these could be.
    assert found == ["a 3", "a 4", "b 3"]
    shared = ToolPolicy(
        allowed_callers=CALLERS, read_only=True, retry=QUICK, cache=Cache(scope="executor")
    )
    calls.clear()
    found = await told(script, [look], asynchronous=asynchronous, policies={"look": shared})
    assert found == ["a 3", "a 3", "b 3"]


@BOTH
async def test_the_breaker_is_the_same_for_code_and_for_the_model(asynchronous: bool) -> None:
    """What fails in code is left alone by the model's own calls too."""
    calls = 0

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        nonlocal calls
        calls += 1
        raise ConnectionError("down")

    policy = ToolPolicy(allowed_callers=CALLERS, breaker=Breaker(failures=2))
    attempt = "try:\n    await pay(amount=1)\nexcept ToolCallError:\n    pass\n"
    script = [code(attempt * 2), direct("pay", amount=1)]
    found = await told(script, [pay], asynchronous=asynchronous, policies={"pay": policy})
    assert calls == 2
    assert found[1].startswith("pay is not called for now: it has failed 2 times in a row")


@BOTH
async def test_hooks_timeouts_and_gates_hold(asynchronous: bool) -> None:
    """Hooks see the call, and a tool that takes too long is an error message, once."""
    import asyncio
    import threading

    seen: list[ToolCallInfo] = []
    let_go = threading.Event()
    calls = 0

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        nonlocal calls
        calls += 1
        if amount > 1:
            let_go.wait(SECONDS)
        return f"paid {amount}"

    def before(call: ToolCallInfo) -> None:
        seen.append(call)
        if call.arguments["amount"] < 0:
            raise ToolException("never")

    policy = ToolPolicy(
        allowed_callers=("direct",),
        timeout_seconds=1,
        rate_limit=RateLimit(calls=100),
        max_concurrent_calls=1,
        before=before,
        after=lambda call, content: f"{content}!",
    )
    script = [direct("pay", amount=1), direct("pay", amount=-1), direct("pay", amount=2)]
    try:
        found = await told(script, [pay], asynchronous=asynchronous, policies={"pay": policy})
    finally:
        let_go.set()
        await asyncio.sleep(0)
    assert found[:2] == ["paid 1!", "pay failed: never"]
    assert found[2] == "pay did not answer within 1 second; it may still take effect"
    assert [info.execution_id for info in seen] == ["", "", ""]
    assert calls == 2


@BOTH
async def test_the_budget_of_a_run_counts_both(asynchronous: bool) -> None:
    """Calls of the code and of the model itself spend the same budget, between two user messages."""

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    two = AIMessage(
        "",
        tool_calls=[
            ToolCall(name="pay", args={"amount": n}, id=f"p{n}", type="tool_call") for n in (2, 3)
        ],
    )
    script = [code("print(await pay(amount=1), (await budget())['cost'])"), two]
    found = await told(
        script,
        [pay],
        asynchronous=asynchronous,
        policies={"pay": ToolPolicy(allowed_callers=CALLERS)},
        run_budget=Budget(cost=4.0, cost_of=lambda call: call.arguments["amount"]),
    )
    assert found[:2] == ["paid 1 3.0", "paid 2"]
    assert found[2].startswith("the budget of this whole task is spent: cost 3 of 4, and this call")
