"""Values of one hash among the arguments of a call, which a tool may put into a set as they are.

Items of equal hash are compared with each other, which is quadratic. What a tool's schema makes of texts
and records is seen in `run/arguments.py`. Standard library only.
"""

from __future__ import annotations

from collections import defaultdict, deque
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

from langchain_ptc.sandbox.wire.bounded import HASH_MODULUS, MAX_COMPARISONS, SCALARS, OutOfBounds

FEW = 353
"""So many values of one hash may be compared with each other, as `MAX_COMPARISONS` has it."""
_COLLECTIONS = frozenset((list, tuple, set, frozenset))
_ROWS = frozenset((list, tuple))
_BUILT_NUMBERS = frozenset((Decimal, UUID, complex))


def check_hashes(value: object) -> None:
    """Refuse arguments that would be expensive if a tool made a set of numbers, or of rows, in a list.

    Honest ones hardly ever have one hash, unless they are equal.

    Args:
        value: Values that were built.

    Raises:
        OutOfBounds: Too many different ones among them have one hash.
    """
    found: list[Any] = []
    level: list[list[Any]] = [[value]]
    while level:
        below: list[list[Any]] = []
        for parts in level:
            kinds = set(map(type, parts))
            _pick_values(parts, kinds, found)
            below += _contents(parts, kinds)
        level = below
    hashes = [*map(hash, found)]
    if len(hashes) - len(set(hashes)) < FEW:
        return
    groups: defaultdict[int, set[str]] = defaultdict(set)
    for key, number in zip(hashes, found, strict=True):
        groups[key].add(repr(number))
    if sum(4 * len(group) ** 2 for group in groups.values() if len(group) > 1) > MAX_COMPARISONS:
        raise OutOfBounds("too many different numbers that have one hash; send fewer")


def _contents(parts: list[Any], kinds: set[type]) -> list[list[Any]]:
    """Return what the containers among some values hold: items, keys and values, if there are any."""
    contents: list[list[Any]] = []
    if not kinds.isdisjoint(_COLLECTIONS):
        collections = [part for part in parts if type(part) in _COLLECTIONS]
        contents.append([*chain.from_iterable(collections)])
    if dict in kinds:
        dicts: list[Any] = [part for part in parts if type(part) is dict]
        contents.append([*chain.from_iterable(dicts)])
        contents.append([*chain.from_iterable(map(dict.values, dicts))])
    return [*filter(None, contents)]


def _pick_values(parts: list[Any], kinds: set[type], found: list[Any]) -> None:
    """Find what could share its hash with many others."""

    def only(kind: type) -> list[Any]:
        return parts if len(kinds) == 1 else [part for part in parts if type(part) is kind]

    if int in kinds:
        ints = only(int)
        if max(ints) >= HASH_MODULUS or min(ints) <= -HASH_MODULUS:
            found += [part for part in ints if not -HASH_MODULUS < part < HASH_MODULUS]
    if float in kinds:
        floats = only(float)
        if not (min(floats) > 2**-40 and max(floats) < 2**53):
            found += [part for part in floats if part and not 2**-40 < abs(part) < 2**53]
    for kind in kinds & _BUILT_NUMBERS:
        found += filter(_has_hash, only(kind))
    for kind in kinds & _ROWS:
        if len(parts) > FEW:
            found += _flat_rows(only(kind))


def _has_hash(number: object) -> bool:
    return type(number) is not Decimal or number.is_finite()


def _flat_rows(rows: list[Any]) -> list[Any]:
    """Return as tuples the rows whose items have a hash."""
    flat = [*map(tuple, rows)]
    try:
        deque(map(hash, flat), 0)
    except TypeError:
        return [row for row in flat if SCALARS.issuperset(map(type, row))]
    return flat
