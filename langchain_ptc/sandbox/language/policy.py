# ruff: noqa: N802, N815  # the methods are named after the classes of `ast`
"""From the text that a model wrote to code that may run: parse, check against the policy, compile.

What is accepted is RestrictedPython's transformer, widened to what models write. The rules, all checked
while compiling, so that a loop runs at CPython's speed:

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
import contextlib
import inspect
import re
import types
import warnings
from collections.abc import Callable, Collection, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from RestrictedPython.transformer import RestrictingNodeTransformer

from langchain_ptc.errors import CodeSyntaxError, PolicyError, Violation, cut
from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import ARE_DEFERRED, drop_annotations, evaluate_at_once
from langchain_ptc.sandbox.language.scopes import (
    COMPREHENSIONS,
    MAX_PATH_PARTS,
    SyntaxTree,
    find_implied,
    find_private_names,
    has_long_import,
    is_async,
    parse,
    parse_quietly,
)
from langchain_ptc.sandbox.wire.values import DICT_METHODS

CODE_FILENAME = "<code>"
LAST = names.RESERVED + "last"
MAIN = names.RESERVED + "main"
RETURNED = names.RESERVED + "returned"
MAX_VIOLATIONS = 20
"""The maximum number of places that are reported for one program."""
_MAX_LINE_CHARS = 300

_FENCE = "```"
_QUOTES = "\u2018\u2019\u201c\u201d"


@dataclass(frozen=True, slots=True)
class CompiledCode:
    """Code that may run."""

    code: types.CodeType
    mode: Literal["sync", "async"]
    """In `async` code a stub returns an awaitable, in `sync` code the value."""
    guard_writes: bool = False
    """Whether stores go through `guards.writable`."""
    binds_result: bool = True
    """Whether a variable named `result` is this code's, and not that of earlier code."""
    implied: Mapping[str, str] = field(default_factory=dict)
    """Names that it uses without importing them -> the dotted name of what each means."""

    def start(self, namespace: dict[str, object]) -> Coroutine[object, object, None] | None:
        """Run the code in `namespace`; in `async` mode return a coroutine that does."""
        if self.mode == "async":
            return self._run_async(namespace)
        eval(self.code, namespace)  # noqa: S307  # the compiled code, and nothing else
        if (main := namespace.pop(MAIN, None)) is not None:
            _keep_return(namespace, cast("types.FunctionType", main)())
        return None

    async def _run_async(self, namespace: dict[str, object]) -> None:
        running = eval(self.code, namespace)  # noqa: S307  # as above
        if running is not None:
            await running
        if (main := namespace.pop(MAIN, None)) is not None:
            _keep_return(namespace, await cast("types.FunctionType", main)())
        last = namespace.get(LAST)
        if inspect.isawaitable(last):
            namespace[LAST] = await last

    def value(self, namespace: dict[str, object]) -> tuple[bool, object]:
        """Return whether there is a value, and it: of a `return`, else the last expression, else `result`."""
        if RETURNED in namespace:
            value = namespace.pop(RETURNED)
            return value is not None, value
        if (value := namespace.pop(LAST, None)) is not None:
            return True, value
        return self.binds_result and "result" in namespace, namespace.get("result")


def _keep_return(namespace: dict[str, object], ended: object) -> None:
    """Keep what the hidden function gave: a tuple of one for a `return`, None for the end."""
    if type(ended) is tuple:
        namespace[RETURNED] = ended[0]


def compile_code(
    code: str,
    *,
    guard_writes: bool = False,
    tool_names: Container[str] = (),
    guarded_names: frozenset[str] = frozenset(),
    private_names: frozenset[str] = frozenset(),
    asyncio_names: frozenset[str] = frozenset(),
    modules: Collection[str] = STANDARD_MODULES,
) -> CompiledCode:
    """Check `code` against the policy and compile it.

    Args:
        code: What the model wrote.
        guard_writes: Pass stores to attributes and items through `guards.writable`: for code that
            shares a process with the host.
        tool_names: Names that the code has without binding them, and that may be builtins' names.
        guarded_names: Attributes that are read by `_ptc_getattr`, besides those that always are.
        private_names: Private attributes that earlier code of the session has made.
        asyncio_names: Names that the code has from `asyncio` without importing them.
        modules: Names of the modules that it may import.

    Raises:
        CodeSyntaxError: It is not valid Python.
        PolicyError: It is Python that is not accepted; names every such place.
    """
    root = _parse(code, is_shared=guard_writes)
    try:
        tree = SyntaxTree(root)
        policy = Policy(
            tree,
            guard_writes=guard_writes,
            known_names=tool_names,
            guarded_names=guarded_names,
            private_names=private_names,
        )
        policy.visit(root)
        if policy.violations:
            ordered = sorted(dict.fromkeys(policy.violations), key=lambda v: v.line)
            raise PolicyError(tuple(ordered[:MAX_VIOLATIONS]))
        if ARE_DEFERRED:
            evaluate_at_once(tree.nodes)
        return _compile(
            tree, code, guard_writes=guard_writes, asyncio_names=asyncio_names, modules=modules
        )
    except (RecursionError, MemoryError):
        raise _too_deep() from None


