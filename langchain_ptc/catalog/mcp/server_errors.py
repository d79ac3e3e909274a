"""What a server over stdio writes to its standard error, without control characters on a terminal."""

from __future__ import annotations

import codecs
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from langchain_ptc.display.text import visible

_CHUNK_BYTES = 65_536


@contextmanager
def server_errors() -> Iterator[IO[str]]:
    """Yield the file that a server gets as its standard error.

    On a terminal it is a pipe, whose text is copied to `sys.stderr` with signs in place of characters
    that control the terminal; elsewhere it is `sys.stderr` itself.
    """
    if not sys.stderr.isatty():
        yield sys.stderr
        return
    reading, writing = os.pipe()
    threading.Thread(
        target=_copy, args=(reading,), daemon=True, name="langchain-ptc stderr"
    ).start()
    with os.fdopen(writing, "w") as errors:
        yield errors


def _copy(reading: int) -> None:
    """Copy a pipe to standard error until all its writers are gone."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while part := pipe.read(_CHUNK_BYTES):
            sys.stderr.write(visible(decode(part)))
            sys.stderr.flush()
