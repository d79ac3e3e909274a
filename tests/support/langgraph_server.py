"""A real local LangGraph server, over HTTP: `langgraph dev`, with its detector of blocking calls on.

It keeps its threads in a folder when it stops; each start is another process that reads them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from langgraph_sdk import get_sync_client


class Server:
    """A server of a project, which is stopped and started again.

    Attributes:
        url: Where it is.
        client: A client of it.
        effects: The file in which its tools note what they do.
        log: The file that it logs to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.effects = folder / "effects"
        self.effects.touch()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None
        self.url = ""

    def start(self) -> Any:
        """Start it and return a client of it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        variables = {
            "EFFECTS": str(self.effects),
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "NO_COLOR": "1",
        }
        options = ["--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "langgraph_cli", "dev", *options],
                cwd=self.folder,
                env={**os.environ, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{port}"
        self.client = get_sync_client(url=self.url)
        self._await_ready()
        return self.client

    def _await_ready(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, self.read_log()
            with contextlib.suppress(Exception):
                if self.client.assistants.search():
                    return
            time.sleep(0.2)
        raise AssertionError(f"the server did not start: {self.read_log()}")

    def stop(self) -> None:
        """Let it keep its threads and end; kill what is left of it."""
        if self.client is not None:
            self.client.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def read_effects(self) -> list[tuple[str, str]]:
        """Return what happened, and in which process."""
        lines = self.effects.read_text().splitlines()
        return [tuple(line.rsplit(" ", 1)) for line in lines]  # type: ignore[misc]

    def await_effects(self, count: int) -> list[str]:
        """Return what happened, when so much has."""
        end = time.monotonic() + 20
        while len(self.read_effects()) < count and time.monotonic() < end:
            time.sleep(0.05)
        return [what for what, _ in self.read_effects()]

    def read_log(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text()[-4000:]
