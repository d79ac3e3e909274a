"""Programs of one message that run in one task of the graph, and pause."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langchain_ptc import as_programmatic
from langchain_ptc.run import graph_tasks
from tests.support.hosts import CONFIG
from tests.support.waiting import SECONDS


class Asker:
    """A graph whose message runs two programs, each with a question; the second program begins late, or never."""

    def __init__(self, *, is_second_run: bool = True) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.has_asked = threading.Event()
        self.has_paused = threading.Event()

        @tool
        def ask(n: int) -> str:
            """Ask a person."""
            self.has_asked.set()
            answer = interrupt(n)
            self.answers.append((n, answer))
            return str(answer)

        def wrap(request: Any, execute: Any) -> Any:
            if request.tool_call["id"] == "2":
                assert self.has_asked.wait(SECONDS)
                # Long after the first has asked, it has paused.
                threading.Event().wait(0.3)
                if not is_second_run:
                    return ToolMessage("not run", tool_call_id="2")
            return execute(request)

        node = ToolNode(as_programmatic([ask]), wrap_tool_call=wrap)
        graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools")
        self.graph = graph.compile(checkpointer=InMemorySaver())

    def start(self) -> list[Any]:
        """Run the message; return the questions."""
        calls = [
            {"name": "run_code", "args": {"code": f"print(await ask({n}))"}, "id": str(n)}
            for n in (1, 2)
        ]
        state = self.graph.invoke({"messages": [AIMessage("", tool_calls=calls)]}, CONFIG)
        return list(state["__interrupt__"])

    def answer(self, answers: dict[str, Any]) -> list[Any]:
        """Answer questions; return those that are left."""
        self.has_asked.clear()
        state = self.graph.invoke(Command(resume=answers), CONFIG)
        return list(state.get("__interrupt__", ()))


def test_a_program_that_begins_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both questions are shown at once, however late the second program begins; no answer is lost."""
    monkeypatch.setattr(graph_tasks, "BEGIN_SECONDS", SECONDS)
    asker = Asker()
    first, second = sorted(asker.start(), key=lambda question: question.value)
    assert (first.value, second.value) == (1, 2)
    assert asker.answer({first.id: "a", second.id: "b"}) == []
    assert sorted(asker.answers) == [(1, "a"), (2, "b")]


def test_a_program_that_never_begins_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that a middleware answers for, or that waits for its turn, does not hold the others."""
    monkeypatch.setattr(graph_tasks, "BEGIN_SECONDS", 0.01)
    asker = Asker(is_second_run=False)
    [question] = asker.start()
    asker.has_asked.set()
    state = asker.graph.invoke(Command(resume={question.id: "a"}), CONFIG)
    assert [message.text.strip() for message in state["messages"][-2:]] == ["a", "not run"]
