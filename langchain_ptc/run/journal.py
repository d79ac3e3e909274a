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
import os
import platform
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.errors import ConcurrentResumeError, ReplayError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.graph_state import CHECKPOINTER
from langchain_ptc.run.graph_tasks import ParallelRun, Place, TaskScope, entered, take_place

# --- one run at a time ------------------------------------------------------------------------------
# Two runs may resume one journal at once: two clicks on one button, two workers with one job. Each would
# make the next call. So a run writes a claim, of which checkpointers keep only the first, and reads back
# whose it was. A claim holds until it is released, until its process is known to have died, or until it
# expires, where that cannot be known.

ENTRY = "ptc_entry"
"""The channel of the journal's entries."""
_CLAIM, _RELEASE = "ptc_claim", "ptc_release"
_MARGIN_SECONDS = 30.0
"""What a claim holds beyond the time that its run may take: clocks of machines differ."""
_MAX_SECONDS = 3600.0
ENTER_SECONDS, _POLL_SECONDS = 1.0, 0.01
"""How long a run waits for another one of its process, which may be about to end, and how often it
polls."""

_Claim: TypeAlias = dict[str, Any]
_Key: TypeAlias = tuple[str, ...]


class _Refused(ConcurrentResumeError, GraphBubbleUp):
    """A `ConcurrentResumeError` that no node or middleware handles as the error of a tool."""


_Refused.__name__ = _Refused.__qualname__ = ConcurrentResumeError.__name__


class Claim:
    """The claim of one run to a journal.

    Args:
        key: Identifies the journal: thread and namespace.
        read: Returns the checkpoint of the journal.
        write: Writes a value to a channel of that checkpoint, beside the entries.
    """

    def __init__(
        self,
        key: _Key,
        read: Callable[[], Awaitable[CheckpointTuple | None]],
        write: Callable[[str, _Claim], Awaitable[None]],
    ) -> None:
        self._key = key
        self._read = read
        self._write = write
        self._run = uuid.uuid4().hex
        self._number: int | None = None

    async def take(
        self, loaded: CheckpointTuple | None, opening: Mapping[str, Any], seconds: float
    ) -> None:
        """Claim the journal.

        Args:
            loaded: The journal when this run began; None for a new one.
            opening: What the first claim stores; see `opening_of`.
            seconds: How long this run may take at most.

        Raises:
            ConcurrentResumeError: Another run of it is in progress, or was in the meantime.
        """
        until = time.time() + min(seconds + _MARGIN_SECONDS, _MAX_SECONDS)
        process = await call_in_thread(_this_process)
        claims = _claims_in(loaded)
        mine = {"run": self._run, "until": until, "number": len(claims), **process}
        await self._enter(mine)
        before = claims[-1] if claims else None
        if before is not None and await call_in_thread(lambda: _is_active(before, process)):
            self.forget()
            raise _refusal(before)
        await self._write(_CLAIM, mine if claims else {**mine, "opening": opening})
        self._number = mine["number"]
        now = await self._read()
        first = [*_claims_in(now), mine][len(claims)]
        if first["run"] != self._run:
            self._number = None
            self.forget()
            raise _refusal(None if first["released"] else first)
        if _count_entries(now) != _count_entries(loaded):
            await self.release()
            raise _refusal(None)

    async def _enter(self, mine: _Claim) -> None:
        """Keep other runs of this process out; wait a moment for one that is being cancelled."""
        end = time.monotonic() + ENTER_SECONDS
        while True:
            with _lock:
                other = own_claims.setdefault(self._key, mine)
            if other is mine:
                return
            if time.monotonic() >= end:
                raise _refusal(other)
            await asyncio.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """End the claim in this process, without a write: the run was refused, or has ended."""
        with _lock:
            if own_claims.get(self._key, {}).get("run") == self._run:
                del own_claims[self._key]

    async def release(self) -> None:
        """Let other runs continue the journal: this one has not reached its end."""
        self.forget()
        if self._number is not None:
            number, self._number = self._number, None
            await self._write(_RELEASE, {"run": self._run, "number": number})


_lock = new_lock()
own_claims: dict[_Key, _Claim] = {}
"""The claims of the runs in progress in this process."""


def _after_fork() -> None:
    global _lock
    _lock = new_lock()
    own_claims.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def opening_of(found: CheckpointTuple) -> Mapping[str, Any] | None:
    """Return what the first claim of a journal stores; None if it was never claimed."""
    claims = _claims_in(found)
    return claims[0]["opening"] if claims else None


def _claims_in(found: CheckpointTuple | None) -> list[_Claim]:
    """Return the claims of a journal in their order, each with whether it was `released`."""
    writes = () if found is None else found.pending_writes or ()
    claims = {value["number"]: value for _, channel, value in writes if channel == _CLAIM}
    released = {value["number"] for _, channel, value in writes if channel == _RELEASE}
    return [{**claims[number], "released": number in released} for number in sorted(claims)]


