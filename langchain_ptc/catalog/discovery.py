"""`search_tools`, `describe` and `list_domains`: how code finds what its prompt does not show.

They are tools like any other, so they are called like any other, and answered by the host: finding a
tool costs no prompt. A tool that was found needs nothing more: each tool of the catalog can be called
by its name at any time, shown or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias

from langchain_core.tools import BaseTool, StructuredTool
from typing_extensions import TypedDict

from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.catalog.reading.tool import read_tool
from langchain_ptc.errors import CatalogError

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

DISCOVERY_NAMES = ("search_tools", "describe", "list_domains")
"""What the code calls them."""
DEFAULT_LIMIT = 10
"""Tools that one search returns if it is not told how many."""


class FoundTool(TypedDict):
    """One tool that a search found."""

    name: str
    """What to pass to `describe`, and where to import it from: `domain.tool`."""
    signature: str
    summary: str


Limit: TypeAlias = Annotated[int, "how many, at most"]


def build_discovery(catalog: ToolCatalog) -> tuple[BaseTool, ...]:
    """Return the tools that find tools of `catalog`."""

    def search_tools(
        query: Annotated[str, "what the tool should do, in any words"], limit: Limit = DEFAULT_LIMIT
    ) -> list[FoundTool]:
        """Find tools by what they do, the best first."""
        return _as_found(catalog, catalog.search(query, limit=limit))

    async def asearch_tools(query: str, limit: int = DEFAULT_LIMIT) -> list[FoundTool]:
        return _as_found(catalog, await catalog.asearch(query, limit=limit))

    def describe(name: Annotated[str, "the name of a tool, or of a domain"]) -> str:
        """Return the stub of a tool: its parameters, types and documentation; or a domain's tools."""
        try:
            return catalog.describe(name)
        except KeyError as error:
            raise ValueError(error.args[0]) from error  # its text, not the key, is for the code

    def list_domains() -> dict[str, list[str]]:
        """Return the names of all tools by domain."""
        return catalog.by_domain

    return (
        _make(search_tools, asearch_tools),
        _make(describe),
        _make(list_domains),
    )


def _make(
    function: Callable[..., object], coroutine: Callable[..., Awaitable[object]] | None = None
) -> BaseTool:
    async def at_once(**arguments: object) -> object:
        return function(**arguments)

    return StructuredTool.from_function(function, coroutine=coroutine or at_once)


def build_definitions(catalog: ToolCatalog) -> tuple[ToolDefinition, ...]:
    """Return the definitions of the tools that find tools of `catalog`."""
    policy = ToolPolicy(read_only=True, idempotent=True)
    return tuple(read_tool(tool, domain=None, policy=policy) for tool in build_discovery(catalog))


def check_names(catalog: ToolCatalog) -> None:
    """Check that the names are free at the top level, where a domain's tools do not count.

    Raises:
        CatalogError: A tool without a domain has one of them.
    """
    for definition in catalog:
        if definition.domain is None and definition.name in DISCOVERY_NAMES:
            raise CatalogError(
                f"the catalog is too large for the prompt, so the code needs {definition.name}() to "
                f"find tools, and your tool {definition.tool_name!r} has that name; rename it, put it "
                "into a domain, or raise prompt_tokens until all tools are shown"
            )


def _as_found(catalog: ToolCatalog, definitions: list[ToolDefinition]) -> list[FoundTool]:
    found: list[FoundTool] = []
    for definition in definitions:
        name = definition.qualified_name
        signature, _, summary = catalog.render_line(name).partition("  # ")
        found.append({"name": name, "signature": signature, "summary": summary})
    return found
