"""The host's side of the worker processes: one parent of workers, a few workers that wait.

One thread owns everything in a pool: the control socket, the deadlines, who waits for a worker and who
has one. All others leave a message in its mailbox. It never waits but for all of its events at once: a
limit holds whatever the parent of workers, an event loop or another thread does.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import itertools
import json
import math
import os
import select
import signal
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeAlias

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import ServiceThread
from langchain_ptc.sandbox.host.workers import (
    Allowance,
    Ask,
    Exit,
    Parent,
    Places,
    Reply,
    Worker,
    WorkerStats,
)
from langchain_ptc.sandbox.wire import protocol

SILENT_SECONDS = 30.0
"""How long the parent of workers may leave a request without an answer, its start included."""
GRACE_SECONDS = 0.25  # between telling a worker that its wall limit has come and killing it
_MAX_FORKS = 32
"""Requests that the parent of workers is sent before it has answered; it forks one after another."""
_MAX_ATTEMPTS = 3  # how often a worker is requested, if the parent of workers dies each time
_JUMP_SECONDS = 5.0
"""When the clock jumps so far past what was waited for, this process was stopped itself."""


Action: TypeAlias = Callable[..., None]


class Mailbox:
    """Takes messages from any thread, and starts the thread that reads them, without a lock.

    Garbage collection may close a coroutine, a session or a sandbox in any thread at any moment, and so
    needs something of the thread while the same thread is just about to post something else. A lock would
    be waited for by the one who holds it.

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


