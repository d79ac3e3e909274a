"""A program parsed, and its tree read in one pass: its nodes by kind, its scopes, what binds each name.

The check on the host and the compiler in the worker ask the same tree, so that both know the same names.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from langchain_ptc.sandbox.allowed_modules import STANDARD_MODULES, list_members
from langchain_ptc.sandbox.language.names import mangle

# --- the parser -------------------------------------------------------------------------------------
# It is C: it holds the interpreter until it is done, and it shows its warnings by filters that belong to the
# whole process. So what it takes long for is found before, and what it would warn of is put out of its sight
# and back into the tree afterwards.

MAX_PATH_PARTS = 100
"""Parts of the name of a module: CPython joins them in time that grows with their square."""

_PATH = rf"(?:\w++[\s\\]*+\.[\s\\]*+){{{MAX_PATH_PARTS}}}"
_LONG_IMPORT = re.compile(rf"(?:(?:\bimport|\bfrom)[\s\\]|,)[\s\\]*+{_PATH}")
_ESCAPE = re.compile(r"\\([4-7][0-7]{2}|.)", re.DOTALL)
_JOINED = re.compile(
    r"(?<![\w.])(?:0[xX][0-9a-fA-F_]++|0[oObB][0-7_]++|\d[\d_.]*+(?:[eE][+-]?\d++)?+)[jJ]?+"
    r"(?:and|else|for|if|in|is|not|or)"
)
_TEXT = re.compile(
    r"""\#[^\n]*+ | (?P<prefix>(?<!\w)[a-zA-Z]{0,2}+)(?:
    \'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+\'\'\' | \"\"\"(?:[^"\\]|\\.|"(?!""))*+\"\"\"
    | '(?:[^'\\\n]|\\.)*+' | "(?:[^"\\\n]|\\.)*+" )""",
    re.VERBOSE | re.DOTALL,
)
"""Comments and strings."""
_BYTES = re.compile(r"[bB][rR]?['\"]")
_KNOWN_ESCAPES = frozenset("\n\r\\'\"abfnrtvxuUN01234567")
_NUMBERED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3}))")
_NAMED = re.compile(r"\\N\{([^{}]+)\}")
_MARKS = tuple(map(chr, (*range(1, 9), *range(14, 28))))
"""One of these replaces a backslash that starts no escape sequence, which Python leaves as it is: one that the
code has not, neither itself nor as an escape. All of them may be in bytes, too."""


MAX_CHARS = 20_000
"""Length of code that is parsed on the host; longer code runs unchecked.

Python's parser holds the interpreter, and so the whole process, while it reads: for code of this length,
whatever it is, some 50 ms. Programs that models write have some hundred characters, rarely 3,000.
"""


class TooCostly(ValueError):
    """The parser would take long for the code, or emit a warning."""


def parse_quietly(code: str) -> ast.Module:
    """Parse `code` without a warning, and without touching the filters of warnings.

    Raises:
        TooCostly: CPython's parser would take quadratic time, or would warn; and what `ast.parse` raises.
    """
    if has_long_import(code):
        raise TooCostly(f"an import has a name of more than {MAX_PATH_PARTS} parts")
    if "\\" not in code:
        _refuse_joined_numbers(code)
        return parse(code)
    mark = _choose_mark(code)
    quiet = _ESCAPE.sub(functools.partial(_hide, mark), code)
    _refuse_joined_numbers(code)
    if _BYTES.search(code) and re.search(r"\\[uUN]", code):
        raise TooCostly("bytes with an escape that only text has")
    tree = parse(quiet)
    if mark in quiet:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                if isinstance(node.value, str):
                    node.value = node.value.replace(mark, "\\")
                elif isinstance(node.value, bytes):
                    node.value = node.value.replace(mark.encode(), b"\\")
    return tree


def parse(code: str, filename: str = "<unknown>") -> ast.Module:
    """Do what `ast.parse` does, where other threads do the same.

    Python 3.11 counts the depth of all its trees in one place, and raises a `SystemError` where two
    threads make one at the same time.
    """
    for _ in range(_MAX_TRIES):
        with contextlib.suppress(SystemError):
            return ast.parse(code, filename)
    return ast.parse(code, filename)