def _count_entries(found: CheckpointTuple | None) -> int:
    writes = () if found is None else found.pending_writes or ()
    return sum(channel == ENTRY for _, channel, _ in writes)


def _is_active(claim: _Claim, here: _Claim) -> bool:
    """Whether the run of a claim may still be in progress; `here` is this process."""
    if claim["released"]:
        return False
    if all(claim[name] == here[name] for name in ("host", "pid", "started")):
        return False  # one of this process would have been in `own_claims`
    if time.time() >= claim["until"]:
        return False
    return claim["host"] != here["host"] or _is_running(claim["pid"], claim["started"])


def _refusal(winner: _Claim | None) -> ConcurrentResumeError:
    if winner is None:
        return _Refused(
            "another run has resumed this execution in the meantime, and its question is answered; read the "
            "state of the thread again"
        )
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(winner["until"]))
    return _Refused(
        "another run of this execution is in progress, so this answer to its question is refused: a thread "
        "allows one run at a time. Wait for that run to end and read the state of the thread again; if it is "
        f"known to be dead, run the thread again after {when}"
    )


# --- processes --------------------------------------------------------------------------------------


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


@functools.cache
def name_host() -> str:
    """Return what identifies the processes that can see each other."""
    boot = _read_text("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{platform.node()} {uuid.getnode():x}"


def _stat(pid: int) -> tuple[str, str]:
    """Return the state of a process and when it started, in ticks since the boot."""
    fields = _read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _this_process() -> _Claim:
    pid = os.getpid()
    return {"host": name_host(), "pid": pid, "started": _stat(pid)[1]}


def _is_running(pid: int, started: str) -> bool:
    if started:
        state, since = _stat(pid)
        return since == started and state not in "ZX"
    if sys.platform == "win32":  # no signal is harmless there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# --- the journal itself ---------------------------------------------------------------------------

JournalEntry: TypeAlias = dict[str, Any]
"""One entry: JSON, bytes, and commands and messages, which LangGraph serializes itself."""

_DURABILITY = "__pregel_durability"
_DELAY_SECONDS = 0.005
"""How long an entry waits for others that are written with it, where the code does not wait for it."""
_NAMESPACE = uuid.UUID("9c2f64b5-3c55-4e0b-9d5a-0a4c9a1c8d11")


class Failures:
    """What a checkpointer does not write in one run of an execution."""

    def __init__(self) -> None:
        self.first: BaseException | None = None
        self.on_first: Callable[[BaseException], None] = lambda _: None
        """Is called with it, from any thread."""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note that something is not written."""
        try:
            yield
        except Exception as error:
            if self.first is None:
                error.add_note(
                    "The checkpointer did not record what this execution did. Calls that it has made "
                    "and that are not recorded are made again if the graph is run again."
                )
                self.first = error
                self.on_first(error)
            raise


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
        self.failures = Failures()
        self._saver: BaseCheckpointSaver[Any] = configurable[CHECKPOINTER]
        self._durability = configurable.get(_DURABILITY, "async")
        watched = _WatchedSaver(self._saver, self.failures, sync=sync)
        self.config: RunnableConfig = {
            **config,
            "configurable": {**configurable, CHECKPOINTER: watched},
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
        failures = self.failures
        while failures.first is None and (self._queue or self._is_writing):
            self._begin_to_write()
            if self._writer is not None:
                await asyncio.wait([self._writer])
        if failures.first is not None:
            raise failures.first

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
            self._claim = None

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
        if self.failures.first is not None:
            return
        entries, self._queue = self._queue, []
        with contextlib.suppress(Exception), self.failures.noted():
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
    """A checkpointer for the graphs that tools run, whose failures are noted.

    LangGraph writes in the background, and forgets what a write raised where a graph inside another is
    interrupted; a pause must have been recorded.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], failures: Failures, *, sync: bool) -> None:
        self._saver, self._failures, self._sync = saver, failures, sync

    def __getattribute__(self, name: str) -> Any:
        if name in ("_saver", "_failures", "_sync", "__class__", "__dict__"):
            return object.__getattribute__(self, name)
        saver, failures, sync = self._saver, self._failures, self._sync
        if name == "with_allowlist":
            return lambda *given: _WatchedSaver(saver.with_allowlist(*given), failures, sync=sync)
        if name in ("put", "put_writes"):
            return failures.noted()(getattr(saver, name))
        if name not in ("aput", "aput_writes", "aget_tuple"):
            return getattr(saver, name)
        method = _async_method(saver, name[1:], sync=sync)

        @functools.wraps(method)  # LangGraph inspects its parameters
        async def call(*given: Any, **options: Any) -> Any:
            with failures.noted():
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
