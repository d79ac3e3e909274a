"""The check before the run: errors that a program would certainly raise, found by static analysis.

Only what is certain is reported: a wrong alarm costs a program that would have worked, a miss only the
time until the program says so itself. Pure: nothing is imported, called or run.
"""

from __future__ import annotations

import ast
import contextlib
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_ptc.catalog.stubs import group, render_signature
from langchain_ptc.check.arguments import Leniency, check_arguments
from langchain_ptc.check.inference import (
    MAX_NAME_CHARS,
    UNKNOWN,
    Answer,
    CatalogNames,
    Data,
    Found,
    Given,
    Inference,
    Items,
    LibraryValue,
    ModuleValue,
    Pending,
    ToolValue,
    Value,
    awaited,
    describe,
    iterate,
    parse,
    shown,
)
from langchain_ptc.check.program import (
    DEAD,
    SURE,
    TOOL_CALL_ERROR,
    Facts,
    Handlers,
    OutOfWork,
    Program,
    Work,
)
from langchain_ptc.errors import Problem, closest, count, cut, did_you_mean
from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.allowed_modules import (
    REFUSED_MODULES,
    import_hint,
    is_member,
    member_hint,
    reason_to_refuse,
)
from langchain_ptc.sandbox.language.scopes import (
    COMPREHENSIONS,
    MAX_CHARS,
    Comprehension,
    Function,
    parse_quietly,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

_STEPS_OF_A_SEARCH = 500
_OF_FUNCTIONS = frozenset(dir(lambda: None))
_OF_LANGCHAIN = frozenset(
    {"invoke", "ainvoke", "run", "arun", "func", "coroutine", "batch", "abatch"}
)
_NO_MODULE = ("ModuleNotFoundError",)
_TAKES_DATA = frozenset(
    {
        *("len", "sum", "sorted", "list", "tuple", "set", "frozenset", "any", "all", "enumerate"),
        *("json.loads", "collections.Counter", "statistics.mean", "statistics.median"),
        *("statistics.fmean", "math.fsum"),
    }
)
"""Functions whose first argument is iterated over, or read."""
_CONVERTS = frozenset("dict iter next reversed int float abs round divmod".split())  # noqa: SIM905
"""Further functions that take no awaitable as their first argument."""
_SHOWS = frozenset({"print", "str", "repr", "format", "pprint.pprint", "pprint.pformat"})
_OF_AWAITABLES = frozenset(
    "send throw close cr_await cr_code cr_frame cr_running cr_origin cr_suspended".split()  # noqa: SIM905
)
_NO_AWAITABLES = (ast.Constant, ast.JoinedStr, ast.Compare)


class Check:
    """The check of one program; `lenient` is what is known of how strictly tools take their arguments, and extended."""

    def __init__(
        self,
        program: Program,
        given: Given,
        modules: Collection[str] | None,
        lenient: dict[str, Leniency],
    ) -> None:
        self._work = work = Work()
        self._program = program
        self._given = given
        self._modules = modules
        self._facts = facts = Facts(program)
        self._inference = inference = Inference(program, facts, given, work)
        self._infer = inference.infer
        self._lenient = lenient
        self._only_shown: dict[str, bool] = {}

    @cached_property
    def _handlers(self) -> Handlers:
        return Handlers(self._program, self._work)

    def problems(self) -> Iterator[Found]:
        """Yield what is wrong, and not caught by the code, in the order of the lines."""
        nodes: list[Any] = self._doubtful_names()
        for kind in self.CHECKS.keys() - {ast.Name}:
            nodes += self._program.kinds.get(kind, ())
        # In the order of the lines: the check stops at the maximum number of problems.
        nodes.sort(key=_PLACE)
        for node in nodes:
            for check in self.CHECKS[type(node)]:
                if found := check(self, node):
                    yield from self._uncaught(node, found)

    def _uncaught(self, node: ast.AST, problems: Iterable[Found]) -> Iterator[Found]:
        for found in problems:
            # An error that may be one of several is caught if any of them is.
            caught = (self._handlers.may_catch(found.node, name) for name in found.errors)
            if self._program.reach(node) != DEAD and not any(caught):
                yield found

    def _doubtful_names(self) -> list[ast.Name]:
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

    def _check_member(self, node: ast.Attribute) -> Iterator[Found]:
        value = self._infer(node.value)
        if not isinstance(node.ctx, ast.Load):
            return
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
        if (
            self._inference.is_bound(node)
            or self._inference.is_hidden(node)
            or self._given.bare(name) is not None
        ):
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

    # --- misused values -------------------------------------------------------------------------

    def _check_use(
        self,
        node: ast.expr,
        ask: Callable[[Value], Answer] | None = None,
        errors: tuple[str, ...] = ("TypeError",),
        at: ast.AST | None = None,
    ) -> Sequence[Found]:
        """Return the problem of `node` if it is an awaitable whose value is needed, or if `ask` reports one."""
        value = self._infer(node)
        if isinstance(value, Pending):
            if ask is awaited or (
                value.is_task and "TypeError" not in errors
            ):  # tasks have attributes
                return ()
            called = shown(node) if isinstance(node, ast.Call) else value.source
            message = f"{value.source} is not awaited: write `(await {called or '...'})`"
            if isinstance(node, ast.Name):
                message = f"{node.id!r} is {value.source} without `await`: await it first"
            return [Found(node, message, errors, value.definition)]
        # Values without a tool were made by the code itself, which may know better.
        is_known = ask is awaited or getattr(value, "tool", value) is not None
        answer = ask(value) if is_known and ask is not None and value is not UNKNOWN else None
        if not isinstance(answer, str):
            return ()
        definition, name = getattr(value, "definition", None), shown(node) or "the value"
        if isinstance(value, Data) and definition is not None:
            of = f" from {definition.name}()" if definition.name not in name else ""
            name = f"{name} ({describe(value.tree, definition)}{of})"
        return [Found(at or node, f"{name} {answer}", errors, definition)]

    def _check_subscript(self, node: ast.Subscript) -> Sequence[Found]:
        key, shapes = node.slice, self._inference.shapes
        if isinstance(node.ctx, ast.Load):
            ask = lambda value: shapes.subscript(value, key)  # noqa: E731
            return self._check_use(node.value, ask, ("KeyError", "TypeError"), key)
        return () if self._facts.has_operators else self._check_use(node.value)

    def _check_attribute(self, node: ast.Attribute) -> Sequence[Found]:
        name, shapes = node.attr, self._inference.shapes
        if name.startswith("__") or name in _OF_AWAITABLES:
            return ()
        is_read = isinstance(node.ctx, ast.Load)
        ask = (lambda value: shapes.attribute(value, name)) if is_read else None
        return self._check_use(node.value, ask, ("AttributeError",), node)

    def _check_loop(self, node: ast.For | ast.AsyncFor | ast.comprehension) -> Sequence[Found]:
        is_async = isinstance(node, ast.AsyncFor) or getattr(node, "is_async", False)
        return self._check_use(node.iter, _iterate_later if is_async else iterate)

    def _check_comprehension(self, node: Comprehension) -> Iterator[Found]:
        for generator in node.generators:
            yield from self._check_loop(generator)

    def _check_unpacking(self, node: ast.Starred | ast.Assign | ast.YieldFrom) -> Sequence[Found]:
        if isinstance(node, ast.Assign):
            is_read = any(isinstance(target, ast.Tuple | ast.List) for target in node.targets)
        else:
            is_read = not isinstance(getattr(node, "ctx", None), ast.Store)
        return self._check_use(node.value, iterate) if is_read else ()

    def _check_operands(self, node: ast.AST) -> Iterator[Found]:
        if self._program.is_async:
            for part in _operands(node, self._facts.has_operators):
                if not isinstance(part, _NO_AWAITABLES):
                    yield from self._check_use(part)

    def _check_shown(self, node: ast.expr) -> Sequence[Found]:
        """Find an awaitable that is formatted as text: not an error, but never intended."""
        if not self._program.is_async or not isinstance(node, ast.Name | ast.Call):
            return ()
        if isinstance(node, ast.Name):
            if node.id not in self._only_shown:
                # It is only ever shown, so it is awaited nowhere.
                reads = self._program.reads.get(node.id, ())
                self._only_shown[node.id] = all(map(self._is_shown, reads))
            if not self._only_shown[node.id]:
                return ()
        return self._check_use(node, errors=())

    def _is_shown(self, node: ast.AST) -> bool:
        parent = self._program.parents.get(node)
        if isinstance(parent, ast.Call) and node in parent.args:
            function = self._infer(parent.func)
            return isinstance(function, LibraryValue) and function.name in _SHOWS
        return isinstance(parent, ast.FormattedValue)

    # --- calls ----------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call) -> Iterable[Found]:
        function, method = self._infer(node.func), node.func
        if ast.Starred in self._program.kinds and any(
            isinstance(argument, ast.Starred) for argument in node.args
        ):
            return ()
        if isinstance(method, ast.Attribute) and method.attr in ("extend", "join"):
            own = self._infer(method.value)
            is_own = isinstance(own, Items) or (isinstance(own, Data) and own.tool is None)
            uses = [self._check_use(a, iterate) for a in node.args if is_own]
            return [found for use in uses for found in use]
        is_library = isinstance(function, LibraryValue)
        return self._check_library_call(function.name, node) if is_library else ()  # type: ignore[union-attr]

    def _check_library_call(self, name: str, node: ast.Call) -> Iterator[Found]:
        first, ask = node.args[:1], None
        for argument in node.args if name in _SHOWS else ():
            yield from self._check_shown(argument)
        for argument in node.args if name == "asyncio.gather" else ():
            yield from self._check_use(argument, awaited)
        if name in _TAKES_DATA or (name in ("min", "max") and len(node.args) == 1):
            ask = parse if name == "json.loads" else iterate
        elif name in ("zip", "map", "filter", "functools.reduce"):
            first = node.args[name != "zip" :]
        elif name in ("json.dumps", "json.dump"):
            if any(keyword.arg in (None, "default", "cls") for keyword in node.keywords):
                return
            first = [part for argument in first for part in _parts(argument)]
        elif name not in _CONVERTS:
            return
        for argument in first:
            yield from self._check_use(argument, ask)

    def _check_arguments(self, node: ast.Call) -> Sequence[Found]:
        tool = self._infer(node.func)
        if not isinstance(tool, ToolValue):
            return ()
        key = tool.definition.qualified_name
        if key not in self._lenient:
            self._lenient[key] = Leniency(tool.definition)
        wrong = check_arguments(node, tool.definition, self._lenient[key], self._inference)
        if wrong is None or self._program.reach(node) == DEAD:
            return ()
        is_awaited = isinstance(self._program.parents.get(node), ast.Await)
        settled = is_awaited or not self._program.is_async
        is_caught = self._handlers.may_catch(node, TOOL_CALL_ERROR, settled=settled)
        return () if is_caught else [wrong]

    CHECKS: ClassVar[
        Mapping[type[ast.AST], tuple[Callable[[Check, Any], Iterable[Found]], ...]]
    ] = {
        ast.Name: (_check_name,),
        ast.Import: (_check_import,),
        ast.ImportFrom: (_check_import_from,),
        ast.Attribute: (_check_member, _check_attribute),
        ast.Subscript: (_check_subscript,),
        ast.Call: (_check_call, _check_arguments),
        ast.Await: (lambda own, node: own._check_use(node.value, awaited),),
        ast.AugAssign: (_check_augmented, _check_operands),
        ast.FormattedValue: (lambda own, node: own._check_shown(node.value),),
        **dict.fromkeys((ast.Starred, ast.Assign, ast.YieldFrom), (_check_unpacking,)),
        **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef), (_check_definition,)),
        **dict.fromkeys((ast.For, ast.AsyncFor), (_check_loop,)),
        **dict.fromkeys(COMPREHENSIONS, (_check_comprehension,)),
        **dict.fromkeys((ast.If, ast.While, ast.IfExp, ast.Assert), (_check_operands,)),
        **dict.fromkeys((ast.Compare, ast.BinOp, ast.UnaryOp), (_check_operands,)),
    }


