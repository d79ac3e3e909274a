"""Where a program prints to: its own stream, never the process's `sys.stdout`; and what it shows.

One mechanism for all that is shown: it is whatever can be had as bytes of a known kind. Nothing here is a wall:
the host reads and counts the bytes again, see `wire.content`.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType, ModuleType
from typing import Any, Literal, Protocol, TypeAlias, cast

from langchain_ptc.errors import LimitExceeded, count
from langchain_ptc.sandbox.api import Limits
from langchain_ptc.sandbox.wire.content import KINDS, MAX_SIDE, Content, read_content
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_BYTES, cut_bytes, encode_shown
from langchain_ptc.sandbox.worker.connection import WorkerConnection

_Name = Literal["stdout", "stderr"]
_DROPPED = re.compile(r"coroutine '(?:\w+\.)*(\w+)' was never awaited")


class TextTarget(Protocol):
    """Anything that `print(file=…)` takes."""

    def write(self, text: str, /) -> object:
        """Take text."""


class _Stream(io.TextIOBase):
    encoding = "utf-8"
    errors = "strict"

    def writable(self) -> bool:
        """Return True."""
        return True


class ProgramStream(_Stream):
    """`sys.stdout` and `sys.stderr` of the code; `write` raises `LimitExceeded` after `max_bytes` of UTF-8."""

    def __init__(self, emit: Callable[[str], None], max_bytes: int) -> None:
        self.__emit = emit
        self.__max_bytes = max_bytes
        self.__used = 0

    @property
    def printed(self) -> bool:
        """Whether anything was printed."""
        return self.__used > 0

    def write(self, text: str) -> int:
        """Print `text`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        room = self.__max_bytes - self.__used
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.__used += size
        if size > room:
            # One byte too many: the host counts too, and ends the execution whatever the code does.
            self.__emit(cut_bytes(text, max(room, 0)) + "…")
            raise LimitExceeded(limit="output_bytes", allowed=self.__max_bytes, used=self.__used)
        self.__emit(text)
        return len(text)


class _CurrentStream(_Stream):
    """A stream for libraries: what they print goes to what the program's `sys.stdout` is then."""

    def __init__(self, target: Callable[[], TextTarget | None]) -> None:
        self.__target = target

    def lead_to(self, target: Callable[[], TextTarget | None]) -> None:
        """Lead to another stream from now on, for all who have a reference to it."""
        self.__target = target

    @property
    def buffer(self) -> Any:
        """The binary stream below, where there is one."""
        return cast("Any", self.__target()).buffer

    def fileno(self) -> int:
        """Return the file descriptor, where there is one."""
        return int(cast("Any", self.__target()).fileno())

    def write(self, text: str) -> int:
        """Hand `text` to the stream that the program has now."""
        target = self.__target()
        if target is not None:
            target.write(text)
        return len(text)


_KEPT: Mapping[_Name, _CurrentStream] = {
    "stdout": _CurrentStream(lambda: sys.__stdout__),
    "stderr": _CurrentStream(lambda: sys.__stderr__),
}
"""Streams of this process that stay the same objects, wherever they lead."""


