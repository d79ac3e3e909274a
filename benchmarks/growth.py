"""How time and memory grow with the number of calls and the size of a result.

    python -m benchmarks.growth [--write]

Each point is measured in a fresh process, after a small program: processor time of the program, on the
host and in the worker, and how far the memory of both rises at its highest. Linear growth is the same
figure for each call and each megabyte at every size. `--write` stores the points in `benchmarks/results/` and draws them
in `docs/benchmark.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import speed

CALLS = (10, 100, 1_000, 10_000)
MEGABYTES = (1, 10, 50)


class Point(NamedTuple):
    """What one program took."""

    size: int
    seconds: float
    """Processor time of host and worker: a busy machine adds little to it."""
    host_mib: float
    worker_mib: float


class Series(NamedTuple):
    """Programs that differ in size only."""

    unit: str
    sizes: tuple[int, ...]
    code: str
    saver: str = ""
    """The checkpointer; empty without a graph."""
    make: Callable[[int], object] = int
    """Makes what the tool `read` returns."""


_ONE_BY_ONE = "for i in range({size}):\n    await add(i, 1)"
_GATHERED = "import asyncio\nawait asyncio.gather(*[add(i, 1) for i in range({size})])"
_READ = "value = await read()\nprint(len(value))"

SERIES = {
    "calls one after another": Series("call", CALLS, _ONE_BY_ONE),
    "calls in one gather": Series("call", CALLS, _GATHERED),
    "calls one after another, journal in memory": Series("call", CALLS, _ONE_BY_ONE, "memory"),
    "calls in one gather, journal in memory": Series("call", CALLS, _GATHERED, "memory"),
    "records": Series("MB", MEGABYTES, _READ, make=lambda n: speed.build_records(n * 9_266)),
    "a string": Series("MB", MEGABYTES, _READ, make=lambda n: "lorem ips " * (n * 100_000)),
}
"""10,793,066 characters of JSON are 100,000 records, so 9,266 are a megabyte."""


async def measure(series: Series, size: int) -> Point:
    """Measure one point in this process."""
    from langchain_core.tools import tool

    peaks, seconds = [], []

    @tool
    async def weigh() -> None:
        """Note what the busiest worker has taken until now."""
        workers = speed.leaves(os.getpid())
        peaks.append(max(memory_mib(pid, "VmHWM") for pid in workers))
        seconds.append(max(map(cpu_seconds, workers)))

    tools = [speed.build_add(), speed.build_reader(series.make(size)), weigh]
    async with open_runner(tools, series.saver) as run:
        await run("await weigh()")
        before = reset_peak()
        code = series.code.replace("{size}", str(size))
        taken = await speed.clock(lambda: run(f"{code}\nawait weigh()"))
    host = memory_mib(os.getpid(), "VmHWM") - before
    cpu = taken.cpu / 1e3 + seconds[1]
    return Point(size, cpu, max(host, 0.0), max(peaks[1] - peaks[0], 0.0))


def reset_peak() -> float:
    """Let the peak of this process's memory begin anew; return where it begins."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mib(os.getpid(), "VmRSS")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def open_runner(tools: list[Any], saver: str) -> AsyncIterator[Callable[[str], Any]]:
    """Return a function that executes code, in a graph if there is a checkpointer."""
    if saver:
        async with speed.open_saver(saver) as opened:
            yield speed.build_graph(tools, opened)
    else:
        yield speed.build_runner(tools)


def memory_mib(pid: int, field: str) -> float:
    """Return a figure of a process: `VmRSS` is its memory now, `VmHWM` the most that it had."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def measure_in_process(name: str, size: int) -> Point:
    """Measure one point in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--here", name, str(size)]
    done = subprocess.run(command, cwd=speed.ROOT, capture_output=True, check=True)
    return Point(*json.loads(done.stdout))


def measure_all() -> dict[str, list[Point]]:
    """Measure every point in a process of its own, and print it."""
    found: dict[str, list[Point]] = {name: [] for name in SERIES}
    for name, series in SERIES.items():
        print(f"\n{name}")
        for size in series.sizes:
            point = measure_in_process(name, size)
            found[name].append(point)
            each = point.seconds / size * 1e3
            print(
                f"{size:>9,} {series.unit:<5}{point.seconds:>9.3f} s of CPU {each:>9.3f} ms each"
                f"{point.host_mib:>9.1f} MiB host {point.worker_mib:>9.1f} MiB worker",
                flush=True,
            )
    return found


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="store the points and draw them")
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        name, size = options.here
        print(json.dumps(asyncio.run(measure(SERIES[name], int(size)))))
        return
    found = measure_all()
    if options.write:
        from benchmarks.page import store_part

        store_part(
            "growth",
            "python -m benchmarks.growth",
            {"series": found, "units": {name: s.unit for name, s in SERIES.items()}},
        )


if __name__ == "__main__":
    main()
