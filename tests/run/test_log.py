"""`ExecutionLog`: what was executed, kept in memory or SQLite, and found again."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import (
    ExecutionLog,
    ExecutionResult,
    InProcessSandbox,
    Limits,
    ProgrammaticToolCallingMiddleware,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCallRecord,
    as_programmatic,
)
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support.waiting import SECONDS

T0 = datetime(2026, 1, 1, tzinfo=UTC)
FILES = {"memory": None, "sqlite": "log.sqlite"}
EACH_KIND = pytest.mark.parametrize("kind", FILES)


@tool
async def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@tool
async def fail(x: int) -> int:
    """Fail."""
    raise ValueError(f"no {x}")


def open_log(kind: str, directory: Path, **options: Any) -> ExecutionLog:
    """Open a log of one kind."""
    file = FILES[kind]
    return ExecutionLog(path=None if file is None else directory / file, **options)


def record(number: int, *, status: Any = "success", tools: tuple[str, ...] = ()) -> ExecutionResult:
    """Return the record of an execution that began `number` minutes after the first."""
    began = T0 + timedelta(minutes=number)
    calls = tuple(
        ToolCallRecord(
            call_id=f"{number}:{n}",
            execution_id=str(number),
            tool=name.rpartition(".")[2],
            domain=name.rpartition(".")[0] or None,
            arguments={"n": n},
            line=n,
            status="failed" if name.endswith("fail") else "returned",
            approval=None,
            started_at=began + timedelta(seconds=n),
            duration_seconds=0.5,
            result_bytes=3,
            error=None,
        )
        for n, name in enumerate(tools, 1)
    )
    return ExecutionResult(
        execution_id=str(number),
        code="print(1)",
        status=status,
        output=f"output {number}\n",
        value=None,
        error=None,
        notes=(),
        tool_calls=calls,
        started_at=began,
        duration_seconds=10.0,
        output_chars=20_000,
    )


RECORDS = [
    record(0, tools=("hr.get", "pay")),
    record(1, status="error", tools=("fail",)),
    record(2),
    record(3, status="limit", tools=("hr.get",)),
    record(4, tools=("other.get", "fail")),
]


@pytest.fixture(params=FILES)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExecutionLog]:
    """A log of each kind with the records above."""
    with open_log(request.param, tmp_path) as made:
        for one in RECORDS:
            made.add(one)
        yield made


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "43210"),
        ({"limit": 2}, "43"),
        ({"execution_id": "2"}, "2"),
        ({"execution_id": "none"}, ""),
        ({"status": "success"}, "420"),
        ({"tool": "get"}, "430"),
        ({"tool": "hr.get"}, "30"),
        ({"tool": "hr"}, ""),
        ({"since": T0 + timedelta(minutes=3)}, "43"),
        ({"until": T0 + timedelta(minutes=1)}, "0"),
        ({"since": T0 + timedelta(minutes=1), "until": T0 + timedelta(minutes=3)}, "21"),
        ({"status": "success", "tool": "fail"}, "4"),
    ],
)
def test_find(log: ExecutionLog, wanted: dict[str, Any], expected: str) -> None:
    """Executions are found by id, tool, status and time, the last one first."""
    assert "".join(found.execution_id for found in log.find(**wanted)) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["4:1", "4:2", "3:1", "1:1", "0:1", "0:2"]),
        ({"limit": 3}, ["4:1", "4:2", "3:1"]),
        ({"status": "failed"}, ["4:2", "1:1"]),
        ({"tool": "hr.get"}, ["3:1", "0:1"]),
        ({"execution_id": "0", "tool": "pay"}, ["0:2"]),
        ({"since": T0 + timedelta(minutes=4, seconds=2)}, ["4:2"]),
        ({"until": T0 + timedelta(seconds=2)}, ["0:1"]),
    ],
)
def test_find_calls(log: ExecutionLog, wanted: dict[str, Any], expected: list[str]) -> None:
    """So are calls, by their own status and time."""
    assert [call.call_id for call in log.find_calls(**wanted)] == expected


def test_what_is_found_is_what_was_kept(log: ExecutionLog) -> None:
    """A record comes back as it was."""
    assert log.find(execution_id="0") == [RECORDS[0]]


async def test_finding_without_holding_up_the_loop(log: ExecutionLog) -> None:
    """`afind` and `afind_calls` find the same."""
    assert await log.afind(status="limit") == log.find(status="limit")
    assert await log.afind_calls(tool="fail") == log.find_calls(tool="fail")


def test_a_later_record_of_the_same_execution(log: ExecutionLog) -> None:
    """There is one record for each execution: the last one."""
    log.add(replace(RECORDS[2], status="error"))
    assert [found.status for found in log.find(execution_id="2")] == ["error"]
    assert len(log.find()) == len(RECORDS)


@EACH_KIND
def test_the_last_ones_are_kept(kind: str, tmp_path: Path) -> None:
    """A log that keeps so many forgets the oldest ones."""
    with open_log(kind, tmp_path, keep=3) as log:
        for number in range(20):
            log.add(record(number, tools=("pay",)))
        assert [found.execution_id for found in log.find()] == ["19", "18", "17"]
        assert len(log.find_calls()) == 3


def test_a_log_on_disk_goes_on(tmp_path: Path) -> None:
    """Another log over the same file has what the first one wrote, and adds to it."""
    with open_log("sqlite", tmp_path) as log:
        log.add(RECORDS[0])
    with open_log("sqlite", tmp_path) as log:
        log.add(RECORDS[1])
        assert log.find() == [RECORDS[1], RECORDS[0]]


@EACH_KIND
def test_many_threads(kind: str, tmp_path: Path) -> None:
    """Threads that add and find at once lose nothing."""
    with open_log(kind, tmp_path) as log:

        def work(part: int) -> None:
            for number in range(20):
                log.add(record(100 * part + number, tools=("pay",)))
            log.find(tool="pay", limit=5)

        threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({found.execution_id for found in log.find(limit=1000)}) == 160


@EACH_KIND
def test_what_cannot_be_asked(kind: str, tmp_path: Path) -> None:
    """A query that can find nothing, or what is not meant, is refused."""
    with open_log(kind, tmp_path) as log:
        with pytest.raises(ValueError, match="status must be one of success, error"):
            log.find(status="ok")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="status must be one of returned"):
            log.find_calls(status="success")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="since must have a time zone"):
            log.find(since=datetime(2026, 1, 1))
        with pytest.raises(ValueError, match="limit must be positive"):
            log.find(limit=0)


def test_what_is_no_log(tmp_path: Path) -> None:
    """Wrong options and files that cannot be opened are told at once."""
    with pytest.raises(ValueError, match=r"must end in .db, .*got 'log.jsonl'"):
        ExecutionLog(path="log.jsonl")
    with pytest.raises(ValueError, match="keep must be a whole number from 1, got 0"):
        ExecutionLog(keep=0)
    with pytest.raises(sqlite3.Error):
        ExecutionLog(path=tmp_path / "no such folder" / "log.db")


def test_a_closed_log(log: ExecutionLog) -> None:
    """It takes nothing more, and what it has can still be found."""
    log.close()
    log.close()
    with pytest.raises(ValueError, match="the log is closed"):
        log.add(RECORDS[0])
    assert len(log.find()) == len(RECORDS)


async def test_a_disk_that_fails_harms_no_execution(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is told to the logger, and the execution goes on."""
    log = ExecutionLog(path=tmp_path / "log.db")
    (tmp_path / "log.db").unlink()
    (tmp_path / "log.db").mkdir()
    with InProcessSandbox() as sandbox:
        executor = ProgrammaticToolExecutor([double], log=log, sandbox=sandbox)
        result = await executor.aexecute("print(1)")
    log.flush()
    assert result.output == "1\n"
    assert result.execution_id in caplog.text
    log.close()


