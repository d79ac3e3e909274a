"""How long the event loop of a host stands still while code sends it large values.

    python -m benchmarks.loop_blocking

Prints, for each kind of value as an argument and as a return value, the longest time in milliseconds
between two turns of a task that does nothing but give way. The times hold what else the machine does.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from langchain_core.tools import tool

from langchain_ptc import ProgrammaticToolExecutor

MADE = {
    "nothing": "None",
    "300,000 integers": "list(range(300_000))",
    "200,000 floats": "[i / 7 for i in range(200_000)]",
    "dict of 150,000 keys": "{f'k{i}': i for i in range(150_000)}",
    "40,000 rows": "[{'id': i, 'name': f'n{i}', 'v': i / 7} for i in range(40_000)]",
    "set of 200,000": "set(range(200_000))",
    "8 MB of text": "'lorem ipsum dolor sit ' * 360_000",
}


@tool
async def look(given: Any) -> int:
    """Look at a value."""
    return id(given)


async def measure(executor: ProgrammaticToolExecutor, code: str) -> tuple[float, str]:
    """Execute code; return the longest pause of the loop in seconds, and how it ended."""
    longest = 0.0
    running = asyncio.ensure_future(executor.aexecute(code))
    before = time.perf_counter()
    while not running.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before - 0.001), now
    result = await running
    return longest, result.status


async def main() -> None:
    """Measure each kind."""
    executor = ProgrammaticToolExecutor([look])
    await executor.aexecute("pass")
    for name, made in MADE.items():
        for how, code in (("argument", f"await look({made})"), ("returned", f"return {made}")):
            gc.collect()
            longest, status = await measure(executor, code)
            print(f"{name:24} {how:10} {longest * 1000:8.1f} ms  {status}")


if __name__ == "__main__":
    asyncio.run(main())
