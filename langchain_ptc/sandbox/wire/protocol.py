"""What the host and a worker send each other. No I/O.

A frame is a 32-bit little-endian length and that many bytes: one message, an array in MessagePack whose
first item is its kind; see `values`:

| from the host | |
|---|---|
| `["run", {code, tools, types, limits, replay, inputs, kept, files}]` | run this program; once, first |
| `["r", id, value]` | the value of a call |
| `["e", id, message, limit, allowed, used]` | a call failed; the last three may be null |
| `["t", unix, elapsed, results]` | in steps: what the clocks show, and how many `r` and `e` follow |

| from the worker | |
|---|---|
| `["c", id, tool, args, kwargs, line]` | call a tool; ids are 1, 2, 3, … |
| `["o", text]` | something was printed |
| `["i", due]` | in steps: the program can only wait, till the clock shows `due`, or null |
| `["k", bytes]` | of a session: the next piece of its variables |
| `["s", bytes]` | something to show: see `content` |
| `["f", name, size, bytes]` | a file that the code has made or changed; null for content that is too large |
| `["d", {status, value, failure, notes}]` | the end, with the value as bytes; nothing may follow |

Rules, for the host's side: it believes nothing. Anything that is not exactly one of these messages,
an id out of order, a tool that was not offered, a frame that is too large or holds too many values,
and anything after the end is a `ProtocolViolation`, which ends the execution and nothing else. So is
an `i` from a program that does not run in steps, and anything between an `i` and the event that it
asks for, but for an end by a limit.

An end names a limit only with the figures that the host has set, or has reported to the worker at a call;
lines lie within the code; texts are bounded and printable; and what does not belong to the status is
refused.
"""

from __future__ import annotations

import math
import os
import re
import signal
import struct
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

import ormsgpack

from langchain_ptc.errors import LimitExceeded, PTCError, Violation
from langchain_ptc.sandbox.api import (
    MOST,
    Call,
    CallFailure,
    Done,
    Failure,
    File,
    Limits,
    Moment,
    Program,
    Replay,
    Result,
    Shown,
    Status,
)
from langchain_ptc.sandbox.wire.content import is_file_name, read_content
from langchain_ptc.sandbox.wire.decoding import (
    MAX_VALUES,
    SMALL_COST,
    Bounded,
    OutOfBounds,
    check_hashes,
    read_bounded,
)
from langchain_ptc.sandbox.wire.values import (
    MAX_DEPTH,
    MalformedValue,
    UnsendableValue,
    encode_value,
    is_utf8,
)

T = TypeVar("T")
Message: TypeAlias = list[Any]

_HEADER = struct.Struct("<I")
_LARGE_BYTES = 16 * 1024
"""What has more is not copied into its frame."""

_CALL_TYPES = [str, int, str, list, dict, int]

