"""The tools of a catalog as plain data, for `display`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_ptc.catalog.definition import ToolDefinition, ToolPolicy
from langchain_ptc.catalog.rendering.lines import render_line
from langchain_ptc.catalog.rendering.stubs import group
from langchain_ptc.catalog.text import first_sentence


def describe_tools(definitions: Sequence[ToolDefinition]) -> list[dict[str, Any]]:
    """Return tools as dicts of their name, domain, signature, description and what holds for them."""
    return [
        {
            "name": definition.name,
            "domain": definition.domain,
            # A line without words: its signature.
            "signature": render_line(
                replace(definition, description="", policy=ToolPolicy()),
                stubs.names[definition.name],
            ),
            "description": first_sentence(definition.description),
            "tags": list(_tag(definition.policy)),
        }
        for stubs in group(definitions)
        for definition in stubs.definitions
    ]


def _tag(policy: ToolPolicy) -> Iterable[str]:
    if policy.requires_approval:
        yield "!needs approval"
    if policy.read_only:
        yield "only reads"
    elif policy.idempotent:
        yield "may be repeated"
    if policy.allowed_callers == ("direct",):
        yield "not for code"
    elif "direct" in policy.allowed_callers:
        yield "code and model"
    if policy.max_calls is not None:
        yield f"at most {policy.max_calls:,} calls"
    if policy.max_concurrent_calls is not None:
        yield f"{policy.max_concurrent_calls:,} at once"
    if policy.timeout_seconds is not None:
        yield f"{policy.timeout_seconds:g} s a try"
    for name in ("retry", "cache", "breaker", "rate_limit"):
        if getattr(policy, name) is not None:
            yield name.replace("_", " ")
    yield from policy.tags
