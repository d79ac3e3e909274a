"""`imports=["numpy", "pandas"]`: what works as written, what stays out of reach, what is said of others."""

# ruff: noqa: ISC004  # programs of several lines read better so
import asyncio
import os
import sys
from pathlib import Path

import pytest

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox
from langchain_ptc.sandbox import Done, Program, Result
from langchain_ptc.sandbox.wire.values import encode_value
from tests.support.pools import PoolSandbox

IMPORTS = ("numpy", "pandas")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")


async def run(sandbox, code: str, on_call=lambda: None) -> Done:
    """Run code whose tool `echo` gives back its arguments."""
    session = sandbox.session()

    def on_calls(calls):
        on_call()
        for call in calls:
            session.resume([Result(id=call.id, payload=encode_value(list(call.args)))])

    return await session.run(Program(code=code, tools=("echo",), limits=Limits()), on_calls)


@pytest.fixture(scope="module", params=[ProcessSandbox, InProcessSandbox])
def sandbox(request):
    """Each sandbox in turn, with both modules."""
    with request.param(imports=IMPORTS) as made:
        yield made


@pytest.fixture(scope="module")
def process():
    """The process sandbox, with both modules."""
    with ProcessSandbox(imports=IMPORTS) as made:
        yield made


@pytest.fixture(scope="module")
def unrestricted():
    """The kernel alone."""
    with PoolSandbox(IMPORTS, require="kernel", policy=False) as made:
        yield made


PRINTED = {
    # numpy
    "array": ("import numpy as np\na = np.array([1, 2])\nprint(a * 2, a.mean())", "[2 4] 1.5"),
    "from": ("from numpy import array\nprint(array([1, 2]).sum())", "3"),
    "default_rng": (
        "import numpy as np\nprint(np.random.default_rng(1).integers(0, 10, 3).tolist())",
        "[4, 5, 7]",
    ),
    "seed": ("import numpy as np\nnp.random.seed(1)\nprint(round(np.random.rand(), 3))", "0.417"),
    "linalg": (
        "import numpy as np\nprint(np.linalg.inv(np.array([[2.0, 0], [0, 4]])).tolist())",
        "[[0.5, 0.0], [0.0, 0.25]]",
    ),
    "submodule": ("import numpy.linalg\nprint(numpy.linalg.norm([3, 4]))", "5.0"),
    "submodule-as": ("import numpy.linalg as la\nprint(round(la.det([[1, 2], [3, 4]])))", "-2"),
    "from-submodule": ("from numpy.linalg import norm\nprint(norm([3, 4]))", "5.0"),
    "fft": ("import numpy as np\nprint(np.fft.fft([1, 0]).real.tolist())", "[1.0, 1.0]"),
    "masked": ("import numpy as np\nprint(np.ma.masked_array([1, 2], [0, 1]).sum())", "1"),
    "records": (
        "import numpy as np\na = np.array([(1, 2.0)], dtype=[('x', int), ('y', float)])\nprint(a['y'])",
        "[2.]",
    ),
    "slices": (
        "import numpy as np\na = np.zeros((2, 2))\na[0] += 1\na[:, 1] *= 3\na[a == 0] = 7\nprint(a.tolist())",
        "[[1.0, 3.0], [7.0, 7.0]]",
    ),
    "unpacking": (
        "import numpy as np\nfor x, y in np.eye(2):\n    print(x, y)",
        "1.0 0.0\n0.0 1.0",
    ),
    "format": (
        "import numpy as np\nx = np.float64(3.14159)\nprint(f'{x:.2f}', x.item())",
        "3.14 3.14159",
    ),
    "types": ("import numpy as np\nprint(isinstance(np.int64(1), np.integer))", "True"),
    # pandas
    "groupby": (
        "import pandas as pd\ndf = pd.DataFrame({'a': ['x', 'y', 'x'], 'b': [1, 2, 3]})\n"
        "print(df.groupby('a')['b'].sum().to_dict())",
        "{'x': 4, 'y': 2}",
    ),
    "agg": (
        "import pandas as pd\ndf = pd.DataFrame({'a': ['x', 'x'], 'b': [1, 2]})\n"
        "print(df.groupby('a').agg(total=('b', 'sum')).reset_index().to_dict('records'))",
        "[{'a': 'x', 'total': 3}]",
    ),
    "merge": (
        "import pandas as pd\na = pd.DataFrame({'k': [1], 'v': [3]})\n"
        "print(a.merge(a, on='k', suffixes=('_l', '_r')).to_string())",
        "   k  v_l  v_r\n0  1    3    3",
    ),
    "describe": (
        "import pandas as pd\nprint(pd.DataFrame({'v': [1, 2, 3]}).describe().loc['mean', 'v'])",
        "2.0",
    ),
    "read_csv": (
        "import pandas as pd\nfrom io import StringIO\n"
        "df = pd.read_csv(StringIO('d,v\\n2024-01-01,2'), parse_dates=['d'])\n"
        "print(df['v'].sum(), df['d'].dt.year[0], df.to_csv(index=False))",
        "2 2024 d,v\n2024-01-01,2\n",
    ),
    "print-frame": ("import pandas as pd\nprint(pd.DataFrame({'v': [1]}))", "   v\n0  1"),
    "set-column": (
        "import pandas as pd\ndf = pd.DataFrame({'v': [1, 2]})\ndf['w'] = df['v'].apply(lambda x: x * 2)\n"
        "df.loc[df.v > 1, 'w'] = 0\nprint(df.w.tolist())",
        "[2, 0]",
    ),
    "rows": (
        "import pandas as pd\nfor i, row in pd.DataFrame({'v': [5]}).iterrows():\n    print(i, row['v'])",
        "0 5",
    ),
    "pivot": (
        "import pandas as pd\ndf = pd.DataFrame({'a': ['x'], 'b': ['p'], 'v': [1]})\n"
        "print(pd.pivot_table(df, index='a', columns='b', values='v', aggfunc='sum').to_dict())",
        "{'p': {'x': 1}}",
    ),
    "crosstab": (
        "import pandas as pd\nprint(pd.crosstab(pd.Series([1]), pd.Series([2])).to_dict())",
        "{2: {1: 1}}",
    ),
    "resample": (
        "import pandas as pd\ns = pd.Series([1, 2], pd.to_datetime(['2024-01-01', '2024-01-09']))\n"
        "print(s.resample('ME').sum().tolist())",
        "[3]",
    ),
    "time-zone": (
        "import pandas as pd\nprint(pd.Timestamp('2024-06-01', tz='Europe/Paris').isoformat())",
        "2024-06-01T00:00:00+02:00",
    ),
    "offsets": (
        "import pandas as pd\nprint((pd.Timestamp('2024-01-30') + pd.offsets.MonthEnd(1)).day)",
        "31",
    ),
    "query": (
        "import pandas as pd\nleast = 1\nprint(pd.DataFrame({'v': [1, 2]}).query('v > @least').v.tolist())",
        "[2]",
    ),
    "tool-result": (
        "import pandas as pd\nrows = await echo({'v': 1}, {'v': 2})\nprint(pd.DataFrame(rows).v.sum())",
        "3",
    ),
    "tool-argument": (
        "import numpy as np, pandas as pd\n"
        "print(await echo(np.int64(3), np.array([1, 2]), pd.DataFrame({'v': [1]})))",
        "[3, [1, 2], [{'v': 1}]]",
    ),
}


