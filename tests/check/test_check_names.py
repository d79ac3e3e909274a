"""Names that a program uses and does not bind: imported for it, found by the check, or never reached."""

from __future__ import annotations

import sys

import pytest
from langchain_core.tools import tool

from langchain_ptc import InProcessSandbox, ProgrammaticToolExecutor

CALLS: list[str] = []


@tool
def rows() -> list[dict]:
    """Rows."""
    CALLS.append("rows")
    return [{"id": 1}]


@pytest.fixture(scope="module", params=["process", "inprocess"])
def executor(request: pytest.FixtureRequest) -> ProgrammaticToolExecutor:
    """An executor of both sandboxes: both import for a program what it forgot."""
    sandbox = InProcessSandbox() if request.param == "inprocess" else None
    return ProgrammaticToolExecutor([rows], sandbox=sandbox)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("r = await rows()\nprint(json.dumps(r))", '[{"id": 1}]'),
        ("r = rows()\nprint(json.dumps(r))", '[{"id": 1}]'),
        ("r = await rows()\nprint(datetime.now().year > 2000)", "True"),
        ("print(datetime.datetime.now().year > 2000)", "True"),
        ("print(datetime(2024, 1, 2).isoformat())", "2024-01-02T00:00:00"),
        ("print(datetime.strptime('2024', '%Y').year)", "2024"),
        ("print(datetime.timedelta(days=1))", "1 day, 0:00:00"),
        ("print(math.sqrt(4), re.sub('a', 'b', 'a'), statistics.mean([1, 3]))", "2.0 b 2"),
        ("print(collections.Counter('aab').most_common(1), itertools.chain)", None),
        ("print(urllib.parse.quote('a b'), collections.abc.Mapping)", None),
        ("pprint({1: 2})", "{1: 2}"),
        ("def f(x):\n    return json.dumps(x)\nprint(f(1))", "1"),
        ("class A:\n    at = time.time()\nprint(A.at > 0)", "True"),
        ("print([math.floor(x) for x in (1.5, 2.5)])", "[1, 2]"),
        (
            "async def f():\n    return await asyncio.gather(rows(), rows())\nprint(len(await f()))",
            "2",
        ),
        ("def f():\n    import json\n    return json.dumps(1)\nprint(json.dumps(f()))", '"1"'),
        ("json = {'a': 1}\nprint(json['a'])", "1"),
        ("def f(math):\n    return math.x\nprint(1)", "1"),
        ("print(pd.isna)", "refused"),
    ],
)
def test_forgotten_import(
    executor: ProgrammaticToolExecutor, code: str, output: str | None
) -> None:
    """A module that a program uses and did not import is imported for it; nothing else is."""
    result = executor.execute(code)
    if output == "refused":
        assert result.status == "refused"
        return
    assert result.status == "success", result.report()
    assert output is None or result.output.strip() == output


def test_names_not_bound_found_late(executor: ProgrammaticToolExecutor) -> None:
    """What only was not imported is imported; JSON of data is found; nothing takes effect before."""
    for code in (
        "r = await rows()\nprint(json.dumps(r))",
        "r = await rows()\nprint(datetime.now())",
        "import json\nr = await rows()\ntry: json.loads('x')\nexcept json.decoder.JSONDecodeError: print('bad')",
    ):
        result = executor.execute(code)
        assert result.status == "success", result.report()
    CALLS.clear()
    for code, told in (
        ("r = await rows()\nprint(rws)", "'rws'"),
        ("import json\nprint(json.loads(await rows()))", "json"),
        ("import json\nfor r in json.loads(rows()): print(r)", "json"),
    ):
        result = executor.execute(code)
        assert result.status == "refused", code
        assert told in result.report()
    assert CALLS == []


@pytest.mark.parametrize(
    "code",
    [
        "r = await rows()\nprint(nowhere)",
        "r = rows()\nfor x in r:\n    print(x, nowhere)",
        "r = rows()\nprint(f'{nowhere}')",
        "def f():\n    return nowhere\nr = rows()\nprint(f())",
        "r = rows()\nx = [nowhere for _ in r]",
        "class A:\n    def g(self):\n        return nowhere\nrows()\nprint(A().g())",
        "rows()\nwith nowhere as f:\n    pass",
        "rows()\nprint(sorted([1], key=lambda x: nowhere))",
        "rows()\nprint(string)",
        "rows()\nfoo(1)",
        "r = rows()\nif r:\n    foo(1)",
        "rows()\nos.getcwd()",
        "rows()\nprint(Counter('aa'))",
        "rows()\ndel nowhere.x",
        "rows()\nnowhere.append(1)",
        "rows()\ntry:\n    print(nowhere)\nexcept ValueError:\n    pass",
        "rows()\nwhile True:\n    print(nowhere)\n    break",
        "@nowhere\ndef f(): pass\nrows()",
        "rows()\nif nowhere > 1:\n    pass",
    ],
)
def test_name_that_nothing_binds(executor: ProgrammaticToolExecutor, code: str) -> None:
    """It is found before any effect."""
    CALLS.clear()
    result = executor.execute(code)
    assert result.status == "refused", result.report()
    assert CALLS == []


