"""`langchain-ptc ask`, and what a model may be called: a name, an address, an object."""

import importlib.util
import json
import os
import sys

import pytest

from langchain_ptc.cli.commands import API_KEY_VARIABLE, find_model
from langchain_ptc.cli.output import CommandError
from tests.support import SUPPORT
from tests.support.cli_project import call_process, open_project
from tests.support.openai_server import Server, serve


@pytest.fixture
def project(tmp_path, monkeypatch, capfd):
    """A folder with tools, which is the current one, with no keys around."""
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    yield from open_project(tmp_path, monkeypatch, capfd)


def ask(project, model, *options):
    """Ask for the sum of the prices."""
    return project.call(
        "ask", "What do they cost?", "--tools", "shop:tools", "--model", model, *options
    )


# --- ask ----------------------------------------------------------------------------------------------


def test_the_answer_is_on_standard_output_and_the_way_to_it_beside(project):
    """The model mends its code; the answer can be piped, code and calls are shown to the person."""
    shown = ask(project, "shop:model")
    assert (shown.code, shown.out) == (0, "5.5\n")
    assert "  | print(await get_prise('tea'))\n" in shown.err
    assert "did you mean 'get_price'?" in shown.err
    assert "The code (attempt 2):\n  | import asyncio\n" in shown.err
    assert "success · 2 tool calls · " in shown.err
    assert "get_price  2 returned, " in shown.err


def test_quiet(project):
    """`--quiet` leaves the answer; what tools print themselves is theirs."""
    shown = ask(project, "shop.py:good_model", "--quiet")
    assert (shown.code, shown.out) == (0, "5.5\n")
    assert set(shown.err.splitlines()) == {"looking up tea", "looking up rye"}


def test_json(project):
    """`--json` gives the answer with the whole record."""
    told = json.loads(ask(project, "shop:good_model", "--json").out)
    assert (told["question"], told["model"]) == ("What do they cost?", "shop:good_model")
    assert told["answer"] == told["execution"]["output"] == "5.5\n"
    assert len(told["execution"]["tool_calls"]) == 2
    assert json.loads(ask(project, "shop:talker", "--json").out)["execution"] is None


@pytest.mark.parametrize(
    ("model", "options", "code", "out", "told"),
    [
        pytest.param("shop:talker", (), 0, "No code is needed.\n", "", id="prose"),
        pytest.param("shop:silent", (), 0, "", "success", id="nothing-printed"),
        pytest.param("shop:bad_model", (), 1, "", "ZeroDivisionError", id="never-right"),
        pytest.param(
            "shop:good_model", ("--limit", "max_tool_calls=1"), 3, "", "max_tool_calls", id="limit"
        ),
        pytest.param(
            "shop:refused",
            (),
            2,
            "",
            "langchain-ptc: the model 'shop:refused' failed: PermissionError: 401: the key is not "
            "valid\n",
            id="model-fails",
        ),
    ],
)
def test_endings(project, model, options, code, out, told):
    """An answer, code that never works, a limit and a model that fails are told apart."""
    shown = ask(project, model, *options)
    assert (shown.code, shown.out) == (code, out)
    assert told in shown.err
    assert "Traceback (most recent call last):\n  File" not in shown.err


def test_a_tool_that_asks_a_person(project):
    """A tool that interrupts the graph is no answer: there is nothing that could be resumed."""
    project.write(
        "careful.py",
        "from langchain_core.tools import tool\nfrom langgraph.types import interrupt\n"
        "from langchain_ptc.testing import ScriptedChatModel\n\n"
        "@tool\ndef pay() -> str:\n    'Pay.'\n    return interrupt('really?')\n\n"
        "model = ScriptedChatModel(script=['```python\\nprint(await pay())\\n```'])\n",
    )
    shown = project.call("ask", "Pay.", "--tools", "careful:pay", "--model", "careful:model", "-q")
    assert (shown.code, shown.out) == (2, "")
    assert (
        "a tool stopped to ask a person: 'really?'. That takes a graph with a checkpointer"
        in shown.err
    )


def test_with_a_real_mcp_server(project):
    """As a process: the tools of a real MCP server and the model's code, and nothing left behind."""
    kitchen = SUPPORT / "mcp_servers" / "kitchen.py"
    servers = {"kitchen": {"command": sys.executable, "args": [str(kitchen)]}}
    project.write("servers.json", json.dumps({"mcpServers": servers}))
    project.write(
        "cook.py",
        "from langchain_ptc.testing import ScriptedChatModel\n"
        'code = \'print((await get_dish(title="pie"))["ingredients"][0]["name"])\'\n'
        "model = ScriptedChatModel(script=[f'```python\\n{code}\\n```'])\n",
    )
    done = call_process(
        "ask", "What is in a pie?", "--mcp", "servers.json", "--model", "cook:model"
    )
    assert (done.returncode, done.stdout) == (0, "salt\n"), done.stderr
    assert "kitchen.get_dish  1 returned, " in done.stderr


