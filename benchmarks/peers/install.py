"""The others, and an environment of its own for each, made on first use and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A sandbox that is measured."""

    name: str
    title: str
    protects: str
    """What stands between the code and the host, and what its authors say of it."""
    language: str = "Python"
    requirements: Sequence[str] = ()
    """What pip installs, the peer itself first; none is this environment."""
    oldest_python: tuple[int, int] = (3, 11)
    sandbox: str = ""
    """Adapter for speed; empty if it has no sandbox of its own."""
    whole: str = ""
    """Adapter for programs and attacks; empty if it runs no Python."""
    agent: str = ""
    """Name in `agents.py`; empty if it offers no agent."""


PEERS: tuple[Peer, ...] = (
    Peer(
        name="plain",
        title="CPython's `exec`",
        protects="nothing: the baseline",
        language="CPython",
        sandbox="plain",
        whole="plain",
    ),
    Peer(
        name="ours",
        title="langchain-ptc",
        protects="the kernel (seccomp, namespaces, Landlock) around a process for each program, "
        "and a language policy in it; limits of time, memory, calls, output",
        language="CPython",
        sandbox="ours",
        whole="ours-whole",
        agent="ours",
    ),
    Peer(
        name="ours-inprocess",
        title="langchain-ptc, `InProcessSandbox`",
        protects="the language policy only, in the host's process; no limit of memory, and a "
        "single long step in C is not interrupted",
        language="CPython",
        sandbox="ours-inprocess",
        whole="ours-whole-inprocess",
    ),
    Peer(
        name="monty",
        title="pydantic-monty",
        protects="an interpreter written in Rust that has no files, network or imports of the host, "
        "in worker processes; limits of time (computing only) and memory",
        language="a part of Python",
        requirements=("pydantic-monty==1.4.0",),
        sandbox="monty",
        whole="monty",
    ),
    Peer(
        name="smolagents",
        title="smolagents, `LocalPythonExecutor`",
        protects="an interpreter of the syntax tree in the host's process; its documentation says "
        "that it is not a security boundary and names remote ones",
        language="a part of Python",
        requirements=("smolagents==1.26.0",),
        sandbox="smolagents",
        whole="smolagents",
    ),
    Peer(
        name="restricted",
        title="RestrictedPython with its own guards",
        protects="rewritten syntax in the host's process; it is a tool to build a sandbox with, "
        "says its documentation, and not one",
        language="a part of Python",
        requirements=("RestrictedPython==9.0",),
        sandbox="restricted",
        whole="restricted",
    ),
    Peer(
        name="codecell",
        title="codecell",
        protects="a look at the syntax tree, then CPython in a new process with a limit of time; no "
        "wall of the kernel",
        language="CPython",
        requirements=("codecell==0.2.1",),
        sandbox="codecell",
        whole="codecell",
    ),
    Peer(
        name="quickjs",
        title="langchain-quickjs",
        protects="a JavaScript engine in WebAssembly in the host's process; limits of time, memory "
        "and calls",
        language="JavaScript",
        requirements=("langchain-quickjs==0.3.10", "langchain==1.4.7"),
        sandbox="quickjs",
        agent="quickjs",
    ),
    Peer(
        name="codeact",
        title="langgraph-codeact, its README's `eval`",
        protects="nothing; its README says to bring a sandbox of one's own",
        language="CPython",
        requirements=("langgraph-codeact==0.1.3",),
        whole="codeact",
        agent="codeact",
    ),
    Peer(
        name="harness",
        title="pydantic-ai-harness, `CodeMode`",
        protects="as pydantic-monty, on which it runs",
        language="a part of Python",
        requirements=("pydantic-ai-harness[code-mode]==0.62.0",),
        agent="harness",
    ),
)


class InstallError(Exception):
    """A peer cannot be installed here; the message says why."""


def cache_folder() -> Path:
    """Return the folder of the environments."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "langchain-ptc" / "peers"


def find_python(oldest: tuple[int, int]) -> tuple[str, str]:
    """Return a Python and its version: the one that runs, or the newest on the path if it is too old.

    Raises:
        InstallError: There is none.
    """
    if sys.version_info >= oldest:
        return sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}"
    for minor in range(20, oldest[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and not subprocess.run([found, "-V"], capture_output=True, check=False).returncode:
            return found, f"3.{minor}"
    raise InstallError(f"no Python {oldest[0]}.{oldest[1]} or newer on the path")


def install(peer: Peer) -> Path:
    """Return the Python of the environment of a peer, made if it is not there.

    Raises:
        InstallError: pip could not install it, or there is no Python for it.
    """
    if not peer.requirements:
        return Path(sys.executable)
    interpreter, version = find_python(peer.oldest_python)
    mark = sha256(repr((peer.requirements, version)).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{peer.name}-{mark}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (folder / "ready").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {', '.join(peer.requirements)} (once)", flush=True)
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ran = subprocess.run(
        [*command, *peer.requirements], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        (folder / "pip.log").write_text(ran.stderr, "utf-8")
        raise InstallError(f"pip could not install it for Python {version}")
    (folder / "ready").touch()
    return python


def environment(peer: Peer) -> dict[str, str]:
    """Return the environment variables for the processes of a peer."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept if peer.requirements else {**kept, "PYTHONPATH": str(ROOT)}
