"""`langchain-ptc serve`: what it refuses, what it serves, what it tells, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from langchain_ptc.cli import main
from tests.support.certificates import Certificates, certificates  # noqa: F401
from tests.support.raw_host import TOKEN, dialled, hello, running, welcomed
from tests.support.raw_host import m as messages
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers are forked")
OUTSIDE = ["--host", "0.0.0.0"]
FOREVER = "while True: pass"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        pytest.param(OUTSIDE, "there is no token: set LANGCHAIN_PTC_TOKEN", id="no-token"),
        pytest.param([*OUTSIDE, "--token-file", "good"], "without TLS they send", id="no-tls"),
        pytest.param(["--host", "sandbox", "--token-file", "good"], "without TLS", id="name"),
        pytest.param(["--token-file", "empty"], "is empty", id="empty"),
        pytest.param(["--token-file", "short"], "at least 16 characters", id="short"),
        pytest.param(["--token-file", "missing"], "cannot be read", id="missing"),
        pytest.param(["--tls-key", "good"], "need --tls-cert", id="key-alone"),
        pytest.param(["--client-ca", "good"], "need --tls-cert", id="ca-alone"),
        pytest.param(["--tls-cert", "good"], "cannot be used", id="no-certificate"),
        pytest.param(["--stdio", "--token-file", "good"], "listens nowhere", id="stdio-token"),
        pytest.param(["--stdio", "--health-port", "0"], "listens nowhere", id="stdio-health"),
        pytest.param(["--lines"], "--lines is for --stdio", id="lines"),
        pytest.param(["--import", "os.system"], "--import", id="import"),
        pytest.param(["--require", "much"], "--require", id="require"),
        pytest.param(["--max-workers", "0"], "--max-workers", id="workers"),
    ],
)
def test_refused(
    arguments: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What would be unsafe, or cannot be meant, is refused before anything listens."""
    monkeypatch.delenv("LANGCHAIN_PTC_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": TOKEN, "empty": "\n", "short": "secret"}.items():
        Path(name).write_text(text)
    assert main(["serve", *arguments]) == 2
    assert why in " ".join(re.sub(r"[│╭╰╮╯─]", "", capsys.readouterr().err).split())


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""

    def find(self, pattern: str) -> str:
        """Read its log up to a line, and return the group of the pattern."""
        for line in self.process.stderr:
            self.log += line
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(f"{pattern!r} is not in the log:\n{self.log}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        self.log += self.process.stderr.read()
        return self.process.wait()


@contextmanager
def serving(*arguments: str, token: str = TOKEN) -> Iterator[Served]:
    """Start a server."""
    process = subprocess.Popen(
        [sys.executable, "-m", "langchain_ptc", "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LANGCHAIN_PTC_TOKEN": token},
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def get(port: str, path: str) -> tuple[int, str]:
    """Return status and text of an answer over HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_it_serves_and_drains() -> None:
    """A program runs; probes and figures tell of it; SIGTERM lets it end, and the log has no token."""
    with serving("--health-port", "0", "--max-workers", "3") as served:
        health = await asyncio.to_thread(served.find, r"metrics on port (\d+)")
        address = (
            "127.0.0.1",
            int(await asyncio.to_thread(served.find, r"3 workers on \S+ port (\d+)")),
        )
        async with (
            welcomed(address) as host,
            running(host, address, "print(fetch())") as execution,
        ):
            assert (await asyncio.to_thread(get, health, "/healthz"))[0] == 200
            assert (await asyncio.to_thread(get, health, "/readyz"))[0] == 200
            assert (await asyncio.to_thread(get, health, "/"))[0] == 404
            _, metrics = await asyncio.to_thread(get, health, "/metrics")
            for line in ("capacity 3", "hosts 1", "executions_total 1", "wrong_tokens_total 0"):
                assert f"\nlangchain_ptc_{line}\n" in metrics
            served.process.send_signal(signal.SIGTERM)
            assert await host.expect(messages.Room) == messages.Room(0)
            assert (await asyncio.to_thread(get, health, "/readyz"))[0] == 503
            while not execution.protocol.collect():
                await execution.step()
            execution.answer(1, 1)
            assert (await execution.to_end()).output == "1\n"
        log = await asyncio.to_thread(served.process.stderr.read)
        assert served.process.wait() == 0
        assert "SIGTERM" in log
        assert TOKEN not in served.log + log


async def test_second_signal_ends_it() -> None:
    """Who does not want to wait for executions sends a second signal; its exit code says so."""
    with serving() as served:
        address = "127.0.0.1", int(await asyncio.to_thread(served.find, r"port (\d+)"))
        async with welcomed(address) as host, running(host, address, FOREVER) as execution:
            served.process.send_signal(signal.SIGINT)
            await host.expect(messages.Room)
            assert await asyncio.to_thread(served.end) == 130
            await execution.to_end()


def test_token_is_made_once() -> None:
    """Without a token one is made and printed, in the form in which it is set, and never again."""
    with serving(token="") as served:
        token = served.find(r"^LANGCHAIN_PTC_TOKEN=(\S{40,})$")
        served.find(r"port (\d+)")
        assert served.end() == 0
        assert served.log.count(token) == 1


def test_port_in_use() -> None:
    """A port that another program has is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving("--port", port) as served:
            assert served.process.wait() == 2
            assert f"--port {port} cannot be listened on" in served.process.stderr.read()


async def test_tls(certificates: Certificates) -> None:  # noqa: F811
    """It serves TLS with the certificate that it was given, and to hosts that have one."""
    signed = certificates.server
    files = ["--tls-cert", str(signed.certificate), "--tls-key", str(signed.key)]
    with serving(*files, "--client-ca", str(certificates.ca)) as served:
        address = "127.0.0.1", int(await asyncio.to_thread(served.find, r"port (\d+)"))
        context = ssl.create_default_context(cafile=certificates.ca)
        context.load_cert_chain(certificates.host.certificate, certificates.host.key)
        async with welcomed(address, ssl=context):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_killed_server_leaves_no_workers() -> None:
    """Where the server is killed, its workers end with it, whatever they do."""
    with serving() as served:
        address = "127.0.0.1", int(await asyncio.to_thread(served.find, r"port (\d+)"))
        async with welcomed(address) as host, running(host, address, FOREVER) as execution:
            family = descendants(served.process.pid)
            assert len(family) >= 2
            served.process.kill()
            await execution.to_end()
        gone = lambda: not any(is_running(pid) for pid in family)  # noqa: E731
        assert await asyncio.to_thread(wait_for, gone)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that they have."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def is_running(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_greets_nobody_with_a_wrong_token() -> None:
    """A wrong token in a real process: the host hears of it and the log does not hold it."""
    with serving() as served:
        port = int(await asyncio.to_thread(served.find, r"port (\d+)"))
        wrong = "a wrong token, of some length"
        async with dialled(("127.0.0.1", port)) as raw:
            raw.send(hello(wrong))
            assert (await raw.expect(messages.Goodbye)).why == "the token is wrong"
        assert await asyncio.to_thread(served.end) == 0
        assert wrong not in served.log
