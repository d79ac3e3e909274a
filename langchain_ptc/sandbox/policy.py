"""The Python that is accepted: RestrictedPython's transformer, widened to what models write.

The rules, all checked while compiling, so that a loop runs at CPython's speed:

1. Only known kinds of syntax; whatever a later Python adds is refused until it is looked at.
2. No name that belongs to the sandbox (`_ptc_...`) is read or bound, in any form of binding.
3. Attributes by the rules of `names`: no frames, no code objects, no `__dunder__` but the listed
   ones, no `_private` but the code's own.
4. The few names that depend on the object are read through a guard of `guards`.
5. A class pattern captures nothing but what an attribute would have given.

Every place that breaks a rule is reported, with its line and what to write instead.

Source: RestrictedPython 9 (its `compile_restricted` ignores compiler flags, so the transformer runs
on our own tree); CVE-2023-37271, CVE-2025-22153, CVE-2026-55830 for the forms of binding.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import types
import warnings
from collections.abc import Container, Coroutine, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

from RestrictedPython import RestrictingNodeTransformer

from langchain_ptc.errors import CodeSyntaxError, PolicyError, Violation
from langchain_ptc.sandbox import names
from langchain_ptc.sandbox.shape import LAST, MAIN, find_private_names, is_async, shape_module

CODE_FILENAME = "<code>"

_FENCE = "```"
_QUOTES = "\u2018\u2019\u201c\u201d"


@dataclass(frozen=True, slots=True)
class CompiledCode:
    """Code that may run.

    Attributes:
        code: The module's code object.
        mode: In `async` code a stub returns an awaitable, in `sync` code the value.
        guard_writes: Whether stores go through `guards.writable`.
    """

    code: types.CodeType
    mode: Literal["sync", "async"]
    guard_writes: bool = False

    def start(self, namespace: dict[str, object]) -> Coroutine[object, object, None] | None:
        """Run the code in `namespace`.

        Returns:
            In `async` mode a coroutine, which runs the code when it is awaited; else None.
        """
        if self.mode == "async":
            return self._run_async(namespace)
        self._run_module(namespace)
        if (main := namespace.pop(MAIN, None)) is not None:
            _keep_return(namespace, cast("types.FunctionType", main)())
        return None

    def _run_module(self, namespace: dict[str, object]) -> object:
        return eval(self.code, namespace)  # noqa: S307  # the compiled code, and nothing else

    async def _run_async(self, namespace: dict[str, object]) -> None:
        running = self._run_module(namespace)
        if running is not None:
            await cast("Coroutine[object, object, object]", running)
        if (main := namespace.pop(MAIN, None)) is not None:
            _keep_return(namespace, await cast("types.FunctionType", main)())
        last = namespace.get(LAST)
        if inspect.isawaitable(last):
            namespace[LAST] = await last

    def value(self, namespace: dict[str, object]) -> tuple[bool, object]:
        """Return whether the code has given a value, and the value.

        A top-level `return` wins; then a last expression; then a variable named `result`.
        """
        if RETURNED in namespace:
            value = namespace.pop(RETURNED)
            return value is not None, value
        if (value := namespace.pop(LAST, None)) is not None:
            return True, value
        return "result" in namespace, namespace.get("result")


RETURNED = names.RESERVED + "returned"


def _keep_return(namespace: dict[str, object], ended: object) -> None:
    """Keep what the hidden function gave: a tuple of one for a `return`, None for the end."""
    if type(ended) is tuple:
        namespace[RETURNED] = ended[0]


def compile_code(
    code: str, *, guard_writes: bool = False, tool_names: Container[str] = ()
) -> CompiledCode:
    """Check `code` against the policy and compile it.

    Args:
        code: What the model wrote.
        guard_writes: Let stores to attributes and items go through `guards.writable`: for code that
            shares a process with the host.
        tool_names: Names that the code has without binding them, and that may be builtins' names.

    Raises:
        CodeSyntaxError: It is no Python.
        PolicyError: It is Python that is not accepted; names every such place.
    """
    tree = _parse(code)
    try:
        policy = Policy(tree, guard_writes=guard_writes, known_names=tool_names)
        policy.visit(tree)
        if policy.violations:
            ordered = sorted(dict.fromkeys(policy.violations), key=lambda v: v.line)
            raise PolicyError(tuple(ordered))
        return _compile(tree, code, guard_writes=guard_writes)
    except (RecursionError, MemoryError):
        raise _too_deep() from None


def compile_unrestricted(code: str) -> CompiledCode:
    """Compile `code` without the policy: any Python, for testing what the walls stop alone.

    Raises:
        CodeSyntaxError: It is no Python.
    """
    try:
        return _compile(_parse(code), code, guard_writes=False)
    except (RecursionError, MemoryError):
        raise _too_deep() from None


def _compile(tree: ast.Module, code: str, *, guard_writes: bool) -> CompiledCode:
    mode: Literal["sync", "async"] = "async" if is_async(tree) else "sync"
    try:
        shaped = shape_module(tree, asynchronous=mode == "async")
        ast.fix_missing_locations(shaped)
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
    return CompiledCode(_name_frames(compiled), mode, guard_writes)


def _name_frames(code: types.CodeType) -> types.CodeType:
    """Let the hidden function show as the module in tracebacks."""
    consts = tuple(
        const.replace(co_name="<module>", co_qualname="<module>")
        if isinstance(const, types.CodeType) and const.co_name == MAIN
        else const
        for const in code.co_consts
    )
    return code.replace(co_consts=consts)


def _parse(code: str) -> ast.Module:
    _check_text(code)
    for category in (SyntaxWarning, DeprecationWarning):
        # A doubtful escape in the code is not the host's concern; it may have made warnings errors.
        warnings.filterwarnings("ignore", category=category, module=r"<code>\Z")
    try:
        tree = ast.parse(code, CODE_FILENAME)
    except SyntaxError as error:
        raise _syntax_error(error, code) from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:  # an integer literal of more than 4300 digits
        raise CodeSyntaxError(str(error)) from None
    if not tree.body:
        raise CodeSyntaxError("the code is empty: write Python statements")
    return tree


def _check_text(code: str) -> None:
    if "\0" in code:
        line = code.count("\n", 0, code.index("\0")) + 1
        raise CodeSyntaxError("the code contains a null byte", line=line)
    try:
        code.encode()
    except UnicodeEncodeError as error:
        line = code.count("\n", 0, error.start) + 1
        raise CodeSyntaxError(
            "the code contains half of a surrogate pair, which is no character", line=line
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
        message = "the code stands in a Markdown fence: send the Python alone, without the ``` lines"
    elif any(quote in message for quote in _QUOTES):
        message += ": use straight quotes, ' or \""
    return CodeSyntaxError(message, line=line, column=max(column, 0), source_line=source_line)


class Policy(RestrictingNodeTransformer):  # type: ignore[misc]  # RestrictedPython has no types
    """Collects what is not accepted in a tree, and puts the guards in.

    Args:
        tree: The tree that will be visited; the names that it binds are looked up first.
        guard_writes: Let stores go through `guards.writable`.
        known_names: Names that the code has without binding them.
    """

    def __init__(
        self, tree: ast.Module, *, guard_writes: bool = False, known_names: Container[str] = ()
    ) -> None:
        super().__init__()
        self.violations: list[Violation] = []
        self._guard_writes = guard_writes
        self._known_names = known_names
        self._private, self._bound = find_private_names(tree)

    # --- reporting ---

    def error(self, node: ast.AST, info: str) -> None:
        """Record that `node` is not accepted."""
        self.violations.append(Violation(line=getattr(node, "lineno", 0), message=info))

    def not_allowed(self, node: ast.AST) -> None:
        """Record a kind of syntax that is not known."""
        self.error(node, f"{type(node).__name__} is not available in the sandbox")

    # --- names ---

    def check_name(
        self,
        node: ast.AST,
        name: str | None,
        allow_magic_methods: bool = False,  # noqa: ARG002, FBT001, FBT002  # RestrictedPython's signature
    ) -> None:
        """Check a name that is bound; every form of binding comes here."""
        if name is None or not name.startswith("_") and name not in names.FRAME_NAMES:
            return
        if name.startswith(names.RESERVED):
            self.error(node, f"names that begin with {names.RESERVED!r} belong to the sandbox")
        elif name == "__class__" or (
            names.is_dunder(name) and name not in names.SPECIAL_VARIABLES
        ):
            self.error(node, f"{name!r} cannot be defined in the sandbox{names.instead_of(name)}")
        elif name in names.FRAME_NAMES or name in names.FORBIDDEN_PRIVATE:
            self.error(node, f"the name {name!r} is reserved in the sandbox: choose another name")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Check a variable; refused builtins are told apart from the code's own names."""
        name = node.id
        if not isinstance(node.ctx, ast.Load):
            self.check_name(node, name)
            return node
        if name.startswith(names.RESERVED):
            self.check_name(node, name)
        elif names.is_dunder(name) and name not in names.SPECIAL_VARIABLES:
            self.error(
                node, f"{name!r} is not available in the sandbox{names.instead_of(name)}"
            )
        elif name in names.REFUSED_BUILTINS and not self._is_known(name):
            reason = names.REFUSED_BUILTINS[name]
            self.error(node, f"{name!r} is not available: {reason}")
        return node

    def _is_known(self, name: str) -> bool:
        return name in self._bound or name in self._known_names

    def _visit_binder(self, node: ast.AST) -> ast.AST:
        for field in ("name", "rest"):
            self.check_name(node, getattr(node, field, None))
        return cast("ast.AST", self.node_contents_visit(node))

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
        return cast("ast.AST", self.node_contents_visit(node))

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
        self._check_attribute(node, name, names.READABLE if loads else names.WRITABLE)
        node.value = self.visit(node.value)
        private = self._guard_writes and names.is_private(name)
        if loads and (name in names.GUARDED_NAMES or name in names.GUARDED_SPECIAL or private):
            return _call(node, "_ptc_getattr", [node.value, ast.Constant(name)])
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
        """Check the target; the operation itself is Python's."""
        target = node.target
        if isinstance(target, ast.Attribute) and target.attr in names.GUARDED_NAMES:
            self.error(
                node, f"write `x.{target.attr} = x.{target.attr} ...` instead of an operator"
            )
        return cast("ast.AST", self.node_contents_visit(node))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Accept reading; let stores through a guard where the host must be spared."""
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
        return cast("ast.AST", self.node_contents_visit(node))

    def _check_constant_name(self, node: ast.AST, name: ast.expr, *, reads: bool) -> None:
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            special = names.READABLE if reads else names.WRITABLE
            if names.is_refused(name.value, special=special):
                self._refuse_attribute(node, name.value)

    # --- functions and classes ---

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.check_name(node, node.name)
        self.check_function_argument_names(node)
        return cast("ast.AST", self.node_contents_visit(node))

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
        for statement in ast.walk(node):
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                self._check_match_args(statement)
        return cast("ast.AST", self.node_contents_visit(node))

    def _check_match_args(self, node: ast.Assign | ast.AnnAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not any(isinstance(t, ast.Name) and t.id == "__match_args__" for t in targets):
            return
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
        return cast("ast.AST", self.node_contents_visit(node))

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        """Let what class patterns capture be looked at before the case's body sees it."""
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

    # --- accepted as they stand ---

    def _accept(self, node: ast.AST) -> ast.AST:
        return cast("ast.AST", self.node_contents_visit(node))

    visit_Await = visit_AsyncFor = visit_AsyncWith = visit_TryStar = visit_AnnAssign = _accept
    visit_For = visit_With = visit_Assign = visit_comprehension = visit_Module = _accept
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