def keep_streams() -> None:
    """Let libraries that are imported from now on keep streams that will lead to the program's.

    A handler of `logging` keeps the `sys.stderr` of its import. For the parent of workers: what modules
    print while they are imported (`PIL.report` does) is not for the standard output of the host.
    """
    targets = {"stdout": open(os.devnull, "w"), "stderr": sys.stderr}  # noqa: PTH123, SIM115  # kept
    for name, stream in _KEPT.items():
        stream.lead_to(functools.partial(targets.get, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class Output:
    """`print` and the streams of one program; `emit` takes what it prints."""

    def __init__(self, emit: Callable[[str], None], max_bytes: int) -> None:
        self.stream = ProgramStream(emit, max_bytes)
        self.never_awaited: list[str] = []
        """Coroutine functions of the code whose coroutines were dropped; known in workers only."""
        self.modules: Mapping[str, ModuleType] = MappingProxyType({})
        """The modules that the program has imported: it may have set `sys.stdout` itself."""
        self._targets: dict[_Name, TextTarget | None] = {
            "stdout": self.stream,
            "stderr": self.stream,
        }

    def target(self, name: _Name) -> TextTarget | None:
        """Return where the program's `sys.stdout` or `sys.stderr` leads now."""
        facade = self.modules.get("sys")
        found = self._targets[name] if facade is None else vars(facade).get(name)
        return cast("TextTarget | None", found)

    def stream_to(self, name: _Name) -> io.TextIOBase:
        """Return a stream that always leads where the program's `sys.stdout` or `sys.stderr` does."""
        return _CurrentStream(lambda: self.target(name))

    def print(
        self,
        *values: object,
        sep: str | None = " ",
        end: str | None = "\n",
        file: TextTarget | None = None,
        flush: object = False,
        **unknown: object,
    ) -> None:
        """Print values, as Python's `print` does."""
        target = self.target("stdout") if file is None else file
        if target is not self.stream or unknown or not _is_text(sep) or not _is_text(end):
            if target is not None:
                options: Any = {"sep": sep, "end": end, "file": target, "flush": flush, **unknown}
                builtins.print(*values, **options)  # its own words for what it does not take
            return
        between = " " if sep is None else sep
        texts: list[str] = []
        try:
            for value in values:
                texts.append(str(value))  # noqa: PERF401  # what came before a failure is printed
        except BaseException:
            self.stream.write("".join(f"{text}{between}" for text in texts))
            raise
        self.stream.write(between.join(texts) + ("\n" if end is None else end))

    def redirect(self, name: _Name) -> Callable[[TextTarget], AbstractContextManager[TextTarget]]:
        """Return `contextlib.redirect_stdout`, or `redirect_stderr`."""

        @contextmanager
        def redirected(new_target: TextTarget) -> Iterator[TextTarget]:
            """Catch what is printed in the `with` block."""
            previous = self.target(name)
            self._set(name, new_target)
            try:
                yield new_target
            finally:
                self._set(name, previous)

        return redirected

    def _set(self, name: _Name, target: TextTarget | None) -> None:
        self._targets[name] = target
        if (facade := self.modules.get("sys")) is not None:
            setattr(facade, name, target)

    @contextmanager
    def capture_process(self) -> Iterator[None]:
        """Take what anything in this process prints or warns of; for a process of the program's own."""
        before = sys.stdout, sys.stderr, warnings.showwarning
        _KEPT["stdout"].lead_to(lambda: self.target("stdout"))
        _KEPT["stderr"].lead_to(lambda: self.target("stderr"))
        sys.stdout, sys.stderr = _KEPT["stdout"], _KEPT["stderr"]
        warnings.showwarning = self._show_warning
        try:
            yield
        finally:
            sys.stdout, sys.stderr, warnings.showwarning = before

    def build_warnings(self) -> dict[str, object]:
        """Build the names of `warnings` for a process of the program's own."""
        real = warnings.catch_warnings

        @contextmanager
        def catch_warnings(
            *, record: bool = False, **options: Any
        ) -> Iterator[list[warnings.WarningMessage] | None]:
            """Do what `warnings.catch_warnings` does, without a way to the module."""
            options.pop("module", None)
            with real(record=record, **options) as caught:
                yield caught

        names = ("filterwarnings", "resetwarnings", "simplefilter", "warn")
        return {"catch_warnings": catch_warnings, **{n: getattr(warnings, n) for n in names}}

    def _show_warning(
        self, message: Any, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
    ) -> None:
        """Print a warning, with its line where it is one of the program's own."""
        text = str(message)
        if dropped := _DROPPED.match(text):
            self.never_awaited.append(dropped[1])
        elif (target := self.target("stderr")) is not None:
            place = f"line {lineno}: " if filename == "<code>" else ""
            target.write(f"{place}{category.__name__}: {text}\n")


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


_BLOCKS = ("image", "audio", "video", "file", "image_url", "resource")
_RENDERERS = ("_repr_png_", "_repr_jpeg_", "savefig")
_Part: TypeAlias = str | Callable[[], Iterable[bytes]]
"""A text to print; or what renders content, in the forms that it can be had in, the best first."""


class Showing:
    """What one program shows; a line of its output stands for each."""

    def __init__(self, wire: WorkerConnection, output: Output, limits: Limits) -> None:
        self._wire, self._output, self._limits = wire, output, limits
        self._room = limits.shown_bytes
        self._count = 0

    def show(self, *values: Any) -> None:
        """Show pictures and other content, also of a path; anything else is printed."""
        for value in values:
            given = value.read_bytes() if hasattr(value, "read_bytes") else value
            parts = _parts_of(given)
            if parts is not None:
                self._show(parts)
            elif isinstance(given, bytes | bytearray):
                self._send([bytes(given)])  # which says why not
            else:
                self._output.print(given)

    def show_value(self, value: object) -> bool:
        """Show what the code returned, if it is content; return whether all of it was shown."""
        parts = _parts_of(value)
        return parts is not None and self._show(parts)

    def install(self) -> None:
        """Let libraries show what they would open a window for; in a process of the program's own."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        viewers: Any = sys.modules.get("PIL.ImageShow")
        if pyplot is not None:

            def show_figures(*_: object, **__: object) -> None:
                """Show the figures that are open, and close them."""
                self.show(*map(pyplot.figure, pyplot.get_fignums()))
                pyplot.close("all")

            pyplot.show = show_figures
        if viewers is not None:
            viewers.show = lambda image, *_, **__: self.show(image)

    def _show(self, parts: Iterable[_Part]) -> bool:
        is_all = True
        for part in parts:
            if isinstance(part, str):
                self._output.print(part)
            else:
                is_all = self._send(part()) and is_all
        return is_all

    def _send(self, renderings: Iterable[bytes]) -> bool:
        problem = "it cannot be drawn as PNG or JPEG"
        if self._count >= (most := self._limits.max_shown):
            problem, renderings = f"{most:,} are shown already, the most (Limits.max_shown)", ()
        for data in renderings:
            if (found := read_content(data)) is None:
                problem = f"{count(len(data), 'byte')}, no whole {KINDS}"
            elif not (problem := self._problem_of(found)):
                self._count += 1
                self._room -= len(data)
                self._output.stream.write(f"[shown {self._count}: {found}]\n")
                self._wire.put(encode_shown(data))
                self._wire.flush()
                return True
        self._output.stream.write(f"[not shown: {problem}]\n")
        return False

    def _problem_of(self, found: Content) -> str:
        if not found.is_bounded:
            return f"{found}; a picture may have {MAX_SIDE:,} pixels each way"
        if found.size > min(self._room, MAX_CALL_BYTES):
            allowed = count(self._limits.shown_bytes, "byte")
            return f"{found}; {self._room:,} of {allowed} are left (Limits.shown_bytes)"
        return ""


def _parts_of(value: object) -> list[_Part] | None:
    """Return what there is to show of a value; None if it is not content."""
    parts: list[_Part] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        if (part := _part_of(item)) is None:
            return None
        parts.append(part)
    return parts if any(map(callable, parts)) else None


def _part_of(value: Any) -> _Part | None:
    if isinstance(value, io.BytesIO):
        value = value.getvalue()
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return (lambda: [data]) if read_content(data) else None
    if isinstance(value, dict):
        text, found = value.get("text"), _data_of(value)
        if value.get("type") == "text" and isinstance(text, str):
            return text
        return (lambda: [found]) if value.get("type") in _BLOCKS and found else None
    figure = None
    with contextlib.suppress(Exception):  # an object of the code may have any attribute
        figure = value.figure  # of axes of matplotlib
    drawn = next((one for one in (value, figure) if any(map(_has(one), _RENDERERS))), None)
    return None if drawn is None else lambda: _render(drawn)


def _has(drawn: Any) -> Callable[[str], bool]:
    """Return what finds a method, as the class has it; in a module, where `pyplot` is one, a function."""
    place = drawn if isinstance(drawn, ModuleType) else type(drawn)
    return lambda name: callable(getattr(place, name, None))


def _render(drawn: Any) -> Iterator[bytes]:
    """Yield what draws itself as bytes: a PIL image, a figure of matplotlib, and whatever is made like them."""
    has = _has(drawn)
    for name in filter(has, _RENDERERS[:2]):
        data = getattr(drawn, name)()
        data = data[0] if isinstance(data, tuple) and data else data  # with metadata
        if isinstance(data, bytes):  # None says that it cannot
            yield data
    if has("savefig"):
        file = io.BytesIO()
        drawn.savefig(file, format="png", bbox_inches="tight")
        yield file.getvalue()


def _data_of(block: dict[str, Any]) -> bytes | None:
    """Return the data in a content block of LangChain, MCP, Anthropic or OpenAI; None if it is only a link."""
    given = next(filter(None, map(block.get, ("data", "base64", "source", "image_url"))), None)
    if isinstance(given, dict):
        given = given.get("data") or given.get("url")
    if isinstance(given, str):
        encoded = given.rpartition(";base64,")[2]
        try:
            given = base64.b64decode("".join(encoded.split()), validate=True)
        except ValueError:
            return None
    return given if isinstance(given, bytes) else None
