"""A Postgres server for tests: the one that is named, or one that lives as long as the tests."""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMED = "LANGCHAIN_PTC_TEST_POSTGRES"
"""Names a server, as a connection string."""


@functools.cache
def programs() -> Path | None:
    """Return where the programs of a server are: on the path, or where Debian has them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, default=None)


def _version(path: Path) -> float:
    return float(path.parent.name)


def _owner() -> str:
    """Return the user of a server, which must not be root."""
    if os.geteuid():
        return getpass.getuser()
    import pwd

    return "postgres" if "postgres" in {user.pw_name for user in pwd.getpwall()} else "nobody"


@contextmanager
def server() -> Iterator[str]:
    """Start a server that only this machine reaches, by a socket in a directory; stop it at the end."""
    found, owner = programs(), _owner()
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        place = Path(name)
        shutil.chown(place, owner)
        data = place / "data"
        account = owner if os.geteuid() == 0 else None
        subprocess.run(
            [found / "initdb", "-D", data, "-U", "ptc", "-A", "trust", "--no-sync", "-E", "UTF8"],
            user=account,
            cwd=place,
            check=True,
            capture_output=True,
        )
        options = f"-c listen_addresses='' -c fsync=off -k {place}"
        control = [found / "pg_ctl", "-D", data, "-w", "-s"]
        subprocess.run(
            [*control, "-l", place / "log", "-o", options, "start"],
            user=account,
            cwd=place,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield f"host={place} user=ptc dbname=postgres"
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"], user=account, cwd=place, check=True
            )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the connection string of a server; skip where there is none and none can be started."""
    pytest.importorskip("langgraph.checkpoint.postgres")
    if named := os.environ.get(NAMED):
        yield named
        return
    if programs() is None:
        pytest.skip(f"there is no initdb, and {NAMED} names no server")
    with server() as started:
        yield started


@asynccontextmanager
async def open_postgres(connection: str, *, sync: bool) -> Any:
    """Open LangGraph's checkpointer of a server."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    if sync:
        with PostgresSaver.from_conn_string(connection) as saver:
            saver.setup()
            yield saver
    else:
        async with AsyncPostgresSaver.from_conn_string(connection) as opened:
            await opened.setup()
            yield opened
