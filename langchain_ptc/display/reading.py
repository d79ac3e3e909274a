"""The dict of an execution's record -> what every picture of it shows. Pure.

The dict is what `ExecutionResult.to_dict()` gives, or what a checkpointer kept of it: then times are
times and not texts, and what can be computed is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from langchain_ptc.display.text import one_line, render_arguments

MAX_NAME_CHARS = 80
MAX_ARGUMENTS_CHARS = 200
MAX_ERROR_CHARS = 300

REQUIRED = frozenset(
    {"execution_id", "code", "status", "output", "error", "tool_calls", "started_at"}
)
"""What a dict must have to be the record of an execution."""

LEAST_PAUSE_SECONDS = 0.05
"""A shorter pause is not told apart from the machine's own time."""


class Ending(NamedTuple):
    """How an execution ended, for people."""

    sign: str
    word: str
    mood: str
    """`good`, `bad` or `odd`: what its colour tells besides."""
    told: str
    """A sentence for those who do not know the word."""


ENDINGS: Mapping[str, Ending] = {
    "success": Ending("✓", "success", "good", "The code ran to its end."),
    "error": Ending("✗", "error", "bad", "The code raised."),
    "refused": Ending("⊘", "refused", "bad", "Not accepted: nothing of the code has run."),
    "limit": Ending("◷", "limit", "bad", "Stopped: it used more than a limit allows."),
    "denied": Ending("⊖", "denied", "odd", "A person rejected a call, and the code ended."),
    "cancelled": Ending("◌", "cancelled", "odd", "Whoever ran it has stopped it."),
    "sandbox": Ending("!", "sandbox", "bad", "The machine failed; this is no fault of the code."),
}


def ending_of(status: object) -> Ending:
    """Return how an execution ended; the status itself if it is none that is known."""
    known = ENDINGS.get(str(status))
    return known or Ending("?", one_line(str(status), 20), "odd", "")


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
    def tool(self) -> str:
        """Its name, with its domain."""
        name, domain = str(self.call.get("tool", "?")), self.call.get("domain")
        return one_line(f"{domain}.{name}" if domain else name, MAX_NAME_CHARS)

    @property
    def arguments(self) -> str:
        """As they would be written in a call."""
        arguments = self.call.get("arguments")
        if not isinstance(arguments, Mapping):
            return ""
        return render_arguments(arguments, MAX_ARGUMENTS_CHARS)

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
    def error(self) -> str:
        """Why there is no result."""
        return one_line(str(self.call.get("error") or ""), MAX_ERROR_CHARS)

    @property
    def marks(self) -> tuple[str, ...]:
        """What was special about it, in words; what a bar's form and colour say too."""
        return tuple(_marks_of(self.call))

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
    def is_plain(self) -> bool:
        """Whether it returned, and nothing was special about it."""
        return next(iter(_marks_of(self.call)), None) is None

    @property
    def kind(self) -> str:
        """Which form its bar has: `returned`, `cached`, `failed`, `cancelled` or `unmade`."""
        if self.status == "returned":
            return "cached" if self.call.get("is_cache_hit") else "returned"
        return self.status if self.status in ("failed", "cancelled") else "unmade"


class Pause(NamedTuple):
    """A time in which a person was waited for; it is not drawn at its length."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The tool calls of an execution in time."""

    bars: tuple[Bar, ...]
    seconds: float
    """From the start to the end, pauses left out."""
    pauses: tuple[Pause, ...]
    most_at_once: int
    """How many calls were on their way at the same moment."""

    @property
    def summary(self) -> str:
        """What there is to see, in one line."""
        if not self.bars:
            return "no tool calls"
        calls = "1 tool call" if len(self.bars) == 1 else f"{len(self.bars):,} tool calls"
        if len(self.bars) == 1:
            return calls
        if self.most_at_once < 2:
            return f"{calls}, one after another"
        return f"{calls}, up to {self.most_at_once:,} side by side"


def is_record(data: object) -> bool:
    """Whether `data` is the dict of an execution's record."""
    return isinstance(data, Mapping) and data.keys() >= REQUIRED


