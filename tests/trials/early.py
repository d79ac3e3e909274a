"""Trials of calls that begin early: random programs over a world that changes, with and without.

    python -m tests.trials.early [COUNT] [FIRST_SEED]

With `prefetch="calls"` and `"stream"` a program must come to the same end as without: status, output, value, the
record of each call, and the effects in their order. A stream that breaks off must have written nothing. Exits 1
if one is wrong.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc import (
    ExecutionResult,
    Limits,
    ProcessSandbox,
    ProgrammaticToolExecutor,
    ToolCatalog,
    ToolPolicy,
)
from langchain_ptc.sandbox import Sandbox

_KEYS = "abcd"
_READS = ToolPolicy(read_only=True)
_LIMITS = Limits(wall_seconds=120.0)
_AT_ONCE = 3


class _Maker:
    """Makes one program."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0
        self._is_async = chance.random() < 0.7

    def program(self) -> str:
        imports = ["import asyncio", "from concurrent.futures import ThreadPoolExecutor"]
        body = self._block(0, 2, 6)
        if self._is_async and self._chance.random() < 0.3:
            body = ["async def main():", *_indented(body), "await main()"]
        return "\n".join([*imports, "out = []", *body, "print(out)"]) + "\n"

    def _block(self, depth: int, fewest: int, most: int) -> list[str]:
        return [
            line
            for _ in range(self._chance.randint(fewest, most))
            for line in self._statement(depth)
        ]

    def _statement(self, depth: int) -> list[str]:
        self._number += 1
        kinds = [self._get] * 3 + [
            self._put,
            self._bad,
            self._compute,
            self._dependent,
            self._gather,
            self._helper,
            self._while,
            self._comprehension,
            self._alias,
        ]
        if depth < 2:
            kinds += [self._for, self._if, self._try, self._if_result]
        return self._chance.choice(kinds)(depth)

    @property
    def _wait(self) -> str:
        return "await " if self._is_async else ""

    @property
    def _name(self) -> str:
        return f"v{self._number}"

    def _key(self) -> str:
        return repr(self._chance.choice(_KEYS))

    def _get(self, _: int) -> list[str]:
        return [f"{self._name} = {self._wait}get({self._key()})", f"out.append({self._name})"]

    def _put(self, _: int) -> list[str]:
        return [f"out.append({self._wait}put({self._key()}, len(out)))"]

    def _bad(self, _: int) -> list[str]:
        return [
            "try:",
            f"    {self._wait}bad({self._key()})",
            "except ToolCallError as e:",
            "    out.append(str(e))",
        ]

    def _compute(self, _: int) -> list[str]:
        name = self._name
        return [
            f"{name} = sum(range({self._chance.randint(1, 9)})) + len(out)",
            f"out.append({name})",
        ]

    def _dependent(self, _: int) -> list[str]:
        name = self._name
        return [
            f"{name} = {self._wait}get({self._key()})",
            f"{name}b = {self._wait}get(str({name})[-1:] or 'a')",
            f"out.append(({name}, {name}b))",
        ]

    def _gather(self, _: int) -> list[str]:
        keys = [self._chance.choice(_KEYS) for _ in range(3)]
        if self._is_async:
            return [f"out.append(await asyncio.gather(*[get(k) for k in {keys!r}]))"]
        return [
            "with ThreadPoolExecutor() as pool:",
            f"    out.append(list(pool.map(get, {keys!r})))",
        ]

    def _helper(self, _: int) -> list[str]:
        name = f"help{self._number}"
        prefix = "async " if self._is_async else ""
        tool = "put(x, len(out))" if self._chance.random() < 0.2 else "get(x)"
        return [
            f"{prefix}def {name}(x):",
            f"    got = {self._wait}{tool}",
            "    return [x, got]",
            f"for k in ['a', {self._key()}]:",
            f"    out.append({self._wait}{name}(k))",
        ]

    def _while(self, _: int) -> list[str]:
        name = self._name
        return [
            f"{name} = 0",
            f"while {name} < 2:",
            f"    out.append({self._wait}get({self._key()}))",
            f"    {name} += 1",
        ]

    def _comprehension(self, _: int) -> list[str]:
        keys = [self._chance.choice(_KEYS) for _ in range(3)]
        return [f"out.append([{self._wait}get(k) for k in {keys!r} if k != {self._key()}])"]

    def _alias(self, _: int) -> list[str]:
        name, tool = self._name, self._chance.choice(["get", "get", "put"])
        given = self._key() if tool == "get" else f"{self._key()}, len(out)"
        return [f"{name} = {tool}", f"out.append({self._wait}{name}({given}))"]

    def _for(self, depth: int) -> list[str]:
        name = f"i{self._number}"
        head = f"for {name} in range({self._chance.randint(1, 4)}):"
        body = self._block(depth + 1, 1, 2)
        if self._chance.random() < 0.3:
            body += [
                f"if str(out[-1:]) > {self._key()}:",
                f"    {self._chance.choice(['break', 'continue'])}",
            ]
        return [head, *_indented(body), f"    out.append({name})"]

    def _if(self, depth: int) -> list[str]:
        head = f"if len(str(out)) % 2 == {self._chance.randint(0, 1)}:"
        return [head, *_indented(self._block(depth + 1, 1, 2)), "else:", "    out.append('else')"]

    def _if_result(self, depth: int) -> list[str]:
        name = self._name
        return [
            f"{name} = {self._wait}get({self._key()})",
            f"if len({name}) > 1:",
            *_indented(self._block(depth + 1, 1, 2)),
        ]

    def _try(self, depth: int) -> list[str]:
        body = _indented(self._block(depth + 1, 1, 2))
        return ["try:", *body, "finally:", "    out.append('finally')"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


class _World:
    """What the tools read and write; each takes a while that nobody can foresee."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._values = {key: [key] for key in _KEYS}
        self.effects: list[tuple[str, int]] = []
        self.reads = 0

    async def get(self, k: str) -> str:
        """Read a value."""
        self.reads += 1
        value = self._values.get(k, ["none"])[-1]
        await asyncio.sleep(self._chance.random() * 0.02)
        return value

    async def put(self, k: str, v: int) -> str:
        """Write a value."""
        self._values.setdefault(k, []).append(f"{k}{v}")
        self.effects.append((k, v))
        await asyncio.sleep(0.002)
        return f"{k}={v}"

    async def bad(self, k: str) -> str:
        """Fail."""
        raise ConnectionError(f"lost {k}")

    def executor(self, sandbox: Sandbox, prefetch: Any) -> ProgrammaticToolExecutor:
        """Return an executor over the tools."""
        functions = (self.get, self.put, self.bad)
        tools: list[BaseTool] = [
            StructuredTool.from_function(coroutine=f, name=f.__name__) for f in functions
        ]
        catalog = ToolCatalog(tools, policies={"get": _READS, "bad": _READS})
        return ProgrammaticToolExecutor(catalog, sandbox=sandbox, prefetch=prefetch, limits=_LIMITS)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one trial came to."""

    seed: int
    faults: tuple[str, ...]
    reads: int
    """Calls that only read, without prefetching."""
    early_reads: int
    """The same with `prefetch="stream"`, the wasted ones among them."""
    hits: int


async def run_trial(seed: int, sandbox: Sandbox) -> Trial:
    """Run the program of a seed in each way, and compare."""
    code = _Maker(random.Random(seed)).program()
    journaled = seed % 3 == 0
    plain, expected = await _run(code, seed, sandbox, "off", journaled=journaled)
    faults = []
    hits = early_reads = 0
    for prefetch in ("calls", "stream"):
        world, result = await _run(code, seed, sandbox, prefetch, journaled=journaled)
        assert result is not None
        assert expected is not None
        if (now := _seen(world, result)) != (before := _seen(plain, expected)):
            faults.append(f"{prefetch}: {now} and not {before}\n{code}")
        hits += 0 if result.prefetch is None else result.prefetch.hits
        early_reads = world.reads
    cut, _ = await _run(code, seed, sandbox, "stream", cut=random.Random(seed).randrange(len(code)))
    if cut.effects:
        faults.append(f"a stream that broke off has written {cut.effects}\n{code}")
    return Trial(seed, tuple(faults), plain.reads, early_reads, hits)


def _seen(world: _World, result: ExecutionResult) -> tuple[Any, ...]:
    calls = [(c.tool, dict(c.arguments), c.status, c.line, c.error) for c in result.tool_calls]
    if "gather" in result.code or "ThreadPoolExecutor()" in result.code:
        calls.sort(key=repr)
    error = None if result.error is None else (result.error.message, result.error.line)
    return result.status, result.output, result.value, error, calls, world.effects


async def _run(
    code: str,
    seed: int,
    sandbox: Sandbox,
    prefetch: str,
    *,
    journaled: bool = False,
    cut: int | None = None,
) -> tuple[_World, ExecutionResult | None]:
    """Write a program in random pieces, and run it; a stream that is cut is not run."""
    chance = random.Random(seed)
    world = _World(chance)
    executor = world.executor(sandbox, prefetch)

    async def write_and_run() -> ExecutionResult | None:
        prefetcher = None
        if prefetch == "stream":
            prefetcher, at = executor.prefetch(), 0
            while at < len(code):
                length = chance.randint(1, 12)
                prefetcher.feed(code[at : at + length])
                at += length
                await asyncio.sleep(chance.random() * 0.01 if chance.random() < 0.5 else 0)
                if cut is not None and at > cut:
                    await asyncio.sleep(0.02)
                    prefetcher.close()
                    await asyncio.sleep(0)
                    return None
        return await executor.aexecute(code, prefetcher=prefetcher)

    if not journaled:
        return world, await write_and_run()
    results: list[ExecutionResult | None] = []

    async def node(_: MessagesState) -> dict[str, Any]:
        results.append(await write_and_run())
        return {"messages": []}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    app = graph.compile(checkpointer=InMemorySaver())
    await app.ainvoke({"messages": [("user", "go")]}, {"configurable": {"thread_id": "trial"}})
    return world, results[-1]


async def run_trials(seeds: range) -> list[Trial]:
    """Run trials, some at once."""
    turns = asyncio.Semaphore(_AT_ONCE)
    with ProcessSandbox(waiting_workers=8) as sandbox:

        async def one(seed: int) -> Trial:
            async with turns:
                trial = await run_trial(seed, sandbox)
            for fault in trial.faults:
                print(f"seed {seed}: {fault}", flush=True)
            return trial

        return await asyncio.gather(*[one(seed) for seed in seeds])


def main(arguments: list[str]) -> int:
    """Run the trials and print what was wrong."""
    count, first = ([int(a) for a in arguments] + [1_000, 0][len(arguments) :])[:2]
    trials = asyncio.run(run_trials(range(first, first + count)))
    wrong = sum(bool(trial.faults) for trial in trials)
    reads, early = (sum(getattr(t, name) for t in trials) for name in ("reads", "early_reads"))
    print(
        f"{count} programs, {wrong} wrong; {reads} reads without prefetching, {early} with it; "
        f"{sum(t.hits for t in trials)} results of early calls used"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
