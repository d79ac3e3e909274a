"""Where a program prints to: its own stream, never the process's `sys.stdout`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from langchain_ptc.errors import LimitExceeded
from langchain_ptc.sandbox.protocol import cut_bytes


class TextTarget(Protocol):
    """Anything that `print(file=…)` takes."""

    def write(self, text: str, /) -> object:
        """Take text."""
        ...


class ProgramStream(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of the code.

    Args:
        emit: Takes what is printed.
        max_bytes: How much may be printed, in UTF-8.

    Raises:
        LimitExceeded: From `write`, when more is printed.
    """

    def __init__(self, emit: Callable[[str], None], max_bytes: int) -> None:
        self.__emit = emit
        self.__max_bytes = max_bytes
        self.__used = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Print `text`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        room = self.__max_bytes - self.__used
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.__used += size
        if size > room:
            # One byte too many: the host counts too, and ends the execution whatever the code does.
            self.__emit(cut_bytes(text, max(room, 0)) + "…")
            raise LimitExceeded(limit="output_bytes", allowed=self.__max_bytes, used=self.__used)
        self.__emit(text)
        return len(text)


class Output:
    """`print` and the streams of one program."""

    def __init__(self, emit: Callable[[str], None], max_bytes: int) -> None:
        self.stream = ProgramStream(emit, max_bytes)
        self._target: TextTarget = self.stream
        self.printed = False
        """Whether the code printed anything that was not caught by the code itself."""

    def print(
        self,
        *values: object,
        sep: str | None = " ",
        end: str | None = "\n",
        file: TextTarget | None = None,
        flush: bool = False,
    ) -> None:
        """Print values, as Python's `print` does."""
        target = self._target if file is None else file
        text = (" " if sep is None else sep).join(map(str, values))
        target.write(text + ("\n" if end is None else end))
        if target is self.stream:
            self.printed = True

    @contextmanager
    def redirect_stdout(self, new_target: TextTarget) -> Iterator[TextTarget]:
        """Catch what is printed in the `with` block."""
        previous, self._target = self._target, new_target
        try:
            yield new_target
        finally:
            self._target = previous
