"""Calls that begin before the code makes them.

While a program waits for one tool, or is still being written, the read-only calls that it is about to make
are already made. The run of the program is what it is without them: its whole code is checked and run, and
its calls are admitted, counted, charged, recorded and journaled. But a call that has been made early with the
same arguments is not made again: it takes that one's result.

What will be called is found out by running parts of the program in workers of their own (see `prefetch.plan`),
of which nothing is used but the calls that they make:

- A *rehearsal* is the beginning of the program as it stands. It waits for its calls.
- A *slice* is what depends on no result that is still missing, and waits for none of its calls.

Results are claimed in order: the k-th call of a tool with some arguments takes the result of the k-th such
call that was made early, so that a tool that counts, or draws at random, is called as often as without.
Failures are not claimed: the call is made again. The first call of the program that is not read-only ends
everything: a result that was fetched before a write must not be given to a read after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig

from langchain_ptc.errors import SandboxError, ToolCallError
from langchain_ptc.prefetch.plan import Part, Plan
from langchain_ptc.prefetch.statements import LONGEST_WORD
from langchain_ptc.run.calls import CallContext, CallOutcome, Pipeline, StartedCall, Time
from langchain_ptc.run.events import Events, names_of
from langchain_ptc.run.graph_tasks import SCRATCHPAD, TaskScope, entered
from langchain_ptc.run.record import PrefetchStats
from langchain_ptc.sandbox.api import Call, Program, Result, Sandbox
from langchain_ptc.sandbox.wire.values import UnsendableValue

logger = logging.getLogger("langchain_ptc")

Prefetch: TypeAlias = Literal["off", "calls", "stream"]
"""Whether read-only calls begin before the code makes them: not, while it runs, or also while the model
still writes it."""

MAX_EARLY_CALLS = 64  # calls that are made early for one program
MAX_PARTS = 32  # parts of one program that are run
_RETRY_SECONDS = 0.02
_MAX_RETRIES = 100  # how often, for one program, it is tried again to find room for a part
_SCOPE = 4  # the first digit of the namespace of an early call; see `run.graph_tasks`

_Key: TypeAlias = tuple[str, bytes]  # a tool, and arguments for it


class _Fetched:
    """A call that was made early, or by the program itself."""

    def __init__(self, call: StartedCall | None = None) -> None:
        self.call = call  # None if the program has made it itself
        self.outcome: asyncio.Future[CallOutcome | None]
        self.outcome = asyncio.get_running_loop().create_future()
        """None if there is nothing to take."""
        self.task: asyncio.Task[Any] | None = None
        self.is_claimed = False
        self.is_waiting = False  # it waits for its turn

    def settle(self, outcome: CallOutcome | None) -> None:
        """Note how the call ended."""
        if not self.outcome.done():
            # What it asks of the graph is applied once, and to the state as it is then.
            is_usable = outcome is not None and outcome.failure is None and not outcome.commands
            self.outcome.set_result(outcome if is_usable else None)


class _Running:
    """A part of the program that runs."""

    def __init__(self, part: Part, *, is_whole: bool) -> None:
        self.part = part
        self.is_exact = is_whole or part.is_rehearsal
        """It is made of what will not change: a loop that is still being written may come to sleep."""
        self.seen: Counter[_Key] = Counter()  # the calls that it has made
        self.has_asked = False  # it has made a call, which had no result yet
        self.task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        """End it."""
        if self.task is not None:
            self.task.cancel()


class Prefetcher:
    """Makes the read-only calls of one program early.

    Made by `ProgrammaticToolExecutor.prefetch`, for code that is still being written: `feed` it each piece, and
    then give it to the execution of the whole code, or `close` it. These two may be called from any thread,
    everything else is called on the event loop of the execution.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        program: Program,
        context: CallContext,
        *,
        pipelines: Mapping[str, Pipeline],
        allowed: Collection[str],
        is_free: Callable[[StartedCall], bool],  # raises `ToolCallError` if that is not known
        config: RunnableConfig,
        state: Any,
        events: Events,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        limits = program.limits
        self._sandbox, self._context, self._pipelines = sandbox, context, pipelines
        self._program = program
        self._allowed, self._is_free = set(allowed), is_free
        self._config, self._state, self._events, self._loop = config, state, events, loop
        self._variables = contextvars.copy_context()
        self._time = Time(limits.tool_seconds, "tool_seconds")
        self._max_calls = min(MAX_EARLY_CALLS, limits.max_tool_calls)
        self.turns = asyncio.Semaphore(limits.max_concurrent_calls)
        """Calls that run at once, those of the execution among them."""
        self._plan = Plan({name: name in self._allowed for name in program.tools})
        self._pieces: deque[str] = deque()  # pieces of the code that are not read yet
        self._column = 0  # characters of the line that is being written
        self._code: list[str] = []
        self._rest: str | None = None
        """What is left of the whole code to be read, once something is to be done with it."""
        self._answered: list[int] = []
        """Lines of the program whose calls have results, which the plan does not know yet."""
        self._is_whole = self._is_over = self._must_rehearse = False
        self._fetched: dict[_Key, list[_Fetched]] = {}
        self._claimed: Counter[_Key] = Counter()
        self._early: list[_Fetched] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rehearsal: _Running | None = None
        self._slice: _Running | None = None
        self._parts = self._retries = 0
        self._retry: asyncio.TimerHandle | None = None
        self._computing_seconds_left = float(limits.cpu_seconds)
        self._hits = self._misses = 0
        self._hidden_seconds = 0.0

    # --- the writer ---------------------------------------------------------------------------------

    def feed(self, text: str) -> None:
        """Take the next piece of the code."""
        self._pieces.append(text)
        _, line_break, line = text.rpartition("\n")
        column, self._column = self._column, len(line) + (0 if line_break else self._column)
        if not line_break and column > LONGEST_WORD:
            return  # the line says already whether it begins a statement, and is not whole
        if asyncio._get_running_loop() is self._loop:
            self._read()
        else:
            self._post(self._read)

    def close(self) -> None:
        """End what was begun; nothing of it will be used."""
        self._post(self.end)

    def _post(self, function: Callable[..., Any], *given: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything has ended
            self._loop.call_soon_threadsafe(function, *given)

    def _read(self) -> None:
        """Read what was fed."""
        try:
            while self._pieces:
                self._code.append(text := self._pieces.popleft())
                if not (self._is_whole or self._is_over) and self._plan.feed(text):
                    self._go_on()
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    # --- the execution ------------------------------------------------------------------------------

    def forbid(self, tools: Collection[str]) -> None:
        """Make no early calls of these tools, and give none to the program."""
        self._allowed.difference_update(tools)

    def serves(self, pipelines: Mapping[str, Pipeline]) -> bool:
        """Whether an execution here, of an executor with these pipelines, may use it."""
        return self._loop is asyncio.get_running_loop() and pipelines is self._pipelines

    def begin(self, code: str, events: Events) -> None:
        """Note that the program runs, and what its whole code is.

        Args:
            code: The code. If it does not begin with what was fed, everything early is dropped.
            events: Those of the execution.
        """
        self._read()
        written = "".join(self._code)
        # A fenced block ends with a line break, which its code does not have.
        if not f"{code}\n".startswith(written):
            self._drop()
        if self._is_over:
            return
        self._is_whole, self._rest, self._events = True, code[len(written) :], events
        if self._plan.assumes:
            self._read_rest()
            if self._plan.is_disproved:
                self._drop()
                return
        if self._rehearsal is not None:
            self._rehearsal.cancel()  # the program itself is ahead of it
        if (
            self._slice is not None and not self._slice.has_asked
        ):  # it will be, or makes one call only
            self._slice.cancel()
            self._plan.take_back(self._slice.part)
            self._slice = None

    def note(self, call: StartedCall) -> None:
        """Note a call that the program makes, before anything is done for it."""
        if not call.definition.policy.read_only:
            self._drop()

    def make_way(self) -> None:
        """End the early calls that the program has not claimed: one that it needs waits for its turn."""
        for fetched in self._early:
            if fetched.task is not None and not fetched.is_claimed:
                fetched.task.cancel()

    async def answer(
        self, call: StartedCall, make: Callable[[StartedCall], Coroutine[Any, Any, CallOutcome]]
    ) -> CallOutcome:
        """Answer a call of the program: by an early call, or by `make`.

        A call that has taken the result of an early one has `ahead_seconds`.
        """
        fetched = self._claim(call)
        if fetched is None:
            return await make(call)
        if fetched.call is not None:
            if fetched.is_waiting:
                self.make_way()
            if (outcome := await _result_of(fetched, call.seconds_left)) is not None:
                self._hits += 1
                self._hidden_seconds += call.take_over(fetched.call)
                self._answered.append(call.line)
                return outcome
            self._misses += 1
            return await make(call)
        outcome = None
        try:
            outcome = await make(call)
        finally:
            fetched.settle(outcome)
        if outcome.commands:  # from here on the state of the graph is another one
            self._drop()
        self._answered.append(call.line)
        return outcome

    def _reach(self, line: int) -> None:
        """Note a call that the program makes itself: it waits, and what does not depend on it may run."""
        self._read_rest()
        for answered in self._answered:
            self._plan.answer(answered)
        self._answered.clear()
        self._plan.reach(line)

    def _read_rest(self) -> None:
        """Have the plan know the whole code."""
        if self._rest is not None:
            self._plan.close(self._rest)
            self._rest = None

    def end(self) -> PrefetchStats:
        """End what runs, and return what became of it."""
        self._drop()
        for fetched in self._early:  # the program is over, or waits for them no longer
            if fetched.task is not None:
                fetched.task.cancel()
        return PrefetchStats(
            hits=self._hits,
            misses=self._misses,
            wasted=sum(not fetched.is_claimed for fetched in self._early),
            hidden_seconds=self._hidden_seconds,
        )

    def _claim(self, call: StartedCall) -> _Fetched | None:
        """Return the early call whose result a call takes, or one for its own; None for neither."""
        if self._is_over or (key := self._key(call)) is None:
            return None
        there, index = self._fetched.setdefault(key, []), self._claimed[key]
        self._claimed[key] += 1
        if index == len(there):
            self._misses += 1
            there.append(_Fetched())
            self._go_on(lambda: self._reach(call.line))
        there[index].is_claimed = True
        return there[index]

    def _key(self, call: StartedCall) -> _Key | None:
        """Return what equal calls have in common; None for a call that is not made early."""
        if call.tool not in self._allowed or call.is_large:
            return None
        try:
            return call.tool, call.encode()
        except UnsendableValue:  # a person has edited its arguments
            return None

    def _drop(self) -> None:
        """Begin nothing more, and give the program nothing that it has not claimed."""
        self._is_over = True
        self.make_way()
        for running in (self._rehearsal, self._slice):
            if running is not None:
                running.cancel()
        if self._retry is not None:
            self._retry.cancel()

    # --- parts of the program -----------------------------------------------------------------------

    def _go_on(self, note: Callable[[], bool | None] = lambda: None) -> None:
        """Note something, and run the parts that are to be run now; not if `note` returns False.

        Whatever happens here, the program is run as it is without.
        """
        if self._is_over:
            return
        try:
            if note() is not False:
                self._rehearse()
                self._run_slice()
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Log an exception, and begin nothing more."""
        name = self._context.execution_id
        logger.error("calls of %s no longer begin early", name, exc_info=error)
        self._drop()

    def _rehearse(self) -> None:
        """Run the beginning of the program, unless one that waits for the same is being run."""
        running = self._rehearsal
        if self._is_whole or (running and running.part.is_async == self._plan.is_async):
            return  # it goes on when this one is through
        if not (self._must_rehearse or self._plan.needs_rehearsal):
            return
        if (part := self._plan.rehearsal()) is not None and self._has_room():
            if running is not None:
                running.cancel()
            self._rehearsal = self._start(part)

    def _run_slice(self) -> None:
        """Make the calls that depend on no missing result, while what runs waits for one."""
        running = self._rehearsal
        is_busy = self._slice is not None or (running is not None and not running.has_asked)
        if not is_busy and (part := self._plan.slice()) is not None and self._has_room():
            self._slice = self._start(part)

    def _has_room(self) -> bool:
        """Whether another part may run now; if it may later, have that tried."""
        is_left = self._parts < MAX_PARTS and len(self._early) < self._max_calls
        if self._is_over or not is_left or self._computing_seconds_left <= 0:
            return False
        if self._sandbox.has_room():
            return True
        if self._retry is None and self._retries < _MAX_RETRIES:
            self._retries += 1
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._try_again)
        return False

    def _try_again(self) -> None:
        self._retry = None
        self._go_on()

    def _start(self, part: Part) -> _Running:
        self._parts += 1
        self._plan.begin(part)
        running = _Running(part, is_whole=self._is_whole)
        running.task = self._spawn(self._run(running))
        return running

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(coroutine, context=self._variables.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, running: _Running) -> None:
        """Run a part of the program, and then what has become known meanwhile."""
        is_complete = False
        try:
            is_complete = await self._run_part(running)
        except (SandboxError, OSError):  # there is no room, whatever it was
            self._computing_seconds_left = 0.0
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        finally:
            if running is self._rehearsal:
                self._rehearsal = None
            if running is self._slice:
                self._slice = None
        is_through = running.part.is_rehearsal and is_complete
        self._go_on(lambda: self._plan.reach_end(running.part) if is_through else None)

    async def _run_part(self, running: _Running) -> bool:
        """Run a part of the program; return whether it came to its end."""
        session = self._sandbox.session()
        part, began = running.part, time.monotonic()

        def resume(number: int, payload: bytes = Result(id=0).payload) -> None:
            nonlocal began
            began = time.monotonic()
            session.resume([Result(id=number, payload=payload)])

        def stop_clock() -> None:
            nonlocal began
            now = time.monotonic()
            self._computing_seconds_left -= now - began
            began = now

        def give(number: int, settled: asyncio.Future[CallOutcome | None]) -> None:
            outcome = settled.result()
            if outcome is None:
                task.cancel()
            else:
                resume(number, outcome.payload)

        def on_calls(calls: Sequence[Call]) -> None:
            stop_clock()
            for call in calls:
                fetched = self._ask(call, running)
                if fetched is None:
                    task.cancel()
                elif call.line in part.ahead:
                    resume(call.id)
                else:
                    fetched.outcome.add_done_callback(functools.partial(give, call.id))

        task = asyncio.ensure_future(
            session.run(replace(self._program, code=part.source), on_calls)
        )
        try:
            done = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                task.cancel()
                raise
            return False
        stop_clock()
        if done.status == "limit":  # so would the next one
            self._computing_seconds_left = 0.0
        return done.status == "success"

    # --- early calls --------------------------------------------------------------------------------

    def _ask(self, asked: Call, running: _Running) -> _Fetched | None:
        """Return the early call for a call of a part; None if the part must not go on."""
        fetched = self._find(asked, running)
        if fetched is None:
            return None
        answered = functools.partial(self._plan.answer, asked.line, running.part)
        if fetched.outcome.done():
            if running.part.is_rehearsal:
                answered()
            return fetched
        running.has_asked = True
        if running.part.is_rehearsal:
            fetched.outcome.add_done_callback(lambda _: answered())
            self._go_on(lambda: self._plan.reach(asked.line, running.part))
        return fetched

    def _find(self, asked: Call, running: _Running) -> _Fetched | None:
        """Return the early call for a call of a part, which begins if there is none; None if it must not."""
        if self._is_over or asked.tool not in self._allowed:
            return None
        number = len(self._early) + 1
        call = StartedCall(asked._replace(id=number), self._context, self._state)
        if call.is_large:
            return None
        try:
            call.settle()
            if (key := self._key(call)) is None:
                return None
            there, index = self._fetched.setdefault(key, []), running.seen[key]
            running.seen[key] += 1
            if index < len(there):
                return there[index]
            if index and not running.is_exact:
                self._must_rehearse = True
                return there[-1]
            if number > self._max_calls or not self._is_free(call):
                return None
        except ToolCallError:
            return None
        fetched = _Fetched(call)
        there.append(fetched)
        self._early.append(fetched)
        fetched.task = self._spawn(self._fetch(fetched, call))
        if self._events.is_heard:
            plain = {"arguments": call.plain_arguments()}
            self._events.emit("prefetch", **names_of(call), plain=plain)
        return fetched

    async def _fetch(self, fetched: _Fetched, call: StartedCall) -> None:
        """Make an early call. Whatever it raises, the program meets when it makes the call itself."""
        outcome = None
        try:
            began, fetched.is_waiting = time.monotonic(), True
            async with self.turns:
                fetched.is_waiting = False
                call.waited_seconds += time.monotonic() - began
                call.time, call.seconds_left = self._time, self._time.seconds
                call.config = self._config_of(call.number)
                with entered(call.config):
                    outcome = await self._pipelines[call.tool](call)
                call.end("returned", outcome.size)
        except asyncio.CancelledError:
            raise
        except BaseException:  # noqa: BLE001  # tools may raise anything
            return
        finally:
            fetched.settle(outcome)

    def _config_of(self, number: int) -> RunnableConfig:
        """Return the configuration for an early call: what it asks a person must not count as the program's."""
        configurable = self._config.get("configurable") or {}
        if SCRATCHPAD not in configurable:
            return self._config
        scope = TaskScope(configurable, f"{_SCOPE}{number:010}", None)
        return {**self._config, "configurable": {**configurable, **scope.configurable}}


async def _result_of(fetched: _Fetched, seconds: float) -> CallOutcome | None:
    """Return the outcome of an early call; None if there is none in that time."""
    try:
        async with asyncio.timeout(seconds):
            # The code may stop waiting for it, and another reader not.
            return await asyncio.shield(fetched.outcome)
    except TimeoutError:
        return None
