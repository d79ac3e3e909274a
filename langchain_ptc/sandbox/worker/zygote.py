"""The parent of workers: a small program that imports once and forks many.

It is started by the host as a fresh Python, never as a fork of it: the host has threads, sockets and
secrets. It walls itself in, and then only forks when it is told to, and says which child ended how.
When the host goes, by whatever death, the control socket closes, this process ends, and the kernel
ends every worker with it.

Control messages, host to parent, 20 bytes: kind, number, cpu seconds, memory bytes.

| `F` | fork worker `number` |
| `K` | kill worker `number` (where the host has no pidfd) |
| `L` | tell worker `number` that its wall limit has come (likewise) |

Parent to host: a header of kind, number, process id or wait status, processor seconds and payload
length, then the payload.

| `H` | it stands; the payload is JSON: the layers and what came of each |
| `P` | worker `number` lives; with its socket and, on Linux, its pidfd |
| `X` | worker `number` has ended with that status |
| `R` | the system refused worker `number`; the status is the error number |
"""

from __future__ import annotations

import array
import contextlib
import dis
import gc
import importlib
import json
import os
import pkgutil
import platform
import select
import signal
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import NoReturn

from langchain_ptc.sandbox.allowed_modules import PRELOAD, list_codecs
from langchain_ptc.sandbox.wire.control import (
    BORN,
    ENDED,
    FORK,
    HELLO,
    KILL,
    LIMIT_SIGNAL,
    REFUSED,
    REPLY,
    REQUEST,
)
from langchain_ptc.sandbox.worker import confinement
from langchain_ptc.sandbox.worker import main as worker
from langchain_ptc.sandbox.worker.output import keep_streams
from langchain_ptc.sandbox.worker.program import touch_lazy_parts
from langchain_ptc.sandbox.worker.warmup import rehearse_often

_LAST_STANDARD_FD = 2
_MOST_PROBLEM_CHARS = 1_000
_HAS_PIDFD = hasattr(os, "pidfd_open")
_REAP_MILLISECONDS = 20
"""How often children are looked after where there are no pidfds."""


def main(control_fd: int, options: Mapping[str, object]) -> NoReturn:
    """Serve the host until it is gone."""
    control = _settle_descriptors(socket.socket(fileno=control_fd))
    _import_all(
        [*PRELOAD, *list_codecs()]
    )  # what a Python was built without is missed by the code that wants it
    keep_streams()
    known = set(sys.modules)
    problems = _import_all(options.get("imports", ()))
    _import_parts(options.get("imports", ()))
    _import_what_functions_import(known)
    touch_lazy_parts()
    worker.keep_time_zones()
    _reset_signals()
    base_bytes = _address_bytes()
    report = _confine(walls=bool(options.get("walls", True)))
    rehearse_often()
    gc.collect()
    gc.freeze()  # a collection in a child must not write to, and so copy, every shared page
    hello = json.dumps({"layers": report, "problems": problems}).encode()
    try:
        control.sendall(REPLY.pack(HELLO, 0, os.getpid(), 0.0, len(hello)) + hello)
    except OSError:  # the host has gone already
        os._exit(0)
    _Parent(control, options, report, base_bytes).serve()


def _settle_descriptors(control: socket.socket) -> socket.socket:
    """Return the socket under the lowest number that is none of a standard stream.

    A host with many open files gives it a high one, and one without standard streams one of theirs:
    libraries write their warnings there. The other streams are open by now, see `launch`.
    """
    with control:
        moved = control.dup()
    _open_standard_streams()
    return moved


def _open_standard_streams() -> None:
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_FD:
        pass
    os.close(opened)


def _import_all(names: object) -> list[str]:
    problems = []
    assert isinstance(names, list | tuple)
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  # a foreign module may fail, or exit, in any way
            told = f"import {name}: {type(error).__name__}: {error}"
            problems.append(told[:_MOST_PROBLEM_CHARS])
    return problems


_NOT_FOR_PROGRAMS = frozenset(
    {"conftest", "distutils", "f2py", "mypy_plugin", "setup", "testing", "testutils"}
)


def _import_parts(names: object) -> None:
    """Import every public submodule of the developer's modules.

    A worker has no files to import them from when a program does.
    A part that cannot be imported needs a package that is not there: the code that uses it is told so.
    """
    assert isinstance(names, list | tuple)
    pending = [sys.modules[name] for name in names if name in sys.modules]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while pending:
            package = pending.pop()
            for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
                if found.name.startswith(("_", "test")) or found.name in _NOT_FOR_PROGRAMS:
                    continue
                with contextlib.suppress(BaseException):
                    pending.append(importlib.import_module(f"{package.__name__}.{found.name}"))


