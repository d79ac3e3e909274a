"""One program as the check sees it: what is reached, changed, tested and caught in it. Pure.

The check does not follow a program in the order in which it runs: it reports nothing about a value that may have
been changed, tested or replaced somewhere. A program may try a call to see whether it works: a problem is reported
only where its exception would certainly leave the program, and no `try`, `suppress` or `return_exceptions=True` may
catch it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_ptc.locks import cached_property
from langchain_ptc.sandbox.language.scopes import Binding, Function, SyntaxTree, is_async

MAX_STEPS = 60_000  # of one check; ordinary programs take one for every few characters
DEAD, MAYBE, SURE = range(3)  # never, under a condition, or whenever the program runs
_EXITS = frozenset({"exit", "quit"})
_REFLECTS = frozenset({"globals", "locals", "vars", "dir", "setattr", "delattr", "exec", "eval"})


class OutOfWork(Exception):  # it ends the check, and is not an error
    """The check has used up its steps."""


class Work:
    """Counts the steps of one check, so that its time is bounded for every program."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps, or raise `OutOfWork`."""
        self.left -= steps
        if self.left < 0:
            raise OutOfWork


class Program(SyntaxTree):
    """What the check knows of the text of one program."""

    def __init__(self, root: ast.Module) -> None:
        super().__init__(root)
        self.is_async = is_async(self)  # whether a call of a tool gives an awaitable
        self.reads: dict[str, list[ast.AST]] = {}  # where each name or attribute is read
        for node in (*self.kinds.get(ast.Name, ()), *self.kinds.get(ast.Attribute, ())):
            if isinstance(node.ctx, ast.Load):
                name = node.id if isinstance(node, ast.Name) else node.attr
                self.reads.setdefault(name, []).append(node)
        named = (node for name in _REFLECTS & self.reads.keys() for node in self.reads[name])
        self.reflects = any(isinstance(node, ast.Name) for node in named)
        """Whether the code inspects its own namespace: then no name is certain."""

    @cached_property
    def reach(self) -> Callable[[ast.AST], int]:
        """Returns how certainly a node is reached: `DEAD`, `MAYBE` or `SURE`."""
        return _Reach(self).of


