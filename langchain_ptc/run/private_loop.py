"""Run asynchronous code from synchronous code, on one private event loop per process.

One loop that stays, not one for each call: clients that asynchronous tools keep (connections, MCP
sessions, chat models) are bound to the loop on which they were first used.
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
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import new_lock
from langchain_ptc.sandbox.wire.large import is_large, large_data_threads

T = TypeVar("T")

_MOST_THREADS = 100_000
"""Threads for what blocks, in fact no limit: there are as many as there are calls at a time, which
`Limits.max_concurrent_calls` sees to. What waits in one thread for what runs in another (a node for its
code, an agent in a tool for its own tools) must never wait for a place."""

_WAKE_SECONDS = 0.5
_BLOCKED_SECONDS = 30.0
"""How long the loop may leave what it is to run unbegun. A tool that blocks it may wait for that itself,
through another thread, and would for ever."""

logger = logging.getLogger("langchain_ptc")

_lock = new_lock()
_loop: asyncio.AbstractEventLoop | None = None
_loop_thread: threading.Thread | None = None
_threads: ThreadPoolExecutor | None = None
_lost: list[object] = []
"""What a forked child has of its parent, and must not finalize."""


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end on the private loop, in the caller's context.

    An interrupt of the caller (Ctrl-C) cancels it, within a second.

    Raises:
        RuntimeError: It is called on the private loop itself, or what runs there blocks it.
        SandboxError: The system refuses the loop or its thread.
    """
    try:
        loop, thread = _start()
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
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome


class _Raised:
    """What was raised that cannot be handed on as it is: it would end the loop, or a future refuses it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Run(Generic[T]):
    """A coroutine on its way."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.is_begun = False

    async def outcome(self) -> T | _Raised:
        self.is_begun = True
        try:
            return await self._coroutine
        except (SystemExit, KeyboardInterrupt) as error:
            return _Raised(error)

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


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a blocking function in a thread, in the caller's context.

    Raises:
        RuntimeError: The system refuses a thread; `function` is not called, then.
    """
    global _threads
    with _lock:
        if _threads is None:
            _threads = ThreadPoolExecutor(_MOST_THREADS, "langchain-ptc tool")
        threads = _threads
    context = contextvars.copy_context()
    to_call = [function]

    def call() -> T | _Raised:
        try:
            return context.run(to_call.pop())
        except BaseException as error:  # noqa: BLE001  # futures do not carry every exception
            return _Raised(error)

    try:
        future = asyncio.get_running_loop().run_in_executor(threads, call)
    except RuntimeError:
        to_call.clear()  # it lies in the queue of the executor, for the next thread that is free
        raise
    outcome = await future
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome


async def call_off_loop(function: Callable[[], T], *data: object) -> T:
    """Call a function that takes long for large data: in a thread for that, else at once.

    Args:
        function: Computes, and waits for nothing.
        data: What it works on, see `is_large`.
    """
    if not is_large(data):
        return function()
    return await asyncio.get_running_loop().run_in_executor(large_data_threads(), function)


def _start() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    global _loop, _loop_thread
    with _lock:
        if _loop is None or _loop_thread is None:
            try:
                loop = asyncio.new_event_loop()
            except OSError as error:
                raise SandboxError(
                    f"the system refuses an event loop for synchronous calls: {error}"
                ) from error
            thread = threading.Thread(
                target=_serve, args=(loop,), name="langchain-ptc loop", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                loop.close()
                raise SandboxError(
                    f"the system refuses a thread for synchronous calls: {error}"
                ) from error
            _loop, _loop_thread = loop, thread
        return _loop, _loop_thread


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
    """In a forked child the threads are gone: start anew."""
    global _loop, _loop_thread, _threads
    # Closing the loop would take the parent's, which shares its selector, out of its own.
    _lost.append((_loop, _loop_thread, _threads))
    _loop = _loop_thread = _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
