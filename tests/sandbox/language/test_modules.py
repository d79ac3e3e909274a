"""The modules that code imports: facades with listed names, and what is said of all others."""

# ruff: noqa: SIM905  # lists of names are read better as text
from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import pytest

from langchain_ptc import InProcessSandbox, ProcessSandbox
from langchain_ptc.sandbox.allowed_modules import (
    ALIASES,
    ONLY_OVERRIDDEN,
    PRELOAD,
    REFUSED_MODULES,
    STANDARD_MODULES,
    standard_modules,
)
from langchain_ptc.sandbox.language.modules import ModuleLoader
from langchain_ptc.sandbox.language.names import GUARDED_NAMES
from tests.support.sandbox_runner import run_code

LISTED = sorted(STANDARD_MODULES.keys() - ONLY_OVERRIDDEN)
WITH_FILES = standard_modules(files=True)


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("name", sorted(WITH_FILES.keys() - ONLY_OVERRIDDEN))
def test_facade_shows_its_names_and_no_live_module(name: str, files: bool) -> None:
    """Every listed module loads, has its listed names, and holds no module but other facades."""
    listed = standard_modules(files=files)
    loader = ModuleLoader(files=files)
    if name not in listed:
        with pytest.raises(ModuleNotFoundError):
            loader.load(name)
        return
    facade = loader.load(name)
    real = importlib.import_module(ALIASES.get(name, name))
    assert facade is not real
    assert type(facade) is types.ModuleType
    assert facade.__name__ == name
    for entry in listed[name]:
        assert hasattr(facade, entry) == hasattr(real, entry)
    live = set(map(id, sys.modules.values()))
    for value in vars(facade).values():
        if isinstance(value, types.ModuleType):
            assert id(value) not in live
            assert value.__name__ in listed


@pytest.mark.parametrize("name", sorted(WITH_FILES))
def test_classes_of_a_facade_lead_to_no_live_module(name: str) -> None:
    """No class that code gets has a module as a public attribute that it can read without a guard."""
    for entry in WITH_FILES[name]:
        kind = getattr(importlib.import_module(ALIASES.get(name, name)), entry, None)
        if isinstance(kind, type):
            for attribute in (a for a in dir(kind) if not a.startswith("_")):
                value = getattr(kind, attribute, None)
                assert type(value) is not types.ModuleType or attribute in GUARDED_NAMES


@pytest.mark.parametrize("name", sorted(WITH_FILES))
def test_listed_names_exist_in_some_supported_python(name: str) -> None:
    """No listed name is a misprint: each is there, or belongs to another Python than this one."""
    newer = {
        "asyncio": {"QueueShutDown"},
        "calendar": {
            *(
                "APRIL AUGUST DECEMBER FEBRUARY JANUARY JULY JUNE MARCH MAY NOVEMBER OCTOBER".split()
            ),
            *("SEPTEMBER", "Day", "Month"),
        },
        "collections.abc": {"Buffer", "ByteString"},
        "copy": {"replace"},
        "csv": {"QUOTE_NOTNULL", "QUOTE_STRINGS"},
        "functools": {"Placeholder"},
        "heapq": {
            f"{name}_max" for name in "heapify heappop heappush heappushpop heapreplace".split()
        },
        "itertools": {"batched"},
        "math": {"fma", "sumprod"},
        "operator": {"is_none", "is_not_none"},
        "os.path": {"splitroot"},
        "queue": {"ShutDown"},
        "random": {"binomialvariate"},
        "re": {"PatternError"},
        "statistics": {"kde", "kde_random"},
        "typing": {"NoDefault", "ReadOnly", "TypeAliasType", "TypeIs", "override", "ByteString"},
    }
    source = ALIASES.get(name, name)
    real = importlib.import_module(source)
    missing = {entry for entry in WITH_FILES[name] if not hasattr(real, entry)}
    assert missing <= newer.get(source, set())


def test_preload_can_be_imported() -> None:
    """Everything that the parent of workers imports once is there to import."""
    for name in PRELOAD:
        importlib.import_module(name)


def test_objects_are_the_real_ones() -> None:
    """What a facade holds is the module's own, so that `isinstance` means what it means."""
    import decimal
    import json

    loader = ModuleLoader()
    assert loader.load("json").loads is json.loads
    assert loader.load("decimal").Decimal is decimal.Decimal


