"""Thousands of random programs, several at once, with kills in random places; then look what is left.

The programs print, call tools, raise, flood, loop, eat memory and hang, under small limits. Meanwhile
workers are killed at random, and now and then the parent of workers. Every execution must end with a
status that fits its program, none may end more than a second after its limit, and afterwards no
process, descriptor, thread or memory may be left over. Linux. Exits with 1 if any of it fails.

Run: python benchmarks/soak.py [--executions N] [--at-once N] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.api import MIB, Call, Limits, Program, Result, Sandbox
from langchain_ptc.sandbox.host.process import ProcessSandbox
from langchain_ptc.sandbox.wire.values import encode_value

TOOLS = ("echo", "slow", "never", "fail")
ALLOWED_LATENESS = 1.0
RESTART_SECONDS = 3.0
"""After the parent of workers was killed: a new one is being started, which is no execution's time."""
ALLOWED_GROWTH_MIB = 50.0
KILL_EVERY = 25
"""Executions between two kills of a worker, on average."""
KILL_PARENT_EVERY = 400
CANCEL_SHARE = 0.03
SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class Kind:
    """One kind of random program."""

    weight: int
    code: Callable[[random.Random], str]
    statuses: frozenset[str]
    """How it may end when nobody kills it."""
    wall_seconds: float = 10.0
    cpu_seconds: int = 5
    memory_mib: int = 256
    output_bytes: int = 8 * MIB
    max_tool_calls: int = 200

    def limits(self) -> Limits:
        """Return the limits that it runs under."""
        return Limits(
            wall_seconds=self.wall_seconds,
            cpu_seconds=self.cpu_seconds,
            memory_bytes=self.memory_mib * MIB,
            output_bytes=self.output_bytes,
            max_tool_calls=self.max_tool_calls,
        )


def _gather(rng: random.Random) -> str:
    return (
        "import asyncio\n"
        f"got = await asyncio.gather(*[{rng.choice(('echo', 'slow'))}(i) for i in range({rng.randint(1, 100)})])\n"
        "print(len(got))"
    )


OK, ERROR, LIMIT = frozenset({"success"}), frozenset({"error"}), frozenset({"limit"})
KINDS = {
    "print": Kind(20, lambda rng: f"for i in range({rng.randint(1, 300)}):\n    print(i, 'x' * 50)", OK),
    "compute": Kind(
        10, lambda rng: f"print(sum(i * i % 7 for i in range({rng.randint(1, 20_000)})))", OK
    ),
    "calls": Kind(15, lambda rng: f"for i in range({rng.randint(1, 30)}):\n    print(echo(i))", OK),
    "gather": Kind(15, _gather, OK),
    "threads": Kind(
        5,
        lambda rng: (
            "from concurrent.futures import ThreadPoolExecutor\n"
            f"with ThreadPoolExecutor({rng.randint(1, 8)}) as pool:\n"
            "    print(len(list(pool.map(slow, range(20)))))"
        ),
        OK,
    ),
    "failing-tool": Kind(5, lambda _: "try:\n    fail()\nexcept ToolCallError:\n    print('caught')", OK),
    "error": Kind(8, lambda rng: rng.choice(("1 / 0", "{}['x']", "fail()", "raise KeyError('x')")), ERROR),
    "syntax": Kind(3, lambda rng: rng.choice(("x = (", "print 'x'")), frozenset({"error", "refused"})),
    "refused": Kind(3, lambda _: "().__class__.__base__.__subclasses__()", frozenset({"refused"})),
    "exit": Kind(3, lambda rng: f"import sys\nsys.exit({rng.randint(0, 1)})", OK | ERROR),
    "recursion": Kind(2, lambda _: "def f():\n    f()\nf()", ERROR),
    "result": Kind(3, lambda rng: f"'x' * {rng.randint(1, 1_000_000)}", OK),
    "flood": Kind(3, lambda _: "while True:\n    print('x' * 1000)", LIMIT, output_bytes=MIB),
    "calls-flood": Kind(3, lambda _: "while True:\n    echo(1)", LIMIT, max_tool_calls=50),
    "loop": Kind(2, lambda _: "while True:\n    pass", LIMIT, wall_seconds=0.3),
    "stubborn-loop": Kind(
        2,
        lambda _: "while True:\n    try:\n        while True:\n            pass\n    except Exception:\n        pass",
        LIMIT,
        wall_seconds=0.3,
    ),
    "one-long-operation": Kind(1, lambda _: "x = 9 ** 9 ** 9", LIMIT, wall_seconds=0.4),
    "sleep": Kind(2, lambda _: "import time\ntime.sleep(60)", LIMIT, wall_seconds=0.3),
    "hanging-tool": Kind(2, lambda _: "never()", LIMIT, wall_seconds=0.3),
    "memory": Kind(3, lambda _: "x = []\nwhile True:\n    x.append('x' * 1_000_000)", LIMIT, memory_mib=64),
    "one-large-object": Kind(2, lambda _: "x = 'x' * 10 ** 10", LIMIT, memory_mib=64),
    "processor": Kind(1, lambda _: "while True:\n    pass", LIMIT, cpu_seconds=1),
}  # fmt: skip
IDLE = (Kind(1, lambda _: "1", OK), Kind(1, lambda _: "1", OK, memory_mib=64))
"""What is run before each count, so that the same workers wait: the pool keeps two sorts of limits."""


