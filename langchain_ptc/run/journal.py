"""The journal of one execution: what happened in it is kept in the checkpoints of the graph.

LangGraph runs an interrupted node again from its start. So that nothing happens twice, an execution
that has a checkpointer is a graph of one node inside the user's graph, and each thing that happens in
it is a `@task` of that node: its outcome is written to the checkpoint, and handed out instead of
happening again when the node is run again.

Why a graph of its own, and not tasks of the node that runs the code:

- A task takes a thread of its graph's pool, or a place of `max_concurrency`, while the node that waits
  for it holds one too. Six nodes side by side on two cores, or `max_concurrency=1`, wait for ever.
- A task's result is an `updates` event of its graph. Who reads `data["messages"]` of each would break.
- Two executions in one node would share one count of tasks, by which results are told apart.

Only what is public of LangGraph is used, but for the name of one key; see `has_checkpointer`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config, get_stream_writer
from langgraph.errors import GraphInterrupt
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from langchain_ptc.run.asking import CHECKPOINTER
from langchain_ptc.run.parallel_pauses import Place, Sibling, take_place
from langchain_ptc.run.private_loop import run_sync
from langchain_ptc.run.saver import Watch

Record: TypeAlias = dict[str, Any]
"""What is kept of one thing that happened: JSON, and commands, which LangGraph writes itself."""

_HIDDEN = "langsmith:hidden"
_NO_PARAMETERS = inspect.Signature()
_NO_LIMIT = 1_000_000
"""Records that wait for their turn must not keep others from being begun; who limits the calls is
`CallRunner`."""


class _State(TypedDict, total=False):
    opening: Record
    ending: Record


class Journal:
    """Keeps records in the order in which they are begun.

    Args:
        sync: The graph runs synchronously.
        watch: The checkpoints that it is kept in.
    """

    def __init__(self, *, sync: bool, watch: Watch) -> None:
        info = get_runtime().execution_info
        assert info is not None  # it is made by a node
        self.sync = sync
        self._watch = watch
        self._checkpoint_id = info.checkpoint_id

    async def claim(self, seconds: float) -> None:
        """Take the journal for this run, before anything happens in it.

        Args:
            seconds: How long this run may take at most.

        Raises:
            ConcurrentResumeError: Another run goes on with it.
        """
        await self._watch.claim(seconds, checkpoint_id=self._checkpoint_id)

    @property
    def records(self) -> list[Record]:
        """What was recorded before this run, in no order."""
        return self._watch.records

    @property
    def computed_seconds(self) -> float:
        """How long the code had computed, waiting left out, when last something was recorded."""
        kept = (*self._watch.records, *self._watch.notes)
        return max((float(one.get("computed", 0.0)) for one in kept), default=0.0)

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Have `listener` called, from any thread, when the checkpointer does not take a record."""
        self._watch.on_failure(listener)

    def record(self, name: str, body: Callable[[], Awaitable[Record]]) -> asyncio.Future[Record]:
        """Begin `body` and keep what it returns; or return what was kept of it.

        Begin the same things in the same order each time: that, and the name, is how records are told
        apart.

        Args:
            name: What happens, for traces.
            body: What to do; runs only if there is no record of it. May interrupt the graph.

        Returns:
            A future of the record. It raises what `body` raised, `GraphInterrupt` among it.
        """
        if self.sync:

            def run() -> Record:
                return run_sync(_awaited(body()))

            started: Any = cast("Any", task(name=name))(run)()
            if started.done():  # kept: known at once, before anything that still runs
                known: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
                error = started.exception()
                known.set_result(started.result()) if error is None else known.set_exception(error)
                return known
            return asyncio.wrap_future(started)

        async def arun() -> Record:
            return await body()

        arun.__signature__ = _NO_PARAMETERS  # type: ignore[attr-defined]  # else it is looked for

        return cast("asyncio.Future[Record]", cast("Any", task(name=name))(arun)())

    async def keep(self, note: Record, *, at: int) -> Record:
        """Keep a note at a point of the journal, or return the one that was kept there.

        A note is no record: it is found by its point, whatever was begun before.

        Args:
            note: What to keep.
            at: The point, as a number of the caller's.
        """
        return await self._watch.keep(note, at=at, checkpoint_id=self._checkpoint_id)


async def _awaited(awaitable: Awaitable[Record]) -> Record:
    return await awaitable


Main: TypeAlias = Callable[[Journal, Record], Awaitable[Record]]
"""What to do with a journal: is given the opening record, returns the ending one."""

_driven: contextvars.ContextVar[tuple[Main, Watch]] = contextvars.ContextVar("ptc_driven")


