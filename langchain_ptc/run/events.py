"""The events of an execution.

Every event goes to three places: to `stream_mode="custom"` of the graph that the code runs in, to the
developer's `on_event`, and to the logger `langchain_ptc`. Events are plain JSON data (see
`run.plain.as_plain`); they name calls and how they ended, and contain no results. The page docs/logs.md has
the fields of each.

Each call has one `call_end`; a call that never reached its tool, such as one that a person rejected, has no
`call_start`. Of a call that took the result of an early one both are emitted when it does. What is replayed
after a pause is not emitted again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langgraph.config import get_stream_writer

from langchain_ptc.locks import new_lock
from langchain_ptc.run.calls import is_signal
from langchain_ptc.run.plain import as_plain, clean_text
from langchain_ptc.sandbox.api import Failure, Session

if TYPE_CHECKING:
    from langchain_ptc.run.calls import StartedCall
    from langchain_ptc.run.record import ExecutionResult

Event: TypeAlias = dict[str, Any]
OnEvent: TypeAlias = Callable[[Event], None]

SOURCE = "langchain_ptc"  # the `source` of every event: others write to the custom stream too

WATCH_SECONDS = 0.1
"""How often output is polled while the code computes or waits; at each call it is emitted at once."""

MAX_VIOLATIONS = 10

CALL_FIELDS = (
    "status",
    "duration_seconds",
    "waited_seconds",
    "ahead_seconds",
    "attempts",
    "is_cache_hit",
    "breaker",
    "arguments_bytes",
    "result_bytes",
    "error",
    "limit",
)
"""What the end of a call has of its record."""
EXECUTION_FIELDS = (
    "status",
    "duration_seconds",
    "computing_seconds",
    "waiting_seconds",
    "overlapping_seconds",
    "paused_seconds",
)
"""What the end of an execution has of its record."""
_LEVELS = {
    **dict.fromkeys(("execution_start", "execution_pause", "execution_end"), logging.INFO),
    **dict.fromkeys(("limit_reached", "breaker_open", "security_refusal"), logging.WARNING),
}
"""The levels of events in the log; the others are of the level `DEBUG`."""

logger = logging.getLogger("langchain_ptc")
logger.addHandler(logging.NullHandler())  # who wants to read it adds a handler


REPEATED_REFUSALS = 3
"""This many programs refused by the language, in one thread, are reported as a possible attack."""
REFUSALS_WITHIN_SECONDS = 600.0
_MAX_THREADS = 1_000
_MAX_KEPT = 100


class Refusals:
    """Counts programs that the sandbox's language refused, for each thread of a graph.

    One program that opens a file is a mistake. Several in a row, in one conversation, look like
    somebody probing the isolation boundary.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._times: OrderedDict[str | None, deque[float]] = OrderedDict()

    def note(self, thread_id: str | None) -> int:
        """Count a refused program; return how many there were lately, in its thread."""
        now = time.monotonic()
        with self._lock:
            times = self._times.setdefault(thread_id, deque(maxlen=_MAX_KEPT))
            self._times.move_to_end(thread_id)
            if len(self._times) > _MAX_THREADS:
                self._times.popitem(last=False)
            times.append(now)
            while times[0] < now - REFUSALS_WITHIN_SECONDS:
                times.popleft()
            return len(times)


