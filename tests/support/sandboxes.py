"""Every kind of sandbox by a name: what tests that hold for all of them run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_ptc import InProcessSandbox, ProcessSandbox, RemoteSandbox
from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.sandbox.remote.server import Server

KINDS = os.environ.get("PTC_SANDBOXES", "process inprocess").split()
"""Those that the tests run on; the targets of sandboxes on other machines set it."""


TOKEN = "a token of sixteen characters"


@contextmanager
def open_sandbox(kind: str) -> Iterator[Sandbox]:
    """Open a sandbox, and close it afterwards."""
    if kind == "remote":
        with serving() as address, RemoteSandbox([address], token=TOKEN) as remote:
            yield remote
        return
    with ProcessSandbox() if kind == "process" else InProcessSandbox() as made:
        yield made


@contextmanager
def serving(**options: Any) -> Iterator[str]:
    """Run a server of workers in a thread; yield its address.

    Args:
        options: Those of `Server`.
    """
    background = BackgroundLoop("a server of workers")
    server = Server(token=TOKEN, **options)
    background.run(server.start())
    try:
        yield "{}:{}".format(*server.address)
    finally:
        background.run(server.close())
