"""Probes and figures over HTTP, as an honest and another client asks for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from langchain_ptc.sandbox.remote import server as server_module
from langchain_ptc.sandbox.remote.server import Health, Server
from tests.support.raw_host import TOKEN


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of the probes of a server that was not started: they need none of it."""
    health = Health(Server(token=TOKEN))
    yield await health.start("127.0.0.1", 0)
    health.close()


async def ask(port: int, request: bytes) -> bytes:
    """Send bytes, and return all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthz HTTP/1.1", "200 OK"),
        ("HEAD /readyz HTTP/1.1", "200 OK"),
        ("GET /metrics HTTP/1.0", "200 OK"),
        ("GET /secrets HTTP/1.1", "404 Not Found"),
        ("POST /healthz HTTP/1.1", "405 Method Not Allowed"),
        ("nonsense", "405 Method Not Allowed"),
    ],
)
async def test_answers(port: int, request_line: str, status: str) -> None:
    """Each request has one answer, and the connection ends."""
    answer = await ask(port, f"{request_line}\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}\r\n")
    length = int(head.partition("Content-Length: ")[2].split()[0])
    assert len(body) == (0 if request_line.startswith("HEAD") else length)


async def test_figures_are_in_the_format_of_prometheus(port: int) -> None:
    """Every line is a comment or a name of ours with a number, each name described and of one type."""
    answer = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    lines = answer.decode().partition("\r\n\r\n")[2].splitlines()
    figures = [line for line in lines if not line.startswith("#")]
    for line in figures:
        name, _, value = line.partition(" ")
        assert name.startswith("langchain_ptc_")
        assert float(value) >= 0
        assert [x.split()[1] for x in lines if x.split()[2:3] == [name]] == ["HELP", "TYPE"]
    assert len(lines) == 3 * len(figures)


@pytest.mark.parametrize("sent", [b"GET /healthz", b"x" * 100_000, b""])
async def test_no_request(port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never ends a request is hung up on."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.1)
    with contextlib.suppress(ConnectionError):
        assert await ask(port, sent) == b""


async def test_too_many_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections beyond a number are closed at once."""
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    assert await ask(port, b"") == b""
    for _, writer in held:
        writer.close()
