"""What a session keeps from one execution to the next, at each level of isolation, and its notes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox
from langchain_ptc.sandbox import Done, Moment, Program, Replay, Result
from langchain_ptc.sandbox.wire.protocol import (
    HostProtocol,
    ProtocolViolation,
    encode_done,
    encode_kept,
)
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.wire import frames, receive

TOOLS = ("echo", "crm.find")
NONE = encode_value(None)


async def execute(
    sandbox, code: str, kept: bytes | None = b"", *, answer: object = None, **options
) -> Done:
    """Run one program of a session; a tool gives `answer`, or its arguments."""
    session = sandbox.session()

    def on_calls(calls):
        for call in calls:
            value = list(call.args) if answer is None else answer
            session.resume([Result(id=call.id, payload=encode_value(value))])

    options = {"tools": TOOLS, **options}
    return await session.run(Program(code=code, kept=kept, **options), on_calls)


async def execute_both(sandbox, first: str, second: str, **options) -> Done:
    """Run two programs of one session; the first must end well, and be kept whole."""
    before = await execute(sandbox, first, **options)
    assert before.failure is None, before.failure
    assert before.notes == ()
    after = await execute(sandbox, second, before.kept, **options)
    assert after.failure is None, after.failure
    assert after.notes == ()
    return after


class Case(NamedTuple):
    name: str
    first: str
    second: str
    printed: str
    plain: bool = False
    """Whether it is kept where the kernel does not confine the code too."""


CASES = [
    Case(
        "plain data, shared and in cycles",
        "a = [1, 'x', None, 2.5, {'k': [1]}]\nb = a\nc = (a,)\nd = {1: 2, (1, 2): 3}\na.append(a)",
        "print(b is a, a[-1] is a, c[0] is a, d, a[:5])",
        "True True True {1: 2, (1, 2): 3} [1, 'x', None, 2.5, {'k': [1]}]",
    ),
    Case(
        "numbers and texts at the edges",
        "big = 10**5000\nlone = chr(0xD83D) + chr(0xDE00)\nn = float('-inf')\nz = -0.0\nb = b'\\xff'",
        "print(big == 10**5000, len(lone), n, z, b)",
        "True 2 -inf -0.0 b'\\xff'",
    ),
    Case(
        "functions, their defaults and their globals",
        "import json as j\nK = 3\ndef f(x, y=2, *, z=(1,)):\n    'doc'\n    return j.dumps([x, y, z, K])\n"
        "g = lambda v: f(v) + '!'",
        "print(g(1), f.__doc__)\nK = 4\nprint(f(1, z=0))",
        "[1, 2, [1], 3]! doc\n[1, 2, 0, 4]",
        plain=True,
    ),
    Case(
        "functions on one line",
        "fs = [lambda x, i=i: x * i for i in range(3)]; gs = [lambda: 1, lambda: 2]",
        "print([f(2) for f in fs], [g() for g in gs])",
        "[0, 2, 4] [1, 2]",
    ),
    Case(
        "closures share their cells",
        "def counter(n):\n    def add(d):\n        nonlocal n\n        n += d\n        return n\n"
        "    return add, lambda: n\nadd, get = counter(5)\nadd(1)",
        "print(add(2), get())",
        "8 8",
    ),
    Case(
        "decorated functions",
        "from functools import wraps, lru_cache, partial\nfrom contextlib import contextmanager\n"
        "def deco(f):\n    @wraps(f)\n    def inner(*a):\n        return f(*a) + 1\n    return inner\n"
        "@deco\ndef h(x):\n    return x\n"
        "@lru_cache(maxsize=None)\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "@contextmanager\ndef opened():\n    yield 5\nat_least = partial(max, 3)",
        "with opened() as five:\n    print(h(1), h.__name__, fib(30), five, at_least(1))",
        "2 h 832040 5 3",
    ),
    Case(
        "a part of the code before a top-level return",
        "def f():\n    return 3\nclass A:\n    def m(self):\n        return f()\na = A()\nreturn None",
        "print(f(), a.m())",
        "3 3",
    ),
    Case(
        "generators and asynchronous generators as functions",
        "def numbers(n):\n    yield from range(n)\nasync def later(n):\n    for i in range(n):\n"
        "        yield i\nx = [v async for v in later(1)]",
        "print(list(numbers(3)), [v async for v in later(2)])",
        "[0, 1, 2] [0, 1]",
        plain=True,
    ),
    Case(
        "classes with private parts, parents and counters",
        "class A:\n    made = 0\n    def __init__(self, x):\n        self._x = x\n        A.made += 1\n"
        "    @property\n    def x(self):\n        return self._x\n    @classmethod\n"
        "    def default(cls):\n        return cls(9)\n    @staticmethod\n    def s():\n        return 's'\n"
        "class B(A):\n    def __init__(self, x):\n        super().__init__(x)\n        self.__p = 5\n"
        "    def p(self):\n        return self.__p\na, b = A(1), B(2)\npair = [a, b]",
        "print(a.x, b.x, b.p(), A.made, pair[0] is a, type(b) is B, A.default().x, A.s(), A.made)\n"
        "class C(B):\n    def y(self):\n        return self._x\nprint(C(7).y())",
        "1 2 5 2 True True 9 s 3\n7",
    ),
    Case(
        "nothing of a class body or a hook runs again",
        "class Base:\n    seen = []\n    def __init_subclass__(cls):\n        Base.seen.append(cls.__name__)\n"
        "class One(Base):\n    print('body')\nclass Named:\n    def __set_name__(self, owner, name):\n"
        "        self.name = name\n    def __get__(self, obj, owner=None):\n        return self.name\n"
        "class Two:\n    field = Named()\n    rows = echo(1)",
        "print(Base.seen, Two().field, Two.rows)",
        "['One'] field [1]",
    ),
    Case(
        "dataclasses",
        "from dataclasses import dataclass, field\n@dataclass(order=True, frozen=True)\nclass P:\n"
        "    x: int\n    y: float = 1.0\n    tags: list = field(default_factory=list, compare=False)\n"
        "@dataclass(slots=True)\nclass Q:\n    p: P\n    n: int = 3\n@dataclass\nclass R(Q):\n"
        "    z: str = 'z'\nps = [P(2), P(1)]\nq = Q(ps[0])\nr = R(ps[1])\nby = {P(5): 'five'}",
        "print(sorted(ps)[0], q, q.p is ps[0], Q(P(0)).n, by[P(5)], r, R(P(1)) == r)\ntry:\n"
        "    ps[0].x = 3\nexcept AttributeError as error:\n    print(type(error).__name__)",
        "P(x=1, y=1.0, tags=[]) Q(p=P(x=2, y=1.0, tags=[]), n=3) True 3 five "
        "R(p=P(x=1, y=1.0, tags=[]), n=3, z='z') True\nFrozenInstanceError",
    ),
    Case(
        "enumerations",
        "from enum import Enum, IntFlag, auto\nclass C(Enum):\n    RED = auto()\n    BLUE = auto()\n"
        "    ROT = RED\n    def low(self):\n        return self.name.lower()\nclass S(str, Enum):\n"
        "    A = 'a'\nclass F(IntFlag):\n    R = 1\n    W = 2\nclass Planet(Enum):\n    E = (1, 2)\n"
        "    def __init__(self, mass, radius):\n        self.mass = mass\nc = C.RED\nf = F.R | F.W\n"
        "by = {C.RED: 1}",
        "print(c is C.RED, C.ROT is c, c.low(), S.A == 'a', int(f), F.R in f, by[C.RED], len(C), "
        "Planet.E.mass)",
        "True True red True 3 True 1 2 1",
    ),
    Case(
        "named tuples and typed dicts",
        "from collections import namedtuple\nfrom typing import NamedTuple, TypedDict\n"
        "P = namedtuple('P', 'x y', defaults=[7])\nclass N(NamedTuple):\n    a: int\n    b: str = 'z'\n"
        "    def twice(self):\n        return self.a * 2\nclass T(TypedDict):\n    k: int\np, n = P(1), N(4)",
        "print(p, P(2), n, n.twice(), N(5), T(k=1))",
        "P(x=1, y=7) P(x=2, y=7) N(a=4, b='z') 8 N(a=5, b='z') {'k': 1}",
    ),
    Case(
        "abstract, generic and compared classes",
        "from abc import ABC, abstractmethod\nfrom functools import cached_property, total_ordering\n"
        "from typing import Generic, Protocol, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n"
        "    def __init__(self, v: T) -> None:\n        self.v = v\nclass Shape(ABC):\n"
        "    @abstractmethod\n    def area(self) -> float: ...\nclass Square(Shape):\n"
        "    def area(self):\n        return 4\nclass HasArea(Protocol):\n    def area(self) -> float: ...\n"
        "@total_ordering\nclass V:\n    def __init__(s, n):\n        s.n = n\n"
        "    def __eq__(s, o):\n        return s.n == o.n\n    def __lt__(s, o):\n        return s.n < o.n\n"
        "    def __hash__(s):\n        return hash(s.n)\n    @cached_property\n    def sq(s):\n"
        "        return s.n ** 2\nb, s, v = Box[int](3), Square(), V(3)\nsome = {V(1), V(2)}\n"
        "few = frozenset({V(1)})",
        "print(b.v, s.area(), isinstance(s, Shape), V(3) >= V(2), v.sq, V(2) in some, V(1) in few)\n"
        "try:\n    Shape()\nexcept TypeError:\n    print('abstract')",
        "3 4 True True 9 True True\nabstract",
    ),
    Case(
        "classes that inherit from built-in ones, and local ones",
        "class L(list):\n    def total(self):\n        return sum(self)\nclass D(dict): pass\n"
        "class S(str): pass\nclass I(int): pass\nclass Slots:\n    __slots__ = ('a', '__b')\n"
        "    def __init__(self):\n        self.a, self.__b = 1, 2\n    def b(self):\n"
        "        return self.__b\ndef make():\n    class Inner:\n        z = 1\n        def f(self):\n"
        "            return Inner.z\n    return Inner\nl = L([1, 2])\nl.extra = 5\nd, s, i = D(a=1), S('t'), I(4)\n"
        "o = Slots()\ninner = make()()",
        "print(l, l.total(), l.extra, d, type(d) is D, s, i + 1, o.a, o.b(), inner.f())",
        "[1, 2] 3 5 {'a': 1} True t 5 1 2 1",
    ),
    Case(
        "keys that hold each other, and keys that hold what is no key",
        "from dataclasses import dataclass, field\nclass N:\n    def __init__(self, name):\n"
        "        self.name, self.friends = name, set()\n    def __hash__(self):\n        return hash(self.name)\n"
        "    def __eq__(self, other):\n        return self.name == other.name\n"
        "@dataclass(frozen=True)\nclass Edge:\n    ends: tuple\n    seen: list = field(default_factory=list, compare=False)\n"
        "class Plain: pass\na, b, p = N('a'), N('b'), Plain()\na.friends |= {a, b}\nb.friends.add(a)\n"
        "p.itself, p.edge = p, Edge((p, a))\np.edge.seen.append(p)\nby = {p.edge: 1, p: 2, (a, b): 3}",
        "print(a in b.friends, len(a.friends), by[Edge((p, N('a')))], by[p.itself], by[(b.friends.pop(), b)])",
        "True 2 1 2 3",
    ),
    Case(
        "exceptions",
        "class Mine(Exception):\n    def __init__(self, text, code):\n        super().__init__(text)\n"
        "        self.code = code\ncaught = [KeyError('k'), Mine('m', 3), ToolCallError('bad')]",
        "print(caught, caught[1].code, isinstance(caught[1], Mine))",
        "[KeyError('k'), Mine('m'), ToolCallError('bad')] 3 True",
    ),
    Case(
        "collections",
        "from collections import Counter, OrderedDict, defaultdict, deque\nfrom types import SimpleNamespace\n"
        "c, q, o = Counter('aab'), deque([1, 2], maxlen=2), OrderedDict(a=1)\nd = defaultdict(list)\n"
        "d['q'].append(1)\nn = SimpleNamespace(a=1)\no.move_to_end('a')\nb = bytearray(b'x')\ns = {3, 1}",
        "q.append(3)\nprint(c.most_common(1), q, list(o.items()), d['new'], dict(d), n.a, b, sorted(s))",
        "[('a', 2)] deque([2, 3], maxlen=2) [('a', 1)] [] {'q': [1], 'new': []} 1 "
        "bytearray(b'x') [1, 3]",
    ),
    Case(
        "dates, numbers and patterns",
        "import datetime as dt, decimal, fractions, io, random, re, uuid, zoneinfo\n"
        "now = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)\n"
        "there = now.astimezone(zoneinfo.ZoneInfo('Europe/Berlin'))\nday, gap = now.date(), dt.timedelta(1)\n"
        "d, f, u = decimal.Decimal('1.10'), fractions.Fraction(1, 3), uuid.UUID(int=5)\n"
        "r = re.compile('a(b)', re.I)\nrng = random.Random(1)\nfirst = rng.random()\n"
        "text = io.StringIO('ab\\r\\ncd')\ntext.read(2)\nupper, push = str.upper, [].append",
        "print(now, there.hour, day + gap, d, f, u, r.match('AB')[1], rng.random() != first)\n"
        "print(repr(text.read()), upper('x'), push(1))",
        "2024-01-02 03:04:05+00:00 4 2024-01-03 1.10 1/3 00000000-0000-0000-0000-000000000005 B True\n"
        "'\\r\\ncd' X None",
    ),
    Case(
        "names of modules, builtins and tools are bound again",
        "import tools\nfrom math import sqrt\nfrom tools.crm import find as look\nroot = sqrt\nshow = print\n"
        "domain = tools.crm\ndef call(n):\n    return echo(n)",
        "show(root(4), look(1), domain.find(2), call(3), echo(4))",
        "2.0 [1] [2] [3] [4]",
        plain=True,
    ),
    Case(
        "names that begin with an underscore, and names of builtins",
        "_x = 1\n__y = 2\n_ = 3\n__version__ = '4'\nopen = 5\ndef input():\n    return open",
        "print(_x, __y, _, __version__, open, input())",
        "1 2 3 4 5 5",
        plain=True,
    ),
    Case(
        "a tool's name that the code has taken",
        "crm = [1]\ndef echo(x):\n    return 'mine'",
        "print(crm, echo(1))",
        "[1] mine",
        plain=True,
    ),
    Case(
        "functions from code without await, called from code with one",
        "def call(n):\n    return echo(n) + ['!']",
        "print(await echo(1), call(2))",
        "[1] [2, '!']",
        plain=True,
    ),
    Case(
        "functions from code with await",
        "import asyncio\nasync def f(n):\n    return await echo(n)\ndef begin(n):\n    return echo(n)\n"
        "x = await f(1)",
        "print(asyncio.run(f(2)), await asyncio.gather(begin(3), begin(4)))",
        "[2] [[3], [4]]",
        plain=True,
    ),
    Case(
        "asyncio under another name",
        "import asyncio as aio\nasync def f():\n    return 1",
        "print(aio.run(f()))",
        "1",
        plain=True,
    ),
    Case(
        "a class pattern",
        "class P:\n    __match_args__ = ('x', 'y')\n    def __init__(s, x, y):\n        s.x, s.y = x, y\np = P(1, 2)",
        "match p:\n    case P(1, y):\n        print('y', y)",
        "y 2",
    ),
]


PLAIN_CASES = [
    *(case for case in CASES if case.plain),
    Case(
        "plain data",
        "import datetime, decimal, uuid\na = [1, 'x', None, 2.5, {'k': [1]}, True]\n"
        "d = {1: 2, (1, 2): {3}, None: frozenset({4})}\nbig, low, b = 10**4000, -(2**63), b'\\xff'\n"
        "lone, n, z, c, r = chr(0xD83D), float('-inf'), -0.0, 1j, range(2)\n"
        "day, when = datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)\n"
        "some = [decimal.Decimal('1.10'), uuid.UUID(int=5), datetime.timedelta(1), (), {}, set()]",
        "print(a, d, big == 10**4000, low, b, len(lone), n, z, c, list(r), day, when, some)",
        "[1, 'x', None, 2.5, {'k': [1]}, True] {1: 2, (1, 2): {3}, None: frozenset({4})} True "
        "-9223372036854775808 b'\\xff' 1 -inf -0.0 1j [0, 1] 2024-01-02 2024-01-02 00:00:00+00:00 "
        "[Decimal('1.10'), UUID('00000000-0000-0000-0000-000000000005'), "
        "datetime.timedelta(days=1), (), {}, set()]",
    ),
]
NOT_PLAIN_CASES = [case for case in CASES if not case.plain]


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@pytest.fixture(scope="module")
def walled() -> Iterator[ProcessSandbox]:
    """A sandbox whose wall is the kernel."""
    with ProcessSandbox() as made:
        yield made


@pytest.fixture(scope="module")
def here() -> Iterator[InProcessSandbox]:
    """A sandbox whose wall is the language."""
    with InProcessSandbox() as made:
        yield made


async def keep_and_read(sandbox, case: Case) -> None:
    """Hold that what the code had is there for the next execution, and for the one after that."""
    done = await execute_both(sandbox, case.first, case.second)
    assert done.output.strip() == case.printed
    kept = (await execute(sandbox, case.first)).kept
    for _ in range(2):
        between = await execute(sandbox, "pass", kept)
        assert between.notes == ()
        kept = between.kept
    again = await execute(sandbox, case.second, kept)
    assert (again.output.strip(), again.notes) == (case.printed, ())


@by_name(CASES)
async def test_keeps(walled, case):
    """At level kernel every variable is kept, whatever it holds."""
    await keep_and_read(walled, case)


@by_name(PLAIN_CASES)
async def test_keeps_plain_data(here, case):
    """Elsewhere plain data is kept, and functions without a closure, and what is imported."""
    await keep_and_read(here, case)


@by_name(NOT_PLAIN_CASES)
async def test_what_is_not_plain_is_named(here, case):
    """Elsewhere what is not plain is not there for the next execution, and a note names it."""
    done = await execute(here, case.first)
    assert done.failure is None
    named = {name for note in done.notes for name in note.split("`")[1::2]}
    assert named
    after = await execute(here, "print(sorted(dir()))", done.kept)
    assert after.notes == ()
    assert named.isdisjoint(after.output.split("'"))


@by_name(PLAIN_CASES)
async def test_plain_data_is_read_at_level_kernel(walled, here, case):
    """A session goes on at a stronger level."""
    kept = (await execute(here, case.first)).kept
    assert (await execute(walled, case.second, kept)).output.strip() == case.printed


async def test_pickles_are_read_at_level_kernel_only(walled, here):
    """A session of level kernel does not go on at a weaker one, and a note says why."""
    kept = (await execute(walled, "x = 1")).kept
    done = await execute(here, "print('x' in dir())", kept)
    assert done.output == "False\n"
    assert done.notes == (
        (
            "the variables of earlier executions could not be read: they were kept at level kernel, and "
            "can be read only there; this execution has started without them"
        ),
    )


async def test_parts_of_a_function_are_plain_too(here):
    """What code has set as the name, docstring or default value of a function is asked for its class alone."""
    first = (
        "class Loud(str):\n    def __str__(self):\n        print('str')\n        return 'a'\n"
        "    def __iter__(self):\n        print('iter')\n        return iter('a')\n    __repr__ = __str__\n"
        "def f(): pass\ndef g(x=Loud('a')): pass\ndef h(*, x=Loud('a')): pass\ndef i(): pass\nf.__doc__ = Loud('a')\n"
        "i.__name__ = Loud('i')\nok = 1"
    )
    done = await execute(here, first)
    assert done.output == ""
    assert [note.split("`")[1] for note in done.notes] == ["Loud", "f", "g", "h", "i"]
    assert (await execute(here, "print(ok)", done.kept)).output == "1\n"


async def test_data_that_shares_is_bounded_when_it_is_unfolded(here):
    """Plain data is written as a tree: what is far larger as one, or holds itself, is named."""
    first = "laugh = ['ha'] * 10\nfor _ in range(50):\n    laugh = [laugh] * 10\nx = [1]\nx.append(x)\ny = 1"
    done = await execute(here, first)
    assert done.notes == (
        (
            "`laugh` was not kept: it holds more than 499,900 values, and so many cannot be kept between "
            "executions (here only plain data, functions and imported names are)"
        ),
        (
            "`x` was not kept: it holds data that is nested too deeply, and such data cannot be kept "
            "between executions (here only plain data, functions and imported names are)"
        ),
    )
    assert (await execute(here, "print(y)", done.kept)).output == "1\n"


async def test_another_parent_of_workers_reads_them():
    """A session goes on in another sandbox, with a parent of its own, made by another process."""
    first = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nps = [P(1)]"
    with ProcessSandbox(waiting_workers=1) as one:
        kept = (await execute(one, first)).kept
    with ProcessSandbox(waiting_workers=2) as other:
        assert (await execute(other, "print(ps, P(2))", kept)).output == "[P(x=1)] P(x=2)\n"


async def test_records_stay_records(sandbox):
    """A tool's result can be read by attribute in the next execution too."""
    done = await execute(sandbox, "team = echo()", answer={"lead": {"name": "Ann"}})
    done = await execute(sandbox, "print(team.lead.name, team['lead'])", done.kept)
    assert done.output == "Ann {'name': 'Ann'}\n"


