"""Ways between synchronous code, threads and event loops: one for each direction.

Synchronous callers, and what must outlive a caller's loop, have an event loop in a thread of its own.

A loop stays for the life of the process, not for one call: clients that asynchronous tools keep
(connections, MCP sessions, chat models) are bound to the loop on which they were first used.

A caller that waits for what runs there may be interrupted at any instruction, by Ctrl-C or by a signal
handler that raises. So no lock of Python is held for it, which could then stay locked.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import ServiceThread, large_data_threads, new_gate, new_lock
from langchain_ptc.sandbox.wire.values import is_large

T = TypeVar("T")

_WAKE_SECONDS = 0.5
BLOCKED_SECONDS = 30.0
"""How long a loop may take to start what it is given. A tool that blocks the loop may itself wait for it,
through another thread: a deadlock."""

logger = logging.getLogger("langchain_ptc")

_lock = new_lock()
_all: list[BackgroundLoop] = []
_lost: list[object] = []  # what a forked child inherits from its parent, and must not finalize


class BackgroundLoop:
    """An event loop in a thread of its own, for one purpose; started when first needed, and anew in a forked child."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        _all.append(self)

    @property
    def running(self) -> asyncio.AbstractEventLoop | None:
        """The loop, if it was started in this process."""
        return None if self._running is None else self._running[0]

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the loop; raises `SandboxError` if the system refuses it or its thread."""
        return self._start()[0]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end from synchronous code, in the caller's context.

        An interrupt of the caller (Ctrl-C) cancels it, within a second.

        Raises:
            RuntimeError: It would deadlock: it is called on the loop itself, in a thread that
                executions wait for, or while the interpreter ends; or what runs on the loop blocks it.
            SandboxError: The system refuses the loop or its thread.
        """
        try:
            _check_caller(self._running)
            loop, thread = self._start()
        except (RuntimeError, SandboxError):
            coroutine.close()
            raise
        run = _Run(coroutine)
        try:
            loop.call_soon_threadsafe(run.begin)
            run.wait(thread)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(run.cancel)
            raise
        return run.result()

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


def _check_caller(running: tuple[object, threading.Thread] | None) -> None:
    if sys.is_finalizing():
        raise RuntimeError("the interpreter is shutting down: nothing can be awaited any more")
    here = threading.current_thread()
    if running is not None and here is running[1]:
        raise RuntimeError(
            "a synchronous call on the event loop that has to run it would deadlock: in an "
            "async function, await the asynchronous form instead (aexecute, ainvoke, abatch)"
        )
    if isinstance(here, ServiceThread):
        raise RuntimeError(  # noqa: TRY004  # of threads
            f"a synchronous call in the thread {here.name!r}, which it has to wait for, would "
            "deadlock: a finalizer must not make such a call, since it may run in any thread"
        )


class _Run(Generic[T]):
    """A coroutine in flight, for a caller that waits in another thread."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None
        self._is_begun = False
        self._is_cancelled = False
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._ended = new_gate()

    def begin(self) -> None:
        """Start it; on its loop."""
        if not self._is_cancelled:
            self._task = asyncio.get_running_loop().create_task(self._to_end())

    def cancel(self) -> None:
        """Cancel it, or see to it that it does not begin; on its loop."""
        self._is_cancelled = True
        if not self._is_begun:
            self._coroutine.close()
        if self._task is not None:
            self._task.cancel()

    async def _to_end(self) -> None:
        self._is_begun = True
        try:
            self._values.append(await self._coroutine)
        except asyncio.CancelledError:  # means something else to the caller, which may be in a task
            self._error = concurrent.futures.CancelledError()
        except BaseException as error:  # noqa: BLE001  # some would end the loop
            self._error = error
        finally:
            self._ended.release()

    def wait(self, thread: threading.Thread) -> None:
        """Wait for the end, and wake up now and then.

        A signal that the system hands to another thread, and any on Windows, interrupts no wait of the
        main thread: it is seen when that wakes up.
        """
        until = time.monotonic() + BLOCKED_SECONDS
        while not self._ended.acquire(timeout=_WAKE_SECONDS):
            if not self._is_begun and time.monotonic() > until:
                raise RuntimeError(
                    f"what runs on the event loop of synchronous calls has blocked it for "
                    f"{BLOCKED_SECONDS:g} seconds{_place_of(thread)}: an async tool must not block; "
                    "await what it waits for, or make it a synchronous tool"
                )

    def result(self) -> T:
        """Return its result, or raise its exception; once."""
        error, self._error = self._error, None
        if error is None:
            return self._values[0]
        try:
            raise error
        finally:
            del error  # its traceback has this frame


def _place_of(thread: threading.Thread) -> str:
    """Say where a thread is, outside of the standard library's own waiting."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_filename in _WAITING_FILES:
        frame = frame.f_back
    if frame is None:
        return ""
    return f", in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"


_WAITING_FILES = frozenset(
    file
    for file in (threading.__file__, sys.modules[concurrent.futures.Future.__module__].__file__)
    if file
)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop, whatever is raised in it.

    asyncio lets `SystemExit` and `KeyboardInterrupt` of a task or callback end its loop. They are not
    meant for this thread; what awaits the task gets them, too.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.warning("%r was raised on the event loop of synchronous calls", error)
        else:
            return


# --- one direction each: `run_sync` to a loop, `call_in_thread` and `call_off_loop` from one ---------

_MAX_THREADS = 100_000
"""Threads for what blocks, in fact no limit: there are as many as there are calls at a time, which
`Limits.max_concurrent_calls` sees to. What waits in one thread for what runs in another (a node for its
code, an agent in a tool for its own tools) must never wait for a place."""

_loop = BackgroundLoop("langchain-ptc loop")
tool_threads: ThreadPoolExecutor | None = None


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end on the private loop of synchronous callers; see `BackgroundLoop.run`."""
    return _loop.run(coroutine)


def loop_here() -> asyncio.AbstractEventLoop:
    """Return the event loop that executions which are started here run on."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return _loop.start()


class _Raised:
    """What was raised that cannot be handed on as it is: a future refuses it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a blocking function in a thread, in the caller's context; `RuntimeError` if the system refuses one."""
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
    """Call a function that only computes: in a thread if the data that it works on is large, else at once."""
    if not is_large(data):
        return function()
    return await asyncio.get_running_loop().run_in_executor(large_data_threads(), function)


def _forget() -> None:
    """Start anew in a forked child, where the threads are gone."""
    global tool_threads
    _lost.append(tool_threads)
    tool_threads = None
    for background in _all:
        background.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
