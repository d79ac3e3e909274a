"""The text that the model reads after an execution: output, error, and what took effect."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from langchain_ptc.run.plain import clean_text, render_plain
from langchain_ptc.sandbox.wire.large import is_large
from langchain_ptc.wording import cut

if TYPE_CHECKING:  # a record renders itself
    from langchain_ptc.run.record import ExecutionResult, ToolCallRecord

NO_OUTPUT = "(no output)"
MAX_CALLS_NAMED = 20
MAX_ARGUMENTS_CHARS = 120


def render_report(result: ExecutionResult) -> str:
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


def cut_middle(text: str, limit: int) -> str:
    """Return `text`, or its head and tail around a line that says how much was cut.

    Lone surrogates are escapes in what it returns, and counted as such.
    """
    if len(text) <= limit:
        text = clean_text(text)  # which may make it longer
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    gone = len(text) - limit
    kept_head, kept_tail = clean_text(text[:head])[:head], clean_text(text[-tail:])[-tail:]
    return (
        f"{kept_head}\n[… {gone:,} of {len(text):,} characters cut: print less, or a summary …]\n"
        f"{kept_tail}"
    )


_OPENINGS = {
    "refused": "The code was not run: the sandbox does not accept",
    "sandbox": "The sandbox failed; the code is not at fault:",
    "limit": "The code was stopped:",
    "denied": "The code ended because a person rejected a call:",
    "cancelled": "The execution was cancelled:",
}


def _render_failure(result: ExecutionResult) -> list[str]:
    failure = result.error
    assert failure is not None
    opening = _OPENINGS.get(result.status)
    if result.status == "error":
        text = failure.traceback or f"{failure.kind}: {failure.message}"
    elif failure.problems:
        text = failure.message
    elif failure.violations:
        text = f"{opening}\n" + "\n".join(f"- {violation}" for violation in failure.violations)
    elif failure.traceback:
        space = "\n" if failure.traceback.startswith("Traceback") else " "
        text = f"{opening}{space}{failure.traceback}"
    else:
        text = f"{opening} {failure.message}"
    return [text, f"hint: {failure.hint}"] if failure.hint else [text]


_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "returned": ("took effect and must not be repeated",) * 2,
    "answered": ("was answered by a person and not made", "were answered by a person and not made"),
    "failed": (
        "reached its tool and failed, and may have taken effect all the same",
        "reached their tools and failed, and may have taken effect all the same",
    ),
    "cancelled": (
        "was still running and was cancelled, and may have taken effect",
        "were still running and were cancelled, and may have taken effect",
    ),
    "refused": (
        "was refused and did not reach its tool",
        "were refused and did not reach their tools",
    ),
    "denied": ("was rejected by a person and not made", "were rejected by a person and not made"),
    "read": ("only read, and may be made again",) * 2,
}
"""What the model reads about one call, and about several, by how they ended; in this order."""


def _render_calls(calls: Sequence[ToolCallRecord]) -> list[str]:
    """Say which calls took effect, so that the next attempt does not repeat them."""
    groups: dict[str, list[ToolCallRecord]] = {outcome: [] for outcome in _OUTCOMES}
    for call in calls:
        groups[_outcome_of(call)].append(call)
    lines = []
    for outcome, those in groups.items():
        if those:
            count = "1 tool call" if len(those) == 1 else f"{len(those)} tool calls"
            line = f"{count} {_OUTCOMES[outcome][len(those) > 1]}"
            lines.append(line if outcome == "read" else f"{line}: {_name_calls(those)}")
    return lines


def _outcome_of(call: ToolCallRecord) -> str:
    if call.status == "returned" and call.approval == "respond":
        return "answered"
    may_have_changed = call.status in ("returned", "failed", "cancelled")
    return "read" if may_have_changed and call.is_read_only else call.status


def _name_calls(calls: Sequence[ToolCallRecord]) -> str:
    """Name calls, the first and the last ones if there are many."""
    if len(calls) <= MAX_CALLS_NAMED:
        return ", ".join(map(_name_call, calls))
    head, tail = calls[: MAX_CALLS_NAMED // 2], calls[-MAX_CALLS_NAMED // 2 :]
    gone = f"[… {len(calls) - len(head) - len(tail)} more …]"
    return ", ".join([*map(_name_call, head), gone, *map(_name_call, tail)])


def _name_call(call: ToolCallRecord) -> str:
    passed = {name: value for name, value in call.arguments.items() if name not in call.defaults}
    arguments = ", ".join(f"{name}={_show(value)}" for name, value in passed.items())
    return f"{call.tool}({cut(arguments, MAX_ARGUMENTS_CHARS + 1)})"


def _show(value: object) -> str:
    if is_large(value):
        return reprlib.repr(value)
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python prints no integer of over 4,300 digits
        return render_plain(value)
