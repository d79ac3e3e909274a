"""Bytes of a session that no execution has left, and executions that prepare the next one.

Whoever can write the state of a graph can write any bytes. Where the kernel walls the worker in they
may be a pickle of anything, since nothing in there leads out; elsewhere they are plain data.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import ormsgpack
import pytest

from langchain_ptc import InProcessSandbox, ProcessSandbox
from langchain_ptc.sandbox import Program
from langchain_ptc.sandbox.sessions import kept as kept_module
from langchain_ptc.sandbox.sessions import session
from langchain_ptc.sandbox.sessions.session import VERSION
from langchain_ptc.sandbox.wire.decoding import decode_value
from langchain_ptc.sandbox.wire.values import INT as LARGE_INT
from langchain_ptc.sandbox.wire.values import encode_value
from tests.sandbox.sessions.test_sessions_sandbox import execute
from tests.support.pools import PoolSandbox


def seal(*variables: tuple[str, bytes], units: list | None = None, pickled: object = True) -> bytes:
    """Write anything as the variables of a session, under a header that is right."""
    sizes = [[name, len(data)] for name, data in variables]
    data = b"".join(data for _, data in variables)
    body = encode_value([pickled, units or [], sizes, [], data])
    return VERSION + hashlib.sha256(body).digest() + body


class Raw(bytes):
    """Instructions of pickle that push one object."""


def push(value: object) -> bytes:
    """Return the instructions that push plain data."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(push, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(push, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(push(part) for pair in value.items() for part in pair) + b"u"
    if isinstance(value, str):
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
    if isinstance(value, bytes):
        return b"B" + len(value).to_bytes(4, "little") + value
    return pickle.dumps(value, 3)[2:-1]  # without what begins and ends a pickle


def named(module: str, name: str) -> Raw:
    """Push what a module holds."""
    return Raw(push(module) + push(name) + b"\x93")


def call(function: Raw, *args: object) -> Raw:
    """Push what a function gives."""
    return Raw(function + push(args) + b"R")


def maker(name: str, *args: object) -> Raw:
    """Push what a maker makes."""
    made = getattr(session.Makers, name)
    return call(named(made.__module__, made.__qualname__), *args)


def whole(value: object) -> bytes:
    """Return a pickle."""
    return b"\x80\x05" + push(value) + b"."


def forge(value: object, *units: str) -> bytes:
    """Return the bytes of a session with the variable `x`."""
    return seal(("x", whole(value)), units=[[unit, "sync", []] for unit in units])


def a_function(place: str = "f", line: int = 1, cells: tuple = ()) -> Raw:
    """Push a function of the first unit."""
    return maker("function", 0, place, line, 0, place, place, None, cells)


def a_class() -> Raw:
    """Push an empty class."""
    return maker("new_class", {"kind": "class", "name": "A", "bases": (), "entries": {}})


def filled(made: object, state: object) -> Raw:
    """Push an object, filled: it is made anew in the state."""
    return Raw(push(made) + b"\x94" + push(Raw(maker("fill", Raw(b"h\x00"), state))) + b"0")


INT = maker("name", "builtins", "int")
F = "def f(*a): return 1\n"


def deep_tuple(levels: int) -> Raw:
    """Push a tuple in a tuple in a tuple."""
    return Raw(b")" + b"\x85" * levels)


