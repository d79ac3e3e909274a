"""Executions that run in parallel in one task of the user's graph.

A `ToolNode` runs all tool calls of a message in one task. Code in more than one of them needs two things:

- LangGraph identifies the graphs inside a task by the order in which they begin. That order is random
  where they begin in threads, or behind a middleware that takes its time: on resume one execution would
  be given the journal of another. So each has a place of its own, known from the message.
- The first interrupt that leaves a task ends it, and nothing waits for the rest. An execution that still
  ran would run on unseen, and make its calls beside those of the resumed graph; the question of one that
  had interrupted as well would not be shown. So an execution that pauses waits for the others, and all
  leave with all questions.

LangGraph has no public name for one attempt of one task; its scratchpad is made for each.
"""

from __future__ import annotations

import asyncio
import hashlib
import weakref
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import get_runtime
from langgraph.types import Interrupt

from langchain_ptc.locks import new_lock
from langchain_ptc.run.graph_state import find_call

_SCRATCHPAD = "__pregel_scratchpad"
_IN_MESSAGE, _IN_ORDER = 1, 2
"""How the place of an execution is known; the first digit of it."""
_DIGEST_CHARS = 12


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an execution among those of a task."""

    kind: int
    index: int
    """Which tool call of its message it is, from 0; 0 if there is no message."""
    number: int
    """Counts executions that nothing else distinguishes, from 0, in the order in which they begin."""


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


def identify(
    call_id: str | None, state: Any, arguments: Any, config: RunnableConfig
) -> tuple[Place, str | None]:
    """Return the place of an execution, and a prefix for the ids of its calls that no other one has.

    Some model servers give every tool call the same id, or count from 0 in each thread or message. A
    tool may pass the ids of its calls on as idempotency keys, so these must be unique all the same: the
    id is followed by a digest of the thread, of the message that made the call, and of the call's place.

    Args:
        call_id: The tool call that asked for the execution; None for none, and for no prefix.
        state: The state of the graph, with the message that made the call.
        arguments: Some of its arguments.
        config: Configuration of the graph.
    """
    message, index = find_call(call_id, state, arguments=arguments) or (None, None)
    place = take_place(index)
    made_by = None if message is None else message.id
    if call_id is None or (made_by := made_by or _task_id()) is None:
        return place, call_id
    thread = (config.get("configurable") or {}).get("thread_id")
    source = repr((str(thread), made_by, place))
    digest = hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()
    return place, f"{call_id}.{digest[:_DIGEST_CHARS]}"


def _task_id() -> str | None:
    try:
        info = getattr(get_runtime(), "execution_info", None)
    except (KeyError, RuntimeError):  # outside a graph
        return None
    return None if info is None else info.task_id


class ParallelRun:
    """One execution among those of a task; a context manager around its run.

    Args:
        place: Its place.

    Raises:
        GraphInterrupt: On entering, if another one has paused: nothing may begin any more.
    """

    def __init__(self, place: Place) -> None:
        self._configurable = get_config().get("configurable") or {}
        self._scratchpad = self._configurable.get(_SCRATCHPAD)
        self._attempt = _attempt_of(self._scratchpad)
        self._place = place
        self._alone: Future[None] = Future()
        """Done when this one has paused and no other runs."""

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
            _SCRATCHPAD: replace(self._scratchpad, subgraph_counter=lambda: 0),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        attempt = self._attempt
        released: list[Future[None]] = []
        with attempt.lock:
            attempt.running -= 1
            if isinstance(error, GraphInterrupt):
                attempt.is_paused = True
                attempt.interrupts.update({one.id: one for one in (error.args or ((),))[0]})
                attempt.waiting.append(self._alone)
            if not attempt.running:
                released, attempt.waiting = attempt.waiting, []
        for future in released:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    async def pause(self) -> GraphInterrupt:
        """Wait until no other execution of the task runs; return the interrupt with all questions."""
        await asyncio.wrap_future(self._alone)
        with self._attempt.lock:
            return GraphInterrupt(tuple(self._attempt.interrupts.values()))


def _attempt_of(scratchpad: Any) -> _Attempt:
    """Return the executions of an attempt, and forget them when LangGraph does."""
    key = getattr(scratchpad, "get_null_resume", None)
    if key is None:
        return _Attempt()
    info = get_runtime().execution_info
    with _lock:
        attempts = _attempts.setdefault(key, {})
        return attempts.setdefault(1 if info is None else info.node_attempt, _Attempt())