# --- the names of models --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("gpt5", "--model is provider:model, such as openai:gpt-5, with the key of the provider in the environment;"),
        ("opnai:gpt-5", "the address of a server; or file.py:attribute for a model of your own"),
        ("openai:", "the model 'openai:' has no name; write provider:model"),
        ("openai:gpt-5", "OPENAI_API_KEY"),
        ("anthropic:claude-sonnet-4-5", "it needs a key: export ANTHROPIC_API_KEY=…"),
        ("", "the model '' has no name; write provider:model"),
        ("http://127.0.0.1:9/v1", "the server at http://127.0.0.1:9/v1 does not list its models: APIConnectionError"),
        ("http://127.0.0.1:9", "Is it running, and is this its address, which usually ends in /v1?"),
        ("http://127.0.0.1:9/v1#x", "the model 'http://127.0.0.1:9/v1#x' failed: OpenAIConnectionError: Connection error. ("),
        ("http://127.0.0.1:9/v1#y", f"Is it running, and is this its address, which usually ends in /v1? With a key: export {API_KEY_VARIABLE}=…"),
        ("http://[::1", "is not a valid address: "),
        ("shop:modle", "shop has no attribute 'modle' (did you mean 'model'?)"),
        ("shop:number", "must be a chat model or a function that returns one, got int"),
        ("shop:fail", "KeyError: 'missing'"),
        ("shpo.py:model", "there is no file 'shpo.py' (did you mean 'shop.py'"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_there(project, model, told):
    """Each wrong name has one message, which says what to do, and nothing is run."""
    shown = ask(project, model)
    assert (shown.code, shown.out) == (2, "")
    assert told in shown.err
    assert "Traceback" not in shown.err


def test_an_integration_that_is_not_installed(project, monkeypatch):
    """The package to install is named, for a provider and for an address."""
    monkeypatch.setitem(sys.modules, "langchain_mistralai", None)
    assert "pip install langchain-mistralai" in ask(project, "mistralai:large").err
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *given: None if name == "langchain_openai" else find_spec(name, *given),
    )
    assert "pip install langchain-openai" in ask(project, "http://127.0.0.1:9/v1").err


# --- a server by its address ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/v1#other"])
def test_a_server_by_its_address(project, monkeypatch, path):
    """With its one model or a named one; a hosted provider's key stays here."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = Server()
    with serve(server) as address:
        shown = ask(project, f"{address}{path}", "--json")
    assert shown.code == 0, shown.err
    told = json.loads(shown.out)
    assert told["answer"] == "3.5\n"
    name = "other" if "#" in path else "qwen2.5-coder"
    listed = [] if "#" in path else ["/v1/models"]
    assert [asked[0] for asked in server.asked] == [*listed, "/v1/chat/completions"]
    assert server.asked[-1][2]["model"] == name
    assert next(iter(told["usage"].values()))["total_tokens"] == 9
    assert not any("secret" in str(asked) for asked in server.asked)


def test_a_key_for_a_server(monkeypatch):
    """A key of its own can be given to a server that wants one."""
    server = Server()
    monkeypatch.setenv(API_KEY_VARIABLE, "my-key")
    with serve(server) as address:
        find_model(address).invoke("x")
    assert {asked[1] for asked in server.asked} == {"Bearer my-key"}


@pytest.mark.parametrize(
    ("models", "status", "path", "told"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, 200, "", "has 2 models: a, b\nName one of them: "),
        ({"data": []}, 200, "", "has 0 models"),
        ({}, 401, "", "does not list its models: AuthenticationError: Error code: 401"),
        ({}, 401, "", f"With a key: export {API_KEY_VARIABLE}=…"),
        ({}, 404, "/wrong", "is this its address, which usually ends in /v1?"),
        (["hello"], 200, "", "does not list its models: "),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used(models, status, path, told):
    """What a server answers instead of one model is told, with what to do."""
    server = Server()
    server.models, server.status = models, status
    with serve(server) as address, pytest.raises(CommandError) as caught:
        find_model(address + path)
    assert told in str(caught.value)
    assert address in str(caught.value)


def test_a_named_model_is_taken_at_its_word():
    """A server is not asked for its list where the name of a model is given."""
    assert find_model("http://127.0.0.1:9#mine").model_name == "mine"
