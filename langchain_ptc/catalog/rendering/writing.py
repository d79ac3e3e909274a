"""The package of stubs on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from langchain_ptc.catalog.rendering.package import HEADER


def write_package(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files of the package `tools` and return their paths.

    Files that an earlier call wrote there and that are no longer of the package are deleted; files
    of others are left alone.

    Args:
        files: Their source, by path with `/`.
        directory: Where the package stands; made if it does not exist.

    Raises:
        OSError: A file cannot be written or deleted.
    """
    written = []
    for name, source in files.items():
        path = directory.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        written.append(path)
    _delete_stale(directory / "tools", set(written))
    return written


def _delete_stale(package: Path, kept: Collection[Path]) -> None:
    for path in [*package.glob("*.py"), *package.glob("*/*.py")]:
        if path not in kept and _is_ours(path):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER) + 2).split(b"\n")[0].rstrip() == HEADER.encode()
