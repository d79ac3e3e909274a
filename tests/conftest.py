"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from langchain_ptc.sandbox import Sandbox
from tests.support.pools import patience
from tests.support.postgres import postgres
from tests.support.sandboxes import CHOSEN, KINDS, open_sandbox

__all__ = ["no_gc", "nothing_left_open", "patience", "postgres", "sandbox"]


@pytest.fixture(scope="session", params=KINDS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Each sandbox in turn; one of each kind for the whole run, as a host keeps one."""
    with open_sandbox(request.param) as made:
        yield made


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Collect only when the test does."""
    gc.disable()
    yield
    gc.enable()


def pytest_sessionstart() -> None:
    """Let a program be stopped while a finalizer of the interpreter runs, which ignores and prints that.

    An `InProcessSandbox` stops what runs in a thread by an exception that may be raised at any of its
    instructions. It is raised again until the thread ends.
    """
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if unraisable.exc_type.__name__ != "Stopped":
            report(unraisable)

    sys.unraisablehook = report_others


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where sandboxes are chosen, run what is run on them and nothing else."""
    if not CHOSEN:
        return
    kinds = [getattr(item, "callspec", None) for item in items]
    chosen = [
        i
        for i, kind in zip(items, kinds, strict=True)
        if kind and kind.params.get("sandbox") in KINDS
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


_failures: dict[str, str] = {}
"""The first test with each failure of this process."""


def pytest_collection_finish() -> None:
    """Leave what is imported out of all later collections, of which each module ends with one, and make them few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print a failure once: a fixture that fails for a thousand tests has one traceback and one log."""
    report = yield
    if report.failed:
        first = _failures.setdefault(report.longreprtext, item.nodeid)
        if first != item.nodeid:
            report.longrepr, report.sections = f"the same failure as that of {first}", []
    return report


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open() -> Iterator[None]:
    """Collect what a module has left open: the warning is an error there, and not in a later module."""
    yield
    gc.collect()
