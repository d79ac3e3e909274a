"""The values of the expressions of one program, and what can be done with them. Pure; nothing is run.

A name has the value that every place which binds it gives it, in whatever order they run; where they
differ it is `Unknown`, which makes no claim.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_ptc.catalog.stubs import group, render_type
from langchain_ptc.catalog.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    NONE,
    STR,
    VALUE_TYPES,
    Alternatives,
    Choice,
    Container,
    Named,
    RecordRef,
    RecordType,
    TypeTree,
    container,
    union,
)
from langchain_ptc.check.program import Facts, OutOfWork, Program, Work
from langchain_ptc.errors import closest, did_you_mean, with_article
from langchain_ptc.sandbox.language.scopes import AUGMENTED, Binding, Function, Scope, find_implied

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog
    from langchain_ptc.catalog.definition import ToolDefinition

MAX_NAME_CHARS = 80
_MAX_SHOWN_CHARS = 60
_MAX_KEYS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """One problem."""

    node: ast.AST  # the node that it is at
    message: str
    errors: tuple[str, ...] = ()  # the exceptions that may be raised
    definition: ToolDefinition | None = None  # the tool whose signature helps
    module: str = ""  # the module that is missing in the sandbox


# --- values ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolValue:
    """A tool: the stub itself, not called. There is one for each tool, compared by identity."""

    definition: ToolDefinition


@dataclass(frozen=True, slots=True)
class ModuleValue:
    """A module: `tools`, `tools.<domain>`, or one of the standard library."""

    name: str


@dataclass(frozen=True, slots=True)
class LibraryValue:
    """Something of the standard library or a builtin, by its dotted name: `asyncio.gather`, `len`."""

    name: str


@dataclass(frozen=True, slots=True)
class FunctionValue:
    """A function that the code defines."""

    node: ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Data:
    """A plain value of a type."""

    tree: TypeTree
    tool: ToolValue | None = None  # the tool that returned it, whose records the type names

    @property
    def definition(self) -> ToolDefinition | None:
        """The tool that returned it; None for values of the code's own."""
        return None if self.tool is None else self.tool.definition