async def test_no_session(sandbox):
    """A program of no session keeps nothing and says nothing."""
    done = await execute(sandbox, "x = (i for i in [1])", None)
    assert done.kept is None
    assert done.notes == ()


async def test_code_that_fails_keeps_what_it_had(sandbox):
    """After an error of the code its variables are there as far as it got, as in a notebook."""
    done = await execute(sandbox, "x = 1\nraise ValueError('no')\ny = 2")
    assert done.status == "error"
    done = await execute(sandbox, "print(x, 'y' in dir())", done.kept)
    assert done.output == "1 False\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("import os", "error"), ("x = ", "error"), ("x.__class__.__bases__", "refused")],
)
async def test_code_that_did_not_run(sandbox, code, status):
    """Code that did not run leaves the session as it was: None, where there is nothing new."""
    kept = (await execute(sandbox, "x = 1")).kept
    done = await execute(sandbox, code, kept)
    assert done.status == status
    assert (done.kept is None) == (code != "import os")


async def test_a_limit_keeps_nothing(sandbox):
    """An execution that hits a limit leaves the session as it was."""
    limits = Limits(wall_seconds=0.3)
    done = await execute(sandbox, "x = 1\nwhile True: pass", limits=limits)
    assert done.status == "limit"
    assert done.kept is None


