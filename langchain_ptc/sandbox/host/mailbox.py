"""A thread that owns something, and requests to it from other threads, without a lock.

Garbage collection may close a coroutine, a session or a sandbox in any thread at any moment, and so needs
something of the thread while the same thread is just about to say something else. A lock would be waited
for by the one who holds it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import ServiceThread

Action: TypeAlias = Callable[..., None]


class Mailbox:
    """Takes messages from any thread, and starts the thread that reads them.

    The thread runs `serve`, with a socket that can be read when there is mail. `settle` is called with each message
    that no thread will read, and why.
    """

    def __init__(
        self,
        serve: Callable[[socket.socket], None],
        settle: Callable[[Action, tuple[Any, ...], SandboxError], None],
        *,
        name: str,
    ) -> None:
        self._serve = serve
        self._settle = settle
        self._name = name
        self._mail: deque[tuple[Action, tuple[Any, ...]]] = deque()
        self._starting = threading.Lock()  # only ever tried, never waited for
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._over: SandboxError | None = None
        self.thread: threading.Thread | None = None

    # --- from any thread ----------------------------------------------------------------------------

    def post(self, action: Action, *given: Any, starts: bool = False, wakes: bool = True) -> None:
        """Have the thread call `action(*given)`; `starts` it if need be, and `wakes` it, or waits till it wakes."""
        self._mail.append((action, given))
        if starts and self._ends is None:
            self._start()
        if wakes:
            self.wake()
        if self._over is not None:  # it has just ended, and does not read the mail
            self._settle_all(self._over)

    def wake(self) -> None:
        """Have the thread look around."""
        ends = self._ends
        if ends is not None:
            with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
                ends[1].send(b".")

    def _start(self) -> None:
        # Whoever fails to get the lock has posted before: who has it sees that afterwards.
        while self._mail and self._ends is None and self._starting.acquire(blocking=False):
            try:
                if self._ends is None:
                    self._start_thread()
            except (OSError, RuntimeError) as error:
                problem = SandboxError(
                    f"the system refuses a thread to look after workers: {error}"
                )
                problem.__cause__ = error
                self._settle_all(problem)
            finally:
                self._starting.release()

    def _start_thread(self) -> None:
        ends = self._ends = socket.socketpair()  # before the thread, which may end at once
        for end in ends:
            end.setblocking(False)
        self.thread = ServiceThread(self._serve, args=ends[:1], name=self._name)
        try:
            self.thread.start()
        except BaseException:
            self._ends = self.thread = None
            for end in ends:
                end.close()
            raise

    def _settle_all(self, why: SandboxError) -> None:
        while self._mail:
            try:
                action, given = self._mail.popleft()
            except IndexError:  # another thread took the last
                return
            self._settle(action, given, why)

    # --- from the thread itself ---------------------------------------------------------------------

    def __bool__(self) -> bool:
        """Whether there is mail."""
        return bool(self._mail)

    def read(self) -> None:
        """Do what the messages say."""
        while self._mail:
            action, given = self._mail.popleft()
            action(*given)

    def end(self, why: SandboxError) -> None:
        """Read no more: settle what there is, and what is posted from now on."""
        self._over = why
        self.close()
        self._settle_all(why)

    def close(self) -> None:
        """Close both ends of the socket that wakes the thread."""
        for end in self._ends or ():
            end.close()
