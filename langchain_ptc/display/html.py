"""Pages for notebooks: an execution's record, a run with its executions. Pure.

A page is bounded: what is too much is left out, and the page says so. It has one style sheet, no script,
and nothing from elsewhere. Where its style is taken away, as GitHub does, it is still read from top to
bottom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from langchain_ptc.display.record import (
    ESTIMATE,
    Bar,
    Gap,
    Step,
    Timeline,
    View,
    as_record,
    choose,
    choose_lines,
)
from langchain_ptc.display.text import (
    cut_middle,
    escape,
    one_line,
    render_arguments,
    render_seconds,
    visible,
)
from langchain_ptc.errors import count, cut

MAX_PAGE_BYTES = 180_000
SHARES = (1.0, 0.5, 0.25, 0.1, 0.04)
"""Fractions of the sizes below that are tried until a page is small enough: escaping makes text up to
twelve times as long."""
OUTPUT_CHARS, VALUE_CHARS, ERROR_CHARS, DETAILS_CHARS, NOTE_CHARS = 20_000, 4_000, 2_000, 4_000, 600
CODE_LINES, LINE_CHARS, NOTES, ROWS = 400, 500, 20, 60
FILES_BYTES, BASE64 = 100_000, re.compile("[A-Za-z0-9+/]*={0,2}")
"""Of the content of files, as base64, that a page holds."""
SHOWN = "<!-- shown -->"
"""Stands for what the code has shown; no text on a page has it, as all text is escaped."""
SHOWN_BYTES = 1_500_000  # of what the code has shown, as base64: in addition to `MAX_PAGE_BYTES`
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a page draws. No browser runs a script in them."""
MAX_COLOURED_CHARS = 40_000  # longer code is not coloured


@cache
def _style() -> str:
    text = files(__package__).joinpath("page.css").read_text("utf-8")
    *_, light, dark, rules = re.split(r"/\*.*?\*/\n", text, flags=re.DOTALL)
    rules = rules.replace("LIGHT", light.strip()).replace("DARK", dark.strip())
    return f"<style>{rules.replace('&', '.ptc' * 3)}</style>"


def page(body: str) -> str:
    """Return a body with its style, as a notebook shows it."""
    return f'<div class="ptc">{_style()}{body}</div>'


def section(title: str, about: str, body: str, *, is_open: bool = True) -> str:
    """Return a part of a page that can be folded; `title` and `about` are text, `body` is HTML."""
    more = f' <span class="ptc-soft">{escape(about)}</span>' if about else ""
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(title)}{more}</summary>"
        f"{body}</details>"
    )


# --- an execution ---------------------------------------------------------------------------------


def render_html(data: Mapping[str, Any]) -> str:
    """Return the record of an execution as a page of its own; see `View.read`."""
    body, shown = render_parts(data, SHOWN_BYTES)
    return page(body.replace(SHOWN, shown))


def render_parts(data: Mapping[str, Any], room: int) -> tuple[str, str]:
    """Return a record as HTML without its style, and what the code has shown, for the place in it that has `SHOWN`.

    `room` is how much of what was shown there is room for, in bytes of base64.
    """
    view = View.read(data)
    body = fit(lambda share: _render_view(view, share), SHARES)
    return body, _render_shown(view.shown, room)


def fit(render: Callable[[float], str], sizes: Iterable[float]) -> str:
    """Return the first of some renderings that a page has room for, or the last."""
    body = ""
    for size in sizes:
        body = render(size)
        if len(body.encode()) <= MAX_PAGE_BYTES:
            break
    return body


def _render_view(view: View, share: float) -> str:
    code = view.code
    lines = code.count("\n") + (not code.endswith("\n")) if code else 0
    notes = "".join(
        f'<p class="ptc-fine">note: {escape(cut_middle(note, round(NOTE_CHARS * share)))}</p>'
        for note in view.notes[: max(1, round(NOTES * share))]
    )
    if (more := len(view.notes) - max(1, round(NOTES * share))) > 0:
        notes += f'<p class="ptc-fine">… {count(more, "note")} more</p>'
    limit = VALUE_CHARS if view.output_title == "Value" else OUTPUT_CHARS
    output = _render_pre(view.output, limit * share) if view.output else ""
    is_open = bool(output or notes)
    return "".join(
        [
            _render_head(view),
            _render_failure(view, share),
            section("Code", count(lines, "line"), _render_code(view, share)),
            section(view.output_title, view.output_about, output + notes, is_open=is_open),
            SHOWN,
            _render_files(view.files, share),
            _render_calls(view.timeline, round(ROWS * share)),
            _render_comparison(view.comparison),
        ]
    )