async def test_an_earlier_result_is_no_value(sandbox):
    """A variable `result` of an earlier execution is not the value of this one."""
    kept = (await execute(sandbox, "result = 5")).kept
    assert (await execute(sandbox, "x = result", kept)).value is None
    assert (await execute(sandbox, "result = 5", kept)).value == 5


async def test_a_failure_in_earlier_code_is_told_in_lines_of_this_one(sandbox):
    """What a kept function raises is shown where this code has called it."""
    kept = (await execute(sandbox, "\n\n\ndef f():\n    return {}['k']")).kept
    done = await execute(sandbox, "x = 1\nf()", kept)
    assert done.failure.kind == "KeyError"
    assert (done.failure.line, done.failure.source_line) == (2, "f()")


async def test_what_cannot_be_kept_is_named(sandbox):
    """Each variable that cannot be kept is named with the reason; the others are there."""
    code = """
import asyncio
def g():
    yield 1
gen = g()
it = iter([1])
jobs = [1, g()]
task = asyncio.create_task(asyncio.sleep(0))
lock = asyncio.Lock()
x = 1
await task
"""
    done = await execute(sandbox, code)
    only = " (here only plain data, functions and imported names are)"
    assert tuple(note.removesuffix(only) for note in done.notes) == (
        "`gen` was not kept: generators cannot be kept between executions",
        "`it` was not kept: open iterators cannot be kept between executions",
        "`jobs` was not kept: it holds a generator, and generators cannot be kept between executions",
        "`task` was not kept: tasks cannot be kept between executions",
        "`lock` was not kept: locks, queues and the like cannot be kept between executions",
    )
    assert all(note.endswith(only) == isinstance(sandbox, InProcessSandbox) for note in done.notes)
    done = await execute(sandbox, "print(x, list(g()))\ngen", done.kept)
    assert done.output == "1 [1]\n"
    assert done.failure.kind == "NameError"


