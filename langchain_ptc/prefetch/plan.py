"""Which parts of a program to run ahead of it, from what is written of it and from where it is. Pure.

    plan = Plan({"crm.get_customer": True, "pay": False})   # may the tool be called early?
    plan.feed(added)            # the next piece of the code; True if there is more to run
    plan.close(added)           # the last piece: the code is whole
    part = plan.rehearsal()     # its beginning, as it stands; None if there is nothing new in it
    part = plan.slice()         # what depends on no missing result; None likewise
    plan.begin(part)            # it is run: it is not given again
    part.source                 # the text to run, as an ordinary program
    call.line in part.ahead     # this call gets None at once, instead of its result

    plan.reach(line)            # the program has made a call that nobody has made before, from this line
    plan.answer(line)           # it has the result of one
    plan.reach(line, part)      # the same of a rehearsal, by the lines of its text
    plan.answer(line, part)
    plan.reach_end(part)        # a rehearsal has come to its end

A rehearsal waits for all of its calls. A slice has the statements before the one that was reached as they stand:
their results are all there. Lines that name no tool, and end no block that does, are read with the next that does:
they add no call. A call from the lines of a function does not say which statement was reached: it is the one after the last that has
its result. Statements are told apart by their place in the code, which more code does not change.

Nothing raises, whatever the code is: of a program that is too long, too deep or too much work, there is no part.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from langchain_ptc.prefetch.mentions import (
    OPAQUE,
    PAUSES,
    WAITS,
    WRITES,
    Mentions,
    ToolNames,
    TooMuch,
)
from langchain_ptc.prefetch.slicing import Sliced, Slicer
from langchain_ptc.prefetch.statements import (
    CONTINUES,
    MAIN_NAMES,
    Compound,
    Flat,
    Statements,
    begins_statement,
    unwrap,
)
from langchain_ptc.sandbox.language.scopes import parse

_Place = tuple[int, int]  # line and column of a statement in the code
_WORD = re.compile(r"\w+")
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a program, to be run by itself."""

    source: str
    ahead: frozenset[int]  # lines whose calls do not wait for their results: each gets None at once
    is_async: bool  # it calls tools with `await`
    is_rehearsal: bool
    spans: tuple[tuple[int, int], ...]  # the first and the last line of each of its statements
    places: tuple[_Place, ...]  # where in the code each of them is
    is_open: bool = False  # its last statement is still being written

    def place_of(self, line: int) -> _Place | None:
        """Return where in the code the statement is that a line of the text is in."""
        for (first, last), place in zip(self.spans, self.places, strict=True):
            if first <= line <= last:
                return place
        return None


