"""Bytes on the line: as base64, in pieces that fit into frames.

Source: RFC 4648. Standard library only: the worker uses it too.
"""

from __future__ import annotations

import base64
import binascii

from langchain_ptc.sandbox.wire.framing import ProtocolViolation

_PIECE_BYTES = 3 * 256 * 1024
_MOST_PIECE_CHARS = 4 * _PIECE_BYTES // 3


def encode_bytes(data: bytes) -> str:
    """Write bytes as text."""
    return base64.b64encode(data).decode("ascii")


def decode_bytes(text: str) -> bytes:
    """Read bytes that `encode_bytes` wrote.

    Raises:
        ValueError: It wrote something else.
    """
    return base64.b64decode(text, validate=True)


def encode_parcel(data: bytes) -> list[str]:
    """Encode the messages that carry `data`; there is at least one."""
    starts = range(0, len(data), _PIECE_BYTES) or (0,)
    return [f'["k","{encode_bytes(data[at : at + _PIECE_BYTES])}"]' for at in starts]


class Parcel:
    """Collects the pieces on the host's side, which believes nothing.

    Args:
        max_bytes: How many bytes are accepted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data: bytearray | None = None

    @property
    def content(self) -> bytes | None:
        """What has come until now; None if nothing has."""
        return None if self._data is None else bytes(self._data)

    def add(self, piece: str) -> None:
        """Take a piece.

        Raises:
            ProtocolViolation: It is malformed, or one too many.
        """
        try:
            if len(piece) > _MOST_PIECE_CHARS:
                raise ProtocolViolation("a piece of variables that is too long")
            data = decode_bytes(piece)
        except (binascii.Error, ValueError) as error:
            raise ProtocolViolation("a malformed piece of variables") from error
        if self._data is None:
            self._data = bytearray()
        elif not data:
            raise ProtocolViolation("an empty piece of variables")
        self._data += data
        if len(self._data) > self._max_bytes:
            raise ProtocolViolation(f"variables of more than {self._max_bytes:,} bytes")
