"""Runs programs of `benchmarks.prefetch` while they are written: `python -m benchmarks.peers.prefetch_probe NAME`.

Runs in the environment of a peer. Each line of JSON that it reads is a program, how it is to be run and how fast it is
written; each line that it prints, how long that took.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import io
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from typing import Any

from benchmarks.prefetch_tools import define_functions, split_into_tokens

WRITES = "pay"
"""The tool that is not read-only."""
_KEYWORDS = re.compile(r"\b(person|quarter|currency|kind|name|id|amount)=")

Told = dict[str, Any]


def run_in_harness(job: Mapping[str, Any]) -> Told:
    """Run a program in pydantic-ai's agent with `CodeMode`, whose model writes it."""
    return asyncio.run(_run_in_harness(job))


async def _run_in_harness(job: Mapping[str, Any]) -> Told:
    from pydantic_ai import Agent, Tool
    from pydantic_ai.models.function import DeltaToolCall, FunctionModel
    from pydantic_ai_harness import CodeMode

    made: list[str] = []
    times: list[float] = []

    async def write(messages: list[Any], _: Any) -> AsyncIterator[Any]:
        times.append(time.monotonic())
        if len(messages) > 1:
            yield "done"
            return
        for n, (text, _code) in enumerate(split_into_tokens(job["code"])):
            if (pause := times[0] + n / job["rate"] - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            first: dict[str, Any] = {"name": "run_code", "tool_call_id": "1"} if n == 0 else {}
            yield {0: DeltaToolCall(json_args=text, **first)}

    async def drain(_: Any, events: AsyncIterator[Any]) -> None:
        async for _event in events:
            pass

    tools = [
        Tool(function, metadata={"read_only": function.__name__ != WRITES})
        for function in define_functions(job["latency"], made)
    ]
    options: dict[str, dict[str, Any]] = {
        "whole": {},
        "eager": {"eager": True},
        "speculate": {"speculate": "declared"},
        "both": {"eager": True, "speculate": "declared"},
    }
    mode: Any = CodeMode(**options[job["mode"]])
    agent: Any = Agent(FunctionModel(stream_function=write), tools=tools, capabilities=[mode])
    messages = (await agent.run("go", event_stream_handler=drain)).all_messages()
    part = messages[2].parts[0]
    if part.part_kind != "tool-return":
        return {"error": str(part.content)}
    return {"seconds": times[1] - times[0], "output": part.content["output"], "calls": made}


def run_in_spec_ptc(job: Mapping[str, Any]) -> Told:
    """Run a program as spec-ptc's documentation shows it: fed to a turn, then executed.

    What runs ahead of it compiles no `await` at the top level, and its look at unfinished statements passes over
    keyword arguments. So programs have positional ones, and no `await` but tools that block, unless they use asyncio.
    """
    from spec_ptc import Speculator

    made: list[str] = []
    speculator = Speculator()
    code = _KEYWORDS.sub("", job["code"]).replace("\nawait main()", "\nasyncio.run(main())")
    blocks = "asyncio" not in code
    if blocks:
        code = code.replace("async def", "def").replace("await ", "")
    for function in define_functions(job["latency"], made):
        reads = function.__name__ != WRITES
        tool = _block(function) if blocks else function
        speculator.tool(speculatable=reads, pure=reads)(tool)
    speculates = job["mode"] == "speculate"
    hooks = speculator.hooks() if speculates else speculator.session.baseline_hooks()
    names: dict[str, Any] = {"__name__": "__main__", **hooks}
    began = time.monotonic()
    with speculator.turn(repl_locals=names) if speculates else contextlib.nullcontext() as turn:
        if turn is not None:
            turn.feed("```repl\n")
        for n, (_text, added) in enumerate(split_into_tokens(code)):
            if (pause := began + n / job["rate"] - time.monotonic()) > 0:
                time.sleep(pause)
            if turn is not None:
                turn.feed(added)
        if turn is not None:
            turn.feed("```\n")
    program = compile(code, "<program>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        awaited = eval(program, names)
        if awaited is not None:
            asyncio.run(awaited)
    seconds = time.monotonic() - began
    speculator.close()
    return {"seconds": seconds, "output": printed.getvalue(), "calls": made}


def _block(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that waits for what an asynchronous one returns."""

    @functools.wraps(function)
    def wait(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wait


RUNNERS: Mapping[str, Callable[[Mapping[str, Any]], Told]] = {
    "pydantic-ai-harness": run_in_harness,
    "spec-ptc": run_in_spec_ptc,
}


def main(name: str) -> None:
    """Say which version is here, then run what is read, line by line."""
    print(json.dumps({"version": version(name)}), flush=True)
    for line in sys.stdin:
        try:
            told = RUNNERS[name](json.loads(line))
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)
    sys.stdout.flush()
    os._exit(0)  # threads of peers may not end by themselves


if __name__ == "__main__":
    main(sys.argv[1])
