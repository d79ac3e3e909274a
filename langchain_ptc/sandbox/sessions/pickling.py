"""From the variables of the code to a pickle; `reading` is the way back.

What the code has made itself is not left to pickle: a function is a place in its source, a class is
made of checked names, and of an instance its attributes are written. Each of them is in the pickle
a call of a method of `Makers`, which makes what code could have made itself. While variables are
written, nothing is called that code has defined.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import pickle
import types
from collections.abc import Callable, Sequence
from typing import Any

from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import classes
from langchain_ptc.sandbox.sessions.makers import (
    AS_PICKLE_DOES,
    BY_OWN_NAME,
    TAKERS,
    Makers,
    take_made_function,
)
from langchain_ptc.sandbox.sessions.source import Names, Place, Unit, Units
from langchain_ptc.sandbox.wire.values import Record

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


class Unkeepable(Exception):
    """An object cannot be kept.

    Attributes:
        value: The object.
        what: What it is, in the singular and in the plural.
    """

    def __init__(self, value: object, what: tuple[str, str]) -> None:
        super().__init__(what[0])
        self.value = value
        self.what = what


class TooLarge(Exception):
    """A variable alone takes more than all of them may."""


_NAMES_OF_KINDS: Sequence[tuple[type | tuple[type, ...], str, str]] = (
    (types.GeneratorType, "a generator", "generators"),
    (types.AsyncGeneratorType, "an asynchronous generator", "asynchronous generators"),
    (types.CoroutineType, "a coroutine that was not awaited", "coroutines"),
    (asyncio.Task, "a task", "tasks"),
    ((asyncio.Future, concurrent.futures.Future), "a future", "futures"),
)
_NO_CONTENT = "asyncio", "queue", "threading", "_thread", "_queue"
_BOUND = (types.BuiltinMethodType, types.MethodWrapperType)
_IN_CLASS = (
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.WrapperDescriptorType,
)
_NAMED_KINDS = (type, types.FunctionType, *_BOUND, *_IN_CLASS)
"""What pickle writes as a module and a name in it."""


def _package(cls: type) -> str:
    return str(cls.__module__).partition(".")[0]


def refuse(value: object) -> Unkeepable:
    """Build the error that says that `value` cannot be kept."""
    cls = type(value)
    for kind, one, many in _NAMES_OF_KINDS:
        if issubclass(cls, kind):
            return Unkeepable(value, (one, many))
    name = cls.__qualname__
    one = f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name} object"
    if _package(cls) in _NO_CONTENT:
        return Unkeepable(value, (one, "locks, queues and the like"))
    if hasattr(cls, "__next__"):
        return Unkeepable(value, (f"an open iterator ({name})", "open iterators"))
    if isinstance(value, types.FunctionType):
        one = f"the function {value.__name__!r}, which the code has not defined"
        return Unkeepable(value, (one, "such functions"))
    if isinstance(value, type):
        return Unkeepable(value, (f"the class {value.__name__!r}", "such classes"))
    return Unkeepable(value, (one, f"{name} objects"))


class Writer(pickle.Pickler):
    """Writes variables into one pickle, so that what they share stays shared.

    Args:
        file: Takes the bytes.
        known: What the code has from modules.
        units: The functions that the code has defined.
        libraries: Whether objects of libraries are kept.
    """

    def __init__(self, file: Any, known: Names, units: Units, *, libraries: bool) -> None:
        super().__init__(file, protocol=5)
        self._known = known
        self._units = units
        self._libraries = libraries
        self._last: object = None
        self._later: list[tuple[object, object]] = []
        """Objects with their state, which is written after everything that the variable refers to."""
        self._shapes: dict[type, tuple[type | None, classes.Slots, bool]] = {}
        self.used: dict[Unit, dict[Place, None]] = {}
        """The functions that were written, by unit."""

    def add(self, value: object) -> None:
        """Write one variable; after an error the whole pickle is of no use.

        Raises:
            Unkeepable: It is or holds something that cannot be kept.
            TooLarge: It takes more than its file does.
        """
        self._last = value
        try:
            self.dump(value)
            while self._later:  # in rounds, and not in depth: a chain of objects may be long
                states, self._later = self._later, []
                self.dump(states)
        except (Unkeepable, TooLarge, MemoryError):
            raise
        except RecursionError:
            deep = "data that is nested too deeply", "such data"
            raise Unkeepable(None, deep) from None
        except Exception as error:  # of the last object's own class, whatever that is
            raise refuse(self._last) from error

    def reducer_override(self, value: Any) -> Any:
        """Return what pickle writes for an object that is not plain data."""
        kind = type(value)
        if kind is Record:
            return Record, (), None, None, iter(dict.items(value))
        self._last = value
        if kind in AS_PICKLE_DOES or id(value) in BY_OWN_NAME:
            return NotImplemented
        if (place := self._known.find(value)) is not None:
            return Makers.name, place
        if (take := TAKERS.get(kind)) is not None:
            return take(value)
        if (special := _SPECIAL.get(kind)) is not None:
            return special(self, value)
        if issubclass(kind, type):
            return self._class(value)
        return self._instance(value)

    def _of_library(self, value: Any) -> Any:
        """Leave an object to pickle, where objects of libraries are kept."""
        kind = type(value)
        waits = _package(kind) in _NO_CONTENT or hasattr(kind, "__next__")
        if waits or not self._libraries:
            raise refuse(value)
        if isinstance(value, _NAMED_KINDS) and not self._known.is_of_library(value):
            raise refuse(value)
        return NotImplemented

    def _bound(self, method: Any) -> Any:
        owner = method.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            return self._of_library(method)
        return Makers.bound, (owner, method.__name__)

    def _in_class(self, method: Any) -> Any:
        return Makers.bound, (method.__objclass__, method.__name__)

    def _cell(self, cell: types.CellType) -> Any:
        try:
            content = cell.cell_contents
        except ValueError:  # it is empty
            return Makers.cell, ()
        return Makers.cell, (), (content,), None, None, Makers.fill

    def _function(self, function: types.FunctionType) -> Any:
        found = self._units.find(function)
        if found is None:
            return take_made_function(function) or self._of_library(function)
        unit, place = found
        self.used.setdefault(unit, {})[place] = None
        number = list(self.used).index(unit)
        name = function.__name__, function.__qualname__, function.__doc__
        made = Makers.function, (number, *place, *name, function.__closure__ or ())
        state = (
            function.__defaults__,
            function.__kwdefaults__,
            dict(function.__annotations__),
            {name: value for name, value in vars(function).items() if classes.may_set(name)},
        )
        return (*made, state, None, None, Makers.fill) if any(state) else made

    def _class(self, cls: type) -> Any:
        if not is_own(cls):
            return self._of_library(cls)
        taken = classes.take_class(
            cls, lambda function: self._units.find(function) is not None, libraries=self._libraries
        )
        if taken is None:
            raise refuse(cls)
        return Makers.new_class, (taken[0],), taken[1], None, None, Makers.fill

    def _instance(self, value: Any) -> Any:
        cls = type(value)
        if issubclass(type(cls), enum.EnumMeta):
            return Makers.member, (cls, value._name_, value._value_)
        base, slots, may_be_empty = self._shape(cls)
        if issubclass(cls, BaseException) and self._is_taken_apart(cls):
            args = BaseException.args.__get__(value)  # type: ignore[attr-defined]  # a descriptor
            self._fill_later(value, (classes.take_attributes(value, slots), []))
            return Makers.exception, (cls, args)
        if base is None:
            return self._of_library(value)
        attributes = classes.take_attributes(value, slots)
        made, content = classes.take_content(base, value)
        if may_be_empty:
            self._fill_later(value, (attributes, content))
            return Makers.instance, (cls,) if base is object else (cls, base.__name__, made)
        # Its hash asks for what it holds, and what it holds may be a set that it is in.
        plain = {name: part for name, part in attributes.items() if _is_plain(part)}
        rest = {name: part for name, part in attributes.items() if name not in plain}
        call = Makers.instance, (cls, base.__name__, made, plain)
        return (*call, (rest, content), None, None, Makers.fill) if rest or content else call

    def _is_taken_apart(self, cls: type) -> bool:
        """Whether an exception is kept by its arguments and attributes."""
        if is_own(cls) or not cls.__flags__ & classes.HEAP_TYPE:
            return True
        by_itself = self._libraries and classes.has_reducer(cls)
        return not by_itself and self._known.find(cls) is not None

    def _shape(self, cls: type) -> tuple[type | None, classes.Slots, bool]:
        """Return what all instances of a class have in common, found out once."""
        shape = self._shapes.get(cls)
        if shape is None:
            base = classes.content_base(cls) if is_own(cls) else None
            if not is_own(cls) and issubclass(cls, tuple) and self._known.find(cls) is not None:
                base = tuple
            may_be_empty = classes.may_be_empty(cls)
            shape = self._shapes[cls] = base, classes.slots_of_class(cls), may_be_empty
        return shape

    def _fill_later(self, made: object, state: tuple[Any, Any]) -> None:
        if any(state):
            self._later.append((made, state))


def _is_plain(value: object) -> bool:
    kind = type(value)
    return kind in _ATOMS or (kind is tuple and all(type(part) in _ATOMS for part in value))  # type: ignore[attr-defined]  # a tuple


_SPECIAL: dict[type, Callable[[Writer, Any], Any]] = {
    types.FunctionType: Writer._function,
    types.CellType: Writer._cell,
    **dict.fromkeys(_BOUND, Writer._bound),
    **dict.fromkeys(_IN_CLASS, Writer._in_class),
}
