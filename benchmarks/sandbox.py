"""What a sandbox costs, beside plain CPython in the same run. Prints a table of medians.

    python benchmarks/sandbox.py [--quick]

A figure in microseconds says little on a machine that others use too, so the table begins with what
the same machine needs in the same minute for the least that could be done: a message to a process
and back, and the same through asyncio's own transport. Other sandboxes are in `benchmarks/compare.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.api import Call, Done, Program, Result, Sandbox
from langchain_ptc.sandbox.host.process import ProcessSandbox

TOOLS = ("add", "big", "slow", "meet")
LIMITS = Limits(
    max_tool_calls=1_000_000, max_concurrent_calls=1_000, wall_seconds=120, cpu_seconds=100
)
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
SLOW = "import asyncio\nawait asyncio.gather(*[slow() for _ in range(100)])"
PAYLOAD = json.dumps("x" * (10 * 1024 * 1024))
HAS_SMAPS = Path("/proc/self/smaps_rollup").exists()
BURST = 200
"""Calls that are timed together: short enough for some to fall between two disturbances."""


def row(name: str, figure: float, unit: str, *, target: float = 0.0, of: str = "") -> None:
    """Print one line of the table."""
    aim = f"{target:>8g} {figure / target:>6.2f}x" if target else ""
    print(f"{name:<50}{figure:>9.2f} {unit:<6}{aim:<17}{of}", flush=True)


async def execute(
    sandbox: Sandbox, code: str, *, limits: Limits = LIMITS, meeting: Meeting | None = None
) -> Done:
    """Run code with four tools: one answers at once, one much, one late, one when all have come."""
    session = sandbox.session()
    loop = asyncio.get_running_loop()

    def on_calls(calls: Sequence[Call]) -> None:
        at_once = []
        for call in calls:
            if call.tool == "add":
                at_once.append(Result(id=call.id, payload="1"))
            elif call.tool == "big":
                at_once.append(Result(id=call.id, payload=PAYLOAD))
            elif call.tool == "slow":
                loop.call_later(0.05, session.resume, [Result(id=call.id)])
            elif meeting is not None:
                meeting.join(lambda number=call.id: session.resume([Result(id=number)]))
        if at_once:
            session.resume(at_once)

    done = await session.run(Program(code=code, tools=TOOLS, limits=limits), on_calls)
    assert done.status == "success", done.failure
    return done


class Meeting:
    """Holds executions until a number of them has called."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._waiting: list[Callable[[], None]] = []
        self.complete = asyncio.Event()

    def join(self, go_on: Callable[[], None]) -> None:
        """Hold one."""
        self._waiting.append(go_on)
        if len(self._waiting) == self._number:
            self.complete.set()

    def dissolve(self) -> None:
        """Let all go on."""
        for go_on in self._waiting:
            go_on()


async def median(times: int, run: Callable[[], Awaitable[float]]) -> float:
    """Return the median of several runs, in whatever unit they give."""
    return statistics.median([await run() for _ in range(times)])


