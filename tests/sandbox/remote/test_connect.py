"""How a host reaches a server over the network."""

from __future__ import annotations

import socket
import ssl

import pytest

from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.server import Server
from langchain_ptc.sandbox.remote.sockets import (
    Outbox,
    TcpConnector,
    client_tls,
    receive,
    server_tls,
)
from tests.support.certificates import Certificates
from tests.support.raw_host import TOKEN, hello


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_connect(certificates: Certificates, is_secure: bool) -> None:
    """A connection is a non-blocking socket, with or without TLS, and a second one reaches the same server."""
    signed = certificates.server
    tls = server_tls(signed.certificate, signed.key) if is_secure else None
    async with Server(token=TOKEN, tls=tls) as server:
        to = TcpConnector(
            f"localhost:{server.address[1]}", client_tls(certificates.ca) if is_secure else None
        )
        sock = await to.connect()
        Outbox(sock).send(m.encode(hello()))
        (welcome,) = m.Decoder().feed(await receive(sock))
        assert isinstance(welcome, m.Welcome)
        (await to.connect(to_same=True)).close()
        sock.close()


async def test_unreachable() -> None:
    """Where nothing listens, or whoever does is not trusted, the error says so, and nothing stays open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await TcpConnector(f"127.0.0.1:{port}", None).connect()
    async with Server(token=TOKEN) as server:  # it speaks no TLS
        to = TcpConnector(f"127.0.0.1:{server.address[1]}", ssl.create_default_context())
        with pytest.raises(OSError, match=r".+"):
            await to.connect()


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536"])
def test_no_address(address: str) -> None:
    """An address without a host or a port is refused before anything is connected."""
    with pytest.raises(ValueError, match="an address is host:port"):
        TcpConnector(address, None)
