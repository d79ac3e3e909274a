"""`langchain-ptc ask`: a question, answered by a program that a model writes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
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
from langchain_ptc.resolve.mistakes import Mistake

Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="openai:gpt-5 and the like; the address of a server, http://127.0.0.1:11434/v1#name; "
        "module:attribute of a chat model; or local, in a checkout of the repository.",
    ),
]


def ask(
    question: Question,
    *,
    model: Model,
    tools: Tools = None,
    mcp: Servers = None,
    limit: LimitOptions = None,
    import_: Imports = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Ask a question: the model writes one program over the tools, and what it prints is the answer.

    A program that fails is mended by the model, twice at most. The code and the calls are shown on
    standard error, the answer on standard output.

    Exit codes: 0 an answer, 1 the code failed or was refused, 2 nothing was asked, 3 a limit stopped
    it.
    """
    if not question.strip():
        raise Mistake("the question is empty")
    if not tools and not mcp:
        raise Mistake("say which tools: --tools module:attribute, or --mcp servers.json")
    limits = read_limits(limit or ())
    modules = checked_modules(import_ or ())
    from langchain_ptc.cli.asking import ask_model, show_answer
    from langchain_ptc.run.private_loop import run_sync

    out = sys.stdout
    with redirect_stdout(sys.stderr):  # tools may print; this is no answer
        answer = run_sync(
            ask_model(
                question,
                model,
                tools or (),
                mcp or (),
                limits=limits,
                modules=modules,
                quiet=quiet,
            )
        )
    return show_answer(answer, out=out, as_json=as_json, quiet=quiet)
