"""The calls that a program is sure to make, of which none needs the result of another."""

from __future__ import annotations

import time

import pytest

from langchain_ptc.prefetch.slicing import MAX_ROUNDS
from tests.prefetch.parts import ahead_of, plan_of, run_part


def gets(code: str) -> list[object]:
    """Return the first arguments of the calls that the slice of a program makes."""
    return [call[1] for call in ahead_of(code)]


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("a = get(1)\nb = get(2)\nc = find(a['id'])\nd = get(3)\n", [1, 2, 3]),
        ("for k in [1, 2]:\n    rows = get(k)\n    total = sum(rows)\n", [1, 2]),
        ("for a in [1, 2]:\n    for b in [3, 4]:\n        get(a * 10 + b)\n", [13, 14, 23, 24]),
        ("ids = []\nfor n in range(200):\n    ids.append(n)\nget(len(ids))\n", [200]),
        ("x = {n: get(n) for n in range(3) if n}\n", [1, 2]),
        ("x = [find(r, get(n)) for n in [1] for r in get(n)]\n", []),
        ("n = 5\nx = [get(n) for n in [1]]\nget(n)\n", [1]),
        ("x = sum(len(get(n)) for n in (1, 2))\n", [1, 2]),
        ("x = get(1) if 1 < 2 else get(2)\n", [1]),
        ("x = get(1) or get(2)\n", [1]),
        ("x = f'{get(1)} {get(2)}'\n", [1, 2]),
        ("if (w := get(1)):\n    get(w)\nget(2)\n", [1, 2]),
        ("x = get(n := 3)\nget(n)\n", [3]),
        ("n = 1\nn += 1\nget(n)\nn += get(5)\nget(n)\n", [2, 5]),
        ("d = {}\nd['a'] = 1\nget(d['a'])\nd['a'] = get(2)\nget(d['a'])\n", [1, 2]),
        (
            "rows = [1]\nrows.append(2)\nfor r in rows: get(r)\nrows.append(get(3))\nget(rows[0])\n",
            [1, 2, 3],
        ),
        ("c = {'k': 1}\nget(c.get('k'))\nfind(c.get('k'))\n", [1, 1]),
        ("del x\nget(1)\n", [1]),
        ("x, y = 1, 2\nget(x)\nx, y = get(3), 4\nget(y)\n", [1, 3]),
        ("x = get(1)\nx, y = 2, 3\nget(x)\n", [1, 2]),
        ("for r in get(1): print(r)\nfind([r for r in [2]])\n", [1, [2]]),
        ("x = get(1)\nfind(list(filter(lambda x: x, [2])))\nfind(x)\n", [1, [2]]),
        ("x = get(1)\nx += 1\nfind(x)\nx = 2\nx += 1\nfind(x)\n", [1, 3]),
        ("a = [0]\na[0] += get(1)\nfind(a[0])\na = [2]\na[0] += 1\nfind(a[0])\n", [1, 3]),
        ("with open_it() as f:\n    get(1)\n    get(f)\n", [1]),
        (
            "try:\n    x = get(1)\nexcept ValueError:\n    x = get(2)\nelse:\n    get(3)\nfinally:\n    get(4)\n",
            [1, 3, 4],
        ),
        ("assert get(1)\nget(2)\n", [1, 2]),
        ("x: list[Row] = [1]\nget(x[0])\n", [1]),
        ("from __future__ import annotations\nget(1)\n", [1]),
        (
            "import json\nget(json.dumps([1]))\nx = json.loads(get(2))\nget(json.dumps([3]))\n",
            ["[1]", 2, "[3]"],
        ),
        ("print(get(1), sep='')\n", [1]),
        ("get(*[1], **{})\n", [1]),
    ],
)
def test_calls_whose_arguments_are_known(code: str, keys: list[object]) -> None:
    """Straight lines, loops, comprehensions, conditions, assignments of every kind."""
    assert gets(code) == keys


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        (
            "def h(k, n=2):\n    r = get(k)\n    s = find(n)\n    return [r, s]\nh(1)\nh(3, n=4)\n",
            [1, 2, 3, 4],
        ),
        ("h = lambda k: get(k)[0]\nh(1)\n", [1]),
        ("def a(k):\n    return get(k)\ndef b(k):\n    return [a(k), a(k + 1)]\nb(1)\n", [1, 2]),
        ("def h(k):\n    if k > 1:\n        return None\n    return get(k)\nh(1)\nh(2)\n", [1]),
        (
            "def h(k):\n    for i in range(k):\n        yield get(i)\nfor x in h(2): print(x)\nget(9)\n",
            [9],
        ),
        ("@cached\ndef h(k):\n    return get(k)\nh(1)\nget(9)\n", [9]),
        ("def key(n):\n    return n * 2\nget(key(2))\n", [4]),
        ("rate = get(1)\ndef key(n):\n    return n * rate\nfind(key(2))\n", [1]),
        ("def key(n):\n    return n * rate\nrate = get(1)\nfind(key(2))\nfind(3)\n", [1, 3]),
        (
            "n = 0\ndef h():\n    global n\n    n += 1\n    return get(n)\nh()\nfind(n)\nfind(7)\n",
            [7],
        ),
        (
            "class A:\n    def load(self):\n        return get(1)\nx = A().load()\nfind(x)\nfind(2)\n",
            [2],
        ),
        ("class A:\n    def key(self):\n        return 1\nget(A().key())\n", [1]),
        ("def walk(k):\n    for c in get(k):\n        walk(c)\nwalk(1)\n", [1]),
        ("x = list(map(get, [1, 2]))\n", [1, 2]),
        ("x = list(pool.map(lambda k: find(k), [1, 2]))\n", [1, 2]),
        ("fs = [pool.submit(get, k) for k in [1, 2]]\nget(3)\n", [1, 2, 3]),
        ("f = partial(get, 1)\nf()\nget(2)\n", [2]),
    ],
)
def test_functions(code: str, keys: list[object]) -> None:
    """Calls of functions make the calls in them, unless something of the function is not known."""
    assert gets(code) == keys


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("crm.get_customer(1)\n", [("get_customer", 1)]),
        ("tools.crm.get_customer(id=1)\n", [("get_customer", ("id", 1))]),
        ("from tools import crm as c\nc.get_customer(1)\n", [("get_customer", 1)]),
        ("import tools.crm as c\nc.get_customer(1)\n", [("get_customer", 1)]),
        ("from tools.crm import get_customer as g\ng(1)\n", [("get_customer", 1)]),
        ("from tools import get, find\nget(1)\nfind(2)\n", [("get", 1), ("find", 2)]),
        ("f = get\nf(1)\n", [("get", 1)]),
        ("f = get\nf = find\nf(1)\nget(2)\n", [("get", 2)]),
        ("get = {'a': 1}.get\nget('a')\nfind(get('a'))\nfind(2)\n", [("find", 2)]),
        ("def get(k):\n    return crm.get_customer(k)\nget(1)\nfind(2)\n", [("find", 2)]),
        ("def h(find):\n    return find\nfind(h(2))\nget(3)\n", [("get", 3)]),
        ("for team in [1]:\n    get(team)\nget(2)\n", [("get", 2)]),
        ("crm = {}\ncrm['a'] = 1\nget(2)\n", []),
        ("f = getattr(crm, 'get_customer')\nf(1)\nget(2)\n", []),
    ],
)
def test_names_of_tools(code: str, calls: list[object]) -> None:
    """By domain, by import, by another name; a name that may mean something else is left alone."""
    assert ahead_of(code) == calls


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("get(1)\npay(2)\nget(3)\n", [1]),
        ("x = find(pay(1))\nget(2)\n", []),
        ("for k in [1, 2]:\n    get(k)\n    pay(k)\nget(3)\n", [1]),
        ("for k in [1, 2, 3]:\n    get(k)\n    if k == 2:\n        pay(k)\nget(4)\n", [1, 2]),
        ("for k in [1, 2]:\n    if get(k):\n        pay(k)\nget(3)\n", []),
        ("def h(k):\n    get(k)\n    return pay(k)\nget(1)\nh(2)\nget(3)\n", [1]),
        ("f = pay\nget(1)\n", []),
        ("x = [pay, get]\nget(1)\n", []),
        ("try:\n    get(1)\n    pay(2)\nexcept Exception:\n    pass\nget(3)\n", [1]),
        ("if False:\n    pay(1)\nget(2)\n", [2]),
        ("while x:\n    pay(1)\nget(2)\n", []),
        (
            "x = True\nwhile x:\n    get(1)\n    if get(2):\n        pay(3)\n    get(4)\nget(5)\n",
            [1],
        ),
        ("n = 0\nwhile n < 2:\n    if n:\n        pay(3)\n    get(n)\n    n += 1\nget(5)\n", [0]),
        ("crm.delete_customer(1)\nget(2)\n", []),
        ("from tools.crm import delete_customer as d\nget(1)\nd(1)\nget(2)\n", [1]),
        ("class A:\n    def go(self):\n        pay(1)\nget(1)\nA().go()\nget(2)\n", [1]),
        ("x = list(map(pay, [1]))\nget(2)\n", []),
        ("pay = 3\nget(1)\nx = pay\nget(2)\n", [1]),
    ],
)
def test_it_ends_where_something_may_write(code: str, keys: list[object]) -> None:
    """Nothing that stands behind what may write is read before it: as exactly as can be known when it runs."""
    assert gets(code) == keys


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("for p in range(9):\n    if not get(p): break\n", [0]),
        (
            "for p in range(9):\n    try:\n        get(p)\n    except ValueError:\n        break\n",
            [0],
        ),
        ("for p in range(3):\n    if p == 1: break\n    get(p)\n", [0]),
        ("for p in range(3):\n    if p == 1: continue\n    get(p)\n", [0, 2]),
        ("for p in [1, 2]:\n    if not get(p): continue\n    find(9)\n", [1, 2]),
        (
            "for p in [1, 2]:\n    for q in get(p):\n        if q: continue\n    find(p)\n",
            [1, 1, 2, 2],
        ),
        ("x = 1\nfor p in [1, 2]:\n    find(x)\n    x = get(p)\nfind(x)\nget(5)\n", [1, 2, 5]),
        ("x = 1\nfor p in [1, 2]:\n    x = p\n    find(x)\n    x = get(p)\n", [1, 1, 2, 2]),
        ("a = b = 1\nfor p in [1, 2]:\n    find(a)\n    a = b\n    b = get(p)\n", [1, 2]),
        ("while True:\n    get(1)\n    if get(2): break\nget(3)\n", [1, 2, 3]),
        ("n = 1\nwhile n < 9:\n    r = get(n)\n    n += 1\n    find(n)\nfind(n)\n", [1, 2]),
        ("while n:\n    n = n[1:]\n    if n: continue\n    get(n)\nget(2)\n", [2]),
        ("while get(1):\n    get(2)\nget(3)\n", [1, 3]),
        ("for p in [1, 2]:\n    while True:\n        if get(p): break\n", [1, 2]),
        ("for p in [1, 2]:\n    for q in [3, 4]:\n        if get(p * q): break\n", [3, 6]),
        ("for p in [1, 2]:\n    def h():\n        if p: return 1\n    get(p)\n", [1, 2]),
        ("for p in get(1):\n    find(2)\nfind(3)\n", [1, 3]),
        ("for p in [1]:\n    pass\nelse:\n    get(2)\n", [2]),
        ("if get(1):\n    x = 2\nelse:\n    x = 3\nfind(x)\nfind(4)\n", [1, 4]),
        ("if 2 > 1:\n    x = 2\nelse:\n    x = get(9)\nfind(x)\n", []),
        ("get(1)\nraise ValueError(get(2))\nget(3)\n", [1, 2]),
        ("get(1)\nreturn get(2)\nget(3)\n", [1, 2]),
        ("get(1)\nexit()\nget(2)\n", [1]),
        ("match 1:\n    case x:\n        get(x)\nfind(x)\nget(2)\n", [2]),
        ("from itertools import count\nfor p in count():\n    get(p)\n", list(range(MAX_ROUNDS))),
        ("boom = 1 / 0\nget(1)\n", [1]),
        ("y = undefined\nget(y)\nget(1)\n", [1]),
    ],
)
def test_loops_and_jumps(code: str, keys: list[object]) -> None:
    """One round where its end is not known, many where it is; what a round leaves unknown, the next is without."""
    assert gets(code) == keys


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("a = await get(1)\nb = await find(a)\nc = await get(2)\n", [1, 2]),
        (
            "import asyncio\nx = await asyncio.gather(get(1), *[get(n) for n in [2, 3]])\n",
            [1, 2, 3],
        ),
        ("import asyncio\nt = asyncio.create_task(get(1))\nx = await t\n", [1]),
        ("import asyncio\nx = await asyncio.wait_for(get(1), timeout=2)\n", [1]),
        ("x = [await get(n) for n in [1, 2]]\n", [1, 2]),
        ("x = [r async for r in find(1)]\nawait find(x)\nawait get(2)\n", [1, 2]),
        (
            "async def h(k):\n    return await get(k)\nfor k in [1, 2]:\n    print(await h(k))\n",
            [1, 2],
        ),
        ("def h(k):\n    return get(k)\nx = await h(1)\n", [1]),
        (
            "s = Semaphore(2)\nasync def h(k):\n    async with s:\n        return await get(k)\nx = await gather(*(h(k) for k in [1, 2]))\n",
            [1, 2],
        ),
        (
            "import asyncio\nasync def main():\n    a = await get(1)\n    b = await get(2)\nasyncio.run(main())\n",
            [1, 2],
        ),
        (
            "async def main():\n    async def one(k):\n        return await get(k)\n    return [await one(1), await one(2)]\nawait main()\n",
            [1, 2],
        ),
        (
            "await pause(1)\nawait get(1)\nasync for x in y:\n    await get(2)\nawait get(3)\n",
            [1, 3],
        ),
        (
            "async def h():\n    n = 0\n    def inc():\n        nonlocal n\n        n += 1\n        return n\n    return await get(inc())\nawait h()\nawait get(9)\n",
            [9],
        ),
    ],
)
def test_asynchronous_programs(code: str, keys: list[object]) -> None:
    """Each call is awaited by itself, in functions that are all asynchronous."""
    part = plan_of(code).slice()
    assert part is not None
    assert part.is_async
    assert [call[1] for call in run_part(part).ahead] == keys


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\nprint(x)\n",
        "pay(1)\n",
        "def h():\n    return get(1)\n",
        "x = y = (\n",
        "",
        "get(unknown())\n",
        "x = 0x" + "f" * 9_000 + "\nget(x)\n",
        "".join(f"def f{n}():\n    f{n + 1}()\n" for n in range(50)) + "f50 = get\nf0()\n",
    ],
)
def test_nothing_to_call(code: str) -> None:
    """A program that makes no call, is no Python, or is too much to follow, makes no early call."""
    assert ahead_of(code) == []


