import struct

import pytest

from langchain_ptc import Limits
from langchain_ptc.sandbox import CallFailure, Program, Result
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.protocol import (
    MAX_WORKER_FRAME_BYTES,
    FrameReader,
    HostProtocol,
    ProtocolViolation,
    encode_arguments,
    encode_call,
    encode_done,
    encode_output,
    encode_result,
    encode_run,
    parse_run,
)
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.wire import frames, receive

PROGRAM = Program(
    code="", tools=("finance.get",), limits=Limits(max_tool_calls=3, output_bytes=100)
)
CALL = encode_call(1, "finance.get", encode_arguments([1], {"a": "b"}), 7)
DONE = encode_done("success", encode_value(5), None, ["n"])


def test_frames_survive_any_cut():
    """A stream that arrives byte by byte gives the same frames as one that arrives whole."""
    stream = frames(CALL, encode_output("ü"), DONE)
    whole = FrameReader().feed(stream)
    reader = FrameReader()
    pieces = [frame for byte in stream for frame in reader.feed(bytes([byte]))]
    assert pieces == whole
    assert whole == [CALL, encode_output("ü"), DONE]


def test_a_frame_says_how_much_it_lacks():
    """The reader knows how many bytes to ask for next."""
    reader = FrameReader()
    reader.feed(frames(CALL)[:10])
    assert reader.missing == len(frames(CALL)) - 10


def test_a_conversation_reads_calls_output_and_end():
    """Calls come out as they are made, output is kept in order, and the end holds it all."""
    conversation = HostProtocol(PROGRAM)
    calls = receive(conversation, frames(encode_output("a\n"), CALL, encode_output("b\n")))
    assert [(c.id, c.tool, c.args, c.kwargs, c.line) for c in calls] == [
        (1, "finance.get", (1,), {"a": "b"}, 7)
    ]
    assert receive(conversation, frames(DONE)) == []
    assert conversation.done is not None
    assert (conversation.done.status, conversation.done.output, conversation.done.value) == (
        "success",
        "a\nb\n",
        5,
    )


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(['["c",2,"finance.get",[],{},1]'], id="an-id-out-of-order"),
        pytest.param([CALL, CALL], id="an-id-twice"),
        pytest.param(['["c",1,"finance.steal",[],{},1]'], id="a-tool-not-offered"),
        pytest.param(['["c",1,"finance.get",{},{},1]'], id="args-no-list"),
        pytest.param(['["c","1","finance.get",[],{},1]'], id="an-id-no-number"),
        pytest.param(
            ['["c",1,"finance.get",[],{"$":["dict",[[1,2]]]},1]'], id="a-keyword-no-string"
        ),
        pytest.param(['["r",1,"forged"]'], id="a-message-of-the-host"),
        pytest.param(['"text"'], id="no-array"),
        pytest.param(["[]"], id="empty"),
        pytest.param(['["o",5]'], id="output-no-text"),
        pytest.param([b"\xc1"], id="no-messagepack"),
        pytest.param([b""], id="nothing"),
        pytest.param([encode_output("x") + b"\xc0"], id="rubbish-behind"),
        pytest.param([encode_output("x")[:-1]], id="cut-short"),
        pytest.param([b"\x91" * 100_000], id="deep"),
        pytest.param([b"\xdd\x00\x09\x27\xc0" + b"\x90" * 600_000], id="many-values"),
        pytest.param(['["o",{"$":["set",[[1]]]}]'], id="a-forged-tag"),
        pytest.param([DONE, encode_output("more")], id="more-after-the-end"),
        pytest.param(['["d",{}]'], id="an-end-without-status"),
        pytest.param(['["d",{"status":"sandbox","failure":null}]'], id="a-status-not-its-own"),
        pytest.param(['["d",{"status":"error","failure":null}]'], id="an-error-without-failure"),
        pytest.param(['["d",{"status":"error","failure":{"kind":1}}]'], id="a-failure-no-text"),
        pytest.param(['["d",{"status":"success","notes":[1]}]'], id="notes-no-text"),
        pytest.param(['["o",{"$":["int","0x' + "9" * 5000 + '"]}]'], id="a-number-too-long"),
        pytest.param(['["o",""]'], id="output-without-text"),
    ],
)
def test_the_host_believes_nothing(messages):
    """Anything but the worker's own messages, in their order, is a violation."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(PROGRAM), frames(*messages))


def test_a_frame_that_is_not_utf8_is_a_violation():
    """Bytes that are no text end the execution and nothing else."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(PROGRAM), struct.pack("<I", 2) + b"\xff\xfe")


