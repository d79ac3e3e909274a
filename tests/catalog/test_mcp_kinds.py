"""Every kind of value that tools of a FastMCP server return, by an adapter and by `from_mcp`."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from langchain_ptc import ProgrammaticToolExecutor, ToolCatalog

pytest.importorskip("langchain_mcp_adapters", reason="pip install langchain-mcp-adapters")
if int(importlib.metadata.version("mcp").split(".")[0]) != 1:  # FastMCP is another package there
    pytest.skip("the server is written for mcp 1", allow_module_level=True)

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from tests.support import SUPPORT

SERVER = SUPPORT / "mcp_servers" / "kinds.py"
CONNECTION: Any = {"transport": "stdio", "command": sys.executable, "args": [str(SERVER)]}

PROGRAMS = {
    "a model, with an enum, a time and an alias": (
        "p = await person()\nprint(p.name, p['kind'], p.address.street, p.friends, p.since, p['class'])",
        "Ann a s [] 2024-01-02T03:04:05 3",
    ),
    "models": ("print([p.name for p in await people()])", "['Ann', 'Ann']"),
    "an optional model": (
        "m = await maybe(yes=True)\nprint(m.street if m else m, await maybe(yes=False))",
        "q None",
    ),
    "a union": (
        "print((await union(n=0)).street, await union(n=1) + 1, (await union(n=2)).upper())",
        "u 8 SEVEN",
    ),
    "a dataclass": ("p = await point()\nprint(p.x, p.y)", "1 None"),
    "fields named like methods": ("p = await page()\nprint(p.items, p.result)", "[1, 2] 5"),
    "a model of one field `result`": ("print(await only() + 1)", "5"),
    "a dict, with the key `result` alone too": (
        "print(await counts(two=True), await counts(two=False))",
        "{'result': 3, 'b': 4} {'result': 3}",
    ),
    "a tuple, a literal, a bool": (
        "print(await pair(), await letter(), await flag())",
        "[1, 'z'] x False",
    ),
    "a dict without a schema is its text": (
        "import json\nprint(json.loads(await undeclared())['a'])",
        "1",
    ),
    "no annotations": ("print('given' in await untyped(x='1'))", "True"),
    "more rows than parts are read": (
        "r = await rows()\nprint(len(r), sum(x.n for x in r))",
        f"10100 {sum(range(10_100))}",
    ),
    "a picture": (
        "t, p = await picture()\nprint(t['text'], p['type'], p['data'], p['mime_type'])",
        "see image b'1' image/png",
    ),
    "resources": (
        "found = await resource()\nprint('hello' in str(found), 'mem://y' in str(found))",
        "True True",
    ),
    "a result that the server builds itself": ("print((await given(failed=False))['q'])", "1"),
    "its own error": (
        "try:\n    await given(failed=True)\nexcept ToolCallError as e:\n    print(e)",
        "{name} failed: no such thing: {}'\"",
    ),
    "arguments left out": ("print(await arguments())", "None a None None None"),
    "arguments of every kind": (
        (
            "import datetime\nat = datetime.datetime(2024, 1, 1)\n"
            "print(await arguments(n=1, kind='b', address={'street': 's'}, rates={'q': 1}, at=at))"
        ),
        "1 b s {'q': 1.0} 2024-01-01T00:00:00",
    ),
    "a session with state, concurrent calls": (
        (
            "import asyncio\nbefore = await count()\nmore = await asyncio.gather(*[count() for _ in range(5)])\n"
            "print(sorted(n - before for n in more))"
        ),
        "[1, 2, 3, 4, 5]",
    ),
}


@asynccontextmanager
async def open_tools(source: str) -> AsyncIterator[Any]:
    """Give the server's tools over one session."""
    if source == "adapter":
        async with MultiServerMCPClient({"k": CONNECTION}).session("k") as session:
            yield await load_mcp_tools(session)
    else:
        async with ToolCatalog.from_mcp({"k": CONNECTION}) as catalog:
            yield catalog


@pytest.mark.parametrize("source", ["adapter", "from_mcp"])
async def test_kinds_of_values(source: str) -> None:
    """Programs that read values as the server's schemas say are accepted, and right."""
    prefix = "k." if source == "from_mcp" else ""
    wanted = {case: out.replace("{name}", f"{prefix}given") for case, (_, out) in PROGRAMS.items()}
    seen: dict[str, str] = {}
    async with open_tools(source) as tools:
        executor = ProgrammaticToolExecutor(tools)
        for case, (code, _) in PROGRAMS.items():
            seen[case] = (await executor.aexecute(code)).report()
    assert seen == wanted
