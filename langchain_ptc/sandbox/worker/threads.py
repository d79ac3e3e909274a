"""The threads of a program: `concurrent.futures` without the races, and how they are stopped.

Code without any `await` gets its parallel tool calls from `ThreadPoolExecutor`. Its functions run in
threads here too, but only one at a time: a thread goes on until it waits for a tool, for a future or
for its end, and hands over to the first that can go on. So calls run concurrently on the host, while
the program itself stays deterministic: the same answers give the same run, call by call.

In asynchronous code there are no threads: what is submitted runs at once, and what it returns is
awaited by the loop. The same holds where the system refuses a thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import inspect
import itertools
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from langchain_ptc.locks import ServiceThread, new_gate, new_lock
from langchain_ptc.sandbox.worker.calls import Host, ProgramLoop

# --- started, measured and stopped ------------------------------------------------------------------

# Python stops no thread from outside. What comes near to it is an exception that is raised in it at its next
# instruction of Python; code may be in a `finally` or wait in C just then, so it is raised again until the
# thread has ended. A loop inside one C call sees none of it.

_AGAIN_SECONDS = 0.05
_stack_size_lock = new_lock()


class Stopped(SystemExit):
    """Raised in the threads of code that has reached a limit.

    No `except Exception` catches it, a task hands it on at once, and a thread that it reaches on its
    very last steps ends without a word.
    """


class Crew:
    """The threads of one program, each with a stack of `stack_bytes`."""

    def __init__(self, stack_bytes: int) -> None:
        self._stack_bytes = stack_bytes
        self._lock = new_lock()
        self._threads: set[threading.Thread] = set()
        self._starting: set[int] = set()
        """Threads that start another one: half of that would keep a lock of Python's or of ours for good."""
        self._spent = 0.0
        self._is_stopped = False
        self.wakers: list[Callable[[], None]] = []
        """Wake the threads that wait: for each other, or for the host."""

    def start(self, body: Callable[[], None]) -> None:
        """Run `body` in a thread more; raises `RuntimeError` if the system refuses it, and `Stopped`."""
        here = threading.get_ident()
        try:
            with self._lock:  # from here on nothing is raised in this thread
                self._starting.add(here)
            if self._is_stopped:
                raise Stopped
            thread = threading.Thread(
                target=lambda: self._run(thread, body), name="langchain-ptc code", daemon=True
            )
            with _stack_size_lock:  # the setting is the whole process's
                usual = threading.stack_size()
                try:
                    threading.stack_size(self._stack_bytes)
                    thread.start()
                finally:
                    threading.stack_size(usual)
        finally:
            self._starting.discard(here)

    def _run(self, thread: threading.Thread, body: Callable[[], None]) -> None:
        try:
            self._threads.add(thread)  # by itself: before it is here, nothing may be raised in it
            if not self._is_stopped:
                body()
        except Stopped:
            pass
        finally:
            while thread in self._threads:
                try:
                    with self._lock:  # a thread that has ended is not looked at
                        self._threads.discard(thread)
                        self._spent += time.thread_time()
                except Stopped:
                    continue

    def cpu_seconds(self) -> float:
        """Return the processor time of all of them so far; where the system reports only that of ended ones, of these."""
        with self._lock:
            spent = self._spent
            if hasattr(time, "pthread_getcpuclockid"):
                for thread in self._living():
                    assert thread.ident is not None
                    spent += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return spent

    def stop(self) -> None:
        """Stop all of them, and go on until they have ended."""
        self._is_stopped = True
        if self.stop_once():
            _Stopper.take(self)

    def stop_once(self) -> bool:
        """Raise `Stopped` in each; return whether there were any."""
        with self._lock:
            for thread in self._living():
                if thread.ident not in self._starting:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped)
                    )
        for wake in self.wakers:
            wake()
        return bool(self._living())

    def _living(self) -> list[threading.Thread]:
        return [thread for thread in list(self._threads) if thread.is_alive()]


class _Stopper:
    """Stops again whatever goes on; a thread that is there as long as it has something to do."""

    _lock = new_lock()
    _crews: set[Crew] = set()  # noqa: RUF012  # the process's
    _thread: threading.Thread | None = None

    @classmethod
    def take(cls, crew: Crew) -> None:
        with cls._lock:
            cls._crews.add(crew)
            if cls._thread is None or not cls._thread.is_alive():
                cls._thread = ServiceThread(cls._serve, name="langchain-ptc stopper")
                with contextlib.suppress(RuntimeError):  # refused: the next one takes this crew too
                    cls._thread.start()

    @classmethod
    def _serve(cls) -> None:
        while True:
            time.sleep(_AGAIN_SECONDS)
            for crew in list(cls._crews):
                if not crew.stop_once():
                    cls._crews.discard(crew)
            with cls._lock:
                if not cls._crews:
                    cls._thread = None
                    return


