"""The record of one execution: its code, its outcome, its output and every tool call it made."""

from __future__ import annotations

import base64
import functools
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal, Self

from langchain_ptc.errors import (
    CheckError,
    CodeError,
    CodeRuntimeError,
    CodeSyntaxError,
    LimitExceeded,
    PolicyError,
    Problem,
    ReplayError,
    SandboxError,
    Violation,
    count,
    cut,
)
from langchain_ptc.run.plain import as_plain, clean_text, render_plain
from langchain_ptc.sandbox.api import Failure, File, Shown, Status
from langchain_ptc.sandbox.wire.values import is_large

CallStatus = Literal["returned", "failed", "refused", "denied", "cancelled"]
"""How a tool call ended: `refused` calls never reached the tool, `denied` ones a person rejected,
`cancelled` ones were still running when the execution ended."""
ApprovalDecision = Literal["approve", "edit", "reject", "respond"]
"""What a person decided of a tool call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRecord:
    """One tool call that the code made."""

    call_id: str
    """Unique and stable: the id of the execution's own tool call, or the execution id, and the
    number of the call in the execution, from 1."""
    execution_id: str
    """The execution that made the call."""
    tool: str
    """Name by which the code called it, without the domain."""
    domain: str | None
    arguments: Mapping[str, Any]
    """What the tool was given, under its own names; what the code passed, if it was refused. Secrets
    are hidden; see `run.plain`."""
    defaults: tuple[str, ...] = ()
    """Names of those arguments that the code left out: they are the tool's defaults."""
    line: int
    """Line of the code that made the call, from 1; 0 if unknown."""
    status: CallStatus
    approval: ApprovalDecision | None
    """What a person decided of it; None if nobody was asked."""
    approved_by: str | None = None
    """Who decided, as far as the graph knows; see `run.approvals.who_answers`."""
    started_at: datetime
    """When it began, in UTC."""
    duration_seconds: float
    """From then to its answer, waiting included."""
    waited_seconds: float = 0.0
    """Of these, what it waited: for its turn, for a rate limit, between tries."""
    attempts: int = 1
    """Tries that were made of the tool; more than one only if it may be called again."""
    is_cache_hit: bool = False
    """The result is that of an earlier call with the same arguments; the tool was not called."""
    breaker: str | None = None
    """State of the tool's circuit breaker when the call met it; None if it has none."""
    ahead_seconds: float = 0.0
    """How long before the code made the call it had begun: its result was fetched early; 0 for a call that
    began when the code made it. See `run.prefetcher`."""
    is_read_only: bool = False
    """The tool's policy says that its calls change nothing."""
    arguments_bytes: int = 0
    """Size of the arguments as MessagePack."""
    result_bytes: int
    """Size of the result: a string in UTF-8, anything else as MessagePack; 0 where there is none."""
    error: str | None
    """Why there is no result."""
    limit: str | None = None
    """The field of `Limits` that the call hit."""
    inner: Mapping[str, int] = field(default_factory=dict)
    """What agents and models used below it, by the fields of `Budget` (`inner_calls`, `model_calls`,
    `model_tokens`); empty unless a budget limits one of these."""

    @property
    def qualified_name(self) -> str:
        """`domain.tool`, or `tool` for a tool without a domain."""
        return self.tool if self.domain is None else f"{self.domain}.{self.tool}"

    @property
    def running_seconds(self) -> float:
        """What is left of its time without waiting: the tool's own."""
        return self.duration_seconds - self.waited_seconds

    @property
    def ended_at(self) -> datetime:
        """When the call was answered, in UTC."""
        return self.started_at + timedelta(seconds=self.duration_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON data, see `run.plain.as_plain`; times in ISO 8601."""
        plain = dict(zip(_CALL_NAMES, _read_call(self), strict=True))
        for name, value in plain.items():
            kind = type(value)
            if kind is datetime:
                plain[name] = value.isoformat()
            elif kind not in _AS_THEY_ARE and not (kind is str and value.isascii()):
                plain[name] = as_plain(value)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        given = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        given["started_at"] = datetime.fromisoformat(data["started_at"])
        given["defaults"] = tuple(data.get("defaults", ()))
        return cls(**given)


_CALL_NAMES = (*(field.name for field in fields(ToolCallRecord)), "ended_at", "running_seconds")
_read_call = attrgetter(*_CALL_NAMES)
_AS_THEY_ARE = (bool, int, float, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchStats:
    """What became of the calls that began before the code made them."""

    hits: int = 0
    """Calls of the code that took the result of an early call."""
    misses: int = 0
    """Calls of the code that could have, and began when the code made them."""
    wasted: int = 0
    """Early calls whose result was not used."""
    hidden_seconds: float = 0.0
    """The time of tools, added up, that had passed when the code made the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult:
    """The result of one execution of the model's code."""

    execution_id: str
    code: str
    status: Status
    """`success`, `error` (the code's), `refused` (the language or the check does not accept it: it is
    not run), `limit`, `denied` (a person rejected a call, and the code did not catch it), `cancelled`,
    or `sandbox` (the machine's)."""
    output: str
    """Everything that the code printed, with a line for each of `shown`."""
    value: Any
    """What the code returned: by a top-level `return`, a last expression, or a variable `result`;
    None if nothing, or if it is in `shown`. The model reads it only where nothing was printed."""
    error: Failure | None
    """Why it did not succeed."""
    notes: tuple[str, ...]
    """Notes for the author of the code, for example on calls that it did not await."""
    tool_calls: tuple[ToolCallRecord, ...]
    """Every call that the code made, in the order in which it made them."""
    started_at: datetime
    """In UTC."""
    duration_seconds: float
    """From the start to the end, pauses left out."""
    paused_seconds: float = 0.0
    """How long it waited for people."""
    output_chars: int
    """How many characters of output the model is shown; see `Limits.output_chars`."""
    shown: tuple[Shown, ...] = ()
    """Pictures and other content that the code has shown, in order; see `content_blocks`."""
    files: tuple[File, ...] = ()
    """The files that the code has made or changed in its folder, as far as `Limits` lets them be returned."""
    session: str | None = None
    """The variables of the code for the thread's next execution, as base64; only a worker can read
    them. None where they are stored elsewhere."""
    spent: Mapping[str, Any] | None = None
    """What it spent of its budgets, by the names of `Budget`; None if it has none."""
    prefetch: PrefetchStats | None = None
    """What became of the calls that began early; None if none could."""

    @property
    def ended_at(self) -> datetime:
        """When it ended, in UTC."""
        return self.started_at + timedelta(seconds=self.duration_seconds + self.paused_seconds)

    @property
    def waiting_seconds(self) -> float:
        """For how long at least one call was in flight."""
        return min(self.duration_seconds, self._call_times()[0])

    @property
    def computing_seconds(self) -> float:
        """What is left of `duration_seconds`: the code itself, and what the sandbox needs for it."""
        return self.duration_seconds - self.waiting_seconds

    @property
    def overlapping_seconds(self) -> float:
        """For how long two calls or more were in flight."""
        return min(self.duration_seconds, self._call_times()[1])

    def _call_times(self) -> tuple[float, float]:
        began = self.started_at
        return add_up((max(began, c.started_at), c.ended_at) for c in self.tool_calls)

    def report(self) -> str:
        """Return the text that the model reads."""
        return render_report(self)

    @property
    def is_answer(self) -> bool:
        """Whether the report is what the code printed or returned, whole, and nothing else."""
        is_whole = len(self.output) <= self.output_chars
        is_there = bool(self.output.strip()) or self.value is not None
        return self.error is None and not self.notes and is_there and is_whole

    def raise_for_status(self) -> Self:
        """Return the result if the code succeeded.

        Raises:
            CodeSyntaxError, CheckError, PolicyError, CodeRuntimeError, LimitExceeded: The code failed.
            ReplayError: The code took another path when it was resumed.
            SandboxError: The machine failed.
        """
        if self.error is None:
            return self
        raise _exception_of(self.status, self.error)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON data; times in ISO 8601.

        This is the artifact of the tool message. Every serializer takes it and gives the same back:
        integers of more than 64 bits, NaN and the infinities are their text, lone surrogates escapes.
        """
        parts = ("error", "files", "shown", "tool_calls")
        names = [field.name for field in fields(self) if field.name not in parts]
        data = {name: getattr(self, name) for name in (*names, *_TIMES)}
        for name in ("error", "prefetch"):
            part = getattr(self, name)
            data[name] = None if part is None else asdict(part)
        plain: dict[str, Any] = as_plain(data)
        plain["files"] = [
            {
                "name": f.name,
                "size": f.size,
                "media_type": f.media_type,
                "data": _write_data(f.data),
            }
            for f in self.files
        ]
        plain["shown"] = [{**asdict(s), "data": _write_data(s.data)} for s in self.shown]
        plain["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return plain

    def file_blocks(self) -> list[dict[str, Any]]:
        """Return the files as content blocks of LangChain, for a message to a model or a person.

        Each has `type` (`image`, `audio`, `video` or `file`), `base64`, `mime_type` and, in `extras`, the
        `filename`. Files that were too large to return are left out.
        """
        return [
            {**_build_block(file.data, file.media_type), "extras": {"filename": file.name}}
            for file in self.files
            if file.data is not None
        ]

    def content_blocks(self) -> list[dict[str, Any]]:
        """Return what the model reads with what the code has shown, as content blocks of LangChain.

        They are those of `report`, as blocks of `type` `text`, and between them, each after the line that
        stands for it, blocks with `type` (`image`, `audio` or `file`), `base64` and `mime_type`. Whatever is in
        the part of long output that is cut comes after the cut.
        """
        report, blocks, start = self.report(), [], 0
        for shown in self.shown:
            end = _place_in_report(self.output.rstrip("\n"), self.output_chars, shown.at)
            end = max(start, end)
            blocks.append({"type": "text", "text": report[start:end].strip("\n")})
            if shown.data is not None:
                blocks.append(_build_block(shown.data, shown.media_type))
            start = end
        blocks.append({"type": "text", "text": report[start:].strip("\n")})
        return [block for block in blocks if block.get("text", "…").strip()]

    def _repr_html_(self) -> str:
        """Return a page about it, for notebooks."""
        from langchain_ptc.display import render_html

        return render_html(self._to_show())

    def __rich__(self) -> object:
        """Return what `rich.print` shows of it."""
        from langchain_ptc.display import render_panel

        return render_panel(self._to_show())

    def _to_show(self) -> dict[str, Any]:
        return {**self.to_dict(), "report_bytes": len(self.report().encode())}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, for example the artifact of a message.

        Raises:
            KeyError, TypeError, ValueError: It is not such a record.
        """
        given = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        if (failure := data["error"]) is not None:
            violations = tuple(Violation(**violation) for violation in failure["violations"])
            problems = tuple(Problem(**problem) for problem in failure["problems"])
            given["error"] = Failure(**{**failure, "violations": violations, "problems": problems})
        if (prefetch := data.get("prefetch")) is not None:
            given["prefetch"] = PrefetchStats(**prefetch)
        given["notes"] = tuple(data["notes"])
        given["files"] = tuple(
            File(name=file["name"], size=file["size"], data=_read_data(file["data"]))
            for file in data.get("files", ())
        )
        given["shown"] = tuple(
            Shown(**{**shown, "data": _read_data(shown["data"])}) for shown in data.get("shown", ())
        )
        given["tool_calls"] = tuple(ToolCallRecord.from_dict(call) for call in data["tool_calls"])
        given["started_at"] = datetime.fromisoformat(data["started_at"])
        return cls(**given)


def _write_data(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _read_data(data: str | None) -> bytes | None:
    return None if data is None else base64.b64decode(data, validate=True)


def _build_block(data: bytes, media_type: str) -> dict[str, Any]:
    """Build a content block of LangChain."""
    kind = media_type.partition("/")[0]
    kind = kind if kind in ("image", "audio", "video") else "file"
    return {"type": kind, "base64": _write_data(data), "mime_type": media_type}


_TIMES = ("ended_at", "computing_seconds", "waiting_seconds", "overlapping_seconds")
"""What `ExecutionResult.to_dict` has in addition to the fields."""


def add_up(spans: Iterable[tuple[datetime, datetime]]) -> tuple[float, float]:
    """Return for how long any, and for how long several at once of some spans of time went on."""
    edges: list[tuple[datetime, int]] = []
    for begin, end in spans:
        if end > begin:
            edges += [(begin, 1), (end, -1)]
    edges.sort()  # at the same moment ends come first: a call that begins then overlaps nothing
    any_of_them = several = 0.0
    running = 0
    since = edges[0][0] if edges else None
    for moment, change in edges:
        if since is not None and running:
            seconds = (moment - since).total_seconds()
            any_of_them += seconds
            several += seconds if running > 1 else 0.0
        running, since = running + change, moment
    return any_of_them, several


def large_parts(result: ExecutionResult) -> tuple[object, ...]:
    """Return what `report` and `to_dict` take long for, if it is large; for `call_off_loop`."""
    call_fields = range(len(result.tool_calls) * len(fields(ToolCallRecord)))
    arguments = [call.arguments for call in result.tool_calls]
    content = [file.data for file in result.files], [shown.data for shown in result.shown]
    return result.value, result.output, call_fields, arguments, content


def _exception_of(status: Status, failure: Failure) -> CodeError | ReplayError | SandboxError:
    if failure.problems:
        return CheckError(failure.problems)
    if status == "refused":
        return PolicyError(failure.violations)
    if failure.limit is not None and failure.allowed is not None:
        return LimitExceeded(limit=failure.limit, allowed=failure.allowed, used=failure.used)
    if status == "sandbox":
        return SandboxError(failure.message)
    if failure.kind == "ReplayError":
        return ReplayError(failure.message)
    if failure.kind == "SyntaxError":
        return CodeSyntaxError(failure.message, line=failure.line, source_line=failure.source_line)
    return CodeRuntimeError(
        f"{failure.kind}: {failure.message}",
        exc_type=failure.kind,
        line=failure.line,
        source_line=failure.source_line,
    )


# --- the text that the model reads ----------------------------------------------------------------

NO_OUTPUT = "(no output)"
MAX_CALLS_NAMED = 20
MAX_ARGUMENTS_CHARS = 120


def render_report(result: ExecutionResult) -> str:
    """Render what the model reads: bounded in size, with both ends of long output."""
    parts = []
    if result.output.strip():
        parts.append(cut_middle(result.output.rstrip("\n"), result.output_chars))
    elif result.error is None and result.value is not None:
        parts.append(cut_middle(render_plain(result.value), result.output_chars))
    if result.error is not None:
        parts += _render_failure(result)
        parts += _render_calls(result.tool_calls)
    if result.files:
        parts.append(_render_files(result.files))
    if not parts:
        parts.append(NO_OUTPUT)
    parts += [f"note: {note}" for note in result.notes]
    return clean_text("\n\n".join(parts))


def _render_files(files: Sequence[File]) -> str:
    names = [
        f"{file.name} ({count(file.size, 'byte')}{', not returned' * (file.data is None)})"
        for file in files
    ]
    more = len(names) - MAX_CALLS_NAMED
    return f"files: {', '.join(names[:MAX_CALLS_NAMED])}{f', {more} more' if more > 0 else ''}"


def cut_middle(text: str, limit: int) -> str:
    """Return `text`, or its head and tail around a line that says how much was cut.

    Lone surrogates are escapes in what it returns, and counted as such.
    """
    if len(text) <= limit:
        text = clean_text(text)  # which may make it longer
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    gone = len(text) - limit
    kept_head, kept_tail = clean_text(text[:head])[:head], clean_text(text[-tail:])[-tail:]
    return (
        f"{kept_head}\n[… {gone:,} of {len(text):,} characters cut: print less, or a summary …]\n"
        f"{kept_tail}"
    )


def _place_in_report(output: str, limit: int, at: int) -> int:
    """Return where in a report is what comes after `at` characters of the output; see `cut_middle`."""
    head = limit * 2 // 3
    if len(output) <= limit or at <= head:
        return min(at, len(output))
    tail = limit - head
    return len(cut_middle(output, limit)) - min(tail, len(output) - min(at, len(output)))


_OPENINGS = {
    "refused": "The code was not run: the sandbox does not accept",
    "sandbox": "The sandbox failed; the code is not at fault:",
    "limit": "The code was stopped:",
    "denied": "The code ended because a person rejected a call:",
    "cancelled": "The execution was cancelled:",
}


def _render_failure(result: ExecutionResult) -> list[str]:
    failure = result.error
    assert failure is not None
    opening = _OPENINGS.get(result.status)
    if result.status == "error":
        text = failure.traceback or f"{failure.kind}: {failure.message}"
    elif failure.problems:
        text = failure.message
    elif failure.violations:
        text = f"{opening}\n" + "\n".join(f"- {violation}" for violation in failure.violations)
    elif failure.traceback:
        space = "\n" if failure.traceback.startswith("Traceback") else " "
        text = f"{opening}{space}{failure.traceback}"
    else:
        text = f"{opening} {failure.message}"
    hint = failure.hint or _HOW_TO_GO_ON.get(failure.limit or "")
    if not hint and _ended_others(result):
        hint = _OTHERS
    return [text, f"hint: {hint}"] if hint else [text]


_HOW_TO_GO_ON: Mapping[str, str] = {
    "wall_seconds": "make independent calls concurrently with asyncio.gather, or do a part of the job in each "
    "program and print what is done",
    "cpu_seconds": "compute less, or do a part of the work in each program and print what is done",
    "memory_bytes": "work through the data in parts, and keep only what the answer needs",
    "max_tool_calls": "do the rest in another program, which may make as many calls again, and print what is done",
    "tool_seconds": "ask the tool for less at a time, or catch ToolCallError and go on without it",
    "result_bytes": "ask the tool for less at a time",
    "output_bytes": "print a summary, and not the data",
    "code_chars": "write a shorter program: data comes from tools",
}
"""What helps after a limit, by its field."""

_OTHERS = (
    "what the other calls returned is lost unless the code printed it. Catch ToolCallError in each branch, "
    "or use asyncio.gather(..., return_exceptions=True), and print what has finished"
)


def _ended_others(result: ExecutionResult) -> bool:
    """Whether an error of one tool call ended code that had results of concurrent calls."""
    failure = result.error
    assert failure is not None
    if not failure.kind.endswith(("ToolCallError", "LimitExceeded", "ExceptionGroup")):
        return False
    returned = [call for call in result.tool_calls if call.status == "returned"]
    failed = [call for call in result.tool_calls if call.status in ("failed", "refused", "denied")]
    return any(
        one.started_at < other.ended_at and other.started_at < one.ended_at
        for one in failed
        for other in returned
    )


_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "returned": ("took effect and must not be repeated",) * 2,
    "answered": ("was answered by a person and not made", "were answered by a person and not made"),
    "failed": (
        "reached its tool and failed, and may have taken effect all the same",
        "reached their tools and failed, and may have taken effect all the same",
    ),
    "cancelled": (
        "was still running and was cancelled, and may have taken effect",
        "were still running and were cancelled, and may have taken effect",
    ),
    "refused": (
        "was refused and did not reach its tool",
        "were refused and did not reach their tools",
    ),
    "denied": ("was rejected by a person and not made", "were rejected by a person and not made"),
    "read": ("only read, and may be made again",) * 2,
}
"""What the model reads about one call, and about several, by how they ended; in this order."""


def _render_calls(calls: Sequence[ToolCallRecord]) -> list[str]:
    """Say which calls took effect, so that the next attempt does not repeat them."""
    groups: dict[str, list[ToolCallRecord]] = {outcome: [] for outcome in _OUTCOMES}
    tools = {(call.domain, call.tool) for call in calls}
    names = Counter(name for _, name in tools)
    for call in calls:
        groups[_outcome_of(call)].append(call)
    lines = []
    for outcome, those in groups.items():
        if those:
            line = f"{count(len(those), 'tool call')} {_OUTCOMES[outcome][len(those) > 1]}"
            lines.append(line if outcome == "read" else f"{line}: {_name_calls(those, names)}")
    return lines


def _outcome_of(call: ToolCallRecord) -> str:
    if call.status == "returned" and call.approval == "respond":
        return "answered"
    may_have_changed = call.status in ("returned", "failed", "cancelled")
    return "read" if may_have_changed and call.is_read_only else call.status


def _name_calls(calls: Sequence[ToolCallRecord], names: Mapping[str, int]) -> str:
    name = functools.partial(_name_call, names=names)
    if len(calls) <= MAX_CALLS_NAMED:
        return ", ".join(map(name, calls))
    head, tail = calls[: MAX_CALLS_NAMED // 2], calls[-MAX_CALLS_NAMED // 2 :]
    gone = f"[… {len(calls) - len(head) - len(tail)} more …]"
    return ", ".join([*map(name, head), gone, *map(name, tail)])


def _name_call(call: ToolCallRecord, names: Mapping[str, int]) -> str:
    """Return a call as code makes it, with the domain where tools of several domains have the name."""
    passed = {name: value for name, value in call.arguments.items() if name not in call.defaults}
    arguments = ", ".join(f"{name}={_show(value)}" for name, value in passed.items())
    tool = call.qualified_name if names[call.tool] > 1 else call.tool
    return f"{tool}({cut(arguments, MAX_ARGUMENTS_CHARS + 1)})"


def _show(value: object) -> str:
    if is_large(value):
        return reprlib.repr(value)
    try:
        return repr(value)
    except (ValueError, RecursionError):  # Python prints no integer of over 4,300 digits
        return render_plain(value)
