"""What a task is: a question over tools, how its answer is checked, and a program that answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from langchain_core.tools import BaseTool

from benchmarks.tasks.checks import Check

Shape = Literal[
    "look-up",
    "filter",
    "filter by total",
    "totals per group",
    "maximum",
    "average",
    "message those above",
    "join",
    "early exit",
    "count by key",
    "conditional effect",
]
"""What the answer takes."""
SHAPES: tuple[str, ...] = get_args(Shape)

Verdict = Literal["right", "wrong answer", "wrong side effect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that a tool changed."""

    tool: str
    arguments: Mapping[str, Any]

    def key(self) -> str:
        """Give what two effects share that are the same: texts by their words."""
        told = {name: _plain(value) for name, value in self.arguments.items()}
        return f"{self.tool} {sorted(told.items())}"


def _plain(value: object) -> object:
    if isinstance(value, str):
        return " ".join(value.split()).strip(" .!\"'").casefold()
    return value


@dataclass(slots=True, kw_only=True)
class World:
    """The tools of one domain over fresh data, and what was changed with them."""

    tools: Sequence[BaseTool]
    effects: list[Effect] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question."""

    name: str
    shape: Shape
    question: str
    program: str
    """A program that answers it."""
    check: Check
    """What the text of the answer must say."""
    effects: tuple[Effect, ...] = ()
    """What must have been changed, in any order, and nothing else."""

    def judge(self, text: str, effects: Iterable[Effect]) -> tuple[Verdict, str]:
        """Tell whether an answer is right, and what is wrong with it.

        Args:
            text: What the user reads.
            effects: What was changed.
        """
        done = sorted(effect.key() for effect in effects)
        wanted = sorted(effect.key() for effect in self.effects)
        if done != wanted:
            return "wrong side effect", f"changed {done}, not {wanted}"
        complaint = self.check(text, self.question)
        return ("wrong answer", complaint) if complaint else ("right", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Tools over one set of data, with tasks."""

    name: str
    held_out: bool
    """Whether it is never looked at while prompts are tuned."""
    build: Callable[[], World]
    tasks: tuple[Task, ...]