@pytest.mark.parametrize("name", PRINTED)
async def test_programs(sandbox, name):
    """What models write with numpy and pandas works as written, in both sandboxes."""
    code, printed = PRINTED[name]
    done = await run(sandbox, code)
    assert (done.status, done.output.rstrip("\n")) == ("success", printed.rstrip("\n")), (
        done.failure
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("np.arange(3)", [0, 1, 2]),
        ("np.float64(2.5)", 2.5),
        ("np.bool_(True)", True),
    ],
    ids=["frame", "array", "float", "bool"],
)
async def test_last_value(sandbox, expression, value):
    """A frame, an array or a number of numpy as the last expression is the value of the code."""
    done = await run(sandbox, f"import numpy as np\nimport pandas as pd\n{expression}")
    assert (done.status, done.value) == ("success", value), done.failure


async def test_errors_of_the_modules_are_told(sandbox):
    """What numpy and pandas raise is reported as any other error, at the line of the code."""
    done = await run(sandbox, "import pandas as pd\ndf = pd.DataFrame({'a': [1]})\ndf['b']")
    assert (done.status, done.failure.kind, done.failure.line) == ("error", "KeyError", 3)
    done = await run(sandbox, "import numpy as np\nnp.ones(2) + np.ones(3)")
    assert (done.failure.kind, done.failure.line) == ("ValueError", 2)
    done = await run(sandbox, "import numpy as np\na = np.arange(2)\na += 0.5")
    assert done.failure.kind == "UFuncTypeError"


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\nnp.os",
        "import numpy as np\nnp.sys",
        "import numpy as np\nnp.ctypeslib.ctypes",
        "import pandas as pd\npd.io.common.os",
        "import pandas.io.common as common\ncommon.os",
        "from pandas.io.common import os",
        "import pandas.core.common as common\ncommon.builtins",
        "import numpy as np\nnp.array([1]).__class__.__base__.__subclasses__()",
        "import numpy as np\nnp.add.__self__",
    ],
    ids=lambda code: code.splitlines()[-1],
)
async def test_facades_lead_nowhere(sandbox, code):
    """The facades hold no module but parts of their own, and no private names."""
    done = await run(sandbox, code)
    assert done.status in ("error", "refused"), done.value
    assert done.failure.kind in ("AttributeError", "ImportError", "PolicyError")


