"""Ways between synchronous code, threads and event loops: one for each direction."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.locks import new_lock
from langchain_ptc.sandbox.wire.large import is_large, large_data_threads

T = TypeVar("T")

_MAX_THREADS = 100_000
"""Threads for what blocks, in fact no limit: there are as many as there are calls at a time, which
`Limits.max_concurrent_calls` sees to. What waits in one thread for what runs in another (a node for its
code, an agent in a tool for its own tools) must never wait for a place."""

_lock = new_lock()
_loop = BackgroundLoop("langchain-ptc loop")
tool_threads: ThreadPoolExecutor | None = None
_lost: list[object] = []
"""What a forked child has of its parent, and must not finalize."""


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end on the private loop of synchronous callers; see `BackgroundLoop.run`."""
    return _loop.run(coroutine)


class _Raised:
    """What was raised that cannot be handed on as it is: a future refuses it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a blocking function in a thread, in the caller's context.

    Raises:
        RuntimeError: The system refuses a thread; `function` is not called, then.
    """
    global tool_threads
    with _lock:
        if tool_threads is None:
            tool_threads = ThreadPoolExecutor(_MAX_THREADS, "langchain-ptc tool")
        threads = tool_threads
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


def _forget() -> None:
    """In a forked child the threads are gone: start anew."""
    global tool_threads
    _lost.append(tool_threads)
    tool_threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
