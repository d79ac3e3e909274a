"""The host's end of the line to one worker, on one event loop. No I/O but in `HostConnection`.

What the worker has not read yet lies here, once, as the bytes to send. Code may ask for much and read
nothing: so above `_MAX_UNSENT_BYTES` nothing more is read from its worker, and no call that has come
already is handed on. The worker stops when its socket is full, and its own limits end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from langchain_ptc.locks import ServiceThread, large_data_threads, new_lock
from langchain_ptc.sandbox.api import Call, Done, Moment, OnCalls, OnIdle, Program, Result
from langchain_ptc.sandbox.host.workers import Socket
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_frame,
    encode_moment,
    encode_result,
)

_LARGE_FRAME_BYTES = 64 * 1024
"""A frame of more is decoded in a thread: its time would be missed by the event loop."""
_MANY_FRAMES = 1_000  # and so are that many frames that have come at once

_RECEIVE_BYTES = 64 * 1024
"""At a time. `asyncio`'s own transports ask for 256 KiB, which the allocator fetches from the kernel
and gives back each time: two thirds of what a tool call would cost."""
_SEND_BYTES = 1024 * 1024
"""At a time, and what the kernel is asked to hold for a worker that has much to read."""
_MAX_UNSENT_BYTES = 4 * 1024 * 1024
_MAX_QUEUED_BYTES = 256 * 1024
"""Answers up to here leave together at the end of a round of the loop; more leaves at once."""
_MAX_JOINED_BYTES = 64 * 1024  # smaller answers are copied to leave in one system call
_MAX_CALLS_AT_ONCE = 32
"""Calls that are handed on before what their answers have left unsent is looked at."""


class Conversation:
    """What a worker sends and what it gets, on one event loop; both sandboxes have one for each execution.

    Frames are taken in their order: small ones at once, large ones in a thread.

    `on_taken` is called when frames were taken; or `on_error` with what rule was broken, and nothing follows.

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

    def close(self) -> None:
        """Call nothing any more, and let go of whoever was called; idempotent.

        They have this object themselves: the cycle would hold every call until a garbage collection.
        """
        self.is_closed = True
        self._on_calls = self._on_idle = self._on_taken = self._on_error = _ignore

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

        Raises `ValueError` if they are no event of a program in steps, or `at` is given for one that has none.
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


def _ignore(*_: object) -> None:
    """Do nothing."""


class HostConnection:
    """The socket to a worker, connected and non-blocking; it stays the caller's to close, after `close`.

    It is read and written here: a transport would take a round of the loop to set up, a second one to end, and
    copies what it cannot send at once.
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
        self.heard = False  # whether the worker has said anything
        self.violation: str | None = None  # the rule that the worker broke
        self._loop = asyncio.get_running_loop()
        self._watcher = watcher_of(self._loop)
        self.done: asyncio.Future[Done | None] = self._loop.create_future()
        """The end; None if the line closed before the worker had said it."""
        self.is_open = True  # whether the execution goes on
        self._max_at_once = program.limits.max_concurrent_calls
        self._socket = sock
        self._fd = sock.fileno()  # by itself: of a socket, the selector makes a text at each look
        self._reads = False
        self.queue: list[bytes] = []  # what leaves with the next `send`
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
            self._conversation.close()
            self._unsent.clear()
            self._held.clear()
            self._stop_reading()
            self._watcher.remove_writer(self._fd)


# --- event loops that cannot watch sockets -------------------------------------------------------------
# Windows' default loop, the Proactor, has no `add_reader`. One thread of the process selects on all sockets of such
# loops, and has each loop call what it was given. A socket that is ready is watched again once that was done, so
# that a callback is called as often as by a loop's own selector.


def watcher_of(loop: asyncio.AbstractEventLoop) -> Watcher:
    """Return what watches sockets for a loop: itself, if it can."""
    can_watch = type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
    return loop if can_watch else _ThreadWatcher(loop)


class _Watched:
    """One direction of one socket, from when it is added until it is removed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, is_reader: bool, call: Callable[[], object]
    ) -> None:
        self.loop, self.fd, self.is_reader, self.call = loop, fd, is_reader, call
        self.is_removed = False

    def post(self) -> None:
        """Have the loop call it; from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        if not self.is_removed:
            try:
                self.call()
            finally:
                if not self.is_removed:
                    _thread().watch(self)


class _ThreadWatcher:
    """Watches sockets for one user of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[tuple[int, bool], _Watched] = {}

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._add(fd, True, lambda: callback(*args))

    def remove_reader(self, fd: int) -> None:
        self._remove(fd, True)

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._add(fd, False, lambda: callback(*args))

    def remove_writer(self, fd: int) -> None:
        self._remove(fd, False)

    def _add(self, fd: int, is_reader: bool, call: Callable[[], object]) -> None:
        self._remove(fd, is_reader)
        watched = self._watched[fd, is_reader] = _Watched(self._loop, fd, is_reader, call)
        _thread().watch(watched)

    def _remove(self, fd: int, is_reader: bool) -> None:
        watched = self._watched.pop((fd, is_reader), None)
        if watched is not None:
            watched.is_removed = True
            _thread().wake()  # before the socket is closed, or soon after: see `_select`


Watcher: TypeAlias = asyncio.AbstractEventLoop | _ThreadWatcher  # what watches sockets


class _SelectingThread:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self._new: deque[_Watched] = deque()
        self._wakes, self._woken = socket.socketpair()
        for end in (self._wakes, self._woken):
            end.setblocking(False)
        ServiceThread(self._serve, name="langchain-ptc sockets").start()

    def watch(self, watched: _Watched) -> None:
        """Post `watched` once, when its socket is ready."""
        self._new.append(watched)
        self.wake()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake
            self._wakes.send(b".")

    def _serve(self) -> None:
        watching: set[_Watched] = set()
        while True:
            while self._new:
                watching.add(self._new.popleft())
            watching = {watched for watched in watching if not watched.is_removed}
            readable, writable = self._select(watching)
            for watched in [w for w in watching if w.fd in (readable if w.is_reader else writable)]:
                watching.discard(watched)
                watched.post()

    def _select(self, watching: set[_Watched]) -> tuple[list[int], list[int]]:
        readers = [watched.fd for watched in watching if watched.is_reader]
        writers = [watched.fd for watched in watching if not watched.is_reader]
        woken = self._woken.fileno()
        try:
            # Windows reports a connection that failed among the exceptional ones.
            readable, writable, failed = select.select([woken, *readers], writers, writers)
        except (OSError, ValueError):  # one is closed: all are called, and its owner hears so
            return readers, writers
        if woken in readable:
            with contextlib.suppress(OSError):
                self._woken.recv(4096)
        return readable, [*writable, *failed]


_lock = new_lock()
_running: list[_SelectingThread] = []


def _thread() -> _SelectingThread:
    """Return the thread of this process."""
    with _lock:
        if not _running or _running[-1].pid != os.getpid():
            _running.append(_SelectingThread())  # what a forked child has of its parent's is kept
        return _running[-1]
