"""Tools of real MCP servers, over stdio and streamable HTTP, in a catalog and called by code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool

from langchain_ptc import CatalogError, ProgrammaticToolExecutor, ToolCatalog, ToolPolicy
from langchain_ptc.catalog import mcp_servers, mcp_source

pytest.importorskip("mcp", reason="pip install 'langchain-ptc[mcp]'")


from tests.support import ROOT, SUPPORT
from tests.support.waiting import SECONDS, wait_for

SERVERS = SUPPORT / "mcp_servers"
LINE = int(importlib.metadata.version("mcp").split(".")[0])
PYTHON = os.environ.get("MCP_SERVER_PYTHON", sys.executable)
"""Runs the servers, which are written for line 1 of `mcp`; the client may be of line 2."""
NEEDS_ADAPTERS = pytest.mark.skipif(
    importlib.util.find_spec("langchain_mcp_adapters") is None,
    reason="pip install langchain-mcp-adapters",
)


def stdio(name: str, *args: str) -> dict[str, Any]:
    """Return a connection to one of the tests' own servers."""
    path = str(SERVERS / f"{name}.py")
    return {"transport": "stdio", "command": PYTHON, "args": [path, *args]}


@pytest.fixture(scope="module")
def catalog() -> Iterator[ToolCatalog]:
    """The tests' own servers, opened once, from synchronous code, for tests on loops of their own."""
    servers = {"kitchen": stdio("kitchen"), "odd": stdio("odd")}
    with ToolCatalog.from_mcp(servers) as opened:
        yield opened


@pytest.fixture
async def kitchen() -> AsyncIterator[ToolCatalog]:
    """A server that the test may break."""
    async with ToolCatalog.from_mcp({"kitchen": stdio("kitchen")}) as opened:
        yield opened


async def run(catalog: ToolCatalog, code: str) -> str:
    """Run code and return what it prints."""
    result = await ProgrammaticToolExecutor(catalog).aexecute(code)
    assert result.error is None, result.error
    return result.output.rstrip("\n")


async def call(catalog: ToolCatalog, name: str, /, **arguments: Any) -> Any:
    """Call a tool as LangChain does, without code."""
    return await catalog[name].tool.ainvoke(arguments)


def is_running(process_id: int) -> bool:
    """Whether there is such a process, dead ones that nobody waited for included."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in another thread or process."""
    assert wait_for(condition), "it does not happen"


# --- what the model reads -----------------------------------------------------------------------


def test_output_schemas_are_return_types(catalog: ToolCatalog) -> None:
    """The stubs show nested models of output schemas, and wrapped values without their wrapper."""
    text = catalog.render()
    assert "async def get_dish(title: str, servings: int = 2) -> Dish:" in text
    assert "async def list_dishes() -> list[Dish]:" in text
    assert "async def count(words: list[str]) -> int:" in text
    assert "async def add_note(text: str) -> None:" in text
    assert "    ingredients: list[Ingredient]\n" in text
    assert "    nutrition: NotRequired[Nutrition | None]\n" in text
    assert "    children: NotRequired['list[Node]']\n" in text
    assert "-> Node:" in text
    compile(text, "stubs", "exec")


def test_undeclared_returns_say_what_comes(catalog: ToolCatalog) -> None:
    """A tool without an output schema may return anything, and its stub says what to expect."""
    text = catalog.render()
    stub = text[text.index("async def as_text(") :].split("\n\n")[0]
    assert "-> Any:" in stub
    assert "Returns: text (str)" in stub


def test_all_pages_are_read(catalog: ToolCatalog) -> None:
    """Tools on later pages of a server's list are in the catalog, and the domain is the server."""
    names = [name for name in catalog.names if name.startswith("odd.")]
    assert names[-5:] == [f"odd.page_{n}" for n in range(5)]
    assert catalog.domains == ("kitchen", "odd")


