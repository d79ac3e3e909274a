"""What the parts of a program may call: which tools, by themselves or by functions of the program. Pure.

    mentions = Mentions(statements, ToolNames({"crm.get_customer": True, "pay": False}))
    mentions.of(node)          # READS | WRITES | OPAQUE | WAITS | PAUSES: everything that is named in it
    mentions.callee(call)      # READS for a call of a tool, or of a function of which all is known

By names, and for the whole program at once: a name that the program binds to anything else is no tool. What
cannot be known is OPAQUE, or WRITES where it may be a tool that does.

    names = Names(mentions)
    names.is_known(node)       # it depends on no missing result, and calls no tool
    names.taint(node)          # what it binds or may change is not known any more
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence

from langchain_ptc.sandbox.language.scopes import Binding, Function, SyntaxTree, is_async

READS, WRITES, OPAQUE, WAITS, PAUSES = 1, 2, 4, 8, 16
"""Names something that only reads; that may write; of which nothing is known; has an `await`; lets time pass."""
ENDS = WRITES | PAUSES  # what is read behind one of these must not be read before it
APPLIERS = frozenset({"map", "submit", "to_thread", "run_in_executor"})
"""Functions and methods that call their first argument, and do nothing else with it."""

_SLEEPS = frozenset({"sleep"})
_TIMED = frozenset({"wait", "wait_for", "timeout", "timeout_at"})
"""Functions and methods that may wait for nothing but time."""
_CLOCKS = frozenset(
    {"monotonic", "time", "perf_counter", "time_ns", "monotonic_ns", "now", "utcnow"}
)
_MAX_PATH_PARTS = 5
_MAX_ROUNDS = 8
_SPECIAL = (ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)
_WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)


class TooMuch(Exception):  # it ends the work, and is not an error
    """The program is more work than it is worth."""


class ToolNames:
    """The tools by the names that code may use for them; given: qualified name -> whether it may be called early."""

    def __init__(self, tools: Mapping[str, bool]) -> None:
        self.kinds: dict[str, int] = {}
        """`tools.crm.get_customer`, `tools.get_customer`, `tools.crm` -> what a mention of it is."""
        self.names: dict[str, str] = {"tools": "tools"}
        """Names that code has without an import -> the same."""
        bare: dict[str, list[str]] = {}
        for qualified, reads in tools.items():
            domain, _, name = qualified.rpartition(".")
            self.kinds[f"tools.{qualified}"] = READS if reads else WRITES
            bare.setdefault(name, []).append(qualified)
            for module in ("tools", f"tools.{domain}") if domain else ("tools",):
                known = self.kinds.get(module, OPAQUE)
                self.kinds[module] = known if reads else WRITES
            if domain and "." not in domain:
                self.names[domain] = f"tools.{domain}"
        for name, qualified_names in bare.items():
            path = f"tools.{name}"
            if len(qualified_names) == 1:
                self.kinds.setdefault(path, self.kinds[f"tools.{qualified_names[0]}"])
            elif path not in self.kinds:
                writes = any(not tools[qualified] for qualified in qualified_names)
                self.kinds[path] = WRITES if writes else OPAQUE
            self.names.setdefault(name, path)


class Mentions:
    """What is named in a program.

    Args:
        statements: The program; is not changed.
        tools: The tools.

    Attributes:
        tree: The program.
        is_async: Whether a call of a tool is awaited.
        launchers: Functions that only read, by their name; a lambda that has a name is one too.
        named: The nodes that name something that reads.

    Raises:
        TooMuch: Its functions call each other in a way that would take long to follow.
    """

    def __init__(self, statements: Sequence[ast.stmt], tools: ToolNames) -> None:
        self.tree = SyntaxTree(ast.Module(list(statements), []))
        self.is_async = is_async(self.tree)
        self._kinds = {**tools.kinds, "?writes": WRITES, "?opaque": OPAQUE}
        self._names = dict(self._find_names(tools))
        self._own: dict[ast.AST, int] = {}
        self._flags: dict[ast.AST, int] = {}
        self.named: set[ast.AST] = set()
        self._functions: dict[str, int] = {}
        self.launchers: dict[str, Function | ast.Lambda] = {}
        self._read()

    @property
    def names(self) -> set[str]:
        """The names of tools, of modules of tools, and of functions of the program that call one."""
        return self._names.keys() | self._functions.keys()

    def of(self, node: ast.AST) -> int:
        """Return everything that is named in a node of the program; 0 for a node that is made."""
        return self._flags.get(node, 0)

    def callee(self, call: ast.Call) -> int:
        """Return what a call calls; 0 if it is neither a tool nor a function of the program that calls one."""
        return self.target(call.func)

    def target(self, node: ast.expr) -> int:
        """Return what a name means; 0 if it is neither of these."""
        path = self.path(node)
        if path is not None and path in self._kinds:
            return self._kinds[path]
        return self._functions.get(node.id, 0) if isinstance(node, ast.Name) else 0

    def path(self, node: ast.AST) -> str | None:
        """Return what of `tools` a name means."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute) and len(parts) < _MAX_PATH_PARTS:
            parts.append(node.attr)
            node = node.value
        root = self._names.get(node.id) if isinstance(node, ast.Name) else None
        return None if root is None else ".".join((root, *reversed(parts)))

    # --- names ----------------------------------------------------------------------------------

    def _find_names(self, tools: ToolNames) -> Iterator[tuple[str, str]]:
        """Yield the names that mean tools, or modules of tools, wherever in the program they are."""
        self._names = tools.names
        for name in tools.names.keys() | self.tree.bindings.keys():
            paths = {self._meant(binding) for binding in self.tree.bindings.get(name, ())}
            if name in tools.names:
                paths.add(tools.names[name])
            path = next((path for path in paths if path is not None), None)
            if path is not None:
                yield name, path if len(paths) == 1 else self._doubtful(paths)

    def _doubtful(self, paths: set[str | None]) -> str:
        """Return what a name stands for that is not always the same."""
        writes = any(path is not None and self._kinds.get(path) == WRITES for path in paths)
        return "?writes" if writes else "?opaque"

    def _meant(self, binding: Binding) -> str | None:
        """Return what of `tools` a binding gives its name."""
        if binding.alias is not None:
            module = getattr(binding.definition, "module", None)
            if module is not None:
                path = f"{module}.{binding.alias.name}"
            else:
                path = binding.alias.name if binding.alias.asname else "tools"
            whole = binding.alias.name if module is None else module
            return path if whole.partition(".")[0] == "tools" else None
        return self.path(binding.value) if binding.value is not None and not binding.steps else None

    # --- what is named where --------------------------------------------------------------------

    def _read(self) -> None:
        self._read_names()
        for _ in range(_MAX_ROUNDS):
            self._add_up()
            functions = self._read_functions()
            if functions == self._functions:
                return
            self._functions = functions
        raise TooMuch

    def _read_names(self) -> None:
        """Note what each name of a tool stands for."""
        own, tree = self._own, self.tree
        inner: set[ast.AST] = set()
        for node in (*tree.kinds.get(ast.Attribute, ()), *tree.kinds.get(ast.Name, ())):
            if node in inner or not isinstance(node.ctx, ast.Load):
                continue
            path = self.path(node)
            if path is None or path not in self._kinds:
                continue
            own[node] = self._kinds[path] | self._not_called(node)
            part = node
            while isinstance(part, ast.Attribute):
                part = part.value
                inner.add(part)
        for node in self._find_pauses():
            own[node] = own.get(node, 0) | PAUSES
        for kind in _WAITS:
            own.update(dict.fromkeys(tree.kinds.get(kind, ()), WAITS))
        for part in tree.kinds.get(ast.comprehension, ()):
            if part.is_async:
                own[part] = WAITS

    def _find_pauses(self) -> Iterator[ast.AST]:
        """Yield what lets time pass: sleeps, waits that are for no tool, loops until a moment."""
        kinds = self.tree.kinds
        sleeps, waits, clocks = map(self._names_of, (_SLEEPS, _TIMED, _CLOCKS))
        for node in (*kinds.get(ast.Attribute, ()), *kinds.get(ast.Name, ())):
            if _last_name(node) in sleeps and not self._is_short(node):
                yield node
        for call in kinds.get(ast.Call, ()):
            name = _last_name(call.func)
            is_timed = any(keyword.arg == "timeout" for keyword in call.keywords)
            is_endless = name == "wait" and _waits_for_tasks(call) and not is_timed
            if name in waits and not is_endless and not self._reads(self._block_of(call)):
                yield call
        for loop in kinds.get(ast.While, ()):
            if any(_last_name(inner) in clocks for inner in ast.walk(loop)):
                yield loop

    def _names_of(self, functions: frozenset[str]) -> set[str]:
        """Return the names of functions, and those that imports give them."""
        return set(functions) | {
            name
            for name, bindings in self.tree.bindings.items()
            if any(b.alias is not None and b.alias.name in functions for b in bindings)
        }

    def _block_of(self, call: ast.Call) -> ast.AST:
        """Return a call, or the block whose time it limits."""
        parent = self.tree.parents.get(call)
        return self.tree.parents[parent] if isinstance(parent, ast.withitem) else call

    def _reads(self, node: ast.AST) -> bool:
        """Whether a tool that reads is named in a node."""
        return any(self._own.get(inner, 0) & READS for inner in ast.walk(node))

    def _is_short(self, node: ast.AST) -> bool:
        """Whether `node` is called in `sleep(0)`, which only lets other tasks run."""
        match self.tree.parents.get(node):
            case ast.Call(func=func, args=[ast.Constant(value=0)]):
                return func is node
        return False

    def _not_called(self, node: ast.AST) -> int:
        """Return OPAQUE for a tool that is not called where it is named, nor given another name."""
        parent = self.tree.parents[node]
        if isinstance(parent, ast.Call):
            if parent.func is node:
                return 0
            name = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
            return 0 if name in APPLIERS and node in parent.args[:2] else OPAQUE
        return 0 if isinstance(parent, ast.Assign) and parent.value is node else OPAQUE

    def _add_up(self) -> None:
        flags = dict(self._own)
        parents = self.tree.parents
        for name in self.tree.kinds.get(ast.Name, ()):
            if name.id in self._functions and isinstance(name.ctx, ast.Load):
                flags[name] = self._functions[name.id] | self._not_called(name)
        self.named = {node for node, kind in flags.items() if kind & READS}
        for node in reversed(self.tree.nodes):
            if node in flags and node in parents:
                parent = parents[node]
                flags[parent] = flags.get(parent, 0) | flags[node]
        self._flags = flags

    def _read_functions(self) -> dict[str, int]:
        """Return what each name of a function or class stands for, of those that may call a tool."""
        found: dict[str, int] = {}
        self.launchers = {}
        for name, bindings in self.tree.bindings.items():
            kind, definition = 0, None
            for binding in bindings:
                node: ast.AST | None = binding.definition
                if isinstance(binding.value, ast.Lambda) and not binding.steps:
                    node = binding.value
                if isinstance(node, Function | ast.Lambda | ast.ClassDef):
                    kind |= self._flags.get(node, 0) & ~WAITS
                    definition = node
            if kind and (len(bindings) > 1 or not self._is_plain(definition)):
                kind |= OPAQUE
            if kind == READS and isinstance(definition, Function | ast.Lambda):
                self.launchers[name] = definition
            if kind:
                found[name] = kind
        return found

    def _is_plain(self, node: ast.AST | None) -> bool:
        """Whether a function does what its body says when it is called, and changes no outer name."""
        if isinstance(node, ast.Lambda):
            return True
        if not isinstance(node, Function) or node.decorator_list:
            return False
        if self.tree.kinds.keys().isdisjoint(_SPECIAL):
            return True
        return not any(isinstance(inner, _SPECIAL) for inner in ast.walk(node))