async def test_module_that_was_not_listed(sandbox):
    """The report of an import that is missing names the option that allows it."""
    done = await run(sandbox, "import scipy.stats")
    assert done.failure.kind == "ModuleNotFoundError"
    assert "imports=['scipy" in done.failure.message
    with type(sandbox)() as plain:
        done = await run(plain, "import pandas as pd")
    assert "imports=['pandas']" in done.failure.message


# --- the walls, with numpy in the parent of workers ----------------------------------------------------


@linux
async def test_every_layer_is_on(process):
    """numpy starts no threads in the parent of workers, so that every wall can be put up."""
    assert (await run(process, "print(1)")).output == "1\n"
    layers = process.stats().layers
    assert layers == dict.fromkeys(
        ("namespaces", "empty_root", "landlock", "capabilities", "seccomp"), "on"
    )


def threads_of_family(pid: int) -> set[int]:
    """Return the numbers of threads that the descendants of a process have."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            pairs = dict(
                line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
            )
        except OSError:
            continue
        if int(pairs["PPid"]) == pid and not pairs["State"].startswith("Z"):
            found |= {int(pairs["Threads"])} | threads_of_family(int(pairs["Pid"]))
    return found


@linux
async def test_blas_uses_one_thread(process):
    """A product of large matrices starts no threads, in the worker as in its parent."""
    counted: set[int] = set()
    code = "import numpy as np\na = np.ones((600, 600))\nb = a @ a\nawait echo(1)\nprint(b.sum())"
    done = await run(process, code, lambda: counted.update(threads_of_family(os.getpid())))
    assert done.output == "216000000.0\n"
    assert counted == {1}


FILES = {
    "fromfile": "np.fromfile({path!r}, dtype='u1')",
    "load": "np.load({path!r}, allow_pickle=True)",
    "loadtxt": "np.loadtxt({path!r}, dtype=str)",
    "memmap": "np.memmap({path!r})",
    "save": "np.save({new!r}, [1])",
    "tofile": "np.arange(3).tofile({new!r})",
    "load-library": "np.ctypeslib.load_library({path!r}, '/')",
    "read-csv": "pd.read_csv({path!r})",
    "read-pickle": "pd.read_pickle({path!r})",
    "read-url": "pd.read_csv('http://127.0.0.1:9/')",
    "to-csv": "pd.DataFrame({{'a': [1]}}).to_csv({new!r})",
    "to-pickle": "pd.DataFrame({{'a': [1]}}).to_pickle({new!r})",
}


@linux
@pytest.mark.parametrize("name", FILES)
async def test_the_kernel_alone_stops_files(unrestricted, name, tmp_path):
    """The functions of numpy and pandas that open files get nothing out of the kernel."""
    (tmp_path / "canary").write_text("secret\n1\n")
    call = FILES[name].format(path=str(tmp_path / "canary"), new=str(tmp_path / "new"))
    code = f"import numpy as np, pandas as pd\ntry:\n    print({call})\nexcept (OSError, ModuleNotFoundError):\n    print('no')"
    done = await run(unrestricted, code)
    assert (done.status, done.output) == ("success", "no\n"), done.failure
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]


PICKLE = "b\"cos\\nsystem\\n(S'touch {new}'\\ntR.\""
RUN_ANYTHING = {
    "read-pickle": f"pd.read_pickle(io.BytesIO({PICKLE}))",
    "exec": "numpy.testing.runstring('import os; os.close(os.open(\"{new}\", os.O_CREAT))', {{}})",
    "module": "pd.io.common.os.system('touch {new}')",
}


@linux
@pytest.mark.parametrize("name", RUN_ANYTHING)
async def test_the_kernel_alone_stops_what_they_can_run(unrestricted, name, tmp_path):
    """They can evaluate text and unpickle, past any policy: the kernel does not let it matter."""
    call = RUN_ANYTHING[name].format(new=tmp_path / "new")
    code = f"import io, os, numpy.testing, pandas as pd\ntry:\n    {call}\nexcept OSError:\n    print('no')"
    done = await run(unrestricted, code)
    assert done.status == "success", done.failure
    assert list(tmp_path.iterdir()) == []
    assert (await run(unrestricted, "print(1)")).output == "1\n"


@linux
async def test_workers_do_not_share_random_numbers(process):
    """Each worker has its own random numbers, though all are copies of one parent."""
    code = "import numpy as np\nprint(np.random.rand(), np.random.default_rng().random())"
    printed = await asyncio.gather(*[run(process, code) for _ in range(4)])
    assert len({done.output.split()[0] for done in printed}) == 4
    assert len({done.output.split()[1] for done in printed}) == 4


@linux
@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("pd.DataFrame({'a': [1]}).to_records().tolist()", "[(0, 1)]"),
        ("pd.DataFrame({'a': [[1], 'x']}).isna().sum().to_dict()", "{'a': 0}"),
        ("pd.Series([1, None, 3]).interpolate().tolist()", "[1.0, 2.0, 3.0]"),
        ("len(pd.DataFrame({'a': [1]}).style.to_html()) > 200", "True"),
        ("'<a>1</a>' in pd.DataFrame({'a': [1]}).to_xml(parser='etree')", "True"),
        (
            "pd.io.formats.style.Styler.env.from_string('{{ 1 // 0 }}').render()",
            "ZeroDivisionError",
        ),
    ],
    ids=["records", "isna", "interpolate", "style", "xml", "jinja2"],
)
async def test_pandas_alone(code, printed):
    """pandas finds the parts of numpy, of jinja2 and of Python that it imports at first use."""
    with ProcessSandbox(imports=["pandas"]) as sandbox:
        done = await run(sandbox, f"import pandas as pd\nprint({code})")
    assert printed == (done.failure.kind if done.failure else done.output.strip())


LIBRARY = {
    "ptc_shelf/__init__.py": """
