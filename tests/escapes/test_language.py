"""Ways out of the language that are known, each with what must come of it.

The language is not the wall of a worker process, the kernel is; in `InProcessSandbox` it is all
there is. A case gets through if it reaches `hit(...)`.
"""

# ruff: noqa: SIM905  # lists of names are read better as text
from __future__ import annotations

import contextlib
import json
from typing import NamedTuple

import pytest

from langchain_ptc import PolicyError
from tests.support.sandbox_runner import run_code


class Case(NamedTuple):
    name: str
    code: str
    expected: type[BaseException] | tuple[type[BaseException], ...] | None = PolicyError
    """What it raises; None: it runs, and `hit` is not reached."""


class Other:
    """An object of the host."""

    def __init__(self) -> None:
        self._x = 1


ANY = (AttributeError, ImportError, TypeError, ValueError)
EITHER = (AttributeError, TypeError, type("Harmless", (Exception,), {}))
"""It is refused where stores are guarded, and else runs without harm."""

DUNDERS = [
    Case("bases of a tuple", "hit(().__class__.__bases__)"),
    Case("subclasses", "hit(object.__subclasses__())"),
    Case("base", "hit(int.__base__)"),
    Case("mro attribute", "hit(int.__mro__)"),
    Case("globals of a function", "def f(): pass\nhit(f.__globals__)"),
    Case("globals of a tool", "hit(tool.__globals__)"),
    Case("code object", "hit((lambda: 0).__code__)"),
    Case("closure", "def f(x):\n    return lambda: x\nhit(f(1).__closure__)"),
    Case("function of a method", "hit([].append.__self__)"),
    Case("wrapped by a decorator", "hit(tool.__wrapped__)"),
    Case("builtins by name", "hit(__builtins__)"),
    Case("loader", "import time\nhit(time.__loader__)"),
    Case("spec", "import json\nhit(json.__spec__)"),
    Case("import by name", "hit(__import__('os'))"),
    Case("build class by name", "hit(__build_class__)"),
    Case("getattribute load", "hit(object.__getattribute__)"),
    Case(
        "getattribute of super", "class A:\n    def f(self): return super().__getattribute__('f')"
    ),
    Case("getattribute defined", "class A:\n    def __getattribute__(self, n): return 1"),
    Case("reduce", "hit((1).__reduce_ex__(4))"),
    Case("reduce defined", "class A:\n    def __reduce__(self): return (hit, (1,))"),
    Case("state defined", "class A:\n    def __getstate__(self): return {}"),
    Case("annotations of a function", "def f(x: int): pass\nhit(f.__annotations__)"),
    Case("annotations in a class body", "class A:\n    __annotations__ = {'a=hit(1)': int}"),
    Case("defaults", "tool.__defaults__ = (1,)"),
    Case("class of an object is set", "class A: pass\nclass B: pass\nA().__class__ = B"),
    Case("class as property", "class A:\n    __class__ = property(lambda s: int)"),
    Case("instancecheck", "class A:\n    def __instancecheck__(self, o): return True"),
    Case("prepare", "class A:\n    def __prepare__(self): pass"),
    Case("dict of a class", "hit(int.__dict__)", TypeError),
    Case("vars of a class", "hit(vars(str))", TypeError),
    Case("vars of a module", "import math\nvars(math)['pi'] = 3", TypeError),
    Case("vars of a function", "hit(vars(tool))", TypeError),
    Case(
        "dict write of a special name",
        "class A: pass\na = A()\na.__dict__['__class__'] = int",
        AttributeError,
    ),
    Case("dunder in an f-string", "hit(f'{().__class__.__mro__}')"),
    Case("stdout of the interpreter", "import sys\nsys.__stdout__.write('x')"),
    Case("dataclass fields dict", "hit(tool.__dataclass_fields__)"),
    Case("origin of a type", "import typing\nhit(typing.Type[int].__origin__)"),
]

