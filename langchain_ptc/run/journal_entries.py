"""The journal's entries about calls: which call each is of, and its outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from langgraph.runtime import get_runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_ptc.errors import ReplayError
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.journal import JournalEntry
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.record import ToolCallRecord
from langchain_ptc.sandbox.api import CallFailure

_MAX_PAYLOAD_BYTES = 256 * 1024
"""Larger results go to the graph's store: LangGraph may read each checkpoint as a whole."""
_NAMESPACE = "langchain_ptc"
_MAX_ARGUMENT_BYTES, _MAX_ARGUMENT_NAMES = 4096, 20
"""What an entry keeps of the arguments of a call, for a record of it without its code."""


def key_of(call: StartedCall, *, validated: bool = False) -> str:
    """Return what identifies a call: its number, its tool and a digest of its arguments.

    Args:
        call: The call.
        validated: Use the arguments that its tool gets, instead of those that the code passed.
    """
    return f"{call.number}:{call.tool}#{call.digest(validated=validated)}"


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


def write_call(outcome: CallOutcome, call: StartedCall) -> JournalEntry:
    """Return the entry of a call that has ended."""
    record = call.finish()
    if record.arguments_bytes > _MAX_ARGUMENT_BYTES:
        names = islice(record.arguments, _MAX_ARGUMENT_NAMES)
        record = replace(record, arguments=dict.fromkeys(names, "[…]"))
    data = {
        "note": call.to_note(),
        "call": record.to_dict(),
        "failure": None if outcome.failure is None else asdict(outcome.failure),
    }
    # LangGraph's own serializer refuses lone surrogates in text.
    payload = outcome.payload.encode("utf-8", "surrogatepass")
    entry: JournalEntry = {"told": json.dumps(data), "payload": payload}
    if outcome.commands:
        entry["commands"] = list(outcome.commands)
    return entry


def read_call(entry: JournalEntry) -> tuple[CallOutcome, Mapping[str, Any]]:
    """Return the outcome that `write_call` was given, and the note about the call."""
    data = json.loads(entry["told"])
    outcome = CallOutcome(
        payload=entry["payload"].decode("utf-8", "surrogatepass"),
        failure=None if data["failure"] is None else CallFailure(**data["failure"]),
        commands=tuple(entry.get("commands", ())),
    )
    return outcome, data["note"]


def read_records(
    entries: Iterable[JournalEntry],
) -> dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]]:
    """Return the records of the calls in a journal, and the commands of each, by number of the call."""
    calls: dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]] = {}
    for entry in entries:
        data = json.loads(entry["told"]).get("call") if "told" in entry else None
        if data is not None:
            call = ToolCallRecord.from_dict(data)
            number = int(call.call_id.rpartition(":")[2])
            calls[number] = call, tuple(entry.get("commands", ()))
    return calls


# --- large results ----------------------------------------------------------------------------------


async def store_large(entry: JournalEntry, call: StartedCall, *, sync: bool) -> JournalEntry:
    """Move a large result into the graph's store, if it has one; return the entry without it."""
    store, payload = get_runtime().store, entry["payload"]
    # A store in memory saves no space, and another process that resumes the graph has another one.
    if len(payload) <= _MAX_PAYLOAD_BYTES or store is None or isinstance(store, InMemoryStore):
        return entry
    namespace, key = (_NAMESPACE, call.execution_id), str(call.number)
    # Not every store accepts lone surrogates.
    text = payload.decode("utf-8", "surrogatepass")
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    if sync:
        await call_in_thread(lambda: store.put(namespace, key, {"payload": text}, index=False))
    else:
        await store.aput(namespace, key, {"payload": text}, index=False)
    return {**entry, "payload": b"", "aside": [list(namespace), key]}


async def load_large(entry: JournalEntry, *, sync: bool) -> JournalEntry:
    """Return the entry that `store_large` was given.

    Raises:
        ReplayError: The result is not in the store any more.
    """
    if "aside" not in entry:
        return entry
    store, item = get_runtime().store, None
    namespace, key = tuple(entry["aside"][0]), entry["aside"][1]
    if store is not None and sync:
        item = await call_in_thread(lambda: store.get(namespace, key))
    elif store is not None:
        item = await store.aget(namespace, key)
    if item is None:
        raise ReplayError(
            f"the result of call {key} was too large for the checkpoint and was put into the graph's "
            f"store, under {'/'.join(namespace)}; it is not there any more",
            call=key,
        )
    return {**entry, "payload": item.value["payload"].encode("utf-8")}
