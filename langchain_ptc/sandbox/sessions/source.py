"""What is kept by its source or by its name: functions of the code, and what it has from modules.

A unit is the code of one execution, cut down to the statements that hold the functions which are
kept; the other lines are left empty, so that every function keeps its line. It is compiled again by
the policy, each time.
"""

from __future__ import annotations

import array
import ast
import collections.abc
import functools
import inspect
import io
import operator
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal, NamedTuple

from langchain_ptc.errors import ToolCallError
from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.modules import ModuleLoader
from langchain_ptc.sandbox.language.policy import CompiledCode
from langchain_ptc.sandbox.language.scopes import SyntaxTree, find_private_names
from langchain_ptc.sandbox.wire.values import AttrDict

EARLIER_FILENAME = "<earlier code>"
EARLIER_SYNC_FILENAME = "<earlier code without await>"
"""Of functions that a session has kept from code without any `await`: a call of a tool gives them its
value, also where the code that calls them awaits."""
Mode = Literal["sync", "async"]
Compile = Callable[[str, frozenset[str]], CompiledCode]
"""Compiles source under the policy, with private names that it may use without defining them."""

_LOCALS = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS


class _EveryName:
    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME: Container[str] = _EveryName()
"""What a part of earlier code may name: the whole has bound it, or it is found missing at run time. The
run-time guards do not depend on it."""


class Place(NamedTuple):
    """The place of a function in its unit."""

    name: str
    line: int
    """Line at which it begins, its decorators included."""
    number: int
    """Its number among the functions of this name on this line."""


@dataclass(slots=True, eq=False)
class Unit:
    """Source that defines functions."""

    source: str
    mode: Mode
    """Of the execution that it comes from: whether calls of tools return awaitables or values."""
    private: frozenset[str] = frozenset()
    """Private attribute names that the whole code made, and so may use."""
    codes: dict[Place, CodeType] = field(default_factory=dict)


