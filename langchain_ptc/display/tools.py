"""The tools of a catalog, as a page for notebooks and as a table for terminals.

A tool is a dict of `name`, `domain`, `signature` (source), `description` (one line) and `tags` (its
policy in words); those that need attention begin with `!`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_ptc.display.html import fit, page, section
from langchain_ptc.display.text import count, escape, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_OPEN = 40
"""With more tools than these, a page folds the domains."""
PAGE_TOOLS = (400, 200, 100, 50)
TABLE_TOOLS = 100

Tool: TypeAlias = Mapping[str, Any]


def _read_domains(tools: Sequence[Tool], limit: int) -> Iterator[tuple[str, int, list[Tool]]]:
    """Give each domain with its size and those of its tools that are shown, `limit` in all."""
    domains: dict[str, list[Tool]] = {}
    for tool in tools:
        domains.setdefault(one_line(str(tool["domain"] or ""), 80), []).append(tool)
    for domain, members in domains.items():
        shown = members[: max(limit, 0)]
        limit -= len(shown)
        yield domain, len(members), shown


def _read_tool(tool: Tool) -> tuple[str, str, str, list[tuple[str, bool]]]:
    """Return name, signature, description and tags of a tool; of a tag, whether it needs care."""
    name, _, signature = one_line(str(tool["signature"]), 300).partition("(")
    tags = [(one_line(tag.lstrip("!"), 40), tag.startswith("!")) for tag in map(str, tool["tags"])]
    return name, f"({signature}", one_line(str(tool["description"]), 160), tags


def _summarise(tools: Sequence[Tool]) -> str:
    domains = {tool["domain"] for tool in tools if tool["domain"]}
    number = count(len(tools), "tool")
    return f"{number} in {count(len(domains), 'domain')}" if domains else number


def render_tools(tools: Sequence[Tool]) -> str:
    """Return the tools of a catalog as a page of its own, bounded."""

    def render(limit: float) -> str:
        return "".join(
            section(
                domain or "without a domain",
                count(size, "tool"),
                _render_rows(shown, size - len(shown)),
                is_open=len(tools) <= MAX_OPEN,
            )
            for domain, size, shown in _read_domains(tools, round(limit))
        )

    head = f'<div class="ptc-head"><b>Tools</b> <span>{_summarise(tools)}</span></div>'
    return page(head + fit(render, PAGE_TOOLS))


def _render_rows(tools: Sequence[Tool], more: int) -> str:
    rows = []
    for name, signature, description, tags in map(_read_tool, tools):
        marks = "".join(
            f'<span class="ptc-tag{" ptc-odd" if is_care else ""}">{escape(tag)}</span> '
            for tag, is_care in tags
        )
        rows.append(
            f'<tr><td class="ptc-sign"><b>{escape(name)}</b>{escape(signature)}</td>'
            f"<td>{escape(description)} {marks}</td></tr>"
        )
    table = f'<div class="ptc-pad"><table class="ptc-tools"><tbody>{"".join(rows)}</tbody></table></div>'
    gone = f'<p class="ptc-fine">… {count(more, "more tool")} …</p>' if more else ""
    return (table if rows else "") + gone


def render_table(tools: Sequence[Tool]) -> RenderableType:
    """Return the tools of a catalog as a table for rich, bounded."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, pad_edge=False)
    table.add_column("tool", ratio=3, overflow="fold")
    table.add_column("what it does", ratio=2, overflow="fold")
    table.add_column("policy", overflow="fold", max_width=24)
    for domain, size, shown in _read_domains(tools, TABLE_TOOLS):
        if domain:
            table.add_row(Text(domain, style="bold"), Text(count(size, "tool"), style="dim"), "")
        for name, signature, description, tags in map(_read_tool, shown):
            style = "yellow" if any(is_care for _, is_care in tags) else "dim"
            marks = Text(", ".join(tag for tag, _ in tags), style=style)
            table.add_row(Text.assemble((name, "cyan"), signature), Text(description), marks)
        if size > len(shown):
            table.add_row(Text(f"… {count(size - len(shown), 'more tool')} …", style="dim"), "", "")
    return Group(Text(_summarise(tools), style="bold"), table)
