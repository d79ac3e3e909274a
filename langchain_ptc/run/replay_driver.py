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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

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
    ended_early,
    write_call,
)
from langchain_ptc.run.graph_tasks import TaskScope, entered
from langchain_ptc.run.journal import Journal, JournalEntry
from langchain_ptc.sandbox.api import Call, Done, Moment, Result

if TYPE_CHECKING:
    from langchain_ptc.run.approvals import ApprovalRule, Decision

_MAX_STEP_BYTES = 1_000_000
"""The results of one step are one value in the checkpoints; further ones are the next step."""


@dataclass(slots=True, eq=False)
class _Event:
    """Something that happens outside of the code."""

    number: int
    """Counts events in the order in which they begin."""
    key: str
    """What it is: the same key under the same number means the same path."""
    happen: Callable[[], Awaitable[JournalEntry]]
    """Happens for the first time, and returns what is recorded of it; of a call, how large it is."""
    deliver: Callable[[JournalEntry], Sequence[Result] | None]
    """Takes that, and returns the results for the code; None if the code cannot go on by it."""
    due: float | None = None
    """Of a timer: when it is due, on the clock of the code."""
    write: Callable[[], JournalEntry] | None = None
    """Of a call: returns what is recorded of it, which is put together when the code has the result."""
    entry: JournalEntry = field(default_factory=dict)
    """What is recorded of it, once it has happened."""
    task: asyncio.Task[None] | None = None
    scope: TaskScope | None = None
    interrupts: tuple[Interrupt, ...] = ()


@dataclass(kw_only=True, eq=False)
class ReplayDriver(Driver):
    """Drives an execution in steps, with a journal; its program has `replay`."""

    journal: Journal
    """Where its steps are recorded."""
    recorded: RecordedCalls
    """The calls that were in the journal when this run began."""
    is_resumed: bool
    """An earlier run of the code has begun the journal."""
    is_same_code: bool
    """The code is the one that has begun it."""
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
        self.journal.on_failure = self._break_from(asyncio.get_running_loop())
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
            e.due is not None or e.interrupts for e in self._outstanding.values()
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
        timers = [event.due for event in self._outstanding.values() if event.due is not None]
        if self._due is not None and not any(due <= self._due for due in timers):
            self._begin_timer(self._due)

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
        made: list[CallOutcome] = []

        async def happen() -> JournalEntry:
            call.config = get_config()
            made.append(await self.answer(call))
            return {"payload": made[0].payload}

        def deliver(_: JournalEntry) -> Sequence[Result]:
            if made:
                return [self.accept(call, made[0])]
            outcome, record = self.recorded[call.number]
            call.read_record(record)
            return [self.accept(call, outcome, is_replayed=True)]

        self._begin(call.key(), happen, deliver, write=lambda: write_call(made[0], call))

    def _begin_approval(self, batch: Sequence[tuple[StartedCall, ApprovalRule]]) -> None:
        async def happen() -> JournalEntry:
            return {"decisions": self.approvals.ask(batch, batch[0][0].state)}

        def deliver(entry: JournalEntry) -> None:
            for (call, _), decision in zip(batch, entry["decisions"], strict=True):
                self._decide(call, decision)

        asked = ", ".join(call.key(validated=True) for call, _ in batch)
        self._begin(f"the approval of {asked}", happen, deliver)

    def _begin_timer(self, due: float) -> None:
        async def happen() -> JournalEntry:
            await asyncio.sleep(max(0.0, due - self._now().elapsed))
            return {}

        self._begin(f"timer:{due!r}", happen, lambda _: (), due)

    def _begin(
        self,
        key: str,
        happen: Callable[[], Awaitable[JournalEntry]],
        deliver: Callable[[JournalEntry], Sequence[Result] | None],
        due: float | None = None,
        write: Callable[[], JournalEntry] | None = None,
    ) -> None:
        event = _Event(next(self._numbers), key, happen, deliver, due, write)
        self._outstanding[event.number] = event
        if not self._is_replaying:
            self._launch(event)

    def _decide(self, call: StartedCall, decision: Decision) -> None:
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
        event.scope = TaskScope(
            self.journal.config["configurable"], number, self._answers.get(number)
        )
        event.task = asyncio.ensure_future(self._happen(event))

    async def _happen(self, event: _Event) -> None:
        assert event.scope is not None
        configurable = {**(self.config.get("configurable") or {}), **event.scope.configurable}
        try:
            with entered({**self.config, "configurable": configurable}):
                event.entry = await event.happen()
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
        step, size = [], 0
        while self._ready and size < _MAX_STEP_BYTES:
            step.append(self._ready.popleft())
            size += len(step[-1].entry.get("payload", b""))
        self._moment, self._moment_at = self._now(), time.monotonic()
        moment, computed = list(self._moment), self._computed_seconds

        def write() -> JournalEntry:
            events = [
                {
                    **(event.entry if event.write is None else event.write()),
                    "number": event.number,
                    "key": event.key,
                }
                for event in step
            ]
            return {"events": events, "moment": moment, "computed": computed}

        # What a person has decided is recorded before it is done: nobody is asked twice.
        is_decision = any("decisions" in event.entry for event in step)
        await self.journal.append(write, is_awaited=is_decision)
        self._deliver(step)

    def _replay(self, entry: JournalEntry) -> None:
        """Deliver to the code what was recorded.

        Raises:
            ReplayError: The code is on another path.
        """
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
            given = event.deliver(event.entry)
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
        return sorted(event.key for event in self._outstanding.values() if event.due is None)

    def _check_pause(self, entry: JournalEntry) -> None:
        """Check that the events in flight are those of a pause that was recorded.

        Raises:
            ReplayError: They are not.
        """
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
        """Check that code which has ended reached all that happened before the pause.

        Raises:
            ReplayError: It did not.
        """
        while (entry := self.journal.take()) is not None:
            if "in_flight" in entry:
                self._check_pause(entry)  # nobody is asked about what it did not reach
                continue
            failure = done.failure
            how = "it ended" if failure is None else f"{failure.kind}: {failure.message}"
            raise ended_early(_keys_in(entry)[0], how)

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
