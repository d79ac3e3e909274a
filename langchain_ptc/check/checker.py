"""The check before the run: errors that a program would certainly raise, found by static analysis.

Only what is certain is reported: a wrong alarm costs a program that would have worked, a miss only the
time until the program says so itself. Pure: nothing is imported, called or run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from langchain_ptc.catalog.stubs import group, render_signature
from langchain_ptc.check.arguments import Leniency
from langchain_ptc.check.inference import MAX_NAME_CHARS, CatalogNames, Found, Given
from langchain_ptc.check.problems import Check
from langchain_ptc.check.program import OutOfWork, Program
from langchain_ptc.errors import Problem
from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.language.reading import parse_quietly
from langchain_ptc.wording import cut

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

MAX_PROBLEMS = 20
"""The maximum number of problems that are reported for one program."""
MAX_CHARS = 20_000
"""Length of a program that is checked; a longer one runs unchecked.

Python's parser holds the interpreter, and so the whole process, while it reads: for code of this length,
whatever it is, some 50 ms. Programs that models write have some hundred characters, rarely 3,000.
"""
MAX_MESSAGE_CHARS = 600
MAX_SOURCE_CHARS = 2_000
OPENING = "The code was not run, and no tool was called: it could not have worked."
MAX_LINE_CHARS = 160
MAX_SIGNATURE_CHARS = 1_500
MAX_REPORT_CHARS = 6_000


def read_program(code: str) -> Program | None:
    """Return the program; None for code that is not valid Python, or is too long or too deep to check."""
    if len(code) > MAX_CHARS:
        return None
    try:
        return Program(parse_quietly(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return None


class Checker:
    """Checks programs before they run.

    Args:
        catalog: The tools that they may call.
        modules: Names of the modules that they may import (`Sandbox.modules`); None to check no
            import but those of tools.
    """

    def __init__(self, catalog: ToolCatalog, modules: Collection[str] | None) -> None:
        self._catalog = catalog
        self._modules = modules
        self._lenient: dict[str, Leniency] = {}

    @cached_property
    def _names(self) -> CatalogNames:
        return CatalogNames(self._catalog)

    def check(self, code: str, *, kept: Collection[str] | None = ()) -> tuple[Problem, ...]:
        """Return the errors that `code` would certainly raise; nothing of it is run.

        Args:
            code: What the model wrote. Code that is not valid Python has no problems here: the sandbox
                says what is wrong with it.
            kept: Names of the session's variables; None if they are not known.

        Returns:
            The problems in order of line, each of them certain; at most `MAX_PROBLEMS`. Those found until
            then where the code is more work than a program is worth.
        """
        program = read_program(code)
        if program is None:
            return ()
        found: dict[tuple[int, int, str], Problem] = {}
        with contextlib.suppress(OutOfWork, RecursionError):
            given = Given(self._names, program, self._modules or (), kept)
            check = Check(program, given, self._modules, self._lenient)
            for problem in check.problems():
                made = make_problem(code, problem)
                found.setdefault((made.line, made.column, made.message), made)
                if len(found) >= MAX_PROBLEMS:
                    break
        return tuple(sorted(found.values(), key=lambda p: (p.line, p.column)))


def make_problem(code: str, found: Found) -> Problem:
    """Return the report of one problem."""
    lines = code.splitlines()
    line = getattr(found.node, "lineno", 1)
    text = lines[line - 1] if line <= len(lines) else ""
    offset = getattr(found.node, "col_offset", 0)  # in bytes
    definition, signature = found.definition, ""
    if definition is not None:
        [stubs] = group([definition])
        signature = render_signature(definition, stubs.names[definition.name]).removesuffix(":")
    return Problem(
        line=line,
        column=len(text.encode(errors="replace")[:offset].decode(errors="ignore")) + 1,
        message=cut(found.message, MAX_MESSAGE_CHARS),
        source_line=cut(text, MAX_SOURCE_CHARS),
        signature=signature,
        module=cut(found.module, MAX_NAME_CHARS),
    )


def render_problems(problems: Sequence[Problem]) -> str:
    """Return what is wrong, line by line, with the right signatures.

    Args:
        problems: As `check_code` gives them, in order of line.

    Returns:
        Text for the model; an empty string if there are no problems.
    """
    blocks = [OPENING] if problems else []
    shown: set[str] = set()
    room = MAX_REPORT_CHARS
    for number, problem in enumerate(problems):
        lines = [f"line {problem.line}: {problem.message}", *_point(problem)]
        if problem.signature and problem.signature not in shown:
            shown.add(problem.signature)
            signature = cut(problem.signature, MAX_SIGNATURE_CHARS).replace("\n", "\n  ")
            lines.append(f"  the tool is: {signature}")
        block = "\n".join(lines)
        room -= len(block)
        if number and room < 0:
            blocks.append(f"… and {len(problems) - number} more problems")
            break
        blocks.append(block)
    return "\n".join(blocks)


def _point(problem: Problem) -> list[str]:
    """Return the source line with a caret under the column; an excerpt of a long line."""
    source = problem.source_line.rstrip()
    if not source.strip():
        return []
    column = problem.column - 1
    if column > len(source):  # the line is longer than what is kept of it
        return [f"    {source.lstrip()[:MAX_LINE_CHARS]}"]
    start = len(source) - len(source.lstrip())
    if column - start > MAX_LINE_CHARS // 2:
        start = column - MAX_LINE_CHARS // 2
    shown = source[start : start + MAX_LINE_CHARS]
    space = "".join("\t" if char == "\t" else " " for char in shown[: max(column - start, 0)])
    return [f"    {shown}", f"    {space}^"]
