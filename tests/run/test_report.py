"""The report that the model reads on failure: the exact text, for every kind of failure.

`tests/run/report_snapshots/` holds a file for each program of `tests/support/failing_programs.py`. To write them
anew: `UPDATE_SNAPSHOTS=1 pytest tests/run/test_report.py`, and read what has changed.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ptc import (
    ExecutionResult,
    InProcessSandbox,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    as_programmatic,
)
from langchain_ptc.testing import tool_call_message
from tests.support import fickle
from tests.support.failing_programs import PROGRAMS, Failing, catalog

SNAPSHOTS = Path(__file__).parent / "report_snapshots"
MAX_BESIDES_OUTPUT = 20_000
"""Characters that a report may have besides the output."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ProcessSandbox]:
    """The workers of all programs here."""
    with ProcessSandbox() as made:
        yield made


async def run(program: Failing, sandbox: ProcessSandbox) -> tuple[ExecutionResult, str]:
    """Run a program; return its record and what the model reads."""
    options: dict[str, Any] = {"limits": program.limits, "check": program.check, "sandbox": sandbox}
    if program.decision is None:
        result = await ProgrammaticToolExecutor(catalog(), **options).aexecute(program.code)
        return result, result.report()
    fickle.VALUES[0] = "Ada"
    if "fickle" in program.code:
        options["sandbox"] = InProcessSandbox(imports=["tests.support.fickle"])
    node = ToolNode(as_programmatic(catalog(), interrupt_on={"pay": True}, **options))
    graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    asked = tool_call_message("run_code", {"code": program.code}, id="c1")
    await compiled.ainvoke({"messages": [HumanMessage("go"), asked]}, config)
    fickle.VALUES[0] = "Bob"
    state = await compiled.ainvoke(Command(resume={"decisions": [program.decision]}), config)
    message = state["messages"][-1]
    assert isinstance(message, ToolMessage)
    return ExecutionResult.from_dict(message.artifact), message.text


def show(program: Failing, result: ExecutionResult, report: str) -> str:
    """Return the text of a snapshot."""
    code = program.code if len(program.code) < 600 else f"{program.code[:60]}\n[…]\n"
    return f"===== the code =====\n{code}===== status {result.status}; the model reads =====\n{report}\n"


@pytest.mark.parametrize("name", PROGRAMS)
async def test_report(name: str, sandbox: ProcessSandbox) -> None:
    """The model reads exactly what the snapshot shows."""
    program = PROGRAMS[name]
    result, report = await run(program, sandbox)
    shown = show(program, result, report)
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text("utf-8")
    assert result.status == program.status
    assert len(report) < program.limits.output_chars + MAX_BESIDES_OUTPUT


async def test_notes_hide_no_hint(sandbox: ProcessSandbox) -> None:
    """The hint is there also where Python 3.14 notes in which part of a value json was."""
    program = Failing(code="import json\njson.dumps({'a': [{1}]})\n", status="error")
    assert "default=str" in (await run(program, sandbox))[1]


def test_every_snapshot_is_of_a_program() -> None:
    """No snapshot is left of a program that is gone, and there are enough of them."""
    assert sorted(path.stem for path in SNAPSHOTS.glob("*.txt")) == sorted(PROGRAMS)
    assert len(PROGRAMS) >= 40


@pytest.mark.parametrize("name", PROGRAMS)
def test_snapshots_depend_on_nothing_of_the_machine(name: str) -> None:
    """No path, no time, no address and no frame of a library is in what the model reads."""
    report = (SNAPSHOTS / f"{name}.txt").read_text("utf-8").partition("the model reads")[2]
    assert not re.search(r"/home|/work|/usr|site-packages|0x[0-9a-f]{6}|File \"", report)


async def test_what_concurrent_calls_returned_is_not_silently_lost() -> None:
    """When one of concurrent calls ends the code, the model reads what was printed and how to keep the rest."""
    has_finished = asyncio.Event()

    @tool
    async def study(topic: str) -> str:
        """Study a topic."""
        if topic == "bad":
            await has_finished.wait()
            raise ToolException("no sources")
        has_finished.set()
        return topic.upper()

    hint = "hint: what the other calls returned is lost unless the code printed it."
    each = "async def one(topic): print(await study(topic=topic))\n"
    executor = ProgrammaticToolExecutor([study], sandbox=InProcessSandbox())

    async def report(code: str) -> str:
        return (await executor.aexecute(f"import asyncio\n{each}{code}")).report()

    gathered = await report("await asyncio.gather(one('good'), one('bad'))")
    assert gathered.startswith("GOOD\n\nTraceback")
    assert hint in gathered
    assert "1 tool call took effect and must not be repeated: study(topic='good')" in gathered
    group = """
async with asyncio.TaskGroup() as group:
    group.create_task(one("good"))
    group.create_task(one("bad"))
"""
    grouped = await report(group)
    assert grouped.startswith("GOOD\n\nTraceback")
    assert hint in grouped
    assert hint not in await report("await one('good')\nawait one('bad')")
    kept = await report(
        "print(await asyncio.gather(*map(study, ('good', 'bad')), return_exceptions=True))"
    )
    assert kept == "['GOOD', ToolCallError('study failed: no sources')]"


async def test_tools_of_one_name(sandbox: ProcessSandbox) -> None:
    """Where a program has called tools of several domains that have one name, the report says which was called."""

    @tool
    def search(query: str) -> str:
        """Search."""
        return query

    @tool
    def save(query: str) -> str:
        """Save."""
        return query

    code = """\
from tools import one, two
one.search("a"), two.search(query="b"), two.save("c")
print(1 / 0)
"""
    tools = {"one": [search], "two": [search, save]}
    result = await ProgrammaticToolExecutor(tools, sandbox=sandbox).aexecute(code)
    assert result.report().endswith(
        "3 tool calls took effect and must not be repeated: "
        "one.search(query='a'), two.search(query='b'), save(query='c')"
    )
