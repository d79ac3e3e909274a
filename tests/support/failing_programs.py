"""Programs that fail, and the tools that they call: what `tests/run/report_snapshots/` shows the reports of.

What they do does not depend on the version of Python, on time, or on the order in which anything
happens to finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, ToolException, tool

from langchain_ptc import Limits, ToolCatalog, ToolPolicy


@tool
async def get_user(id: int) -> dict[str, Any]:
    """Get a user."""
    return {"id": id, "name": "Ada", "email": None, "address": {"city": "Bern", "zip": "3000"}}


@tool
def get_team(department: str) -> list[dict[str, Any]]:
    """Get everybody in a department."""
    rows: list[dict[str, Any]] = [
        {"id": n, "name": f"p{n}", "salary": 100 * n} for n in range(1, 4)
    ]
    rows[-1]["salary"] = None
    return rows


@tool
def get_names(department: str) -> str:
    """Get the names of everybody in a department, as text."""
    return "Ada, Grace"


@tool
def pay(to: str, amount: float, token: str = "") -> str:
    """Pay somebody."""
    return f"paid {amount} to {to}"


@tool
async def broken(reason: str) -> str:
    """Always fail, for a reason that is meant to be told."""
    raise ToolException(reason)


@tool
async def late(seconds: float) -> str:
    """Answer after some time."""
    await asyncio.sleep(seconds)
    return "late"


@tool
async def endless(name: str) -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return name


@tool
def rows(count: int) -> list[int]:
    """Return many numbers."""
    return list(range(count))


TOOLS: Mapping[str, list[BaseTool]] = {
    "hr": [get_user, get_team, get_names],
    "finance": [pay],
    "misc": [broken, late, endless, rows],
}
POLICIES = {
    "get_user": ToolPolicy(read_only=True),
    "get_team": ToolPolicy(read_only=True),
    "get_names": ToolPolicy(read_only=True),
    "rows": ToolPolicy(read_only=True, max_calls=3),
}


def catalog() -> ToolCatalog:
    """Return the tools."""
    return ToolCatalog(TOOLS, policies=POLICIES)


@dataclass(frozen=True, kw_only=True)
class Failing:
    """One program that fails."""

    code: str
    status: str
    """How the execution ends."""
    limits: Limits = field(default_factory=Limits)
    check: str = "off"
    """Most of what is wrong here would be found before the run; this is about what is told of a run."""
    decision: Mapping[str, Any] | None = None
    """What a person decides of each call of `pay`; None if nobody is asked."""


def _error(code: str, **options: Any) -> Failing:
    return Failing(code=code, status="error", **options)


PROGRAMS: dict[str, Failing] = {
    # --- the code's own mistakes --------------------------------------------------------------------
    "key-error-async": _error(
        'user = await get_user(id=1)\nprint("got", len(user))\nprint(user["nmae"])\n'
    ),
    "key-error-nested": _error('user = await get_user(id=1)\nprint(user["address"]["street"])\n'),
    "key-error-comprehension": _error(
        'team = get_team(department="eng")\nprint([row["salry"] for row in team])\n'
    ),
    "key-error-generator": _error(
        'team = get_team(department="eng")\ntotal = sum(row["pay"] for row in team)\n'
    ),
    "key-error-plain-dict": _error('prices = {"tea": 2, "milk": 1}\nprint(prices["coffee"])\n'),
    "key-error-in-function": _error(
        "async def street_of(id):\n"
        "    user = await get_user(id=id)\n"
        '    return user["address"]["street"]\n'
        "\n"
        'await pay(to="Ada", amount=1.5)\n'
        "print(await street_of(7))\n"
    ),
    "attribute-error-record": _error("user = await get_user(id=1)\nprint(user.nmae)\n"),
    "attribute-error-none": _error("user = await get_user(id=1)\nprint(user.email.lower())\n"),
    "attribute-error-own-class": _error(
        "class Account:\n"
        "    def __init__(self):\n"
        "        self.balance = 10\n"
        "        self.owner = 'Ada'\n"
        "\n"
        "account = Account()\n"
        "print(account.balanse)\n"
    ),
    "type-error-none-in-sum": _error(
        'team = get_team(department="eng")\n'
        "total = 0\n"
        "for row in team:\n"
        '    total = total + row["salary"]\n'
    ),
    "type-error-text-as-list": _error(
        'names = get_names(department="eng")\nprint(names["first"])\n'
    ),
    "type-error-not-awaited": _error(
        'user = get_user(id=1)\nprint(user["name"])\nawait pay(to="Ada", amount=1)\n'
    ),
    "type-error-json": _error(
        "import datetime\n"
        "import json\n"
        "\n"
        "user = await get_user(id=1)\n"
        "print(json.dumps(datetime.date(2026, 1, 2), indent=len(user)))\n"
    ),
    "type-error-own-function": _error(
        "def total(rows, rate=1.0):\n"
        "    return sum(rows) * rate\n"
        "\n"
        "print(total([1, 2], raet=2.0))\n"
    ),
    "type-error-loop-over-none": _error(
        "user = await get_user(id=1)\nfor part in user.email:\n    print(part)\n"
    ),
    "index-error": _error('team = get_team(department="eng")\nprint(team[3]["name"])\n'),
    "value-error": _error('names = get_names(department="eng")\nprint(int(names))\n'),
    "zero-division": _error("done = 0\nprint('before')\nprint(\n    10\n    / done\n)\n"),
    "name-error": _error('team = get_team(department="eng")\nprint(len(taem))\n'),
    "name-error-annotation": _error("def total(rows: Rows) -> int:\n    return 1\n\nRows = list\n"),
    "name-error-tool": _error("print(await get_usr(id=1))\n"),
    "import-error": _error("from tools.hr import get_teams\n"),
    "recursion": _error("def down(n):\n    return down(n + 1)\n\ndown(0)\n"),
    "own-exception": _error(
        "class NotEnough(Exception):\n"
        "    pass\n"
        "\n"
        'pay(to="Ada", amount=5)\n'
        "try:\n"
        "    {}['x']\n"
        "except KeyError as error:\n"
        '    raise NotEnough("only 5 of 10 are paid") from error\n'
    ),
    "assertion": _error(
        'team = get_team(department="eng")\nassert len(team) == 4, "one is missing"\n'
    ),
    "exit": _error("import sys\nprint('nothing to do')\nsys.exit(3)\n"),
    "group": _error(
        "import asyncio\n"
        "\n"
        "async def zip_of(id):\n"
        "    user = await get_user(id=id)\n"
        '    return user["zip"]\n'
        "\n"
        "async with asyncio.TaskGroup() as group:\n"
        "    group.create_task(zip_of(1))\n"
    ),
    "deep-traceback": _error(
        "def f(n):\n    if n == 0:\n        return {}['leaf']\n    return f(n - 1)\n\nf(30)\n"
    ),
    "long-output": _error(
        "for n in range(2_000):\n    print('row', n)\nprint(rows_of)\n",
        limits=Limits(output_chars=400),
    ),
    "long-message": _error("raise ValueError('x' * 10_000)\n"),
    # --- not run ------------------------------------------------------------------------------------
    "syntax-error": _error("print('before')\ntotal = (1 + 2\n"),
    "policy": Failing(
        code="import sys\nprint(open('/etc/passwd').read())\nprint(sys.__dict__)\n",
        status="refused",
    ),
    "check": Failing(
        code='user = await get_user(ID=1)\nawait pay(to="Ada")\nprint(user)\n',
        status="refused",
        check="static",
    ),
    # --- calls --------------------------------------------------------------------------------------
    "bad-call": _error('await pay(to="Ada", amount=1)\nawait pay(recipient="Bob", amout=2)\n'),
    "bad-call-sync": _error('pay(to="Ada", amount=1)\npay("Bob", 2, "t", "more")\n'),
    "wrong-type": _error('pay(to="Ada", amount="much")\n'),
    "tool-fails": _error(
        'await pay(to="Ada", amount=1)\nawait broken(reason="the ledger is closed")\n'
    ),
    "tool-fails-side-by-side": _error(
        "import asyncio\n"
        "\n"
        "async def fail_when_paid():\n"
        '    await pay(to="Ada", amount=1)\n'
        '    await broken(reason="the ledger is closed")\n'
        "\n"
        'await asyncio.gather(endless(name="a"), endless(name="b"), fail_when_paid())\n'
    ),
    "secret-argument": _error('await pay(to="Ada", amount=1, token="tok-4711")\nprint(1 / 0)\n'),
    "many-calls": _error(
        "for n in range(60):\n    pay(to=f'person {n}', amount=n)\nraise RuntimeError('enough')\n"
    ),
    # --- limits -------------------------------------------------------------------------------------
    "limit-calls": Failing(
        code="for n in range(10):\n    pay(to='Ada', amount=n)\n",
        status="limit",
        limits=Limits(max_tool_calls=3),
    ),
    "limit-tool-seconds": Failing(
        code='await pay(to="Ada", amount=1)\nprint(await endless(name="x"))\n',
        status="limit",
        limits=Limits(tool_seconds=0.2),
    ),
    "limit-result": Failing(
        code="numbers = await rows(count=1000)\n", status="limit", limits=Limits(result_bytes=1000)
    ),
    "limit-output": Failing(
        code="await pay(to='Ada', amount=1)\nwhile True:\n    print('x' * 99)\n",
        status="limit",
        limits=Limits(output_bytes=1000, output_chars=300),
    ),
    "limit-wall": Failing(
        code='import asyncio\nawait asyncio.gather(pay(to="Ada", amount=1), endless(name="x"))\n',
        status="limit",
        limits=Limits(wall_seconds=0.5),
    ),
    "limit-code": Failing(code="x = 1\n" * 100, status="limit", limits=Limits(code_chars=100)),
    "limit-of-the-tool": _error("for n in range(5):\n    rows(count=n)\n"),
    # --- a person -----------------------------------------------------------------------------------
    "denied": Failing(
        code='await get_user(id=1)\nprint(await pay(to="Ada", amount=5))\n',
        status="denied",
        decision={"type": "reject", "message": "too much"},
    ),
    "denied-in-group": Failing(
        code=(
            "import asyncio\n"
            "async with asyncio.TaskGroup() as group:\n"
            '    group.create_task(pay(to="Ada", amount=5))\n'
        ),
        status="denied",
        decision={"type": "reject"},
    ),
    "denied-and-caught": _error(
        "try:\n"
        '    pay(to="Ada", amount=5)\n'
        "except ToolCallError as error:\n"
        "    print('not paid')\n"
        "print({}['receipt'])\n",
        decision={"type": "reject"},
    ),
    "approved-then-failed": _error(
        'print(await pay(to="Ada", amount=5))\nprint({}["receipt"])\n',
        decision={"type": "approve"},
    ),
    "answered-by-a-person": _error(
        'print(await pay(to="Ada", amount=5))\nprint({}["receipt"])\n',
        decision={"type": "respond", "message": "paid in cash"},
    ),
    "replay": _error(
        "from tests.support.fickle import value\nawait get_user(id=1)\nawait pay(to=value(), amount=1)\n",
        decision={"type": "approve"},
    ),
}
