"""A process of a service that shares the state of its policies with others through a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from langchain_core.tools import tool

from langchain_ptc import (
    Breaker,
    Cache,
    CallPolicies,
    InProcessSandbox,
    Limits,
    ProgrammaticToolExecutor,
    RateLimit,
    ToolCatalog,
    ToolPolicy,
)
from tests.support.waiting import SECONDS

RATE = RateLimit(calls=10, seconds=1.0)
POLICIES = {
    "count": ToolPolicy(rate_limit=RATE),
    "fail": ToolPolicy(breaker=Breaker(failures=3, reset_seconds=SECONDS)),
    "look_up": ToolPolicy(read_only=True, cache=Cache(seconds=SECONDS, scope="executor")),
}


@dataclass(frozen=True)
class Place:
    """A store: its kind, its connection string, what its users have in common, and whether these are synchronous."""

    kind: str
    connection: str
    name: str
    sync: bool


@asynccontextmanager
async def open_store(place: Place) -> AsyncIterator[Any]:
    """Open a store, and set it up if that has not been done."""
    if place.kind == "postgres":
        from langgraph.store.postgres import PostgresStore
        from langgraph.store.postgres.aio import AsyncPostgresStore

        kinds: tuple[Any, Any] = (PostgresStore, AsyncPostgresStore)
    else:
        from langgraph.store.sqlite import SqliteStore
        from langgraph.store.sqlite.aio import AsyncSqliteStore

        kinds = (SqliteStore, AsyncSqliteStore)
    if place.sync:
        with kinds[0].from_conn_string(place.connection) as store:
            yield store
    else:
        async with kinds[1].from_conn_string(place.connection) as store:
            yield store


async def set_up(place: Place) -> None:
    """Make the tables of a store."""
    async with open_store(place) as store:
        await asyncio.to_thread(store.setup) if place.sync else await store.setup()


def serve(place: Place, requests: Connection) -> None:
    """Run each program that is asked for, until there are no more; be a process of its own."""
    asyncio.run(_serve(place, requests))


async def _serve(place: Place, requests: Connection) -> None:
    times: list[float] = []

    @tool
    def count() -> None:
        """Note the time."""
        times.append(time.time())

    @tool
    def fail() -> None:
        """Fail."""
        times.append(time.time())
        raise ConnectionError("connection reset")

    @tool
    def look_up(key: str) -> str:
        """Look something up."""
        times.append(time.time())
        return f"the result of {key}"

    async with open_store(place) as store:
        executor = ProgrammaticToolExecutor(
            ToolCatalog([count, fail, look_up], policies=POLICIES),
            sandbox=InProcessSandbox(),
            limits=Limits(wall_seconds=SECONDS, tool_seconds=SECONDS, max_tool_calls=1000),
            call_policies=CallPolicies(store=store, name=place.name),
        )
        requests.send("ready")
        while (code := await asyncio.to_thread(requests.recv)) is not None:
            times.clear()
            if place.sync:
                result = await asyncio.to_thread(executor.execute, code)
            else:
                result = await executor.aexecute(code)
            requests.send((result.output, str(result.error or ""), list(times)))