@dataclass(frozen=True, slots=True)
class Pending:
    """An awaitable, and its result."""

    value: Value
    source: str  # the call that returned it, for messages
    tool: ToolValue | None = None  # the tool that it calls; None for a function of the code's own
    is_task: bool = False  # whether it is a task or future, which has attributes of its own

    @property
    def definition(self) -> ToolDefinition | None:
        """The tool that it calls; None for a function of the code's own."""
        return None if self.tool is None else self.tool.definition


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A list or tuple whose items are known."""

    values: tuple[Value, ...]  # the value at each position, or one value for all items
    is_each: bool = False  # whether there is one value for all items
    is_tuple: bool = False

    @property
    def kind(self) -> str:
        """Its type in words."""
        return "a tuple" if self.is_tuple else "a list"

    def every(self) -> Value:
        """Return the common value of the items."""
        return common(self.values)


Value: TypeAlias = (
    Unknown | ToolValue | ModuleValue | LibraryValue | FunctionValue | Data | Pending | Items
)
UNKNOWN = Unknown()
LIST = container("list", ANY)
DICT = container("dict", ANY, ANY)
SET = container("set", ANY)


def common(values: Iterable[Value]) -> Value:
    """Return the value if all are equal; unknown if they differ, or if there are none."""
    found = iter(values)
    first = next(found, UNKNOWN)
    return first if all(value == first for value in found) else UNKNOWN


def data(tree: TypeTree, tool: ToolValue | None = None) -> Value:
    """Return a value of a type; the type names records of `tool`."""
    return UNKNOWN if tree == ANY else Data(tree, tool)


# --- what can be done with data -------------------------------------------------------------------

Answer: TypeAlias = TypeTree | str | None  # None if it is not certain, or why it fails
_TYPES: Mapping[str, type] = {
    kind.__name__: kind for kind in (str, int, float, bool, list, tuple, set, frozenset, dict)
} | {"None": type(None)}


def describe(tree: TypeTree, definition: ToolDefinition | None) -> str:
    """Return the type as the stubs write it."""
    if definition is None:
        return render_type(tree, {})
    [stubs] = group([definition])
    return render_type(tree, stubs.names[definition.name])


def shown(node: ast.AST) -> str:
    """Return a short expression as text; an empty string for a long one."""
    start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
    one_line = getattr(node, "lineno", 0) == getattr(node, "end_lineno", -1)
    if not one_line or end is None or end - start > 2 * _MAX_SHOWN_CHARS:
        return ""
    text = ast.unparse(node)
    return text if len(text) <= _MAX_SHOWN_CHARS else ""


def kind_of(tree: TypeTree) -> str | None:
    """Return the Python type of the values of `tree`, `record`, or None if it is not certain; a `float` is any number."""
    if isinstance(tree, RecordRef):
        return "record"
    if isinstance(tree, Choice):
        kinds = {type(value).__name__ for value in tree.values}
        return kinds.pop() if len(kinds) == 1 and kinds <= _TYPES.keys() else None
    return tree.name if isinstance(tree, Named | Container) and tree.name in _TYPES else None


def is_closed(record: RecordType) -> bool:
    """Whether a record has only the keys of its fields; one of a JSON Schema, or with `extra="allow"`, may have more."""
    return record.key.startswith("output:") and "#" not in record.key


@dataclass(frozen=True, slots=True)
class Shapes:
    """The operations on the values of one program."""

    facts: Facts

    def subscript(self, value: Value, key: ast.expr) -> Answer:
        """Return the type of `value[key]`."""
        if isinstance(value, Items) and isinstance(getattr(key, "value", None), str):
            return f"is {value.kind}: its items have positions, not keys"
        return _each(value, lambda tree, tool: self._subscript(tree, key, tool))

    def attribute(self, value: Value, name: str) -> Answer:
        """Return the type of `value.name`."""
        if name.startswith("__"):
            return None
        return _each(value, lambda tree, tool: self._attribute(tree, name, tool))

    def _field(self, tree: RecordRef, name: str, definition: ToolDefinition, what: str) -> Answer:
        if self.facts.open_records or name in self.facts.stored:
            return None
        record = definition.record(tree)
        fields = {field.name: field.type for field in record.fields}
        if name in fields or not is_closed(record):
            return fields.get(name)
        keys = ", ".join(map(repr, [*fields][:_MAX_KEYS])) + (", …" * (len(fields) > _MAX_KEYS))
        return f"has no {what} {name!r}{did_you_mean(closest(name, fields))}; it is a record with the keys {keys}"

    def _subscript(
        self, tree: TypeTree, key: ast.expr, definition: ToolDefinition | None
    ) -> Answer:
        constant = key.value if isinstance(key, ast.Constant) else None
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            if definition is None:
                return None
            if isinstance(constant, str):
                return self._field(tree, constant, definition, "key")
            is_list = (
                _is_position(key)
                and not self.facts.open_records
                and is_closed(definition.record(tree))
            )
            return "is a record, not a list: its keys are names" if is_list else None
        if kind is not None and not hasattr(_TYPES[kind], "__getitem__"):
            return f"is {with_article(kind)}: it has no items by position or key"
        if isinstance(tree, Container):
            changed = tree.name == "dict" and (
                self.facts.open_records or constant in self.facts.stored
            )
            return None if changed else _subscript_container(tree, key, constant)
        if kind == "str":
            return "is a str: it has no keys" if isinstance(constant, str) else STR
        return None

    def _attribute(self, tree: TypeTree, name: str, definition: ToolDefinition | None) -> Answer:
        kind = kind_of(tree)
        if isinstance(tree, RecordRef):
            known = definition is None or hasattr(dict, name)
            return None if known else self._field(tree, name, definition, "attribute")  # type: ignore[arg-type]
        if kind is None or kind == "dict" or name in self.facts.stored:
            return None
        own = (int, float) if kind in ("int", "float", "bool") else (_TYPES[kind],)
        if any(hasattr(known, name) for known in own):
            return None
        has_items = kind != "str" and hasattr(_TYPES[kind], "__iter__")
        loop = ", whose items have it perhaps: use a loop" if has_items else ""
        return f"is {with_article(kind)}{loop}; it has no attribute {name!r}"


def awaited(value: Value) -> Answer:
    """Return why the value cannot be awaited; None if it may be."""
    if isinstance(value, Items):
        of_calls = isinstance(value.every(), Pending)
        advice = "write `asyncio.gather(*...)`" if of_calls else "remove `await`"
        return f"is {value.kind}, which cannot be awaited: {advice}"
    if isinstance(value, ToolValue):
        return f"is not called: write `await {value.definition.name}(...)`"
    return "cannot be awaited: use it as it is" if isinstance(value, Data) else None


def iterate(value: Value) -> Answer:
    """Return the type of the items of a loop over the value."""
    return _each(value, lambda tree, _: _iterate(tree))


def parse(value: Value) -> Answer:
    """Return why the value cannot be parsed as JSON text; None if it may be."""
    is_data = "is data already: use it as it is, without json.loads()"
    return _each(value, lambda tree, _: None if kind_of(tree) in (None, "str") else is_data)


def _each(value: Value, answer: Callable[[TypeTree, ToolDefinition | None], Answer]) -> Answer:
    if not isinstance(value, Data):
        return None
    options = value.tree.options if isinstance(value.tree, Alternatives) else (value.tree,)
    answers = [answer(option, value.definition) for option in options]
    good = [found for found in answers if not isinstance(found, str)]
    known = [found for found in good if found is not None]
    if not good:
        return answers[0]
    return union(known) if len(known) == len(good) else None


def _iterate(tree: TypeTree) -> Answer:
    kind = kind_of(tree)
    if kind in ("record", "str"):
        return STR
    if kind is not None and not hasattr(_TYPES[kind], "__iter__"):
        return f"is {with_article(kind)}: it cannot be iterated over"
    if isinstance(tree, Container) and tree.args:
        return tree.args[0] if len(tree.args) == 1 or tree.name == "dict" else union(tree.args)
    return None


def _subscript_container(tree: Container, key: ast.expr, constant: object) -> Answer:
    if tree.name == "dict":
        return tree.args[1]
    if isinstance(constant, str):
        advice = "its items have positions, not keys; take an item first, or use a loop"
        return f"is a {tree.name.lower()}: {advice}"
    if isinstance(key, ast.Slice):
        return tree if tree.name == "list" else None
    if tree.name == "tuple" and not tree.variadic:
        inside = isinstance(constant, int) and 0 <= constant < len(tree.args)
        return tree.args[constant] if isinstance(constant, int) and inside else None
    return tree.args[0] if tree.args else None


def _is_position(key: ast.expr) -> bool:
    if isinstance(key, ast.UnaryOp) and isinstance(key.op, ast.USub):
        key = key.operand
    return isinstance(key, ast.Slice) or (isinstance(key, ast.Constant) and type(key.value) is int)


# --- the values of a program -------------------------------------------------------------------------

_GIVEN = frozenset({"ToolCallError", "show", "search_tools", "describe", "list_domains"})
"""Names that the sandbox provides to every program besides the tools."""
_BUILTINS = frozenset(dir(builtins)) | {
    *("exit", "quit", "copyright", "credits", "license", "help", "reload", "__name__", "__file__"),
    *("__doc__", "__annotations__", "__class__", "__path__", "display", "reveal_type"),
    *("__builtins__", "PythonFinalizationError", "_"),
}
_TASKS = frozenset({"asyncio.create_task", "asyncio.ensure_future", "asyncio.shield"})
_RESULTS: Mapping[str, TypeTree] = {
    **dict.fromkeys(("str", "repr", "json.dumps", "format", "ascii"), STR),
    "len": INT,
    "int": INT,
    "float": FLOAT,
    "bool": BOOL,
    "print": NONE,
}
"""The result types of library functions, for any arguments."""
_DISPLAYS: Mapping[type[ast.AST], TypeTree] = {
    **dict.fromkeys((ast.Dict, ast.DictComp), DICT),
    **dict.fromkeys((ast.Set, ast.SetComp), SET),
    ast.JoinedStr: STR,
}
_CONSTANTS = {kind: Data(tree) for kind, tree in VALUE_TYPES.items()}
_LISTS = frozenset({"list", "sorted", "tuple", "reversed"})


class CatalogNames:
    """The names that the programs of a catalog have from their start; computed once for a catalog."""

    def __init__(self, catalog: ToolCatalog) -> None:
        self.catalog = catalog
        self.domains = frozenset(catalog.domains)
        bare = [name.rpartition(".")[2] for name in catalog.type_names]
        self.types = frozenset(catalog.type_names)
        self.bare_types = frozenset(bare)
        self.tools = {d.qualified_name: ToolValue(d) for d in catalog.callables}
        bare += [tool.definition.name for tool in self.tools.values()]
        self.shared = {name for name, count in Counter(bare).items() if count > 1}
        """Names that need the domain before them."""
        self.bare: dict[str, ToolValue | ModuleValue] = {"tools": ModuleValue("tools")}
        """The tools that need no domain before their name, and the domains themselves."""
        for tool in self.tools.values():
            name, domain = tool.definition.name, tool.definition.domain
            if domain is None or name not in self.shared | self.domains:
                self.bare[name] = tool
        self.bare.update((domain, ModuleValue(f"tools.{domain}")) for domain in self.domains)
        self.known = _BUILTINS | _GIVEN | self.bare_types | self.bare.keys()
        """Every name that needs no binding."""


class Given:
    """The names that a program has from its start: of its catalog, its modules, and its session if that is known."""

    def __init__(
        self,
        names: CatalogNames,
        program: Program,
        modules: Collection[str] = (),
        kept: Collection[str] | None = (),
    ) -> None:
        self.names = names
        self.catalog = names.catalog
        self.implied = find_implied(program, modules)
        self.kept = kept

    def bare(self, name: str) -> Value | None:
        """Return the value of a name that nothing binds, or None if there is no such name."""
        names = self.names
        if self.kept is None or name in self.kept:
            return UNKNOWN
        if name in names.bare:
            return names.bare[name]
        if name in _GIVEN or name in names.bare_types:
            return UNKNOWN
        if name in _BUILTINS:
            return LibraryValue(name)
        path = self.implied.get(name)
        if path is None:
            return None
        return LibraryValue(path) if path == f"{name}.{name}" else ModuleValue(path)

    def shared_by(self, name: str) -> list[str]:
        """Return the domains of the tools of this name, if it needs a domain."""
        if name not in self.names.shared or isinstance(self.names.bare.get(name), ToolValue):
            return []
        return [d.domain for d in self.catalog if d.name == name and d.domain is not None]

    def member(self, module: str, name: str) -> Value | None:
        """Return the value of `name` in `tools` or `tools.<domain>`, or None if there is none."""
        names, domain = self.names, module.partition(".")[2]
        qualified = f"{domain}.{name}" if domain else name
        value = names.tools.get(qualified) or (None if domain else names.bare.get(name))
        if value is not None:
            return value
        types = names.types if domain else names.bare_types
        return UNKNOWN if name.startswith("_") or name in _GIVEN or qualified in types else None

    def is_module(self, name: str) -> bool:
        """Whether `name` is `tools` or `tools.<domain>` with tools in it."""
        return name == "tools" or name.removeprefix("tools.") in self.names.domains


class Inference:
    """The values of the expressions of one program."""

    def __init__(self, program: Program, facts: Facts, given: Given, work: Work) -> None:
        self.program = program
        self.facts = facts
        self.given = given
        self.work = work
        self.shapes = Shapes(facts)
        self._own: dict[ast.AST, list[ast.AST]] = {}
        self._known: dict[ast.AST, Value] = {}
        self._names: dict[tuple[Scope, str], Value] = {}
        self._returns: dict[ast.AST, Value] = {}

    def infer(self, node: ast.expr) -> Value:
        """Return the value of `node`."""
        self.work.left -= 1  # as `spend` does: this is called most
        if self.work.left < 0:
            raise OutOfWork
        if node in self._known:
            return self._known[node]
        kind = type(node)
        if kind not in _INFERENCES:
            return data(_DISPLAYS.get(kind, ANY))
        self._known[node] = UNKNOWN  # what depends on itself is not known
        known = self._known[node] = _INFERENCES[kind](self, node)
        return known

    # --- names ----------------------------------------------------------------------------------

    def is_bound(self, node: ast.Name) -> bool:
        """Whether the code gives the name a value: `x += 1` alone does not."""
        scope = self.program.resolve(node)
        return scope is not None and any(b is not AUGMENTED for b in scope.bindings[node.id])

    def is_hidden(self, node: ast.Name) -> bool:
        """Whether the name is not evaluated, or an `import *` may have given it to the code."""
        if not self.program.has_hidden:
            return False
        return any(s.has_star or s.is_deferred for s in self.program.scope_of[node].outward())

    def _name(self, node: ast.Name) -> Value:
        scope = self.program.resolve(node)
        if scope is None:
            return UNKNOWN if self.is_hidden(node) else self.given.bare(node.id) or UNKNOWN
        key = (scope, node.id)
        if key not in self._names:
            self._names[key] = UNKNOWN
            self._names[key] = self._bound_in(scope, node.id)
        return self._names[key]

    def _bound_in(self, scope: Scope, name: str) -> Value:
        """Return the value of a name, without what the code may have changed or tested."""
        if name in self.facts.opaque:
            return UNKNOWN
        self.work.spend(len(scope.bindings[name]))
        found = list(map(self._bound, scope.bindings[name]))
        given = self.given.names.bare.get(name) if scope.parent is None else None
        if given is not None:  # until the code binds the name
            found.append(given)
        if name in self.facts.tested:  # there it may be known not to be None
            found = [v for v in found if not (isinstance(v, Data) and v.tree == NONE)]
        return common(map(_loosen, found) if name in self.facts.changed else found)

    def _bound(self, binding: Binding) -> Value:
        if isinstance(binding.definition, Function):
            return FunctionValue(binding.definition)
        if binding.alias is not None:
            return self._imported(binding.definition, binding.alias)
        if binding.value is None:
            return UNKNOWN
        value = self.infer(binding.value)
        for step in binding.steps:
            value = self._item(value, step if isinstance(step, int) else None)
        return value

    def _imported(self, node: ast.AST | None, alias: ast.alias) -> Value:
        if not isinstance(node, ast.ImportFrom):
            whole = alias.asname is not None
            return ModuleValue(alias.name if whole else alias.name.partition(".")[0])
        module = node.module or ""
        if node.level:
            return UNKNOWN
        if self.given.is_module(module):
            return self.given.member(module, alias.name) or UNKNOWN
        return LibraryValue(f"{module}.{alias.name}")

    # --- parts of values ------------------------------------------------------------------------

    def _item(self, value: Value, position: int | None = None) -> Value:
        """Return the value of the item at `position`, or of every item."""
        if isinstance(value, Items):
            if position is not None and not value.is_each:
                return value.values[position] if position < len(value.values) else UNKNOWN
            self.work.spend(len(value.values))
            return value.every()
        if not isinstance(value, Data):
            return UNKNOWN
        is_tuple = isinstance(value.tree, Container) and value.tree.name == "tuple"
        if position is not None and is_tuple:
            return _answer(self.shapes.subscript(value, ast.Constant(position)), value)
        return _answer(iterate(value), value)

    def _each(self, node: ast.expr) -> Value:
        return self._item(self.infer(node))

    # --- expressions ----------------------------------------------------------------------------

    def _list(self, node: ast.List | ast.Tuple) -> Value:
        is_tuple = isinstance(node, ast.Tuple)
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return UNKNOWN if is_tuple else Data(LIST)
        return Items(tuple(map(self.infer, node.elts)), is_tuple=is_tuple)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> Value:
        if isinstance(node, ast.GeneratorExp):
            waits = any(isinstance(part, ast.Await) for part in ast.walk(node.elt))
            if waits or any(g.is_async for g in node.generators):
                return UNKNOWN
        return _iterator(self.infer(node.elt))

    def _attribute(self, node: ast.Attribute) -> Value:
        value = self.infer(node.value)
        if isinstance(value, ModuleValue):
            if self.given.is_module(value.name):
                return self.given.member(value.name, node.attr) or UNKNOWN
            return LibraryValue(f"{value.name}.{node.attr}")
        if not isinstance(value, Data):
            return UNKNOWN
        return _answer(self.shapes.attribute(value, node.attr), value)

    def _subscript(self, node: ast.Subscript) -> Value:
        value, key = self.infer(node.value), node.slice
        if isinstance(value, Data):
            return _answer(self.shapes.subscript(value, key), value)
        if not isinstance(value, Items):
            return UNKNOWN
        if isinstance(key, ast.Slice):
            return _iterator(value.every(), is_tuple=value.is_tuple)
        position = key.value if isinstance(key, ast.Constant) else None
        known = isinstance(position, int) and position >= 0
        return self._item(value, position if known else None)  # type: ignore[arg-type]

    # --- calls ----------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Value:
        value = self.infer(node.func)
        if isinstance(value, ToolValue):
            result = data(self.given.catalog.certain_returns(value.definition), value)
            source = f"{value.definition.name}()"
            return Pending(result, source, value) if self.program.is_async else result
        if isinstance(value, FunctionValue):
            return self._call_function(value.node)
        if isinstance(value, LibraryValue):
            return self._call_library(value.name, node)
        return UNKNOWN

    def _call_function(self, node: Function) -> Value:
        if node.decorator_list or node not in self.program.scopes:
            return UNKNOWN
        if node not in self._returns:
            self._returns[node] = UNKNOWN
            self._returns[node] = self._returned(node)
        value = self._returns[node]
        if isinstance(node, ast.AsyncFunctionDef):
            return UNKNOWN if self._is_generator(node) else Pending(value, f"{node.name}()")
        return value

    def _returned(self, node: Function) -> Value:
        if self._is_generator(node):
            return UNKNOWN
        returns = [found for found in self._inside(node) if isinstance(found, ast.Return)]
        values = [self.infer(r.value) if r.value else Data(NONE) for r in returns]
        falls_off = not isinstance(node.body[-1], ast.Return)
        return common([*values, Data(NONE)] if falls_off else values)

    def _is_generator(self, node: Function) -> bool:
        return any(isinstance(found, ast.Yield | ast.YieldFrom) for found in self._inside(node))

    def _inside(self, node: Function) -> list[ast.AST]:
        """Return each `return` and `yield` of a function that is not in another one."""
        if node not in self._own:
            found: list[ast.AST] = list(node.body)
            for part in found:
                if not isinstance(part, Function | ast.Lambda | ast.ClassDef):
                    found.extend(ast.iter_child_nodes(part))
            kinds = ast.Return | ast.Yield | ast.YieldFrom
            self._own[node] = [part for part in found if isinstance(part, kinds)]
        self.work.spend(1 + len(self._own[node]))
        return self._own[node]

    def _call_library(self, name: str, node: ast.Call) -> Value:
        if any(keyword.arg is None for keyword in node.keywords):
            return UNKNOWN
        if name == "asyncio.gather":
            return Pending(self._gathered(node), "asyncio.gather()", is_task=True)
        if name in _RESULTS:
            return Data(_RESULTS[name])
        if not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
            return UNKNOWN
        first = node.args[0]
        if name in _TASKS:
            task = self.infer(first)
            return replace(task, is_task=True) if isinstance(task, Pending) else UNKNOWN
        if name == "asyncio.wait_for":
            return self.infer(first)
        if name == "asyncio.run":
            return _settled(self.infer(first))
        if name in _LISTS:
            return _iterator(self._each(first))
        if name == "enumerate":
            return _iterator(Items((Data(INT), self._each(first)), is_tuple=True))
        if name == "zip":
            return _iterator(Items(tuple(map(self._each, node.args)), is_tuple=True))
        if name in ("max", "min") and len(node.args) == 1:
            default = [self.infer(k.value) for k in node.keywords if k.arg == "default"]
            return common([self._each(first), *default])
        return UNKNOWN

    def _gathered(self, node: ast.Call) -> Value:
        if node.keywords:  # return_exceptions: results and exceptions
            return UNKNOWN
        found = [
            _settled(self._each(a.value) if isinstance(a, ast.Starred) else self.infer(a))
            for a in node.args
        ]
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            return _iterator(common(found))
        return Items(tuple(found))


_INFERENCES: Mapping[type[ast.AST], Callable[[Inference, Any], Value]] = {
    ast.Name: Inference._name,
    ast.Constant: lambda _, node: _CONSTANTS.get(type(node.value), UNKNOWN),
    ast.List: Inference._list,
    ast.Tuple: Inference._list,
    ast.ListComp: Inference._comprehension,
    ast.GeneratorExp: Inference._comprehension,
    ast.IfExp: lambda own, node: common((own.infer(node.body), own.infer(node.orelse))),
    ast.BoolOp: lambda own, node: common(map(own.infer, node.values)),
    ast.NamedExpr: lambda own, node: own.infer(node.value),
    ast.Await: lambda own, node: _settled(own.infer(node.value)),
    ast.Attribute: Inference._attribute,
    ast.Subscript: Inference._subscript,
    ast.Call: Inference._call,
}


def _iterator(item: Value, *, is_tuple: bool = False) -> Items:
    return Items((item,), is_each=True, is_tuple=is_tuple)


def _settled(value: Value) -> Value:
    return value.value if isinstance(value, Pending) else UNKNOWN


def _loosen(value: Value) -> Value:
    """Forget the items of a container that the code changes."""
    if isinstance(value, Items):
        return UNKNOWN if value.is_tuple else Data(LIST)
    if isinstance(value, Data):
        name = getattr(value.tree, "name", "")
        loose: dict[str, TypeTree] = {"list": LIST, "dict": DICT, "set": SET}
        return Data(loose.get(name, value.tree), value.tool)
    return value


def _answer(answer: Answer, like: Value) -> Value:
    known = isinstance(like, Data) and answer is not None and not isinstance(answer, str)
    return data(answer, like.tool) if known else UNKNOWN  # type: ignore[union-attr, arg-type]
