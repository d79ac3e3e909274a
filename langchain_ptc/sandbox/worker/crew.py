"""The threads of one program: started, measured and stopped together.

Python stops no thread from outside. What comes near to it is an exception that is raised in it at its next
instruction of Python; code may be in a `finally` or wait in C just then, so it is raised again until the
thread has ended. A loop inside one C call sees none of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable

from langchain_ptc.locks import ServiceThread, new_lock

_AGAIN_SECONDS = 0.05
_stack_size_lock = new_lock()


class Stopped(SystemExit):
    """Raised in the threads of code that has reached a limit.

    No `except Exception` catches it, a task hands it on at once, and a thread that it reaches on its
    very last steps ends without a word.
    """


class Crew:
    """The threads of one program.

    Args:
        stack_bytes: Stack of each.
    """

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
        """Run `body` in a thread more.

        Raises:
            RuntimeError: The system refuses threads.
            Stopped: The program is to end.
        """
        here = threading.get_ident()
        try:
            with self._lock:  # from here on nothing is raised in this thread
                self._starting.add(here)
            if self._is_stopped:
                raise Stopped
            thread = threading.Thread(
                target=lambda: self._run(thread, body), name="langchain-ptc code", daemon=True
            )
            self._start(thread)
        finally:
            self._starting.discard(here)

    def _start(self, thread: threading.Thread) -> None:
        """Start a thread with a stack of its own size: the setting is the whole process's."""
        with _stack_size_lock:
            usual = threading.stack_size()
            try:
                threading.stack_size(self._stack_bytes)
                thread.start()
            finally:
                threading.stack_size(usual)

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
                with contextlib.suppress(
                    RuntimeError
                ):  # refused: the next one sees to this crew too
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