@pytest.mark.parametrize(
    "code",
    [
        "import collections.abc\nprint(collections.abc.Mapping)",
        "import collections\nprint(collections.abc.Mapping)",
        "import collections.abc as c\nprint(c.Mapping)",
        "from collections import abc\nprint(abc.Mapping)",
        "from collections.abc import Mapping\nprint(Mapping)",
    ],
)
def test_submodules(code: str) -> None:
    """A submodule is reached by every form of import."""
    assert run_code(code).output == "<class 'collections.abc.Mapping'>\n"


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.parse\nprint(urllib.parse.quote('a b'))",
        "from urllib.parse import quote\nprint(quote('a b'))",
        "from urllib import parse\nprint(parse.quote('a b'))",
    ],
)
def test_submodule_of_a_package_that_shows_nothing(code: str) -> None:
    """`urllib.parse` is there, though `urllib` shows nothing else."""
    assert run_code(code).output == "a%20b\n"


def test_element_tree() -> None:
    """A module two packages deep can be had under a short name."""
    code = "import xml.etree.ElementTree as ET\nprint(ET.fromstring('<a b=\"1\"/>').get('b'))"
    assert run_code(code).output == "1\n"


def test_typing_extensions_is_served_from_typing() -> None:
    """Models write `typing_extensions`; it needs no package here."""
    code = "from typing_extensions import TypedDict\nclass T(TypedDict):\n    a: int\nprint(T(a=1))"
    assert run_code(code).output == "{'a': 1}\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os", "module 'os' is not available: there are no files in the sandbox"),
        ("import os.path", "module 'os' is not available: there are no files"),
        ("from os import path", "module 'os' is not available: there are no files"),
        ("import urllib.request", "module 'urllib.request' is not available: there is no network"),
        ("from urllib import request", "cannot import name 'request' from 'urllib'"),
        ("from urllib import request", "'urllib.request' is not available: there is no network"),
        ("import subprocess", "there are no processes in the sandbox"),
        ("import pickle", "use `json`"),
        ("import numpy", "the developer can allow it with imports=['numpy']"),
        ("import jsn", "did you mean 'json'?"),
        ("from json import loadz", "cannot import name 'loadz' from 'json'"),
        ("from json import codecs", "'json': json.codecs is not available in the sandbox"),
        ("from contextlib import chdir", "contextlib.chdir is not available in the sandbox"),
        ("import tools", "module 'tools' is not available"),
    ],
)
def test_refusals_say_what_to_do(code: str, message: str) -> None:
    """A module or name that is not there is an ImportError which tells what helps."""
    with pytest.raises(ImportError) as caught:
        run_code(code)
    assert message in str(caught.value)


def test_missing_name_of_a_facade() -> None:
    """A name that the real module has is told apart from one that nothing has."""
    with pytest.raises(AttributeError, match=r"json\.codecs is not available in the sandbox"):
        run_code("import json\njson.codecs")
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'parse'"):
        run_code("import json\njson.parse")


def test_refused_modules_are_not_listed() -> None:
    """No module is both offered and refused, and every refusal has a reason."""
    assert not STANDARD_MODULES.keys() & REFUSED_MODULES.keys()
    assert all(REFUSED_MODULES.values())


def test_overrides_replace_and_add() -> None:
    """Names given for one program replace a facade's, add to it, or make a module of their own."""
    loader = ModuleLoader(
        overrides=lambda: {
            "sys": {"stdout": "out"},
            "json": {"dumps": "mine"},
            "traceback": {"format_exc": "fe"},
            "tools": {"add": 1, "finance": types.ModuleType("tools.finance"), "__all__": ["add"]},
            "tools.finance": {"get_expenses": 2},
        }
    )
    assert loader.load("sys").stdout == "out"
    assert loader.load("sys").maxsize == sys.maxsize
    assert loader.load("json").dumps == "mine"
    assert loader.load("traceback").format_exc == "fe"
    tools = loader.load("tools")
    assert tools.add == 1
    assert tools.__all__ == ["add"]
    assert tools.finance is loader.load("tools.finance")
    assert tools.finance.get_expenses == 2


def test_tools_are_imported_in_every_form() -> None:
    """Domains and tools are modules and names like any other."""
    overrides = {"tools": {"add": sum}, "tools.finance": {"pay": len}}
    for code in (
        "from tools.finance import pay\nfrom tools import add\nprint(pay('abc'), add([1]))",
        "import tools\nprint(tools.finance.pay('abc'), tools.add([1]))",
        "import tools.finance as f, tools\nprint(f.pay('abc'), tools.add([1]))",
        "from tools.finance import *\nfrom tools import *\nprint(pay('abc'), add([1]))",
        "from tools import finance, add\nprint(finance.pay('abc'), add([1]))",
    ):
        assert run_code(code, overrides=overrides).output == "3 1\n"


