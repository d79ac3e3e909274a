"""`budget()`: how code sees what is left for it to spend. A tool like any other, answered by the host."""

from __future__ import annotations

import contextvars
import copy

from langchain_core.tools import StructuredTool
from typing_extensions import TypedDict

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.errors import CatalogError
from langchain_ptc.run.budgets import Purse

BUDGET_NAME = "budget"
"""What the code calls it."""

current_purse: contextvars.ContextVar[Purse] = contextvars.ContextVar("ptc_purse")
"""The purse of the execution that makes a call."""


class BudgetLeft(TypedDict, total=False):
    """What is left; what is not there is not limited."""

    calls: int
    calls_per_tool: dict[str, int]
    """By the name of the tool, for those that have a number of their own."""
    wall_seconds: float
    output_tokens: int
    """Of what is printed; four characters each."""
    cost: float


def offer_budget(catalog: ToolCatalog) -> ToolCatalog:
    """Return the catalog with `budget` among what it finds tools by: its own functions.

    Raises:
        CatalogError: A tool has its name.
    """
    for definition in catalog:
        if definition.domain is None and definition.name == BUDGET_NAME:
            raise CatalogError(
                f"the code needs {BUDGET_NAME}() to see what is left for it, and your tool "
                f"{definition.tool_name!r} has that name; rename it, or put it into a domain"
            )
    (own,) = ToolCatalog([ToolDefinition(tool=_build(), policy=ToolPolicy(read_only=True))])
    other = copy.copy(catalog)
    other.discovery = (*catalog.discovery, own)
    return other


def _build() -> StructuredTool:
    def budget() -> BudgetLeft:
        """Return what is left to spend, for this program and for the whole task."""
        left: BudgetLeft = current_purse.get().left()  # type: ignore[assignment]  # it has the keys
        return left

    async def abudget() -> BudgetLeft:
        return budget()

    return StructuredTool.from_function(budget, coroutine=abudget)
