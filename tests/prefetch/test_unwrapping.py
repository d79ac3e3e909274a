"""Programs without what is wrapped around them, and what of an unfinished one can run."""

from __future__ import annotations

import ast

import pytest

from langchain_ptc.prefetch.statements import Statements, unwrap
from tests.prefetch.corpus import programs


def flat(code: str, *, is_whole: bool = False) -> tuple[str, str]:
    """Return the text of all statements, and of those that are ready."""
    statements = Statements()
    statements.feed(code)
    if is_whole:
        statements.close()
    found = unwrap(statements.runnable, is_open=statements.is_open, is_whole=is_whole)
    return text(found.statements), text(found.ready)


def text(body: list[ast.stmt]) -> str:
    return ast.unparse(ast.Module(body, []))


MAIN = (
    "import asyncio\nasync def main():\n    a = await get(1)\n    for b in a:\n        print(b)\n"
)
BODY = "import asyncio\na = await get(1)\nfor b in a:\n    print(b)"
OPEN = "import asyncio\na = await get(1)"


def test_main_that_is_being_written() -> None:
    """The body of `main` is the program, but for a loop whose end may still come."""
    assert flat(MAIN) == (BODY, OPEN)
    assert flat(MAIN + "    c = 1\n") == (BODY + "\nc = 1", BODY + "\nc = 1")
    assert flat(MAIN + "\nx") == (BODY, BODY)
    assert flat(MAIN + "def helper():\n    pass\n") == (BODY, BODY)
    assert flat(MAIN + "def helper():\n    pass\n\nx")[0] == (
        "import asyncio\n\ndef helper():\n    pass\n" + BODY.removeprefix("import asyncio\n")
    )


@pytest.mark.parametrize(
    "call",
    [
        "await main()\n",
        "asyncio.run(main())\n",
        'if __name__ == "__main__":\n    asyncio.run(main())\n',
        "try:\n    await main()\nfinally:\n    pass\n",
        "loop.run_until_complete(main())\n",
    ],
)
def test_call_of_main(call: str) -> None:
    """However `main` is called, its body stands where the call is; what follows comes after it."""
    assert flat(f"{MAIN}{call}y = 2\n", is_whole=True)[1].replace("\npass", "") == f"{BODY}\ny = 2"


@pytest.mark.parametrize("call", ["x = await main()\n", "print(await main())\n"])
def test_main_that_returns(call: str) -> None:
    """Nothing is known of what follows a `main` whose value is used, unless it returns at its end."""
    assert flat(f"{MAIN}{call}y = x\n", is_whole=True) == (BODY, BODY)


@pytest.mark.parametrize(
    ("call", "becomes"),
    [
        ("x = await fetch()\n", "x = b"),
        ("print(len(await fetch()))\n", "print(len(b))"),
        ("x = asyncio.run(fetch())\n", "x = b"),
        ("await fetch()\n", "b"),
    ],
)
def test_function_that_returns_at_its_end(call: str, becomes: str) -> None:
    """What it returns stands where it is called, whatever its name, and what follows is known."""
    code = f"async def fetch():\n    a = await get(1)\n    b = a[0]\n    return b\n{call}y = 2\n"
    assert flat(code, is_whole=True)[0] == f"a = await get(1)\nb = a[0]\n{becomes}\ny = 2"


def test_function_that_is_not_called_yet() -> None:
    """It is not read before the line that calls it: a pause may come first, and what it reads would be old."""
    code = "async def fetch():\n    return await get(1)\n"
    assert flat(code)[0] == text(ast.parse(code).body)
    assert flat(f"{code}await asyncio.sleep(9)\nx")[0].startswith("async def fetch")
    paused = flat(f"{code}await asyncio.sleep(9)\nprint(await fetch())\n", is_whole=True)[0]
    assert paused == "await asyncio.sleep(9)\nprint(await get(1))"


def test_functions_that_call_each_other() -> None:
    """Each body stands where it is called, also in another."""
    code = (
        "async def first():\n    return await get(1)\n"
        "async def second():\n    a = await first()\n    return await get(a)\n"
        "print(await second())\n"
    )
    assert flat(code, is_whole=True)[0] == "a = await get(1)\nprint(await get(a))"


