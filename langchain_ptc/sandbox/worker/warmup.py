"""Programs run before there is one, so that the first real program finds everything in its place.

What a worker does for the first time costs ten times what it costs later: the first write to a page
that it shares with its parent copies the page, and code that has not run is slow code. So the parent
of workers rehearses until Python has specialised what it runs, and each worker rehearses once while
it waits, which copies the pages that a program will write to.
"""

from __future__ import annotations

from langchain_ptc.sandbox.api import Program, Result
from langchain_ptc.sandbox.wire.framing import encode_frame
from langchain_ptc.sandbox.wire.protocol import encode_result, encode_run, parse_run
from langchain_ptc.sandbox.wire.values import encode_value
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.program import ProgramRun

_CODE = 'print(await get(1, b="2"))'
"""Each line more costs every waiting worker private memory; this is what every program does."""
WARMUP_RUNS = 12
"""Of the parent of workers: Python 3.11 specialises a function after eight calls."""


_PROGRAM = encode_frame(encode_run(Program(code=_CODE, tools=("warm.get",))))
_ANSWER = b"".join(encode_result(Result(id=1, payload=encode_value({"a": [1]}))))


class _Audience:
    """A channel to nobody: it sends the program, and an answer to the one call."""

    def __init__(self) -> None:
        self._inbox = [_ANSWER, _PROGRAM]

    def send(self, data: bytes) -> None:
        """Drop bytes."""

    def receive(self) -> bytes:
        """Return what is next."""
        return self._inbox.pop()

    def receive_into(self, room: memoryview) -> None:
        """Never needed: nothing here is large."""
        raise NotImplementedError

    def poll(self, seconds: float) -> bool:
        """Return whether there is more."""
        del seconds
        return bool(self._inbox)


def rehearse(imports: tuple[str, ...]) -> None:
    """Run a small program; `imports` as in `ProgramRun`."""
    wire = WorkerConnection(_Audience())
    ProgramRun(parse_run(wire.receive()[0]), wire, imports=imports, guard_writes=False).run()
