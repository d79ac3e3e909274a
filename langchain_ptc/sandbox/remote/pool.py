"""Workers of several servers, as one pool: each server as a host knows it, and which of them is asked.

All connections to servers are on one event loop in a thread of its own: the event loops of executions never
wait for a connection, and there may be any number of them. Each request for a worker goes to the freer of two
machines that have room. Where none has, it waits on the host for its turn.

What a server says is believed in one thing only: how a worker ended. Figures that it names are bounded, and
secrets that it invents are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.errors import MachineLost, SandboxError, count
from langchain_ptc.sandbox.host.connection import Watcher, watcher_of
from langchain_ptc.sandbox.host.process import require_kernel
from langchain_ptc.sandbox.host.workers import Allowance, Exit, Socket
from langchain_ptc.sandbox.remote import messages as m
from langchain_ptc.sandbox.remote.messages import (
    PING_SECONDS,
    SILENT_SECONDS,
    encode,
    greeting,
    new_secret,
)
from langchain_ptc.sandbox.remote.sockets import RECEIVE_BYTES, Connector, Outbox

VERSION = version("langchain-ptc")  # read from a file, and so not on an event loop
_loop = BackgroundLoop("langchain-ptc machines")
_chance = random.SystemRandom()  # the numbers of the host's own generator are for the host
CONNECT_SECONDS = 5.0  # how long a connection may take, TLS and the server's welcome included
RECOVERY_SECONDS = 10.0  # how long a server that was lost is waited for, where no other one is left
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 2.0  # between attempts to connect
_MAX_WALL_SECONDS = 1e9  # what stands for no limit, which JSON cannot express
GRACE_SECONDS = 1.0
"""After a wall limit, in which the server reports it; then the host ends the execution itself."""
_SIGNAL = 0x7F
"""The bits of a wait status that say by which signal a process ended; all of them if it has not ended."""
_MAX_CAPACITY = 100_000
_MAX_WHY_CHARS = 500
_MAX_UNSENT_BYTES = 1024 * 1024
_MAX_MESSAGES = 20_000  # between two pings; a server that says more floods this host


@dataclass(frozen=True, slots=True)
class Needs:
    """What a host needs of each server."""

    imports: tuple[str, ...]  # modules that it must offer
    kernel: bool  # whether its workers must have the kernel's system call filter
    files_bytes: int  # size of the folder that each worker must have; 0 if none may have one

    def check(self, offer: m.Welcome) -> None:
        """Raise `SandboxError` if a server does not offer it."""
        missing = ", ".join(sorted({*self.imports}.difference(offer.modules)))
        if missing:
            raise SandboxError(f"it does not offer {missing}: name the modules when it is started")
        if self.kernel:
            require_kernel(offer.layers)
        if not 1 <= offer.capacity <= _MAX_CAPACITY:
            raise m.RemoteProtocolError(f"it names a capacity of {offer.capacity} workers")
        if self.files_bytes > max(0, offer.files_bytes):
            has = f"folders of {offer.files_bytes:,} bytes" if offer.files_bytes else "no folders"
            raise SandboxError(
                f"its workers have {has}, and {self.files_bytes:,} bytes are needed for files: start it "
                f"with --files {self.files_bytes}"
            )
        if offer.files_bytes and not self.files_bytes:
            raise SandboxError(
                "its workers have folders, which this sandbox has no use for: pass files=True, or start "
                "it without --files"
            )


class RemoteWorker:
    """A worker on a server, as its session knows it."""

    waited = True

    socket: Socket

    def __init__(self, machine: Machine, secret: str, depth: int) -> None:
        self.machine, self.secret, self.depth = machine, secret, depth
        self.layers = machine.layers
        self.answer: asyncio.Future[m.Refused | None] = asyncio.get_running_loop().create_future()
        """Why the machine does not give it; None once it is there."""
        self.exited: Future[Exit] = Future()
        self.exited.set_running_or_notify_cancel()
        self.timed_out = False
        self.session_loop: asyncio.AbstractEventLoop | None = None
        """The event loop that reads its socket."""
        self._deadline: asyncio.TimerHandle | None = None

    def watch(self, wall_seconds: float) -> None:
        """Have its wall limit begin now: the server's, and one here for a server that does not keep it."""
        if self.exited.done() and self.exited.exception() is not None:  # before anybody read it
            self._cut()
            return
        self.machine.send(m.Watch(self.secret, min(wall_seconds, _MAX_WALL_SECONDS)))
        self._cancel_deadline()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(wall_seconds + GRACE_SECONDS, self._end_overdue)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _end_overdue(self) -> None:
        self.timed_out = True
        self._cut()

    def end(self, ended: Exit | MachineLost) -> None:
        """Note how it ended; idempotent. Its connection may have more to say, until its deadline."""
        if self.exited.done():
            return
        if isinstance(ended, Exit):
            self.exited.set_result(ended)
        else:
            self.exited.set_exception(ended)
            self._cut()

    def _cut(self) -> None:
        """End its connection, which may never end by itself; where it is read."""
        if self.session_loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                self.session_loop.call_soon_threadsafe(self._shut_down)

    def _shut_down(self) -> None:
        if self.socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Have it ended if it has not; idempotent."""
        self._cancel_deadline()
        self.machine.give_back(self)
        self.end(Exit(-1, 0.0))


class Machine:
    """One server: connects, and again when the connection is lost; asks for workers.

    `on_change` is called when it has been connected or lost, cannot be reached, or has more room.
    """

    serving: asyncio.Task[None]  # ends with the machine

    def __init__(
        self,
        connector: Connector,
        hello: m.Hello,
        needs: Needs,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self.connector, self.name = connector, connector.name
        self._hello, self._needs = hello, needs
        self._on_change = on_change
        self.is_up = False  # whether it gives workers
        self.is_trying = True  # whether it is being connected to
        self.lost_at = float("-inf")  # when it was lost, by `time.monotonic`
        self.why = "it has not been connected to"  # why it is not up
        self.layers: dict[str, str] = {}
        self.capacity = self.room = 0
        self.full_at: set[int] = set()
        """The depths at which it has refused a worker since it last had more room."""
        self.workers: dict[str, RemoteWorker] = {}
        self._opening: dict[str, asyncio.Future[m.Refused | None]] = {}
        self._wake = asyncio.Event()
        self._sock: Socket | None = None
        self._watcher: Watcher
        self._outbox: Outbox | None = None
        self._changed = asyncio.Event()  # whether it has been welcomed, or has failed
        self._failure: OSError | SandboxError | None = None
        self._heard_at = 0.0
        self._messages = 0  # how many have come since the last ping

    @property
    def load(self) -> float:
        """Which part of its workers is busy."""
        return 1 - self.room / self.capacity

    @property
    def may_come(self) -> bool:
        """Whether it is worth waiting for."""
        recovers = time.monotonic() < self.lost_at + RECOVERY_SECONDS
        return self.is_up or self.is_trying or recovers

    def has_room(self, depth: int) -> bool:
        """Whether it can be asked for a worker of an execution that is inside of `depth` others."""
        return self.is_up and depth not in self.full_at and (depth > 0 or self.room > 0)

    # --- its connection -------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Connect to it, again and again; until this is cancelled."""
        pause = _MIN_PAUSE_SECONDS
        try:
            while True:
                self._wake.clear()
                try:
                    await self._visit()
                except (OSError, SandboxError) as error:
                    self.why = _explain(error)
                    if self.is_up:
                        self.lost_at, pause = time.monotonic(), _MIN_PAUSE_SECONDS
                finally:
                    self._lose()
                self.is_trying = False
                self._on_change()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause * _chance.uniform(0.5, 1.0)):
                        await self._wake.wait()
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                self.is_trying = True
        finally:
            await self.connector.close()

    def try_now(self) -> None:
        """Connect without waiting further."""
        if not self.is_up:
            self.is_trying = True
            self._wake.set()

    async def _visit(self) -> None:
        """Connect, and stay until the connection is lost.

        Raises:
            OSError: It cannot be reached, or was lost.
            SandboxError: It sends this host away, is not what this host needs, or breaks the protocol.
        """
        self._changed.clear()
        self._failure = None
        async with asyncio.timeout(CONNECT_SECONDS):
            self._sock = await self.connector.connect()
            self._outbox = Outbox(self._sock)
            self._watcher = watcher_of(asyncio.get_running_loop())
            self._watcher.add_reader(self._sock.fileno(), self._read, m.Decoder())
            self.send(self._hello)
            await self._changed.wait()
        self._heard_at = planned = time.monotonic()
        while self._failure is None:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await self._changed.wait()
                    continue
            now = time.monotonic()
            if now > planned + 2 * PING_SECONDS:  # this process was stopped itself
                self._heard_at = now
            if now > self._heard_at + SILENT_SECONDS:
                raise TimeoutError(f"it has said nothing for {SILENT_SECONDS:g} seconds")
            planned, self._messages = now, 0
            self.send(m.Ping())
        raise self._failure

    def _lose(self) -> None:
        """Let go of the connection, and of all that depends on it."""
        self.is_up = False
        if self._sock is not None:
            self._stop_reading()
            self._sock.close()
            self._sock = None
        lost = f"the machine at {self.name} was lost: {self.why}"
        workers, self.workers = self.workers, {}
        for worker in workers.values():
            worker.end(MachineLost(lost))
        opening, self._opening = self._opening, {}
        for answer in opening.values():
            if not answer.done():
                answer.set_exception(MachineLost(lost))

    def _stop_reading(self) -> None:
        if self._outbox is not None and self._sock is not None:
            self._outbox.close()
            self._outbox = None
            self._watcher.remove_reader(self._sock.fileno())

    def close_sockets(self) -> None:
        """Close what a forked child has of its parent's connections."""
        socks = [worker.socket for worker in self.workers.values() if hasattr(worker, "socket")]
        for sock in (*socks, *([self._sock] if self._sock else [])):
            sock.close()

    def _fail(self, error: OSError | SandboxError) -> None:
        self._failure = self._failure or error
        self._stop_reading()
        self._changed.set()

    def send(self, message: m.Message) -> None:
        """Send a message, if it is connected."""
        if self._outbox is not None:
            self._outbox.send(encode(message))
            if self._outbox.size > _MAX_UNSENT_BYTES:
                self._fail(ConnectionError("it reads nothing"))

    # --- what it says -----------------------------------------------------------------------------------

    def _read(self, decoder: m.Decoder) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionError("it has hung up")
            self._heard_at = time.monotonic()
            for message in decoder.feed(data):
                self._messages += 1
                if self._messages > _MAX_MESSAGES:
                    raise m.RemoteProtocolError("it floods this host with messages")
                if self.is_up:
                    self._take(message)
                else:
                    self._admit(message)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, SandboxError) as error:
            self._fail(error)

    def _admit(self, message: m.Message) -> None:
        """Take the first message."""
        if isinstance(message, m.Goodbye):
            raise SandboxError(f"it sends this host away: {_printable(message.why)}")
        if not isinstance(message, m.Welcome):
            raise m.RemoteProtocolError(f"it begins with {type(message).__name__}")
        self._needs.check(message)
        self.layers, self.capacity, self.is_up = message.layers, message.capacity, True
        self._changed.set()
        self._note_room(message.room)

    def _take(self, message: m.Message) -> None:
        match message:
            case m.Pong(room) | m.Room(room):
                self._note_room(room)
            case m.Opened(secret):
                self._settle(secret, None)
            case m.Refused(secret):
                self._settle(secret, message)
            case m.Ended(secret, status, cpu_seconds, timed_out):
                worker = self.workers.pop(secret, None)
                if worker is None:  # it was given back already
                    return
                worker.timed_out = worker.timed_out or timed_out
                has_ended = 0 <= status <= 0xFFFF and status & _SIGNAL != _SIGNAL
                if has_ended or timed_out:
                    worker.end(Exit(status if has_ended else -1, max(0.0, cpu_seconds)))
                else:
                    worker.end(MachineLost(f"a worker at {self.name} was lost"))
                self._free(worker.depth)
            case _:
                raise m.RemoteProtocolError(f"a server does not send {type(message).__name__}")

    def _settle(self, secret: str, refused: m.Refused | None) -> None:
        answer = self._opening.pop(secret, None)
        if answer is not None and not answer.done():
            answer.set_result(refused)

    def _note_room(self, room: int) -> None:
        self.room = max(0, min(room, self.capacity))
        if self.room:
            self.full_at.clear()
        self._on_change()

    def _free(self, depth: int) -> None:
        """Note that a worker has ended."""
        self.room = min(self.capacity, self.room + (depth == 0))
        self.full_at.discard(depth)
        self._on_change()

    # --- workers ----------------------------------------------------------------------------------------

    def ask(self, allowance: Allowance, depth: int, *, fresh: bool) -> RemoteWorker:
        """Ask for a worker; `join` waits for it."""
        worker = RemoteWorker(self, new_secret(), depth)
        self._opening[worker.secret] = worker.answer
        self.workers[worker.secret] = worker
        self.room -= depth == 0
        self.send(
            m.Open(worker.secret, allowance.cpu_seconds, allowance.memory_bytes, depth, fresh=fresh)
        )
        return worker

    async def join(self, worker: RemoteWorker) -> m.Refused | None:
        """Connect to a worker that was asked for; return why there is none, or None if there is.

        Raises `MachineLost` if the machine was lost meanwhile, or takes no connection.
        """
        sock: Socket | None = None
        has_joined = False
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock = await self.connector.connect(to_same=True)
            sock.send(greeting(worker.secret))  # its first bytes: there is room
            refused = await worker.answer
            if refused is None:
                worker.socket, has_joined = sock, True
                return None
            self.workers.pop(worker.secret, None)
            if not refused.why:
                self.full_at.add(worker.depth)
                self.room = self.room if worker.depth else 0
            return refused
        except OSError as error:
            raise MachineLost(
                f"the machine at {self.name} takes no further connection: {_explain(error)}"
            ) from error
        finally:
            self._opening.pop(worker.secret, None)
            if not worker.answer.cancel() and not worker.answer.cancelled():
                worker.answer.exception()  # seen
            if not has_joined:
                if sock is not None:
                    sock.close()
                self.give_back(worker)

    def give_back(self, worker: RemoteWorker) -> None:
        """Have a worker ended that has not ended; idempotent."""
        if self.workers.pop(worker.secret, None) is not None:
            self.send(m.Kill(worker.secret))
            self._free(worker.depth)


