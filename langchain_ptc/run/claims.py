"""One run at a time: a run that resumes a journal claims it first.

Two runs may resume one journal at once: two clicks on one button, two workers with one job. Each would
make the next call. So a run writes a claim, of which checkpointers keep only the first, and reads back
whose it was. A claim holds until it is released, until its process is known to have died, or until it
expires, where that cannot be known.
"""

from __future__ import annotations

import asyncio
import functools
import os
import platform
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import GraphBubbleUp

from langchain_ptc.background_loop import call_in_thread
from langchain_ptc.errors import ConcurrentResumeError
from langchain_ptc.locks import new_lock

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
