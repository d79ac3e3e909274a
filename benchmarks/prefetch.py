"""How much earlier programs end when their calls begin before the code makes them.

    python -m benchmarks.prefetch [SHAPE ...] [--quick] [--write]

A program of each shape is written at 50, 100 and 200 tokens a second (4 characters of JSON each) and run with
tools that take 0.05, 0.3 and 1 second. Measured is the time from the first token to the end of the program: with
`prefetch="off"`, `"calls"` and `"stream"`. *Ideal* is what remains if nothing but the model and the tools took
time, and each call began when the text that it follows from was written and what it depends on was there.
`--quick` takes the middle rate and 0.3 s only; `--write` puts the table and the chart into the docs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from langchain_core.tools import BaseTool, StructuredTool

from benchmarks.charts import Bar, Panel, draw_bars
from benchmarks.prefetch_tools import CHARS_PER_TOKEN, define_functions
from benchmarks.speed import leaves
from langchain_ptc import ProcessSandbox, ProgrammaticToolExecutor, ToolCatalog, ToolPolicy
from langchain_ptc.prefetch.code_stream import JsonCode

Mode = Literal["off", "calls", "stream"]
MODES: tuple[Mode, ...] = get_args(Mode)
RATES = (50, 100, 200)
"""Tokens a second."""
LATENCIES = (0.05, 0.3, 1.0)
"""Seconds that a tool takes."""
AT_ONCE = 4
"""Programs that are measured at once: they wait nearly all the time."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A program, and how its calls depend on one another."""

    name: str
    code: str
    chain: tuple[str, ...]
    """Of its longest chain of dependent calls: the text after which each is known."""
    writes: int = 0
    """Calls of that chain that can only begin when the whole program is there; they come last."""

    def ideal(self, rate: float, latency: float) -> float:
        """Return the seconds until its end if nothing but the model and the tools took time."""
        encoded = json.dumps({"code": self.code})
        tokens = math.ceil(len(encoded) / CHARS_PER_TOKEN)
        written = (tokens - 1) / rate
        at, begin = 0.0, 0
        for text in self.chain:
            begin = self.code.index(text, begin) + len(text)
            at = max(at, written * begin / len(self.code)) + latency
        for _ in range(self.writes):
            at = max(at, written) + latency
        return max(at, written)


