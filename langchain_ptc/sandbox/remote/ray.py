"""`RaySandbox`: each execution in a worker on a node of a Ray cluster.

Ray places one server of workers on each node and starts it again when it dies. All else is as for
`RemoteSandbox`: the host connects to the servers itself, and chooses one for each execution.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import ServiceThread, new_gate, new_lock
from langchain_ptc.sandbox.host.process import Require, check_positive
from langchain_ptc.sandbox.remote.machine import RemoteWorker
from langchain_ptc.sandbox.remote.pool import RemotePool
from langchain_ptc.sandbox.remote.sandbox import ReplayingSession, ServersSandbox
from langchain_ptc.sandbox.remote.sockets import TcpConnector

_MAX_REPORT_CHARS = 4 * 2**20
_JOIN_SECONDS = 60.0  # how long Ray may take to find the cluster and to start the first server
_MAX_PAUSE_SECONDS = 30.0
_TAIL_BYTES = 600
_FOLLOW = "from langchain_ptc.sandbox.remote.ray_nodes import main; main()"

logger = logging.getLogger("langchain_ptc")


class Cluster:
    """Gives a pool the machines of a Ray cluster, as a process beside this one reports them.

    That process is started when `joined` is first called, and again whenever it ends; after a fork the child
    starts its own.

    Args:
        options: What the process needs to know; see `ray_nodes`.
        pool: What uses the machines.
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
