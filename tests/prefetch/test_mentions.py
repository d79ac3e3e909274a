"""What the parts of a program name: tools that only read, such as may write, and what cannot be known."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest

from langchain_ptc.prefetch.mentions import (
    OPAQUE,
    PAUSES,
    READS,
    WAITS,
    WRITES,
    Mentions,
    ToolNames,
    TooMuch,
)

TOOLS = {
    "get": True,
    "pay": False,
    "crm.find": True,
    "crm.drop": False,
    "hr.find": True,
    "hr.team": True,
}


def mentioned(code: str, tools: Mapping[str, bool] = TOOLS) -> int:
    """Return what the last statement of a program names."""
    body = ast.parse(code).body
    return Mentions(body, ToolNames(tools)).of(body[-1])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("get(1)", READS),
        ("crm.find(1)", READS),
        ("tools.crm.find(1)", READS),
        ("tools.get(1)", READS),
        ("team(1)", READS),
        ("tools.team(1)", READS),
        ("hr.team.__name__", READS | OPAQUE),
        ("find(1)", OPAQUE),
        ("pay(1)", WRITES),
        ("crm.drop(1)", WRITES),
        ("drop(1)", WRITES),
        ("await get(1)", READS | WAITS),
        ("crm.unknown(1)", WRITES | OPAQUE),
        ("hr.unknown(1)", OPAQUE),
        ("tools", WRITES | OPAQUE),
        ("x.get(1)", 0),
        ("x = 1", 0),
        ("get = 1\nget", OPAQUE),
        ("pay = 1\npay", WRITES | OPAQUE),
        ("def h():\n    return get(1)\nh()", READS),
        ("def h():\n    return pay(1)\nh()", WRITES),
        ("def h():\n    return k()\ndef k():\n    return h() or get(1)\nh()", READS),
        ("class A:\n    def h(self):\n        return get(1)\nA()", READS | OPAQUE),
        ("def h():\n    return get(1)\ndef h():\n    return 1\nh()", READS | OPAQUE),
        ("f = get\nf(1)", READS),
        ("from tools.crm import drop as d\nd(1)", WRITES),
        ("if x:\n    f = get\nelse:\n    f = pay\nf(1)", WRITES),
        ("x = [get]", READS | OPAQUE),
        ("x = map(get, y)", READS),
        ("def h(get):\n    return get\nx = get(1)", OPAQUE),
        ("bell.wait(1)", PAUSES),
        ("asyncio.wait(tasks)", 0),
        ("asyncio.wait(tasks, timeout=1)", PAUSES),
        ("asyncio.wait_for(bell, 1)", PAUSES),
        ("asyncio.wait_for(get(1), 1)", READS),
        ("with asyncio.timeout(1):\n    get(1)", READS),
        ("with asyncio.timeout(1):\n    x = 1", PAUSES),
        ("f.result(timeout=1)", 0),
        ("while clock() > 0:\n    x = 1", 0),
        ("from time import monotonic as clock\nwhile clock() > 0:\n    x = 1", PAUSES),
    ],
)
def test_what_is_named(code: str, kind: int) -> None:
    """Tools by every name, functions by what they call; a name with more than one meaning may be the worst."""
    assert mentioned(code) == kind


def test_bare_names() -> None:
    """A name that tools of two domains have is none of them; one may write, if a tool of that name does."""
    assert mentioned("find(1)", {"a.find": True, "b.find": False}) == WRITES
    assert mentioned("find(1)", {"find": True, "b.find": False}) == READS
    assert mentioned("b.find(1)", {"find": True, "b.find": False}) == WRITES


def test_too_much() -> None:
    """Functions that call each other over too many steps are not followed."""
    code = "".join(f"def f{n}():\n    return f{n + 1}()\n" for n in range(30))
    with pytest.raises(TooMuch):
        mentioned(f"{code}def f30():\n    return get(1)\n")
