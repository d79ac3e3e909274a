"""Answers that code asks for and never reads do not pile up in the host, and nobody waits for ever."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_ptc import Limits, ProcessSandbox, RaySandbox
from langchain_ptc.sandbox import Program, Result
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.process import WorkerSession
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support import ROOT
from tests.support.clusters import open_unrestricted
from tests.support.sandboxes import open_remote

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")

RESULT_CHARS = 900_000
CALLS = 2_000
CALL = """
import os, struct, time
def call(n):
    body = b'\\x96\\xa1c\\xcd' + n.to_bytes(2, 'big') + b'\\xa3big\\x90\\x80\\x01'
    return struct.pack('<I', len(body)) + body
"""
FORGED = f"""{CALL}
for n in range(1, {CALLS}, 10):
    os.write(3, b''.join(call(n + k) for k in range(10)))
time.sleep(3600)
"""
ONE_WRITE = f"""{CALL}
os.write(3, b''.join(call(n) for n in range(1, {CALLS})))
time.sleep(3600)
"""
HONEST = """
import asyncio
tasks = [asyncio.create_task(big()) for _ in range(2_000)]
await asyncio.sleep(0)
print('x' * 40_000)
while True: pass
"""
ATTACKS = {"forged": FORGED, "in-one-write": ONE_WRITE, "with-stubs": HONEST}
LIMITS = Limits(wall_seconds=1.5, max_tool_calls=CALLS)


class Unrestricted:
    """A sandbox whose code is any Python."""

    def __init__(self) -> None:
        self.pool = WorkerPool((), waiting=1, policy=False)

    def session(self) -> WorkerSession:
        return WorkerSession(self.pool, "process")


async def run(sandbox, code: str, *, late: bool, limits: Limits = LIMITS):
    """Run code with a tool of large results, each made anew; return the end and the calls told."""
    session, loop, told = sandbox.session(), asyncio.get_running_loop(), []

    def answer(number):
        session.resume([Result(id=number, payload=encode_value("x" * RESULT_CHARS + str(number)))])

    def on_calls(calls):
        told.extend(calls)
        for call in calls:
            if late:
                loop.call_later(0.001, answer, call.id)
            else:
                answer(call.id)

    program = Program(code=code, tools=("big",), limits=limits)
    return await session.run(program, on_calls), len(told)


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def grow(name: str, where: str, *, late: bool = False) -> None:
    """Attack this process, and tell what it came to.

    Args:
        name: A key of `ATTACKS`.
        where: `here`; `remote`, for a server of workers in this process; or the address of a Ray cluster.
        late: Whether answers are not there at once.
    """
    is_honest = name == "with-stubs"
    if where == "remote":
        with open_remote(policy=is_honest) as sandbox:
            await attack(sandbox, name, late=late)
    elif where != "here":
        with RaySandbox(where) if is_honest else open_unrestricted(where) as sandbox:
            await attack(sandbox, name, late=late)
    else:
        await attack(ProcessSandbox() if is_honest else Unrestricted(), name, late=late)


async def attack(sandbox, name: str, *, late: bool) -> None:
    """Attack this process by a sandbox."""
    await run(sandbox, "1", late=late)
    before = peak_mb()
    done, calls = await run(sandbox, ATTACKS[name], late=late)
    grown = peak_mb() - before
    after, _ = await run(sandbox, "print(1)", late=late)
    limit = done.failure and done.failure.limit
    print(json.dumps([limit, calls, grown, after.output]))


def grow_code(name: str, where: str, *, late: bool = False) -> str:
    """Return a program that attacks itself; see `grow`."""
    return (
        f"import asyncio, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"import tests.sandbox.host.test_backpressure as t; asyncio.run(t.grow({name!r}, {where!r}, late={late}))"
    )


def check_growth(told: str) -> None:
    """Check what such a program printed."""
    limit, calls, grown, output = json.loads(told)
    assert (limit, output) == ("wall_seconds", "1\n")
    assert calls < CALLS / 2
    assert grown < 100, f"{grown} MB for {calls} calls"


@linux
@pytest.mark.parametrize(
    ("where", "late"),
    [("here", False), ("here", True), ("remote", False)],
    ids=["at-once", "later", "remote"],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_answers_that_are_never_read_do_not_pile_up(name, where, late):
    """The host holds some megabytes of them, ends the execution in time, and the next one works."""
    told = subprocess.run(
        [sys.executable, "-c", grow_code(name, where, late=late)],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    check_growth(told.stdout)


async def test_calls_that_were_held_back_go_on_once_answers_are_read():
    """Every call is answered, however many are asked for at once and however large the answers are."""
    code = "import asyncio\nlens = [len(r) for r in await asyncio.gather(*[big() for _ in range(80)])]\nsum(lens)"
    with ProcessSandbox() as sandbox:
        for late in (False, True):
            done, calls = await run(sandbox, code, late=late, limits=Limits())
            assert done.status == "success", done.failure
            assert calls == 80
            assert done.value == sum(RESULT_CHARS + len(str(n)) for n in range(1, 81))


async def test_both_sides_may_have_much_to_say_at_once():
    """Large arguments on their way out and large answers on their way in do not stop each other."""
    code = """
import asyncio
async def chat(n):
    for _ in range(5):
        await big('y' * 700_000)
await asyncio.gather(*[chat(n) for n in range(8)])
print('ok')
"""
    with ProcessSandbox() as sandbox:
        done, calls = await run(sandbox, code, late=True, limits=Limits())
    assert (done.status, done.output, calls) == ("success", "ok\n", 40)


async def test_more_calls_than_may_run_at_once_are_handed_on_as_others_end():
    """The host is asked for no more calls at a time than `max_concurrent_calls`."""
    session, running, most = None, set(), 0

    def on_calls(calls):
        nonlocal most
        running.update(call.id for call in calls)
        most = max(most, len(running))
        asyncio.get_running_loop().call_soon(end)

    def end():
        if running:
            number = running.pop()
            session.resume([Result(id=number)])
            asyncio.get_running_loop().call_soon(end)

    code = "import asyncio\nprint(len(await asyncio.gather(*[big() for _ in range(50)])))"
    program = Program(code=code, tools=("big",), limits=Limits(max_concurrent_calls=7))
    with ProcessSandbox() as sandbox:
        session = sandbox.session()
        done = await session.run(program, on_calls)
    assert done.output == "50\n"
    assert most == 7
