"""From the variables of the code to a table of descriptions.

Every object is one node of the table, so that what is shared stays shared, and what holds itself can
be written; scalars stand where they are used. A list is written as `["l", [1, "a", [7]]]`: a number, a
text, and node 7. Nothing is called that code has defined.
"""

from __future__ import annotations

import collections
import enum
import json
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from langchain_ptc.sandbox.language import names
from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions.classes import take_class
from langchain_ptc.sandbox.sessions.frames import take_frame
from langchain_ptc.sandbox.sessions.names import Names
from langchain_ptc.sandbox.sessions.refusal import TooLarge, Unkeepable, refuse
from langchain_ptc.sandbox.sessions.simple import FORMS, find_maker, to_text
from langchain_ptc.sandbox.sessions.traits import (
    CONTENTS,
    DICTS,
    content_base,
    slots_of,
    take_annotations,
)
from langchain_ptc.sandbox.sessions.units import Place, Unit, Units
from langchain_ptc.sandbox.wire.values import MAX_PLAIN_INT, Record, utf8_length

Item = Any
"""A scalar, or a list of one number: the node."""

encode_json = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":")
).encode

_BATCH, _BATCH_BYTES = 256, 64 * 1024
"""To encode nodes one by one costs more than all the rest."""
_SCALARS = frozenset({type(None), bool, str, float})
_NUMBERS_AND_SCALARS = _SCALARS | {int}
_KEYS = frozenset({str})


