"""An MCP server that means harm, or is broken, harms its own calls and nobody else's."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from langchain_ptc import Limits, ProgrammaticToolExecutor, ToolCatalog
from langchain_ptc.catalog.mcp import results
from langchain_ptc.catalog.mcp.results import (
    MAX_BLOCKS,
    NeedsThreadError,
    as_json,
    check_structure,
    read_result,
)
from tests.support import SUPPORT
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


@contextmanager
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
    """A pattern that backtracks for days fails its own call in its time; others go on meanwhile."""
    tools = {
        "evil": gives({"s": EVIL}, record(s=BACKTRACKING)),
        "good": gives({"s": "fine"}, record(s={"type": "string"})),
    }
    async with ToolCatalog.from_mcp({"one": serve(tmp_path, tools)}) as catalog:
        executor = ProgrammaticToolExecutor(catalog, limits=Limits(wall_seconds=30))
        await executor.aexecute("pass")
        with standstill() as worst:
            evil = asyncio.create_task(executor.aexecute("await evil()"))
            good = await executor.aexecute("print((await good()).s)")
            assert good.output == "fine\n"
            assert not evil.done()
            result = await evil
    assert result.status == "error"
    assert result.error is not None
    assert "patterns in the output schema of evil could not be checked" in result.error.message
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

TWICE = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
BRANCHES = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 3} for n in range(40)}
WRONG: dict[str, tuple[Any, Any, str]] = {
    "a type": ({"n": "x"}, record(n={"type": "integer"}), "'x' is not of type 'integer' (at n)"),
    "a field": ({}, record(n={}), "'n' is a required property"),
    "no match": ({"s": "b"}, record(s={"pattern": "^a+$"}), "'b' does not match '^a+$'"),
    "no match among the names": (
        {"ax": 1, "b": 2},
        {"patternProperties": {"^a": {}}, "additionalProperties": False},
        "'b' is not among the properties",
    ),
    "a property by its pattern": (
        {"ax": "1"},
        {"patternProperties": {"^a": {"type": "integer"}}},
        "'1' is not of type 'integer' (at ax)",
    ),
    "more properties": (
        {"b": "1"},
        {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
        "'1' is not of type 'integer' (at b)",
    ),
    "items that are not unique": ([{"a": 1}, {"a": 1}], {"uniqueItems": True}, "not unique"),
    "unevaluated": (
        {"a": 1, "b": 1},
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        "Unevaluated properties are not allowed",
    ),
    "a choice by pattern": (
        {"s": "c"},
        record(s={"anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
        "is not valid under any of the given schemas",
    ),
    "backtracking": ({"s": EVIL}, record(s=BACKTRACKING), "could not be checked in 1 s"),
    "backtracking names": (
        {EVIL: 1},
        {"patternProperties": {"^(a+)+$": {}}},
        "could not be checked in 1 s",
    ),
    "a reference to itself": ({}, {"$ref": "#"}, "cannot be used: RecursionError"),
    "a remote reference": ({}, {"$ref": "http://127.0.0.1:9/x"}, "cannot be used"),
    "an unknown type": ({}, {"type": "strin"}, "cannot be used: UnknownType"),
    "no schema": ({"n": 1}, record(n={"minimum": "x"}), "cannot be used: TypeError"),
    "twice 40 times": ({}, {"$ref": "#/$defs/a0", "$defs": TWICE}, "in 0.2 seconds"),
    "branches": (
        {"x": 1},
        {"$ref": "#/$defs/a0", "$defs": {**BRANCHES, "a40": {"type": "string"}}},
        "in 0.2 seconds",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that its schema does not allow, or that takes too long to check, is an error."""
    monkeypatch.setattr(results, "CHECK_SECONDS", 0.2)
    value, schema, told = WRONG[case]
    if case in ("twice 40 times", "branches"):
        schema["$defs"].setdefault("a40", {})
    begin = time.process_time()
    with pytest.raises(ToolException) as caught:
        check_structure(value, schema, "t", is_quick=False)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 1_200
    assert time.process_time() - begin < 5


RIGHT: dict[str, tuple[Any, Any]] = {
    "a match": ({"s": "aaa"}, record(s={"pattern": "^a+$"})),
    "a second branch": (
        {"s": "b"},
        record(s={"anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
    ),
    "another dialect": ({"s": "x"}, record(s={"pattern": r"^\p{L}+$"})),
    "a name by its pattern": (
        {"ax": 1},
        {"patternProperties": {"^a": {}}, "additionalProperties": False},
    ),
    "unique items": ([{"a": 1}, {"a": True}, 1, "1"], {"uniqueItems": True}),
    "many unique records": ([{"a": n} for n in range(20_000)], {"uniqueItems": True}),
    "draft 7": (
        {"a": 1},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"N": {"type": "number"}},
            "properties": {"a": {"$ref": "#/definitions/N"}},
        },
    ),
    "a surrogate": ({"s": "\ud800"}, record(s={"pattern": "^.$"})),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_answers(case: str) -> None:
    """An answer that is as its schema says passes, patterns included."""
    value, schema = RIGHT[case]
    check_structure(value, schema, "t", is_quick=False)


def test_the_event_loop_does_little() -> None:
    """What is large, takes long or needs a pattern is left to a thread."""
    with pytest.raises(NeedsThreadError):
        check_structure({"s": "a"}, record(s={"pattern": "^a"}), "t", is_quick=True)
    twice = {"$ref": "#/$defs/a0", "$defs": {**TWICE, "a40": {}}}
    begin = time.thread_time()
    with pytest.raises(NeedsThreadError):
        check_structure({}, twice, "t", is_quick=True)
    assert time.thread_time() - begin < 0.5
    large: list[Any] = [["x"] * 600, {"a": [0] * 1_000}, ["x" * 200_000], [[[]] * 999]]
    for value in large:
        with pytest.raises(NeedsThreadError):
            read_result(
                {"structuredContent": value}, listed=None, declared=None, tool="t", is_quick=True
            )


def test_too_many_blocks() -> None:
    """An answer of very many parts is an error; of many, it is text."""
    block = {"type": "text", "text": "x"}

    def read(count: int) -> Any:
        result = {"content": [block] * count}
        return read_result(result, listed=None, declared=None, tool="t", is_quick=False)

    assert len(read(MAX_BLOCKS)) == 2 * MAX_BLOCKS - 1
    with pytest.raises(ToolException, match="has 10,001 parts"):
        read(MAX_BLOCKS + 1)


def test_blocks_beside_structure_are_not_read() -> None:
    """FastMCP repeats each row of a list as a part: many of them are no reason to refuse the rows."""
    result = {"content": [object()] * 3 * MAX_BLOCKS, "structuredContent": {"result": [1, 2]}}
    schema = {"type": "object", "properties": {"result": {"type": "array"}}}
    with pytest.raises(NeedsThreadError):
        read_result(result, listed=schema, declared=schema, tool="t", is_quick=True)
    began = time.thread_time()
    found = read_result(result, listed=schema, declared=schema, tool="t", is_quick=False)
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