NOWHERE = {
    "a module": forge(maker("name", "os", "")),
    "a module of the host": forge(maker("name", "langchain_ptc", "")),
    "eval": forge(maker("name", "builtins", "eval")),
    "exec by name": forge(maker("name", "builtins", "exec")),
    "import": forge(maker("name", "builtins", "__import__")),
    "a name of a module": forge(maker("name", "os", "system")),
    "a module in a module": forge(maker("name", "json", "codecs")),
    "eval, of pickle": forge(call(named("builtins", "eval"), "1")),
    "exec, of pickle": forge(call(named("builtins", "exec"), "1")),
    "a system call": forge(call(named("os", "system"), "true")),
    "the system call itself": forge(call(named("posix", "system"), "true")),
    "pickle": forge(call(named("pickle", "loads"), b"N.")),
    "the interpreter": forge(named("sys", "modules")),
    "what makes anything": forge(named("copyreg", "_reconstructor")),
    "the sandbox": forge(named("langchain_ptc.sandbox.worker.zygote", "os")),
    "the compiler": forge(named("RestrictedPython", "compile_restricted")),
    "a part of a maker": forge(named(kept_module.__name__, "functools.sys.modules")),
    "a maker that is none": forge(named(session.__name__, "Makers.__init__.__globals__")),
    "a class that has no name": forge(
        call(named(kept_module.__name__, "make_again"), "FunctionType", 1, {})
    ),
    "globals of a function": forge(
        call(named("builtins", "getattr"), a_function(), "__globals__"), F
    ),
    "code of a function": forge(call(named("builtins", "getattr"), a_function(), "__code__"), F),
    "subclasses": forge(call(named("builtins", "getattr"), INT, "__subclasses__")),
    "a function that is refused": forge(a_function(), "def f(): return ().__class__.__bases__\n"),
    "a comprehension as a function": forge(a_function("<genexpr>"), "x = (i for i in [1])\n"),
    "a class body as a function": forge(a_function("A"), "class A:\n    x = 1\n"),
    "a cell that is none": forge(
        a_function("g", 2, (5,)), "def f(x):\n    def g(): return x\n    return g\n"
    ),
    "the guard of the code": seal(("_ptc_getattr", whole(1))),
    "the builtins of the code": seal(("__builtins__", whole({}))),
    "no name": seal(("x y", whole(1))),
    "an object that is not there": forge(Raw(b"h\x07")),
    "an instruction that is not there": forge(Raw(b"\xff")),
    "a size that is none": VERSION + hashlib.sha256(b"\xff" * 9).digest() + b"\xff" * 9,
    "units beyond what code may have": forge(a_function(), F + "#" * 200_000),
}
"""What a pickle does not make, although the kernel would stop what could be done with it."""

ACTS = {
    "a call of a function of the code": forge(call(a_function()), F),
    "a call of a class of the code": forge(call(a_class())),
    "a call of a tool": forge(call(maker("name", "tools", "echo"), 1)),
    "a call of what the code is given": forge(call(maker("name", "builtins", "print"), "hit")),
    "a class that the code may import": forge(named("textwrap", "TextWrapper")),
    "items of an object that is no list": forge(Raw(push(a_class()) + b"(K\x01e")),
    "items of an object that is no dict": forge(Raw(push(a_class()) + b"(K\x01K\x02u")),
    "a state that is set": forge(Raw(push(a_class()) + push((None, {"__reduce__": 1})) + b"b")),
    "an extension": forge(Raw(b"\x82\x01")),
    "a persistent id": forge(Raw(b"K\x01Q")),
    "an instance, of the old pickle": forge(Raw(b"(iposix\nsystem\n")),
}
"""What a pickle may do or try: the worker is the code's own."""


def plain(value: object, *units: str) -> bytes:
    """Return the bytes of a session of plain data with the variable `x`."""
    packed = value if type(value) is bytes else encode_value(value)
    return seal(("x", packed), units=[[unit, "sync", []] for unit in units], pickled=False)


def plain_function(place: str = "f", line: int = 1, *, unit: object = 0) -> list[object]:
    """Return a function as plain data."""
    return ["function", unit, place, line, 0, place, place, None, None, None]


def colliding_keys(count: int) -> bytes:
    """Return a dict of keys of one hash as plain data; no such dict is made, which would take seconds."""
    parts = encode_value([part for n in range(1, count + 1) for part in (n * (2**61 - 1), 0)])
    mark = encode_value({1: 0})[1:-2]
    return b"\x92\xa4data\xdc" + (2 * count + 1).to_bytes(2) + mark + parts[3:]


