"""`LiveProgress`: executions while they run, on a terminal, in a notebook or in a log.

What is known of them comes from their events, as dicts; see `langchain_ptc.run.events`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TextIO

from langchain_ptc.display.html import page
from langchain_ptc.display.record import ending_of, read_number
from langchain_ptc.display.text import escape, one_line, render_seconds
from langchain_ptc.errors import count
from langchain_ptc.locks import new_lock

if TYPE_CHECKING:
    from langchain_ptc.display.terminal import Screen

LINE_SECONDS = 5.0
"""Where nothing can be redrawn, how often a line reports that the code still runs."""
UPDATE_SECONDS = 0.1  # the shortest time between two updates of a notebook's cell
MAX_LINES = 20  # lines that a notebook's cell keeps
MAX_OPEN = 50  # executions that are watched at once; one whose process was killed never ends
OUTPUT_LINES = 3
LINE_CHARS = 200
MAX_PRINTED_CHARS = 4_000


class LiveProgress:
    """Shows executions while they run; pass it as `on_event`, and run the code inside `with`.

    ```
    progress = LiveProgress()
    agent = create_agent(model, as_programmatic(tools, on_event=progress))
    with progress:
        agent.invoke(...)
    ```

    On a terminal the calls in flight and the last printed lines are redrawn while the code runs, and
    one line remains of each execution. A notebook shows the same below the cell. To a file or a pipe,
    lines of plain text are written, without control codes. Events may come from any thread; outside
    `with` they are ignored.

    Args:
        file: Where to; by default a notebook's cell, or else `sys.stdout`.

    Raises:
        ImportError: It is to draw on a terminal, and rich is not installed.
    """

    def __init__(self, *, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = new_lock()
        self._watch = Watch()
        self._screen: Screen | _Notebook | _Lines | None = None
        if not _is_notebook(file) and _is_terminal(file or sys.stdout):
            try:
                import rich  # noqa: F401  # asked for early: later would be in the middle of a run
            except ImportError as error:
                raise ImportError(
                    "LiveProgress draws on a terminal with rich, which is not installed: "
                    "pip install 'langchain-ptc[display]'",
                    name=error.name,
                ) from error

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

    def __exit__(self, *_: object) -> None:
        with self._lock:
            screen, self._screen = self._screen, None
        if screen is not None:
            screen.close()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        with self._lock:
            if self._screen is not None:
                # Under the lock, so that lines come in the order of the events.
                self._screen.update(self._watch.take(event), event)

    def _choose_screen(self) -> Screen | _Notebook | _Lines:
        if _is_notebook(self._file):
            return _Notebook(self._watch)
        file = self._file or sys.stdout
        if _is_terminal(file):
            from langchain_ptc.display.terminal import Screen

            return Screen(self._watch.snapshot, file)
        return _Lines(self._watch, file)


def _is_notebook(file: TextIO | None) -> bool:
    ipython = sys.modules.get("IPython")  # nothing runs in a notebook that has not imported it
    if file is not None or ipython is None:
        return False
    shell = ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _is_terminal(file: TextIO) -> bool:
    return file.isatty() and os.environ.get("TERM") != "dumb"


# --- what is known of executions --------------------------------------------------------------------


@dataclass(slots=True)
class Watched:
    """One execution that runs."""

    started_at: float
    started: set[str] = field(default_factory=set)  # the ids of its calls
    done: int = 0
    odd: int = 0  # of these, how many did not return
    printed: str = ""  # the end of it

    @property
    def calls(self) -> str:
        """How far its calls are."""
        if not self.started:
            return "no tool calls yet"
        parts = [f"{self.done:,} done"]
        if len(self.started) > self.done:
            parts.append(f"{len(self.started) - self.done:,} in flight")
        if self.odd:
            parts.append(f"{self.odd:,} without a result")
        return ", ".join(parts)

    def headline(self, now: float) -> str:
        """Say how far it is."""
        return f"running {render_seconds(max(0.0, now - self.started_at))} · {self.calls}"

    def lines(self) -> list[str]:
        """Return the last lines that it has printed."""
        printed = [line for line in self.printed.split("\n") if line.strip()]
        return [one_line(line, LINE_CHARS) for line in printed[-OUTPUT_LINES:]]


class Watch:
    """Follows events: `running` has the executions that run, by their ids. Whoever has several threads holds a lock."""

    def __init__(self) -> None:
        self.running: dict[str, Watched] = {}

    def take(self, event: Mapping[str, Any]) -> list[str]:
        """Take one event and return the lines that it is worth, if any: an end, a pause, an alert."""
        kind, execution = event.get("event"), str(event.get("execution_id"))
        if kind == "execution_start":
            while len(self.running) >= MAX_OPEN:
                del self.running[next(iter(self.running))]
            self.running[execution] = Watched(started_at=read_number(event.get("at")))
        watched = self.running.get(execution)
        if watched is None:
            return []
        match kind:
            case "execution_end":
                del self.running[execution]
                return [render_end(event)]
            case "execution_pause":
                del self.running[execution]
                waiting = event.get("waiting")
                asked = count(waiting, "question") if isinstance(waiting, int) else "questions"
                return [f"paused: {asked} for a person · {watched.calls}"]
            case "limit_reached":
                return [f"limit reached: {one_line(str(event.get('limit')), 60)}"]
            case "breaker_open":
                return [f"circuit breaker open: {_name_of(event)}"]
            case "call_start" | "call_end":  # a call that is refused has no start
                watched.started.add(str(event.get("call_id")))
                if kind == "call_end":
                    watched.done += 1
                    watched.odd += event.get("status") != "returned"
            case "output":
                watched.printed = (watched.printed + str(event.get("text")))[-MAX_PRINTED_CHARS:]
        return []

    def snapshot(self) -> list[tuple[float, str, list[str]]]:
        """Return for each running execution when it started, its calls in words, and its lines."""
        return [(w.started_at, w.calls, w.lines()) for w in self.running.values()]


def _name_of(event: Mapping[str, Any]) -> str:
    domain, tool = event.get("domain"), event.get("tool")
    return one_line(f"{domain}.{tool}" if domain else str(tool), 80)


def render_end(event: Mapping[str, Any]) -> str:
    """Return an `execution_end` in one line."""
    ending = ending_of(event.get("status"))
    calls = round(read_number(event.get("tool_calls")))
    parts = [
        f"{ending.sign} {ending.word}",
        count(calls, "tool call") if calls else "no tool calls",
        render_seconds(read_number(event.get("duration_seconds"))),
        f"printed {count(round(read_number(event.get('output_chars'))), 'character')}",
    ]
    if event.get("error"):
        parts.append(one_line(str(event["error"]).partition("\n")[0], LINE_CHARS))
    return " · ".join(parts)


# --- where it is shown: for terminals, see `terminal.Screen` -----------------------------------------


class _Lines:
    """A file, a pipe or a log: whole lines, once."""

    def __init__(self, watch: Watch, file: TextIO) -> None:
        self._watch = watch
        self._file = file
        self._written_at: dict[str, float] = {}

    def open(self) -> None:
        pass

    def update(self, lines: list[str], event: Mapping[str, Any]) -> None:
        execution, now = str(event.get("execution_id")), read_number(event.get("at"))
        watched = self._watch.running.get(execution)
        if watched is None:
            self._written_at.pop(execution, None)
        elif not lines:
            last = self._written_at.setdefault(execution, watched.started_at)
            if now - last >= LINE_SECONDS:
                lines = [watched.headline(now)]
        if not lines:
            return
        self._written_at[execution] = now
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        self._file.write(text.encode(encoding, "replace").decode(encoding))
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

    def update(self, lines: list[str], event: Mapping[str, Any]) -> None:
        del event
        self._lines += lines
        self._gone += max(0, len(self._lines) - MAX_LINES)
        self._lines = self._lines[-MAX_LINES:]
        if lines or time.monotonic() - self._drawn_at >= UPDATE_SECONDS:
            self.close()

    def close(self) -> None:
        """Draw it as it is now."""
        self._drawn_at = time.monotonic()
        if self._handle is not None:
            self._handle.update(self._html())

    def _html(self) -> Any:
        heads = [f"… {self._gone:,} before"] * (self._gone > 0) + self._lines
        parts = [f'<div class="ptc-head">{escape(head)}</div>' for head in heads]
        for watched in self._watch.running.values():
            parts.append(f'<div class="ptc-head">{escape(watched.headline(time.time()))}</div>')
            parts.append(f"<pre>{escape(chr(10).join(watched.lines()))}</pre>")
        return import_module("IPython.display").HTML(page("".join(parts) or "waiting for code …"))
