"""How an execution ends: its status, and what the surrounding graph gets of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from langgraph.types import Command

from langchain_ptc.errors import SandboxError
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.run.journal import JournalEntry
from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.sandbox.api import Done, Failure, Status
from langchain_ptc.sandbox.wire.values import decode_value, encode_value

_MAX_CHARS_COMPARED = 1_000
"""The sandbox cuts long messages in the middle."""
_GROUP_MARKS = " |+-"
"""What precedes the lines of the exceptions of a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an execution gives to the graph that it runs in."""

    result: ExecutionResult
    commands: tuple[Command[Any], ...] = ()
    """What the tools ask of the graph; see `GraphState.commands`."""
    kept: bytes | None = None
    """The variables of the code, for the next execution of its session; None if there are none."""


def write_outcome(outcome: Outcome) -> JournalEntry:
    """Return the last entry of a journal."""
    return {
        "result": replace(outcome.result, value=None).to_dict(),
        "value": encode_value(outcome.result.value),
        "commands": list(outcome.commands),
        "kept": outcome.kept,
    }


def read_outcome(entry: JournalEntry) -> Outcome:
    """Return the outcome that `write_outcome` was given."""
    data = {**entry["result"], "value": decode_value(entry["value"])}
    result = ExecutionResult.from_dict(data)
    return Outcome(result=result, commands=tuple(entry["commands"]), kept=entry["kept"])


def status_of(done: Done, calls: Iterable[StartedCall]) -> Status:
    """Return how an execution ended: `denied` if the code did not catch the rejection of a call.

    The sandbox sees only that the code raised. The rejection was the cause if the error has the message
    of a rejected call, and nothing else: the error itself, or a group of such errors.
    """
    failure = done.failure
    if done.status != "error" or failure is None:
        return done.status
    message = failure.message
    if failure.kind.endswith("ExceptionGroup"):
        message = message.partition(": ")[2]
    elif failure.kind != "ToolCallError":
        return done.status
    denied = [call.error for call in calls if call.status == "denied" and call.error]
    if any(message[:_MAX_CHARS_COMPARED] == error[:_MAX_CHARS_COMPARED] for error in denied):
        return "denied"
    for error in denied:
        message = message.replace(f"ToolCallError: {error}", "")
    return "error" if not denied or message.strip("; ") else "denied"


def hide_secrets(failure: Failure, calls: Iterable[StartedCall], code: Iterable[str]) -> Failure:
    """Return why an execution failed, without the secrets that were passed to tools.

    Args:
        failure: Why it failed.
        calls: The calls that it made.
        code: The lines of the code, which stay as they are, as the code itself does.
    """
    calls = [call for call in calls if call.has_secrets]
    if not calls:
        return failure
    lines = {line.strip() for line in code}
    trace = [
        line if line.strip(_GROUP_MARKS) in lines else _hide(line, calls)
        for line in failure.traceback.split("\n")
    ]
    return replace(failure, message=_hide(failure.message, calls), traceback="\n".join(trace))


def _hide(text: str, calls: Iterable[StartedCall]) -> str:
    for call in calls:
        text = call.hide(text)
    return text


def ended_by(error: BaseException, output: str) -> Done:
    """Return the end of an execution that an error outside of the code has ended.

    Args:
        error: The error.
        output: What the code has printed until then.
    """
    if isinstance(error, SandboxError):
        failure = Failure(kind="SandboxError", message=str(error))
        return Done(status="sandbox", output=output, failure=failure)
    kind = type(error).__name__
    cause = "by its caller" if isinstance(error, asyncio.CancelledError) else f"by a {kind}"
    failure = Failure(kind=kind, message=f"the execution was ended {cause}")
    return Done(status="cancelled", output=output, failure=failure)
