"""`DescribedTool`: a tool that JSON Schemas describe, both what it takes and what it gives.

LangChain's own tools with a JSON Schema say nothing of what they return, and cannot take arguments
named `self`, `config` or `run_manager`. The tools of MCP servers and agents are made with this one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import Field
from typing_extensions import override

from langchain_ptc.catalog.policy import ToolPolicy
from langchain_ptc.catalog.schemas import read_result_schema
from langchain_ptc.catalog.types import RecordTable, TypeTree


class DescribedTool(BaseTool):
    """A tool with a JSON Schema for its arguments and one for its value.

    Subclasses implement `call`, and `call_sync` where there is a better way than none.
    """

    result_schema: dict[str, Any] | None = Field(default=None, repr=False)
    """What a call gives; None if nobody said."""
    result_note: str = ""
    """What to say of the value where there is no schema."""
    policy: ToolPolicy = Field(default_factory=ToolPolicy, exclude=True)
    """What the tool's author says of it; what the developer says takes precedence."""

    @abstractmethod
    async def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the tool.

        Args:
            arguments: Under the tool's own names.

        Returns:
            Plain data, as `result_schema` says.

        Raises:
            ToolException: The tool failed.
        """

    @abstractmethod
    def call_sync(self, arguments: Mapping[str, Any]) -> Any:
        """Call the tool from synchronous code; the same as `call`.

        Raises:
            ToolException: The tool failed.
        """

    # Only `self` has a name, and only by position: an argument may be called anything.

    @override
    def _run(self, /, **arguments: Any) -> Any:
        return self.call_sync(arguments)

    @override
    async def _arun(self, /, **arguments: Any) -> Any:
        return await self.call(arguments)

    def read_result(self, table: RecordTable) -> TypeTree:
        """Return the type of the tool's value.

        Raises:
            CatalogError: A `$ref` of the schema leads out of it.
        """
        return read_result_schema(self.result_schema, self.name, table, note=self.result_note)


def as_arguments_schema(schema: object) -> dict[str, Any]:
    """Return the schema of a tool's arguments with what LangChain expects of one."""
    given = schema if isinstance(schema, Mapping) else {}
    made = {"type": "object", **given}
    if not isinstance(made.get("properties"), Mapping):
        made["properties"] = {}
    return made
