"""What tools return, and what code passes to them: plain data in all but name is plain data."""

from __future__ import annotations

import array
import asyncio
import collections
import dataclasses
import functools
import ipaddress
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator, KeysView
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from langchain_core.tools import StructuredTool, tool
from typing_extensions import TypedDict

from langchain_ptc import InProcessSandbox, Limits, ProgrammaticToolExecutor, ToolCatalog

NAMES = ["zeta", "alpha", "mid", "beta", "quux", "gamma", "eta", "iota", "kappa"]
TOTALS = {name: [number] for number, name in enumerate(NAMES)}


class Page(TypedDict):
    items: list[dict]
    values: list[int]
    copy: int


def returning(make: Any, **options: Any) -> Any:
    """Return what code gets of a tool that returns what `make` makes."""
    made = StructuredTool.from_function(make, name="get", description="Get.")
    executor = ProgrammaticToolExecutor([made], sandbox=InProcessSandbox(), **options)
    return executor.execute("return get()")


@pytest.mark.parametrize("sandbox", [None, InProcessSandbox()], ids=["process", "inprocess"])
def test_dict_views(sandbox):
    """Views of dicts are lists in the order of the dict, as results and as arguments."""

    @tool
    def rank(names: list[str]) -> str:
        """Say the names in order."""
        return " ".join(names)

    @tool
    def names():
        """Names, the best first."""
        return TOTALS.keys()

    @tool
    def pairs():
        """Pairs."""
        return TOTALS.items()

    @tool
    def counts():
        """Views of other mappings, inside of a record."""
        return {"ordered": collections.OrderedDict(TOTALS).keys(), "values": TOTALS.values()}

    code = f"""\
totals = {TOTALS!r}
print(*names())
print(*(k for k, v in pairs() if v == totals[k]))
print(*counts()["ordered"], counts().values == list(totals.values()))
print(rank(totals.keys()))
print(rank(names=dict.fromkeys(totals).keys()))
print(rank([pair[0] for pair in totals.items()]))
"""
    result = ProgrammaticToolExecutor([rank, names, pairs, counts], sandbox=sandbox).execute(code)
    line = " ".join(NAMES)
    assert result.output.splitlines() == [line, line, f"{line} True", line, line, line]


class Text:
    def __str__(self) -> str:
        return "a text"


class CallableText(Text):
    def __call__(self) -> None: ...


class Iterates:
    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


class Keyed:
    """As a row of asyncpg: it has keys, and its items are its values."""

    def keys(self) -> list[str]:
        return ["a", "b"]

    def __getitem__(self, key: str) -> str:
        return key.upper()

    def __iter__(self) -> Iterator[str]:
        return iter("AB")


@dataclasses.dataclass
class CallableRecord:
    a: int

    def __call__(self) -> None: ...


def rows(statement: str) -> Any:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.row_factory = sqlite3.Row
    CONNECTIONS.append(connection)
    return connection.execute(statement)


