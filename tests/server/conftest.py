"""The marker of the tests that start a LangGraph server, and a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.langgraph_server import Server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "server: starts a local LangGraph server (make e2e)")


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
