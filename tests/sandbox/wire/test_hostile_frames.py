"""Frames that no honest worker sends: whatever they hold, the host refuses them or takes something sound.

`make fuzz` runs many more than the suite, and others each time.
"""

import json
import math
import os
import struct
import time
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_ptc import ExecutionResult, Limits
from langchain_ptc.sandbox import Call, Done, Failure, Moment, Program, Replay
from langchain_ptc.sandbox.wire import decoding
from langchain_ptc.sandbox.wire.bounded import MAX_DIGITS
from langchain_ptc.sandbox.wire.framing import ProtocolViolation
from langchain_ptc.sandbox.wire.protocol import (
    MAX_ARGUMENTS,
    MAX_NAME_CHARS,
    HostProtocol,
    encode_arguments,
    encode_call,
    encode_done,
    encode_idle,
    encode_output,
)
from langchain_ptc.sandbox.wire.values import encode_value

CASES = int(os.environ.get("PTC_FUZZ_CASES", "0"))
FUZZ = settings(
    max_examples=CASES or 150,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MOST_SECONDS = 2.0
LIMITS = Limits(max_tool_calls=5, output_bytes=2_000, session_bytes=1_000)
PROGRAM = Program(code="a\nb\nc", tools=("look", "a.b"), limits=LIMITS)
PROGRAMS = (
    PROGRAM,
    replace(PROGRAM, kept=b""),
    replace(PROGRAM, replay=Replay(seed=1, start=Moment(0.0, 0.0))),
)
HONEST = [
    encode_output("printed\n"),
    encode_call(1, "look", encode_arguments([1, "a", None], {"key": {1, 2}}), 2),
    encode_call(2, "a.b", encode_arguments([], {}), 1),
    encode_idle(1.5),
    '["k","AAAA"]',
    encode_done("success", encode_value({"a": (1, 2.5), 3: b"x"}), None, ["note"]),
    encode_done("error", "null", Failure(kind="KeyError", message="'a'", line=2), []),
    encode_done(
        "limit",
        "null",
        Failure(kind="LimitExceeded", message="m", limit="cpu_seconds", allowed=10),
        [],
    ),
]

P = 2**61 - 1
numbers = st.one_of(
    st.integers(-3, 8),
    st.integers(),
    st.sampled_from([P, -P, 2 * P, 10**400, 10**4299, 2**63, 1e308, -1e308]),
    st.floats(),
)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "\ud800",
            "\x1b[2J",
            "\u202e",
            "$",
            "0x1f",
            "0x" + "f" * 5000,
            "1E+6000000",
            "NaN",
            "sNaN",
            "2024-01-02",
            "2024-01-02T03:04:05+00:00",
            "AAAA",
            "1" * 5000,
            "look",
            "a.b",
            "-0",
            "cpu_seconds",
            "wall_seconds",
            "limit",
            "refused",
            "sandbox",
        ]
    ),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
FORMS = ["int", "dict", "tuple", "set", "frozenset", "bytes", "datetime", "date", "time"]
FORMS += ["timedelta", "decimal", "uuid", "complex", "range", "list", ""]


def grow(inner):
    """Wrap values into containers and into tagged forms, right and wrong ones."""
    return st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(texts, inner, max_size=4),
        st.tuples(st.sampled_from(FORMS), inner).map(lambda pair: {"$": list(pair)}),
        st.tuples(
            st.sampled_from(FORMS), st.lists(st.tuples(inner, inner).map(list), max_size=4)
        ).map(lambda pair: {"$": list(pair)}),
        inner.map(lambda value: {"$": value}),
        st.tuples(st.integers(1, 300), inner).map(lambda pair: wrap(*pair)),
        st.tuples(st.integers(2, 600), numbers).map(
            lambda pair: {
                "$": [
                    "set",
                    [i * P + (pair[1] if isinstance(pair[1], int) else 0) for i in range(pair[0])],
                ]
            }
        ),
    )


def wrap(levels, value):
    """Nest a value."""
    for _ in range(levels):
        value = [value]
    return value