CONNECTIONS: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what tools have opened: from Python 3.13 on that is a warning if nothing does."""
    yield
    while CONNECTIONS:
        CONNECTIONS.pop().close()


def alchemy(statement: str) -> Any:
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text(statement)).fetchall()
    engine.dispose()
    return found


def generate() -> Iterator[dict[str, int]]:
    yield {"a": 1}
    yield {"a": 2}


NA_FRAME = {"a": pd.array([1, None], dtype="Int64"), "t": [pd.Timestamp(2026, 1, 1), pd.NaT]}
RESULTS: dict[str, tuple[Any, Any]] = {
    "deque": (lambda: collections.deque([1, 2], maxlen=5), [1, 2]),
    "dict.values": (lambda: {"a": 1, "b": 2}.values(), [1, 2]),
    "nested": (lambda: {"ids": {"a": 1}.values()}, {"ids": [1]}),
    "array": (lambda: array.array("i", [1, 2]), [1, 2]),
    "user-list": (lambda: collections.UserList([1, 2]), [1, 2]),
    "user-string": (lambda: collections.UserString("ab"), "ab"),
    "user-dict": (lambda: collections.UserDict(a=1), {"a": 1}),
    "memoryview": (lambda: memoryview(b"ab"), b"ab"),
    "sqlite-rows": (lambda: rows("select 1 a, 'x' b").fetchall(), [{"a": 1, "b": "x"}]),
    "sqlite-cursor": (lambda: rows("select 1 a"), [{"a": 1}]),
    "sqlite-duplicates": (lambda: rows("select 1 a, 2 a").fetchone(), {"a": 1, "a.1": 2}),
    "alchemy-rows": (lambda: alchemy("select 1 a, 'x' b"), [{"a": 1, "b": "x"}]),
    "alchemy-duplicates": (lambda: alchemy("select 1 a, 2 a")[0], {"a": 1, "a.1": 2}),
    "keyed": (Keyed, {"a": "A", "b": "B"}),
    "generator": (lambda: (n for n in [1, 2]), [1, 2]),
    "generator-function": (generate, [{"a": 1}, {"a": 2}]),
    "map": (lambda: map(str, [1, 2]), ["1", "2"]),
    "filter": (lambda: filter(None, [0, 1]), [1]),
    "zip": (lambda: zip("ab", [1, 2], strict=True), [("a", 1), ("b", 2)]),
    "reversed": (lambda: reversed([1, 2]), [2, 1]),
    "enumerate": (lambda: enumerate("a"), [(0, "a")]),
    "chain": (lambda: itertools.chain([1], [2]), [1, 2]),
    "nested-generator": (
        lambda: {"a": (n for n in [1]), "b": [map(str, [2])]},
        {"a": [1], "b": [["2"]]},
    ),
    "iterable": (Iterates, [1, 2]),
    "empty-iterator": (lambda: iter([]), []),
    "callable-text": (CallableText, "a text"),
    "callable-record": (lambda: CallableRecord(1), {"a": 1}),
    "pandas-na": (lambda: pd.NA, None),
    "pandas-na-in-data": (lambda: {"a": [pd.NA, pd.NaT]}, {"a": [None, None]}),
    "series-with-na": (lambda: pd.Series([1, None], dtype="Int64"), [1, None]),
    "array-with-na": (lambda: pd.array([1, None], dtype="Int64"), [1, None]),
    "frame-with-na": (lambda: pd.DataFrame(NA_FRAME)["a"].tolist(), [1, None]),
    "frame-duplicates": (
        lambda: pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]),
        [{"a": 1, "a.1": 2, "b": 3}],
    ),
    "frame-index-like-column": (
        lambda: pd.DataFrame({"k": [1]}, index=pd.Index([7], name="k")),
        [{"k": 7, "k.1": 1}],
    ),
    "series-duplicates": (
        lambda: pd.Series([1, 2, 3], index=["x", "x", "y"]),
        [("x", 1), ("x", 2), ("y", 3)],
    ),
    "nanoseconds": (
        lambda: np.array(["2026-01-02T03:04:05", "NaT"], dtype="datetime64[ns]"),
        [datetime(2026, 1, 2, 3, 4, 5), None],
    ),
    "nanoseconds-timedelta": (lambda: np.timedelta64(10**9, "ns"), timedelta(seconds=1)),
    "network": (lambda: ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_plain_iterables_refused(kind):
    """Ordered collections, rows, iterators and their like arrive as lists and dicts."""
    if kind.startswith("alchemy"):
        pytest.importorskip("sqlalchemy")
    make, expected = RESULTS[kind]
    result = returning(make)
    assert result.status == "success", result.report()
    assert result.value == expected
    assert type(result.value) is type(expected)


ARGUMENTS = {
    "dict.values": "total({'a': 1, 'b': 2}.values())",
    "map": "total(map(int, '12'))",
    "generator": "total(x for x in [1, 2])",
    "filter": "total(filter(None, [0, 1, 2]))",
    "deque": "total(deque([1, 2]))",
    "reversed": "total(reversed([1, 2]))",
    "chain": "total(chain([1], [2]))",
    "zip": "total(x for x, _ in zip([1, 2], 'ab'))",
    "keyword": "total(numbers=map(int, '12'))",
    "nested": "total([*map(int, '12')])",
    "own-generator": "total(own())",
    "iter": "total(iter([1, 2]))",
    "islice": "total(islice(count(1), 2))",
    "calls-tools": "total(total([n]) for n in [1, 2])",
    "deep": "deep({'a': (n for n in [1, 2])})",
}
PREAMBLE = """\
from collections import deque
from itertools import chain, count, islice

