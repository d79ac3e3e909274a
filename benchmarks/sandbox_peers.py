"""The same work in other sandboxes, as far as they are installed; see `sandbox.py --peers`.

Each row says what it measures and in what. What a peer cannot do has no row. They differ in what
they protect against: `smolagents` runs in this process and says itself that it is no boundary.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from collections.abc import Callable

CPU_BOUND = """
rows = [{"id": i, "team": i % 7, "amount": (i * 37) % 1000 / 10} for i in range(20000)]
totals = {}
for row in rows:
    if row["amount"] > 5:
        totals[row["team"]] = totals.get(row["team"], 0) + row["amount"]
names = sorted(rows, key=lambda r: (-r["amount"], r["id"]))
"""
SEQUENTIAL = "for i in range({N}):\n    {CALL}\n"
GATHERED = """
import asyncio
async def main():
    for _ in range({N} // 100):
        await asyncio.gather(*[add(i) for i in range(100)])
await main()
"""
JS_CPU_BOUND = """
const rows = Array.from({length: 20000}, (_, i) => ({id: i, team: i % 7, amount: (i*37) % 1000 / 10}));
const totals = {};
for (const row of rows) if (row.amount > 5) totals[row.team] = (totals[row.team] || 0) + row.amount;
rows.sort((a, b) => b.amount - a.amount || a.id - b.id).length
"""
MEGABYTES = "x" * (10 * 1024 * 1024)


def row(peer: str, name: str, measure: Callable[[], float], unit: str) -> None:
    """Print one line; a peer that fails says so and does not stop the others."""
    try:
        print(f"{peer + ': ' + name:<50}{measure():>9.2f} {unit}", flush=True)
    except Exception as error:
        print(f"{peer + ': ' + name:<50}   failed: {type(error).__name__}: {error!s:.60}")


def median_ms(times: int, run: Callable[[], object]) -> float:
    """Return the median milliseconds of a run."""
    figures = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        figures.append((time.perf_counter() - started) * 1e3)
    return statistics.median(figures)


def add(i: int = 0) -> int:
    """Answer at once."""
    return i


def big() -> str:
    """Answer much."""
    return MEGABYTES


def plain_cpu() -> None:
    """Run the code that only computes in this process."""
    exec(compile(CPU_BOUND, "<plain>", "exec"), {})


def measure_monty(times: int, calls: int) -> None:
    """`pydantic-monty`: a Python of its own, in worker processes."""
    from pydantic_monty import Monty

    tools = {"add": add, "big": big}
    limits = {"max_suspensions": 10_000_000}
    with Monty(min_processes=2) as pool:

        def run(code: str) -> object:
            with pool.checkout(limits=limits) as session:
                return session.feed_run(code, external_lookup=tools)

        sequential = SEQUENTIAL.format(N=calls, CALL="add(i)")
        name = "pydantic-monty"
        row(
            name,
            "an expression in a waiting worker",
            lambda: median_ms(times, lambda: run("1")),
            "ms",
        )
        per = 1e3 / calls
        each = lambda: median_ms(3, lambda: run(sequential)) * per  # noqa: E731
        row(name, "a tool call, one after another", each, "us")
        row(name, "a result of 10 MB", lambda: median_ms(3, lambda: run("len(big())")), "ms")
        ratio = lambda: median_ms(3, lambda: run(CPU_BOUND)) / median_ms(3, plain_cpu)  # noqa: E731
        row(name, "code that computes / plain CPython", ratio, "x")
    row(name, "a tool call, in gathers of 100", lambda: _monty_gathered(calls), "us")


def _monty_gathered(calls: int) -> float:
    from pydantic_monty import AsyncMonty

    async def add_later(i: int) -> int:
        return i

    async def run() -> float:
        async with (
            AsyncMonty() as pool,
            pool.checkout(limits={"max_suspensions": 10_000_000}) as session,
        ):
            code = GATHERED.replace("{N}", str(calls))
            started = time.perf_counter()
            await session.feed_run(code, external_lookup={"add": add_later})
            return (time.perf_counter() - started) / calls * 1e6

    return asyncio.run(run())


def measure_codecell(times: int, calls: int) -> None:
    """`codecell`: CPython in a new process for each execution."""
    from codecell import IpcSubprocessRuntime
    from codecell.python import PythonValidator

    runtime = IpcSubprocessRuntime(PythonValidator())

    def run(code: str) -> None:
        result = runtime.execute(code, namespace={"add": add, "big": big}, timeout=60)
        if result.return_code:
            raise RuntimeError(result.stderr[-200:])

    _measure_blocking("codecell", run, times, calls, call="add(i=i)")


def measure_smolagents(times: int, calls: int) -> None:
    """`smolagents`: an interpreter of the syntax tree, in this process."""
    from smolagents.local_python_executor import LocalPythonExecutor

    def run(code: str) -> None:
        executor = LocalPythonExecutor([], additional_functions={"add": add, "big": big})
        executor.send_tools({})
        executor(code)

    _measure_blocking("smolagents", run, times, calls, call="add(i)")


def _measure_blocking(
    name: str, run: Callable[[str], None], times: int, calls: int, *, call: str
) -> None:
    sequential = SEQUENTIAL.format(N=calls, CALL=call)
    row(name, "print(1)", lambda: median_ms(times, lambda: run("print(1)")), "ms")
    base = median_ms(times, lambda: run("print(1)"))
    row(
        name,
        "a tool call, one after another",
        lambda: (median_ms(3, lambda: run(sequential)) - base) / calls * 1e3,
        "us",
    )
    row(
        name,
        "a result of 10 MB",
        lambda: max(0.0, median_ms(3, lambda: run("x = big()")) - base),
        "ms",
    )
    row(
        name,
        "code that computes / plain CPython",
        lambda: (median_ms(3, lambda: run(CPU_BOUND)) - base) / median_ms(3, plain_cpu),
        "x",
    )


def measure_quickjs(times: int, calls: int) -> None:
    """`langchain-quickjs`: JavaScript, by the engine under it, in this process."""
    from quickjs_rs import Runtime

    def run(code: str) -> None:
        runtime = Runtime()
        context = runtime.new_context(timeout=60.0)
        context.register("add", add)
        context.register("big", big)
        context.eval(code)
        context.close()
        runtime.close()

    name = "langchain-quickjs"
    row(name, "an empty program", lambda: median_ms(times, lambda: run("1")), "ms")
    loop = f"for (let i = 0; i < {calls}; i++) add(i); 0"
    each = lambda: median_ms(3, lambda: run(loop)) * 1e3 / calls  # noqa: E731
    row(name, "a tool call, one after another", each, "us")
    row(name, "a result of 10 MB", lambda: median_ms(3, lambda: run("big().length")), "ms")
    ratio = lambda: median_ms(3, lambda: run(JS_CPU_BOUND)) / median_ms(3, plain_cpu)  # noqa: E731
    row(name, "code that computes / plain CPython", ratio, "x")


PEERS: dict[str, tuple[str, Callable[[int, int], None]]] = {
    "pydantic-monty": ("pydantic_monty", measure_monty),
    "codecell": ("codecell", measure_codecell),
    "smolagents": ("smolagents", measure_smolagents),
    "langchain-quickjs": ("quickjs_rs", measure_quickjs),
}


def main(*, quick: bool) -> None:
    """Measure what is installed."""
    times, calls = (3, 500) if quick else (15, 2_000)
    print()
    for name, (module, measure) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed")
        else:
            measure(times, calls)


if __name__ == "__main__":
    main(quick=True)
