"""Chat models as tools: one prompt, many prompts, and what bounds them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, SystemMessage

from langchain_ptc import Budget, ProgrammaticToolExecutor, model_tools
from langchain_ptc.testing import ScriptedChatModel


def shout(messages: list[BaseMessage]) -> str:
    return messages[-1].text.upper()


def test_code_asks_a_model() -> None:
    """The code gets the text of the reply; the model sees the instructions and the prompt only."""
    model = ScriptedChatModel(script=[shout])
    executor = ProgrammaticToolExecutor(model_tools(model, system="Be loud."))
    assert executor.execute("print(await ask_model('hi'))").output == "HI\n"
    system, prompt = model.calls[0].messages
    assert isinstance(system, SystemMessage)
    assert (system.text, prompt.text) == ("Be loud.", "hi")


def test_replies_of_a_batch_are_in_the_order_of_the_prompts() -> None:
    """The batched tool gives one reply for each prompt, in their order, from code with and without `await`."""
    prompts = [f"word {n}" for n in range(20)]
    for call in ("await ask_model_batch(words)", "ask_model_batch(words)"):
        model = ScriptedChatModel(script=[shout] * 20)
        result = ProgrammaticToolExecutor(model_tools(model)).execute(
            f"print({call} == [w.upper() for w in words])", inputs={"words": prompts}
        )
        assert result.output == "True\n", result.report()


class Watching(BaseCallbackHandler):
    """Notes how many calls of the model run at a time."""

    def __init__(self) -> None:
        self.now, self.most, self.lock = 0, 0, threading.Lock()
        self.parents: set[Any] = set()

    def on_chat_model_start(self, *_: object, parent_run_id: Any, **__: object) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.parents.add(parent_run_id)

    def on_llm_end(self, *_: object, **__: object) -> None:
        with self.lock:
            self.now -= 1


async def test_a_batch_asks_so_many_at_a_time_within_the_trace_of_its_call() -> None:
    """`max_concurrency` holds, and each run of the model is a child of the call of the tool."""
    watching = Watching()
    model = ScriptedChatModel(script=["x"] * 12)
    executor = ProgrammaticToolExecutor(model_tools(model, max_concurrency=2))
    code = "print(len(await ask_model_batch([str(n) for n in range(12)])))"
    result = await executor.aexecute(code, config={"callbacks": [watching]})
    assert result.output == "12\n"
    assert 1 <= watching.most <= 2
    assert len(watching.parents) == 1
    assert None not in watching.parents


def test_too_many_prompts_are_an_error_in_the_code() -> None:
    """A batch beyond `max_prompts` asks nothing."""
    model = ScriptedChatModel(script=["x"])
    executor = ProgrammaticToolExecutor(model_tools(model, max_prompts=2))
    result = executor.execute("await ask_model_batch(['a', 'b', 'c'])")
    assert "3 prompts in one call, and 2 are allowed" in result.report()
    assert not model.calls


def test_budgets_hold() -> None:
    """A budget bounds the calls of a model as those of any tool, and the prompts of a batch by `cost_of`."""

    def prompts(call: Any) -> int:
        return len(call.arguments.get("prompts", [""]))

    model = ScriptedChatModel(script=["x"] * 9)
    budget = Budget(cost=5, cost_of=prompts)
    executor = ProgrammaticToolExecutor(model_tools(model), budget=budget)
    result = executor.execute(
        "for n in range(3):\n    print(len(await ask_model_batch(['a', 'b'])))"
    )
    assert (result.output, len(model.calls)) == ("2\n2\n", 4)


@pytest.mark.parametrize("option", ["max_prompts", "max_concurrency"])
def test_invalid_options(option: str) -> None:
    """A limit that is not positive is refused."""
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=option):
        model_tools(ScriptedChatModel(script=[]), **options)