NOT_PLAIN = {
    "a pickle": forge([1]),
    "a pickle that is said to be plain": plain(whole([1])),
    "something else than a truth": seal(("x", whole([1])), pickled=0),
    "a module": plain(["name", "os", ""]),
    "a module of the host": plain(["name", "langchain_ptc", ""]),
    "eval": plain(["name", "builtins", "eval"]),
    "import": plain(["name", "builtins", "__import__"]),
    "a name of a module": plain(["name", "os", "system"]),
    "a module in a module": plain(["name", "json", "codecs"]),
    "what has no text": plain(["name", b"json", ["dumps"]]),
    "a function that is refused": plain(
        plain_function(), "def f(): return ().__class__.__bases__\n"
    ),
    "a comprehension as a function": plain(plain_function("<genexpr>"), "x = (i for i in [1])\n"),
    "a class body as a function": plain(plain_function("A"), "class A:\n    x = 1\n"),
    "a function with a closure": plain(
        plain_function("g", 2), "def f(x):\n    def g(): return x\n    return g\n"
    ),
    "a function of no unit": plain(plain_function(unit=1), F),
    "a function of a text": plain(plain_function(unit="0"), F),
    "defaults that are none": plain([*plain_function()[:-2], {"a": 1}, None], F),
    "another kind": plain(["call", "os", "system"]),
    "no kind": plain([]),
    "too many parts": plain(["data", 1, 2]),
    "no list": plain(1),
    "a list that is a kind": plain([["data"], 1]),
    "nothing": seal(("x", b""), pickled=False),
    "a tail": plain(encode_value(["data", 1]) + b"\x01"),
    "a length that is not there": plain(b"\x92\xa4data\xdd\xff\xff\xff\xff"),
    "nesting": plain(b"\x92\xa4data" + b"\x91" * 100_000 + b"\x01"),
    "an unknown extension": plain(ormsgpack.packb(["data", ormsgpack.Ext(99, b"")])),
    "a mark that is not at the start": plain(
        ormsgpack.packb(["data", [1, ormsgpack.Ext(encode_value(())[3], b"")]])
    ),
    "a number that takes long": plain(
        ormsgpack.packb(["data", ormsgpack.Ext(LARGE_INT, b"\x01" * 100_000)])
    ),
    "keys of one hash": plain(colliding_keys(20_000)),
    "the guard of the code": seal(("_ptc_getattr", encode_value(["data", 1])), pickled=False),
    "the builtins of the code": seal(("__builtins__", encode_value(["data", {}])), pickled=False),
}
"""What is not read where the language is the wall."""


@pytest.fixture(scope="module", params=["process without walls", "inprocess"])
def without_walls(request: pytest.FixtureRequest) -> Iterator[PoolSandbox | InProcessSandbox]:
    """Each sandbox whose wall is the language."""
    if request.param == "inprocess":
        with InProcessSandbox() as made:
            yield made
        return
    with PoolSandbox(walls=False) as made:
        yield made


@pytest.fixture(scope="module")
def walled() -> Iterator[ProcessSandbox]:
    """A sandbox whose wall is the kernel."""
    with ProcessSandbox() as made:
        yield made


