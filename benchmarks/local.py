"""A real model against the task set: programs against ordinary tool calls, judged by value.

    python -m benchmarks.local [--domain company …] [--mode programmatic …] [--model local] [--write]

The model is the local one (see `local_model/`), any server that speaks OpenAI's protocol by its
address, or a name for `init_chat_model`. Modes:

- `programmatic`: `ProgrammaticToolNode` with `examples="auto"`.
- `direct`: ordinary tool calling by `create_agent`, as it comes.
- `direct-lenient`: the same, with calls that come as text taken for calls (see `lenient_calls.py`).
- `direct-shown`: the same again, with the same example questions worked by calls before the question.

Temperature is 0. Tokens are those that the server counts; seconds are the model's only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph

from benchmarks.lenient_calls import LenientCalls, show_calls
from benchmarks.local_model import LocalModelError, local_model
from benchmarks.local_model.answers import Answers
from benchmarks.local_page import (
    FOLDER,
    read_prompts,
    render_failures,
    render_score,
    write_page,
)
from benchmarks.stored import results_of, write_dated
from benchmarks.tasks import DOMAINS, Domain, Task, World
from langchain_ptc import ExecutionResult, ProgrammaticToolNode, ToolCatalog
from langchain_ptc.catalog.examples import build_examples

Mode = Literal["programmatic", "direct", "direct-lenient", "direct-shown"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_INFERENCES = 40
"""Of one question by ordinary tool calling: more than any task needs with one call a turn."""
_MAX_OUTPUT_TOKENS = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How the model is asked."""

    mode: Mode = "programmatic"
    protocol: Literal["auto", "tool", "text"] = "text"
    attempts: int = 3
    examples: Literal["auto"] | None = "auto"
    returns: Literal["shown", "hidden"] = "shown"
    """Whether the tools have return types. The examples are generated with them in both cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task as the model did it."""

    domain: str
    task: str
    shape: str
    mode: Mode
    cause: str
    """`right`, or why not."""
    detail: str
    attempts: list[str]
    """How each program ended, `success` included."""
    answer: str
    codes: list[str] = field(repr=False)
    inferences: int
    tokens_in: int
    tokens_out: int
    seconds: float


class Programs(BaseCallbackHandler):
    """Notes every execution, also those of attempts that stay out of the state, and errors of tools."""

    run_inline = True

    def __init__(self) -> None:
        self.results: list[ExecutionResult] = []
        self.tool_errors: list[BaseException] = []

    def on_tool_end(self, output: Any, **_: Any) -> None:
        """Note an execution."""
        artifact = getattr(output, "artifact", None)
        if isinstance(artifact, dict) and "execution_id" in artifact:
            self.results.append(ExecutionResult.from_dict(artifact))

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        """Note what a tool raised."""
        self.tool_errors.append(error)


def cause_of(result: ExecutionResult) -> str:
    """Name how an execution ended, in the words of the table."""
    error = result.error
    if error is None:
        return "success" if result.output.strip() or result.value is not None else "no output"
    if error.kind == "SyntaxError":
        return "syntax"
    if result.status == "refused":
        return "refused by the check" if error.problems else "refused by the language"
    if result.status == "limit":
        return f"limit {error.limit}"
    return "tool error" if error.kind == "ToolCallError" else "code error"


def hide_returns(tool: BaseTool) -> BaseTool:
    """Return a tool that does the same, and says nothing of what it returns."""

    async def call(**arguments: Any) -> Any:
        return await tool.ainvoke(arguments)

    return StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=tool.args_schema,
        infer_schema=False,
    )


def build_graph(model: BaseChatModel, world: World, asked: Asked) -> Any:
    """Build what a user would build over the tools."""
    if asked.mode == "programmatic":
        tools, examples = list(world.tools), asked.examples
        shown: list[tuple[str, str]] | Literal["auto"] | None = examples
        if asked.returns == "hidden":
            if examples is not None:
                shown = [(e.question, e.code) for e in build_examples(ToolCatalog(tools))]
            tools = [hide_returns(tool) for tool in tools]
        node = ProgrammaticToolNode(
            model,
            tools,
            protocol=asked.protocol,
            max_attempts=asked.attempts,
            examples=shown,
        )
        graph = StateGraph(MessagesState)
        graph.add_node("answer", node)
        graph.add_edge(START, "answer")
        return graph.compile()
    middleware = []
    if asked.mode != "direct":
        shown = show_calls(world.tools) if asked.mode == "direct-shown" else ()
        middleware = [LenientCalls(world.tools, shown)]
    return create_agent(model, tools=list(world.tools), middleware=middleware)


