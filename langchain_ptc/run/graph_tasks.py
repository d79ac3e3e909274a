"""What is a task for LangGraph: the executions that run in one, and what each of their events needs of one.

A `ToolNode` runs all tool calls of a message in one task. Code in more than one of them needs two things:

- What is found by the order in which executions begin would be random where they begin in threads, or
  behind a middleware that takes its time: on resume one execution would be given the journal of another.
  So each has a place of its own, known from the message.
- The first interrupt that leaves a task ends it, and nothing waits for the rest. An execution that still
  ran would run on unseen, and make its calls beside those of the resumed graph; the question of one that
  had interrupted as well would not be shown. So an execution that pauses waits for the others, those that
  have yet to begin among them, and all leave with all questions.

And a call of the code may interrupt the graph, run a graph of its own, or call a LangGraph `@task`. LangGraph
tells these apart by the task that they happen in: by its namespace, and by counters and answers in its
scratchpad. So each call gets a namespace and a scratchpad of its own, and what they count does not depend
on the order in which concurrent calls reach it.

LangGraph has no public name for one attempt of one task, nor for what a task has in its configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import itertools
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.func import entrypoint, task
from langgraph.runtime import get_runtime
from langgraph.types import Interrupt, interrupt

from langchain_ptc.locks import new_lock
from langchain_ptc.run.graph_state import find_call

SCRATCHPAD = "__pregel_scratchpad"
_RUNTIME = "__pregel_runtime"
_SEND = "__pregel_send"
_CALL = "__pregel_call"
_RESUME_MAP = "__pregel_resume_map"
_IN_MESSAGE, _IN_ORDER, _TASK = 1, 2, 3
"""How the place of an execution is known, and that of a `@task`; the first digit of it."""
_DIGEST_CHARS = 12
BEGIN_SECONDS = 1.0
"""How long an execution that pauses waits for others of its message to begin: one may never do so."""


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
        self.expected = self.begun = self.running = 0
        """Executions that the message asks for here, as far as is known; that have begun; that run."""
        self.interrupts: dict[str, Interrupt] = {}
        self.is_paused = False
        self.waiting: list[Future[None]] = []

    def let_go(self) -> list[Future[None]]:
        """Return those that have paused and may leave: all if no other runs, or is to begin; else none."""
        if self.running or self.begun < self.expected:
            return []
        self.is_paused = self.is_paused or bool(self.waiting)
        released, self.waiting = self.waiting, []
        return released


_lock = new_lock()
_attempts: weakref.WeakKeyDictionary[Any, dict[int, _Attempt]] = weakref.WeakKeyDictionary()


def take_place(index: int | None, expected: int = 1) -> Place:
    """Return the place of an execution that begins.

    Args:
        index: Which tool call of its message it is, from 0; None if there is no message, for one that
            begins in the same order each time.
        expected: How many the message asks for in this task, this one included.
    """
    kind = (_IN_ORDER, 0) if index is None else (_IN_MESSAGE, index)
    try:
        configurable = get_config().get("configurable") or {}
    except RuntimeError:  # outside a graph
        configurable = {}
    attempt = _attempt_of(configurable.get(SCRATCHPAD))
    with attempt.lock:
        attempt.expected = max(attempt.expected, expected)
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
    expected = 1
    if message is not None and index is not None and not _is_sent():
        names = [call["name"] for call in message.tool_calls]
        expected = names.count(names[index])
    place = take_place(index, expected)
    made_by = None if message is None else message.id
    if call_id is None or (made_by := made_by or _task_id()) is None:
        return place, call_id
    thread = (config.get("configurable") or {}).get("thread_id")
    source = repr((str(thread), made_by, place))
    digest = hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()
    return place, f"{call_id}.{digest[:_DIGEST_CHARS]}"


def _is_sent() -> bool:
    """Whether the task is one of a `Send`, which agents make for each tool call."""
    try:
        metadata = get_config().get("metadata") or {}
    except RuntimeError:  # outside a graph
        return False
    return (metadata.get("langgraph_path") or ("",))[0] == "__pregel_push"


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
        self._scratchpad = self._configurable.get(SCRATCHPAD)
        self._attempt = _attempt_of(self._scratchpad)
        self._place = place
        self._alone: Future[None] = Future()
        """Done when this one has paused and no other runs."""

    def __enter__(self) -> dict[str, Any]:
        """Return the `configurable` for the execution."""
        attempt = self._attempt
        with attempt.lock:
            if attempt.is_paused:
                self._alone.set_result(None)
                raise GraphInterrupt(())
            attempt.begun += 1
            attempt.running += 1
        place = f"{self._place.kind}{self._place.index:05}{self._place.number:05}"
        return TaskScope(self._configurable, place).configurable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        attempt = self._attempt
        with attempt.lock:
            attempt.running -= 1
            if isinstance(error, GraphInterrupt):
                attempt.interrupts.update({one.id: one for one in (error.args or ((),))[0]})
                attempt.waiting.append(self._alone)
            released = attempt.let_go()
        _settle(released)

    async def pause(self) -> GraphInterrupt:
        """Wait until no other execution of the task runs, or is to begin; return all questions."""
        attempt, alone = self._attempt, asyncio.wrap_future(self._alone)
        with attempt.lock:
            is_complete = attempt.begun >= attempt.expected
        if not is_complete:
            await asyncio.wait({alone}, timeout=BEGIN_SECONDS)
            with attempt.lock:
                attempt.expected = 0
                released = attempt.let_go()
            _settle(released)
        await alone
        with attempt.lock:
            return GraphInterrupt(tuple(attempt.interrupts.values()))


def _settle(futures: list[Future[None]]) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_result(None)


def _attempt_of(scratchpad: Any) -> _Attempt:
    """Return the executions of an attempt, and forget them when LangGraph does."""
    key = getattr(scratchpad, "get_null_resume", None)
    if key is None:
        return _Attempt()
    info = get_runtime().execution_info
    with _lock:
        attempts = _attempts.setdefault(key, {})
        return attempts.setdefault(1 if info is None else info.node_attempt, _Attempt())


# --- events -----------------------------------------------------------------------------------------


class TaskScope:
    """The `configurable` for what happens in one event.

    Args:
        configurable: That of the task around it.
        segment: What its namespace adds: digits, which LangGraph takes for no level of their own.
        answers: What earlier runs have answered to its questions, in their order; None if no person was
            shown any: an answer that names no question is not for it.
    """

    def __init__(
        self, configurable: Mapping[str, Any], segment: str, answers: Sequence[Any] | None = ()
    ) -> None:
        outer, runtime = configurable[SCRATCHPAD], configurable[_RUNTIME]
        namespace = f"{configurable['checkpoint_ns']}|{segment}"
        self.answers = list(answers or ())
        """What was answered to its questions until now."""

        self.configurable: dict[str, Any] = {
            **configurable,
            "checkpoint_ns": namespace,
            SCRATCHPAD: replace(
                outer,
                resume=self.answers,
                get_null_resume=functools.partial(_null_resume, outer, answers is not None),
                interrupt_counter=itertools.count().__next__,
                subgraph_counter=itertools.count().__next__,
            ),
            _SEND: _refuse_writes,
            _RUNTIME: runtime.patch_execution_info(
                task_id=f"{runtime.execution_info.task_id}|{segment}", checkpoint_ns=namespace
            ),
            _CALL: functools.partial(_call_task, itertools.count(), asyncio.get_running_loop()),
        }
        if given := configurable.get(_RESUME_MAP):
            asked = [question for question in self._next_questions() if question in given]
            self.answers += [given[question] for question in asked[:1]]

    def _next_questions(self) -> Iterator[str]:
        """Yield the ids that LangGraph may have shown the next question of this scope with."""
        given, scratchpad = len(self.answers), self.configurable[SCRATCHPAD]
        asking = replace(
            scratchpad, interrupt_counter=lambda: given, get_null_resume=lambda _: None
        )
        with entered({"configurable": {**self.configurable, SCRATCHPAD: asking}}):
            try:
                interrupt(None)
            except GraphInterrupt as error:
                yield error.args[0][0].id
        yield Interrupt.from_ns(None, self.configurable["checkpoint_ns"]).id  # of older versions


def _null_resume(outer: Any, is_asked: bool, consume: bool = False) -> Any:
    """Return an answer that names no question, if it may be for the scope."""
    return outer.get_null_resume(consume) if is_asked else None


def _refuse_writes(writes: Sequence[tuple[str, Any]]) -> None:
    """Refuse what would be written into the graph's state: no entry holds it, so a resume would lose it.

    Answers to interrupts, which LangGraph writes too, are dropped: a scope has its own.

    Raises:
        RuntimeError: Something is written into a channel of the state.
    """
    if channels := [channel for channel, _ in writes if not channel.startswith("__")]:
        raise RuntimeError(
            f"a tool wrote {', '.join(map(repr, channels))} into the graph's state in a way that cannot be "
            "recorded for a resume; return a Command(update=...) instead, or set durable='never'"
        )


@contextlib.contextmanager
def entered(config: RunnableConfig) -> Iterator[None]:
    """Have LangGraph's functions find this configuration."""
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def place_here(config: RunnableConfig) -> RunnableConfig:
    """Return the caller's config, with the place in the graph of what is being recorded.

    Callbacks, tags and metadata stay the caller's: what happens there is traced and streamed as the
    caller's own. An interrupt is identified by the place.
    """
    place = get_config().get("configurable") or {}
    return {**config, "configurable": {**(config.get("configurable") or {}), **place}}


# --- a `@task` in a tool ----------------------------------------------------------------------------

_called: contextvars.ContextVar[tuple[Any, Any, Any]] = contextvars.ContextVar("ptc_called_task")


def _call_task(
    numbers: Iterator[int],
    loop: asyncio.AbstractEventLoop,
    function: Any,
    given: Any,
    *,
    callbacks: Any = None,
    **policies: Any,
) -> Any:
    """Call a `@task` in a graph of its own, which records what it returns; return a future."""
    number = next(numbers)
    configurable = get_config()["configurable"]  # not bound: a cycle for each call of the code

    async def run() -> Any:
        scope = TaskScope(configurable, f"{_TASK}{number:010}")
        _called.set((function, given, policies))
        config = RunnableConfig(configurable=scope.configurable, callbacks=callbacks)
        return await _task_graph().ainvoke(0, config)

    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    return (
        asyncio.ensure_future(run()) if is_here else asyncio.run_coroutine_threadsafe(run(), loop)
    )


@functools.cache
def _task_graph() -> Any:
    @entrypoint()
    async def run(_: int) -> Any:
        function, (args, kwargs), policies = _called.get()
        return await task(**policies)(function)(*args, **kwargs)

    return run