COMPUTED_NAMES = [
    Case("getattr literal", "hit(getattr(tool, '__globals__'))"),
    Case("getattr computed", "hit(getattr(tool, '__glo' + 'bals__'))", AttributeError),
    Case(
        "getattr of a frame", "def g(): yield\nhit(getattr(g(), 'gi_' + 'frame'))", AttributeError
    ),
    Case("getattr by map", "hit(list(map(getattr, [tool], ['__globals__'])))", AttributeError),
    Case(
        "getattr with a str subclass (CVE-2025 shape)",
        "class S(str):\n    def startswith(self, *a): return False\nhit(getattr(tool, S('__globals__')))",
        TypeError,
    ),
    Case("hasattr says no", "if hasattr(tool, '__globals__'): hit(1)", None),
    Case(
        "setattr special",
        "class A: pass\nsetattr(A, '__match' + '_args__', ('gi_frame',))",
        AttributeError,
    ),
    Case(
        "setattr through object",
        "class A: pass\nobject.__setattr__(A(), '__cl' + 'ass__', int)",
        AttributeError,
    ),
    Case("setattr through type", "class A: pass\nobject.__setattr__(int, 'x', 1)", TypeError),
    Case("delattr special", "delattr(tool, '__doc' + 's__')", (AttributeError, TypeError)),
    Case(
        "attrgetter",
        "import operator\nhit(operator.attrgetter('__class__.__base__')(1))",
        AttributeError,
    ),
    Case(
        "attrgetter of globals",
        "import operator\nhit(operator.attrgetter('__globals__')(tool))",
        AttributeError,
    ),
    Case(
        "methodcaller",
        "import operator\nhit(operator.methodcaller('__getattribute__', '__class__')(1))",
        AttributeError,
    ),
    Case(
        "wraps with chosen names",
        "import functools\nclass A:\n    def __setattr__(self, n, v): hit(v)\nfunctools.update_wrapper(A(), tool, assigned=('__globals__',), updated=())",
        AttributeError,
    ),
    Case(
        "wraps copies a class dict",
        "import functools\nclass A: pass\na = A()\nfunctools.update_wrapper(a, int)\nif vars(a): hit(vars(a))",
        None,
    ),
    Case(
        "private of another's object by a cached property",
        "import functools\np = functools.cached_property(lambda x: 'none')\np.__set_name__(int, '_x')\nif p.__get__(other) != 'none': hit(1)",
        None,
    ),
    Case(
        "private of another's object by a namespace",
        "import types\nclass Eq:\n    def __eq__(self, o): hit(o)\ntypes.SimpleNamespace.__eq__(other, types.SimpleNamespace(_x=Eq()))",
        None,
    ),
    Case("private of another's object", "import random\nhit(random.Random()._randbelow(3))"),
    Case(
        "private made known first",
        "class A:\n    def __init__(self): self._os = 1\nimport random\nhit(random._os)",
    ),
    Case(
        "forward reference evaluated",
        "import typing\ntyping.get_args(typing.List['hit(1)'])[0]._evaluate({}, {})",
    ),
    Case("enum from a module's globals", "import enum\nenum.IntEnum._convert_('X', 'os', hit)"),
]

FORMATS = [
    Case("format", "hit('{0.__class__}'.format(1))", AttributeError),
    Case("format of a global", "hit('{0.__globals__[HOST]}'.format(tool))", AttributeError),
    Case("format_map (CVE-2023-41039)", "hit('{a.__class__}'.format_map({'a': 1}))", AttributeError),
    Case("format in a format spec", "hit('{0:{0.__class__}}'.format(1))", AttributeError),
    Case("format through the class", "hit(str.format('{0.__class__}', 1))", AttributeError),
    Case("format through map", "hit(list(map(str.format, ['{0.__class__}'], [1])))", AttributeError),
    Case("format through getattr", "hit(getattr('{0.__class__}', 'format')(1))", AttributeError),
    Case("format through super", "class S(str):\n    def go(self): return super().format(1)\nhit(S('{0.__class__}').go())", AttributeError),
    Case("format of a subclass", "class S(str): pass\nhit(S('{0.__class__}').format(1))", AttributeError),
    Case("format through methodcaller", "import operator\nhit(operator.methodcaller('format', 1)('{0.__class__}'))", AttributeError),
    Case("format by partial", "import functools\nhit(functools.partial(str.format, '{0.__class__}')(1))", AttributeError),
    Case("format captured by a pattern", "match '{0.__class__}':\n    case str(format=f): hit(f(1))", AttributeError),
    Case(
        "format captured by position",
        "from abc import ABC\nfrom dataclasses import dataclass\n@dataclass\nclass C(ABC):\n    format: str\n"
        "C.register(str)\nmatch '{0.__class__}':\n    case C(f): hit(f(1))",
        AttributeError,
    ),
    Case("Formatter (CVE-2026-76825)", "import string\nhit(string.Formatter().format('{0.__class__}', 1))", AttributeError),
    Case("Formatter get_field", "import string\nhit(string.Formatter().get_field('0.__class__', (1,), {}))", AttributeError),
    Case("Formatter through mro", "import string\nhit(string.Formatter.mro()[1]().format('{0.__class__}', 1))", ANY),
    Case("Formatter through super", "import string\nclass F(string.Formatter):\n    def go(self): return super(string.Formatter, self).get_field('0.__class__', (1,), {})\nhit(F().go())", ANY),
    Case("frame in a format", "def g(): yield\nhit('{0.gi_frame}'.format(g()))", AttributeError),
]  # fmt: skip

