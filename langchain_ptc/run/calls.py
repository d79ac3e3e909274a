"""One tool call in flight: from what the code asked for to its record."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.types import Command

from langchain_ptc.background_loop import call_in_thread, run_sync
from langchain_ptc.catalog.annotations import read_annotations, signature_of
from langchain_ptc.catalog.definition import ToolCallInfo
from langchain_ptc.errors import ToolCallError
from langchain_ptc.run.arguments import ArgumentReader
from langchain_ptc.run.plain import (
    NUMBERS,
    OnToolError,
    Redact,
    as_plain,
    cut,
    describe_failure,
    redact_arguments,
    redact_text,
)
from langchain_ptc.run.record import ApprovalDecision, CallStatus, ToolCallRecord
from langchain_ptc.sandbox.api import Call, CallFailure, Limits
from langchain_ptc.sandbox.wire.values import (
    MAX_ITEMS,
    TooManyItems,
    UnsendableValue,
    encode_value,
    is_iterator,
    is_large,
    take_items,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.definition import ToolDefinition

_RECORDED = (
    "status",
    "error",
    "limit",
    "attempts",
    "is_cache_hit",
    "breaker",
    "waited_seconds",
    "result_bytes",
    "ahead_seconds",
    "inner",
)
"""What a call that was made before a pause has of its record."""
_SHORTEST = 1e-6
"""Seconds; a call that took the result of an early one began before it, however little."""
_MAX_CHARS_SEARCHED = 100_000
"""How much of an error's text is searched for secrets; far less of it is passed on."""
_MAX_ENCODED_AT_ONCE = 2  # large results: each takes several times its size meanwhile

Route: TypeAlias = Callable[[BaseTool, ToolCall, RunnableConfig, Any], Awaitable[Any]]
"""A way to a tool through what else handles tool calls, for example an agent's middleware, with the state
of the graph for it; gives the tool's message, its command, or a list of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """What the code is given for a call, and what the graph is."""

    payload: bytes = b"\xc0"  # the value, encoded; see `sandbox.wire.values`
    size: int = 0  # its bytes; see `ToolCallRecord.result_bytes`
    failure: CallFailure | None = None
    commands: tuple[Command[Any], ...] = ()  # what the tool asked the graph to do


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What the calls of one execution share."""

    readers: Mapping[str, ArgumentReader]
    """Read the arguments for each tool, by the name that the code calls it."""
    execution_id: str = ""
    stem: str = ""  # what the ids of its calls begin with
    lines: Sequence[str] = ()  # the lines of its code
    route: Route | None = None  # how calls go to their tools; None for directly
    sync: bool = False  # the caller is synchronous: prefer a tool's synchronous implementation
    redact: Redact = "secrets"
    on_tool_error: OnToolError = "message"  # what the code sees of what a tool raises
    limits: Limits = field(default_factory=Limits)
    is_watched: bool = False  # events of its calls go to a listener while it runs
    check_commands: Callable[[Sequence[Command[Any]]], None] = lambda _: None
    """Raises if the graph cannot apply what a tool asks of it."""
    report: Callable[[StartedCall, str, str], None] = lambda *_: None
    """Emits how far a call is: its state, and a text."""
    callbacks: dict[int, tuple[tuple[Any, ...], BaseCallbackManager | None]] = field(
        default_factory=dict
    )
    """What each `Dispatcher` has made for its calls, and what of."""
    encoding_turns: asyncio.Semaphore = field(
        default_factory=functools.partial(asyncio.Semaphore, _MAX_ENCODED_AT_ONCE)
    )


class Time(NamedTuple):
    """How long a call may take, without its waiting."""

    seconds: float
    limit: str | None  # the limit that says so; None for the policy of the tool


NO_LIMIT = Time(365 * 24 * 3600.0, None)


