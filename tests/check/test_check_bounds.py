"""Reading and checking the code costs the host bounded time, whatever the code is."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable
from typing import Literal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_ptc import InProcessSandbox, Limits, ProgrammaticToolExecutor, ToolCatalog
from langchain_ptc.check.checker import MAX_CHARS, MAX_REPORT_CHARS, Checker, render_problems
from langchain_ptc.check.program import OutOfWork, Work
from tests.sandbox.language.test_reading import LOUD, QUIET

LENGTH = MAX_CHARS - 900
MODULES = InProcessSandbox().modules


class Node(BaseModel):
    """A record that holds itself along several ways."""

    name: str
    left: Node | Leaf | None = None
    inner: list[Node] | list[Leaf] | dict[str, Node] | dict[str, Leaf] = []


class Leaf(BaseModel):
    """The same, with another name."""

    name: int
    left: Node | Leaf | None = None
    inner: list[Node] | list[Leaf] | dict[str, Node] | dict[str, Leaf] = []


@tool
def get(x: int) -> list[dict]:
    """Get."""
    return [{"x": x}]


@tool
def pick(x: Literal["aaa", "bbb"]) -> Node:
    """Pick."""
    return Node(name=x)


@tool
def plant(tree: Node) -> str:
    """Plant."""
    return tree.name


CATALOG = ToolCatalog([get, pick, plant])


def fill(part: Callable[[int], str], length: int = LENGTH) -> str:
    """Return as many parts as have room."""
    texts: list[str] = []
    while length > 0:
        texts.append(part(len(texts)))
        length -= len(texts[-1])
    return "".join(texts[:-1])


HOSTILE = {
    "list-of-itself-twice": "a0 = [1]\n" + fill(lambda i: f"a{i + 1} = [a{i}, a{i}]\n"),
    "tuple-of-itself-twice": "a0 = (1,)\n" + fill(lambda i: f"a{i + 1} = (a{i}, a{i})\n"),
    "zip-of-itself-twice": "a0 = [1]\n" + fill(lambda i: f"a{i + 1} = zip(a{i}, a{i})\n"),
    "calls-of-the-next-twice": fill(lambda i: f"def f{i}(): return [f{i + 1}(), f{i + 1}()]\n")
    + "f0()",
    "gather-of-itself-twice": "import asyncio\na0 = get(1)\n"
    + fill(lambda i: f"a{i + 1} = asyncio.gather(a{i}, a{i})\n"),
    "one-name-many-bindings": fill(lambda i: f"x = [{i}]; x[0]\n"),
    "many-returns": "def f(a):\n" + fill(lambda i: f" if a: return [{i}]\n") + "f(1)",
    "many-calls-of-many-returns": "def f(a):\n"
    + fill(lambda _: " if a: return f(1)\n", 9000)
    + fill(lambda _: "f(1)[0]\n", 9000),
    "long-coroutine-called-often": "async def f():\n"
    + fill(lambda _: " await get(1)\n", 9000)
    + fill(lambda _: "await f()\n", 9000),
    "joined-text": "x = ''" + fill(lambda _: " 'a'"),
    "joined-f-strings": "x = 1\ny = ''" + fill(lambda _: " f'{x}'"),
    "long-literal-read-often": f"x = [{'1,' * 4000}]\n" + fill(lambda _: "x[0]\n", 9000),
    "aliases-backwards": fill(lambda i: f"a{i} = a{i + 1}\n") + "if a0: pass",
    "chain-of-calls": "x = a" + fill(lambda _: ".add(1)"),
    "nested-comparison": f"x = {'(a == ' * 150}{'a,' * 8000}1{')' * 150}",
    "nested-defaults": f"x = {'lambda a=(' * 80}1{'): 1' * 80}",
    "handlers": fill(lambda _: "try: get('x')\nexcept Exception: pass\n"),
    "callers-of-callers": fill(lambda i: f"def f{i}(): f{i + 1}(); get('x')\n")
    + "try: f0()\nexcept Exception: pass",
    "callers-of-one": "def f():\n"
    + fill(lambda _: " get('x')\n", 9000)
    + fill(lambda _: "try: f()\nexcept ValueError: pass\n", 9000),
    "names-that-are-nowhere": "try:\n"
    + fill(lambda i: f" print(q{i})\n")
    + "except NameError: pass",
    "modules-that-are-nowhere": "try:\n"
    + fill(lambda i: f" import q{i}\n")
    + "except ImportError: pass",
    "tools-that-are-nowhere": "try:\n"
    + fill(lambda i: f" from tools import q{i}\n")
    + "except ImportError: pass",
    "keywords-that-are-nowhere": f"get({fill(lambda i: f'k{i}=1,')})",
    "choices-that-are-nowhere": "try:\n"
    + fill(lambda i: f" pick('aa{i}')\n")
    + "except ToolCallError: pass",
    "record-in-a-record": "plant(" + "{'name': 5, 'left': " * 60 + "5" + "}" * 60 + ")",
    "lists-in-records": "plant(" + "{'name': 5, 'inner': [" * 45 + "5" + "]}" * 45 + ")",
    "dicts-in-records": "plant(" + "{'name': 'b', 'inner': {'x': " * 45 + "5" + "}}" * 45 + ")",
    "long-key": "plant({'name': 'a', 'inner': {'" + "k" * 9000 + "': [" + "5," * 4000 + "]}})",
    "long-names": f"print({'q' * 9000})\nget({'z' * 9000}=1)",
    "long-text": f"pick('{'a' * 19000}')",
    "number-of-many-digits": f"get(0x{'f' * 9000}); pick(0x{'f' * 9000})",
    "endless-loops": "".join(" " * i + "while True:\n" for i in range(90)) + " " * 90 + "x",
    "nested-functions": "".join(" " * i + f"def f{i}():\n" for i in range(90)) + " " * 90 + "x",
    "dotted-text": f"x = '{'1.' * 9000}'",
}


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


@pytest.mark.parametrize("name", HOSTILE)
def test_check_exponential_time(name: str) -> None:
    """The check of any code ends after work that is bounded, and its report is bounded too."""
    code = HOSTILE[name]
    assert len(code) <= MAX_CHARS
    found: list[str] = []
    spent = seconds(lambda: found.append(render_problems(Checker(CATALOG, MODULES).check(code))))
    assert spent < 4, spent
    assert len(found[0]) < MAX_REPORT_CHARS + 3_000


def test_work_is_counted() -> None:
    """The check ends by steps and not by time: the same code has the same report on any machine."""
    work = Work(3)
    work.spend(3)
    with pytest.raises(OutOfWork):
        work.spend()


def test_long_code_is_not_read_on_the_host() -> None:
    """Past its length the code runs unchecked: the parser holds the interpreter while it reads."""
    wrong = "get('x')\n"
    assert Checker(CATALOG, MODULES).check(wrong)
    assert Checker(CATALOG, MODULES).check(wrong + "#" * MAX_CHARS) == ()


LONG_IMPORTS = {
    "import": "import " + "a." * 48_500 + "a",
    "from": "from " + "a." * 48_500 + "a import b",
    "second": "import b, " + "a." * 48_000 + "a",
    "second-without-space": "import b," + "a." * 48_000 + "a",
    "continued": "import \\\n" + "a.\\\n" * 20_000 + "a",
    "spaced": "import " + "a . " * 20_000 + "a",
    "as": "import b as c, " + "a." * 48_000 + "a",
}


@pytest.mark.parametrize("name", LONG_IMPORTS)
@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
def test_parser_freezes_the_host(name: str, sandbox: str) -> None:
    """CPython joins long dotted names quadratically: such code is an error at once, in both sandboxes."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    executor = ProgrammaticToolExecutor([get], sandbox=made, limits=Limits(wall_seconds=5))
    executor.execute("pass")
    spent = seconds(lambda: executor.execute(LONG_IMPORTS[name]))
    result = executor.execute(LONG_IMPORTS[name])
    assert (result.status, spent < 1) == ("error", True)
    assert "more than 100 parts" in result.report()


