"""What the host and a worker say to each other. No I/O.

A frame is a 32-bit little-endian length and that many bytes of JSON: an array of messages. A message
is an array whose first item is its kind:

| from the host | |
|---|---|
| `["run", {code, tools, types, limits, replay, kept}]` | run this program; once, first |
| `["r", id, value]` | the value of a call |
| `["e", id, message, limit, allowed, used]` | a call failed; the last three may be null |
| `["t", unix, elapsed]` | what the clocks show; in steps, the first message of each event |

| from the worker | |
|---|---|
| `["c", id, tool, args, kwargs, line]` | call a tool; ids are 1, 2, 3, … |
| `["o", text]` | something was printed |
| `["i", due]` | in steps: the program can only wait, till the clock shows `due`, or null |
| `["k", base64]` | of a session: the next piece of its variables |
| `["d", {status, value, failure, notes}]` | the end; nothing may follow |

Rules, for the host's side: it believes nothing. Anything that is not exactly one of these messages,
an id out of order, a tool that was not offered, a frame that is too large or holds too many values,
and anything after the end is a `ProtocolViolation`, which ends the execution and nothing else. So is
an `i` from a program that does not run in steps, and anything between an `i` and the event that it
asks for, but for an end by a limit.
Standard library only: the worker uses it too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple, TypeAlias, TypeVar

from langchain_ptc.errors import LimitExceeded
from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.api import (
    Call,
    CallFailure,
    Done,
    Failure,
    Moment,
    Program,
    Replay,
    Result,
    Status,
)
from langchain_ptc.sandbox.wire.bounded import (
    FORM_START,
    Built,
    MalformedValue,
    OutOfBounds,
    build_scalar,
    build_value,
    check_depth,
)
from langchain_ptc.sandbox.wire.decoding import BYTES_OF_A_VALUE, read_frame
from langchain_ptc.sandbox.wire.endings import EndingReader, ToldLimit
from langchain_ptc.sandbox.wire.framing import FrameReader, ProtocolViolation
from langchain_ptc.sandbox.wire.hashes import check_hashes, items_of
from langchain_ptc.sandbox.wire.objects import UnsendableValue
from langchain_ptc.sandbox.wire.parcel import Parcel, decode_bytes, encode_bytes
from langchain_ptc.sandbox.wire.values import MAX_DEPTH, encode_text, encode_value

T = TypeVar("T")
Message: TypeAlias = list[Any]

_CALL_TYPES = [str, int, str, list, dict, int]

MAX_CALL_BYTES = 8 * 1024 * 1024
"""The arguments of one call; the worker refuses more at the call, with an error that says so."""
MAX_WORKER_FRAME_BYTES = MAX_CALL_BYTES + 1024 * 1024
"""From a worker: a call with large arguments, or a batch of small messages. A frame takes up to nine
times its length while it is read: one wide character makes all of its text wide, twice."""
MAX_ARGUMENTS = 1_000
"""Positional arguments of one call, and as many by keyword."""
MAX_NAME_CHARS = 1_000
"""Of the name of an argument."""
MAX_CALLS_BYTES = 48 * 1024 * 1024
"""Memory of the host, about, that the arguments of all calls of one execution may take."""
_SMALL_FRAME_BYTES = 4096
"""Calls up to here are not added up: what they take is held by `max_tool_calls`."""
_LARGE_CHARS = 16 * 1024
"""Of a value: more is not copied into its message."""
MAX_WAITS = 20_000
"""Waits of a program that runs in steps; each may become a record that is kept."""


# --- the host's messages ------------------------------------------------------------------------

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


_LIMITS = tuple(field.name for field in fields(Limits))


def encode_run(program: Program) -> str:
    """Encode the message that starts a program."""
    return _encode(
        [
            "run",
            {
                "code": program.code,
                "tools": program.tools,
                "types": program.types,
                "limits": {name: getattr(program.limits, name) for name in _LIMITS},
                "replay": program.replay and [program.replay.seed, *program.replay.start],
                "kept": None if program.kept is None else encode_bytes(program.kept),
            },
        ]
    )


def encode_result(result: Result) -> str:
    """Encode the answer to one call."""
    if result.failure is not None:
        why = result.failure
        return _encode(["e", result.id, why.message, why.limit, why.allowed, why.used])
    return f'["r",{result.id},{result.payload}]'


def encode_result_pieces(result: Result) -> list[str]:
    """Encode the answer to one call as pieces of text, of which a large value is one, uncopied."""
    if result.failure is not None or len(result.payload) < _LARGE_CHARS:
        return [encode_result(result)]
    return [f'["r",{result.id},', result.payload, "]"]


def encode_moment(at: Moment) -> str:
    """Encode what the clocks show."""
    return _encode(["t", *at])


# --- the worker's messages, read by the host ------------------------------------------------------


class Idle(NamedTuple):
    """That a program can only wait."""

    due: float | None
    """What its elapsed clock will show when its next timer is due."""


class HostProtocol:
    """The host's half of one execution: bytes in, calls and output and the end out.

    Args:
        program: What the worker was told to run.
    """

    def __init__(self, program: Program) -> None:
        self._tools = frozenset(program.tools)
        self._limits = program.limits
        self._reader = FrameReader(MAX_WORKER_FRAME_BYTES)
        self._printed = bytearray()  # not a list of texts: those may be empty, and many
        self._calls_bytes = 0
        self._calls = 0
        self._ended_by_us = False
        self._stepped = program.replay is not None
        self._held: list[Call] = []
        self._endings = EndingReader(program.limits, len(program.code))
        self._waits = 0
        self._kept = None if program.kept is None else Parcel(self._limits.session_bytes)
        self.idle: Idle | None = None
        """Of a program in steps: that it can only wait; until `go_on`."""
        self.done: Done | None = None
        """The end, once the worker has said it."""

    @property
    def output(self) -> str:
        """What was printed until now."""
        return self._printed.decode("utf-8", "ignore")

    def receive(self, data: bytes) -> list[Call]:
        """Take bytes from the worker and return the calls that it asks for.

        Calls of a program in steps come together, when it waits.

        Raises:
            ProtocolViolation: The worker broke a rule.
        """
        for frame in self.cut(data):
            self.take(frame)
        return self.collect()

    def cut(self, data: bytes) -> list[bytes]:
        """Take bytes from the worker and return the frames that are now complete; see `take`.

        Raises:
            ProtocolViolation: A frame is longer than is accepted.
        """
        return self._reader.feed(data)

    def take(self, frame: bytes) -> None:
        """Take a frame; in any thread, but one after another, and not while anything else is done.

        Raises:
            ProtocolViolation: The worker broke a rule.
        """
        if self._ended_by_us:
            return
        read = read_frame(frame)
        cost = read.cost
        _check_size(cost)
        before = self._calls
        for message in read.messages:
            if read.has_forms:
                built = _refuse_broken(read_message, message)
                cost += built.spread_items * BYTES_OF_A_VALUE
                message = built.value  # noqa: PLW2901  # the same, with its values built
            elif read.may_be_deep:
                _refuse_broken(check_depth, message, MAX_DEPTH + _MESSAGE_DEPTH)
            if read.may_share_hashes and type(message) is list and message[:1] == ["c"]:
                _refuse_broken(check_hashes, message)
            self._take(message)
            if self._ended_by_us:
                return
        if self._calls > before and cost > _SMALL_FRAME_BYTES:
            self._calls_bytes += cost
            _check_size(self._calls_bytes)

    def collect(self) -> list[Call]:
        """Return the calls that have come and were not returned yet."""
        if self._stepped and self.idle is None and not self._ended_by_us:
            return []
        calls, self._held = self._held, []
        return calls

    def note_limit(self, failure: CallFailure) -> None:
        """Note that the worker is told that a call has hit a limit: the program may end by it."""
        self._endings.told.add(ToldLimit(failure.limit, failure.allowed, failure.used))

    def go_on(self) -> None:
        """Note that the program has been given its event."""
        self.idle = None

    def _take(self, message: object) -> None:
        if self.done is not None:
            raise ProtocolViolation("a message after the end")
        if type(message) is not list or not message:
            raise ProtocolViolation("a message that is no array")
        if self.idle is not None and not _is_limit(message):
            raise ProtocolViolation("a message from a program that has said that it waits")
        if message[0] == "c":
            self._take_call(message)
            return
        match message:
            case ["o", str(text)]:
                self._print(text)
            case ["d", dict(ending)]:
                self._take_ending(ending)
            case ["k", str(piece)] if self._kept is not None:
                self._kept.add(piece)
            case ["i", due] if self._stepped:
                self._take_idle(due)
            case _:
                raise ProtocolViolation("a message of no known kind")

    def _take_call(self, message: Message) -> None:
        if [*map(type, message)] != _CALL_TYPES:
            raise ProtocolViolation("a malformed call")
        _, number, tool, args, kwargs, line = message
        if number != self._calls + 1:
            raise ProtocolViolation("a call whose number is not the next")
        if tool not in self._tools:
            raise ProtocolViolation(f"a call of the tool {tool[:100]!r}, which was not offered")
        if len(args) > MAX_ARGUMENTS or len(kwargs) > MAX_ARGUMENTS:
            raise ProtocolViolation(f"a call with more than {MAX_ARGUMENTS:,} arguments")
        for key in kwargs:
            if type(key) is not str or len(key) > MAX_NAME_CHARS:
                raise ProtocolViolation("a malformed keyword")
        if not self._endings.is_line(line):
            raise ProtocolViolation("a call on a line that the code does not have")
        self._calls = number
        allowed = self._limits.max_tool_calls
        if number > allowed:
            self._end(limit_reached("max_tool_calls", allowed, number, output=self.output))
        else:
            self._held.append(Call(number, tool, tuple(args), kwargs, line))

    def _take_idle(self, due: object) -> None:
        if due is not None and (type(due) is not float or not math.isfinite(due)):
            raise ProtocolViolation("a wait until a time that is none")
        self._waits += 1
        if self._waits > MAX_WAITS:
            raise ProtocolViolation(f"more than {MAX_WAITS} waits")
        self.idle = Idle(due)

    def _take_ending(self, ending: Mapping[str, object]) -> None:
        allowed = self._limits.output_bytes
        used = _weigh(ending.get("value"))
        if used > allowed:
            self._end(limit_reached("output_bytes", allowed, used, output=self.output))
        else:
            kept = None if self._kept is None else self._kept.content
            self.done = self._endings.read(ending, self.output, kept)

    def _print(self, text: str) -> None:
        allowed = self._limits.output_bytes
        room = allowed - len(self._printed)
        # Lone surrogates cannot be stored or sent by anything behind us: write them as escapes.
        self._printed += text[: room + 1].encode("utf-8", "backslashreplace")
        if len(self._printed) > allowed:
            used = max(len(self._printed), allowed - room + len(text))
            del self._printed[allowed:]
            self._end(limit_reached("output_bytes", allowed, used, output=self.output))

    def _end(self, done: Done) -> None:
        self.done, self._ended_by_us = done, True


def _refuse_broken(read: Callable[..., T], *told: object) -> T:
    try:
        return read(*told)
    except (OutOfBounds, MalformedValue, MemoryError) as error:
        raise ProtocolViolation(str(error) or type(error).__name__) from error


def _is_limit(message: Message) -> bool:
    """Whether this is the end by a limit, which a signal brings about at any time."""
    match message:
        case ["d", {"status": "limit"}]:
            return True
    return False


def cut_bytes(text: str, most: int) -> str:
    """Return as much of `text` as fits into `most` bytes of UTF-8."""
    return text.encode("utf-8", "surrogatepass")[:most].decode("utf-8", "ignore")


def limit_reached(limit: str, allowed: float, used: float | None, *, output: str) -> Done:
    """Build the end of an execution that hit a limit."""
    error = LimitExceeded(limit=limit, allowed=allowed, used=used)
    return Done(
        status="limit",
        output=output,
        failure=Failure(
            kind="LimitExceeded", message=str(error), limit=limit, allowed=allowed, used=used
        ),
    )


def _check_size(size: int) -> None:
    if size > MAX_CALLS_BYTES:
        raise ProtocolViolation(
            f"calls whose arguments take more than {MAX_CALLS_BYTES:,} bytes together"
        )


_MESSAGE_DEPTH = 5
"""What a message adds to the depth of its values."""


def read_message(message: object) -> Built:
    """Build the values in a message; the worker does it with its own, to tell the code in time.

    Raises:
        OutOfBounds: A value is beyond its bounds.
        MalformedValue: No honest worker writes such a value.
    """
    return build_value(message, MAX_DEPTH + _MESSAGE_DEPTH)


def _weigh(value: object) -> int:
    """Return about how long `value` is as JSON; never more than it is."""
    weight, level = 0, [value]
    while level:
        weight += len(level)
        weight += sum(len(part) for part in level if type(part) is str or type(part) is bytes)
        level = items_of(level)
    return weight


# --- the worker's messages, written by the worker -------------------------------------------------


def encode_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Encode the arguments of a call: a list, and always an object, whatever the names are.

    Raises:
        UnsendableValue: An argument cannot cross.
        Exception: What an iterator among them raised.
    """
    most = MAX_CALL_BYTES // 2
    named = [f"{encode_text(k)}:{encode_value(v, max_items=most)}" for k, v in kwargs.items()]
    positional = encode_value(list(args), max_items=most) if args else "[]"
    return f"{positional},{{{','.join(named)}}}"


