"""Fenced code blocks and reasoning in a model's text.

Fences follow CommonMark 0.31 (https://spec.commonmark.org/0.31.2/#fenced-code-blocks): CRLF, indentation,
lists and quotations, fences of more than three characters, a block that the end of the text closes. Two
more rules apply where the content may be Python: a fence inside a triple-quoted string belongs to the
string, and a line of Python never starts with a backtick, so such a line always ends the block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PYTHON_LABELS = frozenset({"python", "py", "python3", "ipython", "tool_code", "repl"})
"""Info strings of blocks that contain a program."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_OPENING = re.compile(
    r"(?P<prefix>(?:[ \t]|>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))*)"
    r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)$"
)
_OPENING_BEHIND_TEXT = re.compile(
    r".*[\s:](?P<fence>`{3,})(?P<info>python3?|py|tool_code)[ \t]*$", re.IGNORECASE
)
_CLOSING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<rest>.*)$")
_QUOTED = re.compile(r"[ \t]{0,3}>[ ]?")
_LABEL = re.compile(r"(?<=py)[\d.]*+(?=[:,{]|\Z)|(?<=python)[\d.]*+(?=[:,{]|\Z)|[:,{].*")
"""What may follow the name of a language: its version, the name of a file, attributes."""
_INFO_WORD = re.compile(r"[\w+#.{}-]+$")
_STRING_TOKEN = re.compile(r"\\.|#|\"\"\"|'''|\"|'", re.DOTALL)

_MAX_UNCLOSED_STRINGS = 20
"""Blocks that are read again because a string in them is not terminated; bounds the work."""

_REASONING = r"think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad"
_REASONING_BEGIN = re.compile(
    rf"(?<!`)(?:<(?:\w+:)?(?P<tag>{_REASONING})(?:\s[^<>\n]*)?>|\[THINK\]|◁think▷"
    r"|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|channel\|>analysis<\|message\|>"
    r"|<\|channel>thought\b)",
    re.IGNORECASE,
)
_TEMPLATE_END = r"</think(?:ing)?\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>"
_REASONING_END = re.compile(
    rf"(?<!`)(?:{_TEMPLATE_END}|</(?:\w+:)?(?:{_REASONING})\s*>|<\|end\|>|<channel\|>)",
    re.IGNORECASE,
)
_UNBEGUN_END = re.compile(rf"(?<!`)(?:{_TEMPLATE_END})", re.IGNORECASE)
"""An end tag whose start tag may be missing: the chat template of the model has written that."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    label: str
    """First word of the info string in lower case; empty if there is none."""
    content: str
    """Its content, with lines ended by `\\n`, without the indentation of its fence."""
    start: int
    """Where its opening fence starts in the text."""
    end: int
    """Where the text after it starts."""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A parsed text of a model."""

    visible: str
    """The text with all reasoning replaced by spaces, so that positions stay the same."""
    blocks: tuple[Block, ...]
    """Every fenced block outside the reasoning, in order."""


def read_text(text: str, *, python_labels: frozenset[str] = PYTHON_LABELS) -> ReplyText:
    """Find the fenced blocks and the reasoning in a model's text, in linear time."""
    scan = Scan(python_labels)
    for line in _LINE.finditer(text):
        scan.add_line(line[0])
    scan.finish()
    parts, at = [], 0
    for start, end in scan.reasoning:
        parts += [text[at:start], re.sub(r"[^\n]", " ", text[start:end])]
        at = end
    return ReplyText("".join([*parts, text[at:]]), tuple(scan.blocks))


def unfence(code: str) -> str:
    """Return the program in a text that starts with a fence; any other text unchanged."""
    if not code.lstrip().startswith(("```", "~~~")):
        return code
    programs = [b.content for b in read_text(code).blocks if b.label in PYTHON_LABELS | {""}]
    return "\n\n".join(p.strip("\n") for p in programs) or code


@dataclass(slots=True)
class OpenBlock:
    """A block whose closing fence has not been read."""

    fence: str
    label: str
    start: int
    width: int
    quotes: int
    is_python: bool
    lines: list[str] = field(default_factory=list)
    string: str = ""
    """The quotes of a string that is open at the end of the last line."""
    passed: tuple[int, int, int] | None = None
    """The first fence that was read as part of that string: line, number of lines, end."""


class _Tags:
    """The places where a pattern is found in a line; reads each character once."""

    def __init__(self, pattern: re.Pattern[str], line: str) -> None:
        self._pattern = pattern
        self._line = line
        self._found = pattern.search(line)

    def after(self, at: int) -> re.Match[str] | None:
        """Return the first match that does not start before `at`, which never decreases."""
        if self._found is not None and self._found.start() < at:
            self._found = self._pattern.search(self._line, at)
        return self._found


