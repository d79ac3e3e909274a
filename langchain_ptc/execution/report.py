"""The text that the model reads after an execution: output, error, and what took effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from langchain_ptc.execution.plain import render_plain
from langchain_ptc.sandbox.base import Failure, Status


class ToldCall(Protocol):
    """What a report reads of a `ToolCallRecord`."""

    @property
    def tool(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def status(self) -> str: ...


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
    # A lone surrogate can be neither stored nor sent by anything that a message goes through.
    return "\n\n".join(parts).encode("utf-8", "backslashreplace").decode()


def cut_middle(text: str, most: int) -> str:
    """Return `text`, or its head and tail around a line that says how much was cut."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    tail = most - head
    gone = len(text) - most
    return (
        f"{text[:head]}\n[… {gone:,} of {len(text):,} characters cut: print less, or a summary …]\n"
        f"{text[-tail:]}"
    )


_OPENINGS = {
    "refused": "The code was not run: the sandbox does not accept",
    "sandbox": "The sandbox failed; this is no fault of the code:",
    "limit": "The code was stopped:",
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
        told = f"{opening} {failure.traceback}"
    else:
        told = f"{opening} {failure.message}"
    return [told, f"hint: {failure.hint}"] if failure.hint else [told]


def _render_calls(calls: Sequence[ToldCall]) -> list[str]:
    """Say which calls took effect, so that the next attempt does not repeat them."""
    told = []
    for status, words in (
        ("returned", "took effect and must not be repeated"),
        ("failed", "reached the tool and failed"),
        ("cancelled", "still running, now cancelled, may have taken effect"),
        ("refused", "refused before the tool was reached"),
        ("denied", "rejected by a person and not made"),
    ):
        those = [call for call in calls if call.status == status]
        if those:
            told.append(f"{_count(those)} ({words}): {', '.join(_name_calls(those))}")
    return told


def _count(calls: Sequence[ToldCall]) -> str:
    return "1 tool call" if len(calls) == 1 else f"{len(calls)} tool calls"


def _name_calls(calls: Sequence[ToldCall]) -> Iterable[str]:
    for call in calls[:MAX_CALLS_TOLD]:
        arguments = ", ".join(f"{name}={_show(value)}" for name, value in call.arguments.items())
        if len(arguments) > MAX_ARGUMENTS_CHARS:
            arguments = f"{arguments[:MAX_ARGUMENTS_CHARS]}…"
        yield f"{call.tool}({arguments})"
    if len(calls) > MAX_CALLS_TOLD:
        yield f"and {len(calls) - MAX_CALLS_TOLD} more"


def _show(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python prints no integer of over 4,300 digits
        return render_plain(value)
