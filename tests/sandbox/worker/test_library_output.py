"""What libraries print is output of the program, and what Python imports lazily is there."""

from __future__ import annotations

import encodings
import pkgutil
from pathlib import Path

import pytest

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.sandbox.allowed_modules import list_codecs

FRAME = "import pandas as pd\ndf = pd.DataFrame({'price': [1.5, 2.0]})\n"


@pytest.fixture(scope="module")
def executor() -> ProgrammaticToolExecutor:
    """One with the two libraries that print most."""
    return ProgrammaticToolExecutor([], imports=["numpy", "pandas"])


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (FRAME + "df.info()", "price"),
        (FRAME + "df['price'].info()", "float64"),
        (
            FRAME + "import io\nb = io.StringIO()\ndf.info(buf=b)\nprint(len(b.getvalue()) > 50)",
            "True",
        ),
        (
            FRAME
            + "import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n"
            "    df.info()\nprint('caught', b.getvalue())",
            "caught <class",
        ),
        ("import calendar\ncalendar.TextCalendar().prmonth(2024, 2)", "February 2024"),
        ("import calendar\ncalendar.prmonth(2024, 2)", "February 2024"),
        ("import calendar\ncalendar.prcal(2024)", "December"),
        ("import numpy as np\nnp.show_config()", "blas"),
        ("import numpy as np\nnp.info(np.add)", "add(x1, x2"),
        (
            "import numpy as np\nprint(np.float64(1) / np.float64(0))",
            "line 2: RuntimeWarning: divide by",
        ),
        ("import warnings\nwarnings.warn('careful')", "line 2: UserWarning: careful"),
        (
            "import warnings\nwarnings.filterwarnings('ignore')\nwarnings.warn('no')\nprint('quiet')",
            "quiet\n",
        ),
        (
            (
                "import warnings\nwith warnings.catch_warnings(record=True) as w:\n"
                "    warnings.simplefilter('always')\n    warnings.warn('x')\nprint(len(w), w[0].message)"
            ),
            "1 x",
        ),
        (
            (
                "import warnings\nwarnings.simplefilter('error')\ntry:\n    warnings.warn('x')\n"
                "except UserWarning as e:\n    print('raised', e)"
            ),
            "raised x",
        ),
        ("import warnings\nwarnings.warn('old', DeprecationWarning)\nprint('shown')", "shown\n"),
        (
            (
                "import contextlib, io, sys\ne = io.StringIO()\nwith contextlib.redirect_stderr(e):\n"
                "    print('err', file=sys.stderr)\nprint(repr(e.getvalue()))"
            ),
            "'err\\n'",
        ),
        (
            (
                "import sys, io\nold = sys.stdout\nsys.stdout = b = io.StringIO()\nprint('hidden')\n"
                "sys.stdout = old\nprint('got', b.getvalue())"
            ),
            "got hidden",
        ),
        ("import sys\nprint(sys.stdout.encoding, sys.stdout.isatty())", "utf-8 False"),
    ],
)
def test_library_prints(executor: ProgrammaticToolExecutor, code: str, wanted: str) -> None:
    """It is output, under `redirect_stdout` and the filters of warnings as everywhere in Python."""
    result = executor.execute(code)
    assert result.status == "success", result.report()
    assert wanted in result.output
    if wanted.endswith("\n"):
        assert result.output == wanted


def test_library_prints_within_the_limit() -> None:
    """What a library prints counts as what the code prints."""
    executor = ProgrammaticToolExecutor([], limits=Limits(output_bytes=2_000))
    code = "import calendar\nfor year in range(1, 1000):\n    calendar.prcal(year)"
    result = executor.execute(code)
    assert (result.status, result.error and result.error.limit) == ("limit", "output_bytes")
    assert len(result.output.encode()) < 3_000