MAX_CALL_BYTES = 8 * 1024 * 1024
"""The arguments of one call; the worker refuses more at the call, with an error that says so."""
MAX_WORKER_FRAME_BYTES = MAX_CALL_BYTES + 1024 * 1024
"""From a worker: a message with large arguments or a large value."""
MAX_ARGUMENTS = 1_000
"""Positional arguments of one call, and as many by keyword."""
MAX_NAME_CHARS = 1_000
"""Of the name of an argument."""
MAX_CALLS_BYTES = 48 * 1024 * 1024
"""Memory of the host, about, that the arguments of all calls of one execution may take."""
_MESSAGE_COST = 1024
"""More than what a call costs besides its arguments."""
MAX_CALL_VALUES = MAX_VALUES - 100
"""In the arguments of a call, or in a value; a message has some of its own."""
_MIN_BYTES_CHECKED = 4_000
"""Smaller calls hold too few values for many of them to have one hash."""
MAX_WAITS = 20_000
"""Waits of a program that runs in steps; each may become a record that is kept."""
_PIECE_BYTES = 1024 * 1024
"""Of the variables of a session, in one message."""
_MESSAGE_DEPTH = 5
"""What a message adds to the depth of its values."""
_MAX_CHARS = {"kind": 200, "source_line": 1_000}
_MAX_CHARS |= dict.fromkeys(("message", "traceback", "hint"), 50_000)
"""Of the texts of a failure, many times what an honest worker sends; and of the rest of an end."""
_MAX_NOTES, _MAX_VIOLATIONS, _MAX_NOTE_CHARS = 20, 1_000, 2_000
_MAX_USED = 1e18
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for line feed and tab, marks that turn the direction of text, surrogates."""


class ProtocolViolation(PTCError):
    """The worker sent something that no honest worker sends."""


# --- frames -------------------------------------------------------------------------------------


def encode_frame(message: bytes) -> bytes:
    """Return the frame of a message."""
    return _HEADER.pack(len(message)) + message


class FrameReader:
    """Cuts a stream of bytes into frames of at most `max_bytes`."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()
        self.missing = 0
        """How many bytes the frame that has begun still lacks; 0 if none has begun."""

    def take_begun(self) -> tuple[bytes, int]:
        """Return what has come of the frame that has begun, and how long it will be; forget it."""
        begun = bytes(self._data[_HEADER.size :])
        length = len(begun) + self.missing
        self._data.clear()
        self.missing = 0
        return begun, length

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are now complete; raises `ProtocolViolation` for one that is too long."""
        self._data += data
        if len(data) < self.missing:  # nothing else is touched: it would be copied each time
            self.missing -= len(data)
            return []
        frames: list[bytes] = []
        at, self.missing = 0, 0
        while (start := at + _HEADER.size) <= len(self._data):
            (length,) = _HEADER.unpack_from(self._data, at)
            if self._max_bytes is not None and length > self._max_bytes:
                raise ProtocolViolation(
                    f"a frame of {length} bytes; {self._max_bytes} are accepted"
                )
            self.missing = max(0, start + length - len(self._data))
            if self.missing:
                break
            at = start + length
            frames.append(bytes(memoryview(self._data)[start:at]))  # copied once
        del self._data[:at]
        return frames


# --- the host's messages ------------------------------------------------------------------------


_LIMITS = tuple(field.name for field in fields(Limits))
_read_limits = attrgetter(*_LIMITS)


def encode_run(program: Program) -> bytes:
    """Encode the message that starts a program."""
    parts = {
        "code": program.code,
        "tools": list(program.tools),
        "types": list(program.types),
        "limits": dict(zip(_LIMITS, _read_limits(program.limits), strict=True)),
        "replay": program.replay and [program.replay.seed, *program.replay.start],
        "inputs": dict(program.inputs),
        "kept": program.kept,
        "files": None if program.files is None else dict(program.files),
    }
    return encode_value(["run", parts])


def encode_result(result: Result) -> list[bytes]:
    """Encode the answer to one call: the buffers of its frame, of which a large value is one."""
    if (why := result.failure) is not None:
        message = ["e", result.id, why.message, why.limit, why.allowed, why.used]
        return [encode_frame(encode_value(message))]
    head, value = b"\x93\xa1r" + ormsgpack.packb(result.id), result.payload
    length = _HEADER.pack(len(head) + len(value))
    if len(value) < _LARGE_BYTES:
        return [b"".join((length, head, value))]
    return [length + head, value]


def encode_moment(at: Moment, results: int) -> bytes:
    """Encode what the clocks show, and how many results follow, which are the same step."""
    return ormsgpack.packb(["t", at.unix, at.elapsed, results])


# --- the worker's messages, read by the host ------------------------------------------------------


class Idle(NamedTuple):
    """That a program can only wait."""

    due: float | None
    """What its elapsed clock will show when its next timer is due."""


class HostProtocol:
    """The host's half of the execution of a program: bytes in, calls and output and the end out."""

    def __init__(self, program: Program) -> None:
        self._tools = frozenset(program.tools)
        self._limits = program.limits
        self.cut = FrameReader(MAX_WORKER_FRAME_BYTES).feed
        """Takes bytes from the worker and returns the frames that are now complete; see `take`."""
        self._printed = bytearray()  # not a list of texts: those may be empty, and many
        self._calls_bytes = 0
        self._calls = 0
        self._ended_by_us = False
        self._stepped = program.replay is not None
        self._held: list[Call] = []
        self._max_lines = max(len(program.code), program.limits.code_chars) + 1
        self._hits: set[LimitHit] = set()  # that were reported to the worker at its calls
        self._waits = 0
        self._is_kept = program.kept is not None
        self._kept: bytearray | None = None
        self._has_folder = program.files is not None
        self._files: dict[str, File] = {}
        self._room = program.limits.returned_bytes
        self._shown: list[Shown] = []
        self._shown_room = program.limits.shown_bytes
        self.idle: Idle | None = None
        """Of a program in steps: that it can only wait; until `go_on`."""
        self.done: Done | None = None
        """The end, once the worker has said it."""

    @property
    def output(self) -> str:
        """What was printed until now."""
        return self._printed.decode("utf-8", "ignore")

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What was shown until now."""
        return tuple(self._shown)

    def take(self, frame: bytes) -> None:
        """Take a frame, in any thread, but not while anything else is done; raises `ProtocolViolation`."""
        if self._ended_by_us:
            return
        try:
            message, cost = read_bounded(frame, MAX_DEPTH + _MESSAGE_DEPTH)
        except _BROKEN as error:
            raise _violation_of(error) from error
        is_costly = cost > SMALL_COST
        if is_costly:
            _check_size(cost)
        if self.done is not None:
            raise ProtocolViolation("a message after the end")
        if type(message) is not list or not message:
            raise ProtocolViolation("a message that is no array")
        if self.idle is not None and not _is_limit(message):
            raise ProtocolViolation("a message from a program that has said that it waits")
        if message[0] != "c":
            self._take_other(message)
            return
        self._take_call(message, len(frame))
        if is_costly:
            self._calls_bytes += cost
            _check_size(self._calls_bytes)

    def _take_other(self, message: Message) -> None:
        match message:
            case ["o", str(text)] if text:
                self._print(text)
            case ["s", bytes(data)]:
                self._take_shown(data)
            case ["d", dict(ending)]:
                self._take_ending(ending)
            case ["k", bytes(piece)] if self._is_kept:
                self._take_kept(piece)
            case ["f", str(name), int(size), bytes() | None as content] if self._has_folder:
                self._take_file(File(name=name, size=size, data=content))
            case ["i", due] if self._stepped:
                self._take_idle(due)
            case _:
                raise ProtocolViolation("a message of no known kind")

    def collect(self) -> list[Call]:
        """Return the calls that have come and were not returned yet."""
        if self._stepped and self.idle is None and not self._ended_by_us:
            return []
        calls, self._held = self._held, []
        return calls

    def note_limit(self, failure: CallFailure) -> None:
        """Note that the worker is told that a call has reached a limit, which may end the program."""
        self._hits.add(LimitHit(failure.limit, failure.allowed, failure.used))

    def go_on(self) -> None:
        """Note that the program has been given its event."""
        self.idle = None

    def _take_call(self, message: Message, size: int) -> None:
        if [*map(type, message)] != _CALL_TYPES:
            raise ProtocolViolation("a malformed call")
        _, number, tool, args, kwargs, line = message
        if number != self._calls + 1:
            raise ProtocolViolation("a call whose number is not the next")
        if tool not in self._tools:
            raise ProtocolViolation(f"a call of the tool {tool[:100]!r}, which was not offered")
        if len(args) > MAX_ARGUMENTS or len(kwargs) > MAX_ARGUMENTS:
            raise ProtocolViolation(f"a call with more than {MAX_ARGUMENTS:,} arguments")
        if kwargs and any(type(n) is not str or len(n) > MAX_NAME_CHARS for n in kwargs):
            raise ProtocolViolation("a malformed keyword")
        if not 0 <= line <= self._max_lines:
            raise ProtocolViolation("a call on a line that the code does not have")
        if size > _MIN_BYTES_CHECKED:
            _refuse_broken(check_hashes, [args, kwargs])
        self._calls = number
        allowed = self._limits.max_tool_calls
        if number > allowed:
            self._end(limit_reached("max_tool_calls", allowed, number, output=self.output))
        else:
            self._held.append(Call(number, tool, tuple(args), kwargs, line))

    def _take_kept(self, piece: bytes) -> None:
        if self._kept is None:
            self._kept = bytearray()
        elif not piece:
            raise ProtocolViolation("an empty piece of variables")
        self._kept += piece
        allowed = self._limits.session_bytes
        if len(self._kept) > allowed:
            raise ProtocolViolation(f"variables of more than {allowed:,} bytes")

    def _take_file(self, file: File) -> None:
        size = len(file.data or b"")
        if not is_file_name(file.name) or file.name in self._files:
            raise ProtocolViolation("a file of a name that none has")
        if not 0 <= file.size <= MOST or (file.data is not None and file.size != size):
            raise ProtocolViolation("a file that is not as long as it was said to be")
        self._files[file.name] = file
        self._room -= size
        if len(self._files) > self._limits.max_returned_files or self._room < 0:
            raise ProtocolViolation("more files than are returned, or larger ones")

    def _take_shown(self, data: bytes) -> None:
        found = read_content(data)
        if found is None or not found.is_bounded:
            raise ProtocolViolation("something to show that is of no known kind, or too large")
        self._shown_room -= found.size
        if len(self._shown) >= self._limits.max_shown or self._shown_room < 0:
            raise ProtocolViolation("more than may be shown")
        shown = Shown(media_type=found.media_type, size=found.size, at=len(self.output), data=data)
        self._shown.append(shown)

    def _take_idle(self, due: object) -> None:
        if due is not None and (type(due) is not float or not math.isfinite(due)):
            raise ProtocolViolation("a wait until a time that is none")
        self._waits += 1
        if self._waits > MAX_WAITS:
            raise ProtocolViolation(f"more than {MAX_WAITS} waits")
        self.idle = Idle(due)

    def _take_ending(self, ending: Mapping[str, object]) -> None:
        allowed, value = self._limits.output_bytes, ending.get("value")
        if type(value) is not bytes:
            raise ProtocolViolation("a malformed end: value")
        if len(value) > allowed:
            self._end(limit_reached("output_bytes", allowed, len(value), output=self.output))
        else:
            read = _refuse_broken(read_bounded, value)
            kept = None if self._kept is None else bytes(self._kept)
            self.done = self._read_ending(ending, read.value, kept)

    def _is_line(self, line: object) -> bool:
        """Whether this may be a line of the code, or 0 for an unknown one."""
        return type(line) is int and 0 <= line <= self._max_lines

    def _read_ending(self, ending: Mapping[str, object], value: object, kept: bytes | None) -> Done:
        status, failure = ending.get("status"), ending.get("failure")
        notes: Any = ending.get("notes", [])
        if status not in ("success", "error", "refused", "limit") or not _is_list(notes, str):
            raise ProtocolViolation("a malformed end")
        has_both = failure is not None and value is not None
        if (failure is None) != (status == "success") or has_both:
            raise ProtocolViolation("an end whose status, value and failure disagree")
        is_whole = status in ("success", "error")
        return Done(
            status=status,
            output=self.output,
            value=value,
            failure=None if failure is None else self._read_failure(status, failure),
            notes=tuple(printable(n, _MAX_NOTE_CHARS) for n in notes[:_MAX_NOTES]) if notes else (),
            kept=kept if is_whole else None,
            files=tuple(self._files.values()) if is_whole else (),
        )

    def _read_failure(self, status: Status, failure: Any) -> Failure:
        if type(failure) is not dict or {type(failure.get(n)) for n in _MAX_CHARS} != {str}:
            raise ProtocolViolation("a malformed failure")
        texts: Any = {name: printable(failure[name], most) for name, most in _MAX_CHARS.items()}
        line: Any = failure.get("line")
        violations: Any = failure.get("violations", [])
        hit = LimitHit(*(failure.get(name) for name in LimitHit._fields))
        if status == "limit":
            if not _is_hit(hit) or not is_known_limit(hit, self._limits, self._hits):
                raise ProtocolViolation("a failure by a limit that was not set so")
        elif hit != (None, None, None):
            raise ProtocolViolation(f"a failure by a limit, in an end with status {status}")
        is_known = self._is_line(line) and _is_list(violations, list)
        if not is_known or bool(violations) != (status == "refused"):
            raise ProtocolViolation("a malformed failure")
        found = tuple(map(self._read_violation, violations[:_MAX_VIOLATIONS]))
        return Failure(**texts, line=line, **hit._asdict(), violations=found)

    def _read_violation(self, violation: list[Any]) -> Violation:
        if [*map(type, violation)] != [int, str] or not self._is_line(violation[0]):
            raise ProtocolViolation("a malformed violation")
        return Violation(line=violation[0], message=printable(violation[1], _MAX_NOTE_CHARS))

    def _print(self, text: str) -> None:
        allowed = self._limits.output_bytes
        room = allowed - len(self._printed)
        self._printed += text[: room + 1].encode("utf-8", "backslashreplace")
        if len(self._printed) > allowed:
            used = max(len(self._printed), allowed - room + len(text))
            del self._printed[allowed:]
            self._end(limit_reached("output_bytes", allowed, used, output=self.output))

    def _end(self, done: Done) -> None:
        self.done, self._ended_by_us = done, True


_BROKEN = (OutOfBounds, MalformedValue, MemoryError)


def _violation_of(error: BaseException) -> ProtocolViolation:
    return ProtocolViolation(str(error) or type(error).__name__)


def _refuse_broken(read: Callable[..., T], *told: object) -> T:
    try:
        return read(*told)
    except _BROKEN as error:
        raise _violation_of(error) from error


def _is_limit(message: Message) -> bool:
    """Whether this is the end by a limit, which a signal brings about at any time."""
    match message:
        case ["d", {"status": "limit"}]:
            return True
    return False


def _is_list(value: Any, kind: type) -> bool:
    return type(value) is list and not {*map(type, value)} - {kind}


def _is_hit(hit: LimitHit) -> bool:
    return type(hit.limit) is str and {*map(type, hit[1:])} <= {type(None), int, float}


class LimitHit(NamedTuple):
    """That a limit was hit, with its figures."""

    limit: str | None
    allowed: float | None
    used: float | None


def is_known_limit(hit: LimitHit, limits: Limits, reported: Container[LimitHit]) -> bool:
    """Whether a program may end so: by one of its limits, or by what the host reported that a call has hit."""
    if hit.limit is None:
        return False
    if hit in reported:
        return True
    if hit.limit not in _LIMITS or hit.allowed != getattr(limits, hit.limit):
        return False
    used = hit.used
    return used is None or (math.isfinite(used) and 0 <= used <= _MAX_USED)


def printable(text: str, most: int) -> str:
    """Return at most `most` characters of a text, with what nobody should print as escapes."""
    return _UNPRINTABLE.sub(_escape, text[:most])


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


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


# --- the worker's messages, written by the worker -------------------------------------------------


def encode_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
    """Encode the arguments of a call: an array of two, of which the second one is always a map.

    Raises:
        UnsendableValue: An argument cannot be sent, there are too many, or a name is too long.
    """
    if len(args) > MAX_ARGUMENTS or len(kwargs) > MAX_ARGUMENTS:
        raise UnsendableValue(
            f"{len(args) + len(kwargs):,} arguments were given, of which a call takes at most "
            f"{MAX_ARGUMENTS:,} by position and as many by name; pass a list"
        )
    for name in kwargs:
        if len(name) > MAX_NAME_CHARS:
            raise UnsendableValue(
                f"the name of an argument has more than {MAX_NAME_CHARS:,} characters"
            )
        if not is_utf8(name):
            raise UnsendableValue("the name of an argument has lone surrogates")
    return encode_value([list(args), kwargs], max_items=MAX_CALL_BYTES, max_levels=MAX_DEPTH + 2)


def check_encoded(packed: bytes) -> Bounded:
    """Read an encoded value, or arguments, as the host will; raises `UnsendableValue` if it would refuse it."""
    try:
        return read_bounded(packed, MAX_DEPTH + _MESSAGE_DEPTH, MAX_CALL_VALUES)
    except (OutOfBounds, MalformedValue) as error:
        raise UnsendableValue(str(error)) from None


def weigh_arguments(packed: bytes) -> int:
    """Return what the arguments of a call count towards `MAX_CALLS_BYTES`; raises `UnsendableValue`."""
    read = check_encoded(packed)
    if len(packed) > _MIN_BYTES_CHECKED - MAX_NAME_CHARS:
        try:
            check_hashes(read.value)
        except OutOfBounds as error:
            raise UnsendableValue(str(error)) from None
    return read.cost + _MESSAGE_COST


def encode_call(number: int, tool: str, arguments: bytes, line: int) -> bytes:
    """Encode a call with arguments from `encode_arguments`."""
    head = ormsgpack.packb(["c", number, tool])
    return b"".join((b"\x96", head[1:], arguments[1:], ormsgpack.packb(line)))


def encode_output(text: str) -> bytes:
    """Encode printed text; lone surrogates cannot be stored or sent by anything behind the host."""
    return ormsgpack.packb(["o", text.encode("utf-8", "backslashreplace").decode()])


def encode_idle(due: float | None) -> bytes:
    """Encode that the program can only wait."""
    return ormsgpack.packb(["i", None if due is None else float(due)])


def encode_kept(data: bytes) -> list[bytes]:
    """Encode the messages that carry the variables of a session; there is at least one."""
    starts = range(0, len(data), _PIECE_BYTES) or (0,)
    return [ormsgpack.packb(["k", data[at : at + _PIECE_BYTES]]) for at in starts]


def encode_file(name: str, size: int, content: bytes | None) -> bytes:
    """Encode a file, or the name of one without its content."""
    return ormsgpack.packb(["f", name, size, content])


def encode_shown(data: bytes) -> bytes:
    """Encode something to show."""
    return ormsgpack.packb(["s", data])


def encode_done(
    status: Status, value: bytes, failure: Failure | None, notes: Sequence[str]
) -> bytes:
    """Encode the end; `value` is encoded already."""
    reported = None
    if failure is not None:
        reported = asdict(failure)
        reported["violations"] = [[v.line, v.message] for v in failure.violations]
        del reported["problems"]
    ending = {"status": status, "value": value, "failure": reported, "notes": list(notes)}
    return encode_value(["d", ending])


def parse_run(message: Message) -> Program:
    """Read the message that starts a program; the worker trusts the host."""
    parts = message[1]
    limits = object.__new__(Limits)  # they were checked when they were made
    for name, value in parts["limits"].items():
        object.__setattr__(limits, name, value)
    replay = parts["replay"]
    return Program(
        code=parts["code"],
        tools=tuple(parts["tools"]),
        types=tuple(parts["types"]),
        limits=limits,
        replay=replay and Replay(seed=replay[0], start=Moment(*replay[1:])),
        inputs=parts["inputs"],
        kept=parts["kept"],
        files=parts["files"],
    )


# --- the host and the parent of workers, beside the channel of each worker --------------------------

REQUEST = struct.Struct("<cI")
"""To the parent: kind, number of the worker."""
REPLY = struct.Struct("<cIidI")
"""From it: kind, number of the worker, process id or status, CPU seconds used, bytes that follow."""
FORK, SPARE, KILL, LIMIT = b"F", b"S", b"K", b"L"
HELLO, BORN, ENDED, REFUSED = b"H", b"P", b"X", b"R"
DESCRIPTORS_OF_A_WORKER = 2 if hasattr(os, "pidfd_open") else 1
"""What comes with `BORN`: the worker's channel, and its pidfd where the kernel has one."""

ALLOWANCE = struct.Struct("<IQ")
"""To a worker, before its program: CPU seconds, bytes of memory."""
MAX_CPU_SECONDS = 2**31 - 2
MAX_MEMORY_BYTES = 2**62
"""More than any machine has; and limits that the kernel still takes with what is added to them."""

LIMIT_SIGNAL = signal.SIGUSR1 if hasattr(signal, "SIGUSR1") else signal.SIGTERM
"""From the host to a worker: the wall limit has come; say where the code is, and end."""
EXIT_NO_SECCOMP = 71
"""The exit status of a worker that the kernel refused its filter of system calls."""
EXIT_NO_FOLDER = 72
"""The exit status of a worker that the kernel refused its folder."""
