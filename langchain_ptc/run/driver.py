"""Drive an execution: start its calls, deliver their results to the code, and say how it ended.

`LiveDriver` drives one that is not replayed: calls start when the code makes them, and results are
delivered as they arrive. `ReplayDriver` keeps a journal.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.catalog.definition import current_call
from langchain_ptc.errors import MachineLost, ReplayError, SandboxError, ToolCallError, count
from langchain_ptc.run.budgets import BudgetExhausted, BudgetMeter, current_meter, is_of_budget
from langchain_ptc.run.calls import CallContext, CallOutcome, Pipeline, StartedCall, Time
from langchain_ptc.run.journal import JournalEntry
from langchain_ptc.run.plain import as_plain
from langchain_ptc.run.record import ExecutionResult, ToolCallRecord
from langchain_ptc.sandbox.api import (
    Call,
    CallFailure,
    Done,
    Failure,
    Program,
    Result,
    Session,
    Status,
)
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import encode_value

if TYPE_CHECKING:
    from langchain_ptc.run.approvals import Approvals
    from langchain_ptc.run.events import Events
    from langchain_ptc.run.graph_state import GraphState
    from langchain_ptc.run.prefetcher import Prefetcher

CANCEL_SECONDS = 0.2
"""How long tools that are cancelled at the end of an execution may take to stop."""

_SETTLE_SECONDS = 0.02
"""How long the error of an exhausted budget is delayed: calls that the code has already made are not
counted as made after it."""


_UNAPPROVED = "{} needs the approval of a person, which takes a graph with a checkpointer; this code runs without one"
_LAST_SECONDS = 0.001
"""A call that was admitted has some time, even if its budget has none left by now."""


_NO_CONFIG: RunnableConfig = {}


@dataclass(kw_only=True, eq=False)
class Driver:
    """One execution: makes the calls of its code, and delivers their results."""

    session: Session
    program: Program
    context: CallContext
    calls: list[StartedCall]  # those that the code has made; for its record
    pipelines: Mapping[str, Pipeline]  # by the qualified name of the tool
    meter: BudgetMeter | None
    approvals: Approvals
    graph_state: GraphState
    events: Events
    config: RunnableConfig  # the caller's: its callbacks, tags and metadata are passed to the tools
    prefetcher: Prefetcher | None

    def __post_init__(self) -> None:
        limits, prefetcher = self.context.limits, self.prefetcher
        self._time = Time(limits.tool_seconds, "tool_seconds")
        self._turns = (
            asyncio.Semaphore(limits.max_concurrent_calls)
            if prefetcher is None
            else prefetcher.turns
        )
        self._used: dict[str, int] = {}
        is_plain = self.meter is None and prefetcher is None
        self.answer = Driver._call if is_plain else Driver._answer  # bound, it would be a cycle

    async def run(self) -> Done:
        """Run the code to its end.

        Raises:
            BudgetExhausted: The code went on calling when its budget was spent.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            ReplayError: The code took another path than before the pause.
            SandboxError: The machine could not start a worker.
        """
        raise NotImplementedError

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the code has run, without pauses; None if there can be no pause."""
        return None

    @property
    def waiting(self) -> int:
        """How many questions wait for a person."""
        return 1

    async def admit(self, call: StartedCall) -> CallOutcome | None:
        """Settle the arguments of a call and count it, waiting for large ones only; return the outcome of a refusal."""
        if self.meter is not None:
            call.knows_budget = self.meter.has_warned
        try:
            if call.is_large:
                await call_in_thread(call.prepare)
            else:
                call.settle()
            if call.definition.policy.max_calls is not None:
                self.count(call)
        except ToolCallError as error:
            return call.refuse(error)
        if self.prefetcher is not None:
            self.prefetcher.note(call)
        return None

    def count(self, call: StartedCall) -> None:
        """Count a call of a tool with a limit of calls; raises `ToolCallError` over it."""
        name, limit = call.tool, call.definition.policy.max_calls
        used = self._used[name] = self._used.get(name, 0) + 1
        if limit is not None and used > limit:
            raise ToolCallError(
                f"{name} may be called at most {count(limit, 'time')} in one execution", tool=name
            )

    async def _answer(self, call: StartedCall) -> CallOutcome:
        """Charge a call, and make it or take the result of one that was made early; see `_call`."""
        if self.meter is not None:
            call.config = self.meter.watch(call, call.config)
            current_meter.set(self.meter)
            try:
                self.meter.charge(call)
            except ToolCallError as error:
                return call.refuse(error)
        if self.prefetcher is None:
            return await self._call(call)
        call.seconds_left = self._time_left().seconds
        outcome = await self.prefetcher.answer(call, self._call)
        if call.ahead_seconds and self.events.is_heard:
            self.events.emit_call_start(call)
            self.events.emit_call_end(call)
        return outcome

    async def _call(self, call: StartedCall) -> CallOutcome:
        """Make a call that was admitted, when it is its turn; `GraphBubbleUp` if its tool interrupted the graph."""
        events = self.events
        if self._turns.locked():
            if self.prefetcher is not None:
                self.prefetcher.make_way()
            began = time.monotonic()
            await self._turns.acquire()
            call.waited_seconds += time.monotonic() - began
        else:
            await self._turns.acquire()
        try:
            if events.is_heard:
                events.emit_call_start(call)
            call.time = self._time if self.meter is None else self._time_left()
            call.seconds_left = call.time.seconds
            current_call.set(call)
            outcome = await self.pipelines[call.tool](call)
            call.end("returned", outcome.size)
        except ToolCallError as error:
            outcome = call.refuse(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # the tool was cancelled, not this task
            outcome = call.refuse(ToolCallError(f"{call.tool} was cancelled", tool=call.tool))
        finally:
            self._turns.release()
        if events.is_heard or call.limit is not None or call.breaker == "open":
            events.emit_call_end(call)
        return outcome

    def _time_left(self) -> Time:
        if self.meter is None:
            return self._time
        seconds, limit = self.meter.seconds_left()
        if seconds >= self._time.seconds:
            return self._time
        return Time(max(seconds, _LAST_SECONDS), limit)

    def accept(
        self, call: StartedCall, outcome: CallOutcome, *, is_replayed: bool = False
    ) -> Result:
        """Note the outcome of a call, and return it for the code. `BudgetExhausted`: the code was warned before."""
        if self.meter is not None:
            self.meter.record(call, outcome, is_replayed=is_replayed)
        if outcome.commands:
            self.graph_state.write(call.number, outcome.commands)
        call.config = _NO_CONFIG  # a dozen objects in a graph; the call is kept for its record
        return Result(id=call.number, payload=outcome.payload, failure=outcome.failure)


@dataclass(kw_only=True, eq=False)
class LiveDriver(Driver):
    """Drives an execution that is not replayed. Nobody can be asked: calls that need an approval are refused."""

    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _running: asyncio.Future[Done] | None = field(default=None, init=False)
    _broken: BaseException | None = field(default=None, init=False)

    async def run(self) -> Done:
        """Run the code to its end; see `Driver.run`."""
        self._running = asyncio.ensure_future(self.session.run(self.program, self._begin))
        try:
            return await self._running
        except MachineLost as error:  # without a journal it cannot go on elsewhere
            return ended_by(error, self.session.output)
        except asyncio.CancelledError:
            if self._broken is not None:
                raise self._broken from None
            self._running.cancel()
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS)

    def _begin(self, calls: Sequence[Call]) -> None:
        if self.events.shows_output:
            self.events.emit_output(self.session.output)
        for asked in calls:
            call = StartedCall(asked, self.context, self.graph_state.current)
            self.calls.append(call)
            task = asyncio.ensure_future(self._make(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _make(self, call: StartedCall) -> None:
        try:
            outcome = await self.admit(call)
            if outcome is None and call.tool in self.approvals.rules:
                outcome = call.refuse(ToolCallError(_UNAPPROVED.format(call.tool), tool=call.tool))
            if outcome is None:
                call.config = self.config
                outcome = await self.answer(self, call)
            if outcome.failure is not None and is_of_budget(outcome.failure.limit):
                await asyncio.sleep(_SETTLE_SECONDS)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the caller's to see, not the code's
            # Awaited, a GeneratorExit would close the coroutine that awaits it.
            is_closing = isinstance(error, GeneratorExit)
            self._break(RuntimeError("GeneratorExit was raised") if is_closing else error)
            return
        try:
            self.session.resume([self.accept(call, outcome)])
        except BudgetExhausted as error:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        assert self._running is not None
        self._broken = error
        self._running.cancel()


def ended_by(error: BaseException, output: str) -> Done:
    """Return the end of an execution that an error outside of the code has ended."""
    if isinstance(error, SandboxError):
        failure = Failure(kind="SandboxError", message=str(error))
        return Done(status="sandbox", output=output, failure=failure)
    kind = type(error).__name__
    cause = "by its caller" if isinstance(error, asyncio.CancelledError) else f"by a {kind}"
    failure = Failure(kind=kind, message=f"the execution was ended {cause}")
    return Done(status="cancelled", output=output, failure=failure)


_MAX_CHARS_COMPARED = 1_000  # the sandbox cuts long messages in the middle
_GROUP_MARKS = " |+-"  # what precedes the lines of the exceptions of a group


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an execution gives to the graph that it runs in."""

    result: ExecutionResult
    commands: tuple[Command[Any], ...] = ()
    """What the tools ask of the graph; see `GraphState.commands`."""
    kept: bytes | None = None
    """The variables of the code, for the next execution of its session; None if there are none."""
    plain: dict[str, Any] | None = None  # the result as plain data, if it was needed for a journal


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
    """Return why an execution failed, without secrets that were passed to tools; lines of the code stay as they are."""
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
_PLAIN = frozenset({bool, int, float, type(None)})  # of a record, these are plain data as they are


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


def diverged(recorded: str, now: str = "", *, ending: str = "") -> ReplayError:
    """Return the error of code that reached `now`, or ended so, where it had reached `recorded` before."""
    before, after = (re.sub("#[0-9a-f]{24}", "", key) for key in (recorded, now or recorded))
    where = f"{ending or f'it reached {after}'} where it had reached {before} before"
    if before == after and not ending:
        where = f"it reached {after} with different arguments than before"
    return ReplayError(
        f"the code took another path when it was resumed: {where}. Calls that were made before the "
        "pause are not made again, and are not undone",
        call=after,
    )
