"""The code of a reply that is still being written. Pure.

    stream = JsonCode()           # pieces of the JSON arguments of one tool call
    stream = FencedCode(labels)   # or pieces of a text with fenced blocks
    added = stream.feed(piece)    # the code that has become certain, often ""
    stream.code                   # all of it so far
    stream.close()                # nothing follows; returns what only the end makes certain

`code` only ever grows, never ends in a part of a character, and costs linear time in all. It is a prefix of
the program that `replies.extract_code` finds, apart from one line break at the end of fenced code.
"""

from __future__ import annotations

import re

from langchain_ptc.replies.markdown import PYTHON_LABELS, OpenBlock, Scan

CODE_KEYS = frozenset({"code", "program", "source"})
"""Names of the argument that holds the program."""

_STRUCTURE = re.compile(r'[^"{}\[\],:]*+')
_LITERAL = re.compile(r'[^"\\]*+')
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[nrtbf\"\\/])"
    r"|u(?P<high>[dD][89abAB][0-9a-fA-F]{2})(?:\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2}))?"
    r"|u(?P<unit>[0-9a-fA-F]{4}))"
)
_UNFINISHED = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?"
)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class CodeStream:
    """The code that pieces of a reply add up to."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    @property
    def code(self) -> str:
        """The code so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return "".join(self._parts)

    def feed(self, text: str) -> str:
        """Read the next piece; return the code that it adds."""
        added = self._read(text)
        if added:
            self._parts.append(added)
        return added

    def close(self) -> str:
        """Read the end; return the code that it adds."""
        added = self._end()
        if added:
            self._parts.append(added)
        return added

    def _read(self, text: str) -> str:
        raise NotImplementedError

    def _end(self) -> str:
        return ""


class JsonCode(CodeStream):
    """The string under the first of `CODE_KEYS` in a JSON object.

    Keys in nested objects and in other strings do not count. Raw line breaks are accepted, as models write
    them. At an escape that JSON does not have the code ends: no such call is run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rest = ""
        """What is left to read: the beginning of an escape."""
        self._depth = 0
        self._is_string = self._is_over = False
        self._is_key = False
        """Whether the string that begins next, or has begun, is a key of the outer object."""
        self._key: list[str] = []

    @property
    def _is_code(self) -> bool:
        return self._depth == 1 and not self._is_key and "".join(self._key) in CODE_KEYS

    def _read(self, text: str) -> str:
        text, self._rest = self._rest + text, ""
        added: list[str] = []
        at = 0
        while at < len(text) and not self._is_over:
            if self._is_string:
                at = self._read_string(text, at, added)
            else:
                at = self._read_structure(text, at)
        return "".join(added)

    def _read_structure(self, text: str, at: int) -> int:
        found = _STRUCTURE.match(text, at)
        assert found is not None
        at = found.end()
        if at == len(text):
            return at
        match text[at]:
            case '"':
                self._is_string = True
                if self._is_key:
                    self._key.clear()
            case "{" | "[":
                self._depth += 1
                self._is_key = text[at] == "{" and self._depth == 1
            case "}" | "]":
                self._depth -= 1
                self._is_over = self._depth <= 0
            case ":":
                self._is_key = False
            case _:
                self._is_key = self._depth == 1
        return at + 1

    def _read_string(self, text: str, at: int, added: list[str]) -> int:
        into = self._key if self._is_key else added if self._is_code else None
        while at < len(text):
            found = _LITERAL.match(text, at)
            assert found is not None
            if into is not None and found.end() > at:
                into.append(found[0])
            at = found.end()
            if text.startswith('"', at):
                self._is_string, self._is_over = False, into is added
                return at + 1
            if at < len(text):
                if _UNFINISHED.fullmatch(text, at):
                    self._rest = text[at:]
                    break
                escape = _ESCAPE.match(text, at)
                if escape is None:
                    self._is_over = True
                    break
                if into is not None:
                    into.append(_decode(escape))
                at = escape.end()
        return len(text)


def _decode(escape: re.Match[str]) -> str:
    if simple := escape["simple"]:
        return _SIMPLE.get(simple, simple)
    unit = int(escape["high"] or escape["unit"], 16)
    if escape["low"]:
        unit = 0x10000 + ((unit - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00
    return chr(unit)


class FencedCode(CodeStream):
    """The blocks of a text that are labelled as Python, joined by an empty line.

    A line counts when it is whole: it may be the closing fence. Empty lines count when more code follows.

    Args:
        labels: Labels of such blocks.
    """

    def __init__(self, labels: frozenset[str] = PYTHON_LABELS) -> None:
        super().__init__()
        self._labels = labels
        self._scan = Scan(labels)
        self._line: list[str] = []
        """Pieces of the line that is being written."""
        self._block: OpenBlock | None = None
        self._blocks = self._taken = 0
        """How many blocks are closed, and how many lines of the open one are read."""
        self._gap: str | None = None
        """Empty lines of the open block before the line that follows; None before its first line."""
        self._has_code = self._is_over = False

    def _read(self, text: str) -> str:
        first, *others = text.split("\n")
        self._line.append(first)
        added: list[str] = []
        for piece in others:
            added += self._read_line("".join(self._line) + "\n")
            self._line = [piece]
        return "".join(added)

    def _end(self) -> str:
        line = "".join(self._line)
        return "".join(self._read_line(line)) if line else ""

    def _read_line(self, line: str) -> list[str]:
        if self._is_over:
            return []
        self._scan.add_line(line)
        block, blocks = self._scan.open_block, len(self._scan.blocks)
        closed = block is not self._block and self._block is not None
        # The end of a reasoning whose beginning is missing: what stood before was a draft.
        self._is_over = blocks != self._blocks + closed
        if self._is_over:
            return []
        if block is not self._block:
            self._block, self._taken, self._gap = block, 0, None
        self._blocks = blocks
        if block is None or block.label not in self._labels:
            return []
        added: list[str] = []
        for text in block.lines[self._taken :]:
            if not text:
                self._gap = None if self._gap is None else self._gap + "\n"
                continue
            if self._gap is None:
                self._gap = "\n" if self._has_code else ""
            added.append(f"{self._gap}{text}\n")
            self._gap, self._has_code = "", True
        self._taken = len(block.lines)
        return added
