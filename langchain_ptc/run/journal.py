"""The journal of one execution: what happened in it is kept in the checkpoints of the graph.

LangGraph runs an interrupted node again from its start. So that nothing happens twice, an execution
that has a checkpointer is a graph of one node inside the user's graph, and each event of it is a `@task`
of that node: its outcome is written to the checkpoint, and returned from there when the node runs again.

Why a graph of its own, and not tasks of the node that runs the code:

- A task takes a thread of its graph's pool, or a slot of `max_concurrency`, while the node that waits
  for it holds one too. Six parallel nodes on two cores, or `max_concurrency=1`, would deadlock.
- A task's result is an `updates` event of its graph. Code that reads `data["messages"]` of each would
  break.
- Two executions in one node would share one count of tasks, by which results are identified.

The journal's graph always runs asynchronously, for a synchronous caller on the private loop; a
synchronous checkpointer is called in threads, then.

LangGraph writes in the background, and forgets what a write raised where a graph inside another is
interrupted. A pause must have been recorded: so the journal's graph writes through a `_WatchedSaver`.

Only public names of LangGraph are used, but for one key; see `checkpointer_of`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.config import get_config, get_stream_writer
from langgraph.errors import GraphInterrupt
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime

from langchain_ptc.run.claims import NOTE, Claim, is_entry
from langchain_ptc.run.parallel_pauses import ParallelRun, Place, take_place
from langchain_ptc.run.private_loop import call_in_thread

JournalEntry: TypeAlias = dict[str, Any]
"""What is kept of one event: JSON, and commands, which LangGraph serializes itself."""

_CHECKPOINTER = "__pregel_checkpointer"
_HIDDEN = "langsmith:hidden"
_NO_PARAMETERS = inspect.Signature()
_NO_LIMIT = 1_000_000
"""Entries that wait for their turn must not keep others from being begun; `CallRunner` limits the
calls."""
_INPUT_STEP = -1
"""LangGraph's number of the checkpoint that a graph is begun with."""
_NAMESPACE = uuid.UUID("9c2f64b5-3c55-4e0b-9d5a-0a4c9a1c8d11")


