"""A process with an agent whose code asks another agent over A2A; killed and started again by tests.

    python -m tests.support.a2a_host DATABASE CARD_ADDRESS ANSWER

Runs the thread from where it is in the database, with `ANSWER` (JSON) to what it waits for, and prints what
it waits for then, or the last message. Events of progress are printed as they come.
"""

from __future__ import annotations

import asyncio
import json
import sys

from langchain.agents import create_agent
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from langchain_ptc import ToolCatalog, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

CODE = 'print((await ask("{message}")).text)'


def say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


async def main(database: str, address: str, message: str, answer: str) -> None:
    catalog = await ToolCatalog.from_a2a({"research": address})

    def note(event: dict[str, object]) -> None:
        if event["event"] == "call_progress":
            say(progress=event["state"])

    run = tool_call_message("run_code", {"code": CODE.format(message=message)}, id="c")
    model = ScriptedChatModel(script=lambda messages: run if len(messages) == 1 else "the end")
    async with AsyncSqliteSaver.from_conn_string(database) as saver:
        graph = create_agent(model, as_programmatic(catalog, on_event=note), checkpointer=saver)
        config = {"configurable": {"thread_id": "1"}}
        given: object = None
        if not (await graph.aget_state(config)).values:
            given = {"messages": [("user", "go")]}
        elif answer:
            given = Command(resume=json.loads(answer))
        state = await graph.ainvoke(given, config)
    asked = [one.value for one in state.get("__interrupt__", ())]
    say(asked=asked, said=[m.text for m in state["messages"] if m.type == "tool"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