def test_tools_that_change_as_their_server_starts(catalog: ToolCatalog) -> None:
    """A server that says that its tools change while they are listed is asked again."""
    assert not catalog.is_stale


def test_tools_that_cannot_be_called(catalog: ToolCatalog) -> None:
    """A tool that is only called as a task of the protocol is left out."""
    assert "odd.task" not in catalog


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("odd.bare", ""),
        ("odd.titled", "A title"),
        ("odd.hinted", "A hint"),
        ("odd.get_tree", "A tree."),
    ],
)
def test_descriptions(catalog: ToolCatalog, name: str, description: str) -> None:
    """A tool without a description shows its title."""
    assert catalog[name].description == description


def test_annotations_are_policies(catalog: ToolCatalog) -> None:
    """The hints of a server are the policies of its tools; nothing needs approval unasked."""
    dish, dishes, count = (
        catalog[f"kitchen.{n}"].policy for n in ("get_dish", "list_dishes", "count")
    )
    assert (dish.read_only, dish.idempotent) == (True, True)
    assert (dishes.read_only, dishes.idempotent) == (True, False)
    assert count == ToolPolicy()
    assert not any(definition.policy.requires_approval for definition in catalog)
    assert catalog["get_dish"].tool.metadata == {"readOnlyHint": True, "idempotentHint": True}


@pytest.mark.parametrize(
    ("approve", "needing"),
    [("destructive", {"burn", "count"}), ("writes", {"burn", "count", "add_note"})],
)
async def test_approve(approve: Any, needing: set[str]) -> None:
    """`approve` asks for a person by the hints; a tool that says nothing counts as destructive."""
    policies = {"as_text": ToolPolicy(read_only=True)}
    servers = {"kitchen": stdio("kitchen")}
    async with ToolCatalog.from_mcp(servers, approve=approve, policies=policies) as catalog:
        found = {d.name for d in catalog if d.policy.requires_approval}
        assert found >= needing
        assert not found & {"get_dish", "list_dishes", "as_text"}
        assert ("add_note" in found) == (approve == "writes")


# --- values -------------------------------------------------------------------------------------

VALUES = {
    "nested records": (
        "(await get_dish(title='pie'))['ingredients'][0].nutrition.calories",
        "0.0",
    ),
    "a list in a wrapper": ("[dish.title for dish in await list_dishes()]", "['soup', 'pie']"),
    "a number in a wrapper": ("await count(['a', 'b']) + 1", "3"),
    "nothing": ("await add_note('x')", "None"),
    "text": ("await as_text()", "plain\ntext"),
    "text that is JSON stays text": ("(await as_text(as_json=True))[0]", "{"),
    "texts are joined": ("await in_parts()", "one\ntwo"),
    "an image": (
        "await photo()",
        str([{"type": "image", "data": b"\x89PNG\x00\xff", "mime_type": "image/png"}]),
    ),
    "other content": (
        "[sorted(part) for part in await media()]",
        str(
            [
                ["text", "type"],
                ["data", "mime_type", "type"],
                ["mime_type", "text", "type", "uri"],
                ["data", "type", "uri"],
                ["name", "size", "type", "uri"],
            ]
        ),
    ),
    "structure that no schema declares": ("await undeclared()", "{'result': 7}"),
    "a wrapped reference": ("(await get_tree(max_depth=3)).children[0].label", "{'max-depth': 3}"),
    "no arguments": ("await page_4()", "page_4 {}"),
}


@pytest.mark.parametrize("case", VALUES)
async def test_values(catalog: ToolCatalog, case: str) -> None:
    """Code gets the structured content of a result, or its text, or its parts as records."""
    expression, printed = VALUES[case]
    assert await run(catalog, f"print({expression})") == printed