def _render_files(files: Sequence[tuple[str, str, object]], share: float) -> str:
    """Return the files that the code has left, those with room on the page as links that save them."""
    room, items = FILES_BYTES * share, []
    for path, size, data in files[: max(1, round(ROWS * share))]:
        name = escape(one_line(path, LINE_CHARS))
        if isinstance(data, str) and len(data) <= room and BASE64.fullmatch(data):
            room -= len(data)
            name = _link(name, data)
        items.append(f'<p class="ptc-fine">{name} <span class="ptc-soft">{size}</span></p>')
    return section("Files", count(len(files), "file"), "".join(items)) if files else ""


def _link(name: str, data: str) -> str:
    """Return a link that saves content; of no type that a browser opens: whatever is in it, it is saved."""
    link = f'href="data:application/octet-stream;base64,{data}"'
    return f'<a download="{name.rpartition("/")[2]}" {link}>{name}</a>'


def _render_shown(shown: Sequence[tuple[str, str, object]], room: int) -> str:
    """Return what the code has shown: pictures that there is room for, and links that save the rest."""
    items = []
    for number, (media_type, size, data) in enumerate(shown[:ROWS], 1):
        name = f"{number}: {escape(one_line(media_type, 40))}"
        if isinstance(data, str) and len(data) <= room and BASE64.fullmatch(data):
            room -= len(data)
            if media_type in PICTURES:
                source = f"data:{media_type};base64,{data}"
                items.append(f'<p class="ptc-shown"><img alt="{name}" src="{source}"></p>')
                continue
            name = _link(name, data)
        items.append(f'<p class="ptc-fine">{name} <span class="ptc-soft">{size}</span></p>')
    return section("Shown", "", "".join(items)) if items else ""


def _render_head(view: View) -> str:
    facts = f"{view.timeline.summary} · {view.seconds}"
    if paused := sum(pause.seconds for pause in view.timeline.pauses):
        facts += f", paused for {render_seconds(paused)}"
    identity = one_line(str(view.data["execution_id"]), 60)
    started = one_line(str(view.data["started_at"])[:19].replace("T", " "), 19)
    ending = view.ending
    return (
        f'<div class="ptc-head"><span class="ptc-status ptc-{ending.mood}" '
        f'title="{escape(ending.meaning)}">{escape(ending.sign)} {escape(ending.word)}</span> '
        f'<span>{escape(facts)}</span> <span class="ptc-soft ptc-right" '
        f'title="Execution {escape(identity)}, started at {escape(started)} UTC">'
        f"{escape(identity[:8])}</span></div>"
    )


def _render_failure(view: View, share: float) -> str:
    failure = view.failure
    if failure is None:
        return ""
    limit = round(ERROR_CHARS * share)
    message = escape(cut_middle(failure.message, limit))
    text = f"{failure.where}<b>{escape(failure.kind)}</b>{': ' if message else ''}{message}"
    if failure.hint:
        text += f"\nhint: {escape(cut_middle(failure.hint, limit))}"
    details = ""
    if failure.details is not None:
        title, text_read = failure.details
        details = (
            f'<details class="ptc-in"><summary>{title}</summary>'
            f"{_render_pre(text_read, DETAILS_CHARS * share)}</details>"
        )
    return f'<div class="ptc-error">{text}</div>{details}'


def _render_pre(text: str, limit: float) -> str:
    return f"<pre>{escape(cut_middle(text.strip(chr(10)), round(limit)))}</pre>"


# --- its code -------------------------------------------------------------------------------------

_LETTERS = {
    "k": "k",
    "ow": "k",
    "s": "s",
    "m": "d",
    "c": "c",
    **dict.fromkeys(["nf", "nc", "nd", "nb"], "f"),
}
"""A letter for what a piece is (`k`eyword, `s`tring, `d`igits, `f`unction, `c`omment), by Pygments' short
name for that or its first letter."""