class Plan:
    """What to run ahead of one program; `tools`: qualified name -> whether it may be called early."""

    def __init__(self, tools: Mapping[str, bool]) -> None:
        self._tools = ToolNames(tools)
        self._written = Statements()
        self._unread: list[str] = []  # pieces of the code that are not in `_written` yet
        self._line: list[str] = []  # those of the line that is being written
        self._indent = 0  # a line of code with less ends a block that names a tool
        self._flat = Flat([], [])
        self.assumes = False
        """Whether a function was taken to be called as soon as it was written; see `is_disproved`."""
        self._mentions = Mentions([], self._tools)
        self._names = self._mentions.names  # what a line names that may call a tool
        self._last_call, self._end, self._has_carriers = -1, 0, False
        """Which statement that is ready may call a tool last; how many come before a call that writes."""
        self._places: dict[_Place, int] = {}  # which of the statements is at each place
        self._reached: tuple[_Place, int] | None = None
        """The statement before which all results are there; or 1 after it."""
        self._answered: _Place | None = None  # the last statement whose results are there
        self._begun: set[str] = set()  # the text of every part that is run
        self._rehearsal: tuple[object, Part | None] = None, None
        self._sliced: tuple[object, tuple[Part | None, bool]] = None, (None, False)
        """The last of each, with what it was made of."""

    @property
    def is_async(self) -> bool:
        """Whether what is written calls tools with `await`."""
        return self._mentions.is_async

    def feed(self, added: str) -> bool:
        """Take the next piece of the code; return whether there is more to run."""
        self._unread.append(added)
        if not self._calls_in(added):
            return False
        text = "".join(self._unread)
        self._unread.clear()
        return self._written.feed(text) and self._read(is_whole=False)

    def close(self, added: str = "") -> None:
        """Take the last piece of the code: what follows is told of the program itself, from its first line."""
        self._written.close("".join((*self._unread, added)))
        self._reached = self._answered = None
        self._read(is_whole=True)

    @property
    def is_disproved(self) -> bool:
        """Whether the whole code may pause before it calls a function that was taken to be called at once."""
        if not self.assumes:
            return False
        pauses = is_kept = False
        for node in self._flat.statements:
            if pauses and node in self._flat.mains:
                return True
            if isinstance(node, _DEFINITIONS):
                is_kept = is_kept or node.name in MAIN_NAMES
            else:
                pauses = pauses or bool(self._mentions.of(node) & PAUSES)
        return not self._flat.statements or (pauses and is_kept)

    def rehearsal(self) -> Part | None:
        """Return the statements that are there, up to the last that may call a tool."""
        body = self._flat.ready[: self._last_call + 1]
        if not body:
            return None
        key = (*self._key(body[-1]), -1)
        if key != self._rehearsal[0]:
            self._rehearsal = key, self._part(_render(body), body)
        return self._unless_begun(self._rehearsal[1])

    def slice(self) -> Part | None:
        """Return what depends on no missing result, if it makes a call."""
        return self._unless_begun(self._newest_slice()[0])

    @property
    def needs_rehearsal(self) -> bool:
        """Whether a rehearsal may make a call that the slice does not."""
        return not self._newest_slice()[1]

    def _newest_slice(self) -> tuple[Part | None, bool]:
        """Return the slice, None if it makes no new call, and whether a rehearsal makes none besides."""
        calling = [node for node in self._flat.statements if self._mentions.of(node)]
        if not calling:
            return None, False
        done = self._done()
        key = (*self._key(calling[-1]), done, self._reached)
        if key != self._sliced[0]:
            self._sliced = key, self._slice(done)
        return self._sliced[1]

    def _unless_begun(self, part: Part | None) -> Part | None:
        return None if part is None or part.source in self._begun else part

    def _key(self, node: ast.stmt) -> tuple[object, ...]:
        """Return what is the same for the same statements up to one: a code does not change at its beginning."""
        return (
            *_place(node),
            node.end_lineno,
            node.end_col_offset,
            self._is_open,
            self.is_async,
        )

    def _slice(self, done: int) -> tuple[Part | None, bool]:
        statements = self._flat.statements
        try:
            sliced = Slicer(statements, self._mentions).slice(done)
        except (TooMuch, RecursionError):
            return None, False
        left = self._mentions.named if sliced is None else sliced.left
        makes_all = self._makes_all(left, done)
        if sliced is None or self._is_made_already(sliced, done):
            return None, makes_all
        rendered = _render(sliced.body, sliced.ahead)
        if rendered is None or not rendered.ahead:
            return None, False
        body = [statements[place] for place in sliced.places]
        return self._part(rendered, body, is_rehearsal=False), makes_all

    def _makes_all(self, left: Collection[ast.AST], done: int) -> bool:
        """Whether all calls that can be made now, of an open loop too, are made by a slice that leaves some nodes."""
        if self._has_carriers:
            return False
        statements = self._flat.statements[done : self._end]
        calling = (node for node in statements if self._mentions.of(node))
        return not any(inner in left for node in calling for inner in ast.walk(node))

    def _is_made_already(self, sliced: Sliced, done: int) -> bool:
        """Whether a slice makes no call but those that whoever has reached its statement makes at once."""
        if self._reached is None or self._reached[1]:
            return False
        places = {
            place
            for place, node in zip(sliced.places, sliced.body, strict=True)
            if not (isinstance(node, ast.Try) and isinstance(node.body[0], _DEFINITIONS))
            and not sliced.ahead.isdisjoint(ast.walk(node))
        }
        if places != {done}:
            return False
        if len(sliced.ahead) == 1:  # and a function that calls one has it too
            parts = [inner for node in sliced.body for inner in ast.walk(node)]
            loops = (part for part in parts if isinstance(part, ast.For))
            return not any(inner in sliced.ahead for loop in loops for inner in ast.walk(loop))
        node = self._flat.statements[done]
        return isinstance(node, ast.Assign | ast.Expr) and self._is_one_call(node.value)

    def _is_one_call(self, value: ast.expr | None) -> bool:
        """Whether an expression is one call of a tool, or one that makes all of its calls together."""
        value = value.value if isinstance(value, ast.Await) else value
        if not isinstance(value, ast.Call):
            return False
        name = getattr(value.func, "attr", getattr(value.func, "id", ""))
        return name == "gather" or self._mentions.path(value.func) is not None

    def begin(self, part: Part) -> None:
        """Note that a part is run."""
        self._begun.add(part.source)

    def take_back(self, part: Part) -> None:
        """Note that a part was not run after all."""
        self._begun.discard(part.source)

    def reach(self, line: int, part: Part | None = None) -> None:
        """Note that the program, or a rehearsal, has made a call that nobody has made before."""
        place = self._place_of(line) if part is None else part.place_of(line)
        if place is None:
            return
        if not self._is_definition(place):
            self._reached = place, 0
        elif self._answered is not None:
            self._reached = self._answered, 1

    def answer(self, line: int, part: Part | None = None) -> None:
        """Note that the program, or a rehearsal, has the result of a call."""
        place = self._place_of(line) if part is None else part.place_of(line)
        if place is None or self._is_definition(place):
            return
        last = -1 if self._answered is None else self._places.get(self._answered, -1)
        if self._places.get(place, -1) > last:
            self._answered = place

    def reach_end(self, part: Part) -> None:
        """Note that a rehearsal has come to its end."""
        if part.places:
            self._reached = part.places[-1], int(not part.is_open)

    # --- what is written ------------------------------------------------------------------------

    def _calls_in(self, added: str) -> bool:
        """Whether a piece may add a call, or end a statement that has one."""
        self._line.append(added)
        if "\n" not in added:
            if not self._indent or not begins_statement("".join(self._line)):
                return False
            self._indent = 0
            return True
        *lines, rest = "".join(self._line).split("\n")
        self._line = [rest]
        found = self._written.is_behind
        for line in lines:
            code = line.lstrip()
            if not code or code.startswith("#"):
                continue
            indent, words = len(line) - len(code), _WORD.findall(code)
            calls = not self._names.isdisjoint(words)
            if calls or indent < self._indent:
                # The next line of a block that goes on ends the statement.
                self._indent = indent + (words[:1] != [] and words[0] in CONTINUES)
                found = True
        return found

    def _read(self, *, is_whole: bool) -> bool:
        written = self._written
        try:
            flat = unwrap(written.runnable, is_open=written.is_open, is_whole=is_whole)
            mentions = Mentions(flat.statements, self._tools)
        except (TooMuch, RecursionError):
            flat, mentions = Flat([], []), Mentions([], self._tools)
        self._flat, self._mentions = flat, mentions
        self.assumes |= flat.assumes
        self._last_call, self._end, carriers = self._find_calls()
        self._names, self._has_carriers = mentions.names | carriers, bool(carriers)
        self._places = {_place(node): number for number, node in enumerate(flat.statements)}
        return True

    def _find_calls(self) -> tuple[int, int, set[str]]:
        """Return which statement that is ready may call a tool last, -1 if none does; where it ends; carriers.

        Values of carriers may call a tool: objects of a class of the program, functions in lists.
        """
        last, end = -1, len(self._flat.statements)
        carriers: set[str] = set()
        for place, node in enumerate(self._flat.statements[: len(self._flat.ready)]):
            if isinstance(node, _DEFINITIONS):
                continue
            mentioned = self._mentions.of(node) & ~PAUSES
            if mentioned & ~WAITS == WRITES and not isinstance(node, Compound):
                end = place
                break  # with it a rehearsal ends
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if carriers else ()
            if mentioned or not carriers.isdisjoint(names):
                last = place
            if mentioned & OPAQUE:
                bound = (n for n in ast.walk(node) if isinstance(n, ast.Name))
                carriers.update(n.id for n in bound if isinstance(n.ctx, ast.Store))
        return last, end, carriers

    def _part(
        self, rendered: _Rendered | None, body: Sequence[ast.stmt], *, is_rehearsal: bool = True
    ) -> Part | None:
        if rendered is None:
            return None
        return Part(
            source=rendered.source,
            ahead=rendered.ahead,
            is_async=self._mentions.is_async,
            is_rehearsal=is_rehearsal,
            spans=rendered.spans,
            places=tuple(map(_place, body)),
            is_open=self._is_open and len(body) >= len(self._flat.statements),
        )

    # --- where it is ----------------------------------------------------------------------------

    def _place_of(self, line: int) -> _Place | None:
        """Return the place of the statement that a line of the code is in."""
        for node in self._flat.statements:
            if node.lineno <= line <= (node.end_lineno or node.lineno):
                return _place(node)
        return None

    def _is_definition(self, place: _Place) -> bool:
        number = self._places.get(place)
        return number is not None and isinstance(self._flat.statements[number], _DEFINITIONS)

    def _done(self) -> int:
        """Return how many statements have all of their results."""
        if self._reached is None:
            return 0
        place, after = self._reached
        return min(self._places.get(place, 0) + after, len(self._flat.statements) - self._is_open)

    @property
    def _is_open(self) -> bool:
        """Whether the last statement is still being written."""
        return self._flat.ready is not self._flat.statements