class Writer:
    """Writes variables into one table, which they share.

    Args:
        known: What the code has from modules.
        units: The functions that the code has defined.
        most: How many bytes all of the table may take.
    """

    def __init__(self, known: Names, units: Units, most: int) -> None:
        self.known = known
        self._units = units
        self._most = most
        self._numbers: dict[int, int] = {}  # by the identity of an object
        self._objects: list[object] = []  # alive, so that no identity is used twice
        self._texts: list[str] = []  # each of some nodes
        self._written = 0
        self._pending = 0  # about how many bytes are described, and not written yet
        self._used: dict[Unit, dict[Place, None]] = {}
        self.size = 0
        """Bytes of the table until now."""
        self._room = most

    @property
    def nodes(self) -> list[str]:
        """The table, as JSON texts of one node or more."""
        return self._texts

    @property
    def used(self) -> Mapping[Unit, Mapping[Place, None]]:
        """The functions that were written, by unit."""
        return self._used

    def is_of_code(self, function: types.FunctionType) -> bool:
        """Return whether code of this session has defined `function`."""
        return self._units.find(function) is not None

    def number_of(self, unit: Unit) -> int:
        """Return the number of a unit in the document."""
        return list(self._used).index(unit)

    def add(self, value: object) -> tuple[Item, int]:
        """Write one variable.

        Returns:
            What stands for it, and how many bytes it has added.

        Raises:
            Unkeepable: It is or holds something that cannot be kept.
            TooLarge: It takes more bytes than the whole table may.
        """
        objects, texts, size = len(self._objects), len(self._texts), self.size
        self._pending = 0
        used = {unit: len(places) for unit, places in self._used.items()}
        try:
            self._room = self.size + self._most
            item = self.item(value)
            self._drain()
            self.size += utf8_length(encode_json(item))
            self._weigh(0)
        except Exception as error:
            self._roll_back(objects, texts, used)
            self.size = size
            if isinstance(error, Unkeepable | TooLarge | MemoryError):
                raise
            raise refuse(value) from error  # an object that is not what its class says
        return item, self.size - size

    def _roll_back(self, objects: int, texts: int, used: Mapping[Unit, int]) -> None:
        while len(self._numbers) > objects:
            self._numbers.popitem()
        del self._objects[objects:]
        self._written = objects
        del self._texts[texts:]
        while len(self._used) > len(used):
            self._used.popitem()
        for unit, count in used.items():
            while len(self._used[unit]) > count:
                self._used[unit].popitem()

    def _drain(self) -> None:
        described: list[Any] = []
        while self._written < len(self._objects):
            described.append(self._describe(self._objects[self._written]))
            self._written += 1
            if len(described) == _BATCH or self._pending > _BATCH_BYTES:
                self._write(described)
                described = []
        self._write(described)

    def _write(self, described: list[Any]) -> None:
        if described:
            text = encode_json(described)[1:-1]
            self._texts.append(text)
            self.size += utf8_length(text) + 1
            self._pending = 0
            self._weigh(0)

    def _weigh(self, count: int) -> None:
        """Refuse at once what is too large, before it is written; `count` is never too much."""
        self._pending += count
        if self.size + self._pending > self._room:
            raise TooLarge

    # --- items ---

    def item(self, value: object) -> Item:
        """Return what stands for `value` where it is used."""
        kind = type(value)
        if kind in _SCALARS:
            if kind is str:
                self._weigh(len(value))  # type: ignore[arg-type]  # it is a text
            return value
        if kind is int and -MAX_PLAIN_INT < value < MAX_PLAIN_INT:  # type: ignore[operator]
            return value
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return [number]

    def items(self, values: Sequence[Any]) -> list[Item]:
        """Return what stands for each of `values`."""
        return list(values) if self._is_plain(values) else list(map(self.item, values))

    def _is_plain(self, values: Collection[Any]) -> bool:
        """Whether each of `values` stands for itself; refuses what is too large."""
        self._weigh(2 * len(values))
        kinds = set(map(type, values))  # by C code: most containers hold scalars only
        if not kinds <= _NUMBERS_AND_SCALARS:
            return False
        if str in kinds:
            self._weigh(sum([len(value) for value in values if type(value) is str]))
        if int not in kinds:
            return True
        numbers = [value for value in values if type(value) is int]
        return min(numbers) > -MAX_PLAIN_INT and max(numbers) < MAX_PLAIN_INT

    def pairs(self, values: Mapping[Any, Any]) -> list[Item]:
        """Return keys and values in turn."""
        return self.items([part for pair in values.items() for part in pair])

    def fields(self, values: Mapping[str, object]) -> dict[str, Item]:
        """Return what stands for the values of a dict whose keys are texts."""
        return dict(zip(values, self.items(list(values.values())), strict=True))

    # --- nodes ---

    def _describe(self, value: object) -> list[Any]:
        kind = type(value)
        container = _CONTAINERS.get(kind)
        if container is not None:
            return container(self, value)
        if (place := self.known.find(value)) is not None:
            return ["g", *place]
        form = FORMS.get(kind)
        if form is not None:
            return self._take(form.tag, form.take, value)
        if kind is types.FunctionType:
            return self._function(value)  # type: ignore[arg-type]  # it is one
        if kind is types.CellType:
            return self._cell(value)  # type: ignore[arg-type]
        if kind is types.ModuleType:
            name = self.known.name_of_module(value)  # type: ignore[arg-type]
            if name is None:
                raise refuse(value)
            return ["m", name]
        if issubclass(kind, type):
            return take_class(self, value)  # type: ignore[arg-type]
        return self._instance(value)

    def _take(self, tag: str, take: Callable[[Any], Sequence[Any]], value: object) -> list[Any]:
        try:
            return [tag, *self.items([*take(value)])]
        except (TypeError, ValueError, AttributeError):  # closed, or of a shape that is not known
            raise refuse(value) from None

    def _cell(self, cell: types.CellType) -> list[Any]:
        try:
            return ["c", self.item(cell.cell_contents)]
        except ValueError:  # it is empty
            return ["c"]

    def _function(self, function: types.FunctionType) -> list[Any]:
        found = self._units.find(function)
        if found is None:
            made = find_maker(function)
            if made is None:
                raise refuse(function)
            return [made[0], *self.items(made[1:])]
        unit, place = found
        self._used.setdefault(unit, {})[place] = None
        extra: dict[str, object] = {
            "name": function.__name__,
            "qualname": function.__qualname__,
            "doc": function.__doc__,
            "cells": self.items(function.__closure__ or ()),
        }
        if function.__defaults__:
            extra["defaults"] = self.items(function.__defaults__)
        if function.__kwdefaults__:
            extra["keyword_defaults"] = self.fields(function.__kwdefaults__)
        if annotations := take_annotations(function, self.known):
            extra["annotations"] = self.fields(annotations)
        if attributes := _attributes(vars(function)):
            extra["attributes"] = self.fields(attributes)
        return ["f", self.number_of(unit), place.line, place.number, place.name, extra]

    def _instance(self, value: object) -> list[Any]:
        cls = type(value)
        if isinstance(value, enum.Enum):
            return ["em", self.item(cls), value._name_, self.item(value._value_)]
        if frame := take_frame(value):
            return [frame[0], *self.items(frame[1:])]
        own = is_own(cls) or is_own(value)
        if issubclass(cls, BaseException):
            if not own and self.known.find(cls) is None:
                raise refuse(value)
            args = BaseException.args.__get__(value)  # type: ignore[attr-defined]  # a descriptor
            return ["e", self.item(cls), self.items(args), self._state(value)]
        if not own:
            if issubclass(cls, tuple) and hasattr(cls, "_fields") and self.known.find(cls):
                return ["x", self.item(cls), "tuple", self.items(tuple(value)), {}, []]  # type: ignore[arg-type]
            raise refuse(value)
        base = content_base(cls)
        if base is None:
            raise refuse(value)
        content = CONTENTS[base].take(value)
        if base in DICTS:
            content = [part for pair in content for part in pair]
        slots = [part for pair in slots_of(value) for part in pair]
        return [
            *("x", self.item(cls), base.__name__),
            *(self.items(content), self._state(value), self.items(slots)),
        ]

    def _state(self, value: object) -> dict[str, Item]:
        try:
            values = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return {}
        return self.fields(_attributes(values))

    # --- containers, each by its exact class ---

    def _list(self, value: list[Any]) -> list[Any]:
        return ["l", value if self._is_plain(value) else list(map(self.item, value))]

    def _tuple(self, value: tuple[Any, ...]) -> list[Any]:
        return ["t", self.items(value)]

    def _dict(self, value: dict[Any, Any]) -> list[Any]:
        if set(map(type, value)) <= _KEYS:
            if self._is_plain(value.values()):
                return ["o", value]
            item = self.item
            return ["o", {key: item(part) for key, part in value.items()}]
        return ["d", self.pairs(value)]

    def _record(self, value: Record) -> list[Any]:
        return ["R", self.pairs(value)]

    def _set(self, value: set[Any] | frozenset[Any]) -> list[Any]:
        self._weigh(2 * len(value))
        members = list(value)
        if (
            set(map(type, members)) <= _NUMBERS_AND_SCALARS
        ):  # in an order that does not depend on us
            members.sort(key=lambda member: (type(member).__name__, repr(member)))
        return ["s" if type(value) is set else "fs", self.items(members)]

    def _bytearray(self, value: bytearray) -> list[Any]:
        self._weigh(len(value))
        return ["bytearray", to_text(value)]

    def _bytes(self, value: bytes) -> list[Any]:
        self._weigh(len(value))
        return ["bytes", to_text(value)]

    def _deque(self, value: collections.deque[Any]) -> list[Any]:
        return ["q", value.maxlen, self.items(list(value))]

    def _mapping(self, value: Any) -> list[Any]:
        factory = value.default_factory if type(value) is collections.defaultdict else None
        return ["D", type(value).__name__, self.item(factory), self.pairs(value)]


_CONTAINERS: dict[type, Callable[[Writer, Any], list[Any]]] = {
    list: Writer._list,
    tuple: Writer._tuple,
    dict: Writer._dict,
    Record: Writer._record,
    set: Writer._set,
    frozenset: Writer._set,
    bytearray: Writer._bytearray,
    bytes: Writer._bytes,
    collections.deque: Writer._deque,
    collections.OrderedDict: Writer._mapping,
    collections.defaultdict: Writer._mapping,
    collections.Counter: Writer._mapping,
}


def _attributes(values: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes that code may set."""
    return dict(_settable(values))


def _settable(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if type(name) is not str:
            continue
        if name == "__isabstractmethod__" or not names.is_refused(name, special=names.WRITABLE):
            yield name, value