async def test_many_notes_are_cut(sandbox):
    """Of many variables that cannot be kept, the first few say why."""
    code = "\n".join(f"x{n} = iter([])" for n in range(9))
    notes = (await execute(sandbox, code)).notes
    assert len(notes) == 6
    assert notes[-1] == "nor were kept: `x5`, `x6`, `x7`, `x8`"


async def test_size(sandbox):
    """The largest variables that do not fit are left out and named; what is kept fits."""
    limits = Limits(session_bytes=10_000)
    code = "small = [1]\nmid = 'x' * 4_000\nlarge = list(range(2_500))\nhuge = 'y' * 50_000"
    done = await execute(sandbox, code, limits=limits)
    assert len(done.kept) <= 10_000
    assert [note.partition(":")[0] for note in done.notes] == [
        "`huge` was not kept",
        "`large` was not kept",
    ]
    assert "10,000 (Limits.session_bytes)" in done.notes[1]
    done = await execute(sandbox, "print(small, len(mid))", done.kept, limits=limits)
    assert done.output == "[1] 4000\n"
    assert (await execute(sandbox, "1", limits=Limits(session_bytes=1))).kept == b""


async def test_too_much_for_a_lowered_limit(sandbox):
    """A session that is larger than is allowed now begins anew, and says so."""
    kept = (await execute(sandbox, "x = 'x' * 5_000")).kept
    done = await execute(sandbox, "print('x' in dir())", kept, limits=Limits(session_bytes=2_000))
    assert done.output == "False\n"
    assert "2,000 are allowed (Limits.session_bytes)" in done.notes[0]