HARMLESS = {
    "a function": (
        forge(filled(a_function(), ((1,), None, {"a": INT}, {"mark": b"x"})), F),
        "print(x(), x.mark)",
        "1 b'x'",
    ),
    "a class": (forge(a_class()), "print(type(x()) is x)", "True"),
    "a method": (forge(call(named("builtins", "getattr"), "text", "upper")), "print(x())", "TEXT"),
    "a module": (forge(maker("name", "json", "")), "print(x.dumps(1))", "1"),
    "a member": (
        forge(maker("member", maker("name", "http", "HTTPStatus"), "OK", 200)),
        "print(x.value)",
        "200",
    ),
    "plain data": (plain(["data", {"a": [1]}]), "print(x.a)", "[1]"),
    "a plain function": (plain(plain_function(), F), "print(x())", "1"),
    "a plain name": (plain(["name", "json", "dumps"]), "print(x(1))", "1"),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_what_is_no_attack_is_read(walled, name):
    """The forgeries fail for what they are: the same bytes make what is harmless."""
    kept, code, printed = HARMLESS[name]
    done = await execute(walled, code, kept)
    assert done.notes == ()
    assert done.output == printed + "\n"


@pytest.mark.parametrize("name", [name for name in HARMLESS if "plain" in name])
async def test_what_is_plain_is_read_without_walls(without_walls, name):
    """What is plain data is read where the language is the wall."""
    kept, code, printed = HARMLESS[name]
    done = await execute(without_walls, code, kept)
    assert (done.output, done.notes) == (printed + "\n", ())


def assert_nothing_was_read(done) -> None:
    """The execution began without `x`, and a note says so."""
    assert done.failure.kind == "NameError"
    assert done.output == ""
    assert len(done.notes) == 1
    assert "could not be read" in done.notes[0]


@pytest.mark.parametrize("name", NOWHERE)
async def test_forged_pickles(walled, name):
    """A pickle names nothing that code could not import: a note, and no variable."""
    assert_nothing_was_read(await execute(walled, "x", NOWHERE[name]))


@pytest.mark.parametrize("name", ACTS)
async def test_pickles_that_act(walled, name):
    """Where the kernel is the wall, a pickle may do what code can: the worker ends as any other."""
    done = await execute(walled, "print('here')", ACTS[name])
    assert done.status == "success"
    assert done.output.endswith("here\n")


@pytest.mark.parametrize("name", [*NOWHERE, *ACTS, *(n for n in HARMLESS if "plain" not in n)])
async def test_pickles_without_walls(without_walls, name):
    """Where the language is the wall, no pickle is read, whatever it holds."""
    kept = {**NOWHERE, **ACTS, **{name: HARMLESS[name][0] for name in HARMLESS}}[name]
    assert_nothing_was_read(await execute(without_walls, "x", kept))


@pytest.mark.parametrize("name", NOT_PLAIN)
async def test_forged_plain_data(without_walls, name):
    """Plain data that was forged gives nothing that code could not have made."""
    assert_nothing_was_read(await execute(without_walls, "x", NOT_PLAIN[name]))


async def test_nothing_is_unpickled_without_walls(monkeypatch):
    """In the process of the host the reader of pickles is never reached."""
    monkeypatch.delattr(session.pickle, "Unpickler")
    monkeypatch.delattr(session.pickle, "_Unpickler")
    monkeypatch.delattr(session, "_Reader")
    monkeypatch.delattr(session, "_PatientReader")
    with InProcessSandbox() as here:
        assert_nothing_was_read(await execute(here, "x", forge([1])))


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


async def test_pickles_that_make_a_folder_make_none(sandbox, tmp_path):
    """A pickle that makes a folder makes none, under our own header neither."""
    attack = pickle.dumps(_Attack(tmp_path / "hit"))
    for kept in (attack, VERSION + hashlib.sha256(attack).digest() + attack, seal(("x", attack))):
        done = await execute(sandbox, "x", kept)
        assert "could not be read" in done.notes[0]
    assert not (tmp_path / "hit").exists()


async def test_a_library_that_evaluates_text_acts_behind_the_walls(tmp_path):
    """Within the walls a pickle may call what a library has; what that does, the kernel stops."""
    pytest.importorskip("numpy")
    text = f"open({str(tmp_path / 'hit')!r}, 'w')"
    attack = forge(call(named("numpy.testing", "runstring"), text, {}))
    with ProcessSandbox(imports=["numpy"]) as walled, InProcessSandbox(imports=["numpy"]) as here:
        for sandbox in (walled, here):
            assert_nothing_was_read(await execute(sandbox, "x", attack))
    assert not (tmp_path / "hit").exists()


async def test_the_previous_format_is_named(sandbox):
    """Variables of a session of an earlier release are lost, and a note says why."""
    body = b'{"units":[],"nodes":[],"variables":[["x",1]]}'
    kept = b"langchain-ptc session 1\n" + hashlib.sha256(body).digest() + body
    done = await execute(sandbox, "y = 1\nprint('x' in dir())", kept)
    assert done.output == "False\n"
    assert done.notes == (
        (
            "the variables of earlier executions could not be read: they are of another version; this "
            "execution has started without them"
        ),
    )
    assert (await execute(sandbox, "print(y)", done.kept)).output == "1\n"


MALFORMED = {
    "empty": b".",
    "no end": push([1]),
    "an empty stack": b"0.",
    "no mark": b"K\x01e.",
    "a call of nothing": b"R.",
    "a long text": b"\x8d" + b"\xff" * 8 + b".",
    "a long integer": b"\x8b\xff\xff\xff\x7f.",
    "a negative integer": b"\x8b\xff\xff\xff\xff.",
    "a frame beyond the end": b"\x95" + b"\xff" * 8 + b"N.",
    "no text": b"\x8c\x01\xff.",
    "an unknown protocol": b"\x80\x09N.",
    "a far place": b"r\xff\xff\xff\xffN.",
    "a maker without its arguments": whole(maker("instance")),
    "a maker with others": whole(maker("function", *range(8))),
    "a class of nothing": whole(maker("new_class", 5)),
    "parts that are missing": whole(maker("new_class", {})),
    "a state of nothing": whole(maker("fill", 1, 2)),
    "an unhashable key": whole(Raw(b"}](K\x01eK\x02s")),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_pickles(walled, name):
    """Whatever is wrong with a variable, the execution begins, and a note names what is lost."""
    done = await execute(walled, "print('here')", seal(("x", MALFORMED[name]), ("y", whole(1))))
    assert done.status == "success"
    assert done.output.endswith("here\n")
    assert "`x`" in done.notes[0]
    assert "could not be read" in done.notes[0]


INDEXES = {
    "nothing": b"",
    "no list": encode_value(1),
    "too few parts": encode_value([True, [], []]),
    "data that is a text": encode_value([True, [], [["x", 1]], [], "N"]),
    "data that is a list": encode_value([True, [], [["x", 1]], [], [1]]),
    "variables that are a number": encode_value([True, [], 1, [], b""]),
    "a size that is a text": encode_value([True, [], [["x", "1"]], [], b"N."]),
    "a size below nothing": encode_value([True, [], [["x", -1]], [], b"N."]),
    "a name that is a number": encode_value([True, [], [[1, 1]], [], b"N."]),
    "a unit that is a text": encode_value([True, ["xyz"], [["x", 2]], [], b"N."]),
    "a mode that is none": encode_value([True, [["x = 1", "fast", []]], [["x", 2]], [], b"N."]),
    "a private name that is none": encode_value(
        [True, [["x = 1", "sync", ["y"]]], [["x", 2]], [], b"N."]
    ),
    "names that are lists": encode_value([True, [], [["x", 2]], [[]], b"N."]),
    "nesting": b"\x91" * 100_000,
}


@pytest.mark.parametrize("name", INDEXES)
async def test_forged_indexes(sandbox, name):
    """Whatever is in place of the index, the execution begins without variables, and says so."""
    body = INDEXES[name]
    kept = VERSION + hashlib.sha256(body).digest() + body
    done = await execute(sandbox, "print('x' in dir())", kept)
    assert (done.status, done.output, len(done.notes)) == ("success", "False\n", 1)
    assert "they are damaged" in done.notes[0]


async def test_a_pickle_that_takes_too_much_memory(walled):
    """What a pickle takes counts as what the code takes."""
    kept = seal(("x", b"\x96" + b"\xff" * 7 + b"\x00."))
    assert (await execute(walled, "1", kept)).failure.limit == "memory_bytes"


async def test_a_lost_variable_is_the_only_one(walled):
    """What does not share with a variable that is lost is there, and what shares with it is lost too."""
    first = (
        "class K:\n    bad = False\n    def __hash__(self):\n        if K.bad:\n            raise ValueError\n"
        "        return 1\n    def __eq__(self, other):\n        return True\n"
        "a = [1]\nk = [a, {K(): ['inner']}]\ninner = next(iter(k[1].values()))\nb = [a, 'text']\nK.bad = True"
    )
    kept = (await execute(walled, first)).kept
    done = await execute(walled, "print(b, b[0] is a, K.bad, 'k' in dir(), 'inner' in dir())", kept)
    assert done.output == "[[1], 'text'] True True False False\n"
    assert done.notes == (
        "`k` of an earlier execution could not be read: making it raised ValueError",
        (
            "`inner` of an earlier execution could not be read: it shares data with a variable that could "
            "not be read"
        ),
    )


async def test_what_is_large_when_unfolded(walled):
    """Data that is large only when it is unfolded is kept as it is; what is too deep is named."""
    first = "laugh = ['ha'] * 10\nfor _ in range(50):\n    laugh = [laugh] * 10\ndeep = []\n"
    first += "for _ in range(400):\n    deep = [deep]\nclass N: pass\nchain = None\n"
    first += "for i in range(20_000):\n    node = N()\n    node.next, node.i = chain, i\n    chain = node"
    done = await execute(walled, first)
    assert done.notes == ()
    second = (
        "n = 0\nwhile deep:\n    deep, n = deep[0], n + 1\nm = 0\nwhile chain:\n"
        "    chain, m = chain.next, m + 1\nprint(n, m, laugh[0] is laugh[9])"
    )
    assert (await execute(walled, second, done.kept)).output == "400 20000 True\n"
    done = await execute(walled, "x = 1\ndeep = []\nfor _ in range(1_000_000):\n    deep = [deep]")
    assert done.notes == (
        (
            "`deep` was not kept: it holds data that is nested too deeply, and such data cannot be kept "
            "between executions"
        ),
    )
    assert (await execute(walled, "print(x)", done.kept)).output == "1\n"


# --- programs that prepare the next one ---------------------------------------------------------

POISONS = {
    "a text that lies about itself": (
        (
            "class S(str):\n    def startswith(self, *a):\n        return False\n"
            "    def __hash__(self):\n        return hash('x')\n    def __eq__(self, other):\n"
            "        return True\nname = S('__globals__')\ndef f(): pass"
        ),
        "getattr(f, name)",
        "TypeError",
    ),
    "a computed name": (
        "name = '__glo' + 'bals__'\ndef f(): pass",
        "getattr(f, name)",
        "AttributeError",
    ),
    "a method that formats": (
        "render = '{0.__class__.__mro__}'.format",
        "render(1)",
        "NameError",
    ),
    "attributes of any name": (
        (
            "class W:\n    def __getattr__(self, name):\n        return lambda *a: self\n    __call__ = "
            "__iter__ = __getattr__\nw = W()\nw.__doc__ = 'd'"
        ),
        "w.anything().__class__.__bases__",
        "PolicyError",
    ),
    "private names of others": (
        "class A:\n    pass\na = A()\na._value = 1\na._loop_of = 2",
        "import asyncio\nawait asyncio.sleep(0)\nasyncio.current_task()._fut_waiter",
        "PolicyError",
    ),
    "fields that lie": (
        "class T(tuple):\n    _fields = 5\nt = T()\nx = 1",
        "t",
        "NameError",
    ),
}


@pytest.mark.parametrize("name", POISONS)
async def test_poison(walled, name):
    """What a program leaves gives the next one nothing that it could not have had itself."""
    first, second, kind = POISONS[name]
    kept = (await execute(walled, first)).kept
    assert kept is not None
    done = await execute(walled, second, kept)
    assert done.failure.kind == kind


@pytest.mark.parametrize(
    "path", ["/files/../x", "/files//etc", "/etc/x", "/files/", "/files/a\\b", "/files/b/c"]
)
async def test_a_forged_session_names_no_other_file(path: str) -> None:
    """A session whose files lead out of the folder is damaged, and is not read; another name is read."""
    with ProcessSandbox(files=True) as sandbox:
        made = await sandbox.session().run(
            Program(code="open('a', 'w').write('x')", files={}, kept=b""), lambda calls: None
        )
        kept = made.kept or b""
        body = kept[len(VERSION) + 32 :]
        forged = list(decode_value(body))
        forged[2] = [[path, forged[2][0][1]]]
        body = encode_value(tuple(forged))
        again = Program(code="1", files={}, kept=VERSION + hashlib.sha256(body).digest() + body)
        done = await sandbox.session().run(again, lambda calls: None)
    damaged = [note for note in done.notes if "could not be read" in note]
    assert bool(damaged) == (path != "/files/b/c")
