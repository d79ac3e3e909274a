"""The checkpointer under a journal: the graph's own, watched, and taken by one run at a time.

LangGraph writes in the background, and forgets what a write raised where a graph inside another is
interrupted. A pause that returns must have been recorded: so the journal's graph writes through a
`WatchedSaver`, which knows what was not taken.

Two runs may also resume one journal at once: two clicks on one button, two workers with one job. Each
would make the next call. So whoever resumes a journal claims it first, by a write that savers keep only
once, and reads back whose it was. A claim holds until it is released; until its process is known to be
dead; or until its time is over, where that cannot be known.
"""

from __future__ import annotations

import asyncio
import functools
import os
import platform
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver, CheckpointTuple
from langgraph.errors import GraphBubbleUp

from langchain_ptc.errors import ConcurrentResumeError
from langchain_ptc.locks import new_lock
from langchain_ptc.run.private_loop import call_in_thread

_CLAIM, _RELEASE, _NOTE = "ptc_claim", "ptc_release", "ptc_note"
_OWN_CHANNELS = frozenset({_CLAIM, _RELEASE, _NOTE})
_MARGIN_SECONDS = 30.0
"""What a claim holds beyond the time that its run may take: clocks of machines differ."""
_MOST_SECONDS = 3600.0
_INPUT_STEP = -1
"""LangGraph's number of the checkpoint that a graph is begun with."""
_NAMESPACE = uuid.UUID("9c2f64b5-3c55-4e0b-9d5a-0a4c9a1c8d11")

_ENTER_SECONDS, _LOOK_SECONDS = 1.0, 0.01
"""How long a run waits for another one of its process, which is perhaps on its way out, and how often
it looks."""

_Claim: TypeAlias = dict[str, Any]
_Key: TypeAlias = tuple[str, ...]


class _Refused(ConcurrentResumeError, GraphBubbleUp):
    """A `ConcurrentResumeError` that no node and no middleware takes for the error of a tool."""


_Refused.__name__ = _Refused.__qualname__ = ConcurrentResumeError.__name__


