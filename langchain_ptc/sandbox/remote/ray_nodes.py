"""What uses Ray for a `RaySandbox`: an actor on each node, and a process beside the host that follows the cluster.

The host itself does not use Ray. Ray ends a process that uses it once the head node has been away for a
minute, does not survive a fork, and unpickles whatever an actor returns. So the host starts this process:

```
host                                    this process                        actor on each node
options, one line of JSON   ──stdin──>  ray.init, an actor for each node ─> Server with a token of its own
each change, a line of JSON <─stdout──  nodes that come, die, or refuse  <─ address and token
end of its life             ──stdin──>  ends
```

It asks an actor twice: where its server listens, and, as `stay`, what is answered only by its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.remote.server import Server

NAMESPACE = "langchain_ptc"
_LOOK_SECONDS = 1.0  # how soon a node that has joined or left the cluster is noticed
_RETRY_SECONDS = 5.0  # how soon a node is tried again whose actor does not start
_MAX_CALLS = 10_000  # hosts that one actor may have: each waits for its end
_MAX_ERROR_CHARS = 600
_PROBE_SECONDS = 10.0


class NodeServer:
    """The actor: serves the workers of its node, in its process, on the loop that Ray runs for it.

    It returns plain strings and numbers of its own; what code says goes to the host by another line.

    Args:
        options: For `Server`.
        idle_seconds: How long it stays without any host. Those of a former release end so.
    """

    def __init__(self, options: dict[str, Any], idle_seconds: float) -> None:
        self._options, self._idle_seconds = options, idle_seconds
        self._token = secrets.token_hex(32)
        self._server: Server | None = None
        self._starting = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None

    async def find(self) -> tuple[str, int, str]:
        """Return the address and the port of the server, and its token; starts it at first.

        Raises:
            SandboxError: Workers cannot be started or confined here.
        """
        import ray

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

    Args:
        options: Those that `RaySandbox` sends.
        report: Called with the machines and what is wrong with others, by node, when that has changed.
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


def main() -> None:
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
