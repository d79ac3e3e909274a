"""One execution of one code: where it runs decides how it is driven, and what is recorded of it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_ptc.background_loop import call_in_thread, call_off_loop, loop_here, run_sync
from langchain_ptc.check.checker import Checker, render_problems
from langchain_ptc.errors import Problem, ReplayError
from langchain_ptc.limits import Limits
from langchain_ptc.run.budgets import BudgetExhausted, BudgetMeter, CallLimit, Usage
from langchain_ptc.run.calls import CallContext, Pipeline, Route, StartedCall, is_pause
from langchain_ptc.run.driver import (
    Driver,
    LiveDriver,
    Outcome,
    RecordedCalls,
    ended_by,
    hide_secrets,
    read_calls,
    read_outcome,
    status_of,
    write_outcome,
)
from langchain_ptc.run.events import Events, OnEvent, Refusals
from langchain_ptc.run.graph_state import (
    Channels,
    GraphState,
    channels_of,
    checkpointer_of,
    read_state,
)
from langchain_ptc.run.graph_tasks import identify
from langchain_ptc.run.inputs import encode_inputs, names_of
from langchain_ptc.run.journal import Journal, JournalEntry, run_journaled
from langchain_ptc.run.prefetcher import Prefetch, Prefetcher
from langchain_ptc.run.record import ExecutionResult, ToolCallRecord, large_parts
from langchain_ptc.run.redaction import OnToolError, Redact
from langchain_ptc.run.replay_driver import ReplayDriver
from langchain_ptc.sandbox.api import Done, Failure, Moment, Program, Replay, Sandbox
from langchain_ptc.sandbox.host.workers import one_deeper
from langchain_ptc.sandbox.wire.content import checked_files
from langchain_ptc.sandbox.wire.protocol import limit_reached

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.run.approvals import ApprovalMiddleware, Approvals
    from langchain_ptc.run.arguments import ArgumentReader
    from langchain_ptc.run.log import ExecutionLog
    from langchain_ptc.run.run_budgets import Budgets

Durable: TypeAlias = Literal["auto", "always", "never"]
Check: TypeAlias = Literal["static", "types", "off"]
"""What the code is checked against before it runs: the stubs, the stubs and a type checker, nothing."""

_SEED_BITS = 48
_MAX_CHARS_ON_LOOP = 2_000
"""Longer code is checked in a thread: it may take a while, and would block the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """What all executions of one executor share."""

    catalog: ToolCatalog
    limits: Limits
    sandbox: Sandbox
    readers: Mapping[str, ArgumentReader]
    pipelines: Mapping[str, Pipeline]
    approvals: Approvals
    durable: Durable
    on_event: OnEvent | None
    check: Check
    redact: Redact
    log: ExecutionLog | None
    refusals: Refusals
    budgets: Budgets
    on_tool_error: OnToolError
    reads_state: bool
    """A budget needs the state of the graph, or a tool takes it."""
    prefetch: Prefetch
    readable: frozenset[str]
    """Qualified names of the tools whose calls may begin early, unless a person must approve them."""
    checker: Checker


