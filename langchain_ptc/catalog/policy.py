"""What may be done with a tool: who may call it, and how failures, repeats and bursts are handled.

Each record describes one behaviour; a `ToolPolicy` combines those of one tool. They are only
declarations: `run/call_policy.py` enforces them.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from langchain_ptc.wording import check_choice

Caller: TypeAlias = Literal["code", "direct"]
CacheScope: TypeAlias = Literal["execution", "thread", "executor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallInfo:
    """One call of a tool, for functions of the developer's."""

    tool: str
    """Qualified name: `domain.name`, or `name` for a tool without a domain."""
    arguments: Mapping[str, Any]
    """What the tool is given, under its own names."""
    call_id: str
    """The id of the call."""
    execution_id: str
    """The execution whose code makes the call; empty where the model makes it itself."""


class CurrentCall(Protocol):
    """The call of the code that is being made, for tools that know of it."""

    call_id: str
    """The same whenever the graph runs the call again, and no other's."""

    def report(self, state: str, text: str) -> None:
        """Emit how far the call is, as an event of the execution."""


current_call: contextvars.ContextVar[CurrentCall | None] = contextvars.ContextVar(
    "ptc_current_call", default=None
)
"""None where a tool is not called by code."""


BeforeCall: TypeAlias = Callable[[ToolCallInfo], Awaitable[None] | None]
"""Called before a call is made; raising refuses the call."""
AfterCall: TypeAlias = Callable[[ToolCallInfo, Any], Any]
"""Called with what the tool returned; returns what the code gets. May be asynchronous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Repeats a failed call, with exponential backoff.

    Only for tools that are `read_only` or `idempotent`. A call whose arguments the tool refuses is not
    repeated.

    Raises:
        ValueError: A number is not positive, or `on` is not a tuple of exceptions.
    """

    attempts: int = 3
    """All attempts, including the first one."""
    wait_seconds: float = 0.5
    """The pause before the second attempt; it doubles each time."""
    max_wait_seconds: float = 8.0
    """The longest pause."""
    jitter_seconds: float = 0.5
    """The largest random addition to each pause, so that calls which failed together are not repeated
    together."""
    on: tuple[type[Exception], ...] | None = None
    """Exceptions after which a call is repeated; a timeout is a `TimeoutError`. None for all but
    `ToolException`, which is the tool's own answer and would be repeated."""

    def __post_init__(self) -> None:
        _check_count(self, "attempts", minimum=2)
        _check_seconds(self, "wait_seconds")
        _check_seconds(self, "max_wait_seconds")
        _check_seconds(self, "jitter_seconds", minimum=0.0)
        _check_exceptions(self, self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Stops calling a tool that keeps failing: a circuit breaker.

    After `failures` failures in a row it is open: calls are refused at once. After `reset_seconds` one
    call is made as a probe; if it succeeds the breaker closes, otherwise it stays open for as long again.
    All executions of an executor share its state, and so do those with the same `CallPolicies`.

    Raises:
        ValueError: A number is not positive, or `on` is not a tuple of exceptions.
    """

    failures: int = 5
    """Failures in a row, in one process, that open it; each attempt of a call counts."""
    reset_seconds: float = 30.0
    """How long it is open; and how long a probe may take before another one is made."""
    on: tuple[type[Exception], ...] | None = None
    """Exceptions that count as a failure; as in `Retry.on`."""

    def __post_init__(self) -> None:
        _check_count(self, "failures")
        _check_seconds(self, "reset_seconds")
        _check_exceptions(self, self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Reuses the result of an earlier call.

    Only for tools that are `read_only` or `idempotent`. Results are in the memory of the process, and in the
    store of its `CallPolicies` if these have one; the least recently used ones are dropped first. A `Command` is not cached. Concurrent calls are all made.

    Raises:
        ValueError: A number is not positive, or `scope` is unknown.
    """

    seconds: float = 300.0
    """How long a result may be used."""
    key: Callable[[Mapping[str, Any]], Hashable] | None = None
    """Returns the cache key for the arguments; None for all arguments."""
    scope: CacheScope = "thread"
    """Who shares a result: one `execution`; the executions of one `thread` of the graph (one execution
    if there is no thread); or all executions of the `executor` and of those with the same `CallPolicies`,
    for all users. Do not use the last for a tool whose result depends on the user."""
    max_bytes: int = 16 * 1024 * 1024
    """Size of all cached results of the tool, as they are sent to the code; for each process."""

    def __post_init__(self) -> None:
        _check_seconds(self, "seconds")
        _check_count(self, "max_bytes")
        check_choice("Cache.scope", self.scope, CacheScope)
        if self.key is not None and not callable(self.key):
            raise ValueError(f"Cache.key must be a function of the arguments, got {self.key!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Starts at most `calls` attempts in any `seconds`; others wait.

    Raises:
        ValueError: A number is not positive.
    """

    calls: int
    seconds: float = 1.0

    def __post_init__(self) -> None:
        _check_count(self, "calls")
        _check_seconds(self, "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """Who may call a tool, and how its failures, repetitions and bursts are handled.

    Raises:
        ValueError: A number is not positive, a caller is neither `code` nor `direct`, or calls of a
            tool that is neither `read_only` nor `idempotent` are to be repeated or cached.
    """

    allowed_callers: tuple[Caller, ...] = ("code",)
    """Who may call it: `code`, the model itself (`direct`), or both."""
    read_only: bool = False
    """Calling it changes nothing. Shown in the stub."""
    prefetch: bool = True
    """Whether calls may begin before the code makes them, if the tool is `read_only` and the executor has
    `prefetch`. Some of them are made for nothing: False for reads that cost money."""
    idempotent: bool = False
    """Repeating a call changes nothing more. Shown in the stub."""
    requires_approval: bool = False
    """A person approves each call before it is made."""
    max_calls: int | None = None
    """Calls of the tool that one execution may make; None for no limit of its own."""
    timeout_seconds: float | None = None
    """Time for one attempt; None for `Limits.tool_seconds`."""
    total_seconds: float | None = None
    """Time for one call, with all attempts and the pauses between them; None for `Limits.tool_seconds`,
    which always applies as well."""
    retry: Retry | None = None
    """Repeats failed calls; for tools that are `read_only` or `idempotent`."""
    breaker: Breaker | None = None
    """Refuses calls for a while when the tool keeps failing."""
    cache: Cache | None = None
    """Reuses results; for tools that are `read_only` or `idempotent`."""
    rate_limit: RateLimit | None = None
    """How often the tool may be called, by all executions of an executor together; by those of all
    processes whose `CallPolicies` have the same store and name."""
    max_concurrent_calls: int | None = None
    """Calls that may be in flight at once, of all executions of an executor together, in one process."""
    before: BeforeCall | None = None
    """Called before each call is made; what it raises refuses the call."""
    after: AfterCall | None = None
    """Called with what the tool returned; returns what the code gets."""
    tags: tuple[str, ...] = ()
    """Words to select tools by."""

    def __post_init__(self) -> None:
        callers = self.allowed_callers
        if not callers or not set(callers) <= {"code", "direct"}:
            raise ValueError(
                "ToolPolicy.allowed_callers must hold 'code', 'direct' or both, as a tuple, got "
                f"{callers!r}"
            )
        for name in ("max_calls", "max_concurrent_calls"):
            if getattr(self, name) is not None:
                _check_count(self, name)
        for name in ("timeout_seconds", "total_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and (type(seconds) not in (int, float) or not seconds > 0):
                raise ValueError(f"ToolPolicy.{name} must be a positive number, got {seconds!r}")
        for name in ("retry", "cache"):
            given = getattr(self, name)
            if given is not None and not (self.read_only or self.idempotent):
                raise ValueError(
                    f"ToolPolicy.{name} is only for tools whose calls can be repeated: pass read_only=True "
                    f"or idempotent=True if that is true, or leave out {name}={given!r}"
                )

    @property
    def is_guarded(self) -> bool:
        """Whether more is to be done for a call than to make it: timers, retries, hooks and the like."""
        parts = (self.timeout_seconds, self.total_seconds, self.retry, self.breaker, self.cache)
        others = (self.rate_limit, self.max_concurrent_calls, self.before, self.after)
        return any(part is not None for part in (*parts, *others))


def _check_count(record: object, name: str, *, minimum: int = 1) -> None:
    value = getattr(record, name)
    if type(value) is not int or value < minimum:
        raise ValueError(
            f"{type(record).__name__}.{name} must be a whole number from {minimum}, got {value!r}"
        )


def _check_seconds(record: object, name: str, *, minimum: float | None = None) -> None:
    value = getattr(record, name)
    is_number = type(value) in (int, float) and math.isfinite(value)
    if not is_number or (value <= 0 if minimum is None else value < minimum):
        raise ValueError(f"{type(record).__name__}.{name} must be a positive number, got {value!r}")


def _check_exceptions(record: object, on: object) -> None:
    if on is None:
        return
    classes = on if isinstance(on, tuple) else None
    if not classes or not all(isinstance(c, type) and issubclass(c, Exception) for c in classes):
        raise ValueError(
            f"{type(record).__name__}.on must be a tuple of exceptions, for example "
            f"(ConnectionError, TimeoutError), got {on!r}"
        )
