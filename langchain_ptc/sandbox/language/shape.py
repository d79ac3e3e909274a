# ruff: noqa: N815  # the methods are named after the classes of `ast`
"""What the top level of the code means: its mode, its `return`, its last expression, its names.

Nothing here decides what is allowed; `policy` does.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Sequence

from langchain_ptc.sandbox.language.names import RESERVED, mangle

MAIN = RESERVED + "main"
LAST = RESERVED + "last"

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_RESULTS = ("elt", "key", "value")


_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)


def all_nodes(tree: ast.AST) -> list[ast.AST]:
    """Return `tree` and every node below it that has a place in the source; faster than `walk`."""
    found = [tree]
    for node in found:
        for field in node._fields:
            value = getattr(node, field, None)
            if type(value) is list:
                found.extend(item for item in value if isinstance(item, ast.AST))
            elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
                found.append(value)
    return found


def is_async(nodes: list[ast.AST], known: frozenset[str] = frozenset()) -> bool:
    """Whether the code awaits anywhere, or uses a name that it has from `asyncio`.

    Args:
        nodes: Every node of the tree.
        known: Names that the code has from `asyncio` without importing them.
    """
    from_asyncio = {"asyncio", *known}  # without an import too: it is one that is added
    for node in nodes:
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef):
            return True
        if isinstance(node, ast.comprehension) and node.is_async:
            return True
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "asyncio":
                    from_asyncio.add(alias.asname or "asyncio")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncio"):
            from_asyncio.update(alias.asname or alias.name for alias in node.names)
    return bool(from_asyncio) and any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in from_asyncio
        for node in nodes
    )


def find_private_names(nodes: list[ast.AST]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the private attribute names that the code makes, and every variable that it binds."""
    private: set[str] = set()
    bound: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            private.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            bound.add(node.name)
            private.update(_class_names(node))
        elif isinstance(node, ast.Call):
            private.update(_set_by_call(node))
        else:
            bound.update(_names_bound_by(node))
    return frozenset(name for name in private if name.startswith("_")), frozenset(bound)


