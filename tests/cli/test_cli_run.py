"""`langchain-ptc run`: what goes where, the exit codes, and what may stand behind `--tools`."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.cli_project import call_process, open_project
from tests.support.waiting import SECONDS


@pytest.fixture
def project(tmp_path, monkeypatch, capfd):
    """A folder with tools, which is the current one."""
    yield from open_project(tmp_path, monkeypatch, capfd)


def type_in(monkeypatch, data):
    """Put something on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


# --- what goes where --------------------------------------------------------------------------------


def test_standard_output_is_what_the_code_printed(project):
    """What a tool prints itself is no output of the code, and nothing else is told off a terminal."""
    shown = project.call("run", "program.py", "--tools", "shop:tools")
    assert (shown.code, shown.out, shown.err) == (0, "3.5\n", "looking up tea\n")


def test_in_a_pipe(project):
    """As a process, with the program from standard input: UTF-8 in, exactly the output out."""
    code = "import asyncio\nprint('é', await count_stock('rye'), end='')"
    done = call_process("run", "-", "--tools", "shop.py:tools", input=code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "é 3", "")


@pytest.mark.parametrize(
    ("code", "out"),
    [
        pytest.param("return {'tea': [1, None]}", '{"tea": [1, null]}\n', id="return"),
        pytest.param("6 * 7", "42\n", id="last-expression"),
        pytest.param("result = 'é'", "é\n", id="result"),
        pytest.param("print('told')\n6 * 7", "told\n", id="printed"),
        pytest.param("x = 1", "", id="nothing"),
    ],
)
def test_code_that_prints_nothing_shows_its_value(project, monkeypatch, code, out):
    """Where nothing is printed, the value is shown as a model would read it."""
    type_in(monkeypatch, code.encode())
    shown = project.call("run", "-")
    assert (shown.code, shown.out, shown.err) == (0, out, "")


def test_json(project):
    """`--json` prints the record of the execution and nothing else, also of one that failed."""
    shown = project.call("run", "program.py", "--tools", "shop:by_domain", "--json")
    told = json.loads(shown.out)
    assert (shown.code, told["status"], told["output"]) == (0, "success", "3.5\n")
    assert [(c["domain"], c["tool"]) for c in told["tool_calls"]] == [("shop", "get_price")]
    project.write("program.py", "1 / 0")
    shown = project.call("run", "program.py", "--json")
    assert (shown.code, json.loads(shown.out)["error"]["kind"]) == (1, "ZeroDivisionError")


@pytest.mark.parametrize(
    ("code", "options", "exit_code", "out", "told"),
    [
        pytest.param("print(1)\n1 / 0", (), 1, "1\n", "line 2\n    1 / 0", id="raises"),
        pytest.param("x = (", (), 1, "", "SyntaxError", id="no-python"),
        pytest.param("import os", (), 1, "", "'os'", id="not-accepted"),
        pytest.param(
            "await get_prize('tea')", (), 1, "", "did you mean 'get_price'?", id="no-such-tool"
        ),
        pytest.param(
            "print(1)\nwhile True: pass",
            ("--limit", "wall_seconds=0.3"),
            3,
            "1\n",
            "limit wall_seconds was reached: allowed 0.3",
            id="limit",
        ),
        pytest.param(
            "for _ in range(9): await count_stock('a')",
            ("--limit", "max_tool_calls=2", "--limit", "wall_seconds=20"),
            3,
            "",
            "max_tool_calls",
            id="limits",
        ),
    ],
)
def test_exit_codes(project, code, options, exit_code, out, told):
    """Success, failure and a limit are told apart, and a failure stands on standard error."""
    project.write("program.py", code)
    shown = project.call("run", "program.py", "--tools", "shop:tools", "--quiet", *options)
    assert shown.code == exit_code
    assert shown.out.startswith(out)
    assert told in shown.err
    assert "langchain_ptc" not in shown.err


def test_calls_that_took_effect_are_told_of_a_failure(project):
    """Who reads the failure learns what has happened already."""
    project.write("program.py", "await get_price('tea')\nraise ValueError('no')")
    shown = project.call("run", "program.py", "--tools", "shop:tools")
    assert shown.code == 1
    assert "ValueError: no" in shown.err
    assert "took effect and must not be repeated" in shown.err


def test_further_modules(project, monkeypatch):
    """`--import` lets the code import what is not of the standard library."""
    type_in(monkeypatch, b"import numpy\nprint(int(numpy.arange(4).sum()))")
    assert project.call("run", "-", "--import", "numpy").out == "6\n"


