"""`InProcessSandbox`: code in a thread of this process, for trusted code and for tests.

The language policy is the only wall here, and no Python-level wall is a boundary: see
`docs/security.md`. Of the limits, memory is not enforced, and no limit ends an operation in C: one that
never gives up the interpreter (`max(itertools.count())`, a huge power, a bad regular expression) stops
the whole process for as long as it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.api import Done, Limits, Moment, OnCalls, OnIdle, Program, Result, Shown
from langchain_ptc.sandbox.host.connection import Conversation
from langchain_ptc.sandbox.host.process import LocalSandbox, crashed, replay_seconds
from langchain_ptc.sandbox.wire.protocol import limit_reached
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.program import HOST_STACK_BYTES, ProgramRun, touch_lazy_parts
from langchain_ptc.sandbox.worker.threads import Crew

_LOOK_SECONDS = 0.05  # how often the processor time of the threads is looked at


class InProcessSandbox(LocalSandbox):
    """Runs code in a thread of the host: for code that you trust, and for tests.

    The limits do not end an operation in C that never gives up the interpreter, as
    `max(itertools.count())`: it stops the whole process for good.

    Args:
        imports: Modules that the code may import in addition to the standard ones. For trusted code only:
            the policy knows nothing of what they do, and there is no other wall here. With
            `imports=["pandas"]`, `pd.read_pickle(io.BytesIO(...))` runs what a pickle says, with the
            rights of this process; `numpy.load` and `pd.read_csv` open files.
    """

    def __init__(self, *, imports: Sequence[str] = ()) -> None:
        super().__init__(imports)
        self._closed = False
        touch_lazy_parts()

    def session(self) -> InProcessSession:
        """Prepare one execution."""
        if self._closed:
            raise SandboxError("the sandbox is closed")
        return InProcessSession(self._imports)

    def has_room(self) -> bool:
        """Whether one more program would delay no other: always, in a thread of its own."""
        return True

    def close(self) -> None:
        """Refuse further executions."""
        self._closed = True


class _QueueChannel:
    """A channel between the thread of the code and the host's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._host_receives = receive
        # Calls are handed on in the context of the execution, not in that of a thread.
        self._context = contextvars.copy_context()
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._pushed_back: deque[bytes] = deque()

    def deliver(self, data: bytes) -> None:
        """Hand bytes to the code; empty bytes say that the host is gone."""
        self._inbox.put(data)

    def send(self, data: bytes) -> None:
        """Hand bytes to the host."""
        try:
            self._loop.call_soon_threadsafe(self._host_receives, data, context=self._context)
        except RuntimeError as error:  # the host's loop is closed
            raise EOFError("the host is gone") from error

    def receive(self) -> bytes:
        """Wait for bytes."""
        data = self._pushed_back.popleft() if self._pushed_back else self._inbox.get()
        if not data:
            raise EOFError("the host is gone")
        return data

    def receive_into(self, room: memoryview) -> None:
        """Fill `room`."""
        while room:
            data = self.receive()
            count = min(len(data), len(room))
            room[:count] = data[:count]
            if count < len(data):
                self._pushed_back.appendleft(data[count:])
            room = room[count:]

    def poll(self, seconds: float) -> bool:
        """Wait until there are bytes."""
        if not self._pushed_back:
            try:
                self._pushed_back.append(
                    self._inbox.get(timeout=seconds or None, block=seconds > 0)
                )
            except queue.Empty:
                return False
        return True


class InProcessSession:
    """One execution in a thread, seen from the event loop."""

    _done: asyncio.Future[Done]
    _channel: _QueueChannel
    _crew: Crew
    _since: tuple[float, float]  # when its limits began: by the clock, and in time of its threads

    def __init__(self, imports: tuple[str, ...]) -> None:
        self._imports = imports
        self._conversation: Conversation | None = None
        self._more = 0.0  # seconds in addition to its limits

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        return "" if self._conversation is None else self._conversation.protocol.output

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What the code has shown until now."""
        return () if self._conversation is None else self._conversation.protocol.shown

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end, which a limit may bring about; see `Session.run`."""
        loop = asyncio.get_running_loop()
        conversation = Conversation(
            program, on_calls, on_idle, on_taken=self._take, on_error=self._fail
        )
        self._more = replay_seconds(program)
        self._done = loop.create_future()
        self._channel = channel = _QueueChannel(loop, self._receive)
        self._crew = Crew(HOST_STACK_BYTES)
        self._crew.wakers.append(lambda: channel.deliver(b""))
        run = ProgramRun(
            program,
            WorkerConnection(channel),
            imports=self._imports,
            guard_writes=True,
            crew=self._crew,
        )
        try:
            self._crew.start(lambda: _run_to_end(run))
        except RuntimeError as error:
            raise SandboxError(f"the system refuses a thread for the code: {error}") from error
        self._since = time.monotonic(), 0.0
        self._conversation = conversation
        try:
            while (ending := await self._look(program.limits)) is None:
                pass
        finally:
            self._crew.stop()
        if not self._done.done():  # a moment to hand over what it has printed
            await asyncio.wait([self._done], timeout=_LOOK_SECONDS * 2)
            ending = replace(ending, output=self.output)
        conversation.close()
        return ending

    async def _look(self, limits: Limits) -> Done | None:
        started, before = self._since
        wall, cpu = limits.wall_seconds + self._more, limits.cpu_seconds + self._more
        left = started + wall - time.monotonic()
        await asyncio.wait([self._done], timeout=min(max(left, 0.0), _LOOK_SECONDS))
        if self._done.done():
            return self._done.result()
        if self._since[0] != started:
            return None
        used, spent = time.monotonic() - started, self._crew.cpu_seconds() - before
        if used >= wall:
            return limit_reached("wall_seconds", limits.wall_seconds, used, output="")
        if spent >= cpu:
            return limit_reached("cpu_seconds", limits.cpu_seconds, spent, output="")
        return None

    def renew(self) -> None:
        """Begin the limits of wall and processor time anew; see `Session.renew`."""
        if self._conversation is not None:
            self._more = 0.0
            self._since = time.monotonic(), self._crew.cpu_seconds()

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls; see `Session.resume`."""
        if self._conversation is not None and not self._done.done():
            for buffer in self._conversation.encode(results, at):
                self._channel.deliver(buffer)

    def _receive(self, data: bytes) -> None:
        if self._conversation is not None and not self._done.done():
            self._conversation.feed(data)

    def _take(self) -> None:
        if self._conversation is None or self._done.done():
            return
        protocol = self._conversation.protocol
        if protocol.done is not None:
            self._done.set_result(protocol.done)
        else:
            self._conversation.hand_on(protocol.collect())

    def _fail(self, violation: str) -> None:
        if not self._done.done():
            self._done.set_result(crashed(f"the code broke the protocol: {violation}", self.output))


def _run_to_end(run: ProgramRun) -> None:
    with contextlib.suppress(EOFError):
        run.run()
