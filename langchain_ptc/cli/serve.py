"""The work of `serve`: a server of workers, its token, its probes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_ptc.cli.output import INTERRUPTED, SUCCESS, CommandError, read_text, write_error
from langchain_ptc.sandbox.host.connection import Require
from langchain_ptc.sandbox.remote.health import Health
from langchain_ptc.sandbox.remote.messages import RemoteProtocolError
from langchain_ptc.sandbox.remote.server import MIN_TOKEN_LENGTH, Server
from langchain_ptc.sandbox.remote.sockets import is_loopback, server_tls
from langchain_ptc.sandbox.remote.streams import Multiplexer, PipeEnd
from langchain_ptc.wording import count

TOKEN_VARIABLE = "LANGCHAIN_PTC_TOKEN"  # noqa: S105  # its name


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `serve` was given."""

    host: str
    port: int
    token_file: Path | None
    certificate: Path | None
    key: Path | None
    client_ca: Path | None
    is_plain: bool
    """Whether a connection without TLS may leave this machine."""
    imports: Sequence[str]
    max_workers: int | None
    files_bytes: int
    require: Require | None
    health_port: int | None
    drain_seconds: float
    is_stdio: bool
    """Whether it serves one host on standard input and output, and listens nowhere."""
    lines: bool
    """Whether only text passes there."""


def serve_workers(options: ServeOptions) -> int:
    """Serve until a signal ends it; return the exit code.

    Raises:
        CommandError: The options cannot be used, or the address cannot be listened on.
        SandboxError: Workers cannot be started or confined here.
    """
    if options.is_stdio:
        token, tls = None, None  # whoever started it holds the only way in
    else:
        token, tls = _read_token(options), _read_tls(options)
    _show_log()
    try:
        server = Server(
            token=token,
            host=options.host,
            port=options.port,
            tls=tls,
            imports=options.imports,
            max_workers=options.max_workers,
            files=options.files_bytes or False,
            require=options.require,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    return asyncio.run(
        _serve_stream(server, options) if options.is_stdio else _serve(server, options)
    )


def _read_token(options: ServeOptions) -> str:
    is_here = is_loopback(options.host)
    if options.token_file is not None:
        token = read_text(options.token_file, "--token-file ").strip()
    else:
        token = os.environ.get(TOKEN_VARIABLE, "")
    if token:
        if len(token) < MIN_TOKEN_LENGTH:
            raise CommandError(f"the token must have at least {MIN_TOKEN_LENGTH} characters")
        return token
    if options.token_file is not None:
        raise CommandError(f"--token-file {str(options.token_file)!r} is empty")
    if not is_here:
        raise CommandError(
            f"--host {options.host} is reached from other machines, and there is no token: set "
            f"{TOKEN_VARIABLE}, or pass --token-file"
        )
    token = secrets.token_urlsafe(32)
    write_error(f"{TOKEN_VARIABLE}={token}")
    return token


def _read_tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.certificate is None:
        if options.key is not None or options.client_ca is not None:
            raise CommandError("--tls-key and --client-ca need --tls-cert")
        if not options.is_plain and not is_loopback(options.host):
            raise CommandError(
                f"--host {options.host} is reached from other machines, and without TLS they send the "
                "token and all data in clear: pass --tls-cert, or --insecure-plain where the network "
                "itself encrypts"
            )
        return None
    try:
        return server_tls(options.certificate, options.key, options.client_ca)
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


async def _serve(server: Server, options: ServeOptions) -> int:
    log = logging.getLogger("langchain_ptc.server")
    stops: asyncio.Queue[str] = asyncio.Queue()
    health = Health(server)
    try:
        await server.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stops.put_nowait, number.name)
        if options.health_port is not None:
            port = await health.start(options.host, options.health_port)
            log.info("health and metrics on port %d", port)
        log.info("%d workers on %s port %d", server.capacity, *server.address)
        log.info("%s: no more workers are given", await stops.get())
        again = asyncio.ensure_future(stops.get())
        draining = asyncio.ensure_future(server.drain(options.drain_seconds))
        await asyncio.wait({again, draining}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        draining.cancel()
        left = len(server.executions)
        log.info("ending%s", f", with {count(left, 'execution')}" if left else "")
        return SUCCESS if draining.done() and not draining.cancelled() else INTERRUPTED
    except OSError as error:
        raise CommandError(
            f"--host {options.host} --port {options.port} cannot be listened on: {error.strerror}"
        ) from error
    finally:
        health.close()
        await server.close()


async def _serve_stream(server: Server, options: ServeOptions) -> int:
    """Serve the host on standard input and output until it closes them, or until a signal ends it."""
    source, target = _take_stdio()
    async with server:
        stream = Multiplexer(source, target, server.meet, lines=options.lines)
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
