"""`RemoteSandbox`: each execution in a worker of a server elsewhere."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Sequence

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.host.process import (
    LocalSandbox,
    Require,
    check_positive,
    checked_size,
)
from langchain_ptc.sandbox.remote.connect import Connector, TcpConnector, is_loopback
from langchain_ptc.sandbox.remote.machine import Needs, RemoteWorker
from langchain_ptc.sandbox.remote.pool import RemotePool, ServerStats
from langchain_ptc.sandbox.remote.session import ReplayingSession
from langchain_ptc.sandbox.remote.tls import client_tls


class ServersSandbox(LocalSandbox):
    """What `RemoteSandbox` and `RaySandbox` have in common: workers of servers, which `pool` knows."""

    def __init__(
        self,
        imports: Sequence[str],
        files: bool | int,
        require: Require,
        queue_seconds: float,
        *,
        token: str = "",
    ) -> None:
        super().__init__(imports)
        check_positive(queue_seconds=queue_seconds)
        self.files_bytes = checked_size(files, require)
        self._require: Require = require
        self._is_closed = False
        self.pool = RemotePool(
            token=token,
            needs=Needs(self._imports, require == "kernel", self.files_bytes),
            queue_seconds=queue_seconds,
        )
        # In whatever thread it is collected, and whatever that is doing: takes no lock.
        weakref.finalize(self, self.pool.close_soon)

    def session(self) -> ReplayingSession[RemoteWorker]:
        """Prepare one execution."""
        if self._is_closed:
            raise SandboxError("the sandbox is closed")
        return ReplayingSession(self.pool, self._require, has_folder=self.files_bytes > 0)

    def has_room(self) -> bool:
        """Whether one more program would delay no other: a server has a free worker, as far as is known."""
        return self.pool.has_room()

    def stats(self) -> tuple[ServerStats, ...]:
        """Return what is known of each server; none is before the first execution."""
        return self.pool.stats()

    def close(self) -> None:
        """End its executions and connections; the servers go on."""
        self._is_closed = True
        self.pool.close()


class RemoteSandbox(ServersSandbox):
    """Runs each execution in a worker of a server (`langchain-ptc serve`), on another machine or on this one.

    Tools run here, as ever; code runs there, with as many walls as the server's machine has. Each execution goes
    to the freer of two servers with room; where none has room, it waits for its turn, and its wall limit
    begins with that. When a server is lost, an execution that has a journal (of a graph with a checkpointer)
    goes on at another one, without repeating a call; any other one ends with a report of the calls that were
    made. Connections are made when the first execution begins.

    Args:
        addresses: The servers, each as `"host:port"`, which must be one server and no balancer in front of
            several; or what connects to one in another way.
        token: What the servers were started with. Whoever has it may run code in their workers. Only servers
            that are reached by connectors alone may have none.
        tls: `True` for TLS with the certificates that this system trusts, or a context of your own (for
            example with a client certificate). `False` for none, where the network is trusted: the token
            and all data are then readable on the way. The default is TLS, except on the loopback interface.
        imports: Modules that the code may import in addition to the standard ones; each server must have
            been started with them.
        files: Give the code a folder of its own for each execution; see `ProcessSandbox`. Each server must have
            been started with folders of at least this size, in bytes: `langchain-ptc serve --files`.
        require: What must hold on the servers, see `ProcessSandbox`; the default is `kernel`.
        queue_seconds: How long an execution may wait for a worker. Then it raises `SandboxError`, which
            names each server and why it gave none.

    Raises:
        TypeError: A string was passed in place of a list.
        ValueError: An address is not `"host:port"`, there is none, or one needs a token; `queue_seconds` is
            not positive, `require` is not a level, or `files` is no size or needs another level.
    """

    def __init__(
        self,
        addresses: Sequence[str | Connector],
        *,
        token: str = "",
        tls: ssl.SSLContext | bool | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
        require: Require = "kernel",
        queue_seconds: float = 30.0,
    ) -> None:
        if isinstance(addresses, str):
            raise TypeError(f"addresses must be a list, got the string {addresses!r}")
        if not addresses:
            raise ValueError("addresses must not be empty")
        if not token and any(isinstance(address, str) for address in addresses):
            raise ValueError("token must not be empty: whoever can connect to a server needs it")
        super().__init__(imports, files, require, queue_seconds, token=token)
        for address in addresses:
            way = _connector(address, tls) if isinstance(address, str) else address
            self.pool.connectors[way.name] = way


def _connector(address: str, tls: ssl.SSLContext | bool | None) -> TcpConnector:
    if tls is None:
        tls = not is_loopback(address.rpartition(":")[0].strip("[]"))
    context = tls if isinstance(tls, ssl.SSLContext) else client_tls() if tls else None
    return TcpConnector(address, context)