class Units:
    """The functions that may be kept: those of this execution, and of earlier ones."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[Unit, Place]] = {}
        self.used: dict[Unit, dict[Place, None]] = {}
        """The functions that were written, by unit."""

    def add(self, unit: Unit, code: CodeType) -> None:
        """Take in the functions of a unit.

        Args:
            unit: The unit; it is given its code objects.
            code: What its source was compiled to.
        """
        counts: dict[tuple[str, int], int] = {}
        for found in _functions(code):
            key = found.co_name, found.co_firstlineno
            place = Place(*key, counts.get(key, 0))
            counts[key] = place.number + 1
            unit.codes[place] = found
            self._places[id(found)] = unit, place

    def find(self, function: FunctionType) -> tuple[Unit, Place] | None:
        """Return the place of a function; None if no code of this session has defined it."""
        return self._places.get(id(function.__code__))

    def use(self, function: FunctionType) -> tuple[int, str, int, int] | None:
        """Return the number of a function's unit, and its place; None as `find`."""
        if (found := self.find(function)) is None:
            return None
        unit, place = found
        self.used.setdefault(unit, {})[place] = None
        return list(self.used).index(unit), *place

    def compile(self, unit: Unit, compile_source: Compile) -> None:
        """Compile a unit of an earlier execution, and take in its functions.

        Raises:
            CodeError: The policy does not accept it.
        """
        compiled = compile_source(unit.source, unit.private)
        name = EARLIER_SYNC_FILENAME if unit.mode == "sync" else EARLIER_FILENAME
        self.add(unit, _renamed(compiled.code, name))


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Every code object in `code` that a `def` or a `lambda` has made, in order of the source.

    No others: the body of a comprehension must only be called with an iterator.
    """
    for const in code.co_consts:
        if isinstance(const, CodeType):
            plain = const.co_name == "<lambda>" or not const.co_name.startswith("<")
            if plain and const.co_flags & _LOCALS == _LOCALS:
                yield const
            yield from _functions(const)


def _renamed(code: CodeType, filename: str) -> CodeType:
    consts = tuple(
        _renamed(const, filename) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )
    return code.replace(co_filename=filename, co_consts=consts)


def cut_unit(unit: Unit, places: Iterable[Place]) -> Unit:
    """Return the unit with only the statements that contain `places`."""
    lines = {place.line for place in places}
    try:
        tree = ast.parse(unit.source)
        private = find_private_names(SyntaxTree(tree)) | unit.private
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # there is less stack than before
        return unit
    spans: list[tuple[int, int, bool]] = []
    for node in tree.body:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        end = node.end_lineno or node.lineno
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        wanted = is_future or not lines.isdisjoint(range(start, end + 1))
        if spans and start <= spans[-1][1]:  # on one line with the statement before it
            before = spans.pop()
            start, end, wanted = before[0], max(end, before[1]), wanted or before[2]
        spans.append((start, end, wanted))
    kept = {line for start, end, wanted in spans if wanted for line in range(start, end + 1)}
    text = unit.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    source = "\n".join([line if number in kept else "" for number, line in enumerate(text, 1)])
    return Unit(source.rstrip("\n") + "\n", unit.mode, private)


# --- names ----------------------------------------------------------------------------------------

_BUILTINS = "builtins"
_SPECIAL_MODULE = "tools"
_SPECIAL: Mapping[str, object] = {"AttrDict": AttrDict, "ToolCallError": ToolCallError}
"""What the code has without importing it, and the class of the records of tools."""
_ALWAYS = ("typing", "collections.abc", "types", "dataclasses", "enum", "abc")
"""Modules whose names turn up in classes whose code has not imported them."""
_NEVER = frozenset({"__main__", "langchain_ptc", "RestrictedPython"})
_OF_PICKLES: Mapping[tuple[str, str], Any] = {
    (value.__module__, value.__qualname__): value
    for value in (
        *(array._array_reconstructor, re._compile, collections.abc._CallableGenericAlias),  # type: ignore[attr-defined]
        *(functools.reduce, operator.getitem, operator.or_, io.StringIO, io.BytesIO),
    )
}
"""What the standard library has itself pickled by, under the names of its own."""


class Names:
    """Finds what a facade or the builtins hold, both ways.

    Args:
        loader: Gives the program its modules.
        builtins: The `__builtins__` of the code.
        tools: The modules of the tools, which the code has without importing them.
    """

    def __init__(
        self, loader: ModuleLoader, builtins: Mapping[str, object], tools: Mapping[str, ModuleType]
    ) -> None:
        self._loader = loader
        self._tools = tools
        self._builtins = builtins
        self._index: dict[int, tuple[str, str]] | None = None

    def find(self, value: object) -> tuple[str, str] | None:
        """Return the module and the name of `value`, which is "" for the module itself.

        None if the code has it from nowhere.
        """
        if self._index is None:
            self._index = self._build_index()
        return self._index.get(id(value))

    def is_from(self, value: object, module: str) -> bool:
        """Whether the code has `value` from a module that it has imported, or it is that module."""
        if module not in self._loader.built:  # most programs do without an index
            return False
        return (self.find(value) or ("",))[0] == module

    def _build_index(self) -> dict[int, tuple[str, str]]:
        for name in _ALWAYS:
            self._loader.load(name)
        modules = {**self._tools, **dict(sorted(self._loader.built.items()))}
        index = {id(module): (name, "") for name, module in modules.items()}
        index.update((id(value), (_SPECIAL_MODULE, name)) for name, value in _SPECIAL.items())
        places = {_BUILTINS: self._builtins, **{name: vars(m) for name, m in modules.items()}}
        for module, entries in places.items():
            for name, value in entries.items():
                if not name.startswith("_"):
                    index.setdefault(id(value), (module, name))
        return index

    def get(self, module: str, name: str) -> object:
        """Return a name of a module, or the module, as an import statement of the code does.

        Raises:
            ImportError: It is not available.
        """
        if type(module) is not str or type(name) is not str:
            raise ImportError(f"no module has the name {module!r}, or it has no name {name!r}")
        if not name:
            return self._loader.load(module)
        if name.startswith("_") or names.is_refused(name):
            raise ImportError(f"{name!r} is not available in the sandbox")
        if module == _BUILTINS:
            if name in self._builtins:
                return self._builtins[name]
            raise ImportError(f"there is no builtin {name!r}")
        if module == _SPECIAL_MODULE and name in _SPECIAL:
            return _SPECIAL[name]
        try:
            return getattr(self._loader.load(module), name)
        except AttributeError as error:
            raise ImportError(f"cannot import {name!r} from {module!r}: {error}") from None

    def is_of_library(self, value: Any) -> bool:
        """Whether `get_of_library` finds a class or function under its own name."""
        try:
            return self.get_of_library(value.__module__, value.__qualname__) is value
        except (ImportError, AttributeError):
            return False

    def get_of_library(self, module: str, name: str) -> object:
        """Return what a pickle names: of the standard library what the code may import, of others all.

        Only for workers that the kernel confines.

        Raises:
            ImportError: It is not there, or it is a module.
        """
        if (module, name) in _OF_PICKLES:
            return _OF_PICKLES[module, name]
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names:
            return self.get(module, name)
        value: object = sys.modules.get(module)
        if value is None or root in _NEVER:
            raise ImportError(f"module {module!r} is not available in the sandbox")
        for part in name.split("."):
            value = getattr(value, part, None)
            if value is None or isinstance(value, ModuleType):
                raise ImportError(f"cannot import {name!r} from {module!r}")
        return value


class Lost(ValueError):
    """A variable cannot be read; the message says why."""


class Restored:
    """Makes what is kept by its source or by its name.

    Args:
        units: The units of the session.
        known: Gives what is kept by name.
        all_units: Takes in the functions of the units, so that they can be kept again.
        namespace: Globals of the code.
        compile_source: Compiles a unit by the policy.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        known: Names,
        all_units: Units,
        namespace: dict[str, object],
        compile_source: Compile,
    ) -> None:
        self._units = units
        self._all_units = all_units
        self._compile = compile_source
        self.known = known
        self.namespace = namespace

    def name(self, module: Any, name: Any) -> object:
        """Look a name of a module up, or the module, as an import statement does."""
        return self.known.get(module, name)

    def function(self, unit: Any, place: Any, line: Any, number: Any, *names: Any) -> FunctionType:
        """Make a function of its source; `names` are name, qualified name, docstring and cells."""
        source = self._units[unit]
        if not source.codes:
            self._all_units.compile(source, self._compile)
        code = source.codes[Place(place, line, number)]
        if any(n.startswith(".") or n == "__classdict__" for n in code.co_freevars):
            raise ValueError("a function of a kind that is not kept")
        name, qualname, doc, cells = names
        made = FunctionType(code, self.namespace, str(name), None, tuple(cells))
        made.__qualname__, made.__module__, made.__doc__ = str(qualname), "__main__", doc
        return made
