"""The parent of workers, from the host's side: how it is started, sent requests, and read.

Nothing here waits for it: what it does not take at once stays in a buffer. A host that waited in a
send, while the parent waits in a send to the host, would wait for ever.
"""

from __future__ import annotations

import array
import contextlib
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from langchain_ptc.errors import SandboxError
from langchain_ptc.locks import no_fork
from langchain_ptc.sandbox.wire.control import (
    BORN,
    DESCRIPTORS_OF_A_WORKER,
    REPLY,
    REQUEST,
)

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
    """A running parent of workers.

    Args:
        options: For `zygote.main`.

    Raises:
        SandboxError: It could not be started.
    """

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
        self.is_silent = False
        """Whether it was given up, since it did not answer."""
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
        """Yield what it has said, each with the descriptors that came with it.

        Raises:
            SandboxError: It has died.
        """
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
