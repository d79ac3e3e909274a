"""Every kind of sandbox by a name: what tests that hold for all of them run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_ptc import InProcessSandbox, ProcessSandbox
from langchain_ptc.sandbox import Sandbox

KINDS = os.environ.get("PTC_SANDBOXES", "process inprocess").split()
"""Those that the tests run on; the targets of sandboxes on other machines set it."""


@contextmanager
def open_sandbox(kind: str) -> Iterator[Sandbox]:
    """Open a sandbox, and close it afterwards."""
    with ProcessSandbox() if kind == "process" else InProcessSandbox() as made:
        yield made
