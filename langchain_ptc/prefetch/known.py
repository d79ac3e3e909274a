"""Which names of a program have their values, while results of tools are missing. Pure."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence

from langchain_ptc.prefetch.mentions import Mentions, TooMuch
from langchain_ptc.sandbox.language.scopes import Function

MAX_STEPS = 60_000
"""Nodes that are looked at for one slice: ordinary programs have a few hundred."""
SILENT = frozenset({"print", "sleep", "display", "show", "pprint"})
"""Functions that compute nothing."""

_PURE = """
capitalize casefold copy count date decode encode endswith format get index isalpha
isdigit isoformat items join keys lower lstrip partition replace rpartition rsplit
rstrip split splitlines startswith strftime strip title total_seconds upper values zfill
"""
_PURE_METHODS = frozenset(_PURE.split())
"""Methods of plain values that change nothing."""
_CHANGING_FUNCTIONS = frozenset(
    {"shuffle", "heappush", "heappop", "heapify", "heapreplace", "insort"}
)
_BUILTINS = frozenset(vars(builtins)) - {"next", "setattr", "delattr"}


class Names:
    """The names of a program, by what is known of their values.

    Args:
        mentions: What is named in the program.

    Attributes:
        tainted: Names whose values depend on a missing result.
        uses: What each function that calls no tool reads.
    """

    def __init__(self, mentions: Mentions) -> None:
        self._mentions = mentions
        bindings = mentions.tree.bindings
        self._variables = {
            name for name, bound in bindings.items() if all(b.alias is None for b in bound)
        }
        """Names that the program binds, but not those of modules."""
        self._steps = 0
        self.tainted: set[str] = set()
        self.uses: dict[str, set[str]] = {}

    def walk(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield a node and all in it.

        Raises:
            TooMuch: The program is more work than it is worth.
        """
        for inner in ast.walk(node):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise TooMuch
            yield inner

    def is_known(self, node: ast.AST | None) -> bool:
        """Whether an expression depends on no missing result, and calls no tool."""
        if node is None:
            return True
        if self._mentions.of(node):
            return False
        read: set[str] = set()
        own: set[str] = set()
        """Names of comprehensions and lambdas in it."""
        for inner in self.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                read.add(inner.id)
            elif isinstance(inner, ast.comprehension):
                own |= {part.id for part in self.walk(inner.target) if isinstance(part, ast.Name)}
            elif isinstance(inner, ast.arg):
                own.add(inner.arg)
        return not any(map(self.is_tainted, read - own))

    def is_tainted(self, name: str) -> bool:
        """Whether the value of a name depends on a missing result, or that of a function on one."""
        return name in self.tainted or not self.tainted.isdisjoint(self.uses.get(name, ()))

    def taint(self, *nodes: ast.AST | None) -> None:
        """Note that what nodes bind or may change is not known any more."""
        self.tainted |= self.bound(*nodes)

    def bound(self, *nodes: ast.AST | None) -> set[str]:
        """Return the names that nodes bind, or whose values they may change."""
        names: set[str] = set()
        for outer in nodes:
            for node in self.walk(outer) if outer is not None else ():
                match node:
                    case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                        names.add(name)
                    case ast.Attribute() | ast.Subscript() if not isinstance(node.ctx, ast.Load):
                        names.add(root_of(node))
                    case ast.Call():
                        names |= self._changed(node)
                    case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                        names.add(node.name or "")
                    case ast.MatchMapping():
                        names.add(node.rest or "")
                    case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                        names.add(node.name)
        return names & self._variables

    def _changed(self, call: ast.Call) -> set[str]:
        """Return the names of what a call may change: `rows` in `rows.append(x)` and in `fill(rows)`."""
        function = call.func
        names: set[str] = set()
        if self._mentions.callee(call) or self._mentions.path(function) is not None:
            return names
        if isinstance(function, ast.Attribute):
            if function.attr not in _PURE_METHODS:
                names.add(root_of(function))
            if function.attr not in _CHANGING_FUNCTIONS:
                return names
        elif isinstance(function, ast.Name) and function.id in _BUILTINS | SILENT:
            return names
        given = (*call.args, *(keyword.value for keyword in call.keywords))
        return names.union(map(root_of, given))

    def carried(self, body: Sequence[ast.stmt]) -> set[str]:
        """Return the names that one round of a loop leaves with a value that the next cannot know."""
        parts = [
            (self.bound(node), node)
            for outer in body
            for node in self.walk(outer)
            if isinstance(node, ast.stmt) and not isinstance(node, Function | ast.ClassDef)
        ]
        saved = set(self.tainted)
        for _ in range(len(parts)):
            before = len(self.tainted)
            for names, node in parts:
                if not names <= self.tainted and not self.is_known(node):
                    self.tainted |= names
            if len(self.tainted) == before:
                break
        found, self.tainted = self.tainted - saved, saved
        return found


def root_of(node: ast.AST) -> str:
    """Return the name that an attribute, an item or a call of one begins with; empty if there is none."""
    while True:
        match node:
            case ast.Attribute() | ast.Subscript() | ast.Starred() | ast.Await():
                node = node.value
            case ast.Call():
                node = node.func
            case ast.Name():
                return node.id
            case _:
                return ""
