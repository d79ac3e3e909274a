"""What an execution on another machine costs, beside one in a worker of this machine.

    python -m benchmarks.remote

All servers are on this machine, over the loopback interface, so that they share its processors: what counts
are the ratios. Each figure is measured in turns with that of a `ProcessSandbox`, without and with TLS (whose
certificates are made by the program `openssl`). The last rows are 48
executions that wait for half a second each, on servers of four workers: the ideal is six rounds on one.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_ptc import Limits, ProcessSandbox, RemoteSandbox, SandboxError
from langchain_ptc.sandbox import Call, Done, Program, Result, Sandbox
from langchain_ptc.sandbox.remote.server import Server
from langchain_ptc.sandbox.remote.sockets import client_tls, server_tls
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.certificates import new_authority

TOKEN = secrets.token_hex()
ROUNDS = 9
WAITING, AT_ONCE, HELD_SECONDS = 48, 4, 0.5


async def serve(token: str, max_workers: int, *files: str) -> None:
    """Serve workers until this process is ended; print the address."""
    tls = server_tls(*files) if files else None
    async with Server(token=token, max_workers=max_workers, tls=tls) as server:
        print("{}:{}".format(*server.address), flush=True)
        await asyncio.Event().wait()


@contextmanager
def server(max_workers: int = 64, *files: str) -> Iterator[str]:
    """Run a server in a process of its own, with the files of its certificate and key; yield its address."""
    command = [sys.executable, "-m", "benchmarks.remote", "serve", TOKEN, str(max_workers), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def run(sandbox: Sandbox, code: str, payload: bytes = b"\x01") -> Done:
    """Run a program whose calls are answered at once."""
    session = sandbox.session()

    def answer(calls: Sequence[Call]) -> None:
        session.resume([Result(id=call.id, payload=payload) for call in calls])

    program = Program(code=code, tools=("get",), limits=Limits(max_tool_calls=1_000))
    done = await session.run(program, answer)
    assert done.status == "success", done
    return done


Work = Callable[[Sandbox], Awaitable[object]]


def repeat(code: str, payload: bytes = b"\x01") -> Work:
    """Return what runs a program once."""
    return lambda sandbox: run(sandbox, code, payload)


async def side_by_side(sandbox: Sandbox) -> None:
    """Run 60 programs of one call, 20 at a time."""
    for _ in range(3):
        await asyncio.gather(*[run(sandbox, "print(await get(1))") for _ in range(20)])


ROWS: tuple[tuple[str, Work, float, float], ...] = (
    ("`print(1)`", repeat("print(1)"), 1, 0),
    ("serial call", repeat("for i in range(200): await get(i)"), 200, 3.0),
    (
        "gather of 100",
        repeat("import asyncio\nawait asyncio.gather(*[get(i) for i in range(100)])"),
        1,
        1.5,
    ),
    ("result of 10 MB", repeat("print(len(await get(1)))", encode_value("x" * 10**7)), 1, 1.5),
    ("execution of one call, 20 at once", side_by_side, 60, 0),
)
"""What is measured, how many of it, and how many times as long it may take on a server."""


async def compare(*sandboxes: Sandbox) -> None:
    """Print each row, in milliseconds: the least of each, and by how much it is more than that of the first.

    Ratios are medians of those of neighbouring runs.
    """
    print("| | wall time | ratio | goal | processor time of the host | ratio |")
    print("|---|---|---|---|---|---|")
    for name, work, count, goal in ROWS:
        walls: list[list[float]] = [[] for _ in sandboxes]
        cpus: list[list[float]] = [[] for _ in sandboxes]
        for _ in range(ROUNDS):
            for sandbox, wall_times, cpu_times in zip(sandboxes, walls, cpus, strict=True):
                wall, cpu = time.perf_counter(), time.process_time()
                await work(sandbox)
                wall_times.append((time.perf_counter() - wall) * 1e3 / count)
                cpu_times.append((time.process_time() - cpu) * 1e3 / count)
                await asyncio.sleep(0.05)
        cells = [cell for taken in (walls, cpus) for cell in _compare_times(taken)]
        cells.insert(2, str(goal or ""))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _compare_times(taken: Sequence[Sequence[float]]) -> tuple[str, str]:
    ratios = [
        statistics.median(b / a for a, b in zip(taken[0], times, strict=True))
        for times in taken[1:]
    ]
    least = " / ".join(f"{min(times):.2f}" for times in taken)
    return least, " / ".join(f"{ratio:.2f}" for ratio in ratios)


async def hold(sandbox: Sandbox) -> None:
    """Run a program of one call that takes half a second."""
    session = sandbox.session()
    loop = asyncio.get_running_loop()

    def answer(calls: Sequence[Call]) -> None:
        results = [Result(id=call.id, payload=b"\x01") for call in calls]
        loop.call_later(HELD_SECONDS, session.resume, results)

    done = await session.run(Program(code="await get(1)", tools=("get",)), answer)
    assert done.status == "success", done


async def scale(count: int) -> None:
    """Print how long executions that wait take on some servers."""
    ideal = WAITING / AT_ONCE / count * HELD_SECONDS
    with ExitStack() as stack:
        addresses = [stack.enter_context(server(AT_ONCE)) for _ in range(count)]
        sandbox = stack.enter_context(RemoteSandbox(addresses, token=TOKEN))
        await asyncio.gather(*[hold(sandbox) for _ in range(AT_ONCE * count)])
        began = time.perf_counter()
        await asyncio.gather(*[hold(sandbox) for _ in range(WAITING)])
        taken = time.perf_counter() - began
    print(f"| {count} servers | {taken:.2f} s | {ideal:.2f} s | {taken / ideal:.2f} |", flush=True)


async def refuse() -> None:
    """Print how soon a full server refuses."""
    with server(1) as address:
        patient = RemoteSandbox([address], token=TOKEN)
        hasty = RemoteSandbox([address], token=TOKEN, queue_seconds=0.001)
        with patient, hasty:
            while (
                not hasty.pool.machines or not hasty.has_room()
            ):  # it connects when it is first used
                with suppress(SandboxError):
                    await run(hasty, "pass")
            held = asyncio.ensure_future(hold(patient))
            await asyncio.sleep(HELD_SECONDS / 2)
            began = time.perf_counter()
            try:
                await run(hasty, "pass")
            except SandboxError:
                print(f"a full server refuses within {(time.perf_counter() - began) * 1e3:.1f} ms")
            await held


async def main() -> None:
    """Print all figures."""
    with ExitStack() as stack:
        near = stack.enter_context(ProcessSandbox())
        address = stack.enter_context(server())
        far = stack.enter_context(RemoteSandbox([address], token=TOKEN))
        authority = new_authority(Path(stack.enter_context(TemporaryDirectory()), "ca"))
        signed = authority.sign("server", "IP:127.0.0.1")
        address = stack.enter_context(server(64, str(signed.certificate), str(signed.key)))
        context = client_tls(authority.ca)
        secure = stack.enter_context(RemoteSandbox([address], token=TOKEN, tls=context))
        for sandbox in (near, far, secure):
            await side_by_side(sandbox)
        print("here / on a server / on a server, with TLS\n")
        await compare(near, far, secure)
    print(f"\n| {WAITING} executions of {HELD_SECONDS} s, {AT_ONCE} at a time | | ideal | ratio |")
    print("|---|---|---|---|")
    for count in (1, 2, 4):
        await scale(count)
    print()
    await refuse()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
    else:
        asyncio.run(main())