def check_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Refuse more arguments than the host accepts.

    Raises:
        UnsendableValue: There are too many, or a name is too long.
    """
    if len(args) > MAX_ARGUMENTS or len(kwargs) > MAX_ARGUMENTS:
        raise UnsendableValue(
            f"{len(args) + len(kwargs):,} arguments were given, of which a call takes at most "
            f"{MAX_ARGUMENTS:,} by position and as many by name; pass a list"
        )
    if any(len(name) > MAX_NAME_CHARS for name in kwargs):
        raise UnsendableValue(
            f"the name of an argument has more than {MAX_NAME_CHARS:,} characters"
        )


def check_message(text: str) -> int:
    """Check a message, as its text, for values that the host would refuse.

    Returns:
        How much memory of the host its ranges may take, in bytes.

    Raises:
        UnsendableValue: There is one.
    """
    if FORM_START not in text:
        return 0
    try:
        built = read_message(json.loads(text, object_hook=build_scalar))
    except (OutOfBounds, MalformedValue) as error:
        raise UnsendableValue(str(error)) from None
    return built.spread_items * BYTES_OF_A_VALUE


def encode_call(number: int, tool: str, arguments: str, line: int) -> str:
    """Encode a call with arguments from `encode_arguments`."""
    return f'["c",{number},{encode_text(tool)},{arguments},{line}]'


def encode_output(text: str) -> str:
    """Encode printed text."""
    return f'["o",{encode_text(text)}]'


def encode_idle(due: float | None) -> str:
    """Encode that the program can only wait."""
    return '["i",null]' if due is None else f'["i",{float(due)!r}]'


def encode_done(status: Status, value: str, failure: Failure | None, notes: Sequence[str]) -> str:
    """Encode the end; `value` is JSON text already."""
    told = None
    if failure is not None:
        told = asdict(failure)
        told["violations"] = [[v.line, v.message] for v in failure.violations]
    return (
        f'["d",{{"status":{_encode(status)},"value":{value},'
        f'"failure":{_encode(told)},"notes":{_encode(notes)}}}]'
    )


def parse_run(message: Message) -> Program:
    """Read the message that starts a program; the worker trusts the host."""
    told = message[1]
    limits = object.__new__(Limits)  # they were checked when they were made
    for name, value in told["limits"].items():
        object.__setattr__(limits, name, value)
    replay = told["replay"]
    return Program(
        code=told["code"],
        tools=tuple(told["tools"]),
        types=tuple(told["types"]),
        limits=limits,
        replay=replay and Replay(seed=replay[0], start=Moment(*replay[1:])),
        kept=None if told["kept"] is None else decode_bytes(told["kept"]),
    )
