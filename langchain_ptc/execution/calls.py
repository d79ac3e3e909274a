"""One tool call on its way: from what the code asked for to its record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from langgraph.types import Command

from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.execution.record import ApprovalDecision, CallStatus, ToolCallRecord
from langchain_ptc.sandbox.base import Call, CallFailure, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the code is given for a call, and what the graph is."""

    payload: str = "null"
    """The value, encoded; see `sandbox.values`."""
    failure: CallFailure | None = None
    commands: tuple[Command[Any], ...] = ()
    """What the tool asked the graph to do."""

    def as_result(self, number: int) -> Result:
        """Return it as the sandbox takes it."""
        return Result(id=number, payload=self.payload, failure=self.failure)


class StartedCall:
    """One call while it runs; becomes a `ToolCallRecord`."""

    def __init__(
        self,
        call: Call,
        definition: ToolDefinition,
        *,
        execution_id: str,
        call_id: str,
        source_line: str = "",
    ) -> None:
        self.number = call.id
        self.args = call.args
        self.kwargs = call.kwargs
        self.line = call.line
        self.source_line = source_line
        self.definition = definition
        self.execution_id = execution_id
        self.call_id = call_id
        self.arguments: Mapping[str, Any] | None = None
        self.status: CallStatus = "refused"
        self.approval: ApprovalDecision | None = None
        self.error: str | None = None
        self.result_bytes = 0
        self._started_at = datetime.now(UTC)
        self._clock = time.monotonic()
        self._seconds: float | None = None

    def bind(self) -> dict[str, Any]:
        """Settle what the tool is given.

        Raises:
            ToolCallError: The arguments do not fit the tool.
        """
        bound = self.definition.bind(self.args, self.kwargs)
        self.arguments = bound
        return bound

    def reach(self) -> None:
        """Note that the tool itself begins: from here on the call may take effect."""
        self.status = "cancelled"

    def fail(self, error: str) -> None:
        """Note why it gave no value; a call that never reached its tool was refused."""
        self.error = error
        self.end("failed" if self.status == "cancelled" else self.status)

    def deny(self) -> None:
        """Note that a person does not want it made."""
        self.status = "denied"

    def end(self, status: CallStatus) -> None:
        """Note how it ended."""
        self.status = status
        self._seconds = time.monotonic() - self._clock

    def finish(self) -> ToolCallRecord:
        """Return its record."""
        if self._seconds is None:
            self._seconds = time.monotonic() - self._clock
            self.error = "the execution ended first"
        arguments = self.arguments
        if arguments is None:
            arguments = {**{f"argument {n}": a for n, a in enumerate(self.args, 1)}, **self.kwargs}
        return ToolCallRecord(
            call_id=self.call_id,
            execution_id=self.execution_id,
            tool=self.definition.name,
            domain=self.definition.domain,
            arguments=arguments,
            line=self.line,
            status=self.status,
            approval=self.approval,
            started_at=self._started_at,
            duration_seconds=self._seconds,
            result_bytes=self.result_bytes,
            error=self.error,
        )

    # --- the journal --------------------------------------------------------------------------------

    def to_note(self) -> dict[str, Any]:
        """Return how it ended, in terms of JSON, for the journal."""
        return {
            "status": self.status,
            "error": self.error,
            "bytes": self.result_bytes,
            "at": self._started_at.isoformat(),
            "seconds": self._seconds,
        }

    def read_note(self, note: Mapping[str, Any]) -> None:
        """Take over how it ended when it was really made."""
        self.status = note["status"]
        self.error = note["error"]
        self.result_bytes = note["bytes"]
        self._started_at = datetime.fromisoformat(note["at"])
        self._seconds = note["seconds"]
