"""Agents on a real local LangGraph server, over HTTP: `make e2e`.

The server is `langgraph dev`, with its detector of blocking calls on. It keeps its threads in a folder
when it stops; each start is another process that reads them.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

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


class Server:
    """A server of the project, which is stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.effects = folder / "effects"
        self.effects.touch()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    def start(self) -> Any:
        """Start it and return a client of it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        variables = {
            "EFFECTS": str(self.effects),
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "NO_COLOR": "1",
        }
        options = ["--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "langgraph_cli", "dev", *options],
                cwd=self.folder,
                env={**os.environ, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._client = get_sync_client(url=f"http://127.0.0.1:{port}")
        self._await_ready()
        return self._client

    def _await_ready(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, self.read_log()
            with contextlib.suppress(Exception):
                if self._client.assistants.search():
                    return
            time.sleep(0.2)
        raise AssertionError(f"the server did not start: {self.read_log()}")

    def stop(self) -> None:
        """Let it keep its threads and end; kill what is left of it."""
        if self._client is not None:
            self._client.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def read_effects(self) -> list[tuple[str, str]]:
        """Return what happened, and in which process."""
        lines = self.effects.read_text().splitlines()
        return [tuple(line.rsplit(" ", 1)) for line in lines]  # type: ignore[misc]

    def await_effects(self, count: int) -> list[str]:
        """Return what happened, when so much has."""
        end = time.monotonic() + 20
        while len(self.read_effects()) < count and time.monotonic() < end:
            time.sleep(0.05)
        return [what for what, _ in self.read_effects()]

    def read_log(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text()[-4000:]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a copy of the project, not yet started."""
    folder = tmp_path / "project"
    shutil.copytree(Path(__file__).parent / "project", folder)
    made = Server(folder)
    try:
        yield made
    finally:
        made.stop()


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
