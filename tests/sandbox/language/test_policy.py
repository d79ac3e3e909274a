"""The language that the sandbox accepts: what runs as written, what a program gives, what is said."""

from __future__ import annotations

import sys
import textwrap
import time
import warnings
from typing import NamedTuple

import pytest

from langchain_ptc import CodeSyntaxError, PolicyError
from langchain_ptc.sandbox.language.policy import compile_code, compile_unrestricted
from tests.support.sandbox_runner import run_code

SYNTAX_OF_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
SYNTAX_OF_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="syntax of Python 3.14")


class Case(NamedTuple):
    name: str
    code: str
    output: str
    marks: tuple[pytest.MarkDecorator, ...] = ()


ACCEPTED = [
    Case("annotated assignment", "x: int = 1\ny: str\nprint(x)", "1"),
    Case("augmented item", "d = {'a': 1}\nd['a'] += 2\nprint(d)", "{'a': 3}"),
    Case("augmented attribute", "class A: n = 0\na = A()\na.n += 2\nprint(a.n)", "2"),
    Case("nonlocal", "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\n    return n\nprint(f())", "1"),
    Case("global", "n = 0\ndef f():\n    global n\n    n += 1\nf()\nprint(n)", "1"),
    Case("walrus", "if (n := len('abc')) > 2: print(n)", "3"),
    Case("stars", "def f(*a, b=1, **k): return a, b, k\nprint(f(*[1, 2], **{'c': 3}))", "((1, 2), 1, {'c': 3})"),
    Case("positional-only", "def f(a, /, b, *, c): return a, b, c\nprint(f(1, 2, c=3))", "(1, 2, 3)"),
    Case("unpacking", "a, (b, *c) = 1, (2, 3, 4)\nfor i, (j, k) in enumerate([(1, 2)]): print(a, b, c, i, j, k)", "1 2 [3, 4] 0 1 2"),
    Case("lambda and sort", "print(sorted([3, 1], key=lambda x: -x))", "[3, 1]"),
    Case("comprehensions", "print({x: [y for y in range(x)] for x in range(3) if x}, {1 for _ in 'ab'})", "{1: [0], 2: [0, 1]} {1}"),
    Case("generator", "def g():\n    x = yield 1\n    yield from [x, 3]\ni = g()\nprint(next(i), i.send(2), next(i))", "1 2 3"),
    Case("try", "try:\n    1 / 0\nexcept (ZeroDivisionError, KeyError) as e:\n    print(type(e).__name__, e)\nelse:\n    print('no')\nfinally:\n    print('end')", "ZeroDivisionError division by zero\nend"),
    Case("try star", "try:\n    raise ExceptionGroup('g', [ValueError('v')])\nexcept* ValueError as e:\n    print(e.exceptions)", "(ValueError('v'),)"),
    Case("raise from", "try:\n    try: {}['k']\n    except KeyError as e: raise ValueError('v') from e\nexcept ValueError as e: print(repr(e.__cause__))", "KeyError('k')"),
    Case("f-strings", "x = 3.14159\nprint(f'{x:.2f} {x!r:>8} {x=:.1f} {\"a\" + \"b\"}')", "3.14  3.14159 x=3.1 ab"),
    Case("assert", "try:\n    assert 1 == 2, 'no'\nexcept AssertionError as e: print(e)", "no"),
    Case("while else", "n = 0\nwhile n < 3: n += 1\nelse: print(n)", "3"),
    Case("conditional", "print('a' if 1 < 2 < 3 and not 0 else 'b')", "a"),
    Case("slices", "x = list(range(9))\nx[1:3] = []\ndel x[0]\nprint(x[::-2])", "[8, 6, 4]"),
    Case("decorator", "def twice(f):\n    def inner(*a): return f(f(*a))\n    return inner\n@twice\ndef inc(x): return x + 1\nprint(inc(1), inc.__name__)", "3 inner"),
    Case("functools wraps", "import functools\ndef d(f):\n    @functools.wraps(f)\n    def inner(): return f()\n    return inner\n@d\ndef named():\n    'Doc.'\nprint(named.__name__, named.__doc__)", "named Doc."),
    Case("private function", "def _sum(a): return sum(a)\n_total = _sum([1, 2])\nprint(_total)", "3"),
    Case("main guard", "def main(): print('main')\nif __name__ == '__main__': main()", "main"),
    Case("class", textwrap.dedent("""
        class Base:
            count = 0
            def __init__(self, name):
                self._name = name
                self.__secret = 1
                Base.count += 1
            @property
            def name(self): return self._name
            @name.setter
            def name(self, value): self._name = value
            @classmethod
            def make(cls): return cls('made')
            @staticmethod
            def help(): return 'help'
            def __repr__(self): return f'{self.__class__.__name__}({self._name})'
            def __eq__(self, other): return self._name == other._name
            def __hash__(self): return hash(self._name)
            def __len__(self): return self.__secret
        class Child(Base):
            def __init__(self, name):
                super().__init__(name)
            def __repr__(self): return 'C' + super().__repr__()
        c = Child('x')
        c.name = 'y'
        print(c, Base.make(), Child.help(), len(c), c == Base('y'), Base.count)
        """), "CChild(y) Base(made) help 1 True 3"),
    Case("operators", "class V:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return V(self.x + o.x)\n    def __iadd__(self, o): self.x += o.x; return self\n    def __rmul__(self, k): return V(k * self.x)\n    def __getitem__(self, i): return i\n    def __call__(self): return 'c'\n    def __bool__(self): return False\nv = V(1) + V(2)\nv += V(1)\nprint(v.x, (2 * v).x, v[1:2], v(), not v)", "4 8 slice(1, 2, None) c True"),
    Case("iterator protocol", "class R:\n    def __init__(self, n): self.n = n\n    def __iter__(self): return self\n    def __next__(self):\n        if not self.n: raise StopIteration\n        self.n -= 1\n        return self.n\nprint(list(R(3)))", "[2, 1, 0]"),
    Case("context manager", "class C:\n    def __enter__(self): return 'in'\n    def __exit__(self, *a): print('out')\nwith C() as c, C(): print(c)", "in\nout\nout"),
    Case("getattr and setattr methods", "class A:\n    def __getattr__(self, n): return n\n    def __setattr__(self, n, v):\n        object.__setattr__(self, n, v * 2)\na = A()\na.x = 1\nprint(a.x, a.missing)", "2 missing"),
    Case("setattr method by dict", "class A:\n    def __setattr__(self, n, v): self.__dict__[n] = v + 1\na = A()\na.x = 1\nprint(a.x)", "2"),
    Case("setattr of super", "class A:\n    def __setattr__(self, n, v): super().__setattr__(n, v + 1)\na = A()\na.x = 1\nprint(a.x)", "2"),
    Case("dict of an instance", "class A:\n    def __init__(self, **k): self.__dict__.update(k)\na = A(x=1, y=2)\nprint(a.x, a.__dict__, vars(a))\ndel a.__dict__['y']\nprint(hasattr(a, 'y'))", "1 {'x': 1, 'y': 2} {'x': 1, 'y': 2}\nFalse"),
    Case("items of an instance taken out", "class A: pass\na = A()\na.x, a.y, a.z = 1, 2, 3\nprint(a.__dict__.popitem(), hasattr(a, 'z'))\na.__dict__.clear()\nprint(vars(a), hasattr(a, 'x'))", "('z', 3) False\n{} False"),
    Case("singleton", "class S:\n    _one = None\n    def __new__(cls):\n        if cls._one is None: cls._one = super().__new__(cls)\n        return cls._one\nprint(S() is S())", "True"),
    Case("init subclass", "seen = []\nclass B:\n    def __init_subclass__(cls, tag='', **k):\n        super().__init_subclass__(**k)\n        seen.append((cls.__name__, tag))\nclass C(B, tag='t'): pass\nprint(seen)", "[('C', 't')]"),
    Case("descriptor", "class D:\n    def __set_name__(self, o, n): self.n = n\n    def __get__(self, o, t=None): return self.n\nclass A:\n    field = D()\nprint(A().field)", "field"),
    Case("slots", "class P:\n    __slots__ = ('x', '_y')\n    def __init__(self): self.x = 1; self._y = 2\np = P()\nprint(p.x + p._y)", "3"),
    Case("abstract class", "from abc import ABC, abstractmethod\nclass A(ABC):\n    @abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 1\nprint(B().f())\ntry: A()\nexcept TypeError: print('abstract')", "1\nabstract"),
    Case("metaclass ABCMeta", "from abc import ABCMeta\nclass A(metaclass=ABCMeta): pass\nprint(isinstance(A, ABCMeta))", "True"),
    Case("dataclass", "from dataclasses import dataclass, field, asdict, replace\n@dataclass(order=True, frozen=True)\nclass P:\n    x: int\n    tags: list[str] = field(default_factory=list, compare=False)\n    def __post_init__(self): self.tags.append('t')\nprint(P(1), asdict(P(2)), P(1) < P(2), replace(P(1), x=5))", "P(x=1, tags=['t']) {'x': 2, 'tags': ['t']} True P(x=5, tags=['t', 't'])"),
    Case("slotted dataclass", "from dataclasses import dataclass\n@dataclass(slots=True, kw_only=True)\nclass P:\n    x: int = 1\n    _y: int = 2\nprint(P(x=3)._y)", "2"),
    Case("dataclass inheritance", "from dataclasses import dataclass, fields\n@dataclass\nclass A:\n    x: int\n@dataclass\nclass B(A):\n    y: int = 2\nprint(B(1), [f.name for f in fields(B)])", "B(x=1, y=2) ['x', 'y']"),
    Case("enum", "from enum import Enum, auto, IntEnum, Flag\nclass C(Enum):\n    RED = auto()\n    BLUE = 'b'\n    @property\n    def low(self): return self.name.lower()\nclass I(IntEnum):\n    ONE = 1\nclass F(Flag):\n    A = auto()\n    B = auto()\nprint(C.RED, C('b'), C['RED'].value, [c.low for c in C], I.ONE + 1, isinstance(I.ONE, Enum), F.A | F.B, C.__members__.keys() == {'RED', 'BLUE'})", "C.RED C.BLUE 1 ['red', 'blue'] 2 True F.A|B True"),
    Case("functional enum", "from enum import Enum\nC = Enum('C', 'A B')\nD = Enum('D', {'X': 'x'})\nprint(C.B.value, D.X.value, list(Enum('E', ['P'])))", "2 x [<E.P: 1>]"),
    Case("namedtuple", "from collections import namedtuple\nfrom typing import NamedTuple\nP = namedtuple('P', 'x y', defaults=[0])\nclass Q(NamedTuple):\n    a: int\n    b: int = 2\nprint(P(1), P(1)._asdict(), P(1)._replace(y=5), P._fields, Q(1), Q(1)._asdict())", "P(x=1, y=0) {'x': 1, 'y': 0} P(x=1, y=5) ('x', 'y') Q(a=1, b=2) {'a': 1, 'b': 2}"),
    Case("typed dict", "from typing import TypedDict, NotRequired\nclass T(TypedDict, total=False):\n    a: int\n    b: NotRequired[str]\nt: T = {'a': 1}\nprint(t)", "{'a': 1}"),
    Case("typing", "from __future__ import annotations\nfrom typing import Generic, TypeVar, Protocol, Callable, Optional\nT = TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self, item: T) -> None: self.item = item\nclass Sized2(Protocol):\n    def size(self) -> int: ...\ndef f(x: Optional[int], g: Callable[[int], str]) -> list[str]: return [g(x or 0)]\nprint(f(1, str), Box[int](3).item)", "['1'] 3"),
    Case("match", textwrap.dedent("""
        from dataclasses import dataclass
        @dataclass
        class P:
            x: int
            format: str = 'f'
        def f(v):
            match v:
                case 0 | 1: return 'small'
                case [a, *rest]: return a, rest
                case {'k': k, **more}: return k, more
                case P(x=0): return 'zero'
                case P(x, format) if x > 5: return x, format
                case P() as p: return p
                case str(): return 'text'
                case int(n): return n
                case None: return 'none'
                case _: return 'other'
        print([f(v) for v in (1, [1, 2], {'k': 1, 'j': 2}, P(0), P(9), P(3), 'a', 7, None, 2.5)])
        """), "['small', (1, [2]), (1, {'j': 2}), 'zero', (9, 'f'), P(x=3, format='f'), 'text', 7, 'none', 'other']"),
    Case("type of a value", "x = 1\nprint(type(x) is int, type(x).__name__, isinstance(int, type), type(int) is type, type[int], issubclass(bool, type), type(None))", "True int True True type[int] False <class 'NoneType'>"),
    Case("type in annotations", "def f(k: type, t: type[int] | None = None) -> type: return k\nprint(f(int))", "<class 'int'>"),
    Case("dispatch", "import functools\n@functools.singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'\n@f.register(str)\ndef _(x): return 'str'\nprint(f(1), f('a'), f([]))", "int str any"),
    Case("caches", "import functools\n@functools.lru_cache(maxsize=None)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nclass A:\n    @functools.cached_property\n    def x(self): return [1]\na = A()\nprint(fib(50), fib.cache_info().misses, a.x is a.x)", "12586269025 51 True"),
    Case("computed attributes", "class A: x = 1\na = A()\nsetattr(a, 'y', 2)\nprint(getattr(a, 'y'), getattr(a, 'z', 3), hasattr(a, 'x'))\ndelattr(a, 'y')\nimport operator\nprint(hasattr(a, 'y'), operator.attrgetter('x')(a), operator.methodcaller('upper')('a'))", "2 3 True\nFalse 1 A"),
    Case("private by name", "class A:\n    def __init__(self, **k):\n        for n, v in k.items(): setattr(self, '_' + n, v)\n    def get(self, n): return getattr(self, '_' + n)\nprint(A(x=1).get('x'))", "1"),
    Case("format", "print('{0:>3}|{x:.1f}|{0}'.format(7, x=2), 'a{b}'.format_map({'b': 1}), format(3.14159, '.1f'), '%s-%05d' % ('a', 7))", "7|2.0|7 a1 3.1 a-00007"),
    Case("format reads public attributes", "class A: name = 'n'\nprint('{a.name} {0[k][0]}'.format({'k': [1]}, a=A()))", "n 1"),
    Case("own format method", "class A:\n    def format(self, x): return x * 2\n    def get_coro(self): return 'mine'\nprint(A().format(2), A().get_coro())", "4 mine"),
    Case("string tools", "import string\nprint(string.Template('$a').substitute(a=1), string.Formatter().format('{0.real:>3} {x[0]}', 3, x=[1]))", "1   3 1"),
    Case("copying", "import copy\nfrom collections import deque, Counter\nclass N:\n    def __init__(self): self.items = [1]; self.me = self\nn = N()\nm = copy.deepcopy(n)\nm.items.append(2)\nprint(n.items, m.items, m.me is m, copy.copy(n).items is n.items, copy.deepcopy([deque([1]), Counter('aa'), {(1, 2): {3}}]))", "[1] [1, 2] True True [deque([1]), Counter({'a': 2}), {(1, 2): {3}}]"),
    Case("signature", "import inspect\ndef f(a, b: int = 1): pass\nclass A:\n    def __init__(self, x): pass\ns = inspect.signature(f)\nprint(s, s.bind(1, b=2).args, [p.name for p in s.parameters.values()], inspect.signature(A))", "(a, b: int = 1) (1, 2) ['a', 'b'] (x)"),
    Case("namespace object", "from types import SimpleNamespace\nn = SimpleNamespace(a=1)\nn.b = 2\nprint(n, n.a, vars(n), n == SimpleNamespace(a=1, b=2))", "namespace(a=1, b=2) 1 {'a': 1, 'b': 2} True"),
    Case("star import", "from math import *\nprint(floor(pi), sqrt(4))", "3 2.0"),
    Case("shadowed builtins", "list = [1]\ndef input(): return 'mine'\nprint(list, input())", "[1] mine"),
    Case("dir and id", "class A: x = 1\na = A()\nprint([n for n in dir(a) if not n.startswith('_')], id(a) == id(a), id(a) != id([]), 'a' in dir())", "['x'] True True True"),
    Case("exceptions of one's own", "class E(Exception):\n    def __init__(self, m, code): super().__init__(m); self.code = code\ntry: raise E('m', 3)\nexcept E as e: print(e, e.code, e.args)", "m 3 ('m',)"),
    Case("counters of a function", "def f():\n    f.calls += 1\nf.calls = 0\nf()\nprint(f.calls)", "1"),
    Case("imports of the interpreter's own", "import time\nfrom datetime import datetime\nprint(datetime.strptime('2024', '%Y').year, time.strptime('2024', '%Y').tm_year, len(str(10 ** 4000)))\nprint(datetime(2024, 1, 2).strftime('%d'))", "2024 2024 4001\n02"),
    Case("module's own names", "'Doc of the code.'\nprint(__name__, __doc__)", "__main__ Doc of the code."),
    Case("generic function", "def first[T](xs: list[T]) -> T: return xs[0]\nclass Box[T]:\n    def __init__(self, x: T): self.x = x\ntype Pair[T] = tuple[T, T]\nprint(first([1]), Box(2).x, Pair.__name__)", "1 2 Pair", (SYNTAX_OF_3_12,)),
    Case("module with a guarded name", "import html.parser\nprint(html.parser.HTMLParser.__name__)", "HTMLParser"),
    Case("quotes in an f-string", "d = {'a': 1}\nprint(f'{d['a']} {'\\n'.join('ab')!r}')", "1 'a\\nb'", (SYNTAX_OF_3_12,)),
    Case("except without parentheses", "try: 1 / 0\nexcept ValueError, ZeroDivisionError: print('caught')", "caught", (SYNTAX_OF_3_14,)),
    Case("template string", "import string\nfrom string.templatelib import Interpolation\nx = {'a': 1}\nt = t'n={x['a']:>3} {x!r}'\nprint(isinstance(t, string.templatelib.Template), t.strings, t.values)\nfor part in t:\n    match part:\n        case Interpolation(value, text): print(text, value)", "True ('n=', ' ', '') (1, {'a': 1})\nx['a'] 1\nx {'a': 1}", (SYNTAX_OF_3_14,)),
    Case("async", textwrap.dedent("""
        import asyncio
        class Gate:
            async def __aenter__(self): return self
            async def __aexit__(self, *a): print('closed')
        async def work(n):
            await asyncio.sleep(0)
            return n * 2
        async def numbers():
            for i in range(3): yield i
        async with Gate() as g, asyncio.TaskGroup() as group:
            task = group.create_task(work(4))
        print(await asyncio.gather(*[work(i) for i in range(3)]), task.result())
        print([i async for i in numbers()], [await work(i) for i in range(2)])
        async for i in numbers():
            if i: break
        limit = asyncio.Semaphore(2)
        async def one(i):
            async with limit: return await work(i)
        for done in asyncio.as_completed([one(5)]): print(await done)
        try: await asyncio.wait_for(asyncio.sleep(9), timeout=0.01)
        except asyncio.TimeoutError: print('late')
        queue = asyncio.Queue()
        await queue.put(1)
        print(await queue.get())
        """), "closed\n[0, 2, 4] 8\n[0, 1, 2] [0, 2]\n10\nlate\n1"),
]  # fmt: skip


