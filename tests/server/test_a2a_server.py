"""An agent on a real local LangGraph server, asked over A2A by code in other processes: `make e2e`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_ptc import Limits, ProgrammaticToolExecutor, ToolCatalog
from tests.support.a2a_host import Host, wait_for
from tests.support.langgraph_server import Server

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        importlib.util.find_spec("langgraph_api") is None,
        reason="langgraph-cli[inmem] is not installed: `make e2e` installs it",
    ),
]


@pytest.fixture
def address(server: Server) -> str:
    """The address of the card of an agent on a server that was started."""
    (found,) = server.start().assistants.search(graph_id="adviser")
    return f"{server.url}/.well-known/agent-card.json?assistant_id={found['assistant_id']}"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Any]:
    """Makes hosts, which are killed at the end."""
    made: list[Host] = []

    def make(address: str, message: str) -> Host:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Host(folder, address, message))
        return made[-1]

    yield make
    for host in made:
        host.kill()


@pytest.mark.timeout(240)
def test_an_interrupt_of_the_agent(server: Server, address: str, hosts: Any) -> None:
    """An interrupt of the agent's graph is one of the host's; another process answers it, once."""
    host = hosts(address, "choose a hat")
    host.start()
    (asked,) = host.finish()["asked"]
    assert (asked["type"], asked["agent"]) == ("agent_question", "research")
    assert asked["data"] == [{"question": "which colour?", "options": ["red", "blue"]}]
    host.start({"colour": "red"})
    assert host.finish() == {"asked": [], "said": ["Take {'colour': 'red'}."]}
    # LangGraph runs the interrupted node again from its start, with the answer.
    assert [what for what, _ in server.read_effects()] == [
        *["asked choose a hat"] * 2,
        "answered {'colour': 'red'}",
    ]
    assert "Blocking call" not in server.log.read_text()


@pytest.mark.timeout(240)
def test_a_killed_host(server: Server, address: str, hosts: Any) -> None:
    """The task goes on while its host is killed, and another process gets the answer of the same task."""
    host = hosts(address, "wait")
    host.start()
    assert host.read() == {"progress": "submitted"}
    (thread,) = server.client.threads.search()
    wait_for(lambda: host.count(thread["thread_id"]))  # it is the id of the conversation
    host.kill()
    (server.folder / "finish").touch()
    host.start()
    assert host.finish() == {"asked": [], "said": ["Advice on wait."]}
    assert [what for what, _ in server.read_effects()] == ["asked wait"]


@pytest.mark.timeout(240)
async def test_failures_and_limits(server: Server, address: str) -> None:
    """A failure is an error with the agent's words, and a call that takes too long is cancelled there."""
    catalog = await ToolCatalog.from_a2a({"adviser": address})
    executor = ProgrammaticToolExecutor(catalog, limits=Limits(tool_seconds=3))
    code = """
for message in ("hats", "fail", "wait"):
    try:
        print((await ask(message)).text)
    except ToolCallError as error:
        print(error)
"""
    first, second, third = (await executor.aexecute(code)).report().splitlines()
    assert first == "Advice on hats."
    assert second == "adviser.ask failed: the agent 'adviser' failed: no advice"
    assert "did not answer within 3 seconds (limit tool_seconds)" in third
    assert server.await_effects(4)[-1] == "cancelled"