class Scan:
    """One pass over the lines of a text, which may still be growing."""

    def __init__(self, python_labels: frozenset[str]) -> None:
        self._lines: list[tuple[int, int, str]] = []
        self._at = 0
        self._python_labels = python_labels
        self._block: OpenBlock | None = None
        self._unclosed = 0
        self.blocks: list[Block] = []
        self.reasoning: list[tuple[int, int]] = []
        self._reasoning_since: int | None = None

    @property
    def open_block(self) -> OpenBlock | None:
        """The block that the last line is in."""
        return self._block

    def add_line(self, line: str) -> None:
        """Read the next line, with its line break."""
        start = self._lines[-1][1] if self._lines else 0
        self._lines.append((start, start + len(line), line.rstrip("\r\n")))
        self._read()

    def finish(self) -> None:
        """Close what the end of the text closes."""
        while (at := self._end_of_text()) < len(self._lines):
            self._at = at
            self._read()
        if self._reasoning_since is not None:
            self.reasoning.append((self._reasoning_since, self._lines[-1][1]))

    def _read(self) -> None:
        while self._at < len(self._lines):
            self._at = self._read_line(self._at)

    def _read_line(self, at: int) -> int:
        start, _, line = self._lines[at]
        if self._block is not None:
            if self._block.string or not _UNBEGUN_END.fullmatch(line.strip()):
                return self._read_in_block(self._block, at)
            self._block = None  # a draft whose fence was not closed
        line_at = self._skip_reasoning(start, line)
        if self._reasoning_since is None:
            self._block = self._opening(line[line_at:], start + line_at)
        return at + 1

    def _skip_reasoning(self, start: int, line: str) -> int:
        """Read the tags of a line outside blocks; return where its visible part starts."""
        at = 0
        begins, ends = _Tags(_REASONING_BEGIN, line), _Tags(_UNBEGUN_END, line)
        while True:
            if self._reasoning_since is not None:
                if (found := _REASONING_END.search(line, at)) is None:
                    return len(line)
                self.reasoning.append((self._reasoning_since, start + found.end()))
                self._reasoning_since = None
            else:
                begin, found = begins.after(at), ends.after(at)
                if begin is not None and (found is None or begin.start() < found.start()):
                    self._reasoning_since, at = start + begin.start(), begin.end()
                    continue
                if found is None:
                    return at
                self.blocks.clear()
                self.reasoning[:] = [(0, start + found.end())]
            at = found.end()

    def _opening(self, line: str, start: int) -> OpenBlock | None:
        found = _OPENING.match(line) or _OPENING_BEHIND_TEXT.match(line)
        if found is None:
            return None
        prefix = found.groupdict().get("prefix") or ""
        info = found["info"].strip().strip("{}.").split()
        label = _LABEL.sub("", info[0].lower()) if info else ""
        return OpenBlock(
            fence=found["fence"],
            label=label,
            start=start + found.start("fence"),
            width=len(prefix),
            quotes=prefix.count(">"),
            is_python=label in self._python_labels or not label,
        )

    def _read_in_block(self, block: OpenBlock, at: int) -> int:
        start, end, whole = self._lines[at]
        line = _strip_prefix(whole, block)
        found = _CLOSING.match(line)
        if found is None or not found["fence"].startswith(block.fence):
            self._add(block, line)
        elif block.string:
            if block.passed is None and not found["rest"]:
                block.passed = (at, len(block.lines), end)
            self._add(block, line)
        elif not found["rest"] and (block.is_python or len(found["indent"]) <= 3):
            self._close(block, end)
        elif block.is_python and found["fence"][0] == "`":
            if _INFO_WORD.match(found["rest"]):  # the fence that closes it is missing
                self._close(block, start)
                return at
            self._close(block, start + whole.index(found["fence"]) + len(found["fence"]))
        else:
            self._add(block, line)
        return at + 1

    def _add(self, block: OpenBlock, line: str) -> None:
        block.lines.append(line)
        if block.is_python and self._unclosed < _MAX_UNCLOSED_STRINGS:
            block.string = _string_open_after(line, block.string)

    def _close(self, block: OpenBlock, end: int) -> None:
        content = "".join(f"{line}\n" for line in block.lines)
        self.blocks.append(Block(block.label, content, block.start, end))
        self._block = None

    def _end_of_text(self) -> int:
        """Close the open block; return the line to continue with."""
        block = self._block
        if block is None:
            return len(self._lines)
        if (
            block.string and block.passed is not None
        ):  # the string is not terminated: the fence counts
            at, length, end = block.passed
            self._unclosed += 1
            del block.lines[length:]
            self._close(block, end)
            return at + 1
        self._close(block, self._lines[-1][1])
        return len(self._lines)


def _strip_prefix(line: str, block: OpenBlock) -> str:
    """Remove what the container of a block puts before each of its lines."""
    if block.quotes:
        at = 0
        for _ in range(block.quotes):
            if (found := _QUOTED.match(line, at)) is None:
                break
            at = found.end()
        return line[at:]
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, block.width) :]


def _string_open_after(line: str, string: str) -> str:
    """Return the triple quotes of the string that is open at the end of a line of Python."""
    for quote in (tokens := _quotes(line)):
        if string:
            string = "" if quote == string else string
        elif quote == "#":
            break
        elif len(quote) == 3:
            string = quote
        else:  # a string on one line, which may contain other quotes
            for closing in tokens:
                if closing == quote or (len(closing) == 3 and closing[0] == quote):
                    break
    return string


def _quotes(line: str) -> Iterator[str]:
    return (m[0] for m in _STRING_TOKEN.finditer(line) if not m[0].startswith("\\"))
