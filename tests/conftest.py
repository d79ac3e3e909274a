"""Fixtures that every test may use."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from langchain_ptc import InProcessSandbox, ProcessSandbox
from tests.support.postgres import postgres

__all__ = ["nothing_left_open", "postgres", "sandbox"]


@pytest.fixture(scope="session", params=["process", "inprocess"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[ProcessSandbox | InProcessSandbox]:
    """Each sandbox in turn; one of each kind for the whole run, as a host keeps one."""
    made = ProcessSandbox() if request.param == "process" else InProcessSandbox()
    with made:
        yield made


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open() -> Iterator[None]:
    """Collect what a module has left open: the warning is an error there, and not in a later module."""
    yield
    gc.collect()
