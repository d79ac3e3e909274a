"""Tests on a Ray cluster of this machine: `make cluster`, which installs Ray."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from langchain_ptc import RaySandbox
from tests.support.clusters import LocalCluster

if importlib.util.find_spec("ray") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """A cluster of two nodes that run code, and a head that does not."""
    with LocalCluster(2) as made:
        yield made


@pytest.fixture
def sandbox(cluster: LocalCluster) -> Iterator[RaySandbox]:
    """A sandbox on it."""
    with RaySandbox(cluster.address) as made:
        yield made
