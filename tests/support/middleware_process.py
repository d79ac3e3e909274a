"""One process of a deployment: runs an agent until it pauses or ends, and says so as JSON.

Called with: the database, the file of effects, `sync` or `async`, and the answers as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.types import Command

from langchain_ptc import ProgrammaticToolCallingMiddleware
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

DATABASE, EFFECTS, MODE, ANSWERS = sys.argv[1:]
CODE = """\
price = await get_price("aa")
done = [await buy(item, price) for item in ("aa", "bb")]
print(price, done)
"""


def note(what: str) -> None:
    with Path(EFFECTS).open("a") as file:
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


def build(saver: Any) -> Any:
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


def tell(state: Any) -> None:
    waiting = {i.id: i.value for i in state.get("__interrupt__", ())}
    print(json.dumps({"waiting": waiting, "told": state["messages"][-2].text}))


def main() -> None:
    answers = json.loads(ANSWERS)
    given: Any = Command(resume=answers) if answers else {"messages": [("user", "buy")]}
    config: Any = {"configurable": {"thread_id": "t"}}
    if MODE == "sync":
        from langgraph.checkpoint.sqlite import SqliteSaver

        with SqliteSaver.from_conn_string(DATABASE) as saver:
            tell(build(saver).invoke(given, config))
        return

    async def run() -> None:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(DATABASE) as saver:
            tell(await build(saver).ainvoke(given, config))

    asyncio.run(run())


main()
