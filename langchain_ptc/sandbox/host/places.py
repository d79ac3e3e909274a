"""How many executions have a worker at a time, and who is next.

The number is bounded, and so is the memory of a burst; what comes beyond waits its turn, before its wall
limit begins. The bound is one for each depth: executions that a tool of another execution begins are
counted apart from that one, since it waits for them, so that they need no place that it holds.

Where the system refuses a worker (processes, descriptors), the bound goes down to what there is, and up
again with each worker that it grants.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.host.workers import Allowance, Worker

MAX_WORKERS = 256
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("ptc_depth", default=0)


def most_workers() -> int:
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
    taken: Future[Worker] | None
    """Who waits for it; None for one that is to wait for work, which takes no place."""
    depth: int = 0
    fresh: bool = False
    """Only one that has not waited will do."""
    attempts: int = 0
    """How many parents of workers have died over it."""

    def refuse(self, why: SandboxError) -> None:
        """Tell who waits that there is none."""
        if self.taken is not None and self.taken.set_running_or_notify_cancel():
            self.taken.set_exception(why)


@dataclass(eq=False, slots=True)
class _Level:
    """The executions of one depth."""

    most: int
    busy: int = 0
    queue: deque[Ask] = field(default_factory=deque)


class Places:
    """The places of one pool, `most` at each depth; used by its thread alone."""

    def __init__(self, most: int) -> None:
        self._most = most
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
                if ask.taken is not None and not ask.taken.cancelled():
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