FRAMES = [
    Case("generator frame (CVE-2023-37271)", "hit((x for x in []).gi_frame)"),
    Case("generator code", "hit((x for x in []).gi_code)"),
    Case("generator it waits for", "def g(): yield from []\nhit(g().gi_yieldfrom)"),
    Case("coroutine frame", "async def f(): pass\nc = f()\nc.close()\nhit(c.cr_frame)"),
    Case("coroutine it waits for", "async def f(): pass\nc = f()\nc.close()\nhit(c.cr_await)"),
    Case("async generator frame", "async def f(): yield 1\nhit(f().ag_frame)"),
    Case("traceback", "try: 1 / 0\nexcept Exception as e:\n    if e.__traceback__ is not None: hit(1)", None),
    Case("traceback by pattern", "try: 1 / 0\nexcept Exception as e:\n    match e:\n        case Exception(__traceback__=t): hit(t)"),
    Case("special method of an instance", "class A: pass\nA().__call__ = hit", AttributeError),
    Case("special method of a library's class", "import json\njson.JSONEncoder.__init__ = hit\nhit(1)", ANY),
    Case("special method of a builtin", "int.__add__ = hit\nhit(1)", ANY),
    Case("special method of a function", "def f(): pass\nf.__get__ = hit\nhit(1)", ANY),
    Case("match args of a class by setattr", "class A: pass\nsetattr(A, '__match_args__', ('x',))\nhit(1)"),
    Case("getattribute of a class", "class A: pass\nA.__getattribute__ = hit\nhit(1)"),
    Case("reduce of a class by setattr", "class A: pass\nname = '__redu' + 'ce__'\nsetattr(A, name, hit)\nhit(1)", ANY),
    Case("traceback of with", "class A:\n    def __enter__(self): return self\n    def __exit__(self, t, v, tb): hit(tb.tb_frame)\nwith A(): 1 / 0"),
    Case("traceback by with_traceback", "try: 1 / 0\nexcept Exception as e: hit(e.with_traceback(None).tb_frame)"),
    Case("globals of a frame", "hit(tool.f_globals)"),
    Case("exc_info gives no traceback", "import sys\ntry: 1 / 0\nexcept Exception:\n    if sys.exc_info()[2]: hit(1)", None),
    Case("pattern keyword", "def g(): yield\nmatch g():\n    case object(gi_frame=f): hit(f)"),
    Case("pattern dunder keyword", "match 1:\n    case object(__class__=c): hit(c)"),
    Case("match args of frames", "class M:\n    __match_args__ = ('cr_frame',)"),
    Case("match args computed", "class M:\n    __match_args__ = tuple(['cr_' + 'frame'])"),
    Case("match args by another binding", "class M:\n    for __match_args__ in [('cr_' + 'frame',)]: pass"),
    Case("match args by walrus", "class M:\n    (__match_args__ := ('cr_' + 'frame',))"),
    Case("match args of a dataclass", "from dataclasses import dataclass\n@dataclass\nclass M:\n    tb_frame: int"),
    Case("match args of a namedtuple", "from collections import namedtuple\nnamedtuple('M', 'gi_frame')", ValueError),
    Case("AttributeError.obj (CVE-2024-47532)", "import json\ntry: json.loads(1).x.y\nexcept Exception: pass\ntry: tool.zzz\nexcept AttributeError as e: hit(e.obj)", AttributeError),
    Case("obj through getattr", "try: tool.zzz\nexcept AttributeError as e: hit(getattr(e, 'obj'))", AttributeError),
    Case("obj by a pattern", "try: tool.zzz\nexcept AttributeError as e:\n    match e:\n        case AttributeError(obj=o): hit(o)"),
    Case("obj by an operator", "class R:\n    def __radd__(self, o): hit(o)\ntry: tool.zzz\nexcept AttributeError as e: e.obj += R()", AttributeError),
    Case("task stack", "import asyncio\nhit(asyncio.current_task().get_stack())", AttributeError),
    Case("task coroutine", "import asyncio\nhit(asyncio.current_task().get_coro())", AttributeError),
    Case("task coroutine of a subclass", "import asyncio\nclass T(asyncio.Task): pass\nasync def f(): pass\nhit(T(f()).get_coro())", AttributeError),
    Case("task context", "import asyncio\nhit(asyncio.current_task().get_context())", AttributeError),
    Case("loop of a future", "import asyncio\nhit(asyncio.current_task().get_loop())", AttributeError),
    Case("loop by its private name", "import asyncio\nclass A:\n    def __init__(self): self._loop = 1\nhit(asyncio.current_task()._loop)"),
    Case("obj by its class", "try: tool.zzz\nexcept AttributeError as e: hit(AttributeError.obj.__get__(e))", AttributeError),
    Case("loop by the class of a future", "import asyncio\nhit(asyncio.Future.get_loop)", AttributeError),
    Case("frame by an alias", "import typing\nAlias = type(typing.List[int])\ndef g(): yield\nx = g()\nhit(Alias(type(x), (int,)).__getattr__('gi_' + 'frame').__get__(x))", AttributeError),
    Case("class attributes by a printer", "import io, pprint\nclass P(pprint.PrettyPrinter):\n    def _format_namespace_items(self, items, *a): hit(items)\n    def go(self, *a): getattr(self, '_pprint_' + 'simplenamespace')(*a)\nP().go(object, io.StringIO(), 0, 0, {}, 1)", AttributeError),
    Case("exception group (CVE-2025-22153)", "try: raise ExceptionGroup('x', [ValueError()])\nexcept* ValueError as e:\n    if e.__traceback__ is not None or getattr(e, '__traceback__') is not None: hit(1)", None),
]  # fmt: skip

