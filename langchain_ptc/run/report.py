"""The text that the model reads after an execution: output, error, and what took effect."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from langchain_ptc.run.plain import clean_text, render_plain
from langchain_ptc.sandbox.api import Failure, Status
from langchain_ptc.sandbox.wire.large import is_large


class ToldCall(Protocol):
    """What a report reads of a `ToolCallRecord`."""

    @property
    def tool(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def defaults(self) -> Sequence[str]: ...
    @property
    def status(self) -> str: ...
    @property
    def approval(self) -> str | None: ...
    @property
    def is_read_only(self) -> bool: ...


class ToldResult(Protocol):
    """What a report reads of an `ExecutionResult`."""

    @property
    def status(self) -> Status: ...
    @property
    def output(self) -> str: ...
    @property
    def output_chars(self) -> int: ...
    @property
    def value(self) -> Any: ...
    @property
    def error(self) -> Failure | None: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def tool_calls(self) -> Sequence[ToldCall]: ...


NO_OUTPUT = "(no output)"
MAX_CALLS_TOLD = 20
MAX_ARGUMENTS_CHARS = 120


def render_report(result: ToldResult) -> str:
    """Render what the model reads: bounded in size, with both ends of long output."""
    parts = []
    if result.output.strip():
        parts.append(cut_middle(result.output.rstrip("\n"), result.output_chars))
    elif result.error is None and result.value is not None:
        parts.append(cut_middle(render_plain(result.value), result.output_chars))
    if result.error is not None:
        parts += _render_failure(result)
        parts += _render_calls(result.tool_calls)
    if not parts:
        parts.append(NO_OUTPUT)
    parts += [f"note: {note}" for note in result.notes]
    return clean_text("\n\n".join(parts))


def cut_middle(text: str, most: int) -> str:
    """Return `text`, or its head and tail around a line that says how much was cut.

    Lone surrogates are escapes in what it returns, and counted as such.
    """
    if len(text) <= most:
        text = clean_text(text)  # which may make it longer
    if len(text) <= most:
        return text
    head = most * 2 // 3
    tail = most - head
    gone = len(text) - most
    kept_head, kept_tail = clean_text(text[:head])[:head], clean_text(text[-tail:])[-tail:]
    return (
        f"{kept_head}\n[… {gone:,} of {len(text):,} characters cut: print less, or a summary …]\n"
        f"{kept_tail}"
    )


_OPENINGS = {
    "refused": "The code was not run: the sandbox does not accept",
    "sandbox": "The sandbox failed; this is no fault of the code:",
    "limit": "The code was stopped:",
    "denied": "The code ended because a person rejected a call:",
    "cancelled": "The execution was cancelled:",
}


def _render_failure(result: ToldResult) -> list[str]:
    failure = result.error
    assert failure is not None
    opening = _OPENINGS.get(result.status)
    if result.status == "error":
        told = failure.traceback or f"{failure.kind}: {failure.message}"
    elif failure.problems:
        told = failure.message
    elif failure.violations:
        told = f"{opening}\n" + "\n".join(f"- {violation}" for violation in failure.violations)
    elif failure.traceback:
        space = "\n" if failure.traceback.startswith("Traceback") else " "
        told = f"{opening}{space}{failure.traceback}"
    else:
        told = f"{opening} {failure.message}"
    return [told, f"hint: {failure.hint}"] if failure.hint else [told]


class _Ending(NamedTuple):
    """What the model is told of calls that ended alike."""

    one: str
    """Of one call."""
    many: str
    """Of several."""


_ENDINGS: Mapping[str, _Ending] = {
    "returned": _Ending(
        "took effect and must not be repeated", "took effect and must not be repeated"
    ),
    "answered": _Ending(
        "was answered by a person and not made", "were answered by a person and not made"
    ),
    "failed": _Ending(
        "reached its tool and failed, and may have taken effect all the same",
        "reached their tools and failed, and may have taken effect all the same",
    ),
    "cancelled": _Ending(
        "was still running and was cancelled, and may have taken effect",
        "were still running and were cancelled, and may have taken effect",
    ),
    "refused": _Ending(
        "was refused and did not reach its tool", "were refused and did not reach their tools"
    ),
    "denied": _Ending(
        "was rejected by a person and not made", "were rejected by a person and not made"
    ),
}
"""By how calls ended; in the order in which they are told."""


def _render_calls(calls: Sequence[ToldCall]) -> list[str]:
    """Say which calls took effect, so that the next attempt does not repeat them."""
    told = []
    groups: dict[str, list[ToldCall]] = {ending: [] for ending in _ENDINGS}
    only_read = 0
    for call in calls:
        ending = _ending_of(call)
        if ending is None:
            only_read += 1
        else:
            groups[ending].append(call)
    for ending, those in groups.items():
        if those:
            words = _ENDINGS[ending].one if len(those) == 1 else _ENDINGS[ending].many
            told.append(f"{_count(len(those))} {words}: {_name_calls(those)}")
    if only_read:
        words = "only read, and may be made again"
        told.append(f"{_count(only_read)} {words}")
    return told


def _ending_of(call: ToldCall) -> str | None:
    """Return how a call ended; None if it could only read."""
    if call.status == "returned" and call.approval == "respond":
        return "answered"
    may_have_changed = call.status in ("returned", "failed", "cancelled")
    return None if may_have_changed and call.is_read_only else call.status


def _count(calls: int) -> str:
    return "1 tool call" if calls == 1 else f"{calls} tool calls"


def _name_calls(calls: Sequence[ToldCall]) -> str:
    """Name calls, the first and the last ones if there are many."""
    if len(calls) <= MAX_CALLS_TOLD:
        return ", ".join(map(_name_call, calls))
    head, tail = calls[: MAX_CALLS_TOLD // 2], calls[-MAX_CALLS_TOLD // 2 :]
    gone = f"[… {len(calls) - len(head) - len(tail)} more …]"
    return ", ".join([*map(_name_call, head), gone, *map(_name_call, tail)])


def _name_call(call: ToldCall) -> str:
    passed = {name: value for name, value in call.arguments.items() if name not in call.defaults}
    arguments = ", ".join(f"{name}={_show(value)}" for name, value in passed.items())
    if len(arguments) > MAX_ARGUMENTS_CHARS:
        arguments = f"{arguments[:MAX_ARGUMENTS_CHARS]}…"
    return f"{call.tool}({arguments})"


def _show(value: object) -> str:
    if is_large(value):
        return reprlib.repr(value)
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python prints no integer of over 4,300 digits
        return render_plain(value)