def _place(node: ast.stmt) -> _Place:
    return node.lineno, node.col_offset


# --- the text of statements -------------------------------------------------------------------------

_MAX_SOURCE_CHARS = 60_000  # length of the text of a part


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The text of statements."""

    source: str
    spans: tuple[tuple[int, int], ...]  # the first and the last line of each
    ahead: frozenset[int] = frozenset()  # the lines of those whose calls do not wait


def _render(body: list[ast.stmt], ahead: frozenset[ast.stmt] = frozenset()) -> _Rendered | None:
    """Write statements as text, None if that cannot be done; calls of those in `ahead` do not wait."""
    try:
        source = ast.unparse(ast.Module(body, [])) + "\n"
        if len(source) > _MAX_SOURCE_CHARS:
            return None
        again = parse(source).body
        pairs = list(_pairs(body, again))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    lines = {
        line
        for node, written in pairs
        if node in ahead
        for line in range(written.lineno, (written.end_lineno or written.lineno) + 1)
    }
    spans = tuple((node.lineno, node.end_lineno or node.lineno) for node in again)
    return _Rendered(source, spans, frozenset(lines))


def _pairs(body: Sequence[ast.AST], again: Sequence[ast.AST]) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Yield each statement with what it became in the text; `ValueError` if it became another number of statements."""
    for node, written in zip(body, again, strict=True):
        if isinstance(written, ast.stmt):
            yield node, written
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            ours, theirs = getattr(node, name, None), getattr(written, name, None)
            if isinstance(ours, list) and isinstance(theirs, list):
                yield from _pairs(ours, theirs)
