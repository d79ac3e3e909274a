"""Where the code itself catches what would go wrong: there, nothing is reported. Pure.

A program may try a call to see whether it works. So a problem is reported only where the exception
that it means would certainly leave the program: no `try`, no `suppress`, no `return_exceptions=True`
on its way, in the function where it is raised, in its callers, or where a task is awaited.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

from langchain_ptc.check.facts import Facts
from langchain_ptc.check.work import Work

TOOL_CALL_ERROR = "ToolCallError"
_FOREIGN_ERRORS = frozenset({"asyncio", "json", "re", "decimal", "zoneinfo", "statistics"})
"""Modules none of whose exceptions is raised by what the check looks for."""
_SWALLOWING = frozenset(
    {"__exit__", "__aexit__", "contextmanager", "asynccontextmanager", "ExitStack"}
    | {"AsyncExitStack", "suppress", "assertRaises", "raises"}
)
_SETTLING = frozenset({"gather", "run", "wait_for", "shield", "run_until_complete"})
"""Functions whose awaitables are awaited where the call stands."""
_LEAVES = (ast.Return, ast.Break, ast.Continue)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_GATHERED = (ast.List, ast.Tuple, ast.Starred, ast.ListComp, ast.GeneratorExp, ast.SetComp)


class Handlers:
    """What one program catches.

    Args:
        nodes: Every node of it.
        facts: What it does anywhere.
        bound: Every name that it binds.
        work: Counts the steps.
    """

    def __init__(
        self, nodes: Sequence[ast.AST], facts: Facts, bound: frozenset[str], work: Work
    ) -> None:
        self._facts = facts
        self._work = work
        self._anywhere: dict[str, bool] = {}
        self._inside: dict[ast.AST, bool] = {}
        self._bound = bound
        self._tries = [node for node in nodes if isinstance(node, ast.Try | ast.TryStar)]
        self._swallows = any(map(_is_swallowing, nodes))
        self._collects = any(map(_is_collecting, nodes))
        self._references: dict[str, list[ast.AST]] = {}
        for node in nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._references.setdefault(node.id, []).append(node)
            elif isinstance(node, ast.Attribute):
                self._references.setdefault(node.attr, []).append(node)

    def may_catch(self, node: ast.AST, error: str, *, settled: bool = True) -> bool:
        """Whether the code may catch `error` where `node` raises it.

        Args:
            node: Raises it.
            error: Name of its class.
            settled: Whether it is raised right there, and not where something is awaited later.
        """
        return self._may_catch(node, error, settled=settled, seen=set())

    def is_settled(self, call: ast.expr) -> bool:
        """Whether the awaitable that `call` makes is awaited within the same expression."""
        node: ast.AST = call
        for parent in self._facts.ancestors(call):
            self._work.spend()
            if isinstance(parent, ast.Await):
                return True
            if isinstance(parent, ast.Call):
                name = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
                if name not in _SETTLING or node is parent.func or _is_collecting(parent):
                    return False
                if name in ("run", "run_until_complete"):
                    return True
            elif isinstance(parent, ast.ListComp | ast.GeneratorExp | ast.SetComp):
                if node is not parent.elt:
                    return False
            elif not isinstance(parent, _GATHERED):
                return False
            node = parent
        return False

    # --- the way of an exception ----------------------------------------------------------------

    def _may_catch(self, node: ast.AST, error: str, *, settled: bool, seen: set[ast.AST]) -> bool:
        if not settled:
            return self._catches_anywhere(error)
        child = node
        for parent in self._facts.ancestors(node):
            self._work.spend()
            if isinstance(parent, ast.Try | ast.TryStar) and self._is_caught(parent, child, error):
                return True
            if isinstance(parent, ast.With | ast.AsyncWith) and self._swallows:
                return True
            if isinstance(parent, ast.GeneratorExp):
                holder = self._facts.parents.get(parent)
                if not isinstance(holder, ast.Call | ast.Starred):
                    return self._catches_anywhere(error)
            if isinstance(parent, _FUNCTIONS):
                inside = child not in getattr(parent, "decorator_list", ())
                if inside and child is not parent.args:
                    return self._callers_may_catch(parent, error, seen)
            child = parent
        return False

    def _is_caught(self, block: ast.Try | ast.TryStar, child: ast.AST, error: str) -> bool:
        if block.finalbody and self._holds(block, block.finalbody, _LEAVES):
            return child not in block.finalbody
        return child in block.body and any(
            self._handles(handler.type, error) for handler in block.handlers
        )

    def _holds(
        self, key: ast.AST, parts: Sequence[ast.AST], kinds: tuple[type[ast.AST], ...]
    ) -> bool:
        """Whether a node of one of these kinds stands in the parts; kept under `key`."""
        known = self._inside.get(key)
        if known is None:
            known = False
            for part in parts:
                for inner in ast.walk(part):
                    self._work.spend()
                    known = known or isinstance(inner, kinds)
            self._inside[key] = known
        return known

    def _handles(self, caught: ast.expr | None, error: str) -> bool:
        if caught is None:
            return True
        if isinstance(caught, ast.Tuple):
            return any(self._handles(part, error) for part in caught.elts)
        if isinstance(caught, ast.Attribute) and isinstance(caught.value, ast.Name):
            return caught.value.id not in _FOREIGN_ERRORS
        if not isinstance(caught, ast.Name):
            return True
        if caught.id in self._bound:
            return caught.id != TOOL_CALL_ERROR or error == TOOL_CALL_ERROR
        if caught.id == TOOL_CALL_ERROR:
            return error == TOOL_CALL_ERROR
        kind = getattr(builtins, caught.id, None)
        if not isinstance(kind, type) or issubclass(kind, BaseExceptionGroup):
            return True
        raised = getattr(builtins, error, Exception)
        return issubclass(raised, kind)

    def _catches_anywhere(self, error: str) -> bool:
        if error not in self._anywhere:
            self._anywhere[error] = (
                self._swallows
                or self._collects
                or any(self._handles(h.type, error) for t in self._tries for h in t.handlers)
            )
        return self._anywhere[error]

    def _is_lazy(self, function: ast.AST) -> bool:
        return self._holds(function, [function], (ast.Yield, ast.YieldFrom))

    def _callers_may_catch(
        self,
        function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        error: str,
        seen: set[ast.AST],
    ) -> bool:
        if function in seen:
            return False
        seen.add(function)
        if isinstance(function, ast.Lambda) or function.decorator_list or self._is_lazy(function):
            return self._catches_anywhere(error)
        if function.name.startswith("__"):
            return self._catches_anywhere(error)
        for reference in self._references.get(function.name, ()):
            call = self._facts.parents.get(reference)
            is_call = isinstance(call, ast.Call) and call.func is reference
            if not is_call or not isinstance(call, ast.Call):
                if self._catches_anywhere(error):
                    return True
                continue
            waits = isinstance(function, ast.AsyncFunctionDef)
            settled = self.is_settled(call) if waits else True
            if self._may_catch(call, error, settled=settled, seen=seen):
                return True
        return False


def _is_swallowing(node: ast.AST) -> bool:
    """Whether there is a context manager of the code's own, or one that catches exceptions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name in _SWALLOWING
    if isinstance(node, ast.Name):
        return node.id in _SWALLOWING
    if isinstance(node, ast.alias):
        return node.name in _SWALLOWING
    return isinstance(node, ast.Attribute) and node.attr in _SWALLOWING


def _is_collecting(node: ast.AST) -> bool:
    """Whether exceptions are collected as values: `gather(..., return_exceptions=True)` and kin."""
    if isinstance(node, ast.Call):
        gathers = getattr(node.func, "attr", getattr(node.func, "id", "")) == "gather"
        for keyword in node.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "return_exceptions" and not off:
                return True
            if keyword.arg is None and gathers:
                return True
    if isinstance(node, ast.Name):
        return node.id == "wait"
    return isinstance(node, ast.Attribute) and node.attr in (
        "exception",
        "wait",
        "add_done_callback",
    )
