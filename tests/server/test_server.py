"""Agents on a real local LangGraph server, over HTTP: `make e2e`.

The server is `langgraph dev`, with its detector of blocking calls on. It keeps its threads in a folder
when it stops; each start is another process that reads them.
"""

import contextlib
import importlib.util
import time
from typing import Any

import pytest

from tests.support.langgraph_server import Server

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        importlib.util.find_spec("langgraph_api") is None,
        reason="langgraph-cli[inmem] is not installed: `make e2e` installs it",
    ),
]

GRAPHS = ["buyer", "clerk"]
CODE = """\
price = await get_price("aa")
print(price)
print([await buy(item=item, price=price) for item in ("aa", "bb")])
"""


def ask(code: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": code}]}


def read_questions(client: Any, thread: str) -> dict[str, Any]:
    """Return what a thread waits for, by the id of the question."""
    state = client.threads.get_state(thread)
    return {i["id"]: i["value"] for task in state["tasks"] for i in task["interrupts"]}


@pytest.mark.timeout(240)
def test_two_approvals_in_other_processes(server: Server) -> None:
    """Each approval is given by id to another server process; each effect happens exactly once."""
    client = server.start()
    threads = {graph: client.threads.create()["thread_id"] for graph in GRAPHS}
    for graph, thread in threads.items():
        client.runs.wait(thread, graph, input=ask(CODE))
    states: dict[str, Any] = {}
    for item in ("aa", "bb"):
        server.stop()
        client = server.start()
        for graph, thread in threads.items():
            ((question, value),) = read_questions(client, thread).items()
            assert value["name"] == "buy"
            assert value["args"] == {"item": item, "price": 7}
            states[graph] = client.runs.wait(
                thread, graph, command={"resume": {question: {"type": "approve"}}}
            )
    for graph in GRAPHS:
        told = states[graph]["messages"][-1]["content"]
        assert told == "It says: 7\n['bought aa', 'bought bb']"
    effects = server.read_effects()
    assert [what for what, _ in effects] == [
        *["price aa"] * 2,  # once for each of the two graphs
        *["buy aa 7"] * 2,
        *["buy bb 7"] * 2,
    ]
    assert len({process for _, process in effects}) == 3
    assert "Blocking call" not in server.log.read_text()


@pytest.mark.timeout(120)
def test_events_and_cancel(server: Server) -> None:
    """Events come over the server's stream while the code runs; a cancelled run ends its tools."""
    client = server.start()
    for graph in GRAPHS:
        thread = client.threads.create()["thread_id"]
        stream = client.runs.stream(
            thread, graph, input=ask("print(await get_price('aa'))"), stream_mode="custom"
        )
        told = [part.data for part in stream if part.event == "custom"]
        assert [event["event"] for event in told] == [
            "execution_start",
            "call_start",
            "call_end",
            "output",
            "execution_end",
        ], graph

        run = ""
        watching = client.runs.stream(
            thread, graph, input=ask("await wait(60)"), stream_mode="custom"
        )
        with contextlib.closing(watching):
            for part in watching:
                run = run or part.data.get("run_id", "")
                if part.event == "custom" and part.data["event"] == "call_start":
                    break
            began = time.monotonic()
            client.runs.cancel(thread, run, wait=True)
        assert time.monotonic() - began < 20
        assert client.runs.get(thread, run)["status"] == "interrupted"
        after = client.runs.wait(thread, graph, input=ask("print('again')"))
        assert after["messages"][-1]["content"] == "It says: again"
        assert server.await_effects(2) == ["price aa", "cancelled"]
        server.effects.write_text("")
    assert "Blocking call" not in server.log.read_text()
