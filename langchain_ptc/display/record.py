"""The record of an execution -> what a page and a terminal show of it. Pure.

A record is what `ExecutionResult.to_dict()` gives, or what a checkpointer kept of it: then times are
times and not texts, and what can be computed is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple, Self

from langchain_ptc.display.text import (
    one_line,
    render_arguments,
    render_bytes,
    render_json,
    render_seconds,
    round_figure,
)
from langchain_ptc.errors import count

REQUIRED = frozenset(
    {"execution_id", "code", "status", "output", "error", "tool_calls", "started_at"}
)
"""What a dict must have to be the record of an execution."""
MAX_MARKS = 20
MAX_MARK_CHARS = 400
BYTES_PER_TOKEN = 4
CODE_INFERENCES = 2


class Ending(NamedTuple):
    """How an execution ended, for people."""

    sign: str
    word: str
    mood: str  # `good`, `bad` or `odd`, for its colour
    meaning: str  # the word explained in a sentence


_ENDINGS: Mapping[str, Ending] = {
    "success": Ending("✓", "success", "good", "The code ran to its end."),
    "error": Ending("✗", "error", "bad", "The code raised."),
    "refused": Ending("⊘", "refused", "bad", "Not accepted: none of the code has run."),
    "limit": Ending("◷", "limit", "bad", "Stopped: it exceeded a limit."),
    "denied": Ending("⊖", "denied", "odd", "A person rejected a call, and the code ended."),
    "cancelled": Ending("◌", "cancelled", "odd", "Cancelled by its caller."),
    "sandbox": Ending("!", "sandbox", "bad", "The sandbox failed; the code is not at fault."),
}


def ending_of(status: object) -> Ending:
    """Return how an execution ended; for an unknown status, the status itself."""
    known = _ENDINGS.get(str(status))
    return known or Ending("?", one_line(str(status), 20), "odd", "")


def as_record(result: object) -> Mapping[str, Any] | None:
    """Return the dict of an `ExecutionResult`, or the dict that it is already; None if it is neither."""
    to_dict = getattr(result, "to_dict", None)
    data = to_dict() if callable(to_dict) else result
    return data if isinstance(data, Mapping) and data.keys() >= REQUIRED else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong. Its texts are as long as they are, and not yet safe to show."""

    where: str
    """The line of the code, as `line 3: `; empty if unknown, or if there are several problems."""
    kind: str
    message: str
    hint: str
    details: tuple[str, str] | None
    """A title and what the model read of it, where that is more than the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to show of an execution."""

    data: Mapping[str, Any]
    ending: Ending
    seconds: str
    code: str
    marks: Mapping[int, Sequence[str]]  # what is wrong with the code, by the line
    failure: Failure | None
    output: str  # what was printed, or the value where nothing was; not yet safe to show
    output_title: str
    output_about: str
    notes: tuple[str, ...]
    files: tuple[tuple[str, str, object], ...]
    """Those that the code has left: name, not yet safe to show, size, and the content as base64, or None."""
    shown: tuple[tuple[str, str, object], ...]
    """What it has shown: media type, not yet safe to show, size, and the content as base64, or None."""
    timeline: Timeline
    comparison: str  # what direct calls would have cost; empty if there is nothing to compare

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read a record; with `report_bytes`, the size of what the model read, it is compared with direct calls."""
        error = data.get("error")
        error = error if isinstance(error, Mapping) else None
        timeline = read_timeline(data)
        output, title, about = _read_output(data)
        return cls(
            data=data,
            ending=ending_of(data["status"]),
            seconds=render_seconds(read_number(data.get("duration_seconds"))),
            code=str(data["code"]),
            marks={} if error is None else _find_marks(error),
            failure=None if error is None else _read_failure(error),
            output=output,
            output_title=title,
            output_about=about,
            notes=tuple(map(str, data.get("notes") or ())),
            files=_read_contents(data.get("files"), "name"),
            shown=_read_contents(data.get("shown"), "media_type"),
            timeline=timeline,
            comparison=compare(data, timeline),
        )


def _read_contents(given: Any, name: str) -> tuple[tuple[str, str, object], ...]:
    return tuple(
        (str(one.get(name)), render_bytes(read_number(one.get("size"))), one.get("data"))
        for one in given or ()
    )


def _read_output(data: Mapping[str, Any]) -> tuple[str, str, str]:
    output = str(data["output"])
    if output.strip():
        about = render_bytes(len(output.encode("utf-8", "replace")))
        limit = read_number(data.get("output_chars"))
        if limit and len(output) > limit:
            about += f", of which the model was shown {count(int(limit), 'character')}"
        return output.strip("\n"), "Output", about
    if data.get("value") is not None and data.get("error") is None:
        return render_json(data["value"]), "Value", "nothing was printed"
    return "", "Output", "nothing was printed"


def _read_failure(error: Mapping[str, Any]) -> Failure:
    line, message = error.get("line"), str(error.get("message") or "")
    trace = str(error.get("traceback") or "")
    has_line = isinstance(line, int) and line > 0
    details = None
    if error.get("problems") or error.get("violations"):  # each is shown at its line of the code
        has_line, details = False, ("All problems, as the model read them", message)
        message = message.partition("\n")[0]
    elif trace.startswith("Traceback") and trace.count("\n  line ") > 1:
        details = ("Traceback, as the model read it", trace)
    return Failure(
        where=f"line {line}: " if has_line else "",
        kind=one_line(str(error.get("kind") or "error"), 80),
        message=message,
        hint=str(error.get("hint") or ""),
        details=details,
    )


def _find_marks(error: Mapping[str, Any]) -> dict[int, list[str]]:
    found: list[tuple[Any, Any]] = [
        (each.get("line"), each.get("message"))
        for each in (*(error.get("problems") or ()), *(error.get("violations") or ()))
        if isinstance(each, Mapping)
    ]
    if not found:
        kind, message = str(error.get("kind", "")), str(error.get("message", ""))
        found = [(error.get("line"), f"{kind}: {message}" if message else kind)]
    marks: dict[int, list[str]] = {}
    for line, message in found[:MAX_MARKS]:
        if isinstance(line, int) and line > 0:
            marks.setdefault(line, []).append(one_line(str(message), MAX_MARK_CHARS))
    return marks


def choose_lines(lines: int, marked: Iterable[int], limit: int) -> list[range]:
    """Return which lines of code to show, from 1: the first and the last, `limit` together, and those around marks."""
    if lines <= limit:
        return [range(1, lines + 1)]
    shown = {*range(1, limit * 2 // 3 + 1), *range(lines - limit // 3 + 1, lines + 1)}
    for line in marked:
        shown |= {*range(max(1, line - 2), min(lines, line + 2) + 1)}
    chosen: list[range] = []
    for number in sorted(shown):
        if chosen and chosen[-1].stop == number:
            chosen[-1] = range(chosen[-1].start, number + 1)
        else:
            chosen.append(range(number, number + 1))
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message of a run, or a question that it waits for; its texts are safe to show."""

    who: str
    mood: str = "soft"  # `soft`, `bad` for an error, `odd` for a question
    text: str
    calls: tuple[str, ...] = ()  # the tools that the model asked for, bounded
    asked: int = 0  # how many it asked for
    record: Mapping[str, Any] | None = None  # the execution that a message of a tool reports