def as_record(result: object) -> Mapping[str, Any]:
    """Return the dict of an `ExecutionResult`, or the dict that it is already.

    Raises:
        TypeError: It is neither.
    """
    to_dict = getattr(result, "to_dict", None)
    data = to_dict() if callable(to_dict) else result
    if isinstance(data, Mapping) and is_record(data):
        return data
    raise TypeError(
        f"expected an ExecutionResult or the dict that its to_dict() returns, got "
        f"{type(result).__name__}; in the messages of a graph it is the artifact of a ToolMessage"
    )


def read_timeline(data: Mapping[str, Any]) -> Timeline:
    """Return the tool calls of a record in time."""
    calls = [call for call in data["tool_calls"] if isinstance(call, Mapping)]
    start = read_time(data["started_at"])
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
        most_at_once=_most_at_once(bars),
    )


def read_time(time: object) -> float:
    """Return a time as seconds since the epoch; 0 if it is none."""
    try:
        moment = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def read_number(value: object) -> float:
    """Return a number that is not negative; 0 for everything else."""
    if isinstance(value, int | float) and math.isfinite(value):
        return max(0.0, float(value))
    return 0.0


def _span_of(call: Mapping[str, Any], start: float) -> tuple[float, float]:
    begin = max(0.0, read_time(call.get("started_at")) - start)
    return _tidy(begin), _tidy(begin + read_number(call.get("duration_seconds")))


def _tidy(seconds: float) -> float:
    """Return a time in whole microseconds, which is what clocks tell: else ends overlap beginnings."""
    return round(seconds, 6)


def _find_pauses(spans: Iterable[tuple[float, float]], whole: float, paused: float) -> list[Pause]:
    """Find where an execution stood still: in the longest gaps between its calls.

    A record says for how long persons were waited for, and not when. But a graph pauses only when the
    code can do nothing else, so no call is on its way then.
    """
    gaps: list[Pause] = []
    reached = 0.0
    for begin, end in [*sorted(spans), (whole, whole)]:
        if begin > reached:
            gaps.append(Pause(reached, begin - reached))
        reached = max(reached, end)
    found = []
    for gap in sorted(gaps, key=lambda gap: -gap.seconds):
        if paused < LEAST_PAUSE_SECONDS:
            break
        found.append(Pause(gap.at, min(gap.seconds, paused)))
        paused -= found[-1].seconds
    return sorted(found)


def _without(pauses: Sequence[Pause], moment: float) -> float:
    """Return a moment with the pauses before it taken out."""
    return _tidy(moment - sum(min(p.seconds, moment - p.at) for p in pauses if p.at < moment))


def _most_at_once(bars: Iterable[Bar]) -> int:
    edges: list[tuple[float, int]] = []
    for bar in bars:
        if bar.end > bar.begin:
            edges += [(bar.begin, 1), (bar.end, -1)]
    return max(accumulate(change for _, change in sorted(edges)), default=0)


_DECISIONS = {
    "approve": "approved",
    "edit": "edited",
    "reject": "",
    "respond": "answered by a person",
}


def _marks_of(call: Mapping[str, Any]) -> Iterable[str]:
    """Say in words what was special about a call."""
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


def choose(bars: Sequence[Bar], most: int) -> list[Bar | Gap]:
    """Return the bars to show, and gaps where others are left out.

    The first ones are shown, the last ones, and those between them of which there is something to
    say.

    Args:
        bars: All of them.
        most: How many to show.
    """
    if len(bars) <= most:
        return list(bars)
    head, tail = most // 2, most // 5
    last = len(bars) - tail
    told = [bar for bar in bars[head:last] if not bar.is_plain][: most - head - tail]
    chosen: list[Bar | Gap] = []
    reached = 0
    for bar in [*bars[:head], *told, *bars[last:]]:
        chosen += _gap(bars[reached : bar.number - 1])
        chosen.append(bar)
        reached = bar.number
    return [*chosen, *_gap(bars[reached:])]


def _gap(bars: Sequence[Bar]) -> list[Gap]:
    return [Gap(len(bars), sum(not bar.is_plain for bar in bars))] if bars else []
