"""Processes of one service with one store, SQLite and PostgreSQL: what they share, on real clocks."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from langchain_ptc.run.policy_state import REFRESH_SECONDS
from tests.support.processes import PROCESSES
from tests.support.sharing import RATE, Place, serve, set_up
from tests.support.waiting import SECONDS

COUNT = """
import asyncio
await asyncio.gather(*[count() for _ in range({times})])
"""
FAIL = """
for _ in range({times}):
    try:
        await fail()
    except ToolCallError as error:
        print("refused" if "is not called for now" in str(error) else "failed")
"""


class Replica:
    """One process of the service."""

    def __init__(self, place: Place) -> None:
        self._requests, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=serve, args=(place, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Wait until it can run programs."""
        assert self._receive() == "ready"

    def begin(self, code: str) -> None:
        """Let it run a program."""
        self._requests.send(code)

    def end(self) -> tuple[str, list[float]]:
        """Return what the program has printed, and when its tools began, in seconds since 1970."""
        output, error, times = self._receive()
        assert not error
        return output, times

    def run(self, code: str) -> tuple[str, list[float]]:
        """Run a program; see `end`."""
        self.begin(code)
        return self.end()

    def stop(self) -> None:
        """Let it end."""
        self._requests.send(None)
        self._process.join(SECONDS)
        assert self._process.exitcode == 0

    def _receive(self) -> object:
        requests: Connection = self._requests
        assert requests.poll(SECONDS)
        return requests.recv()


@pytest.fixture(params=["sync", "async"])
def is_sync(request: pytest.FixtureRequest) -> bool:
    """Whether the store is the synchronous one."""
    return bool(request.param == "sync")


@pytest.fixture(params=["sqlite", "postgres"])
def replicas(
    request: pytest.FixtureRequest, is_sync: bool, tmp_path: Path
) -> Iterator[list[Replica]]:
    """Three processes with one store, of each kind in turn."""
    if request.param == "postgres":
        connection = request.getfixturevalue("postgres")
    else:
        connection = str(tmp_path / "store.db")
    place = Place(request.param, connection, uuid.uuid4().hex, is_sync)
    asyncio.run(set_up(place))
    started = [Replica(place) for _ in range(3)]
    for replica in started:
        replica.wait()
    yield started
    for replica in started:
        replica.stop()


def test_three_processes_share_what_they_know(replicas: list[Replica]) -> None:
    """Together they keep the rate; a breaker that one has opened is open in all; a result is looked up once.

    By any time since the first was asked for, no more than the limit for each period that has begun were
    made; half of it, for what a busy machine takes to ask the store. Alone they would make all in the second one.
    """
    began = time.time()
    for replica in replicas:
        replica.begin(COUNT.format(times=20))
    times = sorted(t for replica in replicas for t in replica.end()[1])
    assert len(times) == 60
    for number, at in enumerate(times, 1):
        periods = (at - began) // (RATE.seconds / 2) + 1
        assert number <= RATE.calls * periods

    first, *others = replicas
    for replica in replicas:
        assert replica.run("print(await look_up('a'))")[0] == "the result of a\n"
    assert first.run("print(await look_up('b'))")[1] != []
    assert [replica.run("print(await look_up('b'))")[1] for replica in others] == [[], []]

    assert others[0].run(FAIL.format(times=1))[0] == "failed\n"  # what it knows is new
    assert first.run(FAIL.format(times=4))[0].split() == ["failed"] * 3 + ["refused"]
    time.sleep(REFRESH_SECONDS)
    for replica in others:
        assert replica.run(FAIL.format(times=2)) == ("refused\nrefused\n", [])
