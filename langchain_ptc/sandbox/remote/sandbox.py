"""`RemoteSandbox`: each execution in a worker of a server elsewhere."""

from __future__ import annotations

import ssl
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Generic

from langchain_ptc.errors import MachineLost, ReplayError, SandboxError, count
from langchain_ptc.sandbox.api import (
    Call,
    Done,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Replay,
    Result,
    Shown,
)
from langchain_ptc.sandbox.host.process import (
    LocalSandbox,
    Require,
    WorkerSession,
    check_positive,
    checked_size,
    result_of,
)
from langchain_ptc.sandbox.host.workers import Pool, W, current_depth
from langchain_ptc.sandbox.remote.pool import Needs, RemotePool, RemoteWorker, ServerStats
from langchain_ptc.sandbox.remote.sockets import Connector, TcpConnector, client_tls, is_loopback

MAX_LOST = 3
"""Machines that one execution may lose: a program that ends its machine must not end all of them."""


# --- a session that outlives the machine its program runs on ----------------------------------------
# A program that runs in steps takes the same path wherever the same events are delivered to it. So when its
# machine is lost, it is restarted on another one and given the events that it had received: the driver of the
# session sees only the calls and waits that come after these, and nothing of the loss. Calls in flight are not made again:
# their tools run on the host, and their results are delivered on the new machine.


