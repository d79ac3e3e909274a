"""A process with an agent whose code asks another agent over A2A; killed and started again by tests.

    python -m tests.support.a2a_host DATABASE CARD_ADDRESS ANSWER

Runs the thread from where it is in the database, with `ANSWER` (JSON) to what it waits for, and prints what
it waits for then, or the last message. Events of progress are printed as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from langchain_ptc import ToolCatalog, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support import ROOT

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


class Host:
    """Processes of this module, one after another, on one database."""

    def __init__(self, folder: Path, address: str, message: str) -> None:
        self.database = folder / "checkpoints.sqlite"
        self._given = [str(self.database), address, message]
        self._process: subprocess.Popen[str] | None = None

    def start(self, answer: object = None) -> None:
        given = [*self._given, "" if answer is None else json.dumps(answer)]
        command = [sys.executable, "-m", "tests.support.a2a_host", *given]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def read(self) -> dict[str, Any]:
        """Return the next fact that the process prints."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process ended"
        return dict(json.loads(line))

    def finish(self) -> dict[str, Any]:
        """Return the last fact."""
        while "said" not in (fact := self.read()):
            pass
        self.kill()
        return fact

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def count(self, text: str) -> int:
        """Return how many records of the checkpointer have this text."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            asked = "SELECT count(*) FROM writes WHERE instr(value, CAST(? AS BLOB))"
            return int(connection.execute(asked, [text]).fetchone()[0])


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so; for a thread."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
