"""The tools of a catalog as HTML, for notebooks. Pure.

A tool is a dict of `name`, `domain`, `signature` (source), `description` (one line) and `tags` (what
holds for it, in words); those of which a person must take care begin with `!`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_ptc.display.result import section
from langchain_ptc.display.style import page
from langchain_ptc.display.text import count, escape, fit, one_line

MOST_OPEN = 40
"""With more tools than these, domains are folded."""
MOST_TOOLS = (400, 200, 100, 50)
MOST_BYTES = 170_000
MOST_SIGNATURE_CHARS = 300
MOST_DESCRIPTION_CHARS = 160

Tool = Mapping[str, Any]


def by_domain(tools: Sequence[Tool]) -> dict[str, list[Tool]]:
    """Return tools by their domain; those without one under an empty text."""
    domains: dict[str, list[Tool]] = {}
    for tool in tools:
        domains.setdefault(str(tool["domain"] or ""), []).append(tool)
    return domains


def summarise(tools: Sequence[Tool]) -> str:
    """Say how many there are."""
    domains = [domain for domain in by_domain(tools) if domain]
    told = count(len(tools), "tool")
    return f"{told} in {count(len(domains), 'domain')}" if domains else told


def tags_of(tool: Tool) -> list[tuple[str, bool]]:
    """Return what holds for a tool, and whether a person must take care of it."""
    return [(one_line(str(t).lstrip("!"), 40), str(t).startswith("!")) for t in tool["tags"]]


def render_tools(tools: Sequence[Tool]) -> str:
    """Return the tools of a catalog as a page of its own, bounded."""

    def render(most: int) -> str:
        parts: list[str] = []
        left = most
        for domain, members in by_domain(tools).items():
            shown = members[: max(left, 0)]
            left -= len(shown)
            parts.append(_render_domain(domain, members, shown, is_open=len(tools) <= MOST_OPEN))
        return "".join(parts)

    head = f'<div class="ptc-head"><b>Tools</b> <span>{escape(summarise(tools))}</span></div>'
    return page(head + fit(render, MOST_TOOLS, MOST_BYTES))


def _render_domain(
    domain: str, members: Sequence[Tool], shown: Sequence[Tool], *, is_open: bool
) -> str:
    rows = "".join(map(_render_tool, shown))
    more = len(members) - len(shown)
    rest = f'<p class="ptc-fine">… {count(more, "more tool")} …</p>' if more else ""
    body = f'<div class="ptc-pad"><table class="ptc-tools"><tbody>{rows}</tbody></table></div>'
    title = one_line(domain, 80) or "without a domain"
    return section(
        title, count(len(members), "tool"), (body if rows else "") + rest, is_open=is_open
    )


def _render_tool(tool: Tool) -> str:
    name, _, rest = one_line(str(tool["signature"]), MOST_SIGNATURE_CHARS).partition("(")
    tags = "".join(
        f'<span class="ptc-tag{" ptc-odd" if is_care else ""}">{escape(words)}</span> '
        for words, is_care in tags_of(tool)
    )
    told = escape(one_line(str(tool["description"]), MOST_DESCRIPTION_CHARS))
    return (
        f'<tr><td class="ptc-sign"><b>{escape(name)}</b>({escape(rest)}</td>'
        f"<td>{told} {tags}</td></tr>"
    )