def own():
    yield 1
    yield 2

"""


@tool
def total(numbers: list[int]) -> int:
    """Add."""
    return sum(numbers)


@tool
def deep(given: dict) -> int:
    """Add."""
    return sum(given["a"])


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_iterables_as_arguments(kind):
    """The same are lists where code passes them, read to their end before the call is made."""
    executor = ProgrammaticToolExecutor([total, deep], sandbox=InProcessSandbox())
    result = executor.execute(f"{PREAMBLE}print({ARGUMENTS[kind]})")
    assert result.output == "3\n", result.report()


def test_iterators_as_arguments_of_awaited_calls():
    """In code that awaits, too; an error in a generator is an error of the code, and no call is made."""
    executor = ProgrammaticToolExecutor([total])
    code = "print(await total(n for n in [1, 2]))\nawait total(1 // n for n in [1, 0])"
    result = executor.execute(code)
    assert result.output == "3\n"
    assert "ZeroDivisionError" in result.report()
    assert len(result.tool_calls) == 1


@tool
async def asynchronous() -> Iterator[int]:
    """Give an iterator."""
    return iter([1, 2])


@tool
async def async_generator() -> AsyncIterator[int]:
    """Give an asynchronous iterator."""

    async def each() -> AsyncIterator[int]:
        for number in (1, 2):
            await asyncio.sleep(0)
            yield number

    return each()


@tool
async def generated() -> AsyncIterator[int]:
    """Give what it yields."""
    for number in (1, 2):
        await asyncio.sleep(0)
        yield number


@tool
async def breaks_off() -> AsyncIterator[int]:
    """Yield, and raise."""
    yield 1
    raise ValueError("no more")


@tool
def views() -> KeysView[str]:
    """Give a view."""
    return {"a": 1}.keys()


async def test_asynchronous_tools_and_types_of_iterators():
    """Iterators of asynchronous tools are read, too; the stub says that a list arrives."""
    executor = ProgrammaticToolExecutor([asynchronous, async_generator, views])
    result = await executor.aexecute(
        "print(await asynchronous(), await async_generator(), await views())"
    )
    assert result.output == "[1, 2] [1, 2] ['a']\n"
    stub = ToolCatalog([asynchronous, async_generator, views]).render()
    assert stub.count("-> list[int]") == 2
    assert "-> list[str]" in stub


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_asynchronous_generators(*, sync: bool) -> None:
    """What a tool yields that is an asynchronous generator is a list, or the error that ends it."""
    executor = ProgrammaticToolExecutor([generated, breaks_off])
    code = """\
print(await generated())
try:
    await breaks_off()
except ToolCallError as error:
    print(error)
