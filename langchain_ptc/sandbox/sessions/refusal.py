"""What cannot be kept, and how it is named."""

from __future__ import annotations

import asyncio
import concurrent.futures
import types
from collections.abc import Sequence


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


def _tell(value: object) -> tuple[str, str]:
    """Name what `value` is, as one and as many."""
    cls = type(value)
    for kind, one, many in _NAMES_OF_KINDS:
        if issubclass(cls, kind):
            return one, many
    name = cls.__qualname__
    if cls.__module__.partition(".")[0] in _NO_CONTENT:
        return f"{_article(name)} {name} object", "locks, queues and the like"
    if hasattr(cls, "__next__"):
        return f"an open iterator ({name})", "open iterators"
    if issubclass(cls, types.FunctionType):
        return f"the function {value.__name__!r}, which the code has not defined", "such functions"  # type: ignore[attr-defined]
    return f"{_article(name)} {name} object", f"{name} objects"


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def refuse(value: object) -> Unkeepable:
    """Build the error that says that `value` cannot be kept."""
    return Unkeepable(value, _tell(value))
