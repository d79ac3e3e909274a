"""Watches sockets for event loops that cannot: Windows' default loop, the Proactor, has no `add_reader`.

One thread of the process selects on all of their sockets, and has each loop call what it was given. A socket that is
ready is watched again once that was done, so that a callback is called as often as by a loop's own selector.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from langchain_ptc.locks import ServiceThread, new_lock


class Watcher(Protocol):
    """The part of an event loop that watches sockets."""

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> object:
        """Call `callback(*args)` whenever the socket can be read."""
        ...

    def remove_reader(self, fd: int) -> object:
        """Call it no longer."""
        ...

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> object:
        """Call `callback(*args)` whenever the socket can be written."""
        ...

    def remove_writer(self, fd: int) -> object:
        """Call it no longer."""
        ...


def watcher_of(loop: asyncio.AbstractEventLoop) -> Watcher:
    """Return what watches sockets for a loop: itself, if it can."""
    can_watch = type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
    return loop if can_watch else _ThreadWatcher(loop)


class _Watched:
    """One direction of one socket, from when it is added until it is removed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, is_reader: bool, call: Callable[[], object]
    ) -> None:
        self.loop, self.fd, self.is_reader, self.call = loop, fd, is_reader, call
        self.is_removed = False

    def post(self) -> None:
        """Have the loop call it; from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        if not self.is_removed:
            try:
                self.call()
            finally:
                if not self.is_removed:
                    _thread().watch(self)


class _ThreadWatcher:
    """Watches sockets for one user of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[tuple[int, bool], _Watched] = {}

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._add(fd, True, lambda: callback(*args))

    def remove_reader(self, fd: int) -> None:
        self._remove(fd, True)

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._add(fd, False, lambda: callback(*args))

    def remove_writer(self, fd: int) -> None:
        self._remove(fd, False)

    def _add(self, fd: int, is_reader: bool, call: Callable[[], object]) -> None:
        self._remove(fd, is_reader)
        watched = self._watched[fd, is_reader] = _Watched(self._loop, fd, is_reader, call)
        _thread().watch(watched)

    def _remove(self, fd: int, is_reader: bool) -> None:
        watched = self._watched.pop((fd, is_reader), None)
        if watched is not None:
            watched.is_removed = True
            _thread().wake()  # before the socket is closed, or soon after: see `_select`


class _SelectingThread:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self._new: deque[_Watched] = deque()
        self._wakes, self._woken = socket.socketpair()
        for end in (self._wakes, self._woken):
            end.setblocking(False)
        ServiceThread(self._serve, name="langchain-ptc sockets").start()

    def watch(self, watched: _Watched) -> None:
        """Post `watched` once, when its socket is ready."""
        self._new.append(watched)
        self.wake()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake
            self._wakes.send(b".")

    def _serve(self) -> None:
        watching: set[_Watched] = set()
        while True:
            while self._new:
                watching.add(self._new.popleft())
            watching = {watched for watched in watching if not watched.is_removed}
            readable, writable = self._select(watching)
            for watched in [w for w in watching if w.fd in (readable if w.is_reader else writable)]:
                watching.discard(watched)
                watched.post()

    def _select(self, watching: set[_Watched]) -> tuple[list[int], list[int]]:
        readers = [watched.fd for watched in watching if watched.is_reader]
        writers = [watched.fd for watched in watching if not watched.is_reader]
        woken = self._woken.fileno()
        try:
            # Windows reports a connection that failed among the exceptional ones.
            readable, writable, failed = select.select([woken, *readers], writers, writers)
        except (OSError, ValueError):  # one is closed: who watches it is called, and hears so
            return _usable(readers, []), _usable([], writers)
        if woken in readable:
            with contextlib.suppress(OSError):
                self._woken.recv(4096)
        return readable, [*writable, *failed]


def _usable(readers: list[int], writers: list[int]) -> list[int]:
    """Return which of some sockets are ready, or closed."""
    found = []
    for fd in (*readers, *writers):
        try:
            ready = select.select([fd] if readers else [], [fd] if writers else [], [], 0)
        except (OSError, ValueError):
            found.append(fd)
        else:
            found += [*ready[0], *ready[1]]
    return found


_lock = new_lock()
_running: list[_SelectingThread] = []


def _thread() -> _SelectingThread:
    """Return the thread of this process."""
    with _lock:
        if not _running or _running[-1].pid != os.getpid():
            _running.append(_SelectingThread())  # what a forked child has of its parent's is kept
        return _running[-1]