@pytest.mark.parametrize("guard_writes", [False, True], ids=["process", "inprocess"])
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=case.marks, id=case.name) for case in ACCEPTED]
)
def test_language_runs_as_written(case: Case, guard_writes: bool) -> None:
    """What models write runs untouched, with guarded stores too."""
    assert run_code(case.code, guard_writes=guard_writes).output.strip() == case.output


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", 2),
        ("x = 5\nx", 5),
        ("x = 5", None),
        ("result = 3", 3),
        ("result = 3\n7", 7),
        ("result = 3\nprint(1)", 3),
        ("result = 3\nreturn 9", 9),
        ("result = 3\nreturn None", None),
        ("result = 3\nreturn", None),
        ("result = 3\nif 0: return 1", 3),
        ("if 0: return 1\n8", 8),
        ("for i in range(9):\n    if i == 4: return i", 4),
        ("try:\n    return 1\nexcept:\n    pass\nreturn 2", 1),
        ("try:\n    return 1\nfinally:\n    x = 3", 1),
        ("import contextlib\nwith contextlib.suppress(Exception): return 6", 6),
        ("while True: return 'w'", "w"),
        ("return (1, 2)", (1, 2)),
        ("x: int = 4\ny: str\nreturn x", 4),
        ("from math import *\nreturn floor(2.5)", 2),
        ("from __future__ import annotations\nreturn 1", 1),
        ("n = 1\ndef f():\n    global n\n    n = 2\nf()\nreturn n", 2),
        ("def f(): return n\nn = 3\nreturn f()", 3),
        ("global n\nn = 3\nreturn n", 3),
        ("if (m := 4): return m", 4),
        ("xs = [y := i for i in range(3)]\nreturn y", 2),
        ("try: 1 / 0\nexcept ZeroDivisionError as e: return str(e)", "division by zero"),
        ("for a, (b, *c) in [(1, (2, 3))]: pass\ndef f(): return a, b, c\nreturn f()", (1, 2, [3])),
        ("match [1, 2]:\n    case [q, *r]: pass\ndef f(): return q, r\nreturn f()", (1, [2])),
        ("class A:\n    x = 1\n    y = [i for i in range(2)]\ndef f(): return A.x\nreturn f()", 1),
        ("import json as j\ndef f(): return j.dumps(1)\nreturn f()", "1"),
        ("x = 1\ndel x\ntry: x\nexcept NameError: return 'gone'", "gone"),
        ("await f()", 3),
        ("return await f()", 3),
        ("f()", 3),
        ("async def main(): return 5\nmain()", 5),
        ("async def main():\n    return 5\nif await main(): return [await f() for _ in range(2)]", [3, 3]),
        ("x = await f()\nresult = x + 1", 4),
        ("import asyncio\ndef g(): return 1\nreturn await asyncio.sleep(0, 4)", 4),
    ],
)  # fmt: skip
def test_value(code: str, value: object) -> None:
    """A return wins, then a last expression, then `result`; an awaitable at the end is awaited."""

    async def f() -> int:
        return 3

    if "f()" in code and "def f" not in code:
        if "await" not in code:
            code = f"async def g(): pass\n{code}"
        ran = run_code(code, names={"f": f})
    else:
        ran = run_code(code)
    assert (ran.has_value, ran.value) == (value is not None, value)


