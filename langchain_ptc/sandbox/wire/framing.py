"""Frames: how messages are cut out of a stream of bytes. No I/O.

A frame is a 32-bit little-endian length and that many bytes: one message; see `protocol.py`. Standard
library only: the worker uses it too.
"""

from __future__ import annotations

import struct

from langchain_ptc.errors import PTCError

_HEADER = struct.Struct("<I")
_LARGE_BYTES = 16 * 1024
"""What has more is not copied into its frame."""


class ProtocolViolation(PTCError):
    """The worker sent something that no honest worker sends."""


def encode_frame(message: bytes) -> bytes:
    """Return the frame of a message."""
    return _HEADER.pack(len(message)) + message


def encode_pieces(head: bytes, rest: bytes) -> list[bytes]:
    """Return the frame of a message in two parts as buffers, of which large ones are not copied."""
    length = _HEADER.pack(len(head) + len(rest))
    if len(rest) < _LARGE_BYTES:
        return [b"".join((length, head, rest))]
    return [length + head, rest]


class FrameReader:
    """Cuts a stream of bytes into frames.

    Args:
        max_bytes: Longest frame that is accepted; None for any length.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._head = b""  # of a frame whose length has not arrived whole
        self._begun: bytearray | None = None  # a frame whose length is known
        self._missing = 0

    def take_begun(self) -> tuple[bytes, int]:
        """Return what has come of the frame that has begun, and how long it will be; forget it."""
        assert self._begun is not None
        begun = bytes(self._begun)
        length = len(begun) + self._missing
        self._begun, self._missing = None, 0
        return begun, length

    @property
    def missing(self) -> int:
        """How many bytes the frame that has begun still lacks; 0 if none has begun."""
        return self._missing

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the stream and return the frames that are now complete.

        Raises:
            ProtocolViolation: A frame says that it is longer than is accepted.
        """
        if self._head and self._begun is None:
            data, self._head = self._head + data, b""
        frames: list[bytes] = []
        at = 0
        while at < len(data):
            if self._begun is None:
                start = at + _HEADER.size
                if start > len(data):
                    self._head = data[at:]
                    break
                self._begin(_HEADER.unpack_from(data, at)[0])
                at = start
            at = self._take(data, at, frames)
        return frames

    def _begin(self, length: int) -> None:
        if self._max_bytes is not None and length > self._max_bytes:
            raise ProtocolViolation(f"a frame of {length} bytes; {self._max_bytes} are accepted")
        self._begun, self._missing = bytearray(), length

    def _take(self, data: bytes, at: int, frames: list[bytes]) -> int:
        """Add what `data` has of the frame from `at` on; return where the next one begins."""
        assert self._begun is not None
        piece = data[at : at + self._missing]
        self._begun += piece  # not a list: its pieces may be many, and of a byte each
        self._missing -= len(piece)
        if not self._missing:
            frames.append(bytes(self._begun))
            self._begun = None
        return at + len(piece)
