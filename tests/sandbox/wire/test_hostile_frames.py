"""Frames that no honest worker sends: whatever they hold, the host refuses them or takes something sound.

`make fuzz` runs many more than the suite, and others each time.
"""

import json
import math
import os
import time
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_ptc import ExecutionResult, Limits
from langchain_ptc.sandbox import Call, Done, Failure, Moment, Program, Replay
from langchain_ptc.sandbox.wire import decoding
from langchain_ptc.sandbox.wire.decoding import MAX_DIGITS, OutOfBounds, read_bounded
from langchain_ptc.sandbox.wire.protocol import (
    MAX_ARGUMENTS,
    MAX_NAME_CHARS,
    HostProtocol,
    ProtocolViolation,
    encode_arguments,
    encode_call,
    encode_done,
    encode_idle,
    encode_kept,
    encode_output,
)
from langchain_ptc.sandbox.wire.values import MalformedValue, encode_value
from tests.support.wire import frames, receive

CASES = int(os.environ.get("PTC_FUZZ_CASES", "0"))
FUZZ = settings(
    max_examples=CASES or 150,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MAX_SECONDS = 2.0
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
    *encode_kept(b"abc"),
    encode_done("success", encode_value({"a": (1, 2.5), 3: b"x"}), None, ["note"]),
    encode_done("error", encode_value(None), Failure(kind="KeyError", message="'a'", line=2), []),
    encode_done(
        "limit",
        encode_value(None),
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


def send(program, messages):
    """Send messages, each as JSON text or bytes; return what came of them, or None if it was refused."""
    conversation, calls = HostProtocol(program), []
    began = time.process_time()
    try:
        for message in messages:
            calls += receive(conversation, frames(message))
            conversation.go_on()
    except ProtocolViolation as violation:
        assert_printable(str(violation), 300)
        return None
    finally:
        assert time.process_time() - began < MAX_SECONDS
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
    send(program, [*map(json.dumps, told)])


@FUZZ
@given(
    st.sampled_from(PROGRAMS), st.lists(st.sampled_from(HONEST), min_size=1, max_size=4), st.data()
)
def test_honest_frames_that_were_changed(program, told, data):
    """Frames of an honest worker with a few bytes changed, cut, doubled or put elsewhere."""
    changed = data.draw(st.integers(0, len(told) - 1))
    body = bytearray(told[changed])
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 30)))
        part = data.draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [
                    *(b"\x90", b"\x91", b"\x80", b"\x81", b"\xc0", b"\xa1k", b"\xff", b"\xc1"),
                    *(b"\xdd\xff\xff\xff\xff", b"\xdf\x00\x00\xff\xff", b"\xdc\xff\xff"),
                    *(b"\xc7\x00\x0b", b"\xc7\x00\x0c", b"\xc7\x00\x0e", b"\xd4\x07x"),
                    *(b"\xd9\x01x", b"\xc6\x00\x00\x00\x05", b"\xcb", b"\x91" * 300),
                ]
            )
            | st.just(bytes(body[start:end]) * 2)
        )
        body[start:end] = part
    send(program, [*told[:changed], bytes(body), *told[changed + 1 :]])


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes(data, cut):
    """Bytes without any sense, in frames and as a stream."""
    send(PROGRAM, [data])
    conversation = HostProtocol(PROGRAM)
    try:
        receive(conversation, data[:cut])
        receive(conversation, data[cut:])
    except ProtocolViolation as violation:
        assert_printable(str(violation), 300)


def test_honest_frames_are_taken():
    """The property is not held by refusing everything: each honest message is taken by a program."""
    for message in HONEST:
        assert any(
            send(
                program,
                [HONEST[1], message] if b"a.b" in message else [message],
            )
            for program in PROGRAMS
        ), message


# --- slices ---------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "$", "\ud800", "é", "x" * 300]) | st.text(max_size=5)
ITEMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | KEYS | st.binary()
DATA = st.recursive(
    ITEMS,
    lambda part: (
        st.lists(part, max_size=20)
        | st.dictionaries(KEYS, part, max_size=20)
        | st.lists(part, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | KEYS, part, max_size=4)
    ),
    max_leaves=60,
)


@FUZZ
@given(DATA, st.integers(1, 200), st.data())
def test_slices_are_decoded_as_the_whole(value, size, data):
    """Wherever a slice ends, data is what was encoded; and with any byte changed it is refused, or sound."""
    packed = encode_value(value)
    changed = bytearray(packed)
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    whole = read_or_none(bytes(changed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "SLICE_BYTES", size)
        assert read_bounded(packed).value == value
        assert repr(read_or_none(bytes(changed))) == repr(whole)


@pytest.mark.parametrize(
    "key", [b"\x01", b"\xc0", b"\xcb" + b"\x00" * 8, b"\xc4\x01k", b"\xd4\x07k"]
)
def test_keys_are_text_in_slices_too(key):
    """A map whose value is decoded in slices has text as keys, as any other."""
    with pytest.raises((MalformedValue, OutOfBounds)):
        read_bounded(b"\x81" + key + encode_value([0] * 200_000))


def read_or_none(data):
    """Return the value of some data; None if it is refused."""
    try:
        value = read_bounded(data).value
    except (OutOfBounds, MalformedValue):
        return None
    assert_sound_value(value)
    return value


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\x01\x01",
        b"\x81\x01\x01",
        b"\x81\x90\x01",
        b"\xa1\xff",
        b"\xd9\x05a",
    ],
)
def test_slices_take_nothing_that_is_no_data(wrong):
    """What is no MessagePack as a whole is none in slices."""
    filling = encode_value([[1, 2, 3]] * 20_000)
    for data in (b"\x92" + wrong + filling, b"\x92" + filling + wrong):
        with pytest.raises((MalformedValue, OutOfBounds)):
            read_bounded(data)
