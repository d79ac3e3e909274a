"""The check before the run: what in a program could not have worked, found by reading it.

Only what is certain is reported: a wrong alarm costs a program that would have worked, a miss only the
time until the program says so itself. Pure: nothing is imported, called or run.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
from collections.abc import Collection

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition
from langchain_ptc.check.arguments import Arguments
from langchain_ptc.check.facts import Facts
from langchain_ptc.check.found import Found
from langchain_ptc.check.handled import TOOL_CALL_ERROR, Handlers
from langchain_ptc.check.inference import Inference
from langchain_ptc.check.lookups import Lookups
from langchain_ptc.check.names import Given
from langchain_ptc.check.reach import find_uncertain, find_unreached
from langchain_ptc.check.scopes import Scopes
from langchain_ptc.check.uses import Uses
from langchain_ptc.check.values import ToolValue, only
from langchain_ptc.check.words import MAX_NAME_CHARS, clip, signature
from langchain_ptc.check.work import OutOfWork, Work
from langchain_ptc.errors import Problem
from langchain_ptc.sandbox.language.implied import find_implied
from langchain_ptc.sandbox.language.reading import parse_quietly
from langchain_ptc.sandbox.language.shape import all_nodes, is_async

MAX_PROBLEMS = 20
"""Problems that are reported of one program; the first ones tell what to mend."""
MAX_CHARS = 20_000
"""Length of a program that is checked; a longer one runs unchecked.

Python's parser holds the interpreter, and so the whole process, while it reads: for code of this length,
whatever it is, some 50 ms. Programs that models write have some hundred characters, rarely 3,000.
"""
MAX_TOLD = 5
"""Mistakes of one call that are reported."""
MAX_MESSAGE_CHARS = 600
MAX_SOURCE_CHARS = 2_000


def check_code(
    code: str,
    catalog: ToolCatalog,
    *,
    modules: Collection[str] | None,
    kept: Collection[str] | None = (),
) -> tuple[Problem, ...]:
    """Return what in `code` could not have worked; nothing of it is run.

    Args:
        code: What the model wrote. Code that is no Python has no problems here: the sandbox says
            what is wrong with it.
        catalog: The tools that it may call.
        modules: Names of the modules that it may import (`Sandbox.modules`); None to look at no
            import but those of tools.
        kept: Names that its session keeps from earlier programs; None if they are not known.

    Returns:
        The problems in order of line, each of them certain; at most `MAX_PROBLEMS`.
    """
    if len(code) > MAX_CHARS:
        return ()
    try:
        tree = parse_quietly(code)
        return _Check(tree, code, catalog, modules=modules, kept=kept).run()
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError, OutOfWork):
        return ()  # no Python, nested too deeply, or more work than a program is worth


class _Check:
    """The check of one program."""

    def __init__(
        self,
        tree: ast.Module,
        code: str,
        catalog: ToolCatalog,
        *,
        modules: Collection[str] | None,
        kept: Collection[str] | None,
    ) -> None:
        self._lines = code.splitlines()
        self._found: dict[tuple[int, int, str], Problem] = {}
        self._nodes = nodes = all_nodes(tree)
        work = Work()
        self._facts = facts = Facts(nodes)
        scopes = Scopes(tree)
        self._handlers = Handlers(nodes, facts, scopes.names(), work)
        given = Given(catalog, kept, find_implied(tree, nodes, modules or ()))
        self._inference = Inference(scopes, facts, given, work, asynchronous=is_async(nodes))
        self._arguments = Arguments(self._inference)
        self._lookups = Lookups(
            self._inference, given, facts, modules, find_uncertain(nodes, facts)
        )
        self._uses = Uses(self._inference, facts)

    def run(self) -> tuple[Problem, ...]:
        """Return the problems in order of line; those found until then where it is too much work."""
        unreached = find_unreached(self._nodes, self._facts)
        # In the order of the lines, so that hostile code with many problems is not looked at to its end.
        with contextlib.suppress(OutOfWork):
            for node in sorted(self._nodes, key=_place):
                if node not in unreached:
                    self._check_node(node)
                if len(self._found) >= MAX_PROBLEMS:
                    break
        ordered = sorted(self._found.values(), key=lambda p: (p.line, p.column))
        return tuple(ordered[:MAX_PROBLEMS])

    def _check_node(self, node: ast.AST) -> None:
        for found in itertools.chain(self._lookups.check(node), self._uses.check(node)):
            self._report(found)
        if isinstance(node, ast.Call):
            value = only(self._inference.infer(node.func))
            if isinstance(value, ToolValue):
                self._check_call(node, value.definition)

    def _check_call(self, call: ast.Call, definition: ToolDefinition) -> None:
        settled = not self._inference.asynchronous or self._handlers.is_settled(call)
        wrong = list(self._arguments.check(call, definition))
        if not wrong or self._handlers.may_catch(call, TOOL_CALL_ERROR, settled=settled):
            return
        message = "; ".join(dict.fromkeys(w.message for w in wrong[:MAX_TOLD]))
        if not message.startswith(f"{definition.name}()"):
            message = f"{definition.name}(): {message}"
        self._report(Found(wrong[0].node, message, "", definition))

    def _report(self, found: Found) -> None:
        # An error that may be one of several is caught if any of them is.
        node, message, definition = found.node, found.message, found.definition
        if any(self._handlers.may_catch(node, name) for name in found.error.split("|") if name):
            return
        line = getattr(node, "lineno", 1)
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        column = _characters(text, getattr(node, "col_offset", 0)) + 1
        message = clip(message, MAX_MESSAGE_CHARS)
        told = "" if definition is None else signature(definition)
        problem = Problem(
            line=line,
            column=column,
            message=message,
            source_line=clip(text, MAX_SOURCE_CHARS),
            signature=told,
            module=clip(found.module, MAX_NAME_CHARS),
        )
        self._found.setdefault((line, column, message), problem)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _characters(line: str, offset: int) -> int:
    """Return how many characters the first `offset` bytes of a line are."""
    return len(line.encode()[:offset].decode(errors="ignore"))
