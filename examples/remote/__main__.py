"""An agent whose code runs on servers, one of which is killed in the middle: `python -m examples.remote`.

Two servers of workers on this machine, and a graph with a checkpointer here. The server that runs the code is
killed while a call is in flight. The code goes on at the other one, and no call is made twice.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ptc import RemoteSandbox, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

TOKEN = secrets.token_urlsafe(32)
PROGRAM = """
import asyncio
regions = ["north", "east", "south", "west"]
total = 0
for region in regions:
    sales = await get_sales(region)
    total += sales
    print(region, sales)
await asyncio.gather(*[send_report(region, total) for region in regions])
print("total", total)
"""
SALES = {"north": 120, "east": 75, "south": 310, "west": 42}
CALL_SECONDS = 0.3
KILL_AT = 3
"""The call during which the server is killed."""


@contextmanager
def serve() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server; yield its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "langchain_ptc", "serve", "--port", str(port)]
    environment = {**os.environ, "LANGCHAIN_PTC_TOKEN": TOKEN}
    with subprocess.Popen(  # noqa: S603  # this package
        command, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until_ready(port, process)
            yield f"127.0.0.1:{port}", process
        finally:
            process.kill()


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens.

    Raises:
        RuntimeError: It has ended.
    """
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server ended with exit status {process.returncode}")


class Demo:
    """The tools of the agent, which say what happens.

    Args:
        sandbox: Where its code runs.
        processes: The servers' processes, by address.
    """

    def __init__(
        self, sandbox: RemoteSandbox, processes: dict[str, subprocess.Popen[bytes]]
    ) -> None:
        self.sandbox, self._processes = sandbox, processes
        self._began = time.monotonic()
        self.made: Counter[str] = Counter()
        """How often each call was made."""

    def say(self, what: str) -> None:
        """Print what happens, and when."""
        print(f"{time.monotonic() - self._began:6.2f} s  {what}", flush=True)

    def where(self) -> str:
        """Return the address of the server that runs the code."""
        return next((server.name for server in self.sandbox.stats() if server.running), "no server")

    async def make(self, call: str) -> None:
        """Make a call that takes a moment; kill the server in the middle of one."""
        self.made[call] += 1
        number = self.made.total()
        self.say(f"call {number}: {call}, asked for by code on {self.where()}")
        await asyncio.sleep(CALL_SECONDS / 2)
        if number == KILL_AT:
            address = self.where()
            self._processes[address].kill()
            self.say(f"{address} is killed, with call {number} in flight")
        await asyncio.sleep(CALL_SECONDS / 2)

    def tools(self) -> list[Any]:
        """Return the tools, which run in this process."""

        @tool
        async def get_sales(region: str) -> int:
            """Read the sales of a region."""
            await self.make(f"get_sales({region!r})")
            return SALES[region]

        @tool
        async def send_report(region: str, total: int) -> str:
            """Send a report to a region."""
            await self.make(f"send_report({region!r}, {total})")
            return "sent"

        return [get_sales, send_report]

    async def run(self) -> str:
        """Run the agent; return its answer."""

        def reply(messages: list[BaseMessage]) -> AIMessage | str:
            if isinstance(messages[-1], ToolMessage):
                return str(messages[-1].content)
            return tool_call_message("run_code", {"code": PROGRAM}, id="call-1")

        agent = create_agent(
            ScriptedChatModel(script=[reply, reply]),
            as_programmatic(self.tools(), sandbox=self.sandbox),
            checkpointer=InMemorySaver(),
        )
        question: Any = [("user", "What were the sales? Report them to the regions.")]
        state = await agent.ainvoke({"messages": question}, {"configurable": {"thread_id": "1"}})
        return str(state["messages"][-1].content)


def main() -> int:
    """Run the demo; return 1 if a call was made twice, or the answer is wrong."""
    with ExitStack() as stack:
        processes = dict(stack.enter_context(serve()) for _ in range(2))
        print(f"two servers of workers: {', '.join(processes)}\n")
        sandbox = stack.enter_context(RemoteSandbox(list(processes), token=TOKEN))
        demo = Demo(sandbox, processes)
        answer = asyncio.run(demo.run())
        demo.say(
            f"the code has ended; {sum(p.poll() is None for p in processes.values())} server is left"
        )
    twice = [call for call, times in demo.made.items() if times > 1]
    print(f"\nthe model reads:\n{answer}\n")
    print(f"{demo.made.total()} calls, made twice: {', '.join(twice) or 'none'}")
    return int(bool(twice) or f"total {sum(SALES.values())}" not in answer)


if __name__ == "__main__":
    sys.exit(main())
