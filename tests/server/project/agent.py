"""Two agents as they are deployed: the tools behind `run_code`, and the middleware.

What the tools do to the world is a line in the file that `EFFECTS` names.
"""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_ptc import ProgrammaticToolCallingMiddleware, RaySandbox, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message


def note(what: str) -> None:
    with Path(os.environ["EFFECTS"]).open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


@tool
def get_price(item: str) -> int:
    """Look a price up."""
    note(f"price {item}")
    return 7


@tool
def buy(item: str, price: int) -> str:
    """Buy an item."""
    note(f"buy {item} {price}")
    return f"bought {item}"


@tool
async def wait(seconds: float) -> str:
    """Wait."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        threading.Thread(target=note, args=["cancelled"]).start()  # not for the loop, nor cancelled
        raise
    return "waited"


def reply(messages: Any) -> Any:
    """Run the code that the user sent, and report what it printed."""
    if isinstance(messages[-1], ToolMessage):
        return f"It says: {messages[-1].text}"
    asked = next(m for m in reversed(messages) if isinstance(m, HumanMessage))
    return tool_call_message("run_code", {"code": asked.text}, id=f"c{len(messages)}")


TOOLS = [get_price, buy, wait]
CLUSTER = os.environ.get("RAY_CLUSTER")
SANDBOX = RaySandbox(CLUSTER) if CLUSTER else None

buyer = create_agent(
    ScriptedChatModel(script=reply),
    as_programmatic(TOOLS, sandbox=SANDBOX, interrupt_on={"buy": True}, interrupt_mode="per_call"),
)

clerk = create_agent(
    ScriptedChatModel(script=reply),
    TOOLS,
    middleware=[
        ProgrammaticToolCallingMiddleware(sandbox=SANDBOX),
        HumanInTheLoopMiddleware({"buy": True}, interrupt_mode="per_call"),
    ],
)