TYPES = [
    Case("type with three arguments", "hit(type('X', (), {}))"),
    Case("type with three arguments, renamed", "t = type\nhit(t('X', (), {}))", TypeError),
    Case("type of a type", "hit(type(int)('X', (), {}))", TypeError),
    Case("type of a type of a type", "hit(type(type(int))('X', (), {}))", TypeError),
    Case("class of a class", "hit((1).__class__.__class__('X', (), {}))", TypeError),
    Case("metaclass defined", "class M(type): pass"),
    Case("metaclass defined, renamed", "t = type\nclass M(t): pass", TypeError),
    Case("metaclass from ABC", "from abc import ABCMeta\nclass M(ABCMeta): pass", TypeError),
    Case("metaclass called", "from abc import ABCMeta\nhit(ABCMeta('X', (), {}))", TypeError),
    Case("metaclass of Enum called", "import enum\nhit(enum.EnumMeta('X', (), {}))", TypeError),
    Case("metaclass keyword", "class A(metaclass=lambda *a: hit(a)): pass"),
    Case("metaclass keyword in a dict", "class A(**{'metaclass': lambda *a: hit(a)}): pass", TypeError),
    Case("metaclass through typing", "import typing\nhit(typing.get_origin(typing.Type[int])('X', (), {}))", TypeError),
    Case("metaclass by an alias that makes instances", "import typing\nclass U:\n    def __init__(self): self._inst = True\nt = typing.Type[int]\nt._inst = True\nhit(t('X', (), {}))"),
    Case("metaclass of a Protocol", "import typing\nclass P(typing.Protocol): pass\nhit(type(P)('X', (), {}))", TypeError),
    Case("types.new_class", "import types\nhit(types.new_class('X'))", AttributeError),
    Case("functional Enum with a special name", "import enum\nhit(enum.Enum('X', {'__reduce_ex__': 1}))", ValueError),
    Case("functional Enum through mro", "import enum\nhit(enum.Enum.mro()[1]('X', {'__reduce_ex__': 1}))", ANY),
    Case("functional Enum through mro of an alias", "import enum, types\nhit(types.GenericAlias(enum.Enum, (int,)).mro()[1]('X', {'__reduce_ex__': 1}))", ANY),
    Case("functional Enum through mro of type", "import enum, typing\nhit(typing.Type.mro(enum.Enum))", AttributeError),
    Case("text evaluated by the class of a reference", "import typing\nref = typing.get_args(typing.List['hit(1)'])[0]\ntype(ref).evaluate(ref)", AttributeError),
    Case("functional Enum of an own base", "import enum\nclass B(enum.Enum): pass\nhit(B('X', {'__reduce_ex__': 1}))", ValueError),
    Case(
        "a field renamed before it is compiled",
        "from dataclasses import dataclass, fields\n@dataclass\nclass A:\n    x: int = 0\nfor f in fields(A): f.name = 'y=1, z'\n"
        "@dataclass\nclass B(A): pass\nif 'z' in dir(B()): hit(1)",
        EITHER,
    ),
    Case(
        "a field kept and renamed",
        "from dataclasses import dataclass, field\nf = field(default=0)\n@dataclass\nclass A:\n    x: int = f\nf.name = 'y=1, z'\n"
        "@dataclass\nclass B(A): pass\nif 'z' in dir(B()): hit(1)",
        EITHER,
    ),
    Case("dataclass of a host's class", "import json\nfrom dataclasses import dataclass\ndataclass(json.JSONEncoder)", TypeError),
    Case("total_ordering of a host's class", "import json, functools\nfunctools.total_ordering(json.JSONEncoder)", TypeError),
    Case("copy by reduce on the object", "import copy, types\nn = types.SimpleNamespace(**{'__reduce_ex__': lambda p: (hit, (1,))})\ncopy.copy(n)", AttributeError),
    Case("copy by reduce of a cached property", "import copy, functools\nclass A:\n    @functools.cached_property\n    def x(self): return lambda p: (hit, (1,))\nfor v in [A()]:\n    p = A.x\n    p.attrname = '__reduce_ex__'\n    v.x\n    copy.copy(v)", TypeError),
]  # fmt: skip

