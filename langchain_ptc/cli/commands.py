"""The work of `run`, `ask` and `stubs`: imported when one of them is run, so that the help is quick."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc import (
    ExecutionResult,
    Limits,
    ProgrammaticToolExecutor,
    ProgrammaticToolNode,
    ToolCatalog,
)
from langchain_ptc.catalog.stubs import Tier
from langchain_ptc.cli.inputs import explain, find_model, open_catalog
from langchain_ptc.cli.output import (
    SUCCESS,
    CommandError,
    Reporter,
    exit_code_of,
    render_value,
    report_failure,
    write_json,
    write_output,
)
from langchain_ptc.run.driver import Outcome
from langchain_ptc.wording import count


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a command that runs code; see `cli.app`."""

    tools: Sequence[str]
    servers: Sequence[Path]
    limits: Limits
    modules: Sequence[str]
    as_json: bool
    quiet: bool


# --- run ----------------------------------------------------------------------------------------


async def run_program(code: str, options: Options, out: TextIO) -> int:
    """Run a program, write its output to `out`, and return the exit code.

    Raises:
        CommandError: A tool was not found.
        OSError: `out` cannot be written to.
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
    """Writes the output of the code to a stream, and cancels the execution when that is closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._task: asyncio.Future[Outcome] | None = None
        self._error: OSError | None = None

    async def guard(self, running: Awaitable[Outcome]) -> Outcome:
        """Wait for an execution; raises the `OSError` of a stream that cannot be written to."""
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
        """Write the value of code that printed nothing; raises the `OSError` of the stream."""
        if self._error is None and not result.output.strip():
            self.write(render_value(result))
        if self._error is not None:
            raise self._error


# --- ask ----------------------------------------------------------------------------------------


async def ask_model(question: str, model: str, options: Options, out: TextIO) -> int:
    """Ask a model that answers with a program, write the answer to `out`, return the exit code.

    Raises:
        CommandError: The model or a tool was not found, or the model failed.
    """
    reporter = Reporter(shows_code=True, is_live=True)
    usage = UsageMetadataCallbackHandler()
    async with open_catalog(options.tools, options.servers) as catalog:
        graph = _build_graph(model, catalog, options, reporter)
        with nullcontext() if options.quiet else reporter:
            state = await _invoke(graph, question, model, usage)
    message = state["messages"][-1]
    record = getattr(message, "artifact", None)
    result = ExecutionResult.from_dict(record) if isinstance(record, dict) else None
    if result is not None and not options.quiet:
        reporter.show_calls(result)
    answer = message.text if result is None else result.output or render_value(result)
    if options.as_json:
        data = {
            "question": question,
            "model": model,
            "answer": answer,
            "usage": usage.usage_metadata,
            "execution": None if result is None else result.to_dict(),
        }
        write_json(out, data)
    elif answer:
        write_output(out, answer if answer.endswith("\n") else f"{answer}\n")
    if result is None:
        return SUCCESS
    report_failure(result, quiet=options.quiet)
    return exit_code_of(result.status)


def _build_graph(model: str, catalog: ToolCatalog, options: Options, reporter: Reporter) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node(
        "answer",
        ProgrammaticToolNode(
            find_model(model),
            catalog,
            limits=options.limits,
            imports=options.modules,
            # Models that people serve themselves are mostly small ones.
            examples="auto" if model.startswith(("http:", "https:")) else None,
            on_event=None if options.quiet else reporter,
        ),
    )
    graph.add_edge(START, "answer")
    return graph.compile()


class _Failures(BaseCallbackHandler):
    """Records what the model raised, such as a refused key."""

    last: BaseException | None = None

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        """Record it."""
        self.last = error


async def _invoke(
    graph: Any, question: str, model: str, usage: UsageMetadataCallbackHandler
) -> dict[str, Any]:
    failures = _Failures()
    try:
        state: dict[str, Any] = await graph.ainvoke(
            {"messages": [HumanMessage(question)]}, {"callbacks": [failures, usage]}
        )
    except Exception as error:
        if failures.last is None:
            raise
        raise CommandError(f"the model {model!r} failed: {explain(failures.last)}") from error
    if waiting := state.get("__interrupt__"):
        raise CommandError(
            f"a tool stopped to ask a person: {waiting[0].value!r}. That takes a graph with a "
            "checkpointer, which can be resumed; `ask` has none"
        )
    return state


# --- stubs --------------------------------------------------------------------------------------


async def write_stubs(
    tools: Sequence[str],
    servers: Sequence[Path],
    out: TextIO,
    *,
    folder: Path | None,
    detail: Tier,
    quiet: bool,
) -> int:
    """Write the stubs of tools to `out`, or as a package into `folder`; return the exit code.

    Raises:
        CommandError: A tool was not found, or the folder cannot be written to.
    """
    async with open_catalog(tools, servers) as catalog:
        if folder is None:
            out.write(catalog.render(detail))
            return SUCCESS
        try:
            written = catalog.write_stubs(folder)
        except OSError as error:
            raise CommandError(
                f"-o {str(folder)!r} cannot be written to: {error.strerror}"
            ) from error
    if not quiet:
        sys.stderr.write(f"wrote {count(len(written), 'file')} to {folder / 'tools'}\n")
    return SUCCESS