def checkpointer_of(config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Return the checkpointer of the graph that `config` is of; None if it has none.

    LangGraph has no public way to ask; the key is the one by which its own subgraphs find it.
    """
    found = (config.get("configurable") or {}).get(_CHECKPOINTER)
    return found if isinstance(found, BaseCheckpointSaver) else None


def place_here(config: RunnableConfig) -> RunnableConfig:
    """Return the caller's config, with the place in the graph of the entry that is being made.

    Callbacks, tags and metadata stay the caller's: what happens in an entry is traced and streamed as
    the caller's own. An interrupt is identified by the place.
    """
    place = get_config().get("configurable") or {}
    return {**config, "configurable": {**(config.get("configurable") or {}), **place}}


class Journal:
    """The journal of one execution, while one run goes on with it. Made by `run_journaled`.

    Args:
        configurable: The `configurable` of the journal's graph.
        sync: The user's graph runs synchronously: its checkpointer and its store are called in threads.
    """

    def __init__(self, configurable: Mapping[str, Any], *, sync: bool) -> None:
        self.sync = sync
        self.failure: BaseException | None = None
        """Why the checkpointer did not write something; the first time."""
        self._saver: BaseCheckpointSaver[Any] = configurable[_CHECKPOINTER]
        self.configurable = {**configurable, _CHECKPOINTER: _WatchedSaver(self._saver, self)}
        """The `configurable` to run the journal's graph with."""
        self._place = {
            **configurable,
            "thread_id": str(configurable.get("thread_id")),
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        }
        self._place.pop("checkpoint_id", None)
        self._loaded: CheckpointTuple | None = None
        """The journal when this run began; None for a new one."""
        self._is_loaded = False
        self._skipped: str | None = None
        self._listeners: list[Callable[[BaseException], None]] = []
        self._checkpoint_id = ""
        self._claim: Claim | None = None

    async def claim(self, seconds: float) -> None:
        """Claim the journal for this run, before anything happens in it.

        Args:
            seconds: How long this run may take at most.

        Raises:
            ConcurrentResumeError: Another run is going on with it.
        """
        info = get_runtime().execution_info
        assert info is not None  # the journal's graph runs
        self._checkpoint_id = info.checkpoint_id
        at = info.checkpoint_id if self._loaded is None else self._loaded.checkpoint["id"]
        self._claim = Claim(
            (self._place["thread_id"], self._place["checkpoint_ns"], at),
            self._read,
            functools.partial(self._write, at),
        )
        await self._claim.take(self._loaded, seconds)

    @property
    def entries(self) -> list[JournalEntry]:
        """What was recorded before this run, in no order."""
        written = () if self._loaded is None else self._loaded.pending_writes or ()
        return [
            entry for _, channel, entry in written if is_entry(channel) and isinstance(entry, dict)
        ]

    @property
    def notes(self) -> dict[int, JournalEntry]:
        """The notes that were kept before this run; see `keep`."""
        written = () if self._loaded is None else self._loaded.pending_writes or ()
        return {note["number"]: note["note"] for _, channel, note in written if channel == NOTE}

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Have `listener` called, from any thread, when the checkpointer fails to write something."""
        self._listeners.append(listener)

    def record(
        self, name: str, body: Callable[[], Awaitable[JournalEntry]]
    ) -> asyncio.Future[JournalEntry]:
        """Begin `body` and keep what it returns; or return what was kept of it.

        Begin the same events in the same order each time: entries are identified by that, and by their
        name.

        Args:
            name: What happens, for traces.
            body: What to do; runs only if there is no entry of it. May interrupt the graph.

        Returns:
            A future of the entry. It raises what `body` raised, and `GraphInterrupt`.
        """

        async def run() -> JournalEntry:
            return await body()

        run.__signature__ = _NO_PARAMETERS  # type: ignore[attr-defined]  # else it is looked for
        return cast("asyncio.Future[JournalEntry]", cast("Any", task(name=name))(run)())

    async def keep(self, note: JournalEntry, *, at: int) -> JournalEntry:
        """Keep a note at a point of the journal, or return the one that was kept there.

        A note is no entry: it is found by its point, whatever was begun before.

        Args:
            note: What to keep.
            at: The point, as a number of the caller's.
        """
        if (kept := self.notes.get(at)) is not None:
            return kept
        await self._write(self._checkpoint_id, NOTE, {"number": at, "note": note})
        return note

    # --- the end of the run -------------------------------------------------------------------------

    def finish(self) -> None:
        """End the claim; LangGraph has written the end of the journal."""
        if self._claim is not None:
            self._claim.forget()

    async def leave(self, error: BaseException) -> None:
        """Let other runs go on with the journal, which this run leaves by `error`.

        Raises:
            Exception: The checkpointer has failed, and `error` is a pause.
        """
        try:
            if self._claim is not None:
                await self._claim.release()
        except Exception as failure:
            if isinstance(error, GraphInterrupt):
                raise
            error.add_note(f"The checkpointer did not record that this run has ended: {failure!r}")
        if isinstance(error, GraphInterrupt) and self.failure is not None:
            raise self.failure from None

    # --- the checkpointer ---------------------------------------------------------------------------

    async def _write(self, at: str, channel: str, value: JournalEntry) -> None:
        """Write beside the entries; checkpointers keep the first of all that has one task id."""
        task_id = str(uuid.uuid5(_NAMESPACE, f"{channel}:{value['number']}"))
        write = _async_method(self._saver, "put_writes", sync=self.sync)
        await write(self._config(checkpoint_id=at), [(channel, value)], task_id)

    async def _read(self) -> CheckpointTuple | None:
        """Return the newest checkpoint of the journal."""
        read = _async_method(self._saver, "get_tuple", sync=self.sync)
        return cast("CheckpointTuple | None", await read(self._config()))

    def _config(self, **more: Any) -> RunnableConfig:
        return RunnableConfig(configurable={**self._place, **more})

    def note_read(self, config: RunnableConfig, found: CheckpointTuple | None) -> None:
        """Note what the graph reads: first of all, the journal."""
        if not self._is_loaded and self._is_own(config):
            self._is_loaded, self._loaded = True, found

    def skip(self, config: RunnableConfig, given: Sequence[Any]) -> RunnableConfig | None:
        """Return where a checkpoint would be that is not written: the one before the journal's first.

        The first holds all that is in it. So a run that reads the journal finds either nothing, or the
        checkpoint that has the claims.

        Args:
            config: Where LangGraph writes.
            given: What: a checkpoint and its metadata, or writes that belong to one.
        """
        if not self._is_own(config):
            return None
        if isinstance(given[0], Mapping):
            is_skipped = given[1].get("step") == _INPUT_STEP
            self._skipped = given[0]["id"] if is_skipped else self._skipped
        else:
            is_skipped = config["configurable"].get("checkpoint_id") == self._skipped
        return (
            RunnableConfig(configurable={**config["configurable"], "checkpoint_id": self._skipped})
            if is_skipped and self._skipped is not None
            else None
        )

    def _is_own(self, config: RunnableConfig) -> bool:
        configurable = config.get("configurable") or {}
        return bool(configurable.get("checkpoint_ns") == self._place["checkpoint_ns"])

    @contextlib.contextmanager
    def noting_failures(self) -> Iterator[None]:
        """Note that something is not written."""
        try:
            yield
        except Exception as error:
            if self.failure is None:
                error.add_note(
                    "The checkpointer did not record what this execution did. Calls that it has made "
                    "and that are not recorded are made again if the graph is run again."
                )
                self.failure = error
                for listener in self._listeners:
                    listener(error)
            raise


class _WatchedSaver(BaseCheckpointSaver[Any]):
    """A checkpointer that does what another one does, watched by a journal.

    Args:
        saver: The other one.
        journal: Watches it.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], journal: Journal) -> None:
        self._saver = saver
        self._journal = journal

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__
        if name in ("_saver", "_journal", "__class__", "__dict__"):
            return own(self, name)
        saver, journal = own(self, "_saver"), own(self, "_journal")
        if name == "with_allowlist":
            return lambda *given: _WatchedSaver(saver.with_allowlist(*given), journal)
        if name in ("put", "put_writes"):  # of a graph in a tool
            return journal.noting_failures()(getattr(saver, name))
        if name in ("aput", "aput_writes", "aget_tuple"):
            return _watched(_async_method(saver, name[1:], sync=journal.sync), journal, name)
        return getattr(saver, name)


