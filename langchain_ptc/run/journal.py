"""The journal of one execution: what happened in it is written to the checkpoints of the graph.

LangGraph runs an interrupted node again from its start. So that nothing happens twice, an execution in a
graph with a checkpointer has a journal: a list of entries, which a run of the execution first replays and
then appends to. It is a checkpoint in a namespace of its own, below that of the task that runs the code,
and its entries are writes that belong to it. Only the public interface of checkpointers is used, so what
holds for the user's own checkpoints (encryption, deletion and copies of a thread) holds for the journal.

When an entry is written follows from the graph's `durability`. With `"async"`, LangGraph's default, it is
written in the background, together with what comes within a few milliseconds or while the previous write is
in progress; with `"sync"` before the code continues; with `"exit"` when the execution pauses, fails or ends.
Writes are made one after another, so what is in the checkpoints is always the journal as it was at some
time. A pause and the end are waited for.

It takes no `@task`s of LangGraph: each costs four times what a tool call does, takes a thread or a slot of
`max_concurrency` while the node that waits for it holds one too, and is an `updates` event of the user's
graph.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.errors import ReplayError
from langchain_ptc.run.claims import ENTRY, Claim, opening_of
from langchain_ptc.run.graph_state import CHECKPOINTER
from langchain_ptc.run.graph_tasks import (
    ParallelRun,
    Place,
    TaskScope,
    entered,
    take_place,
)

JournalEntry: TypeAlias = dict[str, Any]
"""One entry: JSON, bytes, and commands and messages, which LangGraph serializes itself."""

_DURABILITY = "__pregel_durability"
_DELAY_SECONDS = 0.005
"""How long an entry waits for others that are written with it, where the code does not wait for it."""
_NAMESPACE = uuid.UUID("9c2f64b5-3c55-4e0b-9d5a-0a4c9a1c8d11")


class Journal:
    """The journal of one execution, during one run of it. Made by `run_journaled`.

    Args:
        config: The configuration of the task, with a namespace for the journal.
        opening: What a new journal begins with.
        sync: The user's graph runs synchronously: its checkpointer and its store are called in threads.
    """

    def __init__(self, config: RunnableConfig, opening: JournalEntry, *, sync: bool) -> None:
        configurable = config["configurable"]
        self.sync = sync
        self.opening = opening
        """What the journal begins with: that of the first run."""
        self.entries: Sequence[JournalEntry] = ()
        """What was recorded before this run, in its order."""
        self.failure: BaseException | None = None
        """Why the checkpointer did not write something; the first time."""
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        """Is called then, from any thread."""
        self._saver: BaseCheckpointSaver[Any] = configurable[CHECKPOINTER]
        self._durability = configurable.get(_DURABILITY, "async")
        self.config: RunnableConfig = {
            **config,
            "configurable": {**configurable, CHECKPOINTER: _WatchedSaver(self._saver, self)},
        }
        """The configuration for what happens in the execution."""
        self._id = str(uuid.uuid5(_NAMESPACE, configurable["checkpoint_ns"]))
        self._place: dict[str, Any] = {**configurable, "thread_id": str(configurable["thread_id"])}
        self._place.pop("checkpoint_id", None)
        self._loaded: CheckpointTuple | None = None
        self._is_created = False
        self._unread: Iterator[JournalEntry] = iter(())
        self._numbers = itertools.count()
        self._scopes = itertools.count()
        self._queue: list[tuple[int, JournalEntry | Callable[[], JournalEntry]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._claim: Claim | None = None

    async def load(self) -> None:
        """Read what was recorded before.

        Raises:
            ReplayError: It is the journal of another version of this package.
        """
        self._loaded = loaded = await self._read()
        if loaded is None:
            return
        if loaded.checkpoint["id"] != self._id:
            raise ReplayError(
                "an earlier version of langchain-ptc began this execution, and its journal cannot be "
                "read; run the thread again from a checkpoint before it"
            )
        self.opening = dict(opening_of(loaded) or self.opening)
        written = [entry for _, channel, entry in loaded.pending_writes or () if channel == ENTRY]
        self.entries = sorted(written, key=lambda entry: int(entry["number"]))
        self._unread = iter(self.entries)
        self._numbers = itertools.count(len(self.entries))

    async def claim(self, seconds: float) -> None:
        """Claim the journal for this run, before anything happens in it.

        Args:
            seconds: How long this run may take at most.

        Raises:
            ConcurrentResumeError: Another run of it is in progress.
        """
        await self._create()
        key = (self._place["thread_id"], self._place["checkpoint_ns"])
        self._claim = Claim(key, self._read, self._write_beside)
        await self._claim.take(self._loaded, self.opening, seconds)

    # --- entries ------------------------------------------------------------------------------------

    def take(self) -> JournalEntry | None:
        """Return the next entry of an earlier run; None if all were taken."""
        return next(self._unread, None)

    async def append(
        self, entry: JournalEntry | Callable[[], JournalEntry], *, is_awaited: bool = False
    ) -> None:
        """Record an entry.

        Args:
            entry: What happened, or a function that returns it when it is written.
            is_awaited: Return when it is written, unless nothing is before the end.
        """
        self._queue.append((next(self._numbers), entry))
        if self._durability == "exit":
            return
        if is_awaited or self._durability == "sync":
            await self.flush()
        else:
            self._write_soon()

    async def flush(self) -> None:
        """Return when everything is written.

        Raises:
            Exception: The checkpointer has failed.
        """
        while self.failure is None and (self._queue or self._is_writing):
            self._begin_to_write()
            if self._writer is not None:
                await asyncio.wait([self._writer])
        if self.failure is not None:
            raise self.failure

    async def record(
        self, kind: str, key: str, body: Callable[[], Awaitable[JournalEntry]]
    ) -> JournalEntry:
        """Run `body` and record what it returns; or return what was recorded of it.

        For what happens one after another; entries of another kind that come first are dropped.

        Args:
            kind: What happens.
            key: What it is about; an answer of a person is for the key that was shown.
            body: What to do; runs only if there is no entry of it. May interrupt the graph.
        """
        asked: JournalEntry | None = None
        while (entry := self.take()) is not None:
            if entry["kind"] == kind and "answers" not in entry:
                return entry
            asked = entry if entry["kind"] == kind and entry["key"] == key else None
        answers = None if asked is None else asked["answers"]
        scope = TaskScope(self.config["configurable"], str(next(self._scopes)), answers)
        about: JournalEntry = {"kind": kind, "key": key}
        try:
            with entered({**get_config(), "configurable": scope.configurable}):
                entry = {**await body(), **about}
        except GraphInterrupt:
            await self.append({**about, "answers": scope.answers})
            raise
        await self.append(entry, is_awaited=True)
        return entry

    # --- the end of the run -------------------------------------------------------------------------

    async def end(self, ending: JournalEntry) -> None:
        """Record the end of the execution; nothing else of it is needed then.

        Raises:
            Exception: The checkpointer has failed.
        """
        self._queue.clear()
        self._queue.append((next(self._numbers), {"ending": ending}))
        await self.flush()
        if self._claim is not None:
            self._claim.forget()

    async def leave(self, error: BaseException) -> None:
        """Let other runs continue the journal, which this run leaves with `error`.

        Raises:
            Exception: The checkpointer has failed, and `error` is a pause.
        """
        failures: list[Exception] = []
        for step in (self.flush, None if self._claim is None else self._claim.release):
            try:
                if step is not None:
                    await step()
            except Exception as failure:  # noqa: BLE001  # whatever a checkpointer raises
                failures.append(failure)
        if failures and isinstance(error, GraphInterrupt):
            raise failures[0] from None
        for lost in failures:
            if lost is not error:
                error.add_note(f"The checkpointer did not record how this run ended: {lost!r}")

    # --- the checkpointer ---------------------------------------------------------------------------

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
                self.on_failure(error)
            raise

    @property
    def _is_writing(self) -> bool:
        return self._writer is not None and not self._writer.done()

    def _write_soon(self) -> None:
        if self._timer is None and not self._is_writing:
            later = asyncio.get_running_loop().call_later
            self._timer = later(_DELAY_SECONDS, self._begin_to_write)

    def _begin_to_write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and not self._is_writing:
            self._writer = asyncio.ensure_future(self._write_queue())

    async def _write_queue(self) -> None:
        """Write all that is queued; nothing after a failure."""
        if self.failure is not None:
            return
        entries, self._queue = self._queue, []
        with contextlib.suppress(Exception), self.noting_failures():
            await self._create()
            writes = [
                (ENTRY, {**(entry() if callable(entry) else entry), "number": number})
                for number, entry in entries
            ]
            await self._write(writes, f"{ENTRY}:{entries[0][0]}")
        self._writer = None
        if self._queue:
            self._write_soon()

    async def _create(self) -> None:
        if self._is_created or self._loaded is not None:
            return
        put = _async_method(self._saver, "put", sync=self.sync)
        metadata = {"source": "loop", "step": 0, "parents": self._place.get("checkpoint_map", {})}
        config = RunnableConfig(
            metadata=self.config.get("metadata") or {}, configurable=self._place
        )
        await put(config, {**empty_checkpoint(), "id": self._id}, metadata, {})
        self._is_created = True

    async def _write_beside(self, channel: str, value: JournalEntry) -> None:
        """Write beside the entries; of several under one task id, checkpointers store the first."""
        await self._write([(channel, value)], f"{channel}:{value['number']}")

    async def _write(self, writes: Sequence[tuple[str, JournalEntry]], name: str) -> None:
        write = _async_method(self._saver, "put_writes", sync=self.sync)
        place = RunnableConfig(configurable={**self._place, "checkpoint_id": self._id})
        await write(place, writes, str(uuid.uuid5(_NAMESPACE, name)))

    async def _read(self) -> CheckpointTuple | None:
        read = _async_method(self._saver, "get_tuple", sync=self.sync)
        found = await read(RunnableConfig(configurable=self._place))
        return cast("CheckpointTuple | None", found)


class _WatchedSaver(BaseCheckpointSaver[Any]):
    """A checkpointer for the graphs that tools run, whose failures a journal notes.

    LangGraph writes in the background, and forgets what a write raised where a graph inside another is
    interrupted; a pause must have been recorded.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], journal: Journal) -> None:
        self._saver = saver
        self._journal = journal

    def __getattribute__(self, name: str) -> Any:
        if name in ("_saver", "_journal", "__class__", "__dict__"):
            return object.__getattribute__(self, name)
        saver, journal = self._saver, self._journal
        if name == "with_allowlist":
            return lambda *given: _WatchedSaver(saver.with_allowlist(*given), journal)
        if name in ("put", "put_writes"):
            return journal.noting_failures()(getattr(saver, name))
        if name not in ("aput", "aput_writes", "aget_tuple"):
            return getattr(saver, name)
        method = _async_method(saver, name[1:], sync=journal.sync)

        @functools.wraps(method)  # LangGraph inspects its parameters
        async def call(*given: Any, **options: Any) -> Any:
            with journal.noting_failures():
                return await method(*given, **options)

        return method if name == "aget_tuple" else call


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