import ptc_dependency
from functools import wraps
def absolute():
    import ptc_dependency.late
    return ptc_dependency.late.NAME
def private():
    from ptc_shelf._private import NAME
    return NAME
def relative():
    from . import _sibling
    return _sibling.NAME
def nested():
    def inner():
        from ptc_dependency.deep.deeper import NAME
        return NAME
    return inner()
class Shelf:
    @property
    def book(self):
        from ptc_dependency.book import NAME
        return NAME
def method():
    return Shelf().book
def attribute():
    return ptc_dependency.lazy.NAME
def chain():
    from ptc_dependency.first import follow
    return follow()
def standard():
    import plistlib
    return plistlib.loads(plistlib.dumps({"name": "standard"}))["name"]
def standard_part():
    from wsgiref.util import guess_scheme
    return guess_scheme({})
@wraps(absolute)
def wrapped():
    from ._wrapped import NAME
    return NAME
def optional():
    import ptc_optional
def broken():
    from ptc_dependency.broken import NAME
""",
    "ptc_shelf/_private.py": "NAME = 'private'",
    "ptc_shelf/_sibling.py": "NAME = 'relative'",
    "ptc_shelf/_wrapped.py": "NAME = 'wrapped'",
    "ptc_dependency/__init__.py": """
def __getattr__(name):
    if name == "lazy":
        from ptc_dependency import _lazy as lazy
        return lazy
    raise AttributeError(name)
""",
    "ptc_dependency/late.py": "NAME = 'absolute'",
    "ptc_dependency/_lazy.py": "NAME = 'attribute'",
    "ptc_dependency/deep/__init__.py": "",
    "ptc_dependency/deep/deeper.py": "NAME = 'nested'",
    "ptc_dependency/book.py": "NAME = 'method'",
    "ptc_dependency/first.py": "def follow():\n    from .second import NAME\n    return NAME",
    "ptc_dependency/second.py": "NAME = 'chain'",
    "ptc_dependency/broken.py": "raise SystemExit('at import')",
    "ptc_dependency/script.py": "raise SystemExit('nothing imports this')",
    "ptc_optional.py": "raise SystemExit('an optional package')",
}


@linux
async def test_what_functions_of_a_library_import(tmp_path, monkeypatch):
    """A function's imports are there in a worker; what no function imports, and what is optional, is not run."""
    for name, source in LIBRARY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [
        "absolute",
        "private",
        "relative",
        "nested",
        "method",
        "attribute",
        "chain",
        "standard",
        "wrapped",
    ]
    calls = ", ".join(f"ptc_shelf.{name}()" for name in [*found, "standard_part"])
    with ProcessSandbox(imports=["ptc_shelf"]) as sandbox:
        done = await run(sandbox, f"import ptc_shelf\nprint({calls})")
        assert (done.failure, done.output.split()) == (None, [*found, "http"])
        for name in ("optional", "broken"):
            done = await run(sandbox, f"import ptc_shelf\nptc_shelf.{name}()")
            assert done.failure.kind == "ModuleNotFoundError"
