"""The graph behind `langchain-ptc ask`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ptc.cli.exits import SUCCESS, code_of
from langchain_ptc.cli.results import render_value, tell_failure, write_json
from langchain_ptc.cli.telling import Narrator
from langchain_ptc.cli.tools import open_catalog
from langchain_ptc.cli.writing import write_output
from langchain_ptc.limits import Limits
from langchain_ptc.node import ProgrammaticToolNode
from langchain_ptc.resolve.mistakes import Mistake
from langchain_ptc.resolve.models import LOCAL, open_model
from langchain_ptc.run.record import ExecutionResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a question."""

    question: str
    model: str
    """What was written to name it."""
    message: AnyMessage
    """The last message of the conversation."""
    usage: Mapping[str, Any]
    """Tokens, as the model reports them, by its name."""

    @property
    def result(self) -> ExecutionResult | None:
        """The last execution; None if the model wrote no code."""
        record = getattr(self.message, "artifact", None)
        return ExecutionResult.from_dict(record) if isinstance(record, dict) else None


class _Failures(BaseCallbackHandler):
    """Notes what the model raised: a key that is refused, a server that went away."""

    def __init__(self) -> None:
        self.last: BaseException | None = None

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        """Note it."""
        self.last = error


async def ask_model(
    question: str,
    model: str,
    tools: Sequence[str],
    servers: Sequence[Path],
    *,
    limits: Limits,
    modules: Sequence[str],
    quiet: bool,
) -> Answer:
    """Put a question to a model that answers with a program.

    Args:
        question: What to ask.
        model: What names the model.
        tools: Objects with tools, as `module:attribute` or `file.py:attribute`.
        servers: Files of MCP servers.
        limits: What each execution may use.
        modules: Modules that the code may import besides the standard ones.
        quiet: Whether the code and the calls are not told.

    Raises:
        Mistake: The model or a tool is not there, or the model failed.
        SandboxError: The machine could not start a worker.
    """
    narrator = Narrator(shows_code=True, is_live=True)
    failures, usage = _Failures(), UsageMetadataCallbackHandler()
    async with open_catalog(tools, servers) as catalog:
        with open_model(model) as chat_model:
            graph = StateGraph(MessagesState)
            graph.add_node(
                "answer",
                ProgrammaticToolNode(
                    chat_model,
                    catalog,
                    limits=limits,
                    imports=modules,
                    protocol="text" if model == LOCAL else "auto",
                    # Models that people serve themselves are mostly small ones.
                    examples="auto" if model.startswith((LOCAL, "http:", "https:")) else None,
                    on_event=None if quiet else narrator,
                ),
            )
            graph.add_edge(START, "answer")
            try:
                with nullcontext() if quiet else narrator:
                    state = await graph.compile().ainvoke(
                        {"messages": [HumanMessage(question)]}, {"callbacks": [failures, usage]}
                    )
            except Exception as error:
                if failures.last is None:
                    raise
                raise Mistake(f"the model {model!r} failed: {_explain(failures.last)}") from error
    if waiting := state.get("__interrupt__"):
        raise Mistake(
            f"a tool stopped to ask a person: {waiting[0].value!r}. That takes a graph with a "
            "checkpointer, which can be resumed; `ask` has none"
        )
    answer = Answer(
        question=question,
        model=model,
        message=state["messages"][-1],
        usage=usage.usage_metadata,
    )
    if answer.result is not None and not quiet:
        narrator.show_calls(answer.result)
    return answer


def _explain(error: BaseException) -> str:
    told = str(error).strip().splitlines()
    cause = "" if error.__cause__ is None else f" ({error.__cause__})"
    return f"{type(error).__name__}: {told[0]}{cause}" if told else type(error).__name__


def show_answer(answer: Answer, *, out: TextIO, as_json: bool, quiet: bool) -> int:
    """Print an answer and return the exit code."""
    result = answer.result
    text = answer.message.text if result is None else result.output or render_value(result)
    if as_json:
        told = {
            "question": answer.question,
            "model": answer.model,
            "answer": text,
            "usage": answer.usage,
            "execution": None if result is None else result.to_dict(),
        }
        write_json(out, told)
    elif text:
        write_output(out, text if text.endswith("\n") else f"{text}\n")
    if result is None:
        return SUCCESS
    tell_failure(result, quiet=quiet)
    return code_of(result.status)
