"""The system call filter, as the kernel gets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from langchain_ptc.sandbox.worker import confinement
from tests.escapes.attacks_sweep import ANSWERING, WITH_FILES


def test_the_list_is_the_one_that_the_filter_has() -> None:
    """A call that is added to the filter must be added to the list here, and so be thought about."""
    own = {**confinement.ALLOWED["x86_64"], **confinement.MMAP_LIKE["x86_64"]}
    assert own == ANSWERING
    assert confinement.FILE_CALLS["x86_64"] == WITH_FILES


def test_both_machines_have_the_same_list() -> None:
    """What x86-64 has and aarch64 has not are calls that aarch64 never had."""
    of = {machine: set(calls) for machine, calls in confinement.ALLOWED.items()}
    assert of["x86_64"] - of["aarch64"] == {"poll"}
    assert of["aarch64"] <= of["x86_64"]


def test_both_machines_have_the_same_list_for_files() -> None:
    """What x86-64 has in addition are the older calls, which aarch64 never had."""
    of = {machine: set(calls) for machine, calls in confinement.FILE_CALLS.items()}
    older = {"stat", "lstat", "access", "rename", "mkdir", "rmdir", "unlink", "chmod"}
    assert of["x86_64"] - of["aarch64"] == older
    assert of["aarch64"] <= of["x86_64"]


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_fits_the_kernel(machine: str, files: bool) -> None:
    """A program of classic BPF is whole instructions, at most 4,096 of them, and ends in a refusal."""
    program = confinement.build_filter(machine, files=files)
    assert len(program) % 8 == 0
    assert len(program) // 8 <= 4096
    assert program[-8:] == confinement.REFUSED_ANSWER


_FOLDER_ALONE = """
import ctypes, os, sys
sys.path[:] = {path!r}
from langchain_ptc.sandbox.worker import confinement
confinement.enter_namespaces()
confinement.empty_root()
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
confinement.enter_folder(2**20)
libc = ctypes.CDLL(None)
assert os.getcwd() == "/files"
for _ in range(9):
    os.chdir("..")
assert sorted(os.listdir(".")) == ["files", "tmp"], os.listdir(".")
assert libc.mount(b"proc", b"/tmp", b"proc", 0, None) < 0
assert libc.mount(None, b"/", None, 32, b"size=1g") < 0
assert libc.umount2(b"/", 2) < 0
assert libc.chroot(b"/tmp") < 0
assert libc.setns(0, 0) < 0
for make in (lambda: os.mknod("/d", 0o020666, 0x103), lambda: open("/etc/passwd")):
    try:
        make()
    except OSError:
        continue
    raise AssertionError
open("/files/a", "w").close()
"""
_HALF_A_WORLD = """
import errno, os, signal, sys
sys.path[:] = {path!r}
from langchain_ptc.sandbox.worker import confinement
confinement._map_users = lambda *_: {failure}
report = {{}}
assert not confinement.install_layer("namespaces", confinement.enter_namespaces, report)
if "unshare: " in report["namespaces"]:
    sys.exit(report["namespaces"])
assert "uid_map: Operation not permitted" in report["namespaces"], report
for _ in range(2):
    if not (pid := os.fork()):
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
status = open("/proc/self/status").read()
assert int(status.partition("CapEff:")[2].split()[0], 16) == 0
"""
_LANDLOCK_ALONE = """
import os, sys
sys.path[:] = {path!r}
from langchain_ptc.sandbox.worker import confinement
confinement.restrict_by_landlock({folder!r})
os.chdir({folder!r})
with open("a", "w") as file:
    file.write("x")
os.mkdir("b")
os.rename("a", "b/c")
assert os.listdir("b") == ["c"]
os.truncate("b/c", 0)
os.remove("b/c")
os.rmdir("b")
refused = [
    lambda: open("/etc/passwd"),
    lambda: open("../outside", "w"),
    lambda: os.listdir("/"),
    lambda: os.rename("../kept", "kept"),
    lambda: os.symlink("a", "s"),
    lambda: os.mkfifo("p"),
    lambda: os.execv("/bin/true", ["true"]),
]
for number, attempt in enumerate(refused):
    try:
        attempt()
    except PermissionError:
        continue
    raise AssertionError(number)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")
@pytest.mark.parametrize("wall", [_FOLDER_ALONE, _LANDLOCK_ALONE], ids=["root", "landlock"])
def test_a_wall_of_the_folder_alone(wall: str, tmp_path: Path) -> None:
    """Each of the two walls around the folder keeps everything else out of reach, without a filter."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "kept").touch()
    code = wall.format(path=sys.path, folder=str(folder))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "landlock: " in ran.stderr or "unshare: " in ran.stderr:
        pytest.skip(ran.stderr.splitlines()[-1])
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")
@pytest.mark.parametrize(
    ("failure", "code"), [("errno.EPERM", 0), ("os.kill(os.getpid(), signal.SIGKILL)", 1)]
)
def test_a_world_that_cannot_be_completed(failure: str, code: int) -> None:
    """Where the kernel refuses part of it, workers are forked without; a parent of which part was killed ends."""
    program = _HALF_A_WORLD.format(path=sys.path, failure=failure)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    if "unshare: " in ran.stderr:
        pytest.skip(ran.stderr.splitlines()[-1])
    assert ran.returncode == code, ran.stderr
    assert not ran.stderr