TEXT_AS_CODE = [
    Case("eval", "hit(eval('1'))"),
    Case("eval by another name", "e = eval\nhit(e('1'))"),
    Case("exec", "exec('hit(1)')"),
    Case("compile", "compile('1', 'x', 'eval')"),
    Case("globals", "globals()['x'] = 1\nhit(1)"),
    Case("locals", "hit(locals())"),
    Case("open", "hit(open('/etc/hostname').read())"),
    Case("input", "hit(input())"),
    Case("breakpoint", "breakpoint()"),
    Case("type hints", "import typing\ndef f(x: 'hit(1)'): pass\ntyping.get_type_hints(f)", AttributeError),
    Case("singledispatch", "import functools\n@functools.singledispatch\ndef f(x): pass\ndef g(x: 'hit(1) or int'): pass\nf.register(g)", TypeError),
    Case("signature with eval_str", "import inspect\ninspect.signature(tool, eval_str=True)", ANY),
    Case("signature of annotations that are text", "import inspect\ndef f(x: 'hit(1)') -> 'hit(2)': pass\nstr(inspect.signature(f))", None),
    Case("signature of a function of the host", "import inspect\nhit(inspect.signature(tool))", ANY),
    Case("class of a signature", "import inspect\nhit(type(inspect.signature(lambda: 1)).from_callable)", PolicyError),
    Case("signature of a callable", "import inspect\nhit(inspect.Signature.from_callable)", PolicyError),
    Case("signature by computed name", "import inspect\nhit(getattr(inspect.Signature, 'from_' + 'callable'))", AttributeError),
    Case("signature by attrgetter", "import inspect, operator\nhit(operator.attrgetter('from_callable')(inspect.Signature))", AttributeError),
    Case("signature by pattern", "import inspect\nmatch inspect.signature(lambda: 1):\n    case inspect.Signature(from_callable=f): hit(f)", PolicyError),
    Case("signature by format", "import inspect\nhit('{0.from_callable}'.format(inspect.Signature))", AttributeError),
    Case("signature of a subclass", "import inspect\nclass S(inspect.Signature):\n    def f(self): return super().from_callable\nhit(S().f())", PolicyError),
    Case("signature in its dict", "import inspect\nhit(vars(inspect.Signature))", TypeError),
    Case("timeit", "import timeit\ntimeit.timeit('hit(1)')", AttributeError),
    Case("code module", "import code\ncode.interact()", ImportError),
    Case("pickle", "import pickle\npickle.loads(b'')", ImportError),
    Case("namedtuple source", "from collections import namedtuple\nnamedtuple('X', ['a', 'b=hit(1)'])", ValueError),
]  # fmt: skip

