"""What happens in an execution that is driven step by step, and how long its code computes between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_ptc.run.journal import Record
from langchain_ptc.sandbox.api import Moment


@dataclass(slots=True, eq=False)
class Event:
    """Something that will have happened."""

    key: str
    """What it is: the same key in the same place means the same path."""
    deliver: Callable[[Record, bool], None]
    """Takes its record, and whether it was recorded in an earlier run of the code."""
    is_timer: bool = False
    future: asyncio.Future[Record] = field(init=False)
    turn: asyncio.Future[tuple[int, Moment] | None] = field(init=False)
    """Its place in the order, once it has one; None to end without one."""
    body: asyncio.Task[Any] | None = None
    """What makes it happen, while it can be cancelled."""
    is_known: bool = False
    """Whether it is known if there is a record of it."""
    is_held: bool = False
    """It has interrupted the graph, and waits whether the graph is really to pause."""


class Computing:
    """How long code has computed: what it waits for is left out."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since: float | None = None

    def begin(self) -> None:
        """Note that the code goes on."""
        if self._since is None:
            self._since = time.monotonic()

    def end(self) -> None:
        """Note that it can only wait."""
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """How long, until now."""
        return self._seconds + (0.0 if self._since is None else time.monotonic() - self._since)
