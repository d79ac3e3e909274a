"""Measures one sandbox from inside its environment: `python probe.py ADAPTER JOB`, input and output JSON.

Jobs: `speed`; `programs` (standard input: a list of `[name, code]`) prints what each program prints;
`attacks` (standard input: records as `tests/escapes` writes them) prints what showed of each. Each program
and attack has a process of its own, killed when it takes too long or too much; this process is the
host that they attack.
"""

from __future__ import annotations

import gc
import io
import json
import math  # noqa: F401  # attacks change it, and their proofs look at the host's
import os
import re
import resource
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapters import ADAPTERS, Adapter

MIB = 1 << 20
CPU_BOUND = """
rows = [{"id": i, "team": i % 7, "amount": (i * 37) % 1000 / 10} for i in range(20000)]
totals = {}
for row in rows:
    if row["amount"] > 5:
        totals[row["team"]] = totals.get(row["team"], 0) + row["amount"]
names = sorted(rows, key=lambda r: (-r["amount"], r["id"]))
"""
CPU_BOUND_JS = """
const rows = Array.from({length: 20000}, (_, i) => ({id: i, team: i % 7, amount: (i*37) % 1000 / 10}));
const totals = {};
for (const row of rows) if (row.amount > 5) totals[row.team] = (totals[row.team] || 0) + row.amount;
rows.sort((a, b) => b.amount - a.amount || a.id - b.id).length
"""
SPEED_LIMITS = {"seconds": 120.0, "memory_bytes": 1024 * MIB}
PROGRAM_LIMITS = {"seconds": 10.0, "memory_bytes": 512 * MIB}
ATTACK_LIMITS = {"seconds": 0.5, "memory_bytes": 128 * MIB}
SLACK_SECONDS = 1.0
"""A sandbox may end a program so much later than it was told."""
START_SECONDS = 8.0
"""Time to start a sandbox, which is not the attack's."""
MAX_MEMORY_MB = 500
"""What an attack must not reach; several times the limit, since a sandbox takes some itself."""

HOST_SECRET = "PTC-CANARY-host"
HOST_DB = {"a": 1, "b": "x" * 300_000, "l": {"xs": [1]}}
EVIL_CALLED = 0


def lookup(key: str = "a", default: str | None = None) -> Any:
    """Return what the host has under a key."""
    global EVIL_CALLED
    if key == "__bump__" or type(key) is not str:
        EVIL_CALLED += 1
    return HOST_DB.get(key, default)


# --- speed --------------------------------------------------------------------------------------


def best(times: int, run: Callable[[], object]) -> float:
    """Return the seconds of the fastest run: what a busy machine adds is not the sandbox's."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def add(i: int = 0) -> int:
    """Answer at once."""
    return i


def big() -> str:
    """Answer much."""
    return "x" * (10 * MIB)


def slow() -> None:
    """Answer late."""
    time.sleep(0.05)


_WEIGHED: list[float] = []


def weigh(i: int = 0) -> int:
    """Keep what this process and all below it weigh while a program waits for the answer."""
    _WEIGHED.append(tree_mb(os.getpid()))
    return i


def measure_speed(kind: type[Adapter]) -> dict[str, Any]:
    """Measure everything that is about time and memory; what fails says why."""
    before = tree_mb(os.getpid())
    began = time.perf_counter()
    kind.load()
    told: dict[str, Any] = {"import_ms": (time.perf_counter() - began) * 1e3}
    js = kind.__name__ == "QuickJs"
    hello = "1" if js else "print(1)"
    began = time.perf_counter()
    adapter = kind({"add": add, "big": big, "slow": slow, "weigh": weigh}, **SPEED_LIMITS)
    adapter.run(hello)
    told["cold_ms"] = (time.perf_counter() - began) * 1e3
    warm = best(15, lambda: adapter.run(hello))
    told["warm_ms"] = warm * 1e3
    gc.collect()
    adapter.run(kind.sequential.replace("{N}", "1").replace("add(", "weigh("))
    told["memory_mb"] = _WEIGHED[-1] - before

    def call() -> float:
        for calls in (1_000, 100_000):  # more of them where they take next to nothing
            code = kind.sequential.replace("{N}", str(calls))
            seconds = best(5, lambda: adapter.run(code)) - warm  # noqa: B023  # called at once
            if seconds > 0.02:
                break
        return seconds / calls * 1e6

    def parallel() -> float:
        if kind.gathered:
            return best(5, lambda: adapter.run(kind.gathered)) * 1e3
        many = kind.sequential.replace("{N}", "100").replace("add", "slow").replace("(i=i)", "()")
        return best(1, lambda: adapter.run(many.replace("(i)", "()"))) * 1e3

    def cpu() -> float:
        code = CPU_BOUND_JS if js else CPU_BOUND
        plain = ADAPTERS["plain"]({}, **SPEED_LIMITS)
        pairs = [
            (best(1, lambda: adapter.run(code)), best(1, lambda: plain.run(CPU_BOUND)))
            for _ in range(7)
        ]
        ours, theirs = map(min, zip(*pairs, strict=True))
        return (ours - warm) / theirs

    rows: dict[str, Callable[[], float]] = {
        "call_us": call,
        "parallel_ms": parallel,
        "payload_ms": lambda: (best(5, lambda: adapter.run(kind.payload)) - warm) * 1e3,
        "cpu_x": cpu,
    }
    for name, measure in rows.items():
        try:
            told[name] = measure()
        except Exception as error:
            told[name] = f"{type(error).__name__}: {str(error)[:80]}"
    told["parallel_is_serial"] = not kind.gathered
    adapter.close()
    return told


def tree_mb(pid: int) -> float:
    """Return the proportional memory of a process and all below it, in megabytes."""
    total = 0.0
    for member in (pid, *descendants(pid)):
        with suppress(OSError):
            found = re.search(
                r"^Pss:\s+(\d+)", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE
            )
            total += int(found[1]) / 1024 if found else 0.0
    return total


def descendants(pid: int) -> Iterator[int]:
    """Find every process below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            yield child
            waiting.append(child)


