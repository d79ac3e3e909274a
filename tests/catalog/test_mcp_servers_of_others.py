"""Servers from the registries, by every way to their tools: `make test_mcp_line2` installs them.

Each server is a program of its own, in an environment of its own: MCP_SERVERS_PATH says where, as PATH
does. Where one is not there its tests are skipped.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import os
import shutil
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_ptc import ProgrammaticToolExecutor, ToolCatalog

pytest.importorskip("mcp", reason="pip install 'langchain-ptc[mcp]'")

PLACES = os.environ.get("MCP_SERVERS_PATH")


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test whose server is not installed."""
    missing = shutil.which(program, path=PLACES) is None
    return pytest.mark.skipif(missing, reason=f"no {program}: make test_mcp_line2")


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


SOURCES = [
    "from_mcp",
    pytest.param(
        "get_tools",
        marks=pytest.mark.skipif(not has("langchain_mcp_adapters"), reason="line 2 of mcp"),
    ),
    pytest.param(
        "langchain.mcp", marks=pytest.mark.skipif(not has("fastmcp"), reason="line 1 of mcp")
    ),
]
EACH_SOURCE = pytest.mark.parametrize("source", SOURCES)


@contextlib.asynccontextmanager
async def catalog_of(
    source: str, program: str, *args: str, env: dict[str, str] | None = None
) -> AsyncIterator[ToolCatalog]:
    """Open a server, by one way, and yield a catalog of its tools."""
    command = shutil.which(program, path=PLACES)
    assert command is not None
    environment = {"PATH": os.environ.get("PATH", ""), **(env or {})}
    connection: Any = {
        "transport": "stdio",
        "command": command,
        "args": list(args),
        "env": environment,
    }
    if source == "from_mcp":
        async with ToolCatalog.from_mcp({"server": connection}) as catalog:
            yield catalog
    elif source == "get_tools":
        from langchain_mcp_adapters.client import MultiServerMCPClient

        yield ToolCatalog(await MultiServerMCPClient({"server": connection}).get_tools())
    else:
        from fastmcp.client.transports import StdioTransport

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is in beta, and says so
            from langchain.mcp import MCPAdapter
        async with MCPAdapter(StdioTransport(command, list(args), env=environment)) as adapter:
            yield ToolCatalog(await adapter.list_tools())


async def run(catalog: ToolCatalog, code: str) -> str:
    result = await ProgrammaticToolExecutor(catalog).aexecute(code)
    assert result.error is None, result.error
    return result.output.rstrip("\n")


@contextlib.contextmanager
def website() -> Iterator[str]:
    """Serve one page and yield its address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html><body><article><h1>Depot</h1><p>Seven bolts are left.</p></article></body></html>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@needs("mcp-server-fetch")
@EACH_SOURCE
async def test_fetch_from_pypi(source: str) -> None:
    """The reference server for web pages gives texts, and its errors are the server's own words."""
    code = """
page = await fetch(url=URL, raw=True)
print("Seven bolts" in page)
try:
    await fetch(url="http://127.0.0.1:9/")
except ToolCallError as error:
    print("127.0.0.1:9" in str(error), "[{" in str(error))
"""
    with website() as address:
        args = ("--ignore-robots-txt", "--allow-private-ips")
        async with catalog_of(source, "mcp-server-fetch", *args) as catalog:
            assert await run(catalog, code.replace("URL", repr(address))) == "True\nTrue False"
            assert catalog["fetch"].policy.read_only
            assert "-> Any:" in catalog.render()


@needs("mcp-server-memory")
@EACH_SOURCE
async def test_memory_from_npm(source: str, tmp_path: Path) -> None:
    """A server in TypeScript keeps typed records, which the code reads by key and by attribute."""
    env = {"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}
    code = """
made = await create_entities(entities=[
    {"name": name, "entityType": "part", "observations": [f"{name} is small"]}
    for name in ("bolt", "nut")
])
print([entity.name for entity in made["entities"]])
graph = await read_graph()
print({entity["name"]: entity.observations[0] for entity in graph.entities})
print((await delete_entities(entityNames=["bolt"])).success)
print([entity.name for entity in (await search_nodes(query="small")).entities])
"""
    async with catalog_of(source, "mcp-server-memory", env=env) as catalog:
        assert await run(catalog, code) == (
            "['bolt', 'nut']\n{'bolt': 'bolt is small', 'nut': 'nut is small'}\nTrue\n['nut']"
        )
        assert catalog["read_graph"].policy.read_only
        assert not catalog["create_entities"].policy.read_only
        assert "async def read_graph() -> ReadGraphResult:" in catalog.render()


@needs("mcp-server-everything")
@EACH_SOURCE
async def test_everything_from_npm(source: str) -> None:
    """The reference server of every feature: text, structure, images, links and refused arguments."""
    code = """
print(await get_sum(a=1, b=2))
weather = await get_structured_content(location="Chicago")
print(sorted(weather), weather.temperature > -100)
print([(part["type"], sorted(part)) for part in await get_tiny_image()])
links = await get_resource_links(count=2)
print([part["type"] for part in links], "uri" in links[-1])
try:
    await get_sum(a="x", b=2)
except ToolCallError as error:
    print("expected number" in str(error), "[{" in str(error))
"""
    async with catalog_of(source, "mcp-server-everything") as catalog:
        lines = (await run(catalog, code)).split("\n")
    assert "3" in lines[0]
    assert lines[1] == "['conditions', 'humidity', 'temperature'] True"
    assert "('image', ['data', 'mime_type', 'type'])" in lines[2]
    assert lines[3] == "['text', 'resource_link', 'resource_link'] True"
    assert lines[4].startswith("True")