def _class_names(node: ast.ClassDef) -> Iterator[str]:
    """Names of attributes that a class body makes, and the mangled form of those it mangles."""
    inside: set[str] = set()
    for inner in all_nodes(node):
        inside.update(_names_bound_by(inner))
        if isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Load):
            inside.add(inner.attr)
        elif isinstance(inner, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__slots__" for t in inner.targets
        ):
            inside.update(
                part.value
                for part in ast.walk(inner.value)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
    yield from inside
    yield from (mangle(name, node.name) for name in inside)


def _set_by_call(node: ast.Call) -> Iterator[str]:
    """Names that `setattr(obj, "_x", v)` and `obj.__setattr__("_x", v)` set."""
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if name in ("setattr", "__setattr__"):
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    """Names that this one node binds, its children aside."""
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        if node.name != "*":
            yield node.asname or node.name.partition(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        if node.name:
            yield node.name
    elif isinstance(node, ast.MatchMapping):
        if node.rest:
            yield node.rest
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names


def _top_level_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node of `body` that runs in the scope of `body` itself."""
    waiting: list[tuple[ast.AST, bool]] = [(node, False) for node in reversed(body)]
    while waiting:
        node, in_comprehension = waiting.pop()
        if not in_comprehension or isinstance(node, ast.NamedExpr):
            yield node
        if in_comprehension and isinstance(node, ast.NamedExpr):
            yield node.target
        children: list[ast.AST]
        if isinstance(node, _SCOPES):
            children = list(_outer_parts(node))
        else:
            children = list(ast.iter_child_nodes(node))
            in_comprehension = in_comprehension or isinstance(node, _COMPREHENSIONS)
        waiting.extend((child, in_comprehension) for child in reversed(children))


def _outer_parts(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a definition that run outside of it: decorators, defaults, bases."""
    yield from getattr(node, "decorator_list", ())
    yield from getattr(node, "bases", ())
    yield from getattr(node, "keywords", ())
    arguments = getattr(node, "args", None)
    if isinstance(arguments, ast.arguments):
        yield from arguments.defaults
        yield from (default for default in arguments.kw_defaults if default is not None)


def _top_level_names(body: list[ast.stmt]) -> list[str]:
    found: dict[str, None] = {}
    for node in _top_level_nodes(body):
        for name in _names_bound_by(node):
            found[name] = None
        if type(node).__name__ == "TypeAlias":
            found[node.name.id] = None  # type: ignore[attr-defined]  # Python 3.12
    return list(found)


def bound_globals(tree: ast.Module, nodes: Sequence[ast.AST]) -> set[str]:
    """Return the names that the code makes variables of its top level."""
    found = set(_top_level_names(tree.body))
    for node in nodes:
        if isinstance(node, ast.Global):
            found.update(node.names)
    return found


def find_local(nodes: Sequence[ast.AST], names: Container[str]) -> set[ast.AST]:
    """Return the uses of `names` that are variables of a function or of a comprehension."""
    local: set[ast.AST] = set()
    for node in nodes:
        parts, bound = _scope_inside(node)
        if own := {name for name in bound if name in names}:
            for part in parts:
                local.update(n for n in all_nodes(part) if isinstance(n, ast.Name) and n.id in own)
    return local


def _scope_inside(node: ast.AST) -> tuple[Sequence[ast.AST], Sequence[str]]:
    """Return the parts of `node` that run in a scope of its own, and the names that this binds."""
    if isinstance(node, _COMPREHENSIONS):
        first = node.generators[0].iter
        parts = [inner for g in node.generators for inner in (g.target, g.iter, *g.ifs)]
        parts += [value for field in _RESULTS if (value := getattr(node, field, None)) is not None]
        targets = [inner for g in node.generators for inner in ast.walk(g.target)]
        bound = [target.id for target in targets if isinstance(target, ast.Name)]
        return [part for part in parts if part is not first], bound
    if not isinstance(node, _Function | ast.Lambda):
        return (), ()
    body: list[ast.stmt] = node.body if isinstance(node.body, list) else [ast.Expr(node.body)]
    inner = list(_top_level_nodes(body))
    foreign = {n for i in inner if isinstance(i, ast.Global | ast.Nonlocal) for n in i.names}
    names = [part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)]
    names += [name for part in inner for name in _names_bound_by(part)]
    return body, [name for name in names if name not in foreign]


def shape_module(tree: ast.Module, nodes: list[ast.AST], *, asynchronous: bool) -> ast.Module:
    """Make a last expression and a top-level `return` into something that can be compiled.

    The value of a last expression is kept as `_ptc_last`. Where a `return` stands outside of any
    function, the body becomes the hidden function `_ptc_main`, in which every name of the top level
    is declared `global`: nested functions, `global` statements and `del` mean what they mean in a
    module. It gives `(value,)` for a `return` and None where the end is reached.

    Raises:
        SyntaxError: `yield` stands outside of a function.
    """
    if not tree.body:  # nothing but comments
        return tree
    _keep_last(tree)
    if not any(isinstance(node, ast.Return) for node in nodes):
        return tree
    outer = list(_top_level_nodes(tree.body))
    if not any(isinstance(node, ast.Return) for node in outer):
        return tree
    for node in outer:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            place = ("<code>", node.lineno, node.col_offset + 1, "")
            raise SyntaxError("'yield' outside function", place)  # noqa: TRY004  # as Python does
    bound = [name for name in _top_level_names(tree.body) if name not in _flag_names(tree)]
    hoisted, body = _Main().split(tree.body)
    declared: list[ast.stmt] = [ast.Global(sorted({*bound, LAST}))]
    kind = ast.AsyncFunctionDef if asynchronous else ast.FunctionDef
    main = ast.parse(f"def {MAIN}(): pass").body[0]
    assert isinstance(main, ast.FunctionDef)
    fields = {name: value for name, value in ast.iter_fields(main) if name != "body"}
    function = kind(**fields, body=declared + body)
    ast.copy_location(function, tree.body[0])
    return ast.fix_missing_locations(ast.Module([*hoisted, function], tree.type_ignores))


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

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)


def cast_stmt(node: object) -> ast.stmt:
    """Return `node`, which a visitor of statements gave."""
    assert isinstance(node, ast.stmt)
    return node