def _printable(text: str) -> str:
    """Return the text of a server as it may stand in an error."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_WHY_CHARS])


def _explain(error: OSError | SandboxError) -> str:
    """Say why a server cannot be used."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError) and not str(error):
        return f"it has not answered within {CONNECT_SECONDS:g} seconds"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)  # without the address
    return str(error)


# --- all of them ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """A server of a `RemoteSandbox`, as this process knew it at one moment."""

    name: str
    """Its address."""
    is_connected: bool
    running: int
    """Executions of this sandbox that have, or have asked for, a worker there."""
    capacity: int
    """Workers that it gives at a time, to all processes; 0 before it was connected to."""
    room: int
    """How many of them are free."""
    problem: str
    """Why it is not connected; empty if it is."""


class _Ask:
    """A request for a worker."""

    def __init__(self, allowance: Allowance, depth: int, *, fresh: bool) -> None:
        self.allowance, self.depth, self.fresh = allowance, depth, fresh
        self.taken: Future[RemoteWorker] = Future()
        self.deadline = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.problems: dict[Machine, str] = {}  # the machines that could not serve it, and why

    def refuse(self, why: str) -> None:
        """Say that there is no worker."""
        self.leave()
        if self.taken.set_running_or_notify_cancel():
            self.taken.set_exception(SandboxError(why))

    def leave(self) -> None:
        """Wait no longer."""
        if self.timer is not None:
            self.timer.cancel()


