"""The results of one tool that may be used again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from langchain_ptc.catalog.policy import Cache
from langchain_ptc.locks import new_lock

T = TypeVar("T")

_ENTRY_BYTES = 500
"""About what an entry takes besides its key and its result."""


class Results(Generic[T]):
    """Results by key, until they are too old or too many; used from any thread.

    Args:
        cache: How long and how many.
        now: The clock.
    """

    def __init__(self, cache: Cache, now: Callable[[], float]) -> None:
        self._cache = cache
        self._now = now
        self._lock = new_lock()
        self._entries: OrderedDict[Hashable, tuple[float, int, T]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable) -> T | None:
        """Return the result that is kept; None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            until, _, result = entry
            if self._now() >= until:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return result

    def keep(self, key: Hashable, result: T, size: int) -> None:
        """Keep a result.

        Args:
            key: What the calls have in common that may use it.
            result: Not to be changed by anybody.
            size: Its bytes.
        """
        own = key[-1] if isinstance(key, tuple) else key
        size += _ENTRY_BYTES + (len(own) if isinstance(own, str) else 0)
        if size > self._cache.max_bytes:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = self._now() + self._cache.seconds, size, result
            self._bytes += size
            while self._bytes > self._cache.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
