"""What both sandboxes do with what a worker has said, and with what it is to be told. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from langchain_ptc.sandbox.api import Call, Moment, OnCalls, OnIdle, Program, Result
from langchain_ptc.sandbox.wire.large import large_data_threads
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_frame,
    encode_moment,
    encode_result,
)

_LARGE_FRAME_BYTES = 64 * 1024
"""A frame of more is decoded in a thread: its time would be missed by the event loop."""
_MANY_FRAMES = 1_000
"""And so are that many frames that have come at once."""


class Intake:
    """Takes the frames of a worker in their order: small ones at once, large ones in a thread.

    Belongs to one event loop.

    Args:
        conversation: Takes the frames, one at a time.
        on_taken: Called on the loop when frames were taken.
        on_error: Called on the loop with what rule was broken, in place of `on_taken`; nothing follows.
    """

    def __init__(
        self,
        conversation: HostProtocol,
        on_taken: Callable[[], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._conversation = conversation
        self._on_taken = on_taken
        self._on_error = on_error
        self._frames: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self.is_reading = False
        """Whether a thread reads a frame: whoever can should feed nothing meanwhile."""
        self.is_closed = False
        """Set it to have nothing more called."""

    def feed(self, data: bytes) -> None:
        """Take bytes of the worker."""
        try:
            self._frames.extend(self._conversation.cut(data))
        except Exception as error:  # noqa: BLE001  # whatever its bytes do to us, it is its doing
            self._fail(error)
            return
        if not self.is_reading:
            self._take_frames()

    def _take_frames(self) -> None:
        try:
            while self._frames and not self._is_large():
                self._conversation.take(self._frames.popleft())
        except Exception as error:  # noqa: BLE001  # as above
            self._fail(error)
            return
        self.is_reading = bool(self._frames)
        self._on_taken()  # first: from here on the conversation is the thread's
        if self.is_reading and not self.is_closed:
            frames, self._frames = self._frames, deque()
            reading = self._loop.run_in_executor(large_data_threads(), self._take_all, frames)
            reading.add_done_callback(self._go_on)

    def _is_large(self) -> bool:
        return len(self._frames[0]) > _LARGE_FRAME_BYTES or len(self._frames) > _MANY_FRAMES

    def _take_all(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._conversation.take(frame)

    def _go_on(self, reading: asyncio.Future[None]) -> None:
        self.is_reading = False
        error = None if reading.cancelled() else reading.exception()
        if self.is_closed:
            return
        if error is not None:
            self._fail(error)
        else:
            self._take_frames()

    def _fail(self, error: BaseException) -> None:
        if not self.is_closed:
            self.is_closed = True
            is_ours = isinstance(error, ProtocolViolation)
            self._on_error(str(error) if is_ours else f"a {type(error).__name__} as it was read")


class Handover:
    """Hands on calls and waits to whoever drives an execution, and checks the answers' form.

    Args:
        program: What the worker was told to run.
        on_calls: Takes the calls that it asks for.
        on_idle: Takes the waits of a program that runs in steps.

    Raises:
        ValueError: The program runs in steps, and nobody takes its waits.
    """

    def __init__(self, program: Program, on_calls: OnCalls, on_idle: OnIdle | None) -> None:
        if program.replay is not None and on_idle is None:
            raise ValueError("a program with replay runs in steps: pass on_idle")
        self.conversation = HostProtocol(program)
        self._stepped = program.replay is not None
        self._on_calls = on_calls
        self._on_idle = on_idle
        self._awaits_event = False

    def tell(self, calls: Sequence[Call]) -> None:
        """Hand on what came of the bytes that the conversation has just received."""
        if calls:
            self._on_calls(calls)
        idle = self.conversation.idle
        if idle is not None and not self._awaits_event and self._on_idle is not None:
            self._awaits_event = True
            self._on_idle(idle.due)

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
                self.conversation.note_limit(result.failure)
        if not self._stepped:
            if at is not None:
                raise ValueError("at is for a program with replay: another keeps the real clock")
            return answers
        if at is None:
            raise ValueError("a program with replay has no clock of its own: pass at")
        if not self._awaits_event:
            raise ValueError("a program with replay takes one step after each on_idle, not more")
        self._awaits_event = False
        self.conversation.go_on()
        return [encode_frame(encode_moment(at, len(results))), *answers]