_MAX_TRIES = 20


def has_long_import(code: str) -> bool:
    """Whether an import has a name so long that CPython's parser takes quadratic time for it."""
    return _LONG_IMPORT.search(code) is not None


def _choose_mark(code: str) -> str:
    """Return a character that no constant of the code has."""
    used = set(code)
    for hexadecimal in _NUMBERED.finditer(code):
        *digits, octal = hexadecimal.groups()
        number = int(octal, 8) if octal else int("".join(filter(None, digits)), 16)
        used.add(chr(min(number, 0x10FFFF)))
    for name in _NAMED.findall(code):  # control characters have names, too
        with contextlib.suppress(KeyError):
            used.add(unicodedata.lookup(name))
    mark = next((mark for mark in _MARKS if mark not in used), None)
    if mark is None:
        raise TooCostly("the code has every control character")
    return mark


def _hide(mark: str, escape: re.Match[str]) -> str:
    what = escape[1]
    if len(what) > 1:
        raise TooCostly("an octal escape is over \\377")
    return escape[0] if what in _KNOWN_ESCAPES else mark + what


def _refuse_joined_numbers(code: str) -> None:
    """Refuse `1if x else y`, of which Python warns; in a string, as in `"a%20and"`, it does not."""
    if _JOINED.search(code) and _JOINED.search(_TEXT.sub(_drop, code)):
        raise TooCostly("a keyword follows a number without a space")


def _drop(text: re.Match[str]) -> str:
    """Return nothing for a comment or string, but f-strings: they hold code."""
    return text[0] if "f" in (text["prefix"] or "").lower() else "''"


# --- scopes ---------------------------------------------------------------------------------------

Step: TypeAlias = int | Literal["item"]
"""From a value to a part of it: an item by its position, or any item."""
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One place where a name gets a value."""

    value: ast.expr | None = None
    """What it gets the value from; None if nothing can be said."""
    steps: tuple[Step, ...] = ()
    """The way from `value` to what the name gets, as in `for a, b in pairs`."""
    definition: ast.AST | None = None
    """The `def`, or the import, that binds it."""
    alias: ast.alias | None = None
    """The part of the import."""


OPAQUE = Binding()
AUGMENTED = Binding()
"""`x += 1`: it gives a name a value only where another binding has given it one."""


@dataclass(eq=False, slots=True, kw_only=True)
class Scope:
    """A module, a function, a class body, a comprehension or type parameters."""

    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    """Names that are declared `global` or `nonlocal`."""
    has_star: bool = False
    """Whether it has an `import *` of unknown names."""
    is_deferred: bool = False
    """Whether it is an annotation that is not evaluated, which sees the names of the scope around it."""

    def outward(self) -> Iterator[Scope]:
        """Yield the scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