async def test_names_that_frameworks_use(catalog: ToolCatalog) -> None:
    """Arguments named `self`, `config` and the like reach the server under these names."""
    code = "print(await echo(self='1', config='2', run_manager='3', runtime='4', callbacks='5'))"
    assert await run(catalog, code) == "1\n2\n3\n4\n5"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("burn('toast')", "burnt: toast"),
        ("count(3)", "Input should be a valid list"),
        ("lies()", "'not a number' is not of type 'integer'"),
    ],
)
async def test_errors_of_tools(catalog: ToolCatalog, call: str, told: str) -> None:
    """What a server reports as an error is raised at the call in the code, which may catch it."""
    code = f"try:\n    await {call}\nexcept ToolCallError as error:\n    print(error)"
    assert told in await run(catalog, code)


async def test_messages_for_a_model(catalog: ToolCatalog) -> None:
    """Called by a model itself, a tool gives a message, with images as models take them."""
    request = {"type": "tool_call", "id": "1", "args": {}}
    photo = await catalog["photo"].tool.ainvoke({**request, "name": "photo"})
    assert isinstance(photo, ToolMessage)
    assert photo.content == [{"type": "image", "base64": "iVBORwD/", "mime_type": "image/png"}]
    args = {"title": "pie"}
    dish = await catalog["get_dish"].tool.ainvoke({**request, "name": "get_dish", "args": args})
    assert json.loads(dish.content)["title"] == "pie"


async def test_callbacks(catalog: ToolCatalog) -> None:
    """A call is traced as every tool call is: its name, its arguments, its end."""
    seen: list[Any] = []

    class Handler(AsyncCallbackHandler):
        async def on_tool_start(
            self, serialized: dict[str, Any], input_str: str, **rest: Any
        ) -> None:
            seen.append((serialized["name"], rest["inputs"]))

        async def on_tool_end(self, output: Any, **rest: Any) -> None:
            seen.append(output.content)

    executor = ProgrammaticToolExecutor(catalog)
    await executor.aexecute("await count(words=['a'])", config={"callbacks": [Handler()]})
    assert seen == [("count", {"words": ["a"]}), "1"]


# --- sessions -----------------------------------------------------------------------------------


async def test_concurrent_calls_share_a_session(catalog: ToolCatalog) -> None:
    """Twenty calls that wait for each other all end, in one process."""
    code = """
import asyncio
values = await asyncio.gather(*[meet(people=20, value=n) for n in range(20)])
print(values == list(range(20)), len({await process_id() for _ in range(3)}))
"""
    assert await run(catalog, code) == "True 1"


def test_synchronous_code(catalog: ToolCatalog) -> None:
    """Synchronous callers, loops that came and went, and plain `invoke` use the same session."""
    executor = ProgrammaticToolExecutor(catalog)
    first = executor.execute("print(process_id())").output
    again = asyncio.run(executor.aexecute("print(await process_id())")).output
    direct = catalog["process_id"].tool.invoke({})
    assert first == again == f"{direct}\n"


async def test_lost_in_the_middle(kitchen: ToolCatalog) -> None:
    """A call whose server dies fails in the code, and says so; the next call starts it again."""
    code = """
before = await process_id()
try:
    await die()
except ToolCallError as error:
    print(error)
print(before != await process_id())
"""
    told, again = (await run(kitchen, code)).split("\n")
    assert "the MCP server 'kitchen' is gone" in told
    assert "this call may have been made" in told
    assert again == "True"


async def test_all_calls_of_a_lost_server_fail(kitchen: ToolCatalog) -> None:
    """No call waits for ever for a server that died."""
    code = """
import asyncio
waiting = [slow(seconds=3600, value=n) for n in range(5)]
done = await asyncio.gather(*waiting, die(seconds=0.2), return_exceptions=True)
print({type(one).__name__ for one in done}, len(done))
"""
    assert await run(kitchen, code) == "{'ToolCallError'} 6"


async def test_lost_while_idle(kitchen: ToolCatalog) -> None:
    """A server that died between calls is started again, at the latest after one failed call."""
    first = await call(kitchen, "process_id")
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_running(first))
    try:
        second = await call(kitchen, "process_id")
    except ToolException:
        second = await call(kitchen, "process_id")
    assert second != first