Main: TypeAlias = Callable[[Journal, JournalEntry], Awaitable[JournalEntry]]
"""What to do with a journal: is given its opening, returns its ending."""


async def run_journaled(
    main: Main, opening: JournalEntry, *, place: Place | None = None, sync: bool = False
) -> JournalEntry:
    """Run `main` with a journal in the checkpoints of the surrounding graph.

    Args:
        main: Runs again from its start whenever the graph is resumed, until it has returned.
        opening: What a new journal begins with; on resume, `main` is given that of the first run.
        place: Its place among those of its task; by default the next, for one that begins in the same
            order each time.
        sync: The surrounding graph runs synchronously; see `Journal`.

    Returns:
        What `main` returned, now or before.

    Raises:
        GraphInterrupt: `main` interrupted the graph.
    """
    among = ParallelRun(place or take_place(None))
    journal: Journal | None = None
    try:
        with among as configurable:
            config: RunnableConfig = {**get_config(), "configurable": configurable}
            journal = Journal(config, opening, sync=sync)
            with entered(journal.config):
                await journal.load()
                last = journal.entries[-1] if journal.entries else {}
                if (ending := last.get("ending")) is None:
                    ending = await main(journal, journal.opening)
                    await journal.end(ending)
                return cast("JournalEntry", ending)
    except BaseException as error:
        if journal is not None:
            await journal.leave(error)
        if isinstance(error, GraphInterrupt):
            raise await among.pause() from None
        raise