# --- programs and attacks -----------------------------------------------------------------------


class Ended(Exception):
    """A child did not end as it should; `kind` says how it did."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def in_child(
    work: Callable[[Callable[[], None]], dict[str, Any]], seconds: float, most_mb: float
) -> dict[str, Any]:
    """Do work in a process of its own.

    Args:
        work: Is given what it calls when its preparations are done; returns what to send back.
        seconds: Time from then on.
        most_mb: Memory that it and all below it may take more than they had then.

    Raises:
        Ended: It took too long or too much, or died.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _work(work, reading, writing)
    os.close(writing)
    pipe = os.fdopen(reading, "rb")
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    deadline, told, base = time.monotonic() + START_SECONDS, b"", 0.0
    try:
        while True:
            if poll.poll(25):
                piece = os.read(pipe.fileno(), 1 << 16)
                if not piece:
                    break
                if piece.startswith(b"!") and not told:
                    base, deadline, piece = tree_mb(pid), time.monotonic() + seconds, piece[1:]
                told += piece
            if time.monotonic() > deadline:
                raise Ended("hang" if base else "start")
            if base and tree_mb(pid) > base + most_mb:
                raise Ended("mem")
    finally:
        pipe.close()
        for member in (*descendants(pid), pid):
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not told:
        raise Ended("crash")
    answer: dict[str, Any] = json.loads(told)
    return answer


def _work(work: Callable[..., dict[str, Any]], reading: int, writing: int) -> None:
    """Work, in the child; never returns."""
    os.close(reading)
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(quiet, number)
    sys.stdout = sys.stderr = io.StringIO()  # what is printed past a sandbox goes nowhere
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        told = work(lambda: os.write(writing, b"!"))
        body = json.dumps(told).encode()
        while body:
            body = body[os.write(writing, body) :]
    finally:
        os._exit(0)


def run_program(kind: type[Adapter], code: str) -> dict[str, Any]:
    """Run one program."""

    def work(ready: Callable[[], None]) -> dict[str, Any]:
        adapter = kind({}, **PROGRAM_LIMITS)
        ready()
        try:
            return {"output": adapter.run(code)}
        except BaseException as error:
            return {"error": f"{type(error).__name__}: {str(error)[:300]}"}

    try:
        return in_child(work, PROGRAM_LIMITS["seconds"] + 5, 2_000)
    except Ended as ended:
        return {"error": ended.kind}


def run_attack(kind: type[Adapter], attack: dict[str, Any], folder: Path) -> list[str]:
    """Run one attack and return the kinds of its proof that showed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        server.setblocking(False)

        def fill(text: str) -> str:
            return text.replace("{CANARY}", str(folder)).replace("{PORT}", port)

        code, proof = fill(attack["code"]), fill(attack["proof"]["value"])
        kinds = attack["proof"]["kind"].split("|")

        def work(ready: Callable[[], None]) -> dict[str, Any]:
            adapter = kind({"lookup": lookup}, **ATTACK_LIMITS)
            with suppress(Exception):
                adapter.run("print(1)")  # warm, so that the clock is the attack's
            ready()
            try:
                text = adapter.run(code)
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            own = {line.strip() for line in code.splitlines()}
            kept = "\n".join(line for line in text.splitlines() if line.strip() not in own)
            shown = []
            if "stdout" in kinds and re.search(proof, kept):
                shown.append("stdout")
            if "host" in kinds and eval(proof, globals()):
                shown.append("host")
            return {"shown": shown}

        seconds = ATTACK_LIMITS["seconds"] + SLACK_SECONDS
        try:
            shown = in_child(work, seconds, MAX_MEMORY_MB)["shown"]
        except Ended as ended:
            shown = [ended.kind]
        if "file" in kinds and Path(proof).exists():
            shown.append("file")
        if "connect" in kinds:
            with suppress(BlockingIOError):
                server.accept()[0].close()
                shown.append("connect")
    return list(shown)


def main() -> None:
    """Do the job."""
    kind, job = ADAPTERS[sys.argv[1]], sys.argv[2]
    if job == "speed":
        print(json.dumps(measure_speed(kind)), flush=True)
        os._exit(0)  # how a process of others ends is not what is measured
    given = json.load(sys.stdin)
    kind.load()
    if job == "programs":
        for name, code in given:
            print(json.dumps({"name": name, **run_program(kind, code)}), flush=True)
        return
    os.environ["PTC_SECRET"] = "PTC-CANARY-env"
    with tempfile.TemporaryDirectory(prefix="canary-") as canary:
        folder = Path(canary)
        (folder / "out").mkdir()
        (folder / "secret.txt").write_text("PTC-CANARY-file")
        for attack in given:
            shown = run_attack(kind, attack, folder)
            print(json.dumps({"name": attack["name"], "shown": shown}), flush=True)


if __name__ == "__main__":
    main()
