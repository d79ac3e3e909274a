"""The records of a catalog: one tool, its parameters, its policy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_ptc.catalog.types import ANY, Record, RecordRef, TypeTree
from langchain_ptc.errors import ToolCallError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


Caller: TypeAlias = Literal["code", "direct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """Who may do what with one tool.

    Raises:
        ValueError: A number is not positive, or a caller is neither `code` nor `direct`.
    """

    allowed_callers: tuple[Caller, ...] = ("code",)
    """Who may call it: `code`, the model itself (`direct`), or both."""
    read_only: bool = False
    """Calling it changes nothing. Said in the stub."""
    idempotent: bool = False
    """Calling it again with the same arguments changes nothing more. Said in the stub."""
    requires_approval: bool = False
    """A person approves each call before it is made."""
    max_calls: int | None = None
    """Calls of the tool that one execution may make; None for no limit of its own."""
    timeout_seconds: float | None = None
    """Time for one call; None for `Limits.tool_seconds`."""
    tags: tuple[str, ...] = ()
    """Words to select tools by."""

    def __post_init__(self) -> None:
        callers = self.allowed_callers
        if not callers or not set(callers) <= {"code", "direct"}:
            raise ValueError(
                "ToolPolicy.allowed_callers must hold 'code', 'direct' or both, as a tuple, got "
                f"{callers!r}"
            )
        calls, seconds = self.max_calls, self.timeout_seconds
        if calls is not None and (type(calls) is not int or calls < 1):
            raise ValueError(f"ToolPolicy.max_calls must be a whole number from 1, got {calls!r}")
        if seconds is not None and (type(seconds) not in (int, float) or not seconds > 0):
            raise ValueError(
                f"ToolPolicy.timeout_seconds must be a positive number, got {seconds!r}"
            )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """One tool as the code sees it, with the tool itself."""

    name: str
    """What the code calls it; an identifier."""
    tool_name: str
    """What the tool calls itself."""
    domain: str | None = None
    """The group that it is in: `from tools.<domain> import <name>`."""
    description: str = ""
    parameters: tuple[ToolParameter, ...] = ()
    """Required ones first; positional arguments go to them in this order."""
    extra: TypeTree | None = None
    """The type of further keyword arguments under any name; None if there may be none."""
    returns: TypeTree = ANY
    """What a call gives to the code."""
    records: tuple[Record, ...] = ()
    """The records that the types above name."""
    policy: ToolPolicy = field(default_factory=ToolPolicy)
    tool: BaseTool = field(repr=False, compare=False)

    @property
    def qualified_name(self) -> str:
        """`domain.name`, or `name` for a tool without a domain."""
        return self.name if self.domain is None else f"{self.domain}.{self.name}"

    def record(self, reference: RecordRef) -> Record:
        """Return the record that a type of this tool names."""
        return next(record for record in self.records if record.key == reference.key)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments of a call under the tool's own names.

        Keyword arguments go by the code's name or by the tool's own. What is omitted stays omitted:
        the tool applies its own defaults and its own schema checks the values.

        Args:
            args: Positional arguments, in the order of `parameters`.
            kwargs: Keyword arguments.

        Raises:
            ToolCallError: An argument is unknown, missing, given twice, or one too many.
        """
        problems: list[str] = []
        bound = {p.tool_name: value for p, value in zip(self.parameters, args, strict=False)}
        if len(args) > len(self.parameters):
            problems.append(
                f"takes {len(self.parameters)} positional arguments, {len(args)} were given"
            )
        # The code's names last: where a name is both, it is the code's.
        own = {p.tool_name: p for p in self.parameters} | {p.name: p for p in self.parameters}
        for name, value in kwargs.items():
            parameter = own.get(name)
            if parameter is None and self.extra is None:
                problems.append(f"has no parameter {name!r}{_did_you_mean(name, own)}")
                continue
            key = name if parameter is None else parameter.tool_name
            if key in bound:
                problems.append(f"got {name!r} twice")
            bound[key] = value
        missing = [p.name for p in self.parameters if p.required and p.tool_name not in bound]
        if missing:
            problems.append(f"misses {', '.join(map(repr, missing))}")
        if problems:
            raise ToolCallError(
                f"{self.qualified_name}() {'; '.join(problems)}. {self._usage()}",
                tool=self.qualified_name,
            )
        return bound

    def _usage(self) -> str:
        shown = [p.name if p.required else f"{p.name}={_show(p.default)}" for p in self.parameters]
        if self.extra is not None:
            shown.append("**kwargs")
        required = ", ".join(p.name for p in self.parameters if p.required)
        return f"Call it as {self.name}({', '.join(shown)}); required: {required or 'none'}"


def _show(default: object) -> str:
    shown = "..." if default is ... else repr(default)
    return shown if len(shown) <= 60 else "..."


def _did_you_mean(name: str, known: Mapping[str, ToolParameter]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:
        close = [k for k in known if name in k.split("_") or k in name.split("_")][:1]
    return f" (did you mean {known[close[0]].name!r}?)" if close else ""