@EACH_KIND
async def test_an_execution_waits_for_no_disk(kind: str, tmp_path: Path) -> None:
    """Nothing blocks the event loop while records are written."""
    with InProcessSandbox() as sandbox, open_log(kind, tmp_path) as log:
        executor = ProgrammaticToolExecutor([double], log=log, sandbox=sandbox)
        with blockbuster_ctx("langchain_ptc.run"):
            results = await asyncio.gather(
                *[executor.aexecute(f"print(await double(x={n}))") for n in range(5)]
            )
        assert {r.execution_id for r in results} == {r.execution_id for r in await log.afind()}


async def test_what_a_log_keeps_of_an_execution(tmp_path: Path) -> None:
    """The output that the model was shown, the value, and everything else; on disk as in memory."""
    for kind in FILES:
        with InProcessSandbox() as sandbox, open_log(kind, tmp_path) as log:
            executor = ProgrammaticToolExecutor(
                [double, fail], log=log, sandbox=sandbox, limits=Limits(output_chars=50)
            )
            result = await executor.aexecute(
                "print('x' * 1000)\ntry:\n    await fail(x=1)\nexcept ToolCallError:\n    pass\n"
                "{'answer': await double(x=21)}"
            )
            (kept,) = log.find()
        assert len(kept.output) < 200
        assert "characters cut" in kept.output
        assert kept.value == {"answer": 42}
        assert kept.tool_calls == result.tool_calls
        assert [call.status for call in kept.tool_calls] == ["failed", "returned"]


