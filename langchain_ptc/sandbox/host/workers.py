"""Worker processes and their parent, from the host's side; and executions that wait for a worker.

The number of executions that have a worker is bounded, and so is the memory of a burst; what comes beyond
waits its turn, before its wall limit begins. The bound is one for each depth: executions that a tool of
another execution begins are counted apart from that one, since it waits for them, so that they need no
place that it holds.

Where the system refuses a worker (processes, descriptors), the bound goes down to what there is, and up
again with each worker that it grants.
"""

from __future__ import annotations

import array
import contextlib
import contextvars
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import no_fork
from langchain_ptc.sandbox.wire.protocol import (
    ALLOWANCE,
    BORN,
    DESCRIPTORS_OF_A_WORKER,
    MAX_CPU_SECONDS,
    MAX_MEMORY_BYTES,
    REPLY,
    REQUEST,
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits that a worker gets from the kernel before it gets any code."""

    cpu_seconds: int
    memory_bytes: int

    def encode(self) -> bytes:
        """Return what a worker reads; numbers beyond what the kernel knows are cut."""
        return ALLOWANCE.pack(
            min(self.cpu_seconds, MAX_CPU_SECONDS), min(self.memory_bytes, MAX_MEMORY_BYTES)
        )


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What the workers of a `ProcessSandbox` were doing at one moment, in this process."""

    running: int
    """Executions that have a worker."""
    starting: int
    """Executions whose worker is being forked."""
    queued: int
    """Executions that wait for one of `max_workers` to be free."""
    idle: int
    """Workers that wait for an execution."""
    parent_pid: int | None
    """The process that forks the workers; None if none runs."""
    layers: Mapping[str, str]
    """The state of each layer of confinement, `on` or why not; empty before the first execution."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended."""

    status: int  # wait status, for `os.waitstatus_to_exitcode`; -1 if it is not known
    cpu_seconds: float


class Socket(Protocol):
    """What is used of a connected, non-blocking socket."""

    def fileno(self) -> int:
        """Return its descriptor; -1 once it is closed."""

    def recv(self, size: int, /) -> bytes:
        """Return what has come; `BlockingIOError` if nothing has."""

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Send what is taken at once; `BlockingIOError` if nothing is."""

    def shutdown(self, how: int, /) -> None:
        """End one direction."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option of the connection below."""

    def close(self) -> None:
        """Close it; idempotent."""


class PooledWorker(Protocol):
    """A worker as its session knows it, wherever it runs."""

    @property
    def socket(self) -> Socket:
        """Connected to it."""

    @property
    def layers(self) -> Mapping[str, str]:
        """The state of each layer of its confinement, `on` or why not."""

    @property
    def exited(self) -> Future[Exit]:
        """How it ended; raises `MachineLost` if nobody will ever say. Cannot be cancelled."""

    @property
    def waited(self) -> bool:
        """Whether it had to wait for its execution, and so may have been killed meanwhile."""

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because its wall limit had come; final once it has exited."""


W = TypeVar("W", bound=PooledWorker)


class Pool(Protocol[W]):
    """What sessions take their workers from; each method may be called from any thread."""

    exit_seconds: float
    """How long it may take to hear how a worker ended, once its socket has closed."""

    def checkout(self, allowance: Allowance, *, depth: int = 0, fresh: bool = False) -> Future[W]:
        """Take a worker for one execution, which is inside of `depth` others; `fresh`: it must not have waited.

        The future raises `SandboxError` if there is no worker; one that is cancelled takes none.
        """

    def watch(self, worker: W, wall_seconds: float) -> None:
        """Begin the wall limit of a worker, anew if it has one; on the event loop of its session."""

    def discard(self, worker: W) -> None:
        """Close the socket of a worker, and have it ended if it has not."""

    def refill(self) -> None:
        """Prepare workers in place of those that were taken."""


def _pending_exit() -> Future[Exit]:
    """Build a future that cannot be cancelled: it is shared by all who wait for it."""
    future: Future[Exit] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Worker:
    """One child process. Only the thread of its pool signals it and closes its pidfd.

    The number of a closed descriptor is given to the next one that is opened: a signal sent by it from
    another thread could hit another worker.
    """

    number: int
    pid: int
    socket: socket.socket
    pidfd: int | None
    layers: Mapping[str, str]  # the state of each layer of confinement in its parent
    exited: Future[Exit] = field(default_factory=_pending_exit)
    deadline: float = float("inf")
    """When its wall limit comes, or its grace ends, by `time.monotonic`."""
    depth: int = 0  # how many executions its execution is inside of
    waited: bool = False
    """Whether it had to wait for its execution, and so may have been killed meanwhile."""
    timed_out: bool = False  # whether the host ended it because its wall limit had come

    def is_alive(self) -> bool:
        """Whether it has not ended, as far as the kernel or its parent has reported."""
        pidfd = self.pidfd
        if pidfd is None:
            return not self.exited.done()
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        return not ended.poll(0)

    def allow(self, allowance: Allowance) -> None:
        """Give it its limits, once, before its program."""
        with contextlib.suppress(OSError):  # it has ended; reading from it says so too
            self.socket.send(allowance.encode())

    def close(self) -> None:
        """Close its descriptors; by the thread of its pool, or where there is none."""
        self.socket.close()
        pidfd, self.pidfd = self.pidfd, None
        if pidfd is not None:
            os.close(pidfd)


# --- how many, and who is next -----------------------------------------------------------------------

MAX_WORKERS = 256
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("ptc_depth", default=0)


def default_most() -> int:
    """Return the default bound: each takes two descriptors here, and this process needs some too."""
    try:
        import resource
    except ImportError:
        return MAX_WORKERS
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_WORKERS if soft == resource.RLIM_INFINITY else max(1, min(MAX_WORKERS, soft // 4))


@dataclass(eq=False, slots=True)
class Ask:
    """A request for a worker."""

    allowance: Allowance
    taken: Future[Worker]  # who waits for it
    depth: int = 0
    fresh: bool = False  # only one that has not waited will do
    attempts: int = 0  # how many parents of workers have died over it

    def refuse(self, why: SandboxError) -> None:
        """Tell who waits that there is none."""
        if self.taken.set_running_or_notify_cancel():
            self.taken.set_exception(why)


@dataclass(eq=False, slots=True)
class _Level:
    """The executions of one depth."""

    most: int
    busy: int = 0
    queue: deque[Ask] = field(default_factory=deque)


class Places:
    """The places of one pool, `most` at each depth; used by its thread alone."""

    def __init__(self, most: int | None) -> None:
        self._most = most or default_most()
        self._levels: dict[int, _Level] = {}

    def _level(self, depth: int) -> _Level:
        return self._levels.setdefault(depth, _Level(self._most))

    @property
    def queued(self) -> int:
        """How many wait for a place."""
        return sum(len(level.queue) for level in list(self._levels.values()))

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return sum(level.busy for level in list(self._levels.values()))

    def wait(self, ask: Ask) -> None:
        """Let an ask wait for its turn."""
        self._level(ask.depth).queue.append(ask)

    def wait_again(self, ask: Ask) -> None:
        """Take an ask's place from it, and put it at the front of its queue."""
        level = self._level(ask.depth)
        level.busy -= 1
        level.queue.appendleft(ask)

    def next(self) -> Ask | None:
        """Give a place to the ask whose turn it is; the deepest first, since others wait for them."""
        for depth in sorted(self._levels, reverse=True):
            level = self._levels[depth]
            while level.queue and level.busy < level.most:
                ask = level.queue.popleft()
                if not ask.taken.cancelled():
                    level.busy += 1
                    return ask
        return None

    def take(self, depth: int) -> None:
        """Note a place that was taken without waiting."""
        self._level(depth).busy += 1

    def free(self, depth: int) -> None:
        """Take a place back."""
        level = self._level(depth)
        level.busy -= 1
        if depth and not level.busy and not level.queue:
            del self._levels[depth]

    def widen(self, depth: int) -> None:
        """Note that the system granted a worker."""
        level = self._level(depth)
        level.most = min(self._most, level.most + 1)

    def narrow(self, ask: Ask) -> bool:
        """Note that the system refused a worker; return whether the ask waits until others have ended."""
        level = self._level(ask.depth)
        if level.busy <= 1:
            return False
        self.wait_again(ask)
        level.most = level.busy
        return True

    def refuse_waiting(self, why: SandboxError) -> None:
        """Tell all who wait that their turn does not come."""
        for level in self._levels.values():
            while level.queue:
                level.queue.popleft().refuse(why)


def current_depth() -> int:
    """Return the number of executions whose tools are at work here; 0 outside of any."""
    return _depth.get()


@contextlib.contextmanager
def one_deeper() -> Iterator[None]:
    """Count what begins within as inside of one execution more."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # closed by the garbage collector, in its context
            _depth.reset(token)


# --- the parent of workers ------------------------------------------------------------------------

_MAX_DESCRIPTORS = 2
_MAX_REPLIES_AT_ONCE = 256
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""No other program that the host starts gets a descriptor of a worker."""
_END_SECONDS = 2.0
_LAUNCH = (
    # Before anything else: a library may keep the number of a missing stream (Debian's libffi does).
    "import os, sys, json, gc\n"
    "while (opened := os.open(os.devnull, os.O_RDWR)) <= 2: pass\n"
    "os.close(opened); o = json.loads(sys.argv[2]); sys.path.extend(o.pop('path'))\n"
    "gc.disable()  # nothing that is imported is garbage\n"
    # Locks and generators are renewed in a forked child: needless after the fork of a single thread,
    # and a worker seeds `random` itself. It would copy 150 pages of each worker.
    "register, os.register_at_fork = os.register_at_fork, lambda **_: None\n"
    "from langchain_ptc.sandbox.worker.preload import FileReader; files = FileReader()\n"
    "sys.modules['ssl'] = None; import asyncio; del sys.modules['ssl']  # of no use without a network\n"
    "from langchain_ptc.sandbox.worker.zygote import main; os.register_at_fork = register\n"
    "main(int(sys.argv[1]), files, **o)"
)
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the same program must iterate over its sets in the same order
    "MALLOC_ARENA_MAX": "1",  # an arena for each thread would eat the address space
    # threads of numerical libraries rule out user namespaces, and there is one program to run
    **dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS"), "1"
    ),
}


