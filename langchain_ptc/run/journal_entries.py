"""The journal's entries about calls, and what is raised where code takes another path than they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from langgraph.types import Command

from langchain_ptc.errors import ReplayError
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.journal import JournalEntry
from langchain_ptc.run.record import ToolCallRecord
from langchain_ptc.sandbox.api import CallFailure

_MAX_ARGUMENT_BYTES, _MAX_ARGUMENT_NAMES = 4096, 20
"""What an entry keeps of the arguments of a call, for a record of it without its code."""


def write_call(outcome: CallOutcome, call: StartedCall) -> JournalEntry:
    """Return the entry of a call that has ended."""
    record = call.finish()
    if record.arguments_bytes > _MAX_ARGUMENT_BYTES:
        names = islice(record.arguments, _MAX_ARGUMENT_NAMES)
        record = replace(record, arguments=dict.fromkeys(names, "[…]"))
    entry: JournalEntry = {"call": record.to_dict(), "payload": outcome.payload}
    if outcome.failure is not None:  # LangGraph's own serializer refuses lone surrogates in text
        entry["failure"] = json.dumps(asdict(outcome.failure))
    if outcome.commands:
        entry["commands"] = list(outcome.commands)
    return entry


def read_call(entry: JournalEntry) -> tuple[CallOutcome, ToolCallRecord]:
    """Return the outcome that `write_call` was given, and the record of the call."""
    outcome = CallOutcome(
        payload=entry["payload"],
        failure=CallFailure(**json.loads(entry["failure"])) if "failure" in entry else None,
        commands=tuple(entry.get("commands", ())),
    )
    return outcome, ToolCallRecord.from_dict(entry["call"])


def read_records(
    entries: Iterable[JournalEntry],
) -> dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]]:
    """Return the records of the calls in a journal, and the commands of each, by number of the call."""
    calls: dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]] = {}
    for event in (event for entry in entries for event in entry.get("events", ())):
        if "call" in event:
            call = ToolCallRecord.from_dict(event["call"])
            number = int(call.call_id.rpartition(":")[2])
            calls[number] = call, tuple(event.get("commands", ()))
    return calls


def diverged(recorded: str, now: str) -> ReplayError:
    """Return the error of code that came to `now` where it came to `recorded` before."""
    before, after = (re.sub("#[0-9a-f]{24}", "", key) for key in (recorded, now))
    where = f"it came to {after} where it came to {before} before"
    if before == after:
        where = f"it came to {after} with other arguments than before"
    return _path_error(where, after)


def ended_early(recorded: str, how: str) -> ReplayError:
    """Return the error of code that has ended where it came to `recorded` before.

    Args:
        recorded: The key of the entry.
        how: How the code has ended.
    """
    before = re.sub("#[0-9a-f]{24}", "", recorded)
    return _path_error(f"{how} where it came to {before} before", before)


def _path_error(where: str, call: str) -> ReplayError:
    return ReplayError(
        f"the code took another path when it was resumed: {where}. Calls that were made before the "
        "pause are not made again, and are not undone",
        call=call,
    )
