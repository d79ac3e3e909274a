"""A worker that was taken over: the language policy is off, and its code speaks the protocol itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Self

from tests.support import wire
from tests.support.pools import PoolSandbox
from tests.support.waiting import seconds_without_processor

SPEAKS = f"""
import os
{Path(wire.__file__).read_text()}
def write(data):
    while data:
        data = data[os.write(3, data):]
def frame(text):
    write(frames_of(text))
def call(number, args='[]', tool='look', kwargs='{{}}', line='1'):
    frame('[["c",%d,"%s",%s,%s,%s]]' % (number, tool, args, kwargs, line))
def end(status='success', value='null', failure='null', notes='[]'):
    frame('[["d",{{"status":"%s","value":%s,"failure":%s,"notes":%s}}]]' % (status, value, failure, notes))
    while True: pass
def failure(**fields):
    told = dict(kind='"K"', message='"m"', source_line='""', traceback='""', hint='""', line='1')
    told.update(fields)
    return '{{' + ','.join(f'"{{key}}":{{value}}' for key, value in told.items()) + '}}'
"""


def hostile_sandbox() -> PoolSandbox:
    """Return a sandbox whose workers run any Python: the walls of the kernel are on."""
    return PoolSandbox(policy=False)


class Watch:
    """Says how long the event loop was not free; an asynchronous context manager.

    What a busy machine takes from this process does not count: time that its threads were ready to run
    and had no processor.
    """

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def _tick(self) -> None:
        last, used, waited = time.monotonic(), time.thread_time(), seconds_without_processor()
        while True:
            await asyncio.sleep(0.02)
            now, cpu, waits = time.monotonic(), time.thread_time(), seconds_without_processor()
            away = max(cpu - used, now - last - (waits - waited))
            self.longest_seconds = max(self.longest_seconds, away)
            last, used, waited = now, cpu, waits

    async def __aenter__(self) -> Self:
        self._ticking = asyncio.create_task(self._tick())
        await asyncio.sleep(0.05)
        self.longest_seconds = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._ticking is not None
        await asyncio.sleep(0.05)
        self._ticking.cancel()
