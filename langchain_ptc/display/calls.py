"""The tool calls of an execution in time, as every picture shows them. Pure.

A record is what `ExecutionResult.to_dict()` gives, or what a checkpointer kept of it: then times are
times and not texts, and what can be computed is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from langchain_ptc.display.text import count, one_line, render_arguments, render_seconds

MIN_PAUSE_SECONDS = 0.05
"""A shorter pause cannot be distinguished from the machine's own time."""
_MOODS: Mapping[str, str] = {"returned": "soft", "failed": "bad"}
_DECISIONS: Mapping[str, str] = {
    "approve": "approved",
    "edit": "edited",
    "reject": "",
    "respond": "answered by a person",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One tool call as a bar; times in seconds from the start, pauses taken out.

    Its texts are made when they are asked for: of 10,000 calls a page shows some.
    """

    number: int
    """Of the call in its execution, from 1."""
    call: Mapping[str, Any] = field(repr=False)
    """The dict of its record."""
    begin: float
    end: float
    waited: float
    """Seconds of it that it waited: for its turn, for a rate limit, between tries."""

    @property
    def label(self) -> str:
        """The tool with its arguments, as the call would be written."""
        name, domain = str(self.call.get("tool", "?")), self.call.get("domain")
        tool = one_line(f"{domain}.{name}" if domain else name, 80)
        return f"{tool}({render_arguments(self.call.get('arguments'), 200)})"

    @property
    def line(self) -> int:
        """Line of the code that made it; 0 if unknown."""
        line = self.call.get("line")
        return line if isinstance(line, int) else 0

    @property
    def status(self) -> str:
        """How it ended."""
        return one_line(str(self.call.get("status")), 20)

    @property
    def mood(self) -> str:
        """What the colour of its text says too: `soft`, `bad` or `odd`."""
        return _MOODS.get(self.status, "odd")

    @property
    def error(self) -> str:
        """Why there is no result; empty for a cancelled call."""
        error = "" if self.status == "cancelled" else self.call.get("error") or ""
        return one_line(str(error), 300)

    @property
    def note(self) -> str:
        """How long it took, and what was special about it."""
        return " · ".join([render_seconds(self.seconds), *_marks_of(self.call)])

    @property
    def is_plain(self) -> bool:
        """Whether it returned, and nothing was special about it."""
        return next(iter(_marks_of(self.call)), None) is None

    @property
    def bytes(self) -> int:
        """The size of its arguments and its result."""
        sizes = (self.call.get("arguments_bytes"), self.call.get("result_bytes"))
        return round(sum(map(read_number, sizes)))

    @property
    def seconds(self) -> float:
        """From the call to its answer."""
        return self.end - self.begin

    @property
    def running(self) -> float:
        """The tool's own time."""
        return max(0.0, self.seconds - self.waited)

    @property
    def kind(self) -> str:
        """Which form its bar has: `returned`, `cached`, `failed`, `cancelled` or `unmade`."""
        if self.status == "returned":
            return "cached" if self.call.get("is_cache_hit") else "returned"
        return self.status if self.status in ("failed", "cancelled") else "unmade"


class Pause(NamedTuple):
    """A time spent waiting for a person; it is not drawn to scale."""

    at: float
    seconds: float

    @property
    def label(self) -> str:
        """What it is, in words."""
        return f"paused for {render_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The tool calls of an execution in time."""

    bars: tuple[Bar, ...]
    seconds: float
    """From the start to the end, pauses left out."""
    pauses: tuple[Pause, ...]
    max_at_once: int
    """How many calls were in flight at the same moment."""

    def share(self, moment: float) -> float:
        """Return a moment as a share of the whole time."""
        return min(max(moment / (self.seconds or 1.0), 0.0), 1.0)

    def pieces(self, bar: Bar) -> list[tuple[str, float, float]]:
        """Return what a bar is drawn of: forms, with their begin and end as shares of the time."""
        work = bar.begin + bar.waited
        waited = [("wait", self.share(bar.begin), self.share(work))] if bar.waited > 0 else []
        return [*waited, (bar.kind, self.share(work), self.share(bar.end))]

    @property
    def summary(self) -> str:
        """What there is to see, in one line."""
        if not self.bars:
            return "no tool calls"
        calls = count(len(self.bars), "tool call")
        if len(self.bars) == 1:
            return calls
        if self.max_at_once < 2:
            return f"{calls}, one after another"
        return f"{calls}, up to {self.max_at_once:,} at once"


def read_timeline(data: Mapping[str, Any]) -> Timeline:
    """Return the tool calls of a record in time."""
    calls = [call for call in data["tool_calls"] if isinstance(call, Mapping)]
    start = _read_time(data["started_at"])
    spans = [_span_of(call, start) for call in calls]
    paused = read_number(data.get("paused_seconds"))
    last = max((end for _, end in spans), default=0.0)
    whole = max(last, read_number(data.get("duration_seconds")) + paused)
    pauses = _find_pauses(spans, whole, paused)
    bars = [
        Bar(
            number=number,
            call=call,
            begin=_without(pauses, begin),
            end=_without(pauses, end),
            waited=_tidy(min(read_number(call.get("waited_seconds")), end - begin)),
        )
        for number, (call, (begin, end)) in enumerate(zip(calls, spans, strict=True), 1)
    ]
    return Timeline(
        bars=tuple(bars),
        seconds=max(_without(pauses, last), read_number(data.get("duration_seconds"))),
        pauses=tuple(Pause(_without(pauses, pause.at), pause.seconds) for pause in pauses),
        max_at_once=_max_at_once(bars),
    )


def read_number(value: object) -> float:
    """Return a number that is not negative; 0 for everything else."""
    if isinstance(value, int | float) and math.isfinite(value):
        return max(0.0, float(value))
    return 0.0


def _read_time(time: object) -> float:
    try:
        moment = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _span_of(call: Mapping[str, Any], start: float) -> tuple[float, float]:
    begin = max(0.0, _read_time(call.get("started_at")) - start)
    return _tidy(begin), _tidy(begin + read_number(call.get("duration_seconds")))


def _tidy(seconds: float) -> float:
    """Return a time in whole microseconds, as clocks have it: else ends overlap beginnings."""
    return round(seconds, 6)


def _find_pauses(spans: Iterable[tuple[float, float]], whole: float, paused: float) -> list[Pause]:
    """Find where an execution was paused: in the longest gaps between its calls.

    A record has the time that was spent waiting for people, but not when. A graph pauses only when the
    code can do nothing else, so no call is in flight then.
    """
    gaps: list[Pause] = []
    reached = 0.0
    for begin, end in [*sorted(spans), (whole, whole)]:
        if begin > reached:
            gaps.append(Pause(reached, begin - reached))
        reached = max(reached, end)
    found = []
    for gap in sorted(gaps, key=lambda gap: -gap.seconds):
        if paused < MIN_PAUSE_SECONDS:
            break
        found.append(Pause(gap.at, min(gap.seconds, paused)))
        paused -= found[-1].seconds
    return sorted(found)


def _without(pauses: Sequence[Pause], moment: float) -> float:
    """Return a moment with the pauses before it taken out."""
    return _tidy(moment - sum(min(p.seconds, moment - p.at) for p in pauses if p.at < moment))


def _max_at_once(bars: Iterable[Bar]) -> int:
    edges: list[tuple[float, int]] = []
    for bar in bars:
        if bar.end > bar.begin:
            edges += [(bar.begin, 1), (bar.end, -1)]
    return max(accumulate(change for _, change in sorted(edges)), default=0)


def _marks_of(call: Mapping[str, Any]) -> Iterable[str]:
    """Say in words what was special about a call; a bar's form and colour say it too."""
    status, decision = call.get("status"), call.get("approval")
    who = f" by {one_line(str(call['approved_by']), 40)}" if call.get("approved_by") else ""
    if status == "denied":
        yield f"denied{who}"
    elif status != "returned":
        yield one_line(str(status), 20)
    if decision is not None and (word := _DECISIONS.get(str(decision), str(decision))):
        yield one_line(f"{word}{who}", 60)
    if call.get("is_cache_hit"):
        yield "cached"
    if isinstance(tries := call.get("attempts"), int) and tries > 1:
        yield f"{tries} tries"
    if call.get("breaker") == "open":
        yield "breaker open"
    if call.get("limit"):
        yield one_line(str(call["limit"]), 40)


class Gap(NamedTuple):
    """Calls that are left out between two that are shown."""

    calls: int
    special: int
    """Of these, how many did not simply return."""

    @property
    def label(self) -> str:
        """What is left out, in words."""
        special = f", {self.special:,} of them with notes" if self.special else ""
        return f"… {count(self.calls, 'more call')}{special} …"


def choose(bars: Sequence[Bar], limit: int) -> list[Bar | Gap]:
    """Return up to `limit` bars to show, and gaps where others are left out.

    Shown are the first ones, the last ones, and those between them that did not simply return.
    """
    if len(bars) <= limit:
        return list(bars)
    head, tail = limit // 2, limit // 5
    last = len(bars) - tail
    special = [bar for bar in bars[head:last] if not bar.is_plain][: limit - head - tail]
    chosen: list[Bar | Gap] = []
    reached = 0
    for bar in [*bars[:head], *special, *bars[last:]]:
        chosen += _gap(bars[reached : bar.number - 1])
        chosen.append(bar)
        reached = bar.number
    return [*chosen, *_gap(bars[reached:])]


def _gap(bars: Sequence[Bar]) -> list[Gap]:
    return [Gap(len(bars), sum(not bar.is_plain for bar in bars))] if bars else []
