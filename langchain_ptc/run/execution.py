"""One execution of one code: where it runs decides how it is driven, and what is kept of it."""

from __future__ import annotations

import functools
import hashlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.errors import GraphInterrupt

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.check.checker import check_code, render_problems
from langchain_ptc.errors import Problem, ReplayError
from langchain_ptc.limits import Limits
from langchain_ptc.run.approvals import ApprovalMiddleware, Approvals
from langchain_ptc.run.asking import Asking
from langchain_ptc.run.budgets import BudgetSpent, CallLimit, Purse, Spent
from langchain_ptc.run.call_runner import CallRunner, Pipeline
from langchain_ptc.run.calls import DEFAULT_CONTEXT, Route, StartedCall, ToolContext
from langchain_ptc.run.dispatch import Dispatcher, read_state
from langchain_ptc.run.ending import end_by, end_of_replay, hide_secrets, status_of
from langchain_ptc.run.error_text import OnToolError
from langchain_ptc.run.events import Events, OnEvent, Refusals
from langchain_ptc.run.graph_state import Channels, GraphState, channels_of
from langchain_ptc.run.journal import (
    Journal,
    Record,
    arun_journaled,
    has_checkpointer,
    run_journaled,
)
from langchain_ptc.run.journal_entries import read_calls
from langchain_ptc.run.live_driver import FreeRun
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.outcome import Outcome, read_outcome, write_outcome
from langchain_ptc.run.parallel_pauses import Place
from langchain_ptc.run.parts import RunParts
from langchain_ptc.run.policies.call_policy import is_pause
from langchain_ptc.run.private_loop import call_in_thread, call_off_loop, run_sync
from langchain_ptc.run.record import ExecutionResult, ToolCallRecord, large_parts
from langchain_ptc.run.redaction import Redact
from langchain_ptc.run.replay_driver import SteppedRun
from langchain_ptc.run.run_budgets import Budgets
from langchain_ptc.sandbox.api import (
    Call,
    Done,
    Failure,
    Moment,
    Program,
    Replay,
    Sandbox,
    Session,
)
from langchain_ptc.sandbox.host.nesting import one_deeper
from langchain_ptc.sandbox.wire.protocol import limit_reached

Durable: TypeAlias = Literal["auto", "always", "never"]
Check: TypeAlias = Literal["static", "types", "off"]
"""What the code is held against before it runs: the stubs, the stubs and a type checker, nothing."""

_SEED_BITS = 48
_MOST_CHARS_AT_ONCE = 2_000
"""Longer code is checked in a thread: it may take a while, and the event loop is everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all executions of one executor share."""

    catalog: ToolCatalog
    limits: Limits
    sandbox: Sandbox
    dispatchers: Mapping[str, Dispatcher]
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