async def timed(run: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds that one run takes."""
    started = time.perf_counter()
    await run()
    return (time.perf_counter() - started) * 1e3


async def printed(sandbox: Sandbox, code: str) -> float:
    """Return the number that the code prints."""
    return float((await execute(sandbox, code)).output)


# --- baselines ----------------------------------------------------------------------------------


def fork_pinger() -> tuple[socket.socket, int]:
    """Start a process that sends a message and waits for its return, `BURST` times, then tells."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    try:
        ours.close()
        while theirs.recv(64):
            started = time.perf_counter()
            for _ in range(BURST):
                theirs.sendall(b"x" * 100)
                theirs.recv(4096)
            theirs.sendall(b"=" + str((time.perf_counter() - started) / BURST * 1e6).encode())
    finally:
        os._exit(0)


def ping_pong(times: int) -> float:
    """Return the microseconds of a message to a process and back, with blocking sockets."""
    sock, pid = fork_pinger()
    figures = []
    with sock:
        for _ in range(times):
            sock.sendall(b"go")
            while not (data := sock.recv(4096)).startswith(b"="):
                sock.sendall(data)
            figures.append(float(data[1:]))
    os.waitpid(pid, 0)
    return statistics.median(figures)


async def asyncio_echo(times: int) -> float:
    """Return the microseconds of the same through the transport and protocol of asyncio."""
    sock, pid = fork_pinger()
    loop = asyncio.get_running_loop()
    figures: asyncio.Queue[float] = asyncio.Queue()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if data.startswith(b"="):
                figures.put_nowait(float(data[1:]))
            else:
                self.transport.write(data)

    transport, _ = await loop.create_unix_connection(Echo, sock=sock)
    told = []
    for _ in range(times):
        transport.write(b"go")
        told.append(await figures.get())
    transport.close()
    await asyncio.to_thread(os.waitpid, pid, 0)
    return statistics.median(told)


async def plain_gather() -> object:
    """Wait for 100 sleeps of 50 ms side by side."""
    return await asyncio.gather(*[asyncio.sleep(0.05) for _ in range(100)])


async def plain_cpu() -> None:
    """Run the code that only computes in this process."""
    exec(compile(CPU_BOUND, "<plain>", "exec"), {})


# --- ours ---------------------------------------------------------------------------------------


async def measure_calls(rounds: int, calls: int) -> None:
    """A tool call, in turns with a bare message to a process and back."""
    codes = [code.replace("{N}", str(calls)) for code in (SEQUENTIAL, GATHERED)]
    with ProcessSandbox() as sandbox:
        taken = [
            (
                ping_pong(5),
                await asyncio_echo(5),
                *[await printed(sandbox, code) for code in codes],
            )
            for _ in range(rounds)
        ]
    bare, echo, one, gathered = map(statistics.median, zip(*taken, strict=True))
    row("baseline: blocking ping-pong between processes", bare, "us")
    row("baseline: the same, this side on asyncio", echo, "us")
    for name, figure, target in (
        ("a tool call, one after another", one, 30),
        ("a tool call, in gathers of 100", gathered, 15),
    ):
        of = f"{figure / bare:.1f}x ping-pong, {figure / echo:.1f}x asyncio"
        row(name, figure, "us", target=target, of=of)


async def measure_starts(times: int) -> None:
    """An execution from its start to its end."""
    with ProcessSandbox() as sandbox:
        started = time.perf_counter()
        await execute(sandbox, "print(1)")
        row("the first execution, with the parent of workers", since(started), "ms")

        async def waiting() -> float:
            await asyncio.sleep(0.04)  # a waiting worker is made meanwhile
            return await timed(lambda: execute(sandbox, "print(1)"))

        row("print(1) in a waiting worker", await median(times, waiting), "ms", target=0.6)
    seconds = itertools.count(10)
    with ProcessSandbox(waiting_workers=1) as sandbox:
        await execute(sandbox, "print(1)")

        async def forked() -> float:
            await asyncio.sleep(0.04)
            other = replace(LIMITS, cpu_seconds=next(seconds))  # nobody waits with this limit
            return await timed(lambda: execute(sandbox, "print(1)", limits=other))

        row("print(1) in a worker forked for it", await median(times, forked), "ms", target=6)


def since(started: float) -> float:
    """Return the milliseconds since then."""
    return (time.perf_counter() - started) * 1e3


async def measure_work(times: int) -> None:
    """Slow tools, a large result, code that computes."""
    with ProcessSandbox() as sandbox:
        plain = await median(times, lambda: timed(plain_gather))
        ours = await median(times, lambda: timed(lambda: execute(sandbox, SLOW)))
        of = f"{ours:.1f} of {plain:.1f} ms"
        row("100 tools of 50 ms side by side / plain gather", ours / plain, "x", target=1.15, of=of)
        big = await median(times, lambda: printed(sandbox, BIG))
        row("a result of 10 MB", big, "ms", target=60)
        own = (
            "import time\ns = time.perf_counter()\n"
            f"{CPU_BOUND}\nprint((time.perf_counter() - s) * 1e3)"
        )
        pairs = [(await timed(plain_cpu), await printed(sandbox, own)) for _ in range(times)]
        ratio = statistics.median(inside / plain for plain, inside in pairs)
        of = f"of {statistics.median(plain for plain, _ in pairs):.1f} ms"
        row("code that computes / plain CPython", ratio, "x", target=1.05, of=of)


async def measure_throughput(number: int) -> None:
    """Many executions."""
    with ProcessSandbox() as sandbox:
        await execute(sandbox, "print(1)")

        async def worker() -> None:
            for _ in range(number // 4):
                await execute(sandbox, "print(1)")

        started = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(4)])
        rate = number / (time.perf_counter() - started)
        print(
            f"{'executions a second, 4 at a time':<50}{rate:>9.1f} /s         150 {rate / 150:>6.2f}x"
        )


async def measure_many(number: int) -> None:
    """Workers that are held at once: each has called a tool, and none has its answer."""
    meeting = Meeting(number)
    with ProcessSandbox(max_workers=number) as sandbox:  # they wait for each other
        await execute(sandbox, "print(1)")
        started = time.perf_counter()
        runs = [
            asyncio.ensure_future(execute(sandbox, "print(await meet())", meeting=meeting))
            for _ in range(number)
        ]
        await asyncio.wait_for(meeting.complete.wait(), 120)
        row(f"{number} workers held at once: all have called after", since(started), "ms")
        private = [private_kib(pid) for pid in leaves(os.getpid())]
        row(
            f"their private memory, each of {len(private)}",
            statistics.median(private) / 1024,
            "MiB",
        )
        started = time.perf_counter()
        meeting.dissolve()
        outputs = [done.output for done in await asyncio.gather(*runs)]
        assert outputs == ["None\n"] * number
        row("… and all have ended after", since(started), "ms")


async def measure_memory() -> None:
    """Private memory of the workers that wait."""
    with ProcessSandbox(waiting_workers=8) as sandbox:
        await execute(sandbox, "print(1)")
        await asyncio.sleep(0.5)  # until all have made themselves ready
        private = [private_kib(pid) for pid in leaves(os.getpid())]
    figure = statistics.median(private) / 1024
    row("private memory of a waiting worker", figure, "MiB", target=3, of=f"{len(private)} seen")


def leaves(pid: int) -> list[int]:
    """Return the descendants of a process that have no children: its workers."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, pending = [], children.get(pid, [])
    while pending:
        one = pending.pop()
        pending += children.get(one, [])
        if one not in children:
            found.append(one)
    return found


def private_kib(pid: int) -> int:
    """Return the memory that a process shares with no other, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


async def main(*, quick: bool) -> None:
    """Measure and print."""
    times, calls = (5, 1_000) if quick else (25, 2_000)
    print(f"{'':<50}{'median':>9} {'':<6}{'target':>8} {'of it':>7}")
    await measure_calls(3 if quick else 11, calls)
    await measure_starts(times)
    await measure_work(5 if quick else 11)
    await measure_throughput(100 if quick else 600)
    if HAS_SMAPS:
        await measure_memory()
        await measure_many(50 if quick else 300)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer runs, for a look")
    options = parser.parse_args()
    asyncio.run(main(quick=options.quick))
