"""The console blocks of `docs/command-line.md` run, in order, and show what the page says.

A line that begins with `$ ` is typed; what stands below it is what is shown. Times differ from run to run
and are not compared. A block marked `no-run` is only held to name commands that there are.
"""

import io
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from langchain_ptc.cli import main
from tests.cli.test_cli import COMMANDS
from tests.docs.test_docs import find_blocks
from tests.support import ROOT
from tests.support.cli_project import open_project

PAGE = ROOT / "docs" / "command-line.md"
TEXT = PAGE.read_text("utf-8")
FENCE = re.compile(r"^```console( no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"\d+(\.\d+)? (ms|s)\b")


@pytest.fixture
def project(tmp_path, monkeypatch, capfd):
    """A folder with the file of the page, which is the current one."""
    for made in open_project(tmp_path, monkeypatch, capfd):
        [block] = find_blocks(TEXT, PAGE.name)
        made.write("my_tools.py", block.code)
        yield made


def type_in(line, last_code):
    """Type one line; return what is shown and the exit code."""
    if line == "echo $?":
        return f"{last_code}\n", last_code
    words = shlex.split(line)
    given = ""
    if "|" in words:
        assert words[0] == "echo"
        given, words = f"{words[1]}\n", words[words.index("|") + 1 :]
    assert words[0] == "langchain-ptc", line
    shown = io.StringIO()
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given.encode()))
    try:
        with redirect_stdout(shown), redirect_stderr(shown):
            code = main(words[1:])
    finally:
        sys.stdin = before
    return shown.getvalue(), code


def test_console_blocks(project):
    """Every line that the page shows typed gives what the page shows below it."""
    code, ran = 0, 0
    for block in FENCE.finditer(TEXT):
        if block[1]:
            continue
        for session in re.split(r"^\$ ", block[2], flags=re.MULTILINE)[1:]:
            line, _, expected = session.partition("\n")
            if line.startswith("cat "):
                project.write(line.removeprefix("cat "), expected)
                continue
            shown, code = type_in(line, code)
            assert TIME.sub("N", shown) == TIME.sub("N", expected), line
            ran += 1
    assert ran >= 10


def test_every_command_is_named():
    """The page has a section for each command, and types no command that there is not."""
    typed = re.findall(r"(?:^\$ |\| )langchain-ptc (\w+)", TEXT, flags=re.MULTILINE)
    assert set(typed) == set(COMMANDS)
    assert {f"## {name}" for name in COMMANDS} <= set(TEXT.splitlines())