MODULES = [
    *(
        Case(f"module {name}", f"import {name}\nhit({name})", (ImportError, PolicyError))
        for name in (
            "os posix subprocess socket ctypes importlib builtins gc signal multiprocessing pathlib "
            "shutil tempfile logging faulthandler linecache codeop _io _thread marshal threading "
            "urllib.request http.client sqlite3 asyncio.subprocess json.scanner xml.sax"
        ).split()
    ),
    *(
        Case(f"path {path}", f"import {path.partition('.')[0]}\nhit({path})", AttributeError)
        for path in (
            "json.codecs re.enum dataclasses.sys datetime.sys statistics.random enum.sys csv.re "
            "uuid.os contextlib.os typing.contextlib asyncio.base_events asyncio.subprocess "
            "textwrap.re calendar.sys collections.sys difflib.re asyncio.create_subprocess_exec "
            "asyncio.open_connection asyncio.get_event_loop asyncio.Runner contextlib.chdir io.open "
            "io.FileIO codecs.open gzip.open uuid.getnode types.CodeType types.FrameType "
            "random.os heapq.sys sys.modules sys.path sys.settrace sys.exc_clear sys.meta_path "
            "contextvars.copy_context inspect.currentframe inspect.stack shlex.shlex tomllib.load "
            "weakref.finalize functools.get_cache_token enum.global_enum collections.UserString "
            "dataclasses.make_dataclass functools.singledispatchmethod"
        ).split()
    ),
    Case("from a live submodule", "from asyncio import base_events\nhit(base_events)", ImportError),
    Case("from a live module's import", "from json import codecs\nhit(codecs)", ImportError),
    Case("from a deleted name", "import json\ndel json.scanner\nfrom json import scanner\nhit(scanner)", ANY),
    Case("from a deleted facade", "import json\ndel json.decoder\nfrom json import decoder\nhit(decoder.scanner)", ANY),
    Case("from a facade under another name", "from json import decoder as d\nhit(d.re)", ANY),
    Case("star import", "from os import *\nhit(system)", ImportError),
    Case("star import is listed names", "from json import *\nif 'codecs' in dir(): hit(1)", None),
    Case("relative import", "from . import os\nhit(os)"),
    Case("main module", "import __main__\nhit(__main__)"),
    Case("getattr of a facade", "import json\nhit(getattr(json, 'codecs'))", AttributeError),
    Case("a facade's private name", "import string\nhit(string._re)"),
    Case("deepcopy of a module", "import copy, json\nif not hasattr(copy.deepcopy(json), 'codecs'): pass\nelse: hit(1)", None),
    Case("recursion limit", "import sys\nbefore = sys.getrecursionlimit()\nsys.setrecursionlimit(10 ** 6)\nif sys.getrecursionlimit() != before: hit(1)", None),
]  # fmt: skip

BINDINGS = [
    Case("assignment", "_ptc_getattr = hit"),
    Case("parameter", "def f(_ptc_getattr): pass"),
    Case("positional-only parameter (CVE-2026-55830)", "def f(_ptc_getattr, /): pass"),
    Case("keyword-only parameter", "def f(*, _ptc_getattr): pass"),
    Case("star parameter", "def f(*_ptc_getattr): pass"),
    Case("double-star parameter", "def f(**_ptc_getattr): pass"),
    Case("async parameter", "async def f(_ptc_getattr): pass"),
    Case("lambda parameter", "f = lambda _ptc_getattr, /: 1"),
    Case("function", "def _ptc_getattr(*a): pass"),
    Case("async function", "async def _ptc_getattr(*a): pass"),
    Case("class", "class _ptc_getattr: pass"),
    Case("for", "for _ptc_getattr in [hit]: pass"),
    Case("comprehension", "[1 for _ptc_getattr in [hit]]"),
    Case("walrus", "(_ptc_getattr := hit)"),
    Case("with", "import contextlib\nwith contextlib.nullcontext(hit) as _ptc_getattr: pass"),
    Case("except", "try: 1 / 0\nexcept Exception as _ptc_getattr: pass"),
    Case("except star", "try: 1 / 0\nexcept* Exception as _ptc_getattr: pass"),
    Case("import", "import json as _ptc_getattr"),
    Case("from import", "from json import dumps as _ptc_getattr"),
    Case("match name", "match 1:\n    case _ptc_getattr: pass"),
    Case("match star", "match [1]:\n    case [*_ptc_getattr]: pass"),
    Case("match rest", "match {}:\n    case {**_ptc_getattr}: pass"),
    Case("match as", "match 1:\n    case int() as _ptc_getattr: pass"),
    Case("global", "def f():\n    global _ptc_getattr"),
    Case("nonlocal", "def f():\n    def g():\n        nonlocal _ptc_getattr"),
    Case("delete", "del _ptc_getattr"),
    Case("keyword", "dict(_ptc_getattr=1)"),
    Case("augmented", "_ptc_getattr += 1"),
    Case("annotated", "_ptc_getattr: int = 1"),
    Case("read", "hit(_ptc_getattr)"),
    Case("attribute", "class A: pass\nA()._ptc_target = 1"),
    Case("builtins bound", "__builtins__ = {}"),
    Case("build class bound", "def f(__build_class__): pass"),
    Case("import bound", "__import__ = hit"),
]

