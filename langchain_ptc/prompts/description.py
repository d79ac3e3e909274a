"""The text about the tools in a prompt: as much as its token budget allows, stable from turn to turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from langchain_ptc.catalog.stubs import TIERS, Keep, Tier
from langchain_ptc.prompts.texts import (
    FIND_TOOLS,
    TOOLS_FULL,
    TOOLS_NAMES,
    TOOLS_POINTER,
    TOOLS_SIGNATURES,
)

if TYPE_CHECKING:
    from langchain_ptc.catalog.catalog import ToolCatalog

DEFAULT_PROMPT_TOKENS = 10_000
"""Token budget of the text about the tools, including its instructions."""
CountTokens: TypeAlias = Callable[[str], int]
"""Counts the tokens of a text."""

_PARTS: Mapping[Tier, str] = {
    "full": TOOLS_FULL,
    "signatures": TOOLS_SIGNATURES,
    "names": TOOLS_NAMES,
    "pointer": TOOLS_POINTER,
}


def count_roughly(text: str) -> int:
    """Return an estimate of the tokens in `text`: a quarter of its characters."""
    return math.ceil(len(text) / 4)


class ToolsPrompt:
    """The text about a catalog for a model, with the instructions around it.

    The tier is chosen once, from the catalog and the budget, and never from the conversation. After that
    the text changes only when the observed shape of a tool's results does, so that the provider's prompt
    cache stays valid in between.

    Args:
        catalog: The tools.
        text: The instructions; `{TOOLS}` in them is replaced by the tools.
        text_many: The instructions for a catalog that is not shown in full.
        prompt_tokens: Token budget of the whole text; None shows everything. A pointer to the tools
            is shown in any case.
        count_tokens: Counts tokens; by default four characters are one token.

    Attributes:
        catalog: The tools, with those that search tools if the prompt mentions them.
        tier: How much of the catalog is shown.

    Raises:
        CatalogError: The tools must be searched, and one has the name of a tool that searches.
        ValueError: `prompt_tokens` is not positive.
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        text: str,
        *,
        text_many: str | None = None,
        prompt_tokens: int | None = DEFAULT_PROMPT_TOKENS,
        count_tokens: CountTokens | None = None,
    ) -> None:
        if prompt_tokens is not None and prompt_tokens < 1:
            raise ValueError(
                f"prompt_tokens must be a positive number or None, got {prompt_tokens!r}"
            )
        self._budget = prompt_tokens
        self._count = count_tokens or count_roughly
        self._texts: Mapping[Tier, str] = {
            tier: text if tier == "full" or text_many is None else text_many for tier in TIERS
        }
        self.catalog = catalog
        self.tier: Tier = self._choose()
        if self.tier != "full":
            self.catalog = catalog.with_discovery()
        self._rendered: tuple[int, str] | None = None

    def _choose(self) -> Tier:
        if self._budget is None:
            return "full"
        for tier in TIERS[:-1]:
            bare = self.catalog.render(tier, observed=False)
            # If the tools alone are too long, the whole text need not be counted.
            if self._fits(bare) and self._fits(self._fill(tier, bare)):
                return tier
        return TIERS[-1]

    def _fits(self, text: str) -> bool:
        return self._budget is None or self._count(text) <= self._budget

    def render(self) -> str:
        """Return the text as it is now."""
        version = self.catalog.shapes.version
        if self._rendered is None or self._rendered[0] != version:
            self._rendered = version, self._fill(self.tier, self._render_tools())
        return self._rendered[1]

    def _render_tools(self) -> str:
        if self._budget is None:
            return self.catalog.render()
        bare = self._fill(self.tier, self.catalog.render(self.tier, observed=False))
        return self.catalog.render(self.tier, keep=self._room(self._budget - self._count(bare)))

    def _room(self, left: int) -> Keep:
        def keep(line: str) -> bool:
            nonlocal left
            cost = self._count(f"{line}\n")
            fits = cost <= left
            left -= cost if fits else 0
            return fits

        return keep

    def _fill(self, tier: Tier, stubs: str) -> str:
        example, statement = "tool", "from tools import <tool>"
        if self.catalog.domains:
            example, statement = "domain.tool", "from tools.<domain> import <tool>"
        tools = (
            _PARTS[tier]
            .replace("{FIND}", FIND_TOOLS)
            .replace("{NAME}", example)
            .replace("{IMPORT}", statement)
        )
        return self._texts[tier].replace("{TOOLS}", tools.replace("{STUBS}", stubs).rstrip())
