"""From a pickle to the variables of the code.

Who may write the bytes of a session can write any pickle. So what a pickle may do depends on the level of
isolation:

- At level `kernel` it may also hold objects of the libraries that are imported, and whatever making them
  does is done by a process that can do nothing else.
- Elsewhere a few of pickle's instructions are followed: those for data, and the call of a maker or of one
  of `CALLABLES`.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import pickle
import pickletools
import struct
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from langchain_ptc.sandbox.sessions.makers import MAPPINGS, Makers

_LISTS = frozenset({list, deque})


class Lost(ValueError):
    """A variable cannot be read; the message says why."""


class _LibraryReader(pickle.Unpickler):
    """Reads any pickle, as long as nothing in it fails."""

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
_NUMBERS = {
    pickle.BININT1[0]: struct.Struct("<B"),
    pickle.BININT2[0]: struct.Struct("<H"),
    pickle.BININT[0]: struct.Struct("<i"),
    pickle.BINFLOAT[0]: struct.Struct(">d"),
}
_REFERENCES = {pickle.BINGET[0]: 1, pickle.LONG_BINGET[0]: 4}
"""To objects of the memo, with the bytes of their numbers."""
_CONSTANTS: Mapping[int, object] = {
    pickle.NONE[0]: None,
    pickle.NEWTRUE[0]: True,
    pickle.NEWFALSE[0]: False,
}


class _CarefulReader(_Base):  # type: ignore[misc]
    """Follows a pickle instruction by instruction, and continues after a variable that cannot be made.

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
                raise Lost("it holds an instruction of pickle that is not allowed")

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
        """Number the objects of a chunk that failed, so that those after it have their numbers.

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
            raise Lost("it holds a call that is not allowed")
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
    """Return an instruction that adds to objects of these classes only."""

    def checked(self: Any) -> None:
        target = self.stack[place] if place else self.metastack[-1][-1]
        if type(target) not in kinds:
            raise Lost("it adds items to an object that is not a container")
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
            lost[name] = Lost("the data before it is damaged")
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
