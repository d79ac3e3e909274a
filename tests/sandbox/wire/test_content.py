"""What bytes are, told from themselves; and what the host takes from a worker that shows something."""

from __future__ import annotations

import io
import random
from typing import Any

import ormsgpack
import pytest
from PIL import Image

from langchain_ptc import Limits
from langchain_ptc.sandbox import Program, Shown
from langchain_ptc.sandbox.wire.content import MAX_SIDE, Content, read_content
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_done,
    encode_output,
    encode_shown,
)
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.pictures import GIF, JPEG, MP3, PDF, SVG, WAV, WEBP, chunk, png
from tests.support.wire import frames, receive

KINDS = {
    "image/png": png(),
    "image/jpeg": JPEG,
    "image/gif": GIF,
    "application/pdf": PDF,
    "audio/wav": WAV,
    "audio/mpeg": MP3,
}


@pytest.mark.parametrize("media_type", KINDS)
def test_kinds(media_type: str) -> None:
    """Each kind is known by its bytes, and pictures have the size that they say."""
    found = read_content(KINDS[media_type])
    assert found is not None
    assert found.media_type == media_type
    assert (found.width, found.height) == (
        (2, 3) if found.media_type.startswith("image/") else (1, 1)
    )


@pytest.mark.parametrize("kind", WEBP)
def test_webp(kind: str) -> None:
    """Each of the three forms of WebP says its size in another way."""
    assert read_content(WEBP[kind]) == Content("image/webp", len(WEBP[kind]), 2, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (MAX_SIDE, 2)])
def test_what_pillow_writes(kind: str, size: tuple[int, int]) -> None:
    """Pictures of a real encoder are read as what they are, and no part of one is whole."""
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind, progressive=True)
    data = file.getvalue()
    assert read_content(data) == Content(f"image/{kind.lower()}", len(data), *size)
    assert read_content(data[: len(data) // 2]) is None
    assert read_content(data[:-1]) is None


def frame(left: int, top: int, width: int, height: int, flags: int = 0) -> bytes:
    """Return a frame of a GIF, with two parts of data."""
    places = b"".join(n.to_bytes(2, "little") for n in (left, top, width, height))
    colors = bytes(3 << (flags & 7) + 1) if flags & 0x80 else b""
    return b"," + places + bytes([flags]) + colors + b"\x02\x02L\x01\x01;\x00"


@pytest.mark.parametrize(
    ("blocks", "size"),
    [
        (frame(0, 0, 2, 3), (2, 3)),
        (b"!\xf9\x04\x00\x00\x00\x00\x00" + frame(0, 0, 2, 3) * 3, (2, 3)),
        (frame(1, 0, 1, 3, flags=0x81) + b"!\xfe\x01;\x00", (2, 3)),
        (frame(0, 0, 2, 3) + frame(60_000, 2, 5_000, 9), (65_000, 11)),
        (frame(0, 0, 2, 3)[:-1], None),
        (frame(0, 0, 2, 3)[:-2] + b"\x09", None),
        (b"<script>", None),
        (frame(0, 0, 2, 3) + b";", None),
        (b"!\xfe" + b"\x01;" * 50_000 + b"\x00", None),
    ],
)
def test_blocks_of_a_gif(blocks: bytes, size: tuple[int, int] | None) -> None:
    """A GIF is whole from block to block, in a bounded number of them, and as large as its frames reach."""
    found = read_content(GIF[:-1] + blocks + b";")
    assert (found and (found.width, found.height)) == size


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"abc",
            SVG,
            b"<html><script>alert(1)</script>",
            b"GIF89a;",
            b"\xff\xd8\xff",
            b"RIFF",
        ),
        *(b"\x89PNG\r\n\x1a\n", png()[:-1], png() + b"<script>", png().replace(b"IHDR", b"IHDX")),
        png()[:20] + bytes([png()[20] ^ 1]) + png()[21:],
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) * 2 + chunk(b"IEND", b""),
        *(PDF[:6], WAV + b"x", JPEG.replace(b"\xff\xc0", b"\xff\xc4"), JPEG[:-2] + b"<script>"),
        b"\xff\xd8" + b"\xff" * 30_000 + b"\xff\xd9",
        b"\xff\xd8" + b"\xff\xe0\0\0" * 30_000 + b"\xff\xd9",
    ],
)
def test_what_is_no_content(data: bytes) -> None:
    """Text that a browser would run, parts, forged checksums and endless segments are of no kind."""
    assert read_content(data) is None


def test_any_bytes() -> None:
    """Whatever is changed in good content, reading it ends with an answer."""
    chance = random.Random(1)
    for data in (*KINDS.values(), *WEBP.values()):
        for _ in range(400):
            forged = bytearray(data)
            for _ in range(chance.randint(1, 4)):
                forged[chance.randrange(len(forged))] = chance.randrange(256)
            found = read_content(bytes(forged[: chance.randint(0, len(forged))]))
            assert found is None or found.size <= len(data)


@pytest.mark.parametrize(
    ("width", "height"), [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (2**31, 2**31), (0, 5)]
)
def test_too_many_pixels(width: int, height: int) -> None:
    """A few bytes that say they are a huge picture, or an empty one, are told by their size."""
    found = read_content(png(width, height))
    assert found is not None
    assert not found.is_bounded


# --- from a worker ----------------------------------------------------------------------------------

PROGRAM = Program(code="", limits=Limits(max_shown=2, shown_bytes=100_000))
DONE = encode_done("success", encode_value(None), None, [])


def test_what_is_shown_has_its_place() -> None:
    """The host notes what it is, and how many characters were printed before it."""
    conversation = HostProtocol(PROGRAM)
    receive(
        conversation,
        frames(
            encode_output("Größe\n"),
            encode_shown(png()),
            encode_output("x"),
            encode_shown(PDF),
            DONE,
        ),
    )
    assert conversation.shown == (
        Shown(media_type="image/png", size=len(png()), at=6, data=png()),
        Shown(media_type="application/pdf", size=len(PDF), at=7, data=PDF),
    )


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([encode_shown(SVG)], id="a-script"),
        pytest.param([encode_shown(b"")], id="nothing"),
        pytest.param([encode_shown(png()[:-4])], id="not-whole"),
        pytest.param([encode_shown(png(MAX_SIDE + 1))], id="too-wide"),
        pytest.param([encode_shown(png(filler=100_000))], id="too-large"),
        pytest.param([encode_shown(png(filler=60_000))] * 2, id="too-large-together"),
        pytest.param([encode_shown(png())] * 3, id="too-many"),
        pytest.param([ormsgpack.packb(["s", "text"])], id="no-bytes"),
        pytest.param([ormsgpack.packb(["s", png(), "image/svg+xml"])], id="a-type-of-its-own"),
        pytest.param([DONE, encode_shown(png())], id="after-the-end"),
    ],
)
def test_the_host_believes_nothing(messages: list[Any]) -> None:
    """Anything but whole content of a known kind, within the limits, is a violation."""
    with pytest.raises(ProtocolViolation):
        receive(HostProtocol(PROGRAM), frames(*messages))