class StartedCall:
    """One call while it runs; becomes a `ToolCallRecord`.

    The layers of its pipeline set `attempts`, `is_cache_hit`, `breaker` and `waited_seconds` for its
    record.
    """

    ahead_seconds = 0.0  # how long before the code made it it began; see `run.prefetcher`
    inner: Mapping[str, int] = MappingProxyType({})  # what was used below it; see `ToolCallRecord`
    arguments: Mapping[str, Any] | None = None
    """What the tool's function is called with: validated, and with defaults; None before that is
    known. Every decision and every report uses these."""
    status: CallStatus = "refused"
    approval: ApprovalDecision | None = None
    approved_by: str | None = None  # who decided; None if nobody was asked, or if it is not known
    is_reached = False  # the tool itself has begun: from there on the call may take effect
    attempts = 0  # tries that were made of the tool, the first included
    is_cache_hit = False  # the result is an earlier call's; the tool was not called
    breaker: str | None = None
    """The state of the tool's circuit breaker when the call met it; None if it has none."""
    waited_seconds = 0.0  # of its time, what it waited: for its turn, a rate limit, between tries
    error: str | None = None
    limit: str | None = None  # the field of `Limits` that it hit
    result_bytes = 0
    commands: tuple[Command[Any], ...] = ()  # what the tool asked the graph to do
    knows_budget = False
    """An error had said that the budget is used up before the code made the call."""
    over_budget: ToolCallError | None = None
    """What refused a call below it, for which nothing was left; its tool may have hidden that."""
    is_replayed = False  # it was made before a pause, and its events were emitted then
    time = NO_LIMIT
    seconds_left = NO_LIMIT.seconds
    _shown: tuple[Mapping[str, Any], Mapping[str, Any], int] | None = None
    _plain: dict[str, Any] | None = None
    _packed: bytes | None = None
    _seconds: float | None = None
    _record: ToolCallRecord | None = None

    def __init__(self, call: Call, context: CallContext, state: Any = None) -> None:
        self._reader = context.readers[call.tool]
        self.number = call.id
        self.args = call.args
        self.kwargs = call.kwargs
        self.line = call.line
        self.definition = self._reader.definition
        self.tool = call.tool  # what the code calls the tool
        self.context = context
        self.execution_id = context.execution_id
        self.call_id = f"{context.stem}:{call.id}"
        self.given: Mapping[str, Any] = {}  # what the tool is invoked with; see `Arguments`
        self.passed: Mapping[str, Any] = {}  # what the code passed, under the tool's own names
        self.state = state
        """The state of the graph when the code made the call; for the tool, and for the person who approves it."""
        self.config: RunnableConfig = {}  # the caller's, while the call is made
        self.is_large = is_large((call.args, call.kwargs))
        """Processing its arguments takes a while: it is done in a thread."""
        self._digests: dict[bool, str] = {}
        self._started_at = datetime.now(UTC)
        self._clock = time.monotonic()

    def prepare(self) -> None:
        """Settle the arguments, and compute what records and events show; for a thread. Raises `ToolCallError`."""
        try:
            self.settle()
        finally:
            (self.plain_arguments if self.context.is_watched else self._describe)()

    def settle(
        self, definition: ToolDefinition | None = None, passed: Mapping[str, Any] | None = None
    ) -> None:
        """Settle which tool is called, and with what: as the code said, or as a person has edited it.

        Raises:
            ToolCallError: The arguments do not fit the tool.
        """
        reader, name = self._reader, self.tool
        if definition is not None and definition is not self.definition:
            reader, name = ArgumentReader(definition), definition.qualified_name
        if passed is None:
            passed = reader.bind(self.args, self.kwargs)
        try:
            self.passed, self.arguments, self.given = reader.validate(passed)
        except Exception as error:
            text = describe_failure(name, error, self.context.on_tool_error, is_reached=False)
            raise ToolCallError(text, tool=name) from error
        self._reader, self.definition, self.tool = reader, reader.definition, name
        self._shown = self._plain = self._packed = None
        self._digests.clear()

    @property
    def is_in_flight(self) -> bool:
        """Whether it has not ended."""
        return self._seconds is None

    @property
    def source_line(self) -> str:
        """The line of the code that made the call; empty if unknown."""
        lines = self.context.lines
        return lines[self.line - 1].strip() if 0 < self.line <= len(lines) else ""

    def info(self) -> ToolCallInfo:
        """Return what functions of the developer receive."""
        return ToolCallInfo(
            tool=self.tool,
            arguments=dict(self.arguments or {}),  # the tool is given its own
            call_id=self.call_id,
            execution_id=self.execution_id,
        )

    def report(self, state: str, text: str) -> None:
        """Emit how far the call is; for tools that are told by others."""
        self.context.report(self, state, self.hide(text))

    def refuse(self, error: ToolCallError) -> CallOutcome:
        """Note why it gave no value; return what the code gets, without the secrets that it passed.

        A call that has reached its tool has failed; another one was refused, or denied by a person.
        """
        self.error = message = cut(self.hide(str(error)[:_MAX_CHARS_SEARCHED]))
        self.limit = error.limit
        self.end("failed" if self.is_reached else self.status)
        failure = CallFailure(
            message=message, limit=error.limit, allowed=error.allowed, used=error.used
        )
        return CallOutcome(failure=failure)

    def end(self, status: CallStatus, result_bytes: int = 0) -> None:
        """Note how it ended."""
        self.status, self.result_bytes = status, result_bytes
        self._seconds = time.monotonic() - self._clock
        self._record = None
        if self.is_large:
            self._packed = None

    def take_over(self, early: StartedCall) -> float:
        """Take over how an equal call ended that was made early; return how much of its time is saved."""
        for name in ("attempts", "is_cache_hit", "breaker", "waited_seconds"):
            setattr(self, name, getattr(early, name))
        self.is_reached, seconds = True, early._seconds or 0.0
        self.ahead_seconds = max(_SHORTEST, self._clock - early._clock)
        self.end("returned", early.result_bytes)
        self._started_at, self._seconds = early._started_at, seconds
        return min(max(0.0, seconds - self.waited_seconds), self.ahead_seconds)

    def finish(self) -> ToolCallRecord:
        """Return its record."""
        if self._record is not None:
            return self._record
        if self._seconds is None:
            self.error = "the execution ended first"
            self.end("cancelled" if self.is_reached else self.status)
        assert self._seconds is not None
        _, shown, size = self._describe()
        complete = self.arguments or {}
        is_whole = complete.keys() == self.passed.keys()
        self._record = ToolCallRecord(
            call_id=self.call_id,
            execution_id=self.execution_id,
            tool=self.definition.name,
            domain=self.definition.domain,
            arguments=shown,
            defaults=() if is_whole else tuple([n for n in complete if n not in self.passed]),
            line=self.line,
            status=self.status,
            approval=self.approval,
            approved_by=self.approved_by,
            started_at=self._started_at,
            duration_seconds=self._seconds,
            waited_seconds=min(self.waited_seconds, self._seconds),
            attempts=self.attempts,
            is_cache_hit=self.is_cache_hit,
            breaker=self.breaker,
            ahead_seconds=self.ahead_seconds,
            is_read_only=self.definition.policy.read_only,
            arguments_bytes=size,
            result_bytes=self.result_bytes,
            error=self.error,
            limit=self.limit,
            inner=dict(self.inner),
        )
        return self._record

    def plain_arguments(self) -> dict[str, Any]:
        """Return what records and events show of the arguments, in terms of JSON."""
        if self._plain is None:
            self._plain = as_plain(self._describe()[1])
        return self._plain

    @property
    def has_secrets(self) -> bool:
        """Whether anything of the arguments is hidden."""
        arguments, shown, _ = self._describe()
        return shown is not arguments

    def hide(self, text: str) -> str:
        """Return a text without the secrets among the arguments."""
        arguments, shown, _ = self._describe()
        return redact_text(text, arguments, shown)

    def _describe(self) -> tuple[Mapping[str, Any], Mapping[str, Any], int]:
        """Return the arguments, what is shown of them, and their size.

        They are what the tool is given; what the code passed, if that does not fit the tool.
        """
        if self._shown is None:
            arguments = self._guess_names() if self.arguments is None else self.arguments
            shown, redact, harmless = arguments, self.context.redact, self._reader.harmless
            if redact != "secrets" or not (
                harmless.issuperset(arguments) and NUMBERS.issuperset(map(type, arguments.values()))
            ):
                shown = redact_arguments(self.tool, arguments, redact)
            try:
                size = len(self.encode())
            except UnsendableValue:  # what a person has edited, or a developer passed
                size = 0
            self._shown = arguments, shown, size
        return self._shown

    def digest(self, *, validated: bool = False) -> str:
        """Return a hash of what the code passed, or of the validated arguments; computed once."""
        if validated not in self._digests:
            packed = self.encode() if validated else encode_value(dict(sorted(self.passed.items())))
            self._digests[validated] = hashlib.sha256(packed).hexdigest()[:24]
        return self._digests[validated]

    def key(self, *, validated: bool = False) -> str:
        """Return what identifies the call: its number, its tool and a digest of its arguments; see `digest`."""
        return f"{self.number}:{self.tool}#{self.digest(validated=validated)}"

    def encode(self) -> bytes:
        """Return the arguments, encoded, by name; cached. `UnsendableValue`: a person has edited them, into no data."""
        if self._packed is None:
            arguments = self._guess_names() if self.arguments is None else self.arguments
            self._packed = encode_value(dict(sorted(arguments.items())))
        return self._packed

    def _guess_names(self) -> dict[str, Any]:
        """Return what the code passed under the names that it would have, for a call that misfits."""
        names = [parameter.name for parameter in self.definition.parameters]
        names += [f"argument {n}" for n in range(len(names) + 1, len(self.args) + 1)]
        given = dict(zip(names, self.args, strict=False))
        return {**given, **self.kwargs}

    # --- the journal --------------------------------------------------------------------------------

    def read_record(self, record: ToolCallRecord) -> None:
        """Take over how it ended when it was really made; its event was emitted then."""
        for name in _RECORDED:
            setattr(self, name, getattr(record, name))
        self._started_at, self._seconds = record.started_at, record.duration_seconds
        self.is_replayed = True
        self._record = None


