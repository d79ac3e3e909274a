"""The code of a reply that is still being written. Pure.

    reader = ChunkReader("run_code")           # one for each run of a model
    added = reader.read_chunk(chunk)           # in `on_llm_new_token`: `chunk.message`
    added = reader.read_event(event)           # in `on_stream_event`; a run has the one or the other
    added = reader.close()                     # the message is whole
    reader.call_id, reader.code, reader.is_void

Only the first call of a message is read: in what order the message's other calls run is not known before. So
a second call, or a first one of another tool, makes the reader void: what it has read is to be forgotten.

    stream = JsonCode()           # pieces of the JSON arguments of one tool call
    stream = FencedCode(labels)   # or pieces of a text with fenced blocks
    added = stream.feed(piece)    # the code that has become certain, often ""
    stream.code                   # all of it so far
    stream.close()                # nothing follows; returns what only the end makes certain

`code` only ever grows, never ends in a part of a character, and costs linear time in all. It is a prefix of
the program that `replies.extract_code` finds, apart from one line break at the end of fenced code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessageChunk

from langchain_ptc.replies import PYTHON_LABELS, OpenBlock, Scan

if TYPE_CHECKING:
    from langchain_ptc.replies import Protocol

CODE_KEYS = frozenset({"code", "program", "source"})  # names of the argument that holds the program

_STRUCTURE = re.compile(r'[^"{}\[\],:]*+')
_LITERAL = re.compile(r'[^"\\]*+')
_ESCAPE = re.compile(
    r"\\(?:[nrtbf\"\\/]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
)
_UNFINISHED = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?"
)


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
        return self._add(self._read(text))

    def close(self) -> str:
        """Read the end; return the code that it adds."""
        return self._add(self._end())

    def _add(self, added: str) -> str:
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
        self._rest = ""  # what is left to read: the beginning of an escape
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
                    into.append(json.loads(f'"{escape[0]}"'))
                at = escape.end()
        return len(text)


class FencedCode(CodeStream):
    """The blocks of a text that have one of some labels, those of Python, joined by an empty line.

    A line counts when it is whole: it may be the closing fence. Empty lines count when more code follows.
    """

    def __init__(self, labels: frozenset[str] = PYTHON_LABELS) -> None:
        super().__init__()
        self._labels = labels
        self._scan = Scan(labels)
        self._line: list[str] = []  # pieces of the line that is being written
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


_CALLS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})
"""Types of the blocks that are calls of our tools, and not of the provider's own."""


class ChunkReader:
    """Reads the code of one message while it is streamed.

    Args:
        tool_name: Name of the tool that runs code.
        protocol: `tool` reads tool calls only, `text` and `auto` fenced blocks too.

    Attributes:
        call_id: Id of the tool call that the code is in; None as long as there is none, and for code in text.
        is_void: Whether what was read is no beginning of the message's program.
    """

    def __init__(self, tool_name: str, *, protocol: Protocol = "tool") -> None:
        self._tool_name = tool_name
        self._text: CodeStream | None = None
        if protocol != "tool":
            self._text = FencedCode(PYTHON_LABELS | {tool_name.lower()})
        self._arguments: CodeStream | None = None
        self._index: object = None
        self.call_id: str | None = None
        self.is_void = False

    @property
    def code(self) -> str:
        """The code so far; empty if the reader is void."""
        stream = self._arguments or self._text
        return "" if stream is None or self.is_void else stream.code

    def read_chunk(self, chunk: AIMessageChunk) -> str:
        """Read the next chunk of a message; return the code that it adds."""
        added = self._read_text(str(chunk.text))
        for call in chunk.tool_call_chunks:
            self._read_head(call.get("index"), call.get("id"), call.get("name"))
            added += self._read_arguments(call.get("args"))
        return "" if self.is_void else added

    def read_event(self, event: Mapping[str, object]) -> str:
        """Read the next event of a message; return the code that it adds."""
        block, delta = event.get("content"), event.get("delta")
        kind, index, added = event.get("event"), event.get("index"), ""
        if kind == "content-block-start" and isinstance(block, Mapping):
            if block.get("type") in _CALLS:
                self._read_head(index, block.get("id"), block.get("name"))
            if block.get("type") == "tool_call_chunk":
                added = self._read_arguments(block.get("args"))
        elif kind == "content-block-delta" and isinstance(delta, Mapping):
            if delta.get("type") == "text-delta":
                added = self._read_text(delta.get("text") or "")
            elif delta.get("type") == "tool-call-delta" and index == self._index:
                added = self._read_arguments(delta.get("args"))
        return "" if self.is_void else added

    def close(self) -> str:
        """Read the end of the message; return the code that it adds."""
        stream = self._arguments or self._text
        return "" if stream is None or self.is_void else stream.close()

    def _read_text(self, text: str) -> str:
        if self._text is None or self._arguments is not None or not text:
            return ""
        return self._text.feed(text)

    def _read_head(self, index: object, call_id: str | None, name: str | None) -> None:
        """Read what says which call follows: providers send id and name once, or with each piece."""
        if self._arguments is None:
            has_code = self._text is not None and self._text.code
            self.is_void = self.is_void or bool(has_code) or name != self._tool_name
            self._arguments, self._index, self.call_id = JsonCode(), index, call_id
        elif index is None or index != self._index or (call_id and call_id != self.call_id):
            self.is_void = True

    def _read_arguments(self, pieces: str | None) -> str:
        if self._arguments is None or self.is_void or not pieces:
            return ""
        return self._arguments.feed(pieces)
