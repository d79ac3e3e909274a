"""The measurements behind `langchain-ptc bench`: each beside the same work done without us.

A number of microseconds says little of a machine that others use too; so each figure stands beside
what the same machine needs in the same minute for the plain thing, and the ratio is what counts.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from langchain_core.tools import tool

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.executor import ProgrammaticToolExecutor
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.host.process import ProcessSandbox

_PAYLOAD = "x" * (10 * 1024 * 1024)
_WAIT_SECONDS = 0.05
_CALLS = 200
_SIDE_BY_SIDE = 100
_LIMITS = Limits(max_tool_calls=10_000, max_concurrent_calls=_SIDE_BY_SIDE)
_MOST_SECONDS = 1.2
"""For each figure: it is repeated until then, five times at most, and at least once."""
_MOST_TIMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement."""

    name: str
    seconds: float
    """Median of all tries."""
    plain: str
    """What it is compared with."""
    plain_seconds: float
    """Median of as many tries of it."""
    tries: int

    @property
    def ratio(self) -> float:
        """How many times as long it takes."""
        return self.seconds / self.plain_seconds


@tool
async def add_one(number: int) -> int:
    """Add one."""
    return number + 1


@tool
async def wait(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


@tool
async def load() -> str:
    """Load ten megabytes."""
    return _PAYLOAD


_CALL_CODE = f"""
for number in range({_CALLS}):
    await add_one(number)
"""
_WAIT_CODE = f"""
import asyncio
await asyncio.gather(*[wait({_WAIT_SECONDS}) for _ in range({_SIDE_BY_SIDE})])
"""


def measure_all(on_figure: Callable[[Figure], None] = lambda _: None) -> list[Figure]:
    """Take all figures; less than fifteen seconds on a machine of today.

    Args:
        on_figure: Is told each figure as it is taken.

    Raises:
        SandboxError: This machine cannot start a worker.
    """
    figures = []
    for figure in _take_figures():
        on_figure(figure)
        figures.append(figure)
    return figures


def _take_figures() -> Iterator[Figure]:
    yield _compare(
        "first execution: start the sandbox, run print(1)",
        _start_sandbox,
        "start of a bare Python",
        _start_python,
    )
    with ProcessSandbox() as sandbox:
        executor = ProgrammaticToolExecutor(
            ToolCatalog([add_one, wait, load]), sandbox=sandbox, limits=_LIMITS
        )

        def run(code: str) -> None:
            executor.execute(code).raise_for_status()

        run("print(1)")
        yield _compare(
            "next execution: print(1)",
            lambda: run("print(1)"),
            "start of a bare Python",
            _start_python,
        )
        with asyncio.Runner() as runner:

            def plainly(work: Callable[[], Awaitable[object]]) -> None:
                async def do() -> None:
                    await work()

                runner.run(do())

            yield _compare(
                f"{_CALLS} calls, one after another",
                lambda: run(_CALL_CODE),
                "the same tool called directly",
                lambda: plainly(_call_directly),
            )
            yield _compare(
                f"{_SIDE_BY_SIDE} calls side by side, each waits {_WAIT_SECONDS * 1000:g} ms",
                lambda: run(_WAIT_CODE),
                "the same tools called directly",
                lambda: plainly(_wait_directly),
            )
        yield _compare(
            "a tool result of 10 MB, into the code",
            lambda: run("text = await load()"),
            "the same through JSON in one process",
            lambda: json.loads(json.dumps(_PAYLOAD)),
        )


def _compare(
    name: str, work: Callable[[], object], plain: str, plain_work: Callable[[], object]
) -> Figure:
    """Time both in turn, so that a busy moment of the machine hits both."""
    ours: list[float] = []
    theirs: list[float] = []
    begun = time.perf_counter()
    while len(ours) < _MOST_TIMES and (not ours or time.perf_counter() - begun < _MOST_SECONDS):
        ours.append(_time(work))
        theirs.append(_time(plain_work))
    return Figure(
        name=name,
        seconds=statistics.median(ours),
        plain=plain,
        plain_seconds=statistics.median(theirs),
        tries=len(ours),
    )


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _start_python() -> None:
    subprocess.run([sys.executable, "-I", "-c", "print(1)"], check=True, stdout=subprocess.DEVNULL)


def _start_sandbox() -> None:
    # A number of waiting workers that no other sandbox has: its parent is shared with nobody.
    with ProcessSandbox(waiting_workers=3) as sandbox:
        executor = ProgrammaticToolExecutor(ToolCatalog([]), sandbox=sandbox)
        executor.execute("print(1)").raise_for_status()


async def _call_directly() -> None:
    for number in range(_CALLS):
        await add_one.ainvoke({"number": number})


async def _wait_directly() -> None:
    waits = (wait.ainvoke({"seconds": _WAIT_SECONDS}) for _ in range(_SIDE_BY_SIDE))
    await asyncio.gather(*waits)