ALL = [*DUNDERS, *COMPUTED_NAMES, *FORMATS, *FRAMES, *TYPES, *TEXT_AS_CODE, *MODULES, *BINDINGS]


@pytest.mark.parametrize("guard_writes", [False, True], ids=["process", "inprocess"])
@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_escape_is_closed(case: Case, guard_writes: bool) -> None:
    """Each known way out is refused, and its goal is not reached."""
    hits: list[object] = []

    def tool() -> None:
        """Stand for a tool of the host."""

    def attempt() -> None:
        names = {"hit": hits.append, "tool": tool, "other": Other()}
        run_code(case.code, guard_writes=guard_writes, names=names)

    if case.expected is None:
        attempt()
    elif case.expected is EITHER:
        with contextlib.suppress(*EITHER):
            attempt()
    else:
        with pytest.raises(case.expected):
            attempt()
    assert hits == []


WRITES = [
    Case("host's class", "import json\njson.JSONEncoder.default = lambda s, o: 1"),
    Case("host's class by setattr", "import json\nsetattr(json.JSONEncoder, 'default', 1)"),
    Case(
        "host's class by the __init__ of a class",
        "import json\njson.JSONEncoder.__init__(json.JSONEncoder, default=1)",
    ),
    Case(
        "host's class by super",
        "import json\nclass E(json.JSONEncoder): pass\nsuper(E, E).__init__(json.JSONEncoder, default=1)",
    ),
    Case("host's class registered by an alias", "import typing\ntyping.Sequence.register(set)"),
    Case("host's class deleted", "import json\ndel json.JSONEncoder.default"),
    Case("facade", "import json\njson.loads = 1"),
    Case("tool", "tool.evil = 1"),
    Case("tool augmented", "tool.evil += 1"),
    Case("tool by a namespace", "import types\ntypes.SimpleNamespace.__init__(tool, evil=1)"),
    Case("facade by for", "import json\nfor json.loads in [1]: pass"),
    Case(
        "facade by with",
        "import json, contextlib\nwith contextlib.nullcontext(1) as json.loads: pass",
    ),
    Case(
        "host's class by object",
        "import json\nobject.__setattr__(json.JSONEncoder(), 'x', 1)\njson.JSONEncoder.x = 1",
    ),
]


@pytest.mark.parametrize("case", WRITES, ids=[case.name for case in WRITES])
def test_host_is_not_written_to(case: Case) -> None:
    """Where the code shares a process with the host, it stores only into what it has made."""
    default = json.JSONEncoder.default

    def tool() -> None:
        """Stand for a tool of the host."""

    with pytest.raises((TypeError, AttributeError)):
        run_code(case.code, guard_writes=True, names={"tool": tool})
    assert json.JSONEncoder.default is default
    assert vars(tool) == {}


def test_random_is_the_programs_own() -> None:
    """Seeding `random` in the code leaves the host's generator alone."""
    import random

    state = random.getstate()
    first = run_code("import random\nrandom.seed(1)\nrandom.random()").value
    assert random.getstate() == state
    assert first == random.Random(1).random()


def test_shared_constants_are_copies() -> None:
    """A list that a facade shows can be changed without changing the host's."""
    import keyword

    before = list(keyword.kwlist)
    run_code("import keyword\nkeyword.kwlist.clear()", guard_writes=True)
    assert keyword.kwlist == before
