"""Annotations are evaluated where they stand, with the code's own builtins, on every Python.

Python 3.14 keeps them as functions, and where one has raised its standard library runs it again with
the interpreter's builtins: `getattr` is then Python's. A case gets through if it reaches `hit(...)`.
"""

# ruff: noqa: ISC004  # pairs of a program and its value
from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.sandbox_runner import run_code

REAL = "hit(getattr(F, '__subcla' + 'sses__'))"
"""What the guarded `getattr` refuses, and Python's gives."""
CLASSES = {
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: {first}\n    y: {then}",
    "slots": "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A:\n    x: {first}\n    y: {then}",
    "named tuple": "import typing\nclass A(typing.NamedTuple):\n    x: {first}\n    y: {then}",
    "typed dict": "import typing\nclass A(typing.TypedDict):\n    x: {first}\n    y: {then}",
    "protocol": (
        "import typing\n@typing.runtime_checkable\nclass A(typing.Protocol):\n    x: {first}\n"
        "    y: {then}\nisinstance(1, A)"
    ),
    "in a block": (
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    if True:\n        try:\n"
        "            pass\n        finally:\n            x: {first}\n            y: {then}"
    ),
    "in a match": (
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    match 1:\n        case 1:\n"
        "            x: {first}\n            y: {then}"
    ),
    "of an initializer": (
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n"
        "    def __init__(self, x: {first}, y: {then}): pass"
    ),
    "of a method": "class A:\n    def m(self, *x: {first}, y: int = 0, **z: {then}): pass",
    "of a function": (
        "import functools\ndef f(x: {first}, /, *, y: {then}): pass\n"
        "functools.singledispatch(print).register(f)"
    ),
    "of an inner function": "def f():\n    async def g() -> ({first}, {then}): pass\n    return g\nf()",
}
FIRSTS = {"a missing name": "Missing", "an error": "getattr(1, 'no' + 'ne')", "nothing": "int"}


@pytest.mark.parametrize("guard_writes", [True, False], ids=["inprocess", "process"])
@pytest.mark.parametrize("first", FIRSTS.values(), ids=FIRSTS)
@pytest.mark.parametrize("form", CLASSES.values(), ids=CLASSES)
def test_annotations_see_the_builtins_of_the_code(
    form: str, first: str, guard_writes: bool
) -> None:
    """Whatever evaluates an annotation, `getattr` in it is the guarded one."""
    hits: list[object] = []
    code = "class F: pass\n" + form.format(first=first, then=REAL)
    with pytest.raises((NameError, AttributeError)):
        run_code(code, guard_writes=guard_writes, names={"hit": hits.append})
    assert hits == []


MEANINGS = {
    "class variables and variables of the initializer": (
        "from dataclasses import KW_ONLY, InitVar, dataclass\nfrom typing import ClassVar\n"
        "@dataclass\nclass A:\n    'A record.'\n    made: ClassVar[int] = 7\n    x: int\n    _: KW_ONLY\n"
        "    seed: InitVar[int] = 2\n    y: 'int' = 3\n    def __post_init__(self, seed): self.x += seed\n"
        "return [repr(A(1, y=4)), A.made, A.__doc__]",
        ["A(x=3, y=4)", 7, "A record."],
    ),
    "private fields": (
        "from dataclasses import dataclass, fields\n@dataclass\nclass A:\n    __x: int = 1\n    _y: int = 2\n"
        "return [f.name for f in fields(A)]",
        ["_A__x", "_y"],
    ),
    "inheritance": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n@dataclass\nclass B(A):\n"
        "    y: int = 2\n    z = 3\nclass C(B): pass\nreturn [repr(B(1)), repr(C(1)), B.z]",
        ["B(x=1, y=2)", "C(x=1, y=2)", 3],
    ),
    "named tuples and typed dicts": (
        "from typing import NamedTuple, TypedDict\nclass P(NamedTuple):\n    x: int\n    y: list[int] = []\n"
        "class D(TypedDict, total=False):\n    a: int\nreturn [P._fields, P(1)[1], D(a=1)]",
        [("x", "y"), [], {"a": 1}],
    ),
    "targets that are no names": (
        "class A:\n    d = {}\n    d['k']: int = 1\n    (e): int = 2\n    f: int\n    def m(self):\n"
        "        self.v: int = 3\n        local: Missing = 4\n        return self.v + local\n"
        "return [A.d, A.e, hasattr(A, 'f'), A().m()]",
        [{"k": 1}, 2, False, 7],
    ),
    "the order of evaluation": (
        "seen = []\ndef note(x):\n    seen.append(x)\n    return int\nclass A:\n    x: note(2) = note(1)\n"
        "    y: note(3)\ndef f(a: note(5) = note(4)) -> note(6): pass\nreturn seen",
        [1, 2, 3, 4, 5, 6],
    ),
    "variables of the top level": (
        "seen = {}\nx: Missing = 1\ny: Missing\nseen['x']: Missing = x\nif x:\n    (z): Missing = 2\n"
        "seen['z'] = z\nseen",
        {"x": 1, "z": 2},
    ),
    "variables of the top level, with a return": (
        "for n in range(3):\n    x: Missing = n\nreturn x",
        2,
    ),
    "text instead of values": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n"
        "    next: A | None = None\n    def m(self, other: Missing) -> Missing: return other\n"
        "return [repr(A()), A().m(5)]",
        ["A(next=None)", 5],
    ),
    "a decorator that copies everything": (
        "import functools\ndef log(f):\n    @functools.wraps(f, functools.WRAPPER_ASSIGNMENTS)\n"
        "    def g(*args: int) -> int: return f(*args)\n    return g\n@log\ndef add(a: int, b: int) -> int:\n"
        "    'Adds.'\n    return a + b\nreturn [add(1, 2), add.__doc__]",
        [3, "Adds."],
    ),
    "dispatch by annotations": (
        "import functools\n@functools.singledispatch\ndef show(x): return 'any'\n@show.register\n"
        "def _(x: int): return 'int'\n@show.register\ndef _(x: list | tuple): return 'many'\n"
        "return [show(1), show([]), show('')]",
        ["int", "many", "any"],
    ),
}


@pytest.mark.parametrize(("code", "value"), MEANINGS.values(), ids=MEANINGS)
def test_annotations_mean_the_same_on_every_python(code: str, value: Any) -> None:
    """What the code can see of annotations does not depend on when Python evaluates them."""
    assert run_code(code).value == value


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters() -> None:
    """Annotations see the type parameters of what they stand in."""
    code = (
        "from dataclasses import dataclass\ndef first[T](items: list[T], *, default: T = None) -> T:\n"
        "    return items[0] if items else default\n@dataclass\nclass Box[T]:\n    held: T\n"
        "    def swap[U](self, other: U) -> 'Box[U]': return Box(other)\n"
        "return [first([1]), Box(2).swap(3).held]"
    )
    assert run_code(code).value == [1, 3]


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    x: Missing",
        "class A:\n    def m(self) -> A: pass",
        "def f(x: Missing): pass",
        "lst = []\nfor _ in range(3):\n    def f(*, x: lst[9] = 1): pass",
    ],
)
def test_an_annotation_that_cannot_be_evaluated_is_an_error_where_it_stands(code: str) -> None:
    """A program ends at the same place on each Python, so that it can be resumed on another one."""
    with pytest.raises((NameError, IndexError)):
        run_code(code)
