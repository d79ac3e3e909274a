"""The check before the run: errors that a program would certainly raise, found by static analysis.

Only what is certain is reported: a wrong alarm costs a program that would have worked, a miss only the
time until the program says so itself. Pure: nothing is imported, called or run.
"""

from __future__ import annotations

import ast
import contextlib
import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langchain_ptc.catalog.stubs import group, render_signature, stub_parameters
from langchain_ptc.check.arguments import Arguments, Leniency
from langchain_ptc.check.facts import TOOL_CALL_ERROR, Facts, Handlers
from langchain_ptc.check.inference import CatalogNames, Given, Inference
from langchain_ptc.check.lookups import Lookups
from langchain_ptc.check.program import DEAD, OutOfWork, Program, Work
from langchain_ptc.check.uses import Uses
from langchain_ptc.check.values import MAX_NAME_CHARS, Found, ToolValue
from langchain_ptc.errors import Problem
from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.language.reading import parse_quietly
from langchain_ptc.wording import cut

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition

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
            check = _Check(program, given, self._modules, self._lenient)
            for problem in check.problems():
                made = make_problem(code, problem)
                found.setdefault((made.line, made.column, made.message), made)
                if len(found) >= MAX_PROBLEMS:
                    break
        return tuple(sorted(found.values(), key=lambda p: (p.line, p.column)))


class _Check:
    """The check of one program."""

    def __init__(
        self,
        program: Program,
        given: Given,
        modules: Collection[str] | None,
        lenient: dict[str, Leniency],
    ) -> None:
        self._work = work = Work()
        self._program = program
        self._inference = inference = Inference(program, Facts(program), given, work)
        self._arguments = Arguments(inference, lenient)
        self._lookups = Lookups(inference, modules)
        self._uses = Uses(inference)

    @cached_property
    def _handlers(self) -> Handlers:
        return Handlers(self._program, self._work)

    def problems(self) -> Iterator[Found]:
        """Yield what is wrong, and not caught by the code, in the order of the lines."""
        nodes: list[Any] = self._lookups.doubtful_names()
        for kind, same in self._program.kinds.items():
            if kind is not ast.Name and (kind in Lookups.CHECKS or kind in Uses.CHECKS):
                nodes += same
        # In the order of the lines: the check stops at the maximum number of problems.
        nodes.sort(key=_PLACE)
        for node in nodes:
            kind = type(node)
            if kind in Lookups.CHECKS and (found := Lookups.CHECKS[kind](self._lookups, node)):
                yield from self._uncaught(node, found)
            if kind in Uses.CHECKS and (found := Uses.CHECKS[kind](self._uses, node)):
                yield from self._uncaught(node, found)
            if kind is ast.Call and isinstance(tool := self._inference.infer(node.func), ToolValue):
                yield from self._check_arguments(node, tool)

    def _uncaught(self, node: ast.AST, problems: Iterable[Found]) -> Iterator[Found]:
        for found in problems:
            # An error that may be one of several is caught if any of them is.
            caught = (self._handlers.may_catch(found.node, name) for name in found.errors)
            if self._program.reach(node) != DEAD and not any(caught):
                yield found

    def _check_arguments(self, node: ast.Call, tool: ToolValue) -> Iterator[Found]:
        wrong = self._arguments.check(node, tool.definition)
        if wrong is None or self._program.reach(node) == DEAD:
            return
        settled = not self._program.is_async or self._handlers.is_settled(node)
        if not self._handlers.may_catch(node, TOOL_CALL_ERROR, settled=settled):
            yield wrong


_PLACE = operator.attrgetter("lineno", "col_offset")


def make_problem(code: str, found: Found) -> Problem:
    """Return the report of one problem."""
    lines = code.splitlines()
    line = getattr(found.node, "lineno", 1)
    text = lines[line - 1] if line <= len(lines) else ""
    offset = getattr(found.node, "col_offset", 0)  # in bytes
    return Problem(
        line=line,
        column=len(text.encode(errors="replace")[:offset].decode(errors="ignore")) + 1,
        message=cut(found.message, MAX_MESSAGE_CHARS),
        source_line=cut(text, MAX_SOURCE_CHARS),
        signature="" if found.definition is None else _signature(found.definition),
        module=cut(found.module, MAX_NAME_CHARS),
    )


def _signature(definition: ToolDefinition) -> str:
    """Return the signature of a tool as in its stub."""
    [stubs] = group([definition])
    names = stubs.names[definition.name]
    return render_signature(definition, names, stub_parameters(definition, names)).removesuffix(":")


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