async def test_a_cancelled_call_leaves_the_session(kitchen: ToolCatalog) -> None:
    """A call that is given up does not hurt the next one, nor does the time limit of one."""
    first = await call(kitchen, "process_id")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(kitchen, "slow", seconds=3600, value=1), 0.1)
    assert await call(kitchen, "process_id") == first


def test_opened_used_and_closed_anywhere() -> None:
    """A catalog is opened on one event loop, used on another and closed on a third."""

    async def opening() -> ToolCatalog:
        return await ToolCatalog.from_mcp({"kitchen": stdio("kitchen")})

    catalog = asyncio.run(opening())
    process_id = asyncio.run(call(catalog, "process_id"))
    assert is_running(process_id)
    asyncio.run(catalog.aclose())
    assert not is_running(process_id)
    with pytest.raises(ToolException, match="'kitchen' was closed with its catalog"):
        asyncio.run(call(catalog, "process_id"))


async def test_closing_ends_waiting_calls(kitchen: ToolCatalog) -> None:
    """Closing from another task ends the calls that wait, and the process."""
    process_id = await call(kitchen, "process_id")
    waiting = asyncio.create_task(call(kitchen, "slow", seconds=3600, value=1))
    await call(kitchen, "count", words=[])  # the other one is on its way by then
    await asyncio.create_task(kitchen.aclose())
    with pytest.raises(ToolException, match="'kitchen' was closed with its catalog"):
        await waiting
    assert not is_running(process_id)


async def test_forgotten_catalogs_end_their_servers() -> None:
    """A catalog that nobody closed and nobody refers to any more ends its processes."""
    catalog = await ToolCatalog.from_mcp({"kitchen": stdio("kitchen")})
    process_id = await call(catalog, "process_id")
    del catalog
    gc.collect()
    await asyncio.to_thread(until, lambda: not is_running(process_id))


def test_exit_ends_servers(tmp_path: Path) -> None:
    """A program that ends without closing leaves no process and no noise."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import asyncio
from langchain_ptc import ToolCatalog
async def main():
    catalog = await ToolCatalog.from_mcp({{"kitchen": {stdio("kitchen")!r}}})
    print(await catalog["process_id"].tool.ainvoke({{}}))
    return catalog
catalog = asyncio.run(main())
""")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, program], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stderr == ""
    assert not is_running(int(done.stdout))


# --- tools that change --------------------------------------------------------------------------


async def test_refreshed() -> None:
    """A server's word that its tools changed makes a catalog stale; a new one has the new tools."""
    policies = {"kitchen.slow": ToolPolicy(max_calls=1), "as_text": ToolPolicy(max_calls=2)}
    servers = {"kitchen": stdio("kitchen"), "odd": stdio("odd")}
    async with ToolCatalog.from_mcp(servers, policies=policies) as catalog:
        assert not catalog.is_stale
        assert await run(catalog, "print(await learn('hello'))") == "hello"
        assert catalog.is_stale
        assert "hello" not in catalog
        newer = await catalog.refreshed()
        assert not newer.is_stale
        assert await run(newer, "print(await hello())") == "hello"
        await call(newer, "forget", name="as_text")
        latest = await newer.refreshed()
        assert "as_text" not in latest
        assert latest["kitchen.slow"].policy.max_calls == 1
        assert await run(catalog, "print(await count(['a']))") == "1"


async def test_catalog_without_servers() -> None:
    """A catalog without servers is never stale, and its own successor."""
    catalog = ToolCatalog([])
    assert not catalog.is_stale
    assert await catalog.refreshed() is catalog
    await catalog.aclose()


# --- what is passed -----------------------------------------------------------------------------


@tool
def get_price(dish: str) -> float:
    """Look up a price."""
    return 7.5


