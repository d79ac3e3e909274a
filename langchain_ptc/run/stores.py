"""Where an `ExecutionLog` keeps its records: memory, JSON lines, SQLite."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from langchain_ptc.locks import new_lock
from langchain_ptc.run.record import ExecutionResult, ToolCallRecord

logger = logging.getLogger("langchain_ptc")


@dataclass(frozen=True, slots=True)
class Query:
    """What a query selects; None for any."""

    execution_id: str | None = None
    tool: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, result: ExecutionResult) -> bool:
        """Whether it selects this execution."""
        return (
            (self.execution_id is None or result.execution_id == self.execution_id)
            and (self.status is None or result.status == self.status)
            and (self.tool is None or any(map(self._is_of_tool, result.tool_calls)))
            and self._is_in_time(result.started_at)
        )

    def takes_call(self, call: ToolCallRecord) -> bool:
        """Whether it selects this call."""
        return (
            (self.status is None or call.status == self.status)
            and (self.tool is None or self._is_of_tool(call))
            and self._is_in_time(call.started_at)
        )

    def _is_of_tool(self, call: ToolCallRecord) -> bool:
        return self.tool in (call.tool, call.qualified_name)

    def _is_in_time(self, moment: datetime) -> bool:
        after = self.since is None or moment >= self.since
        return after and (self.until is None or moment < self.until)


class Store(ABC):
    """Keeps records. One thread adds; any thread reads."""

    @abstractmethod
    def add(self, result: ExecutionResult) -> None:
        """Keep a record, in place of an older one of the same execution."""

    @abstractmethod
    def read(self, query: Query) -> Iterator[ExecutionResult]:
        """Yield records, the latest first: all that match the query, and maybe more."""

    def close(self) -> None:  # noqa: B027  # for those that keep something open
        """Close what is open for writing."""

    def forget_after_fork(self) -> None:  # noqa: B027
        """Use nothing that the parent of this process has open for writing."""


class MemoryStore(Store):
    """Keeps the last records in memory.

    Args:
        keep: How many.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = new_lock()
        self._entries: OrderedDict[str, ExecutionResult] = OrderedDict()

    def add(self, result: ExecutionResult) -> None:
        """Keep a record; drop the oldest one if there are too many."""
        with self._lock:
            self._entries.pop(result.execution_id, None)
            self._entries[result.execution_id] = result
            if len(self._entries) > self._keep:
                self._entries.popitem(last=False)

    def read(self, query: Query) -> Iterator[ExecutionResult]:
        """Yield every record."""
        del query
        with self._lock:
            entries = list(self._entries.values())
        return _latest_first(entries)


class JsonLinesStore(Store):
    """Keeps a line of JSON for each record, in a file that only grows.

    Args:
        path: The file.
        keep: How many; when there are twice as many the file is written anew. Then only one process
            may write it. None to keep all.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, keep: int | None) -> None:
        self._path = path
        self._keep = keep
        with path.open("a+b") as file:
            file.seek(0)
            self._lines = sum(1 for _ in file) if keep else 0

    def add(self, result: ExecutionResult) -> None:
        """Write a line, all of it at once: several processes may write the same file."""
        line = f"{_render(result)}\n".encode()
        with self._path.open("ab", buffering=0) as file:
            file.write(line)
        self._lines += 1
        if self._keep is not None and self._lines >= 2 * self._keep:
            self._compact(self._keep)

    def read(self, query: Query) -> Iterator[ExecutionResult]:
        """Read the whole file, and yield every record."""
        del query
        return _latest_first(self._load(self._keep))

    def _load(self, keep: int | None) -> list[ExecutionResult]:
        entries: dict[str, ExecutionResult] = {}
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    result = _parse(line)
                except (ValueError, KeyError, TypeError):  # cut off by a crash, or not ours
                    logger.warning("line %d of %s is not a record: skipped", number, self._path)
                    continue
                entries.pop(result.execution_id, None)
                entries[result.execution_id] = result
        return [*entries.values()][-(keep or 0) :]

    def _compact(self, keep: int) -> None:
        records = self._load(keep)
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text("".join(f"{_render(result)}\n" for result in records), encoding="utf-8")
        os.replace(new, self._path)  # noqa: PTH105  # atomic on every system
        self._lines = len(records)


_SCHEMA = """
CREATE TABLE IF NOT EXISTS executions (
    execution_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS executions_by_time ON executions (started_at);
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    domain TEXT,
    status TEXT NOT NULL,
    PRIMARY KEY (execution_id, call_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_by_tool ON calls (tool, execution_id);
"""
_BUSY_SECONDS = 10.0


class SqliteStore(Store):
    """Keeps records in a database; several processes may write it.

    Args:
        path: The file.
        keep: How many; None to keep all.

    Raises:
        sqlite3.Error: The file is not a database that can be opened.
    """

    def __init__(self, path: Path, keep: int | None) -> None:
        self._path = path
        self._keep = keep
        with closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers
            database.executescript(_SCHEMA)
        self._writing: sqlite3.Connection | None = None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY_SECONDS)

    def add(self, result: ExecutionResult) -> None:
        """Write a record and its calls, both or neither."""
        if self._writing is None:  # in the thread that adds, where SQLite wants it
            self._writing = self._connect()
        began, ended = result.started_at.timestamp(), result.ended_at.timestamp()
        row = (result.execution_id, result.status, began, ended, _render(result))
        calls = [(c.call_id, c.execution_id, c.tool, c.domain, c.status) for c in result.tool_calls]
        with self._writing as database:
            database.execute("DELETE FROM calls WHERE execution_id = ?", (result.execution_id,))
            database.execute("INSERT OR REPLACE INTO executions VALUES (?, ?, ?, ?, ?)", row)
            database.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", calls)
            if self._keep is not None:
                self._drop(database, self._keep)

    def _drop(self, database: sqlite3.Connection, keep: int) -> None:
        old = database.execute(
            "SELECT execution_id FROM executions ORDER BY started_at DESC LIMIT -1 OFFSET ?",
            (keep,),
        ).fetchall()
        database.executemany("DELETE FROM executions WHERE execution_id = ?", old)
        database.executemany("DELETE FROM calls WHERE execution_id = ?", old)

    def read(self, query: Query) -> Iterator[ExecutionResult]:
        """Yield the records that a query may select."""
        conditions: list[str] = []
        values: list[object] = []
        for condition, value in (
            ("execution_id = ?", query.execution_id),
            ("status = ?", query.status),
            ("ended_at >= ?", query.since and query.since.timestamp()),
            ("started_at < ?", query.until and query.until.timestamp()),
            (
                "execution_id IN (SELECT execution_id FROM calls WHERE tool = ?)",
                query.tool and query.tool.rpartition(".")[2],
            ),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        select = f"SELECT record FROM executions {where}ORDER BY started_at DESC"  # noqa: S608
        with closing(self._connect()) as database:
            for (record,) in database.execute(select, values):
                yield _parse(record)

    def close(self) -> None:
        """Close the connection that writes."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def forget_after_fork(self) -> None:
        """Use another connection: SQLite's do not survive a fork, closing one included."""
        _lost.append(self._writing)
        self._writing = None


_lost: list[object] = []
"""Connections of the parent of this process; never closed here."""


def _latest_first(results: Iterable[ExecutionResult]) -> Iterator[ExecutionResult]:
    return iter(sorted(results, key=lambda result: result.started_at, reverse=True))


def _render(result: ExecutionResult) -> str:
    return json.dumps(result.to_dict())


def _parse(text: str) -> ExecutionResult:
    return ExecutionResult.from_dict(json.loads(text))
