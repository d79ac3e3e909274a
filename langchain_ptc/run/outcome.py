"""How an execution ends, what the surrounding graph gets of it, and what its journal has of its calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from operator import attrgetter
from typing import Any, TypeAlias

from langgraph.types import Command

from langchain_ptc.errors import ReplayError
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.journal import JournalEntry
from langchain_ptc.run.plain import as_plain
from langchain_ptc.run.record import ExecutionResult, ToolCallRecord
from langchain_ptc.sandbox.api import CallFailure, Done, Failure, Status
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import encode_value

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
    plain: dict[str, Any] | None = None
    """The result as plain data, if it was needed for a journal."""


def write_outcome(outcome: Outcome) -> tuple[Outcome, JournalEntry]:
    """Return an outcome with its plain data, and the last entry of its journal."""
    plain = outcome.result.to_dict()
    return replace(outcome, plain=plain), {
        "result": {**plain, "value": None},
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


# --- entries of the journal about calls -----------------------------------------------------------

_MAX_ARGUMENT_BYTES, _MAX_ARGUMENT_NAMES = 4096, 20
"""How much of a call's arguments an entry has, for a record of the call without its code."""


_FIELDS = {field.name: field.default for field in fields(ToolCallRecord)}
"""Names of what a record has, and the defaults, which no entry repeats."""
_read_fields = attrgetter(*_FIELDS)
_PLAIN = frozenset({bool, int, float, type(None)})
"""Of a record, these are plain data as they are."""


def write_call(outcome: CallOutcome, call: StartedCall) -> JournalEntry:
    """Return the entry of a call that has ended."""
    record = call.finish()
    given = {
        name: value if type(value) in _PLAIN else as_plain(value)
        for (name, default), value in zip(_FIELDS.items(), _read_fields(record), strict=True)
        if value is not default and name != "arguments"
    }
    if record.arguments_bytes > _MAX_ARGUMENT_BYTES:
        names = islice(record.arguments, _MAX_ARGUMENT_NAMES)
        given["arguments"] = as_plain(dict.fromkeys(names, "[…]"))
    else:
        given["arguments"] = call.plain_arguments()
    entry: JournalEntry = {"call": given, "payload": outcome.payload}
    if outcome.failure is not None:  # LangGraph's own serializer refuses lone surrogates in text
        entry["failure"] = json.dumps(asdict(outcome.failure))
    if outcome.commands:
        entry["commands"] = list(outcome.commands)
    return entry


RecordedCalls: TypeAlias = Mapping[int, tuple[CallOutcome, ToolCallRecord]]
"""What a journal has of the calls that were made, by number: the outcome and the record of each."""


def read_calls(entries: Iterable[JournalEntry]) -> RecordedCalls:
    """Return the calls in a journal."""
    events = (event for entry in entries for event in entry.get("events", ()) if "call" in event)
    return {int(read[1].call_id.rpartition(":")[2]): read for read in map(_read_call, events)}


def _read_call(entry: JournalEntry) -> tuple[CallOutcome, ToolCallRecord]:
    outcome = CallOutcome(
        payload=entry["payload"],
        failure=CallFailure(**json.loads(entry["failure"])) if "failure" in entry else None,
        commands=tuple(entry.get("commands", ())),
    )
    return outcome, ToolCallRecord.from_dict(entry["call"])


def diverged(recorded: str, now: str) -> ReplayError:
    """Return the error of code that reached `now` where it had reached `recorded` before."""
    before, after = (re.sub("#[0-9a-f]{24}", "", key) for key in (recorded, now))
    where = f"it reached {after} where it had reached {before} before"
    if before == after:
        where = f"it reached {after} with different arguments than before"
    return _path_error(where, after)


def ended_early(recorded: str, how: str) -> ReplayError:
    """Return the error of code that has ended, as `how` says, where it had reached `recorded` before."""
    before = re.sub("#[0-9a-f]{24}", "", recorded)
    return _path_error(f"{how} where it had reached {before} before", before)


def _path_error(where: str, call: str) -> ReplayError:
    return ReplayError(
        f"the code took another path when it was resumed: {where}. Calls that were made before the "
        "pause are not made again, and are not undone",
        call=call,
    )
