"""`python -m examples.web`: serve the example."""

from __future__ import annotations

import argparse
import functools
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from examples.company.models import open_model
from langchain_ptc.cli.output import CommandError

from .agent import SUGGESTIONS, build_agent, scripted_model
from .app import Server, create_app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C.

    Args:
        arguments: The command line without the program's name; None is `sys.argv`.

    Raises:
        SystemExit: The model cannot be used, or the port is in use; the message says what to do.
    """
    options = _parse(arguments)
    try:  # before anything of another server that runs already is touched
        listening = socket.create_server((options.host, options.port))
    except OSError as error:
        raise SystemExit(f"port {options.port}: {error.strerror}; pass another --port") from error
    options.data.mkdir(parents=True, exist_ok=True)
    opening = open_model(options.model) if options.model else nullcontext(scripted_model())
    try:
        with opening as model:
            app = create_app(
                functools.partial(build_agent, model, options.data),
                data=options.data,
                suggestions=SUGGESTIONS,
                hosts=[options.host, "localhost", "127.0.0.1", *options.name],
            )
            sys.stderr.write(f"Open http://{options.host}:{options.port}/\n")
            Server(app).run([listening])
    except CommandError as error:
        raise SystemExit(str(error)) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.web",
        description="An agent that runs code, for many users, in a page that shows what the code does.",
    )
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL", ""),
        help="a model for init_chat_model, such as openai:gpt-5; the address of a server, such as "
        "http://127.0.0.1:11434/v1#name; none is a scripted model (default: the variable MODEL)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".web-data"),
        help="folder of the databases: delete it to begin anew (default: %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="a further host name by which the page is opened",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
