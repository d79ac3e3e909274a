"""An agent of LangGraph that others ask over A2A.

What it does is a line in the file that `EFFECTS` names.
"""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt


def note(what: str) -> None:
    with Path(os.environ["EFFECTS"]).open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


async def advise(state: MessagesState) -> dict[str, Any]:
    """Advise, after a question, or when a file says so."""
    asked = state["messages"][-1].text
    await asyncio.to_thread(note, f"asked {asked}")
    if asked.startswith("choose"):
        answer = interrupt({"question": "which colour?", "options": ["red", "blue"]})
        await asyncio.to_thread(note, f"answered {answer}")
        return {"messages": [AIMessage(f"Take {answer}.")]}
    try:
        while asked == "wait" and not await asyncio.to_thread(Path("finish").exists):
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        threading.Thread(target=note, args=["cancelled"]).start()  # not for the loop, nor cancelled
        raise
    if asked == "fail":
        raise RuntimeError("no advice")
    return {"messages": [AIMessage(f"Advice on {asked}.")]}


adviser = StateGraph(MessagesState).add_node(advise).add_edge(START, "advise").compile()
