"""A Ray cluster on this machine, whose parts can be killed and stopped one by one."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from langchain_ptc import RaySandbox
from tests.support.waiting import wait_for

_SMALL = {"object_store_memory": 80_000_000, "include_dashboard": False}


def _children() -> dict[int, list[int]]:
    """Return the children of each process of the machine."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(stat.parent.name))
    return found


def _is(pid: int, *words: bytes) -> bool:
    """Whether all words stand in the command line of a process; False if it has ended."""
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return bool(line) and all(word in line for word in words)
    return False


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster."""

    node: Any
    """What Ray holds of it."""

    @property
    def id(self) -> str:
        """Its id, in hexadecimal digits."""
        return str(self.node.node_id)

    @property
    def raylet(self) -> int:
        """The process of Ray on it."""
        return int(self.node.all_processes["raylet"][0].process.pid)

    def processes(self, *words: bytes) -> list[int]:
        """Return the raylet's descendants that have all words in their command line."""
        children, found = _children(), [self.raylet]
        for pid in found:
            found += children.get(pid, [])
        return [pid for pid in found[1:] if _is(pid, *words)]

    def actors(self) -> list[int]:
        """Return the processes of our actors."""
        return self.processes(b"ray::", b"NodeServer")

    def parents_of_workers(self) -> list[int]:
        """Return the processes that fork workers."""
        children = _children()
        return [child for actor in self.actors() for child in children.get(actor, [])]

    def workers(self) -> list[int]:
        """Return the workers, those that wait among them."""
        children = _children()
        return [child for parent in self.parents_of_workers() for child in children.get(parent, [])]

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let everything on it hang, as if its cable had been pulled."""
        pids = [self.raylet, *self.processes()]
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def open_descriptors(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def have_ended(pids: list[int]) -> bool:
    """Whether none of the processes lives."""
    return not any(map(_is, pids))


def kill(pids: list[int]) -> None:
    """Kill processes, and wait until they are gone."""
    assert pids
    _signal(pids, signal.SIGKILL)
    assert wait_for(lambda: have_ended(pids))


def _patiently(start: Callable[[], Any]) -> Any:
    """Start a node; again where its agent has not started within 15 seconds, as on a busy machine."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return start()
    return start()


class LocalCluster:
    """A head, which runs no code, and nodes, which do.

    Args:
        nodes: How many.
    """

    def __init__(self, nodes: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, **_SMALL}
        self._cluster = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address: str = self._cluster.address
        self.head = Node(self._cluster.head_node)
        self.nodes: list[Node] = []
        """Those that run code, the eldest first."""
        for _ in range(nodes):
            self.add(wait=False)
        self._cluster.wait_for_nodes()

    def add(self, *, wait: bool = True) -> Node:
        """Start one more node."""
        made = _patiently(lambda: self._cluster.add_node(wait=wait, num_cpus=1, **_SMALL))
        self.nodes.append(Node(made))
        return self.nodes[-1]

    def remove(self, node: Node) -> None:
        """Kill a node with all its processes."""
        self._cluster.remove_node(node.node, allow_graceful=False)
        self.nodes.remove(node)

    def close(self) -> None:
        """End every process."""
        self._cluster.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_ANY_PYTHON = """
from langchain_ptc.sandbox.host.pool import WorkerPool
WorkerPool.__init__.__kwdefaults__["policy"] = False
"""


@contextlib.contextmanager
def open_unrestricted(address: str) -> Iterator[RaySandbox]:
    """Open a sandbox whose code is any Python: what its nodes' servers import first removes the language."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(_ANY_PYTHON)
        environment = {"env_vars": {"PYTHONPATH": folder}}
        options = {"runtime_env": environment}
        with RaySandbox(address, idle_seconds=5.0, actor_options=options) as made:
            yield made


def connected(sandbox: RaySandbox) -> set[str]:
    """Return the ids of the nodes that a host is connected to."""
    return {server.name for server in sandbox.stats() if server.is_connected}


def busy(sandbox: RaySandbox) -> set[str]:
    """Return the ids of the nodes that run an execution of a host."""
    return {server.name for server in sandbox.stats() if server.running}