@pytest.mark.parametrize(
    ("code", "mode"),
    [
        ("x = 1", "sync"),
        ("import asyncio\nx = 1", "sync"),
        ("import asyncio\nasyncio.Queue", "async"),
        ("import asyncio as aio\naio.Queue", "async"),
        ("from asyncio import gather\nx = 1", "sync"),
        ("from asyncio import gather\ngather", "async"),
        ("async def f(): pass", "async"),
        ("await x", "async"),
        ("y = [i async for i in x]", "async"),
        ("def f():\n    return 1\nreturn f()", "sync"),
    ],
)
def test_mode(code: str, mode: str) -> None:
    """Code is asynchronous if it awaits or uses asyncio; an unused import does not count."""
    assert compile_code(code).mode == mode
    assert compile_unrestricted(code).mode == mode


def test_lines_are_kept() -> None:
    """An error in code with a top-level return points at its own line, in a frame `<module>`."""
    code = "x = 1\n\nif x:\n    y = 1 / 0\nreturn y\n"
    with pytest.raises(ZeroDivisionError) as caught:
        run_code(code)
    frame = caught.traceback[-1]
    assert (frame.lineno + 1, frame.name, str(frame.path)) == (4, "<module>", "<code>")


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        ("", "the code is empty", 0),
        (" \n\t\n", "the code is empty", 0),
        ("x = 1\n\0", "null byte", 2),
        ("x = 1\ny = '\ud800'", "surrogate", 2),
        ("x = (1,\ny = 2", "'(' was never closed", 1),
        ("if 1:\nx = 1", "expected an indented block", 2),
        ("if 1:\n\tx = 1\n        y = 2", "inconsistent use of tabs", 3),
        ("```python\nx = 1\n```", "Markdown code fence", 1),
        ("x = \u201ca\u201d", "straight quotes", 1),
        ("x =", "invalid syntax", 1),
        ("yield 1\nreturn 2", "'yield' outside function", 1),
        ("yield 1", "'yield' outside function", 1),
        ("def f():\n    return 1\n    break", "'break' outside loop", 3),
        ("x = 1\nfrom __future__ import annotations", "at the beginning of the file", 2),
        ("(" * 250 + ")" * 250, "nested", 0),
        ("-" * 50_000 + "1", "nested too deeply", 0),
        ("x" + ".a" * 5_000, "nested too deeply", 0),
        ("x = " + "[" * 90 + "]" * 90 + "\n" + "+".join(["1"] * 20_000), "nested too deeply", 0),
        ("x = " + "9" * 5_000, "", 0),
    ],
)  # fmt: skip
def test_bad_input_is_a_syntax_error(code: str, message: str, line: int) -> None:
    """Text that is no Python is told with the line and what to do, whatever it is."""
    with pytest.raises(CodeSyntaxError) as caught:
        compile_code(code)
    assert message in str(caught.value)
    if line:
        assert caught.value.line == line


