"""A circuit breaker: the state of one tool that keeps failing.

```
closed ──`failures` in a row──> open ──`reset_seconds`──> half_open ──success──> closed
                                  ^                          │
                                  └─────────failure──────────┘
```

Half open, one call is let through to see: the probe. One that never ends must not keep the breaker half
open for ever, so it holds for `reset_seconds` only, and then another call may try. A call that ends late,
from before the breaker's last change, says nothing of how the tool is now and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from langchain_ptc.catalog.policy import Breaker
from langchain_ptc.locks import new_lock

State: TypeAlias = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave for one try."""

    era: int
    """Number of the change of state that it was given after."""
    state: State


@dataclass(frozen=True, slots=True)
class Refusal:
    """No leave."""

    failures: int
    """Failures in a row, so far."""
    seconds: float
    """Until another try may be let through."""


class BreakerState:
    """The breaker of one tool; used from any thread.

    Args:
        breaker: When it opens, and for how long.
        now: The clock.
    """

    def __init__(self, breaker: Breaker, now: Callable[[], float]) -> None:
        self._breaker = breaker
        self._now = now
        self._lock = new_lock()
        self._failures = 0
        self._era = 0
        self._opened_at: float | None = None
        """When it opened, or the last probe began; None while it is closed."""
        self._is_probing = False
        self._closed = Pass(0, "closed")  # one for all calls of an era: it is made for each of them

    @property
    def state(self) -> State:
        """What it is now."""
        with self._lock:
            if self._opened_at is None:
                return "closed"
            return "half_open" if self._is_probing or not self._left() else "open"

    def look(self) -> Refusal | None:
        """Say whether a try would be refused, without asking for leave."""
        with self._lock:
            return self._refusal()

    def enter(self) -> Pass | Refusal:
        """Ask for leave for a try; whoever gets it must `leave`."""
        with self._lock:
            if self._opened_at is None:
                return self._closed
            refusal = self._refusal()
            if refusal is not None:
                return refusal
            self._era += 1
            self._is_probing, self._opened_at = True, self._now()
            return Pass(self._era, "half_open")

    def leave(self, given: Pass, *, failed: bool | None) -> None:
        """Say how a try ended.

        Args:
            given: Its leave.
            failed: None if it says nothing of the tool, for example because it was cancelled.
        """
        with self._lock:
            if given.era != self._era:
                return
            if failed is None:
                # The next one may probe at once: this one has not found out anything.
                if self._is_probing:
                    self._opened_at = self._now() - self._breaker.reset_seconds
            elif not failed:
                self._failures = 0
                if self._opened_at is not None:
                    self._change(None)
            else:
                self._failures += 1
                if self._is_probing or self._failures >= self._breaker.failures:
                    self._change(self._now())

    def _change(self, opened_at: float | None) -> None:
        self._era += 1
        self._is_probing, self._opened_at = False, opened_at
        self._closed = Pass(self._era, "closed")

    def _left(self) -> float:
        assert self._opened_at is not None
        return max(0.0, self._opened_at + self._breaker.reset_seconds - self._now())

    def _refusal(self) -> Refusal | None:
        if self._opened_at is None or not (left := self._left()):
            return None
        return Refusal(self._failures, left)
