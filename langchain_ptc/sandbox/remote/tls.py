"""TLS on a non-blocking socket, with the face of a plain one."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from langchain_ptc.sandbox.remote.sockets import ready

_RECORD_BYTES = 16 * 1024
"""The most that a record of TLS holds."""


def server_tls(
    certificate: str | Path, key: str | Path | None = None, client_ca: str | Path | None = None
) -> ssl.SSLContext:
    """Return the context of a server.

    Args:
        certificate: File with its certificate and those in between, in PEM.
        key: File with its private key, not encrypted; None if the file of the certificate has it.
        client_ca: File with the certificates of who signs those of hosts; None asks hosts for none.

    Raises:
        OSError: A file cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # to read one takes Python longer than a certificate
    context.load_cert_chain(certificate, key, password="")  # no prompt for one
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(ca: str | Path | None = None) -> ssl.SSLContext:
    """Return the context of a host.

    Args:
        ca: File with the certificates of who signs those of servers, in PEM; None takes the system's.

    Raises:
        OSError: The file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class TlsSocket:
    """A socket whose handshake is over; see `Socket`.

    `recv` takes one record at a time. It must be asked for as much as a record holds (16 KiB): what is left of
    one is in memory, where no selector sees it. `send` must be given the same bytes again, and may be given
    more, after it has raised `BlockingIOError`.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._begun = b""
        """What TLS has encrypted, and the socket below has not taken all of."""

    def fileno(self) -> int:
        """Return the descriptor of the socket below; -1 once it is closed."""
        return self._sock.fileno()

    def recv(self, size: int, /) -> bytes:
        """Return what has come; empty at the end.

        Raises:
            BlockingIOError: Nothing has come.
            OSError: The connection is broken.
        """
        if size < _RECORD_BYTES:
            raise ValueError(f"recv must be asked for {_RECORD_BYTES} bytes at least, not {size}")
        try:
            return self._sock.recv(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Send what is taken at once, and return how much that is.

        Raises:
            BlockingIOError: Nothing is taken.
            OSError: The connection is broken.
        """
        sent = 0
        with memoryview(data) as view:
            while sent < len(view):
                piece = self._begun or bytes(view[sent : sent + _RECORD_BYTES])
                try:
                    self._sock.send(piece)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    self._begun = piece
                    break
                self._begun = b""
                sent += len(piece)
        if not sent and len(data):
            raise BlockingIOError
        return sent

    def shutdown(self, how: int, /) -> None:
        """End one direction of the connection below."""
        socket.socket.shutdown(self._sock, how)  # that of `SSLSocket` would go on without TLS

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option of the connection below."""
        self._sock.setsockopt(level, option, value)

    def close(self) -> None:
        """Close it; idempotent."""
        self._sock.close()


async def secure(
    sock: socket.socket, context: ssl.SSLContext, *, hostname: str | None = None
) -> TlsSocket:
    """Make a connected, non-blocking socket one of TLS; it is closed if that fails.

    Args:
        sock: Of no use afterwards.
        context: That of a server if `hostname` is None, else that of a host.
        hostname: Which server it should be.

    Raises:
        OSError: The other end speaks no TLS, or shows no certificate that is trusted.
    """
    wrapped = context.wrap_socket(
        sock,
        server_side=hostname is None,
        server_hostname=hostname,
        do_handshake_on_connect=False,
    )
    try:
        while True:
            try:
                wrapped.do_handshake()
                return TlsSocket(wrapped)
            except ssl.SSLWantReadError:
                await ready(wrapped)
            except ssl.SSLWantWriteError:
                await ready(wrapped, to_write=True)
    except BaseException:
        wrapped.close()
        raise
