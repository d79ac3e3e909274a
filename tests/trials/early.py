"""Trials of calls that begin early: random programs over a world that changes, with and without.

    python -m tests.trials.early [COUNT] [FIRST_SEED]

With `prefetch="calls"` and `"stream"` a program must come to the same end as without: status, output, value,
variables of its session, the record of each call, the effects in their order, and the journal. Programs fail, end
early, ask a person and are resumed, go on with the variables of another, or are not what was written in the end. A
stream that breaks off must have written nothing. Exits 1 if one is wrong.
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
from langgraph.types import Command, interrupt

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
_END = "print(out)\n"
_CONFIG: Any = {"configurable": {"thread_id": "trial"}}
_BEFORE = "out = [await get('a'), await get('b')]\n"
"""What runs before the program in its session."""


class _Maker:
    """Makes one program.

    Args:
        chance: Settles it.
        asks: Some of its calls ask a person.
        continues: It has a variable from a program before it.
    """

    def __init__(self, chance: random.Random, *, asks: bool, continues: bool) -> None:
        self._chance = chance
        self._number = 0
        self._is_async = chance.random() < 0.7
        self._asks, self._continues = asks, continues

    def program(self) -> str:
        start = ["import asyncio", "from concurrent.futures import ThreadPoolExecutor"]
        start += [] if self._continues else ["out = []"]
        body = self._block(0, 2, 6)
        if self._is_async and self._chance.random() < 0.3:
            body = ["async def main():", *_indented(body), "await main()"]
        return "\n".join([*start, *body, _END])

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
            self._leave,
        ]
        kinds += [self._ask, self._ask] if self._asks else []
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

    def _ask(self, _: int) -> list[str]:
        return [f"out.append({self._wait}ask({self._key()}))"]

    def _leave(self, _: int) -> list[str]:
        way = self._chance.choice(["raise SystemExit", "raise ValueError(out)", "out[99]"])
        return [f"if len(out) > {self._chance.randint(1, 6)}:", f"    {way}"]

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

    async def ask(self, k: str) -> str:
        """Ask a person."""
        answer = str(interrupt(k))
        self.effects.append((answer, 0))
        return answer

    def executor(
        self, sandbox: Sandbox, prefetch: Any, *, ask: ToolPolicy
    ) -> ProgrammaticToolExecutor:
        """Return an executor over the tools; `ask` is the policy of that tool."""
        functions = (self.get, self.put, self.bad, self.ask)
        tools: list[BaseTool] = [
            StructuredTool.from_function(coroutine=f, name=f.__name__) for f in functions
        ]
        catalog = ToolCatalog(tools, policies={"get": _READS, "bad": _READS, "ask": ask})
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


@dataclass(slots=True)
class _Run:
    """One run of a program."""

    world: _World
    result: ExecutionResult | None = None
    variables: str = ""
    """Of its session, as they are afterwards."""
    journal: tuple[tuple[str, Any, Any], ...] = ()

    def seen(self) -> tuple[Any, ...]:
        """Return what must be the same with prefetching."""
        result = self.result
        assert result is not None
        calls = [(c.tool, dict(c.arguments), c.status, c.line, c.error) for c in result.tool_calls]
        journal = [*self.journal]
        if "gather" in result.code or "ThreadPoolExecutor()" in result.code:
            calls.sort(key=repr)
            journal = sorted(((k.partition(":")[2], *rest) for k, *rest in journal), key=repr)
        error = None if result.error is None else (result.error.message, result.error.line)
        shown = result.status, result.output, result.value, error, self.variables
        return *shown, calls, journal, self.world.effects


async def run_trial(seed: int, sandbox: Sandbox) -> Trial:
    """Run the program of a seed in each way, and compare."""
    trial = _Program(seed, sandbox)
    plain = await trial.run("off")
    expected = plain.seen()
    faults = []
    hits = early_reads = 0
    for prefetch in ("calls", "stream"):
        run = await trial.run(prefetch)
        if (now := run.seen()) != expected:
            faults.append(f"{prefetch}: {now} and not {expected}\n{trial.code}")
        stats = None if run.result is None else run.result.prefetch
        hits += 0 if stats is None else stats.hits
        early_reads = run.world.reads
    cut = await trial.cut(random.Random(seed).randrange(len(trial.code)))
    if cut.effects:
        faults.append(f"a stream that broke off has written {cut.effects}\n{trial.code}")
    return Trial(seed, tuple(faults), plain.world.reads, early_reads, hits)


class _Program:
    """The program of a seed, and how it is run."""

    def __init__(self, seed: int, sandbox: Sandbox) -> None:
        self._seed, self._sandbox = seed, sandbox
        self._is_journaled = seed % 3 == 0
        self._continues = seed % 4 == 1
        maker = _Maker(random.Random(seed), asks=self._is_journaled, continues=self._continues)
        self.code = maker.program()
        self._written = self.code
        """What the model writes, before something else changes it."""
        if seed % 7 == 2:
            self._written = self.code.replace(_END, "print('changed')\n")

    async def cut(self, at: int) -> _World:
        """Write a part of the program, and do not run it."""
        world, executor = self._start("stream")
        kept = await self._run_before(executor)
        prefetcher = executor.prefetch(kept=kept)
        await self._write(prefetcher, until=at)
        await asyncio.sleep(0.02)
        prefetcher.close()
        await asyncio.sleep(0)
        return world

    async def run(self, prefetch: str) -> _Run:
        """Write the program, and run it to its end."""
        world, executor = self._start(prefetch)
        run = _Run(world)
        kept = await self._run_before(executor)
        await (self._run_in_graph if self._is_journaled else self._execute)(run, executor, kept)
        return run

    def _start(self, prefetch: str) -> tuple[_World, ProgrammaticToolExecutor]:
        world = _World(random.Random(self._seed))
        ask = _READS if self._seed % 2 else ToolPolicy()
        return world, world.executor(self._sandbox, prefetch, ask=ask)

    async def _run_before(self, executor: ProgrammaticToolExecutor) -> bytes | None:
        """Return the variables that the program starts with."""
        if not self._continues:
            return None
        return (await executor.start(_BEFORE, kept=b"").arun()).kept

    async def _write(self, prefetcher: Any, until: int | None = None) -> None:
        chance = random.Random(self._seed)
        at = 0
        while at < len(self._written) and (until is None or at <= until):
            length = chance.randint(1, 12)
            prefetcher.feed(self._written[at : at + length])
            at += length
            await asyncio.sleep(chance.random() * 0.01 if chance.random() < 0.5 else 0)

    async def _execute(
        self,
        run: _Run,
        executor: ProgrammaticToolExecutor,
        kept: bytes | None,
        *,
        is_resumed: bool = False,
    ) -> None:
        prefetcher = None
        if executor.prefetching == "stream" and not is_resumed:
            prefetcher = executor.prefetch(kept=kept)
            await self._write(prefetcher)
        outcome = await executor.start(self.code, kept=kept, prefetcher=prefetcher).arun()
        run.result = outcome.result
        if outcome.kept is not None:
            run.variables = (await executor.start(_END, kept=outcome.kept).arun()).result.output

    async def _run_in_graph(
        self, run: _Run, executor: ProgrammaticToolExecutor, kept: bytes | None
    ) -> None:
        """Run it in a node, and answer what it asks."""
        passes = 0

        async def node(_: MessagesState) -> dict[str, Any]:
            nonlocal passes
            passes += 1
            await self._execute(run, executor, kept, is_resumed=passes > 1)
            return {"messages": []}

        graph = StateGraph(MessagesState)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        saver = InMemorySaver()
        app = graph.compile(checkpointer=saver)
        given: Any = {"messages": [("user", "go")]}
        # Each entry of the journal is written at once, the last ones too.
        while questions := (await app.ainvoke(given, _CONFIG, durability="sync")).get(
            "__interrupt__"
        ):
            answers = {question.id: f"answer to {question.value}" for question in questions}
            given = Command(resume=answers)
        entries = [
            event
            for checkpoint in saver.list(_CONFIG)
            for _, channel, entry in checkpoint.pending_writes or ()
            if channel == "ptc_entry"
            for event in entry.get("events", ())
        ]
        entries.sort(key=lambda event: event["number"])
        run.journal = tuple((e["key"], e.get("payload"), e.get("failure")) for e in entries)


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
