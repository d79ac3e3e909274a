"""The work of `langchain-ptc stubs`: what a model reads of tools, or a package of it for editors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from langchain_ptc.cli.options import Tier
from langchain_ptc.cli.output import SUCCESS
from langchain_ptc.cli.references import CommandError
from langchain_ptc.cli.tools import open_catalog


async def write_stubs(
    tools: Sequence[str],
    servers: Sequence[Path],
    out: TextIO,
    *,
    folder: Path | None,
    detail: Tier,
    quiet: bool,
) -> int:
    """Write the stubs of tools to `out`, or as a package into `folder`; return the exit code.

    Raises:
        CommandError: A tool is not there, or the folder cannot be written to.
    """
    async with open_catalog(tools, servers) as catalog:
        if folder is None:
            out.write(catalog.render(detail))
            return SUCCESS
        try:
            written = catalog.write_stubs(folder)
        except OSError as error:
            raise CommandError(
                f"-o {str(folder)!r} cannot be written to: {error.strerror}"
            ) from error
    if not quiet:
        sys.stderr.write(f"wrote {len(written)} files to {folder / 'tools'}\n")
    return SUCCESS
