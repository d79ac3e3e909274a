"""The records of a catalog: one tool, its parameters, and its policy.

A policy only declares who may call a tool, and how failures, repeats and bursts are handled:
`run/call_policy.py` enforces it.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from langchain_core.tools import BaseTool
from pydantic import Field

from langchain_ptc.catalog.annotations import AnnotationReader, DeclaredField
from langchain_ptc.catalog.schemas import SchemaReader, read_result_schema
from langchain_ptc.catalog.text import MAX_NAME_CHARS
from langchain_ptc.catalog.types import (
    ANY,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordField,
    RecordRef,
    RecordTable,
    RecordType,
    TypeTree,
    merge_records,
)
from langchain_ptc.errors import (
    CatalogError,
    ToolCallError,
    check_choice,
    closest,
    cut,
    did_you_mean,
)

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
    outside a thread); or all executions of the `executor` and of those with the same `CallPolicies`,
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


# --- tools --------------------------------------------------------------------------------------

MAX_PROBLEMS = 5  # problems with the arguments of one call that are named

T = TypeVar("T")
ReturnsFrom: TypeAlias = Literal["tool", "developer", "guess"]
"""Where a return type comes from: the tool's annotation or its server's schema; its developer; or a guess,
as for a function behind a decorator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolParameter:
    """One parameter of a tool."""

    name: str
    """What the code calls it; an identifier."""
    tool_name: str
    """What the tool calls it; any string."""
    type: TypeTree = ANY
    """What the code may pass."""
    required: bool = True
    default: object = ...
    """What the tool uses where the code passes nothing; `...` if there is none or it is unknown."""
    description: str = ""
    constraints: tuple[str, ...] = ()
    """What the type leaves out, for example `>= 1`."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class ToolDefinition:
    """One tool as the code sees it, with the tool itself.

    A catalog makes one for each tool. Make one yourself to add what a tool does not declare, and pass
    it in place of the tool: `ToolCatalog([ToolDefinition(tool=search, returns=list[Hit])])`. What is
    left out is read from the tool.

    Args:
        tool: A LangChain tool.
        name: Its name in the code; by default the tool's own, made an identifier.
        tool_name: The tool's own name.
        domain: The group that it is in: `from tools.<domain> import <name>`.
        description: What it does; by default the tool's own description.
        parameters: What it takes, required ones first; positional arguments go to them in this order.
        extra: The type of further keyword arguments under any name; None if there may be none.
        returns: What a call returns to the code: an annotation such as `list[Member]`, a JSON Schema
            as a dict, or a type tree.
        returns_text: The same in words, where the type does not say it.
        returns_from: Where `returns` comes from; `developer` if `returns` is given. A `guess` is shown,
            and never a reason to refuse code.
        records: The records that the types name.
        policy: What may be done with it, and by whom.

    Raises:
        CatalogError: `returns` is not a type.
    """

    name: str
    tool_name: str
    domain: str | None
    description: str
    parameters: tuple[ToolParameter, ...]
    extra: TypeTree | None
    returns: TypeTree
    returns_text: str
    returns_from: ReturnsFrom
    records: tuple[RecordType, ...]
    policy: ToolPolicy
    tool: BaseTool = field(repr=False, compare=False)
    _by_name: Mapping[str, ToolParameter] = field(init=False, repr=False, compare=False)
    """The parameters by either name. The code's names last: where a name is both, it is the code's."""

    def __init__(
        self,
        *,
        tool: BaseTool,
        name: str = "",
        tool_name: str = "",
        domain: str | None = None,
        description: str = "",
        parameters: Sequence[ToolParameter] = (),
        extra: TypeTree | None = None,
        returns: object = ANY,
        returns_text: str = "",
        returns_from: ReturnsFrom | None = None,
        records: Sequence[RecordType] = (),
        policy: ToolPolicy | None = None,
    ) -> None:
        called = name or tool_name or str(getattr(tool, "name", "tool"))[:100]
        tree, found = read_returns(returns, tool_name=called)
        own: dict[str, object] = {
            "name": name,
            "tool_name": tool_name,
            "domain": domain,
            "description": description,
            "parameters": tuple(parameters),
            "extra": extra,
            "returns": tree,
            "returns_text": returns_text,
            "returns_from": returns_from or ("tool" if tree == ANY else "developer"),
            "records": merge_records(records, found),
            "policy": ToolPolicy() if policy is None else policy,
            "tool": tool,
            "_by_name": {p.tool_name: p for p in parameters} | {p.name: p for p in parameters},
        }
        for attribute, value in own.items():
            object.__setattr__(self, attribute, value)  # frozen for everybody else

    @property
    def types(self) -> tuple[TypeTree, ...]:
        """Every type that it names: the return's, the parameters', and of further arguments."""
        further = () if self.extra is None else (self.extra,)
        return (self.returns, *(p.type for p in self.parameters), *further)

    @property
    def certain_returns(self) -> TypeTree:
        """What a call certainly gives: `returns`, or `Any` where that is only a guess.

        A hook `ToolPolicy.after` may make anything of what the tool itself says.
        """
        is_changed = self.returns_from == "tool" and self.policy.after is not None
        return ANY if is_changed or self.returns_from == "guess" else self.returns

    @property
    def qualified_name(self) -> str:
        """`domain.name`, or `name` for a tool without a domain."""
        return self.name if self.domain is None else f"{self.domain}.{self.name}"

    def record(self, reference: RecordRef) -> RecordType:
        """Return the record that a type of this tool names."""
        return next(record for record in self.records if record.key == reference.key)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments of a call under the tool's own names.

        Keyword arguments go by the code's name or by the tool's own. What is omitted stays omitted:
        the tool applies its own defaults and its own schema checks the values.

        Raises:
            ToolCallError: An argument is unknown, missing, given twice, or one too many.
        """
        bound, mistakes = self.match(args, kwargs)
        if mistakes:
            listed = [message for _, message in mistakes[:MAX_PROBLEMS]]
            listed += ["and more"] if len(mistakes) > MAX_PROBLEMS else []
            raise ToolCallError(
                f"{self.qualified_name}() {'; '.join(listed)}. {self._usage()}",
                tool=self.qualified_name,
            )
        return bound

    def match(
        self, args: Sequence[T], kwargs: Mapping[str, T]
    ) -> tuple[dict[str, T], list[tuple[str | None, str]]]:
        """Return the arguments of a call under the tool's own names, and what is wrong with them.

        Each mistake is a message and the name of the argument: empty for a positional one, None where
        one is missing.
        """
        mistakes: list[tuple[str | None, str]] = []
        bound: dict[str, T] = {}
        for parameter, value in zip(self.parameters, args, strict=False):
            bound[parameter.tool_name] = value
        if len(args) > len(self.parameters):
            takes = f"{len(self.parameters)} positional argument{'s' * (len(self.parameters) != 1)}"
            mistakes.append(
                ("", f"takes {takes}, {len(args)} {'were' if len(args) > 1 else 'was'} given")
            )
        own = self._by_name
        for name, value in kwargs.items():
            known = own.get(name)
            if known is None and self.extra is None:
                worth = len(mistakes) < MAX_PROBLEMS
                meant = did_you_mean(_closest(name, own, {*bound, *kwargs})) if worth else ""
                mistakes.append((name, f"has no parameter {cut(name, MAX_NAME_CHARS)!r}{meant}"))
                continue
            key = name if known is None else known.tool_name
            if key in bound:
                mistakes.append((name, f"got {name!r} twice"))
            bound[key] = value
        missing = [p.name for p in self.parameters if p.required and p.tool_name not in bound]
        if missing:
            mistakes.append((None, f"is missing {', '.join(map(repr, missing))}"))
        return bound, mistakes

    def _usage(self) -> str:
        shown = [p.name if p.required else f"{p.name}={_show(p.default)}" for p in self.parameters]
        if self.extra is not None:
            shown.append("**kwargs")
        required = ", ".join(p.name for p in self.parameters if p.required)
        return f"Call it as {self.name}({', '.join(shown)}); required: {required or 'none'}"