@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        ("print(1, sep=1)", "", "TypeError: sep must be None or a string, not int"),
        ("print(1, end=5)", "", "TypeError: end must be None or a string, not int"),
        ("print(1, file=5)", "", "AttributeError: 'int' object has no attribute 'write'"),
        ("print(1, colour=2)", "", "TypeError"),
        ("print('a', 'b', sep=None, end=None)", "a b\n", ""),
        ("print('a', 'b', sep='-', end='!')", "a-b!", ""),
        ("print(1, flush=True)", "1\n", ""),
        ("print()", "\n", ""),
        ("class A:\n    def __str__(self): return 1 / 0\nprint('x', A())", "x ", "ZeroDivisionError"),
        ("class F:\n    def write(self, t): print(repr(t))\nprint(1, 2, file=F())",
         "'1'\n' '\n'2'\n'\\n'\n", ""),
    ],
)  # fmt: skip
def test_print_is_python_s(sandbox: str, code: str, output: str, error: str) -> None:
    """`print` writes and refuses what CPython's does."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    result = ProgrammaticToolExecutor([], sandbox=made).execute(code)
    assert result.output == output
    assert error in (f"{result.error.kind}: {result.error.message}" if result.error else "")
    assert bool(error) == (result.status == "error")


def test_codecs_not_found() -> None:
    """Every codec that Python ships works in a worker."""
    names = [name.partition(".")[2] for name in list_codecs()]
    assert len(names) > 100
    assert {f.name for f in pkgutil.iter_modules(encodings.__path__)} - {*names} == {"mbcs", "oem"}
    text = [
        n
        for n in names
        if n not in ("aliases", "undefined", "charmap", "cp65001", "_win_cp_codecs")
    ]
    code = f"""
import codecs
bad = []
for name in {text}:
    try:
        codecs.encode(b'a' if name.endswith('_codec') else 'a', name)
    except LookupError as error:
        bad.append((name, str(error)))
for name in ('utf-8-sig', 'windows-1251', 'cp1252', 'shift_jis', 'iso-8859-2', 'gb18030', 'latin-1'):
    if 'a'.encode(name).decode(name) != 'a':
        bad.append(name)
print(bad)
"""
    result = ProgrammaticToolExecutor([]).execute(code)
    assert result.output == "[]\n", result.report()


@pytest.mark.parametrize(
    "code",
    [
        "import zoneinfo\nprint(zoneinfo.ZoneInfo('Asia/Kolkata').key)",
        "import hashlib\nprint([len(hashlib.new(n, b'a').digest()) for n in ('md5', 'sha1', 'sha256', 'sha3_256', 'blake2b')])",
        "from datetime import datetime\nprint(datetime.strptime('1 Jan 2024', '%d %b %Y').date())",
        "print(int('9' * 4000) > 0, len(str(10 ** 4000)))",
        "from decimal import Decimal\nprint(Decimal('1.1') + 1, f\"{Decimal('1234.5'):,.2f}\")",
        "import statistics\nprint(statistics.NormalDist(0, 1).cdf(0))",
        "print('\\N{DEGREE SIGN}', 'ß'.encode('idna'))",
        "import xml.etree.ElementTree as ET\nprint(ET.fromstring('<a><b>1</b></a>').findtext('b'))",
        "import difflib\nprint(len(difflib.HtmlDiff().make_table(['a'], ['b'])) > 10)",
        "import csv, io\nprint(csv.Sniffer().sniff('a;b\\n1;2\\n').delimiter)",
        "import json\ntry:\n    json.loads('x')\nexcept json.decoder.JSONDecodeError as e:\n    print(e.pos)",
        (
            "import traceback\ntry:\n    1 / 0\nexcept Exception as e:\n"
            "    print(''.join(traceback.format_exception(type(e), e, e.__traceback__)))\n"
            "    traceback.print_exc()\n    print(traceback.format_exception_only(e))"
        ),
    ],
)
def test_standard_library_without_files(code: str) -> None:
    """What the standard library imports or reads at first use is there in a worker."""
    result = ProgrammaticToolExecutor([]).execute(code)
    assert result.status == "success", result.report()


@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
def test_class_decorator_sets_methods(sandbox: str) -> None:
    """A decorator may set methods on a class of the code, special ones too; on no other class."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    executor = ProgrammaticToolExecutor([], sandbox=made)
    code = (
        "def deco(cls):\n    cls.__repr__ = lambda self: 'R'\n    cls.name = lambda self: 'N'\n"
        "    setattr(cls, '__len__', lambda self: 3)\n    return cls\n"
        "@deco\nclass A: pass\nprint(A(), A().name(), len(A()))"
    )
    assert executor.execute(code).output == "R N 3\n"
    refused = executor.execute(
        "import collections\ncollections.Counter.__repr__ = lambda self: 'x'"
    )
    assert refused.status == "error"


