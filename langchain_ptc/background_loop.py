"""Event loops in threads of their own, for synchronous callers and for what must outlive a caller's loop.

A loop stays for the life of the process, not for one call: clients that asynchronous tools keep
(connections, MCP sessions, chat models) are bound to the loop on which they were first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import new_lock

T = TypeVar("T")

_WAKE_SECONDS = 0.5
_BLOCKED_SECONDS = 30.0
"""How long a loop may leave what it is to run unbegun. A tool that blocks it may wait for that itself,
through another thread, and would for ever."""

logger = logging.getLogger("langchain_ptc")

_lock = new_lock()
_all: list[BackgroundLoop] = []
_lost: list[object] = []
"""What a forked child has of its parent, and must not finalize."""


class BackgroundLoop:
    """An event loop in a thread of its own, started when it is first needed; one for each purpose.

    A forked child starts its own.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        _all.append(self)

    @property
    def running(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if it was started in this process."""
        return None if self._running is None else self._running[0]

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the loop.

        Raises:
            SandboxError: The system refuses the loop or its thread.
        """
        return self._start()[0]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end from synchronous code, in the caller's context.

        An interrupt of the caller (Ctrl-C) cancels it, within a second.

        Raises:
            RuntimeError: It is called on the loop itself, or what runs there blocks it.
            SandboxError: The system refuses the loop or its thread.
        """
        try:
            loop, thread = self._start()
        except SandboxError:
            coroutine.close()
            raise
        if threading.current_thread() is thread:
            coroutine.close()
            raise RuntimeError(
                "a synchronous call on the event loop that has to run it would wait for ever: in an "
                "async function, await the asynchronous form instead (aexecute, ainvoke, abatch)"
            )
        run = _Run(coroutine)
        context = contextvars.copy_context()
        future = context.run(asyncio.run_coroutine_threadsafe, run.outcome(), loop)
        try:
            outcome = _wait(future, run, thread)
        except BaseException:
            future.cancel()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(run.drop)
            raise
        if isinstance(outcome, Raised):
            raise outcome.error
        return outcome

    def forget(self) -> None:
        """Start anew, in a forked child: the thread is gone."""
        # Closing the loop would take the parent's, which shares its selector, out of its own.
        _lost.append(self._running)
        self._running = None

    def _start(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        with _lock:
            if self._running is None:
                try:
                    loop = asyncio.new_event_loop()
                except OSError as error:
                    raise SandboxError(
                        f"the system refuses an event loop for synchronous calls: {error}"
                    ) from error
                thread = threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise SandboxError(
                        f"the system refuses a thread for synchronous calls: {error}"
                    ) from error
                self._running = loop, thread
            return self._running


class Raised:
    """What was raised that cannot be handed on as it is: it would end the loop, or a future refuses it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Run(Generic[T]):
    """A coroutine on its way."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.is_begun = False

    async def outcome(self) -> T | Raised:
        self.is_begun = True
        try:
            return await self._coroutine
        except (SystemExit, KeyboardInterrupt) as error:
            return Raised(error)

    def drop(self) -> None:
        """Close the coroutine if it was cancelled before it began; on its loop."""
        if not self.is_begun:
            self._coroutine.close()


def _wait(future: Future[T], run: _Run[Any], thread: threading.Thread) -> T:
    """Wait for the result, and wake up now and then.

    A signal that the system hands to another thread, and any on Windows, interrupts no wait of the main
    thread: it is seen when that wakes up.
    """
    until = time.monotonic() + _BLOCKED_SECONDS
    while True:
        try:
            return future.result(timeout=_WAKE_SECONDS)
        except TimeoutError:
            if future.done():  # the error is the coroutine's own, or it has ended just now
                return future.result()
        if not run.is_begun and time.monotonic() > until:
            raise RuntimeError(
                f"what runs on the event loop of synchronous calls has blocked it for "
                f"{_BLOCKED_SECONDS:g} seconds{_place_of(thread)}: an async tool must not block; "
                "await what it waits for, or make it a synchronous tool"
            )


def _place_of(thread: threading.Thread) -> str:
    """Say where a thread is, outside of the standard library's own waiting."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_filename in _WAITING_FILES:
        frame = frame.f_back
    if frame is None:
        return ""
    return f", in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"


_WAITING_FILES = frozenset(
    file for file in (threading.__file__, sys.modules[Future.__module__].__file__) if file
)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop, whatever is raised in it.

    asyncio lets `SystemExit` and `KeyboardInterrupt` of a task or callback end its loop. They are not
    meant for this thread; whoever awaits the task is told, too.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.warning("%r was raised on the event loop of synchronous calls", error)
        else:
            return


def _forget() -> None:
    for background in _all:
        background.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
