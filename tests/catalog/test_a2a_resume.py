"""A task at an agent outlives pauses of the graph and the process that gave it, and is given once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("a2a", reason="pip install 'langchain-ptc[a2a]'")
pytest.importorskip("sse_starlette", reason="pip install 'a2a-sdk[http-server]'")

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_ptc import ToolCatalog, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.a2a_agents import Scripted, Served, only, serve
from tests.support.a2a_host import Host, wait_for

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


async def test_a_model_calls_it_itself(server: Served, agent: Scripted) -> None:
    """Outside of code the function is an ordinary tool, and a task is given once all the same."""
    catalog = await ToolCatalog.from_a2a({"research": server.url})
    call = tool_call_message("ask_research", {"message": "ask colour"})
    model = ScriptedChatModel(script=[call, "the end"])
    graph = create_agent(model, [catalog["research.ask"].tool], checkpointer=InMemorySaver())
    state = await graph.ainvoke({"messages": [("user", "go")]}, CONFIG)
    assert [question["text"] for question in questions(state)] == ["which colour?"]
    state = await graph.ainvoke(Command(resume="finish red"), CONFIG)
    assert '"text": "done: red"' in output(state)
    assert [text for _, text in agent.messages] == ["ask colour", "finish red"]


def test_a_synchronous_graph(server: Served, agent: Scripted) -> None:
    """A graph that runs synchronously is interrupted and resumed in the same way."""
    graph = asyncio.run(build(server, 'print((await ask("ask size")).text)'))
    state = graph.invoke({"messages": [("user", "go")]}, CONFIG)
    assert [question["text"] for question in questions(state)] == ["which size?"]
    assert output(graph.invoke(Command(resume="finish big"), CONFIG)) == "done: big"
    assert [text for _, text in agent.messages] == ["ask size", "finish big"]


# --- another process ----------------------------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Hosts that are killed at the end."""
    made: list[Host] = []
    yield made
    for host in made:
        host.kill()


@pytest.mark.slow
async def test_a_killed_process_takes_the_task_up(
    server: Served, agent: Scripted, tmp_path: Path, hosts: list[Host]
) -> None:
    """A process is killed while the agent works; another one gets the answer, and nothing is sent again."""
    host = Host(tmp_path, server.url, "wait here")
    hosts.append(host)
    host.start()
    assert await asyncio.to_thread(host.read) == {"progress": "submitted"}
    await asyncio.to_thread(wait_for, lambda: host.count(agent.tasks[0]))
    host.kill()
    before = len(server.requests)
    host.start()
    await asyncio.to_thread(wait_for, lambda: len(server.requests) > before + 2)
    agent.may_finish.set()
    assert await asyncio.to_thread(host.finish) == {"asked": [], "said": ["done: here"]}
    assert [text for _, text in agent.messages] == ["wait here"]
    assert not agent.cancelled


@pytest.mark.slow
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


@pytest.mark.slow
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
