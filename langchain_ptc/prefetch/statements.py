"""What of an unfinished program is surely there: its statements, as the code grows. Pure.

    statements = Statements()
    statements.feed(added)     # the next piece of the code; True if there is more than before
    statements.close(added)    # the last piece: the code is whole
    statements.closed          # statements to which nothing can be added
    statements.runnable        # these, and what else the whole lines hold, open blocks closed
    statements.is_open         # whether the last of `runnable` may get more

`closed` is exact: the first statements of whatever program the code becomes, with the lines that they have
in it. A simple statement is closed by its line break, a compound one by a line at the margin that begins
another statement, and both only if what stands before parses: the parse settles brackets, strings,
backslashes and decorators, which do not parse while they are open.

The nodes are shared: do not change them.
"""

from __future__ import annotations

import ast
import re

from langchain_ptc.sandbox.language.scopes import parse_quietly

MAX_CHARS = 20_000
"""Length of a code of which statements are known; programs that models write have a few hundred characters."""
MAX_STATEMENTS = 300
"""How many statements at the margin are known."""
PARSES = 25
"""How often, at most, each character is parsed: a long open statement is not parsed at each of its lines."""
_FREE_CHARS = 10_000
"""Characters that are parsed besides, at the beginning of a code."""
_MAX_TRIES = 8
"""Ends of lines that are tried after one piece."""

_Block = ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.TryStar | ast.Match
_Named = ast.With | ast.AsyncWith | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Compound = _Block | _Named

CONTINUES = ("else", "elif", "except", "finally")
"""Words at the beginning of lines that belong to the statement before."""
LONGEST_WORD = max(map(len, CONTINUES))
_WORD = re.compile(r"\w*")
_HEAD = re.compile(
    r"\s*(?:async\s+)?(?:if|elif|else|for|while|try|except|finally|with|def|class|case)\b.*:\s*(?:#.*)?"
)
_TRY = re.compile(r"\s*try\s*:\s*(?:#.*)?")
_LONE_RETURN = re.compile(r"\r(?!\n)")


class Statements:
    """The statements of a code that is still being written."""

    def __init__(self) -> None:
        self.closed: list[ast.stmt] = []
        self.runnable: list[ast.stmt] = []
        self.is_open = False
        self._rest = ""
        """The code after the closed statements."""
        self._line = 0
        """How many lines are before it."""
        self._tried = 0
        """The end of the last of its lines that was looked at."""
        self._read_to = 0
        """The end of the lines that `runnable` holds."""
        self._is_repaired = False
        """Whether these parse only with something added."""
        self._length = self._parsed = 0
        self._is_over = False

    @property
    def is_behind(self) -> bool:
        """Whether there are whole lines that are in no statement yet."""
        return not self._is_over and self._read_to < self._tried

    def feed(self, added: str) -> bool:
        """Read the next piece; return whether there is more in `closed` or `runnable`."""
        if not self._add(added):
            return False
        grown = "\n" in added and self._read_lines()
        return self._read_margin() or grown

    def _add(self, text: str) -> bool:
        """Add to the code; return whether it is still read."""
        self._length += len(text)
        self._is_over = self._is_over or self._length > MAX_CHARS
        if not self._is_over:
            self._rest += text
        return not self._is_over

    def close(self, added: str = "") -> bool:
        """Read the last piece; return whether there is more in `closed` or `runnable`."""
        tree = self._parse(self._rest) if self._add(added) else None
        self._is_over = True
        if tree is None:
            return False
        was_open, before = self.is_open, len(self.runnable)
        self._accept(tree, len(self._rest), is_open=False)
        return was_open or len(self.runnable) > before

    def _read_lines(self) -> bool:
        """Parse what ends with one of the new lines, the last one that it can."""
        tried, at = self._tried, len(self._rest)
        self._tried = self._rest.rfind("\n") + 1
        if self._read_to == tried and not _holds_code(self._rest[tried : self._tried]):
            self._read_to = self._tried
            return False
        for _ in range(_MAX_TRIES):
            at = self._rest.rfind("\n", tried, at) + 1
            if at <= 0:
                break
            self._parsed += self._line + at
            if self._parsed > PARSES * self._length + _FREE_CHARS:
                self._parsed -= self._line + at
                break
            tail = _repair(self._rest[:at])
            tree = self._parse(self._rest[:at] + tail)
            if tree is not None:
                self._is_repaired = bool(tail)
                self._accept(
                    tree, at, is_open=bool(tree.body) and isinstance(tree.body[-1], Compound)
                )
                return True
            at -= 1
        return False

    def _read_margin(self) -> bool:
        """Close the last statement if the line that is being written begins another one."""
        if not self.is_open or self._is_repaired or self._read_to != self._tried:
            return False
        if not begins_statement(self._rest[self._tried :]):
            return False
        self._close(self.runnable, is_open=False)
        return True

    def _parse(self, text: str) -> ast.Module | None:
        if _LONE_RETURN.search(text):  # Python counts it as a line
            return None
        try:
            return parse_quietly("\n" * self._line + text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def _accept(self, tree: ast.Module, at: int, *, is_open: bool) -> None:
        """Take the statements in the rest of the code up to `at`."""
        self._read_to = at
        self._close([*self.closed, *tree.body], is_open=is_open)

    def _close(self, runnable: list[ast.stmt], *, is_open: bool) -> None:
        """Cut off what is closed of the rest of the code."""
        self.runnable, self.is_open = runnable, is_open
        self._is_over = self._is_over or len(runnable) > MAX_STATEMENTS
        known = len(self.closed)
        self.closed = runnable[:-1] if is_open else runnable
        if len(self.closed) > known:
            end = self.closed[-1].end_lineno
            assert end is not None
            at = _start_of_line(self._rest, end - self._line)
            self._rest, self._line = self._rest[at:], end
            self._tried, self._read_to = self._tried - at, self._read_to - at


def _start_of_line(text: str, number: int) -> int:
    at = 0
    for _ in range(number):
        at = text.find("\n", at) + 1
        if at == 0:
            return len(text)
    return at


def begins_statement(line: str) -> bool:
    """Whether an unfinished line at the margin surely begins another statement."""
    if line[:1] in ("", " ", "\t", "#", "\r", "\f", "\\"):
        return False
    word = _WORD.match(line)
    assert word is not None
    if word.end() == len(line):  # it may still become one of these
        return not any(name.startswith(word[0]) for name in CONTINUES)
    return word[0] not in CONTINUES


def _holds_code(lines: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines.split("\n"))


def _repair(text: str) -> str:
    """Return what closes the blocks that are open after whole lines."""
    lines = [
        line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return ""
    last = lines[-1].rstrip()
    tail = ""
    if last.endswith(":") or _HEAD.fullmatch(last):
        tail = f"{_indent(last)} pass\n"
    limit = len(lines[-1]) + 1
    for line in reversed(lines):
        indent = _indent(line)
        if len(indent) < limit:
            limit = len(indent)
            if _TRY.fullmatch(line):
                tail += f"{indent}finally: pass\n"
    return tail


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
