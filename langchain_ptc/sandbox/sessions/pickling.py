"""From the variables of the code to a pickle, and back.

What the code has made itself is not left to pickle: a function is a place in its source, a class is
made of checked names, and of an instance its attributes are written. Each of them stands in the pickle
as a call of a method of `Makers`, and that makes what code could have made itself. While variables are
written, nothing is called that code has defined.

Who may write the bytes of a session can write any pickle. So what a pickle may do depends on the walls:

- Within the kernel's walls it may also hold objects of the libraries that are imported, and whatever
  making them does is done by a process that can do nothing else.
- Elsewhere `_CarefulReader` follows a few of pickle's instructions: those for data, and the
  call of a maker or of one of `CALLABLES`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import enum
import io
import itertools
import pickle
import pickletools
import struct
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions import classes
from langchain_ptc.sandbox.sessions.makers import (
    AS_PICKLE_DOES,
    BY_OWN_NAME,
    MAPPINGS,
    TAKERS,
    Makers,
    take_made_function,
)
from langchain_ptc.sandbox.sessions.source import Names, Place, Unit, Units
from langchain_ptc.sandbox.wire.values import Record

_LISTS = frozenset({list, deque})
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
        """Objects with their state, which is written behind all that the variable holds."""
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
        """Return what pickle writes for an object that is no plain data."""
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


# --- and back -------------------------------------------------------------------------------------


class Lost(ValueError):
    """A variable cannot be read; the message says why."""


class _LibraryReader(pickle.Unpickler):
    """Reads whatever a pickle holds, as long as nothing in it fails."""

    def __init__(self, file: io.BytesIO, makers: Makers) -> None:
        super().__init__(file)
        self._makers = makers

    def find_class(self, module: str, name: str) -> Any:
        return self._makers.find(module, name)


_Load = Callable[[Any], None]
_Base: Any = pickle._Unpickler  # the one of Python, whose parts can be replaced
_LOST = object()
_MAX_KEY_DEPTH, _MAX_KEY_WEIGHT = 500, 10_000_000
"""Python asks a tuple for its hash without minding its stack, and each tuple in it each time."""
_BYTE, _SHORT, _INT, _FLOAT = (struct.Struct(f) for f in ("<B", "<H", "<i", ">d"))
_NUMBERS = {75: _BYTE, 77: _SHORT, 74: _INT, 71: _FLOAT}
_REFERENCES = {104: 1, 106: 4}
_CONSTANTS: Mapping[int, object] = {78: None, 136: True, 137: False}


class _CarefulReader(_Base):  # type: ignore[misc]
    """Follows a pickle instruction by instruction, and reads on behind a variable that cannot be made.

    Args:
        data: The pickles.
        makers: What they may call.
        instructions: What is followed besides numbers, short strings and references.
    """

    def __init__(self, data: bytes, makers: Makers, instructions: Mapping[int, _Load]) -> None:
        self._data = data
        self._makers = makers
        self._instructions = instructions
        self._callables = set(map(id, makers.callables.values()))
        self._nesting: dict[int, tuple[int, int]] = {}
        self.place = 0
        self.memo: dict[int, object] = {}

    def find_class(self, module: str, name: str) -> Any:
        return self._makers.find(module, name)

    def load(self) -> object:
        """Read the pickle that begins at `place`."""
        data, memo, instructions, place = self._data, self.memo, self._instructions, self.place
        self.metastack: list[list[Any]] = []
        stack = self._renew([])
        while True:
            code = data[place]
            place += 1
            if code == 148:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code in _REFERENCES:
                end = place + _REFERENCES[code]
                known = memo[int.from_bytes(data[place:end], "little")]
                if known is _LOST:
                    raise Lost("it shares data with a variable that could not be read")
                stack.append(known)
                place = end
            elif code in _NUMBERS:
                number = _NUMBERS[code]
                stack.extend(number.unpack_from(data, place))
                place += number.size
            elif code == 140:  # SHORT_BINUNICODE
                end = place + 1 + data[place]
                stack.append(str(data[place + 1 : end], "utf-8", "surrogatepass"))
                place = end
            elif code in _CONSTANTS:
                stack.append(_CONSTANTS[code])
            elif code == 40:  # MARK
                self.metastack.append(stack)
                stack = self._renew([])
            elif code == 46:  # STOP
                self.place = place
                return stack.pop()
            elif code in instructions:
                self.place = place
                instructions[code](self)
                place, stack = self.place, self.stack
            else:
                raise Lost("it holds an instruction of pickle that is not followed here")

    def _renew(self, stack: list[Any]) -> list[Any]:
        self.stack, self.append = stack, stack.append
        return stack

    def read(self, count: int) -> bytes:
        """Read bytes, as instructions of Python's own reader do."""
        begin, self.place = self.place, self.place + count
        if self.place > len(self._data):
            raise EOFError
        return self._data[begin : self.place]

    def forget(self, first: int, begin: int, end: int) -> bool:
        """Number the objects of a chunk that failed, so that those behind it keep their numbers.

        Returns:
            Whether that can be done: the instructions can be followed.
        """
        chunk = io.BytesIO(self._data[begin:end])
        count = 0
        try:
            while chunk.tell() < end - begin:
                count += sum(code.name == "MEMOIZE" for code, _, _ in pickletools.genops(chunk))
        except ValueError:
            return False
        for number in range(first, first + count):
            if type(self.memo.get(number)) is not str:  # what is half made must not be seen
                self.memo[number] = _LOST
        return True

    def weigh(self, made: object, parts: Iterable[object]) -> None:
        """Note how deep what can be a key is nested, and how much it is when it is unfolded."""
        nesting = self._nesting
        known = [nesting[part] for part in map(id, parts) if part in nesting]
        if not known:
            nesting[id(made)] = 1, 1
            return
        depth = 1 + max([depth for depth, _ in known])
        weight = 1 + sum([weight for _, weight in known])
        if depth > _MAX_KEY_DEPTH or weight > _MAX_KEY_WEIGHT:
            raise Lost("it is nested too deeply")
        nesting[id(made)] = depth, weight

    def call(self) -> None:
        """Call a maker."""
        args = self.stack.pop()
        make = self.stack[-1]
        if id(make) not in self._callables or type(args) is not tuple:
            raise Lost("it holds a call that is not made here")
        self.stack[-1] = made = make(*args)
        self.weigh(made, args)

    def load_frame(self) -> None:
        """Check the length of a part."""
        if int.from_bytes(self.read(8), "little") > len(self._data) - self.place:
            raise Lost("it is damaged")

    def load_bytearray8(self) -> None:
        """Push a bytearray, whose length is believed when it is there."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))


def _onto(kinds: Collection[type], load: _Load, place: int = 0) -> _Load:
    """Let an instruction add to objects of these classes alone."""

    def checked(self: Any) -> None:
        target = self.stack[place] if place else self.metastack[-1][-1]
        if type(target) not in kinds:
            raise Lost("it adds to what is no container")
        load(self)

    return checked


def _nesting(load: _Load) -> _Load:
    def counted(self: Any) -> None:
        load(self)
        self.weigh(self.stack[-1], self.stack[-1])

    return counted


def _code(name: str) -> int:
    return getattr(pickle, name)[0]  # type: ignore[no-any-return]


def _loads(names: str) -> dict[int, _Load]:
    return {_code(name): _ANY[_code(name)] for name in names.split()}


_ANY: dict[int, _Load] = {
    **_Base.dispatch,
    _code("FRAME"): _CarefulReader.load_frame,
    _code("BYTEARRAY8"): _CarefulReader.load_bytearray8,
}
"""All instructions of pickle."""
_PLAIN: dict[int, _Load] = {
    **_loads(
        "PROTO FRAME LONG1 LONG4 BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 "
        "EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET POP POP_MARK STACK_GLOBAL"
    ),
    **{
        code: _nesting(load)
        for code, load in _loads("TUPLE TUPLE1 TUPLE2 TUPLE3 FROZENSET").items()
    },
    _code("APPEND"): _onto(_LISTS, _Base.load_append, -2),
    _code("APPENDS"): _onto(_LISTS, _Base.load_appends),
    _code("SETITEM"): _onto(MAPPINGS, _Base.load_setitem, -3),
    _code("SETITEMS"): _onto(MAPPINGS, _Base.load_setitems),
    _code("ADDITEMS"): _onto({set}, _Base.load_additems),
    _code("REDUCE"): _CarefulReader.call,
}
"""Those for data, and the call of a maker; no others."""


def read_variables(
    data: bytes, sizes: Mapping[str, int], makers: Makers, namespace: dict[str, object]
) -> dict[str, Exception]:
    """Read variables that a `Writer` wrote into the globals of the code, each as soon as it is there.

    Args:
        data: The pickle.
        sizes: Bytes of each variable in it.
        makers: What it may call.
        namespace: The globals.

    Returns:
        What is wrong with each that cannot be read.
    """
    ends = dict(zip(sizes, itertools.accumulate(sizes.values()), strict=True))
    if makers.libraries:
        file = io.BytesIO(data)
        fast = _LibraryReader(file, makers)
        with contextlib.suppress(Exception):  # which one fails is found out below
            found = {name: _read(fast.load, file.tell, end, makers) for name, end in ends.items()}
            namespace.update(found)
            return {}
    reader = _CarefulReader(data, makers, _ANY if makers.libraries else _PLAIN)
    lost: dict[str, Exception] = {}
    follows = True
    for name, end in ends.items():
        first, begin = len(reader.memo), end - sizes[name]
        reader.place = begin
        if not follows:
            lost[name] = Lost("what stands before it is damaged")
            continue
        try:
            namespace[name] = _read(reader.load, lambda: reader.place, end, makers)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the rest is there
            lost[name] = error
            follows = reader.forget(first, begin, end)
    return lost


def _read(load: Callable[[], Any], place: Callable[[], int], end: int, makers: Makers) -> object:
    value = load()
    while place() < end:
        states = load()
        if type(states) is not list or not all(type(part) is tuple for part in states):
            raise Lost("it is damaged")
        for made, state in states:
            makers.fill(made, state)
    if place() > end:
        raise Lost("it is damaged")
    return value
