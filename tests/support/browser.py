"""A real browser for tests: Chromium without a window, driven by its DevTools protocol.

Chromium is not a dependency: tests that need it are skipped where there is none (Debian:
`apt-get install chromium`).
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

SECONDS = 60
"""How long a test waits for what must happen."""


def find_browser() -> str | None:
    """Return the path of Chromium or Chrome; None if there is none. The variable `BROWSER` names another."""
    names = (os.environ.get("BROWSER"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Page:
    """A tab with cookies of its own."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    @property
    def problems(self) -> list[str]:
        """What the browser reported: exceptions, refused scripts, failed requests."""
        return self._browser.problems.get(self._session, [])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        return self._browser.call(method, session=self._session, **params)

    def show(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window, and whether the user prefers dark pages."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url.split('#', maxsplit=1)[0])})")
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited.

        Raises:
            AssertionError: It raised.
        """
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", details).get("description", details))
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until an expression is true, and return its value.

        Raises:
            AssertionError: It did not become true.
        """
        return self.evaluate(
            f"""new Promise((resolve, reject) => {{
                const started = performance.now();
                const look = () => {{
                    const value = (() => {{ try {{ return {condition}; }} catch {{ return null; }} }})();
                    if (value) resolve(value);
                    else if (performance.now() - started > {SECONDS * 1000})
                        reject(new Error({json.dumps("never: " + condition)} + document.body.innerText));
                    else setTimeout(look, 20);
                }};
                look();
            }})"""
        )

    def text(self) -> str:
        """Return the text of the page as a person sees it."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, selector: str) -> None:
        """Click an element."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Write a picture of what is seen, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(answer["data"]))


class Browser:
    """A running browser.

    Args:
        line: The connection to it.
    """

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.problems: dict[str, list[str]] = {}

    def open(self, url: str, *, width: int = 1400, dark: bool = False) -> Page:
        """Open a page as a new user."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, session["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.show(width=width, dark=dark)
        page.go(url)
        return page

    def call(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol.

        Raises:
            AssertionError: The browser refused it.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        self._line.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._line.recv(timeout=2 * SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        problems = self.problems.setdefault(event.get("sessionId", ""), [])
        if event["method"] == "Runtime.exceptionThrown":
            problems.append(str(event["params"]["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            problems.append(event["params"]["entry"]["text"])


@contextmanager
def start_browser(path: str) -> Iterator[Browser]:
    """Start a browser; it ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            path,
            "--headless=new",
            "--no-sandbox",  # root has none; it opens nothing but the pages of the tests
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            found = next(
                line for line in process.stderr if line.startswith("DevTools listening on")
            )
            threading.Thread(target=process.stderr.read, daemon=True).start()
            try:
                with connect(found.split()[-1], max_size=None) as line:
                    yield Browser(line)
            finally:
                process.kill()
