"""What a function can reach: through closures, attributes, containers, and the globals that it names."""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool

MAX_OBJECTS = 5_000
"""The nearest objects are visited first."""
MAX_PARTS = 2_000
"""A larger collection is taken for data, and not entered."""
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range, type(...)})
_CLOSED = (BaseTool, BaseLanguageModel, BaseMessage, CodeType, FrameType, ModuleType)
"""Classes whose objects are reached, but not entered."""
_CLOSED_PACKAGES = frozenset(
    {"_asyncio", "_thread", "asyncio", "concurrent", "langchain_ptc", "langgraph", "langsmith"}
    | {"logging", "multiprocessing", "socket", "ssl", "threading"}
)
"""Nor are objects of their classes entered: graphs and what runs them guard only their own calls."""
_LANGCHAIN = frozenset({"langchain", "langchain_core"})
_MAKING = frozenset({"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"})


class Reach:
    """What some functions can reach, nearest first. Nothing is called.

    A function reaches its closure, its defaults and the globals that it names; an object reaches its
    attributes, and those functions of its class that a reached function names.

    Args:
        roots: The functions.
    """

    def __init__(self, roots: Iterable[object]) -> None:
        self.names: set[str] = set()
        """Names in the code of the reached functions."""
        self._queue = deque(roots)
        self._seen: dict[int, object] = {}
        self._classes: dict[type, set[str]] = {}

    def __iter__(self) -> Iterator[Any]:
        while self._queue or self._is_refilled():
            value = self._queue.popleft()
            if type(value) in _ATOMS or id(value) in self._seen:
                continue
            if len(self._seen) == MAX_OBJECTS:
                return
            self._seen[id(value)] = value
            yield value
            self._enter(value)

    def _is_refilled(self) -> bool:
        """Queue what the names reach that were found since; return whether there is anything."""
        for kind, entered in self._classes.items():
            self._queue.extend(self._named_in(kind, entered))
        return bool(self._queue)

    def _enter(self, value: Any) -> None:
        kind = type(value)  # an object may claim any `__class__`
        if kind is FunctionType:
            self._queue.extend(self._of_function(value))
        elif issubclass(kind, type):
            self._enter_class(value)
        elif not issubclass(kind, _CLOSED) and _package(kind.__module__) not in _CLOSED_PACKAGES:
            parts = gc.get_referents(value)
            if len(parts) <= MAX_PARTS:
                self._queue.extend(part for part in parts if part is not kind)
            self._enter_class(kind)

    def _enter_class(self, kind: type) -> None:
        for one in kind.__mro__:
            if not _is_of_library(one):
                self._classes.setdefault(one, set())

    def _named_in(self, kind: type, entered: set[str]) -> Iterator[object]:
        """Return what of a class was not entered yet: its data, and functions whose names were found."""
        for name, value in [*vars(kind).items()]:
            is_special = name[:2] == "__"
            is_used = callable(value) and name not in _MAKING if is_special else name in self.names
            if name not in entered and (is_used or not (is_special or _is_function(value))):
                entered.add(name)
                yield value

    def _of_function(self, function: FunctionType) -> Iterator[object]:
        for cell in function.__closure__ or ():
            yield from gc.get_referents(cell)
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))
        if not _is_library(_package(function.__globals__.get("__name__"))):
            for names in _names_of(function.__code__):
                self.names.update(names)
                values = [function.__globals__[n] for n in names if n in function.__globals__]
                yield from values
                for module in values:
                    if issubclass(type(module), ModuleType):
                        yield from (vars(module)[n] for n in names if n in vars(module))


def _names_of(code: CodeType) -> Iterator[tuple[str, ...]]:
    """Return the names of globals and attributes in a code and in those inside of it."""
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def _is_function(value: object) -> bool:
    return callable(value) or issubclass(type(value), property | classmethod | staticmethod)


def _package(module: object) -> str:
    return str(module).partition(".")[0]


def _is_of_library(kind: type) -> bool:
    """Whether a class is defined by a library itself, and not created by one of its functions."""
    module = sys.modules.get(kind.__module__, sys)
    return vars(module).get(kind.__name__) is kind and _is_library(_package(kind.__module__))


@functools.cache
def _is_library(package: str) -> bool:
    """Whether the code of a package cannot refer to a user's middleware.

    That is so for LangChain itself, and for every installed package that does not use it.
    """
    if package in _CLOSED_PACKAGES or package in _LANGCHAIN or package in sys.stdlib_module_names:
        return True
    if "-packages" not in str(getattr(sys.modules.get(package), "__file__", "")):
        return False
    modules = [m for name, m in [*sys.modules.items()] if _package(name) == package]
    named = (_package(_module_of(value)) for m in modules for value in [*vars(m).values()])
    return _LANGCHAIN.isdisjoint(named)


def _module_of(value: Any) -> object:
    kind = type(value)
    if issubclass(kind, ModuleType):
        return value.__name__
    return value.__module__ if issubclass(kind, type) or kind is FunctionType else kind.__module__