def test_syntax_error_has_its_place() -> None:
    """A syntax error names line, column and source line."""
    with pytest.raises(CodeSyntaxError) as caught:
        compile_code("x = 1\nfor i in :\n    pass")
    error = caught.value
    assert (error.line, error.column, error.source_line) == (2, 10, "for i in :")


def test_every_violation_is_told() -> None:
    """All places that are not accepted are reported, in order, with what to write instead."""
    with pytest.raises(PolicyError) as caught:
        compile_code("def f():\n    return open('x')\nx = f.__globals__\neval('1')\n")
    assert [(v.line, v.message) for v in caught.value.violations] == [
        (2, "'open' is not available: there are no files in the sandbox; call a tool or print the data"),
        (3, "attribute '__globals__' is not available in the sandbox"),
        (4, "'eval' is not available: write the expression as code; to read data use `json.loads` or `ast.literal_eval`"),
    ]  # fmt: skip


def test_a_tool_may_be_named_like_a_refused_builtin() -> None:
    """`open` is refused only where it is not the name of a tool."""
    assert run_code("open(3)", names={"open": lambda x: x + 1}).value == 4
    with pytest.raises(PolicyError):
        run_code("open(3)")


def test_unknown_syntax_is_refused() -> None:
    """A kind of node that is not known is refused, so that a new Python adds nothing by itself."""
    import ast

    from langchain_ptc.sandbox.language.policy import Policy
    from langchain_ptc.sandbox.language.scopes import SyntaxTree

    class Novelty(ast.stmt):
        _fields = ()

    root = ast.Module([Novelty(lineno=3, col_offset=0)], [])
    policy = Policy(SyntaxTree(root))
    policy.visit(root)
    assert [str(v) for v in policy.violations] == [
        "line 3: Novelty is not available in the sandbox"
    ]


def test_doubtful_code_warns_nobody() -> None:
    """Warnings of the compiler about the code do not reach the host, even as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_code("x = '\\d'\nif x is 'a': pass\nassert (x, 1)")
        with pytest.raises(UserWarning):
            warnings.warn("the host's own", UserWarning, stacklevel=1)


def test_exit_raises_system_exit() -> None:
    """`exit`, `quit` and `sys.exit` end the program with their code."""
    for code in ("exit(3)", "quit(3)", "import sys\nsys.exit(3)"):
        with pytest.raises(SystemExit) as caught:
            run_code(code)
        assert caught.value.code == 3


def test_long_code_compiles_fast() -> None:
    """100,000 characters compile in a few seconds at the worst."""
    code = (
        "def f(x):\n    y = [x.a + i for i in range(3)]\n    return {'k': y[0], 'v': x.b}\n" * 1_200
    )
    started = time.process_time()
    compile_code(code)
    assert time.process_time() - started < 5


def test_unrestricted_is_any_python() -> None:
    """Without the policy the same shapes run, with nothing refused."""
    compiled = compile_unrestricted("if 1: return ().__class__.__base__")
    namespace: dict[str, object] = {}
    compiled.start(namespace)
    assert compiled.value(namespace) == (True, object)