class Execution:
    """One execution; runs once. Made by `ProgrammaticToolExecutor.start`.

    Args:
        executor: What it shares with the others of its executor.
        code: What the model wrote.
        config: Callbacks, tags, metadata and the rest for the tools; by default those of the surrounding
            run.
        call_id: Id of the tool call that asked for the execution; calls of the code get ids that begin
            with it, and that no other call has. By default the execution's own id.
        state: The state of the graph, for tools that take it; None to look it up.
        route: How calls get to their tools; None for directly.
        on_output: Called with what the code prints, as it comes.
        files: Files that the code finds in its folder, by name; by default those in the `configurable`
            of `config` under `ptc_files`, if it has a folder.
        inputs: Values that the code finds in variables, by name; see `encode_inputs`.
        kept: Variables that an earlier execution of the same session kept (`Outcome.kept`); empty for
            the first one, None for no session.
        prior_usage: What the run has spent that its state does not show.
        arguments: Arguments of that tool call, or some of them, which distinguish it from others of its
            message with the same id.
        channels: The channels of the graph, where `config` does not lead to them.
        approvals: The `HumanInTheLoopMiddleware` of the agent around it.
        call_limits: Returns the limits of the agent around it, for the catalog and the state.
        prefetcher: What has taken the code while it was written.

    Raises:
        TypeError: The content of a file is not bytes.
        ValueError: Approvals, and no journal; or files that the code cannot be given.
    """

    def __init__(
        self,
        executor: ExecutorConfig,
        code: str,
        *,
        config: RunnableConfig | None = None,
        call_id: str | None = None,
        state: Any = None,
        route: Route | None = None,
        on_output: Callable[[str], None] | None = None,
        files: Mapping[str, bytes] | None = None,
        inputs: Mapping[str, Any] | None = None,
        kept: bytes | None = None,
        prior_usage: Usage | None = None,
        arguments: Mapping[str, Any] | None = None,
        channels: Channels | None = None,
        approvals: Sequence[ApprovalMiddleware] = (),
        call_limits: Callable[[ToolCatalog, Any], Sequence[CallLimit]] | None = None,
        prefetcher: Prefetcher | None = None,
    ) -> None:
        self._executor = _with_approvals(executor, approvals) if approvals else executor
        self._call_limits = call_limits
        self._prefetcher = prefetcher
        self._code = code
        self._lines = code.splitlines()
        self._config = ensure_config(config)
        self._thread_id = (self._config.get("configurable") or {}).get("thread_id")
        self._call_id = call_id
        self._arguments = arguments
        self._channels = channels
        self._state = state
        self._route = route
        room = executor.sandbox.files_bytes
        if files is None and room:
            files = (self._config.get("configurable") or {}).get("ptc_files")
        self._files = checked_files(files, room) if files or room else None
        self._given = inputs or {}
        self._inputs: dict[str, bytes] = {}
        self._kept = kept
        self._prior_usage = prior_usage
        self._sync = False
        self._events = Events(
            executor.on_event,
            on_output,
            refusals=executor.refusals,
            thread_id=self._thread_id,
        )
        # What is known when it begins:
        self._id = ""
        self._stem: str | None = None
        """What the ids of its calls begin with; None for its own id."""
        self._is_resumed = False
        self._started_at, self._clock = datetime.now(UTC), time.monotonic()
        self._meter: BudgetMeter | None = None
        self._graph_state: GraphState
        self._calls: list[StartedCall] = []
        self._recorded: RecordedCalls = {}
        """The calls that the journal held when this run began, by number."""
        self._outcome: Outcome | None = None

    def run(self) -> Outcome:
        """Run the code to its end from synchronous code; see `arun`."""
        self._sync = True
        return run_sync(self.arun())

    async def arun(self) -> Outcome:
        """Run the code to its end.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            ValueError: `durable="always"` where there is no checkpointer; or one of `inputs` that the code
                cannot be given.
        """
        given = self._prefetcher
        if given is not None and not given.serves(self._executor.pipelines):
            given.close()  # it belongs to another event loop, or its calls to other tools
            self._prefetcher = None
        try:
            return await self._run()
        finally:
            if self._prefetcher is not None:
                self._prefetcher.end()

    async def _run(self) -> Outcome:
        if self._state is None and (self._executor.reads_state or self._call_limits is not None):
            self._state = await read_state(self._config)
        if self._given:
            executor = self._executor
            self._inputs = await encode_inputs(
                self._given, self._code, executor.limits, names_of(executor.catalog)
            )
        is_durable, place = self._is_durable(), None
        if is_durable or self._call_id is not None:
            place, self._stem = identify(self._call_id, self._state, self._arguments, self._config)
        if not is_durable:
            self._clock = time.monotonic()
            self._begin(str(uuid.uuid4()), time.time())
            if (refused := await self._refuse()) is not None:
                return Outcome(result=await self._report(refused))
            return await self._drive(LiveDriver(**self._parts()))
        opening: JournalEntry = {
            "execution_id": str(uuid.uuid4()),
            "code": _digest(self._code),
            "seed": secrets.randbits(_SEED_BITS),
            "unix": time.time(),
            "stem": self._stem,
        }
        if self._files:  # it may be resumed without them
            opening["files"] = self._files
        main = functools.partial(self._run_journaled, opening["execution_id"])
        entry = await run_journaled(main, opening, place=place, sync=self._sync)
        if self._outcome is not None:
            return self._outcome
        return await call_off_loop(lambda: read_outcome(entry), entry["value"])

    def _is_durable(self) -> bool:
        durable = self._executor.durable
        if durable == "never":
            return False
        has_checkpointer = checkpointer_of(self._config) is not None
        if durable == "always" and not has_checkpointer:
            raise ValueError(
                "durable='always' needs a graph that is compiled with a checkpointer, and this code "
                "runs in none; compile the graph with one, or use durable='auto'"
            )
        return has_checkpointer

    async def _run_journaled(
        self, own_id: str, journal: Journal, opening: JournalEntry
    ) -> JournalEntry:
        """Run with a journal; `own_id` is that of the journal's first entry, unless it is resumed."""
        computed = max((float(e.get("computed", 0.0)) for e in journal.entries), default=0.0)
        await journal.claim(2 * (self._executor.limits.wall_seconds + computed))
        self._recorded = read_calls(journal.entries)
        self._stem = opening.get("stem", self._stem)
        self._files = opening.get("files", self._files)
        self._is_resumed = opening["execution_id"] != own_id
        self._begin(opening["execution_id"], opening["unix"])
        # Code that has begun has passed the check: another version of it must not undo that.
        if not self._is_resumed and (refused := await self._refuse()) is not None:
            return await self._end(Outcome(result=await self._report(refused)))
        replay = Replay(
            seed=opening["seed"],
            start=Moment(unix=opening["unix"], elapsed=0.0),
            computed_seconds=computed,
        )
        driver = ReplayDriver(
            **self._parts(replay),
            journal=journal,
            recorded=self._recorded,
            is_resumed=self._is_resumed,
            is_same_code=opening["code"] == _digest(self._code),
        )
        outcome = await self._drive(driver)
        # The commands of a call apply, whether the code reached the call again or not.
        for number, (recorded, _) in self._recorded.items():
            self._graph_state.write_once(number, recorded.commands)
        return await self._end(replace(outcome, commands=self._graph_state.commands()))

    async def _drive(self, driver: Driver) -> Outcome:
        """Run the code to its end."""
        session = driver.session
        watching = None
        if driver.prefetcher is not None:
            driver.prefetcher.begin(self._code, self._events)
        if self._events.shows_output:
            watching = asyncio.ensure_future(self._events.watch(session))
        try:
            with one_deeper():
                done = await driver.run()
        except ReplayError as error:
            done = Done(status="error", failure=Failure(kind="ReplayError", message=str(error)))
        except BudgetExhausted as spent:
            done = spent.end(session.output)
        except BaseException as error:
            if is_pause(error):  # no end; also an answer that does not fit: the question stays
                self._events.emit("execution_pause", waiting=driver.waiting, status="pending")
            else:
                await self._report(ended_by(error, session.output), driver)
            raise
        finally:
            if watching is not None:
                watching.cancel()
        result = await self._report(done, driver)
        return Outcome(result=result, commands=self._graph_state.commands(), kept=done.kept)

    async def _end(self, outcome: Outcome) -> JournalEntry:
        """Return the last entry of the journal."""
        large = large_parts(outcome.result)
        self._outcome, entry = await call_off_loop(lambda: write_outcome(outcome), *large)
        return entry

    def _begin(self, execution_id: str, unix: float) -> None:
        """Note the id of the execution and when it began, and report that it is running."""
        self._id = self._events.execution_id = execution_id
        self._started_at = datetime.fromtimestamp(unix, UTC)
        self._calls.clear()
        executor, limits = self._executor, self._call_limits
        channels = channels_of(self._config) if self._channels is None else self._channels
        self._graph_state = GraphState(self._state, channels)
        call_limits = () if limits is None else limits(executor.catalog, self._state)
        if executor.budgets.is_set or call_limits:
            self._meter = executor.budgets.open(
                self._state,
                call_id=self._call_id,
                thread_id=self._thread_id,
                prior_usage=self._prior_usage,
                call_limits=call_limits,
            )
        if self._is_resumed:
            self._events.is_replay = True
        self._events.emit(
            "execution_start", call_id=self._call_id, code=self._code, resumed=self._is_resumed
        )

    # --- parts --------------------------------------------------------------------------------------

    async def _refuse(self) -> Done | None:
        """Return the end of an execution that must not begin."""
        allowed = self._executor.limits.code_chars
        if len(self._code) > allowed:
            return limit_reached("code_chars", allowed, len(self._code), output="")
        problems = await self._check()
        if not problems:
            return None
        failure = Failure(
            kind="CheckError",
            message=render_problems(problems),
            line=problems[0].line,
            source_line=problems[0].source_line,
            problems=problems,
        )
        return Done(status="refused", failure=failure)

    async def _check(self) -> tuple[Problem, ...]:
        executor = self._executor
        if executor.check == "off":
            return ()
        # Only a worker knows what a session has kept.
        kept = tuple(self._inputs) if self._kept is None else None
        check = functools.partial(executor.checker.check, self._code, kept=kept)
        is_long = len(self._code) > _MAX_CHARS_ON_LOOP
        problems = await call_in_thread(check) if is_long else check()
        if not problems and executor.check == "types":
            from langchain_ptc.check.typecheck import typecheck_code

            types = functools.partial(typecheck_code, self._code, executor.catalog, kept=kept)
            return await call_in_thread(types)
        return problems

    def _parts(self, replay: Replay | None = None) -> dict[str, Any]:
        """Return what each driver gets."""
        executor, meter = self._executor, self._meter
        session = executor.sandbox.session()
        if meter is not None:
            meter.read_output = lambda: session.output
        context = CallContext(
            readers=executor.readers,
            execution_id=self._id,
            stem=self._stem or self._id,
            lines=self._lines,
            route=self._route,
            sync=self._sync,
            redact=executor.redact,
            on_tool_error=executor.on_tool_error,
            limits=executor.limits,
            is_watched=self._events.is_watched,
            check_commands=self._graph_state.check,
            report=self._events.emit_call_progress,
        )
        program = Program(
            code=self._code,
            tools=tuple(executor.readers),
            types=executor.catalog.type_names,
            limits=executor.limits,
            replay=replay,
            files=self._files,
            inputs=self._inputs,
            kept=self._kept,
        )
        return {
            "session": session,
            "program": program,
            "context": context,
            "calls": self._calls,
            "pipelines": executor.pipelines,
            "meter": meter,
            "approvals": executor.approvals,
            "graph_state": self._graph_state,
            "events": self._events,
            "config": self._config,
            "prefetcher": self._find_prefetcher(),
        }

    def _find_prefetcher(self) -> Prefetcher | None:
        """Return what makes calls early, with the tools that it may still call."""
        executor = self._executor
        if executor.prefetch == "off" or self._is_resumed:
            return None  # what a resumed execution has recorded, it must not read again
        if self._prefetcher is None:
            self._prefetcher = build_prefetcher(
                executor,
                config=self._config,
                state=self._state,
                inputs=self._inputs,
                kept=self._kept,
                route=self._route,
                sync=self._sync,
            )
        for limit in () if self._meter is None else self._meter.call_limits:
            self._prefetcher.forbid(executor.readable if limit.tools is None else limit.tools)
        self._prefetcher.forbid(executor.approvals.rules)
        return self._prefetcher

    # --- the record ---------------------------------------------------------------------------------

    def _all_calls(self) -> tuple[ToolCallRecord, ...]:
        """Return the record of each call, and of those before a pause that the code did not reach."""
        calls = {number: record for number, (_, record) in self._recorded.items()}
        for call in self._calls:
            if call.is_replayed or call.number not in calls:
                calls[call.number] = call.finish()
        return tuple(map(calls.__getitem__, sorted(calls)))

    async def _report(self, done: Done, driver: Driver | None = None) -> ExecutionResult:
        """Return the record of the execution, and report and log it.

        Args:
            done: How it ended.
            driver: What ran it; None if nothing did.
        """
        seconds = None if driver is None else driver.elapsed_seconds
        if seconds is None:
            seconds = time.monotonic() - self._clock
        passed, failure = (datetime.now(UTC) - self._started_at).total_seconds(), done.failure
        shown = self._executor.limits.output_chars
        result = ExecutionResult(
            execution_id=self._id,
            code=self._code,
            status=done.status if failure is None else status_of(done, self._calls),
            output=done.output,
            value=done.value,
            error=None if failure is None else hide_secrets(failure, self._calls, self._lines),
            notes=done.notes,
            shown=() if driver is None else tuple(driver.session.shown),
            files=done.files,
            tool_calls=self._all_calls(),
            started_at=self._started_at,
            duration_seconds=seconds,
            paused_seconds=max(0.0, passed - seconds) if self._is_resumed else 0.0,
            output_chars=shown if self._meter is None else self._meter.shown_chars(shown),
            prefetch=None if self._prefetcher is None else self._prefetcher.end(),
        )
        if self._meter is not None:
            report = await call_off_loop(result.report, result.value)
            spent = self._meter.close(seconds=seconds, shown_chars=len(report))
            result = replace(result, spent=spent.to_dict())
        self._events.emit_result(result, self._calls)
        if self._executor.log is not None:
            self._executor.log.note(result)
        return result


