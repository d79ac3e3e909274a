"""Every kind of sandbox by a name: what tests that hold for all of them run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from langchain_ptc import InProcessSandbox, ProcessSandbox, RaySandbox, RemoteSandbox
from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.sandbox import Sandbox
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.remote.server import Server
from tests.support.clusters import LocalCluster

CHOSEN = os.environ.get("PTC_SANDBOXES", "").split()
"""Set by the targets of sandboxes on other machines, which run no other tests."""
KINDS = CHOSEN or ["process", "inprocess"]
"""Those that the tests run on."""


TOKEN = "a token of sixteen characters"


@contextmanager
def open_sandbox(kind: str) -> Iterator[Sandbox]:
    """Open a sandbox, and close it afterwards."""
    if kind == "remote":
        with open_remote() as remote:
            yield remote
        return
    if kind == "ray":
        with LocalCluster(2) as cluster, RaySandbox(cluster.address) as made:
            yield made
        return
    with ProcessSandbox() if kind == "process" else InProcessSandbox() as local:
        yield local


@contextmanager
def open_remote(*, policy: bool = True, **options: Any) -> Iterator[RemoteSandbox]:
    """Open a sandbox over one server, which runs in a thread; see `serving`."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(policy=policy))
        yield stack.enter_context(RemoteSandbox([address], token=TOKEN, **options))


@contextmanager
def serving(*, policy: bool = True, **options: Any) -> Iterator[str]:
    """Run a server of workers in a thread; yield its address.

    Args:
        policy: Whether the code is held to the language.
        options: Those of `Server`.
    """
    background = BackgroundLoop("a server of workers")
    server = Server(token=TOKEN, **options)
    if not policy:
        server.pool = WorkerPool((), waiting=1, policy=False)
    background.run(server.start())
    try:
        yield "{}:{}".format(*server.address)
    finally:
        background.run(server.close())