def _import_what_functions_import(known: set[str]) -> None:
    """Run the imports that stand in functions of all modules but `known`.

    numpy imports parts of itself so, pandas those of numpy, jinja2 what renders its errors. Packages
    that are not loaded by now are optional, and left alone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while added := {name for name in sys.modules.keys() - known if _is_for_programs(name)}:
            known |= added
            for function in gc.get_objects():
                if type(function) is FunctionType and function.__globals__.get("__name__") in added:
                    for name, parts, level in _find_imports(function.__code__):
                        with contextlib.suppress(BaseException):
                            __import__(name, function.__globals__, None, parts, level)


def _is_for_programs(name: str) -> bool:
    return _NOT_FOR_PROGRAMS.isdisjoint(name.split("."))


def _find_imports(code: CodeType) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yield the imports that can be run in a function: module, names, level of a relative one."""
    if dis.opmap["IMPORT_NAME"] in code.co_code[::2]:
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for level, parts, step in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname == "IMPORT_NAME":
                first = step.argval.partition(".")[0]
                here = level.argval or first in sys.modules or first in sys.stdlib_module_names
                if here and _is_for_programs(step.argval):
                    yield step.argval, parts.argval or (), level.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _find_imports(inner)


def _reset_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # it has that of the thread that started it


def _address_bytes() -> int:
    """Return the address space of this process, in bytes; 0 where it cannot be known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _confine(*, walls: bool) -> dict[str, str]:
    """Wall this process in; what each layer came to is in the report."""
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
    layer("landlock", confinement.landlock_deny_all, report)
    if own_world or os.geteuid() == 0:
        layer("capabilities", confinement.drop_capabilities, report)
    report["seccomp"] = _probe_seccomp()
    return report


def _probe_seccomp() -> str:
    """Try the filter in a child, since it cannot be taken off again."""
    if not confinement.LINUX:
        return f"not there on {sys.platform}"
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with open(reader, encoding="utf-8") as told:  # noqa: PTH123
            answer = told.read()
        os.waitpid(pid, 0)
        return answer or "refused by the kernel: the filter killed the process that installed it"
    report: dict[str, str] = {}
    confinement.install_layer(
        "seccomp",
        lambda: confinement.install_seccomp(confinement.build_filter(platform.machine())),
        report,
    )
    os.write(writer, report["seccomp"].encode())
    os._exit(0)


class _Parent:
    def __init__(
        self,
        control: socket.socket,
        options: Mapping[str, object],
        report: Mapping[str, str],
        base_bytes: int,
    ) -> None:
        self._control = control
        self._options = options
        self._seccomp = (
            confinement.build_filter(platform.machine()) if report.get("seccomp") == "on" else None
        )
        self._own_user = report.get("namespaces") == "on"
        self._base_bytes = base_bytes
        self._children: dict[int, int] = {}  # number -> process id
        self._pidfds: dict[int, int] = {}  # pidfd -> number
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> NoReturn:
        """Fork and reap until the host is gone."""
        while True:
            pause = None if _HAS_PIDFD or not self._children else _REAP_MILLISECONDS
            for fd, _ in self._poll.poll(pause):
                if fd == self._control.fileno():
                    self._obey()
                else:
                    self._reap(self._pidfds[fd], fd)
            if not _HAS_PIDFD:
                for number in list(self._children):
                    self._reap(number, None)

    def _obey(self) -> None:
        try:
            data = self._control.recv(REQUEST.size, socket.MSG_WAITALL)
        except ConnectionError:
            data = b""
        if len(data) < REQUEST.size:
            self._leave()
        kind, number, cpu_seconds, memory_bytes = REQUEST.unpack(data)
        if kind == FORK:
            self._fork(number, cpu_seconds, memory_bytes)
        elif pid := self._children.get(number):  # not reaped yet, so the id is still its own
            os.kill(pid, signal.SIGKILL if kind == KILL else LIMIT_SIGNAL)

    def _leave(self) -> NoReturn:
        for pid in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _fork(self, number: int, cpu_seconds: int, memory_bytes: int) -> None:
        """Fork a worker and hand it over; tell the host where the system refuses one."""
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
                self._become_worker(theirs, cpu_seconds, memory_bytes)
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

    def _become_worker(self, sock: socket.socket, cpu_seconds: int, memory_bytes: int) -> NoReturn:
        code = worker.EXIT_BROKEN
        try:
            worker.main(
                sock,
                imports=self._options.get("imports", ()),  # type: ignore[arg-type]  # names
                policy=bool(self._options.get("policy", True)),
                seccomp=self._seccomp,
                cpu_seconds=cpu_seconds,
                address_bytes=self._base_bytes + memory_bytes,
                count_threads=self._own_user,
                most_fd=max(self._control.fileno(), *self._pidfds, 0),
            )
            code = 0
        finally:
            os._exit(code)

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