@pytest.mark.parametrize("change", ["cut", "one bit", "another version", "no session at all"])
async def test_unreadable(sandbox, change):
    """Bytes that are damaged or of another version are an empty session and a note, no failure."""
    kept = (await execute(sandbox, "x = 1")).kept
    kept = {
        "cut": kept[:-1],
        "one bit": kept[:-1] + bytes([kept[-1] ^ 1]),
        "another version": kept.replace(b" 4\n", b" 5\n", 1),
        "no session at all": b"\x80\x04N.",
    }[change]
    done = await execute(sandbox, "print('x' in dir())\ny = 2", kept)
    assert (done.status, done.output) == ("success", "False\n")
    assert done.notes[0].startswith(
        "the variables of earlier executions could not be read: they are"
    )
    assert (await execute(sandbox, "print(y)", done.kept)).output == "2\n"


async def test_a_module_that_is_gone(sandbox):
    """A variable that needs a module which is not available any more is named; the rest is there."""
    with InProcessSandbox(imports=["tabnanny"]) as other:
        kept = (await execute(other, "import tabnanny\nx = 1")).kept
    done = await execute(sandbox, "print(x)", kept)
    assert done.output == "1\n"
    assert done.notes[0].startswith("`tabnanny` of an earlier execution could not be read: module")


