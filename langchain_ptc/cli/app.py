"""The commands with their options, and how errors are reported.

The work of a command is in `commands`, which is imported when one is run.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer
from typer.main import get_command

from langchain_ptc.cli.output import (
    FAILED,
    INTERRUPTED,
    MISUSED,
    SUCCESS,
    CommandError,
    read_text,
    show_diagnosis,
    write_error,
)
from langchain_ptc.errors import CatalogError, SandboxError, closest, did_you_mean
from langchain_ptc.sandbox.api import Limits

if TYPE_CHECKING:
    from langchain_ptc.cli.commands import Options

PROGRAM = "langchain-ptc"

app = typer.Typer(
    name=PROGRAM,
    help="Programmatic tool calling: your LangChain tools, called from code that the model writes, "
    "in a sandbox.",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


# --- the options that commands share --------------------------------------------------------------

_FIELDS = {field.name: field for field in fields(Limits)}


def _complete_limit(incomplete: str) -> list[str]:
    return [f"{name}=" for name in _FIELDS if name.startswith(incomplete)]


Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tools",
        metavar="MODULE:ATTRIBUTE",
        help="Tools that the code may call: a list, a mapping {domain: list}, a ToolCatalog, one tool, "
        "or a function that returns one of these. FILE.py:ATTRIBUTE works too. May be repeated.",
    ),
]
Servers = Annotated[
    list[Path] | None,
    typer.Option(
        "--mcp",
        metavar="FILE.json",
        help='MCP servers, as {"mcpServers": {...}} or as MultiServerMCPClient takes them. May be '
        "repeated.",
    ),
]
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="A limit of the execution, for example wall_seconds=5. May be repeated. Names: "
        f"{', '.join(_FIELDS)}.",
        autocompletion=_complete_limit,
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A module that the code may import in addition to the standard ones, for example numpy. "
        "May be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Report only errors on standard error.")]
Tier = Literal["full", "signatures", "names", "pointer"]  # how much of each tool `stubs` prints


def _read_limits(given: Sequence[str]) -> Limits:
    chosen: dict[str, Any] = {}
    for option in given:
        name, equals, text = (part.strip() for part in option.partition("="))
        if name not in _FIELDS:
            close = did_you_mean(closest(name, _FIELDS))
            raise CommandError(
                f"--limit {option!r}: there is no limit {name!r}"
                + (close or f"; there are {', '.join(_FIELDS)}")
            )
        if not equals:
            raise CommandError(f"--limit {option!r} has no value; write --limit {name}=VALUE")
        if name in chosen:
            raise CommandError(f"--limit {name} is given twice")
        chosen[name] = _read_number(name, text)
    try:
        return Limits(**chosen)
    except ValueError as error:
        raise CommandError(f"--limit: {str(error).removeprefix('Limits.')}") from error


def _read_number(name: str, text: str) -> int | float:
    is_whole = _FIELDS[name].type == "int"
    try:
        return int(text) if is_whole else float(text)
    except ValueError as error:
        kind = "a whole number" if is_whole else "a number"
        raise CommandError(f"--limit {name}={text!r} must be {kind}") from error


def _read_modules(given: Sequence[str]) -> Sequence[str]:
    from langchain_ptc.sandbox.host.process import checked_imports

    try:
        return checked_imports(given)
    except ValueError as error:
        raise CommandError(f"--import: {error}") from error


# --- the commands ---------------------------------------------------------------------------------


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


def _run(work: Callable[[TextIO], Coroutine[Any, Any, int]]) -> int:
    """Run `work` with standard output; what tools print goes to standard error."""
    from langchain_ptc.background_loop import run_sync

    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        return run_sync(work(out))


def _need_tools(tools: Sequence[str] | None, servers: Sequence[Path] | None) -> None:
    if not tools and not servers:
        raise CommandError("say which tools: --tools module:attribute, or --mcp servers.json")


def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE.py", help="The program; - reads it from standard input.")
    ],
    *,
    tools: Tools = None,
    mcp: Servers = None,
    limit: LimitOptions = None,
    import_: Imports = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Run a program that uses your tools, in the sandbox.

    Standard output is exactly what the program prints or, if it prints nothing, its value. Errors go to
    standard error.

    Exit codes: 0 success, 1 the code failed or was refused, 2 nothing was run, 3 a limit stopped it.
    """
    options = _read_options(tools, mcp, limit, import_, as_json=as_json, quiet=quiet)
    code = _read_code(file)
    from langchain_ptc.cli.commands import run_program

    return _run(lambda out: run_program(code, options, out))


