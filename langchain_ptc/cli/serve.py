"""The work of `serve`: a server of workers, its token, its probes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_ptc.cli.output import INTERRUPTED, SUCCESS, CommandError, read_text, write_error
from langchain_ptc.errors import count
from langchain_ptc.sandbox.remote.messages import RemoteProtocolError
from langchain_ptc.sandbox.remote.server import Health, Server
from langchain_ptc.sandbox.remote.sockets import is_loopback, server_tls
from langchain_ptc.sandbox.remote.streams import Multiplexer, PipeEnd

TOKEN_VARIABLE = "LANGCHAIN_PTC_TOKEN"  # noqa: S105  # its name


def serve_workers(
    options: Mapping[str, Any], *, health_port: int | None, drain_seconds: float, lines: bool
) -> int:
    """Serve until a signal ends it; return the exit code.

    Args:
        options: For `Server`. Without a token it serves the one host on standard input and output, and
            does not listen: only the process that started it can connect.
        health_port: Where it answers probes, if it does.
        drain_seconds: How long executions may go on after a signal.
        lines: Whether only text passes on standard input and output.

    Raises:
        CommandError: The options cannot be used, or the address cannot be listened on.
        SandboxError: Workers cannot be started or confined here.
    """
    try:
        server = Server(**options)
    except ValueError as error:
        raise CommandError(str(error)) from error
    _show_log()
    if options["token"] is None:
        return asyncio.run(_serve_stream(server, lines=lines))
    return asyncio.run(_serve(server, options["host"], health_port, drain_seconds))


def read_token(host: str, file: Path | None) -> str:
    """Return the token that hosts must know: of a file, of the environment, or a new one that is printed.

    Raises `CommandError` if it cannot be read, or there is none and other machines can connect.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if file is not None:
        token = read_text(file, "--token-file ").strip()
        if not token:
            raise CommandError(f"--token-file {str(file)!r} is empty")
    if token:
        return token
    if not is_loopback(host):
        raise CommandError(
            f"--host {host} is reached from other machines, and there is no token: set "
            f"{TOKEN_VARIABLE}, or pass --token-file"
        )
    token = secrets.token_urlsafe(32)
    write_error(f"{TOKEN_VARIABLE}={token}")
    return token


def read_tls(
    host: str, certificate: Path | None, key: Path | None, client_ca: Path | None, *, is_plain: bool
) -> ssl.SSLContext | None:
    """Return what secures connections; `is_plain` says that those without TLS may leave this machine.

    Raises `CommandError` if a file cannot be used, or one is missing.
    """
    if certificate is None:
        if key is not None or client_ca is not None:
            raise CommandError("--tls-key and --client-ca need --tls-cert")
        if not is_plain and not is_loopback(host):
            raise CommandError(
                f"--host {host} is reached from other machines, and without TLS they send the "
                "token and all data in clear: pass --tls-cert, or --insecure-plain where the network "
                "itself encrypts"
            )
        return None
    try:
        return server_tls(certificate, key, client_ca)
    except OSError as error:
        raise CommandError(
            f"--tls-cert, --tls-key or --client-ca cannot be used: {error}"
        ) from error


def _show_log() -> None:
    """Write what the server logs to standard error, a line each, without control characters."""
    handler = logging.Handler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.emit = lambda record: write_error(handler.format(record))  # type: ignore[method-assign]
    log = logging.getLogger("langchain_ptc")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


async def _serve(server: Server, host: str, health_port: int | None, drain_seconds: float) -> int:
    log = logging.getLogger("langchain_ptc.server")
    stops: asyncio.Queue[str] = asyncio.Queue()
    health = Health(server)
    try:
        await server.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stops.put_nowait, number.name)
        if health_port is not None:
            port = await health.start(host, health_port)
            log.info("health and metrics on port %d", port)
        log.info("%d workers on %s port %d", server.capacity, *server.address)
        log.info("%s: no more workers are given", await stops.get())
        again = asyncio.ensure_future(stops.get())
        draining = asyncio.ensure_future(server.drain(drain_seconds))
        await asyncio.wait({again, draining}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        draining.cancel()
        left = len(server.executions)
        log.info("ending%s", f", with {count(left, 'execution')}" if left else "")
        return SUCCESS if draining.done() and not draining.cancelled() else INTERRUPTED
    except OSError as error:
        raise CommandError(
            f"--host {host} --port {server.address[1]} cannot be listened on: {error.strerror}"
        ) from error
    finally:
        health.close()
        await server.close()


async def _serve_stream(server: Server, *, lines: bool) -> int:
    """Serve the host on standard input and output until it closes them, or until a signal ends it."""
    source, target = _take_stdio()
    async with server:
        stream = Multiplexer(source, target, server.meet, lines=lines)
        running = asyncio.ensure_future(stream.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            pass
        except RemoteProtocolError as error:
            raise CommandError(f"standard input is not what a host sends: {error}") from error
    return SUCCESS


def _take_stdio() -> tuple[PipeEnd, PipeEnd]:
    """Take standard input and output for the stream alone: what else is written goes to standard error."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return PipeEnd(source), PipeEnd(target)
