"""What instances, functions and classes of the code are made of."""

from __future__ import annotations

import collections
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from langchain_ptc.sandbox.language.classes import is_own
from langchain_ptc.sandbox.sessions.names import Names


class Content(NamedTuple):
    """What an instance of a class that inherits from a built-in class holds by that."""

    take: Callable[[Any], Any]
    fill: Callable[[Any, Any], None] | None
    """Puts it back into an empty instance; None if an instance is made with it."""


def _fill_pairs(made: Any, pairs: Any) -> None:
    for key, value in pairs:
        dict.__setitem__(made, key, value)


def _fill_ordered(made: Any, pairs: Any) -> None:
    for key, value in pairs:
        collections.OrderedDict.__setitem__(made, key, value)


def _nothing(value: object) -> tuple[()]:
    del value
    return ()


CONTENTS: Mapping[type, Content] = {
    object: Content(_nothing, None),
    list: Content(lambda v: list.__getitem__(v, slice(None)), list.extend),
    collections.OrderedDict: Content(collections.OrderedDict.items, _fill_ordered),
    dict: Content(dict.items, _fill_pairs),
    set: Content(lambda v: list(set.__iter__(v)), set.update),
    collections.deque: Content(
        lambda v: list(collections.deque.__iter__(v)), collections.deque.extend
    ),
    frozenset: Content(lambda v: list(frozenset.__iter__(v)), None),
    tuple: Content(lambda v: tuple.__getitem__(v, slice(None)), None),
    str: Content(lambda v: (str.__str__(v),), None),
    int: Content(lambda v: (int.__int__(v),), None),
    float: Content(lambda v: (float.__float__(v),), None),
    bytes: Content(lambda v: (bytes.__getitem__(v, slice(None)),), None),
}
"""By built-in class; one that inherits from another one stands before it."""

DICTS = frozenset({dict, collections.OrderedDict})
WHOLE = frozenset({tuple, frozenset})
"""Made of all that they hold, as one argument."""
BY_NAME: Mapping[str, type] = {base.__name__: base for base in CONTENTS}
_HEAP_TYPE = 1 << 9


def content_base(cls: type) -> type | None:
    """Return the built-in class that instances of `cls` are made by; None if it is not known."""
    for base in type.mro(cls):
        if is_own(base):
            continue
        if base in CONTENTS:
            return base
        new: object = base.__new__
        if not base.__flags__ & _HEAP_TYPE or new is not object.__new__:
            return None
    return None


def slots_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield the slots of an instance that are set."""
    for name, slot in slots_of_class(type(value)).items():
        try:
            yield name, slot.__get__(value)
        except AttributeError:
            continue


def slots_of_class(cls: type) -> dict[str, types.MemberDescriptorType]:
    """Return the slots that the code's classes among the parents of `cls` have."""
    found: dict[str, types.MemberDescriptorType] = {}
    for base in type.mro(cls):
        if is_own(base):
            for name, slot in vars(base).items():
                if type(slot) is types.MemberDescriptorType:
                    found.setdefault(name, slot)
    return found


def own_slots(cls: type) -> list[str] | None:
    """Return the names of the slots that `cls` itself has; None if it has a dict."""
    if "__slots__" not in vars(cls):
        return None
    return [n for n, slot in vars(cls).items() if type(slot) is types.MemberDescriptorType]


# --- annotations ----------------------------------------------------------------------------------

_ALIASES = (types.GenericAlias, types.UnionType)


def take_annotations(owner: Any, known: Names) -> dict[str, object]:
    """Return the annotations of a function or class; `object` for what cannot be kept."""
    values = vars(owner).get("__annotations__") if isinstance(owner, type) else None
    if values is None:
        try:
            values = owner.__annotations__
        except (NameError, AttributeError, TypeError):
            return {}
    return {
        name: value if _is_keepable(value, known) else object
        for name, value in values.items()
        if type(name) is str
    }


def _is_keepable(value: Any, known: Names) -> bool:
    kind = type(value)
    if value is None or value is Ellipsis or kind in (str, int, bool, typing.ForwardRef):
        return True
    if kind is typing.TypeVar:
        return value.__bound__ is None or _is_keepable(value.__bound__, known)
    if kind is dataclasses.InitVar:
        return _is_keepable(value.type, known)
    if kind in (list, tuple):
        return all(_is_keepable(part, known) for part in value)
    if known.find(value) is not None:
        return True
    if (origin := typing.get_origin(value)) is not None:
        return _is_keepable(origin, known) and _is_keepable(typing.get_args(value), known)
    if kind in _ALIASES:
        return _is_keepable(typing.get_args(value), known)
    return isinstance(value, type) and is_own(value)
