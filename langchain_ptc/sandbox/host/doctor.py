"""What holds a worker in on this machine, found out by trying; for `langchain-ptc doctor`.

The layers are what the parent of workers reports. The attacks are run in its workers with the language policy
off, so that the kernel alone has to stop them; each is harmless where it is not stopped.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import platform
import secrets
import sys
import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.api import Done, Limits, Program
from langchain_ptc.sandbox.host.pool import WorkerPool
from langchain_ptc.sandbox.host.process import WorkerSession

_LIMITS = Limits(wall_seconds=5, cpu_seconds=3)
_CANARY = "LANGCHAIN_PTC_CANARY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of confinement, and whether this machine has it."""

    name: str
    """`kernel`, `process` or `inprocess`."""
    available: bool
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of confinement and the result."""

    name: str
    detail: str
    """`on`, or why it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack and the result."""

    name: str
    stopped: bool
    detail: str
    """How it was stopped, for example `refused (EPERM)`; or `NOT STOPPED` and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything that was found out."""

    system: str
    python: str
    user: str
    required: str
    """The level that `ProcessSandbox()` asks for on this machine."""
    levels: tuple[Level, ...]
    layers: tuple[Layer, ...]
    attacks: tuple[Attack, ...]
    problem: str
    """Why no worker could be started, or an empty string."""
    advice: tuple[str, ...]
    """What to do, most important first."""

    @property
    def healthy(self) -> bool:
        """Whether the required level holds and every attack was stopped."""
        holds = any(level.available for level in self.levels if level.name == self.required)
        return holds and bool(self.attacks) and all(attack.stopped for attack in self.attacks)


def diagnose(*, walls: bool = True) -> Diagnosis:
    """Try this machine out: start workers, look at them, attack from inside them.

    Args:
        walls: Whether the walls are put up; without them the attacks show that they are real.
    """
    reported: dict[str, str] = {}
    attacks: list[Attack] = []
    problem = ""
    with _canary() as secret:
        pool = WorkerPool((), waiting=1, walls=walls, policy=False)
        try:
            done = _run(pool, "print('ready')")
            if done.output:
                reported = dict(pool.stats().layers)
                attacks = [_try(pool, name, code) for name, code in _attacks(secret).items()]
            else:
                why = done.failure.message if done.failure else "it printed nothing"
                problem = f"a worker was started and could not run code: {why}"
        except SandboxError as error:
            problem = str(error)
        finally:
            pool.close()
    layers = tuple(Layer(name=name, detail=detail) for name, detail in reported.items())
    required = "kernel" if sys.platform == "linux" else "process"
    return Diagnosis(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        user=_name_user(),
        required=required,
        levels=(
            Level(
                name="kernel",
                available=reported.get("seccomp") == "on",
                meaning="a process whose system calls the kernel filters; for untrusted code",
            ),
            Level(
                name="process",
                available=not problem,
                meaning="a process with limits; the language policy is the wall",
            ),
            Level(
                name="inprocess",
                available=True,
                meaning="a thread of the host; for trusted code and tests, no boundary",
            ),
        ),
        layers=layers,
        attacks=tuple(attacks),
        problem=problem,
        advice=tuple(_advise(reported, required=required, problem=problem)),
    )


def _name_user() -> str:
    if not hasattr(os, "geteuid"):
        return "unknown"
    return "root" if os.geteuid() == 0 else f"ordinary (uid {os.geteuid()})"


@contextmanager
def _canary() -> Iterator[str]:
    """Put a secret into the environment of this process, where a worker must not find it."""
    secret = os.environ[_CANARY] = secrets.token_hex(16)
    try:
        yield secret
    finally:
        del os.environ[_CANARY]


# --- the attacks -----------------------------------------------------------------------------------


def _attacks(secret: str) -> dict[str, str]:
    """Return the attacks: Python that raises if it is stopped."""
    anonymous = int(getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0))
    return {
        "open a file": f"open({sys.executable!r}, 'rb').read(1)",
        "open a socket": "import socket\nsocket.socket()",
        "fork": "import os\nif os.fork() == 0:\n    os._exit(0)",
        "execute a program": (
            f"import os\nos.execv({sys.executable!r}, [{sys.executable!r}, '-S', '-c', ''])"
        ),
        "signal the host": f"import os\nos.kill({os.getpid()}, 0)",
        "signal its parent": "import os\nos.kill(os.getppid(), 0)",
        "raise its own limits": (
            "import errno, resource\n"
            "most = resource.RLIM_INFINITY\n"
            "try:\n"
            "    resource.setrlimit(resource.RLIMIT_CPU, (most, most))\n"
            "except ValueError:\n"
            "    raise PermissionError(errno.EPERM, 'setrlimit')"
        ),
        "make memory executable": (
            "import ctypes\n"
            "c = ctypes.CDLL(None, use_errno=True)\n"
            "c.mmap.restype = ctypes.c_ssize_t\n"
            f"if c.mmap(None, 4096, 7, {anonymous}, -1, 0) == -1:\n"
            "    raise OSError(ctypes.get_errno(), 'mmap')"
        ),
        "read the host's environment": (
            f"import os\nif {secret!r} not in os.environ.values():\n    raise LookupError"
        ),
        "use the host's descriptors": (
            "import os\n"
            "found = []\n"
            "for number in range(256):\n"
            "    try:\n"
            "        os.read(number, 0)\n"
            "        found.append(number)\n"
            "    except OSError:\n"
            "        pass\n"
            "if found == [3]:\n"
            "    raise LookupError"
        ),
    }


_ATTEMPT = """
try:
{attack}
except OSError as error:
    print("refused", error.errno)
