"""Variables as plain data, where the language is the boundary: nothing is unpickled, nothing runs.

A variable is in MessagePack as values of tools are: `["data", value]`, `["name", module, name]` or
`["function", unit, *place, name, qualified name, docstring, defaults, keyword defaults]`. What shares data with
another variable has a copy of it afterwards.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, cast

from langchain_ptc.sandbox.sessions.pickling import Unkeepable, refuse
from langchain_ptc.sandbox.sessions.source import Lost, Names, Restored, Units
from langchain_ptc.sandbox.wire.bounded import read_bounded
from langchain_ptc.sandbox.wire.objects import UnsendableValue
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_VALUES, check_encoded
from langchain_ptc.sandbox.wire.values import MAX_DEPTH, AttrDict, decode_value, encode_value

_SCALARS: frozenset[type] = frozenset(
    (
        *(type(None), bool, int, float, str, bytes, complex, range, decimal.Decimal, uuid.UUID),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    )
)
_CONTAINERS: frozenset[type] = frozenset((list, tuple, set, frozenset))
_DICTS: frozenset[type] = frozenset((dict, AttrDict))
_MAX_LEVELS = MAX_DEPTH + 2
"""Of a variable, whose data is in a list of its own."""


class PlainWriter:
    """Writes variables; the arguments are those of `PickleWriter`.

    Args:
        file: Takes the bytes.
        known: What the code has from modules.
        units: The functions that the code has defined.
    """

    def __init__(self, file: Any, known: Names, units: Units) -> None:
        self._file = file
        self._known = known
        self._units = units
        self._values = 0

    def add(self, value: object) -> None:
        """Write one variable.

        Raises:
            Unkeepable: It is or holds something that is no plain data.
            TooLarge: It takes more than its file does.
        """
        self._values = 0
        try:
            packed = encode_value(self._describe(value), max_levels=_MAX_LEVELS)
            check_encoded(packed)
        except UnsendableValue as error:
            raise Unkeepable(None, (f"what cannot be kept ({error})", "such data")) from None
        self._file.write(packed)

    def _describe(self, value: object) -> list[object]:
        if (place := self._known.find(value)) is not None:
            return ["name", *place]
        is_plain = type(value) is FunctionType and not value.__closure__
        if not is_plain or (found := self._units.use(cast("FunctionType", value))) is None:
            self._check(value, 0)
            return ["data", value]
        function = cast("FunctionType", value)
        names = (
            function.__name__,
            function.__qualname__,
            function.__doc__,
        )  # set by code, to anything
        parts = [*names, function.__defaults__, function.__kwdefaults__]
        self._check(parts, 0)
        return ["function", *found, *parts]

    def _check(self, value: Any, level: int) -> None:
        """Refuse what does not come back as it is, and what is much when it is unfolded."""
        kind = type(value)
        self._values += 1
        if self._values > MAX_CALL_VALUES:
            raise Unkeepable(None, (f"more than {MAX_CALL_VALUES:,} values", "so many"))
        if kind in _SCALARS:
            return
        if kind not in _CONTAINERS and kind not in _DICTS:
            raise refuse(value)
        if level > MAX_DEPTH:
            raise Unkeepable(None, ("data that is nested too deeply", "such data"))
        items: Iterable[object] = value
        if kind in _DICTS:
            items = [*dict.keys(value), *dict.values(value)]
        for item in items:
            self._check(item, level + 1)


def read_plain(data: bytes, sizes: Mapping[str, int], restored: Restored) -> dict[str, Exception]:
    """Read variables that a `PlainWriter` wrote into the globals of the code, as bytes that anybody may forge.

    Args:
        data: The variables.
        sizes: Bytes of each in it.
        restored: Makes what is kept by source and by name.

    Returns:
        What is wrong with each that cannot be read.
    """
    lost: dict[str, Exception] = {}
    at = 0
    for name, size in sizes.items():
        part, at = data[at : at + size], at + size
        try:
            read_bounded(part, _MAX_LEVELS)
            kind, *parts = decode_value(part, AttrDict)
            restored.namespace[name] = _KINDS[kind](restored, *parts)
        except ImportError as error:
            lost[name] = error
        except Exception:  # noqa: BLE001  # whatever is wrong with one, the rest is there
            lost[name] = Lost("it is damaged")
    return lost


def _make_function(restored: Restored, *parts: Any) -> FunctionType:
    *place, name, qualname, doc, defaults, keywords = parts
    made = restored.function(*place, name, qualname, doc, ())
    made.__defaults__, made.__kwdefaults__ = defaults, keywords
    return made


_KINDS: Mapping[str, Callable[..., object]] = {
    "data": lambda _, value: value,
    "name": Restored.name,
    "function": _make_function,
}
