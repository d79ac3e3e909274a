"""The work of `langchain-ptc ask`: a question, answered by a program that a model writes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, TextIO

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.cli.models import find_model
from langchain_ptc.cli.options import Options
from langchain_ptc.cli.output import (
    SUCCESS,
    Reporter,
    exit_code_of,
    render_value,
    report_failure,
    write_json,
    write_output,
)
from langchain_ptc.cli.references import CommandError
from langchain_ptc.cli.tools import open_catalog
from langchain_ptc.node import ProgrammaticToolNode
from langchain_ptc.run.record import ExecutionResult


async def ask_model(question: str, model: str, options: Options, out: TextIO) -> int:
    """Ask a model that answers with a program, write the answer to `out`, return the exit code.

    Raises:
        CommandError: The model or a tool is not there, or the model failed.
        SandboxError: The machine could not start a worker.
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
    """Keeps what the model raised: a key that is refused, a server that went away."""

    def __init__(self) -> None:
        self.last: BaseException | None = None

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        """Keep it."""
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
        raise CommandError(f"the model {model!r} failed: {_explain(failures.last)}") from error
    if waiting := state.get("__interrupt__"):
        raise CommandError(
            f"a tool stopped to ask a person: {waiting[0].value!r}. That takes a graph with a "
            "checkpointer, which can be resumed; `ask` has none"
        )
    return state


def _explain(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    cause = "" if error.__cause__ is None else f" ({error.__cause__})"
    return f"{type(error).__name__}: {lines[0]}{cause}" if lines else type(error).__name__
