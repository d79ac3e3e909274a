"""The command line as a whole: help, version, completion, pipes; and `doctor`."""

import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_ptc.cli import main
from langchain_ptc.cli.output import render_diagnosis
from langchain_ptc.sandbox import Attack, Diagnosis, Layer, Level
from tests.support.cli_project import call_process as run
from tests.support.waiting import SECONDS

linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")


def diagnosis(*, kernel: bool = True, attacks: tuple[Attack, ...] = (), **fields) -> Diagnosis:
    """Make a diagnosis of a machine that this test does not run on."""
    made = {
        "system": "Linux 6.0 x86_64",
        "python": "CPython 3.11.7",
        "user": "root",
        "required": "kernel",
        "levels": (
            Level(name="kernel", available=kernel, meaning="k"),
            Level(name="process", available=True, meaning="p"),
        ),
        "layers": (Layer(name="seccomp", detail="on"),),
        "attacks": attacks,
        "problem": "",
        "advice": (),
    }
    return Diagnosis(**{**made, **fields})


STOPPED = Attack(name="fork", stopped=True, detail="refused (EPERM)")
MISSED = Attack(name="open a file", stopped=False, detail="NOT STOPPED")


@linux
def test_doctor():
    """`doctor` prints levels, layers and attacks as plain text, and leaves with 0 where all is well."""
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "seccomp                       on\n" in done.stdout
    assert "open a file                   refused (EPERM)\n" in done.stdout
    assert done.stdout.endswith("Healthy: ProcessSandbox() runs code at level 'kernel'.\n")
    assert done.stdout.isascii()


@linux
def test_doctor_as_json(capsys):
    """`doctor --json` prints one JSON object with everything that the text has."""
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is True
    assert {"name": "seccomp", "detail": "on"} in told["layers"]
    assert all(attack["stopped"] for attack in told["attacks"])
    assert set(told) == {*Diagnosis.__slots__, "healthy"}


@linux
def test_reader_that_leaves():
    """A reader that closes the pipe early gets no traceback in its terminal."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "langchain_ptc", "doctor"],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("told", "healthy", "verdict"),
    [
        (diagnosis(attacks=(STOPPED,)), True, "Healthy"),
        (diagnosis(attacks=(STOPPED, MISSED)), False, "1 of 2 attacks were not stopped"),
        (diagnosis(kernel=False, attacks=(STOPPED,)), False, "does not have level 'kernel'"),
        (diagnosis(), False, "Not healthy"),
    ],
    ids=["well", "missed", "level", "nothing-tried"],
)
def test_verdict(told, healthy, verdict):
    """It is well only if the level holds and every attack was tried and stopped."""
    assert told.healthy is healthy
    assert verdict in render_diagnosis(told).splitlines()[-1]


def test_problem_and_advice_are_shown():
    """What went wrong and what to do stand in the text, one to a line."""
    text = render_diagnosis(diagnosis(problem="no room", advice=("do this", "then that")))
    assert "problem: no room\n\nwhat to do\n  - do this\n  - then that\n" in text


# --- what is the same for all commands ------------------------------------------------------------------

COMMANDS = ["run", "ask", "stubs", "serve", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(capsys, command):
    """Each command says what it does and shows what can be typed, and the whole lists it."""
    assert main(["--help"]) == 0
    assert f" {command} " in capsys.readouterr().out
    assert main([command, "-h"]) == 0
    shown = capsys.readouterr()
    assert f"langchain-ptc {command}" in shown.out.partition("Examples:")[2]
    assert shown.err == ""
    if command in ("run", "ask"):
        assert "Exit codes: 0 " in shown.out


def test_version(capsys):
    """`--version` names the package's version."""
    assert main(["--version"]) == 0
    version = importlib.metadata.version("langchain-ptc")
    assert capsys.readouterr().out == f"langchain-ptc {version}\n"


def test_misuse(capsys):
    """What is typed wrong gets the usage on stderr and exit code 2."""
    assert main(["docter"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0].strip() == "Usage: langchain-ptc [OPTIONS] COMMAND [ARGS]..."
    assert "No such command 'docter'. Did you mean 'doctor'?" in shown.err


def test_shell_completion(capsys, monkeypatch):
    """A shell that asks gets the commands and the limits to choose from."""
    monkeypatch.setenv("_LANGCHAIN_PTC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "langchain-ptc d")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert main([]) == 0
    assert capsys.readouterr().out.split() == ["doctor"]
    monkeypatch.setenv("COMP_WORDS", "langchain-ptc run --limit wall")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert main([]) == 0
    assert capsys.readouterr().out.split() == ["wall_seconds="]


@linux
@pytest.mark.parametrize("arguments", [["--version"], ["run", "-"], ["run", "-", "--json"]])
def test_a_full_disk(capsys, monkeypatch, arguments):
    """Output that cannot be written is a failure, told in one line."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"print(1)")))
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 1
    told = "langchain-ptc: the output cannot be written: No space left on device\n"
    assert capsys.readouterr().err == told


def test_no_color(capsys, monkeypatch):
    """On a terminal the help has colours, and with NO_COLOR it has none."""
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    colour = re.compile(r"\x1b\[(\d+;)*3\dm")
    main(["--help"])
    assert colour.search(capsys.readouterr().out)
    monkeypatch.setenv("NO_COLOR", "1")
    main(["--help"])
    assert not colour.search(capsys.readouterr().out)
