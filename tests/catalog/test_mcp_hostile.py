"""An MCP server that means harm, or is broken, harms its own calls and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from benchmarks.schema_values import valid_values
from langchain_ptc import Limits, ProgrammaticToolExecutor, ToolCatalog
from langchain_ptc.catalog.mcp_results import (
    MAX_BLOCKS,
    MAX_STEPS,
    QUICK_STEPS,
    ResultType,
    TooManySteps,
    as_json,
    is_small,
    read_result,
)
from tests.support import SUPPORT
from tests.support.catalog_data import DEFINITIONS
from tests.support.waiting import seconds_without_processor

pytest.importorskip("mcp", reason="pip install 'langchain-ptc[mcp]'")

LINE = int(importlib.metadata.version("mcp").split(".")[0])
SERVER = SUPPORT / "mcp_servers" / "hostile.py"
BACKTRACKING = {"type": "string", "pattern": "^(a+)+$"}
EVIL = "a" * 40 + "!"


def serve(folder: Path, tools: dict[str, Any]) -> dict[str, Any]:
    """Return a connection to a server with these tools."""
    file = folder / "tools.json"
    file.write_text(json.dumps(tools))
    args = [str(SERVER), str(file)]
    return {"transport": "stdio", "command": sys.executable, "args": args}


def record(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": sorted(fields)}


def gives(structured: Any, schema: Any = None, seconds: float = 0) -> dict[str, Any]:
    """Return a tool that gives structured content."""
    result = {"content": [], "structuredContent": structured}
    return {"result": result, "seconds": seconds} | ({"outputSchema": schema} if schema else {})


@contextlib.contextmanager
def standstill() -> Iterator[list[float]]:
    """Measure for how long no other thread of this process could run."""
    worst, stop = [0.0], threading.Event()

    def tick() -> None:
        last, waited = time.monotonic(), seconds_without_processor()
        while not stop.wait(0.01):
            now, waits = time.monotonic(), seconds_without_processor()
            worst[0] = max(worst[0], now - last - (waits - waited))
            last, waited = now, waits

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield worst
    finally:
        stop.set()
        thread.join()


async def test_mcp_pattern_freezes_the_host(tmp_path: Path) -> None:
    """A pattern that backtracks for days costs nothing: patterns are not evaluated, types are checked."""
    tools = {
        "evil": gives({"s": EVIL}, record(s=BACKTRACKING)),
        "wrong": gives({"s": 5}, record(s=BACKTRACKING)),
    }
    async with ToolCatalog.from_mcp({"one": serve(tmp_path, tools)}) as catalog:
        executor = ProgrammaticToolExecutor(catalog, limits=Limits(wall_seconds=30))
        await executor.aexecute("pass")
        with standstill() as worst:
            assert (await executor.aexecute("print((await evil()).s)")).output == f"{EVIL}\n"
            wrong = await executor.aexecute("await wrong()")
    assert wrong.error is not None
    told = "wrong gave what its output schema does not allow: 5 is not str (at s)"
    assert told in wrong.error.message
    assert worst[0] < 1


@pytest.mark.parametrize(
    "argument", [r"'\ud800'", r"{'\udfff': 1}", r"[['a', '\ud800']]", "10 ** 5000", "NESTED"]
)
async def test_mcp_surrogate_breaks_neighbours(tmp_path: Path, argument: str) -> None:
    """An argument that no JSON can hold fails its own call; a call that waits gets its answer."""
    tools = {"slow": gives({"n": 1}, seconds=0.5), "take": gives({"n": 2})}
    for tool in tools.values():
        tool["inputSchema"] = {"type": "object", "properties": {"a": {}}}
    code = f"NESTED = []\nfor _ in range(300):\n    NESTED = [NESTED]\nawait take(a={argument})"
    async with ToolCatalog.from_mcp({"one": serve(tmp_path, tools)}) as catalog:
        executor = ProgrammaticToolExecutor(catalog, limits=Limits(wall_seconds=30))
        await executor.aexecute("pass")
        waiting = asyncio.create_task(executor.aexecute("print((await slow(a='x')).n)"))
        await executor.aexecute("print((await take(a=1)).n)")  # the other is on its way by then
        broken = await executor.aexecute(code)
        assert broken.status == "error"
        assert (await waiting).output == "1\n"


# --- the check of an answer ---------------------------------------------------------------------

BRANCHES = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 3} for n in range(10)}
WRONG: dict[str, tuple[Any, Any, str]] = {
    "a type": ({"n": "x"}, record(n={"type": "integer"}), "'x' is not int (at n)"),
    "a field": ({}, record(n={}), "'n' is missing"),
    "no object": ([1], record(n={}), "<class 'list'> is not an object"),
    "a truth as a number": ({"n": True}, record(n={"type": "integer"}), "True is not int"),
    "half a number": ({"n": 1.5}, record(n={"type": "integer"}), "1.5 is not int (at n)"),
    "more properties": (
        {"b": {"c": "1"}},
        {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
            },
        },
        "'1' is not int (at b.c)",
    ),
    "a choice": ({"s": "c"}, record(s={"enum": ["a", "b"]}), "'c' is not 'a' | 'b' (at s)"),
    "a number for a truth": ({"s": 1}, record(s={"enum": [True]}), "1 is not True"),
    "no branch": (
        {"s": [1]},
        record(s={"anyOf": [{"type": "string"}, record(a={})]}),
        "<class 'list'> is not str | an object (at s)",
    ),
    "an item": ({"s": [1, "x"]}, record(s={"items": {"type": "integer"}}), "(at s.1)"),
    "a record in itself": (
        {"next": {"next": {"next": 5}}},
        {"properties": {"next": {"$ref": "#"}}, "type": "object"},
        "5 is not an object (at next.next.next)",
    ),
    "branches of branches": (
        {"x": 1},
        {"$ref": "#/$defs/a0", "$defs": {**BRANCHES, "a10": {"type": "string"}}},
        "<class 'dict'> is not str",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers(case: str) -> None:
    """An answer that is not of the type of its schema is an error, which is found in little time."""
    value, schema, told = WRONG[case]
    begin = time.process_time()
    problem = ResultType(schema).problem(value, steps=MAX_STEPS)
    assert told in str(problem)
    assert len(str(problem)) < 700
    assert time.process_time() - begin < 5


RIGHT: dict[str, tuple[Any, Any]] = {
    "a whole number": ({"n": 2.0}, record(n={"type": "integer"})),
    "a second branch": ({"s": [2]}, record(s={"anyOf": [{"type": "string"}, {"type": "array"}]})),
    "nothing": ({"s": None}, record(s={"type": ["string", "null"]})),
    "an unknown type": ({"s": 1}, record(s={"type": "strin"})),
    "bounds and patterns": (
        {"n": 5, "s": EVIL},
        record(n={"type": "integer", "maximum": 3}, s=BACKTRACKING),
    ),
    "draft 7": (
        {"a": 1},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"N": {"type": "number"}},
            "properties": {"a": {"$ref": "#/definitions/N"}},
        },
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_answers(case: str) -> None:
    """An answer of the type of its schema passes; bounds and patterns are not evaluated."""
    value, schema = RIGHT[case]
    assert ResultType(schema).problem(value, steps=MAX_STEPS) is None


@pytest.mark.parametrize("definition", DEFINITIONS, ids=[d["name"] for d in DEFINITIONS])
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_schema_accepts_passes(definition: dict[str, Any], data: st.DataObject) -> None:
    """Values that are valid by a schema, whatever it says, are of its type."""
    value = data.draw(valid_values(definition["parameters"]))
    assert ResultType(definition["parameters"]).problem(value, steps=MAX_STEPS) is None


def test_the_event_loop_does_little() -> None:
    """What is large, or takes many steps, is left to a thread."""
    tree = {"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [record(n={"$ref": "#/$defs/t"})] * 9}}}
    value: Any = 1
    for _ in range(90):
        value = {"n": value, "m": [1] * 9}
    wide = record(s={"items": {"anyOf": [record(**{f"f{n}": {}}) for n in range(150)]}})
    objects: Any = {"s": [{"f149": 1} for _ in range(400)]}
    begin = time.thread_time()
    for schema, hard in ((tree, value), (wide, objects)):
        listed = ResultType(schema)
        with contextlib.suppress(TooManySteps, ToolException):
            read_result(
                {"structuredContent": hard},
                listed=listed,
                declared=None,
                tool="t",
                steps=QUICK_STEPS,
            )
    assert time.thread_time() - begin < 1
    with pytest.raises(TooManySteps):
        read_result(
            {"structuredContent": objects},
            listed=ResultType(wide),
            declared=None,
            tool="t",
            steps=QUICK_STEPS,
        )
    large: list[Any] = [["x"] * 600, {"a": [0] * 1_000}, ["x" * 200_000], [[[]] * 999]]
    for value in large:
        assert not is_small({"structuredContent": value})


def test_an_answer_that_takes_too_long_to_check() -> None:
    """The steps of a check are counted in a thread too: what takes more is an error."""
    listed = ResultType(record(s={"items": {"type": "integer"}}))
    answer = {"structuredContent": {"s": [1] * 2_000}}
    with pytest.raises(TooManySteps):
        read_result(answer, listed=listed, declared=None, tool="t", steps=1_000)
    deep: Any = {}
    for _ in range(5_000):
        deep = {"next": deep}
    schema = {"properties": {"next": {"$ref": "#"}}, "type": "object"}
    assert ResultType(schema).problem(deep, steps=MAX_STEPS) == "it is nested too deeply"


def test_too_many_blocks() -> None:
    """An answer of very many parts is an error; of many, it is text."""
    block = {"type": "text", "text": "x"}

    def read(count: int) -> Any:
        result = {"content": [block] * count}
        return read_result(result, listed=None, declared=None, tool="t", steps=MAX_STEPS)

    assert len(read(MAX_BLOCKS)) == 2 * MAX_BLOCKS - 1
    with pytest.raises(ToolException, match="has 10,001 parts"):
        read(MAX_BLOCKS + 1)


def test_blocks_beside_structure_are_not_read() -> None:
    """FastMCP repeats each row of a list as a part: many of them are no reason to refuse the rows."""
    result = {"content": [object()] * 3 * MAX_BLOCKS, "structuredContent": {"result": [1, 2]}}
    schema = {"type": "object", "properties": {"result": {"type": "array"}}}
    listed = ResultType(schema)
    assert not is_small(result)
    began = time.thread_time()
    found = read_result(result, listed=listed, declared=schema, tool="t", steps=MAX_STEPS)
    assert found == [1, 2]
    assert time.thread_time() - began < 0.5


def test_arguments_are_json() -> None:
    """What the protocol can carry is sent as it is; sets and times as JSON has them."""
    assert as_json({"a": [1, None, "ä", {"b": 2.5}], "c": (1,)}) == {
        "a": [1, None, "ä", {"b": 2.5}],
        "c": [1],
    }
    with pytest.raises(ToolException, match="the arguments cannot be sent"):
        as_json({"a": object()})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("x", "Input should be a valid list"),
        (None, "Input should be a valid list"),
        ([5], "a part without a type"),
        ([{"text": "x"}], "a part without a type"),
        ([{"type": "image", "data": "a"}], "data that is not base64"),
        ([{"type": "text"}] * (MAX_BLOCKS + 1), "has 10,001 parts"),
    ],
)
async def test_answers_that_are_none(tmp_path: Path, content: Any, told: str) -> None:
    """What is no answer fails its own call with the reason, and the session goes on."""
    tools = {"odd": {"result": {"content": content}}, "good": gives({"n": 2})}
    code = "try:\n    await odd()\nexcept ToolCallError as error:\n    print(error)\nprint((await good()).n)"
    async with ToolCatalog.from_mcp({"one": serve(tmp_path, tools)}) as catalog:
        result = await ProgrammaticToolExecutor(catalog).aexecute(code)
    if LINE == 1:  # line 2 refuses it itself, in words of its own
        assert told in result.output
    assert result.output.startswith("one.odd failed: ")
    assert result.output.endswith("\n2\n")


@pytest.mark.skipif(LINE > 1, reason="line 2 of mcp refuses kinds that it does not know")
async def test_parts_of_kinds_that_are_new(tmp_path: Path) -> None:
    """A part of a kind that nobody knows yet is plain data, and a text that is none is made one."""
    parts = [{"type": "video", "frames": 2}, {"type": "text", "text": 5}]
    tools = {"film": {"result": {"content": parts}}}
    async with ToolCatalog.from_mcp({"one": serve(tmp_path, tools)}) as catalog:
        result = await ProgrammaticToolExecutor(catalog).aexecute("print(await film())")
    assert result.output == "[{'type': 'video', 'frames': 2}, {'type': 'text', 'text': '5'}]\n"
