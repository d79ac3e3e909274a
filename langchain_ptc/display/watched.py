"""What is known of executions while they run, from their events. Pure.

The events are those of `langchain_ptc.run.events`, as dicts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_ptc.display.reading import ending_of, read_number
from langchain_ptc.display.text import (
    count,
    one_line,
    render_seconds,
)

MOST_TOOLS = 8
MOST_OUTPUT_LINES = 3
MOST_LINE_CHARS = 200
MOST_TEXT_CHARS = 4_000
MOST_OPEN = 50
"""Executions that are watched at once; the end of one whose process was killed never comes."""


@dataclass(slots=True)
class Tally:
    """The calls of one tool."""

    started: int = 0
    done: int = 0
    odd: int = 0
    """Of these, how many did not return."""

    def __str__(self) -> str:
        on_their_way = self.started - self.done
        parts = [f"{self.done:,} done"]
        if on_their_way > 0:
            parts.append(f"{on_their_way:,} on their way")
        if self.odd:
            parts.append(f"{self.odd:,} without a result")
        return ", ".join(parts)


@dataclass(slots=True)
class Watched:
    """One execution on its way."""

    execution_id: str
    started_at: float
    calls: Tally = field(default_factory=Tally)
    tools: dict[str, Tally] = field(default_factory=dict)
    started_calls: set[str] = field(default_factory=set)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_OUTPUT_LINES))
    partial: str = ""
    """What was printed of a line that has not ended."""

    def headline(self, now: float) -> str:
        """Say how far it is."""
        seconds = render_seconds(max(0.0, now - self.started_at))
        calls = f"{self.calls}" if self.calls.started else "no tool calls yet"
        return f"running {seconds} · {calls}"

    def tool_lines(self) -> list[tuple[str, str]]:
        """Return the tools and what of their calls is done, those of most calls first."""
        most = sorted(self.tools.items(), key=lambda item: -item[1].started)
        lines = [(name, str(tally)) for name, tally in most[:MOST_TOOLS]]
        if len(most) > MOST_TOOLS:
            lines.append(("…", count(len(most) - MOST_TOOLS, "more tool")))
        return lines

    def output_lines(self) -> list[str]:
        """Return the last lines that were printed."""
        lines = [*self.tail, *([self.partial] if self.partial.strip() else [])]
        return [one_line(line, MOST_LINE_CHARS) for line in lines[-MOST_OUTPUT_LINES:]]


class Watch:
    """Follows events. Whoever calls it from several threads holds a lock.

    Attributes:
        running: The executions on their way, by their ids.
    """

    def __init__(self) -> None:
        self.running: dict[str, Watched] = {}

    def take(self, event: Mapping[str, Any]) -> Iterator[str]:
        """Take one event and return the lines that it is worth, if any: an end, a pause, an alert."""
        kind, known = event.get("event"), str(event.get("execution_id"))
        at = read_number(event.get("at"))
        if kind == "execution_start":
            while len(self.running) >= MOST_OPEN:
                del self.running[next(iter(self.running))]
            self.running[known] = Watched(execution_id=known, started_at=at)
            return
        watched = self.running.get(known)
        if watched is None:
            return
        if kind == "execution_pause":
            del self.running[known]
            waiting = event.get("waiting")
            asked = count(waiting, "question") if isinstance(waiting, int) else "questions"
            yield f"paused: {asked} for a person · {watched.calls}"
        elif kind == "execution_end":
            del self.running[known]
            yield render_end(event)
        elif kind == "limit_reached":
            yield f"limit reached: {one_line(str(event.get('limit')), 60)}"
        elif kind == "breaker_open":
            yield f"circuit breaker open: {_name_of(event)}"
        elif kind in ("call_start", "call_end"):
            _tell_call(watched, event)
        elif kind == "output":
            _tell_output(watched, str(event.get("text")))


def _name_of(event: Mapping[str, Any]) -> str:
    domain, tool = event.get("domain"), event.get("tool")
    return one_line(f"{domain}.{tool}" if domain else str(tool), 80)


def _tell_call(watched: Watched, event: Mapping[str, Any]) -> None:
    tallies = (watched.calls, watched.tools.setdefault(_name_of(event), Tally()))
    known = str(event.get("call_id"))
    for tally in tallies:
        if known not in watched.started_calls:  # a call that is refused has no start
            tally.started += 1
        if event["event"] == "call_end":
            tally.done += 1
            tally.odd += event.get("status") != "returned"
    watched.started_calls.add(known)


def _tell_output(watched: Watched, text: str) -> None:
    *lines, watched.partial = (watched.partial + text)[-MOST_TEXT_CHARS:].split("\n")
    watched.tail.extend(line for line in lines if line.strip())


def render_end(event: Mapping[str, Any]) -> str:
    """Return an `execution_end` in one line."""
    ending = ending_of(event.get("status"))
    calls = round(read_number(event.get("tool_calls")))
    parts = [
        f"{ending.sign} {ending.word}",
        count(calls, "tool call") if calls else "no tool calls",
        render_seconds(read_number(event.get("duration_seconds"))),
        f"printed {count(round(read_number(event.get('output_chars'))), 'character')}",
    ]
    if event.get("error"):
        first = str(event["error"]).partition("\n")[0]
        parts.append(one_line(first, MOST_LINE_CHARS))
    return " · ".join(parts)
