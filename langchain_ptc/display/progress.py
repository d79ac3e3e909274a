"""`LiveProgress`: executions while they run, on a terminal, in a notebook or in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from langchain_ptc.display.reading import read_number
from langchain_ptc.display.style import page
from langchain_ptc.display.text import escape
from langchain_ptc.display.watched import Watch
from langchain_ptc.locks import new_lock

LINE_SECONDS = 5.0
"""Where nothing can be drawn anew, how often a line says that it goes on."""
UPDATE_SECONDS = 0.1
"""How often a notebook's cell is drawn anew, at most."""
MOST_LINES = 20
"""How many ends of executions a notebook's cell keeps."""


class LiveProgress:
    """Shows executions while they run; pass it as `on_event`, and run the code inside `with`.

    ```
    progress = LiveProgress()
    agent = create_agent(model, as_programmatic(tools, on_event=progress))
    with progress:
        agent.invoke(...)
    ```

    On a terminal the calls on their way, and the last lines that were printed, are drawn anew while
    the code runs, and one line stays of each execution. In a notebook the same is shown below the
    cell. Elsewhere, in a file or a pipe, lines of plain text are written, without control codes.
    Events may come from any thread; outside `with` they are passed over.

    Args:
        file: Where to; by default a notebook's cell, or else `sys.stdout`.

    Raises:
        ImportError: It is to draw on a terminal, and rich is not installed.
    """

    def __init__(self, *, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = new_lock()
        self._watch = Watch()
        self._screen: _Screen | None = None
        if not _is_notebook(file) and _is_terminal(file or sys.stdout):
            _check_rich()

    def __enter__(self) -> Self:
        """Begin to show.

        Raises:
            RuntimeError: It shows already.
        """
        with self._lock:
            if self._screen is not None:
                raise RuntimeError(
                    "this LiveProgress is shown already; make another one for a `with` inside its own"
                )
            self._watch = Watch()
            self._screen = self._choose_screen()
        self._screen.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            screen, self._screen = self._screen, None
        if screen is not None:
            screen.close()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        with self._lock:
            screen = self._screen
            if screen is None:
                return
            lines = list(self._watch.take(event))
            # Under the lock, so that lines come in the order of the events.
            screen.tell(lines, event)

    def _choose_screen(self) -> _Screen:
        if _is_notebook(self._file):
            return _Notebook(self._watch)
        file = self._file or sys.stdout
        if _is_terminal(file):
            from langchain_ptc.display.live import Terminal

            return Terminal(self._watch, file)
        return _Lines(self._watch, file)


class _Screen(Protocol):
    """Where progress is shown."""

    def open(self) -> None: ...

    def tell(self, lines: list[str], event: Mapping[str, Any]) -> None:
        """Show lines that are to stay, and what has changed."""
        ...

    def close(self) -> None: ...


def _is_notebook(file: TextIO | None) -> bool:
    ipython = sys.modules.get("IPython")  # nothing runs in a notebook that has not imported it
    if file is not None or ipython is None:
        return False
    shell = ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _is_terminal(file: TextIO) -> bool:
    return file.isatty() and os.environ.get("TERM") != "dumb"


def _check_rich() -> None:
    try:
        import rich  # noqa: F401  # asked for early: later would be in the middle of a run
    except ImportError as error:
        raise ImportError(
            "LiveProgress draws on a terminal with rich, which is not installed: "
            "pip install 'langchain-ptc[display]'",
            name=error.name,
        ) from error


class _Lines:
    """A file, a pipe or a log: whole lines, once."""

    def __init__(self, watch: Watch, file: TextIO) -> None:
        self._watch = watch
        self._file = file
        self._told_at: dict[str, float] = {}

    def open(self) -> None:
        pass

    def tell(self, lines: list[str], event: Mapping[str, Any]) -> None:
        known, now = str(event.get("execution_id")), read_number(event.get("at"))
        watched = self._watch.running.get(known)
        if watched is None:
            self._told_at.pop(known, None)
        elif (
            not lines and now - self._told_at.setdefault(known, watched.started_at) >= LINE_SECONDS
        ):
            lines = [watched.headline(now)]
        for line in lines:
            self._told_at[known] = now
            encoding = getattr(self._file, "encoding", None) or "utf-8"
            self._file.write(f"{line.encode(encoding, 'replace').decode(encoding)}\n")
        if lines:
            self._file.flush()

    def close(self) -> None:
        pass


class _Notebook:
    """The output of a notebook's cell."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._lines: list[str] = []
        self._gone = 0
        self._drawn_at = 0.0
        self._handle: Any = None

    def open(self) -> None:
        self._handle = import_module("IPython.display").display(self._html(), display_id=True)

    def tell(self, lines: list[str], event: Mapping[str, Any]) -> None:
        del event
        self._lines += lines
        self._gone += max(0, len(self._lines) - MOST_LINES)
        self._lines = self._lines[-MOST_LINES:]
        if lines or time.monotonic() - self._drawn_at >= UPDATE_SECONDS:
            self._draw()

    def close(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        if self._handle is not None:
            self._handle.update(self._html())

    def _html(self) -> Any:
        told = render_progress(self._watch, self._lines, gone=self._gone, now=time.time())
        return import_module("IPython.display").HTML(told)


def render_progress(watch: Watch, lines: list[str], *, gone: int, now: float) -> str:
    """Return what runs and what has ended as HTML.

    Args:
        watch: What runs.
        lines: Of what has ended.
        gone: How many such lines there were before.
        now: The time, in seconds since the epoch.
    """
    parts = [f'<div class="ptc-head ptc-soft">… {gone:,} before</div>'] if gone else []
    parts += [f'<div class="ptc-head">{escape(line)}</div>' for line in lines]
    for watched in watch.running.values():
        tools = "".join(
            f'<div class="ptc-sign">{escape(name)}</div> <div class="ptc-soft">{escape(told)}</div>'
            for name, told in watched.tool_lines()
        )
        output = escape("\n".join(watched.output_lines()))
        parts.append(
            f'<div class="ptc-head">{escape(watched.headline(now))}</div>'
            f'<div class="ptc-tally">{tools}</div>{f"<pre>{output}</pre>" if output else ""}'
        )
    if not parts:
        parts.append('<div class="ptc-head ptc-soft">waiting for code …</div>')
    return page("".join(parts))
