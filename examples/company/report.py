"""What the demo prints: plain text, with colour and a moving progress line only on a terminal."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from langchain_core.messages import BaseMessage

from examples.company.measuring import Outcome, find_code, is_right

_WIDTH = 92
_PROGRESS_STEP = 12
"""Where lines cannot be overwritten, one is printed at each so many calls."""


class Printer:
    """Prints the demo.

    Args:
        stream: Where to; colour and moving lines are used if it is a terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._is_terminal = self._stream.isatty()

    def line(self, text: str = "") -> None:
        """Print one line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.line()
        self.line(self._style("1", text))

    def fact(self, name: str, text: str) -> None:
        """Print a named paragraph."""
        lines = textwrap.wrap(text, _WIDTH - 11)
        for index, line in enumerate(lines):
            self.line(f"{self._style('2', f'{name:<10}') if index == 0 else ' ' * 10} {line}")

    def block(self, text: str) -> None:
        """Print text between bars, as it is."""
        bar = self._style("2", "|")
        for line in text.splitlines():
            self.line(f"  {bar} {line}")

    def progress(self, label: str) -> Callable[[str, int], None]:
        """Start a progress line; call what is returned at every tool call."""
        started = time.perf_counter()

        def show(tool: str, calls: int) -> None:
            seconds = time.perf_counter() - started
            text = f"  {label}: {calls} tool calls, {seconds:.1f} s, {tool}"
            if self._is_terminal:
                self._stream.write(f"\r\x1b[2K{text}")
                self._stream.flush()
            elif calls % _PROGRESS_STEP == 0:
                self.line(text)

        return show

    def finished(self, outcome: Outcome) -> None:
        """Replace the progress line by what was measured."""
        if self._is_terminal:
            self._stream.write("\r\x1b[2K")
        self.line(
            f"  {outcome.label}: {_many(outcome.inferences, 'inference')}, "
            f"{_many(outcome.tool_calls, 'tool call')}, {outcome.seconds:.1f} s"
        )
        if outcome.failure:
            self.line(f"  it failed: {outcome.failure}")

    def program(self, outcome: Outcome) -> None:
        """Print the code that the model wrote, and all that entered the state."""
        self.heading("The code that the model wrote")
        self.block(find_code(outcome) or "(none)")
        self.heading("All that entered the state of the graph")
        for message in outcome.messages:
            self.line(f"  {_describe(message)}")

    def table(self, outcomes: Sequence[Outcome], truth: Mapping[str, float]) -> None:
        """Print the measurements side by side."""
        rows: list[tuple[str, list[str]]] = [
            ("inferences", [f"{o.inferences:,}" for o in outcomes]),
            ("tool calls", [f"{o.tool_calls:,}" for o in outcomes]),
            ("tokens into the model", [_count(o.tokens_in) for o in outcomes]),
            ("  with a perfect cache", [_count(o.tokens_in_once) for o in outcomes]),
            ("tokens out of the model", [_count(o.tokens_out) for o in outcomes]),
            ("messages in the state", [f"{len(o.messages):,}" for o in outcomes]),
            ("tool results there, chars", [f"{o.result_chars:,}" for o in outcomes]),
            ("wall time, seconds", [f"{o.seconds:.1f}" for o in outcomes]),
            ("answer equals SQL", ["yes" if is_right(o.answer, truth) else "NO" for o in outcomes]),
        ]
        width = max(16, *(len(o.label) + 2 for o in outcomes))
        self.heading("Side by side")
        self.line(" " * 27 + "".join(f"{o.label:>{width}}" for o in outcomes))
        for name, cells in rows:
            self.line(f"  {name:<25}" + "".join(f"{cell:>{width}}" for cell in cells))

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_terminal else text


def _describe(message: BaseMessage) -> str:
    """Describe a message in one line."""
    calls = getattr(message, "tool_calls", ())
    said = " ".join(message.text.split())
    if calls:
        said = ", ".join(f"{c['name']}({len(str(c['args'])):,} chars)" for c in calls) + said
    return f"{message.type:<6} {textwrap.shorten(said, _WIDTH - 9, placeholder=' …')}"


def _count(tokens: int) -> str:
    return f"{tokens:,}" if tokens else "not reported"


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
