"""A task at an agent outlives pauses of the graph and the process that gave it, and is given once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import ToolCatalog, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support import ROOT
from tests.support.a2a_agents import Scripted, Served, only, serve

CONFIG: Any = {"configurable": {"thread_id": "1"}}


async def build(
    server: Served, code: str, *, binding: str = "JSONRPC", version: str = "1.0"
) -> Any:
    """Return an agent that runs `code` with a checkpointer."""
    catalog = await ToolCatalog.from_a2a({"research": only(server.card, binding, version)})
    model = ScriptedChatModel(script=[tool_call_message("run_code", {"code": code}), "the end"])
    return create_agent(model, as_programmatic(catalog), checkpointer=InMemorySaver())


def questions(state: Any) -> list[Any]:
    return [one.value for one in state.get("__interrupt__", ())]


def output(state: Any) -> str:
    return state["messages"][-2].text


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_person_answers_the_agent(
    server: Served, agent: Scripted, binding: str, version: str
) -> None:
    """A question of the agent interrupts the graph, and the answer goes into the same task; twice."""
    code = 'a = await ask("ask colour")\nprint(a.text, a.state)\nprint((await ask("hi you")).text)'
    graph = await build(server, code, binding=binding, version=version)
    state = await graph.ainvoke({"messages": [("user", "go")]}, CONFIG)
    (first,) = questions(state)
    assert {name: first[name] for name in ("type", "agent", "text", "data")} == {
        "type": "agent_question",
        "agent": "research",
        "text": "which colour?",
        "data": [{"options": ["a", "b"]}],
    }
    state = await graph.ainvoke(Command(resume="ask size"), CONFIG)
    (second,) = questions(state)
    assert (second["text"], second["task"]) == ("which size?", first["task"])
    state = await graph.ainvoke(Command(resume={"message": "finish off", "data": {"n": 1}}), CONFIG)
    assert output(state) == "done: off completed\ndone: you"
    assert [text for _, text in agent.messages] == [
        "ask colour",
        "ask size",
        "finish off",
        "hi you",
    ]
    assert len({name for name, _ in agent.messages}) == 4
    assert len(agent.parts[2]) == 2
    assert not agent.cancelled


async def test_concurrent_questions(server: Served, agent: Scripted) -> None:
    """Each answer goes to the task that asked, whatever the order of the questions."""
    code = """
import asyncio
answers = await asyncio.gather(*[ask(f"ask {n}") for n in range(3)], ask("hi you"))
print([a.text for a in answers])
"""
    graph = await build(server, code)
    state = await graph.ainvoke({"messages": [("user", "go")]}, CONFIG)
    asked = {one.value["text"]: one.id for one in state["__interrupt__"]}
    answers = {asked[f"which {n}?"]: f"answer {n}" for n in (2, 0, 1)}
    state = await graph.ainvoke(Command(resume=answers), CONFIG)
    assert output(state) == "['done: 0', 'done: 1', 'done: 2', 'done: you']"
    assert len(agent.messages) == 7


async def test_the_graph_streams_what_it_did_before(server: Served) -> None:
    """What is recorded of a task is no update of the user's graph."""
    graph = await build(server, 'print((await ask("hi you")).text)')
    nodes = [
        node
        async for update in graph.astream(
            {"messages": [("user", "go")]}, CONFIG, stream_mode="updates"
        )
        for node in update
    ]
    assert nodes == ["model", "tools", "model"]


# --- another process ----------------------------------------------------------------------------------


class Host:
    """Processes that run one thread after another, on one database."""

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


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Hosts that are killed at the end."""
    made: list[Host] = []
    yield made
    for host in made:
        host.kill()


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_killed_process_takes_the_task_up(
    agent: Scripted, tmp_path: Path, hosts: list[Host], streaming: bool
) -> None:
    """A process is killed while the agent works; another one gets the answer, and nothing is sent again."""
    with serve(agent, streaming=streaming) as server:
        host = Host(tmp_path, server.url, "wait here")
        hosts.append(host)
        host.start()
        assert await asyncio.to_thread(host.read) == {"progress": "submitted"}
        await asyncio.to_thread(wait_for, lambda: host.count(agent.tasks[0]))
        host.kill()
        host.start()
        before = len(server.requests)
        await asyncio.to_thread(wait_for, lambda: len(server.requests) > before + 1)
        agent.may_finish.set()
        assert await asyncio.to_thread(host.finish) == {"asked": [], "said": ["done: here"]}
    assert [text for _, text in agent.messages] == ["wait here"]
    assert not agent.cancelled


async def test_an_answer_to_another_process(
    server: Served, agent: Scripted, tmp_path: Path, hosts: list[Host]
) -> None:
    """Each question is answered in another process, and the agent works while no process runs."""
    host = Host(tmp_path, server.url, "ask colour")
    hosts.append(host)
    host.start()
    (asked,) = (await asyncio.to_thread(host.finish))["asked"]
    assert asked["text"] == "which colour?"
    known = host.count(asked["task"])
    host.start("wait there")
    assert await asyncio.to_thread(host.read) == {"progress": "working"}
    await asyncio.to_thread(wait_for, lambda: host.count(asked["task"]) > known)
    host.kill()
    agent.may_finish.set()
    host.start()
    assert await asyncio.to_thread(host.finish) == {"asked": [], "said": ["done: there"]}
    assert [text for _, text in agent.messages] == ["ask colour", "wait there"]
    assert not agent.cancelled


async def test_a_task_that_the_agent_has_forgotten(
    agent: Scripted, tmp_path: Path, hosts: list[Host]
) -> None:
    """An agent that has lost the task is not given it again: that is an error of the code."""
    with serve(agent) as server:
        host = Host(tmp_path, server.url, "wait here")
        hosts.append(host)
        host.start()
        await asyncio.to_thread(host.read)
        await asyncio.to_thread(wait_for, lambda: host.count(agent.tasks[0]))
        host.kill()
        server.forget()
        host.start()
        (said,) = (await asyncio.to_thread(host.finish))["said"]
        assert "the agent 'research' was given a task, and cannot be asked for it" in said
        assert "not found" in said.lower()
    assert len(agent.messages) == 1