@pytest.mark.parametrize("depth", [3_000, 9_000])
@pytest.mark.parametrize(("start", "part"), [("x", ".a"), ("x = 1", "+1")])
def test_deep_programs(start: str, part: str, depth: int) -> None:
    """How deep a program may be depends on Python's version: it is sliced, or makes no early call; nothing raises."""
    assert ahead_of(f"{start}{part * depth}\nget(1)\n") in ([], [("get", 1)])


def nested(depth: int, head: str, body: str) -> str:
    lines = [f"{'    ' * level}{head}\n".replace("#", str(level)) for level in range(depth)]
    return "".join([*lines, f"{'    ' * depth}{body}\n"])


@pytest.mark.parametrize(
    "code",
    [
        nested(19, "for a# in [1]:", "x = get(a1)"),
        nested(19, "for a# in x:", "x = get(a1)"),
        nested(60, "if x == 1:", "x = get(1)"),
        nested(60, "def f#():", "get(1)"),
        "x = " + "[get(a) for a in " * 60 + "[1]" + "]" * 60 + "\n",
        "x = " + "get(" * 90 + "1" + ")" * 90 + "\n",
        "".join(f"x{n} = get(x{n - 1})\n" for n in range(250)),
        "for a in [1]:\n"
        + "".join(f"    x{n} = x{n - 1}\n" for n in range(900, 0, -1))
        + "    x0 = get(a)\n",
        "x" + ".a()" * 400 + "\n" + "get(x" + ".a()" * 400 + ")\n",
        "get(" + ", ".join(["x"] * 5_000) + ")\n",
    ],
)
def test_bounded_time(code: str) -> None:
    """Nested and repeated parts of every kind take a bounded time."""
    began = time.process_time()
    plan = plan_of(code)
    plan.slice()
    plan.rehearsal()
    assert time.process_time() - began < 3