class RemotePool:
    """Workers of servers, waited for up to `queue_seconds`; see `Pool`. Any thread and event loop may use it."""

    exit_seconds = SILENT_SECONDS + 2.0

    def __init__(self, needs: Needs, queue_seconds: float) -> None:
        self.servers: dict[str, tuple[Connector, str]] = {}
        """The ways to the servers, and the tokens that they want to know, by their names."""
        self._needs, self._queue_seconds = needs, queue_seconds
        self._closed = False
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.queue: list[_Ask] = []  # requests that wait for their turn
        self.joining: set[asyncio.Task[None]] = set()  # requests that a machine is asked for

    # --- from any thread ------------------------------------------------------------------------------

    def checkout(
        self, allowance: Allowance, *, depth: int = 0, fresh: bool = False
    ) -> Future[RemoteWorker]:
        """Take a worker for one execution; see `Pool.checkout`."""
        ask = _Ask(allowance, depth, fresh=fresh)
        if self._closed:
            ask.refuse("the sandbox is closed")
            return ask.taken
        try:
            _loop.start().call_soon_threadsafe(self._on_ask, ask)
        except SandboxError as error:
            ask.refuse(str(error))
        return ask.taken

    def watch(self, worker: RemoteWorker, wall_seconds: float) -> None:
        """Begin the wall limit of a worker; on the event loop of its session."""
        worker.session_loop = asyncio.get_running_loop()
        self._post(worker.watch, wall_seconds)

    def discard(self, worker: RemoteWorker) -> None:
        """Close the socket of a worker, and have it ended if it has not; idempotent."""
        worker.socket.close()
        self._post(worker.release)

    def refill(self) -> None:
        """Do nothing: servers do that themselves."""

    def has_room(self) -> bool:
        """Whether one more program would delay no other."""
        machines = list(self.machines.values())
        return not self.queue and (not machines or any(one.has_room(0) for one in machines))

    def stats(self) -> tuple[ServerStats, ...]:
        """Return what is known of each server; none is before the first execution."""
        return tuple(
            ServerStats(
                name=name,
                is_connected=machine.is_up,
                running=len(machine.workers),
                capacity=machine.capacity,
                room=machine.room,
                problem="" if machine.is_up else machine.why,
            )
            for name, machine in list(self.machines.items())
        )

    def add(self, connector: Connector, *, token: str) -> None:
        """Use one more server, which wants to know a token of its own; one of the same name is replaced."""
        self.servers[connector.name] = connector, token
        self._post(self._on_add, connector.name)

    def remove(self, name: str) -> None:
        """Use a server no longer; its executions lose their machine. Idempotent."""
        self.servers.pop(name, None)
        self._post(self._on_remove, name, "it was removed")

    def close_soon(self) -> None:
        """End every worker and connection; idempotent."""
        self._closed = True
        self._post(self._on_close)

    def close(self) -> None:
        """End every worker and connection, and wait until that is done; idempotent."""
        self.close_soon()
        loop = _loop.running
        if loop is not None and loop is not asyncio._get_running_loop():
            done: Future[None] = Future()
            self._post(done.set_result, None)
            with contextlib.suppress(TimeoutError):
                done.result(timeout=5)

    def _post(self, action: Callable[..., object], *given: object) -> None:
        """Have the loop of the pool call `action`, if it has been started."""
        loop = _loop.running
        if loop is not None:
            loop.call_soon_threadsafe(action, *given)

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: the loop and the connections are the parent's."""
        _lost.append((self.machines, self.joining, self.queue))
        for machine in self.machines.values():
            machine.close_sockets()
        self._reset()

    # --- on the loop of the pool ----------------------------------------------------------------------

    def _on_ask(self, ask: _Ask) -> None:
        if self._closed:
            ask.refuse("the sandbox is closed")
            return
        for name in [name for name in list(self.servers) if name not in self.machines]:
            self._on_add(name)
        loop = asyncio.get_running_loop()
        ask.deadline = loop.time() + self._queue_seconds
        ask.timer = loop.call_at(ask.deadline, self._expire, ask)
        self.queue.append(ask)
        if not any(machine.is_up for machine in self.machines.values()):
            for machine in self.machines.values():
                machine.try_now()
        self._serve()

    def _on_add(self, name: str) -> None:
        self._on_remove(name, "it was replaced")
        found = self.servers.get(name)  # it may have been removed meanwhile
        if self._closed or found is None:
            return
        connector, token = found
        hello = m.Hello(token, VERSION)
        machine = Machine(connector, hello, self._needs, on_change=self._serve)
        self.machines[name] = machine
        machine.serving = asyncio.ensure_future(machine.serve())

    def _on_remove(self, name: str, why: str) -> None:
        machine = self.machines.pop(name, None)
        if machine is not None:
            machine.why = why
            machine.serving.cancel()
            self._serve()

    def _on_close(self) -> None:
        for name in list(self.machines):
            self._on_remove(name, "the sandbox is closed")
        for task in self.joining:
            task.cancel()
        queue, self.queue = self.queue, []
        for ask in queue:
            ask.refuse("the sandbox is closed")

    def _serve(self) -> None:
        """Give those who wait their turn: the deepest first, since others wait for them, then in their order."""
        if not self.queue:
            return
        machines = list(self.machines.values())
        left: list[_Ask] = []
        for ask in sorted(self.queue, key=lambda ask: -ask.depth):
            if ask.taken.cancelled():
                ask.leave()
                continue
            usable = [one for one in machines if one not in ask.problems]
            if machines and not any(machine.may_come for machine in usable):
                ask.refuse(f"no machine can run code: {self._describe(ask)}")
                continue
            free = [machine for machine in usable if machine.has_room(ask.depth)]
            if not free:
                left.append(ask)
                continue
            two = _chance.sample(free, min(2, len(free)))
            machine = min(two, key=lambda one: one.load)
            worker = machine.ask(ask.allowance, ask.depth, fresh=ask.fresh)
            task = asyncio.ensure_future(self._join(ask, worker))
            self.joining.add(task)
            task.add_done_callback(self.joining.discard)
        self.queue = left

    async def _join(self, ask: _Ask, worker: RemoteWorker) -> None:
        """Take a worker that a machine was asked for; let the ask wait again if it gives none."""
        machine = worker.machine
        try:
            async with asyncio.timeout_at(ask.deadline):
                refused = await machine.join(worker)
        except (SandboxError, TimeoutError) as error:
            if machine.is_up:  # else it is asked again once it is
                ask.problems[machine] = str(error) or "it has not answered"
        except BaseException:
            ask.refuse("the sandbox is closed")
            raise
        else:
            if refused is None:
                ask.leave()
                if ask.taken.set_running_or_notify_cancel():
                    ask.taken.set_result(worker)
                else:
                    worker.socket.close()
                    worker.release()
                return
            if refused.why:
                ask.problems[machine] = _printable(refused.why)
        if asyncio.get_running_loop().time() < ask.deadline:
            self.queue.insert(0, ask)
            self._serve()
        else:
            self._give_up(ask)

    def _expire(self, ask: _Ask) -> None:
        """Refuse a request that has waited too long; one that is being served is left to `_join`."""
        if ask in self.queue:
            self.queue.remove(ask)
            self._give_up(ask)

    def _give_up(self, ask: _Ask) -> None:
        ask.refuse(
            f"no machine had a free worker within {count(self._queue_seconds, 'second')}: {self._describe(ask)}. "
            "Add machines, raise their max_workers, or wait longer: RemoteSandbox(queue_seconds=...)"
        )

    def _describe(self, ask: _Ask) -> str:
        """Say of each machine why it gives no worker."""
        if not self.machines:
            return "there is none"
        reasons = []
        for name, machine in self.machines.items():
            full = f"{count(machine.capacity, 'worker')}, all busy"
            why = ask.problems.get(machine) or (full if machine.is_up else machine.why)
            reasons.append(f"{name}: {why}")
        return "; ".join(reasons)


_POOLS: weakref.WeakSet[RemotePool] = weakref.WeakSet()
_lost: list[object] = []  # what a forked child has of its parent, and must not finalize


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
