"""How an execution ended, where the sandbox alone cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from langchain_ptc.errors import ReplayError, SandboxError
from langchain_ptc.run.calls import StartedCall
from langchain_ptc.sandbox.api import Done, Failure, Status

_MOST_CHARS_COMPARED = 1_000
"""The sandbox cuts long messages in the middle."""
_AROUND_LINES = " |+-"
"""What stands before the lines of the exceptions of a group."""


def status_of(done: Done, calls: Iterable[StartedCall]) -> Status:
    """Return how an execution ended: `denied` if the code did not catch that a call was rejected.

    The sandbox sees only that the code raised. It was the rejection if what it raised says what a
    rejected call was told, and nothing else: the error itself, or a group of such errors.
    """
    failure = done.failure
    if done.status != "error" or failure is None:
        return done.status
    told = failure.message
    if failure.kind.endswith("ExceptionGroup"):
        told = told.partition(": ")[2]
    elif failure.kind != "ToolCallError":
        return done.status
    denied = [call.error for call in calls if call.status == "denied" and call.error]
    if any(told[:_MOST_CHARS_COMPARED] == error[:_MOST_CHARS_COMPARED] for error in denied):
        return "denied"
    for error in denied:
        told = told.replace(f"ToolCallError: {error}", "")
    return "error" if not denied or told.strip("; ") else "denied"


def hide_secrets(
    failure: Failure | None, calls: Iterable[StartedCall], code: Iterable[str]
) -> Failure | None:
    """Return why an execution failed without the secrets that were passed to tools.

    Args:
        failure: Why it failed; None if it did not.
        calls: The calls that it made.
        code: The lines of the code, which stay as they are, as the code itself does.
    """
    if failure is None:
        return None
    calls = [call for call in calls if call.has_secrets]
    if not calls:
        return failure
    lines = {line.strip() for line in code}
    trace = [
        line if line.strip(_AROUND_LINES) in lines else _hide(line, calls)
        for line in failure.traceback.split("\n")
    ]
    return replace(failure, message=_hide(failure.message, calls), traceback="\n".join(trace))


def _hide(text: str, calls: Iterable[StartedCall]) -> str:
    for call in calls:
        text = call.hide(text)
    return text


def end_of_replay(error: ReplayError) -> Done:
    """Return the end of code that took another path when it was resumed."""
    return Done(status="error", failure=Failure(kind="ReplayError", message=str(error)))


def end_by(error: BaseException, output: str) -> Done:
    """Return the end of an execution that something outside of the code has ended.

    Args:
        error: What passes through it.
        output: What the code has printed until then.
    """
    if isinstance(error, SandboxError):
        failure = Failure(kind="SandboxError", message=str(error))
        return Done(status="sandbox", output=output, failure=failure)
    kind = type(error).__name__
    told = "by whoever ran it" if isinstance(error, asyncio.CancelledError) else f"by a {kind}"
    failure = Failure(kind=kind, message=f"the execution was ended {told}")
    return Done(status="cancelled", output=output, failure=failure)
