"""An MCP server whose tools fail in every way, and count how often they were called."""

from __future__ import annotations

import asyncio
from collections import Counter

from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError

server = FastMCP("failing", log_level="ERROR")
calls: Counter[str] = Counter()


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
def count(key: str) -> dict[str, int]:
    """Say how often `misbehave` was called with a key."""
    return {"calls": calls[key]}


if __name__ == "__main__":
    server.run()
