"""The agent that the example serves: questions about a company's expenses, and reminders by mail."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.prebuilt import ToolRuntime

from examples.company.database import create_company
from examples.company.models import PROGRAM
from examples.company.tools import build_tools
from langchain_ptc import as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

SUGGESTIONS = (
    "Who in Sales went over their travel budget in Q3?",
    "Remind everybody in Sales who went over their travel budget in Q3.",
)
REMIND = """
print(f"{len(over)} of {len(members)} people are over their budget")
emails = {m["name"]: m["email"] for m in members}
sent = await asyncio.gather(
    *[
        send_reminder(email=emails[name], text=f"You are {amount:.2f} EUR over your travel budget.")
        for name, amount in over.items()
    ],
    return_exceptions=True,
)
for line in sent:
    print(line)
"""
"""What the scripted model adds to `PROGRAM` when it is to send reminders."""


def build_agent(
    model: BaseChatModel, data: Path, checkpointer: BaseCheckpointSaver[Any]
) -> Runnable[Any, Any]:
    """Build the agent.

    Args:
        model: A scripted model, or a real one.
        data: Folder of the company's database and of the reminders that were sent.
        checkpointer: What keeps the conversations, and the journal of each program.
    """
    tools = as_programmatic(
        build_company_tools(data), interrupt_on={"send_reminder": True}, prefetch="stream"
    )
    return create_agent(model, tools, checkpointer=checkpointer)


def build_company_tools(data: Path) -> Sequence[BaseTool]:
    """Build the tools over `data`, which gets its databases if it has none."""
    company, sent = data / "company.db", data / "reminders.db"
    if not company.exists():
        made = company.with_suffix(f".{os.getpid()}")  # a process may be killed meanwhile
        create_company(made)
        made.replace(company)
    with closing(sqlite3.connect(sent)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS reminders (call_id TEXT PRIMARY KEY, email TEXT, text TEXT)"
        )

    @tool
    def send_reminder(email: str, text: str, runtime: ToolRuntime) -> str:
        """Send a reminder by mail."""
        # The id of a call stays the same when a program goes on after a crash: sent once.
        row = (runtime.tool_call_id, email, text)
        with closing(sqlite3.connect(sent, timeout=30)) as connection, connection:
            connection.execute("INSERT OR IGNORE INTO reminders VALUES (?, ?, ?)", row)
        return f"sent to {email}"

    return [*build_tools(company), send_reminder]


def scripted_model() -> ScriptedChatModel:
    """Build a model that knows the programs for `SUGGESTIONS`, and writes at a real model's speed."""
    return ScriptedChatModel(
        script=_reply,
        count_tokens=lambda text: len(text) // 4,
        seconds_per_call=0.3,
        tokens_per_second=200.0,
    )


def _reply(messages: list[BaseMessage]) -> AIMessage | str:
    last = messages[-1]
    if isinstance(last, ToolMessage):
        return f"This is what the program found:\n\n{last.text}"
    question = last.text.casefold()
    if "remind" in question:
        return tool_call_message("run_code", {"code": PROGRAM + REMIND})
    if "budget" in question:
        return tool_call_message("run_code", {"code": PROGRAM})
    return (
        "I am a scripted model and know two questions, which the page offers. "
        "Start the service with --model for a real one."
    )