@dataclass(frozen=True)
class Count:
    """What this process holds."""

    processes: int
    descriptors: int
    threads: int
    rss_mib: float

    def __str__(self) -> str:
        return (
            f"{self.processes:>9} processes {self.descriptors:>5} descriptors "
            f"{self.threads:>3} threads {self.rss_mib:>7.1f} MiB"
        )


@dataclass
class Findings:
    """What the soak has seen."""

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    latest: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    parent_killed_at: float = float("-inf")
    rss_mib: list[float] = field(default_factory=list)
    """Memory at each tenth of the way."""


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process, those that nobody has waited for included."""
    try:
        return [
            int(child)
            for child in Path(f"/proc/{pid}/task").glob("*/children")
            for child in child.read_text().split()
        ]
    except OSError:  # it has ended
        return []


def family_of(pid: int) -> list[int]:
    """Return all descendants of a process."""
    return [one for child in children_of(pid) for one in (child, *family_of(child))]


_SHARED = "langchain-ptc large data"
"""Threads that convert large data: at most two for the whole process, which stay."""


def count() -> Count:
    """Count what this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Count(
        processes=len(family_of(os.getpid())),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        threads=sum(not t.name.startswith(_SHARED) for t in threading.enumerate()),
        rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / MIB,
    )


async def execute(sandbox: Sandbox, code: str, limits: Limits) -> str:
    """Run code and return its status."""
    session = sandbox.session()
    loop = asyncio.get_running_loop()

    def on_calls(calls: Sequence[Call]) -> None:
        from langchain_ptc.sandbox.api import CallFailure

        for call in calls:
            payload = encode_value(list(call.args))
            if call.tool == "echo":
                session.resume([Result(id=call.id, payload=payload)])
            elif call.tool == "slow":
                loop.call_later(0.005, session.resume, [Result(id=call.id, payload=payload)])
            elif call.tool == "fail":
                session.resume([Result(id=call.id, failure=CallFailure(message="no"))])

    program = Program(code=code, tools=TOOLS, limits=limits)
    return (await session.run(program, on_calls)).status


async def run_one(sandbox: Sandbox, rng: random.Random, findings: Findings) -> None:
    """Run one random program and note how it ended."""
    name = rng.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
    kind = KINDS[name]
    limits = kind.limits()
    task = asyncio.ensure_future(execute(sandbox, kind.code(rng), limits))
    cancelled = rng.random() < CANCEL_SHARE
    if cancelled:
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.1), task.cancel)
    started = time.monotonic()
    try:
        status = await task
    except asyncio.CancelledError:
        status = "cancelled"
    except SandboxError as error:
        status = "raised"
        findings.wrong.append(f"{name}: SandboxError: {error}")
    late = time.monotonic() - started - limits.wall_seconds
    findings.ended[status] += 1
    if started - findings.parent_killed_at < RESTART_SECONDS:
        late = 0.0
    findings.latest = max(findings.latest, late)
    if late > ALLOWED_LATENESS:
        findings.wrong.append(f"{name}: ended {late:.2f} s after its limit")
    if status not in kind.statuses and status not in ("sandbox", "cancelled", "raised"):
        findings.wrong.append(f"{name}: ended with status {status!r}")


