# ruff: noqa: N802  # the methods are named after the classes of `ast`
"""What each expression of one program is worth. Pure; nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Callable

from langchain_ptc.catalog.types import ANY, BOOL, INT, NONE, STR, Container, TypeTree
from langchain_ptc.check.facts import Facts
from langchain_ptc.check.names import Given
from langchain_ptc.check.scopes import AUGMENTED, Binding, Scope, Scopes
from langchain_ptc.check.shapes import Answer, Shapes
from langchain_ptc.check.values import (
    CONSTANTS,
    DICT,
    LIST,
    SET,
    UNKNOWN,
    Data,
    FunctionValue,
    Items,
    LibraryValue,
    ModuleValue,
    Pending,
    ToolValue,
    Unknown,
    Value,
    Values,
    data,
    items,
    join,
    only,
    pending,
)
from langchain_ptc.check.work import Work

_TASKS = frozenset({"asyncio.create_task", "asyncio.ensure_future", "asyncio.shield"})
_TEXTS = frozenset({"str", "repr", "json.dumps", "format", "ascii"})
_LISTS = frozenset({"list", "sorted", "tuple", "reversed"})


class Inference:
    """What the expressions of one program are worth.

    Args:
        scopes: Its names.
        facts: What it does anywhere.
        given: What it has without binding it.
        work: Counts the steps.
        asynchronous: Whether a tool gives an awaitable, and not the value.
    """

    def __init__(
        self, scopes: Scopes, facts: Facts, given: Given, work: Work, *, asynchronous: bool
    ) -> None:
        self._scopes = scopes
        self._facts = facts
        self._given = given
        self.work = work
        self._own: dict[ast.AST, list[ast.AST]] = {}
        self.asynchronous = asynchronous
        self._known: dict[ast.AST, Values] = {}
        self._names: dict[tuple[int, str], Values] = {}
        self._returns: dict[ast.AST, Values] = {}
        self.shapes = Shapes(stored=facts.stored, open_records=facts.open_records)

    def infer(self, node: ast.expr) -> Values:
        """Return what `node` may be worth."""
        self.work.spend()
        known = self._known.get(node)
        if known is None:
            self._known[node] = UNKNOWN  # what depends on itself is not known
            method: Callable[[ast.expr], Values] | None = getattr(
                self, f"_{type(node).__name__}", None
            )
            known = self._known[node] = UNKNOWN if method is None else method(node)
        return known

    # --- names ----------------------------------------------------------------------------------

    def find_scope(self, node: ast.Name) -> Scope | None:
        """Return the scope that binds a name, or None if the code does not bind it."""
        scope = self._scopes.of_name.get(node)
        if scope is None:
            return None
        return next((s for s in scope.visible() if node.id in s.bindings), None)

    def is_bound(self, node: ast.Name) -> bool:
        """Whether the code gives the name a value: `x += 1` alone does not."""
        scope = self.find_scope(node)
        return scope is not None and any(b is not AUGMENTED for b in scope.bindings[node.id])

    def is_hidden(self, node: ast.Name) -> bool:
        """Whether an `import *` may have given the name to the code."""
        scope = self._scopes.of_name.get(node)
        return scope is None or any(s.has_star for s in scope.visible())

    def _Name(self, node: ast.Name) -> Values:
        scope = self.find_scope(node)
        if scope is None:
            if self.is_hidden(node):
                return UNKNOWN
            return self._given.bare(node.id) or UNKNOWN
        key = (id(scope), node.id)
        if key not in self._names:
            self._names[key] = UNKNOWN
            bindings = scope.bindings[node.id]
            self.work.spend(len(bindings))
            found = join(self._bound(binding) for binding in bindings)
            given = self._given.tool_or_domain(node.id) if scope.parent is None else None
            if given is not None:  # until the code binds the name
                found = join((found, (given,)))
            self._names[key] = self._weaken(node.id, found)
        return self._names[key]

    def _weaken(self, name: str, values: Values) -> Values:
        """Forget what the code may have changed or found out by itself."""
        if name in self._facts.opaque:
            return UNKNOWN
        if name in self._facts.tested:
            # In a branch of its own, the value may be known not to be None.
            values = tuple(v for v in values if not (isinstance(v, Data) and v.tree == NONE))
        if name in self._facts.changed:
            values = tuple(map(_loosen, values))
        return values or UNKNOWN

    def _bound(self, binding: Binding) -> Values:
        if isinstance(binding.definition, ast.FunctionDef | ast.AsyncFunctionDef):
            return (FunctionValue(binding.definition),)
        if binding.alias is not None:
            return self._imported(binding.definition, binding.alias)
        if binding.value is None:
            return UNKNOWN
        values = self.infer(binding.value)
        for step in binding.steps:
            values = self.item(values, step if isinstance(step, int) else None)
        return values

    def _imported(self, node: ast.AST | None, alias: ast.alias) -> Values:
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                return UNKNOWN
            if self._given.is_module(module):
                return self._given.member(module, alias.name) or UNKNOWN
            return (LibraryValue(f"{module}.{alias.name}"),)
        if alias.asname is not None or "." not in alias.name:
            return (ModuleValue(alias.name),)
        return (ModuleValue(alias.name.partition(".")[0]),)

    # --- parts of values ------------------------------------------------------------------------

    def item(self, values: Values, position: int | None = None) -> Values:
        """Return what an item of the values may be: the one at `position`, or any of them."""
        self.work.spend(len(values))
        return join(self._item(value, position) for value in values)

    def _item(self, value: Value, position: int | None) -> Values:
        if isinstance(value, Items):
            if position is None or value.is_each:
                return value.every()
            return value.values[position] if position < len(value.values) else UNKNOWN
        if isinstance(value, Data):
            tree = value.tree
            if position is not None and isinstance(tree, Container) and tree.name == "tuple":
                answer = self.shapes.subscript(tree, ast.Constant(position), value.definition)
                return _answer(answer, value)
            return _answer(self.shapes.iterate(tree), value)
        return UNKNOWN

    def settle(self, values: Values) -> Values:
        """Return what awaiting the values gives."""
        return join(value.values if isinstance(value, Pending) else UNKNOWN for value in values)

    def _each(self, node: ast.expr) -> Values:
        """Return what the items of an iterable are worth."""
        return self.item(self.infer(node))

    # --- expressions ----------------------------------------------------------------------------

    def _Constant(self, node: ast.Constant) -> Values:
        tree = CONSTANTS.get(type(node.value))
        return UNKNOWN if tree is None else (Data(tree),)

    def _JoinedStr(self, _: ast.expr) -> Values:
        return (Data(STR),)

    def _List(self, node: ast.List) -> Values:
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return (Data(LIST),)
        return (items(tuple(map(self.infer, node.elts))),)

    def _Tuple(self, node: ast.Tuple) -> Values:
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return UNKNOWN
        return (items(tuple(map(self.infer, node.elts)), is_tuple=True),)

    def _ListComp(self, node: ast.ListComp) -> Values:
        return (items((self.infer(node.elt),), is_each=True),)

    def _GeneratorExp(self, node: ast.GeneratorExp) -> Values:
        return UNKNOWN if _is_async(node) else (_iterator(self.infer(node.elt)),)

    def _Dict(self, _: ast.expr) -> Values:
        return (Data(DICT),)

    _DictComp = _Dict

    def _Set(self, _: ast.expr) -> Values:
        return (Data(SET),)

    _SetComp = _Set

    def _Compare(self, node: ast.Compare) -> Values:
        identity = all(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops)
        return (Data(BOOL),) if identity else UNKNOWN

    def _IfExp(self, node: ast.IfExp) -> Values:
        return join((self.infer(node.body), self.infer(node.orelse)))

    def _BoolOp(self, node: ast.BoolOp) -> Values:
        return join(map(self.infer, node.values))

    def _NamedExpr(self, node: ast.NamedExpr) -> Values:
        return self.infer(node.value)

    def _Await(self, node: ast.Await) -> Values:
        return self.settle(self.infer(node.value))

    def _Attribute(self, node: ast.Attribute) -> Values:
        return join(self._attribute(value, node.attr) for value in self.infer(node.value))

    def _attribute(self, value: Value, name: str) -> Values:
        if isinstance(value, ModuleValue):
            if self._given.is_module(value.name):
                return self._given.member(value.name, name) or UNKNOWN
            dotted = f"{value.name}.{name}"
            return (LibraryValue(dotted),)
        if isinstance(value, Data):
            return _answer(self.shapes.attribute(value.tree, name, value.definition), value)
        return UNKNOWN

    def _Subscript(self, node: ast.Subscript) -> Values:
        return join(self._subscript(value, node.slice) for value in self.infer(node.value))

    def _subscript(self, value: Value, key: ast.expr) -> Values:
        if isinstance(value, Data):
            return _answer(self.shapes.subscript(value.tree, key, value.definition), value)
        if not isinstance(value, Items):
            return UNKNOWN
        if isinstance(key, ast.Slice):
            return (items((value.every(),), is_each=True, is_tuple=value.is_tuple),)
        position = key.value if isinstance(key, ast.Constant) else None
        if type(position) is int and not value.is_each:
            return value.values[position] if 0 <= position < len(value.values) else UNKNOWN
        return value.every()

    # --- calls ----------------------------------------------------------------------------------

    def _Call(self, node: ast.Call) -> Values:
        return join(self._call(value, node) for value in self.infer(node.func))

    def _call(self, value: Value, node: ast.Call) -> Values:
        if isinstance(value, ToolValue):
            definition = value.definition
            source = f"{definition.name}()"
            returns = self._given.catalog.certain_returns(definition)
            result = data(returns, Data(ANY, definition, source))
            return (pending(result, source, definition),) if self.asynchronous else result
        if isinstance(value, FunctionValue):
            return self._call_function(value.node)
        if isinstance(value, LibraryValue):
            return self._call_library(value.name, node)
        return self._call_method(node) if isinstance(value, Unknown) else UNKNOWN

    def _call_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Values:
        if node.decorator_list or node not in self._scopes.inside:
            return UNKNOWN
        if node not in self._returns:
            self._returns[node] = UNKNOWN
            self._returns[node] = self._returned(node)
        values = self._returns[node]
        if isinstance(node, ast.AsyncFunctionDef):
            return UNKNOWN if self._is_generator(node) else (pending(values, f"{node.name}()"),)
        return values

    def _returned(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Values:
        if self._is_generator(node):
            return UNKNOWN
        returns = [found for found in self._inside(node) if isinstance(found, ast.Return)]
        values = [self.infer(r.value) if r.value else (Data(NONE),) for r in returns]
        if not node.body or not isinstance(node.body[-1], ast.Return):
            values.append((Data(NONE),))
        return join(values)

    def _is_generator(self, node: ast.AST) -> bool:
        return any(isinstance(found, ast.Yield | ast.YieldFrom) for found in self._inside(node))

    def _inside(self, node: ast.AST) -> list[ast.AST]:
        """Return the nodes of a function that matter here and are not in another one."""
        if node not in self._own:
            kinds = (ast.Return, ast.Yield, ast.YieldFrom)
            self._own[node] = [found for found in _own_nodes(node) if isinstance(found, kinds)]
        self.work.spend(1 + len(self._own[node]))
        return self._own[node]

    def _call_library(self, name: str, node: ast.Call) -> Values:
        if any(keyword.arg is None for keyword in node.keywords):
            return UNKNOWN
        if name == "asyncio.gather":
            return self._gather(node)
        if name in _TEXTS:
            return (Data(STR),)
        if name == "len":
            return (Data(INT),)
        if not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
            return UNKNOWN
        return self._call_on(name, node, node.args[0])

    def _call_on(self, name: str, node: ast.Call, first: ast.expr) -> Values:
        """What a function of the library gives that takes `first`."""
        if name in _TASKS:
            return tuple(map(_as_task, self.infer(first)))
        if name == "asyncio.wait_for":
            return self.infer(first)
        if name == "asyncio.run":
            return self.settle(self.infer(first))
        if name in _LISTS:
            return (_iterator(self._each(first)),)
        if name == "enumerate":
            return (_iterator((items(((Data(INT),), self._each(first)), is_tuple=True),)),)
        if name == "zip":
            return (_iterator((items(tuple(map(self._each, node.args)), is_tuple=True),)),)
        if name in ("max", "min") and len(node.args) == 1:
            default = [self.infer(k.value) for k in node.keywords if k.arg == "default"]
            return join([self._each(first), *default])
        return UNKNOWN

    def _gather(self, node: ast.Call) -> Values:
        """What awaiting `gather` gives: the results, in the order of the arguments."""
        if node.keywords:  # return_exceptions: results and exceptions
            return (pending(UNKNOWN, "asyncio.gather()", is_task=True),)
        first = node.args[0] if len(node.args) == 1 else None
        if isinstance(first, ast.Starred):
            found = items((self.settle(self._each(first.value)),), is_each=True)
        elif any(isinstance(argument, ast.Starred) for argument in node.args):
            every = [
                self._each(a.value) if isinstance(a, ast.Starred) else self.infer(a)
                for a in node.args
            ]
            found = items((self.settle(join(every)),), is_each=True)
        else:
            found = items(tuple(self.settle(self.infer(argument)) for argument in node.args))
        return (pending((found,), "asyncio.gather()", is_task=True),)

    def _call_method(self, node: ast.Call) -> Values:
        """What `d.items()` and the like give, for a dict or record whose type is known."""
        function = node.func
        if not isinstance(function, ast.Attribute) or node.args or node.keywords:
            return UNKNOWN
        value = only(self.infer(function.value))
        if not isinstance(value, Data) or function.attr not in ("items", "values"):
            return UNKNOWN
        tree = value.tree
        if getattr(tree, "name", "") != "dict" or self._facts.open_records:
            return UNKNOWN
        key, item = (data(arg, value) for arg in getattr(tree, "args", (ANY, ANY)))
        if function.attr == "values":
            return (_iterator(item),)
        return (_iterator((items((key, item), is_tuple=True),)),)


def _own_nodes(function: ast.AST) -> list[ast.AST]:
    """Return the nodes of a function that are not in another one."""
    found: list[ast.AST] = list(getattr(function, "body", []))
    for node in found:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            found.extend(ast.iter_child_nodes(node))
    return found


def _is_async(node: ast.GeneratorExp) -> bool:
    inner = any(isinstance(part, ast.Await) for part in ast.walk(node.elt))
    return inner or any(generator.is_async for generator in node.generators)


def _iterator(item: Values) -> Value:
    """Return what has these items."""
    return items((item,), is_each=True)


def _as_task(value: Value) -> Value:
    if isinstance(value, Pending):
        return pending(value.values, value.source, value.definition, is_task=True)
    return Unknown()


def _loosen(value: Value) -> Value:
    """Forget the items of a container that the code changes."""
    if isinstance(value, Items):
        return Unknown() if value.is_tuple else Data(LIST)
    if isinstance(value, Data):
        name = getattr(value.tree, "name", "")
        loose: dict[str, TypeTree] = {"list": LIST, "dict": DICT, "set": SET}
        return Data(loose[name], value.definition, value.source) if name in loose else value
    return value


def _answer(answer: Answer, like: Data) -> Values:
    if answer is None or isinstance(answer, str):
        return UNKNOWN
    return data(answer, like)
