"""`langchain-ptc run`: a program over tools, in the sandbox."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from langchain_ptc.cli.options import (
    AsJson,
    Imports,
    LimitOptions,
    Quiet,
    Servers,
    Tools,
    checked_modules,
    read_limits,
)
from langchain_ptc.resolve.mistakes import Mistake, did_you_mean

File = Annotated[
    str, typer.Argument(metavar="FILE.py", help="The program; - reads it from standard input.")
]


def run(
    file: File,
    *,
    tools: Tools = None,
    mcp: Servers = None,
    limit: LimitOptions = None,
    import_: Imports = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Run a program over tools, in the sandbox.

    Standard output is exactly what the program prints, as it prints it; if it prints nothing, its
    value. What went wrong goes to standard error.

    Exit codes: 0 success, 1 the code failed or was refused, 2 nothing was run, 3 a limit stopped it.
    """
    limits = read_limits(limit or ())
    modules = checked_modules(import_ or ())
    code = _read_code(file)
    from langchain_ptc.cli.running import run_program
    from langchain_ptc.run.private_loop import run_sync

    out = sys.stdout
    with redirect_stdout(sys.stderr):  # tools may print; this is no output of the code
        return run_sync(
            run_program(
                code,
                tools or (),
                mcp or (),
                limits=limits,
                modules=modules,
                out=out,
                as_json=as_json,
                quiet=quiet,
            )
        )


def _read_code(file: str) -> str:
    """Return the program.

    Raises:
        Mistake: It cannot be read.
    """
    try:
        if file == "-":
            return typer.get_binary_stream("stdin").read().decode("utf-8-sig")
        return Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mistake(f"{file!r} is not text in UTF-8: {error}") from error
    except OSError as error:
        parent = Path(file).parent
        near = [str(other) for other in parent.glob("*.py")] if parent.is_dir() else []
        close = did_you_mean(file, near) if isinstance(error, FileNotFoundError) else ""
        raise Mistake(f"{file!r} cannot be read: {error.strerror}{close}") from error