def test_on_a_terminal_the_calls_are_told(project, monkeypatch):
    """A person at a terminal sees how it went, unless with `--quiet`."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = project.call("run", "program.py", "--tools", "shop:tools")
    assert shown.out == "3.5\n"
    assert "1 tool call" in shown.err
    assert "get_price" in shown.err
    shown = project.call("run", "program.py", "--tools", "shop:tools", "--quiet")
    assert shown.err == "looking up tea\n"


def test_a_reader_that_leaves_ends_the_execution(project):
    """`| head -1` ends a program that would print for long, without a traceback."""
    project.write(
        "program.py",
        "import asyncio\nfor n in range(10_000):\n    print('x' * 1000)\n    await asyncio.sleep(0.005)",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "langchain_ptc", "run", "program.py", "--limit", "wall_seconds=25"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "x" * 1000 + "\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=SECONDS) == 1
    process.stderr.close()


@pytest.fixture
def _interruptible():
    """Tests that are run in the background ignore interrupts, and hand that down to their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c(project):
    """Ctrl-C ends it at once, even while a tool blocks a thread, with the code that shells give."""
    project.write("program.py", "await block(40)")
    process = subprocess.Popen(
        [sys.executable, "-m", "langchain_ptc", "run", "program.py", "--tools", "shop:block"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "blocking\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_that_another_thread_gets(project):
    """Nothing says which thread a signal goes to: it ends the command all the same."""
    project.write("program.py", "await interrupt(40)")
    command = [sys.executable, "-m", "langchain_ptc", "run", "program.py", "--tools"]
    ended = subprocess.run(
        [*command, "shop:interrupt"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


# --- what may stand behind --tools ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("references", "names"),
    [
        (["shop:tools"], "shop get_price count_stock"),
        (["shop.py:tools"], "file get_price count_stock"),
        (["./shop.py:get_price"], "one get_price"),
        (["shop:by_domain"], "mapping shop.get_price stock.count_stock"),
        (["shop:catalog"], "catalog shop.get_price stock.count_stock"),
        (["shop:functions"], "functions plain"),
        (["shop:Holder.inner"], "dotted get_price count_stock"),
        (["shop:make"], "function get_price count_stock"),
        (["shop:make_later"], "async shop.get_price stock.count_stock"),
        (["shop:opened"], "context get_price count_stock"),
        (["shop:get_price", "shop:functions"], "two get_price plain"),
        (
            ["shop:catalog", "shop:functions"],
            "catalog-and-list shop.get_price stock.count_stock plain",
        ),
        (["package.inner:more"], "package get_price"),
    ],
    ids=lambda given: given.split()[0] if isinstance(given, str) else "",
)
def test_kinds_of_tools(project, references, names):
    """Each kind of object that has tools can be named, and several together."""
    project.write("package/__init__.py", "")
    project.write("package/inner.py", "import shop\nmore = (shop.get_price,)\n")
    given = [part for reference in references for part in ("--tools", reference)]
    shown = project.call("stubs", *given, "--detail", "signatures")
    assert shown.code == 0, shown.err
    text = shown.out
    for name in names.split()[1:]:
        assert f"{name.rpartition('.')[2]}(" in text
    assert text.count(" -> ") == len(names.split()) - 1


def test_a_context_is_closed_again(project):
    """What a context manager opened for the tools is closed after the run."""
    shown = project.call("run", "program.py", "--tools", "shop:opened")
    assert shown.err.splitlines() == ["opened", "looking up tea", "closed"]


def test_a_file_may_import_its_neighbours(project):
    """A file of another folder imports what lies beside it, as when Python runs it."""
    project.write("far/tools.py", "from beside import tools\n")
    project.write("far/beside.py", "from shop import tools\n")
    assert project.call("run", "program.py", "--tools", "far/tools.py:tools").out == "3.5\n"


def test_a_file_named_as_a_module_of_python(project):
    """A file with tools may have the name of a standard module without standing in its place."""
    project.write("json.py", "from shop import tools\n")
    assert project.call("run", "program.py", "--tools", "json.py:tools").out == "3.5\n"
    assert json.dumps([1]) == "[1]"


# --- stubs --------------------------------------------------------------------------------------------


def test_stubs_are_what_a_model_reads(project):
    """`stubs` prints the stubs, and nothing else."""
    shown = project.call("stubs", "--tools", "shop:get_price")
    assert shown.out.strip() == (
        'async def get_price(name: str) -> float:\n    """Look up a price."""'
    )
    assert (shown.code, shown.err) == (0, "")
    assert project.call("stubs", "--tools", "shop:tools", "--detail", "names").out.count("\n") <= 3


def test_stubs_as_a_package(project):
    """`-o` writes a package that can be read by an editor, and says where."""
    shown = project.call("stubs", "--tools", "shop:by_domain", "-o", "typings")
    assert (shown.code, shown.out) == (0, "")
    assert "typings" in shown.err
    text = (project.path / "typings" / "tools" / "shop.pyi").read_text("utf-8")
    compile(text, "shop.pyi", "exec")
    assert project.call("stubs", "--tools", "shop:tools", "-o", "typings", "-q").err == ""