async def test_with_ordinary_tools() -> None:
    """Ordinary tools stand beside those of servers, in domains of their own or in none."""
    servers = {"kitchen": stdio("kitchen")}
    code = "print(await get_price(dish=(await list_dishes())[0].title))"
    async with ToolCatalog.from_mcp(servers, tools=[get_price]) as catalog:
        assert "get_price" in catalog.names
        assert await run(catalog, code) == "7.5"
    async with ToolCatalog.from_mcp(servers, tools={"shop": [get_price]}) as catalog:
        assert catalog.domains == ("kitchen", "shop")
    with pytest.raises(CatalogError, match="the domain 'kitchen', and so is an MCP server named"):
        await ToolCatalog.from_mcp(servers, tools={"kitchen": [get_price]})


@NEEDS_ADAPTERS
async def test_client_of_the_adapters() -> None:
    """A `MultiServerMCPClient` brings its connections, its interceptors and its callbacks."""
    from langchain_mcp_adapters.callbacks import Callbacks
    from langchain_mcp_adapters.client import MultiServerMCPClient

    steps: list[Any] = []

    async def on_progress(done: float, total: float | None, text: str | None, context: Any) -> None:
        steps.append((done, total, text, context.server_name, context.tool_name))

    async def polite(request: Any, handler: Any) -> Any:
        if request.name == "count":
            request = request.override(args={"words": [*request.args["words"], "please"]})
        if request.name == "photo":
            return ToolMessage("no photographs", tool_call_id="")
        return await handler(request)

    client = MultiServerMCPClient(
        {"kitchen": stdio("kitchen")},
        callbacks=Callbacks(on_progress=on_progress),
        tool_interceptors=[polite],
    )
    async with ToolCatalog.from_mcp(client) as catalog:
        assert (
            await run(catalog, "print(await count(['tea']), await photo())") == "2 no photographs"
        )
        await call(catalog, "report", steps=2)
    assert steps == [(n, 2.0, "cooking", "kitchen", "report") for n in (1.0, 2.0)]


async def test_message_handler_of_the_user() -> None:
    """A connection's own message handler hears the server as well."""
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    connection = {**stdio("kitchen"), "session_kwargs": {"message_handler": hear}}
    async with ToolCatalog.from_mcp({"kitchen": connection}) as catalog:
        await call(catalog, "learn", name="again")
        assert catalog.is_stale
    assert heard


# --- what cannot work ---------------------------------------------------------------------------

NO_SERVERS: dict[str, tuple[Any, str]] = {
    "a list": ([], "servers must be a dict of connections by name"),
    "a path": (
        {"a": "server.py"},
        r"servers\['a'\] must be a connection, got str",
    ),
    "a session": (
        {"a": SimpleNamespace(call_tool=None)},
        r"must be a connection, got SimpleNamespace; pass the tools of load_mcp_tools",
    ),
    "no transport": ({"a": {"command": "x"}}, "'a' cannot be listed: .*Missing 'transport'"),
    "no such command": (
        {"a": {"transport": "stdio", "command": "no-such-command", "args": []}},
        "'a' cannot be listed: FileNotFoundError",
    ),
    "no server": (
        {"a": {"transport": "stdio", "command": sys.executable, "args": ["-c", "pass"]}},
        "'a' cannot be listed: M[Cc][Pp]Error: Connection closed",
    ),
    "no port": (
        {"a": {"transport": "http", "url": "http://127.0.0.1:9/mcp"}},
        "'a' cannot be listed: ConnectError",
    ),
}


@pytest.mark.parametrize("case", NO_SERVERS)
async def test_servers_that_are_none(case: str) -> None:
    """What cannot be opened is a `CatalogError` that names the server and the reason."""
    servers, told = NO_SERVERS[case]
    with pytest.raises(CatalogError, match=told):
        await ToolCatalog.from_mcp(servers)


