"""Pictures made of nothing but the standard library."""

from __future__ import annotations

import struct
import zlib


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int = 2, height: int = 3, *, filler: int = 0) -> bytes:
    """Return a white PNG with so many more bytes in it; it says its size, and has that of a few pixels."""
    rows = (b"\0" + b"\xff" * min(width, 9)) * min(height, 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (
        [chunk(b"IHDR", head), chunk(b"tEXt", bytes(filler))] if filler else [chunk(b"IHDR", head)]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000"  # JFIF
    "ffc0000b080003000201011100"  # 2 x 3 pixels
    "ffda0008010100003f0000"
    "ffd9"
)
GIF = b"GIF89a\x02\x00\x03\x00\x00\x00\x00;"
WEBP = {
    "VP8L": b"RIFF\x12\x00\x00\x00WEBPVP8L\x05\x00\x00\x00\x2f\x01\x80\x00\x00\x00",
    "VP8X": b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\x01\0\0\x02\0\0",
    "VP8 ": b"RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00" + b"\0\0\0\x9d\x01\x2a\x02\0\x03\0",
}
PDF = b"%PDF-1.7\n%%EOF\n"
WAV = b"RIFF\x04\x00\x00\x00WAVE"
MP3 = b"ID3\x04\x00"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