values = st.recursive(scalars, grow, max_leaves=12)
failures = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("kind", "message", "source_line", "traceback", "hint"), texts | values),
        "line": st.integers(-1, 5) | values,
        "limit": st.sampled_from([None, *(f.name for f in fields(Limits))]) | values,
        "allowed": st.sampled_from([None, 10, 30.0, 2_000]) | values,
        "used": numbers | values,
        "violations": st.lists(st.tuples(st.integers(-1, 5), texts).map(list), max_size=3) | values,
    },
)
whole_failures = st.tuples(
    failures,
    st.fixed_dictionaries(
        dict.fromkeys(("kind", "message", "source_line", "traceback", "hint"), texts)
    ),
).map(lambda pair: {**pair[0], **pair[1], "line": 1})
ends = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["success", "error", "refused", "limit", "sandbox", "denied"])
        | values
    },
    optional={
        "value": st.none() | values,
        "failure": st.none() | failures | whole_failures | values,
        "notes": st.lists(texts, max_size=3) | values,
    },
)
messages = st.one_of(
    values,
    st.tuples(
        st.just("c"),
        st.integers(0, 3) | values,
        st.sampled_from(["look", "a.b", "c"]) | values,
        st.lists(values, max_size=3) | values,
        st.dictionaries(texts, values, max_size=3) | values,
        st.integers(-1, 6) | values,
    ).map(list),
    st.tuples(st.just("o"), texts | values).map(list),
    st.tuples(st.just("i"), st.floats() | values).map(list),
    st.tuples(st.just("k"), texts | values).map(list),
    st.tuples(st.just("d"), ends | values).map(list),
)


def send(program, frames):
    """Send frames, each as JSON text or bytes; return what came of them, or None if it was refused."""
    conversation, calls = HostProtocol(program), []
    began = time.process_time()
    try:
        for frame in frames:
            body = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
            calls += conversation.receive(struct.pack("<I", len(body)) + body)
            conversation.go_on()
    except ProtocolViolation as violation:
        assert_printable(str(violation), 300)
        return None
    finally:
        assert time.process_time() - began < MOST_SECONDS
    for call in calls:
        assert_sound_call(call, program)
    if conversation.done is not None:
        assert_sound_end(conversation.done, program)
    return conversation


def assert_printable(text, most):
    """A text harms nobody who prints, stores or sends it."""
    assert len(text) <= most * 6  # an escape has up to six characters
    text.encode()
    assert not set(text) & {*map(chr, range(9)), "\x1b", "\x7f", "\x9b", "\u202e", "\u2066"}


def assert_sound_call(call: Call, program):
    """A call is one that an honest worker could have made."""
    assert call.tool in program.tools
    assert 0 <= call.line <= 100_001
    assert len(call.args) <= MAX_ARGUMENTS
    assert len(call.kwargs) <= MAX_ARGUMENTS
    assert all(type(key) is str and len(key) <= MAX_NAME_CHARS for key in call.kwargs)
    for value in (call.args, call.kwargs):
        assert_sound_value(value)


def assert_sound_value(value):
    """A value can be sent on, hashed where it is a key, and shown."""
    encode_value(value)
    for part in walk(value):
        if type(part) is int:
            assert -(10**MAX_DIGITS) < part < 10**MAX_DIGITS
        if type(part) is range:
            assert len(part) <= 500_000