class Execution:
    """One execution; runs once. Made by `ProgrammaticToolExecutor.start`."""

    def __init__(
        self,
        setting: Setting,
        code: str,
        *,
        config: RunnableConfig | None = None,
        call_id: str | None = None,
        state: Any = None,
        route: Route | None = None,
        on_output: Callable[[str], None] | None = None,
        kept: bytes | None = None,
        carried: Spent | None = None,
        arguments: Mapping[str, Any] | None = None,
        channels: Channels | None = None,
        approvals: Sequence[ApprovalMiddleware] = (),
        call_limits: Callable[[ToolCatalog, Any], Sequence[CallLimit]] | None = None,
    ) -> None:
        self._setting = _guarded(setting, approvals)
        self._call_limits = call_limits
        self._code = code
        self._lines = code.splitlines()
        self._config = ensure_config(config)
        self._call_id = call_id
        self._arguments = arguments
        self._place: Place | None = None
        self._channels = channels
        self._stem = call_id
        """What the ids of its calls begin with; None for its own id."""
        self._state = state
        self._route = route
        self._kept = kept
        self._carried = carried
        self._purse: Purse | None = None
        self._graph_state = GraphState(None, {})
        self._outcome: Outcome | None = None
        self._sync = False
        self._events = Events(
            setting.on_event,
            on_output,
            refusals=setting.refusals,
            thread_id=self._config.get("configurable", {}).get("thread_id"),
        )
        self._opened: Record = {}
        self._id = ""
        self._context = DEFAULT_CONTEXT
        self._calls: list[StartedCall] = []
        self._recorded: Mapping[int, ToolCallRecord] = {}
        """The calls that the journal held when this run began, by number."""

    def run(self) -> Outcome:
        """Run the code to its end from synchronous code; see `arun`."""
        self._sync = True
        run_sync(self._look_around())
        if not self._is_durable():
            return run_sync(self._run_freely())
        most = 2 * self._setting.limits.max_tool_calls  # an approval and a call each
        return self._ended(
            run_journaled(self._run_in_steps, self._open(), most_at_once=most, place=self._place)
        )

    async def arun(self) -> Outcome:
        """Run the code to its end.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            ValueError: `durable="always"` where there is no checkpointer.
        """
        await self._look_around()
        if not self._is_durable():
            return await self._run_freely()
        record = await arun_journaled(self._run_in_steps, self._open(), place=self._place)
        return await call_off_loop(lambda: self._ended(record), record["result"])

    async def _look_around(self) -> None:
        """Find what the execution needs to know of the graph that it runs in."""
        setting = self._setting
        if self._state is None and (
            setting.budgets.is_for_run
            or self._call_limits is not None
            or any(d.is_injected for d in setting.dispatchers.values())
        ):
            self._state = await read_state(self._config)
        asking = Asking(self._call_id, self._state, self._arguments, self._config)
        self._place, self._stem = asking.place, asking.stem

    def _is_durable(self) -> bool:
        durable = self._setting.durable
        if durable == "never":
            return False
        can_be = has_checkpointer(self._config)
        if durable == "always" and not can_be:
            raise ValueError(
                "durable='always' needs a graph that is compiled with a checkpointer, and this code "
                "runs in none; compile the graph with one, or use durable='auto'"
            )
        return can_be

    def _open(self) -> Record:
        """Return what an execution begins with, and begins with again when it is resumed."""
        self._opened = {
            "execution_id": str(uuid.uuid4()),
            "code": _digest(self._code),
            "seed": secrets.randbits(_SEED_BITS),
            "unix": time.time(),
            "stem": self._stem,
        }
        return self._opened

    # --- the two ways -------------------------------------------------------------------------------

    async def _run_freely(self) -> Outcome:
        self._begin(str(uuid.uuid4()), resumed=False)
        started_at, clock = datetime.now(UTC), time.monotonic()
        if (refused := await self._refuse()) is not None:
            return Outcome(result=await self._tell(refused, started_at, time.monotonic() - clock))
        session = self._setting.sandbox.session()
        run = FreeRun(self._parts(session, self._program()))
        try:
            with one_deeper():
                async with self._events.watching(session):
                    done = await run.to_end()
        except BudgetSpent as spent:
            done = spent.end(session.output)
        except BaseException as error:
            if is_pause(error):
                self._events.tell_pause(waiting=1)
                raise
            end = end_by(error, session.output)
            await self._tell(end, started_at, time.monotonic() - clock)
            raise
        result = await self._tell(done, started_at, time.monotonic() - clock)
        return Outcome(result=result, commands=self._graph_state.commands(), kept=done.kept)

    async def _run_in_steps(self, journal: Journal, opening: Record) -> Record:
        is_resumed = opening["execution_id"] != self._opened["execution_id"]
        computed = journal.computed_seconds
        await journal.claim(2 * (self._setting.limits.wall_seconds + computed))
        recorded = read_calls(journal.records)
        self._recorded = {number: call for number, (call, _) in recorded.items()}
        self._stem = opening.get("stem", self._stem)
        self._begin(opening["execution_id"], resumed=is_resumed)
        started_at, clock = datetime.fromtimestamp(opening["unix"], UTC), time.monotonic()
        # What has run was found right, then: another version of the check must not undo it.
        if not is_resumed and (refused := await self._refuse()) is not None:
            return await self._end(
                Outcome(result=await self._tell(refused, started_at, time.monotonic() - clock))
            )
        replay = Replay(
            seed=opening["seed"],
            start=Moment(unix=opening["unix"], elapsed=0.0),
            computed_seconds=computed,
        )
        session = self._setting.sandbox.session()
        run = SteppedRun(
            self._parts(session, replace(self._program(), replay=replay)),
            journal=journal,
            is_resumed=is_resumed,
        )
        if opening["code"] != _digest(self._code):
            done = end_of_replay(ReplayError("the code is not the one that ran before the pause"))
        else:
            try:
                with one_deeper():
                    async with self._events.watching(session):
                        done = await run.to_end()
            except ReplayError as error:
                done = end_of_replay(error)
            except BudgetSpent as spent:
                done = spent.end(session.output)
            except GraphInterrupt:  # a pause, and no end
                raise
            except BaseException as error:
                if is_pause(error):  # a person's answer that does not fit: the question stays
                    self._events.tell_pause(waiting=run.waiting)
                    raise
                end = end_by(error, session.output)
                await self._tell(end, started_at, run.elapsed_seconds, is_resumed=is_resumed)
                raise
        result = await self._tell(done, started_at, run.elapsed_seconds, is_resumed=is_resumed)
        # What a call has asked of the graph holds, whether the code came to the call again or not.
        for number, (_, asked) in recorded.items():
            self._graph_state.write_once(number, asked)
        commands = self._graph_state.commands()
        return await self._end(Outcome(result=result, commands=commands, kept=done.kept))

    async def _end(self, outcome: Outcome) -> Record:
        """Return the ending record of a journal."""
        self._outcome = outcome
        return await call_off_loop(lambda: write_outcome(outcome), *large_parts(outcome.result))

    def _ended(self, record: Record) -> Outcome:
        """Return how it ended, in this run or in one that the journal has kept."""
        return read_outcome(record) if self._outcome is None else self._outcome

    def _begin(self, execution_id: str, *, resumed: bool) -> None:
        self._id = self._events.execution_id = execution_id
        self._calls.clear()
        catalog = self._setting.catalog
        channels = channels_of(self._config) if self._channels is None else self._channels
        self._graph_state = GraphState(self._state, channels)
        self._purse = self._setting.budgets.open(
            self._state,
            call_id=self._call_id,
            thread_id=(self._config.get("configurable") or {}).get("thread_id"),
            carried=self._carried,
            call_limits=(
                () if self._call_limits is None else self._call_limits(catalog, self._state)
            ),
        )
        if resumed:
            self._events.replay()
        self._events.tell(
            "execution_start", call_id=self._call_id, code=self._code, resumed=resumed
        )

    # --- parts --------------------------------------------------------------------------------------

    async def _refuse(self) -> Done | None:
        """Return the end of an execution that is not to begin."""
        most = self._setting.limits.code_chars
        if len(self._code) > most:
            return limit_reached("code_chars", most, len(self._code), output="")
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
        setting = self._setting
        if setting.check == "off":
            return ()
        # Only a worker knows what a session has kept.
        kept: tuple[str, ...] | None = () if self._kept is None else None
        modules = setting.sandbox.modules
        check = functools.partial(
            check_code, self._code, setting.catalog, modules=modules, kept=kept
        )
        if len(self._code) > _MOST_CHARS_AT_ONCE:
            problems = await call_in_thread(check)
        else:
            problems = check()
        if not problems and setting.check == "types":
            from langchain_ptc.check.typecheck import typecheck_code

            types = functools.partial(typecheck_code, self._code, setting.catalog, kept=kept)
            return await call_in_thread(types)
        return problems

    def _parts(self, session: Session, program: Program) -> RunParts:
        return RunParts(
            session=session,
            program=program,
            runner=self._runner(session),
            approvals=self._setting.approvals,
            start=self._start,
            graph_state=self._graph_state,
            events=self._events,
            config=self._config,
        )

    def _program(self) -> Program:
        catalog = self._setting.catalog
        return Program(
            code=self._code,
            tools=tuple(d.qualified_name for d in catalog.callables),
            types=catalog.type_names,
            limits=self._setting.limits,
            kept=self._kept,
        )

    def _runner(self, session: Session) -> CallRunner:
        if self._purse is not None:
            self._purse.read_output = lambda: session.output
        self._context = ToolContext(
            route=self._route,
            sync=self._sync,
            redact=self._setting.redact,
            on_tool_error=self._setting.on_tool_error,
            result_bytes=self._setting.limits.result_bytes,
            is_watched=self._events.is_watched,
            check_commands=self._graph_state.check,
            observe=self._setting.catalog.observe,
        )
        return CallRunner(
            self._setting.pipelines, self._setting.limits, self._events, purse=self._purse
        )

    def _start(self, call: Call) -> StartedCall:
        line = self._lines[call.line - 1].strip() if 0 < call.line <= len(self._lines) else ""
        started = StartedCall(
            call,
            self._setting.dispatchers[call.tool].definition,
            execution_id=self._id,
            call_id=f"{self._stem or self._id}:{call.id}",
            source_line=line,
            context=self._context,
        )
        started.state = self._graph_state.current
        self._calls.append(started)
        return started

    def _shown_chars(self) -> int:
        most = self._setting.limits.output_chars
        return most if self._purse is None else self._purse.shown_chars(most)

    def _all_calls(self) -> tuple[ToolCallRecord, ...]:
        """Return the record of each call, with those of before a pause that the code did not reach."""
        calls = {call.number: call.finish() for call in self._calls}
        reached = {call.number for call in self._calls if call.is_end_told}
        calls.update((n, call) for n, call in self._recorded.items() if n not in reached)
        return tuple(calls[number] for number in sorted(calls))

    async def _tell(
        self, done: Done, started_at: datetime, seconds: float, *, is_resumed: bool = False
    ) -> ExecutionResult:
        passed = (datetime.now(UTC) - started_at).total_seconds()
        result = ExecutionResult(
            execution_id=self._id,
            code=self._code,
            status=status_of(done, self._calls),
            output=done.output,
            value=done.value,
            error=hide_secrets(done.failure, self._calls, self._lines),
            notes=done.notes,
            tool_calls=self._all_calls(),
            started_at=started_at,
            duration_seconds=seconds,
            paused_seconds=max(0.0, passed - seconds) if is_resumed else 0.0,
            output_chars=self._shown_chars(),
        )
        if self._purse is not None:
            report = await call_off_loop(result.report, result.value)
            spent = self._purse.close(seconds=seconds, shown_chars=len(report))
            result = replace(result, spent=spent.to_dict())
        self._events.tell_result(result, self._calls)
        if self._setting.log is not None:
            self._setting.log.note(result)
        return result


def _guarded(setting: Setting, approvals: Sequence[ApprovalMiddleware]) -> Setting:
    """Return a setting with the approvals that the agent around it asks for.

    Raises:
        ValueError: There are any, and no journal.
    """
    if not approvals:
        return setting
    joined = setting.approvals.joined(approvals)
    if joined and setting.durable == "never":
        raise ValueError(
            "durable='never' in an agent whose HumanInTheLoopMiddleware asks about tools of the code: "
            "after the pause the code would make again what it had made before it; leave out durable"
        )
    return replace(setting, approvals=joined)


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
