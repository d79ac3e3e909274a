"""Objects of libraries that a session keeps, where the kernel walls the worker in."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from langchain_ptc import InProcessSandbox, ProcessSandbox
from tests.sandbox.sessions.test_sessions_sandbox import execute, execute_both


class Case(NamedTuple):
    name: str
    library: str
    first: str
    second: str
    printed: str


CASES = [
    Case(
        "structured and masked arrays",
        "numpy",
        "import numpy as np\na = np.array([(1, 'x')], dtype=[('n', 'i4'), ('s', 'U2')])\n"
        "m = np.ma.array([1, 2], mask=[False, True])\nview = [a, a]",
        "print(a['s'][0], m.sum(), view[0] is view[1])",
        "x 1 True",
    ),
    Case(
        "the state of a random generator",
        "numpy",
        "import numpy as np\nrng, same = np.random.default_rng(3), np.random.default_rng(3)\nrng.random()",
        "same.random()\nprint(rng.random() == same.random())",
        "True",
    ),
    Case(
        "functions of a library, bound and partial",
        "numpy",
        "import numpy as np\nfrom functools import partial\n"
        "fs = [np.sin, np.mean, partial(np.sum, axis=0), np.float32, np.arange(3).sum]",
        "print(fs[0](0.0), fs[1]([1, 2]), fs[2]([[1], [2]]), fs[3](1), fs[4]())",
        "0.0 1.5 [3] 1.0 3",
    ),
    Case(
        "frames with periods, intervals, levels and attributes",
        "pandas",
        "import pandas as pd\nf = pd.DataFrame({'a': [1, 2]}, index=pd.period_range('2020-01', periods=2, freq='M'))\n"
        "i = pd.Series(pd.interval_range(0, 2))\nm = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([['a'], ['b', 'c']]))\n"
        "m.attrs['source'] = 'crm'",
        "print(f.index[1], i[1], m['a']['c'][0], m.attrs)",
        "2020-02 (1, 2] 2 {'source': 'crm'}",
    ),
    Case(
        "groups, offsets and windows",
        "pandas",
        "import pandas as pd\nf = pd.DataFrame({'k': [1, 1], 'v': [2, 3]})\ng = f.groupby('k')\n"
        "end = pd.offsets.MonthEnd()\nr = f['v'].rolling(2)",
        "print(g['v'].sum().tolist(), pd.Timestamp('2020-02-01') + end, r.mean().tolist()[1])",
        "[5] 2020-02-29 00:00:00 2.5",
    ),
    Case(
        "objects of the code inside those of a library",
        "pandas",
        "import pandas as pd\nclass P:\n    def __init__(self, n):\n        self.n = n\n"
        "f = pd.DataFrame({'p': [P(1), P(2)]})\nfirst = f['p'][0]\nclass Table(pd.DataFrame):\n"
        "    def total(self):\n        return int(self['a'].sum())\nt = Table({'a': [1, 2]})",
        "print(f['p'][1].n, f['p'][0] is first, t.total(), type(t) is Table)",
        "2 True 3 True",
    ),
    Case(
        "values, adapters and errors of pydantic",
        "pydantic",
        "from pydantic import AnyUrl, SecretStr, TypeAdapter, ValidationError\n"
        "secret, url, numbers = SecretStr('a'), AnyUrl('http://a.b'), TypeAdapter(list[int])\n"
        "try:\n    numbers.validate_python(['x'])\nexcept ValidationError as error:\n    caught = error",
        "print(secret.get_secret_value(), url.host, numbers.validate_python(['1']), caught.error_count())",
        "a a.b [1] 1",
    ),
    Case(
        "graphs",
        "networkx",
        "import networkx as nx\ng = nx.path_graph(4)\ng.nodes[1]['name'] = 'b'\nh = g.subgraph([0, 1])",
        "print(nx.shortest_path(g, 0, 3), g.nodes[1]['name'], list(h.edges))",
        "[0, 1, 2, 3] b [(0, 1)]",
    ),
    Case(
        "dates",
        "dateutil",
        "import datetime\nfrom dateutil import rrule, tz\nfrom dateutil.relativedelta import relativedelta\n"
        "month, now = relativedelta(months=1), datetime.datetime(2020, 1, 31, tzinfo=tz.UTC)\n"
        "rule = rrule.rrule(rrule.DAILY, count=2, dtstart=now)",
        "print(now + month, len(list(rule)))",
        "2020-02-29 00:00:00+00:00 2",
    ),
    Case(
        "expressions",
        "sympy",
        "import sympy\nt = sympy.symbols('t')\narea, m = sympy.integrate(t**2, t), sympy.Matrix([[1, t]])",
        "print(area.diff(t), m.shape, t in area.free_symbols)",
        "t**2 (1, 2) True",
    ),
    Case(
        "objects of the standard library",
        "numpy",
        "import calendar, collections, decimal, json, re, textwrap\nwrap, days = textwrap.TextWrapper(width=9), calendar.Calendar()\n"
        "exact, text = decimal.Context(prec=3), collections.UserList('ab')\nencode = json.JSONEncoder(indent=None)\n"
        "try:\n    json.loads('{')\nexcept json.JSONDecodeError as error:\n    caught = error",
        "print(wrap.wrap('one two three'), days.firstweekday, exact.prec, text + ['c'], encode.encode([1]), caught.pos)",
        "['one two', 'three'] 0 3 ['a', 'b', 'c'] [1] 1",
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_keeps_objects_of_libraries(case):
    """What code has of a library is there for the next execution; below the walls it is named."""
    pytest.importorskip(case.library)
    with (
        ProcessSandbox(imports=[case.library]) as walled,
        InProcessSandbox(imports=[case.library]) as here,
    ):
        assert (await execute_both(walled, case.first, case.second)).output.strip() == case.printed
        between = await execute(walled, "pass", (await execute(walled, case.first)).kept)
        again = await execute(walled, case.second, between.kept)
        assert (again.output.strip(), again.notes) == (case.printed, ())
        done = await execute(here, case.first)
        assert done.failure is None
        assert any("cannot be kept between executions" in note for note in done.notes)


async def test_models_of_the_code_are_named():
    """A class whose metaclass is a library's is not kept, nor are its instances; notes name them."""
    pytest.importorskip("pydantic")
    code = (
        "from pydantic import BaseModel\nclass Item(BaseModel):\n    n: int\nx, item = 1, Item(n=1)"
    )
    with ProcessSandbox(imports=["pydantic"]) as sandbox:
        done = await execute(sandbox, code)
        assert done.notes == (
            "`Item` was not kept: classes of this kind cannot be kept between executions",
            (
                "`item` was not kept: it holds the class 'Item', and classes of this kind cannot be "
                "kept between executions"
            ),
        )
        assert (await execute(sandbox, "print(x, BaseModel.__name__)", done.kept)).output == (
            "1 BaseModel\n"
        )


@pytest.mark.parametrize("name", ["numpy", "pandas"])
async def test_large_arrays_are_not_copied_into_text(name):
    """An array takes as many bytes as it has, and little more."""
    pytest.importorskip(name)
    code = {
        "numpy": "import numpy as np\nx = np.arange(500_000)",
        "pandas": "import pandas as pd\nx = pd.DataFrame({'a': range(500_000)})",
    }[name]
    with ProcessSandbox(imports=[name]) as sandbox:
        done = await execute(sandbox, code)
        assert done.notes == ()
        assert 4_000_000 <= len(done.kept) < 4_010_000
        again = await execute(
            sandbox,
            "print(len(x), int(x.max() if hasattr(x, 'dtype') else x['a'].max()))",
            done.kept,
        )
    assert again.output == "500000 499999\n"
