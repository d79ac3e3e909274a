"""The command line: `langchain-ptc run | ask | stubs | doctor`.

A file for each command says what can be typed; `options` what several have in common. What a command
does is in files that are imported when it is run, so that the help is quick:

- `tools`, `servers`: what `--tools` and `--mcp` mean, as one catalog;
- `running`, `asking`: the work of `run` and `ask`;
- `results`, `telling`: what is printed of an execution, after it and during it;
- `app`: all commands together, and what becomes of mistakes; `exits`: the exit codes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_MISSING = "the command line needs the package typer: pip install 'langchain-ptc[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands behind the program's name; None is `sys.argv`.

    Returns:
        The exit code: 0 success, 1 it was run and did not succeed, 2 nothing was run, 3 a limit
        stopped it, 130 it was interrupted.
    """
    try:
        from langchain_ptc.cli.app import run_app
        from langchain_ptc.cli.exits import INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "typer":
            raise
        sys.stderr.write(f"langchain-ptc: {_MISSING}\n")
        return 2
    code = run_app(arguments)
    if code == INTERRUPTED and arguments is None:
        # A tool that blocks a thread must not hold up a person who wants to leave.
        sys.stderr.flush()
        os._exit(code)
    return code
