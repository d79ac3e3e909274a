"""How many executions the code that runs here is inside of.

A tool may itself execute code, and the execution that called it waits for it. So the two must not wait
for each other's place, wherever the number of places is bounded.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_depth: contextvars.ContextVar[int] = contextvars.ContextVar("ptc_depth", default=0)


def current_depth() -> int:
    """Return the number of executions whose tools are at work here; 0 outside of any."""
    return _depth.get()


@contextlib.contextmanager
def one_deeper() -> Iterator[None]:
    """Count what begins within as inside of one execution more."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # closed by the garbage collector, in its context
            _depth.reset(token)
