"""Run one program: compile it, give it its tools, run it, and tell the host how it ended.

The same module runs in a walled worker process and in the thread of an `InProcessSandbox`; what
differs is the channel and whether stores to objects of the host must be guarded.
"""

from __future__ import annotations

import asyncio
import builtins as builtins_module
import contextlib
import csv
import datetime
import functools
import io
import os
import stat
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from types import FrameType, ModuleType
from typing import Any, cast
from xml.etree import ElementTree

from langchain_ptc.errors import LimitExceeded, ToolCallError, count
from langchain_ptc.sandbox.allowed_modules import standard_modules
from langchain_ptc.sandbox.api import Failure, Limits, Program, Status
from langchain_ptc.sandbox.language.guards import build_namespace
from langchain_ptc.sandbox.language.modules import ModuleLoader, ModuleNames
from langchain_ptc.sandbox.language.policy import CompiledCode, compile_code, compile_unrestricted
from langchain_ptc.sandbox.sessions.kept import EVERY_NAME, Names
from langchain_ptc.sandbox.sessions.session import SessionVariables
from langchain_ptc.sandbox.wire.content import folders_of, is_file_name
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.protocol import (
    MAX_CALL_BYTES,
    LimitHit,
    check_encoded,
    encode_done,
    encode_file,
    encode_kept,
    is_known_limit,
)
from langchain_ptc.sandbox.wire.values import AttrDict, UnsendableValue, encode_value
from langchain_ptc.sandbox.worker.calls import (
    ProgramLoop,
    ToolCalls,
    build_async_stub,
    build_asyncio_names,
    build_sync_stub,
    build_tool_modules,
)
from langchain_ptc.sandbox.worker.confinement import FOLDER
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.failures import (
    build_traceback_names,
    describe,
    describe_stack,
    render_error,
)
from langchain_ptc.sandbox.worker.output import Output, Showing
from langchain_ptc.sandbox.worker.program_modules import (
    ProgramThreads,
    build_logging_names,
    build_queue_names,
)
from langchain_ptc.sandbox.worker.replay import GUARDED_NAMES, Steps
from langchain_ptc.sandbox.worker.threads import (
    Crew,
    LoopScheduler,
    Scheduler,
    ThreadScheduler,
    build_futures_names,
)

_LAST_OWN_FD = 3
"""The standard streams, which there are none of, and the line to the host."""


class Folder:
    """The folder of one program."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[int, ...]] = {}
        self.notes: list[str] = []
        """On files that are not returned."""

    def fill(self, files: Mapping[str, bytes], kept: Mapping[str, bytes]) -> None:
        """Write files into the folder, and note them: only others are new.

        Those that a session has kept make room for the others where they have the same place.

        Raises:
            OSError: The folder has no room for them, or a name cannot be one of a file.
        """
        folders = set().union(*map(folders_of, files))
        held = {n: kept[n] for n in kept.keys() - folders if not folders_of(n) & files.keys()}
        for name, data in {**held, **files}.items():
            path = os.path.join(FOLDER, name)  # noqa: PTH118  # pathlib is loaded for the code alone
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(data)
        self._given |= self._files()

    def _files(self) -> dict[str, tuple[int, ...]]:
        """Return the regular files by name, each with its size and what changes whenever it does."""
        pending, found = [FOLDER], {}
        while pending:
            with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:  # unless it was removed, or is not to be read
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    elif stat.S_ISREG(status.st_mode):
                        version = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
                        name = entry.path.removeprefix(f"{FOLDER}/")
                        found[name] = status.st_size, *version
        return dict(sorted(found.items()))

    def _read(self, name: str, size: int) -> bytes | None:
        """Return the content of a file; None if the code has made it unreadable."""
        with contextlib.suppress(OSError):
            fd = os.open(f"{FOLDER}/{name}", os.O_RDONLY | os.O_NOFOLLOW)
            with open(fd, "rb") as file:  # noqa: PTH123
                return file.read(size)
        return None

    def to_keep(self, max_bytes: int) -> dict[str, bytes]:
        """Return the content of files, by their paths, for the next execution of a session."""
        small = {name: size for name, (size, *_) in self._files().items() if is_file_name(name)}
        read = {n: self._read(n, min(size, max_bytes + 1)) for n, size in small.items()}
        return {f"{FOLDER}/{name}": data for name, data in read.items() if data is not None}

    def collect(self, limits: Limits) -> Iterator[bytes]:
        """Yield the messages for the files that are new, or not as they were given."""
        changed = [item for item in self._files().items() if self._given.get(item[0]) != item[1]]
        named = [(name, size) for name, (size, *_) in changed if is_file_name(name)]
        room = limits.returned_bytes
        for name, size in named[: limits.max_returned_files]:
            data = self._read(name, size) if size <= min(room, MAX_CALL_BYTES) else None
            room -= len(data or b"")
            yield encode_file(name, size if data is None else len(data), data)
        if more := len(changed) - len(named[: limits.max_returned_files]):
            self.notes.append(
                f"files that are not returned: {more}, either beyond the first {limits.max_returned_files} "
                "(Limits.max_returned_files) or with names that not every system takes"
            )


def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what `open` does, but for the line to the host."""
    if isinstance(file, int) and file <= _LAST_OWN_FD:
        raise OSError(9, "Bad file descriptor")
    return io.open(file, *args, **kwargs)  # noqa: UP020  # it is what the code gets