def compile_unrestricted(code: str) -> CompiledCode:
    """Compile any Python, without the policy, to test the other layers of isolation alone; raises `CodeSyntaxError`."""
    root = _parse(code)
    try:
        return _compile(SyntaxTree(root), code, guard_writes=False)
    except (RecursionError, MemoryError):
        raise _too_deep() from None


def _compile(
    tree: SyntaxTree,
    code: str,
    *,
    guard_writes: bool,
    asyncio_names: frozenset[str] = frozenset(),
    modules: Collection[str] = (),
) -> CompiledCode:
    mode: Literal["sync", "async"] = "async" if is_async(tree, asyncio_names) else "sync"
    binds_result = "result" in tree.module.bindings
    implied = find_implied(tree, modules)
    try:
        if guard_writes and any(map(_may_warn, tree.nodes)):
            _silence_warnings()
        shaped = shape_module(tree, asynchronous=mode == "async")
        compiled = compile(
            shaped,
            CODE_FILENAME,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
            optimize=0,
        )
    except SyntaxError as error:
        raise _syntax_error(error, code) from None
    except ValueError as error:
        raise CodeSyntaxError(str(error)) from None
    return CompiledCode(_name_frames(compiled), mode, guard_writes, binds_result, implied)


def _name_frames(code: types.CodeType) -> types.CodeType:
    """Show the hidden function as the module in tracebacks."""
    consts = tuple(
        const.replace(co_name="<module>", co_qualname="<module>")
        if isinstance(const, types.CodeType) and const.co_name == MAIN
        else const
        for const in code.co_consts
    )
    return code.replace(co_consts=consts)


def _parse(code: str, *, is_shared: bool = False) -> ast.Module:
    """Parse the code; in a process that the host shares, without touching its filters of warnings."""
    _check_text(code)
    if has_long_import(code):  # Python's parser takes quadratic time for it
        raise CodeSyntaxError(f"an import has a name of more than {MAX_PATH_PARTS} parts")
    if is_shared:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return parse_quietly(code)
    _silence_warnings()
    try:
        return parse(code, CODE_FILENAME)
    except SyntaxError as error:
        raise _syntax_error(error, code) from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:  # an integer literal of more than 4300 digits
        raise CodeSyntaxError(str(error)) from None


_QUIET = re.compile(r"<code>\Z")


def _silence_warnings() -> None:
    """Ignore what the compiler says of doubtful code: the host may have made warnings errors."""
    for category in (SyntaxWarning, DeprecationWarning):
        if ("ignore", None, category, _QUIET, 0) not in warnings.filters:
            warnings.filterwarnings("ignore", category=category, module=_QUIET.pattern)


def _may_warn(node: ast.AST) -> bool:
    """Whether the compiler may warn of a node: `x is 1`, `"a"(b)`, `"a"["b"]`, `assert (a, b)`."""
    if isinstance(node, ast.Compare):
        operands = (node.left, *node.comparators)
        is_identity = any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        return is_identity and any(map(_is_literal, operands))
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Tuple)
    if isinstance(node, ast.Call):
        return _is_literal(node.func) or isinstance(node.func, ast.Lambda)
    if isinstance(node, ast.Subscript):
        return _is_literal(node.value)
    return isinstance(node, ast.Try | ast.TryStar) and bool(node.finalbody)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is not None and type(node.value) is not bool
    return isinstance(node, _DISPLAYS)


_DISPLAYS = (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr, *COMPREHENSIONS)


def _check_text(code: str) -> None:
    if "\0" in code:
        line = code.count("\n", 0, code.index("\0")) + 1
        raise CodeSyntaxError("the code contains a null byte", line=line)
    try:
        code.encode()
    except UnicodeEncodeError as error:
        line = code.count("\n", 0, error.start) + 1
        raise CodeSyntaxError(
            "the code contains a lone surrogate, which is not a character", line=line
        ) from None
    if not code.strip():
        raise CodeSyntaxError("the code is empty: write Python statements")


def _too_deep() -> CodeSyntaxError:
    return CodeSyntaxError("the code is nested too deeply: use variables or a loop")


def _syntax_error(error: SyntaxError, code: str) -> CodeSyntaxError:
    line, column = error.lineno or 0, error.offset or 0
    lines = code.splitlines()
    source_line = lines[line - 1] if 0 < line <= len(lines) else ""
    message = error.msg or "invalid syntax"
    if source_line.lstrip().startswith(_FENCE):
        message = "the code is inside a Markdown code fence: send only the Python code, without the ``` lines"
    elif any(quote in message for quote in _QUOTES):
        message += ": use straight quotes, ' or \""
    return CodeSyntaxError(
        message, line=line, column=max(column, 0), source_line=source_line[:_MAX_LINE_CHARS]
    )


# --- what the top level means: its last expression, its `return` -------------------------------------


