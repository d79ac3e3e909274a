"""Values that are used as what they are not: a call that is not awaited, a record as a list. Pure."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence

from langchain_ptc.check.facts import Facts
from langchain_ptc.check.inference import Inference
from langchain_ptc.check.program import Program
from langchain_ptc.check.values import (
    Answer,
    Data,
    Found,
    FunctionValue,
    Items,
    LibraryValue,
    ToolValue,
    Values,
    all_data,
    describe,
    iterate,
    only,
    parse,
    pending_of,
    shown,
)

_TAKES_DATA = frozenset(
    [
        "len",
        "sum",
        "sorted",
        "list",
        "tuple",
        "set",
        "frozenset",
        "any",
        "all",
        "enumerate",
        "json.loads",
        "collections.Counter",
        "statistics.mean",
        "statistics.median",
        "statistics.fmean",
        "math.fsum",
    ]
)
"""Functions whose first argument is iterated over, or read."""
_CONVERTS = frozenset("dict iter next reversed int float abs round divmod min max".split())  # noqa: SIM905
"""Further functions whose first argument is no awaitable."""
_SHOWS = frozenset({"print", "str", "repr", "format", "pprint.pprint", "pprint.pformat"})
_NOT_AWAITABLE = frozenset(
    "print len str int float sum sorted list dict set tuple min max any all round abs range".split()  # noqa: SIM905
) | {"json.dumps", "json.loads"}
_OF_AWAITABLES = frozenset(
    "send throw close cr_await cr_code cr_frame cr_running cr_origin cr_suspended".split()  # noqa: SIM905
)


class Uses:
    """Finds values that are used as what they are not.

    Args:
        program: The program.
        facts: What it does with its values.
        inference: What its expressions are worth.
    """

    def __init__(self, program: Program, facts: Facts, inference: Inference) -> None:
        self._program = program
        self._facts = facts
        self._inference = inference
        self._infer = inference.infer
        self._only_shown: dict[str, bool] = {}

    def check(self, node: ast.AST) -> Iterator[Found]:
        """Yield what is wrong with how `node` uses its parts."""
        if isinstance(node, ast.Subscript):
            yield from self._check_subscript(node)
        elif isinstance(node, ast.Attribute):
            yield from self._check_attribute(node)
        elif isinstance(node, ast.Call):
            yield from self._check_call(node)
        elif isinstance(node, ast.Await):
            yield from self._check_await(node)
        elif isinstance(node, ast.For | ast.comprehension | ast.AsyncFor):
            yield from self._check_loop(node)
        elif isinstance(node, ast.FormattedValue):
            yield from self._check_shown(node.value)
        elif isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load):
            yield from self._check_iterated(node.value)
        elif isinstance(node, ast.Assign):
            if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
                yield from self._check_iterated(node.value)
        else:
            for part, what in _operands(node, self._facts.has_operators):
                yield from self._check_pending(part, what)

    # --- what is not awaited --------------------------------------------------------------------

    def _check_pending(
        self, node: ast.expr, what: str, *errors: str, is_task_right: bool = False
    ) -> Iterator[Found]:
        pending = pending_of(self._infer(node))
        if pending is None or (is_task_right and pending.is_task):
            return
        if isinstance(node, ast.Name):
            message = f"{node.id!r} is {pending.source} without `await`, {what}: await it first"
        else:
            called = _text(node) if isinstance(node, ast.Call) else pending.source
            message = f"{pending.source} is not awaited, and {what}: write `(await {called})`"
        definition = None if pending.tool is None else pending.tool.definition
        yield Found(node, message, errors or ("TypeError",), definition)

    def _check_shown(self, node: ast.expr) -> Iterator[Found]:
        """Find an awaitable that is shown as text: no error, but never what was meant."""
        if isinstance(node, ast.Call) or (
            isinstance(node, ast.Name) and self._is_only_shown(node.id)
        ):
            for found in self._check_pending(node, "shown as text", is_task_right=True):
                yield Found(found.node, found.message, (), found.definition)

    def _is_only_shown(self, name: str) -> bool:
        """Whether a variable is used nowhere but where it is shown: so it is awaited nowhere."""
        if name not in self._only_shown:
            self._only_shown[name] = all(map(self._is_shown, self._program.reads.get(name, ())))
        return self._only_shown[name]

    def _is_shown(self, node: ast.AST) -> bool:
        parent = self._program.parents.get(node)
        if isinstance(parent, ast.Call) and node in parent.args:
            function = only(self._infer(parent.func))
            return isinstance(function, LibraryValue) and function.name in _SHOWS
        return isinstance(parent, ast.FormattedValue)

    # --- what data is asked for -----------------------------------------------------------------

    def _check_data(
        self,
        node: ast.expr,
        ask: Callable[[Data], Answer],
        *errors: str,
        at: ast.AST | None = None,
    ) -> Iterator[Found]:
        """Yield what is wrong with `node` if no value of it has a good answer."""
        values = self._infer(node)
        answers = [ask(value) for value in all_data(values)]
        first = values[0]
        if not answers or not isinstance(first, Data) or first.tool is None:
            return  # what the code itself has made is its own business
        if all(isinstance(answer, str) for answer in answers):
            name, definition = shown(node) or "the value", first.tool.definition
            of = f" from {definition.name}()" if definition.name not in name else ""
            kind = f"{describe(first.tree, definition)}{of}"
            yield Found(
                at or node, f"{name} ({kind}) {answers[0]}", errors or ("TypeError",), definition
            )

    def _check_subscript(self, node: ast.Subscript) -> Iterator[Found]:
        is_read = isinstance(node.ctx, ast.Load)
        if self._facts.has_operators and not is_read:
            return
        what = f"asked for [{shown(node.slice) or '...'}]"
        yield from self._check_pending(node.value, what)
        if not is_read:
            return
        errors = ("KeyError", "TypeError")
        key = node.slice
        yield from self._check_data(
            node.value, lambda value: self._inference.shapes.subscript(value, key), *errors, at=key
        )
        values = self._infer(node.value)
        first = values[0]
        is_text = isinstance(key, ast.Constant) and isinstance(key.value, str)
        if is_text and isinstance(first, Items) and all(isinstance(v, Items) for v in values):
            name = shown(node.value) or "the value"
            yield Found(key, f"{name} is {first.kind}: its items have positions, not keys", errors)

    def _check_attribute(self, node: ast.Attribute) -> Iterator[Found]:
        if not node.attr.startswith("__") and node.attr not in _OF_AWAITABLES:
            what = f"asked for .{node.attr}"
            yield from self._check_pending(node.value, what, "AttributeError", is_task_right=True)
        if isinstance(node.ctx, ast.Load):
            yield from self._check_data(
                node.value,
                lambda value: self._inference.shapes.attribute(value, node.attr),
                "AttributeError",
                at=node,
            )

    def _check_iterated(self, node: ast.expr) -> Iterator[Found]:
        yield from self._check_pending(node, "iterated over")
        yield from self._check_data(node, iterate)

    def _check_loop(self, node: ast.For | ast.comprehension | ast.AsyncFor) -> Iterator[Found]:
        if not (isinstance(node, ast.AsyncFor) or getattr(node, "is_async", False)):
            yield from self._check_iterated(node.iter)
            return
        values = self._infer(node.iter)
        pending, first = pending_of(values), values[0]
        if pending is not None and pending.tool is not None:
            name = pending.tool.definition.name
            advice = f"write `for ... in await {name}(...)`, without `async`"
            message = f"{pending.source} gives its items at once: {advice}"
            yield Found(node.iter, message, (), pending.tool.definition)
        elif isinstance(first, Items) or all_data(values):
            message = f"{_text(node.iter)} is no asynchronous iterator: use `for` without `async`"
            yield Found(node.iter, message, ("TypeError",))

    def _check_await(self, node: ast.Await) -> Iterator[Found]:
        values = self._infer(node.value)
        first, text = values[0], _text(node.value)
        call = node.value.func if isinstance(node.value, ast.Call) else None
        function = None if call is None else only(self._infer(call))
        definition = None
        if all(isinstance(value, Data | Items) for value in values):
            if isinstance(function, FunctionValue) and isinstance(
                function.node, ast.AsyncFunctionDef
            ):
                return
            of_calls = isinstance(first, Items) and pending_of(first.every()) is not None
            advice = f"write `await asyncio.gather(*{text})`" if of_calls else "remove `await`"
            message = f"{text} is {_what(first)}, which cannot be awaited: {advice}"
        elif isinstance(function, LibraryValue) and function.name in _NOT_AWAITABLE:
            message = f"{function.name}() cannot be awaited: remove `await`"
        elif isinstance(first, ToolValue) and len(values) == 1:
            message = f"{text} is not called: write `await {text}(...)`"
            definition = first.definition
        else:
            return
        yield Found(node, message, ("TypeError",), definition)

    # --- calls ----------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call) -> Iterator[Found]:
        function, method = only(self._infer(node.func)), node.func
        first = node.args[:1]
        is_joined = isinstance(method, ast.Attribute) and method.attr in ("extend", "join")
        if is_joined and len(node.args) == 1 and _is_of_the_code(self._infer(method.value)):  # type: ignore[attr-defined]
            yield from self._check_iterated(node.args[0])
        if not isinstance(function, LibraryValue) or any(
            isinstance(argument, ast.Starred) for argument in node.args
        ):
            return
        name = function.name
        if name in _SHOWS:
            for argument in node.args:
                yield from self._check_shown(argument)
        elif name == "asyncio.gather":
            yield from self._check_gathered(node)
        for argument in _not_pending(name, node):
            yield from self._check_pending(argument, f"given to {name}()")
        ask = parse if name == "json.loads" else iterate
        if name in _TAKES_DATA or (name in ("min", "max") and len(node.args) == 1):
            for argument in first:
                yield from self._check_data(argument, ask)

    def _check_gathered(self, node: ast.Call) -> Iterator[Found]:
        """Find lists that are given to `gather` as they are, and results that need no waiting."""
        for argument in node.args:
            values = self._infer(argument)
            first, text = values[0], _text(argument)
            if isinstance(first, Items) and len(values) == 1:
                advice = f"write `asyncio.gather(*{text})`"
                message = f"asyncio.gather() takes awaitables, not a list of them: {advice}"
                yield Found(argument, message, ("TypeError",))
            elif all_data(values) and isinstance(first, Data) and first.tool is not None:
                message = f"{text} is {_what(first)}, which cannot be awaited"
                yield Found(argument, message, ("TypeError",), first.definition)


# --- syntax ---------------------------------------------------------------------------------------

_SIGNS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.BitOr: "|",
}


def _operands(node: ast.AST, has_operators: bool) -> Iterator[tuple[ast.expr, str]]:
    """Yield the parts of `node` that no awaitable can be, with what happens to them."""
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


def _not_pending(name: str, node: ast.Call) -> Sequence[ast.expr]:
    """Return the arguments of a function of the library that no awaitable can be."""
    if name in ("zip", "map", "filter", "functools.reduce"):
        return node.args[name != "zip" :]
    if name in ("json.dumps", "json.dump"):
        with_default = any(keyword.arg in (None, "default", "cls") for keyword in node.keywords)
        return [] if with_default else [part for first in node.args[:1] for part in _parts(first)]
    takes_one = name not in ("min", "max") or len(node.args) == 1
    return node.args[:1] if name in _TAKES_DATA | _CONVERTS and takes_one else []


def _compared(node: ast.Compare) -> Iterator[tuple[ast.expr, str]]:
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
    """Yield `node` and what stands in it as a display."""
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


def _is_of_the_code(values: Values) -> bool:
    """Whether all of the values are lists or texts that the code itself has made."""
    return all(
        isinstance(value, Items) or (isinstance(value, Data) and value.tool is None)
        for value in values
    )


def _what(value: object) -> str:
    if isinstance(value, Items):
        return value.kind
    if isinstance(value, Data) and value.tool is not None:
        return f"{describe(value.tree, value.definition)} already"
    return "a value"


def _text(node: ast.AST) -> str:
    return shown(node) or "[...]"
