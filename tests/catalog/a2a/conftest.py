"""An agent on the server of `a2a-sdk`, over HTTP on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("a2a", reason="pip install 'langchain-ptc[a2a]'")
pytest.importorskip("sse_starlette", reason="pip install 'a2a-sdk[http-server]'")

from tests.support.a2a_agents import Scripted, Served, serve


@pytest.fixture
def agent() -> Scripted:
    """The agent that is served."""
    return Scripted()


@pytest.fixture
def server(agent: Scripted) -> Iterator[Served]:
    """A server of the agent."""
    with serve(agent) as served:
        yield served
