"""`ExecutionLog`: keeps what was executed, and finds it again.

It is kept in memory or in an SQLite database, which is written by a thread of its own: an execution waits for no
disk, and a disk that is full harms no execution.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Self, TypeAlias, get_args

from langchain_ptc.locks import ServiceThread, new_gate, new_lock
from langchain_ptc.run.record import CallStatus, ExecutionResult, ToolCallRecord, cut_middle
from langchain_ptc.sandbox.api import Status

logger = logging.getLogger("langchain_ptc")


# --- where records are kept ------------------------------------------------------------------------


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


class MemoryStore:
    """Keeps the last records in memory."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = new_lock()
        self._entries: OrderedDict[str, ExecutionResult] = OrderedDict()

    def add(self, result: ExecutionResult) -> None:
        """Keep a record, in place of an older one of the same execution."""
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
        return iter(sorted(entries, key=lambda result: result.started_at, reverse=True))


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


class SqliteStore:
    """Keeps records in a database, all if `keep` is None; several processes may write it. Raises `sqlite3.Error`."""

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
        record = json.dumps(result.to_dict())
        row = (result.execution_id, result.status, began, ended, record)
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
                yield ExecutionResult.from_dict(json.loads(record))

    def close(self) -> None:
        """Close the connection that writes."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def forget_after_fork(self) -> None:
        """Use another connection: SQLite's do not survive a fork, closing one included."""
        _lost.append(self._writing)
        self._writing = None


_lost: list[object] = []  # connections of the parent of this process; never closed here


# --- the log --------------------------------------------------------------------------------------

MAX_IN_MEMORY = 1_000  # executions that a log in memory keeps by default

_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_CLOSE_SECONDS = 5.0  # how long the end of the process waits for what is still to be written

_POLL_SECONDS = 1.0  # how often a thread that waits for the writer checks that it is still alive

_Task: TypeAlias = ExecutionResult | Callable[[], None] | None


