"""Drive an execution step by step, so that it can be replayed on the same path.

Concurrent code goes where the order of its results takes it. So the worker is given one event at a
time, when it can only wait, and each event is recorded with its place in the order and with what the
clocks showed. When the graph is resumed the code runs again: an event that has an entry happens as it
did before, in the same order, and only then what has none happens for the first time.

An event is the end of a tool call, a person's decision, or a timer of the code. All are entries of the
journal, and are begun in an order that follows from the events before them: LangGraph identifies entries
by the order in which they are begun.

An entry is written when its event is delivered, and not when its tool has returned: until then it has no
place in the order. The price is that a crash in between makes the call again (see docs/resume.md).

A pause is kept too: the events that were in flight when a person was asked. Nothing new happens in a
resumed execution until it has come to the same point by the same path: else an answer could reach
another call, and what a person has approved could be run with other arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import itertools
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias

from langgraph.errors import GraphInterrupt

from langchain_ptc.errors import ReplayError, ToolCallError
from langchain_ptc.run.approvals import ApprovalRule, Asked, Decision
from langchain_ptc.run.budgets import BudgetExhausted
from langchain_ptc.run.call_runner import refuse
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.driver import CANCEL_SECONDS, Driver
from langchain_ptc.run.journal import Journal, JournalEntry, place_here
from langchain_ptc.run.journal_entries import (
    diverged,
    ended_early,
    key_of,
    load_large,
    read_call,
    store_large,
    write_call,
)
from langchain_ptc.run.private_loop import call_off_loop
from langchain_ptc.sandbox.api import Call, Done, Moment

_EVENT = "event"
"""All entries have one name: LangGraph identifies them by name and order, and a call in the place of
another must be detected, not made."""

_Work: TypeAlias = Callable[[], Awaitable[JournalEntry]]


@dataclass(slots=True, eq=False)
class _Event:
    """Something that happens outside of the code."""

    key: str
    """What it is: the same key in the same place means the same path."""
    deliver: Callable[[JournalEntry, bool], None]
    """Takes its entry, and whether that was recorded in an earlier run of the code."""
    is_timer: bool = False
    future: asyncio.Future[JournalEntry] = field(init=False)
    turn: asyncio.Future[tuple[int, Moment] | None] = field(init=False)
    """Its place in the order, once it has one; None to end without one."""
    body: asyncio.Task[Any] | None = None
    """Makes it happen, while it can be cancelled."""
    is_known: bool = False
    """Whether it is known if the journal has an entry of it."""
    is_held: bool = False
    """It has interrupted the graph, and waits until the code can do nothing else."""


@dataclass(kw_only=True, eq=False)
class ReplayDriver(Driver):
    """Drives an execution in steps, with a journal; its program has `replay`."""

    journal: Journal
    """Where its events are recorded."""
    is_resumed: bool
    """An earlier run of the code has begun the journal."""
    is_same_code: bool
    """The code is the one that has begun it."""

    def __post_init__(self) -> None:
        assert self.program.replay is not None
        self._moment = self.program.replay.start
        self._moment_at = self._computing_since = time.monotonic()
        self._computed_before = 0.0
        self._changed = asyncio.Event()
        self._asked: list[Call] = []
        self._is_idle = False
        self._due: float | None = None
        self._delivered = 0
        self._instant: deque[tuple[StartedCall, CallOutcome]] = deque()
        """Calls that have an outcome without having been made."""
        self._outstanding: set[_Event] = set()
        self._unknown = 0
        self._recorded: list[tuple[int, int, _Event]] = []
        self._ready: deque[_Event] = deque()
        self._held: set[_Event] = set()
        self._timers: list[float] = []
        self._is_replaying = self.is_resumed
        self._replayed = asyncio.Event()
        """The code is where it was before: events without an entry may happen."""
        if not self.is_resumed:
            self._replayed.set()
        self._is_pause_kept = False
        """A pause was kept since the last event."""
        self._run_id = uuid.uuid4().hex
        self._questions: dict[str, Asked] = {}
        """What is known of the questions that a person is asked, by the key of their event."""
        self._broken: BaseException | None = None
        self._state: Literal["running", "pausing", "ended", "cancelled", "broken"] = "running"

    async def run(self) -> Done:
        """Run the code to its end; see `Driver.run`."""
        if not self.is_same_code:
            raise ReplayError("the code is not the one that ran before the pause")
        self._computing_since = time.monotonic()
        running = asyncio.ensure_future(
            self.session.run(self.program, self._asked.extend, self._note_idle)
        )
        running.add_done_callback(lambda _: self._changed.set())
        self.journal.on_failure(self._break_from(asyncio.get_running_loop()))
        try:
            while not running.done():
                if self._is_idle:
                    await self._begin_asked()
                    await self._step(running)
                else:
                    await self._change()
            done = running.result()
            if self._is_replaying and done.status in ("success", "error", "refused"):
                self._check_all_reached(done)
                await self._keep_pause()  # what it did not come to it must not be asked about
            self._state = "ended"
            return done
        except (ReplayError, BudgetExhausted):
            self._state = "ended"
            raise
        except asyncio.CancelledError:
            self._state = "cancelled"
            raise
        finally:
            if self._state == "running":
                self._state = "broken"
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
        """How long the code has computed, without waiting."""
        computing = 0.0 if self._is_idle else time.monotonic() - self._computing_since
        return self._computed_before + computing

    def _note_idle(self, due: float | None) -> None:
        self._computed_before = self._computed_seconds
        self._is_idle, self._due = True, due
        self.events.emit_output(self.session.output)
        self._changed.set()

    def _note_going_on(self) -> None:
        self._is_idle, self._computing_since = False, time.monotonic()

    async def _change(self) -> None:
        if self._broken is None:
            await self._changed.wait()
            self._changed.clear()
        if self._broken is not None:
            raise self._broken

    # --- beginning events ---------------------------------------------------------------------------

    async def _begin_asked(self) -> None:
        """Begin what the code has asked for since its last event."""
        asked, self._asked[:] = list(self._asked), []
        gated: list[tuple[StartedCall, ApprovalRule]] = []
        for call in asked:
            started = self.start(call)
            refused = await self.runner.admit(started)
            if refused is not None:
                self._instant.append((started, refused))
                continue
            rule = self.approvals.rule(started.definition)
            if started.is_large:  # kept, for the keys of its events
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
        if self._due is not None and not any(due <= self._due for due in self._timers):
            self._begin_timer(self._due)

    async def _applies(self, rule: ApprovalRule, call: StartedCall) -> bool:
        """Whether a person must approve this call.

        The developer's own predicate is called once and its answer recorded: were it another one when
        the graph is resumed, a call that a person has refused would be made.
        """
        if rule.when is None:
            return True

        key = f"whether a person must approve {key_of(call, validated=True)}"

        async def ask() -> JournalEntry:
            return {"key": key, "applies": self.approvals.applies(rule, call, call.state)}

        entry = await self.journal.record(_EVENT, ask)
        if entry["key"] != key:
            raise diverged(entry["key"], key)
        return bool(entry["applies"])

    def _begin_call(self, call: StartedCall) -> None:
        async def work() -> JournalEntry:
            outcome = await self.runner.answer(call, place_here(self.config))
            return await store_large(write_call(outcome, call), call, sync=self.journal.sync)

        def deliver(entry: JournalEntry, is_replayed: bool) -> None:
            outcome, note = read_call(entry)
            if is_replayed:
                call.read_note(note)
            self._deliver_call(call, outcome, is_replayed=is_replayed)

        self._begin(_Event(key_of(call), deliver), work)

    def _deliver_call(
        self, call: StartedCall, outcome: CallOutcome, *, is_replayed: bool = False
    ) -> None:
        self._note_going_on()
        self.deliver(call, outcome, at=self._moment, is_replayed=is_replayed)

    def _begin_approval(self, batch: Sequence[tuple[StartedCall, ApprovalRule]]) -> None:
        key = f"the approval of {', '.join(key_of(call, validated=True) for call, _ in batch)}"

        async def work() -> JournalEntry:
            asked = self._questions.setdefault(key, Asked())
            return {"decisions": self.approvals.ask(batch, batch[0][0].state, asked)}

        def deliver(entry: JournalEntry, _: bool) -> None:
            for (call, __), decision in zip(batch, entry["decisions"], strict=True):
                self._decide(call, decision)

        self._begin(_Event(key, deliver), work)

    def _decide(self, call: StartedCall, decision: Decision) -> None:
        try:
            before = call.definition
            outcome = self.approvals.follow(call, decision)
            if call.definition is not before:
                self.runner.count(call)
        except ToolCallError as error:
            outcome = refuse(call, error)
        if outcome is None:
            self._begin_call(call)
        else:
            self._instant.append((call, outcome))

    def _begin_timer(self, due: float) -> None:
        async def work() -> JournalEntry:
            await asyncio.sleep(max(0.0, due - self._now().elapsed))
            return {}

        def deliver(_: JournalEntry, __: bool) -> None:
            self._timers.remove(due)
            self._note_going_on()
            self.session.resume([], self._moment)

        self._timers.append(due)
        self._begin(_Event(f"timer:{due!r}", deliver, is_timer=True), work)

    def _begin(self, event: _Event, work: _Work) -> None:
        event.turn = asyncio.get_running_loop().create_future()
        self._outstanding.add(event)
        self._unknown += 1
        event.future = self.journal.record(_EVENT, lambda: self._happen(event, work))
        event.future.add_done_callback(lambda _: self._note_end(event))

    # --- events happening ---------------------------------------------------------------------------

    async def _happen(self, event: _Event, work: _Work) -> JournalEntry:
        """Let an event happen for the first time; the body of its entry."""
        self._know(event)
        await self._replayed.wait()
        if self._is_ending:
            return self._leave()
        event.body = asyncio.current_task()
        try:
            entry = await work()
        except GraphInterrupt:
            # No question leaves here until the code can do nothing else: code that ends first, by an
            # error elsewhere, must not leave a question that nothing waits for.
            event.is_held, event.body = True, None
            self._held.add(event)
            self._changed.set()
            await event.turn
            if self._state == "pausing":
                raise
            return self._leave()
        except asyncio.CancelledError:
            if self._state in ("running", "cancelled"):
                raise
            return self._leave()
        except BaseException as error:
            self._break(error)
            raise
        finally:
            event.body = None
        if self._is_idle and len(self._outstanding) == 1:  # there is nothing to choose from
            event.turn.set_result((self._delivered, self._now()))
        self._ready.append(event)
        self._changed.set()
        place = await event.turn
        if place is None:
            return self._leave()
        return {
            **entry,
            "key": event.key,
            "place": place[0],
            "moment": list(place[1]),
            "computed": self._computed_seconds,
            "after_pause": self._is_pause_kept,
        }

    @property
    def _is_ending(self) -> bool:
        return self._state != "running"

    def _leave(self) -> JournalEntry:
        """End the body of an event that does not happen, in this run or at all."""
        if self._state == "ended":
            return {}  # nothing asks for the entry
        raise GraphInterrupt(())  # leaves no entry, and asks nothing

    def _know(self, event: _Event) -> None:
        if not event.is_known:
            event.is_known = True
            self._unknown -= 1
            self._changed.set()

    def _note_end(self, event: _Event) -> None:
        if event.future.cancelled():
            return
        error = event.future.exception()  # retrieved, or asyncio logs it
        if event.is_known or self._is_ending:
            return
        if error is not None:
            self._break(error)
        elif "place" not in (entry := event.future.result()):
            self._break(diverged(entry["key"], event.key))
        else:
            heapq.heappush(self._recorded, (entry["place"], id(event), event))
        self._know(event)

    def _break_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[BaseException], None]:
        """Return what ends the execution, from any thread: nothing is done that is not recorded."""

        def stop(error: BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                loop.call_soon_threadsafe(self._break, error)

        return stop

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._changed.set()

    # --- choosing and delivering --------------------------------------------------------------------

    async def _step(self, running: asyncio.Future[Done]) -> None:
        """Deliver the next event to the code."""
        if self._instant:
            self._deliver_call(*self._instant.popleft())
            return
        while not running.done():
            if not self._unknown:
                if self._recorded:
                    await self._deliver(heapq.heappop(self._recorded)[2], is_replayed=True)
                    return
                if self._is_replaying:
                    await self._keep_pause()
                    self._is_replaying = False
                    self.session.renew()
                    self.events.go_live(self.session.output)
                    self._replayed.set()
                if self._ready:
                    event = self._ready.popleft()
                    if not event.turn.done():
                        event.turn.set_result((self._delivered, self._now()))
                    await self._deliver(event, is_replayed=False)
                    return
                if self._held and all(e.is_held or e.is_timer for e in self._outstanding):
                    await self._pause()
            await self._change()

    async def _deliver(self, event: _Event, *, is_replayed: bool) -> None:
        entry = await load_large(await event.future, sync=self.journal.sync)
        if is_replayed and entry["after_pause"]:
            await self._keep_pause()
        if entry["key"] != event.key:
            raise diverged(entry["key"], event.key)
        self._outstanding.discard(event)
        self._is_pause_kept = False
        self._delivered = entry["place"] + 1
        self._moment, self._moment_at = Moment(*entry["moment"]), time.monotonic()
        event.deliver(entry, is_replayed)

    def _now(self) -> Moment:
        """Return what the clocks of the code show now: pauses do not count as elapsed."""
        elapsed = self._moment.elapsed + time.monotonic() - self._moment_at
        return Moment(unix=time.time(), elapsed=elapsed)

    async def _keep_pause(self) -> None:
        """Keep which events are in flight while a person is asked; or check that they are those of then.

        Raises:
            ReplayError: They are not.
        """
        in_flight = sorted(event.key for event in self._outstanding if not event.is_timer)
        self._is_pause_kept = True
        note: JournalEntry = {
            "going_on": in_flight,
            "unseen": {key: asked.unseen for key, asked in self._questions.items() if asked.unseen},
            "by": self._run_id,
            "computed": self._computed_seconds,
        }
        kept = await self.journal.keep(note, at=self._delivered)
        if kept.get("by") != self._run_id:  # kept by an earlier run, which has shown its questions
            unseen = kept.get("unseen", {})
            for key in kept["going_on"]:
                self._questions[key] = Asked(is_shown=True, unseen=unseen.get(key, 0))
        pairs = itertools.zip_longest(kept["going_on"], in_flight, fillvalue="nothing")
        for before, now in pairs:
            if before != now:
                raise diverged(before, now)

    def _check_all_reached(self, done: Done) -> None:
        """Check that code which has ended came to all that happened before the pause.

        Raises:
            ReplayError: It did not.
        """
        left = [e for e in self.journal.entries if e.get("place", -1) >= self._delivered]
        if left:
            first = min(left, key=lambda entry: int(entry["place"]))
            failure = done.failure
            how = "it ended" if failure is None else f"{failure.kind}: {failure.message}"
            raise ended_early(first["key"], how)

    async def _pause(self) -> NoReturn:
        """Interrupt the graph with all questions that a person is asked."""
        if not self._is_pause_kept:
            await self._keep_pause()
        self._state = "pausing"
        await self._end_events()
        # The interrupts are those of the entries; one raised here would show each of them twice.
        raise GraphInterrupt(())

    async def _end_events(self) -> None:
        """End what is still in flight."""
        self._replayed.set()
        left = [event for event in self._outstanding if not event.future.done()]
        for event in left:
            if event.body is not None:
                event.body.cancel()
            if not event.turn.done():
                event.turn.set_result(None)
        if left:
            await asyncio.wait([event.future for event in left], timeout=CANCEL_SECONDS)
