"""An MCP server whose tools fail in every way, and count how often they were called.

Calls of `babble` are also lines of the file that is its argument: what it says may be its last word.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import CallToolResult, TextContent

server = FastMCP("failing", log_level="ERROR")
calls: Counter[str] = Counter()
now = 0


@server.tool()
async def misbehave(way: str, key: str) -> dict[str, int]:
    """Fail in one way; `key` tells calls apart."""
    calls[key] += 1
    if way == "raises":
        raise ToolError(f"no {key}")
    if way == "hangs":
        await asyncio.sleep(60)
    if way == "late":
        await asyncio.sleep(0.5)
    if way == "twice" and calls[key] < 3:
        raise ToolError(f"not yet {key}")
    return {"calls": calls[key]}


@server.tool()
async def strain(key: str) -> str:
    """Fail when more than two calls are on their way at once."""
    global now
    now += 1
    try:
        await asyncio.sleep(0.02)
        if now > 2:
            raise ToolError("too many connections")
    finally:
        now -= 1
    return key


@server.tool()
def babble(way: str, key: str) -> CallToolResult:
    """Say what the protocol does not allow; `key` tells calls apart."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{key}\n")
    wire = sys.__stdout__.buffer
    if way == "noise":
        wire.write(b'Loading model... done\n{"jsonrpc": "2.0", "id": "x"}\n[1, 2\n')
    if way == "bytes":
        wire.write(b"\xff\xfe\x00\n")
    wire.flush()
    if way == "dies":
        os._exit(3)
    return CallToolResult(content=[TextContent(type="text", text=f"{way} answered")])


@server.tool()
def count(key: str) -> dict[str, int]:
    """Say how often `misbehave` was called with a key."""
    return {"calls": calls[key]}


if __name__ == "__main__":
    server.run()
