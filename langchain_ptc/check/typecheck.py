"""The type checker ty over the stubs: finds errors that take type inference across the code.

ty reads the code as the sandbox would run it: the names of the tools are builtins, and a call gives an awaitable
or the value as the code is asynchronous or not. It reports what is not proved to be right; a program with
`str | None` where a `str` is needed may well run. So the stubs that it gets say only what is certain, some of its
rules are on, and reports that do not apply to the sandbox are dropped.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import operator
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from langchain_ptc.catalog.stubs import DomainStubs, group, render_package
from langchain_ptc.catalog.types import (
    ANY,
    FLOAT,
    NONE,
    STR,
    Alternatives,
    Container,
    RecordRef,
    TypeTree,
    union,
)
from langchain_ptc.check.arguments import Leniency
from langchain_ptc.check.checker import MAX_PROBLEMS, make_problem, read_program
from langchain_ptc.check.inference import (
    CatalogNames,
    Found,
    Given,
    Inference,
    ModuleValue,
    ToolValue,
    is_closed,
    kind_of,
)
from langchain_ptc.check.program import (
    DEAD,
    TOOL_CALL_ERROR,
    Facts,
    Handlers,
    OutOfWork,
    Program,
    Work,
)
from langchain_ptc.errors import Problem

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition, ToolParameter

_CODE = "code.py"
_SECONDS = 20.0
MAX_REPORTS = 200  # the maximum number of reports of ty that are read, in its order
ARGUMENT_RULE = "invalid-argument-type"  # other rules about calls are covered by the check
USE_RULES: Mapping[str, str] = {
    "invalid-await": "TypeError",
    "invalid-typed-dict-key": "KeyError",
    "missing-attribute": "AttributeError",
    "not-iterable": "TypeError",
    "unsupported-operator": "TypeError",
}
"""Rules about misused values, and the exceptions that are raised. Those of calls
and subscripts are left out: they do not distinguish a value from one of several, nor does `x += y`."""
_AWAITING = frozenset({"to_thread", "run_in_executor"})  # they await what is awaitable
_Report: TypeAlias = tuple[str, str, Mapping[str, int], Mapping[str, int]]
"""Rule, message, and where it begins and ends: lines and columns from 1."""
_GIVEN_NAMES = """\
class ToolCallError(Exception):
    tool: str
    limit: str | None
    allowed: float | None
    used: float | None
