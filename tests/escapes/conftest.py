"""Runs the attacks that are asked for, each mode in a host of its own, and keeps the verdicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
import RestrictedPython

import langchain_ptc

HOST = Path(__file__).with_name("attacks_host.py")
NOBODY = 65534


class Verdicts:
    """What came of the attacks, by mode and name.

    Args:
        wanted: Attacks by mode.
        folder: Where the hosts keep their canaries.
        command: The host's program.
        options: Further options of `Popen`.
    """

    def __init__(
        self,
        wanted: Mapping[str, Iterable[Any]],
        folder: Path,
        *,
        command: Sequence[str] = (sys.executable, "-X", "utf8", str(HOST)),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._told: dict[tuple[str, str], dict[str, Any]] = {}
        hosts = {}
        for mode, attacks in wanted.items():
            canary = folder / mode
            canary.mkdir()
            if "user" in (options or {}):
                os.chown(canary, options["user"], options["group"])
            told = (folder / f"{mode}.jsonl").open("w+", encoding="utf-8")
            host = subprocess.Popen(
                [*command, mode, str(canary), "0"],
                stdin=subprocess.PIPE,
                stdout=told,
                text=True,
                **(options or {}),
            )
            host.stdin.write(json.dumps([attack.record() for attack in attacks]))
            host.stdin.close()
            hosts[mode] = host, told
        for mode, (host, told) in hosts.items():
            try:
                code = host.wait()
            finally:
                host.kill()
                host.wait()
            told.seek(0)
            lines = [json.loads(line) for line in told]
            told.close()
            begun = [line["begins"] for line in lines if "begins" in line]
            assert code == 0, f"the host ({mode}) died with {code}, of {begun[-1:]}"
            self._told.update({(mode, line["name"]): line for line in lines if "name" in line})

    def of(self, mode: str, name: str) -> dict[str, Any]:
        """Return what came of one attack."""
        return self._told[mode, name]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """The verdicts on all attacks that a file asks for: run once, the modes concurrently."""
    wanted: dict[str, list[Any]] = {}
    for item in request.session.items:
        if item.path != request.path:
            continue
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "attack" in params and "mode" in params:
            wanted.setdefault(params["mode"], []).append(params["attack"])
    return Verdicts(wanted, tmp_path_factory.mktemp("attacks"))


@pytest.fixture(scope="session")
def ordinary_verdicts(request: pytest.FixtureRequest) -> Iterator[Verdicts]:
    """The same by an ordinary user, who needs a Python that he may read."""
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user already")
    wanted: dict[str, list[Any]] = {}
    for item in request.session.items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "attack_by_nobody" in params:
            wanted.setdefault("kernel", []).append(params["attack_by_nobody"])
        if "folder_attack_by_nobody" in params:
            attacks = wanted.setdefault("kernel with files", [])
            attacks.append(params["folder_attack_by_nobody"])
    with tempfile.TemporaryDirectory(prefix="ordinary-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = _readable_python(folder)
        for package in (langchain_ptc, RestrictedPython, ormsgpack):
            source = Path(package.__file__).parent
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("*.pyc"))
        own = folder / "tests" / "escapes"
        own.mkdir(parents=True)
        shutil.copy(HOST, own)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/", "env": {}}
        if subprocess.run([python, "-c", "import ctypes"], check=False, **user).returncode:
            pytest.skip(f"an ordinary user cannot run {python}, a copy of {sys.executable}")
        yield Verdicts(
            wanted, folder, command=[python, "-s", "-X", "utf8", str(own / HOST.name)], options=user
        )


def _readable_python(folder: Path) -> str:
    """Return this Python, or a copy of it if nobody but us may read it."""
    base = Path(sys.base_prefix)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if all(parent.stat().st_mode & 0o5 == 0o5 for parent in (base, *base.parents)):
        return str(base / "bin" / name)
    own = folder / "bin" / name
    own.parent.mkdir()
    (folder / "lib").mkdir()
    # The path of its library is in the program; `$ORIGIN` is wherever the program lies.
    there, here = os.fsencode(base / "lib"), b"$ORIGIN/../lib"
    text = (base / "bin" / name).read_bytes()
    own.write_bytes(text.replace(b"\0%s\0" % there, b"\0%s\0" % here.ljust(len(there), b"\0")))
    own.chmod(0o755)
    for library in base.glob("lib/libpython*.so*"):
        shutil.copy(library, folder / "lib")
    # What is not needed to run the sandbox is three quarters of it.
    unneeded = shutil.ignore_patterns(
        "site-packages", "test", "tests", "config-*", "idlelib", "*.a"
    )
    shutil.copytree(base / "lib" / name, folder / "lib" / name, ignore=unneeded)
    return str(own)
