"""Whether a server lives and takes executions, and its figures: plain HTTP, for probes and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from langchain_ptc.sandbox.remote.server import Server

REQUEST_SECONDS = 5.0  # for one request and its answer
_MAX_REQUEST_BYTES = 8 * 1024
MAX_CONNECTIONS = 32
_COUNTERS = {
    "executions": "Workers given.",
    "refused": "Requests for a worker that were refused.",
    "wall_limits": "Executions that were ended because their wall limit had come.",
    "bytes_to_workers": "Bytes that hosts sent to workers.",
    "bytes_from_workers": "Bytes that workers sent to hosts.",
    "connections_refused": "Connections that broke the protocol, TLS included, or may not ask for workers.",
    "connections_dropped": "Connections closed because too many had not said who they are.",
    "wrong_tokens": "Connections with a wrong token.",
}


class Health:
    """Answers `/healthz`, `/readyz` and `/metrics`; it takes no token, and says nothing but figures.

    Args:
        server: The server that it tells of.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open = 0
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._listening = await asyncio.start_server(
            self._answer, host, port, limit=_MAX_REQUEST_BYTES
        )
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._respond(request))
                    await writer.drain()
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            writer.close()

    def _respond(self, request: bytes) -> bytes:
        method, path, *_ = [*request.split(b" ", 2), b"", b""]
        status, text = "200 OK", "ok\n"
        if method not in (b"GET", b"HEAD"):
            status, text = "405 Method Not Allowed", "GET only\n"
        elif path == b"/readyz" and self._server.is_draining:
            status, text = "503 Service Unavailable", "draining\n"
        elif path == b"/metrics":
            text = "".join(f"{line}\n" for line in self._metrics())
        elif path not in (b"/healthz", b"/readyz"):
            status, text = "404 Not Found", "there are /healthz, /readyz and /metrics\n"
        body = text.encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else body)

    def _metrics(self) -> Iterator[str]:
        server = self._server
        stats = server.pool.stats()
        yield from _metric("capacity", "gauge", "Workers given at a time.", server.capacity)
        yield from _metric("room", "gauge", "Workers that would be given now.", server.room())
        yield from _metric("running", "gauge", "Executions that have a worker.", stats.running)
        yield from _metric("idle", "gauge", "Workers that wait for an execution.", stats.idle)
        yield from _metric("hosts", "gauge", "Hosts that are connected.", len(server.hosts))
        yield from _metric("draining", "gauge", "1 if no workers are given.", server.is_draining)
        for name, text in _COUNTERS.items():
            yield from _metric(f"{name}_total", "counter", text, server.counts[name])
        seconds = round(server.cpu_seconds, 3)
        text = "Processor time of workers that ended by themselves or by a limit."
        yield from _metric("cpu_seconds_total", "counter", text, seconds)


def _metric(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield f"# HELP langchain_ptc_{name} {text}"
    yield f"# TYPE langchain_ptc_{name} {kind}"
    yield f"langchain_ptc_{name} {value + 0}"
