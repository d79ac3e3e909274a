"""What an import costs, told by what it loads: a number of seconds would hold on one machine only.

`python -m benchmarks.speed import first` measures the seconds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import SECONDS

HEAVY = (
    "langchain",
    "langgraph",
    "langsmith",
    "pydantic",
    "RestrictedPython",
    "asyncio",
    "typer",
    "rich",
)
FOREIGN_TO_WORKERS = ("langchain", "langchain_core", "langgraph", "langsmith", "pydantic")

OF_OTHERS = ("-W", "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")
"""What langsmith uses is deprecated on Python 3.14."""
LIST_MODULES = "\nimport sys\nprint('\\n'.join(sorted(sys.modules)))"


def load(code: str) -> set[str]:
    """Run `code` in a fresh Python and return the names of the modules that are loaded then."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *OF_OTHERS, "-c", code + LIST_MODULES],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def packages_of(modules: set[str]) -> set[str]:
    """Return the top-level packages of modules."""
    return {name.partition(".")[0] for name in modules}


def test_import_loads_nothing() -> None:
    """`import langchain_ptc` loads no other module of the package and nothing heavy."""
    loaded = load("import langchain_ptc")
    assert {name for name in loaded if name.startswith("langchain_ptc")} == {"langchain_ptc"}
    assert not packages_of(loaded) & set(HEAVY)


@pytest.mark.parametrize("name", ["Limits", "PTCError", "ToolCallError", "SandboxError"])
def test_light_names_stay_light(name: str) -> None:
    """Limits and errors can be named without LangChain."""
    loaded = load(f"from langchain_ptc import {name}")
    assert not packages_of(loaded) & set(HEAVY)


@pytest.mark.parametrize("name", ["ProcessSandbox", "InProcessSandbox"])
def test_sandboxes_know_nothing_of_langchain(name: str) -> None:
    """A sandbox can be used without LangChain, LangGraph and pydantic."""
    loaded = load(f"from langchain_ptc import {name}\n{name}().close()")
    assert not packages_of(loaded) & set(FOREIGN_TO_WORKERS)


def test_whole_face_loads_no_more_than_it_needs() -> None:
    """All public names together load LangChain's core and LangGraph, and not LangChain itself.

    The middleware, which is for LangChain's agents, needs the extra; so do the native tools.
    """
    loaded = load(
        "import langchain_ptc as p\n"
        "agents = {'ProgrammaticToolCallingMiddleware', 'native_middleware', 'native_tools'}\n"
        "for name in set(p.__all__) - agents:\n    getattr(p, name)"
    )
    needed = load(
        "import langchain_core.tools, langchain_core.language_models, langchain_core.runnables\n"
        "import langgraph.prebuilt, langgraph.types, langgraph.runtime, pydantic, RestrictedPython"
    )
    assert "langchain" not in packages_of(loaded)
    extra = packages_of(loaded) - packages_of(needed) - set(sys.stdlib_module_names)
    assert {name for name in extra if not name.startswith("_")} == {"langchain_ptc"}


def test_help_of_the_command_line_is_quick() -> None:
    """What the command line needs to say what it can do holds nothing of LangChain and LangGraph."""
    loaded = load("import langchain_ptc.cli.app")
    assert not packages_of(loaded) & {"langchain", "langchain_core", "langgraph"}


def test_worker_modules_know_nothing_of_langchain() -> None:
    """What a worker and its parent import holds nothing of LangChain, LangGraph or pydantic."""
    loaded = load("import langchain_ptc.sandbox.worker.zygote")
    assert not packages_of(loaded) & set(FOREIGN_TO_WORKERS)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("langchain_ptc.")}
    assert rooms <= {"sandbox", "errors", "locks"}


RUN_AND_LOOK = """
import os
from pathlib import Path
from langchain_ptc import ProcessSandbox, ProgrammaticToolExecutor
from langchain_core.tools import tool

def below(pid):
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            yield int(stat.parent.name)
            yield from below(int(stat.parent.name))

@tool
def look() -> list[str]:
    '''Find the native libraries that are mapped into the processes of the sandbox.'''
    found = []
    for pid in below(os.getpid()):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found.append(line.split()[-1])
    return [f"{len(list(below(os.getpid())))}", *sorted(set(found))]

with ProcessSandbox() as sandbox:
    result = ProgrammaticToolExecutor([look], sandbox=sandbox).execute("print('\\\\n'.join(look()))")
    assert result.status == "success", result.report()
    print("MAPPED", result.output.replace("\\n", " "))
"""


def test_living_worker_has_nothing_of_langchain_in_it() -> None:
    """No library of the host's packages is mapped into a worker that runs, or into its parent."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("looks into /proc")
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LOOK],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    mapped = done.stdout.partition("MAPPED ")[2].split()
    assert int(mapped[0]) >= 2, "the parent of workers and a worker"
    assert len(mapped) > 2
    for library in mapped:
        assert not any(name in library for name in ("pydantic_core", "orjson", "xxhash"))
