"""What the doctor finds out: here, where the walls are off, and where a container takes some away."""

import os
import subprocess
import sys
import textwrap

import pytest

from langchain_ptc.sandbox import Diagnosis, diagnose
from tests.support.waiting import SECONDS

linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")
ONCE = {"namespaces", "empty_root", "landlock", "capabilities", "seccomp"}


@pytest.fixture(scope="module")
def here() -> Diagnosis:
    """What the doctor says of this machine."""
    return diagnose()


@pytest.fixture(scope="module")
def bare() -> Diagnosis:
    """What the doctor says where no wall was put up."""
    return diagnose(walls=False)


@linux
def test_this_machine_is_well(here):
    """On a kernel that has every layer, all are on, every attack is stopped, and nothing is advised."""
    assert {layer.name for layer in here.layers} == ONCE
    assert [layer for layer in here.layers if layer.detail != "on"] == []
    assert [attack for attack in here.attacks if not attack.stopped] == []
    assert [(level.name, level.available) for level in here.levels] == [
        ("kernel", True),
        ("process", True),
        ("inprocess", True),
    ]
    assert (here.required, here.problem, here.advice) == ("kernel", "", ())
    assert here.healthy


@linux
def test_each_attack_says_how_it_was_stopped(here):
    """An attack on the kernel names the error, one that looks for leaks says that there are none."""
    told = {attack.detail for attack in here.attacks}
    assert told == {"refused (EPERM)", "there is nothing to find"}
    assert len(here.attacks) >= 8


@linux
def test_the_attacks_are_real(bare):
    """Where there are no walls the attacks succeed, and the doctor says so."""
    stopped = {attack.name for attack in bare.attacks if attack.stopped}
    assert {attack.name for attack in bare.attacks} - stopped >= {
        "open a file",
        "open a socket",
        "fork",
        "execute a program",
        "signal the host",
        "signal its parent",
        "make memory executable",
    }
    assert all(a.detail.startswith("NOT STOPPED") for a in bare.attacks if not a.stopped)
    assert {"read the host's environment", "use the host's descriptors"} <= stopped
    assert not bare.healthy
    assert bare.advice


def test_nothing_is_left_in_the_environment(here):
    """The secret that the worker must not find is gone from the host afterwards."""
    assert not [name for name in os.environ if "CANARY" in name]


LOCKED_DOWN = """
import errno, platform, struct, sys
from langchain_ptc.sandbox.worker.confinement import SystemCallFilter
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF
ALLOW, REFUSE, SET_SECCOMP = 0x7FFF0000, 0x50000 | errno.EPERM, 22
def do(what, value, if_so=0, if_not=0):
    return struct.pack("=HBBI", what, if_so, if_not, value)
unshare, prctl = {{"x86_64": (272, 157), "aarch64": (97, 167)}}[platform.machine()]
rules = [do(LOAD, 0)]
if {unshare}:
    rules += [do(EQUAL, unshare, 0, 1), do(RETURN, REFUSE)]
if {seccomp}:
    rules += [do(EQUAL, prctl, 0, 3), do(LOAD, 16), do(EQUAL, SET_SECCOMP, 0, 1), do(RETURN, REFUSE)]
SystemCallFilter(b"".join([*rules, do(RETURN, ALLOW)])).install()
from langchain_ptc.cli import main
sys.exit(main(["doctor"]))
"""


def doctor_where(*, unshare: bool, seccomp: bool) -> subprocess.CompletedProcess[str]:
    """Run the doctor where the kernel refuses some calls, as a container's profile makes it do."""
    code = textwrap.dedent(LOCKED_DOWN.format(unshare=unshare, seccomp=seccomp))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )


@linux
def test_without_namespaces_it_is_well_and_says_what_is_missing():
    """Docker's default profile refuses `unshare`: the filter still stops all, and advice is given."""
    done = doctor_where(unshare=True, seccomp=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "namespaces                    refused by the kernel: [Errno 1] unshare" in done.stdout
    assert "empty_root                    needs namespaces" in done.stdout
    assert "NOT STOPPED" not in done.stdout
    assert "- namespaces: second walls" in done.stdout
    assert "Healthy" in done.stdout
    assert done.stderr == ""


@linux
def test_without_a_filter_it_is_not_well():
    """Where the kernel refuses the filter, the exit code is 1 and the step and the way out are named."""
    done = doctor_where(unshare=True, seccomp=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "seccomp                       refused by the kernel: [Errno 1] seccomp" in done.stdout
    assert "kernel                        no" in done.stdout
    assert "process                       yes" in done.stdout
    assert "NOT STOPPED" in done.stdout
    assert "--security-opt seccomp=PROFILE.json" in done.stdout
    assert "does not have level 'kernel'" in done.stdout
    assert done.stderr == ""


@linux
def test_where_no_worker_starts_it_says_why():
    """A machine on which no process can be started gets a message and advice, and no traceback."""
    # an interpreter that is embedded in another program does not know where it lies
    code = "import sys; sys.executable = ''; from langchain_ptc.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "problem: the parent of workers could not be started: " in done.stdout
    assert "process                       no" in done.stdout
    assert "what to do\n  - no worker could be started" in done.stdout
    assert done.stderr == ""


WITHOUT_UNIX = """
import asyncio, json, os, select, signal, sys, time
import langgraph.prebuilt, langgraph.types, langchain_core.tools, multiprocessing, RestrictedPython
gone = {
    os: "fork register_at_fork pidfd_open geteuid getppid setsid wait4 sysconf",
    select: "poll epoll",
    signal: "SIGXCPU SIGKILL SIGUSR1 SIGSTOP SIGSYS pidfd_send_signal setitimer",
    time: "pthread_getcpuclockid",
}
for module, names in gone.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
import langchain_ptc
from langchain_ptc.sandbox.api import Program
for name in langchain_ptc.__all__:
    getattr(langchain_ptc, name)
def run(sandbox):
    session = sandbox.session()
    return asyncio.run(session.run(Program(code="import asyncio\\nprint(1)"), lambda calls: None))
with langchain_ptc.InProcessSandbox() as sandbox:
    print(run(sandbox).output.strip())
try:
    with langchain_ptc.ProcessSandbox() as sandbox:
        run(sandbox)
except langchain_ptc.SandboxError as error:
    print(error)
from langchain_ptc.cli import main
sys.exit(main(["doctor"]))
"""


def test_a_system_that_cannot_fork():
    """Without the parts of Unix (Windows), all but `ProcessSandbox` works, and that says what to do."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "1"
    assert lines[1].startswith("ProcessSandbox forks its workers, which ")
    assert "inprocess                     yes" in done.stdout
    assert "WSL 2" in lines[-3]