_PLACE = operator.attrgetter("lineno", "col_offset")


# --- syntax ---------------------------------------------------------------------------------------


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


def _operands(node: ast.AST, has_operators: bool) -> Iterator[ast.expr]:
    """Yield the parts of `node` that cannot be awaitables."""
    if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
        test = node.test
        while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test = test.operand
        if isinstance(test, ast.Call):  # a variable may be awaited elsewhere
            yield test
    elif has_operators or isinstance(getattr(node, "op", None), ast.Mod | ast.Not):
        return
    elif isinstance(node, ast.AugAssign | ast.BinOp | ast.UnaryOp):
        parts = (getattr(node, name, None) for name in ("left", "right", "operand", "value"))
        yield from (part for part in parts if part is not None)
    elif isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        for sign, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if isinstance(sign, ast.In | ast.NotIn):
                yield right
            elif not isinstance(sign, ast.Is | ast.IsNot):
                is_equality = isinstance(sign, ast.Eq | ast.NotEq)  # of anything, without an error
                yield from (p for p in (left, right) if isinstance(p, ast.Call) or not is_equality)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """Yield `node` and the parts of a list, tuple or dict that is written out."""
    yield node
    inner: Sequence[ast.expr] = ()
    if isinstance(node, ast.Dict):
        inner = node.values
    elif isinstance(node, ast.List | ast.Tuple):
        inner = node.elts
    elif isinstance(node, ast.ListComp):
        inner = [node.elt]
    elif isinstance(node, ast.DictComp):
        inner = [node.value]
    for part in inner:
        yield from _parts(part)