# --- what it saved: counted from the record, see docs/display.md ----------------------------------

ESTIMATE = (
    "Estimated from the record. Code takes two inferences: one writes it, one reads what it printed. Direct calls "
    "take one for each round of calls that overlapped here, or for each call, and one to read the last "
    "results. Tokens are bytes / 4, and count again for each inference that reads them; instructions, tools and "
    "the question are left out."
)


def compare(data: Mapping[str, Any], timeline: Timeline) -> str:
    """Return in one line what direct calls would have cost; empty if the code failed, or made no calls."""
    calls = [bar for bar in timeline.bars if bar.status != "refused"]
    if data["status"] != "success" or not calls or "report_bytes" not in data:
        return ""
    code_bytes = len(str(data["code"]).encode("utf-8", "replace"))
    own = (code_bytes + data["report_bytes"]) / BYTES_PER_TOKEN
    fewest, most = _cost(_rounds(calls)), _cost([[bar] for bar in calls])
    if fewest <= (CODE_INFERENCES, own):
        way = "a direct call" if fewest == most else "parallel direct calls"
        return f"{way} would have cost no more"
    inferences, tokens = map(_range, fewest, most)
    return (
        f"{CODE_INFERENCES} inferences instead of {inferences}, "
        f"about {round_figure(own)} tokens instead of {tokens}"
    )