def shape_module(tree: SyntaxTree, *, asynchronous: bool) -> ast.Module:
    """Store a last expression as `_ptc_last`, and make a top-level `return` something that can be compiled.

    Where there is one, the body becomes the hidden function `_ptc_main`, in which every name of the top
    level is declared `global`: nested functions, `global` statements and `del` mean what they mean in a
    module. It returns `(value,)` for a `return` and None where the end is reached.

    Raises:
        SyntaxError: `yield` outside of a function.
    """
    root = tree.root
    if not root.body:  # nothing but comments
        return root
    if ast.AnnAssign in tree.kinds:
        drop_annotations(root)
    if isinstance(last := root.body[-1], ast.Expr):
        target = ast.copy_location(ast.Name(LAST, ast.Store()), last)
        root.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
    if not any(tree.scope_of[node] is tree.module for node in tree.kinds.get(ast.Return, ())):
        return root
    for node in (*tree.kinds.get(ast.Yield, ()), *tree.kinds.get(ast.YieldFrom, ())):
        if tree.scope_of[node] is tree.module:
            place = ("<code>", node.lineno, node.col_offset + 1, "")
            raise SyntaxError("'yield' outside function", place)
    declared = {*tree.module.bindings, *tree.module.foreign, LAST} - _flag_names(root)
    inside = _Main()
    body = [cast("ast.stmt", inside.visit(node)) for node in root.body]
    kind = ast.AsyncFunctionDef if asynchronous else ast.FunctionDef
    main = ast.parse(f"def {MAIN}(): pass").body[0]
    assert isinstance(main, ast.FunctionDef)
    fields = {name: value for name, value in ast.iter_fields(main) if name != "body"}
    function = kind(**fields, body=[ast.Global(sorted(declared)), *body])
    ast.copy_location(function, root.body[0])
    return ast.fix_missing_locations(ast.Module([*inside.hoisted, function], root.type_ignores))


def _flag_names(tree: ast.Module) -> set[str]:
    """Names that stay bound in the module itself: `from __future__ import ...`."""
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


class _Main(ast.NodeTransformer):
    """Turns statements of a module into statements of a function."""

    def __init__(self) -> None:
        self.hoisted: list[ast.stmt] = []
        """What must stay in the module."""

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value or ast.Constant(None)
        node.value = ast.Tuple([value], ast.Load())
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "__future__" or any(alias.name == "*" for alias in node.names):
            self.hoisted.append(node)
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)


# --- what is accepted ------------------------------------------------------------------------------

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
_INIT = frozenset(
    {"__init__"}
)  # of a class that the host may share; `super().__init__()` is frequent
_GUARDED = names.GUARDED_NAMES | names.GUARDED_SPECIAL - _INIT


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
        self._guarded_names = _GUARDED | guarded_names | (_INIT if guard_writes else frozenset())
        self._class = ""
        self._called: ast.expr | None = None
        """What the call that was met last calls: `x.items()` is the method, `x.items` a field."""
        self._bound = tree.bindings.keys()
        self._private = find_private_names(tree) | private_names

    # --- walking: as RestrictedPython does it, with less work for each node ---

    def visit(self, node: ast.AST) -> ast.AST:
        kind = type(node)
        if kind not in _METHODS:
            cls = type(self)
            _METHODS[kind] = getattr(cls, f"visit_{kind.__name__}", cls.generic_visit)
        return cast("ast.AST", _METHODS[kind](self, node))

    def node_contents_visit(self, node: _Node) -> _Node:
        for name in node._fields:
            value = getattr(node, name, None)
            if type(value) is list:
                for position, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        value[position] = self.visit(item)
            elif isinstance(value, ast.AST) and type(value) not in _LEAVES:
                setattr(node, name, self.visit(value))
        return node

    # --- reporting ---

    def error(self, node: ast.AST, info: str) -> None:
        message = cut(info, _MAX_MESSAGE_CHARS)
        self.violations.append(Violation(line=getattr(node, "lineno", 0), message=message))

    def not_allowed(self, node: ast.AST) -> None:
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
        for part in ("name", "rest"):
            self.check_name(node, getattr(node, part, None))
        return self.node_contents_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _visit_binder
    visit_ExceptHandler = visit_TypeVar = visit_ParamSpec = visit_TypeVarTuple = _visit_binder

    def _visit_names(self, node: ast.Global | ast.Nonlocal) -> ast.AST:
        for name in node.names:
            self.check_name(node, name)
        return node

    visit_Global = visit_Nonlocal = _visit_names

    def visit_keyword(self, node: ast.keyword) -> ast.AST:  # it may become an attribute
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

    visit_Await = visit_AsyncFor = visit_AsyncWith = visit_TryStar = node_contents_visit
    visit_AnnAssign = visit_For = visit_With = visit_comprehension = node_contents_visit
    visit_Module = visit_Match = visit_MatchValue = visit_MatchSingleton = node_contents_visit
    visit_MatchSequence = visit_MatchOr = visit_TypeAlias = node_contents_visit


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