async def arun_journaled(
    main: Main,
    opening: Record,
    *,
    place: Place | None = None,
) -> Record:
    """Run `main` with a journal in the checkpoints of the surrounding graph.

    Args:
        main: Runs again from its start whenever the graph is resumed, until it has returned.
        opening: Kept the first time; `main` is given what was kept.
        place: Its place among those of its task; by default the next, for one that begins in the same
            order each time.

    Returns:
        What `main` returned, now or before.

    Raises:
        GraphInterrupt: `main`, or what it records, interrupted the graph.
    """
    write = get_stream_writer()
    state: Record = {}
    sibling = Sibling(place or take_place(None))
    watch: Watch | None = None
    token = None
    try:
        with sibling as given:
            configurable, watch = _watched(given, sync=False)
            token = _driven.set((main, watch))
            async for mode, chunk in _graph(sync=False).astream(
                {"opening": opening},
                _config(_NO_LIMIT, configurable),
                stream_mode=["custom", "values"],
            ):
                if mode == "custom":
                    write(chunk)
                else:
                    state = cast("Record", chunk)
            watch.forget()  # LangGraph has written the end
    except BaseException as error:
        if watch is not None:
            await _release(watch, error)
            if isinstance(error, GraphInterrupt) and watch.failure is not None:
                raise watch.failure from None
        if isinstance(error, GraphInterrupt):
            raise await sibling.apause() from None
        raise
    finally:
        if token is not None:
            _driven.reset(token)
    return cast("Record", state["ending"])


def run_journaled(
    main: Main,
    opening: Record,
    *,
    most_at_once: int,
    place: Place | None = None,
) -> Record:
    """Run `main` as `arun_journaled` does, in a graph that runs synchronously.

    Args:
        main: See `arun_journaled`; so are `opening` and `place`.
        opening: See above.
        most_at_once: How many records may be on their way at a time; each takes a thread.
        place: See above.
    """
    write = get_stream_writer()
    state: Record = {}
    sibling = Sibling(place or take_place(None))
    watch: Watch | None = None
    token = None
    try:
        with sibling as given:
            configurable, watch = _watched(given, sync=True)
            token = _driven.set((main, watch))
            for mode, chunk in _graph(sync=True).stream(
                {"opening": opening},
                _config(most_at_once + 2, configurable),
                stream_mode=["custom", "values"],
            ):
                if mode == "custom":
                    write(chunk)
                else:
                    state = cast("Record", chunk)
            watch.forget()  # LangGraph has written the end
    except BaseException as error:
        if watch is not None:
            run_sync(_release(watch, error))
            if isinstance(error, GraphInterrupt) and watch.failure is not None:
                raise watch.failure from None
        if isinstance(error, GraphInterrupt):
            raise sibling.pause() from None
        raise
    finally:
        if token is not None:
            _driven.reset(token)
    return cast("Record", state["ending"])


async def _release(watch: Watch, error: BaseException) -> None:
    """Let other runs go on with a journal, which this run leaves by `error`.

    Raises:
        Exception: The checkpointer did not take it, at a pause. Any other end stays what it is.
    """
    try:
        await watch.release()
    except Exception as failure:
        if isinstance(error, GraphInterrupt):
            raise
        error.add_note(f"The checkpointer did not record that this run has ended: {failure!r}")


def _watched(configurable: dict[str, Any], *, sync: bool) -> tuple[dict[str, Any], Watch]:
    """Return the configurable of a journal's graph, with its checkpointer watched, and the watch."""
    watch = Watch(configurable[CHECKPOINTER], configurable, sync=sync)
    return {**configurable, CHECKPOINTER: watch.saver}, watch


@functools.cache
def _graph(*, sync: bool) -> CompiledStateGraph[_State]:
    async def arun(state: _State) -> _State:
        main, watch = _driven.get()
        return {"ending": await main(Journal(sync=False, watch=watch), state["opening"])}

    def run(state: _State) -> _State:
        main, watch = _driven.get()
        ending = run_sync(_awaited(main(Journal(sync=True, watch=watch), state["opening"])))
        return {"ending": ending}

    graph = StateGraph(_State)
    graph.add_node("execution", run if sync else arun)
    graph.add_edge(START, "execution")
    return graph.compile(name="journal")


def _config(max_concurrency: int, configurable: dict[str, Any]) -> RunnableConfig:
    # The traces are of the code and its tools; the graph in between is no concern of theirs.
    return RunnableConfig(
        tags=[_HIDDEN],
        max_concurrency=max_concurrency,
        recursion_limit=25,
        configurable=configurable,
    )


def place_here(config: RunnableConfig) -> RunnableConfig:
    """Return the caller's config, with the place in the graph of the record that is being made.

    Callbacks, tags and metadata stay the caller's: what happens in a record is traced and streamed as
    the caller's own. The place is what an interrupt is known by.
    """
    place = get_config().get("configurable") or {}
    return {**config, "configurable": {**(config.get("configurable") or {}), **place}}


def has_checkpointer(config: RunnableConfig) -> bool:
    """Whether `config` is of a graph that keeps checkpoints.

    LangGraph has no public question for it; the key is the one by which it tells its own subgraphs.
    """
    configurable: Mapping[str, Any] = config.get("configurable") or {}
    return configurable.get(CHECKPOINTER) is not None
