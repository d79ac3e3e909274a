# ruff: noqa: N802, N815  # the methods are named after the classes of `ast`
"""The Python that is accepted: RestrictedPython's transformer, widened to what models write.

The rules, all checked while compiling, so that a loop runs at CPython's speed:

1. Only known kinds of syntax; whatever a later Python adds is refused until it is looked at.
2. No name that belongs to the sandbox (`_ptc_...`) is read or bound, in any form of binding.
3. Attributes by the rules of `names`: no frames, no code objects, no `__dunder__` but the listed
   ones, no `_private` but the code's own.
4. The few names that depend on the object are read through a guard of `guards`.
5. What is read, and not called, by the name of a dict's method is a record's field of that name.
6. A class pattern captures nothing but what an attribute would have given.

Every place that breaks a rule is reported, with its line and what to write instead.

Source: RestrictedPython 9 (its `compile_restricted` ignores compiler flags, so the transformer runs
on our own tree); CVE-2023-37271, CVE-2025-22153, CVE-2026-55830 for the forms of binding.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar, cast

from RestrictedPython.transformer import RestrictingNodeTransformer

from langchain_ptc.errors import Violation
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.scopes import SyntaxTree, find_private_names
from langchain_ptc.sandbox.wire.values import DICT_METHODS
from langchain_ptc.wording import cut

_Node = TypeVar("_Node", bound=ast.AST)
_METHODS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {}
_LEAVES = frozenset(
    leaf
    for group in (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
    for leaf in group.__subclasses__()
    if hasattr(RestrictingNodeTransformer, f"visit_{leaf.__name__}")
)
"""Operators and the like: they have no children, and RestrictedPython accepts these."""


_MAX_MESSAGE_CHARS = 300
_SETTABLE = names.WRITABLE | names.SETTABLE_IN_CLASS
_GUARDED = names.GUARDED_NAMES | names.GUARDED_SPECIAL


class Policy(RestrictingNodeTransformer):
    """Collects what is not accepted in a tree, and puts the guards in.

    Args:
        tree: The tree whose root will be visited: which names it binds is known first.
        guard_writes: Pass stores through `guards.writable`.
        known_names: Names that the code has without binding them.
        guarded_names: Attributes that are read through a guard, besides those that always are.
        private_names: Private attributes that earlier code has made.
    """

    def __init__(
        self,
        tree: SyntaxTree,
        *,
        guard_writes: bool = False,
        known_names: Container[str] = (),
        guarded_names: frozenset[str] = frozenset(),
        private_names: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.violations: list[Violation] = []
        self._guard_writes = guard_writes
        self._known_names = known_names
        self._guarded_names = _GUARDED | guarded_names if guarded_names else _GUARDED
        self._class = ""
        self._called: ast.expr | None = None
        """What the call that was met last calls: `x.items()` is the method, `x.items` a field."""
        self._bound = tree.bindings.keys()
        self._private = find_private_names(tree) | private_names

    # --- walking: as RestrictedPython does it, with less work for each node ---

    def visit(self, node: ast.AST) -> ast.AST:
        """Visit `node` by the method for its class; one that has none is refused."""
        kind = type(node)
        if kind not in _METHODS:
            cls = type(self)
            _METHODS[kind] = getattr(cls, f"visit_{kind.__name__}", cls.generic_visit)
        return cast("ast.AST", _METHODS[kind](self, node))

    def node_contents_visit(self, node: _Node) -> _Node:
        """Visit the children of `node`."""
        for field in node._fields:
            value = getattr(node, field, None)
            if type(value) is list:
                for position, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        value[position] = self.visit(item)
            elif isinstance(value, ast.AST) and type(value) not in _LEAVES:
                setattr(node, field, self.visit(value))
        return node

    # --- reporting ---

    def error(self, node: ast.AST, info: str) -> None:
        """Record that `node` is not accepted."""
        message = cut(info, _MAX_MESSAGE_CHARS)
        self.violations.append(Violation(line=getattr(node, "lineno", 0), message=message))

    def not_allowed(self, node: ast.AST) -> None:
        """Record a kind of syntax that is not known."""
        self.error(node, f"{type(node).__name__} is not available in the sandbox")

    # --- names ---

    def check_name(
        self,
        node: ast.AST,
        name: str | None,
        allow_magic_methods: bool = False,  # noqa: ARG002  # RestrictedPython's signature
    ) -> None:
        """Check a name that is bound; every form of binding comes here."""
        if name is None or (not name.startswith("_") and name not in names.FRAME_NAMES):
            return
        if name.startswith(names.RESERVED):
            self.error(node, f"names that begin with {names.RESERVED!r} belong to the sandbox")
        elif name == "__class__" or (names.is_dunder(name) and name not in names.SPECIAL_VARIABLES):
            self.error(node, f"{name!r} cannot be defined in the sandbox{names.instead_of(name)}")
        elif name in names.FRAME_NAMES or name in names.FORBIDDEN_PRIVATE:
            self.error(node, f"the name {name!r} is reserved in the sandbox: choose another name")
        elif name == "__subclasshook__" and self._guard_writes:
            # It would answer for the bases of the class too, in all code of the process.
            self.error(node, f"{name!r} cannot be defined in a process that others share")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Check a variable; refused builtins are distinguished from the code's own names."""
        name = node.id
        if not isinstance(node.ctx, ast.Load):
            self.check_name(node, name)
            return node
        if name.startswith(names.RESERVED):
            self.check_name(node, name)
        elif names.is_dunder(name) and name not in names.SPECIAL_VARIABLES:
            self.error(node, f"{name!r} is not available in the sandbox{names.instead_of(name)}")
        elif name in names.REFUSED_BUILTINS and not self._is_known(name):
            reason = names.REFUSED_BUILTINS[name]
            self.error(node, f"{name!r} is not available: {reason}")
        return node

    def _is_known(self, name: str) -> bool:
        return name in self._bound or name in self._known_names

    def _visit_binder(self, node: ast.AST) -> ast.AST:
        for field in ("name", "rest"):
            self.check_name(node, getattr(node, field, None))
        return self.node_contents_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _visit_binder
    visit_ExceptHandler = visit_TypeVar = visit_ParamSpec = visit_TypeVarTuple = _visit_binder

    def _visit_names(self, node: ast.Global | ast.Nonlocal) -> ast.AST:
        for name in node.names:
            self.check_name(node, name)
        return node

    visit_Global = visit_Nonlocal = _visit_names

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        """Check the name of a keyword argument: it may become an attribute or a parameter."""
        self.check_name(node, node.arg if node.arg and node.arg.startswith("_") else None)
        return self.node_contents_visit(node)

    def check_import_names(self, node: ast.Import | ast.ImportFrom) -> ast.AST:
        """Check what an import binds; what it gives is the module loader's business."""
        if getattr(node, "is_lazy", 0):
            self.error(node, "lazy imports are not available in the sandbox")
        if isinstance(node, ast.ImportFrom) and node.level:
            self.error(node, "relative imports are not available: the code is one module")
        for alias in node.names:
            if alias.name == "*":
                continue
            bound = alias.asname or alias.name.partition(".")[0]
            if bound.startswith("_") and bound != "__future__":
                self.check_name(node, bound)
            for part in alias.name.split("."):
                if isinstance(node, ast.ImportFrom) and names.is_refused(part):
                    self.error(node, f"{part!r} is not available in the sandbox")
        return node

    # --- attributes ---

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Check the name; put a guard before what depends on the object."""
        name, loads = node.attr, isinstance(node.ctx, ast.Load)
        is_field = loads and name in DICT_METHODS and node is not self._called
        self._check_attribute(node, name, names.READABLE if loads else _SETTABLE)
        node.value = cast("ast.expr", self.visit(node.value))
        if not loads and name in names.SETTABLE_IN_CLASS:
            node.value = _call(node.value, "_ptc_class", [node.value])
            return node
        private = self._guard_writes and names.is_private(name)
        if loads and (name in self._guarded_names or private):
            text = ast.Constant(names.mangle(name, self._class))
            return _call(node, "_ptc_getattr", [node.value, text])
        if is_field:
            return _call(node, "_ptc_field", [node.value, ast.Constant(name)])
        if not loads and self._guard_writes:
            node.value = _call(node.value, "_ptc_write", [node.value])
        return node

    def _check_attribute(self, node: ast.AST, name: str, special: frozenset[str]) -> None:
        if not name.startswith("_"):
            if name in names.FRAME_NAMES:
                self._refuse_attribute(node, name)
        elif names.is_refused(name, special=special):
            if name in names.DEFINABLE and name in names.READABLE:
                self.error(node, f"attribute {name!r} cannot be set: define it in the class")
            else:
                self._refuse_attribute(node, name)
        elif (
            names.is_private(name)
            and name not in names.DOCUMENTED_PRIVATE
            and name not in self._private
        ):
            self.error(
                node,
                f"attribute {name!r} is private to an object that the code did not make: "
                "use its public attributes",
            )

    def _refuse_attribute(self, node: ast.AST, name: str) -> None:
        self.error(
            node, f"attribute {name!r} is not available in the sandbox{names.instead_of(name)}"
        )

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Read the target as it is read elsewhere; the operation itself is Python's."""
        target = node.target
        node = self.node_contents_visit(node)
        if isinstance(target, ast.Attribute) and (
            target.attr in DICT_METHODS or target.attr in self._guarded_names
        ):
            target.value = _call(target.value, "_ptc_place", [target.value])
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Accept reading; pass stores through a guard where the process is the host's too."""
        node = self.node_contents_visit(node)
        if self._guard_writes and not isinstance(node.ctx, ast.Load):
            node.value = _call(node.value, "_ptc_write", [node.value])
        return node

    # --- calls ---

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Check a constant name in `getattr` and its kin, and `type` with three arguments."""
        if isinstance(node.func, ast.Name) and not self._is_known(node.func.id):
            function = node.func.id
            if function in ("getattr", "setattr", "delattr") and len(node.args) > 1:
                self._check_constant_name(node, node.args[1], reads=function == "getattr")
            if function == "type" and len(node.args) > 1:
                self.error(node, "type() cannot make a class: use a `class` statement")
        self._called = node.func
        return self.node_contents_visit(node)

    def _check_constant_name(self, node: ast.AST, name: ast.expr, *, reads: bool) -> None:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            special = names.READABLE if reads else _SETTABLE
            if names.is_refused(name.value, special=special):
                self._refuse_attribute(node, name.value)

    # --- functions and classes ---

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.check_name(node, node.name)
        self.check_function_argument_names(node)
        return self.node_contents_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Check the name, the metaclass and `__match_args__`; the rest is in the guard."""
        self.check_name(node, node.name)
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id == "type" and not self._is_known("type"):
                self.error(node, "metaclasses cannot be defined in the sandbox")
        for option in node.keywords:
            if option.arg == "metaclass" and _last_name(option.value) not in _METACLASSES:
                self.error(node, "a metaclass can only be ABCMeta or EnumMeta in the sandbox")
        outer, self._class = self._class, node.name
        node = self.node_contents_visit(node)
        self._class = outer
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Check `__match_args__`, whose strings are attribute names."""
        first = node.targets[0]
        if isinstance(first, ast.Name) and first.id == "__match_args__" and not node.targets[1:]:
            self._check_match_args(node)
            node.value = cast("ast.expr", self.visit(node.value))
            return node
        return self.node_contents_visit(node)

    def _check_match_args(self, node: ast.Assign) -> None:
        value = node.value
        if not isinstance(value, ast.Tuple) or not all(
            isinstance(e, ast.Constant) and isinstance(e.value, str) for e in value.elts
        ):
            self.error(node, "__match_args__ must be a tuple of literal strings")
            return
        for element in value.elts:
            self._check_attribute(node, str(ast.literal_eval(element)), frozenset())

    # --- patterns ---

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        """Check the attributes that a class pattern names."""
        for name, pattern in zip(node.kwd_attrs, node.kwd_patterns, strict=True):
            self._check_attribute(node, name, names.READABLE - names.GUARDED_SPECIAL)
            if name == "obj" and not isinstance(pattern, ast.MatchValue):
                self.error(node, "a pattern cannot capture 'obj': read it in the case's body")
        return self.node_contents_visit(node)

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        """Check what class patterns capture before the case's body sees it."""
        captures = _class_captures(node.pattern)
        node = self.node_contents_visit(node)
        if captures:
            where = node.pattern
            values: list[ast.expr] = [ast.Name(name, ast.Load()) for name in captures]
            check: ast.expr = _call(where, "_ptc_captures", values)
            node.guard = ast.BoolOp(ast.And(), [check, node.guard]) if node.guard else check
            ast.copy_location(node.guard, where)
            ast.fix_missing_locations(node.guard)
        return node

    # --- accepted unchanged ---

    def _accept(self, node: ast.AST) -> ast.AST:
        return self.node_contents_visit(node)

    visit_Await = visit_AsyncFor = visit_AsyncWith = visit_TryStar = visit_AnnAssign = _accept
    visit_For = visit_With = visit_comprehension = visit_Module = _accept
    visit_Match = visit_MatchValue = visit_MatchSingleton = visit_MatchSequence = _accept
    visit_MatchOr = visit_TypeAlias = _accept


_METACLASSES = frozenset({"ABCMeta", "EnumMeta", "EnumType"})


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _call(where: ast.expr | ast.pattern, function: str, args: Sequence[ast.expr]) -> ast.Call:
    call = ast.Call(ast.Name(function, ast.Load()), list(args), [])
    ast.copy_location(call, where)
    return ast.fix_missing_locations(call)


def _class_captures(pattern: ast.pattern) -> list[str]:
    """Return the names that are captured inside class patterns of `pattern`."""
    found: dict[str, None] = {}
    for outer in ast.walk(pattern):
        if isinstance(outer, ast.MatchClass):
            for node in ast.walk(outer):
                name = getattr(node, "name", None) or getattr(node, "rest", None)
                if isinstance(name, str):
                    found[name] = None
    return list(found)
