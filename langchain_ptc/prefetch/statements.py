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

    flat = unwrap(statements.runnable, is_open=statements.is_open, is_whole=False)
    flat.statements      # all that is known of it, as one list of statements that run one after the other
    flat.ready           # what of it can run now: the same, but for the last, if it is still being written

Models put programs into `async def main():` and `try:`, and calls into the heads of loops. What counts for
calls that are made early is what runs next: the body of a function without parameters is taken to where it is
called, that of `main` before it is, a `try` as its body, and what a loop goes through as a statement of its own.
New nodes have the place in the code of those that they stand for. An open loop is never ready: its end may
still come.

The nodes are shared: do not change them.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_ptc.sandbox.language.scopes import MAX_CHARS, parse_quietly

MAX_STATEMENTS = 300  # how many statements at the margin are known
PARSES = 25
"""How often, at most, each character is parsed: a long open statement is not parsed at each of its lines."""
_FREE_CHARS = 10_000  # characters that are parsed besides, at the beginning of a code
_MAX_TRIES = 8  # ends of lines that are tried after one piece

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
        self._rest = ""  # the code after the closed statements
        self._line = 0  # how many lines are before it
        self._tried = 0  # the end of the last of its lines that was looked at
        self._read_to = 0  # the end of the lines that `runnable` holds
        self._is_repaired = False  # whether these parse only with something added
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


# --- without what is wrapped around them ------------------------------------------------------------

MAIN_NAMES = frozenset({"main", "_main", "amain", "run", "run_program", "program", "solve"})
"""Functions that are taken to be called as soon as they are written. Before others, the program may pause."""
_SCOPED = frozenset({ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom})
"""With one of these, the body of a function means another thing elsewhere."""
_RUNNERS = frozenset({"run", "run_until_complete"})


@dataclass(frozen=True, slots=True)
class Flat:
    """A program without its wrappings."""

    statements: list[ast.stmt]
    ready: list[ast.stmt]
    assumes: bool = False  # whether a function of `MAIN_NAMES` stands in it that is not called yet
    mains: frozenset[ast.stmt] = frozenset()
    """The first statements of those that stand where they are called."""


def unwrap(body: Sequence[ast.stmt], *, is_open: bool, is_whole: bool) -> Flat:
    """Unwrap a program: its last statement may still be written (`is_open`), or no more follow (`is_whole`)."""
    unwrapper = _Unwrapper(is_whole=is_whole)
    statements, is_open = unwrapper.flatten(body, is_open=is_open)
    ready = [*statements[:-1], *_trim(statements[-1])] if is_open else statements
    return Flat(statements, ready, unwrapper.assumes, frozenset(unwrapper.mains))


class _Unwrapper:
    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self.assumes = False
        self.mains: set[ast.stmt] = set()

    def flatten(self, body: Sequence[ast.stmt], *, is_open: bool) -> tuple[list[ast.stmt], bool]:
        """Return the statements, and whether the last of them is open."""
        found: list[ast.stmt] = []
        for place, node in enumerate(body):
            opens = is_open and place == len(body) - 1
            if _may_stand_inline(node):
                rest, opens = self._splice(node, body[place + 1 :], is_open=is_open)
                return [*found, *rest], opens
            if (blocks := _blocks_of(node, opens=opens)) is not None:
                opens_last = False
                for block, opens_block in blocks:
                    statements, opens_last = self.flatten(block, is_open=opens_block)
                    found += statements
                if opens:
                    return found, opens_last
            elif isinstance(node, ast.For) and _calls(node.iter):
                found += _split(node)
            else:
                found.append(node)
        return found, is_open

    def _splice(
        self, node: ast.stmt, rest: Sequence[ast.stmt], *, is_open: bool
    ) -> tuple[list[ast.stmt], bool]:
        """Return a function and what follows it, with its body where it is called, if that is one place."""
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_main = node.name in MAIN_NAMES
        if is_open and not rest:
            self.assumes |= is_main
            return self.flatten(node.body, is_open=True) if is_main else ([node], True)
        after, opens = self.flatten(rest, is_open=is_open)
        places = [place for place, other in enumerate(after) for _ in _reads(other, node.name)]
        if not places and is_main and not self._is_whole:  # after what is now incomplete
            self.assumes = True
            body, _ = self.flatten(node.body, is_open=False)
            return [*(after[:-1] if opens else after), *body], False
        if len(places) != 1 or not _is_simple(call := after[places[0]]):
            return [node, *after], opens
        body, _ = self.flatten(node.body, is_open=False)
        before, after = after[: places[0]], after[places[0] + 1 :]
        last = body[-1] if body else None
        if isinstance(last, ast.Return) and sum(map(_count_returns, body)) == 1:
            body[-1] = _Returned(node.name, last.value).visit(copy.deepcopy(call))
        elif not (isinstance(call, ast.Expr) and _only_calls(call.value, node.name)):
            after = []  # what follows needs its value
        if is_main:
            self.mains.update(body[:1])
        return [*before, *body, *after], opens and bool(after)