async def test_in_steps(sandbox):
    """A program that runs in steps reads and leaves variables, the same bytes each time."""
    kept = (await execute(sandbox, "async def f(n):\n    return await echo(n)\nrows = [1]")).kept

    async def step_through() -> Done:
        session = sandbox.session()
        calls = []

        def on_idle(due):
            call = calls.pop()
            answer = [Result(id=call.id, payload=encode_value(list(call.args)))]
            session.resume(answer, Moment(1_000.0 + call.id, float(call.id)))

        program = Program(
            code="import time, random\nrows += await f(2) + [random.random(), time.time()]",
            kept=kept,
            tools=TOOLS,
            replay=Replay(seed=7, start=Moment(1_000.0, 0.0)),
        )
        return await session.run(program, calls.extend, on_idle)

    once, again = await step_through(), await step_through()
    assert once.failure is None
    assert once.kept == again.kept
    assert (await execute(sandbox, "print(rows[:2])", once.kept)).output == "[1, 2]\n"


@pytest.mark.parametrize("name", ["numpy", "pandas"])
async def test_arrays_and_frames(name):
    """Arrays, frames and series are kept where the code may import them and the kernel walls it in."""
    pytest.importorskip(name)
    cases = {
        "numpy": (
            (
                "import numpy as np\na = np.arange(6).reshape(2, 3)\nt = a.T\ns = np.float64(1.5)\n"
                "o = np.array(['x', None], dtype=object)\nd = np.array(['2020-01-01'], 'datetime64[D]')\n"
                "f = np.mean"
            ),
            "a += 1\nprint(a.tolist(), t.tolist(), s, o.tolist(), d[0], f(a))",
            "[[1, 2, 3], [4, 5, 6]] [[0, 3], [1, 4], [2, 5]] 1.5 ['x', None] 2020-01-01 3.5\n",
        ),
        "pandas": (
            (
                "import pandas as pd\nd = pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'c': [1.5, None],\n"
                "    'd': pd.to_datetime(['2020', '2021']), 'e': pd.Categorical(['u', 'v']),\n"
                "    'f': pd.array([1, None], dtype='Int64'), 'g': [[1], {'q': 2}]})\nm = d.set_index(['a', 'b'])\n"
                "s = d.groupby('a')['c'].sum()\nwhen = pd.Timestamp('2020-01-01', tz='UTC')\nsame = d.copy()"
            ),
            "print(d.equals(same), d.dtypes.equals(same.dtypes), s.to_dict(), m.index.names, when.year)",
            "True True {1: 1.5, 2: 0.0} ['a', 'b'] 2020\n",
        ),
    }
    first, second, printed = cases[name]
    with ProcessSandbox(imports=[name]) as walled, InProcessSandbox(imports=[name]) as here:
        assert (await execute_both(walled, first, second)).output == printed
        done = await execute(here, "rows = [1]\n" + first)
        assert any("cannot be kept between executions" in note for note in done.notes)
        assert (await execute(here, "print(rows)", done.kept)).output == "[1]\n"


