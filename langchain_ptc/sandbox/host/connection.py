"""The host's end of the line to one worker, on one event loop. No I/O but in `HostConnection`.

What the worker has not read yet lies here, once, as the bytes to send. Code may ask for much and read
nothing: so above `_MAX_UNSENT_BYTES` nothing more is read from its worker, and no call that has come
already is handed on. The worker stops when its socket is full, and its own limits end it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

from langchain_ptc.errors import MachineLost, SandboxError
from langchain_ptc.locks import large_data_threads
from langchain_ptc.sandbox.api import (
    Call,
    Done,
    Failure,
    Moment,
    OnCalls,
    OnIdle,
    Program,
    Result,
    Shown,
)
from langchain_ptc.sandbox.host.watching import watcher_of
from langchain_ptc.sandbox.host.workers import (
    Allowance,
    Exit,
    Pool,
    Socket,
    W,
    current_depth,
)
from langchain_ptc.sandbox.wire.control import EXIT_NO_FOLDER, EXIT_NO_SECCOMP
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_frame,
    encode_moment,
    encode_result,
    encode_run,
    limit_reached,
)

_LARGE_FRAME_BYTES = 64 * 1024
"""A frame of more is decoded in a thread: its time would be missed by the event loop."""
_MANY_FRAMES = 1_000
"""And so are that many frames that have come at once."""

_RECEIVE_BYTES = 64 * 1024
"""At a time. `asyncio`'s own transports ask for 256 KiB, which the allocator fetches from the kernel
and gives back each time: two thirds of what a tool call would cost."""
_SEND_BYTES = 1024 * 1024
"""At a time, and what the kernel is asked to hold for a worker that has much to read."""
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
_MAX_QUEUED_BYTES = 256 * 1024
"""Answers up to here leave together at the end of a round of the loop; more leaves at once."""
_MAX_JOINED_BYTES = 64 * 1024
"""Smaller answers are copied to leave in one system call."""
_MAX_CALLS_AT_ONCE = 32
"""Calls that are handed on before what their answers have left unsent is looked at."""


class Conversation:
    """What a worker sends and what it gets, on one event loop; both sandboxes have one for each execution.

    Frames are taken in their order: small ones at once, large ones in a thread.

    Args:
        program: What the worker runs.
        on_calls: Takes the calls that it asks for.
        on_idle: Takes the waits of a program that runs in steps.
        on_taken: Called when frames were taken.
        on_error: Called with what rule was broken, in place of `on_taken`; nothing follows.

    Raises:
        ValueError: The program runs in steps, and nobody takes its waits.
    """

    def __init__(
        self,
        program: Program,
        on_calls: OnCalls,
        on_idle: OnIdle | None,
        *,
        on_taken: Callable[[], None],
        on_error: Callable[[str], None],
    ) -> None:
        self.is_stepped = program.replay is not None
        if self.is_stepped and on_idle is None:
            raise ValueError("a program with replay runs in steps: pass on_idle")
        self.protocol = HostProtocol(program)
        self._on_calls, self._on_idle = on_calls, on_idle
        self._on_taken, self._on_error = on_taken, on_error
        self._awaits_event = False
        self._frames: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self.is_reading = False
        """Whether a thread reads a frame: whoever can should feed nothing meanwhile."""
        self.is_closed = False
        """Set it to have nothing more called."""

    # --- from the worker ----------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes of the worker; none to go on with the frames that have come."""
        frames = self._frames
        try:
            frames.extend(self.protocol.cut(data))
            if self.is_reading:
                return
            while frames and len(frames[0]) <= _LARGE_FRAME_BYTES and len(frames) <= _MANY_FRAMES:
                self.protocol.take(frames.popleft())
        except Exception as error:  # noqa: BLE001  # whatever its bytes do to us, it is its doing
            self._fail(error)
            return
        self.is_reading = bool(frames)
        self._on_taken()  # first: from here on the protocol is the thread's
        if self.is_reading and not self.is_closed:
            self._frames = deque()
            reading = self._loop.run_in_executor(large_data_threads(), self._take_all, frames)
            reading.add_done_callback(self._go_on)

    def _take_all(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self.protocol.take(frame)

    def _go_on(self, reading: asyncio.Future[None]) -> None:
        self.is_reading = False
        error = None if reading.cancelled() else reading.exception()
        if error is not None:
            self._fail(error)
        elif not self.is_closed:
            self.feed(b"")

    def _fail(self, error: BaseException) -> None:
        if not self.is_closed:
            self.is_closed = True
            is_ours = isinstance(error, ProtocolViolation)
            self._on_error(str(error) if is_ours else f"a {type(error).__name__} as it was read")

    def hand_on(self, calls: Sequence[Call]) -> None:
        """Hand on calls, and that a program that runs in steps can only wait."""
        if calls:
            self._on_calls(calls)
        idle = self.protocol.idle
        if idle is not None and not self._awaits_event and self._on_idle is not None:
            self._awaits_event = True
            self._on_idle(idle.due)

    # --- to the worker ------------------------------------------------------------------------------

    def encode(self, results: Sequence[Result], at: Moment | None) -> list[bytes]:
        """Return the buffers of the frames that hand these answers in; see `Session.resume`.

        Raises:
            ValueError: They are no event of a program that runs in steps, or `at` is given for one
                that does not.
        """
        answers: list[bytes] = []
        for result in results:
            answers += encode_result(result)
            if result.failure is not None and result.failure.limit is not None:
                self.protocol.note_limit(result.failure)
        if not self.is_stepped:
            if at is not None:
                raise ValueError("at is for a program with replay: another keeps the real clock")
            return answers
        if at is None:
            raise ValueError("a program with replay has no clock of its own: pass at")
        if not self._awaits_event:
            raise ValueError("a program with replay takes one step after each on_idle, not more")
        self._awaits_event = False
        self.protocol.go_on()
        return [encode_frame(encode_moment(at, len(results))), *answers]


class HostConnection:
    """The socket to a worker.

    It reads and writes the socket itself: a transport would take a round of the loop to set up, a
    second one to end, and copies what it cannot send at once.

    Args:
        program: What the worker runs.
        on_calls: Takes the calls that it asks for.
        on_idle: Takes the waits of a program that runs in steps.
        sock: Connected and non-blocking; it stays the caller's to close, after `close`.
    """

    def __init__(
        self,
        program: Program,
        on_calls: OnCalls,
        on_idle: OnIdle | None,
        sock: Socket,
    ) -> None:
        self._conversation = Conversation(
            program, on_calls, on_idle, on_taken=self._take, on_error=self._fail
        )
        self.protocol = self._conversation.protocol
        self.heard = False
        """Whether the worker has said anything."""
        self.violation: str | None = None
        """The rule that the worker broke."""
        self._loop = asyncio.get_running_loop()
        self._watcher = watcher_of(self._loop)
        self.done: asyncio.Future[Done | None] = self._loop.create_future()
        """The end; None if the line closed before the worker had said it."""
        self.is_open = True
        """Whether the execution goes on."""
        self._max_at_once = program.limits.max_concurrent_calls
        self._socket = sock
        self._fd = sock.fileno()  # by itself: of a socket, the selector makes a text at each look
        self._reads = False
        self.queue: list[bytes] = []
        """What leaves with the next `send`."""
        self._queued_bytes = 0
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._held: list[Call] = []
        self._outstanding = 0
        self._handing_over = False
        self._takes_answers = True
        self._read_if_room()

    # --- from the worker ----------------------------------------------------------------------------

    def _read_if_room(self) -> None:
        if self._reads or not self.is_open or self._conversation.is_reading:
            return
        if self._unsent_bytes <= _MAX_UNSENT_BYTES:
            self._reads = True
            self._watcher.add_reader(self._fd, self._read)

    def _stop_reading(self) -> None:
        if self._reads:
            self._reads = False
            self._watcher.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self.heard = True
            self._conversation.feed(data)
        else:
            self._end(None)

    def _take(self) -> None:
        """Go on from what the worker has said."""
        protocol = self.protocol
        if self._conversation.is_reading:
            self._stop_reading()
        elif not self._reads:
            self._read_if_room()
        if protocol.done is not None:
            self._end(protocol.done)
            return
        calls: Sequence[Call] = protocol.collect()
        if self._conversation.is_stepped:  # all calls of a step are one batch, with one answer
            if protocol.idle is not None:
                self._report(calls)
                self.send()
        elif calls and self._takes_answers:
            self._held.extend(calls)
            self._hand_on()

    def _fail(self, violation: str) -> None:
        self.violation = violation
        self._end(None)

    def _hand_on(self) -> None:
        """Hand on the calls whose turn it is, as long as their answers leave."""
        while self._held and self._unsent_bytes <= _MAX_UNSENT_BYTES:
            room = min(self._max_at_once - self._outstanding, _MAX_CALLS_AT_ONCE)
            if room <= 0:
                break
            batch = self._held[:room]
            del self._held[:room]
            self._outstanding += len(batch)
            self._report(batch)
        if self.queue:
            self.send()  # answers that were there at once leave in one write

    def _report(self, calls: Sequence[Call]) -> None:
        self._handing_over = True
        try:
            self._conversation.hand_on(calls)
        except Exception as error:  # noqa: BLE001  # whoever waits for the end must get it
            self.close()
            self.done.set_exception(error)
        self._handing_over = False

    def _end(self, done: Done | None) -> None:
        self.close()
        if not self.done.done():
            self.done.set_result(done)

    # --- to the worker ------------------------------------------------------------------------------

    def answer(self, results: Sequence[Result], at: Moment | None) -> None:
        """Send answers together with whatever else is answered in this round of the loop."""
        buffers = self._conversation.encode(results, at)
        self._outstanding -= len(results)
        is_step = self._conversation.is_stepped  # which is all that is answered
        if not (self.queue or self._handing_over or is_step):
            self._loop.call_soon(self._hand_on)
        self.queue += buffers
        self._queued_bytes += sum(map(len, buffers))
        if is_step or self._queued_bytes > _MAX_QUEUED_BYTES:
            self.send()

    def send(self) -> None:
        """Send what is queued: frames, each in one buffer or in several, now or as soon as the worker takes them."""
        buffers, self.queue = self.queue, []
        if buffers and self._queued_bytes <= _MAX_JOINED_BYTES:
            buffers = [b"".join(buffers)]  # which copies nothing if there is only one
        self._queued_bytes = 0
        if not (buffers and self.is_open and self._takes_answers):
            return
        if not self._unsent and len(buffers) == 1:
            frame = buffers[0]
            try:
                sent = self._socket.send(frame)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return  # the worker is gone; reading says so too
            if sent == len(frame):
                return
            buffers = [frame[sent:]]
        if not self._unsent:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
            self._watcher.add_writer(self._fd, self._write)
        self._unsent.extend(map(memoryview, buffers))
        self._unsent_bytes += sum(map(len, buffers))
        if self._unsent_bytes > _MAX_UNSENT_BYTES:
            self._stop_reading()

    def _write(self) -> None:
        """Send more of what the worker has not taken yet."""
        try:
            while self._unsent:
                rest = self._unsent[0]
                sent = self._socket.send(rest[:_SEND_BYTES])
                self._unsent_bytes -= sent
                if sent == len(rest):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = rest[sent:]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # the worker is gone; reading says so too, after what it said last
            self._unsent.clear()
            self._held.clear()
            self._unsent_bytes = 0
            self._takes_answers = False
        if not self._unsent:
            self._watcher.remove_writer(self._fd)
        self._read_if_room()
        if self._held:
            self._hand_on()

    def close(self) -> None:
        """Leave the socket alone; idempotent."""
        if self.is_open:
            self.is_open = False
            self._conversation.is_closed = True
            self._unsent.clear()
            self._held.clear()
            self._stop_reading()
            self._watcher.remove_writer(self._fd)


T = TypeVar("T")
Require = Literal["kernel", "process", "any"]

_REFILL_SECONDS = 0.01
"""How long an execution may go on before a new worker is made in place of the one it took."""
_KILLED = int(signal.SIGKILL) if hasattr(signal, "SIGKILL") else 9
"""Wait status of a process that was killed."""
_REPLAY_FACTOR, _SOON_SECONDS = 2.0, 0.1
_MAX_BEGINNINGS = 3
"""How often an execution is begun whose workers die before it has begun."""


class WorkerSession(Generic[W]):
    """One execution in a worker of a pool.

    Args:
        pool: Where the worker comes from.
        require: See `ProcessSandbox`.
        has_folder: Whether the worker must have a folder of its own.
        depth: How many executions this one is inside of; by default what it is where this is called.
        wall_seconds: Wall time that the program has, if less than its limit.
    """

    def __init__(
        self,
        pool: Pool[W],
        require: Require,
        *,
        has_folder: bool = False,
        depth: int | None = None,
        wall_seconds: float = math.inf,
    ) -> None:
        self._pool = pool
        self._require = require
        self._has_folder = has_folder
        self._depth = current_depth() if depth is None else depth
        self._line: HostConnection | None = None
        self.worker: W | None = None
        """What runs the program now."""
        self._limit = self._wall_seconds = wall_seconds
        self.watched_at = math.inf
        """When its wall limit began, by `time.monotonic`."""
        self.was_killed = False
        """Whether its worker was killed, but not for a limit: by a person, or for want of memory."""

    @property
    def output(self) -> str:
        """What the code has printed until now."""
        return "" if self._line is None else self._line.protocol.output

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What the code has shown until now."""
        return () if self._line is None else self._line.protocol.shown

    @property
    def wall_seconds_left(self) -> float:
        """What the program has left of its wall limit."""
        return max(0.0, self._wall_seconds - max(0.0, time.monotonic() - self.watched_at))

    async def run(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None = None) -> Done:
        """Run `program` to its end; see `Session.run`."""
        self._limit = program.limits.wall_seconds
        self._wall_seconds = min(self._wall_seconds, self._limit)
        # The kernel counts a process from its start, and nobody can raise its limit later.
        allowance = Allowance(cpu_seconds_of(program), program.limits.memory_bytes)
        for beginning in range(1, _MAX_BEGINNINGS + 1):
            worker = await self._take(allowance, fresh=beginning > 1)
            try:
                done = await self._run_in(worker, program, on_calls, on_idle)
            except MachineLost:
                if beginning == _MAX_BEGINNINGS or (self._line is not None and self._line.heard):
                    raise
                continue
            if done is not None:
                return done
        return crashed(f"{_MAX_BEGINNINGS} workers died before the code had begun", "")

    async def _take(self, allowance: Allowance, *, fresh: bool = False) -> W:
        """Take a worker; one that comes after this was cancelled is given back."""
        asked = self._pool.checkout(allowance, depth=self._depth, fresh=fresh)
        try:
            return await result_of(asked)
        except (asyncio.CancelledError, GeneratorExit):
            asked.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: concurrent.futures.Future[W]) -> None:
        if not asked.cancelled() and asked.exception() is None:
            self._pool.discard(asked.result())

    async def _run_in(
        self, worker: W, program: Program, on_calls: OnCalls, on_idle: OnIdle | None
    ) -> Done | None:
        """Run `program` in `worker`; None if the worker died before the code had begun."""
        try:
            if self._require == "kernel":
                require_kernel(worker.layers)
            if self._has_folder:
                require_folder(worker.layers)
            self._line = line = HostConnection(program, on_calls, on_idle, worker.socket)
            self.worker, self.watched_at = worker, time.monotonic()
            line.queue = [encode_frame(encode_run(program))]
            line.send()  # first: `watch` wakes a thread
            self._pool.watch(worker, self._wall_seconds + replay_seconds(program))
            refill = asyncio.get_running_loop().call_later(_REFILL_SECONDS, self._pool.refill)
            try:
                done = await line.done
            finally:
                refill.cancel()
            return done if done is not None else await self._explain_death(worker, program, line)
        finally:
            self.worker = None
            if self._line is not None and self._line.is_open:
                self._line.close()
            self._pool.discard(worker)

    def resume(self, results: Sequence[Result], at: Moment | None = None) -> None:
        """Hand in answers to calls; see `Session.resume`."""
        if self._line is not None and self._line.is_open:
            self._line.answer(results, at)

    def renew(self) -> None:
        """Begin the limit of wall time anew; see `Session.renew`."""
        self._wall_seconds, self.watched_at = self._limit, time.monotonic()
        if self.worker is not None:
            self._pool.watch(self.worker, self._limit)

    async def _explain_death(
        self, worker: W, program: Program, line: HostConnection
    ) -> Done | None:
        """Say what ended a worker whose line closed without an end; None if it never began."""
        limits, output = program.limits, line.protocol.output
        if worker.timed_out:
            return limit_reached("wall_seconds", limits.wall_seconds, None, output=output)
        if line.violation is not None:
            return crashed(f"the worker broke the protocol: {line.violation}", output)
        try:
            ended = await asyncio.wait_for(result_of(worker.exited), self._pool.exit_seconds)
        except TimeoutError:
            return crashed("the worker closed its line without a word", output)
        if worker.timed_out:  # reported after its line had closed
            return limit_reached("wall_seconds", limits.wall_seconds, None, output=output)
        if ended.cpu_seconds >= cpu_seconds_of(program):
            used = round(ended.cpu_seconds, 2)
            return limit_reached("cpu_seconds", limits.cpu_seconds, used, output=output)
        if ended.status >= 0 and os.waitstatus_to_exitcode(ended.status) == EXIT_NO_SECCOMP:
            raise SandboxError("the kernel refused the system call filter to a worker")
        if ended.status >= 0 and os.waitstatus_to_exitcode(ended.status) == EXIT_NO_FOLDER:
            raise SandboxError("the kernel refused a worker its folder (files=True)")
        if not line.heard and (ended.status == -1 or (worker.waited and ended.status == _KILLED)):
            return None  # nothing of the program took effect, and another worker may run it
        self.was_killed = ended.status == _KILLED
        return crashed(f"the worker died: {_name_exit(ended)}", output)


def replay_seconds(program: Program) -> float:
    """Return the seconds that a program may take to be replayed, in addition to its limits.

    It is twice what it took before, for the machine may be another one, and nothing for what is soon done.
    """
    computed = 0.0 if program.replay is None else program.replay.computed_seconds
    return _REPLAY_FACTOR * computed if computed >= _SOON_SECONDS else 0.0


def cpu_seconds_of(program: Program) -> int:
    """Return the processor time that a program may use from its start: the limit, and its replay."""
    return program.limits.cpu_seconds + math.ceil(replay_seconds(program) / _REPLAY_FACTOR)


def crashed(message: str, output: str) -> Done:
    """Build the end of an execution whose machine failed."""
    return Done(
        status="sandbox", output=output, failure=Failure(kind="SandboxError", message=message)
    )


def _name_exit(ended: Exit) -> str:
    if ended.status < 0:
        return "its parent has died"
    code = os.waitstatus_to_exitcode(ended.status)
    if code >= 0:
        return f"it left with exit status {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"


def require_kernel(layers: Mapping[str, str]) -> None:
    """Raise `SandboxError` unless the kernel filters the system calls of workers."""
    state = layers.get("seccomp", "not installed")
    if state != "on":
        raise SandboxError(
            f"this machine cannot confine a worker: seccomp is {state}. Allow seccomp in the "
            "container's profile, or accept a process with limits and the language policy as the "
            "only walls: ProcessSandbox(require='process')"
        )


def require_folder(layers: Mapping[str, str]) -> None:
    """Raise `SandboxError` unless the kernel gives workers a folder."""
    state = layers.get("folder", "not installed")
    if state != "on":
        raise SandboxError(
            f"this machine cannot give a worker a folder of its own (files=True): {state}. Allow user "
            "namespaces and mounts in them (unshare, mount, umount2, pivot_root in the container's "
            "profile; kernel.apparmor_restrict_unprivileged_userns=0), or leave out files"
        )


async def result_of(future: concurrent.futures.Future[T]) -> T:
    """Return the result of a future of a thread; at once if it has one."""
    return future.result() if future.done() else await asyncio.wrap_future(future)
