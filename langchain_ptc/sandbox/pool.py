"""The host's side of the worker processes: one parent of workers, a few workers that wait.

A thread owns the control socket and the deadlines, so that any number of event loops and threads can
take workers, none of them is blocked by it, and a limit holds while a loop is busy.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox import worker as worker_module
from langchain_ptc.sandbox.launch import Replies, launch
from langchain_ptc.sandbox.zygote import BORN, ENDED, FORK, HELLO, KILL, LIMIT, REQUEST

GRACE_SECONDS = 0.25
"""Between telling a worker that its wall limit has come and killing it."""
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the kernel is told about a worker before it gets any code."""

    cpu_seconds: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended."""

    status: int
    """Wait status, for `os.waitstatus_to_exitcode`."""
    cpu_seconds: float


@dataclass(eq=False)
class Worker:
    """One child process, from the host's side."""

    number: int
    pid: int
    socket: socket.socket
    pidfd: int | None
    _tell: Callable[[bytes, int], None]
    exited: Future[Exit] = field(default_factory=Future)
    waited: bool = False
    """Whether it had to wait for its execution, and so may have been killed meanwhile."""
    timed_out: bool = False
    """Whether the host ended it because its wall limit had come."""

    def is_alive(self) -> bool:
        """Whether it has not ended, as far as the kernel or its parent has told."""
        if self.pidfd is not None:
            ended = select.poll()
            ended.register(self.pidfd, select.POLLIN)
            return not ended.poll(0)
        return not self.exited.done()

    def kill(self) -> None:
        """End it, whatever it does; idempotent."""
        self._send(signal.SIGKILL, KILL)

    def tell_limit(self) -> None:
        """Tell it that its wall limit has come."""
        self.timed_out = True
        self._send(worker_module.LIMIT_SIGNAL, LIMIT)

    def _send(self, number: int, request: bytes) -> None:
        if self.exited.done():
            return
        if self.pidfd is None:
            self._tell(request, self.number)
            return
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self.pidfd, number)

    def release(self) -> None:
        """Kill it and give its descriptors back."""
        self.kill()
        self.socket.close()
        if self.pidfd is not None:
            pidfd, self.pidfd = self.pidfd, None
            os.close(pidfd)


class _Ask(NamedTuple):
    allowance: Allowance
    taken: Future[Worker] | None
    """Who waits for the worker; None for one that is to wait for work."""
    again: bool
    """Whether a parent of workers has died over it already."""


