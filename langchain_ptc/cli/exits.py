"""The exit codes of the command line."""

from __future__ import annotations

from typing import Final

from langchain_ptc.sandbox.api import Status

SUCCESS: Final = 0
FAILED: Final = 1
"""It was run and did not succeed: the code raised or was refused, an answer is wrong, a wall is open."""
MISUSED: Final = 2
"""Nothing was run: what was typed cannot be used, or something is missing."""
STOPPED: Final = 3
"""A limit stopped the code."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells number it."""


def code_of(status: Status) -> int:
    """Return the exit code for the end of an execution."""
    if status == "success":
        return SUCCESS
    return STOPPED if status == "limit" else FAILED