"""


def typecheck_code(
    code: str, catalog: ToolCatalog, *, kept: Collection[str] | None = ()
) -> tuple[Problem, ...]:
    """Return what the type checker ty is certain of in `code`, in its words and the order of lines; nothing is run.

    It blocks for about a quarter of a second: call it in a thread. There is nothing if ty does not come to an end; an
    `ImportError` says that it is not installed.
    """
    if importlib.util.find_spec("ty") is None:
        raise ImportError(
            "typecheck_code needs the type checker ty; install it with "
            "pip install 'langchain-ptc[typecheck]'"
        )
    program = read_program(code)
    if program is None:
        return ()
    given = Given(CatalogNames(catalog), program, kept=kept)
    stubs = group([_certain(definition, catalog) for definition in catalog])
    with tempfile.TemporaryDirectory(prefix="ptc-typecheck-") as folder:
        _write_project(Path(folder), code, program, given, render_package(stubs))
        reports = _run_ty(Path(folder))
    problems: dict[tuple[int, int, str], Problem] = {}
    with contextlib.suppress(OutOfWork):
        for found in _judge(program, code, stubs, given, reports):
            problem = make_problem(code, found)
            problems[problem.line, problem.column, problem.message] = problem
    return tuple(problems[place] for place in sorted(problems)[:MAX_PROBLEMS])


# --- the input of ty -----------------------------------------------------------------------------


def _certain(definition: ToolDefinition, catalog: ToolCatalog) -> ToolDefinition:
    """Return a tool with the certain part of its return type, and with all that it accepts."""
    records = {record.key: record for record in definition.records if is_closed(record)}
    lenient = Leniency(definition)

    def certain(tree: TypeTree) -> TypeTree:
        if isinstance(tree, Container) and tree.name != "dict":  # its keys are attributes too
            return replace(tree, args=tuple(map(certain, tree.args)))
        is_open = isinstance(tree, RecordRef) and tree.key not in records
        return ANY if is_open or isinstance(tree, Alternatives | Container) else tree

    def taken(parameter: ToolParameter) -> TypeTree:
        if lenient.accepts_anything:
            return ANY
        kind = kind_of(parameter.type)
        number = [FLOAT] if kind != "str" or lenient.takes_numbers_as_text else []
        absent = [] if parameter.required else [NONE]
        is_plain = kind in ("str", "int", "float", "bool")
        return union([STR, *number, *absent]) if is_plain else ANY

    return replace(
        definition,
        returns=certain(catalog.certain_returns(definition)),
        parameters=tuple(replace(p, type=taken(p)) for p in definition.parameters),
        extra=None if definition.extra is None else ANY,
        records=tuple(
            replace(record, fields=tuple(replace(f, type=certain(f.type)) for f in record.fields))
            for record in records.values()
        ),
    )


def _write_project(
    folder: Path, code: str, program: Program, given: Given, package: Mapping[str, str]
) -> None:
    for path, source in package.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = source if program.is_async else re.sub(r"(?m)^async def ", "def ", source)
        (folder / path).write_text(text, "utf-8")
    names = []
    for name in sorted(given.names.bare):
        value = given.bare(name)
        domain = value.definition.domain if isinstance(value, ToolValue) else None
        if isinstance(value, ToolValue):
            names.append(f"from tools{f'.{domain}' if domain else ''} import {name} as {name}")
        elif isinstance(value, ModuleValue):
            names.append(f"import {value.name} as {name}")
    (folder / "__builtins__.pyi").write_text("\n".join([*names, _GIVEN_NAMES]), "utf-8")
    (folder / _CODE).write_text(code, "utf-8", errors="replace")
    rules = "".join(f'{rule} = "error"\n' for rule in sorted({ARGUMENT_RULE, *USE_RULES}))
    (folder / "ty.toml").write_text(f'[rules]\nall = "ignore"\n{rules}', "utf-8")


def _run_ty(folder: Path) -> list[_Report]:
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
        return []
    found = []
    for report in reports[:MAX_REPORTS]:
        rule, place = report["check_name"], report["location"]["positions"]
        message = report["description"].removeprefix(f"{rule}: ")
        found.append((rule, message, place["begin"], place["end"]))
    return found


# --- which of its reports are certain -------------------------------------------------------------


def _judge(
    program: Program, code: str, stubs: list[DomainStubs], given: Given, reports: list[_Report]
) -> Iterator[Found]:
    """Yield the reports that apply in the sandbox: what they point at is reached and raises for certain."""
    work, facts, lines = Work(), Facts(program), code.splitlines()
    handlers, inference = Handlers(program, work), Inference(program, facts, given, work)
    span = operator.attrgetter("lineno", "col_offset", "end_lineno", "end_col_offset")
    nodes = {span(node): node for node in program.nodes if hasattr(node, "lineno")}
    records = [record for domain in stubs for record, _ in domain.records.values()]
    fields = {field.name for record in records for field in record.fields}
    changed = facts.changed - facts.displays - {"self"}
    is_changed = bool(changed or facts.opaque or facts.has_operators)
    is_sure = not is_changed and not _AWAITING & program.reads.keys()
    for rule, message, begin, end in reports:
        node = nodes.get((*_in_bytes(lines, begin), *_in_bytes(lines, end)))
        if node is None or program.reach(node) == DEAD or " | " in message:
            continue
        call, definition = program.parents.get(node), None
        tool = inference.infer(call.func) if isinstance(call, ast.Call) else None
        if rule in USE_RULES:
            named = getattr(node, "attr", getattr(node, "value", None))
            is_known = isinstance(named, str) and named in facts.stored
            # Fields of records are attributes too, which types cannot say.
            is_known |= isinstance(node, ast.Attribute) and node.attr in fields
            certain = is_sure and not is_known and not isinstance(node, ast.AugAssign)
            caught = handlers.may_catch(node, USE_RULES[rule])
        elif isinstance(call, ast.Call) and isinstance(tool, ToolValue):
            definition, certain = tool.definition, True
            is_awaited = isinstance(program.parents.get(call), ast.Await)
            settled = is_awaited or not program.is_async
            caught = handlers.may_catch(call, TOOL_CALL_ERROR, settled=settled)
        else:
            continue
        if certain and not caught:
            yield Found(node, message.replace("`", "'"), (), definition)


def _in_bytes(lines: list[str], place: Mapping[str, int]) -> tuple[int, int]:
    """Return a line, and a column from 1 in characters as one from 0 in bytes."""
    line, column = place["line"], place["column"]
    text = lines[line - 1] if line <= len(lines) else ""
    return line, len(text[: column - 1].encode(errors="replace"))