Pipeline: TypeAlias = Callable[[StartedCall], Awaitable[CallOutcome]]
"""Makes the calls of one tool, with all layers of its policy."""


# --- what a tool returns, captured where LangChain calls it ------------------------------------------
@dataclass(slots=True)
class CallCapture:
    """What happened to one call inside LangChain."""

    call: StartedCall | None
    config: RunnableConfig | None
    """In place of what a middleware passes on, which is `run_code`'s: an interrupt of the tool would
    be taken for one of that call, and one call's approval be given to another."""
    max_items: int = MAX_ITEMS  # items that are taken from an iterator that the tool returns
    value: Any = None
    is_reached: bool = False
    has_value: bool = False
    message: Any = None
    shown: dict[str, Any] | None = None
    """Its arguments, if they are large, as LangChain shows them to callbacks."""


current_capture: contextvars.ContextVar[CallCapture | None] = contextvars.ContextVar(
    "ptc_call_capture", default=None
)
"""The call that is being made in this context."""


def capture_here(config: RunnableConfig | None = None) -> CallCapture:
    """Return the capture of the call that is being made; one that nobody reads if there is none."""
    return current_capture.get() or CallCapture(None, config)


class ToolRaised(Exception):
    """What a tool raised that could not pass through coroutines, futures and event loops unchanged.

    They take `StopIteration`, `GeneratorExit`, `CancelledError`, `SystemExit` and `KeyboardInterrupt`
    for signals of their own.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original

    def __repr__(self) -> str:
        return repr(self.original)


_NO_ITERATORS = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})


def capturing(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a tool that captures what it returns for the call that is being made."""

    def capturing_run(*args: Any, **kwargs: Any) -> Any:
        capture = current_capture.get() or capture_here()
        capture.is_reached = True
        if capture.call is not None:
            capture.call.is_reached = True
        try:
            value = run(*args, **kwargs)
            # To take the items is still to run the tool's code.
            if type(value) not in _NO_ITERATORS:
                if is_iterator(value):
                    value = take_items(value, capture.max_items)
                elif isinstance(value, AsyncIterator):  # of `async def` with `yield`
                    value = run_sync(_take_items(value, capture.max_items))
            capture.value, capture.has_value = value, True
            return value
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            if is_signal(error):
                raise
            raise ToolRaised(error) from error

    _take_signature(capturing_run, run)
    return capturing_run


