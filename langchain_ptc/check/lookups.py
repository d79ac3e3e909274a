"""Names and modules that are not there: tools, domains, imports. Pure."""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Collection, Iterator

from langchain_ptc.check.facts import Facts
from langchain_ptc.check.found import Found
from langchain_ptc.check.inference import Inference
from langchain_ptc.check.names import Given
from langchain_ptc.check.values import ModuleValue, ToolValue, only
from langchain_ptc.check.words import MAX_NAME_CHARS, clip
from langchain_ptc.sandbox.allowed_modules import REFUSED_MODULES
from langchain_ptc.sandbox.language.implied import import_hint, is_member, member_hint

_STEPS_OF_A_SEARCH = 500
_OF_FUNCTIONS = frozenset(dir(lambda: None))
_OF_LANGCHAIN = frozenset(
    {"invoke", "ainvoke", "run", "arun", "func", "coroutine", "batch", "abatch"}
)


class Lookups:
    """Finds names that are not there.

    Args:
        inference: What the expressions of the program are worth.
        given: What it has without binding it.
        facts: What it does anywhere.
        modules: Names of the modules that it may import; None if they are not known.
        uncertain: The nodes of it that are not reached for certain.
    """

    def __init__(
        self,
        inference: Inference,
        given: Given,
        facts: Facts,
        modules: Collection[str] | None,
        uncertain: Collection[ast.AST],
    ) -> None:
        self._inference = inference
        self._given = given
        self._facts = facts
        self._modules = modules
        self._uncertain = uncertain

    def check(self, node: ast.AST) -> Iterator[Found]:
        """Yield what `node` names that is not there."""
        if isinstance(node, ast.ImportFrom):
            yield from self._check_import_from(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from self._check_module(node, alias.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield from self._check_attribute(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield from self._check_name(node)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield from self._check_name(node.target)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from self._check_definition(node)

    # --- imports --------------------------------------------------------------------------------

    def _check_import_from(self, node: ast.ImportFrom) -> Iterator[Found]:
        module = node.module or ""
        if node.level:
            return
        if module == "tools" or module.startswith("tools."):
            missing = list(self._check_module(node, module))
            yield from missing
            for alias in node.names if not missing else ():
                if alias.name != "*" and self._given.member(module, alias.name) is None:
                    message = f"{module} has no tool {alias.name!r}{self._suggest(alias.name)}"
                    yield Found(alias, message, "ImportError")
            return
        yield from self._check_module(node, module)

    def _check_module(self, node: ast.AST, name: str) -> Iterator[Found]:
        if name == "tools" or name.startswith("tools."):
            if not self._given.is_module(name) and not self._is_tool_path(name):
                yield Found(node, f"there is no module {name!r}{self._domains()}", _NO_MODULE)
            elif not self._given.is_module(name):
                path, _, tool = name.rpartition(".")
                message = f"{name!r} is a tool, not a module: from {path} import {tool}"
                yield Found(node, message, _NO_MODULE)
        elif self._modules is not None and not _has_module(name, self._modules):
            yield Found(node, self._why_no_module(name), _NO_MODULE, module=name)

    def _is_tool_path(self, name: str) -> bool:
        path, _, tool = name.rpartition(".")
        return self._given.is_module(path) and self._given.member(path, tool) is not None

    def _why_no_module(self, name: str) -> str:
        told = f"module {name!r} is not available in the sandbox"
        if name in self._given.domains:
            return f"{told}; the tools of this domain are in tools.{name}"
        definition = self._given.catalog.get(name)
        if definition is not None:
            return f"{told}; {name!r} is a tool: it needs no import"
        for path in _paths(name):
            if path in REFUSED_MODULES:
                return f"{told}: {REFUSED_MODULES[path]}"
        self._inference.work.spend(_STEPS_OF_A_SEARCH)
        known = [*(self._modules or ()), "tools"] if len(name) <= MAX_NAME_CHARS else []
        close = difflib.get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return (
            f"{told}: {hint}use the standard library of computing, or a tool (the developer can "
            f"allow it with imports=[{name!r}])"
        )

    # --- names ----------------------------------------------------------------------------------

    def _check_attribute(self, node: ast.Attribute) -> Iterator[Found]:
        value = only(self._inference.infer(node.value))
        if isinstance(value, ToolValue):
            name = node.attr
            if name not in _OF_FUNCTIONS and name not in self._facts.stored:
                tool = value.definition.name
                hint = f"; call it as {tool}(...)" if name in _OF_LANGCHAIN else ""
                message = f"{tool} is a function and has no attribute {name!r}{hint}"
                yield Found(node, message, "AttributeError", value.definition)
        elif isinstance(value, ModuleValue) and self._given.is_module(value.name):
            known = self._given.member(value.name, node.attr) is not None
            if not known and not self._facts.reflects and not self._is_asked(node):
                message = f"{value.name} has no tool {node.attr!r}{self._suggest(node.attr)}"
                yield Found(node, message, "AttributeError")
        elif isinstance(value, ModuleValue) and not is_member(value.name, node.attr):
            yield from self._check_member(node, value.name)

    def _check_member(self, node: ast.Attribute, module: str) -> Iterator[Found]:
        """Find `datetime.now` of the module `datetime`, where it is reached for certain."""
        if self._facts.reflects or self._is_asked(node) or node in self._uncertain:
            return
        told = clip(node.attr, MAX_NAME_CHARS)
        hint = f"; write `{found}`" if (found := member_hint(module, node.attr)) else ""
        message = f"module {module!r} has no attribute {told!r} in the sandbox{hint}"
        yield Found(node, message, "AttributeError")

    def _is_asked(self, node: ast.Attribute) -> bool:
        """Whether the code sets the name itself, or asks for it before."""
        return node.attr in self._facts.stored

    def _check_name(self, node: ast.Name) -> Iterator[Found]:
        name = node.id
        inference, given = self._inference, self._given
        if inference.is_bound(node) or inference.is_hidden(node):
            return
        if self._facts.reflects or given.bare(name) is not None:
            return
        shared = given.shared_by(name)
        if shared:
            domains = [qualified.rpartition(".")[0] for qualified in shared]
            choices = " or ".join(f"from tools.{domain} import {name}" for domain in domains)
            yield Found(node, f"{name!r} is in several domains: {choices}", "NameError")
            return
        parent = self._facts.parents.get(node)
        is_called = isinstance(parent, ast.Call) and parent.func is node
        what = "tool or function" if is_called else "tool or variable"
        if node in self._uncertain and not is_called and not self._suggest(name):
            return
        told = clip(name, MAX_NAME_CHARS)
        yield Found(node, f"there is no {what} {told!r}{self._hint(name)}", "NameError")

    def _hint(self, name: str) -> str:
        """Return what to write instead of a name that nothing binds."""
        if found := import_hint(name):
            return f"; write `{found}`"
        if name in REFUSED_MODULES:
            return f"; module {name!r} is not available in the sandbox: {REFUSED_MODULES[name]}"
        return self._suggest(name)

    def _check_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Found]:
        """Find a stub that was copied: it hides the tool, and calling it silently does nothing."""
        value = self._given.tool_or_domain(node.name)
        if (
            isinstance(value, ToolValue)
            and isinstance(self._facts.parents.get(node), ast.Module)
            and node.name in self._facts.loads
            and not node.decorator_list
            and all(_is_no_code(statement) for statement in node.body)
        ):
            message = (
                f"this defines {node.name!r} anew, with no code in it, and hides the tool: leave it "
                "out, the tool is there"
            )
            yield Found(node, message, "")

    def _suggest(self, name: str) -> str:
        if len(name) > MAX_NAME_CHARS:
            return ""
        self._inference.work.spend(_STEPS_OF_A_SEARCH)
        close = self._given.catalog.suggest(name)
        if not close:
            return ""
        return f"; did you mean {' or '.join(map(repr, close))}?"

    def _domains(self) -> str:
        domains = sorted(self._given.domains)
        if not domains:
            return "; the tools have no domains: from tools import <tool>"
        shown = ", ".join(f"tools.{domain}" for domain in domains[:10])
        return f"; the domains are {shown}{', …' if len(domains) > 10 else ''}"


_NO_MODULE = "ModuleNotFoundError"


def _is_no_code(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring or `...`, of which the body of a stub consists."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and (isinstance(statement.value.value, str) or statement.value.value is ...)
    )


def _paths(name: str) -> Iterator[str]:
    """Yield a dotted name and what it stands in, innermost first."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _has_module(name: str, modules: Collection[str]) -> bool:
    """Whether a module may be imported: it is listed, or belongs to one that the developer allows."""
    if name in modules or name == "__future__":
        return True
    root = name.partition(".")[0]
    if root not in sys.stdlib_module_names and any(path in modules for path in _paths(name)):
        return True
    prefix = f"{name}."
    return any(other.startswith(prefix) for other in modules)
