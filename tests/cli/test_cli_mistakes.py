"""What a person types wrong: one clear message that says what to do, exit code 2, no traceback of ours."""

import importlib.util
import json
import os
import sys

import pytest

from tests.support.cli_project import Shown, call_process, open_project


@pytest.fixture
def project(tmp_path, monkeypatch, capfd):
    """A folder with tools and broken files, which is the current one."""
    for made in open_project(tmp_path, monkeypatch, capfd):
        made.write("divides.py", "def f():\n    return 1 / 0\n\ntools = [f()]\n")
        made.write("imports.py", "import not_there_at_all\n")
        made.write("leaves.py", "raise SystemExit('bye')\n")
        made.write("typo.py", "tools = [\n")
        made.write("undocumented.py", UNDOCUMENTED)
        made.write("latin.py", "print('é')".encode("latin-1"))
        made.write("broken.json", '{"mcpServers": {\n  "a": {"command": "x",}\n}}')
        made.write("list.json", "[1]")
        made.write("latin.json", '{"é": {}}'.encode("latin-1"))
        for name, connection in CONNECTIONS.items():
            made.write(f"{name}.json", json.dumps({"mcpServers": {"kitchen": connection}}))
        yield made


UNDOCUMENTED = """
from langchain_core.tools import tool

@tool
def undocumented(name):
    return name
"""
CONNECTIONS = {
    "nothing": {"env": {}},
    "no_object": "python server.py",
    "no_command": {"transport": "stdio"},
    "transport": {"transport": "carrier-pigeon", "url": "x"},
    "args": {"command": "python", "args": "server.py"},
    "argument": {"command": "python", "arg": ["server.py"]},
    "variable": {"url": "http://127.0.0.1:9/", "headers": {"Authorization": "Bearer ${PTC_NONE}"}},
    "not_there": {"command": "no-such-program-at-all"},
    "ends": {"command": sys.executable, "args": ["-c", "raise SystemExit(3)"]},
    "spelled": {"type": "streamableHttp", "url": "http://127.0.0.1:9/mcp"},
    "unreachable": {"url": "http://127.0.0.1:9/mcp"},
    "off": {"command": "no-such-program-at-all", "disabled": True},
}
RUN = ("run", "program.py")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        # the program
        (("run", "progam.py"), "'progam.py' cannot be read: No such file or directory (did you mean 'program.py'?)"),
        (("run", "."), "'.' cannot be read: Is a directory"),
        (("run", "latin.py"), "'latin.py' is not text in UTF-8"),
        (("run",), "Missing argument 'FILE.py'"),
        # --tools
        ((*RUN, "--tools", "shop"), "must be module:attribute or file.py:attribute, for example 'shop:tools'"),
        ((*RUN, "--tools", "shop.py"), "for example 'shop.py:tools'"),
        ((*RUN, "--tools", "shop:"), "for example 'shop:tools'"),
        ((*RUN, "--tools", "shpo:tools"), "there is no module 'shpo', neither installed nor in the current folder (did you mean 'shop'?)"),
        ((*RUN, "--tools", "shop.inner:tools"), "there is no module 'shop.inner'"),
        ((*RUN, "--tools", "a-b:tools"), "'a-b' is not the name of a module"),
        ((*RUN, "--tools", "shpo.py:tools"), "there is no file 'shpo.py' (did you mean 'shop.py'"),
        ((*RUN, "--tools", "no/shop.py:tools"), "there is no file 'no/shop.py'"),
        ((*RUN, "--tools", "shop:tolls"), "shop has no attribute 'tolls' (did you mean 'tools'"),
        ((*RUN, "--tools", "shop:Holder.iner"), "did you mean 'inner'?"),
        ((*RUN, "--tools", "shop:number"), "--tools 'shop:number' must be a tool, a list of tools, a mapping"),
        ((*RUN, "--tools", "shop:Holder"), "got the class 'Holder'"),
        ((*RUN, "--tools", "shop:make_nothing"), "got NoneType"),
        ((*RUN, "--tools", "shop:plain"), "is a function that needs 'name'"),
        ((*RUN, "--tools", "shop:wrong"), "tools[1] must be a LangChain tool or a function, got an int"),
        ((*RUN, "--tools", "shop:twice"), "two tools named 'get_price'"),
        ((*RUN, "--tools", "shop:fail"), "shop.py\", line 87, in fail\n      return {}[\"missing\"]\n"),
        ((*RUN, "--tools", "divides:tools"), "line 2, in f\n      return 1 / 0\n"),
        ((*RUN, "--tools", "divides.py:tools"), "ZeroDivisionError: division by zero"),
        ((*RUN, "--tools", "imports:tools"), "line 1, in <module>\n      import not_there_at_all\n"),
        ((*RUN, "--tools", "leaves:tools"), "SystemExit: bye"),
        ((*RUN, "--tools", "typo:tools"), "SyntaxError: '[' was never closed"),
        ((*RUN, "--tools", "undocumented:undocumented"), "line 4, in <module>"),
        # --limit and --import
        ((*RUN, "--limit", "wall_secs=3"), "there is no limit 'wall_secs' (did you mean 'wall_seconds'"),
        ((*RUN, "--limit", "patience=3"), "there is no limit 'patience'; there are wall_seconds, cpu_seconds"),
        ((*RUN, "--limit", "wall_seconds"), "has no value; write --limit wall_seconds=VALUE"),
        ((*RUN, "--limit", "wall_seconds=soon"), "--limit wall_seconds='soon' must be a number"),
        ((*RUN, "--limit", "cpu_seconds=1.5"), "--limit cpu_seconds='1.5' must be a whole number"),
        ((*RUN, "--limit", "cpu_seconds=0"), "cpu_seconds must be a positive whole number, got 0"),
        ((*RUN, "--limit", "wall_seconds=nan"), "wall_seconds must be a positive number, got nan"),
        ((*RUN, "--limit", "cpu_seconds=1", "--limit", "cpu_seconds=2"), "--limit cpu_seconds is given twice"),
        ((*RUN, "--import", "num-py"), "--import: imports: 'num-py' is no module name"),
        ((*RUN, "--tools", "shop:tools", "--import", "no_such_module"), "No module named 'no_such_module'"),
        # --mcp
        ((*RUN, "--mcp", "nthing.json"), "cannot be read: No such file or directory (did you mean 'nothing.json'"),
        ((*RUN, "--mcp", "broken.json"), "is not JSON: line 2, column "),
        ((*RUN, "--mcp", "latin.json"), "is not text in UTF-8"),
        ((*RUN, "--mcp", "list.json"), 'must hold an object: {"mcpServers": {"name": {"command": "…"}}}'),
        ((*RUN, "--mcp", "nothing.json"), "the server 'kitchen' needs a 'command' to start it, or a 'url' to reach it"),
        ((*RUN, "--mcp", "no_object.json"), 'must hold an object: {"mcpServers": {"name": {"command": "…"}}}'),
        ((*RUN, "--mcp", "no_command.json"), "needs a 'command' to start it, or a 'url' to reach it"),
        ((*RUN, "--mcp", "transport.json"), "'transport' cannot be 'carrier-pigeon': it must be 'stdio', 'http' or 'sse'"),
        ((*RUN, "--mcp", "args.json"), "Input should be a valid list"),
        ((*RUN, "--mcp", "argument.json"), "has 'arg', which means nothing (did you mean 'args'?)"),
        ((*RUN, "--mcp", "variable.json"), "needs the variable PTC_NONE: export PTC_NONE=…"),
        ((*RUN, "--mcp", "off.json", "--mcp", "ends.json"), "the MCP server 'kitchen' cannot be listed"),
        ((*RUN, "--mcp", "spelled.json"), "the MCP server 'kitchen' cannot be listed: ConnectError"),
        ((*RUN, "--mcp", "unreachable.json"), "the MCP server 'kitchen' cannot be listed"),
        ((*RUN, "--mcp", "ends.json", "--mcp", "ends.json"), "two servers are named 'kitchen'"),
        # the rest
        (("stubs",), "say which tools: --tools module:attribute, or --mcp servers.json"),
        (("stubs", "--tools", "shop:tools", "--detail", "ful"), "'ful' is not one of 'full', 'signatures'"),
        (("stubs", "--tools", "shop:tools", "--detail", "names", "-o", "x"), "--detail is for what is printed"),
        (("stubs", "--tools", "shop:tools", "-o", "shop.py"), "-o 'shop.py' cannot be written to"),
        (("ask", "x", "--model", "shop:model"), "say which tools"),
        (("ask", " ", "--model", "shop:model", "--tools", "shop:tools"), "the question is empty"),
        (("ask", "x", "--tools", "shop:tools"), "Missing option '--model'"),
        (("rnu",), "No such command 'rnu'"),
        ((*RUN, "--tool", "x"), "No such option: --tool"),
        ((), "Missing command"),
    ],
    ids=lambda given: " ".join(given)[-40:] if isinstance(given, tuple) else "",
)  # fmt: skip
def test_mistake(project, arguments, told):
    """Each mistake has its message, and standard output stays empty."""
    shown = project.call(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert told in shown.err
    assert "langchain_ptc/" not in shown.err
    assert "site-packages" not in shown.err or "undocumented" in str(arguments)


def test_a_server_that_is_off_is_left_out(project):
    """A server that its file disables is not started."""
    project.write("program.py", "print(1)")
    assert project.call("run", "program.py", "--mcp", "off.json").out == "1\n"


def test_without_typer(project, monkeypatch):
    """Where typer is missing, the message is the command that installs it."""
    monkeypatch.delitem(sys.modules, "langchain_ptc.cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    told = "langchain-ptc: the command line needs the package typer: pip install 'langchain-ptc[cli]'\n"
    assert project.call("doctor") == Shown(2, "", told)


def test_without_langchain(project, monkeypatch):
    """Names of models need langchain, and say so; objects and addresses do not."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *given: None if name == "langchain" else find_spec(name, *given),
    )
    asking = ("ask", "x", "--tools", "shop:tools", "--quiet", "--model")
    shown = project.call(*asking, "openai:gpt-5")
    assert (shown.code, shown.out) == (2, "")
    assert "pip install 'langchain-ptc[langchain]'" in shown.err
    assert project.call(*asking, "shop:talker").code == 0


def test_without_the_packages_for_mcp(project, monkeypatch):
    """A server needs the package `mcp`, and the message names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    shown = project.call(*RUN, "--mcp", "ends.json")
    assert (shown.code, shown.out) == (2, "")
    assert "pip install 'langchain-ptc[mcp]'" in shown.err


def test_a_machine_that_cannot_run_code(project, monkeypatch):
    """Where there are no workers (no Linux, no fork), it says so and what to do."""
    monkeypatch.delattr(os, "fork", raising=False)
    # A module of its own: else the workers that other tests have started would be used.
    shown = project.call(*RUN, "--tools", "shop:tools", "--import", "wave")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("langchain-ptc: ProcessSandbox forks its workers, which ")


def test_a_server_that_does_not_start(project):
    """A server whose program is not there is named, in one line."""
    done = call_process(*RUN, "--mcp", "not_there.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "langchain-ptc: the tools cannot be used: the tools of the MCP server 'kitchen' cannot be "
        "listed: FileNotFoundError: [Errno 2] No such file or directory: 'no-such-program-at-all'\n"
    )