def capturing_async(arun: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Return a coroutine function of a tool that does the same; see `capturing`."""

    async def capturing_arun(*args: Any, **kwargs: Any) -> Any:
        capture, task = current_capture.get() or capture_here(), asyncio.current_task()
        capture.is_reached = True
        if capture.call is not None:
            capture.call.is_reached = True
        try:
            value = await arun(*args, **kwargs)
            if type(value) not in _NO_ITERATORS:
                if is_iterator(value):
                    take = functools.partial(take_items, value, capture.max_items)
                    value = await call_in_thread(take)
                elif isinstance(value, AsyncIterator):
                    value = await _take_items(value, capture.max_items)
            capture.value, capture.has_value = value, True
            return value
        except BaseException as error:
            original = error.__cause__ if isinstance(error, RuntimeError) else error
            if isinstance(original, Exception) and not isinstance(original, StopIteration):
                raise
            if original is None or is_signal(original, task):
                raise
            raise ToolRaised(original) from error

    _take_signature(capturing_arun, arun)
    return capturing_arun


async def _take_items(items: AsyncIterator[Any], limit: int) -> list[Any]:
    taken: list[Any] = []
    async for item in items:
        if len(taken) >= limit:
            raise TooManyItems(items, limit)
        taken.append(item)
    return taken


def is_signal(error: BaseException, task: asyncio.Task[Any] | None = None) -> bool:
    """Whether an exception is one of Python's or asyncio's own, and not of the tool, which ran in `task` or in a thread."""
    if isinstance(error, KeyboardInterrupt):  # Ctrl-C is raised in the main thread
        return threading.current_thread() is threading.main_thread()
    if task is not None and isinstance(error, asyncio.CancelledError):
        return task.cancelling() > 0
    if task is not None and isinstance(error, GeneratorExit):
        try:  # a coroutine that nothing runs any more is closed from elsewhere
            return asyncio.current_task() is not task
        except RuntimeError:
            return True
    return False


def is_pause(error: BaseException) -> bool:
    """Whether an exception is the graph's, and no failure: an interrupt, or an answer that does not fit it."""
    return isinstance(error, GraphBubbleUp) or is_invalid_resume(error)


def _take_signature(function: Any, original: Callable[..., Any]) -> None:
    """Show the signature of `original`, and spare LangChain the evaluation of its annotations.

    It looks for a parameter that takes the config, by its annotation, at each call.
    """
    function.__signature__ = signature_of(original)
    annotations = read_annotations(original)
    function.__annotations__ = {n: kind for n, kind in annotations if kind is RunnableConfig}