class DescribedTool(BaseTool):
    """A tool with a JSON Schema for its arguments and one for its value: of an MCP server, or an agent.

    LangChain's own cannot take arguments named `self`, `config` or `run_manager`. In subclasses only `self` has a
    name, and only by position.
    """

    result_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """Of what a call returns; None if it is not declared."""
    result_note: str = ""  # the description of the value, if it has no schema
    policy: ToolPolicy = Field(default_factory=ToolPolicy, exclude=True)
    """What the tool's author declares; what the developer passes takes precedence."""

    def read_types(
        self, table: RecordTable
    ) -> tuple[list[ToolParameter], TypeTree | None, TypeTree]:
        """Return its parameters, the type of further ones, and that of its value."""
        schema = self.args_schema if isinstance(self.args_schema, dict) else {}
        parameters, extra = read_parameters(schema, table)
        note = self.result_note
        return (
            parameters,
            extra,
            read_result_schema(self.result_schema, self.name, table, note=note),
        )


def as_arguments_schema(schema: object) -> dict[str, Any]:
    """Return the schema of a tool's arguments with what LangChain expects of one."""
    made = {"type": "object", **(schema if isinstance(schema, Mapping) else {})}
    if not isinstance(made.get("properties"), Mapping):
        made["properties"] = {}
    return made


