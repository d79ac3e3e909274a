"""The statements of a program that is still being written: never one that the whole program has not."""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Sequence

import pytest

from langchain_ptc.prefetch.statements import MAX_CHARS, MAX_STATEMENTS, Statements
from tests.prefetch.corpus import modules, programs

HARD = [
    '''@dec
# comment
@dec2(
 1)
def f(a, b=[
1,2]):
    return """
x = 1
"""
if a:
    pass

# c
elif b:
    pass
else: y = 1
try:
    pass
except ValueError: z = 1
finally:
    pass
''',
    'x = 1 + \\\n 2\ny = (\n3\n)\nfor i in []: pass\nelse: z = 1\nwith a as b, \\\n c: pass\ns = """a\nb = 1\n"""\n',
    "finally_ = 3\nelsewhere = 4\nif x: y = 1; z = 2\nelse:\n  pass\nprint(x)\nx",
    "if a:\n    b\n\n\n# note\nexcepted = 1\nmatch x:\n  case 1:\n    pass\ncase = 1\nlambda: (\n1)\n",
    "x = 1; y = 2\r\nif x:\r\n\ty\r\n\r\nelse:\r\n\tz\r\nprint(1)\r\n",
    "\n\n# only\n  # comments\n\nx = '''\nelse\n''' if y else 1\n'é' ; 'ü'\nfor _ in x:\n  pass\n\\\nz\n",
    "while True:\n    try:\n        x\n    except* A:\n        y\n    else:\n        z\n(a,\nb) = c\n[\nd] = e\n",
]


def dump(nodes: Sequence[ast.stmt]) -> list[str]:
    return [ast.dump(node, include_attributes=True) for node in nodes]


def read_in_pieces(code: str, rng: random.Random, longest: int) -> Statements:
    """Feed a code, checking after each piece that what is closed is what it has in the end."""
    expected = dump(ast.parse(code).body)
    statements, at, known = Statements(), 0, 0
    while at < len(code):
        size = rng.randint(1, longest)
        has_grown = statements.feed(code[at : at + size])
        at += size
        if has_grown:
            closed = statements.closed
            assert dump(closed[known:]) == expected[known : len(closed)], code[:at]
            known = len(closed)
            assert statements.runnable[:known] == closed
            assert len(statements.runnable) - known == int(statements.is_open)
    return statements


@pytest.mark.parametrize("code", HARD)
def test_hard_programs_at_every_cut(code: str) -> None:
    """Decorators, brackets, strings, backslashes, comments, clauses: closed is exact in pieces of any size."""
    expected = dump(ast.parse(code).body)
    for seed in range(30):
        statements = read_in_pieces(code, random.Random(seed), 1 + seed // 2)
        statements.close()
        assert dump(statements.closed) == dump(statements.runnable) == expected
        assert not statements.is_open


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_corpora_at_random_cuts() -> None:
    """In hundreds of programs at ten thousands of random cuts what is closed is exact, and most of them."""
    rng = random.Random(7)
    seen = closed = total = 0
    for code in [*programs(), *modules()]:
        whole = Statements()
        whole.feed(code)
        whole.close()
        if not whole.closed or len(code) > MAX_CHARS:
            continue  # not valid Python, or of a kind that is not parsed on the host
        statements = read_in_pieces(code, rng, 12)
        seen += 1
        closed += len(statements.closed)
        total += len(whole.closed)
        statements.close()
        assert dump(statements.closed) == dump(whole.closed)
    assert seen > 300
    assert closed / total > 0.9


def after(code: str) -> tuple[list[str], int, bool]:
    """Return the statements that are known of an unfinished code, how many are closed, and `is_open`."""
    statements = Statements()
    for char in code:
        statements.feed(char)
    texts = [ast.unparse(node) for node in statements.runnable]
    return texts, len(statements.closed), statements.is_open


def test_when_a_statement_is_closed() -> None:
    """A simple statement ends with its line, a compound one where the next surely begins."""
    assert after("x = 1") == ([], 0, False)
    assert after("x = 1\n") == (["x = 1"], 1, False)
    assert after("x = (1,\n") == ([], 0, False)
    assert after("x = (1,\n2)\n") == (["x = (1, 2)"], 1, False)
    assert after("x = 1 \\\n") == ([], 0, False)
    assert after("if x: y\n") == (["if x:\n    y"], 0, True)
    assert after("if x: y\n\n  # c\n# d\n") == (["if x:\n    y"], 0, True)
    assert after("if x: y\n\nel") == (["if x:\n    y"], 0, True)
    assert after("if x: y\n\nelf") == (["if x:\n    y"], 1, False)
    assert after("if x: y\n\nelse") == (["if x:\n    y"], 0, True)
    assert after("if x: y\n\nelse_") == (["if x:\n    y"], 1, False)
    assert after("if x: y\n\n(") == (["if x:\n    y"], 1, False)
    assert after("@dec\n") == ([], 0, False)


def test_open_blocks_are_closed_by_hand() -> None:
    """Of an open statement the whole lines are runnable: with an empty body, without the end of a `try`."""
    assert after("for a in b:  # each\n    f(") == (["for a in b:\n    pass"], 0, True)
    assert after("for a in b:\n    x = [\n        1,\n") == (["for a in b:\n    pass"], 0, True)
    assert after("async def main():\n    try:\n        a()\n        b = 1") == (
        ["async def main():\n    try:\n        a()\n    finally:\n        pass"],
        0,
        True,
    )
    assert after("try:\n    try:\n") == (
        ["try:\n    try:\n        pass\n    finally:\n        pass\nfinally:\n    pass"],
        0,
        True,
    )
    assert after("try:\n    a\nexcept X:\n") == (
        ["try:\n    a\nexcept X:\n    pass"],
        0,
        True,
    )


def test_end() -> None:
    """The end closes the last statement; code that is no program adds nothing to what is known."""
    statements = Statements()
    statements.feed("for a in b:\n    c")
    assert statements.close()
    assert len(statements.closed) == 1
    statements = Statements()
    statements.feed("x = 1\ny = (")
    assert not statements.close()
    assert len(statements.closed) == 1
    assert not statements.feed(")\n")


@pytest.mark.parametrize(
    "code",
    [
        "def main():\n" + "".join(f"    x{n} = get({n})\n" for n in range(800)),
        "x = '''\n" + "a line of text\n" * 1_300,
        "x = [\n" + "1,\n" * 6_000,
        "try:\n" * 1_000,
        "(" * 19_000,
        "if x:\n" + " y\n\n" * 4_000,
        "x\n" * 9_000,
    ],
    ids=["main", "string", "list", "try", "brackets", "blank lines", "short"],
)
def test_bounded_time(code: str) -> None:
    """No code of the longest length that is read costs more than seconds, in pieces of a token."""
    statements = Statements()
    began = time.process_time()
    for at in range(0, len(code), 4):
        statements.feed(code[at : at + 4])
    statements.close()
    assert time.process_time() - began < 5


def test_too_many() -> None:
    """After that many statements no further ones are known."""
    statements = Statements()
    for _ in range(MAX_STATEMENTS * 2):
        statements.feed("x\n")
    assert MAX_STATEMENTS < len(statements.closed) < MAX_STATEMENTS + 20


def test_too_long() -> None:
    """A code that is longer than what is parsed on the host has no further statements."""
    statements = Statements()
    assert statements.feed("x = 1\n")
    assert not statements.feed("y = 1\n" * (MAX_CHARS // 6))
    assert not statements.close()
    assert len(statements.closed) == 1