SHAPES = (
    Shape(
        "three literal reads",
        """\
orders = await get_orders("ada", quarter="Q3")
prices = await get_prices("EUR")
limits = await get_limits("travel")
total = 0.0
for line in orders:
    if line["kind"] == "travel":
        total += line["amount"] * prices[0]["amount"]
allowed = sum(row["amount"] for row in limits)
status = "over" if total > allowed else "within"
report = {"person": "ada", "total": round(total, 2), "allowed": allowed, "status": status}
print(f"{report['person']}: {report['total']} of {report['allowed']} ({report['status']})")
""",
        ('get_limits("travel")',),
    ),
    Shape(
        "a loop of eight awaits",
        """\
people = ["ada", "grace", "linus", "ken", "dennis", "barbara", "edsger", "alan"]
over = []
for person in people:
    lines = await get_orders(person, quarter="Q3")
    spent = sum(line["amount"] for line in lines if line["kind"] == "travel")
    if spent > 2000:
        over.append((person, round(spent, 2)))
over.sort(key=lambda pair: -pair[1])
for person, spent in over:
    print(f"{person} spent {spent}, which is {spent - 2000:.2f} over")
print(len(over), "of", len(people), "people are over")
""",
        ('quarter="Q3")',),
    ),
    Shape(
        "a chain of four",
        """\
team = await get_team("engineering")
lead = team[0]["name"]
lines = await get_orders(lead, quarter="Q3")
largest = max(lines, key=lambda line: line["amount"])
detail = await get_detail(largest["id"])
limits = await get_limits(detail[0]["kind"])
allowed = sum(row["amount"] for row in limits)
print(f"{lead} spent {largest['amount']} at once on {detail[0]['kind']}; {allowed} are allowed")
""",
        (
            'get_team("engineering")',
            'quarter="Q3")',
            'get_detail(largest["id"])',
            'get_limits(detail[0]["kind"])',
        ),
    ),
    Shape(
        "a gather over a first result",
        """\
import asyncio
team = await get_team("engineering")
names = [member["name"] for member in team]
results = await asyncio.gather(*[get_orders(name, quarter="Q3") for name in names])
spent = {}
for name, lines in zip(names, results):
    spent[name] = round(sum(line["amount"] for line in lines if line["kind"] == "travel"), 2)
over = {name: amount for name, amount in spent.items() if amount > 2000}
for name, amount in sorted(over.items(), key=lambda pair: -pair[1]):
    print(f"{name}: {amount}")
print(f"{len(over)} of {len(names)} are over")
""",
        ('get_team("engineering")', "for name in names])"),
    ),
    Shape(
        "a helper in a loop over a result",
        """\
async def travel_of(person, quarter):
    lines = await get_orders(person, quarter=quarter)
    return sum(line["amount"] for line in lines if line["kind"] == "travel")

totals = {}
for member in await get_team("engineering"):
    name = member["name"]
    totals[name] = await travel_of(name, "Q3")
ranking = sorted(totals.items(), key=lambda pair: -pair[1])
for place, (name, amount) in enumerate(ranking, 1):
    print(f"{place}. {name} {amount:.2f}")
""",
        ('get_team("engineering"):', 'travel_of(name, "Q3")'),
    ),
    Shape(
        "a branch on a first result",
        """\
limits = await get_limits("travel")
allowed = sum(row["amount"] for row in limits)
if allowed > 100:
    lines = await get_orders("ada", quarter="Q3")
    label = "travel"
else:
    lines = await get_prices("EUR")
    label = "prices"
amounts = [line["amount"] for line in lines]
average = sum(amounts) / len(amounts)
print(f"{label}: {len(amounts)} lines, {average:.2f} on average, {max(amounts):.2f} at most")
""",
        ('get_limits("travel")', 'quarter="Q3")'),
    ),
    Shape(
        "a write in the middle",
        """\
lines = await get_orders("ada", quarter="Q3")
prices = await get_prices("EUR")
total = sum(line["amount"] for line in lines) * prices[0]["amount"]
rounded = round(total, 2)
receipt = await pay("ada", rounded)
after = await get_orders("ada", quarter="Q4")
left = sum(line["amount"] for line in after)
print(f"paid {rounded}: {receipt}; {left:.2f} left for the next quarter")
""",
        ('get_prices("EUR")',),
        writes=2,
    ),
    Shape(
        "main() at the end",
        """\
import asyncio

async def main():
    team = await get_team("engineering")
    limits = await get_limits("travel")
    allowed = sum(row["amount"] for row in limits)
    for member in team:
        lines = await get_orders(member["name"], quarter="Q3")
        spent = sum(line["amount"] for line in lines if line["kind"] == "travel")
        if spent > allowed:
            print(f"{member['name']} is over by {spent - allowed:.2f}")
    print(len(team), "members")

await main()
""",
        ('get_team("engineering")', 'quarter="Q3")'),
    ),
    Shape(
        "threads, no await",
        """\
from concurrent.futures import ThreadPoolExecutor
team = get_team("engineering")
names = [member["name"] for member in team]
with ThreadPoolExecutor() as pool:
    results = list(pool.map(lambda name: get_orders(name, quarter="Q3"), names))
totals = {}
for name, lines in zip(names, results):
    totals[name] = round(sum(line["amount"] for line in lines), 2)
best = max(totals, key=totals.get)
print(f"{best} spent most: {totals[best]} of {sum(totals.values()):.2f}")
""",
        ('get_team("engineering")', 'quarter="Q3"), names))'),
    ),
    Shape(
        "one line",
        """\
print(len(await get_orders("ada", quarter="Q3")))
""",
        ('quarter="Q3")))\n',),
    ),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One program, once."""

    shape: str
    mode: Mode
    rate: int
    latency: float
    seconds: float
    """From the first token to the end of the program."""
    output: str
    tool_calls: tuple[str, ...]
    """Tools that were called, in the order in which the calls began."""
    hits: int
    wasted: int


def build_tools(latency: float, made: list[str]) -> tuple[list[BaseTool], dict[str, ToolPolicy]]:
    """Return tools that take `latency` seconds and note their calls; all but `pay` are read-only."""
    functions = define_functions(latency, made)
    tools: list[BaseTool] = [StructuredTool.from_function(coroutine=f) for f in functions]
    reading = ToolPolicy(read_only=True)
    return tools, {tool.name: reading for tool in tools if tool.name != "pay"}


async def measure(
    sandbox: ProcessSandbox, shape: Shape, mode: Mode, rate: int, latency: float
) -> Run:
    """Write a program at a rate, and run it."""
    made: list[str] = []
    tools, policies = build_tools(latency, made)
    catalog = ToolCatalog(tools, policies=policies)
    executor = ProgrammaticToolExecutor(catalog, sandbox=sandbox, prefetch=mode)
    prefetcher = executor.prefetch() if mode == "stream" else None
    encoded, stream = json.dumps({"code": shape.code}), JsonCode()
    began = time.monotonic()
    for token, at in enumerate(range(0, len(encoded), CHARS_PER_TOKEN)):
        if (pause := began + token / rate - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        added = stream.feed(encoded[at : at + CHARS_PER_TOKEN])
        if prefetcher is not None and added:
            prefetcher.feed(added)
    result = await executor.aexecute(shape.code, prefetcher=prefetcher)
    seconds = time.monotonic() - began
    result.raise_for_status()
    stats = result.prefetch
    return Run(
        shape.name,
        mode,
        rate,
        latency,
        seconds,
        result.output,
        tuple(made),
        0 if stats is None else stats.hits,
        0 if stats is None else stats.wasted,
    )


async def measure_all(
    shapes: Sequence[Shape], rates: Sequence[int], latencies: Sequence[float], rounds: int
) -> list[Run]:
    """Return the fastest of some runs of each program.

    Raises:
        AssertionError: Programs printed something else, or other calls were made, with `prefetch`.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    with ProcessSandbox(waiting_workers=4 * AT_ONCE) as sandbox:
        await measure(sandbox, SHAPES[-1], "off", 1_000, 0.0)

        async def one(shape: Shape, mode: Mode, rate: int, latency: float) -> Run:
            async with turns:
                return await measure(sandbox, shape, mode, rate, latency)

        runs = await asyncio.gather(
            *[
                one(shape, mode, rate, latency)
                for _ in range(rounds)
                for shape in shapes
                for rate in rates
                for latency in latencies
                for mode in MODES
            ]
        )
    best: dict[tuple[str, str, int, float], Run] = {}
    for run in runs:
        key = run.shape, run.mode, run.rate, run.latency
        best[key] = min(best.get(key, run), run, key=lambda one: one.seconds)
        assert run.output == best[run.shape, "off", run.rate, run.latency].output, run
    return list(best.values())


async def watch_workers(parent: int, seconds: dict[int, float]) -> None:
    """Note the processor time of each worker, until it is cancelled."""
    while True:
        for pid in leaves(parent):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                seconds[pid] = read_seconds(pid)
        await asyncio.sleep(0.004)


def read_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def measure_cost(mode: Mode, *, of_workers: bool) -> float:
    """Return the processor time for all shapes, of the host or of the workers, in seconds."""
    with ProcessSandbox(waiting_workers=4) as sandbox:
        await measure(sandbox, SHAPES[-1], "off", 1_000, 0.0)
        seconds: dict[int, float] = {}
        watching = None
        parent = sandbox.stats().parent_pid
        if of_workers and parent is not None:
            watching = asyncio.create_task(watch_workers(parent, seconds))
        began = time.process_time()
        for shape in SHAPES:
            await measure(sandbox, shape, mode, 200, 0.05)
        host = time.process_time() - began
        if watching is not None:
            watching.cancel()
        return sum(seconds.values()) if of_workers else host


def summarise(runs: Sequence[Run], shapes: Sequence[Shape]) -> dict[str, Any]:
    """Return the figures of the tables: means for each rate and latency, and the shapes at one of them."""
    rates = sorted({run.rate for run in runs})
    latencies = sorted({run.latency for run in runs})
    means = []
    for rate in rates:
        for latency in latencies:
            rows = [_summarise_one(runs, shape, rate, latency) for shape in shapes]
            saved = sum(row["off"] - row["off"] / row["stream"] for row in rows)
            possible = sum(row["off"] - row["off"] / row["ideal"] for row in rows)
            ratios = {
                name: math.exp(sum(math.log(row[name]) for row in rows) / len(rows))
                for name in ("calls", "stream", "ideal")
            }
            means.append({"rate": rate, "latency": latency, **ratios, "share": saved / possible})
    rate, latency = (100, 0.3) if len(rates) > 1 else (rates[0], latencies[0])
    return {
        "means": means,
        "rate": rate,
        "latency": latency,
        "shapes": [_summarise_one(runs, shape, rate, latency) for shape in shapes],
    }


def _summarise_one(runs: Sequence[Run], shape: Shape, rate: int, latency: float) -> dict[str, Any]:
    """Return the seconds without prefetching, and how many times as long that is as each other way."""
    wanted = (shape.name, rate, latency)
    found = {run.mode: run for run in runs if (run.shape, run.rate, run.latency) == wanted}
    off = found["off"].seconds
    return {
        "name": shape.name,
        "off": off,
        "calls": off / found["calls"].seconds,
        "stream": off / found["stream"].seconds,
        "ideal": off / shape.ideal(rate, latency),
        "made": len(found["stream"].tool_calls),
        "wasted": found["stream"].wasted,
    }


def render(figures: Mapping[str, Any]) -> str:
    """Return the tables, as Markdown."""
    lines = [
        "| tokens/s, tool | `calls` | `stream` | ideal | of the ideal's gain |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {m['rate']}, {m['latency']} s | {m['calls']:.2f}x | {m['stream']:.2f}x | "
        f"{m['ideal']:.2f}x | {m['share']:.0%} |"
        for m in figures["means"]
    ]
    lines += [
        "",
        (
            f"| {figures['rate']} tokens/s, {figures['latency']} s | off | `calls` | `stream` | ideal | "
            "calls made, wasted |"
        ),
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['off']:.2f} s | {row['calls']:.2f}x | {row['stream']:.2f}x | "
        f"{row['ideal']:.2f}x | {row['made']}, {row['wasted']} |"
        for row in figures["shapes"]
    ]
    if "cost" in figures:
        lines += ["", "| processor time | off | `calls` | `stream` |", "|---|---:|---:|---:|"]
        lines += [
            f"| {side} | 1.00x | {cost['calls']:.2f}x | {cost['stream']:.2f}x |"
            for side, cost in figures["cost"].items()
        ]
    return "\n".join(lines)