def _watched(method: Callable[..., Awaitable[Any]], journal: Journal, name: str) -> Any:
    @functools.wraps(method)  # LangGraph looks which arguments it takes
    async def call(config: RunnableConfig, *given: Any, **options: Any) -> Any:
        if name == "aget_tuple":
            found = await method(config, *given, **options)
            journal.note_read(config, found)
            return found
        if (skipped := journal.skip(config, given)) is not None:
            return skipped
        with journal.noting_failures():
            return await method(config, *given, **options)

    return call


def _async_method(
    saver: BaseCheckpointSaver[Any], name: str, *, sync: bool
) -> Callable[..., Awaitable[Any]]:
    """Return an async method of a checkpointer, or its synchronous one as one that runs in threads."""
    if not sync:
        return cast("Callable[..., Awaitable[Any]]", getattr(saver, f"a{name}"))
    method = getattr(saver, name)

    @functools.wraps(method)
    async def call(*given: Any, **options: Any) -> Any:
        return await call_in_thread(lambda: method(*given, **options))

    return call


# --- the journal's graph ----------------------------------------------------------------------------

Main: TypeAlias = Callable[[Journal, JournalEntry], Awaitable[JournalEntry]]
"""What to do with a journal: is given its first entry, returns its last one."""

_driven: contextvars.ContextVar[tuple[Main, Journal]] = contextvars.ContextVar("ptc_driven")


class _State(TypedDict, total=False):
    opening: JournalEntry
    ending: JournalEntry


async def run_journaled(
    main: Main, opening: JournalEntry, *, place: Place | None = None, sync: bool = False
) -> JournalEntry:
    """Run `main` with a journal in the checkpoints of the surrounding graph.

    Args:
        main: Runs again from its start whenever the graph is resumed, until it has returned.
        opening: The journal's first entry; on resume, `main` is given the one that was kept.
        place: Its place among those of its task; by default the next, for one that begins in the same
            order each time.
        sync: The surrounding graph runs synchronously; see `Journal`.

    Returns:
        What `main` returned, now or before.

    Raises:
        GraphInterrupt: `main`, or what it records, interrupted the graph.
    """
    among = ParallelRun(place or take_place(None))
    journal: Journal | None = None
    try:
        with among as configurable:
            journal = Journal(configurable, sync=sync)
            ending = await _run_graph(main, journal, opening)
            journal.finish()
            return ending
    except BaseException as error:
        if journal is not None:
            await journal.leave(error)
        if isinstance(error, GraphInterrupt):
            raise await among.pause() from None
        raise


async def _run_graph(main: Main, journal: Journal, opening: JournalEntry) -> JournalEntry:
    """Run the journal's graph, and pass on what tools write to its custom stream."""
    write, state = get_stream_writer(), {}
    config = RunnableConfig(
        tags=[_HIDDEN],  # traces show the code and its tools, not the graph in between
        max_concurrency=_NO_LIMIT,
        recursion_limit=25,
        configurable=journal.configurable,
    )
    token = _driven.set((main, journal))
    try:
        async for mode, chunk in _graph().astream(
            {"opening": opening}, config, stream_mode=["custom", "values"]
        ):
            if mode == "custom":
                write(chunk)
            else:
                state = cast("JournalEntry", chunk)
    finally:
        _driven.reset(token)
    return cast("JournalEntry", state["ending"])


@functools.cache
def _graph() -> CompiledStateGraph[_State]:
    async def run(state: _State) -> _State:
        main, journal = _driven.get()
        return {"ending": await main(journal, state["opening"])}

    graph = StateGraph(_State)
    graph.add_node("execution", run)
    graph.add_edge(START, "execution")
    return graph.compile(name="journal")