@pytest.mark.parametrize(
    "code",
    [
        "if False:\n    print(nowhere)",
        "if not True:\n    nowhere()",
        "if True:\n    pass\nelse:\n    nowhere()",
        "while 0:\n    nowhere()",
        "def f():\n    return 1\n    nowhere()\nf()",
        "def f():\n    nowhere()",
        "def f():\n    g()\ndef g():\n    nowhere()",
        "class A:\n    def f(self):\n        nowhere()\nA()",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nowhere import X",
        "for i in range(2):\n    continue\n    nowhere()",
        "def f():\n    if 1 > 2:\n        return 1\n    else:\n        return 2\n    nowhere()\nf()",
        "import sys\nsys.exit()\nnowhere()",
        "exit()\nnowhere()",
        "x = 1 or nowhere",
        "x = False and nowhere()",
        "x = rows()\nif not x:\n    print(nowhere)",
        "x = rows()\ny = 1 if x else nowhere",
        "try:\n    pass\nexcept ValueError:\n    print(nowhere)",
        "try:\n    nowhere()\nexcept NameError:\n    pass",
        "try:\n    nowhere\nexcept Exception:\n    pass",
        "def f(x: 'nowhere') -> 'nowhere': return x\nf(1)",
        "while True:\n    import sys\n    sys.exit(0)\nnowhere()",
        "while True:\n    exit()\nnowhere()",
        "def f():\n    global total\n    total = 1\nf()\nprint(total)",
        "match 1:\n    case [a, b]:\n        print(nowhere)\n    case _:\n        print(1)",
        "print('nowhere' in dir())",
        "import math\nfrom math import *\nprint(sqrt(4))",
        "def outer():\n    x = 1\n    def inner():\n        nonlocal x\n        x += 1\n        return x\n    return inner()\nprint(outer())",
        "print([y for x in [[1]] for y in x], (z := 3), z)",
        "for i, (a, *b) in enumerate([(1, 2)]):\n    print(i, a, b)",
        "# nothing but a comment",
        "'only text'",
    ],
)  # fmt: skip
def test_code_that_is_never_reached(executor: ProgrammaticToolExecutor, code: str) -> None:
    """A name in code that is not reached, or not for certain, is no reason to refuse a program."""
    result = executor.execute(code)
    assert result.status == "success", result.report()


def test_comments_print_nothing(executor: ProgrammaticToolExecutor) -> None:
    """A program of comments runs, and prints nothing."""
    result = executor.execute("# first look at the data\n\n# then act\n")
    assert (result.status, result.output, result.value) == ("success", "", None)


def test_hint_says_what_to_import(executor: ProgrammaticToolExecutor) -> None:
    """A name of a module that may be imported is told with its import; a tool of that name wins."""
    assert "from collections import Counter" in executor.execute("print(Counter('a'))").report()
    assert "from datetime import timedelta" in executor.execute("timedelta(1)").report()
    assert "there are no files" in executor.execute("os.listdir()").report()


