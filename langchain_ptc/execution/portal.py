"""Run asynchronous code from synchronous code, on one private event loop per process.

One loop that stays, not one for each call: clients that asynchronous tools keep (connections, MCP
sessions, chat models) are bound to the loop on which they were first used.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_THREADS = 100_000
"""Threads for what blocks, in fact no limit: there are as many as there are calls at a time, which
`Limits.max_concurrent_calls` sees to. What waits in one thread for what runs in another (a node for its
code, an agent in a tool for its own tools) must never wait for a place."""

_WAKE_SECONDS = 0.5

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_threads: ThreadPoolExecutor | None = None


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end on the private loop, in the caller's context.

    An interrupt of the caller (Ctrl-C) cancels it, within a second.
    """
    loop = _start()
    context = contextvars.copy_context()
    future = context.run(asyncio.run_coroutine_threadsafe, _outcome_of(coroutine), loop)
    try:
        outcome = _wait(future)
    except BaseException:
        future.cancel()
        raise
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome


def _wait(future: Future[T]) -> T:
    """Wait for the result, and wake up now and then.

    A signal that the system hands to another thread, and any on Windows, interrupts no wait of the main
    thread: it is seen when that wakes up.
    """
    while True:
        try:
            return future.result(timeout=_WAKE_SECONDS)
        except TimeoutError:
            if future.done():  # the error is the coroutine's own, or it has ended just now
                return future.result()


class _Raised:
    """What a coroutine raised that would end the loop itself, were it raised there."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _outcome_of(coroutine: Coroutine[Any, Any, T]) -> T | _Raised:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        return _Raised(error)


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a blocking function in a thread, in the caller's context."""
    global _threads
    with _lock:
        if _threads is None:
            _threads = ThreadPoolExecutor(_MOST_THREADS, "langchain-ptc tool")
        threads = _threads
    context = contextvars.copy_context()

    def call() -> T | _Raised:
        try:
            return context.run(function)
        except BaseException as error:  # noqa: BLE001  # futures do not carry every exception
            return _Raised(error)

    outcome = await asyncio.get_running_loop().run_in_executor(threads, call)
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome


def _start() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(
                target=_loop.run_forever, name="langchain-ptc loop", daemon=True
            ).start()
        return _loop


def _forget() -> None:
    """In a forked child the threads are gone: start anew."""
    global _lock, _loop, _threads
    _lock, _loop, _threads = threading.Lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
