"""The work of `langchain-ptc run`: a program over tools, in the sandbox."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from contextlib import nullcontext
from typing import TextIO

from langchain_ptc.cli.options import Options
from langchain_ptc.cli.output import (
    Reporter,
    exit_code_of,
    render_value,
    report_failure,
    write_json,
    write_output,
)
from langchain_ptc.cli.tools import open_catalog
from langchain_ptc.executor import ProgrammaticToolExecutor
from langchain_ptc.run.outcome import Outcome
from langchain_ptc.run.record import ExecutionResult


async def run_program(code: str, options: Options, out: TextIO) -> int:
    """Run a program, write its output to `out`, and return the exit code.

    Raises:
        CommandError: A tool is not there.
        OSError: `out` cannot be written to.
        SandboxError: The machine could not start a worker.
    """
    sink = None if options.as_json else Sink(out)
    reports = sys.stderr.isatty() and not options.quiet
    reporter = Reporter(shows_code=False, is_live=sink is None or not out.isatty())
    async with open_catalog(options.tools, options.servers) as catalog:
        executor = ProgrammaticToolExecutor(
            catalog,
            limits=options.limits,
            imports=options.modules,
            on_event=reporter if reports else None,
        )
        running = executor.start(code, on_output=None if sink is None else sink.write)
        with reporter if reports else nullcontext():
            result = (await (running.arun() if sink is None else sink.guard(running.arun()))).result
    if sink is None:
        write_json(out, result.to_dict())
    else:
        sink.finish(result)
    if reports:
        reporter.show_calls(result)
    report_failure(result, quiet=options.quiet)
    return exit_code_of(result.status)


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