class Watch:
    """What is known of one journal's checkpoints while a run drives it.

    Args:
        saver: Where the graph keeps them.
        configurable: The `configurable` of the journal's graph.
        sync: The graph runs synchronously.
    """

    def __init__(
        self, saver: BaseCheckpointSaver[Any], configurable: Mapping[str, Any], *, sync: bool
    ) -> None:
        self.saver = WatchedSaver(saver, self)
        self.loaded: CheckpointTuple | None = None
        """What was kept of the journal when this run began; None if it is the first."""
        self.failure: BaseException | None = None
        """Why the checkpointer did not take something; the first time."""
        self._inner = saver
        self._sync = sync
        self._listeners: list[Callable[[BaseException], None]] = []
        self._is_loaded = False
        self._place = {
            **configurable,
            "thread_id": str(configurable.get("thread_id")),
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        }
        self._place.pop("checkpoint_id", None)
        self._key: _Key = ()
        self._at = ""
        """The checkpoint that is claimed."""
        self._left_out: str | None = None
        self._run = uuid.uuid4().hex
        self._number: int | None = None

    # --- what the graph does ------------------------------------------------------------------------

    def note_read(self, config: RunnableConfig, found: CheckpointTuple | None) -> None:
        """Note what the graph reads: first of all, the journal."""
        configurable = config.get("configurable") or {}
        if (
            not self._is_loaded
            and configurable.get("checkpoint_ns") == self._place["checkpoint_ns"]
        ):
            self._is_loaded, self.loaded = True, found

    def leaves_out(self, config: RunnableConfig, given: Sequence[Any]) -> str | None:
        """Return the id of a checkpoint that is not written: the one before the journal's first.

        There is nothing in it that the first does not hold. A run that reads the journal so finds
        either nothing or the checkpoint that claims are beside.

        Args:
            config: Where LangGraph writes.
            given: What: a checkpoint and its metadata, or writes that belong to one.
        """
        configurable = config.get("configurable") or {}
        if configurable.get("checkpoint_ns") != self._place["checkpoint_ns"]:
            return None
        if isinstance(given[0], Mapping):
            checkpoint, metadata = given[:2]
            if metadata.get("step") == _INPUT_STEP:
                self._left_out = checkpoint["id"]
                return self._left_out
            return None
        return self._left_out if configurable.get("checkpoint_id") == self._left_out else None

    def note_failure(self, error: BaseException) -> None:
        """Note that something was not written."""
        if self.failure is None:
            error.add_note(
                "The checkpointer did not record what this execution did. Calls that it has made and "
                "that are not recorded are made again if the graph is run again."
            )
            self.failure = error
            for listener in self._listeners:
                listener(error)

    def on_failure(self, listener: Callable[[BaseException], None]) -> None:
        """Have `listener` called, from any thread, when something is not written."""
        self._listeners.append(listener)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The results that the journal held when this run began, in no order."""
        written = () if self.loaded is None else self.loaded.pending_writes or ()
        return [
            value
            for _, channel, value in written
            if _is_record(channel) and isinstance(value, dict)
        ]

    @property
    def notes(self) -> list[dict[str, Any]]:
        """The notes that the journal held when this run began, in no order."""
        written = () if self.loaded is None else self.loaded.pending_writes or ()
        return [value["note"] for _, channel, value in written if channel == _NOTE]

    async def keep(self, note: dict[str, Any], *, at: int, checkpoint_id: str) -> dict[str, Any]:
        """Keep a note beside the records, or return the one that was kept at this point before.

        Args:
            note: What to keep.
            at: The point.
            checkpoint_id: The checkpoint of the journal.
        """
        for _, channel, value in (
            None if self.loaded is None else self.loaded.pending_writes
        ) or ():
            if channel == _NOTE and value["number"] == at:
                kept: dict[str, Any] = value["note"]
                return kept
        await self._write(_NOTE, {"number": at, "note": note}, checkpoint_id)
        return note

    # --- one run at a time --------------------------------------------------------------------------

    async def claim(self, seconds: float, *, checkpoint_id: str) -> None:
        """Take the journal for this run.

        Args:
            seconds: How long this run may take at most.
            checkpoint_id: The checkpoint of the journal that this run is at.

        Raises:
            ConcurrentResumeError: Another run goes on with it, or has done so meanwhile.
        """
        place, loaded = self._place, self.loaded
        self._at = checkpoint_id if loaded is None else loaded.checkpoint["id"]
        self._key = (place["thread_id"], place["checkpoint_ns"], self._at)
        until = time.time() + min(seconds + _MARGIN_SECONDS, _MOST_SECONDS)
        process = await call_in_thread(_this_process)
        claims = [] if loaded is None else _claims_in(loaded)
        mine = {"run": self._run, "until": until, "number": len(claims), **process}
        await self._enter(mine)
        before = claims[-1] if claims else None
        if before is not None and await call_in_thread(
            functools.partial(_is_active, before, process)
        ):
            self.forget()
            raise _refusal(before)
        await self._write(_CLAIM, mine, self._at)
        self._number = mine["number"]
        now = await self._read()
        if now is None and loaded is None:
            return  # the checkpoint is not written yet, so no other run has read it
        is_same = now is not None and now.checkpoint["id"] == self._at
        if now is not None and is_same:
            first = [*_claims_in(now), mine][len(claims)]
            if first["run"] != self._run:
                self._number = None
                self.forget()
                raise _refusal(None if first["released"] else first)
            is_same = _records_in(now) == (set() if loaded is None else _records_in(loaded))
        if not is_same:
            await self.release()
            raise _refusal(None)

    async def _enter(self, mine: _Claim) -> None:
        """Keep other runs of this process out; wait a moment for one that is being cancelled."""
        end = time.monotonic() + _ENTER_SECONDS
        while True:
            with _lock:
                other = _own.setdefault(self._key, mine)
            if other is mine:
                return
            if time.monotonic() >= end:
                raise _refusal(other)
            await asyncio.sleep(_LOOK_SECONDS)

    def forget(self) -> None:
        """Note, without writing anything, that this run does not go on, or has come to its end."""
        with _lock:
            if _own.get(self._key, {}).get("run") == self._run:
                del _own[self._key]

    async def release(self) -> None:
        """Let other runs go on with the journal: this one has not come to its end."""
        self.forget()
        if self._number is not None:
            number, self._number = self._number, None
            await self._write(_RELEASE, {"run": self._run, "number": number}, self._at)

    async def _write(self, channel: str, value: _Claim, checkpoint_id: str) -> None:
        """Write beside the records; savers keep the first of all that is written under one id."""
        place = self._config(checkpoint_id=checkpoint_id)
        task_id = str(uuid.uuid5(_NAMESPACE, f"{channel}:{value['number']}"))
        writes = [(channel, value)]
        if self._sync:
            await call_in_thread(lambda: self._inner.put_writes(place, writes, task_id))
        else:
            await self._inner.aput_writes(place, writes, task_id)

    async def _read(self) -> CheckpointTuple | None:
        """Return the newest checkpoint of the journal."""
        place = self._config()
        if self._sync:
            return await call_in_thread(lambda: self._inner.get_tuple(place))
        return await self._inner.aget_tuple(place)

    def _config(self, **more: Any) -> RunnableConfig:
        return RunnableConfig(configurable={**self._place, **more})


# --- the checkpointer -------------------------------------------------------------------------------

_WRITING = ("put", "put_writes", "aput", "aput_writes")
_READING = ("get_tuple", "aget_tuple")


class WatchedSaver(BaseCheckpointSaver[Any]):
    """A checkpointer that does what another one does, and tells a `Watch` of it.

    Args:
        saver: The other one.
        watch: Is told.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], watch: Watch) -> None:
        self._saver = saver
        self._watch = watch

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__
        if name in ("_saver", "_watch", "__class__", "__dict__"):
            return own(self, name)
        value, watch = getattr(own(self, "_saver"), name), own(self, "_watch")
        if name in _WRITING:
            return _watched(
                _recorded(value, watch, is_async=name.startswith("a")),
                on_failure=watch.note_failure,
            )
        if name in _READING:
            return _watched(value, on_read=watch.note_read)
        if name == "with_allowlist":
            return lambda *given: WatchedSaver(value(*given), watch)
        return value