def build_prefetcher(
    executor: ExecutorConfig,
    *,
    config: RunnableConfig | None = None,
    state: Any = None,
    inputs: Mapping[str, bytes] | None = None,
    kept: bytes | None = None,
    route: Route | None = None,
    sync: bool = False,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Prefetcher:
    """Return what makes calls of one code early.

    Args:
        executor: What will run the code.
        config: Callbacks, tags, metadata and the rest for the tools; by default those of the surrounding
            run.
        state: The state of the graph.
        inputs: Variables that the code is given, encoded. Without them, calls that need them do not begin
            early.
        kept: Variables of the session; see `Execution`.
        route: How calls get to their tools; None for directly.
        sync: Whether the code will be run from synchronous code.
        loop: The event loop of its execution; by default the one that an execution would have which is
            started here.
    """
    config = ensure_config(config)
    stem = f"prefetch-{uuid.uuid4()}"
    events = Events(
        executor.on_event,
        refusals=executor.refusals,
        thread_id=(config.get("configurable") or {}).get("thread_id"),
    )
    events.execution_id = stem
    context = CallContext(
        readers=executor.readers,
        execution_id=stem,
        stem=stem,
        route=route,
        sync=sync,
        redact=executor.redact,
        on_tool_error=executor.on_tool_error,
        limits=executor.limits,
        is_watched=events.is_watched,
        report=events.emit_call_progress,
    )
    program = Program(
        code="",
        tools=tuple(executor.readers),
        types=executor.catalog.type_names,
        limits=executor.limits,
        inputs=inputs or {},
        kept=kept,
    )
    return Prefetcher(
        executor.sandbox,
        program,
        context,
        pipelines=executor.pipelines,
        allowed=executor.readable - executor.approvals.rules.keys(),
        is_free=executor.budgets.is_free,
        config=config,
        state=state,
        events=events,
        loop=loop or loop_here(),
    )


def _with_approvals(
    executor: ExecutorConfig, approvals: Sequence[ApprovalMiddleware]
) -> ExecutorConfig:
    """Return a config with the approvals that the agent around it asks for.

    Raises:
        ValueError: There are any, and no journal.
    """
    joined = executor.approvals.joined(approvals)
    if joined and executor.durable == "never":
        raise ValueError(
            "durable='never' in an agent whose HumanInTheLoopMiddleware asks about tools of the code: "
            "after the pause the code would make again what it had made before it; leave out durable"
        )
    return replace(executor, approvals=joined)


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