# --- taking turns -----------------------------------------------------------------------------------

MAX_THREADS = 32
"""Threads of one pool; further work waits for its turn."""


class _Waiter:
    __slots__ = ("deadline", "gate", "ready")

    def __init__(self, ready: Callable[[], bool], deadline: float | None = None) -> None:
        self.ready = ready
        self.deadline = deadline
        self.gate = new_gate()

    def can_go_on(self, now: Callable[[], float]) -> bool:
        return self.ready() or (self.deadline is not None and now() >= self.deadline)


class ThreadScheduler:
    """Threads that take turns; for code without any `await`."""

    def __init__(self, host: Host, crew: Crew) -> None:
        self._host = host
        self.now = host.now
        self._crew = crew
        crew.wakers.append(self._wake_all)
        self._waiters: deque[_Waiter] = deque()
        self._broken: BaseException | None = None
        self._awaited = 0

    def spawn(self, work: Callable[[], None], *, is_awaited: bool = True) -> None:
        """Start `work` in a thread of its own; it begins when the caller waits for something.

        The end of the program waits for it if it `is_awaited`, as Python does.
        """
        waiter = _Waiter(lambda: True)
        self._awaited += is_awaited

        def body() -> None:
            waiter.gate.acquire()
            try:
                work()
            finally:
                self._awaited -= is_awaited
                self._hand_over(None)

        self._waiters.append(waiter)
        try:
            self._crew.start(body)
        except RuntimeError:  # the system refuses threads: do it now
            self._waiters.remove(waiter)
            self._awaited -= is_awaited
            work()

    def wait_for_all(self) -> None:
        """Wait for the threads that were started and that the end of the program waits for."""
        self.wait_until(lambda: not self._awaited)

    def wait_until(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Let others go on until `ready()`; return whether it is."""
        if not ready():
            me = _Waiter(ready, None if timeout is None else self.now() + timeout)
            self._waiters.append(me)
            self._hand_over(me)
            if self._broken is not None:
                raise EOFError("the host is gone") from self._broken
        return ready()

    def sleep(self, seconds: float) -> None:
        """Let others go on for so many seconds."""
        pause = checked_seconds(seconds)
        self._host.look()
        self.wait_until(lambda: False, pause)

    def _hand_over(self, me: _Waiter | None) -> None:
        """Wake the first that can go on, which may be the caller itself."""
        while True:
            chosen = next((w for w in self._waiters if w.can_go_on(self.now)), None)
            if chosen is None and self._broken is not None and self._waiters:
                chosen = self._waiters[0]
            if chosen is not None:
                self._waiters.remove(chosen)
                if chosen is not me:
                    chosen.gate.release()
                    if me is not None:
                        me.gate.acquire()
                return
            if not self._waiters:
                return
            try:
                ends = [w.deadline for w in self._waiters if w.deadline is not None]
                self._host.wait(min(ends, default=None))
            except BaseException as error:
                if me is not None:
                    raise
                self._broken = error  # raised by whoever waits for the threads

    def _wake_all(self) -> None:
        """Wake every thread that waits for its turn, to be stopped."""
        while self._waiters:
            with contextlib.suppress(IndexError, RuntimeError):  # one of them was quicker
                self._waiters.popleft().gate.release()


def checked_seconds(seconds: Any) -> float:
    """Return how long to sleep, or raise what `time.sleep` raises."""
    pause = seconds if isinstance(seconds, float) else operator.index(seconds)
    if pause < 0:
        raise ValueError("sleep length must be non-negative")
    if pause != pause:  # so it is with NaN
        raise ValueError("Invalid value NaN (not a number)")
    if pause > threading.TIMEOUT_MAX:
        raise OverflowError("timestamp too large to convert to C PyTime_t")
    return pause


class LoopScheduler:
    """No threads: work runs at once, and waiting runs the loop; for code with `await`."""

    def __init__(self, loop: ProgramLoop, host: Host, *, stepped: bool) -> None:
        self._loop = loop
        self._host = host
        self.now = host.now
        self._stepped = stepped

    def spawn(self, work: Callable[[], None], *, is_awaited: bool = True) -> None:
        """Do `work` now."""
        del is_awaited
        work()

    def wait_until(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Run the loop until `ready()`; return whether it is."""
        return self._loop.run_until(ready, timeout)

    def sleep(self, seconds: float) -> None:
        """Stop everything for so many seconds, as blocking code does in an event loop."""
        if not self._stepped:
            time.sleep(seconds)
            return
        until = self.now() + checked_seconds(seconds)
        while self.now() < until:
            self._host.wait(until)


Scheduler: TypeAlias = ThreadScheduler | LoopScheduler
"""How submitted work runs, and how anything waits for it."""


class PoolFuture(concurrent.futures.Future[Any]):
    """A future that lets the rest of the program go on while it is waited for."""

    _scheduler: Scheduler
    _number = 0

    def __hash__(self) -> int:
        """Return its number: sets of futures are gone through in the same order in every run."""
        return self._number

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it, or raise what the work raised."""
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the work raised, or None."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        if not self._scheduler.wait_until(self.done, timeout):
            raise TimeoutError


class PoolExecutor(concurrent.futures.Executor):
    """`ThreadPoolExecutor` of the code. All of its state is private, and so out of the code's reach."""

    _scheduler: Scheduler
    _numbers: Iterator[int]

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
    ) -> None:
        del thread_name_prefix  # the threads are not visible
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = min(max_workers or MAX_THREADS, MAX_THREADS)
        self._queue: deque[tuple[PoolFuture, Callable[[], Any]]] = deque()
        self._unfinished = self._workers = 0
        self._closed = False
        if initializer is not None:
            initializer(*initargs)

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> PoolFuture:
        """Start `fn(*args, **kwargs)` and return a future of its result."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = PoolFuture()
        future._scheduler = self._scheduler
        future._number = next(self._numbers)
        future.add_done_callback(self._finish)
        self._unfinished += 1
        self._queue.append((future, lambda: fn(*args, **kwargs)))
        if self._workers < self._max_workers:
            self._workers += 1
            self._scheduler.spawn(self._work)
        return future

    def _finish(self, _: concurrent.futures.Future[Any]) -> None:
        self._unfinished -= 1

    def _work(self) -> None:
        while self._queue:
            future, work = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    value = work()
                except BaseException as error:  # it is the future's to raise
                    future.set_exception(error)
                    if isinstance(error, Stopped):
                        raise
                else:
                    _resolve(future, value)
        self._workers -= 1

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Start `fn` for each item; return the results in the order of the items."""
        del chunksize  # there is nothing to chunk for
        futures = [self.submit(fn, *items) for items in zip(*iterables, strict=False)]
        left = _countdown(self._scheduler, timeout)
        return (future.result(left()) for future in futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; wait for what was submitted."""
        self._closed = True
        if cancel_futures:
            for future, _ in self._queue:
                future.cancel()
        if wait:
            self._scheduler.wait_until(lambda: not self._unfinished)


def _resolve(future: PoolFuture, value: Any) -> None:
    if not inspect.isawaitable(value):
        future.set_result(value)
        return
    task: asyncio.Future[Any] = asyncio.ensure_future(value)

    def copy(task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            future.set_exception(concurrent.futures.CancelledError())
        elif (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    task.add_done_callback(copy)


def _countdown(scheduler: Scheduler, timeout: float | None) -> Callable[[], float | None]:
    """Return what tells how much of a time-out is left."""
    if timeout is None:
        return lambda: None
    deadline = scheduler.now() + timeout
    return lambda: max(0.0, deadline - scheduler.now())


def as_completed(
    scheduler: Scheduler, fs: Iterable[concurrent.futures.Future[Any]], timeout: float | None = None
) -> Iterator[concurrent.futures.Future[Any]]:
    """Yield futures as they end."""
    waiting = list(dict.fromkeys(fs))
    left = _countdown(scheduler, timeout)
    while waiting:
        if not scheduler.wait_until(lambda: any(f.done() for f in waiting), left()):
            raise TimeoutError(f"{len(waiting)} futures are unfinished")
        future = next(f for f in waiting if f.done())
        waiting.remove(future)
        yield future


def wait(
    scheduler: Scheduler,
    fs: Iterable[concurrent.futures.Future[Any]],
    timeout: float | None = None,
    return_when: str = concurrent.futures.ALL_COMPLETED,
) -> concurrent.futures._base.DoneAndNotDoneFutures[Any]:
    """Wait for futures; return which are done and which are not."""
    futures = set(fs)

    def ready() -> bool:
        done = [f for f in futures if f.done()]
        if return_when == concurrent.futures.FIRST_COMPLETED:
            return bool(done) or not futures
        failed = any(not f.cancelled() and f.exception() for f in done)
        if return_when == concurrent.futures.FIRST_EXCEPTION and failed:
            return True
        return len(done) == len(futures)

    scheduler.wait_until(ready, timeout)
    done = {f for f in futures if f.done()}
    return concurrent.futures._base.DoneAndNotDoneFutures(done, futures - done)


def build_futures_names(scheduler: Scheduler) -> dict[str, object]:
    """Build the names of `concurrent.futures` that must be ours, over one scheduler."""
    parts = {"_scheduler": scheduler, "_numbers": itertools.count(1), "__module__": __name__}
    return {
        "ThreadPoolExecutor": type("ThreadPoolExecutor", (PoolExecutor,), parts),
        "Future": PoolFuture,
        "as_completed": functools.partial(as_completed, scheduler),
        "wait": functools.partial(wait, scheduler),
    }
