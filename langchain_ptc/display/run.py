"""`show_run`: a conversation with what its code did, for notebooks and terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.display.result import render_body
from langchain_ptc.display.steps import (
    Step,
    are_messages,
    choose_steps,
    read_messages,
    read_questions,
    shown_calls,
    shown_text,
)
from langchain_ptc.display.style import page
from langchain_ptc.display.text import count, escape

MOST_RESULTS_BYTES = 400_000


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
        asked = sum(len(step.calls) for step in self.steps if step.who == "model")
        if asked > len(records):
            direct = count(asked - len(records), "other tool call")
            parts.append(f"{direct} by the model")
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"<run: {self.summary}>"

    def _repr_html_(self) -> str:
        left = MOST_RESULTS_BYTES
        parts = [f'<div class="ptc-head"><b>Run</b> <span>{escape(self.summary)}</span></div>']
        for step in choose_steps(self.steps):
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

        return render_steps(self.summary, choose_steps(self.steps))


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
    if not are_messages(messages):
        raise TypeError(
            f"show_run() found no messages in the {type(run).__name__}: pass the state that a graph "
            f"returned, with its list of messages under {messages_key!r} (or say messages_key=…), "
            "graph.get_state(config), or a list of messages"
        )
    interrupts = getattr(run, "interrupts", None) or (
        state.get("__interrupt__") if isinstance(state, Mapping) else ()
    )
    return RunView(steps=(*read_messages(messages), *read_questions(interrupts or ())))


def _render_said(step: Step) -> str:
    mood = "ptc-bad" if step.is_error else "ptc-odd" if step.who == "waiting" else "ptc-soft"
    calls = "".join(f'<div class="ptc-sign">→ {escape(call)}</div>' for call in shown_calls(step))
    text = escape(shown_text(step))
    who = f"{step.who} ✗" if step.is_error else step.who
    return (
        f'<div class="ptc-said"><div class="{mood}">{escape(who)}</div> '
        f"<div>{text}{calls}</div></div>"
    )