# --- the line --------------------------------------------------------------------------------------


def test_pieces():
    """Bytes of any length go over the line in pieces."""
    for size in (0, 1, 800_000, 2_000_000):
        data = os.urandom(size)
        program = Program(code="", kept=b"", limits=Limits(session_bytes=max(size, 1)))
        conversation = HostProtocol(program)
        receive(conversation, frames(*encode_kept(data), encode_done("success", NONE, None, [])))
        assert conversation.done.kept == data


@pytest.mark.parametrize(
    ("kept", "pieces"),
    [(None, [b"abc"]), (b"", [b"a" * 33]), (b"", ["abc"]), (b"", [b"abc", b""]), (b"", [1])],
    ids=["of no session", "too many", "text", "empty", "no bytes"],
)
def test_a_worker_that_lies_about_variables(kept, pieces):
    """The host takes variables from a program of a session alone, and no more than are allowed."""
    conversation = HostProtocol(Program(code="", kept=kept, limits=Limits(session_bytes=32)))
    messages = [encode_value(["k", piece]) for piece in pieces]
    with pytest.raises(ProtocolViolation):
        receive(conversation, frames(*messages))


def test_variables_of_a_limit_are_not_taken():
    """What a worker has sent of its variables does not count where a limit has ended it."""
    conversation = HostProtocol(Program(code="", kept=b""))
    [piece] = encode_kept(b"\0\0\0")
    receive(conversation, frames(piece, encode_done("success", NONE, None, [])))
    assert conversation.done.kept == b"\0\0\0"
    failure = (
        '{"kind":"","message":"","line":0,"source_line":"","traceback":"","hint":"",'
        '"limit":"wall_seconds","allowed":30,"used":null}'
    )
    ending = f'["d",{{"status":"limit","value":null,"failure":{failure},"notes":[]}}]'
    conversation = HostProtocol(Program(code="", kept=b""))
    receive(conversation, frames(piece, ending))
    assert conversation.done.kept is None


