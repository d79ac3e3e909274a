"""Waiting for what happens in other threads and processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

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
