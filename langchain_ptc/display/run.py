"""`show_run`: a conversation with what its code did, for notebooks and terminals.

Messages are read by their attributes or keys, so that those of a checkpoint, or of another process, do
as well as LangChain's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.display.html import SHOWN, SHOWN_BYTES, page, render_parts
from langchain_ptc.display.record import Step, is_record
from langchain_ptc.display.text import (
    cut_middle,
    escape,
    one_line,
    render_arguments,
    visible,
)
from langchain_ptc.wording import count

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
    artifact = _get(message, "artifact")
    to_dict = getattr(artifact, "to_dict", None)
    data = to_dict() if callable(to_dict) else artifact
    if isinstance(data, Mapping) and is_record(data):
        content = _get(message, "content")
        text = _read_text(content)
        # What the model was shown too is in the content alone.
        given = (_get(block, "base64") for block in (content if isinstance(content, list) else ()))
        data_of = filter(None, given)
        shown = [
            {**one, "data": one.get("data") or next(data_of, None)}
            for one in data.get("shown") or ()
        ]
        return {**data, "shown": shown, "report_bytes": len(text.encode("utf-8", "replace"))}
    return None


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
