"""Attacks by any Python on a node, and what is left of a thousand executions."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from langchain_ptc import ProgrammaticToolExecutor
from tests.escapes.attacks import Attack
from tests.escapes.attacks_host import GROWTH_MB, LIMITS, SLACK_SECONDS
from tests.escapes.conftest import Verdicts
from tests.escapes.test_kernel import EACH_ATTACK
from tests.sandbox.host.test_backpressure import ATTACKS as FLOODS
from tests.sandbox.host.test_backpressure import check_growth, grow_code
from tests.support.clusters import LocalCluster, busy, open_descriptors
from tests.support.waiting import wait_for

EXECUTIONS, AT_ONCE = 1_000, 20


@pytest.fixture(scope="module")
def verdicts(
    cluster: LocalCluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Verdicts:
    """The verdicts on all attacks, by one host."""
    wanted = [
        item.callspec.params["attack"]
        for item in request.session.items
        if item.path == request.path and "attack" in item.fixturenames
    ]
    return Verdicts(
        {"ray": wanted},
        tmp_path_factory.mktemp("attacks"),
        options={"env": {**os.environ, "RAY_CLUSTER": cluster.address}},
    )


@pytest.mark.timeout(300)  # the first waits for all
@EACH_ATTACK
def test_an_attack_on_a_node_shows_no_proof(verdicts: Any, attack: Attack) -> None:
    """As in a worker of this machine: no proof shows, and the host's next execution works in time."""
    verdict = verdicts.of("ray", attack.name)
    if attack.shows.get("kernel") is not None:
        assert verdict["shown"]
        return
    assert verdict["shown"] == [], verdict
    assert verdict["seconds"] <= LIMITS.wall_seconds + SLACK_SECONDS
    assert verdict["growth_mb"] <= GROWTH_MB
    assert verdict["calls"] <= LIMITS.max_tool_calls


@pytest.mark.parametrize("name", FLOODS)
def test_answers_that_are_never_read_do_not_pile_up(cluster: LocalCluster, name: str) -> None:
    """The host holds some megabytes of them, ends the execution in time, and the next one works."""
    told = subprocess.run(
        [sys.executable, "-c", grow_code(name, cluster.address)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    check_growth(told.stdout)


async def test_nothing_is_left_of_a_thousand_executions(cluster, sandbox):
    """There are as many descriptors, tasks and threads here, and connections and workers there, as before."""

    async def run(times: int) -> None:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        for _ in range(times // AT_ONCE):
            results = await asyncio.gather(*[executor.aexecute("print(1)") for _ in range(AT_ONCE)])
            assert {result.output for result in results} == {"1\n"}

    def count() -> tuple[int, ...]:
        gc.collect()
        here = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
        there = sum(open_descriptors(pid) for node in cluster.nodes for pid in node.actors())
        return *here, len(asyncio.all_tasks(loop)), there

    def is_idle() -> bool:
        return not busy(sandbox) and all(len(node.actors()) == 1 for node in cluster.nodes)

    loop = asyncio.get_running_loop()
    await run(5 * AT_ONCE)
    assert await asyncio.to_thread(wait_for, is_idle)
    before = count()
    await run(EXECUTIONS)
    assert await asyncio.to_thread(wait_for, is_idle)
    slack = 8  # workers that wait come and go, with two descriptors each
    assert await asyncio.to_thread(
        wait_for,
        lambda: all(now <= was + slack for now, was in zip(count(), before, strict=True)),
    ), (before, count())
