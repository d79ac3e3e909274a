"""Waiting for what happens in other threads and processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 300.0
"""After which something hangs: far beyond what anything takes, on a busy machine too."""


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    """Wait until `condition` holds; return False if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def seconds_without_processor() -> float:
    """Return how long the threads of this process were ready to run and did not, all together."""
    waited = 0
    for told in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has ended
            waited += int(told.read_text().split()[1])
    return waited / 1e9
