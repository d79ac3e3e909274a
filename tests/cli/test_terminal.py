"""Control characters of models, tools and servers never reach a terminal raw."""

import logging
import os
import pty
import subprocess
import sys
import warnings

import pytest

from tests.support import ROOT
from tests.support.cli_project import Project, open_project
from tests.support.terminals import EVIL, raw

TOOLS = f"""
from langchain_core.tools import tool
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

EVIL = {EVIL!r}

@tool
def look(k: str) -> str:
    "Look."
    raise ValueError(EVIL)

tools = [look]
coder = ScriptedChatModel(script=lambda _: tool_call_message("run_code", {{"code": "# " + EVIL[:-2] + "\\nprint(1)"}}))

def refuse(_):
    raise PermissionError(EVIL)

refused = ScriptedChatModel(script=refuse)
"""


@pytest.fixture
def project(tmp_path, monkeypatch, capfd):
    for project in open_project(tmp_path, monkeypatch, capfd):
        project.write("evil.py", TOOLS)
        yield project


PROGRAMS = {
    "error-of-a-tool": "look('x')",
    "error-of-the-code": f"raise ValueError({EVIL!r})",
    "line-of-the-code": f"1/0  # {EVIL[:-2]}",
    "argument": f"look({EVIL!r})",
    "group": f"raise ExceptionGroup({EVIL!r}, [ValueError({EVIL!r})])",
    "syntax": f"x = = {EVIL[:4]!r}",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_control_characters_on_a_terminal(project: Project, code):
    """What goes wrong is written to standard error with signs in their place."""
    project.write("program.py", code)
    shown = project.call("run", "program.py", "--tools", "evil:tools")
    assert shown.code == 1
    assert raw(shown.err) == []
    assert "Error" in shown.err or "line 1" in shown.err


def test_what_a_model_says(project: Project):
    """The code and the error of a model are shown with signs, too."""
    shown = project.call("ask", "q", "--tools", "evil:tools", "--model", "evil:coder")
    assert (shown.code, shown.out) == (0, "1\n")
    assert "⟨U+001B⟩]0;pwn⟨U+0007⟩" in shown.err
    assert raw(shown.err) == []
    shown = project.call("ask", "q", "--tools", "evil:tools", "--model", "evil:refused")
    assert raw(shown.err) == []
    assert "PermissionError" in shown.err


def test_what_tools_warn_of_and_log(project: Project):
    """Warnings, and what is logged without a handler, are written with signs; nothing is left changed."""
    project.write(
        "noisy.py",
        f"""
import logging, warnings
from langchain_core.tools import tool

@tool
def look(k: str) -> str:
    "Look."
    warnings.warn({EVIL!r})
    logging.getLogger("noisy").warning({EVIL!r})
    return k

tools = [look]
""",
    )
    project.write("program.py", "print(look('x'))")
    before = warnings.showwarning, logging.lastResort
    command = [sys.executable, "-m", "langchain_ptc", "run", "program.py", "--tools", "noisy:tools"]
    root = str(ROOT)
    done = subprocess.run(
        command, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": root}
    )
    errors = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b"x\n")
    assert errors.count("⟨U+001B⟩[2J") == 2
    assert raw(errors) == []
    assert project.call("run", "program.py", "--tools", "evil:tools").code == 1
    assert (warnings.showwarning, logging.lastResort) == before


def test_output_is_exact_in_a_pipe_and_safe_on_a_terminal(project: Project):
    """A pipe gets the bytes of the program; a terminal gets signs for what would control it."""
    project.write("program.py", f"print({EVIL!r})")
    shown = project.call("run", "program.py", "--tools", "evil:tools")
    assert shown.out == f"{EVIL}\n"
    command = [sys.executable, "-m", "langchain_ptc", "run", "program.py", "--tools", "evil:tools"]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        running = subprocess.Popen(
            command,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(theirs)
        written = b""
        try:
            while part := terminal.read(4096):
                written += part
        except OSError:  # Linux says so when the other end is closed
            pass
        assert running.wait() == 0
    text = written.decode().replace("\r\n", "\n")
    assert "⟨U+001B⟩[2J⟨U+001B⟩]0;pwn⟨U+0007⟩" in text
    assert raw(text) == []