"""
    result = (
        await asyncio.to_thread(executor.execute, code) if sync else await executor.aexecute(code)
    )
    assert result.output == "[1, 2]\nbreaks_off failed: ValueError: no more\n"


def failing() -> Iterator[int]:
    yield 1
    raise LookupError("no more rows")


class BrokenText:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(failing, "get failed: LookupError: no more rows", id="generator"),
        pytest.param(
            lambda: {"a": failing()}, "get failed: LookupError: no more rows", id="nested"
        ),
        pytest.param(BrokenText, "get failed: ValueError: no text", id="text"),
        pytest.param(itertools.count, "too large", id="endless"),
        pytest.param(lambda: {"a": itertools.count()}, "too large", id="endless-nested"),
        pytest.param(lambda: Path(__file__).open(encoding="utf-8"), "TextIOWrapper", id="file"),  # noqa: SIM115
        pytest.param(lambda: len, "builtin_function_or_method is not plain data", id="function"),
        pytest.param(
            lambda: functools.partial(len), "class partial is not plain data", id="partial"
        ),
        pytest.param(lambda: Text, "class type is not plain data", id="class"),
        pytest.param(object, "class object cannot cross", id="object"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_cannot_be_read_is_an_error_of_the_call(make, told):
    """An iterator that fails or never ends, and what is no data, is a `ToolCallError` that says so."""
    made = StructuredTool.from_function(make, name="get", description="Get.")
    limits = Limits(result_bytes=10_000)
    executor = ProgrammaticToolExecutor([made], sandbox=InProcessSandbox(), limits=limits)
    result = executor.execute("try:\n    get()\nexcept ToolCallError as e:\n    print(e)")
    assert told in result.output


METHODS = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
]
FIELDS = {name: [{"id": number}] for number, name in enumerate(METHODS)}


@tool
def get_page() -> Page:
    """Get a page."""
    return {"items": [{"id": 1}, {"id": 2}], "values": [1, 2], "copy": 3}


@tool
def get_all() -> dict:
    """Get a record with a field for each method of a dict."""
    return {**FIELDS, "inner": FIELDS}


READS = {
    "print([i.id for i in page.items])": "[1, 2]",
    "print(len(page.items))": "2",
    "print(sum(page.values))": "3",
    "print(page.copy + 1)": "4",
    "print(page.items[0].id)": "1",
    "print(page.items[-1]['id'], page['items'][0].id)": "2 1",
    "print(f'{page.items[0].id} {page.copy}')": "1 3",
    "print(getattr(page, 'copy'), getattr(page, 'values', None))": "3 [1, 2]",
    "print(page.values.index(2), page.items.pop().id)": "1 2",
    "values = page.values\nprint(values)": "[1, 2]",
    "page.copy = 7\nprint(page.copy, page['copy'])": "7 7",
    "del page.copy\nprint('copy' in page, list(page))": "False ['items', 'values']",
    "print(sorted(page.items, key=lambda i: -i.id)[0].id)": "2",
    # what is called is the method, and other dicts and objects are what they were
    "print([k for k, v in page.items()])": "['items', 'values', 'copy']",
    "print(list(page.keys()), page.get('copy'), page.copy()['copy'])": "['items', 'values', 'copy'] 3 3",
    "import json\nprint(json.loads(json.dumps(page)) == page, dict(page) == {**page})": "True True",
    "d = {'a': 2, 'b': 1}\nprint(min(d, key=d.get))": "b",
    "r = get_all().inner\nprint(max({'x': 1}, key={'x': 1}.get), r.get[0].id)": "x 3",
    "get = page.pop\nprint(get('copy'))": "3",
    "class Box:\n    def __init__(self):\n        self.items = [1]\n        self.values = 2\n"
    "    def both(self):\n        return self.items + [self.values]\nprint(Box().both())": "[1, 2]",
}


@pytest.mark.parametrize("code", READS)
def test_record_fields_named_like_methods(code):
    """A record's field named like a method of dict is read as the field; a call is the method."""
    executor = ProgrammaticToolExecutor([get_page, get_all], sandbox=InProcessSandbox())
    result = executor.execute(f"page = get_page()\n{code}")
    assert result.output.strip() == READS[code], result.report()


