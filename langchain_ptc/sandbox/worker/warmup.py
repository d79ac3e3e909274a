"""Programs run before there is one, so that the first real program finds everything in its place.

What a worker does for the first time costs ten times what it costs later: the first write to a page
that it shares with its parent copies the page, and code that has not run is slow code. So the parent
of workers rehearses until Python has specialised what it runs, and each worker rehearses once while
it waits, which copies the pages that a program will write to.
"""

from __future__ import annotations

import json

from langchain_ptc.sandbox.api import Program, Result
from langchain_ptc.sandbox.wire.framing import encode_frame
from langchain_ptc.sandbox.wire.protocol import encode_result, encode_run, parse_run
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.program import ProgramRun

_CODE = 'print(await get(1, b="2"))'
"""Each line more costs every waiting worker private memory; this is what every program does."""
_PARENT_TIMES = 12
"""Python 3.11 specialises a function after eight calls."""


class _Audience:
    """A channel to nobody: it tells the program and answers each call at once."""

    def __init__(self, program: Program) -> None:
        self._inbox = [encode_frame([encode_run(program)])]

    def send(self, data: bytes) -> None:
        """Take bytes; answer the calls in them."""
        calls = [m for m in json.loads(data[4:]) if m[0] == "c"]
        if calls:
            answers = [encode_result(Result(id=call[1], payload='{"a":[1]}')) for call in calls]
            self._inbox.append(encode_frame(answers))

    def receive(self) -> bytes:
        """Hand out what is there."""
        return self._inbox.pop(0)

    def receive_into(self, room: memoryview) -> None:
        """Never needed: nothing here is large."""
        raise NotImplementedError

    def poll(self, seconds: float) -> bool:
        """Return whether something is there."""
        del seconds
        return bool(self._inbox)


def rehearse() -> None:
    """Run a small program; in each worker."""
    wire = WorkerConnection(_Audience(Program(code=_CODE, tools=("warm.get",))))
    ProgramRun(parse_run(wire.receive()[0]), wire, guard_writes=False).run()


def rehearse_often() -> None:
    """Run a small program until Python has made the most of it; in the parent of workers."""
    for _ in range(_PARENT_TIMES):
        rehearse()
