"""Functions by where they stand in their source, so that they can be compiled again from it.

A unit is the code of one execution, cut down to the statements that hold the functions which are
kept; the other lines are left empty, so that every function keeps its line.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Literal, NamedTuple

from langchain_ptc.sandbox.language.policy import CompiledCode
from langchain_ptc.sandbox.language.shape import all_nodes, find_private_names
from langchain_ptc.sandbox.worker.stubs import EARLIER_SYNC_FILENAME

EARLIER_FILENAME = "<earlier code>"
Mode = Literal["sync", "async"]
Compile = Callable[[str, frozenset[str]], CompiledCode]
"""Compiles a source by the policy, given private names that it may use without making them."""

_LOCALS = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS


class _EveryName:
    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME: Container[str] = _EveryName()
"""What a part of earlier code may name: the whole has bound it, or it is found missing at run time. The
run-time guards do not depend on it."""


class Place(NamedTuple):
    """Where a function stands in its unit."""

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
    """Of the execution that it comes from: it says what a call of a tool gives in it."""
    private: frozenset[str] = frozenset()
    """Private attribute names that the whole code made, and so may use."""
    codes: dict[Place, CodeType] = field(default_factory=dict)


class Units:
    """The functions that may be kept: those of this execution, and of earlier ones."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[Unit, Place]] = {}

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
        """Return where a function stands; None if no code of this session has defined it."""
        return self._places.get(id(function.__code__))


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Every code object in `code` that a `def` or a `lambda` has made, in order of the source.

    No others: the body of a comprehension must not be called with what is no iterator.
    """
    for const in code.co_consts:
        if isinstance(const, CodeType):
            plain = const.co_name == "<lambda>" or not const.co_name.startswith("<")
            if plain and const.co_flags & _LOCALS == _LOCALS:
                yield const
            yield from _functions(const)


def compile_unit(unit: Unit, units: Units, compile_source: Compile) -> None:
    """Compile a unit of an earlier execution.

    Raises:
        CodeError: The policy does not accept it.
    """
    compiled = compile_source(unit.source, unit.private)
    name = EARLIER_SYNC_FILENAME if unit.mode == "sync" else EARLIER_FILENAME
    units.add(unit, _renamed(compiled.code, name))


def _renamed(code: CodeType, filename: str) -> CodeType:
    consts = tuple(
        _renamed(const, filename) if isinstance(const, CodeType) else const
        for const in code.co_consts
    )
    return code.replace(co_filename=filename, co_consts=consts)


def cut_unit(unit: Unit, places: Iterable[Place]) -> Unit:
    """Return the unit with nothing but the statements in which `places` stand."""
    lines = {place.line for place in places}
    try:
        tree = ast.parse(unit.source)
        private = find_private_names(all_nodes(tree))[0] | unit.private
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ):  # there is less stack than before
        return unit
    spans: list[tuple[int, int, bool]] = []
    for node in tree.body:
        start, end = _span(node)
        wanted = _is_future(node) or not lines.isdisjoint(range(start, end + 1))
        if spans and start <= spans[-1][1]:  # on one line with the statement before it
            before = spans.pop()
            start, end, wanted = before[0], max(end, before[1]), wanted or before[2]
        spans.append((start, end, wanted))
    kept = {line for start, end, wanted in spans if wanted for line in range(start, end + 1)}
    text = unit.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    source = "\n".join([line if number in kept else "" for number, line in enumerate(text, 1)])
    return Unit(source.rstrip("\n") + "\n", unit.mode, private)


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return first, node.end_lineno or node.lineno


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
