"""What a program does anywhere, on which the certainty of everything else rests. Pure.

The check does not follow a program in the order in which it runs. So it asks here first whether a
value may have been changed, tested or replaced somewhere, and keeps silent about it if so.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence

_ADDS = frozenset(
    "append extend insert add update setdefault sort reverse remove discard pop popitem clear".split()  # noqa: SIM905
)
"""Methods that change what they are called on."""
_LOOKS = frozenset({"isinstance", "issubclass", "hasattr", "callable", "type", "getattr", "id"})
"""Builtins that ask what a value is: behind them it is what they found."""
_REFLECTS = frozenset({"globals", "locals", "vars", "dir", "setattr", "delattr", "exec", "eval"})
"""Builtins after which no name is certain."""
_OPERATORS = frozenset(
    f"__{side}{name}__"
    for name in "add sub mul truediv floordiv mod pow or and xor lt le gt ge contains".split()  # noqa: SIM905
    for side in ("", "r", "i")
)


_BINDERS = (ast.For, ast.AsyncFor, ast.comprehension, ast.NamedExpr)


class Facts:
    """What stands anywhere in one program.

    Args:
        nodes: Every node of it that has a place in the source.
    """

    def __init__(self, nodes: Sequence[ast.AST]) -> None:
        self.parents: dict[ast.AST, ast.AST] = {}
        self.stored: set[str] = set()
        """Keys and attributes that the code sets, or asks for before it uses them."""
        self.opaque: set[str] = set()
        """Names whose value the code looks at with `isinstance` or the like, or changes inside."""
        self.changed: set[str] = set()
        """Names of containers that the code changes."""
        self.tested: set[str] = set()
        """Names that stand in a condition: there None may have been sorted out."""
        self.open_records = False
        """Whether keys that are not known here may be added to any record."""
        self.reflects = False
        """Whether the code looks at its own names."""
        self.has_operators = False
        """Whether the code defines operators: then anything may be added to anything."""
        self.displays: set[str] = set()
        """Names that only ever hold containers which the code itself builds."""
        self._noted: dict[int, set[ast.AST]] = {}
        """For each set of names, the nodes whose names are in it already."""
        self._nested: set[str] = set()
        """Those that make their own items, as a `defaultdict` does."""
        self.loads: dict[str, list[ast.Name]] = {}
        """Where each name is read."""
        for node in nodes:
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.loads.setdefault(node.id, []).append(node)
        self._find_displays(nodes)
        for node in nodes:
            look = _LOOKERS.get(type(node))
            if look is not None:
                look(self, node)
        self._follow_aliases(nodes)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what `node` stands in, innermost first."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)

    # --- the passes -----------------------------------------------------------------------------

    def _find_displays(self, nodes: Sequence[ast.AST]) -> None:
        """Find names that hold only dicts and lists of the code's own: no record is among them."""
        foreign: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    own = node.value is not None and _is_built(node.value)
                    if isinstance(target, ast.Name) and own:
                        self.displays.add(target.id)
                        if isinstance(node.value, ast.Call):
                            self._nested.add(target.id)
                    else:
                        foreign.update(_names(target))
            elif isinstance(node, _BINDERS):
                foreign.update(_names(node.target))
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                foreign.update(_names(node.optional_vars))
            elif isinstance(node, ast.arg):
                foreign.add(node.arg)
        self.displays -= foreign

    def _subscript(self, node: ast.AST) -> None:
        assert isinstance(node, ast.Subscript)
        if isinstance(node.ctx, ast.Load):
            return
        self._change(node.value)
        key = node.slice
        if isinstance(key, ast.Constant):
            if isinstance(key.value, str):
                self.stored.add(key.value)
        elif isinstance(node.ctx, ast.Store) and not self._is_own(node.value):
            self.open_records = self.open_records or not isinstance(key, ast.Slice)

    def _is_own(self, node: ast.expr) -> bool:
        """Whether a store into `node` leaves the records of tools as they are."""
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            name = node.value.id
            return name in self.displays and name in self._nested  # `totals[a][b] += 1`
        return isinstance(node, ast.Name) and node.id in self.displays

    def _attribute(self, node: ast.AST) -> None:
        assert isinstance(node, ast.Attribute)
        if not isinstance(node.ctx, ast.Load):
            self.stored.add(node.attr)
            self._change(node.value)

    def _change(self, node: ast.expr) -> None:
        """Note that the object `node` is changed: the name itself, or something inside of it."""
        if isinstance(node, ast.Name):
            self.changed.add(node.id)
        else:
            self._note(self.opaque, _root(node))

    def _note(self, names: set[str], node: ast.AST | None) -> None:
        """Add the names of `node` to one of the sets, once however deep it is nested."""
        noted = self._noted.setdefault(id(names), set())
        waiting = [] if node is None else [node]
        while waiting:
            part = waiting.pop()
            if part not in noted:
                noted.add(part)
                if isinstance(part, ast.Name):
                    names.add(part.id)
                waiting.extend(ast.iter_child_nodes(part))

    def _call(self, node: ast.AST) -> None:
        assert isinstance(node, ast.Call)
        function = node.func
        if isinstance(function, ast.Name):
            if function.id in _LOOKS:
                for argument in node.args[:1]:
                    self._note(self.opaque, argument)
                self._ask(node.args[1:2])
            self.reflects = self.reflects or function.id in _REFLECTS
        elif isinstance(function, ast.Attribute):
            if function.attr in _ADDS:
                self._change(function.value)
            if function.attr in ("get", "setdefault", "pop", "__contains__"):
                self._ask(node.args[:1])
            if function.attr == "update":
                self._update(node)
            if function.attr in ("setitem", "__setitem__"):
                self.open_records = True

    def _ask(self, arguments: Sequence[ast.expr]) -> None:
        for argument in arguments:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                self.stored.add(argument.value)

    def _update(self, node: ast.Call) -> None:
        self.stored.update(keyword.arg for keyword in node.keywords if keyword.arg)
        assert isinstance(node.func, ast.Attribute)
        if self._is_own(node.func.value):
            return
        known = all(keyword.arg for keyword in node.keywords)
        for argument in node.args:
            if isinstance(argument, ast.Dict) and all(
                isinstance(key, ast.Constant) for key in argument.keys
            ):
                self._ask([key for key in argument.keys if key is not None])
            else:
                known = False
        self.open_records = self.open_records or not known

    def _augmented(self, node: ast.AST) -> None:
        assert isinstance(node, ast.AugAssign)
        self._change(node.target)
        if isinstance(node.op, ast.BitOr) and not self._is_own(node.target):
            self.open_records = True

    def _compare(self, node: ast.AST) -> None:
        assert isinstance(node, ast.Compare)
        operands = [node.left, *node.comparators]
        for operator, left in zip(node.ops, operands, strict=False):
            if isinstance(operator, ast.In | ast.NotIn):
                self._ask(left.elts if isinstance(left, ast.Tuple | ast.List) else [left])
        # `"k" in r`, `r is None`, `type(r) == dict`
        for operand in operands:
            self._note(self.tested, operand)

    def _condition(self, node: ast.AST) -> None:
        test = getattr(node, "test", None)
        tests = node.values if isinstance(node, ast.BoolOp) else [test]
        for part in tests:
            self._note(self.tested, part)

    def _comprehension(self, node: ast.AST) -> None:
        assert isinstance(node, ast.comprehension)
        for condition in node.ifs:
            self._note(self.tested, condition)

    def _match(self, node: ast.AST) -> None:
        assert isinstance(node, ast.Match)
        self._note(self.opaque, node.subject)
        for case in node.cases:
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.MatchMapping):
                    self._ask(part.keys)
                elif isinstance(part, ast.MatchClass):
                    self.stored.update(part.kwd_attrs)

    def _function(self, node: ast.AST) -> None:
        name = getattr(node, "name", "")
        self.has_operators = self.has_operators or name in _OPERATORS

    def _follow_aliases(self, nodes: Sequence[ast.AST]) -> None:
        """What holds of a name holds of what it was assigned from."""
        sources: dict[str, list[str]] = {}
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        sources.setdefault(target.id, []).append(node.value.id)
        for names in (self.changed, self.opaque, self.tested):
            waiting = list(names)
            while waiting:
                new = [name for name in sources.get(waiting.pop(), ()) if name not in names]
                names.update(new)
                waiting.extend(new)


