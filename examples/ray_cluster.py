"""A Ray cluster of three nodes on this machine: 100 executions, one node killed in the middle.

    make cluster

Everything is one machine here: a raylet is a node. In production the nodes are pods or machines, and
`RaySandbox()` finds the cluster that its machine belongs to.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ptc import RaySandbox, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

EXECUTIONS, AT_ONCE, KILL_AFTER = 100, 20, 30
CODE = """\
import asyncio
prices = await asyncio.gather(*[get_price(item=n) for n in range(3)])
print(await pay(amount=sum(prices)))
"""


class Cluster:
    """A head that runs no code, and nodes that do."""

    def __init__(self, nodes: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        small = {"object_store_memory": 80_000_000, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        self._small = small
        self._nodes: list[Any] = []
        self.address: str = self._cluster.address
        for _ in range(nodes):
            self.add()

    @property
    def size(self) -> int:
        """How many nodes run code."""
        return len(self._nodes)

    def add(self) -> None:
        """Start a node."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, **self._small))

    def kill_one(self) -> None:
        """Kill a node with all its processes."""
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def make_agent(sandbox: RaySandbox, calls: Counter[str]) -> Any:
    """Return an agent whose model runs `CODE` and then says what it printed."""

    @tool
    async def get_price(item: int) -> int:
        """Look a price up."""
        calls["get_price"] += 1
        await asyncio.sleep(0.1)
        return 10 + item

    @tool
    async def pay(amount: int) -> str:
        """Pay an amount."""
        calls["pay"] += 1
        await asyncio.sleep(0.1)
        return f"paid {amount}"

    def reply(messages: list[Any]) -> Any:
        if messages[-1].type == "tool":
            return messages[-1].text
        return tool_call_message("run_code", {"code": CODE}, id="call-1")

    tools = as_programmatic([get_price, pay], sandbox=sandbox)
    model = ScriptedChatModel(script=reply)
    return create_agent(model, tools, checkpointer=InMemorySaver())


async def main() -> None:
    """Run the executions, and say what happened."""
    began = time.monotonic()
    cluster = Cluster(nodes=3)
    print(f"a cluster of 3 nodes after {time.monotonic() - began:.0f} s")
    sandbox, calls, ended = RaySandbox(cluster.address), Counter[str](), Counter[str]()
    agent, turns = make_agent(sandbox, calls), asyncio.Semaphore(AT_ONCE)

    async def run(number: int) -> None:
        async with turns:
            config: Any = {"configurable": {"thread_id": str(number)}}
            state = await agent.ainvoke({"messages": [("user", "go")]}, config)
            ended[state["messages"][-1].text] += 1
            if ended.total() == KILL_AFTER:
                print(f"{ended.total()} executions have ended: one node is killed")
                await asyncio.to_thread(cluster.kill_one)

    try:
        began = time.monotonic()
        await run(0)
        print(f"the first execution, which joins the cluster: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        await asyncio.gather(*[run(number) for number in range(1, EXECUTIONS)])
        print(f"the other {EXECUTIONS - 1}: {time.monotonic() - began:.1f} s")
        print(f"what the code printed: {dict(ended)}")
        print(f"calls: {dict(calls)}")
    finally:
        sandbox.close()
        await asyncio.to_thread(cluster.close)


if __name__ == "__main__":
    asyncio.run(main())