class ReplayingSession(Generic[W]):
    """One execution in a worker on another machine, and in a further one if that machine is lost."""

    def __init__(self, pool: Pool[W], require: Require, *, has_folder: bool = False) -> None:
        self._pool, self._require, self._has_folder = pool, require, has_folder
        self._depth = current_depth()
        self.ready: Callable[[], Future[None]] | None = None
        """Returns what is done when the pool has machines; called when the execution begins."""
        self._session = WorkerSession(pool, require, has_folder=has_folder)
        self._is_stepped = False  # whether a program that runs in steps is running
        self._output = ""
        self._shown: tuple[Shown, ...] = ()
        self._calls: list[tuple[object, ...]] = []
        """What the program has asked for, on all machines."""
        self._calls_at: list[int] = []  # how many calls it had asked for at each wait
        self._events: list[tuple[Sequence[Result], Moment]] = []  # what it was given at each wait
        self._asked = self._waits = self._delivered = 0
        """How many calls, waits and events there were on the present machine."""
        self._computed_seconds = self._computed_here = 0.0
        self._computing_since: float | None = None

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        output = self._session.output
        return output if len(output) >= len(self._output) else self._output  # while it is replayed

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What the code has shown until now."""
        shown = self._session.shown
        return shown if len(shown) >= len(self._shown) else self._shown  # while it is replayed

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end; see `Session.run`.

        Raises:
            MachineLost: The machine was lost, and the program does not run in steps; or machines keep being
                lost.
            ReplayError: The program took another path when it was replayed.
        """
        if self.ready is not None:
            await result_of(self.ready())
        if program.replay is None or on_idle is None:
            return await self._session.run(program, on_calls, on_idle)

        def report_calls(calls: Sequence[Call]) -> None:
            new = [call for call in calls if self._is_new(call)]
            if new:
                on_calls(new)

        def report_wait(due: float | None) -> None:
            if self._is_new_wait():
                on_idle(due)
            self._deliver()

        self._is_stepped = True
        try:
            for lost in range(MAX_LOST + 1):
                given = self._with_computed(program, program.replay)
                try:
                    done = await self._session.run(given, report_calls, report_wait)
                except MachineLost:
                    if lost == MAX_LOST:
                        raise
                else:
                    if lost == MAX_LOST or not self._session.was_killed:
                        return self._checked(done)
                self._go_elsewhere()
        finally:
            self._is_stepped = False
        raise AssertionError("unreachable")

    # --- the path ---------------------------------------------------------------------------------

    def _is_new(self, call: Call) -> bool:
        """Note a call; return whether it was not made on an earlier machine."""
        now = call.tool, call.line, *map(_fixed, (*call.args, *call.kwargs, *call.kwargs.values()))
        self._asked += 1
        if self._asked > len(self._calls):
            self._calls.append(now)
            return True
        before = self._calls[self._asked - 1]
        if before != now:
            raise _diverged(
                f"it called {now} where it had called {before}", f"{call.id}:{call.tool}"
            )
        return False

    def _is_new_wait(self) -> bool:
        """Note that the program waits; return whether it did not do so on an earlier machine."""
        self._note_computed()
        self._waits += 1
        if self._waits > len(self._calls_at):
            self._calls_at.append(self._asked)
            return True
        before = self._calls_at[self._waits - 1]
        if before != self._asked:
            raise _diverged(
                f"it waited after {count(self._asked, 'call')} where there had been {before}"
            )
        return False

    def _checked(self, done: Done) -> Done:
        """Return the end, if the program has come as far as on earlier machines."""
        if self._waits < len(self._calls_at) and done.status in ("success", "error", "refused"):
            raise _diverged("it ended where it had gone on")
        return done

    # --- another machine --------------------------------------------------------------------------

    def _go_elsewhere(self) -> None:
        self._note_computed()
        self._output, self._shown = self.output, self.shown
        seconds = self._session.wall_seconds_left
        self._session = WorkerSession(
            self._pool,
            self._require,
            has_folder=self._has_folder,
            depth=self._depth,
            wall_seconds=seconds,
        )
        self._asked = self._waits = self._delivered = 0
        self._computed_here, self._computing_since = 0.0, None

    def _note_computed(self) -> None:
        """Add the time since the last event, or since the worker began."""
        since, now = self._computing_since, time.monotonic()
        if self._waits == self._delivered:  # it does not wait
            self._computed_here += now - min(
                now, self._session.watched_at if since is None else since
            )
        self._computed_seconds = max(self._computed_seconds, self._computed_here)

    def _with_computed(self, program: Program, replay: Replay) -> Program:
        """Return the program, with the time that it takes to be replayed."""
        seconds = max(replay.computed_seconds, self._computed_seconds)
        return replace(program, replay=replace(replay, computed_seconds=seconds))

    # --- events -----------------------------------------------------------------------------------

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls; see `Session.resume`."""
        if not self._is_stepped:
            self._session.resume(results, at)
            return
        if at is None:
            raise ValueError("a program with replay has no clock of its own: pass at")
        if len(self._events) >= len(self._calls_at):
            raise ValueError("a program with replay takes one step after each on_idle, not more")
        self._events.append((results, at))
        self._deliver()

    def _deliver(self) -> None:
        """Give the program its next event, if it waits for one that there is."""
        if self._delivered < min(self._waits, len(self._events)):
            results, at = self._events[self._delivered]
            self._delivered += 1
            self._computing_since = time.monotonic()
            self._session.resume(results, at)

    def renew(self) -> None:
        """Begin the limits of wall and processor time anew; see `Session.renew`."""
        self._session.renew()


def _fixed(value: object) -> object:
    """Return what of a value no tool can have changed meanwhile."""
    return value if isinstance(value, str | bytes | int) else repr(type(value))


def _diverged(how: str, call: str = "") -> ReplayError:
    return ReplayError(
        f"the code took another path when it was replayed on another machine: {how}. Calls that were made "
        "before are not made again, and are not undone",
        call=call,
    )


class ServersSandbox(LocalSandbox):
    """What `RemoteSandbox` and `RaySandbox` have in common: workers of servers, which `pool` knows."""

    def __init__(
        self,
        imports: Sequence[str],
        files: bool | int,
        require: Require,
        queue_seconds: float,
    ) -> None:
        super().__init__(imports)
        check_positive(queue_seconds=queue_seconds)
        self.files_bytes = checked_size(files, require)
        self._require: Require = require
        self._is_closed = False
        needs = Needs(self._imports, require == "kernel", self.files_bytes)
        self.pool = RemotePool(needs, queue_seconds)
        # In whatever thread it is collected, and whatever that is doing: takes no lock.
        weakref.finalize(self, self.pool.close_soon)

    def session(self) -> ReplayingSession[RemoteWorker]:
        """Prepare one execution."""
        if self._is_closed:
            raise SandboxError("the sandbox is closed")
        return ReplayingSession(self.pool, self._require, has_folder=self.files_bytes > 0)

    def has_room(self) -> bool:
        """Whether one more program would delay no other: a server has a free worker, as far as is known."""
        return self.pool.has_room()

    def stats(self) -> tuple[ServerStats, ...]:
        """Return what is known of each server; none is before the first execution."""
        return self.pool.stats()

    def close(self) -> None:
        """End its executions and connections; the servers go on."""
        self._is_closed = True
        self.pool.close()


class RemoteSandbox(ServersSandbox):
    """Runs each execution in a worker of a server (`langchain-ptc serve`), on another machine or on this one.

    Tools run here, as ever; code runs there, with as many walls as the server's machine has. Each execution goes
    to the freer of two servers with room; where none has room, it waits for its turn, and its wall limit
    begins with that. When a server is lost, an execution that has a journal (of a graph with a checkpointer)
    goes on at another one, without repeating a call; any other one ends with a report of the calls that were
    made. Connections are made when the first execution begins.

    Args:
        addresses: The servers, each as `"host:port"`, which must be one server and no balancer in front of
            several; or what connects to one in another way.
        token: What the servers were started with. Whoever has it may run code in their workers. Only servers
            that are reached by connectors alone may have none.
        tls: `True` for TLS with the certificates that this system trusts, or a context of your own (for
            example with a client certificate). `False` for none, where the network is trusted: the token
            and all data are then readable on the way. The default is TLS, except on the loopback interface.
        imports: Modules that the code may import in addition to the standard ones; each server must have
            been started with them.
        files: Give the code a folder of its own for each execution; see `ProcessSandbox`. Each server must have
            been started with folders of at least this size, in bytes: `langchain-ptc serve --files`.
        require: What must hold on the servers, see `ProcessSandbox`; the default is `kernel`.
        queue_seconds: How long an execution may wait for a worker. Then it raises `SandboxError`, which
            names each server and why it gave none.

    Raises:
        TypeError: A string was passed in place of a list.
        ValueError: An address is not `"host:port"`, there is none, or one needs a token; `queue_seconds` is
            not positive, `require` is not a level, or `files` is no size or needs another level.
    """

    def __init__(
        self,
        addresses: Sequence[str | Connector],
        *,
        token: str = "",
        tls: ssl.SSLContext | bool | None = None,
        imports: Sequence[str] = (),
        files: bool | int = False,
        require: Require = "kernel",
        queue_seconds: float = 30.0,
    ) -> None:
        if isinstance(addresses, str):
            raise TypeError(f"addresses must be a list, got the string {addresses!r}")
        if not addresses:
            raise ValueError("addresses must not be empty")
        if not token and any(isinstance(address, str) for address in addresses):
            raise ValueError("token must not be empty: whoever can connect to a server needs it")
        super().__init__(imports, files, require, queue_seconds)
        for address in addresses:
            way = _connector(address, tls) if isinstance(address, str) else address
            self.pool.servers[way.name] = way, token


def _connector(address: str, tls: ssl.SSLContext | bool | None) -> TcpConnector:
    if tls is None:
        tls = not is_loopback(address.rpartition(":")[0].strip("[]"))
    context = tls if isinstance(tls, ssl.SSLContext) else client_tls() if tls else None
    return TcpConnector(address, context)
