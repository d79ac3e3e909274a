"""Misused values: a call that is not awaited, a record used as a list. Pure."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from langchain_ptc.check.inference import Inference
from langchain_ptc.check.values import (
    UNKNOWN,
    Answer,
    Data,
    Found,
    Items,
    LibraryValue,
    Pending,
    Value,
    awaited,
    describe,
    iterate,
    parse,
    shown,
)
from langchain_ptc.sandbox.language.scopes import COMPREHENSIONS, Comprehension

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
_SIGNS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.BitOr: "|",
}
_NO_AWAITABLES = (ast.Constant, ast.JoinedStr, ast.Compare)
_Operand = tuple[ast.expr, str]
"""A part of a node that cannot be an awaitable, and how it is used."""


class Uses:
    """Finds misused values."""

    def __init__(self, inference: Inference) -> None:
        self._program = inference.program
        self._waits = inference.program.is_async
        """Whether any value can be an awaitable."""
        self._has_stars = ast.Starred in inference.program.kinds
        self._has_operators = inference.facts.has_operators
        self._shapes = inference.shapes
        self._infer = inference.infer
        self._only_shown: dict[str, bool] = {}

    def _check_use(
        self,
        node: ast.expr,
        what: str,
        ask: Callable[[Value], Answer] | None = None,
        errors: tuple[str, ...] = ("TypeError",),
        at: ast.AST | None = None,
    ) -> Sequence[Found]:
        """Return the problem of `node` if it is an unawaited awaitable, or if `ask` reports one."""
        value = self._infer(node)
        if value is UNKNOWN:
            return ()
        definition = getattr(value, "definition", None)
        if isinstance(value, Pending):
            if not what or (value.is_task and "TypeError" not in errors):  # tasks have attributes
                return ()
            called = _text(node) if isinstance(node, ast.Call) else value.source
            message = f"{value.source} is not awaited, and {what}: write `(await {called})`"
            if isinstance(node, ast.Name):
                message = f"{node.id!r} is {value.source} without `await`, {what}: await it first"
            return [Found(node, message, errors, definition)]
        if ask is not None and (ask is awaited or getattr(value, "tool", value) is not None):
            # Other values were made by the code itself, which may know better.
            answer = ask(value)
            if isinstance(answer, str):
                name: str = shown(node) or "the value"
                if isinstance(value, Data) and definition is not None:
                    of = f" from {definition.name}()" if definition.name not in name else ""
                    name = f"{name} ({describe(value.tree, definition)}{of})"
                return [Found(at or node, f"{name} {answer}", errors, definition)]
        return ()

    def _check_subscript(self, node: ast.Subscript) -> Iterable[Found]:
        key, is_read = node.slice, isinstance(node.ctx, ast.Load)
        if self._infer(node.value) is UNKNOWN or (not is_read and self._has_operators):
            return ()
        ask = (lambda value: self._shapes.subscript(value, key)) if is_read else None
        what = f"asked for [{shown(key) or '...'}]"
        return self._check_use(node.value, what, ask, ("KeyError", "TypeError"), key)

    def _check_attribute(self, node: ast.Attribute) -> Iterable[Found]:
        known = node.attr.startswith("__") or node.attr in _OF_AWAITABLES
        what = "" if known else f"asked for .{node.attr}"
        is_read = isinstance(node.ctx, ast.Load)
        ask = (lambda value: self._shapes.attribute(value, node.attr)) if is_read else None
        return self._check_use(node.value, what, ask, ("AttributeError",), node)

    def _check_await(self, node: ast.Await) -> Iterable[Found]:
        return self._check_use(node.value, "", awaited)

    def _check_loop(self, node: ast.For | ast.AsyncFor | ast.comprehension) -> Iterable[Found]:
        if isinstance(node, ast.AsyncFor) or getattr(node, "is_async", False):
            what = "iterated over with `async for`, where `for` is right"
            return self._check_use(node.iter, what, _iterate_later)
        return self._check_use(node.iter, "iterated over", iterate)

    def _check_comprehension(self, node: Comprehension) -> Iterator[Found]:
        for generator in node.generators:
            yield from self._check_loop(generator)

    def _check_starred(self, node: ast.Starred) -> Iterable[Found]:
        is_read = isinstance(node.ctx, ast.Load)
        return self._check_use(node.value, "iterated over", iterate) if is_read else ()

    def _check_unpacking(self, node: ast.Assign) -> Iterable[Found]:
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            return self._check_use(node.value, "iterated over", iterate)
        return ()

    def _check_formatted(self, node: ast.FormattedValue) -> Iterable[Found]:
        return self._check_shown(node.value)

    def _check_shown(self, node: ast.expr) -> Iterable[Found]:
        """Find an awaitable that is formatted as text: not an error, but never intended."""
        if not self._waits or not isinstance(node, ast.Name | ast.Call):
            return ()
        if isinstance(node, ast.Name):
            if node.id not in self._only_shown:
                # It is only ever shown, so it is awaited nowhere.
                reads = self._program.reads.get(node.id, ())
                self._only_shown[node.id] = all(map(self._is_shown, reads))
            if not self._only_shown[node.id]:
                return ()
        return self._check_use(node, "shown as text", errors=())

    def _is_shown(self, node: ast.AST) -> bool:
        parent = self._program.parents.get(node)
        if isinstance(parent, ast.Call) and node in parent.args:
            function = self._infer(parent.func)
            return isinstance(function, LibraryValue) and function.name in _SHOWS
        return isinstance(parent, ast.FormattedValue)

    def _check_operands(self, node: ast.AST) -> Iterator[Found]:
        if self._waits:
            for part, what in _operands(node, self._has_operators):
                if not isinstance(part, _NO_AWAITABLES):
                    yield from self._check_use(part, what)

    # --- calls ----------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call) -> Iterable[Found]:
        function, method = self._infer(node.func), node.func
        is_joined = isinstance(method, ast.Attribute) and method.attr in ("extend", "join")
        if not is_joined and not isinstance(function, LibraryValue):
            return ()
        if self._has_stars and any(isinstance(argument, ast.Starred) for argument in node.args):
            return ()
        if isinstance(method, ast.Attribute) and is_joined:
            return self._check_joined(self._infer(method.value), node.args)
        return self._check_library_call(function.name, node)  # type: ignore[union-attr]

    def _check_joined(self, own: Value, arguments: Sequence[ast.expr]) -> Iterator[Found]:
        if isinstance(own, Items) or (isinstance(own, Data) and own.tool is None):
            for argument in arguments:
                yield from self._check_use(argument, "iterated over", iterate)

    def _check_library_call(self, name: str, node: ast.Call) -> Iterator[Found]:
        first, ask = node.args[:1], None
        for argument in node.args if name in _SHOWS else ():
            yield from self._check_shown(argument)
        for argument in node.args if name == "asyncio.gather" else ():
            yield from self._check_use(argument, "", awaited)
        if name in _TAKES_DATA or (name in ("min", "max") and len(node.args) == 1):
            ask = parse if name == "json.loads" else iterate
        elif name in ("zip", "map", "filter", "functools.reduce"):
            first = node.args[name != "zip" :]
        elif name in ("json.dumps", "json.dump") and not _has_default(node):
            first = [part for argument in first for part in _parts(argument)]
        elif name not in _CONVERTS:
            return
        for argument in first:
            yield from self._check_use(argument, f"given to {name}()", ask)

    CHECKS: ClassVar[Mapping[type[ast.AST], Callable[[Uses, Any], Iterable[Found]]]] = {
        ast.Subscript: _check_subscript,
        ast.Attribute: _check_attribute,
        ast.Call: _check_call,
        ast.Await: _check_await,
        ast.For: _check_loop,
        ast.AsyncFor: _check_loop,
        ast.FormattedValue: _check_formatted,
        ast.Starred: _check_starred,
        ast.Assign: _check_unpacking,
        **dict.fromkeys(COMPREHENSIONS, _check_comprehension),
        **dict.fromkeys((ast.If, ast.While, ast.IfExp, ast.Assert), _check_operands),
        **dict.fromkeys((ast.Compare, ast.BinOp, ast.AugAssign, ast.UnaryOp), _check_operands),
        ast.YieldFrom: _check_operands,
    }


# --- syntax ---------------------------------------------------------------------------------------


def _has_default(node: ast.Call) -> bool:
    return any(keyword.arg in (None, "default", "cls") for keyword in node.keywords)


def _operands(node: ast.AST, has_operators: bool) -> Iterator[_Operand]:
    """Yield the parts of `node` that cannot be awaitables, with how they are used."""
    if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
        test = node.test
        while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test = test.operand
        if isinstance(test, ast.Call):  # a variable may be awaited elsewhere
            yield test, "used as a condition"
    elif isinstance(node, ast.Compare) and not has_operators:
        yield from _compared(node)
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        if not has_operators and not isinstance(node.op, ast.Mod):
            sign = _SIGNS.get(type(node.op), "an operator")
            augmented = isinstance(node, ast.AugAssign)
            for part in (node.value,) if augmented else (node.left, node.right):  # type: ignore[union-attr]
                yield part, f"used with {sign}{'=' * augmented}"
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        yield node.operand, "used with a sign"
    elif isinstance(node, ast.YieldFrom):
        yield node.value, "iterated over"


def _compared(node: ast.Compare) -> Iterator[_Operand]:
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        if isinstance(operator, ast.In | ast.NotIn):
            yield right, "searched with `in`"
        elif not isinstance(operator, ast.Is | ast.IsNot):
            is_equality = isinstance(operator, ast.Eq | ast.NotEq)
            for part in (left, right):
                if isinstance(part, ast.Call) or not is_equality:  # else no error is raised
                    yield part, "compared"


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


def _text(node: ast.AST) -> str:
    return shown(node) or "[...]"
