"""`RaySandbox`: each execution in a worker on a node of a Ray cluster.

Ray places one server of workers on each node and starts it again when it dies. All else is as for
`RemoteSandbox`: the host connects to the servers itself, and chooses one for each execution.

The host itself does not use Ray. Ray ends a process that uses it once the head node has been away for a
minute, does not survive a fork, and unpickles whatever an actor returns. So the host starts a process that
follows the cluster:

```
host                                    that process                        actor on each node
options, one line of JSON   ──stdin──>  ray.init, an actor for each node ─> Server with a token of its own
each change, a line of JSON <─stdout──  nodes that come, die, or refuse  <─ address and token
end of its life             ──stdin──>  ends
```

It asks an actor twice: where its server listens, and, as `stay`, what is answered only by its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import ServiceThread, new_gate, new_lock
from langchain_ptc.sandbox.host.process import Require, check_positive
from langchain_ptc.sandbox.remote.pool import RemotePool, RemoteWorker
from langchain_ptc.sandbox.remote.sandbox import ReplayingSession, ServersSandbox
from langchain_ptc.sandbox.remote.sockets import TcpConnector

if TYPE_CHECKING:
    from langchain_ptc.sandbox.remote.server import Server

_MAX_REPORT_CHARS = 4 * 2**20
_JOIN_SECONDS = 60.0  # how long Ray may take to find the cluster and to start the first server
_MAX_PAUSE_SECONDS = 30.0
_TAIL_BYTES = 600
_FOLLOW = "from langchain_ptc.sandbox.remote.ray import follow; follow()"

logger = logging.getLogger("langchain_ptc")


class Cluster:
    """Gives a pool the machines of a Ray cluster, as a process beside this one reports them.

    That process is started when `joined` is first called, with options for `Follower`, and again whenever it ends;
    after a fork the child starts its own.
    """

    def __init__(self, options: Mapping[str, Any], pool: RemotePool) -> None:
        self._options, self._resource = json.dumps(options), options["resource"]
        self._pool = pool
        self._known: dict[str, tuple[str, int, str]] = {}
        self._lock = new_lock()
        self._joined: Future[None] | None = None
        self._pid = 0
        self._process: subprocess.Popen[str] | None = None
        self._is_closed, self._closing = False, new_gate()
        self.errors: Mapping[str, str] = {}  # why a node runs no code, by the ids of the nodes

    def joined(self) -> Future[None]:
        """Return what is done when there is a machine, and raises `SandboxError` if there is none."""
        with self._lock:
            again = self._joined is None or (self._joined.done() and self._joined.exception())
            if again or self._pid != os.getpid():
                self._joined, self._pid = Future(), os.getpid()
                self._joined.set_running_or_notify_cancel()  # shared by all who wait
                ServiceThread(self._follow, args=(self._joined,), name="ptc-ray").start()
            assert self._joined is not None
            return self._joined

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def close(self) -> None:
        """End the process; idempotent."""
        self._is_closed = True
        with contextlib.suppress(RuntimeError):  # it was closed before
            self._closing.release()
        self._hang_up()

    def _hang_up(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _follow(self, joined: Future[None]) -> None:
        pause = 1.0
        while not self._is_closed:
            try:
                why = self._follow_once(joined)
            except (OSError, ValueError, TypeError) as error:
                why = str(error) or type(error).__name__
            if not joined.done():
                joined.set_exception(SandboxError(f"the Ray cluster cannot be used: {why}"))
                return
            if joined.exception() is not None:
                return
            if not self._is_closed:
                logger.warning("the Ray cluster is not followed for %g seconds: %s", pause, why)
            self._closing.acquire(timeout=pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        if not joined.done():
            joined.set_exception(SandboxError("the sandbox is closed"))

    def _follow_once(self, joined: Future[None]) -> str:
        """Start the process and hear it until it ends; return why it did."""
        failure = ""
        with tempfile.TemporaryFile() as errors:
            path = os.pathsep.join(filter(None, sys.path))
            with subprocess.Popen(  # noqa: S603  # our own code
                [sys.executable, "-c", _FOLLOW],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the host, which ends it
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                self._process = process
                late: list[str] = []

                def end_late() -> None:
                    late.append(f"Ray has not answered within {_JOIN_SECONDS:g} seconds")
                    process.kill()

                patience = threading.Timer(_JOIN_SECONDS, end_late)
                patience.daemon = True
                patience.start()
                try:
                    print(self._options, file=process.stdin, flush=True)
                    if self._is_closed:
                        process.stdin.close()
                    while line := process.stdout.readline(_MAX_REPORT_CHARS):
                        patience.cancel()
                        failure = self._hear(json.loads(line), joined) or failure
                finally:
                    patience.cancel()
                    self._hang_up()
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = errors.read().decode("utf-8", "replace").strip()
        failure = failure or next(iter(late), "")
        return failure or f"the process that follows it ended with {process.returncode}: {said}"

    def _hear(self, report: Mapping[str, Any], joined: Future[None]) -> str:
        if "failure" in report:
            return str(report["failure"])
        known, self.errors = self.errors, {str(n): str(why) for n, why in report["errors"].items()}
        machines = {
            str(node): (str(host), int(port), str(token))
            for node, (host, port, token) in report["machines"].items()
        }
        for node in self._known.keys() - machines.keys():
            self._pool.remove(node)
        for node, (host, port, token) in dict(machines.items() - self._known.items()).items():
            connector = TcpConnector(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", None)
            connector.name = node
            self._pool.add(connector, token=token)
        self._known = machines
        for node, why in self.errors.items() - known.items():
            logger.warning("node %s of the Ray cluster runs no code: %s", node, why)
        if not joined.done():
            if machines:
                joined.set_result(None)
            else:
                joined.set_exception(SandboxError(self._explain()))
        return ""

    def _explain(self) -> str:
        if not self.errors:
            return (
                "the Ray cluster has no node for code: none is alive with some of the resource "
                f"{self._resource!r}"
            )
        node, why = next(iter(self.errors.items()))
        return f"no node of the Ray cluster can run code; {node}: {why}"


class RaySandbox(ServersSandbox):
    """Runs each execution in a worker process on a node of a Ray cluster.

    Needs the extra `ray`, and langchain-ptc in the same version on all nodes, on Linux. The first execution
    joins the cluster: a process beside this one starts a server of workers on each node, as an actor, and
    says where it listens. From then on this process talks to the servers itself, and to nobody else: it
    does not import Ray and reads no pickled object. What code says comes on a connection of its own, and is
    checked as that of a local worker is.

    Nodes that join the cluster later are used; those that die or hang are not, until they are back. A program
    that runs in a graph with a checkpointer goes on elsewhere when its node is lost. Hosts with the same
    version and options share the servers of a cluster.

    Args:
        address: Address of the cluster, as for `ray.init`. By default that of a cluster which this machine
            belongs to.
        imports: See `ProcessSandbox`. The modules must be installed on the nodes.
        waiting_workers: Workers that wait for work on each node.
        max_workers: Executions that have a worker at a time on each node; see `ProcessSandbox`.
        files: Give the code a folder of its own for each execution; see `ProcessSandbox`.
        require: What must hold on the nodes; see `ProcessSandbox`. By default `kernel`.
        port: Port of the servers; 0 lets each node choose one. Two versions cannot share one.
        queue_seconds: How long an execution waits for a node with room.
        resource: Code runs on the nodes that have some of this resource: a node that was started with
            `--num-cpus=0` has no `CPU`.
        idle_seconds: How long a server stays on its node without any host. So those of former versions end.
        ray_init: Further arguments of `ray.init`, which JSON can express, for example `namespace`.
        actor_options: Options of the actors, which JSON can express, for example `num_cpus` or
            `runtime_env`. By default they reserve nothing.

    Raises:
        ImportError: Ray is not installed.
        TypeError: `ray_init` or `actor_options` has something that JSON cannot express.
        ValueError: A number is not positive, `require` is not a level, or `files` is no size or needs another
            level.
    """

    def __init__(
        self,
        address: str = "auto",
        *,
        imports: Sequence[str] = (),
        waiting_workers: int = 4,
        max_workers: int | None = None,
        files: bool | int = False,
        require: Require = "kernel",
        port: int = 0,
        queue_seconds: float = 30.0,
        resource: str = "CPU",
        idle_seconds: float = 600.0,
        ray_init: Mapping[str, Any] | None = None,
        actor_options: Mapping[str, Any] | None = None,
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ImportError("RaySandbox needs Ray: pip install 'langchain-ptc[ray]'")
        check_positive(
            waiting_workers=waiting_workers, max_workers=max_workers, idle_seconds=idle_seconds
        )
        super().__init__(imports, files, require, queue_seconds)
        server = {
            "imports": self._imports,
            "waiting_workers": waiting_workers,
            "max_workers": max_workers,
            "files": self.files_bytes or False,
            "require": require,
            "port": port,
        }
        actor = {"server": server, "options": actor_options or {}, "idle_seconds": idle_seconds}
        options = {"init": {"address": address, **(ray_init or {})}, "resource": resource}
        self._cluster = Cluster({**options, "actor": actor}, self.pool)
        weakref.finalize(self, self._cluster.close)

    def session(self) -> ReplayingSession[RemoteWorker]:
        """Prepare one execution, which joins the cluster if that has not been done."""
        session = super().session()
        session.ready = self._cluster.joined
        return session

    @property
    def follower_pid(self) -> int | None:
        """The process that follows the cluster, if it runs."""
        return self._cluster.pid

    def close(self) -> None:
        """Leave the cluster. The servers stay for other hosts, or end once they have had none for a time."""
        self._cluster.close()
        super().close()


# --- the process that follows the cluster, and the actors: nothing of the above -------------------------

NAMESPACE = "langchain_ptc"
_LOOK_SECONDS = 1.0  # how soon a node that has joined or left the cluster is noticed
_RETRY_SECONDS = 5.0  # how soon a node is tried again whose actor does not start
_MAX_CALLS = 10_000  # hosts that one actor may have: each waits for its end
_MAX_ERROR_CHARS = 600
_PROBE_SECONDS = 10.0


class NodeServer:
    """The actor: serves the workers of its node, in its process, on the loop that Ray runs for it.

    It returns plain strings and numbers of its own; what code says goes to the host by another line. It ends when it has
    had no host for `idle_seconds`, as those of a former release have.
    """

    def __init__(self, options: dict[str, Any], idle_seconds: float) -> None:
        self._options, self._idle_seconds = options, idle_seconds
        self._token = secrets.token_hex(32)
        self._server: Server | None = None
        self._starting = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None

    async def find(self) -> tuple[str, int, str]:
        """Return address, port and token of the server, which is started at first; `SandboxError` if it cannot be."""
        import ray

        from langchain_ptc.sandbox.remote.server import Server

        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        async with self._starting:
            if self._server is None:
                address = ray.util.get_node_ip_address()
                server = Server(token=self._token, host=address, **self._options)
                await server.start()
                self._server = server
        host, port = self._server.address
        return str(host), int(port), self._token

    async def stay(self) -> None:
        """Return when it ends, and so never."""
        await asyncio.Event().wait()

    async def _leave(self) -> None:
        import ray

        left, raylet = self._idle_seconds, os.getppid()
        while left > 0 and os.getppid() == raylet:
            await asyncio.sleep(_LOOK_SECONDS)
            is_used = self._starting.locked() or (self._server is not None and self._server.hosts)
            left = self._idle_seconds if is_used else left - _LOOK_SECONDS
        if self._server is not None:
            await self._server.close()
        if os.getppid() != raylet:  # which has died; Ray leaves an actor behind that has a call
            os._exit(1)
        ray.kill(ray.get_runtime_context().current_actor)


class Follower:
    """Follows a cluster that this process is connected to.

    `report` is called with the machines, and what is wrong with others, by node, when that has changed.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        report: Callable[[Mapping[str, object]], None],
    ) -> None:
        import ray

        self._ray, self._options, self._report = ray, options, report
        self._remote = ray.remote(NodeServer)
        mark = hashlib.sha256(json.dumps(options["actor"], sort_keys=True).encode()).hexdigest()
        self._name = (
            f"langchain-ptc {version('langchain-ptc')} "
            f"py{sys.version_info[0]}.{sys.version_info[1]} {mark[:12]}"
        )
        self._machines: dict[str, tuple[str, int, str]] = {}
        self._errors: dict[str, str] = {}
        self._actors: dict[str, Any] = {}
        self._asked: dict[Any, tuple[str, Any]] = {}
        self._retry: dict[str, float] = {}

    def run(self) -> None:
        """Follow it for ever; raises what Ray raises if the cluster is lost."""
        reported: object = None
        while True:
            self._look()
            self._listen()
            found = {"machines": self._machines, "errors": self._errors}
            is_beginning = reported is None and not self._machines and self._asked
            if (now := json.dumps(found)) != reported and not is_beginning:
                self._report(found)
                reported = now

    def _look(self) -> None:
        """Ask the nodes that are new, and forget those that are gone."""
        alive = {
            node["NodeID"]
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get(self._options["resource"])
        }
        for node in {*self._machines, *self._errors, *self._actors} - alive:
            for kept in (self._machines, self._errors, self._actors, self._retry):
                kept.pop(node, None)
        for node in alive - self._actors.keys():
            if self._retry.get(node, 0.0) <= time.monotonic():
                self._ask(node)

    def _ask(self, node: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._options["actor"]
        self._actors[node] = made = self._remote.options(
            **{
                "num_cpus": 0,
                "max_concurrency": _MAX_CALLS,
                "max_restarts": -1,
                **actor["options"],
                "name": f"{self._name} {node}",
                "namespace": self._options["init"].get("namespace", NAMESPACE),
                "get_if_exists": True,
                "lifetime": "detached",
                "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
            }
        ).remote(actor["server"], actor["idle_seconds"])
        self._asked[made.find.remote()] = node, made

    def _listen(self) -> None:
        """Wait for what actors answer, for a while."""
        if not self._asked:
            time.sleep(_LOOK_SECONDS)
            return
        ready: list[Any]
        ready, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=_LOOK_SECONDS)
        for ref in ready:
            node, actor = self._asked.pop(ref)
            if self._actors.get(node) != actor:  # the node has gone meanwhile
                continue
            try:
                host, port, token = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                self._lose(node, error)
                continue
            self._machines[node] = (str(host), int(port), str(token))
            self._errors.pop(node, None)
            self._asked[actor.stay.remote()] = node, actor

    def _lose(self, node: str, error: Exception) -> None:
        """Note that an actor has ended or cannot run code; it is asked again, soon if it has been of use."""
        del self._actors[node]
        if self._machines.pop(node, None) is None:
            self._errors[node] = _describe(error)
            self._retry[node] = time.monotonic() + _RETRY_SECONDS


def _describe(error: Exception) -> str:
    """Return what went wrong, without the tracebacks of Ray."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return (lines[-1] if len(lines) > 3 else " ".join(lines))[:_MAX_ERROR_CHARS]


def _probe(address: str) -> None:
    """Raise `SandboxError` if nothing listens where the cluster should: Ray would try for a minute."""
    address = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
        except OSError as error:
            why = error.strerror or error
            raise SandboxError(f"nothing answers at its address {address}: {why}") from error


def follow() -> None:
    """Follow the cluster that the host names on standard input, and report on standard output."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever Ray prints goes elsewhere
    options = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_host, daemon=True).start()

    def report(found: Mapping[str, object]) -> None:
        print(json.dumps(found), file=lines, flush=True)

    try:
        _probe(options["init"]["address"])
        import ray

        ray.init(
            **{
                "namespace": NAMESPACE,
                "log_to_driver": False,
                "logging_level": logging.ERROR,
                **options["init"],
            }
        )
        Follower(options, report).run()
    except Exception as error:  # noqa: BLE001  # the host says so
        report({"failure": _describe(error)})


def _end_with_host() -> None:
    sys.stdin.read()
    os._exit(0)
