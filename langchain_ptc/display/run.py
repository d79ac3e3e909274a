"""`show_run`: a conversation with what its code did, for notebooks and terminals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.display.reading import is_record
from langchain_ptc.display.result import render_body
from langchain_ptc.display.style import page
from langchain_ptc.display.text import (
    count,
    cut_middle,
    escape,
    one_line,
    render_arguments,
    visible,
)

MOST_MESSAGES = 60
FIRST_MESSAGES = 10
MOST_TEXT_CHARS = 4_000
MOST_CALLS = 20
MOST_CALL_CHARS = 240
MOST_RESULTS_BYTES = 400_000
MOST_PAGE_TEXT_CHARS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message of a run, or a question that it waits for."""

    who: str
    text: str
    calls: tuple[str, ...] = ()
    """The tools that the model asked for."""
    is_error: bool = False
    record: Mapping[str, Any] | None = None
    """The execution that a message of a tool tells of."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunView:
    """A run of a graph; it shows itself in notebooks and with `rich.print`."""

    steps: tuple[Step, ...]
    """Its messages, in order."""

    @property
    def summary(self) -> str:
        """What there is to see, in one line."""
        records = [step.record for step in self.steps if step.record is not None]
        parts = [count(sum(step.who != "waiting" for step in self.steps), "message")]
        if records:
            calls = sum(len(record["tool_calls"]) for record in records)
            parts.append(f"{count(len(records), 'execution')} with {count(calls, 'tool call')}")
        if direct := sum(len(step.calls) for step in self.steps if step.who == "model") - len(
            records
        ):
            parts.append(f"{count(max(direct, 0), 'other tool call')} by the model")
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"<run: {self.summary}>"

    def _repr_html_(self) -> str:
        left = MOST_RESULTS_BYTES
        parts = [f'<div class="ptc-head"><b>Run</b> <span>{escape(self.summary)}</span></div>']
        for step in _choose(self.steps):
            if isinstance(step, int):
                parts.append(
                    f'<div class="ptc-said ptc-soft">… {count(step, "message")} left out …</div>'
                )
            elif step.record is None:
                parts.append(_render_said(step))
            else:
                body = render_body(step.record)
                size = len(body.encode())
                if size > left:
                    body = '<div class="ptc-head ptc-soft">left out here: show it by itself</div>'
                left -= min(size, left)
                parts.append(f'<div class="ptc-ran">{body}</div>')
        return page("".join(parts))

    def __rich__(self) -> object:
        from langchain_ptc.display.conversation import render_steps

        return render_steps(self.summary, _choose(self.steps))


def show_run(run: object, *, messages_key: str = "messages") -> RunView:
    """Return a run of a graph as something that shows itself, in a notebook or with `rich.print`.

    It shows the messages in order, and in place of a message of `run_code` the execution that it tells
    of: code, output, calls in time. Questions that the run waits for come last.

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
    if not _are_messages(messages):
        raise TypeError(
            f"show_run() found no messages in the {type(run).__name__}: pass the state that a graph "
            f"returned, with its list of messages under {messages_key!r} (or say messages_key=…), "
            "graph.get_state(config), or a list of messages"
        )
    interrupts = getattr(run, "interrupts", None) or (
        state.get("__interrupt__") if isinstance(state, Mapping) else ()
    )
    return RunView(steps=(*_read_messages(messages), *_read_questions(interrupts or ())))


def _are_messages(messages: object) -> bool:
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        return False
    return all(_get(message, "content") is not None for message in messages)


def _get(message: object, name: str) -> Any:
    if isinstance(message, Mapping):
        return message.get(name)
    return getattr(message, name, None)


_WHO = {
    "human": "user",
    "user": "user",
    "ai": "model",
    "assistant": "model",
    "system": "system",
    "tool": "tool",
}


def _read_messages(messages: Iterable[object]) -> Iterable[Step]:
    read = list(messages)
    ran = {
        str(_get(message, "tool_call_id"))
        for message in read
        if _read_record(message, "") is not None
    }
    for message in read:
        kind = str(_get(message, "type") or _get(message, "role") or "")
        text = _read_text(_get(message, "content"))
        name = _get(message, "name")
        who = _WHO.get(kind, one_line(kind, 20) or "message")
        yield Step(
            who=one_line(str(name), 40) if who == "tool" and name else who,
            text=text,
            calls=tuple(_read_calls(_get(message, "tool_calls"), ran)),
            is_error=_get(message, "status") == "error",
            record=_read_record(message, text),
        )


def _read_record(message: object, text: str) -> Mapping[str, Any] | None:
    """Return the execution that a message tells of; a checkpointer gives it back as plain data."""
    artifact = _get(message, "artifact")
    to_dict = getattr(artifact, "to_dict", None)
    data = to_dict() if callable(to_dict) else artifact
    if isinstance(data, Mapping) and is_record(data):
        return {**data, "report_bytes": len(text.encode("utf-8", "replace"))}
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
            elif kind not in ("tool_use", "tool_call", "function_call"):  # told as calls
                parts.append(f"[{kind}]")
        else:
            parts.append(str(block))
    return "\n".join(parts)


def _read_calls(calls: object, ran: set[str]) -> Iterable[str]:
    for call in calls if isinstance(calls, Sequence) else ():
        name, arguments = _get(call, "name"), _get(call, "args")
        if str(_get(call, "id")) in ran:  # its code is shown with its execution
            yield f"{one_line(str(name), 60)}(…)"
        else:
            shown = (
                render_arguments(arguments, MOST_CALL_CHARS)
                if isinstance(arguments, Mapping)
                else ""
            )
            yield f"{one_line(str(name), 60)}({shown})"


def _read_questions(interrupts: object) -> Iterable[Step]:
    for interrupt in interrupts if isinstance(interrupts, Sequence) else ():
        value = _get(interrupt, "value")
        requests = value.get("action_requests") if isinstance(value, Mapping) else None
        if isinstance(requests, Sequence):
            calls = tuple(_read_calls(requests, set()))
            yield Step(who="waiting", text="A person is asked to approve:", calls=calls)
        else:
            yield Step(who="waiting", text=f"A person is asked: {one_line(str(value), 400)}")


def _choose(steps: Sequence[Step]) -> list[Step | int]:
    """Return the first and the last steps, and how many are left out between them."""
    if len(steps) <= MOST_MESSAGES:
        return list(steps)
    last = len(steps) - (MOST_MESSAGES - FIRST_MESSAGES)
    return [*steps[:FIRST_MESSAGES], last - FIRST_MESSAGES, *steps[last:]]


def shown_calls(step: Step) -> Iterable[str]:
    """Return the calls of a step, bounded."""
    yield from step.calls[:MOST_CALLS]
    if len(step.calls) > MOST_CALLS:
        yield f"… {count(len(step.calls) - MOST_CALLS, 'more call')} …"


def shown_text(step: Step) -> str:
    """Return the text of a step, safe and bounded."""
    return visible(cut_middle(step.text.strip("\n"), MOST_TEXT_CHARS))


def _render_said(step: Step) -> str:
    mood = "ptc-bad" if step.is_error else "ptc-odd" if step.who == "waiting" else "ptc-soft"
    calls = "".join(f'<div class="ptc-sign">→ {escape(call)}</div>' for call in shown_calls(step))
    text = escape(shown_text(step))
    who = f"{step.who} ✗" if step.is_error else step.who
    return (
        f'<div class="ptc-said"><div class="{mood}">{escape(who)}</div> '
        f"<div>{text}{calls}</div></div>"
    )
