"""What the graph's side of a call costs: `python benchmarks/langgraph.py [--quick] [--peers]`.

Each figure is a ratio within one run: a LangChain tool called from code, to the same tool's `ainvoke`
alone, in turns, so that a noisy machine is as noisy for both. Prints a table; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures, and its folder comes first on the path of
# every script here. It steps aside for whoever means the package.
_path = list(sys.path)
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]
if __name__ == "langgraph":
    del sys.modules[__name__]
importlib.import_module("langgraph")
sys.path[:] = _path

from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_ptc import Limits, ProgrammaticToolExecutor, as_programmatic
from langchain_ptc.testing import tool_call_message

_LIMITS = Limits(wall_seconds=120, cpu_seconds=60, max_tool_calls=2_000)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def wait(seconds: float) -> float:
    """Wait."""
    await asyncio.sleep(seconds)
    return seconds


def one_after_another(calls: int) -> str:
    """Return code that makes calls one after another."""
    return f"for i in range({calls}):\n    await add(i, 1)"


def side_by_side(calls: int) -> str:
    """Return code that makes calls side by side."""
    return f"import asyncio\nawait asyncio.gather(*[add(i, 1) for i in range({calls})])"


async def timed(run: Callable[[], Awaitable[Any]]) -> float:
    """Return how many seconds `run` takes."""
    clock = time.perf_counter()
    await run()
    return time.perf_counter() - clock


async def alone(calls: int, *, gathered: bool) -> None:
    """Call the tool without us."""
    if gathered:
        await asyncio.gather(*[add.ainvoke({"a": i, "b": 1}) for i in range(calls)])
    else:
        for i in range(calls):
            await add.ainvoke({"a": i, "b": 1})


def graph_of(tools: list[BaseTool], checkpointer: Any) -> Any:
    """Build a graph of one node that runs the tool calls of the last message."""
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools)).add_edge(START, "tools")
    return graph.compile(checkpointer=checkpointer)


async def run_in(graph: Any, code: str, thread: str) -> None:
    """Run code in a graph; raise if it failed."""
    request = {"messages": [HumanMessage("go"), tool_call_message("run_code", {"code": code})]}
    state = await graph.ainvoke(request, {"configurable": {"thread_id": thread}})
    artifact = state["messages"][-1].artifact
    assert artifact["status"] == "success", artifact["error"]


async def ratios(
    name: str, calls: int, rounds: int, code: str, *, gathered: bool, run: Callable[[str], Any]
) -> None:
    """Measure both in turns, and print their ratio."""
    ours, base = [], []
    await run("print(1)")
    for _ in range(rounds):
        base.append(await timed(lambda: alone(calls, gathered=gathered)))
        ours.append(await timed(lambda: run(code)))
    each = statistics.median(ours) / calls * 1e6
    plain = statistics.median(base) / calls * 1e6
    ratio = statistics.median(o / b for o, b in zip(ours, base, strict=True))
    print(f"{name:<52} {each:8.0f} us   alone {plain:6.0f} us   {ratio:5.2f}x", flush=True)


async def main(*, quick: bool, peers: bool) -> None:
    """Measure and print."""
    calls, rounds = (100, 5) if quick else (200, 15)
    executor = ProgrammaticToolExecutor([add], limits=_LIMITS)
    tools = as_programmatic([add], limits=_LIMITS)
    count = iter(range(10_000_000))

    async def without(code: str) -> None:
        (await executor.aexecute(code)).raise_for_status()

    def with_journal(graph: Any) -> Callable[[str], Any]:
        return lambda code: run_in(graph, code, str(next(count)))

    print("a tool called from code, for each call, and the same tool's `ainvoke` alone")
    with tempfile.TemporaryDirectory() as directory:
        file = str(Path(directory, "checkpoints"))
        async with AsyncSqliteSaver.from_conn_string(file) as sqlite:
            ways = {
                "no journal": without,
                "journal in memory": with_journal(graph_of(tools, InMemorySaver())),
                "journal in SQLite": with_journal(graph_of(tools, sqlite)),
            }
            for way, run in ways.items():
                for gathered in (False, True):
                    code = (side_by_side if gathered else one_after_another)(calls)
                    shape = "side by side" if gathered else "one after another"
                    await ratios(
                        f"{way}, {calls} calls {shape}",
                        calls,
                        rounds,
                        code,
                        gathered=gathered,
                        run=run,
                    )
            for way, run in ways.items():
                seconds = await timed(lambda run=run: run(side_by_side(1_000)))
                print(f"{way + ', 1,000 calls in one program':<52} {seconds:8.2f} s", flush=True)
    await fifty_agents()
    if peers:
        await quickjs(calls, rounds)


async def fifty_agents() -> None:
    """Run fifty graphs side by side, each with one call of 0.2 s."""
    slow = as_programmatic([wait], limits=_LIMITS)
    for name, saver in (("no journal", None), ("journal in memory", InMemorySaver())):
        graph = graph_of(slow, saver)
        await run_in(graph, "print(1)", "warm")

        async def all_of_them(graph: Any = graph, name: str = name) -> None:
            await asyncio.gather(
                *[run_in(graph, "await wait(0.2)", f"{name} {n}") for n in range(50)]
            )

        await all_of_them()
        seconds = min([await timed(all_of_them) for _ in range(5)])
        print(f"{f'50 graphs at once, each one call of 0.2 s, {name}':<52} {seconds:8.2f} s")


async def quickjs(calls: int, rounds: int) -> None:
    """Measure langchain-quickjs, if it is installed."""
    try:
        from langchain.agents import create_agent
        from langchain_quickjs import CodeInterpreterMiddleware
    except ImportError:
        print("langchain-quickjs is not installed")
        return
    from langchain_ptc.testing import ScriptedChatModel

    async def run(code: str) -> None:
        model = ScriptedChatModel(script=[tool_call_message("eval", {"code": code}), "done"])
        middleware = CodeInterpreterMiddleware(ptc=["add"], max_ptc_calls=5_000, timeout=60)
        agent = create_agent(model, [add], middleware=[middleware])
        await agent.ainvoke({"messages": [HumanMessage("go")]})

    code = f"for (let i = 0; i < {calls}; i++) {{ await tools.add({{a: i, b: 1}}); }}"
    await ratios(
        f"langchain-quickjs, {calls} calls one after another",
        calls,
        rounds,
        code,
        gathered=False,
        run=lambda c: run("1" if c == "print(1)" else c),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--peers", action="store_true", help="langchain-quickjs too")
    arguments = parser.parse_args()
    asyncio.run(main(quick=arguments.quick, peers=arguments.peers))
