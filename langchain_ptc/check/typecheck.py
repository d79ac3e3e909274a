"""The type checker ty over the stubs: finds what only following the types through the code can.

It needs the extra `typecheck`, takes a quarter of a second and a process, and is off unless asked for.
ty reads the code as the sandbox would run it: the names of the tools are builtins, a call gives an
awaitable or the value as the code is asynchronous or not, and `await` at the top level is allowed.

A type checker says what is not proved to be right; a program with `str | None` where a `str` is needed
may well run. So only reports that are certain are taken over, see `typecheck_rules.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.check.checker import MAX_CHARS, MAX_PROBLEMS
from langchain_ptc.check.names import Given
from langchain_ptc.check.typecheck_rules import RULES, Diagnostic, Judge
from langchain_ptc.check.work import OutOfWork
from langchain_ptc.errors import Problem
from langchain_ptc.sandbox.language.reading import parse_quietly
from langchain_ptc.sandbox.language.shape import all_nodes, is_async

_CODE = "code.py"
_SECONDS = 20.0
MAX_DIAGNOSTICS = 200
"""Reports of ty that are looked at, in its order; of those that are taken over only some are told."""
_GIVEN_NAMES = """\
class ToolCallError(Exception):
    tool: str
    limit: str | None
    allowed: float | None
    used: float | None
"""


def typecheck_code(code: str, catalog: ToolCatalog) -> tuple[Problem, ...]:
    """Return what the type checker ty is certain of in `code`; nothing of it is run.

    It blocks for about a quarter of a second: call it in a thread from asynchronous code.

    Args:
        code: What the model wrote. Code that is no Python has no problems here.
        catalog: The tools that it may call.

    Returns:
        The problems in order of line; none if ty does not come to an end.

    Raises:
        ImportError: ty is not installed.
    """
    if importlib.util.find_spec("ty") is None:
        raise ImportError(
            "typecheck_code needs the type checker ty; install it with "
            "pip install 'langchain-ptc[typecheck]'"
        )
    if len(code) > MAX_CHARS:
        return ()
    try:
        tree = parse_quietly(code)
        nodes = all_nodes(tree)
        judge = Judge(tree, nodes, code, catalog)
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return ()
    with tempfile.TemporaryDirectory(prefix="ptc-typecheck-") as folder:
        _write_project(Path(folder), code, catalog, asynchronous=is_async(nodes))
        diagnostics = list(_run_ty(Path(folder)))
    found: list[Problem | None] = []
    with contextlib.suppress(OutOfWork):
        found.extend(judge.problem_of(diagnostic) for diagnostic in diagnostics[:MAX_DIAGNOSTICS])
    known = {(p.line, p.column, p.message): p for p in found if p is not None}
    return tuple(sorted(known.values(), key=lambda p: (p.line, p.column))[:MAX_PROBLEMS])


def _write_project(folder: Path, code: str, catalog: ToolCatalog, *, asynchronous: bool) -> None:
    for path in catalog.write_stubs(folder, guesses=False):
        if not asynchronous:
            source = path.read_text("utf-8")
            path.write_text(re.sub(r"(?m)^async def ", "def ", source), "utf-8")
    (folder / "__builtins__.pyi").write_text(_render_builtins(catalog), "utf-8")
    (folder / _CODE).write_text(code, "utf-8", errors="replace")
    rules = "".join(f'{rule} = "error"\n' for rule in sorted(RULES))
    (folder / "ty.toml").write_text(f'[rules]\nall = "ignore"\n{rules}', "utf-8")


def _render_builtins(catalog: ToolCatalog) -> str:
    """Return the names that the code has without importing them."""
    given = Given(catalog, ())
    lines = ["import tools as tools"]
    lines += [f"import tools.{domain} as {domain}" for domain in sorted(given.domains)]
    for definition in given.bare_tools:
        module = "tools" if definition.domain is None else f"tools.{definition.domain}"
        lines.append(f"from {module} import {definition.name} as {definition.name}")
    return "\n".join([*lines, _GIVEN_NAMES])


def _run_ty(folder: Path) -> Iterator[Diagnostic]:
    """Yield what ty says of the code in `folder`."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    options = ["--output-format", "gitlab", "--exit-zero", "--python-version", version]
    command = [sys.executable, "-m", "ty", "check", "--config-file", "ty.toml", *options, _CODE]
    try:
        ended = subprocess.run(  # noqa: S603  # our own command; the code is only read
            command,
            cwd=folder,
            env={k: v for k, v in os.environ.items() if not k.startswith("TY_")},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        reports = json.loads(ended.stdout or b"[]")
    except (subprocess.TimeoutExpired, ValueError):
        return
    for report in reports:
        yield _read_diagnostic(report)


def _read_diagnostic(report: Mapping[str, object]) -> Diagnostic:
    rule = str(report["check_name"])
    location = report["location"]
    assert isinstance(location, Mapping)
    begin = location["positions"]["begin"]
    return Diagnostic(
        rule=rule,
        message=str(report["description"]).removeprefix(f"{rule}: "),
        line=int(begin["line"]),
        column=int(begin["column"]),
    )
