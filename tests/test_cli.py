"""The command line, run as a person runs it."""

import json
import os
import subprocess
import sys

import pytest

from langchain_ptc.cli import main, render_diagnosis
from langchain_ptc.sandbox.doctor import Attack, Diagnosis, Layer, Level

linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m langchain_ptc`."""
    return subprocess.run(
        [sys.executable, "-m", "langchain_ptc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        **options,
    )


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
        "layers": (Layer(name="seccomp", told="on"),),
        "attacks": attacks,
        "problem": "",
        "advice": (),
    }
    return Diagnosis(**{**made, **fields})


STOPPED = Attack(name="fork", stopped=True, told="refused (EPERM)")
MISSED = Attack(name="open a file", stopped=False, told="NOT STOPPED")


@linux
def test_doctor():
    """`doctor` prints levels, layers and attacks as plain text, and leaves with 0 where all is well."""
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "seccomp                       on\n" in done.stdout
    assert "open a file                   refused (EPERM)\n" in done.stdout
    assert done.stdout.endswith("All is well: ProcessSandbox() runs code at level 'kernel'.\n")
    assert done.stdout.isascii()


@linux
def test_doctor_as_json():
    """`doctor --json` prints one JSON object with everything that the text has."""
    done = run("doctor", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["healthy"] is True
    assert {"name": "seccomp", "told": "on"} in told["layers"]
    assert all(attack["stopped"] for attack in told["attacks"])
    assert set(told) == {*Diagnosis.__slots__, "healthy"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "usage: langchain-ptc"),
        (("docter",), "invalid choice: 'docter'"),
        (("doctor", "--jsno"), "unrecognized arguments: --jsno"),
    ],
    ids=["nothing", "unknown", "option"],
)
def test_misuse(arguments, told):
    """What is typed wrong gets the usage on stderr and exit code 2, and no traceback."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "usage: langchain-ptc" in done.stderr
    assert "Traceback" not in done.stderr


def test_help(capsys):
    """The help names the command and its exit codes."""
    assert main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out
    assert main(["doctor", "--help"]) == 0
    assert "Exits with 0" in capsys.readouterr().out


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
            timeout=50,
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("told", "healthy", "verdict"),
    [
        (diagnosis(attacks=(STOPPED,)), True, "All is well"),
        (diagnosis(attacks=(STOPPED, MISSED)), False, "1 of 2 attacks were not stopped"),
        (diagnosis(kernel=False, attacks=(STOPPED,)), False, "does not have level 'kernel'"),
        (diagnosis(), False, "Not well"),
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
