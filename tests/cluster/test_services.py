"""Agents on a real local LangGraph server and under uvicorn, whose code runs on a cluster."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import urllib.request

import pytest
import uvicorn

from langchain_ptc import ProgrammaticToolExecutor, RaySandbox
from tests.support import ROOT
from tests.support.waiting import SECONDS, wait_for


@pytest.mark.skipif(
    importlib.util.find_spec("langgraph_api") is None,
    reason="langgraph-cli[inmem] is not installed: `make e2e` installs it",
)
def test_the_tests_of_a_langgraph_server(cluster):
    """They hold where the agents run their code on a cluster, the detector of blocking calls among them."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/server"],
        cwd=ROOT,
        env={**os.environ, "RAY_CLUSTER": cluster.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * SECONDS,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout


def test_it_works_under_uvicorn(cluster):
    """The first request joins the cluster, and the server goes on serving meanwhile."""
    sandbox = RaySandbox(cluster.address, waiting_workers=1)
    executor = ProgrammaticToolExecutor([], sandbox=sandbox)

    async def app(scope, receive, send):
        body = b"ready"
        if scope["path"] == "/run":
            body = (await executor.aexecute("print(6 * 7)")).output.encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                return answer.read()

        answers: list[bytes] = []
        first = threading.Thread(target=lambda: answers.append(get("/run")))
        first.start()
        assert get("/") == b"ready"
        first.join()
        assert answers == [b"42\n"]
    finally:
        server.should_exit = True
        thread.join()
        sandbox.close()