class WorkerPool:
    """Workers of one module set: `waiting` of them wait for work, and `most` may work at each depth.

    Without `walls` the kernel confines nothing, and without `policy` the language is not restricted: only for
    testing the other alone.
    """

    exit_seconds = 1.0

    def __init__(
        self,
        imports: tuple[str, ...],
        *,
        waiting: int,
        most: int | None = None,
        files_bytes: int = 0,
        walls: bool = True,
        policy: bool = True,
    ) -> None:
        self._options = {
            "imports": imports,
            "files_bytes": files_bytes,
            "walls": walls,
            "policy": policy,
        }
        self._most_waiting = waiting
        self._most = most
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        # What all threads use.
        self._mail = Mailbox(self._run, self._settle, name="langchain-ptc workers")
        self._spares: deque[Worker] = deque()
        """The workers that wait. Any thread may take one; its own does the rest."""
        self._closed = False
        self._wakes_at = math.inf
        self._ahead: list[Parent] = []
        """The parent of workers that was started before it is needed: its owner is what takes it out."""
        # What the thread of the pool alone uses.
        self._numbers = itertools.count(1)
        self._parent: Parent | None = None
        self._asked: dict[int, Ask | None] = {}
        """What was requested of the parent of workers; None for a worker that is to wait for work."""
        self._asked_since = 0.0
        self.workers: dict[int, Worker] = {}
        self._held: set[Worker] = set()
        self._places = Places(self._most)
        self._failed_starts = 0
        self._wants_refill = False
        self._layers: Mapping[str, str] = {}

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: workers, thread and sockets are the parent's."""
        parents = [*self._ahead, *([self._parent] if self._parent else [])]
        _lost.append((parents, self._mail.thread))  # their finalizers act on the parent's
        self._mail.close()
        for parent in parents:
            parent.disown()
        for worker in {*self.workers.values(), *self._held}:
            worker.close()
        closed = self._closed
        self._reset()
        self._closed = closed

    # --- called from anywhere, without a lock -------------------------------------------------------

    def start(self) -> None:
        """Start the parent of workers, so that the first execution need not wait for all of it.

        Starting a process takes a moment: on an event loop, the thread of the pool does it. Elsewhere there
        is no thread until the first execution, for servers fork once they have built their application.
        """
        if asyncio._get_running_loop() is not None:
            self._mail.post(self._start_ahead, starts=True)
            return
        self._start_ahead()
        if self._closed:
            self._end_ahead()

    def checkout(
        self, allowance: Allowance, *, depth: int = 0, fresh: bool = False
    ) -> Future[Worker]:
        """Take a worker for one execution; done at once if one waits and `fresh` is False.

        The future raises `SandboxError` if none can be started. The execution is inside of `depth` others;
        `fresh` asks for a worker that has not waited.
        """
        taken: Future[Worker] = Future()
        if self._closed:
            taken.set_exception(SandboxError("the sandbox is closed"))
            return taken
        ready = None if fresh else self._take_idle()
        if ready is not None:
            ready.depth = depth
            ready.allow(allowance)
            self._mail.post(self._on_taken, ready, wakes=False)
            taken.set_result(ready)
        else:
            ask = Ask(allowance, taken, depth=depth, fresh=fresh)
            self._mail.post(self._on_ask, ask, starts=True)
        return taken

    def stats(self) -> WorkerStats:
        """Return what the workers do."""
        running = len(self._held)
        parent = self._parent or next(iter(self._ahead), None)
        starting = max(0, self._places.taken - running)
        pid = None if parent is None else parent.process.pid
        return WorkerStats(
            running, starting, self._places.queued, len(self._spares), pid, self._layers
        )

    def watch(self, worker: Worker, wall_seconds: float) -> None:
        """End `worker` when its wall limit has come."""
        deadline = time.monotonic() + wall_seconds
        self._mail.post(self._on_watch, worker, deadline, wakes=False)
        if deadline < self._wakes_at:  # set before the mail is looked at for the last time
            self._mail.wake()

    def discard(self, worker: Worker) -> None:
        """Kill a worker that has done its execution, and give back what it held."""
        worker.socket.close()
        self._mail.post(self._on_discard, worker)

    def refill(self) -> None:
        """Have new workers wait in place of those that were taken.

        `checkout` leaves it to its caller, because a fork would compete with the execution that is
        about to begin: it can wait until that has ended, or has gone on for a while.
        """
        self._wants_refill = True
        self._mail.wake()

    def close_soon(self) -> None:
        """Have every worker and the parent of workers ended; idempotent."""
        self._closed = True
        self._mail.wake()
        if self._mail.thread is None:
            self._end_ahead()

    def close(self) -> None:
        """End every worker and the parent of workers; idempotent."""
        self.close_soon()
        self.wait_until_closed()

    def wait_until_closed(self) -> None:
        """Wait until nothing of it runs any more; return at once if it is not being closed."""
        thread = self._mail.thread
        if self._closed and thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _start_ahead(self) -> None:
        with contextlib.suppress(SandboxError):  # `_take_parent` raises it again
            self._ahead.append(Parent(self._options))

    def _take_parent(self) -> Parent:
        return self._ahead.pop() if self._ahead else Parent(self._options)

    def _end_ahead(self) -> None:
        with contextlib.suppress(IndexError):  # another thread took it
            while self._ahead:
                self._ahead.pop().end()

    def _take_idle(self) -> Worker | None:
        """Return a worker that waits; those that were killed while they waited are dropped."""
        while (worker := self._pop_spare()) is not None:
            worker.waited = True
            if worker.is_alive():
                return worker
            self.discard(worker)
        return None

    def _pop_spare(self) -> Worker | None:
        with contextlib.suppress(IndexError):  # there is none, or another thread took the last
            return self._spares.popleft()
        return None

    def _settle(self, action: Action, given: tuple[Any, ...], why: SandboxError) -> None:
        """Settle what no thread does."""
        if action == self._on_ask:
            given[0].refuse(why)
        elif action == self._on_discard:
            given[0].close()

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self, woken: socket.socket) -> None:
        planned = time.monotonic()
        while not self._closed:
            try:
                planned = self._turn(woken, planned)
            except Exception as error:  # noqa: BLE001  # who waits for a worker must get an error
                problem = SandboxError(
                    f"the pool of workers broke: {type(error).__name__}: {error}"
                )
                self._lose_parent(problem, is_final=True)
                time.sleep(0.1)  # what breaks again must not take a whole processor
        why = SandboxError("the sandbox is closed")
        self._end_ahead()
        self._lose_parent(why, is_final=True)
        self._mail.end(why)

    def _turn(self, woken: socket.socket, planned: float) -> float:
        """Do what is to be done, and wait for the next; return until when it meant to wait."""
        now = time.monotonic()
        if now > planned + _JUMP_SECONDS:
            self._asked_since = now
        self._mail.read()
        self._keep_deadlines(now)
        self._judge_silence(now)
        self._admit()
        self._refill()
        waiter = select.poll()
        waiter.register(woken, select.POLLIN)
        parent = self._parent
        if parent is not None:
            parent.flush()
            waiter.register(parent, parent.waits_for)
        wakes_at = min((worker.deadline for worker in self.workers.values()), default=math.inf)
        if self._asked and parent is not None:
            wakes_at = min(wakes_at, max(parent.heard_at, self._asked_since) + SILENT_SECONDS)
        self._wakes_at = wakes_at
        if self._mail or self._closed:
            return time.monotonic()
        pause = max(0.0, wakes_at - time.monotonic())
        ready = {fd for fd, _ in waiter.poll(min(pause * 1000 + 1, 2**30))}
        if woken.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
        if parent is not None and parent.fileno() in ready:
            try:
                for reply in parent.replies():
                    self._hear(parent, reply)
            except SandboxError as why:
                self._lose_parent(why, is_final=parent.cannot_start)
        return max(wakes_at, time.monotonic())

    def _keep_deadlines(self, now: float) -> None:
        """End the workers whose wall limit has come."""
        for late in self.workers.values():
            if late.deadline > now:
                continue
            if late.timed_out:
                late.deadline = math.inf
                self._signal(late, signal.SIGKILL, protocol.KILL)
            else:
                late.timed_out, late.deadline = True, now + GRACE_SECONDS
                self._signal(late, protocol.LIMIT_SIGNAL, protocol.LIMIT)

    def _judge_silence(self, now: float) -> None:
        """Give up on a parent of workers that does not answer: stopped, frozen, or swapped out."""
        parent = self._parent
        if parent is None:
            return
        if self._asked and now >= max(parent.heard_at, self._asked_since) + SILENT_SECONDS:
            what = "did not start" if parent.layers is None else "has not answered"
            why = SandboxError(f"the parent of workers {what} within {SILENT_SECONDS:g} seconds")
            parent.is_silent = True
            self._refuse_all(why)
        is_used = any(worker.number in self.workers for worker in self._held)
        if parent.is_silent and self._places.queued and not is_used:  # nothing is lost with it
            self._lose_parent(SandboxError("the parent of workers was given up"))

    def _signal(self, worker: Worker, number: int, order: bytes) -> None:
        if worker.pidfd is None:
            if self._parent is not None:
                self._parent.order(order, worker.number)
            return
        with contextlib.suppress(OSError):  # it has ended
            signal.pidfd_send_signal(worker.pidfd, number)

    # --- what the mail says -------------------------------------------------------------------------

    def _on_ask(self, ask: Ask) -> None:
        self._places.wait(ask)
        if self._parent is None:
            self._wants_refill = True

    def _on_taken(self, worker: Worker) -> None:
        self._held.add(worker)
        self._places.take(worker.depth)

    def _on_watch(self, worker: Worker, deadline: float) -> None:
        if worker.number in self.workers and not worker.timed_out:
            worker.deadline = deadline

    def _on_discard(self, worker: Worker) -> None:
        if worker in self._held:
            self._held.discard(worker)
            self._places.free(worker.depth)
        self._drop(worker)
        self._wants_refill = True

    # --- places -------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Have workers made for those whose turn it is."""
        while len(self._asked) < _MAX_FORKS and (ask := self._places.next()) is not None:
            ready = None if ask.fresh else self._take_idle()
            if ready is None:
                self._fork(ask)
            else:
                self._give(ready, ask)

    def _refill(self) -> None:
        """Have spare workers forked, once no execution waits for one."""
        if not self._wants_refill or self._places.queued:
            return
        self._wants_refill = False
        coming = sum(ask is None for ask in self._asked.values())
        for _ in range(self._most_waiting - len(self._spares) - coming):
            self._fork(None)

    def _fork(self, ask: Ask | None) -> None:
        """Have a worker forked: for `ask`, or to wait for work."""
        try:
            parent = self._parent = self._parent or self._take_parent()
        except SandboxError as why:
            self._refuse_ask(ask, why)
            self._lose_parent(why, is_final=True)
            return
        if not self._asked:
            self._asked_since = time.monotonic()
        number = next(self._numbers)
        self._asked[number] = ask
        parent.order(protocol.SPARE if ask is None else protocol.FORK, number)

    def _give(self, worker: Worker, ask: Ask) -> None:
        """Hand a worker to who was promised one."""
        if ask.taken.set_running_or_notify_cancel():
            worker.depth = ask.depth
            worker.allow(ask.allowance)
            self._held.add(worker)
            ask.taken.set_result(worker)
        else:
            self._places.free(ask.depth)
            self._drop(worker)

    def _refuse_ask(self, ask: Ask | None, why: SandboxError) -> None:
        """Tell who was promised a worker that there is none."""
        if ask is not None:
            self._places.free(ask.depth)
            ask.refuse(why)

    def _refuse_all(self, why: SandboxError) -> None:
        """Tell all who wait for a worker that there is none."""
        asked, self._asked = self._asked, {}
        for ask in asked.values():
            self._refuse_ask(ask, why)
        self._places.refuse_waiting(why)

    def _drop(self, worker: Worker) -> None:
        """Kill a worker that is not needed, and close its descriptors."""
        if self.workers.pop(worker.number, None) is not None:
            self._signal(worker, signal.SIGKILL, protocol.KILL)
            worker.exited.set_result(Exit(-1, 0.0))
        worker.close()

    # --- what the parent of workers says ------------------------------------------------------------

    def _hear(self, parent: Parent, reply: Reply) -> None:
        parent.is_silent = False
        if reply.kind == protocol.HELLO:
            hello = json.loads(reply.payload)
            if hello["problems"]:
                parent.cannot_start = True
                raise SandboxError(
                    "the parent of workers could not import what was asked for: "
                    + "; ".join(hello["problems"])
                )
            self._layers = parent.layers = hello["layers"]
            self._failed_starts = 0
        elif reply.kind == protocol.BORN:
            self._greet(parent, reply)
        elif reply.kind == protocol.REFUSED:
            self._do_without(self._asked.pop(reply.number, None), reply.status)
        elif reply.kind == protocol.ENDED:
            self._bury(reply.number, Exit(reply.status, reply.cpu_seconds))

    def _greet(self, parent: Parent, reply: Reply) -> None:
        ask = self._asked.pop(reply.number, None)
        if not reply.descriptors:
            parent.order(protocol.KILL, reply.number)
            self._do_without(ask, errno.EMFILE)
            return
        sock = socket.socket(fileno=reply.descriptors[0])
        sock.setblocking(False)
        pidfd = reply.descriptors[1] if len(reply.descriptors) > 1 else None
        layers = parent.layers or {}
        born = Worker(reply.number, reply.status, sock, pidfd, layers)
        self.workers[reply.number] = born
        if ask is not None:
            self._places.widen(ask.depth)
            self._give(born, ask)
        elif len(self._spares) < self._most_waiting:
            self._spares.append(born)
        else:
            self._drop(born)

    def _do_without(self, ask: Ask | None, number: int) -> None:
        """Wait until others of its depth have ended, where the system refuses a worker."""
        if ask is None or self._places.narrow(ask):
            return
        problem = f"the system refuses a worker: {os.strerror(number)}"
        if number in (errno.EMFILE, errno.ENFILE):
            problem += "; raise the limit of open files (ulimit -n), or close some"
        self._refuse_ask(ask, SandboxError(problem))

    def _bury(self, number: int, ended: Exit) -> None:
        worker = self.workers.pop(number, None)
        if worker is None:
            return
        worker.exited.set_result(ended)
        try:
            self._spares.remove(worker)
        except ValueError:  # it does not wait: who has it gives it back
            return
        self._drop(worker)

    def _lose_parent(self, why: SandboxError, *, is_final: bool = False) -> None:
        """Leave nothing behind, and start anew for those who wait unless that `is_final`: they get the error."""
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.end()
            if parent.layers is None:
                self._failed_starts += 1
        alive, self.workers = self.workers, {}
        for gone in alive.values():
            gone.exited.set_result(Exit(-1, 0.0))
        while (idle := self._pop_spare()) is not None:
            self._drop(idle)
        self._wants_refill = False
        if is_final or self._failed_starts >= _MAX_ATTEMPTS:
            self._failed_starts = 0
            self._refuse_all(why)
            return
        asked, self._asked = self._asked, {}
        for ask in reversed([ask for ask in asked.values() if ask is not None]):
            ask.attempts += 1
            if ask.attempts >= _MAX_ATTEMPTS:
                self._refuse_ask(ask, why)
            else:
                self._places.wait_again(ask)
                self._wants_refill = True


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()
_lost: list[object] = []  # what a forked child has of its parent, and must not finalize


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget_after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