class Events:
    """Emits the events of one execution."""

    def __init__(
        self,
        on_event: OnEvent | None = None,
        on_output: Callable[[str], None] | None = None,
        *,
        refusals: Refusals | None = None,
        thread_id: str | None = None,
    ) -> None:
        self.execution_id = ""
        self._refusals = refusals or Refusals()
        self._thread_id = thread_id
        self._limits_seen: set[str] = set()
        self._on_event = on_event
        self._on_output = on_output
        self._write = _stream_writer()
        self.is_watched = self._write is not None or on_event is not None
        """Events have a listener other than the log."""
        self.is_heard = self.is_watched or logger.isEnabledFor(logging.DEBUG)
        """Events of calls have a listener."""
        self.shows_output = self.is_heard or on_output is not None  # what is printed has a listener
        self._emitted_chars = 0
        self._ended: set[int] = set()  # numbers of the calls whose end was emitted
        self.is_replay = False  # what is printed was emitted before a pause

    def go_live(self, output: str) -> None:
        """Note that the code is where it was when it was paused, with all this output."""
        if self.is_replay:
            self.is_replay = False
            self._emitted_chars = len(output)

    def emit(self, event: str, *, plain: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Emit an event; what is in `plain` is plain data already."""
        level = _LEVELS.get(event, logging.DEBUG)
        if not (self.is_watched or logger.isEnabledFor(level)):
            return
        data: Event = as_plain(
            {
                "source": SOURCE,
                "event": event,
                "execution_id": self.execution_id,
                "at": time.time(),
                **fields,
            }
        )
        data |= plain or {}
        logger.log(
            level,
            "%s %s %s",
            self.execution_id,
            event,
            fields.get("tool") or fields.get("status") or "",
            extra={"execution_id": self.execution_id, "ptc": data},
        )
        if self._write is not None:
            self._write(data)
        if self._on_event is not None:
            try:
                self._on_event(data)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and is_signal(error):
                    raise  # a person's Ctrl-C
                logger.exception("on_event failed for %s of %s", event, self.execution_id)

    def emit_output(self, output: str) -> None:
        """Emit what was printed since the last time; `output` is all that was."""
        if len(output) > self._emitted_chars and not self.is_replay:
            text = clean_text(output[self._emitted_chars :])
            self._emitted_chars = len(output)
            self.emit("output", text=text)
            if self._on_output is not None:
                self._on_output(text)

    async def watch(self, session: Session) -> None:
        """Emit what the code prints, periodically, until it is cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.emit_output(session.output)

    def emit_call_start(self, call: StartedCall) -> None:
        """Emit that a call begins."""
        plain = {"arguments": call.plain_arguments()}
        self.emit("call_start", **names_of(call), line=call.line, plain=plain)

    def emit_call_progress(self, call: StartedCall, state: str, text: str) -> None:
        """Emit what a tool says of a call before it ends."""
        self.emit("call_progress", **names_of(call), state=state, text=text)

    def emit_call_end(self, call: StartedCall) -> None:
        """Emit how a call ended, and alerts about it."""
        self._ended.add(call.number)
        record, names = call.finish(), names_of(call)
        self.emit(
            "call_end",
            **names,
            line=record.line,
            approval=record.approval,
            approved_by=record.approved_by,
            started_at=record.started_at.timestamp(),
            **{name: getattr(record, name) for name in CALL_FIELDS},
            plain={"arguments": call.plain_arguments()},
        )
        if record.limit is not None:
            self._limits_seen.add(record.limit)
            self.emit("limit_reached", limit=record.limit, allowed=None, used=None, **names)
        if record.breaker == "open":
            self.emit("breaker_open", **names)

    def emit_result(self, result: ExecutionResult, calls: Sequence[StartedCall]) -> None:
        """Emit what is left when the execution is over, and how it ended."""
        if self.shows_output:
            self.emit_output(result.output)
        for call in calls:
            is_alert = call.limit is not None or call.breaker == "open"
            is_new = not call.is_replayed and call.number not in self._ended
            if is_new and (self.is_heard or is_alert):
                self.emit_call_end(call)
        error = result.error
        if error is not None and error.limit is not None and error.limit not in self._limits_seen:
            self.emit("limit_reached", limit=error.limit, allowed=error.allowed, used=error.used)
        if error is not None:
            self._note_refusal(error)
        if not (self.is_watched or logger.isEnabledFor(logging.INFO)):
            return
        self.emit(
            "execution_end",
            **{name: getattr(result, name) for name in EXECUTION_FIELDS},
            tool_calls=len(result.tool_calls),
            output_chars=len(result.output),
            error=None if error is None else f"{error.kind}: {error.message}",
        )

    def _note_refusal(self, error: Failure) -> None:
        """Count a program that the language refuses; the check before the run finds some of that first."""
        modules = [problem for problem in error.problems if problem.module]
        violations = [str(found) for found in (*error.violations, *modules)]
        refusals = self._refusals.note(self._thread_id) if violations else 0
        if refusals >= REPEATED_REFUSALS:
            self.emit(
                "security_refusal",
                refusals=refusals,
                thread_id=self._thread_id,
                violations=violations[:MAX_VIOLATIONS],
            )


def names_of(call: StartedCall) -> dict[str, Any]:
    """Return what an event names a call by."""
    tool = call.definition
    return {"call_id": call.call_id, "tool": tool.name, "domain": tool.domain}


def _stream_writer() -> Callable[[Any], None] | None:
    """Return what writes to the custom stream of the surrounding graph; None if nobody reads that.

    LangGraph has no public way to ask. Where nobody does, its writer is a function that does nothing.
    """
    try:
        writer = get_stream_writer()
    except (KeyError, RuntimeError):  # outside a graph
        return None
    return None if _body_of(writer) == _body_of(lambda _: None) else writer


def _body_of(function: object) -> object:
    code = getattr(function, "__code__", None)
    return code and (code.co_code, code.co_consts)