async def test_opened_again() -> None:
    """The same servers open as often as they are asked for: after their end, and after a failure."""
    connection = {**stdio("kitchen"), "command": "no-such-command"}
    opening = ToolCatalog.from_mcp({"kitchen": connection})
    with pytest.raises(CatalogError, match="FileNotFoundError"):
        await opening
    connection["command"] = PYTHON
    for _ in range(2):
        async with opening as catalog:
            assert await run(catalog, "print(await count(['tea']))") == "1"


async def test_silent_server() -> None:
    """A server that does not answer is given up, and ended."""
    silent = {
        "transport": "stdio",
        "command": sys.executable,
        "args": ["-c", "input(), input(), input()"],
    }
    with pytest.raises(CatalogError, match=r"'a' cannot be listed: .*no answer in 0\.5 seconds"):
        await ToolCatalog.from_mcp({"a": silent}, connect_seconds=0.5)


async def test_giving_up_while_it_starts(tmp_path: Path) -> None:
    """Who stops waiting for a server to start leaves no process."""
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); sys.stdin.read()"
    told = tmp_path / "process_id"
    silent = {"transport": "stdio", "command": sys.executable, "args": ["-c", code, str(told)]}
    opening = asyncio.ensure_future(ToolCatalog.from_mcp({"a": silent}))
    await asyncio.to_thread(until, lambda: told.exists() and told.read_text() != "")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not is_running(int(told.read_text()))


async def test_exclude() -> None:
    """A tool that cannot be offered to code refuses the catalog, and can be left out."""
    servers = {"odd": stdio("odd", "broken")}
    with pytest.raises(CatalogError, match="the schema of tool 'broken' cannot be read"):
        await ToolCatalog.from_mcp(servers)
    async with ToolCatalog.from_mcp(servers, exclude=["odd.broken", "odd.get-tree"]) as catalog:
        assert "odd.bare" in catalog
        assert not {"odd.broken", "odd.get_tree"} & set(catalog.names)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"approve": True}, "approve must be"), ({"exclude": "a.b"}, "exclude must be a list")],
)
def test_bad_options(options: Any, told: str) -> None:
    """A wrong option is refused before anything is opened."""
    with pytest.raises(CatalogError, match=told):
        ToolCatalog.from_mcp({}, **options)


async def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages for MCP, the error says what to install."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ImportError, match=r"pip install 'langchain-ptc\[mcp\]'"):
        await ToolCatalog.from_mcp({"kitchen": stdio("kitchen")})


