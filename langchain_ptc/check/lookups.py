"""Undefined names and missing modules: tools, domains, imports. Pure."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from langchain_ptc.check.inference import Inference
from langchain_ptc.check.program import SURE
from langchain_ptc.check.values import MAX_NAME_CHARS, Found, ModuleValue, ToolValue, Value
from langchain_ptc.sandbox.allowed_modules import (
    REFUSED_MODULES,
    import_hint,
    is_member,
    member_hint,
    reason_to_refuse,
)
from langchain_ptc.sandbox.language.scopes import Function
from langchain_ptc.wording import closest, cut, did_you_mean

_STEPS_OF_A_SEARCH = 500
_OF_FUNCTIONS = frozenset(dir(lambda: None))
_OF_LANGCHAIN = frozenset(
    {"invoke", "ainvoke", "run", "arun", "func", "coroutine", "batch", "abatch"}
)
_NO_MODULE = ("ModuleNotFoundError",)


class Lookups:
    """Finds undefined names and missing modules.

    Args:
        inference: The values of the program's expressions.
        modules: Names of the modules that it may import; None if they are not known.
    """

    def __init__(self, inference: Inference, modules: Collection[str] | None) -> None:
        self._program = inference.program
        self._facts = inference.facts
        self._given = inference.given
        self._work = inference.work
        self._infer = inference.infer
        self._is_bound = inference.is_bound
        self._is_hidden = inference.is_hidden
        self._modules = modules

    def doubtful_names(self) -> list[ast.Name]:
        """Return the names that may be undefined: not known, and not bound at the top level."""
        kinds, bound = self._program.kinds, self._program.module.bindings
        known, implied, kept = self._given.names.known, self._given.implied, self._given.kept
        if self._program.reflects or kept is None:
            return []
        augmented = {getattr(node.target, "id", "") for node in kinds.get(ast.AugAssign, ())}
        return [
            node
            for node in kinds.get(ast.Name, ())
            if isinstance(node.ctx, ast.Load)
            and (node.id not in bound or node.id in augmented)
            and not (node.id in known or node.id in implied or node.id in kept)
        ]

    # --- imports --------------------------------------------------------------------------------

    def _check_import(self, node: ast.Import) -> Iterator[Found]:
        for alias in node.names:
            yield from self._check_module(node, alias.name)

    def _check_import_from(self, node: ast.ImportFrom) -> Iterator[Found]:
        module = node.module or ""
        if node.level:
            return
        missing = list(self._check_module(node, module))
        yield from missing
        for alias in node.names if not missing and module.partition(".")[0] == "tools" else ():
            if alias.name != "*" and self._given.member(module, alias.name) is None:
                message = f"{module} has no tool {alias.name!r}{self._suggest(alias.name)}"
                yield Found(alias, message, ("ImportError",))

    def _check_module(self, node: ast.AST, name: str) -> Iterator[Found]:
        if name.partition(".")[0] == "tools":
            path, _, tool = name.rpartition(".")
            if self._given.is_module(name):
                return
            message = f"there is no module {name!r}{self._domains()}"
            if self._given.is_module(path) and self._given.member(path, tool) is not None:
                message = f"{name!r} is a tool, not a module: from {path} import {tool}"
            yield Found(node, message, _NO_MODULE)
        elif self._modules is not None and not _has_module(name, self._modules):
            message = f"module {name!r} is not available in the sandbox{self._why_no_module(name)}"
            yield Found(node, message, _NO_MODULE, module=name)

    def _why_no_module(self, name: str) -> str:
        if name in self._given.names.domains:
            return f"; the tools of this domain are in tools.{name}"
        if self._given.catalog.get(name) is not None:
            return f"; {name!r} is a tool: it needs no import"
        if reason := reason_to_refuse(name):
            return f": {reason}"
        self._work.spend(_STEPS_OF_A_SEARCH)
        close = closest(name, sorted({"tools", *(self._modules or ())}), cutoff=0.8)
        return (
            f"{did_you_mean(close)}: use the standard library of computing, or a tool (the "
            f"developer can allow it with imports=[{name!r}])"
        )

    # --- names ----------------------------------------------------------------------------------

    def _check_attribute(self, node: ast.Attribute) -> Iterable[Found]:
        value = self._infer(node.value)
        is_checked = isinstance(value, ToolValue | ModuleValue) and isinstance(node.ctx, ast.Load)
        return self._check_member(node, value) if is_checked else ()

    def _check_member(self, node: ast.Attribute, value: Value) -> Iterator[Found]:
        name = node.attr
        # Whether the code sets the name itself, or asks for it before.
        is_stored = name in self._facts.stored
        definition = None
        if isinstance(value, ToolValue):
            tool, definition = value.definition.name, value.definition
            if name in _OF_FUNCTIONS or is_stored:
                return
            hint = f"; call it as {tool}(...)" if name in _OF_LANGCHAIN else ""
            message = f"{tool} is a function and has no attribute {name!r}{hint}"
        elif not isinstance(value, ModuleValue) or self._program.reflects or is_stored:
            return
        elif self._given.is_module(value.name):
            if self._given.member(value.name, name) is not None:
                return
            message = f"{value.name} has no tool {name!r}{self._suggest(name)}"
        else:  # `datetime.now` of the module `datetime`, where it is reached for certain
            if is_member(value.name, name) or self._program.reach(node) < SURE:
                return
            hint = f"; write `{found}`" if (found := member_hint(value.name, name)) else ""
            shown = cut(name, MAX_NAME_CHARS)
            message = f"module {value.name!r} has no attribute {shown!r} in the sandbox{hint}"
        yield Found(node, message, ("AttributeError",), definition)

    def _check_augmented(self, node: ast.AugAssign) -> Iterable[Found]:
        is_checked = isinstance(node.target, ast.Name) and not self._program.reflects
        return self._check_name(node.target) if is_checked else ()  # type: ignore[arg-type]

    def _check_name(self, node: ast.Name) -> Iterator[Found]:
        name = node.id
        if self._is_bound(node) or self._is_hidden(node) or self._given.bare(name) is not None:
            return
        domains = self._given.shared_by(name)
        if domains:
            choices = " or ".join(f"from tools.{domain} import {name}" for domain in domains)
            yield Found(node, f"{name!r} is in several domains: {choices}", ("NameError",))
            return
        parent = self._program.parents.get(node)
        is_called = isinstance(parent, ast.Call) and parent.func is node
        what = "tool or function" if is_called else "tool or variable"
        if self._program.reach(node) < SURE and not is_called and not self._suggest(name):
            return
        message = f"there is no {what} {cut(name, MAX_NAME_CHARS)!r}{self._hint(name)}"
        yield Found(node, message, ("NameError",))

    def _hint(self, name: str) -> str:
        """Return what to write instead of an undefined name."""
        if found := import_hint(name):
            return f"; write `{found}`"
        if name in REFUSED_MODULES:
            return f"; module {name!r} is not available in the sandbox: {REFUSED_MODULES[name]}"
        return self._suggest(name)

    def _check_definition(self, node: Function) -> Iterator[Found]:
        """Find a copied stub: it hides the tool, and calling it silently does nothing."""
        value = self._given.names.bare.get(node.name)
        if (
            isinstance(value, ToolValue)
            and isinstance(self._program.parents.get(node), ast.Module)
            and node.name in self._program.reads
            and not node.decorator_list
            and all(_is_no_code(statement) for statement in node.body)
        ):
            message = (
                f"this defines {node.name!r} again with an empty body, and hides the tool: remove the "
                "definition"
            )
            yield Found(node, message)

    def _suggest(self, name: str) -> str:
        if len(name) > MAX_NAME_CHARS:
            return ""
        self._work.spend(_STEPS_OF_A_SEARCH)
        return did_you_mean(self._given.catalog.suggest(name))

    def _domains(self) -> str:
        domains = sorted(self._given.names.domains)
        if not domains:
            return "; the tools have no domains: from tools import <tool>"
        shown = ", ".join(f"tools.{domain}" for domain in domains[:10])
        return f"; the domains are {shown}{', …' if len(domains) > 10 else ''}"

    CHECKS: ClassVar[Mapping[type[ast.AST], Callable[[Lookups, Any], Iterable[Found]]]] = {
        ast.Import: _check_import,
        ast.ImportFrom: _check_import_from,
        ast.Attribute: _check_attribute,
        ast.Name: _check_name,
        ast.AugAssign: _check_augmented,
        ast.FunctionDef: _check_definition,
        ast.AsyncFunctionDef: _check_definition,
    }


def _is_no_code(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring or `...`, as in the body of a stub."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and (isinstance(statement.value.value, str) or statement.value.value is ...)
    )


def _has_module(name: str, modules: Collection[str]) -> bool:
    """Whether a module may be imported: it is listed, or part of one that the developer allows."""
    if name in modules or name == "__future__":
        return True
    parts = name.split(".")
    paths = (".".join(parts[:number]) for number in range(1, len(parts)))
    if parts[0] not in sys.stdlib_module_names and any(path in modules for path in paths):
        return True
    return any(other.startswith(f"{name}.") for other in modules)