class _ChildFields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of a class of nodes that may hold nodes with a place in the source."""

    _OTHERS = frozenset("ctx op ops id attr arg kind level module type_comment lineno".split())  # noqa: SIM905

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        found = self[kind] = tuple(name for name in kind._fields if name not in self._OTHERS)
        return found


_CHILD_FIELDS = _ChildFields()


class SyntaxTree:
    """A program as the compiler and the check see it.

    Attributes:
        root: The tree.
        nodes: Every node that has a place in the source, outer ones first.
        kinds: The same nodes by class.
        parents: What each node is directly in.
        scopes: The scope that each function, class and comprehension makes; outer ones first.
        scope_of: The scope in which each node is evaluated.
        module: The scope of the top level.
        bindings: Every name that the program binds anywhere, with all the places that do.
    """

    def __init__(self, root: ast.Module) -> None:
        self.root = root
        self.nodes: list[ast.AST] = [root]
        self.kinds: dict[type[ast.AST], list[Any]] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.module = Scope(node=root)
        self.scopes: dict[ast.AST, Scope] = {}
        self.scope_of: dict[ast.AST, Scope] = {root: self.module}
        self.bindings: dict[str, list[Binding]] = {}
        self.has_hidden = False
        """Whether a scope has an `import *`, or is an annotation that is not evaluated."""
        self._found: list[tuple[Scope, str, Binding]] = []
        self._defers = _defers_annotations(root)
        self._read()
        self._bind_all()

    def resolve(self, node: ast.Name) -> Scope | None:
        """Return the scope that binds a name; None if the program does not bind it."""
        name, is_inside = node.id, False
        scope: Scope | None = self.scope_of[node] if name in self.bindings else None
        while scope is not None:
            # The body of a class is visible in the class itself, and not in its functions.
            if name in scope.bindings and not (is_inside and isinstance(scope.node, ast.ClassDef)):
                return scope
            is_inside = is_inside or self.scopes.get(scope.node) is scope
            scope = scope.parent
        return None

    def outward(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes around `node`, innermost first."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)

    @property
    def bound(self) -> list[tuple[Scope, str]]:
        """Every name that the program binds, with the scope in which it does."""
        return [(scope, name) for scope, name, _ in self._found]

    def _read(self) -> None:
        nodes, scope_of, parents, kinds = self.nodes, self.scope_of, self.parents, self.kinds
        for node in nodes:
            kind, scope = type(node), scope_of[node]
            if kind in kinds:
                kinds[kind].append(node)
            else:
                kinds[kind] = [node]
            if kind in _READERS:
                _READERS[kind](self, node, scope)
            for name in _CHILD_FIELDS[kind]:
                value = getattr(node, name, None)
                for child in value if type(value) is list else (value,):
                    if isinstance(child, ast.AST):
                        parents[child] = node
                        scope_of.setdefault(child, scope)
                        nodes.append(child)

    def _bind_all(self) -> None:
        """Bind the names, now that it is known which of them are declared `global` or `nonlocal`."""
        for inner, name, binding in self._found:
            scopes = [inner]
            if name in inner.foreign and inner.parent is not None:
                binding = OPAQUE  # noqa: PLW2901  # it is not certain which of the outer ones is meant
                scopes = list(inner.parent.outward())
            self.bindings.setdefault(name, []).append(binding)
            for scope in scopes:
                scope.bindings.setdefault(name, []).append(binding)

    # --- what binds names -----------------------------------------------------------------------

    def _bind(
        self, target: ast.expr, value: ast.expr | None, steps: tuple[Step, ...], scope: Scope
    ) -> None:
        if isinstance(target, ast.Name):
            binding = OPAQUE if value is None else Binding(value=value, steps=steps)
            self._found.append((scope, target.id, binding))
        elif isinstance(target, ast.Tuple | ast.List):
            if any(isinstance(element, ast.Starred) for element in target.elts):
                value = None
            for position, element in enumerate(target.elts):
                inner = element.value if isinstance(element, ast.Starred) else element
                self._bind(inner, value, (*steps, position), scope)

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        for target in node.targets:
            self._bind(target, node.value, (), scope)

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> None:
        self._bind(node.target, node.value, (), scope)
        if self._defers or not isinstance(scope.node, ast.ClassDef):
            self._defer(node.annotation, scope)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name):
            self._found.append((scope, node.target.id, AUGMENTED))

    def _walrus(self, node: ast.NamedExpr, scope: Scope) -> None:
        while isinstance(scope.node, Comprehension) and scope.parent is not None:
            scope = scope.parent
        self._bind(node.target, node.value, (), scope)

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        known = node.iter if isinstance(node, ast.For) else None
        self._bind(node.target, known, ("item",), scope)

    def _with(self, node: ast.withitem, scope: Scope) -> None:
        if node.optional_vars is not None:
            self._bind(node.optional_vars, None, (), scope)

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            self._bind(target, None, (), scope)

    def _capture(self, node: ast.AST, scope: Scope) -> None:
        for name in (getattr(node, "name", None), getattr(node, "rest", None)):
            if name:
                self._found.append((scope, name, OPAQUE))

    def _declare(self, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
        scope.foreign.update(node.names)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            if alias.name != "*":
                is_whole = isinstance(node, ast.Import)
                name = alias.name.partition(".")[0] if is_whole else alias.name
                binding = Binding(definition=node, alias=alias)
                self._found.append((scope, alias.asname or name, binding))
            elif (getattr(node, "module", "") or "").partition(".")[0] != "tools":
                scope.has_star = self.has_hidden = True

    # --- what makes scopes ----------------------------------------------------------------------

    def _enter(
        self, node: ast.AST, parent: Scope, parts: list[Any], typed: Sequence[ast.AST] = ()
    ) -> Scope:
        """Make the scope of `parts`; both they and `typed` see the type parameters of `node`."""
        if parameters := getattr(node, "type_params", None):  # from Python 3.12 on
            parent = Scope(node=parameters[0], parent=parent)
            self.scope_of.update(dict.fromkeys(typed, parent))
            for parameter in parameters:
                self._found.append((parent, parameter.name, OPAQUE))
                self._defer(parameter, parent)
        inner = self.scopes[node] = Scope(node=node, parent=parent)
        self.scope_of.update(dict.fromkeys(parts, inner))
        return inner

    def _defer(self, part: ast.AST, scope: Scope) -> None:
        self.scope_of[part] = Scope(node=part, parent=scope, is_deferred=True)
        self.has_hidden = True

    def _function(self, node: Function | ast.Lambda, scope: Scope) -> None:
        args = node.args
        parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        parameters += [p for p in (args.vararg, args.kwarg) if p is not None]
        if isinstance(node, ast.Lambda):
            inner = self._enter(node, scope, [node.body])
        else:
            given = (node.returns, *(p.annotation for p in parameters))
            annotations = [annotation for annotation in given if annotation is not None]
            inner = self._enter(node, scope, node.body, annotations)
            self._found.append((scope, node.name, Binding(definition=node)))
            for annotation in annotations if self._defers else ():
                self._defer(annotation, self.scope_of.get(annotation, scope))
        self._found += [(inner, parameter.arg, OPAQUE) for parameter in parameters]

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        self._found.append((scope, node.name, Binding(definition=node)))
        self._enter(node, scope, node.body, [*node.bases, *node.keywords])

    def _comprehend(self, node: Comprehension, scope: Scope) -> None:
        is_dict = isinstance(node, ast.DictComp)
        parts = [node.key, node.value] if is_dict else [node.elt]  # type: ignore[union-attr]
        inner = self._enter(node, scope, [*parts, *node.generators])
        self.scope_of[node.generators[0].iter] = scope
        for generator in node.generators:
            known = None if generator.is_async else generator.iter
            self._bind(generator.target, known, ("item",), inner)

    def _alias_type(self, node: Any, scope: Scope) -> None:
        """Bind the name of a `type X = ...` of Python 3.12; its value is not evaluated."""
        self._bind(node.name, None, (), scope)
        for part in (node.value, *node.type_params):
            self._defer(part, scope)


_READERS: dict[type[ast.AST], Callable[[SyntaxTree, Any, Scope], None]] = {
    ast.Assign: SyntaxTree._assign,
    ast.AnnAssign: SyntaxTree._annotated,
    ast.AugAssign: SyntaxTree._augmented,
    ast.NamedExpr: SyntaxTree._walrus,
    ast.For: SyntaxTree._for,
    ast.AsyncFor: SyntaxTree._for,
    ast.withitem: SyntaxTree._with,
    ast.Delete: SyntaxTree._delete,
    ast.ExceptHandler: SyntaxTree._capture,
    ast.MatchAs: SyntaxTree._capture,
    ast.MatchStar: SyntaxTree._capture,
    ast.MatchMapping: SyntaxTree._capture,
    ast.Global: SyntaxTree._declare,
    ast.Nonlocal: SyntaxTree._declare,
    ast.Import: SyntaxTree._import,
    ast.ImportFrom: SyntaxTree._import,
    ast.FunctionDef: SyntaxTree._function,
    ast.AsyncFunctionDef: SyntaxTree._function,
    ast.Lambda: SyntaxTree._function,
    ast.ClassDef: SyntaxTree._class,
    **dict.fromkeys(COMPREHENSIONS, SyntaxTree._comprehend),
}
if sys.version_info >= (3, 12):
    _READERS[ast.TypeAlias] = SyntaxTree._alias_type


def _defers_annotations(root: ast.Module) -> bool:
    """Whether annotations are not evaluated where they stand; without the import they are, on Python 3.14 too."""
    for statement in root.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            if any(alias.name == "annotations" for alias in statement.names):
                return True
        elif not isinstance(statement, ast.Expr):  # such imports are the first statements
            break
    return False


# --- what the names say ---------------------------------------------------------------------------

_WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.AsyncFunctionDef)


def is_async(tree: SyntaxTree, known: frozenset[str] = frozenset()) -> bool:
    """Whether the code awaits anywhere, or uses a name from `asyncio`, `known` ones without importing them."""
    kinds = tree.kinds
    if not kinds.keys().isdisjoint(_WAITS) or any(
        part.is_async for part in kinds.get(ast.comprehension, ())
    ):
        return True
    from_asyncio = {"asyncio", *known}  # without an import too: it is one that is added
    for node in kinds.get(ast.Import, ()):
        for alias in node.names:
            if alias.name.partition(".")[0] == "asyncio":
                from_asyncio.add(alias.asname or "asyncio")
    for node in kinds.get(ast.ImportFrom, ()):
        if (node.module or "").startswith("asyncio"):
            from_asyncio.update(alias.asname or alias.name for alias in node.names)
    names = kinds.get(ast.Name, ())
    return any(n.id in from_asyncio and isinstance(n.ctx, ast.Load) for n in names)


def find_private_names(tree: SyntaxTree) -> frozenset[str]:
    """Return the private attribute names that the code makes, those of its classes mangled too."""
    found: set[str] = set()
    names = [(scope, name) for scope, name in tree.bound if name.startswith("_")]
    for node in tree.kinds.get(ast.Attribute, ()):
        if node.attr.startswith("_") and not isinstance(node.ctx, ast.Load):
            found.add(node.attr)
            names.append((tree.scope_of[node], node.attr))
    for node in tree.kinds.get(ast.Call, ()):  # `setattr(obj, "_x", v)`, `obj.__setattr__("_x", v)`
        if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("setattr", "__setattr__"):
            found.update(_texts(node.args))
    for node in tree.kinds.get(ast.Assign, ()):
        if any(isinstance(t, ast.Name) and t.id == "__slots__" for t in node.targets):
            slots = _texts(ast.walk(node.value))
            names += [(tree.scope_of[node], name) for name in slots]
    for inner, name in names:
        for scope in inner.outward():
            if isinstance(scope.node, ast.ClassDef):
                found.update((name, mangle(name, scope.node.name)))
    return frozenset(name for name in found if name.startswith("_"))


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# --- imports that a program forgot ------------------------------------------------------------------

_ALIASES = {"np": "numpy", "pd": "pandas"}
"""Short names that everybody gives to these modules."""


def find_implied(tree: SyntaxTree, modules: Collection[str]) -> dict[str, str]:
    """Return what to import for a program, of these modules: the name -> the dotted name of what it means.

    A name counts if nothing binds it where it is read, and every use of it fits: `json.dumps` reads an
    attribute that the module has. A name that is a member of its own module (`datetime`, `pprint`) is
    that member where it is called or read as only the member can be: `datetime.now()`. Uses of a
    variable of the same name, such as the parameter in `def wait(time)`, do not count.
    """
    uses: dict[str, list[str]] = {}
    for node in tree.kinds.get(ast.Name, ()):
        name = node.id
        if (
            (name in modules or name in _ALIASES)
            and name not in tree.module.bindings
            and isinstance(node.ctx, ast.Load)
            and tree.resolve(node) is None
        ):
            parent = tree.parents[node]
            attribute = parent.attr if isinstance(parent, ast.Attribute) else ""
            uses.setdefault(name, []).append(attribute)
    found = {name: _meaning(name, attributes, modules) for name, attributes in uses.items()}
    return {name: meant for name, meant in found.items() if meant is not None}


def _meaning(name: str, attributes: Sequence[str], modules: Collection[str]) -> str | None:
    """Return what a name that is used with these attributes means; None if nothing fits."""
    module = _ALIASES.get(name, name)
    if module not in modules:
        return None
    listed = STANDARD_MODULES.get(module)
    if listed is None:  # a module of the developer, whose names are not known here
        return None if "" in attributes else module
    known = [attribute in list_members(module) for attribute in attributes]
    if name in listed and not all(known):
        return None if any(known) else f"{name}.{name}"
    return module if any(known) and "" not in attributes else None