def _import_path() -> list[str]:
    found = importlib.util.find_spec("RestrictedPython")  # not imported: only workers need it
    assert found is not None
    assert found.origin is not None
    places = Path(__file__).parents[3], Path(found.origin).parents[1]
    return list(dict.fromkeys([*map(str, places), *(p for p in sys.path if p)]))


class Reply(NamedTuple):
    """One message of the parent of workers."""

    kind: bytes
    number: int
    status: int
    cpu_seconds: float
    payload: bytes
    descriptors: list[int]
    """Those that came with it; the receiver closes them. None where the host had no room for them."""


class Parent:
    """A running parent of workers, with options for `zygote.main`; raises `SandboxError` if it cannot be started."""

    def __init__(self, options: Mapping[str, object]) -> None:
        if not hasattr(os, "fork"):
            raise SandboxError(
                f"ProcessSandbox forks its workers, which {sys.platform} cannot do: use Linux (on "
                "Windows: WSL 2 or a container), or InProcessSandbox for code that you trust"
            )
        try:
            self._control, self.process = start_process(options)
        except OSError as error:
            raise SandboxError(f"the parent of workers could not be started: {error}") from error
        self._unsent = bytearray()
        self._read = bytearray()
        self._descriptors: list[int] = []
        self.heard_at = time.monotonic()
        """When it last said anything, by `time.monotonic`; when it was started, if it has not."""
        self.layers: Mapping[str, str] | None = None
        """The state of each layer of confinement; None until it is ready."""
        self.is_silent = False  # whether it was given up, since it did not answer
        self.cannot_start = False
        """Whether it has said what no other one would do better, for example a missing module."""

    def fileno(self) -> int:
        """Return the descriptor of its control socket."""
        return self._control.fileno()

    @property
    def waits_for(self) -> int:
        """What to poll its descriptor for."""
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def order(self, kind: bytes, number: int) -> None:
        """Tell it something at the next `flush`."""
        self._unsent += REQUEST.pack(kind, number)

    def flush(self) -> None:
        """Send what it takes at once."""
        while self._unsent:
            try:
                sent = self._control.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # it is gone; reading says so too
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def replies(self) -> Iterator[Reply]:
        """Yield what it has said, each with the descriptors that came with it; `SandboxError` if it has died."""
        for _ in range(_MAX_REPLIES_AT_ONCE):
            reply = self._next_reply()
            if reply is None:
                return
            yield reply

    def _next_reply(self) -> Reply | None:
        if not self._fill(REPLY.size):
            return None
        kind, number, status, cpu, length = REPLY.unpack_from(self._read)
        if not self._fill(REPLY.size + length):
            return None
        payload = bytes(self._read[REPLY.size :])
        self._read.clear()
        descriptors, self._descriptors = self._descriptors, []
        if len(descriptors) != (DESCRIPTORS_OF_A_WORKER if kind == BORN else 0):
            for descriptor in descriptors:
                os.close(descriptor)
            descriptors = []
        return Reply(kind, number, status, cpu, payload, descriptors)

    def _fill(self, size: int) -> bool:
        """Read up to `size` bytes of one message, so that its descriptors are known to be its own."""
        while len(self._read) < size:
            try:
                data, ancillary, _, _ = self._control.recvmsg(
                    size - len(self._read),
                    socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4),
                    _CLOSE_ON_EXEC,
                )
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                data, ancillary = b"", []
            if not data:
                raise SandboxError("the parent of workers has died")
            for _, _, rights in ancillary:
                numbers = array.array("i")
                numbers.frombytes(rights[: len(rights) - len(rights) % numbers.itemsize])
                self._descriptors.extend(numbers)
            self._read += data
            self.heard_at = time.monotonic()
        return True

    def end(self) -> None:
        """End it, and with it every worker; it ends itself unless it is starting or does not answer."""
        self.disown()
        if self.layers is not None and not self.is_silent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=_END_SECONDS)
                return
        self.process.kill()
        self.process.wait()

    def disown(self) -> None:
        """Close this process's end of the line; its parent, where this process was forked, has another."""
        self._control.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def start_process(options: Mapping[str, object]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a fresh Python with nothing of ours but one socket."""
    given = json.dumps({**options, "path": _import_path()})
    with no_fork:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                number = theirs.fileno()
                process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own text
                    [
                        *(sys.executable, "-s", "-S", "-P", "-X", "utf8", "-c", _LAUNCH),
                        *(str(number), given),
                    ],
                    pass_fds=[number],
                    stdin=subprocess.DEVNULL,
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C in the host's terminal is the host's affair
                )
            except BaseException:
                ours.close()
                raise
    return ours, process
