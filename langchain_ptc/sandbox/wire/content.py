"""Files that cross the sandbox: names that are harmless on every system, and what kind of content bytes are.

Nobody's word is taken for it. The worker sends bytes without a name or a type, and the host reads here what
they are, whole in their outer structure, before a model or a browser gets them. No kind that can hold a script
is among them: SVG and HTML are text to print.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from langchain_ptc.errors import count, cut

MAX_NAME_CHARS, _MAX_PART_BYTES = 500, 255
_REFUSED = re.compile(
    '[\x00-\x1f\x7f-\x9f\\\\:<>"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
"""What Windows does not take, controls, marks that turn the direction of text, surrogates."""
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)


def is_file_name(name: object) -> bool:
    """Whether a file of this name can be saved below a folder, and nowhere else, on any system."""
    if type(name) is not str or not 0 < len(name) <= MAX_NAME_CHARS or _REFUSED.search(name):
        return False
    return all(
        part
        and part[-1] not in ". "
        and part[0] != " "
        and len(part.encode()) <= _MAX_PART_BYTES
        and not _DEVICE.fullmatch(part)
        for part in name.split("/")
    )


def folders_of(name: str) -> set[str]:
    """Return the folders that a file of this name is in."""
    return {name[:at] for at, char in enumerate(name) if char == "/"}


def checked_files(files: Mapping[str, bytes] | None, room: int) -> dict[str, bytes] | None:
    """Return the files that code is given; None if it has no folder, and so `room` for none.

    Raises:
        TypeError: A content is not bytes.
        ValueError: They do not fit, a name is not valid, or is a folder in the path of another file.
    """
    if not room:
        if files:
            raise ValueError("code gets files only with files=True, and this sandbox has none")
        return None
    given = dict(files or {})
    for name, data in given.items():
        if not is_file_name(name):
            raise ValueError(
                f"files: {cut(repr(name), 100)} cannot be the name of a file: use a relative path with "
                "'/', such as 'data/orders.csv'"
            )
        if type(data) is not bytes:
            raise TypeError(
                f"files: the content of {name!r} must be bytes, got {type(data).__name__}"
            )
    if both := set().union(*map(folders_of, given)) & given.keys():
        raise ValueError(f"files: {min(both)!r} cannot be a file and the folder of another")
    if (size := sum(map(len, given.values()))) > room:
        raise ValueError(f"files: {size:,} bytes do not fit into a folder of {room:,} (files=...)")
    return given


MAX_SIDE = 8_000
"""Pixels of a picture, each way: more, a provider refuses, and a few bytes would fill a browser's memory."""
KINDS = "PNG, JPEG, GIF, WebP, PDF, WAV or MP3"
_MAX_PARTS = 20_000
"""Chunks of a PNG, segments of a JPEG, or blocks of a GIF."""
_MAX_TAIL_BYTES = 1024
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG that are followed by the size of the picture."""
_MP3_STARTS = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")


class Content(NamedTuple):
    """What some bytes are: how many, and the pixels of a picture."""

    media_type: str
    size: int
    width: int = 1
    height: int = 1

    @property
    def is_bounded(self) -> bool:
        """Whether it has pixels, and not too many."""
        return 0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE

    def __str__(self) -> str:
        is_image = self.media_type.startswith("image/")
        pixels = f"{self.width:,} x {self.height:,} pixels, " if is_image else ""
        return f"{self.media_type}, {pixels}{count(self.size, 'byte')}"


def read_content(data: bytes) -> Content | None:
    """Return what `data` is; None if it is of no known kind, or not whole. Linear in its length."""
    size, read = None, None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        read, size = "image/png", _size_of_png(data)
    elif data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9"):
        read, size = "image/jpeg", _size_of_jpeg(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        read, size = "image/gif", _size_of_gif(data)
    elif data.startswith(b"RIFF") and _little(data, 4, 4) + 8 == len(data):
        if data[8:12] == b"WEBP":
            read, size = "image/webp", _size_of_webp(data)
        elif data[8:12] == b"WAVE":
            read, size = "audio/wav", (1, 1)
    elif data.startswith(b"%PDF-") and b"%%EOF" in data[-_MAX_TAIL_BYTES:]:
        read, size = "application/pdf", (1, 1)
    elif data.startswith(_MP3_STARTS):
        read, size = "audio/mpeg", (1, 1)
    return None if read is None or size is None else Content(read, len(data), *size)


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


def _size_of_png(data: bytes) -> tuple[int, int] | None:
    """Return the size of a PNG whose chunks are whole and as their checksums say."""
    at, view = 8, memoryview(data)
    for number in range(_MAX_PARTS):
        name, end = data[at + 4 : at + 8], at + 12 + _big(data, at, 4)
        if end > len(data) or zlib.crc32(view[at + 4 : end - 4]) != _big(data, end - 4, 4):
            return None
        if (name == b"IHDR") != (number == 0):
            return None
        if name == b"IEND":
            return (_big(data, 16, 4), _big(data, 20, 4)) if end == len(data) else None
        at = end
    return None


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_MAX_PARTS):
        if data[at : at + 1] != b"\xff" or at + 9 > len(data):
            return None
        marker = data[at + 1]
        if marker in _FRAMES:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        # A marker 0xFF fills the space before another.
        at += 1 if marker == 0xFF else 2 + _big(data, at + 2, 2)
    return None


def _size_of_gif(data: bytes) -> tuple[int, int] | None:
    """Return the size of a GIF whose blocks are whole, and of its frames, which may be larger."""
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    at, is_in_block = _after_colors(data, 10) + 2, False  # two bytes are between flags and colors
    for _ in range(_MAX_PARTS):
        mark = _little(data, at, 1)
        if is_in_block:  # a block is in parts, the last of which is empty
            at, is_in_block = at + 1 + mark, mark > 0
        elif mark == ord("!"):
            at, is_in_block = at + 2, True
        elif mark == ord(","):
            width = max(width, _little(data, at + 1, 2) + _little(data, at + 5, 2))
            height = max(height, _little(data, at + 3, 2) + _little(data, at + 7, 2))
            at, is_in_block = _after_colors(data, at + 9) + 1, True
        else:
            is_whole = mark == ord(";") and at + 1 == len(data)
            return (width, height) if is_whole else None
    return None


def _after_colors(data: bytes, at: int) -> int:
    """Return where the table of colors of a GIF ends, if the flags at `at` say that there is one."""
    flags = _little(data, at, 1)
    return at + 1 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def _size_of_webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return None
