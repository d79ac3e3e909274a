"""The commands, and what becomes of their mistakes. Everything that needs typer stands below this."""

from __future__ import annotations

import contextlib
import errno
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.main import get_command

from langchain_ptc.cli import ask, doctor, run, stubs
from langchain_ptc.cli.exits import FAILED, INTERRUPTED, MISUSED, SUCCESS
from langchain_ptc.cli.writing import write_error
from langchain_ptc.errors import CatalogError, SandboxError
from langchain_ptc.resolve.mistakes import Mistake

PROGRAM = "langchain-ptc"

app = typer.Typer(
    name=PROGRAM,
    help="Programmatic tool calling: your LangChain tools, called from code that the model writes, "
    "in a sandbox.",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {version('langchain-ptc')}\n")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


_TRY, _USE = "See for yourself", "Use your tools"
_EXAMPLES: dict[Callable[..., int], tuple[str, ...]] = {
    run.run: (
        "langchain-ptc run report.py --tools my_tools.py:tools",
        "langchain-ptc run report.py --mcp servers.json --limit wall_seconds=5",
        "echo 'print(1 + 1)' | langchain-ptc run - --json",
    ),
    ask.ask: (
        'langchain-ptc ask "Who spent most?" --tools my.py:tools --model openai:gpt-5',
        'langchain-ptc ask "What is left?" --mcp s.json --model http://127.0.0.1:8080',
    ),
    stubs.stubs: (
        "langchain-ptc stubs --tools my_tools.py:tools",
        "langchain-ptc stubs --mcp servers.json --detail signatures",
        "langchain-ptc stubs --tools my_tools.py:tools -o typings",
    ),
    doctor.doctor: ("langchain-ptc doctor", "langchain-ptc doctor --json"),
}
"""The commands in the order of the help, each with what can be typed as it is."""


def _unwrap(command: Callable[..., int]) -> str:
    """Return what a command says of itself, with a line for each paragraph: help has its own width."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _command, _lines in _EXAMPLES.items():
    app.command(
        rich_help_panel=_USE if _command in (run.run, ask.ask, stubs.stubs) else _TRY,
        help=_unwrap(_command),
        epilog="Examples:\n\n" + "\n\n".join(_lines),
    )(_command)


def run_app(arguments: Sequence[str] | None) -> int:
    """Run one command and say in plain words what went wrong.

    Args:
        arguments: What stands behind the program's name; None is `sys.argv`.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the stream cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        with _without_control():
            code = get_command(app).main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _tell_misuse(error)
    except (Mistake, CatalogError, SandboxError) as error:
        write_error(f"{PROGRAM}: {error}")
        return MISUSED
    except BrokenPipeError:
        _drop_output()
        return FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        write_error(f"{PROGRAM}: the output cannot be written: {error.strerror}")
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:  # a shell asked for completions, or a pipe broke inside typer
        return error.code if isinstance(error.code, int) else SUCCESS
    return code if isinstance(code, int) else SUCCESS


@contextlib.contextmanager
def _without_control() -> Iterator[None]:
    """Keep control characters out of what tools warn of, and log without a handler of their own."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: write_error(handler.format(record))  # type: ignore[method-assign]

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
    ) -> None:
        write_error(warnings.formatwarning(message, category, filename, lineno).rstrip())

    before = warnings.showwarning, logging.lastResort
    warnings.showwarning = show  # type: ignore[assignment]  # takes a file and a line, as it must
    logging.lastResort = handler
    try:
        yield
    finally:
        warnings.showwarning, logging.lastResort = before


def _tell_misuse(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if context is not None:
        write_error(f"{context.get_usage()}")
    told = error.format_message().replace("Value error, ", "")  # pydantic's, not a person's words
    if told:
        write_error(f"{PROGRAM}: {told}")
    if context is not None:
        write_error(f"Help: {context.command_path} --help")
    return MISUSED


def _drop_output() -> None:
    """Output cannot be written any more: let what is still to be flushed go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