def kill_one(rng: random.Random, findings: Findings) -> None:
    """Kill a random worker, or its parent."""
    parents = [pid for child in children_of(os.getpid()) for pid in (child, *children_of(child))]
    workers = [pid for pid in family_of(os.getpid()) if pid not in parents]
    spare_parent = rng.random() > KILL_EVERY / KILL_PARENT_EVERY
    chosen = workers if spare_parent else parents
    if chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(chosen), signal.SIGKILL)
            findings.kills["workers" if spare_parent else "parents of workers"] += 1
            if not spare_parent:
                findings.parent_killed_at = time.monotonic()


async def soak(sandbox: Sandbox, executions: int, at_once: int, seed: int) -> Findings:
    """Run random programs, `at_once` side by side, and kill now and then."""
    findings = Findings()
    rng = random.Random(seed)
    left = iter(range(executions))

    async def keep_going() -> None:
        for number in left:
            if number % max(executions // 10, 1) == 0:
                findings.rss_mib.append(round(count().rss_mib, 1))
            if rng.random() < 1 / KILL_EVERY:
                kill_one(rng, findings)
            await run_one(sandbox, random.Random(rng.random()), findings)

    await asyncio.gather(*[keep_going() for _ in range(at_once)])
    return findings


async def settle(sandbox: Sandbox, expected: Count | None = None) -> Count:
    """Bring the pool to its idle state, and count; wait until it is as `expected`, or for a while."""
    for kind in IDLE:
        await execute(sandbox, kind.code(random.Random(0)), kind.limits())
    deadline = time.monotonic() + SETTLE_SECONDS
    before = None
    while True:
        await asyncio.sleep(0.3)
        now = count()
        steady = before is not None and now.processes == before.processes
        if (
            steady and (expected is None or not _left(expected, now))
        ) or time.monotonic() > deadline:
            return now
        before = now


def _left(before: Count, after: Count) -> list[str]:
    """Say what is there afterwards that was not there before."""
    left = [
        f"{name}: {getattr(before, name)} before, {getattr(after, name)} after"
        for name in ("processes", "descriptors", "threads")
        if getattr(after, name) > getattr(before, name)
    ]
    if after.rss_mib - before.rss_mib > ALLOWED_GROWTH_MIB:
        left.append(f"memory: {before.rss_mib:.0f} MiB before, {after.rss_mib:.0f} after")
    return left


async def main(executions: int, at_once: int, seed: int) -> int:
    """Run the soak and print what was found; return the exit code."""
    empty = count()
    with ProcessSandbox() as sandbox:
        before = await settle(sandbox)
        started = time.monotonic()
        findings = await soak(sandbox, executions, at_once, seed)
        seconds = time.monotonic() - started
        after = await settle(sandbox, before)
    closed = count()
    wrong = findings.wrong + _left(before, after) + _left(empty, closed)
    total = sum(findings.ended.values())
    if total != executions:
        wrong.append(f"{executions} executions, {total} of them ended")
    print(
        f"{total} executions in {seconds:.0f} s ({total / seconds:.0f} a second), {at_once} at once, seed {seed}"
    )
    print(f"ended    {dict(findings.ended.most_common())}")
    print(f"killed   {dict(findings.kills)}")
    print(f"latest   {findings.latest:+.2f} s beside its limit")
    print(f"memory   {findings.rss_mib} MiB on the way")
    print(f"at first {empty}\nbefore   {before}\nafter    {after}\nclosed   {closed}")
    for line in wrong[:20]:
        print(f"WRONG    {line}")
    print("nothing is left over" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.executions, options.at_once, options.seed)))
