"""A tool that says itself what it returns, by a JSON Schema, as those of MCP servers do."""

from __future__ import annotations

from typing import Any

from langchain_ptc.catalog.definition import DescribedTool


class Declared(DescribedTool):
    name: str = "get"
    description: str = "Get."
    args_schema: Any = {"type": "object", "properties": {}}
    result_schema: Any = {"type": "array", "items": {"type": "integer"}}

    async def _arun(self) -> Any:
        return [1]

    def _run(self) -> Any:
        return [1]
