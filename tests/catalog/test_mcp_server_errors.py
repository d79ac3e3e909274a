"""What MCP servers write to their standard error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from langchain_ptc.catalog.mcp_servers import server_errors
from tests.support.terminals import EVIL, raw


def test_what_a_server_writes_to_its_standard_error(monkeypatch):
    """On a terminal the standard error of a server over stdio is written with signs."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        with server_errors() as errors:
            script = f"import sys; sys.stderr.write({EVIL!r} + 'the end')"
            subprocess.run([sys.executable, "-X", "utf8", "-c", script], stderr=errors, check=True)
        written = b""
        while b"the end" not in written:
            written += screen.read(4096)
    assert "⟨U+001B⟩[2J⟨U+001B⟩]0;pwn⟨U+0007⟩" in written.decode()
    assert raw(written.decode()) == []
