"""The messages of a run -> the steps that a person is shown. Pure.

Messages are read by their attributes or keys, so that those of a checkpoint, or of another process, do
as well as LangChain's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.display.reading import is_record
from langchain_ptc.display.text import count, cut_middle, one_line, render_arguments, visible

MOST_MESSAGES = 60
FIRST_MESSAGES = 10
MOST_TEXT_CHARS = 4_000
MOST_CALLS = 20
MOST_CALL_CHARS = 240


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


def are_messages(messages: object) -> bool:
    """Whether it is a list of messages, or of the dicts of messages."""
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


def read_messages(messages: Iterable[object]) -> Iterable[Step]:
    """Return messages as steps, in order."""
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


def read_questions(interrupts: object) -> Iterable[Step]:
    """Return what a graph that is interrupted waits for."""
    for interrupt in interrupts if isinstance(interrupts, Sequence) else ():
        value = _get(interrupt, "value")
        requests = value.get("action_requests") if isinstance(value, Mapping) else None
        if isinstance(requests, Sequence):
            calls = tuple(_read_calls(requests, set()))
            yield Step(who="waiting", text="A person is asked to approve:", calls=calls)
        else:
            yield Step(who="waiting", text=f"A person is asked: {one_line(str(value), 400)}")


def choose_steps(steps: Sequence[Step]) -> list[Step | int]:
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
