"""Large data: told from small data at little cost, and processed in threads, off the event loop.

Two threads for the whole process, since each piece of work takes much memory, and a thread that waits
for the interpreter waits for every other one that computes. What runs there must not wait for anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

_MAX_THREADS = 2
_MANY_PARTS = 5_000
_MANY_CHARS = 1_000_000
_SMALL = frozenset({type(None), bool, int, float})
_TEXTS, _CONTAINERS = frozenset({str, bytes}), frozenset({list, dict, tuple})

_threads: tuple[int, ThreadPoolExecutor] | None = None


def large_data_threads() -> ThreadPoolExecutor:
    """Return the threads for large data; a forked process has lost those of its parent."""
    global _threads
    pid = os.getpid()
    if _threads is None or _threads[0] != pid:
        _threads = pid, ThreadPoolExecutor(_MAX_THREADS, "langchain-ptc large data")
    return _threads[1]


def is_large(value: object) -> bool:
    """Return whether a value has many parts or long texts; looks at no more than a few thousand."""
    waiting, parts, chars = [value], 0, 0
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind in _SMALL:  # the common types are known without asking about abstract classes
            continue
        if kind in _TEXTS or isinstance(part, str | bytes):
            chars += len(part)  # type: ignore[arg-type]  # it has one
        elif kind is range:  # of which `len` may be too large for an index
            parts += (part.stop - part.start) // part.step  # type: ignore[attr-defined]
        elif kind in _CONTAINERS or isinstance(part, Mapping | list | tuple | AbstractSet):
            parts += len(part)  # type: ignore[arg-type]  # it has one
            if parts > _MANY_PARTS:
                return True
            if kind is dict or isinstance(part, Mapping):
                waiting += part.values()  # type: ignore[attr-defined]  # it is a mapping
            else:
                waiting += part  # type: ignore[arg-type]  # it can be iterated over
        if parts > _MANY_PARTS or chars > _MANY_CHARS:
            return True
    return False