def draw(figures: Mapping[str, Any], date: str) -> str:
    """Draw how many times as fast programs are, as SVG."""
    rate, latency = figures["rate"], figures["latency"]
    shapes = [
        Bar(
            label=row["name"],
            value=row["stream"],
            text=f"{row['stream']:.2f}x, ideal {row['ideal']:.2f}x",
            colour="c",
        )
        for row in figures["shapes"]
    ]
    means = [
        Bar(
            label=f"{mean['rate']} tokens/s",
            value=mean["stream"],
            text=f"{mean['stream']:.2f}x, ideal {mean['ideal']:.2f}x",
            colour="d",
        )
        for mean in figures["means"]
        if mean["latency"] == latency
    ]
    panels = [
        Panel(heading=f"{rate} tokens/s, tools of {latency} s", bars=shapes),
        Panel(heading=f"Geometric mean, tools of {latency} s", bars=means),
    ]
    return draw_bars(
        "Calls that begin while the model writes: first token to the end of the program",
        panels,
        footer=[f"{date}, python -m benchmarks.prefetch --write"],
    )


def measure_costs(rounds: int) -> dict[str, dict[str, float]]:
    """Return how many times the processor time of `off` each way takes, on the host and in workers."""
    costs = {}
    for side, of_workers in (("host", False), ("workers", True)):
        seconds = dict.fromkeys(MODES, math.inf)
        for _ in range(rounds):
            for mode in MODES:
                once = asyncio.run(measure_cost(mode, of_workers=of_workers))
                seconds[mode] = min(seconds[mode], once)
        costs[side] = {mode: one / seconds["off"] for mode, one in seconds.items()}
    return costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shapes", nargs="*", help="words of names of shapes; all by default")
    parser.add_argument("--quick", action="store_true", help="100 tokens a second and 0.3 s only")
    parser.add_argument("--rounds", type=int, default=2, help="of which the fastest counts")
    parser.add_argument(
        "--write", action="store_true", help="store the figures, and write the page"
    )
    given = parser.parse_args(arguments)
    shapes = [s for s in SHAPES if not given.shapes or any(word in s.name for word in given.shapes)]
    rates, latencies = ((100,), (0.3,)) if given.quick else (RATES, LATENCIES)
    runs = asyncio.run(measure_all(shapes, rates, latencies, given.rounds))
    figures = summarise(runs, shapes)
    figures["cost"] = measure_costs(2 * given.rounds)
    print(render(figures))
    if given.write:
        from benchmarks.page import store_part

        store_part("prefetch", "python -m benchmarks.prefetch --write", figures)


if __name__ == "__main__":
    main()
