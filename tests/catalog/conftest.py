"""An agent on the server of `a2a-sdk`, over HTTP on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.a2a_agents import Scripted, Served


@pytest.fixture
def agent() -> Scripted:
    """The agent that is served."""
    from tests.support.a2a_agents import Scripted

    return Scripted()


@pytest.fixture
def server(agent: Scripted) -> Iterator[Served]:
    """A server of the agent."""
    from tests.support.a2a_agents import serve

    with serve(agent) as served:
        yield served