def build_file_names() -> dict[str, Mapping[str, object]]:
    """Build, for one program, the names of modules for files that are not the originals."""
    environ = {"HOME": FOLDER}
    getenv = lambda key, default=None: environ.get(key, default)  # noqa: E731
    own = {"environ": environ, "fdopen": open_file, "getenv": getenv}
    return {"io": {"open": open_file}, "os": own}


WORKER_STACK_BYTES = 2 * 1024 * 1024
"""Stack of a thread in a worker, where it counts against the memory of the code."""
HOST_STACK_BYTES = 64 * 1024 * 1024
"""Stack of a thread in the host: deep data must end in a `RecursionError` and not in a crash."""
_RECURSION_LIMIT = 5_000
"""While variables are written: Python 3.11 counts each level of a list twice."""
_MAX_NOTES = 5
_MAX_ENDING_ITEMS = 1_000_000
"""Items that are taken from an iterator that the code returns; a longer one is shown as Python shows it."""
_NONE = encode_value(None)


class ProgramRun:
    """One program on its way from source to end.

    Args:
        program: What to run.
        wire: The line to the host.
        imports: Modules of the developer that the code may import besides the standard ones.
        guard_writes: Whether the code shares a process with the host, and so stores to objects that it did
            not make are refused.
        confined: Whether the kernel walls this process in.
        crew: The threads that the code may start; None for some of a worker's own.
        folder: The folder of the process, for code with files.
        policy: Whether the language is restricted; False only where the kernel's walls are tested alone.
    """

    def __init__(
        self,
        program: Program,
        wire: WorkerConnection,
        *,
        imports: tuple[str, ...] = (),
        guard_writes: bool,
        confined: bool = False,
        crew: Crew | None = None,
        folder: Folder | None = None,
        policy: bool = True,
    ) -> None:
        self._program = program
        self._wire = wire
        self._imports = imports
        self._guard_writes = guard_writes
        self._confined = confined
        self._crew = crew
        self._folder = folder
        self._policy = policy
        self._steps = None if program.replay is None else Steps(wire, program.replay)
        self._calls = ToolCalls(wire) if self._steps is None else self._steps.calls
        self._output = Output(wire.print, program.limits.output_bytes)
        self._showing = Showing(wire, self._output, program.limits)
        self._loop: ProgramLoop | None = None
        self._names: Names | None = None
        self._kept: SessionVariables | None = None
        self._unsendable = ""
        self._wait_for_threads: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Run the program to its end and tell the host; raises only if the host is gone."""
        if self._guard_writes:
            self._run()
            return
        self._showing.install()
        with self._output.capture_process():
            self._run()

    def _run(self) -> None:
        value = _NONE
        status: Status = "success"
        failure: Failure | None = None
        namespace: dict[str, object] = {}
        compiled: CompiledCode | None = None
        try:
            self._open_kept()
            compiled = self._compile()
            namespace = self._build_namespace(compiled)
            paths = [name for name in namespace if name.startswith("/")]  # what a session has kept
            kept: Any = {path.removeprefix(f"{FOLDER}/"): namespace.pop(path) for path in paths}
            if self._folder is not None:
                self._folder.fill(self._program.files or {}, kept)
            value = self._execute(compiled, namespace)
        except EOFError as error:
            if str(error) == "the host is gone":
                raise
            status, failure = self._describe(error, namespace)
        except SystemExit as error:
            if error.code not in (None, 0):
                message = f"the code left with exit({error.code!r})"
                status, failure = "error", Failure(kind="SystemExit", message=message)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is the code's
            status, failure = self._describe(error, namespace)
        finally:
            if self._loop is not None:
                self._loop.close()
        if compiled is not None and status in ("success", "error"):
            self._keep(compiled, namespace)
            self._return_files()
        self._wire.put(encode_done(status, value, failure, self._notes()))
        self._wire.flush()

    def _open_kept(self) -> None:
        kept, limits = self._program.kept, self._program.limits
        if kept is not None and self._policy:
            most = {"max_bytes": limits.session_bytes, "max_chars": limits.code_chars}
            self._kept = SessionVariables(kept, **most, pickles=self._confined)

    def _compile(self) -> CompiledCode:
        if not self._policy:
            return compile_unrestricted(self._program.code)
        known = {name.rpartition(".")[2] for name in self._program.tools}
        known |= self._program.inputs.keys()
        known |= set() if self._folder is None else {"open"}
        names: dict[str, frozenset[str]] = {}
        if (kept := self._kept) is not None:
            known |= kept.names
            names = {"private_names": kept.private_names, "asyncio_names": kept.asyncio_names}
        return self._compile_source(self._program.code, known, **names)

    def _compile_source(
        self, code: str, known: Container[str], **names: frozenset[str]
    ) -> CompiledCode:
        return compile_code(
            code,
            guard_writes=self._guard_writes,
            tool_names=known,
            guarded_names=frozenset() if self._steps is None else GUARDED_NAMES,
            modules=_all_modules(self._imports, files=self._folder is not None),
            **names,
        )

    def _compile_earlier(self, source: str, private_names: frozenset[str]) -> CompiledCode:
        """Compile a part of earlier code, which has bound the names that this part does not."""
        return self._compile_source(source, EVERY_NAME, private_names=private_names)

    def _keep(self, compiled: CompiledCode, namespace: Mapping[str, object]) -> None:
        """Send the variables of a session to the host."""
        if self._kept is None or self._names is None:
            return
        code, source = compiled.code, self._program.code
        if not self._guard_writes:  # the process is the program's own, and has a stack for that
            sys.setrecursionlimit(_RECURSION_LIMIT)
        try:
            if self._folder is not None:
                files = self._folder.to_keep(self._program.limits.session_bytes)
                namespace = {**namespace, **files}
            data = self._kept.keep(namespace, self._names, code, source, compiled.mode)
        except MemoryError:
            self._kept.notes.append(
                "the variables of this execution were not kept: there was not enough memory left"
            )
            return
        except SystemExit as error:
            if type(error) is not SystemExit:  # it is told to stop
                raise
            return
        for piece in encode_kept(data):
            self._wire.put(piece)

    def _return_files(self) -> None:
        """Send the files that the code has made or changed to the host."""
        if self._folder is not None and self._program.files is not None:
            try:
                for message in self._folder.collect(self._program.limits):
                    self._wire.put(message)
            except MemoryError:
                self._folder.notes.append(
                    "files are not returned: there was not enough memory left"
                )

    def _execute(self, compiled: CompiledCode, namespace: dict[str, object]) -> bytes:
        if self._loop is None:
            compiled.start(namespace)
            self._wait_for_threads()
        else:
            self._run_loop(self._loop, compiled, namespace)
        has_value, value = compiled.value(namespace)
        if not has_value or self._showing.show_value(value):
            return _NONE
        packed = self._encode_value(value)
        allowed = self._program.limits.output_bytes
        if len(packed) <= allowed:
            return packed
        if self._output.stream.printed:  # what was printed is the answer
            return _NONE
        raise LimitExceeded(limit="output_bytes", allowed=allowed, used=len(packed))

    def _encode_value(self, value: object) -> bytes:
        """Encode what the code returned; what cannot be sent is shown as Python shows it."""
        try:
            packed = encode_value(value, max_items=_MAX_ENDING_ITEMS)
            check_encoded(packed)
        except UnsendableValue as error:
            self._unsendable = f"what was returned is given as text: {error}"
            return encode_value(_show(value))
        return packed

    def _run_loop(
        self, loop: ProgramLoop, compiled: CompiledCode, namespace: dict[str, object]
    ) -> None:
        try:
            loop.run_until_complete(cast("Any", compiled.start(namespace)))
        finally:
            left = sorted(asyncio.all_tasks(loop), key=hash)  # of one that runs in steps, by number
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())

    def _build_namespace(self, compiled: CompiledCode) -> dict[str, object]:
        stubs: dict[str, Callable[..., Any]] = {}
        scheduler: Scheduler
        if compiled.mode == "async":
            loop = self._steps.build_loop() if self._steps else ProgramLoop(self._calls)
            self._loop = self._calls.loop = loop
            loop.set_exception_handler(lambda *_: None)
            scheduler = LoopScheduler(loop, self._calls, stepped=self._steps is not None)
            for tool in self._program.tools:
                stubs[tool] = build_async_stub(self._calls, tool)
        else:
            crew = self._crew or Crew(WORKER_STACK_BYTES)
            threads = scheduler = ThreadScheduler(self._calls, crew)
            self._wait_for_threads = threads.wait_for_all
            for tool in self._program.tools:
                stubs[tool] = build_sync_stub(self._calls, threads.wait_until, tool)
        modules = build_tool_modules(stubs, self._program.types)
        namespace: dict[str, Any]
        loader: ModuleLoader | None = None
        builtins: dict[str, object] = {}
        if self._policy:
            loader = ModuleLoader(
                extra=self._imports,
                overrides=functools.partial(self._overrides, scheduler, modules),
                files=self._folder is not None,
                stdout=self._output.stream_to("stdout"),
            )
            self._output.modules = loader.built
            namespace = build_namespace(compiled, importer=loader.load, print=self._output.print)
            builtins = namespace["__builtins__"]
            if self._folder is not None:
                builtins["open"] = open_file
            builtins |= dict.fromkeys(("show", "display"), self._showing.show)
            self._names = Names(loader, builtins, modules)
            if self._steps is not None:
                self._steps.guard(namespace)
        else:
            sys.modules.update(modules)
            namespace = {"__builtins__": vars(builtins_module), "__name__": "__main__"}
        for name, entry in self._bare_names(modules).items():
            namespace.setdefault(name, entry)
        inputs = {name: decode_value(v, AttrDict) for name, v in self._program.inputs.items()}
        namespace.update(inputs)
        if self._kept is not None and self._names is not None:
            self._kept.restore(namespace, self._names, self._compile_earlier)
            namespace.update(inputs)  # whatever the session has under these names
        if loader is not None:
            for name, path in compiled.implied.items():
                if name not in namespace and name not in builtins:
                    namespace[name] = loader.find(path)
        return namespace

    def _bare_names(self, modules: Mapping[str, ModuleType]) -> dict[str, object]:
        """Return what the code may name without importing it."""
        names: dict[str, object] = {"ToolCallError": ToolCallError}
        names |= {path.removeprefix("tools."): module for path, module in modules.items()}
        tools = vars(modules["tools"])
        names |= {name: tools[name] for name in tools["__all__"]}
        return {name: entry for name, entry in names.items() if "." not in name}

    def _overrides(
        self, scheduler: Scheduler, modules: Mapping[str, ModuleType]
    ) -> dict[str, ModuleNames | Callable[[], ModuleNames]]:
        stream, stderr = self._output.stream, self._output.stream_to("stderr")
        names: dict[str, Any] = {
            "asyncio": build_asyncio_names(self._loop),
            "concurrent.futures": build_futures_names(scheduler),
            "queue": functools.partial(build_queue_names, scheduler),
            "threading": lambda: ProgramThreads(scheduler, self._report_thread).names(),
            "contextlib": {
                "redirect_stderr": self._output.redirect("stderr"),
                "redirect_stdout": self._output.redirect("stdout"),
            },
            "sys": {"stdout": stream, "stderr": stream},
            "time": {"sleep": scheduler.sleep},
            "traceback": build_traceback_names(self._program.code, stderr),
            "logging": lambda: self._build_logging(names),
            **({} if self._folder is None else build_file_names()),
            **{path: vars(module) for path, module in modules.items()},
        }
        if not self._guard_writes:  # what changes the process, which is the program's own
            names["csv"] = {"field_size_limit": csv.field_size_limit}
            names["warnings"] = self._output.build_warnings()
            register = ElementTree.register_namespace
            names["xml.etree.ElementTree"] = {"register_namespace": register}
        if self._steps is not None:
            more = self._steps.build_names(asynchronous=self._loop is not None)
            names |= {module: {**names.get(module, {}), **more[module]} for module in more}
            if self._folder is not None:
                names["os"] = {**names["os"], "urandom": names["secrets"]["token_bytes"]}
        return names

    def _report_thread(self, name: str, error: BaseException) -> None:
        """Print the exception that ended a thread of the code."""
        text = render_error(error, self._program.code)
        self._output.stream_to("stderr").write(f"Exception in thread {name}:\n{text}\n")

    def _build_logging(self, names: Mapping[str, Any]) -> dict[str, object]:
        """Build the loggers of the program, whose time is what its clock shows."""
        now = names["time"].get("time", time.time)
        describe = functools.partial(render_error, source=self._program.code)
        return build_logging_names(self._output.stream_to("stderr"), now, describe)

    def _describe(
        self, error: BaseException, namespace: Mapping[str, object]
    ) -> tuple[Status, Failure]:
        names = tuple(name for name in namespace if not name.startswith("_"))
        status, failure = describe(error, self._program.code, names, self._program.tools)
        if failure.limit == "memory_bytes":
            allowed = self._program.limits.memory_bytes
            told = str(LimitExceeded(limit="memory_bytes", allowed=allowed))
            trace = f"{failure.traceback.rstrip(': ')}: {told}"
            failure = replace(failure, allowed=allowed, message=told, traceback=trace)
        hit = LimitHit(failure.limit, failure.allowed, failure.used)
        if is_known_limit(hit, self._program.limits, self._calls.told_limits):
            return status, failure
        if status == "limit":  # the code has made an error that names one
            status, failure = "error", replace(failure, kind=type(error).__name__)
        return status, replace(failure, limit=None, allowed=None, used=None)

    def _notes(self) -> list[str]:
        notes = []
        forgotten = Counter(self._calls.forgotten())
        for (tool, line), number in list(forgotten.items())[:_MAX_NOTES]:
            times = f" ({count(number, 'time')})" if number > 1 else ""
            notes.append(f"line {line}: {tool}(...) was not awaited, so it did not run{times}")
        if (more := len(forgotten) - _MAX_NOTES) > 0:
            notes.append(f"tool calls on {count(more, 'more line')} were not awaited")
        if self._unsendable:
            notes.append(self._unsendable)
        dropped = list(dict.fromkeys(self._output.never_awaited))[:_MAX_NOTES]
        notes += [
            f"{d}() was called and not awaited, so it did not run: await {d}()" for d in dropped
        ]
        notes += [] if self._folder is None else self._folder.notes
        return notes if self._kept is None else notes + self._kept.notes

    def stop_at(self, frame: FrameType | None, limit: str) -> None:
        """Tell the host that a limit was reached while the code was at `frame`.

        Called from a signal handler: says nothing if a frame is on its way already.
        """
        if self._wire.sending:
            return
        limits = self._program.limits
        error = LimitExceeded(limit=limit, allowed=getattr(limits, limit))
        line, trace = describe_stack(frame, self._program.code)
        if not line and self._loop is not None:  # the code waits: say where
            for task in asyncio.all_tasks(self._loop):
                for waiting in task.get_stack(limit=1):
                    line, trace = describe_stack(waiting, self._program.code)
        failure = Failure(
            kind="LimitExceeded",
            message=str(error),
            line=line,
            traceback=f"{trace}{error}",
            limit=limit,
            allowed=error.allowed,
        )
        self._wire.put(encode_done("limit", _NONE, failure, self._notes()))
        self._wire.flush()


@functools.cache  # built before the fork: a worker would write to a page of each name
def _all_modules(imports: tuple[str, ...], *, files: bool) -> frozenset[str]:
    return frozenset((*standard_modules(files=files), *imports))


def _show(value: object) -> str:
    """Return a text of a value that cannot be sent."""
    try:
        return hex(value) if isinstance(value, int) else repr(value)
    except Exception as error:  # noqa: BLE001  # Python prints no integer of over 4,300 digits
        return f"<{type(value).__name__}: {type(error).__name__}: {error}>"


def prepare_interpreter() -> None:
    """Let warnings be as they are in a fresh Python, whatever was imported; in a worker, before any code."""
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    # Python warns of a coroutine that was dropped; each becomes a note.
    warnings.filterwarnings("always", "coroutine .* was never awaited", RuntimeWarning)


def touch_lazy_parts() -> None:
    """Load what the standard library loads on first use.

    A worker has no file system by then; and C code that imports on first use (`strptime`) does so by
    the `__import__` of whoever calls it, which for a program is not Python's.
    """
    datetime.datetime.strptime("2020", "%Y")
    time.strptime("2020", "%Y")