class _Reach:
    """What is reached in a program, and how certainly; a function as certainly as the code that reads its name."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._states: dict[ast.AST, tuple[int, ast.AST]] = {program.root: (SURE, program.root)}
        """How certainly each node is reached once the function that it is in is called, and that function."""
        self._reads: dict[ast.AST, dict[str, int]] = {}  # names that each function reads
        self._functions: dict[ast.AST, int] = {}
        self._ends: dict[ast.stmt, bool] = {}
        for node in program.nodes:
            if node in self._states:
                self._enter(node)
        if not program.reflects:
            self._find_uncalled()

    def of(self, node: ast.AST) -> int:
        """Return how certainly `node` is reached."""
        state, owner = self._states.get(node, (SURE, node))
        return min(state, self._functions.get(owner, SURE))

    def _enter(self, node: ast.AST) -> None:
        """Note what a node reads, and how certainly the nodes in it are reached."""
        known, owner = self._states[node]
        name = _name_read_by(node, self._program.scope_of[node].node)
        if name is not None:
            reads = self._reads.setdefault(owner, {})
            reads[name] = max(known, reads.get(name, DEAD))
        for field in node._fields:
            value = getattr(node, field, None)
            state = min(known, _certainty(node, field))
            inside = node if isinstance(node, Function) and field == "body" else owner
            for child in value if isinstance(value, list) else (value,):
                if not isinstance(child, ast.AST):
                    continue
                scope = self._program.scope_of.get(child)
                if scope is None or scope.is_deferred:
                    continue
                self._states[child] = state, inside
                if isinstance(node, ast.BoolOp) and isinstance(child, ast.expr):
                    is_decided = _truth(child) is isinstance(node.op, ast.Or)
                    state = DEAD if is_decided else min(state, MAYBE)
                elif isinstance(child, ast.stmt) and self._never_ends(child):
                    state = DEAD

    def _never_ends(self, node: ast.stmt) -> bool:
        """Whether what follows a statement in its block is never reached."""
        if node not in self._ends:
            self._ends[node] = self._leaves(node)
        return self._ends[node]

    def _leaves(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue):
            return True
        if isinstance(node, ast.Expr):
            function = getattr(node.value, "func", None)
            if isinstance(function, ast.Attribute):
                return function.attr == "exit" and getattr(function.value, "id", "") == "sys"
            return getattr(function, "id", "") in _EXITS
        if isinstance(node, ast.If):
            return self._is_left(node.body) and self._is_left(node.orelse)
        if isinstance(node, ast.While):
            has_break = any(isinstance(part, ast.Break) for part in ast.walk(node))
            return _truth(node.test) is True and not has_break
        if isinstance(node, ast.Try | ast.TryStar):
            is_left = self._is_left(node.body) or self._is_left(node.orelse)
            handled = all(self._is_left(handler.body) for handler in node.handlers)
            return self._is_left(node.finalbody) or (is_left and handled)
        return False

    def _is_left(self, block: Sequence[ast.stmt]) -> bool:
        return any(map(self._never_ends, block))

    def _find_uncalled(self) -> None:
        by_name: dict[str, list[ast.AST]] = {}
        reach = self._functions
        functions = [node for node in self._program.scopes if isinstance(node, Function)]
        for node in functions:
            by_name.setdefault(node.name, []).append(node)
            reach[node] = DEAD
        for level in (SURE, MAYBE):
            waiting: list[ast.AST] = [
                self._program.root,
                *(node for node in functions if reach[node] > level),
            ]
            while waiting:
                for name, certainty in self._reads.get(waiting.pop(), {}).items():
                    for called in by_name.get(name, ()) if certainty >= level else ():
                        if reach[called] < level:
                            reach[called] = level
                            waiting.append(called)
        for node in functions:  # outer ones before inner ones
            _, outer = self._states.get(node, (SURE, node))
            reach[node] = min(reach[node], reach.get(outer, SURE))


def _name_read_by(node: ast.AST, scope: ast.AST) -> str | None:
    """Return the name of a function that a node may call, or that others call."""
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Load) else None
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant):  # a name for `getattr`, perhaps
        return node.value if isinstance(node.value, str) and len(node.value) < 100 else None
    if isinstance(node, Function):  # called by the language, a decorator, a class above its own
        is_special = node.name.startswith("__") and node.name.endswith("__")
        is_called = node.decorator_list or is_special or getattr(scope, "bases", None)
        return node.name if is_called else None
    return None


_UNSURE: Mapping[type[ast.AST], tuple[str, ...]] = {
    **dict.fromkeys((ast.For, ast.AsyncFor), ("orelse",)),
    **dict.fromkeys((ast.Try, ast.TryStar), ("handlers", "orelse")),
    ast.Assert: ("msg",),
    ast.Match: ("cases",),
}
"""What is reached under a condition, though the statement is reached."""


def _certainty(node: ast.AST, field: str) -> int:
    """Return how certainly a field of a node is reached, if the node is."""
    if isinstance(node, ast.If | ast.IfExp | ast.While) and field in ("body", "orelse"):
        truth = _truth(node.test)
        if truth is None:
            return SURE if isinstance(node, ast.While) and field == "body" else MAYBE
        return SURE if truth is (field == "body") else DEAD
    if (
        field == "body"
        and isinstance(node, ast.For)
        and isinstance(node.iter, ast.List | ast.Tuple)
    ):
        return SURE if node.iter.elts else DEAD
    return MAYBE if field in _UNSURE.get(type(node), ()) else SURE


def _truth(test: ast.expr) -> bool | None:
    """Return the truth of a condition that is always the same; None if it may be either."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _truth(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__":
        value = getattr(test.comparators[0], "value", "")
        return True if isinstance(test.ops[0], ast.Eq) and value == "__main__" else None
    is_for_types = getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"
    return False if is_for_types else None


# --- what it does with its values ----------------------------------------------------------------------

TOOL_CALL_ERROR = "ToolCallError"
_CHANGES = frozenset(
    "append extend insert add update setdefault sort reverse remove discard pop popitem clear".split()  # noqa: SIM905
)
"""Methods that change their object."""
_INSPECTS = frozenset({"isinstance", "issubclass", "hasattr", "callable", "type", "getattr", "id"})
"""Builtins that test what a value is: after them the code knows more than the check."""
_ASKS = frozenset({"get", "setdefault", "pop", "__contains__"})
_OPERATORS = frozenset(
    f"__{side}{name}__"
    for name in "add sub mul truediv floordiv mod pow or and xor lt le gt ge contains".split()  # noqa: SIM905
    for side in ("", "r", "i")
)
_CONSTRUCTORS = frozenset({"dict", "list", "set", "defaultdict", "Counter", "OrderedDict", "deque"})
_DISPLAYS = (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)


