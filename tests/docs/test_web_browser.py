"""The web service of the examples in a real browser; skipped where there is none (see `browser.py`)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from examples.web.agent import SUGGESTIONS
from langchain_ptc import as_programmatic
from langchain_ptc.testing import ScriptedChatModel, tool_call_message
from tests.support import ROOT
from tests.support.browser import SECONDS, Browser, Page, find_browser, start_browser
from tests.support.web import served

pytestmark = [
    pytest.mark.skipif(find_browser() is None, reason="no Chromium (set BROWSER to its path)"),
    pytest.mark.slow,
]

HOSTILE = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
DECEPTIVE = "pay \u202e001\u202c eur\u200b"
LOOKS = [
    pytest.param(width, dark, id=f"{width}-{'dark' if dark else 'light'}")
    for width in (390, 1400)
    for dark in (False, True)
]
UNREADABLE = """(() => {
  const parse = color => { const p = color.match(/[\\d.]+/g).map(Number); return p.length < 4 ? [...p, 1] : p; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3]) return c; }
    return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(e => e.offsetParent && !e.disabled
      && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.className + ' ' + e.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""
"""Texts whose contrast is less than WCAG asks for (level AA)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the module; each page is a user of its own."""
    path = find_browser()
    assert path is not None
    with start_browser(path) as started:
        yield started


class Service:
    """`python -m examples.web` in a process, on a port of its own."""

    def __init__(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "examples.web", "--port", str(self.port)]
        environment = {**os.environ, "MODEL": ""}
        self._process = subprocess.Popen(
            [*command, "--data", str(self._data)], cwd=ROOT, env=environment
        )
        ends = time.monotonic() + SECONDS
        while True:
            try:
                urllib.request.urlopen(self.address).close()
                return
            except OSError:
                assert self._process.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(data: Path) -> Iterator[Service]:
    """Run the service."""
    service = Service(data)
    service.start()
    try:
        yield service
    finally:
        service.kill()


def ask(page: Page, text: str) -> None:
    """Type a message and send it."""
    page.wait("!document.querySelector('#send').disabled")
    page.evaluate(f"document.querySelector('#text').value = {text!r}")
    page.click("#send")


def approve_all(page: Page) -> None:
    """Approve everything, and send."""
    page.evaluate("document.querySelectorAll('.ask [value=approve]').forEach(one => one.click())")
    page.click(".ask button.main")


def test_two_users_at_once_and_servers_that_are_killed(browser: Browser, tmp_path: Path) -> None:
    """Runs of two users go on after a crash while one is written and one waits; a reload shows the same."""
    with running(tmp_path) as service:
        ada = browser.open(service.address)
        ben = browser.open(service.address, width=390, dark=True)
        ask(ada, SUGGESTIONS[1])
        ada.wait("document.querySelector('.ask')")
        ask(ben, SUGGESTIONS[0])
        ben.wait("document.querySelectorAll('.code > div').length > 5")  # it is being written
        service.kill()
        ada.wait("document.querySelector('#connection').textContent.startsWith('Reconnecting')")
        service.start()
        ben.wait(
            "[...document.querySelectorAll('.reply')].some(one => one.innerText.includes('1118.53'))"
        )
        assert "The server was restarted; the run goes on." in ben.text()
        assert "send_reminder" not in ben.text()
        before = ada.text()
        ada.go(ada.evaluate("location.href"))
        ada.wait("document.querySelector('.ask')")
        assert ada.text() == before
        ada.evaluate(
            "document.querySelectorAll('.ask fieldset')[0].querySelector('[value=reject]').click()"
        )
        ada.evaluate(
            "[...document.querySelectorAll('.ask fieldset')].slice(1).forEach(one => one.querySelector('[value=approve]').click())"
        )
        ada.click(".ask button.main")
        ada.wait("document.querySelector('.state.good')")
        shown = ada.text()
        assert shown.count("sent to ") >= 7
        assert "You answered: 1 \N{MULTIPLICATION SIGN} reject, 7" in shown
        assert not ada.evaluate("Boolean(document.querySelector('.ask'))")
        assert [
            one
            for one in ada.problems + ben.problems
            if "ERR_CONNECTION" not in one and "ERR_INCOMPLETE_CHUNKED" not in one
        ] == []


@tool
def read_page() -> str:
    """Return what somebody else wrote."""
    return HOSTILE


@tool
def send(text: str) -> str:
    """Send a text."""
    return text


CODE = f"""\
# {HOSTILE}
text = await read_page()
print(text)
print(await send({HOSTILE + DECEPTIVE!r}))
"""


def build(checkpointer: Any) -> Any:
    """Build an agent whose code, tools and answers all have HTML in them."""

    def reply(messages: Any) -> Any:
        if messages[-1].type == "tool":
            return HOSTILE
        return tool_call_message("run_code", {"code": CODE}, content=HOSTILE)

    tools = as_programmatic([read_page, send], interrupt_on={"send": True})
    return create_agent(ScriptedChatModel(script=reply), tools, checkpointer=checkpointer)


def in_browser(browser: Browser, folder: Path, look: Callable[[Page], None], **how: Any) -> None:
    """Look at a page of the hostile agent's service."""

    async def run() -> None:
        async with served(build, folder) as address:
            await asyncio.to_thread(lambda: look(browser.open(address + "/", **how)))

    asyncio.run(run())


def test_nothing_that_is_shown_becomes_html(browser: Browser, tmp_path: Path) -> None:
    """HTML in messages, code, arguments, output and answers is read as it is, and runs nothing."""

    def look(page: Page) -> None:
        ask(page, HOSTILE)
        page.wait("document.querySelector('.ask')")
        asked = page.evaluate("document.querySelector('.ask').innerText")
        assert "<img src=x" in asked
        assert "\\\\u202e001\\\\u202c" in asked or "\\u202e001\\u202c" in asked
        approve_all(page)
        page.wait("document.querySelector('.state.good')")
        page.wait("!document.querySelector('#send').disabled")
        shown = page.text()
        assert shown.count("<script>document.title=2</script>") >= 6
        assert "\u202e" not in shown
        assert page.evaluate("document.title") == "An agent that runs code"
        assert page.evaluate("document.querySelectorAll('img, main script').length") == 0
        assert page.problems == []

    in_browser(browser, tmp_path, look)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_page_is_readable(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    """Narrow and wide, light and dark, nothing is wider than the window or too faint to read."""

    def look(page: Page) -> None:
        ask(page, "Go. " + "a-long-word" * 30)
        page.wait("document.querySelector('.ask')")
        for kind in ("reject", "edit"):
            page.evaluate(f"document.querySelector('.ask [value={kind}]').click()")
            assert page.overflow() <= 0
            assert page.evaluate(UNREADABLE) == []
        page.evaluate("document.querySelector('.ask textarea').value = 'no JSON'")
        page.click(".ask button.main")
        page.wait("document.querySelector('.ask .bad').innerText.startsWith('Not valid JSON')")
        approve_all(page)
        page.wait("document.querySelector('.state.good')")
        assert page.overflow() <= 0
        assert page.evaluate(UNREADABLE) == []
        if folder := os.environ.get("PTC_PICTURES"):
            page.screenshot(
                Path(folder) / f"web-{width}-{'dark' if dark else 'light'}.png", full=True
            )

    in_browser(browser, tmp_path, look, width=width, dark=dark)