async def test_every_way_in_has_a_log() -> None:
    """Tool, node and middleware keep records as an executor does."""
    log = ExecutionLog()
    code = "print(await double(x=4))"
    asked = tool_call_message("run_code", {"code": code}, id="c1")
    given: Any = {"messages": [HumanMessage("go"), asked]}
    with InProcessSandbox() as sandbox:
        tools = ToolNode(as_programmatic([double], log=log, sandbox=sandbox))
        graph = StateGraph(MessagesState).add_node("tools", tools).add_edge(START, "tools")
        await graph.compile().ainvoke(given)
        model = ScriptedChatModel(script=[asked])
        node = ProgrammaticToolNode(model, [double], log=log, sandbox=sandbox)
        graph = StateGraph(MessagesState).add_node("code", node).add_edge(START, "code")
        await graph.compile().ainvoke({"messages": [HumanMessage("go")]})
        agent = create_agent(
            ScriptedChatModel(script=[asked, "done"]),
            [double],
            middleware=[ProgrammaticToolCallingMiddleware(log=log, sandbox=sandbox)],
        )
        await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert [found.output for found in log.find(tool="double")] == ["8\n"] * 3


async def test_a_resumed_execution_has_one_record() -> None:
    """An execution that waits is not in the log yet; once it has ended it is there once."""
    log = ExecutionLog()
    with InProcessSandbox() as sandbox:
        tools = as_programmatic([double], log=log, interrupt_on={"double": True}, sandbox=sandbox)
        graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools))
        compiled = graph.add_edge(START, "tools").compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        asked = tool_call_message("run_code", {"code": "print(await double(x=4))"}, id="c1")
        await compiled.ainvoke({"messages": [HumanMessage("go"), asked]}, config)
        assert log.find() == []
        await compiled.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    (kept,) = log.find()
    assert kept.tool_calls[0].approval == "approve"


async def test_an_execution_that_is_cancelled_is_in_the_log() -> None:
    """Nobody gets its result, and the log has it all the same."""
    log = ExecutionLog()
    started = asyncio.Event()

    @tool
    async def endless() -> str:
        """Never answer."""
        started.set()
        await asyncio.Event().wait()
        return ""

    with InProcessSandbox() as sandbox:
        executor = ProgrammaticToolExecutor([endless], log=log, sandbox=sandbox)
        running = asyncio.ensure_future(executor.aexecute("print('a')\nawait endless()"))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    (kept,) = log.find(status="cancelled")
    assert [call.status for call in kept.tool_calls] == ["cancelled"]


def test_a_process_that_ends_writes_what_is_left(tmp_path: Path) -> None:
    """A log that nobody closes loses nothing when its process ends."""
    program = textwrap.dedent(
        """
        import sys
        from langchain_ptc import InProcessSandbox, ProgrammaticToolExecutor
        from langchain_ptc.run.log import ExecutionLog

        log = ExecutionLog(path=sys.argv[1])
        sandbox = InProcessSandbox()
        executor = ProgrammaticToolExecutor([], log=log, sandbox=sandbox)
        for n in range(20):
            executor.execute(f"print({n})")
        sandbox.close()
        """
    )
    path = tmp_path / "log.db"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=SECONDS)
    with ExecutionLog(path=path) as log:
        assert len(log.find()) == 20
