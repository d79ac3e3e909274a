"""The command line: `langchain-ptc run | ask | stubs | serve | doctor`.

- `app`: the commands with their options, and how errors are reported;
- `commands`: the work of `run`, `ask` and `stubs`, with their tools and models, imported when it is needed, so that the
  help is quick;
- `serve`: the work of `serve`;
- `output`: exit codes, and everything that is printed, with the report of `doctor`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_MISSING = "the command line needs the package typer: pip install 'langchain-ptc[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, with `arguments` in place of those in `sys.argv`, and return the exit code.

    0: success; 1: it was run and did not succeed; 2: nothing was run; 3: a limit stopped it; 130: it
    was interrupted.
    """
    try:
        from langchain_ptc.cli.app import run_app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "typer":
            raise
        sys.stderr.write(f"langchain-ptc: {_MISSING}\n")
        return 2
    from langchain_ptc.cli.output import INTERRUPTED

    code = run_app(arguments)
    if code == INTERRUPTED and arguments is None:
        # A tool that blocks a thread must not hold up a person who wants to leave.
        sys.stderr.flush()
        os._exit(code)
    return code
