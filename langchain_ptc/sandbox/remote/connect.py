"""Ways from a host to a server: over the network here; through one stream of bytes in `streams`."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import Any, Protocol

from langchain_ptc.sandbox.host.workers import Socket
from langchain_ptc.sandbox.remote.sockets import prepare
from langchain_ptc.sandbox.remote.tls import secure


class Connector(Protocol):
    """Connects to one server as often as it is asked to, on one event loop."""

    name: str
    """What errors call the server."""

    async def connect(self, *, to_same: bool = False) -> Socket:
        """Return a new connection.

        Args:
            to_same: Whether it must reach the server that the last connection without it has reached: a name
                may stand for several.

        Raises:
            OSError: The server cannot be reached, or is not the one that it should be.
        """

    async def close(self) -> None:
        """Connect no more; end what it has started for that."""


class TcpConnector:
    """Connects over TCP.

    Args:
        address: `host:port`, `[address]:port` for IPv6.
        tls: What to secure connections with, see `client_tls`; None leaves them plain.

    Raises:
        ValueError: The address has no host, or no port.
    """

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise ValueError(f"an address is host:port, got {address!r}")
        self.name = address
        self._host, self._port, self._tls = host.strip("[]"), int(port), tls
        self._found: tuple[int, Any] | None = None

    async def connect(self, *, to_same: bool = False) -> Socket:
        """Return a new connection; see `Connector`."""
        if to_same and self._found is not None:
            return await self._reach(*self._found)
        problem: OSError | None = None
        for family, _, _, _, address in await asyncio.get_running_loop().getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        ):
            try:
                sock = await self._reach(family, address)
            except OSError as error:
                problem = problem or error
            else:
                self._found = family, address
                return sock
        raise problem or OSError(f"{self.name} has no address")

    async def _reach(self, family: int, address: Any) -> Socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            prepare(sock)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock if self._tls is None else await secure(sock, self._tls, hostname=self._host)

    async def close(self) -> None:
        """Nothing is kept."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for sure, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
