"""Values that are used as what they are not: a call that is not awaited, a record as a list. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from langchain_ptc.check.facts import Facts
from langchain_ptc.check.found import Found
from langchain_ptc.check.inference import Inference
from langchain_ptc.check.shapes import Answer, describe
from langchain_ptc.check.values import (
    Data,
    FunctionValue,
    Items,
    LibraryValue,
    Pending,
    ToolValue,
    Values,
    all_data,
    only,
    pending_of,
)
from langchain_ptc.check.words import shown

_ITERATES_FIRST = frozenset(
    "len sum sorted list tuple set frozenset dict any all enumerate iter next reversed".split()  # noqa: SIM905
) | {"collections.Counter", "statistics.mean", "statistics.median", "statistics.fmean", "math.fsum"}
_ITERATES_ALL = frozenset({"zip"})
_ITERATES_LATER = frozenset({"map", "filter", "functools.reduce"})
_CONVERTS = frozenset({"int", "float", "abs", "round", "json.loads", "divmod"})
_SHOWS = frozenset({"print", "str", "repr", "format", "pprint.pprint", "pprint.pformat"})
_NOT_AWAITABLE = frozenset(
    "print len str int float sum sorted list dict set tuple min max any all round abs range".split()  # noqa: SIM905
) | {"json.dumps", "json.loads"}
_KEEPS = frozenset({"dict", "iter", "next", "reversed"})
"""Of those that iterate, the ones that take more than data that can be iterated over."""
_JOINS = frozenset({"extend", "join"})
_OF_AWAITABLES = frozenset(
    "send throw close cr_await cr_code cr_frame cr_running cr_origin cr_suspended".split()  # noqa: SIM905
)


class Uses:
    """Finds values that are used as what they are not.

    Args:
        inference: What the expressions of the program are worth.
        facts: What it does anywhere.
    """

    def __init__(self, inference: Inference, facts: Facts) -> None:
        self._inference = inference
        self._facts = facts
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
        elif isinstance(node, ast.Starred):
            if isinstance(node.ctx, ast.Load):
                yield from self._check_iterated(node.value)
        elif isinstance(node, ast.Assign):
            if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
                yield from self._check_iterated(node.value)
        else:
            for part, what in _operands(node, self._facts.has_operators):
                yield from self._check_pending(part, what)

    # --- what is not awaited --------------------------------------------------------------------

    def _pending(self, node: ast.expr) -> Pending | None:
        return pending_of(self._inference.infer(node))

    def _check_pending(
        self, node: ast.expr, what: str, *, error: str = "TypeError", is_task_right: bool = False
    ) -> Iterator[Found]:
        pending = self._pending(node)
        if pending is None or (is_task_right and pending.is_task):
            return
        yield Found(node, _not_awaited(pending, node, what), error, pending.definition)

    def _check_shown(self, node: ast.expr) -> Iterator[Found]:
        """Find an awaitable that is shown as text: no error, but never what was meant."""
        if isinstance(node, ast.Name) and not self._is_only_shown(node):
            return
        if isinstance(node, ast.Name | ast.Call):
            yield from self._check_pending(node, "shown as text", error="", is_task_right=True)

    def _is_only_shown(self, name: ast.Name) -> bool:
        """Whether a variable is used nowhere but where it is shown: so it is awaited nowhere."""
        known = self._only_shown.get(name.id)
        if known is None:
            known = all(map(self._is_shown, self._facts.loads.get(name.id, ())))
            self._only_shown[name.id] = known
        return known

    def _is_shown(self, node: ast.AST) -> bool:
        parent = self._facts.parents.get(node)
        if isinstance(parent, ast.Call) and node in parent.args:
            function = only(self._inference.infer(parent.func))
            return isinstance(function, LibraryValue) and function.name in _SHOWS
        return isinstance(parent, ast.FormattedValue)

    # --- uses -----------------------------------------------------------------------------------

    def _check_subscript(self, node: ast.Subscript) -> Iterator[Found]:
        if self._facts.has_operators and not isinstance(node.ctx, ast.Load):
            return
        if self._pending(node.value) is not None:
            what = f"asked for [{shown(node.slice) or '...'}]"
            yield from self._check_pending(node.value, what)
        values = self._inference.infer(node.value)
        if isinstance(node.ctx, ast.Load):
            shapes = self._inference.shapes
            answers = [
                shapes.subscript(value.tree, node.slice, value.definition)
                for value in all_data(values) or ()
            ]
            if not answers:
                answers = list(_subscript_items(values, node.slice))
            yield from self._wrong(node.value, values, answers, "KeyError", "TypeError", at=node)

    def _check_attribute(self, node: ast.Attribute) -> Iterator[Found]:
        pending = self._pending(node.value)
        if pending is not None:
            known = node.attr in _OF_AWAITABLES or node.attr.startswith("__")
            if not known and not pending.is_task:
                what = f"asked for .{node.attr}"
                yield from self._check_pending(node.value, what, error="AttributeError")
            return
        if not isinstance(node.ctx, ast.Load):
            return
        values = self._inference.infer(node.value)
        shapes = self._inference.shapes
        answers = [
            shapes.attribute(value.tree, node.attr, value.definition)
            for value in all_data(values) or ()
        ]
        yield from self._wrong(node.value, values, answers, "AttributeError", at=node)

    def _wrong(
        self,
        node: ast.expr,
        values: Values,
        answers: Sequence[Answer],
        *errors: str,
        at: ast.AST | None = None,
    ) -> Iterator[Found]:
        """Yield what is wrong if no answer is good."""
        told = [answer for answer in answers if isinstance(answer, str)]
        if not told or len(told) < len(answers):
            return
        first = values[0]
        definition = first.definition if isinstance(first, Data) else None
        if definition is None and not any(isinstance(value, Items) for value in values):
            return  # what the code itself has made is its own business
        message = f"{self._name(node, values)} {told[0]}"
        yield Found(_end_of(at or node), message, "|".join(errors), definition)

    def _name(self, node: ast.expr, values: Values) -> str:
        name = shown(node) or "the value"
        first = values[0]
        if isinstance(first, Data) and first.definition is not None:
            type_name = describe(first.tree, first.definition)
            if first.source and first.source.removesuffix("()") not in name:
                return f"{name} ({type_name} from {first.source})"
            return f"{name} ({type_name})"
        return name

    def _check_loop(self, node: ast.For | ast.comprehension | ast.AsyncFor) -> Iterator[Found]:
        is_async = isinstance(node, ast.AsyncFor) or (
            isinstance(node, ast.comprehension) and bool(node.is_async)
        )
        if not is_async:
            yield from self._check_iterated(node.iter)
            return
        values = self._inference.infer(node.iter)
        pending = pending_of(values)
        if pending is not None and not pending.is_task:
            message = (
                f"{pending.source} gives its items at once: write "
                f"`for ... in await {pending.source.removesuffix('()')}(...)`, without `async`"
            )
            yield Found(node.iter, message, "TypeError", pending.definition)
        elif values and all(isinstance(v, Data | Items) for v in values):
            message = (
                f"{_shorten(node.iter)} is no asynchronous iterator: use `for` without `async`"
            )
            yield Found(node.iter, message, "TypeError")

    def _check_iterated(self, node: ast.expr) -> Iterator[Found]:
        yield from self._check_pending(node, "iterated over")
        values = self._inference.infer(node)
        shapes = self._inference.shapes
        answers = [shapes.iterate(value.tree) for value in all_data(values) or ()]
        yield from self._wrong(node, values, answers, "TypeError")

    def _check_await(self, node: ast.Await) -> Iterator[Found]:
        values = self._inference.infer(node.value)
        first = values[0]
        if all(isinstance(value, Data | Items) for value in values):
            call = node.value if isinstance(node.value, ast.Call) else None
            function = only(self._inference.infer(call.func)) if call is not None else None
            if isinstance(function, FunctionValue) and not self._is_plain(function):
                return
            items = first.every() if isinstance(first, Items) else ()
            many = pending_of(items) if items else None
            hint = "remove `await`"
            if many is not None:
                hint = f"write `await asyncio.gather(*{_shorten(node.value)})`"
            message = f"{_shorten(node.value)} is {_what(first)}, which cannot be awaited: {hint}"
            yield Found(node, message, "TypeError")
        elif isinstance(node.value, ast.Call):
            function = only(self._inference.infer(node.value.func))
            if isinstance(function, LibraryValue) and function.name in _NOT_AWAITABLE:
                message = f"{function.name}() cannot be awaited: remove `await`"
                yield Found(node, message, "TypeError")
        elif isinstance(only(values), ToolValue):
            tool = shown(node.value) or "the tool"
            message = f"{tool} is not called: write `await {tool}(...)`"
            definition = first.definition if isinstance(first, ToolValue) else None
            yield Found(node, message, "TypeError", definition)

    def _is_plain(self, function: FunctionValue) -> bool:
        return isinstance(function.node, ast.FunctionDef)

    # --- calls ----------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call) -> Iterator[Found]:
        function = only(self._inference.infer(node.func))
        if isinstance(function, LibraryValue):
            yield from self._check_library_call(function.name, node)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in _JOINS:
            receiver = all_data(self._inference.infer(node.func.value))
            known = receiver is not None and receiver[0].definition is None
            if (known or self._holds_list(node.func.value)) and len(node.args) == 1:
                yield from self._check_iterated(node.args[0])

    def _holds_list(self, node: ast.expr) -> bool:
        values = self._inference.infer(node)
        return bool(values) and all(isinstance(value, Items) for value in values)

    def _check_library_call(self, name: str, node: ast.Call) -> Iterator[Found]:
        arguments: list[ast.expr] = [a for a in node.args if not isinstance(a, ast.Starred)]
        if len(arguments) < len(node.args):
            return
        first = arguments[:1]
        if name in _ITERATES_FIRST or (name in ("min", "max") and len(arguments) == 1):
            yield from self._check_pendings(first, name)
            for argument in first if name not in _KEEPS else ():
                yield from self._check_data(argument)
        elif name in _ITERATES_ALL or name in _ITERATES_LATER:
            yield from self._check_pendings(arguments[name in _ITERATES_LATER :], name)
        elif name in _CONVERTS:
            yield from self._check_pendings(first, name)
            for argument in first if name == "json.loads" else ():
                yield from self._check_parsed(argument)
        elif name in ("json.dumps", "json.dump") and not _has_default(node):
            yield from self._check_pendings([p for a in first for p in _parts(a)], name)
        elif name in _SHOWS:
            for argument in arguments:
                yield from self._check_shown(argument)
        elif name == "asyncio.gather":
            yield from self._check_gathered(node)

    def _check_pendings(self, arguments: Sequence[ast.expr], name: str) -> Iterator[Found]:
        for argument in arguments:
            yield from self._check_pending(argument, f"given to {name}()")

    def _check_data(self, argument: ast.expr) -> Iterator[Found]:
        values = self._inference.infer(argument)
        answers = [self._inference.shapes.iterate(value.tree) for value in all_data(values) or ()]
        yield from self._wrong(argument, values, answers, "TypeError")

    def _check_parsed(self, argument: ast.expr) -> Iterator[Found]:
        values = self._inference.infer(argument)
        answers = [self._inference.shapes.parse(value.tree) for value in all_data(values) or ()]
        yield from self._wrong(argument, values, answers, "TypeError")

    def _check_gathered(self, node: ast.Call) -> Iterator[Found]:
        """Find lists that are given to `gather` as they are, and results that need no waiting."""
        for argument in node.args:
            values = self._inference.infer(argument)
            first = values[0]
            if isinstance(first, Items) and len(values) == 1:
                hint = f"write `asyncio.gather(*{_shorten(argument)})`"
                message = f"asyncio.gather() takes awaitables, not a list of them: {hint}"
                yield Found(argument, message, "TypeError")
            elif all_data(values) and isinstance(first, Data) and first.definition is not None:
                message = f"{_shorten(argument)} is {_what(first)}, which cannot be awaited"
                yield Found(argument, message, "TypeError", first.definition)


# --- syntax ---------------------------------------------------------------------------------------


def _operands(node: ast.AST, has_operators: bool) -> Iterator[tuple[ast.expr, str]]:
    """Yield the parts of `node` that no awaitable can be, with what happens to them."""
    if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
        yield from _direct(_strip_not(node.test), "used as a condition")
    elif isinstance(node, ast.Compare) and not has_operators:
        yield from _compared(node)
    elif isinstance(node, ast.BinOp) and not has_operators and not isinstance(node.op, ast.Mod):
        sign = _SIGNS.get(type(node.op), "an operator")
        yield node.left, f"used with {sign}"
        yield node.right, f"used with {sign}"
    elif isinstance(node, ast.AugAssign) and not has_operators and not isinstance(node.op, ast.Mod):
        yield node.value, f"used with {_SIGNS.get(type(node.op), 'an operator')}="
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        yield node.operand, "used with a sign"
    elif isinstance(node, ast.YieldFrom):
        yield node.value, "iterated over"


_SIGNS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.BitOr: "|",
}


def _compared(node: ast.Compare) -> Iterator[tuple[ast.expr, str]]:
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        if isinstance(operator, ast.In | ast.NotIn):
            yield right, "searched with `in`"
        elif isinstance(operator, ast.Eq | ast.NotEq):
            yield from _direct(left, "compared")
            yield from _direct(right, "compared")
        elif not isinstance(operator, ast.Is | ast.IsNot):
            yield left, "compared"
            yield right, "compared"


def _direct(node: ast.expr, what: str) -> Iterator[tuple[ast.expr, str]]:
    """Yield a call alone: no error would be raised, and a variable may be awaited elsewhere."""
    if isinstance(node, ast.Call):
        yield node, what


def _strip_not(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node = node.operand
    return node


def _has_default(node: ast.Call) -> bool:
    return any(keyword.arg in (None, "default", "cls") for keyword in node.keywords)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """Yield `node` and what stands in it as a display."""
    yield node
    inner: Sequence[ast.expr | None] = ()
    if isinstance(node, ast.Dict):
        inner = node.values
    elif isinstance(node, ast.List | ast.Tuple):
        inner = node.elts
    elif isinstance(node, ast.ListComp):
        inner = [node.elt]
    elif isinstance(node, ast.DictComp):
        inner = [node.value]
    for part in inner:
        if part is not None:
            yield from _parts(part)


def _subscript_items(values: Values, key: ast.expr) -> Iterator[Answer]:
    text = isinstance(key, ast.Constant) and isinstance(key.value, str)
    for value in values:
        if isinstance(value, Items) and text:
            kind = "tuple" if value.is_tuple else "list"
            yield f"is a {kind}: its items have positions, not keys"
        else:
            yield None


def _end_of(node: ast.AST) -> ast.AST:
    """Return the part of `node` at which a mistake is shown: the key, not the value before it."""
    return node.slice if isinstance(node, ast.Subscript) else node


def _what(value: object) -> str:
    if isinstance(value, Items):
        return "a tuple" if value.is_tuple else "a list"
    if isinstance(value, Data):
        return f"{describe(value.tree, value.definition)} already" if value.source else "a value"
    return "a value"


def _shorten(node: ast.AST) -> str:
    return shown(node) or "[...]"


def _not_awaited(pending: Pending, node: ast.expr, what: str) -> str:
    if isinstance(node, ast.Name):
        return f"{node.id!r} is {pending.source} without `await`, {what}: await it first"
    called = _shorten(node) if isinstance(node, ast.Call) else pending.source
    return f"{pending.source} is not awaited, and {what}: write `(await {called})`"