class Facts:
    """What a program does with its values, anywhere in it."""

    def __init__(self, program: Program) -> None:
        self.stored: set[str] = set()  # keys and attributes that the code sets, or tests for
        self.opaque: set[str] = set()  # names that the code inspects, or changes in place
        self.changed: set[str] = set()  # names of containers that the code changes
        self.tested: set[str] = set()  # names of which None may have been ruled out
        self.open_records = False  # whether unknown keys may be added to any record
        self.has_operators = False  # then any operand may be valid
        self._seen: dict[int, set[ast.AST]] = {}  # nodes whose names are in each set
        self._bindings = program.bindings
        for kind, read in _READERS.items():
            for node in program.kinds.get(kind, ()):
                if not isinstance(getattr(node, "ctx", None), ast.Load):  # else it changes nothing
                    read(self, node)
        self._follow_aliases()

    @cached_property
    def displays(self) -> frozenset[str]:
        """Names whose values are always containers which the code itself builds."""
        return frozenset(
            name for name, found in self._bindings.items() if all(map(_is_built, found))
        )

    def _read_subscript(self, node: ast.Subscript) -> None:
        self._change(node.value)
        if isinstance(node.slice, ast.Constant):
            self._ask([node.slice])
        elif isinstance(node.ctx, ast.Store) and not self._is_own(node.value):
            self.open_records = self.open_records or not isinstance(node.slice, ast.Slice)

    def _read_attribute(self, node: ast.Attribute) -> None:
        self.stored.add(node.attr)
        self._change(node.value)

    def _read_call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id in _INSPECTS:
            self._note(self.opaque, node.args[:1])
            self._ask(node.args[1:2])
        elif isinstance(function, ast.Attribute):
            if function.attr in _CHANGES:
                self._change(function.value)
            if function.attr in _ASKS:
                self._ask(node.args[:1])
            if function.attr == "update" and not self._is_own(function.value):
                self.stored.update(keyword.arg for keyword in node.keywords if keyword.arg)
                known = all(keyword.arg for keyword in node.keywords) and not node.args
                self.open_records = self.open_records or not known
            if function.attr in ("setitem", "__setitem__"):
                self.open_records = True

    def _read_augmented(self, node: ast.AugAssign) -> None:
        self._change(node.target)
        if isinstance(node.op, ast.BitOr) and not self._is_own(node.target):
            self.open_records = True

    def _read_comparison(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for operator, left in zip(node.ops, operands, strict=False):
            if isinstance(operator, ast.In | ast.NotIn):
                self._ask(left.elts if isinstance(left, ast.Tuple | ast.List) else [left])
        self._note(self.tested, operands)  # `"k" in r`, `r is None`, `type(r) == dict`

    def _read_condition(self, node: ast.AST) -> None:
        test = getattr(node, "test", None)
        several = (*getattr(node, "values", ()), *getattr(node, "ifs", ()))
        self._note(self.tested, several if test is None else [test])

    def _read_pattern(self, node: ast.MatchMapping | ast.MatchClass) -> None:
        self._ask(getattr(node, "keys", ()))
        self.stored.update(getattr(node, "kwd_attrs", ()))

    def _read_function(self, node: ast.FunctionDef) -> None:
        self.has_operators = self.has_operators or node.name in _OPERATORS

    def _is_own(self, node: ast.expr) -> bool:
        """Whether a store into `node` leaves the records of tools as they are."""
        return isinstance(node, ast.Name) and node.id in self.displays

    def _change(self, node: ast.expr) -> None:
        """Record that the object `node` is changed: the name itself, or a part of it."""
        if isinstance(node, ast.Name):
            self.changed.add(node.id)
            return
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        self._note(self.opaque, [node])

    def _ask(self, keys: Iterable[ast.expr]) -> None:
        self.stored.update(
            key.value
            for key in keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )

    def _note(self, names: set[str], parts: Sequence[ast.AST]) -> None:
        """Add the names of `parts` to one of the sets, once however deep they are nested."""
        seen = self._seen.setdefault(id(names), set())
        waiting = list(parts)
        while waiting:
            part = waiting.pop()
            if part not in seen:
                seen.add(part)
                if isinstance(part, ast.Name):
                    names.add(part.id)
                waiting.extend(ast.iter_child_nodes(part))

    def _follow_aliases(self) -> None:
        """Apply what is known of a name to the names that it was assigned from."""
        for names in (self.changed, self.opaque, self.tested):
            waiting = list(names)
            while waiting:
                for binding in self._bindings.get(waiting.pop(), ()):
                    source = binding.value
                    if (
                        isinstance(source, ast.Name)
                        and not binding.steps
                        and source.id not in names
                    ):
                        names.add(source.id)
                        waiting.append(source.id)


_READERS: Mapping[type[ast.AST], Callable[[Facts, Any], None]] = {
    ast.Subscript: Facts._read_subscript,
    ast.Attribute: Facts._read_attribute,
    ast.Call: Facts._read_call,
    ast.AugAssign: Facts._read_augmented,
    ast.Compare: Facts._read_comparison,
    **dict.fromkeys(
        (ast.If, ast.While, ast.IfExp, ast.Assert, ast.BoolOp, ast.comprehension),
        Facts._read_condition,
    ),
    ast.Match: lambda facts, node: facts._note(facts.opaque, [node.subject]),
    ast.MatchMapping: Facts._read_pattern,
    ast.MatchClass: Facts._read_pattern,
    ast.FunctionDef: Facts._read_function,
}


def _is_built(binding: Binding) -> bool:
    node = binding.value
    if binding.steps or not isinstance(node, ast.Call):
        return not binding.steps and isinstance(node, _DISPLAYS)
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    return name in _CONSTRUCTORS and all(isinstance(a, ast.Name | ast.Lambda) for a in node.args)


# --- what the program catches ---------------------------------------------------------------------

_OTHER_ERRORS = frozenset({"asyncio", "json", "re", "decimal", "zoneinfo", "statistics"})
"""Modules whose exceptions none of the reported problems raises."""
_SWALLOWING = frozenset(
    {"__exit__", "__aexit__", "contextmanager", "asynccontextmanager", "ExitStack"}
    | {"AsyncExitStack", "suppress", "assertRaises", "raises"}
)
"""If the program contains one of these, any `with` may catch exceptions."""
_COLLECTING = frozenset({"return_exceptions", "exception", "wait", "add_done_callback"})
"""If the program contains one of these, exceptions of awaitables may become values."""
_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.GeneratorExp)
"""The body of one of these runs where it is called or iterated over."""