def test_json_of_data_at_run_time() -> None:
    """Without the check, the error itself says that the value is data already."""
    executor = ProgrammaticToolExecutor([rows], check="off")
    report = executor.execute("import json\nr = json.loads(await rows())").report()
    assert "data already" in report


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("class A:\n    time: float = 0\nprint(A.time, time.time() > 0)", "0 True"),
        ("class A:\n    json: str = ''\n    def f(self): return json.dumps(1)\nprint(A().f())", "1"),
        ("def f(time): return time + 1\nprint(f(1), time.time() > 0)", "2 True"),
        ("f = lambda json: json + 1\nprint(f(1), json.dumps(2))", "2 2"),
        ("print([string for string in 'ab'], string.digits[:2])", "['a', 'b'] 01"),
        ("def f():\n    for time in range(2): pass\n    return time\nprint(f(), time.time() > 0)", "1 True"),
        ("def f():\n    global json\n    import json\nf()\nprint(json.dumps(1))", "1"),
        ("def f(time=time.time): return time() > 0\nprint(f())", "True"),
        ("def f(re):\n    def g(): return re + 1\n    return g()\nprint(f(1), re.findall('a', 'ba'))", "2 ['a']"),
        ("print([time for time in [time.time() > 0]])", "[True]"),
        ("def f(x: typing.List[int]) -> typing.Any: return x[0]\nprint(f([1]))", "1"),
        ("if __name__ == '__main__':\n    print(json.dumps(1))", "1"),
    ],
)  # fmt: skip
def test_variable_named_like_a_module(
    executor: ProgrammaticToolExecutor, code: str, output: str
) -> None:
    """A parameter, a field or a local variable of the name does not keep the module from being imported."""
    result = executor.execute(code)
    assert (result.status, result.output.strip()) == ("success", output), result.report()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print(datetime.now(datetime.timezone.utc))", "write `import datetime` or `from datetime"),
        ("print(copy.copy([1]), copy([1]))", "write `import copy` or `from copy import copy`"),
        ("print(json)", "write `import json`"),
        ("import datetime\nprint(datetime.now())", "write `datetime.datetime.now`"),
        ("import math\nprint(math.squareroot(4))", "module 'math' has no attribute 'squareroot'"),
        ("import json as j\nj.dump_string({})", "module 'json' has no attribute 'dump_string'"),
        ("if __name__ == '__main__':\n    print(nowhere)", "'nowhere'"),
        ("def main():\n    print(nowhere)\nif __name__ == '__main__':\n    main()", "'nowhere'"),
        ("total += 1", "'total'"),
        ("for r in [1]:\n    total += r\nprint(1)", "'total'"),
        ("class A:\n    x: Nowhere = 1", "'Nowhere'"),
        ("def f(x: List[int]) -> int: return 1", "write `from typing import List`"),
        ("def f() -> Optional[int]: return 1", "write `from typing import Optional`"),
    ],
)  # fmt: skip
def test_name_is_refused_before_any_effect(
    executor: ProgrammaticToolExecutor, code: str, told: str
) -> None:
    """What is certain to fail for a missing name is found before a tool is called; the report says what to write."""
    CALLS.clear()
    result = executor.execute(f"rows()\n{code}")
    assert (result.status, CALLS) == ("refused", []), result.report()
    assert told in result.report()


@pytest.mark.parametrize(
    "code",
    [
        "x = rows()\nassert x, nowhere",
        "for i in []:\n    nowhere()",
        "def f(n):\n    if n == 1: return 1\n    elif n == 2: return 2\n    else: return 3\n    nowhere()\nf(1)",
        "def f():\n    try:\n        return 1\n    except ValueError:\n        return 2\n    nowhere()\nf()",
        "def f():\n    try:\n        return 1\n    finally:\n        print(2)\n    nowhere()\nf()",
        "if __name__ == '__main__':\n    print(1)\nelse:\n    nowhere()",
        "import math\nif hasattr(math, 'nowhere'):\n    print(math.nowhere)",
        "import math\ntry:\n    math.nowhere\nexcept AttributeError:\n    print(1)",
        "import sys, itertools\nif sys.version_info >= (3, 12):\n    print(itertools.batched)",
        "import asyncio\nprint(asyncio.set_event_loop is None)",
        "def f():\n    y: Nowhere = 1\n    return y\nprint(f())",
        "from __future__ import annotations\ndef f(x: Nowhere) -> Other: return x\nprint(f(1))",
        "x = 0\ndef f():\n    global x\n    x += 1\nf()\nprint(x)",
        "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\n    return n\nprint(f())",
    ],
)  # fmt: skip
def test_more_code_that_is_never_reached(executor: ProgrammaticToolExecutor, code: str) -> None:
    """What does not run, or not for certain, is no reason to refuse a program."""
    result = executor.execute(code)
    assert result.status == "success", result.report()


GENERIC = """
class Base[T]:
    def keep(self, x: T) -> T: return x
class Mine[T: int, *Ts](Base[T], dict[str, T]):
    inner: type = dict
    kinds = [T for _ in range(1)]
    def other[U](self, x: U, y: T, z: inner = None) -> tuple[T, U]:
        def pair(a: T, b: U) -> list[U]: return (T, U, a, b)[2:]
        return pair(y, x)
def first[T](xs: list[T], *rest: T, k: T | None = None, **more: T) -> dict[str, T]:
    return {"a": [T, xs[0]][1]}
type Tree[T] = T | list[Tree[T]]
print(Mine().keep(1), Mine().other("a", 2), first([3]))
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters(executor: ProgrammaticToolExecutor) -> None:
    """They are seen by bases, annotations and bodies, and other names there are still missed."""
    CALLS.clear()
    result = executor.execute(GENERIC)
    assert result.output == "1 (2, 'a') {'a': 3}\n", result.report()
    for code in ("def f[T](x: T) -> Gone: ...", "class A[T](Gone): ...", "class A[T]: x: Gone"):
        assert "'Gone'" in executor.execute(f"rows()\n{code}").report()
        assert CALLS == []
