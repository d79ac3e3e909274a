"""`ProgrammaticToolExecutor`: run code over a catalog in a sandbox, and keep a record of it."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.errors import LimitExceeded, ToolCallError
from langchain_ptc.execution.dispatch import Dispatcher
from langchain_ptc.execution.portal import run_sync
from langchain_ptc.execution.record import CallStatus, ExecutionResult, ToolCallRecord
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.base import (
    Call,
    CallFailure,
    Done,
    Program,
    Result,
    Sandbox,
    Session,
)
from langchain_ptc.sandbox.process import ProcessSandbox, checked_imports
from langchain_ptc.sandbox.protocol import limit_reached
from langchain_ptc.sandbox.values import UnsendableValue, ValueTooLarge, encode_sized

_CANCEL_SECONDS = 0.2
"""How long tools that are cancelled at the end of an execution may take to notice."""


class ProgrammaticToolExecutor:
    """Runs code that calls tools.

    One executor serves any number of executions, from any event loop or thread.

    Args:
        catalog: The tools that the code may call; anything that `ToolCatalog` takes will do.
        limits: What each execution may use.
        sandbox: Where the code runs; by default a `ProcessSandbox` that all executors with the same
            `imports` share, and that ends with the process.
        imports: Modules that the code may import besides the standard ones, for the default
            sandbox.

    Raises:
        CatalogError: The tools cannot be offered to code.
        ValueError: Both `sandbox` and `imports` are given.
    """

    def __init__(
        self,
        catalog: ToolCatalog | Sequence[Any] | Mapping[str, Sequence[Any]],
        *,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        if sandbox is not None and imports:
            raise ValueError(
                "pass imports to the sandbox itself, for example "
                f"ProcessSandbox(imports={list(imports)!r}), or leave out sandbox"
            )
        self.catalog = catalog if isinstance(catalog, ToolCatalog) else ToolCatalog(catalog)
        self.limits = limits or Limits()
        self.sandbox: Sandbox = sandbox or _default_sandbox(checked_imports(imports))
        self._dispatchers = {
            definition.qualified_name: Dispatcher(definition) for definition in self.catalog
        }

    def execute(
        self, code: str, *, config: RunnableConfig | None = None, call_id: str | None = None
    ) -> ExecutionResult:
        """Run code to its end from synchronous code; see `aexecute`."""
        run = _Execution(self, code, config, call_id, sync=True)
        return run_sync(run.to_end())

    async def aexecute(
        self, code: str, *, config: RunnableConfig | None = None, call_id: str | None = None
    ) -> ExecutionResult:
        """Run code to its end.

        Args:
            code: What the model wrote.
            config: Callbacks, tags, metadata and the rest for the tools.
            call_id: Id of the tool call that asked for the execution; calls of the code get ids
                that begin with it. By default the execution's own id.

        Returns:
            The record. Whatever the code does, it is told there and not raised.

        Raises:
            SandboxError: The machine could not start a worker.
            GraphBubbleUp: A tool interrupted the graph.
        """
        return await _Execution(self, code, config, call_id, sync=False).to_end()


@functools.cache
def _default_sandbox(imports: tuple[str, ...]) -> ProcessSandbox:
    """Return the sandbox for those who choose none; it lives as long as the process.

    Whoever builds an agent for each request must not start a parent of workers for each.
    """
    return ProcessSandbox(imports=imports)


class _Execution:
    """One execution on its way."""

    def __init__(
        self,
        executor: ProgrammaticToolExecutor,
        code: str,
        config: RunnableConfig | None,
        call_id: str | None,
        *,
        sync: bool,
    ) -> None:
        self._executor = executor
        self._code = code
        self._config = ensure_config(config)
        self._sync = sync
        self._id = str(uuid.uuid4())
        self._call_id = call_id or self._id
        self._limits = executor.limits
        self._dispatchers = executor._dispatchers
        self._session: Session | None = None
        self._running: asyncio.Future[Done] | None = None
        self._broken: BaseException | None = (
            None  # an interrupt of the graph, or a fault of the host
        )
        self._turns = asyncio.Semaphore(self._limits.max_concurrent_calls)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: dict[int, _StartedCall] = {}
        self._used: dict[str, int] = {}

    async def to_end(self) -> ExecutionResult:
        started_at, clock = datetime.now(UTC), time.monotonic()
        try:
            done = await self._run()
        finally:
            await self._stop_tools()
        return ExecutionResult(
            execution_id=self._id,
            code=self._code,
            status=done.status,
            output=done.output,
            value=done.value,
            error=done.failure,
            notes=done.notes,
            tool_calls=tuple(call.finish() for call in self._started.values()),
            started_at=started_at,
            duration_seconds=time.monotonic() - clock,
            output_chars=self._limits.output_chars,
        )

    async def _run(self) -> Done:
        if len(self._code) > self._limits.code_chars:
            return limit_reached("code_chars", self._limits.code_chars, len(self._code), output="")
        catalog = self._executor.catalog
        program = Program(
            code=self._code, tools=catalog.names, types=catalog.type_names, limits=self._limits
        )
        self._session = session = self._executor.sandbox.session()
        self._running = asyncio.ensure_future(session.run(program, self._begin_calls))
        try:
            return await self._running
        except asyncio.CancelledError:
            if self._broken is not None:
                raise self._broken from None
            self._running.cancel()
            raise

    async def _stop_tools(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CANCEL_SECONDS)

    # --- calls --------------------------------------------------------------------------------------

    def _begin_calls(self, calls: Sequence[Call]) -> None:
        for call in calls:
            started = _StartedCall(
                call,
                self._dispatchers[call.tool].definition,
                execution_id=self._id,
                call_id=f"{self._call_id}:{call.id}",
            )
            self._started[call.id] = started
            task = asyncio.ensure_future(self._answer(started))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: _StartedCall) -> None:
        try:
            async with self._turns:
                payload = await self._call_tool(call)
        except ToolCallError as error:
            call.fail(str(error))
            failure = CallFailure(
                message=str(error), limit=error.limit, allowed=error.allowed, used=error.used
            )
            result = Result(id=call.number, failure=failure)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # not the code's to see
            self._broken = error
            assert self._running is not None
            self._running.cancel()
            return
        else:
            result = Result(id=call.number, payload=payload)
        assert self._session is not None
        self._session.resume([result])

    async def _call_tool(self, call: _StartedCall) -> str:
        definition = call.definition
        call.arguments = definition.bind(call.args, call.kwargs)
        self._count(definition)
        seconds = min(self._limits.tool_seconds, definition.policy.timeout_seconds or float("inf"))
        dispatcher = self._dispatchers[definition.qualified_name]
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                value = await dispatcher.call(
                    call.arguments,
                    call.call_id,
                    self._config,
                    sync=self._sync,
                    on_reached=call.reach,
                )
        except TimeoutError:
            if not clock.expired():
                raise
            limit = "tool_seconds" if seconds == self._limits.tool_seconds else None
            told = f" (limit {limit})" if limit else ""
            raise ToolCallError(
                f"{definition.qualified_name} did not answer within {seconds:g} seconds{told}; "
                "it may still take effect",
                tool=definition.qualified_name,
                limit=limit,
                allowed=seconds,
            ) from None
        payload, call.result_bytes = self._encode(value, definition)
        call.end("returned")
        return payload

    def _count(self, definition: ToolDefinition) -> None:
        name, most = definition.qualified_name, definition.policy.max_calls
        used = self._used[name] = self._used.get(name, 0) + 1
        if most is not None and used > most:
            raise ToolCallError(
                f"{name} may be called {most} times in one execution, and was", tool=name
            )

    def _encode(self, value: Any, definition: ToolDefinition) -> tuple[str, int]:
        name = definition.qualified_name
        try:
            return encode_sized(value, self._limits.result_bytes)
        except ValueTooLarge as error:
            told = LimitExceeded(
                limit="result_bytes", allowed=self._limits.result_bytes, used=error.size
            )
            raise ToolCallError(
                f"the result of {name} is too large: {told}; ask the tool for less",
                tool=name,
                limit=told.limit,
                allowed=told.allowed,
                used=told.used,
            ) from None
        except UnsendableValue as error:
            raise ToolCallError(
                f"the result of {name} cannot be used: {error}", tool=name
            ) from None


class _StartedCall:
    """One call while it runs; becomes a `ToolCallRecord`."""

    def __init__(
        self, call: Call, definition: ToolDefinition, *, execution_id: str, call_id: str
    ) -> None:
        self.number = call.id
        self.args = call.args
        self.kwargs = call.kwargs
        self.line = call.line
        self.definition = definition
        self.execution_id = execution_id
        self.call_id = call_id
        self.arguments: Mapping[str, Any] | None = None
        self.status: CallStatus = "refused"
        self.error: str | None = None
        self.result_bytes = 0
        self._started_at = datetime.now(UTC)
        self._clock = time.monotonic()
        self._seconds: float | None = None

    def reach(self) -> None:
        """Note that the tool itself begins: from here on the call may take effect."""
        self.status = "cancelled"

    def fail(self, error: str) -> None:
        """Note why it gave no value; a call that never reached its tool was refused."""
        self.error = error
        self.end("refused" if self.status == "refused" else "failed")

    def end(self, status: CallStatus) -> None:
        """Note how it ended."""
        self.status = status
        self._seconds = time.monotonic() - self._clock

    def finish(self) -> ToolCallRecord:
        """Return its record."""
        if self._seconds is None:
            self._seconds = time.monotonic() - self._clock
            self.error = "the execution ended first"
        arguments = self.arguments
        if arguments is None:
            arguments = {**{f"argument {n}": a for n, a in enumerate(self.args, 1)}, **self.kwargs}
        return ToolCallRecord(
            call_id=self.call_id,
            execution_id=self.execution_id,
            tool=self.definition.name,
            domain=self.definition.domain,
            arguments=arguments,
            line=self.line,
            status=self.status,
            started_at=self._started_at,
            duration_seconds=self._seconds,
            result_bytes=self.result_bytes,
            error=self.error,
        )
