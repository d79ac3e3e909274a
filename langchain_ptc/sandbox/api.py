"""What a sandbox is: its limits, the records that cross it and the two protocols that every sandbox keeps.

One execution, seen from the host:

```
session = sandbox.session()
done = await session.run(program, on_calls)      # on_calls(calls) each time the code asks for tools
session.resume([Result(...), ...])               # at any time, in any order, from the same event loop
```

The host never waits inside the sandbox for a tool: calls are handed out as they are asked for, and
answers are handed in as they come. Whoever drives a session (the executor, a journal, a test) is a
small loop around these two.

A program with `Program.replay` runs in steps, so that it can be run again on the same path: it runs
until it can only wait, the host is told (`on_idle`), and the host gives it exactly one event: one
answer, or the passing of time. Nothing else reaches it: its clock stands still between events, and
its random numbers come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from langchain_ptc.errors import Problem, Violation

Status = Literal["success", "error", "refused", "limit", "denied", "cancelled", "sandbox"]
"""How an execution ended: `error` is the code's own, `refused` is the language's or the check's,
`denied` a person's who rejected a call, `sandbox` the machine's."""

MIB = 1024 * 1024
MOST = 2**63 - 1
"""Limits beyond it are refused; up to it, one that the kernel does not take counts as the most that
it does. `math.inf` seconds are no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one execution may use, each with its unit in the name.

    A limit that is reached ends the execution with `status="limit"`, naming the limit, what was
    allowed and what was used, with the output and the tool calls so far. The two limits of a single
    call (`tool_seconds`, `result_bytes`) are first raised in the code, at the call, as
    `ToolCallError`: code that catches it goes on.

    Raises:
        ValueError: A limit is not a positive number, or is a whole number above 2**63 - 1.
    """

    wall_seconds: float = 30.0
    """From the start of the code to its end, the time of its tools included."""
    cpu_seconds: int = 10
    """Processor time of the worker, in whole seconds: the kernel counts no finer."""
    memory_bytes: int = 512 * MIB
    """Address space that the code may add to an idle worker's."""
    max_tool_calls: int = 100
    """Tool calls that one execution may make."""
    tool_seconds: float = 30.0
    """Each tool call."""
    max_concurrent_calls: int = 64
    """Tool calls that run at once; further ones wait for their turn."""
    output_chars: int = 20_000
    """Printed characters that the model is shown; more is cut in the middle, keeping both ends."""
    output_bytes: int = 8 * MIB
    """Printed text that is kept for the artifact, in UTF-8; printing more ends the execution."""
    result_bytes: int = 64 * MIB
    """Each tool result: a string in UTF-8, anything else as MessagePack."""
    code_chars: int = 100_000
    """Length of the code."""
    session_bytes: int = 8 * MIB
    """The variables and files that one execution of a session leaves for the next; the largest ones that
    do not fit are not kept."""
    max_returned_files: int = 32
    """Files that one execution of code with files returns; a note says that there are more."""
    returned_bytes: int = 8 * MIB
    """The content of these files together; one that does not fit is named with its size, and not
    returned."""

    max_shown: int = 8
    """Pictures, and other content, that one execution shows; a line of the output says that there are more."""
    shown_bytes: int = 15 * MIB // 4
    """All of these together; for one that does not fit, a line of the output says so. By default what base64 makes
    5 MiB of, the most that Anthropic takes for a picture."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            kind = int if limit.type == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                raise ValueError(
                    f"Limits.{limit.name} must be a positive "
                    f"{'whole number' if kind is int else 'number'}, got {_shorten(value)}"
                )
            if isinstance(value, int) and value > MOST:
                raise ValueError(
                    f"Limits.{limit.name} must be at most {MOST} (sys.maxsize), got {_shorten(value)}"
                )


def _shorten(value: object) -> str:
    """Return the `repr` of a value, cut; Python refuses that of a number of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


class Moment(NamedTuple):
    """What the clocks of a program that runs in steps show."""

    unix: float
    """Seconds since the epoch: `time.time()`, `datetime.now()`."""
    elapsed: float
    """Seconds that the program has run, pauses left out: `time.monotonic()`, `perf_counter()` and
    the clock of the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How to run a program so that the same events take it down the same path.

    The program sees no other time, no other chance and no other order than the host gives it: not
    by asyncio, `time`, `datetime`, `random`, `secrets` or `uuid`, nor by iterating over sets of
    strings. What cannot be made the same from one run to the next:

    - `id()`, and the addresses in the default `repr` of objects;
    - the order of sets whose items have no hash of their own: functions, classes, coroutines, NaN,
      objects of classes without `__eq__` and `__hash__`; before Python 3.12, None too;
    - in an `InProcessSandbox`, the order of sets of strings: the hash seed is the host's;
    - when cyclic garbage is collected, and so when `__del__` and weak references notice;
    - where memory and the stack end (`MemoryError`, `RecursionError`);
    - the local time zone and the version of Python, if another machine goes on;
    - clocks and chance that modules of the developer read by themselves (`pd.Timestamp("now")`). In
      a worker process numpy's are seeded; `numpy.random` in an `InProcessSandbox` is the host's.

    The clocks stand still between events, but for a microsecond at each reading, and never go back.
    A program that is busy waiting is put to sleep for some milliseconds every thousand rounds of the
    loop, since no answer comes before it waits.
    """

    seed: int
    """For `random`, `uuid` and whatever else is drawn by chance."""
    start: Moment
    """What the clocks show until the first event."""
    computed_seconds: float = 0.0
    """How long the program has computed, waiting left out, to come to where it goes on: it will take
    about as long again, and that does not count against its limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One code with everything that a worker must know to run it."""

    code: str
    """What the model wrote."""
    tools: tuple[str, ...] = ()
    """Qualified names of the tools that the code may call: `finance.get_expenses`, or
    `get_expenses` for a tool without a domain."""
    types: tuple[str, ...] = ()
    """Names of the record types in the stubs; the code may name them in annotations. Qualified
    like tools."""
    limits: Limits = field(default_factory=Limits)
    replay: Replay | None = None
    """Run in steps; None to run freely, by the real clock."""
    files: Mapping[str, bytes] | None = None
    """Files that the code finds in its folder, by name; None for code without files."""
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    """Variables that the code begins with, encoded (see `wire.values.encode_value`)."""
    kept: bytes | None = None
    """Variables that an earlier execution of the same session kept (`Done.kept`); empty for the
    first one; None for a program of no session, which keeps nothing."""


