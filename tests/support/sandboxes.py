"""Every kind of sandbox by a name: what tests that hold for all of them run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
def open_sandbox(kind: str, *, files: bool | int = False) -> Iterator[Sandbox]:
    """Open a sandbox, and close it afterwards."""
    if kind == "remote":
        with open_remote(files=files) as remote:
            yield remote
        return
    if kind == "ray":
        with LocalCluster(2) as cluster, RaySandbox(cluster.address, files=files) as made:
            yield made
        return
    with ProcessSandbox(files=files) if kind == "process" else InProcessSandbox() as local:
        yield local


@contextmanager
def open_remote(*, policy: bool = True, files: bool | int = False) -> Iterator[RemoteSandbox]:
    """Open a sandbox over one server, which runs in a thread; see `serving`."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(policy=policy, files=files))
        yield stack.enter_context(RemoteSandbox([address], token=TOKEN, files=files))


@contextmanager
def serving(*, policy: bool = True, files: bool | int = False) -> Iterator[str]:
    """Run a server of workers in a thread; yield its address.

    Args:
        policy: Whether the code is held to the language.
        files: See `Server`.
    """
    background = BackgroundLoop("a server of workers")
    server = Server(token=TOKEN, files=files)
    if not policy:
        server.pool = WorkerPool((), waiting=1, policy=False)
    background.run(server.start())
    try:
        yield "{}:{}".format(*server.address)
    finally:
        background.run(server.close())