def test_pprint_prints_where_the_program_prints() -> None:
    """`pprint` writes to the program's stream and not to the host's."""
    import io

    stream = io.StringIO()
    code = "from pprint import pprint, pp, PrettyPrinter\npprint({'b': 1, 'a': 2})\npp({'b': 1, 'a': 2})\nPrettyPrinter(indent=1).pprint([1])"
    run_code(code, stdout=stream)
    assert stream.getvalue() == "{'a': 2, 'b': 1}\n{'b': 1, 'a': 2}\n[1]\n"


def test_each_program_has_its_own_facades() -> None:
    """What one program does to a facade, the next does not see."""
    first, second = ModuleLoader(), ModuleLoader()
    first.load("math").pi = 3
    assert second.load("math").pi != 3
    assert first.load("math") is first.load("math")


@pytest.fixture
def extra_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the developer's, with a submodule and an import of `os`."""
    root = tmp_path / "extrapkg"
    (root / "inner").mkdir(parents=True)
    (root / "__init__.py").write_text(
        "import os\nfrom . import inner\n__version__ = '1.2'\nclass Frame: pass\nPI = 3\n"
        "def make(): return Frame()\n_hidden = 1\n"
    )
    (root / "inner" / "__init__.py").write_text("import sys, os\ndef solve(): return 42\n")
    (root / "later.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("extrapkg")]:
        monkeypatch.delitem(sys.modules, name)
    return "extrapkg"


def test_extra_module(extra_package: str) -> None:
    """A module that the developer allows shows its public names and its own submodules, live."""
    code = (
        "import extrapkg as p\nfrom extrapkg.inner import solve\nimport extrapkg.later\n"
        "print(isinstance(p.make(), p.Frame), p.PI, solve(), p.inner.solve(), p.__version__, p.later.VALUE)"
    )
    assert run_code(code, extra=[extra_package]).output == "True 3 42 42 1.2 7\n"


def test_extra_module_can_be_changed_by_guarded_code(extra_package: str) -> None:
    """Objects of an allowed module can be stored into; its classes cannot."""
    code = "import extrapkg\nf = extrapkg.make()\nf.x = 1\nprint(f.x)"
    assert run_code(code, extra=[extra_package], guard_writes=True).output == "1\n"
    with pytest.raises(TypeError):
        run_code("import extrapkg\nextrapkg.Frame.x = 1", extra=[extra_package], guard_writes=True)


@pytest.mark.parametrize(
    "code",
    [
        "import extrapkg\nextrapkg.os",
        "import extrapkg\nextrapkg.inner.sys",
        "from extrapkg import os",
        "from extrapkg.inner import sys",
        "from extrapkg import _hidden",
        "from extrapkg import *\nos",
    ],
)
def test_extra_module_shows_no_other_module(extra_package: str, code: str) -> None:
    """The modules that an allowed module imports are not reached through it."""
    with pytest.raises((AttributeError, ImportError, NameError)):
        run_code(code, extra=[extra_package])


def test_one_submodule_allowed(extra_package: str) -> None:
    """Allowing a submodule does not allow its package."""
    assert (
        run_code(
            "import extrapkg.inner\nprint(extrapkg.inner.solve())", extra=["extrapkg.inner"]
        ).output
        == "42\n"
    )
    with pytest.raises(AttributeError):
        run_code("import extrapkg.inner\nextrapkg.make", extra=["extrapkg.inner"])


@pytest.mark.parametrize("name", ["os", "subprocess", "urllib.request", "ctypes.util"])
def test_never_available_modules_cannot_be_allowed(name: str) -> None:
    """An option that names such a module is the developer's mistake and told at once."""
    with pytest.raises(ValueError, match=f"{name!r} is never available"):
        ModuleLoader(extra=[name])


def test_no_langchain_in_the_language() -> None:
    """The language imports nothing of LangChain, LangGraph or pydantic."""
    import subprocess

    code = (
        "import sys\nimport langchain_ptc.sandbox.language.policy, langchain_ptc.sandbox.language.guards\n"
        "import langchain_ptc.sandbox.language.modules\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('langchain', 'langchain_core', 'langgraph', 'pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("sandbox", [ProcessSandbox, InProcessSandbox])
@pytest.mark.parametrize("name", ["os", "os.path", "subprocess"])
def test_a_sandbox_refuses_at_once_what_is_never_available(sandbox: type, name: str) -> None:
    """The developer is told of a wrong import where it is written, and not by each program."""
    with pytest.raises(ValueError, match=rf"imports: {name!r} is never available: "):
        sandbox(imports=["statistics", name])