def _names(node: ast.AST | None) -> Iterator[str]:
    if node is not None:
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                yield part.id


def _root(node: ast.expr) -> ast.expr:
    """Return what stands at the beginning of `a.b["c"]`; what is no such path, as it is."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


_CONSTRUCTORS = frozenset({"dict", "list", "set", "defaultdict", "Counter", "OrderedDict", "deque"})


def _is_built(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        name = getattr(function, "id", getattr(function, "attr", ""))
        return name in _CONSTRUCTORS and all(
            isinstance(argument, ast.Name | ast.Lambda) for argument in node.args
        )
    return isinstance(
        node, ast.Dict | ast.DictComp | ast.List | ast.ListComp | ast.Set | ast.SetComp
    )


_LOOKERS: Mapping[type[ast.AST], Callable[[Facts, ast.AST], None]] = {
    ast.Subscript: Facts._subscript,
    ast.Attribute: Facts._attribute,
    ast.Call: Facts._call,
    ast.AugAssign: Facts._augmented,
    ast.Compare: Facts._compare,
    ast.If: Facts._condition,
    ast.While: Facts._condition,
    ast.IfExp: Facts._condition,
    ast.Assert: Facts._condition,
    ast.BoolOp: Facts._condition,
    ast.comprehension: Facts._comprehension,
    ast.Match: Facts._match,
    ast.FunctionDef: Facts._function,
}