@pytest.mark.parametrize("code", LOUD)
def test_code_that_would_warn_is_not_checked(code: str) -> None:
    """What cannot be read without a warning is left to the worker."""
    assert Checker(CATALOG, MODULES).check(code) == ()


@pytest.mark.parametrize("code", [*QUIET, "x = 1\n" * 700 + "print(x)"])
@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
def test_check_changes_warnings_filters(code: str, sandbox: str) -> None:
    """The filters of warnings are the host's: many checks at once leave them as they are."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    long = code + "\nx = 1" * 500  # long enough to be checked in a thread
    executor = ProgrammaticToolExecutor([], sandbox=made)

    async def run() -> None:
        await asyncio.gather(*(executor.aexecute(long) for _ in range(4)))

    with warnings.catch_warnings():
        warnings.resetwarnings()
        before = list(warnings.filters)
        asyncio.run(run())
        assert list(warnings.filters) == before


def test_report_is_bounded() -> None:
    """A report has room for some thousand characters, whatever the code holds."""
    code = "".join(f"get({'k' * 300}{i}=1, {'j' * 300}{i}=2)\n" for i in range(25))
    report = render_problems(Checker(CATALOG, MODULES).check(code))
    assert len(report) < MAX_REPORT_CHARS + 100
    assert report.endswith("more problems")


@pytest.mark.parametrize(
    "code", ["x.__globals__\n" * 5_000, f"x.__{'y' * 50_000}__", f"x = '{'y' * 50_000}"]
)
def test_refusals_are_bounded(code: str) -> None:
    """What the sandbox says of code that it does not accept is bounded too."""
    result = ProgrammaticToolExecutor([], check="off").execute(code)
    assert result.status in ("refused", "error")
    assert len(result.report()) < 8_000
