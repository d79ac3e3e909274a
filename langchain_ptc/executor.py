"""`ProgrammaticToolExecutor`: runs code over a catalog in a sandbox, without a model; and one execution of it.

Where an execution runs decides how it is driven: with a journal in a graph that has a checkpointer, else without.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_ptc.background_loop import call_in_thread, call_off_loop, loop_here, run_sync
from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.search import build_own_tool
from langchain_ptc.check.checker import Checker, render_problems
from langchain_ptc.errors import Problem, ReplayError, check_choice
from langchain_ptc.run.approvals import ApprovalMiddleware, Approvals, InterruptMode, InterruptOn
from langchain_ptc.run.arguments import ArgumentReader
from langchain_ptc.run.budgets import (
    Budget,
    BudgetExhausted,
    BudgetMeter,
    Budgets,
    CallLimit,
    Usage,
)
from langchain_ptc.run.budgets import budget as read_budget
from langchain_ptc.run.call_policy import CallPolicies, build_pipeline
from langchain_ptc.run.calls import CallContext, Route, StartedCall, is_pause
from langchain_ptc.run.dispatch import Dispatcher
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
from langchain_ptc.run.log import ExecutionLog
from langchain_ptc.run.plain import OnToolError, Redact
from langchain_ptc.run.prefetcher import Prefetch, Prefetcher
from langchain_ptc.run.record import ExecutionResult, large_parts
from langchain_ptc.run.replay_driver import ReplayDriver
from langchain_ptc.sandbox.api import Done, Failure, Limits, Moment, Program, Replay, Sandbox
from langchain_ptc.sandbox.host.process import ProcessSandbox, checked_imports
from langchain_ptc.sandbox.host.workers import one_deeper
from langchain_ptc.sandbox.wire.content import checked_files
from langchain_ptc.sandbox.wire.protocol import limit_reached

Durable: TypeAlias = Literal["auto", "always", "never"]
Check: TypeAlias = Literal["static", "types", "off"]
"""What the code is checked against before it runs: the stubs, the stubs and a type checker, nothing."""

_SEED_BITS = 48
_MAX_CHARS_ON_LOOP = 2_000
"""Longer code is checked in a thread: it may take a while, and would block the event loop."""


class ProgrammaticToolExecutor:
    """Runs code that calls tools.

    One executor serves any number of executions, from any event loop or thread.

    Args:
        catalog: The tools that the code may call; anything that `ToolCatalog` takes.
        sandbox: Where the code runs; by default a `ProcessSandbox` that all executors with the same
            `imports` share, and that ends with the process.
        limits: As in `as_programmatic`, and so are `imports`, `files`, `interrupt_on`, `interrupt_mode`,
            `durable`, `prefetch`, `on_event`, `check`, `log`, `redact`, `budget`, `run_budget`,
            `on_tool_error` and `call_policies`.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: `imports` or `files` is given with `sandbox`, tools need approval with
            `durable="never"`, or an option is invalid.
        SandboxError: `files` on a system other than Linux.
    """

    def __init__(
        self,
        catalog: ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]],
        *,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
        interrupt_on: InterruptOn | None = None,
        interrupt_mode: InterruptMode = "batched",
        durable: Durable = "auto",
        prefetch: Prefetch = "off",
        on_event: OnEvent | None = None,
        check: Check = "static",
        log: ExecutionLog | None = None,
        redact: Redact = "secrets",
        budget: Budget | None = None,
        run_budget: Budget | None = None,
        on_tool_error: OnToolError = "message",
        call_policies: CallPolicies | None = None,
    ) -> None:
        if sandbox is not None and imports:
            raise ValueError(
                "pass imports to the sandbox itself, for example "
                f"ProcessSandbox(imports={list(imports)!r}), or leave out sandbox"
            )
        if sandbox is not None and files:
            raise ValueError(
                f"pass files to the sandbox itself, ProcessSandbox(files={files!r}), or leave out sandbox"
            )
        check_choice("on_tool_error", on_tool_error, OnToolError)
        check_choice("durable", durable, Durable)
        check_choice("prefetch", prefetch, Prefetch)
        check_choice("check", check, Check)
        self._durable, self._on_event, self._check, self._log = durable, on_event, check, log
        self._redact, self._on_tool_error = redact, on_tool_error
        if redact not in ("secrets", "none") and not callable(redact):
            raise ValueError(f"redact must be 'secrets', 'none' or a function, got {redact!r}")
        self.prefetching: Prefetch = prefetch
        self.catalog = catalog if isinstance(catalog, ToolCatalog) else ToolCatalog(catalog)
        if budget is not None or run_budget is not None:
            self.catalog = self.catalog.with_functions(build_own_tool(read_budget))
        self.limits = limits or Limits()
        self.sandbox: Sandbox = sandbox or _default_sandbox(checked_imports(imports), files)
        self._approvals = Approvals(self.catalog, interrupt_on, interrupt_mode)
        if self._approvals and durable == "never":
            raise ValueError(
                "durable='never' cannot be used with tools that need approval: after the pause, the code "
                "would repeat the calls that it made before it; leave out durable"
            )
        self.call_policies = call_policies or CallPolicies()
        """The policies of its tools, and their state."""
        dispatchers = {
            d.qualified_name: Dispatcher(d, is_own=d in self.catalog.discovery)
            for d in self.catalog.callables
        }
        self._readers = {name: ArgumentReader(d.definition) for name, d in dispatchers.items()}
        self._pipelines = {
            name: build_pipeline(dispatcher, self.call_policies, on_tool_error, self.catalog)
            for name, dispatcher in dispatchers.items()
        }
        self._checker = Checker(self.catalog, self.sandbox.modules)
        self._refusals = Refusals()
        self.budgets = Budgets(budget, run_budget, self.catalog)
        """What its executions, and runs of the graph, may spend."""
        self._reads_state = self.budgets.is_for_run or any(
            d.is_injected for d in dispatchers.values()
        )
        self._readable = frozenset(n for n, d in dispatchers.items() if d.can_prefetch)
        """Qualified names of the tools whose calls may begin early, unless a person must approve them."""

    def start(self, code: str, **options: Any) -> Execution:
        """Prepare an execution; does not run it yet.

        Args:
            code: The program that the model wrote.
            options: The other options of `Execution`.
        """
        return Execution(self, code, **options)

    def prefetch(self, *, config: RunnableConfig | None = None, **options: Any) -> Prefetcher:
        """Take code while it is written, and begin calls that it is going to make.

        Give it each piece as it comes (`feed`), and then to `execute` or `aexecute` with the whole code, on
        the same event loop; or `close` it.

        Args:
            config: Callbacks, tags, metadata and so on for the tools.
            options: What else the execution will have: `state`, `inputs` (encoded), `kept`, `route`, `sync`.

        Raises:
            ValueError: The executor does not have `prefetch="stream"`.
        """
        if self.prefetching != "stream":
            raise ValueError(
                "calls begin while the code is written only with prefetch='stream'; this executor has "
                f"prefetch={self.prefetching!r}"
            )
        return self._build_prefetcher(self._approvals, config, **options)

    def _build_prefetcher(
        self,
        approvals: Approvals,
        config: RunnableConfig | None,
        *,
        state: Any = None,
        inputs: Mapping[str, bytes] | None = None,
        kept: bytes | None = None,
        route: Route | None = None,
        sync: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Prefetcher:
        """Return what makes calls of one code early, by default with the config and on the loop that are here.

        Without the encoded `inputs`, calls that need them do not begin early. For the rest see `Execution`.
        """
        config = ensure_config(config)
        thread_id = (config.get("configurable") or {}).get("thread_id")
        events = Events(self._on_event, refusals=self._refusals, thread_id=thread_id)
        events.execution_id = f"prefetch-{uuid.uuid4()}"
        return Prefetcher(
            self.sandbox,
            self._program("", inputs=inputs or {}, kept=kept),
            self._context(events, stem=events.execution_id, route=route, sync=sync),
            pipelines=self._pipelines,
            allowed=self._readable - approvals.rules.keys(),
            is_free=self.budgets.is_free,
            config=config,
            state=state,
            events=events,
            loop=loop or loop_here(),
        )

    def _program(self, code: str, **options: Any) -> Program:
        types, tools = self.catalog.type_names, tuple(self._readers)
        return Program(code=code, tools=tools, types=types, limits=self.limits, **options)

    def _context(self, events: Events, **options: Any) -> CallContext:
        """Return what the calls of one code share."""
        return CallContext(
            readers=self._readers,
            execution_id=events.execution_id,
            redact=self._redact,
            on_tool_error=self._on_tool_error,
            limits=self.limits,
            is_watched=events.is_watched,
            report=events.emit_call_progress,
            **options,
        )

    def execute(
        self,
        code: str,
        *,
        config: RunnableConfig | None = None,
        inputs: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        call_id: str | None = None,
        prefetcher: Prefetcher | None = None,
    ) -> ExecutionResult:
        """Run code from synchronous code; see `aexecute`."""
        execution = self.start(
            code, config=config, inputs=inputs, files=files, call_id=call_id, prefetcher=prefetcher
        )
        return execution.run().result

    async def aexecute(
        self,
        code: str,
        *,
        config: RunnableConfig | None = None,
        inputs: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        call_id: str | None = None,
        prefetcher: Prefetcher | None = None,
    ) -> ExecutionResult:
        """Run code and wait for its result.

        Args:
            code: The program that the model wrote.
            config: Callbacks, tags, metadata and so on for the tools.
            inputs: Values that the code finds in variables, by name: `{"orders": frame}`. They arrive as
                results of tools do: as plain data, a frame as a list of records.
            files: Files that the code finds in its folder, by name: `{"orders.csv": b"..."}`.
            call_id: Id of the tool call that requested the execution.
            prefetcher: What has taken the code while it was written; see `prefetch`.

        Returns:
            The record of the execution. Errors of the code are reported in it, and not raised.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph, or a person must approve a call.
            TypeError: The content of a file is not bytes.
            ValueError: `durable="always"` without a checkpointer; one of `inputs` that the code cannot be given,
                or that is larger than `Limits.result_bytes`; or files without a folder, that do not
                fit into it, or with a name that no file can have.
        """
        execution = Execution(
            self,
            code,
            config=config,
            inputs=inputs,
            files=files,
            call_id=call_id,
            prefetcher=prefetcher,
        )
        return (await execution.arun()).result


@dataclass(eq=False, repr=False)
class Execution:
    """One execution; runs once. Made by `ProgrammaticToolExecutor.start`.

    Raises:
        TypeError: The content of a file is not bytes.
        ValueError: Approvals, and no journal; or files that the code cannot be given.
    """

    executor: ProgrammaticToolExecutor
    code: str
    _: KW_ONLY
    config: RunnableConfig | None = None  # for the tools; by default that of the surrounding run
    call_id: str | None = None
    """Of the tool call that asked for it, with which the ids of its calls begin; by default its own id."""
    state: Any = None  # of the graph, for tools that take it; None to look it up
    route: Route | None = None  # how calls get to their tools; None for directly
    on_output: Callable[[str], None] | None = None  # called with what the code prints, as it comes
    files: Mapping[str, bytes] | None = None
    """In the folder of the code, by name; by default those in `configurable` under `ptc_files`."""
    inputs: Mapping[str, Any] | None = None
    """Values that the code finds in variables, by name; see `encode_inputs`."""
    kept: bytes | None = None
    """What an earlier execution of the session kept; empty for the first one, None for no session."""
    prior_usage: Usage | None = None  # what the run has spent that its state does not show
    arguments: Mapping[str, Any] | None = None
    """Some of that tool call, which distinguish it from others with the same id."""
    channels: Channels | None = None  # of the graph, where `config` does not lead to them
    approvals: Sequence[ApprovalMiddleware] = ()  # of the agent around it
    call_limits: Callable[[ToolCatalog, Any], Sequence[CallLimit]] | None = None
    """Returns the limits of the agent around it, for the catalog and the state."""
    prefetcher: Prefetcher | None = None  # what has taken the code while it was written

    def __post_init__(self) -> None:
        executor = self.executor
        self._approvals = executor._approvals
        if self.approvals:
            self._approvals = self._approvals.joined(self.approvals)
            if self._approvals and executor._durable == "never":
                raise ValueError(
                    "durable='never' in an agent whose HumanInTheLoopMiddleware asks about tools of the code: "
                    "after the pause the code would make again what it had made before it; leave out durable"
                )
        self._lines = self.code.splitlines()
        self._config = ensure_config(self.config)
        configurable = self._config.get("configurable") or {}
        self._thread_id = configurable.get("thread_id")
        room, files = executor.sandbox.files_bytes, self.files
        if files is None and room:
            files = configurable.get("ptc_files")
        self._files = checked_files(files, room) if files or room else None
        self._inputs: dict[str, bytes] = {}
        self._sync = False
        self._events = Events(
            executor._on_event,
            self.on_output,
            refusals=executor._refusals,
            thread_id=self._thread_id,
        )
        # What is known when it begins:
        self._id = ""
        self._stem: str | None = None  # what the ids of its calls begin with; None for its own id
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
            ValueError: `durable="always"` without a checkpointer; or one of `inputs` that the code
                cannot be given.
        """
        given = self.prefetcher
        if given is not None and not given.serves(self.executor._pipelines):
            given.close()  # it belongs to another event loop, or its calls to other tools
            self.prefetcher = None
        try:
            return await self._run()
        finally:
            if self.prefetcher is not None:
                self.prefetcher.end()

    async def _run(self) -> Outcome:
        if self.state is None and (self.executor._reads_state or self.call_limits is not None):
            self.state = await read_state(self._config)
        if self.inputs:
            executor = self.executor
            self._inputs = await encode_inputs(
                self.inputs, self.code, executor.limits, names_of(executor.catalog)
            )
        is_durable, place = self._is_durable(), None
        if is_durable or self.call_id is not None:
            place, self._stem = identify(self.call_id, self.state, self.arguments, self._config)
        if not is_durable:
            self._clock = time.monotonic()
            self._begin(str(uuid.uuid4()), time.time())
            if (refused := await self._refuse()) is not None:
                return Outcome(result=await self._report(refused))
            return await self._drive(LiveDriver(**self._parts()))
        opening: JournalEntry = {
            "execution_id": str(uuid.uuid4()),
            "code": _digest(self.code),
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
        durable = self.executor._durable
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
        await journal.claim(2 * (self.executor.limits.wall_seconds + computed))
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
            is_same_code=opening["code"] == _digest(self.code),
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
            driver.prefetcher.begin(self.code, self._events)
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
        executor, limits = self.executor, self.call_limits
        channels = channels_of(self._config) if self.channels is None else self.channels
        self._graph_state = GraphState(self.state, channels)
        call_limits = () if limits is None else limits(executor.catalog, self.state)
        if executor.budgets.is_set or call_limits:
            self._meter = executor.budgets.open(
                self.state,
                call_id=self.call_id,
                thread_id=self._thread_id,
                prior_usage=self.prior_usage,
                call_limits=call_limits,
            )
        if self._is_resumed:
            self._events.is_replay = True
        self._events.emit(
            "execution_start", call_id=self.call_id, code=self.code, resumed=self._is_resumed
        )

    async def _refuse(self) -> Done | None:
        """Return the end of an execution that must not begin."""
        allowed = self.executor.limits.code_chars
        if len(self.code) > allowed:
            return limit_reached("code_chars", allowed, len(self.code), output="")
        executor = self.executor
        problems: tuple[Problem, ...] = ()
        # Only a worker knows what a session has kept.
        kept = tuple(self._inputs) if self.kept is None else None
        if executor._check != "off":
            check = functools.partial(executor._checker.check, self.code, kept=kept)
            is_long = len(self.code) > _MAX_CHARS_ON_LOOP
            problems = await call_in_thread(check) if is_long else check()
        if not problems and executor._check == "types":
            from langchain_ptc.check.typecheck import typecheck_code

            types = functools.partial(typecheck_code, self.code, executor.catalog, kept=kept)
            problems = await call_in_thread(types)
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

    def _parts(self, replay: Replay | None = None) -> dict[str, Any]:
        """Return what each driver gets."""
        executor, meter = self.executor, self._meter
        session = executor.sandbox.session()
        if meter is not None:
            meter.read_output = lambda: session.output
        context = executor._context(
            self._events,
            stem=self._stem or self._id,
            lines=self._lines,
            route=self.route,
            sync=self._sync,
            check_commands=self._graph_state.check,
        )
        program = executor._program(
            self.code, replay=replay, files=self._files, inputs=self._inputs, kept=self.kept
        )
        return {
            "session": session,
            "program": program,
            "context": context,
            "calls": self._calls,
            "pipelines": executor._pipelines,
            "meter": meter,
            "approvals": self._approvals,
            "graph_state": self._graph_state,
            "events": self._events,
            "config": self._config,
            "prefetcher": self._find_prefetcher(),
        }

    def _find_prefetcher(self) -> Prefetcher | None:
        """Return what makes calls early, with the tools that it may still call."""
        executor = self.executor
        if executor.prefetching == "off" or self._is_resumed:
            return None  # what a resumed execution has recorded, it must not read again
        if self.prefetcher is None:
            self.prefetcher = executor._build_prefetcher(
                self._approvals,
                self._config,
                state=self.state,
                inputs=self._inputs,
                kept=self.kept,
                route=self.route,
                sync=self._sync,
            )
        for limit in () if self._meter is None else self._meter.call_limits:
            self.prefetcher.forbid(executor._readable if limit.tools is None else limit.tools)
        self.prefetcher.forbid(self._approvals.rules)
        return self.prefetcher

    # --- the record ---------------------------------------------------------------------------------

    async def _report(self, done: Done, driver: Driver | None = None) -> ExecutionResult:
        """Return the record of the execution, and report and log it."""
        seconds = None if driver is None else driver.elapsed_seconds
        if seconds is None:
            seconds = time.monotonic() - self._clock
        passed, failure = (datetime.now(UTC) - self._started_at).total_seconds(), done.failure
        shown = self.executor.limits.output_chars
        # Those before a pause that the code did not reach again are there, too.
        calls = {number: record for number, (_, record) in self._recorded.items()}
        for call in self._calls:
            if call.is_replayed or call.number not in calls:
                calls[call.number] = call.finish()
        result = ExecutionResult(
            execution_id=self._id,
            code=self.code,
            status=done.status if failure is None else status_of(done, self._calls),
            output=done.output,
            value=done.value,
            error=None if failure is None else hide_secrets(failure, self._calls, self._lines),
            notes=done.notes,
            shown=() if driver is None else tuple(driver.session.shown),
            files=done.files,
            tool_calls=tuple(map(calls.__getitem__, sorted(calls))),
            started_at=self._started_at,
            duration_seconds=seconds,
            paused_seconds=max(0.0, passed - seconds) if self._is_resumed else 0.0,
            output_chars=shown if self._meter is None else self._meter.shown_chars(shown),
            prefetch=None if self.prefetcher is None else self.prefetcher.end(),
        )
        if self._meter is not None:
            report = await call_off_loop(result.report, result.value)
            spent = self._meter.close(seconds=seconds, shown_chars=len(report))
            result = replace(result, spent=spent.to_dict())
        self._events.emit_result(result, self._calls)
        if self.executor._log is not None:
            self.executor._log.note(result)
        return result


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


@functools.cache
def _default_sandbox(imports: tuple[str, ...], files: bool | int) -> ProcessSandbox:
    """Return the default sandbox, one for the process: agents that are made for each request share its pool."""
    return ProcessSandbox(imports=imports, files=files)
