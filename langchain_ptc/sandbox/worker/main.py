"""The child process that runs one program and dies.

It has no environment, no files, no descriptors but its socket (number 3) and, once it is confined,
no way to get any. What it imports was imported by its parent. The first thing that it hears is its
limits: it sets them, and installs the filter of system calls, before it reads its program.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import random
import signal
import socket
import sys
from types import CodeType, FrameType, FunctionType

from langchain_ptc.sandbox.api import Program, Result
from langchain_ptc.sandbox.wire.control import (
    ALLOWANCE,
    EXIT_NO_FOLDER,
    EXIT_NO_SECCOMP,
    LIMIT_SIGNAL,
)
from langchain_ptc.sandbox.wire.protocol import encode_frame, encode_result, encode_run, parse_run
from langchain_ptc.sandbox.wire.values import encode_value
from langchain_ptc.sandbox.worker import confinement
from langchain_ptc.sandbox.worker.connection import SocketChannel, WorkerConnection
from langchain_ptc.sandbox.worker.program import Folder, ProgramRun

EXIT_BROKEN = 70
_SOCKET_FD = 3
_MAX_FDS = 4096
_NICE = 5
"""Code gives way to the host, which keeps its limits, and to the parent, which makes more workers."""
_RESERVE_BYTES = 4 * 1024 * 1024
"""Address space that is reserved, so that a worker without memory can still say so."""


def open_line(held: socket.socket) -> WorkerConnection:
    """Make the line of every worker, in their parent: of what a worker makes itself, nothing is shared.

    It is to a descriptor that each worker replaces by its own; until then it is that of `held`.
    """
    if held.fileno() != _SOCKET_FD:
        os.dup2(held.fileno(), _SOCKET_FD)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, _SOCKET_FD)
    return WorkerConnection(SocketChannel(sock))


def main(
    sock: socket.socket,
    line: WorkerConnection,
    *,
    imports: tuple[str, ...],
    policy: bool,
    is_spare: bool,
    files_bytes: int,
    landlock: bool,
    seccomp: confinement.SystemCallFilter | None,
    base_bytes: int,
    own_user: bool,
    most_fd: int,
) -> None:
    """Run one program that comes over `sock`, on `line`; the caller ends the process afterwards.

    `seccomp` is the filter to install, None where the kernel has none; a worker that `is_spare` waits for a
    program and rehearses meanwhile; `base_bytes` is the address space that it takes itself; `own_user` whether
    its user is in a namespace of its own, and `most_fd` the highest descriptor that its parent has open. With
    `files_bytes` it gets a folder of this size, which `landlock` is then to guard as well. The rest is as in
    `ProgramRun`.
    """
    _keep_only(sock, most_fd)
    if files_bytes:
        _enter_folder(files_bytes, landlock=landlock)
    else:
        os.getcwd = lambda: "/"  # the kernel refuses it, and libraries ask it (`os.path.abspath`)
    _seed(None)  # the parent's state would be the same in every worker
    gc.enable()
    if confinement.LINUX:
        confinement.die_with_parent()
    if own_user:
        confinement.limit_threads()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    if is_spare:
        rehearse(imports)
    with contextlib.suppress(EOFError, ConnectionError):
        cpu_seconds, memory_bytes = ALLOWANCE.unpack(line.receive_bytes(ALLOWANCE.size))
        reserve = mmap.mmap(-1, _RESERVE_BYTES, mmap.MAP_PRIVATE)  # no page of it is ever touched
        confinement.set_rlimits(
            cpu_seconds=cpu_seconds,
            address_bytes=base_bytes + memory_bytes + _RESERVE_BYTES,
        )
        if seccomp is not None:
            try:
                seccomp.install()
            except OSError:
                os._exit(EXIT_NO_SECCOMP)
        program = parse_run(line.receive()[0])
        if program.replay is not None:
            _seed(program.replay.seed)
        run = ProgramRun(
            program,
            line,
            imports=imports,
            guard_writes=False,
            confined=seccomp is not None,
            policy=policy,
            folder=Folder() if files_bytes else None,
        )
        _runs.append(run)
        try:
            run.run()
        except MemoryError:  # there was none left to describe the first one
            reserve.close()
            run.stop_at(None, "memory_bytes")


def _enter_folder(max_bytes: int, *, landlock: bool) -> None:
    try:
        confinement.enter_folder(max_bytes)
        if landlock:
            confinement.restrict_by_landlock("/")
        for _ in range(_SOCKET_FD):  # no file of the code becomes a standard stream
            os.open("/", os.O_PATH)
    except OSError:
        os._exit(EXIT_NO_FOLDER)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that is too large is an `OSError`
    os.environ.update(HOME=confinement.FOLDER)


def _seed(seed: int | None) -> None:
    """Seed the random generators of libraries: with `seed`, or from the kernel."""
    random.seed(seed)
    if seed is not None and (tempfile := sys.modules.get("tempfile")):  # the names that it makes up
        tempfile._RandomNameSequence.rng = random
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed(None if seed is None else seed % 2**32)
        if seed is not None:  # what generators without a seed begin with
            sys.modules["numpy.random.bit_generator"].randbits = random.getrandbits  # type: ignore[attr-defined]


def _keep_only(sock: socket.socket, most_fd: int) -> None:
    """Close every descriptor but the socket, which becomes number 3."""
    fd = sock.detach()
    if fd != _SOCKET_FD:
        os.dup2(fd, _SOCKET_FD)
    os.closerange(0, _SOCKET_FD)
    os.closerange(_SOCKET_FD + 1, max(_MAX_FDS, fd, most_fd) + 1)
    sys.stdin = sys.stdout = sys.stderr = None  # there are none


_runs: list[ProgramRun] = []
"""The one that this process runs."""


def stop_on_limits() -> None:
    """Let the signals of the limits stop the run of this process, or of one that it forks."""
    signal.signal(LIMIT_SIGNAL, _stop)
    signal.signal(signal.SIGXCPU, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    limit = "wall_seconds" if number == LIMIT_SIGNAL else "cpu_seconds"
    with contextlib.suppress(BaseException):
        for run in _runs:
            run.stop_at(frame, limit)
    os._exit(0)


# --- before there is a program ---------------------------------------------------------------------

# What a worker does for the first time costs ten times what it costs later: the first write to a page
# that it shares with its parent copies the page, and code that has not run is slow code. So the parent
# of workers rehearses until Python has specialised what it runs, and each worker rehearses once while
# it waits, which copies the pages that a program will write to.

_CODE = 'print(await get(1, b="2"))'
"""Each line more costs every waiting worker private memory; this is what every program does."""
WARMUP_RUNS = 12
"""Of the parent of workers: Python 3.11 specialises a function after eight calls."""


_PROGRAM = encode_frame(encode_run(Program(code=_CODE, tools=("warm.get",))))
_ANSWER = b"".join(encode_result(Result(id=1, payload=encode_value({"a": [1]}))))


class _Audience:
    """A channel to nobody: it sends the program, and an answer to the one call."""

    def __init__(self) -> None:
        self._inbox = [_ANSWER, _PROGRAM]

    def send(self, data: bytes) -> None:
        """Drop bytes."""

    def receive(self) -> bytes:
        """Return what is next."""
        return self._inbox.pop()

    def receive_into(self, room: memoryview) -> None:
        """Never needed: nothing here is large."""
        raise NotImplementedError

    def poll(self, seconds: float) -> bool:
        """Return whether there is more."""
        del seconds
        return bool(self._inbox)


def rehearse(imports: tuple[str, ...]) -> None:
    """Run a small program; `imports` as in `ProgramRun`."""
    wire = WorkerConnection(_Audience())
    ProgramRun(parse_run(wire.receive()[0]), wire, imports=imports, guard_writes=False).run()


_moved: list[CodeType] = []
"""What has been copied: the holes that it would leave would be filled by what programs allocate."""


def gather_code(imports: tuple[str, ...]) -> None:
    """Copy the code that a small program runs, so that all of it is in one place.

    A call counts as a reference to its code, and writing that copies the page which a worker shares
    with its parent: of 180 code objects all over the memory, nearly as many pages.
    """
    sys.setprofile(lambda frame, *_: _moved.append(frame.f_code))
    rehearse(imports)
    sys.setprofile(None)
    run = {id(code) for code in _moved}
    _moved[:] = {id(code): code for code in _moved}.values()
    gc.unfreeze()
    for function in gc.get_objects():
        if type(function) is FunctionType and id(function.__code__) in run:
            function.__code__ = _copy(function.__code__)
    gc.freeze()


def _copy(code: CodeType) -> CodeType:
    consts = tuple(_copy(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=consts)
