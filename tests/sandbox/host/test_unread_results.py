"""Large results that are asked for at once and never read do not stop the host."""

import asyncio
import time

from langchain_core.tools import tool

from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.hostile import Watch

UNREAD = """
import asyncio
tasks = [asyncio.create_task({tool}()) for _ in range({count})]
await asyncio.sleep(0)
print('x' * 40_000)
while True: pass
"""
TEXT = "x" * 8_000_000
ROWS = [{"id": i, "name": "abcdefghij", "price": i / 7} for i in range(60_000)]


@tool
async def text() -> str:
    """Return a text."""
    await asyncio.sleep(0.05)
    return TEXT


@tool
async def rows() -> list:
    """Return rows."""
    await asyncio.sleep(0.05)
    return ROWS


async def test_unread_results_of_8_mb():
    """64 at once: they are encoded in threads, two at a time, and the loop goes on."""
    limits = Limits(cpu_seconds=2)
    with ProcessSandbox() as sandbox:
        executor = ProgrammaticToolExecutor([text, rows], sandbox=sandbox, limits=limits)
        await executor.aexecute("print(1)")
        began = time.thread_time()
        async with Watch() as watch:
            result = await executor.aexecute(UNREAD.format(tool="text", count=64))
        assert (result.status, len(result.tool_calls)) == ("limit", 64)
        assert watch.longest_seconds < 1.0
        assert time.thread_time() - began < 1.5
        executor = ProgrammaticToolExecutor([rows], sandbox=sandbox)
        assert (await executor.aexecute("print(len(await rows()))")).output == "60000\n"


async def test_a_large_result_arrives_whole():
    """A list that is encoded in slices is the same on the other side."""
    with ProcessSandbox() as sandbox:
        executor = ProgrammaticToolExecutor([rows], sandbox=sandbox)
        code = "r = await rows()\nprint(len(r), r[0].id, r[5_000].id, r[-1].price, sum(x.id for x in r))"
        result = await executor.aexecute(code)
    assert result.output == f"60000 0 5000 {59_999 / 7} {sum(range(60_000))}\n"


def test_slices_leave_no_seam():
    """Lists around the size of a slice are the same on the other side."""
    for count in (0, 1, 15, 16, 4_999, 5_000, 5_001, 10_000, 10_001, 65_535, 65_536, 70_000):
        rows = [[n, ""] for n in range(count)]
        assert decode_value(encode_value(rows)) == rows
