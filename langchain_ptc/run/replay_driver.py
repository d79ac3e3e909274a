"""Drive an execution step by step, so that it can be run again on the same path.

Concurrent code goes where the order of its answers takes it. So the worker is given one event at a
time, when it can only wait, and each event is recorded with its place in the order and with what the
clocks showed. When the graph is resumed the code runs again: an event that has a record happens as it
did before, in the same order, and only then what has none happens for the first time.

An event is the end of a tool call, a person's decision, or a timer of the code. All are records of the
journal, and are begun in an order that follows from the events before them: LangGraph tells records
apart by the order in which they are begun.

A record is written when its event is delivered, and not when its tool is done: until then it has no
place in the order. The price is that a crash in between makes the call again (see docs/resume.md).

A pause is a record too: of what was going on when a person was asked. Nothing new happens in a resumed
execution until it has come to the same place by the same path: else an answer could reach another
call, and what a person has approved could be run with other arguments.
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
from typing import NoReturn, TypeAlias

from langgraph.errors import GraphInterrupt

from langchain_ptc.errors import ReplayError, ToolCallError
from langchain_ptc.run.approvals import Asked, Decision, Gate
from langchain_ptc.run.budgets import BudgetSpent
from langchain_ptc.run.call_runner import refuse
from langchain_ptc.run.calls import CallOutcome, StartedCall
from langchain_ptc.run.journal import Journal, Record, place_here
from langchain_ptc.run.journal_entries import (
    bring_back,
    ended_early,
    key_of,
    parted,
    put_aside,
    read_answer,
    write_answer,
)
from langchain_ptc.run.parts import RunParts
from langchain_ptc.run.private_loop import call_off_loop
from langchain_ptc.run.replay_events import Computing, Event
from langchain_ptc.sandbox.api import Call, Done, Moment, Result

_CANCEL_SECONDS = 0.2
"""How long tools that are cancelled at the end of an execution may take to notice."""

_RECORD = "event"
"""All records have one name: LangGraph tells them apart by name and order, and a call in the place of
another is to be found out, not to be made."""

_Work: TypeAlias = Callable[[], Awaitable[Record]]


class SteppedRun:
    """One execution, driven in steps.

    Args:
        parts: What it is made of; the program has `replay`.
        journal: Where its events are recorded.
        is_resumed: The journal was begun by an earlier run of the code.
    """

    def __init__(self, parts: RunParts, *, journal: Journal, is_resumed: bool) -> None:
        self._journal = journal
        self._session = parts.session
        self._program = parts.program
        self._runner = parts.runner
        self._approvals = parts.approvals
        self._start = parts.start
        self._events = parts.events
        self._config = parts.config
        self._graph_state = parts.graph_state
        self._changed = asyncio.Event()
        self._asked: list[Call] = []
        self._is_idle = False
        self._due: float | None = None
        assert parts.program.replay is not None
        self._moment = parts.program.replay.start
        self._moment_at = time.monotonic()
        self._delivered = 0
        self._instant: deque[tuple[StartedCall, CallOutcome]] = deque()
        self._computing = Computing()
        self._outstanding: set[Event] = set()
        self._unknown = 0
        self._recorded: list[tuple[int, int, Event]] = []
        self._ready: deque[Event] = deque()
        self._held: set[Event] = set()
        self._timers: list[float] = []
        self._is_replaying = is_resumed
        self._replayed = asyncio.Event()
        """The code is where it was before: what has no record may happen."""
        if not is_resumed:
            self._replayed.set()
        self._is_pause_kept = False
        """There is a record of a pause since the last event."""
        self._run_id = uuid.uuid4().hex
        self._questions: dict[str, Asked] = {}
        """What is known of the questions that a person is asked, by the key of their event."""
        self._broken: BaseException | None = None
        self._is_finished = False
        self._is_over = False
        self._is_cancelled = False
        self._is_pausing = False

    async def to_end(self) -> Done:
        """Run the code to its end.

        Raises:
            BudgetSpent: The code went on calling when its budget was spent.
            GraphInterrupt: The code can only go on when a person has answered.
            ReplayError: The code took another path than before.
            SandboxError: The machine could not start a worker.
        """
        self._computing.begin()
        running = asyncio.ensure_future(
            self._session.run(self._program, self._asked.extend, self._note_idle)
        )
        running.add_done_callback(lambda _: self._changed.set())
        self._journal.on_failure(self._break_from(asyncio.get_running_loop()))
        try:
            while not running.done():
                if self._is_idle:
                    await self._begin_asked()
                    await self._step(running)
                else:
                    await self._change()
            done = running.result()
            if self._is_replaying and done.status in ("success", "error", "refused"):
                self._see_that_all_was_reached(done)
                await self._keep_pause()  # what it did not come to it is not to be asked about
            self._is_finished = True
            return done
        except (ReplayError, BudgetSpent):
            self._is_finished = True
            raise
        except asyncio.CancelledError:
            self._is_cancelled = True
            raise
        finally:
            self._is_over = True
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            await self._end_events()

    @property
    def elapsed_seconds(self) -> float:
        """How long the code has run until now, pauses left out."""
        return self._now().elapsed

    @property
    def waiting(self) -> int:
        """How many questions wait for a person."""
        return max(1, len(self._held))

    def _note_idle(self, due: float | None) -> None:
        self._computing.end()
        self._is_idle, self._due = True, due
        self._events.tell_output(self._session.output)
        self._changed.set()

    async def _change(self) -> None:
        if self._broken is not None:
            raise self._broken
        await self._changed.wait()
        self._changed.clear()
        if self._broken is not None:
            raise self._broken

    # --- beginning events ---------------------------------------------------------------------------

    async def _begin_asked(self) -> None:
        """Begin what the code has asked for since its last event."""
        asked, self._asked[:] = list(self._asked), []
        gated: list[tuple[StartedCall, Gate]] = []
        for call in asked:
            started = self._start(call)
            refused = await self._runner.admit(started)
            if refused is not None:
                self._instant.append((started, refused))
                continue
            gate = self._approvals.gate(started.definition)
            if started.is_large:  # kept, for the keys of its events
                await call_off_loop(started.digest, started.passed)
                if gate is not None:
                    check = functools.partial(started.digest, validated=True)
                    await call_off_loop(check, started.arguments)
            if gate is not None and await self._applies(gate, started):
                gated.append((started, gate))
            else:
                self._begin_call(started)
        for batch in self._approvals.batches(gated):
            self._begin_approval(batch)
        if self._due is not None and not any(due <= self._due for due in self._timers):
            self._begin_timer(self._due)

    async def _applies(self, gate: Gate, call: StartedCall) -> bool:
        """Whether a person must approve this call.

        The developer's own predicate is asked once and recorded: were its answer another one when
        the graph is resumed, a call that a person has refused would be made.
        """
        if gate.when is None:
            return True

        key = f"whether a person must approve {key_of(call, validated=True)}"

        async def ask() -> Record:
            return {"key": key, "applies": self._approvals.applies(gate, call, call.state)}

        kept = await self._journal.record(_RECORD, ask)
        if kept["key"] != key:
            raise parted(kept["key"], key)
        return bool(kept["applies"])

    def _begin_call(self, call: StartedCall) -> None:
        async def work() -> Record:
            answer = await self._runner.answer(call, place_here(self._config))
            return await put_aside(write_answer(answer, call), call, sync=self._journal.sync)

        def deliver(record: Record, is_replayed: bool) -> None:
            answer, note = read_answer(record)
            if is_replayed:
                call.read_note(note)
            self._answer(call, answer, is_replayed=is_replayed)

        self._begin(Event(key_of(call), deliver), work)

    def _answer(self, call: StartedCall, answer: CallOutcome, *, is_replayed: bool = False) -> None:
        self._runner.follow(call, answer, is_replayed=is_replayed)
        self._graph_state.write(call.number, answer.commands)
        self._go_on([answer.as_result(call.number)])

    def _go_on(self, results: Sequence[Result]) -> None:
        """Give the code its next event."""
        self._is_idle = False
        self._computing.begin()
        self._session.resume(results, self._moment)

    def _begin_approval(self, batch: Sequence[tuple[StartedCall, Gate]]) -> None:
        async def work() -> Record:
            asked = self._questions.setdefault(key, Asked())
            return {"decisions": self._approvals.ask(batch, batch[0][0].state, asked)}

        def deliver(record: Record, is_replayed: bool) -> None:
            del is_replayed
            for (call, _), decision in zip(batch, record["decisions"], strict=True):
                self._follow(call, decision)

        told = ", ".join(key_of(call, validated=True) for call, _ in batch)
        key = f"the approval of {told}"
        self._begin(Event(key, deliver), work)

    def _follow(self, call: StartedCall, decision: Decision) -> None:
        try:
            before = call.definition
            answer = self._approvals.follow(call, decision)
            if call.definition is not before:
                self._runner.count(call.definition)
        except ToolCallError as error:
            answer = refuse(call, error)
        if answer is None:
            self._begin_call(call)
        else:
            self._instant.append((call, answer))

    def _begin_timer(self, due: float) -> None:
        async def work() -> Record:
            await asyncio.sleep(max(0.0, due - self._now().elapsed))
            return {}

        def deliver(record: Record, is_replayed: bool) -> None:
            del record, is_replayed
            self._timers.remove(due)
            self._go_on([])

        self._timers.append(due)
        self._begin(Event(f"timer:{due!r}", deliver, is_timer=True), work)

    def _begin(self, event: Event, work: _Work) -> None:
        event.turn = asyncio.get_running_loop().create_future()
        self._outstanding.add(event)
        self._unknown += 1
        event.future = self._journal.record(_RECORD, lambda: self._happen(event, work))
        event.future.add_done_callback(lambda _: self._note_end(event))

    # --- events happening ---------------------------------------------------------------------------

    async def _happen(self, event: Event, work: _Work) -> Record:
        """Let an event happen for the first time; the body of its record."""
        self._know(event)
        await self._replayed.wait()
        if self._is_ending():
            return self._leave()
        event.body = asyncio.current_task()
        try:
            record = await work()
        except GraphInterrupt:
            # Nothing of it leaves here until the code can do nothing else: code that ends
            # first, by an error elsewhere, must not leave a question that no one waits for.
            event.is_held, event.body = True, None
            self._held.add(event)
            self._changed.set()
            await event.turn
            if self._is_pausing:
                raise
            return self._leave()
        except asyncio.CancelledError:
            if self._is_cancelled or not self._is_ending():
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
        number, moment = place
        told = {"key": event.key, "place": number, "moment": list(moment)}
        told["computed"] = self._computing.seconds
        return {**record, **told, "after_pause": self._is_pause_kept}

    def _is_ending(self) -> bool:
        return self._is_over or self._is_pausing

    def _leave(self) -> Record:
        """End the body of an event that does not happen, in this run or at all."""
        if self._is_finished:
            return {}  # nobody will ask for the record
        raise GraphInterrupt(())  # leaves no record, and asks nothing

    def _know(self, event: Event) -> None:
        if not event.is_known:
            event.is_known = True
            self._unknown -= 1
            self._changed.set()

    def _note_end(self, event: Event) -> None:
        if event.future.cancelled():
            return
        error = event.future.exception()  # or asyncio complains that nobody looked
        if event.is_known or self._is_over:
            return
        if error is not None:
            self._break(error)
        elif "place" not in (record := event.future.result()):
            self._break(parted(record["key"], event.key))
        else:
            heapq.heappush(self._recorded, (record["place"], id(event), event))
        self._know(event)

    def _break_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[BaseException], None]:
        """Return what ends the execution, from any thread: what is not recorded is done no more."""

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
            self._answer(*self._instant.popleft())
            return
        while not running.done():
            if not self._unknown:
                if self._recorded:
                    event = heapq.heappop(self._recorded)[2]
                    record = await self._complete(event.future)
                    if record["after_pause"]:
                        await self._keep_pause()
                    self._deliver(event, record, is_replayed=True)
                    return
                if self._is_replaying:
                    await self._keep_pause()
                    self._is_replaying = False
                    self._go_live()
                if self._ready:
                    event = self._ready.popleft()
                    if not event.turn.done():
                        event.turn.set_result((self._delivered, self._now()))
                    self._deliver(event, await self._complete(event.future), is_replayed=False)
                    return
                if self._held and all(e.is_held or e.is_timer for e in self._outstanding):
                    await self._pause()
            await self._change()

    async def _complete(self, future: asyncio.Future[Record]) -> Record:
        return await bring_back(await future, sync=self._journal.sync)

    def _deliver(self, event: Event, record: Record, *, is_replayed: bool) -> None:
        if record["key"] != event.key:
            raise parted(record["key"], event.key)
        self._outstanding.discard(event)
        self._is_pause_kept = False
        self._delivered = record["place"] + 1
        self._moment = Moment(*record["moment"])
        self._moment_at = time.monotonic()
        event.deliver(record, is_replayed)

    def _now(self) -> Moment:
        """Return what the clocks of the code show now: pauses do not count as elapsed."""
        elapsed = self._moment.elapsed + time.monotonic() - self._moment_at
        return Moment(unix=time.time(), elapsed=elapsed)

    def _go_live(self) -> None:
        self._session.renew()
        self._events.go_live(self._session.output)
        self._replayed.set()

    async def _keep_pause(self) -> None:
        """Keep what goes on while a person is asked; or see that it is what went on then.

        Raises:
            ReplayError: It is not.
        """
        going_on = sorted(event.key for event in self._outstanding if not event.is_timer)

        self._is_pause_kept = True
        unseen = {key: asked.unseen for key, asked in self._questions.items() if asked.unseen}
        note: Record = {"going_on": going_on, "unseen": unseen, "by": self._run_id}
        note["computed"] = self._computing.seconds
        kept = await self._journal.keep(note, at=self._delivered)
        if kept.get("by") != self._run_id:  # kept by an earlier run, which has shown its questions
            before_shown = kept.get("unseen", {})
            for key in kept["going_on"]:
                self._questions[key] = Asked(is_shown=True, unseen=before_shown.get(key, 0))
        pairs = itertools.zip_longest(kept["going_on"], going_on, fillvalue="nothing")
        for before, now in pairs:
            if before != now:
                raise parted(before, now)

    def _see_that_all_was_reached(self, done: Done) -> None:
        """See that code which has ended came to all that happened before the pause.

        Raises:
            ReplayError: It did not.
        """
        left = [r for r in self._journal.records if r.get("place", -1) >= self._delivered]
        if left:
            first = min(left, key=lambda record: int(record["place"]))
            failure = done.failure
            how = "it ended" if failure is None else f"{failure.kind}: {failure.message}"
            raise ended_early(first["key"], how)

    async def _pause(self) -> NoReturn:
        """Interrupt the graph with everything that a person is asked."""
        if not self._is_pause_kept:
            await self._keep_pause()
        self._is_pausing = True
        self._events.tell_pause(waiting=self.waiting)
        await self._end_events()
        # The interrupts are those of the records; one of our own would show each of them twice.
        raise GraphInterrupt(())

    async def _end_events(self) -> None:
        """End what is still going on."""
        self._replayed.set()
        left = [event for event in self._outstanding if not event.future.done()]
        for event in left:
            if event.body is not None:
                event.body.cancel()
            if not event.turn.done():
                event.turn.set_result(None)
        if left:
            await asyncio.wait([event.future for event in left], timeout=_CANCEL_SECONDS)
