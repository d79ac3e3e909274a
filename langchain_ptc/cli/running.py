"""The execution behind `langchain-ptc run`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from langchain_ptc.cli.exits import code_of
from langchain_ptc.cli.results import render_value, tell_failure, write_json
from langchain_ptc.cli.telling import Narrator
from langchain_ptc.cli.tools import open_catalog
from langchain_ptc.cli.writing import write_output
from langchain_ptc.executor import ProgrammaticToolExecutor
from langchain_ptc.limits import Limits
from langchain_ptc.run.outcome import Outcome
from langchain_ptc.run.record import ExecutionResult


async def run_program(
    code: str,
    tools: Sequence[str],
    servers: Sequence[Path],
    *,
    limits: Limits,
    modules: Sequence[str],
    out: TextIO,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run a program and show what comes of it.

    Args:
        code: The program.
        tools: Objects with tools, as `module:attribute` or `file.py:attribute`.
        servers: Files of MCP servers.
        limits: What it may use.
        modules: Modules that it may import besides the standard ones.
        out: Where its output goes.
        as_json: Whether its record goes there instead.
        quiet: Whether nothing is told but what went wrong.

    Returns:
        The exit code.

    Raises:
        Mistake: A tool is not there.
        OSError: `out` cannot be written to.
        SandboxError: The machine could not start a worker.
    """
    sink = None if as_json else Sink(out)
    tells = sys.stderr.isatty() and not quiet
    narrator = Narrator(shows_code=False, is_live=sink is None or not out.isatty())
    async with open_catalog(tools, servers) as catalog:
        executor = ProgrammaticToolExecutor(
            catalog, limits=limits, imports=modules, on_event=narrator if tells else None
        )
        running = executor.start(code, on_output=None if sink is None else sink.write)
        with narrator if tells else nullcontext():
            result = (await (running.arun() if sink is None else sink.guard(running.arun()))).result
    if sink is None:
        write_json(out, result.to_dict())
    else:
        sink.finish(result)
    if tells:
        narrator.show_calls(result)
    tell_failure(result, quiet=quiet)
    return code_of(result.status)


class Sink:
    """Writes what the code prints to a stream, and ends the execution if nobody reads it any more.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._task: asyncio.Future[Outcome] | None = None
        self._error: OSError | None = None

    async def guard(self, running: Awaitable[Outcome]) -> Outcome:
        """Wait for an execution.

        Raises:
            OSError: The stream cannot be written to.
        """
        self._task = asyncio.ensure_future(running)
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._error is None:
                raise
            raise self._error from None

    def write(self, text: str) -> None:
        """Write a piece of output."""
        if self._error is not None:
            return
        try:
            write_output(self._stream, text)
        except OSError as error:
            self._error = error
            if self._task is not None:
                self._task.cancel()

    def finish(self, result: ExecutionResult) -> None:
        """Write the value of code that printed nothing.

        Raises:
            OSError: The stream cannot be written to.
        """
        if self._error is None and not result.output.strip():
            self.write(render_value(result))
        if self._error is not None:
            raise self._error