class _Returned(ast.NodeTransformer):
    """Puts what a function returns where it is called."""

    def __init__(self, name: str, value: ast.expr | None) -> None:
        self._name, self._value = name, value or ast.Constant(None)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        return self._value if node.value is self._value else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == self._name:
            return self._value
        self.generic_visit(node)
        runs = isinstance(node.func, ast.Attribute) and node.func.attr in _RUNNERS
        return self._value if runs and self._value in node.args else node


def _count_returns(node: ast.AST) -> int:
    return sum(isinstance(inner, ast.Return) for inner in ast.walk(node))


def _blocks_of(node: ast.stmt, *, opens: bool) -> list[tuple[list[ast.stmt], bool]] | None:
    """Return the blocks that a statement only wraps, and whether each is open; None if it does more."""
    if isinstance(node, ast.If) and not node.orelse and _is_name_test(node.test):
        return [(node.body, opens)]
    if not isinstance(node, ast.Try):
        return None
    if not opens and node.handlers and len(node.body) == 1 and _is_simple(node.body[0]):
        return None  # its failure may be expected
    blocks = [block for block in (node.body, node.orelse, node.finalbody) if block]
    if opens and not node.handlers and isinstance(node.finalbody[0], ast.Pass):
        blocks.pop()  # it closes a statement whose handlers are still to come
    last = blocks[-1]
    opens = opens and not (last is node.body and node.handlers)
    return [(block, opens and block is last) for block in blocks]


def _split(node: ast.For) -> list[ast.stmt]:
    name = f"_through_{node.lineno}"
    iterated = ast.copy_location(ast.Name(name, ast.Load()), node.iter)
    assigned = ast.Assign([ast.Name(name, ast.Store())], node.iter)
    loop = ast.For(node.target, iterated, node.body, node.orelse)
    ast.copy_location(assigned.targets[0], node.iter)
    return [ast.copy_location(assigned, node.iter), ast.copy_location(loop, node)]


def _may_stand_inline(node: ast.stmt) -> bool:
    """Whether a statement is a function without parameters whose body may stand at the margin."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    a = node.args
    if a.posonlyargs or a.args or a.kwonlyargs or a.vararg or a.kwarg or node.decorator_list:
        return False
    kinds = {type(inner) for inner in ast.walk(node)}
    return ast.Call in kinds and kinds.isdisjoint(_SCOPED)


def _is_name_test(test: ast.expr) -> bool:
    """Whether a condition is `__name__ == "__main__"`."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and isinstance(test.ops[0], ast.Eq)
    )


def _is_simple(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)


def _calls(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.Call | ast.Await) for inner in ast.walk(node))


def _reads(node: ast.AST, name: str) -> Iterator[ast.Name]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id == name:
            yield inner


def _only_calls(value: ast.expr, name: str) -> bool:
    """Whether an expression is `name()`, `await name()` or `asyncio.run(name())`."""
    if isinstance(value, ast.Await):
        value = value.value
    if not isinstance(value, ast.Call):
        return False
    if isinstance(value.func, ast.Name):
        return value.func.id == name
    return isinstance(value.func, ast.Attribute) and value.func.attr in _RUNNERS


def _trim(node: ast.stmt) -> list[ast.stmt]:
    """Return what can run of a statement that is still being written; nothing of a loop or a definition."""
    match node:
        case ast.If():
            body = node.body if node.orelse else _trim_block(node.body)
            made = ast.If(node.test, body or [ast.Pass()], _trim_block(node.orelse))
            return [ast.copy_location(made, node)]
        case ast.With() | ast.AsyncWith():
            body = _trim_block(node.body)
            return [ast.copy_location(type(node)(node.items, body), node)] if body else []
        case ast.Try():
            return [
                statement
                for block, opens in _blocks_of(node, opens=True) or []
                for statement in (_trim_block(block) if opens else block)
            ]
        case _:
            return [] if isinstance(node, Compound) else [node]


def _trim_block(body: list[ast.stmt]) -> list[ast.stmt]:
    return [*body[:-1], *_trim(body[-1])] if body else []
