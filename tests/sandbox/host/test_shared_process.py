"""What one program does in the process of the host changes nothing for others (`InProcessSandbox`)."""

from __future__ import annotations

import collections.abc
import csv
import numbers
from xml.etree import ElementTree

import pytest

from langchain_ptc import InProcessSandbox, ProgrammaticToolExecutor

_HOOK = (
    "import collections.abc\nclass A(collections.abc.Sized):\n    def __len__(self): return 1\n"
    "    @classmethod\n    def __subclasshook__(cls, c): return True\n"
    "print(isinstance(5, collections.abc.Sized))"
)
_CLASS = (
    "import collections.abc\nclass A(collections.abc.Sized):\n    def __len__(self): return 1\n"
)


@pytest.fixture(scope="module")
def executor() -> ProgrammaticToolExecutor:
    """Its programs share this process and one sandbox."""
    return ProgrammaticToolExecutor([], sandbox=InProcessSandbox(), check="off")


@pytest.mark.parametrize(
    "code",
    [
        _HOOK,
        "import collections.abc\ncollections.abc.Sized.register(int)",
        "import numbers\nnumbers.Number.register(str)",
        "import numbers\ngetattr(numbers.Number, 'register')(str)",
        "import numbers, operator\noperator.methodcaller('register', str)(numbers.Number)",
        "import numbers, operator\noperator.attrgetter('register')(numbers.Number)(str)",
        "import numbers\nmatch numbers.Number:\n    case object(register=f):\n        f(str)",
        _CLASS + "A.register(int)",
        _CLASS + "match A:\n    case object(register=f):\n        f(int)",
        _CLASS + "A.__subclasshook__ = classmethod(lambda cls, c: True)",
        _CLASS + "setattr(A, '__subclasshook__', classmethod(lambda cls, c: True))",
        "import csv\ncsv.field_size_limit('x')",
        "import xml.etree.ElementTree as E\nE.register_namespace('zz', 'urn:zz')",
    ],
)  # fmt: skip
def test_program_that_would_change_the_process(
    executor: ProgrammaticToolExecutor, code: str
) -> None:
    """It is refused or fails, and the process is as it was."""
    result = executor.execute(code)
    assert result.status in ("refused", "error"), result.output
    assert not isinstance(5, collections.abc.Sized)
    assert not isinstance("a", numbers.Number)
    assert "urn:zz" not in vars(ElementTree)["_namespace_map"]


def test_limit_of_csv_stays(executor: ProgrammaticToolExecutor) -> None:
    """`csv.field_size_limit` gives the limit of the process and keeps it."""
    before = csv.field_size_limit()
    result = executor.execute("import csv\nprint(csv.field_size_limit(10), csv.field_size_limit())")
    assert result.output == f"{before} {before}\n"
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "change",
    [
        "S.leak = 5",
        "S.__init__ = lambda self, **_: None",
        "S.__eq__ = lambda a, b: True",
        "setattr(S, '__repr__', lambda self: 'changed')",
        "def mark(cls):\n    cls.leak = 1\n    return cls\nmark(S)",
    ],
)
def test_class_that_a_program_changed(executor: ProgrammaticToolExecutor, change: str) -> None:
    """`types.SimpleNamespace` is another class for the next program."""
    head = "from types import SimpleNamespace as S\n"
    assert executor.execute(head + change).status == "success"
    probe = "a = S(x=1)\nprint(a, a == S(x=1), a == S(x=2), hasattr(S, 'leak'))"
    assert executor.execute(head + probe).output == "namespace(x=1) True False False\n"


def test_abstract_classes_of_the_code(executor: ProgrammaticToolExecutor) -> None:
    """What honest programs do with `register` goes on: their own classes, and `singledispatch`."""
    code = (
        "import abc, functools, numbers\nclass A(abc.ABC): pass\nA.register(int)\n"
        "class N: pass\nnumbers.Number.register(N)\n"
        "@functools.singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'\n"
        "f.register(str, lambda x: 'str')\n"
        "print(isinstance(1, A), isinstance(N(), numbers.Number), f(1), f('a'), f(None))"
    )
    result = executor.execute(code)
    assert result.output == "True True int str any\n", result.report()


def test_own_process_may_be_changed() -> None:
    """A worker is the program's own: there the same calls do what they do in Python."""
    code = (
        "import csv, xml.etree.ElementTree as E\ncsv.field_size_limit(10)\n"
        "E.register_namespace('zz', 'urn:zz')\nclass A:\n    @classmethod\n"
        "    def __subclasshook__(cls, c): return True\n"
        "print(csv.field_size_limit(), E.tostring(E.Element('{urn:zz}a')))"
    )
    result = ProgrammaticToolExecutor([]).execute(code)
    assert "10 b'<zz:a xmlns:zz" in result.output, result.report()