def _recorded(method: Callable[..., Any], watch: Watch, *, is_async: bool) -> Callable[..., Any]:
    """Return a method that writes, which leaves out what `watch` leaves out."""

    async def later(value: Any) -> Any:
        return value

    @functools.wraps(method)
    def call(config: RunnableConfig, *given: Any, **options: Any) -> Any:
        left_out = watch.leaves_out(config, given)
        if left_out is None:
            return method(config, *given, **options)
        place = {**config.get("configurable", {}), "checkpoint_id": left_out}
        where = RunnableConfig(configurable=place)
        return later(where) if is_async else where

    return call


def _watched(
    method: Callable[..., Any],
    *,
    on_failure: Callable[[BaseException], None] | None = None,
    on_read: Callable[[RunnableConfig, CheckpointTuple | None], None] | None = None,
) -> Callable[..., Any]:
    """Return a method, synchronous or not, whose outcome is told."""

    def note(given: tuple[Any, ...], outcome: Any, error: Exception | None) -> None:
        if error is not None and on_failure is not None:
            on_failure(error)
        elif error is None and on_read is not None:
            on_read(given[0], outcome)

    async def wait(given: tuple[Any, ...], outcome: Awaitable[Any]) -> Any:
        try:
            value = await outcome
        except Exception as error:
            note(given, None, error)
            raise
        note(given, value, None)
        return value

    @functools.wraps(method)  # LangGraph looks which arguments it takes
    def call(*given: Any, **options: Any) -> Any:
        try:
            outcome = method(*given, **options)
        except Exception as error:
            note(given, None, error)
            raise
        if isinstance(outcome, Awaitable):
            return wait(given, outcome)
        note(given, outcome, None)
        return outcome

    return call


# --- claims -----------------------------------------------------------------------------------------

_lock = new_lock()
_own: dict[_Key, _Claim] = {}
"""The claims of runs of this process that go on."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own.clear)


def _claims_in(found: CheckpointTuple) -> list[_Claim]:
    """Return the claims of a journal, in their order; those that were released say so."""
    claims: dict[int, _Claim] = {}
    released: set[int] = set()
    for _, channel, value in found.pending_writes or ():
        if channel == _CLAIM:
            claims[value["number"]] = value
        elif channel == _RELEASE:
            released.add(value["number"])
    ordered = [claims[number] for number in sorted(claims)]
    return [{**claim, "released": claim["number"] in released} for claim in ordered]


def _records_in(found: CheckpointTuple) -> set[str]:
    """Return which tasks of a journal have a result."""
    return {task_id for task_id, channel, _ in found.pending_writes or () if _is_record(channel)}


def _is_record(channel: str) -> bool:
    return channel not in _OWN_CHANNELS and channel not in WRITES_IDX_MAP


def _is_active(claim: _Claim, here: _Claim) -> bool:
    """Whether the run of a claim may still go on; `here` is this process."""
    if claim["released"]:
        return False
    if all(claim[name] == here[name] for name in ("host", "pid", "started")):
        return False  # one of this process would have been in `_own`
    if time.time() >= claim["until"]:
        return False
    return claim["host"] != here["host"] or _is_running(claim["pid"], claim["started"])


def _refusal(winner: _Claim | None) -> ConcurrentResumeError:
    if winner is None:
        return _Refused(
            "this execution was resumed by another run meanwhile, which has gone on; its question is "
            "answered. Read the state of the thread anew"
        )
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(winner["until"]))
    return _Refused(
        "another run is going on with this execution, so this answer to its question is refused: each "
        "thread takes one run at a time. Wait for that run and read the state of the thread anew; if "
        f"it is known to be dead, run the thread again after {when}"
    )


# --- processes --------------------------------------------------------------------------------------


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


@functools.cache
def _host() -> str:
    """Return what tells processes that can see each other from all others."""
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
    return {"host": _host(), "pid": pid, "started": _stat(pid)[1]}


def _is_running(pid: int, started: str) -> bool:
    if started:
        state, since = _stat(pid)
        return since == started and state not in "ZX"
    if sys.platform == "win32":  # there is no harmless signal
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
