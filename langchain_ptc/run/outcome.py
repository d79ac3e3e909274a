"""What an execution came to, for the graph that it runs in, and as the ending record of a journal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from langgraph.types import Command

from langchain_ptc.run.journal import Record
from langchain_ptc.run.record import ExecutionResult
from langchain_ptc.sandbox.wire.values import encode_value, revive


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an execution came to, for the graph that it runs in."""

    result: ExecutionResult
    commands: tuple[Command[Any], ...] = ()
    """What the graph is told for the tools; see `GraphState.commands`."""
    kept: bytes | None = None
    """The variables of the code, for the next execution of its session; None if there are none."""


def write_outcome(outcome: Outcome) -> Record:
    """Return the ending record of a journal."""
    result = {**outcome.result.to_dict(), "value": encode_value(outcome.result.value)}
    # As text: LangGraph's own serializer keeps no lone surrogate, which code may well have printed.
    told = json.dumps(result)
    return {"result": told, "commands": list(outcome.commands), "kept": outcome.kept}


def read_outcome(record: Record) -> Outcome:
    """Return what `write_outcome` was given."""
    told = json.loads(record["result"])
    result = ExecutionResult.from_dict(
        {**told, "value": json.loads(told["value"], object_hook=revive)}
    )
    return Outcome(result=result, commands=tuple(record["commands"]), kept=record["kept"])