def _range(low: float, high: float) -> str:
    first, last = round_figure(low), round_figure(high)
    return first if first == last else f"{first} to {last}"


def _cost(rounds: Sequence[Sequence[Bar]]) -> tuple[int, float]:
    """Return the inferences, and the tokens of calls and results that they read, all in all."""
    sizes = [sum(bar.bytes for bar in calls) / BYTES_PER_TOKEN for calls in rounds]
    read = sum(size * (len(rounds) - done) for done, size in enumerate(sizes))
    return len(rounds) + 1, read


def _rounds(calls: Sequence[Bar]) -> list[list[Bar]]:
    """Return the calls in the fewest rounds of calls that were all in flight at one moment."""
    rounds: list[list[Bar]] = []
    for bar in sorted(calls, key=lambda bar: (bar.end, bar.begin)):
        first = rounds[-1][0] if rounds else None
        # Calls that took no time, such as cached ones, are concurrent if they began together.
        if first is None or (bar.begin >= first.end and bar.begin > first.begin):
            rounds.append([])
        rounds[-1].append(bar)
    return rounds


# --- its tool calls in time ---------------------------------------------------------------------------

MIN_PAUSE_SECONDS = 0.05  # a shorter pause cannot be distinguished from the machine's own time
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

    number: int  # of the call in its execution, from 1
    call: Mapping[str, Any] = field(repr=False)  # the dict of its record
    begin: float
    end: float
    waited: float  # seconds of it that it waited: for its turn, for a rate limit, between tries

    @property
    def label(self) -> str:
        """The tool with its arguments, as the call would be written."""
        name, domain = str(self.call.get("tool", "?")), self.call.get("domain")
        tool = one_line(f"{domain}.{name}" if domain else name, 80)
        return f"{tool}({render_arguments(self.call.get('arguments'), 200)})"

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
    seconds: float  # from the start to the end, pauses left out
    pauses: tuple[Pause, ...]
    max_at_once: int  # how many calls were in flight at the same moment

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
        if early := sum(bool(bar.call.get("ahead_seconds")) for bar in self.bars):
            calls += f", {early:,} begun early"
        if len(self.bars) == 1:
            return calls
        if self.max_at_once < 2:
            return f"{calls}, one after another"
        return f"{calls}, up to {self.max_at_once:,} at once"


def read_timeline(data: Mapping[str, Any]) -> Timeline:
    """Return the tool calls of a record in time."""
    calls = [call for call in data["tool_calls"] if isinstance(call, Mapping)]
    began = _read_time(data["started_at"])
    early = [call for call in calls if read_number(call.get("ahead_seconds"))]
    start = min([began, *(_read_time(call.get("started_at")) for call in early)])
    spans = [_span_of(call, start) for call in calls]
    paused = read_number(data.get("paused_seconds"))
    last = max((end for _, end in spans), default=0.0)
    seconds = _tidy(began - start) + read_number(data.get("duration_seconds"))
    whole = max(last, seconds + paused)
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
        seconds=max(_without(pauses, last), seconds),
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
    if ahead := read_number(call.get("ahead_seconds")):
        yield f"begun {render_seconds(ahead)} early"
    if isinstance(tries := call.get("attempts"), int) and tries > 1:
        yield f"{tries} tries"
    if call.get("breaker") == "open":
        yield "breaker open"
    if call.get("limit"):
        yield one_line(str(call["limit"]), 40)


class Gap(NamedTuple):
    """Calls that are left out between two that are shown."""

    calls: int
    special: int  # of these, how many did not simply return

    @property
    def label(self) -> str:
        """What is left out, in words."""
        special = f", {self.special:,} of them with notes" if self.special else ""
        return f"… {count(self.calls, 'more call')}{special} …"


def choose(bars: Sequence[Bar], limit: int) -> list[Bar | Gap]:
    """Return up to `limit` bars: the first, the last, those between that did not simply return; and gaps."""
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
