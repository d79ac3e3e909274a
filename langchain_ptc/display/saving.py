"""What an execution cost, beside what the same calls would have cost without code. Pure.

Counted from the record, with nothing assumed of a model:

- **Inferences.** Code takes two: one writes it, one reads what it printed. A model that calls tools
  itself takes one for each call, or one for each round of calls that it makes side by side, and one to
  read the last results. A round holds the calls of the code that overlapped in time.
- **Tokens** are bytes / 4. Code brings itself and what the model read of it into the conversation;
  direct calls bring the arguments and result of each call. What is in the conversation is read by each
  later inference. Left out is what is there either way (instructions, tools, the question), though more
  inferences read it more often.
- **Time** is that of the execution as measured, beside the tools' own as measured: one after another
  without what they waited for each other, or for as long as any of them was on its way. The model's
  time comes on top, once for each inference.

Calls that never reached a tool are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.display.reading import Bar, Timeline, read_number
from langchain_ptc.display.text import count, render_seconds, round_figure

BYTES_PER_TOKEN = 4
CODE_INFERENCES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one way to do it takes."""

    inferences: int
    tokens_added: float
    """Tokens that enter the conversation."""
    tokens_read: float
    """The same, counted again for each inference that reads them."""
    seconds: float
    """Without the model's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The code, and the two ways to make the same calls without it."""

    code: Cost
    rounds: Cost
    """Calls side by side where the code's calls overlapped."""
    singly: Cost
    """One call at a time."""


def compare(data: Mapping[str, Any], timeline: Timeline) -> Comparison | None:
    """Compare an execution with direct calls.

    Args:
        data: The record, with `report_bytes`: the size of what the model read of it.
        timeline: Its calls.

    Returns:
        None if there is nothing to compare: the code did not succeed, or made no calls.
    """
    calls = [bar for bar in timeline.bars if bar.status != "refused"]
    if data["status"] != "success" or not calls or "report_bytes" not in data:
        return None
    own = (len(str(data["code"]).encode("utf-8", "replace")) + data["report_bytes"]) / (
        BYTES_PER_TOKEN
    )
    return Comparison(
        code=Cost(
            inferences=CODE_INFERENCES,
            tokens_added=own,
            tokens_read=own,
            seconds=read_number(data.get("duration_seconds")),
        ),
        rounds=_cost(_rounds(calls), _on_their_way(calls)),
        singly=_cost([[bar] for bar in calls], sum(bar.running for bar in calls)),
    )


def _cost(rounds: Sequence[Sequence[Bar]], seconds: float) -> Cost:
    sizes = [sum(bar.bytes for bar in calls) / BYTES_PER_TOKEN for calls in rounds]
    return Cost(
        inferences=len(rounds) + 1,
        tokens_added=sum(sizes),
        tokens_read=sum(size * (len(rounds) - done) for done, size in enumerate(sizes)),
        seconds=seconds,
    )


def _on_their_way(calls: Sequence[Bar]) -> float:
    """Return for how long any of the calls was on its way."""
    seconds = reached = 0.0
    for bar in sorted(calls, key=lambda bar: bar.begin):
        seconds += max(0.0, bar.end - max(bar.begin, reached))
        reached = max(reached, bar.end)
    return seconds


def _rounds(calls: Sequence[Bar]) -> list[list[Bar]]:
    """Return the calls in the fewest rounds of calls that were all on their way at one moment."""
    rounds: list[list[Bar]] = []
    for bar in sorted(calls, key=lambda bar: (bar.end, bar.begin)):
        first = rounds[-1][0] if rounds else None
        # Calls that took no time, such as cached ones, are side by side if they began together.
        if first is None or (bar.begin >= first.end and bar.begin > first.begin):
            rounds.append([])
        rounds[-1].append(bar)
    return rounds


def headline(comparison: Comparison) -> str:
    """Say in one line what it comes to."""
    code, rounds, singly = comparison.code, comparison.rounds, comparison.singly
    tokens = (
        f"about {round_figure(code.tokens_read)} tokens instead of "
        f"{_range(rounds.tokens_read, singly.tokens_read)}"
    )
    if rounds.inferences <= code.inferences and rounds.tokens_read <= code.tokens_read:
        return (
            "a direct call would have cost no more"
            if singly == rounds
            else ("direct calls side by side would have cost no more")
        )
    inferences = (
        f"{code.inferences} inferences instead of {_range(rounds.inferences, singly.inferences)}"
    )
    return f"{inferences}, {tokens}"


def _range(least: float, most: float) -> str:
    first, last = round_figure(least), round_figure(most)
    return first if first == last else f"{first} to {last}"


def rows(comparison: Comparison) -> list[tuple[str, tuple[str, str, str]]]:
    """Return the comparison as a table: a name, and a cell for each of `Comparison`'s fields."""
    costs = (comparison.code, comparison.rounds, comparison.singly)

    def row(name: str, cells: Sequence[str]) -> tuple[str, tuple[str, str, str]]:
        first, second, third = cells
        return name, (first, second, third)

    return [
        row("Inferences", [f"{cost.inferences:,}" for cost in costs]),
        row("Tokens added to the conversation", [round_figure(c.tokens_added) for c in costs]),
        row("Tokens read, over all inferences", [round_figure(c.tokens_read) for c in costs]),
        row("Time, without the model's", [render_seconds(cost.seconds) for cost in costs]),
    ]


COLUMNS = ("This code", "Direct calls, side by side", "Direct calls, one by one")
HOW = (
    "Estimated from the record. Code takes two inferences: one writes it, one reads what it printed. "
    "Direct calls take one for each call, or for each round of calls that overlapped here, and one to "
    "read the last results. Tokens are bytes / 4: code and what the model read of it, or the arguments "
    "and results of {calls}; each later inference reads them again. Instructions, tools and the "
    "question are left out. The time of direct calls is the tools' own; the model's comes on top, once "
    "for each inference."
)


def explain(timeline: Timeline) -> str:
    """Say how the comparison was made."""
    calls = sum(bar.status != "refused" for bar in timeline.bars)
    return HOW.replace("{calls}", count(calls, "call"))
