"""An execution's record as HTML, for notebooks and pages. Pure.

The page is bounded: what is too much is left out, and the page says so. It needs no script. Where its
style is taken away, as GitHub does, it is still read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_ptc.display import saving
from langchain_ptc.display.listing import find_marks, render_listing
from langchain_ptc.display.reading import (
    Bar,
    Gap,
    Timeline,
    choose,
    ending_of,
    read_number,
    read_timeline,
)
from langchain_ptc.display.style import page
from langchain_ptc.display.text import (
    count,
    cut_middle,
    escape,
    escape_middle,
    fit,
    one_line,
    render_bytes,
    render_json,
    render_seconds,
)

MOST_OUTPUT_CHARS = 20_000
MOST_OUTPUT_BYTES = 62_000
MOST_VALUE_CHARS = 4_000
MOST_ERROR_CHARS = 2_000
MOST_ERROR_BYTES = 8_000
MOST_TRACEBACK_CHARS = 4_000
MOST_NOTE_CHARS = 600
NOTES = (20, 5, 1)
ROWS = (60, 30, 15, 6, 2)
MOST_ROWS_BYTES = 44_000


def render_html(data: Mapping[str, Any]) -> str:
    """Return the record of an execution as a page of its own.

    Args:
        data: What `ExecutionResult.to_dict()` returns, and `report_bytes`, the size of what the model
            read of it, if the page is to say what the code saved.
    """
    return page(render_body(data))


def render_body(data: Mapping[str, Any]) -> str:
    """Return the record of an execution as HTML without the style that it needs."""
    timeline = read_timeline(data)
    comparison = saving.compare(data, timeline)
    parts = [
        _render_head(data, timeline),
        _render_error(data),
        _render_code(data),
        _render_output(data),
        _render_calls(timeline),
        "" if comparison is None else _render_saving(comparison, timeline),
    ]
    return "".join(parts)


def section(title: str, about: str, body: str, *, is_open: bool = True) -> str:
    """Return a part of a page that can be folded; `title` and `about` are text, `body` is HTML."""
    more = f' <span class="ptc-soft">{escape(about)}</span>' if about else ""
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(title)}{more}</summary>"
        f"{body}</details>"
    )


def _render_head(data: Mapping[str, Any], timeline: Timeline) -> str:
    ending = ending_of(data["status"])
    facts = [timeline.summary, render_seconds(read_number(data.get("duration_seconds")))]
    if paused := sum(pause.seconds for pause in timeline.pauses):
        facts[-1] += f", paused for {render_seconds(paused)}"
    identity = one_line(str(data["execution_id"]), 60)
    started = one_line(str(data["started_at"])[:19].replace("T", " "), 19)
    return (
        f'<div class="ptc-head"><span class="ptc-status ptc-{ending.mood}" '
        f'title="{escape(ending.told)}">{escape(ending.sign)} {escape(ending.word)}</span> '
        f"<span>{escape(' · '.join(facts))}</span> "
        f'<span class="ptc-soft ptc-right" title="Execution {escape(identity)}, started at '
        f'{escape(started)} UTC">{escape(identity[:8])}</span></div>'
    )


def _render_error(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    if not isinstance(error, Mapping):
        return ""
    kind, message = str(error.get("kind") or "error"), str(error.get("message") or "")
    line, trace = error.get("line"), str(error.get("traceback") or "")
    is_list = bool(error.get("problems") or error.get("violations"))
    where = f"line {line}: " if isinstance(line, int) and line > 0 and not is_list else ""
    first = _render_text(message.partition("\n")[0] if is_list else message)
    told = f"{where}<b>{escape(one_line(kind, 80))}</b>{': ' if first else ''}{first}"
    if hint := error.get("hint"):
        told += f"\nhint: {_render_text(str(hint))}"
    more = ""
    if is_list:  # each stands at its line of the code
        more = _fold("All that is wrong, as the model read it", message)
    elif trace.startswith("Traceback") and trace.count("\n  line ") > 1:
        more = _fold("Traceback, as the model read it", trace)
    return f'<div class="ptc-error">{told}</div>{more}'


def _render_text(text: str) -> str:
    return escape_middle(text, MOST_ERROR_CHARS, most_bytes=MOST_ERROR_BYTES)


def _fold(title: str, text: str) -> str:
    shown = escape_middle(text.strip("\n"), MOST_TRACEBACK_CHARS, most_bytes=MOST_ERROR_BYTES)
    return f'<details class="ptc-in"><summary>{title}</summary><pre>{shown}</pre></details>'


def _render_code(data: Mapping[str, Any]) -> str:
    code = str(data["code"])
    lines = code.count("\n") + (not code.endswith("\n")) if code else 0
    return section("Code", count(lines, "line"), render_listing(code, find_marks(data)))


def _render_output(data: Mapping[str, Any]) -> str:
    output = str(data["output"])
    told = _render_notes([str(note) for note in data.get("notes") or ()])
    if output.strip():
        return section("Output", describe_output(data), _render_pre(output) + told)
    if data.get("value") is not None and data.get("error") is None:
        value = cut_middle(render_json(data["value"]), MOST_VALUE_CHARS)
        return section("Value", "nothing was printed", _render_pre(value) + told)
    return section("Output", "nothing was printed", told, is_open=bool(told))


def _render_notes(notes: Sequence[str]) -> str:
    def render(most: int) -> str:
        shown = "".join(
            f'<p class="ptc-fine">note: {escape(cut_middle(note, MOST_NOTE_CHARS))}</p>'
            for note in notes[:most]
        )
        more = len(notes) - most
        return shown + (f'<p class="ptc-fine">… {count(more, "note")} more</p>' if more > 0 else "")

    return fit(render, NOTES, MOST_ERROR_BYTES)


def describe_output(data: Mapping[str, Any]) -> str:
    """Say how much was printed, and how much of it the model was shown."""
    output = str(data["output"])
    told = render_bytes(len(output.encode("utf-8", "replace")))
    most = read_number(data.get("output_chars"))
    if most and len(output) > most:
        told += f", of which the model was shown {most:,.0f} characters"
    return told


def _render_pre(text: str) -> str:
    shown = escape_middle(text.strip("\n"), MOST_OUTPUT_CHARS, most_bytes=MOST_OUTPUT_BYTES)
    return f"<pre>{shown}</pre>"


# --- the calls ------------------------------------------------------------------------------------

_KEY = (
    ("ptc-w", "waiting: its turn, a rate limit, between tries"),
    ("ptc-returned", "running"),
    ("ptc-cached", "cached"),
    ("ptc-failed", "failed"),
    ("ptc-cancelled", "cancelled"),
    ("ptc-unmade", "denied or refused"),
    ("ptc-p", "paused for a person"),
)
"""What the forms mean. Each is told in words as well, where it is met."""


def _render_calls(timeline: Timeline) -> str:
    if not timeline.bars:
        return ""

    def render(most: int) -> str:
        shown = choose(timeline.bars, most)
        width = max((len(_note_of(each)) for each in shown if isinstance(each, Bar)), default=0)
        rows = "".join(_render_row(each, timeline) for each in shown)
        return (
            f'<div class="ptc-calls" style="--ptc-notes:{min(max(width, 8), 30)}ch">'
            f"<table><tbody>{_render_axis(timeline)}{rows}</tbody></table></div>"
        )

    return section(
        "Tool calls",
        timeline.summary.partition(", ")[2],
        fit(render, ROWS, MOST_ROWS_BYTES) + _render_key(timeline),
    )


def _render_axis(timeline: Timeline) -> str:
    pauses = "".join(
        f'<td class="ptc-wide ptc-soft">paused for {render_seconds(p.seconds)} at '
        f"{render_seconds(p.at)}: the upright line</td>"
        for p in timeline.pauses[:3]
    )
    return (
        '<tr><td></td><td><div class="ptc-axis"><span>0</span> '
        f"<span>{render_seconds(timeline.seconds)}</span></div></td><td></td>{pauses}</tr>"
    )


def render_gap(gap: Gap) -> str:
    """Say what is left out, as text."""
    special = f", {gap.special:,} of them with something to tell" if gap.special else ""
    return f"… {count(gap.calls, 'more call')}{special} …"


def _render_row(bar: Bar | Gap, timeline: Timeline) -> str:
    if isinstance(bar, Gap):
        return f'<tr><td class="ptc-wide ptc-soft">{render_gap(bar)}</td></tr>'
    called = f"{bar.tool}({bar.arguments})"
    where = f"line {bar.line}" if bar.line else ""
    tip = ", ".join(filter(None, [where, f"from {render_seconds(bar.begin)}", *_explain(bar)]))
    mood = {"failed": " ptc-bad", "returned": ""}.get(bar.status, " ptc-odd")
    error = (
        f'<td class="ptc-wide{mood}">{escape(bar.error)}</td>'
        if bar.error and bar.status != "cancelled"
        else ""
    )
    return (
        f'<tr title="{escape(tip)}"><td class="ptc-one ptc-sign">'
        f"{escape(one_line(called, 160))}</td>"
        f"<td>{_render_track(bar, timeline)}</td>"
        f'<td class="ptc-note{mood if bar.marks else " ptc-soft"}">'
        f"{escape(_note_of(bar))}</td>{error}</tr>"
    )


def _note_of(bar: Bar) -> str:
    return " · ".join([render_seconds(bar.seconds), *bar.marks])


def _explain(bar: Bar) -> Sequence[str]:
    if bar.waited < 0.0005:
        return ()
    return (f"waited {render_seconds(bar.waited)}, ran {render_seconds(bar.running)}",)


def _render_track(bar: Bar, timeline: Timeline) -> str:
    whole = timeline.seconds or 1.0
    parts = [f'<i class="ptc-p" style="left:{_share(p.at, whole)}"></i>' for p in timeline.pauses]
    begins = bar.begin + bar.waited
    if bar.waited > 0:
        parts.append(_render_piece("ptc-w", bar.begin, begins, whole))
    parts.append(_render_piece(f"ptc-{bar.kind}", begins, bar.end, whole))
    return f'<div class="ptc-track">{"".join(parts)}</div>'


def _render_piece(name: str, begin: float, end: float, whole: float) -> str:
    return (
        f'<i class="{name}" style="left:{_share(begin, whole)};'
        f'width:{_share(end - begin, whole)}"></i>'
    )


def _share(part: float, whole: float) -> str:
    return f"{min(max(part / whole, 0.0), 1.0) * 100:.4g}%"


def _render_key(timeline: Timeline) -> str:
    met = {f"ptc-{bar.kind}" for bar in timeline.bars}
    if any(bar.waited >= 0.0005 for bar in timeline.bars):
        met.add("ptc-w")
    if timeline.pauses:
        met.add("ptc-p")
    if met == {"ptc-returned"}:
        return ""
    shown = [
        f'<span><span class="ptc-track"><i class="{name}" style="left:'
        f'{"50%" if name == "ptc-p" else "0;width:100%"}"></i></span>{words}</span>'
        for name, words in _KEY
        if name in met
    ]
    return f'<div class="ptc-key">{" ".join(shown)}</div>'


# --- what it saved --------------------------------------------------------------------------------


def _render_saving(comparison: saving.Comparison, timeline: Timeline) -> str:
    first, second, third = saving.COLUMNS
    head = (
        f'<tr><th></th><th class="ptc-num">{first}</th><th class="ptc-num">{second}</th>'
        f'<th class="ptc-num">{third}</th></tr>'
    )
    body = "".join(
        f'<tr><th>{name}</th><td class="ptc-num ptc-own">{cells[0]}</td>'
        f'<td class="ptc-num">{cells[1]}</td><td class="ptc-num">{cells[2]}</td></tr>'
        for name, cells in saving.rows(comparison)
    )
    return section(
        "Against direct calls",
        saving.headline(comparison),
        f'<div class="ptc-scroll"><table class="ptc-costs"><tbody>{head}{body}</tbody></table></div>'
        f'<p class="ptc-fine">{escape(saving.explain(timeline))}</p>',
        is_open=False,
    )
