"""How often values of equal hash would be compared with each other, which is quadratic, in one call of C code.

Only items of equal hash are compared. Those whose hashes differ may meet in a table as well, but not
often: each step of the search takes other bits of the hash. What is checked: the sets and dicts of a
message (`decoding`), the numbers and rows among the arguments of a call, which a tool may put into a set as
they are, and what a tool's schema makes of them (`run/arguments.py`). Standard library only.
"""

from __future__ import annotations

import contextlib
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

MAX_COMPARISONS = 500_000
"""Of items of equal hash, in one message; about 15 ms."""
HASH_MODULUS = sys.hash_info.modulus
SCALARS = frozenset((str, int, float, bool, type(None)))
SLICE = 20_000
"""Items that are hashed in one call of C code, during which no other thread runs."""
_CHEAP = 500
"""Comparisons of equal items are not counted if they cost no more: they are linear in what was sent."""
_LONG_BITS = 2**12
"""Integers of more are costly to compare with a `Decimal`, equal ones too."""
_NO_HASH = object()
_COLLECTIONS = frozenset((list, tuple, set, frozenset))
_ROWS = frozenset((list, tuple))
_BUILT_NUMBERS = frozenset((Decimal, UUID, complex))


class OutOfBounds(ValueError):
    """A value costs more to build or to use than a worker may ask for; the message says which."""


class Comparisons:
    """Adds up the comparisons that sets of some items would take, and refuses too many."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS

    def add(self, items: Sequence[Any], cost: Callable[[int], int] | None = None) -> None:
        """Add a set of `items`; those without a hash come into none.

        Args:
            items: What the set is made of.
            cost: How long it takes to compare the item at a place, in units of a small integer.

        Raises:
            OutOfBounds: Too many different items have one hash.
        """
        hashes: list[Any] = []
        seen: set[Any] = set()
        for start in range(0, len(items), SLICE):
            some = _hash_all(items[start : start + SLICE])
            seen.update(some)
            hashes += some
        if len(seen) == len(items):
            return
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for place, key in enumerate(hashes):
            groups[key].append(place)
        groups.pop(_NO_HASH, None)
        for places in groups.values():
            different: list[Any] = []
            others = 0  # what those cost
            for place in places:
                each = _cost_of_comparing(items[place]) if cost is None else cost(place)
                if len(different) > 1 or (different and others + each > _CHEAP):
                    self._left -= others + len(different) * each
                    if self._left < 0:
                        raise OutOfBounds(
                            "a set, the keys of a dict, or a list that may become one, of which "
                            "too many items have one hash; send fewer"
                        )
                if items[place] not in different:
                    different.append(items[place])
                    others += each


def _hash_all(items: Sequence[Any]) -> list[Any]:
    try:
        return [*map(hash, items)]
    except TypeError:
        return [hash(item) if _is_hashable(item) else _NO_HASH for item in items]


def _is_hashable(item: object) -> bool:
    """Whether `hash(item)` gives a number."""
    with contextlib.suppress(TypeError):
        hash(item)
        return True
    return False


def _cost_of_comparing(item: Any) -> int:
    """Return how long it may take to compare an item with another one, in units of a small int."""
    kind = type(item)
    if kind is int:
        words: int = item.bit_length() // 64
        return 1 + words + words * words // 5  # with a Decimal: it is converted
    if kind is Decimal:
        return 40
    if kind is tuple:
        return 1 + sum(map(_cost_of_comparing, item))
    if kind is frozenset:  # looks its items up, of which many may have one hash too
        return (1 + sum(map(_cost_of_comparing, item))) ** 2
    if kind is str or kind is bytes:
        return 1 + len(item) // 64
    return 4


def check_hashes(value: object) -> None:
    """Refuse arguments that would be expensive if a tool made a set of numbers, or of rows, in a list.

    Honest ones hardly ever have one hash, unless they are equal.

    Args:
        value: Values that were built.

    Raises:
        OutOfBounds: Too many of them have one hash.
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
    if len(set(map(hash, found))) < len(found):
        Comparisons().add([*{_spell(item): item for item in found}.values()])  # many may be equal


def _spell(item: object) -> object:
    """Return what is equal for items that look the same, and has a hash that nobody can predict."""
    if type(item) is tuple:
        return tuple(map(_spell, item))
    if type(item) is int:  # in decimal digits it would take quadratic time
        return hex(item) if item.bit_length() < _LONG_BITS else id(item)
    return repr(item)


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
