"""The options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from langchain_ptc.cli.references import CommandError
from langchain_ptc.limits import Limits
from langchain_ptc.wording import closest, did_you_mean

_FIELDS = {field.name: field for field in fields(Limits)}
_TOOLS = "Tools"
_RUN = "Execution"
_SHOW = "Output"


def _complete_limit(incomplete: str) -> list[str]:
    return [f"{name}=" for name in _FIELDS if name.startswith(incomplete)]


Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tools",
        metavar="MODULE:ATTRIBUTE",
        help="Tools that the code may call: a list, a mapping {domain: list}, a ToolCatalog, one tool, "
        "or a function that returns one of these. FILE.py:ATTRIBUTE works too. May be repeated.",
        rich_help_panel=_TOOLS,
    ),
]
Servers = Annotated[
    list[Path] | None,
    typer.Option(
        "--mcp",
        metavar="FILE.json",
        help='MCP servers, as {"mcpServers": {...}} or as MultiServerMCPClient takes them. May be '
        "repeated.",
        rich_help_panel=_TOOLS,
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
        rich_help_panel=_RUN,
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A module that the code may import in addition to the standard ones, for example numpy. "
        "May be repeated.",
        rich_help_panel=_RUN,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output.", rich_help_panel=_SHOW)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Report only errors on standard error.",
        rich_help_panel=_SHOW,
    ),
]
Tier = Literal["full", "signatures", "names", "pointer"]
"""How much of each tool `stubs` prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a command that runs code, described above."""

    tools: Sequence[str] = ()
    servers: Sequence[Path] = ()
    limits: Limits
    modules: Sequence[str]
    as_json: bool
    quiet: bool


def read_options(
    tools: Sequence[str] | None,
    servers: Sequence[Path] | None,
    limits: Sequence[str] | None,
    modules: Sequence[str] | None,
    *,
    as_json: bool,
    quiet: bool,
) -> Options:
    """Return the options that were typed.

    Raises:
        CommandError: There is no such limit, it cannot have that value, or a module has no valid name.
    """
    return Options(
        tools=tools or (),
        servers=servers or (),
        limits=_read_limits(limits or ()),
        modules=_read_modules(modules or ()),
        as_json=as_json,
        quiet=quiet,
    )


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