def _iterate_later(value: Value) -> Answer:
    """Return the type of the items of an asynchronous loop over the value."""
    is_there = isinstance(value, Data | Items)
    return "is not an async iterator: use `for` without `async`" if is_there else None


# --- the check ------------------------------------------------------------------------------------

MAX_PROBLEMS = 20  # the maximum number of problems that are reported for one program
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
    """Checks programs before they run; `modules` are those that they may import, None to check those of tools only."""

    def __init__(self, catalog: ToolCatalog, modules: Collection[str] | None) -> None:
        self._catalog = catalog
        self._modules = modules
        self._lenient: dict[str, Leniency] = {}

    @cached_property
    def _names(self) -> CatalogNames:
        return CatalogNames(self._catalog)

    def check(self, code: str, *, kept: Collection[str] | None = ()) -> tuple[Problem, ...]:
        """Return the errors that `code` would certainly raise, in order of line; nothing of it is run.

        There are none where the code is not valid Python, of which the sandbox says more, and only those that were found
        until then where it is more work than a program is worth. `kept` are the session's variables, if they are known.
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
    """Return what is wrong, line by line, with the right signatures, for the model."""
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
            blocks.append(f"… and {count(len(problems) - number, 'more problem')}")
            break
        blocks.append(block)
    return "\n".join(blocks)


def _point(problem: Problem) -> list[str]:
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