class Handlers:
    """What one program catches."""

    def __init__(self, program: Program, work: Work) -> None:
        self._program = program
        self._work = work
        self._anywhere: dict[str, bool] = {}
        self._left: dict[ast.AST, bool] = {}
        self._bound = program.bindings.keys()
        self._handlers: Sequence[ast.ExceptHandler] = program.kinds.get(ast.ExceptHandler, ())
        words = program.reads.keys() | self._bound | set(map(_word, program.nodes))
        self._swallows = bool(_SWALLOWING & words)
        self._collects = bool(_COLLECTING & words)

    def may_catch(self, node: ast.AST, error: str, *, settled: bool = True) -> bool:
        """Whether the code may catch `error` where `node` raises it: right there, if that is `settled`."""
        child = node
        for parent in self._program.outward(node) if settled else ():
            self._work.spend()
            if isinstance(parent, ast.Try | ast.TryStar) and self._is_caught(parent, child, error):
                return True
            if isinstance(parent, ast.With | ast.AsyncWith) and self._swallows:
                return True
            if isinstance(parent, _LATER) and child is not getattr(parent, "args", None):
                settled = child in getattr(parent, "decorator_list", ())
                break
            child = parent
        return False if settled else self._catches_anywhere(error)

    def _is_caught(self, block: ast.Try | ast.TryStar, child: ast.AST, error: str) -> bool:
        if any(self._leaves(statement) for statement in block.finalbody):
            return child not in block.finalbody
        return child in block.body and any(
            self._handles(handler.type, error) for handler in block.handlers
        )

    def _leaves(self, statement: ast.stmt) -> bool:
        """Whether a statement of a `finally` may leave it, which discards the exception."""
        if statement not in self._left:
            inner = list(ast.walk(statement))
            self._work.spend(len(inner))
            kinds = ast.Return | ast.Break | ast.Continue
            self._left[statement] = any(isinstance(node, kinds) for node in inner)
        return self._left[statement]

    def _handles(self, caught: ast.expr | None, error: str) -> bool:
        if isinstance(caught, ast.Tuple):
            return any(self._handles(part, error) for part in caught.elts)
        if isinstance(caught, ast.Attribute) and isinstance(caught.value, ast.Name):
            return caught.value.id not in _OTHER_ERRORS
        if not isinstance(caught, ast.Name):
            return True
        if caught.id == TOOL_CALL_ERROR:
            return error == TOOL_CALL_ERROR
        kind = getattr(builtins, caught.id, None)
        if caught.id in self._bound or not isinstance(kind, type):
            return True
        raised = getattr(builtins, error, Exception)
        return issubclass(kind, BaseExceptionGroup) or issubclass(raised, kind)

    def _catches_anywhere(self, error: str) -> bool:
        if error not in self._anywhere:
            handled = any(self._handles(handler.type, error) for handler in self._handlers)
            self._anywhere[error] = self._swallows or self._collects or handled
        return self._anywhere[error]


def _word(node: ast.AST) -> str:
    """Return a word of the code that it neither binds nor reads as a name."""
    if isinstance(node, ast.Constant):  # `gather(**{"return_exceptions": True})`
        return "return_exceptions" if node.value == "return_exceptions" else ""
    if isinstance(node, ast.alias):
        return node.name
    return node.arg or "" if isinstance(node, ast.keyword) else ""
