"""A folder with tools and files as a person has them, and two ways to call the command line in it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mcp.client.stdio  # noqa: F401 - keeps the `sys.stderr` of its first import: not that of a test
import pytest

from langchain_ptc.cli import main
from tests.support.waiting import SECONDS

TOOLS = '''
import asyncio
import contextlib
import signal
import sys
import threading
import time
from dataclasses import dataclass

from langchain_core.tools import StructuredTool, tool

from langchain_ptc import ToolCatalog
from langchain_ptc.testing import ScriptedChatModel, tool_call_message

PRICES = {"tea": 3.5, "rye": 2.0}


@tool
def get_price(name: str) -> float:
    """Look up a price."""
    print(f"looking up {name}\\n", end="")  # in one piece: others print beside it
    return PRICES[name]


@tool
async def count_stock(name: str) -> int:
    """Count what is in stock."""
    await asyncio.sleep(0.01)
    return len(name)


@tool
def block(seconds: float) -> None:
    """Block a thread."""
    print("blocking", flush=True)
    time.sleep(seconds)


@tool
def interrupt(seconds: float) -> None:
    """Interrupt the program from its own thread, and block that."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    time.sleep(seconds)


def plain(name: str) -> str:
    """A function that is no tool yet."""
    return name


tools = [get_price, count_stock]
by_domain = {"shop": [get_price], "stock": [count_stock]}
catalog = ToolCatalog(by_domain)
functions = [plain]
number = 3
wrong = [get_price, 3]
twice = [get_price, get_price]


class Holder:
    inner = tools


def make():
    return tools


async def make_later():
    await asyncio.sleep(0)
    return catalog


@contextlib.asynccontextmanager
async def opened():
    print("opened", file=sys.stderr)
    try:
        yield tools
    finally:
        print("closed", file=sys.stderr)


def make_nothing():
    return None


def fail():
    return {}["missing"]


ANSWER = """
import asyncio
prices = await asyncio.gather(*[get_price(name) for name in ("tea", "rye")])
print(sum(prices))
"""


def model():
    mistaken = "print(await get_prise('tea'))"
    replies = [tool_call_message("run_code", {"code": code}) for code in (mistaken, ANSWER)]
    return ScriptedChatModel(script=replies)


good_model = ScriptedChatModel(script=lambda _: tool_call_message("run_code", {"code": ANSWER}))
bad_model = ScriptedChatModel(script=lambda _: "```python\\n1 / 0\\n```")
talker = ScriptedChatModel(script=["No code is needed."])
silent = ScriptedChatModel(script=lambda _: tool_call_message("run_code", {"code": "x = 1"}))


def refuse(_):
    raise PermissionError("401: the key is not valid\\nwith more lines")


refused = ScriptedChatModel(script=refuse)
'''


@dataclass(frozen=True)
class Shown:
    """What one call came to."""

    code: int
    out: str
    err: str


class Project:
    """The folder, which is the current one."""

    def __init__(self, path: Path, capfd) -> None:
        self.path = path
        self._capfd = capfd
        self.write("shop.py", TOOLS)
        self.write("program.py", "print(await get_price('tea'))\n")

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        importlib.invalidate_caches()

    def call(self, *arguments: str) -> Shown:
        """Call the command line in this process."""
        self._capfd.readouterr()
        code = main(list(arguments))
        shown = self._capfd.readouterr()
        return Shown(code, shown.out, shown.err)


def open_project(path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Iterator[Project]:
    """Go into a folder with tools, and leave no trace of it."""
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield Project(path, capfd)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(path)):
            del sys.modules[name]


def call_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Call the command line as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "langchain_ptc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        **options,
    )