def _read_code(file: str) -> str:
    if file != "-":
        return read_text(Path(file))
    try:
        return typer.get_binary_stream("stdin").read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"standard input is not text in UTF-8: {error}") from error


def _read_options(
    tools: Sequence[str] | None,
    servers: Sequence[Path] | None,
    limits: Sequence[str] | None,
    modules: Sequence[str] | None,
    *,
    as_json: bool,
    quiet: bool,
) -> Options:
    read, names = _read_limits(limits or ()), _read_modules(modules or ())
    from langchain_ptc.cli.commands import Options

    return Options(
        tools=tools or (),
        servers=servers or (),
        limits=read,
        modules=names,
        as_json=as_json,
        quiet=quiet,
    )


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="openai:gpt-5 and the like; the address of a server, "
            "http://127.0.0.1:11434/v1#name; or module:attribute of a chat model.",
        ),
    ],
    tools: Tools = None,
    mcp: Servers = None,
    limit: LimitOptions = None,
    import_: Imports = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Ask a question: the model writes a program that uses the tools, and its output is the answer.

    The model may correct a failing program twice. The code and the calls are shown on standard error, the
    answer on standard output.

    Exit codes: 0 an answer, 1 the code failed or was refused, 2 nothing was asked, 3 a limit stopped
    it.
    """
    if not question.strip():
        raise CommandError("the question is empty")
    _need_tools(tools, mcp)
    options = _read_options(tools, mcp, limit, import_, as_json=as_json, quiet=quiet)
    from langchain_ptc.cli.commands import ask_model

    return _run(lambda out: ask_model(question, model, options, out))


def stubs(
    *,
    tools: Tools = None,
    mcp: Servers = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write a package `tools` into this folder, for editors and type checkers.",
        ),
    ] = None,
    detail: Annotated[
        Tier,
        typer.Option(
            help="How much is printed: stubs with types and documentation, a line for each tool, their "
            "names, or their number."
        ),
    ] = "full",
    quiet: Quiet = False,
) -> int:
    """Print the stubs of tools that a model reads, or write them as a package."""
    _need_tools(tools, mcp)
    if output is not None and detail != "full":
        raise CommandError("--detail is for what is printed; -o writes whole stubs")
    from langchain_ptc.cli.commands import write_stubs

    return _run(
        lambda out: write_stubs(
            tools or (), mcp or (), out, folder=output, detail=detail, quiet=quiet
        )
    )


def doctor(*, as_json: AsJson = False) -> int:
    """Show what confines code on this machine, and test it with a few attacks.

    Shows the levels and layers of confinement that this machine has, and runs a few harmless attacks
    in a worker whose language policy is off.

    Exits with 0 if ProcessSandbox() works here and every attack was stopped, with 1 if not.
    """
    return show_diagnosis(as_json=as_json)


def serve(
    *,
    host: Annotated[str, typer.Option(help="The interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses one.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that hosts must know; else LANGCHAIN_PTC_TOKEN of the environment. "
            "Without either, one is made and printed, if only this machine can connect."
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of this server, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(help="Who signs the certificates of hosts; those without one are sent away."),
    ] = None,
    insecure_plain: Annotated[
        bool,
        typer.Option(
            "--insecure-plain",
            help="Serve other machines without TLS, where the network itself encrypts.",
        ),
    ] = False,
    health_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Answer /healthz, /readyz and /metrics on this port, over plain HTTP.",
        ),
    ] = None,
    stdio: Annotated[
        bool,
        typer.Option(
            "--stdio",
            help="Serve the one who started it, on standard input and output, and listen nowhere.",
        ),
    ] = False,
    lines: Annotated[
        bool,
        typer.Option("--lines", help="With --stdio: as lines of text, where bytes do not pass."),
    ] = False,
    import_: Imports = None,
    max_workers: Annotated[
        int | None, typer.Option(min=1, help="Executions at a time; further ones are refused.")
    ] = None,
    files: Annotated[
        int,
        typer.Option(
            min=0,
            help="Give each execution a folder in memory of so many bytes, and serve only hosts that ask for "
            "one: RemoteSandbox(files=True) needs 67108864.",
        ),
    ] = 0,
    require: Annotated[
        Literal["kernel", "process"] | None,
        typer.Option(
            help="What must confine workers, or it does not start: the kernel's filter of system calls, or "
            "a process with limits. By default the first on Linux."
        ),
    ] = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="How long executions may go on after SIGTERM. A second signal ends them."
        ),
    ] = 30.0,
) -> int:
    """Run code for agents on other machines.

    Their RemoteSandbox connects here, and takes a worker for each execution; their tools stay with them.

    Exit codes: 0 ended by SIGTERM or Ctrl-C, 2 it could not start, 130 ended by a second signal.
    """
    if stdio and (token_file or tls_cert or tls_key or client_ca or health_port is not None):
        raise CommandError("--stdio listens nowhere: leave out the token, TLS and --health-port")
    if lines and not stdio:
        raise CommandError("--lines is for --stdio")
    modules = _read_modules(import_ or ())
    from langchain_ptc.cli import serve as work

    options = {
        "token": None if stdio else work.read_token(host, token_file),
        "host": host,
        "port": port,
        "tls": work.read_tls(host, tls_cert, tls_key, client_ca, is_plain=insecure_plain or stdio),
        "imports": modules,
        "max_workers": max_workers,
        "files": files or False,
        "require": require,
    }
    return work.serve_workers(
        options, health_port=health_port, drain_seconds=drain_seconds, lines=lines
    )


_EXAMPLES: dict[Callable[..., int], tuple[str, ...]] = {
    run: (
        "langchain-ptc run report.py --tools my_tools.py:tools",
        "langchain-ptc run report.py --mcp servers.json --limit wall_seconds=5",
        "echo 'print(1 + 1)' | langchain-ptc run - --json",
    ),
    ask: (
        'langchain-ptc ask "Who spent the most?" --tools my.py:tools --model openai:gpt-5',
        'langchain-ptc ask "What is left?" --mcp s.json --model http://127.0.0.1:8080',
    ),
    stubs: (
        "langchain-ptc stubs --tools my_tools.py:tools",
        "langchain-ptc stubs --mcp servers.json --detail signatures",
        "langchain-ptc stubs --tools my_tools.py:tools -o typings",
    ),
    serve: (
        "langchain-ptc serve",
        "langchain-ptc serve --host 0.0.0.0 --token-file token --tls-cert server.pem --tls-key server.key",
    ),
    doctor: ("langchain-ptc doctor", "langchain-ptc doctor --json"),
}
"""The commands in the order of the help, with examples."""


def _unwrap(command: Callable[..., int]) -> str:
    """Return the docstring of a command with one line for each paragraph: help has its own width."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _command, _lines in _EXAMPLES.items():
    app.command(
        help=_unwrap(_command),
        epilog="Examples:\n\n" + "\n\n".join(_lines),
    )(_command)


def run_app(arguments: Sequence[str] | None) -> int:
    """Run one command, report what went wrong, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the stream cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        with _without_control():
            code = get_command(app).main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _report_misuse(error)
    except (CommandError, CatalogError, SandboxError) as error:
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
    """Remove control characters from warnings, and from what tools log without a handler of their own."""
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


def _report_misuse(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if context is not None:
        write_error(context.get_usage())
    message = error.format_message().replace("Value error, ", "")  # pydantic's words
    if message:
        write_error(f"{PROGRAM}: {message}")
    if context is not None:
        write_error(f"Help: {context.command_path} --help")
    return MISUSED


def _drop_output() -> None:
    """Output cannot be written any more: discard what is still to be flushed."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
