"""Text of models, tools and servers written to a terminal: what controls it is shown as a sign."""

from __future__ import annotations

import sys
from typing import TextIO

from langchain_ptc.display.text import visible


def write_error(text: str) -> None:
    """Write a line to standard error, without control characters wherever it leads."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()


def write_output(out: TextIO, text: str) -> None:
    """Write text as it is; without control characters if it goes to a terminal."""
    out.write(visible(text) if out.isatty() else text)
    out.flush()
