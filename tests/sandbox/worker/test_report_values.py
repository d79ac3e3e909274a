"""What the report says of the values in hand: keys and types, never values, and whatever they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor


@tool
def get() -> list[dict[str, Any]]:
    """Get people, and what nobody is to read."""
    return [{"id": 1, "name": "hunter2", "pay": None}, {"id": 2, "name": "hunter3", "pay": 7.5}]


@pytest.fixture(scope="module", params=[ProcessSandbox, InProcessSandbox])
def sandbox(request: pytest.FixtureRequest) -> Iterator[ProcessSandbox | InProcessSandbox]:
    """Each sandbox in turn."""
    with request.param() as made:
        yield made


def hint_of(code: str, sandbox: Any, **limits: Any) -> str:
    """Return the hint of code that fails."""
    executor = ProgrammaticToolExecutor(
        [get], sandbox=sandbox, check="off", limits=Limits(**limits)
    )
    result = executor.execute(code)
    assert result.error is not None
    return result.error.hint


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "rows = get()\nrows[1]['nam']",
            "`rows[1]` is a dict with 'id': int, 'name': str, 'pay': float (did you mean 'name'?)",
        ),
        ("rows = get()\nrows['id']", "`rows` is a list of 2 dicts with 'id', 'name', 'pay'"),
        ("rows = get()\nrows + 1", "`rows` is a list of 2 dicts with 'id', 'name', 'pay'"),
        ("rows = get()\nrows.id", "`rows` is a list of 2 dicts with 'id', 'name', 'pay'"),
        ("rows = get()\nfor a, b in rows[0]['id']: pass", "`rows[0]['id']` is an int"),
        ("rows = get()\nsum(rows)", "`rows` is a list of 2 dicts with 'id', 'name', 'pay'"),
        ("rows = get()\n[r['pay'] + 1 for r in rows]", "`r['pay']` is None or float"),
        ("rows = get()\n[r['id']['x'] for r in rows]", "`r['id']` is an int"),
        ("rows = get()\n[x['a'] for r in rows for x in r]", ""),
        ("rows = get()\n[r['x'] for r in get()]", ""),
        ("get()[0]['x']", ""),
        ("x = {}\nx['a']", "`x` is an empty dict"),
        ("x = {'1': 'a'}\nx[1]", "`x` is a dict with '1': str (did you mean '1'?)"),
        ("x = []\nx[0]", "`x` is an empty list"),
        ("x = (1, 'a', None)\nx['b']", "`x` is a tuple of 3 (None or int or str)"),
        (
            "x = {'a': [[1]]}\nx.b",
            "`x` is a dict with 'a': list of list of int",
        ),
        ("x = {(1, 2): 3}\nx['b']", "`x` is a dict with tuple: int"),
        ("def f(a, *, b, c=1): pass\nf(1)", "f takes (a, b, c=…)"),
        (
            "d = {'a': {'b': 1}}\nprint(sorted([d], key=lambda o: o['a']['c']))",
            "`o['a']` is a dict with 'b': int",
        ),
        (
            "class P:\n    def __init__(self): self.name = 'x'\np = P()\np.nme",
            "`p` is a P with the attributes 'name' (did you mean 'name'?)",
        ),
        ("x = 5\nx()", "`x` is an int"),
        ("raise KeyError('own')", ""),
        ("raise AttributeError('own')", ""),
        ("raise TypeError('own')", ""),
    ],
)
def test_hints(code: str, expected: str, sandbox: Any) -> None:
    """The value in hand is what the line that failed has used, if it can be had without running it."""
    assert hint_of(code, sandbox) == expected


@pytest.mark.parametrize(
    "code",
    [
        "rows = get()\nrows[0]['x']",
        "rows = get()\nrows[0].x",
        "rows = get()\nrows[0] + 1",
        "rows = get()\nname = rows[0]['name']\nname['x']",
        "rows = get()\n{r['name']: 1 for r in rows}[0]",
        "rows = get()\n[r['y'] for r in rows]",
    ],
)
def test_no_value_is_told(code: str, sandbox: Any) -> None:
    """What a tool returned stays in the sandbox, also where code fails on it."""
    result = ProgrammaticToolExecutor([get], sandbox=sandbox, check="off").execute(code)
    assert result.status == "error"
    assert "hunter" not in result.report()


HOSTILE = [
    "class E(dict):\n    def __iter__(self): raise ValueError\n    def keys(self): raise ValueError\nE(a=1)['b']",
    "class E(dict):\n    def __getitem__(self, key): raise KeyError(self)\n    def __repr__(self): return 1\nx = E()\nx['b']",
    "class E:\n    def __getattr__(self, name): raise AttributeError(name)\nx = E()\nx.y",
    "class E:\n    @property\n    def __dict__(self): raise ValueError\nx = E()\nx.y",
    "class E(list):\n    def __len__(self): raise ValueError\nx = E()\nx['a']",
    "class K(str):\n    def __hash__(self): return 1\n    def __eq__(self, o): raise ValueError\nx = {'a': 1}\nx[K('b')]",
    "x = []\nx.append(x)\nx['a']",
    "x = {}\nx['me'] = x\nx['you']",
    "x = {'k' * 10_000: 1}\nx['b']",
    "x = {str(n): n for n in range(100_000)}\nx['b']",
    "x = [{str(n): n for n in range(1000)}] * 1000\nx['b']",
]  # fmt: skip


@pytest.mark.parametrize("code", HOSTILE)
def test_any_value_can_be_in_hand(code: str, sandbox: Any) -> None:
    """Whatever a value does when it is looked at, the report is there, and it is short."""
    executor = ProgrammaticToolExecutor([get], sandbox=sandbox, check="off")
    result = executor.execute(code)
    assert result.status in ("error", "refused"), result.report()
    assert len(result.report()) < 6_000


def test_a_long_program_is_described_in_time(sandbox: Any) -> None:
    """Many frames in much code cost no more than once through the code."""
    code = "x = {'a': 1}\n" + "y = [x['a'] for _ in range(3)]\n" * 2_000
    code += "def f(n):\n    for _ in range(2):\n        return f(n + 1)\nf(0)\n"
    began = time.process_time()
    assert hint_of(code, sandbox, cpu_seconds=8)
    assert time.process_time() - began < 8
