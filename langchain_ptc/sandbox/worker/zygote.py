"""The parent of workers, and its children, each of which runs one program and dies.

It is started by the host as a fresh Python, never as a fork of it: the host has threads, sockets and
secrets. It confines itself, and then only forks on request, and reports how each child ended.
When the host goes, by whatever death, the control socket closes, this process ends, and the kernel
ends every worker with it.

Control messages, host to parent, 5 bytes: kind, number.

| `F` | fork worker `number` for a program |
| `S` | fork worker `number` to wait for a program |
| `K` | kill worker `number` (where the host has no pidfd) |
| `L` | signal worker `number` that its wall limit has come (likewise) |

Parent to host: a header of kind, number, process id or wait status, processor seconds and payload
length, then the payload.

| `H` | it is ready; the payload is JSON: the state of each layer of confinement |
| `P` | worker `number` lives; with its socket and, on Linux, its pidfd |
| `X` | worker `number` has ended with that status |
| `R` | the system refused worker `number`; the status is the error number |

A worker has no environment, no files, no descriptors but its socket (number 3) and, once it is confined,
no way to get any. What it imports was imported by its parent. The first thing that it hears is its
limits: it sets them, and installs the filter of system calls, before it reads its program.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import mmap
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, FunctionType
from typing import NoReturn

from langchain_ptc.sandbox.api import Program, Result
from langchain_ptc.sandbox.wire.protocol import (
    ALLOWANCE,
    BORN,
    ENDED,
    EXIT_NO_FOLDER,
    EXIT_NO_SECCOMP,
    FORK,
    HELLO,
    KILL,
    LIMIT_SIGNAL,
    REFUSED,
    REPLY,
    REQUEST,
    SPARE,
    encode_frame,
    encode_result,
    encode_run,
    parse_run,
)
from langchain_ptc.sandbox.wire.values import encode_value
from langchain_ptc.sandbox.worker import confinement
from langchain_ptc.sandbox.worker.connection import SocketChannel, WorkerConnection
from langchain_ptc.sandbox.worker.output import keep_streams
from langchain_ptc.sandbox.worker.preload import FileReader, load_all
from langchain_ptc.sandbox.worker.program import (
    Folder,
    ProgramRun,
    prepare_interpreter,
    touch_lazy_parts,
)

# --- a worker ---------------------------------------------------------------------------------------

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

    def poll(self, seconds: float) -> bool:
        """Return whether there is more."""
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


# --- their parent -----------------------------------------------------------------------------------

_LAST_STANDARD_FD = 2
_HAS_PIDFD = hasattr(os, "pidfd_open")
_REAP_MILLISECONDS = 20
"""How often children are looked after where there are no pidfds."""


def main(
    control_fd: int,
    files: FileReader,
    *,
    imports: tuple[str, ...],
    files_bytes: int,
    walls: bool,
    policy: bool,
) -> NoReturn:
    """Serve the host until it is gone.

    Args:
        control_fd: The control socket.
        files: Reads the files that are held in memory.
        imports: Modules of the developer that the code may import.
        files_bytes: Size of the folder of each worker; 0 for none.
        walls: Whether this process is confined; False only where the language is tested alone.
        policy: Whether the language is restricted; False only where the confinement is tested alone.
    """
    control = _settle_descriptors(socket.socket(fileno=control_fd))
    keep_streams()
    imports = tuple(imports)  # of JSON, it is a list
    problems = load_all(imports, files=files_bytes > 0)
    files.result().install()
    touch_lazy_parts()
    prepare_interpreter()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # it has that of the thread that started it
    signal.signal(LIMIT_SIGNAL, _stop)  # the run of this process, or of one that it forks
    signal.signal(signal.SIGXCPU, _stop)
    base_bytes = _address_bytes()
    report = _confine(walls=walls, files_bytes=files_bytes)
    if confinement.LINUX:
        confinement.not_dumpable()
    gc.freeze()  # a collection in a child must not write to, and so copy, every shared page
    hello = json.dumps({"layers": report, "problems": problems}).encode()
    try:
        control.sendall(REPLY.pack(HELLO, 0, os.getpid(), 0.0, len(hello)) + hello)
    except OSError:  # the host has gone already
        os._exit(0)
    has_folder = report.get("folder") == "on"
    if has_folder:  # what code writes there is never imported
        sys.path.clear()
        sys.path_importer_cache.clear()
    files_bytes = files_bytes if has_folder else 0
    confinement.limit_files(files_bytes)
    _Parent(control, imports, report, base_bytes, files_bytes=files_bytes, policy=policy).serve()


def _settle_descriptors(control: socket.socket) -> socket.socket:
    """Return the socket under the lowest number that is none of a standard stream.

    A host with many open files gives it a high one, and one without standard streams one of theirs:
    libraries write their warnings there. The other streams are open by now, see `launch`.
    """
    with control:
        moved = control.dup()
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_FD:
        pass
    os.close(opened)
    return moved


def _address_bytes() -> int:
    """Return the address space of this process, in bytes; 0 where it cannot be known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _confine(*, walls: bool, files_bytes: int) -> dict[str, str]:
    """Confine this process, and return the state of each layer.

    With `files_bytes`, the last layers are for each worker to install, once it has its folder.
    """
    report: dict[str, str] = {}
    if not walls:
        return report
    layer = confinement.install_layer
    own_world = layer("namespaces", confinement.enter_namespaces, report)
    if own_world:
        layer("empty_root", confinement.empty_root, report)
        if pid := os.fork():  # the child is process 1 of the new world: its death ends all in it
            os.closerange(3, 1024)
            os.waitpid(pid, 0)
            os._exit(0)
        confinement.die_with_parent()
    else:
        report["empty_root"] = "needs namespaces"
    if files_bytes and report["empty_root"] == "on":
        report |= _probe(lambda report: _try_folder(files_bytes, report))
    elif files_bytes:
        report["folder"] = "needs namespaces and an empty root"
    if report.get("folder") != "on":
        layer("landlock", confinement.restrict_by_landlock, report)
        if own_world or os.geteuid() == 0:
            layer("capabilities", confinement.drop_capabilities, report)
        report |= _probe(_try_filter)
    return report