def read_parameters(
    schema: Mapping[str, Any], table: RecordTable, *, message: TypeTree | None = None
) -> tuple[list[ToolParameter], TypeTree | None]:
    """Return the parameters that a JSON Schema of arguments describes, and the type of further ones."""
    reader = SchemaReader(schema, table, scope="input:", message=message)
    fields, extra = reader.read_parameters(schema)
    properties = reader.flatten(schema).get("properties")
    found = []
    for item in fields:
        said = properties.get(item.name) if isinstance(properties, Mapping) else None
        default = said.get("default", ...) if isinstance(said, Mapping) else ...
        found.append(as_parameter(item, item.type, default=default))
    return found, extra


def as_parameter(
    field: RecordField | DeclaredField, tree: TypeTree, *, default: object, name: str = ""
) -> ToolParameter:
    """Return the parameter for a field of a tool's arguments."""
    return ToolParameter(
        name=name or field.name,
        tool_name=field.name,
        type=tree,
        required=field.required,
        default=default.value if isinstance(default, Enum) else default,
        description=field.description,
        constraints=field.constraints,
    )


def read_returns(given: object, *, tool_name: str) -> tuple[TypeTree, tuple[RecordType, ...]]:
    """Return the type that an annotation, a JSON Schema or a type tree describes, and its records."""
    if isinstance(given, Named | Choice | Container | Alternatives | RecordRef):
        return given, ()
    table = RecordTable()
    if isinstance(given, Mapping):
        try:
            return read_result_schema(given, tool_name, table), table.records()
        except CatalogError as error:
            raise CatalogError(
                f"the schema of '{tool_name} result' cannot be read: {error}"
            ) from error
    if isinstance(given, str | bytes | int | float | Sequence):
        raise CatalogError(
            f"returns must be a type, such as list[str], or a JSON Schema as a dict, got {given!r:.80}"
        )
    tree = AnnotationReader(table, direction="output").read(given)
    return tree, table.records()


def _closest(name: str, own: Mapping[str, ToolParameter], given: set[str]) -> list[str]:
    """Return the parameter that was meant by `name`: one that was not given, if any is close."""
    free = [p.name for p in own.values() if given.isdisjoint((p.name, p.tool_name))]
    return [own[other].name for other in closest(name, free) or closest(name, own)]


def _show(default: object) -> str:
    shown = "..." if default is ... else repr(default)
    return shown if len(shown) <= 60 else "..."