async def ask(model: BaseChatModel, domain: Domain, task: Task, asked: Asked) -> Row:
    """Put one task to a model whose cache is an `Answers`, and judge what comes."""
    answers = model.cache
    assert isinstance(answers, Answers)
    answers.clear()
    world, programs = domain.build(), Programs()
    config: RunnableConfig = {"callbacks": [programs], "recursion_limit": 2 * MAX_INFERENCES}
    messages: Sequence[BaseMessage] = ()
    failure = ""
    try:
        graph = build_graph(model, world, asked)
        state = await graph.ainvoke({"messages": [("user", task.question)]}, config)
        messages = state["messages"]
    except GraphRecursionError:
        failure = f"over {MAX_INFERENCES} inferences"
    except Exception as error:  # a server raises errors of its own; the other tasks go on
        # What a tool raises ends an agent that is built as it comes.
        whose = "tool error" if error in programs.tool_errors else "server"
        failure = f"{whose}: {type(error).__name__}: {error}"[:200]
    text = messages[-1].text if messages else ""
    cause, detail = _judge(task, world, text, failure, messages, programs.results, asked)
    used = answers.used
    return Row(
        domain=domain.name,
        task=task.name,
        shape=task.shape,
        mode=asked.mode,
        cause=cause,
        detail=detail,
        attempts=[cause_of(result) for result in programs.results],
        answer=text,
        codes=[result.code for result in programs.results],
        inferences=used.inferences,
        tokens_in=used.tokens_in,
        tokens_out=used.tokens_out,
        seconds=round(used.seconds, 2),
    )


def _judge(
    task: Task,
    world: World,
    text: str,
    failure: str,
    messages: Sequence[BaseMessage],
    results: Sequence[ExecutionResult],
    asked: Asked,
) -> tuple[str, str]:
    verdict, complaint = task.judge(text, world.effects)
    if failure:
        return failure.partition(":")[0], failure
    if asked.mode == "programmatic":
        if not results:
            return "no code", text[:200]
        ended = cause_of(results[-1])
        if ended == "no output" and not task.effects:
            return ended, complaint
        if ended not in ("success", "no output"):
            return ended, text[:400]
    elif verdict != "right" and not any(isinstance(m, ToolMessage) for m in messages):
        return "no tool call", text[:200]
    return verdict, complaint


# --- the model ----------------------------------------------------------------------------------


@contextmanager
def load_model(name: str) -> Iterator[BaseChatModel]:
    """Give the model that a name means.

    Args:
        name: `local`, the address of a server such as `http://127.0.0.1:11434/v1#MODEL`, or a name for
            `init_chat_model`.

    Raises:
        LocalModelError: The local model cannot be had.
    """
    if name == "local":
        with local_model() as model:
            yield model
    elif name.startswith(("http://", "https://")):
        from langchain_openai import ChatOpenAI

        address, _, served = name.partition("#")
        yield ChatOpenAI(
            base_url=address,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",  # type: ignore[arg-type]
            model=served or "default",
            temperature=0,
            max_completion_tokens=_MAX_OUTPUT_TOKENS,
            timeout=600,
        )
    else:
        from langchain.chat_models import init_chat_model

        yield init_chat_model(name, temperature=0)


# --- the command --------------------------------------------------------------------------------


async def run(
    model: BaseChatModel, domains: Sequence[Domain], ways: Sequence[Asked], *, only: str = ""
) -> list[Row]:
    """Put all tasks to the model, one after another, and tell of each."""
    rows = []
    for asked in ways:
        for domain in domains:
            for task in domain.tasks:
                if only and only != task.name:
                    continue
                row = await ask(model, domain, task, asked)
                rows.append(row)
                line = f"{row.mode} {row.domain}/{row.task}: {row.cause} {row.attempts}"
                print(f"{line} {row.inferences} inferences {row.seconds:.1f} s", file=sys.stderr)
    return rows


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--domain", action="append", choices=[*DOMAINS], help="default: all")
    parser.add_argument("--mode", action="append", choices=MODES, help="default: all")
    parser.add_argument("--task", default="", help="only the tasks of this name")
    parser.add_argument("--model", default="local")
    parser.add_argument("--protocol", default="text", choices=["auto", "tool", "text"])
    parser.add_argument("--attempts", type=int, default=3)
    parser.add_argument("--no-examples", action="store_true")
    parser.add_argument("--json", type=Path, help="write every answer to this file")
    parser.add_argument(
        "--write", action="store_true", help="write results and docs/local-models.md"
    )
    parser.add_argument("--answers", type=Path, help="folder that keeps answers, to go on later")
    options = parser.parse_args(arguments)
    if options.write and (options.domain or options.mode or options.task):
        parser.error("--write is for a whole run: it goes without --domain, --mode and --task")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status: 0, or 2 without a model."""
    options = parse(arguments)
    domains = [DOMAINS[name] for name in options.domain or DOMAINS]
    ways = [
        Asked(
            mode=mode,
            protocol=options.protocol,
            attempts=options.attempts,
            examples=None if options.no_examples else "auto",
        )
        for mode in options.mode or MODES
    ]
    try:
        with load_model(options.model) as model:
            name = getattr(model, "model_name", None) or options.model
            counted = model.model_copy(update={"cache": Answers(options.answers)})
            rows = asyncio.run(run(counted, domains, ways, only=options.task))
    except LocalModelError as error:
        print(error, file=sys.stderr)
        return 2
    told = [asdict(row) for row in rows]
    if options.json:
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")
    if options.write:
        command = f"python -m benchmarks.local --model {options.model}"
        results = results_of(command, model=name, rows=told)
        write_dated(results, FOLDER)
        write_page(results, read_prompts())
    print(f"{render_score(told)}\n\n{render_failures(told)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
