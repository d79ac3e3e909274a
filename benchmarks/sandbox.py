"""What a sandbox costs, beside plain CPython in the same run. Prints a table; medians.

Run: python benchmarks/sandbox.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from langchain_ptc.limits import MIB, Limits
from langchain_ptc.sandbox.base import Call, Done, Program, Result, Sandbox
from langchain_ptc.sandbox.process import ProcessSandbox

TOOLS = ("add", "big", "slow")
LIMITS = Limits(max_tool_calls=1_000_000, wall_seconds=120, cpu_seconds=100)
CPU_BOUND = """
rows = [{"id": i, "team": i % 7, "amount": (i * 37) % 1000 / 10} for i in range(60_000)]
totals = {}
for row in rows:
    if row["amount"] > 5:
        totals[row["team"]] = totals.get(row["team"], 0) + row["amount"]
names = sorted(rows, key=lambda r: (-r["amount"], r["id"]))
total = sum(r["amount"] for r in names[:1000])
"""
SEQUENTIAL = """
import time
started = time.perf_counter()
for i in range({N}):
    await add(i)
print((time.perf_counter() - started) / {N} * 1e6)
"""
GATHERED = """
import asyncio, time
started = time.perf_counter()
for _ in range({N} // 100):
    await asyncio.gather(*[add(i) for i in range(100)])
print((time.perf_counter() - started) / {N} * 1e6)
"""
BIG = """
import time
started = time.perf_counter()
rows = await big()
print((time.perf_counter() - started) * 1e3)
"""
SLOW = """
import asyncio
await asyncio.gather(*[slow() for _ in range(100)])
"""
PAYLOAD = json.dumps("x" * (10 * 1024 * 1024))


async def execute(sandbox: Sandbox, code: str) -> Done:
    """Run code with three tools: one that answers at once, a large one, and a slow one."""
    session = sandbox.session()
    loop = asyncio.get_running_loop()

    def on_calls(calls: list[Call]) -> None:
        at_once = []
        for call in calls:
            if call.tool == "add":
                at_once.append(Result(id=call.id, payload="1"))
            elif call.tool == "big":
                at_once.append(Result(id=call.id, payload=PAYLOAD))
            else:
                loop.call_later(0.05, session.resume, [Result(id=call.id)])
        if at_once:
            session.resume(at_once)

    done = await session.run(Program(code=code, tools=TOOLS, limits=LIMITS), on_calls)
    assert done.status == "success", done.failure
    return done


async def median(times: int, run: Callable[[], Awaitable[float]]) -> float:
    """Return the median of several runs, in whatever unit they give."""
    return statistics.median([await run() for _ in range(times)])


async def timed(run: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds that one run takes."""
    started = time.perf_counter()
    await run()
    return (time.perf_counter() - started) * 1e3


async def main(quick: bool) -> None:  # noqa: FBT001
    """Measure and print."""
    times = 5 if quick else 25
    calls = 1_000 if quick else 5_000

    async def printed(sandbox: Sandbox, code: str) -> float:
        return float((await execute(sandbox, code)).output)

    async def warm(sandbox: Sandbox) -> float:
        await asyncio.sleep(0.03)  # a waiting worker is made meanwhile
        return await timed(lambda: execute(sandbox, "print(1)"))

    async def plain_gather() -> object:
        return await asyncio.gather(*[asyncio.sleep(0.05) for _ in range(100)])

    async def plain_cpu() -> object:
        exec(compile(CPU_BOUND, "<plain>", "exec"), {})
        return None

    def row(name: str, figure: float, unit: str, target: str) -> None:
        print(f"{name:<48}{figure:>10.2f} {unit:<6}{target}")

    with ProcessSandbox() as sandbox:
        await execute(sandbox, "print(1)")
        row("print(1) in a waiting worker", await median(times, lambda: warm(sandbox)), "ms", "0.6")
        seq = await median(3, lambda: printed(sandbox, SEQUENTIAL.replace("{N}", str(calls))))
        row("a call, one after another", seq, "us", "30")
        gathered = await median(3, lambda: printed(sandbox, GATHERED.replace("{N}", str(calls))))
        row("a call, in gathers of 100", gathered, "us", "15")
        plain = await median(times, lambda: timed(plain_gather))
        ours = await median(times, lambda: timed(lambda: execute(sandbox, SLOW)))
        row("100 tools of 50 ms side by side / plain gather", ours / plain, "x", "1.15")
        row("a result of 10 MB", await median(times, lambda: printed(sandbox, BIG)), "ms", "60")
        plain = await median(times, lambda: timed(plain_cpu))
        own = f"import time\ns = time.perf_counter()\n{CPU_BOUND}\nprint((time.perf_counter() - s) * 1e3)"
        inside = await median(times, lambda: printed(sandbox, own))
        row("CPU-bound code / plain CPython", inside / plain, "x", "1.05")
        started = time.perf_counter()
        many = 60 if quick else 300
        for _ in range(many // 4):
            await asyncio.gather(*[execute(sandbox, "print(1)") for _ in range(4)])
        row("executions a second, 4 at a time", many / (time.perf_counter() - started), "/s", "150")
    print(f"\nmemory of a worker: see --help; limits: {LIMITS.memory_bytes // MIB} MiB each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    asyncio.run(main(parser.parse_args().quick))