class ExecutionLog:
    """Keeps the records of executions, and finds them again.

    Pass it as `log=` to `as_programmatic`, `ProgrammaticToolNode`, the middleware or an executor; one
    log may serve many of them, from any thread. What it keeps of an execution is its
    `ExecutionResult`, with the output that the model was shown, and without a session's variables and the
    content of pictures.

    An execution is in the log once it has ended, and not while it waits for a person. One that was
    resumed has one record.

    Args:
        path: Where to keep it: an SQLite database, whose name ends in `.db`, `.sqlite` or `.sqlite3`. None for
            memory.
        keep: How many executions to keep, the last ones; by default 1,000 in memory, and on disk all.

    Raises:
        ValueError: `path` ends in something else, or `keep` is not a positive whole number.
        sqlite3.Error: The file is not a database that can be opened.
    """

    def __init__(self, *, path: str | Path | None = None, keep: int | None = None) -> None:
        if keep is not None and (type(keep) is not int or keep < 1):
            raise ValueError(f"keep must be a whole number from 1, got {keep!r}")
        self._lock = new_lock()
        self._writer: _Writer | None = None
        self._is_closed = False
        self._store = _open(path, keep)

    def add(self, result: ExecutionResult) -> None:
        """Keep the record of an execution; does not wait for a disk.

        What cannot be written is reported to the logger `langchain_ptc`, and lost.

        Raises:
            ValueError: The log is closed.
        """
        stored = replace(
            result,
            output=cut_middle(result.output, result.output_chars),
            shown=tuple(replace(shown, data=None) for shown in result.shown),
            session=None,
        )
        with self._lock:
            if self._is_closed:
                raise ValueError("the log is closed; open another one")
            if isinstance(self._store, MemoryStore):
                self._store.add(stored)
                return
            writer = self._writer
            if writer is None or writer.pid != os.getpid():
                writer = self._start_writer(self._store)
            writer.tasks.put(stored)

    def note(self, result: ExecutionResult) -> None:
        """Keep the record of an execution if possible; else report it to the logger `langchain_ptc`.

        An execution that has taken effect must not fail because its log was closed meanwhile.
        """
        try:
            self.add(result)
        except Exception as error:  # noqa: BLE001  # it must not harm an execution
            logger.warning("the record of execution %s was lost: %s", result.execution_id, error)

    def find(
        self,
        *,
        execution_id: str | None = None,
        tool: str | None = None,
        status: Status | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[ExecutionResult]:
        """Return executions, the last one first.

        Waits for what is still to be written, and for the disk; see `afind`.

        Args:
            execution_id: Only the one with this id.
            tool: Only those that called this tool, by its name with or without its domain.
            status: Only those that ended like this.
            since: Only those that began at this time or later; with a time zone.
            until: Only those that began before this time; with a time zone.
            limit: At most this many.

        Raises:
            ValueError: The status is unknown, a time has no time zone, or `limit` is not positive.
        """
        query = _checked(Query(execution_id, tool, status, since, until), get_args(Status), limit)
        found = (result for result in self._read(query) if query.takes(result))
        return list(islice(found, limit))

    def find_calls(
        self,
        *,
        execution_id: str | None = None,
        tool: str | None = None,
        status: CallStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[ToolCallRecord]:
        """Return tool calls, those of the last execution first; as `find`.

        Raises:
            ValueError: The status is unknown, a time has no time zone, or `limit` is not positive.
        """
        query = Query(execution_id, tool, status, since, until)
        _checked(query, get_args(CallStatus), limit)
        results = self._read(replace(query, status=None))
        found = (c for result in results for c in result.tool_calls if query.takes_call(c))
        return list(islice(found, limit))

    async def afind(self, **wanted: object) -> list[ExecutionResult]:
        """Do as `find`, without holding up the event loop."""
        return await asyncio.to_thread(self.find, **wanted)  # type: ignore[arg-type]  # as find's

    async def afind_calls(self, **wanted: object) -> list[ToolCallRecord]:
        """Do as `find_calls`, without holding up the event loop."""
        return await asyncio.to_thread(self.find_calls, **wanted)  # type: ignore[arg-type]  # as find_calls'

    def flush(self) -> None:
        """Wait until everything that was added is written."""
        written = new_gate()
        with self._lock:
            writer = self._writer
            if writer is None or writer.pid != os.getpid():
                return  # what a process added before it was forked is the parent's to write
            if not self._is_closed:
                writer.tasks.put(written.release)
        if threading.current_thread() is writer.thread:
            return
        while writer.thread.is_alive() and not written.acquire(timeout=_POLL_SECONDS):
            pass

    def close(self) -> None:
        """Write what is left and take no more; what is kept can still be found. Idempotent.

        Waits five seconds for the disk at most; what is not written by then is written afterwards.
        """
        with self._lock:
            writer = None if self._is_closed else self._writer
            self._is_closed = True
        if writer is not None and writer.pid == os.getpid():
            writer.tasks.put(None)
            writer.thread.join(_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _start_writer(self, store: SqliteStore) -> _Writer:
        if self._writer is not None:
            store.forget_after_fork()
        writer = self._writer = _Writer(store)
        # In whatever thread the log is collected, the writer's own among them: waits for nothing.
        weakref.finalize(self, writer.tasks.put, None).atexit = False
        return writer

    def _read(self, query: Query) -> Iterator[ExecutionResult]:
        self.flush()
        return self._store.read(query)


def _open(path: str | Path | None, keep: int | None) -> MemoryStore | SqliteStore:
    if path is None:
        return MemoryStore(keep or MAX_IN_MEMORY)
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"the path of a log is a database: it must end in {', '.join(_SUFFIXES)}, got {str(path)!r}"
        )
    return SqliteStore(path, keep)


def _checked(query: Query, statuses: tuple[str, ...], limit: int) -> Query:
    if query.status is not None and query.status not in statuses:
        raise ValueError(f"status must be one of {', '.join(statuses)}, got {query.status!r}")
    if limit < 1:
        raise ValueError(f"limit must be positive, got {limit!r}")
    for name, moment in (("since", query.since), ("until", query.until)):
        if moment is not None and moment.tzinfo is None:
            raise ValueError(
                f"{name} must have a time zone, for example datetime.now(UTC), got {moment!r}"
            )
    return query


class _Writer:
    """The thread that writes for one log, of one process: a forked child starts its own."""

    def __init__(self, store: SqliteStore) -> None:
        self.pid = os.getpid()
        self.tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._store = store
        self.thread = ServiceThread(self._write, name="langchain-ptc-log")
        self.thread.start()
        _writers.add(self)

    def _write(self) -> None:
        """Write what is added until the log is closed."""
        while (task := self.tasks.get()) is not None:
            if not isinstance(task, ExecutionResult):
                task()
                continue
            try:
                self._store.add(task)
            except Exception:  # a full disk or a lost mount must not harm an execution
                logger.exception("the record of execution %s was not written", task.execution_id)
        self._store.close()


_writers: weakref.WeakSet[_Writer] = weakref.WeakSet()


def _write_the_rest() -> None:
    """Let the writers end before the interpreter does, which would cut them off."""
    writers = [writer for writer in list(_writers) if writer.pid == os.getpid()]
    for writer in writers:
        writer.tasks.put(None)
    until = time.monotonic() + _CLOSE_SECONDS
    for writer in writers:
        writer.thread.join(max(0.0, until - time.monotonic()))


atexit.register(_write_the_rest)
