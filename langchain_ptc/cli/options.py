"""The options that several commands have, and what their text means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_ptc.limits import Limits
from langchain_ptc.resolve.mistakes import Mistake, did_you_mean

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
        help="A limit of the execution, for example wall_seconds=5. May be repeated. There are: "
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
        help="A module that the code may import besides the standard ones, for example numpy. May be "
        "repeated.",
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
        help="Say nothing on standard error but what went wrong.",
        rich_help_panel=_SHOW,
    ),
]


def read_limits(given: Sequence[str]) -> Limits:
    """Return the limits that `--limit` asks for.

    Raises:
        Mistake: There is no such limit, or it cannot have that value.
    """
    chosen: dict[str, Any] = {}
    for option in given:
        name, equals, text = (part.strip() for part in option.partition("="))
        if name not in _FIELDS:
            close = did_you_mean(name, _FIELDS)
            raise Mistake(
                f"--limit {option!r}: there is no limit {name!r}"
                + (close or f"; there are {', '.join(_FIELDS)}")
            )
        if not equals:
            raise Mistake(f"--limit {option!r} has no value; write --limit {name}=VALUE")
        if name in chosen:
            raise Mistake(f"--limit {name} is given twice")
        chosen[name] = _read_number(name, text)
    try:
        return Limits(**chosen)
    except ValueError as error:
        raise Mistake(f"--limit: {str(error).removeprefix('Limits.')}") from error


def _read_number(name: str, text: str) -> int | float:
    is_whole = _FIELDS[name].type == "int"
    try:
        return int(text) if is_whole else float(text)
    except ValueError as error:
        kind = "a whole number" if is_whole else "a number"
        raise Mistake(f"--limit {name}={text!r} must be {kind}") from error


def checked_modules(given: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that `--import` names.

    Raises:
        Mistake: One is no name of a module.
    """
    from langchain_ptc.sandbox.host.process import checked_imports

    try:
        return checked_imports(given)
    except ValueError as error:
        raise Mistake(f"--import: {error}") from error
