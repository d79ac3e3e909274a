# ruff: noqa: N815  # the methods are named after the classes of `ast`
"""From the text that a model wrote to code that may run: parse, check against the policy, compile.

`transformer` decides what is accepted.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import types
import warnings
from collections.abc import Collection, Container, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from langchain_ptc.errors import CodeSyntaxError, PolicyError
from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import ARE_DEFERRED, drop_annotations, evaluate_at_once
from langchain_ptc.sandbox.language.scopes import (
    COMPREHENSIONS,
    MAX_PATH_PARTS,
    SyntaxTree,
    find_implied,
    has_long_import,
    is_async,
    parse,
    parse_quietly,
)
from langchain_ptc.sandbox.language.transformer import Policy

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
    """Code that may run.

    Attributes:
        code: The module's code object.
        mode: In `async` code a stub returns an awaitable, in `sync` code the value.
        guard_writes: Whether stores go through `guards.writable`.
        binds_result: Whether a variable named `result` is this code's, and not that of earlier code.
        implied: Names that it uses without importing them -> the dotted name of the module, or of
            its member, that each means.
    """

    code: types.CodeType
    mode: Literal["sync", "async"]
    guard_writes: bool = False
    binds_result: bool = True
    implied: Mapping[str, str] = field(default_factory=dict)

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
    """Compile `code` without the policy: any Python, to test the other layers of isolation alone.

    Raises:
        CodeSyntaxError: It is not valid Python.
    """
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
        tree = parse(code, CODE_FILENAME)
    except SyntaxError as error:
        raise _syntax_error(error, code) from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:  # an integer literal of more than 4300 digits
        raise CodeSyntaxError(str(error)) from None
    return tree


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
    """Make a last expression and a top-level `return` into something that can be compiled.

    The value of a last expression is stored as `_ptc_last`. Where a `return` is outside of any
    function, the body becomes the hidden function `_ptc_main`, in which every name of the top level
    is declared `global`: nested functions, `global` statements and `del` mean what they mean in a
    module. It returns `(value,)` for a `return` and None where the end is reached.

    Raises:
        SyntaxError: `yield` outside of a function.
    """
    root = tree.root
    if not root.body:  # nothing but comments
        return root
    if ast.AnnAssign in tree.kinds:
        root.body = drop_annotations(root.body)
    _keep_last(root)
    if not any(tree.scope_of[node] is tree.module for node in tree.kinds.get(ast.Return, ())):
        return root
    for node in (*tree.kinds.get(ast.Yield, ()), *tree.kinds.get(ast.YieldFrom, ())):
        if tree.scope_of[node] is tree.module:
            place = ("<code>", node.lineno, node.col_offset + 1, "")
            raise SyntaxError("'yield' outside function", place)
    declared = {*tree.module.bindings, *tree.module.foreign, LAST} - _flag_names(root)
    hoisted, body = _Main().split(root.body)
    kind = ast.AsyncFunctionDef if asynchronous else ast.FunctionDef
    main = ast.parse(f"def {MAIN}(): pass").body[0]
    assert isinstance(main, ast.FunctionDef)
    fields = {name: value for name, value in ast.iter_fields(main) if name != "body"}
    function = kind(**fields, body=[ast.Global(sorted(declared)), *body])
    ast.copy_location(function, root.body[0])
    return ast.fix_missing_locations(ast.Module([*hoisted, function], root.type_ignores))


def _flag_names(tree: ast.Module) -> set[str]:
    """Names that stay bound in the module itself: `from __future__ import ...`."""
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


def _keep_last(tree: ast.Module) -> None:
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        target = ast.copy_location(ast.Name(LAST, ast.Store()), last)
        tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)


class _Main(ast.NodeTransformer):
    """Turns statements of a module into statements of a function."""

    def __init__(self) -> None:
        self._hoisted: list[ast.stmt] = []

    def split(self, body: list[ast.stmt]) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """Return what must stay in the module, and the body of the function."""
        rest = [cast_stmt(self.visit(node)) for node in body]
        return self._hoisted, rest

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value or ast.Constant(None)
        node.value = ast.Tuple([value], ast.Load())
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "__future__" or any(alias.name == "*" for alias in node.names):
            self._hoisted.append(node)
            return ast.copy_location(ast.Pass(), node)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)


def cast_stmt(node: object) -> ast.stmt:
    """Return `node`, which a visitor of statements gave."""
    assert isinstance(node, ast.stmt)
    return node