@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
def test_star_imports_make_no_notes(sandbox: str) -> None:
    """`from math import *` brings names, and no note about them."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    result = ProgrammaticToolExecutor([], sandbox=made).execute(
        "from math import *\nfrom statistics import *\nprint(sqrt(4), mean([1, 3]))"
    )
    assert (result.output, result.notes) == ("2.0 2\n", ())


@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
def test_signature_of_own_functions(sandbox: str) -> None:
    """`inspect.signature` shows what the code's functions take, and nothing in it evaluates text."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    executor = ProgrammaticToolExecutor([], sandbox=made)
    code = (
        "import inspect\ndef f(a, b: int = 2, *c, d=None, **e) -> str: pass\n"
        "s = inspect.signature(f)\n"
        "print(s, list(s.parameters), s.parameters['b'].default)\n"
        "print(s.parameters['a'].default is inspect.Parameter.empty, s.bind(1, b=3).arguments)\n"
        "class A:\n    def __init__(self, x): pass\n    def g(self, y): pass\n"
        "print(inspect.signature(A), inspect.signature(A(1).g))"
    )
    assert executor.execute(code).output == (
        "(a, b: int = 2, *c, d=None, **e) -> str ['a', 'b', 'c', 'd', 'e'] 2\n"
        "True {'a': 1, 'b': 3}\n(x) (y)\n"
    )
    way = "inspect.signature(lambda: 1).from_callable"
    assert executor.execute(f"import inspect\nprint({way})").status == "refused"
    assert executor.execute("import inspect\nprint(inspect.signature(print))").status == "error"


_CAUGHT = "import contextlib, io\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n    "


@pytest.mark.parametrize("sandbox", ["process", "inprocess"])
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import calendar\ncalendar.prmonth(2024, 2)", "February 2024"),
        ("import calendar\ncalendar.prcal(2024)", "December"),
        ("import calendar\ncalendar.TextCalendar(6).pryear(2024)", "December"),
        ("import calendar\ncalendar.TextCalendar().prmonth(2024, 2)", "February 2024"),
        (_CAUGHT + "import calendar; calendar.prmonth(2024, 2)\nprint('got', len(b.getvalue()) > 50)", "got True\n"),
        (_CAUGHT + "import pprint; pprint.pprint([1])\nprint('got', b.getvalue())", "got [1]\n\n"),
        (_CAUGHT + "import pprint; pprint.PrettyPrinter(indent=2).pprint([1])\nprint('got', b.getvalue())", "got [1]\n\n"),
        (
            (
                "import contextlib, io, traceback\nb = io.StringIO()\nwith contextlib.redirect_stderr(b):\n"
                "    try:\n        1 / 0\n    except ZeroDivisionError:\n        traceback.print_exc()\n"
                "print('got', b.getvalue()[-17:])"
            ),
            "got division by zero\n\n",
        ),
        ("import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    traceback.print_exception(e)", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_standard_modules_print_where_the_program_prints(
    capfd: pytest.CaptureFixture[str], sandbox: str, code: str, wanted: str
) -> None:
    """In both sandboxes, into what the code has redirected too, and never into the host's own stream."""
    made = InProcessSandbox() if sandbox == "inprocess" else None
    result = ProgrammaticToolExecutor([], sandbox=made).execute(code)
    assert result.status == "success", result.report()
    assert wanted in result.output
    assert not wanted.startswith("got") or result.output == wanted
    assert capfd.readouterr().out == ""


_LIBRARY = """
import logging, sys
LOG = logging.getLogger("chatty")
HANDLED = logging.getLogger("chatty.handled")
HANDLED.addHandler(logging.StreamHandler())
HANDLED.propagate = False
def warn(): LOG.warning("from %s", "logging")
def handled(): HANDLED.warning("by a handler")
def kept(stream=sys.stdout): stream.write("kept\\n")
def real(): sys.__stdout__.write("real\\n")
def fail():
    try: 1 / 0
    except ZeroDivisionError: LOG.exception("failed")
"""


def test_library_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library logs is output, also by handlers that kept the streams of its import."""
    (tmp_path / "chatty.py").write_text(_LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    with ProcessSandbox(imports=["chatty"]) as sandbox:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        for name, wanted in (
            ("warn", "from logging\n"),
            ("handled", "by a handler\n"),
            ("kept", "kept\n"),
            ("real", "real\n"),
        ):
            assert executor.execute(f"import chatty\nchatty.{name}()").output == wanted
        assert "ZeroDivisionError" in executor.execute("import chatty\nchatty.fail()").output
        code = (
            "import chatty, contextlib, io\nb = io.StringIO()\nwith contextlib.redirect_stderr(b):\n"
            "    chatty.handled()\nprint('got', b.getvalue())"
        )
        assert executor.execute(code).output == "got by a handler\n\n"
