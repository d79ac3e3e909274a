"""The part of a program that makes its reading calls without waiting for their results. Pure.

    sliced = Slicer(statements, mentions).slice(done)     # None if it makes no such call

Of the program only that is left which depends on no missing result, by the names that it uses. A call whose
arguments are known is made by a statement of its own, whose value is not used: such calls of loops, of
straight lines, of functions and of `gather` go out at once. What the program does not certainly do is left
out, but for what stands after a test, a `break` or an exception that cannot be known: there it goes on as most
programs do. At whatever may write, or sleeps, it ends: what stands behind that is not read before it.

It may make a call too many or too few; nothing of it is used but its calls.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_ptc.prefetch.mentions import (
    APPLIERS,
    ENDS,
    OPAQUE,
    READS,
    SILENT,
    WRITES,
    Mentions,
    Names,
    root_of,
)
from langchain_ptc.sandbox.language.scopes import Comprehension, Function

MAX_ROUNDS = 64  # rounds of one loop whose calls are made
_LEAVES = ast.Break | ast.Return | ast.Raise
_UNSURE = ast.While | ast.Match | ast.ExceptHandler
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_LOOPS = ast.For | ast.AsyncFor | ast.While


@dataclass(frozen=True, slots=True)
class Sliced:
    """A slice, as statements."""

    body: list[ast.stmt]
    ahead: frozenset[ast.stmt]  # those of them that call without waiting
    places: list[int]  # which statement of the program each of `body` stands for
    left: frozenset[ast.AST]
    """Nodes that name something that reads, which the slice does not call as often as the program may."""


class Slicer:
    """Slices one program, which is unwrapped and not changed."""

    def __init__(self, statements: Sequence[ast.stmt], mentions: Mentions) -> None:
        self._statements = statements
        self._mentions = mentions
        self._names = Names(mentions)
        self._ahead: set[ast.stmt] = set()
        self._left = set(mentions.named)
        self._in_function = self._in_loop = False

    def slice(self, done: int) -> Sliced | None:
        """Return the slice, None if it makes no call; raises `TooMuch` if it is more work than it is worth.

        The results of the first `done` statements are all there: they stay as they are.
        """
        again: list[tuple[int, ast.stmt]] = []
        for place, node in enumerate(self._statements[:done]):
            is_lambda = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
            if is_lambda or isinstance(node, Function):
                made = [each for each in self._statement(node) if each is not node]
                again += [(place, _attempt(each)) for each in made]
        before = len(self._ahead)
        found: list[tuple[int, ast.stmt]] = []
        last = 0
        for place, node in enumerate(self._statements[done:], done):
            made = self.block([node])
            count = len(self._ahead)
            found += [(place, _attempt(each)) for each in made]
            if count > before and not isinstance(node, Function) and self._calls(made):
                last = len(found)
            if made and isinstance(made[-1], ast.Raise):
                break
        if not last:
            return None
        body = [*enumerate(self._statements[:done]), *again, *found[:last]]
        return Sliced(
            [node for _, node in body],
            frozenset(self._ahead),
            [place for place, _ in body],
            frozenset(self._left),
        )

    def _calls(self, made: Iterable[ast.stmt]) -> bool:
        """Whether statements, when they run, make a call that does not wait."""
        return any(
            node in self._ahead
            for outer in made
            if not isinstance(outer, Function)
            for node in self._names.walk(outer)
        )

    # --- expressions -> their calls -----------------------------------------------------------------

    def _launch(self, node: ast.AST | None) -> list[ast.stmt]:
        """Return the calls in an expression whose arguments are known."""
        if node is None or not self._mentions.of(node) & READS:
            return []
        match node:
            case ast.Lambda() | ast.Name():
                return []
            case ast.Call():
                return self._launch_call(node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                return self._comprehension(node, [node.elt])
            case ast.DictComp():
                return self._comprehension(node, [node.key, node.value])
            case ast.IfExp() if self._names.is_known(node.test):
                body, orelse = self._launch(node.body), self._launch(node.orelse)
                return [ast.If(node.test, body or [ast.Pass()], orelse)] if body or orelse else []
            case ast.IfExp():
                return self._launch(node.test)
            case ast.BoolOp():
                return self._launch(node.values[0])
            case _:
                return [
                    made for child in ast.iter_child_nodes(node) for made in self._launch(child)
                ]

    def _launch_call(self, call: ast.Call) -> list[ast.stmt]:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        inner = [made for value in (call.func, *given) for made in self._launch(value)]
        if self._mentions.callee(call) == READS and not self._names.is_tainted(root_of(call.func)):
            return [*inner, self._make(call)] if all(map(self._names.is_known, given)) else inner
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name in APPLIERS and call.args:
            at = 1 if name == "run_in_executor" else 0
            if len(call.args) > at:
                inner += self._apply(name, call.args[at], call.args[at + 1 :], call.keywords)
        return inner

    def _make(self, call: ast.Call) -> ast.stmt:
        """Return the statement that makes a call without using its value."""
        made = ast.Expr(ast.Await(call) if self._mentions.is_async else call)
        self._ahead.add(made)
        self._left.discard(call.func)
        return made

    def _apply(
        self, name: str, function: ast.expr, given: list[ast.expr], keywords: list[ast.keyword]
    ) -> list[ast.stmt]:
        """Return the calls of `map(function, ...)`, or of `submit(function, ...)`."""
        values = [*given, *(keyword.value for keyword in keywords)]
        if not all(map(self._names.is_known, values)):
            return []
        if name != "map":
            reads = self._mentions.target(function) == READS
            return [self._make(ast.Call(function, given, keywords))] if reads and given else []
        if not given or keywords:
            return []
        targets: list[ast.expr]
        if isinstance(function, ast.Lambda):
            a = function.args
            if len(a.args) != len(given) or a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg:
                return []
            targets = [ast.Name(arg.arg, ast.Store()) for arg in a.args]
            parameters, saved = {arg.arg for arg in a.args}, set(self._names.tainted)
            self._names.tainted -= parameters
            body = self._launch(function.body)
            self._names.tainted = saved | parameters
        elif self._mentions.target(function) == READS:
            names = [f"_item_{number}" for number in range(len(given))]
            targets = [ast.Name(name, ast.Store()) for name in names]
            items: list[ast.expr] = [ast.Name(name, ast.Load()) for name in names]
            body = [self._make(ast.Call(function, items, []))]
        else:
            return []
        zipped = ast.Call(ast.Name("zip", ast.Load()), given, [])
        return (
            [_rounds_of(ast.Tuple(targets, ast.Store()), zipped, body, MAX_ROUNDS)] if body else []
        )

    def _comprehension(self, node: Comprehension, elements: list[ast.expr]) -> list[ast.stmt]:
        loops = node.generators
        made, saved = self._launch(loops[0].iter), set(self._names.tainted)
        body: list[ast.stmt] = []
        for loop in loops:
            if loop.is_async or not self._names.is_known(loop.iter):
                break
            self._names.tainted -= self._names.bound(loop.target)
            if not all(map(self._names.is_known, loop.ifs)):
                break
        else:
            body = [each for element in elements for each in self._launch(element)]
        self._names.tainted = saved
        if not body:
            return made
        # Its variables are those of the slice now.
        self._names.taint(*(loop.target for loop in loops))
        for loop in reversed(loops):
            for test in reversed(loop.ifs):
                body = [ast.If(test, body, [])]
            body = [_rounds_of(loop.target, loop.iter, body, MAX_ROUNDS)]
        return [*made, *body]

    # --- statements ---------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Return the slice of statements that run one after the other."""
        made: list[ast.stmt] = []
        for node in body:
            if self._mentions.of(node) & ENDS and not self._may_enter(node):
                made.append(_stop())
                break
            made += self._statement(node)
            if made and isinstance(made[-1], ast.Continue | _LEAVES):
                break
        return made

    def _may_enter(self, node: ast.stmt) -> bool:
        """Whether only a part of a statement that may write does: whether it is reached, shows when it runs."""
        match node:
            case ast.If() | ast.While():
                return self._names.is_known(node.test)
            case ast.For():
                return not self._mentions.of(node.iter) & ENDS
            case ast.With() | ast.AsyncWith():
                return not any(self._mentions.of(item) & ENDS for item in node.items)
            case ast.Try() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return True
            case _:
                return False

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        method = _SLICERS.get(type(node))
        if method is not None:
            return method(self, node)
        self._names.taint(node)  # `async for`, `match`, `del`
        return []

    def _keep(self, node: ast.Import | ast.ImportFrom) -> list[ast.stmt]:
        return [] if getattr(node, "module", "") == "__future__" else [node]

    def _with(self, node: ast.With | ast.AsyncWith) -> list[ast.stmt]:
        made = [each for item in node.items for each in self._launch(item.context_expr)]
        self._names.taint(*node.items)
        return [*made, *self.block(node.body)]

    def _try(self, node: ast.Try) -> list[ast.stmt]:
        made = self.block([*node.body, *node.orelse, *node.finalbody])
        self._names.taint(*node.handlers)
        return made

    def _end(self, node: ast.Return | ast.Raise) -> list[ast.stmt]:
        value = node.value if isinstance(node, ast.Return) else node.exc
        return [*self._launch(value), ast.Return(None) if self._in_function else _stop()]

    def _jump(self, node: ast.Continue | ast.Break) -> list[ast.stmt]:
        return [node] if self._in_loop else []

    def _assert(self, node: ast.Assert) -> list[ast.stmt]:
        made = self._launch(node.test)
        self._names.taint(node)
        return made

    def _expression(self, node: ast.Expr) -> list[ast.stmt]:
        value = node.value
        made = self._launch(value)
        if self._names.is_known(value):
            name = ""
            if isinstance(value, ast.Call):
                name = getattr(value.func, "attr", getattr(value.func, "id", ""))
            computes = isinstance(value, ast.NamedExpr) or (name and name not in SILENT)
            if computes and not self._is_stale(node):
                return [node]
        self._names.taint(node)
        return made

    def _is_stale(self, node: ast.AST) -> bool:
        return not self._names.bound(node).isdisjoint(self._names.tainted)

    def _assign(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.stmt]:
        targets: list[ast.expr] = (
            [node.target] if not isinstance(node, ast.Assign) else node.targets
        )
        value = node.value
        if value is None:
            return []
        name = targets[0].id if isinstance(targets[0], ast.Name) else ""
        if isinstance(value, ast.Lambda) and name and self._mentions.of(value):
            return self._define_lambda(name, value)
        if self._mentions.path(value) is not None and self._mentions.target(value) == READS:
            self._left.discard(value)  # another name for a tool
            return [node]
        made = self._launch(value)
        names = self._names.bound(*targets)
        if self._names.is_known(value) and self._can_store(node, targets):
            self._names.tainted -= names
            if isinstance(node, ast.AnnAssign):  # what its annotation names may not be there
                return [*made, ast.copy_location(ast.Assign(targets, value), node)]
            return [*made, node]
        self._names.tainted |= names | self._names.bound(value)
        return made

    def _can_store(self, node: ast.stmt, targets: Sequence[ast.expr]) -> bool:
        """Whether all is known of what an assignment changes."""
        if isinstance(node, ast.AugAssign) and self._names.is_tainted(root_of(node.target)):
            return False
        parts = (part for target in targets for part in self._names.walk(target))
        stores = (part for part in parts if isinstance(part, ast.Attribute | ast.Subscript))
        return all(
            self._names.is_known(part) and not self._names.is_tainted(root_of(part))
            for part in stores
        )

    def _if(self, node: ast.If) -> list[ast.stmt]:
        made = self._launch(node.test)
        if not self._names.is_known(node.test):
            self._names.taint(node)
            may_skip = self._in_loop and _continues(node)
            return [*made, *([ast.Continue()] if may_skip else [])]
        saved = set(self._names.tainted)
        body = self.block(node.body)
        after, self._names.tainted = self._names.tainted, saved
        orelse = self.block(node.orelse)
        self._names.tainted = self._names.tainted | after
        if not body and not orelse:
            return []
        return [ast.If(node.test, body or [ast.Pass()], orelse)]

    def _for(self, node: ast.For) -> list[ast.stmt]:
        made = self._launch(node.iter)
        if not self._names.is_known(node.iter):
            self._names.taint(node)
            return [*made, _stop()] if self._mentions.of(node) & ENDS else made
        before, was_in_loop = set(self._names.tainted), self._in_loop
        self._names.tainted |= self._names.carried(node.body)
        self._names.tainted -= self._names.bound(node.target)
        count, self._in_loop = len(self._ahead), True
        body = self.block(node.body)
        self._in_loop = was_in_loop
        self._names.tainted |= before
        if self._leaves(node.body):
            rounds = 1
            self._names.tainted |= self._names.bound(*node.body)
            self._left |= self._mentions.named.intersection(self._names.walk(node))
        else:
            rounds = MAX_ROUNDS
        orelse = self.block(node.orelse)
        if not body:
            return [*made, *orelse]
        if len(self._ahead) == count and not any(map(_stops, body)):
            if rounds == 1:
                return [*made, *orelse]
            return [*made, _placed(ast.For(node.target, node.iter, body, [])), *orelse]
        return [*made, _rounds_of(node.target, node.iter, body, rounds), *orelse]

    def _while(self, node: ast.While) -> list[ast.stmt]:
        """Return the calls of the first round: no more is known of a loop whose end the program decides."""
        made, count = self._launch(node.test), len(self._ahead)
        if self._names.is_known(node.test):
            was_in_loop, self._in_loop = self._in_loop, True
            body: list[ast.stmt] = [ast.If(node.test, self.block(node.body) or [ast.Pass()], [])]
            self._in_loop = was_in_loop
            if len(self._ahead) > count or _stops(body[0]):
                once = ast.Tuple([ast.Constant(None)], ast.Load())
                made.append(_rounds_of(ast.Name("_once", ast.Store()), once, body, 1))
        self._left |= self._mentions.named.intersection(self._names.walk(node))
        self._names.taint(node)
        return [*made, _stop()] if self._mentions.of(node) & ENDS else made

    def _leaves(
        self, body: Sequence[ast.AST], *, is_unsure: bool = False, is_inner: bool = False
    ) -> bool:
        """Whether it cannot be known in which round a loop ends, which has this body."""
        for node in body:
            if isinstance(node, _LEAVES):
                if is_unsure and not (is_inner and isinstance(node, ast.Break)):
                    return True
                continue
            if isinstance(node, Function | ast.ClassDef):
                continue
            decides = getattr(node, "test", None) or getattr(node, "iter", None)
            here = is_unsure or isinstance(node, _UNSURE) or not self._names.is_known(decides)
            inner = is_inner or isinstance(node, _LOOPS)
            blocks = (getattr(node, name, None) for name in _BLOCKS)
            if any(
                block and self._leaves(block, is_unsure=here, is_inner=inner) for block in blocks
            ):
                return True
        return False

    # --- functions ------------------------------------------------------------------------------------

    def _define(self, node: Function | ast.ClassDef) -> list[ast.stmt]:
        mentioned = self._mentions.of(node)
        scoped = [n for n in self._names.walk(node) if isinstance(n, ast.Global | ast.Nonlocal)]
        self._names.tainted.update(name for each in scoped for name in each.names)
        if isinstance(node, Function) and self._mentions.launchers.get(node.name) is node:
            return self._launcher(node.name, node.args, node.body)
        is_local = self._in_function and bool(scoped)
        if mentioned & (READS | WRITES | OPAQUE) or is_local:
            self._names.tainted.add(node.name)
            return []
        self._names.tainted.discard(node.name)
        uses = {n.id for n in self._names.walk(node) if isinstance(n, ast.Name)}
        self._names.uses[node.name] = uses.union(*(self._names.uses.get(name, ()) for name in uses))
        return [node]

    def _define_lambda(self, name: str, node: ast.Lambda) -> list[ast.stmt]:
        if self._mentions.launchers.get(name) is node:
            return self._launcher(name, node.args, [ast.Return(node.body)])
        self._names.tainted.add(name)
        return []

    def _launcher(self, name: str, args: ast.arguments, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Return a function that makes the calls of one, and does not wait for them."""
        defaults = [*args.defaults, *(value for value in args.kw_defaults if value is not None)]
        if not all(map(self._names.is_known, defaults)):
            self._names.tainted.add(name)
            return []
        parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        parameters += [arg for arg in (args.vararg, args.kwarg) if arg is not None]
        saved, outer = set(self._names.tainted), (self._in_function, self._in_loop)
        self._in_function, self._in_loop = True, False
        self._names.tainted -= {parameter.arg for parameter in parameters}
        made = self.block(body)
        self._names.tainted, (self._in_function, self._in_loop) = saved, outer
        self._names.tainted.discard(name)
        kind = ast.AsyncFunctionDef if self._mentions.is_async else ast.FunctionDef
        return [_placed(kind(name, _bare_arguments(args), made or [ast.Pass()], []))]


_SLICERS: dict[type[ast.stmt], Callable[[Slicer, Any], list[ast.stmt]]] = {
    ast.Import: Slicer._keep,
    ast.ImportFrom: Slicer._keep,
    ast.Assign: Slicer._assign,
    ast.AugAssign: Slicer._assign,
    ast.AnnAssign: Slicer._assign,
    ast.Expr: Slicer._expression,
    ast.If: Slicer._if,
    ast.For: Slicer._for,
    ast.While: Slicer._while,
    ast.With: Slicer._with,
    ast.AsyncWith: Slicer._with,
    ast.Try: Slicer._try,
    ast.FunctionDef: Slicer._define,
    ast.AsyncFunctionDef: Slicer._define,
    ast.ClassDef: Slicer._define,
    ast.Return: Slicer._end,
    ast.Raise: Slicer._end,
    ast.Continue: Slicer._jump,
    ast.Break: Slicer._jump,
    ast.Assert: Slicer._assert,
}


def _continues(node: ast.AST) -> bool:
    """Whether a part of a loop has a `continue` of that loop."""
    if isinstance(node, ast.Continue):
        return True
    if isinstance(node, _LOOPS | Function | ast.ClassDef | ast.expr):
        return False
    return any(map(_continues, ast.iter_child_nodes(node)))


def _stops(node: ast.stmt) -> bool:
    return any(isinstance(inner, ast.Raise) for inner in ast.walk(node))


# --- statements that are made ----------------------------------------------------------------------


def _bare_arguments(args: ast.arguments) -> ast.arguments:
    """Return parameters without their annotations."""
    bare = copy.deepcopy(args)
    for arg in ast.walk(bare):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    return bare


def _rounds_of(target: ast.expr, iterated: ast.expr, body: list[ast.stmt], most: int) -> ast.stmt:
    """Return a loop of so many rounds at most."""
    count = ast.Call(ast.Name("range", ast.Load()), [ast.Constant(most)], [])
    zipped = ast.Call(ast.Name("zip", ast.Load()), [count, iterated], [])
    both = ast.Tuple([ast.Name("_round", ast.Store()), target], ast.Store())
    return _placed(ast.For(both, zipped, body, []))


def _placed(node: ast.stmt) -> ast.stmt:
    """Give a node a place, which `ast.unparse` asks for and does not use."""
    node.lineno, node.col_offset = 1, 0
    return node


def _stop() -> ast.stmt:
    """Return a statement that ends the program."""
    return ast.Raise(ast.Name("SystemExit", ast.Load()), None)


def _attempt(node: ast.stmt) -> ast.stmt:
    """Return a statement whose failure the next ones do not suffer from."""
    handler = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Pass()])
    return ast.Try([node], [handler], [], [])
