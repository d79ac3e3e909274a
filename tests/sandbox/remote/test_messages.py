"""What a host and a server say to each other comes back as it went in, and what is none is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ptc.sandbox.remote import messages as m

EXAMPLES: list[m.Message] = [
    m.Hello("token", "0.1.0"),
    m.Welcome(("numpy",), {"seccomp": "on"}, 64, 3),
    m.Goodbye("another version"),
    m.Open(m.new_secret(), 10, 512 * 2**20, 1),
    m.Opened(m.new_secret()),
    m.Refused(m.new_secret(), "", 0),
    m.Watch(m.new_secret(), 30.0),
    m.Kill(m.new_secret()),
    m.Ended(m.new_secret(), -1, 0.25, True),
    m.Room(1),
    m.Ping(),
    m.Pong(4),
]


@given(st.lists(st.sampled_from(EXAMPLES)), st.integers(1, 50))
def test_round_trip_in_pieces(sent: list[m.Message], size: int) -> None:
    """Messages come back as they were sent, however their bytes are cut."""
    data = b"".join(map(m.encode, sent))
    decoder = m.Decoder()
    got = [x for at in range(0, len(data), size) for x in decoder.feed(data[at : at + size])]
    assert got == sent


NOT_MESSAGES = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"[" * 30_000,
    b"\xff",
    b'["Ping", 1]',
    b'["Ping"',
    b'["Nothing"]',
    b'[["Ping"]]',
    b'["Room", true]',
    b'["Room", "1"]',
    b'["Room", 1.0]',
    b'["Room", 9' + b"0" * 30 + b"]",
    b'["Watch", "a", NaN]',
    b'["Watch", "a", Infinity]',
    b'["Ended", "a", 0, 0.5, 1]',
    b'["Welcome", "numpy", {}, 1, 1]',
    b'["Welcome", [], {"seccomp": 1}, 1, 1]',
    json.dumps(["Goodbye", None]).encode(),
]


@pytest.mark.parametrize("body", NOT_MESSAGES, ids=lambda body: body[:20].decode("latin1"))
def test_what_is_no_message_is_refused(body: bytes) -> None:
    """Whatever a peer sends that is none of the messages, the reader says so and nothing else."""
    with pytest.raises(m.RemoteProtocolError):
        list(m.Decoder().feed(len(body).to_bytes(4, "big") + body))


def test_a_message_that_is_too_long_is_refused_by_its_length() -> None:
    """A reader keeps no more than its limit: it refuses before the bytes have come."""
    with pytest.raises(m.RemoteProtocolError, match="more than 4096"):
        list(m.Decoder(m.MAX_HELLO_BYTES).feed((4097).to_bytes(4, "big")))


@given(st.binary(max_size=200))
def test_random_bytes_break_nothing(data: bytes) -> None:
    """Random bytes are messages, wait for more, or break the protocol; they raise nothing else."""
    try:
        list(m.Decoder().feed(data))
    except m.RemoteProtocolError:
        return


def test_greeting_is_read_back() -> None:
    """The secret of an execution goes through its greeting, and a control connection is none."""
    secret = m.new_secret()
    data = m.greeting(secret)
    assert len(data) == m.GREETING_BYTES
    assert m.read_greeting(data) == secret
    hello = m.encode(m.Hello("t" * 32, "0"))[: m.GREETING_BYTES]
    assert len(data) == len(hello)
    with pytest.raises(m.RemoteProtocolError):
        m.read_greeting(hello)