def test_import_is_lazy() -> None:
    """The package, its catalog and its executor are imported without the packages for MCP."""
    code = (
        "import sys; from langchain_ptc import ToolCatalog, ProgrammaticToolExecutor;"
        "print([m for m in sys.modules if m.split('.')[0] in ('mcp', 'langchain_mcp_adapters')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- streamable HTTP ----------------------------------------------------------------------------


@contextlib.contextmanager
def serving(port: int) -> Iterator[None]:
    """Run the kitchen as a web server."""
    args = [PYTHON, str(SERVERS / "kitchen.py"), "http", str(port)]
    with subprocess.Popen(args) as process:
        try:

            def is_up() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            until(is_up)
            yield
        finally:
            process.kill()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_streamable_http() -> None:
    """Over HTTP all is the same, and a server that was restarted is met by the next call."""
    port = free_port()
    connection = {
        "transport": "http",
        "url": f"http://127.0.0.1:{port}/mcp",
        "timeout": timedelta(seconds=10),
    }
    code = """
import asyncio
values = await asyncio.gather(*[meet(people=20, value=n) for n in range(20)])
print(values == list(range(20)), (await get_dish('pie')).title)
try:
    await burn('toast')
except ToolCallError as error:
    print('burnt' in str(error))
"""
    with serving(port):
        catalog = await ToolCatalog.from_mcp({"kitchen": connection})
        assert await run(catalog, code) == "True pie\nTrue"
        first = await call(catalog, "process_id")
    with pytest.raises(ToolException, match="the MCP server 'kitchen' is gone"):
        await call(catalog, "process_id")
    with pytest.raises(ToolException, match="this call did not reach it"):
        await call(catalog, "process_id")
    with serving(port):
        assert await call(catalog, "process_id") != first
        await catalog.aclose()


async def test_session_unknown_after_a_restart() -> None:
    """A restarted server that does not know the session is asked again in a new one, unnoticed."""
    port = free_port()
    connection = {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    with serving(port):
        catalog = await ToolCatalog.from_mcp({"kitchen": connection})
        first = await call(catalog, "process_id")
    with serving(port):
        assert await call(catalog, "process_id") != first
        await catalog.aclose()


@pytest.mark.skipif(LINE > 1, reason="line 2 of mcp has another client of HTTP")
@pytest.mark.parametrize("status", [200, 202, 403, 429, 500, 503])
async def test_an_http_error_is_the_answer_of_one_call(status: int) -> None:
    """A call that a gateway refuses, or answers with a page, fails by itself; others in flight get their answers."""
    import httpx

    class Gateway(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if b'"burn"' in request.content:
                return httpx.Response(
                    status, stream=httpx.ByteStream(b"<html>busy"), request=request
                )
            return await super().handle_async_request(request)

    port = free_port()
    connection = {
        "transport": "http",
        "url": f"http://127.0.0.1:{port}/mcp",
        "httpx_client_factory": lambda **given: httpx.AsyncClient(transport=Gateway(), **given),
    }
    with serving(port):
        async with ToolCatalog.from_mcp({"kitchen": connection}) as catalog:
            waits = asyncio.create_task(call(catalog, "meet", people=2, value=1))
            with pytest.raises(ToolException, match=f"^the server answered {status} [A-Z]"):
                await call(catalog, "burn", reason="toast")
            assert await call(catalog, "meet", people=2, value=2) == 2
            assert await waits == 1


async def test_an_answer_that_takes_too_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a check are counted on the event loop and in a thread, and what takes more is an error."""
    monkeypatch.setattr(mcp_source, "QUICK_STEPS", 0)
    async with ToolCatalog.from_mcp({"kitchen": stdio("kitchen")}) as catalog:
        assert await call(catalog, "process_id")
        monkeypatch.setattr(mcp_source, "MAX_STEPS", 0)
        with pytest.raises(
            ToolException, match="the answer of process_id is too large to be checked"
        ):
            await call(catalog, "process_id")


@pytest.mark.parametrize("is_restarted", [False, True], ids=["gone", "restarted"])
async def test_a_web_server_that_dies_in_a_call(
    monkeypatch: pytest.MonkeyPatch, *, is_restarted: bool
) -> None:
    """A call in flight fails when its server is gone, or is another process, and waits for no time limit."""
    monkeypatch.setattr(mcp_servers, "LOOK_SECONDS", 0.2)
    port = free_port()
    connection = {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    with serving(port):
        catalog = await ToolCatalog.from_mcp({"kitchen": connection})
        waits = asyncio.create_task(call(catalog, "meet", people=2, value=1))
        assert await call(catalog, "process_id")
    with serving(port) if is_restarted else contextlib.nullcontext():
        with pytest.raises(ToolException, match=r"server .kitchen. is gone .*may have been"):
            await waits
        await catalog.aclose()


@NEEDS_ADAPTERS
async def test_interceptors_may_add_headers() -> None:
    """A call with headers of its own goes out in a session of its own."""
    from langchain_mcp_adapters.client import MultiServerMCPClient

    port = free_port()

    async def sign(request: Any, handler: Any) -> Any:
        return await handler(request.override(headers={"x-signed": "yes"}))

    connection: Any = {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}
    client = MultiServerMCPClient({"kitchen": connection}, tool_interceptors=[sign])
    with serving(port):
        async with ToolCatalog.from_mcp(client) as catalog:
            assert await call(catalog, "count", words=["a"]) == 1


# --- servers that others wrote ------------------------------------------------------------------


def needs(package: str, module: str) -> pytest.MarkDecorator:
    """Skip a test whose server is not installed."""
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"pip install {package}")


@needs("mcp-server-time", "mcp_server_time")
async def test_time_server() -> None:
    """The reference server for times tells them, as text, to code that asks for many."""
    args = ["-m", "mcp_server_time", "--local-timezone", "UTC"]
    connection = {"transport": "stdio", "command": sys.executable, "args": args}
    code = """
import asyncio, json
zones = ["Asia/Tokyo", "Europe/Paris", "America/New_York"]
answers = await asyncio.gather(
    *[convert_time(source_timezone="UTC", time="12:00", target_timezone=zone) for zone in zones]
)
print([json.loads(answer)["target"]["timezone"] for answer in answers])
try:
    await get_current_time(timezone="Moon/Crater")
except ToolCallError as error:
    print("Moon/Crater" in str(error))
"""
    async with ToolCatalog.from_mcp({"clock": connection}) as catalog:
        assert set(catalog.names) == {"clock.get_current_time", "clock.convert_time"}
        assert "target_timezone: str" in catalog.render()
        told = str(["Asia/Tokyo", "Europe/Paris", "America/New_York"])
        assert await run(catalog, code) == f"{told}\nTrue"


@needs("mcp-server-git", "mcp_server_git")
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
async def test_git_server(tmp_path: Path) -> None:
    """The reference server for git changes a repository, and its hints become policies."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for key, value in (("user.name", "Cook"), ("user.email", "cook@example.org")):
        subprocess.run(["git", "-C", str(tmp_path), "config", key, value], check=True)
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    connection = {"transport": "stdio", "command": sys.executable, "args": ["-m", "mcp_server_git"]}
    code = f"""
repo = {str(tmp_path)!r}
print("a.txt" in await git_status(repo_path=repo))
await git_add(repo_path=repo, files=["a.txt", "b.txt"])
await git_commit(repo_path=repo, message="Add two files")
print("Add two files" in await git_log(repo_path=repo, max_count=1))
"""
    async with ToolCatalog.from_mcp({"git": connection}, approve="writes") as catalog:
        assert not catalog["git_log"].policy.requires_approval
        assert catalog["git_commit"].policy.requires_approval
    async with ToolCatalog.from_mcp({"git": connection}) as catalog:
        assert await run(catalog, code) == "True\nTrue"


# --- calls that begin early -------------------------------------------------------------------------


async def test_calls_of_a_server_begin_early(kitchen: ToolCatalog) -> None:
    """Those of tools that the server declares read-only, with the results that they have without; no others."""
    code = (
        "for title in ('soup', 'pie', 'stew'):\n    dish = await kitchen.get_dish(title)\n"
        "    print(dish.title, dish.ingredients[0].grams)\n"
        "print(await kitchen.count(['a', 'b']))\nprint(len(await kitchen.list_dishes()))\n"
    )
    begun, all_begun = [], asyncio.Event()

    def note(event: Any) -> None:
        if event["event"] == "prefetch":
            begun.append(event["arguments"]["title"])
            if len(begun) == 3:
                all_begun.set()

    executor = ProgrammaticToolExecutor(kitchen, prefetch="stream", on_event=note)
    prefetcher = executor.prefetch()
    prefetcher.feed(code)
    async with asyncio.timeout(SECONDS):
        await all_begun.wait()
    result = await executor.aexecute(code, prefetcher=prefetcher)
    assert result.output == "soup 2\npie 2\nstew 2\n2\n2\n"
    assert begun == ["soup", "pie", "stew"]
    ahead = [bool(call.ahead_seconds) for call in result.tool_calls]
    assert ahead == [True, True, True, False, False]
    assert result.prefetch is not None
    assert (result.prefetch.hits, result.prefetch.wasted) == (3, 0)