# --- code of the code ------------------------------------------------------------------------------


async def test_hooks_do_not_run_while_variables_are_kept(walled):
    """Keeping asks an object's class, never the object: what code has defined is not called."""
    code = """
class Loud:
    def __getattr__(self, name):
        print('got', name)
        raise AttributeError(name)
    def __len__(self):
        print('len')
        return 1
    def __bool__(self):
        print('bool')
        return True
    def __eq__(self, other):
        print('eq')
        return True
    def __repr__(self):
        print('repr')
        return ''
    __hash__ = None
    def __iter__(self):
        print('iter')
        return iter([])
    def __copy__(self):
        print('copy')
    def __del__(self):
        pass
a = Loud()
b = [a, {'k': a}]
"""
    done = await execute(walled, code)
    assert (done.output, done.notes) == ("", ())
    assert (await execute(walled, "print(b[0] is a)", done.kept)).output == "True\n"


async def test_a_hash_that_hangs_or_fails(walled):
    """Code of a key runs under the limits of the execution that reads it."""
    first = (
        "class K:\n    bad = 0\n    def __hash__(self):\n        if K.bad == 1:\n            raise ValueError\n"
        "        while K.bad == 2:\n            pass\n        return 1\nk = {K(): 1}\nx = 5\nK.bad = "
    )
    done = await execute(walled, "print(x)", (await execute(walled, first + "1")).kept)
    assert done.output == "5\n"
    assert done.notes == (
        "`k` of an earlier execution could not be read: making it raised ValueError",
    )
    kept = (await execute(walled, first + "2")).kept
    done = await execute(walled, "print(x)", kept, limits=Limits(wall_seconds=0.5))
    assert (done.status, done.failure.limit) == ("limit", "wall_seconds")


async def test_loggers(walled):
    """A logger is that of its name again, with its level and handlers; formatters and handlers of the code are kept."""
    first = """
import logging
class Print(logging.Handler):
    def emit(self, record): print(self.format(record))
log, text, seen = logging.getLogger("shop"), logging.Formatter("%(levelname)s: %(message)s!"), Print()
seen.setFormatter(text)
log.addHandler(seen)
log.setLevel("DEBUG")
log.debug("one")
"""
    done = await execute(walled, first)
    assert (done.output, done.notes) == ("DEBUG: one!\n", ())
    again = "log.debug('two')\nprint(log is logging.getLogger('shop'), log.handlers == [seen])"
    assert (await execute(walled, again, done.kept)).output == "DEBUG: two!\nTrue True\n"