def _try_folder(files_bytes: int, report: dict[str, str]) -> None:
    layer = confinement.install_layer
    if layer("folder", lambda: confinement.enter_folder(files_bytes), report):
        report["capabilities"] = "on"
        layer("landlock", lambda: confinement.restrict_by_landlock("/"), report)
        _try_filter(report, files=True)


def _try_filter(report: dict[str, str], *, files: bool = False) -> None:
    confinement.install_layer("seccomp", lambda: _build_filter(files=files).install(), report)


def _build_filter(*, files: bool) -> confinement.SystemCallFilter:
    return confinement.SystemCallFilter(confinement.build_filter(os.uname().machine, files=files))


def _probe(attempt: Callable[[dict[str, str]], None]) -> dict[str, str]:
    """Try layers in a child, since they cannot be taken off again."""
    if not confinement.LINUX:
        return {"seccomp": f"not there on {sys.platform}"}
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123
            answer = pipe.read()
        os.waitpid(pid, 0)
        if answer:
            found: dict[str, str] = json.loads(answer)
            return found
        why = "refused by the kernel: the filter killed the process that installed it"
        return {"seccomp": why}
    report: dict[str, str] = {}
    attempt(report)
    os.write(writer, json.dumps(report).encode())
    os._exit(0)


class _Parent:
    def __init__(
        self,
        control: socket.socket,
        imports: tuple[str, ...],
        report: Mapping[str, str],
        base_bytes: int,
        *,
        files_bytes: int,
        policy: bool,
    ) -> None:
        self._control = control
        self._line = open_line(control)
        self._imports = imports
        self._policy = policy
        self._files_bytes = files_bytes
        self._landlock = report.get("landlock") == "on"
        self._seccomp = None
        if report.get("seccomp") == "on":
            self._seccomp = _build_filter(files=files_bytes > 0)
        self._own_user = report.get("namespaces") == "on"
        self._base_bytes = base_bytes
        self._children: dict[int, int] = {}  # number -> process id
        self._pidfds: dict[int, int] = {}  # pidfd -> number
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._warmup_runs = WARMUP_RUNS
        self._postponed: list[int] = []

    def serve(self) -> NoReturn:
        """Fork and reap until the host is gone."""
        while True:
            pause = None if _HAS_PIDFD or not self._children else _REAP_MILLISECONDS
            events = self._poll.poll(0 if self._warmup_runs else pause)
            for fd, _ in events:
                if fd == self._control.fileno():
                    self._obey()
                else:
                    self._reap(self._pidfds[fd], fd)
            if not _HAS_PIDFD:
                for number in list(self._children):
                    self._reap(number, None)
            if self._warmup_runs and not events:
                self._warm_up()

    def _warm_up(self) -> None:
        """Run a program, until Python has optimised its own code; then fork the workers that wait."""
        rehearse(self._imports)
        if self._warmup_runs == WARMUP_RUNS:
            gather_code(self._imports)
        self._warmup_runs -= 1
        if not self._warmup_runs:
            gc.collect()
            gc.freeze()
            for number in self._postponed:
                self._fork(number, is_spare=True)

    def _obey(self) -> None:
        try:
            data = self._control.recv(REQUEST.size, socket.MSG_WAITALL)
        except ConnectionError:
            data = b""
        if len(data) < REQUEST.size:
            self._leave()
        kind, number = REQUEST.unpack(data)
        if kind == SPARE and self._warmup_runs:
            self._postponed.append(number)
        elif kind in (FORK, SPARE):
            self._fork(number, is_spare=kind == SPARE)
        elif pid := self._children.get(number):  # not reaped yet, so the id is still its own
            os.kill(pid, signal.SIGKILL if kind == KILL else LIMIT_SIGNAL)

    def _leave(self) -> NoReturn:
        for pid in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _fork(self, number: int, *, is_spare: bool) -> None:
        """Fork a worker and hand it over, or report that the system refuses one."""
        with contextlib.ExitStack() as opened:
            try:
                ours, theirs = socket.socketpair()
                opened.enter_context(ours)
                opened.enter_context(theirs)
                pid = os.fork()
            except OSError as error:
                self._tell(REPLY.pack(REFUSED, number, error.errno or 0, 0.0, 0), [])
                return
            if pid == 0:
                self._become_worker(theirs, is_spare=is_spare)
            fds = [ours.fileno()]
            if _HAS_PIDFD:
                try:
                    pidfd = os.pidfd_open(pid)
                except OSError as error:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    self._tell(REPLY.pack(REFUSED, number, error.errno or 0, 0.0, 0), [])
                    return
                self._pidfds[pidfd] = number
                self._poll.register(pidfd, select.POLLIN)
                fds.append(pidfd)
            self._children[number] = pid
            self._tell(REPLY.pack(BORN, number, pid, 0.0, 0), fds)

    def _become_worker(self, sock: socket.socket, *, is_spare: bool) -> NoReturn:
        code = EXIT_BROKEN
        try:
            self._run_worker(sock, is_spare=is_spare)
            code = 0
        finally:
            os._exit(code)

    def _run_worker(self, sock: socket.socket, *, is_spare: bool) -> None:
        """Run one program that comes over `sock`; a worker that `is_spare` waits for it, and rehearses meanwhile."""
        _keep_only(sock, max(self._control.fileno(), *self._pidfds, 0))
        if self._files_bytes:
            _enter_folder(self._files_bytes, landlock=self._landlock)
        else:
            os.getcwd = lambda: (
                "/"
            )  # the kernel refuses it, and libraries ask it (`os.path.abspath`)
        _seed(None)  # the parent's state would be the same in every worker
        gc.enable()
        if confinement.LINUX:
            confinement.die_with_parent()
        if self._own_user:
            confinement.limit_threads()
        with contextlib.suppress(OSError):
            os.nice(_NICE)
        if is_spare:
            rehearse(self._imports)
        with contextlib.suppress(EOFError, ConnectionError):
            cpu_seconds, memory_bytes = ALLOWANCE.unpack(self._line.receive_bytes(ALLOWANCE.size))
            reserve = mmap.mmap(
                -1, _RESERVE_BYTES, mmap.MAP_PRIVATE
            )  # no page of it is ever touched
            confinement.set_rlimits(
                cpu_seconds=cpu_seconds,
                address_bytes=self._base_bytes + memory_bytes + _RESERVE_BYTES,
            )
            if self._seccomp is not None:
                try:
                    self._seccomp.install()
                except OSError:
                    os._exit(EXIT_NO_SECCOMP)
            program = parse_run(self._line.receive()[0])
            if program.replay is not None:
                _seed(program.replay.seed)
            run = ProgramRun(
                program,
                self._line,
                imports=self._imports,
                guard_writes=False,
                confined=self._seccomp is not None,
                policy=self._policy,
                folder=Folder() if self._files_bytes else None,
            )
            _runs.append(run)
            try:
                run.run()
            except MemoryError:  # there was none left to describe the first one
                reserve.close()
                run.stop_at(None, "memory_bytes")

    def _reap(self, number: int, pidfd: int | None) -> None:
        pid, status, usage = os.wait4(self._children[number], 0 if pidfd else os.WNOHANG)
        if pid == 0:
            return
        del self._children[number]
        if pidfd is not None:
            self._poll.unregister(pidfd)
            del self._pidfds[pidfd]
            os.close(pidfd)
        self._tell(REPLY.pack(ENDED, number, status, usage.ru_utime + usage.ru_stime, 0), [])

    def _tell(self, data: bytes, fds: list[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._control.sendmsg([data], rights)
        except OSError:
            self._leave()
