"""The marker of the tests that start a LangGraph server."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "server: starts a local LangGraph server (make e2e)")