def test_a_frame_too_long_is_refused_before_it_is_read():
    """The header alone is enough to refuse a frame that would fill the host's memory."""
    with pytest.raises(ProtocolViolation, match="a frame of"):
        receive(HostProtocol(PROGRAM), struct.pack("<I", MAX_WORKER_FRAME_BYTES + 1))


def test_too_many_calls_end_the_execution():
    """The host counts calls itself: one more than allowed is the end, naming the limit."""
    conversation = HostProtocol(PROGRAM)
    calls = [encode_call(n, "finance.get", encode_arguments([], {}), 1) for n in range(1, 5)]
    assert len(receive(conversation, frames(*calls))) == 3
    assert conversation.done is not None
    assert conversation.done.failure is not None
    assert conversation.done.failure.limit == "max_tool_calls"
    assert conversation.done.failure.allowed == 3


LARGE = "x" * (8 * 1024 * 1024 - 1024)
ROOMY = Program(code="", tools=("finance.get",), limits=Limits())


def test_what_is_no_call_is_not_counted_with_the_calls():
    """A large value may follow on calls whose arguments take nearly all that they may."""
    conversation = HostProtocol(ROOMY)
    for number in range(1, 6):
        receive(
            conversation,
            frames(encode_call(number, "finance.get", encode_arguments([LARGE], {}), 1)),
        )
    receive(conversation, frames(encode_done("success", encode_value(LARGE), None, [])))
    assert conversation.done is not None
    assert conversation.done.value == LARGE


def test_calls_that_take_too_much_together_break_the_conversation():
    """The host adds up what the arguments of all calls take, and reads no more than it says."""
    conversation = HostProtocol(ROOMY)
    calls = [
        encode_call(number, "finance.get", encode_arguments([LARGE], {}), 1)
        for number in range(1, 8)
    ]
    receive(conversation, frames(*calls[:-1]))
    with pytest.raises(ProtocolViolation, match="take more than 50,331,648 bytes together"):
        receive(conversation, frames(calls[-1]))


def test_too_much_output_ends_the_execution():
    """The host counts output itself, and keeps what fits."""
    conversation = HostProtocol(PROGRAM)
    receive(conversation, frames(encode_output("x" * 101)))
    assert conversation.done is not None
    assert conversation.done.failure is not None
    assert conversation.done.failure.limit == "output_bytes"
    assert conversation.done.output == "x" * 100


def test_a_lone_surrogate_is_printed_as_an_escape():
    """Printed text can be stored and sent by everything behind the host."""
    conversation = HostProtocol(PROGRAM)
    receive(conversation, frames(encode_output("a\ud800")))
    assert conversation.output == "a\\ud800"


def test_a_program_arrives_whole():
    """What the host sends to a worker is what the worker reads."""
    program = Program(
        code="print('é\ud800')", tools=("a.b",), types=("a.T",), limits=Limits(wall_seconds=2.5)
    )
    assert parse_run(decode_value(encode_run(program))) == program


def test_answers_carry_a_value_or_a_reason():
    """A value goes out as it was encoded; a failure with its limit."""
    for value in ({"a": 1}, "x" * 100_000):
        result = Result(id=3, payload=encode_value(value))
        [frame] = FrameReader().feed(b"".join(encode_result(result)))
        assert decode_value(frame) == ["r", 3, value]
    failure = CallFailure(message="no", limit="tool_seconds")
    [frame] = FrameReader().feed(b"".join(encode_result(Result(id=4, failure=failure))))
    assert decode_value(frame) == [
        "e",
        4,
        "no",
        "tool_seconds",
        None,
        None,
    ]
