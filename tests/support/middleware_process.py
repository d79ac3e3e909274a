"""One process of a deployment: runs an agent until it pauses or ends, and says so."""

import asyncio
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from langchain_ptc import ProgrammaticToolCallingMiddleware
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CODE = """\
price = await get_price("aa")
done = [await buy(item, price) for item in ("aa", "bb")]
print(price, done)
"""


def build(saver: Any, effects: Path) -> Any:
    def note(what: str) -> None:
        with effects.open("a") as file:
            file.write(what + "\n")

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

    def reply(messages: Any) -> Any:
        told = [m for m in messages if isinstance(m, ToolMessage)]
        return "done" if told else tool_call_message("run_code", {"code": CODE}, id="c1")

    return create_agent(
        ScriptedChatModel(script=reply),
        [get_price, buy],
        middleware=[
            ProgrammaticToolCallingMiddleware(),
            HumanInTheLoopMiddleware({"buy": True}, interrupt_mode="per_call"),
        ],
        checkpointer=saver,
    )


def summary(state: Any) -> dict[str, Any]:
    waiting = {i.id: i.value for i in state.get("__interrupt__", ())}
    return {"waiting": waiting, "told": state["messages"][-2].text}


def step(database: Path, effects: Path, mode: str, answers: dict[str, Any], told: Any) -> None:
    """Run the agent with answers, or from the start, and send down `told` where it stands."""
    given: Any = Command(resume=answers) if answers else {"messages": [("user", "buy")]}
    config: Any = {"configurable": {"thread_id": "t"}}
    if mode == "sync":
        with SqliteSaver.from_conn_string(str(database)) as saver:
            told.send(summary(build(saver, effects).invoke(given, config)))
        return

    async def run() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(database)) as saver:
            told.send(summary(await build(saver, effects).ainvoke(given, config)))

    asyncio.run(run())
