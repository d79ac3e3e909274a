"""What the journal's records say: how a call is told from another, and what it gave."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from langgraph.runtime import get_runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_ptc.errors import ReplayError
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.journal import Record
from langchain_ptc.run.private_loop import call_in_thread
from langchain_ptc.run.record import ToolCallRecord
from langchain_ptc.sandbox.api import CallFailure

_MOST_BYTES = 256 * 1024
"""Larger results go to the graph's store: each checkpoint of the graph may be read whole."""
_NAMESPACE = "langchain_ptc"
_MOST_BYTES_TOLD, _MOST_NAMES_TOLD = 4096, 20
"""Of the arguments of a call, for those who are told of it without its code."""


def key_of(call: StartedCall, *, validated: bool = False) -> str:
    """Return what tells a call from any other: its number, its tool and its arguments.

    Args:
        call: The call.
        validated: By the arguments that its tool gets, and not by what the code passed.
    """
    return f"{call.number}:{call.definition.qualified_name}#{call.digest(validated=validated)}"


def parted(recorded: str, now: str) -> ReplayError:
    """Return the error of code that came to `now` where it came to `recorded` before."""
    before, after = (re.sub("#[0-9a-f]{24}", "", key) for key in (recorded, now))
    told = f"came to {after} where it came to {before} before"
    if before == after:
        told = f"came to {after} with other arguments than before"
    return ReplayError(
        f"the code took another path when it was resumed: it {told}. Calls that were made before the "
        "pause are not made again, and are not undone",
        call=after,
    )


def ended_early(recorded: str, how: str) -> ReplayError:
    """Return the error of code that has ended where it came to `recorded` before.

    Args:
        recorded: The key of the event.
        how: How it has ended.
    """
    before = re.sub("#[0-9a-f]{24}", "", recorded)
    return ReplayError(
        f"the code took another path when it was resumed: {how} where it came to {before} before. Calls "
        "that were made before the pause are not made again, and are not undone",
        call=before,
    )


def write_answer(answer: CallOutcome, call: StartedCall) -> Record:
    """Return the record of a call that was answered."""
    told = {
        "note": call.to_note(),
        "call": _to_tell(call),
        "failure": None if answer.failure is None else asdict(answer.failure),
    }
    # LangGraph's own serializer keeps no lone surrogate in a text.
    payload = answer.payload.encode("utf-8", "surrogatepass")
    record: Record = {"told": json.dumps(told), "payload": payload}
    if answer.commands:
        record["commands"] = list(answer.commands)
    return record


def _to_tell(call: StartedCall) -> dict[str, Any]:
    """Return what is told of a call where the code does not come to it again; large arguments cut."""
    record = call.finish()
    if record.arguments_bytes > _MOST_BYTES_TOLD:
        names = islice(record.arguments, _MOST_NAMES_TOLD)
        record = replace(record, arguments=dict.fromkeys(names, "[…]"))
    return record.to_dict()


def read_calls(
    records: Iterable[Record],
) -> dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]]:
    """Return the calls that a journal holds, and what each asked of the graph, by their numbers."""
    calls: dict[int, tuple[ToolCallRecord, tuple[Command[Any], ...]]] = {}
    for record in records:
        told = json.loads(record["told"]).get("call") if "told" in record else None
        if told is not None:
            call = ToolCallRecord.from_dict(told)
            number = int(call.call_id.rpartition(":")[2])
            calls[number] = call, tuple(record.get("commands", ()))
    return calls


def read_answer(record: Record) -> tuple[CallOutcome, Mapping[str, Any]]:
    """Return what `write_answer` was given, the call as its note."""
    told = json.loads(record["told"])
    answer = CallOutcome(
        payload=record["payload"].decode("utf-8", "surrogatepass"),
        failure=None if told["failure"] is None else CallFailure(**told["failure"]),
        commands=tuple(record.get("commands", ())),
    )
    return answer, told["note"]


# --- large results ----------------------------------------------------------------------------------


async def put_aside(record: Record, call: StartedCall, *, sync: bool) -> Record:
    """Put a large result into the graph's store, if it has one, and keep where it is."""
    store, payload = get_runtime().store, record["payload"]
    # A store in memory saves no space, and would not be there where another process goes on.
    if len(payload) <= _MOST_BYTES or store is None or isinstance(store, InMemoryStore):
        return record
    namespace, key = (_NAMESPACE, call.execution_id), str(call.number)
    value = {"payload": _as_text(payload)}
    if sync:
        await call_in_thread(lambda: store.put(namespace, key, value, index=False))
    else:
        await store.aput(namespace, key, value, index=False)
    return {**record, "payload": b"", "aside": [list(namespace), key]}


async def bring_back(record: Record, *, sync: bool) -> Record:
    """Return the record as it was before `put_aside`.

    Raises:
        ReplayError: It is not in the store any more.
    """
    if "aside" not in record:
        return record
    store: BaseStore | None = get_runtime().store
    namespace, key = tuple(record["aside"][0]), record["aside"][1]
    item = None
    if store is not None:
        found = store
        item = (
            await call_in_thread(lambda: found.get(namespace, key))
            if sync
            else await found.aget(namespace, key)
        )
    if item is None:
        raise ReplayError(
            f"the result of call {key} was too large for the checkpoint and was put into the graph's "
            f"store, under {'/'.join(namespace)}; it is not there any more",
            call=key,
        )
    return {**record, "payload": item.value["payload"].encode("utf-8")}


def _as_text(payload: bytes) -> str:
    """Return JSON as text that any store can keep: lone surrogates are escaped."""
    text = payload.decode("utf-8", "surrogatepass")
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
