"""Drive an execution step by step, so that it can be replayed on the same path.

Concurrent code goes where the order of its results takes it. So the worker is given results only when it
can do nothing but wait: all that have arrived by then, in one step, which is recorded with their order and
with what the clocks showed. When the graph is resumed the code runs again: the recorded steps are delivered
first, and only then does anything happen for the first time.

Events are numbered in the order in which they begin, which follows from the steps before them. A step is
recorded when it is taken, and not when a tool has returned: until then the result has no place in the
order. The price is that a crash in between makes the call again (see docs/resume.md).

A pause is recorded too: the events that were in flight when a person was asked. Nothing new happens in a
resumed execution until it has reached the same point by the same path: otherwise an answer could reach
another call, and what a person has approved could be run with other arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from langchain_ptc.background_loop import call_off_loop
from langchain_ptc.errors import ReplayError, ToolCallError
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.driver import (
    CANCEL_SECONDS,
    Driver,
    RecordedCalls,
    diverged,
    write_call,
)
from langchain_ptc.run.graph_tasks import TaskScope
from langchain_ptc.run.journal import Journal, JournalEntry
from langchain_ptc.sandbox.api import Call, Done, Moment, Result

if TYPE_CHECKING:
    from langchain_ptc.run.approvals import ApprovalRule, Decision

_MAX_STEP_BYTES = 1_000_000
"""The results of one step are one value in the checkpoints; further ones are the next step."""


@dataclass(slots=True, eq=False)
class _Event:
    """Something that happens outside of the code."""

    number: int  # counts events in the order in which they begin
    key: str  # what it is: the same key under the same number means the same path
    entry: JournalEntry | None = field(default=None, init=False)  # what was recorded of it
    task: asyncio.Task[None] | None = field(default=None, init=False)
    scope: TaskScope | None = field(default=None, init=False)
    interrupts: tuple[Interrupt, ...] = field(default=(), init=False)

    @property
    def size(self) -> int:
        """How large what is recorded of it is, about, in bytes."""
        return 0

    async def happen(self, driver: ReplayDriver) -> None:
        """Happen for the first time."""
        raise NotImplementedError

    def record(self) -> JournalEntry:
        """Return what is recorded of it, once it has happened."""
        raise NotImplementedError

    def deliver(self, driver: ReplayDriver) -> Sequence[Result] | None:
        """Return the results for the code; None if the code cannot go on by it."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class _CallEvent(_Event):
    """A tool call."""

    call: StartedCall
    outcome: CallOutcome | None = None  # what came of it, if it was made in this run

    @property
    def size(self) -> int:
        """See `_Event.size`."""
        return 0 if self.outcome is None else len(self.outcome.payload)

    async def happen(self, driver: ReplayDriver) -> None:
        """Make the call."""
        self.call.config = get_config()
        self.outcome = await driver.answer(driver, self.call)

    def record(self) -> JournalEntry:
        """Return what is recorded of it; it is put together when the code has the result."""
        assert self.outcome is not None
        return write_call(self.outcome, self.call)

    def deliver(self, driver: ReplayDriver) -> Sequence[Result]:
        """Return its result."""
        if self.outcome is not None:
            return [driver.accept(self.call, self.outcome)]
        outcome, record = driver.recorded[self.call.number]
        self.call.read_record(record)
        return [driver.accept(self.call, outcome, is_replayed=True)]


@dataclass(slots=True, eq=False)
class _ApprovalEvent(_Event):
    """A person decides on calls."""

    batch: Sequence[tuple[StartedCall, ApprovalRule]]

    async def happen(self, driver: ReplayDriver) -> None:
        """Ask."""
        self.entry = {"decisions": driver.approvals.ask(self.batch, self.batch[0][0].state)}

    def record(self) -> JournalEntry:
        """Return the decisions."""
        assert self.entry is not None
        return self.entry

    def deliver(self, driver: ReplayDriver) -> None:
        """Do what was decided."""
        for (call, _), decision in zip(self.batch, self.record()["decisions"], strict=True):
            driver.decide(call, decision)


@dataclass(slots=True, eq=False)
class _TimerEvent(_Event):
    """The code waits for a time."""

    due: float  # on the clock of the code

    async def happen(self, driver: ReplayDriver) -> None:
        """Wait until then."""
        await driver.sleep_until(self.due)

    def record(self) -> JournalEntry:
        """Return nothing: the step has the time."""
        return {}

    def deliver(self, driver: ReplayDriver) -> Sequence[Result]:
        """Return nothing: the code goes on."""
        del driver
        return ()


