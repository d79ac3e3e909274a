"""Workers of several servers, as one pool.

All connections to servers are on one event loop in a thread of its own: the event loops of executions never
wait for a connection, and there may be any number of them. Each request for a worker goes to the freer of two
machines that have room. Where none has, it waits on the host for its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version

from langchain_ptc.background_loop import BackgroundLoop
from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.host.workers import Allowance
from langchain_ptc.sandbox.remote.machine import Machine, Needs, RemoteWorker, printable
from langchain_ptc.sandbox.remote.messages import SILENT_SECONDS, Hello
from langchain_ptc.sandbox.remote.sockets import Connector
from langchain_ptc.wording import count

_chance = random.SystemRandom()  # the numbers of the host's own generator are for the host
VERSION = version("langchain-ptc")  # read from a file, and so not on an event loop
_loop = BackgroundLoop("langchain-ptc machines")


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
    """Workers of servers; see `Pool`. Any thread and event loop may use it.

    Args:
        token: What the servers want to know.
        needs: What each of them must offer.
        queue_seconds: How long a request for a worker may wait.
    """

    exit_seconds = SILENT_SECONDS + 2.0

    def __init__(
        self,
        *,
        token: str,
        needs: Needs,
        queue_seconds: float = 30.0,
    ) -> None:
        self.connectors: dict[str, Connector] = {}  # the ways to the servers, by their names
        self._token, self._needs = token, needs
        self._tokens: dict[str, str] = {}
        self._queue_seconds = queue_seconds
        self._closed = False
        self._reset()
        _POOLS.add(self)

    def _reset(self) -> None:
        self.machines: dict[str, tuple[Machine, asyncio.Task[None]]] = {}
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
        machines = [machine for machine, _ in list(self.machines.values())]
        return not self.queue and (not machines or any(m.has_room(0) for m in machines))

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
            for name, (machine, _) in list(self.machines.items())
        )

    def add(self, connector: Connector, *, token: str) -> None:
        """Use one more server, which wants to know a token of its own; one of the same name is replaced."""
        self._tokens[connector.name] = token
        self.connectors[connector.name] = connector
        self._post(self._on_add, connector)

    def remove(self, name: str) -> None:
        """Use a server no longer; its executions lose their machine. Idempotent."""
        self.connectors.pop(name, None)
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
        for machine, _ in self.machines.values():
            machine.close_sockets()
        self._reset()

    # --- on the loop of the pool ----------------------------------------------------------------------

    def _on_ask(self, ask: _Ask) -> None:
        if self._closed:
            ask.refuse("the sandbox is closed")
            return
        known = list(self.connectors.items())
        for connector in [c for name, c in known if name not in self.machines]:
            self._on_add(connector)
        loop = asyncio.get_running_loop()
        ask.deadline = loop.time() + self._queue_seconds
        ask.timer = loop.call_at(ask.deadline, self._expire, ask)
        self.queue.append(ask)
        if not any(machine.is_up for machine, _ in self.machines.values()):
            for machine, _ in self.machines.values():
                machine.try_now()
        self._serve()

    def _on_add(self, connector: Connector) -> None:
        self._on_remove(connector.name, "it was replaced")
        if self._closed:
            return
        machine = Machine(
            connector,
            Hello(self._tokens.get(connector.name, self._token), VERSION),
            self._needs,
            on_change=self._serve,
        )
        self.machines[connector.name] = machine, asyncio.ensure_future(machine.serve())

    def _on_remove(self, name: str, why: str) -> None:
        found = self.machines.pop(name, None)
        if found is not None:
            machine, serving = found
            machine.why = why
            serving.cancel()
            self._serve()

    def _on_close(self) -> None:
        for name in list(self.machines):
            self._on_remove(name, "the sandbox is closed")
        for task in self.joining:
            task.cancel()
        self._refuse_all("the sandbox is closed")

    def _refuse_all(self, why: str) -> None:
        queue, self.queue = self.queue, []
        for ask in queue:
            ask.refuse(why)

    def _serve(self) -> None:
        """Give those who wait their turn: the deepest first, since others wait for them, then in their order."""
        if not self.queue:
            return
        machines = [machine for machine, _ in self.machines.values()]
        left: list[_Ask] = []
        for ask in sorted(self.queue, key=lambda ask: -ask.depth):
            if ask.taken.cancelled():
                ask.leave()
                continue
            usable = [m for m in machines if m not in ask.problems]
            if machines and not any(machine.may_come for machine in usable):
                ask.refuse(f"no machine can run code: {self._describe(ask)}")
                continue
            free = [machine for machine in usable if machine.has_room(ask.depth)]
            if not free:
                left.append(ask)
                continue
            two = _chance.sample(free, min(2, len(free)))
            machine = min(two, key=lambda m: m.load)
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
                ask.problems[machine] = printable(refused.why)
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
        for name, (machine, _) in self.machines.items():
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
