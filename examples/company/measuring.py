"""The same question by each way of calling tools, in the same agent loop, measured alike."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import Runnable, RunnableConfig

RUN_CODE = "run_code"
"""The tool that runs code; it is a way to call tools and not counted as one."""
_STEPS = 1_000
"""Steps of the graph that an ordinary question never needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One way of answering the question, as measured."""

    label: str
    answer: str
    """Text of the last message."""
    messages: tuple[BaseMessage, ...]
    """The graph's state at the end; empty if the agent failed."""
    inferences: int
    tool_calls: int
    """Calls of the company's tools, by the model or by its code."""
    tokens_in: int
    """Tokens that the model read, over all inferences."""
    tokens_in_once: int
    """Of these, what a perfect prompt cache would have read for the first time."""
    tokens_out: int
    seconds: float
    failure: str = ""
    """Why there is no answer."""

    @property
    def result_chars(self) -> int:
        """Characters of tool results in the graph's state."""
        return sum(len(m.text) for m in self.messages if isinstance(m, ToolMessage))


class Meter(BaseCallbackHandler):
    """Counts inferences, tokens and tool calls, whoever makes them.

    Args:
        on_progress: Called at every tool call with the name of the tool and the calls so far.
    """

    run_inline = True

    def __init__(self, on_progress: Callable[[str, int], None]) -> None:
        self.inferences = 0
        self.tool_calls = 0
        self.tokens_in = 0
        self.tokens_in_once = 0
        self.tokens_out = 0
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        """Count an inference."""
        self.inferences += 1

    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        """Add the tokens of an inference, as the model reports them."""
        message = getattr(response.generations[0][0], "message", None)
        usage = getattr(message, "usage_metadata", None)
        if usage is not None:
            self.tokens_in += usage["input_tokens"]
            self.tokens_out += usage["output_tokens"]
            # Each request begins with the one before it, so the longest holds everything once.
            self.tokens_in_once = max(self.tokens_in_once, usage["input_tokens"])

    def on_tool_start(self, serialized: dict[str, Any], *_args: Any, **_kwargs: Any) -> None:
        """Count a tool call; tools run in threads."""
        name = serialized.get("name", "")
        if name == RUN_CODE:
            return
        with self._lock:
            self.tool_calls += 1
            self._on_progress(name, self.tool_calls)


async def measure(
    label: str,
    graph: Runnable[Any, Any],
    question: str,
    *,
    on_progress: Callable[[str, int], None],
    max_steps: int = _STEPS,
) -> Outcome:
    """Put `question` to `graph` and measure what it takes.

    Args:
        label: Name of the way.
        graph: An agent, or any graph whose state has `messages`.
        question: What to ask.
        on_progress: Called at every tool call.
        max_steps: Steps of the graph after which it is stopped.

    Returns:
        What was measured; a model's or a graph's failure is in it, not raised.
    """
    meter = Meter(on_progress)
    config: RunnableConfig = {"callbacks": [meter], "recursion_limit": max_steps}
    messages: Sequence[BaseMessage] = ()
    failure = ""
    started = time.perf_counter()
    try:
        state = await graph.ainvoke({"messages": [HumanMessage(question)]}, config)
        messages = state["messages"]
    except Exception as error:  # noqa: BLE001 - a provider raises errors of its own; one way may fail
        failure = f"{type(error).__name__}: {error}".splitlines()[0]
    return Outcome(
        label=label,
        answer=messages[-1].text if messages else "",
        messages=tuple(messages),
        inferences=meter.inferences,
        tool_calls=meter.tool_calls,
        tokens_in=meter.tokens_in,
        tokens_in_once=meter.tokens_in_once,
        tokens_out=meter.tokens_out,
        seconds=time.perf_counter() - started,
        failure=failure,
    )


def parse_answer(text: str) -> dict[str, float]:
    """Read names and amounts from an answer in about any layout.

    Names are two capitalised words; the amount is the first number after them.
    """
    found = re.finditer(r"([A-Z][a-z]+ [A-Z][a-z]+)(?:\W|EUR)*?(-?\d[\d,]*(?:\.\d+)?)", text)
    return {match[1]: float(match[2].replace(",", "")) for match in found}


def is_right(answer: str, truth: Mapping[str, float]) -> bool:
    """Tell whether `answer` names exactly the people of `truth`, to the cent."""
    told = parse_answer(answer)
    return told.keys() == truth.keys() and all(
        abs(told[name] - amount) < 0.011 for name, amount in truth.items()
    )


def find_code(outcome: Outcome) -> str:
    """Find the last code that the model wrote, or an empty string."""
    codes = [
        str(call["args"].get("code", ""))
        for message in outcome.messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
        if call["name"] == RUN_CODE
    ]
    return codes[-1] if codes else ""
