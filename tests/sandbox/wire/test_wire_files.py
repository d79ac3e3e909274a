"""Files that cross the wire: their names, and what the host accepts from a worker."""

from __future__ import annotations

from typing import Any

import ormsgpack
import pytest

from langchain_ptc import Limits
from langchain_ptc.sandbox import File, Program
from langchain_ptc.sandbox.wire.content import checked_files, is_file_name
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_done,
    encode_file,
)
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.wire import frames, receive

LIMITS = Limits(max_returned_files=3, returned_bytes=2_000_000)
PROGRAM = Program(code="", limits=LIMITS, files={})
DONE = encode_done("success", encode_value(None), None, [])


@pytest.mark.parametrize(
    "name",
    ["a", "a.csv", "a/b/c.tar.gz", "Größe 1.txt", "报告.csv", ".hidden", "con_1", "a-b+c(1)"],
)
def test_a_name_that_a_file_can_have(name: str) -> None:
    """Relative paths of ordinary names are accepted."""
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/etc/passwd", "../a", "a/../b", "a/./b", "a//b", "a/", "~/.ssh/.."),
        *("a\\b", "..\\a", "C:\\a", "C:a", "a:stream", "a\0b", "a\nb", "a\x1b[31mb", "a\x7fb"),
        *("con", "NUL.txt", "a/Aux", "com1.csv", "LPT9", "COM¹", "con .txt"),
        *(
            "a.",
            "a ",
            " a",
            "a./b",
            "...",
            "a\u202eb",
            "a\ud800b",
            "a?b",
            "a*b",
            "<a>",
            'a"b',
            "a|b",
        ),
        *("x" * 256, "é" * 128, "/".join(["ab"] * 200), 5, None, b"a"),
    ],
)
def test_a_name_that_no_file_can_have(name: Any) -> None:
    """What leads elsewhere, on any system, or cannot be saved on one, is refused."""
    assert not is_file_name(name)


@pytest.mark.parametrize(
    ("files", "room", "error", "message"),
    [
        ({"a": b""}, 0, ValueError, "only with files=True"),
        ({"../a": b""}, 99, ValueError, "'../a' cannot be the name of a file: use a relative path"),
        ({"a/b": b"", "a": b""}, 99, ValueError, "'a' cannot be a file and the folder of another"),
        ({"a": "text"}, 99, TypeError, "the content of 'a' must be bytes, got str"),
        (
            {"a": bytes(60), "b": bytes(60)},
            99,
            ValueError,
            "120 bytes do not fit into a folder of 99",
        ),
    ],
)
def test_files_that_cannot_be_given(files: Any, room: int, error: Any, message: str) -> None:
    """The error says which file, and what is wrong with it."""
    with pytest.raises(error, match=message):
        checked_files(files, room)


def test_no_files_and_no_folder() -> None:
    """Without a folder there are none, with one there may be none."""
    assert checked_files(None, 0) is None
    assert checked_files({}, 0) is None
    assert checked_files(None, 99) == {}


def test_files_arrive_whole() -> None:
    """Content that is not sent is named."""
    large = bytes(range(256)) * 6_000
    sent = [
        encode_file("a.bin", len(large), large),
        encode_file("b.txt", 0, b""),
        encode_file("c.iso", 10**12, None),
    ]
    conversation = HostProtocol(PROGRAM)
    receive(conversation, frames(*sent, DONE))
    assert conversation.done is not None
    assert conversation.done.files == (
        File(name="a.bin", size=len(large), data=large),
        File(name="b.txt", size=0, data=b""),
        File(name="c.iso", size=10**12, data=None),
    )


def _file(*parts: object) -> bytes:
    return ormsgpack.packb(["f", *parts])


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([_file("../a", 2, b"ab")], id="a-path-out"),
        pytest.param([_file("/a", 2, b"ab")], id="an-absolute-path"),
        pytest.param([_file("a", 0, b""), _file("a", 0, b"")], id="a-name-twice"),
        pytest.param([_file("a", -1, None)], id="a-negative-size"),
        pytest.param([_file("a", 2**63, None)], id="a-size-beyond-all"),
        pytest.param([_file("a", "2", None)], id="a-size-no-number"),
        pytest.param([_file("a", 2, "ab")], id="content-no-bytes"),
        pytest.param([_file("a", 2)], id="a-part-missing"),
        pytest.param([_file("a", 2_000_001, bytes(2_000_001))], id="too-large"),
        pytest.param(
            [_file("a", 2, b"ab"), _file("b", 1_999_999, bytes(1_999_999))], id="too-large-together"
        ),
        pytest.param([_file(f"{n}", 0, b"") for n in range(4)], id="too-many"),
        pytest.param([_file("a", 1, b"ab")], id="longer-content"),
        pytest.param([_file("a", 3, b"ab")], id="shorter-content"),
        pytest.param([DONE, _file("a", 0, b"")], id="a-file-after-the-end"),
    ],
)
def test_the_host_believes_nothing(messages: list[bytes]) -> None:
    """Anything but files within the limits, each whole, is a violation."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(PROGRAM), frames(*messages))


def test_code_without_a_folder_has_no_files() -> None:
    """A file from a worker that has none is a violation."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(Program(code="")), frames(_file("a", 0, b"")))