@pytest.mark.parametrize("mode", ["", "await "])
def test_fields_named_like_every_method(mode):
    """So is each of them, at any depth, in code that awaits, and in a worker."""
    reads = ", ".join(f"all.{name}[0].id, all.inner.{name}[0].id" for name in METHODS)
    result = ProgrammaticToolExecutor([get_all]).execute(f"all = {mode}get_all()\nprint({reads})")
    assert result.output.split() == [str(n) for n, _ in enumerate(METHODS) for _ in range(2)]


def test_a_method_that_is_used_as_a_value_is_told():
    """Where the record has no such field, the report says how to read one."""
    executor = ProgrammaticToolExecutor([get_page], sandbox=InProcessSandbox())
    report = executor.execute("page = get_page()\npage.pop += 1").report()
    assert "read a record's field as record['name']" in report


@tool
def get_record() -> dict[str, Any]:
    """Return a record whose fields are named like methods, and like guarded attributes."""
    return {
        "copy": 1,
        "items": [3, 1],
        "keys": "k",
        "register": 2,
        "mro": 4,
        "format": "f",
        "pop": {"get": 5},
    }


@pytest.mark.parametrize("sandbox", [None, InProcessSandbox()], ids=["process", "inprocess"])
def test_fields_named_like_methods_in_operators_and_templates(sandbox):
    """`page.copy += 1` and `'{0.copy}'.format(page)` mean the field too."""
    code = """
p = get_record()
p.copy += 1
p.items += [9]
p.register -= 2
p.mro *= 2
p.pop.get //= 2
print(p.copy, p["copy"], p.items, p.register, p.mro, p.pop.get)
print("{0.copy} {p.items[0]:>{p.copy}} {0.keys!r} {0.pop.get}".format(p, p=p))
print("{p.copy}".format_map({"p": p}), str.format("{0.copy}{{}}", p))
from string import Formatter
print(Formatter().format("{0.copy}", p))
class A:
    pop = 1
a = A()
a.pop += 1
print(a.pop, "{0.pop}".format(a), "{0.real}".format(7))
"""
    result = ProgrammaticToolExecutor([get_record], sandbox=sandbox).execute(code)
    assert result.status == "success", result.report()
    assert result.output.splitlines() == [
        "2 2 [3, 1, 9] 0 8 2",
        "2  3 'k' 2",
        "2 2{}",
        "2",
        "2 2 7",
    ]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("d = {}\nd.items += 1", "TypeError"),
        ("'a'.format += 1", "TypeError"),
        ("e = None\ntry:\n    ''.x\nexcept AttributeError as x: e = x\ne.obj += 1", "'obj' is not available"),
        (
            (
                "class G:\n    def __radd__(self, read): return read(1)\n"
                "class S(str): pass\ns = S('{0.__class__}')\ns.format += G()"
            ),
            "'__class__' is not available",
        ),
        ("print('{0.copy.__class__}'.format(get_record()))", "'__class__' is not available"),
        ("print('{0.copy} {0._x}'.format(get_record()))", "'_x' is not available"),
    ],
)  # fmt: skip
def test_operators_and_templates_read_nothing_more(code, told):
    """What may not be read is not read in these ways."""
    result = ProgrammaticToolExecutor([get_record], check="off").execute(code)
    assert result.status == "error"
    assert told in result.report()


def test_groups_and_namespaces():
    """The groups of `itertools.groupby` have their items, and a `SimpleNamespace` is a record."""
    rows = [("a", 1), ("a", 2), ("b", 3)]
    result = returning(lambda: itertools.groupby(rows, key=lambda row: row[0]))
    assert result.value == [("a", [("a", 1), ("a", 2)]), ("b", [("b", 3)])]
    assert returning(lambda: SimpleNamespace(a=1, b=[SimpleNamespace(c=2)])).value == {
        "a": 1,
        "b": [{"c": 2}],
    }
    endless = returning(
        lambda: itertools.groupby(itertools.repeat(1)), limits=Limits(result_bytes=1_000)
    )
    assert "too large" in endless.report()