class Call(NamedTuple):
    """One tool call that the code asks for."""

    id: int
    """Number of the call in its execution, from 1, in the order in which the code made them."""
    tool: str
    """Qualified name of the tool."""
    args: tuple[object, ...]
    """Positional arguments, plain values."""
    kwargs: Mapping[str, object]
    """Keyword arguments, plain values."""
    line: int
    """Line of the code that made the call, from 1; 0 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """Why a tool call gave no value; becomes a `ToolCallError` in the code."""

    message: str
    limit: str | None = None
    """The field of `Limits` that the call hit."""
    allowed: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one call: a value, encoded (see `wire.values.encode_value`), or a failure."""

    id: int
    payload: bytes = b"\xc0"
    failure: CallFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an execution did not succeed, in terms of the code."""

    kind: str
    """Name of the exception's class, for example `KeyError` or `PolicyError`."""
    message: str
    """What was wrong, in one paragraph."""
    line: int = 0
    """Line of the code, from 1; 0 if unknown."""
    source_line: str = ""
    """The text of that line."""
    traceback: str = ""
    """The frames of the code itself, with source lines; no library frames and no paths."""
    hint: str = ""
    """What helps to mend the code, or an empty string."""
    violations: tuple[Violation, ...] = ()
    """For `status="refused"`: every place that the language does not accept."""
    problems: tuple[Problem, ...] = ()
    """For `status="refused"`: every place where the code uses a tool in a way that cannot work."""
    limit: str | None = None
    """For `status="limit"`: the field of `Limits`."""
    allowed: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an execution."""

    status: Status
    output: str = ""
    """Everything that was printed."""
    value: object = None
    """What the code returned, as a plain value; None if nothing."""
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    """What the code should know besides, for example calls that were never awaited."""
    kept: bytes | None = None
    """The variables of the code for the next program of the session. Only a worker reads them; None
    if the program is of no session, or ended before it could keep any."""
    files: tuple[File, ...] = ()
    """The files that the code has made or changed, by name; none if it ended by a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that code has made or changed."""

    name: str
    """Relative to the folder, with `/`; it can be saved below any folder, on any system."""
    size: int
    """In bytes."""
    data: bytes | None = field(repr=False)
    """Its content; None if it was too large to return."""

    @property
    def media_type(self) -> str:
        """What its name says of its content, for example `text/csv`."""
        import mimetypes

        guessed = mimetypes.MimeTypes().guess_type(self.name)
        return guessed[0] if guessed[0] and not guessed[1] else "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture, or other content, that code has shown."""

    media_type: str
    """What it is, as its bytes say: `image/png`, `image/jpeg`, `image/gif`, `image/webp`, `application/pdf`,
    `audio/wav` or `audio/mpeg`."""
    size: int
    """In bytes."""
    at: int
    """How many characters of the output come before it."""
    data: bytes | None = field(repr=False)
    """The content; None in a record that was stored without it."""


OnCalls = Callable[[Sequence[Call]], None]
OnIdle = Callable[[float | None], None]


class Session(Protocol):
    """One execution in a sandbox. Used once, from one event loop."""

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        ...

    @property
    def shown(self) -> Sequence[Shown]:
        """What the code has shown until now."""
        ...

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end.

        Never raises for what the code does. Cancelling the awaiting task ends the worker.

        Args:
            program: What to run.
            on_calls: Called on the event loop each time the code has asked for tools, with the
                calls in the order in which the code made them; must not block.
            on_idle: For a program with `replay`, and only for one: called on the event loop, after
                `on_calls`, when the program can only wait, with the reading of the elapsed clock
                at which its next timer is due, or None if it waits for calls alone. It then takes
                one `resume`.

        Raises:
            SandboxError: The machine could not start a worker.
            ValueError: `program` has `replay`, and `on_idle` is missing.
        """
        ...

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls, in any order; ignored after the end.

        A program with `replay` takes one step after each `on_idle`, from within it or later.

        Args:
            results: The answers; none when only time passes. A program with `replay` gets them in this
                order.
            at: For a program with `replay`, and only for one: what its clocks show from now on.

        Raises:
            ValueError: A program with `replay` has not said that it waits, or `at` is missing; or `at`
                is given to another one.
        """
        ...

    def renew(self) -> None:
        """Begin the limits of wall and processor time anew: the program is where it goes on."""
        ...


class Sandbox(Protocol):
    """A place where code runs; makes any number of sessions, from any event loop or thread."""

    @property
    def modules(self) -> frozenset[str]:
        """Names of the modules that the code may import."""
        ...

    @property
    def files_bytes(self) -> int:
        """Size of the folder that each execution gets; 0 for none."""
        ...

    def session(self) -> Session:
        """Prepare one execution; does no I/O."""
        ...

    def has_room(self) -> bool:
        """Whether one more program would delay no other."""
        ...

    def close(self) -> None:
        """End every worker. Sessions that run end with `status="sandbox"`; idempotent."""
        ...