def _render_lines(code: str, room: int) -> list[str]:
    """Return code line by line as HTML; in colours where Pygments is, as where notebooks are."""
    code = "\n".join(cut(line, room) for line in visible(code).rstrip("\n").split("\n"))
    pieces: Iterable[tuple[str, str]] = [("", code)]
    if len(code) <= MAX_COLOURED_CHARS:
        try:
            from pygments.lexers.python import PythonLexer
            from pygments.token import STANDARD_TYPES
        except ImportError:
            pass
        else:
            tokens = PythonLexer().get_tokens_unprocessed(code)
            named = ((STANDARD_TYPES.get(token, ""), text) for _, token, text in tokens)
            pieces = ((_LETTERS.get(n) or _LETTERS.get(n[:1], ""), text) for n, text in named)
    shown = (
        "\n".join(
            f'<span class="ptc-{letter}">{escape(part)}</span>' if letter and part else escape(part)
            for part in text.split("\n")
        )
        for letter, text in pieces
    )
    return "".join(shown).split("\n")


def _render_code(view: View, share: float) -> str:
    """Return code with a note below each line with which something is wrong."""
    room = round(LINE_CHARS * share)
    lines, parts, reached = _render_lines(view.code, room), [], 0
    for chosen in choose_lines(len(lines), view.marks, round(CODE_LINES * share)):
        parts.append(_render_lines_left_out(chosen.start - reached - 1))
        for number in chosen:
            marks = view.marks.get(number, ())
            parts.append(
                f'<span class="ptc-l{" ptc-hit" if marks else ""}"><span class="ptc-n">{number}</span>'
                f"{lines[number - 1]}\n</span>"
            )
            notes = (escape(one_line(mark, room)) for mark in marks)
            parts += (f'<span class="ptc-why">↑ {note}\n</span>' for note in notes)
        reached = chosen.stop - 1
    parts.append(_render_lines_left_out(len(lines) - reached))
    return f'<pre class="ptc-code"><code>{"".join(parts)}</code></pre>'


def _render_lines_left_out(lines: int) -> str:
    if not lines:
        return ""
    gone = count(lines, "line")
    return f'<span class="ptc-l ptc-soft"><span class="ptc-n">…</span>{gone} left out here\n</span>'


# --- its calls ------------------------------------------------------------------------------------

_MIN_WAIT_SECONDS = 0.0005


def _render_calls(timeline: Timeline, limit: int) -> str:
    if not timeline.bars:
        return ""
    shown = choose(timeline.bars, limit)
    width = max((len(each.note) for each in shown if isinstance(each, Bar)), default=0)
    rows = "".join(_render_row(each, timeline) for each in shown)
    key = ""
    if any(bar.waited >= _MIN_WAIT_SECONDS for bar in timeline.bars):
        key = '<p class="ptc-fine">thin: waiting for its turn, for a rate limit, between tries</p>'
    return section(
        "Tool calls",
        timeline.summary.partition(", ")[2],
        f'<div class="ptc-calls" style="--ptc-notes:{min(max(width, 8), 30)}ch">'
        f"<table><tbody>{_render_axis(timeline)}{rows}</tbody></table></div>{key}",
    )


def _render_axis(timeline: Timeline) -> str:
    pauses = "".join(
        f'<td class="ptc-wide ptc-soft">{pause.label} at {render_seconds(pause.at)}: the upright '
        "line</td>"
        for pause in timeline.pauses[:3]
    )
    return (
        '<tr><td></td><td><div class="ptc-axis"><span>0</span> '
        f"<span>{render_seconds(timeline.seconds)}</span></div></td><td></td>{pauses}</tr>"
    )


def _render_row(bar: Bar | Gap, timeline: Timeline) -> str:
    if isinstance(bar, Gap):
        return f'<tr><td class="ptc-wide ptc-soft">{bar.label}</td></tr>'
    line = bar.call.get("line")
    facts = [f"line {line}"] if isinstance(line, int) and line else []
    facts.append(f"from {render_seconds(bar.begin)}")
    if bar.waited >= _MIN_WAIT_SECONDS:
        ran = max(0.0, bar.seconds - bar.waited)
        facts.append(f"waited {render_seconds(bar.waited)}, ran {render_seconds(ran)}")
    mood = "" if bar.mood == "soft" else f" ptc-{bar.mood}"
    error = f'<td class="ptc-wide{mood}">{escape(bar.error)}</td>' if bar.error else ""
    return (
        f'<tr title="{", ".join(facts)}"><td class="ptc-one ptc-sign">'
        f"{escape(one_line(bar.label, 160))}</td><td>{_render_track(bar, timeline)}</td>"
        f'<td class="ptc-note{" ptc-soft" if bar.is_plain else mood}">{escape(bar.note)}</td>{error}</tr>'
    )


