"""A pool that loses a worker, as if with its machine, at any frame between it and the host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Self

from langchain_ptc.errors import MachineLost
from langchain_ptc.sandbox.host.workers import Allowance, Exit, Worker
from langchain_ptc.sandbox.remote.sandbox import ReplayingSession
from langchain_ptc.sandbox.wire.protocol import FrameReader, encode_frame
from tests.support.pools import PoolSandbox


class LosableWorker:
    """A worker behind a relay that passes on one frame at a time."""

    waited = True

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.layers: Mapping[str, str] = worker.layers
        self.socket, self.far = socket.socketpair()
        for end in (self.socket, self.far):
            end.setblocking(False)
        self.exited: Future[Exit] = Future()
        self.exited.set_running_or_notify_cancel()
        self.relays: list[asyncio.Task[None]] = []

    @property
    def timed_out(self) -> bool:
        """Whether its wall limit has come."""
        return self.worker.timed_out


class LosingPool:
    """Takes workers of a pool, and loses the one that a certain frame belongs to.

    Args:
        pool: Where the workers come from.
        lose_at: At which frames, counted from 1 over all workers; half of each arrives.
        afterwards: What takes the place of what, in what workers say once one is lost.
    """

    exit_seconds = 5.0

    def __init__(
        self, pool: PoolSandbox, lose_at: Collection[int], afterwards: tuple[bytes, bytes]
    ) -> None:
        self._pool = pool.pool
        self._lose_at, self._afterwards = lose_at, afterwards
        self.frames = 0
        """How many frames there were."""
        self.lost = 0
        """How many workers were lost."""

    def checkout(
        self, allowance: Allowance, *, depth: int = 0, fresh: bool = False
    ) -> Future[LosableWorker]:
        """Take a worker."""
        taken: Future[LosableWorker] = Future()

        def wrap(asked: Future[Worker]) -> None:
            worker = LosableWorker(asked.result())
            if taken.set_running_or_notify_cancel():
                taken.set_result(worker)
            else:
                self.discard(worker)

        self._pool.checkout(allowance, depth=depth, fresh=fresh).add_done_callback(wrap)
        return taken

    def watch(self, worker: LosableWorker, wall_seconds: float) -> None:
        """Begin its wall limit, and carry its frames."""
        self._pool.watch(worker.worker, wall_seconds)
        if not worker.relays:
            near, far = worker.far, worker.worker.socket
            ways = (self._relay(worker, near, far), self._relay(worker, far, near))
            worker.relays += map(asyncio.ensure_future, ways)

    async def _relay(
        self, worker: LosableWorker, source: socket.socket, target: socket.socket
    ) -> None:
        loop, reader = asyncio.get_running_loop(), FrameReader()
        try:
            while data := await loop.sock_recv(source, 65536):
                for message in reader.feed(data):
                    self.frames += 1
                    frame = encode_frame(message)
                    if self.lost and source is not worker.far:
                        frame = frame.replace(*self._afterwards)
                    if self.frames in self._lose_at:
                        await loop.sock_sendall(target, frame[: len(frame) // 2])
                        self.lost += 1
                        worker.exited.set_exception(MachineLost("the machine was lost"))
                        worker.far.shutdown(socket.SHUT_RDWR)
                        return
                    await loop.sock_sendall(target, frame)
        except OSError:
            return
        if source is not worker.far and not worker.exited.done():
            worker.exited.set_result(await asyncio.wrap_future(worker.worker.exited))
            worker.far.shutdown(socket.SHUT_RDWR)

    def discard(self, worker: LosableWorker) -> None:
        """Give it back."""
        worker.socket.close()
        for relay in worker.relays:
            relay.cancel()
        ending = asyncio.gather(*worker.relays, return_exceptions=True)
        ending.add_done_callback(
            lambda _: self._end(worker)
        )  # nothing watches the sockets any more

    def _end(self, worker: LosableWorker) -> None:
        worker.far.close()
        self._pool.discard(worker.worker)

    def refill(self) -> None:
        """Have workers wait."""
        self._pool.refill()


class LosingSandbox:
    """Runs code in workers that are lost at certain frames; see `LosingPool`."""

    def __init__(
        self,
        pool: PoolSandbox,
        lose_at: Collection[int] = (),
        *,
        afterwards: tuple[bytes, bytes] = (b"\xc1", b"\xc1"),
    ) -> None:
        self.pool = LosingPool(pool, lose_at, afterwards)
        self.modules = pool.modules
        self.files_bytes = 0

    def session(self) -> ReplayingSession[LosableWorker]:
        """Prepare one execution."""
        return ReplayingSession(self.pool, "process")

    def has_room(self) -> bool:
        """Whether one more program would delay no other."""
        return True

    def close(self) -> None:
        """End nothing: the pool is the caller's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
