"""TLS on the connections between hosts and servers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.server import Server
from langchain_ptc.sandbox.remote.sockets import TlsSocket, client_tls, prepare, secure, server_tls
from tests.support.certificates import Certificates, new_authority
from tests.support.raw_host import TOKEN, dialled, hello, running, welcomed


@pytest.fixture
async def pair(certificates: Certificates) -> tuple[TlsSocket, TlsSocket]:
    """Both ends of a connection whose handshake is over, each way with little room in the kernel."""
    ends = socket.socketpair()
    for end in ends:
        prepare(end)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024)
    of_server = server_tls(certificates.server.certificate, certificates.server.key)
    server, host = await asyncio.gather(
        secure(ends[0], of_server),
        secure(ends[1], client_tls(certificates.ca), hostname="127.0.0.1"),
    )
    yield server, host
    server.close()
    host.close()


async def test_nothing_stays_where_no_selector_sees_it(pair: tuple[TlsSocket, TlsSocket]) -> None:
    """A reader that reads once each time its selector says so gets all bytes, in pieces of any size."""
    server, host = pair
    chance = random.Random(16)
    data = chance.randbytes(3_000_000)
    sent, got = 0, bytearray()
    readable, writable = select.poll(), select.poll()
    readable.register(host.fileno(), select.POLLIN)
    writable.register(server.fileno(), select.POLLOUT)
    while len(got) < len(data):
        if sent < len(data) and writable.poll(0):
            with contextlib.suppress(BlockingIOError):
                sent += server.send(data[sent : sent + chance.choice([1, 100, 20_000, 200_000])])
        elif readable.poll(1_000):
            with contextlib.suppress(BlockingIOError):
                got += host.recv(64 * 1024)
        else:
            raise AssertionError(
                f"{len(data) - len(got)} bytes are missing, and the selector waits"
            )
    assert got == data


async def test_what_was_begun_is_sent_once(pair: tuple[TlsSocket, TlsSocket]) -> None:
    """After `BlockingIOError` the same bytes are given again, also with more behind them."""
    server, host = pair
    unsent, sent = bytearray(b"a" * 100_000), 0
    while True:
        try:
            sent += (now := server.send(unsent))
            del unsent[:now]
        except BlockingIOError:
            break
    unsent += b"b" * 100_000
    got = bytearray()
    while len(got) < 200_000:
        with contextlib.suppress(BlockingIOError):
            got += host.recv(64 * 1024)
        with contextlib.suppress(BlockingIOError):
            del unsent[: server.send(unsent)]
    assert got == b"a" * 100_000 + b"b" * 100_000


async def test_small_reads_are_refused(pair: tuple[TlsSocket, TlsSocket]) -> None:
    """A read that could leave a part of a record in memory is an error of who calls."""
    with pytest.raises(ValueError, match="16384 bytes at least"):
        pair[0].recv(1024)


async def test_end_without_a_word(pair: tuple[TlsSocket, TlsSocket]) -> None:
    """A connection that is closed ends as a plain one does."""
    server, host = pair
    host.close()
    assert host.fileno() == -1
    with contextlib.suppress(BrokenPipeError):  # of OpenSSL 3.6, which answers
        assert server.recv(64 * 1024) == b""


async def test_an_execution_over_tls(certificates: Certificates) -> None:
    """Programs run over TLS, with more data than a record holds."""
    tls = server_tls(certificates.server.certificate, certificates.server.key)
    options = {"ssl": client_tls(certificates.ca)}
    async with (
        Server(token=TOKEN, tls=tls) as server,
        welcomed(server.address, **options) as host,
        running(host, server.address, "print('x' * 900_000)", **options) as execution,
    ):
        assert len((await execution.to_end()).output) == 900_001
        await host.expect(m.Ended)


async def test_server_that_no_one_vouches_for(certificates: Certificates, tmp_path: Path) -> None:
    """A host does not talk to a server whose certificate another authority signed, or for another name."""
    tls = server_tls(certificates.server.certificate, certificates.server.key)
    other = new_authority(tmp_path / "other")
    async with Server(token=TOKEN, tls=tls) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await asyncio.open_connection(*server.address, ssl=client_tls(other.ca))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asyncio.open_connection(
                *server.address, ssl=client_tls(certificates.ca), server_hostname="example.org"
            )


async def test_host_without_a_certificate(certificates: Certificates, tmp_path: Path) -> None:
    """A server that asks hosts for certificates serves those that its authority signed, and no others."""
    tls = server_tls(certificates.server.certificate, certificates.server.key, certificates.ca)
    other = new_authority(tmp_path / "other").sign("host", "DNS:host")
    async with Server(token=TOKEN, tls=tls) as server:
        known, foreign, nobody = (client_tls(certificates.ca) for _ in range(3))
        known.load_cert_chain(certificates.host.certificate, certificates.host.key)
        foreign.load_cert_chain(other.certificate, other.key)
        async with welcomed(server.address, ssl=known):
            pass
        for context in (foreign, nobody):
            async with dialled(server.address, ssl=context) as raw:
                raw.send(hello())
                assert await raw.next() is None
        assert not server.hosts


async def test_plain_host_at_a_server_with_tls(certificates: Certificates) -> None:
    """Who speaks no TLS is not welcome."""
    tls = server_tls(certificates.server.certificate, certificates.server.key)
    async with Server(token=TOKEN, tls=tls) as server, dialled(server.address) as raw:
        raw.send(hello())
        with contextlib.suppress(ConnectionResetError):
            while await raw.reader.read(100):
                pass
        assert not server.hosts


def test_a_key_that_is_encrypted(tmp_path: Path, certificates: Certificates) -> None:
    """No password is asked for on a terminal."""
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run([*command, "-in", str(certificates.server.key)], check=True, capture_output=True)
    with pytest.raises(OSError, match=r".+"):
        server_tls(certificates.server.certificate, locked)
