"""Executions side by side in one task of the user's graph.

A `ToolNode` runs all tool calls of a message in one task. Two things follow for code in more than one
of them, and are seen to here:

- LangGraph tells the graphs inside a task apart by the order in which they begin. That is chance where
  they begin in threads, or behind a middleware that takes its time: on resume one execution would be
  given the journal of another. So each has a place of its own, known from the message.
- The first interrupt that leaves a task ends it, and nobody waits for the rest. What still ran would
  run on unseen, and make its calls beside those of the resumed graph; what had interrupted as well
  would not be shown. So an execution that pauses waits for its siblings, and all leave with all
  questions.

LangGraph has no public name for one attempt of one task; its scratchpad is made for each.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import get_runtime
from langgraph.types import Interrupt

from langchain_ptc.locks import new_lock

_SCRATCHPAD = "__pregel_scratchpad"
_IN_MESSAGE, _IN_ORDER = 1, 2
"""How the place of an execution is known; the first digit of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an execution among those of a task."""

    kind: int
    index: int
    """Which tool call of its message it is, from 0; 0 if there is no message."""
    number: int
    """Which of those that nothing else tells apart, from 0, in the order in which they begin."""


class _Attempt:
    """One attempt of a task, and the executions in it."""

    def __init__(self) -> None:
        self.lock = new_lock()
        self.places: Counter[tuple[int, int]] = Counter()
        self.running = 0
        self.interrupts: dict[str, Interrupt] = {}
        self.is_paused = False
        self.waiting: list[Future[None]] = []


_lock = new_lock()
_attempts: weakref.WeakKeyDictionary[Any, dict[int, _Attempt]] = weakref.WeakKeyDictionary()


def take_place(index: int | None) -> Place:
    """Return the place of an execution that begins.

    Args:
        index: Which tool call of its message it is, from 0; None if there is no message, for one that
            begins in the same order each time.
    """
    kind = (_IN_ORDER, 0) if index is None else (_IN_MESSAGE, index)
    try:
        configurable = get_config().get("configurable") or {}
    except RuntimeError:  # outside a graph
        configurable = {}
    attempt = _attempt_of(configurable.get(_SCRATCHPAD))
    with attempt.lock:
        number = attempt.places[kind]
        attempt.places[kind] += 1
    return Place(*kind, number)


class Sibling:
    """One execution among those of a task; a context manager around its run.

    Args:
        place: Its place.

    Raises:
        GraphInterrupt: On entering, if a sibling has paused: nothing may begin any more.
    """

    def __init__(self, place: Place) -> None:
        self._configurable = get_config().get("configurable") or {}
        self._scratchpad = self._configurable.get(_SCRATCHPAD)
        self._attempt = _attempt_of(self._scratchpad)
        self._place = place
        self._alone: Future[None] = Future()
        """Done when this one has paused and no sibling runs."""

    def __enter__(self) -> dict[str, Any]:
        """Return the `configurable` for the execution's graph."""
        attempt = self._attempt
        with attempt.lock:
            if attempt.is_paused:
                self._alone.set_result(None)
                raise GraphInterrupt(())
            attempt.running += 1
        if self._scratchpad is None:
            return self._configurable
        # LangGraph's own form for a further graph of the same task: a number.
        place = f"{self._place.kind}{self._place.index:05}{self._place.number:05}"
        return {
            **self._configurable,
            "checkpoint_ns": f"{self._configurable['checkpoint_ns']}|{place}",
            _SCRATCHPAD: replace(self._scratchpad, subgraph_counter=_first),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        is_pause = isinstance(error, GraphInterrupt)
        interrupts = error.args[0] if is_pause and error is not None and error.args else ()
        attempt = self._attempt
        with attempt.lock:
            attempt.running -= 1
            attempt.interrupts.update({interrupt.id: interrupt for interrupt in interrupts})
            attempt.is_paused = attempt.is_paused or is_pause
            if is_pause:
                attempt.waiting.append(self._alone)
            released: list[Future[None]] = []
            if not attempt.running:
                released, attempt.waiting = attempt.waiting, []
        for future in released:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def pause(self) -> GraphInterrupt:
        """Wait, in a thread, until no sibling runs; return what to leave with."""
        self._alone.result()
        return self._pause()

    async def apause(self) -> GraphInterrupt:
        """Wait until no sibling runs; return what to leave with."""
        await asyncio.wrap_future(self._alone)
        return self._pause()

    def _pause(self) -> GraphInterrupt:
        with self._attempt.lock:
            return GraphInterrupt(tuple(self._attempt.interrupts.values()))


def _attempt_of(scratchpad: Any) -> _Attempt:
    """Return what is known of the attempt, and forget it when LangGraph does."""
    key = getattr(scratchpad, "get_null_resume", None)
    if key is None:
        return _Attempt()
    number = get_runtime().execution_info
    with _lock:
        attempts = _attempts.setdefault(key, {})
        return attempts.setdefault(number.node_attempt if number is not None else 1, _Attempt())


def _first() -> int:
    return 0