def _render_track(bar: Bar, timeline: Timeline) -> str:
    pauses = "".join(
        f'<i class="ptc-p" style="left:{timeline.share(pause.at) * 100:.4g}%"></i>'
        for pause in timeline.pauses
    )
    pieces = "".join(
        f'<i class="ptc-{form}" style="left:{begin * 100:.4g}%;width:{(end - begin) * 100:.4g}%"></i>'
        for form, begin, end in timeline.pieces(bar)
    )
    return f'<div class="ptc-track">{pauses}{pieces}</div>'


def _render_comparison(comparison: str) -> str:
    body = f'<p class="ptc-fine">{ESTIMATE}</p>'
    return comparison and section("Against direct calls", comparison, body, is_open=False)


# --- a run of a graph -----------------------------------------------------------------------------
# Messages are read by their attributes or keys, so that those of a checkpoint, or of another process, do as
# well as LangChain's own.

MAX_MESSAGES = 60
FIRST_MESSAGES = 10
MAX_TEXT_CHARS = 4_000
MAX_CALLS = 20
MAX_RESULTS_BYTES = 400_000

_WHO = {"human": "user", "ai": "model", "assistant": "model"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunView:
    """A run of a graph; it shows itself in notebooks and with `rich.print`."""

    steps: tuple[Step, ...]
    """Its messages, in order."""

    @property
    def summary(self) -> str:
        """What there is to see, in one line."""
        records = [step.record for step in self.steps if step.record is not None]
        parts = [count(sum(step.mood != "odd" for step in self.steps), "message")]
        if records:
            calls = sum(len(record["tool_calls"]) for record in records)
            parts.append(f"{count(len(records), 'execution')} with {count(calls, 'tool call')}")
        asked = sum(step.asked for step in self.steps)
        if asked > len(records):
            direct = count(asked - len(records), "other tool call")
            parts.append(f"{direct} by the model")
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"<run: {self.summary}>"

    def _repr_html_(self) -> str:
        left, room = MAX_RESULTS_BYTES, SHOWN_BYTES
        parts = [f'<div class="ptc-head"><b>Run</b> <span>{escape(self.summary)}</span></div>']
        for step in self._choose_steps():
            if isinstance(step, int):
                gap = f"… {count(step, 'message')} left out …"
                parts.append(f'<div class="ptc-said ptc-soft">{gap}</div>')
            elif step.record is None:
                parts.append(_render_step(step))
            else:
                body, shown = render_parts(step.record, room)
                size = len(body.encode())
                if size > left:
                    body = '<div class="ptc-head ptc-soft">left out here: show it by itself</div>'
                left -= min(size, left)
                room -= min(len(shown), room)
                parts.append(f'<div class="ptc-ran">{body.replace(SHOWN, shown)}</div>')
        return page("".join(parts))

    def __rich__(self) -> object:
        from langchain_ptc.display.terminal import render_steps

        return render_steps(self.summary, self._choose_steps())

    def _choose_steps(self) -> list[Step | int]:
        """Return the first and the last steps, and how many are left out between them."""
        steps = self.steps
        if len(steps) <= MAX_MESSAGES:
            return list(steps)
        last = len(steps) - (MAX_MESSAGES - FIRST_MESSAGES)
        return [*steps[:FIRST_MESSAGES], last - FIRST_MESSAGES, *steps[last:]]


def _render_step(step: Step) -> str:
    calls = "".join(f'<div class="ptc-sign">→ {escape(call)}</div>' for call in step.calls)
    return (
        f'<div class="ptc-said"><div class="ptc-{step.mood}">{escape(step.who)}</div> '
        f"<div>{escape(step.text)}{calls}</div></div>"
    )


def show_run(run: object, *, messages_key: str = "messages") -> RunView:
    """Return a view of a run of a graph, for a notebook or `rich.print`.

    It shows the messages in order, and in place of a message of `run_code` its execution: code, output,
    timeline of the calls. Pending questions come last.

    Args:
        run: The state that a graph returned, a snapshot (`graph.get_state(config)`), or a list of
            messages.
        messages_key: Where the state has its messages.

    Raises:
        TypeError: There are no messages in it.
    """
    state = run if isinstance(run, Mapping) else getattr(run, "values", run)
    messages: Any = state
    if isinstance(state, Mapping):
        messages = state.get(messages_key)
    elif not isinstance(state, Sequence):
        messages = getattr(state, messages_key, None)
    if (
        not isinstance(messages, Sequence)
        or isinstance(messages, str | bytes)
        or any(_get(message, "content") is None for message in messages)
    ):
        raise TypeError(
            f"show_run() found no messages in the {type(run).__name__}: pass the state that a graph "
            f"returned, with its list of messages under {messages_key!r} (or say messages_key=…), "
            "graph.get_state(config), or a list of messages"
        )
    interrupts = getattr(run, "interrupts", None) or (
        state.get("__interrupt__") if isinstance(state, Mapping) else ()
    )
    return RunView(steps=(*_read_messages(messages), *_read_questions(interrupts or ())))


def _get(message: object, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _read_messages(messages: Sequence[object]) -> Iterable[Step]:
    records = [_read_record(message) for message in messages]
    ran = {
        str(_get(message, "tool_call_id"))
        for message, record in zip(messages, records, strict=True)
        if record is not None
    }
    for message, record in zip(messages, records, strict=True):
        kind = str(_get(message, "type") or _get(message, "role") or "")
        name, is_error = _get(message, "name"), _get(message, "status") == "error"
        who = one_line(str(name), 40) if kind == "tool" and name else ""
        who = who or _WHO.get(kind) or one_line(kind, 20) or "message"
        calls, text = _get(message, "tool_calls"), _read_text(_get(message, "content")).strip("\n")
        yield Step(
            who=f"{who} ✗" if is_error else who,
            mood="bad" if is_error else "soft",
            text=visible(cut_middle(text, MAX_TEXT_CHARS)),
            calls=_read_calls(calls, ran),
            asked=len(calls) if who == "model" and isinstance(calls, Sequence) else 0,
            record=record,
        )


def _read_record(message: object) -> Mapping[str, Any] | None:
    """Return the execution that a message reports; a checkpointer gives it back as plain data."""
    data, content = as_record(_get(message, "artifact")), _get(message, "content")
    if data is None:
        return None
    # What the model was shown too is in the content alone.
    given = (_get(block, "base64") for block in (content if isinstance(content, list) else ()))
    data_of = filter(None, given)
    shown = [
        {**one, "data": one.get("data") or next(data_of, None)} for one in data.get("shown") or ()
    ]
    report_bytes = len(_read_text(content).encode("utf-8", "replace"))
    return {**data, "shown": shown, "report_bytes": report_bytes}


def _read_text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = []
    for block in content if isinstance(content, Sequence) else ():
        if isinstance(block, Mapping):
            text = block.get("text")
            kind = one_line(str(block.get("type")), 40)
            if isinstance(text, str):
                parts.append(text)
            elif kind not in ("tool_use", "tool_call", "function_call"):  # shown as calls
                parts.append(f"[{kind}]")
        else:
            parts.append(str(block))
    return "\n".join(parts)


def _read_calls(calls: object, ran: set[str]) -> tuple[str, ...]:
    """Return calls as they would be written; the code of those in `ran` is shown with its execution."""
    if not isinstance(calls, Sequence):
        return ()
    shown = [
        f"{one_line(str(_get(call, 'name')), 60)}"
        f"({'…' if str(_get(call, 'id')) in ran else render_arguments(_get(call, 'args'), 240)})"
        for call in calls[:MAX_CALLS]
    ]
    if len(calls) > MAX_CALLS:
        shown.append(f"… {count(len(calls) - MAX_CALLS, 'more call')} …")
    return tuple(shown)


def _read_questions(interrupts: object) -> Iterable[Step]:
    """Return what a graph that is interrupted waits for."""
    for interrupt in interrupts if isinstance(interrupts, Sequence) else ():
        value = _get(interrupt, "value")
        requests = value.get("action_requests") if isinstance(value, Mapping) else None
        text = "A person is asked to approve:"
        if not isinstance(requests, Sequence):
            text = f"A person is asked: {one_line(str(value), 400)}"
        yield Step(who="waiting", mood="odd", text=text, calls=_read_calls(requests, set()))