class WorkerPool:
    """Workers of one module set.

    Args:
        imports: Modules that the parent of workers imports, names.
        waiting: How many workers wait for work: the size of a burst that is served at once.
        walls: Whether the kernel's walls are installed; False only for testing the language alone.
        policy: Whether the code is held to the language; False only for testing the walls alone.
    """

    def __init__(
        self, imports: tuple[str, ...], *, waiting: int, walls: bool = True, policy: bool = True
    ) -> None:
        self._options = {"imports": imports, "walls": walls, "policy": policy}
        self._most_waiting = waiting
        self._lock = threading.Lock()
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Ask] = {}
        self._alive: dict[int, Worker] = {}
        self._waiting: dict[Allowance, deque[Worker]] = {}
        self._commands: deque[tuple[bytes, int, Allowance | None]] = deque()
        self._deadlines: list[tuple[float, int, Worker]] = []
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._closed = False
        self._wakers: tuple[socket.socket, socket.socket] | None = None
        self.layers: Future[dict[str, str]] = Future()
        """What each layer of confinement came to, once the parent of workers stands."""

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: workers, thread and sockets are the parent's."""
        self._lock = threading.Lock()
        for end in self._wakers or ():
            end.close()
        for alive in self._alive.values():
            alive.socket.close()
            if alive.pidfd is not None:
                os.close(alive.pidfd)
        self._reset()

    # --- called from anywhere -----------------------------------------------------------------------

    def checkout(self, allowance: Allowance, *, fresh: bool = False) -> Future[Worker]:
        """Take a worker for one execution; done at once if one waits and `fresh` is False.

        The future raises `SandboxError` if there is none to be had.
        """
        taken: Future[Worker] = Future()
        with self._lock:
            if self._closed:
                taken.set_exception(SandboxError("the sandbox is closed"))
                return taken
            idle = self._waiting.get(allowance)
            ready = None if fresh else self._take_idle(idle)
            if ready is None:
                self._ask(allowance, taken)
            if idle is None:
                self._ask_for_waiting(allowance)
        if ready is not None:
            taken.set_result(ready)
        return taken

    def watch(self, worker: Worker, wall_seconds: float) -> None:
        """End `worker` when its wall limit has come."""
        deadline = time.monotonic() + wall_seconds
        with self._lock:
            heapq.heappush(self._deadlines, (deadline, worker.number, worker))
            if deadline < self._wakes_at:
                self._wake()

    def discard(self, worker: Worker) -> None:
        """Kill a worker that has done its execution, and give back what it held."""
        with self._lock:
            self._alive.pop(worker.number, None)
        worker.release()
        self.refill()

    def refill(self) -> None:
        """Have new workers wait in place of those that were taken.

        `checkout` leaves it to its caller, because a fork would compete with the execution that is
        about to begin: it can wait until that has ended, or has gone on for a while.
        """
        with self._lock:
            if self._closed:
                return
            for allowance, idle in self._waiting.items():
                asked = sum(a == (allowance, None, False) for a in self._asked.values())
                for _ in range(self._most_waiting - len(idle) - asked):
                    self._ask(allowance, None)

    def close(self) -> None:
        """End every worker and the parent of workers; idempotent."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _take_idle(self, idle: deque[Worker] | None) -> Worker | None:
        """Return a worker that waits; those that were killed while they waited are dropped."""
        while idle:
            worker = idle.popleft()
            worker.waited = True
            if worker.is_alive():
                return worker
            self._alive.pop(worker.number, None)
            worker.release()
        return None

    # --- under the lock -----------------------------------------------------------------------------

    def _ask(
        self, allowance: Allowance, taken: Future[Worker] | None, *, again: bool = False
    ) -> None:
        number = next(self._numbers)
        self._asked[number] = _Ask(allowance, taken, again)
        self._commands.append((FORK, number, allowance))
        self._wake()

    def _ask_for_waiting(self, allowance: Allowance) -> None:
        """Have workers wait for this allowance, and no longer for those of long ago."""
        self._waiting[allowance] = deque()
        for _ in range(self._most_waiting):
            self._ask(allowance, None)
        while len(self._waiting) > 2:
            oldest = next(iter(self._waiting))
            for idle in self._waiting.pop(oldest):
                self._alive.pop(idle.number, None)
                idle.release()

    def _tell(self, kind: bytes, number: int) -> None:
        with self._lock:
            self._commands.append((kind, number, None))
            self._wake()

    def _wake(self) -> None:
        if self._wakers is None:
            if self._closed:
                return
            self._wakers = socket.socketpair()
            for end in self._wakers:
                end.setblocking(False)
            self._thread = threading.Thread(
                target=self._run, args=self._wakers[:1], name="langchain-ptc workers", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:
                for end in self._wakers:
                    end.close()
                self._wakers = self._thread = None
                raise SandboxError("the system refuses a thread to look after workers") from error
        with contextlib.suppress(BlockingIOError):
            self._wakers[1].send(b".")

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self, woken: socket.socket) -> None:
        control: socket.socket | None = None
        process: subprocess.Popen[bytes] | None = None
        why: Exception = SandboxError("the sandbox is closed")
        try:
            control, process = launch(self._options)
            self._serve(control, process, woken)
        except Exception as error:  # noqa: BLE001  # whoever waits for a worker must be told
            why = error
        if control is not None:
            control.close()
        self._end(process, why)

    def _serve(
        self, control: socket.socket, process: subprocess.Popen[bytes], woken: socket.socket
    ) -> None:
        replies = Replies(control)
        started = time.monotonic()
        waiter = select.poll()
        waiter.register(woken, select.POLLIN)
        waiter.register(control, select.POLLIN)
        while True:
            with self._lock:
                if self._closed:
                    return
                commands, self._commands = self._commands, deque()
                pause = self._next_pause()
                if not self.layers.done():
                    pause = min(pause, _START_SECONDS)
            for kind, number, allowance in commands:
                cpu, memory = (
                    (allowance.cpu_seconds, allowance.memory_bytes) if allowance else (0, 0)
                )
                control.sendall(REQUEST.pack(kind, number, cpu, memory))
            ready = {fd for fd, _ in waiter.poll(min(pause * 1000 + 1, 2**30))}
            if woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
            if control.fileno() in ready:
                for reply in replies.receive():
                    self._take(*reply)
            if not self.layers.done() and time.monotonic() - started > _START_SECONDS:
                process.kill()
                raise SandboxError(
                    f"the parent of workers did not start within {_START_SECONDS:g} seconds"
                )

    def _next_pause(self) -> float:
        """Deal with the deadlines that have come; return the seconds until the next."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, late = heapq.heappop(self._deadlines)
            if late.exited.done() or late.socket.fileno() < 0:
                continue
            if late.timed_out:
                late.kill()
            else:
                late.tell_limit()
                heapq.heappush(self._deadlines, (now + GRACE_SECONDS, number, late))
        if len(self._deadlines) > 64:
            self._deadlines = [d for d in self._deadlines if d[2].socket.fileno() >= 0]
            heapq.heapify(self._deadlines)
        self._wakes_at = self._deadlines[0][0] if self._deadlines else float("inf")
        return max(0.0, self._wakes_at - now)

    def _take(
        self, kind: bytes, number: int, status: int, cpu: float, rest: bytes, fds: list[int]
    ) -> None:
        if kind == HELLO:
            told = json.loads(rest)
            if told["problems"]:
                raise SandboxError(
                    "the parent of workers could not import what was asked for: "
                    + "; ".join(told["problems"])
                )
            self.layers.set_result(told["layers"])
        elif kind == BORN:
            self._greet(number, status, fds)
        elif kind == ENDED:
            self._bury(number, Exit(status, cpu))

    def _bury(self, number: int, ended: Exit) -> None:
        with self._lock:
            worker = self._alive.pop(number, None)
            idle = next((w for w in self._waiting.values() if worker in w), None)
            if worker is not None and idle is not None:
                idle.remove(worker)
        if worker is not None:
            worker.exited.set_result(ended)
            if idle is not None:
                worker.release()

    def _greet(self, number: int, pid: int, fds: list[int]) -> None:
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        pidfd = fds[1] if len(fds) > 1 else None
        born = Worker(number, pid, sock, pidfd, self._tell)
        with self._lock:
            allowance, taken, _ = self._asked.pop(number)
            self._alive[number] = born
            idle = self._waiting.get(allowance)
            if taken is None and idle is not None and len(idle) < self._most_waiting:
                idle.append(born)
                return
            if taken is None:
                del self._alive[number]
        if taken is None:
            born.release()
        elif not taken.set_running_or_notify_cancel():
            self.discard(born)
        else:
            taken.set_result(born)

    def _end(self, process: subprocess.Popen[bytes] | None, why: Exception) -> None:
        """Leave nothing behind, tell whoever waits, and be ready to start anew."""
        if process is not None:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not isinstance(why, SandboxError):
            why = SandboxError(f"the parent of workers broke down: {type(why).__name__}: {why}")
        stood = self.layers.done()
        if not stood:
            self.layers.set_exception(why)
        with self._lock:
            alive, asked = list(self._alive.values()), list(self._asked.values())
            idle = {w for waiting in self._waiting.values() for w in waiting}
            closed = self._closed
            for end in self._wakers or ():
                end.close()
            self._reset()
            self._closed = closed
            # It had stood and was killed: the next one gets what it was asked for, once.
            retried = [a for a in asked if a.taken and stood and not closed and not a.again]
            for ask in retried:
                self._ask(ask.allowance, ask.taken, again=True)
        for ask in asked:
            if ask.taken and ask not in retried and ask.taken.set_running_or_notify_cancel():
                ask.taken.set_exception(why)
        for gone in alive:
            if not gone.exited.done():
                gone.exited.set_result(Exit(-1, 0.0))
            if gone in idle:
                gone.release()


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget_after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