@pytest.mark.parametrize(
    "code",
    [
        "def main(n):\n    x = 1\nmain(2)\n",
        "@dec\ndef main():\n    x = 1\nmain()\n",
        "def main():\n    global x\n    x = 1\nmain()\n",
        "def main():\n    yield 1\nmain()\n",
        "def main():\n    x = 1\nmain()\nmain()\n",
        "def main():\n    x = 1\nif y:\n    main()\n",
        "def main():\n    x = 1\n",
        "def start():\n    x = 1\nstart()\n",
        "def f():\n    return get(1)\nfor x in y:\n    f()\n",
    ],
)
def test_functions_that_stay(code: str) -> None:
    """Functions with parameters, of another kind, or not called once for certain, stay as they are."""
    assert flat(code, is_whole=True)[0] == text(ast.parse(code).body)


def test_try() -> None:
    """A `try` is its body, unless that is one statement whose failure may be expected."""
    code = "try:\n    a()\n    b = 1\nexcept X:\n    c()\nelse:\n    d()\nfinally:\n    e()\n"
    assert flat(code, is_whole=True)[0] == "a()\nb = 1\nd()\ne()"
    code = "try:\n    a = f()\nexcept X:\n    a = None"
    assert flat(code, is_whole=True)[0] == code
    loop = "for x in y:\n    z()"
    assert flat(f"try:\n    a = 1\n    {loop}\n".replace("\n    z", "\n        z"))[1] == "a = 1"
    code = "try:\n    a = 1\n    for x in y:\n        z()\nexcept X:\n    b()\n"
    assert flat(code)[1] == f"a = 1\n{loop}"


def test_what_a_loop_goes_through() -> None:
    """A call in the head of a loop is a statement of its own, which runs before the loop is closed."""
    assert flat("x = 1\nfor p in await get(x):\n    q(p)\n") == (
        "x = 1\n_through_2 = await get(x)\nfor p in _through_2:\n    q(p)",
        "x = 1\n_through_2 = await get(x)",
    )


def test_open_blocks() -> None:
    """Of an open `if` and `with` the statements that are there can run; loops and definitions cannot."""
    code = "if a:\n    b()\n    with c:\n        d()\n        while e:\n            f()\n"
    assert flat(code)[1] == "if a:\n    b()\n    with c:\n        d()"
    code = "if a:\n    while b:\n        c()\nelse:\n    d()\n    for e in f:\n        g()\n"
    assert flat(code)[1] == "if a:\n    while b:\n        c()\nelse:\n    d()"
    for head in ("for a in b:", "while a:", "async for a in b:", "def f():", "class A:"):
        assert flat(f"x = 1\n{head}\n    y = 2\n")[1] == "x = 1"
    assert flat("x = 1\nmatch a:\n    case 1:\n        y = 2\n")[1] == "x = 1"


def loops(body: list[ast.stmt]) -> set[tuple[int, int]]:
    """Return the places of all loops."""
    return {
        (node.lineno, node.col_offset)
        for outer in body
        for node in ast.walk(outer)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While)
    }


def open_loops(statements: Statements) -> set[tuple[int, int]]:
    """Return the places of the loops that the last line of a code is in."""
    found = set()
    node: ast.AST | None = statements.runnable[-1] if statements.is_open else None
    while node is not None:
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            found.add((node.lineno, node.col_offset))
        bodies = [getattr(node, name, []) for name in ("body", "handlers", "cases", "orelse")]
        node = next((body[-1] for body in reversed(bodies) if body), None)
    return found


def test_no_open_loop_is_ready() -> None:
    """At every line of every program: what is ready is Python, and has no loop that is still being written."""
    seen = 0
    for code in programs():
        statements = Statements()
        for line in code.splitlines(keepends=True)[:-1]:
            if not statements.feed(line):
                continue
            found = unwrap(statements.runnable, is_open=statements.is_open, is_whole=False)
            ast.parse(text(found.ready))
            opened = open_loops(statements)
            seen += bool(opened)
            assert not opened & loops(found.ready)
    assert seen > 50