@dataclass(kw_only=True, eq=False)
class ReplayDriver(Driver):
    """Drives an execution in steps, with a journal; its program has `replay`."""

    journal: Journal  # where its steps are recorded
    recorded: RecordedCalls  # the calls that were in the journal when this run began
    is_resumed: bool  # an earlier run of the code has begun the journal
    is_same_code: bool  # the code is the one that has begun it
    _outstanding: dict[int, _Event] = field(default_factory=dict, init=False)
    """Events that have begun and are not delivered, in their order."""
    _ready: deque[_Event] = field(default_factory=deque, init=False)
    """Those that have happened, in the order in which they did."""
    _held: dict[int, _Event] = field(default_factory=dict, init=False)
    """Those that have interrupted the graph. No question leaves here until the code can do nothing else:
    code that ends first, by an error elsewhere, must not leave a question that nothing waits for."""
    _refused: list[tuple[StartedCall, CallOutcome]] = field(default_factory=list, init=False)
    """Calls that have an outcome without having been made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.program.replay is not None
        self._moment = self.program.replay.start
        self._moment_at = self._computing_since = time.monotonic()
        self._computed_before = 0.0
        self._changed = asyncio.Event()
        self._asked: list[Call] = []
        self._is_idle = False
        self._due: float | None = None
        self._numbers = itertools.count()
        self._is_replaying = self.is_resumed
        self._pause_entry: JournalEntry | None = None
        """The pause that was recorded since the last step."""
        self._answers: dict[str, Any] = {}
        """What was answered to the events that were shown to a person, by their number."""
        self._configurable = {
            **(self.config.get("configurable") or {}),
            **self.journal.config["configurable"],
        }
        self._broken: BaseException | None = None
        self._state: Literal["running", "pausing", "ended"] = "running"

    async def run(self) -> Done:
        """Run the code to its end; see `Driver.run`."""
        if not self.is_same_code:
            raise ReplayError("the code is not the one that ran before the pause")
        self._computing_since = time.monotonic()
        running = asyncio.ensure_future(
            self.session.run(self.program, self._asked.extend, self._note_idle)
        )
        running.add_done_callback(lambda _: self._changed.set())
        self.journal.failures.on_first = self._break_from(asyncio.get_running_loop())
        try:
            while not running.done():
                if self._is_idle:
                    await self._step()
                else:
                    await self._change()
            done = running.result()
            if done.status in ("success", "error", "refused"):
                self._check_all_reached(done)
            return done
        finally:
            self.journal.failures.on_first = lambda _: None  # a cycle, which would hold every call
            if self._state == "running":
                self._state = "ended"
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            await self._end_events()

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the code has run, without pauses."""
        return self._now().elapsed

    @property
    def waiting(self) -> int:
        """How many questions wait for a person."""
        return max(1, len(self._held))

    @property
    def _computed_seconds(self) -> float:
        computing = 0.0 if self._is_idle else time.monotonic() - self._computing_since
        return self._computed_before + computing

    def _now(self) -> Moment:
        """Return what the clocks of the code show now: pauses do not count as elapsed."""
        elapsed = self._moment.elapsed + time.monotonic() - self._moment_at
        return Moment(unix=time.time(), elapsed=elapsed)

    async def sleep_until(self, due: float) -> None:
        """Wait until a time on the clock of the code."""
        await asyncio.sleep(max(0.0, due - self._now().elapsed))

    def _note_idle(self, due: float | None) -> None:
        self._computed_before = self._computed_seconds
        self._is_idle, self._due = True, due
        if self.events.shows_output:
            self.events.emit_output(self.session.output)
        self._changed.set()

    async def _change(self) -> None:
        if self._broken is None:
            await self._changed.wait()
            self._changed.clear()
        if self._broken is not None:
            raise self._broken

    async def _step(self) -> None:
        """Do what comes next while the code waits: let it continue, or wait too."""
        await self._begin_asked()
        if self._refused:
            refused, self._refused[:] = list(self._refused), []
            self._continue([self.accept(call, outcome) for call, outcome in refused])
        elif (entry := self.journal.take()) is not None:
            self._replay(entry)
        elif self._is_replaying:
            self._go_live()
        elif self._ready:
            await self._record_step()
        elif self._held and all(
            isinstance(e, _TimerEvent) or e.interrupts for e in self._outstanding.values()
        ):
            await self._pause()
        else:
            await self._change()

    # --- beginning events ---------------------------------------------------------------------------

    async def _begin_asked(self) -> None:
        """Begin what the code has asked for since its last step."""
        if not self._asked and self._due is None:
            return
        asked, self._asked[:] = list(self._asked), []
        gated: list[tuple[StartedCall, ApprovalRule]] = []
        for call in asked:
            started = StartedCall(call, self.context, self.graph_state.current)
            self.calls.append(started)
            refused = await self.admit(started)
            if refused is not None:
                self._refused.append((started, refused))
                continue
            rule = self.approvals.rules.get(started.tool)
            if started.is_large:  # computed once, for the keys of its events
                await call_off_loop(started.digest, started.passed)
                if rule is not None:
                    digest = functools.partial(started.digest, validated=True)
                    await call_off_loop(digest, started.arguments)
            if rule is not None and await self._applies(rule, started):
                gated.append((started, rule))
            else:
                self._begin_call(started)
        for batch in self.approvals.batches(gated):
            self._begin_approval(batch)
        due = self._due
        if due is not None and not any(
            isinstance(event, _TimerEvent) and event.due <= due
            for event in self._outstanding.values()
        ):
            self._begin(_TimerEvent(next(self._numbers), f"timer:{due!r}", due))

    async def _applies(self, rule: ApprovalRule, call: StartedCall) -> bool:
        """Whether a person must approve this call.

        The developer's own predicate is called once and its answer recorded: were it another one when
        the graph is resumed, a call that a person has refused would be made.
        """
        if rule.when is None:
            return True
        key = f"whether a person must approve {call.key(validated=True)}"
        if (entry := self.journal.take()) is None:
            entry = {"key": key, "applies": self.approvals.applies(rule, call, call.state)}
            await self.journal.append(entry)
        elif _keys_in(entry)[0] != key:
            raise diverged(_keys_in(entry)[0], key)
        return bool(entry["applies"])

    def _begin_call(self, call: StartedCall) -> None:
        self._begin(_CallEvent(next(self._numbers), call.key(), call))

    def _begin_approval(self, batch: Sequence[tuple[StartedCall, ApprovalRule]]) -> None:
        asked = ", ".join(call.key(validated=True) for call, _ in batch)
        self._begin(_ApprovalEvent(next(self._numbers), f"the approval of {asked}", batch))

    def _begin(self, event: _Event) -> None:
        self._outstanding[event.number] = event
        if not self._is_replaying:
            self._launch(event)

    def decide(self, call: StartedCall, decision: Decision) -> None:
        """Do with a call what a person has decided."""
        try:
            before = call.definition
            outcome = self.approvals.apply(call, decision)
            if call.definition is not before:
                self.count(call)
        except ToolCallError as error:
            outcome = call.refuse(error)
        if outcome is None:
            self._begin_call(call)
        else:
            self._refused.append((call, outcome))

    # --- events happening ---------------------------------------------------------------------------

    def _launch(self, event: _Event) -> None:
        number = str(event.number)
        event.scope = TaskScope(self._configurable, number, self._answers.get(number))
        event.task = asyncio.ensure_future(self._happen(event))

    async def _happen(self, event: _Event) -> None:
        assert event.scope is not None
        config = RunnableConfig(**{**self.config, "configurable": event.scope.configurable})
        var_child_runnable_config.set(config)  # of this task alone
        try:
            await event.happen(self)
        except GraphInterrupt as error:
            event.interrupts = tuple(error.args[0] if error.args else ())
            self._held[event.number] = event
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the caller's to see, not the code's
            self._break(error)
        else:
            self._ready.append(event)
        self._changed.set()

    def _break_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[BaseException], None]:
        """Return what ends the execution, from any thread: nothing is done that is not recorded."""

        def stop(error: BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                loop.call_soon_threadsafe(self._break, error)

        return stop

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._changed.set()

    # --- delivering ---------------------------------------------------------------------------------

    async def _record_step(self) -> None:
        """Deliver to the code what has happened, and record it."""
        step: list[_Event] = []
        size = 0
        while self._ready and size < _MAX_STEP_BYTES:
            event = self._ready.popleft()
            step.append(event)
            size += event.size
        self._moment, self._moment_at = self._now(), time.monotonic()
        moment, computed = list(self._moment), self._computed_seconds

        def write() -> JournalEntry:
            events = [{**e.record(), "number": e.number, "key": e.key} for e in step]
            return {"events": events, "moment": moment, "computed": computed}

        # What a person has decided is recorded before it is done: nobody is asked twice.
        is_decision = any(isinstance(event, _ApprovalEvent) for event in step)
        await self.journal.append(write, is_awaited=is_decision)
        self._deliver(step)

    def _replay(self, entry: JournalEntry) -> None:
        """Deliver to the code what was recorded; raises `ReplayError` if it is on another path."""
        if "in_flight" in entry:
            self._check_pause(entry)
            return
        step = []
        for recorded in entry.get("events", [entry]):
            event = self._outstanding.get(recorded.get("number"))
            if event is None or event.key != recorded["key"]:
                now = [*self._outstanding.values()][-1:] if event is None else [event]
                raise diverged(recorded["key"], now[0].key if now else "nothing")
            event.entry = recorded
            step.append(event)
        self._moment, self._moment_at = Moment(*entry["moment"]), time.monotonic()
        self._deliver(step)

    def _deliver(self, step: Sequence[_Event]) -> None:
        self._pause_entry = None
        results: list[Result] = []
        goes_on = False
        for event in step:
            del self._outstanding[event.number]
            given = event.deliver(self)
            if given is not None:
                goes_on = True
                results += given
        if goes_on:
            self._continue(results)

    def _continue(self, results: Sequence[Result]) -> None:
        self._is_idle, self._computing_since = False, time.monotonic()
        self.session.resume(results, self._moment)

    def _go_live(self) -> None:
        """The code is where it was before: what has not happened may happen now."""
        self._is_replaying = False
        self.session.renew()
        self.events.go_live(self.session.output)
        for event in self._outstanding.values():
            self._launch(event)

    # --- pauses and the end -------------------------------------------------------------------------

    def _in_flight(self) -> list[str]:
        return sorted(e.key for e in self._outstanding.values() if not isinstance(e, _TimerEvent))

    def _check_pause(self, entry: JournalEntry) -> None:
        """Raise `ReplayError` if the events in flight are not those of a pause that was recorded."""
        pairs = itertools.zip_longest(entry["in_flight"], self._in_flight(), fillvalue="nothing")
        for before, now in pairs:
            if before != now:
                raise diverged(before, now)
        self._pause_entry = entry
        self._answers.update(entry["answers"])
        if self.meter is not None and (inner := entry.get("inner")):
            for call in self.calls:
                self.meter.restore(call, inner.get(str(call.number), call.inner))

    def _check_all_reached(self, done: Done) -> None:
        """Raise `ReplayError` if code has ended without reaching all that happened before the pause."""
        while (entry := self.journal.take()) is not None:
            if "in_flight" in entry:
                self._check_pause(entry)  # nobody is asked about what it did not reach
                continue
            failure = done.failure
            how = "it ended" if failure is None else f"{failure.kind}: {failure.message}"
            raise diverged(_keys_in(entry)[0], ending=how)

    async def _pause(self) -> NoReturn:
        """Interrupt the graph with all questions that a person is asked."""
        held = [self._held[number] for number in sorted(self._held)]
        answers = {str(event.number): event.scope.answers for event in held if event.scope}
        entry: JournalEntry = {"in_flight": self._in_flight(), "answers": answers}
        if inner := {str(c.number): c.inner for c in self.calls if c.inner and c.is_in_flight}:
            entry["inner"] = inner
        before = self._pause_entry
        if before is None or any(before.get(name) != given for name, given in entry.items()):
            await self.journal.append({**entry, "computed": self._computed_seconds})
        self._state = "pausing"
        await self._end_events()
        raise GraphInterrupt(tuple(one for event in held for one in event.interrupts))

    async def _end_events(self) -> None:
        tasks = [event.task for event in self._outstanding.values() if event.task is not None]
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_SECONDS)


def _keys_in(entry: JournalEntry) -> Sequence[str]:
    if "events" in entry:
        return [event["key"] for event in entry["events"]]
    return entry["in_flight"] or ["nothing"] if "in_flight" in entry else [entry["key"]]
