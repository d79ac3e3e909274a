"""`langchain-ptc stubs`: what a model reads of tools, or a package of it for editors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from langchain_ptc.cli.exits import SUCCESS
from langchain_ptc.cli.options import Quiet, Servers, Tools
from langchain_ptc.resolve.mistakes import Mistake

Tier = Literal["full", "signatures", "names", "pointer"]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Write a package `tools` into this folder, for editors and type checkers.",
        rich_help_panel="Output",
    ),
]
Detail = Annotated[
    Tier,
    typer.Option(
        "--detail",
        help="How much is printed: stubs with types and documentation, a line for each tool, their "
        "names, or how many there are.",
        rich_help_panel="Output",
    ),
]


def stubs(
    *,
    tools: Tools = None,
    mcp: Servers = None,
    output: Output = None,
    detail: Detail = "full",
    quiet: Quiet = False,
) -> int:
    """Print the stubs that a model reads of tools, or write them as a package."""
    if not tools and not mcp:
        raise Mistake("say which tools: --tools module:attribute, or --mcp servers.json")
    if output is not None and detail != "full":
        raise Mistake("--detail is for what is printed; -o writes whole stubs")
    from langchain_ptc.run.private_loop import run_sync

    out = sys.stdout
    with redirect_stdout(sys.stderr):
        text = run_sync(_stubs(tools or (), mcp or (), output=output, detail=detail, quiet=quiet))
    out.write(text)
    return SUCCESS


async def _stubs(
    tools: Sequence[str],
    servers: Sequence[Path],
    *,
    output: Path | None,
    detail: Tier,
    quiet: bool,
) -> str:
    from langchain_ptc.cli.tools import open_catalog

    async with open_catalog(tools, servers) as catalog:
        if output is None:
            return catalog.render(detail)
        try:
            written = catalog.write_stubs(output)
        except OSError as error:
            raise Mistake(f"-o {str(output)!r} cannot be written to: {error.strerror}") from error
    if not quiet:
        sys.stderr.write(f"wrote {len(written)} files to {output / 'tools'}\n")
    return ""