except LookupError:
    print("nothing")
else:
    print("done")
"""


def _try(pool: WorkerPool, name: str, attack: str) -> Attack:
    """Run one attack in a worker of its own."""
    done = _run(pool, _ATTEMPT.format(attack=textwrap.indent(attack, "    ")))
    match done.output.split():
        case ["refused", number]:
            name_of_error = errno.errorcode.get(int(number), f"error {number}")
            return Attack(name=name, stopped=True, detail=f"refused ({name_of_error})")
        case ["nothing"]:
            return Attack(name=name, stopped=True, detail="there is nothing to find")
        case ["done"]:
            return Attack(name=name, stopped=False, detail="NOT STOPPED")
    problem = done.failure.message if done.failure else "no clear answer"
    if "SIGSYS" in problem:
        return Attack(name=name, stopped=True, detail="the kernel ended the worker (SIGSYS)")
    return Attack(name=name, stopped=False, detail=f"NOT STOPPED: {problem}")


def _run(pool: WorkerPool, code: str) -> Done:
    """Run code in a worker; it calls no tools."""

    async def run() -> Done:
        program = Program(code=code, tools=(), limits=_LIMITS)
        return await WorkerSession(pool, "any").run(program, lambda _: None)

    with ThreadPoolExecutor(1) as thread:  # this one may have an event loop
        return thread.submit(asyncio.run, run()).result()


# --- advice ----------------------------------------------------------------------------------------


def _advise(layers: Mapping[str, str], *, required: str, problem: str) -> Iterator[str]:
    """Say what to do, most important first."""
    if problem and not hasattr(os, "fork"):
        yield (
            "workers are forked, which this system cannot do: use Linux (on Windows: WSL 2 or a "
            "container), or InProcessSandbox() for code that you trust"
        )
    elif problem:
        yield (
            "no worker could be started: see the message above. Look at the limit of processes "
            "(ulimit -u, pids.max of the container) and at free memory"
        )
    elif required != "kernel":
        yield (
            "this system has no system call filter: the language policy and the limits of the "
            "process are the only walls. Run code that you do not trust on Linux, in a container "
            "or a virtual machine"
        )
    else:
        if layers.get("seccomp") != "on":
            yield (
                "seccomp: on x86_64 and aarch64, in a container, use a profile that allows "
                "prctl(PR_SET_SECCOMP): the default ones of Docker and Kubernetes do. With a profile of your "
                "own: docker run --security-opt seccomp=PROFILE.json. On a kernel of your own: "
                "CONFIG_SECCOMP_FILTER=y"
            )
            yield (
                "until then, ProcessSandbox(require='process') runs code with the language policy and "
                "the limits of the process as the only walls: for code that you trust"
            )
        if layers.get("namespaces", "on") != "on":
            yield (
                "namespaces: second walls. In a container, use a seccomp profile that allows unshare, "
                "mount, umount2 and pivot_root to its processes (docker run --security-opt "
                "seccomp=PROFILE.json); on a machine, look at sysctl user.max_user_namespaces and, on "
                "Ubuntu, kernel.apparmor_restrict_unprivileged_userns"
            )
        if layers.get("landlock", "on") != "on":
            yield (
                "landlock: a second wall; Linux 5.13 and later have it, if `landlock` is listed in "
                "/sys/kernel/security/lsm. In a container, its seccomp profile must allow "
                "landlock_create_ruleset and landlock_restrict_self"
            )
