"""Starting the parent of workers, and reading what it says."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from langchain_ptc.errors import SandboxError
from langchain_ptc.sandbox.zygote import BORN, REPLY

_MOST_DESCRIPTORS = 2
_LAUNCH = (
    "import sys, json; o = json.loads(sys.argv[2]); sys.path.extend(o['path']); "
    "from langchain_ptc.sandbox.zygote import main; main(int(sys.argv[1]), o)"
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
    import RestrictedPython

    own = Path(__file__).parents[2]
    restricted = Path(RestrictedPython.__file__).parents[1]
    return list(dict.fromkeys([str(own), str(restricted), *(p for p in sys.path if p)]))


def launch(options: Mapping[str, object]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the parent of workers: a fresh Python with nothing of ours but one socket.

    Args:
        options: For `zygote.main`.

    Returns:
        The control socket and the process.
    """
    if not hasattr(os, "fork"):
        raise SandboxError(
            f"ProcessSandbox forks its workers, which {sys.platform} cannot do: use Linux (on "
            "Windows: WSL 2 or a container), or InProcessSandbox for code that you trust"
        )
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own text
            [
                sys.executable,
                *("-s", "-S", "-P", "-X", "utf8", "-c", _LAUNCH),
                str(theirs.fileno()),
                json.dumps({**options, "path": _import_path()}),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
        )
    return ours, process


class Replies:
    """Cuts the control stream into replies, each with the descriptors that came with it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = bytearray()
        self._fds: deque[int] = deque()

    def receive(self) -> list[tuple[bytes, int, int, float, bytes, list[int]]]:
        """Wait for bytes; return the replies that are complete now.

        Raises:
            SandboxError: The parent of workers has died.
        """
        size = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
        data, ancillary, _, _ = self._control.recvmsg(4096, size)
        if not data:
            raise SandboxError("the parent of workers has died")
        for _, _, rights in ancillary:
            fds = array.array("i")
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
            self._fds.extend(fds)
        self._buffer += data
        replies = []
        while len(self._buffer) >= REPLY.size:
            kind, number, status, cpu, length = REPLY.unpack_from(self._buffer)
            end = REPLY.size + length
            if len(self._buffer) < end:
                break
            rest = bytes(self._buffer[REPLY.size : end])
            del self._buffer[:end]
            wanted = (2 if hasattr(os, "pidfd_open") else 1) if kind == BORN else 0
            replies.append(
                (kind, number, status, cpu, rest, [self._fds.popleft() for _ in range(wanted)])
            )
        return replies