def walk(value):
    """Yield a value and all that is in it."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part


def assert_sound_end(done: Done, program):
    """An end is one that the host itself could have given, and its result can be told."""
    failure = done.failure
    assert (failure is None) == (done.status == "success")
    assert done.status in ("success", "error", "refused", "limit")
    for note in done.notes:
        assert_printable(note, 2_000)
    assert_sound_value(done.value)
    if failure is not None:
        assert done.value is None
        assert 0 <= failure.line <= 100_001
        for name in ("kind", "message", "source_line", "traceback", "hint"):
            assert_printable(getattr(failure, name), 50_000)
        assert bool(failure.violations) == (done.status == "refused")
        if done.status == "limit":
            assert failure.allowed == getattr(program.limits, failure.limit)
            assert failure.used is None or math.isfinite(failure.used)
        else:
            assert (failure.limit, failure.allowed, failure.used) == (None, None, None)
        json.dumps(asdict(failure), ensure_ascii=False).encode()
    result = ExecutionResult(
        execution_id="x", code=program.code, status=done.status, output=done.output, value=done.value,
        error=failure, notes=done.notes, tool_calls=(), output_chars=100, started_at=datetime.now(UTC), duration_seconds=0.0,
    )  # fmt: skip
    json.dumps(result.to_dict(), ensure_ascii=False).encode()
    result.report().encode()


@FUZZ
@given(st.sampled_from(PROGRAMS), st.lists(messages, max_size=3))
def test_any_messages(program, told):
    """Messages of any shape are refused, or give calls and an end that are sound."""
    frames = [json.dumps([message]) for message in told]
    send(program, frames)
    send(program, [json.dumps(told)])


@FUZZ
@given(
    st.sampled_from(PROGRAMS), st.lists(st.sampled_from(HONEST), min_size=1, max_size=4), st.data()
)
def test_honest_frames_that_were_changed(program, told, data):
    """Frames of an honest worker with a few bytes changed, cut, doubled or put elsewhere."""
    body = bytearray(f"[{','.join(told)}]".encode())
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 30)))
        part = data.draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b'"', b"]", b"[", b"}", b"{", b",", b"9" * 5_000, b"1e999", b"-", b"null"]
            )
            | st.just(bytes(body[start:end]) * 2)
        )
        body[start:end] = part
    send(program, [bytes(body)])


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes(data, cut):
    """Bytes without any sense, in frames and as a stream."""
    send(PROGRAM, [data])
    conversation = HostProtocol(PROGRAM)
    try:
        conversation.receive(data[:cut])
        conversation.receive(data[cut:])
    except ProtocolViolation as violation:
        assert_printable(str(violation), 300)


def test_honest_frames_are_taken():
    """The property is not held by refusing everything: each honest message is taken by a program."""
    for message in HONEST:
        assert any(
            send(
                program,
                [f"[{HONEST[1]}]", f"[{message}]"] if '"a.b"' in message else [f"[{message}]"],
            )
            for program in PROGRAMS
        ), message


# --- slices ---------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "$", "},{", '","', "],[", "é"]) | st.text(max_size=5)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | KEYS,
    lambda part: st.lists(part, max_size=8) | st.dictionaries(KEYS, part, max_size=8),
    max_leaves=40,
)


@settings(FUZZ, max_examples=CASES or 30)
@given(items=st.lists(DATA, min_size=1, max_size=6), times=st.integers(1, 30), space=st.booleans())
def test_slices_are_scanned_as_the_whole(items, times, space):
    """Wherever a frame is cut, and whatever its texts look like, it holds what it would hold at once."""
    text = json.dumps(items * times, separators=None if space else (",", ":"))
    expected = json.loads(text)
    wrapped = {f"{n}": item for n, item in enumerate(items * times)}
    for data, whole in ((text, expected), (f"[{json.dumps(wrapped)}]", [wrapped])):
        scan = decoding._SlicingScanner(decoding._SCANNERS[False, False], False, len(data))
        assert scan(data, 0) == (whole, len(data))


@pytest.mark.parametrize(
    "wrong", ["[1,]", "[1 2]", "[,1]", '{{"a":1,}}', '{{"a" 1}}', "[1", "]", "[1}}"]
)
def test_slices_take_nothing_that_is_no_json(wrong):
    """What is no JSON as a whole is none in slices."""
    filling = ",".join(["[1,2,3]"] * 20_000)
    for text in (
        f'[["o","x"],{wrong.format()},{filling}]',
        f'[["o","x"],{filling},{wrong.format()}]',
    ):
        with pytest.raises(ProtocolViolation, match="no JSON"):
            decoding.read_frame(text.encode())
