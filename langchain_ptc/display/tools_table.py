"""The tools of a catalog on a terminal, with rich (the extra `display`)."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_ptc.display.text import count, one_line
from langchain_ptc.display.tools import (
    MOST_DESCRIPTION_CHARS,
    MOST_SIGNATURE_CHARS,
    Tool,
    by_domain,
    summarise,
    tags_of,
)

MOST_ROWS = 100


def render_table(tools: Sequence[Tool]) -> RenderableType:
    """Return the tools of a catalog as a table, bounded."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, pad_edge=False)
    table.add_column("tool", ratio=3, overflow="fold")
    table.add_column("what it does", ratio=2, overflow="fold")
    table.add_column("what holds for it", overflow="fold", max_width=24)
    left = MOST_ROWS
    for domain, members in by_domain(tools).items():
        shown = members[: max(left, 0)]
        left -= len(shown)
        if domain:
            title = Text(one_line(domain, 80), style="bold")
            table.add_row(title, Text(count(len(members), "tool"), style="dim"), "")
        for tool in shown:
            name, _, rest = one_line(str(tool["signature"]), MOST_SIGNATURE_CHARS).partition("(")
            tags = Text(", ".join(words for words, _ in tags_of(tool)), style="dim")
            if any(is_care for _, is_care in tags_of(tool)):
                tags.stylize("yellow")
            table.add_row(
                Text.assemble((name, "cyan"), f"({rest}"),
                Text(one_line(str(tool["description"]), MOST_DESCRIPTION_CHARS)),
                tags,
            )
        if len(members) > len(shown):
            more = count(len(members) - len(shown), "more tool")
            table.add_row(Text(f"… {more} …", style="dim"), "", "")
    return Group(Text(summarise(tools), style="bold"), table)
