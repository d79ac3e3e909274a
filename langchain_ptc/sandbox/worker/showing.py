"""`show(...)`: pictures and other content that the code hands out beside its text.

One mechanism for all of them: what is shown is whatever can be had as bytes of a known kind. Nothing here is
a wall: the host reads and counts the bytes again, see `wire.content`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, TypeAlias

from langchain_ptc.limits import Limits
from langchain_ptc.sandbox.wire.content import KINDS, MAX_SIDE, Content, read_content
from langchain_ptc.sandbox.wire.protocol import MAX_CALL_BYTES, encode_shown
from langchain_ptc.sandbox.worker.connection import WorkerConnection
from langchain_ptc.sandbox.worker.output import Output
from langchain_ptc.wording import count

_BLOCKS = ("image", "audio", "video", "file", "image_url", "resource")
_RENDERERS = ("_repr_png_", "_repr_jpeg_", "savefig")
_Part: TypeAlias = str | Callable[[], Iterable[bytes]]
"""A text to print; or what renders content, in the forms that it can be had in, the best first."""


class Showing:
    """What one program shows.

    Args:
        wire: The line to the host.
        output: What the program prints: a line there stands for all that is shown.
        limits: How much may be shown.
    """

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
            found = read_content(data)
            problem = (
                self._problem_of(found)
                if found
                else f"{count(len(data), 'byte')}, no whole {KINDS}"
            )
            if not problem:
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
            allowed = f"{count(self._limits.shown_bytes, 'byte')}"
            return f"{found}; {self._room:,} of {allowed} are left (Limits.shown_bytes)"
        return ""


def _parts_of(value: object) -> list[_Part] | None:
    """Return what there is to show of a value; None if it is not content."""
    parts: list[_Part] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        part = _part_of(item)
        if part is None:
            return None
        parts.append(part)
    return parts if any(callable(part) for part in parts) else None


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