def _last_name(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _waits_for_tasks(call: ast.Call) -> bool:
    """Whether a call of `wait` has tasks, as that of `asyncio` and not that of an event."""
    function = call.func
    owner = function.value if isinstance(function, ast.Attribute) else None
    return bool(call.args) and (owner is None or _last_name(owner) == "asyncio")


# --- which names have their values, while results are missing --------------------------------------

MAX_STEPS = 60_000  # nodes that are looked at for one slice: ordinary programs have a few hundred
SILENT = frozenset({"print", "sleep", "display", "show", "pprint"})
"""Functions that compute nothing."""

_PURE = """
capitalize casefold copy count date decode encode endswith format get index isalpha
isdigit isoformat items join keys lower lstrip partition replace rpartition rsplit
rstrip split splitlines startswith strftime strip title total_seconds upper values zfill
"""
_PURE_METHODS = frozenset(_PURE.split())  # methods of plain values that change nothing
_CHANGING_FUNCTIONS = frozenset(
    {"shuffle", "heappush", "heappop", "heapify", "heapreplace", "insort"}
)
_BUILTINS = frozenset(vars(builtins)) - {"next", "setattr", "delattr"}


class Names:
    """The names of a program, by what is known of their values.

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
        """Yield a node and all in it; raises `TooMuch` if the program is more work than it is worth."""
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
        own: set[str] = set()  # names of comprehensions and lambdas in it
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
