"""An `ExecutionLog` that is closed, collected or forked while its thread writes."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from langchain_ptc import (
    ExecutionLog,
    ProgrammaticToolExecutor,
)
from langchain_ptc.run.log import SqliteStore
from tests.support.threads import (
    forks,
    in_a_cycle,
    run_script,
)
from tests.support.waiting import SECONDS


def test_a_log_is_collected_in_the_thread_that_writes_it(
    tmp_path: Path, no_gc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a log that is collected waits for nothing, in its own thread among others."""
    log = ExecutionLog(path=tmp_path / "log.sqlite")
    result = ProgrammaticToolExecutor([]).execute("print(1)")
    add = SqliteStore.add

    def collecting(self: SqliteStore, record: Any) -> None:
        while holder() is not None and not released.wait(0.01):
            pass
        gc.collect()
        add(self, record)

    released = threading.Event()
    monkeypatch.setattr(SqliteStore, "add", collecting)
    before = set(threading.enumerate())
    log.add(result)
    (writer,) = set(threading.enumerate()) - before
    holder = in_a_cycle(log)
    del log
    released.set()
    writer.join(SECONDS)
    assert not writer.is_alive()
    assert holder() is None
    with ExecutionLog(path=tmp_path / "log.sqlite") as again:
        assert len(again.find()) == 1


@forks
def test_log_close_and_fork(tmp_path: Path) -> None:
    """`find` ends while `close` runs, and a forked child writes what it executes."""
    printed = run_script(
        f"""
        import os, threading
        from langchain_ptc import ExecutionLog, InProcessSandbox, ProgrammaticToolExecutor
        from langchain_ptc.run.log import SqliteStore
        def work(path, store):
            log = ExecutionLog(path=path)
            executor = ProgrammaticToolExecutor([], log=log, sandbox=InProcessSandbox())
            executor.execute("print(1)")
            log.flush()
            pid = os.fork()
            if pid == 0:
                executor.execute("print('child')")
                print("child finds", len(log.find()), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
            print("parent finds", len(log.find()), flush=True)
            entered, go_on = threading.Event(), threading.Event()
            add, record = store.add, log.find()[0]
            def slow(self, result):
                entered.set()
                go_on.wait()
                add(self, result)
            store.add = slow
            log.add(record)
            entered.wait()
            closing = threading.Thread(target=log.close)
            closing.start()
            try:
                while True:  # the same record, until the log takes no more
                    log.add(record)
            except ValueError:
                pass
            found = []
            def ask():
                found.append(len({{result.execution_id for result in log.find()}}))
            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            go_on.set()
            asking.join()
            closing.join()
            store.add = add
            print("closing finds", *found, flush=True)
        work({str(tmp_path / "log.sqlite")!r}, SqliteStore)
        """
    )
    assert printed.splitlines() == ["child finds 2", "parent finds 2", "closing finds 2"]
